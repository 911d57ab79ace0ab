//! Which places are asked for a source, in which order.
//!
//! Rules rewrite a whole URL: those of the user (command line, site, manifest) come before the upstream, the lists
//! shipped in `mirrors/` after it, and only where the SHA-256 is known, since a fallback must never decide what a
//! source is.

use std::path::Path;

use regex::{Captures, Regex};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::manifest::{MirrorRule, whole_url};
use crate::source::{Sha256, SourceUrl};

/// The fallback lists shipped with kbuild, by file name. Each is TOML: `name`, `origin` (where the list is from), and
/// `[[rule]]` with `match` and `to` as in a manifest's `[[mirrors.rule]]`.
const BUILTIN: &[(&str, &str)] = &[
    ("10-github-archives.toml", include_str!("../../mirrors/10-github-archives.toml")),
    ("10-gnu.toml", include_str!("../../mirrors/10-gnu.toml")),
    ("10-kernel.org.toml", include_str!("../../mirrors/10-kernel.org.toml")),
    ("10-sourceforge.toml", include_str!("../../mirrors/10-sourceforge.toml")),
    ("10-sourceware.toml", include_str!("../../mirrors/10-sourceware.toml")),
    ("50-yocto-project.toml", include_str!("../../mirrors/50-yocto-project.toml")),
    ("90-software-heritage.toml", include_str!("../../mirrors/90-software-heritage.toml")),
];

/// A place to ask: a URL, or the error of a rule that made no usable URL.
pub(crate) type Candidate = Result<SourceUrl>;

/// Rewriting rules, compiled.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    pattern: Regex,
    to: Vec<Template>,
}

/// A replacement, parsed once.
#[derive(Debug)]
struct Template {
    text: String,
    pieces: Vec<TemplatePiece>,
}

#[derive(Debug, PartialEq, Eq)]
enum TemplatePiece {
    Literal(String),
    /// `$1`, `${1}`
    Group(usize),
    /// `${name}`
    Named(String),
    /// `{name}`
    FileName,
    /// `{sha256}`
    Sha256,
}

/// What a rule can use besides the groups of its expression; a git source has neither.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fill<'a> {
    /// `{name}`: the file's name.
    pub name: Option<&'a str>,
    /// `{sha256}`: its hash.
    pub sha256: Option<&'a Sha256>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MirrorList {
    #[expect(dead_code, reason = "for readers of the file")]
    name: String,
    #[expect(dead_code, reason = "for readers of the file")]
    origin: String,
    #[serde(default)]
    rule: Vec<ListRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRule {
    #[serde(rename = "match")]
    pattern: String,
    to: Vec<String>,
}

impl Rules {
    /// Compiles the user's rules.
    ///
    /// # Errors
    /// An expression that does not compile, or a replacement that names a group the expression has not: kind `Input`.
    pub(crate) fn new(rules: &[MirrorRule]) -> Result<Rules> {
        rules.iter().map(|rule| Rule::new(&rule.pattern, &rule.to)).collect::<Result<_>>().map(Rules)
    }

    /// The lists shipped with kbuild.
    ///
    /// # Errors
    /// A list that cannot be parsed; a test of this module finds that before a release.
    pub(crate) fn builtin() -> Result<Rules> {
        let mut rules = Vec::new();
        for (file, text) in BUILTIN {
            rules.extend(parse_list(text).map_err(|error| error.wrap(format!("mirrors/{file} cannot be used")))?);
        }
        Ok(Rules(rules))
    }

    /// What the rules make of a URL, in order. A replacement that needs what is not known (`{sha256}` of an unknown
    /// file) is left out; one that makes no usable URL says so.
    pub(crate) fn rewrite(&self, url: &SourceUrl, fill: Fill<'_>) -> Vec<Candidate> {
        let mut made = Vec::new();
        for rule in &self.0 {
            let Some(captures) = rule.pattern.captures(url.as_str()) else { continue };
            made.extend(rule.to.iter().filter_map(|template| template.expand(&captures, fill)));
        }
        made
    }
}

