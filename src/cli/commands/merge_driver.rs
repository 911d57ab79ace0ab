//! `kbuild merge-driver`: merges kbuild.lock for git.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::json;

use crate::cli::output::{Outcome, Output};
use crate::disk;
use crate::error::{Error, Result};
use crate::files::{LOCK, MANIFEST};
use crate::git;
use crate::lock::{Lock, ThreeWayMerge};

/// Merges kbuild.lock entry by entry; for git, which calls it.
///
/// The result is written over OURS. Exit code 0: merged. Exit code 1: both sides changed the same entries; these stand between
/// conflict markers, and `kbuild lock` resolves them from kbuild.toml.
#[derive(Debug, Args)]
#[command(after_help = "\
To have git use it for a clone, and for all files of that name:
  git config merge.kbuild.driver 'kbuild merge-driver %O %A %B %P'
  echo 'kbuild.lock merge=kbuild' >> .gitattributes")]
pub(in crate::cli) struct MergeDriverArgs {
    /// The common origin (%O); an empty file if there is none.
    base: PathBuf,

    /// The version of the current branch (%A), which the result replaces.
    ours: PathBuf,

    /// The version of the other branch (%B).
    theirs: PathBuf,

    /// The lock's path in the work tree (%P), for messages.
    path: Option<PathBuf>,
}

impl MergeDriverArgs {
    pub(in crate::cli) fn run(self, output: &Output) -> Result<Outcome> {
        let path = self.path.clone().unwrap_or_else(|| PathBuf::from(LOCK.to_string()));
        let shown = path.display();
        let merged = match self.merge(&path) {
            Ok(merged) => merged,
            Err(error) => {
                output.warn(&format!("{shown} is merged by lines, as git does without kbuild: {error}"));
                return self.by_lines(&path);
            }
        };
        disk::replace(&self.ours, merged.text(&path).as_bytes())?;
        if !merged.open.is_empty() {
            let boards = merged.open.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            output.say(&format!("{shown}: both sides changed what these boards fetch, run `kbuild lock`: {boards}"));
        }
        let mut outcome = Outcome::new(json!({ "conflicts": merged.conflicts, "open": merged.open }), "");
        outcome.error = conflict(&path, &merged);
        Ok(outcome)
    }

    fn merge(&self, path: &Path) -> Result<ThreeWayMerge> {
        let read = |file: &Path| read(file, path);
        // Where histories cross, git merges two origins first, and the result may have conflict markers.
        let base = Lock::read_merging(&self.base).ok().flatten().unwrap_or_default();
        ThreeWayMerge::of(&base, &read(&self.ours)?, &read(&self.theirs)?)
    }

    /// What git does without a driver.
    fn by_lines(&self, path: &Path) -> Result<Outcome> {
        let mut command = Command::new("git");
        command.args(["merge-file", "-L", "ours", "-L", "base", "-L", "theirs"]);
        command.arg("--").args([&self.ours, &self.base, &self.theirs]);
        git::ends_with_kbuild(&mut command);
        let status = command.status().map_err(git::could_not_start)?;
        let mut outcome = Outcome::new(json!({ "by_lines": true }), "");
        if !status.success() {
            outcome.error = Some(Error::input(format!("{} has conflicts", path.display())));
        }
        Ok(outcome)
    }
}

/// A version of the lock, as if it were at its path.
fn read(file: &Path, path: &Path) -> Result<Lock> {
    let text = disk::read_text(file, "a lock", crate::bounds::LOCK)?;
    if text.trim().is_empty() { Ok(Lock::default()) } else { Lock::parse(&text, path) }
}

fn conflict(path: &Path, merged: &ThreeWayMerge) -> Option<Error> {
    if merged.conflicts.is_empty() {
        return None;
    }
    let entries: Vec<&str> = merged.conflicts.iter().map(String::as_str).collect();
    let shown = path.display();
    let what = if entries.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", entries.len()) };
    let error = Error::input(format!("{shown}: both sides changed {what}"));
    let error = error.because(entries.join("\n"));
    Some(error.help(format!("merge {MANIFEST}, run `kbuild lock`, which reads both sides, and `git add {shown}`")))
}
