//! How kbuild behaves on the network: transfers over HTTP and FTP, questions about files, retries, limits for each host,
//! credentials of netrc.
//!
//! What may enter: how a server is asked, how often, and how its bytes become a partial download. What is asked for,
//! and which bytes it must be, is said by the rooms above ([`fetch`](crate::fetch), [`oci`](crate::oci),
//! [`remote`](crate::remote)). Every request fails with a [`retry::Failure`], whose class says whether another try may
//! help.

pub mod ftp;
pub mod guard;
pub mod head;
pub mod http;
pub mod limits;
pub mod netrc;
pub mod report;
pub mod retry;
pub mod transfer;

use crate::error::{Error, Result};

/// Runs work that waits for the disk on a thread for blocking work, so that other transfers go on.
///
/// # Errors
/// Those of the work; a thread that ended early is a bug.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Error::bug("a worker thread ended early").because(error)))
}
