//! Rules that rewrite a whole URL to places that may have the same source.
//!
//! Those of the user (command line, site, manifest) come before the upstream, the fallback lists shipped in `mirrors/` after
//! it, and only where a strong hash is known, since a fallback must never decide what a source is.

use std::path::Path;

use regex::Regex;

use crate::error::{Error, Result};
use crate::manifest::{FallbackChoice, FallbackList, Fill, MirrorRule, Template, whole_url};
use crate::source::SourceUrl;

/// A place to ask: a URL, or the error of a rule that made no usable URL.
pub(crate) type Candidate = Result<SourceUrl>;

/// Rewriting rules, compiled.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<CompiledRule>);

#[derive(Debug)]
struct CompiledRule {
    pattern: Regex,
    to: Vec<Template>,
    /// Whether it is for the URLs of any host, and not for those of some public upstream.
    any_host: bool,
}

/// A URL that only a rule for any host matches.
const NOBODYS: &str = "https://nobody.invalid/name-1.0.tar.gz";

/// The fallback lists shipped with kbuild, those that the user chose.
#[derive(Debug, Default)]
pub(crate) struct Fallbacks {
    /// Where files may be.
    pub files: Rules,
    /// Vaults that make repositories of commits.
    pub vaults: Rules,
}

impl Fallbacks {
    /// Compiles the chosen lists.
    ///
    /// # Errors
    /// A list that is not in order; a test keeps that from being released.
    pub(crate) fn new(choice: &FallbackChoice) -> Result<Fallbacks> {
        let lists = FallbackList::of(choice)?;
        let files: Vec<MirrorRule> = lists.iter().flat_map(|list| list.files.clone()).collect();
        let vaults: Vec<MirrorRule> = lists.into_iter().flat_map(|list| list.vaults).collect();
        Ok(Fallbacks { files: Rules::new(&files)?, vaults: Rules::new(&vaults)? })
    }
}

impl Rules {
    /// Compiles rules.
    ///
    /// # Errors
    /// An expression that does not compile, or a replacement that is not valid: kind `Input`.
    pub(crate) fn new(rules: &[MirrorRule]) -> Result<Rules> {
        rules.iter().map(CompiledRule::new).collect::<Result<_>>().map(Rules)
    }

    /// What the rules make of a URL, in order. A replacement that needs what is not known (`{sha256}` of an unknown file)
    /// is left out; one that makes no usable URL says so.
    pub(crate) fn rewrite(&self, url: &SourceUrl, fill: Fill<'_>) -> Vec<Candidate> {
        self.rewrite_where(url, fill, |_, _| true)
    }

    /// The same, without those that would tell a name of a host of which nothing is known: what is asked for by its hash
    /// alone stays, and what a rule for one upstream's own hosts makes.
    pub(crate) fn rewrite_unnamed(&self, url: &SourceUrl, fill: Fill<'_>) -> Vec<Candidate> {
        self.rewrite_where(url, fill, |rule, template| !rule.any_host || !template.tells_names())
    }

    fn rewrite_where(
        &self,
        url: &SourceUrl,
        fill: Fill<'_>,
        wanted: impl Fn(&CompiledRule, &Template) -> bool,
    ) -> Vec<Candidate> {
        let mut made = Vec::new();
        for rule in &self.0 {
            let Some(captures) = rule.pattern.captures(url.as_str()) else { continue };
            for template in rule.to.iter().filter(|template| wanted(rule, template)) {
                made.extend(template.expand(&captures, fill).map(|text| usable(template, &text)));
            }
        }
        made
    }
}

fn usable(template: &Template, text: &str) -> Candidate {
    place(text).map_err(|error| error.wrap(format!("the mirror rule `{}` made no usable URL", template.text())))
}

impl CompiledRule {
    fn new(rule: &MirrorRule) -> Result<CompiledRule> {
        let pattern = whole_url(&rule.pattern).map_err(|error| {
            Error::input(format!("mirror rule `{}` is no regular expression", rule.pattern)).because(error)
        })?;
        let to = rule.to.iter().map(|text| Template::new(text, &pattern)).collect::<Result<_>>()?;
        Ok(CompiledRule { any_host: pattern.is_match(NOBODYS), pattern, to })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sha256;

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

    fn shown(made: Vec<Candidate>) -> Vec<String> {
        made.into_iter().map(|url| url.unwrap().to_string()).collect()
    }

    fn made(rules: &Rules, url: &str, fill: Fill<'_>) -> Vec<String> {
        shown(rules.rewrite(&url.parse().unwrap(), fill))
    }

    #[test]
    fn rules_rewrite_whole_urls_in_order() {
        let rules = rules(&[
            ("https://github.com/(.*)", &["file:///srv/git/$1", "https://m/${1}_x"]),
            ("https://(?<host>[^/]+)/.*", &["/srv/${host}/{name}"]),
        ])
        .unwrap();
        let fill = Fill { name: Some("a b?.tgz"), ..Fill::default() };
        assert_eq!(
            made(&rules, "https://github.com/o/r", fill),
            ["file:///srv/git/o/r", "https://m/o/r_x", "file:///srv/github.com/a%20b%3F.tgz"]
        );
        assert!(made(&rules, "http://other/https://github.com/o/r", fill).is_empty());
    }

    #[test]
    fn what_is_not_known_leaves_a_replacement_out() {
        let made_of = [
            ("https://h/(.*)", &["https://own/$1"][..]),
            ("https://.*", &["https://hashed/sha256/{sha256}", "https://flat/{name}"][..]),
        ];
        let rules = rules(&made_of).unwrap();
        let url = "https://h/x".parse().unwrap();
        assert_eq!(made(&rules, "https://h/x", Fill::default()), ["https://own/x"]);
        let named = Fill { name: Some("x"), ..Fill::default() };
        assert_eq!(shown(rules.rewrite(&url, named)), ["https://own/x", "https://flat/x"]);
        let sha256 = Sha256::from([7; 32]);
        let known = Fill { sha256: Some(&sha256), ..named };
        let hashed = format!("https://hashed/sha256/{sha256}");
        assert_eq!(shown(rules.rewrite(&url, known)), ["https://own/x", &hashed, "https://flat/x"]);
        assert_eq!(shown(rules.rewrite_unnamed(&url, known)), ["https://own/x", &hashed], "no name of an unknown host");
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_at_once() {
        assert!(rules(&[("https://(h/.*", &["https://m/"])]).is_err());
        let missing = rules(&[("https://h/(.*)", &["https://m/$2"])]).unwrap_err();
        assert!(missing.to_string().contains("`$2`"), "{missing}");
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
    fn the_shipped_lists_are_in_order() {
        Fallbacks::new(&FallbackChoice::All).unwrap();
    }
}
