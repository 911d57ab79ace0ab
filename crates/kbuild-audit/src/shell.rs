//! The commands of a shell function: what would run, not what is only written down.
//!
//! The grammar is brush-parser's. BitBake's own expansions are taken out first and put back into the words, since
//! `${A-b}`, `${X_${Y}}` and `${@python}` mean other things to a shell.

use std::collections::BTreeMap;

use brush_parser::ast::{
    AndOr, AndOrList, AssignmentName, AssignmentValue, CommandPrefixOrSuffixItem as Item, CompoundCommand,
    CompoundList, IoFileRedirectTarget, IoRedirect, Pipeline, SimpleCommand, SourceLocation as _, SubshellCommand,
    Word,
};
use brush_parser::word::{WordPiece, WordPieceWithSource};
use brush_parser::{Parser, ParserOptions, ast, word};

use super::metadata::expansions;

/// A simple command with its words as the shell would pass them on, expansions left as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShellCommand {
    /// Never empty.
    pub(super) words: Vec<String>,
    /// `A=b` before the command.
    pub(super) environment: Vec<(String, String)>,
    /// The line of the script it begins in, from 0.
    pub(super) line: usize,
    /// What its output goes into, further along the pipe.
    pub(super) pipes_into: Vec<Vec<String>>,
    /// The command that gets this one's output as a word or a file: `sh -c "$(curl …)"`, `bash <(curl …)`.
    pub(super) word_of: Option<Vec<String>>,
    /// Its standard input as a here-document, and the line where that begins.
    pub(super) here_document: Option<(String, usize)>,
}

/// A script taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) commands: Vec<ShellCommand>,
    /// Variables that it sets or exports anywhere, with the last value.
    pub(super) variables: BTreeMap<String, String>,
}

/// How deep substitutions in substitutions are followed.
const DEPTH: usize = 8;

/// Takes a script apart. What the grammar does not know gives an empty script.
pub(super) fn parse(script: &str) -> Script {
    let masked = Masked::new(script);
    let mut walk = ShellWalk { masked: &masked, found: Script::default(), depth: DEPTH };
    walk.script(Here { text: &masked.text, line: 0 }, &Around::default());
    walk.found
}

/// A script without BitBake's expansions: a plain word stands for each.
struct Masked {
    text: String,
    originals: Vec<String>,
}

const MARK: &str = "KbuildAudit";

impl Masked {
    fn new(script: &str) -> Self {
        let mut masked = Masked { text: String::with_capacity(script.len()), originals: Vec::new() };
        let mut end = 0;
        for range in expansions(script) {
            let original = &script[range.clone()];
            if is_for_the_shell(&original[2..original.len() - 1]) {
                continue;
            }
            masked.text.push_str(&script[end..range.start]);
            masked.text.push_str(&format!("{MARK}{}X", masked.originals.len()));
            masked.originals.push(original.to_owned());
            end = range.end;
        }
        masked.text.push_str(&script[end..]);
        masked
    }

    fn restore(&self, word: &str) -> String {
        let mut parts = word.split(MARK);
        let mut restored = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let original = part.split_once('X').and_then(|(number, rest)| {
                let number: usize = number.parse().ok()?;
                Some((self.originals.get(number)?, rest))
            });
            match original {
                Some((original, rest)) => restored.extend([original.as_str(), rest]),
                None => restored.extend([MARK, part]),
            }
        }
        restored
    }
}

/// Nesting that no recipe has: the parser takes twice as long for each level of some, and its stack is not endless.
fn is_too_deep(text: &str) -> bool {
    const DEEPEST: usize = 14;
    let too_deep = |mut depths: &mut dyn Iterator<Item = i8>| {
        let mut depth = 0usize;
        Iterator::any(&mut depths, |step| {
            depth = if step > 0 { depth + 1 } else { depth.saturating_sub(usize::from(step < 0)) };
            depth > DEEPEST
        })
    };
    let brackets =
        |open: u8, close: u8| too_deep(&mut text.bytes().map(|byte| i8::from(byte == open) - i8::from(byte == close)));
    brackets(b'(', b')') || brackets(b'{', b'}') || too_deep(&mut keywords(text))
}

