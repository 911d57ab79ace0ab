//! What is printed, and where: data on stdout, everything else on stderr; the whole error once, at the end.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};

use super::failures;
use super::global::{Format, GlobalArgs, When};
use super::progress::{Bars, Lines, Quiet, print_stderr};
use crate::bitbake::Verbosity;
use crate::env_vars;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::url::redact;

/// The version of the JSON documents: raised when a field changes its meaning or is removed.
const SCHEMA_VERSION: u32 = 1;

/// Width of an error on a terminal, in columns.
const WIDTH: usize = 100;

/// The result of a command.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The fields of the JSON document.
    pub(super) json: Value,
    /// Data for people, on stdout; lines without a newline at the end.
    pub(super) text: String,
    /// A failure that still has data, such as a doctor's findings.
    pub(super) error: Option<Error>,
    /// An exit status that is passed on, such as a shell's.
    pub(super) exit: Option<u8>,
    /// Whether the document was printed when the command began.
    announced: bool,
}

impl Outcome {
    /// A success with these fields and this text.
    pub(super) fn new(json: Value, text: impl Into<String>) -> Self {
        Outcome { json, text: text.into(), error: None, exit: None, announced: false }
    }

    /// The end of a command that printed its fields when it began.
    pub(super) fn announced() -> Self {
        Outcome { announced: true, ..Outcome::new(Value::Null, "") }
    }
}

/// Where and how a command prints.
pub(super) struct Output {
    command: &'static str,
    format: Format,
    quiet: bool,
    color: bool,
    /// Whether every one of many failures is shown.
    verbose: bool,
    /// How much BitBake should print: everything to a person at a terminal or with `-v`, little to a log.
    pub(super) words: Verbosity,
    /// Shows progress.
    pub(super) progress: Arc<dyn Progress>,
}

impl Output {
    /// As the flags, the environment and the terminal say.
    pub(super) fn new(global: &GlobalArgs, command: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && std::env::var_os(env_vars::NO_COLOR).is_none_or(|value| value.is_empty()),
        };
        let progress: Arc<dyn Progress> = if global.quiet {
            Arc::new(Quiet { color })
        } else if terminal && !global.no_progress {
            Arc::new(Bars::new(color))
        } else {
            Arc::new(Lines::new(color, global.verbose > 0))
        };
        let words = match (global.quiet, global.verbose > 0 || (terminal && !global.no_progress)) {
            (true, _) => Verbosity::Complaints,
            (false, true) => Verbosity::All,
            (false, false) => Verbosity::Few,
        };
        Output {
            command,
            format: global.format,
            quiet: global.quiet,
            color,
            verbose: global.verbose > 0,
            words,
            progress,
        }
    }

    /// Whether long lists are shown whole.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether the JSON document is printed. If not, a command need not make a long one.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A message to the user, on stderr.
    pub(super) fn say(&self, message: &str) {
        if !self.quiet {
            print_stderr(&format!("{}\n", redact(message)));
        }
    }

    /// A warning: something to know that is no failure.
    pub(super) fn warn(&self, message: &str) {
        self.progress.warn(message);
    }

    /// Prints the document of a command that runs until it is stopped, on one line.
    pub(super) fn announce(&self, fields: &Value) {
        if self.is_json() {
            print_stdout(&format!("{}\n", self.document(&Outcome::new(fields.clone(), ""))));
        }
    }

    /// Text in a colour of the terminal (an SGR number), where colour is wanted.
    pub(super) fn paint(&self, text: &str, color: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prints the outcome or the error, and returns the exit code.
    pub(super) fn finish(&self, result: Result<Outcome>) -> ExitCode {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => Outcome { error: Some(error), ..Outcome::new(json!({}), "") },
        };
        match self.format {
            Format::Json if outcome.announced => {}
            Format::Json => print_stdout(&format!("{:#}\n", self.document(&outcome))),
            Format::Human if outcome.text.is_empty() => {}
            Format::Human => print_stdout(&format!("{}\n", outcome.text)),
        }
        if let Some(error) = &outcome.error {
            print_stderr(&self.render(error));
            return error.exit_code().into();
        }
        outcome.exit.unwrap_or(0).into()
    }

    /// Many failures are grouped, with the summary behind them, where a person looks first.
    fn render(&self, error: &Error) -> String {
        if self.verbose || error.related_errors().len() <= failures::FEW {
            return render(error, self.color);
        }
        let lines = self.grouped(&failures::failures_of(error)).join("\n");
        let all = "`-v` shows each of them whole, and so does `--format json`";
        let hint = error.hint().or_else(|| error.related_errors().iter().find_map(Error::hint));
        let help = hint.map_or_else(|| all.to_owned(), |hint| format!("{hint}; {all}"));
        let summary = Error::new(error.kind(), error.to_string()).help(help);
        format!("{lines}\n{}", render(&summary, self.color))
    }

    /// Failures (a name or message, and its causes) as a line for each cause and host.
    pub(super) fn grouped(&self, failures: &[(String, Vec<String>)]) -> Vec<String> {
        let lines = failures::grouped(failures.iter().map(|(name, causes)| (name.as_str(), causes.as_slice())));
        lines.iter().map(|line| format!("  {} {line}", self.paint("×", "31"))).collect()
    }

    fn document(&self, outcome: &Outcome) -> Value {
        let mut document = json!({
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "ok": outcome.error.is_none(),
        });
        if let (Value::Object(document), Value::Object(fields)) = (&mut document, &outcome.json) {
            document.extend(fields.clone());
            if let Some(error) = &outcome.error {
                document.insert("error".into(), error_json(error));
            }
        }
        document
    }
}

fn error_json(error: &Error) -> Value {
    json!({
        "kind": error.kind().name(),
        "exit_code": error.exit_code(),
        "message": redact(&error.to_string()),
        "causes": error.causes().iter().map(|cause| redact(cause)).collect::<Vec<_>>(),
        "help": error.hint().map(redact),
        "related": error.related_errors().iter().map(error_json).collect::<Vec<_>>(),
    })
}

/// An error for a person: message, causes, the place in the file, the hint.
fn render(error: &Error, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false);
    // A URL is not wrapped, so that it can be followed and copied. Off a terminal no line is: other programs read them.
    let handler = handler
        .with_wrap_lines(std::io::stderr().is_terminal())
        .with_break_words(false)
        .with_word_separator(textwrap::WordSeparator::AsciiSpace)
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation);
    if handler.render_report(&mut text, error).is_err() {
        let _ = writeln!(text, "error: {error}");
    }
    let prefix = if color { "\x1b[1;31merror\x1b[0m:" } else { "error:" };
    format!("{prefix}\n{}\n", redact(text.trim_end()))
}

/// Prints the report of a bug; the panic hook uses it, since it has no [`Output`].
pub(super) fn print_bug(error: &Error, details: &str) {
    print_stderr(&format!("{}{}\n", render(error, false), redact(details)));
}

/// Starts the log of decisions; `KBUILD_LOG` takes tracing's filter syntax.
pub(super) fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "kbuild=info,warn",
        _ => "kbuild=debug,warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env(env_vars::KBUILD_LOG).unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Redacting).without_time().init();
}

/// Writes the log to stderr, without credentials. Libraries log the URLs of redirects, and some of these are signed.
struct Redacting;

impl std::io::Write for Redacting {
    /// tracing writes each event in one call.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().lock().write_all(redact(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A closed pipe (`kbuild … | head`) is not an error.
fn print_stdout(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// `1 source`, `2 sources`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
