//! Reads BitBake metadata as text: assignments, functions and includes, each with its line. Nothing is evaluated.
//!
//! The grammar is that of `bb.parse.parse_py.ConfHandler` and `BBHandler`, with older forms that BitBake no longer
//! parses (`SRC_URI_append`, `do_install_append`). Text that is not understood is skipped: this is not a validator.

use std::sync::LazyLock;

use regex::Regex;

/// A piece of a file, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextSpan {
    pub(super) text: String,
    /// Line of the first byte, from 1.
    pub(super) line: usize,
}

impl TextSpan {
    /// The line of the byte at `offset`.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let upto = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        self.line + upto.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The language of a function's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Shell,
    /// Indented, as BitBake puts it under a `def`.
    Python,
}

/// `name = "value"` with any operator, or `name[flag] = "value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// With overrides and operators in the name, as written.
    pub(super) name: String,
    pub(super) flag: Option<String>,
    pub(super) operator: String,
    pub(super) export: bool,
    /// A line that continues ends with a plain newline here.
    pub(super) value: TextSpan,
    pub(super) line: usize,
}

/// `do_x() {`, `python do_x:append() {`, `python () {`, `def f(d):`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// With overrides, as written; empty for anonymous Python.
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) body: TextSpan,
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Assignment(Assignment),
    Function(Function),
    /// `include` or `require`: one or more paths.
    Include(TextSpan),
    /// Names of classes.
    Inherit(TextSpan),
}

static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<how>(?:fakeroot\s+|python\s+|python\b)*)(?P<name>[\w.\-+{}$:]*)\s*\(\s*\)\s*\{$")
        .expect("a constant expression compiles")
});
static DEF: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^def\s+(\w+).*:").expect("a constant expression compiles"));
static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^(?P<how>include_all|include|require|inherit_defer|inherit)\s+(?P<what>.+)$")
        .expect("a constant expression compiles")
});
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?sx)^ (?P<export>export\s+)? (?P<name>[a-zA-Z0-9\-_+.${}/~:]+?) (?:\[(?P<flag>[a-zA-Z0-9\-_+.@/]+)\])?
          \s* (?P<operator>:=|\?\?=|\?=|\+=|=\+|=\.|\.=|=) \s* (?P<value>['\x22].*)$",
    )
    .expect("a constant expression compiles")
});

/// The statements of a file, in its order.
pub(super) fn read(text: &str) -> Vec<Statement> {
    let lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
    let mut statements = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let end = if line.is_empty() || line.starts_with('#') {
            at + 1
        } else if let Some(header) = FUNCTION.captures(line) {
            let end = (at + 1..lines.len()).find(|next| lines[*next] == "}").unwrap_or(lines.len());
            let language = if header["how"].contains("python") { Language::Python } else { Language::Shell };
            statements.push(function(&header["name"], language, &lines, at + 1..end, at + 1));
            end + 1
        } else if let Some(header) = DEF.captures(line) {
            let end = (at + 1..lines.len()).find(|next| !belongs_to_def(lines[*next])).unwrap_or(lines.len());
            statements.push(function(&header[1], Language::Python, &lines, at + 1..end, at + 1));
            end
        } else {
            let end = (at..lines.len()).find(|next| !lines[*next].ends_with('\\')).map_or(lines.len(), |last| last + 1);
            statements.extend(logical_line(&lines[at..end], at + 1));
            end
        };
        at = end;
    }
    statements
}

fn belongs_to_def(line: &str) -> bool {
    line.is_empty() || line.starts_with([' ', '\t', '#'])
}

fn function(name: &str, language: Language, lines: &[&str], body: std::ops::Range<usize>, line: usize) -> Statement {
    let body = TextSpan { line: body.start + 1, text: lines[body].join("\n") };
    Statement::Function(Function { name: name.to_owned(), language, body, line })
}

/// A line with those that continue it.
fn logical_line(lines: &[&str], line: usize) -> Option<Statement> {
    let joined: Vec<&str> = lines.iter().map(|line| line.strip_suffix('\\').unwrap_or(line)).collect();
    let joined = joined.join("\n");
    let start = joined.len() - joined.trim_start().len();
    let text = &joined[start..];
    if let Some(found) = DIRECTIVE.captures(text) {
        let what = TextSpan { text: found["what"].to_owned(), line };
        return Some(if found["how"].starts_with("inherit") {
            Statement::Inherit(what)
        } else {
            Statement::Include(what)
        });
    }
    let found = ASSIGNMENT.captures(text)?;
    let quoted = found.name("value")?;
    let quote = quoted.as_str().chars().next()?;
    let value = quoted.as_str().strip_prefix(quote)?.strip_suffix(quote)?;
    let value_line = line + joined[..start + quoted.start()].matches('\n').count();
    Some(Statement::Assignment(Assignment {
        name: found["name"].to_owned(),
        flag: found.name("flag").map(|flag| flag.as_str().to_owned()),
        operator: found["operator"].to_owned(),
        export: found.name("export").is_some(),
        value: TextSpan { text: value.to_owned(), line: value_line },
        line,
    }))
}

