//! `kbuild clean`: removes what builds made.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::builder::{self, CleanRequest};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::disk;
use crate::error::Result;
use crate::progress;

/// Removes what builds made in `build/`, of all boards or of some.
///
/// The store, the lock, layers' checkouts and the shared state stay, and so does what builds did not make: devtool's workspace,
/// configuration that somebody edited, files with other names. Waits for a build that runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild clean --dry-run            what would be removed, and how much
  kbuild clean --board qemu         one board: the next build takes its tasks from shared state
  kbuild clean --sstate             shared state too: the next build builds everything")]
pub(in crate::cli) struct CleanArgs {
    /// Only these boards; may be repeated.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// The project's shared state (sstate) too. That of `[cache] dir`, which others may use, stays: `kbuild cache gc`.
    #[arg(long, conflicts_with = "boards")]
    sstate: bool,

    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
}

impl CleanArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let manifest = &project.manifest;
        for board in &self.boards {
            manifest.board(board)?;
        }
        let all: Vec<String> = manifest.boards.keys().cloned().collect();
        let request = CleanRequest {
            manifest,
            boards: if self.boards.is_empty() { &all } else { &self.boards },
            shared_state: self.sstate.then_some(&project.cache),
            dry_run: self.dry_run,
        };
        let cleaned = builder::clean(&request, |board| {
            output.warn(&format!("a kbuild is building `{board}`; waiting for it"));
        })?;
        for path in &cleaned.kept {
            output.say(&format!("{} stays", disk::shown(path)));
        }
        let verb = if self.dry_run { "Would remove" } else { "Removed" };
        let size = progress::size(cleaned.bytes);
        output.say(&match cleaned.removed.len() {
            0 => "There is nothing to remove".to_owned(),
            places => format!("{verb} {size} in {}", count(places, "place")),
        });
        let text = if self.dry_run { list(&cleaned.removed) } else { String::new() };
        let json = json!({
            "dry_run": self.dry_run, "bytes": cleaned.bytes, "removed": cleaned.removed, "kept": cleaned.kept,
        });
        Ok(Outcome::new(json, text))
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| disk::shown(path).to_string()).collect::<Vec<_>>().join("\n")
}
