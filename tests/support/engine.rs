//! Where the repository is, and the BitBake of the tests.

use std::path::{Path, PathBuf};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The BitBake of the tests, or `None`, loudly, where `tests/run` did not make it.
pub fn engine() -> Option<PathBuf> {
    let named = std::env::var_os("KBUILD_TEST_ENGINE").map(PathBuf::from);
    let engine = named.unwrap_or_else(|| repository().join("target/bitbake-engine"));
    if engine.join("bin/bitbake").is_file() {
        return Some(engine);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have the BitBake of the tests: run tests/run");
    eprintln!("SKIPPED: no BitBake at {}; `tests/run` makes it", engine.display());
    None
}
