//! Everything before BitBake starts: sources are verified, layers checked out, the view and the configuration written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::channel::CacheAccess;
use super::inside::{self, SCRATCH};
use super::layers::{From, LayerChanges, Layers, below_project, build_directory};
use super::needed::{Asked, NeededSources, needed};
use super::result::{self, BuildInputs, EngineRecord};
use super::seal::{self, Seal};
use super::shared_state;
use super::unlocked::GivenSources;
use super::workspace::Workspace;
use crate::bitbake::discovery::DIRECTORY;
use crate::bitbake::{BoardConf, Declared, Engine, SrcrevPin, conf, engine, text};
use crate::disk::{self, FileLock};
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::{self, Lock, Locked};
use crate::manifest::local::LocalConfig;
use crate::manifest::{Board, CacheSettings, EnvValue, Manifest, Selection};
use crate::progress::Progress;
use crate::source::SourceId;
use crate::store::{Store, view};

/// A build to prepare: manifest, lock, store, board and options.
#[derive(Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The manifest; `build/` is beside it.
    pub manifest: &'a Manifest,
    /// The lock, fresh.
    pub lock: &'a Lock,
    /// The store that has the lock's sources.
    pub store: &'a Store,
    /// The board's name.
    pub board: &'a str,
    /// What is built, as far as it decides which sources have to be there.
    pub asked: Asked<'a>,
    /// The board's options, each with its value.
    pub selection: &'a Selection,
    /// The kbuild program, which becomes the sealed process: [`seal::this_program`] for kbuild itself.
    pub kbuild: &'a Path,
    /// Whether a seal that lacks a wall is an error.
    pub require_seal: bool,
    /// How the layers may differ from the lock.
    pub changes: &'a LayerChanges,
    /// `[cache]` of project and site; `None`: nothing that was made before is used.
    pub cache: Option<&'a CacheSettings>,
    /// At most so many transfers from caches at once.
    pub jobs: usize,
    /// Told what goes on, and warned of what is left out.
    pub progress: &'a dyn Progress,
}

/// One of a board's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildDir {
    /// `build/<board>`, which keeps its work from build to build.
    Build,
    /// `build/<board>.check`, emptied first.
    Check,
    /// `build/<board>.deep`, emptied first.
    Deep,
}

/// A board, ready for BitBake. No other process can build in its directory while this value exists.
#[derive(Debug)]
pub struct Prepared {
    pub(super) targets: Vec<String>,
    pub(super) topdir: PathBuf,
    pub(super) engine: Engine,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) seal: Seal,
    pub(super) inputs: BuildInputs,
    pub(super) kbuild: PathBuf,
    pub(super) cache: CacheAccess,
    /// The sources that BitBake finds in the view.
    pub(super) given: GivenSources,
    /// The project's directory, without symbolic links.
    root: PathBuf,
    _lock: FileLock,
}

impl BuildDir {
    /// The directory, absolute and without symbolic links: BitBake compares paths as text.
    ///
    /// # Errors
    /// When the project's directory cannot be found.
    pub fn topdir(self, request: &BuildRequest<'_>) -> Result<PathBuf> {
        Ok(build_directory(request.manifest)?.join(self.name(request.board)))
    }

    pub(super) fn name(self, board: &str) -> String {
        match self {
            BuildDir::Build => board.to_owned(),
            BuildDir::Check => format!("{board}.check"),
            BuildDir::Deep => format!("{board}.deep"),
        }
    }
}

impl Prepared {
    /// TOPDIR.
    pub fn topdir(&self) -> &Path {
        &self.topdir
    }

    /// Whether the kernel seals this build, or why not.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where the machine's artifacts are written.
    pub fn deploy(&self) -> PathBuf {
        deploy(&self.topdir, &self.inputs.machine)
    }

    /// The log of BitBake's last run (`bb.ui.knotty`: a link in the directory of BB_CONSOLELOG); `None` where it ended
    /// before it knew where to write one, or the distribution keeps it elsewhere.
    pub fn log(&self) -> Option<PathBuf> {
        Some(self.logs().join("console-latest.log")).filter(|log| log.exists())
    }

