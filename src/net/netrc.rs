//! `.netrc`: user names and passwords for hosts, kept out of URLs.
//!
//! The format is that of ftp(1) and curl: white-space separated tokens, `machine`, `default`, `login`, `password`,
//! `account`, and `macdef` blocks, which are skipped. The file at `$NETRC`, else `~/.netrc`.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

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
        let named = env::var_os("NETRC").filter(|path| !path.is_empty()).map(PathBuf::from);
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

    /// Reads the text of such a file; what it does not understand is passed over.
    pub fn parse(text: &str) -> Netrc {
        let mut entries: Vec<NetrcEntry> = Vec::new();
        let text = without_macros(text);
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let machine = match word {
                "machine" => words.next().map(|host| Some(host.to_ascii_lowercase())),
                "default" => Some(None),
                "login" | "password" | "account" => {
                    set(entries.last_mut(), word, words.next());
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

fn set(entry: Option<&mut NetrcEntry>, what: &str, value: Option<&str>) {
    if let (Some(entry), Some(value)) = (entry, value) {
        let value = value.trim_matches('"').to_owned();
        match what {
            "login" => entry.login = value,
            "password" => entry.password = value,
            _ => {}
        }
    }
}

/// The text without comment lines and without macros, which go from `macdef` to the next empty line.
fn without_macros(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut in_macro = false;
    for line in text.lines() {
        in_macro = if in_macro { !line.trim().is_empty() } else { line.trim_start().starts_with("macdef") };
        if !in_macro && !line.trim_start().starts_with('#') {
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
    fn default_is_sent_to_nobody() {
        let netrc = Netrc::parse("machine a login b password c default login d password e");
        assert_eq!(netrc.for_host("a"), Some(("b", "c")));
        assert_eq!(netrc.for_host("z"), None);
        assert_eq!(Netrc::parse("machine").for_host("x"), None);
        assert_eq!(Netrc::parse("login x password").for_host("x"), None);
    }
}
