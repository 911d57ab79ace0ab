//! The locks of the projects that use a store, so that a collector knows what is still needed.
//!
//! `roots/<BLAKE3 of the lock's path>` contains that path. A root refers to a file outside the store: the lock is read
//! when it is needed, and a root whose lock does not exist keeps nothing.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::Store;
use super::inventory::names;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::Blake3;

/// Longest path that is read, in bytes: Linux has none that is longer (PATH_MAX).
const PATH_LIMIT: u64 = 1 << 12;

/// The lock of a project that uses the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The path of the lock.
    pub lock: PathBuf,
    /// The file of the store that names it.
    pub record: PathBuf,
}

impl Root {
    /// Whether the lock still exists.
    ///
    /// # Errors
    /// This cannot be found out (a directory may not be searched): such a root must not count as gone.
    pub fn is_there(&self) -> Result<bool> {
        self.lock.try_exists().map_err(|error| Error::io("look for", &self.lock, error))
    }
}

impl Store {
    /// Records the lock of a project that uses this store; `lock` is absolute and need not exist yet. A read-only store
    /// records nothing, but it cannot be collected either.
    ///
    /// # Errors
    /// The store cannot be written although it is not read-only.
    pub fn register(&self, lock: &Path) -> Result<()> {
        if self.read_only.is_some() {
            return Ok(());
        }
        let bytes = lock.as_os_str().as_bytes();
        let name = Blake3::from(*blake3::hash(bytes).as_bytes()).to_string();
        let record = self.root.join("roots").join(name);
        match disk::read_regular(&record, PATH_LIMIT) {
            Ok(present) if present == bytes => Ok(()),
            _ => disk::replace_own(&record, bytes),
        }
    }

    /// All recorded locks, sorted by path.
    ///
    /// # Errors
    /// A root cannot be read.
    pub fn roots(&self) -> Result<Vec<Root>> {
        let mut roots = Vec::new();
        for record in names(&self.root.join("roots"))? {
            // Temporary names are those of another process that records a lock now.
            if record.file_name().is_some_and(|name| name.as_bytes().starts_with(b".")) {
                continue;
            }
            let bytes = disk::read_regular(&record, PATH_LIMIT).map_err(|error| Error::io("read", &record, error))?;
            roots.push(Root { lock: PathBuf::from(OsString::from_vec(bytes)), record });
        }
        roots.sort_unstable_by(|a, b| a.lock.cmp(&b.lock));
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::store::tests::temporary;

    #[test]
    fn a_project_is_remembered_once_and_told_gone_when_its_lock_is() {
        let (directory, store) = temporary();
        let lock = directory.path().join("project/kbuild.lock");
        store.register(&lock).unwrap();
        store.register(&lock).unwrap();
        let roots = store.roots().unwrap();
        assert_eq!((roots.len(), &roots[0].lock), (1, &lock));
        assert!(!roots[0].is_there().unwrap());
        fs::create_dir(directory.path().join("project")).unwrap();
        fs::write(&lock, "").unwrap();
        assert!(store.roots().unwrap()[0].is_there().unwrap());
    }
}
