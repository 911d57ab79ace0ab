//! What the lock says when it is asked: `why`, `tree`, `list`, and the faults of `verify`.

use std::collections::BTreeMap;
use std::path::Path;

use kbuild::lock::{Closure, Content, Lock};
use kbuild::manifest::Manifest;
use kbuild::resolve::{self, Moving};
use kbuild::store::Store;

use crate::support::bench::{Bench, Run, assert_run};
use crate::support::quickstart::git;

/// What the upstreams have; `uninative-aarch64.tar.xz` and `trumpet` are known by hash and commit alone.
const FILES: [&str; 8] = [
    "busybox-1.36.tar.bz2",
    "e2fsprogs-1.47.tar.gz",
    "linux-5.15.tar.xz",
    "linux-6.1.tar.xz",
    "loud.patch",
    "uninative-aarch64.tar.xz",
    "uninative-x86_64.tar.xz",
    "zlib-1.3.tar.gz",
];
const GONE: [&str; 2] = ["uninative-aarch64.tar.xz", "trumpet"];

/// A project whose lock was written by hand, fresh all the same: hashes, commits and inputs are filled in.
struct Fixture {
    bench: Bench,
}

impl Fixture {
    /// With nothing in the store.
    fn new() -> Fixture {
        let bench = Bench::new();
        let mut facts = BTreeMap::new();
        for name in FILES {
            let path = bench.beside("upstream").join(name);
            std::fs::create_dir_all(bench.beside("upstream")).expect("a directory");
            std::fs::write(&path, name.repeat(100)).expect("a file");
            let digests = kbuild::source::hash::Digests::of_bytes_for_test(name.repeat(100).as_bytes());
            facts.insert(name.to_owned(), digests);
        }
        let _ = facts;
        Fixture { bench }
    }
}
