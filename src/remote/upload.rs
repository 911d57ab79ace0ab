//! Sending what a lock names to a remote: only what is missing there, many at once, each blob compared with its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{BlobRef, Missing, PushSet, Remote};
use crate::error::{Error, Kind, Result};
use crate::net::blocking;
use crate::net::guard::RequestGuard;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::{Failure, RetryPolicy};
use crate::progress::{self, Progress};
use crate::source::{Blake3, RemoteUrl};
use crate::store::{GitRecord, Store, damaged};

/// A remote that is sent to.
pub struct Uploader {
    remote: Remote,
    limits: Limits,
    patience: RetryPolicy,
    progress: Arc<dyn Progress>,
}

/// What sending came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Blobs that were not there.
    pub blobs: usize,
    /// What they take, in bytes.
    pub bytes: u64,
    /// Commits that were not there.
    pub commits: usize,
}

impl Uploader {
    /// An outlet to this address, with at most so many transfers at once; nobody is asked anything yet.
    pub fn new(url: &RemoteUrl, jobs: usize, progress: Arc<dyn Progress>) -> Uploader {
        let patience = RetryPolicy::from_env();
        Uploader { remote: Remote::new(url, &patience), limits: Limits::new(jobs), patience, progress }
    }

    /// Sends what is missing of a shipment, out of a store. `names` says what messages call a blob. What arrived stays
    /// when the rest fails, and is not sent again by the next push.
    ///
    /// # Errors
    /// A blob that is not what its name says: kind `Mismatch`; the others are sent all the same. No answer, or a refusal:
    /// kind `Network`; nothing more is begun then.
    pub async fn send(&self, store: &Store, shipment: &PushSet<'_>, names: &BTreeMap<Blake3, String>) -> Result<Sent> {
        let teller = LazyTask::new(&self.progress, self.remote.url().to_string(), None);
        teller.task().note("looking for what is missing");
        let missing =
            self.remote.missing(shipment, &self.manners(&teller)).await.map_err(|failure| self.told(failure))?;
        teller.task().done(&format!("{} of {} blobs are missing", missing.blobs.len(), shipment.blobs.len()));
        let mut sent = self.send_blobs(store, shipment, &missing, names).await?;
        let records = shipment.records.iter().filter(|record| missing.commits.contains(&record.commit));
        let records = join_all(records.map(|record| self.send_record(record))).await;
        sent.commits = records.into_iter().collect::<Result<Vec<()>>>()?.len();
        let teller = LazyTask::new(&self.progress, self.remote.url().to_string(), None);
        self.remote.finish(shipment, &self.manners(&teller)).await.map_err(|failure| self.told(failure))?;
        Ok(sent)
    }

    async fn send_blobs(
        &self,
        store: &Store,
        shipment: &PushSet<'_>,
        missing: &Missing,
        names: &BTreeMap<Blake3, String>,
    ) -> Result<Sent> {
        let stopped = AtomicBool::new(false);
        let wanted: Vec<&BlobRef> = shipment.blobs.iter().filter(|blob| missing.blobs.contains(&blob.blake3)).collect();
        let send = async |parcel: &BlobRef| {
            let _in_hand = self.limits.begin().await;
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let name = names.get(&parcel.blake3).cloned().unwrap_or_else(|| parcel.blake3.to_string());
            let teller = LazyTask::new(&self.progress, &name, Some(parcel.size));
            let path = store.blob_path(&parcel.blake3);
            match self.remote.put_blob(parcel, &path, &self.manners(&teller)).await {
                Ok(()) => {
                    teller.task().done(&format!("{} to {}", progress::size(parcel.size), self.remote.url()));
                    Ok(Some(parcel.size))
                }
                // Rot is one blob's matter; whatever else there is will be the others' as well, and is told once.
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
        for outcome in join_all(wanted.iter().map(|parcel| send(parcel))).await {
            match outcome {
                Ok(Some(bytes)) => (sent.blobs, sent.bytes) = (sent.blobs + 1, sent.bytes + bytes),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        match Error::all(errors, |count| format!("{count} of {} blobs could not be sent", wanted.len())) {
            Some(error) if error.kind() == Kind::Mismatch => Err(error),
            Some(error) => Err(error.help_or("run the same command again: what has arrived stays")),
            None => Ok(sent),
        }
    }

    async fn send_record(&self, record: &GitRecord) -> Result<()> {
        let teller = LazyTask::new(&self.progress, format!("commit {}", record.commit.short()), None);
        self.remote.put_record(record, &self.manners(&teller)).await.map_err(|failure| self.told(failure))?;
        teller.task().done(&format!("to {}", self.remote.url()));
        Ok(())
    }

    fn manners<'a>(&'a self, teller: &'a LazyTask) -> RequestGuard<'a> {
        RequestGuard { limits: &self.limits, patience: &self.patience, teller }
    }

    fn told(&self, failure: Failure) -> Error {
        let message = format!("could not send to {}", self.remote.url());
        failure.error.wrap(message).help_or("run the same command again: what has arrived stays")
    }
}

/// A blob's bytes on their way out, in order, compared with its name at the end.
pub struct BlobReader {
    parcel: BlobRef,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl BlobReader {
    /// Opens a blob of a store.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(parcel: &BlobRef, path: &Path) -> Result<BlobReader> {
        let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
        Ok(BlobReader { parcel: *parcel, path: path.to_owned(), file, hasher: blake3::Hasher::new() })
    }

    /// The next piece, of this size in bytes unless it is the last; nothing at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn next(&mut self, size: u64) -> Result<Option<Bytes>> {
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

    /// Insists that all that was read is what the blob's name says.
    ///
    /// # Errors
    /// It is not: kind `Mismatch`.
    pub fn finish(self) -> Result<()> {
        let found = Blake3::from(*self.hasher.finalize().as_bytes());
        if found == self.parcel.blake3 && self.hasher.count() == self.parcel.size {
            return Ok(());
        }
        Err(damaged(&self.path, &self.parcel.blake3, &found))
    }
}
