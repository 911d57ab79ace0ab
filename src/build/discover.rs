//! What a board fetches, in BitBake's own words: its layers laid out as for a build, the engine asked, nothing built.
//!
//! BitBake runs twice, behind the seal: once for the task of kbuild's class in every recipe of the targets' task graph, once
//! for the graph itself. Both use the directory and the configuration of builds, so that one parse cache serves all.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::plan::{self, Form, Request};
use super::{Prepared, bitbake};
use crate::bitbake::discovery::{self, Discovery};
use crate::bitbake::{Engine, Report, Words, engine};
use crate::error::{Error, Kind, Result};
use crate::lock::Locked;
use crate::manifest::{Layer, LayerOrigin};
use crate::source::Blake3;

/// Of which configuration the closure is asked.
#[derive(Clone, Copy)]
pub struct DiscoverRequest<'a> {
    /// Project, board and options. Of the lock, layers and declared sources are read; the store must have the layers.
    pub build: Request<'a>,
    /// The architecture of the machine that will build (`uname -m`), which may be another than this one.
    pub host: &'a str,
    /// How much BitBake says; a line for each task is never shown.
    pub words: Words,
}

/// Asks BitBake what the board's targets fetch, and which recipes of all layers name no commit.
///
/// # Errors
/// Layers or engine that are not in the store or not as locked; kind `Engine`, with BitBake's own words, when it cannot
/// parse the layers or knows no such target; kind `Interrupted`.
pub fn discover(request: &DiscoverRequest<'_>) -> Result<Report> {
    let DiscoverRequest { build, host, words } = *request;
    let prepared = plan::prepare_discovery(&build, host)?;
    let targets = prepared.targets.as_slice();
    let found = Discovery::begin(prepared.topdir())?;
    run(&prepared, Engine::closure_arguments(targets, words)?, prepared.topdir())?;
    run(&prepared, Engine::graph_arguments(targets)?, &found.graph_directory())?;
    found.report(targets)
}

fn run(prepared: &Prepared, arguments: Vec<String>, from: &Path) -> Result<()> {
    let ended = bitbake(prepared, arguments, from)?;
    engine::discovery_outcome(ended.status, ended.interrupted, &prepared.inputs.board, prepared.log().as_deref())
}

/// A hash over all that decides what [`discover`] finds and that manifest and lock know: the configuration, the layers in
/// their order, engine, options, build host, targets, and the way kbuild asks. Layers that are folders count by name alone:
/// what is in them, [`folder_hash`] says. Looks at neither disk nor BitBake.
///
/// # Errors
/// A lock that lacks a layer or declared source of the board: kind `Stale`; a configuration BitBake cannot be given.
pub fn inputs(request: &DiscoverRequest<'_>) -> Result<Blake3> {
    let build = &request.build;
    let board = build.manifest.board(build.board)?;
    let form = Form { pins: &[], build_arch: Some(request.host), uninative: true };
    let text = plan::with_conf(build, board, &[], &form, |conf| conf.kbuild())?;
    let mut hash = Fields(blake3::Hasher::new());
    hash.add(&discovery::VERSION.to_le_bytes());
    hash.add(text.as_bytes());
    hash.layer(build, &build.manifest.engine)?;
    board.layers.iter().try_for_each(|name| hash.layer(build, name))?;
    board.targets.iter().for_each(|target| hash.add(target.as_bytes()));
    Ok(hash.finish())
}

/// A hash over fields that cannot run into each other.
struct Fields(blake3::Hasher);

impl Fields {
    fn finish(&self) -> Blake3 {
        (*self.0.finalize().as_bytes()).into()
    }

    fn add(&mut self, field: &[u8]) {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    fn layer(&mut self, request: &Request<'_>, name: &str) -> Result<()> {
        let missing = || Error::bug(format!("the manifest was checked and has no layer `{name}`"));
        let layer: &Layer = request.manifest.layers.get(name).ok_or_else(missing)?;
        self.add(name.as_bytes());
        layer.paths.iter().for_each(|path| self.add(path.as_os_str().as_bytes()));
        match &layer.origin {
            LayerOrigin::Path(_) => self.add(b"folder"),
            LayerOrigin::Git(_) => {
                let stale = || {
                    Error::new(Kind::Stale, format!("kata.lock does not have the layer `{name}`"))
                        .help("run `kbuild lock`")
                };
                let pin = request.lock.layers.get(name).ok_or_else(stale)?;
                let Locked::Git(_, git) = request.lock.get(&pin.locked)? else { return Err(stale()) };
                self.add(git.commit.to_string().as_bytes());
            }
        }
        Ok(())
    }
}

/// What of a layer can decide a closure: recipes and what they include, Python modules, and lists of packages (npm's
/// shrinkwrap files).
const METADATA: [&str; 7] = ["bb", "bbappend", "bbclass", "conf", "inc", "json", "py"];

/// A hash over the metadata of a layer that is a folder: names and contents, in the order of names. A symbolic link counts by
/// where it points; it is not followed. Directories whose names begin with a dot are left out.
///
/// # Errors
/// A directory or file that cannot be read.
pub fn folder_hash(directory: &Path) -> Result<Blake3> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut hash = Fields(blake3::Hasher::new());
    for path in files {
        let read = |error: io::Error| Error::io("read", &path, error);
        let metadata = fs::symlink_metadata(&path).map_err(read)?;
        let name = path.strip_prefix(directory).unwrap_or(&path);
        hash.add(name.as_os_str().as_bytes());
        if metadata.is_symlink() {
            hash.add(b"link");
            hash.add(fs::read_link(&path).map_err(read)?.as_os_str().as_bytes());
        } else {
            hash.add(b"file");
            hash.add(&fs::read(&path).map_err(read)?);
        }
    }
    Ok(hash.finish())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let list = |error: io::Error| Error::io("list", directory, error);
    for entry in fs::read_dir(directory).map_err(list)? {
        let entry = entry.map_err(list)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(list)?);
        if kind.is_dir() {
            if !entry.file_name().as_bytes().starts_with(b".") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| METADATA.iter().any(|known| extension == *known)) {
            files.push(path);
        }
    }
    Ok(())
}
