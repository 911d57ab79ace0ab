//! A project's layers where BitBake reads them: folders of the project as they are, git layers checked out from the store,
//! as work trees of git. A checkout that somebody edited is never written again: what is built of it is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::result::{LayerRecord, PatchRecord};
use crate::disk::{self, FileLock};
use crate::error::{Error, Kind, Result};
use crate::fetch::{patches, submodules_of};
use crate::files::LOCK;
use crate::lock::{Lock, Locked, LockedGit, Pin, Request};
use crate::manifest::{Board, LayerOrigin, Manifest};
use crate::progress::Progress;
use crate::source::LayerPatch;
use crate::store::{FoundCheckout, PatchFile, Signature, Store, checkout, tree};

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
    /// How the layers may differ from the lock.
    pub changes: &'a LayerChanges,
    /// Told what goes on.
    pub progress: &'a dyn Progress,
}

/// How a build's layers may differ from the lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChanges {
    /// Whether a checkout is taken as it is although somebody edited it (`--allow-dirty`).
    pub allow_dirty: bool,
    /// Folders that stand for layers, absolute (`--override`).
    pub overrides: BTreeMap<String, PathBuf>,
    /// Folders outside of the board's directory that devtool's workspace may lead to, absolute (`source-trees` of
    /// kbuild.local.toml). A build writes into its own directory, so that what a workspace there says is not enough.
    pub source_trees: Vec<PathBuf>,
}

impl LayerChanges {
    /// The layers as locked.
    pub const NONE: &'static LayerChanges =
        &LayerChanges { allow_dirty: false, overrides: BTreeMap::new(), source_trees: Vec::new() };
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
    let checkout = check_out(from, name, &checkouts)?;
    checkout.judge(from, name)?;
    bblayers_with_hint(from, name, &checkout.directory)
}

/// The checkouts beside a project's lock that somebody edited, or committed in.
///
/// # Errors
/// Their directory cannot be read.
pub fn edited_checkouts(lock: &Path) -> Result<Vec<FoundCheckout>> {
    let root = lock.parent().unwrap_or(Path::new("."));
    let found = FoundCheckout::all_in(&root.join("build").join(LAYERS))?;
    Ok(found.into_iter().filter(FoundCheckout::is_edited).collect())
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
        for name in &board.parts.layers {
            let layer = lay_out_layer(from, name, &checkouts)?;
            layers.board.push(layer);
        }
        layers.judge(from)?;
        for layer in &layers.board {
            layers.bblayers.extend(bblayers_with_hint(from, &layer.record.name, &layer.directory)?);
        }
        layers.warn_of_edits_elsewhere(from, &checkouts)?;
        Ok(layers)
    }

    /// Refuses edited checkouts, all of them at once, or says that they are built.
    fn judge(&self, from: &From<'_>) -> Result<()> {
        let all = std::iter::once(&self.engine).chain(&self.board);
        let refused: Vec<Error> = all.filter_map(|layer| layer.judge(from).err()).collect();
        Error::all(refused, |count| format!("{count} layers have edits in their checkouts")).map_or(Ok(()), Err)
    }

    /// An edit in the checkout of a commit that is locked no more would be missed in silence.
    fn warn_of_edits_elsewhere(&self, from: &From<'_>, checkouts: &Path) -> Result<()> {
        let used: Vec<&LayerCheckout> = std::iter::once(&self.engine).chain(&self.board).collect();
        for found in FoundCheckout::all_in(checkouts)? {
            let name = found.directory.file_name().unwrap_or_default().to_string_lossy();
            let layer = name.rsplit_once('-').map_or("", |(layer, _)| layer);
            let unused = used.iter().all(|layer| layer.directory != found.directory);
            if unused && used.iter().any(|used| used.record.name == layer) && found.is_edited() {
                from.progress.warn(&format!(
                    "{} has edits that are not used: {LOCK} has another commit of the layer `{layer}`",
                    disk::shown(&found.directory)
                ));
            }
        }
        Ok(())
    }

    /// What of the layers the lock does not have, a sentence each.
    pub(super) fn not_from_the_lock(&self) -> Vec<String> {
        let sentence = |layer: &LayerCheckout| {
            let LayerRecord { name, folder, edited, .. } = &layer.record;
            match folder {
                Some(folder) => Some(format!("not from the lock: the layer `{name}`, from {folder}")),
                None if edited.is_empty() => None,
                None => Some(format!("not from the lock: the layer `{name}`, edited in its checkout")),
            }
        };
        std::iter::once(&self.engine).chain(&self.board).filter_map(sentence).collect()
    }

    /// The layers that are not as locked, by name, and where they are.
    pub(super) fn not_as_locked(&self) -> Vec<(String, PathBuf)> {
        let changed =
            self.board.iter().filter(|layer| layer.record.folder.is_some() || !layer.record.edited.is_empty());
        changed.map(|layer| (layer.record.name.clone(), layer.directory.clone())).collect()
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
    match (from.changes.overrides.get(name), &layer.origin) {
        (Some(folder), _) => overridden_layer(from, name, folder),
        (None, LayerOrigin::Path(path)) => local_layer(from, name, path),
        (None, LayerOrigin::Git(_)) => git_layer(from, name, checkouts),
    }
}

