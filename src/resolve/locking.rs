//! Locking from end to end: the manifest's own pins, then the closures that the engine has to find, then one lock of
//! both.

use std::collections::BTreeMap;
use std::future::Future;

use super::closure::{self, MissingClosure};
use super::freshness::edited_folders;
use super::lock_request::{LockRequest, LockScope};
use super::one_recipe::{self, Asked};
use super::requests::Discovered;
use super::review::{self, FetchCase, Objection};
use super::{Resolution, UpdatePolicy, pins};
use crate::bitbake::DiscoveryReport;
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::manifest::Variant;
use crate::source::SourceId;

/// The engine, as far as locking needs it: [`builder`](crate::builder) runs BitBake, tests have an engine of their own.
pub trait Discover {
    /// The sources that it reads: they are fetched before it runs.
    fn reads(&self, pinned: &Lock) -> Vec<SourceId>;

    /// What the targets of a board fetch in one configuration.
    ///
    /// # Errors
    /// Errors of the engine: kind `Engine`, `Interrupted`.
    fn discover(&self, pinned: &Lock, board: &str, variant: &Variant) -> Result<DiscoveryReport>;

    /// What some recipes of a board's closure fetch in one configuration, by the names that the closure has; nothing else.
    ///
    /// # Errors
    /// Those of the engine: kind `Engine`, `Interrupted`.
    fn recipes(&self, pinned: &Lock, board: &str, variant: &Variant, recipes: &[String]) -> Result<DiscoveryReport>;

    /// Has the engine's own fetchers look at what was locked for a board: gives what they object to, and writes the names under
    /// which they look for submodules into the lock. Only what the store has can be looked at.
    ///
    /// # Errors
    /// Those of the engine: kind `Engine`, `Interrupted`.
    fn review(&self, lock: &mut Lock, board: &str, variant: &Variant, cases: &[FetchCase]) -> Result<Vec<Objection>>;
}

/// The result of locking.
#[derive(Debug)]
pub struct Locking {
    /// The new lock, with its changes, warnings and faults.
    pub resolution: Resolution,
    /// The engine failed while it looked for a closure. The lock has everything found before; it stays stale.
    pub stopped: Option<Stopped>,
}

/// Why locking ended early.
#[derive(Debug)]
pub struct Stopped {
    /// The error.
    pub error: Error,
    /// So many closures are missing.
    pub missing: usize,
}

/// Makes the lock: keeps the valid pins, finds the new ones, asks the engine for the closures that are not known,
/// and fetches each source into the store, for its hashes.
///
/// A closure costs minutes, and pins are what fixes some faults (an include that `kbuild crates` reads out of a pinned
/// source): so what is known when the engine fails is a lock too, see [`Locking::stopped`].
///
/// The same where a layer or source of the manifest cannot be pinned; all of these are told at once. What could not be locked as
/// it is written: see [`Resolution::faults`].
///
/// # Errors
/// Every layer or source of the manifest that could not be locked, in one error. What was fetched stays in the store.
/// Entries of recipes that could not be locked are no error here: see [`Resolution::faults`].
pub fn lock(request: LockRequest<'_>, engine: &dyn Discover) -> Result<Locking> {
    let LockRequest { manifest, old, update, fetcher, .. } = request;
    let (pinned, unpinned) = request.wait(pins::resolve(manifest, old, fetcher, update))?;
    let missing = closure::missing(manifest, &pinned.lock, old, &request.edited(), update)?;
    let (missing, left) = request.in_scope(missing);
    let (discovery, parts) = match unpinned {
        Some(error) => (Discovery { found: Vec::new(), failed: Some((error, missing)) }, Vec::new()),
        None => (request.discover(&pinned.lock, missing, engine), request.discover_recipes(&pinned.lock, engine)?),
    };
    let completed = request.wait(closure::complete(&request, pinned, &discovery.found, &parts));
    let completed = completed.and_then(|mut resolution| {
        let found = [&discovery.found[..], &parts].concat();
        request.review(&mut resolution, &found, engine)?;
        if !left.is_empty() {
            closure::mark_stale(manifest, &left, old, &mut resolution.lock);
            one_recipe::update_folders(&request, &parts, &mut resolution.lock);
            let lock = &resolution.lock;
            let edited = edited_folders(lock, &request.folders);
            let left = closure::missing(manifest, lock, lock, &edited, &UpdatePolicy::Nothing)?;
            // A folder has one state for all boards: those that were looked at are not told of.
            let left = request.in_scope(left).1;
            resolution.warnings.extend(left_as_they_are(&left));
        }
        Ok(resolution)
    });
    let Some((error, missed)) = discovery.failed else {
        return Ok(Locking { resolution: completed?, stopped: None });
    };
    let Ok(mut resolution) = completed else { return Err(error) };
    closure::mark_stale(manifest, &missed, old, &mut resolution.lock);
    Ok(Locking { resolution, stopped: Some(Stopped { error, missing: missed.len() }) })
}

