//! What could not be locked as it is written. A closure costs minutes, so one fault in somebody's layer does not end the
//! lock: all the rest is in it, and the faults are told together at its end.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::source::Blake3;

/// A configuration: board, and variant (empty for the default).
pub(super) type FaultyConfiguration = (String, String);

/// The faults of one run.
#[derive(Debug, Default)]
pub(super) struct Faults {
    errors: Vec<Error>,
    unfinished: BTreeSet<FaultyConfiguration>,
    /// Names that stand for two files on a board, and were said to.
    names: BTreeSet<(String, String)>,
}

impl Faults {
    /// A source of which the lock has all that is known: its entry stands by a hash or commit, and is tried again.
    pub(super) fn add(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Something that the lock cannot hold, or that BitBake would refuse: these closures lack it, and are looked at again.
    pub(super) fn add_to(&mut self, closures: impl IntoIterator<Item = FaultyConfiguration>, error: Error) {
        self.errors.push(error);
        self.unfinished.extend(closures);
    }

    /// Whether it is the first time that this name is said to stand for two files on this board.
    pub(super) fn is_new(&mut self, board: &str, name: &str) -> bool {
        self.names.insert((board.to_owned(), name.to_owned()))
    }

    /// Whether something of this closure is not in the lock.
    pub(super) fn leave_open(&self, board: &str, setting: &str) -> bool {
        self.unfinished.contains(&(board.to_owned(), setting.to_owned()))
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }
}

/// What stands for the inputs of a closure that is not whole. No hash over inputs is this one, so that the closure is never
/// taken for a fresh one.
pub(super) fn unfinished() -> Blake3 {
    [0; 32].into()
}
