//! A store in a repository of a registry: what a lock names, as one artifact.
//!
//! A manifest of type [`ARTIFACT`] whose layers are the blobs of a store and the records of its commits, each titled with
//! its name there (`blobs/ab/<blake3>`, `git/<commit>.toml`), and the lock itself. So a registry replicates and keeps what
//! a lock needs as it does for any image, and a blob of two locks is stored once. Its tags are the one in the address
//! (`latest` by default), and `lock-` with the first digits of the lock's BLAKE3, so that the blobs of an older lock
//! stay when the first tag moves. An artifact that is too long for one manifest becomes several under an index.
//!
//! A file is requested by its SHA-256, which is its digest in the registry. The manifest is read only for records and
//! packs, which no recipe names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, Semaphore};

use super::upload::BlobReader;
use super::{BlobBody, BlobName, BlobRef, Missing, Opened, PushSet};
use crate::error::{Error, Kind, Result};
use crate::net::guard::RequestGuard;
use crate::net::http::{Http, failed};
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::at;
use crate::oci::client::{INDEXES, MANIFESTS, Registry, Upload};
use crate::source::image::parse_digest;
use crate::source::{Blake3, CommitId, ImageName, RemoteUrl, Sha256, SourceUrl};
use crate::store::{GitRecord, blob_name, damaged, record_name};

/// The type of the artifact.
pub(crate) const ARTIFACT: &str = "application/vnd.kbuild.store.v1";

const BLOB: &str = "application/vnd.kbuild.store.blob.v1";
const RECORD: &str = "application/vnd.kbuild.store.commit.v1+toml";
const LOCK: &str = "application/vnd.kbuild.store.lock.v1+toml";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// The name of the lock among the layers.
const LOCK_TITLE: &str = "kata.lock";

/// Size of one request. Registries need not accept larger chunks, and some do not.
const CHUNK: u64 = 4 << 20;

/// The longest manifest that is written, in bytes: registries accept 4 MiB.
const LONGEST: usize = 3 << 20;

/// The most parts of an index that are read.
const PARTS: usize = 100;

/// How often a large blob is started again after the registry has lost the upload.
const BEGINNINGS: usize = 4;

/// Blobs that are sent at once, whatever `--jobs` says: each needs a chunk of memory.
const BLOBS_AT_ONCE: usize = 32;

/// Requests at once; permits limit them further.
const QUESTIONS: usize = 64;

/// A store in a repository of a registry.
pub struct Artifacts {
    url: RemoteUrl,
    image: ImageName,
    http: Http,
    registry: Registry,
    /// The artifact of the tag, read when it is first needed.
    contents: OnceCell<ArtifactContents>,
    room: Semaphore,
    /// For a push: digests of blobs that have none in the lock, and commits for which the remote's records are used.
    sent: Mutex<BTreeMap<Blake3, ArtifactLayer>>,
    theirs: Mutex<BTreeMap<CommitId, ArtifactLayer>>,
}

/// The layers of an artifact, by title.
#[derive(Debug, Clone, Default)]
struct ArtifactContents(BTreeMap<String, ArtifactLayer>);

/// A chunk while it is sent, from one try to the next.
struct SentChunk {
    /// The offset of the first byte that has not arrived.
    at: u64,
    upload: Upload,
    /// A try failed, and it is not known how much of it arrived.
    doubtful: bool,
}

/// A layer as the manifest writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLayer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactManifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    config: ArtifactLayer,
    layers: &'a [ArtifactLayer],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactIndex<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    manifests: Vec<ArtifactLayer>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    layers: Vec<ArtifactLayer>,
    #[serde(default)]
    manifests: Vec<ArtifactLayer>,
}

impl fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifacts({})", self.url)
    }
}

impl ArtifactLayer {
    fn of(media_type: &str, digest: &Sha256, size: u64, title: &str) -> ArtifactLayer {
        let annotations = BTreeMap::from([(TITLE.to_owned(), title.to_owned())]);
        ArtifactLayer { media_type: media_type.to_owned(), digest: format!("sha256:{digest}"), size, annotations }
    }

