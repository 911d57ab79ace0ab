//! Commands that run other commands: `env`, `sudo`, `xargs`, `sh -c`, `eval`, and what stands in them.

use super::kind::Rule;
use super::programs::{self, Reach, Variables, containers, program_name};
use super::python;
use super::shell::{self, Script, ShellCommand};

/// Something that reaches the network, and where in the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReachedLine {
    pub(super) reach: Reach,
    /// The line of the script, from 0.
    pub(super) line: usize,
}

/// How deep scripts in scripts are followed.
const DEPTH: usize = 4;

/// All of a script that reaches the network. `around` are variables set outside of it.
pub(super) fn script(text: &str, around: &Variables) -> Vec<ReachedLine> {
    let mut found = nested(text, around, DEPTH);
    // `sh -c "$(curl …)"` is met twice: as a substitution, and in the script that the shell is given.
    let piped: Vec<usize> =
        found.iter().filter(|one| one.reach.kind == Rule::DownloadPipe).map(|one| one.line).collect();
    found.retain(|one| one.reach.kind != Rule::DownloadCommand || !piped.contains(&one.line));
    found
}

/// The same for a command that is given as a list of words, as Python does.
pub(super) fn words(words: &[String], around: &Variables) -> Vec<ReachedLine> {
    let command = ShellCommand { words: words.to_vec(), ..ShellCommand::default() };
    one(&command, around, DEPTH)
}

fn nested(text: &str, around: &Variables, depth: usize) -> Vec<ReachedLine> {
    if depth == 0 || !mentions_a_program(text, around) {
        return Vec::new();
    }
    let Script { commands, variables } = shell::parse(text);
    let mut known = around.clone();
    known.extend(variables);
    commands.iter().flat_map(|command| one(command, &known, depth)).collect()
}

/// Most scripts name nothing of interest, nor a variable that does, and need not be parsed.
fn mentions_a_program(text: &str, around: &Variables) -> bool {
    let by_variable =
        || around.iter().any(|(name, value)| programs::names_a_program(value) && text.contains(name.as_str()));
    programs::ANY_NAME.is_match(text) || by_variable()
}

fn one(command: &ShellCommand, variables: &Variables, depth: usize) -> Vec<ReachedLine> {
    let mut known = variables.clone();
    known.extend(command.environment.iter().cloned());
    let found = |reach| ReachedLine { reach, line: command.line };
    let mut all: Vec<ReachedLine> =
        containers::switch(&command.words, &command.environment).map(found).into_iter().collect();
    match unwrap(&programs::with_program(&command.words, &known), &mut known) {
        Unwrapped::Nothing => {}
        Unwrapped::Shell(Some(text)) => {
            all.extend(nested(&text, &known, depth - 1).into_iter().map(|one| found(one.reach)));
        }
        Unwrapped::Shell(None) => {
            if let Some((text, line)) = &command.here_document {
                let inside = nested(text, &known, depth - 1).into_iter();
                all.extend(inside.map(|one| ReachedLine { line: line + one.line, ..one }));
            }
        }
        Unwrapped::Python(text) => all.extend(python::script(&text, &known).into_iter().map(|one| found(one.reach))),
        Unwrapped::Command(words) => {
            if let Some(reach) = programs::reach(&words, &known) {
                let runs = command.pipes_into.iter().chain(&command.word_of).any(|next| runs_its_input(next));
                let piped = runs && reach.kind == Rule::DownloadCommand;
                let kind = if piped { Rule::DownloadPipe } else { reach.kind };
                let image = (kind == Rule::ContainerCommand).then(|| containers::floating(&words, &known)).flatten();
                all.push(found(Reach { kind, ..reach }));
                all.extend(image.map(found));
            }
        }
    }
    all
}

/// What a command comes to, once its wrappers are taken off.
enum Unwrapped {
    Command(Vec<String>),
    /// A shell, with a script of its own or one that it reads.
    Shell(Option<String>),
    Python(String),
    Nothing,
}

