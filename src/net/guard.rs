//! How a server is asked: within the limits, again when that may help, and not for a while after it could not be
//! reached.

use futures_util::future::BoxFuture;

use super::limits::Limits;
use super::report::LazyTask;
use super::retry::{Attempts, Class, Failure, RetryPolicy};
use super::transfer::at;
use crate::source::{RemoteUrl, SourceUrl};

/// Bytes after which a transfer counts as useful: its failure does not count against the server.
const WORTHWHILE: u64 = 1 << 20;

/// The limits and retries of a fetcher towards servers.
#[derive(Clone, Copy)]
pub struct RequestGuard<'a> {
    /// How many transfers run at once.
    pub limits: &'a Limits,
    /// How often, and how long.
    pub policy: &'a RetryPolicy,
    /// The task that the waits are reported to.
    pub report: &'a LazyTask,
}

/// The server that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget {
    /// The host that is not asked for a while after it could not be reached.
    pub host: String,
    /// The host whose limit applies; empty for a team's own store, which gets as many transfers at once as `--jobs`
    /// says.
    pub limited_by: String,
    /// What messages call it, without credentials.
    pub shown: String,
}

impl From<&SourceUrl> for RequestTarget {
    fn from(url: &SourceUrl) -> RequestTarget {
        RequestTarget { host: url.host(), limited_by: url.host(), shown: url.to_string() }
    }
}

impl From<&RemoteUrl> for RequestTarget {
    fn from(url: &RemoteUrl) -> RequestTarget {
        RequestTarget { host: url.to_string(), limited_by: String::new(), shown: url.to_string() }
    }
}

impl RequestGuard<'_> {
    /// Asks until there is an answer or no try is left. This is kbuild's only retry loop.
    ///
    /// # Errors
    /// The last failure.
    pub async fn attempt<'f, T>(
        &self,
        server: impl Into<RequestTarget>,
        ask: impl FnMut() -> BoxFuture<'f, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.attempt_transfer(server, || 0, ask).await
    }

    /// As [`RequestGuard::attempt`], for transfers that may end in the middle: `arrived` gives how many bytes are
    /// there. A try that fetched much resets the count, so that a connection that is cut now and then still delivers a
    /// file of any size.
    ///
    /// # Errors
    /// The last failure.
    pub async fn attempt_transfer<'f, T>(
        &self,
        server: impl Into<RequestTarget>,
        arrived: impl Fn() -> u64,
        mut ask: impl FnMut() -> BoxFuture<'f, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let server = server.into();
        let mut attempts = Attempts::new(self.policy);
        loop {
            let before = arrived();
            let answer = {
                let _permit = self.limits.transfer(&server.limited_by, &server.host).await;
                self.ensure_reachable(&server)?;
                ask().await
            };
            match answer {
                Ok(answer) => {
                    self.limits.answered(&server.host);
                    return Ok(answer);
                }
                Err(failure) => {
                    if arrived() > before + WORTHWHILE || self.is_held_back(&server, &failure) {
                        attempts.progressed();
                    }
                    self.wait(&server, &mut attempts, failure).await?;
                }
            }
        }
    }

    /// Whether the host refuses because it was asked too often: then all transfers from it are held back for as long as it says,
    /// and a try counts only if the host answers nobody else either.
    fn is_held_back(&self, server: &RequestTarget, failure: &Failure) -> bool {
        let Class::Transient { after: Some(pause) } = failure.class else { return false };
        self.limits.refused(&server.host, pause.min(self.policy.retry_after))
    }

    /// Fails for a short while after the host could not be reached: asking again would only wait.
    fn ensure_reachable(&self, server: &RequestTarget) -> Result<(), Failure> {
        if self.limits.is_down(&server.host) {
            let why = format!("{} did not answer just now", server.host);
            return Err(Failure::unreachable(at(&server.shown, why)));
        }
        Ok(())
    }

    /// Waits before the next try, or returns the failure where no try is left.
    async fn wait(&self, server: &RequestTarget, attempts: &mut Attempts, failure: Failure) -> Result<(), Failure> {
        let Some(delay) = attempts.delay_after(&failure) else {
            if failure.class == Class::Unreachable {
                self.limits.mark_down(&server.host);
            }
            return Err(failure);
        };
        let why = failure.error.causes().join(": ");
        self.report.task().note(&format!("{why}; retrying in {:.0} s", delay.as_secs_f64().ceil()));
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
