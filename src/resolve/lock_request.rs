//! What locking is told.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use super::UpdatePolicy;
use crate::error::Result;
use crate::fetch::Fetcher;
use crate::lock::Lock;
use crate::manifest::Manifest;
use crate::source::Blake3;

/// Work of the network, without the type of what comes of it.
type Work<'w> = Pin<Box<dyn Future<Output = Result<()>> + 'w>>;

/// What is locked, and with whose help.
pub struct LockRequest<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The lock so far; its pins are kept wherever the manifest still asks for the same.
    pub old: &'a Lock,
    /// The layers that are folders of the project, hashed as they are now.
    pub folders: BTreeMap<String, Blake3>,
    /// Which pins may move although the manifest did not.
    pub update: &'a UpdatePolicy,
    /// Whether tags that no longer lead to the commit beside them are accepted.
    pub keep_moved_tags: bool,
    /// Fetches the bytes.
    pub fetcher: &'a Fetcher,
    /// Runs async work to its end. The engine runs between two of them: it listens to signals itself.
    pub wait: &'a dyn Fn(Work<'_>) -> Result<()>,
    /// Told what takes long before it begins, a line each.
    pub say: &'a dyn Fn(&str),
    /// Told what the engine thinks a person should know.
    pub warn: &'a dyn Fn(&str),
}
