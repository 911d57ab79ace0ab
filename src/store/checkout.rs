//! Checkouts of layers from the store: the raw tree, no filters, no attributes, as a work tree of git (`work_tree.rs`). Only files
//! in Git LFS are written out. What is there already is compared and never written again: an edit is a person's work.
//!
//! Every file gets the time of its commit. BitBake's parse cache depends on times, and recipes pack files of layers into
//! archives, so two checkouts of one commit must have the same times.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, FileType, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use git2::{ObjectType, Oid};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use walkdir::WalkDir;

use super::objects::ObjectReader;
use super::tree::{self, TreeEntry, TreeNode};
use super::verify::REPAIR_HELP;
use super::work_tree::{self, WorkTree};
use super::{OpenedCommit, PatchFile, Store};
use crate::disk::{self, FreeSpace};
use crate::error::{Error, Kind, Result};
use crate::files::LOCK;
use crate::git::{Objects, broken_object};
use crate::lock::{Lock, LockedGit};
use crate::source::{Blake3, CommitId};

/// No link can have a longer target (limits.h), in bytes.
const PATH_MAX: u64 = 4096;

/// Makes `directory` a work tree of a locked commit with its submodules, modes 0644 and 0755, written beside it and renamed.
/// What is there already stays as it is, edited or not: returns how it differs from the commit, one edit each
/// (`modified: recipes/a.bb`), found by the bytes of all files. Nothing: it is the locked tree.
///
/// Submodules that the lock does not name become empty directories, as in git. Where the lock names an object of Git LFS, its
/// bytes are written in place of the pointer.
///
/// # Errors
/// The commit is not in the store (kind `Missing`), its tree is not the locked one (kind `Mismatch`), it contains names
/// that must not be written (kind `Input`), or what is there cannot be read.
pub fn check_out(store: &Store, lock: &Lock, git: &LockedGit, directory: &Path) -> Result<Vec<String>> {
    check_out_patched(store, lock, git, &[], directory)
}

/// The same of a commit with patches. They are commits on top of it, and no edits: what is there has to be as the last of them.
///
/// # Errors
/// Those of [`check_out`]; a patch does not apply: kind `Input`.
pub fn check_out_patched(
    store: &Store,
    lock: &Lock,
    git: &LockedGit,
    patches: &[PatchFile],
    directory: &Path,
) -> Result<Vec<String>> {
    let checkout = Checkout::plan(store, lock, git)?.with(patches)?;
    if fs::symlink_metadata(directory).is_err() {
        let new = disk::directory_beside(directory)?;
        checkout.write(new.path())?;
        if !checkout.stands_in(new.path())? {
            return Err(other_tree(git));
        }
        checkout.ensure_repositories(store, new.path(), new.path())?;
        disk::replace_directory(new, directory)?;
        return Ok(Vec::new());
    }
    if !directory.is_dir() {
        return Err(Error::input(format!("{} is not a directory", directory.display()))
            .help("kbuild puts a layer's checkout there: move it away"));
    }
    checkout.ensure_repositories(store, directory, directory)?;
    let mut edits = Vec::new();
    checkout.find_commits(directory, "", &mut edits);
    if !checkout.stands_in(directory)? {
        checkout.compare(directory, "", &mut edits)?;
        if edits.is_empty() {
            return Err(other_tree(git));
        }
    }
    Ok(edits)
}

/// A commit to write, with its submodules.
struct Checkout<'a> {
    store: Store,
    git: &'a LockedGit,
    opened: OpenedCommit,
    /// The commit that is checked out: the locked one, or the last of its patches.
    head: CommitId,
    entries: Vec<TreeEntry>,
    tree: Blake3,
    /// All submodules in the tree.
    links: BTreeMap<String, CommitId>,
    /// The submodules that the lock names too.
    children: BTreeMap<String, Checkout<'a>>,
    time: Timestamps,
}

