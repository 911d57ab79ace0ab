//! The commits between two commits of an upstream. Their messages come, and no files.

use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;

use super::git::{SHALLOW, new_repository};
use super::{Fetcher, must_be_for_git, shown_host};
use crate::error::{Kind, Result};
use crate::git::{local_git, run};
use crate::net::report::LazyTask;
use crate::net::retry::Failure;
use crate::source::url::redact;
use crate::source::{CommitId, SourceUrl};
use crate::store::{CommitLine, CommitsBetween};

/// Leaves out trees and files (git-rev-list(1), `--filter`); a server that does not know it sends them.
const NO_FILES: &str = "--filter=tree:0";

/// Where the older and the newer commit are in a scratch repository.
const OLDER: &str = "refs/kbuild/older";
const NEWER: &str = "refs/kbuild/newer";

impl Fetcher {
    /// The commits that an upstream (or a mirror that rules put before it) has between two of its commits; `None` where neither
    /// leads to the other. Nothing of it is kept.
    ///
    /// # Errors
    /// Nobody gives the commits: kind `Network`, `Missing` when offline.
    pub async fn commits_between(
        &self,
        url: &SourceUrl,
        from: &CommitId,
        to: &CommitId,
    ) -> Result<Option<CommitsBetween>> {
        let what = format!("the commits of {}", redact(url.as_str()));
        let report = &LazyTask::new(&self.progress, &what, None);
        let ask = |place: SourceUrl| {
            let asked = async move {
                must_be_for_git(&place)?;
                let ask = || self.between_at(&place, from, to, report).boxed();
                self.guard(report).attempt(&place, ask).await
            };
            asked.boxed()
        };
        self.first_answer(url, ask).await?.map_err(|tried| self.nobody_answers(&what, tried))
    }

    async fn between_at(
        &self,
        url: &SourceUrl,
        from: &CommitId,
        to: &CommitId,
        report: &LazyTask,
    ) -> Result<Option<CommitsBetween>, Failure> {
        report.task().note(&format!("from {}", shown_host(url)));
        let scratch = self.store.scratch()?;
        // Which of them is older decides what has to come: everything behind the newer one that the older one has not.
        let ends = self.both_ends(url, scratch.path(), from, to, report).await?;
        let (before, after) = (time_of(&ends, from)?, time_of(&ends, to)?);
        if before <= after
            && let Some(commits) = self.leading_to(url, scratch.path(), from, to, report).await?
        {
            return Ok(Some(CommitsBetween::Forward(commits)));
        }
        // Commits of one second may have either order.
        if before >= after
            && let Some(commits) = self.leading_to(url, scratch.path(), to, from, report).await?
        {
            return Ok(Some(CommitsBetween::Back(commits)));
        }
        Ok(None)
    }

    async fn both_ends(
        &self,
        url: &SourceUrl,
        scratch: &Path,
        from: &CommitId,
        to: &CommitId,
        report: &LazyTask,
    ) -> Result<PathBuf, Failure> {
        let repository = new_repository(scratch, "ends.git")?;
        let specs = [format!("{from}:{OLDER}"), format!("{to}:{NEWER}")];
        let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
        self.git.fetch_into(url, &repository, &[SHALLOW, NO_FILES], &specs, report.task()).await?;
        Ok(repository)
    }

    /// The commits that lead to the newer one and not to the older one, the newest first; `None` if the older one is not behind the
    /// newer one.
    async fn leading_to(
        &self,
        url: &SourceUrl,
        scratch: &Path,
        older: &CommitId,
        newer: &CommitId,
        report: &LazyTask,
    ) -> Result<Option<Vec<CommitLine>>, Failure> {
        let repository = new_repository(scratch, "between.git")?;
        let fetch = async |options: &[&str], spec: &str| {
            self.git.fetch_into(url, &repository, options, &[spec], report.task()).await
        };
        fetch(&[SHALLOW, NO_FILES], &format!("{older}:{OLDER}")).await?;
        fetch(&[NO_FILES], &format!("{newer}:{NEWER}")).await?;
        if !reaches_its_beginning(&repository)? {
            return lines(&repository);
        }
        // A branch that began before the older commit was merged, so the older one's own history is needed to tell what is new.
        fetch(&["--unshallow", NO_FILES], &format!("+{older}:{OLDER}")).await?;
        lines(&repository)
    }
}

fn time_of(repository: &Path, commit: &CommitId) -> Result<u64> {
    let id = commit.to_string();
    let said = run(local_git(repository).args(["log", "-1", "--format=%ct", &id]), Kind::Mismatch)?;
    Ok(String::from_utf8_lossy(&said).trim().parse().unwrap_or(0))
}

/// Whether the history that came goes back to a commit without parents, other than the older one, at which it is cut.
fn reaches_its_beginning(repository: &Path) -> Result<bool> {
    let roots = ["rev-list", "--max-parents=0", "--max-count=1", NEWER, &format!("^{OLDER}")];
    Ok(!run(local_git(repository).args(roots), Kind::Mismatch)?.is_empty())
}

fn lines(repository: &Path) -> Result<Option<Vec<CommitLine>>, Failure> {
    let ancestor = ["merge-base", "--is-ancestor", OLDER, NEWER];
    if run(local_git(repository).args(ancestor), Kind::Missing).is_err() {
        return Ok(None);
    }
    let log = ["log", "-z", "--format=%H %s", NEWER, &format!("^{OLDER}")];
    let said = run(local_git(repository).args(log), Kind::Mismatch)?;
    let text = String::from_utf8_lossy(&said);
    let line = |line: &str| {
        let (id, subject) = line.split_once(' ')?;
        Some(CommitLine::new(id.parse().ok()?, subject))
    };
    Ok(Some(text.split('\0').filter_map(line).collect()))
}
