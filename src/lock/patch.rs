//! The patches of a layer in the text of the lock: a line each, in their order.

use std::fmt::{self, Formatter};

use serde::Deserialize;

use super::text::quoted;
use crate::error::{Error, Result};
use crate::source::{Blake3, LayerPatch, PatchOrigin, Sha256, SourceUrl};

/// What `-p` is where the lock does not say it.
const STRIP: u32 = 1;

/// Writes the list; nothing where it is empty.
pub(super) fn write(f: &mut Formatter<'_>, patches: &[LayerPatch]) -> fmt::Result {
    if patches.is_empty() {
        return Ok(());
    }
    writeln!(f, "patches = [")?;
    patches.iter().try_for_each(|patch| writeln!(f, "    {{ {} }},", pairs(patch).join(", ")))?;
    writeln!(f, "]")
}

fn pairs(patch: &LayerPatch) -> Vec<String> {
    let pair = |key: &str, value: &str| format!("{key} = {}", quoted(value));
    let mut pairs = match &patch.origin {
        PatchOrigin::Project { file } => vec![pair("file", file)],
        PatchOrigin::Layer { layer, file } => vec![pair("layer", layer), pair("file", file)],
        PatchOrigin::Remote { url, sha256, .. } => vec![pair("url", url.as_str()), pair("sha256", &sha256.to_string())],
    };
    pairs.extend(patch.blake3.map(|blake3| pair("blake3", &blake3.to_string())));
    pairs.extend((patch.strip != STRIP).then(|| format!("strip = {}", patch.strip)));
    pairs
}

/// A patch as it is read.
#[derive(Deserialize)]
pub(super) struct PatchBlock {
    layer: Option<String>,
    file: Option<String>,
    url: Option<SourceUrl>,
    sha256: Option<Sha256>,
    blake3: Option<Blake3>,
    strip: Option<u32>,
}

impl PatchBlock {
    pub(super) fn check(self, layer: &str) -> Result<LayerPatch> {
        let origin = match (self.layer, self.file, self.url, self.sha256, self.blake3) {
            (None, Some(file), None, None, Some(_)) => PatchOrigin::Project { file },
            (Some(layer), Some(file), None, None, Some(_)) => PatchOrigin::Layer { layer, file },
            (None, None, Some(url), Some(sha256), None) => PatchOrigin::remote(url, sha256)?,
            _ => {
                return Err(Error::input(format!(
                    "a patch of the layer `{layer}` does not say where it is and its hash"
                )));
            }
        };
        if let PatchOrigin::Project { file } | PatchOrigin::Layer { file, .. } = &origin
            && file.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(Error::input(format!("a patch of the layer `{layer}` leads out of the project or its layer")));
        }
        Ok(LayerPatch { origin, strip: self.strip.unwrap_or(STRIP), blake3: self.blake3 })
    }
}