    fn of_bytes(media_type: &str, bytes: &[u8], title: &str) -> ArtifactLayer {
        ArtifactLayer::of(media_type, &sha256(bytes), bytes.len() as u64, title)
    }

    fn digest(&self) -> Option<Sha256> {
        parse_digest(&self.digest)
    }
}

impl Artifacts {
    /// A store at this address; sends no request yet.
    pub fn new(url: &RemoteUrl, image: ImageName, policy: &RetryPolicy) -> Artifacts {
        Artifacts {
            url: url.clone(),
            image,
            http: Http::new(policy.clone()),
            registry: Registry::default(),
            contents: OnceCell::new(),
            room: Semaphore::new(BLOBS_AT_ONCE),
            sent: Mutex::default(),
            theirs: Mutex::default(),
        }
    }

    /// Its address.
    pub fn url(&self) -> &RemoteUrl {
        &self.url
    }

    /// See [`super::Remote::record`].
    pub async fn record(&self, commit: &CommitId) -> Result<Option<String>, Failure> {
        let contents = self.contents().await?;
        match contents.digest(&record_name(commit)) {
            Some(digest) => self.text(&digest).await.map(Some),
            None => Ok(None),
        }
    }

    /// See [`super::Remote::open`].
    pub async fn open(&self, blob: &BlobName, from: u64) -> Result<Option<Opened>, Failure> {
        let digest = match (blob.sha256, blob.blake3) {
            (Some(sha256), _) => Some(sha256),
            (None, Some(blake3)) => self.contents().await?.digest(&blob_name(&blake3)),
            (None, None) => None,
        };
        let Some(digest) = digest else { return Ok(None) };
        let url = self.image.at(digest).to_url()?;
        let response = match self.registry.blob(&self.http, &self.image, &digest, from).await {
            Ok(response) => response,
            Err(failure) if failure.error.kind() == Kind::Missing => return Ok(None),
            // The blob here is shorter than the bytes that came earlier, from another place.
            Err(_) if from > 0 => return Box::pin(self.open(blob, 0)).await,
            Err(failure) => return Err(failure),
        };
        let from = if response.status() == StatusCode::PARTIAL_CONTENT { from } else { 0 };
        let total = response.content_length().map(|length| from + length);
        let place = url.clone();
        let body = response.bytes_stream().map_err(move |error| failed(&place, error));
        Ok(Some(Opened { url: url.as_url().clone(), from, total, body: BlobBody(body.boxed()) }))
    }

