//! Writing to disk so that a crash at any instant leaves the old or the new, and locks between processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the directory. Keeps the mode of a file that was
/// there before; a new one gets what the umask leaves of 0666.
///
/// # Errors
/// When any step fails; the old file then stands.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let directory = parent(path);
    let failed = |error| Error::io("write", path, error);
    let mut file = tempfile::Builder::new()
        .prefix(".kbuild-")
        .permissions(mode_for(path))
        .tempfile_in(directory)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    persist(file, path)
}

/// Makes a finished temporary file the file at `path`, durably.
///
/// # Errors
/// When it cannot be synced or renamed.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_directory(parent(path))
}

/// Makes renames and new names in a directory durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|error| Error::io("sync", directory, error))
}

/// Creates a directory and its parents.
///
/// # Errors
/// When one cannot be made.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))
}

/// Removes a directory with all in it; one that is not there is fine.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// An advisory lock on a file, held until dropped; the system frees it when the process dies, however it dies.
#[derive(Debug)]
pub struct FileLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FileLock {
    /// Waits for a lock that excludes all others. `waiting` is called once if there is something to wait for.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn exclusive(path: &Path, waiting: impl FnOnce()) -> Result<FileLock> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => return Ok(FileLock(file)),
            Err(TryLockError::WouldBlock) => waiting(),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
        }
        file.lock().map_err(|error| Error::io("lock", path, error))?;
        Ok(FileLock(file))
    }

    /// Waits for a lock that other shared locks may hold too.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn shared(path: &Path) -> Result<FileLock> {
        let file = open_lock(path)?;
        file.lock_shared().map_err(|error| Error::io("lock", path, error))?;
        Ok(FileLock(file))
    }

    /// Takes an exclusive lock if nobody holds one.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn try_exclusive(path: &Path) -> Result<Option<FileLock>> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io("open lock", path, error))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn mode_for(path: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    // tempfile applies the umask to what it is told here.
    fs::metadata(path).map_or_else(|_| fs::Permissions::from_mode(0o666), |metadata| metadata.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kata.lock");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_exclusive_lock_is_not_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::exclusive(&path, || panic!("nobody holds it")).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
    }
}
