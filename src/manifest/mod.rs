//! Reads `kbuild.toml` into typed, validated values.
//!
//! What may enter: the manifest's shape, its checks, and the messages that point at its lines. Nothing here looks at the
//! lock, the store or the network. A [`Manifest`] is always consistent: every board's layers, options and parents
//! exist, every URL is acceptable, every template is filled in.

mod audit;
mod boards;
mod cache;
mod closure;
mod diagnostics;
mod document;
mod env;
mod fallbacks;
mod fragments;
mod git;
mod in_place;
mod include;
mod layers;
pub mod local;
mod mirrors;
mod names;
mod options;
mod patches;
mod project_file;
mod raw;
mod read;
mod run;
mod schema;
mod select;
mod signers;
mod sources;
mod template;
mod together;
mod variables;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};

pub use env::is_env_name;
pub use fallbacks::{FallbackChoice, FallbackList};
pub use in_place::{ManifestEdit, Movable, NewPin, NewValue, PinSection};
pub use names::is_name;
pub use template::{Fill, Template};
pub use variables::{instead_of, variable_set_by};

use crate::error::{Error, Result};
use crate::source::include::IncludedTexts;
use crate::source::{GitRef, ImageName, LayerPatch, RemoteUrl, Sha256, Signers, SourceUrl};

/// A checked manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The path of its file, absolute.
    pub path: PathBuf,
    /// The files of the project that it includes, relative to it, in the order in which they were read.
    pub included: Vec<PathBuf>,
    /// The files of layers that it includes, with the text that was read.
    pub included_texts: IncludedTexts,
    /// `[project] name`.
    pub project: String,
    /// Name of the layer that contains BitBake; always a key of `layers`. A manifest without boards may have none.
    pub engine: Option<String>,
    /// All layers, in the order of the file.
    pub layers: IndexMap<String, Layer>,
    /// Declared sources, in the order of the file.
    pub sources: IndexMap<String, DeclaredSource>,
    /// Options, in the order of the file.
    pub options: IndexMap<String, BuildOption>,
    /// Fragments, in the order of the file.
    pub fragments: IndexMap<String, Fragment>,
    /// Boards, in the order of the file, with `extends`, their fragments and `[config]` already merged in.
    pub boards: IndexMap<String, Board>,
    /// `[closure]`.
    pub closure: ClosureSettings,
    /// `[registries]`: the URLs of package registries, by `go`, `npm` or the host of `crate://HOST/…`.
    pub registries: IndexMap<String, SourceUrl>,
    /// `[mirrors]`.
    pub mirrors: Mirrors,
    /// `[cache]`.
    pub cache: CacheSettings,
    /// `[audit] allow`.
    pub allowed_findings: Vec<AllowedFinding>,
}

/// What of a manifest is known before the files of layers that it includes are: enough to pin these layers.
#[derive(Debug)]
pub struct Foundation {
    /// The manifest of the project's own files with layers, mirrors, registries and cache; without boards.
    pub manifest: Manifest,
    /// The files of layers that it includes.
    pub includes: Vec<LayerFile>,
}

/// A file of a layer that a manifest includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// The layer's name.
    pub layer: String,
    /// The path in it.
    pub file: String,
}

/// A finding of `kbuild audit` that the project lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedFinding {
    /// The kind's name, which `kbuild audit` checks.
    pub rule: String,
    /// Only in this layer.
    pub layer: Option<String>,
    /// Only of this recipe, class or file.
    pub recipe: Option<String>,
    /// The reason, for reviewers.
    pub why: String,
}

/// `[closure]`: what is locked besides layers and declared sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosureSettings {
    /// Which configurations.
    pub lock: ClosureScope,
    /// Choices of several options that are looked at together.
    pub together: Vec<Vec<Setting>>,
    /// Fragments that `--with` may add to a board.
    pub with: Vec<String>,
    /// Architectures of the build hosts, as `uname -m` writes them; never empty. The first is the one with which every
    /// choice of an option is looked at.
    pub hosts: Vec<String>,
    /// The repositories whose whole history is kept.
    pub history: Vec<History>,
    /// Recipes whose tag need not point to the commit that they name.
    pub moved_tags: Vec<String>,
    /// Regular expressions of BBMASK, each with the reason for it.
    pub mask: IndexMap<String, String>,
}

