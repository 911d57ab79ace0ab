//! The syntax of BitBake's configuration files: quoting, names, paths.
//!
//! BitBake's conf grammar (`bb.parse.parse_py.ConfHandler`) has no escapes: a value is one line between two quotes of
//! one kind, a backslash is a plain character, and `${…}` is expanded. So a value is written between `"`, or between
//! `'` where it holds `"`; one that holds both, or a line break or other control character, is refused.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Error, Result};
use crate::files::{LOCK, MANIFEST};
use crate::manifest::is_variable;

/// A configuration file while it is written.
pub(super) struct ConfText(pub(super) String);

/// The variable whose flags hold what kbuild's class sets again behind all layers: see [`ConfText::keep`].
pub(super) const KEPT: &str = "KBUILD_SETS";

impl ConfText {
    /// A file that begins with the comment at the top of each file of a board.
    pub(super) fn new(project: &str, board: &str, file: &str) -> ConfText {
        ConfText(format!(
            "# {file} of the board `{board}` of `{project}`. Written by kbuild from {MANIFEST} and {LOCK}.\n\
             # Do not edit: the next build writes it again. Change {MANIFEST} instead.\n\n",
        ))
    }

    /// A heading.
    pub(super) fn section(&mut self, title: &str) {
        let gap = if self.0.ends_with("\n\n") { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}# ---- {title}");
    }

    /// Text as it is.
    pub(super) fn raw(&mut self, line: &str) {
        self.0.push_str(line);
    }

    /// A value of kbuild's own, in BitBake's language: set here for what layers read at once, and again by kbuild's
    /// class behind all layers and recipes, so that none of them can undo it.
    pub(super) fn keep(&mut self, variable: &str, value: &str) {
        let _ = writeln!(self.0, "{variable} = \"{value}\"");
        let _ = writeln!(self.0, "{KEPT}[{variable}] = \"{value}\"");
    }

    /// A value in which BitBake must expand nothing.
    pub(super) fn plain(&mut self, variable: &str, value: &str) -> Result<()> {
        if value.contains("${") {
            return Err(Error::input(format!("`{value}` holds `${{`, which BitBake would expand in {variable}")));
        }
        self.expanded(variable, value)
    }

    /// As [`ConfText::plain`], where there is a value.
    pub(super) fn optional(&mut self, variable: &str, value: Option<&str>) -> Result<()> {
        value.map_or(Ok(()), |value| self.plain(variable, value))
    }

    /// A value in BitBake's own language.
    pub(super) fn expanded(&mut self, variable: &str, value: &str) -> Result<()> {
        let quoted = quote(value).map_err(|error| error.wrap(format!("{variable} cannot be written for BitBake")))?;
        let _ = writeln!(self.0, "{variable} = {quoted}");
        Ok(())
    }
}

/// A value between the quotes that can hold it.
fn quote(value: &str) -> Result<String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Error::input("BitBake's configuration has one line per value").help("write the value on one line"));
    }
    match (value.contains('"'), value.contains('\'')) {
        (false, _) => Ok(format!("\"{value}\"")),
        (true, false) => Ok(format!("'{value}'")),
        (true, true) => Err(Error::input("a BitBake value cannot hold both kinds of quotes")
            .help("use one kind of quotes in the value, or set the variable in a layer")),
    }
}

static OVERRIDE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[a-z0-9][a-z0-9_.+-]*$").expect("a constant expression compiles"));

/// Refuses what is not the name of a variable.
pub(super) fn check_variable(variable: &str) -> Result<()> {
    if is_variable(variable) {
        return Ok(());
    }
    Err(Error::input(format!("`{variable}` is not the name of a BitBake variable"))
        .help("a name looks like `DISTRO`, `DISTRO_FEATURES:append` or `VAR[flag]`"))
}

/// A word of OVERRIDES: BitBake takes only lower case as one (`data_smart.__override_regexp__`, `__setvar_regexp__`).
pub(super) fn check_override(word: &str) -> Result<()> {
    if OVERRIDE.is_match(word) {
        return Ok(());
    }
    Err(Error::input(format!("`{word}` cannot be a word of OVERRIDES"))
        .help("use lower-case letters, digits, `-`, `_`, `.` and `+`"))
}

/// A directory as BBLAYERS and BBPATH can hold it: lists separated by white space and colons, with `${…}` and `~`
/// expanded, used in regular expressions and shell commands.
///
/// # Errors
/// A path with a character that has a meaning in one of these.
pub fn check_path(path: &Path) -> Result<&str> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || "\"'`\\$:;&|<>(){}[]*?!~#%+@^".contains(c);
    match path.to_str().map(|text| (text, text.chars().find(|c| refused(*c)))) {
        Some((text, None)) => Ok(text),
        Some((_, Some(c))) => Err(Error::input(format!(
            "BitBake cannot work in {}: the path holds `{}`",
            path.display(),
            c.escape_debug()
        ))
        .help("move the project to a directory with a plain name")),
        None => Err(Error::input(format!("BitBake cannot work in {}: the path is not UTF-8", path.display()))
            .help("move the project to a directory with a plain name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_the_quotes_that_can_hold_them() {
        assert_eq!(quote("a\\b 'c'\t").unwrap(), "\"a\\b 'c'\t\"");
        assert_eq!(quote("a \"b\"").unwrap(), "'a \"b\"'");
        for bad in ["a \"b\" 'c'", "a\nb", "a\r", "\u{1b}[0m", "\0"] {
            assert!(quote(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_that_bitbake_would_misread_are_refused() {
        assert_eq!(check_path(Path::new("/a/b-c_d.e/f,g=h")).unwrap(), "/a/b-c_d.e/f,g=h");
        for bad in ["/a b", "/a:b", "/a$b", "/~a", "/a+b", "/a@b", "/a\"b", "/a\nb"] {
            assert!(check_path(Path::new(bad)).is_err(), "{bad:?}");
        }
    }
}
