//! The language of mirror rules: what may stand in a replacement, and what it becomes for one source.
//!
//! The rules of users (`[[mirrors.rule]]`, `--mirror`) and those of the lists in `mirrors/` are written in it.

use std::sync::LazyLock;

use blake2::{Blake2b512, Digest as _};
use data_encoding::{BitOrder, Encoding, Specification};
use regex::{Captures, Regex};

use crate::error::{Error, Result};
use crate::source::url::redact;
use crate::source::{CommitId, Sha256};

/// The placeholders, as messages list them.
const PLACEHOLDERS: &str = "`{name}`, `{name:package}`, `{name:blake2b:2}`, `{sha256}`, `{sha256:nix32}`, `{sha512}` and \
                            `{commit}`";

/// Digits of a BLAKE2b hash in hexadecimal.
const BLAKE2B_DIGITS: usize = 128;

/// What is known of a source. A replacement that needs something else is left out for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fill<'a> {
    /// The name of a file.
    pub name: Option<&'a str>,
    /// The hash of a file.
    pub sha256: Option<&'a Sha256>,
    /// The same, in hexadecimal digits. A lock does not have it: it is known while a recipe that gives it is locked.
    pub sha512: Option<&'a str>,
    /// A commit of a repository.
    pub commit: Option<&'a CommitId>,
}

/// A replacement of a mirror rule, taken apart once.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    pieces: Vec<TemplatePiece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePiece {
    Literal(String),
    /// `$1`, `${1}`
    Group(usize),
    /// `${name}`
    Named(String),
    /// `{name}`
    FileName,
    /// `{name:package}`
    Package,
    /// `{name:blake2b:2}`
    NameHash(usize),
    /// `{sha256}`
    Sha256,
    /// `{sha256:nix32}`
    Sha256Nix32,
    /// `{sha512}`
    Sha512,
    /// `{commit}`
    Commit,
}

impl Template {
    /// Reads a replacement; `pattern` is the expression whose groups it may use.
    ///
    /// # Errors
    /// An unknown placeholder, or a group that the expression does not have: kind `Input`.
    pub fn new(text: &str, pattern: &Regex) -> Result<Template> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                literal.push('$');
                rest = after;
                continue;
            }
            let (piece, after) = special(text, rest)?;
            check_group(text, &piece, pattern)?;
            if !literal.is_empty() {
                pieces.push(TemplatePiece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(TemplatePiece::Literal(literal));
        }
        Ok(Template { text: text.to_owned(), pieces })
    }

    /// The replacement as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The replacement for a source whose URL the expression matched so; `None` if it needs what is not known.
    pub fn expand(&self, captures: &Captures<'_>, fill: Fill<'_>) -> Option<String> {
        self.render(fill, |group| {
            let found = match group {
                TemplatePiece::Group(number) => captures.get(*number),
                TemplatePiece::Named(name) => captures.name(name),
                _ => None,
            };
            found.map_or("", |group| group.as_str())
        })
    }

    /// The replacement with this text in every group, and a sample of everything else.
    pub(super) fn sample(&self, group: &str) -> String {
        let (sha256, commit) = (Sha256::from([0; 32]), CommitId::from([0; 20]));
        let sha512 = "0".repeat(128);
        let fill = Fill { name: Some("name-1"), sha256: Some(&sha256), sha512: Some(&sha512), commit: Some(&commit) };
        self.render(fill, |_| group).unwrap_or_default()
    }

    /// Whether whoever is asked by it learns more than a hash: a part of a name or of a URL.
    pub fn tells_names(&self) -> bool {
        use TemplatePiece::{Commit, Literal, Sha256, Sha256Nix32, Sha512};
        let is_hash = |piece: &TemplatePiece| matches!(piece, Literal(_) | Sha256 | Sha256Nix32 | Sha512 | Commit);
        !self.pieces.iter().all(is_hash)
    }

    fn render<'g>(&self, fill: Fill<'_>, group: impl Fn(&TemplatePiece) -> &'g str) -> Option<String> {
        let mut text = String::new();
        // A bare path is escaped as a whole when it becomes a URL.
        let component = |name: &str| if self.text.starts_with('/') { name.to_owned() } else { escape(name) };
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Literal(literal) => text.push_str(literal),
                TemplatePiece::Group(_) | TemplatePiece::Named(_) => text.push_str(group(piece)),
                TemplatePiece::FileName => text.push_str(&component(fill.name?)),
                TemplatePiece::Package => text.push_str(&component(package(fill.name?)?)),
                TemplatePiece::NameHash(digits) => text.push_str(&name_hash(fill.name?)[..*digits]),
                TemplatePiece::Sha256 => text.push_str(&fill.sha256?.to_string()),
                TemplatePiece::Sha256Nix32 => text.push_str(&nix32(fill.sha256?.as_bytes())),
                TemplatePiece::Sha512 => text.push_str(fill.sha512?),
                TemplatePiece::Commit => text.push_str(&fill.commit?.to_string()),
            }
        }
        Some(text)
    }
}

