//! Git commits in the store: packs as blobs, a record of which packs contain which commit, and how they are read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::blob::blake3_file;
use super::tree::{self, CommitTree};
use super::{Store, Workplace};
use crate::bounds;
use crate::disk::{self, FileLock};
use crate::error::{Error, Kind, Result};
use crate::git::{Objects, broken_object, could_not_start, failed, local_git, open_objects, run};
use crate::lock::LockedGit;
use crate::source::{Blake3, CommitId};

/// The format of records that this kbuild writes; one with a higher version is refused.
const RECORD_VERSION: u32 = 1;

/// What the store knows of one commit: `git/<commit>.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRecord {
    pub commit: CommitId,
    /// Hash over its raw tree, see [`crate::store::tree`].
    pub tree: Blake3,
    /// Commits without their parents (git's `shallow` file), sorted; empty if the whole history is there.
    pub shallow: Vec<CommitId>,
    /// The packs, each a blob with its index, another blob.
    pub packs: Vec<Pack>,
}

/// A pack and its index, as blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// git's name for it: `pack-<hex>`.
    pub name: String,
    /// The blob with the `.pack`.
    pub pack: Blake3,
    /// The blob with the `.idx`.
    pub index: Blake3,
}

impl Pack {
    /// Its files as git calls them in `objects/pack`, each with its blob.
    pub fn files(&self) -> [(String, Blake3); 2] {
        [(format!("{}.pack", self.name), self.pack), (format!("{}.idx", self.name), self.index)]
    }
}

/// The shape of a record's file.
#[derive(Serialize, Deserialize)]
struct RecordText {
    version: u32,
    commit: CommitId,
    tree: Blake3,
    #[serde(default)]
    shallow: Vec<CommitId>,
    packs: Vec<Pack>,
}

impl GitRecord {
    /// Whether the record has all that the lock asks for.
    pub(super) fn satisfies(&self, git: &LockedGit) -> bool {
        self.commit == git.commit
            && git.tree.is_none_or(|tree| tree == self.tree)
            && (!git.history || self.shallow.is_empty())
    }

    /// Every blob that the record names.
    pub fn blobs(&self) -> impl Iterator<Item = Blake3> {
        self.packs.iter().flat_map(|pack| [pack.pack, pack.index])
    }

    /// How much history there is: the commit alone, some, or all.
    fn depth(&self) -> u8 {
        match self.shallow.as_slice() {
            [] => 2,
            [only] if *only == self.commit => 0,
            _ => 1,
        }
    }
}