/// Which configurations of a board have their closure locked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClosureScope {
    /// None: only layers and declared sources are locked.
    None,
    /// The configuration with every option at its default.
    Defaults,
    /// That one, and each other choice of each option by itself.
    #[default]
    Choices,
    /// These, and each two choices of two options together.
    Pairs,
}

/// The repositories whose whole history is kept, for recipes that run `git describe` or count commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// The git sources of a recipe.
    Recipe(String),
    /// Repositories whose whole URL matches the expression, which is known to compile.
    Url(String),
}

/// A configuration of a board that has a closure of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The difference from the board's default: a setting (`boot=rootfs`, `ceph`), several that are looked at together
    /// (`boot=rootfs,ceph`), `with=FRAGMENT`, or `host=ARCH`; empty for the default.
    pub name: String,
    pub selection: Selection,
    /// The architecture of the build host.
    pub host: String,
}

/// One `[layers.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Where the layer comes from.
    pub origin: LayerOrigin,
    /// The BitBake layer directories inside it: relative, normal (`.` for the top), never outside it.
    pub paths: Vec<PathBuf>,
    /// Who may sign its commit, or the tag that is asked for; `None`: it need not be signed. Only of a repository.
    pub signers: Option<Signers>,
    /// Patches that it is laid out with, in their order; those of the project are hashed. Only of a repository.
    pub patches: Vec<LayerPatch>,
}

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerOrigin {
    /// A git repository, pinned in the lock.
    Git(GitRequest),
    /// A folder, relative to the manifest: of this project, versioned with it and so not locked, or beside it (`../…`). The lock has
    /// a hash of each of its files that decides what is fetched.
    Path(PathBuf),
}

/// A commit of a git repository, as the manifest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRequest {
    pub url: SourceUrl,
    /// Which commit.
    pub reference: GitRef,
    /// Whether its submodules are locked too.
    pub submodules: bool,
    /// Whether the whole history is kept (for recipes that run `git describe`), not depth 1.
    pub history: bool,
    /// Whether objects of Git LFS are locked too.
    pub lfs: bool,
}

/// One `[sources.NAME]`: a source whose pin recipes read from `KBUILD_<NAME>_*` variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredSource {
    /// `version`, which is also filled into the templates.
    pub version: Option<String>,
    /// File, git or image.
    pub origin: SourceOrigin,
    /// Recipes of any layer whose SRCREV this source sets.
    pub recipes: Vec<String>,
    /// The `;name=` of the URL in those recipes.
    pub srcrev_name: Option<String>,
    /// The boards that need it; `None`: all.
    pub boards: Option<Vec<String>>,
}

/// What kind of thing a declared source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceOrigin {
    File(FileRequest),
    Git(GitRequest),
    Image(ImageRequest),
}

/// A container image, as the manifest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Its full name: with registry, namespace and tag.
    pub image: ImageName,
    /// BitBake's names of the architectures, in alphabetical order; empty for the default ones.
    pub architectures: Vec<String>,
    /// The declared digest of the index or manifest.
    pub digest: Option<Sha256>,
}

/// A file, as the manifest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// The name that BitBake looks for: `filename`, or the name in the first URL.
    pub name: String,
    /// The canonical URL first, then `mirrors`, templates filled in.
    pub urls: Vec<SourceUrl>,
    /// The declared hash.
    pub sha256: Option<Sha256>,
}

/// One `[options.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOption {
    /// Flag or choice.
    pub kind: OptionKind,
    /// The boards that can have it; `None`: all.
    pub boards: Option<Vec<String>>,
    /// What it can't be combined with; always empty for a choice, which always has a value.
    pub conflicts: Vec<Setting>,
    /// What it needs set; never set by itself. Always empty for a choice.
    pub requires: Vec<Setting>,
    /// The refused values of a choice; always empty for a flag.
    pub refused: Vec<Refusal>,
    /// The fragments that a value adds to the board: of a choice, or `on`.
    pub fragments: IndexMap<String, Vec<String>>,
}

/// Choices that exist but cannot be used; asking for one gives the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub choices: Vec<String>,
    /// The boards that cannot use them; `None`: all.
    pub boards: Option<Vec<String>>,
    /// The reason, for the error message.
    pub why: String,
}

/// The values an option can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionKind {
    /// Off by default; if on, the word is in OVERRIDES.
    Flag {
        /// The OVERRIDES word.
        word: String,
    },
    /// Exactly one choice has effect.
    Choice {
        /// Each choice with its OVERRIDES word (empty: none).
        choices: IndexMap<String, String>,
        /// The default choice.
        default: String,
    },
}

