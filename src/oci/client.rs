//! A registry of container images, over HTTP by the OCI distribution specification: manifests, blobs, tags.
//!
//! A registry is not trusted: everything that is requested by digest is hashed. TLS is used with every registry that is
//! not on this machine, as docker does.

use bytes::Bytes;
use reqwest::header::{self, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::auth::{Logins, Right};
use super::response::{checked, wrong_digest};
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::net::http::{Http, failed, read_whole};
use crate::net::retry::{Class, Failure};
use crate::net::transfer::at;
use crate::source::url::redact;
use crate::source::{Hasher, ImageName, Sha256, SourceUrl};
use crate::suggest;

/// Media types of an image for one architecture, and of an index of images; of OCI and of docker.
pub const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// See [`MANIFESTS`].
pub const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// The number of tags to request when one was not found.
const TAGS: usize = 1000;

/// The registries that a fetcher uses.
#[derive(Default)]
pub struct Registry {
    logins: Logins,
}

/// A manifest as received, with the digest of its bytes.
#[derive(Debug, Clone)]
pub struct ReceivedManifest {
    pub bytes: Vec<u8>,
    /// The digest of the bytes.
    pub digest: Sha256,
    /// Its media type: the one in the bytes, else the one in the registry's answer.
    pub media_type: String,
}

/// An upload that was started.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The URL for its next bytes.
    address: String,
    /// The shortest chunk that the registry accepts, except for the last, in bytes.
    pub chunk: u64,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl Registry {
    /// The manifest or index that a name refers to.
    ///
    /// # Errors
    /// No answer, with the class of the failure; the tag does not exist: kind `Input`, with similar tags; the bytes do not
    /// match the digest: kind `Mismatch`.
    pub async fn manifest(&self, http: &Http, image: &ImageName) -> Result<ReceivedManifest, Failure> {
        let url = image.to_url()?;
        let accepted = [MANIFESTS, INDEXES].concat().join(", ");
        let path = format!("manifests/{}", image.reference());
        let ask = |client: &Client, address: &str| client.get(address).header(header::ACCEPT, &accepted);
        let response = self.send(http, image, &path, ask).await?;
        if response.status() == StatusCode::NOT_FOUND && image.digest.is_none() {
            return Err(Failure::permanent(self.no_such_tag(http, &url, image).await));
        }
        let response = checked(&url, image, response).await?;
        let told = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let told = told.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = read_whole(&url, response, bounds::IMAGE_MANIFEST as usize).await?;
        let mut hasher = Hasher::default();
        hasher.update(&bytes);
        let digest = hasher.finish().sha256;
        if let Some(wanted) = image.digest.filter(|wanted| *wanted != digest) {
            return Err(Failure::permanent(wrong_digest(&url, "the manifest", &wanted, &digest)));
        }
        // The media type in the manifest is part of what was hashed, the header is not.
        let typed: Option<Typed> = serde_json::from_slice(&bytes).ok();
        let media_type = typed.and_then(|typed| typed.media_type).unwrap_or(told);
        Ok(ReceivedManifest { bytes, digest, media_type })
    }

    /// A blob from an offset on. A registry that ignores the range sends it from the beginning, with 200.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`], except for the hash: the caller checks the bytes.
    pub async fn blob(&self, http: &Http, image: &ImageName, digest: &Sha256, from: u64) -> Result<Response, Failure> {
        let path = format!("blobs/sha256:{digest}");
        let ask = |client: &Client, address: &str| match from {
            0 => client.get(address),
            from => client.get(address).header(header::RANGE, format!("bytes={from}-")),
        };
        let response = self.send(http, image, &path, ask).await?;
        checked(&image.at(*digest).to_url()?, image, response).await
    }

    /// A small blob, read into memory.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`].
    pub async fn small_blob(&self, http: &Http, image: &ImageName, digest: &Sha256) -> Result<Vec<u8>, Failure> {
        let url = image.at(*digest).to_url()?;
        let bytes = read_whole(&url, self.blob(http, image, digest, 0).await?, bounds::IMAGE_MANIFEST as usize).await?;
        let mut hasher = Hasher::default();
        hasher.update(&bytes);
        let got = hasher.finish().sha256;
        if got != *digest {
            return Err(Failure::permanent(wrong_digest(&url, "a blob", digest, &got)));
        }
        Ok(bytes)
    }

    /// Whether a blob exists.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`].
    pub async fn has_blob(&self, http: &Http, image: &ImageName, digest: &Sha256) -> Result<bool, Failure> {
        let url = image.at(*digest).to_url()?;
        let address = address(image, &format!("blobs/sha256:{digest}"));
        let response =
            self.send_to(http, image, Right::Write, &address, |client, address| client.head(address)).await?;
        match checked(&url, image, response).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.error.kind() == Kind::Missing => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Starts an upload.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`].
    pub async fn begin(&self, http: &Http, image: &ImageName) -> Result<Upload, Failure> {
        let begin = |client: &Client, address: &str| client.post(address).header(header::CONTENT_LENGTH, 0);
        let response = self.send_to(http, image, Right::Write, &address(image, "blobs/uploads/"), begin).await?;
        next(image, checked(&image.to_url()?, image, response).await?)
    }

    /// Sends a chunk of an upload, whose first byte has this offset in the blob.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`]; the registry does not know the upload any more: kind `Missing`.
    pub async fn chunk(
        &self,
        http: &Http,
        image: &ImageName,
        upload: &Upload,
        from: u64,
        bytes: Bytes,
    ) -> Result<Upload, Failure> {
        let range = format!("{from}-{}", (from + bytes.len() as u64).saturating_sub(1));
        let patch = |client: &Client, address: &str| {
            let request = client.patch(address).header(header::CONTENT_TYPE, "application/octet-stream");
            request.header(header::CONTENT_RANGE, &range).body(bytes.clone())
        };
        let response = self.send_to(http, image, Right::Write, &upload.address, patch).await?;
        next(image, checked(&image.to_url()?, image, response).await?)
    }

    /// How many bytes of an upload have arrived, and the URL for the next.
    ///
    /// # Errors
    /// Those of [`Registry::chunk`].
    pub async fn arrived(&self, http: &Http, image: &ImageName, upload: &Upload) -> Result<(u64, Upload), Failure> {
        let url = image.to_url()?;
        let response =
            self.send_to(http, image, Right::Write, &upload.address, |client, address| client.get(address)).await?;
        let response = match checked(&url, image, response).await {
            Ok(response) => response,
            // Some registries drop an upload when they cannot tell its state.
            Err(failure) if failure.class == Class::Permanent => {
                return Err(Failure::permanent(failure.error.of_kind(Kind::Missing)));
            }
            Err(failure) => return Err(failure),
        };
        let range = response.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let last = range.and_then(|range| range.trim_start_matches("bytes=").split_once('-')?.1.parse::<u64>().ok());
        // `0-0` means both no byte and one byte; kbuild never sends a single byte.
        let arrived = last.map_or(0, |last| if last == 0 { 0 } else { last + 1 });
        Ok((arrived, next(image, response)?))
    }

    /// Finishes an upload with its last bytes: the blob then exists.
    ///
    /// # Errors
    /// Those of [`Registry::chunk`].
    pub async fn end(
        &self,
        http: &Http,
        image: &ImageName,
        upload: &Upload,
        digest: &Sha256,
        bytes: Bytes,
    ) -> Result<(), Failure> {
        let url = image.at(*digest).to_url()?;
        let joint = if upload.address.contains('?') { '&' } else { '?' };
        let address = format!("{}{joint}digest=sha256:{digest}", upload.address);
        let put = |client: &Client, address: &str| {
            let request = client.put(address).header(header::CONTENT_TYPE, "application/octet-stream");
            request.header(header::CONTENT_LENGTH, bytes.len()).body(bytes.clone())
        };
        let response = self.send_to(http, image, Right::Write, &address, put).await?;
        checked(&url, image, response).await.map(drop)
    }

    /// Tells a registry that an upload will not be finished.
    ///
    /// # Errors
    /// Those of [`Registry::chunk`].
    pub async fn cancel(&self, http: &Http, image: &ImageName, upload: &Upload) -> Result<(), Failure> {
        let cancel = |client: &Client, address: &str| client.delete(address);
        self.send_to(http, image, Right::Write, &upload.address, cancel).await.map(drop)
    }

    /// Puts a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// Those of [`Registry::manifest`].
    pub async fn put_manifest(
        &self,
        http: &Http,
        image: &ImageName,
        name: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), Failure> {
        let put = |client: &Client, address: &str| {
            client.put(address).header(header::CONTENT_TYPE, media_type).body(bytes.clone())
        };
        let response =
            self.send_to(http, image, Right::Write, &address(image, &format!("manifests/{name}")), put).await?;
        checked(&image.to_url()?, image, response).await.map(drop)
    }

    async fn send(
        &self,
        http: &Http,
        image: &ImageName,
        path: &str,
        make: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        self.send_to(http, image, Right::Read, &address(image, path), make).await
    }

    /// Sends a request for a repository, with a login if the registry asks for one. Returns any answer
    /// unchanged.
    async fn send_to(
        &self,
        http: &Http,
        image: &ImageName,
        right: Right,
        address: &str,
        make: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> Result<Response, Failure> {
        let url = image.to_url()?;
        let client = http.client()?;
        // An upload may be at another server, which must not get the login of this one.
        let own = address.starts_with(&address_of(image));
        let with = |header: Option<HeaderValue>| {
            let request = make(client, address);
            match header.filter(|_| own) {
                Some(header) => request.header(header::AUTHORIZATION, header),
                None => request,
            }
        };
        let known = self.logins.header(image, right);
        let response = with(known).send().await.map_err(|error| failed(&url, error))?;
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(response);
        }
        // No login yet, or an expired token.
        match self.logins.answer(http, &url, image, right, response.headers()).await? {
            Some(header) => with(Some(header)).send().await.map_err(|error| failed(&url, error)),
            None => Ok(response),
        }
    }

    async fn no_such_tag(&self, http: &Http, url: &SourceUrl, image: &ImageName) -> Error {
        let tag = image.reference();
        let place = ImageName { tag: None, digest: None, ..image.clone() };
        let error = Error::input(format!("{} has no tag `{tag}`", redact(place.to_string().as_str())));
        let path = format!("tags/list?n={TAGS}");
        let Ok(response) = self.send(http, image, &path, |client, address| client.get(address)).await else {
            return error;
        };
        if response.status() == StatusCode::NOT_FOUND {
            return Error::input(format!("there is no image {place}")).help("check the spelling of its name");
        }
        let body = match checked(url, image, response).await {
            Ok(response) => read_whole(url, response, bounds::IMAGE_MANIFEST as usize).await.unwrap_or_default(),
            Err(_) => return error,
        };
        let tags = serde_json::from_slice(&body).ok().and_then(|list: TagList| list.tags).unwrap_or_default();
        match suggest::did_you_mean(&tag, tags.iter().map(String::as_str), 4) {
            Some(question) => error.help(question),
            None => error,
        }
    }
}

/// The start of all URLs of a registry, up to its host.
fn address_of(image: &ImageName) -> String {
    let scheme = if image.is_loopback() { "http" } else { "https" };
    format!("{scheme}://{}/", image.api_host())
}

/// The URL of something in a repository.
fn address(image: &ImageName, path: &str) -> String {
    format!("{}v2/{}/{path}", address_of(image), image.repository)
}

/// The URL for the next bytes of an upload, as the registry says; never without TLS if it started with TLS.
fn next(image: &ImageName, response: Response) -> Result<Upload, Failure> {
    let url = image.to_url()?;
    let headers = response.headers();
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|location| response.url().join(location).ok());
    let secure = |next: &Url| next.scheme() == "https" || (next.scheme() == "http" && image.is_loopback());
    let next = next.filter(secure);
    let next =
        next.ok_or_else(|| Failure::permanent(at(&url, "the registry does not say where to continue an upload")))?;
    let chunk = headers.get("oci-chunk-min-length").and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Upload { address: next.into(), chunk: chunk.unwrap_or(0).min(256 << 20) })
}
