//! The closures of boards: which have to be found anew, and how the engine's reports become part of the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::future::join_all;

use super::faults::{self, Faults};
use super::lock_request::LockRequest;
use super::pin::{self, Denials, PinnedGit};
use super::recipes::ClosureContext;
use super::requests::{self, Discovered, PinnedRefs, Pins, RecipeFile, RecipeGit, Requester, Requests};
use super::{Incomplete, Resolution, UpdatePolicy, floating, inputs, one_recipe, recipes, tags};
use crate::bitbake::report::DiscoveryReport;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::lock::{self, Closure, Floating, Lock, Locked, LockedFile, LockedFolder, Need};
use crate::manifest::{Manifest, Variant};
use crate::source::{Blake3, Sha256, SourceId, SourceUrl};

/// A configuration whose closure has to be found by the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingClosure {
    /// The board.
    pub board: String,
    /// Which of its configurations.
    pub variant: Variant,
    /// The hash over everything that decides its closure.
    pub inputs: Blake3,
    /// Why it is not known, for messages.
    pub why: String,
}

/// The closures that the old lock does not have, or not of these inputs. `pinned` has the manifest's pins, `edited` the
/// project's own layers that were edited since, with what was.
///
/// # Errors
/// None for a manifest that was checked.
pub(super) fn missing(
    manifest: &Manifest,
    pinned: &Lock,
    old: &Lock,
    edited: &BTreeMap<String, String>,
    update: &UpdatePolicy,
) -> Result<Vec<MissingClosure>> {
    let mut unknown = Vec::new();
    for board in manifest.boards.keys() {
        let mut base_is_unknown = false;
        let mut unknown_here: BTreeSet<String> = BTreeSet::new();
        for variant in manifest.variants(board)? {
            let inputs = inputs::of(manifest, pinned, board, &variant)?;
            let layers = manifest.configured(board, &variant.selection)?.parts.layers;
            let edited = layers.iter().find_map(|name| edited.get_key_value(name));
            let why = match closure_of(old, board, &variant.name) {
                None => Some("it was never found".to_owned()),
                Some(closure) if closure.inputs == faults::unfinished() => {
                    Some("not all that it fetches could be locked".to_owned())
                }
                Some(closure) if closure.inputs != inputs => Some("its layers or configuration changed".to_owned()),
                Some(_) if edited.is_some() => edited.map(|(name, what)| was_edited(name, what)),
                Some(_) if base_is_unknown => Some("the board's default closure is found anew".to_owned()),
                // Of several choices together the lock has what they need beyond each of them.
                Some(_) if lock::singles(&variant.name).iter().any(|single| unknown_here.contains(single)) => {
                    Some("the closure of one of them is found anew".to_owned())
                }
                Some(closure) if floating::moves(closure, update) => {
                    Some("a moving ref in it is looked up anew".to_owned())
                }
                Some(_) => None,
            };
            if let Some(why) = why {
                base_is_unknown |= variant.name.is_empty();
                unknown_here.insert(variant.name.clone());
                unknown.push(MissingClosure { board: board.clone(), variant, inputs, why });
            }
        }
    }
    Ok(unknown)
}

/// That a layer was edited, with the files.
pub(super) fn was_edited(layer: &str, what: &str) -> String {
    let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
    format!("the layer `{layer}` was edited{what}")
}

pub(super) fn closure_of<'a>(lock: &'a Lock, board: &str, setting: &str) -> Option<&'a Closure> {
    let board = lock.boards.get(board)?;
    if setting.is_empty() { board.closure.as_ref() } else { board.with.get(setting) }
}