impl fmt::Display for GitRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = RecordText {
            version: RECORD_VERSION,
            commit: self.commit,
            tree: self.tree,
            shallow: self.shallow.clone(),
            packs: self.packs.clone(),
        };
        f.write_str(&toml_edit::ser::to_string_pretty(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for GitRecord {
    type Err = Error;

    /// Reads a record, of this store or of another one. Everything that becomes part of a path is checked.
    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || Error::input("a git record of the store is damaged");
        let text: RecordText = toml_edit::de::from_str(text).map_err(|error| unreadable().because(error))?;
        if text.version > RECORD_VERSION {
            return Err(Error::input(format!("a git record has version {}, from a newer kbuild", text.version)));
        }
        if let Some(pack) = text.packs.iter().find(|pack| !is_pack_name(&pack.name)) {
            return Err(unreadable().because(format!("`{}` is not the name of a pack", pack.name.escape_default())));
        }
        let names: BTreeSet<&str> = text.packs.iter().map(|pack| pack.name.as_str()).collect();
        if names.len() < text.packs.len() {
            return Err(unreadable().because("two of its packs have one name"));
        }
        Ok(GitRecord { commit: text.commit, tree: text.tree, shallow: text.shallow, packs: text.packs })
    }
}

fn is_pack_name(name: &str) -> bool {
    name.strip_prefix("pack-").is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Store {
    /// The record of a commit, if the store or a lower one has it (and its packs).
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn git(&self, commit: &CommitId) -> Result<Option<GitRecord>> {
        let record = self.find_record(commit).map(|(_, record)| record).transpose()?;
        Ok(record.filter(|record| self.is_whole(record)))
    }

    fn is_whole(&self, record: &GitRecord) -> bool {
        record.blobs().all(|blob| self.has_blob(&blob))
    }

    /// The best record of a commit, whether its packs exist or not, and its path: the first of those with
    /// most history whose packs exist, else the first that can be read.
    pub(super) fn find_record(&self, commit: &CommitId) -> Option<(PathBuf, Result<GitRecord>)> {
        let worth = |(_, record): &(PathBuf, Result<GitRecord>)| match record {
            Ok(record) if self.is_whole(record) => 2 + record.depth(),
            Ok(_) => 1,
            Err(_) => 0,
        };
        self.records(commit).into_iter().reduce(|best, next| if worth(&next) > worth(&best) { next } else { best })
    }

    /// The record of a commit in each layer.
    pub(super) fn records(&self, commit: &CommitId) -> Vec<(PathBuf, Result<GitRecord>)> {
        let read = |path: PathBuf| read_record(&path, commit).transpose().map(|record| (path, record));
        self.places(&record_name(commit)).filter_map(read).collect()
    }

    /// The path of a commit's record, in this store or a lower one, whether it exists or not.
    pub fn record_path(&self, commit: &CommitId) -> PathBuf {
        self.find_record(commit).map_or_else(|| self.own(&record_name(commit)), |(path, _)| path)
    }

    /// Adds a commit of a bare repository to the store: everything that the commit reaches (up to the repository's
    /// shallow boundary) as packs, then the record. The caller has checked `tree`. A repository in a scratch
    /// directory of this store costs least: its pack is linked, not copied.
    ///
    /// Returns the record that the store has now: the earlier one, if it has more history.
    ///
    /// # Errors
    /// The commit is not complete in the repository (kind `Mismatch`), or the store cannot be written.
    pub fn add_git(&self, repository: &Path, commit: &CommitId, tree: Blake3) -> Result<GitRecord> {
        let incomplete = |error: Error| match error.kind() {
            Kind::Mismatch => error.wrap(format!("commit {commit} is not complete in what was fetched")),
            _ => error,
        };
        let reached = Reached::from(repository, commit).map_err(incomplete)?;
        let scratch = self.scratch()?;
        let packs = match single_pack(repository)? {
            Some(pack) if objects_in(&pack)? == reached.objects => vec![pack],
            _ => pack_anew(repository, commit, scratch.path()).map_err(incomplete)?,
        };
        let packs = packs.iter().map(|pack| self.add_pack(pack)).collect::<Result<_>>()?;
        self.add_record(GitRecord { commit: *commit, tree, shallow: reached.shallow, packs })
    }

    /// Adds the record of another store, whose blobs are in this one already. Its packs are indexed again, which hashes
    /// every object; its commit must be in them; and the tree is hashed. So nothing depends on what the other store
    /// claims.
    ///
    /// # Errors
    /// Blobs are missing here (kind `Missing`); a commit, tree or index is not the recorded one (kind `Mismatch`).
    pub fn adopt_git(&self, record: GitRecord) -> Result<GitRecord> {
        let opened = self.open_record(&record)?;
        self.check_packs(&record)?;
        let tree = tree::of_commit(&opened, &record.commit)?;
        if tree != record.tree {
            let message = format!("the tree of commit {} is not what its record says", record.commit);
            return Err(
                Error::new(Kind::Mismatch, message).because(format!("expected blake3 {}, got {tree}", record.tree))
            );
        }
        self.add_record(record)
    }

    /// As [`Store::adopt_git`], unless the store has as much of the commit already. Returns whether it was added.
    ///
    /// # Errors
    /// Those of [`Store::adopt_git`].
    pub fn adopt_git_if_lacking(&self, record: GitRecord) -> Result<bool> {
        let enough = |present: &GitRecord| {
            present.tree == record.tree && (present.shallow.is_empty() || present.shallow == record.shallow)
        };
        if self.git(&record.commit).is_ok_and(|present| present.as_ref().is_some_and(enough)) {
            return Ok(false);
        }
        self.adopt_git(record)?;
        Ok(true)
    }

    /// Compares the index of each pack with the one that git makes of it (the same bytes in every version of git), and the
    /// history in the packs with what the record says.
    fn check_packs(&self, record: &GitRecord) -> Result<()> {
        let scratch = self.scratch()?;
        let mut options = git2::RepositoryInitOptions::new();
        let made = git2::Repository::init_opts(scratch.path(), options.bare(true).external_template(false));
        made.map_err(|error| Error::new(Kind::Io, "could not make a repository in the store").because(error))?;
        let packs: BTreeMap<_, _> = record.packs.iter().map(|pack| (pack.pack, pack)).collect();
        for (blob, pack) in packs {
            let link = scratch.path().join("objects/pack").join(format!("{}.pack", pack.name));
            disk::link_or_copy(&self.blob_path(&blob), &link)?;
            run(local_git(scratch.path()).arg("index-pack").arg(&link), Kind::Mismatch)?;
            let (found, _) = blake3_file(&link.with_extension("idx"))?;
            if found != pack.index {
                let error = Error::new(Kind::Mismatch, format!("the index of the pack {blob} does not belong to it"));
                return Err(error.because(format!("expected blake3 {}, got {found}", pack.index)));
            }
        }
        let shallow: String = record.shallow.iter().map(|commit| format!("{commit}\n")).collect();
        if !shallow.is_empty() {
            disk::replace(&scratch.path().join("shallow"), shallow.as_bytes())?;
        }
        let reached = Reached::from(scratch.path(), &record.commit)?;
        if reached.shallow != record.shallow {
            return Err(Error::new(
                Kind::Mismatch,
                format!("the history of commit {} is not what its record says", record.commit),
            ));
        }
        Ok(())
    }

    /// Writes a record, unless there is one with more history: a source that needs the whole history must not lose it to a
    /// source that needs a single commit.
    fn add_record(&self, record: GitRecord) -> Result<GitRecord> {
        let _guard = FileLock::exclusive(&self.root.join("git").join(".lock"), || {})?;
        // A record that cannot be read, or whose packs are missing, is replaced.
        if let Ok(Some(present)) = self.git(&record.commit)
            && present.tree == record.tree
            && present.depth() >= record.depth()
        {
            return Ok(present);
        }
        disk::replace_own(&self.own(&record_name(&record.commit)), record.to_string().as_bytes())?;
        Ok(record)
    }

    fn add_pack(&self, pack: &Path) -> Result<Pack> {
        let add = |path: &Path| {
            if path.starts_with(self.root.join("tmp")) { self.add_own_file(path) } else { self.add_file(path) }
        };
        let name = pack.file_stem().and_then(|name| name.to_str()).filter(|name| is_pack_name(name));
        let name = name.ok_or_else(|| Error::bug(format!("git called a pack {}", pack.display())))?.to_owned();
        Ok(Pack { name, pack: add(pack)?.blake3, index: add(&pack.with_extension("idx"))?.blake3 })
    }

    /// Whether the store has what the lock asks for.
    pub(super) fn has_git(&self, git: &LockedGit) -> bool {
        // An unreadable record counts as missing: fetching replaces it.
        matches!(self.git(&git.commit), Ok(Some(record)) if record.satisfies(git))
    }

    /// A temporary bare repository over the packs of a commit, made of links, from which libgit2 reads objects.
    ///
    /// # Errors
    /// The commit is not in the store: kind `Missing`.
    pub fn open_commit(&self, commit: &CommitId) -> Result<OpenedCommit> {
        let missing = || {
            let missing = Error::new(Kind::Missing, format!("commit {commit} is not in the store"));
            missing.help("run `kbuild fetch`")
        };
        self.open_record(&self.git(commit)?.ok_or_else(missing)?)
    }

    /// A file of a commit's tree; `None` if there is no such path.
    ///
    /// # Errors
    /// The commit is not in the store (kind `Missing`), or cannot be read.
    pub fn file_of_commit(&self, commit: &CommitId, path: &Path) -> Result<Option<Vec<u8>>> {
        let opened = self.open_commit(commit)?;
        let tree = tree_of(&opened, commit)?;
        let entry = match tree.get_path(path) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(broken_object(error)),
        };
        if entry.kind() != Some(git2::ObjectType::Blob) {
            return Ok(None);
        }
        tree::small_blob(&opened, entry.id(), path, bounds::FILE_OF_SOURCE).map(Some)
    }

    /// The paths of all files of this name in a commit's tree, in git's order.
    ///
    /// # Errors
    /// Those of [`Store::file_of_commit`].
    pub(super) fn files_of_commit_called(&self, commit: &CommitId, name: &str) -> Result<Vec<String>> {
        let opened = self.open_commit(commit)?;
        let tree = CommitTree::read(&opened, commit)?;
        tree.must_be_writable()?;
        let mut found = Vec::new();
        tree.each_file(&mut |path: &[u8], _| {
            let file_name = path.rsplit(|byte| *byte == b'/').next();
            if let (Ok(path), true) = (str::from_utf8(path), file_name == Some(name.as_bytes())) {
                found.push(path.to_owned());
            }
        });
        Ok(found)
    }

    /// As [`Store::open_commit`], for a record that may be of another store.
    pub(super) fn open_record(&self, record: &GitRecord) -> Result<OpenedCommit> {
        let place = self.workplace()?;
        let packs = place.path().join("objects").join("pack");
        disk::create_dir_all(&packs)?;
        record.packs.iter().try_for_each(|pack| self.link_pack(pack, &packs))?;
        // What git wants to see in a repository, for large objects: they are read by git.
        disk::create_dir_all(&place.path().join("refs"))?;
        let head = place.path().join("HEAD");
        write_head(&head).map_err(|error| Error::io("write", &head, error))?;
        let objects = open_objects(place.path())?;
        Ok(OpenedCommit { objects, place })
    }

    fn link_pack(&self, pack: &Pack, directory: &Path) -> Result<()> {
        for (name, blob) in pack.files() {
            let (link, blob) = (directory.join(name), self.blob_path(&blob));
            if !blob.is_file() {
                let missing = format!("{} of the store is missing", blob.display());
                return Err(Error::new(Kind::Missing, missing).help("run `kbuild fetch`"));
            }
            std::os::unix::fs::symlink(&blob, &link).map_err(|error| Error::io("link", &link, error))?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a directory that exists only while it is read")]
fn write_head(path: &Path) -> std::io::Result<()> {
    fs::File::create_new(path)?.write_all(b"ref: refs/heads/main\n")
}

fn tree_of<'a>(repository: &'a git2::Repository, commit: &CommitId) -> Result<git2::Tree<'a>> {
    let id = git2::Oid::from_bytes(commit.as_bytes()).map_err(broken_object)?;
    repository.find_commit(id).and_then(|commit| commit.tree()).map_err(broken_object)
}

/// A commit opened for reading. The [`Objects`] are valid until this is dropped.
pub struct OpenedCommit {
    // Declared first, so that it is closed before its directory is removed.
    objects: Objects,
    #[expect(dead_code, reason = "keeps its directory")]
    place: Workplace,
}

impl Deref for OpenedCommit {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
}

/// The name of a commit's record in a store.
pub fn record_name(commit: &CommitId) -> String {
    format!("git/{commit}.toml")
}

fn read_record(path: &Path, commit: &CommitId) -> Result<Option<GitRecord>> {
    let text = match disk::read_regular_text(path, bounds::RECORD) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let unreadable = |error: Error| {
        let command = format!("run `rm {}` and `kbuild fetch`", path.display());
        error.help(command).wrap(format!("could not read {}", path.display()))
    };
    let record: GitRecord = text.parse().map_err(unreadable)?;
    if record.commit != *commit {
        return Err(unreadable(Error::input(format!("it is the record of {}", record.commit))));
    }
    Ok(Some(record))
}

/// What a commit reaches in a repository.
struct Reached {
    objects: u32,
    shallow: Vec<CommitId>,
}

impl Reached {
    /// Walks all objects, as git itself does to check a fetched commit; a missing object is an error.
    fn from(repository: &Path, commit: &CommitId) -> Result<Reached> {
        let boundary = shallow_file(repository)?;
        let mut reached = Reached { objects: 0, shallow: Vec::new() };
        let mut command = local_git(repository);
        command.args(["rev-list", "--objects", "--no-object-names", &commit.to_string()]);
        let mut git = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(could_not_start)?;
        for line in git.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let line = line.map_err(|error| Error::io("walk", repository, error))?;
            reached.objects += 1;
            if !boundary.is_empty()
                && let Ok(id) = line.parse()
                && boundary.contains(&id)
            {
                reached.shallow.push(id);
            }
        }
        let output = git.wait_with_output().map_err(could_not_start)?;
        if !output.status.success() {
            return Err(failed(&output, Kind::Mismatch));
        }
        reached.shallow.sort_unstable();
        Ok(reached)
    }
}

fn shallow_file(repository: &Path) -> Result<BTreeSet<CommitId>> {
    let path = repository.join("shallow");
    match fs::read_to_string(&path) {
        Ok(text) => text.lines().map(str::parse).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

/// The only pack of a repository that has nothing else: no second pack, no loose object, no alternates.
fn single_pack(repository: &Path) -> Result<Option<PathBuf>> {
    let objects = repository.join("objects");
    let names = |directory: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.map_err(|error| Error::io("read", directory, error))?;
        Ok(entries.iter().map(fs::DirEntry::path).collect())
    };
    let is_loose = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 2);
    if objects.join("info/alternates").exists() || names(&objects)?.iter().any(is_loose) {
        return Ok(None);
    }
    let packs = names(&objects.join("pack"))?;
    let mut packs = packs.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "pack"));
    let only = packs.next().filter(|_| packs.next().is_none());
    Ok(only.filter(|pack| pack.with_extension("idx").is_file() && !pack.with_extension("promisor").exists()))
}

