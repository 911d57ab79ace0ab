//! Records of git commits: which packs hold them.
use super::*;

/// What the store knows of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRecord {
    /// The commit.
    pub commit: CommitId,
    /// Hash over its raw tree.
    pub tree: Blake3,
    /// Commits whose parents are left out (git's `shallow` file); empty when all history is there.
    pub shallow: Vec<CommitId>,
    /// The packs, each a blob with its index, another blob.
    pub packs: Vec<Pack>,
}

/// A pack and its index, as blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// git's name for it: `pack-<hex>`.
    pub name: String,
    /// The blob that is the `.pack`.
    pub pack: Blake3,
    /// The blob that is the `.idx`.
    pub index: Blake3,
}
