//! Writes to disk so that a crash at any time leaves the old or the new state, and locks between processes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

use crate::error::{Error, Kind, Result};

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the directory. Keeps the mode of an existing file;
/// a new one gets mode 0666 without the bits of the umask.
///
/// # Errors
/// A step fails; the old file is then kept.
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

/// Replaces a file, unless it has the same content already. Returns whether it was written. What looks at times (BitBake's
/// parse cache, version control) then sees a change only if there is one.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(false);
    }
    replace(path, content)?;
    Ok(true)
}

/// Makes a finished temporary file the file at `path`, durably.
///
/// # Errors
/// The file cannot be synced or renamed.
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_directory(parent(path))
}

/// Makes renames and new names in a directory durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|error| Error::io("sync", directory, error))
}

/// Gives a file that no one changes a second name. Copies only if that fails: another file system, another user's file, too
/// many links.
///
/// # Errors
/// When it cannot be read, or the name not be made; a name that is there already is left as it is.
pub fn link_or_copy(file: &Path, to: &Path) -> Result<()> {
    let linked = match fs::hard_link(file, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => reflink_or_copy(file, to),
        other => other,
    };
    linked.map_err(|error| Error::io("link", to, error))
}

/// Copies a file to a name that is not there yet, with blocks in common where the file system can do that.
///
/// # Errors
/// When it cannot be read, or the name not be made. A name that is there already is never written through: it may be another
/// name of something else.
pub fn copy_new(file: &Path, to: &Path) -> Result<()> {
    reflink_or_copy(file, to).map_err(|error| Error::io("copy", to, error))
}

fn reflink_or_copy(file: &Path, to: &Path) -> std::io::Result<()> {
    match reflink_copy::reflink(file, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let mut from = File::open(file)?;
    let mode = from.metadata()?.permissions();
    let mut new = File::create_new(to)?;
    std::io::copy(&mut from, &mut new)?;
    new.set_permissions(mode)
}

/// Creates a directory and its parents.
///
/// # Errors
/// A directory cannot be made.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))
}

/// Removes a file or a link; a missing one is not an error.
///
/// # Errors
/// It exists and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a directory with everything in it, read-only directories too; a missing one is not an error.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    let first = fs::remove_dir_all(path);
    let again = match first {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_directories_writable(path);
            fs::remove_dir_all(path)
        }
        other => other,
    };
    match again {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Names can only be removed from a writable directory. A failure here shows when the removal is tried again.
fn make_directories_writable(path: &Path) {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if !is_directory {
        return;
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        make_directories_writable(&entry.path());
    }
}

/// A new empty directory beside `target`, to be filled and then passed to [`replace_directory`]; removed when dropped.
///
/// # Errors
/// The directory, or its parent, cannot be made.
pub fn directory_beside(target: &Path) -> Result<TempDir> {
    let within = parent(target);
    create_dir_all(within)?;
    tempfile::Builder::new()
        .prefix(".kbuild-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(within)
        .map_err(|error| Error::io("create a directory in", within, error))
}

/// Makes `new` the directory at `target` in one step; removes what was there before.
///
/// # Errors
/// It cannot be renamed; the old directory is then kept.
pub fn replace_directory(new: TempDir, target: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    let failed = |error: std::io::Error| Error::io("replace", target, error);
    match renameat_with(CWD, new.path(), CWD, target, RenameFlags::EXCHANGE) {
        // The temporary name is now that of the old directory, which may have read-only parts.
        Ok(()) => remove_dir_all(&new.keep()),
        Err(rustix::io::Errno::NOENT) => fs::rename(new.path(), target).map(|()| drop(new.keep())).map_err(failed),
        Err(_) => {
            // A file system without RENAME_EXCHANGE (NFS, some overlays): for a moment there is no directory.
            let old = directory_beside(target)?;
            let previous = old.path().join("old");
            fs::rename(target, &previous).map_err(failed)?;
            fs::rename(new.path(), target).map(|()| drop(new.keep())).map_err(failed)?;
            remove_dir_all(&old.keep())
        }
    }
}

/// Whether this name is still that of the open file, which may have been renamed or removed since it was opened.
pub fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// An advisory lock on a file, held until dropped; the system releases it when the process ends, in any way.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Waits for a lock that excludes all others. Calls `waiting` once if it must wait.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
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
    /// The file cannot be opened or locked.
    pub fn shared(path: &Path) -> Result<FileLock> {
        let file = open_lock(path)?;
        file.lock_shared().map_err(|error| Error::io("lock", path, error))?;
        Ok(FileLock(file))
    }

    /// Waits for a shared lock on an existing file that can be read, but not written.
    ///
    /// # Errors
    /// The file does not exist or cannot be read, or its file system has no locks.
    pub fn shared_read_only(path: &Path) -> Result<FileLock> {
        let file = File::open(path).map_err(|error| Error::io("open lock", path, error))?;
        file.lock_shared().map_err(|error| Error::io("lock", path, error))?;
        Ok(FileLock(file))
    }

    /// Whether the locked file still has this name; if not, the next one who locks the name gets another file.
    pub fn is_at(&self, path: &Path) -> bool {
        is_at(&self.0, path)
    }

    /// Takes an exclusive lock if no one holds a lock.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn try_exclusive(path: &Path) -> Result<Option<FileLock>> {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
        }
    }
}

/// Bytes that are read at once.
pub const CHUNK: usize = 1 << 20;

/// Passes the bytes of a reader on, piece by piece. `name` is for messages.
///
/// # Errors
/// A failed read (kind `Io`), and the errors of `take`.
pub fn each_chunk(
    name: &str,
    from: &mut (impl Read + ?Sized),
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::new(Kind::Io, format!("could not read {name}")).because(error)),
        }
    }
}

/// A path as the user would type it: relative if it is below the current directory.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
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
    // tempfile applies the umask to what it is told here.
    fs::metadata(path).map_or_else(|_| fs::Permissions::from_mode(0o666), |metadata| metadata.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kbuild.lock");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole_and_read_only_leftovers_go() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("view");
        for name in ["one", "two", "three"] {
            let new = directory_beside(&target).unwrap();
            fs::create_dir(new.path().join(name)).unwrap();
            fs::write(new.path().join(name).join("file"), name).unwrap();
            fs::set_permissions(new.path().join(name), fs::Permissions::from_mode(0o555)).unwrap();
            replace_directory(new, &target).unwrap();
            let names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, [name]);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary directory is left");
        remove_dir_all(&target).unwrap();
        assert!(!target.exists());
    }

    #[test]
    fn a_file_that_says_the_same_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kbuild.conf");
        replace_if_changed(&path, b"a").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        replace_if_changed(&path, b"a").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        replace_if_changed(&path, b"b").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
    }

    #[test]
    fn a_second_exclusive_lock_is_not_given() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::exclusive(&path, || panic!("nobody holds it")).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        drop(held);
        // A child of another test has all files open for a moment, between fork and exec.
        let free = || FileLock::try_exclusive(&path).unwrap().is_some();
        assert!((0..100).any(|_| free() || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            false
        }));
    }
}
