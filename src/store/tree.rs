//! The hash over a tree of files: of a git commit's raw tree, or of a directory.
//!
//! Independent of git's SHA-1, of packing, attributes, filters and git's version: `hash(tree) = BLAKE3("kbuild tree
//! 1\0" ‖ for each entry in git's order: octal mode, space, name, NUL, 32-byte hash)`, where an entry's hash is that of
//! its content (file or symlink target), of the subtree, or, for a submodule, `BLAKE3(commit id in hex)`.
//!
//! Modes are 100644, 100755 (the file's owner may execute it), 120000, 40000 and 160000, as git itself canonicalizes
//! them. git's order compares names byte by byte, a directory's name as if a `/` followed it (a submodule's not). Trees
//! without entries, at any depth, are left out: no checkout can have them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::blob::blake3_file;
use super::objects::{ObjectReader, hash_bytes, must_be_small};
use crate::bounds;
use crate::error::{Error, Result};
use crate::git::{Objects, broken_object};
use crate::source::{Blake3, CommitId};

pub use super::objects::small_blob;

/// The first bytes of every tree, so that no file can have a tree's hash.
const DOMAIN: &[u8] = b"kbuild tree 1\0";

/// Files up to this size are read at once.
const SMALL: u64 = 1 << 20;

/// The hash over the raw tree of a commit. Each tree object is hashed once, however often it occurs, and no more than one
/// file for each core is in memory, of up to [`bounds::BLOB_IN_MEMORY`].
///
/// # Errors
/// An object is missing or damaged (kind `Mismatch`), or a limit of [`bounds`] is exceeded (kind `Input`).
pub fn of_commit(objects: &Objects, commit: &CommitId) -> Result<Blake3> {
    let tree = CommitTree::read(objects, commit)?;
    let hashes = ObjectReader::open(objects)?.hash_all(tree.blobs())?;
    Ok(tree.hash(&hashes).unwrap_or_else(|| hash_lines(Vec::new())))
}

/// The hash over a directory, as if it were the tree of a commit: modes 100644, 100755, 120000; empty directories,
/// `.git` and `__pycache__` left out; a directory in `submodules` counts as the submodule at that commit.
///
/// # Errors
/// Something cannot be read, or is neither file, directory nor symlink.
pub fn of_directory(directory: &Path, submodules: &BTreeMap<String, CommitId>) -> Result<Blake3> {
    hash_directory(directory, submodules, true)
}

/// As [`of_directory`], without some directories in it: a project's root that is a layer has kbuild's own.
///
/// # Errors
/// Those of [`of_directory`].
pub fn of_folder(directory: &Path, left_out: &[PathBuf]) -> Result<Blake3> {
    let walk = DirectoryWalk { submodules: &BTreeMap::new(), leave_out_caches: true, left_out };
    Ok(walk.hash(directory, b"")?.unwrap_or_else(|| hash_lines(Vec::new())))
}

/// As [`of_directory`], but `__pycache__` counts: for commits that contain one themselves.
pub(super) fn of_whole_directory(directory: &Path, submodules: &BTreeMap<String, CommitId>) -> Result<Blake3> {
    hash_directory(directory, submodules, false)
}

fn hash_directory(directory: &Path, submodules: &BTreeMap<String, CommitId>, leave_out_caches: bool) -> Result<Blake3> {
    let walk = DirectoryWalk { submodules, leave_out_caches, left_out: &[] };
    Ok(walk.hash(directory, b"")?.unwrap_or_else(|| hash_lines(Vec::new())))
}

/// One entry of a commit's tree.
#[derive(Debug)]
pub(super) struct TreeEntry {
    pub name: Vec<u8>,
    pub node: TreeNode,
}