/// Puts the closures into a lock that has the manifest's own pins: those of the old lock that stand, and what was found.
/// Of `parts`, single recipes replace those of the old lock. Each source is fetched into the store, for its hashes. What
/// cannot be locked as it is written is a fault of the
/// resolution.
///
/// # Errors
/// Errors of the store.
pub(super) async fn complete(
    request: &LockRequest<'_>,
    pinned: Resolution,
    found: &[Discovered],
    parts: &[Discovered],
) -> Result<Resolution> {
    let LockRequest { manifest, old, fetcher, .. } = *request;
    let Resolution { mut lock, changes, mut incomplete, mut warnings, faults: denied } = pinned;
    let mut faults = Faults::default();
    denied.into_iter().for_each(|error| faults.add(error));
    let all = [found, parts].concat();
    let (floating, mut refs) = floating::pin(&all, old, fetcher, request.update, &mut warnings, &mut faults).await?;
    lock.floating.extend(floating);
    let requests = requests::collect(manifest, &all, &refs, &lock.floating, &mut faults);
    lock.registries.extend(all.iter().filter_map(|found| go_proxy(&found.report)));
    fetcher.learn_registries(&lock.registries);
    let mut answers = answer_all(requests, old, fetcher, &mut faults).await;
    answers.check_sums(&mut faults);
    answers.check_tags(request, &mut lock, &mut warnings, &mut faults).await;
    answers.pin_tag_objects(&mut lock, &mut refs);
    let mut contexts = kept(manifest, found, old)?;
    one_recipe::forget(&mut contexts, parts);
    let names = Names::of(&lock, answers.contents().chain(contents(&contexts, old)));
    let sources = answers.add_to(&names, &mut lock, &mut incomplete)?;
    take_over(&mut contexts, old, &names, &mut lock)?;
    one_recipe::put(&mut contexts, parts, &sources, &refs.pins, &faults);
    contexts.extend(found.iter().cloned().map(|found| context(found, &sources, &refs.pins, &faults)));
    recipes::assemble(&mut lock, contexts);
    recipes::check_names(&mut lock, &mut faults)?;
    let now = |name: &str| Some(request.folders.get(name)?.locked(old.folders.get(name)));
    lock.folders = folders_read(manifest, &lock, now);
    lock.prune();
    let changes = [changes, recipes::changes(old, &lock)].concat();
    incomplete.extend(retry_incomplete(&mut lock, &incomplete, fetcher, &mut faults).await?);
    incomplete.retain(|entry| lock.get(&entry.id).is_ok());
    Ok(Resolution { lock, changes, incomplete, warnings, faults: faults.into_errors() })
}

/// Marks closures stale that should have been found anew and were not: the old ones stay in the lock, with the layers
/// as they were then, so that the next run finds them anew.
pub(super) fn mark_stale(manifest: &Manifest, missed: &[MissingClosure], old: &Lock, lock: &mut Lock) {
    let stay = missed.iter().filter(|unknown| closure_of(old, &unknown.board, &unknown.variant.name).is_some());
    let boards = stay.filter_map(|unknown| manifest.configured(&unknown.board, &unknown.variant.selection).ok());
    for layer in boards.flat_map(|board| board.parts.layers) {
        match old.folders.get(&layer) {
            Some(folder) => drop(lock.folders.insert(layer, folder.clone())),
            None => drop(lock.folders.remove(&layer)),
        }
    }
}

fn go_proxy(report: &DiscoveryReport) -> Option<(String, SourceUrl)> {
    Some(("go".to_owned(), report.go_proxy.as_ref()?.parse().ok()?))
}

/// Those layers that were read for a closure of the lock, as `state` has them.
pub(super) fn folders_read(
    manifest: &Manifest,
    lock: &Lock,
    state: impl Fn(&str) -> Option<LockedFolder>,
) -> BTreeMap<String, LockedFolder> {
    let closed = lock.boards.iter().filter(|(_, board)| board.closures().next().is_some());
    let layers = closed.filter_map(|(name, _)| manifest.layers_of(name).ok()).flatten();
    layers.filter_map(|name| Some((name.clone(), state(&name)?))).collect()
}

impl fmt::Display for MissingClosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MissingClosure { board, variant, why, .. } = self;
        match variant.name.as_str() {
            "" => write!(f, "the closure of board `{board}`: {why}"),
            setting => write!(f, "the closure of board `{board}` with {setting}: {why}"),
        }
    }
}

/// Adds the valid closures of another lock to a lock that has only pins.
pub(super) fn keep(manifest: &Manifest, old: &Lock, pins: &mut Lock) -> Result<Vec<ClosureContext>> {
    let mut contexts = kept(manifest, &[], old)?;
    let names = Names::of(pins, contents(&contexts, old));
    take_over(&mut contexts, old, &names, pins)?;
    Ok(contexts)
}

