//! How kbuild behaves on a wire: transfers over HTTP and FTP, retries, limits for each host, credentials of netrc.
//!
//! What may enter: how a server is asked, how often, and how its bytes become a partial download. What is asked for, and
//! which bytes it must be, is said by the rooms above ([`fetch`](crate::fetch), [`oci`](crate::oci),
//! [`remote`](crate::remote)). Every request fails with a [`retry::Failure`], whose class says whether another try may help.

pub mod ftp;
pub mod guard;
pub mod http;
pub mod limits;
pub mod netrc;
pub mod report;
pub mod retry;
pub mod transfer;

use crate::error::{Error, Result};

/// Runs what waits for a disk on a thread where waiting holds nobody up.
///
/// # Errors
/// Those of the work; a thread that ended early is a bug.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Error::bug("a worker thread ended early").because(error)))
}
