//! Bundles: what a lock names, as a directory or one file, for a place without internet.
//!
//! A bundle has blobs by their BLAKE3, records of git commits, an index that says what they are for, and the lock.
//! [`Contents`](crate::store::Contents) is what a store has of a lock's sources, [`Ledger`] is what another store has:
//! an export writes the first without the second. What may enter: how a bundle is written, signed, checked and imported.
//! Nothing of a bundle is used before its hash was compared, and no name in it becomes a path.

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
use std::path::Path;

use crate::disk::{self, CHUNK, each_chunk};
use crate::error::{Error, Kind, Result};

/// The index of a bundle, at its top.
const INDEX: &str = "index.jsonl";

/// The signature over the index, in minisign's format.
const SIGNATURE: &str = "index.jsonl.minisig";

/// This file is in a directory while it is written.
const INCOMPLETE: &str = "incomplete";

/// The error for a bundle that contradicts itself: kind `Mismatch`.
fn refused(why: impl Into<String>) -> Error {
    Error::new(Kind::Mismatch, why).help("copy the bundle again; if that does not help, ask its author for a new one")
}

/// The error for an export to a name that another export writes to.
fn busy(path: &Path) -> Error {
    let error = Error::input(format!("another `kbuild export` writes {}", disk::shown(path)));
    error.help("wait for it, or export to another name")
}

/// The allowed size of a file in a bundle.
#[derive(Debug, Clone, Copy)]
enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    /// Refuses a file of another size before its first byte is read.
    fn check(self, name: &str, found: u64) -> Result<()> {
        let why = match self {
            Size::Exactly(size) if found != size => format!("expected {size} bytes, got {found}"),
            Size::AtMost(limit) if found > limit => format!("it has {found} bytes, the limit is {limit}"),
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
