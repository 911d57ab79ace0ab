//! BitBake while it runs: watched through kbuild's class and its own output, and given what caches have.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::channel::{Channel, Message};
use super::failure::{self, plain};
use super::result::CacheRecord;
use super::seal::{self, Stdout};
use super::watch::Watch;
use super::{Prepared, run_inside};
use crate::bitbake::engine;
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::progress::{self, BuildDisplay, Progress};

/// How often a display is updated when nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How many of BitBake's last lines are kept, for the case that nothing else says why it ended.
const KEPT_LINES: usize = 20;

/// How many of its errors are kept, and how many lines of an error or a warning: the first ones say most.
const KEPT_ERRORS: usize = 20;
const KEPT_OF_ONE: usize = 20;

/// How many messages may wait to be shown.
const WAITING: usize = 1024;

/// Who speaks while BitBake runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BuildOutput {
    /// kbuild: what is done and what runs, warnings, and what failed.
    #[default]
    Progress,
    /// BitBake itself.
    Raw,
}

/// A run of BitBake that was watched.
pub(super) struct Observed {
    pub(super) ended: seal::Ended,
    pub(super) watch: Watch,
    pub(super) cache: CacheRecord,
    said: SaidLines,
}

/// What BitBake printed.
#[derive(Debug, Default)]
struct SaidLines {
    /// Its errors, each with the lines that belong to it.
    errors: Vec<String>,
    last: VecDeque<String>,
    /// How many lines the last error or warning has.
    lines: usize,
}

/// Runs a command that is, or may start, BitBake. Without an `output`, what it prints is what was asked for.
///
/// # Errors
/// It cannot be started.
pub(super) fn run(
    prepared: &Prepared,
    command: Command,
    output: Option<BuildOutput>,
    progress: &dyn Progress,
) -> Result<Observed> {
    let (messages, received) = mpsc::sync_channel(WAITING);
    let (mut access, mut seal) = (prepared.cache.clone(), prepared.seal.clone());
    if !seal.can_forward() && access.servers.iter().any(Option::is_some) {
        access.servers = [None, None];
        progress.warn("without namespaces kbuild forwards nothing: the servers of [cache] are not asked");
    }
    seal.set_forwards(Channel::forwards(&prepared.topdir, &access));
    let channel = Channel::open(&prepared.topdir, &access, messages.clone())?;
    let watched = output == Some(BuildOutput::Progress);
    let mut display = if watched { progress.build_display() } else { Box::new(progress::Silent) };
    let (ended, watched_until) = std::thread::scope(|outer| {
        let shown = display.as_mut();
        let monitor = outer.spawn(move || monitor(&received, shown));
        let ended = std::thread::scope(|inner| {
            let _stop = channel.stopped_at_end();
            inner.spawn(|| channel.serve(inner));
            match output {
                None => run_inside(prepared, &seal, command, Stdout::Own),
                Some(BuildOutput::Raw) => run_inside(prepared, &seal, command, Stdout::ToStderr),
                Some(BuildOutput::Progress) => pipe().and_then(|(reader, writer)| {
                    let messages = messages.clone();
                    inner.spawn(move || read_lines(std::fs::File::from(reader), &messages));
                    run_inside(prepared, &seal, command, Stdout::Both(writer.as_fd()))
                }),
            }
        });
        let _ = messages.send(Message::End);
        (ended, monitor.join())
    });
    let (watch, said) = watched_until.map_err(|_| Error::bug("the thread that watches a build ended early"))?;
    let cache = CacheRecord { tasks: watch.tasks_from_cache(), ..channel.record() };
    let well = ended.as_ref().is_ok_and(|ended| ended.status == 0);
    display.finish(well.then(|| summary(&watch, &cache)).as_deref());
    drop(display);
    let ended = ended.map_err(|error| if watched { said.explain(error) } else { error })?;
    Ok(Observed { ended, watch, cache, said })
}

impl Observed {
    /// What BitBake's end means, with what failed and why.
    ///
    /// # Errors
    /// Kind `Interrupted` if the user stopped it, else kind `Engine` for every status but 0.
    pub(super) fn outcome(&self, targets: &[String], topdir: &Path, log: Option<&Path>) -> Result<()> {
        let plain = engine::outcome(self.ended.status, self.ended.interrupted, targets, log);
        let Err(error) = plain else { return Ok(()) };
        if error.kind() != Kind::Engine {
            return Err(error);
        }
        let failures = self.watch.failures();
        if failures.is_empty() {
            return Err(self.said.explain(error));
        }
        let report = failure::report(&failures, topdir);
        let many = if failures.len() == 1 { "a task".to_owned() } else { format!("{} tasks", failures.len()) };
        let message = format!("BitBake could not build {}: {many} failed\n{}", targets.join(" "), report.text);
        let all = log.map(|log| format!("all that BitBake said is in {}", disk::shown(log)));
        let help = report.help.into_iter().chain(all).collect::<Vec<_>>().join("\n");
        let failed = Error::new(Kind::Engine, message);
        Err(if help.is_empty() { failed } else { failed.help(help) })
    }
}

impl SaidLines {
    /// Takes a line in; gives a warning, when it is complete.
    fn take(&mut self, line: &str, open: &mut Option<String>) -> Option<String> {
        const LEVELS: [&str; 5] = ["WARNING: ", "ERROR: ", "NOTE: ", "DEBUG: ", "Summary: "];
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(plain(line));
        if LEVELS.iter().any(|level| line.starts_with(level)) {
            let complete = open.take();
            *open = line.strip_prefix("WARNING: ").map(plain);
            self.lines = 1;
            if line.starts_with("ERROR: ") {
                match self.errors.len() {
                    KEPT_ERRORS => self.lines = KEPT_OF_ONE,
                    _ => self.errors.push(line.to_owned()),
                }
            }
            return complete;
        }
        self.lines += 1;
        if self.lines > KEPT_OF_ONE {
            return None;
        }
        match (open, self.errors.last_mut()) {
            (Some(warning), _) => warning.push_str(&format!("\n  {}", plain(line))),
            (None, Some(error)) => error.push_str(&format!("\n{line}")),
            (None, None) => {}
        }
        None
    }