/// The number of objects in a pack: big-endian, after the signature and the version (gitformat-pack).
fn objects_in(pack: &Path) -> Result<u32> {
    let mut header = [0; 12];
    let read = fs::File::open(pack).and_then(|mut file| file.read_exact(&mut header));
    read.map_err(|error| Error::io("read", pack, error))?;
    let [.., a, b, c, d] = header;
    Ok(u32::from_be_bytes([a, b, c, d]))
}

/// Packs exactly what the commit reaches, into `directory`.
fn pack_anew(repository: &Path, commit: &CommitId, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut command = local_git(repository);
    command.args(["pack-objects", "--revs", "--delta-base-offset", "-q"]).arg(directory.join("pack"));
    let mut revisions = tempfile::tempfile_in(directory).map_err(|error| Error::io("write in", directory, error))?;
    writeln!(revisions, "{commit}")
        .and_then(|()| std::io::Seek::rewind(&mut revisions))
        .map_err(|error| Error::io("write in", directory, error))?;
    let names = run(command.stdin(revisions), Kind::Mismatch)?;
    let names = String::from_utf8_lossy(&names);
    Ok(names.lines().map(|name| directory.join(format!("pack-{name}.pack"))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scratch;
    use crate::store::fixture::{Upstream, file, tree as a_tree};
    use crate::store::tests::temporary;

    /// An upstream whose branch `main` has two commits.
    fn upstream() -> (Upstream, CommitId, CommitId) {
        let upstream = Upstream::new();
        let first = upstream.commit(&[], &a_tree([("a", file("one"))]));
        let second = upstream.commit(&[first], &a_tree([("a", file("two"))]));
        upstream.set_ref("refs/heads/main", &second);
        (upstream, first, second)
    }

    fn add(store: &Store, repository: &Path, commit: &CommitId) -> GitRecord {
        let tree = tree::of_commit(&open_objects(repository).unwrap(), commit).unwrap();
        store.add_git(repository, commit, tree).unwrap()
    }

    /// What the fetch room does: fetches a commit into a new bare repository in a scratch directory of the store.
    fn fetched(store: &Store, upstream: &Upstream, arguments: &[&str]) -> Scratch {
        let scratch = store.scratch().unwrap();
        let git = || local_git(scratch.path());
        run(git().args(["init", "-q", "--bare"]).arg(scratch.path()), Kind::Bug).unwrap();
        let url = format!("file://{}", upstream.path().display());
        run(git().args(["fetch", "-q"]).args(arguments).args([&url, "main"]), Kind::Bug).unwrap();
        scratch
    }

    #[test]
    fn a_record_that_names_two_packs_alike_is_refused() {
        let (_directory, store) = temporary();
        let (upstream, first, _) = upstream();
        let mut record = add(&store, upstream.path(), &first);
        assert_eq!(record.to_string().parse::<GitRecord>().unwrap(), record);
        let other = Pack { pack: [7; 32].into(), ..record.packs[0].clone() };
        record.packs.push(other);
        let error = record.to_string().parse::<GitRecord>().unwrap_err();
        assert!(error.causes()[0].contains("two of its packs have one name"), "{:?}", error.causes());
    }

    #[test]
    fn a_record_is_a_short_regular_file_or_counts_as_none() {
        let (directory, store) = temporary();
        let (upstream, first, _) = upstream();
        let record = add(&store, upstream.path(), &first);
        let path = store.record_path(&first);
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        type Put<'a> = Box<dyn Fn() + 'a>;
        let odd: [Put<'_>; 3] = [
            Box::new(|| fs::File::create(&path).unwrap().set_len(3 << 30).unwrap()),
            Box::new(|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap()),
            Box::new(|| {
                rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
            }),
        ];
        for put in odd {
            put();
            let error = store.git(&first).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert_eq!(add(&store, upstream.path(), &first), record, "fetching replaces it");
            assert_eq!(store.git(&first).unwrap().as_ref(), Some(&record));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn loose_objects_are_packed_and_read_back() {
        let (_directory, store) = temporary();
        let (upstream, first, second) = upstream();
        let record = add(&store, upstream.path(), &first);
        assert_eq!((record.shallow.len(), record.packs.len()), (0, 1));
        assert_eq!(store.git(&first).unwrap(), Some(record.clone()));
        assert_eq!(store.git(&second).unwrap(), None);

        let opened = store.open_commit(&first).unwrap();
        assert_eq!(tree::of_commit(&opened, &first).unwrap(), record.tree);
        assert!(tree::of_commit(&opened, &second).is_err(), "what the commit does not reach is not taken");
        drop(opened);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
        assert_eq!(store.open_commit(&second).err().unwrap().kind(), Kind::Missing);
    }

    #[test]
    fn a_fetched_pack_is_taken_as_it_is() {
        let (_directory, store) = temporary();
        let (upstream, _, second) = upstream();
        let repository = fetched(&store, &upstream, &["--depth=1"]);
        let pack = single_pack(repository.path()).unwrap().expect("git keeps the pack it got");
        let record = add(&store, repository.path(), &second);
        assert_eq!(record.shallow, [second]);
        assert_eq!(record.packs[0].name, pack.file_stem().unwrap().to_str().unwrap());
        assert_eq!(fs::read(store.blob_path(&record.packs[0].pack)).unwrap(), fs::read(pack).unwrap());
    }

    #[test]
    fn a_pack_with_more_than_the_commit_is_packed_anew() {
        let (_directory, store) = temporary();
        let (upstream, first, second) = upstream();
        let repository = fetched(&store, &upstream, &[]);
        let record = add(&store, repository.path(), &first);
        let opened = store.open_commit(&first).unwrap();
        assert!(record.shallow.is_empty());
        assert!(tree::of_commit(&opened, &second).is_err());
    }

    #[test]
    fn more_history_replaces_less_and_never_the_other_way_round() {
        let (_directory, store) = temporary();
        let (upstream, _, second) = upstream();
        let shallow = fetched(&store, &upstream, &["--depth=1"]);
        let whole = fetched(&store, &upstream, &[]);
        let git = LockedGit { history: true, ..upstream.locked(&second, None) };
        assert_eq!(add(&store, shallow.path(), &second).shallow, [second]);
        assert!(!store.has_git(&git), "history was asked for");
        let full = add(&store, whole.path(), &second);
        assert!(full.shallow.is_empty() && store.has_git(&git));
        assert_eq!(add(&store, shallow.path(), &second), full);
        assert_eq!(store.git(&second).unwrap(), Some(full));
    }

    #[test]
    fn a_commit_that_is_not_whole_is_refused() {
        let (_directory, store) = temporary();
        let (upstream, first, second) = upstream();
        let shallow = fetched(&store, &upstream, &["--depth=1"]);
        fs::remove_file(shallow.path().join("shallow")).unwrap();
        let tree = tree::of_commit(&upstream.objects(), &second).unwrap();
        let error = store.add_git(shallow.path(), &second, tree).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.to_string().contains("not complete"), "{error}");
        assert_eq!(store.add_git(shallow.path(), &first, tree).unwrap_err().kind(), Kind::Mismatch);
        assert_eq!(store.git(&second).unwrap(), None);
    }

    #[test]
    fn a_record_without_its_packs_counts_as_none_and_is_replaced() {
        let (_directory, store) = temporary();
        let (upstream, _, second) = upstream();
        let whole = add(&store, upstream.path(), &second);
        fs::remove_file(store.blob_path(&whole.packs[0].pack)).unwrap();
        assert_eq!(store.git(&second).unwrap(), None);
        let shallow = fetched(&store, &upstream, &["--depth=1"]);
        assert_eq!(add(&store, shallow.path(), &second).shallow, [second]);
    }

    #[test]
    fn the_record_of_another_store_is_adopted_only_if_it_is_true() {
        let (_directory, store) = temporary();
        let (_other_directory, other) = temporary();
        let (upstream, _, second) = upstream();
        let record: GitRecord = add(&other, upstream.path(), &second).to_string().parse().unwrap();
        assert_eq!(store.adopt_git(record.clone()).unwrap_err().kind(), Kind::Missing);
        for blob in record.blobs() {
            store.add_file(&other.blob_path(&blob)).unwrap();
        }
        let lie = GitRecord { tree: record.packs[0].pack, ..record.clone() };
        assert_eq!(store.adopt_git(lie).unwrap_err().kind(), Kind::Mismatch);
        assert_eq!(store.adopt_git(record.clone()).unwrap(), record);
        assert_eq!(store.git(&second).unwrap(), Some(record));

        let (_third_directory, third) = temporary();
        let shallow = fetched(&third, &upstream, &["--depth=1"]);
        let cut = add(&third, shallow.path(), &second);
        let (_fourth_directory, fourth) = temporary();
        for blob in cut.blobs() {
            fourth.add_file(&third.blob_path(&blob)).unwrap();
        }
        let lie = GitRecord { shallow: vec![], ..cut.clone() };
        assert_eq!(fourth.adopt_git(lie).unwrap_err().kind(), Kind::Mismatch, "history that is not there");
        assert_eq!(fourth.adopt_git(cut.clone()).unwrap(), cut);
    }

    #[test]
    fn records_that_could_do_harm_are_refused() {
        let (_directory, store) = temporary();
        let (upstream, first, second) = upstream();
        let record = add(&store, upstream.path(), &first);
        let text = record.to_string();
        assert!(text.replace("pack-", "../pack-").parse::<GitRecord>().is_err());
        assert!(text.replace("version = 1", "version = 2").parse::<GitRecord>().is_err());
        fs::copy(store.record_path(&first), store.own(&record_name(&second))).unwrap();
        assert!(store.git(&second).is_err(), "a record under another commit's name");
    }

    #[test]
    fn a_store_that_cannot_be_written_is_read() {
        let (_directory, store) = temporary();
        let (upstream, first, _) = upstream();
        let record = add(&store, upstream.path(), &first);
        let reader = Store::open_existing(store.root()).unwrap();
        let opened = reader.open_commit(&first).unwrap();
        assert_eq!(tree::of_commit(&opened, &first).unwrap(), record.tree);
    }
}
