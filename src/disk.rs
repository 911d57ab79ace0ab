//! Writes to disk so that a crash at any time leaves the old or the new state, and locks between processes.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};
use walkdir::WalkDir;

use crate::bounds;
use crate::env_vars::KBUILD_MIN_FREE;
use crate::error::{Error, Kind, Result};
use crate::progress;

/// How the names of temporary files and directories begin. Nothing else may be called so: see [`sweep`].
pub const TEMPORARY: &str = ".kbuild-tmp-";

/// The mode of a file that only its owner may write.
const OWN_FILE: u32 = 0o644;

/// The mode of a directory in which only its owner may write.
pub const OWN_DIRECTORY: u32 = 0o755;

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the directory. Keeps the mode of an existing file;
/// a new one gets mode 0666 without the bits of the umask.
///
/// # Errors
/// A step fails; the old file is then kept.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    // tempfile applies the umask to what it is told here.
    let mode = fs::metadata(path).map_or(0o666, |metadata| metadata.permissions().mode());
    replace_with_mode(path, content, mode)
}

/// As [`replace`], for a file that nobody else may write, whatever the umask is.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_own(path: &Path, content: &[u8]) -> Result<()> {
    replace_with_mode(path, content, OWN_FILE)
}

fn replace_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent(path))
        .map_err(failed)?;
    // Says to `sweep` that somebody is at it; a file system without locks does without.
    let _ = file.as_file().try_lock();
    file.write_all(content).map_err(failed)?;
    persist(file, path)
}

/// Replaces a file, unless it has the same content already. Returns whether it was written. What looks at times (BitBake's
/// parse cache, version control) then sees a change only if there is one.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    // Not through a link, and not from a pipe, which would never end.
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if is_file && fs::read(path).is_ok_and(|present| present == content) {
        return Ok(false);
    }
    replace(path, content)?;
    Ok(true)
}

/// Makes a finished temporary file the file at `path`, durably.
///
/// # Errors
/// The file cannot be synced or renamed.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_directory(parent(path))
}

/// Has the system begin to write a part of a file to the disk, without waiting for it; a length of 0 means to the end. A hint:
/// what fails here fails again when the file is synced.
pub fn start_writing(file: &File, from: u64, length: u64) {
    use std::os::fd::AsRawFd as _;
    let (from, length) = (from.cast_signed(), length.cast_signed());
    // SAFETY: sync_file_range(2) on an open descriptor; it takes no pointer.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes renames and new names in a directory durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|error| Error::io("sync", directory, error))
}

/// Gives a file that no one changes a second name, in a directory where this process alone works: whoever may write to a name may
/// write to the file. Copies only if that fails: another file system, another user's file, too many links.
///
/// # Errors
/// When it cannot be read, or the name not be made; a name that is there already is left as it is.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn link_or_copy(file: &Path, to: &Path) -> Result<()> {
    let linked = match fs::hard_link(file, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => try_reflink_or_copy(file, to),
        other => other,
    };
    linked.map_err(|error| Error::io("link", to, error))
}

