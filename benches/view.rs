//! How long a view takes to lay out: the first time, and when it stands already. Beside it, a plain loop that makes as many
//! symlinks and reads them again, which is what the file system alone costs.
//!
//! `cargo bench --bench view`

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use kbuild::lock::{Content, Lock, LockedFile};
use kbuild::source::SourceId;
use kbuild::store::{Store, view};

const SOURCES: usize = 5000;
const RUNS: usize = 5;

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("store")).expect("a store");
    let lock = fill(directory.path(), &store);
    let sources: Vec<SourceId> = lock.all_sources();
    let (target, record) = (directory.path().join("view"), directory.path().join("record"));
    let [mut first, mut again, mut links, mut reads] = [const { Vec::new() }; 4];
    for run in 0..RUNS {
        fs::remove_dir_all(&target).ok();
        first.push(timed(|| view::lay_out(&store, &lock, &sources, &target, &record).expect("a view")));
        again.push(timed(|| view::lay_out(&store, &lock, &sources, &target, &record).expect("a view")));
        let plain = directory.path().join(format!("plain-{run}"));
        fs::create_dir(&plain).expect("a directory");
        links.push(timed(|| make_links(&plain)));
        reads.push(timed(|| read_links(&plain)));
    }
    println!("{SOURCES} sources, median of {RUNS} alternating runs");
    for (what, times) in [
        ("view, first time", first),
        ("view, again", again),
        ("twice as many symlinks, made", links),
        ("twice as many symlinks, read", reads),
    ] {
        println!("{what:<30} {:>8.1} ms", median(times).as_secs_f64() * 1000.0);
    }
}

/// A store with small files, each under its own URL.
fn fill(directory: &Path, store: &Store) -> Lock {
    let mut lock = Lock::default();
    let file = directory.join("upstream");
    for number in 0..SOURCES {
        fs::write(&file, number.to_string()).expect("a file");
        let digests = store.add_file(&file).expect("a blob");
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let urls = vec![format!("crate://crates.io/c/{number}").parse().expect("a URL")];
        let locked = LockedFile { name: None, urls, sha256: digests.sha256, stated_size: None, content };
        lock.files.insert(format!("c-{number}.crate"), locked);
    }
    assert_eq!(lock.all_sources().into_iter().collect::<BTreeSet<_>>().len(), SOURCES);
    lock
}

fn make_links(directory: &Path) {
    (0..2 * SOURCES).for_each(|number| symlink("/nowhere/at/all", directory.join(number.to_string())).expect("a link"));
}

fn read_links(directory: &Path) {
    for entry in fs::read_dir(directory).expect("entries") {
        fs::read_link(entry.expect("an entry").path()).expect("a link");
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
