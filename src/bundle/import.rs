//! Imports a bundle: the signature, then the index, then what the index names, each checked before it is written.
//!
//! Only the store is written. A blob becomes visible when all its bytes are right, a commit when all its blobs are there.
//! So an interrupted import leaves nothing partial, and the next import skips what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rayon::prelude::*;

use super::archive::BundleReader;
use super::directory::BundleDirectory;
use super::index::{BundleIndex, DocumentName, IndexedBlob, PROGRAM, Sum};
use super::sign::{self, Trust, TrustedKey};
use super::{CHUNK, INDEX, SIGNATURE, Size, read_all, refused};
use crate::bounds;
use crate::disk::{self, each_chunk};
use crate::error::{Error, Kind, Result};
use crate::progress::{self, Progress, Task};
use crate::source::{Blake3, CommitId, NameList};
use crate::store::{GitRecord, PartialDownload, Store};

/// Sources that are named of those that are missing.
const MISSING_SHOWN: usize = 100;

/// Blobs that wait for the disk together, at most; each is an open file.
const KEPT_AT_ONCE: usize = 64;

/// The source of a bundle.
pub enum Origin {
    /// A directory or one file.
    Path(PathBuf),
    /// Standard input.
    Stream(Box<dyn Read + Send>),
}

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    pub index: BundleIndex,
    /// What is known about its author.
    pub trust: Trust,
    /// Blobs that were new here.
    pub blobs: usize,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Commits that were new here.
    pub commits: usize,
    /// The text of the lock in the bundle.
    pub lock: Vec<u8>,
}

/// Imports a bundle into a store.
///
/// # Errors
/// Something does not match its signature, index or hash: kind `Mismatch`. The store does not have what the bundle leaves
/// out: kind `Missing`. Another format: kind `Input`. The user stopped it: kind `Interrupted`; the same call continues.
pub fn import(store: &Store, origin: Origin, keys: &[TrustedKey], progress: &dyn Progress) -> Result<Imported> {
    match origin {
        Origin::Stream(input) => take(store, BundleReader::new("the bundle", input), keys, progress),
        Origin::Path(path) if path.is_dir() => take(store, BundleDirectory::open(&path)?, keys, progress),
        Origin::Path(path) => take(store, open_archive(&path)?, keys, progress),
    }
}

fn open_archive(path: &Path) -> Result<BundleReader<BufReader<File>>> {
    if !BundleReader::is_one(path)? {
        let error = Error::input(format!("{} is not a bundle", disk::shown(path)));
        return Err(error.help("run `kbuild export FILE.tar` or `kbuild export DIR` to make one"));
    }
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    Ok(BundleReader::new(disk::shown(path), BufReader::with_capacity(CHUNK, file)))
}

/// The files of a bundle, in the order of its index.
pub(super) trait Files {
    /// Whether this one exists, or is next.
    fn comes(&mut self, name: &str) -> Result<bool>;

    /// Reads a small one into memory.
    fn read(&mut self, name: &str, size: Size) -> Result<Vec<u8>>;

    /// Reads one to its end, piece by piece, and gives the sum of its bytes.
    fn sum(&mut self, name: &str, size: Size) -> Result<Sum>;

    /// Imports every blob in the bundle that the store does not have.
    fn take_blobs(&mut self, index: &BundleIndex, taking: &Taking<'_>) -> Result<()>;

    /// Checks that nothing more follows.
    fn finish(self) -> Result<()>;
}

impl Files for BundleDirectory {
    fn comes(&mut self, name: &str) -> Result<bool> {
        Ok(self.has(name))
    }

    fn read(&mut self, name: &str, size: Size) -> Result<Vec<u8>> {
        read_all(name, self.file(name, size)?)
    }

    fn sum(&mut self, name: &str, size: Size) -> Result<Sum> {
        Sum::of_reader(name, &mut self.file(name, size)?)
    }

