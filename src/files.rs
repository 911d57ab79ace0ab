//! The names of a project's two files: `kbuild.toml` with `kbuild.lock`, or `kata.toml` with `kata.lock`.
//!
//! A process works on one project. Its manifest is found once; messages then name the files that are there:
//! `format!("{MANIFEST} has no board")`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Stems of manifests that are found without `--manifest-path`, in the order in which they are looked for.
pub const STEMS: [&str; 2] = ["kbuild", "kata"];

/// The name of the manifest's file.
pub const MANIFEST: FileName = FileName("toml");

/// The name of the lock's file: beside the manifest, with the same stem.
pub const LOCK: FileName = FileName("lock");

static STEM: OnceLock<String> = OnceLock::new();

/// One of the two names, for messages; `kbuild.…` until the manifest is known.
#[derive(Debug, Clone, Copy)]
pub struct FileName(&'static str);

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", STEM.get().map_or(STEMS[0], String::as_str), self.0)
    }
}

/// Remembers the manifest of this process. Only the first call counts.
pub fn remember(manifest: &Path) {
    if let Some(stem) = manifest.file_stem() {
        STEM.get_or_init(|| stem.to_string_lossy().into_owned());
    }
}

/// The lock that belongs to a manifest.
pub fn lock_beside(manifest: &Path) -> PathBuf {
    manifest.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_the_stem_of_its_manifest() {
        assert_eq!(lock_beside(Path::new("/p/kata.toml")), Path::new("/p/kata.lock"));
        assert_eq!(lock_beside(Path::new("kbuild.toml")), Path::new("kbuild.lock"));
    }
}
