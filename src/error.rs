//! The one error type of kbuild: what failed, why, and the command that fixes it.
//!
//! Every room returns [`Error`]. Its [`Kind`] alone decides the exit code, so that scripts can rely on the table in
//! `docs/reference/exit-codes.md`. Only the command line prints it (see `cli::output`).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use miette::{Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// The result of everything in kbuild that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure. One kind has one exit code and one name in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A check failed, or the input (manifest, lock, layers, store) is wrong.
    Input,
    /// The command line itself is wrong.
    Usage,
    /// The lock does not match the manifest any more.
    Stale,
    /// No URL or mirror of a source could be fetched.
    Network,
    /// No server that was asked for a source has it: trying again would not help.
    Denied,
    /// The bytes that were fetched are not those that the lock names, or are not signed by whom they have to be.
    Mismatch,
    /// A source is not in the store, and the network may not be used.
    Missing,
    /// The engine (BitBake) ended with an error.
    Engine,
    /// A second build gave other bytes.
    NotReproducible,
    /// QEMU ended with an error.
    Emulator,
    /// The file system or the operating system refused an operation.
    Io,
    /// The user asked it to stop (SIGINT, SIGTERM).
    Interrupted,
    /// kbuild is at fault.
    Bug,
}

impl Kind {
    /// Every kind, for tables of them.
    pub const ALL: [Kind; 13] = [
        Kind::Input,
        Kind::Usage,
        Kind::Stale,
        Kind::Network,
        Kind::Denied,
        Kind::Mismatch,
        Kind::Missing,
        Kind::Engine,
        Kind::NotReproducible,
        Kind::Emulator,
        Kind::Io,
        Kind::Interrupted,
        Kind::Bug,
    ];

    /// The documented exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Input | Kind::Io => 1,
            Kind::Usage => 2,
            Kind::Stale => 3,
            Kind::Network | Kind::Denied => 4,
            Kind::Mismatch => 5,
            Kind::Missing => 6,
            Kind::Engine => 7,
            Kind::NotReproducible => 8,
            Kind::Emulator => 9,
            Kind::Bug => 70,
            Kind::Interrupted => 130,
        }
    }

    /// The name of this kind in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::Usage => "usage",
            Kind::Stale => "stale-lock",
            Kind::Network => "network",
            Kind::Denied => "denied",
            Kind::Mismatch => "hash-mismatch",
            Kind::Missing => "missing",
            Kind::Engine => "bitbake-failed",
            Kind::NotReproducible => "not-reproducible",
            Kind::Emulator => "qemu-failed",
            Kind::Io => "io",
            Kind::Bug => "bug",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// A failure, with its cause, the place in a text file it points at, and a hint.
///
/// Boxed inside, so that `Result<T>` stays small.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    help: Option<String>,
    text: Option<TextFile>,
    labels: Vec<LabeledSpan>,
    related: Vec<Error>,
}

