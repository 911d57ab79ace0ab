//! Views of stores that hold a few files and commits.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::*;
use crate::git::{local_git, run};
use crate::lock::Content;
use crate::source::{CommitId, Digests};
use crate::store::fixture::{Item, Tree, Upstream, file, tree};
use crate::store::tests::{digests_of, temporary};

/// A store, a lock over what is put into it, and the place of a view.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    lock: Lock,
}

impl Bench {
    fn new() -> Bench {
        let (directory, store) = temporary();
        Bench { directory, store, lock: Lock::default() }
    }

    fn view(&self) -> PathBuf {
        self.directory.path().join("sources")
    }

    fn record(&self) -> PathBuf {
        self.directory.path().join("record")
    }

    fn ids(&self) -> Vec<SourceId> {
        let files = self.lock.files.keys().cloned().map(SourceId::File);
        files.chain(self.lock.gits.keys().cloned().map(SourceId::Git)).collect()
    }

    fn lay_out(&self) -> Result<()> {
        lay_out(&self.store, &self.lock, &self.ids(), &self.view(), &self.record())
    }

    fn file(&mut self, key: &str, url: &str, bytes: &[u8]) -> Digests {
        let path = self.directory.path().join("upstream");
        fs::write(&path, bytes).unwrap();
        let digests = self.store.add_file(&path).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let file = LockedFile {
            name: None,
            urls: vec![url.parse().unwrap()],
            sha256: digests.sha256,
            stated_size: None,
            content,
        };
        self.lock.files.insert(key.to_owned(), file);
        digests
    }

    /// Brings one commit of an upstream in, cut off behind it unless `history`, and locks it.
    fn git(&mut self, name: &str, upstream: &Upstream, commit: &CommitId, refs: &[&str], history: bool) -> String {
        upstream.set_ref("refs/heads/fetched", commit);
        let scratch = self.store.scratch().unwrap();
        run(local_git(scratch.path()).args(["init", "-q", "--bare"]).arg(scratch.path()), Kind::Bug).unwrap();
        let url = format!("file://{}", upstream.path().display());
        let depth = if history { "--no-tags" } else { "--depth=1" };
        let mut fetch = local_git(scratch.path());
        run(fetch.args(["fetch", "-q", depth, &url, "fetched"]), Kind::Bug).unwrap();
        let hash = crate::store::tree::of_commit(&upstream.objects(), commit).unwrap();
        self.store.add_git(scratch.path(), commit, hash).unwrap();
        let refs = refs.iter().map(|&name| name.to_owned()).collect();
        let key = format!("{name}@{}", commit.short());
        let locked = LockedGit { refs, history, ..upstream.locked(commit, Some(hash)) };
        self.lock.gits.insert(key.clone(), locked);
        key
    }

    fn git_in(&self, name: &str, arguments: &[&str]) -> String {
        let output = run(local_git(&self.view().join("git2").join(name)).args(arguments), Kind::Bug);
        String::from_utf8(output.unwrap()).unwrap().trim().to_owned()
    }
}

fn inner(text: &str) -> Tree {
    tree([("a", file(text))])
}

#[test]
fn files_stand_under_every_name_that_a_release_looks_for() {
    let mut bench = Bench::new();
    bench.file("get.php", "https://h/get.php?f=a", b"one");
    bench.file("named.tgz", "https://h/x?y", b"two");
    bench.file("sub/deep.tgz", "https://h/deep.tgz", b"three");
    bench.lay_out().unwrap();
    for (path, bytes) in [
        ("flat/get.php", "one"),
        ("flat/get.php?f=a", "one"),
        ("dl/get.php", "one"),
        ("dl/get.php?f=a", "one"),
        ("flat/named.tgz", "two"),
        ("flat/deep.tgz", "three"),
        ("dl/sub/deep.tgz", "three"),
    ] {
        assert_eq!(fs::read_to_string(bench.view().join(path)).unwrap(), bytes, "{path}");
        assert!(fs::read_link(bench.view().join(path)).unwrap().starts_with(bench.store.root()));
    }
    assert!(!bench.view().join("flat/x?y").exists(), "a name that was given is the only one");
}

#[test]
fn two_contents_under_one_name_are_refused_naming_both() {
    let mut bench = Bench::new();
    bench.file("get.php", "https://h/get.php?f=a", b"one");
    bench.file("get.php?f=a", "https://h/other", b"two");
    let error = bench.lay_out().unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("file:get.php and file:get.php?f=a"), "{error}");

    let mut bench = Bench::new();
    bench.file("a/x", "https://h/x", b"same");
    bench.file("b/x", "https://h/x", b"same");
    bench.lay_out().unwrap();
}