/// The closures of the old lock that are still valid, with its names.
fn kept(manifest: &Manifest, found: &[Discovered], old: &Lock) -> Result<Vec<ClosureContext>> {
    let mut contexts = Vec::new();
    for board in manifest.boards.keys() {
        for variant in manifest.variants(board)? {
            let anew = found.iter().any(|found| found.board == *board && found.variant.name == variant.name);
            let Some(closure) = closure_of(old, board, &variant.name).filter(|_| !anew) else { continue };
            let recipes = closure.recipes.keys().filter_map(|name| {
                let (_, recipe) = old.recipe(board, &variant.name, name)?;
                Some((name.clone(), recipe.clone()))
            });
            let recipes = recipes.collect();
            contexts.push(ClosureContext {
                board: board.clone(),
                setting: variant.name,
                closure: closure.clone(),
                recipes,
            });
        }
    }
    Ok(contexts)
}

/// Copies the blocks that closures of the old lock need into the new one, under the names that `names` gives.
fn take_over(contexts: &mut [ClosureContext], old: &Lock, names: &Names, lock: &mut Lock) -> Result<()> {
    for context in contexts {
        for key in context.closure.pins.values() {
            lock.floating
                .extend(old.floating.get_key_value(key).map(|(key, floating)| (key.clone(), floating.clone())));
        }
        for id in old.with_submodules(sources_of(context)) {
            match (&id, old.get(&id)?) {
                (SourceId::File(_), Locked::File(key, file)) => {
                    names.add(Named::of(key, file), file.clone(), lock).map(drop)?;
                }
                _ => pin::copy(old, &id, lock)?,
            }
        }
        let sets = context.recipes.values_mut().map(|recipe| &mut recipe.sources).chain([&mut context.closure.extra]);
        sets.for_each(|ids| *ids = ids.iter().map(|id| names.renamed(id, old)).collect());
        lock.registries.extend(old.registries.clone());
        lock.moved_tags.extend(old.moved_tags.clone());
    }
    Ok(())
}

fn sources_of(context: &ClosureContext) -> impl Iterator<Item = &SourceId> {
    context.recipes.values().flat_map(|recipe| &recipe.sources).chain(&context.closure.extra)
}

/// The names and hashes of all files of some closures.
fn contents<'a>(contexts: &'a [ClosureContext], old: &'a Lock) -> impl Iterator<Item = (String, Sha256)> + 'a {
    let files = contexts.iter().flat_map(sources_of).filter_map(|id| match old.get(id) {
        Ok(Locked::File(key, file)) => Some((key, file)),
        _ => None,
    });
    files.map(|(key, file)| (Named::of(key, file).name, file.sha256))
}

/// The names of a file as its requester gives them.
struct Named {
    /// The name BitBake looks for in a flat mirror.
    name: String,
    /// The path below DL_DIR, where it is not that.
    local: Option<String>,
}

impl Named {
    /// The same, of a block of the lock.
    fn of(key: &str, file: &LockedFile) -> Named {
        let suffix = pin::keyed("", &file.sha256);
        let name = key.strip_suffix(&suffix).unwrap_or(key).to_owned();
        Named { local: file.name.clone().filter(|local| *local != name), name }
    }
}

/// Names that stand for several contents, because boards want different bytes under one name. All closures count, those
/// that are kept and those found now, so that a lock does not depend on the order in which closures were found.
struct Names {
    declared: BTreeMap<String, Sha256>,
    contents: BTreeMap<String, BTreeSet<Sha256>>,
}

impl Names {
    /// `pins` has the declared sources alone: they keep their names.
    fn of(pins: &Lock, files: impl Iterator<Item = (String, Sha256)>) -> Names {
        let mut contents: BTreeMap<String, BTreeSet<Sha256>> = BTreeMap::new();
        for (name, sha256) in files {
            contents.entry(name).or_default().insert(sha256);
        }
        let declared = pins.files.iter().map(|(key, file)| (key.clone(), file.sha256)).collect();
        Names { declared, contents }
    }

    fn key(&self, name: &str, sha256: &Sha256) -> String {
        let shared = match self.declared.get(name) {
            Some(declared) => declared != sha256,
            None => self.contents.get(name).is_some_and(|contents| contents.len() > 1),
        };
        if shared { pin::keyed(name, sha256) } else { name.to_owned() }
    }

    /// Writes a block, and gives its key.
    fn add(&self, Named { name, local }: Named, mut file: LockedFile, lock: &mut Lock) -> Result<String> {
        let key = self.key(&name, &file.sha256);
        file.name = local.or_else(|| (key != name).then_some(name));
        pin::add_file(lock, &key, &file)?;
        Ok(key)
    }