/// Copies a file to a name that is not there yet, with blocks in common where the file system can do that. A name that is
/// there is never written through: it may be another name of something else.
///
/// # Errors
/// It cannot be read, or the copy not be made.
pub fn reflink_or_copy(file: &Path, to: &Path) -> Result<()> {
    try_reflink_or_copy(file, to).map_err(|error| Error::io("copy", to, error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "as `link_or_copy`: a file that nobody changes, for a place that is synced"
)]
fn try_reflink_or_copy(file: &Path, to: &Path) -> io::Result<()> {
    let mut from = try_open_regular(file)?;
    let mode = from.metadata()?.permissions();
    match reflink_copy::reflink(file, to) {
        Ok(()) => return fs::set_permissions(to, mode),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    let mut new = File::create_new(to)?;
    std::io::copy(&mut from, &mut new)?;
    new.set_permissions(mode)
}

/// What `stat` says of a file that changes when its bytes do (device, inode, size, times), as in git's index. A changed byte
/// changes the ctime, which no program can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp([i64; 7]);

impl FileStamp {
    /// A file that changed less than this time ago may change again within the same tick of the file system's clock.
    pub const SETTLED: Duration = Duration::from_secs(2);

    /// Of a file; `None` for numbers that no file system gives.
    pub fn of(found: &Metadata) -> Option<FileStamp> {
        Some(FileStamp([
            i64::try_from(found.dev()).ok()?,
            i64::try_from(found.ino()).ok()?,
            i64::try_from(found.size()).ok()?,
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ]))
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[i64] {
        &self.0
    }

    /// Whether a later change would give another stamp: the last one was long enough ago.
    pub fn is_settled(&self) -> bool {
        let [.., seconds, nanoseconds] = self.0;
        let changed = u64::try_from(seconds).ok().zip(u64::try_from(nanoseconds).ok());
        let changed =
            changed.map(|(seconds, nanoseconds)| Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds));
        changed.is_some_and(|changed| (UNIX_EPOCH + changed).elapsed().is_ok_and(|age| age > FileStamp::SETTLED))
    }
}

/// Opens a file for reading in a directory that others may write to: a regular file, and never a link's target. What is
/// something else is an error at once: a FIFO is not waited for.
///
/// # Errors
/// There is none, it is something else, or it cannot be read.
pub fn open_regular(path: &Path) -> Result<File> {
    try_open_regular(path).map_err(|error| Error::io("read", path, error))
}

/// As [`open_regular`], with the error of the operating system.
///
/// # Errors
/// Those of [`open_regular`].
pub fn try_open_regular(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true).custom_flags(flags(OFlags::NOFOLLOW)).open(path))
}

/// As [`open_regular`], for a name that may be a link to the file.
///
/// # Errors
/// Those of [`open_regular`], as the operating system gives them.
pub fn try_open_linked(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true).custom_flags(flags(OFlags::empty())).open(path))
}

/// As [`try_open_regular`], for a name below a directory in which others may write: no link on the way is followed either.
///
/// # Errors
/// Those of [`open_regular`].
pub fn try_open_below(directory: &Path, name: &str) -> io::Result<File> {
    let place = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&place, name, how, Mode::empty(), resolve) {
        // Before Linux 5.6, and in containers that refuse what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => try_open_regular(&directory.join(name)),
        opened => regular(opened.map(File::from).map_err(io::Error::from)),
    }
}

/// The bytes of a regular file, at most `limit`; see [`open_regular`].
///
/// # Errors
/// Those of [`open_regular`], or the file is longer.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_up_to(try_open_regular(path)?, limit)?.ok_or_else(|| {
        let why = format!("it has more than {limit} bytes, which no such file of kbuild has");
        io::Error::new(ErrorKind::FileTooLarge, why)
    })
}

/// All bytes of a file; nothing if they are more than `limit`.
fn read_up_to(file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// The same as text.
///
/// # Errors
/// Those of [`read_regular`], or it is not UTF-8.
pub fn read_regular_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_regular(path, limit)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Opens a file for reading and writing, and makes it if it does not exist: a regular file, and never a link's target.
///
/// # Errors
/// It is something else, or cannot be opened.
pub fn open_or_create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(OWN_FILE);
    regular(options.custom_flags(flags(OFlags::NOFOLLOW)).open(path)).map_err(|error| Error::io("open", path, error))
}

/// An empty file of this name that this process alone fills, whatever was there before; nothing if another process fills it now.
/// On a file system without locks nobody knows of the other.
///
/// # Errors
/// There is something else, or it cannot be written.
pub fn lock_new_file(path: &Path) -> Result<Option<File>> {
    loop {
        let file = open_or_create(path)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(None);
        }
        let metadata = file.metadata().map_err(|error| Error::io("examine", path, error))?;
        if !is_at(&file, path) {
            continue;
        }
        if metadata.nlink() == 1 {
            file.set_len(0).map_err(|error| Error::io("truncate", path, error))?;
            return Ok(Some(file));
        }
        // It has another name too, under which its bytes must stay.
        remove_file(path)?;
    }
}

fn flags(more: OFlags) -> i32 {
    (OFlags::NONBLOCK | more).bits().cast_signed()
}

fn regular(opened: io::Result<File>) -> io::Result<File> {
    let other = |what: &str| Err(io::Error::new(ErrorKind::InvalidInput, what));
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => other("it is not a regular file"),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            other("it is a symbolic link, which kbuild does not follow here")
        }
        Err(error) => Err(error),
    }
}