    fn take_blobs(&mut self, index: &BundleIndex, taking: &Taking<'_>) -> Result<()> {
        let new: Vec<&IndexedBlob> = index.carried().filter(|blob| !taking.is_present(blob)).collect();
        taking.keeping(|send| {
            new.par_iter().try_for_each(|blob| {
                let incoming = taking.receive(blob, &mut self.file(&blob.path(), Size::Exactly(blob.size))?)?;
                send.send(incoming).map_err(|_| Error::bug("the receiving thread ended early"))
            })
        })
    }

    fn finish(self) -> Result<()> {
        Ok(())
    }
}

impl<R: Read> Files for BundleReader<R> {
    fn comes(&mut self, name: &str) -> Result<bool> {
        BundleReader::comes(self, name)
    }

    fn read(&mut self, name: &str, size: Size) -> Result<Vec<u8>> {
        let bytes = read_all(name, self.open(name, size)?)?;
        if let Size::Exactly(size) = size
            && bytes.len() as u64 != size
        {
            return Err(cut_short(name));
        }
        Ok(bytes)
    }

    fn sum(&mut self, name: &str, size: Size) -> Result<Sum> {
        Sum::of_reader(name, &mut self.open(name, size)?)
    }

    /// Reads the blobs one after the other; another thread waits for the disk.
    fn take_blobs(&mut self, index: &BundleIndex, taking: &Taking<'_>) -> Result<()> {
        taking.keeping(|send| {
            for blob in index.carried() {
                let mut bytes = self.open(&blob.path(), Size::Exactly(blob.size))?;
                if !taking.is_present(blob) {
                    let incoming = taking.receive(blob, &mut bytes)?;
                    send.send(incoming).map_err(|_| Error::bug("the receiving thread ended early"))?;
                }
            }
            Ok(())
        })
    }

