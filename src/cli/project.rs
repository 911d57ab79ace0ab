//! The project a command works on: manifest, site configuration, store and lock, found by flags and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::global::GlobalArgs;
use super::output::Output;
use super::runtime;
use crate::bitbake::metadata;
use crate::builder::layers;
use crate::disk;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::fetch::{FetchSettings, Fetcher, Registries};
use crate::files::{self, LOCK, MANIFEST};
use crate::lock::{FolderState, Lock};
use crate::manifest::{self, CacheSettings, ClosureScope, LayerOrigin, Manifest, Mirrors, SiteConfig};
use crate::resolve::{self, UpdatePolicy};
use crate::source::SourceId;
use crate::store::{ExclusiveStore, Store};

/// The project a command works on.
pub(super) struct Project {
    pub(super) manifest: Manifest,
    pub(super) lock_path: PathBuf,
    /// `--require-seal`.
    pub(super) require_seal: bool,
    /// `[cache]` of site and project; without a network, what is left of it.
    pub(super) cache: CacheSettings,
    stores: Stores,
    mirrors: Mirrors,
    registries: Registries,
}

impl Project {
    /// Reads manifest and site configuration.
    ///
    /// # Errors
    /// One of them is wrong, or was named and is missing.
    pub(super) fn open(global: &GlobalArgs) -> Result<Project> {
        let manifest_path = manifest_path(global)?;
        files::remember(&manifest_path);
        Project::of(read_manifest(&manifest_path)?, global)
    }

    /// The same for a command that locks: files of layers that the manifest includes are looked for as pins are, and need not be
    /// in the lock yet.
    ///
    /// # Errors
    /// Those of [`Project::open`]; an included file that cannot be had.
    pub(super) fn open_to_lock(global: &GlobalArgs, output: &Output, update: &UpdatePolicy) -> Result<Project> {
        let manifest_path = manifest_path(global)?;
        files::remember(&manifest_path);
        let foundation = match Manifest::foundation(&manifest_path) {
            Ok(foundation) if foundation.includes.is_empty() => return Project::open(global),
            Ok(foundation) => foundation,
            // All faults of the file are told at once, where it can be read as a whole.
            Err(part) => {
                return match Project::open(global) {
                    Err(all) if all.kind() != Kind::Stale => Err(all),
                    _ => Err(part),
                };
            }
        };
        let early = Project::of(foundation.manifest.clone(), global)?;
        let old = Lock::read_merging(&early.lock_path)?.unwrap_or_default();
        let fetcher = early.fetcher(global, output)?;
        let texts = runtime::wait(resolve::included(&foundation, &old, &fetcher, update))?;
        Project::of(Manifest::read_with(&manifest_path, &texts)?, global)
    }

    fn of(manifest: Manifest, global: &GlobalArgs) -> Result<Project> {
        let site = site(global)?;
        // Not clap's delimiter, which would also split a flag's value: the path of a directory may contain a space.
        let variable = std::env::var(env_vars::KBUILD_MIRROR).unwrap_or_default();
        let flags = match global.mirrors.as_slice() {
            [] => Mirrors::from_arguments(variable.split_whitespace()),
            mirrors => Mirrors::from_arguments(mirrors.iter().map(String::as_str)),
        };
        let flags = flags.map_err(|error| error.of_kind(Kind::Usage))?;
        let mirrors = flags.then(site.mirrors).then(manifest.mirrors.clone());
        let store = global.store.clone().or(site.store).unwrap_or_else(|| manifest.root().join("mirrors/store"));
        let stores = Stores::new(global, store, site.lower);
        let lock_path = files::lock_beside(&manifest.path);
        let registries =
            Registries { entries: manifest.registries.clone().into_iter().chain(site.registries).collect() };
        let require_seal = global.require_seal;
        let cache = site.cache.then(manifest.cache.clone());
        let cache = if global.offline() { cache.offline() } else { cache };
        Ok(Project { cache, manifest, lock_path, require_seal, stores, mirrors, registries })
    }

    /// Opens the store, which records that this project uses it.
    ///
    /// # Errors
    /// The directory, or a lower one, is not a store.
    pub(super) fn store(&self) -> Result<Store> {
        let store = self.stores.open()?;
        store.register(&self.registered_lock())?;
        Ok(store)
    }

    /// The lock's path as the store records it: the same, however the project was reached.
    fn registered_lock(&self) -> PathBuf {
        let root = self.manifest.root();
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        root.join(self.lock_path.file_name().unwrap_or_default())
    }