impl<'a> Checkout<'a> {
    fn plan(store: &Store, lock: &'a Lock, git: &'a LockedGit) -> Result<Checkout<'a>> {
        let opened = store.open_commit(&git.commit)?;
        let tree = match (git.tree, store.git(&git.commit)?) {
            (Some(tree), _) => tree,
            (None, Some(record)) => record.tree,
            (None, None) => tree::of_commit(&opened, &git.commit)?,
        };
        let mut entries = tree::entries_of(&opened, &git.commit)?;
        let mut large = large_files(store, lock, git)?;
        let tree = if large.is_empty() {
            tree
        } else {
            check_raw_tree(&opened, &entries, git, &tree)?;
            write_out(&mut entries, "", &mut large);
            tree::of_entries(&opened, &entries)?
        };
        if let Some(path) = large.keys().next() {
            let message = format!("{LOCK} names a file in Git LFS, `{path}`, that is not in commit {}", git.commit);
            return Err(Error::input(message).help("run `kbuild lock`"));
        }
        let mut links = BTreeMap::new();
        collect_links(&entries, "", &mut links)?;
        let child = |(path, key): (&String, &String)| {
            let child = lock.gits.get(key).filter(|child| links.get(path) == Some(&child.commit));
            let child = child.ok_or_else(|| {
                let message = format!("{LOCK} names a submodule `{path}` that is not in commit {}", git.commit);
                Error::input(message).help("run `kbuild lock`")
            })?;
            Ok((path.clone(), Checkout::plan(store, lock, child)?))
        };
        let children = git.submodules.iter().map(child).collect::<Result<_>>()?;
        let time = commit_time(&opened, &git.commit)?;
        let (store, head) = (store.clone(), git.commit);
        Ok(Checkout { store, git, opened, head, entries, tree, links, children, time })
    }

    /// The same with patches: the locked commit's tree is hashed here, because it is not what is written.
    fn with(self, patches: &[PatchFile]) -> Result<Checkout<'a>> {
        if patches.is_empty() {
            return Ok(self);
        }
        let raw = tree::entries_of(&self.opened, &self.git.commit)?;
        if let Some(locked) = &self.git.tree {
            check_raw_tree(&self.opened, &raw, self.git, locked)?;
        }
        let (opened, head) = self.store.open_patched(&self.git.commit, patches)?;
        let mut entries = tree::entries_of(&opened, &head)?;
        keep_large(&self.entries, &raw, &mut entries)?;
        let tree = tree::of_entries(&opened, &entries)?;
        let mut links = BTreeMap::new();
        collect_links(&entries, "", &mut links)?;
        Ok(Checkout { opened, head, entries, tree, links, ..self })
    }

    /// Whether a directory contains exactly this already.
    fn stands_in(&self, directory: &Path) -> Result<bool> {
        // Python writes caches into the engine's own tree; a commit may contain some itself.
        let same = tree::of_directory(directory, &self.links)? == self.tree
            || tree::of_whole_directory(directory, &self.links)? == self.tree;
        if !same {
            return Ok(false);
        }
        for path in self.links.keys() {
            let within = directory.join(path);
            let stands = match self.children.get(path) {
                Some(child) => child.stands_in(&within)?,
                None => is_empty(&within)?,
            };
            if !stands {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the checkout, and that of each submodule, a work tree of git. The times of their directories stay.
    fn ensure_repositories(&self, store: &Store, directory: &Path, top: &Path) -> Result<()> {
        for (path, child) in &self.children {
            let within = directory.join(path);
            if within.is_dir() {
                child.ensure_repositories(store, &within, top)?;
            }
        }
        let is_new = fs::symlink_metadata(directory.join(".git")).is_err();
        let mut large = Vec::new();
        collect_large(&self.entries, "", &mut large);
        let made = (self.head != self.git.commit).then(|| self.opened.directory());
        WorkTree { store, git: self.git, head: self.head, made, children: self.all_children(), large }
            .ensure(directory, top)?;
        if is_new { self.set_time(directory) } else { Ok(()) }
    }

    fn all_children(&self) -> Vec<CommitId> {
        let own = |child: &Checkout<'_>| [vec![child.git.commit], child.all_children()].concat();
        self.children.values().flat_map(own).collect()
    }

    /// Commits that a person made here, or switched to.
    fn find_commits(&self, directory: &Path, within: &str, edits: &mut Vec<String>) {
        match work_tree::head(directory) {
            Some(head) if head == self.head => {}
            Some(head) => edits.push(format!("HEAD of {}: {}", shown_top(within), head.short())),
            None => edits.push(format!("HEAD of {}: no commit", shown_top(within))),
        }
        for (path, child) in &self.children {
            // A missing one is told by its files.
            if directory.join(path).is_dir() {
                child.find_commits(&directory.join(path), &format!("{within}{path}/"), edits);
            }
        }
    }

    /// Every difference between the commit and a directory.
    fn compare(&self, directory: &Path, within: &str, edits: &mut Vec<String>) -> Result<()> {
        self.compare_entries(&self.entries, Level { directory, within, below: "" }, edits)
    }

    fn compare_entries(&self, entries: &[TreeEntry], level: Level<'_>, edits: &mut Vec<String>) -> Result<()> {
        let Level { directory, within, below: inside } = level;
        let mut present = listed(directory)?;
        for entry in entries {
            let name = OsStr::from_bytes(&entry.name);
            let shown = format!("{within}{}", name.to_string_lossy());
            let path = directory.join(name);
            let Some(kind) = present.remove(name) else {
                // git has no empty directories.
                if !is_bare(&entry.node) {
                    edits.push(format!("deleted: {shown}"));
                }
                continue;
            };
            let same = match &entry.node {
                TreeNode::Directory(entries) if kind.is_dir() => {
                    let next = below(inside, &entry.name);
                    let level = Level { directory: &path, within: &format!("{shown}/"), below: &next };
                    self.compare_entries(entries, level, edits)?;
                    true
                }
                TreeNode::Submodule(_) if kind.is_dir() => {
                    let child = self.children.get(below(inside, &entry.name).trim_end_matches('/'));
                    match child {
                        Some(child) => child.compare(&path, &format!("{shown}/"), edits)?,
                        None => add_new(&path, &shown, edits)?,
                    }
                    true
                }
                TreeNode::File { blob, executable } if kind.is_file() => {
                    is_file(&path, *executable, |bytes| Ok(hash_blob(bytes)? == *blob))?
                }
                TreeNode::Large { content, executable } if kind.is_file() => {
                    is_file(&path, *executable, |bytes| Ok(Blake3::from(*blake3::hash(bytes).as_bytes()) == *content))?
                }
                TreeNode::Symlink(blob) if kind.is_symlink() => is_symlink(&path, *blob)?,
                _ => false,
            };
            if !same {
                edits.push(format!("modified: {shown}"));
            }
        }
        for (name, kind) in present {
            if name == ".git" || (kind.is_dir() && name == "__pycache__") {
                continue;
            }
            let shown = format!("{within}{}", name.to_string_lossy());
            if kind.is_dir() {
                add_new(&directory.join(&name), &shown, edits)?;
            } else {
                edits.push(format!("new: {shown}"));
            }
        }
        Ok(())
    }

    fn write(&self, directory: &Path) -> Result<()> {
        let mut objects = ObjectReader::open(&self.opened)?;
        self.write_entries(&mut objects, &self.entries, directory, "")
    }

    /// Writes the entries of one directory. `within` is its path below the commit's root, followed by a `/`.
    fn write_entries(
        &self,
        objects: &mut ObjectReader<'_>,
        entries: &[TreeEntry],
        directory: &Path,
        within: &str,
    ) -> Result<()> {
        for entry in entries {
            check_name(&entry.name)?;
            let path = directory.join(OsStr::from_bytes(&entry.name));
            match &entry.node {
                TreeNode::File { blob, executable } => write_file(&path, objects, *blob, *executable)?,
                TreeNode::Symlink(blob) => write_symlink(&path, &self.opened, *blob)?,
                TreeNode::Large { content, executable } => write_large(&path, &self.store, content, *executable)?,
                TreeNode::Directory(entries) => {
                    make_directory(&path)?;
                    self.write_entries(objects, entries, &path, &below(within, &entry.name))?;
                    continue;
                }
                TreeNode::Submodule(_) => {
                    make_directory(&path)?;
                    let child = self.children.get(below(within, &entry.name).trim_end_matches('/'));
                    child.map_or(Ok(()), |child| child.write(&path))?;
                    continue;
                }
            }
            self.set_time(&path)?;
        }
        // Last, because writing into a directory changes its time.
        self.set_time(directory)
    }

    fn set_time(&self, path: &Path) -> Result<()> {
        utimensat(CWD, path, &self.time, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::io("set the time of", path, error.into()))
    }
}

/// A directory that is compared.
#[derive(Clone, Copy)]
struct Level<'a> {
    directory: &'a Path,
    /// What stands before its entries' names in messages.
    within: &'a str,
    /// Its path below the commit's root, followed by a `/`.
    below: &'a str,
}

fn shown_top(within: &str) -> &str {
    if within.is_empty() { "the checkout" } else { within.trim_end_matches('/') }
}

fn listed(directory: &Path) -> Result<BTreeMap<OsString, FileType>> {
    let failed = |error| Error::io("read", directory, error);
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))).map_err(failed)).collect()
}