/// An option with a value: `ceph` (a flag that is on) or `boot=rootfs`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    pub option: String,
    /// The choice; `None` for a flag.
    pub choice: Option<String>,
}

/// One `[fragments.NAME]`: a part of a build, which boards, options and `--with` add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// What it adds.
    pub parts: BoardParts,
    /// Fragments that have to be there too.
    pub requires: Vec<String>,
    /// Fragments that must not be there.
    pub conflicts: Vec<String>,
}

/// What boards and fragments have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardParts {
    /// Layers in the order of BBLAYERS; the engine only if it is named.
    pub layers: Vec<String>,
    /// What is built if the command line names no target.
    pub targets: Vec<String>,
    /// BitBake variables, in order: `NAME`, `NAME:override…` or `NAME[flag]`, never one that kbuild itself sets. A value is one
    /// line and contains at most one kind of quotes, so that a configuration file can quote it with the other kind.
    pub config: IndexMap<String, String>,
    /// Texts in BitBake's own language, in the order in which they are read, behind `config`. Each consists of whole lines.
    pub conf: Vec<String>,
    /// Variables that BitBake has from its environment; never one that every build has from kbuild.
    pub env: IndexMap<String, EnvValue>,
}

/// Where the value of a variable of the environment comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// The manifest.
    Set(String),
    /// The environment of kbuild's caller. Locks know only the default, which closures are found with.
    Forwarded {
        /// The value where the caller has none; `None`: it is not set then.
        default: Option<String>,
    },
}

/// One `[boards.NAME]`, merged with what it `extends`, its fragments and the common `[config]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// BitBake's MACHINE.
    pub machine: String,
    /// Layers, targets and configuration.
    pub parts: BoardParts,
    /// The names of the fragments that it is made of.
    pub fragments: Vec<String>,
    /// Option settings of this board, each checked.
    pub set: Vec<Setting>,
    /// What of the host its builds see beside what every build sees.
    pub mounts: Vec<Mount>,
    /// The machine that `kbuild run` starts its image in.
    pub run: Option<Machine>,
}

/// `[[boards.NAME.mounts]]`: a file or directory of the host that builds see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// As the manifest has it: absolute, or relative to the manifest.
    pub path: PathBuf,
    /// Whether builds may write there.
    pub write: bool,
}

/// `[boards.NAME.run]`: a machine of QEMU's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture.
    pub arch: Arch,
    /// The file of the deploy directory to start from; may contain `*`, never leads out of the directory.
    pub image: Option<String>,
    /// Whether it starts with UEFI firmware.
    pub uefi: bool,
    /// A kernel of the deploy directory, which QEMU starts itself; a pattern, as for `image`.
    pub kernel: Option<String>,
    /// The command line of that kernel.
    pub append: Option<String>,
    /// In MiB.
    pub memory: u32,
    /// Number of processors.
    pub cpus: u32,
    /// Whether virtual machines can run inside it.
    pub nested: bool,
    /// Ports of the host that are forwarded to ports of the board.
    pub ports: Vec<Port>,
}

/// An architecture of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// ARM, 64 bits.
    Aarch64,
    /// RISC-V, 64 bits.
    Riscv64,
    /// Intel and AMD, 64 bits.
    X86_64,
}

/// A port of the host that is forwarded to one of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The address to listen on, on the host.
    pub address: Ipv4Addr,
    /// The port to listen on, on the host.
    pub host: u16,
    /// The port of the board.
    pub guest: u16,
    /// Whether it is UDP, not TCP.
    pub udp: bool,
}

/// `[mirrors]` of a manifest or of a site configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// Other stores (directory, http URL or bucket), content-addressed, asked first. Directories from a file are absolute:
    /// they were relative to the file.
    pub stores: Vec<String>,
    /// Rewriting rules, asked before the upstream.
    pub rules: Vec<MirrorRule>,
    /// Rewriting rules, asked when the upstream fails (BitBake's MIRRORS).
    pub fallback: Vec<MirrorRule>,
    /// Which of the fallback lists shipped with kbuild are asked after the upstream.
    pub builtin: FallbackChoice,
    /// Domains that are internal: the fallback lists are not asked for what is fetched from them.
    pub internal: Vec<String>,
    /// Domains that are public although that cannot be seen here.
    pub public: Vec<String>,
}

