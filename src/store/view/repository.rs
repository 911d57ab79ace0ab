//! One bare repository of a view: it borrows packs of the store, and has the refs that URLs name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use git2::{ObjectType, Oid};

use super::write_new;
use crate::disk;
use crate::error::{Error, Result};
use crate::git::{Objects, broken_object, open_objects};
use crate::lock::LockedGit;
use crate::source::name::check_ref;
use crate::source::{Blake3, CommitId, Sha256};
use crate::store::{GitRecord, Pack, Store};

/// A bare repository that git never touches by itself.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n";

/// The directories of a repository, all of which git or BitBake look for. Without `refs/` git does not know it for one, and
/// BitBake would delete it.
pub(super) const DIRECTORIES: [&str; 4] = ["objects/info", "objects/pack", "refs/heads", "refs/tags"];

/// One clone: every pin of one upstream.
#[derive(Clone, Default)]
pub(super) struct BareClone {
    packs: BTreeMap<String, Pack>,
    /// The name of two packs that differ: a record of another store may say what it likes.
    two_packs: Option<String>,
    /// Commits whose parents some pack lacks; another pack may have them.
    shallow: BTreeSet<CommitId>,
    /// A branch may have to contain several commits.
    refs: BTreeMap<String, BTreeSet<CommitId>>,
    /// Objects of Git LFS, each with its blob.
    lfs: BTreeMap<Sha256, Blake3>,
}

impl BareClone {
    /// Takes in objects of Git LFS.
    pub(super) fn add_lfs(&mut self, objects: impl IntoIterator<Item = (Sha256, Blake3)>) {
        self.lfs.extend(objects);
    }

    /// Takes in another pin.
    pub(super) fn add(&mut self, record: &GitRecord, git: &LockedGit) {
        for pack in &record.packs {
            let present = self.packs.insert(pack.name.clone(), pack.clone());
            if present.is_some_and(|present| present != *pack) {
                self.two_packs = Some(pack.name.clone());
            }
        }
        self.shallow.extend(record.shallow.iter().copied());
        let mut refs = git.refs.clone();
        // `git clone` copies only what a ref leads to, so a pin without a branch (`nobranch`, submodules) gets one.
        if !refs.iter().any(|name| name.starts_with("refs/heads/")) {
            refs.insert(format!("refs/heads/kbuild-{}", git.commit.short()));
        }
        for name in refs {
            self.refs.entry(name).or_default().insert(git.commit);
        }
    }

    /// All that the repository is made from, as a text.
    pub(super) fn summary(&self) -> String {
        let files = self.pack_files().chain(self.lfs_files()).map(|(file, blob)| format!("{file} {blob}\n"));
        format!("{}{:?} {:?}", files.collect::<String>(), self.shallow, self.refs)
    }