/// Whether git would write nothing of it.
fn is_bare(node: &TreeNode) -> bool {
    match node {
        TreeNode::Directory(entries) => entries.iter().all(|entry| is_bare(&entry.node)),
        TreeNode::Submodule(_) => true,
        TreeNode::File { .. } | TreeNode::Large { .. } | TreeNode::Symlink(_) => false,
    }
}

fn is_file(path: &Path, executable: bool, has_bytes: impl FnOnce(&[u8]) -> Result<bool>) -> Result<bool> {
    let failed = |error| Error::io("read", path, error);
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let bytes = fs::read(path).map_err(failed)?;
    Ok((mode & 0o100 != 0) == executable && has_bytes(&bytes)?)
}

/// The paths of files in Git LFS.
fn collect_large(entries: &[TreeEntry], within: &str, large: &mut Vec<String>) {
    for entry in entries {
        let path = format!("{within}{}", String::from_utf8_lossy(&entry.name));
        match &entry.node {
            TreeNode::Directory(entries) => collect_large(entries, &format!("{path}/"), large),
            TreeNode::Large { .. } => large.push(path),
            _ => {}
        }
    }
}

fn is_symlink(path: &Path, blob: Oid) -> Result<bool> {
    let target = fs::read_link(path).map_err(|error| Error::io("read", path, error))?;
    Ok(hash_blob(target.as_os_str().as_bytes())? == blob)
}

