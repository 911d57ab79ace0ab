//! Asking caches for objects, and bringing them.

use std::fs::File;
use std::io::ErrorKind;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::ObjectName;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::manifest::CachePlace;
use crate::net::guard::RequestGuard;
use crate::net::http::Http;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::{Failure, RetryPolicy};
use crate::net::transfer::BodyStream;
use crate::progress::Progress;
use crate::remote::Objects;
use crate::source::{RemoteUrl, SourceUrl};

/// The caches of a build, in the order in which they are asked.
pub struct Caches {
    caches: Vec<Cache>,
    limits: Limits,
    policy: RetryPolicy,
    http: Http,
    progress: Arc<dyn Progress>,
}

/// One cache.
struct Cache {
    reader: Reader,
    /// What messages call it.
    shown: String,
    health: Mutex<CacheHealth>,
}

/// Failures that follow each other after which a cache is left alone for a while. Each of them was retried already, and a build
/// asks for thousands of objects.
const FAILURES: u32 = 3;

/// For how long.
const LEFT_ALONE: Duration = Duration::from_secs(300);

/// How a cache answered so far.
#[derive(Debug, Default)]
struct CacheHealth {
    /// How often it failed since it last answered.
    failures: u32,
    /// Until when it is left alone.
    left_alone: Option<Instant>,
    /// Whether it was warned of.
    complained: bool,
}

/// How a cache is read.
enum Reader {
    Directory(PathBuf),
    Web(SourceUrl),
    Bucket(RemoteUrl, Box<Objects>),
}

/// An object that was brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The cache it came from.
    pub from: String,
    /// In bytes.
    pub size: u64,
}

impl Caches {
    /// The caches at these places; no request is sent yet. `progress` hears of retries and of caches that do not answer.
    pub fn new(places: &[CachePlace], jobs: usize, progress: Arc<dyn Progress>) -> Caches {
        let policy = RetryPolicy::from_env();
        let cache = |place: &CachePlace| Cache {
            reader: match place {
                CachePlace::Directory(path) => Reader::Directory(path.clone()),
                CachePlace::Web(url) => Reader::Web(url.clone()),
                CachePlace::Bucket(url) => Reader::Bucket(url.clone(), Box::new(Objects::new(url, &policy))),
            },
            shown: place.to_string(),
            health: Mutex::default(),
        };
        let caches = places.iter().map(cache).collect();
        Caches { caches, limits: Limits::new(jobs), http: Http::new(policy.clone()), policy, progress }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.caches.is_empty()
    }

    /// Whether any cache has an object. One that does not answer has none.
    pub async fn has(&self, name: &ObjectName) -> bool {
        for cache in self.caches.iter().filter(|cache| cache.may_be_asked()) {
            match self.has_in(cache, name).await {
                Ok(has) => {
                    cache.answered();
                    if has {
                        return true;
                    }
                }
                Err(failure) => self.complain(cache, &failure.error),
            }
        }
        false
    }

