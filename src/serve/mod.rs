//! A store over HTTP, read only: for an office, and for tests.
//!
//! Served is what other stores and BitBake ask for, and nothing else that lies in a store:
//!
//! ```text
//! /format                    which layout this is
//! /blobs/ab/<blake3>         content by its address
//! /sha256/<hex>              the same by SHA-256: also Nix's hashed-mirror request
//! /git/<commit>.toml         which packs hold a commit
//! /mirror/<name>             the sources of a lock under the names BitBake looks for (`crate::mirror`)
//! /mirror/kbuild-mirror.conf the configuration that leads there
//! ```
//! What a request names is compared, or parsed as a hash: it never becomes a path. The store's lock is not held, so that a
//! server that runs for weeks keeps no collector waiting: a file that was opened stays readable when its name goes.
//! Connections, the size of a request's head, and the time it may take are bounded.

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
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// The longest head of a request, in bytes; kbuild's and BitBake's have some hundred.
const HEAD_LIMIT: usize = 16 << 10;

/// The most header fields of a request.
const FIELDS: usize = 64;

/// How long transfers may go on once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the system refused to (too many open files).
const REFUSED_TIME: Duration = Duration::from_millis(100);

/// How a store is served.
pub struct ServeSettings {
    /// The address to listen at; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate to speak TLS with.
    pub identity: Option<TlsIdentity>,
    /// At most so many connections at once; who comes later waits.
    pub connections: usize,
    /// How long a client may take for TLS's first words, for the head of a request (idle time before it included), and may
    /// take nothing of what is sent.
    pub timeout: Duration,
    /// Where clients find the server, if that is not the address they ask at: a proxy stands before it.
    pub base: Option<Base>,
}

/// A server that listens; nobody is answered before [`Server::run`].
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
    /// An address that cannot be had, or a certificate that cannot be used: kind `Input`.
    pub fn bind(store: &Store, mirror_cache: Option<MirrorCache>, settings: ServeSettings) -> Result<Server> {
        let failed = |error: std::io::Error| {
            let message = format!("could not listen at {}", settings.listen);
            Error::input(message).because(error).help("give another address with `--listen ADDRESS:PORT`")
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

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Serves until `stop` is done; then whatever is being transferred has some seconds to end.
    ///
    /// # Errors
    /// Kind `Bug` when the async runtime cannot listen.
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

/// The next client, once there is room for one. `None`, after a moment, where the system refuses: it may have run out of
/// something that will be free again.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // It is never closed.
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

/// A client.
struct Connection {
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    timeout: Duration,
    handler: Arc<Handler>,
    watcher: Watcher,
}

impl Connection {
    /// Answers a client until it goes, or is too slow. `slot` is its place among those that are served at once.
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
                // The path alone: a query may hold somebody's token.
                tracing::info!("{peer} {method} {path} {} {length}", response.status().as_u16());
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_header_size(HEAD_LIMIT)
            .max_headers(FIELDS)
            .serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await.map_err(|error| error.to_string())
    }
}