    /// Where the hashes of artifacts are remembered: beside TOPDIR, in a place that no recipe can write.
    pub(super) fn artifacts_record(&self) -> PathBuf {
        beside(&self.topdir, "artifacts")
    }

    /// What went in, with the recipes that BitBake took from a folder (`EXTERNALSRC`).
    pub(super) fn inputs_with(&self, external: BTreeMap<String, PathBuf>) -> BuildInputs {
        let mut inputs = self.inputs.clone();
        for (recipe, folder) in external {
            let folder = folder.strip_prefix(&self.root).unwrap_or(&folder).display().to_string();
            inputs.not_from_the_lock.push(format!("not from the lock: the recipe `{recipe}`, from {folder}"));
        }
        inputs
    }

    fn logs(&self) -> PathBuf {
        self.topdir.join(conf::TMPDIR).join(conf::console_logs(&self.inputs.machine))
    }

    /// Removes the log of the run before, which BitBake would append to, or which would be taken for that of this run.
    pub(super) fn forget_log(&self) -> Result<()> {
        // Only there: a recipe may have put a link in its way.
        let Ok(logs) = std::fs::canonicalize(self.logs()) else { return Ok(()) };
        if !logs.starts_with(&self.topdir) {
            return Ok(());
        }
        disk::remove_file(&logs.join("console-latest.log"))?;
        disk::remove_file(&logs.join(conf::CONSOLE_LOG))
    }
}

/// DEPLOY_DIR_IMAGE as oe-core has it.
pub(super) fn deploy(topdir: &Path, machine: &str) -> PathBuf {
    topdir.join(conf::TMPDIR).join("deploy/images").join(machine)
}

/// Prepares a board: waits for other builds of it, verifies every source in the store, checks out layers, makes the
/// view, writes the configuration (only files that change: BitBake reparses everything when one does), tries the seal.
///
/// # Errors
/// Sources that are not in the store (kind `Missing`) or not what the lock says (`Mismatch`), before BitBake sees any;
/// a lock that lacks something the manifest declares (`Stale`); a configuration BitBake cannot be given (`Input`).
pub fn prepare(request: &BuildRequest<'_>, place: BuildDir) -> Result<Prepared> {
    let mut board_dir = BoardDir::take(request, place)?;
    // The proof of a lock is about the lock alone.
    if place != BuildDir::Deep {
        board_dir.workspace = Workspace::of(&BuildDir::Build.topdir(request)?)?;
    }
    let settings = request.manifest.settings_of(request.board, request.selection, &this_machine())?;
    let needed = needed(request, &settings, &board_dir.topdir)?;
    let sources = verified_sources(request, &settings, &needed)?;
    let layers = Layers::lay_out(&from(request), &board_dir.board, &board_dir.build)?;
    let (directory, record) = (board_dir.topdir.join(conf::VIEW), board_dir.view_record());
    view::lay_out(request.store, request.lock, &sources, &directory, &record)?;
    board_dir.given = GivenSources::of(request.lock, &sources, &layers);
    let pins = pins(request.lock, request.board, &settings)?;
    let variant = ConfVariant {
        pins: &pins,
        build_arch: None,
        uninative: has_uninative(&sources),
        caller: place != BuildDir::Deep,
    };
    let settings = request.cache.filter(|_| place == BuildDir::Build);
    let stores = request.store.layers().map(Store::root);
    let shared = shared_state::lay_out(&board_dir.topdir, &board_dir.build, settings, stores)?;
    let cache = settings.map(|settings| access(settings, request.jobs)).unwrap_or_default();
    Ok(Prepared { cache, ..board_dir.finish(request, &layers, &variant, shared.as_deref())? })
}

