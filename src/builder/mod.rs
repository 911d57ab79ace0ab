//! A board's build: layers and view are prepared, BitBake runs in the seal, the result is written and compared.
//!
//! What may enter: the order of a build's parts, and what the host must have for them. How BitBake is
//! configured and called is `bitbake`'s; where bytes are stored is `store`'s. Nothing here uses the network.
//!
//! ```text
//! <project>/build/
//!   layers/<name>-<commit12>/   checkouts, shared by boards
//!   <board>.lock                held while something is built in <board>/
//!   <board>.artifacts           hashes of what was deployed, beside the files' times
//!   <board>.view                what the view in <board>/ holds
//!   <board>.conf                hashes of what kbuild wrote into <board>/conf/
//!   <board>.closures/           what discoveries found, for the next one after an edit
//!   <board>/                    TOPDIR
//!     conf/ classes/            bblayers.conf, local.conf, kbuild.conf; kbuild's own class
//!     kbuild/                   what that class says of the recipes, see [`discover`](mod@discover)
//!     sources/{flat,git2,dl}    the view
//!     tmp/ sstate-cache         TMPDIR; SSTATE_DIR, a link to the shared state
//!     home/ scratch/            HOME and /tmp of the build, emptied before each
//!     result.json
//!   <board>.check/              the same, from nothing, for `--check`
//!   sstate-cache/               the shared state of all boards, unless `[cache] dir` says where
//! ```

pub mod comparison;
pub mod discover;
pub mod doctor;
pub mod layers;
pub mod qemu;
pub mod result;
pub mod seal;
pub mod unpack;

mod ask_fetchers;
mod channel;
mod clean;
mod failure;
mod hosttools;
mod inside;
mod inside_artifacts;
mod known_artifacts;
mod known_closure;
mod needed;
mod observe;
mod prepare;
mod shared_state;
mod undone;
mod unlocked;
mod watch;
mod workspace;

pub use clean::{CleanRequest, Cleaned, clean};
pub use discover::{DiscoverRequest, Discoverer, discover};
pub use inside_artifacts::FirstDifference;
pub use needed::Asked;
pub use observe::BuildOutput;
pub use prepare::{BuildDir, BuildRequest, Prepared, prepare, this_machine};
pub use result::{Artifact, BuildResult, CacheRecord, Difference, compare};
pub use seal::{Seal, Stdout};
pub use shared_state::{keep_boards_still, shared_state};
pub use unpack::fetch_and_unpack;
pub use watch::TaskCounts;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use crate::bitbake::discovery::DiscoveryDir;
use crate::bitbake::{Engine, Job, Verbosity, conf};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use result::BuildInputs;

/// Runs BitBake in a prepared board: the job's targets or else the board's. What goes on is shown on stderr, by `progress` or
/// by BitBake itself. The result is written into TOPDIR; an older one is gone as soon as BitBake starts.
///
/// # Errors
/// Kind `Engine` when BitBake fails or is interrupted, `Usage` when there is nothing to build.
pub fn run(prepared: &Prepared, job: &Job<'_>, output: BuildOutput, progress: &dyn Progress) -> Result<BuildResult> {
    let targets = if job.targets.is_empty() { &prepared.targets } else { job.targets };
    // Its complaints alone come through a display.
    let words = if output == BuildOutput::Raw { job.words } else { Verbosity::Few };
    let arguments = Engine::arguments(&Job { targets, words, ..*job })?;
    disk::remove_file(&prepared.topdir.join(result::FILE_NAME))?;
    let run = command(prepared, arguments, &prepared.topdir)?;
    let found = DiscoveryDir::begin(&prepared.topdir)?;
    // What the host's tools say of their version takes a moment, which BitBake takes too.
    let path = prepared.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let (observed, host_tools) = std::thread::scope(|scope| {
        let tools = scope.spawn(|| result::host_tools(&path));
        (observe::run(prepared, run, Some(output), progress), tools.join().unwrap_or_default())
    });
    let observed = observed?;
    undone::tell(&prepared.topdir, progress);
    observed
        .outcome(targets, &prepared.topdir, prepared.log().as_deref())
        .map_err(|error| error.with_related(prepared.given.complaints(&found.failed_fetches().unwrap_or_default())))?;
    found.check_settled()?;
    let result = BuildResult {
        schema: result::SCHEMA,
        kbuild: env!("CARGO_PKG_VERSION").to_owned(),
        inputs: BuildInputs { host_tools, ..prepared.inputs_with(found.external_sources()?) },
        targets: targets.to_vec(),
        task: job.task.map(str::to_owned),
        tasks: observed.watch.counts(),
        cache: observed.cache,
        artifacts: result::artifacts(&prepared.deploy(), &prepared.topdir, &prepared.artifacts_record())?,
    };
    result.write(&prepared.topdir)?;
    Ok(result)
}

