//! Stopping: the one place of the command line that listens to Ctrl-C and SIGTERM.
//!
//! Async work is dropped (see [`super::runtime`]). Blocking work cannot be dropped: it asks between two steps
//! ([`check`], and [`crate::progress::Progress::check_interrupted`] in lower rooms), and cleans up what it has begun.

use std::io::{Error as IoError, Read, Result as IoResult};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Kind, Result};

/// Whether the user asked to stop. Of the whole process, as signals are.
static ASKED: AtomicBool = AtomicBool::new(false);

/// How long a read from a pipe waits before it checks whether the user asked to stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Returns an error once the user has asked to stop.
pub(super) fn check() -> Result<()> {
    if ASKED.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
}

/// Being stopped by the user is not a fault.
pub(super) fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted").help("run the same command again: what was fetched is kept")
}

/// Completes each time that the user asks to stop. From the first call on, signals reach only this and the code that runs
/// BitBake, so it never ends.
pub(super) fn listen() -> Result<watch::Receiver<u32>> {
    static TOLD: OnceLock<watch::Receiver<u32>> = OnceLock::new();
    if let Some(told) = TOLD.get() {
        return Ok(told.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    drop(inside);
    let (tell, told) = watch::channel(0);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                ASKED.store(true, Ordering::Relaxed);
                tell.send_modify(|times| *times += 1);
            }
        })
    });
    Ok(TOLD.get_or_init(|| told).clone())
}

fn failed(error: IoError) -> Error {
    Error::bug("could not listen to signals").because(error)
}

/// A pipe or terminal whose reads can be stopped while no input arrives.
pub(super) struct Interruptible<T>(pub(super) T);

impl<T: Read + AsFd> Read for Interruptible<T> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        loop {
            check().map_err(IoError::other)?;
            let mut waited = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut waited, Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.0.read(buffer)
    }
}
