//! The bytes of layers' patches: from the project, from other layers, from the store. Nothing is fetched here.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::{Lock, Locked};
use crate::manifest::{LayerOrigin, Manifest};
use crate::source::{Blake3, LayerPatch, PatchOrigin, SourceId};
use crate::store::{PatchFile, Store};

/// The sources that patches are read from: what is fetched, and the layers that they come from, each once.
pub fn sources(lock: &Lock, patches: &[LayerPatch]) -> BTreeSet<SourceId> {
    let of_patch = |patch: &LayerPatch| match &patch.origin {
        PatchOrigin::Project { .. } => None,
        PatchOrigin::Layer { layer, .. } => lock.layers.get(layer).map(|pin| pin.locked.clone()),
        PatchOrigin::Remote { source, .. } => Some(source.clone()),
    };
    patches.iter().filter_map(of_patch).collect()
}

/// The patches that the lock has for a layer, each with the locked bytes.
///
/// # Errors
/// A file that changed since (kind `Stale`), or a source that is not in the store (kind `Missing`).
pub fn of_layer(manifest: &Manifest, lock: &Lock, store: &Store, layer: &str) -> Result<Vec<PatchFile>> {
    let patches = lock.layers.get(layer).map(|pin| pin.patches.as_slice()).unwrap_or_default();
    patches
        .iter()
        .map(|patch| {
            let file = read(manifest, lock, store, patch)?;
            if patch.blake3 == file.patch.blake3 {
                return Ok(file);
            }
            let message = format!("the patch `{patch}` of the layer `{layer}` is not what is locked");
            Err(Error::new(Kind::Stale, message).help("run `kbuild lock`"))
        })
        .collect()
}

/// A patch as it is now, with its hash.
///
/// # Errors
/// It cannot be read, or is not in the store: kind `Missing`.
pub fn read(manifest: &Manifest, lock: &Lock, store: &Store, patch: &LayerPatch) -> Result<PatchFile> {
    let (bytes, hashed) = match &patch.origin {
        PatchOrigin::Project { file } => (read_file(&manifest.root().join(file))?, true),
        PatchOrigin::Layer { layer, file } => (of_other_layer(manifest, lock, store, layer, file)?, true),
        PatchOrigin::Remote { source, .. } => {
            let Locked::File(_, locked) = lock.get(source)? else {
                return Err(Error::input(format!("{LOCK} has {source} as a repository")).help("run `kbuild lock`"));
            };
            let found = store.find_file(locked).ok_or_else(|| {
                let error = Error::new(Kind::Missing, format!("the patch `{patch}` is not in the store"));
                error.help("run `kbuild fetch`")
            })?;
            (read_file(&store.blob_path(&found.blake3))?, false)
        }
    };
    let blake3 = Blake3::of(&bytes);
    // Of a fetched one the SHA-256 is in the lock, and the store is by hash.
    let patch = LayerPatch { blake3: hashed.then_some(blake3), ..patch.clone() };
    Ok(PatchFile { patch, bytes })
}

fn of_other_layer(manifest: &Manifest, lock: &Lock, store: &Store, layer: &str, file: &str) -> Result<Vec<u8>> {
    if let Some(LayerOrigin::Path(folder)) = manifest.layers.get(layer).map(|layer| &layer.origin) {
        return read_file(&manifest.root().join(folder).join(file));
    }
    let pin = lock.layers.get(layer).ok_or_else(|| {
        Error::new(Kind::Stale, format!("{LOCK} does not have the layer `{layer}`")).help("run `kbuild lock`")
    })?;
    let commit = lock.commit(pin).ok_or_else(|| Error::input(format!("{LOCK} has the layer `{layer}` as a file")))?;
    let found = store.file_of_commit(&commit, Path::new(file))?;
    found.ok_or_else(|| {
        let message = format!("the layer `{layer}` has no file `{file}` at commit {}", commit.short());
        Error::input(message).help(format!("correct the patch in {MANIFEST}"))
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    disk::read_small(path, "a patch", bounds::FILE_OF_SOURCE)
}
