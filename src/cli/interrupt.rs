//! Stopping work that keeps threads of its own busy: Ctrl-C and SIGTERM, with what has come kept.
//!
//! Such work cannot be dropped like a transfer. It is told instead, asks between two of its pieces ([`check`], and
//! [`crate::progress::Progress::go_on`] in lower rooms), and puts in order what it had begun.

use std::io::{Error as IoError, Read, Result as IoResult};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::interrupted;
use super::output::Output;
use crate::error::{Error, Result};

/// Whether the user asked to stop. Of the whole process, as signals are.
static ASKED: AtomicBool = AtomicBool::new(false);

/// How long work may take to put things in order. What is left behind then does no harm: the next run sweeps it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a read from a pipe waits before it looks whether the user asked to stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Ends work once the user has asked to stop.
pub(super) fn check() -> Result<()> {
    if ASKED.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
}

/// Runs work to its end, or until the user stops it. Whoever asks a second time does not wait for it to put things in order.
pub(super) fn work<T: Send>(output: &Output, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut asked = listen()?;
    let runtime = runtime()?;
    std::thread::scope(|scope| {
        let (done, mut ended) = oneshot::channel();
        scope.spawn(move || drop(done.send(work())));
        runtime.block_on(async {
            tokio::select! {
                result = &mut ended => return result.unwrap_or_else(|_| Err(Error::bug("a worker thread ended early"))),
                _ = asked.changed() => {}
            }
            tokio::select! {
                // It may have been done already.
                result = &mut ended => result.ok().and_then(Result::ok).ok_or_else(interrupted),
                _ = asked.changed() => end(output),
                () = tokio::time::sleep(PATIENCE) => end(output),
            }
        })
    })
}

/// Ends the process with what still runs in it.
fn end(output: &Output) -> ! {
    let error = interrupted();
    let code = error.exit_code();
    output.finish(Err(error));
    std::process::exit(code.into())
}

/// Told of each time that the user asks to stop. From the first call on nothing but this, and whoever runs BitBake, listens
/// to signals, so it never ends.
fn listen() -> Result<watch::Receiver<u32>> {
    static TOLD: OnceLock<watch::Receiver<u32>> = OnceLock::new();
    if let Some(told) = TOLD.get() {
        return Ok(told.clone());
    }
    let runtime = runtime()?;
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

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

fn failed(error: IoError) -> Error {
    Error::bug("could not listen to signals").because(error)
}

/// A pipe or terminal that does not hold up whoever wants to stop while nothing comes out of it.
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