/// A rewriting rule: a regular expression that must match the whole URL, and what to ask instead.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorRule {
    /// The expression, checked to compile.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Replacements in order, as [`Template`] reads them.
    pub to: Vec<String>,
}

/// `[cache]` of a manifest or of a site configuration: what BitBake's tasks made already, here and elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheSettings {
    /// The directory of shared state (SSTATE_DIR), absolute; `None`: the project's own.
    pub dir: Option<PathBuf>,
    /// Caches elsewhere, in the order in which they are asked.
    pub pull: Vec<CachePlace>,
    /// The cache that shared state is sent to; never a web server.
    pub push: Option<CachePlace>,
    /// The upstream of the build's hash equivalence server (BB_HASHSERVE_UPSTREAM).
    pub hashserve: Option<ServerAddress>,
    /// The upstream of the build's PR server (PRSERV_UPSTREAM).
    pub prserve: Option<ServerAddress>,
}

/// A cache of shared state: files under the names that BitBake gives them below SSTATE_DIR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A directory of this machine, absolute.
    Directory(PathBuf),
    /// A directory behind a web server, which is only read.
    Web(SourceUrl),
    /// A prefix in a bucket.
    Bucket(RemoteUrl),
}

/// Where a server listens for TCP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A board's options, each with its value: the input of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Every option this board can have, in the manifest's order: its choice, or `on` for a flag, or `None` if it is off.
    pub values: IndexMap<String, Option<String>>,
    /// The OVERRIDES words, in that order, without empty ones.
    pub overrides: Vec<String>,
    /// The fragments beyond the board's own: of its options' values, then of `--with`.
    pub fragments: Vec<String>,
    /// Those of `--with`.
    pub with: Vec<String>,
}

impl Selection {
    /// Whether two selections of a board give one configuration.
    pub fn is_built_as(&self, other: &Selection) -> bool {
        self.overrides == other.overrides && self.fragments == other.fragments
    }
}

/// Settings of a site or user, which do not belong in a repository.
#[derive(Debug, Clone, Default)]
pub struct SiteConfig {
    /// The store to use if neither flag nor variable names one.
    pub store: Option<PathBuf>,
    /// The lower stores, if neither flag nor variable names any.
    pub lower: Vec<PathBuf>,
    /// Mirrors that are asked before the manifest's.
    pub mirrors: Mirrors,
    /// Package registries that win over the manifest's.
    pub registries: IndexMap<String, SourceUrl>,
    /// Shared state of this machine or site; see [`CacheSettings::then`].
    pub cache: CacheSettings,
}

impl BuildOption {
    /// All that it can be set to, as `--set` takes it: a flag's name, or `NAME=CHOICE` for each choice.
    pub fn settings(&self, name: &str) -> Vec<String> {
        match &self.kind {
            OptionKind::Flag { .. } => vec![name.to_owned()],
            OptionKind::Choice { choices, .. } => choices.keys().map(|choice| format!("{name}={choice}")).collect(),
        }
    }

    /// Whether a board can have this option.
    pub fn is_for(&self, board: &str) -> bool {
        names(self.boards.as_ref(), board)
    }

    /// Why a board cannot have a choice of this option; `None` if it can.
    pub fn refusal(&self, board: &str, choice: &str) -> Option<&str> {
        let of_board = self.refused.iter().filter(|refusal| names(refusal.boards.as_ref(), board));
        let mut of_choice = of_board.filter(|refusal| refusal.choices.iter().any(|refused| refused == choice));
        of_choice.next().map(|refusal| refusal.why.as_str())
    }
}

/// Whether a board is in a list of boards; no list means all boards.
fn names(boards: Option<&Vec<String>>, board: &str) -> bool {
    boards.is_none_or(|boards| boards.iter().any(|known| known == board))
}

impl fmt::Display for Setting {
    /// As `--set` takes it: `ceph` or `boot=rootfs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            Some(choice) => write!(f, "{}={choice}", self.option),
            None => f.write_str(&self.option),
        }
    }
}

impl Arch {
    /// As QEMU's programs and `uname -m` write it.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Aarch64 => "aarch64",
            Arch::Riscv64 => "riscv64",
            Arch::X86_64 => "x86_64",
        }
    }
}

