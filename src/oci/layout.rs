//! An image as one file: an OCI image layout in a tar archive, which podman, skopeo and docker can load.
//!
//! The bytes depend only on the image's manifest, so that all machines that lock an image get the same: blobs by name,
//! then `index.json` with nothing but the manifest's digest, size and type, then `oci-layout`; ustar headers with mode
//! 0644 and zero for owner and time; no entries for directories; two empty blocks at the end. This must never change:
//! locks contain the hashes of such archives.
//!
//! The archive is made while the blobs are fetched, each hashed on the way, so nothing is written twice. Every byte has a
//! fixed offset, so a partial archive is continued like any other download.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use sha2::Digest as _;

use super::client::{MANIFESTS, ReceivedManifest, Registry};
use super::response::wrong_digest;
use crate::disk::each_chunk;
use crate::error::{Error, Result};
use crate::net::http::{Http, failed};
use crate::net::retry::Failure;
use crate::net::transfer::{BodyStream, at};
use crate::source::image::parse_digest;
use crate::source::{ImageName, Sha256, SourceUrl};

/// The block of a tar archive in bytes.
const BLOCK: u64 = 512;

#[derive(Deserialize)]
struct OciManifest {
    config: OciDescriptor,
    layers: Vec<OciDescriptor>,
}

#[derive(Deserialize)]
struct OciDescriptor {
    digest: String,
    size: u64,
}

/// A piece of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LayoutPiece {
    /// Bytes that are known from the start: headers, padding, the small files.
    Here(Bytes),
    /// A blob of the registry.
    Blob { digest: Sha256, size: u64 },
}

impl LayoutPiece {
    fn len(&self) -> u64 {
        match self {
            LayoutPiece::Here(bytes) => bytes.len() as u64,
            LayoutPiece::Blob { size, .. } => *size,
        }
    }
}

/// All pieces of an archive, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutPlan {
    pieces: Vec<LayoutPiece>,
    total: u64,
}

/// The rest of an archive: the first piece, how much of it exists, and the pieces after it.
#[derive(Debug, Clone)]
pub struct Rest {
    pieces: Vec<LayoutPiece>,
    skip: u64,
}

/// Pieces of a partial archive, each with its offset and how much of it exists.
#[derive(Debug, Clone)]
pub struct PartialLayout(Vec<(u64, LayoutPiece, u64)>);

impl PartialLayout {
    /// Reads them: the hash so far of an unfinished blob, or `None` if anything is not as it must be.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(self, path: &Path) -> Result<Option<sha2::Sha256>> {
        let failed = |error| Error::io("read", path, error);
        let mut begun = sha2::Sha256::new();
        for (at, piece, length) in self.0 {
            let mut file = File::open(path).map_err(failed)?;
            file.seek(SeekFrom::Start(at)).map_err(failed)?;
            let mut hasher = sha2::Sha256::new();
            each_chunk(&path.display().to_string(), &mut file.take(length), |bytes| {
                hasher.update(bytes);
                Ok(())
            })?;
            let wanted = match &piece {
                LayoutPiece::Here(bytes) => {
                    sha2::Sha256::digest(&bytes[..usize::try_from(length).unwrap_or(bytes.len())]).into()
                }
                LayoutPiece::Blob { size, .. } if length < *size => {
                    begun = hasher;
                    continue;
                }
                LayoutPiece::Blob { digest, .. } => *digest.as_bytes(),
            };
            let got: [u8; 32] = hasher.finalize().into();
            if got != wanted {
                return Ok(None);
            }
        }
        Ok(Some(begun))
    }
}

