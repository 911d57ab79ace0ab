//! The files of the host that a board's build can reach.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::hosttools::HOSTTOOLS;
use super::layers::Layers;
use super::seal::Reachable;
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::Board;
use crate::store::Store;

/// The directory of TOPDIR that is `/tmp` inside: on disk, since compilers keep gigabytes there, and emptied before
/// every build.
pub(super) const SCRATCH: &str = "scratch";

/// Lists what a build in `topdir` can reach, and empties its `/tmp`. Paths of the board's mounts are relative to `root`.
///
/// # Errors
/// A layer, a store or a mount that is not there, a directory that cannot be emptied.
pub(super) fn of_board(
    board: &Board,
    root: &Path,
    topdir: &Path,
    layers: &Layers,
    store: &Store,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Reachable> {
    let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
    let mut reachable = programs(path);
    let layers = layers.tops().chain([layers.engine.directory.as_path()]);
    for directory in layers.chain(store.layers().map(Store::root)) {
        reachable.read(directory).map_err(|error| Error::io("find", directory, error))?;
    }
    for mount in &board.mounts {
        let path = root.join(&mount.path);
        let added = if mount.write { reachable.write(&path) } else { reachable.read(&path) };
        added.map_err(|error| {
            let message = format!("a mount of the board is not to be had: {}", mount.path.display());
            Error::input(message).because(error).help("correct `mounts` of the board in kata.toml, or take it out")
        })?;
    }
    let scratch = topdir.join(SCRATCH);
    disk::remove_dir_all(&scratch)?;
    disk::create_dir_all(&scratch)?;
    reachable.write(topdir).map_err(|error| Error::io("find", topdir, error))?;
    reachable.set_scratch(&scratch);
    reachable.set_home(&topdir.join("home"));
    Ok(reachable)
}

/// The host's programs, as a build finds them in `path`.
pub(super) fn programs(path: &OsStr) -> Reachable {
    let tools: Vec<&str> = HOSTTOOLS.iter().map(|(tool, _)| *tool).collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Reachable::programs(path, &tools, home.as_deref())
}
