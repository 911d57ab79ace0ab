//! The index of a bundle: its contents, one JSON object a line, in a fixed order.
//!
//! No line contains a path: the path of everything in a bundle follows from what it is. So a name can neither lead
//! out of the bundle nor occur twice.

use std::fmt;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::refused;
use crate::bounds;
use crate::disk::each_chunk;
use crate::error::{Error, Result};
use crate::source::{Blake3, CommitId, NameList, Sha256};
use crate::store::{blob_name, record_name};

/// The format that this kbuild writes; a bundle with another one is refused.
pub const VERSION: u32 = 1;

/// A whole index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleIndex {
    /// The first line.
    pub header: Header,
    /// Texts in the bundle: the lock and the manifest.
    pub documents: Vec<Document>,
    /// The kbuild program, if it is in the bundle.
    pub program: Option<BundledProgram>,
    /// Commits, sorted by id.
    pub commits: Vec<Commit>,
    /// Blobs, sorted by address.
    pub blobs: Vec<IndexedBlob>,
}

/// The first line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format, see [`VERSION`].
    pub version: u32,
    /// The project's name.
    pub project: String,
    /// The boards whose sources the bundle is for; empty for the whole lock.
    #[serde(default)]
    pub boards: Vec<String>,
    /// Number of lines that follow.
    pub entries: usize,
    /// Size of all files in the bundle, in bytes, without the index and its signature.
    pub bytes: u64,
}

/// Hash and size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub blake3: Blake3,
    /// Number of bytes.
    pub size: u64,
}

impl Sum {
    /// The digest of some bytes.
    pub(super) fn of(bytes: &[u8]) -> Sum {
        Sum { blake3: Blake3::of(bytes), size: bytes.len() as u64 }
    }

    /// The digest of all that a reader gives. `name` is for messages.
    pub(super) fn of_reader(name: &str, from: &mut impl Read) -> Result<Sum> {
        let mut hasher = blake3::Hasher::new();
        each_chunk(name, from, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(Sum { blake3: (*hasher.finalize().as_bytes()).into(), size: hasher.count() })
    }
}

/// A text in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Which text it is.
    pub name: DocumentName,
    /// Its digest.
    #[serde(flatten)]
    pub sum: Sum,
}

/// The texts of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DocumentName {
    #[serde(rename = "kata.lock")]
    Lock,
    #[serde(rename = "kata.toml")]
    Manifest,
}

impl DocumentName {
    /// Its path in a bundle.
    pub(super) fn path(self) -> &'static str {
        match self {
            DocumentName::Lock => "kata.lock",
            DocumentName::Manifest => "kata.toml",
        }
    }
}

/// The program `kbuild`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundledProgram {
    /// The system that it runs on: `x86_64-linux`.
    pub platform: String,
    pub release: String,
    /// Its digest.
    #[serde(flatten)]
    pub sum: Sum,
}

/// The program's path in a bundle.
pub(super) const PROGRAM: &str = "kbuild";

/// A commit, in the bundle or left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub commit: CommitId,
    /// The hash over its tree, see [`crate::store::tree`].
    pub tree: Blake3,
    /// Whether its whole history is there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub history: bool,
    /// The digest of its record; `None` if the other side has the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Sum>,
    /// The ids of its sources in the lock.
    pub sources: NameList,
    /// LICENSE of the recipes that fetch it.
    #[serde(default, skip_serializing_if = "NameList::is_empty")]
    pub licenses: NameList,
}

/// A blob, in the bundle or left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedBlob {
    /// Its BLAKE3, by which the store finds it.
    pub blake3: Blake3,
    /// In bytes.
    pub size: u64,
    /// Its SHA-256, if recipes name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Whether it is left out, since the other side has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left_out: bool,
    /// The ids of the sources that it is, or is a part of.
    pub sources: NameList,
    /// LICENSE of the recipes that fetch it.
    #[serde(default, skip_serializing_if = "NameList::is_empty")]
    pub licenses: NameList,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A line of the text.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum IndexLine {
    Bundle(Header),
    Document(Document),
    Program(BundledProgram),
    Commit(Commit),
    Blob(IndexedBlob),
}

/// The version alone, to tell an index of another format from a damaged one.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Commit {
    /// The record's path in a bundle.
    pub(super) fn path(&self) -> String {
        record_name(&self.commit)
    }
}

impl IndexedBlob {
    /// Its path in a bundle.
    pub(super) fn path(&self) -> String {
        IndexedBlob::place(&self.blake3)
    }

    /// The path of a blob with this address in a bundle: as in a store.
    pub(super) fn place(blake3: &Blake3) -> String {
        blob_name(blake3)
    }
}

impl BundleIndex {
    /// An index over these, with its header.
    pub(super) fn new(
        project: &str,
        boards: &[String],
        documents: Vec<Document>,
        program: Option<BundledProgram>,
        commits: Vec<Commit>,
        blobs: Vec<IndexedBlob>,
    ) -> BundleIndex {
        let header =
            Header { version: VERSION, project: project.to_owned(), boards: boards.to_vec(), entries: 0, bytes: 0 };
        let mut index = BundleIndex { header, documents, program, commits, blobs };
        index.header.entries = index.entries();
        index.header.bytes = index.bytes();
        index
    }