fn overridden_layer(from: &From<'_>, name: &str, folder: &Path) -> Result<LayerCheckout> {
    let tree = tree::of_folder(folder, &own_directories(from.manifest, from.store)?)?;
    let shown = below_project(from.manifest, folder);
    Ok(LayerCheckout {
        directory: folder.to_owned(),
        record: LayerRecord { folder: Some(shown), ..LayerRecord::folder(name, tree) },
    })
}

/// A path as the result has it: relative to the project where it is inside.
pub(super) fn below_project(manifest: &Manifest, path: &Path) -> String {
    let root = std::fs::canonicalize(manifest.root()).unwrap_or_else(|_| manifest.root().to_owned());
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

fn local_layer(from: &From<'_>, name: &str, path: &Path) -> Result<LayerCheckout> {
    let directory = local_directory(from.manifest, name, path)?;
    let tree = tree::of_folder(&directory, &own_directories(from.manifest, from.store)?)?;
    Ok(LayerCheckout { directory, record: LayerRecord::folder(name, tree) })
}

/// What kbuild itself writes into a project, which may be in a layer's folder (`path = "."`).
pub(super) fn own_directories(manifest: &Manifest, store: &Store) -> Result<Vec<PathBuf>> {
    let store = std::fs::canonicalize(store.root()).unwrap_or_else(|_| store.root().to_owned());
    Ok(vec![build_directory(manifest)?, store])
}

/// The folder of a layer, without symbolic links.
///
/// # Errors
/// It is not there.
pub fn local_directory(manifest: &Manifest, name: &str, path: &Path) -> Result<PathBuf> {
    let directory = manifest.root().join(path);
    std::fs::canonicalize(&directory)
        .map_err(|error| Error::input(format!("the layer `{name}` is not in {}", directory.display())).because(error))
}

fn git_layer(from: &From<'_>, name: &str, checkouts: &Path) -> Result<LayerCheckout> {
    let Edited { directory, git, patches, edits } = check_out(from, name, checkouts)?;
    // An incomplete entry has no tree in the lock; then what the checkout is decides.
    let submodules =
        git.submodules.iter().filter_map(|(path, key)| Some((path.clone(), from.lock.gits.get(key)?.commit)));
    let tree = match git.tree.filter(|_| edits.is_empty() && patches.is_empty()) {
        Some(tree) => tree,
        None => tree::of_directory(&directory, &submodules.collect())?,
    };
    let commit = Some(git.commit);
    let record = LayerRecord { commit, edited: edits, patches, ..LayerRecord::folder(name, tree) };
    Ok(LayerCheckout { directory, record })
}

/// A checkout, and how it differs from its commit.
struct Edited<'a> {
    directory: PathBuf,
    git: &'a LockedGit,
    patches: Vec<PatchRecord>,
    edits: Vec<String>,
}

impl Edited<'_> {
    fn judge(&self, from: &From<'_>, name: &str) -> Result<()> {
        judge(from, name, &self.directory, &self.edits)
    }
}

