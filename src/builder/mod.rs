//! A board's build: layers and view are prepared, BitBake runs in the seal, the result is written and compared.
//!
//! What may enter: the order of a build's parts, and what the host must have for them. How BitBake is
//! configured and called is `bitbake`'s; where bytes are stored is `store`'s. Nothing here uses the network.
//!
//! ```text
//! <project>/build/
//!   layers/<name>-<commit12>/   checkouts, shared by boards
//!   <board>.lock                held while something is built in <board>/
//!   <board>.view                what the view in <board>/ holds
//!   <board>.conf                hashes of what kbuild wrote into <board>/conf/
//!   <board>.closures/           what discoveries found, for the next one after an edit
//!   <board>/                    TOPDIR
//!     conf/ classes/            bblayers.conf, local.conf, kbuild.conf; kbuild's own class
//!     kbuild/                   what that class says of the recipes, see [`discover`](mod@discover)
//!     sources/{flat,git2,dl}    the view
//!     tmp/ sstate-cache/        TMPDIR, SSTATE_DIR
//!     home/ scratch/            HOME and /tmp of the build, emptied before each
//!     result.json
//!   <board>.check/              the same, from nothing, for `--check`
//! ```

pub mod discover;
pub mod doctor;
pub mod layers;
pub mod qemu;
pub mod result;
pub mod seal;
pub mod unpack;

mod ask_fetchers;
mod hosttools;
mod inside;
mod known_closure;
mod prepare;
mod unlocked;
mod workspace;

pub use discover::{DiscoverRequest, Discoverer, discover};
pub use prepare::{BuildDir, BuildRequest, Prepared, prepare, this_machine};
pub use result::{Artifact, BuildResult, Difference, compare};
pub use seal::{Seal, Stdout};
pub use unpack::fetch_and_unpack;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use crate::bitbake::discovery::DiscoveryDir;
use crate::bitbake::{Engine, Job, conf, engine};
use crate::disk;
use crate::error::{Error, Kind, Result};

/// Runs BitBake in a prepared board: the job's targets or else the board's. All that BitBake says goes to stderr. The
/// result is written into TOPDIR; an older one is gone as soon as BitBake starts.
///
/// # Errors
/// Kind `Engine` when BitBake fails or is interrupted, `Usage` when there is nothing to build.
pub fn run(prepared: &Prepared, job: &Job<'_>) -> Result<BuildResult> {
    let targets = if job.targets.is_empty() { &prepared.targets } else { job.targets };
    let arguments = Engine::arguments(&Job { targets, ..*job })?;
    disk::remove_file(&prepared.topdir.join(result::FILE_NAME))?;
    let found = DiscoveryDir::begin(&prepared.topdir)?;
    let ended = bitbake(prepared, arguments, &prepared.topdir)?;
    let outcome = engine::outcome(ended.status, ended.interrupted, targets, prepared.log().as_deref());
    outcome
        .map_err(|error| error.with_related(prepared.given.complaints(&found.failed_fetches().unwrap_or_default())))?;
    let result = BuildResult {
        schema: result::SCHEMA,
        kbuild: env!("CARGO_PKG_VERSION").to_owned(),
        inputs: prepared.inputs_with(found.external_sources()?),
        targets: targets.to_vec(),
        task: job.task.map(str::to_owned),
        artifacts: result::artifacts(&prepared.deploy(), &prepared.topdir)?,
    };
    result.write(&prepared.topdir)?;
    Ok(result)
}

/// Opens a prepared board for a person: runs `command` (or, where it is empty, `shell` interactively) in the
/// environment and inside the seal of a build, with TOPDIR as the working directory. Returns the command's exit status
/// as a shell does.
///
/// # Errors
/// When it cannot be started.
pub fn shell(prepared: &Prepared, command: &[OsString], shell: Option<&OsStr>) -> Result<i32> {
    let mut program = match command {
        [] => Command::new(shell.filter(|shell| Path::new(shell).is_absolute()).unwrap_or("/bin/bash".as_ref())),
        [program, arguments @ ..] => {
            let found = which::which_in(program, prepared.environment.get(OsStr::new("PATH")), &prepared.topdir);
            let found = found.map_err(|error| {
                Error::new(Kind::Usage, format!("`{}` is not in the build's PATH", program.display())).because(error)
            })?;
            let mut command = Command::new(found);
            command.args(arguments);
            command
        }
    };
    program.env("SHELL", shell.unwrap_or("/bin/bash".as_ref()));
    program.current_dir(&prepared.topdir);
    Ok(run_inside(prepared, program, Stdout::Own)?.status)
}

