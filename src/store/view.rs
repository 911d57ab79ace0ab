//! Views: the sources of one board under the names BitBake looks for, made of links.
//!
//! ```text
//! <view>/
//!   view              hash over what the view holds
//!   flat/<name>       symlink to a blob: what PREMIRRORS names
//!   dl/<name>         the same, in a directory that BitBake may write: DL_DIR
//!   git2/<clone>/     bare repository over hard links to packs: GITDIR
//! ```
//! A view can be deleted and made again, and BitBake may do to it what it likes: it renames links whose bytes it dislikes
//! (`bb.fetch2.rename_bad_checksum`), and `cleanall` deletes repositories. So a view that lost something is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use git2::Oid;

use super::{Pack, Store};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{broken_object, could_not_start, failed, local_git, open_objects};
use crate::lock::{Lock, Locked, LockedFile, LockedGit};
use crate::source::name::{check_component, file_name, older_file_names, other_clone_name};
use crate::source::{Blake3, CommitId, SourceId};

/// What the stamp hashes begins with; another layout gets another number.
const DOMAIN: &str = "kbuild view 1\n";

/// How many missing sources a message names.
const NAMED: usize = 5;

/// A bare repository that git never touches by itself.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n";

/// Lays out `directory/{flat,git2,dl}` for the given sources (submodules come along); whatever was there is replaced as a
/// whole, unless it is the same view already.
///
/// # Errors
/// A source that the store lacks (kind `Missing`), two contents under one name (kind `Input`).
pub fn lay_out(store: &Store, lock: &Lock, sources: &[SourceId], directory: &Path) -> Result<()> {
    let view = View::plan(store, lock, sources)?;
    if view.stands_in(directory) {
        return Ok(());
    }
    let new = disk::directory_beside(directory)?;
    view.write(new.path())?;
    disk::replace_directory(new, directory)
}

/// All that a view will hold.
struct View<'a> {
    store: &'a Store,
    /// Path below the view to the blob it leads to.
    links: BTreeMap<String, Link>,
    repositories: BTreeMap<String, Repository>,
}

/// A name of a file.
struct Link {
    blob: Blake3,
    /// The lock's key that asked for it.
    key: String,
}

/// One clone: every pin of one upstream.
#[derive(Clone, Default)]
struct Repository {
    packs: BTreeMap<String, Pack>,
    /// Commits whose parents some pack lacks; another pack may have them.
    shallow: BTreeSet<CommitId>,
    /// A branch may have to contain several commits.
    refs: BTreeMap<String, BTreeSet<CommitId>>,
}

