//! Stores in a bucket: the names of a store's layout are the names of objects.
//!
//! `blobs/ab/<blake3>` and `git/<commit>.toml` as in any store. A bucket has no links, so `sha256/<hex>.blake3` is a
//! small object that names a blob. It is written before the blob, so that every blob can be found by both hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, MultipartId, ObjectMeta, ObjectStore, PutOptions, PutPayload};
use reqwest::StatusCode;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::connector::{self, Bucket, Connector};
use super::upload::BlobReader;
use super::{BlobBody, BlobName, BlobRef, Missing, Opened, PushSet, credentials};
use crate::bounds;
use crate::error::{Kind, Result};
use crate::net::guard::RequestGuard;
use crate::net::retry::{Failure, RetryPolicy};
use crate::net::transfer::at;
use crate::source::{Blake3, CommitId, RemoteUrl, Sha256};
use crate::store::{GitRecord, blob_name, record_name};

/// Size of one request; larger blobs are sent in parts of this size. S3 needs at least 5 MiB, and accepts 10 000 parts.
const PART: u64 = 8 << 20;

/// The most parts of a blob on S3.
const PARTS: u64 = 10_000;

/// Parts of one blob that are sent at once.
const PARTS_AT_ONCE: usize = 4;

/// The most bytes in memory that are to be sent, in units of [`PIECE`].
const ROOM: u32 = 2048;

/// In bytes: small enough to see progress.
const PIECE: usize = 64 << 10;

/// Up to this many blobs are asked for one by one; for more, the bucket is listed.
const FEW: usize = 64;

/// Requests at once; permits limit them further.
const QUESTIONS: usize = 64;

/// A store in a bucket.
pub struct Objects {
    url: RemoteUrl,
    connector: Connector,
    /// Made at the first request: looking for credentials may use the network.
    bucket: OnceCell<Arc<dyn Bucket>>,
    room: Arc<Semaphore>,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Below the prefix of the address.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// When it was last written.
    pub written: std::time::SystemTime,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.url)
    }
}

impl Objects {
    /// A store at this address; sends no request yet.
    pub fn new(url: &RemoteUrl, policy: &RetryPolicy) -> Objects {
        let room = Arc::new(Semaphore::new(ROOM as usize));
        Objects { url: url.clone(), connector: Connector::new(policy), bucket: OnceCell::new(), room }
    }

    /// Its address.
    pub fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// See [`super::Remote::record`].
    pub async fn record(&self, commit: &CommitId) -> Result<Option<String>, Failure> {
        self.text(&record_name(commit), bounds::RECORD as usize, RefusalMeaning::Tells).await
    }

    /// See [`super::Remote::open`].
    pub async fn open(&self, blob: &BlobName, from: u64) -> Result<Option<Opened>, Failure> {
        let blake3 = match (blob.blake3, blob.sha256) {
            (Some(blake3), _) => Some(blake3),
            (None, Some(sha256)) => self.pointed_at(&sha256).await?,
            (None, None) => None,
        };
        let Some(blake3) = blake3 else { return Ok(None) };
        let name = blob_name(&blake3);
        let url = self.url.below(&name);
        let options = GetOptions { range: (from > 0).then_some(GetRange::Offset(from)), ..GetOptions::default() };
        let got = match self.bucket().await?.get_opts(&self.path(&name), options).await {
            Ok(got) => got,
            // The blob here is shorter than the bytes that came earlier, from another place.
            Err(error) if from > 0 && is_beyond(&error) => return Box::pin(self.open(blob, 0)).await,
            Err(error) => return none_if_absent(connector::failure(&url, &error)),
        };
        let (from, total) = (got.range.start, Some(got.meta.size));
        let place = url.clone();
        let body = got.into_stream().map_err(move |error| connector::failure(&place, &error));
        Ok(Some(Opened { url, from, total, body: BlobBody(body.boxed()) }))
    }