/// 1 where a compound command begins, -1 where one ends; words of comments and arguments are neither.
fn keywords(text: &str) -> impl Iterator<Item = i8> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| {
        let mut begins = true;
        line.split_whitespace().map(move |word| {
            let bare = word.trim_end_matches([';', ')', '}']);
            let keyword = matches!(bare, "if" | "while" | "until" | "for" | "case" | "select" | "!" | "time");
            let step = i8::from(begins && keyword) - i8::from(matches!(bare, "fi" | "done" | "esac"));
            begins = (begins && keyword)
                || word.ends_with([';', ')', '(', '{', '|', '&'])
                || matches!(word, "then" | "do" | "else" | "elif");
            step
        })
    })
}

/// Plain variables, and `${x%.*}`, `${x:-y}`, `${#x}`: BitBake leaves alone what has characters that no variable's name has.
/// What spans lines is left too, so that lines stay what they are.
fn is_for_the_shell(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "_-+./~${}".contains(c);
    let bitbakes = name.starts_with('@') || name.chars().all(of_a_name);
    plain || !bitbakes || name.contains('\n')
}

/// What stands around a command.
#[derive(Default, Clone)]
struct Around {
    pipes_into: Vec<Vec<String>>,
    word_of: Option<Vec<String>>,
}

/// A script that is being walked, and the line where it begins.
#[derive(Clone, Copy)]
struct Here<'t> {
    text: &'t str,
    line: usize,
}

impl Here<'_> {
    /// The line of a word. Counted from its index: the parser's own line is late after a line that is continued.
    fn line_of(self, word: &Word) -> usize {
        let Some(place) = word.location() else { return self.line };
        let before = self.text.chars().take(place.start.index);
        let mut rest = self.text.chars().skip(place.start.index).peekable();
        let mut line = self.line + before.filter(|c| *c == '\n').count();
        // Continued lines and blanks may come before the word itself.
        while let Some(c) = rest.next() {
            match c {
                '\n' => line += 1,
                '\\' if rest.peek() == Some(&'\n') => {}
                c if c.is_whitespace() => {}
                _ => break,
            }
        }
        line
    }
}

struct ShellWalk<'a> {
    masked: &'a Masked,
    found: Script,
    depth: usize,
}

