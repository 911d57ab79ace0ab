//! Bundles: what a lock names, carried to where the internet is not, as a directory or one file.
//!
//! A bundle holds blobs by their BLAKE3, records of git commits, and an index that says what they are for, with the lock.
//! [`Contents`](crate::store::Contents) is what a lock's sources are in a store, [`Ledger`] what another store has already:
//! an export takes the one less the other. What may enter: how a bundle is written down, signed, checked and taken in.
//! Nothing that arrives is believed before its hash was compared, and no name that arrives becomes a path.

mod archive;
mod directory;
mod export;
mod import;
mod index;
mod ledger;
mod sign;

pub use export::{ExportPlan, ExportRequest, Exported, Target, export, plan};
pub use import::{Imported, Origin, import};
pub use index::{BundleIndex, VERSION};
pub use ledger::Ledger;
pub use sign::{Signer, Trust, TrustedKey};

use std::io::Read;

use crate::disk::{CHUNK, each_chunk};
use crate::error::{Error, Kind, Result};

/// The index of a bundle, from its top.
const INDEX: &str = "index.jsonl";

/// The signature over the index, in minisign's format.
const SIGNATURE: &str = "index.jsonl.minisig";

/// Stands in a directory while it is written.
const INCOMPLETE: &str = "incomplete";

/// The longest index that is read, in bytes: room for some hundred thousand blobs.
const INDEX_LIMIT: u64 = 256 << 20;

/// The longest signature that is read, in bytes; minisign's are of some 300 and a comment.
const SIGNATURE_LIMIT: u64 = 16 << 10;

/// What documents and records may be together, in bytes, and the program alone: they are held in memory, blobs are not.
const SMALL_LIMIT: u64 = 256 << 20;

/// What a bundle is that does not keep its own word: kind `Mismatch`.
fn refused(why: impl Into<String>) -> Error {
    Error::new(Kind::Mismatch, why).help("copy the bundle again; if it stays so, ask whoever made it for another")
}

/// How many bytes a file of a bundle may have.
#[derive(Debug, Clone, Copy)]
enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    /// Refuses a file of another size before its first byte is read.
    fn check(self, name: &str, found: u64) -> Result<()> {
        let why = match self {
            Size::Exactly(size) if found != size => format!("{size} bytes were expected, it has {found}"),
            Size::AtMost(limit) if found > limit => format!("it has {found} bytes, {limit} are the most that is read"),
            Size::Exactly(_) | Size::AtMost(_) => return Ok(()),
        };
        Err(refused(format!("{name} of the bundle has a wrong size")).because(why))
    }
}

/// Reads a small file to its end; its size was checked when it was opened.
fn read_all(name: &str, mut from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    each_chunk(name, &mut from, |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
