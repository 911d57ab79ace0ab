//! `kbuild add`: adds a layer or a declared source to kbuild.toml, and locks it.

use clap::{Args, Subcommand};
use serde_json::json;

use super::lock::{Relocking, may_change, relock};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;
use crate::manifest::{ManifestEdit, NewValue, PinSection};

/// Adds a layer or a source to kbuild.toml, and locks it.
///
/// The file is changed in its place: comments and order stay. It is written together with the lock, or not at all.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild add layer meta-arm https://git.yoctoproject.org/meta-arm --branch wrynose --paths meta-arm --board qemu
  kbuild add layer meta-own --path layers/meta-own
  kbuild add source zlib https://zlib.net/zlib-{version}.tar.gz --version 1.3.1
  kbuild add source agent https://github.com/kata-containers/kata-containers --tag 3.32.0
  kbuild add source base alpine:3.23")]
pub(in crate::cli) struct AddArgs {
    #[command(subcommand)]
    what: AddWhat,
}

#[derive(Debug, Subcommand)]
enum AddWhat {
    Layer(AddLayer),
    Source(AddSource),
}

/// Adds a layer: a git repository, or a folder of the project.
#[derive(Debug, Args)]
struct AddLayer {
    /// The name that boards give in their `layers`.
    name: String,

    /// The URL of its repository, as `git clone` takes it.
    #[arg(required_unless_present = "path")]
    url: Option<String>,

    #[command(flatten)]
    reference: RefArgs,

    /// A folder of the project in place of a repository.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "branch", "tag", "rev"])]
    path: Option<String>,

    /// The BitBake layers inside it, where that is not its top; may be repeated.
    #[arg(long, value_name = "DIR")]
    paths: Vec<String>,

    /// A board that is to use it: the layer is added to its `layers`, as the last; may be repeated.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Change kbuild.toml alone.
    #[arg(long)]
    no_lock: bool,
}

/// Adds a source that recipes take from the lock: a repository where a branch, tag or commit is given, an image where the URL
/// has no `://`, else a file.
#[derive(Debug, Args)]
// `--version` is the source's.
#[command(disable_version_flag = true)]
struct AddSource {
    /// The name in `KBUILD_<NAME>_…`, by which recipes read it.
    name: String,

    /// The URL; `{version}` in it is filled in.
    url: String,

    #[command(flatten)]
    reference: RefArgs,

    /// The version, for `{version}` and for recipes.
    #[arg(long)]
    version: Option<String>,

    /// The SHA-256 that the file must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,

    /// A board that needs it; may be repeated; without, all do.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Change kbuild.toml alone.
    #[arg(long)]
    no_lock: bool,
}

/// Which commit of a repository.
#[derive(Debug, Args)]
struct RefArgs {
    /// The branch to follow; with `--tag` or `--rev`: the branch that contains the commit.
    #[arg(long)]
    branch: Option<String>,

    /// The tag to lock.
    #[arg(long)]
    tag: Option<String>,

    /// The commit to lock, all 40 digits.
    #[arg(long)]
    rev: Option<String>,
}

/// The keys of a new entry, in the order in which they are written.
type Keys = Vec<(&'static str, NewValue)>;

impl AddArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        may_change(global, "add")?;
        let project = Project::open(global)?;
        let edit = ManifestEdit::open(&project.manifest.path)?;
        match self.what {
            AddWhat::Layer(layer) => layer.run(project, edit, global, output),
            AddWhat::Source(source) => source.run(project, edit, global, output),
        }
    }
}

impl AddLayer {
    fn run(self, project: Project, mut edit: ManifestEdit, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        self.boards.iter().try_for_each(|board| project.manifest.board(board).map(drop))?;
        let mut keys = Keys::new();
        match (&self.path, &self.url) {
            (Some(path), _) => keys.push(("path", NewValue::Text(path.clone()))),
            (None, url) => {
                keys.extend(url.iter().map(|url| ("git", NewValue::Text(url.clone()))));
                keys.extend(self.reference.keys());
                if self.reference.is_empty() {
                    return Err(Error::new(Kind::Usage, "which commit of the repository is not said")
                        .help("add `--branch`, `--tag` or `--rev`"));
                }
            }
        }
        if !self.paths.is_empty() {
            keys.push(("paths", NewValue::List(self.paths)));
        }
        edit.add(PinSection::Layers, &self.name, &keys)?;
        self.boards.iter().try_for_each(|board| edit.add_to_board(board, &self.name))?;
        let outcome = settle(project, edit, global, output, self.no_lock)?;
        if self.boards.is_empty() {
            output.say(&format!("No board uses `{0}` yet: add it to the `layers` of one in {MANIFEST}", self.name));
        }
        Ok(outcome)
    }
}

impl AddSource {
    fn run(self, project: Project, mut edit: ManifestEdit, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        self.boards.iter().try_for_each(|board| project.manifest.board(board).map(drop))?;
        let kind = match (self.reference.is_empty(), self.url.contains("://")) {
            (false, _) => "git",
            (true, true) => "url",
            (true, false) => "oci",
        };
        let mut keys: Keys = vec![(kind, NewValue::Text(self.url))];
        keys.extend(self.reference.keys());
        keys.extend(self.version.map(|version| ("version", NewValue::Text(version))));
        keys.extend(self.sha256.map(|sha256| ("sha256", NewValue::Text(sha256))));
        if !self.boards.is_empty() {
            keys.push(("boards", NewValue::List(self.boards)));
        }
        edit.add(PinSection::Sources, &self.name, &keys)?;
        settle(project, edit, global, output, self.no_lock)
    }
}

impl RefArgs {
    fn is_empty(&self) -> bool {
        self.branch.is_none() && self.tag.is_none() && self.rev.is_none()
    }

    fn keys(&self) -> Keys {
        let keys = [("branch", &self.branch), ("tag", &self.tag), ("rev", &self.rev)];
        keys.into_iter().filter_map(|(key, text)| Some((key, NewValue::Text(text.clone()?)))).collect()
    }
}

/// Checks the changed manifest, locks it, and writes both files.
pub(super) fn settle(
    mut project: Project,
    edit: ManifestEdit,
    global: &GlobalArgs,
    output: &Output,
    no_lock: bool,
) -> Result<Outcome> {
    project.manifest = edit.manifest(&project.manifest)?;
    if no_lock {
        let written = edit.write()?;
        output.say(&format!("Changed {MANIFEST}; `kbuild lock` locks it"));
        return Ok(Outcome::new(json!({ "manifest_written": written }), ""));
    }
    relock(&project, global, output, Relocking { edit: Some(edit), ..Relocking::default() })
}