/// Creates a directory and its parents, in which nobody else may write, whatever the umask is.
///
/// # Errors
/// A directory cannot be made.
pub fn create_own_dir_all(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(OWN_DIRECTORY).create(path);
    made.map_err(|error| Error::io("create", path, error))
}

/// Creates a directory and its parents.
///
/// # Errors
/// A directory cannot be made.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create", path, error))
}

/// Creates a directory in one that is there, and takes away what else has its name: a link that a recipe put there would lead
/// what is written, or removed, to another place.
///
/// # Errors
/// It cannot be made, or what is there cannot be removed.
pub fn create_plain_dir(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
        remove_file(path)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(Error::io("create", path, error)),
        _ => Ok(()),
    }
}

/// The paths in a directory, sorted; none if it does not exist.
///
/// # Errors
/// It cannot be listed.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let entries = entries.map_err(|error| Error::io("list", directory, error))?;
    let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

/// The bytes of a file, or of all files below a directory, as far as they can be looked at; hard links count each.
pub fn tree_size(path: &Path) -> u64 {
    let files = WalkDir::new(path).follow_root_links(false).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file()).filter_map(|entry| entry.metadata().ok());
    files.map(|metadata| metadata.len()).sum()
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

/// A new directory of this process, which nobody else can enter; removed when dropped. If the process dies, [`sweep`] removes it.
#[derive(Debug)]
pub struct NewDirectory {
    directory: TempDir,
    /// Locked as long as it is filled; nothing on a file system without locks.
    _held: Option<File>,
}

impl NewDirectory {
    /// Makes one in a directory, after what dead processes left there was removed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn within(directory: &Path) -> Result<NewDirectory> {
        sweep(directory);
        let made = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(directory)
            .map_err(|error| Error::io("create a directory in", directory, error))?;
        let held = File::open(made.path()).ok().filter(|opened| opened.try_lock().is_ok());
        Ok(NewDirectory { directory: made, _held: held })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A new empty directory beside `target`, to be filled and then passed to [`replace_directory`].
///
/// # Errors
/// The directory, or its parent, cannot be made.
pub fn directory_beside(target: &Path) -> Result<NewDirectory> {
    create_dir_all(parent(target))?;
    let new = NewDirectory::within(parent(target))?;
    let opened = fs::set_permissions(new.path(), fs::Permissions::from_mode(OWN_DIRECTORY));
    opened.map_err(|error| Error::io("open up", new.path(), error)).map(|()| new)
}

/// A new file in a directory, to be filled and then given its name; removed when dropped, or by [`sweep`].
///
/// # Errors
/// It cannot be made.
pub fn file_within(directory: &Path) -> Result<NamedTempFile> {
    let made = NamedTempFile::with_prefix_in(TEMPORARY, directory);
    let file = made.map_err(|error| Error::io("create a file in", directory, error))?;
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// How long a temporary name is left alone, whoever made it: it is made a moment before it is locked.
const SETTLES: Duration = Duration::from_secs(60);

/// Removes the temporary files and directories of dead processes in a directory. Each is locked by the process that fills it, and
/// the system lets go of a lock with the process. Never fails: what cannot be removed does no harm.
pub fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) && is_abandoned(&path) {
            let _ = if path.is_dir() { remove_dir_all(&path) } else { remove_file(&path) };
        }
    }
}

/// As [`sweep`], where a file is.
pub fn sweep_beside(file: &Path) {
    sweep(parent(file));
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    let settled =
        metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > SETTLES);
    if !own || !settled || !(metadata.is_file() || metadata.is_dir()) {
        return false;
    }
    let opened = OpenOptions::new().read(true).custom_flags(flags(OFlags::NOFOLLOW)).open(path);
    opened.is_ok_and(|file| file.try_lock().is_ok() && is_at(&file, path))
}

