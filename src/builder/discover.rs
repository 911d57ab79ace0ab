//! Asks BitBake what a board fetches: its layers are prepared as for a build, and nothing is built.
//!
//! BitBake runs twice, behind the seal: once for the task of kbuild's class in every recipe of the targets' task graph, once
//! for the graph itself. Both use the directory and the configuration of builds, so that one parse cache serves all.
//!
//! What was found is kept beside the board's directory. After an edit BitBake only parses, once, and the recipes of edited
//! files say what they fetch now (`known_closure.rs`).

use std::path::Path;

use super::known_closure::{DiscoveryInputs, KnownClosure};
use super::layers::LayerChanges;
use super::prepare::{self, BuildRequest};
use super::{Prepared, ask_fetchers, bitbake};
use crate::bitbake::discovery::DiscoveryDir;
use crate::bitbake::{DiscoveryReport, Engine, Verbosity, engine};
use crate::error::Result;
use crate::lock::Lock;
use crate::manifest::{Manifest, Variant};
use crate::progress::Progress;
use crate::resolve::{Discover, FetchCase, Objection};
use crate::source::SourceId;
use crate::store::Store;

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
    let place = KnownClosure::place(&prepared, request)?;
    let inputs = DiscoveryInputs::of(request, &prepared)?;
    if let Some(report) = discover_again(&prepared, &inputs, &place, words)? {
        return Ok(report);
    }
    let found = DiscoveryDir::begin(prepared.topdir())?;
    run(&prepared, Engine::closure_arguments(targets, words)?, prepared.topdir())?;
    run(&prepared, Engine::graph_arguments(targets)?, &found.graph_directory())?;
    let snapshot = found.snapshot()?;
    let report = found.report(&snapshot, targets)?;
    KnownClosure { inputs, snapshot }.write(&place)?;
    Ok(report)
}

/// Asks only the recipes of edited files; `None` where that does not tell.
fn discover_again(
    prepared: &Prepared,
    inputs: &DiscoveryInputs,
    place: &Path,
    words: Verbosity,
) -> Result<Option<DiscoveryReport>> {
    let Some(mut known) = KnownClosure::read(place) else { return Ok(None) };
    let Some(changed) = inputs.changed_since(&known.inputs, prepared.topdir()) else { return Ok(None) };
    let found = DiscoveryDir::begin_again(prepared.topdir(), &changed)?;
    run(prepared, Engine::parse_arguments(words), prepared.topdir())?;
    if let Err(why) = known.snapshot.update(found.reparsed()?, &changed) {
        tracing::info!("the whole closure is looked at: {why}");
        return Ok(None);
    }
    let report = found.report(&known.snapshot, &prepared.targets)?;
    known.inputs = inputs.clone();
    known.write(place)?;
    Ok(Some(report))
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
        let found = DiscoveryDir::begin(prepared.topdir())?;
        run(&prepared, Engine::recipe_arguments(recipes, self.verbosity)?, prepared.topdir())?;
        let request = DiscoverRequest { build, host: &variant.host, words: self.verbosity };
        let known = KnownClosure::read(&KnownClosure::place(&prepared, &request)?);
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
