//! Asks BitBake what a board fetches: its layers are prepared as for a build, and nothing is built.
//!
//! BitBake runs twice, behind the seal: once for the task of kbuild's class in every recipe of the targets' task graph, once
//! for the graph itself. Both use the directory and the configuration of builds, so that one parse cache serves all.
//!
//! What was found is kept beside the board's directory (`known_closure.rs`). After an edit, BitBake parses the recipes that it
//! concerns, and they say what they fetch now. Where more may have changed than these say, or too many are concerned, it
//! parses all that its cache does not have; and where the task graph may be another one, everything is asked anew.

use std::path::{Path, PathBuf};

use super::known_closure::{DiscoveryInputs, KnownClosure};
use super::layers::LayerChanges;
use super::needed::Asked;
use super::prepare::{self, BuildRequest};
use super::{Prepared, ask_fetchers, bitbake, python};
use crate::bitbake::discovery::{self, DiscoveryDir};
use crate::bitbake::snapshot::{Reparse, Snapshot};
use crate::bitbake::{DiscoveryReport, Engine, Verbosity, engine};
use crate::error::Result;
use crate::lock::Lock;
use crate::manifest::{Manifest, Variant};
use crate::progress::Progress;
use crate::resolve::{Discover, FetchCase, Objection};
use crate::source::SourceId;
use crate::store::Store;

/// More recipes than these are parsed faster by BitBake's parser processes, though it loads its cache first.
const FEW_RECIPES: usize = 64;

/// The configuration whose closure is asked for.
#[derive(Clone, Copy)]
pub struct DiscoverRequest<'a> {
    /// Project, board and options. Of the lock, layers and declared sources are read; the store must have the layers.
    pub build: BuildRequest<'a>,
    /// The architecture of the machine that will build (`uname -m`), which may be another than this one.
    pub host: &'a str,
    /// How much BitBake prints; a line for each task is never shown.
    pub words: Verbosity,
}

/// Asks BitBake what the board's targets fetch, and which recipes of all layers name no commit.
///
/// # Errors
/// Layers or engine that are not in the store or not as locked; kind `Engine`, with BitBake's own words, when it cannot
/// parse the layers or knows no such target; kind `Interrupted`.
pub fn discover(request: &DiscoverRequest<'_>) -> Result<DiscoveryReport> {
    let DiscoverRequest { build, host, words } = *request;
    let prepared = prepare::prepare_discovery(&build, host)?;
    let targets = prepared.targets.as_slice();
    let place = place_of(&prepared, request)?;
    let inputs = DiscoveryInputs::of(request, &prepared)?;
    if let Some(report) = discover_again(&prepared, &inputs, &place, words)? {
        return Ok(report);
    }
    let found = DiscoveryDir::begin_discovery(prepared.topdir())?;
    run(&prepared, Engine::closure_arguments(targets, words)?, prepared.topdir())?;
    run(&prepared, Engine::graph_arguments(targets)?, &found.graph_directory())?;
    let snapshot = found.snapshot()?;
    let report = discovery::report_on(&snapshot, targets)?;
    KnownClosure { inputs, snapshot }.write(&place)?;
    Ok(report)
}

/// Asks only the recipes that an edit concerns; `None` where that does not tell.
fn discover_again(
    prepared: &Prepared,
    inputs: &DiscoveryInputs,
    place: &Path,
    words: Verbosity,
) -> Result<Option<DiscoveryReport>> {
    let Some(known) = KnownClosure::read(place) else { return Ok(None) };
    let Some(changed) = inputs.changed_since(&known.inputs, prepared.topdir()) else { return Ok(None) };
    let concerned = match inputs.new_includes(&known.inputs).next() {
        Some(new) => Err(format!("{} is new", new.display())),
        None => parse_concerned(prepared, &known.snapshot, &changed)?,
    };
    let reparse = match concerned {
        Ok(reparse) => reparse,
        Err(why) => {
            tracing::info!("all recipes are looked at: {why}");
            parse_what_is_not_cached(prepared, &changed, words)?
        }
    };
    let KnownClosure { mut snapshot, .. } = known;
    if let Err(why) = snapshot.update(reparse, &changed) {
        tracing::info!("the whole closure is looked at: {why}");
        return Ok(None);
    }
    let report = discovery::report_on(&snapshot, &prepared.targets)?;
    KnownClosure { inputs: inputs.clone(), snapshot }.write(place)?;
    Ok(Some(report))
}

/// Parses the recipes that an edit concerns, and no others: in a process of its own, without BitBake's cache. Fails with why
/// that cannot be done.
fn parse_concerned(prepared: &Prepared, known: &Snapshot, changed: &[PathBuf]) -> Result<Result<Reparse, String>> {
    match known.readers.of_changed(changed) {
        Ok(recipes) if recipes.len() <= FEW_RECIPES => parse_alone(prepared, changed, &recipes),
        Ok(recipes) => Ok(Err(format!("{} recipes were read from what changed", recipes.len()))),
        Err(why) => Ok(Err(why)),
    }
}

