//! Patches of layers: which bytes they have, and that they apply. Both are looked at again when a patch, its layer, or the layer
//! that it comes from changed; else the old lock's stand.

use super::pin;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, patches};
use crate::lock::{Content, Lock, LockedFile};
use crate::manifest::Manifest;
use crate::source::{LayerPatch, PatchOrigin, SourceId};

/// Puts the patches of a manifest's layers into a lock that has their commits. Gives the errors of those that cannot be: their
/// layers are left without patches, and so are not fresh.
pub(super) async fn resolve(manifest: &Manifest, lock: &mut Lock, old: &Lock, fetcher: &Fetcher) -> Vec<Error> {
    let mut errors = Vec::new();
    for name in patched(manifest, lock) {
        let found = match settled(manifest, lock, old, &name) {
            Some(patches) => Ok(patches),
            None => find(manifest, lock, fetcher, &name).await,
        };
        match found {
            Ok(patches) => set(lock, &name, patches),
            Err(error) => errors.push(error.wrap(format!("could not lock the patches of layer `{name}`"))),
        }
    }
    errors
}

/// The same with what the old lock has alone. Gives the layers whose patches are not those that are locked.
pub(super) fn keep(manifest: &Manifest, lock: &mut Lock, old: &Lock) -> Vec<String> {
    let mut stale = Vec::new();
    for name in patched(manifest, lock) {
        match settled(manifest, lock, old, &name) {
            Some(patches) => set(lock, &name, patches),
            None => stale.push(name),
        }
    }
    let gone = old.layers.iter().filter(|(name, pin)| !pin.patches.is_empty() && wanted(manifest, name).is_empty());
    stale.extend(gone.map(|(name, _)| name.clone()));
    stale
}

/// The sources that a layer's patches come from: what is fetched, and other layers.
pub(super) fn sources<'a>(manifest: &'a Manifest, layer: &str) -> impl Iterator<Item = &'a PatchOrigin> {
    wanted(manifest, layer).iter().map(|patch| &patch.origin)
}

/// The blocks of a layer's patches that are fetched, with what an old lock knows of them.
pub(super) fn add_files(manifest: &Manifest, layer: &str, old: &Lock, lock: &mut Lock) -> Result<()> {
    for patch in wanted(manifest, layer) {
        if let PatchOrigin::Remote { url, sha256, source } = &patch.origin {
            let (urls, content) = (vec![url.clone()], old.content_of(sha256));
            let file = LockedFile { name: None, urls, sha256: *sha256, stated_size: None, content };
            pin::add_file(lock, source.key(), &file)?;
        }
    }
    Ok(())
}

fn wanted<'a>(manifest: &'a Manifest, layer: &str) -> &'a [LayerPatch] {
    manifest.layers.get(layer).map(|layer| layer.patches.as_slice()).unwrap_or_default()
}

fn patched(manifest: &Manifest, lock: &Lock) -> Vec<String> {
    let has = |name: &&String| !wanted(manifest, name).is_empty();
    lock.layers.keys().filter(has).cloned().collect()
}

fn set(lock: &mut Lock, layer: &str, patches: Vec<LayerPatch>) {
    if let Some(pin) = lock.layers.get_mut(layer) {
        pin.patches = patches;
    }
}

/// The patches of the old lock, where nothing that decides them is another now.
fn settled(manifest: &Manifest, lock: &Lock, old: &Lock, layer: &str) -> Option<Vec<LayerPatch>> {
    let wanted = wanted(manifest, layer);
    let locked = |lock: &Lock, layer: &str| lock.layers.get(layer).map(|pin| pin.locked.clone());
    let before = old.layers.get(layer)?;
    let same = wanted.len() == before.patches.len()
        && wanted.iter().zip(&before.patches).all(|(wanted, locked)| wanted.is_locked_as(locked));
    let stand = |patch: &LayerPatch| match &patch.origin {
        PatchOrigin::Layer { layer, .. } => locked(lock, layer) == locked(old, layer),
        // Without its bytes nobody could see whether it applies.
        PatchOrigin::Remote { sha256, .. } => old.content_of(sha256).is_some(),
        PatchOrigin::Project { .. } => true,
    };
    let stands = same && locked(lock, layer) == locked(old, layer) && wanted.iter().all(stand);
    stands.then(|| before.patches.clone())
}

/// Fetches what is missing, hashes each patch, and applies all.
async fn find(manifest: &Manifest, lock: &mut Lock, fetcher: &Fetcher, layer: &str) -> Result<Vec<LayerPatch>> {
    let wanted = wanted(manifest, layer);
    let store = fetcher.store();
    let own = lock.layers.get(layer).map(|pin| pin.locked.clone());
    let needed: Vec<SourceId> = own.into_iter().chain(patches::sources(lock, wanted)).collect();
    fetcher.sources(lock, &needed).await?;
    for source in wanted.iter().filter_map(LayerPatch::source) {
        if let Some(file) = lock.files.get_mut(source.key()) {
            let found = store.find_file(file).map(|found| Content { blake3: found.blake3, size: found.size });
            file.content = file.content.or(found);
        }
    }
    let files = wanted.iter().map(|patch| patches::read(manifest, lock, store, patch)).collect::<Result<Vec<_>>>()?;
    let commit = lock.layers.get(layer).and_then(|pin| lock.commit(pin));
    let commit = commit.ok_or_else(|| Error::bug(format!("the layer `{layer}` has no commit")))?;
    store.open_patched(&commit, &files)?;
    Ok(files.into_iter().map(|file| file.patch).collect())
}
