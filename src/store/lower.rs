//! Lower stores: they are only read, and asked for what this store does not have.
//!
//! [`Store::places`] decides which file a name of the store means (`blobs/ab/<blake3>`, `sha256/<hex>`,
//! `git/<commit>.toml`): the store's own file first, then those of the lower stores in their order. New content is
//! written to the store itself, except what a lower one has already.
//!
//! A lower store is trusted no more than this one, and cannot be repaired from here. So what is found damaged in it is
//! hidden: an empty file `hidden/<last part of the name>` in this store says that lower stores are not asked for the name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Store, canonical, has_format};
use crate::disk;
use crate::error::{Error, Result};

/// The directory of marks.
pub(super) const HIDDEN: &str = "hidden";

impl Store {
    /// Puts this store above others, the first of them asked first. Each is locked as by a reader. A directory that is named
    /// twice, or is this store's own, counts once.
    ///
    /// # Errors
    /// A directory is not a store, or has a newer format: kind `Input`.
    pub fn over(mut self, lower: &[PathBuf]) -> Result<Store> {
        let mut stores: Vec<Store> = Vec::new();
        for path in lower {
            let root = usable(path).map_err(|error| error.help_or(HELP))?;
            if root != self.root && stores.iter().all(|store| store.root != root) {
                stores.push(Store::read_only(root, "it is a lower store"));
            }
        }
        self.lower = stores.into();
        Ok(self)
    }

    /// The stores below this one, in the order in which they are asked.
    pub fn lower(&self) -> &[Store] {
        &self.lower
    }

    /// This store and those below it, in the order in which they are asked.
    pub fn layers(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(self).chain(self.lower.iter())
    }

    /// The paths of a name, in the order in which they count.
    pub(super) fn places<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let below = self.lower.iter().filter(|_| !self.hides(name));
        std::iter::once(self.own(name)).chain(below.map(move |store| store.own(name)))
    }

    /// The path of a name in this store itself, whether it exists or not: the only one that is written.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether a path from [`Store::places`] is in this store itself.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// Hides a name of the lower stores, because its content there is wrong. Returns the mark.
    pub(super) fn hide(&self, path: &Path) -> Result<PathBuf> {
        let mark = self.mark(path);
        disk::create_own_dir_all(&self.own(HIDDEN))?;
        disk::replace_own(&mark, b"")?;
        Ok(mark)
    }

    fn hides(&self, name: &str) -> bool {
        self.mark(Path::new(name)).symlink_metadata().is_ok()
    }

    fn mark(&self, path: &Path) -> PathBuf {
        self.own(HIDDEN).join(path.file_name().unwrap_or(OsStr::new("")))
    }
}

const HELP: &str = "name another one with `--lower-store DIR`, or leave it out; KBUILD_LOWER_STORE and `lower` in the site \
                    configuration name some too";

