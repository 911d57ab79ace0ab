//! Progress as bars on a terminal, as plain lines elsewhere.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::stop;
use crate::error::Result;
use crate::progress::{Progress, Silent, Task};
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