/// What an entry of a commit's tree is.
#[derive(Debug)]
pub(super) enum TreeNode {
    File {
        blob: Oid,
        executable: bool,
    },
    /// A file in Git LFS, written out: the blob of the store with its bytes.
    Large {
        content: Blake3,
        executable: bool,
    },
    Symlink(Oid),
    Directory(Vec<TreeEntry>),
    Submodule(CommitId),
}

/// The whole tree of a commit, without the contents of files, every directory at each of its places.
///
/// # Errors
/// Those of [`CommitTree::read`]; more files than are checked out or searched: kind `Input`.
pub(super) fn entries_of(objects: &Objects, commit: &CommitId) -> Result<Vec<TreeEntry>> {
    let tree = CommitTree::read(objects, commit)?;
    tree.must_be_writable()?;
    Ok(tree.spread(&tree.root))
}

/// The hash over entries of a repository.
///
/// # Errors
/// As [`of_commit`].
pub(super) fn of_entries(objects: &Objects, entries: &[TreeEntry]) -> Result<Blake3> {
    let mut blobs = Vec::new();
    collect_blobs(entries, &mut blobs);
    blobs.sort_unstable();
    blobs.dedup();
    let hashes = ObjectReader::open(objects)?.hash_all(blobs)?;
    Ok(hash_entries(entries, &hashes).unwrap_or_else(|| hash_lines(Vec::new())))
}

fn collect_blobs(entries: &[TreeEntry], blobs: &mut Vec<Oid>) {
    for entry in entries {
        match &entry.node {
            TreeNode::File { blob, .. } | TreeNode::Symlink(blob) => blobs.push(*blob),
            TreeNode::Directory(entries) => collect_blobs(entries, blobs),
            TreeNode::Submodule(_) | TreeNode::Large { .. } => {}
        }
    }
}

/// The hash over a commit's tree, when those of its blobs are known; `None` if it is empty.
fn hash_entries(entries: &[TreeEntry], blobs: &HashMap<Oid, Blake3>) -> Option<Blake3> {
    let line = |entry: &TreeEntry| {
        let (mode, hash) = match &entry.node {
            TreeNode::File { blob, executable: false } => (Mode::File, blobs[blob]),
            TreeNode::File { blob, executable: true } => (Mode::Executable, blobs[blob]),
            TreeNode::Large { content, executable: false } => (Mode::File, *content),
            TreeNode::Large { content, executable: true } => (Mode::Executable, *content),
            TreeNode::Symlink(blob) => (Mode::Symlink, blobs[blob]),
            TreeNode::Directory(entries) => (Mode::Directory, hash_entries(entries, blobs)?),
            TreeNode::Submodule(commit) => (Mode::Submodule, hash_bytes(commit.to_string().as_bytes())),
        };
        Some(TreeLine { mode, name: entry.name.clone(), hash })
    };
    let lines: Vec<_> = entries.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| hash_lines(lines))
}

/// One entry of a tree object.
#[derive(Debug)]
struct ObjectEntry {
    name: Vec<u8>,
    node: ObjectNode,
}

/// What an entry of a tree object is.
#[derive(Debug)]
enum ObjectNode {
    File {
        blob: Oid,
        executable: bool,
    },
    Symlink(Oid),
    /// Another tree object, see [`CommitTree::entries`].
    Directory(Oid),
    Submodule(CommitId),
}

/// The whole tree of a commit, without the contents of files. A tree object that occurs many times is here once: a few
/// kilobytes can describe more directories than any memory holds.
pub struct CommitTree {
    root: Oid,
    /// Each after all those that it contains.
    trees: IndexMap<Oid, TreeObject>,
}

/// A tree object.
struct TreeObject {
    entries: Vec<ObjectEntry>,
    /// Directories inside each other, itself included.
    height: u64,
    /// Files and directories in it, at any depth.
    paths: u64,
    /// Submodules in it, at any depth.
    links: u64,
}

