//! Flags that every command has.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

/// Flags that every command has. Each has a variable: `KBUILD_` and its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// The manifest [default: kbuild.toml here or in the nearest parent directory]
    #[arg(long, global = true, value_name = "FILE", env = "KBUILD_MANIFEST_PATH", hide_env = true)]
    pub(super) manifest_path: Option<PathBuf>,

    /// The store [default: mirrors/store beside the manifest]
    #[arg(long, global = true, value_name = "DIR", env = "KBUILD_STORE", hide_env = true)]
    pub(super) store: Option<PathBuf>,

    /// A read-only store, for what the store does not have; may be repeated, the first is asked first.
    ///
    /// The variable KBUILD_LOWER_STORE takes several, separated by colons. The flag wins over the variable, and the variable
    /// over the site configuration.
    #[arg(long = "lower-store", global = true, value_name = "DIR")]
    pub(super) lower_stores: Vec<PathBuf>,

    /// Site configuration (store, mirrors) [default: $XDG_CONFIG_HOME/kbuild/config.toml, /etc/kbuild/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "KBUILD_CONFIG", hide_env = true)]
    pub(super) config: Option<PathBuf>,

    /// A mirror to ask first: another store (directory, URL or bucket), or a rule REGEX=REPLACEMENT over URLs.
    ///
    /// The variable KBUILD_MIRROR takes several, separated by white space; the flag wins over it.
    #[arg(long = "mirror", global = true, value_name = "STORE|RULE")]
    pub(super) mirrors: Vec<String>,

    /// Use no network: only the store, and mirrors that are directories.
    #[arg(long, global = true, env = "KBUILD_OFFLINE", hide_env = true, value_parser = BoolishValueParser::new())]
    offline: bool,

    /// Fail with exit code 3 if kbuild.lock does not match kbuild.toml, instead of changing it.
    #[arg(long, global = true, env = "KBUILD_LOCKED", hide_env = true, value_parser = BoolishValueParser::new())]
    locked: bool,

    /// Same as --locked and --offline together.
    #[arg(long, global = true, env = "KBUILD_FROZEN", hide_env = true, value_parser = BoolishValueParser::new())]
    frozen: bool,

    /// Fail unless every wall of the seal stands around BitBake; without it, what is missing is a warning.
    #[arg(long, global = true, env = "KBUILD_REQUIRE_SEAL", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(super) require_seal: bool,

    /// At most so many transfers at once.
    #[arg(long, short, global = true, value_name = "N", env = "KBUILD_JOBS", hide_env = true, default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,

    /// Say more (-v: decisions, -vv: requests to servers).
    #[arg(long, short, global = true, action = clap::ArgAction::Count, env = "KBUILD_VERBOSE", hide_env = true)]
    #[arg(value_parser = super::environment::verbosity)]
    pub(super) verbose: u8,

    /// Print only warnings and errors.
    #[arg(long, short, global = true, conflicts_with = "verbose", env = "KBUILD_QUIET", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,

    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", env = "KBUILD_COLOR", hide_env = true, default_value = "auto")]
    pub(super) color: When,

    /// Show no progress bars, even on a terminal.
    #[arg(long, global = true, env = "KBUILD_NO_PROGRESS", hide_env = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(super) no_progress: bool,

    /// What to print on stdout: text, or one JSON document (on failure too).
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

impl GlobalArgs {
    /// Whether the network is forbidden.
    pub(super) fn offline(&self) -> bool {
        self.offline || self.frozen
    }

    /// Whether the lock must match the manifest.
    pub(super) fn locked(&self) -> bool {
        self.locked || self.frozen
    }
}