impl Error {
    /// A failure of this kind. `message` says what failed, as a phrase without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            cause: None,
            help: None,
            text: None,
            labels: Vec::new(),
            related: Vec::new(),
        }))
    }

    /// Wrong input: exit code 1.
    pub fn input(message: impl Into<String>) -> Self {
        Error::new(Kind::Input, message)
    }

    /// A failed file operation: `could not <doing> <path>`, with the reason of the operating system.
    pub fn io(doing: &str, path: &Path, cause: io::Error) -> Self {
        Error::new(Kind::Io, format!("could not {doing} {}", path.display())).because(cause)
    }

    /// A fault in kbuild itself: exit code 70.
    pub fn bug(message: impl Into<String>) -> Self {
        Error::new(Kind::Bug, message)
    }

    /// Adds the reason, printed below the message.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds what the user can do about it, preferably a command.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds a hint, unless the error has a better one already.
    #[must_use]
    pub fn help_or(self, help: &str) -> Self {
        if self.0.help.is_some() { self } else { self.help(help) }
    }

    /// Makes one error of all failures of a run: the failure itself if there is only one, else all of them under a
    /// summary. The kind is `Mismatch` if any failure is one, since that matters most; else the first's.
    pub fn all(errors: Vec<Error>, summary: impl FnOnce(usize) -> String) -> Option<Error> {
        let mismatch = errors.iter().map(Error::kind).find(|kind| *kind == Kind::Mismatch);
        let kind = mismatch.or(errors.first().map(Error::kind))?;
        if errors.len() == 1 {
            return errors.into_iter().next();
        }
        Some(Error::new(kind, summary(errors.len())).with_related(errors))
    }

    /// Shows the text file with the fault; [`Error::at`] adds the places.
    #[must_use]
    pub fn in_text(mut self, file: impl AsRef<str>, text: impl Into<String>) -> Self {
        self.0.text = Some(TextFile { name: file.as_ref().to_owned(), text: text.into() });
        self
    }

    /// Points at a byte range of the text file, with a short label.
    #[must_use]
    pub fn at(mut self, span: std::ops::Range<usize>, label: impl Into<String>) -> Self {
        self.0.labels.push(LabeledSpan::at(span, label.into()));
        self
    }

    /// Of places that were counted through several texts, keeps those in a part, and counts them from its beginning.
    #[must_use]
    pub fn within(mut self, part: std::ops::Range<usize>) -> Self {
        self.0.labels.retain(|label| part.contains(&label.offset()));
        for label in &mut self.0.labels {
            let text = label.label().map(str::to_owned);
            *label = LabeledSpan::new(text, label.offset() - part.start, label.len());
        }
        self
    }

    /// Adds further failures of the same run, each printed in full.
    #[must_use]
    pub fn with_related(mut self, related: impl IntoIterator<Item = Error>) -> Self {
        self.0.related.extend(related);
        self
    }

    /// The same failure with another kind: what is wrong input in a file is wrong usage in a flag.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Wraps this failure in a wider one: the current message becomes the cause; kind, hint and related failures stay.
    #[must_use]
    pub fn wrap(mut self, message: impl Into<String>) -> Self {
        let mut outer = Error::new(self.0.kind, message);
        outer.0.help.clone_from(&self.0.help);
        outer.0.related = std::mem::take(&mut self.0.related);
        outer.because(self)
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        self.0.kind.exit_code()
    }

    /// The hint, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Further failures of the same run.
    pub fn related_errors(&self) -> &[Error] {
        &self.0.related
    }

    /// The messages of all causes, outermost first, without the message itself.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

impl Diagnostic for Error {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.text.as_ref().map(|text| text as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.0.labels.is_empty()).then(|| Box::new(self.0.labels.iter().cloned()) as _)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.0.related.is_empty()).then(|| Box::new(self.0.related.iter().map(|error| error as &dyn Diagnostic)) as _)
    }
}

/// A text file that is shown with its faulty places.
///
/// Not miette's `NamedSource`: up to miette 7.6 the number of lines of an excerpt is counted from the top of the file, so
/// that two distant places are taken for neighbours, and everything between them is printed.
#[derive(Debug)]
struct TextFile {
    name: String,
    text: String,
}

impl SourceCode for TextFile {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, lines_before, lines_after)?;
        let (data, place) = (read.data(), *read.span());
        let lines = data.split(|byte| *byte == b'\n').count();
        let excerpt = MietteSpanContents::new_named(self.name.clone(), data, place, read.line(), read.column(), lines);
        Ok(Box::new(excerpt.with_language("toml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_kind_and_hint() {
        let inner = Error::new(Kind::Network, "no answer").help("kbuild fetch --offline");
        let outer = inner.wrap("could not fetch linux");
        assert_eq!(outer.exit_code(), 4);
        assert_eq!(outer.hint(), Some("kbuild fetch --offline"));
        assert_eq!(outer.causes(), ["no answer"]);
    }

    #[test]
    fn lines_between_two_distant_places_are_not_shown() {
        let text = (0..100).map(|line| format!("line{line:02}\n")).collect::<String>();
        let error = Error::input("two places").at(10 * 7..10 * 7 + 6, "here").at(80 * 7..80 * 7 + 6, "there");
        let mut shown = String::new();
        let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none());
        handler.render_report(&mut shown, &error.in_text("kbuild.toml", text)).unwrap();
        assert!(shown.contains("line10") && shown.contains("line80") && shown.contains("kbuild.toml:11:1"), "{shown}");
        assert!(!shown.contains("line40"), "{shown}");
    }
}
