//! The commands of a shell function: what would run, not what is only written down.
//!
//! The grammar is tree-sitter-bash's. BitBake's own expansions are taken out first and put back into the words, since
//! `${A-b}`, `${X_${Y}}` and `${@python}` mean other things to a shell.

use std::collections::BTreeMap;
use std::ops::Range;

use tree_sitter::Node;

use super::metadata::expansions;
use super::tree::{self, children};

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

/// Nesting that no recipe has, counted in nodes of the tree. The walk is recursive, and a stack is not endless.
const DEPTH: usize = 300;

/// Takes a script apart. What the grammar does not know is passed over; what stands behind it is read.
pub(super) fn parse(script: &str) -> Script {
    let masked = Masked::new(script);
    let mut walk = ShellWalk { masked: &masked, found: Script::default() };
    if is_too_deep(&masked.text) {
        return walk.found;
    }
    if let Some(tree) = tree::parse(tree_sitter_bash::LANGUAGE, &masked.text) {
        walk.node(tree.root_node(), &Around::default(), DEPTH);
    }
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

/// Nesting that no recipe has: the parser is slow at it, and the walk is recursive.
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

struct ShellWalk<'a> {
    masked: &'a Masked,
    found: Script,
}

impl ShellWalk<'_> {
    fn node(&mut self, node: Node<'_>, around: &Around, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match node.kind() {
            "command" | "declaration_command" => self.command(node, around, depth),
            "pipeline" => self.pipeline(node, around, depth),
            "redirected_statement" => self.redirected(node, around, depth),
            "variable_assignment" => {
                self.found.variables.extend(self.assignment(node));
                self.below(node, &Around::default(), depth);
            }
            // What a substitution prints into a test, or into the words of these, is not run.
            "test_command" => self.below(node, &Around::default(), depth),
            "for_statement" | "case_statement" => {
                for child in children(node) {
                    let is_word = !matches!(child.kind(), "do_group" | "compound_statement" | "case_item");
                    let nothing = Around::default();
                    self.node(child, if is_word { &nothing } else { around }, depth);
                }
            }
            _ => self.below(node, around, depth),
        }
    }

    fn below(&mut self, node: Node<'_>, around: &Around, depth: usize) {
        for child in children(node) {
            self.node(child, around, depth);
        }
    }

    fn pipeline(&mut self, pipeline: Node<'_>, around: &Around, depth: usize) {
        let parts = children(pipeline);
        let words: Vec<Vec<Vec<String>>> = parts.iter().map(|part| self.piped(*part)).collect();
        for (at, part) in parts.iter().enumerate() {
            let later = words[at + 1..].iter().flatten().cloned();
            let around = Around { pipes_into: later.chain(around.pipes_into.clone()).collect(), ..around.clone() };
            self.node(*part, &around, depth);
        }
    }

    /// The commands that a pipe goes through, as words.
    fn piped(&self, node: Node<'_>) -> Vec<Vec<String>> {
        match node.kind() {
            "command" => Some(self.words(node)).filter(|words| !words.is_empty()).into_iter().collect(),
            "pipeline" => children(node).into_iter().flat_map(|part| self.piped(part)).collect(),
            "redirected_statement" => node.child_by_field_name("body").map_or_else(Vec::new, |body| self.piped(body)),
            _ => Vec::new(),
        }
    }

    fn redirected(&mut self, node: Node<'_>, around: &Around, depth: usize) {
        let body = node.child_by_field_name("body");
        let reader = body.and_then(last_command).map(|command| self.words(command));
        let of_words = Around { pipes_into: Vec::new(), word_of: reader };
        for child in children(node) {
            match child.kind() {
                _ if Some(child) == body => {
                    // Behind the mark of a here-document the line goes on: `cat <<EOF | sh`.
                    let here_documents = children(node).into_iter().filter(|child| child.kind() == "heredoc_redirect");
                    let later = here_documents.flat_map(children).filter(|part| part.kind() == "pipeline");
                    let later = later.flat_map(|next| self.piped(next)).chain(around.pipes_into.clone());
                    let around = Around { pipes_into: later.collect(), ..around.clone() };
                    self.node(child, &around, depth);
                }
                "file_redirect" | "herestring_redirect" => self.below(child, &of_words, depth),
                _ => self.node(child, &Around::default(), depth),
            }
        }
    }

    fn command(&mut self, node: Node<'_>, around: &Around, depth: usize) {
        let lines = self.lines(node);
        for (at, line) in lines.iter().enumerate() {
            let here_document = (at + 1 == lines.len()).then(|| self.here_document(node)).flatten();
            let around = if at == 0 { around } else { &Around::default() };
            self.line(node, line, here_document, around, depth);
        }
    }

    fn line(
        &mut self,
        command: Node<'_>,
        line: &[Node<'_>],
        here_document: Option<(String, usize)>,
        around: &Around,
        depth: usize,
    ) {
        let words = self.words_of(command, line);
        let pairs = line.iter().filter(|child| child.kind() == "variable_assignment");
        let environment: Vec<_> = pairs.filter_map(|one| self.assignment(*one)).collect();
        let declares = ["export", "local", "readonly", "declare", "typeset"];
        if words.is_empty() || declares.contains(&words[0].as_str()) {
            let pairs = words.iter().skip(1).filter_map(|word| word.split_once('='));
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.found.variables.extend(environment.clone().into_iter().chain(pairs));
        }
        let name = line.iter().find(|child| !matches!(child.kind(), "variable_assignment" | "file_redirect"));
        if !words.is_empty() {
            self.found.commands.push(ShellCommand {
                words: words.clone(),
                environment,
                line: name.unwrap_or(&command).start_position().row,
                pipes_into: around.pipes_into.clone(),
                word_of: around.word_of.clone(),
                here_document,
            });
        }
        let inside = Around { pipes_into: Vec::new(), word_of: Some(words) };
        for child in line {
            match child.kind() {
                "command_name" => self.node(*child, &Around::default(), depth),
                "variable_assignment" => self.below(*child, &Around::default(), depth),
                _ => self.node(*child, &inside, depth),
            }
        }
    }

    /// A command, line by line. Before a here-document, and behind several assignments, the grammar of tree-sitter-bash 0.25
    /// takes the lines that follow for more words of the same command.
    fn lines<'t>(&self, command: Node<'t>) -> Vec<Vec<Node<'t>>> {
        let mut lines: Vec<Vec<Node<'t>>> = Vec::new();
        let mut end = 0;
        for child in children(command) {
            let between = self.masked.text.get(end..child.start_byte()).unwrap_or_default();
            match lines.last_mut() {
                Some(line) if !between.replace("\\\n", "").contains('\n') => line.push(child),
                _ => lines.push(vec![child]),
            }
            end = child.end_byte();
        }
        lines
    }

    fn here_document(&self, command: Node<'_>) -> Option<(String, usize)> {
        let redirects = redirects_of(command).into_iter().filter(|one| one.kind() == "heredoc_redirect");
        let body = redirects.flat_map(children).find(|part| part.kind() == "heredoc_body")?;
        Some((self.masked.restore(self.of(body)), body.start_position().row))
    }

    /// The words of the first line of a command: what a pipe before it leads into.
    fn words(&self, command: Node<'_>) -> Vec<String> {
        self.lines(command).first().map_or_else(Vec::new, |line| self.words_of(command, line))
    }

    /// The words of a line of a command, without assignments before it and redirections.
    fn words_of(&self, command: Node<'_>, line: &[Node<'_>]) -> Vec<String> {
        let declares = command.kind() == "declaration_command";
        let keyword = command.child(0).filter(|_| declares).map(|keyword| self.of(keyword).to_owned());
        let is_word = |node: &Node<'_>| match node.kind() {
            "file_redirect" | "herestring_redirect" | "heredoc_redirect" | "ERROR" => false,
            kind => declares || kind != "variable_assignment",
        };
        let own = line.iter().copied().filter(is_word);
        // The grammar takes words behind a redirection (`curl >x URL`) for more of its targets.
        let redirects = redirects_of(command).into_iter().filter(|one| one.kind() == "file_redirect");
        let behind = redirects.flat_map(|redirect| {
            let targets = children(redirect).into_iter().filter(|node| node.kind() != "file_descriptor");
            targets.skip(1).collect::<Vec<_>>()
        });
        let words = own.chain(behind).map(|node| self.masked.restore(&self.plain(node)));
        keyword.into_iter().chain(words).collect()
    }

    fn assignment(&self, node: Node<'_>) -> Option<(String, String)> {
        let name = node.child_by_field_name("name").filter(|name| name.kind() == "variable_name")?;
        let value = match node.child_by_field_name("value") {
            Some(value) if value.kind() == "array" => return None,
            Some(value) => self.plain(value),
            None => String::new(),
        };
        Some((self.masked.restore(self.of(name)), self.masked.restore(&value)))
    }

    /// A word without its quotes, expansions as they are written.
    fn plain(&self, node: Node<'_>) -> String {
        let text = self.of(node);
        match node.kind() {
            "word" => unescaped(text, |_| true),
            "raw_string" => text.trim_matches('\'').to_owned(),
            "ansi_c_string" => text.trim_start_matches('$').trim_matches('\'').to_owned(),
            "string" => self.quoted(node),
            "process_substitution" => "<()".to_owned(),
            "concatenation" | "command_name" | "translated_string" => {
                children(node).into_iter().map(|part| self.plain(part)).collect()
            }
            "variable_assignment" => match (node.child_by_field_name("name"), node.child_by_field_name("value")) {
                (Some(name), Some(value)) => format!("{}={}", self.of(name), self.plain(value)),
                _ => text.to_owned(),
            },
            _ => text.to_owned(),
        }
    }

    /// What stands between double quotes.
    fn quoted(&self, string: Node<'_>) -> String {
        let escapes = |c| matches!(c, '$' | '`' | '"' | '\\' | '\n');
        let text = |range: Range<usize>| unescaped(self.masked.text.get(range).unwrap_or_default(), escapes);
        let mut plain = String::new();
        let mut at = string.start_byte() + 1;
        for part in children(string).into_iter().filter(|part| part.kind() != "string_content") {
            plain.push_str(&text(at..part.start_byte()));
            plain.push_str(self.of(part));
            at = part.end_byte();
        }
        plain.push_str(&text(at..string.end_byte().saturating_sub(1)));
        plain
    }

    fn of(&self, node: Node<'_>) -> &str {
        self.masked.text.get(node.byte_range()).unwrap_or_default()
    }
}

