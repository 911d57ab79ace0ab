//! What a mirror contains, and which directories it refuses.

use std::path::PathBuf;

use super::*;
use crate::error::Kind;
use crate::lock::{Closure, Content, Floating, LockedBoard, LockedFile, Need};
use crate::progress::Silent;
use crate::store::fixture::{Upstream, file, tree as a_tree};
use crate::store::tree;

struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    lock: Lock,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Bench { directory, store, lock: Lock::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&mut self, key: &str, text: &str) {
        std::fs::write(self.path("file"), text).unwrap();
        let digests = self.store.add_file(&self.path("file")).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let url = format!("https://h.example/{key}").parse().unwrap();
        self.lock.files.insert(
            key.to_owned(),
            LockedFile { name: None, urls: vec![url], sha256: digests.sha256, stated_size: None, content },
        );
    }

    /// Locks a commit; `present` also adds it to the store.
    fn git(&mut self, key: &str, text: &str, submodule: Option<&str>, present: bool) -> CommitId {
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], &a_tree([("a", file(text))]));
        let hash = tree::of_commit(&upstream.objects(), &commit).unwrap();
        if present {
            self.store.add_git(upstream.path(), &commit, hash).unwrap();
        }
        let mut locked = upstream.locked(&commit, Some(hash));
        locked.refs = ["refs/heads/main".to_owned()].into();
        locked.submodules = submodule.iter().map(|child| ("sub".to_owned(), (*child).to_owned())).collect();
        self.lock.gits.insert(format!("{key}@{}", commit.short()), locked);
        commit
    }

    fn plan(&self, boards: &[String]) -> Result<Mirror> {
        Mirror::plan(&self.store, MirrorRequest { project: "test", lock: &self.lock, manifest: None, boards })
    }

    /// A board with a recipe whose ref floats, and the commit that it is pinned to.
    fn floating_board(&mut self, board: &str, reference: &str, commit: CommitId) {
        let url = "https://h.example/moving".parse().unwrap();
        let key = Floating::key(&url, reference);
        let closure = Closure {
            inputs: Blake3::from([1; 32]),
            recipes: [("moving".to_owned(), Need::Target)].into(),
            extra: BTreeSet::new(),
            pins: [("SRCREV:pn-moving".to_owned(), key.clone())].into(),
        };
        self.lock.floating.insert(key, Floating { url, reference: reference.to_owned(), commit });
        let locked = LockedBoard { closure: Some(closure), ..LockedBoard::default() };
        self.lock.boards.insert(board.to_owned(), locked);
    }
}

#[test]
fn what_is_lacking_is_left_out_with_what_needs_it() {
    let mut bench = Bench::new();
    bench.file("a.txt", "a");
    let child = bench.git("h.child", "child", None, false);
    let child = format!("h.child@{}", child.short());
    bench.git("h.parent", "parent", Some(&child), true);
    bench.git("h.other", "other", None, true);
    let mirror = bench.plan(&[]).unwrap();
    let names: Vec<&str> = mirror.entries().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.txt", "git2_h.other.git.tar.gz", "git2_h.other.tar.gz"]);
    let missing: Vec<&str> = mirror.missing().iter().map(|id| id.key().split('@').next().unwrap()).collect();
    assert_eq!(missing, ["h.child", "h.parent"]);
}

#[test]
fn one_repository_gives_one_tarball_whoever_packs_it() {
    let mut bench = Bench::new();
    bench.git("h.repo", "text", None, true);
    let mirror = bench.plan(&[]).unwrap();
    assert_eq!(
        mirror.entry("git2_h.repo.tar.gz").unwrap().tag(),
        mirror.entry("git2_h.repo.git.tar.gz").unwrap().tag()
    );
    let pack = |store: &Store| {
        let mut bytes = Vec::new();
        mirror.pack(store, "h.repo", &mut bytes).unwrap();
        bytes
    };
    let bytes = pack(&bench.store);
    // A reader has no scratch directory in the store.
    assert_eq!(pack(&Store::open_existing(bench.store.root()).unwrap()), bytes);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
    let mut names = BTreeSet::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        names.insert(entry.path().unwrap().display().to_string());
    }
    for name in ["HEAD", "config", "packed-refs", "objects/pack", "refs/heads", "refs/tags"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert_eq!(mirror.pack(&bench.store, "no-such-clone", Vec::new()).unwrap_err().kind(), Kind::Bug);
}