    fn finish(self) -> Result<()> {
        BundleReader::finish(self)
    }
}

/// The index and the signature over it, unchecked.
pub(super) struct Head {
    index: Vec<u8>,
    signature: Option<Vec<u8>>,
}

/// Reads the start of a bundle; nothing of it is trusted yet.
fn read_head(files: &mut impl Files) -> Result<Head> {
    let signature =
        if files.comes(SIGNATURE)? { Some(files.read(SIGNATURE, Size::AtMost(bounds::SIGNATURE))?) } else { None };
    Ok(Head { index: files.read(INDEX, Size::AtMost(bounds::BUNDLE_INDEX))?, signature })
}

/// Reads the index of a bundle, with or without a trusted signature.
pub(super) fn read_index(files: &mut impl Files) -> Result<BundleIndex> {
    BundleIndex::parse(&read_head(files)?.index)
}

fn take(store: &Store, mut files: impl Files, keys: &[TrustedKey], progress: &dyn Progress) -> Result<Imported> {
    let head = read_head(&mut files)?;
    let trust = sign::check(keys, &head.index, head.signature.as_deref())?;
    let index = BundleIndex::parse(&head.index)?;
    check_left_out(store, &index)?;
    let (lock, records) = read_small(&mut files, &index)?;
    check_blobs_of(&records, &index)?;
    check_room(store, &index)?;
    let taking = Taking::new(store, &index, progress);
    files.take_blobs(&index, &taking)?;
    files.finish()?;
    let mut commits = 0;
    for record in records.into_values() {
        progress.check_interrupted()?;
        let name = format!("commit {} of the bundle is damaged", record.commit);
        commits += usize::from(store.adopt_git_if_lacking(record).map_err(|error| error.wrap(name))?);
    }
    let (blobs, bytes) = (taking.blobs.into_inner(), taking.bytes.into_inner());
    taking.task.done(&progress::size(bytes));
    Ok(Imported { index, trust, blobs, bytes, commits, lock })
}

/// Refuses a bundle that needs another one whose content is not here, before anything is written.
fn check_left_out(store: &Store, index: &BundleIndex) -> Result<()> {
    let blobs = index.blobs.iter().filter(|blob| blob.left_out && store.blob_size(&blob.blake3) != Some(blob.size));
    let commits = index.commits.iter().filter(|commit| {
        let enough = |record: GitRecord| record.tree == commit.tree && (!commit.history || record.shallow.is_empty());
        commit.record.is_none() && !store.git(&commit.commit).is_ok_and(|record| record.is_some_and(enough))
    });
    let names: Vec<&NameList> = blobs.map(|blob| &blob.sources).chain(commits.map(|commit| &commit.sources)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let number = names.len();
    let sources: BTreeSet<&str> = names.into_iter().flat_map(NameList::iter).collect();
    let mut list: Vec<String> =
        sources.iter().take(MISSING_SHOWN).map(|name| name.escape_debug().to_string()).collect();
    if list.is_empty() {
        list.push(format!("{number} blobs and commits without the name of a source"));
    }
    if sources.len() > MISSING_SHOWN {
        list.push(format!("and {} more", sources.len() - MISSING_SHOWN));
    }
    Err(Error::new(Kind::Missing, "the bundle leaves out what this store does not have").because(list.join("\n")).help(
        "import the earlier bundle first, or have one made with the `kbuild store ledger` of this store for `--since`",
    ))
}

/// Reads and checks everything small, and returns the lock and the records of commits.
fn read_small(files: &mut impl Files, index: &BundleIndex) -> Result<(Vec<u8>, BTreeMap<CommitId, GitRecord>)> {
    let mut lock = Vec::new();
    for document in &index.documents {
        let bytes = read_summed(files, document.name.path(), document.sum)?;
        if document.name == DocumentName::Lock {
            lock = bytes;
        }
    }
    if let Some(program) = &index.program {
        let found = files.sum(PROGRAM, Size::Exactly(program.sum.size))?;
        if found != program.sum {
            return Err(wrong_bytes(PROGRAM, &program.sum.blake3, &found.blake3));
        }
    }
    let mut records = BTreeMap::new();
    for commit in &index.commits {
        let Some(sum) = commit.record else { continue };
        let name = commit.path();
        let wrong = || refused(format!("{name} of the bundle is not what the index says"));
        let text = String::from_utf8(read_summed(files, &name, sum)?).map_err(|error| wrong().because(error))?;
        let record: GitRecord = text.parse().map_err(|error: Error| wrong().because(error))?;
        let whole = !commit.history || record.shallow.is_empty();
        if (record.commit, record.tree) != (commit.commit, commit.tree) || !whole {
            return Err(wrong());
        }
        records.insert(commit.commit, record);
    }
    Ok((lock, records))
}

fn read_summed(files: &mut impl Files, name: &str, sum: Sum) -> Result<Vec<u8>> {
    let bytes = files.read(name, Size::Exactly(sum.size))?;
    let found = Sum::of(&bytes);
    if found == sum { Ok(bytes) } else { Err(wrong_bytes(name, &sum.blake3, &found.blake3)) }
}

/// A record may name only blobs that the index lists: then none can be missing at the end.
fn check_blobs_of(records: &BTreeMap<CommitId, GitRecord>, index: &BundleIndex) -> Result<()> {
    let listed: BTreeSet<Blake3> = index.blobs.iter().map(|blob| blob.blake3).collect();
    let astray = records.values().find(|record| record.blobs().any(|blob| !listed.contains(&blob)));
    match astray {
        Some(record) => Err(refused(format!("the bundle's index does not list the packs of commit {}", record.commit))),
        None => Ok(()),
    }
}

/// Refuses a bundle that is too large for the disk. Its sizes are not trusted, but no larger file is read either.
fn check_room(store: &Store, index: &BundleIndex) -> Result<()> {
    let needed = index.carried().filter(|blob| !store.has_blob(&blob.blake3)).map(|blob| blob.size);
    let needed = needed.fold(0, u64::saturating_add);
    let larger = |error: Error| error.wrap("the bundle is larger than the free space on the store's disk");
    disk::must_fit(store.root(), needed).map_err(larger)
}

/// Blobs to import into the store.
pub(super) struct Taking<'a> {
    store: &'a Store,
    progress: &'a dyn Progress,
    task: Box<dyn Task>,
    blobs: AtomicUsize,
    bytes: AtomicU64,
}

impl<'a> Taking<'a> {
    fn new(store: &'a Store, index: &BundleIndex, progress: &'a dyn Progress) -> Taking<'a> {
        let taking = Taking {
            store,
            progress,
            task: progress.begin("bundle", None),
            blobs: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        };
        let new = index.carried().filter(|blob| !taking.is_present(blob)).map(|blob| blob.size);
        taking.task.set_total(new.fold(0, u64::saturating_add));
        taking
    }

