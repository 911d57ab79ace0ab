//! Exceptions that are written in the file itself: `# kbuild-audit: allow KIND because REASON`, on the line of the
//! finding or right before it.

use std::sync::LazyLock;

use regex::Regex;

use super::kind::Rule;

/// An exception as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    /// `None` when no rule has this name.
    pub(super) kind: Option<Rule>,
    pub(super) has_reason: bool,
    /// From 1.
    pub(super) line: usize,
}

static COMMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"#\s*kbuild-audit:\s*(?:allow\s+)?(?P<kind>\S*)(?:\s+because\s+(?P<reason>.*\S))?")
        .expect("a constant expression compiles")
});

/// The exceptions of a file.
pub(super) fn read(text: &str) -> Vec<Exception> {
    if !text.contains("kbuild-audit:") {
        return Vec::new();
    }
    let exception = |(at, line): (usize, &str)| {
        let found = COMMENT.captures(line)?;
        Some(Exception {
            kind: Rule::from_name(&found["kind"]),
            has_reason: found.name("reason").is_some(),
            line: at + 1,
        })
    };
    text.lines().enumerate().filter_map(exception).collect()
}

/// The lines where an exception for a finding on `line` may stand: that line, and the comments right before it, or
/// before the line that it continues.
pub(super) fn lines_for(text: &[&str], line: usize) -> Vec<usize> {
    let content = |line: usize| line.checked_sub(1).and_then(|at| text.get(at)).map_or("", |line| line.trim());
    let mut first = line;
    while first > 1 && content(first - 1).ends_with('\\') {
        first -= 1;
    }
    let mut lines = vec![line, first];
    while first > 1 && content(first - 1).starts_with('#') {
        first -= 1;
        lines.push(first);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read() {
        let text = "\n# kbuild-audit: allow autorev because it is a nightly\n#kbuild-audit: allow autorev\nx # kbuild-audit: allow curl because y\n# kbuild-audit: allow own-fetch because \n";
        let exception = |kind, has_reason, line| Exception { kind, has_reason, line };
        assert_eq!(
            read(text),
            [
                exception(Some(Rule::Autorev), true, 2),
                exception(Some(Rule::Autorev), false, 3),
                exception(None, true, 4),
                exception(Some(Rule::OwnFetch), false, 5),
            ]
        );
    }

    #[test]
    fn where_they_may_stand() {
        let text = ["# a", "# b", "A = \"x \\", "  y \\", "  z\"", "B"];
        assert_eq!(lines_for(&text, 5), [5, 3, 2, 1]);
        assert_eq!(lines_for(&text, 6), [6, 6]);
    }
}
