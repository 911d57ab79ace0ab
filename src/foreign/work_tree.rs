//! What a checkout of git's is at: its remote, commit and branch, and whether it was edited.

use std::path::{Path, PathBuf};

use crate::error::Kind;
use crate::git;

/// A checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkTree {
    /// Its top directory.
    pub(super) top: PathBuf,
    pub(super) url: Option<String>,
    pub(super) commit: Option<String>,
    /// The branch of the remote that is followed, or the only one that has the commit.
    pub(super) branch: Option<String>,
    /// A tag of exactly this commit, where no branch is known.
    pub(super) tag: Option<String>,
    /// Whether a branch or tag of a remote has the commit.
    pub(super) published: bool,
    /// How many files were changed and not committed.
    pub(super) edited: usize,
}

/// Runs git in a directory that may belong to somebody else; `None` where it fails.
pub(super) fn ask(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = git::network_git();
    git::ends_with_kbuild(&mut command);
    command.args(["-c", "safe.directory=*", "-C"]).arg(directory).args(arguments);
    let said = git::run(&mut command, Kind::Io).ok()?;
    Some(String::from_utf8_lossy(&said).trim_end().to_owned())
}

/// The top of the repository that a directory is in; of the outermost one, where that is a submodule (kas: `Repo.get_root_path`).
pub(super) fn root(directory: &Path) -> Option<PathBuf> {
    let said = ask(directory, &["rev-parse", "--show-toplevel", "--show-superproject-working-tree"])?;
    said.lines().filter(|line| !line.is_empty()).min().map(PathBuf::from)
}

/// The checkout that a directory is in.
pub(super) fn find(directory: &Path) -> Option<WorkTree> {
    let top = PathBuf::from(ask(directory, &["rev-parse", "--show-toplevel"])?);
    let commit = ask(&top, &["rev-parse", "HEAD^{commit}"]);
    let upstream = ask(&top, &["rev-parse", "--abbrev-ref", "HEAD@{upstream}"]);
    let remote = remote_of(&top, upstream.as_deref());
    let url = remote.as_ref().and_then(|remote| ask(&top, &["config", "--get", &format!("remote.{remote}.url")]));
    let holders = commit.as_ref().map_or_else(Vec::new, |commit| {
        let refs = ["for-each-ref", "--format=%(refname)", "--contains", commit, "refs/remotes", "refs/tags"];
        ask(&top, &refs).unwrap_or_default().lines().map(str::to_owned).collect()
    });
    let prefix = format!("refs/remotes/{}/", remote.as_deref().unwrap_or("origin"));
    let branches: Vec<&str> =
        holders.iter().filter_map(|name| name.strip_prefix(&prefix)).filter(|name| *name != "HEAD").collect();
    let followed = upstream.as_ref().and_then(|name| name.split_once('/')).map(|(_, branch)| branch.to_owned());
    let followed = followed.filter(|branch| branches.contains(&branch.as_str()));
    let branch = followed.or_else(|| if let [only] = branches[..] { Some(only.to_owned()) } else { None });
    let tag = ask(&top, &["describe", "--exact-match", "--tags", "HEAD"]).filter(|_| branch.is_none());
    let status = ask(&top, &["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    let edited = status.lines().count();
    Some(WorkTree { published: !holders.is_empty(), top, url, commit, branch, tag, edited })
}

/// The remote: that of the branch, else `origin`, else the only one.
fn remote_of(top: &Path, upstream: Option<&str>) -> Option<String> {
    let all = ask(top, &["remote"]).unwrap_or_default();
    let all: Vec<&str> = all.lines().collect();
    let of_branch =
        upstream.and_then(|name| name.split_once('/')).map(|(remote, _)| remote).filter(|name| all.contains(name));
    let found = of_branch.or_else(|| all.iter().find(|name| **name == "origin").copied());
    found.or(if let [only] = all[..] { Some(only) } else { None }).map(str::to_owned)
}
