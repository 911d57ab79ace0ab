//! How lower rooms report progress, without printing.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;

/// Receives progress reports; the command line shows them, tests ignore or record them.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `total` is its size in bytes, if known.
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task>;

    /// A warning: something to know that is no failure.
    fn warn(&self, message: &str);

    /// Shows a build while BitBake runs.
    fn build_display(&self) -> Box<dyn BuildDisplay> {
        Box::new(Silent)
    }

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

/// Shows what BitBake does.
pub trait BuildDisplay: Send {
    /// How things are; called about once a second, and when something changed.
    fn update(&mut self, status: &BuildStatus);

    /// A task ended.
    fn ended(&mut self, task: &RunningTask);

    /// A warning.
    fn warn(&mut self, message: &str);

    /// The end: nothing is updated any more. `summary` is what a person should see of it.
    fn finish(&mut self, summary: Option<&str>);
}

/// What a build does at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildStatus {
    /// What BitBake is at.
    pub phase: BuildPhase,
    /// Number of tasks in the task graph; 0 while it is not known.
    pub total: usize,
    /// Of these, how many are done: built, taken from a cache, done earlier, or not needed.
    pub done: usize,
    /// Number of tasks that ran.
    pub built: usize,
    /// Number of tasks whose result came from shared state.
    pub from_cache: usize,
    /// Number of tasks that failed.
    pub failed: usize,
    /// What runs now, the longest first.
    pub running: Vec<RunningTask>,
    /// Since BitBake was started.
    pub elapsed: Duration,
}

/// What BitBake is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BuildPhase {
    /// It starts, and reads the configuration.
    #[default]
    Starting,
    /// It reads what it learned of recipes in an earlier run.
    LoadingCache,
    /// It parses recipes.
    Parsing {
        /// Number of recipe files that are parsed.
        done: usize,
        /// Number of recipe files.
        total: usize,
    },
    /// It computes the task graph, and which tasks have to run.
    Planning,
    /// It runs tasks.
    Running,
}

/// A task that runs, or ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTask {
    /// `recipe:do_task`.
    pub name: String,
    /// Whether its result is taken from shared state.
    pub from_cache: bool,
    /// Since it was started, or until it ended.
    pub time: Duration,
}

/// A duration for people: `42 s`, `3 min 5 s`, `2 h 7 min`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
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

impl BuildDisplay for Silent {
    fn update(&mut self, _status: &BuildStatus) {}
    fn ended(&mut self, _task: &RunningTask) {}
    fn warn(&mut self, _message: &str) {}
    fn finish(&mut self, _summary: Option<&str>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let texts = [0, 59, 60, 185, 3599, 3600, 7620].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(texts, ["0 s", "59 s", "1 min 0 s", "3 min 5 s", "59 min 59 s", "1 h 0 min", "2 h 7 min"]);
    }
}
