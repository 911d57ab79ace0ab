//! The fetcher against servers that misbehave, with stores in temporary directories.

mod fallbacks;
mod files;
mod ftp;
mod gits;
mod history;
mod lfs;
mod places;
mod vault;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::manifest::{FallbackChoice, MirrorRule, Mirrors};
use crate::net::netrc::Netrc;
use crate::progress::{Progress, Task};
use crate::source::{GitRef, Hasher};
use kbuild_test::http::{Ranges, Reply, Server};

/// Retries at once, stalls within the second.
fn impatient() -> RetryPolicy {
    RetryPolicy {
        base: Duration::from_millis(1),
        connect: Duration::from_secs(2),
        idle: Duration::from_millis(400),
        slow: 1000,
        slow_for: Duration::from_millis(300),
        git_silence: Duration::from_secs(20),
        retry_after: Duration::from_millis(20),
        ..RetryPolicy::default()
    }
}

/// A store in a temporary directory, a fetcher into it, and what it said.
struct World {
    directory: tempfile::TempDir,
    fetcher: Fetcher,
    said: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> World {
        World::with(no_fallbacks(), false)
    }

    fn with(mirrors: Mirrors, offline: bool) -> World {
        World::with_netrc(mirrors, offline, "")
    }

    fn with_netrc(mirrors: Mirrors, offline: bool, netrc: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let progress = Arc::new(Recorder(said.clone()));
        let settings = FetchSettings { mirrors, registries: Registries::default(), jobs: 4, offline, upstreams: true };
        let mut fetcher = Fetcher::new(store, settings, progress).unwrap();
        fetcher.policy = impatient();
        fetcher.registries = RegistryTable::default();
        fetcher.ftp = Ftp::new(impatient());
        fetcher.http = Http::for_tests(impatient(), Netrc::parse(netrc));
        fetcher.git.policy = impatient();
        fetcher.git.environment = hermetic(directory.path());
        World { directory, fetcher, said }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn content(&self, digests: &Digests) -> Vec<u8> {
        fs::read(self.fetcher.store.blob_path(&digests.blake3)).unwrap()
    }

    /// The files in `incoming/`, which hold what may be resumed.
    fn partials(&self) -> usize {
        fs::read_dir(self.fetcher.store.root().join("incoming")).unwrap().count()
    }

    fn blobs(&self) -> usize {
        fs::read_dir(self.fetcher.store.root().join("sha256")).unwrap().count()
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }
}

/// Nothing of the user's git configuration, no prompts of a desktop.
fn hermetic(home: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("HOME", home.into()),
        ("XDG_CONFIG_HOME", home.into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("no_proxy", "*".into()),
    ]
}

/// Writes down what is told.
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn tell(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Progress for Recorder {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        self.tell(format!("begin {what} {total:?}"));
        Box::new(Recorder(self.0.clone()))
    }

    fn warn(&self, message: &str) {
        self.tell(format!("warn {message}"));
    }
}

impl Task for Recorder {
    fn set_total(&self, _total: u64) {}
    fn set_position(&self, _position: u64) {}
    fn note(&self, note: &str) {
        self.tell(format!("note {note}"));
    }
    fn done(&self, note: &str) {
        self.tell(format!("done {note}"));
    }
}

fn digests_of(bytes: &[u8]) -> Digests {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Bytes that differ everywhere, so that a byte in the wrong place shows.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn whole_error(error: &Error) -> String {
    let related: Vec<String> = error.related_errors().iter().map(whole_error).collect();
    format!("{error}\n{}\n{}\n{}", error.causes().join("\n"), related.join("\n"), error.hint().unwrap_or_default())
}

fn rule(pattern: &str, to: &[&str]) -> MirrorRule {
    MirrorRule { pattern: pattern.to_owned(), to: to.iter().map(|to| (*to).to_owned()).collect() }
}

/// Upstreams alone.
fn no_fallbacks() -> Mirrors {
    Mirrors { builtin: FallbackChoice::none(), ..Mirrors::default() }
}

fn rules(rules: &[(&str, &[&str])]) -> Mirrors {
    let rules = rules.iter().map(|(pattern, to)| rule(pattern, to)).collect();
    Mirrors { rules, ..no_fallbacks() }
}

fn stores(stores: &[&str]) -> Mirrors {
    Mirrors { stores: stores.iter().map(|store| (*store).to_owned()).collect(), ..no_fallbacks() }
}

#[test]
fn fetching_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let world = World::new();
    let file =
        WantedFile { name: "x".to_owned(), urls: vec![], sha256: None, sums: vec![], stated_size: None, content: None };
    is_send(&world.fetcher.file(&file));
    let url: SourceUrl = "https://h/x".parse().unwrap();
    let git = WantedGit { url: url.clone(), commit: CommitId::from([0; 20]), refs: vec![], history: false, tree: None };
    is_send(&world.fetcher.git(&git));
    is_send(&world.fetcher.resolve(&url, &GitRef { branch: None, tag: None, rev: None }));
}
