//! Whether a lock still matches the manifest: a comparison of two values, without network or store.

use std::collections::{BTreeMap, BTreeSet};

use super::closure::{self, MissingClosure};
use super::pins::{assemble, pinned};
use super::{UpdatePolicy, patches, pin, recipes, requirement};
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::{FolderState, Lock};
use crate::manifest::Manifest;

/// The reasons why a lock does not match the manifest; empty when it is fresh. Needs no network and no store. Whether
/// folders of the project were edited is not looked at here: see [`edited_folders`].
pub fn stale(manifest: &Manifest, lock: &Lock) -> Vec<String> {
    let requirements = requirement::all(manifest);
    let mut reasons = Vec::new();
    let mut kept = Vec::new();
    for requirement in &requirements {
        match pin::kept(requirement, lock) {
            Some(answer) => kept.push((requirement, answer)),
            None => reasons.push(requirement.why_not_kept(lock)),
        }
    }
    if reasons.is_empty() {
        let pins = assemble(manifest, lock, kept.iter().map(|(requirement, answer)| (*requirement, answer)));
        match pins.and_then(|pins| with_closures_of(manifest, pins, lock)) {
            Ok((_, unknown)) if !unknown.is_empty() => reasons.extend(unknown.iter().map(MissingClosure::to_string)),
            Ok((assembled, _)) if assembled == *lock => {}
            Ok((assembled, _)) => reasons.extend(differences(&assembled, lock)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    reasons
}

/// The lock that these pins and the closures of another lock make, and the closures that the other lock does not have.
fn with_closures_of(manifest: &Manifest, mut pins: Lock, lock: &Lock) -> Result<(Lock, Vec<MissingClosure>)> {
    let stale = patches::keep(manifest, &mut pins, lock);
    if !stale.is_empty() {
        let layers: Vec<String> = stale.iter().map(|name| format!("`{name}`")).collect();
        return Err(Error::new(
            Kind::Stale,
            format!("the patches of {} are others than what is locked", layers.join(", ")),
        ));
    }
    let unknown = closure::missing(manifest, &pins, lock, &BTreeMap::new(), &UpdatePolicy::Nothing)?;
    if unknown.is_empty() {
        let contexts = closure::keep(manifest, lock, &mut pins)?;
        recipes::assemble(&mut pins, contexts);
        pins.folders = closure::folders_read(manifest, &pins, |name| lock.folders.get(name).cloned());
        pins.prune();
    }
    Ok((pins, unknown))
}

/// Layers that are folders of the project and were edited since the closures were found: by name, with what was edited.
/// `folders` has them as they are now.
pub fn edited_folders(lock: &Lock, folders: &BTreeMap<String, FolderState>) -> BTreeMap<String, String> {
    let edited = lock.folders.iter().filter_map(|(name, folder)| Some((name, folder.edited(folders.get(name)?)?)));
    edited.map(|(name, what)| (name.clone(), what)).collect()
}

/// Fails unless the lock is fresh.
///
/// # Errors
/// Kind `Stale`, with every reason.
pub fn check_fresh(manifest: &Manifest, lock: &Lock, folders: &BTreeMap<String, FolderState>) -> Result<()> {
    let mut reasons = stale(manifest, lock);
    reasons.extend(edited_folders(lock, folders).iter().map(|(name, what)| closure::was_edited(name, what)));
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Stale, format!("{LOCK} does not match {MANIFEST} any more"))
        .because(Error::input(reasons.join("\n")))
        .help(format!("run `kbuild lock` and commit {LOCK}")))
}

/// The closures that a lock lacks for its own pins and folders.
///
/// # Errors
/// None that a checked manifest could give.
pub fn missing_closures(manifest: &Manifest, lock: &Lock) -> Result<Vec<MissingClosure>> {
    closure::missing(manifest, lock, lock, &BTreeMap::new(), &UpdatePolicy::Nothing)
}

/// Describes what a lock has too much, or lacks, when all its pins are valid.
fn differences(wanted: &Lock, found: &Lock) -> Vec<String> {
    let mut words = Vec::new();
    for (section, layer) in [("layer", true), ("source", false)] {
        let (wanted, found) = (pinned(wanted, layer), pinned(found, layer));
        let gone = found.keys().filter(|name| !wanted.contains_key(*name));
        words.extend(gone.map(|name| format!("{section} `{name}` is locked but no longer in {MANIFEST}")));
    }
    for board in wanted.boards.keys().chain(found.boards.keys()).collect::<BTreeSet<_>>() {
        if wanted.boards.get(board) != found.boards.get(board) {
            words.push(format!("board `{board}` needs other sources than {LOCK} says"));
        }
    }
    if words.is_empty() {
        words.push(format!("{LOCK} lists other sources than {MANIFEST} asks for").to_owned());
    }
    words
}
