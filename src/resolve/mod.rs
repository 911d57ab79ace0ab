//! Makes the lock: the manifest, the old lock and the fetcher give the new lock.
//!
//! What may enter: deciding which pins stand and which have to be found, and putting the answers together. A lock is
//! always assembled from the manifest and its pins alone, so "is it fresh" and "what changed" are comparisons of two
//! values, never bookkeeping.

mod answer;
mod closure;
mod floating;
mod image;
mod inputs;
mod recipes;
mod requests;
mod requirement;

pub use closure::{MissingClosure, close, still_missing, unknown};
pub use requests::Discovered;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::lock::{ImageAsked, Lock, LockedBoard, LockedImage, Pin, Request};
use crate::manifest::Manifest;
use crate::source::{Blake3, SourceId};

use answer::ResolvedPin;
use requirement::Requirement;

/// Which pins may move although the manifest did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// None: `kbuild lock`.
    #[default]
    Nothing,
    /// Those of these layers and sources: `kbuild update NAME`.
    Named(Vec<String>),
    /// All: `kbuild update`.
    Everything,
}

/// What came of resolving.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The new lock.
    pub lock: Lock,
    /// What differs from the old one, in the order of the manifest.
    pub changes: Vec<Change>,
    /// Entries that are known by a hash or commit only, and why their bytes could not be had.
    pub incomplete: Vec<Incomplete>,
    /// What a person should know besides, each a sentence.
    pub warnings: Vec<String>,
}

/// A layer, declared source or recipe whose pin or version is new, moved or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `layer`, `source` or `recipe`.
    pub section: &'static str,
    /// Its name in the manifest, or the recipe's key in the lock.
    pub name: String,
    /// The source it was before; of a recipe, the version.
    pub from: Option<String>,
    /// What it is now.
    pub to: Option<String>,
}

/// An entry without the hashes that only its bytes can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The entry.
    pub id: SourceId,
    /// Why its bytes could not be had; empty when nobody tried now.
    pub why: String,
}

/// Resolves a manifest into a lock, keeping the old lock's pins wherever the manifest still asks for the same.
///
/// Bytes that were fetched on the way are in the store, also when it fails in the end.
///
/// # Errors
/// Every layer or source that could not be resolved, all of them at once.
pub async fn resolve(manifest: &Manifest, old: &Lock, fetcher: &Fetcher, moving: &UpdatePolicy) -> Result<Resolution> {
    check_names(manifest, old, moving)?;
    let wishes = requirement::all(manifest);
    let nothing = Lock::default();
    let answered =
        join_all(wishes.iter().map(|wish| {
            let old = if wish.moves(moving) { &nothing } else { old };
            async move {
                answer::find(wish, old, fetcher).await.map_err(|error| error.wrap(format!("could not lock {wish}")))
            }
        }));
    let answers = all_or_errors(answered.await)?;
    let lock = assemble(manifest, wishes.iter().zip(&answers))?;
    let incomplete = answers.iter().flat_map(ResolvedPin::incomplete).collect();
    Ok(Resolution { changes: changes(old, &lock, &wishes), lock, incomplete, warnings: Vec::new() })
}

/// Why a lock does not say what the manifest asks for; empty when it is fresh. Needs no network and no store. That folders
/// of the project were edited is another question: [`edited_folders`].
pub fn stale(manifest: &Manifest, lock: &Lock) -> Vec<String> {
    let wishes = requirement::all(manifest);
    let mut reasons = Vec::new();
    let mut kept = Vec::new();
    for wish in &wishes {
        match answer::kept(wish, lock) {
            Some(answer) => kept.push((wish, answer)),
            None => reasons.push(wish.why_not_kept(lock)),
        }
    }
    if reasons.is_empty() {
        let pins = assemble(manifest, kept.iter().map(|(wish, answer)| (*wish, answer)));
        match pins.and_then(|pins| with_closures_of(manifest, pins, lock)) {
            Ok((_, unknown)) if !unknown.is_empty() => reasons.extend(unknown.iter().map(MissingClosure::to_string)),
            Ok((assembled, _)) if assembled == *lock => {}
            Ok((assembled, _)) => reasons.extend(differences(&assembled, lock)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons
}

/// The lock that pins and the closures of another lock give, and the closures which that one does not have.
fn with_closures_of(manifest: &Manifest, mut pins: Lock, lock: &Lock) -> Result<(Lock, Vec<MissingClosure>)> {
    let unknown = unknown(manifest, &pins, lock, &lock.folders, &UpdatePolicy::Nothing)?;
    if unknown.is_empty() {
        let contexts = closure::keep(manifest, lock, &mut pins)?;
        recipes::assemble(&mut pins, contexts);
        pins.folders = closure::folders_read(manifest, &pins, &lock.folders);
        pins.prune();
    }
    Ok((pins, unknown))
}

/// Layers that are folders of the project and were edited since the closures were found, by name. `folders` has them as
/// they are now.
pub fn edited_folders(lock: &Lock, folders: &BTreeMap<String, Blake3>) -> Vec<String> {
    let edited = lock.folders.iter().filter(|(name, hash)| folders.get(*name).is_some_and(|now| now != *hash));
    edited.map(|(name, _)| name.clone()).collect()
}

/// Fails unless the lock is fresh.
///
/// # Errors
/// Kind `Stale`, with every reason.
pub fn check_fresh(manifest: &Manifest, lock: &Lock, folders: &BTreeMap<String, Blake3>) -> Result<()> {
    let mut reasons = stale(manifest, lock);
    reasons.extend(edited_folders(lock, folders).iter().map(|name| format!("the layer `{name}` was edited")));
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Stale, "kata.lock does not match kata.toml any more")
        .because(Error::input(reasons.join("\n")))
        .help("run `kbuild lock` and commit kata.lock"))
}

fn check_names(manifest: &Manifest, old: &Lock, moving: &UpdatePolicy) -> Result<()> {
    let UpdatePolicy::Named(names) = moving else { return Ok(()) };
    for name in names {
        let known = manifest.layers.contains_key(name) || manifest.sources.contains_key(name);
        if !known && !floating::floats(old, name) {
            return Err(Error::input(format!(
                "kata.toml has no layer or source `{name}`, and no recipe of that name floats"
            ))
            .help("`kbuild update` without a name moves all pins"));
        }
    }
    Ok(())
}

fn all_or_errors(results: Vec<Result<ResolvedPin>>) -> Result<Vec<ResolvedPin>> {
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(answer) => answers.push(answer),
            Err(error) => errors.push(error),
        }
    }
    match Error::all(errors, |count| format!("{count} entries of kata.toml could not be locked")) {
        Some(error) => Err(error),
        None => Ok(answers),
    }
}

