//! `kbuild build`: builds a board from the store, with no network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::bitbake::Job;
use crate::builder::layers::LayerChanges;
use crate::builder::result::ArtifactContent;
use crate::builder::{self, BuildDir, BuildRequest, BuildResult, seal};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::disk;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::Lock;
use crate::manifest::local::{self, LocalConfig};
use crate::manifest::{ClosureScope, Selection};
use crate::progress;
use crate::store::Store;

/// Builds a board from the store, with no network at all.
///
/// Layers are checked out from the store (one that somebody edited there stops the build), BitBake is given a configuration and a view of the board's sources, and runs
/// sealed: without a network, in a root of its own. What came out is written to build/BOARD/result.json, with a hash for
/// each artifact.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild build --board qemu
  kbuild build --board qemu --set boot=rootfs --set network=macvtap
  kbuild build --board qemu --task unpack kata-guest-kernel-config
  kbuild build --board qemu --override meta-mine=../meta-mine
  kbuild build --board qemu --check         build again from nothing, and compare")]
pub(in crate::cli) struct BuildArgs {
    #[command(flatten)]
    board: BoardArgs,

    /// Run only this task of the targets (BitBake's -c).
    #[arg(long, short = 't', value_name = "TASK")]
    task: Option<String>,

    /// Build a second time from an empty directory; fail with exit code 8 if the artifacts differ.
    #[arg(long)]
    check: bool,

    /// What to build instead of the board's own targets.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// The board and its options.
#[derive(Debug, Args)]
pub(in crate::cli) struct BoardArgs {
    /// The board.
    #[arg(long, short, value_name = "BOARD", env = env_vars::KBUILD_BOARD, hide_env = true)]
    pub(in crate::cli) board: String,

    /// An option of the build, OPTION=CHOICE or FLAG; may be repeated.
    #[arg(long = "set", short, value_name = "OPTION[=CHOICE]")]
    pub(in crate::cli) set: Vec<String>,

    /// Take layers with the edits in their checkouts (build/layers); the result lists them.
    #[arg(long)]
    pub(in crate::cli) allow_dirty: bool,

