//! `kbuild export`: writes what a lock names into a bundle, for a place without network.

use std::io::{BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::export_kas;
use crate::builder::seal;
use crate::bundle::{self, ExportRequest, Exported, Ledger, Signer, Target};
use crate::cli::global::{Format, GlobalArgs};
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::disk;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::progress;

/// Writes a bundle: what kbuild.lock names, from the store, for a place without network.
///
/// The bundle is a directory, which people can look into and whose interrupted export is continued; or one tar
/// archive, if the name ends in .tar. The same lock and store give the same bytes.
///
/// With `--kas`, it writes kas files instead, with the commits of the lock, and lists what kas cannot say.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild export /media/usb/bundle                   a directory
  kbuild export --board qemu qemu.tar               one file, for one board
  kbuild export - | ssh there kbuild import -       through a pipe
  kbuild export --since old.tar new.tar             only what is not in old.tar
  kbuild export --sign kbuild.key --self out.tar    signed, with kbuild itself
  kbuild export --kas --board qemu kas/qemu.yml     a kas file, with the commits of the lock
  kbuild export --kas kas                           a kas file for each board, in a directory")]
pub(in crate::cli) struct ExportArgs {
    /// A directory; one file, if the name ends in .tar; `-` for standard output.
    #[arg(value_name = "DIR|FILE")]
    target: PathBuf,

    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Leave out what the other side has: an earlier bundle, its `kbuild store ledger`, or its kbuild.lock.
    #[arg(long, value_name = "BUNDLE|LEDGER|LOCK")]
    since: Vec<PathBuf>,

    /// Sign with this secret key of minisign. Asks for its password, or takes it from KBUILD_SIGN_PASSWORD.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,

    /// Add this kbuild program to the bundle.
    #[arg(long = "self")]
    program: bool,

    /// Write a kas file of a board (.yml or .yaml, or `-`), or one of each board into a directory.
    #[arg(long, conflicts_with_all = ["since", "sign", "program"])]
    kas: bool,
}

impl ExportArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        if self.kas {
            return export_kas::run(&self.target, &self.boards, global, output);
        }
        let pipe = self.target == Path::new("-");
        if pipe && global.format == Format::Json {
            let clash = "a bundle and a JSON document cannot both be written to standard output";
            return Err(Error::new(Kind::Usage, clash).help("name a file, or leave out `--format json`"));
        }
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let sources = project.sources(&lock, &self.boards)?;
        let mut theirs = Ledger::default();
        for path in &self.since {
            theirs.merge(Ledger::read(path)?);
        }
        let signer = self.sign.as_deref().map(|key| Signer::read(key, || password(key))).transpose()?;
        let store = project.store()?;
        let program = self.program.then(seal::this_program);
        let request = ExportRequest {
            project: &project.manifest.project,
            boards: &self.boards,
            lock: &lock,
            sources: &sources,
            lock_text: project.lock_text()?.unwrap_or_default(),
            manifest: project.manifest_text()?,
            program: program.as_deref(),
        };
        let exported = runtime::work(output, || {
            let plan = bundle::plan(&store, request, &theirs)?;
            bundle::export(&store, plan, target(self.target.clone()), signer.as_ref(), output.progress.as_ref())
        })?;
        let place = if pipe { "standard output".to_owned() } else { disk::shown(&self.target) };
        output.say(&describe(&exported, &place, signer.is_some()));
        Ok(Outcome::new(json(&exported, signer.is_some()), ""))
    }
}

fn target(path: PathBuf) -> Target {
    if path == Path::new("-") {
        return Target::Stream(Box::new(BufWriter::with_capacity(1 << 20, std::io::stdout())));
    }
    let archive = path.extension().is_some_and(|extension| extension == "tar");
    if archive { Target::File(path) } else { Target::Directory(path) }
}

fn password(key: &Path) -> Result<String> {
    if let Ok(password) = std::env::var(env_vars::KBUILD_SIGN_PASSWORD) {
        return Ok(password);
    }
    let nobody =
        || Error::input(format!("{} has a password, and there is no terminal to ask for it", disk::shown(key)));
    if !std::io::stderr().is_terminal() {
        return Err(nobody().help(format!("set it in {}", env_vars::KBUILD_SIGN_PASSWORD)));
    }
    rpassword::prompt_password(format!("Password of {}: ", disk::shown(key))).map_err(|error| nobody().because(error))
}

fn describe(exported: &Exported, place: &str, signed: bool) -> String {
    let index = &exported.index;
    let (carried, left_out) = (index.carried().count(), index.blobs.len() - index.carried().count());
    let records = index.commits.iter().filter(|commit| commit.record.is_some()).count();
    let mut text = format!(
        "{} and {} ({}) in {place}{}",
        count(carried, "blob"),
        count(records, "commit"),
        progress::size(index.header.bytes),
        if signed { ", signed" } else { "" },
    );
    let commits = index.commits.len() - records;
    if left_out + commits > 0 {
        text += &format!("; left out {} and {}", count(left_out, "blob"), count(commits, "commit"));
    }
    if exported.kept > 0 {
        text += &format!("; {} were there already", exported.kept);
    }
    text
}

fn json(exported: &Exported, signed: bool) -> serde_json::Value {
    let index = &exported.index;
    let (carried, records) =
        (index.carried().count(), index.commits.iter().filter(|commit| commit.record.is_some()).count());
    json!({
        "blobs": carried,
        "commits": records,
        "bytes": index.header.bytes,
        "left_out": { "blobs": index.blobs.len() - carried, "commits": index.commits.len() - records },
        "signed": signed,
    })
}