impl CommitTree {
    /// Reads the tree of a commit.
    ///
    /// # Errors
    /// An object is missing or damaged (kind `Mismatch`), or too large or nested too deeply (kind `Input`).
    pub fn read(objects: &Objects, commit: &CommitId) -> Result<CommitTree> {
        let id = Oid::from_bytes(commit.as_bytes()).map_err(broken_object)?;
        must_be_small(objects, id)?;
        let root = objects.find_commit(id).map_err(broken_object)?.tree_id();
        let mut tree = CommitTree { root, trees: IndexMap::new() };
        tree.add(objects, root, 0)?;
        Ok(tree)
    }

    fn add(&mut self, objects: &Objects, id: Oid, depth: u64) -> Result<()> {
        if self.trees.contains_key(&id) {
            return Ok(());
        }
        let too_deep = || Error::input(format!("tree {id} is nested too deeply"));
        if depth > bounds::TREE_DEPTH {
            return Err(too_deep());
        }
        must_be_small(objects, id)?;
        let object = objects.find_tree(id).map_err(broken_object)?;
        let entries = object.iter().map(|entry| read_entry(&entry)).collect::<Result<Vec<_>>>()?;
        let (mut height, mut paths, mut links) = (1, 0_u64, 0_u64);
        for entry in &entries {
            paths = paths.saturating_add(1);
            match entry.node {
                ObjectNode::Directory(inner) => {
                    self.add(objects, inner, depth + 1)?;
                    let inner = &self.trees[&inner];
                    height = height.max(inner.height + 1);
                    paths = paths.saturating_add(inner.paths);
                    links = links.saturating_add(inner.links);
                }
                ObjectNode::Submodule(_) => links = links.saturating_add(1),
                ObjectNode::File { .. } | ObjectNode::Symlink(_) => {}
            }
        }
        if height > bounds::TREE_DEPTH {
            return Err(too_deep());
        }
        self.trees.insert(id, TreeObject { entries, height, paths, links });
        Ok(())
    }

    /// The entries of the commit's root.
    fn root(&self) -> &[ObjectEntry] {
        self.entries(&self.root)
    }

    /// The entries of a directory.
    fn entries(&self, directory: &Oid) -> &[ObjectEntry] {
        self.trees.get(directory).map_or(&[], |tree| &tree.entries)
    }

    /// The plain file of this name in the commit's root.
    pub fn file_at_top(&self, name: &[u8]) -> Option<Oid> {
        self.root().iter().find_map(|entry| match entry.node {
            ObjectNode::File { blob, .. } if entry.name == name => Some(blob),
            _ => None,
        })
    }

    /// Refuses a tree with more files than are checked out or searched.
    ///
    /// # Errors
    /// It has more: kind `Input`.
    pub fn must_be_writable(&self) -> Result<()> {
        let paths = self.trees[&self.root].paths;
        if paths <= bounds::CHECKOUT {
            return Ok(());
        }
        Err(Error::input(format!("tree {} has {paths} files and directories", self.root))
            .because(format!("the limit is {}", bounds::CHECKOUT)))
    }

    /// The entries of a directory with everything below it.
    fn spread(&self, directory: &Oid) -> Vec<TreeEntry> {
        let spread = |entry: &ObjectEntry| {
            let node = match &entry.node {
                ObjectNode::File { blob, executable } => TreeNode::File { blob: *blob, executable: *executable },
                ObjectNode::Symlink(blob) => TreeNode::Symlink(*blob),
                ObjectNode::Directory(inner) => TreeNode::Directory(self.spread(inner)),
                ObjectNode::Submodule(commit) => TreeNode::Submodule(*commit),
            };
            TreeEntry { name: entry.name.clone(), node }
        };
        self.entries(directory).iter().map(spread).collect()
    }

