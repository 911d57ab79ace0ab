//! The seal: a process of kbuild's own that stands between kbuild and BitBake.
//!
//! BitBake's switches against the network leak (sstate probes, tasks with `[network]`, whatever a recipe calls), so the seal
//! is the kernel's: user, mount and network namespaces in which nothing but the loopback device exists and the store is
//! read-only. The process that enters them has to have one thread, so kbuild starts itself again: `kbuild __sealed SPEC`,
//! which [`become_child_if_told`] serves before anything else happens in `main`.
//!
//! It stays as BitBake's parent and as the reaper of what BitBake leaves behind (its server, its workers), so that nothing
//! runs on after kbuild: it dies with kbuild (`PR_SET_PDEATHSIG`), passes SIGTERM and SIGHUP on, and lets Ctrl-C go where the
//! terminal sends it, to BitBake, which knows how to stop tasks.
//!
//! Where the kernel forbids namespaces (containers, hardened hosts), [`probe`] says why; the build then runs with BitBake's
//! own switches alone, and its result says so.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Kind, Result};

/// The hidden subcommand, see [`become_child_if_told`].
const SUBCOMMAND: &str = "__sealed";

/// Exit status of the sealed process when it could not do its own part (as `env` and container runtimes have it).
const OWN_FAILURE: i32 = 125;

/// How long BitBake's server may take to end after its client did. It writes its caches then, a minute is plenty.
const STRAGGLERS: Duration = Duration::from_secs(60);

/// How long stragglers have between SIGTERM and SIGKILL, and until SIGTERM when kbuild was asked to stop: the server would
/// else wait for running tasks.
const GRACE: Duration = Duration::from_secs(5);

/// What the sealed process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spec {
    /// The process that must be its parent; another one means that kbuild died in between.
    parent: i32,
    /// Directories that the seal makes read-only; `None`: no namespaces.
    seal: Option<Vec<PathBuf>>,
    /// What to run; nothing: only try the seal.
    command: Vec<PathBuf>,
}

/// Whether a command runs behind the seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seal {
    /// In namespaces of its own; these directories are read-only there.
    Sealed(Vec<PathBuf>),
    /// Without: the kernel said no, for this reason.
    Open(String),
}

/// Where what a command prints on its stdout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// To kbuild's stdout: it is what was asked for.
    Own,
    /// To kbuild's stderr: it is said by the way, stdout is for the result.
    ToStderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// As a shell gives it: the exit status, or 128 and the number of the signal.
    pub status: i32,
    /// Whether kbuild was asked to stop (SIGINT, SIGTERM, SIGHUP) meanwhile.
    pub interrupted: bool,
}

/// kbuild itself, as the program that becomes the sealed process: what runs now, even if its file was replaced since.
pub fn this_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Tries the seal with these directories in a child that does nothing else.
///
/// # Errors
/// When `kbuild` cannot be started at all. A kernel that says no is [`Seal::Open`], not an error.
pub fn probe(kbuild: &Path, read_only: &[PathBuf]) -> Result<Seal> {
    let spec = Spec { parent: own_pid(), seal: Some(read_only.to_vec()), command: Vec::new() };
    let output = sealed_command(kbuild, &spec)?
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("run", kbuild, error))?;
    if output.status.success() {
        return Ok(Seal::Sealed(read_only.to_vec()));
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.code() != Some(OWN_FAILURE) {
        return Err(Error::bug(format!(
            "{} does not know `{SUBCOMMAND}` ({}): {why}",
            kbuild.display(),
            output.status
        )));
    }
    Ok(Seal::Open(why))
}

