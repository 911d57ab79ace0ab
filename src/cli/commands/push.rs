//! `kbuild push`: sends what the lock names to a store that the team shares.

use clap::Args;
use serde_json::json;

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::{Error, Kind, Result};
use crate::progress;
use crate::remote::{self, Destination, PushRequest, Pushed};

/// Sends what kbuild.lock names from the store to another store: a bucket, a container registry, or a directory.
///
/// Sends only what is missing there, and compares every byte with its hash on the way. If it fails, what was sent stays:
/// run it again. Removes nothing there. Looks for credentials where the service's own tools look for them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild push s3://team-sources/kata              S3, or a server with the same protocol at AWS_ENDPOINT_URL
  kbuild push gs://team-sources/kata              Google Cloud Storage
  kbuild push az://sources/kata                   Azure, in the account AZURE_STORAGE_ACCOUNT_NAME
  kbuild push oci://registry.corp/team/kata       a container registry; a tag may follow
  kbuild push --board qemu /srv/kbuild-store      a directory: another store")]
pub(in crate::cli) struct PushArgs {
    /// A bucket (`s3://BUCKET/PREFIX`, `gs://…`, `az://…`), a registry (`oci://HOST/REPOSITORY[:TAG]`) or a directory.
    #[arg(value_name = "TO")]
    to: String,

    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,
}

impl PushArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let to = Destination::read(&self.to).map_err(|error| error.of_kind(Kind::Usage))?;
        if global.offline() && matches!(to, Destination::Remote(_)) {
            let error = Error::new(Kind::Missing, format!("{} cannot be reached", self.to));
            return Err(error.because("the network may not be used").help("run the command without --offline"));
        }
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let sources = project.sources(&lock, &self.boards)?;
        let lock_text = project.lock_text()?.unwrap_or_default();
        let request = PushRequest { lock: &lock, sources: &sources, lock_text: &lock_text };
        let store = project.store()?;
        let pushed = runtime::wait(remote::push(&store, &request, &to, usize::from(global.jobs), &output.progress))?;
        output.say(&describe(&pushed, &self.to));
        let Pushed { sent, blobs, commits } = pushed;
        let json = json!({
            "sources": sources.len(),
            "blobs": sent.blobs,
            "commits": sent.commits,
            "bytes": sent.bytes,
            "already_there": { "blobs": blobs - sent.blobs, "commits": commits - sent.commits },
        });
        Ok(Outcome::new(json, ""))
    }
}

fn describe(Pushed { sent, blobs, commits }: &Pushed, to: &str) -> String {
    format!(
        "{} ({}) and {} sent to {to}, {} and {} already there",
        count(sent.blobs, "blob"),
        progress::size(sent.bytes),
        count(sent.commits, "commit"),
        count(blobs - sent.blobs, "blob"),
        count(commits - sent.commits, "commit"),
    )
}
