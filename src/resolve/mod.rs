//! Makes the lock ([`lock`]) from the manifest, the old lock, the fetcher and the engine.
//!
//! What may enter: deciding which pins are valid and which have to be found, and assembling what was found. A lock is
//! always assembled from the manifest and its pins alone, so "is it fresh" and "what changed" are comparisons of two
//! values. Nothing is remembered between runs.

mod closure;
mod faults;
mod floating;
mod freshness;
mod image;
mod included;
mod inputs;
mod lock_request;
mod locking;
mod new_pin;
mod one_recipe;
mod patches;
mod pin;
mod pins;
mod preview;
mod recipes;
mod requests;
mod requirement;
mod review;
mod signatures;
mod tags;

pub use closure::MissingClosure;
pub use freshness::{check_fresh, edited_folders, missing_closures, stale};
pub use included::included;
pub use lock_request::{LockRequest, LockScope};
pub use locking::{Discover, Locking, Stopped, lock};
pub use new_pin::new_pin;
pub use preview::{Preview, preview};
pub use review::{FetchCase, Objection};

use crate::error::Error;
use crate::lock::{ImageAsked, Lock, Request};
use crate::source::{CommitId, SourceId};

/// Which pins may move although the manifest did not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// None: `kbuild lock`.
    #[default]
    Nothing,
    /// The pins of these layers and sources: `kbuild update NAME`.
    Named(Vec<String>),
    /// All: `kbuild update`.
    Everything,
}

/// The result of resolving.
#[derive(Debug)]
pub struct Resolution {
    /// The new lock.
    pub lock: Lock,
    /// What differs from the old one, in the order of the manifest.
    pub changes: Vec<Change>,
    /// Entries that are known by a hash or commit only, and why their bytes could not be fetched.
    pub incomplete: Vec<Incomplete>,
    /// Warnings, each a sentence.
    pub warnings: Vec<String>,
    /// Entries that could not be locked as they are written; the lock has all the rest.
    pub faults: Vec<Error>,
}

/// A layer, declared source or recipe whose pin or version is new, moved or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `layer`, `source` or `recipe`.
    pub section: &'static str,
    /// Its name in the manifest, or the recipe's key in the lock.
    pub name: String,
    /// What it was.
    pub from: Option<ChangeSide>,
    /// What it is now.
    pub to: Option<ChangeSide>,
}

/// What a layer, declared source or recipe is before or after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSide {
    /// The id of its source; the name of an image with its digest; of a recipe, the version.
    pub text: String,
    /// The commit, of what is pinned to one.
    pub commit: Option<CommitId>,
}

/// An entry without the hashes that only its bytes can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The entry.
    pub id: SourceId,
    /// Why its bytes could not be fetched; empty when this run did not try.
    pub why: String,
}

impl Request {
    /// The request in a few words, for messages.
    fn in_words(&self) -> String {
        match self {
            Request::File { url, .. } => url.to_string(),
            Request::Git { url, reference, submodules, history, lfs, signers, .. } => {
                let extra =
                    [(*submodules, " with submodules"), (*history, " with history"), (!*lfs, " without Git LFS")];
                let extra: String = extra.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
                let signed =
                    if signers.is_empty() { String::new() } else { format!(" signed by {}", signers.join(" or ")) };
                format!("{reference} of {url}{extra}{signed}")
            }
        }
    }
}

impl ImageAsked {
    /// As [`Request::in_words`].
    fn in_words(&self) -> String {
        match self.architectures.as_slice() {
            [] => self.image.to_string(),
            named => format!("{} for {}", self.image, named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
