//! Processes that wait for others: kbuild for the sealed process, that one for BitBake and all it leaves behind.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};

/// Exit status of the sealed process when it could not do its own part (as `env` and container runtimes have it).
pub(super) const OWN_FAILURE: i32 = 125;

/// How long BitBake's server may take to end after its client did. It writes its caches then, a minute is plenty.
const STRAGGLERS: Duration = Duration::from_secs(60);

/// How long stragglers have between SIGTERM and SIGKILL, and until SIGTERM when kbuild was asked to stop: the server
/// would else wait for running tasks.
const GRACE: Duration = Duration::from_secs(5);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// As a shell gives it: the exit status, or 128 and the number of the signal.
    pub status: i32,
    /// Whether kbuild was asked to stop (SIGINT, SIGTERM, SIGHUP) meanwhile.
    pub interrupted: bool,
}

/// Waits for a child without ending on signals that are meant for BitBake; passes SIGTERM and SIGHUP on. Handlers, not
/// `SIG_IGN`: an ignored signal would stay ignored in BitBake.
pub(super) fn wait_through_signals(command: Command) -> io::Result<Ended> {
    runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut child = tokio::process::Command::from(command).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let mut interrupted = false;
        loop {
            tokio::select! {
                status = child.wait() => return Ok(Ended { status: shell_status(status?), interrupted }),
                // The terminal gives it to BitBake too.
                _ = interrupt.recv() => interrupted = true,
                _ = terminate.recv() => { interrupted = true; forward(pid, Signal::TERM); }
                _ = hangup.recv() => { interrupted = true; forward(pid, Signal::TERM); }
            }
        }
    })
}

/// Runs BitBake, waits until it and its descendants have ended, and returns its status as a shell does. `begin` is called
/// first, in the runtime that runs until then.
pub(super) fn supervise(command: &mut Command, begin: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    runtime()?.block_on(async {
        begin()?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut children = signal(SignalKind::child())?;
        let main = Pid::from_child(&command.spawn()?);
        let mut status = None;
        let mut left = reap(main, &mut status)?;
        let mut grace = STRAGGLERS;
        while status.is_none() {
            tokio::select! {
                _ = children.recv() => left = reap(main, &mut status)?,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => { forward(Some(main), Signal::TERM); grace = GRACE; }
                _ = hangup.recv() => { forward(Some(main), Signal::TERM); grace = GRACE; }
            }
        }
        let mut deadline = Instant::now() + grace;
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
                    // A process whose parent ended becomes a child of this one, and gets the next signal.
                    deadline = Instant::now() + if next == Signal::TERM { GRACE } else { Duration::from_millis(100) };
                    next = Signal::KILL;
                }
            }
            left = reap(main, &mut status)?;
        }
        Ok(status.unwrap_or(OWN_FAILURE))
    })
}

/// This process.
pub(super) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
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

/// Reaps all children that ended, also adopted ones; returns whether any are left.
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
    pids.filter(|pid| parent_of(Path::new("/proc"), *pid) == Some(own)).filter_map(Pid::from_raw).collect()
}

fn parent_of(proc: &Path, pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?;
    // The name in parentheses may hold anything; the state and the parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
