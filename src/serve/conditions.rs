//! Conditional requests (RFC 9110, 13), decided by the hash of the content. There is no `Last-Modified`: the time at which
//! a blob came into this store says nothing about it, and differs between servers.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

/// The result of a request's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Send it.
    Send,
    /// The client has it already.
    NotModified,
    /// The client asks for another version than the server has.
    Failed,
}

/// Checks a request's conditions against the current tag (in quotes), and removes them. A `Range` is kept only if
/// `If-Range` allows it.
pub(super) fn decide(headers: &mut HeaderMap, tag: &str) -> Precondition {
    let if_match = take(headers, header::IF_MATCH);
    let if_none_match = take(headers, header::IF_NONE_MATCH);
    // No date is a validator here, so a condition with a date is false.
    take(headers, header::IF_UNMODIFIED_SINCE);
    take(headers, header::IF_MODIFIED_SINCE);
    let if_range = headers.remove(header::IF_RANGE);
    if if_range.is_some_and(|validator| validator.as_bytes() != tag.as_bytes()) {
        headers.remove(header::RANGE);
    }
    if !if_match.is_empty() && !names(&if_match, tag, false) {
        return Precondition::Failed;
    }
    if names(&if_none_match, tag, true) { Precondition::NotModified } else { Precondition::Send }
}

fn take(headers: &mut HeaderMap, name: HeaderName) -> Vec<HeaderValue> {
    let values = headers.get_all(&name).iter().cloned().collect();
    headers.remove(name);
    values
}

/// Whether a list of tags contains this one, or is `*`. Tags are split at commas: the server's own contain none, and others
/// need not be read correctly.
fn names(values: &[HeaderValue], tag: &str, weakly: bool) -> bool {
    let listed = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    listed.map(str::trim).any(|listed| {
        let listed = if weakly { listed.strip_prefix("W/").unwrap_or(listed) } else { listed };
        listed == "*" || listed == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc\"";

    fn decided(pairs: &[(&'static str, &'static str)]) -> (Precondition, HeaderMap) {
        let mut headers = HeaderMap::new();
        pairs.iter().for_each(|(name, value)| {
            headers.append(*name, HeaderValue::from_static(value));
        });
        let verdict = decide(&mut headers, TAG);
        (verdict, headers)
    }

    #[test]
    fn tags_are_compared_as_rfc_9110_says() {
        for (pairs, verdict) in [
            (vec![], Precondition::Send),
            (vec![("if-none-match", "\"abc\"")], Precondition::NotModified),
            (vec![("if-none-match", "\"x\", W/\"abc\"")], Precondition::NotModified),
            (vec![("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")], Precondition::NotModified),
            (vec![("if-none-match", "*")], Precondition::NotModified),
            (vec![("if-none-match", "abc")], Precondition::Send),
            (vec![("if-match", "\"abc\"")], Precondition::Send),
            (vec![("if-match", "W/\"abc\"")], Precondition::Failed),
            (vec![("if-match", "\"x\""), ("if-none-match", "\"abc\"")], Precondition::Failed),
            (vec![("if-match", "*")], Precondition::Send),
            (vec![("if-modified-since", "Wed, 21 Oct 2065 07:28:00 GMT")], Precondition::Send),
            (vec![("if-unmodified-since", "Wed, 21 Oct 2015 07:28:00 GMT")], Precondition::Send),
        ] {
            assert_eq!(decided(&pairs).0, verdict, "{pairs:?}");
        }
    }

    #[test]
    fn a_range_is_sent_only_of_what_the_client_has_begun() {
        for (validator, stays) in
            [("\"abc\"", true), ("\"x\"", false), ("W/\"abc\"", false), ("Wed, 21 Oct 2015 07:28:00 GMT", false)]
        {
            let (_, headers) = decided(&[("range", "bytes=7-"), ("if-range", validator)]);
            assert_eq!(headers.contains_key("range"), stays, "{validator}");
            assert!(!headers.contains_key("if-range"));
        }
        assert!(decided(&[("range", "bytes=7-")]).1.contains_key("range"));
    }
}
