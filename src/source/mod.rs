//! What a source is: its identity, its hashes, its URL, and its names in BitBake.
//!
//! The lowest room: plain values and pure functions, no file system, no network. What may enter here is true of a source
//! wherever it is.

mod checksum;
mod forge;
pub mod hash;
pub mod image;
pub mod include;
mod lfs;
pub mod name;
mod name_list;
mod package;
mod patch;
mod remote;
pub mod signer;
pub mod url;

pub use checksum::{Algorithm, Checksum, Sums};
pub use hash::{Blake3, CommitId, Digests, Hasher, Sha256};
pub use image::ImageName;
pub use lfs::{LfsPointer, POINTER_LIMIT};
pub use name_list::NameList;
pub use package::Package;
pub use patch::{LayerPatch, PatchOrigin};
pub use remote::{RemoteUrl, Service};
pub use signer::{Keyring, Signers};
pub use url::{Access, SourceUrl};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The id of a source in a lock: `file:<key>`, `git:<key>` or `lfs:<key>`, with the key of the lock's `[file]`, `[git]` or
/// `[lfs]` block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceId {
    /// A file; its key is the name that BitBake looks for.
    File(String),
    /// A git commit; its key is `<clone name>@<first 12 digits of the commit>`.
    Git(String),
    /// An object of Git LFS; its key is the object's id, which is its SHA-256.
    Lfs(String),
}

impl SourceId {
    /// The key of the block in the lock.
    pub fn key(&self) -> &str {
        match self {
            SourceId::File(key) | SourceId::Git(key) | SourceId::Lfs(key) => key,
        }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceId::File(key) => write!(f, "file:{key}"),
            SourceId::Git(key) => write!(f, "git:{key}"),
            SourceId::Lfs(key) => write!(f, "lfs:{key}"),
        }
    }
}

impl FromStr for SourceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("file", key)) if !key.is_empty() => Ok(SourceId::File(key.to_owned())),
            Some(("git", key)) if !key.is_empty() => Ok(SourceId::Git(key.to_owned())),
            Some(("lfs", key)) if !key.is_empty() => Ok(SourceId::Lfs(key.to_owned())),
            _ => {
                let ids = "file:NAME, git:NAME@COMMIT or lfs:OID";
                Err(Error::input(format!("`{text}` is not the id of a source ({ids})")))
            }
        }
    }
}

impl Serialize for SourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The commit of a git repository that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitRef {
    /// The branch that contains the commit: BitBake's `branch=`.
    pub branch: Option<String>,
    pub tag: Option<String>,
    /// The commit, if it is pinned by hand.
    pub rev: Option<CommitId>,
}

impl GitRef {
    /// The full names of the refs that were asked for, branch first: a view must have them.
    pub fn full_names(&self) -> Vec<String> {
        let branch = self.branch.iter().map(|branch| format!("refs/heads/{branch}"));
        let tag = self.tag.iter().map(|tag| format!("refs/tags/{tag}"));
        branch.chain(tag).collect()
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GitRef { rev: Some(rev), .. } => write!(f, "commit {}", rev.short()),
            GitRef { tag: Some(tag), .. } => write!(f, "tag {tag}"),
            GitRef { branch: Some(branch), .. } => write!(f, "branch {branch}"),
            _ => f.write_str("the default branch"),
        }
    }
}
