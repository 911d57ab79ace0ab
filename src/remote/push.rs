//! Sends what a lock names to another store: only what is missing there, every blob compared with its hash on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::upload::Uploader;
use super::{BlobRef, PushSet, Sent};
use crate::disk::{self, each_chunk};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::progress::{self, Progress};
use crate::source::url::redact;
use crate::source::{Blake3, RemoteUrl, SourceId};
use crate::store::{self, Store};
use crate::store::{Contents, HeldBlob};

/// The target of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A store at a service.
    Remote(RemoteUrl),
    /// A store in a directory.
    Directory(PathBuf),
}

impl Destination {
    /// Reads an address that a user wrote.
    ///
    /// # Errors
    /// It is not an address to which kbuild can push: kind `Input`.
    pub fn read(text: &str) -> Result<Destination> {
        if RemoteUrl::is_meant(text) {
            return text.parse().map(Destination::Remote);
        }
        match text.split_once("://") {
            None if !text.is_empty() => Ok(Destination::Directory(PathBuf::from(text))),
            Some(("http" | "https", _)) => Err(Error::input(format!("cannot push to {}", redact(text)))
                .because("a store behind a web server is read-only")
                .help("push to the directory or the bucket that it serves")),
            _ => Err(Error::input(format!("`{}` is not the address of a store", redact(text).escape_debug()))
                .help("give a directory, `s3://BUCKET/PREFIX` or `oci://HOST/REPOSITORY` (`kbuild explain remotes`)")),
        }
    }
}

/// The input of a push.
pub struct PushRequest<'a> {
    pub lock: &'a Lock,
    /// The sources of the lock to send.
    pub sources: &'a [SourceId],
    /// The text of its file.
    pub lock_text: &'a [u8],
}

/// The result of a push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// What was missing and was sent.
    pub sent: Sent,
    /// Number of blobs of the sources.
    pub blobs: usize,
    /// Number of commits of the sources.
    pub commits: usize,
}

/// Sends some sources of a lock from a store.
///
/// # Errors
/// Sources are not in the store: kind `Missing`. A blob's content does not match its hash: kind `Mismatch`. The target
/// cannot be written: kind `Network`, or `Io`.
pub async fn push(
    store: &Store,
    request: &PushRequest<'_>,
    to: &Destination,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Pushed> {
    let contents = Contents::of(store, request.lock, request.sources)?;
    let sent = match to {
        Destination::Directory(path) => into_directory(store, &contents, path, progress.as_ref())?,
        Destination::Remote(url) => {
            let blob = |(blake3, held): (&Blake3, &HeldBlob)| BlobRef {
                blake3: *blake3,
                sha256: held.sha256,
                size: held.size,
            };
            let push_set = PushSet {
                lock: request.lock_text,
                blobs: contents.blobs.iter().map(blob).collect(),
                records: contents.commits.values().map(|held| held.record.clone()).collect(),
            };
            let names = contents.blobs.iter().map(|(blake3, held)| (*blake3, shown(held))).collect();
            Uploader::new(url, jobs, Arc::clone(progress)).send(store, &push_set, &names).await?
        }
    };
    Ok(Pushed { sent, blobs: contents.blobs.len(), commits: contents.commits.len() })
}

/// A blob's name in messages: the first of the sources that it is a part of.
fn shown(held: &HeldBlob) -> String {
    held.sources.first().map(ToString::to_string).unwrap_or_default()
}

fn into_directory(store: &Store, contents: &Contents, path: &Path, progress: &dyn Progress) -> Result<Sent> {
    let target = Store::open(path)?;
    let lacking = |record: &&store::GitRecord| {
        let enough = |theirs: store::GitRecord| {
            theirs.tree == record.tree && (theirs.shallow.is_empty() || theirs.shallow == record.shallow)
        };
        !target.git(&record.commit).is_ok_and(|theirs| theirs.is_some_and(enough))
    };
    let records: Vec<_> = contents.commits.values().map(|held| &held.record).filter(lacking).collect();
    let packs: BTreeSet<Blake3> = records.iter().flat_map(|record| record.blobs()).collect();
    let needed = |(blake3, held): &(&Blake3, &HeldBlob)| {
        let linked = held.sha256.is_some_and(|sha256| target.by_sha256(&sha256).is_none_or(|it| it.blake3 != **blake3));
        let absent = target.blob_size(blake3) != Some(held.size);
        (held.sha256.is_some() || packs.contains(blake3)) && (absent || linked)
    };
    let blobs: BTreeMap<&Blake3, &HeldBlob> = contents.blobs.iter().filter(needed).collect();
    let bytes = blobs.values().map(|held| held.size).sum();
    let (task, done) = (progress.begin(&crate::disk::shown(path), Some(bytes)), AtomicU64::new(0));
    let copy = |(blake3, held): (&&Blake3, &&HeldBlob)| {
        let copied = copy(store, &target, blake3, held.size, &mut |bytes| {
            task.set_position(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
        });
        copied.map_err(|error| error.wrap(format!("could not send {}", shown(held))))
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(store::SYNCS_AT_ONCE).build();
    let pool = pool.map_err(|error| Error::bug("could not start threads").because(error))?;
    let copied: Vec<Result<()>> = pool.install(|| blobs.par_iter().map(copy).collect());
    let errors = copied.into_iter().filter_map(Result::err).collect();
    if let Some(error) = Error::all(errors, |count| format!("{count} of {} blobs could not be sent", blobs.len())) {
        return Err(error);
    }
    for record in &records {
        target.adopt_git_if_lacking((*record).clone())?;
    }
    task.done(&progress::size(bytes));
    Ok(Sent { blobs: blobs.len(), bytes, commits: records.len() })
}

/// Copies a blob from one store to another; the content must match its hash.
fn copy(from: &Store, to: &Store, blake3: &Blake3, size: u64, tell: &mut dyn FnMut(u64)) -> Result<()> {
    let path = from.blob_path(blake3);
    let mut file = disk::open_regular(&path)?;
    let mut incoming = to.incoming(&blake3.to_string())?;
    // A partial file of an earlier run is not continued: copying it again is as fast as hashing it.
    incoming.restart()?;
    let copied = each_chunk(&path.display().to_string(), &mut file, |bytes| {
        tell(bytes.len() as u64);
        incoming.write(bytes)
    });
    let found = incoming.digests();
    let right = copied.and_then(|()| match (found.blake3, found.size) {
        (found, found_size) if found == *blake3 && found_size == size => Ok(()),
        (found, _) => Err(store::damaged(&path, blake3, &found)),
    });
    if let Err(error) = right {
        incoming.restart()?;
        return Err(error);
    }
    incoming.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_directory_or_a_bucket() {
        assert_eq!(Destination::read("../there").unwrap(), Destination::Directory("../there".into()));
        assert!(matches!(Destination::read("gs://team/kata").unwrap(), Destination::Remote(_)));
        for text in ["", "https://me:secret@mirror/store", "file:///srv", "ftp://h/x", "s3://"] {
            let error = Destination::read(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