/// As [`prepare`], for asking what the board fetches: there are no sources yet, so the view is left as it is or stays
/// empty, and no commit of a recipe is pinned. For a build host of this architecture (`uname -m`).
///
/// # Errors
/// As [`prepare`], of layers and engine alone.
pub(super) fn prepare_discovery(request: &BuildRequest<'_>, host: &str) -> Result<Prepared> {
    let board_dir = BoardDir::take(request, BuildDir::Build)?;
    let layers = Layers::lay_out(&from(request), &board_dir.board, &board_dir.build)?;
    for part in ["flat", "git2", "dl"] {
        disk::create_plain_dir(&board_dir.topdir.join(conf::VIEW).join(part))?;
    }
    // uninative stays: the lock will have it, and then the build has the same configuration and the same parse cache.
    let build_arch = Some(host).filter(|host| *host != this_machine());
    let variant = ConfVariant { pins: &[], build_arch, uninative: true, caller: false };
    shared_state::lay_out_unused(&board_dir.topdir)?;
    board_dir.finish(request, &layers, &variant, None)
}

/// A board's directory, with its lock held.
struct BoardDir {
    board: Board,
    build: PathBuf,
    topdir: PathBuf,
    /// devtool's, where it belongs to the build.
    workspace: Option<Workspace>,
    given: GivenSources,
    lock: FileLock,
}

/// The differences between the configuration of a build and that of a discovery.
pub(super) struct ConfVariant<'a> {
    pub(super) pins: &'a [SrcrevPin<'a>],
    pub(super) build_arch: Option<&'a str>,
    pub(super) uninative: bool,
    /// Whether what the manifest forwards is taken from kbuild's caller. A lock must not depend on who makes it.
    pub(super) caller: bool,
}

impl BoardDir {
    fn take(request: &BuildRequest<'_>, place: BuildDir) -> Result<BoardDir> {
        let board = request.manifest.configured(request.board, request.selection)?;
        let build = build_directory(request.manifest)?;
        text::check_path(&build)?;
        disk::create_dir_all(&build)?;
        let topdir = place.topdir(request)?;
        let lock = lock_board(request, place, &build)?;
        if place != BuildDir::Build {
            disk::remove_dir_all(&topdir)?;
        }
        // Files of an earlier build in its home must not change this one.
        disk::remove_dir_all(&topdir.join("home"))?;
        disk::create_dir_all(&topdir)?;
        // Builds write in `topdir`: whatever they put there, kbuild itself writes in directories of its own.
        let own = ["conf", "classes", "home", DIRECTORY, SCRATCH, conf::OPTIONS, conf::VALUES, conf::VIEW];
        for directory in own {
            disk::create_plain_dir(&topdir.join(directory))?;
        }
        let written = ["conf", "classes", conf::OPTIONS].map(|name| topdir.join(name));
        [&build, &topdir].into_iter().chain(&written).for_each(|directory| disk::sweep(directory));
        Ok(BoardDir { board, build, topdir, workspace: None, given: GivenSources::default(), lock })
    }

    /// The record of the view, in a place that no recipe can write.
    fn view_record(&self) -> PathBuf {
        beside(&self.topdir, "view")
    }

    fn finish(
        self,
        request: &BuildRequest<'_>,
        layers: &Layers,
        variant: &ConfVariant<'_>,
        shared_state: Option<&Path>,
    ) -> Result<Prepared> {
        let engine = Engine::find(&layers.engine.directory)?;
        self.write_configuration(request, layers, variant)?;
        let own = environment_of(&self.board, variant.caller);
        let environment = engine.environment(&self.topdir, layers.tops(), own, |name| std::env::var_os(name))?;
        let mut reachable =
            inside::of_board(&self.board, request.manifest.root(), &self.topdir, layers, request.store, &environment)?;
        if let Some(shared) = shared_state {
            reachable.write(shared).map_err(|error| Error::io("find", shared, error))?;
        }
        for directory in self.workspace.iter().flat_map(|workspace| workspace.outside(&self.topdir)) {
            check_source_tree(request, directory)?;
            reachable.write(directory).map_err(|error| Error::io("find", directory, error))?;
        }
        let seal = seal::probe(request.kbuild, &reachable)?;
        judge(&seal, request)?;
        let mut inputs = inputs(request, &self.board, layers, &engine, &seal);
        if let Some(Workspace { layer, .. }) = &self.workspace {
            let layer = below_project(request.manifest, layer);
            inputs.not_from_the_lock.push(format!("not from the lock: the layer `workspace`, from {layer}"));
        }
        Ok(Prepared {
            targets: self.board.parts.targets,
            topdir: self.topdir,
            engine,
            environment,
            seal,
            inputs,
            kbuild: request.kbuild.to_owned(),
            cache: CacheAccess::default(),
            given: self.given,
            root: self.build.parent().unwrap_or(Path::new("/")).to_owned(),
            _lock: self.lock,
        })
    }
}