impl LayoutPlan {
    /// The archive of the image with this manifest.
    ///
    /// # Errors
    /// The manifest is not that of an image, or names a blob by something other than SHA-256: a permanent failure.
    pub fn of(url: &SourceUrl, received: &ReceivedManifest) -> Result<LayoutPlan, Failure> {
        let refuse = |why: &str| Failure::permanent(at(url, why));
        if !MANIFESTS.contains(&received.media_type.as_str()) {
            return Err(refuse("it is not an image for one architecture"));
        }
        let manifest: OciManifest =
            serde_json::from_slice(&received.bytes).map_err(|_| refuse("its manifest cannot be read"))?;
        let mut files = BTreeMap::new();
        for OciDescriptor { digest, size } in std::iter::once(&manifest.config).chain(&manifest.layers) {
            let digest =
                parse_digest(digest).ok_or_else(|| refuse("it names a blob by something other than sha256"))?;
            let known = files.insert(blob_path(&digest), LayoutPiece::Blob { digest, size: *size });
            if known.is_some_and(|known| known.len() != *size) {
                return Err(refuse("it gives one blob two sizes"));
            }
        }
        files.insert(blob_path(&received.digest), LayoutPiece::Here(received.bytes.clone().into()));
        files.insert("index.json".to_owned(), LayoutPiece::Here(index(received).into()));
        files.insert(
            "oci-layout".to_owned(),
            LayoutPiece::Here(Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#)),
        );
        let mut plan = LayoutPlan { pieces: Vec::new(), total: 0 };
        for (path, piece) in files {
            plan.add_file(&path, piece).ok_or_else(|| refuse("it is too large for a file"))?;
        }
        plan.add(LayoutPiece::Here(vec![0; 2 * BLOCK as usize].into())).ok_or_else(|| refuse("it is too large"))?;
        Ok(plan)
    }

    /// The size of the archive in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn add_file(&mut self, path: &str, piece: LayoutPiece) -> Option<()> {
        let size = piece.len();
        let padding = (BLOCK - size % BLOCK) % BLOCK;
        self.add(LayoutPiece::Here(header(path, size)?))?;
        self.add(piece)?;
        if padding > 0 { self.add(LayoutPiece::Here(vec![0; padding as usize].into())) } else { Some(()) }
    }

    fn add(&mut self, piece: LayoutPiece) -> Option<()> {
        self.total = self.total.checked_add(piece.len())?;
        self.pieces.push(piece);
        Some(())
    }

    /// What follows after this many bytes.
    pub fn after(&self, bytes: u64) -> Rest {
        let (index, start) = self.piece_at(bytes);
        Rest { pieces: self.pieces[index..].to_vec(), skip: bytes - start }
    }

    /// What the first bytes of the archive are, up to this many: all of it, or only an unfinished blob.
    pub fn present(&self, bytes: u64, all: bool) -> PartialLayout {
        let mut start = 0;
        let mut present = Vec::new();
        for piece in &self.pieces {
            let length = piece.len().min(bytes.saturating_sub(start));
            if length > 0 && (all || (length < piece.len() && matches!(piece, LayoutPiece::Blob { .. }))) {
                present.push((start, piece.clone(), length));
            }
            start += piece.len();
        }
        PartialLayout(present)
    }

    /// The piece with this offset, and the piece's own offset. An offset at the end of a piece is in the next one.
    fn piece_at(&self, byte: u64) -> (usize, u64) {
        let mut start = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            if byte < start + piece.len() {
                return (index, start);
            }
            start += piece.len();
        }
        (self.pieces.len(), start.min(byte))
    }
}

fn blob_path(digest: &Sha256) -> String {
    format!("blobs/sha256/{digest}")
}

/// Written by hand, since its bytes must not depend on a library.
fn index(received: &ReceivedManifest) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"{}","digest":"sha256:{}","size":{}}}]}}"#,
        received.media_type,
        received.digest,
        received.bytes.len()
    )
}

fn header(path: &str, size: u64) -> Option<Bytes> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).ok()?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Some(Bytes::copy_from_slice(header.as_bytes()))
}

/// The bytes of an archive while it is fetched.
pub struct LayoutStream<'a> {
    registry: &'a Registry,
    http: &'a Http,
    image: &'a ImageName,
    rest: std::vec::IntoIter<LayoutPiece>,
    /// Bytes of the next piece that exist already, and the hash over them.
    skip: u64,
    hashed: sha2::Sha256,
    blob: Option<BlobStream>,
}

