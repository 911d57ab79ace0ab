//! Files of layers that a manifest includes: found before the manifest is whole. Only their layers are pinned, as locking does it
//! later, and the text is read from the commit.

use std::path::Path;

use super::{UpdatePolicy, pins};
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::files::{LOCK, MANIFEST};
use crate::lock::Lock;
use crate::manifest::{Foundation, LayerFile, Manifest};
use crate::source::include::{IncludedText, IncludedTexts, include_key};

/// The texts that a manifest includes from layers, at the commits that `kbuild lock` or `kbuild update` pins.
///
/// # Errors
/// A layer that cannot be pinned or fetched, or that has no such file.
pub async fn included(
    foundation: &Foundation,
    old: &Lock,
    fetcher: &Fetcher,
    update: &UpdatePolicy,
) -> Result<IncludedTexts> {
    let Foundation { manifest, includes } = foundation;
    let mut only = manifest.clone();
    only.layers.retain(|name, _| includes.iter().any(|include| include.layer == *name));
    // Patches change what is laid out, not what is included.
    only.layers.values_mut().for_each(|layer| layer.patches.clear());
    let update = match update {
        UpdatePolicy::Named(names) => {
            UpdatePolicy::Named(names.iter().filter(|name| only.layers.contains_key(*name)).cloned().collect())
        }
        other => other.clone(),
    };
    let (pinned, unpinned) = pins::resolve(&only, old, fetcher, &update).await?;
    if let Some(error) = unpinned {
        return Err(error.wrap("the files of layers that the manifest includes could not be had"));
    }
    let mut texts = IncludedTexts::new();
    for LayerFile { layer, file } in includes {
        let text = text_of(&pinned.lock, fetcher, layer, file).await?;
        texts.insert(include_key(layer, file), text);
    }
    Ok(texts)
}

async fn text_of(lock: &Lock, fetcher: &Fetcher, layer: &str, file: &str) -> Result<IncludedText> {
    let pin = lock.layers.get(layer);
    let pin = pin.ok_or_else(|| Error::bug(format!("the layer `{layer}` was pinned and is not in the lock")))?;
    let commit = lock.commit(pin).ok_or_else(|| Error::bug(format!("the layer `{layer}` has no commit")))?;
    fetcher.sources(lock, std::slice::from_ref(&pin.locked)).await?;
    let bytes = fetcher.store().file_of_commit(&commit, Path::new(file))?.ok_or_else(|| {
        let message = format!("the layer `{layer}` has no file `{file}` at commit {}", commit.short());
        Error::input(message).help("correct the path in `include`, or choose another commit of the layer")
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::input(format!("`{file}` of the layer `{layer}` is not text in UTF-8")))?;
    Ok(IncludedText { commit, text })
}

/// Puts the included texts into a lock that has the manifest's pins.
///
/// # Errors
/// A layer is at another commit than the text is of: kind `Stale`.
pub(super) fn keep(manifest: &Manifest, lock: &mut Lock) -> Result<()> {
    for (key, included) in &manifest.included_texts {
        let layer = key.split_once(':').map_or(key.as_str(), |(layer, _)| layer);
        let commit = lock.layers.get(layer).and_then(|pin| lock.commit(pin));
        if commit.is_some_and(|commit| commit != included.commit) {
            let message = format!("`{key}` is included as it was at another commit than {LOCK} has of the layer");
            let help =
                format!("change the layer in {MANIFEST} itself, and run `kbuild lock`, which reads the file again");
            return Err(Error::new(Kind::Stale, message).help(help));
        }
    }
    lock.includes.clone_from(&manifest.included_texts);
    Ok(())
}
