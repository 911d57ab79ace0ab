//! The pins of the manifest's own entries: layers, declared sources, images.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::pin::{self, Denials, ResolvedPin};
use super::requirement::{self, Requirement};
use super::{Change, ChangeSide, Resolution, UpdatePolicy, floating, included, patches, signatures};
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::files::MANIFEST;
use crate::lock::{Lock, LockedBoard, LockedImage, Pin};
use crate::manifest::Manifest;
use crate::source::{CommitId, PatchOrigin, SourceId};
use crate::suggest;

/// Resolves a manifest into a lock, and keeps the old lock's pins wherever the manifest still asks for the same.
///
/// Bytes that were fetched are in the store, also when this fails.
///
/// Gives also why layers and sources could not be pinned, all of them at once: the lock has the rest, and their old pins. What
/// is known by its hash or commit and was denied is pinned, and a fault of the resolution.
///
/// # Errors
/// Every layer or source that could not be resolved, in one error.
pub(super) async fn resolve(
    manifest: &Manifest,
    old: &Lock,
    fetcher: &Fetcher,
    update: &UpdatePolicy,
) -> Result<(Resolution, Option<Error>)> {
    check_names(manifest, old, update)?;
    let requirements = requirement::all(manifest);
    let answered = join_all(requirements.iter().map(|requirement| async move {
        let denials = Denials::default();
        let moves = requirement.moves(update);
        let found = match pin::find(requirement, moves, old, fetcher, &denials).await {
            Ok(found) => signatures::checked(requirement, found, old, fetcher).await,
            Err(error) => Err(error),
        };
        (found, denials.into_errors())
    }));
    let (mut answers, mut errors, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (requirement, (found, denials)) in requirements.iter().zip(answered.await) {
        let named = |error: Error| error.wrap(format!("could not lock {requirement}"));
        faults.extend(denials.into_iter().map(named));
        let answer = found.map_err(|error| errors.push(named(error))).ok().or_else(|| pin::kept(requirement, old));
        answers.extend(answer.map(|answer| (requirement, answer)));
    }
    let mut lock = assemble(manifest, old, answers.iter().map(|(requirement, answer)| (*requirement, answer)))?;
    errors.extend(patches::resolve(manifest, &mut lock, old, fetcher).await);
    let incomplete = answers.iter().flat_map(|(_, answer)| answer.incomplete()).collect();
    let changes = changes(old, &lock, &requirements);
    let resolution = Resolution { changes, lock, incomplete, warnings: Vec::new(), faults };
    Ok((resolution, Error::all(errors, |count| format!("{count} entries of {MANIFEST} could not be locked"))))
}

pub(super) fn check_names(manifest: &Manifest, old: &Lock, update: &UpdatePolicy) -> Result<()> {
    let UpdatePolicy::Named(names) = update else { return Ok(()) };
    for name in names {
        let declared = manifest.layers.keys().chain(manifest.sources.keys()).map(String::as_str);
        let known: BTreeSet<&str> = declared.chain(floating::recipes(old)).collect();
        if !known.contains(name.as_str()) {
            let name = name.escape_debug().to_string();
            let error =
                Error::input(format!("{MANIFEST} has no layer or source `{name}`, and no recipe of that name floats"));
            let all = "`kbuild update` without a name moves all pins";
            return Err(error.help(match suggest::did_you_mean(&name, known, 2) {
                Some(question) => format!("{question} ({all})"),
                None => all.to_owned(),
            }));
        }
    }
    Ok(())
}

/// Assembles the lock: a pure function of the manifest and its pins. Of the old lock is what was known of patches' bytes.
pub(super) fn assemble<'a>(
    manifest: &Manifest,
    old: &Lock,
    answers: impl Iterator<Item = (&'a Requirement<'a>, &'a ResolvedPin)>,
) -> Result<Lock> {
    let mut lock = Lock::default();
    let mut pins: BTreeMap<(&str, &str), Vec<SourceId>> = BTreeMap::new();
    for (requirement, answer) in answers {
        answer.add_to(&mut lock)?;
        let mut ids = answer.ids();
        if let ResolvedPin::Image(answer) = answer {
            lock.images.insert(requirement.name.to_owned(), answer.image.clone());
        } else if let (Some(request), Some(locked)) = (requirement.request(), ids.first().cloned()) {
            let section = if requirement.is_layer() { &mut lock.layers } else { &mut lock.sources };
            let signed_tag = answer.signed_tag();
            section.insert(requirement.name.to_owned(), Pin { signed_tag, ..Pin::new(request, locked) });
        }
        if requirement.is_layer() {
            patches::add_files(manifest, requirement.name, old, &mut lock)?;
            let sources = patches::sources(manifest, requirement.name);
            ids.extend(sources.filter_map(|origin| match origin {
                PatchOrigin::Remote { source, .. } => Some(source.clone()),
                _ => None,
            }));
        }
        pins.insert((requirement.section(), requirement.name), ids);
    }
    included::keep(manifest, &mut lock)?;
    for name in manifest.boards.keys() {
        let board = LockedBoard { sources: needs(manifest, name, &pins)?, ..LockedBoard::default() };
        lock.boards.insert(name.clone(), board);
    }
    Ok(lock)
}

/// What a board needs: the engine, its git layers, its declared sources.
fn needs(manifest: &Manifest, board: &str, pins: &BTreeMap<(&str, &str), Vec<SourceId>>) -> Result<BTreeSet<SourceId>> {
    let mut layers = manifest.layers_of(board)?;
    layers.extend(manifest.engine.clone());
    // Those that patches come from too: they are read when the layer is laid out.
    let origins: Vec<&PatchOrigin> = layers.iter().flat_map(|layer| patches::sources(manifest, layer)).collect();
    let of_patches = origins.into_iter().filter_map(|origin| match origin {
        PatchOrigin::Layer { layer, .. } => Some(layer.clone()),
        _ => None,
    });
    layers.extend(of_patches);
    let layers = layers.iter().map(String::as_str);
    let layers = layers.map(|name| ("layer", name));
    let sources = manifest.sources_of(board).map(|(name, _)| ("source", name));
    Ok(layers.chain(sources).filter_map(|key| pins.get(&key)).flatten().cloned().collect())
}

fn changes(old: &Lock, new: &Lock, requirements: &[Requirement<'_>]) -> Vec<Change> {
    let mut changes = Vec::new();
    for layer in [true, false] {
        let (before, after) = (pinned(old, layer), pinned(new, layer));
        let asked = requirements
            .iter()
            .filter(|requirement| requirement.is_layer() == layer)
            .map(|requirement| requirement.name);
        let gone = before.keys().filter(|name| !after.contains_key(*name)).copied();
        for name in asked.chain(gone) {
            let (from, to) = (before.get(name), after.get(name));
            if from != to {
                let told = |lock: &Lock, pinned: Option<&(String, Option<&LockedImage>)>| {
                    let commit = commit(lock, layer, name);
                    pinned.map(|(text, _)| ChangeSide { text: text.clone(), commit })
                };
                let (from, to) = (told(old, from), told(new, to));
                let (section, name) = (if layer { "layer" } else { "source" }, name.to_owned());
                changes.push(Change { section, name, from, to });
            }
        }
    }
    changes
}

/// The commit that a layer or declared source is locked to.
pub(super) fn commit(lock: &Lock, layer: bool, name: &str) -> Option<CommitId> {
    let pin = if layer { lock.layers.get(name) } else { lock.sources.get(name) };
    lock.commit(pin?)
}

/// The pin of each name, as text. An image may have changed in more than its digest.
pub(super) fn pinned(lock: &Lock, layer: bool) -> BTreeMap<&str, (String, Option<&LockedImage>)> {
    let pins = if layer { &lock.layers } else { &lock.sources };
    let pins = pins.iter().map(|(name, pin)| (name.as_str(), (pin.locked.to_string(), None)));
    let images = lock.images.iter().filter(|_| !layer);
    let images =
        images.map(|(name, image)| (name.as_str(), (image.request.image.at(image.digest).to_string(), Some(image))));
    pins.chain(images).collect()
}