/// Builds a board, then again from nothing (no sstate, another directory), and compares the artifacts.
///
/// # Errors
/// As [`run`]; kind `NotReproducible` naming each artifact that differs; kind `Input` when there was nothing to compare.
pub fn check(request: &BuildRequest<'_>, job: &Job<'_>) -> Result<BuildResult> {
    let first = {
        let prepared = prepare(request, BuildDir::Build)?;
        run(&prepared, job)?
    };
    let prepared = prepare(request, BuildDir::Check)?;
    let second = run(&prepared, job)?;
    // The first directory may have artifacts of other builds; only the second has exactly those of this one.
    if second.artifacts.is_empty() {
        return Err(Error::input(format!("the board `{}` deployed nothing that could be compared", request.board))
            .help("name a target that deploys an image, and no --task that stops before"));
    }
    let differences = compare(&first.artifacts, &second.artifacts);
    if differences.is_empty() {
        return Ok(first);
    }
    let deploy = BuildDir::Build.topdir(request).map(|topdir| prepare::deploy(&topdir, &first.inputs.machine))?;
    Err(not_reproducible(request.board, &differences, &deploy, &prepared.deploy()))
}

fn not_reproducible(board: &str, differences: &[Difference], first: &Path, second: &Path) -> Error {
    let lines: Vec<String> = differences.iter().map(|difference| format!("  {difference}")).collect();
    let message =
        format!("two builds of `{board}` do not agree on {} artifacts:\n{}", differences.len(), lines.join("\n"));
    let bytes = differences.iter().find(|difference| difference.what == result::DifferenceKind::Bytes);
    let help = match (bytes, which::which("diffoscope")) {
        (Some(difference), Ok(_)) => {
            let (a, b) = (first.join(&difference.path), second.join(&difference.path));
            format!("see why: diffoscope {} {}", a.display(), b.display())
        }
        (Some(_), Err(_)) => {
            format!("install diffoscope to see why; the builds are in {} and {}", first.display(), second.display())
        }
        // It may come from another target or option that was built before in the same directory.
        (None, _) => {
            format!("the builds are in {} and {}; empty the first and check again", first.display(), second.display())
        }
    };
    Error::new(Kind::NotReproducible, message).help(help)
}

/// Runs BitBake from a directory; all that it says goes to stderr.
fn bitbake(prepared: &Prepared, arguments: Vec<String>, from: &Path) -> Result<seal::Ended> {
    prepared.forget_log()?;
    let mut command = Command::new(prepared.engine.program());
    command.args(arguments).current_dir(from);
    run_inside(prepared, command, Stdout::ToStderr)
}

fn run_inside(prepared: &Prepared, mut command: Command, stdout: Stdout) -> Result<seal::Ended> {
    for (name, value) in &prepared.environment {
        // Variables that were set for this command alone are kept.
        if !command.get_envs().any(|(own, _)| own == name) {
            command.env(name, value);
        }
    }
    seal::run(&prepared.kbuild, &prepared.seal, &mut command, stdout)
}

impl Prepared {
    /// The greeting of an interactive shell.
    pub fn notice(&self) -> String {
        let seal = match self.seal.lack() {
            None => "There is no network in here, and nothing but this directory can be written.".to_owned(),
            Some(lack) => format!("This shell is not sealed: {lack}."),
        };
        format!(
            "Board `{}`, BitBake {}, in {}.\n{seal}\n\
             Try: bitbake {}    Configuration: conf/{}.conf (written by kbuild)    Leave: exit",
            self.inputs.board,
            self.engine.version(),
            self.topdir.display(),
            self.targets.join(" "),
            conf::NAME,
        )
    }
}
