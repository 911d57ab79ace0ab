//! The directories of a project's layers: folders of the project as they are, git layers checked out from the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::result::LayerRecord;
use crate::disk::{self, FileLock};
use crate::error::{Error, Kind, Result};
use crate::fetch::submodules_of;
use crate::files::LOCK;
use crate::lock::{Lock, Locked, LockedGit};
use crate::manifest::{Board, LayerOrigin, Manifest};
use crate::progress::Progress;
use crate::store::{Store, checkout, tree};

/// The directory of checkouts in the build directory.
pub(super) const LAYERS: &str = "layers";

/// The project's `build/`, without symlinks.
pub(super) fn build_directory(manifest: &Manifest) -> Result<PathBuf> {
    let root = manifest.root();
    let root = std::fs::canonicalize(root).map_err(|error| Error::io("find", root, error))?;
    Ok(root.join("build"))
}

/// The manifest, lock and store that layers come from.
#[derive(Clone, Copy)]
pub struct From<'a> {
    /// The manifest; `build/` is beside it.
    pub manifest: &'a Manifest,
    /// The lock, with the commits of git layers.
    pub lock: &'a Lock,
    /// The store that has these commits.
    pub store: &'a Store,
    /// Progress of checkouts.
    pub progress: &'a dyn Progress,
}

/// The directories of BitBake layers that a layer of the manifest, a folder of the project, has.
///
/// # Errors
/// No such folder, or no `conf/layer.conf` where the manifest says.
pub fn local_directories(manifest: &Manifest, name: &str, path: &Path) -> Result<Vec<PathBuf>> {
    bblayers(manifest, name, &local_directory(manifest, name, path)?)
        .map_err(|error| with_submodule_hint(error, missing_submodule(manifest, path)))
}

/// The same of a git layer, checked out from the store at the place that builds use.
///
/// # Errors
/// A commit the lock (kind `Stale`) or the store (kind `Missing`) does not have, or no `conf/layer.conf` where the
/// manifest says.
pub fn git_directories(from: &From<'_>, name: &str) -> Result<Vec<PathBuf>> {
    let build = build_directory(from.manifest)?;
    let (checkouts, _lock) = checkouts(&build)?;
    let (directory, _) = check_out(from, name, &checkouts)?;
    bblayers_with_hint(from, name, &directory)
}

/// The directory of checkouts. Boards share it: one at a time writes there.
fn checkouts(build: &Path) -> Result<(PathBuf, FileLock)> {
    let checkouts = build.join(LAYERS);
    disk::create_dir_all(&checkouts)?;
    let lock = FileLock::exclusive(&build.join(format!("{LAYERS}.lock")), || ())?;
    disk::sweep(&checkouts);
    Ok((checkouts, lock))
}

/// A layer where BitBake reads it.
pub(super) struct LayerCheckout {
    pub(super) directory: PathBuf,
    pub(super) record: LayerRecord,
}

/// A board's layers.
pub(super) struct Layers {
    pub(super) engine: LayerCheckout,
    /// In the order of the board.
    pub(super) board: Vec<LayerCheckout>,
    /// BitBake's layer directories, in the order of BBLAYERS.
    pub(super) bblayers: Vec<PathBuf>,
}

impl Layers {
    pub(super) fn lay_out(from: &From<'_>, board: &Board, build: &Path) -> Result<Layers> {
        let (checkouts, _lock) = checkouts(build)?;
        let engine = lay_out_layer(from, from.manifest.engine_of_boards()?, &checkouts)?;
        let mut layers = Layers { engine, board: Vec::new(), bblayers: Vec::new() };
        for name in &board.layers {
            let layer = lay_out_layer(from, name, &checkouts)?;
            layers.bblayers.extend(bblayers_with_hint(from, name, &layer.directory)?);
            layers.board.push(layer);
        }
        Ok(layers)
    }

    pub(super) fn tops(&self) -> impl Iterator<Item = &Path> {
        self.board.iter().map(|layer| layer.directory.as_path())
    }
}

fn bblayers(manifest: &Manifest, name: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = manifest.layers.get(name).into_iter().flat_map(|layer| &layer.paths);
    paths.map(|path| bblayer(name, directory, path)).collect()
}

/// As [`bblayers`]; where one is in a submodule, which a layer's checkout does not have, the error says what to write.
fn bblayers_with_hint(from: &From<'_>, name: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    bblayers(from.manifest, name, directory).map_err(|error| {
        let hint = match from.manifest.layers.get(name).map(|layer| &layer.origin) {
            Some(LayerOrigin::Git(_)) => submodule_of(from, name, directory),
            Some(LayerOrigin::Path(path)) => missing_submodule(from.manifest, path),
            None => None,
        };
        with_submodule_hint(error, hint)
    })
}

fn with_submodule_hint(error: Error, hint: Option<String>) -> Error {
    match hint {
        Some(hint) => error.help(hint),
        None => error,
    }
}

