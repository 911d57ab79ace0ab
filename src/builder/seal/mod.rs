//! The seal: walls between a build and everything that is not its own, made with mechanisms of the kernel.
//!
//! BitBake's own switches do not keep everything off the network (sstate probes, tasks with `[network]`, programs that
//! a recipe calls), and a recipe is a program: so BitBake runs inside the seal from its first line on, parse-time
//! Python included. `docs/reference/seal.md` lists what can be reached from inside; a test tries every row.
//!
//! Two processes stand between kbuild and BitBake, since the process that enters a user namespace must have one thread
//! and the one that is first in a pid namespace must be born there. kbuild starts itself again for both: `kbuild
//! __sealed SPEC`, which [`become_child_if_told`] serves before anything else happens in `main`.
//!
//! ```text
//! kbuild ─▶ outer: user, network, ipc, uts, cgroup and mount namespaces; waits
//!             └▶ inner: first process of a pid namespace; makes the root, locks it, gives up rights; reaps
//!                  └▶ BitBake
//! ```
//!
//! The inner one sees to the end of what BitBake leaves behind (its server, its workers). It dies with kbuild
//! (`PR_SET_PDEATHSIG`), and then so does everything in its namespace. SIGTERM and SIGHUP are passed on; Ctrl-C goes
//! where the terminal sends it, to BitBake, which knows how to stop tasks.
//!
//! Where the kernel forbids namespaces (containers, hardened hosts), only Landlock and seccomp are left. [`probe`] finds
//! that out, with the reason.

mod child;
mod forward;
mod landlock;
mod namespaces;
mod reachable;
mod root;
mod supervise;
mod system_calls;
mod walls;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use self::child::become_child_if_told;
use self::child::{Mechanism, SUBCOMMAND, Spec, Stood};
pub use self::forward::Forward;
pub use self::reachable::{MountAccess, Reachable};
pub use self::supervise::Ended;
use self::supervise::{OWN_FAILURE, wait_through_signals};
pub use self::walls::{By, Wall, Walls};
use crate::error::{Error, Kind, Result};

/// The seal of a build, as far as this host can make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    mechanism: Mechanism,
    walls: Walls,
    reachable: Reachable,
    reasons: Vec<String>,
    forwards: Vec<Forward>,
}

/// Where the output of a command goes.
#[derive(Debug, Clone, Copy)]
pub enum Stdout<'a> {
    /// To kbuild's stdout: the output is what the user asked for.
    Own,
    /// To kbuild's stderr: stdout is for the result.
    ToStderr,
    /// That of stderr too: into this file or pipe.
    Both(BorrowedFd<'a>),
}

impl Seal {
    /// The walls that stand.
    pub fn walls(&self) -> &Walls {
        &self.walls
    }

    /// Whether every wall stands.
    pub fn is_whole(&self) -> bool {
        self.walls.all_stand()
    }

    /// Whether something of the build's own loopback device can be forwarded: it has one only in a network namespace.
    pub fn can_forward(&self) -> bool {
        self.mechanism != Mechanism::Rules
    }

    /// What of the build's own loopback device leads to sockets that are waited at outside.
    pub fn set_forwards(&mut self, forwards: Vec<Forward>) {
        self.forwards = forwards;
    }

    /// Which walls do not stand, and why; `None` where all do.
    pub fn lack(&self) -> Option<String> {
        let missing: Vec<String> = self.walls.missing().map(|wall| wall.to_string()).collect();
        if missing.is_empty() {
            return None;
        }
        let reasons = if self.reasons.is_empty() { String::new() } else { format!(" ({})", self.reasons.join("; ")) };
        Some(format!("no wall around {}{reasons}", missing.join(", ")))
    }
}

/// kbuild itself, as the program that becomes the sealed process: the program that runs now, even if its file was
/// replaced since.
pub fn this_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Finds the strongest seal that this host can make, by making it in a child that does nothing
/// else.
///
/// # Errors
/// When `kbuild` cannot be started at all. A kernel that says no is a weaker [`Seal`], not an error.
pub fn probe(kbuild: &Path, reachable: &Reachable) -> Result<Seal> {
    probe_mechanisms(kbuild, reachable, &[Mechanism::Namespaces, Mechanism::SharedProcesses, Mechanism::Rules])
}