/// A variable's or function's name without overrides and operators, in new syntax and, for the operators, in old:
/// `do_install:append:qemuall` and `do_install_append_qemuall` are `do_install`.
pub(super) fn base_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    let operators = ["_append", "_prepend", "_remove", "_class-"];
    let cut = operators.iter().filter_map(|operator| {
        let at = name.find(operator)?;
        let rest = &name[at + operator.len()..];
        (operator.ends_with('-') || rest.is_empty() || rest.starts_with('_')).then_some(at)
    });
    cut.min().map_or(name, |at| &name[..at])
}

/// Whether the name says `remove`.
pub(super) fn removes(name: &str) -> bool {
    name.split(':').any(|part| part == "remove") || name.contains("_remove")
}

/// BitBake's expansions (`${VAR}`, `${@python}`) that begin in `text`: byte ranges, outermost only.
///
/// Python ones end where braces balance, on the same line, as `bb.data_smart` has it.
pub(super) fn expansions(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("${").map(|start| at + start) {
        let Some(length) = balanced(&text[start + 1..]) else {
            at = start + 2;
            continue;
        };
        found.push(start..start + 1 + length);
        at = start + 1 + length;
    }
    found
}

/// The length of the balanced braces that `text` begins with.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at + 1),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, usize)> {
        let name = |statement: Statement| match statement {
            Statement::Assignment(a) => {
                (format!("{}{} {}", a.name, a.flag.map(|f| format!("[{f}]")).unwrap_or_default(), a.operator), a.line)
            }
            Statement::Function(f) => (format!("{}()", f.name), f.line),
            Statement::Include(t) | Statement::Inherit(t) => (t.text, t.line),
        };
        read(text).into_iter().map(name).collect()
    }

    #[test]
    fn old_and_new_syntax_is_read_with_lines() {
        let text = "\
# comment = \"no\"
SUMMARY = \"a\"
SRC_URI_append_arm := \" file://x\"
SRC_URI:append = ' \\
    file://y \\
'
export GOPROXY ?= \"off\"
do_x[network] = \"1\"
SRC_URI[foo-1.0+b.sha256sum] ??= \"ab\"
require foo.inc
inherit a b \\
  c

do_install_append() {
    FOO = \"not an assignment\"
    a {
 }
}
fakeroot python do_x:append () {
    pass
}
python () {
    pass
}
python __anonymous() {
}
def f(d):
    x = \"1\"

    return x
LAST = \"1\"
";
        let expected = [
            ("SUMMARY =", 2),
            ("SRC_URI_append_arm :=", 3),
            ("SRC_URI:append =", 4),
            ("GOPROXY ?=", 7),
            ("do_x[network] =", 8),
            ("SRC_URI[foo-1.0+b.sha256sum] ??=", 9),
            ("foo.inc", 10),
            ("a b \n  c", 11),
            ("do_install_append()", 14),
            ("do_x:append()", 19),
            ("()", 22),
            ("__anonymous()", 25),
            ("f()", 27),
            ("LAST =", 31),
        ];
        assert_eq!(names(text), expected.map(|(name, line)| (name.to_owned(), line)));
    }

    #[test]
    fn lines_inside_values_and_bodies_are_known() {
        let statements = read("A = \"one \\\n  two \\\n three\"\ndo_x () {\n\tfirst\n\tsecond\n}\n");
        let Statement::Assignment(a) = &statements[0] else { panic!("{statements:?}") };
        assert_eq!(a.value.line_at(a.value.text.find("three").unwrap()), 3);
        let Statement::Function(f) = &statements[1] else { panic!("{statements:?}") };
        assert_eq!(f.language, Language::Shell);
        assert_eq!(f.body.line_at(f.body.text.find("second").unwrap()), 6);
    }

    #[test]
    fn languages() {
        let language = |text: &str| match &read(text)[0] {
            Statement::Function(f) => f.language,
            other => panic!("{other:?}"),
        };
        assert_eq!(language("python do_x() {\n}\n"), Language::Python);
        assert_eq!(language("python() {\n}\n"), Language::Python);
        assert_eq!(language("fakeroot do_x() {\n}\n"), Language::Shell);
        assert_eq!(language("python_install() {\n}\n"), Language::Shell);
    }

    #[test]
    fn base_names() {
        for (name, base) in [
            ("do_install", "do_install"),
            ("do_install:append:qemuall", "do_install"),
            ("do_install_append", "do_install"),
            ("do_install_prepend_class-native", "do_install"),
            ("do_fetch_containers", "do_fetch_containers"),
            ("do_fetch_appendix", "do_fetch_appendix"),
            ("SRC_URI_append_raspberrypi3", "SRC_URI"),
        ] {
            assert_eq!(base_name(name), base, "{name}");
        }
    }

    #[test]
    fn a_file_without_end_is_read() {
        for text in [
            "do_x() {\n",
            "do_x() {",
            "A = \"b \\",
            "A = \"",
            "def f(d):",
            "\u{feff}A = \"\"",
            "do_x() {\r\n a\r\n}\r\n",
        ] {
            let _ = read(text);
        }
    }

    #[test]
    fn expansions_nest() {
        let text = "a ${B} ${C_${D}}x ${@f({'a': '}'[0]})} ${";
        let found: Vec<&str> = expansions(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found[..2], ["${B}", "${C_${D}}"]);
    }
}
