//! Which failures are worth another try, and how long to wait before it.
//!
//! The model is cargo's `src/util/network/retry.rs`: spurious failures are tried again a few times with exponential
//! backoff and jitter, a server's `Retry-After` is honoured up to a cap, everything else goes to the next mirror at
//! once.

use std::env;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::env_vars;
use crate::error::{Error, Kind};

/// How long kbuild waits for the network, and how often it tries again.
///
/// `KBUILD_RETRIES` (further tries after the first), `KBUILD_TIMEOUT` (seconds of silence before a transfer counts as
/// stalled) and, meant for tests, `KBUILD_RETRY_BASE_MS` (the first delay in milliseconds) change the defaults.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries altogether, the first one included.
    pub tries: usize,
    /// Delay before the second try; it doubles from there, and jitter adds up to as much again.
    pub base: Duration,
    /// The longest delay that kbuild chooses itself.
    pub longest: Duration,
    /// The longest `Retry-After` that is obeyed; for a longer one the next mirror is asked.
    pub retry_after: Duration,
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a single byte.
    pub idle: Duration,
    /// Bytes per second below which a transfer counts as stalled when it stays there for [`RetryPolicy::slow_for`].
    pub slow: u64,
    /// See [`RetryPolicy::slow`].
    pub slow_for: Duration,
    /// How long git may be silent. A server may have to count a large repository before it sends anything.
    pub git_silence: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            tries: 4,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            retry_after: Duration::from_secs(60),
            connect: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            slow: 1000,
            slow_for: Duration::from_secs(60),
            git_silence: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The defaults, with what the environment says; a variable that is not a number is ignored.
    pub fn from_env() -> Self {
        RetryPolicy::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<u64>().ok());
        let mut policy = RetryPolicy::default();
        if let Some(retries) = number(env_vars::KBUILD_RETRIES) {
            policy.tries = usize::try_from(retries).unwrap_or(usize::MAX).saturating_add(1);
        }
        if let Some(seconds) = number(env_vars::KBUILD_TIMEOUT) {
            let limit = Duration::from_secs(seconds.max(1));
            policy.idle = limit;
            policy.slow_for = limit;
            policy.git_silence = limit;
            policy.connect = policy.connect.min(limit);
        }
        if let Some(milliseconds) = number(env_vars::KBUILD_RETRY_BASE_MS) {
            policy.base = Duration::from_millis(milliseconds);
        }
        policy
    }
}

/// How long a server is left alone that answers 429 and does not say how long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What a failure means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asking again would give the same: the next mirror is asked.
    Permanent,
    /// Asking again may well help. The server may have said when.
    Transient {
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// An unknown host or a refused connection: most often permanent, sometimes not. There is one more try and no more,
    /// so that an unreachable host costs little; and the host is not asked for anything else for a while.
    Unreachable,
    /// Not known to be permanent or transient: one more try.
    Doubtful,
    /// No mirror can help: a full disk, a broken store.
    Fatal,
}

impl Class {
    /// What an answer with this HTTP status means (RFC 9110, 15); `after` is what the server says of when to ask again.
    /// A 403 that says so is a rate limit, such as GitHub's secondary ones, and passes.
    pub fn of_status(status: u16, after: Option<Duration>) -> Class {
        match status {
            // A server that does not say for how long (RFC 6585, 4: it may) wants a pause all the same.
            429 => Class::Transient { after: Some(after.unwrap_or(SHORTEST_PAUSE)) },
            408 | 500..=599 => Class::Transient { after },
            403 if after.is_some() => Class::Transient { after },
            _ => Class::Permanent,
        }
    }
}

/// A failure and its class.
#[derive(Debug)]
pub struct Failure {
    /// What it means.
    pub class: Class,
    /// What failed and why.
    pub error: Error,
}

impl Failure {
    /// Asking this mirror again would not help.
    pub fn permanent(error: Error) -> Self {
        Failure { class: Class::Permanent, error }
    }

    /// Asking this mirror again may help.
    pub fn transient(error: Error) -> Self {
        Failure { class: Class::Transient { after: None }, error }
    }

    /// The host cannot be reached.
    pub fn unreachable(error: Error) -> Self {
        Failure { class: Class::Unreachable, error }
    }

    /// As [`Class::Doubtful`].
    pub fn doubtful(error: Error) -> Self {
        Failure { class: Class::Doubtful, error }
    }
}

/// An error on kbuild's side (the store, the file system) is fatal; one of kind `Network` or `Mismatch` is not.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = match error.kind() {
            Kind::Network | Kind::Denied | Kind::Mismatch | Kind::Missing => Class::Permanent,
            _ => Class::Fatal,
        };
        Failure { class, error }
    }
}

/// Counts the tries at one mirror.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    delays: ExponentialBackoff,
    failed: usize,
}

impl Attempts {
    /// Nothing was tried yet.
    pub fn new(policy: &RetryPolicy) -> Self {
        Attempts { policy: policy.clone(), delays: delays(policy), failed: 0 }
    }

