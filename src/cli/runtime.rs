//! How a command's work is run: what is async on a runtime, what keeps threads busy on one of its own, both until they end
//! or the user stops them.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::output::Output;
use super::stop::{interrupted, listen};
use crate::error::{Error, Result};

/// How long work may take to put things in order. What is left behind then does no harm: the next run sweeps it.
const GRACE: Duration = Duration::from_secs(3);

/// Done when it is time to end.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the async part of a command to its end, or until the user stops it: then all transfers are dropped, with the git
/// processes among them, and what has come is kept.
pub(super) fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut asked = from_now_on()?;
    multi_thread()?.block_on(async {
        tokio::select! {
            result = work => result,
            _ = asked.changed() => Err(interrupted()),
        }
    })
}

/// Runs what goes on until the user stops it, and then ends by itself; who is in a hurry says so a second time.
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

/// Runs work that keeps threads busy to its end, or until the user stops it. Such work cannot be dropped like a transfer: it
/// asks [`super::stop::check`] between two of its pieces. Whoever asks a second time does not wait for it to put things in
/// order.
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
                // It may have been done already.
                result = &mut ended => result.ok().and_then(Result::ok).ok_or_else(interrupted),
                _ = asked.changed() => end(output),
                () = tokio::time::sleep(GRACE) => end(output),
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

/// Signals that come from now on. One that came while BitBake ran was BitBake's: what it found is still put into the lock.
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
