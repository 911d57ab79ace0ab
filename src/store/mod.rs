//! The content-addressed store: blobs, records of git commits, and what is laid out from them.
//!
//! ```text
//! <store>/
//!   format            "kbuild store 1"
//!   blobs/ab/<blake3> read-only files (0444), addressed by BLAKE3: files, git packs and their indexes
//!   sha256/<hex>      relative symlink into blobs/: Nix-style hashed-mirror requests, recipes' checksums
//!   git/<commit>.toml which packs hold a commit, and its tree hash
//!   incoming/         partial downloads, resumed by the next run, never visible as content
//!   tmp/              work in progress; whatever nobody holds a lock on is swept by the next writer
//!   lock              readers and writers share it, gc excludes both
//! ```
//! The file system is the index: there is no database to lose. To everything above, a store is blobs; git is a small
//! record beside them.

pub mod checkout;
pub mod tree;
pub mod view;

mod blob;
mod git;

pub use blob::Incoming;
pub use git::GitRecord;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::lock::{Locked, LockedFile, LockedGit};
use crate::source::{Blake3, CommitId, Digests, Sha256};

/// An open store. Cheap to clone; many processes may have the same one open.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens a store, and makes it where there is none. A store on a read-only medium opens all the same; only writing to
    /// it then fails.
    ///
    /// # Errors
    /// A directory that is something else, or of a newer format: kind `Input`.
    pub fn open(_root: &Path) -> Result<Store> {
        todo!()
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, or would lie.
    pub fn blob_path(&self, _blake3: &Blake3) -> PathBuf {
        todo!()
    }

    /// Whether a blob is there (its bytes are not read).
    pub fn has_blob(&self, _blake3: &Blake3) -> bool {
        todo!()
    }

    /// What is known of the blob with this SHA-256, if it is there: its address and size, read off the link.
    pub fn by_sha256(&self, _sha256: &Sha256) -> Option<Digests> {
        todo!()
    }

    /// The digests of a locked file if the store has it, by whichever hash the lock knows.
    pub fn find_file(&self, _file: &LockedFile) -> Option<Digests> {
        todo!()
    }

    /// Opens the partial download with this key (a hash of what is wanted), for this process alone; another process that
    /// wants the same waits here, and then finds it done.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn incoming(&self, _key: &str) -> Result<Incoming> {
        todo!()
    }

    /// Takes in a finished local file (a mirror in a folder): reflink, hard link where `may_link`, or copy, hashed on the way.
    ///
    /// # Errors
    /// When it cannot be read or the store not be written.
    pub fn add_file(&self, _path: &Path) -> Result<Digests> {
        todo!()
    }

    /// A scratch directory inside the store (same file system as the blobs), removed when dropped, swept by a later run if
    /// this process dies.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        todo!()
    }

    /// The record of a commit, if the store has it (and its packs).
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn git(&self, _commit: &CommitId) -> Result<Option<GitRecord>> {
        todo!()
    }

    /// Takes a commit out of a bare repository into the store: everything the commit reaches (up to the repository's
    /// shallow boundary) as packs, then the record. `tree` has been checked by the caller.
    ///
    /// # Errors
    /// When the commit is not whole in the repository, or the store cannot be written.
    pub fn add_git(&self, _repository: &Path, _commit: &CommitId, _tree: Blake3) -> Result<GitRecord> {
        todo!()
    }

    /// Whether the store holds a source (its bytes are not read).
    pub fn has(&self, locked: Locked<'_>) -> bool {
        match locked {
            Locked::File(_, file) => self.find_file(file).is_some(),
            Locked::Git(_, git) => self.has_git(git),
        }
    }

    fn has_git(&self, _git: &LockedGit) -> bool {
        todo!()
    }

    /// Reads every byte of a source and compares it with the lock.
    ///
    /// # Errors
    /// Bytes that are not there (kind `Missing`) or not right (kind `Mismatch`), naming the blob and the mending command.
    pub fn verify(&self, _locked: Locked<'_>) -> Result<()> {
        todo!()
    }
}
