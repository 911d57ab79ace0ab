//! Sends what a lock names to a remote: only what is missing there, many blobs at once, each compared with its hash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{BlobRef, Missing, PushSet, Remote};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::net::blocking;
use crate::net::guard::RequestGuard;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::{Failure, RetryPolicy};
use crate::progress::{self, Progress};
use crate::source::{Blake3, RemoteUrl};
use crate::store::{GitRecord, Store, damaged};

/// Sends to a remote.
pub(crate) struct Uploader {
    remote: Remote,
    limits: Limits,
    policy: RetryPolicy,
    progress: Arc<dyn Progress>,
}

/// The result of an upload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Number of blobs that were missing.
    pub blobs: usize,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Number of commits that were missing.
    pub commits: usize,
}

impl Uploader {
    /// An uploader to this address, with at most this many transfers at once; sends no request yet.
    pub(crate) fn new(url: &RemoteUrl, jobs: usize, progress: Arc<dyn Progress>) -> Uploader {
        let policy = RetryPolicy::from_env();
        Uploader { remote: Remote::new(url, &policy), limits: Limits::new(jobs), policy, progress }
    }

    /// Sends what the remote does not have of a push set, from a store. `names` gives a blob's name in messages. What was
    /// sent stays if the rest fails, and is not sent again by the next push.
    ///
    /// # Errors
    /// A blob's content does not match its hash: kind `Mismatch`; the others are still sent. No answer, or a refusal:
    /// kind `Network`; then nothing more is started.
    pub(crate) async fn send(
        &self,
        store: &Store,
        push_set: &PushSet<'_>,
        names: &BTreeMap<Blake3, String>,
    ) -> Result<Sent> {
        let report = LazyTask::new(&self.progress, self.remote.url().to_string(), None);
        report.task().note("looking for what is missing");
        let missing =
            self.remote.missing(push_set, &self.guard(&report)).await.map_err(|failure| self.told(failure))?;
        report.task().done(&format!("{} of {} blobs are missing", missing.blobs.len(), push_set.blobs.len()));
        let mut sent = self.send_blobs(store, push_set, &missing, names).await?;
        let records = push_set.records.iter().filter(|record| missing.commits.contains(&record.commit));
        let records = join_all(records.map(|record| self.send_record(record))).await;
        sent.commits = records.into_iter().collect::<Result<Vec<()>>>()?.len();
        let report = LazyTask::new(&self.progress, self.remote.url().to_string(), None);
        self.remote.finish(push_set, &self.guard(&report)).await.map_err(|failure| self.told(failure))?;
        Ok(sent)
    }

    async fn send_blobs(
        &self,
        store: &Store,
        push_set: &PushSet<'_>,
        missing: &Missing,
        names: &BTreeMap<Blake3, String>,
    ) -> Result<Sent> {
        let stopped = AtomicBool::new(false);
        let wanted: Vec<&BlobRef> = push_set.blobs.iter().filter(|blob| missing.blobs.contains(&blob.blake3)).collect();
        let send = async |blob: &BlobRef| {
            let _in_hand = self.limits.begin().await;
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let name = names.get(&blob.blake3).cloned().unwrap_or_else(|| blob.blake3.to_string());
            let report = LazyTask::new(&self.progress, &name, Some(blob.size));
            let path = store.blob_path(&blob.blake3);
            match self.remote.put_blob(blob, &path, &self.guard(&report)).await {
                Ok(()) => {
                    report.task().done(&format!("{} to {}", progress::size(blob.size), self.remote.url()));
                    Ok(Some(blob.size))
                }
                // A damaged blob concerns only itself. Any other failure would be the same for all blobs, and is
                // reported once.
                Err(Failure { error, .. })
                    if error.kind() != Kind::Mismatch && stopped.swap(true, Ordering::Relaxed) =>
                {
                    tracing::debug!("{name}: {error}: {}", error.causes().join(": "));
                    Ok(None)
                }
                Err(Failure { error, .. }) => Err(error.wrap(format!("could not send {name}"))),
            }
        };
        let mut sent = Sent::default();
        let mut errors = Vec::new();
        for outcome in join_all(wanted.iter().map(|blob| send(blob))).await {
            match outcome {
                Ok(Some(bytes)) => (sent.blobs, sent.bytes) = (sent.blobs + 1, sent.bytes + bytes),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        match Error::all(errors, |count| format!("{count} of {} blobs could not be sent", wanted.len())) {
            Some(error) if error.kind() == Kind::Mismatch => Err(error),
            Some(error) => Err(error.help_or("run the same command again: what was sent is kept")),
            None => Ok(sent),
        }
    }

    async fn send_record(&self, record: &GitRecord) -> Result<()> {
        let report = LazyTask::new(&self.progress, format!("commit {}", record.commit.short()), None);
        self.remote.put_record(record, &self.guard(&report)).await.map_err(|failure| self.told(failure))?;
        report.task().done(&format!("to {}", self.remote.url()));
        Ok(())
    }

    fn guard<'a>(&'a self, report: &'a LazyTask) -> RequestGuard<'a> {
        RequestGuard { limits: &self.limits, policy: &self.policy, report }
    }

    fn told(&self, failure: Failure) -> Error {
        let message = format!("could not send to {}", self.remote.url());
        failure.error.wrap(message).help_or("run the same command again: what was sent is kept")
    }
}

/// The bytes of a blob to send, in order, compared with its hash at the end.
pub(crate) struct BlobReader {
    blob: BlobRef,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl BlobReader {
    /// Opens a blob of a store.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn open(blob: &BlobRef, path: &Path) -> Result<BlobReader> {
        let file = disk::open_regular(path)?;
        Ok(BlobReader { blob: *blob, path: path.to_owned(), file, hasher: blake3::Hasher::new() })
    }

    /// The next piece, of this size in bytes unless it is the last; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn next(&mut self, size: u64) -> Result<Option<Bytes>> {
        let file = self.file.try_clone().map_err(|error| Error::io("read", &self.path, error))?;
        let (path, mut hasher) = (self.path.clone(), std::mem::take(&mut self.hasher));
        let (bytes, hasher) = blocking(move || {
            let mut bytes = Vec::new();
            file.take(size).read_to_end(&mut bytes).map_err(|error| Error::io("read", &path, error))?;
            hasher.update_rayon(&bytes);
            Ok((bytes, hasher))
        })
        .await?;
        self.hasher = hasher;
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }

    /// Checks that the bytes match the blob's hash.
    ///
    /// # Errors
    /// They do not match: kind `Mismatch`.
    pub(crate) fn finish(self) -> Result<()> {
        let found = Blake3::from(*self.hasher.finalize().as_bytes());
        if found == self.blob.blake3 && self.hasher.count() == self.blob.size {
            return Ok(());
        }
        Err(damaged(&self.path, &self.blob.blake3, &found))
    }
}