#[test]
fn boards_that_cannot_share_a_mirror_are_told_so() {
    let mut bench = Bench::new();
    bench.floating_board("one", "refs/heads/a", CommitId::from([1; 20]));
    bench.floating_board("two", "refs/heads/b", CommitId::from([2; 20]));
    let error = bench.plan(&[]).err().unwrap();
    assert!(error.to_string().contains("SRCREV:pn-moving") && error.hint().unwrap().contains("--board"), "{error}");
    let base = Base::new("http://m").unwrap();
    let conf = bench.plan(&["two".to_owned()]).unwrap().conf(&base);
    assert!(conf.contains(&format!("SRCREV:pn-moving:forcevariable = \"{}\"\n", "02".repeat(20))), "{conf}");
    assert_eq!(bench.plan(&["three".to_owned()]).err().unwrap().kind(), Kind::Stale);
}

#[test]
fn a_run_that_was_broken_off_leaves_nothing_that_is_taken_for_right() {
    let mut bench = Bench::new();
    bench.file("a.txt", "one");
    let base = Base::new("http://m").unwrap();
    let target = bench.path("www");
    let lay_out = |bench: &Bench| {
        let mirror = bench.plan(&[]).unwrap();
        lay_out(&bench.store, &mirror, &base, &target, &Silent).unwrap()
    };
    lay_out(&bench);
    let list = std::fs::read_to_string(target.join(".kbuild-mirror")).unwrap();
    // Another lock has other bytes of the same size under the name; its run is interrupted.
    bench.file("a.txt", "two");
    std::fs::remove_file(target.join("kbuild-mirror.conf")).unwrap();
    std::fs::create_dir_all(target.join("kbuild-mirror.conf/in-the-way")).unwrap();
    let mirror = bench.plan(&[]).unwrap();
    assert!(super::lay_out(&bench.store, &mirror, &base, &target, &Silent).is_err());
    assert_ne!(std::fs::read_to_string(target.join(".kbuild-mirror")).unwrap(), list);
    std::fs::remove_dir_all(target.join("kbuild-mirror.conf")).unwrap();
    bench.file("a.txt", "one");
    assert_eq!((lay_out(&bench).kept, std::fs::read_to_string(target.join("a.txt")).unwrap()), (0, "one".to_owned()));
    assert_eq!(lay_out(&bench).kept, 1);
}

#[test]
fn a_mirror_shares_no_file_with_the_store() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let mut bench = Bench::new();
    bench.file("a.txt", "one");
    bench.git("h.x", "text", None, true);
    let base = Base::new("http://m").unwrap();
    let target = bench.path("www");
    let lay_out = || lay_out(&bench.store, &bench.plan(&[]).unwrap(), &base, &target, &Silent).unwrap();
    lay_out();
    let names = || -> BTreeSet<u64> {
        let entries = walkdir::WalkDir::new(bench.store.root()).into_iter().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().ino()).collect()
    };
    for entry in std::fs::read_dir(&target).unwrap().map(|entry| entry.unwrap()) {
        assert!(!names().contains(&entry.metadata().unwrap().ino()), "{}", entry.path().display());
    }
    let file = target.join("a.txt");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o444);

    // What an earlier kbuild linked is copied anew.
    let blob = bench.store.blob_path(&bench.lock.files["a.txt"].content.unwrap().blake3);
    std::fs::remove_file(&file).unwrap();
    std::fs::hard_link(&blob, &file).unwrap();
    assert_eq!(lay_out().kept, 2, "the tarballs alone");
    assert_eq!((std::fs::metadata(&file).unwrap().nlink(), std::fs::metadata(&blob).unwrap().nlink()), (1, 1));

    // One at a time.
    let other = std::fs::File::open(&target).unwrap();
    other.lock().unwrap();
    let error = super::lay_out(&bench.store, &bench.plan(&[]).unwrap(), &base, &target, &Silent).unwrap_err();
    assert!(error.to_string().contains("another kbuild writes a mirror"), "{error}");
}
