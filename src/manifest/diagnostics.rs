//! All faults of one text, collected and shown together.

use std::path::Path;

use miette::Diagnostic as _;

use crate::disk;
use crate::error::{Error, Result};
use crate::source::url::redact_in_place;

/// The most faults that are shown; the others are only counted.
const SHOWN: usize = 20;

/// Texts that places are counted through, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<NumberedText>);

/// A text, and where it begins.
#[derive(Debug)]
struct NumberedText {
    file: String,
    text: String,
    start: usize,
}

impl Texts {
    /// Adds a text, and gives where its places begin.
    pub(super) fn add(&mut self, file: &Path, text: &str) -> usize {
        // A byte between two texts, for what is at the end of the first.
        let start = self.0.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(NumberedText { file: disk::shown(file), text: text.to_owned(), start });
        start
    }

    /// A fault with the text that its first place is in; places in other texts are left out.
    fn show(&self, fault: Error) -> Error {
        let offset = place(&fault);
        let Some(text) = self.0.iter().rev().find(|text| text.start <= offset) else { return fault };
        fault.within(text.start..text.start + text.text.len() + 1).in_text(&text.file, harmless(&text.text))
    }

    /// The file that a message about all of them names.
    fn first(&self) -> &str {
        self.0.first().map_or("", |text| text.file.as_str())
    }
}

/// Where the first place of a fault is.
fn place(fault: &Error) -> usize {
    fault.labels().and_then(|mut labels| labels.next()).map_or(0, |at| at.offset())
}

/// All faults of one text, or of several that are read as one.
#[derive(Debug, Default)]
pub(super) struct Diagnostics(Vec<Error>);

impl Diagnostics {
    /// Adds a fault; [`Error::at`] says where it is.
    pub(super) fn add(&mut self, fault: Error) {
        self.0.push(fault);
    }

    /// Adds the error of a check, or returns its value.
    pub(super) fn take<T>(&mut self, checked: Result<T>) -> Option<T> {
        checked.map_err(|fault| self.add(fault)).ok()
    }

    /// The number of faults so far.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Ok, or one error that shows every fault in the text, in the order of its lines.
    pub(super) fn finish(self, file: &Path, text: &str) -> Result<()> {
        let mut texts = Texts::default();
        texts.add(file, text);
        self.finish_in(&texts)
    }

    /// The same of faults in several texts.
    pub(super) fn finish_in(mut self, texts: &Texts) -> Result<()> {
        self.0.sort_by_key(place);
        let count = self.0.len();
        let mut diagnostics = self.0.into_iter().take(SHOWN).map(|fault| texts.show(fault));
        match count {
            0 => Ok(()),
            1 => Err(diagnostics.next().unwrap_or_else(|| Error::bug("a fault was lost"))),
            _ => {
                let more = if count > SHOWN { format!(", the first {SHOWN} of them below") } else { String::new() };
                let message = format!("{} has {count} faults{more}", texts.first());
                Err(Error::input(message).with_related(diagnostics))
            }
        }
    }
}

/// The text for printing, with every byte in its place: no credentials, no control characters for a terminal.
fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    let mut shown = String::with_capacity(text.len());
    for c in redact_in_place(text).chars() {
        if steers(c) { shown.push_str(&"?".repeat(c.len_utf8())) } else { shown.push(c) }
    }
    shown
}
