//! The sealed process: kbuild starts itself again as this process, which becomes BitBake's parent.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, exit};

use rustix::fs::Mode;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::forward::{self, Forward};
use super::namespaces::{self, User};
use super::reachable::Reachable;
use super::supervise::{OWN_FAILURE, own_pid, supervise, wait_through_signals};
use super::system_calls::{self, Refuse};
use super::walls::{By, Wall, Walls};
use super::{landlock, root, why};

/// The hidden subcommand, see [`become_child_if_told`].
pub(super) const SUBCOMMAND: &str = "__sealed";

/// The mechanisms that the seal is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mechanism {
    /// All namespaces.
    Namespaces,
    /// All but the pid namespace, which needs a procfs of its own; many containers allow none.
    SharedProcesses,
    /// None: Landlock and seccomp alone.
    Rules,
}

/// The input of the sealed process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The process that must be its parent. Another parent means that kbuild has ended.
    pub(super) parent: i32,
    pub(super) mechanism: Mechanism,
    /// Set in the second process, which is inside the outer namespaces: the user that started the build.
    pub(super) inside: Option<User>,
    /// Walls that must stand; a missing one is an error.
    pub(super) expected: Walls,
    pub(super) reachable: Reachable,
    /// What of the build's loopback device leads outside.
    pub(super) forwards: Vec<Forward>,
    /// The working directory of the command; `None`: the root.
    pub(super) directory: Option<PathBuf>,
    /// The command; empty: only report which walls stand.
    pub(super) command: Vec<PathBuf>,
}

impl Spec {
    /// A trial of a mechanism: runs nothing.
    pub(super) fn new(mechanism: Mechanism, reachable: Reachable) -> Spec {
        let expected = Walls::none();
        let (forwards, command) = (Vec::new(), Vec::new());
        Spec { parent: own_pid(), mechanism, inside: None, expected, reachable, forwards, directory: None, command }
    }
}

/// What a trial says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stood {
    pub(super) walls: Walls,
    /// Why the other walls do not stand.
    pub(super) reasons: Vec<String>,
}

/// Becomes the sealed process and never returns, if kbuild started this process as one; otherwise does nothing. It must
/// be called first in `main`: the kernel lets only a process with one thread enter a user namespace.
pub fn become_child_if_told() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == SUBCOMMAND).is_some() {
        child_main(arguments);
    }
}

fn child_main(mut arguments: impl Iterator<Item = OsString>) -> ! {
    let spec = arguments.next().and_then(|text| serde_json::from_str::<Spec>(text.to_str()?).ok());
    let Some(spec) = spec else {
        eprintln!("kbuild starts `{SUBCOMMAND}` itself; there is nothing to see here");
        exit(2);
    };
    match serve(&spec) {
        Ok(status) => exit(status),
        Err(reason) => {
            eprintln!("{reason}");
            exit(OWN_FAILURE);
        }
    }
}

fn serve(spec: &Spec) -> Result<i32, String> {
    close_descriptors()?;
    match (spec.mechanism, spec.inside) {
        (Mechanism::Rules, _) => {
            die_with(spec.parent, Signal::TERM)?;
            run(spec, Walls::none())
        }
        (mechanism, None) => outer(spec, mechanism),
        (mechanism, Some(user)) => inner(spec, mechanism, user),
    }
}