impl LayerCheckout {
    fn judge(&self, from: &From<'_>) -> Result<()> {
        judge(from, &self.record.name, &self.directory, &self.record.edited)
    }
}

/// Refuses a checkout that was edited, or says so where edits are allowed.
fn judge(from: &From<'_>, name: &str, directory: &Path, edits: &[String]) -> Result<()> {
    /// So many edits are listed.
    const SHOWN: usize = 10;
    if edits.is_empty() {
        return Ok(());
    }
    let place = disk::shown(directory);
    let mut list: Vec<&str> = edits.iter().take(SHOWN).map(String::as_str).collect();
    let more = (edits.len() > SHOWN).then(|| format!("and {} more", edits.len() - SHOWN));
    list.extend(more.as_deref());
    if from.changes.allow_dirty {
        from.progress.warn(&format!("the layer `{name}` is taken with its edits in {place}: {}", list.join(", ")));
        return Ok(());
    }
    let message = format!("the layer `{name}` is not as locked: somebody edited it in {place}");
    Err(Error::input(message).because(list.join("\n")).help(format!(
        "see the edits with `git -C {place} diff`; build them with `kbuild build --allow-dirty`; or move them elsewhere and run `rm -r \
         {place}`, then the layer is checked out again"
    )))
}

/// Checks a git layer out as the lock has it: where, which commit, and what was edited there.
fn check_out<'a>(from: &From<'a>, name: &str, checkouts: &Path) -> Result<Edited<'a>> {
    let pin = from.lock.layers.get(name).ok_or_else(|| {
        Error::new(Kind::Stale, format!("{LOCK} does not have the layer `{name}`")).help("run `kbuild lock`")
    })?;
    let Locked::Git(_, git) = from.lock.get(&pin.locked)? else {
        return Err(Error::input(format!("{LOCK} has the layer `{name}` as a file")).help("run `kbuild lock`"));
    };
    must_be_signed(from, name, pin, git)?;
    let files = patches::of_layer(from.manifest, from.lock, from.store, name)?;
    let directory = checkouts.join(format!("{name}-{}{}", git.commit.short(), suffix(&pin.patches)));
    let task = from.progress.begin(&format!("check out {name}"), None);
    let checked_out = checkout::check_out_patched(from.store, from.lock, git, &files, &directory);
    let edits = checked_out.map_err(|error| error.wrap(format!("could not check out the layer `{name}`")))?;
    task.done(&git.commit.short());
    let record = |file: PatchFile| PatchRecord {
        patch: file.patch.to_string(),
        blake3: (*blake3::hash(&file.bytes).as_bytes()).into(),
    };
    Ok(Edited { directory, git, patches: files.into_iter().map(record).collect(), edits })
}

/// What the name of a checkout has beside the commit: other patches make another checkout.
fn suffix(patches: &[LayerPatch]) -> String {
    if patches.is_empty() {
        return String::new();
    }
    let identities: Vec<String> = patches.iter().map(LayerPatch::identity).collect();
    format!(".{}", &blake3::hash(identities.join("\n").as_bytes()).to_hex()[..12])
}

/// Checks the signature of a layer that has to have one, with what store and lock have.
fn must_be_signed(from: &From<'_>, name: &str, pin: &Pin, git: &LockedGit) -> Result<()> {
    let layer = from.manifest.layers.get(name);
    let Some(signers) = layer.and_then(|layer| layer.signers.as_ref()) else { return Ok(()) };
    let tag = match &pin.request {
        Request::Git { reference, .. } => reference.tag.as_ref().zip(pin.signed_tag.as_ref()),
        Request::File { .. } => None,
    };
    let signature = match tag {
        Some((tag, text)) => from.store.signature_of_tag(tag, text, &git.commit, signers)?,
        None => from.store.signature_of_commit(&git.commit, signers)?,
    };
    let Signature::Refused(why) = signature else { return Ok(()) };
    let message = format!("commit {} of the layer `{name}` is not signed as it has to be", git.commit);
    let help = format!("run `kbuild lock`; if {LOCK} was changed by hand, take it from version control again");
    Err(Error::new(Kind::Mismatch, message).because(why).help(help))
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
