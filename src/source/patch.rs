//! A patch of a layer: where it comes from, and which bytes it has.

use std::fmt;

use super::name;
use super::{Blake3, Sha256, SourceId, SourceUrl};
use crate::error::Result;

/// A patch that a layer is laid out with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPatch {
    /// Where it comes from.
    pub origin: PatchOrigin,
    /// How many leading directories of the names in it are left out: `-p` of git-apply(1) and of a quilt series.
    pub strip: u32,
    /// The hash of its bytes; `None` of a remote one, whose SHA-256 says it, and in a manifest of one of a git layer.
    pub blake3: Option<Blake3>,
}

/// Where a patch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchOrigin {
    /// A file of the project, relative to the manifest.
    Project {
        /// Its path.
        file: String,
    },
    /// A file of another layer.
    Layer {
        /// The layer's name.
        layer: String,
        /// The path in it.
        file: String,
    },
    /// A file that is fetched.
    Remote {
        /// Where from.
        url: SourceUrl,
        /// Its hash.
        sha256: Sha256,
        /// The source that it is. Its key has the hash in front, so that no recipe's file has the same name.
        source: SourceId,
    },
}

impl PatchOrigin {
    /// A file that is fetched.
    ///
    /// # Errors
    /// No name can be taken from the URL.
    pub fn remote(url: SourceUrl, sha256: Sha256) -> Result<PatchOrigin> {
        let name = name::file_name(&url)?;
        let source = SourceId::File(format!("{}-{name}", &sha256.to_string()[..12]));
        Ok(PatchOrigin::Remote { url, sha256, source })
    }
}

impl LayerPatch {
    /// Whether a locked patch is what this one, of a manifest, asks for.
    pub fn is_locked_as(&self, locked: &LayerPatch) -> bool {
        let same_bytes = self.blake3.is_none() || self.blake3 == locked.blake3;
        self.origin == locked.origin && self.strip == locked.strip && same_bytes
    }

    /// What tells it from others: the hash of its bytes, and how they are read. Empty where it is not locked.
    pub fn identity(&self) -> String {
        let hash = match (&self.origin, self.blake3) {
            (PatchOrigin::Remote { sha256, .. }, _) => sha256.to_string(),
            (_, Some(blake3)) => blake3.to_string(),
            (_, None) => return String::new(),
        };
        format!("{hash} -p{}", self.strip)
    }

    /// The source that a remote patch is.
    pub fn source(&self) -> Option<&SourceId> {
        match &self.origin {
            PatchOrigin::Remote { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for LayerPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            PatchOrigin::Project { file } => f.write_str(file),
            PatchOrigin::Layer { layer, file } => write!(f, "{file} of {layer}"),
            PatchOrigin::Remote { url, .. } => write!(f, "{url}"),
        }
    }
}
