//! Work in progress inside the store: directories that exist only while their lock is held.
//!
//! `tmp/<name>/` belongs to the process that holds `tmp/<name>.lock`. The lock is taken before the directory is made and
//! released after it is removed. So a directory without a held lock is of a dead process, and the next writer removes it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Store;
use crate::disk::{self, FileLock, NewDirectory};
use crate::error::{Error, Result};

/// A directory inside the store (the same file system as the blobs), removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: PathBuf,
    _held: FileLock,
    _store: Store,
}

impl Scratch {
    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// A temporary directory for what is made from a store's content, removed when dropped.
#[derive(Debug)]
pub enum Workplace {
    Inside(Scratch),
    /// In the system's temporary directory, because the store cannot be written.
    Outside(NewDirectory),
}

impl Workplace {
    /// Its absolute path.
    pub fn path(&self) -> &Path {
        match self {
            Workplace::Inside(scratch) => scratch.path(),
            Workplace::Outside(directory) => directory.path(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it cannot be removed now, a later run removes it, because the lock's name still exists.
        if disk::remove_dir_all(&self.path).is_ok() {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

impl Store {
    /// A scratch directory inside the store, removed when dropped, or by a later run if this process dies.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn scratch(&self) -> Result<Scratch> {
        self.must_be_writable()?;
        let within = self.root.join("tmp");
        loop {
            let named = tempfile::Builder::new()
                .suffix(".lock")
                .tempfile_in(&within)
                .and_then(|file| file.keep().map_err(|error| error.error))
                .map_err(|error| Error::io("create a directory in", &within, error))?;
            let lock = named.1;
            let held = FileLock::exclusive(&lock, || {})?;
            // Another process may have removed the file before it was locked.
            if !held.is_at(&lock) {
                continue;
            }
            let path = lock.with_extension("");
            DirBuilder::new()
                .mode(disk::OWN_DIRECTORY)
                .create(&path)
                .map_err(|error| Error::io("create", &path, error))?;
            return Ok(Scratch { path, lock, _held: held, _store: self.clone() });
        }
    }

    /// A directory to work in: inside the store if it can be written, else in the system's temporary directory.
    ///
    /// # Errors
    /// Neither can be written.
    pub fn workplace(&self) -> Result<Workplace> {
        if self.read_only.is_none() {
            return self.scratch().map(Workplace::Inside);
        }
        NewDirectory::within(&std::env::temp_dir()).map(Workplace::Outside)
    }

    /// Removes what dead processes left in `tmp/`. Never fails: what cannot be removed does no harm.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(self.root.join("tmp")).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension() == Some(OsStr::new("lock")) {
                sweep_locked(&path);
            } else if fs::symlink_metadata(append_lock(&path)).is_err() {
                // Its lock was removed first: another process was interrupted while removing it.
                let _ = if path.is_dir() { disk::remove_dir_all(&path) } else { disk::remove_file(&path) };
            }
        }
    }
}

fn sweep_locked(lock: &Path) {
    let Ok(Some(held)) = FileLock::try_exclusive(lock) else { return };
    if held.is_at(lock) && disk::remove_dir_all(&lock.with_extension("")).is_ok() {
        let _ = fs::remove_file(lock);
    }
}

fn append_lock(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_is_removed_with_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let scratch = store.scratch().unwrap();
        fs::write(scratch.path().join("x"), "x").unwrap();
        assert!(scratch.path().starts_with(store.root().join("tmp")));
        drop(scratch);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn the_dead_are_swept_and_the_living_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let living = store.scratch().unwrap();
        let tmp = store.root().join("tmp");
        fs::create_dir(tmp.join("dead")).unwrap();
        fs::write(tmp.join("dead/file"), "x").unwrap();
        fs::write(tmp.join("dead.lock"), "").unwrap();
        fs::create_dir(tmp.join("orphan")).unwrap();

        drop(Store::open(directory.path()).unwrap());
        assert!(living.path().is_dir());
        let left = fs::read_dir(&tmp).unwrap().count();
        assert_eq!(left, 2, "the living one and its lock");
    }
}
