//! Environment variables that are set but empty.

use std::ffi::OsStr;

use clap::builder::{BoolishValueParser, TypedValueParser as _};

use crate::env_vars;

/// Besides `KBUILD_…`: variables that the libraries below read. Some of these take an empty text for a file name.
const OTHERS: [&str; 11] = [
    env_vars::GIT_SSL_CAINFO,
    env_vars::GIT_SSL_CAPATH,
    env_vars::GOPROXY,
    env_vars::KAS_WORK_DIR,
    env_vars::NETRC,
    env_vars::REGISTRY_AUTH_FILE,
    env_vars::SSL_CERT_DIR,
    env_vars::SSL_CERT_FILE,
    env_vars::TMPDIR,
    env_vars::XDG_CONFIG_HOME,
    env_vars::XDG_RUNTIME_DIR,
];

/// Removes empty variables, so that empty means unset. CI systems set variables without a value to the empty text.
///
/// Must be called before anything else in this process.
pub(super) fn forget_empty_variables() {
    for (name, _) in std::env::vars_os().filter(|(name, value)| value.is_empty() && is_ours(name)) {
        // SAFETY: the process has only one thread yet, so no other thread reads the environment.
        unsafe { std::env::remove_var(name) };
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"KBUILD_") || OTHERS.iter().any(|other| name == *other)
}

/// How often `-v` was given, from KBUILD_VERBOSE: a number, or a word for yes or no.
pub(super) fn verbosity(text: &str) -> Result<u8, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let command = clap::Command::new("kbuild");
    let yes = BoolishValueParser::new().parse_ref(&command, None, OsStr::new(text));
    yes.map(u8::from).map_err(|_| "neither a number nor `true` or `false`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_is_a_number_or_a_truth_value() {
        for (text, number) in [("0", 0), ("2", 2), ("false", 0), ("no", 0), ("true", 1), ("on", 1)] {
            assert_eq!(verbosity(text), Ok(number), "{text}");
        }
        assert!(verbosity("much").is_err());
    }

    #[test]
    fn only_variables_that_kbuild_reads_are_forgotten() {
        for name in ["KBUILD_STORE", "KBUILD_NEW", "NETRC", "SSL_CERT_FILE"] {
            assert!(is_ours(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "NO_COLOR", "HOME", "GIT_DIR"] {
            assert!(!is_ours(OsStr::new(name)), "{name}");
        }
    }
}
