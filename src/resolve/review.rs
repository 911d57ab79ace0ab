//! Asking the engine's own fetchers about a new lock: the entries of the closures that were just found.

use std::collections::{BTreeMap, BTreeSet};

use super::faults;
use super::requests::{Discovered, without_multiconfig, written};
use crate::bitbake::fetchers::FetchEntry;
use crate::bitbake::report::{Fetch, Recipe};
use crate::error::{Error, Kind};
use crate::lock::{self, Lock, Locked};
use crate::source::url::redact;
use crate::source::{CommitId, SourceId, SourceUrl, name};

/// Fetchers that need only BitBake's library. Those of npm, hg and svn need a registry's answer or a program, and what
/// replaces their files in a view was tried with each release.
const ASKED: [&str; 13] =
    ["http", "https", "ftp", "ftps", "sftp", "s3", "gs", "az", "git", "gitsm", "gomodgit", "crate", "gomod"];

/// An entry of SRC_URI that was locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchCase {
    /// The entry.
    pub entry: FetchEntry,
    /// Its key in the lock.
    pub source: SourceId,
    /// Whether submodules come along.
    pub submodules: bool,
    /// Where recipes write it, for messages.
    pub written: String,
}

/// An objection of the engine's fetchers against an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The entry.
    pub case: FetchCase,
    /// Their message.
    pub why: String,
}

/// The complete entries of each board, each once.
pub(super) fn cases(found: &[Discovered], lock: &Lock) -> BTreeMap<String, Vec<FetchCase>> {
    let mut cases: BTreeMap<String, BTreeSet<FetchCase>> = BTreeMap::new();
    for found in found {
        let pins = lock.pins(&found.board, std::slice::from_ref(&found.variant.name));
        for recipe in &found.report.recipes {
            let locked = lock.recipe(&found.board, &found.variant.name, &recipe.name);
            let sources = locked.map(|(_, recipe)| &recipe.sources);
            for fetch in recipe.fetches.iter().filter(|fetch| ASKED.contains(&fetch.kind.as_str())) {
                let case = case(recipe, fetch, lock, sources, &pins);
                cases.entry(found.board.clone()).or_default().extend(case);
            }
        }
    }
    cases.into_iter().map(|(board, cases)| (board, cases.into_iter().collect())).collect()
}

fn case(
    recipe: &Recipe,
    fetch: &Fetch,
    lock: &Lock,
    sources: Option<&BTreeSet<SourceId>>,
    pins: &BTreeMap<&str, CommitId>,
) -> Option<FetchCase> {
    let pn = without_multiconfig(&recipe.name);
    let (source, revision) = match &fetch.git {
        Some(git) => {
            let pinned = pins.get(lock::pin(&git.variable, pn).as_str()).copied();
            let commit = pinned.or_else(|| git.commit.as_ref()?.parse().ok())?;
            let url: SourceUrl = git.url.parse().ok()?;
            (SourceId::Git(name::git_key(&url, &commit)), Some(commit.to_string()))
        }
        None => {
            let wanted = fetch.file.as_deref()?;
            let is_it = |id: &&SourceId| match lock.get(id) {
                Ok(locked @ Locked::File(..)) => locked.name().rsplit('/').next() == Some(wanted),
                _ => false,
            };
            (sources?.iter().find(is_it)?.clone(), None)
        }
    };
    lock.get(&source).ok().filter(Locked::is_complete)?;
    let entry = FetchEntry { recipe: pn.to_owned(), entry: fetch.written.clone(), revision, sums: fetch.sums.clone() };
    let submodules = fetch.git.as_ref().is_some_and(|git| git.submodules);
    Some(FetchCase { entry, source, submodules, written: written(recipe, fetch) })
}

/// Turns objections into faults of a board's closures, which the next run finds anew.
pub(super) fn add_objections(
    objections: Vec<Objection>,
    board: &str,
    found: &[Discovered],
    lock: &mut Lock,
    faults: &mut Vec<Error>,
) {
    if objections.is_empty() {
        return;
    }
    for Objection { case, why } in objections {
        let entry = redact(&case.entry.entry);
        let error = Error::new(Kind::Engine, format!("BitBake's own fetcher refuses `{entry}` of {}", case.written));
        faults.push(error.because(redact(why.trim())));
    }
    let Some(locked) = lock.boards.get_mut(board) else { return };
    for found in found.iter().filter(|found| found.board == board) {
        let closure = match found.variant.name.as_str() {
            "" => locked.closure.as_mut(),
            setting => locked.with.get_mut(setting),
        };
        if let Some(closure) = closure {
            closure.inputs = faults::unfinished();
        }
    }
}
