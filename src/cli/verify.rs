//! `kbuild verify`: every byte of the store that the lock names, read and compared.

use clap::Args;
use rayon::prelude::*;
use serde_json::json;

use super::global::GlobalArgs;
use super::output::{Outcome, Output, count};
use super::project::Project;
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::source::SourceId;
use crate::store::Store;

/// Reads every byte of the store that kata.lock names, and compares it with the lock.
///
/// Uses no network, unless --repair has something to fetch again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild verify                     everything the lock names
  kbuild verify --board qemu        what one board needs
  kbuild verify --repair            set damaged bytes aside and fetch them again")]
pub(super) struct VerifyArgs {
    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Set aside what is damaged, and fetch it and what is missing again.
    #[arg(long)]
    repair: bool,
}

/// A source that the store does not have as the lock says.
struct Fault {
    id: SourceId,
    error: Error,
}

impl VerifyArgs {
    pub(super) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let sources = project.sources(&lock, &self.boards)?;
        let store = project.store()?;
        let mut faults = check(&store, &lock, &sources)?;
        let mut repaired = 0;
        if self.repair && !faults.is_empty() {
            repaired = faults.len();
            for fault in faults.iter().filter(|fault| fault.error.kind() == Kind::Mismatch) {
                store.discard(lock.get(&fault.id)?)?;
            }
            let again: Vec<SourceId> = faults.into_iter().map(|fault| fault.id).collect();
            super::wait(project.fetcher(global, output)?.sources(&lock, &again))?;
            faults = check(&store, &lock, &again)?;
        }
        let list: Vec<_> =
            faults.iter().map(|fault| json!({ "source": fault.id, "kind": fault.error.kind().name() })).collect();
        let json = json!({ "sources": sources.len(), "faults": list, "repaired": repaired });
        let mut outcome = Outcome::new(json, "");
        let errors = faults.into_iter().map(|fault| fault.error).collect();
        outcome.error =
            Error::all(errors, |faults| format!("{faults} of {} are not as locked", count(sources.len(), "source")));
        if outcome.error.is_none() {
            let mended = if repaired > 0 { format!(", {repaired} of them fetched again") } else { String::new() };
            output.say(&format!("{} in the store, every byte as locked{mended}", count(sources.len(), "source")));
        }
        Ok(outcome)
    }
}

/// The sources that the store lacks or has with other bytes; all cores, as fast as the disk gives.
fn check(store: &Store, lock: &Lock, sources: &[SourceId]) -> Result<Vec<Fault>> {
    let verify = |id: &SourceId| {
        let outcome = lock.get(id).and_then(|locked| store.verify(locked));
        outcome.err().map(|error| Fault { id: id.clone(), error: error.wrap(format!("{id} is not in order")) })
    };
    let faults: Vec<Fault> = sources.par_iter().filter_map(verify).collect();
    // A store that cannot be read is no statement about its sources.
    match faults.iter().position(|fault| !matches!(fault.error.kind(), Kind::Mismatch | Kind::Missing)) {
        Some(at) => Err(faults.into_iter().nth(at).map_or_else(|| Error::bug("a fault was lost"), |fault| fault.error)),
        None => Ok(faults),
    }
}
