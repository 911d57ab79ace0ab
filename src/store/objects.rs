//! The bytes of git objects, whatever their size: libgit2 reads small ones, git itself streams the others.
//!
//! libgit2 holds an object in memory as a whole, and for a delta also what the delta is of. So a repository that has a
//! large object anywhere is read by `git cat-file`, which streams what is above `core.bigFileThreshold`.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use git2::{ObjectType, Odb, Oid};
use rayon::prelude::*;
use sha1::Digest as _;

use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::git::{Objects, broken_object, could_not_start, local_git};
use crate::source::Blake3;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Reads objects of one repository.
pub(super) struct ObjectReader<'a> {
    odb: Odb<'a>,
    /// Where the repository has large objects.
    git: Option<CatFile>,
}

impl<'a> ObjectReader<'a> {
    /// Looks at the size of every object, which is in their headers.
    ///
    /// # Errors
    /// git cannot be started where it is needed.
    pub(super) fn open(objects: &'a Objects) -> Result<ObjectReader<'a>> {
        let odb = objects.odb().map_err(broken_object)?;
        let mut large = false;
        // What cannot be read is noticed when it is wanted. Stopping early counts as a failure here.
        let _ = odb.foreach(|id| {
            large = odb.read_header(*id).is_ok_and(|(size, _)| size as u64 > bounds::BLOB_IN_MEMORY);
            !large
        });
        let git = if large { Some(CatFile::start(objects.directory())?) } else { None };
        Ok(ObjectReader { odb, git })
    }

    /// The hashes of the contents of blobs.
    ///
    /// # Errors
    /// A blob is missing or damaged: kind `Mismatch`.
    pub(super) fn hash_all(&mut self, blobs: Vec<Oid>) -> Result<HashMap<Oid, Blake3>> {
        if self.git.is_some() {
            return blobs.into_iter().map(|id| Ok((id, self.hash(id)?))).collect();
        }
        // libgit2 compares each object's SHA-1 with its name as it reads.
        let odb = &self.odb;
        let hash = |id: &Oid| odb.read(*id).map(|blob| (*id, hash_bytes(blob.data()))).map_err(broken_object);
        blobs.par_iter().map(hash).collect()
    }

    fn hash(&mut self, blob: Oid) -> Result<Blake3> {
        let mut hasher = blake3::Hasher::new();
        self.each_piece(blob, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok((*hasher.finalize().as_bytes()).into())
    }

    /// Passes on the content of a blob, piece by piece.
    ///
    /// # Errors
    /// It is missing or damaged (kind `Mismatch`), which may show at its end only; and the errors of `take`.
    pub(super) fn each_piece(&mut self, blob: Oid, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &mut self.git {
            Some(git) => git.each_piece(blob, take),
            None => take(self.odb.read(blob).map_err(broken_object)?.data()),
        }
    }
}

/// A `git cat-file --batch` that answers one question after the other.
struct CatFile {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CatFile {
    fn start(directory: &Path) -> Result<CatFile> {
        let mut command = local_git(directory);
        command.args(["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(could_not_start)?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::bug("git was started without pipes"));
        };
        Ok(CatFile { child, questions, answers: BufReader::with_capacity(PIECE, answers) })
    }

    fn each_piece(&mut self, blob: Oid, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let broken = || Error::new(Kind::Mismatch, "a git object is missing or broken");
        let ended = |error: std::io::Error| broken().because(error);
        writeln!(self.questions, "{blob}").map_err(ended)?;
        let mut header = String::new();
        // `<id> SP <type> SP <size> LF`, or `<id> SP missing LF` (git-cat-file(1)).
        (&mut self.answers).take(200).read_line(&mut header).map_err(ended)?;
        let size = header.trim_end().strip_prefix(&format!("{blob} blob ")).and_then(|size| size.parse::<u64>().ok());
        let size = size.ok_or_else(|| broken().because(format!("git says `{}`", header.trim_end().escape_debug())))?;
        let mut hasher = sha1::Sha1::new();
        hasher.update(format!("blob {size}\0"));
        let mut left = size;
        let mut buffer = vec![0; PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            self.answers.read_exact(&mut buffer[..most]).map_err(ended)?;
            hasher.update(&buffer[..most]);
            take(&buffer[..most])?;
            left -= most as u64;
        }
        self.answers.read_exact(&mut buffer[..1]).map_err(ended)?;
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == blob.to_string() { Ok(()) } else { Err(broken().because(format!("{blob} has the SHA-1 {found}"))) }
    }
}

impl Drop for CatFile {
    fn drop(&mut self) {
        // It may be in the middle of an answer that nobody reads.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Refuses a tree or commit object that is too large to be read into memory.
pub(super) fn must_be_small(objects: &Objects, id: Oid) -> Result<()> {
    let (size, kind) = objects.odb().and_then(|odb| odb.read_header(id)).map_err(broken_object)?;
    if size as u64 <= bounds::GIT_OBJECT || kind == ObjectType::Blob {
        return Ok(());
    }
    Err(Error::input(format!("git object {id} has {size} bytes"))
        .because(format!("the limit is {}", bounds::GIT_OBJECT)))
}

/// The content of a blob of at most so many bytes. `path` is for messages.
///
/// # Errors
/// It is larger (kind `Input`), missing or damaged (kind `Mismatch`).
pub fn small_blob(objects: &Objects, id: Oid, path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_small(&objects.odb().map_err(broken_object)?, id, path, limit)
}

/// As [`small_blob`], from a database of objects.
pub(super) fn read_small(odb: &Odb<'_>, id: Oid, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (size, _) = odb.read_header(id).map_err(broken_object)?;
    if size as u64 > limit {
        return Err(
            Error::input(format!("{} has {size} bytes", path.display())).because(format!("the limit is {limit}"))
        );
    }
    odb.read(id).map(|blob| blob.data().to_owned()).map_err(broken_object)
}

pub(super) fn hash_bytes(bytes: &[u8]) -> Blake3 {
    (*blake3::hash(bytes).as_bytes()).into()
}
