//! All faults of one text, collected and shown together.

use std::path::Path;

use miette::Diagnostic as _;

use crate::disk;
use crate::error::{Error, Result};
use crate::source::url::redact_in_place;

/// The most faults that are shown; the others are only counted.
const SHOWN: usize = 20;

/// All faults of one text.
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
    pub(super) fn finish(mut self, file: &Path, text: &str) -> Result<()> {
        self.0.sort_by_key(|fault| fault.labels().and_then(|mut labels| labels.next()).map_or(0, |at| at.offset()));
        let file = disk::shown(file);
        let shown_text = harmless(text);
        let count = self.0.len();
        let mut diagnostics = self.0.into_iter().take(SHOWN).map(|fault| fault.in_text(&file, shown_text.clone()));
        match count {
            0 => Ok(()),
            1 => Err(diagnostics.next().unwrap_or_else(|| Error::bug("a fault was lost"))),
            _ => {
                let more = if count > SHOWN { format!(", the first {SHOWN} of them below") } else { String::new() };
                Err(Error::input(format!("{file} has {count} faults{more}")).with_related(diagnostics))
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