/// The first process: makes the outer namespaces, starts the second one in them, and waits.
fn outer(spec: &Spec, mechanism: Mechanism) -> Result<i32, String> {
    let user = User::own();
    namespaces::enter_outer(user, mechanism == Mechanism::Namespaces)?;
    // After the namespaces: new credentials would clear the signal (`commit_creds` in the kernel).
    die_with(spec.parent, Signal::TERM)?;
    let second = Spec { parent: own_pid(), inside: Some(user), ..spec.clone() };
    let text = serde_json::to_string(&second).map_err(why("tell the second process"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).arg(text);
    let ended = wait_through_signals(command).map_err(why("start the second process"))?;
    Ok(ended.status)
}

/// The second process: builds the root, locks it by the inner namespaces, and becomes BitBake's parent.
fn inner(spec: &Spec, mechanism: Mechanism, user: User) -> Result<i32, String> {
    // In a pid namespace it is the first process: all others end with it.
    let signal = if mechanism == Mechanism::Namespaces { Signal::KILL } else { Signal::TERM };
    die_with(spec.parent, signal)?;
    root::enter(&spec.reachable, user, mechanism == Mechanism::Namespaces)?;
    namespaces::enter_inner(user)?;
    rustix::process::set_parent_process_death_signal(Some(signal)).map_err(why("be told of kbuild's end"))?;
    let mut walls = Walls::none();
    walls.add([Wall::Files, Wall::Network, Wall::UnixSockets, Wall::Ipc], By::Namespace);
    if mechanism == Mechanism::Namespaces {
        walls.add([Wall::Processes], By::Namespace);
    }
    run(spec, walls)
}

/// Sets up the walls that need no namespace, and runs the command inside all of them.
fn run(spec: &Spec, mut walls: Walls) -> Result<i32, String> {
    let own_root = walls.stands(Wall::Files);
    walls.add([Wall::Descriptors], By::Closed);
    rustix::thread::set_no_new_privs(true).map_err(why("give up new privileges"))?;
    walls.add([Wall::Privileges], By::NoNewPrivs);
    let mut reasons = Vec::new();
    match landlock::restrict(&spec.reachable, own_root) {
        Ok(held) => {
            walls.add([Wall::Files], By::Landlock);
            walls.add(held.signals.then_some(Wall::Processes), By::Landlock);
            walls.add(held.unix_sockets.then_some(Wall::UnixSockets), By::Landlock);
        }
        Err(reason) => reasons.push(reason),
    }
    let refuse = Refuse { internet: !walls.stands(Wall::Network), ipc: !walls.stands(Wall::Ipc) };
    match system_calls::restrict(refuse) {
        Ok(()) => {
            let instead = [(refuse.internet, Wall::Network), (refuse.ipc, Wall::Ipc)];
            let instead = instead.into_iter().filter(|(refused, _)| *refused).map(|(_, wall)| wall);
            walls.add(instead.chain([Wall::SystemCalls]), By::Seccomp);
        }
        Err(reason) => reasons.push(reason),
    }
    let Some((program, arguments)) = spec.command.split_first() else {
        let stood = Stood { walls, reasons };
        println!("{}", serde_json::to_string(&stood).map_err(why("say which walls stand"))?);
        return Ok(0);
    };
    if walls != spec.expected {
        return Err(format!("the seal is not what it was when it was tried: {}", reasons.join("; ")));
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(directory) = &spec.directory {
        rustix::process::chdir(directory).map_err(why(&format!("enter {}", directory.display())))?;
    }
    let subreaper = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    subreaper.map_err(why("become the reaper of BitBake's processes"))?;
    let forward = || forward::listen(&spec.forwards);
    supervise(Command::new(program).args(arguments), forward).map_err(why(&format!("run {}", program.display())))
}

/// Asks for a signal when the parent ends, and checks that it has not ended already.
fn die_with(parent: i32, signal: Signal) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(signal)).map_err(why("be told of kbuild's end"))?;
    // In a new pid namespace, the procfs still shows the parent's; getppid(2) no longer does.
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(why("read /proc/self/stat"))?;
    let actual = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
    if actual == Some(parent) { Ok(()) } else { Err("kbuild ended before its build began".to_owned()) }
}

/// Marks every inherited descriptor except standard input, output and error to be closed at the next exec.
fn close_descriptors() -> Result<(), String> {
    use std::os::fd::BorrowedFd;
    let listed = std::fs::read_dir("/proc/self/fd").map_err(why("list open files"))?;
    let numbers = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in numbers.filter(|number| *number > 2).collect::<Vec<_>>() {
        // SAFETY: the process has one thread, so that nobody else closes the descriptor; the list's own is closed by
        // now, and then the call below fails without harm.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC) {
            Err(error) if error != rustix::io::Errno::BADF => return Err(why("close what was inherited")(error)),
            _ => {}
        }
    }
    Ok(())
}