    /// Every submodule, by path. Paths are bytes: only those of submodules that are used need be UTF-8.
    ///
    /// # Errors
    /// There are too many: kind `Input`.
    pub fn links(&self) -> Result<BTreeMap<Vec<u8>, CommitId>> {
        let links = self.trees[&self.root].links;
        if links > bounds::SUBMODULES {
            return Err(Error::input(format!("tree {} has {links} submodules", self.root))
                .because(format!("the limit is {}", bounds::SUBMODULES)));
        }
        let mut found = BTreeMap::new();
        self.collect_links(&self.root, &[], &mut found);
        Ok(found)
    }

    fn collect_links(&self, directory: &Oid, within: &[u8], found: &mut BTreeMap<Vec<u8>, CommitId>) {
        for entry in self.entries(directory) {
            let path = [within, &entry.name].concat();
            match &entry.node {
                // Only directories that have some are looked into.
                ObjectNode::Directory(inner) if self.trees[inner].links > 0 => {
                    self.collect_links(inner, &[&path[..], b"/"].concat(), found);
                }
                ObjectNode::Submodule(commit) => drop(found.insert(path, *commit)),
                _ => {}
            }
        }
    }

    /// Calls a function for each plain file, with its path. See [`CommitTree::must_be_writable`].
    pub(super) fn each_file(&self, show: &mut impl FnMut(&[u8], Oid)) {
        self.each_file_below(&self.root, &[], show);
    }

    fn each_file_below(&self, directory: &Oid, within: &[u8], show: &mut impl FnMut(&[u8], Oid)) {
        for entry in self.entries(directory) {
            let path = [within, &entry.name].concat();
            match &entry.node {
                ObjectNode::Directory(inner) => self.each_file_below(inner, &[&path[..], b"/"].concat(), show),
                ObjectNode::File { blob, .. } => show(&path, *blob),
                _ => {}
            }
        }
    }

    /// The contents of all files and symlinks, each once.
    fn blobs(&self) -> Vec<Oid> {
        let entries = self.trees.values().flat_map(|tree| &tree.entries);
        let blobs = entries.filter_map(|entry| match entry.node {
            ObjectNode::File { blob, .. } | ObjectNode::Symlink(blob) => Some(blob),
            ObjectNode::Directory(_) | ObjectNode::Submodule(_) => None,
        });
        let mut blobs: Vec<Oid> = blobs.collect();
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }

    /// The hash over the tree, when those of its blobs are known; `None` if it is empty.
    fn hash(&self, blobs: &HashMap<Oid, Blake3>) -> Option<Blake3> {
        let mut known: HashMap<Oid, Option<Blake3>> = HashMap::new();
        for (id, tree) in &self.trees {
            let line = |entry: &ObjectEntry| {
                let (mode, hash) = match &entry.node {
                    ObjectNode::File { blob, executable: false } => (Mode::File, blobs[blob]),
                    ObjectNode::File { blob, executable: true } => (Mode::Executable, blobs[blob]),
                    ObjectNode::Symlink(blob) => (Mode::Symlink, blobs[blob]),
                    ObjectNode::Directory(inner) => (Mode::Directory, known[inner]?),
                    ObjectNode::Submodule(commit) => (Mode::Submodule, hash_bytes(commit.to_string().as_bytes())),
                };
                Some(TreeLine { mode, name: entry.name.clone(), hash })
            };
            let lines: Vec<_> = tree.entries.iter().filter_map(line).collect();
            let hash = (!lines.is_empty()).then(|| hash_lines(lines));
            known.insert(*id, hash);
        }
        known[&self.root]
    }
}

fn read_entry(entry: &git2::TreeEntry<'_>) -> Result<ObjectEntry> {
    let blob = entry.id();
    let node = match entry.kind() {
        Some(ObjectType::Tree) => ObjectNode::Directory(blob),
        Some(ObjectType::Commit) => ObjectNode::Submodule(blob.to_string().parse()?),
        _ if entry.filemode_raw() & 0o170_000 == 0o120_000 => ObjectNode::Symlink(blob),
        // git's canon_mode(): the owner's bit decides.
        _ => ObjectNode::File { blob, executable: entry.filemode_raw() & 0o100 != 0 },
    };
    Ok(ObjectEntry { name: entry.name_bytes().to_vec(), node })
}

