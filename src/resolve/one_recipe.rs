//! `kbuild lock --recipe`: what one recipe fetches, locked anew in the closures that have it. The task graph stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::closure::closure_of;
use super::faults::{self, Faults};
use super::lock_request::LockRequest;
use super::recipes::{self, ClosureContext};
use super::requests::{Discovered, Pins, Requester, without_multiconfig};
use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::lock::{Lock, LockedFolder, pin_parts, recipe_key};
use crate::manifest::{LayerOrigin, Manifest, Variant};
use crate::source::{Blake3, SourceId};

/// A configuration that is asked about some of its recipes.
pub(super) struct Asked {
    pub(super) board: String,
    pub(super) variant: Variant,
    /// The recipes as the closure calls them, `mc:NAME:PN` in a multiconfig.
    pub(super) names: Vec<String>,
    /// Those of the closure, which stay.
    pub(super) inputs: Blake3,
}

/// The configurations whose closures have these recipes. A choice whose closure says nothing of its own about them is what
/// the board's default is.
///
/// # Errors
/// No closure has one of them.
pub(super) fn configurations(manifest: &Manifest, old: &Lock, wanted: &[String]) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    let mut seen = BTreeSet::new();
    for board in manifest.boards.keys() {
        for variant in manifest.variants(board)? {
            let Some(closure) = closure_of(old, board, &variant.name) else { continue };
            let own = |name: &str| {
                variant.name.is_empty() || old.recipes.contains_key(&recipe_key(name, board, &variant.name))
            };
            let in_default =
                |name: &str| closure_of(old, board, "").is_some_and(|base| base.recipes.contains_key(name));
            let names = closure.recipes.keys().filter(|name| {
                wanted.iter().any(|wanted| wanted == without_multiconfig(name)) && (own(name) || !in_default(name))
            });
            let names: Vec<String> = names.cloned().collect();
            seen.extend(names.iter().map(|name| without_multiconfig(name).to_owned()));
            if !names.is_empty() {
                asked.push(Asked { board: board.clone(), variant, names, inputs: closure.inputs });
            }
        }
    }
    match wanted.iter().find(|wanted| !seen.contains(*wanted)) {
        None => Ok(asked),
        Some(unknown) => Err(Error::input(format!("no closure of {LOCK} has the recipe `{unknown}`"))
            .help("`kbuild lock` finds recipes that are new; `kbuild tree` lists those that are locked")),
    }
}

/// Takes recipes that were asked anew out of closures, before names are given to what they fetch.
pub(super) fn forget(contexts: &mut [ClosureContext], parts: &[Discovered]) {
    for part in parts {
        let own = contexts.iter_mut().filter(|context| is_of(context, part));
        for context in own {
            context.recipes.retain(|name, _| part.report.recipes.iter().all(|recipe| recipe.name != *name));
        }
    }
}

/// Puts what they fetch now in its place.
pub(super) fn put(
    contexts: &mut [ClosureContext],
    parts: &[Discovered],
    sources: &BTreeMap<Requester, BTreeSet<SourceId>>,
    pins: &Pins,
    faults: &Faults,
) {
    for part in parts {
        for context in contexts.iter_mut().filter(|context| is_of(context, part)) {
            if faults.leave_open(&part.board, &part.variant.name) {
                context.closure.inputs = faults::unfinished();
            }
            for recipe in &part.report.recipes {
                let requester = Requester {
                    board: part.board.clone(),
                    setting: part.variant.name.clone(),
                    recipe: recipe.name.clone(),
                };
                let own = sources.get(&requester).cloned().unwrap_or_default();
                context.recipes.insert(recipe.name.clone(), recipes::locked(recipe, own));
                let pn = without_multiconfig(&recipe.name);
                context.closure.pins.retain(|pin, _| pin_parts(pin).is_none_or(|(_, other)| other != pn));
            }
            context.closure.pins.extend(pins.get(&part.configuration()).cloned().unwrap_or_default());
        }
    }
}

fn is_of(context: &ClosureContext, part: &Discovered) -> bool {
    context.board == part.board && context.setting == part.variant.name
}

/// Has the lock know the files that these recipes were read from as they are now; the rest of a layer stays edited. So does a
/// recipe that may need others now: its closure has to be looked at.
pub(super) fn update_folders(request: &LockRequest<'_>, parts: &[Discovered], lock: &mut Lock) {
    let read: BTreeSet<&str> = parts
        .iter()
        .flat_map(|part| &part.report.recipes)
        .filter(|recipe| recipe.same_graph)
        .flat_map(|recipe| &recipe.read)
        .map(String::as_str)
        .collect();
    for (name, layer) in &request.manifest.layers {
        let LayerOrigin::Path(path) = &layer.origin else { continue };
        let Some(now) = request.folders.get(name) else { continue };
        let Some(LockedFolder::Files(files)) = lock.folders.get_mut(name) else { continue };
        let Ok(directory) = std::fs::canonicalize(request.manifest.root().join(path)) else { continue };
        for file in read.iter().filter_map(|file| Path::new(file).strip_prefix(&directory).ok()) {
            let file = file.to_string_lossy().into_owned();
            match now.files.get(&file) {
                Some(hash) => drop(files.insert(file, *hash)),
                None => drop(files.remove(&file)),
            }
        }
    }
}
