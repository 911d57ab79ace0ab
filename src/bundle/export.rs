//! Writes a bundle: what the other side does not have of a lock, from the store.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::index::{BundleIndex, BundledProgram, Commit, Document, DocumentName, IndexedBlob, PROGRAM, Sum};
use super::ledger::Ledger;
use super::sign::Signer;
use super::{INDEX, SIGNATURE, archive, directory};
use crate::disk::{self, each_chunk};
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::progress::{self, Progress, Task};
use crate::source::{Blake3, SourceId};

use crate::store::{Contents, Store, damaged};

/// The contents of a bundle.
pub struct ExportRequest<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The boards that were asked for; empty for the whole lock.
    pub boards: &'a [String],
    pub lock: &'a Lock,
    /// The sources of the lock to export.
    pub sources: &'a [SourceId],
    /// The text of its file.
    pub lock_text: Vec<u8>,
    /// The text of the manifest.
    pub manifest: Vec<u8>,
    /// The program kbuild, if it is added.
    pub program: Option<&'a Path>,
}

/// The target of an export.
pub enum Target {
    Directory(PathBuf),
    File(PathBuf),
    /// Standard output.
    Stream(Box<dyn Write>),
}

/// What a bundle will contain, before anything is written.
pub struct ExportPlan {
    index: BundleIndex,
    /// Everything except the blobs, in the order of the index: path, mode, bytes.
    small: Vec<(String, u32, Vec<u8>)>,
}

/// The result of an export.
#[derive(Debug)]
pub struct Exported {
    pub index: BundleIndex,
    /// Number of blobs that an earlier, interrupted export had written already.
    pub kept: usize,
}

/// Finds what goes into a bundle, and leaves out what the other side has.
///
/// # Errors
/// Sources are not in the store: kind `Missing`.
pub fn plan(store: &Store, request: ExportRequest<'_>, theirs: &Ledger) -> Result<ExportPlan> {
    let contents = Contents::of(store, request.lock, request.sources)?;
    let mut small = Vec::new();
    let mut documents = Vec::new();
    for (name, bytes) in [(DocumentName::Lock, request.lock_text), (DocumentName::Manifest, request.manifest)] {
        documents.push(Document { name, sum: Sum::of(&bytes) });
        small.push((name.path().to_owned(), 0o644, bytes));
    }
    let mut program = None;
    if let Some(path) = request.program {
        let bytes = fs::read(path).map_err(|error| Error::io("read", path, error))?;
        let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        program =
            Some(BundledProgram { platform, release: env!("CARGO_PKG_VERSION").to_owned(), sum: Sum::of(&bytes) });
        small.push((PROGRAM.to_owned(), 0o755, bytes));
    }
    let (commits, packs) = commits(&contents, theirs, &mut small);
    let blobs = blobs(&contents, theirs, &packs);
    let index = BundleIndex::new(request.project, request.boards, documents, program, commits, blobs);
    Ok(ExportPlan { index, small })
}

/// Commits, and the blobs that the exported ones need.
fn commits(
    contents: &Contents,
    theirs: &Ledger,
    small: &mut Vec<(String, u32, Vec<u8>)>,
) -> (Vec<Commit>, BTreeSet<Blake3>) {
    let (mut commits, mut packs) = (Vec::new(), BTreeSet::new());
    for (id, held) in &contents.commits {
        let mut commit = Commit {
            commit: *id,
            tree: held.record.tree,
            history: held.record.shallow.is_empty(),
            record: None,
            sources: held.sources.iter().map(ToString::to_string).collect(),
            licenses: held.licenses.iter().collect(),
        };
        if theirs.has_commit(id, held) {
            // The other side's commit may have less history than this one. If only one commit is needed, no more is known.
            commit.history = held.history;
        } else {
            let text = held.record.to_string().into_bytes();
            commit.record = Some(Sum::of(&text));
            small.push((commit.path(), 0o644, text));
            packs.extend(held.record.blobs());
        }
        commits.push(commit);
    }
    (commits, packs)
}

/// Files, and the packs of exported commits. The packs of a commit that the other side has are left out: it has its
/// own.
fn blobs(contents: &Contents, theirs: &Ledger, packs: &BTreeSet<Blake3>) -> Vec<IndexedBlob> {
    let wanted = contents.blobs.iter().filter(|(blake3, held)| held.sha256.is_some() || packs.contains(blake3));
    let blobs = wanted.map(|(blake3, held)| IndexedBlob {
        blake3: *blake3,
        size: held.size,
        sha256: held.sha256,
        left_out: theirs.blobs.contains(blake3),
        sources: held.sources.iter().map(ToString::to_string).collect(),
        licenses: held.licenses.iter().collect(),
    });
    blobs.collect()
}