    /// See [`super::Remote::missing`].
    pub async fn missing(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<Missing, Failure> {
        let contents = guard.attempt(&self.url, || self.contents_for(push_set).boxed()).await?;
        let mut missing = Missing::default();
        let mut packs = BTreeSet::new();
        for record in &push_set.records {
            match self.standing(record, contents, guard).await? {
                Some(layer) if layer == record_layer(record) => {}
                Some(layer) => {
                    let mut theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
                    theirs.insert(record.commit, layer);
                    continue;
                }
                None => drop(missing.commits.insert(record.commit)),
            }
            packs.extend(record.blobs());
        }
        let needed = push_set.blobs.iter().filter(|blob| blob.sha256.is_some() || packs.contains(&blob.blake3));
        let questions = needed.map(|blob| async move {
            let known = blob.sha256.or_else(|| contents.digest(&blob_name(&blob.blake3)));
            let Some(digest) = known else { return Ok(Some(blob.blake3)) };
            let there = guard.attempt(&self.url, || self.registry.has_blob(&self.http, &self.image, &digest).boxed());
            Ok::<_, Failure>((!there.await?).then_some(blob.blake3))
        });
        let answers: Vec<Option<Blake3>> = stream::iter(questions).buffered(QUESTIONS).try_collect().await?;
        missing.blobs.extend(answers.into_iter().flatten());
        Ok(missing)
    }

    /// The layer of the registry's record for a commit, if it is as good as the store's: two versions of git pack
    /// differently.
    async fn standing(
        &self,
        ours: &GitRecord,
        contents: &ArtifactContents,
        guard: &RequestGuard<'_>,
    ) -> Result<Option<ArtifactLayer>, Failure> {
        let Some(layer) = contents.0.get(&record_name(&ours.commit)) else { return Ok(None) };
        let Some(digest) = layer.digest() else { return Ok(None) };
        if *layer == record_layer(ours) {
            let there = guard.attempt(&self.url, || self.registry.has_blob(&self.http, &self.image, &digest).boxed());
            return Ok(there.await?.then(|| layer.clone()));
        }
        let text = guard.attempt(&self.url, || self.text(&digest).boxed()).await?;
        let Ok(theirs) = text.parse::<GitRecord>() else { return Ok(None) };
        let as_deep = theirs.shallow.is_empty() || theirs.shallow == ours.shallow;
        let whole = theirs.blobs().all(|blob| contents.digest(&blob_name(&blob)).is_some());
        let good = (theirs.commit, theirs.tree) == (ours.commit, ours.tree) && as_deep && whole;
        Ok(good.then(|| layer.clone()))
    }

    /// See [`super::Remote::put_blob`].
    pub async fn put_blob(&self, blob: &BlobRef, file: &Path, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        let _room = self.room.acquire().await.expect("the semaphore is never closed");
        let mut beginnings = 1;
        let digest = loop {
            let sent = if blob.size <= CHUNK {
                self.put_whole(blob, file, guard).await
            } else {
                self.put_chunks(blob, file, guard).await
            };
            match sent {
                Ok(digest) => break digest,
                Err(failure) if is_lost(&failure) && beginnings < BEGINNINGS => {
                    beginnings += 1;
                    guard.report.task().note("the registry has lost the upload: starting again");
                }
                Err(failure) => return Err(refused(failure)),
            }
        };
        let layer = ArtifactLayer::of(BLOB, &digest, blob.size, &blob_name(&blob.blake3));
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.blake3, layer);
        Ok(())
    }

    async fn put_whole(&self, blob: &BlobRef, file: &Path, guard: &RequestGuard<'_>) -> Result<Sha256, Failure> {
        let mut outgoing = BlobReader::open(blob, file)?;
        let bytes = outgoing.next(CHUNK).await?.unwrap_or_default();
        outgoing.finish()?;
        let digest = sha256(&bytes);
        check(blob, file, &digest)?;
        self.put_small(&digest, &bytes, guard).await?;
        guard.report.task().set_position(bytes.len() as u64);
        Ok(digest)
    }

    /// Sends bytes in one request; a failure leaves nothing.
    async fn put_small(&self, digest: &Sha256, bytes: &Bytes, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        let put = || {
            async {
                let upload = self.registry.begin(&self.http, &self.image).await?;
                self.registry.end(&self.http, &self.image, &upload, digest, bytes.clone()).await
            }
            .boxed()
        };
        guard.attempt(&self.url, put).await
    }

    async fn put_chunks(&self, blob: &BlobRef, file: &Path, guard: &RequestGuard<'_>) -> Result<Sha256, Failure> {
        let mut outgoing = BlobReader::open(blob, file)?;
        let (http, image) = (&self.http, &self.image);
        let mut upload = guard.attempt(&self.url, || self.registry.begin(http, image).boxed()).await?;
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        while let Some(bytes) = outgoing.next(upload.chunk.max(CHUNK)).await? {
            hasher.update(&bytes);
            upload = self.put_chunk(upload, offset, &bytes, guard).await?;
            offset += bytes.len() as u64;
            guard.report.task().set_position(offset);
        }
        let digest = sha256_of(hasher);
        if let Err(wrong) = outgoing.finish().and_then(|()| check(blob, file, &digest)) {
            // A failure here is ignored: the registry removes unfinished uploads.
            let _ = self.registry.cancel(http, image, &upload).await;
            return Err(wrong.into());
        }
        let end = || async { self.registry.end(http, image, &upload, &digest, Bytes::new()).await }.boxed();
        guard.attempt(&self.url, end).await?;
        Ok(digest)
    }

