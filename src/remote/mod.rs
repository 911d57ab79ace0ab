//! Stores that are neither a directory nor a plain web server: buckets, and repositories of container registries.
//!
//! A [`Remote`] contains what a store contains: blobs and records of commits. What may enter: how each kind of service is
//! asked for them, and how they are sent. Every request fails with a [`Failure`] whose class decides about retries, so that
//! retries, limits and hash checks are the same as for all fetching ([`fetch`](crate::fetch)). No remote is trusted.

mod bucket;
mod connector;
mod credentials;
mod oci_artifact;
mod push;
mod upload;

pub use bucket::{ListedObject, Objects};
pub use push::{Destination, PushRequest, Pushed, push};
pub use upload::Sent;

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use url::Url;

use self::oci_artifact::Artifacts;
use crate::error::Result;
use crate::net::guard::RequestGuard;
use crate::net::retry::{Failure, RetryPolicy};
use crate::net::transfer::{BodyStream, Delivery, Download, Expected, absent, partial};
use crate::progress::Task;
use crate::source::{Blake3, CommitId, RemoteUrl, Service, Sha256};
use crate::store::{GitRecord, PartialDownload};

/// A store at a service.
#[derive(Debug)]
pub enum Remote {
    /// Objects in a bucket.
    Objects(Box<Objects>),
    /// An artifact in a registry.
    Registry(Box<Artifacts>),
}

/// What identifies a blob in a request: at least one hash.
#[derive(Debug, Clone, Copy)]
pub struct BlobName {
    /// Its address in a store.
    pub blake3: Option<Blake3>,
    /// The SHA-256 that recipes name.
    pub sha256: Option<Sha256>,
}

/// A blob while it is fetched.
pub struct Opened {
    /// The URL it comes from, for messages.
    pub url: Url,
    /// The offset of its first byte in the blob; 0 if the service could not start in the middle.
    pub from: u64,
    /// The size of the whole blob, if the service says so.
    pub total: Option<u64>,
    /// Its bytes.
    pub body: BlobBody,
}

/// Bytes in pieces; a failure has its class.
pub struct BlobBody(pub BoxStream<'static, Result<Bytes, Failure>>);

impl BodyStream for BlobBody {
    type Chunk = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.0.next().await.transpose()
    }
}

/// A blob to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// Its address.
    pub blake3: Blake3,
    /// The SHA-256 that recipes name; `None` for packs, which no recipe names.
    pub sha256: Option<Sha256>,
    /// In bytes.
    pub size: u64,
}

/// Everything to send for a lock.
#[derive(Debug)]
pub struct PushSet<'a> {
    /// The text of its lock.
    pub lock: &'a [u8],
    /// Files, and the packs of commits with their indexes.
    pub blobs: Vec<BlobRef>,
    /// Commits.
    pub records: Vec<GitRecord>,
}

/// What a remote does not have of a [`PushSet`].
#[derive(Debug, Default)]
pub struct Missing {
    /// Blobs, by address.
    pub blobs: BTreeSet<Blake3>,
    /// Commits without a record that is as good as the store's.
    pub commits: BTreeSet<CommitId>,
}

impl Remote {
    /// A remote by its address; sends no request yet.
    pub fn new(url: &RemoteUrl, policy: &RetryPolicy) -> Remote {
        match url.service() {
            Service::S3 | Service::Google | Service::Azure => Remote::Objects(Box::new(Objects::new(url, policy))),
            Service::Registry => Remote::Registry(Box::new(Artifacts::new(url, url.image(), policy))),
        }
    }

    /// Its address, which never contains a credential.
    pub fn url(&self) -> &RemoteUrl {
        match self {
            Remote::Objects(objects) => objects.url(),
            Remote::Registry(artifacts) => artifacts.url(),
        }
    }

    /// The text of a commit's record; `None` if there is none.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn record(&self, commit: &CommitId) -> Result<Option<String>, Failure> {
        match self {
            Remote::Objects(objects) => objects.record(commit).await,
            Remote::Registry(artifacts) => artifacts.record(commit).await,
        }
    }

    /// Reads a blob from an offset on (the service may start at 0 instead); `None` if it does not exist.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn open(&self, blob: &BlobName, from: u64) -> Result<Option<Opened>, Failure> {
        match self {
            Remote::Objects(objects) => objects.open(blob, from).await,
            Remote::Registry(artifacts) => artifacts.open(blob, from).await,
        }
    }

    /// Finds what the remote does not have of a push set.
    ///
    /// # Errors
    /// No answer, or a refusal, after the retries of [`RequestGuard`].
    pub async fn missing(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<Missing, Failure> {
        match self {
            Remote::Objects(objects) => objects.missing(push_set, guard).await,
            Remote::Registry(artifacts) => artifacts.missing(push_set, guard).await,
        }
    }

    /// Sends a blob from a file. It gets its name only when all of it has arrived and matched its hash.
    /// `guard` reports how many bytes were sent.
    ///
    /// # Errors
    /// The content does not match the hash: kind `Mismatch`. No answer, or a refusal.
    pub async fn put_blob(&self, blob: &BlobRef, file: &Path, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        match self {
            Remote::Objects(objects) => objects.put_blob(blob, file, guard).await,
            Remote::Registry(artifacts) => artifacts.put_blob(blob, file, guard).await,
        }
    }

    /// Sends a commit's record, after its blobs.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn put_record(&self, record: &GitRecord, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        match self {
            Remote::Objects(objects) => objects.put_record(record, guard).await,
            Remote::Registry(artifacts) => artifacts.put_record(record, guard).await,
        }
    }

    /// Finishes a push, when every blob and record of the push set is there.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn finish(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        match self {
            Remote::Objects(_) => Ok(()),
            Remote::Registry(artifacts) => artifacts.finish(push_set, guard).await,
        }
    }

    /// Fetches a blob into a partial download, as [`crate::net::http::Http::transfer`] does.
    ///
    /// # Errors
    /// No answer, or a refusal; the partial download cannot be written.
    pub async fn transfer(
        &self,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
        policy: &RetryPolicy,
    ) -> Result<Delivery, Failure> {
        let blob = BlobName { blake3: expected.blake3, sha256: expected.sha256 };
        let incoming = partial(slot)?;
        // A partial file as long as the blob or longer, which is not the blob, is of no use.
        if expected.size.is_some_and(|size| incoming.size() >= size) {
            incoming.restart()?;
        }
        let Some(mut opened) = self.open(&blob, incoming.size()).await? else {
            return Err(Failure::permanent(absent(self.url())));
        };
        let (from, total) = (opened.from, opened.total);
        let inflow = Download { url: &opened.url, end: &opened.url, expected, task, policy, from, total };
        inflow.must_fit()?;
        if from == 0 && incoming.size() > 0 {
            incoming.restart()?;
        }
        // No validator: names are hashes here, so the rest may come from any place.
        incoming.set_validator(None)?;
        let head = inflow.take(slot, &mut opened.body).await?;
        Ok(Delivery { url: opened.url, head, resumed: from > 0 })
    }
}