/// Makes `new` the directory at `target` in one step; removes what was there before.
///
/// # Errors
/// It cannot be renamed; the old directory is then kept.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn replace_directory(new: NewDirectory, target: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    let NewDirectory { directory: new, _held } = new;

    let failed = |error: std::io::Error| Error::io("replace", target, error);
    match renameat_with(CWD, new.path(), CWD, target, RenameFlags::EXCHANGE) {
        // The temporary name is now that of the old directory, which may have read-only parts.
        Ok(()) => remove_dir_all(&new.keep()),
        Err(rustix::io::Errno::NOENT) => fs::rename(new.path(), target).map(|()| drop(new.keep())).map_err(failed),
        Err(_) => {
            // A file system without RENAME_EXCHANGE (NFS, some overlays): for a moment there is no directory.
            let NewDirectory { directory: old, _held } = directory_beside(target)?;
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

impl Drop for FileLock {
    /// Gives the lock back at once. Closing the file alone would leave it to a process that was just forked and has its
    /// descriptors until its exec (flock(2)).
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

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
        let file = open_regular(path)?;
        file.lock_shared().map_err(|error| Error::io("lock", path, error))?;
        Ok(FileLock(file))
    }

    /// Whether the locked file still has this name; if not, the next one who locks the name gets another file.
    pub fn is_at(&self, path: &Path) -> bool {
        is_at(&self.0, path)
    }

    /// Takes an exclusive lock on a directory itself, if no one holds one. Where a file system has no such locks (NFS), everybody
    /// is given one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn try_directory(path: &Path) -> Result<Option<FileLock>> {
        let directory = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let taken = matches!(directory.try_lock(), Err(TryLockError::WouldBlock));
        Ok((!taken).then_some(FileLock(directory)))
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

/// Bytes that are written before it is looked again how much of the disk is free.
const UNWATCHED: u64 = 8 << 20;

/// Watches that a disk does not get full while something is written to it.
#[derive(Debug)]
pub struct FreeSpace {
    directory: PathBuf,
    unwatched: u64,
}

impl FreeSpace {
    /// Of the disk that this directory is on.
    pub fn of(directory: &Path) -> FreeSpace {
        FreeSpace { directory: directory.to_owned(), unwatched: UNWATCHED }
    }

    /// Counts bytes that are about to be written.
    ///
    /// # Errors
    /// Less would be free than is to stay free ([`bounds::free_disk`]): kind `Io`.
    pub fn take(&mut self, bytes: u64) -> Result<()> {
        self.unwatched += bytes;
        if self.unwatched < UNWATCHED {
            return Ok(());
        }
        self.unwatched = 0;
        must_fit(&self.directory, bytes)
    }
}

/// Refuses to write so many bytes to the disk of a directory if less would be free than is to stay free. Where the file
/// system does not say how much is free, the writing is tried.
///
/// # Errors
/// There is too little: kind `Io`.
pub fn must_fit(directory: &Path, bytes: u64) -> Result<()> {
    let Ok(found) = rustix::fs::statvfs(directory) else { return Ok(()) };
    let (free, floor) = (found.f_bavail.saturating_mul(found.f_frsize), bounds::free_disk());
    if bytes.saturating_add(floor) <= free {
        return Ok(());
    }
    let shown = progress::size;
    let why = format!(
        "{} needed, {} free on {}, and {} are to stay free",
        shown(bytes),
        shown(free),
        directory.display(),
        shown(floor)
    );
    let error = Error::new(Kind::Io, "the disk is full, or nearly").because(why);
    Err(error
        .help(format!("make room (`kbuild gc` removes what no lock names), or set {KBUILD_MIN_FREE} to fewer bytes")))
}

/// A file of at most so many bytes, as text. Nothing but a plain file is read, so that no pipe is waited for. `what` is for
/// messages.
///
/// # Errors
/// It cannot be read (kind `Io`, with the system's error as cause), or is longer, or no text: kind `Input`.
pub fn read_text(path: &Path, what: &str, limit: u64) -> Result<String> {
    String::from_utf8(read_small(path, what, limit)?).map_err(|_| {
        Error::input(format!("{} is not text in UTF-8", path.display())).help("TOML files are UTF-8: save it as UTF-8")
    })
}

/// As [`read_text`], whatever its bytes are.
///
/// # Errors
/// Those of [`read_text`].
pub fn read_small(path: &Path, what: &str, limit: u64) -> Result<Vec<u8>> {
    let failed = |error| Error::io("read", path, error);
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::empty())).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    read_up_to(file, limit).map_err(failed)?.ok_or_else(|| {
        let error = Error::input(format!("{} is longer than {limit} bytes", path.display()));
        error.because(format!("the limit for {what} is {}", progress::size(limit)))
    })
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
    open_or_create(path).map_err(|error| error.wrap(format!("could not open the lock {}", path.display())))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
    fn nothing_is_written_through_a_name_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("new"), "new").unwrap();
        fs::write(path("precious"), "precious").unwrap();
        fs::hard_link(path("precious"), path("hard")).unwrap();
        std::os::unix::fs::symlink(path("precious"), path("soft")).unwrap();
        for name in ["hard", "soft"] {
            assert!(link_or_copy(&path("new"), &path(name)).is_err());
            assert!(reflink_or_copy(&path("new"), &path(name)).is_err());
            assert_eq!(fs::read(path("precious")).unwrap(), b"precious", "{name}");
        }
        link_or_copy(&path("new"), &path("other")).unwrap();
        fs::set_permissions(path("new"), fs::Permissions::from_mode(0o444)).unwrap();
        reflink_or_copy(&path("new"), &path("copy")).unwrap();
        assert_eq!(fs::read(path("copy")).unwrap(), b"new");
        assert_eq!(fs::metadata(path("copy")).unwrap().permissions().mode() & 0o777, 0o444);
    }

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "content").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        fs::create_dir(path("directory")).unwrap();
        std::os::unix::fs::symlink(directory.path(), path("above")).unwrap();
        fs::write(path("directory/file"), "content").unwrap();
        assert!(try_open_below(directory.path(), "directory/file").is_ok());
        for name in ["link", "fifo", "directory", "above/file", "../x", "none"] {
            assert!(try_open_below(directory.path(), name).is_err(), "{name}");
        }
        for name in ["link", "fifo", "directory"] {
            assert!(open_regular(&path(name)).is_err(), "{name}");
            assert!(open_or_create(&path(name)).is_err(), "{name}");
            assert!(FileLock::exclusive(&path(name), || ()).is_err(), "{name}");
        }
        assert!(try_open_linked(&path("link")).is_ok() && try_open_linked(&path("fifo")).is_err());
        assert_eq!(read_regular(&path("file"), 7).unwrap(), b"content");
        assert_eq!(read_regular(&path("file"), 6).unwrap_err().kind(), ErrorKind::FileTooLarge);
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

    /// Lets a file or directory look as if it had been made long ago.
    fn age(path: &Path) {
        let long_ago = std::time::SystemTime::now() - 2 * SETTLES;
        File::open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn what_the_dead_left_is_swept_and_what_the_living_fill_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (living, file) = (NewDirectory::within(directory.path()).unwrap(), file_within(directory.path()).unwrap());
        fs::create_dir_all(path(".kbuild-tmp-dead/sub")).unwrap();
        fs::write(path(".kbuild-tmp-dead/sub/file"), "x").unwrap();
        fs::set_permissions(path(".kbuild-tmp-dead/sub"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::write(path(".kbuild-tmp-old"), "x").unwrap();
        fs::write(path(".kbuild-tmp-new"), "x").unwrap();
        fs::write(path("precious"), "x").unwrap();
        // The list of a mirror.
        fs::write(path(".kbuild-mirror"), "x").unwrap();
        std::os::unix::fs::symlink(path("precious"), path(".kbuild-tmp-link")).unwrap();
        let old = [".kbuild-tmp-dead", ".kbuild-tmp-old", "precious", ".kbuild-mirror"].map(path);
        for aged in old.iter().map(PathBuf::as_path).chain([living.path(), file.path()]) {
            age(aged);
        }
        // A child of another test has all files open for a moment, between fork and exec.
        for _ in 0..100 {
            sweep(directory.path());
            if !path(".kbuild-tmp-dead").exists() && !path(".kbuild-tmp-old").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        let names = [".kbuild-tmp-new", ".kbuild-tmp-link", "precious", ".kbuild-mirror"].map(path);
        let mut expected: Vec<_> = names.into_iter().chain([living.path().into(), file.path().into()]).collect();
        expected.sort();
        assert_eq!(left, expected);
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
