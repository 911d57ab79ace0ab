//! The hash over a tree of files: of a git commit's raw tree, or of a directory.
//!
//! Independent of git's SHA-1, of packing, attributes, filters and git's version:
//! `hash(tree) = BLAKE3("kbuild tree 1\0" ‖ for each entry in git's order: octal mode, space, name, NUL, 32-byte hash)`,
//! where an entry's hash is that of its content (file or symlink target), of the subtree, or, for a submodule,
//! `BLAKE3(commit id in hex)`.
use super::*;

/// The hash over the raw tree of a commit.
///
/// # Errors
/// When an object is missing or broken.
pub fn of_commit(_repository: &git2::Repository, _commit: &CommitId) -> Result<Blake3> {
    todo!()
}

/// The hash over a directory, as if it were the tree of a commit: modes 100644, 100755, 120000; empty directories,
/// `.git` and `__pycache__` left out; a path in `submodules` counts as the submodule at that commit.
///
/// # Errors
/// When something cannot be read or is neither file, directory nor symlink.
pub fn of_directory(_directory: &Path, _submodules: &std::collections::BTreeMap<String, CommitId>) -> Result<Blake3> {
    todo!()
}