    /// Sends a chunk. After a failure, asks the registry how much of it has arrived.
    async fn put_chunk(
        &self,
        upload: Upload,
        offset: u64,
        bytes: &Bytes,
        guard: &RequestGuard<'_>,
    ) -> Result<Upload, Failure> {
        let end = offset + bytes.len() as u64;
        let state = AsyncMutex::new(SentChunk { at: offset, upload, doubtful: false });
        let send = || {
            async {
                let mut chunk = state.lock().await;
                if chunk.doubtful {
                    let (arrived, next) = self.registry.arrived(&self.http, &self.image, &chunk.upload).await?;
                    if !(offset..=end).contains(&arrived) {
                        return Err(lost(&self.image.to_url()?));
                    }
                    (chunk.at, chunk.upload) = (arrived, next);
                }
                if chunk.at < end {
                    chunk.doubtful = true;
                    let rest = bytes.slice(usize::try_from(chunk.at - offset).unwrap_or(bytes.len())..);
                    chunk.upload = self.registry.chunk(&self.http, &self.image, &chunk.upload, chunk.at, rest).await?;
                }
                Ok(())
            }
            .boxed()
        };
        guard.attempt(&self.url, send).await?;
        Ok(state.into_inner().upload)
    }

    /// See [`super::Remote::put_record`].
    pub async fn put_record(&self, record: &GitRecord, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        let bytes = Bytes::from(record.to_string());
        self.put_small(&sha256(&bytes), &bytes, guard).await.map_err(refused)
    }

    /// See [`super::Remote::finish`]: writes the manifest, and tags it.
    pub async fn finish(&self, push_set: &PushSet<'_>, guard: &RequestGuard<'_>) -> Result<(), Failure> {
        let contents = guard.attempt(&self.url, || self.contents_for(push_set).boxed()).await?;
        let layers: Vec<ArtifactLayer> = self.layers(push_set, contents)?.into_values().collect();
        let tags = [self.image.reference(), lock_tag(push_set.lock)];
        let parts = in_parts(&layers);
        let texts = parts.iter().map(|part| manifest(part)).collect::<Result<Vec<_>>>()?;
        let last = match texts.as_slice() {
            [only] => (MANIFESTS[0], only.clone()),
            several => (INDEXES[0], index(several)?),
        };
        if self.is_tagged(&tags, &last, guard).await? {
            return Ok(());
        }
        for bytes in [Bytes::from_static(b"{}"), Bytes::copy_from_slice(push_set.lock)] {
            let digest = sha256(&bytes);
            let there = || async { self.registry.has_blob(&self.http, &self.image, &digest).await }.boxed();
            if !guard.attempt(&self.url, there).await? {
                self.put_small(&digest, &bytes, guard).await.map_err(refused)?;
            }
        }
        if texts.len() > 1 {
            for text in &texts {
                self.put_manifest(&format!("sha256:{}", sha256(text)), MANIFESTS[0], text, guard).await?;
            }
        }
        for tag in &tags {
            self.put_manifest(tag, last.0, &last.1, guard).await?;
        }
        Ok(())
    }