    /// Take a layer from this folder, LAYER=DIR; may be repeated, wins over kbuild.local.toml. The lock is not changed.
    #[arg(long = "override", value_name = "LAYER=DIR")]
    pub(in crate::cli) overrides: Vec<String>,
}

/// What a build of a board works with.
pub(in crate::cli) struct BoardBuild {
    project: Project,
    name: String,
    selection: Selection,
    lock: Lock,
    store: Store,
    kbuild: PathBuf,
    changes: LayerChanges,
}

impl BoardArgs {
    /// Reads the project and checks board and options against it.
    ///
    /// # Errors
    /// The board or an option does not exist, or there is no lock or no store.
    pub(in crate::cli) fn open(self, global: &GlobalArgs, output: &Output) -> Result<BoardBuild> {
        let project = Project::open(global)?;
        project.manifest.board(&self.board)?;
        let selection = project.manifest.select(&self.board, &self.set)?;
        let lock = project.fresh_lock(global, output)?;
        warn_of_unlocked(&project, &lock, &self.board, &selection, &builder::this_machine(), output)?;
        let store = project.store()?;
        output.say(&describe(&self.board, &selection));
        let changes = self.changes(&project, output)?;
        Ok(BoardBuild { project, name: self.board, selection, lock, store, kbuild: seal::this_program(), changes })
    }
}

impl BoardArgs {
    /// What the flags and kbuild.local.toml say of layers; each override is said.
    fn changes(&self, project: &Project, output: &Output) -> Result<LayerChanges> {
        let manifest = &project.manifest;
        let (mut overrides, mut source_trees) = (BTreeMap::new(), Vec::new());
        if let Some(local) = LocalConfig::read(manifest)? {
            source_trees = local.source_trees;
            for (layer, folder) in local.overrides {
                output.warn(&overridden(&layer, &folder, &disk::shown(&local.path)));
                overrides.insert(layer, folder);
            }
        }
        for flag in &self.overrides {
            let (layer, folder) = flag.split_once('=').ok_or_else(|| {
                Error::new(Kind::Usage, format!("`--override {flag}` names no folder")).help("--override LAYER=DIR")
            })?;
            local::check_layer(manifest, layer).map_err(|error| error.of_kind(Kind::Usage))?;
            let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
            let folder = local::folder_of(&here, folder).map_err(|error| error.of_kind(Kind::Usage))?;
            output.warn(&overridden(layer, &folder, "--override"));
            overrides.insert(layer.to_owned(), folder);
        }
        Ok(LayerChanges { allow_dirty: self.allow_dirty, overrides, source_trees })
    }
}

fn overridden(layer: &str, folder: &Path, by: &str) -> String {
    format!("the layer `{layer}` is taken from {} ({by}), not from {LOCK}", disk::shown(folder))
}

impl BoardBuild {
    /// The values that `builder` works with.
    pub(in crate::cli) fn request<'a>(&'a self, output: &'a Output) -> BuildRequest<'a> {
        BuildRequest {
            manifest: &self.project.manifest,
            lock: &self.lock,
            store: &self.store,
            board: &self.name,
            selection: &self.selection,
            kbuild: &self.kbuild,
            require_seal: self.project.require_seal,
            changes: &self.changes,
            progress: output.progress.as_ref(),
        }
    }
}

/// What this build may need and the lock does not have. The tasks that need it fail with a message.
fn warn_of_unlocked(
    project: &Project,
    lock: &Lock,
    board: &str,
    selection: &Selection,
    host: &str,
    output: &Output,
) -> Result<()> {
    let hosts = &project.manifest.closure.hosts;
    let (closed, known) =
        (project.manifest.closure.lock != ClosureScope::None, hosts.iter().any(|known| known == host));
    if closed && !known {
        output.warn(&format!(
            "this machine is {host}, and {LOCK} has what machines of {} build with: add `{host}` to `[closure] hosts` in \
             {MANIFEST} and run `kbuild lock`",
            hosts.join(", ")
        ));
    }
    let host = if known { host } else { hosts.first().map_or(host, String::as_str) };
    let settings = project.manifest.settings_of(board, selection, host)?;
    let missing = if closed { project.unlocked(lock, board, &settings)? } else { Vec::new() };
    missing.iter().for_each(|missing| output.warn(missing));
    Ok(())
}

fn describe(board: &str, selection: &Selection) -> String {
    let set = selection.values.iter().filter_map(|(option, value)| match value {
        Some(choice) if choice == "on" => Some(option.clone()),
        Some(choice) => Some(format!("{option}={choice}")),
        None => None,
    });
    let set: Vec<String> = set.collect();
    if set.is_empty() { format!("Board {board}") } else { format!("Board {board}, {}", set.join(", ")) }
}

impl BuildArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let board = self.board.open(global, output)?;
        let request = board.request(output);
        let job = Job { targets: &self.targets, task: self.task.as_deref(), words: output.words };
        let result = if self.check {
            builder::check(&request, &job)?
        } else {
            builder::run(&builder::prepare(&request, BuildDir::Build)?, &job)?
        };
        if self.check {
            output.say(&format!("Built twice, {} with equal hashes", count(result.artifacts.len(), "artifact")));
        }
        let place = BuildDir::Build.topdir(&request)?;
        result.inputs.not_from_the_lock.iter().for_each(|sentence| output.warn(sentence));
        let what = match (&result.task, result.artifacts.len()) {
            (Some(task), 0) => format!("Task {task} is done"),
            (_, artifacts) => count(artifacts, "artifact"),
        };
        output.say(&format!("{what}; inputs and artifacts are in {}", disk::shown(&place.join("result.json"))));
        let text = describe_artifacts(&result);
        let json = json!({ "directory": place, "checked": self.check, "result": result });
        Ok(Outcome::new(json, text))
    }
}

fn describe_artifacts(result: &BuildResult) -> String {
    let lines = result.artifacts.iter().map(|artifact| match &artifact.content {
        ArtifactContent::File { size: bytes, sha256, .. } => {
            format!("{sha256}  {}  {}", artifact.path, progress::size(*bytes))
        }
        ArtifactContent::Link { link } => format!("{:<64}  {} -> {link}", "link", artifact.path),
    });
    lines.collect::<Vec<_>>().join("\n")
}