#[test]
fn what_is_missing_is_counted_and_named() {
    let mut bench = Bench::new();
    for number in 0..7 {
        let Digests { sha256, .. } = digests_of(&[number]);
        let file = LockedFile { name: None, urls: vec![], sha256, stated_size: None, content: None };
        bench.lock.files.insert(format!("f{number}"), file);
    }
    let error = bench.lay_out().unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert_eq!(
        error.to_string(),
        "7 sources are not in the store: file:f0, file:f1, file:f2, file:f3, file:f4 and 2 more"
    );
    assert!(!bench.view().exists());
}

#[test]
fn a_view_that_stands_is_left_alone_and_a_damaged_or_other_one_is_made_again() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let commit = upstream.commit(&[], &inner("one"));
    bench.git("h.x", &upstream, &commit, &["refs/heads/main"], false);
    bench.file("x.tgz", "https://h/x.tgz", b"one");
    let inode = || fs::metadata(bench.view()).unwrap().ino();
    bench.lay_out().unwrap();
    fs::write(bench.view().join("dl/x.tgz.done"), "stamp").unwrap();
    let mut last = inode();
    fs::create_dir(bench.view().join("git2/h.x/hooks")).unwrap();
    bench.lay_out().unwrap();
    assert_eq!(inode(), last);
    for path in ["dl/x.tgz.done", "git2/h.x/hooks"] {
        assert!(!bench.view().join(path).exists(), "{path}: what is not of the view goes");
    }

    let renamed = |path: &str| fs::rename(bench.view().join(path), bench.view().join("away")).unwrap();
    for path in ["flat/x.tgz", "dl/x.tgz", "git2/h.x", "git2/h.x/packed-refs", "git2/h.x/refs/tags", "packs/h.x"] {
        renamed(path);
        bench.lay_out().unwrap();
        assert_ne!(inode(), last, "{path}");
        assert!(bench.view().join(path).exists(), "{path}");
        assert!(!bench.view().join("away").exists(), "{path}");
        last = inode();
    }
    // Of the same size, or by another name of the same bytes: only what was written counts.
    for (path, bytes) in [("git2/h.x/HEAD", "ref: refs/heads/evil\n"), ("git2/h.x/config", "[core]\n\tfsmonitor = x\n")]
    {
        fs::write(bench.view().join(path), bytes).unwrap();
        bench.lay_out().unwrap();
        assert_ne!(fs::read_to_string(bench.view().join(path)).unwrap(), bytes, "{path}");
    }
    let copy = bench.directory.path().join("copy");
    fs::copy(bench.view().join("flat/x.tgz"), &copy).unwrap();
    fs::remove_file(bench.view().join("flat/x.tgz")).unwrap();
    fs::rename(&copy, bench.view().join("flat/x.tgz")).unwrap();
    bench.lay_out().unwrap();
    assert!(fs::symlink_metadata(bench.view().join("flat/x.tgz")).unwrap().is_symlink());
    last = inode();
    fs::write(bench.record(), "{}").unwrap();
    bench.lay_out().unwrap();
    assert_ne!(inode(), last, "nothing says what the view holds");
    bench.lock.gits.clear();
    bench.lay_out().unwrap();
    assert!(!bench.view().join("git2/h.x").exists());
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 4, "store, upstream, view and record");
}

