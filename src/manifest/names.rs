//! Which names are valid, and which one was perhaps meant.

use std::ops::Range;

use super::diagnostics::Diagnostics;
use super::raw::RawText;
use crate::error::{Error, Result};
use crate::suggest;

/// The longest name of a layer, source, board or option: it becomes the name of a directory, followed by a commit.
const LONGEST: usize = 100;

/// Checks the name of a layer, source, board, option or choice: it becomes part of paths and of BitBake's variables.
pub(super) fn check_name(what: &str, name: &str, span: &Range<usize>) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` cannot be the name of {what}", name.escape_debug()))
        .at(span.clone(), "this name")
        .help(format!(
            "a name consists of letters, digits and `.` `_` `+` `-`, with a letter or digit first, {LONGEST} at most"
        )))
}

/// Whether this is `[A-Za-z0-9][A-Za-z0-9._+-]*`, and short enough for a directory.
pub fn is_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

/// The `NAME` in `KBUILD_<NAME>_*`: upper case, with `_` for all that is not a letter or digit.
pub(super) fn variable_part(source: &str) -> String {
    source.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A hint with the name that was perhaps meant, and all names.
pub(super) fn suggest<'a>(what: &str, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let all = if known.is_empty() { format!("there are no {what}") } else { format!("{what}: {}", known.join(", ")) };
    match suggest::did_you_mean(wrong, known, 1) {
        Some(question) => format!("{question} ({all})"),
        None => all,
    }
}

/// Reports the names of a list that do not exist.
pub(super) fn check_known<'a>(
    whose: &str,
    what: &str,
    list: &[RawText],
    known: impl Iterator<Item = &'a str> + Clone,
    diagnostics: &mut Diagnostics,
) {
    for name in list.iter().filter(|name| !known.clone().any(|known| known == name.as_str())) {
        let fault = Error::input(format!("{whose} names an unknown {what} `{}`", name.escape_debug()));
        let help = suggest(&format!("{what}s"), name, known.clone());
        diagnostics.add(fault.at(name.span.clone(), format!("no such {what}")).help(help));
    }
}

/// Reports the names that a list contains more than once.
pub(super) fn check_repeated(whose: &str, what: &str, list: &[RawText], diagnostics: &mut Diagnostics) {
    for (index, name) in list.iter().enumerate() {
        if let Some(first) = list[..index].iter().find(|first| *first == name) {
            diagnostics.add(twice(whose, what, name, first));
        }
    }
}

/// The fault of a list that names one thing twice.
pub(super) fn twice(whose: &str, what: &str, again: &RawText, first: &RawText) -> Error {
    Error::input(format!("{whose} names the {what} `{}` twice", again.escape_debug()))
        .at(again.span.clone(), "again here")
        .at(first.span.clone(), "first here")
        .help("remove one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_names_all_there_is() {
        assert_eq!(suggest("boards", "qemo", ["intel", "qemu"]), "did you mean `qemu`? (boards: intel, qemu)");
        assert_eq!(suggest("boards", "x", []), "there are no boards");
    }

    #[test]
    fn names_become_paths_and_variables() {
        for good in ["a", "meta-x", "gtk+3", "2.18", "A_b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-x", "a/b", "a b", "é", "a=b", "a:b", "${X}", &"x".repeat(101)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(variable_part("gtk+3.x_y-z"), "GTK_3_X_Y_Z");
    }
}
