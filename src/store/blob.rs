//! Blobs, and the partial downloads that become blobs.
use super::*;

/// A partial download, held by one process at a time. What it holds survives a crash and is continued.
#[derive(Debug)]
pub struct Incoming {}

impl Incoming {
    /// How many bytes are there already.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// What the server called the representation these bytes are from (`ETag`, or `Last-Modified`), for `If-Range`.
    pub fn validator(&self) -> Option<&str> {
        todo!()
    }

    /// Remembers the validator of the response whose bytes follow; written before the first of them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_validator(&mut self, _validator: Option<&str>) -> Result<()> {
        todo!()
    }

    /// Throws away what is there: the server gave something else, or the hash was wrong.
    ///
    /// # Errors
    /// When it cannot be truncated.
    pub fn restart(&mut self) -> Result<()> {
        todo!()
    }

    /// Appends bytes and hashes them.
    ///
    /// # Errors
    /// When they cannot be written (a full disk).
    pub fn write(&mut self, _bytes: &[u8]) -> Result<()> {
        todo!()
    }

    /// The digests of all bytes so far.
    pub fn digests(&self) -> Digests {
        todo!()
    }

    /// Makes the bytes a blob: fsync, 0444, rename, link by SHA-256. The caller has compared the digests.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn finish(self) -> Result<Digests> {
        todo!()
    }
}