/// The directory of a store that can be used as a lower one.
fn usable(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    match has_format(path) {
        Ok(true) => canonical(path),
        Ok(false) => Err(Error::input(format!("there is no store at {shown}, which was named as a lower one"))),
        Err(error) => Err(error.help(HELP).wrap(format!("{shown} cannot be a lower store"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::disk::FileLock;
    use crate::error::Kind;
    use crate::lock::{Content, Lock, Locked, LockedFile, LockedGit};
    use crate::source::{CommitId, Digests};
    use crate::store::GcLimits;
    use crate::store::fixture::{Upstream, file, rot, tree as a_tree};
    use crate::store::tests::{as_nobody, digests_of, make_read_only, temporary};
    use crate::store::{ExclusiveStore, tree, view};

    /// A lower store with a file and a commit that has a parent, and an empty store over it.
    struct Stack {
        directory: tempfile::TempDir,
        below: Store,
        upper: Store,
        upstream: Upstream,
        commits: [CommitId; 2],
        lock: Lock,
    }

    impl Stack {
        fn new() -> Stack {
            let (directory, below) = temporary();
            let upstream = Upstream::new();
            let first = upstream.commit(&[], &a_tree([("a", file("one"))]));
            let second = upstream.commit(&[first], &a_tree([("a", file("two"))]));
            let upper = Store::open(&directory.path().join("upper")).unwrap();
            let upper = upper.over(&[below.root().to_owned()]).unwrap();
            let mut stack =
                Stack { directory, below, upper, upstream, commits: [first, second], lock: Lock::default() };
            let digests = stack.add(&stack.below, b"content");
            stack.lock.files.insert("a".to_owned(), locked(&digests));
            let git = stack.add_git(&stack.below, &second);
            stack.lock.gits.insert("repo".to_owned(), git);
            stack
        }

        fn add(&self, to: &Store, bytes: &[u8]) -> Digests {
            let path = self.directory.path().join("file");
            fs::write(&path, bytes).unwrap();
            to.add_file(&path).unwrap()
        }

        fn add_git(&self, to: &Store, commit: &CommitId) -> LockedGit {
            let hash = tree::of_commit(&self.upstream.objects(), commit).unwrap();
            to.add_git(self.upstream.path(), commit, hash).unwrap();
            self.upstream.locked(commit, Some(hash))
        }

        fn locked(&self) -> [Locked<'_>; 2] {
            [Locked::File("a", &self.lock.files["a"]), Locked::Git("repo", &self.lock.gits["repo"])]
        }
    }

    fn locked(digests: &Digests) -> LockedFile {
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        LockedFile { name: None, urls: vec![], sha256: digests.sha256, stated_size: None, content }
    }

    /// Everything in a store.
    fn files_of(store: &Store) -> BTreeSet<PathBuf> {
        let entries = walkdir::WalkDir::new(store.root()).into_iter().map(|entry| entry.unwrap());
        entries.filter(|entry| !entry.file_type().is_dir()).map(|entry| entry.into_path()).collect()
    }

    #[test]
    fn what_a_lower_store_has_is_there_and_is_not_written_again() {
        let stack = Stack::new();
        let (upper, before) = (&stack.upper, files_of(&stack.upper));
        for locked in stack.locked() {
            assert!(upper.has(locked));
            assert_eq!(upper.size(locked), stack.below.size(locked));
            upper.verify(locked).unwrap();
            assert!(upper.discard(locked).unwrap().is_empty());
        }
        let digests = digests_of(b"content");
        assert_eq!(upper.by_sha256(&digests.sha256), Some(digests));
        assert!(upper.blob_path(&digests.blake3).starts_with(stack.below.root()));
        assert_eq!(upper.git(&stack.commits[1]).unwrap(), stack.below.git(&stack.commits[1]).unwrap());
        assert_eq!(stack.add(upper, b"content"), digests);
        let mut incoming = upper.incoming("key").unwrap();
        incoming.write(b"content").unwrap();
        assert_eq!(incoming.finish().unwrap(), digests);
        upper.adopt_git(stack.below.git(&stack.commits[1]).unwrap().unwrap()).unwrap();
        let left: Vec<_> = files_of(upper).difference(&before).cloned().collect();
        assert_eq!(left, [upper.own("git/.lock")]);

        // New content goes into the upper store only.
        let new = stack.add(upper, b"new");
        assert!(upper.blob_path(&new.blake3).starts_with(upper.root()) && !stack.below.has_blob(&new.blake3));
    }

    #[test]
    fn a_view_and_a_checkout_come_out_of_both() {
        let mut stack = Stack::new();
        let new = stack.add(&stack.upper, b"new");
        stack.lock.files.insert("b".to_owned(), locked(&new));
        let view = stack.directory.path().join("view");
        view::lay_out(&stack.upper, &stack.lock, &stack.lock.all_sources(), &view, &view.with_extension("record"))
            .unwrap();
        assert_eq!(fs::read(view.join("flat/a")).unwrap(), b"content");
        assert_eq!(fs::read(view.join("flat/b")).unwrap(), b"new");
        assert!(
            git2::Repository::open(view.join("git2").join(Locked::Git("repo", &stack.lock.gits["repo"]).name()))
                .is_ok()
        );
        let inode = fs::metadata(&view).unwrap().ino();
        view::lay_out(&stack.upper, &stack.lock, &stack.lock.all_sources(), &view, &view.with_extension("record"))
            .unwrap();
        assert_eq!(fs::metadata(&view).unwrap().ino(), inode, "nothing changed, so it stands");
        let out = stack.directory.path().join("out");
        super::super::checkout::check_out(&stack.upper, &stack.lock, &stack.lock.gits["repo"], &out).unwrap();
        assert_eq!(fs::read(out.join("a")).unwrap(), b"two");
    }

    #[test]
    fn another_users_read_only_store_will_do() {
        let stack = Stack::new();
        let Stack { directory, below, lock, .. } = &stack;
        make_read_only(below.root());
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        as_nobody(|| {
            let own = tempfile::tempdir().unwrap();
            let upper = Store::open(&own.path().join("store")).unwrap().over(&[below.root().to_owned()]).unwrap();
            let view = own.path().join("view");
            view::lay_out(&upper, lock, &lock.all_sources(), &view, &view.with_extension("record")).unwrap();
            assert_eq!(fs::read(view.join("flat/a")).unwrap(), b"content");
            assert_eq!(upper.lower()[0].incoming("key").unwrap_err().kind(), Kind::Io);
        });
        disk::remove_dir_all(below.root()).unwrap();
    }

    #[test]
    fn what_is_rotten_below_is_found_hidden_and_brought_again_above() {
        let stack = Stack::new();
        let [a, repo] = stack.locked();
        let blob = stack.below.blob_path(&digests_of(b"content").blake3);
        rot(&blob);
        let error = stack.upper.verify(a).unwrap_err();
        assert!(error.kind() == Kind::Mismatch && error.to_string().contains(blob.to_str().unwrap()), "{error}");
        let marks = stack.upper.discard(a).unwrap();
        assert_eq!(marks.len(), 1);
        assert!(marks[0].starts_with(stack.upper.own(HIDDEN)) && !stack.upper.has(a) && blob.is_file());
        assert_eq!(stack.upper.verify(a).unwrap_err().kind(), Kind::Missing);
        stack.add(&stack.upper, b"content");
        stack.upper.verify(a).unwrap();

        for (number, blob) in stack.below.git(&stack.commits[1]).unwrap().unwrap().blobs().enumerate() {
            rot(&stack.below.blob_path(&blob));
            assert_eq!(stack.upper.verify(repo).unwrap_err().kind(), Kind::Mismatch, "{number}");
            assert_eq!(stack.upper.discard(repo).unwrap().len(), 1);
            assert!(!stack.upper.has(repo));
            stack.add_git(&stack.upper, &stack.commits[1]);
            stack.upper.verify(repo).unwrap();
        }
        // A collector removes the marks; this store's own content still comes before that of lower stores.
        let marks = stack.upper.inventory().unwrap().set_aside;
        assert_eq!(marks.len(), 3);
        assert_eq!(
            stack.upper.gc_plan(std::slice::from_ref(&stack.lock), &[], &GcLimits::default()).unwrap().set_aside,
            marks
        );
        marks.iter().for_each(|mark| fs::remove_file(&mark.path).unwrap());
        [a, repo].into_iter().for_each(|locked| stack.upper.verify(locked).unwrap());
    }

    #[test]
    fn a_wrong_record_or_link_below_is_hidden_too() {
        let stack = Stack::new();
        let [_, repo] = stack.locked();
        let record = stack.below.record_path(&stack.commits[1]);
        let lie =
            crate::store::GitRecord { tree: [7; 32].into(), ..stack.below.git(&stack.commits[1]).unwrap().unwrap() };
        for text in [lie.to_string(), "not toml".to_owned()] {
            fs::write(&record, text).unwrap();
            assert!(!stack.upper.has(repo) && stack.upper.verify(repo).is_err());
            assert_eq!(stack.upper.discard(repo).unwrap().len(), 1);
            stack.add_git(&stack.upper, &stack.commits[1]);
            stack.upper.verify(repo).unwrap();
            fs::remove_file(stack.upper.record_path(&stack.commits[1])).unwrap();
            fs::remove_dir_all(stack.upper.own(HIDDEN)).unwrap();
        }
        let other = stack.add(&stack.below, b"other");
        let by_sha256 = LockedFile { content: None, ..stack.lock.files["a"].clone() };
        let link = stack.below.find_link(&by_sha256.sha256).unwrap().0;
        fs::remove_file(&link).unwrap();
        let target = format!("../{}", crate::store::blob_name(&other.blake3));
        std::os::unix::fs::symlink(target, &link).unwrap();
        let claim = Locked::File("a", &by_sha256);
        assert_eq!(stack.upper.verify(claim).unwrap_err().kind(), Kind::Mismatch);
        stack.upper.discard(claim).unwrap();
        assert!(!stack.upper.has(claim));
        stack.add(&stack.upper, b"content");
        stack.upper.verify(claim).unwrap();
    }

    #[test]
    fn a_damaged_blob_here_leaves_room_for_a_sound_one_below() {
        let stack = Stack::new();
        let [a, _] = stack.locked();
        let exclusive = Store::open(stack.upper.root()).unwrap();
        stack.add(&exclusive, b"content");
        assert!(stack.upper.blob_path(&digests_of(b"content").blake3).starts_with(stack.upper.root()));
        rot(&exclusive.blob_path(&digests_of(b"content").blake3));
        assert_eq!(stack.upper.verify(a).unwrap_err().kind(), Kind::Mismatch);
        assert_eq!(stack.upper.discard(a).unwrap().len(), 1);
        stack.upper.verify(a).unwrap();
    }

    #[test]
    fn more_history_counts_in_any_layer() {
        let stack = Stack::new();
        let wants_all = LockedGit { history: true, ..stack.lock.gits["repo"].clone() };
        let exclusive = Store::open(stack.upper.root()).unwrap();
        let shallow = stack.directory.path().join("shallow.git");
        let url = format!("file://{}", stack.upstream.path().display());
        stack.upstream.set_ref("refs/heads/main", &stack.commits[1]);
        let git = || crate::git::local_git(stack.directory.path());
        crate::git::run(
            git().args(["clone", "-q", "--bare", "--depth=1", "-b", "main", &url]).arg(&shallow),
            Kind::Bug,
        )
        .unwrap();
        exclusive.add_git(&shallow, &stack.commits[1], wants_all.tree.unwrap()).unwrap();
        assert!(!exclusive.has_git(&wants_all) && stack.upper.has_git(&wants_all));
        assert!(stack.upper.record_path(&stack.commits[1]).starts_with(stack.below.root()));
    }

    #[test]
    fn a_collector_removes_nothing_below_and_keeps_what_a_lower_record_names() {
        let stack = Stack::new();
        let exclusive = Store::open(stack.upper.root()).unwrap();
        stack.add(&exclusive, b"content");
        stack.add(&exclusive, b"unwanted");
        stack.add(&stack.below, b"unwanted below");
        // A pack that the lower store lost is in the upper one, and only the lower record names it.
        let record = stack.below.git(&stack.commits[1]).unwrap().unwrap();
        let pack = stack.below.blob_path(&record.packs[0].pack);
        exclusive.add_file(&pack).unwrap();
        fs::remove_file(&pack).unwrap();
        let below = files_of(&stack.below);
        let (upper, lower) = (stack.upper.root().to_owned(), stack.below.root().to_owned());
        let Stack { directory: _directory, lock, upper: store, below: other, .. } = stack;
        drop((exclusive, store, other));
        let collector = ExclusiveStore::with(&upper, || ()).unwrap().over(std::slice::from_ref(&lower)).unwrap();
        let plan = collector.store().gc_plan(std::slice::from_ref(&lock), &[], &GcLimits::default()).unwrap();
        assert_eq!((plan.blobs.len(), plan.kept, plan.twice, plan.twice_bytes), (1, 2, 1, 7));
        collector.remove(&plan, || Ok(())).unwrap();
        assert!(lock.all_sources().iter().all(|id| collector.store().has(lock.get(id).unwrap())));
        assert!(
            FileLock::try_exclusive(&lower.join("lock")).unwrap().is_none(),
            "the store is a reader of the lower one"
        );
        drop(collector);
        assert_eq!(files_of(&Store::open_existing(&lower).unwrap()), below);
    }

    #[test]
    fn a_handle_that_holds_nothing_keeps_no_collector_waiting_below() {
        let Stack { directory: _directory, below, upper, .. } = Stack::new();
        let (lock, unheld) = (below.own("lock"), upper.unheld());
        drop((below, upper));
        // A child of another test has all files open for a moment, between fork and exec.
        let free = || FileLock::try_exclusive(&lock).unwrap().is_some();
        assert!((0..100).any(|_| free() || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            false
        }));
        assert!(unheld.has_blob(&digests_of(b"content").blake3));
    }

    #[test]
    fn what_cannot_be_a_lower_store_is_said() {
        let (directory, store) = temporary();
        let over = |path: &Path| store.clone().over(&[path.to_owned()]);
        assert!(over(store.root()).unwrap().lower().is_empty(), "the same directory");
        let other = Store::open(&directory.path().join("other")).unwrap();
        let twice = vec![other.root().to_owned(), directory.path().join("store/../other")];
        assert_eq!(store.clone().over(&twice).unwrap().layers().count(), 2);
        let missing = over(&directory.path().join("nowhere")).unwrap_err();
        assert!(missing.to_string().contains("there is no store at") && missing.hint().is_some(), "{missing}");
        fs::write(other.own("format"), "kbuild store 2\n").unwrap();
        let newer = over(other.root()).unwrap_err();
        assert_eq!((newer.kind(), newer.causes()[0].contains("from a newer kbuild")), (Kind::Input, true), "{newer}");
    }
}
