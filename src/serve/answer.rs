//! Answers a request.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tower_http::services::ServeFile;

use super::body::ResponseBody;
use super::conditions::{Precondition, decide};
use super::mirror_cache::MirrorCache;
use crate::bitbake::Base;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::mirror::{MirrorEntry, is_conf};
use crate::source::name::percent_decode;
use crate::source::{Blake3, CommitId, Sha256};
use crate::store::Store;

/// Bytes of a file that are read at once: each read is a call on another thread.
const CHUNK: usize = 512 << 10;

/// For content that never changes under its name.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// For content that may change: clients ask again, and may get 304 by its tag.
const ASK: &str = "no-cache";

/// What is served.
pub(super) struct Handler {
    store: Store,
    mirror_cache: Option<MirrorCache>,
    scheme: &'static str,
    base: Option<Base>,
}

/// What a request asks for, when it was found.
enum Located {
    File { path: PathBuf, tag: Blake3, cache: &'static str },
    Text(Vec<u8>),
}

/// A refusal: status and message for the client.
struct HttpRefusal(StatusCode, String);

impl HttpRefusal {
    fn not_found() -> HttpRefusal {
        HttpRefusal(StatusCode::NOT_FOUND, "not found".to_owned())
    }

    /// A failure of the server itself: the log has more than the client needs to know.
    fn of(error: &Error) -> HttpRefusal {
        if error.kind() == Kind::Missing {
            return HttpRefusal::not_found();
        }
        tracing::warn!("{error}: {}", error.causes().join(": "));
        HttpRefusal(StatusCode::INTERNAL_SERVER_ERROR, "the server failed".to_owned())
    }
}

impl Handler {
    pub(super) fn new(
        store: Store,
        mirror_cache: Option<MirrorCache>,
        scheme: &'static str,
        base: Option<Base>,
    ) -> Handler {
        Handler { store, mirror_cache, scheme, base }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody> {
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
        outcome.unwrap_or_else(|HttpRefusal(status, why)| text(status, format!("{why}\n")))
    }

    async fn find(&self, parts: &Parts) -> Result<Located, HttpRefusal> {
        let path = parts.uri.path().strip_prefix('/').ok_or_else(HttpRefusal::not_found)?;
        let pieces: Vec<&str> = path.split('/').collect();
        match *pieces {
            ["mirror", name] => self.on_shelf(&percent_decode(name), parts).await,
            ["format"] => self.read(|store| store.root().join("format")).await,
            ["git", file] => {
                let commit: CommitId =
                    file.strip_suffix(".toml").and_then(exactly).ok_or_else(HttpRefusal::not_found)?;
                self.read(move |store| store.record_path(&commit)).await
            }
            ["sha256", hex] => {
                let sha256: Sha256 = exactly(hex).ok_or_else(HttpRefusal::not_found)?;
                self.blob(FOREVER, move |store| Some(store.by_sha256(&sha256)?.blake3)).await
            }
            ["blobs", fan, hex] if hex.get(..2) == Some(fan) => {
                let blob: Blake3 = exactly(hex).ok_or_else(HttpRefusal::not_found)?;
                self.blob(FOREVER, move |_| Some(blob)).await
            }
            _ => Err(HttpRefusal::not_found()),
        }
    }

    async fn on_shelf(&self, name: &str, parts: &Parts) -> Result<Located, HttpRefusal> {
        let mirror_cache = self.mirror_cache.as_ref().ok_or_else(HttpRefusal::not_found)?;
        let mirror = mirror_cache.current().await;
        if is_conf(name) {
            let base = self.base(parts)?;
            return Ok(Located::Text(mirror.conf(&base).into_bytes()));
        }
        match mirror.entry(name).cloned() {
            None => Err(HttpRefusal::not_found()),
            Some(MirrorEntry::Blob(blob)) => self.blob(ASK, move |_| Some(blob)).await,
            Some(MirrorEntry::Tarball(clone, tag)) => {
                let packed = mirror_cache.tarball(mirror, clone, tag).await;
                packed.map(|path| Located::File { path, tag, cache: ASK }).map_err(|error| HttpRefusal::of(&error))
            }
        }
    }

    /// The mirror's URL for the client: the configured one, else the address that the client asks.
    fn base(&self, parts: &Parts) -> Result<Base, HttpRefusal> {
        let told = match &self.base {
            Some(base) => base.join("mirror"),
            None => {
                let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                Base::new(&format!("{}://{host}/mirror", self.scheme))
            }
        };
        told.map_err(|error| HttpRefusal(StatusCode::BAD_REQUEST, error.to_string()))
    }

    /// A blob of the store. A link is not a blob, wherever it points.
    async fn blob(
        &self,
        cache: &'static str,
        find: impl FnOnce(&Store) -> Option<Blake3> + Send + 'static,
    ) -> Result<Located, HttpRefusal> {
        let store = self.store.clone();
        blocking(move || {
            let tag = find(&store).filter(|blob| store.has_blob(blob)).ok_or_else(HttpRefusal::not_found)?;
            Ok(Located::File { path: store.blob_path(&tag), tag, cache })
        })
        .await
    }

    /// A short file of the store.
    async fn read(&self, place: impl FnOnce(&Store) -> PathBuf + Send + 'static) -> Result<Located, HttpRefusal> {
        let store = self.store.clone();
        blocking(move || {
            let path = place(&store);
            match read_text(&path) {
                Ok(Some(text)) => Ok(Located::Text(text)),
                Ok(None) => Err(HttpRefusal::not_found()),
                Err(error) => Err(HttpRefusal::of(&Error::io("read", &path, error))),
            }
        })
        .await
    }
}

/// The value whose name is exactly this text: each thing has only one address.
fn exactly<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| value.to_string() == text)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpRefusal> + Send + 'static,
) -> Result<T, HttpRefusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(HttpRefusal::of(&Error::bug("a request broke").because(error))))
}

/// A plain file, not a link, within the size limit; `None` for everything else.
fn read_text(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match disk::read_regular(path, crate::bounds::RECORD) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::FileTooLarge) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn send(found: Located, mut parts: Parts) -> Result<Response<ResponseBody>, HttpRefusal> {
    let (tag, cache) = match &found {
        Located::File { tag, cache, .. } => (*tag, *cache),
        Located::Text(text) => (Blake3::of(text), ASK),
    };
    let tag = format!("\"{tag}\"");
    let mut response = match decide(&mut parts.headers, &tag) {
        Precondition::NotModified => empty(StatusCode::NOT_MODIFIED),
        Precondition::Failed => {
            return Err(HttpRefusal(StatusCode::PRECONDITION_FAILED, "the content is another one".to_owned()));
        }
        Precondition::Send => match found {
            Located::Text(bytes) => text(StatusCode::OK, bytes),
            Located::File { path, .. } => file(&path, parts).await?,
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

/// A file, or the requested range of it.
async fn file(path: &Path, parts: Parts) -> Result<Response<ResponseBody>, HttpRefusal> {
    let mut files = ServeFile::new(path).with_buf_chunk_size(CHUNK).ignore_multi_range_requests(true);
    let response = files.try_call(Request::from_parts(parts, ())).await.map_err(|error| match error.kind() {
        // It may have been removed by a collector since it was looked for.
        ErrorKind::NotFound => HttpRefusal::not_found(),
        _ => HttpRefusal::of(&Error::io("read", path, error)),
    })?;
    let mut response = response.map(ResponseBody::File);
    let kind = HeaderValue::from_static("application/octet-stream");
    if response.headers().contains_key(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

fn text(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<ResponseBody> {
    let text = text.into();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(""));
    *response.status_mut() = status;
    response
}
