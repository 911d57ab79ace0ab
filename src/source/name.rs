//! The names under which BitBake's fetchers look for a source.
//!
//! These rules differ by release and are measured in the project's reference on fetch semantics. A closure that was
//! discovered through the engine carries the engine's own names; the rules here are for sources that only the manifest
//! declares. Where releases disagree, every name is given and the view offers them all.

use crate::error::{Error, Result};
use crate::source::{CommitId, Package, SourceUrl};

/// The name of a file in DL_DIR and in a flat mirror: the basename of the percent-decoded path (`bb.fetch2.wget`,
/// `urldata_init`, since BitBake 2.10 without query and fragment); of a crate its name and version (`bb.fetch2.crate`).
///
/// # Errors
/// When nothing usable is left: the manifest then has to give `filename`.
pub fn file_name(url: &SourceUrl) -> Result<String> {
    let name = if let Some(Package::Crate { name, version, .. }) = Package::of(url)? {
        format!("{name}-{version}.crate")
    } else {
        let path = percent_decode(url.as_url().path());
        path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
    };
    check_component(&name).map_err(|error| {
        error.help("give the source a `filename`").wrap(format!("no file name can be taken from {url}"))
    })?;
    Ok(name)
}

/// Other names under which an older BitBake looks for the same file: 2.8 (scarthgap) keeps query and fragment.
pub fn older_file_names(url: &SourceUrl) -> Vec<String> {
    let parsed = url.as_url();
    if parsed.query().is_none() && parsed.fragment().is_none() {
        return Vec::new();
    }
    let Ok(mut name) = file_name(url) else { return Vec::new() };
    if let Some(query) = parsed.query() {
        name = format!("{name}?{}", percent_decode(query));
    }
    if let Some(fragment) = parsed.fragment() {
        name = format!("{name}#{}", percent_decode(fragment));
    }
    // A query may hold slashes; the basename rule then bites again.
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    check_component(&name).map(|()| vec![name]).unwrap_or_default()
}

/// The name of the bare clone in GITDIR, the `<S>` of `git2_<S>.tar.gz` (`bb.fetch2.git`, `urldata_init`): host and path,
/// `/` `*` and `:` as dots, space and parentheses as underscores, no leading dot. Host in lower case, as since BitBake 2.10;
/// the URL parser has lowered it already, and with it the one name 2.8 gives a lower-case host.
pub fn clone_name(url: &SourceUrl) -> String {
    let path = percent_decode(url.as_url().path());
    let spelled: String = format!("{}{path}", url.host().replace(':', "."))
        .chars()
        .map(|c| match c {
            '/' | '*' => '.',
            ' ' | '(' | ')' => '_',
            other => other,
        })
        .collect();
    spelled.trim_start_matches('.').trim_end_matches('.').to_owned()
}

/// The same clone's name under the other spelling of its URL: `x.git` for `x` and `x` for `x.git`. Hosts take both, and a
/// recipe may write the one where the manifest has the other, but BitBake makes two names of them.
pub fn other_clone_name(name: &str) -> String {
    name.strip_suffix(".git").map_or_else(|| format!("{name}.git"), str::to_owned)
}

/// The key of a git commit in the lock.
pub fn git_key(url: &SourceUrl, commit: &CommitId) -> String {
    format!("{}@{}", clone_name(url), commit.short())
}

/// Refuses what must never become one component of a path.
///
/// # Errors
/// When the name is empty, too long for a file system, hidden behind a dot or dash, or holds a separator or control character.
pub fn check_component(name: &str) -> Result<()> {
    let bad = name.is_empty()
        || name.len() > 255
        || name == "."
        || name == ".."
        || name.starts_with('-')
        || name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    if bad { Err(Error::input(format!("`{}` cannot be a file name", name.escape_default()))) } else { Ok(()) }
}

/// Checks the full name of a branch or tag, whoever gives it: a lock, a recipe, a server. What git itself would make, which
/// is no name that begins with a dash (`git check-ref-format --branch`); it may then be written into a view.
///
/// # Errors
/// Kind `Input`.
pub fn check_ref(name: &str) -> Result<()> {
    let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    if short.is_some_and(|short| !short.starts_with('-')) && git2::Reference::is_valid_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` is no branch or tag", name.escape_debug())))
}

/// Percent-decoding as Python's `urllib.parse.unquote`: sequences that are no UTF-8 become replacement characters.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(hex_pair);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap()
    }

    #[test]
    fn file_names_follow_the_measured_table() {
        for (from, name) in [
            ("https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.18.35.tar.xz", "linux-6.18.35.tar.xz"),
            ("https://h/a%2Bb.tgz", "a+b.tgz"),
            ("https://h/get.php?f=a", "get.php"),
            ("https://h/x.tar.gz#frag", "x.tar.gz"),
            ("crate://crates.io/serde/1.0.219", "serde-1.0.219.crate"),
            ("crate://registry.corp/api/x/0.1.0+b;protocol=http", "x-0.1.0+b.crate"),
        ] {
            assert_eq!(file_name(&url(from)).unwrap(), name);
        }
        assert_eq!(older_file_names(&url("https://h/get.php?f=a")), ["get.php?f=a"]);
        assert!(file_name(&url("https://h/")).is_err());
        assert!(file_name(&url("https://h/%2e%2e")).is_err());
    }

    #[test]
    fn clone_names_follow_the_measured_table() {
        for (from, name) in [
            ("https://git.openembedded.org/bitbake", "git.openembedded.org.bitbake"),
            ("https://GitHub.com/Kata/x.git", "github.com.Kata.x.git"),
            ("ssh://git@h:2222/p/q.git", "h.2222.p.q.git"),
            ("file:///srv/a%20b.git", "srv.a_b.git"),
        ] {
            assert_eq!(clone_name(&url(from)), name);
        }
    }

    #[test]
    fn no_name_can_leave_its_directory() {
        for name in ["", ".", "..", "a/b", "a\\b", "-rf", "a\nb", "a\0b"] {
            assert!(check_component(name).is_err(), "{name:?}");
        }
        assert!(check_component(&"x".repeat(256)).is_err());
        check_component("git2_h.p.tar.gz").unwrap();
    }

    #[test]
    fn refs_are_full_names_and_nothing_else() {
        for name in ["refs/heads/main", "refs/tags/v1.0", "refs/heads/a/b-c", "refs/heads/a/-b"] {
            check_ref(name).unwrap();
        }
        for name in [
            "main",
            "-x",
            "refs/heads/-x",
            "refs/heads/a..b",
            "refs/heads/",
            "HEAD",
            "refs/heads/a b",
            "refs/heads/*",
            "refs/pull/1/head",
        ] {
            assert!(check_ref(name).is_err(), "{name}");
        }
    }
}