/// The variables of a board's `env`; those that are forwarded as the caller has them, or at their defaults.
fn environment_of(board: &Board, caller: bool) -> BTreeMap<String, OsString> {
    let value = |name: &str, value: &EnvValue| match value {
        EnvValue::Set(text) => Some(text.into()),
        EnvValue::Forwarded { default } => {
            let given = std::env::var_os(name).filter(|_| caller);
            given.or_else(|| default.as_ref().map(OsString::from))
        }
    };
    board.parts.env.iter().filter_map(|(name, of)| Some((name.clone(), value(name, of)?))).collect()
}

/// What a build has of `[cache]` while it runs.
fn access(settings: &CacheSettings, jobs: usize) -> CacheAccess {
    let servers = [settings.hashserve.clone(), settings.prserve.clone()];
    CacheAccess { pull: settings.pull.clone(), servers, jobs }
}

/// What is beside a board's directory, called after it: no recipe can write there.
pub(super) fn beside(topdir: &Path, what: &str) -> PathBuf {
    let mut name = topdir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    topdir.with_file_name(name)
}

/// Warns of walls that do not stand, or refuses to go on without them.
fn judge(seal: &Seal, request: &BuildRequest<'_>) -> Result<()> {
    let Some(lack) = seal.lack() else { return Ok(()) };
    if request.require_seal {
        return Err(Error::input(format!("the build cannot be sealed: {lack}"))
            .help("`kbuild doctor` says what would help; without --require-seal it is a warning"));
    }
    request.progress.warn(&format!("the build is not sealed: {lack}; `kbuild doctor` says what would help"));
    Ok(())
}

/// This machine's architecture, as `uname -m` and BUILD_ARCH have it.
pub fn this_machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// The commits that the lock has for recipes that name none, in the default's closure and in those of these settings.
fn pins<'a>(lock: &'a Lock, board: &str, settings: &[String]) -> Result<Vec<SrcrevPin<'a>>> {
    let pins = lock.pins(board, settings).into_iter().map(|(pinned, commit)| {
        let (variable, recipe) = lock::pin_parts(pinned).ok_or_else(|| {
            Error::input(format!("{LOCK} pins `{pinned}`, which names no recipe")).help("run `kbuild lock`")
        })?;
        Ok(SrcrevPin { variable, recipe, commit })
    });
    pins.collect()
}

/// Refuses a workspace that leads out of the board's directory to where no person said: a task can write a workspace, and
/// would then write anywhere in the next build.
fn check_source_tree(request: &BuildRequest<'_>, directory: &Path) -> Result<()> {
    let found = std::fs::canonicalize(directory).map_err(|error| Error::io("find", directory, error))?;
    if request.changes.source_trees.iter().any(|tree| found.starts_with(tree)) {
        return Ok(());
    }
    let local = LocalConfig::path_beside(&request.manifest.path);
    Err(Error::input(format!(
        "devtool's workspace of the board `{}` leads to {}, which builds cannot reach",
        request.board,
        found.display()
    ))
    .help(format!(
        "if it is yours, write `source-trees = [\"{}\"]` into {}; if not, remove the workspace",
        found.display(),
        disk::shown(&local)
    )))
}