impl<'a> View<'a> {
    fn plan(store: &'a Store, lock: &Lock, sources: &[SourceId]) -> Result<View<'a>> {
        let ids = lock.with_submodules(sources);
        let locked = ids.iter().map(|id| lock.get(id)).collect::<Result<Vec<_>>>()?;
        let missing: Vec<_> =
            ids.iter().zip(&locked).filter(|(_, locked)| !store.has(**locked)).map(|(id, _)| id).collect();
        if !missing.is_empty() {
            return Err(lacking(&missing));
        }
        let mut view = View { store, links: BTreeMap::new(), repositories: BTreeMap::new() };
        for locked in locked {
            match locked {
                Locked::File(key, file) => view.add_file(key, file)?,
                Locked::Git(key, git) => view.add_git(key, git)?,
            }
        }
        view.repositories.iter().try_for_each(|(name, repository)| repository.check(name))?;
        view.add_other_spellings();
        Ok(view)
    }

    fn add_file(&mut self, key: &str, file: &LockedFile) -> Result<()> {
        // Older releases take other names from the same URL, unless the recipe gave the name itself.
        let url = file.urls.first().filter(|url| file_name(url).is_ok_and(|name| name == key));
        for name in url.map(older_file_names).unwrap_or_default().into_iter().chain([key.to_owned()]) {
            // A `downloadfilename` may hold a directory: DL_DIR keeps it, a mirror is asked for the last part alone.
            name.split('/').try_for_each(check_component)?;
            let last = name.rsplit('/').next().unwrap_or(&name);
            self.add_link(format!("flat/{last}"), key, file)?;
            self.add_link(format!("dl/{name}"), key, file)?;
        }
        Ok(())
    }

    fn add_link(&mut self, path: String, key: &str, file: &LockedFile) -> Result<()> {
        let found = self.store.find_file(file).ok_or_else(|| lacking(&[&SourceId::File(key.to_owned())]))?;
        let blob = found.blake3;
        match self.links.get(&path) {
            Some(present) if present.blob != blob => {
                let (_, name) = path.split_once('/').unwrap_or_default();
                let message = format!("file:{} and file:{key} are different files", present.key);
                let help = format!("BitBake would look for both as `{name}`: give one of them another `filename`");
                Err(Error::input(message).help(help))
            }
            _ => {
                self.links.insert(path, Link { blob, key: key.to_owned() });
                Ok(())
            }
        }
    }

    fn add_git(&mut self, key: &str, git: &LockedGit) -> Result<()> {
        let record = self.store.git(&git.commit)?.ok_or_else(|| lacking(&[&SourceId::Git(key.to_owned())]))?;
        // The name in the key is the engine's own where it was discovered.
        let name = key.rsplit_once('@').map_or(key, |(name, _)| name);
        check_component(name)?;
        let repository = self.repositories.entry(name.to_owned()).or_default();
        repository.packs.extend(record.packs.into_iter().map(|pack| (pack.name.clone(), pack)));
        repository.shallow.extend(record.shallow);
        let mut refs = git.refs.clone();
        // `git clone` copies only what a ref leads to, so a pin without a branch (`nobranch`, submodules) gets one.
        if !refs.iter().any(|name| name.starts_with("refs/heads/")) {
            refs.insert(format!("refs/heads/kbuild-{}", git.commit.short()));
        }
        for name in refs {
            repository.refs.entry(name).or_default().insert(git.commit);
        }
        Ok(())
    }

    /// Offers each clone under both spellings of its URL; one that has pins of its own stays as it is.
    fn add_other_spellings(&mut self) {
        let others = self.repositories.iter().map(|(name, repository)| (other_clone_name(name), repository.clone()));
        let others: Vec<_> = others.collect();
        for (name, repository) in others {
            self.repositories.entry(name).or_insert(repository);
        }
    }

    /// Whether the directory holds this view, with nothing renamed or deleted by BitBake.
    fn stands_in(&self, directory: &Path) -> bool {
        let stamp = fs::read_to_string(directory.join("view"));
        stamp.is_ok_and(|stamp| stamp == self.stamp())
            && self.links.iter().all(|(path, link)| {
                fs::canonicalize(directory.join(path)).is_ok_and(|target| target == self.store.blob_path(&link.blob))
            })
            && self.repositories.iter().all(|(name, repository)| {
                let directory = directory.join("git2").join(name);
                ["HEAD", "packed-refs", "refs"].iter().all(|name| directory.join(name).exists())
                    && repository.pack_files().all(|(file, blob)| {
                        let size = fs::metadata(directory.join(file)).map(|metadata| metadata.len());
                        size.ok() == self.store.blob_size(&blob)
                    })
            })
    }

    /// A hash over all that the view holds, and where the links lead.
    fn stamp(&self) -> String {
        let mut text = format!("{DOMAIN}{}\n", self.store.root().display());
        for (path, link) in &self.links {
            let _ = writeln!(text, "{path} {}", link.blob);
        }
        for (name, repository) in &self.repositories {
            let _ = writeln!(text, "git2/{name}");
            for (file, blob) in repository.pack_files() {
                let _ = writeln!(text, "{file} {blob}");
            }
            let _ = writeln!(text, "{:?} {:?}", repository.shallow, repository.refs);
        }
        format!("{}\n", blake3::hash(text.as_bytes()))
    }

    fn write(&self, directory: &Path) -> Result<()> {
        for name in ["flat", "dl", "git2"] {
            disk::create_dir_all(&directory.join(name))?;
        }
        for (path, link) in &self.links {
            let path = directory.join(path);
            path.parent().map_or(Ok(()), disk::create_dir_all)?;
            symlink(self.store.blob_path(&link.blob), &path).map_err(|error| Error::io("link", &path, error))?;
        }
        for (name, repository) in &self.repositories {
            repository.write(self.store, &directory.join("git2").join(name))?;
        }
        write_file(&directory.join("view"), &self.stamp())
    }
}

impl Repository {
    /// Refuses refs that git would not have, or that cannot stand together.
    fn check(&self, name: &str) -> Result<()> {
        for (reference, commits) in &self.refs {
            if !reference.starts_with("refs/") || !git2::Reference::is_valid_name(reference) {
                return Err(Error::input(format!("`{}` is no full name of a git ref", reference.escape_debug())));
            }
            // A branch can be made to contain several commits, anything else stands for one.
            if commits.len() > 1 && !reference.starts_with("refs/heads/") {
                let commits: Vec<_> = commits.iter().map(CommitId::short).collect();
                let message = format!("{reference} of {name} is locked at {} at once", commits.join(" and "));
                return Err(Error::input(message).help("pin both users of this tag to one commit"));
            }
            let inside = |other: &&String| other.strip_prefix(reference.as_str()).is_some_and(|r| r.starts_with('/'));
            if let Some(other) = self.refs.keys().find(inside) {
                let message = format!("{reference} and {other} of {name} cannot both exist in a git repository");
                return Err(Error::input(message).help("pin one of them by `rev` instead"));
            }
        }
        Ok(())
    }

