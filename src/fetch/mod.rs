//! Bytes from anywhere into the store: HTTP, git, other stores; with retries, resume, mirrors, and every hash on the way.
//!
//! What may enter: how bytes are got. Which bytes they must be is said by the caller; whatever does not match never
//! becomes content of the store.

mod closure;

pub use closure::Fetched;

use std::sync::Arc;

use crate::error::Result;
use crate::lock::Content;
use crate::manifest::Mirrors;
use crate::progress::Progress;
use crate::source::{Blake3, CommitId, Digests, GitRef, Sha256, SourceUrl};
use crate::store::{GitRecord, Store};

/// How fetching behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Mirrors in order: command line, site, manifest, already joined.
    pub mirrors: Mirrors,
    /// At most so many transfers at once.
    pub jobs: usize,
    /// Only other stores in folders, and `file:` rules, may be asked; nothing that is a network.
    pub offline: bool,
}

/// A file that is wanted.
#[derive(Debug, Clone)]
pub struct WantedFile {
    /// The name BitBake looks for: `{name}` of mirror rules, and what messages say.
    pub name: String,
    /// Where it is to be had, the canonical URL first.
    pub urls: Vec<SourceUrl>,
    /// What it must hash to, where that is known.
    pub sha256: Option<Sha256>,
    /// What else is known from the lock.
    pub content: Option<Content>,
}

/// A git commit that is wanted.
#[derive(Debug, Clone)]
pub struct WantedGit {
    /// The canonical URL.
    pub url: SourceUrl,
    /// The commit.
    pub commit: CommitId,
    /// Full names of refs that should lead to it, for servers that do not give a commit by its id.
    pub refs: Vec<String>,
    /// Whether all history is wanted.
    pub history: bool,
    /// What its tree must hash to, where that is known.
    pub tree: Option<Blake3>,
}

/// A submodule found in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Where it stands in the tree.
    pub path: String,
    /// Its URL, relative ones joined to the parent's.
    pub url: SourceUrl,
    /// The commit the parent names.
    pub commit: CommitId,
}

/// Brings sources into a store.
pub struct Fetcher {
    store: Store,
    settings: Settings,
    progress: Arc<dyn Progress>,
}

impl Fetcher {
    /// A fetcher into this store.
    ///
    /// # Errors
    /// A mirror rule or TLS set-up that cannot work.
    pub fn new(_store: Store, _settings: Settings, _progress: Arc<dyn Progress>) -> Result<Fetcher> {
        todo!()
    }

    /// The store it fetches into.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes sure that a file is in the store.
    ///
    /// # Errors
    /// Nobody has it (kind `Network`, or `Missing` when offline), or only wrong bytes came (kind `Mismatch`).
    pub async fn file(&self, _wanted: &WantedFile) -> Result<Digests> {
        todo!()
    }

    /// Makes sure that a git commit is in the store (submodules are the caller's to ask for).
    ///
    /// # Errors
    /// As [`Fetcher::file`].
    pub async fn git(&self, _wanted: &WantedGit) -> Result<GitRecord> {
        todo!()
    }

    /// Asks the upstream (or the mirrors that rules put before it) which commit a ref is at now.
    ///
    /// # Errors
    /// No answer (kind `Network`, `Missing` when offline), or no such ref (kind `Input`, naming near ones).
    pub async fn resolve(&self, _url: &SourceUrl, _reference: &GitRef) -> Result<Resolved> {
        todo!()
    }

    /// The submodules that a commit in the store names in `.gitmodules` and in its tree.
    ///
    /// # Errors
    /// A gitlink without a `.gitmodules` entry, or an unacceptable URL.
    pub fn submodules(&self, _url: &SourceUrl, _commit: &CommitId) -> Result<Vec<Submodule>> {
        todo!()
    }
}

/// What a ref was resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit (annotated tags peeled).
    pub commit: CommitId,
    /// Full names of the refs asked for that stood at it; the remote's default branch when none was asked for.
    pub refs: Vec<String>,
}
