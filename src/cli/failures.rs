//! Many failures of one run, grouped by cause and host: a page of lines that a person reads, in place of one for each.

use crate::error::Error;
use crate::source::url::redact;
use indexmap::IndexMap;

/// So many failures are shown one by one.
pub(super) const FEW: usize = 5;

/// So many groups are shown; the rest is counted.
const GROUPS: usize = 9;

/// What failures have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Group {
    cause: String,
    /// The host that was asked; empty where there is none.
    host: String,
}

/// A line for each group of failures, the largest first; each failure is a name or message, with why it failed.
pub(super) fn grouped<'a>(failures: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Vec<String> {
    let mut groups: IndexMap<Group, Vec<&str>> = IndexMap::new();
    for (name, causes) in failures {
        groups.entry(group(name, causes)).or_default().push(name);
    }
    groups.sort_by(|_, one, _, other| other.len().cmp(&one.len()));
    let rest: usize = groups.values().skip(GROUPS).map(Vec::len).sum();
    let mut lines: Vec<String> = groups.iter().take(GROUPS).map(|(group, names)| line(group, names)).collect();
    if rest > 0 {
        lines.push(format!("{rest} more, for {} other reasons or hosts", groups.len() - GROUPS));
    }
    lines
}

/// The failures of an error, each with its causes; of one that was tried at several places, those of the first.
pub(super) fn failures_of(error: &Error) -> Vec<(String, Vec<String>)> {
    let one = |failure: &Error| {
        let causes = match failure.related_errors() {
            [first, ..] => std::iter::once(first.to_string()).chain(first.causes()).collect(),
            [] => failure.causes(),
        };
        (failure.to_string(), causes)
    };
    error.related_errors().iter().map(one).collect()
}

fn group(name: &str, causes: &[String]) -> Group {
    let host = causes.iter().map(String::as_str).chain([name]).find_map(host_in).unwrap_or_default();
    let cause = causes.last().map_or_else(|| without_first_word(name), |cause| without_id(cause));
    Group { cause: redact(&cause), host }
}

/// A message alone tells its cause behind the name that it begins with: `linux-6.18.tar.xz is not in the store`.
fn without_first_word(message: &str) -> String {
    let message = first_line(message);
    message.split_once(' ').map_or(message, |(_, rest)| rest).to_owned()
}

/// A cause without the id of a source that it begins with: `file:linux-6.18.tar.xz is not in the store`.
fn without_id(cause: &str) -> String {
    let begins_with_id = cause.starts_with("file:") || cause.starts_with("git:");
    if begins_with_id { without_first_word(cause) } else { first_line(cause).to_owned() }
}

fn line(Group { cause, host }: &Group, names: &[&str]) -> String {
    let at = if host.is_empty() { String::new() } else { format!("{host}: ") };
    match names {
        [one] => format!("{at}{}: {cause}", redact(first_line(one))),
        [one, ..] => format!("{at}{} failures: {cause} (the first: {})", names.len(), redact(first_line(one))),
        [] => String::new(),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The host of the first URL in a text.
fn host_in(text: &str) -> Option<String> {
    let start = text.find("://")?;
    let scheme = text[..start].rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).map_or(0, |at| at + 1);
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |at| start + at);
    let url = url::Url::parse(&text[scheme..end]).ok()?;
    url.host_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn failure(name: &str, host: &str, why: &str) -> Error {
        let place = Error::new(Kind::Network, format!("https://{host}/{name}")).because(Error::input(why));
        Error::new(Kind::Network, format!("could not fetch {name}")).because(place)
    }

    #[test]
    fn failures_with_one_cause_and_host_share_a_line() {
        let mut errors: Vec<Error> = (0..7).map(|n| failure(&format!("a{n}"), "h.example", "no route")).collect();
        errors.insert(2, failure("b", "h.example", "the server answered 403 Forbidden"));
        errors.insert(0, failure("c", "g.example", "no route"));
        let all = Error::all(errors, |count| format!("{count} sources could not be fetched")).unwrap();
        let failures = failures_of(&all);
        let lines = grouped(failures.iter().map(|(name, causes)| (name.as_str(), causes.as_slice())));
        assert_eq!(
            lines,
            [
                "h.example: 7 failures: no route (the first: could not fetch a0)",
                "g.example: could not fetch c: no route",
                "h.example: could not fetch b: the server answered 403 Forbidden",
            ]
        );
    }

    #[test]
    fn no_more_than_ten_lines_are_shown() {
        let errors = (0..30).map(|n| failure("a", &format!("h{n}.example"), "no route"));
        let failures = failures_of(&Error::input("x").with_related(errors));
        let lines = grouped(failures.iter().map(|(name, causes)| (name.as_str(), causes.as_slice())));
        assert_eq!((lines.len(), lines[9].as_str()), (10, "21 more, for 21 other reasons or hosts"));
    }

    #[test]
    fn the_host_is_that_of_the_first_url() {
        assert_eq!(host_in("git+ssh://git@h.example:22/a says no").as_deref(), Some("h.example"));
        assert_eq!(host_in("(https://h.example/a)").as_deref(), Some("h.example"));
        assert_eq!(host_in("no URL :// here"), None);
    }
}