/// Takes what shared state has of a prepared board's targets, here and in caches elsewhere, and builds nothing.
///
/// # Errors
/// As [`run`].
pub fn take_from_caches(prepared: &Prepared, output: BuildOutput, progress: &dyn Progress) -> Result<CacheRecord> {
    let arguments = Engine::cached_arguments(&prepared.targets)?;
    let run = command(prepared, arguments, &prepared.topdir)?;
    let observed = observe::run(prepared, run, Some(output), progress)?;
    observed.outcome(&prepared.targets, &prepared.topdir, prepared.log().as_deref())?;
    Ok(observed.cache)
}

/// Opens a prepared board for a person: runs `command` (or, where it is empty, `shell` interactively) in the
/// environment and inside the seal of a build, with TOPDIR as the working directory. Returns the command's exit status
/// as a shell does.
///
/// # Errors
/// When it cannot be started.
pub fn shell(prepared: &Prepared, command: &[OsString], shell: Option<&OsStr>, progress: &dyn Progress) -> Result<i32> {
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
    Ok(observe::run(prepared, program, None, progress)?.ended.status)
}

/// Builds a board, then again from nothing (no sstate, another directory), and compares the artifacts.
///
/// # Errors
/// As [`run`]; kind `NotReproducible` naming each artifact that differs; kind `Input` when there was nothing to compare.
pub fn check(request: &BuildRequest<'_>, job: &Job<'_>, output: BuildOutput) -> Result<BuildResult> {
    let first = {
        let prepared = prepare(request, BuildDir::Build)?;
        run(&prepared, job, output, request.progress)?
    };
    let prepared = prepare(request, BuildDir::Check)?;
    let second = run(&prepared, job, output, request.progress)?;
    if second.artifacts.is_empty() {
        return compare_staged(request, first, &prepared);
    }
    // The first directory may have artifacts of other builds; only the second has exactly those of this one.
    let differences = compare(&first.artifacts, &second.artifacts);
    if differences.is_empty() {
        return Ok(first);
    }
    let deploy = BuildDir::Build.topdir(request).map(|topdir| prepare::deploy(&topdir, &first.inputs.machine))?;
    Err(not_reproducible(request.board, &differences, &deploy, &prepared.deploy()))
}

/// Where nothing was deployed, what the targets staged for other recipes is compared, and is what the result names.
fn compare_staged(request: &BuildRequest<'_>, first: BuildResult, second: &Prepared) -> Result<BuildResult> {
    let topdir = BuildDir::Build.topdir(request)?;
    let (here, there) = (result::staged(&topdir, &first.targets)?, result::staged(&second.topdir, &first.targets)?);
    if there.is_empty() {
        return Err(Error::input(format!("the board `{}` deployed nothing that could be compared", request.board))
            .help("name a target that deploys an image or is a native recipe, and no --task that stops before"));
    }
    let differences = compare(&here, &there);
    if differences.is_empty() {
        return Ok(BuildResult { artifacts: here, ..first });
    }
    let tmp = |topdir: &Path| topdir.join(conf::TMPDIR);
    Err(not_reproducible(request.board, &differences, &tmp(&topdir), &tmp(&second.topdir)))
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
    run_inside(prepared, &prepared.seal, command(prepared, arguments, from)?, Stdout::ToStderr)
}

/// BitBake's command line, to be run from a directory. The log of the run before is gone.
fn command(prepared: &Prepared, arguments: Vec<String>, from: &Path) -> Result<Command> {
    prepared.forget_log()?;
    let mut command = Command::new(prepared.engine.program());
    command.args(arguments).current_dir(from);
    Ok(command)
}

/// Runs a program of kbuild's with the Python that runs BitBake, inside the seal; returns its exit status. What it says goes to
/// stderr.
fn python<T: AsRef<OsStr>>(prepared: &Prepared, arguments: impl IntoIterator<Item = T>, what: &str) -> Result<i32> {
    let mut command = Command::new("python3");
    command.args(arguments).current_dir(&prepared.topdir);
    let ended = run_inside(prepared, &prepared.seal, command, Stdout::ToStderr)?;
    if ended.interrupted {
        return Err(Error::new(Kind::Interrupted, format!("{what} was interrupted")));
    }
    Ok(ended.status)
}

fn run_inside(prepared: &Prepared, seal: &Seal, mut command: Command, stdout: Stdout<'_>) -> Result<seal::Ended> {
    for (name, value) in &prepared.environment {
        // Variables that were set for this command alone are kept.
        if !command.get_envs().any(|(own, _)| own == name) {
            command.env(name, value);
        }
    }
    seal::run(&prepared.kbuild, seal, &mut command, stdout)
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
