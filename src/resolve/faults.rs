//! Faults: entries that could not be locked as they are written. Finding a closure takes minutes, so one fault in a
//! layer does not end the run: the lock has all the rest, and the faults are reported together at the end.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::lock::Closure;
use crate::source::Blake3;

/// A configuration: board, and variant (empty for the default).
pub(super) type FaultyConfiguration = (String, String);

/// The faults of one run.
#[derive(Debug, Default)]
pub(super) struct Faults {
    errors: Vec<Error>,
    unfinished: BTreeSet<FaultyConfiguration>,
    /// Names that stand for two files on a board, and were reported.
    names: BTreeSet<(String, String)>,
}

impl Faults {
    /// A fault of a source whose entry is in the lock, incomplete, by its hash or commit. The next run tries it again.
    pub(super) fn add(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// A fault that keeps an entry out of the lock, or that BitBake would refuse: these closures lack it, and are found
    /// anew by the next run.
    pub(super) fn add_to(&mut self, closures: impl IntoIterator<Item = FaultyConfiguration>, error: Error) {
        self.errors.push(error);
        self.unfinished.extend(closures);
    }

    /// Whether this is the first report that the name stands for two files on this board.
    pub(super) fn is_new(&mut self, board: &str, name: &str) -> bool {
        self.names.insert((board.to_owned(), name.to_owned()))
    }

    /// Whether an entry of this closure is not in the lock.
    pub(super) fn leave_open(&self, board: &str, setting: &str) -> bool {
        self.unfinished.contains(&(board.to_owned(), setting.to_owned()))
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }
}

/// The hash of the inputs of a closure that is not whole.
pub(super) fn unfinished() -> Blake3 {
    Closure::unfinished().inputs
}