#[test]
fn a_clone_holds_what_bitbake_asks_git_for() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let first = upstream.commit(&[], &inner("one"));
    let second = upstream.commit(&[first], &inner("two"));
    bench.git("h.x", &upstream, &second, &["refs/heads/main", "refs/tags/v2"], false);
    bench.lay_out().unwrap();
    assert_eq!(bench.git_in("h.x", &["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(bench.git_in("h.x", &["rev-parse", "refs/tags/v2"]), second.to_string());
    assert_eq!(bench.git_in("h.x", &["branch", "--contains", &second.to_string(), "--list", "main"]), "* main");
    assert_eq!(bench.git_in("h.x", &["rev-list", "--count", "main"]), "1");
    assert_eq!(bench.git_in("h.x", &["fsck", "--strict"]), "");
    let work = bench.directory.path().join("work");
    bench.git_in(
        "h.x",
        &["clone", "-q", "-n", "-s", bench.view().join("git2/h.x").to_str().unwrap(), work.to_str().unwrap()],
    );
    let mut checkout = local_git(&work.join(".git"));
    run(checkout.arg("--work-tree").arg(&work).args(["checkout", "-q", "-B", "main", &second.to_string()]), Kind::Bug)
        .unwrap();
    assert_eq!(fs::read_to_string(work.join("a")).unwrap(), "two");

    // A plain clone, which is refused where packs are symlinks, and which must not have the store's own files either.
    let plain = bench.directory.path().join("plain");
    bench.git_in(
        "h.x",
        &["clone", "-q", "-n", bench.view().join("git2/h.x").to_str().unwrap(), plain.to_str().unwrap()],
    );
    no_file_is_the_stores(&bench.store, &bench.view());
    no_file_is_the_stores(&bench.store, &plain);
}

/// Nothing in a directory is another name of a file of the store.
fn no_file_is_the_stores(store: &Store, directory: &Path) {
    let files = |directory: &Path| {
        let entries = walkdir::WalkDir::new(directory).into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().ino());
        files.collect::<std::collections::HashSet<_>>()
    };
    assert!(files(store.root()).is_disjoint(&files(directory)), "{}", directory.display());
}

#[test]
fn a_rotten_pack_that_was_fetched_again_is_what_the_view_has() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let commit = upstream.commit(&[], &inner("one"));
    let key = bench.git("h.x", &upstream, &commit, &["refs/heads/main"], false);
    bench.lay_out().unwrap();
    let pack = bench.store.git(&commit).unwrap().unwrap().packs[0].pack;
    crate::store::fixture::rot(&bench.store.blob_path(&pack));
    bench.store.discard(bench.lock.get(&SourceId::Git(key)).unwrap()).unwrap();
    bench.git("h.x", &upstream, &commit, &["refs/heads/main"], false);
    bench.lay_out().unwrap();
    assert_eq!(bench.git_in("h.x", &["fsck", "--strict"]), "");
}

#[test]
fn several_pins_share_a_clone() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let first = upstream.commit(&[], &inner("one"));
    let second = upstream.commit(&[first], &inner("two"));
    let third = upstream.commit(&[second], &inner("three"));
    // The whole history of `second`, and of the others one commit each; two are pinned on one branch.
    bench.git("h.x", &upstream, &first, &[], false);
    bench.git("h.x", &upstream, &second, &["refs/heads/main"], true);
    bench.git("h.x", &upstream, &third, &["refs/heads/main", "refs/tags/v3"], false);
    bench.lay_out().unwrap();
    for commit in [&second, &third] {
        let list = bench.git_in("h.x", &["branch", "--contains", &commit.to_string(), "--list", "main"]);
        assert!(list.contains("main"), "{commit}: {list}");
    }
    let nameless = format!("refs/heads/kbuild-{}", first.short());
    assert_eq!(bench.git_in("h.x", &["rev-parse", &nameless]), first.to_string());
    assert_eq!(bench.git_in("h.x", &["rev-list", "--count", &second.to_string()]), "2", "history is not cut");
    assert!(!bench.view().join("git2/h.x/shallow").exists(), "every parent is there");
    // A recipe may spell the URL with `.git`.
    assert_eq!(bench.git_in("h.x.git", &["rev-parse", "main"]), bench.git_in("h.x", &["rev-parse", "main"]));
    bench.git_in("h.x", &["fsck", "--connectivity-only"]);

    let other = upstream.commit(&[], &inner("other"));
    bench.git("h.x", &upstream, &other, &["refs/tags/v3"], false);
    let error = bench.lay_out().unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("refs/tags/v3"), "{error}");
}

#[test]
fn refs_that_git_would_refuse_are_refused() {
    for refs in [vec!["main"], vec!["refs/heads/../x"], vec!["refs/heads/a", "refs/heads/a/b"]] {
        let mut bench = Bench::new();
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], &inner("one"));
        bench.git("h.x", &upstream, &commit, &refs, false);
        assert_eq!(bench.lay_out().unwrap_err().kind(), Kind::Input, "{refs:?}");
    }
}

#[test]
fn submodules_come_along_as_clones_of_their_own() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let child = upstream.commit(&[], &inner("child"));
    let parent = upstream.commit(&[], &tree([("sub", Item::Submodule(child))]));
    let child_key = bench.git("h.child", &upstream, &child, &[], false);
    let key = bench.git("h.parent", &upstream, &parent, &["refs/heads/main"], false);
    bench.lock.gits.get_mut(&key).unwrap().submodules.insert("sub".to_owned(), child_key);
    lay_out(&bench.store, &bench.lock, &[SourceId::Git(key)], &bench.view(), &bench.record()).unwrap();
    let branch = format!("refs/heads/kbuild-{}", child.short());
    assert_eq!(bench.git_in("h.child", &["symbolic-ref", "HEAD"]), branch);
    assert_eq!(bench.git_in("h.child", &["rev-parse", "HEAD"]), child.to_string());
}

