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

/// However little a host allows, so long after one request it may be asked for the next: a pause of an hour is no pace.
const SLOWEST: Duration = Duration::from_secs(1);

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
    paces: Mutex<HashMap<String, Pace>>,
}

/// How often a host may be asked, as it turned out: nothing is known until it refuses.
#[derive(Debug)]
struct Pace {
    /// The host was last refusing until this moment, or first asked at it.
    since: Instant,
    /// How many requests it has answered since.
    answered: u32,
    /// When the next request may begin.
    next: Instant,
    /// How long after it the one behind it may: what the host's limit comes to on average.
    apart: Duration,
    /// Whether it answered any between its last two refusals.
    serves: bool,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace { since: now, answered: 0, next: now, apart: Duration::ZERO, serves: false }
    }

    /// When a request may begin, which then takes that place.
    fn take_turn(&mut self, now: Instant) -> Instant {
        let turn = self.next.max(now);
        self.next = turn + self.apart;
        turn
    }

    /// The host refuses for so long. Of several that are refused at once, the first tells the pace: the host has answered so
    /// many requests in the time from its last refusal to the end of this one.
    /// Gives whether it answered any.
    fn refused(&mut self, now: Instant, pause: Duration) -> bool {
        let until = now + pause;
        if now >= self.since {
            let apart = (until - self.since) / self.answered.max(1);
            self.apart = apart.max(self.apart).min(SLOWEST);
            self.serves = self.answered > 0;
            (self.since, self.answered) = (until, 0);
        }
        self.next = self.next.max(until);
        self.serves
    }
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
            paces: Mutex::default(),
        }
    }

    /// Waits until one more source may be begun.
    pub async fn begin(&self) -> SemaphorePermit<'_> {
        self.in_hand.acquire().await.expect("the semaphore is never closed")
    }

    /// Waits until one more transfer may run from a host whose number is limited; the empty one (the own disk, a team's store)
    /// has no limit. A `server` that wants to be left alone is not asked before that time, nor more often than it answered
    /// before.
    pub async fn transfer(&self, host: &str, server: &str) -> Transfer<'_> {
        let host = match host {
            "" => None,
            host => {
                let semaphore = entry(&self.hosts, host, || Semaphore::new(PER_HOST));
                Some(semaphore.acquire_owned().await.expect("the semaphore is never closed"))
            }
        };
        self.wait_for_turn(server).await;
        let running = self.running.acquire().await.expect("the semaphore is never closed");
        Transfer { _running: running, _host: host }
    }

    async fn wait_for_turn(&self, host: &str) {
        let turn = self.with_pace(host, |pace, now| pace.take_turn(now));
        tokio::time::sleep_until(turn.into()).await;
        // It may have refused others meanwhile.
        while let Some(turn) = self.with_pace(host, |pace, now| (pace.since > now).then(|| pace.take_turn(now))) {
            tokio::time::sleep_until(turn.into()).await;
        }
    }

    /// A host has answered a request.
    pub fn answered(&self, host: &str) {
        self.with_pace(host, |pace, _| pace.answered = pace.answered.saturating_add(1));
    }

    /// A host refuses for so long whatever it is asked (429 with `Retry-After`, a rate limit that is used up). Gives whether it
    /// has answered anything since it last did so.
    pub fn refused(&self, host: &str, pause: Duration) -> bool {
        self.with_pace(host, |pace, now| pace.refused(now, pause))
    }

    fn with_pace<T>(&self, host: &str, act: impl FnOnce(&mut Pace, Instant) -> T) -> T {
        let now = Instant::now();
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        act(paces.entry(host.to_owned()).or_insert_with(|| Pace::new(now)), now)
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
            held.push(limits.transfer("a", "a").await);
        }
        let seventh = tokio::time::timeout(Duration::from_millis(20), limits.transfer("a", "a")).await;
        assert!(seventh.is_err());
        held.push(limits.transfer("b", "b").await);
        drop(held);
        limits.transfer("a", "a").await;
    }

    #[test]
    fn a_host_that_refuses_is_left_alone_and_then_asked_as_often_as_it_answered() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut pace = Pace::new(begin);
        assert_eq!([pace.take_turn(at(0)), pace.take_turn(at(0))], [at(0), at(0)], "no limit is known");
        // Twenty in the first tenth of a second, and then a pause to the end of the second.
        pace.answered = 20;
        pace.refused(at(100), Duration::from_millis(900));
        pace.refused(at(120), Duration::from_millis(880));
        let turns = [(); 3].map(|()| pace.take_turn(at(200)));
        assert_eq!(turns, [at(1000), at(1050), at(1100)]);
        // A limit that turns out to be lower.
        pace.answered = 5;
        pace.refused(at(1500), Duration::from_millis(500));
        assert_eq!([pace.take_turn(at(1600)), pace.take_turn(at(1600))], [at(2000), at(2200)]);
        pace.refused(at(3000), Duration::from_secs(86_400));
        assert_eq!(pace.apart, SLOWEST);
    }

    #[tokio::test]
    async fn jobs_bound_all_hosts_together() {
        let limits = Limits::new(2);
        let _held = (limits.transfer("a", "a").await, limits.transfer("", "").await);
        assert!(tokio::time::timeout(Duration::from_millis(20), limits.transfer("b", "b")).await.is_err());
    }
}