/// Where a request's layers come from.
fn from<'a>(request: &BuildRequest<'a>) -> From<'a> {
    let BuildRequest { manifest, lock, store, changes, progress, .. } = *request;
    From { manifest, lock, store, changes, progress }
}

fn lock_board(request: &BuildRequest<'_>, place: BuildDir, build: &Path) -> Result<FileLock> {
    let name = place.name(request.board);
    FileLock::exclusive(&build.join(format!("{name}.lock")), || {
        request.progress.warn(&format!("another kbuild is building in build/{name}; waiting for it"));
    })
}

/// The board's sources that the store has, compared with the lock: every byte of what was touched since that was last
/// done. An incomplete source (the lock knows only a declared hash or a commit) may be missing: BitBake says so if a
/// task wants it.
fn verified_sources(request: &BuildRequest<'_>, settings: &[String], needed: &NeededSources) -> Result<Vec<SourceId>> {
    let ids = present_sources(request, settings, needed)?;
    let task = request.progress.begin("verify sources", None);
    let name = |id: &SourceId, error: Error| match error.kind() {
        Kind::Mismatch => error.wrap(format!("the store's {id} is not what {LOCK} says")),
        _ => error,
    };
    let bad = request.store.verify_touched(request.lock, &ids, || request.progress.check_interrupted()).into_iter();
    let mut bad = bad.map(|(id, error)| name(id, error));
    if let Some(first) = bad.next() {
        request.progress.check_interrupted()?;
        return Err(first.with_related(bad));
    }
    drop(bad);
    task.done(&format!("{} sources", ids.len()));
    Ok(ids)
}

/// One warning, however many they are: a page of warnings hides all others.
fn warn_of_absent(ids: &[SourceId], what: &str, help: &str, progress: &dyn Progress) {
    match ids {
        [] => {}
        [id] => progress.warn(&format!("{id} is {what}: tasks that need it will fail; {help}")),
        [first, second, ..] => progress.warn(&format!(
            "{} sources are {what}, {first} and {second} among them: tasks that need them will fail; {help}",
            ids.len()
        )),
    }
}

/// The closure without sources that are missing and incomplete or not required, and without those with such a submodule.
fn present_sources(request: &BuildRequest<'_>, settings: &[String], needed: &NeededSources) -> Result<Vec<SourceId>> {
    let mut ids = request.lock.closure_with(request.board, settings)?;
    let mut absent: BTreeSet<String> = BTreeSet::new();
    let (mut incomplete, mut perhaps) = (Vec::new(), Vec::new());
    loop {
        let mut found = Vec::new();
        for id in &ids {
            let locked = request.lock.get(id)?;
            let without = match locked {
                Locked::Git(_, git) => {
                    git.submodules.values().chain(git.lfs.values()).any(|child| absent.contains(child))
                }
                Locked::File(..) => false,
            };
            let may_be_absent = !locked.is_complete() || !needed.required.contains(id);
            if without || (may_be_absent && !request.store.has(locked)) {
                found.push(id.clone());
            }
        }
        if found.is_empty() {
            warn_of_absent(
                &incomplete,
                "incomplete in the lock and not in the store",
                "`kbuild list --incomplete` names what is",
                request.progress,
            );
            let fetch = format!("`kbuild fetch --board {}` fetches what is missing", request.board);
            warn_of_absent(&perhaps, "not in the store", &fetch, request.progress);
            return Ok(ids);
        }
        for id in found {
            ids.retain(|other| *other != id);
            absent.insert(id.key().to_owned());
            if needed.required.contains(&id) {
                incomplete.push(id);
            } else if needed.perhaps.contains(&id) {
                perhaps.push(id);
            }
        }
    }
}

