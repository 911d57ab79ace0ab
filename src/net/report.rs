//! Reporting the progress of a transfer.

use std::sync::{Arc, OnceLock};

use crate::progress::{Progress, Task};

/// A task that begins with its first report, so that sources that wait for their turn are not drawn.
pub struct LazyTask {
    progress: Arc<dyn Progress>,
    what: String,
    total: Option<u64>,
    task: OnceLock<Box<dyn Task>>,
}

impl LazyTask {
    /// A task that has not begun.
    pub fn new(progress: &Arc<dyn Progress>, what: impl Into<String>, total: Option<u64>) -> LazyTask {
        LazyTask { progress: progress.clone(), what: what.into(), total, task: OnceLock::new() }
    }

    /// The task, begun if it was not.
    pub fn task(&self) -> &dyn Task {
        self.task.get_or_init(|| self.progress.begin(&self.what, self.total)).as_ref()
    }
}
