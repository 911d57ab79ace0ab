//! A repository with files in Git LFS, made by the real client.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the large file of [`LfsUpstream`] has.
pub const LARGE: &str = "the bytes of the large file\n";

/// A bare repository, as an upstream has it, with its objects of Git LFS.
pub struct LfsUpstream {
    directory: tempfile::TempDir,
    /// The id of its only commit, on `main`.
    pub commit: String,
    /// The id of the object of [`LARGE`].
    pub oid: String,
}

/// Whether the real client is there; if not, this is said loudly.
pub fn has_git_lfs() -> bool {
    if Command::new("git").args(["lfs", "version"]).output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have git-lfs: run tests/run");
    eprintln!("SKIPPED: there is no git-lfs; `tests/run` installs it");
    false
}

impl LfsUpstream {
    /// `repository.git` with these files besides; those that end with `.bin`, and `large.bin`, are in Git LFS. `None`, loudly,
    /// without git-lfs.
    pub fn new(files: &[(&str, &str)]) -> Option<LfsUpstream> {
        if !has_git_lfs() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("a directory");
        let git = |arguments: &[&str]| git(&work, arguments);
        git(&["init", "-q", "-b", "main"]);
        git(&["lfs", "install", "--local"]);
        let attributes = (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        for (path, text) in [attributes, ("large.bin", LARGE)].iter().chain(files) {
            let path = work.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "Large files"]);
        let commit = git(&["rev-parse", "HEAD"]);
        let pointer = git(&["show", "HEAD:large.bin"]);
        let oid = pointer.lines().find_map(|line| line.strip_prefix("oid sha256:")).expect("it is in LFS").to_owned();
        let bare = directory.path().join("repository.git");
        git(&["clone", "-q", "--bare", ".", bare.to_str().expect("a path")]);
        git(&["--git-dir", bare.to_str().expect("a path"), "config", "uploadpack.allowAnySHA1InWant", "true"]);
        std::fs::create_dir(bare.join("lfs")).expect("a directory");
        crate::quickstart::copy(&work.join(".git/lfs/objects"), &bare.join("lfs/objects"));
        Some(LfsUpstream { directory, commit, oid })
    }

    /// The directory in which `repository.git` is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its objects of Git LFS.
    pub fn objects(&self) -> PathBuf {
        self.path().join("repository.git/lfs/objects")
    }

    /// The large files of a clone, as the real client fetches and writes them out from this URL.
    ///
    /// # Panics
    /// The client fails.
    pub fn cloned_by_the_real_client(&self, url: &str) -> PathBuf {
        let clone = self.path().join("clone");
        let arguments = ["-c", "filter.lfs.smudge=git-lfs smudge -- %f", "-c", "filter.lfs.required=true"];
        git(self.path(), &[&arguments[..], &["clone", "-q", url, clone.to_str().expect("a path")]].concat());
        clone
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(arguments).env_clear().env("HOME", directory);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_LFS_SKIP_PUSH", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example.com");
        command.env(format!("GIT_{who}_DATE"), "2024-01-01T00:00:00Z");
    }
    let output = command.output().expect("git starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
