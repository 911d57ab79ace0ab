//! The engine's report on what a board's targets fetch: the closure as BitBake has it, before anything is pinned.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::source::CommitId;

/// The closure of one configuration (board, options, build host).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryReport {
    /// Every recipe in the task graph of the targets, sorted by name.
    pub recipes: Vec<Recipe>,
    /// Every SRCREV of every recipe of every layer that names no commit, in the closure or not.
    pub floating: Vec<FloatingSrcrev>,
    /// Files that are fetched outside of SRC_URI: uninative.
    pub extra: Vec<Fetch>,
    /// What was switched off because it cannot be locked, and other notes for people; each a sentence.
    pub notes: Vec<String>,
    /// Where Go modules come from, as BitBake has it (GO_MOD_PROXY or its default), if any recipe takes one; with
    /// scheme.
    pub go_proxy: Option<String>,
}

/// A recipe in the task graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// PN; with `mc:NAME:` in front where it belongs to a multiconfig.
    pub name: String,
    /// PV.
    pub version: String,
    /// LICENSE.
    pub license: String,
    /// The collection name of the layer that holds the file (FILE_LAYERNAME).
    pub layer: String,
    /// The recipe's file inside its layer.
    pub file: String,
    /// The recipe that needs it on a shortest way from a target; `None` for a target.
    pub wanted_by: Option<String>,
    /// What its do_fetch fetches, without `file://` from layers.
    pub fetches: Vec<Fetch>,
    /// Entries that cannot be locked.
    pub problems: Vec<Problem>,
    /// The files of layers that it was read from, absolute.
    #[serde(default)]
    pub read: Vec<String>,
    /// Of a recipe that was asked by itself: whether it makes the same task graph as in the closure that is known.
    #[serde(default)]
    pub same_graph: bool,
}

/// One remote entry of SRC_URI, as the fetcher expands it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The fetcher: `https`, `git`, `gitsm`, `crate`, `gomod`, `svn`, ...: the scheme as the recipe writes it.
    pub kind: String,
    /// The entry as the recipe writes it, expanded, with parameters.
    pub written: String,
    /// The URL that BitBake would ask first (`ud.url`), without parameters.
    pub url: String,
    /// The name in a flat mirror: a file's own, or of the tarball that stands for a repository (`hg_…`, `svn`'s).
    pub file: Option<String>,
    /// The path below DL_DIR, where it is not that name.
    pub local: Option<String>,
    /// Checksums of the recipe by algorithm (`sha256`, `md5`, ...).
    pub sums: BTreeMap<String, String>,
    /// For git: what is cloned.
    pub git: Option<GitFetch>,
    /// Where the entry is written, if it is one of a recipe.
    #[serde(default)]
    pub place: Option<SourceLine>,
    /// The flag of SRC_URI that should give its checksum and is not set: BitBake refuses the file (BB_STRICT_CHECKSUM).
    #[serde(default)]
    pub unchecked: Option<String>,
}

/// A line of a recipe or of what it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceLine {
    /// The file, relative to its layer if it is in one.
    pub file: String,
    /// The line, counted from 1, where it could be found.
    pub line: Option<u32>,
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A git entry of SRC_URI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitFetch {
    /// The URL for git itself: protocol as scheme, no parameters.
    pub url: String,
    /// The commit; `None` where it floats and a [`FloatingSrcrev`] says of what.
    pub commit: Option<String>,
    /// The SRCREV variable that names the commit: `SRCREV` or `SRCREV_<name>`.
    pub variable: String,
    /// `branch=`, unless `nobranch=1`.
    pub branch: Option<String>,
    /// `tag=`.
    pub tag: Option<String>,
    /// The name of the clone in GITDIR (the last part of `ud.clonedir`); see [`GitFetch::clone_at`].
    pub clone: String,
    /// Whether submodules come along (`gitsm`).
    pub submodules: bool,
    /// Whether objects of Git LFS come along: all but where SRC_URI says `lfs=0`.
    pub lfs: bool,
}

impl GitFetch {
    /// The name of the clone once the commit is known: with `rebaseable=1` the name holds it, and was found without.
    pub fn clone_at(&self, commit: &CommitId) -> String {
        match self.commit {
            Some(_) => self.clone.clone(),
            None => self.clone.replace(NO_COMMIT, &commit.to_string()),
        }
    }
}

/// The value that kbuild's class gives BitBake in place of the newest commit.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// A SRCREV that names no commit: AUTOREV, a tag or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FloatingSrcrev {
    /// PN; with `mc:NAME:` in front where it belongs to a multiconfig.
    pub recipe: String,
    /// `SRCREV` or `SRCREV_<name>`.
    pub variable: String,
    /// The repository, as in [`GitFetch::url`].
    pub url: String,
    /// `branch=`.
    pub branch: Option<String>,
    /// `tag=`, or what SRCREV names instead of a commit: a tag's or branch's name, or a ref's full one. It decides
    /// where a branch is given too.
    pub tag: Option<String>,
    /// The recipe's file inside its layer, and the layer.
    pub file: String,
    /// The collection name of the layer.
    pub layer: String,
}

/// Something that cannot be locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The entry of SRC_URI.
    pub written: String,
    /// The file that holds it (relative to its layer if it is in one) and the line, counted from 1, where it could be
    /// found.
    pub file: String,
    /// See `file`.
    pub line: Option<u32>,
    /// Why not, in a few words.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_that_is_named_after_its_commit_gets_its_name_when_that_is_known() {
        let commit: CommitId = "337b6002681479fb6a605ca8a7a1138e81b6098c".parse().unwrap();
        let floating = GitFetch { clone: format!("h.x.git_{NO_COMMIT}"), ..GitFetch::default() };
        assert_eq!(floating.clone_at(&commit), "h.x.git_337b6002681479fb6a605ca8a7a1138e81b6098c");
        let fixed = GitFetch { commit: Some(commit.to_string()), ..floating };
        assert_eq!(fixed.clone_at(&commit), fixed.clone);
    }
}