/// Parses single recipes: those that the changed files are, or are appended to, and these.
fn parse_alone(prepared: &Prepared, changed: &[PathBuf], recipes: &[PathBuf]) -> Result<Result<Reparse, String>> {
    let found = DiscoveryDir::begin_again(prepared.topdir(), changed)?;
    let arguments = found.ask_recipes(prepared.engine().directory(), prepared.topdir(), recipes)?;
    let status = python(prepared, arguments, "asking recipes what they fetch")?;
    match found.asked_recipes()?.filter(|_| status == 0) {
        Some(only) => Ok(Ok(found.reparse(Some(only))?)),
        None => Ok(Err(format!("the recipes could not be parsed alone (exit status {status})"))),
    }
}

/// Parses all that BitBake's cache does not have.
fn parse_what_is_not_cached(prepared: &Prepared, changed: &[PathBuf], words: Verbosity) -> Result<Reparse> {
    let found = DiscoveryDir::begin_again(prepared.topdir(), changed)?;
    run(prepared, Engine::parse_arguments(words), prepared.topdir())?;
    found.reparse(None)
}

/// Asks recipes of a known closure alone; `None` where other recipes may stand for their names now.
fn ask_known(prepared: &Prepared, request: &DiscoverRequest<'_>, names: &[String]) -> Result<Option<DiscoveryReport>> {
    let Some(known) = KnownClosure::read(&place_of(prepared, request)?) else { return Ok(None) };
    if !DiscoveryInputs::of(request, prepared)?.has_the_files_of(&known.inputs) {
        return Ok(None);
    }
    let Some(files) = known.snapshot.files_of(names) else { return Ok(None) };
    match parse_alone(prepared, &files, &[])? {
        Ok(reparse) => discovery::report_on_recipes(reparse, names, &known.snapshot),
        Err(why) => {
            tracing::info!("BitBake is asked: {why}");
            Ok(None)
        }
    }
}

fn place_of(prepared: &Prepared, request: &DiscoverRequest<'_>) -> Result<PathBuf> {
    KnownClosure::place(prepared.topdir(), request.build.selection, request.host)
}

/// BitBake inside the seal, for locking.
pub struct Discoverer<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The store; the layers are laid out from it.
    pub store: &'a Store,
    /// This program, which is its own helper inside the seal.
    pub kbuild: &'a Path,
    /// Whether less than the whole seal is an error.
    pub require_seal: bool,
    /// Progress of checkouts and views.
    pub progress: &'a dyn Progress,
    /// How much BitBake prints.
    pub verbosity: Verbosity,
}

impl Discoverer<'_> {
    fn request<'a>(&'a self, lock: &'a Lock, board: &'a str, variant: &'a Variant) -> BuildRequest<'a> {
        BuildRequest {
            manifest: self.manifest,
            lock,
            asked: Asked::Targets(&[]),
            store: self.store,
            board,
            selection: &variant.selection,
            kbuild: self.kbuild,
            require_seal: self.require_seal,
            changes: LayerChanges::NONE,
            cache: None,
            jobs: 1,
            progress: self.progress,
        }
    }
}

impl Discover for Discoverer<'_> {
    fn reads(&self, pinned: &Lock) -> Vec<SourceId> {
        pinned.layers.values().flat_map(|pin| pin.sources()).cloned().collect()
    }

    fn discover(&self, pinned: &Lock, board: &str, variant: &Variant) -> Result<DiscoveryReport> {
        let build = self.request(pinned, board, variant);
        discover(&DiscoverRequest { build, host: &variant.host, words: self.verbosity })
    }

    fn recipes(&self, pinned: &Lock, board: &str, variant: &Variant, recipes: &[String]) -> Result<DiscoveryReport> {
        let build = self.request(pinned, board, variant);
        let prepared = prepare::prepare_discovery(&build, &variant.host)?;
        let request = DiscoverRequest { build, host: &variant.host, words: self.verbosity };
        if let Some(report) = ask_known(&prepared, &request, recipes)? {
            return Ok(report);
        }
        let found = DiscoveryDir::begin(prepared.topdir())?;
        run(&prepared, Engine::recipe_arguments(recipes, self.verbosity)?, prepared.topdir())?;
        let known = KnownClosure::read(&place_of(&prepared, &request)?);
        found.recipes(&known.map(|known| known.snapshot).unwrap_or_default())
    }

    fn review(&self, lock: &mut Lock, board: &str, variant: &Variant, cases: &[FetchCase]) -> Result<Vec<Objection>> {
        let laid_out = lock.clone();
        let build = self.request(&laid_out, board, variant);
        ask_fetchers::ask(&build, &variant.host, lock, cases)
    }
}

fn run(prepared: &Prepared, arguments: Vec<String>, from: &Path) -> Result<()> {
    let ended = bitbake(prepared, arguments, from)?;
    engine::discovery_outcome(ended.status, ended.interrupted, &prepared.inputs.board, prepared.log().as_deref())
}
