//! Tags that stand beside a commit in a recipe: BitBake unpacks no such repository unless the tag leads to the commit
//! (`bb.fetch2.git.Git.unpack`). A view would offer the tag at the locked commit in any case, so the upstreams are
//! asked.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::requests::RecipeGit;
use crate::error::{Error, Kind};
use crate::fetch::Fetcher;
use crate::files::MANIFEST;
use crate::lock::{Floating, Lock};
use crate::source::url::redact;
use crate::source::{CommitId, name};

/// The result of comparing a repository's tags.
#[derive(Debug, Default)]
pub(super) struct TagCheck {
    /// An error for each tag that leads elsewhere or is gone.
    pub(super) faults: Vec<Error>,
    /// Full names of the refs that no view may offer, because they lead elsewhere.
    pub(super) refused: BTreeSet<String>,
    /// Keys of [`Lock::moved_tags`]: what was accepted now or before.
    pub(super) accepted: BTreeSet<String>,
    /// Warnings about tags that no upstream could be asked for.
    pub(super) warnings: Vec<String>,
}

/// Compares the tags that recipes give beside this commit with the upstream, except those that the old lock knows.
/// `accept` takes those that moved all the same.
pub(super) async fn check(
    request: &RecipeGit,
    commit: &CommitId,
    old: &Lock,
    fetcher: &Fetcher,
    accept: bool,
) -> TagCheck {
    let mut check = TagCheck::default();
    let known = old.gits.get(&name::git_key(&request.url, commit));
    let mut asked = Vec::new();
    for tag in request.tags.iter().filter(|tag| !tag.starts_with("refs/")) {
        let full = format!("refs/tags/{tag}");
        let key = Floating::key(&request.url, &full);
        if old.moved_tags.get(&key) == Some(commit) {
            check.accepted.insert(key);
        } else if known.is_none_or(|git| git.tree.is_none() || !git.refs.contains(&full)) {
            asked.push((tag, full, key));
        }
    }
    let answers = join_all(asked.iter().map(|(tag, ..)| fetcher.moved_tag(&request.url, tag, commit)));
    for ((tag, full, key), answer) in asked.iter().zip(answers.await) {
        let what = match answer {
            Ok(None) => continue,
            Ok(Some(other)) => format!("leads to {other} now"),
            Err(error) if error.kind() == Kind::Input => "is not there any more".to_owned(),
            Err(error) => {
                let url = redact(request.url.as_str());
                check
                    .warnings
                    .push(format!("nobody could be asked whether the tag `{tag}` of {url} leads to {commit}: {error}"));
                continue;
            }
        };
        if accept {
            check.accepted.insert(key.clone());
            continue;
        }
        check.refused.insert(full.clone());
        check.faults.push(moved(request, tag, commit, &what));
    }
    check
}

fn moved(request: &RecipeGit, tag: &str, commit: &CommitId, what: &str) -> Error {
    let written: Vec<&str> = request.written.iter().map(String::as_str).collect();
    let message = format!("the tag `{tag}` of {} does not lead to the commit beside it", redact(request.url.as_str()));
    let why = format!("{}\nSRCREV is {commit}, and the tag {what}", written.join(", "));
    Error::new(Kind::Mismatch, message).because(why).help(format!(
        "somebody moved the tag: find out why, and correct SRCREV or the tag. `kbuild lock --keep-moved-tags`, or \
         `[closure] moved-tags` with the recipe's name in {MANIFEST}, takes the commit all the same, and the lock says so"
    ))
}