    /// Whether there is an object of this name. A refusal means that there is none: a service that hides what exists refuses
    /// what does not exist.
    ///
    /// # Errors
    /// No answer.
    pub async fn has_named(&self, name: &str) -> Result<Option<u64>, Failure> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.bucket().await?.get_opts(&self.path(name), options).await {
            Ok(found) => Ok(Some(found.meta.size)),
            Err(error) if is_forbidden(&error) => Ok(None),
            Err(error) => none_if_absent(connector::failure(&self.url.below(name), &error)),
        }
    }

    /// Reads an object from an offset on; `None` if it does not exist.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn open_named(&self, name: &str, from: u64) -> Result<Option<Opened>, Failure> {
        let url = self.url.below(name);
        let options = GetOptions { range: (from > 0).then_some(GetRange::Offset(from)), ..GetOptions::default() };
        let got = match self.bucket().await?.get_opts(&self.path(name), options).await {
            Ok(got) => got,
            Err(error) if is_forbidden(&error) => return Ok(None),
            Err(error) => return none_if_absent(connector::failure(&url, &error)),
        };
        let (from, total) = (got.range.start, Some(got.meta.size));
        let place = url.clone();
        let body = got.into_stream().map_err(move |error| connector::failure(&place, &error));
        Ok(Some(Opened { url, from, total, body: BlobBody(body.boxed()) }))
    }

    /// Sends a file as an object of this name, in parts if it is large; `blob` has the hash that its bytes must have.
    ///
    /// # Errors
    /// The content does not match the hash: kind `Mismatch`. No answer, or a refusal.
    pub async fn put_named(
        &self,
        name: &str,
        blob: &BlobRef,
        file: &FilePath,
        guard: &RequestGuard<'_>,
    ) -> Result<(), Failure> {
        let mut outgoing = BlobReader::open(blob, file)?;
        if blob.size > PART {
            return self.put_parts(name, blob.size, outgoing, guard).await;
        }
        let _room = self.room_for(blob.size).await;
        let bytes = outgoing.next(PART).await?.unwrap_or_default();
        let size = bytes.len() as u64;
        outgoing.finish()?;
        self.put_small(name, bytes, guard).await?;
        guard.report.task().set_position(size);
        Ok(())
    }

    /// How a listing shows an object of this name: services refuse some characters, which are then written as `%7E`.
    pub fn listed_as(name: &str) -> String {
        Path::from(name).to_string()
    }

    /// The names of all objects, with their sizes in bytes and when they were last written.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn list_named(&self) -> Result<Vec<ListedObject>, Failure> {
        let prefix = Path::from(self.url.prefix());
        let mut listing = self.bucket().await?.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = listing.next().await {
            let ObjectMeta { location, size, last_modified, .. } =
                object.map_err(|error| connector::failure(&self.url, &error))?;
            let name = location.as_ref().strip_prefix(self.url.prefix()).unwrap_or(location.as_ref());
            found.push(ListedObject {
                name: name.trim_start_matches('/').to_owned(),
                size,
                written: last_modified.into(),
            });
        }
        Ok(found)
    }

    /// The blob with this SHA-256, by the pointer in the bucket, which is not trusted.
    async fn pointed_at(&self, sha256: &Sha256) -> Result<Option<Blake3>, Failure> {
        let name = pointer_name(sha256);
        let Some(text) = self.text(&name, 128, RefusalMeaning::Tells).await? else { return Ok(None) };
        let blake3 = text.trim_end().parse();
        blake3.map(Some).map_err(|_| Failure::permanent(at(&self.url.below(&name), "it does not name a blob")))
    }

    /// See [`super::Remote::missing`].
    pub async fn missing(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<Missing, Failure> {
        let records = push_set.records.iter().map(|record| self.standing(record, guard));
        let standings: Vec<Standing> = stream::iter(records).buffered(QUESTIONS).try_collect().await?;
        let standings = || push_set.records.iter().zip(&standings);
        let ours = standings().filter(|(_, standing)| **standing != Standing::Theirs).map(|(record, _)| record);
        let packs: BTreeSet<Blake3> = ours.flat_map(GitRecord::blobs).collect();
        let needed = push_set.blobs.iter().filter(|blob| blob.sha256.is_some() || packs.contains(&blob.blake3));
        let wanted: BTreeMap<Blake3, u64> = needed.map(|blob| (blob.blake3, blob.size)).collect();
        let lacking = standings().filter(|(_, standing)| **standing == Standing::Lacking);
        Ok(Missing {
            blobs: self.lacking(wanted, guard).await?,
            commits: lacking.map(|(record, _)| record.commit).collect(),
        })
    }

    /// What the bucket has for a commit.
    async fn standing(&self, ours: &GitRecord, guard: &RequestGuard<'_>) -> Result<Standing, Failure> {
        let name = record_name(&ours.commit);
        let text = guard
            .attempt(&self.url, || self.text(&name, bounds::RECORD as usize, RefusalMeaning::MeansAbsence).boxed())
            .await?;
        let Some(Ok(theirs)) = text.map(|text| text.parse::<GitRecord>()) else { return Ok(Standing::Lacking) };
        if theirs == *ours {
            return Ok(Standing::Ours);
        }
        let as_deep = theirs.shallow.is_empty() || theirs.shallow == ours.shallow;
        if (theirs.commit, theirs.tree) != (ours.commit, ours.tree) || !as_deep {
            return Ok(Standing::Lacking);
        }
        for blob in theirs.blobs() {
            if self.lacks(blob, None, guard).await? {
                return Ok(Standing::Lacking);
            }
        }
        Ok(Standing::Theirs)
    }

    /// The blobs that are missing, of these with their sizes in bytes.
    async fn lacking(
        &self,
        wanted: BTreeMap<Blake3, u64>,
        guard: &RequestGuard<'_>,
    ) -> Result<BTreeSet<Blake3>, Failure> {
        let mut open = wanted.clone();
        if wanted.len() > FEW {
            let (found, whole) = guard.attempt(&self.url, || self.list(&wanted).boxed()).await?;
            open.retain(|blake3, _| !found.contains(blake3));
            if whole {
                return Ok(open.into_keys().collect());
            }
        }
        let questions = open.into_iter().map(|(blake3, size)| async move {
            let lacks = self.lacks(blake3, Some(size), guard).await?;
            Ok::<_, Failure>(lacks.then_some(blake3))
        });
        let answers: Vec<Option<Blake3>> = stream::iter(questions).buffered(QUESTIONS).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Whether a blob is missing or incomplete.
    async fn lacks(&self, blake3: Blake3, size: Option<u64>, guard: &RequestGuard<'_>) -> Result<bool, Failure> {
        let name = blob_name(&blake3);
        let place = self.url.below(&name);
        let head = || {
            async {
                let options = GetOptions { head: true, ..GetOptions::default() };
                match self.bucket().await?.get_opts(&self.path(&name), options).await {
                    Ok(found) => Ok(Some(found.meta.size)),
                    // A user who may only write is refused for objects that do not exist.
                    Err(error) if is_forbidden(&error) => Ok(None),
                    Err(error) => none_if_absent(connector::failure(&place, &error)),
                }
            }
            .boxed()
        };
        let found = guard.attempt(&self.url, head).await?;
        Ok(found.is_none_or(|found| size.is_some_and(|size| size != found)))
    }

    /// The wanted blobs that a listing shows, and whether the listing is complete. It stops early in a bucket with the blobs
    /// of many projects, where asking one by one is faster.
    async fn list(&self, wanted: &BTreeMap<Blake3, u64>) -> Result<(BTreeSet<Blake3>, bool), Failure> {
        let prefix = self.path("blobs");
        let mut listing = self.bucket().await?.list(Some(&prefix));
        let mut found = BTreeSet::new();
        let mut left = 10_000 + wanted.len().saturating_mul(20);
        while let Some(object) = listing.next().await {
            let ObjectMeta { location, size, .. } = match object {
                Ok(object) => object,
                // Some users who may write may not list.
                Err(error) if is_forbidden(&error) => return Ok((found, false)),
                Err(error) => return Err(connector::failure(&self.url, &error)),
            };
            let blake3 = location.filename().and_then(|name| name.parse::<Blake3>().ok());
            found.extend(blake3.filter(|blake3| wanted.get(blake3) == Some(&size)));
            left -= 1;
            if left == 0 {
                return Ok((found, false));
            }
        }
        Ok((found, true))
    }

    /// See [`super::Remote::put_blob`].
    pub async fn put_blob(&self, blob: &BlobRef, file: &FilePath, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        if let Some(sha256) = blob.sha256 {
            self.put_small(&pointer_name(&sha256), format!("{}\n", blob.blake3).into(), guard).await?;
        }
        self.put_named(&blob_name(&blob.blake3), blob, file, guard).await
    }

    /// See [`super::Remote::put_record`].
    pub async fn put_record(&self, record: &GitRecord, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        self.put_small(&record_name(&record.commit), record.to_string().into(), guard).await
    }

    async fn put_small(&self, name: &str, bytes: Bytes, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        let place = self.url.below(name);
        let put = || {
            async {
                let payload = in_pieces(bytes.clone());
                let put = self.bucket().await?.put_opts(&self.path(name), payload, PutOptions::default()).await;
                put.map(drop).map_err(|error| not_sent(&place, &error))
            }
            .boxed()
        };
        guard.attempt(&self.url, put).await
    }

    /// Sends a large blob. If it fails, the upload is aborted: a partial blob never has its name.
    async fn put_parts(
        &self,
        name: &str,
        size: u64,
        outgoing: BlobReader,
        guard: &RequestGuard<'_>,
    ) -> Result<(), Failure> {
        let (path, place) = (self.path(name), self.url.below(name));
        let failed = |error| not_sent(&place, &error);
        let bucket = self.bucket().await?;
        let begin = || async { bucket.create_multipart(&path).await.map_err(failed) }.boxed();
        let upload = guard.attempt(&self.url, begin).await?;
        let sent = self.send_parts(name, &upload, size, outgoing, guard).await;
        let ended = match sent {
            Ok(parts) => {
                let end = || {
                    async { bucket.complete_multipart(&path, &upload, parts.clone()).await.map(drop).map_err(failed) }
                        .boxed()
                };
                guard.attempt(&self.url, end).await
            }
            Err(failure) => Err(failure),
        };
        if ended.is_err() {
            // A failure here is ignored; a bucket can be configured to drop unfinished uploads.
            let _ = bucket.abort_multipart(&path, &upload).await;
        }
        ended
    }

    async fn send_parts(
        &self,
        name: &str,
        upload: &MultipartId,
        size: u64,
        outgoing: BlobReader,
        guard: &RequestGuard<'_>,
    ) -> Result<Vec<PartId>, Failure> {
        let piece = PART.max(size.div_ceil(PARTS));
        let (bucket, path) = (self.bucket().await?, &self.path(name));
        let task = guard.report.task();
        let gone = AtomicU64::new(0);
        let parts = stream::unfold((Some(outgoing), 0_usize), |(outgoing, number)| async move {
            let mut outgoing = outgoing?;
            let room = self.room_for(piece).await;
            match outgoing.next(piece).await {
                Ok(Some(bytes)) => Some((Ok((number, bytes, room)), (Some(outgoing), number + 1))),
                Ok(None) => outgoing.finish().err().map(|error| (Err(Failure::from(error)), (None, number))),
                Err(error) => Some((Err(Failure::from(error)), (None, number))),
            }
        });
        let send = |(number, bytes, room): (usize, Bytes, OwnedSemaphorePermit)| {
            let gone = &gone;
            async move {
                let put = || {
                    async {
                        let sent = bucket.put_part(path, upload, number, in_pieces(bytes.clone())).await;
                        sent.map_err(|error| not_sent(&self.url.below(name), &error))
                    }
                    .boxed()
                };
                let part = guard.attempt(&self.url, put).await?;
                drop(room);
                let bytes = bytes.len() as u64;
                task.set_position(gone.fetch_add(bytes, Ordering::Relaxed) + bytes);
                Ok(part)
            }
        };
        parts.map_ok(send).try_buffered(PARTS_AT_ONCE).try_collect().await
    }

    /// Waits until this many more bytes may be held in memory.
    async fn room_for(&self, bytes: u64) -> OwnedSemaphorePermit {
        let pieces = bytes.div_ceil(PIECE as u64).clamp(1, ROOM.into());
        let pieces = u32::try_from(pieces).unwrap_or(ROOM);
        Arc::clone(&self.room).acquire_many_owned(pieces).await.expect("the semaphore is never closed")
    }

    /// A small object, as text; `None` if it does not exist.
    async fn text(&self, name: &str, limit: usize, refusal: RefusalMeaning) -> Result<Option<String>, Failure> {
        let place = self.url.below(name);
        let got = match self.bucket().await?.get_opts(&self.path(name), GetOptions::default()).await {
            Ok(got) => got,
            Err(error) if refusal == RefusalMeaning::MeansAbsence && is_forbidden(&error) => return Ok(None),
            Err(error) => return none_if_absent(connector::failure(&place, &error)),
        };
        if got.meta.size > limit as u64 {
            return Err(Failure::permanent(at(&place, format!("it has more than {limit} bytes"))));
        }
        let bytes = got.bytes().await.map_err(|error| connector::failure(&place, &error))?;
        let text = String::from_utf8(bytes.into());
        text.map(Some).map_err(|_| Failure::permanent(at(&place, "it is not UTF-8 text")))
    }

    async fn bucket(&self) -> Result<&Arc<dyn Bucket>> {
        self.bucket.get_or_try_init(|| credentials::open(&self.url, &self.connector)).await
    }

    fn path(&self, name: &str) -> Path {
        Path::from([self.url.prefix(), name].join("/"))
    }
}

/// What a bucket has for a commit of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The same record.
    Ours,
    /// Another record that is as good, with its packs.
    Theirs,
    /// No record, or one that is not as good.
    Lacking,
}