/// A blob while it is fetched.
struct BlobStream {
    url: SourceUrl,
    response: Response,
    digest: Sha256,
    hasher: sha2::Sha256,
    /// Bytes at the start that were not requested.
    skip: u64,
    /// Bytes that must still come.
    left: u64,
}

impl<'a> LayoutStream<'a> {
    /// The rest of an archive; `hashed` is what [`PartialLayout::read`] returned.
    pub fn new(
        registry: &'a Registry,
        http: &'a Http,
        image: &'a ImageName,
        rest: Rest,
        hashed: sha2::Sha256,
    ) -> LayoutStream<'a> {
        LayoutStream { registry, http, image, rest: rest.pieces.into_iter(), skip: rest.skip, hashed, blob: None }
    }

    async fn open(&mut self, digest: Sha256, size: u64) -> Result<BlobStream, Failure> {
        let url = self.image.at(digest).to_url()?;
        let (from, hasher) = (std::mem::take(&mut self.skip), std::mem::take(&mut self.hashed));
        let response = self.registry.blob(self.http, self.image, &digest, from).await?;
        // Some registries ignore a range.
        let skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { from };
        Ok(BlobStream { url, response, digest, hasher, skip, left: size - from })
    }
}

impl BlobStream {
    /// The next bytes; `None` when the archive is complete and correct.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let chunk = self.response.chunk().await.map_err(|error| failed(&self.url, error))?;
            let Some(mut chunk) = chunk else { return self.end() };
            let unasked = self.skip.min(chunk.len() as u64);
            self.skip -= unasked;
            chunk = chunk.split_off(usize::try_from(unasked).unwrap_or(chunk.len()));
            if chunk.is_empty() {
                continue;
            }
            self.hasher.update(&chunk);
            self.left = match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => left,
                None => return Err(Failure::permanent(self.wrong())),
            };
            return Ok(Some(chunk));
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Failure> {
        if self.left > 0 {
            let why = format!("the body ended {} bytes too early", self.left);
            return Err(Failure::transient(at(&self.url, why)));
        }
        if self.got() != self.digest {
            return Err(Failure::permanent(self.wrong()));
        }
        Ok(None)
    }

    fn got(&self) -> Sha256 {
        let got: [u8; 32] = self.hasher.clone().finalize().into();
        got.into()
    }

    fn wrong(&self) -> Error {
        wrong_digest(&self.url, "a blob", &self.digest, &self.got())
    }
}

