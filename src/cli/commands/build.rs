//! `kbuild build`: builds a board from the store, with no network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use indexmap::IndexSet;
use serde_json::json;

use crate::bitbake::Job;
use crate::builder::layers::LayerChanges;
use crate::builder::result::ArtifactContent;
use crate::builder::{self, Asked, BuildDir, BuildOutput, BuildRequest, BuildResult, seal};
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
  kbuild build --board qemu --board intel    one after the other, from the same shared state
  kbuild build --all --keep-going            all boards; what failed is told at the end
  kbuild build --board qemu --set boot=rootfs --set network=macvtap
  kbuild build --board qemu --with debug     add a fragment of kbuild.toml
  kbuild build --board qemu --task unpack kata-guest-kernel-config
  kbuild build --board qemu --override meta-mine=../meta-mine
  kbuild build --board qemu --check         build again from nothing, and compare
  kbuild build --board qemu --no-cache      take nothing that was made before out of shared state
  kbuild build --board qemu --raw           show BitBake's own output

What BitBake's tasks made is kept under their hashes (shared state), for all boards of a project; [cache] in
kbuild.toml names caches elsewhere that are asked for what is not there.")]
pub(in crate::cli) struct BuildArgs {
    /// The board; may be repeated, the boards are built one after the other.
    #[arg(long = "board", short, value_name = "BOARD", env = env_vars::KBUILD_BOARD, hide_env = true)]
    #[arg(required_unless_present = "all")]
    boards: Vec<String>,

    /// Build all boards of kbuild.toml.
    #[arg(long)]
    all: bool,

    /// An option of the build, OPTION=CHOICE or FLAG; may be repeated. Every board must be able to have it.
    #[arg(long = "set", short, value_name = "OPTION[=CHOICE]")]
    set: Vec<String>,

    /// Add this fragment of kbuild.toml; may be repeated.
    #[arg(long = "with", value_name = "FRAGMENT")]
    with: Vec<String>,

    #[command(flatten)]
    layers: LayerArgs,

    /// Go on after a failure, with what does not need it (BitBake's -k) and with the other boards.
    #[arg(long, short)]
    keep_going: bool,

    /// Run only this task of the targets (BitBake's -c).
    #[arg(long, short = 't', value_name = "TASK")]
    task: Option<String>,

    /// Build a second time from an empty directory; fail with exit code 8 if the artifacts differ.
    #[arg(long)]
    check: bool,

    /// Use no shared state: neither what boards of this project made, nor caches elsewhere.
    #[arg(long, env = env_vars::KBUILD_NO_CACHE, hide_env = true, value_parser = BoolishValueParser::new())]
    no_cache: bool,

    /// Show BitBake's own output in place of kbuild's.
    #[arg(long)]
    raw: bool,

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

    /// Add this fragment of kbuild.toml; may be repeated.
    #[arg(long = "with", value_name = "FRAGMENT")]
    pub(in crate::cli) with: Vec<String>,

    #[command(flatten)]
    pub(in crate::cli) layers: LayerArgs,
}

/// How the layers may differ from the lock.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LayerArgs {
    /// Take layers with the edits in their checkouts (build/layers); the result lists them.
    #[arg(long)]
    allow_dirty: bool,

    /// Take a layer from this folder, LAYER=DIR; may be repeated, wins over kbuild.local.toml. The lock is not changed.
    #[arg(long = "override", value_name = "LAYER=DIR")]
    overrides: Vec<String>,
}

/// What a build of a board works with.
pub(in crate::cli) struct BoardBuild {
    project: Project,
    name: String,
    selection: Selection,
    lock: Lock,
    store: Store,
    kbuild: PathBuf,
    jobs: usize,
    changes: LayerChanges,
}

impl BoardArgs {
    /// Reads the project and checks board and options against it.
    ///
    /// # Errors
    /// The board or an option does not exist, or there is no lock or no store.
    pub(in crate::cli) fn open(self, global: &GlobalArgs, output: &Output) -> Result<BoardBuild> {
        let board = self.open_quietly(global, output)?;
        output.say(&describe(&board.name, &board.selection));
        Ok(board)
    }

    /// The same, without saying which board it is.
    fn open_quietly(self, global: &GlobalArgs, output: &Output) -> Result<BoardBuild> {
        let project = Project::open(global)?;
        project.manifest.board(&self.board)?;
        let selection = project.manifest.select_with(&self.board, &self.set, &self.with)?;
        let lock = project.fresh_lock(global, output)?;
        warn_of_unlocked(&project, &lock, &self.board, &selection, &builder::this_machine(), output)?;
        let store = project.store()?;
        let (kbuild, jobs) = (seal::this_program(), usize::from(global.jobs));
        let changes = self.layers.changes(&project, output)?;
        Ok(BoardBuild { project, name: self.board, selection, lock, store, kbuild, jobs, changes })
    }
}