fn hash_blob(bytes: &[u8]) -> Result<Oid> {
    Oid::hash_object(ObjectType::Blob, bytes).map_err(broken_object)
}

/// A new directory is an edit if a file is in it, at any depth.
fn add_new(path: &Path, shown: &str, edits: &mut Vec<String>) -> Result<()> {
    for entry in WalkDir::new(path).min_depth(1) {
        let entry = entry.map_err(|error| Error::io("read", path, error.into()))?;
        let is_cache = entry.path().components().any(|part| part.as_os_str() == "__pycache__");
        if !entry.file_type().is_dir() && !is_cache {
            edits.push(format!("new: {shown}/"));
            break;
        }
    }
    Ok(())
}

/// The path of a directory below another one. A name that is not UTF-8 leads to no submodule (see [`collect_links`]).
fn below(within: &str, name: &[u8]) -> String {
    format!("{within}{}/", String::from_utf8_lossy(name))
}

fn collect_links(entries: &[TreeEntry], within: &str, links: &mut BTreeMap<String, CommitId>) -> Result<()> {
    for entry in entries {
        match &entry.node {
            TreeNode::Directory(entries) => collect_links(entries, &below(within, &entry.name), links)?,
            TreeNode::Submodule(commit) => {
                let name = std::str::from_utf8(&entry.name).ok().filter(|_| !within.contains('\u{fffd}'));
                let name = name.ok_or_else(|| Error::input(format!("a submodule in `{within}` has no UTF-8 path")))?;
                links.insert(format!("{within}{name}"), *commit);
            }
            TreeNode::File { .. } | TreeNode::Large { .. } | TreeNode::Symlink(_) => {}
        }
    }
    Ok(())
}

