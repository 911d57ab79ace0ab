//! Checks of `[mirrors]`, shared by manifest, site configuration and command line.

use std::path::Path;

use regex::Regex;

use super::document::Diagnostics;
use super::fallbacks::{FallbackChoice, FallbackList};
use super::raw::{At, RawBuiltin, RawMirrors, RawRule, RawText};
use super::template::Template;
use super::{MirrorRule, Mirrors};
use crate::error::{Error, Result};
use crate::source::url::carries_user;
use crate::source::{RemoteUrl, SourceUrl};
use crate::suggest;

/// The valid parts of a `[mirrors]`; directories are relative to `base`, the directory of the text.
pub(super) fn check(raw: &RawMirrors, base: &Path, diagnostics: &mut Diagnostics) -> Mirrors {
    let mut mirrors = Mirrors { builtin: builtin(raw.builtin.as_ref(), diagnostics), ..Mirrors::default() };
    for (domains, checked) in [(&raw.internal, &mut mirrors.internal), (&raw.public, &mut mirrors.public)] {
        checked.extend(domains.iter().flatten().filter_map(|text| diagnostics.take(domain(text))));
    }
    for text in raw.stores.iter().flatten() {
        let checked = store(text, base).map_err(|error| error.at(text.span.clone(), "this store"));
        mirrors.stores.extend(diagnostics.take(checked));
    }
    for raw in raw.rule.iter().flatten() {
        mirrors.rules.extend(rule(raw, diagnostics));
    }
    for raw in raw.fallback.iter().flatten() {
        mirrors.fallback.extend(rule(raw, diagnostics));
    }
    mirrors
}

/// Which of the shipped lists are asked; all of them if nothing is said.
fn builtin(raw: Option<&RawBuiltin>, diagnostics: &mut Diagnostics) -> FallbackChoice {
    match raw {
        None | Some(RawBuiltin::All(true)) => FallbackChoice::All,
        Some(RawBuiltin::All(false)) => FallbackChoice::none(),
        Some(RawBuiltin::Named(names)) => {
            FallbackChoice::Only(names.iter().filter_map(|name| diagnostics.take(known_list(name))).collect())
        }
    }
}

fn known_list(name: &RawText) -> Result<String> {
    let known: Vec<&str> = FallbackList::names().collect();
    if known.contains(&name.as_str()) {
        return Ok(name.value.clone());
    }
    let fault = Error::input(format!("there is no fallback list `{}`", name.escape_debug()));
    let fault = fault.at(name.span.clone(), "this one");
    Err(match suggest::did_you_mean(name, known.iter().copied(), 1) {
        Some(question) => fault.help(question),
        None => fault.help(format!("the lists are {}", known.join(", "))),
    })
}

/// A domain name or an address, as the host of a URL has it: in lower case, without a port.
fn domain(text: &RawText) -> Result<String> {
    let domain = text.trim_start_matches('.').to_ascii_lowercase();
    match url::Host::parse(&domain) {
        Ok(host) if !domain.contains(['*', '/', ':']) => Ok(host.to_string()),
        _ => Err(Error::input(format!("`{}` is not the name of a domain or host", text.escape_debug()))
            .at(text.span.clone(), "this one")
            .help("write it as in a URL, without scheme and port: `example.org` means its subdomains too")),
    }
}

/// Reads mirrors of the command line: a store (directory or URL), or `REGEX=REPLACEMENT`.
pub(super) fn from_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Mirrors> {
    let mut mirrors = Mirrors::default();
    for argument in arguments {
        let context =
            |error: Error| error.wrap(format!("`--mirror {}` is not usable", crate::source::url::redact(argument)));
        match split_rule(argument) {
            Some((pattern, to)) => {
                let regex = compile(pattern).map_err(context)?;
                check_replacement(to, &regex).map_err(context)?;
                mirrors.rules.push(MirrorRule { pattern: pattern.to_owned(), to: vec![to.to_owned()] });
            }
            None => mirrors.stores.push(store(argument, Path::new("")).map_err(context)?),
        }
    }
    Ok(mirrors)
}

