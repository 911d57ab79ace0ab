//! What the tests that call the library share: the quickstart's upstreams with the BitBake of the tests among them, and a
//! listener for warnings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use kbuild::progress::{Progress, Silent, Task};

/// A file of the repository.
pub fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program that must succeed, and gives what it printed.
pub fn run(program: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The upstreams of the quickstart, the engine as a repository among them (`upstreams/bitbake.git`); made once a process.
pub static UPSTREAMS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let upstreams = directory.path().join("upstreams");
    let script = repository_file("examples/quickstart/upstreams.py");
    run("python3", &[&script, Path::new("make"), &upstreams, Path::new("--engine"), &engine(directory.path())]);
    directory
});

/// The BitBake that `tests/run` made; without it, one made here.
fn engine(directory: &Path) -> PathBuf {
    let named = std::env::var_os("KBUILD_TEST_ENGINE").map(PathBuf::from);
    let made = named.unwrap_or_else(|| repository_file("target/bitbake-engine"));
    if made.join("bin/bitbake").is_file() {
        return made;
    }
    let own = directory.join("engine");
    run("python3", &[&repository_file("tests/support/bitbake/make-engine"), &own]);
    own
}

/// Remembers warnings.
#[derive(Default)]
pub struct Warnings(pub Mutex<Vec<String>>);

impl Progress for Warnings {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        Silent.begin(what, total)
    }

    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}
