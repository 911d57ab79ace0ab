//! The content-addressed store: blobs, records of git commits, and what is made from them.
//!
//! ```text
//! <store>/
//!   format            "kbuild store 1"
//!   blobs/ab/<blake3> read-only files (0444), addressed by BLAKE3: files, git packs and their indexes
//!   sha256/<hex>      relative symlink into blobs/: Nix-style hashed-mirror requests, recipes' checksums
//!   git/<commit>.toml which packs contain a commit, and its tree hash
//!   verified          sources that were verified, with the times of their files
//!   incoming/         partial downloads, resumed by the next run, never visible as content
//!   roots/<hash>      the path of a project's lock: says what a collector keeps
//!   tmp/              work in progress; the next writer removes what no process has locked
//!   hidden/<name>     marks: content of a lower store that is not used
//!   lock              readers and writers share it, gc excludes both
//! ```
//! The file system is the index: there is no database. To the rooms above, a store is blobs; git is a small
//! record beside them. A store may be above others, which are only read (see [`Store::over`]).

pub mod checkout;
pub mod tree;
pub mod view;

mod archive;
mod blob;
mod contents;
#[cfg(test)]
pub(crate) mod fixture;
mod gc;
mod git;
mod history;
mod inventory;
mod lfs;
mod lower;
mod objects;
mod ownership;
mod partial;
pub mod patched;
mod roots;
mod scratch;
mod signature;
mod stat_cache;
mod verify;
mod work_tree;

pub use blob::blob_name;
pub use contents::{Contents, HeldBlob, HeldCommit};
pub use gc::{ExclusiveStore, GcLimits, GcPlan};
pub use git::{GitRecord, OpenedCommit, Pack, record_name};
pub use history::{CommitLine, CommitsBetween};
pub use inventory::{Inventory, Leftover};
pub use lfs::LfsContents;
pub use partial::PartialDownload;
pub use patched::PatchFile;
pub use roots::Root;
pub use scratch::{Scratch, Workplace};
pub use signature::Signature;
pub use verify::damaged;
pub use work_tree::FoundCheckout;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, FileLock};
use crate::error::{Error, Kind, Result};
use crate::lock::Locked;

/// The directories that every store has.
const DIRECTORIES: [&str; 6] = ["blobs", "sha256", "git", "incoming", "roots", "tmp"];

/// The start of the file `format`; its version follows.
const FORMAT: &str = "kbuild store ";

/// Longest file `format` that is read, in bytes.
const FORMAT_LIMIT: u64 = 1 << 12;

/// The format that this kbuild writes; a store with a higher one is refused.
pub const VERSION: u32 = 1;

/// The most blobs that are synced to the disk at once: several take about as long as one.
pub const SYNCS_AT_ONCE: usize = 8;

/// An open store. Cheap to clone; many processes may have the same one open.
///
/// Each clone shares a lock on the store's file `lock`, so that no collector removes what a reader has found. Keep a clone
/// as long as anything made from the store (a view's links) is in use.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Why it cannot be written; `None` if it can.
    read_only: Option<Arc<str>>,
    #[expect(dead_code, reason = "locked until the last clone is dropped")]
    lock: Option<Arc<FileLock>>,
    /// Asked, in this order, for what is not here. None of them has lower stores of its own.
    lower: Arc<[Store]>,
}

impl Store {
    /// Opens a store, or makes it. A store on a read-only medium can be opened too; only writing to
    /// it then fails.
    ///
    /// # Errors
    /// The directory is something else, has a newer format, belongs to another user, or others may write there: kind `Input`.
    pub fn open(root: &Path) -> Result<Store> {
        if !has_format(root)? {
            make(root)?;
        }
        let root = canonical(root)?;
        ownership::check(&root)?;
        let lock = root.join("lock");
        match prepare(&root).and_then(|()| FileLock::shared(&lock)) {
            Ok(held) => {
                let store = Store::writable(root, held);
                store.sweep();
                Ok(store)
            }
            Err(error) => Ok(Store::read_only(root, &[vec![error.to_string()], error.causes()].concat().join(": "))),
        }
    }

    /// Opens an existing store only for reading, to copy from it.
    ///
    /// # Errors
    /// The directory is not a store, or has a newer format: kind `Input`.
    pub fn open_existing(root: &Path) -> Result<Store> {
        if !has_format(root)? {
            return Err(not_a_store(root));
        }
        Ok(Store::read_only(canonical(root)?, "it was opened only to be read"))
    }

