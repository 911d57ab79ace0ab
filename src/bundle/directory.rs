//! A bundle as a directory: people can look into it, and an interrupted copy is continued.
//!
//! When it is read, only files that the index names are opened, and never through a link: the disk may have been prepared
//! with links, pipes and devices.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags, openat};

use super::{INCOMPLETE, INDEX, SIGNATURE, Size, refused};
use crate::disk::{self, FileLock};
use crate::error::{Error, Result};

/// A bundle's directory, for reading.
pub(super) struct BundleDirectory {
    path: PathBuf,
    directory: File,
}

impl BundleDirectory {
    /// Opens a directory.
    pub(super) fn open(path: &Path) -> Result<BundleDirectory> {
        let directory = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let bundle = BundleDirectory { path: path.to_owned(), directory };
        if bundle.has(INDEX) {
            return Ok(bundle);
        }
        let error = Error::input(format!("{} does not contain a complete bundle", disk::shown(path)));
        Err(if bundle.has(INCOMPLETE) {
            error.because("an export into it was interrupted").help("run the same `kbuild export` again: it continues")
        } else {
            error.because(format!("it has no {INDEX}")).help("run `kbuild export DIR` to write one")
        })
    }

    /// Whether it contains something of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// Opens a file of this size, never through a link. `name` is one that kbuild made.
    pub(super) fn file(&self, name: &str, size: Size) -> Result<impl Read + use<>> {
        let file = self.reach(name).map_err(|error| match error {
            rustix::io::Errno::NOENT => refused(format!("{name} of the bundle is missing")),
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => refused(format!("{name} of the bundle is a link")),
            error => Error::io("open", &self.path.join(name), error.into()),
        })?;
        let metadata = file.metadata().map_err(|error| Error::io("examine", &self.path.join(name), error))?;
        if !metadata.is_file() {
            return Err(refused(format!("{name} of the bundle is not a plain file")));
        }
        size.check(name, metadata.len())?;
        // It may grow while it is read.
        Ok(file.take(metadata.len()))
    }

    fn reach(&self, name: &str) -> rustix::io::Result<File> {
        let mut at = None;
        let mut pieces = name.split('/').peekable();
        while let Some(piece) = pieces.next() {
            // Opening a pipe must not block.
            let what = if pieces.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | what;
            at = Some(File::from(openat(at.as_ref().unwrap_or(&self.directory), piece, flags, Mode::empty())?));
        }
        at.ok_or(rustix::io::Errno::NOENT)
    }
}

/// A bundle's directory while it is written. Its index is written last, so that a bundle without index is incomplete.
pub(super) struct Writer {
    path: PathBuf,
    written: Mutex<BTreeSet<PathBuf>>,
    _lock: FileLock,
}

impl Writer {
    /// Starts in a directory that is empty, does not exist, or contains another bundle, complete or not. Others that want to
    /// write there are told so until it is dropped.
    pub(super) fn begin(path: &Path) -> Result<Writer> {
        disk::create_dir_all(path)?;
        let lock = FileLock::try_directory(path)?.ok_or_else(|| super::busy(path))?;
        disk::sweep(path);
        let ours = [INDEX, INCOMPLETE].iter().any(|name| path.join(name).is_file());
        let mut entries = fs::read_dir(path).map_err(|error| Error::io("read", path, error))?;
        if !ours && entries.next().is_some() {
            let error = Error::input(format!("{} is neither empty nor a bundle", disk::shown(path)));
            return Err(
                error.help("name a directory that is used for nothing else, or a name that ends in .tar for one file")
            );
        }
        disk::replace(
            &path.join(INCOMPLETE),
            b"`kbuild export` has not finished. Run the same command again to continue.\n",
        )?;
        [INDEX, SIGNATURE].iter().try_for_each(|name| disk::remove_file(&path.join(name)))?;
        Ok(Writer { path: path.to_owned(), written: Mutex::default(), _lock: lock })
    }

    /// Whether a file of this name and size exists from before; it then counts as written.
    pub(super) fn keeps(&self, name: &str, size: u64) -> bool {
        let path = self.path.join(name);
        let there = fs::symlink_metadata(&path).is_ok_and(|there| there.is_file() && there.len() == size);
        let there = there && self.goes_through_no_link(name).is_ok();
        if there {
            self.written().insert(path);
        }
        there
    }

    /// The disk may be from somebody else: kbuild must not write to or remove from any other place through it.
    fn goes_through_no_link(&self, name: &str) -> Result<()> {
        let directories = Path::new(name).ancestors().skip(1).map(|piece| self.path.join(piece));
        for directory in directories.take_while(|directory| *directory != self.path) {
            if fs::symlink_metadata(&directory).is_ok_and(|there| !there.is_dir()) {
                let error = Error::input(format!("{} is not a directory", disk::shown(&directory)));
                return Err(error.help("remove it, or export into a directory that is used for nothing else"));
            }
        }
        Ok(())
    }

    /// Writes a file. It gets its name only when `fill` has finished.
    #[expect(clippy::disallowed_methods, reason = "`finish` syncs all files at once before the index names them")]
    pub(super) fn file(&self, name: &str, mode: u32, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        self.goes_through_no_link(name)?;
        disk::create_dir_all(parent)?;
        let mut file = disk::file_within(parent)?;
        fill(file.as_file_mut())?;
        // So that little is left to wait for in the end.
        disk::start_writing(file.as_file(), 0, 0);
        let mode = fs::Permissions::from_mode(mode);
        // A file system of another system may have no modes.
        let _ = file.as_file().set_permissions(mode);
        file.persist(&path).map_err(|error| Error::io("write", &path, error.error))?;
        self.written().insert(path);
        Ok(())
    }

    fn written(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finishes the bundle: removes what an earlier one left, syncs everything, then writes the index.
    pub(super) fn finish(self, index: &[u8], signature: Option<&str>) -> Result<()> {
        self.remove_strays()?;
        let directory = File::open(&self.path).map_err(|error| Error::io("open", &self.path, error))?;
        rustix::fs::syncfs(&directory).map_err(|error| Error::io("sync", &self.path, error.into()))?;
        if let Some(signature) = signature {
            disk::replace(&self.path.join(SIGNATURE), signature.as_bytes())?;
        }
        disk::replace(&self.path.join(INDEX), index)?;
        disk::remove_file(&self.path.join(INCOMPLETE))?;
        disk::sync_directory(&self.path)
    }

    /// Removes an earlier bundle's files where kbuild writes, and temporary files. All else in the directory is kept.
    fn remove_strays(&self) -> Result<()> {
        let written = self.written();
        let ours = ["blobs", "git"].map(|name| self.path.join(name));
        for entry in ours.iter().map(walkdir::WalkDir::new).flat_map(|walk| walk.follow_root_links(false)).flatten() {
            if !entry.file_type().is_dir() && !written.contains(entry.path()) {
                disk::remove_file(entry.path())?;
            }
        }
        for name in ["kata.lock", "kata.toml", super::index::PROGRAM] {
            let path = self.path.join(name);
            if !written.contains(&path) {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }
}
