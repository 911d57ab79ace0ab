//! Which of a board's sources a build cannot do without: one that the targets do not need must not refuse them.

use std::collections::BTreeSet;
use std::path::Path;

use super::known_closure::KnownClosure;
use super::prepare::{BuildRequest, this_machine};
use crate::bitbake::discovery;
use crate::error::Result;
use crate::lock::Lock;
use crate::source::SourceId;

/// What a build is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The board's own targets, or these; the board's where there are none.
    Targets(&'a [String]),
    /// Whatever can be built, or whatever a person runs in a shell.
    Anything,
}

/// The sources of a board that are looked for in the store.
pub(super) struct NeededSources {
    /// Without one of these the build is refused.
    pub(super) required: BTreeSet<SourceId>,
    /// Whether the targets need one of these is not known; required ones may be among them.
    pub(super) perhaps: BTreeSet<SourceId>,
}

/// The needed sources, submodules included, of a build in this directory.
///
/// # Errors
/// The directory beside it cannot be made.
pub(super) fn needed(request: &BuildRequest<'_>, settings: &[String], topdir: &Path) -> Result<NeededSources> {
    let BuildRequest { lock, board, .. } = *request;
    let all = lock.needs(board, settings);
    let (recipes, rest) = match request.asked {
        // Who needs a declared source, or what is fetched besides, is not known.
        Asked::Targets(_) if !lock.board(board)?.knows(settings) => {
            return Ok(NeededSources { required: lock.with_submodules(&all), perhaps: BTreeSet::new() });
        }
        Asked::Targets([]) => (recipes_of(lock, board, settings), BTreeSet::new()),
        Asked::Targets(targets) => match needed_recipes(request, settings, targets, topdir)? {
            Some(recipes) => (recipes, BTreeSet::new()),
            None => (targets.iter().cloned().collect(), all),
        },
        Asked::Anything => (BTreeSet::new(), all),
    };
    let fetched = lock.fetched_by(board, settings, |recipe| recipes.contains(recipe));
    let layers = lock.layers.values().map(|pin| pin.locked.clone());
    let required: BTreeSet<SourceId> = fetched.into_iter().chain(layers).collect();
    Ok(NeededSources { required: lock.with_submodules(&required), perhaps: lock.with_submodules(&rest) })
}

/// The recipes that targets need, by the task graph of the last discovery; `None` where there is none of this lock.
fn needed_recipes(
    request: &BuildRequest<'_>,
    settings: &[String],
    targets: &[String],
    topdir: &Path,
) -> Result<Option<BTreeSet<String>>> {
    let BuildRequest { lock, board, selection, .. } = *request;
    let place = KnownClosure::place(topdir, selection, &this_machine())?;
    let Some(known) = KnownClosure::read(&place) else { return Ok(None) };
    let locked = recipes_of(lock, board, settings);
    if !known.snapshot.recipes.keys().eq(&locked) {
        return Ok(None);
    }
    discovery::needed_by(&known.snapshot, targets)
}

fn recipes_of(lock: &Lock, board: &str, settings: &[String]) -> BTreeSet<String> {
    let closures = lock.boards.get(board).into_iter().flat_map(|locked| locked.closures_with(settings));
    closures.flat_map(|(_, closure)| closure.recipes.keys().cloned()).collect()
}
