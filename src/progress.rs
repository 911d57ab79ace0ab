//! How lower rooms report progress, without printing.

use std::sync::Arc;

use crate::error::Result;

/// Receives progress reports; the command line shows them, tests ignore or record them.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `total` is its size in bytes, if known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;

    /// A warning: something to know that is no failure.
    fn warn(&self, message: &str);

    /// Called between two steps of long work.
    ///
    /// # Errors
    /// The user asked to stop: kind `Interrupted`.
    fn check_interrupted(&self) -> Result<()> {
        Ok(())
    }
}

/// One piece of work; dropping it without [`Task::done`] means that it failed.
pub trait Task: Send + Sync {
    /// The size in bytes became known, or changed.
    fn set_total(&self, total: u64);

    /// The number of bytes done so far.
    fn set_position(&self, position: u64);

    /// A short text on the current state: `retrying in 2 s`, `from mirror.corp`.
    fn note(&self, note: &str);

    /// It succeeded; the note says how (`12 MiB from cdn.kernel.org`).
    fn done(&self, note: &str);
}

/// Bytes for people: `12.00 MiB`.
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Silent {
    /// As the fetcher needs it.
    pub fn shared() -> Arc<dyn Progress> {
        Arc::new(Silent)
    }
}

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn warn(&self, _message: &str) {}
}

impl Task for Silent {
    fn set_total(&self, _total: u64) {}
    fn set_position(&self, _position: u64) {}
    fn note(&self, _note: &str) {}
    fn done(&self, _note: &str) {}
}