    /// The present key of a source of the old lock.
    fn renamed(&self, id: &SourceId, old: &Lock) -> SourceId {
        match old.get(id) {
            Ok(Locked::File(key, file)) => SourceId::File(self.key(&Named::of(key, file).name, &file.sha256)),
            _ => id.clone(),
        }
    }
}

/// What was found, in the form of the lock.
fn context(
    found: Discovered,
    sources: &BTreeMap<Requester, BTreeSet<SourceId>>,
    pins: &Pins,
    faults: &Faults,
) -> ClosureContext {
    let Discovered { board, variant, inputs, report } = found;
    let of = |recipe: &str| {
        let requester = Requester { board: board.clone(), setting: variant.name.clone(), recipe: recipe.to_owned() };
        sources.get(&requester).cloned().unwrap_or_default()
    };
    let need = |by: &Option<String>| by.clone().map_or(Need::Target, Need::By);
    let inputs = if faults.leave_open(&board, &variant.name) { faults::unfinished() } else { inputs };
    let closure = Closure {
        inputs,
        recipes: report.recipes.iter().map(|recipe| (recipe.name.clone(), need(&recipe.wanted_by))).collect(),
        extra: of(""),
        pins: pins.get(&(board.clone(), variant.name.clone())).cloned().unwrap_or_default(),
    };
    let recipes = report.recipes.iter().map(|recipe| (recipe.name.clone(), recipes::locked(recipe, of(&recipe.name))));
    ClosureContext { recipes: recipes.collect(), closure, board, setting: variant.name }
}

/// The results of all requests.
struct Answers {
    files: Vec<(RecipeFile, LockedFile, Option<String>)>,
    gits: Vec<(RecipeGit, PinnedGit)>,
}

async fn answer_all(requests: Requests, old: &Lock, fetcher: &Fetcher, faults: &mut Faults) -> Answers {
    let files = join_all(requests.files.into_iter().map(|request| async move {
        let denials = Denials::default();
        let found = pin::find_for_recipes(&request, old, fetcher, &denials).await;
        (request, found, denials.into_errors())
    }));
    let gits = join_all(requests.gits.into_iter().map(|request| async move {
        let denials = Denials::default();
        let found = PinnedGit::find(&request, old, fetcher, &denials).await;
        (request, found, denials.into_errors())
    }));
    let (files, gits) = futures_util::future::join(files, gits).await;
    let mut answers = Answers { files: Vec::new(), gits: Vec::new() };
    for (request, found, denials) in files {
        let blamed = |error| blame(error, &request.name, &request.written);
        denials.into_iter().for_each(|error| faults.add(blamed(error)));
        match found {
            Ok((file, why)) => answers.files.push((request, file, why)),
            Err(error) => faults.add_to(requests::closures_of(&request.requesters), blamed(error)),
        }
    }
    for (request, found, denials) in gits {
        let blamed = |error| blame(error, request.url.as_str(), &request.written);
        denials.into_iter().for_each(|error| faults.add(blamed(error)));
        match found {
            Ok(answer) => answers.gits.push((request, answer)),
            Err(error) => faults.add_to(requests::closures_of(&request.requesters), blamed(error)),
        }
    }
    answers
}

/// Adds to an error the recipes that have the entry, with file and line.
fn blame(error: Error, what: &str, written: &BTreeSet<String>) -> Error {
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    error.wrap(match written.as_slice() {
        [] => format!("could not lock {what}"),
        [one] => format!("could not lock {what} of {one}"),
        [one, rest @ ..] => format!("could not lock {what} of {one} and {} more recipes", rest.len()),
    })
}

impl Answers {
    /// The names and hashes of all files.
    fn contents(&self) -> impl Iterator<Item = (String, Sha256)> {
        self.files.iter().map(|(request, file, _)| (request.name.clone(), file.sha256))
    }

    /// The faults of files that BitBake refuses because they have no checksum: each names the line to add, with the
    /// hash that is known now.
    fn check_sums(&self, faults: &mut Faults) {
        for (request, file, _) in &self.files {
            for (flag, written) in &request.unchecked {
                let message = format!("no checksum is given for {} of {written}", request.name);
                let why = "BitBake refuses a file without one (BB_STRICT_CHECKSUM)";
                let help = format!("add `SRC_URI[{flag}] = \"{}\"` there, if these are the right bytes", file.sha256);
                let error = Error::input(message).because(why).help(help);
                faults.add_to(requests::closures_of(&request.requesters), error);
            }
        }
    }

