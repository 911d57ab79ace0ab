//! Git repositories for tests: trees written byte by byte, so that unusual and hostile ones can be made too.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use git2::{ObjectType, Oid, Repository};

use crate::lock::LockedGit;
use crate::source::{Blake3, CommitId};

/// An entry of a tree.
#[derive(Debug, Clone)]
pub enum Item {
    File { bytes: Vec<u8>, executable: bool },
    Symlink(Vec<u8>),
    Directory(Tree),
    Submodule(CommitId),
}

pub type Tree = BTreeMap<Vec<u8>, Item>;

pub fn file(text: &str) -> Item {
    Item::File { bytes: text.as_bytes().to_vec(), executable: false }
}

pub fn executable(text: &str) -> Item {
    Item::File { bytes: text.as_bytes().to_vec(), executable: true }
}

pub fn link(target: &str) -> Item {
    Item::Symlink(target.as_bytes().to_vec())
}

pub fn tree<const N: usize>(items: [(&str, Item); N]) -> Tree {
    items.into_iter().map(|(name, item)| (name.as_bytes().to_vec(), item)).collect()
}

/// A bare repository to take commits from.
pub struct Upstream {
    directory: tempfile::TempDir,
    pub repository: Repository,
}

impl Upstream {
    pub fn new() -> Upstream {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(directory.path()).unwrap();
        Upstream { directory, repository }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn objects(&self) -> crate::git::Objects {
        crate::git::open_objects(self.path()).unwrap()
    }

    /// Writes a commit, at a fixed time.
    pub fn commit(&self, parents: &[CommitId], tree: &Tree) -> CommitId {
        let tree = self.write_tree(tree);
        let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
        let who = "A U Thor <author@example.com> 1700000000 +0000";
        let text = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nA commit\n");
        self.write(ObjectType::Commit, text.as_bytes()).to_string().parse().unwrap()
    }

    pub fn write_tree(&self, tree: &Tree) -> Oid {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (name, item) in tree {
            let (mode, id) = match item {
                Item::File { bytes, executable: false } => ("100644", self.write(ObjectType::Blob, bytes)),
                Item::File { bytes, executable: true } => ("100755", self.write(ObjectType::Blob, bytes)),
                Item::Symlink(target) => ("120000", self.write(ObjectType::Blob, target)),
                Item::Directory(tree) => ("40000", self.write_tree(tree)),
                Item::Submodule(commit) => ("160000", Oid::from_bytes(commit.as_bytes()).unwrap()),
            };
            let slash: &[u8] = if matches!(item, Item::Directory(_)) { b"/" } else { b"" };
            entries.push(([name, slash].concat(), [mode.as_bytes(), b" ", name, b"\0", id.as_bytes()].concat()));
        }
        entries.sort();
        let bytes: Vec<u8> = entries.into_iter().flat_map(|(_, entry)| entry).collect();
        self.write(ObjectType::Tree, &bytes)
    }

    pub fn write(&self, kind: ObjectType, bytes: &[u8]) -> Oid {
        self.repository.odb().unwrap().write(kind, bytes).unwrap()
    }

    pub fn set_ref(&self, name: &str, commit: &CommitId) {
        self.repository.reference(name, Oid::from_bytes(commit.as_bytes()).unwrap(), true, "test").unwrap();
    }

    /// The lock's block for a commit, without history and refs.
    pub fn locked(&self, commit: &CommitId, tree: Option<Blake3>) -> LockedGit {
        LockedGit {
            clones: BTreeSet::new(),
            recursive: false,
            url: "https://example.com/upstream.git".parse().unwrap(),
            refs: BTreeSet::new(),
            commit: *commit,
            tree,
            history: false,
            submodules: BTreeMap::new(),
            lfs: BTreeMap::new(),
            without_lfs: false,
        }
    }
}

/// Writes a tree to disk, as a checkout would; submodules become empty directories.
pub fn write_directory(directory: &Path, tree: &Tree) {
    fs::create_dir_all(directory).unwrap();
    for (name, item) in tree {
        let path = directory.join(OsStr::from_bytes(name));
        match item {
            Item::File { bytes, executable } => {
                fs::write(&path, bytes).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Item::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Item::Directory(tree) => write_directory(&path, tree),
            Item::Submodule(_) => fs::create_dir(&path).unwrap(),
        }
    }
}

/// Flips a bit of a blob, as a bad disk would: same size, same name.
pub fn rot(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}