impl BodyStream for LayoutStream<'_> {
    type Chunk = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(blob) = &mut self.blob {
                if let Some(bytes) = blob.next().await? {
                    return Ok(Some(bytes));
                }
                self.blob = None;
            }
            match self.rest.next() {
                None => return Ok(None),
                Some(LayoutPiece::Here(mut bytes)) => {
                    let skip = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(bytes.len());
                    return Ok(Some(bytes.split_off(skip)));
                }
                Some(LayoutPiece::Blob { digest, size }) => self.blob = Some(self.open(digest, size).await?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Hasher;

    fn received(layers: &[(&str, u64)]) -> ReceivedManifest {
        let descriptor = |(digit, size): &(&str, u64)| {
            format!(r#"{{"mediaType":"x","digest":"sha256:{}","size":{size}}}"#, digit.repeat(64))
        };
        let layers: Vec<String> = layers.iter().map(descriptor).collect();
        let text =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, descriptor(&("c", 3)), layers.join(","));
        let mut hasher = Hasher::default();
        hasher.update(text.as_bytes());
        let digest = hasher.finish().sha256;
        ReceivedManifest { bytes: text.into_bytes(), digest, media_type: MANIFESTS[0].to_owned() }
    }

    fn url() -> SourceUrl {
        "oci://h.example/a:1".parse().unwrap()
    }

    #[test]
    fn an_archive_is_a_function_of_the_manifest() {
        let received = received(&[("a", 600), ("b", 0), ("a", 600)]);
        let plan = LayoutPlan::of(&url(), &received).unwrap();
        let mut bytes = Vec::new();
        for piece in &plan.pieces {
            match piece {
                LayoutPiece::Here(known) => bytes.extend_from_slice(known),
                LayoutPiece::Blob { size, .. } => bytes.extend(std::iter::repeat_n(b'x', *size as usize)),
            }
        }
        assert_eq!(bytes.len() as u64, plan.total());
        let mut archive = tar::Archive::new(&*bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mode().unwrap(), header.mtime().unwrap(), header.uid().unwrap()), (0o644, 0, 0));
            (entry.path().unwrap().to_str().unwrap().to_owned(), entry.size())
        });
        let mut expected: Vec<(String, u64)> = [("a", 600), ("b", 0), ("c", 3)]
            .map(|(digit, size)| (format!("blobs/sha256/{}", digit.repeat(64)), size))
            .into();
        expected.push((blob_path(&received.digest), received.bytes.len() as u64));
        expected.sort();
        expected.extend([("index.json".to_owned(), index(&received).len() as u64), ("oci-layout".to_owned(), 30)]);
        assert_eq!(entries.collect::<Vec<_>>(), expected);
        // Locks contain hashes of such archives: this hash must not change.
        let mut hasher = Hasher::default();
        hasher.update(&bytes);
        let fixed = "a0f879dba70f34785e131f309ce82694253212ac2473793d62d8a9df3a07c39f";
        assert_eq!(hasher.finish().sha256.to_string(), fixed);
    }

    #[test]
    fn a_download_can_continue_at_any_byte() {
        let plan = LayoutPlan::of(&url(), &received(&[("a", 600)])).unwrap();
        for from in 0..=plan.total() {
            let rest = plan.after(from);
            let left: u64 = rest.pieces.iter().map(LayoutPiece::len).sum();
            assert_eq!(left - rest.skip, plan.total() - from, "{from}");
            let present = plan.present(from, true).0;
            assert_eq!(present.iter().map(|(_, _, length)| length).sum::<u64>(), from);
        }
        let before = plan.pieces.iter().take_while(|piece| piece.len() != 600);
        let start: u64 = before.map(LayoutPiece::len).sum();
        let begun = plan.present(start + 100, false).0;
        assert_eq!(begun.iter().map(|(at, _, length)| (*at, *length)).collect::<Vec<_>>(), [(start, 100)]);
        assert!(plan.present(start + 600, false).0.is_empty());
    }

    #[test]
    fn what_an_earlier_run_left_is_looked_at() {
        let plan = LayoutPlan::of(&url(), &received(&[])).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = Vec::new();
        plan.pieces.iter().take_while(|piece| matches!(piece, LayoutPiece::Here(_))).for_each(|piece| {
            let LayoutPiece::Here(known) = piece else { return };
            bytes.extend_from_slice(known);
        });
        std::fs::write(file.path(), &bytes).unwrap();
        let read = || plan.present(bytes.len() as u64, true).read(file.path()).unwrap();
        assert!(read().is_some());
        std::fs::write(file.path(), [&b"damaged"[..], &bytes[7..]].concat()).unwrap();
        assert!(read().is_none());
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let good = received(&[("a", 1)]);
        for (from, to) in [("sha256:a", "sha512:a"), ("\"size\":1", "\"size\":-1"), ("\"layers\"", "\"blobs\"")] {
            let text = String::from_utf8(good.bytes.clone()).unwrap().replace(from, to);
            assert!(
                LayoutPlan::of(&url(), &ReceivedManifest { bytes: text.into_bytes(), ..good.clone() }).is_err(),
                "{to}"
            );
        }
        assert!(LayoutPlan::of(&url(), &received(&[("a", 1), ("a", 2)])).is_err());
        assert!(LayoutPlan::of(&url(), &received(&[("a", u64::MAX), ("b", u64::MAX)])).is_err());
        assert!(LayoutPlan::of(&url(), &ReceivedManifest { media_type: "text/html".to_owned(), ..good }).is_err());
    }
}