impl BoardDir {
    fn write_configuration(
        &self,
        request: &BuildRequest<'_>,
        layers: &Layers,
        variant: &ConfVariant<'_>,
    ) -> Result<()> {
        let workspace = self.workspace.iter().map(|workspace| workspace.layer.clone());
        let bblayers: Vec<PathBuf> = layers.bblayers.iter().cloned().chain(workspace).collect();
        let ([bblayers, local, kbuild], manifest, values) =
            with_conf(request, &self.board, &bblayers, variant, |conf| {
                Ok(([conf.bblayers()?, conf.local(), conf.kbuild()?], conf.manifest_file(), conf.values()?))
            })?;
        let written = WrittenConf { topdir: &self.topdir, record: beside(&self.topdir, "conf") };
        let files = [("bblayers.conf", &bblayers), ("local.conf", &local), ("kbuild.conf", &kbuild)];
        written.write(&files, request.progress)?;
        match &manifest {
            Some(text) => drop(disk::replace_if_changed(&self.topdir.join(conf::MANIFEST_CONF), text.as_bytes())?),
            None => disk::remove_file(&self.topdir.join(conf::MANIFEST_CONF))?,
        }
        disk::replace_if_changed(&self.topdir.join(conf::CLASS_FILE), conf::CLASS.as_bytes())?;
        disk::replace_if_changed(&self.topdir.join(conf::DEFAULT_FILE), BoardConf::default_file().as_bytes())?;
        disk::replace_if_changed(&self.topdir.join("home/.gitconfig"), engine::GITCONFIG.as_bytes())?;
        write_values(&values, &self.topdir.join(conf::VALUES))?;
        write_options(&request.selection.overrides, &self.topdir.join(conf::OPTIONS))
    }
}

/// The files of `conf/` that kbuild writes, and what it wrote there last.
struct WrittenConf<'a> {
    topdir: &'a Path,
    /// A line for each file: its hash and its name.
    record: PathBuf,
}

impl WrittenConf<'_> {
    /// Writes the files that changed. What a person wrote into one of them since is kept beside it, and said.
    fn write(&self, files: &[(&str, &String)], progress: &dyn Progress) -> Result<()> {
        let known = std::fs::read_to_string(&self.record).unwrap_or_default();
        let mut record = String::new();
        for (name, text) in files {
            let path = self.topdir.join("conf").join(name);
            let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
            let present = if is_file { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
            let own = known.lines().any(|line| line == self.line(name, &present));
            if !known.is_empty() && !own && !present.is_empty() && !same_words(&present, text) {
                let kept = path.with_extension("conf.edited");
                disk::replace(&kept, present.as_bytes())?;
                progress.warn(&format!(
                    "somebody edited {}, which kbuild writes: the edit is kept in {}, and not used; what belongs to the \
                     build is said in {MANIFEST}",
                    disk::shown(&path),
                    disk::shown(&kept)
                ));
            }
            disk::replace_if_changed(&path, text.as_bytes())?;
            record.push_str(&self.line(name, text));
            record.push('\n');
        }
        disk::replace_if_changed(&self.record, record.as_bytes()).map(drop)
    }

    fn line(&self, name: &str, text: &str) -> String {
        format!("{} {name}", blake3::hash(text.as_bytes()).to_hex())
    }
}

/// Whether two texts differ in their layout alone: devtool writes its workspace into bblayers.conf, as kbuild does.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let words = text.split(|c: char| c.is_whitespace() || c == '"' || c == '\\').filter(|word| !word.is_empty());
        words.map(|word| word.trim_end_matches('/').to_owned()).collect::<BTreeSet<String>>()
    };
    words(one) == words(other)
}