    /// Locks the store if possible: on a read-only medium there is no collector either.
    fn read_only(root: PathBuf, why: &str) -> Store {
        let lock = FileLock::shared_read_only(&root.join("lock")).ok().map(Arc::new);
        Store { root, read_only: Some(why.into()), lock, lower: Arc::default() }
    }

    fn writable(root: PathBuf, held: FileLock) -> Store {
        Store { root, read_only: None, lock: Some(Arc::new(held)), lower: Arc::default() }
    }

    /// A handle that makes no collector wait, here or in lower stores, for a process that runs for weeks. What it finds may
    /// be removed at any time. What it has opened stays readable, and its scratch directories stay too.
    #[must_use]
    pub fn unheld(&self) -> Store {
        Store { lock: None, lower: self.lower.iter().map(Store::unheld).collect(), ..self.clone() }
    }

    /// The store's directory: absolute, without symlinks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Why it cannot be written, if it cannot.
    pub fn read_only_because(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Whether the store has a source (its bytes are not read).
    pub fn has(&self, locked: Locked<'_>) -> bool {
        match locked {
            Locked::File(_, file) => self.find_file(file).is_some(),
            Locked::Git(_, git) => self.has_git(git),
        }
    }

    /// The size of a source in the store, in bytes, if it is there; for a commit that of its packs and their indexes.
    pub fn size(&self, locked: Locked<'_>) -> Option<u64> {
        match locked {
            Locked::File(_, file) => self.find_file(file).map(|found| found.size),
            Locked::Git(_, git) if self.has_git(git) => {
                self.git(&git.commit).ok()??.blobs().map(|blob| self.blob_size(&blob)).sum()
            }
            Locked::Git(..) => None,
        }
    }

    fn must_be_writable(&self) -> Result<()> {
        let Some(why) = &self.read_only else { return Ok(()) };
        let error = Error::new(Kind::Io, format!("the store {} cannot be written", self.root.display()));
        Err(error.because(why.to_string()).help("name a store of your own with `--store DIR`"))
    }
}

/// Whether there is a store of a known format.
fn has_format(root: &Path) -> Result<bool> {
    let path = root.join("format");
    let text = match disk::read_regular_text(&path, FORMAT_LIMIT) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    match text.strip_prefix(FORMAT).and_then(|version| version.trim_end().parse::<u32>().ok()) {
        Some(version) if version <= VERSION => Ok(true),
        Some(version) => {
            let message = format!("the store {} has format {version}, from a newer kbuild", root.display());
            Err(Error::input(message).help("use that kbuild, or another store with `--store DIR`"))
        }
        None => Err(not_a_store(root)),
    }
}

fn not_a_store(root: &Path) -> Error {
    let error = Error::input(format!("{} is not a store of kbuild", root.display()));
    error.help("name an empty directory, or one that does not exist yet, with `--store DIR`")
}

/// Makes an empty directory a store. The format is written first: all else is made when the store is opened.
fn make(root: &Path) -> Result<()> {
    disk::create_own_dir_all(root)?;
    let entries = fs::read_dir(root).map_err(|error| Error::io("read", root, error))?;
    // Temporary names are those of another process that makes the same store now, or that died doing so.
    let foreign = |name: std::ffi::OsString| !name.to_string_lossy().starts_with(disk::TEMPORARY);
    let empty = !entries.flatten().any(|entry| foreign(entry.file_name()));
    if !empty && !has_format(root)? {
        return Err(not_a_store(root));
    }
    disk::replace_own(&root.join("format"), format!("{FORMAT}{VERSION}\n").as_bytes())
}

/// Makes the directories and files of a store that do not exist.
fn prepare(root: &Path) -> Result<()> {
    DIRECTORIES.iter().try_for_each(|name| disk::create_own_dir_all(&root.join(name)))
}

fn canonical(root: &Path) -> Result<PathBuf> {
    fs::canonicalize(root).map_err(|error| Error::io("open", root, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Digests, Hasher};

    /// A new store, `store` in a directory of its own.
    pub(super) fn temporary() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        (directory, store)
    }

    pub(super) fn digests_of(bytes: &[u8]) -> Digests {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn a_store_is_made_once_and_opened_again() {
        let (directory, store) = temporary();
        assert_eq!(fs::read_to_string(store.root().join("format")).unwrap(), "kbuild store 1\n");
        assert_eq!(Store::open(&directory.path().join("store")).unwrap().root(), store.root());
    }

    #[test]
    fn other_directories_and_newer_formats_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Store::open_existing(directory.path()).unwrap_err().kind(), Kind::Input);
        fs::write(directory.path().join("precious"), "").unwrap();
        assert_eq!(Store::open(directory.path()).unwrap_err().kind(), Kind::Input);
        fs::write(directory.path().join("format"), "kbuild store 2\n").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("newer"), "{error}");
        fs::write(directory.path().join("format"), "MZ").unwrap();
        assert_eq!(Store::open(directory.path()).unwrap_err().kind(), Kind::Input);
    }

    #[test]
    fn an_open_store_holds_off_a_collector_until_the_last_clone_goes() {
        let (_directory, store) = temporary();
        let lock = store.root().join("lock");
        let clone = store.clone();
        drop(store);
        assert!(FileLock::try_exclusive(&lock).unwrap().is_none());
        drop(clone);
        // A child of another test has all files open for a moment, between fork and exec.
        let free = || FileLock::try_exclusive(&lock).unwrap().is_some();
        assert!((0..100).any(|_| free() || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            false
        }));
    }

    #[test]
    fn an_unheld_store_keeps_no_collector_waiting_and_no_sweeper_takes_its_scratch() {
        let (directory, below) = temporary();
        let root = directory.path().join("upper");
        let store = Store::open(&root).unwrap().over(&[below.root().to_owned()]).unwrap();
        let unheld = store.unheld();
        let scratch = unheld.workplace().unwrap();
        drop(store);
        let below_root = below.root().to_owned();
        drop(below);
        let exclusive =
            [ExclusiveStore::with(&root, || ()).unwrap(), ExclusiveStore::with(&below_root, || ()).unwrap()];
        assert!(scratch.path().is_dir());
        drop(exclusive);
        assert_eq!(unheld.lower().len(), 1);
        assert!(unheld.scratch().is_ok());
    }

    #[test]
    fn many_writers_of_the_same_and_of_other_bytes_agree() {
        let (directory, store) = temporary();
        let root = store.root();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = directory.path().join(format!("upstream-{number}"));
                scope.spawn(move || {
                    let bytes = format!("content {}", number % 3);
                    fs::write(&path, &bytes).unwrap();
                    let store = Store::open(root).unwrap();
                    let digests = store.add_file(&path).unwrap();
                    assert_eq!(fs::read(store.blob_path(&digests.blake3)).unwrap(), bytes.as_bytes());
                    let mut incoming = store.incoming(&format!("key-{}", number % 3)).unwrap();
                    incoming.restart().unwrap();
                    incoming.write(bytes.as_bytes()).unwrap();
                    assert_eq!(incoming.finish().unwrap(), digests);
                });
            }
        });
        assert_eq!(fs::read_dir(root.join("sha256")).unwrap().count(), 3);
        for left in ["tmp", "incoming"] {
            assert_eq!(fs::read_dir(root.join(left)).unwrap().count(), 0, "{left}");
        }
    }

    /// Runs as a user who owns nothing; root may write everywhere.
    pub(super) fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    // For this thread alone; it also removes its rights over other users' files.
                    rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(65_534)).unwrap();
                }
                run()
            });
            thread.join().unwrap()
        })
    }

    pub(super) fn make_read_only(path: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                make_read_only(&entry.path());
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }

    #[test]
    fn a_read_only_store_opens_and_is_read() {
        let (directory, store) = temporary();
        let (file, root) = (directory.path().join("file"), store.root().to_owned());
        fs::write(&file, "content").unwrap();
        let digests = store.add_file(&file).unwrap();
        drop(store);
        make_read_only(directory.path());
        fs::set_permissions(root.join("lock"), std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
        as_nobody(|| {
            let store = Store::open(&root).unwrap();
            assert_eq!(store.by_sha256(&digests.sha256), Some(digests));
            let error = store.incoming("key").unwrap_err();
            assert!(error.to_string().contains("cannot be written"), "{error}");
            assert!(error.causes()[0].contains("ermission denied"), "{:?}", error.causes());
            assert!(FileLock::shared_read_only(&root.join("lock")).is_ok());
        });
        disk::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_store_opened_to_read_cannot_be_written() {
        let (_directory, store) = temporary();
        let reader = Store::open_existing(store.root()).unwrap();
        assert_eq!(reader.incoming("key").unwrap_err().kind(), Kind::Io);
        assert_eq!(reader.scratch().unwrap_err().kind(), Kind::Io);
    }
}