fn parse_list(text: &str) -> Result<Vec<Rule>> {
    let list: MirrorList =
        toml_edit::de::from_str(text).map_err(|error| Error::input("it cannot be parsed").because(error))?;
    list.rule.iter().map(|rule| Rule::new(&rule.pattern, &rule.to)).collect()
}

impl Rule {
    fn new(pattern: &str, to: &[String]) -> Result<Rule> {
        let compiled = whole_url(pattern).map_err(|error| {
            Error::input(format!("mirror rule `{pattern}` is not a regular expression")).because(error)
        })?;
        let to = to.iter().map(|text| Template::new(text, &compiled)).collect::<Result<_>>()?;
        Ok(Rule { pattern: compiled, to })
    }
}

impl Template {
    fn new(text: &str, pattern: &Regex) -> Result<Template> {
        let template = Template { text: text.to_owned(), pieces: pieces(text) };
        for piece in &template.pieces {
            let (known, group) = match piece {
                TemplatePiece::Group(number) => (*number < pattern.captures_len(), number.to_string()),
                TemplatePiece::Named(name) => {
                    (pattern.capture_names().flatten().any(|known| known == name), name.clone())
                }
                _ => continue,
            };
            if !known {
                return Err(Error::input(format!(
                    "the mirror `{text}` uses a group `{group}` that its expression does not have"
                )));
            }
        }
        Ok(template)
    }

    fn expand(&self, captures: &Captures<'_>, fill: Fill<'_>) -> Option<Candidate> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Literal(literal) => text.push_str(literal),
                TemplatePiece::Group(number) => text.push_str(captures.get(*number).map_or("", |group| group.as_str())),
                TemplatePiece::Named(name) => text.push_str(captures.name(name).map_or("", |group| group.as_str())),
                // A bare path is escaped as a whole when it becomes a URL.
                TemplatePiece::FileName if self.text.starts_with('/') => text.push_str(fill.name?),
                TemplatePiece::FileName => text.push_str(&escape(fill.name?)),
                TemplatePiece::Sha256 => text.push_str(&fill.sha256?.to_string()),
            }
        }
        let parsed = place(&text);
        Some(parsed.map_err(|error| error.wrap(format!("the mirror rule `{}` made no usable URL", self.text))))
    }
}

/// A URL, or the absolute path of a folder or file as a `file:` URL.
///
/// # Errors
/// Neither: kind `Input`.
pub(crate) fn place(text: &str) -> Result<SourceUrl> {
    if !text.starts_with('/') {
        return text.parse();
    }
    let url =
        url::Url::from_file_path(Path::new(text)).map_err(|()| Error::input(format!("`{text}` is not a path")))?;
    url.as_str().parse()
}

/// Parses a replacement. `$` is followed by digits or a braced group, as in other tools with such rules; a `$`
/// before anything else, and `$$`, is a dollar sign.
fn pieces(text: &str) -> Vec<TemplatePiece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, length) = match special(rest) {
            Some(found) => found,
            None => {
                let length = if rest.starts_with("$$") { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
                literal.push_str(if length == 2 && rest.starts_with('$') { "$" } else { &rest[..length] });
                rest = &rest[length..];
                continue;
            }
        };
        if !literal.is_empty() {
            pieces.push(TemplatePiece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
        rest = &rest[length..];
    }
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Literal(literal));
    }
    pieces
}

/// The special piece that a text begins with, and how long it is.
fn special(text: &str) -> Option<(TemplatePiece, usize)> {
    for (word, piece) in [("{name}", TemplatePiece::FileName), ("{sha256}", TemplatePiece::Sha256)] {
        if text.starts_with(word) {
            return Some((piece, word.len()));
        }
    }
    let after = text.strip_prefix('$')?;
    if let Some(braced) = after.strip_prefix('{') {
        let group = &braced[..braced.find('}')?];
        let piece = group.parse().map_or_else(|_| TemplatePiece::Named(group.to_owned()), TemplatePiece::Group);
        return Some((piece, group.len() + 3));
    }
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let number = after[..digits].parse().ok()?;
    Some((TemplatePiece::Group(number), digits + 1))
}

