//! What may not be shown: the credentials in a text that names URLs.
//!
//! A crate of its own, without dependencies, so that whatever shows other people's text (kbuild itself, `kbuild-audit`) takes
//! them out in the same way.

use std::ops::Range;

/// Parameters of a query that hold credentials, in lower case: access tokens of forges, and the signed URLs of clouds.
const SECRET_PARAMETERS: [&str; 26] = [
    "access_token",
    "accesskey",
    "api_key",
    "apikey",
    "api-key",
    "auth",
    "auth_token",
    "authorization",
    "awsaccesskeyid",
    "client_secret",
    "feed_token",
    "googleaccessid",
    "job_token",
    "key-pair-id",
    "oauth_token",
    "password",
    "private_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// Whether a parameter of this name, of a query or of BitBake's, holds a credential.
pub fn is_secret(parameter: &str) -> bool {
    SECRET_PARAMETERS.iter().any(|secret| parameter.eq_ignore_ascii_case(secret))
}

/// A text in which the credentials of any URL are replaced by `***`: the password, a user name that may be a token, the
/// parameters of a query that hold one, BitBake's `;user=` and `;pswd=`.
///
/// For messages and logs: git and HTTP libraries like to repeat the URL they were given.
pub fn redact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for secret in credentials(text) {
        shown.push_str(&text[from..secret.start]);
        shown.push_str("***");
        from = secret.end;
    }
    shown.push_str(&text[from..]);
    shown
}

/// As [`redact`], but byte for byte, so that places in the text stay where they are: for showing a file at fault.
pub fn redact_in_place(text: &str) -> String {
    let mut shown = text.to_owned();
    for secret in credentials(text) {
        let stars = "*".repeat(secret.len());
        shown.replace_range(secret, &stars);
    }
    shown
}

/// Where the credentials of URLs stand in a text.
fn credentials(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let after = &text[start..];
        let authority =
            after.find(|c: char| c == '/' || c.is_whitespace() || "'\"?#".contains(c)).unwrap_or(after.len());
        let ssh = text[..start - 3].ends_with("ssh");
        if let Some(end) = after[..authority].rfind('@').filter(|at| !ssh || after[..*at].contains(':')) {
            found.push(start..start + end);
        }
        let end = after.find(|c: char| c.is_whitespace() || "'\"`<>".contains(c)).unwrap_or(after.len());
        let end = after[..end].find("://").unwrap_or(end);
        found.extend(secret_values(&text[start + authority..start + end.max(authority)], start + authority));
        from = start;
    }
    found
}

/// The values of parameters that hold credentials, in the part of a URL behind its host, which begins at `offset`: those of
/// the query (`?token=…&sig=…`), and BitBake's own (`;user=…;pswd=…`).
fn secret_values(text: &str, offset: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for part in text.split_inclusive(['?', '&', ';']) {
        let pair = part.trim_end_matches(['?', '&', ';']);
        let before = text[..start].chars().next_back();
        if let Some((name, value)) = pair.split_once('=').filter(|(_, value)| !value.is_empty()) {
            let secret = match before {
                Some(';') => ["user", "pswd"].contains(&name) || is_secret(name),
                Some(_) => is_secret(name),
                None => false,
            };
            if secret {
                let at = offset + start + name.len() + 1;
                found.push(at..at + value.len());
            }
        }
        start += part.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_redacted_but_a_git_user_stays() {
        assert_eq!(
            redact("fatal: unable to access 'https://tok3n@h/x?y=1': 403"),
            "fatal: unable to access 'https://***@h/x?y=1': 403"
        );
        assert_eq!(redact("https://a:b@h/ and http://c@i"), "https://***@h/ and http://***@i");
        assert_eq!(redact("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(
            redact("to 'http://h/b/x?X-Amz-Credential=AKIA%2F1&part=2&X-Amz-Signature=beef' and http://h/?q=1 token=x"),
            "to 'http://h/b/x?X-Amz-Credential=***&part=2&X-Amz-Signature=***' and http://h/?q=1 token=x"
        );
        assert_eq!(
            redact("git://h/x;protocol=https;user=t0k3n;branch=m"),
            "git://h/x;protocol=https;user=***;branch=m"
        );
        assert_eq!(redact_in_place("a https://h/x?sig=é end"), "a https://h/x?sig=** end");
        assert_eq!(redact_in_place("https://a:é@h/ and http://c@i"), "https://****@h/ and http://*@i");
    }
}
