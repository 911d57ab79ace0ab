//! How the work of a command runs: async work on a runtime, blocking work on a thread, both until they end or the
//! user stops them.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::output::Output;
use super::stop::{interrupted, listen};
use crate::error::{Error, Result};

/// How long work may take to clean up. What it leaves behind does no harm: the next run removes it.
const GRACE: Duration = Duration::from_secs(3);

/// Completes when it is time to end.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the async part of a command until it ends, or the user stops it. Then all transfers are dropped, together with
/// their git processes, and what was fetched is kept.
pub(super) fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut asked = from_now_on()?;
    multi_thread()?.block_on(async {
        tokio::select! {
            result = work => result,
            _ = asked.changed() => Err(interrupted()),
        }
    })
}

/// Runs a task until the user stops it, and waits for its end. A second stop ends the process at once.
pub(super) fn until_stopped<W: Future<Output = Result<()>>>(work: impl FnOnce(Stop) -> W) -> Result<()> {
    let mut asked = from_now_on()?;
    multi_thread()?.block_on(async {
        let (tell, told) = oneshot::channel::<()>();
        let mut work = pin!(work(Box::pin(async { drop(told.await) })));
        tokio::select! {
            result = &mut work => return result,
            _ = asked.changed() => {}
        }
        drop(tell);
        tokio::select! {
            result = work => result,
            _ = asked.changed() => Err(interrupted()),
        }
    })
}

/// Runs blocking work until it ends, or the user stops it. Such work cannot be dropped like a transfer: it calls
/// [`super::stop::check`] between two steps. A second stop ends the process at once, without
/// waiting for the work to clean up.
pub(super) fn work<T: Send>(output: &Output, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut asked = listen()?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(no_runtime)?;
    std::thread::scope(|scope| {
        let (done, mut ended) = oneshot::channel();
        scope.spawn(move || drop(done.send(work())));
        runtime.block_on(async {
            tokio::select! {
                result = &mut ended => return result.unwrap_or_else(|_| Err(Error::bug("a worker thread ended early"))),
                _ = asked.changed() => {}
            }
            tokio::select! {
                // The work may have ended already.
                result = &mut ended => result.ok().and_then(Result::ok).ok_or_else(interrupted),
                _ = asked.changed() => end(output),
                () = tokio::time::sleep(GRACE) => end(output),
            }
        })
    })
}

/// Ends the process, whatever still runs in it.
fn end(output: &Output) -> ! {
    let error = interrupted();
    let code = error.exit_code();
    output.finish(Err(error));
    std::process::exit(code.into())
}

/// Signals from now on. A signal during BitBake's run belongs to BitBake: what it found is still written to the lock.
fn from_now_on() -> Result<watch::Receiver<u32>> {
    let mut asked = listen()?;
    asked.mark_unchanged();
    Ok(asked)
}

fn multi_thread() -> Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: io::Error) -> Error {
    Error::bug("could not start the async runtime").because(error)
}