/// Puts the answers together: a pure function of the manifest and its pins.
fn assemble<'a>(
    manifest: &Manifest,
    answers: impl Iterator<Item = (&'a Requirement<'a>, &'a ResolvedPin)>,
) -> Result<Lock> {
    let mut lock = Lock::default();
    let mut pins: BTreeMap<(&str, &str), Vec<SourceId>> = BTreeMap::new();
    for (wish, answer) in answers {
        answer.add_to(&mut lock)?;
        let ids = answer.ids();
        if let ResolvedPin::Image(answer) = answer {
            lock.images.insert(wish.name.to_owned(), answer.image.clone());
        } else if let (Some(request), Some(locked)) = (wish.request(), ids.first().cloned()) {
            let section = if wish.is_layer() { &mut lock.layers } else { &mut lock.sources };
            section.insert(wish.name.to_owned(), Pin { request, locked });
        }
        pins.insert((wish.section(), wish.name), ids);
    }
    for name in manifest.boards.keys() {
        let board = LockedBoard { sources: needs(manifest, name, &pins), ..LockedBoard::default() };
        lock.boards.insert(name.clone(), board);
    }
    Ok(lock)
}

/// What a board needs: the engine, its git layers, its declared sources.
fn needs(manifest: &Manifest, board: &str, pins: &BTreeMap<(&str, &str), Vec<SourceId>>) -> BTreeSet<SourceId> {
    let layers = manifest.boards[board].layers.iter().map(String::as_str).chain([manifest.engine.as_str()]);
    let layers = layers.map(|name| ("layer", name));
    let sources = manifest.sources_of(board).map(|(name, _)| ("source", name));
    layers.chain(sources).filter_map(|key| pins.get(&key)).flatten().cloned().collect()
}

fn changes(old: &Lock, new: &Lock, wishes: &[Requirement<'_>]) -> Vec<Change> {
    let mut changes = Vec::new();
    for layer in [true, false] {
        let (before, after) = (pinned(old, layer), pinned(new, layer));
        let asked = wishes.iter().filter(|wish| wish.is_layer() == layer).map(|wish| wish.name);
        let gone = before.keys().filter(|name| !after.contains_key(*name)).copied();
        for name in asked.chain(gone) {
            let (from, to) = (before.get(name), after.get(name));
            if from != to {
                let told = |pinned: Option<&(String, Option<&LockedImage>)>| pinned.map(|(told, _)| told.clone());
                let (section, name) = (if layer { "layer" } else { "source" }, name.to_owned());
                changes.push(Change { section, name, from: told(from), to: told(to) });
            }
        }
    }
    changes
}

/// What each name was pinned to, in words. An image may have changed in more than its digest.
fn pinned(lock: &Lock, layer: bool) -> BTreeMap<&str, (String, Option<&LockedImage>)> {
    let pins = if layer { &lock.layers } else { &lock.sources };
    let pins = pins.iter().map(|(name, pin)| (name.as_str(), (pin.locked.to_string(), None)));
    let images = lock.images.iter().filter(|_| !layer);
    let images =
        images.map(|(name, image)| (name.as_str(), (image.request.image.at(image.digest).to_string(), Some(image))));
    pins.chain(images).collect()
}

/// In words, what a lock has that it should not, or should have and has not, when all its pins stand.
fn differences(wanted: &Lock, found: &Lock) -> Vec<String> {
    let mut words = Vec::new();
    for (section, layer) in [("layer", true), ("source", false)] {
        let (wanted, found) = (pinned(wanted, layer), pinned(found, layer));
        let gone = found.keys().filter(|name| !wanted.contains_key(*name));
        words.extend(gone.map(|name| format!("{section} `{name}` is locked but no longer in kata.toml")));
    }
    for board in wanted.boards.keys().chain(found.boards.keys()).collect::<BTreeSet<_>>() {
        if wanted.boards.get(board) != found.boards.get(board) {
            words.push(format!("board `{board}` needs other sources than kata.lock says"));
        }
    }
    if words.is_empty() {
        words.push("kata.lock lists other blocks than kata.toml leads to".to_owned());
    }
    words
}

impl Request {
    /// The request in a few words, for messages.
    fn in_words(&self) -> String {
        match self {
            Request::File { url, .. } => url.to_string(),
            Request::Git { url, reference, submodules, history, .. } => {
                let extra = [(*submodules, " with submodules"), (*history, " with history")];
                let extra: String = extra.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
                format!("{reference} of {url}{extra}")
            }
        }
    }
}

impl ImageAsked {
    /// As [`Request::in_words`].
    fn in_words(&self) -> String {
        match self.architectures.as_slice() {
            [] => self.image.to_string(),
            named => format!("{} for {}", self.image, named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