    /// Refuses refs that git would not have, or that cannot stand together, and packs that cannot lie in one directory.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        if let Some(pack) = &self.two_packs {
            let message = format!("two different packs of {name} are both called {pack}");
            return Err(
                Error::input(message).help("`kbuild verify --repair` fetches the sources of this repository again")
            );
        }
        for (reference, commits) in &self.refs {
            check_ref(reference)?;
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

    /// Paths of packs and indexes below a repository, and the blobs they are.
    pub(super) fn pack_files(&self) -> impl Iterator<Item = (String, Blake3)> {
        self.packs.values().flat_map(Pack::files).map(|(name, blob)| (format!("objects/pack/{name}"), blob))
    }

    /// Paths of objects of Git LFS below a repository, where git-lfs and BitBake look for them (git-lfs, `docs/spec.md`;
    /// `bb.fetch2.git`, `_lfs_objects_downloaded`), and the blobs they are.
    pub(super) fn lfs_files(&self) -> impl Iterator<Item = (String, Blake3)> {
        self.lfs.iter().map(|(oid, blob)| {
            let oid = oid.to_string();
            (format!("lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]), *blob)
        })
    }

    /// Every other file of the repository, by its path. `packs` is a directory whose `objects` has the packs; `borrow`: the
    /// repository takes its objects from there, by this absolute path.
    pub(super) fn texts(&self, packs: &Path, borrow: Option<&Path>) -> Result<BTreeMap<String, Vec<u8>>> {
        let commits = Commits::in_repository(packs)?;
        let branch = self.refs.keys().find(|name| name.starts_with("refs/heads/"));
        let branch = branch.map_or("refs/heads/master", String::as_str);
        let mut texts = BTreeMap::from([
            ("config".to_owned(), CONFIG.as_bytes().to_owned()),
            ("HEAD".to_owned(), format!("ref: {branch}\n").into_bytes()),
        ]);
        if let Some(objects) = borrow {
            // gitrepository-layout(5). Absolute: a clone that borrows from this one follows no relative path.
            texts.insert("objects/info/alternates".to_owned(), format!("{}\n", objects.display()).into_bytes());
        }
        let shallow = self.shallow(&commits)?;
        if !shallow.is_empty() {
            texts.insert("shallow".to_owned(), shallow.into_bytes());
        }
        let mut refs = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for (name, at) in &self.refs {
            let commit = match Vec::from_iter(at).as_slice() {
                [only] => **only,
                several => {
                    let (commit, path, object) = commits.join(several)?;
                    texts.insert(path, object);
                    commit
                }
            };
            let _ = writeln!(refs, "{commit} {name}");
        }
        texts.insert("packed-refs".to_owned(), refs.into_bytes());
        Ok(texts)
    }

    /// Writes the repository with packs of its own, into a directory that is not there yet.
    pub(super) fn write_whole(&self, store: &Store, directory: &Path) -> Result<()> {
        for name in DIRECTORIES {
            disk::create_dir_all(&directory.join(name))?;
        }
        for (file, blob) in self.pack_files() {
            disk::link_or_copy(&store.blob_path(&blob), &directory.join(file))?;
        }
        for (file, blob) in self.lfs_files() {
            let file = directory.join(file);
            disk::create_dir_all(file.parent().unwrap_or(directory))?;
            disk::link_or_copy(&store.blob_path(&blob), &file)?;
        }
        for (file, text) in self.texts(directory, None)? {
            write_new(&directory.join(file), &text)?;
        }
        Ok(())
    }

    /// The boundary where history ends, a commit a line: only commits whose parents really are not there, so that one pin's
    /// depth does not cut off what another pin fetched.
    fn shallow(&self, commits: &Commits) -> Result<String> {
        let mut text = String::new();
        for commit in &self.shallow {
            if !commits.parents(commit)?.iter().all(|parent| commits.has(parent)) {
                let _ = writeln!(text, "{commit}");
            }
        }
        Ok(text)
    }
}

/// The commits of a repository, read as they were written (libgit2's own reading would apply `shallow`).
struct Commits {
    objects: Objects,
}

impl Commits {
    fn in_repository(directory: &Path) -> Result<Commits> {
        Ok(Commits { objects: open_objects(directory)? })
    }

    fn has(&self, commit: &CommitId) -> bool {
        let id = Oid::from_bytes(commit.as_bytes());
        id.and_then(|id| Ok(self.objects.odb()?.exists(id))).unwrap_or(false)
    }

    fn header(&self, commit: &CommitId, field: &str) -> Result<Vec<CommitId>> {
        let odb = self.objects.odb().map_err(broken_object)?;
        let object = Oid::from_bytes(commit.as_bytes()).and_then(|id| odb.read(id)).map_err(broken_object)?;
        let text = String::from_utf8_lossy(object.data());
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix(field)).map(|id| id.trim().parse()).collect()
    }

    fn parents(&self, commit: &CommitId) -> Result<Vec<CommitId>> {
        self.header(commit, "parent ")
    }

    /// A commit that several commits are parents of, so that one branch contains them all: BitBake asks `git branch
    /// --contains REV --list BRANCH` (`bb.fetch2.git`, `_contains_ref`) and then checks out the revision, never this. Given
    /// with its path below the repository and its bytes there.
    fn join(&self, parents: &[&CommitId]) -> Result<(CommitId, String, Vec<u8>)> {
        let tree = self.header(parents[0], "tree ")?;
        let tree = tree.first().ok_or_else(|| Error::bug(format!("commit {} has no tree", parents[0])))?;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            let _ = writeln!(text, "parent {parent}");
        }
        let who = "kbuild <kbuild@localhost> 0 +0000";
        let _ = write!(text, "author {who}\ncommitter {who}\n\nAll revisions of this branch that the lock names\n");
        let id = Oid::hash_object(ObjectType::Commit, text.as_bytes()).map_err(broken_object)?.to_string();
        let path = format!("objects/{}/{}", &id[..2], &id[2..]);
        Ok((id.parse()?, path, loose(&text)?))
    }
}

/// A commit as a file of its own (gitformat-loose(5)).
fn loose(commit: &str) -> Result<Vec<u8>> {
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    let written = write!(deflate, "commit {}\0{commit}", commit.len()).and_then(|()| deflate.finish());
    written.map_err(|error| Error::bug("a commit cannot be deflated").because(error))
}
