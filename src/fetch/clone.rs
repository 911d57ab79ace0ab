//! A clone for a person to work in: all branches and tags of the upstream, at a locked commit.

use std::path::Path;

use futures_util::FutureExt as _;

use super::{Fetcher, git, shown_host};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{local_git, network_git, run};
use crate::lock::LockedGit;
use crate::net::report::LazyTask;
use crate::net::retry::Failure;
use crate::source::url::redact;
use crate::source::{GitRef, SourceUrl};
use crate::store::{Pack, PatchFile, patched};

/// Everything that a clone fetches.
const ALL: [&str; 2] = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];

impl Fetcher {
    /// Clones the repository of a locked commit into a directory that is not there yet or empty: its upstream, or the
    /// mirrors that rules put before it, is asked, and `origin` is the upstream. The branch of `reference`, if it names one,
    /// is at the commit; else HEAD is. Patches become commits on top of it. Returns whether the whole history came: where nobody could be asked, the clone has what
    /// the store has.
    ///
    /// # Errors
    /// Nobody has the commit (kind `Network`, or `Missing` when offline), or the directory cannot be written.
    pub async fn clone_repository(
        &self,
        wanted: &LockedGit,
        reference: &GitRef,
        patches: &[PatchFile],
        directory: &Path,
    ) -> Result<bool> {
        let new = disk::directory_beside(directory)?;
        let git_dir = new.path().join(".git");
        let init = ["init", "-q", "--template="];
        run(network_git().current_dir(new.path()).args(init), Kind::Io)?;
        let whole = self.bring(wanted, &git_dir).await?;
        let set = |name: &str, value: &str| run(local_git(&git_dir).args(["config", name, value]), Kind::Io).map(drop);
        set("remote.origin.url", wanted.url.as_str())?;
        set("remote.origin.fetch", ALL[0])?;
        let commit = patched::apply(&git_dir, &wanted.commit, patches)?.to_string();
        let mut checkout = network_git();
        checkout.current_dir(new.path()).args(["checkout", "-q"]);
        match &reference.branch {
            Some(branch) => {
                set(&format!("branch.{branch}.remote"), "origin")?;
                set(&format!("branch.{branch}.merge"), &format!("refs/heads/{branch}"))?;
                checkout.args(["-B", branch, &commit]);
            }
            None => drop(checkout.args(["--detach", &commit])),
        }
        run(&mut checkout, Kind::Io).map_err(|error| error.wrap("could not check out the clone"))?;
        disk::replace_directory(new, directory)?;
        Ok(whole)
    }

    async fn bring(&self, wanted: &LockedGit, git_dir: &Path) -> Result<bool> {
        let name = format!("a clone of {}", redact(wanted.url.as_str()));
        let report = &LazyTask::new(&self.progress, &name, None);
        let ask = |place| async move { self.bring_from(&place, wanted, git_dir, report).await }.boxed();
        let Err(tried) = self.first_answer(&wanted.url, ask).await? else { return Ok(true) };
        let Some(record) = self.store.git(&wanted.commit)? else {
            let places = tried.len();
            return Err(self.nobody_has(&name, tried, places));
        };
        let packs = git_dir.join("objects/pack");
        disk::create_dir_all(&packs)?;
        for (name, blob) in record.packs.iter().flat_map(Pack::files) {
            // Not linked: the clone is a person's, who may write to its files.
            disk::reflink_or_copy(&self.store.blob_path(&blob), &packs.join(name))?;
        }
        if !record.shallow.is_empty() {
            git::write_shallow(git_dir, &record.shallow)?;
        }
        Ok(false)
    }

    async fn bring_from(
        &self,
        place: &SourceUrl,
        wanted: &LockedGit,
        git_dir: &Path,
        report: &LazyTask,
    ) -> Result<(), Failure> {
        let ask = || {
            let fetch = async {
                report.task().note(&format!("from {}", shown_host(place)));
                self.git.fetch_into(place, git_dir, &[], &ALL, report.task()).await
            };
            fetch.boxed()
        };
        self.guard(report).attempt(place, ask).await?;
        let commit = wanted.commit.to_string();
        let peeled = format!("{commit}^{{commit}}");
        let present = || run(local_git(git_dir).args(["cat-file", "-e", &peeled]), Kind::Missing);
        if present().is_err() {
            // A branch that was moved by force does not lead to it any more; most servers give it by its id.
            self.git.fetch_into(place, git_dir, &[], &[&commit], report.task()).await?;
        }
        present().map(drop).map_err(|_| {
            let url = redact(place.as_str());
            Failure::permanent(Error::new(Kind::Network, format!("{url} does not have commit {}", wanted.commit)))
        })
    }
}
