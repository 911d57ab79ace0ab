//! Runs BitBake's own fetchers over what was just locked: under which names they look for submodules, and whether they
//! accept every entry of a view, with no network and nothing unpacked. So no lock is made that a build then refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::prepare::{self, BuildRequest, Prepared};
use super::python;
use crate::bitbake::fetchers::{FetchAnswer, FetchEntry, FetchQuestion, FetchersDir};
use crate::error::{Error, Kind, Result};
use crate::lock::{Lock, Locked};
use crate::resolve::{FetchCase, Objection};
use crate::source::{SourceId, name};
use crate::store::{Store, view};

/// Asks about the entries of one board. The names of submodules' clones are written into the lock; the objections of the
/// fetchers are returned.
///
/// # Errors
/// Layers or engine that are not in the store; kind `Interrupted`; kind `Engine` where the fetchers give no answer at
/// all.
pub(super) fn ask(
    request: &BuildRequest<'_>,
    host: &str,
    lock: &mut Lock,
    cases: &[FetchCase],
) -> Result<Vec<Objection>> {
    let prepared = prepare::prepare_discovery(request, host)?;
    let asking = Asking { dir: FetchersDir::begin(prepared.topdir())?, prepared: &prepared, store: request.store };
    let cases: Vec<&FetchCase> = cases.iter().filter(|case| is_here(request.store, lock, &case.source)).collect();
    let mut objections = asking.name_submodules(lock, &cases)?;
    let objected: BTreeSet<&FetchEntry> = objections.iter().map(|objection| &objection.case.entry).collect();
    let others: Vec<&FetchCase> = cases.into_iter().filter(|case| !objected.contains(&case.entry)).collect();
    let more = asking.check(lock, &others)?;
    objections.extend(more);
    asking.dir.end()?;
    Ok(objections)
}

/// Whether the store has a source with all its submodules: without them the fetchers cannot be asked.
fn is_here(store: &Store, lock: &Lock, source: &SourceId) -> bool {
    lock.with_submodules([source]).iter().all(|id| lock.get(id).is_ok_and(|locked| store.has(locked)))
}

struct Asking<'a> {
    dir: FetchersDir,
    prepared: &'a Prepared,
    store: &'a Store,
}

impl Asking<'_> {
    /// Lets gitsm itself find the submodules of what is locked.
    fn name_submodules(&self, lock: &mut Lock, cases: &[&FetchCase]) -> Result<Vec<Objection>> {
        let with: Vec<&FetchCase> = cases.iter().filter(|case| case.submodules).copied().collect();
        if with.is_empty() {
            return Ok(Vec::new());
        }
        let repositories = self.lay_out(lock, &with)?;
        let answers = self.put(FetchQuestion::Submodules, &with, &repositories)?;
        let mut objections = Vec::new();
        for (case, answer) in with.into_iter().zip(answers) {
            let why = answer.error.clone().or_else(|| take_names(lock, &answer));
            objections.extend(why.map(|why| Objection { case: case.clone(), why }));
        }
        Ok(objections)
    }

    fn check(&self, lock: &Lock, cases: &[&FetchCase]) -> Result<Vec<Objection>> {
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        self.lay_out(lock, cases)?;
        let answers = self.put(FetchQuestion::Check, cases, &BTreeMap::new())?;
        let objections = cases.iter().zip(answers);
        let objections =
            objections.filter_map(|(case, answer)| Some(Objection { case: (*case).clone(), why: answer.error? }));
        Ok(objections.collect())
    }

    /// A view of these cases; returns where each commit in it is.
    fn lay_out(&self, lock: &Lock, cases: &[&FetchCase]) -> Result<BTreeMap<String, PathBuf>> {
        let sources: BTreeSet<SourceId> = cases.iter().map(|case| case.source.clone()).collect();
        let sources: Vec<SourceId> = sources.into_iter().collect();
        view::lay_out(self.store, lock, &sources, &self.dir.view(), &self.dir.record())?;
        let mut repositories = BTreeMap::new();
        for id in lock.with_submodules(&sources) {
            let locked = lock.get(&id)?;
            if let Locked::Git(_, git) = locked {
                repositories.insert(git.commit.to_string(), self.dir.view().join("git2").join(locked.name()));
            }
        }
        Ok(repositories)
    }

    fn put(
        &self,
        question: FetchQuestion,
        cases: &[&FetchCase],
        repositories: &BTreeMap<String, PathBuf>,
    ) -> Result<Vec<FetchAnswer>> {
        let entries: Vec<&FetchEntry> = cases.iter().map(|case| &case.entry).collect();
        let arguments = self.dir.ask(self.prepared.engine().directory(), question, &entries, repositories)?;
        let status = python(self.prepared, arguments, "asking BitBake's fetchers")?;
        let answers = self.dir.answers()?.filter(|answers| answers.len() == cases.len());
        answers.ok_or_else(|| {
            Error::new(Kind::Engine, format!("BitBake's fetchers could not be asked (exit status {status})"))
                .help("what Python said is above")
        })
    }
}

/// Writes the names that gitsm gives its submodules into the lock; returns an error where it sees other submodules than
/// are locked.
fn take_names(lock: &mut Lock, answer: &FetchAnswer) -> Option<String> {
    for seen in &answer.submodules {
        let parents = lock.gits.values().filter(|git| git.commit.to_string() == seen.parent);
        let child = parents.filter_map(|git| git.submodules.get(seen.path.trim_end_matches('/'))).next().cloned();
        let block = child.as_ref().and_then(|key| lock.gits.get_mut(key));
        let Some((key, block)) = child.as_ref().zip(block).filter(|(_, git)| git.commit.to_string() == seen.commit)
        else {
            return Some(format!(
                "BitBake sees a submodule `{}` at commit {} of {}, which kbuild did not lock",
                seen.path, seen.commit, seen.url
            ));
        };
        if let Err(error) = name::check_component(&seen.clone) {
            return Some(error.to_string());
        }
        let usual = key.rsplit_once('@').map_or(key.as_str(), |(clone, _)| clone);
        if seen.clone != usual {
            block.clones.insert(seen.clone.clone());
        }
    }
    None
}
