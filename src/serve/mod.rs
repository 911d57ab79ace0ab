//! Serves a store over HTTP, read only: for an office, and for tests.
//!
//! It serves what other stores and BitBake ask for, and nothing else of the store:
//!
//! ```text
//! /format                    the store's format
//! /blobs/ab/<blake3>         content by its address
//! /sha256/<hex>              the same by SHA-256: also Nix's hashed-mirror request
//! /git/<commit>.toml         which packs contain a commit
//! /mirror/<name>             the sources of a lock under the names BitBake looks for (`crate::mirror`)
//! /mirror/kbuild-mirror.conf the configuration that points to the mirror
//! ```
//! A name in a request is compared, or parsed as a hash; it never becomes a path. The store's lock is not held, so that a
//! server that runs for weeks makes no collector wait: an open file stays readable when its name is removed.
//! Connections, the size of a request's head, and its time are limited.

mod answer;
mod body;
mod conditions;
mod mirror_cache;
mod tls;
mod write_timeout;

pub use mirror_cache::MirrorCache;
pub use tls::TlsIdentity;

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use self::answer::Handler;
use self::write_timeout::WriteTimeout;
use crate::bitbake::Base;
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// How long transfers may continue after the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long the server waits after the system refused a connection (too many open files).
const REFUSED_TIME: Duration = Duration::from_millis(100);

/// How a store is served.
pub struct ServeSettings {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate for TLS, if TLS is used.
    pub identity: Option<TlsIdentity>,
    /// The most connections at once; others wait.
    pub connections: usize,
    /// The longest time for a client's TLS handshake, for the head of a request (idle time before it included), and without
    /// reading anything of an answer.
    pub timeout: Duration,
    /// The URL at which clients reach the server, if it is not the address that they connect to (behind a proxy).
    pub base: Option<Base>,
}

/// A server that listens; it answers from [`Server::run`] on.
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    connections: usize,
    timeout: Duration,
    handler: Arc<Handler>,
}

impl Server {
    /// Listens. `mirror_cache` is what is under `/mirror/`, if anything.
    ///
    /// # Errors
    /// The address is not available, or the certificate cannot be used: kind `Input`.
    pub fn bind(store: &Store, mirror_cache: Option<MirrorCache>, settings: ServeSettings) -> Result<Server> {
        let failed = |error: std::io::Error| {
            let message = format!("could not listen on {}", settings.listen);
            Error::input(message).because(error).help("name another address with `--listen ADDRESS:PORT`")
        };
        let listener = StdListener::bind(settings.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = settings.identity.as_ref().map(TlsIdentity::acceptor);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let handler = Arc::new(Handler::new(store.unheld(), mirror_cache, scheme, settings.base.clone()));
        let ServeSettings { connections, timeout, .. } = settings;
        Ok(Server { listener, address, tls, connections, timeout, handler })
    }

    /// The URL that it listens on.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Serves until `stop` completes. Running transfers then have some seconds to finish.
    ///
    /// # Errors
    /// The async runtime cannot listen: kind `Bug`.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let failed = |error| Error::new(Kind::Bug, "could not listen").because(error);
        let listener = TcpListener::from_std(self.listener).map_err(failed)?;
        let slots = Arc::new(Semaphore::new(self.connections));
        let graceful = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &slots) => accepted,
                () = &mut stop => break,
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let connection = Connection {
                peer,
                tls: self.tls.clone(),
                timeout: self.timeout,
                handler: Arc::clone(&self.handler),
                watcher: graceful.watcher(),
            };
            tokio::spawn(connection.serve(stream, slot));
        }
        drop(listener);
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
        Ok(())
    }
}

/// The next client, once fewer than the limit are connected. `None`, after a moment, if the system refuses: a resource
/// may be used up that will be free again.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!("could not accept a connection: {error}");
            tokio::time::sleep(REFUSED_TIME).await;
            None
        }
    }
}

/// A connected client.
struct Connection {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    timeout: Duration,
    handler: Arc<Handler>,
    watcher: Watcher,
}

impl Connection {
    /// Answers a client until it leaves or is too slow. `slot` is its place among the connections at once.
    async fn serve(self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let stream = WriteTimeout::new(stream, self.timeout);
        let peer = self.peer;
        let outcome = match self.tls.clone() {
            None => self.speak(stream).await,
            Some(tls) => match tokio::time::timeout(self.timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no TLS handshake in time".to_owned()),
            },
        };
        if let Err(why) = outcome {
            tracing::debug!("{peer}: {why}");
        }
        drop(slot);
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<(), String> {
        let Connection { peer, timeout, handler, watcher, .. } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let handler = Arc::clone(&handler);
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let response = handler.answer(request).await;
                let length = response.headers().get(header::CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()).unwrap_or("-");
                // Only the path: a query may contain a token.
                tracing::info!("{peer} {method} {path} {} {length}", response.status().as_u16());
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_header_size(bounds::REQUEST_HEAD as usize)
            .max_headers(bounds::REQUEST_FIELDS as usize)
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await.map_err(|error| error.to_string())
    }
}
