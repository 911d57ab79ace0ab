//! How lower rooms tell what they are doing, without printing.

use std::sync::Arc;

use crate::error::Result;

/// Receives what goes on; the command line draws it, tests ignore or record it.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `total` is its size in bytes where that is known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;

    /// Something the user should know that is no failure.
    fn warn(&self, message: &str);

    /// Asked between two pieces of long work.
    ///
    /// # Errors
    /// The user wants it to stop: kind `Interrupted`.
    fn check_interrupted(&self) -> Result<()> {
        Ok(())
    }
}

/// One piece of work; dropping it without [`Task::done`] means that it failed.
pub trait Task: Send + Sync {
    /// The size became known, or changed, in bytes.
    fn set_total(&self, total: u64);

    /// How many bytes are done altogether.
    fn set_position(&self, position: u64);

    /// A word on the present state: `retrying in 2 s`, `from mirror.corp`.
    fn note(&self, note: &str);

    /// It ended well; the note says how (`12 MiB from cdn.kernel.org`).
    fn done(&self, note: &str);
}

/// Bytes as people read them: `12.00 MiB`.
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Silent {
    /// As the fetcher takes it.
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