    /// An error with what BitBake said: its first errors, or else its last lines.
    fn explain(&self, error: Error) -> Error {
        let errors = engine::first_errors(&self.errors.join("\n"));
        let last = self.last.iter().filter(|line| !line.is_empty()).map(|line| format!("  {line}"));
        let said = if errors.is_empty() { last.collect::<Vec<_>>().join("\n") } else { errors };
        if said.is_empty() {
            return error;
        }
        let help = error.hint().map(str::to_owned);
        let told = Error::new(error.kind(), format!("{error}:\n{said}"));
        match help {
            Some(help) => told.help(help.replace("its messages are above, and in", "all that BitBake said is in")),
            None => told,
        }
    }
}

/// Adds up what comes until the end, and shows it.
fn monitor(received: &Receiver<Message>, display: &mut dyn BuildDisplay) -> (Watch, SaidLines) {
    let (mut watch, mut said, mut open) = (Watch::new(Instant::now()), SaidLines::default(), None);
    loop {
        let message = received.recv_timeout(TICK);
        let now = Instant::now();
        let warning = match message {
            Ok(Message::Event(event)) => {
                if let Some(task) = watch.take(event, now) {
                    display.ended(&task);
                }
                None
            }
            Ok(Message::Warning(warning)) => Some(warning),
            Ok(Message::Line(line)) => said.take(&line, &mut open),
            Err(RecvTimeoutError::Timeout) => open.take(),
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                open.take().iter().for_each(|warning| display.warn(warning));
                return (watch, said);
            }
        };
        warning.iter().for_each(|warning| display.warn(warning));
        display.update(&watch.status(now));
    }
}

/// How a build went, in a line.
fn summary(watch: &Watch, cache: &CacheRecord) -> String {
    let counts = watch.counts();
    let (objects, bytes) = cache.total();
    let mut parts = vec![format!("{} built", counts.built)];
    if counts.from_cache > 0 {
        let brought = if objects > 0 {
            format!(" ({objects} objects, {} from elsewhere)", progress::size(bytes))
        } else {
            String::new()
        };
        parts.push(format!("{} from shared state{brought}", counts.from_cache));
    }
    if counts.done_before > 0 {
        parts.push(format!("{} done before", counts.done_before));
    }
    let slowest: Vec<String> =
        watch.slowest().map(|task| format!("{} {}", task.name, progress::duration(task.time))).collect();
    let slowest = if slowest.is_empty() { String::new() } else { format!("; slowest: {}", slowest.join(", ")) };
    format!("{} tasks: {}{slowest}", counts.total, parts.join(", "))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) =
        std::io::pipe().map_err(|error| Error::new(Kind::Io, "could not make a pipe").because(error))?;
    Ok((reader.into(), writer.into()))
}

/// Passes on each line until the end. After the end of whoever watches, it still reads: BitBake would wait for that.
fn read_lines(reader: impl Read, messages: &SyncSender<Message>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while (&mut reader).take(bounds::BUILD_LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
        let _ = messages.send(Message::Line(text));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> (SaidLines, Vec<String>) {
        let (mut said, mut open, mut warnings) = (SaidLines::default(), None, Vec::new());
        for line in lines {
            warnings.extend(said.take(line, &mut open));
        }
        warnings.extend(open);
        (said, warnings)
    }

    #[test]
    fn warnings_are_passed_on_whole_and_errors_explain_an_end() {
        let (said, warnings) =
            said(&["WARNING: odd", "more of it", "NOTE: x", "ERROR: Nothing PROVIDES 'a'", "detail", "WARNING: w"]);
        assert_eq!(warnings, ["odd\n  more of it", "w"]);
        let error =
            said.explain(Error::new(Kind::Engine, "BitBake failed").help("its messages are above, and in build/log"));
        assert_eq!(error.to_string(), "BitBake failed:\n  Nothing PROVIDES 'a'\n  detail");
        assert_eq!(error.hint(), Some("all that BitBake said is in build/log"));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let longest = usize::try_from(bounds::BUILD_LINE).unwrap();
        let (messages, received) = mpsc::sync_channel(8);
        read_lines(format!("a\n\n{}", "b".repeat(longest + 1)).as_bytes(), &messages);
        drop(messages);
        let lengths: Vec<usize> = received
            .iter()
            .map(|message| match message {
                Message::Line(line) => line.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [1, 0, longest, 1]);

        let endless = |first: &str| std::iter::once(first.to_owned()).chain((0..1000).map(|line| line.to_string()));
        let lines: Vec<String> = (0..100).flat_map(|_| endless("ERROR: e").chain(endless("WARNING: w"))).collect();
        let (said, warnings) = said(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((said.errors.len(), warnings.len()), (KEPT_ERRORS, 100));
        assert!(said.errors.iter().chain(&warnings).all(|text| text.lines().count() == KEPT_OF_ONE));
    }

    #[test]
    fn the_last_lines_explain_an_end_without_errors() {
        let (said, _) = said(&["Traceback (most recent call last):", "KeyError: 'x'"]);
        let error = said.explain(Error::new(Kind::Engine, "BitBake failed"));
        assert_eq!(error.to_string(), "BitBake failed:\n  Traceback (most recent call last):\n  KeyError: 'x'");
    }
}