/// Runs a command behind the seal (or, where that is [`Seal::Open`], without), in the terminal kbuild was started in, and
/// waits for it and all it left behind. Must be called outside of any async runtime, from a thread that outlives the call.
///
/// # Errors
/// When the process cannot be started, or could not be sealed after all: kind `Io`.
pub fn run(kbuild: &Path, seal: &Seal, command: &mut Command, stdout: Stdout) -> Result<Ended> {
    let argv = std::iter::once(command.get_program()).chain(command.get_args()).map(PathBuf::from).collect();
    let read_only = match seal {
        Seal::Sealed(read_only) => Some(read_only.clone()),
        Seal::Open(_) => None,
    };
    let mut child = sealed_command(kbuild, &Spec { parent: own_pid(), seal: read_only, command: argv })?;
    child.env_clear();
    child.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        child.current_dir(directory);
    }
    if stdout == Stdout::ToStderr {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        child.stdout(stderr.map_err(|error| Error::new(Kind::Io, "could not open stderr again").because(error))?);
    }
    let ended = wait_through_signals(child, kbuild)?;
    if ended.status == OWN_FAILURE {
        return Err(Error::new(Kind::Io, "the build's process could not be set up (its message is above)")
            .help("run `kbuild doctor`"));
    }
    Ok(ended)
}

fn sealed_command(kbuild: &Path, spec: &Spec) -> Result<Command> {
    let text =
        serde_json::to_string(spec).map_err(|error| Error::input("a path of the build is not UTF-8").because(error))?;
    let mut command = Command::new(kbuild);
    command.arg(SUBCOMMAND).arg(text);
    Ok(command)
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Waits for the sealed process without dying of what is meant for BitBake. Handlers, not `SIG_IGN`: an ignored signal
/// would stay ignored in BitBake.
fn wait_through_signals(command: Command, program: &Path) -> Result<Ended> {
    let failed = |error| Error::io("run", program, error);
    let runtime = runtime().map_err(failed)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut child = tokio::process::Command::from(command).spawn().map_err(failed)?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut interrupted = false;
        loop {
            tokio::select! {
                status = child.wait() => {
                    let status = shell_status(status.map_err(failed)?);
                    return Ok(Ended { status, interrupted });
                }
                // The terminal gives it to BitBake too.
                _ = interrupt.recv() => interrupted = true,
                _ = terminate.recv() => { interrupted = true; forward(pid, Signal::TERM); }
                _ = hangup.recv() => { interrupted = true; forward(pid, Signal::TERM); }
            }
        }
    })
}

fn forward(pid: Option<Pid>, signal: Signal) {
    if let Some(pid) = pid {
        // It may have ended meanwhile, which is as good.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn shell_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(OWN_FAILURE)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Becomes the sealed process, never to return, if kbuild started this process as one; otherwise does nothing. To be called
/// first of all in `main`: the kernel lets only a process with one thread enter a user namespace.
pub fn become_child_if_told() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == SUBCOMMAND).is_some() {
        child_main(arguments);
    }
}

/// The sealed process, from its arguments after [`SUBCOMMAND`] to its end.
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
    if let Some(read_only) = &spec.seal {
        enter(read_only)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // After the namespaces: new credentials would clear the signal (`commit_creds` in the kernel).
    let set = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    set.map_err(why("be told of kbuild's end"))?;
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(spec.parent) {
        return Err("kbuild ended before its build began".to_owned());
    }
    let Some((program, arguments)) = spec.command.split_first() else { return Ok(0) };
    let subreaper = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    subreaper.map_err(why("become the reaper of BitBake's processes"))?;
    supervise(Command::new(program).args(arguments)).map_err(why(&format!("run {}", program.display())))
}

fn why<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("could not {what}: {error}")
}

/// Enters the namespaces: as the same user, with loopback as the only network, `read_only` read-only.
fn enter(read_only: &[PathBuf]) -> Result<(), String> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare().map_err(why("make user, mount and network namespaces"))?;
    // user_namespaces(7): without CAP_SETGID outside, setgroups has to be given up before gid_map is written.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        fs::write(file, text).map_err(why(&format!("write {file}")))?;
    }
    bring_up_loopback().map_err(why("bring up the loopback device"))?;
    // Nothing that is mounted in here may be seen outside.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(why("make mounts private"))?;
    for directory in read_only {
        make_read_only(directory).map_err(why(&format!("make {} read-only", directory.display())))?;
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "unsafe only with UnshareFlags::FILES, which is not among these; the process has one thread"
)]
fn unshare() -> rustix::io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWNET)
}

