//! `kbuild mirror`: writes a directory that plain BitBake fetches from.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::bitbake::{Base, site};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::mirror::{LaidOut, Mirror, MirrorRequest, lay_out};
use crate::progress;

/// Writes a directory for machines that run BitBake without kbuild. Any web server can serve it.
///
/// It has every file of kbuild.lock under the name that BitBake looks for, every repository as a tarball, and the
/// configuration that points BitBake to it. A second run adds what is new and removes what no source needs any more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild mirror --url https://mirror.corp/kbuild /srv/www/kbuild
  kbuild mirror --url file:///mnt/mirror /mnt/mirror          a share that all machines mount
  kbuild mirror --board qemu --url http://10.0.0.2 qemu")]
pub(in crate::cli) struct MirrorArgs {
    /// A directory that is used for nothing else.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The URL at which BitBake finds that directory: http, https, or file if all machines mount it at one path.
    #[arg(long, value_name = "URL")]
    url: String,

    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,
}

impl MirrorArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let base = Base::new(&self.url).map_err(|error| error.of_kind(Kind::Usage))?;
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        project.sources(&lock, &self.boards)?;
        let store = project.store()?;
        let wanted = MirrorRequest {
            project: &project.manifest.project,
            lock: &lock,
            manifest: Some(&project.manifest),
            boards: &self.boards,
        };
        let mirror = Mirror::plan(&store, wanted)?;
        let (never_seen, missing): (Vec<_>, Vec<_>) =
            mirror.missing().iter().partition(|id| lock.get(id).is_ok_and(|locked| !locked.is_complete()));
        if let [first, ..] = missing.as_slice() {
            let message = format!("{} not in the store, {first} among them", count(missing.len(), "source"));
            return Err(Error::new(Kind::Missing, message).help("run `kbuild fetch` first"));
        }
        for id in never_seen {
            output.warn(&format!("{id} was never fetched and is not in the store: the mirror does not have it"));
        }
        let laid_out = lay_out(&store, &mirror, &base, &self.directory, output.progress.as_ref())?;
        output.say(&describe(&laid_out, &disk::shown(&self.directory)));
        output.say(&format!("For plain BitBake: {}{}", base.address(), site::FILE_NAME));
        let json = json!({
            "files": laid_out.files,
            "tarballs": laid_out.tarballs,
            "bytes": laid_out.bytes,
            "kept": laid_out.kept,
            "removed": laid_out.removed,
            "url": base.address(),
        });
        Ok(Outcome::new(json, ""))
    }
}

fn describe(laid_out: &LaidOut, place: &str) -> String {
    let mut text = format!(
        "{} and {} ({}) in {place}",
        count(laid_out.files, "file"),
        count(laid_out.tarballs, "repository tarball"),
        progress::size(laid_out.bytes),
    );
    if laid_out.kept > 0 {
        text += &format!("; {} were there already", laid_out.kept);
    }
    if laid_out.removed > 0 {
        text += &format!("; {} removed", laid_out.removed);
    }
    text
}
