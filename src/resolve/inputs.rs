//! The inputs that decide the closure of a configuration, as one hash.
//!
//! Values are hashed, not the generated files of BitBake: a comment in one of those must not make every lock stale.
//! What the project's own folders hold is not in it, see [`crate::lock::Lock::folders`]; nor are moving refs, which
//! decide what a recipe fetches but not that it does.

use crate::bitbake::discovery;
use crate::error::Result;
use crate::lock::{Lock, LockedImage, Pin, Request};
use crate::manifest::{EnvValue, LayerOrigin, Manifest, Variant};
use crate::source::{Blake3, LayerPatch, SourceId};

/// The hash over everything that decides the closure of a board's variant; `lock` has the manifest's pins.
///
/// # Errors
/// An unknown board.
pub(super) fn of(manifest: &Manifest, lock: &Lock, name: &str, variant: &Variant) -> Result<Blake3> {
    let board = manifest.configured(name, &variant.selection)?;
    let mut hash = ClosureInputs(blake3::Hasher::new());
    hash.list("discovery", [discovery::VERSION.to_string()]);
    hash.layer(manifest, lock, manifest.engine_of_boards()?);
    for layer in &board.parts.layers {
        hash.layer(manifest, lock, layer);
        let paths: Vec<String> =
            manifest.layers[layer.as_str()].paths.iter().map(|path| path.display().to_string()).collect();
        hash.list("paths", &paths);
    }
    hash.list("machine", [&board.machine]);
    hash.list("targets", &board.parts.targets);
    hash.list("host", [&variant.host]);
    hash.list("words", &variant.selection.overrides);
    hash.list("config", board.parts.config.iter().flat_map(|(name, value)| [name, value]));
    // Only where there is any: closures of earlier releases stand.
    if !board.parts.conf.is_empty() {
        hash.list("conf", &board.parts.conf);
    }
    if !board.parts.env.is_empty() {
        hash.list("env", board.parts.env.iter().flat_map(|(name, value)| env_words(name, value)));
    }
    hash.list("mask", manifest.closure.mask.keys());
    for (source, declared) in manifest.sources_of(name) {
        match lock.images.get(source) {
            Some(image) => hash.image(source, image),
            None => hash.pin(source, lock.sources.get(source)),
        }
        hash.list("recipes", declared.recipes.iter().chain(&declared.srcrev_name));
    }
    Ok((*hash.0.finalize().as_bytes()).into())
}

/// A variable of the environment. What the caller has is not in it: closures are found with the default.
fn env_words<'a>(name: &'a str, value: &'a EnvValue) -> [&'a str; 3] {
    match value {
        EnvValue::Set(text) => [name, "set", text],
        EnvValue::Forwarded { default: Some(text) } => [name, "forwarded", text],
        EnvValue::Forwarded { default: None } => [name, "forwarded, without a default", ""],
    }
}

struct ClosureInputs(blake3::Hasher);

impl ClosureInputs {
    /// Each length comes before its data, so that no two lists give the same text.
    fn list<T: AsRef<str>>(&mut self, what: &str, items: impl IntoIterator<Item = T>) {
        let items: Vec<T> = items.into_iter().collect();
        self.0.update(format!("{what} {}\n", items.len()).as_bytes());
        for item in items {
            let item = item.as_ref();
            self.0.update(format!("{} {item}\n", item.len()).as_bytes());
        }
    }

    fn layer(&mut self, manifest: &Manifest, lock: &Lock, name: &str) {
        match manifest.layers.get(name).map(|layer| &layer.origin) {
            Some(LayerOrigin::Path(_)) => self.list("folder", [name]),
            _ => self.locked(name, lock.layers.get(name).map(|pin| &pin.locked)),
        }
        // Only where there are any: closures of earlier releases stand.
        let patches = lock.layers.get(name).map(|pin| pin.patches.as_slice()).unwrap_or_default();
        if !patches.is_empty() {
            self.list("patches", patches.iter().map(LayerPatch::identity));
        }
    }

    fn pin(&mut self, name: &str, pin: Option<&Pin>) {
        self.locked(name, pin.map(|pin| &pin.locked));
        let words = pin.map(|pin| match &pin.request {
            Request::File { url, version } => vec![url.to_string(), version.clone().unwrap_or_default()],
            Request::Git { url, reference, version, submodules, lfs, .. } => {
                let words = [
                    url.to_string(),
                    reference.branch.clone().unwrap_or_default(),
                    version.clone().unwrap_or_default(),
                    submodules.to_string(),
                ];
                // Only where it is said: closures of earlier releases stand.
                words.into_iter().chain((!*lfs).then(|| "lfs=0".to_owned())).collect()
            }
        });
        self.list("request", words.unwrap_or_default());
    }

    fn image(&mut self, name: &str, image: &LockedImage) {
        let words = [name.to_owned(), image.request.image.to_string(), image.digest.to_string()];
        self.list("image", words.into_iter().chain(image.request.version.clone()));
        self.list("locked", image.locked.iter().flat_map(|(architecture, id)| [architecture.clone(), id.to_string()]));
    }

    fn locked(&mut self, name: &str, id: Option<&SourceId>) {
        self.list("source", [name.to_owned(), id.map(ToString::to_string).unwrap_or_default()]);
    }
}
