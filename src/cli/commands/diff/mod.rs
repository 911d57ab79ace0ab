//! `kbuild diff`: what moved between two locks, for people, merge requests and programs.

mod json;
mod markdown;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::Args;
use futures_util::future::join_all;

use crate::cli::describe::boards_text;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::cli::revision;
use crate::cli::runtime;
use crate::disk;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::files::LOCK;
use crate::lock::{Lock, LockDiff, PinChange, PinnedAt};
use crate::store::{CommitLine, CommitsBetween, Store};

/// Shows what moved in kbuild.lock since a git revision, or between another lock and it.
///
/// Layers and declared sources from where to where, recipes by name and version, licenses that no recipe had before, and the
/// boards that it concerns; patches and signers of layers. The commits between two pins are listed where the store has the history
/// (`history = true`), or where `--commits` asks the upstreams for them. Else no network is used. BitBake does not run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild diff                          since the last commit
  kbuild diff main --markdown          since the branch main, for a merge request
  kbuild diff --commits                with the commits between the pins
  kbuild diff ../release/kbuild.lock   from another lock to this one
  kbuild diff v1.0 --format json       for a program")]
pub(in crate::cli) struct DiffArgs {
    /// The older lock: a file, or else a revision of the project's git repository.
    #[arg(value_name = "REV|FILE", default_value = "HEAD")]
    since: String,

    /// Print Markdown, for a merge request.
    #[arg(long)]
    markdown: bool,

    /// Ask upstreams for the commits between two pins that the store does not have. Only messages are fetched, no files.
    #[arg(long)]
    commits: bool,
}

/// What is shown, however it is shown.
struct DiffView<'l> {
    /// What the old lock is called.
    since: &'l str,
    new: &'l Lock,
    diff: LockDiff<'l>,
    /// What the store knows of the layers and sources that moved within a repository, by name.
    histories: BTreeMap<&'l str, PinHistory>,
}

/// What is known of the commits between two pins.
struct PinHistory {
    commits: Option<CommitsBetween>,
    /// The new commit itself, where the store has no more.
    now: Option<CommitLine>,
    /// The page of the forge that lists them.
    page: Option<String>,
}

impl DiffView<'_> {
    /// Boards by name, or a short text for all of them.
    fn boards(&self, boards: &BTreeSet<&str>) -> String {
        if boards.is_empty() {
            return String::new();
        }
        boards_text(self.new, &boards.iter().copied().collect::<Vec<_>>())
    }
}

impl DiffArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let missing = || Error::input(format!("there is no {}", disk::shown(&project.lock_path)));
        let new = Lock::read(&project.lock_path)?.ok_or_else(|| missing().help("run `kbuild lock` first"))?;
        let old = older(&self.since, &project.lock_path)?;
        let diff = LockDiff::between(&old, &new);
        let store = project.present_store()?;
        let moved = diff.layers.iter().chain(&diff.sources);
        let known = moved.filter_map(|pin| Some((pin.name, PinHistory::of(pin, store.as_ref())?)));
        let mut histories: BTreeMap<&str, PinHistory> = known.collect();
        if self.commits {
            let fetcher = project.fetcher(global, output)?;
            let answers = runtime::wait(async { Ok(ask_upstreams(&diff, &histories, &fetcher).await) })?;
            for (name, answer) in answers {
                match (answer, histories.get_mut(name)) {
                    (Ok(commits), Some(history)) => history.commits = commits,
                    (Ok(_), None) => {}
                    (Err(error), _) => output.warn(&not_listed(name, &error)),
                }
            }
        }
        let view = DiffView { since: &self.since, new: &new, diff, histories };
        if view.diff.is_empty() {
            output.say(&format!("{LOCK} has what it had: {}", self.since));
        }
        let text = match (output.is_json(), self.markdown) {
            (true, _) => String::new(),
            (_, true) => markdown::of(&view),
            (_, false) => text::of(&view, output.is_verbose()),
        };
        Ok(Outcome::new(json::of(&view), text))
    }
}

/// Asks upstreams for the commits that the store does not have.
async fn ask_upstreams<'l>(
    diff: &LockDiff<'l>,
    histories: &BTreeMap<&'l str, PinHistory>,
    fetcher: &Fetcher,
) -> Vec<(&'l str, Result<Option<CommitsBetween>>)> {
    let moved = diff.layers.iter().chain(&diff.sources).filter_map(|pin| Some((pin.name, pin.moved()?)));
    let unknown = moved.filter(|(name, _)| histories.get(name).is_some_and(|known| known.commits.is_none()));
    let ask = |(name, (url, from, to))| async move { (name, fetcher.commits_between(url, &from, &to).await) };
    join_all(unknown.map(ask)).await
}

/// Why an upstream does not say which commits came. That is told, and is no failure: the difference is whole without it.
fn not_listed(name: &str, error: &Error) -> String {
    let decisive = error.related_errors().last().unwrap_or(error);
    let why = decisive.causes().first().cloned().unwrap_or_else(|| decisive.to_string());
    format!("the commits of `{name}` are not listed: {why}")
}

/// The lock in a file, or as a revision has it.
fn older(since: &str, lock: &Path) -> Result<Lock> {
    let path = Path::new(since);
    if path.is_file() {
        let missing = || Error::input(format!("there is no {}", disk::shown(path)));
        return Lock::read(path)?.ok_or_else(missing);
    }
    let text = revision::text_at(lock, since)?;
    Lock::parse(&text, &path.join(lock.file_name().unwrap_or_default()))
}

impl PinHistory {
    /// Of a pin that moved within its repository.
    fn of(pin: &PinChange<'_>, store: Option<&Store>) -> Option<PinHistory> {
        let (url, from, to) = pin.moved()?;
        let commits = store.and_then(|store| store.commits_between(&from, &to));
        let now = store.filter(|_| commits.is_none()).and_then(|store| store.commit_line(&to));
        Some(PinHistory { commits, now, page: url.comparison(&from, &to) })
    }
}

/// What stands at a pin, in two parts: what people call it, and its commit or hash.
fn place(at: &PinnedAt<'_>) -> (String, String) {
    match at {
        PinnedAt::Git { reference, version, commit, .. } => {
            let named = match (version, &reference.tag, &reference.branch) {
                (Some(version), ..) => (*version).to_owned(),
                (_, Some(tag), _) => tag.clone(),
                (_, _, Some(branch)) => branch.clone(),
                _ => String::new(),
            };
            (named, commit.short())
        }
        PinnedAt::File { version, sha256, .. } => (version.unwrap_or_default().to_owned(), short(&sha256.to_string())),
        PinnedAt::Image { name, digest } => (name.clone(), short(&digest.to_string())),
    }
}

/// So much of a hash as is shown of a commit.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// `3 commits`, newest first, or how many went.
fn commits(history: &PinHistory) -> Option<(String, &[CommitLine])> {
    let count = crate::cli::output::count;
    match history.commits.as_ref()? {
        CommitsBetween::Forward(commits) => Some((count(commits.len(), "commit"), commits)),
        CommitsBetween::Back(commits) => Some((format!("back by {}", count(commits.len(), "commit")), commits)),
    }
}