/// The piece that begins with the `$`, `{` or `}` at the front of `rest`, and what follows it. Groups are written as in
/// `regex::Captures::expand`.
fn special<'t>(text: &str, rest: &'t str) -> Result<(TemplatePiece, &'t str)> {
    let group = |name: &str| name.parse().map_or_else(|_| TemplatePiece::Named(name.to_owned()), TemplatePiece::Group);
    if let Some(tail) = rest.strip_prefix("${") {
        let (name, after) = tail.split_once('}').ok_or_else(|| unknown(text, "`${` without `}`"))?;
        Ok((group(name), after))
    } else if let Some(tail) = rest.strip_prefix('$') {
        let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
        Ok((group(&tail[..end]), &tail[end..]))
    } else if let Some(tail) = rest.strip_prefix('{') {
        let (name, after) = tail.split_once('}').ok_or_else(|| unknown(text, "`{` without `}`"))?;
        let piece = placeholder(name);
        Ok((piece.ok_or_else(|| unknown(text, &format!("`{{{}}}`", name.escape_debug())))?, after))
    } else {
        Err(unknown(text, "`}` without `{`"))
    }
}

fn placeholder(name: &str) -> Option<TemplatePiece> {
    Some(match name {
        "name" => TemplatePiece::FileName,
        "name:package" => TemplatePiece::Package,
        "sha256" => TemplatePiece::Sha256,
        "sha256:nix32" => TemplatePiece::Sha256Nix32,
        "sha512" => TemplatePiece::Sha512,
        "commit" => TemplatePiece::Commit,
        _ => {
            let digits = name.strip_prefix("name:blake2b:")?.parse().ok()?;
            (1..=BLAKE2B_DIGITS).contains(&digits).then_some(TemplatePiece::NameHash(digits))?
        }
    })
}

fn unknown(text: &str, what: &str) -> Error {
    Error::input(format!("the replacement `{}` contains {what}", redact(text).escape_debug())).help(format!(
        "`$1` and `${{name}}` are groups of `match`, `$$` is a dollar; of the source itself there are {PLACEHOLDERS}"
    ))
}

fn check_group(text: &str, piece: &TemplatePiece, pattern: &Regex) -> Result<()> {
    let (known, name) = match piece {
        TemplatePiece::Group(number) => (*number < pattern.captures_len(), number.to_string()),
        TemplatePiece::Named(name) => (pattern.capture_names().flatten().any(|group| group == name), name.clone()),
        _ => return Ok(()),
    };
    if known {
        return Ok(());
    }
    let fault = unknown(text, &format!("`${}`, and `match` has no such group", name.escape_debug()));
    let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
    if !digits.is_empty() && digits != name {
        return Err(fault.help(format!("write `${{{digits}}}` where letters follow a group's number")));
    }
    let groups = pattern.captures_len() - 1;
    Err(fault.help(format!("`match` has {groups} group{}: `(…)` makes one", if groups == 1 { "" } else { "s" })))
}

/// The part of a file's name before its version (`busybox` of `busybox-1.37.0.tar.bz2`), which many distributions give the
/// package too; `None` without a version.
fn package(name: &str) -> Option<&str> {
    let begins_a_version = |text: &str| text.trim_start_matches(['v', 'V']).starts_with(|c: char| c.is_ascii_digit());
    let at = name.match_indices(['-', '_']).find(|(at, _)| *at > 0 && begins_a_version(&name[at + 1..]));
    at.map(|(at, _)| &name[..at])
}

