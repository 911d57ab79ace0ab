//! Progress as bars on a terminal, as plain lines elsewhere.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::stop;
use crate::error::Result;
use crate::progress::{BuildDisplay, BuildPhase, BuildStatus, Progress, RunningTask, Silent, Task, duration};
use crate::source::url::redact;

/// One bar for each transfer; each that succeeds leaves a line behind.
pub(super) struct Bars {
    bars: MultiProgress,
    color: bool,
}

impl Bars {
    pub(super) fn new(color: bool) -> Self {
        Bars { bars: MultiProgress::new(), color }
    }
}

const KNOWN_SIZE: &str =
    "  {spinner} {prefix:<36!} {bar:20} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {wide_msg}";
const UNKNOWN_SIZE: &str = "  {spinner} {prefix:<36!} {bytes:>10} {wide_msg}";

impl Progress for Bars {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        let bar = self.bars.add(ProgressBar::new(total.unwrap_or(0)).with_prefix(redact(what)));
        bar.set_style(style(total.is_some()));
        bar.enable_steady_tick(Duration::from_millis(120));
        Box::new(Bar { bar, bars: self.bars.clone(), what: redact(what), color: self.color })
    }

    fn warn(&self, message: &str) {
        let line = warning(message, self.color);
        if self.bars.println(line.trim_end()).is_err() {
            print_stderr(&line);
        }
    }

    fn build_display(&self) -> Box<dyn BuildDisplay> {
        Box::new(BuildBars::new(self))
    }

    fn check_interrupted(&self) -> Result<()> {
        stop::check()
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known { KNOWN_SIZE } else { UNKNOWN_SIZE };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ ")
}

struct Bar {
    bar: ProgressBar,
    bars: MultiProgress,
    what: String,
    color: bool,
}

impl Task for Bar {
    fn set_total(&self, total: u64) {
        self.bar.set_style(style(true));
        self.bar.set_length(total);
    }

    fn set_position(&self, position: u64) {
        self.bar.set_position(position);
    }

    fn note(&self, note: &str) {
        self.bar.set_message(redact(note));
    }

    fn done(&self, note: &str) {
        self.bar.finish_and_clear();
        let _ = self.bars.println(finished(&self.what, note, self.color));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Warnings only.
pub(super) struct Quiet {
    pub(super) color: bool,
}

impl Progress for Quiet {
    fn build_display(&self) -> Box<dyn BuildDisplay> {
        Box::new(BuildComplaints { color: self.color })
    }

    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        Silent.begin(what, total)
    }

    fn warn(&self, message: &str) {
        print_stderr(&warning(message, self.color));
    }

    fn check_interrupted(&self) -> Result<()> {
        stop::check()
    }
}

/// One line for each finished piece of work; also notes, with `-v`.
pub(super) struct Lines {
    color: bool,
    notes: bool,
}

impl Lines {
    pub(super) fn new(color: bool, notes: bool) -> Self {
        Lines { color, notes }
    }
}

impl Progress for Lines {
    fn build_display(&self) -> Box<dyn BuildDisplay> {
        Box::new(BuildLines { color: self.color, each: self.notes, cadence: Cadence::default() })
    }

    fn begin(&self, what: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(ProgressLine {
            what: redact(what),
            color: self.color,
            notes: self.notes,
            ended: AtomicBool::new(false),
        })
    }

    fn warn(&self, message: &str) {
        print_stderr(&warning(message, self.color));
    }

    fn check_interrupted(&self) -> Result<()> {
        stop::check()
    }
}

struct ProgressLine {
    what: String,
    color: bool,
    notes: bool,
    ended: AtomicBool,
}

impl Task for ProgressLine {
    fn set_total(&self, _total: u64) {}

    fn set_position(&self, _position: u64) {}

    fn note(&self, note: &str) {
        if self.notes && !note.is_empty() {
            print_stderr(&format!("  {}: {}\n", self.what, redact(note)));
        }
    }

    fn done(&self, note: &str) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            print_stderr(&format!("{}\n", finished(&self.what, note, self.color)));
        }
    }
}

/// A build on a terminal: a bar of all tasks, and a line for each of those that run longest.
struct BuildBars {
    bars: MultiProgress,
    color: bool,
    total: ProgressBar,
    running: Vec<ProgressBar>,
}

/// How many running tasks have a line.
const RUNNING_SHOWN: usize = 8;

impl BuildBars {
    fn new(bars: &Bars) -> BuildBars {
        let total = bars.bars.add(ProgressBar::new(0));
        let style =
            ProgressStyle::with_template("  {spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        total.set_style(style);
        total.enable_steady_tick(Duration::from_millis(120));
        BuildBars { bars: bars.bars.clone(), color: bars.color, total, running: Vec::new() }
    }

    fn say(&self, line: &str) {
        if self.bars.println(line.trim_end()).is_err() {
            print_stderr(line);
        }
    }
}

impl BuildDisplay for BuildBars {
    fn update(&mut self, status: &BuildStatus) {
        self.total.set_message(format!("{}, {}", state(status), duration(status.elapsed)));
        let shown = status.running.len().min(RUNNING_SHOWN);
        while self.running.len() > shown {
            self.running.pop().iter().for_each(ProgressBar::finish_and_clear);
        }
        while self.running.len() < shown {
            let style = ProgressStyle::with_template("    {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.running.push(self.bars.add(ProgressBar::new(0).with_style(style)));
        }
        for (bar, task) in self.running.iter().zip(&status.running) {
            bar.set_message(running(task));
        }
    }

    fn ended(&mut self, _task: &RunningTask) {}

    fn warn(&mut self, message: &str) {
        self.say(&warning(message, self.color));
    }

    fn finish(&mut self, summary: Option<&str>) {
        self.running.drain(..).for_each(|bar| bar.finish_and_clear());
        self.total.finish_and_clear();
        if let Some(summary) = summary {
            self.say(&format!("{}\n", finished("BitBake", summary, self.color)));
        }
    }
}

/// A build whose output goes into a file: a line now and then, so that nobody takes it for stuck.
struct BuildLines {
    color: bool,
    /// Whether each task has a line.
    each: bool,
    cadence: Cadence,
}

impl BuildDisplay for BuildLines {
    fn update(&mut self, status: &BuildStatus) {
        if self.cadence.is_due(status) {
            let now: Vec<String> = status.running.iter().take(3).map(running).collect();
            let now = if now.is_empty() { String::new() } else { format!("; now {}", now.join(", ")) };
            print_stderr(&format!("  [{}] {}{now}\n", duration(status.elapsed), state(status)));
        }
    }

