//! Asks BitBake what a board fetches: its layers are prepared as for a build, and nothing is built.
//!
//! BitBake runs twice, behind the seal: once for the task of kbuild's class in every recipe of the targets' task graph,
//! once for the graph itself. Both use the directory and the configuration of builds, so that one parse cache serves
//! all.

use std::path::Path;

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
    let found = DiscoveryDir::begin(prepared.topdir())?;
    run(&prepared, Engine::closure_arguments(targets, words)?, prepared.topdir())?;
    run(&prepared, Engine::graph_arguments(targets)?, &found.graph_directory())?;
    found.report(targets)
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

impl Discover for Discoverer<'_> {
    fn reads(&self, pinned: &Lock) -> Vec<SourceId> {
        pinned.layers.values().map(|pin| pin.locked.clone()).collect()
    }

    fn discover(&self, pinned: &Lock, board: &str, variant: &Variant) -> Result<DiscoveryReport> {
        let build = BuildRequest {
            manifest: self.manifest,
            lock: pinned,
            store: self.store,
            board,
            selection: &variant.selection,
            kbuild: self.kbuild,
            require_seal: self.require_seal,
            progress: self.progress,
        };
        discover(&DiscoverRequest { build, host: &variant.host, words: self.verbosity })
    }

    fn review(&self, lock: &mut Lock, board: &str, variant: &Variant, cases: &[FetchCase]) -> Result<Vec<Objection>> {
        let laid_out = lock.clone();
        let build = BuildRequest {
            manifest: self.manifest,
            lock: &laid_out,
            store: self.store,
            board,
            selection: &variant.selection,
            kbuild: self.kbuild,
            progress: self.progress,
            require_seal: self.require_seal,
        };
        ask_fetchers::ask(&build, &variant.host, lock, cases)
    }
}

fn run(prepared: &Prepared, arguments: Vec<String>, from: &Path) -> Result<()> {
    let ended = bitbake(prepared, arguments, from)?;
    engine::discovery_outcome(ended.status, ended.interrupted, &prepared.inputs.board, prepared.log().as_deref())
}