    /// The last try fetched a good part of a large file: the count begins anew, so that a connection that is cut every
    /// now and then still delivers a file of any size.
    pub fn progressed(&mut self) {
        self.delays = delays(&self.policy);
        self.failed = 0;
    }

    /// How long to wait before the next try; `None`: no try is left for this mirror.
    pub fn delay_after(&mut self, failure: &Failure) -> Option<Duration> {
        self.failed += 1;
        let asked = match failure.class {
            Class::Permanent | Class::Fatal => return None,
            Class::Unreachable | Class::Doubtful if self.failed >= 2 => return None,
            Class::Unreachable | Class::Doubtful => None,
            Class::Transient { after } => after,
        };
        let own = self.delays.next()?;
        Some(asked.map_or(own, |asked| asked.max(own).min(self.policy.retry_after)))
    }
}

fn delays(policy: &RetryPolicy) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(policy.base)
        .with_max_delay(policy.longest)
        .with_max_times(policy.tries.saturating_sub(1))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(class: Class) -> Failure {
        Failure { class, error: Error::new(Kind::Network, "no answer") }
    }

    const AGAIN: Class = Class::Transient { after: None };

    #[test]
    fn delays_grow_and_end() {
        let mut attempts = Attempts::new(&RetryPolicy::default());
        let delays: Vec<Duration> = std::iter::from_fn(|| attempts.delay_after(&failure(AGAIN))).collect();
        assert_eq!(delays.len(), 3);
        for (delay, least) in delays.iter().zip([1, 2, 4]) {
            let least = Duration::from_secs(least);
            assert!(*delay >= least && *delay <= least * 2, "{delay:?}");
        }
    }

    #[test]
    fn what_is_permanent_is_not_tried_again() {
        for class in [Class::Permanent, Class::Fatal] {
            assert_eq!(Attempts::new(&RetryPolicy::default()).delay_after(&failure(class)), None);
        }
        for class in [Class::Doubtful, Class::Unreachable] {
            let mut attempts = Attempts::new(&RetryPolicy::default());
            assert!(attempts.delay_after(&failure(class)).is_some());
            assert_eq!(attempts.delay_after(&failure(class)), None);
        }
    }

    #[test]
    fn retry_after_is_honoured_with_a_cap() {
        let policy = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
        let asked = |seconds| Class::Transient { after: Some(Duration::from_secs(seconds)) };
        let mut attempts = Attempts::new(&policy);
        assert_eq!(attempts.delay_after(&failure(asked(7))), Some(Duration::from_secs(7)));
        assert_eq!(attempts.delay_after(&failure(asked(86400))), Some(policy.retry_after));
    }

    #[test]
    fn a_status_passes_or_lasts() {
        let after = Some(Duration::from_secs(7));
        assert_eq!(Class::of_status(429, None), Class::Transient { after: Some(SHORTEST_PAUSE) });
        assert_eq!(Class::of_status(429, after), Class::Transient { after });
        for status in [408, 500, 503] {
            assert_eq!(Class::of_status(status, None), AGAIN, "{status}");
            assert_eq!(Class::of_status(status, after), Class::Transient { after }, "{status}");
        }
        for status in [301, 400, 401, 403, 404, 410] {
            assert_eq!(Class::of_status(status, None), Class::Permanent, "{status}");
        }
        assert_eq!(Class::of_status(403, after), Class::Transient { after }, "a rate limit");
        assert_eq!(Class::of_status(404, after), Class::Permanent);
    }

    #[test]
    fn progress_gives_new_tries() {
        let mut attempts = Attempts::new(&RetryPolicy { tries: 2, ..RetryPolicy::default() });
        for _ in 0..5 {
            assert!(attempts.delay_after(&failure(AGAIN)).is_some());
            attempts.progressed();
        }
        assert!(attempts.delay_after(&failure(AGAIN)).is_some());
        assert_eq!(attempts.delay_after(&failure(AGAIN)), None);
    }

    #[test]
    fn the_environment_is_read() {
        let policy = RetryPolicy::from_variables(|name| match name {
            "KBUILD_RETRIES" => Some("0".to_owned()),
            "KBUILD_TIMEOUT" => Some("5".to_owned()),
            _ => Some("no number".to_owned()),
        });
        assert_eq!(policy.tries, 1);
        assert_eq!(policy.idle, Duration::from_secs(5));
        assert_eq!(policy.base, RetryPolicy::default().base);
        assert_eq!(Attempts::new(&policy).delay_after(&failure(AGAIN)), None);
    }

    #[test]
    fn a_full_disk_ends_the_matter() {
        let disk = Error::io("write", std::path::Path::new("x"), std::io::ErrorKind::StorageFull.into());
        assert_eq!(Failure::from(disk).class, Class::Fatal);
        assert_eq!(Failure::from(Error::new(Kind::Mismatch, "wrong")).class, Class::Permanent);
    }
}