/// The blobs of a commit's files in Git LFS, by path.
fn large_files(store: &Store, lock: &Lock, git: &LockedGit) -> Result<BTreeMap<String, Blake3>> {
    let found = git.lfs.iter().map(|(path, oid)| {
        let object = lock.lfs.get(oid).and_then(|object| store.find_file(object));
        let missing = || {
            let error = Error::new(Kind::Missing, format!("the LFS object {oid} of `{path}` is not in the store"));
            error.help("run `kbuild fetch`")
        };
        Ok((path.clone(), object.ok_or_else(missing)?.blake3))
    });
    found.collect()
}

/// The locked hash is over the pointers; what is written out has another one.
fn check_raw_tree(opened: &OpenedCommit, entries: &[TreeEntry], git: &LockedGit, locked: &Blake3) -> Result<()> {
    if tree::of_entries(opened, entries)? == *locked {
        return Ok(());
    }
    Err(other_tree(git))
}

fn other_tree(git: &LockedGit) -> Error {
    let message = format!("the tree of commit {} in the store is not the locked one", git.commit);
    Error::new(Kind::Mismatch, message).help(REPAIR_HELP)
}

/// Puts large files in place of pointers; those that have a place are taken out of `large`.
fn write_out(entries: &mut [TreeEntry], within: &str, large: &mut BTreeMap<String, Blake3>) {
    for entry in entries {
        let Ok(name) = std::str::from_utf8(&entry.name) else { continue };
        let path = format!("{within}{name}");
        match &mut entry.node {
            TreeNode::Directory(entries) => write_out(entries, &format!("{path}/"), large),
            TreeNode::File { executable, .. } => {
                if let Some(content) = large.remove(&path) {
                    entry.node = TreeNode::Large { content, executable: *executable };
                }
            }
            _ => {}
        }
    }
}