    /// The text of the lock, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn lock_text(&self) -> Result<Option<Vec<u8>>> {
        match std::fs::read(&self.lock_path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &self.lock_path, error)),
        }
    }

    /// The text of kbuild.toml.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub(super) fn manifest_text(&self) -> Result<Vec<u8>> {
        let path = &self.manifest.path;
        std::fs::read(path).map_err(|error| Error::io("read", path, error))
    }

    /// The store, opened for reading; `None` if there is none yet.
    ///
    /// # Errors
    /// The store has a newer format, or a lower store is not a store.
    pub(super) fn present_store(&self) -> Result<Option<Store>> {
        let Stores { upper, lower } = &self.stores;
        // If there are only lower stores, the first of them is used as the store.
        match lower.split_first() {
            _ if upper.join("format").exists() => Store::open_existing(upper)?.over(lower).map(Some),
            Some((first, rest)) => Store::open_existing(first)?.over(rest).map(Some),
            None => Ok(None),
        }
    }

    /// Where the store is, or would be made.
    pub(super) fn store_path(&self) -> &Path {
        &self.stores.upper
    }

    /// A fetcher into the project's store.
    ///
    /// # Errors
    /// A store or mirror that cannot be used.
    pub(super) fn fetcher(&self, global: &GlobalArgs, output: &Output) -> Result<Fetcher> {
        self.fetcher_as(self.settings_of_fetcher(global), output)
    }

    /// A fetcher into the project's store that asks only this other store.
    ///
    /// # Errors
    /// A store that cannot be used.
    pub(super) fn fetcher_from(&self, mirrors: Mirrors, global: &GlobalArgs, output: &Output) -> Result<Fetcher> {
        let settings = FetchSettings { mirrors, upstreams: false, ..self.settings_of_fetcher(global) };
        self.fetcher_as(settings, output)
    }

    fn settings_of_fetcher(&self, global: &GlobalArgs) -> FetchSettings {
        FetchSettings {
            mirrors: self.mirrors.clone(),
            registries: self.registries.clone(),
            jobs: usize::from(global.jobs),
            offline: global.offline(),
            upstreams: true,
        }
    }

    fn fetcher_as(&self, settings: FetchSettings, output: &Output) -> Result<Fetcher> {
        Fetcher::new(self.store()?, settings, Arc::clone(&output.progress))
    }

    /// The lock, for commands that only read it. A lock that does not match kbuild.toml any more can still be fetched by: it
    /// gives a warning, and an error with `--locked`.
    ///
    /// # Errors
    /// There is no lock, or (with `--locked`) it is stale.
    pub(super) fn lock(&self, global: &GlobalArgs, output: &Output) -> Result<Lock> {
        let lock = self.present_lock()?;
        if global.locked() {
            resolve::check_fresh(&self.manifest, &lock, &self.folders()?)?;
        } else if let [first, ..] = resolve::stale(&self.manifest, &lock).as_slice() {
            output.warn(&format!("{LOCK} does not match {MANIFEST} any more ({first}); run `kbuild lock`"));
        }
        Ok(lock)
    }

    /// The sources of some boards, or of all where none is named.
    ///
    /// # Errors
    /// A board does not exist, or the lock does not know it.
    pub(super) fn sources(&self, lock: &Lock, boards: &[String]) -> Result<Vec<SourceId>> {
        for board in boards {
            self.manifest.board(board)?;
        }
        if boards.is_empty() { Ok(lock.all_sources()) } else { lock.closure(boards.iter().map(String::as_str)) }
    }

    /// The names of the choices (as in the lock's `with`) that a build of a board with these options uses, on this build
    /// host: by default the first that kbuild.toml names.
    ///
    /// # Errors
    /// A board, option or host does not exist, or options contradict each other.
    pub(super) fn settings(&self, board: &str, set: &[String], host: Option<&str>) -> Result<Vec<String>> {
        let selection = self.manifest.select(board, set)?;
        let hosts = &self.manifest.closure.hosts;
        let host = host.or(hosts.first().map(String::as_str)).unwrap_or_default();
        if !hosts.iter().any(|known| known == host) {
            return Err(Error::input(format!("{MANIFEST} names no build host `{}`", host.escape_debug()))
                .help(format!("[closure] hosts: {}", hosts.join(", "))));
        }
        self.manifest.settings_of(board, &selection, host)
    }

    /// What the lock does not have of a board's closure, a sentence each; `settings` are the choices that matter.
    ///
    /// # Errors
    /// The board does not exist, or the lock does not know it.
    pub(super) fn unlocked(&self, lock: &Lock, board: &str, settings: &[String]) -> Result<Vec<String>> {
        let locked = lock.board(board)?;
        if self.manifest.closure.lock == ClosureScope::None {
            return Ok(vec!["only layers and declared sources are locked ([closure] lock = \"none\")".to_owned()]);
        }
        if locked.closure.is_none() {
            return Ok(vec![format!("the closure of board `{board}` is not locked: run `kbuild lock`")]);
        }
        let variants = self.manifest.variants(board)?;
        let missing = settings.iter().filter(|setting| !locked.with.contains_key(*setting));
        let why = |setting: &String| match self.manifest.closure.lock {
            // A choice that changes no word of OVERRIDES has the same closure as the default.
            _ if variants.iter().any(|variant| variant.name == *setting) => Some("run `kbuild lock`"),
            _ if manifest::is_of_fragment(setting) => Some("name the fragment in `[closure] with`"),
            ClosureScope::Defaults => Some("[closure] lock = \"defaults\" locks only the default choices"),
            _ => None,
        };
        let words = |setting| {
            why(setting).map(|why| format!("the closure of board `{board}` with {setting} is not locked: {why}"))
        };
        Ok(missing.filter_map(words).collect())
    }

    /// The lock, for a build: it must match kbuild.toml. An edited folder of the project gives only a warning: most edits
    /// change nothing that is fetched, and if one does, BitBake fails with a message. With `--locked` it is an error.
    ///
    /// # Errors
    /// There is no lock, or it is stale.
    pub(super) fn fresh_lock(&self, global: &GlobalArgs, output: &Output) -> Result<Lock> {
        let lock = self.present_lock()?;
        let folders = self.folders()?;
        let edited = resolve::edited_folders(&lock, &folders);
        if global.locked() || edited.is_empty() {
            resolve::check_fresh(&self.manifest, &lock, &folders)?;
        } else {
            resolve::check_fresh(&self.manifest, &lock, &BTreeMap::new())?;
            let edited: Vec<String> = edited
                .into_iter()
                .map(|(name, what)| if what.is_empty() { name } else { format!("{name} ({what})") })
                .collect();
            output.warn(&format!(
                "edited since its sources were locked: {}; if what recipes fetch changed, run `kbuild lock`",
                edited.join(", ")
            ));
        }
        Ok(lock)
    }

    /// The layers that are folders of the project, as far as BitBake reads them.
    ///
    /// # Errors
    /// A folder does not exist.
    pub(super) fn folders(&self) -> Result<BTreeMap<String, FolderState>> {
        let mut folders = BTreeMap::new();
        for (name, layer) in &self.manifest.layers {
            if let LayerOrigin::Path(path) = &layer.origin {
                let directory = layers::local_directory(&self.manifest, name, path)?;
                let state = metadata::state_of(&directory, &self.own_directories());
                let state = state.map_err(|error| error.wrap(format!("could not read the layer `{name}`")))?;
                folders.insert(name.clone(), state);
            }
        }
        Ok(folders)
    }

    /// What kbuild itself writes into a project, which may be in a layer's folder: `path = "."`.
    fn own_directories(&self) -> [PathBuf; 2] {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        [real(self.manifest.root()).join("build"), real(self.store_path())]
    }

    fn present_lock(&self) -> Result<Lock> {
        Lock::read(&self.lock_path)?.ok_or_else(|| {
            Error::input(format!("there is no {}", disk::shown(&self.lock_path))).help("run `kbuild lock` first")
        })
    }
}