    /// Paths of packs and indexes below the repository, and the blobs they are.
    fn pack_files(&self) -> impl Iterator<Item = (String, Blake3)> {
        self.packs.values().flat_map(|Pack { name, pack, index }| {
            [(format!("objects/pack/{name}.pack"), *pack), (format!("objects/pack/{name}.idx"), *index)]
        })
    }

    /// Writes the repository as files. Without `refs/` git does not know it for one, and BitBake would delete it.
    fn write(&self, store: &Store, directory: &Path) -> Result<()> {
        for name in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
            disk::create_dir_all(&directory.join(name))?;
        }
        for (file, blob) in self.pack_files() {
            link_blob(&store.blob_path(&blob), &directory.join(file))?;
        }
        write_file(&directory.join("config"), CONFIG)?;
        let branch = self.refs.keys().find(|name| name.starts_with("refs/heads/"));
        let branch = branch.map_or("refs/heads/master", String::as_str);
        write_file(&directory.join("HEAD"), &format!("ref: {branch}\n"))?;
        let commits = Commits::in_repository(directory)?;
        self.write_shallow(&commits, directory)?;
        self.write_refs(&commits, directory)
    }

    /// The boundary where history ends: only commits whose parents really are not there, so that one pin's depth does not
    /// cut off what another pin brought.
    fn write_shallow(&self, commits: &Commits, directory: &Path) -> Result<()> {
        let mut text = String::new();
        for commit in &self.shallow {
            if !commits.parents(commit)?.iter().all(|parent| commits.has(parent)) {
                let _ = writeln!(text, "{commit}");
            }
        }
        if text.is_empty() { Ok(()) } else { write_file(&directory.join("shallow"), &text) }
    }

    fn write_refs(&self, commits: &Commits, directory: &Path) -> Result<()> {
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for (name, at) in &self.refs {
            let commit = match Vec::from_iter(at).as_slice() {
                [only] => **only,
                several => commits.join(several, directory)?,
            };
            let _ = writeln!(text, "{commit} {name}");
        }
        write_file(&directory.join("packed-refs"), &text)
    }
}

/// The commits of a repository, read as they were written (libgit2's own reading would apply `shallow`).
struct Commits {
    repository: git2::Repository,
}

impl Commits {
    fn in_repository(directory: &Path) -> Result<Commits> {
        Ok(Commits { repository: open_objects(directory)? })
    }

    fn has(&self, commit: &CommitId) -> bool {
        let id = Oid::from_bytes(commit.as_bytes());
        id.and_then(|id| Ok(self.repository.odb()?.exists(id))).unwrap_or(false)
    }

    fn header(&self, commit: &CommitId, field: &str) -> Result<Vec<CommitId>> {
        let odb = self.repository.odb().map_err(broken_object)?;
        let object = Oid::from_bytes(commit.as_bytes()).and_then(|id| odb.read(id)).map_err(broken_object)?;
        let text = String::from_utf8_lossy(object.data());
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix(field)).map(|id| id.trim().parse()).collect()
    }

    fn parents(&self, commit: &CommitId) -> Result<Vec<CommitId>> {
        self.header(commit, "parent ")
    }

    /// A commit that several commits are parents of, so that one branch contains them all: BitBake asks `git branch
    /// --contains REV --list BRANCH` (`bb.fetch2.git`, `_contains_ref`) and then checks out the revision, never this.
    fn join(&self, parents: &[&CommitId], directory: &Path) -> Result<CommitId> {
        let tree = self.header(parents[0], "tree ")?;
        let tree = tree.first().ok_or_else(|| Error::bug(format!("commit {} has no tree", parents[0])))?;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            let _ = writeln!(text, "parent {parent}");
        }
        let who = "kbuild <kbuild@localhost> 0 +0000";
        let _ = write!(text, "author {who}\ncommitter {who}\n\nAll revisions of this branch that the lock names\n");
        let mut command = local_git(directory);
        command.args(["hash-object", "-t", "commit", "-w", "--stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut git = command.spawn().map_err(could_not_start)?;
        let written = git.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
        let output = git.wait_with_output().map_err(could_not_start)?;
        if !output.status.success() {
            return Err(failed(&output, Kind::Io));
        }
        written.map_err(|error| Error::io("write to git in", directory, error))?;
        String::from_utf8_lossy(&output.stdout).trim().parse()
    }
}