/// A walk over a directory on disk.
struct DirectoryWalk<'a> {
    submodules: &'a BTreeMap<String, CommitId>,
    leave_out_caches: bool,
    left_out: &'a [PathBuf],
}

impl DirectoryWalk<'_> {
    /// The hash over a directory; `None` if it is empty. `within` is its path below the root, followed by a `/`.
    fn hash(&self, directory: &Path, within: &[u8]) -> Result<Option<Blake3>> {
        let failed = |error| Error::io("read", directory, error);
        let entries: Vec<_> = fs::read_dir(directory).and_then(Iterator::collect).map_err(failed)?;
        let lines = entries.par_iter().map(|entry| self.line(entry, within)).collect::<Result<Vec<_>>>()?;
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        Ok((!lines.is_empty()).then(|| hash_lines(lines)))
    }

    fn line(&self, entry: &fs::DirEntry, within: &[u8]) -> Result<Option<TreeLine>> {
        let path = entry.path();
        let name = entry.file_name().as_bytes().to_vec();
        let failed = |error| Error::io("read", &path, error);
        let metadata = entry.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        if self.left_out.contains(&path) {
            return Ok(None);
        }
        if name == b".git" || (self.leave_out_caches && kind.is_dir() && name == b"__pycache__") {
            return Ok(None);
        }
        let (mode, hash) = if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            (Mode::Symlink, hash_bytes(target.as_os_str().as_bytes()))
        } else if kind.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let mode = if executable { Mode::Executable } else { Mode::File };
            (mode, hash_content(&path, metadata.len())?)
        } else if kind.is_dir() {
            let whole = [within, &name].concat();
            if let Some(commit) = std::str::from_utf8(&whole).ok().and_then(|path| self.submodules.get(path)) {
                (Mode::Submodule, hash_bytes(commit.to_string().as_bytes()))
            } else {
                let Some(hash) = self.hash(&path, &[&whole, b"/".as_slice()].concat())? else { return Ok(None) };
                (Mode::Directory, hash)
            }
        } else {
            return Err(Error::input(format!("{} is neither file, directory nor symlink", path.display())));
        };
        Ok(Some(TreeLine { mode, name, hash }))
    }
}

fn hash_content(path: &Path, size: u64) -> Result<Blake3> {
    if size > SMALL {
        return blake3_file(path).map(|(hash, _)| hash);
    }
    fs::read(path).map(|bytes| hash_bytes(&bytes)).map_err(|error| Error::io("read", path, error))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    File,
    Executable,
    Symlink,
    Directory,
    Submodule,
}

impl Mode {
    fn octal(self) -> &'static [u8] {
        match self {
            Mode::File => b"100644",
            Mode::Executable => b"100755",
            Mode::Symlink => b"120000",
            Mode::Directory => b"40000",
            Mode::Submodule => b"160000",
        }
    }
}

/// An entry, ready to be hashed into its tree.
struct TreeLine {
    mode: Mode,
    name: Vec<u8>,
    hash: Blake3,
}

impl TreeLine {
    fn git_order(&self, other: &TreeLine) -> Ordering {
        fn spelled(line: &TreeLine) -> impl Iterator<Item = &u8> {
            line.name.iter().chain((line.mode == Mode::Directory).then_some(&b'/'))
        }
        spelled(self).cmp(spelled(other))
    }
}