    fn ended(&mut self, task: &RunningTask) {
        if self.each {
            print_stderr(&format!("{}\n", finished(&task.name, &how(task), self.color)));
        }
    }

    fn warn(&mut self, message: &str) {
        print_stderr(&warning(message, self.color));
    }

    fn finish(&mut self, summary: Option<&str>) {
        if let Some(summary) = summary {
            print_stderr(&format!("{}\n", finished("BitBake", summary, self.color)));
        }
    }
}

/// When a line is due: at each tenth of the tasks, and when nothing was said for a while.
#[derive(Debug, Default)]
struct Cadence {
    /// The tenth of the last line, from 0 to 10.
    tenth: usize,
    last: Duration,
}

/// The longest silence: services that run builds end those that say nothing for some minutes.
const SILENCE: Duration = Duration::from_secs(30);

impl Cadence {
    fn is_due(&mut self, status: &BuildStatus) -> bool {
        let tenth = (status.done * 10).checked_div(status.total).unwrap_or(0);
        let due = tenth > self.tenth || status.elapsed >= self.last + SILENCE;
        if due {
            (self.tenth, self.last) = (tenth, status.elapsed);
        }
        due
    }
}

/// A build of which only complaints are shown.
struct BuildComplaints {
    color: bool,
}

impl BuildDisplay for BuildComplaints {
    fn update(&mut self, _status: &BuildStatus) {}

    fn ended(&mut self, _task: &RunningTask) {}

    fn warn(&mut self, message: &str) {
        print_stderr(&warning(message, self.color));
    }

    fn finish(&mut self, _summary: Option<&str>) {}
}

/// What a build is at.
fn state(status: &BuildStatus) -> String {
    match status.phase {
        BuildPhase::Starting => "BitBake starts".to_owned(),
        BuildPhase::LoadingCache => "BitBake reads its cache of recipes".to_owned(),
        BuildPhase::Parsing { done, total } => format!("parsing recipes, {done} of {total} files"),
        BuildPhase::Planning => "computing what has to be built".to_owned(),
        BuildPhase::Running => {
            let percent = (status.done * 100).checked_div(status.total).unwrap_or(0);
            let failed = if status.failed > 0 { format!(", {} failed", status.failed) } else { String::new() };
            format!(
                "{} of {} tasks ({percent} %), {} built, {} from shared state{failed}",
                status.done, status.total, status.built, status.from_cache
            )
        }
    }
}

fn running(task: &RunningTask) -> String {
    let from = if task.from_cache { " from shared state" } else { "" };
    format!("{}{from} {}", redact(&task.name), duration(task.time))
}

fn how(task: &RunningTask) -> String {
    let how = if task.from_cache { "from shared state" } else { "built" };
    format!("{how} in {}", duration(task.time))
}

fn finished(what: &str, note: &str, color: bool) -> String {
    let tick = if color { "\x1b[32m✓\x1b[0m" } else { "✓" };
    format!("  {tick} {what}  {}", redact(note)).trim_end().to_owned()
}

fn warning(message: &str, color: bool) -> String {
    let prefix = if color { "\x1b[1;33mwarning\x1b[0m" } else { "warning" };
    format!("{prefix}: {}\n", redact(message))
}

/// A terminal that was closed is not an error.
pub(super) fn print_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, done: usize) -> BuildStatus {
        let elapsed = Duration::from_secs(seconds);
        BuildStatus { phase: BuildPhase::Running, total: 100, done, elapsed, ..BuildStatus::default() }
    }

    #[test]
    fn a_line_is_due_at_each_tenth_and_after_a_silence() {
        let mut cadence = Cadence::default();
        let statuses = [(1, 0), (2, 9), (3, 10), (4, 19), (29, 19), (33, 19), (34, 30), (35, 100), (36, 100)];
        let due: Vec<u64> =
            statuses.iter().filter(|(at_, done)| cadence.is_due(&at(*at_, *done))).map(|(at, _)| *at).collect();
        assert_eq!(due, [3, 33, 34, 35]);
    }

    #[test]
    fn a_state_is_told_in_words() {
        let parsing = BuildPhase::Parsing { done: 3, total: 9 };
        assert_eq!(state(&BuildStatus { phase: parsing, ..at(1, 0) }), "parsing recipes, 3 of 9 files");
        let status = BuildStatus { built: 12, from_cache: 30, failed: 1, ..at(90, 45) };
        assert_eq!(state(&status), "45 of 100 tasks (45 %), 12 built, 30 from shared state, 1 failed");
        let task =
            RunningTask { name: "linux:do_compile".to_owned(), from_cache: false, time: Duration::from_secs(725) };
        assert_eq!(running(&task), "linux:do_compile 12 min 5 s");
    }
}
