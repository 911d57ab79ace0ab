//! How many transfers run at once, in all and towards one host; and which hosts are not asked for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Transfers from one host at once: the number that browsers use, so that kbuild is no heavier client than they are.
const PER_HOST: usize = 6;

/// How long a host that could not be reached is not asked again. Without this, each of hundreds of sources would wait
/// for the same dead host anew before it asks a mirror.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// The limits of one fetcher towards all hosts.
///
/// The order in which permits are taken is fixed (in hand, host, running), and whoever waits for a host holds no running
/// permit. So there is no deadlock, and a slow host does not hold up the others.
#[derive(Debug)]
pub struct Limits {
    in_hand: Semaphore,
    running: Semaphore,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    works: Mutex<HashMap<String, Arc<AsyncMutex<()>>>>,
    down: Mutex<HashMap<String, Instant>>,
}

/// The right to transfer from one host, until dropped.
#[derive(Debug)]
pub struct Transfer<'a> {
    _running: SemaphorePermit<'a>,
    _host: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// At most so many transfers at once.
    pub fn new(jobs: usize) -> Self {
        // Sources in hand hold a file descriptor or two each, also while they wait for their host.
        let jobs = jobs.clamp(1, 256);
        Limits {
            in_hand: Semaphore::new(jobs * 3),
            running: Semaphore::new(jobs),
            hosts: Mutex::default(),
            works: Mutex::default(),
            down: Mutex::default(),
        }
    }

    /// Waits until one more source may be begun.
    pub async fn begin(&self) -> SemaphorePermit<'_> {
        self.in_hand.acquire().await.expect("the semaphore is never closed")
    }

    /// Waits until one more transfer from this host may run; the empty host (the own disk) has no limit of its own.
    pub async fn transfer(&self, host: &str) -> Transfer<'_> {
        let host = match host {
            "" => None,
            host => {
                let semaphore = entry(&self.hosts, host, || Semaphore::new(PER_HOST));
                Some(semaphore.acquire_owned().await.expect("the semaphore is never closed"))
            }
        };
        let running = self.running.acquire().await.expect("the semaphore is never closed");
        Transfer { _running: running, _host: host }
    }

    /// Remembers that a host could not be reached.
    pub fn mark_down(&self, host: &str) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), Instant::now());
    }

    /// Whether a host could not be reached a little while ago.
    pub fn is_down(&self, host: &str) -> bool {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.get(host).is_some_and(|since| since.elapsed() < LEFT_ALONE)
    }

    /// Waits until nobody else in this process does the same work.
    pub async fn alone(&self, work: &str) -> OwnedMutexGuard<()> {
        entry(&self.works, work, || AsyncMutex::new(())).lock_owned().await
    }
}

fn entry<T>(map: &Mutex<HashMap<String, Arc<T>>>, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.entry(key.to_owned()).or_insert_with(|| Arc::new(make())).clone()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_host_does_not_hold_up_another() {
        let limits = Limits::new(8);
        let mut held = Vec::new();
        for _ in 0..PER_HOST {
            held.push(limits.transfer("a").await);
        }
        let seventh = tokio::time::timeout(Duration::from_millis(20), limits.transfer("a")).await;
        assert!(seventh.is_err());
        held.push(limits.transfer("b").await);
        drop(held);
        limits.transfer("a").await;
    }

    #[tokio::test]
    async fn jobs_bound_all_hosts_together() {
        let limits = Limits::new(2);
        let _held = (limits.transfer("a").await, limits.transfer("").await);
        assert!(tokio::time::timeout(Duration::from_millis(20), limits.transfer("b")).await.is_err());
    }
}