/// As [`probe`], without namespaces, as on hosts that forbid them.
///
/// # Errors
/// As [`probe`].
pub fn probe_without_namespaces(kbuild: &Path, reachable: &Reachable) -> Result<Seal> {
    probe_mechanisms(kbuild, reachable, &[Mechanism::Rules])
}

fn probe_mechanisms(kbuild: &Path, reachable: &Reachable, mechanisms: &[Mechanism]) -> Result<Seal> {
    let mut reasons: Vec<String> = Vec::new();
    for mechanism in mechanisms {
        match try_mechanism(kbuild, reachable, *mechanism)? {
            Ok(stood) => {
                reasons.extend(stood.reasons);
                let (reachable, forwards) = (reachable.clone(), Vec::new());
                return Ok(Seal { mechanism: *mechanism, walls: stood.walls, reachable, reasons, forwards });
            }
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Error::new(Kind::Io, "the build's process could not be set up")
        .because(reasons.join("; "))
        .help("run `kbuild doctor`"))
}

/// The walls that one mechanism made, or why it could not make them.
fn try_mechanism(kbuild: &Path, reachable: &Reachable, mechanism: Mechanism) -> Result<Result<Stood, String>> {
    let spec = Spec::new(mechanism, reachable.clone());
    let output = sealed_command(kbuild, &spec)?
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("run", kbuild, error))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => serde_json::from_slice(&output.stdout)
            .map(Ok)
            .map_err(|error| Error::bug(format!("{} does not know `{SUBCOMMAND}`", kbuild.display())).because(error)),
        Some(OWN_FAILURE) => Ok(Err(said)),
        _ => Err(Error::bug(format!("{} does not know `{SUBCOMMAND}` ({}): {said}", kbuild.display(), output.status))),
    }
}

/// Runs a command inside the seal, in the terminal of kbuild, and waits for it and all processes that it leaves. Must be
/// called outside of any async runtime, from a thread that outlives the call.
///
/// # Errors
/// When the process cannot be started, or the seal is weaker than it was when it was tried: kind `Io`.
pub fn run(kbuild: &Path, seal: &Seal, command: &mut Command, stdout: Stdout<'_>) -> Result<Ended> {
    let mut spec = Spec::new(seal.mechanism, seal.reachable.clone());
    spec.expected = seal.walls.clone();
    spec.forwards = seal.forwards.clone();
    spec.command = std::iter::once(command.get_program()).chain(command.get_args()).map(PathBuf::from).collect();
    spec.directory = command.get_current_dir().map(Path::to_owned);
    let mut child = sealed_command(kbuild, &spec)?;
    child.env_clear();
    child.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if leads_outside(std::io::stdin().as_fd()) {
        child.stdin(Stdio::null());
    }
    let again = |file: BorrowedFd<'_>| {
        file.try_clone_to_owned().map_err(|error| Error::new(Kind::Io, "could not open a file again").because(error))
    };
    match stdout {
        Stdout::Own => {}
        Stdout::ToStderr => drop(child.stdout(again(std::io::stderr().as_fd())?)),
        Stdout::Both(file) => drop(child.stdout(again(file)?).stderr(again(file)?)),
    }
    let ended = wait_through_signals(child).map_err(|error| Error::io("run", kbuild, error))?;
    if ended.status == OWN_FAILURE {
        return Err(Error::new(Kind::Io, "the build's process could not be set up (its message is above)")
            .help("run `kbuild doctor`"));
    }
    Ok(ended)
}

/// Whether a standard input would break the seal: a directory, from which other files can be opened, or a socket.
fn leads_outside(input: BorrowedFd<'_>) -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(input).is_ok_and(|stat| {
        matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::Socket | FileType::BlockDevice)
    })
}

fn sealed_command(kbuild: &Path, spec: &Spec) -> Result<Command> {
    let text =
        serde_json::to_string(spec).map_err(|error| Error::input("a path of the build is not UTF-8").because(error))?;
    let mut command = Command::new(kbuild);
    command.arg(SUBCOMMAND).arg(text);
    Ok(command)
}

fn why<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("could not {what}: {error}")
}