/// The stores of a command: one store, and those below it.
#[derive(Debug, Clone)]
struct Stores {
    upper: PathBuf,
    lower: Vec<PathBuf>,
}

impl Stores {
    /// The lower stores: those of the flags, else of the variable, else of the site configuration.
    fn new(global: &GlobalArgs, upper: PathBuf, site: Vec<PathBuf>) -> Stores {
        // Not clap's, since an empty variable names no store.
        let variable = std::env::var_os(env_vars::KBUILD_LOWER_STORE);
        let variable = variable.map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
        let named = if global.lower_stores.is_empty() { variable.unwrap_or(site) } else { global.lower_stores.clone() };
        let mut lower: Vec<PathBuf> = named.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
        // The machine that fills a site's shared store reads the same site configuration.
        if let Ok(own) = std::fs::canonicalize(&upper) {
            let count = lower.len();
            lower.retain(|path| std::fs::canonicalize(path).map_or(true, |path| path != own));
            if lower.len() < count {
                tracing::warn!("{} is the store itself, and not a lower one", upper.display());
            }
        }
        Stores { upper, lower }
    }

    /// Opens the stores; makes the upper one if it does not exist.
    fn open(&self) -> Result<Store> {
        Store::open(&self.upper)?.over(&self.lower)
    }
}

