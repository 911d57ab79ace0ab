//! `kbuild pull`: fetches what the lock names from one other store.

use clap::Args;

use super::fetch;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::manifest::Mirrors;
use crate::source::SourceId;
use crate::source::url::redact;
use crate::store::Store;

/// Fetches what kbuild.lock names from one other store: a bucket, a registry, a web server or a directory.
///
/// Asks no other server, so that it shows whether that store has everything. Every byte is checked against the lock.
/// What the store has already is not fetched again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild pull s3://team-sources/kata               a bucket that `kbuild push` filled
  kbuild pull oci://registry.corp/team/kata:v1     the same, from a registry
  kbuild pull https://mirror.corp/kbuild-store     a store behind a web server
  kbuild pull --offline --board qemu /media/store  a directory, with no network")]
pub(in crate::cli) struct PullArgs {
    /// A bucket (`s3://BUCKET/PREFIX`, `gs://…`, `az://…`), a registry (`oci://HOST/REPOSITORY[:TAG]`), an http URL, or a
    /// directory.
    #[arg(value_name = "FROM")]
    from: String,

    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,
}

impl PullArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let from = Mirrors::store(&self.from).map_err(|error| error.of_kind(Kind::Usage))?;
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let sources = project.sources(&lock, &self.boards)?;
        let fetcher = project.fetcher_from(from, global, output)?;
        let fetched = runtime::wait(fetcher.sources(&lock, &sources));
        let fetched = fetched.map_err(|error| self.in_short(error, &lock, &sources, fetcher.store()))?;
        Ok(fetch::outcome(sources.len(), "pulled", &fetched, output))
    }

    /// If the only fault is that several sources are missing, one error lists their names.
    fn in_short(&self, error: Error, lock: &Lock, sources: &[SourceId], store: &Store) -> Error {
        let related = error.related_errors();
        if related.is_empty() || related.iter().any(|error| error.kind() != Kind::Missing) {
            return error;
        }
        let lacking = |id: &&SourceId| lock.get(id).is_ok_and(|locked| !store.has(locked));
        let lacking: Vec<String> = sources.iter().filter(lacking).map(ToString::to_string).collect();
        let from = redact(&self.from);
        let short = Error::new(Kind::Missing, format!("{} are not in {from}", count(lacking.len(), "source")));
        let hint = related.iter().find_map(Error::hint).unwrap_or_default().to_owned();
        short.because(Error::input(lacking.join("\n"))).help(hint)
    }
}
