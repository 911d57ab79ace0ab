//! Flags that every command has, and what they come to together with the environment and the site configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use super::output::Output;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetcher, Settings};
use crate::lock::{self, Lock};
use crate::manifest::{Manifest, Mirrors, SiteConfig};
use crate::resolve;
use crate::store::Store;

/// Flags that every command has; each has a variable, `KBUILD_` and its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// The manifest; without it, kata.toml here or in the nearest parent directory.
    #[arg(long, global = true, value_name = "FILE", env = "KBUILD_MANIFEST_PATH", hide_env = true)]
    manifest_path: Option<PathBuf>,

    /// The store [default: mirrors/store beside the manifest]
    #[arg(long, global = true, value_name = "DIR", env = "KBUILD_STORE", hide_env = true)]
    store: Option<PathBuf>,

    /// Site configuration (store, mirrors) [default: $XDG_CONFIG_HOME/kbuild/config.toml, /etc/kbuild/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "KBUILD_CONFIG", hide_env = true)]
    config: Option<PathBuf>,

    /// A mirror to ask first: another store (directory or URL), or a rule REGEX=REPLACEMENT over URLs.
    #[arg(long = "mirror", global = true, value_name = "STORE|RULE", env = "KBUILD_MIRROR", hide_env = true)]
    #[arg(value_delimiter = ' ')]
    mirrors: Vec<String>,

    /// Use no network: only the store, and mirrors that are directories.
    #[arg(long, global = true, env = "KBUILD_OFFLINE", hide_env = true, value_parser = BoolishValueParser::new())]
    offline: bool,

    /// Fail with exit code 3 if kata.lock does not match kata.toml, instead of changing it.
    #[arg(long, global = true, env = "KBUILD_LOCKED", hide_env = true, value_parser = BoolishValueParser::new())]
    locked: bool,

    /// --locked and --offline together.
    #[arg(long, global = true, env = "KBUILD_FROZEN", hide_env = true, value_parser = BoolishValueParser::new())]
    frozen: bool,

    /// At most so many transfers at once.
    #[arg(long, short, global = true, value_name = "N", env = "KBUILD_JOBS", hide_env = true, default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// Say more (-v: what is decided, -vv: what is asked of servers).
    #[arg(long, short, global = true, action = clap::ArgAction::Count, env = "KBUILD_VERBOSE", hide_env = true)]
    pub(super) verbose: u8,

    /// Say nothing but errors.
    #[arg(long, short, global = true, conflicts_with = "verbose", env = "KBUILD_QUIET", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,

    /// When to colour.
    #[arg(long, global = true, value_name = "WHEN", env = "KBUILD_COLOR", hide_env = true, default_value = "auto")]
    pub(super) color: When,

    /// No progress bars, also on a terminal.
    #[arg(long, global = true, env = "KBUILD_NO_PROGRESS", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(super) no_progress: bool,

    /// What to print on stdout: text, or one JSON document (also on failure).
    #[arg(long, global = true, value_name = "FORMAT", env = "KBUILD_FORMAT", hide_env = true, default_value = "human")]
    pub(super) format: Format,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Human,
    /// One JSON document with a schema version.
    Json,
}

/// The project a command works on.
pub(super) struct Project {
    pub(super) manifest: Manifest,
    pub(super) lock_path: PathBuf,
    store: PathBuf,
    mirrors: Mirrors,
}

impl GlobalArgs {
    /// Whether the network is forbidden.
    pub(super) fn offline(&self) -> bool {
        self.offline || self.frozen
    }

    /// Whether the lock must be fresh.
    pub(super) fn locked(&self) -> bool {
        self.locked || self.frozen
    }

    /// Reads manifest and site configuration.
    ///
    /// # Errors
    /// Either of them missing where it was named, or wrong.
    pub(super) fn project(&self) -> Result<Project> {
        let manifest = Manifest::read(&self.manifest_path()?)?;
        let site = self.site()?;
        let mirrors = Mirrors::from_arguments(self.mirrors.iter().map(String::as_str))?
            .then(site.mirrors)
            .then(manifest.mirrors.clone());
        let store = self.store.clone().or(site.store).unwrap_or_else(|| manifest.root().join("mirrors/store"));
        let lock_path = manifest.root().join(lock::FILE_NAME);
        Ok(Project { manifest, lock_path, store, mirrors })
    }

    /// The manifest's path, if there is one; for commands that can do without.
    pub(super) fn manifest_path(&self) -> Result<PathBuf> {
        match &self.manifest_path {
            Some(path) if path.is_file() => Ok(path.clone()),
            Some(path) => Err(Error::input(format!("there is no manifest at {}", path.display()))
                .help("--manifest-path (or KBUILD_MANIFEST_PATH) must name a kata.toml")),
            None => {
                let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
                Manifest::find(&here)
            }
        }
    }

    fn site(&self) -> Result<SiteConfig> {
        if let Some(path) = &self.config {
            return SiteConfig::read(path);
        }
        let user = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
            .map(|directory| directory.join("kbuild/config.toml"));
        let system = PathBuf::from("/etc/kbuild/config.toml");
        match user.into_iter().chain([system]).find(|path| path.is_file()) {
            Some(path) => SiteConfig::read(&path),
            None => Ok(SiteConfig::default()),
        }
    }
}

impl Project {
    /// Opens the store.
    ///
    /// # Errors
    /// A directory that is no store.
    pub(super) fn store(&self) -> Result<Store> {
        Store::open(&self.store)
    }

    /// Where the store lies or would lie.
    pub(super) fn store_path(&self) -> &Path {
        &self.store
    }

    /// A fetcher into the project's store.
    ///
    /// # Errors
    /// A store or mirror that cannot work.
    pub(super) fn fetcher(&self, global: &GlobalArgs, output: &Output) -> Result<Fetcher> {
        let settings =
            Settings { mirrors: self.mirrors.clone(), jobs: usize::from(global.jobs), offline: global.offline() };
        Fetcher::new(self.store()?, settings, Arc::clone(&output.progress))
    }

    /// The lock, for commands that only read it. One that kata.toml has moved away from is good enough to fetch by, with a
    /// warning, unless `--locked` forbids it.
    ///
    /// # Errors
    /// There is none, or (with `--locked`) it is stale.
    pub(super) fn lock(&self, global: &GlobalArgs, output: &Output) -> Result<Lock> {
        let lock = self.present_lock()?;
        if global.locked() {
            resolve::check_fresh(&self.manifest, &lock)?;
        } else if let [first, ..] = resolve::stale(&self.manifest, &lock).as_slice() {
            output.warn(&format!("kata.lock does not match kata.toml any more ({first}); run `kbuild lock`"));
        }
        Ok(lock)
    }

    /// The lock, for a build: it must say what kata.toml says.
    ///
    /// # Errors
    /// There is none, or it is stale.
    pub(super) fn fresh_lock(&self) -> Result<Lock> {
        let lock = self.present_lock()?;
        resolve::check_fresh(&self.manifest, &lock)?;
        Ok(lock)
    }

    fn present_lock(&self) -> Result<Lock> {
        Lock::read(&self.lock_path)?.ok_or_else(|| {
            Error::input(format!("there is no {}", disk::shown(&self.lock_path))).help("run `kbuild lock` first")
        })
    }
}