fn hash_lines(mut lines: Vec<TreeLine>) -> Blake3 {
    lines.sort_by(TreeLine::git_order);
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    for line in &lines {
        for part in [line.mode.octal(), b" ", &line.name, b"\0", line.hash.as_bytes()] {
            hasher.update(part);
        }
    }
    (*hasher.finalize().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::error::Kind;
    use crate::git::{local_git, open_objects, run};
    use crate::store::fixture::{Item, Tree, Upstream, executable, file, link, tree, write_directory};

    fn of_fixture(content: &Tree) -> Blake3 {
        let upstream = Upstream::new();
        of_commit(&upstream.objects(), &upstream.commit(&[], content)).unwrap()
    }

    #[test]
    fn the_hash_is_what_the_head_of_this_file_says() {
        let submodule: CommitId = [0xab; 20].into();
        let content = tree([
            ("a", Item::Directory(tree([("x", executable("run"))]))),
            ("a.b", file("text")),
            ("a0", link("a.b")),
            ("sub", Item::Submodule(submodule)),
        ]);
        let entry = |mode: &str, name: &str, bytes: &[u8]| {
            [mode.as_bytes(), b" ", name.as_bytes(), b"\0", blake3::hash(bytes).as_bytes()].concat()
        };
        let inner = [b"kbuild tree 1\0".to_vec(), entry("100755", "x", b"run")].concat();
        // `a` counts as `a/`: after `a.b`, before `a0`.
        let outer = [
            b"kbuild tree 1\0".to_vec(),
            entry("100644", "a.b", b"text"),
            entry("40000", "a", &inner),
            entry("120000", "a0", b"a.b"),
            entry("160000", "sub", "ab".repeat(20).as_bytes()),
        ];
        assert_eq!(of_fixture(&content), Blake3::from(*blake3::hash(&outer.concat()).as_bytes()));
    }

    #[test]
    fn modes_are_canonical_and_empty_trees_count_for_nothing() {
        let upstream = Upstream::new();
        let blob = upstream.write(ObjectType::Blob, b"x");
        let empty = upstream.write(ObjectType::Tree, b"");
        let old = [b"100664 a\0".as_slice(), blob.as_bytes(), b"40000 b\0", empty.as_bytes()].concat();
        let old = upstream.write(ObjectType::Tree, &old);
        let text = format!("tree {old}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n");
        let commit: CommitId = upstream.write(ObjectType::Commit, text.as_bytes()).to_string().parse().unwrap();
        assert_eq!(of_commit(&upstream.objects(), &commit).unwrap(), of_fixture(&tree([("a", file("x"))])));
    }

    #[test]
    fn what_git_commits_from_a_directory_hashes_as_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (work, bare) = (directory.path().join("work"), directory.path().join("bare"));
        let content = tree([
            ("a", Item::Directory(tree([("x", executable("run")), ("empty", Item::Directory(Tree::new()))]))),
            ("a-b", file("text")),
            ("a.b", file(&"large ".repeat(300_000))),
            ("a0", link("nowhere")),
        ]);
        write_directory(&work, &content);
        let git = |arguments: &[&str]| {
            let mut command = local_git(&bare);
            command.arg("--work-tree").arg(&work).args(["-c", "user.name=A", "-c", "user.email=a@b"]);
            run(command.args(arguments), Kind::Bug).unwrap()
        };
        run(local_git(&bare).args(["init", "-q", "--bare"]).arg(&bare), Kind::Bug).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "x"]);
        let head = String::from_utf8(git(&["rev-parse", "HEAD"])).unwrap();
        let repository = open_objects(&bare).unwrap();
        let committed = of_commit(&repository, &head.trim().parse().unwrap()).unwrap();
        fs::create_dir_all(work.join("a/__pycache__")).unwrap();
        fs::write(work.join("a/__pycache__/x.pyc"), "").unwrap();
        fs::write(work.join(".git"), "gitdir: elsewhere").unwrap();
        assert_eq!(of_directory(&work, &BTreeMap::new()).unwrap(), committed);
        assert_ne!(of_whole_directory(&work, &BTreeMap::new()).unwrap(), committed);
    }

    #[test]
    fn what_is_no_file_is_refused_and_a_missing_object_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        assert_eq!(of_directory(directory.path(), &BTreeMap::new()).unwrap_err().kind(), Kind::Input);
        let upstream = Upstream::new();
        assert_eq!(of_commit(&upstream.objects(), &[1; 20].into()).unwrap_err().kind(), Kind::Mismatch);
    }

    /// A commit of this tree object.
    fn commit_of(upstream: &Upstream, tree: Oid) -> CommitId {
        let text = format!("tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n");
        upstream.write(ObjectType::Commit, text.as_bytes()).to_string().parse().unwrap()
    }

    /// A tree object with `number` entries of one kind that all are the same object.
    fn repeated(upstream: &Upstream, mode: &str, object: Oid, number: usize) -> Oid {
        let entry = |n| [mode.as_bytes(), format!(" n{n:07}\0").as_bytes(), object.as_bytes()].concat();
        upstream.write(ObjectType::Tree, &(0..number).flat_map(entry).collect::<Vec<u8>>())
    }

    #[test]
    fn a_tree_that_contains_itself_many_times_is_hashed_but_not_checked_out() {
        let upstream = Upstream::new();
        let nested = |levels: usize, each: usize| {
            let blob = upstream.write(ObjectType::Blob, b"x");
            let leaf = repeated(&upstream, "100644", blob, 1);
            let top = (0..levels).fold(leaf, |inner, _| repeated(&upstream, "40000", inner, each));
            commit_of(&upstream, top)
        };
        let small = nested(2, 3);
        let directory = tempfile::tempdir().unwrap();
        for path in (0..9).map(|n| format!("n{:07}/n{:07}", n / 3, n % 3)) {
            fs::create_dir_all(directory.path().join(&path)).unwrap();
            fs::write(directory.path().join(path).join("n0000000"), "x").unwrap();
        }
        let hash = of_commit(&upstream.objects(), &small).unwrap();
        assert_eq!(hash, of_directory(directory.path(), &BTreeMap::new()).unwrap());
        CommitTree::read(&upstream.objects(), &small).unwrap().must_be_writable().unwrap();
        // 10^10 files in eleven tree objects.
        let bomb = nested(10, 10);
        of_commit(&upstream.objects(), &bomb).unwrap();
        let tree = CommitTree::read(&upstream.objects(), &bomb).unwrap();
        assert!(tree.must_be_writable().unwrap_err().to_string().contains("has 21111111110 files and directories"));
        assert!(tree.links().unwrap().is_empty(), "what has no submodules is not walked through");
    }

    #[test]
    fn a_tree_that_is_too_deep_is_refused() {
        let upstream = Upstream::new();
        let leaf = repeated(&upstream, "100644", upstream.write(ObjectType::Blob, b"x"), 1);
        let deep = |levels: u64| (0..levels).fold(leaf, |inner, _| repeated(&upstream, "40000", inner, 1));
        of_commit(&upstream.objects(), &commit_of(&upstream, deep(bounds::TREE_DEPTH - 1))).unwrap();
        let error = of_commit(&upstream.objects(), &commit_of(&upstream, deep(bounds::TREE_DEPTH))).unwrap_err();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
    }

    #[test]
    fn too_many_submodules_are_refused() {
        let upstream = Upstream::new();
        let links = |number| {
            let tree = repeated(&upstream, "160000", Oid::from_bytes(&[7; 20]).unwrap(), number);
            CommitTree::read(&upstream.objects(), &commit_of(&upstream, tree)).unwrap().links()
        };
        assert_eq!(links(3).unwrap().len(), 3);
        let error = links(bounds::SUBMODULES as usize + 1).unwrap_err();
        assert!(error.to_string().contains("has 10001 submodules"), "{error}");
    }

    #[test]
    fn a_huge_tree_object_is_refused() {
        let upstream = Upstream::new();
        let blob = upstream.write(ObjectType::Blob, b"x");
        let tree = repeated(&upstream, "100644", blob, bounds::GIT_OBJECT as usize / 36 + 1);
        let error = of_commit(&upstream.objects(), &commit_of(&upstream, tree)).unwrap_err();
        assert!(error.to_string().contains("bytes") && error.causes()[0].contains("the limit is 16777216"), "{error}");
    }

    #[test]
    fn a_large_file_of_a_commit_is_hashed_piece_by_piece() {
        let upstream = Upstream::new();
        let large = "0123456789abcdef".repeat(bounds::BLOB_IN_MEMORY as usize / 16 + 1);
        let content = tree([("a", file("small")), ("b", file(&large)), ("c", link("a"))]);
        let commit = upstream.commit(&[], &content);
        let directory = tempfile::tempdir().unwrap();
        write_directory(directory.path(), &content);
        let hash = of_commit(&upstream.objects(), &commit).unwrap();
        assert_eq!(hash, of_directory(directory.path(), &BTreeMap::new()).unwrap());
        // Of a pack too, from which git streams it.
        run(local_git(upstream.path()).args(["update-ref", "refs/heads/main", &commit.to_string()]), Kind::Bug)
            .unwrap();
        run(local_git(upstream.path()).args(["repack", "-adq"]), Kind::Bug).unwrap();
        run(local_git(upstream.path()).arg("prune-packed"), Kind::Bug).unwrap();
        assert_eq!(of_commit(&upstream.objects(), &commit).unwrap(), hash);
        let lacking = commit_of(&upstream, repeated(&upstream, "100644", Oid::from_bytes(&[7; 20]).unwrap(), 1));
        assert_eq!(of_commit(&upstream.objects(), &lacking).unwrap_err().kind(), Kind::Mismatch);
    }

    #[test]
    fn a_huge_file_of_a_commit_is_refused() {
        let upstream = Upstream::new();
        let blob = upstream.write(ObjectType::Blob, b"four");
        let read = |limit| small_blob(&upstream.objects(), blob, Path::new("Cargo.lock"), limit);
        assert_eq!(read(4).unwrap(), b"four");
        assert_eq!(read(3).unwrap_err().to_string(), "Cargo.lock has 4 bytes");
    }

    /// Names that git sorts in an unusual way, and bytes that are not UTF-8.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        let letter = prop_oneof![Just(b'a'), Just(b'.'), Just(b'-'), Just(b'0'), Just(0xff), Just(b' '), Just(1)];
        vec(letter, 1..5).prop_filter("not a name", |name| name != b"." && name != b"..")
    }

    fn directory() -> impl Strategy<Value = Tree> {
        let bytes = vec(any::<u8>(), 0..20);
        let target = vec(1..=255_u8, 1..20);
        let leaf = prop_oneof![
            (bytes, any::<bool>()).prop_map(|(bytes, executable)| Item::File { bytes, executable }),
            target.prop_map(Item::Symlink),
        ];
        let item = leaf.prop_recursive(3, 16, 4, |item| btree_map(name(), item, 0..4).prop_map(Item::Directory));
        btree_map(name(), item, 0..6)
    }

    #[test]
    fn commit_and_directory_agree() {
        let upstream = Upstream::new();
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        let cases = (directory(), any::<Option<[u8; 20]>>());
        let checked = TestRunner::new(config).run(&cases, |(mut content, submodule)| {
            let mut submodules = BTreeMap::new();
            if let Some(commit) = submodule {
                content.insert(b"a.sub".to_vec(), Item::Submodule(commit.into()));
                submodules.insert("a.sub".to_owned(), commit.into());
            }
            let directory = tempfile::tempdir().unwrap();
            write_directory(directory.path(), &content);
            let committed = of_commit(&upstream.objects(), &upstream.commit(&[], &content)).unwrap();
            prop_assert_eq!(of_directory(directory.path(), &submodules).unwrap(), committed);
            Ok(())
        });
        checked.unwrap();
    }
}