fn lacking(missing: &[&SourceId]) -> Error {
    let named: Vec<_> = missing.iter().take(NAMED).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let count = if missing.len() == 1 { "a source is".to_owned() } else { format!("{} sources are", missing.len()) };
    let message = format!("{count} not in the store: {}{more}", named.join(", "));
    Error::new(Kind::Missing, message).help("run `kbuild fetch`")
}

/// Gives a blob a second name. A copy is the last resort: another file system, another user's file, too many links.
fn link_blob(blob: &Path, to: &Path) -> Result<()> {
    fs::hard_link(blob, to)
        .or_else(|_| reflink_copy::reflink(blob, to))
        .or_else(|_| fs::copy(blob, to).map(drop))
        .map_err(|error| Error::io("link", to, error))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::git::run;
    use crate::lock::Content;
    use crate::source::Digests;
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

        fn ids(&self) -> Vec<SourceId> {
            let files = self.lock.files.keys().cloned().map(SourceId::File);
            files.chain(self.lock.gits.keys().cloned().map(SourceId::Git)).collect()
        }

        fn lay_out(&self) -> Result<()> {
            lay_out(&self.store, &self.lock, &self.ids(), &self.view())
        }

        fn file(&mut self, key: &str, url: &str, bytes: &[u8]) -> Digests {
            let path = self.directory.path().join("upstream");
            fs::write(&path, bytes).unwrap();
            let digests = self.store.add_file(&path).unwrap();
            let content = Some(Content { blake3: digests.blake3, size: digests.size });
            let file = LockedFile { name: None, urls: vec![url.parse().unwrap()], sha256: digests.sha256, content };
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
            let hash = super::super::tree::of_commit(&upstream.repository, commit).unwrap();
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
            let file = LockedFile { name: None, urls: vec![], sha256, content: None };
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
        bench.lay_out().unwrap();
        assert_eq!(inode(), last);
        assert!(bench.view().join("dl/x.tgz.done").exists(), "what BitBake wrote stays with the view");

        let renamed = |path: &str| fs::rename(bench.view().join(path), bench.view().join("away")).unwrap();
        for path in ["flat/x.tgz", "dl/x.tgz", "git2/h.x", "git2/h.x/packed-refs", "view"] {
            renamed(path);
            bench.lay_out().unwrap();
            assert_ne!(inode(), last, "{path}");
            assert!(bench.view().join(path).exists(), "{path}");
            last = inode();
        }
        bench.lock.gits.clear();
        bench.lay_out().unwrap();
        assert!(!bench.view().join("git2/h.x").exists());
        assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 3, "store, upstream and view");
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
        run(
            checkout.arg("--work-tree").arg(&work).args(["checkout", "-q", "-B", "main", &second.to_string()]),
            Kind::Bug,
        )
        .unwrap();
        assert_eq!(fs::read_to_string(work.join("a")).unwrap(), "two");

        let pack = fs::read_dir(bench.view().join("git2/h.x/objects/pack")).unwrap().next().unwrap().unwrap();
        assert_eq!(pack.metadata().unwrap().nlink(), 3, "the blob and both spellings of the clone are one file");
        assert_eq!(pack.metadata().unwrap().mode() & 0o777, 0o444);
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
        lay_out(&bench.store, &bench.lock, &[SourceId::Git(key)], &bench.view()).unwrap();
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
        lay_out(&reader, &bench.lock, &bench.ids(), &bench.view()).unwrap();
        assert_eq!(bench.git_in("h.x", &["rev-parse", "HEAD"]), commit.to_string());
        let target = bench.directory.path().join("layer");
        super::super::checkout::check_out(&reader, &bench.lock, &bench.lock.gits[&key], &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "one");
        bench.ids().iter().try_for_each(|id| reader.verify(bench.lock.get(id).unwrap())).unwrap();
    }
}