fn left_as_they_are(left: &[MissingClosure]) -> Option<String> {
    let (first, rest) = left.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!("not looked at: {first}{more}; `kbuild lock` does"))
}

/// The closures that the engine could tell, one after the other.
#[derive(Default)]
struct Discovery {
    found: Vec<Discovered>,
    /// Why it ended early, and which are missing.
    failed: Option<(Error, Vec<MissingClosure>)>,
}

impl LockRequest<'_> {
    /// Folders of the project that were edited since, or that no closure was found with yet.
    fn edited(&self) -> BTreeMap<String, String> {
        let new = self.folders.keys().filter(|name| !self.old.folders.contains_key(*name));
        let mut edited: BTreeMap<String, String> = new.map(|name| (name.clone(), String::new())).collect();
        edited.extend(edited_folders(self.old, &self.folders));
        edited
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut outcome = None;
        (self.wait)(Box::pin(async {
            outcome = Some(work.await?);
            Ok(())
        }))?;
        outcome.ok_or_else(|| Error::bug("work was not run to its end"))
    }

    /// Lets the engine's fetchers look at the sources of the closures found now. Where they cannot be asked, that is a
    /// warning and not a fault of the lock.
    fn review(&self, resolution: &mut Resolution, found: &[Discovered], engine: &dyn Discover) -> Result<()> {
        for (board, cases) in review::cases(found, &resolution.lock) {
            let Some(of_board) = found.iter().find(|found| found.board == board) else { continue };
            (self.say)(&format!("Asking BitBake's fetchers about what board `{board}` fetches"));
            match engine.review(&mut resolution.lock, &board, &of_board.variant, &cases) {
                Ok(objections) => {
                    let Resolution { lock, faults, .. } = resolution;
                    review::add_objections(objections, &board, found, lock, faults);
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    let why = error.causes().into_iter().next().map(|why| format!(": {why}")).unwrap_or_default();
                    resolution.warnings.push(format!("{error}{why}; `kbuild verify --deep` does it instead"));
                }
            }
        }
        Ok(())
    }

    /// Those that are asked for, and those that stay as they are.
    fn in_scope(&self, missing: Vec<MissingClosure>) -> (Vec<MissingClosure>, Vec<MissingClosure>) {
        missing.into_iter().partition(|missing| match self.scope {
            LockScope::All => true,
            LockScope::Boards(boards) => boards.contains(&missing.board),
            LockScope::Recipes(_) => false,
        })
    }

    /// Asks the engine for single recipes, in each configuration that has them.
    fn discover_recipes(&self, lock: &Lock, engine: &dyn Discover) -> Result<Vec<Discovered>> {
        let LockScope::Recipes(recipes) = self.scope else { return Ok(Vec::new()) };
        let wanted = one_recipe::configurations(self.manifest, self.old, recipes)?;
        self.wait(self.fetcher.sources(lock, &engine.reads(lock)))
            .map_err(|error| error.wrap("a recipe can only be asked with its layers"))?;
        let mut found = Vec::new();
        for Asked { board, variant, names, inputs } in wanted {
            (self.say)(&format!("Asking {} of board `{board}` what it fetches", names.join(", ")));
            let mut report = engine.recipes(lock, &board, &variant, &names)?;
            report.notes.iter().for_each(|note| (self.warn)(note));
            report.recipes.retain(|recipe| names.contains(&recipe.name));
            report.floating.retain(|floating| names.contains(&floating.recipe));
            report.extra.clear();
            found.push(Discovered { board, variant, inputs, report });
        }
        Ok(found)
    }

    /// Asks the engine for closures.
    fn discover(&self, lock: &Lock, missing: Vec<MissingClosure>, engine: &dyn Discover) -> Discovery {
        let mut discovery = Discovery::default();
        if missing.is_empty() {
            return discovery;
        }
        if let Err(error) = self.wait(self.fetcher.sources(lock, &engine.reads(lock))) {
            let error = error.wrap("the closure of a board can only be found with its layers");
            return Discovery { failed: Some((error, missing)), ..discovery };
        }
        let total = missing.len();
        let mut left = missing.into_iter();
        while let Some(next) = left.next() {
            (self.say)(&format!("Finding {next} ({} of {total})", total - left.len()));
            match engine.discover(lock, &next.board, &next.variant) {
                Ok(report) => {
                    report.notes.iter().for_each(|note| (self.warn)(note));
                    let MissingClosure { board, variant, inputs, .. } = next;
                    discovery.found.push(Discovered { board, variant, inputs, report });
                }
                Err(error) => {
                    discovery.failed = Some((error, std::iter::once(next).chain(left).collect()));
                    break;
                }
            }
        }
        discovery
    }
}
