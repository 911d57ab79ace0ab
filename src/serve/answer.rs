//! What a request is answered with.

use std::fmt::Display;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rustix::fs::{Mode, OFlags};
use tower_http::services::ServeFile;

use super::body::Body;
use super::conditions::{Verdict, decide};
use super::mirror_cache::Shelf;
use crate::bitbake::Base;
use crate::error::{Error, Kind, Result};
use crate::mirror::{Entry, is_conf};
use crate::source::name::percent_decode;
use crate::source::{Blake3, CommitId, Sha256};
use crate::store::Store;

/// What of a file is read at once, in bytes: each read is a trip to another thread.
const CHUNK: usize = 512 << 10;

/// The longest text that is read into memory: a record of a commit.
const TEXT_LIMIT: u64 = 1 << 20;

/// What never changes under its name.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// What may change, so that it is asked for again (and answered by its tag).
const ASK: &str = "no-cache";

/// What is served.
pub(super) struct Library {
    store: Store,
    shelf: Option<Shelf>,
    scheme: &'static str,
    base: Option<Base>,
}

/// What a request asks for, found.
enum Found {
    File { path: PathBuf, tag: Blake3, cache: &'static str },
    Text(Vec<u8>),
}

/// Why there is none: what the client is told.
struct Refusal(StatusCode, String);

impl Refusal {
    fn not_found() -> Refusal {
        Refusal(StatusCode::NOT_FOUND, "there is no such thing here".to_owned())
    }

    /// A failure of the server's own: the log says more than the client need know.
    fn of(error: &Error) -> Refusal {
        if error.kind() == Kind::Missing {
            return Refusal::not_found();
        }
        tracing::warn!("{error}: {}", error.causes().join(": "));
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the server could not do it".to_owned())
    }
}

impl Library {
    pub(super) fn new(store: Store, shelf: Option<Shelf>, scheme: &'static str, base: Option<Base>) -> Library {
        Library { store, shelf, scheme, base }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let (parts, _) = request.into_parts();
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let outcome = match self.find(&parts).await {
            Ok(found) => send(found, parts).await,
            Err(refusal) => Err(refusal),
        };
        outcome.unwrap_or_else(|Refusal(status, why)| text(status, format!("{why}\n")))
    }

    async fn find(&self, parts: &Parts) -> Result<Found, Refusal> {
        let path = parts.uri.path().strip_prefix('/').ok_or_else(Refusal::not_found)?;
        let pieces: Vec<&str> = path.split('/').collect();
        match *pieces {
            ["mirror", name] => self.on_shelf(&percent_decode(name), parts).await,
            ["format"] => self.read(|store| store.root().join("format")).await,
            ["git", file] => {
                let commit: CommitId = file.strip_suffix(".toml").and_then(exactly).ok_or_else(Refusal::not_found)?;
                self.read(move |store| store.record_path(&commit)).await
            }
            ["sha256", hex] => {
                let sha256: Sha256 = exactly(hex).ok_or_else(Refusal::not_found)?;
                self.blob(FOREVER, move |store| Some(store.by_sha256(&sha256)?.blake3)).await
            }
            ["blobs", fan, hex] if hex.get(..2) == Some(fan) => {
                let blob: Blake3 = exactly(hex).ok_or_else(Refusal::not_found)?;
                self.blob(FOREVER, move |_| Some(blob)).await
            }
            _ => Err(Refusal::not_found()),
        }
    }

    async fn on_shelf(&self, name: &str, parts: &Parts) -> Result<Found, Refusal> {
        let shelf = self.shelf.as_ref().ok_or_else(Refusal::not_found)?;
        let mirror = shelf.current().await;
        if is_conf(name) {
            let base = self.base(parts)?;
            return Ok(Found::Text(mirror.conf(&base).into_bytes()));
        }
        match mirror.entry(name).cloned() {
            None => Err(Refusal::not_found()),
            Some(Entry::Blob(blob)) => self.blob(ASK, move |_| Some(blob)).await,
            Some(Entry::Tarball(clone, tag)) => {
                let packed = shelf.tarball(mirror, clone, tag).await;
                packed.map(|path| Found::File { path, tag, cache: ASK }).map_err(|error| Refusal::of(&error))
            }
        }
    }

    /// Where the client finds the mirror: as it was told to be, else where the client asks.
    fn base(&self, parts: &Parts) -> Result<Base, Refusal> {
        let told = match &self.base {
            Some(base) => base.join("mirror"),
            None => {
                let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                Base::new(&format!("{}://{host}/mirror", self.scheme))
            }
        };
        told.map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// A blob of the store. No link counts as one, wherever it leads.
    async fn blob(
        &self,
        cache: &'static str,
        find: impl FnOnce(&Store) -> Option<Blake3> + Send + 'static,
    ) -> Result<Found, Refusal> {
        let store = self.store.clone();
        blocking(move || {
            let tag = find(&store).filter(|blob| store.has_blob(blob)).ok_or_else(Refusal::not_found)?;
            Ok(Found::File { path: store.blob_path(&tag), tag, cache })
        })
        .await
    }

    /// A short file of the store.
    async fn read(&self, place: impl FnOnce(&Store) -> PathBuf + Send + 'static) -> Result<Found, Refusal> {
        let store = self.store.clone();
        blocking(move || {
            let path = place(&store);
            match read_text(&path) {
                Ok(Some(text)) => Ok(Found::Text(text)),
                Ok(None) => Err(Refusal::not_found()),
                Err(error) => Err(Refusal::of(&Error::io("read", &path, error))),
            }
        })
        .await
    }
}

/// The value that a text is exactly the name of: one thing has one address.
fn exactly<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| value.to_string() == text)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Refusal::of(&Error::bug("a request broke").because(error))))
}

/// A plain file, reached through no link, that is not too long; `None` for everything else.
fn read_text(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > TEXT_LIMIT {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(TEXT_LIMIT).read_to_end(&mut text)?;
    Ok(Some(text))
}

async fn send(found: Found, mut parts: Parts) -> Result<Response<Body>, Refusal> {
    let (tag, cache) = match &found {
        Found::File { tag, cache, .. } => (*tag, *cache),
        Found::Text(text) => (Blake3::from(*blake3::hash(text).as_bytes()), ASK),
    };
    let tag = format!("\"{tag}\"");
    let mut response = match decide(&mut parts.headers, &tag) {
        Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
        Verdict::Failed => return Err(Refusal(StatusCode::PRECONDITION_FAILED, "it is another one".to_owned())),
        Verdict::Send => match found {
            Found::Text(bytes) => text(StatusCode::OK, bytes),
            Found::File { path, .. } => file(&path, parts).await?,
        },
    };
    let headers = response.headers_mut();
    headers.remove(header::LAST_MODIFIED);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A file, or the range of it that is asked for.
async fn file(path: &Path, parts: Parts) -> Result<Response<Body>, Refusal> {
    let mut files = ServeFile::new(path).with_buf_chunk_size(CHUNK).ignore_multi_range_requests(true);
    let response = files.try_call(Request::from_parts(parts, ())).await.map_err(|error| match error.kind() {
        // Collected, since it was looked for.
        ErrorKind::NotFound => Refusal::not_found(),
        _ => Refusal::of(&Error::io("read", path, error)),
    })?;
    let mut response = response.map(Body::File);
    let kind = HeaderValue::from_static("application/octet-stream");
    if response.headers().contains_key(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

fn text(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let text = text.into();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::text(""));
    *response.status_mut() = status;
    response
}
