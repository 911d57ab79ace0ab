//! How a server is asked: within the limits, again when that may help, and not at all just after it could not be reached.

use std::fmt::Display;

use super::limits::Limits;
use super::report::LazyTask;
use super::retry::{Attempts, Class, Failure, RetryPolicy};
use super::transfer::at;
use crate::error::Result;
use crate::source::RemoteUrl;

/// What a fetcher keeps to towards servers.
#[derive(Clone, Copy)]
pub struct RequestGuard<'a> {
    /// How much goes on at once.
    pub limits: &'a Limits,
    /// How often, and how long.
    pub policy: &'a RetryPolicy,
    /// Who hears of it.
    pub report: &'a LazyTask,
}

impl RequestGuard<'_> {
    /// Asks a team's own store, which takes as much at once as `--jobs` says, until it answers or has had its chance.
    ///
    /// # Errors
    /// The last failure.
    pub async fn ask<T>(
        &self,
        remote: &RemoteUrl,
        mut ask: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let host = remote.to_string();
        let mut attempts = Attempts::new(self.policy);
        loop {
            let answer = {
                let _permit = self.limits.transfer("").await;
                self.ensure_reachable(&host, remote)?;
                ask().await
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.wait(&host, &mut attempts, failure).await?,
            }
        }
    }

    /// Whether there is any use in asking this host: not for a little while after it did not answer at all.
    ///
    /// # Errors
    /// There is none.
    pub fn ensure_reachable(&self, host: &str, shown: &impl Display) -> Result<(), Failure> {
        if self.limits.is_down(host) {
            return Err(Failure::permanent(at(shown, format!("{host} did not answer just now"))));
        }
        Ok(())
    }

    /// Waits before the next try at the same place.
    ///
    /// # Errors
    /// The failure itself, when there is no use in another try.
    pub async fn wait(&self, host: &str, attempts: &mut Attempts, failure: Failure) -> Result<(), Failure> {
        let Some(delay) = attempts.delay_after(&failure) else {
            if failure.class == Class::Unreachable {
                self.limits.mark_down(host);
            }
            return Err(failure);
        };
        let why = failure.error.causes().join(": ");
        self.report.task().note(&format!("{why}; retrying in {:.0} s", delay.as_secs_f64().ceil()));
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
