//! Views: the sources of one board under the names BitBake looks for, made of links.
use std::path::Path;

use super::Store;
use crate::error::Result;
use crate::lock::Lock;
use crate::source::SourceId;

/// Lays out `directory/{flat,git2,dl}` for the given sources; whatever was there is replaced as a whole, unless it is the
/// same view already.
///
/// # Errors
/// A source that the store lacks (kind `Missing`), two contents under one name (kind `Input`).
pub fn lay_out(_store: &Store, _lock: &Lock, _sources: &[SourceId], _directory: &Path) -> Result<()> {
    todo!()
}