/// Writes out the same files in Git LFS as without patches: those whose pointers no patch changed.
fn keep_large(written: &[TreeEntry], raw: &[TreeEntry], patched: &mut [TreeEntry]) -> Result<()> {
    for entry in patched {
        let named = |entries: &[TreeEntry]| entries.iter().position(|other| other.name == entry.name);
        let (Some(written_at), Some(raw_at)) = (named(written), named(raw)) else { continue };
        match (&written[written_at].node, &raw[raw_at].node, &mut entry.node) {
            (TreeNode::Directory(written), TreeNode::Directory(raw), TreeNode::Directory(patched)) => {
                keep_large(written, raw, patched)?;
            }
            (
                TreeNode::Large { content, executable },
                TreeNode::File { blob, .. },
                TreeNode::File { blob: now, .. },
            ) => {
                if blob != now {
                    let name = String::from_utf8_lossy(&entry.name).into_owned();
                    let error = Error::input(format!("a patch changes `{name}`, a pointer of Git LFS"));
                    return Err(
                        error.help("the object behind the new pointer is not locked: leave the file out of the patch")
                    );
                }
                entry.node = TreeNode::Large { content: *content, executable: *executable };
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses what git itself would not check out (`verify_path` in its read-cache.c): names that leave the directory or
/// make it a repository.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    let bad = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.eq_ignore_ascii_case(b".git");
    if bad {
        return Err(Error::input(format!("a tree contains an entry called `{}`", name.escape_ascii()))
            .help("this commit cannot be checked out safely; choose another"));
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<()> {
    let failed = |error| Error::io("create", path, error);
    DirBuilder::new().mode(0o755).create(path).map_err(failed)?;
    // The umask may have removed some bits of the mode above.
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(failed)
}

#[expect(clippy::disallowed_methods, reason = "a new directory is filled, and used only when it is complete")]
fn write_file(path: &Path, objects: &mut ObjectReader<'_>, blob: Oid, executable: bool) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    // Never through a symlink: if a tree has two entries of one name, the second is refused.
    let mut file = File::create_new(path).map_err(failed)?;
    let mut room = FreeSpace::of(path.parent().unwrap_or(path));
    objects.each_piece(blob, |bytes| {
        room.take(bytes.len() as u64)?;
        file.write_all(bytes).map_err(failed)
    })?;
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed)
}

/// Copies a blob (a link would make the store's file writable by whoever owns the checkout).
#[expect(clippy::disallowed_methods, reason = "a new directory is filled, and used only when it is complete")]
fn write_large(path: &Path, store: &Store, content: &Blake3, executable: bool) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let mut file = File::create_new(path).map_err(failed)?;
    let blob = store.blob_path(content);
    let mut bytes = File::open(&blob).map_err(|error| Error::io("read", &blob, error))?;
    std::io::copy(&mut bytes, &mut file).map_err(failed)?;
    let mode = if executable { 0o755 } else { 0o644 };
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed)
}

fn write_symlink(path: &Path, objects: &Objects, blob: Oid) -> Result<()> {
    let target = tree::small_blob(objects, blob, path, PATH_MAX)?;
    symlink(OsStr::from_bytes(&target), path).map_err(|error| Error::io("create", path, error))
}

fn commit_time(repository: &git2::Repository, commit: &CommitId) -> Result<Timestamps> {
    let id = Oid::from_bytes(commit.as_bytes()).map_err(broken_object)?;
    let commit = repository.find_commit(id).map_err(broken_object)?;
    let time = Timespec { tv_sec: commit.time().seconds(), tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(directory).map_err(|error| Error::io("read", directory, error))?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::store::FoundCheckout;
    use crate::store::fixture::{Item, Tree, Upstream, executable, file, link, tree as a_tree};
    use crate::store::tests::temporary;

    /// A store that has a commit with this tree, and the lock's block for it.
    fn stored(store: &Store, content: &Tree) -> LockedGit {
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], content);
        let hash = tree::of_commit(&upstream.objects(), &commit).unwrap();
        store.add_git(upstream.path(), &commit, hash).unwrap();
        upstream.locked(&commit, Some(hash))
    }

    fn layer() -> Tree {
        a_tree([
            ("recipe.bb", file("SUMMARY = \"x\"\n")),
            ("bin", Item::Directory(a_tree([("tool", executable("#!/bin/sh\n"))]))),
            ("link", link("bin/tool")),
            (".gitattributes", file("* text eol=crlf\n")),
        ])
    }

    #[test]
    fn what_a_killed_checkout_left_goes_with_the_next_one() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let layers = directory.path().join("layers");
        let left = layers.join(".kbuild-tmp-killed");
        fs::create_dir_all(left.join("meta")).unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        File::open(&left).unwrap().set_modified(long_ago).unwrap();
        check_out(&store, &Lock::default(), &git, &layers.join("layer")).unwrap();
        let names: Vec<_> = fs::read_dir(&layers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["layer"]);
    }

    #[test]
    fn a_checkout_has_the_bytes_modes_and_times_of_the_commit() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let target = directory.path().join("layers/x");
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        assert_eq!(fs::read(target.join("recipe.bb")).unwrap(), b"SUMMARY = \"x\"\n", "no line ends are changed");
        assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("bin/tool"));
        for (path, mode) in [("recipe.bb", 0o100_644), ("bin/tool", 0o100_755), ("bin", 0o40_755), ("", 0o40_755)] {
            let metadata = fs::symlink_metadata(target.join(path)).unwrap();
            assert_eq!((metadata.mode(), metadata.mtime()), (mode, 1_700_000_000), "{path}");
        }
        assert_eq!(fs::symlink_metadata(target.join("link")).unwrap().mtime(), 1_700_000_000);
        assert_eq!(fs::read_dir(directory.path().join("layers")).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_checkout_is_never_written_again_and_every_edit_in_it_is_told() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let target = directory.path().join("x");
        let checked = || check_out(&store, &Lock::default(), &git, &target).unwrap();
        assert!(checked().is_empty());
        fs::create_dir(target.join("bin/__pycache__")).unwrap();
        fs::write(target.join("bin/__pycache__/x.pyc"), "").unwrap();
        assert!(checked().is_empty(), "Python's caches are ignored");

        fs::write(target.join("recipe.bb"), "changed").unwrap();
        fs::create_dir_all(target.join("new/empty")).unwrap();
        assert_eq!(checked(), ["modified: recipe.bb"], "git has no empty directories");
        fs::write(target.join("new/empty/file"), "").unwrap();
        fs::write(target.join("bin/more"), "").unwrap();
        fs::set_permissions(target.join("bin/tool"), Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(target.join("link")).unwrap();
        let all = ["modified: bin/tool", "new: bin/more", "deleted: link", "modified: recipe.bb", "new: new/"];
        assert_eq!(checked(), all);
        assert_eq!(fs::read(target.join("recipe.bb")).unwrap(), b"changed");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "the store and the checkout");

        fs::remove_dir_all(&target).unwrap();
        assert!(checked().is_empty());
        fs::remove_dir_all(&target).unwrap();
        fs::write(&target, "a file").unwrap();
        assert_eq!(check_out(&store, &Lock::default(), &git, &target).unwrap_err().kind(), Kind::Input);
    }

    /// git as a person runs it: nothing of kbuild's settings but the trust in a directory of somebody else's.
    fn person(directory: &Path, arguments: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "safe.directory=*", "-c", "user.name=A", "-c", "user.email=a@b"]).args(arguments);
        let output = git.current_dir(directory).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_checkout_is_a_work_tree_whose_objects_are_the_stores() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let target = directory.path().join("x");
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        assert_eq!(person(&target, &["rev-parse", "HEAD"]), git.commit.to_string());
        assert_eq!(person(&target, &["status", "--porcelain"]), "", "no attribute converts what is compared");
        assert_eq!(person(&target, &["log", "--format=%H"]), git.commit.to_string());
        assert_eq!(person(&target, &["remote", "get-url", "origin"]), git.url.as_str());
        let own: Vec<_> = WalkDir::new(target.join(".git/objects")).into_iter().flatten().collect();
        let files: Vec<_> = own.iter().filter(|entry| entry.file_type().is_file()).collect();
        assert_eq!(files.len(), 1, "only `info/alternates`: {files:?}");
        let found = FoundCheckout::all_in(directory.path()).unwrap();
        assert_eq!((found.len(), found[0].is_edited()), (1, false));
        assert_eq!(found[0].commits, [git.commit]);

        fs::write(target.join("recipe.bb"), "changed").unwrap();
        assert!(person(&target, &["diff"]).contains("+changed"));
        assert!(found[0].is_edited());
        // A commit of one's own is an edit too, whether or not the files differ.
        person(&target, &["commit", "-aqm", "Mine"]);
        let edits = check_out(&store, &Lock::default(), &git, &target).unwrap();
        let head: CommitId = person(&target, &["rev-parse", "HEAD"]).parse().unwrap();
        assert_eq!(edits, [format!("HEAD of the checkout: {}", head.short()), "modified: recipe.bb".to_owned()]);
        assert!(found[0].is_edited());
        person(&target, &["clone", "-q", ".", "../clone"]);
    }

    #[test]
    fn a_checkout_without_a_repository_gets_one_and_a_moved_store_is_found_again() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let target = directory.path().join("x");
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        fs::remove_dir_all(target.join(".git")).unwrap();
        fs::write(target.join("recipe.bb"), "changed").unwrap();
        assert_eq!(check_out(&store, &Lock::default(), &git, &target).unwrap(), ["modified: recipe.bb"]);
        assert!(person(&target, &["diff"]).contains("+changed"));

        drop(store);
        let moved = directory.path().join("moved");
        let mut entries = fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.path());
        let old = entries.find(|path| path.join("format").exists()).unwrap();
        fs::rename(old, &moved).unwrap();
        let store = Store::open(&moved).unwrap();
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        assert!(person(&target, &["diff"]).contains("+changed"));
    }

    #[test]
    fn caches_that_a_commit_holds_are_written_too() {
        let (directory, store) = temporary();
        let caches = a_tree([("x.pyc", file("cache"))]);
        let git = stored(&store, &a_tree([("a", file("")), ("__pycache__", Item::Directory(caches))]));
        let target = directory.path().join("x");
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        let inode = fs::metadata(&target).unwrap().ino();
        assert!(target.join("__pycache__/x.pyc").is_file());
        check_out(&store, &Lock::default(), &git, &target).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().ino(), inode);
    }

    #[test]
    fn submodules_stand_at_their_paths_and_unlocked_ones_are_empty() {
        let (directory, store) = temporary();
        let child = stored(&store, &a_tree([("inner", file("inner"))]));
        let vendor = a_tree([("kept", Item::Submodule(child.commit)), ("left", Item::Submodule(child.commit))]);
        let mut parent = stored(&store, &a_tree([("vendor", Item::Directory(vendor))]));
        parent.submodules.insert("vendor/kept".to_owned(), "child@1".to_owned());
        let mut lock = Lock::default();
        lock.gits.insert("child@1".to_owned(), child);
        let target = directory.path().join("x");
        check_out(&store, &lock, &parent, &target).unwrap();
        assert_eq!(fs::read(target.join("vendor/kept/inner")).unwrap(), b"inner");
        assert!(is_empty(&target.join("vendor/left")).unwrap());

        assert_eq!(person(&target, &["status", "--porcelain"]), "");
        for changed in ["vendor/kept/inner", "vendor/left/stray"] {
            fs::write(target.join(changed), "changed").unwrap();
        }
        let edits = check_out(&store, &lock, &parent, &target).unwrap();
        assert_eq!(edits, ["modified: vendor/kept/inner", "new: vendor/left/"]);

        parent.submodules.insert("vendor".to_owned(), "child@1".to_owned());
        assert_eq!(check_out(&store, &lock, &parent, &target).unwrap_err().kind(), Kind::Input);
    }

    #[test]
    fn a_commit_the_store_lacks_or_with_another_tree_is_no_checkout() {
        let (directory, store) = temporary();
        let git = stored(&store, &layer());
        let target = directory.path().join("x");
        let other = LockedGit { tree: Some([7; 32].into()), ..git.clone() };
        assert_eq!(check_out(&store, &Lock::default(), &other, &target).unwrap_err().kind(), Kind::Mismatch);
        let absent = LockedGit { commit: [7; 20].into(), ..git };
        assert_eq!(check_out(&store, &Lock::default(), &absent, &target).unwrap_err().kind(), Kind::Missing);
        assert!(!target.exists());
    }

    #[test]
    fn hostile_names_are_refused() {
        let (directory, store) = temporary();
        for name in [".git", ".GIT", "..", ".", "a/b"] {
            let inner = a_tree([(name, file("evil"))]);
            let upstream = Upstream::new();
            let commit = upstream.commit(&[], &a_tree([("sub", Item::Directory(inner))]));
            let hash = tree::of_commit(&upstream.objects(), &commit).unwrap();
            store.add_git(upstream.path(), &commit, hash).unwrap();
            let git = upstream.locked(&commit, Some(hash));
            let error = check_out(&store, &Lock::default(), &git, &directory.path().join("x")).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{name}");
        }
        assert!(!directory.path().join("x").exists());
    }
}
