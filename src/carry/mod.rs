//! The store elsewhere: to where the internet is not, and to where the team is.
//!
//! Whatever the way (a bundle on a disk, another directory, a web server, a bucket, a registry), the same three things are
//! carried: blobs by their BLAKE3, records of git commits, and a word on what they are for (the lock, an index over it
//! all). [`Contents`] is what a lock's sources are in a store, [`Ledger`] what another store has already; a way of
//! carrying takes the one less the other. What may
//! enter: how contents are written down, signed, checked, offered and taken in. Nothing that arrives is believed before
//! its hash was compared, and no name that arrives becomes a path.

mod archive;
mod contents;
mod directory;
mod export;
mod import;
mod index;
mod ledger;
mod push;
mod sign;

pub use contents::{Contents, HeldBlob, HeldCommit};
pub use export::{Exported, Order, Plan, Target, export, plan};
pub use import::{Imported, Origin, import};
pub use index::{Index, VERSION};
pub use ledger::Ledger;
pub use push::{Cargo, Destination, Pushed, push};
pub use sign::{Signer, Trust, TrustedKey};

use std::io::Read;

use crate::disk::{self, CHUNK};
use crate::error::{Error, Kind, Result};

/// Blobs that wait for the disk at once: it syncs several in the time of one.
const AT_ONCE: usize = 8;

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

/// Hands over what a reader gives, piece by piece.
fn each_chunk(name: &str, from: &mut dyn Read, take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    disk::each_chunk(from, |error| Error::new(Kind::Io, format!("could not read {name}")).because(error), take)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