/// The two halves of a rule. `=` may be in both (`?a=b`): the first one that is followed by a URL or a group separates them.
fn split_rule(argument: &str) -> Option<(&str, &str)> {
    let begins_a_url = |text: &str| match text.strip_prefix('$') {
        Some(group) => group.starts_with(|c: char| c == '{' || c.is_ascii_alphanumeric()),
        None => text
            .split_once("://")
            .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')),
    };
    let mut halves = argument.match_indices('=').map(|(at, _)| (&argument[..at], &argument[at + 1..]));
    halves.find(|(pattern, to)| !pattern.is_empty() && begins_a_url(to))
}

/// Another store: a directory, an http URL, or the address of a store at a service.
pub(super) fn store(text: &str, base: &Path) -> Result<String> {
    let help = "give a directory, an http URL or a bucket: `/srv/store`, `https://mirror/store`, `s3://team/store`";
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::input("a store is a directory or a URL").help(help));
    }
    if RemoteUrl::is_meant(text) {
        return text.parse::<RemoteUrl>().map(|url| url.to_string());
    }
    let Some((scheme, _)) = text.split_once("://") else {
        if text.starts_with('~') || text.starts_with('$') {
            return Err(
                Error::input("in a store's directory, `~` and variables are not expanded").help("write the whole path")
            );
        }
        return Ok(base.join(text).to_string_lossy().into_owned());
    };
    match scheme {
        "http" | "https" => {
            text.parse::<SourceUrl>().map_err(|error: Error| error.help(help))?;
            if !carries_user(text) {
                return Ok(text.trim_end_matches('/').to_owned());
            }
            Err(Error::input("a store's URL contains a user name, which may be a token").help("store it in ~/.netrc"))
        }
        "file" => Err(Error::input("a store on this machine is a plain path").help("write `/…` without `file://`")),
        _ => Err(Error::input("a store is a directory, a bucket, or reached over http or https").help(help)),
    }
}

fn rule(raw: &At<RawRule>, diagnostics: &mut Diagnostics) -> Option<MirrorRule> {
    let before = diagnostics.count();
    let missing = |key: &str, help: &str| {
        Error::input(format!("a mirror rule has no `{key}`")).at(raw.span.clone(), "this rule").help(help)
    };
    if raw.r#match.is_none() {
        diagnostics
            .add(missing("match", "add `match = \"https://host/(.*)\"`: a regular expression for the whole URL"));
    }
    if raw.to.as_ref().is_none_or(|to| to.is_empty()) {
        diagnostics.add(missing("to", "add `to = [\"https://mirror/$1\"]`: what to ask instead, in order"));
    }
    let pattern = raw.r#match.as_ref()?;
    let at = |text: &RawText| {
        let span = text.span.clone();
        move |error: Error| error.at(span, "here")
    };
    let regex = diagnostics.take(compile(pattern).map_err(at(pattern)))?;
    let to = raw.to.as_ref()?;
    for replacement in &to.value {
        diagnostics.take(check_replacement(replacement, &regex).map_err(at(replacement)));
    }
    let to = to.iter().map(|replacement| replacement.value.clone()).collect();
    (diagnostics.count() == before).then(|| MirrorRule { pattern: pattern.value.clone(), to })
}

/// An expression that must match a whole URL, as people write it.
pub(super) fn compile(pattern: &str) -> Result<Regex> {
    // Checked by itself first: only the group around it would make `a)(b` valid.
    let alone = Regex::new(pattern).and_then(|_| whole_url(pattern));
    alone.map_err(|error| {
        let message = error.to_string();
        let reason = message.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::input(format!("`{}` is not a regular expression: {reason}", pattern.escape_debug()))
            .help("see https://docs.rs/regex/#syntax; a literal dot is `\\.`, in TOML best in 'single quotes'")
    })
}

/// See [`super::whole_url`].
pub(super) fn whole_url(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// Checks a replacement: its groups exist, its placeholders are known, and its result can be a URL.
fn check_replacement(to: &str, regex: &Regex) -> Result<()> {
    let template = Template::new(to, regex)?;
    // Nothing more can be checked if a group gives the scheme.
    if to.starts_with('$') {
        return Ok(());
    }
    let (word, number) = (template.sample("x"), template.sample("1"));
    // In a port or an address only a number is valid, in the last part of a host name only a word.
    let checked = word.parse::<SourceUrl>().or_else(|error| number.parse::<SourceUrl>().map_err(|_| error));
    checked.map(drop).map_err(|error| {
        error.help("a replacement is a whole URL: `https://mirror/$1`, or `file:///srv/git/$1` for a directory")
    })
}