#[test]
fn a_store_that_cannot_be_written_gives_views_and_checkouts() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let commit = upstream.commit(&[], &inner("one"));
    let key = bench.git("h.x", &upstream, &commit, &[], false);
    bench.file("x.tgz", "https://h/x.tgz", b"one");
    let reader = Store::open_existing(bench.store.root()).unwrap();
    lay_out(&reader, &bench.lock, &bench.ids(), &bench.view(), &bench.record()).unwrap();
    assert_eq!(bench.git_in("h.x", &["rev-parse", "HEAD"]), commit.to_string());
    let target = bench.directory.path().join("layer");
    crate::store::checkout::check_out(&reader, &bench.lock, &bench.lock.gits[&key], &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "one");
    bench.ids().iter().try_for_each(|id| reader.verify(bench.lock.get(id).unwrap())).unwrap();
}

#[test]
fn a_name_of_its_own_is_the_name_that_is_offered() {
    let mut bench = Bench::new();
    bench.file("x.tgz", "https://h/x.tgz", b"one");
    bench.file("x.tgz@other", "https://other/x.tgz", b"two");
    bench.lock.files.get_mut("x.tgz@other").unwrap().name = Some("x.tgz".to_owned());
    let one = |key: &str| vec![SourceId::File(key.to_owned())];
    for (key, bytes) in [("x.tgz", "one"), ("x.tgz@other", "two")] {
        lay_out(&bench.store, &bench.lock, &one(key), &bench.view(), &bench.record()).unwrap();
        assert_eq!(fs::read_to_string(bench.view().join("flat/x.tgz")).unwrap(), bytes);
        assert!(!bench.view().join("flat/x.tgz@other").exists());
    }
    let error = bench.lay_out().unwrap_err();
    assert!(error.to_string().contains("file:x.tgz and file:x.tgz@other"), "{error}");
}

#[test]
fn a_clone_stands_under_every_name_that_recipes_give_it() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let commit = upstream.commit(&[], &inner("one"));
    let key = bench.git("h.x", &upstream, &commit, &["refs/heads/main"], false);
    let rebaseable = format!("h.x_{commit}");
    bench.lock.gits.get_mut(&key).unwrap().clones.insert(rebaseable.clone());
    bench.lay_out().unwrap();
    for name in ["h.x", "h.x.git", &rebaseable] {
        assert_eq!(bench.git_in(name, &["rev-parse", "main"]), commit.to_string());
    }
    bench.lock.gits.get_mut(&key).unwrap().clones.insert("../out".to_owned());
    assert_eq!(bench.lay_out().unwrap_err().kind(), Kind::Input);
}

#[test]
fn fetchers_that_want_more_than_a_file_get_it() {
    let mut bench = Bench::new();
    bench.file("m_h_.p_1_1.tar.gz", "svn://h/p;module=m;rev=1", b"svn");
    let a = bench.file("scope-a-1.0.0.tgz", "npm://h/;package=@scope/a;version=1.0.0", b"npm");
    let b = bench.file("npm2/b-1.0.0.tgz", "https://h/b/-/b-1.0.0.tgz", b"npmsw");
    bench.lay_out().unwrap();
    let read = |path: &str| fs::read_to_string(bench.view().join(path)).unwrap();
    assert_eq!((read("dl/m_h_.p_1_1.tar.gz"), read("dl/m_h_.p_1_1.tar.gz.done")), ("svn".to_owned(), String::new()));
    assert_eq!(read("flat/scope-a-1.0.0.tgz"), "npm");
    let says = |url: &str, name: &str, sha256| format!("{url};downloadfilename=npm2/{name};sha256sum={sha256}");
    let expected = says("https://h/@scope/a/-/a-1.0.0.tgz", "scope-a-1.0.0.tgz", a.sha256);
    assert_eq!(read("dl/npm2/scope-a-1.0.0.tgz.resolved"), expected);
    let expected = says("https://h/b/-/b-1.0.0.tgz", "b-1.0.0.tgz", b.sha256);
    assert_eq!(read("dl/npm2/b-1.0.0.tgz.resolved"), expected);
    assert!(!bench.view().join("dl/scope-a-1.0.0.tgz").exists());

    fs::write(bench.view().join("dl/npm2/b-1.0.0.tgz.resolved"), "by a recipe").unwrap();
    fs::remove_file(bench.view().join("dl/m_h_.p_1_1.tar.gz.done")).unwrap();
    bench.lay_out().unwrap();
    assert_eq!(read("dl/npm2/b-1.0.0.tgz.resolved"), expected);
    assert_eq!(read("dl/m_h_.p_1_1.tar.gz.done"), "");
}

