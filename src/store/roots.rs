//! The locks of the projects that use a store, so that a collector knows what is still wanted.
//!
//! `roots/<BLAKE3 of the lock's path>` holds that path. A root is a promise about a file that lies elsewhere: it is read
//! when it is needed, and one whose lock is gone keeps nothing.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::Store;
use super::inventory::names;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::Blake3;

/// The lock of a project that uses the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where the lock is, or was.
    pub lock: PathBuf,
    /// The file of the store that says so.
    pub record: PathBuf,
}

impl Root {
    /// Whether the lock is there still.
    ///
    /// # Errors
    /// When that cannot be told (a directory that may not be searched): such a root must not count as gone.
    pub fn is_there(&self) -> Result<bool> {
        self.lock.try_exists().map_err(|error| Error::io("look for", &self.lock, error))
    }
}

impl Store {
    /// Remembers the lock of a project that uses this store; `lock` is absolute and need not be there yet. A store that
    /// cannot be written remembers nobody, and nobody can collect it.
    ///
    /// # Errors
    /// When the store cannot be written although it should.
    pub fn register(&self, lock: &Path) -> Result<()> {
        if self.read_only.is_some() {
            return Ok(());
        }
        let bytes = lock.as_os_str().as_bytes();
        let name = Blake3::from(*blake3::hash(bytes).as_bytes()).to_string();
        disk::replace_if_changed(&self.root.join("roots").join(name), bytes).map(drop)
    }

    /// Every lock that was registered, sorted by its path.
    ///
    /// # Errors
    /// A root that cannot be read.
    pub fn roots(&self) -> Result<Vec<Root>> {
        let mut roots = Vec::new();
        for record in names(&self.root.join("roots"))? {
            // Temporary names are another process's that registers right now.
            if record.file_name().is_some_and(|name| name.as_bytes().starts_with(b".")) {
                continue;
            }
            let bytes = fs::read(&record).map_err(|error| Error::io("read", &record, error))?;
            roots.push(Root { lock: PathBuf::from(OsString::from_vec(bytes)), record });
        }
        roots.sort_unstable_by(|a, b| a.lock.cmp(&b.lock));
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