impl LayerArgs {
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
            asked: Asked::Targets(&[]),
            selection: &self.selection,
            kbuild: &self.kbuild,
            require_seal: self.project.require_seal,
            changes: &self.changes,
            cache: Some(&self.project.cache),
            jobs: self.jobs,
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
    let set: Vec<String> = set.chain(selection.with.iter().map(|fragment| format!("with {fragment}"))).collect();
    if set.is_empty() { format!("Board {board}") } else { format!("Board {board}, {}", set.join(", ")) }
}

/// What came of a board.
struct BoardOutcome {
    board: String,
    outcome: Result<(PathBuf, BuildResult)>,
}

impl BuildArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let names: IndexSet<String> = if self.all {
            Project::open(global)?.manifest.boards.keys().cloned().collect()
        } else {
            self.boards.iter().cloned().collect()
        };
        let names = Vec::from_iter(names);
        if let [board] = names.as_slice() {
            let (place, result) = self.build(self.open(board, global, output)?, output)?;
            let json = json!({ "directory": place, "checked": self.check, "result": result });
            return Ok(Outcome::new(json, describe_artifacts(&result)));
        }
        // What is wrong with any board is said before the first one is built.
        let boards = names.iter().map(|board| self.open(board, global, output)).collect::<Result<Vec<_>>>()?;
        let mut outcomes = Vec::new();
        for board in boards {
            let name = board.name.clone();
            let outcome = self.build(board, output);
            let failed = outcome.as_ref().is_err_and(|error| !self.keep_going || error.kind() == Kind::Interrupted);
            outcomes.push(BoardOutcome { board: name, outcome });
            if failed {
                break;
            }
        }
        Ok(self.summary(&names, outcomes))
    }

    fn open(&self, board: &str, global: &GlobalArgs, output: &Output) -> Result<BoardBuild> {
        let (set, with) = (self.set.clone(), self.with.clone());
        BoardArgs { board: board.to_owned(), set, with, layers: self.layers.clone() }.open_quietly(global, output)
    }

    fn build(&self, board: BoardBuild, output: &Output) -> Result<(PathBuf, BuildResult)> {
        output.say(&describe(&board.name, &board.selection));
        let request = board.request(output);
        let asked = if self.keep_going { Asked::Anything } else { Asked::Targets(&self.targets) };
        let request = BuildRequest { asked, cache: request.cache.filter(|_| !self.no_cache), ..request };
        let shown = if self.raw { BuildOutput::Raw } else { BuildOutput::Progress };
        let task = self.task.as_deref();
        let job = Job { targets: &self.targets, task, words: output.words, keep_going: self.keep_going };
        let result = if self.check {
            builder::check(&request, &job, shown)?
        } else {
            builder::run(&builder::prepare(&request, BuildDir::Build)?, &job, shown, request.progress)?
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
        Ok((place, result))
    }

    /// One table and one document of several boards. The exit code is that of the first board that failed.
    fn summary(&self, names: &[String], outcomes: Vec<BoardOutcome>) -> Outcome {
        let (mut boards, mut lines, mut errors) = (serde_json::Map::new(), Vec::new(), Vec::new());
        for BoardOutcome { board, outcome } in outcomes {
            match outcome {
                Ok((place, result)) => {
                    let tasks = &result.tasks;
                    let artifacts = count(result.artifacts.len(), "artifact");
                    lines.push(format!(
                        "{board}  ok  {artifacts}, {} built, {} from shared state",
                        tasks.built, tasks.from_cache
                    ));
                    boards.insert(board, json!({ "ok": true, "directory": place, "result": result }));
                }
                Err(error) => {
                    lines.push(format!("{board}  failed"));
                    boards.insert(board.clone(), json!({ "ok": false, "error": error.to_string() }));
                    errors.push(error.wrap(format!("the board `{board}` could not be built")));
                }
            }
        }
        let left: Vec<&String> = names.iter().filter(|name| !boards.contains_key(*name)).collect();
        lines.extend(left.iter().map(|name| format!("{name}  not tried")));
        let error = Error::all(errors, |count| format!("{count} of {} boards could not be built", names.len()));
        let hint = (!left.is_empty()).then_some("the other boards were not tried; --keep-going goes on to them");
        let error = error.map(|error| match hint {
            Some(hint) => error.help_or(hint),
            None => error,
        });
        let json = json!({ "boards": boards, "checked": self.check });
        let mut outcome = Outcome::new(json, lines.join("\n"));
        outcome.error = error;
        outcome
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