/// Writes a bundle. Every blob is hashed when it is written.
///
/// # Errors
/// The content of a blob does not match its name: kind `Mismatch`. The target cannot be written: kind `Io`, or `Input`
/// if something else is there. The user stopped it: kind `Interrupted`; the same call continues a directory.
pub fn export(
    store: &Store,
    plan: ExportPlan,
    target: Target,
    signer: Option<&Signer>,
    progress: &dyn Progress,
) -> Result<Exported> {
    let index = plan.index.to_string().into_bytes();
    let signature = signer.map(|signer| signer.sign(&index)).transpose()?;
    let task = progress.begin("bundle", Some(plan.index.header.bytes));
    let done = AtomicU64::new(0);
    let mut export = Export { store, plan, index, signature, progress, task: task.as_ref(), done, kept: 0 };
    match target {
        Target::Directory(path) => export.directory(&path)?,
        Target::File(path) => export.file(&path)?,
        Target::Stream(mut to) => export.stream(&mut to)?,
    }
    let exported = Exported { kept: export.kept, index: export.plan.index };
    task.done(&progress::size(exported.index.header.bytes));
    Ok(exported)
}

struct Export<'a> {
    store: &'a Store,
    plan: ExportPlan,
    index: Vec<u8>,
    signature: Option<String>,
    progress: &'a dyn Progress,
    task: &'a dyn Task,
    done: AtomicU64,
    kept: usize,
}

impl Export<'_> {
    fn directory(&mut self, path: &Path) -> Result<()> {
        let writer = directory::Writer::begin(path)?;
        for (name, mode, bytes) in std::mem::take(&mut self.plan.small) {
            writer.file(&name, mode, |file| file.write_all(&bytes).map_err(|error| failed(&name, error)))?;
        }
        let kept = AtomicUsize::new(0);
        let write = |blob: &&IndexedBlob| {
            let name = blob.path();
            if writer.keeps(&name, blob.size) {
                kept.fetch_add(1, Ordering::Relaxed);
                return self.tell(blob.size);
            }
            writer.file(&name, 0o444, |file| self.blob(blob, file))
        };
        let blobs: Vec<&IndexedBlob> = self.plan.index.carried().collect();
        blobs.par_iter().try_for_each(write)?;
        self.kept = kept.into_inner();
        writer.finish(&self.index, self.signature.as_deref())
    }

    /// One file: written beside the target and renamed, so that a file of that name is complete.
    #[expect(clippy::disallowed_methods, reason = "a stream: synced here, before the rename")]
    fn file(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Err(Error::input(format!("{} is a directory", disk::shown(path))));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // One at a time: what another one left, killed, is written over.
        let file = disk::lock_new_file(&part)?.ok_or_else(|| super::busy(path))?;
        let written = self.stream(&mut BufWriter::with_capacity(super::CHUNK, &file)).and_then(|()| {
            file.sync_all().and_then(|()| fs::rename(&part, path)).map_err(|error| Error::io("write", path, error))
        });
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    fn stream(&mut self, to: &mut dyn Write) -> Result<()> {
        let mut to = to;
        // The signature first: the reader then knows what to expect of the index.
        let signature = self.signature.take().map(|text| (SIGNATURE.to_owned(), 0o644, text.into_bytes()));
        let index = (INDEX.to_owned(), 0o644, std::mem::take(&mut self.index));
        let small = std::mem::take(&mut self.plan.small);
        for (name, mode, bytes) in signature.into_iter().chain([index]).chain(small) {
            let size = bytes.len() as u64;
            let written = archive::write_header(&mut to, &name, size, mode)
                .and_then(|()| to.write_all(&bytes))
                .and_then(|()| archive::write_filling(&mut to, size));
            written.map_err(|error| failed(&name, error))?;
        }
        for blob in self.plan.index.carried() {
            let name = blob.path();
            archive::write_header(&mut to, &name, blob.size, 0o444).map_err(|error| failed(&name, error))?;
            self.blob(blob, &mut to)?;
            archive::write_filling(&mut to, blob.size).map_err(|error| failed(&name, error))?;
        }
        archive::write_end(&mut to).map_err(|error| failed("the end", error))
    }

    /// The bytes of a blob, compared with its name while they are read.
    fn blob(&self, blob: &IndexedBlob, to: &mut dyn Write) -> Result<()> {
        let path = self.store.blob_path(&blob.blake3);
        let file = disk::open_regular(&path)?;
        let mut hasher = blake3::Hasher::new();
        each_chunk(&path.display().to_string(), &mut file.take(blob.size), |bytes| {
            hasher.update(bytes);
            self.tell(bytes.len() as u64)?;
            to.write_all(bytes).map_err(|error| failed(&blob.path(), error))
        })?;
        let found = Blake3::from(*hasher.finalize().as_bytes());
        if found == blob.blake3 && hasher.count() == blob.size {
            return Ok(());
        }
        Err(damaged(&path, &blob.blake3, &found))
    }

    fn tell(&self, bytes: u64) -> Result<()> {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.task.set_position(done);
        self.progress.check_interrupted()
    }
}

fn failed(name: &str, error: std::io::Error) -> Error {
    Error::new(Kind::Io, format!("could not write {name} of the bundle")).because(error)
}