impl ShellWalk<'_> {
    /// A script, or what stands in a substitution.
    fn script(&mut self, here: Here<'_>, around: &Around) {
        if self.depth == 0 {
            return;
        }
        let options = ParserOptions::default();
        if is_too_deep(here.text) {
            return;
        }
        let Ok(program) = Parser::new(here.text.as_bytes(), &options).parse_program() else { return };
        self.depth -= 1;
        for list in &program.complete_commands {
            self.list(list, here, around);
        }
        self.depth += 1;
    }

    fn list(&mut self, list: &CompoundList, here: Here<'_>, around: &Around) {
        for item in &list.0 {
            self.and_or(&item.0, here, around);
        }
    }

    fn and_or(&mut self, list: &AndOrList, here: Here<'_>, around: &Around) {
        self.pipeline(&list.first, here, around);
        for next in &list.additional {
            let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = next;
            self.pipeline(pipeline, here, around);
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, here: Here<'_>, around: &Around) {
        for (at, command) in pipeline.seq.iter().enumerate() {
            let later = pipeline.seq[at + 1..].iter().filter_map(|next| match next {
                ast::Command::Simple(simple) => Some(self.words(simple)),
                _ => None,
            });
            let mut around = around.clone();
            around.pipes_into.extend(later.filter(|words| !words.is_empty()));
            self.command(command, here, &around);
        }
    }

    fn command(&mut self, command: &ast::Command, here: Here<'_>, around: &Around) {
        match command {
            ast::Command::Simple(simple) => self.simple(simple, here, around),
            ast::Command::Compound(compound, _) => self.compound(compound, here, around),
            ast::Command::Function(function) => self.compound(&function.body.0, here, around),
            ast::Command::ExtendedTest(..) => {}
        }
    }

    fn compound(&mut self, compound: &CompoundCommand, here: Here<'_>, around: &Around) {
        match compound {
            CompoundCommand::Arithmetic(_) => {}
            CompoundCommand::ArithmeticForClause(each) => self.list(&each.body.list, here, around),
            CompoundCommand::BraceGroup(group) => self.list(&group.list, here, around),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list, here, around),
            CompoundCommand::ForClause(each) => {
                for value in each.values.iter().flatten() {
                    self.substitutions(value, here, &Around::default());
                }
                self.list(&each.body.list, here, around);
            }
            CompoundCommand::CaseClause(case) => {
                self.substitutions(&case.value, here, &Around::default());
                for list in case.cases.iter().filter_map(|case| case.cmd.as_ref()) {
                    self.list(list, here, around);
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, here, around);
                self.list(&clause.then, here, around);
                for other in clause.elses.iter().flatten() {
                    if let Some(condition) = &other.condition {
                        self.list(condition, here, around);
                    }
                    self.list(&other.body, here, around);
                }
            }
            CompoundCommand::WhileClause(each) | CompoundCommand::UntilClause(each) => {
                self.list(&each.0, here, around);
                self.list(&each.1.list, here, around);
            }
            CompoundCommand::Coprocess(coprocess) => self.command(&coprocess.body, here, around),
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, here: Here<'_>, around: &Around) {
        let words = self.words(simple);
        let assignments: Vec<(String, String)> =
            simple.prefix.iter().flat_map(|prefix| &prefix.0).filter_map(|item| self.assignment(item)).collect();
        let items = || {
            simple.prefix.iter().flat_map(|prefix| &prefix.0).chain(simple.suffix.iter().flat_map(|suffix| &suffix.0))
        };
        if words.is_empty() {
            self.found.variables.extend(assignments);
        } else {
            let declares = ["export", "local", "readonly", "declare", "typeset"].contains(&words[0].as_str());
            if declares {
                let declared: Vec<_> = items().filter_map(|item| self.assignment(item)).collect();
                self.found.variables.extend(declared);
            }
            let here_document = items().find_map(|item| self.here_document(item, here));
            let line = simple.word_or_name.as_ref().map_or(here.line, |name| here.line_of(name));
            self.found.commands.push(ShellCommand {
                words: words.clone(),
                environment: assignments,
                line,
                pipes_into: around.pipes_into.clone(),
                word_of: around.word_of.clone(),
                here_document,
            });
        }
        let inside = Around { pipes_into: Vec::new(), word_of: Some(words).filter(|words| !words.is_empty()) };
        if let Some(name) = &simple.word_or_name {
            self.substitutions(name, here, &Around::default());
        }
        for item in items() {
            self.item(item, here, &inside);
        }
    }

    fn item(&mut self, item: &Item, here: Here<'_>, inside: &Around) {
        match item {
            Item::Word(word) => self.substitutions(word, here, inside),
            Item::AssignmentWord(_, word) => self.substitutions(word, here, &Around::default()),
            Item::ProcessSubstitution(_, SubshellCommand { list, .. }) => self.list(list, here, inside),
            Item::IoRedirect(IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, subshell))) => {
                self.list(&subshell.list, here, inside);
            }
            Item::IoRedirect(IoRedirect::HereDocument(_, document)) if document.requires_expansion => {
                let pieces = word::parse_heredoc(&document.doc.value, &ParserOptions::default()).unwrap_or_default();
                self.pieces(&document.doc, &pieces, here, &Around::default());
            }
            Item::IoRedirect(IoRedirect::HereString(_, word)) => self.substitutions(word, here, inside),
            Item::IoRedirect(_) => {}
        }
    }

    fn here_document(&self, item: &Item, here: Here<'_>) -> Option<(String, usize)> {
        let Item::IoRedirect(IoRedirect::HereDocument(_, document)) = item else { return None };
        let line = document.doc.location().map_or(here.line, |place| here.line + place.start.line - 1);
        Some((self.masked.restore(&document.doc.value), line))
    }

    fn words(&self, simple: &SimpleCommand) -> Vec<String> {
        let suffix = simple.suffix.iter().flat_map(|suffix| &suffix.0);
        let rest = suffix.filter_map(|item| match item {
            Item::Word(word) | Item::AssignmentWord(_, word) => Some(self.plain(word)),
            Item::ProcessSubstitution(..) => Some("<()".to_owned()),
            Item::IoRedirect(_) => None,
        });
        simple.word_or_name.iter().map(|name| self.plain(name)).chain(rest).collect()
    }

    fn assignment(&self, item: &Item) -> Option<(String, String)> {
        let Item::AssignmentWord(assignment, _) = item else { return None };
        match (&assignment.name, &assignment.value) {
            (AssignmentName::VariableName(name), AssignmentValue::Scalar(value)) => {
                Some((self.masked.restore(name), self.plain(value)))
            }
            _ => None,
        }
    }

    /// A word without its quotes.
    fn plain(&self, word: &Word) -> String {
        match word::parse(&word.value, &ParserOptions::default()) {
            Ok(pieces) => self.masked.restore(&unquoted(&word.value, &pieces)),
            Err(_) => self.masked.restore(&word.value),
        }
    }

    /// The commands in `$(…)` and backquotes of a word.
    fn substitutions(&mut self, word: &Word, here: Here<'_>, around: &Around) {
        if word.value.contains(['$', '`']) {
            let pieces = word::parse(&word.value, &ParserOptions::default()).unwrap_or_default();
            self.pieces(word, &pieces, here, around);
        }
    }

    fn pieces(&mut self, word: &Word, pieces: &[WordPieceWithSource], here: Here<'_>, around: &Around) {
        let line = here.line_of(word);
        for piece in pieces {
            match &piece.piece {
                WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                    self.pieces(word, inner, here, around);
                }
                WordPiece::CommandSubstitution(script) | WordPiece::BackquotedCommandSubstitution(script) => {
                    let before = word.value.get(..piece.start_index).unwrap_or_default().matches('\n').count();
                    self.script(Here { text: script, line: line + before }, around);
                }
                _ => {}
            }
        }
    }
}

