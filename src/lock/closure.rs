//! Who needs what: boards, the recipes of their task graphs, and the sources that these fetch.
//!
//! A source does not know who needs it: a recipe lists its sources, and a board its recipes. So adding or removing a
//! board changes only its own blocks.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::name::TOGETHER;
use crate::source::{Blake3, CommitId, SourceId, SourceUrl};

use super::Lock;

/// What one board needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockedBoard {
    /// The engine, the board's git layers, its declared sources.
    pub sources: BTreeSet<SourceId>,
    /// What its targets' task graph fetches, with every option at its default; `None` if the closure was never looked for.
    pub closure: Option<Closure>,
    /// What one other choice (`boot=rootfs`, `ceph`) or build host (`host=aarch64`) needs beyond that, and what several choices
    /// together (`boot=rootfs,ceph`) need beyond each of them.
    pub with: BTreeMap<String, Closure>,
}

/// The recipes of a task graph, and the pins of their floating refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// A hash over all that decides the graph: layers, configuration, options, host.
    pub inputs: Blake3,
    /// Every recipe by its PN, and why it is there.
    pub recipes: BTreeMap<String, Need>,
    /// What is fetched outside of SRC_URI (uninative).
    pub extra: BTreeSet<SourceId>,
    /// SRCREV variables that have to be set, since the recipe names no commit: `SRCREV_x:pn-y` to a key of
    /// [`Lock::floating`].
    pub pins: BTreeMap<String, String>,
}

/// Why a recipe is in a task graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It is a target.
    Target,
    /// This recipe needs it, on a shortest way from a target.
    By(String),
}

/// A recipe that fetches something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRecipe {
    /// PV.
    pub version: String,
    /// The collection name of its layer (BBFILE_COLLECTIONS).
    pub layer: String,
    /// The path of its file inside the layer.
    pub file: String,
    /// LICENSE, as the recipe writes it.
    pub license: String,
    /// What it fetches.
    pub sources: BTreeSet<SourceId>,
}

/// A ref that moves, and the commit that it pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floating {
    pub url: SourceUrl,
    /// Its full name; empty for HEAD.
    pub reference: String,
    pub commit: CommitId,
}

impl Closure {
    /// A closure that is not whole: it has no recipes yet, and inputs that no real hash has, so that it is never taken for a
    /// fresh one.
    pub fn unfinished() -> Closure {
        let inputs = [0; 32].into();
        Closure { inputs, recipes: BTreeMap::new(), extra: BTreeSet::new(), pins: BTreeMap::new() }
    }
}

impl Floating {
    /// The key in [`Lock::floating`].
    pub fn key(url: &SourceUrl, reference: &str) -> String {
        format!("{url}#{reference}")
    }
}

impl Lock {
    /// The recipe of a board's graph, by its PN. `setting` is the choice to look at, empty for the default.
    /// `None` if the recipe fetches nothing.
    pub fn recipe(&self, board: &str, setting: &str, name: &str) -> Option<(&str, &LockedRecipe)> {
        let keys = [recipe_key(name, board, setting), recipe_key(name, board, ""), name.to_owned()];
        keys.iter().find_map(|key| self.recipes.get_key_value(key)).map(|(key, recipe)| (key.as_str(), recipe))
    }

    /// What a board needs with some choices (as [`LockedBoard::with`] names them), submodules not counted.
    pub fn needs(&self, board: &str, settings: &[String]) -> BTreeSet<SourceId> {
        let declared = self.boards.get(board).map(|locked| locked.sources.clone()).unwrap_or_default();
        &declared | &self.fetched_by(board, settings, |_| true)
    }

    /// What those recipes of a board fetch that `chosen` names, with what belongs to no recipe. Submodules are not counted, nor
    /// what the manifest declares and none of them fetches.
    pub fn fetched_by(&self, board: &str, settings: &[String], chosen: impl Fn(&str) -> bool) -> BTreeSet<SourceId> {
        let mut ids = BTreeSet::new();
        let closures = self.boards.get(board).into_iter().flat_map(|locked| locked.closures_with(settings));
        for (setting, closure) in closures {
            ids.extend(closure.extra.iter().cloned());
            let recipes = closure.recipes.keys().filter(|name| chosen(name));
            let recipes = recipes.filter_map(|name| self.recipe(board, setting, name));
            recipes.for_each(|(_, recipe)| ids.extend(recipe.sources.iter().cloned()));
        }
        ids
    }