/// A store, with or without a project: for commands that need only the store.
pub(super) struct StoreContext {
    project: Option<Project>,
    stores: Stores,
}

impl StoreContext {
    /// The project's store; outside a project, the store that was named.
    ///
    /// # Errors
    /// There is no project, and no store was named.
    pub(super) fn find(global: &GlobalArgs) -> Result<StoreContext> {
        if is_there(global) {
            let project = Project::open(global)?;
            return Ok(StoreContext { stores: project.stores.clone(), project: Some(project) });
        }
        let site = site(global)?;
        let none =
            || Error::input("there is no project here, and no store was named").help("name one with `--store DIR`");
        let store = global.store.clone().or(site.store).ok_or_else(none)?;
        Ok(StoreContext { project: None, stores: Stores::new(global, store, site.lower) })
    }

    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// The directory is not a store.
    pub(super) fn store(&self) -> Result<Store> {
        self.project.as_ref().map_or_else(|| self.stores.open(), Project::store)
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// The directory is not a store, or does not exist.
    pub(super) fn existing_store(&self) -> Result<Store> {
        Store::open_existing(&self.stores.upper)?;
        self.store()
    }

    /// Opens an existing store, once no other process has it open. Calls `waiting` if one has.
    ///
    /// # Errors
    /// As [`StoreContext::existing_store`].
    pub(super) fn exclusive(&self, waiting: impl FnOnce()) -> Result<ExclusiveStore> {
        // Records the project, in case that it uses this store for the first time.
        drop(self.existing_store()?);
        ExclusiveStore::with(&self.stores.upper, waiting)?.over(&self.stores.lower)
    }

    /// Where the project's lock is, or would be.
    pub(super) fn lock_path(&self) -> Option<&Path> {
        self.project.as_ref().map(|project| project.lock_path.as_path())
    }

    /// The project's manifest.
    pub(super) fn manifest_path(&self) -> Option<&Path> {
        self.project.as_ref().map(|project| project.manifest.path.as_path())
    }

    /// The text of the project's lock, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn lock_text(&self) -> Result<Option<Vec<u8>>> {
        self.project.as_ref().map_or(Ok(None), Project::lock_text)
    }
}

/// Reads a manifest, with the texts that the lock beside it has of layers' files.
///
/// # Errors
/// Those of [`Manifest::read_with`].
pub(super) fn read_manifest(path: &Path) -> Result<Manifest> {
    match Manifest::read(path) {
        // A lock takes longer to read than most manifests, and most include no file of a layer.
        Err(error) if error.kind() == Kind::Stale => {
            let lock = Lock::read_merging(&files::lock_beside(path))?.unwrap_or_default();
            Manifest::read_with(path, &lock.includes)
        }
        read => read,
    }
}

/// Whether there is a project, or one was named: for commands that also work without.
pub(super) fn is_there(global: &GlobalArgs) -> bool {
    global.manifest_path.is_some() || manifest_path(global).is_ok()
}

fn manifest_path(global: &GlobalArgs) -> Result<PathBuf> {
    manifest_at(global.manifest_path.as_deref())
}

/// The manifest that was named, else that of the current directory or the nearest of its parents.
///
/// # Errors
/// There is none.
pub(super) fn manifest_at(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(path) if path.is_file() => Ok(path.to_owned()),
        Some(path) => Err(Error::input(format!("there is no manifest at {}", path.display()))
            .help("--manifest-path (or KBUILD_MANIFEST_PATH) must name one")),
        None => {
            let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
            Manifest::find(&here)
        }
    }
}

fn site(global: &GlobalArgs) -> Result<SiteConfig> {
    if let Some(path) = &global.config {
        return SiteConfig::read(path);
    }
    let user = std::env::var_os(env_vars::XDG_CONFIG_HOME)
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .map(|directory| directory.join("kbuild/config.toml"));
    let system = PathBuf::from("/etc/kbuild/config.toml");
    match user.into_iter().chain([system]).find(|path| path.is_file()) {
        Some(path) => SiteConfig::read(&path),
        None => Ok(SiteConfig::default()),
    }
}
