//! A commit with patches: each becomes a commit on top of the one before, with the same id wherever it is made.
//!
//! git applies them to an index (`git apply --cached`), so that no attribute, filter or work tree takes part. Author and time of
//! the commits are fixed.

use std::path::Path;

use super::OpenedCommit;
use super::Store;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{broken_object, local_git, open_objects, run};
use crate::source::{CommitId, LayerPatch};

/// A patch with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchFile {
    /// Where it comes from.
    pub patch: LayerPatch,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Store {
    /// A commit of the store with patches: opened, with the new objects in its directory, and the last commit.
    ///
    /// # Errors
    /// The commit is not in the store (kind `Missing`), or a patch does not apply (kind `Input`, with file and line).
    pub fn open_patched(&self, commit: &CommitId, patches: &[PatchFile]) -> Result<(OpenedCommit, CommitId)> {
        let opened = self.open_commit(commit)?;
        let patched = apply(opened.directory(), commit, patches)?;
        Ok((opened, patched))
    }
}

/// Applies patches in a repository that has the commit; its work tree, if it has one, is left alone. Gives the last commit.
///
/// # Errors
/// A patch does not apply: kind `Input`, with its name, and with the file and line of the part that does not fit.
pub fn apply(git_dir: &Path, base: &CommitId, patches: &[PatchFile]) -> Result<CommitId> {
    // Not by `git show`, which wants the parents that a shallow repository lacks.
    let id = git2::Oid::from_bytes(base.as_bytes()).map_err(broken_object)?;
    let time = open_objects(git_dir)?.find_commit(id).map_err(broken_object)?.time().seconds();
    let place = disk::NewDirectory::within(git_dir)?;
    let bench = PatchBench { git_dir, place: place.path(), date: format!("{time} +0000") };
    run(bench.git().args(["read-tree", &base.to_string()]), Kind::Mismatch)?;
    let mut last = *base;
    for patch in patches {
        last = bench.add(&last, patch).map_err(|error| {
            let name = format!("the patch `{}` does not apply to commit {}", patch.patch, base.short());
            error.wrap(name).help_or("make the patch anew against that commit, or remove it from the layer's `patches`")
        })?;
    }
    Ok(last)
}

/// Where patches are applied: a repository, and a directory for an index.
struct PatchBench<'a> {
    git_dir: &'a Path,
    place: &'a Path,
    date: String,
}

impl PatchBench<'_> {
    fn git(&self) -> std::process::Command {
        let mut git = local_git(self.git_dir);
        git.current_dir(self.place).env("GIT_INDEX_FILE", self.place.join("index"));
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "kbuild").env(format!("GIT_{role}_EMAIL"), "kbuild@localhost");
            git.env(format!("GIT_{role}_DATE"), &self.date);
        }
        git
    }

    fn add(&self, parent: &CommitId, patch: &PatchFile) -> Result<CommitId> {
        let (file, message) = (self.place.join("patch"), self.place.join("message"));
        disk::replace(&file, &patch.bytes)?;
        disk::replace(&message, format!("{}\n\nA patch of the project, applied by kbuild.\n", patch.patch).as_bytes())?;
        let strip = format!("-p{}", patch.patch.strip);
        let applied =
            run(self.git().args(["apply", "--cached", "--whitespace=nowarn", &strip]).arg(&file), Kind::Input);
        applied.map_err(|error| told(&error, &file, patch))?;
        let tree = text(run(self.git().arg("write-tree"), Kind::Mismatch)?);
        let mut commit = self.git();
        commit.args(["commit-tree", &tree, "-p", &parent.to_string(), "-F"]).arg(&message);
        text(run(&mut commit, Kind::Mismatch)?).parse()
    }
}

/// What git says of a patch, with its name in place of a file's that is gone.
fn told(error: &Error, file: &Path, patch: &PatchFile) -> Error {
    let name = patch.patch.to_string();
    let said = error.causes().join("\n").replace(&file.display().to_string(), &name);
    let lines = said.lines().map(|line| line.strip_prefix("error: ").unwrap_or(line));
    let lines: Vec<String> = lines
        .map(|line| match line.strip_prefix("patch failed: ").and_then(|place| place.rsplit_once(':')) {
            Some((path, number)) => format!("{path}, line {number}: what it changes there is not what stands there"),
            None => line.to_owned(),
        })
        .collect();
    Error::input("git apply refuses it").because(lines.join("\n"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
