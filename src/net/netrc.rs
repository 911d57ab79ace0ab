//! `.netrc`: user names and passwords for hosts, kept out of URLs.
//!
//! The format is that of ftp(1) as curl reads it (`lib/netrc.c`): tokens between white space, of which one that begins
//! with `"` goes to the next `"` and knows `\n`, `\r`, `\t` and `\` before any other character; `#` where a token would
//! begin makes the rest of its line a comment. Keywords are `machine`, `default`, `login`, `password`, `account`, and
//! `macdef`, whose text is skipped. The file at `$NETRC`, else `~/.netrc`.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::env_vars;
use crate::error::{Error, Result};

/// One `machine`, or `default`.
#[derive(Clone, PartialEq, Eq)]
struct NetrcEntry {
    /// `None` for `default`.
    machine: Option<String>,
    login: String,
    password: String,
}

/// The parsed file. Neither `Debug` nor `Display`: it holds passwords.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Netrc(Vec<NetrcEntry>);

impl Netrc {
    /// Reads `$NETRC`, or `~/.netrc` if there is one.
    ///
    /// # Errors
    /// A file that is there, or that `NETRC` names, and cannot be read.
    pub fn read() -> Result<Netrc> {
        let named = env::var_os(env_vars::NETRC).filter(|path| !path.is_empty()).map(PathBuf::from);
        let is_named = named.is_some();
        let Some(path) = named.or_else(|| env::home_dir().map(|home| home.join(".netrc"))) else {
            return Ok(Netrc::default());
        };
        match fs::read(&path) {
            Ok(text) => Ok(Netrc::parse(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_named => Ok(Netrc::default()),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Reads the text of such a file; tokens that it does not know are skipped.
    pub fn parse(text: &str) -> Netrc {
        let mut entries: Vec<NetrcEntry> = Vec::new();
        let text = without_macros(text);
        let mut words = text.lines().flat_map(tokens);
        while let Some(word) = words.next() {
            let machine = match word.as_str() {
                "machine" => words.next().map(|host| Some(host.to_ascii_lowercase())),
                "default" => Some(None),
                "login" | "password" | "account" => {
                    set(entries.last_mut(), &word, words.next());
                    None
                }
                _ => None,
            };
            if let Some(machine) = machine {
                entries.push(NetrcEntry { machine, login: String::new(), password: String::new() });
            }
        }
        Netrc(entries)
    }

    /// User name and password for a host (without port): the first entry that names it. A `default` entry, meant for
    /// anonymous ftp, is not sent to every host that a mirror list or a recipe names.
    pub fn for_host(&self, host: &str) -> Option<(&str, &str)> {
        let entry =
            self.0.iter().find(|entry| entry.machine.as_deref().is_some_and(|m| m.eq_ignore_ascii_case(host)))?;
        (!entry.login.is_empty()).then_some((&entry.login, &entry.password))
    }
}

fn set(entry: Option<&mut NetrcEntry>, what: &str, value: Option<String>) {
    if let (Some(entry), Some(value)) = (entry, value) {
        match what {
            "login" => entry.login = value,
            "password" => entry.password = value,
            _ => {}
        }
    }
}

/// The tokens of a line.
fn tokens(line: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (token, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_token(quoted),
            None => {
                let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        tokens.push(token);
        rest = after.trim_ascii_start();
    }
    tokens
}

/// A quoted token, and what follows its closing quote. One that is never closed goes to the end of its line.
fn quoted_token(text: &str) -> (String, &str) {
    let mut token = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (token, &text[at + 1..]),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => token.push('\n'),
                Some('r') => token.push('\r'),
                Some('t') => token.push('\t'),
                escaped => token.extend(escaped),
            },
            other => token.push(other),
        }
    }
    (token, "")
}

/// The text without macros, which go from `macdef` to the next empty line.
fn without_macros(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_macro = false;
    for line in text.lines() {
        in_macro = if in_macro { !line.trim().is_empty() } else { line.trim_start().starts_with("macdef") };
        if !in_macro {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_host_gets_its_own_and_no_other() {
        let netrc = Netrc::parse(
            "# comment with machine x\nmachine Mirror.corp login me password s3cret\n\
             macdef init\nmachine evil login a password b\n\nmachine other\n  login you\n  account x\n  password \"p\"\n",
        );
        assert_eq!(netrc.for_host("mirror.corp"), Some(("me", "s3cret")));
        assert_eq!(netrc.for_host("other"), Some(("you", "p")));
        assert_eq!(netrc.for_host("evil"), None);
        assert_eq!(netrc.for_host("sub.mirror.corp"), None);
    }

    #[test]
    fn tokens_are_those_of_curl() {
        for (written, password) in [
            ("p4ss#word", "p4ss#word"),
            ("\"two words\"", "two words"),
            ("\"a\\\"b\"", "a\"b"),
            ("\"a\\\\b\\t\"", "a\\b\t"),
            ("ab\"", "ab\""),
            ("a\\b", "a\\b"),
            ("x # password y", "x"),
        ] {
            let netrc = Netrc::parse(&format!("machine h login me password {written}\n# machine i\n"));
            assert_eq!(netrc.for_host("h"), Some(("me", password)), "{written}");
            assert_eq!(netrc.for_host("i"), None);
        }
    }

    #[test]
    fn default_is_sent_to_nobody() {
        let netrc = Netrc::parse("machine a login b password c default login d password e");
        assert_eq!(netrc.for_host("a"), Some(("b", "c")));
        assert_eq!(netrc.for_host("z"), None);
        assert_eq!(Netrc::parse("machine").for_host("x"), None);
        assert_eq!(Netrc::parse("login x password").for_host("x"), None);
    }
}
