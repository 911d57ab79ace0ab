//! Proves that a lock is enough: BitBake's own fetchers run over a whole closure, inside the seal, with the view alone.

use std::collections::BTreeMap;

use super::bitbake;
use super::prepare::{self, BuildDir, BuildRequest};
use crate::bitbake::discovery::{DiscoveryDir, RecipeOutcome};
use crate::bitbake::{Engine, Verbosity, engine};
use crate::disk;
use crate::error::Result;

/// A recipe whose sources BitBake could not fetch or unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackFailure {
    /// Its name; with `mc:NAME:` in front where it belongs to a multiconfig.
    pub recipe: String,
    /// `fetch` or `unpack`; `none` where BitBake did not reach it.
    pub task: String,
    /// BitBake's message.
    pub why: String,
}

/// The result of [`fetch_and_unpack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// How many recipes were fetched and unpacked.
    pub recipes: usize,
    /// Those that could not be, by name.
    pub failures: Vec<UnpackFailure>,
}

/// Lets BitBake fetch and unpack every recipe in the task graph of the board's targets, in a directory that is made
/// anew: its DL_DIR has only the view's links. Every recipe is tried, however many fail. What is unpacked is removed,
/// recipe by recipe, and the directory at the end, unless something failed.
///
/// # Errors
/// As [`super::prepare()`]; kind `Engine` when BitBake fails before it comes to the recipes; kind `Interrupted`.
pub fn fetch_and_unpack(request: &BuildRequest<'_>, words: Verbosity) -> Result<Proof> {
    let prepared = prepare::prepare(request, BuildDir::Deep)?;
    let found = DiscoveryDir::begin(prepared.topdir())?;
    let arguments = Engine::unpack_arguments(&prepared.targets, words)?;
    let ended = bitbake(&prepared, arguments, prepared.topdir())?;
    let outcomes = found.outcomes()?;
    // With `-k` a failed task makes BitBake fail in the end; that is an answer. Before the first one it is none.
    if ended.interrupted || outcomes.is_empty() {
        engine::discovery_outcome(ended.status, ended.interrupted, request.board, prepared.log().as_deref())?;
    }
    let proof = proof(outcomes, &wanted(request)?);
    if proof.failures.is_empty() {
        let topdir = prepared.topdir().to_owned();
        drop(prepared);
        disk::remove_dir_all(&topdir)?;
    }
    Ok(proof)
}

/// The recipes of the lock's closure that fetch something.
fn wanted(request: &BuildRequest<'_>) -> Result<Vec<String>> {
    let settings = request.manifest.settings_of(request.board, request.selection, &prepare::this_machine())?;
    let board = request.lock.board(request.board)?;
    let recipes = board
        .closures_with(&settings)
        .flat_map(|(setting, closure)| closure.recipes.keys().map(move |name| (setting, name)));
    let fetches = |setting: &str, name: &str| {
        request.lock.recipe(request.board, setting, name).is_some_and(|(_, recipe)| !recipe.sources.is_empty())
    };
    Ok(recipes.filter(|(setting, name)| fetches(setting, name)).map(|(_, name)| name.clone()).collect())
}

fn proof(outcomes: BTreeMap<String, RecipeOutcome>, wanted: &[String]) -> Proof {
    let mut failures: BTreeMap<String, UnpackFailure> = BTreeMap::new();
    for recipe in wanted.iter().filter(|recipe| !outcomes.contains_key(*recipe)) {
        let why =
            "BitBake never came to it: another recipe that it needs failed first, or the lock is older than the layers";
        let failure = UnpackFailure { recipe: recipe.clone(), task: "none".to_owned(), why: why.to_owned() };
        failures.insert(recipe.clone(), failure);
    }
    let recipes = outcomes.len();
    for (recipe, RecipeOutcome { task, error, .. }) in outcomes {
        if let Some(why) = error {
            failures.insert(recipe.clone(), UnpackFailure { recipe, task, why });
        }
    }
    Proof { recipes, failures: failures.into_values().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_and_what_was_never_tried_are_both_failures() {
        let outcome = |name: &str, error: Option<&str>| RecipeOutcome {
            name: name.to_owned(),
            task: "fetch".to_owned(),
            error: error.map(str::to_owned),
        };
        let outcomes = [outcome("a", None), outcome("b", Some("no such file"))];
        let outcomes = outcomes.map(|outcome| (outcome.name.clone(), outcome)).into();
        let wanted = ["a", "b", "c"].map(str::to_owned);
        let proof = proof(outcomes, &wanted);
        let failures: Vec<_> =
            proof.failures.iter().map(|failure| (failure.recipe.as_str(), failure.task.as_str())).collect();
        assert_eq!((proof.recipes, failures), (2, vec![("b", "fetch"), ("c", "none")]));
    }
}
