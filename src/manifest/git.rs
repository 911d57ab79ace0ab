//! Checks of git requests and URLs, shared by layers and sources.

use super::GitRequest;
use super::document::Diagnostics;
use super::raw::{At, RawText};
use crate::error::{Error, Result};
use crate::source::url::carries_user;
use crate::source::{CommitId, GitRef, SourceUrl};

/// The keys that select a commit of a repository.
#[derive(Debug)]
pub(super) struct GitKeys {
    pub(super) git: RawText,
    pub(super) branch: Option<RawText>,
    pub(super) tag: Option<RawText>,
    pub(super) rev: Option<RawText>,
}

/// How much of a commit is wanted; see [`GitRequest`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GitExtent {
    pub(super) submodules: bool,
    pub(super) history: bool,
    pub(super) lfs: bool,
}

impl GitKeys {
    /// The request that they make. `whose` names the block in messages.
    pub(super) fn check(&self, whose: &str, extent: GitExtent, diagnostics: &mut Diagnostics) -> Option<GitRequest> {
        let before = diagnostics.count();
        let url = diagnostics.take(git_url(&self.git));
        for (what, name) in [("branch", &self.branch), ("tag", &self.tag)] {
            if let Some(name) = name {
                diagnostics.take(check_ref(what, name));
            }
        }
        let rev = self.rev.as_ref().and_then(|rev| diagnostics.take(commit(rev)));
        if self.branch.is_none() && self.tag.is_none() && self.rev.is_none() {
            let fault = Error::input(format!("{whose} does not say which commit of the repository"));
            let label = "which branch, tag or commit of it?";
            diagnostics.add(fault.at(self.git.span.clone(), label).help("add `branch`, `tag` or `rev`"));
        }
        let plain = |text: &Option<RawText>| text.as_ref().map(|text| text.value.clone());
        let reference = GitRef { branch: plain(&self.branch), tag: plain(&self.tag), rev };
        let GitExtent { submodules, history, lfs } = extent;
        url.filter(|_| diagnostics.count() == before).map(|url| GitRequest { url, reference, submodules, history, lfs })
    }
}

/// The URL of a repository.
fn git_url(text: &RawText) -> Result<SourceUrl> {
    let url = source_url(text)?;
    let wrong = |why: &str| {
        let fault = Error::input("this is not the URL of a git repository").at(text.span.clone(), why.to_owned());
        Err(fault.help("give the URL that `git clone` takes"))
    };
    if !url.is_for_git() {
        return wrong(&format!("git does not speak {}", url.scheme()));
    }
    if url.as_url().query().is_some() || url.as_url().fragment().is_some() {
        return wrong("it has a query or a fragment");
    }
    if url.as_url().path().trim_matches('/').is_empty() {
        return wrong("it names a host, but no repository");
    }
    Ok(url)
}

/// The URL of a file.
pub(super) fn file_url(text: &RawText) -> Result<SourceUrl> {
    let url = source_url(text)?;
    if !["https", "http", "ftp", "file", "crate"].contains(&url.scheme()) {
        return Err(Error::input(format!("a file cannot be fetched over `{}:`", url.scheme()))
            .at(text.span.clone(), "only for git repositories")
            .help("for a git repository, write `git = …` and `branch`, `tag` or `rev`"));
    }
    Ok(url)
}

