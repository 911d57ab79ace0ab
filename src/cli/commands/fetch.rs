//! `kbuild fetch`: fetches what the lock names into the store.

use clap::Args;
use serde_json::json;

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::Result;
use crate::fetch::Fetched;
use crate::progress;

/// Fetches what kbuild.lock names into the store.
///
/// Fetches many sources at once, with retries, resume and fallback mirrors. Every byte is checked against the lock.
/// What the store has already is not fetched again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild fetch                              everything
  kbuild fetch --board qemu                 what one board needs
  kbuild fetch --offline --mirror /media/store
                                            from a copy of a store, with no network")]
pub(in crate::cli) struct FetchArgs {
    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,
}

impl FetchArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let sources = project.sources(&lock, &self.boards)?;
        let fetcher = project.fetcher(global, output)?;
        let fetched = runtime::wait(fetcher.sources(&lock, &sources))?;
        Ok(outcome(sources.len(), "fetched", &fetched, output))
    }
}

/// Says how many sources were fetched; `verb` is what was done to those that were missing.
pub(in crate::cli) fn outcome(sources: usize, verb: &str, fetched: &Fetched, output: &Output) -> Outcome {
    output.say(&format!(
        "{} in the store: {} {verb} ({} of files), {} already there",
        count(sources, "source"),
        fetched.count,
        progress::size(fetched.bytes),
        sources - fetched.count,
    ));
    Outcome::new(json!({ "sources": sources, "fetched": fetched.count, "bytes": fetched.bytes }), "")
}