/// A file's name as a component of a URL's path: characters that would end the path are escaped.
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
    use std::collections::BTreeSet;

    use super::*;

    fn rules(rules: &[(&str, &[&str])]) -> Result<Rules> {
        let rules: Vec<MirrorRule> = rules
            .iter()
            .map(|(pattern, to)| MirrorRule {
                pattern: (*pattern).to_owned(),
                to: to.iter().map(|to| (*to).to_owned()).collect(),
            })
            .collect();
        Rules::new(&rules)
    }

    fn made(rules: &Rules, url: &str, fill: Fill<'_>) -> Vec<String> {
        let url: SourceUrl = url.parse().unwrap();
        rules.rewrite(&url, fill).into_iter().map(|url| url.unwrap().to_string()).collect()
    }

    #[test]
    fn rules_rewrite_whole_urls_in_order() {
        let rules = rules(&[
            ("https://github.com/(.*)", &["file:///srv/git/$1", "https://m/$1_x"]),
            ("https://(?<host>[^/]+)/.*", &["/srv/${host}/{name}"]),
        ])
        .unwrap();
        let fill = Fill { name: Some("a b?.tgz"), sha256: None };
        assert_eq!(
            made(&rules, "https://github.com/o/r", fill),
            ["file:///srv/git/o/r", "https://m/o/r_x", "file:///srv/github.com/a%20b%3F.tgz"]
        );
        assert!(made(&rules, "http://other/https://github.com/o/r", fill).is_empty());
    }

    #[test]
    fn what_is_not_known_leaves_a_replacement_out() {
        let rules = rules(&[("https://h/.*", &["https://hashed/sha256/{sha256}", "https://flat/{name}"])]).unwrap();
        assert!(made(&rules, "https://h/x", Fill::default()).is_empty());
        assert_eq!(made(&rules, "https://h/x", Fill { name: Some("x"), sha256: None }), ["https://flat/x"]);
        let sha256 = Sha256::from([7; 32]);
        let fill = Fill { name: None, sha256: Some(&sha256) };
        assert_eq!(made(&rules, "https://h/x", fill), [format!("https://hashed/sha256/{sha256}")]);
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_at_once() {
        assert!(rules(&[("https://(h/.*", &["https://m/"])]).is_err());
        let missing = rules(&[("https://h/(.*)", &["https://m/$2"])]).unwrap_err();
        assert!(missing.to_string().contains("group `2`"), "{missing}");
        assert!(rules(&[("https://h/(.*)", &["https://m/${path}"])]).is_err());
    }

    #[test]
    fn a_rule_cannot_make_a_dangerous_url() {
        let rules = rules(&[("https://h/(.*)", &["ext::sh -c $1", "https://u:secret@m/$1", "relative/$1"])]).unwrap();
        let made = rules.rewrite(&"https://h/x".parse().unwrap(), Fill::default());
        assert_eq!(made.len(), 3);
        for candidate in made {
            let error = candidate.unwrap_err();
            assert!(!error.causes().join(" ").contains("secret"));
        }
    }

    #[test]
    fn dollars_and_braces() {
        use TemplatePiece::{FileName, Group, Literal, Named};
        assert_eq!(pieces("a$$b$"), [Literal("a$b$".to_owned())]);
        assert_eq!(pieces("$1${2}x"), [Group(1), Group(2), Literal("x".to_owned())]);
        assert_eq!(pieces("${name}{name}{other}"), [Named("name".to_owned()), FileName, Literal("{other}".to_owned())]);
        assert_eq!(pieces("é$é"), [Literal("é$é".to_owned())]);
    }

    #[test]
    fn every_list_in_the_folder_is_shipped_and_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mirrors");
        let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let files: BTreeSet<String> =
            files.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".toml")).collect();
        let shipped: BTreeSet<String> = BUILTIN.iter().map(|(file, _)| (*file).to_owned()).collect();
        assert_eq!(files, shipped, "BUILTIN in src/fetch/mirrors.rs and the folder mirrors/ differ");
        Rules::builtin().unwrap();
    }
}