#[test]
fn thousands_of_files_are_laid_out_without_reading_one() {
    let mut bench = Bench::new();
    for number in 0..5000_u32 {
        // Blobs with the size that the lock says, and none of its bytes: whoever read them would notice.
        let digests = digests_of(&number.to_le_bytes());
        let blob = bench.store.blob_path(&digests.blake3);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, [0; 4]).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: 4 });
        let urls = vec![format!("crate://crates.io/c/{number}").parse().unwrap()];
        let file = LockedFile { name: None, urls, sha256: digests.sha256, stated_size: None, content };
        bench.lock.files.insert(format!("c-{number}.crate"), file);
    }
    bench.lay_out().unwrap();
    let inode = fs::metadata(bench.view()).unwrap().ino();
    bench.lay_out().unwrap();
    assert_eq!(fs::metadata(bench.view()).unwrap().ino(), inode, "it stands");
    assert_eq!(fs::read_dir(bench.view().join("flat")).unwrap().count(), 5000);
}

/// A tree with a pointer to these bytes, which are put into the store and the lock.
fn with_large_file(bench: &mut Bench, bytes: &[u8]) -> (crate::store::fixture::Tree, Digests) {
    let path = bench.directory.path().join("large");
    fs::write(&path, bytes).unwrap();
    let digests = bench.store.add_file(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let Digests { sha256, blake3, size } = digests;
    let content = Some(Content { blake3, size });
    let urls = vec!["lfs+https://h/x.git/info/lfs".parse().unwrap()];
    let object = LockedFile { name: None, urls, sha256, stated_size: Some(size), content };
    bench.lock.lfs.insert(sha256.to_string(), object);
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
    let attributes = crate::store::fixture::file("*.bin filter=lfs\n");
    (tree([(".gitattributes", attributes), ("a.bin", crate::store::fixture::executable(&pointer))]), digests)
}

#[test]
fn objects_of_git_lfs_are_where_git_lfs_looks_and_in_checkouts() {
    let mut bench = Bench::new();
    let upstream = Upstream::new();
    let (content, Digests { sha256, .. }) = with_large_file(&mut bench, b"large");
    let commit = upstream.commit(&[], &content);
    let key = bench.git("h.x", &upstream, &commit, &["refs/heads/main"], false);
    bench.lock.gits.get_mut(&key).unwrap().lfs.insert("a.bin".to_owned(), sha256.to_string());
    bench.lay_out().unwrap();
    let oid = sha256.to_string();
    for clone in ["h.x", "h.x.git"] {
        let object = bench.view().join(format!("git2/{clone}/lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]));
        assert_eq!(fs::read(&object).unwrap(), b"large");
        assert!(fs::read_link(&object).unwrap().starts_with(bench.store.root()));
    }
    no_file_is_the_stores(&bench.store, &bench.view());
    assert_eq!(fs::read_dir(bench.view().join("flat")).unwrap().count(), 0, "no mirror is asked for it by a name");
    let inode = fs::metadata(bench.view()).unwrap().ino();
    bench.lay_out().unwrap();
    assert_eq!(fs::metadata(bench.view()).unwrap().ino(), inode, "the view stands");

    let target = bench.directory.path().join("layer");
    let check_out = || crate::store::checkout::check_out(&bench.store, &bench.lock, &bench.lock.gits[&key], &target);
    check_out().unwrap();
    let file = target.join("a.bin");
    assert_eq!(fs::read(&file).unwrap(), b"large");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o755);
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let before = inode(&target);
    check_out().unwrap();
    assert_eq!(inode(&target), before, "the checkout stands");
    fs::write(&file, "edited").unwrap();
    assert_eq!(check_out().unwrap(), ["modified: a.bin"]);
    assert_eq!(fs::read(&file).unwrap(), b"edited", "no edit is undone");
    no_file_is_the_stores(&bench.store, &target);

    fs::remove_dir_all(&target).unwrap();
    let mut without = bench.lock.gits[&key].clone();
    without.lfs.clear();
    crate::store::checkout::check_out(&bench.store, &bench.lock, &without, &target).unwrap();
    assert!(fs::read_to_string(&file).unwrap().starts_with("version "), "left as it is in the tree");
}
