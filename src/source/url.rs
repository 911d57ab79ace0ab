//! URLs of sources: what is accepted, how it is written into the lock, and how it is shown.
//!
//! The canonical URL is what gets locked; where the bytes really came from (a mirror, an `insteadOf`) never is.
//! Credentials have no place in a manifest or lock, so a URL that carries a password is refused, not cleaned up.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::error::{Error, Result};

/// Schemes that a source's URL may have. `ext::`, `fd::` and the like never come near git.
const SCHEMES: [&str; 7] = ["https", "http", "ftp", "git", "ssh", "file", "git+ssh"];

/// A checked URL of a source: a known scheme, no password, nothing that a command line could take for an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceUrl(Url);

impl SourceUrl {
    /// The URL as the lock writes it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The parsed URL.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The scheme in lower case, without the colon.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// The host, with the port where it is not the scheme's own; empty for `file:`.
    pub fn host(&self) -> String {
        match (self.0.host_str(), self.0.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => String::new(),
        }
    }

    /// Joins a relative reference the way git does for a submodule's URL (`./x`, `../x`): path components are taken
    /// off the whole URL, which counts as a directory (`git-submodule.sh`, `resolve_relative_url`).
    ///
    /// # Errors
    /// When the reference climbs above the host, or the result is no acceptable URL.
    pub fn join_submodule(&self, reference: &str) -> Result<SourceUrl> {
        if !reference.starts_with("./") && !reference.starts_with("../") {
            return reference.parse();
        }
        let climbs_too_far = || Error::input(format!("submodule URL `{reference}` climbs above {self}"));
        let mut base: Vec<&str> = self.0.path().trim_matches('/').split('/').collect();
        for part in reference.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(base.pop().ok_or_else(climbs_too_far)?),
                part => base.push(part),
            }
        }
        let mut joined = self.0.clone();
        joined.set_path(&format!("/{}", base.join("/")));
        joined.as_str().parse()
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::input(format!("`{}` is not a usable URL: {why}", redact(text))));
        if text.starts_with('-') {
            return refuse("it begins with a dash");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it holds white space or control characters");
        }
        let parsed = match scp_to_ssh(text) {
            Some(ssh) => Url::parse(&ssh),
            None => Url::parse(text),
        };
        let Ok(url) = parsed else {
            return refuse("it has no scheme, or cannot be parsed");
        };
        if !SCHEMES.contains(&url.scheme()) {
            return refuse(&format!("kbuild does not fetch `{}:`", url.scheme()));
        }
        if url.password().is_some() {
            return refuse("it carries a password (put it in ~/.netrc or git's credential helper)");
        }
        if url.scheme() != "file" && url.host_str().is_none_or(str::is_empty) {
            return refuse("it has no host");
        }
        if url.host_str().is_some_and(|host| host.starts_with('-')) || url.username().starts_with('-') {
            return refuse("its host or user begins with a dash");
        }
        Ok(SourceUrl(url))
    }
}

/// `git@host:path`, git's short form, as an `ssh:` URL.
fn scp_to_ssh(text: &str) -> Option<String> {
    let (host, path) = text.split_once(':')?;
    let is_short = !path.starts_with("//") && host.contains('@') && !host.contains('/');
    is_short.then(|| format!("ssh://{host}/{}", path.trim_start_matches('/')))
}

/// A text in which the password (and a user name that may be a token) of any URL is replaced by `***`.
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
        from = start;
    }
    found
}

impl Serialize for SourceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SourceUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap()
    }

    #[test]
    fn dangerous_urls_are_refused() {
        for text in [
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "https://user:secret@host/x",
            "ssh://-oProxyCommand=x/y",
            "relative/path",
            "https://host/a b",
            "data:text/plain,x",
        ] {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn git_short_form_becomes_ssh() {
        assert_eq!(url("git@github.com:a/b.git").as_str(), "ssh://git@github.com/a/b.git");
    }

    #[test]
    fn credentials_are_redacted_but_a_git_user_stays() {
        assert_eq!(
            redact("fatal: unable to access 'https://tok3n@h/x?y=1': 403"),
            "fatal: unable to access 'https://***@h/x?y=1': 403"
        );
        assert_eq!(redact("https://a:b@h/ and http://c@i"), "https://***@h/ and http://***@i");
        assert_eq!(redact("ssh://git@h/x"), "ssh://git@h/x");
        assert_eq!(redact_in_place("https://a:é@h/ and http://c@i"), "https://****@h/ and http://*@i");
    }

    #[test]
    fn submodule_urls_join_as_git_joins_them() {
        let parent = url("https://host/group/parent.git");
        assert_eq!(parent.join_submodule("../child.git").unwrap().as_str(), "https://host/group/child.git");
        assert_eq!(parent.join_submodule("./in").unwrap().as_str(), "https://host/group/parent.git/in");
        assert_eq!(parent.join_submodule("https://other/x").unwrap().as_str(), "https://other/x");
        assert!(parent.join_submodule("../../../x").is_err());
    }
}
