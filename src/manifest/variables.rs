//! Checks of BitBake's variables as a manifest sets them: tables of names and values (`config`), and text in BitBake's own
//! language (`conf`).

use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;

use super::document::Diagnostics;
use super::raw::RawText;
use crate::error::{Error, Result};

/// Variables that kbuild itself sets, with what to use instead. To set one would have no effect, or would break the rule
/// that a build uses its lock and nothing else.
const OWNED: [(&str, &str); 31] = [
    ("MACHINE", "set the board's `machine`"),
    ("BBLAYERS", "set the board's `layers`"),
    ("BBPATH", "layers set it in their layer.conf"),
    ("BBFILES", "layers set it in their layer.conf"),
    ("OVERRIDES", "declare an option: its word is added"),
    ("TOPDIR", "kbuild lays out the build directory"),
    ("TMPDIR", "kbuild lays out the build directory"),
    ("DL_DIR", "sources come from the store: see `--store`"),
    ("GITDIR", "sources come from the store: see `--store`"),
    ("PREMIRRORS", "declare a `[[mirrors.rule]]`"),
    ("MIRRORS", "declare a `[[mirrors.fallback]]`"),
    ("SOURCE_MIRROR_URL", "declare a `[[mirrors.rule]]`"),
    ("BB_NO_NETWORK", "a build never touches the network"),
    ("BB_FETCH_PREMIRRORONLY", "a build never touches the network"),
    ("SSTATE_DIR", "set `dir` in `[cache]`"),
    ("DEPLOY_DIR", "kbuild lays out the build directory"),
    ("DEPLOY_DIR_IMAGE", "kbuild lays out the build directory"),
    ("IMAGE_VERSION_SUFFIX", "kbuild keeps the time of day out of the names of images"),
    ("BB_SERVER_TIMEOUT", "BitBake's server ends with its build"),
    ("SSTATE_MIRRORS", "set `pull` in `[cache]`"),
    ("SSTATE_MIRROR_ALLOW_NETWORK", "a build never touches the network"),
    ("BB_ALLOWED_NETWORKS", "a build never touches the network"),
    ("BB_HASHSERVE_UPSTREAM", "set `hashserve` in `[cache]`"),
    ("BB_HASHSERVE_DB_DIR", "set `dir` in `[cache]`: the database is beside the shared state"),
    ("PRSERV_UPSTREAM", "set `prserve` in `[cache]`"),
    ("CONNECTIVITY_CHECK_URIS", "a build never touches the network"),
    ("BB_GENERATE_MIRROR_TARBALLS", "sources come from the store: see `--store`"),
    ("BB_GENERATE_SHALLOW_TARBALLS", "sources come from the store: see `--store`"),
    ("CONF_VERSION", "kbuild writes local.conf"),
    ("LCONF_VERSION", "kbuild writes bblayers.conf"),
    ("SRCREV", "declare a source with `recipes`: the lock then pins theirs"),
];

/// Variables of the kernel's own build system, which has the same name, behind `KBUILD_`. OpenEmbedded's kernel classes and recipes
/// read them.
const OF_LINUX: [&str; 8] =
    ["DEFCONFIG", "OUTPUT", "VERBOSE", "EXTRA_SYMBOLS", "BUILD_TIMESTAMP", "BUILD_USER", "BUILD_HOST", "BUILD_VERSION"];

/// The class by which kbuild keeps what it sets, and learns what recipes fetch.
const CLASS: &str = "kbuild-lock";

/// `ConfHandler.__config_regexp__` of bb.parse.parse_py, without expansions in the name.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[A-Za-z_][A-Za-z0-9_.+/~-]*(:[A-Za-z0-9_.+/~-]+)*(\[[A-Za-z0-9_.+-][A-Za-z0-9_.+@/-]*\])?$")
        .expect("a constant expression compiles")
});

/// The variable that a line sets or unsets.
static SETS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:(?:export\s+)?([\w.+/~-]+)(?::[^\s=\[]*)?(?:\[[^\]]*\])?\s*(?:\?\?|[?+.:])?=|unset\s+([\w.+/~-]+))",
    )
    .expect("a constant expression compiles")
});

/// Whether this is the name of a variable, with overrides and a flag where it has them.
pub(super) fn is_variable(name: &str) -> bool {
    VARIABLE.is_match(name)
}

/// What to write instead of setting a variable that is kbuild's own; without overrides and flag.
pub fn instead_of(base: &str) -> Option<&'static str> {
    match base {
        _ if base.starts_with("SRCREV_") => Some("declare a source with `recipes` and `srcrev-name`"),
        _ if base.strip_prefix("KBUILD_").is_some_and(|name| !OF_LINUX.contains(&name)) => {
            Some("these are the declared sources: change `[sources]`, or choose another name")
        }
        _ => OWNED.iter().find(|(owned, _)| *owned == base).map(|(_, instead)| *instead),
    }
}

/// The variable that a line of configuration sets or unsets, without overrides and flag.
pub fn variable_set_by(line: &str) -> Option<&str> {
    SETS.captures(line).and_then(|found| found.get(1).or(found.get(2))).map(|base| base.as_str())
}

/// Checks a table of variables.
pub(super) fn check_config(config: &IndexMap<RawText, RawText>, diagnostics: &mut Diagnostics) {
    for (name, value) in config {
        diagnostics.take(check_variable(name));
        diagnostics.take(check_value(name, value));
    }
}