    /// Writes an object of the first cache that has it into an empty file; `None` if none has it. What cannot be brought
    /// from one cache is tried with the next.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn bring(&self, name: &ObjectName, file: &File) -> Result<Option<Brought>> {
        for cache in self.caches.iter().filter(|cache| cache.may_be_asked()) {
            let target = Target::new(file);
            match self.bring_from(cache, name, &target).await {
                Ok(true) => {
                    cache.answered();
                    return Ok(Some(Brought { from: cache.shown.clone(), size: target.size() }));
                }
                Ok(false) => cache.answered(),
                // The file, and not the cache: no other one helps.
                Err(failure) if target.is_broken() => return Err(failure.error),
                Err(failure) => self.complain(cache, &failure.error),
            }
            target.empty()?;
        }
        Ok(None)
    }

    async fn has_in(&self, cache: &Cache, name: &ObjectName) -> Result<bool, Failure> {
        let report = LazyTask::new(&self.progress, name.as_str(), None);
        let guard = self.guard(&report);
        match &cache.reader {
            Reader::Directory(directory) => Ok(open(directory, name)?.is_some()),
            Reader::Web(base) => {
                let url = below(base, name)?;
                guard.attempt(&url, || self.http.has(&url).boxed()).await
            }
            Reader::Bucket(url, objects) => {
                let found = guard.attempt(url, || objects.has_named(name.as_str()).boxed()).await?;
                Ok(found.is_some())
            }
        }
    }

    async fn bring_from(&self, cache: &Cache, name: &ObjectName, target: &Target<'_>) -> Result<bool, Failure> {
        let report = LazyTask::new(&self.progress, name.as_str(), None);
        let guard = self.guard(&report);
        match &cache.reader {
            Reader::Directory(directory) => copy(directory, name, target).map_err(Failure::from),
            Reader::Web(base) => {
                let url = below(base, name)?;
                let brought =
                    guard.attempt_transfer(&url, || target.size(), || self.bring_from_web(&url, target).boxed()).await;
                match brought {
                    Err(failure) if failure.error.kind() == Kind::Missing => Ok(false),
                    other => other.map(|()| true),
                }
            }
            Reader::Bucket(url, objects) => {
                guard.attempt_transfer(url, || target.size(), || from_bucket(objects, name, target).boxed()).await
            }
        }
    }

    async fn bring_from_web(&self, url: &SourceUrl, target: &Target<'_>) -> Result<(), Failure> {
        let validator = target.validator();
        let mut body = self.http.open(url, target.size(), validator.as_deref()).await?;
        target.go_on_from(body.from)?;
        target.set_validator(body.validator.clone());
        let expected = body.rest.map(|rest| body.from + rest);
        pump(&mut body, target).await?;
        target.must_be(expected, url)
    }

    fn guard<'a>(&'a self, report: &'a LazyTask) -> RequestGuard<'a> {
        RequestGuard { limits: &self.limits, policy: &self.policy, report }
    }

    /// Counts a failure of a cache. Warns of it, once: what it does not give is built.
    fn complain(&self, cache: &Cache, error: &Error) {
        let mut health = cache.health.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut health.complained, true) {
            let why = error.causes().join(": ");
            self.progress
                .warn(&format!("the cache {} does not answer as it should ({why}); what it has is built", cache.shown));
        }
        health.failures += 1;
        if health.failures >= FAILURES && health.left_alone.is_none() {
            health.left_alone = Some(Instant::now() + LEFT_ALONE);
            let minutes = LEFT_ALONE.as_secs() / 60;
            self.progress
                .warn(&format!("the cache {} failed again, and is not asked for {minutes} minutes", cache.shown));
        }
    }
}

impl Cache {
    fn may_be_asked(&self) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.left_alone.is_some_and(|until| Instant::now() >= until) {
            (health.left_alone, health.failures) = (None, 0);
        }
        health.left_alone.is_none()
    }

    fn answered(&self) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).failures = 0;
    }
}

async fn from_bucket(objects: &Objects, name: &ObjectName, target: &Target<'_>) -> Result<bool, Failure> {
    // No validator: objects of shared state are named by a hash, and the rest may be asked for. A service that was given
    // another object of the same name meanwhile is not told apart; BitBake's signatures tell.
    let Some(mut opened) = objects.open_named(name.as_str(), target.size()).await? else { return Ok(false) };
    target.go_on_from(opened.from)?;
    pump(&mut opened.body, target).await?;
    target.must_be(opened.total, &opened.url)?;
    Ok(true)
}

async fn pump(body: &mut impl BodyStream, target: &Target<'_>) -> Result<(), Failure> {
    while let Some(chunk) = body.next().await? {
        target.write(chunk.as_ref())?;
    }
    Ok(())
}

/// An object of a directory. Links in it are not followed: it may be one that other builds write to, and a link of theirs could
/// lead to any file of the user.
fn open(directory: &Path, name: &ObjectName) -> Result<Option<File>> {
    match disk::try_open_below(directory, name.as_str()) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(None),
        Err(error) => Err(Error::io("read", &directory.join(name.as_str()), error)),
    }
}

fn copy(directory: &Path, name: &ObjectName, target: &Target<'_>) -> Result<bool> {
    let Some(mut file) = open(directory, name)? else { return Ok(false) };
    disk::each_chunk(name.as_str(), &mut file, |bytes| target.write(bytes))?;
    Ok(true)
}

/// The URL of an object below that of a cache.
fn below(base: &SourceUrl, name: &ObjectName) -> Result<SourceUrl> {
    let mut url = base.as_url().clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(name.as_str().split('/'));
    }
    url.as_str().parse()
}

/// A file that is being written. It was opened inside of the seal: what is written where is decided there.
struct Target<'a> {
    file: &'a File,
    size: AtomicU64,
    validator: Mutex<Option<String>>,
    broken: AtomicBool,
}