/// Sets `IFF_UP` on the loopback device, which is number 1 in every network namespace, by one message of rtnetlink(7).
fn bring_up_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    const NLMSG_ERROR: u16 = 2;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, which flags to change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    // Protocol 0 of netlink is NETLINK_ROUTE.
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::sendto(socket.as_fd(), &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    let (length, _) = rustix::net::recv(socket.as_fd(), &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr after the header: the negative errno, 0 for done.
    match answer[..length] {
        [_, _, _, _, t0, t1, _, _, _, _, _, _, _, _, _, _, e0, e1, e2, e3, ..]
            if u16::from_ne_bytes([t0, t1]) == NLMSG_ERROR =>
        {
            match i32::from_ne_bytes([e0, e1, e2, e3]) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(-error)),
            }
        }
        _ => Err(io::Error::new(ErrorKind::InvalidData, "the kernel's answer is no acknowledgement")),
    }
}

/// Mounts a directory over itself, read-only.
fn make_read_only(directory: &Path) -> io::Result<()> {
    // Recursively, or a mount below it would have to be uncovered, which the kernel refuses here.
    rustix::mount::mount_bind_recursive(directory, directory)?;
    // mount_namespaces(7): a mount that came from a more privileged namespace keeps its flags locked, and a remount that
    // does not repeat them fails.
    let present = rustix::fs::statvfs(directory)?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| present.contains(*flag)).map(|(_, flag)| flag);
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, |flags, flag| flags | flag);
    rustix::mount::mount_remount(directory, flags, "")?;
    if rustix::fs::statvfs(directory)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::Unsupported, "the mount is still writable"))
    }
}

/// Runs BitBake and sees it and its descendants to their end; gives its status as a shell does.
fn supervise(command: &mut Command) -> io::Result<i32> {
    runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut children = signal(SignalKind::child())?;
        let main = Pid::from_child(&command.spawn()?);
        let mut status = None;
        let mut left = reap(main, &mut status)?;
        let mut policy = STRAGGLERS;
        while status.is_none() {
            tokio::select! {
                _ = children.recv() => left = reap(main, &mut status)?,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => { forward(Some(main), Signal::TERM); policy = GRACE; }
                _ = hangup.recv() => { forward(Some(main), Signal::TERM); policy = GRACE; }
            }
        }
        let mut deadline = Instant::now() + policy;
        let mut next = Signal::TERM;
        while left {
            let rest = deadline.saturating_duration_since(Instant::now());
            tokio::select! {
                _ = children.recv() => {}
                _ = interrupt.recv() => {}
                // Asked to stop: the wait is over.
                _ = terminate.recv() => deadline = Instant::now(),
                _ = hangup.recv() => deadline = Instant::now(),
                () = tokio::time::sleep(rest) => {
                    own_children().into_iter().for_each(|pid| forward(Some(pid), next));
                    // Whoever lost its parent by that comes to us, and gets the next one.
                    deadline = Instant::now() + if next == Signal::TERM { GRACE } else { Duration::from_millis(100) };
                    next = Signal::KILL;
                }
            }
            left = reap(main, &mut status)?;
        }
        Ok(status.unwrap_or(OWN_FAILURE))
    })
}

/// Takes in all children that ended, ours and those we inherited; tells whether any are left.
fn reap(main: Pid, status: &mut Option<i32>) -> io::Result<bool> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, ended))) if pid == main => *status = Some(status_of(ended)),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(rustix::io::Errno::CHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_of(ended: WaitStatus) -> i32 {
    ended.exit_status().or_else(|| ended.terminating_signal().map(|signal| 128 + signal)).unwrap_or(OWN_FAILURE)
}

/// The processes whose parent we are, from `/proc/<pid>/stat` (proc_pid_stat(5)); those of other users are not ours.
fn own_children() -> Vec<Pid> {
    let own = own_pid();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