/// What the pieces of a word come to, expansions as they are written.
fn unquoted(source: &str, pieces: &[WordPieceWithSource]) -> String {
    let mut plain = String::new();
    for piece in pieces {
        match &piece.piece {
            WordPiece::Text(text) | WordPiece::SingleQuotedText(text) | WordPiece::AnsiCQuotedText(text) => {
                plain.push_str(text)
            }
            WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => {
                plain.push_str(&unquoted(source, inner));
            }
            WordPiece::EscapeSequence(text) => match text.strip_prefix('\\').unwrap_or(text) {
                "\n" => {}
                escaped => plain.push_str(escaped),
            },
            _ => plain.push_str(source.get(piece.start_index..piece.end_index).unwrap_or_default()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(script: &str) -> Vec<String> {
        parse(script).commands.iter().map(|command| command.words.join(" ")).collect()
    }

    #[test]
    fn commands_in_every_position() {
        let script = r#"
	a one; b && c || d | e
	if f; then g; else h; fi
	! i
	x=$(j) && y=`k`
	FOO=bar l m
	( n ) ; { o; }
	while p; do q; done
	for v in r; do s; done
	case "$v" in t) u ;; esac
	fun() { w; }
	z > out 2>&1 < in
"#;
        let expected =
            ["a one", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l m", "n", "o", "p", "q", "s", "u", "w", "z"];
        assert_eq!(lines(script), expected);
    }

    #[test]
    fn what_only_looks_like_a_command() {
        let script =
            "# curl a\necho 'curl b' \"wget c\" curl d\ncat <<EOF\ncurl e\nEOF\ncat > f <<'EOF'\n$(curl g)\nEOF\n";
        assert_eq!(lines(script), ["echo curl b wget c curl d", "cat", "cat"]);
    }

    #[test]
    fn bitbake_expansions_do_not_confuse() {
        let script = r#"
	install -d ${D}${bindir} ${@bb.utils.contains('A', "b c", '; curl x', '', d)}
	echo "${@d.getVar("FOO")}" ${VIRTUAL-RUNTIME_init} ${SYSTEMD_${PN}}
	if [ "${@bb.utils.contains('A', 'b', 'true', 'false', d)}" = "true" ]; then
		${CARGO} fetch --x=${S}/y
	fi
	${x%.*} ${y:-z}
"#;
        let commands = lines(script);
        assert_eq!(commands.len(), 5, "{commands:?}");
        assert_eq!(commands[3], "${CARGO} fetch --x=${S}/y");
    }

    #[test]
    fn pipes_substitutions_and_here_documents() {
        let script = "curl u | gunzip | sudo sh\nsh -c \"$(curl v)\"\nbash <(curl w)\nbash -e <<EOF\ncurl x\nEOF\n";
        let commands = parse(script).commands;
        assert_eq!(commands[0].pipes_into, [vec!["gunzip"], vec!["sudo", "sh"]]);
        let of =
            |name: &str| commands.iter().find(|command| command.words.last().is_some_and(|word| word == name)).unwrap();
        assert_eq!(of("v").word_of.as_ref().unwrap()[0], "sh");
        assert_eq!(of("w").word_of.as_ref().unwrap()[0], "bash");
        let shell = commands.last().unwrap();
        assert_eq!(shell.here_document.as_ref().unwrap().0.trim(), "curl x");
    }

    #[test]
    fn variables_and_environment() {
        let script = parse("export GOPROXY=off GOFLAGS='-mod=vendor -v'\nA=b\nC=d e f\n");
        assert_eq!(script.variables["GOPROXY"], "off");
        assert_eq!(script.variables["GOFLAGS"], "-mod=vendor -v");
        assert_eq!(script.variables["A"], "b");
        assert_eq!(script.commands[1].environment, [("C".to_owned(), "d".to_owned())]);
    }

    #[test]
    fn lines_are_those_of_the_words() {
        let script = "a\n\nb && \\\n  c \\\n  d \\\n | e\nf \"x\n$(g)\" $(\n  h\n)\n\tsh <<E\ni\nE\n";
        let lines: Vec<(String, usize)> =
            parse(script).commands.into_iter().map(|command| (command.words[0].clone(), command.line)).collect();
        let expected = [("a", 0), ("b", 2), ("c", 3), ("e", 5), ("f", 6), ("g", 7), ("h", 8), ("sh", 10)];
        assert_eq!(lines, expected.map(|(word, line)| (word.to_owned(), line)));
        let shell = parse(script).commands.pop().unwrap();
        assert_eq!(shell.here_document.unwrap(), ("i\n".to_owned(), 11));
    }

    #[test]
    fn nesting_without_end_is_passed_over() {
        for unit in [
            "(",
            "((",
            "$(",
            "\"$(",
            "`",
            "${",
            "${x:-",
            "{ ",
            "if ",
            "while ",
            "! ",
            "case x in x) ",
            "f() { ",
            "a && ",
            "a | ",
        ] {
            for count in [10, 40, 2000] {
                let _ = parse(&format!("wget x; {}", unit.repeat(count)));
            }
        }
        let closed = format!("{}wget x{}", "{ ".repeat(9), "; }".repeat(9));
        assert_eq!(parse(&closed).commands.len(), 1);
    }

    #[test]
    fn broken_scripts_are_passed_over() {
        for script in ["if", "\"", "$(", "${", "${@", "a <<EOF", "}", "é ${@é} \u{0}", "((", "`"] {
            let _ = parse(script);
        }
    }
}