    /// Tags beside a commit: see [`tags`].
    async fn check_tags(
        &mut self,
        request: &LockRequest<'_>,
        lock: &mut Lock,
        warnings: &mut Vec<String>,
        faults: &mut Faults,
    ) {
        let closure = &request.manifest.closure;
        let checks = join_all(self.gits.iter().map(|(wanted, answer)| async move {
            let mut recipes =
                wanted.requesters.iter().map(|requester| requests::without_multiconfig(&requester.recipe));
            let accept =
                request.keep_moved_tags || recipes.any(|recipe| closure.moved_tags.iter().any(|name| name == recipe));
            tags::check(wanted, &answer.commit(), request.old, request.fetcher, accept).await
        }));
        let checks = checks.await;
        for ((wanted, answer), check) in self.gits.iter_mut().zip(checks) {
            answer.without_refs(&check.refused);
            lock.moved_tags.extend(check.accepted.into_iter().map(|key| (key, answer.commit())));
            warnings.extend(check.warnings);
            check.faults.into_iter().for_each(|error| faults.add_to(requests::closures_of(&wanted.requesters), error));
        }
    }

    /// A recipe may name a commit by the object of a tag. The store has the commit, so the commit is pinned for
    /// BitBake, as is the commit of a ref that moves.
    fn pin_tag_objects(&self, lock: &mut Lock, refs: &mut PinnedRefs) {
        for (wanted, answer) in self.gits.iter().filter(|(wanted, answer)| answer.commit() != wanted.commit) {
            let reference = wanted.commit.to_string();
            let key = Floating::key(&wanted.url, &reference);
            for (requester, variable) in &wanted.variables {
                let pin = lock::pin(variable, requests::without_multiconfig(&requester.recipe));
                let configuration = (requester.board.clone(), requester.setting.clone());
                refs.pins.entry(configuration).or_default().insert(pin, key.clone());
            }
            lock.floating.insert(key, Floating { url: wanted.url.clone(), reference, commit: answer.commit() });
        }
    }

    /// Writes the blocks into a lock; returns the key of each request's block.
    fn add_to(
        self,
        names: &Names,
        lock: &mut Lock,
        incomplete: &mut Vec<Incomplete>,
    ) -> Result<BTreeMap<Requester, BTreeSet<SourceId>>> {
        let mut sources: BTreeMap<Requester, BTreeSet<SourceId>> = BTreeMap::new();
        let mut give = |requesters: BTreeSet<Requester>, id: &SourceId| {
            for requester in requesters {
                sources.entry(requester).or_default().insert(id.clone());
            }
        };
        for (request, file, why) in self.files {
            let id = SourceId::File(names.add(Named { name: request.name, local: request.local }, file, lock)?);
            give(request.requesters, &id);
            incomplete.extend(why.map(|why| Incomplete { id, why }));
        }
        for (request, answer) in self.gits {
            answer.add_to(lock);
            incomplete.extend(answer.incomplete());
            give(request.requesters, &answer.id());
        }
        Ok(sources)
    }
}

/// Tries again to fetch the incomplete entries of the closures that are kept; returns those that are still incomplete,
/// with the reason.
async fn retry_incomplete(
    lock: &mut Lock,
    known: &[Incomplete],
    fetcher: &Fetcher,
    faults: &mut Faults,
) -> Result<Vec<Incomplete>> {
    let ids: Vec<SourceId> = lock.incomplete();
    let ids = ids.into_iter().filter(|id| known.iter().all(|entry| entry.id != *id));
    let denials = Denials::default();
    let again = join_all(ids.map(|id| {
        let (lock, denials) = (&*lock, &denials);
        async move { pin::again(lock, &id, fetcher, denials).await }
    }));
    let again = again.await;
    let mut incomplete = Vec::new();
    for answer in again {
        let answer = answer?;
        incomplete.extend(answer.incomplete());
        answer.complete(lock);
    }
    denials.into_errors().into_iter().for_each(|error| faults.add(error));
    Ok(incomplete)
}
