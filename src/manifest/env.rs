//! Checks of `env`: variables that BitBake has from its environment.

use indexmap::IndexMap;

use super::EnvValue;
use super::diagnostics::Diagnostics;
use super::raw::{At, RawEnv, RawText};
use super::variables::instead_of;
use crate::error::{Error, Result};

/// Variables that every build has from kbuild, or that lead programs elsewhere than the build's PATH does.
const OWNED: [&str; 20] = [
    "BBPATH",
    "BB_ENV_PASSTHROUGH",
    "BB_ENV_PASSTHROUGH_ADDITIONS",
    "BBPRECONF",
    "BBPOSTCONF",
    "BBSERVER",
    "BUILDDIR",
    "GIT_CEILING_DIRECTORIES",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "SHELL",
    "SOURCE_DATE_EPOCH",
    "TERM",
    "TZ",
    "USER",
    "PYTHONPATH",
];

/// What begins the names of variables that say how hard this host is driven, which builds have from their caller, and of those of
/// the dynamic linker.
const OWNED_PREFIXES: [&str; 5] = ["BB_NUMBER_", "BB_PRESSURE_", "KBUILD_", "LD_", "PARALLEL_MAKE"];

/// Checks a table of variables.
pub(super) fn check(env: &IndexMap<RawText, At<RawEnv>>, diagnostics: &mut Diagnostics) {
    for (name, value) in env {
        diagnostics.take(check_name(name));
        diagnostics.take(read_value(name, value));
    }
}

/// The valid variables of a table.
pub(super) fn read(env: &IndexMap<RawText, At<RawEnv>>) -> IndexMap<String, EnvValue> {
    env.iter().filter_map(|(name, value)| Some((name.value.clone(), read_value(name, value).ok()?))).collect()
}

/// Whether a manifest can set this variable of the environment.
pub fn is_env_name(name: &str) -> bool {
    check_name(&RawText { value: name.to_owned(), span: 0..0 }).is_ok()
}

fn check_name(name: &RawText) -> Result<()> {
    let fault = |message: String| Error::input(message).at(name.span.clone(), "this variable");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
        return Err(fault(format!("`{}` cannot be the name of a variable of the environment", name.escape_debug()))
            .help("a name consists of letters, digits and `_`, with no digit first"));
    }
    let own = OWNED.contains(&name.as_str()) || OWNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    match instead_of(name) {
        _ if own => Err(fault(format!("`{}` is set by kbuild itself", name.value)).help("remove it")),
        Some(instead) => Err(fault(format!("`{}` is set by kbuild itself", name.value)).help(instead)),
        None => Ok(()),
    }
}

fn read_value(name: &RawText, value: &At<RawEnv>) -> Result<EnvValue> {
    let fault = |message: &str| {
        Err(Error::input(format!("the variable `{}` {message}", name.escape_debug())).at(value.span.clone(), "here"))
    };
    match &value.value {
        RawEnv::Set(text) | RawEnv::Forward { default: Some(text), .. } if text.chars().any(char::is_control) => {
            fault("does not fit on one line").map_err(|error| error.help("remove the line break or control character"))
        }
        RawEnv::Set(text) => Ok(EnvValue::Set(text.clone())),
        RawEnv::Forward { forward: true, default } => Ok(EnvValue::Forwarded { default: default.clone() }),
        RawEnv::Forward { forward: false, .. } => fault("is neither set nor forwarded").map_err(|error| {
            error.help(format!(
                "write `{0} = \"…\"`, or `{0} = {{ forward = true, default = \"…\" }}` to take it from the caller",
                name.value
            ))
        }),
    }
}