/// The BLAKE2b hash (512 bits) of a file's name, in hexadecimal digits.
fn name_hash(name: &str) -> String {
    Blake2b512::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nix's base 32 (`printHash32` of Nix, `bytevector->nix-base32-string` of Guix): its own alphabet, the lowest bits first,
/// and the last digit written first.
fn nix32(bytes: &[u8]) -> String {
    static ENCODING: LazyLock<Option<Encoding>> = LazyLock::new(|| {
        let mut specification = Specification::new();
        specification.symbols.push_str("0123456789abcdfghijklmnpqrsvwxyz");
        specification.bit_order = BitOrder::LeastSignificantFirst;
        specification.encoding().ok()
    });
    ENCODING.as_ref().map(|encoding| encoding.encode(bytes).chars().rev().collect()).unwrap_or_default()
}

/// A name as a component of a URL's path: what would end the path is escaped.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' | '?' | '#' | ' ' | '\\' => escaped.push_str(&format!("%{:02X}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str, to: &str, url: &str, fill: Fill<'_>) -> Option<String> {
        let pattern = Regex::new(pattern).unwrap();
        Template::new(to, &pattern).unwrap().expand(&pattern.captures(url).unwrap(), fill)
    }

    #[test]
    fn groups_dollars_and_names() {
        let fill = Fill { name: Some("a b?.tgz"), ..Fill::default() };
        let made = |to| expanded("https://(?<host>[^/]+)/(.*)", to, "https://h/x", fill).unwrap();
        assert_eq!(made("https://m/$2/${1}x$$"), "https://m/x/hx$");
        assert_eq!(made("https://m/${host}/é{name}"), "https://m/h/éa%20b%3F.tgz");
        assert_eq!(made("/srv/$host/{name}"), "/srv/h/a b?.tgz");
    }

    #[test]
    fn what_is_not_known_leaves_a_replacement_out() {
        let sha256 = Sha256::from([7; 32]);
        for to in ["{name}", "{name:package}", "{sha256}", "{sha256:nix32}", "{sha512}", "{commit}"] {
            assert_eq!(expanded(".*", to, "x", Fill::default()), None, "{to}");
        }
        let known = Fill { name: Some("README"), sha256: Some(&sha256), ..Fill::default() };
        assert_eq!(expanded(".*", "https://h/{sha256}", "x", known), Some(format!("https://h/{sha256}")));
        assert_eq!(expanded(".*", "{name:package}", "x", known), None, "no version, no package");
    }

    #[test]
    fn hashes_are_written_as_others_write_them() {
        // SHA-256 of "abc" (FIPS 180-4), in base 32 as the tests of Nix have it.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        let fill = Fill { sha256: Some(&abc), ..Fill::default() };
        let nix32 = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
        assert_eq!(expanded(".*", "{sha256:nix32}", "x", fill).as_deref(), Some(nix32));
        // RFC 7693, appendix A.
        assert!(name_hash("abc").starts_with("ba80a53f981c4d0d6a2797b69f12f6e9"));
        // Where Gentoo's mirrors have these files.
        for (name, directory) in [("which-2.23.tar.gz", "80"), ("psmisc-23.7.tar.xz", "28")] {
            let fill = Fill { name: Some(name), ..Fill::default() };
            assert_eq!(expanded(".*", "{name:blake2b:2}", "x", fill).as_deref(), Some(directory), "{name}");
        }
    }

    #[test]
    fn the_package_is_what_stands_before_the_version() {
        for (name, expected) in [
            ("busybox-1.37.0.tar.bz2", Some("busybox")),
            ("gtk+-2.24.33.tar.xz", Some("gtk+")),
            ("xz-utils_5.4.1.orig.tar.xz", Some("xz-utils")),
            ("lz4-v1.10.0.tar.gz", Some("lz4")),
            ("util-linux-2.41.tar.xz", Some("util-linux")),
            ("README", None),
            ("-1.0", None),
        ] {
            assert_eq!(package(name), expected, "{name}");
        }
    }

    #[test]
    fn what_can_mean_nothing_is_refused() {
        let pattern = Regex::new("https://(h)/.*").unwrap();
        for to in ["$2", "${path}", "$", "$1_x", "{", "}", "${1", "{size}", "{name:blake2b:0}", "{name:blake2b:129}"] {
            assert!(Template::new(to, &pattern).is_err(), "{to}");
        }
        let error = Template::new("https://m/$1_x", &pattern).unwrap_err();
        assert_eq!(error.hint(), Some("write `${1}` where letters follow a group's number"));
    }

    #[test]
    fn a_hash_alone_tells_no_name() {
        let pattern = Regex::new("(.*)").unwrap();
        let tells = |to| Template::new(to, &pattern).unwrap().tells_names();
        assert!(!tells("https://h/sha256/{sha256}") && !tells("https://h/{sha256:nix32}/{sha512}/{commit}"));
        assert!(tells("https://h/$1") && tells("https://h/{name:blake2b:2}") && tells("https://h/{name:package}"));
    }
}