    /// The SRCREV variables to set for a board with some choices, `SRCREV_x:pn-y`, and their values.
    pub fn pins(&self, board: &str, settings: &[String]) -> BTreeMap<&str, CommitId> {
        let Some(locked) = self.boards.get(board) else { return BTreeMap::new() };
        let pins = locked.closures_with(settings).flat_map(|(_, closure)| &closure.pins);
        pins.filter_map(|(variable, key)| Some((variable.as_str(), self.floating.get(key)?.commit))).collect()
    }

    /// Drops recipes that are in no board's graph, and moving refs that no recipe names.
    pub(super) fn drop_unused_recipes(&mut self) {
        let mut used = BTreeSet::new();
        let mut pins = BTreeSet::new();
        for (board, locked) in &self.boards {
            for (setting, closure) in locked.closures() {
                pins.extend(closure.pins.values().cloned());
                let recipes = closure.recipes.keys().filter_map(|name| self.recipe(board, setting, name));
                used.extend(recipes.map(|(key, _)| key.to_owned()));
            }
        }
        self.recipes.retain(|key, _| used.contains(key));
        self.floating.retain(|key, _| pins.contains(key));
    }
}

/// A key of [`Closure::pins`]: the variable, `SRCREV` or `SRCREV_x`, of a recipe.
pub fn pin(variable: &str, recipe: &str) -> String {
    format!("{variable}:pn-{recipe}")
}

/// Variable and recipe of a key of [`Closure::pins`].
pub fn pin_parts(pin: &str) -> Option<(&str, &str)> {
    pin.split_once(":pn-")
}

/// The key of a recipe's block that is only for one board (and one choice of it).
pub fn recipe_key(name: &str, board: &str, setting: &str) -> String {
    if setting.is_empty() { format!("{name}@{board}") } else { format!("{name}@{board}+{setting}") }
}

/// The recipe (PN) of a block's key, see [`recipe_key`].
pub(super) fn recipe_of(key: &str) -> &str {
    key.split('@').next().unwrap_or(key)
}

/// The settings of a group that is looked at together; none of a setting by itself.
pub fn singles(setting: &str) -> Vec<String> {
    if setting.contains(TOGETHER) { setting.split(TOGETHER).map(str::to_owned).collect() } else { Vec::new() }
}

impl LockedBoard {
    /// The closures, each with its choice; the default's first, under an empty name.
    pub fn closures(&self) -> impl Iterator<Item = (&str, &Closure)> {
        let base = self.closure.iter().map(|closure| ("", closure));
        base.chain(self.with.iter().map(|(name, closure)| (name.as_str(), closure)))
    }

    /// The recipes of all its task graphs.
    pub fn recipe_names(&self) -> BTreeSet<&str> {
        self.closures().flat_map(|(_, closure)| closure.recipes.keys()).map(String::as_str).collect()
    }

    /// Those of [`LockedBoard::closures`] that a build with some choices uses, the default's first.
    pub fn closures_with<'a, 's>(
        &'a self,
        settings: &'s [String],
    ) -> impl Iterator<Item = (&'a str, &'a Closure)> + use<'a, 's> {
        let base = self.closure.iter().map(|closure| ("", closure));
        let chosen = settings.iter().filter_map(|setting| self.with.get_key_value(setting));
        base.chain(chosen.map(|(setting, closure)| (setting.as_str(), closure)))
    }

    /// Whether the closures of the default and of these choices are all known.
    pub fn knows(&self, settings: &[String]) -> bool {
        let closures = || self.closures_with(settings).map(|(_, closure)| closure);
        closures().count() == settings.len() + 1
            && closures().all(|closure| closure.inputs != Closure::unfinished().inputs)
    }

    /// The choices whose closures are locked.
    pub fn settings(&self) -> Vec<String> {
        self.with.keys().cloned().collect()
    }
}
