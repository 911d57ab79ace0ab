//! The names under which BitBake's fetchers look for a source.
//!
//! These rules differ between releases of BitBake, and were measured on each. A closure that was found through the
//! engine has the engine's own names; the rules here are for sources that only the manifest
//! declares. If releases disagree, all names are given, and the view has all of them.

use crate::error::{Error, Result};
use crate::source::{CommitId, Package, SourceUrl};

/// The name of a file in DL_DIR and in a flat mirror: the basename of the percent-decoded path (`bb.fetch2.wget`,
/// `urldata_init`, since BitBake 2.10 without query and fragment); of a crate its name and version (`bb.fetch2.crate`).
///
/// No usable name is left: the manifest must then set `filename`. When nothing usable is left: the manifest then has to
/// give `filename`.
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
    // A query may contain slashes; then the basename rule applies to it.
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    check_component(&name).map(|()| vec![name]).unwrap_or_default()
}

/// The name of the bare clone in GITDIR, the `<S>` of `git2_<S>.tar.gz` (`bb.fetch2.git`, `urldata_init`): host and path,
/// `/` `*` and `:` as dots, space and parentheses as underscores, no leading dot. The host is in lower case, as since
/// BitBake 2.10; the URL parser has done that already. The name that 2.8 gives a host with capitals is not given.
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

/// The clone's name under the other spelling of its URL: `x.git` for `x`, and `x` for `x.git`. Hosts accept both. A recipe
/// may write one spelling and the manifest the other, and BitBake has a clone name for each.
pub fn other_clone_name(name: &str) -> String {
    name.strip_suffix(".git").map_or_else(|| format!("{name}.git"), str::to_owned)
}

/// What is between the settings in the name of a closure of several choices together (`boot=rootfs,ceph`); no name of an option or
/// a choice has it.
pub const TOGETHER: &str = ",";

/// The key of a git commit in the lock.
pub fn git_key(url: &SourceUrl, commit: &CommitId) -> String {
    format!("{}@{}", clone_name(url), commit.short())
}

/// Refuses a name that is not safe as one component of a path.
///
/// # Errors
/// The name is empty, too long, begins with a dot or dash, or contains a separator or control character.
pub fn check_component(name: &str) -> Result<()> {
    let bad = name.is_empty()
        || name.len() > 255
        || name == "."
        || name == ".."
        || name.starts_with('-')
        || name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    if bad { Err(Error::input(format!("`{}` cannot be a file name", name.escape_default()))) } else { Ok(()) }
}

/// Checks the full name of a branch or tag, from a lock, a recipe or a server. It must be a name that git itself accepts,
/// and not begin with a dash (`git check-ref-format --branch`); it is then safe to write into a view.
///
/// # Errors
/// The name is not valid: kind `Input`.
pub fn check_ref(name: &str) -> Result<()> {
    let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    if short.is_some_and(|short| !short.starts_with('-')) && git2::Reference::is_valid_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` is not a branch or tag", name.escape_debug())))
}

/// Percent-decoding as Python's `urllib.parse.unquote`: sequences that are not UTF-8 become replacement characters.
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