/// How to name the first of a git layer's directories that is in a submodule.
fn submodule_of(from: &From<'_>, name: &str, directory: &Path) -> Option<String> {
    let Ok(Locked::Git(_, git)) = from.lock.get(&from.lock.layers.get(name)?.locked) else { return None };
    let submodules = submodules_of(from.store, &git.url, &git.commit).ok()?;
    let missing = |path: &&PathBuf| bblayer(name, directory, path).is_err();
    let path = from.manifest.layers.get(name)?.paths.iter().find(missing)?;
    // `.` is the top, where a repository may have nothing but submodules.
    let inside = |path: &Path| submodules.iter().find(|module| path.starts_with(&module.path));
    let module = if path == Path::new(".") { submodules.first() } else { inside(path) }?;
    let rest = path.strip_prefix(&module.path).ok().filter(|rest| *rest != Path::new(""));
    let paths = rest.map(|rest| format!(", `paths = [\"{}\"]`", rest.display())).unwrap_or_default();
    Some(format!(
        "`{}` is a submodule there, which layers are checked out without: make it a layer of its own, with \
         `git = \"{}\"`, `rev = \"{}\"`{paths}",
        module.path, module.url, module.commit
    ))
}

/// The command that fills a folder of the project, if it is a submodule without its files.
fn missing_submodule(manifest: &Manifest, path: &Path) -> Option<String> {
    let folder = manifest.root().join(path);
    if std::fs::read_dir(&folder).ok()?.next().is_some() {
        return None;
    }
    let named = |root: &Path| {
        let text = std::fs::read_to_string(root.join(".gitmodules")).ok()?;
        let values = text.lines().filter_map(|line| line.trim().strip_prefix("path")?.trim_start().strip_prefix('='));
        let inside = folder.strip_prefix(root).ok()?;
        values.map(|value| value.trim().trim_end_matches('/')).any(|value| Path::new(value) == inside).then_some(())
    };
    let root = folder.ancestors().find(|root| named(root).is_some())?;
    Some(format!("it is a submodule without its files: run `git -C {} submodule update --init`", root.display()))
}

fn bblayer(name: &str, directory: &Path, path: &Path) -> Result<PathBuf> {
    let bblayer = if path == Path::new(".") { directory.to_owned() } else { directory.join(path) };
    if bblayer.join("conf/layer.conf").is_file() {
        return Ok(bblayer);
    }
    Err(Error::input(format!("the layer `{name}` has no conf/layer.conf in `{}`", path.display()))
        .help(format!("[layers.{name}] paths must name the directories that hold BitBake layers")))
}

fn lay_out_layer(from: &From<'_>, name: &str, checkouts: &Path) -> Result<LayerCheckout> {
    let layer = from.manifest.layers.get(name);
    let layer = layer.ok_or_else(|| Error::bug(format!("the manifest was checked and has no layer `{name}`")))?;
    match &layer.origin {
        LayerOrigin::Path(path) => local_layer(from, name, path),
        LayerOrigin::Git(_) => git_layer(from, name, checkouts),
    }
}

fn local_layer(from: &From<'_>, name: &str, path: &Path) -> Result<LayerCheckout> {
    let directory = local_directory(from.manifest, name, path)?;
    let tree = tree::of_directory(&directory, &BTreeMap::new())?;
    Ok(LayerCheckout { directory, record: LayerRecord { name: name.to_owned(), commit: None, tree } })
}

fn local_directory(manifest: &Manifest, name: &str, path: &Path) -> Result<PathBuf> {
    let directory = manifest.root().join(path);
    std::fs::canonicalize(&directory)
        .map_err(|error| Error::input(format!("the layer `{name}` is not in {}", directory.display())).because(error))
}

fn git_layer(from: &From<'_>, name: &str, checkouts: &Path) -> Result<LayerCheckout> {
    let (directory, git) = check_out(from, name, checkouts)?;
    // An incomplete entry has no tree in the lock; then what the checkout is decides.
    let submodules =
        git.submodules.iter().filter_map(|(path, key)| Some((path.clone(), from.lock.gits.get(key)?.commit)));
    let tree = match git.tree {
        Some(tree) => tree,
        None => tree::of_directory(&directory, &submodules.collect())?,
    };
    Ok(LayerCheckout { directory, record: LayerRecord { name: name.to_owned(), commit: Some(git.commit), tree } })
}

/// Checks a git layer out as the lock has it; returns the directory and the commit.
fn check_out<'a>(from: &From<'a>, name: &str, checkouts: &Path) -> Result<(PathBuf, &'a LockedGit)> {
    let pin = from.lock.layers.get(name).ok_or_else(|| {
        Error::new(Kind::Stale, format!("{LOCK} does not have the layer `{name}`")).help("run `kbuild lock`")
    })?;
    let Locked::Git(_, git) = from.lock.get(&pin.locked)? else {
        return Err(Error::input(format!("{LOCK} has the layer `{name}` as a file")).help("run `kbuild lock`"));
    };
    let directory = checkouts.join(format!("{name}-{}", git.commit.short()));
    let task = from.progress.begin(&format!("check out {name}"), None);
    let checked_out = checkout::check_out(from.store, from.lock, git, &directory);
    checked_out.map_err(|error| error.wrap(format!("could not check out the layer `{name}`")))?;
    task.done(&git.commit.short());
    Ok((directory, git))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_without_a_layer_is_said_to_be_none() {
        let directory = tempfile::tempdir().unwrap();
        let error = bblayer("mine", directory.path(), Path::new(".")).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.hint().unwrap().contains("[layers.mine] paths"));
        fs::create_dir_all(directory.path().join("meta/conf")).unwrap();
        fs::write(directory.path().join("meta/conf/layer.conf"), "").unwrap();
        assert_eq!(bblayer("mine", directory.path(), Path::new("meta")).unwrap(), directory.path().join("meta"));
    }
}
