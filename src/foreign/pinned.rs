//! A text that says which commit of a repository, without saying whether it is a branch, a tag or a commit.

use std::sync::LazyLock;

use regex::Regex;

use super::found::{FilePlace, Notes};
use crate::error::Kind;
use crate::git;

/// Branches by their name: those of every repository, and the releases of the Yocto Project.
const BRANCHES: [&str; 24] = [
    "master",
    "main",
    "develop",
    "master-next",
    "rocko",
    "sumo",
    "thud",
    "warrior",
    "zeus",
    "dunfell",
    "gatesgarth",
    "hardknott",
    "honister",
    "kirkstone",
    "langdale",
    "mickledore",
    "nanbield",
    "scarthgap",
    "styhead",
    "walnascar",
    "whinlatter",
    "wrynose",
    "pyro",
    "morty",
];

/// What is a tag rather than a branch: a version of three parts, `v` and a number, the releases of the Yocto Project.
static LIKE_A_TAG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^v\d|\d+\.\d+\.\d+|^yocto-\d|^uninative-\d").expect("a constant expression compiles")
});

/// Which commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FoundRef {
    pub(super) branch: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) rev: Option<String>,
}

/// Whether this is a whole commit id.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// Finds out what a text is: by its form, else by asking the repository.
pub(super) fn sort(text: &str, url: &str, offline: bool, place: &FilePlace, notes: &mut Notes) -> FoundRef {
    let branch = |name: &str| FoundRef { branch: Some(name.to_owned()), ..FoundRef::default() };
    let tag = |name: &str| FoundRef { tag: Some(name.to_owned()), ..FoundRef::default() };
    if is_commit(text) {
        return FoundRef { rev: Some(text.to_lowercase()), ..FoundRef::default() };
    }
    let prefix = |prefixes: &[&str]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).map(str::to_owned);
    if let Some(name) = prefix(&["refs/heads/", "heads/", "refs/remotes/origin/", "remotes/origin/", "origin/"]) {
        return branch(&name);
    }
    if let Some(name) = prefix(&["refs/tags/", "tags/"]) {
        return tag(&name);
    }
    if BRANCHES.contains(&text) {
        return branch(text);
    }
    let asked = if offline { None } else { ask(text, url) };
    let is_tag = asked.unwrap_or_else(|| {
        let guessed = LIKE_A_TAG.is_match(text);
        let kind = if guessed { "tag" } else { "branch" };
        notes.left_out(
            place,
            format!("what `{text}` of {url} is"),
            format!("taken for a {kind}: the repository was not asked"),
        );
        guessed
    });
    if is_tag { tag(text) } else { branch(text) }
}

/// Whether the repository has a tag of this name, and no branch; `None` where it has neither or cannot be asked.
fn ask(name: &str, url: &str) -> Option<bool> {
    let mut command = git::network_git();
    git::ends_with_kbuild(&mut command);
    command.args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30", "ls-remote", "--end-of-options", url]);
    command.args([format!("refs/heads/{name}"), format!("refs/tags/{name}")]);
    let said = git::run(&mut command, Kind::Network).ok()?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let has = |full: String| said.lines().any(|line| line.ends_with(&full));
    match (has(format!("\trefs/heads/{name}")), has(format!("\trefs/tags/{name}"))) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_known_by_its_form() {
        let place = FilePlace::default();
        let mut notes = Notes::default();
        let mut sorted = |text: &str| {
            let found = sort(text, "https://h/x", true, &place, &mut notes);
            format!(
                "{}|{}|{}",
                found.branch.unwrap_or_default(),
                found.tag.unwrap_or_default(),
                found.rev.unwrap_or_default()
            )
        };
        assert_eq!(sorted("refs/tags/v1"), "|v1|");
        assert_eq!(sorted("origin/x"), "x||");
        assert_eq!(sorted(&"A".repeat(40)), format!("||{}", "a".repeat(40)));
        assert_eq!(sorted("scarthgap"), "scarthgap||");
        assert_eq!(notes.left_out.len(), 0);
        let mut sorted = |text: &str| sort(text, "https://h/x", true, &place, &mut notes).tag.is_some();
        assert!(
            sorted("yocto-5.0") && sorted("v1.2") && sorted("kirkstone-4.0.1") && !sorted("2.8") && !sorted("own-next")
        );
        assert_eq!(notes.left_out.len(), 5);
    }
}
