//! The text of a file that a manifest includes from a layer.

use std::collections::BTreeMap;

use super::CommitId;

/// A file of a layer, as its commit has it. The lock keeps the text, so that a manifest can be read without store and network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedText {
    /// The commit of the layer.
    pub commit: CommitId,
    /// The whole file.
    pub text: String,
}

/// Files of layers that a manifest includes, by [`include_key`].
pub type IncludedTexts = BTreeMap<String, IncludedText>;

/// The key of a layer's file: `meta-x:kbuild/x.toml`. No name of a layer has a colon.
pub fn include_key(layer: &str, file: &str) -> String {
    format!("{layer}:{file}")
}