    /// Whether all tags point to this manifest already.
    async fn is_tagged(
        &self,
        tags: &[String],
        last: &(&str, Bytes),
        guard: &RequestGuard<'_>,
    ) -> Result<bool, Failure> {
        let digest = sha256(&last.1);
        for tag in tags {
            let image = ImageName { tag: Some(tag.clone()), ..self.image.clone() };
            let there = guard.attempt(&self.url, || self.manifest(&image).boxed()).await?;
            if there.is_none_or(|there| there.digest != digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn put_manifest(
        &self,
        name: &str,
        kind: &str,
        text: &Bytes,
        guard: &RequestGuard<'_>,
    ) -> Result<(), Failure> {
        let put =
            || async { self.registry.put_manifest(&self.http, &self.image, name, kind, text.clone()).await }.boxed();
        guard.attempt(&self.url, put).await.map_err(refused)
    }

    /// The layers of the artifact. Those of an earlier artifact of the same lock stay, since a push may be for some
    /// boards only.
    fn layers(&self, push_set: &PushSet<'_>, contents: &ArtifactContents) -> Result<BTreeMap<String, ArtifactLayer>> {
        let lock = ArtifactLayer::of_bytes(LOCK, push_set.lock, LOCK_TITLE);
        let same_lock = contents.0.get(LOCK_TITLE) == Some(&lock);
        let mut layers = if same_lock { contents.0.clone() } else { BTreeMap::new() };
        layers.insert(LOCK_TITLE.to_owned(), lock);
        let theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for record in &push_set.records {
            let title = record_name(&record.commit);
            layers.insert(title, theirs.get(&record.commit).cloned().unwrap_or_else(|| record_layer(record)));
        }
        for blob in &push_set.blobs {
            let title = blob_name(&blob.blake3);
            let of_file = blob.sha256.map(|sha256| ArtifactLayer::of(BLOB, &sha256, blob.size, &title));
            let known = of_file.or_else(|| sent.get(&blob.blake3).or_else(|| contents.0.get(&title)).cloned());
            layers.extend(known.map(|layer| (title, layer)));
        }
        // The packs that the remote's records name.
        if !theirs.is_empty() {
            let packs = contents.0.iter().filter(|(title, _)| title.starts_with("blobs/"));
            for (title, layer) in packs {
                layers.entry(title.clone()).or_insert_with(|| layer.clone());
            }
        }
        Ok(layers)
    }

    async fn contents(&self) -> Result<&ArtifactContents, Failure> {
        self.contents.get_or_try_init(|| self.read(&self.image)).await
    }

    /// The layers of the tag's artifact, and those of this lock's own artifact, which win.
    async fn contents_for(&self, push_set: &PushSet<'_>) -> Result<&ArtifactContents, Failure> {
        let read = || {
            async {
                let own = ImageName { tag: Some(lock_tag(push_set.lock)), ..self.image.clone() };
                let own = self.read(&own).await?;
                if own.0.is_empty() { self.read(&self.image).await } else { Ok(own) }
            }
            .boxed()
        };
        self.contents.get_or_try_init(read).await
    }

    /// The layers of an artifact; none if the tag does not exist.
    async fn read(&self, image: &ImageName) -> Result<ArtifactContents, Failure> {
        let Some(received) = self.manifest(image).await? else { return Ok(ArtifactContents::default()) };
        let url = image.to_url()?;
        let unreadable = || Failure::permanent(at(&url, "it is not a store of kbuild"));
        let read: Read = serde_json::from_slice(&received.bytes).map_err(|_| unreadable())?;
        let mut layers = read.layers;
        if read.manifests.len() > PARTS {
            return Err(unreadable());
        }
        for part in &read.manifests {
            let part = self.image.at(part.digest().ok_or_else(unreadable)?);
            let received = self.registry.manifest(&self.http, &part).await?;
            let read: Read = serde_json::from_slice(&received.bytes).map_err(|_| unreadable())?;
            layers.extend(read.layers);
        }
        let titled = layers.into_iter().filter_map(|layer| Some((layer.annotations.get(TITLE)?.clone(), layer)));
        Ok(ArtifactContents(titled.collect()))
    }

    async fn manifest(&self, image: &ImageName) -> Result<Option<crate::oci::client::ReceivedManifest>, Failure> {
        match self.registry.manifest(&self.http, image).await {
            Ok(received) => Ok(Some(received)),
            Err(failure) if matches!(failure.error.kind(), Kind::Missing | Kind::Input) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn text(&self, digest: &Sha256) -> Result<String, Failure> {
        let bytes = self.registry.small_blob(&self.http, &self.image, digest).await?;
        let url = self.image.at(*digest).to_url()?;
        String::from_utf8(bytes).map_err(|_| Failure::permanent(at(&url, "it is not UTF-8 text")))
    }
}

impl ArtifactContents {
    fn digest(&self, title: &str) -> Option<Sha256> {
        self.0.get(title)?.digest()
    }
}

fn sha256(bytes: &[u8]) -> Sha256 {
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    digest.into()
}

fn sha256_of(hasher: sha2::Sha256) -> Sha256 {
    let digest: [u8; 32] = hasher.finalize().into();
    digest.into()
}

/// The SHA-256 of a file in the lock must be that of the bytes: the registry has the blob under both hashes.
fn check(blob: &BlobRef, file: &Path, found: &Sha256) -> Result<()> {
    match blob.sha256 {
        Some(wanted) if wanted != *found => {
            let error = damaged(file, &blob.blake3, &blob.blake3);
            Err(error.because(format!("expected sha256 {wanted}\n     got sha256 {found}")))
        }
        _ => Ok(()),
    }
}

fn lost(url: &SourceUrl) -> Failure {
    Failure {
        class: Class::Permanent,
        error: at(url, "the registry does not know the upload any more").of_kind(Kind::Missing),
    }
}

/// Whether an upload must be started again.
fn is_lost(failure: &Failure) -> bool {
    failure.error.kind() == Kind::Missing
}

/// In a push, "not found" means that the registry refuses the push.
fn refused(Failure { class, error }: Failure) -> Failure {
    let error = if error.kind() == Kind::Missing { error.of_kind(Kind::Network) } else { error };
    Failure { class, error }
}

fn record_layer(record: &GitRecord) -> ArtifactLayer {
    ArtifactLayer::of_bytes(RECORD, record.to_string().as_bytes(), &record_name(&record.commit))
}

fn lock_tag(lock: &[u8]) -> String {
    format!("lock-{}", &blake3::hash(lock).to_hex()[..16])
}

/// As many layers as fit into one manifest.
fn in_parts(layers: &[ArtifactLayer]) -> Vec<&[ArtifactLayer]> {
    // A descriptor has some 250 bytes; only the title varies.
    let length = |layer: &ArtifactLayer| 250 + layer.annotations.values().map(String::len).sum::<usize>();
    let mut parts = Vec::new();
    let (mut from, mut size) = (0, 0);
    for (index, layer) in layers.iter().enumerate() {
        if size + length(layer) > LONGEST {
            parts.push(&layers[from..index]);
            (from, size) = (index, 0);
        }
        size += length(layer);
    }
    parts.push(&layers[from..]);
    parts
}

fn manifest(layers: &[ArtifactLayer]) -> Result<Bytes> {
    let config = ArtifactLayer { annotations: BTreeMap::new(), ..ArtifactLayer::of_bytes(EMPTY, b"{}", "") };
    let manifest =
        ArtifactManifest { schema_version: 2, media_type: MANIFESTS[0], artifact_type: ARTIFACT, config, layers };
    text(&manifest)
}

fn index(parts: &[Bytes]) -> Result<Bytes> {
    let manifests = parts
        .iter()
        .map(|part| ArtifactLayer { annotations: BTreeMap::new(), ..ArtifactLayer::of_bytes(MANIFESTS[0], part, "") });
    let manifests = manifests.collect();
    text(&ArtifactIndex { schema_version: 2, media_type: INDEXES[0], artifact_type: ARTIFACT, manifests })
}

fn text(of: &impl Serialize) -> Result<Bytes> {
    let text = serde_json::to_vec(of).map_err(|error| Error::bug("a manifest cannot be written").because(error))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_split() {
        let layer = |number: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            ArtifactLayer::of(BLOB, &Sha256::from(hash), 1 << 40, &blob_name(&Blake3::from(hash)))
        };
        let few: Vec<ArtifactLayer> = (0..10).map(layer).collect();
        assert_eq!(in_parts(&few).len(), 1);
        let many: Vec<ArtifactLayer> = (0..20_000).map(layer).collect();
        let parts = in_parts(&many);
        assert_eq!((parts.len(), parts.concat()), (3, many.clone()));
        assert!(parts.iter().all(|part| manifest(part).unwrap().len() < 4 << 20));
    }

    #[test]
    fn a_manifest_reads_as_the_specification_has_it() {
        let layers = [ArtifactLayer::of(LOCK, &Sha256::from([1; 32]), 7, LOCK_TITLE)];
        let text = manifest(&layers).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["schemaVersion"], 2);
        assert_eq!(value["artifactType"], ARTIFACT);
        let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!((value["config"]["digest"].as_str(), value["config"]["size"].as_u64()), (Some(empty), Some(2)));
        assert_eq!(value["layers"][0]["annotations"][TITLE], LOCK_TITLE);
        let read: Read = serde_json::from_slice(&text).unwrap();
        assert_eq!(read.layers, layers);
    }
}
