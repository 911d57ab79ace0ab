//! Checkouts of layers from the store: the raw tree, no filters, no attributes.
use std::path::Path;

use super::Store;
use crate::error::Result;
use crate::lock::{Lock, LockedGit};

/// Makes `directory` hold exactly the tree of a locked commit with its submodules, modes 0644 and 0755. A directory that
/// already does is left alone (its bytes are hashed to know); one that was changed is made again.
///
/// # Errors
/// A commit the store lacks (kind `Missing`), or whose tree is not the locked one (kind `Mismatch`).
pub fn check_out(_store: &Store, _lock: &Lock, _git: &LockedGit, _directory: &Path) -> Result<()> {
    todo!()
}
