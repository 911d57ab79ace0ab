//! Checks of `[mirrors]`, shared by manifest, site configuration and command line.

use std::path::Path;

use regex::Regex;

use super::document::Diagnostics;
use super::raw::{At, RawMirrors, RawRule, RawText};
use super::{MirrorRule, Mirrors};
use crate::error::{Error, Result};
use crate::source::url::carries_user;
use crate::source::{RemoteUrl, SourceUrl};

/// The valid parts of a `[mirrors]`; directories are relative to `base`, the directory of the text.
pub(super) fn check(raw: &RawMirrors, base: &Path, diagnostics: &mut Diagnostics) -> Mirrors {
    let mut mirrors = Mirrors { builtin: raw.builtin.unwrap_or(true), ..Mirrors::default() };
    for text in raw.stores.iter().flatten() {
        let checked = store(text, base).map_err(|error| error.at(text.span.clone(), "this store"));
        mirrors.stores.extend(diagnostics.take(checked));
    }
    for raw in raw.rule.iter().flatten() {
        mirrors.rules.extend(rule(raw, diagnostics));
    }
    mirrors
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
    let filled = |group: &str| fill(to, regex, group);
    // Nothing can be checked if a group gives the scheme.
    if to.starts_with('$') {
        return filled("x").map(drop);
    }
    let (word, number) = (filled("x")?, filled("1")?);
    // In a port or an address only a number is valid, in the last part of a host name only a word.
    let checked = word.parse::<SourceUrl>().or_else(|error| number.parse::<SourceUrl>().map_err(|_| error));
    checked.map(drop).map_err(|error| {
        error.help("a replacement is a whole URL: `https://mirror/$1`, or `file:///srv/git/$1` for a directory")
    })
}

/// The replacement with a sample in every group and placeholder, by the rules of `regex::Captures::expand`.
fn fill(to: &str, regex: &Regex, group: &str) -> Result<String> {
    let mut filled = String::new();
    let mut rest = to;
    while let Some(at) = rest.find(['$', '{', '}']) {
        filled.push_str(&rest[..at]);
        let (sign, tail) = rest[at..].split_at(1);
        if let ("$", Some(after)) = (sign, tail.strip_prefix('$')) {
            filled.push('$');
            rest = after;
            continue;
        }
        let (name, after) = if let Some(braced) = tail.strip_prefix('{').filter(|_| sign == "$") {
            braced.split_once('}').ok_or_else(|| unknown(to, "`${` without `}`"))?
        } else if sign == "$" {
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
            tail.split_at(end)
        } else if sign == "{" {
            let (name, after) = tail.split_once('}').ok_or_else(|| unknown(to, "`{` without `}`"))?;
            match name {
                "name" => filled.push_str("name"),
                "sha256" => filled.push_str(&"0".repeat(64)),
                _ => return Err(unknown(to, &format!("`{{{}}}`", name.escape_debug()))),
            }
            rest = after;
            continue;
        } else {
            return Err(unknown(to, "`}` without `{`"));
        };
        check_group(to, name, regex)?;
        filled.push_str(group);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn unknown(to: &str, what: &str) -> Error {
    Error::input(format!("the replacement `{}` contains {what}", crate::source::url::redact(to).escape_debug())).help(
        "`$1` and `${name}` are groups of `match`, `{name}` is the file's name, `{sha256}` its hash, `$$` a dollar",
    )
}

fn check_group(to: &str, name: &str, regex: &Regex) -> Result<()> {
    let groups = regex.captures_len() - 1;
    let known = match name.parse::<usize>() {
        Ok(number) => number <= groups,
        Err(_) => regex.capture_names().flatten().any(|group| group == name),
    };
    if known {
        return Ok(());
    }
    let fault = unknown(to, &format!("`${}`, and `match` has no such group", name.escape_debug()));
    let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
    if !digits.is_empty() && digits != name {
        return Err(fault.help(format!("write `${{{digits}}}` where letters follow a group's number")));
    }
    Err(fault.help(format!("`match` has {groups} group{}: `(…)` makes one", if groups == 1 { "" } else { "s" })))
}