    fn entries(&self) -> usize {
        self.documents.len() + usize::from(self.program.is_some()) + self.commits.len() + self.blobs.len()
    }

    /// Size of all files in the bundle, in bytes.
    fn bytes(&self) -> u64 {
        let blobs = self.carried().map(|blob| blob.size);
        let program = self.program.iter().map(|program| program.sum.size);
        // The sizes are not trusted: a sum that overflows counts as the largest number.
        blobs.chain(program).fold(self.small_bytes(), u64::saturating_add)
    }

    fn small_bytes(&self) -> u64 {
        let documents = self.documents.iter().map(|document| document.sum.size);
        let records = self.commits.iter().filter_map(|commit| commit.record).map(|record| record.size);
        documents.chain(records).fold(0, u64::saturating_add)
    }

    /// The blobs that are in the bundle, not left out.
    pub fn carried(&self) -> impl Iterator<Item = &IndexedBlob> {
        self.blobs.iter().filter(|blob| !blob.left_out)
    }

    /// Reads an index that is not trusted: first its version, then each line, then the checks over all lines.
    ///
    /// # Errors
    /// Another version: kind `Input`; an invalid index: kind `Mismatch`.
    pub(super) fn parse(bytes: &[u8]) -> Result<BundleIndex> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| refused("the bundle's index is not UTF-8 text").because(error))?;
        if let Some(number) = text.lines().position(|line| line.len() as u64 > bounds::BUNDLE_LINE) {
            return Err(at_line(number + 1, format!("it is longer than {} bytes", bounds::BUNDLE_LINE)));
        }
        let mut lines = text.lines().enumerate();
        let (_, first) = lines.next().ok_or_else(|| refused("the bundle's index is empty"))?;
        let Version { version } = serde_json::from_str(first).map_err(|error| at_line(1, error))?;
        if version != VERSION {
            let message = format!("the bundle has format {version}, this kbuild knows {VERSION}");
            return Err(
                Error::input(message).help("use a newer kbuild, or have the bundle made with this version of kbuild")
            );
        }
        let IndexLine::Bundle(header) = serde_json::from_str(first).map_err(|error| at_line(1, error))? else {
            return Err(at_line(1, "an index must begin with a `bundle` line"));
        };
        let mut index = BundleIndex { header, documents: vec![], program: None, commits: vec![], blobs: vec![] };
        for (number, line) in lines {
            let line = serde_json::from_str(line).map_err(|error| at_line(number + 1, error))?;
            index.add(line).map_err(|why| at_line(number + 1, why))?;
        }
        index.check()?;
        Ok(index)
    }

    /// Adds a line, which must sort after all earlier ones: so nothing can occur twice.
    fn add(&mut self, line: IndexLine) -> Result<(), &'static str> {
        const ORDER: &str = "it is repeated, or in the wrong order";
        let (before_program, before_commits) =
            (self.program.is_none() && self.commits.is_empty(), self.blobs.is_empty());
        let in_order = match line {
            IndexLine::Bundle(_) => return Err("a second `bundle` line"),
            IndexLine::Document(document) => {
                let after = self.documents.last().is_none_or(|last| last.name < document.name);
                self.documents.push(document);
                after && before_program && before_commits
            }
            IndexLine::Program(program) => self.program.replace(program).is_none() && before_program && before_commits,
            IndexLine::Commit(commit) => {
                let after = self.commits.last().is_none_or(|last| last.commit < commit.commit);
                self.commits.push(commit);
                after && before_commits
            }
            IndexLine::Blob(blob) => {
                let after = self.blobs.last().is_none_or(|last| last.blake3 < blob.blake3);
                self.blobs.push(blob);
                after
            }
        };
        if in_order { Ok(()) } else { Err(ORDER) }
    }

    fn check(&self) -> Result<()> {
        let wrong = |why: String| refused("the bundle's index is damaged").because(why);
        if self.header.entries != self.entries() {
            return Err(wrong(format!("its header says {} lines, but it has {}", self.header.entries, self.entries())));
        }
        if self.header.bytes != self.bytes() {
            return Err(wrong(format!(
                "its header says {} bytes, but its lines add up to {}",
                self.header.bytes,
                self.bytes()
            )));
        }
        let program = self.program.as_ref().map_or(0, |program| program.sum.size);
        if self.small_bytes() > bounds::BUNDLE_TEXTS || program > bounds::BUNDLE_PROGRAM {
            let (texts, program) = (bounds::BUNDLE_TEXTS, bounds::BUNDLE_PROGRAM);
            return Err(wrong(format!("the limit for all texts is {texts} bytes, for a program {program}")));
        }
        Ok(())
    }
}

fn at_line(number: usize, why: impl fmt::Display) -> Error {
    refused("the bundle's index is damaged").because(format!("line {number}: {why}"))
}

impl fmt::Display for BundleIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = |line: IndexLine| writeln!(f, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?);
        write(IndexLine::Bundle(self.header.clone()))?;
        self.documents.iter().cloned().map(IndexLine::Document).try_for_each(&mut write)?;
        self.program.iter().cloned().map(IndexLine::Program).try_for_each(&mut write)?;
        self.commits.iter().cloned().map(IndexLine::Commit).try_for_each(&mut write)?;
        self.blobs.iter().cloned().map(IndexLine::Blob).try_for_each(&mut write)
    }
}