/// How to read a refusal for an object: a service that hides what exists also refuses what does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RefusalMeaning {
    Tells,
    MeansAbsence,
}

fn pointer_name(sha256: &Sha256) -> String {
    format!("sha256/{sha256}.blake3")
}

/// Bytes to send.
fn in_pieces(bytes: Bytes) -> PutPayload {
    (0..bytes.len()).step_by(PIECE).map(|from| bytes.slice(from..bytes.len().min(from + PIECE))).collect()
}

fn is_beyond(error: &object_store::Error) -> bool {
    connector::refused(error).is_some_and(|refused| refused.status == StatusCode::RANGE_NOT_SATISFIABLE)
}

/// The error for a failed write. "Not found" then means the bucket, whether the service says so or not.
fn not_sent(place: &impl fmt::Display, error: &object_store::Error) -> Failure {
    let failure = connector::failure(place, error);
    if !is_absent(&failure) {
        return failure;
    }
    Failure { error: failure.error.of_kind(Kind::Network).help(connector::NO_BUCKET), ..failure }
}

fn is_absent(failure: &Failure) -> bool {
    failure.error.kind() == Kind::Missing
}

fn is_forbidden(error: &object_store::Error) -> bool {
    connector::refused(error).is_some_and(|refused| refused.status == StatusCode::FORBIDDEN)
}

fn none_if_absent<T>(failure: Failure) -> Result<Option<T>, Failure> {
    if is_absent(&failure) { Ok(None) } else { Err(failure) }
}