    /// Whether a blob needs nothing: it is there, and is found by both its hashes.
    fn is_present(&self, blob: &IndexedBlob) -> bool {
        let linked = || {
            let found = blob.sha256.map(|sha256| self.store.by_sha256(&sha256));
            found.is_none_or(|found| found.is_some_and(|found| found.blake3 == blob.blake3))
        };
        self.store.blob_size(&blob.blake3) == Some(blob.size) && linked()
    }

    /// Reads a blob: hashed while it is read, and kept only if it matches the index.
    fn receive(&self, blob: &IndexedBlob, from: &mut dyn Read) -> Result<PartialDownload> {
        let name = blob.path();
        let mut incoming = self.store.incoming(&blob.blake3.to_string())?;
        // A partial file of an earlier run is not continued: copying it again is as fast as hashing it.
        incoming.restart()?;
        let copied = each_chunk(&name, from, |bytes| {
            self.task.set_position(self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed));
            self.progress.check_interrupted()?;
            incoming.write(bytes)
        });
        let found = incoming.digests();
        let right = copied.and_then(|()| match () {
            () if found.size != blob.size => Err(cut_short(&name)),
            () if found.blake3 != blob.blake3 => Err(wrong_bytes(&name, &blob.blake3, &found.blake3)),
            () if blob.sha256.is_some_and(|sha256| sha256 != found.sha256) => {
                Err(refused(format!("{name} of the bundle has another SHA-256 than its index says")))
            }
            () => Ok(()),
        });
        if let Err(error) = right {
            incoming.restart()?;
            return Err(error.wrap(format!("could not import {}", shown_sources(blob))));
        }
        Ok(incoming)
    }

    /// Runs `receive`, and meanwhile makes what it sends blobs of the store on a thread of its own. Whatever was received while
    /// that thread waited for the disk waits with the next ones for it, together.
    fn keeping(&self, receive: impl FnOnce(&SyncSender<PartialDownload>) -> Result<()>) -> Result<()> {
        let (send, queue) = sync_channel::<PartialDownload>(KEPT_AT_ONCE);
        std::thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep_all(queue));
            let received = receive(&send);
            drop(send);
            let kept = keeper.join().unwrap_or_else(|_| Err(Error::bug("a worker thread ended early")));
            // An error of the reader counts first.
            received.and(kept)
        })
    }

    /// Keeps blobs until there are no more. After a failure it drops the others, so that the reader does not block.
    fn keep_all(&self, queue: Receiver<PartialDownload>) -> Result<()> {
        let mut outcome = Ok(());
        while let Ok(first) = queue.recv() {
            let batch: Vec<PartialDownload> =
                std::iter::once(first).chain(queue.try_iter()).take(KEPT_AT_ONCE).collect();
            outcome = outcome.and_then(|()| PartialDownload::finish_all(&batch));
            if outcome.is_ok() {
                self.blobs.fetch_add(batch.len(), Ordering::Relaxed);
            }
        }
        outcome
    }
}

/// What a blob is, for messages; the text is not trusted.
fn shown_sources(blob: &IndexedBlob) -> String {
    let sources: Vec<String> = blob.sources.iter().map(|source| source.escape_debug().take(200).collect()).collect();
    if sources.is_empty() { blob.path() } else { sources.join(", ") }
}

fn cut_short(name: &str) -> Error {
    refused(format!("the bundle ends in the middle of {name}"))
}

fn wrong_bytes(name: &str, expected: &Blake3, found: &Blake3) -> Error {
    refused(format!("{name} of the bundle is not what the index says"))
        .because(format!("expected blake3 {expected}, got {found}"))
}
