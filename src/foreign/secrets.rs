//! Values that look like a password: they are never written to a manifest.

use crate::source::url::redact;

/// Words in a variable's name that say that its value is a credential.
const WORDS: [&str; 12] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PSWD",
    "TOKEN",
    "SECRET",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
    "PRIVATEKEY",
    "ACCESSKEY",
];

/// Two words that together say so.
const PAIRS: [(&str, &str); 3] = [("API", "KEY"), ("PRIVATE", "KEY"), ("ACCESS", "KEY")];

/// Last words of names whose value says where a credential is, and not what it is.
const PLACES: [&str; 6] = ["FILE", "PATH", "DIR", "NAME", "FEATURES", "CLASS"];

/// Values that are no credential, whatever the name.
const HARMLESS: [&str; 8] = ["", "0", "1", "true", "false", "yes", "no", "none"];

/// Texts that only credentials have: what a hash, a key or a token of a forge begins with, and the switches of `useradd` and
/// `usermod` that take a password.
const MARKS: [&str; 14] = [
    "-----BEGIN",
    "ghp_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "xoxb-",
    "$1$",
    "$5$",
    "$6$",
    "$y$",
    "usermod -p",
    "useradd -p",
    "usermod -P",
    "useradd -P",
];

/// Whether a variable of this name and value holds a credential. `${…}` alone names another variable, which is looked at
/// itself.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    carries_secret(value) || has_secret_name(name) && !is_harmless(value)
}

/// Whether a text has a credential in it: a URL with one, a hash of a password, a key.
pub(super) fn carries_secret(text: &str) -> bool {
    redact(text) != text || MARKS.iter().any(|mark| text.replace('\\', "").contains(mark))
}

fn has_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.last().is_some_and(|last| PLACES.contains(last)) {
        return false;
    }
    let pair = words.windows(2).any(|two| PAIRS.contains(&(two[0], two[1])));
    pair || words
        .iter()
        .any(|word| WORDS.contains(word) || ["PASSWORD", "PASSWD"].iter().any(|end| word.ends_with(end)))
}

fn is_harmless(value: &str) -> bool {
    let value = value.trim();
    let reference =
        value.starts_with("${") && value.ends_with('}') && !value[2..].contains("${") && !value.contains('@');
    reference || HARMLESS.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_known_by_name_or_by_form() {
        for (name, value) in [
            ("ROOT_PASSWORD", "root"),
            ("WIFI_PASSWD:pn-x", "x"),
            ("MENDER_TENANT_TOKEN", "abc"),
            ("ROOTPASSWORD", "x"),
            ("API_KEY", "x"),
            ("EXTRA_USERS_PARAMS", "usermod -p '\\$6\\$abc' root;"),
            ("URL", "https://me:pw@host/x"),
            ("X", "-----BEGIN PRIVATE KEY-----"),
        ] {
            assert!(is_secret(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("ALLOW_EMPTY_PASSWORD", "1"),
            ("SIGNING_PASSWORD_FILE", "/x"),
            ("TOKEN", "${OTHER}"),
            ("PASSTHROUGH", "x"),
            ("COMPASS_HEADING", "x"),
            ("MACHINE", "qemuarm64"),
            ("URL", "ssh://git@host/x"),
        ] {
            assert!(!is_secret(name, value), "{name} {value}");
        }
    }
}
