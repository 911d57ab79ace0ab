//! Where the repository is, and the BitBake of the tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The repository.
pub fn repository() -> &'static Path {
    static REPOSITORY: LazyLock<PathBuf> = LazyLock::new(|| {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        top.canonicalize().expect("this crate stands two directories below the repository")
    });
    &REPOSITORY
}

/// Cargo's directory for this profile, `target/debug`: the test itself is in its `deps`.
pub fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own program");
    test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_owned()
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