fn unwrap(words: &[String], known: &mut Variables) -> Unwrapped {
    let mut words = words;
    while let Some((first, rest)) = words.split_first() {
        let name = program_name(first);
        words = match name.as_str() {
            "env" => after_env(rest, known),
            "sudo" => after_options(rest, &["-u", "-g", "-p", "-C", "-D", "-h", "-r", "-t", "-U"], 0),
            "timeout" => after_options(rest, &["-k", "-s"], 1),
            "nice" => after_options(rest, &["-n"], 0),
            "ionice" => after_options(rest, &["-c", "-n"], 0),
            "xargs" => {
                // What it is fed is not known.
                let mut fed = after_options(rest, &["-I", "-n", "-P", "-L", "-d", "-a", "-E", "-s"], 0).to_vec();
                fed.push("$unknown".into());
                return unwrap(&fed, known);
            }
            "stdbuf" => after_options(rest, &["-i", "-o", "-e"], 0),
            "flock" => after_options(rest, &["-w", "-E"], 1),
            "nohup" | "setsid" | "time" | "coproc" | "exec" | "builtin" | "pseudo" | "fakeroot" | "do" | "then"
            | "else" | "!" => after_options(rest, &[], 0),
            "chroot" => after_options(rest, &[], 1),
            "command" if rest.first().is_some_and(|option| option.starts_with("-v") || option.starts_with("-V")) => {
                return Unwrapped::Nothing;
            }
            "command" => after_options(rest, &[], 0),
            "find" => match rest.iter().position(|word| matches!(word.as_str(), "-exec" | "-execdir" | "-ok")) {
                Some(at) => &rest[at + 1..],
                None => return Unwrapped::Nothing,
            },
            "eval" => return Unwrapped::Shell(Some(rest.join(" "))),
            _ if is_shell(&name) => return Unwrapped::Shell(option_c(rest)),
            _ if programs::is_python(&name) && option_c(rest).is_some() => {
                return option_c(rest).map_or(Unwrapped::Nothing, Unwrapped::Python);
            }
            _ => return Unwrapped::Command(words.to_vec()),
        };
    }
    Unwrapped::Nothing
}

/// The words after a wrapper's options and this many operands of its own.
fn after_options<'a>(words: &'a [String], with_value: &[&str], operands: usize) -> &'a [String] {
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        at += if with_value.contains(&word.as_str()) { 2 } else { 1 };
    }
    words.get(at + operands..).unwrap_or_default()
}

fn after_env<'a>(words: &'a [String], known: &mut Variables) -> &'a [String] {
    let mut words = after_options(words, &["-u", "-C", "-S"], 0);
    while let Some((name, value)) = words.first().and_then(|word| word.split_once('=')) {
        known.insert(name.to_owned(), value.to_owned());
        words = &words[1..];
    }
    words
}

fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "dash" | "zsh" | "ash" | "ksh")
}

/// The script of `-c`, which may stand among other letters: `sh -ec '…'`.
fn option_c(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| !word.starts_with("--") && word.starts_with('-') && word.ends_with('c'))?;
    words.get(at + 1).cloned()
}

/// Whether what comes in as input, file or word is run, or changes sources.
fn runs_its_input(words: &[String]) -> bool {
    let mut known = Variables::new();
    match unwrap(words, &mut known) {
        Unwrapped::Shell(_) => true,
        Unwrapped::Python(_) | Unwrapped::Nothing => false,
        Unwrapped::Command(words) => match words.split_first() {
            Some((first, rest)) => {
                let name = program_name(first);
                matches!(name.as_str(), "patch" | "perl" | "ruby" | "node" | "source" | ".")
                    || (programs::is_python(&name) && rest.iter().all(|word| word == "-"))
                    || (name == "git" && rest.iter().any(|word| word == "am" || word == "apply"))
            }
            None => false,
        },
    }
}