impl CacheSettings {
    /// These settings, then the others: what is set here wins, caches are asked in this order.
    #[must_use]
    pub fn then(mut self, next: CacheSettings) -> CacheSettings {
        self.pull.extend(next.pull);
        CacheSettings {
            dir: self.dir.or(next.dir),
            pull: self.pull,
            push: self.push.or(next.push),
            hashserve: self.hashserve.or(next.hashserve),
            prserve: self.prserve.or(next.prserve),
        }
    }

    /// What is left of them without a network.
    #[must_use]
    pub fn offline(mut self) -> CacheSettings {
        self.pull.retain(|place| matches!(place, CachePlace::Directory(_)));
        CacheSettings { hashserve: None, prserve: None, ..self }
    }
}

impl CachePlace {
    /// Reads an address: a directory, `file:///…`, `https://…`, or a bucket. A relative directory is below `base`.
    ///
    /// # Errors
    /// It is none of these, or has a login in it: kind `Input`.
    pub fn read(text: &str, base: &Path) -> Result<CachePlace> {
        cache::place(text, base)
    }

    /// The error of sending something to a web server.
    pub fn only_read(url: &SourceUrl) -> Error {
        cache::only_read(url)
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CachePlace::Directory(path) => write!(f, "{}", path.display()),
            CachePlace::Web(url) => write!(f, "{url}"),
            CachePlace::Bucket(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Mirrors {
    /// The mirrors that `--mirror` or `KBUILD_MIRROR` names: each a store (directory or URL) or a rule `REGEX=REPLACEMENT`.
    ///
    /// # Errors
    /// A rule is invalid; the error names the argument.
    pub fn from_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Mirrors> {
        mirrors::from_arguments(arguments)
    }

    /// One store, as a command line names it: a directory, an http URL or a bucket.
    ///
    /// # Errors
    /// The text is none of these: kind `Input`.
    pub fn store(text: &str) -> Result<Mirrors> {
        let store = mirrors::store(text, Path::new(""))?;
        Ok(Mirrors { stores: vec![store], builtin: FallbackChoice::none(), ..Mirrors::default() })
    }

    /// These mirrors, then the others: the fallback lists are asked only if both allow it.
    #[must_use]
    pub fn then(mut self, next: Mirrors) -> Mirrors {
        self.stores.extend(next.stores);
        self.rules.extend(next.rules);
        self.fallback.extend(next.fallback);
        self.builtin = self.builtin.and(next.builtin);
        self.internal.extend(next.internal);
        self.public.extend(next.public);
        self
    }
}

/// The expression of a mirror rule or of `[closure] history`, for matching. It is anchored: an expression for an upstream
/// must not match a URL that merely contains its name.
///
/// # Errors
/// The text is not a regular expression. Those of a manifest are checked.
pub fn whole_url(pattern: &str) -> std::result::Result<regex::Regex, regex::Error> {
    mirrors::whole_url(pattern)
}

/// The `NAME` in the `KBUILD_<NAME>_*` variables of a declared source: upper case, with `_` for anything that is not a
/// letter or digit. No two sources of a manifest have the same.
pub fn variable_part(source: &str) -> String {
    names::variable_part(source)
}

/// Whether this is the name of a BitBake variable, with overrides and a flag where it has them.
pub fn is_variable(name: &str) -> bool {
    variables::is_variable(name)
}

/// Whether a closure, by the name that the lock has for it, is one with a fragment of `--with`.
pub fn is_of_fragment(setting: &str) -> bool {
    closure::is_of_fragment(setting)
}

/// The JSON Schema (draft 7) of `kbuild.toml`, for editors: the keys, their types and their meaning. Only [`Manifest::read`]
/// checks rules between keys (names that must exist, options that must be possible).
pub fn schema() -> serde_json::Value {
    schema::schema()
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Every fault is reported at once, each with the line it is on.
    pub fn read(path: &Path) -> Result<Manifest> {
        Manifest::read_with(path, &IncludedTexts::new())
    }

    /// The same of one that includes files of layers, whose texts the lock has.
    ///
    /// # Errors
    /// Those of [`Manifest::read`]; a text is not there: kind `Stale`.
    pub fn read_with(path: &Path, texts: &IncludedTexts) -> Result<Manifest> {
        read::manifest(path, texts)
    }

    /// What is known of a manifest without the files of layers that it includes.
    ///
    /// # Errors
    /// Those of [`Manifest::read`], as far as it is read.
    pub fn foundation(path: &Path) -> Result<Foundation> {
        read::foundation(path)
    }

    /// Checks the text of a manifest; `path` is its file, for messages and for the folders of local layers.
    ///
    /// # Errors
    /// Those of [`Manifest::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Manifest> {
        Manifest::parse_with(path, text, &IncludedTexts::new())
    }

    /// The same with the texts of layers' files, as [`Manifest::read_with`].
    ///
    /// # Errors
    /// Those of [`Manifest::read_with`].
    pub fn parse_with(path: &Path, text: &str, texts: &IncludedTexts) -> Result<Manifest> {
        read::parse(path, text, texts)
    }

    /// Finds `kbuild.toml` or `kata.toml` in a directory or the nearest of its parents.
    ///
    /// # Errors
    /// There is none, or both in one directory: kind `Input`, with a hint to `kbuild init` or `--manifest-path`.
    pub fn find(from: &Path) -> Result<PathBuf> {
        read::find(from)
    }

    /// The project's directory: the one with the manifest; absolute.
    pub fn root(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A board by name.
    ///
    /// # Errors
    /// An unknown board; the hint suggests the nearest name and lists all boards.
    pub fn board(&self, name: &str) -> Result<&Board> {
        select::board(self, name)
    }

    /// The options of a build on a board: defaults, then the board's own settings, then those of `--set`.
    ///
    /// # Errors
    /// An option or choice does not exist, an option has two choices, the board cannot have an option, a conflict or an
    /// unmet requirement. No setting is ignored silently.
    pub fn select(&self, board: &str, set: &[String]) -> Result<Selection> {
        self.select_with(board, set, &[])
    }

    /// As [`Manifest::select`], with the fragments of `--with`.
    ///
    /// # Errors
    /// As there; a fragment that does not exist, or that conflicts with another or lacks one.
    pub fn select_with(&self, board: &str, set: &[String], with: &[String]) -> Result<Selection> {
        select::select(self, board, set, with)
    }

    /// A board with the fragments that a selection of its options adds.
    ///
    /// # Errors
    /// An unknown board.
    pub fn configured(&self, board: &str, selection: &Selection) -> Result<Board> {
        fragments::configured(self, board, selection)
    }

    /// The layers of a board in all its locked configurations, each once.
    ///
    /// # Errors
    /// An unknown board.
    pub fn layers_of(&self, board: &str) -> Result<IndexSet<String>> {
        let mut layers: IndexSet<String> = self.board(board)?.parts.layers.iter().cloned().collect();
        for variant in self.variants(board)? {
            layers.extend(self.configured(board, &variant.selection)?.parts.layers);
        }
        Ok(layers)
    }

    /// The configurations of a board whose closures are locked, the default's first; none if `[closure]` says so.
    ///
    /// # Errors
    /// An unknown board.
    pub fn variants(&self, board: &str) -> Result<Vec<Variant>> {
        closure::variants(self, board)
    }

    /// The layer that contains BitBake, where a board asks for it.
    ///
    /// # Errors
    /// None that a checked manifest with boards could give.
    pub fn engine_of_boards(&self) -> Result<&str> {
        self.engine.as_deref().ok_or_else(|| Error::bug("a manifest with boards was checked and has no engine"))
    }

    /// The names of the variants that a build with these options on this host uses, without the default.
    ///
    /// # Errors
    /// An unknown board.
    pub fn settings_of(&self, board: &str, selection: &Selection, host: &str) -> Result<Vec<String>> {
        closure::settings_of(self, board, selection, host)
    }

    /// Every OVERRIDES word that the options of a board can give, in their order.
    pub fn words_of(&self, board: &str) -> Vec<String> {
        select::words(&self.options, board)
    }

    /// The declared sources that a board needs.
    pub fn sources_of<'a>(&'a self, board: &'a str) -> impl Iterator<Item = (&'a str, &'a DeclaredSource)> {
        self.sources
            .iter()
            .filter(move |(_, source)| names(source.boards.as_ref(), board))
            .map(|(name, source)| (name.as_str(), source))
    }
}

impl SiteConfig {
    /// Reads a site configuration.
    ///
    /// # Errors
    /// Those of a manifest: every fault with its line.
    pub fn read(path: &Path) -> Result<SiteConfig> {
        read::site(path)
    }
}

#[cfg(test)]
mod tests;