/// A URL that the manifest may have. BitBake gets it in `SRC_URI`, so it must not contain what BitBake takes apart
/// (`bb.fetch2.decodeurl`: parameters after `;`; `bb.data`: `${…}`). It must have no user name, which may be a token.
fn source_url(text: &RawText) -> Result<SourceUrl> {
    let at = |error: Error, label: &str| error.at(text.span.clone(), label);
    if text.contains(';') {
        let fault = at(Error::input("a URL contains `;`, after which BitBake reads parameters"), "here");
        return Err(
            fault.help("parameters are keys of their own: `branch`, `tag`, `rev`, `submodules`, `lfs`, `filename`")
        );
    }
    if text.contains(['{', '}', '"', '\'', '\\', '`', '<', '>', '|', '^']) {
        let fault = at(Error::input("a URL contains a character that is not allowed in URLs"), "here");
        return Err(fault.help("percent-encode it; `{version}` is filled in for sources that have a `version`"));
    }
    let help = "give a whole URL, such as `https://host/path`, without a password";
    let url: SourceUrl = text.parse().map_err(|error: Error| at(error, "this URL").help(help))?;
    if !url.is_declarable() {
        let fault =
            at(Error::input(format!("a declared source cannot be fetched over `{}:`", url.scheme())), "this URL");
        return Err(fault.help("write it in a recipe's SRC_URI: what recipes fetch is locked without a declaration"));
    }
    if carries_user(text) {
        let fault =
            at(Error::input("a URL contains a user name, which may be a token"), "it would be written to the lock");
        return Err(fault.help("remove it, and store it in ~/.netrc or git's credential helper"));
    }
    Ok(url)
}

/// A branch or tag that `git check-ref-format` accepts, without what BitBake takes apart in a URL (`;` and `,` in
/// `bb.fetch2.git`, `urldata_init`; `${…}`).
fn check_ref(what: &str, name: &RawText) -> Result<()> {
    let fault = |why: &str| {
        Err(Error::input(format!("`{}` cannot be the name of a {what}", name.escape_debug()))
            .at(name.span.clone(), why.to_owned()))
    };
    if name.starts_with("refs/") {
        return fault("a full name")
            .map_err(|error: Error| error.help("write it without `refs/heads/` or `refs/tags/`"));
    }
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if name.len() > 200 || **name == "@" || name.starts_with('-') || name.ends_with('.') || name.contains("..") {
        return fault("git refuses it");
    }
    if name.split('/').any(bad_part) || name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c)) {
        return fault("git refuses it");
    }
    if name.contains("@{") || name.contains([';', ',', '{', '}', '"', '\'', '$']) {
        return fault("it has a character with a special meaning for git or BitBake");
    }
    Ok(())
}

/// A commit pinned by hand.
fn commit(text: &RawText) -> Result<CommitId> {
    text.parse().map_err(|error: Error| {
        let short = text.len() < 40 && text.chars().all(|c| c.is_ascii_hexdigit());
        let label = if short { "an abbreviated commit, which may become ambiguous" } else { "not a commit" };
        error
            .at(text.span.clone(), label)
            .help("give all 40 digits (`git rev-parse` prints them); a tag or a branch has its own key")
    })
}

/// Fills `{version}` into a template.
pub(super) fn fill(template: &RawText, version: Option<&RawText>) -> Result<RawText> {
    let fault = |message: String, label: &str, help: &str| {
        Err(Error::input(message).at(template.span.clone(), label.to_owned()).help(help))
    };
    let filled = match version {
        Some(version) => template.replace("{version}", version),
        None if template.contains("{version}") => {
            return fault("a template uses a version".into(), "used here", "give the source a `version`");
        }
        None => template.value.clone(),
    };
    if filled.contains(['{', '}']) {
        let message = "a template contains braces that are not `{version}`".into();
        return fault(message, "here", "only `{version}` is filled in");
    }
    Ok(template.with(filled))
}

/// A version: it becomes part of URLs, file names and BitBake's PV.
pub(super) fn check_version(version: &RawText) -> Result<()> {
    let good = version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c));
    if good {
        return Ok(());
    }
    Err(Error::input(format!("`{}` cannot be a version", version.escape_debug()))
        .at(version.span.clone(), "this")
        .help("a version consists of letters, digits and `.` `_` `+` `~` `-`, and begins with a letter or digit"))
}

/// A boolean that is true by default.
pub(super) fn is_not_off(value: Option<&At<bool>>) -> bool {
    value.is_none_or(|value| value.value)
}

/// A boolean that is false by default.
pub(super) fn is_on(value: Option<&At<bool>>) -> bool {
    value.is_some_and(|value| value.value)
}