/// The command that the redirections behind a statement belong to.
fn last_command(statement: Node<'_>) -> Option<Node<'_>> {
    let mut at = statement;
    loop {
        match at.kind() {
            "command" | "declaration_command" => return Some(at),
            "pipeline" | "list" | "negated_command" => at = children(at).pop()?,
            _ => return None,
        }
    }
}

/// The redirections of a command: the grammar puts them around the whole statement that it ends.
fn redirects_of(command: Node<'_>) -> Vec<Node<'_>> {
    let mut redirects = Vec::new();
    let mut at = command;
    while let Some(around) = at.parent() {
        let goes_on = match around.kind() {
            "redirected_statement" if around.child_by_field_name("body") == Some(at) => {
                redirects.extend(children(around).into_iter().filter(|child| *child != at));
                true
            }
            "pipeline" | "list" | "negated_command" => around.end_byte() == at.end_byte(),
            _ => false,
        };
        if !goes_on {
            break;
        }
        at = around;
    }
    redirects
}

/// A text without the backslashes that quote, and without continued lines.
fn unescaped(text: &str, escapes: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, rest.clone().next()) {
            ('\\', Some(next)) if escapes(next) => {
                rest.next();
                plain.extend((next != '\n').then_some(next));
            }
            _ => plain.push(c),
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
        assert_eq!(commands.len(), 4, "{commands:?}");
        assert_eq!(commands[2], "${CARGO} fetch --x=${S}/y");
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
    fn lines_that_the_grammar_joins_are_commands_of_their_own() {
        assert_eq!(lines("a | b\nwget u v\nbash -e <<EOF\nx\nEOF\n"), ["a", "b", "wget u v", "bash -e"]);
        assert_eq!(lines("a | b c\nwget u\nsh <<EOF\nEOF\n"), ["a", "b c", "wget u", "sh"]);
        let script = parse("A=b C=d\nE=f G=h\nexport X=y\n");
        assert_eq!((script.variables["A"].as_str(), script.variables["G"].as_str()), ("b", "h"));
        assert_eq!(script.variables["X"], "y");
        assert_eq!(lines("curl >x u\ny"), ["curl u", "y"]);
        assert_eq!(lines("( ( a ) )"), ["a"]);
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