/// One file for each value, called by its hash, and no other: BitBake sees by its times that a file is there or not, and
/// nothing of what is in it.
fn write_values(values: &BTreeMap<String, String>, directory: &Path) -> Result<()> {
    for kind in ["sources", "pins"] {
        let within = directory.join(kind);
        disk::create_plain_dir(&within)?;
        for name in names_in(&within)? {
            if !values.contains_key(&format!("{kind}/{name}")) {
                disk::remove_dir_all(&within.join(name))?;
            }
        }
    }
    for (name, hash) in values {
        let within = directory.join(name);
        disk::create_plain_dir(&within)?;
        for other in names_in(&within)?.into_iter().filter(|other| other != hash) {
            disk::remove_file(&within.join(other))?;
        }
        disk::replace_if_changed(&within.join(hash), b"")?;
    }
    Ok(())
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| Error::io("list", directory, error))?;
    Ok(entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// One file for each chosen word, and no other.
fn write_options(words: &[String], directory: &Path) -> Result<()> {
    for name in names_in(directory)? {
        if !words.contains(&name) {
            disk::remove_file(&directory.join(name))?;
        }
    }
    words.iter().try_for_each(|word| disk::replace_if_changed(&directory.join(word), b"").map(drop))
}

/// Calls a function with a board's configuration.
pub(super) fn with_conf<T>(
    request: &BuildRequest<'_>,
    board: &Board,
    layers: &[PathBuf],
    variant: &ConfVariant<'_>,
    make: impl FnOnce(&BoardConf<'_>) -> Result<T>,
) -> Result<T> {
    let declared = request.manifest.sources_of(request.board);
    let declared = declared.map(|(name, source)| Declared::from_lock(name, source, request.lock));
    let declared: Vec<Declared<'_>> = declared.collect::<Result<_>>()?;
    make(&BoardConf {
        project: &request.manifest.project,
        board: request.board,
        machine: &board.machine,
        layers,
        config: &board.parts.config,
        conf: &board.parts.conf,
        words: &request.selection.overrides,
        vocabulary: &request.manifest.words_of(request.board),
        sources: &declared,
        pins: variant.pins,
        mask: &request.manifest.closure.mask,
        build_arch: variant.build_arch,
        uninative: variant.uninative,
    })
}

/// Whether the view holds uninative for this host (`UNINATIVE_TARBALL` of oe-core's uninative.bbclass).
fn has_uninative(sources: &[SourceId]) -> bool {
    let prefix = format!("{}-nativesdk-libc-", this_machine());
    sources.iter().any(|id| matches!(id, SourceId::File(name) if name.starts_with(&prefix)))
}

/// The names of what was taken from the caller's environment. Their values may be secrets.
fn forwarded(board: &Board) -> Vec<String> {
    let is_given =
        |name: &str, value: &EnvValue| matches!(value, EnvValue::Forwarded { .. }) && std::env::var_os(name).is_some();
    let given = board.parts.env.iter().filter(|(name, value)| is_given(name, value));
    given.map(|(name, _)| name.clone()).collect()
}

fn inputs(request: &BuildRequest<'_>, board: &Board, layers: &Layers, engine: &Engine, seal: &Seal) -> BuildInputs {
    BuildInputs {
        project: request.manifest.project.clone(),
        board: request.board.to_owned(),
        machine: board.machine.clone(),
        options: request.selection.values.clone(),
        fragments: board.fragments.clone(),
        forwarded: forwarded(board),
        lock: result::lock_hash(request.lock, request.manifest, request.board),
        engine: EngineRecord { layer: layers.engine.record.clone(), version: engine.version().to_owned() },
        layers: layers.board.iter().map(|layer| layer.record.clone()).collect(),
        sealed: seal.is_whole(),
        walls: seal.walls().clone(),
        not_sealed_because: seal.lack(),
        not_from_the_lock: layers.not_from_the_lock(),
        mounts: board.mounts.clone(),
        // Asked while BitBake runs.
        host_tools: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uninative_is_of_this_architecture_or_not_at_all() {
        let arch = this_machine();
        let file = |name: String| [SourceId::File(name)];
        assert!(has_uninative(&file(format!("{arch}-nativesdk-libc-5.1.tar.xz"))));
        assert!(!has_uninative(&file("z80-nativesdk-libc-5.1.tar.xz".to_owned())));
        assert!(!has_uninative(&[]));
    }
}