impl<'a> Target<'a> {
    fn new(file: &'a File) -> Target<'a> {
        Target { file, size: AtomicU64::new(0), validator: Mutex::new(None), broken: AtomicBool::new(false) }
    }

    /// Whether it could not be written.
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        Error::new(Kind::Io, "an object of shared state could not be written").because(error)
    }

    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn validator(&self) -> Option<String> {
        self.validator.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_validator(&self, validator: Option<String>) {
        *self.validator.lock().unwrap_or_else(PoisonError::into_inner) = validator;
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut file = self.file;
        file.write_all(bytes).map_err(|error| self.failed(error))?;
        self.size.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What comes next belongs at this byte.
    fn go_on_from(&self, from: u64) -> Result<()> {
        let mut file = self.file;
        file.set_len(from).and_then(|()| file.seek(SeekFrom::Start(from))).map_err(|error| self.failed(error))?;
        self.size.store(from, Ordering::Relaxed);
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        self.go_on_from(0)
    }

    fn must_be(&self, expected: Option<u64>, place: &impl std::fmt::Display) -> Result<(), Failure> {
        match expected {
            Some(expected) if expected != self.size() => {
                let why = format!("{} bytes came of {expected}", self.size());
                Err(Failure::transient(crate::net::transfer::at(place, why)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_an_object_has_its_name_in_it() {
        let base: SourceUrl = "https://h/sstate/".parse().unwrap();
        let name: ObjectName = "ab/sstate:a+b:1~rc_x.tar.zst".parse().unwrap();
        assert_eq!(below(&base, &name).unwrap().as_str(), "https://h/sstate/ab/sstate:a+b:1~rc_x.tar.zst");
    }

    #[tokio::test]
    async fn a_directory_is_asked_and_what_no_cache_has_is_not_brought() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("ab")).unwrap();
        let name: ObjectName = "ab/sstate:a:1_x.tar.zst".parse().unwrap();
        std::fs::write(directory.path().join(name.as_str()), "the state").unwrap();
        let places = [CachePlace::Directory("/nowhere".into()), CachePlace::Directory(directory.path().into())];
        let caches = Caches::new(&places, 2, crate::progress::Silent::shared());
        assert!(caches.has(&name).await);
        let file = tempfile::NamedTempFile::new().unwrap();
        let brought = caches.bring(&name, file.as_file()).await.unwrap().unwrap();
        assert_eq!((brought.size, brought.from), (9, directory.path().display().to_string()));
        assert_eq!(std::fs::read(file.path()).unwrap(), b"the state");
        let other: ObjectName = "ab/sstate:b:1_x.tar.zst".parse().unwrap();
        assert!(!caches.has(&other).await && caches.bring(&other, file.as_file()).await.unwrap().is_none());

        // A link that a build put there is no object.
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, directory.path().join(other.as_str())).unwrap();
        assert!(!caches.has(&other).await && caches.bring(&other, file.as_file()).await.unwrap().is_none());
    }

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Progress for Warnings {
        fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn crate::progress::Task> {
            crate::progress::Silent.begin(what, total)
        }

        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    #[tokio::test]
    async fn a_cache_that_fails_is_warned_of_once_and_then_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (broken, good) = (directory.path().join("file"), directory.path().join("good"));
        std::fs::write(&broken, "no directory").unwrap();
        std::fs::create_dir(&good).unwrap();
        let name: ObjectName = "sstate:a:1_x.tar.zst".parse().unwrap();
        std::fs::write(good.join(name.as_str()), "the state").unwrap();
        let warnings = Arc::new(Warnings::default());
        let places = [CachePlace::Directory(broken), CachePlace::Directory(good)];
        let caches = Caches::new(&places, 2, Arc::clone(&warnings) as Arc<dyn Progress>);
        for _ in 0..10 {
            assert!(caches.has(&name).await);
        }
        let told = warnings.0.lock().unwrap().clone();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("what it has is built") && told[1].contains("is not asked for 5 minutes"), "{told:?}");
        assert!(!caches.caches[0].may_be_asked() && caches.caches[1].may_be_asked());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_no_fault_of_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let name: ObjectName = "sstate:a:1_x.tar.zst".parse().unwrap();
        std::fs::write(directory.path().join(name.as_str()), "the state").unwrap();
        let places = [CachePlace::Directory(directory.path().into())];
        let caches = Caches::new(&places, 2, crate::progress::Silent::shared());
        let read_only = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(read_only.path()).unwrap();
        assert_eq!(caches.bring(&name, &file).await.unwrap_err().kind(), Kind::Io);
        assert!(caches.caches[0].may_be_asked());
    }
}
