//! Stores that are neither a folder nor a plain web server: object stores, and what else a team has for large files.
//!
//! A [`Remote`] holds what a store holds: blobs and records of commits. What may enter: how each kind of service is asked
//! for them, and given them. Every request fails with a [`Failure`] whose class says what it means, so that retries, limits
//! and the comparison of hashes are those of all fetching ([`fetch`](crate::fetch)); nothing rests on a remote's word.

mod bucket;
mod connector;
mod credentials;
mod oci_artifact;
mod push;
mod upload;

pub use push::{Destination, PushRequest, Pushed, push};
pub use upload::Sent;

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use url::Url;

use self::bucket::Objects;
use self::oci_artifact::Artifacts;
use crate::error::Result;
use crate::net::guard::RequestGuard;
use crate::net::retry::{Failure, RetryPolicy};
use crate::net::transfer::{BodyStream, Delivery, Download, Expected, absent, partial};
use crate::progress::Task;
use crate::source::{Blake3, CommitId, RemoteUrl, Service, Sha256};
use crate::store::{GitRecord, PartialDownload};

/// A store at some service.
#[derive(Debug)]
pub enum Remote {
    /// Objects in a bucket.
    Objects(Box<Objects>),
    /// An artifact in a registry.
    Registry(Box<Artifacts>),
}

/// What a blob is asked for by: at least one hash.
#[derive(Debug, Clone, Copy)]
pub struct BlobName {
    /// Its address in a store.
    pub blake3: Option<Blake3>,
    /// What recipes speak.
    pub sha256: Option<Sha256>,
}

/// A blob on its way here.
pub struct Opened {
    /// Where it comes from, for messages.
    pub url: Url,
    /// Which byte of the blob comes first; 0 where the service could not begin in the middle.
    pub from: u64,
    /// The size of the whole blob, if the service says so.
    pub total: Option<u64>,
    /// Its bytes.
    pub body: BlobBody,
}

/// Bytes that come piece by piece, each failure with its class.
pub struct BlobBody(pub BoxStream<'static, Result<Bytes, Failure>>);

impl BodyStream for BlobBody {
    type Chunk = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.0.next().await.transpose()
    }
}

/// A blob that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// Its address.
    pub blake3: Blake3,
    /// What recipes speak; not known of packs, which no recipe names.
    pub sha256: Option<Sha256>,
    /// In bytes.
    pub size: u64,
}

/// All that a lock names, to be sent.
#[derive(Debug)]
pub struct PushSet<'a> {
    /// The text of its lock.
    pub lock: &'a [u8],
    /// Files, and the packs of commits with their indexes.
    pub blobs: Vec<BlobRef>,
    /// Commits.
    pub records: Vec<GitRecord>,
}

/// What of a shipment a remote does not have.
#[derive(Debug, Default)]
pub struct Missing {
    /// Blobs, by their address.
    pub blobs: BTreeSet<Blake3>,
    /// Commits without a record as good as ours.
    pub commits: BTreeSet<CommitId>,
}

impl Remote {
    /// A remote by its address; nobody is asked anything yet.
    pub fn new(url: &RemoteUrl, policy: &RetryPolicy) -> Remote {
        match url.service() {
            Service::S3 | Service::Google | Service::Azure => Remote::Objects(Box::new(Objects::new(url, policy))),
            Service::Registry => Remote::Registry(Box::new(Artifacts::new(url, url.image(), policy))),
        }
    }

    /// Its address, which never holds a credential.
    pub fn url(&self) -> &RemoteUrl {
        match self {
            Remote::Objects(objects) => objects.url(),
            Remote::Registry(artifacts) => artifacts.url(),
        }
    }

    /// The text of a commit's record; nothing where there is none.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn record(&self, commit: &CommitId) -> Result<Option<String>, Failure> {
        match self {
            Remote::Objects(objects) => objects.record(commit).await,
            Remote::Registry(artifacts) => artifacts.record(commit).await,
        }
    }

    /// Begins to read a blob from this byte on (the service may choose to begin at 0); nothing where there is none.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn open(&self, blob: &BlobName, from: u64) -> Result<Option<Opened>, Failure> {
        match self {
            Remote::Objects(objects) => objects.open(blob, from).await,
            Remote::Registry(artifacts) => artifacts.open(blob, from).await,
        }
    }

    /// Finds out what of a shipment is not there.
    ///
    /// # Errors
    /// No answer, or a refusal; [`RequestGuard`] has tried again as often as there was use in it.
    pub async fn missing(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<Missing, Failure> {
        match self {
            Remote::Objects(objects) => objects.missing(push_set, guard).await,
            Remote::Registry(artifacts) => artifacts.missing(push_set, guard).await,
        }
    }

    /// Sends a blob out of this file: seen under its name only when all of it has arrived and was what its name says. The
    /// teller of `guard` hears how many of its bytes have gone.
    ///
    /// # Errors
    /// A file that is not what its name says: kind `Mismatch`. No answer, or a refusal.
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

    /// Ends a push, when every blob and record of the shipment is there.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn finish(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        match self {
            Remote::Objects(_) => Ok(()),
            Remote::Registry(artifacts) => artifacts.finish(push_set, guard).await,
        }
    }

    /// Brings a blob into a partial download, as [`crate::net::http::Http::transfer`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn transfer(
        &self,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
        policy: &RetryPolicy,
    ) -> Result<Delivery, Failure> {
        let blob = BlobName { blake3: expected.blake3, sha256: expected.sha256 };
        let incoming = partial(slot)?;
        // A partial that is as long as the blob, or longer, and is not the blob, is of no use.
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
        // No validator: names are hashes here, so that the rest may come from anywhere.
        incoming.set_validator(None)?;
        let head = inflow.take(slot, &mut opened.body).await?;
        Ok(Delivery { url: opened.url, head, resumed: from > 0 })
    }
}
