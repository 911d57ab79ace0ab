//! The input of locking.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use super::UpdatePolicy;
use crate::error::Result;
use crate::fetch::Fetcher;
use crate::lock::{FolderState, Lock};
use crate::manifest::Manifest;

/// A future that needs the network, without its result type.
type Work<'w> = Pin<Box<dyn Future<Output = Result<()>> + 'w>>;

/// Which closures are looked at. Those that are not stay as they are in the old lock, stale or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LockScope {
    /// All that are not fresh.
    #[default]
    All,
    /// Those of these boards that are not fresh: `kbuild lock --board B`.
    Boards(Vec<String>),
    /// None; what these recipes fetch is locked anew wherever a closure has them: `kbuild lock --recipe R`.
    Recipes(Vec<String>),
}

/// What is locked, and with whose help.
pub struct LockRequest<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The lock so far; its pins are kept wherever the manifest still asks for the same.
    pub old: &'a Lock,
    /// The layers that are folders of the project, hashed as they are now.
    pub folders: BTreeMap<String, FolderState>,
    /// Of which closures.
    pub scope: &'a LockScope,
    /// Which pins may move although the manifest did not.
    pub update: &'a UpdatePolicy,
    /// Whether tags that no longer lead to the commit beside them are accepted (`--keep-moved-tags`).
    pub keep_moved_tags: bool,
    /// Fetches the bytes.
    pub fetcher: &'a Fetcher,
    /// Runs async work to its end. The engine runs between two such calls, because it handles signals itself.
    pub wait: &'a dyn Fn(Work<'_>) -> Result<()>,
    /// Called with a line before something that takes long begins.
    pub say: &'a dyn Fn(&str),
    /// Called with each note of the engine that a person should read.
    pub warn: &'a dyn Fn(&str),
}
