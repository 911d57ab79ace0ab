//! Counts and lists the contents of a store.

use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use super::lower::HIDDEN;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::{Blake3, CommitId};

/// A file of the store that is not content, with its size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
}

/// The contents of a store, from names and sizes; no byte is hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Every blob with its size in bytes, sorted.
    pub blobs: Vec<(Blake3, u64)>,
    /// Every commit that has a record, whether its packs exist or not; sorted.
    pub commits: Vec<CommitId>,
    /// Partial downloads.
    pub partial: Vec<Leftover>,
    /// What `kbuild verify --repair` set aside, and its marks of what is wrong in a lower store.
    pub set_aside: Vec<Leftover>,
    /// Temporary files and directories: of processes that work now, or that died.
    pub temporary: Vec<Leftover>,
}

impl Inventory {
    /// The size of all blobs, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

impl Store {
    /// Counts and lists what is in this store, lower stores left out.
    ///
    /// # Errors
    /// A directory of the store cannot be read.
    pub fn inventory(&self) -> Result<Inventory> {
        let mut inventory = Inventory::default();
        for directory in names(&self.root.join("blobs"))? {
            for path in names(&directory)? {
                inventory.count_blob(path);
            }
        }
        for path in names(&self.root.join("git"))? {
            if is_temporary(&path) {
                continue;
            }
            let commit = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".toml"));
            match commit.and_then(|commit| commit.parse().ok()) {
                Some(commit) => inventory.commits.push(commit),
                None => inventory.set_aside.extend(set_aside(path)),
            }
        }
        let in_directory = |name: &str| Ok::<_, Error>(names(&self.root.join(name))?.into_iter());
        let lasting = |path: &PathBuf| !is_temporary(path);
        inventory.set_aside.extend(in_directory(HIDDEN)?.filter(lasting).filter_map(leftovers));
        // A validator belongs to the download beside it.
        inventory.partial = in_directory("incoming")?.filter(lasting).filter_map(leftovers).collect();
        for directory in ["", "git", "roots", "incoming", HIDDEN] {
            inventory
                .temporary
                .extend(in_directory(directory)?.filter(|path| is_temporary(path)).filter_map(tree_size));
        }
        inventory.temporary.extend(in_directory("tmp")?.filter_map(tree_size));
        inventory.blobs.sort_unstable();
        inventory.commits.sort_unstable();
        inventory.partial.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        inventory.set_aside.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        inventory.temporary.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(inventory)
    }
}

impl Inventory {
    fn count_blob(&mut self, path: PathBuf) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.parse() {
            Ok(blake3) => self.blobs.extend(leftovers(path).map(|file| (blake3, file.size))),
            Err(_) => self.set_aside.extend(set_aside(path)),
        }
    }
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(disk::TEMPORARY.as_bytes()))
}

/// A file or a directory, with the size of all that is in it.
fn tree_size(path: PathBuf) -> Option<Leftover> {
    fs::symlink_metadata(&path).ok()?;
    let size = disk::tree_size(&path);
    Some(Leftover { path, size })
}

/// A plain file with its size.
fn leftovers(path: PathBuf) -> Option<Leftover> {
    let metadata = fs::symlink_metadata(&path).ok()?;
    metadata.is_file().then_some(Leftover { path, size: metadata.len() })
}

/// A file that was set aside, with its size. Files that kbuild did not make are not counted.
fn set_aside(path: PathBuf) -> Option<Leftover> {
    let ours = path.to_str().is_some_and(|path| path.ends_with(super::verify::SET_ASIDE));
    if ours { leftovers(path) } else { None }
}

/// The paths in a directory of the store; none if it does not exist (a read-only store may lack some), or is a file.
pub(super) fn names(directory: &Path) -> Result<Vec<PathBuf>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};

    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", directory, error)),
    };
    let entries = entries.collect::<std::io::Result<Vec<_>>>().map_err(|error| Error::io("read", directory, error))?;
    Ok(entries.iter().map(fs::DirEntry::path).collect())
}