fn check_variable(name: &RawText) -> Result<()> {
    let fault = |message: String| Error::input(message).at(name.span.clone(), "this variable");
    if !is_variable(name) {
        let message = format!("`{}` cannot be the name of a BitBake variable", name.escape_debug());
        return Err(fault(message).help("give `NAME`, or `NAME:append`, `NAME[flag]` and the like in quotes"));
    }
    let base = name.split([':', '[']).next().unwrap_or_default();
    match instead_of(base) {
        Some(instead) => Err(fault(format!("`{base}` is set by kbuild itself")).help(instead)),
        None => Ok(()),
    }
}

/// A value is one line between quotes of one kind. The same parser ends an assignment at the end of its line, knows no
/// escapes, and refuses a quote of the kind around the value. So a value contains at most one kind.
fn check_value(name: &RawText, value: &RawText) -> Result<()> {
    let fault = |message: &str, label: &str, help: &str| {
        let message = format!("the value of `{}` {message}", name.escape_debug());
        Err(Error::input(message).at(value.span.clone(), label.to_owned()).help(help))
    };
    if value.chars().any(|c| c.is_control() && c != '\t') {
        let help = "separate words by spaces: for BitBake a value ends with its line";
        return fault("does not fit on one line", "it contains a line break or control character", help);
    }
    if value.contains('"') && value.contains('\'') {
        let help = "BitBake has no escapes: use one kind, or set the variable in a layer";
        return fault("contains both kinds of quotes", "`\"` and `'`", help);
    }
    Ok(())
}

/// Checks a text in BitBake's own language. BitBake alone parses it: only what would have no effect, or would reach beyond the
/// text, is looked for.
pub(super) fn check_conf(whose: &str, conf: &RawText, diagnostics: &mut Diagnostics) {
    let fault = |message: String, line: usize| {
        // The text may begin behind the quotes or a line below them: its lines are counted.
        let start = conf.span.start..conf.span.end.min(conf.span.start + 3);
        Error::input(message).at(start, format!("in line {line} of this text"))
    };
    let mut continued = false;
    for (index, line) in conf.lines().enumerate() {
        let number = index + 1;
        if line.chars().any(|c| c.is_control() && c != '\t') {
            let message = format!("the `conf` of {whose} contains a control character");
            diagnostics.add(fault(message, number).help("remove it: BitBake's configuration is plain text"));
        }
        let set = variable_set_by(line).filter(|_| !continued);
        if let Some((base, instead)) = set.and_then(|base| Some((base, instead_of(base)?))) {
            diagnostics.add(fault(format!("`{base}` is set by kbuild itself"), number).help(instead));
        }
        if line.contains(CLASS) && !line.starts_with('#') {
            let message = format!("the `conf` of {whose} names kbuild's own class");
            diagnostics.add(fault(message, number).help("remove the line: every build has the class"));
        }
        continued = line.trim_end().ends_with('\\');
    }
    if continued {
        let fault = fault(format!("the `conf` of {whose} ends in the middle of a line"), conf.lines().count());
        diagnostics.add(fault.help("remove the `\\` at its end, or add the rest of the line"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn faults(text: &str) -> String {
        let mut diagnostics = Diagnostics::default();
        check_conf("board `x`", &RawText { value: text.to_owned(), span: 0..3 }, &mut diagnostics);
        let error = diagnostics.finish(Path::new("kbuild.toml"), "'''").err();
        error.map_or_else(String::new, |error| match error.related_errors() {
            [] => error.to_string(),
            all => all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        })
    }

    #[test]
    fn bitbakes_own_language_is_left_to_bitbake() {
        let text = "A ?= \"1\"\nA:append = \" x\"\nB[flag] = \"y\"\nPREFERRED_PROVIDER_virtual/kernel = \"z\"\n\
                    C = \"\\\n  DL_DIR = no assignment \\\n\"\n# DL_DIR = \"comment\"\nrequire conf/more.conf\nnonsense\n";
        assert_eq!(faults(text), "");
    }

    #[test]
    fn what_kbuild_sets_is_refused_in_every_spelling() {
        for line in [
            "DL_DIR = \"/x\"",
            "DL_DIR:forcevariable = \"/x\"",
            "DL_DIR[export] = \"1\"",
            "export DL_DIR ?= \"/x\"",
            "unset DL_DIR",
            "DL_DIR:append:pn-x .= \"/x\"",
            "DL_DIR?=\"/x\"",
            "DL_DIR := \"/x\"",
            "DL_DIR ??= \"/x\"",
        ] {
            assert_eq!(faults(line), "`DL_DIR` is set by kbuild itself", "{line}");
        }
        assert!(faults("SRCREV_a:pn-x = \"1\"").contains("SRCREV_a"));
        assert_eq!(faults("KBUILD_DEFCONFIG:board = \"defconfig\""), "", "the kernel's own");
        assert!(faults("KBUILD_DEFCONFIG_URI = \"x\"").contains("KBUILD_DEFCONFIG_URI"));
        assert!(faults("KBUILD_SETS[DL_DIR] = \"/x\"").contains("KBUILD_SETS"));
        assert!(faults("INHERIT:remove = \"kbuild-lock\"").contains("kbuild's own class"));
    }

    #[test]
    fn a_text_ends_with_its_last_line() {
        assert!(faults("A = \"x \\\n").contains("ends in the middle of a line"));
        assert!(faults("A = \"\u{1b}\"").contains("control character"));
    }
}
