//! The recipes of all boards as blocks of one lock: one block for all boards where they agree, and one for a board
//! where it differs.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::{self, Faults};
use super::{Change, ChangeSide};
use crate::bitbake::report::Recipe;
use crate::error::{Error, Result};
use crate::lock::{Closure, Lock, LockedRecipe, recipe_key, singles};
use crate::source::SourceId;

/// A closure that is kept from the old lock or was found now, with the sources of each of its recipes.
pub(super) struct ClosureContext {
    pub(super) board: String,
    pub(super) setting: String,
    pub(super) closure: Closure,
    pub(super) recipes: BTreeMap<String, LockedRecipe>,
}

/// The block of a recipe that fetches these sources.
pub(super) fn locked(recipe: &Recipe, sources: BTreeSet<SourceId>) -> LockedRecipe {
    LockedRecipe {
        version: recipe.version.clone(),
        layer: recipe.layer.clone(),
        file: recipe.file.clone(),
        license: recipe.license.clone(),
        sources,
    }
}

/// Writes the closures and their recipes into a lock. What another choice of a board shares with the default is left
/// out.
pub(super) fn assemble(lock: &mut Lock, mut contexts: Vec<ClosureContext>) {
    contexts.sort_by(|a, b| (&a.board, &a.setting).cmp(&(&b.board, &b.setting)));
    let (bases, others): (Vec<_>, Vec<_>) = contexts.into_iter().partition(|context| context.setting.is_empty());
    let (groups, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|context| !singles(&context.setting).is_empty());
    for context in bases.iter().chain(&others).chain(&groups) {
        for (name, recipe) in context.recipes.iter().filter(|(_, recipe)| !recipe.sources.is_empty()) {
            lock.recipes.entry(name.clone()).or_insert_with(|| recipe.clone());
        }
    }
    // A board's default first: its other choices list only what differs from it.
    bases.iter().for_each(|context| write_own(lock, context));
    others.iter().for_each(|context| write_own(lock, context));
    groups.iter().for_each(|context| write_own(lock, context));
    let mut defaults = BTreeMap::new();
    for ClosureContext { board, closure, .. } in bases {
        if let Some(locked) = lock.boards.get_mut(&board) {
            locked.closure = Some(closure.clone());
        }
        defaults.insert(board, closure);
    }
    let mut alone: BTreeMap<(String, String), Closure> = BTreeMap::new();
    for ClosureContext { board, setting, closure, .. } in others {
        alone.insert((board.clone(), setting.clone()), closure.clone());
        write_beyond(lock, board.clone(), setting, closure, defaults.get(&board).into_iter().collect());
    }
    for ClosureContext { board, setting, closure, .. } in groups {
        let singles = singles(&setting).into_iter().filter_map(|single| alone.get(&(board.clone(), single)));
        let below = defaults.get(&board).into_iter().chain(singles).collect();
        write_beyond(lock, board.clone(), setting, closure, below);
    }
}

/// Writes what a closure has beyond those that every build with its choices has too.
fn write_beyond(lock: &mut Lock, board: String, setting: String, closure: Closure, below: Vec<&Closure>) {
    let own = |name: &str| lock.recipes.contains_key(&recipe_key(name, &board, &setting));
    let closure = beyond(closure, &below, own);
    if let Some(locked) = lock.boards.get_mut(&board) {
        locked.with.insert(setting, closure);
    }
}

/// Writes a block for this closure alone where it differs from what all boards share, or from the board's default.
fn write_own(lock: &mut Lock, context: &ClosureContext) {
    let ClosureContext { board, setting, .. } = context;
    for (name, recipe) in &context.recipes {
        let shared = lock.recipe(board, setting, name).map(|(_, recipe)| recipe);
        if shared.map_or(recipe.sources.is_empty(), |shared| shared == recipe) {
            continue;
        }
        let singles = singles(setting);
        let mut of_singles = singles.iter().filter_map(|single| lock.recipe(board, single, name));
        if of_singles.any(|(_, known)| known == recipe) {
            continue;
        }
        lock.recipes.insert(recipe_key(name, board, setting), recipe.clone());
    }
}

/// A closure without what others have too, of which the later ones count where they disagree.
fn beyond(mut closure: Closure, below: &[&Closure], own: impl Fn(&str) -> bool) -> Closure {
    let known = |name: &String| below.iter().any(|other| other.recipes.contains_key(name));
    closure.recipes.retain(|name, _| !known(name) || own(name));
    closure.extra.retain(|id| !below.iter().any(|other| other.extra.contains(id)));
    let pinned = |pin: &String| below.iter().rev().find_map(|other| other.pins.get(pin));
    closure.pins.retain(|pin, key| pinned(pin) != Some(key));
    closure
}

/// Faults for two contents under one name on one board: BitBake has one place for both.
/// The closures of such a board are left open.
pub(super) fn check_names(lock: &mut Lock, faults: &mut Faults) -> Result<()> {
    let boards: Vec<String> = lock.boards.keys().cloned().collect();
    for board in boards {
        let twice = files_of_one_name(lock, &board)?;
        let open = !twice.is_empty();
        for (name, one, other) in twice {
            if !faults.is_new(&board, &name) {
                continue;
            }
            let error = Error::input(format!("board `{board}` has two files called `{name}`: {one} and {other}"));
            faults.add(
                error.help("BitBake keeps both under that name: give one of them a `filename` or `downloadfilename`"),
            );
        }
        if let Some(locked) = lock.boards.get_mut(&board).filter(|_| open) {
            let closures = locked.closure.iter_mut().chain(locked.with.values_mut());
            closures.for_each(|closure| closure.inputs = faults::unfinished());
        }
    }
    Ok(())
}

fn files_of_one_name(lock: &Lock, board: &str) -> Result<Vec<(String, SourceId, SourceId)>> {
    let mut twice = Vec::new();
    let mut seen: BTreeMap<&str, SourceId> = BTreeMap::new();
    for id in lock.closure([board])? {
        let SourceId::File(key) = &id else { continue };
        let Some((key, _)) = lock.files.get_key_value(key) else { continue };
        let name = flat_name(lock, key);
        if let Some(other) = seen.insert(name, id.clone()) {
            twice.push((name.to_owned(), other, id));
        }
    }
    Ok(twice)
}

/// The name in a flat mirror: the last part of what BitBake looks for.
fn flat_name<'a>(lock: &'a Lock, key: &'a str) -> &'a str {
    let name = lock.files.get(key).and_then(|file| file.name.as_deref()).unwrap_or(key);
    name.rsplit('/').next().unwrap_or(name)
}

/// Recipes that were added, removed, or have another version or other sources.
pub(super) fn changes(old: &Lock, new: &Lock) -> Vec<Change> {
    let names: BTreeSet<&String> = old.recipes.keys().chain(new.recipes.keys()).collect();
    let state =
        |recipe: Option<&LockedRecipe>| recipe.map(|recipe| ChangeSide { text: recipe.version.clone(), commit: None });
    names
        .into_iter()
        .filter(|name| {
            let facts = |recipe: &LockedRecipe| (recipe.version.clone(), recipe.sources.clone());
            old.recipes.get(*name).map(facts) != new.recipes.get(*name).map(facts)
        })
        .map(|name| Change {
            section: "recipe",
            name: name.clone(),
            from: state(old.recipes.get(name)),
            to: state(new.recipes.get(name)),
        })
        .collect()
}
