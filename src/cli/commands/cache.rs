//! `kbuild cache`: the shared state of BitBake's tasks, sent to caches, taken from them, and cleaned up.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;

use super::build::BoardArgs;
use crate::builder::{self, BuildDir, BuildOutput};
use crate::cache::{self, CacheGcPlan, CacheLimits, CachePush, LocalState};
use crate::cli::amount;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;
use crate::manifest::CachePlace;
use crate::progress;

/// The shared state of BitBake's tasks: sends it to a cache, takes from caches, removes what is not used any more.
///
/// `[cache]` in kbuild.toml or in the site configuration says where it is here, which caches builds ask (`pull`), and
/// where `push` sends to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild cache push                                  send what the cache that `push` names lacks
  kbuild cache push s3://team-cache/sstate           send it somewhere else
  kbuild cache pull --board qemu                     take what caches have of a board, and build nothing
  kbuild cache gc --unused 30d --max-size 100GiB     remove what no build used for 30 days, then the longest unused")]
pub(in crate::cli) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Sends the objects of shared state that a cache lacks.
    Push {
        /// A directory or a bucket (`s3://…`, `gs://…`, `az://…`) [default: `push` of [cache]]
        #[arg(value_name = "TO")]
        to: Option<String>,
    },
    /// Takes what shared state has of a board's tasks, here and in the caches that `pull` names; runs no task.
    Pull {
        #[command(flatten)]
        board: BoardArgs,
    },
    /// Removes objects of shared state from this machine: what was not used for long, and the longest unused above a size.
    Gc {
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,

        /// Remove what no build used for this long: `12h`, `30d`, `8w`.
        #[arg(long, value_name = "TIME", value_parser = amount::time)]
        unused: Option<Duration>,

        /// Keep at most this much: `500MiB`, `100GiB`, `1TiB`.
        #[arg(long, value_name = "SIZE", value_parser = amount::size)]
        max_size: Option<u64>,
    },
}

impl CacheArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        match self.command {
            CacheCommand::Push { to } => push(to.as_deref(), global, output),
            CacheCommand::Pull { board } => pull(board, global, output),
            CacheCommand::Gc { dry_run, unused, max_size } => {
                gc(dry_run, CacheLimits { age: unused, size: max_size }, global, output)
            }
        }
    }
}

fn push(to: Option<&str>, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
    let project = Project::open(global)?;
    let named = to.map(|text| CachePlace::read(text, Path::new(""))).transpose();
    let named = named.map_err(|error| error.of_kind(Kind::Usage))?;
    let to = named.or_else(|| project.cache.push.clone()).ok_or_else(|| {
        Error::new(Kind::Usage, "no cache to send to is named").help(format!(
            "name one: `kbuild cache push s3://bucket/prefix`, or set `push` under [cache] in {MANIFEST}"
        ))
    })?;
    if global.offline() && !matches!(to, CachePlace::Directory(_)) {
        let error = Error::new(Kind::Missing, format!("{to} cannot be reached"));
        return Err(error.because("the network may not be used").help("run the command without --offline"));
    }
    let state = LocalState::new(&builder::shared_state(&project.manifest, &project.cache)?);
    let pushed = runtime::wait(cache::push(&state, &to, usize::from(global.jobs), &output.progress))?;
    let CachePush { objects, sent, bytes } = pushed;
    output.say(&format!(
        "{} ({}) sent to {to}, {} already there",
        count(sent, "object"),
        progress::size(bytes),
        count(objects - sent, "object")
    ));
    let json = json!({ "to": to.to_string(), "objects": sent, "bytes": bytes, "already_there": objects - sent });
    Ok(Outcome::new(json, ""))
}

fn pull(board: BoardArgs, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
    let board = board.open(global, output)?;
    let request = board.request(output);
    let prepared = builder::prepare(&request, BuildDir::Build)?;
    let record = builder::take_from_caches(&prepared, BuildOutput::Progress, request.progress)?;
    let (objects, bytes) = record.total();
    output.say(&format!(
        "{} ({}) brought from elsewhere; {} of the board taken from shared state",
        count(objects, "object"),
        progress::size(bytes),
        count(record.tasks.len(), "task")
    ));
    Ok(Outcome::new(json!({ "cache": record }), ""))
}

fn gc(dry_run: bool, limits: CacheLimits, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
    if limits == CacheLimits::default() {
        let error = Error::new(Kind::Usage, "nothing says what may stay");
        return Err(error.help("name `--unused 30d`, `--max-size 100GiB`, or both"));
    }
    let project = Project::open(global)?;
    let state = LocalState::new(&builder::shared_state(&project.manifest, &project.cache)?);
    let plan = if dry_run {
        cache::plan(&state, &limits, SystemTime::now())?
    } else {
        let waiting = |board: &str| output.say(&format!("Waiting for the build of {board}"));
        let _still = builder::keep_boards_still(&project.manifest, waiting)?;
        let plan = cache::plan(&state, &limits, SystemTime::now())?;
        cache::remove(&plan)?;
        plan
    };
    let CacheGcPlan { removed, kept, kept_bytes } = &plan;
    output.say(&format!(
        "{} {} ({}) from {}; {} ({}) kept",
        if dry_run { "Would remove" } else { "Removed" },
        count(removed.len(), "file"),
        progress::size(plan.bytes()),
        disk::shown(state.directory()),
        count(*kept, "file"),
        progress::size(*kept_bytes),
    ));
    let json = json!({
        "dry_run": dry_run,
        "directory": state.directory(),
        "files": removed.len(),
        "bytes": plan.bytes(),
        "kept": { "files": kept, "bytes": kept_bytes },
    });
    let list = removed.iter().map(|object| format!("{:>12}  {}", progress::size(object.size), object.name));
    Ok(Outcome::new(json, if dry_run { list.collect::<Vec<_>>().join("\n") } else { String::new() }))
}
