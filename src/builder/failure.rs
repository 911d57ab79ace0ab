//! What a failed task is told as: recipe, task, the last lines of its log, and, where it is known, the cause with the command
//! that helps.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::watch::FailedTask;
use crate::disk;
use crate::files::{LOCK, MANIFEST};

/// How much of the end of a log is read, in bytes.
const END: u64 = 64 << 10;

/// How many of its last lines are shown.
const LINES: usize = 12;

/// How long a line of it can be, in characters.
const WIDTH: usize = 240;

/// How many failed tasks are shown with their logs.
const SHOWN: usize = 5;

/// Why a task failed, as far as its log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// What happened, a phrase.
    pub(super) why: String,
    /// What to do: best a command.
    pub(super) help: String,
    /// Whether that says all: what the fetcher says of it would lead astray.
    pub(super) whole: bool,
}

/// What is told of a failed build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailureReport {
    /// A paragraph for each failed task, indented.
    pub(super) text: String,
    /// What to do about the first cause that is known.
    pub(super) help: Option<String>,
}

/// Tells of failed tasks. Logs are read below `topdir` only, wherever BitBake says that they are: it is not trusted.
pub(super) fn report(failures: &[FailedTask], topdir: &Path) -> FailureReport {
    let mut help = None;
    let mut text = Vec::new();
    for failure in failures.iter().take(SHOWN) {
        text.push(format!("  {} failed in {}", failure.recipe, failure.task));
        let Some(log) = failure.log.as_deref().and_then(|log| below(log, topdir)) else { continue };
        let end = end_of(&log);
        let found = cause(&end);
        let whole = found.as_ref().is_some_and(|cause| cause.whole);
        if let Some(cause) = &found {
            text.push(format!("    cause: {}", cause.why));
            text.push(format!("    help: {}", cause.help));
        }
        help = help.or(found.map(|cause| cause.help));
        let lines = if whole { Vec::new() } else { last_lines(&end) };
        text.extend(lines.into_iter().map(|line| format!("    | {line}")));
        text.push(format!("    log: {}", disk::shown(&log)));
    }
    if failures.len() > SHOWN {
        text.push(format!("  and {} more tasks", failures.len() - SHOWN));
    }
    FailureReport { text: text.join("\n"), help }
}

/// A file, if it really is below a directory: a link in the build's directory may lead anywhere.
fn below(log: &Path, topdir: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(log).ok()?;
    let file = real.starts_with(fs::canonicalize(topdir).ok()?) && real.is_file();
    file.then_some(real)
}

fn end_of(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(END);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(END).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read tells nothing; that the task failed is known.
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last lines, without what only frames them, and safe for a terminal.
fn last_lines(end: &str) -> Vec<String> {
    const FRAME: [&str; 4] = ["DEBUG: ", "NOTE: ", "WARNING: exit code", "ERROR: Task "];
    let told = end.lines().filter(|line| !line.trim().is_empty() && !FRAME.iter().any(|frame| line.starts_with(frame)));
    let told: Vec<&str> = told.collect();
    told[told.len().saturating_sub(LINES)..].iter().map(|line| plain(line)).collect()
}

/// A line without control characters, and not too long.
pub(super) fn plain(line: &str) -> String {
    let without: String = COLOUR.replace_all(line, "").chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    without.chars().filter(|c| !c.is_control()).take(WIDTH).collect::<String>().trim_end().to_owned()
}

static COLOUR: LazyLock<Regex> = LazyLock::new(|| pattern("\x1b\\[[0-9;?]*[A-Za-z]"));

/// What BitBake says where nothing of the view is what a recipe asks for (`bb.fetch2.FetchError`, `NetworkAccess`).
static NOT_FETCHED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:Unable to fetch URL from any source\.', '|Fetcher failure for URL: '|BB_FETCH_PREMIRRORONLY\) but access requested with command .* \(for url )([a-z0-9+]+://[^\s')]+)",
    )
});

static CHECKSUM: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:Checksum mismatch for local file |File: ')([^\s']+)'? (?:has|have) (\w+) checksum"));

static NO_COMMAND: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)([\w.+-]+): (?:command )?not found$"));

static NO_NETWORK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"Network is unreachable|Temporary failure in name resolution|Could not resolve host|Name or service not known|Connection refused",
    )
});

static OUT_OF_MEMORY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:Killed signal terminated program|virtual memory exhausted|Cannot allocate memory|out of memory allocating)",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant expression compiles")
}

/// The cause that a log tells of, if it is one of those that kbuild knows.
fn cause(log: &str) -> Option<Cause> {
    let known = |why: String, help: &str| Some(Cause { why, help: help.to_owned(), whole: false });
    if let Some(found) = CHECKSUM.captures(log) {
        let why = format!("{LOCK} has other bytes for {} than the recipe's checksum names", plain(&found[1]));
        return known(why, "run `kbuild lock`: the layer changed since the source was locked");
    }
    if let Some(found) = NOT_FETCHED.captures(log) {
        let url = crate::source::url::redact(&plain(&found[1]));
        let help = "run `kbuild lock`, then `kbuild fetch`".to_owned();
        return Some(Cause { why: format!("{url} is not in {LOCK}"), help, whole: true });
    }
    if log.contains("No space left on device") {
        return known(
            "the disk is full".to_owned(),
            "free some space: build/ can be deleted, `kbuild gc` empties the store",
        );
    }
    if OUT_OF_MEMORY.is_match(log) {
        let help = "build with less at once: BB_NUMBER_THREADS=2 PARALLEL_MAKE=-j2 kbuild build …";
        return known("the machine ran out of memory".to_owned(), help);
    }
    if let Some(found) = NO_COMMAND.captures(log) {
        let help = "install it, if the build host must have it (HOSTTOOLS); else the recipe lacks a dependency on its -native recipe";
        return known(format!("there is no program `{}` in the build", &found[1]), help);
    }
    if NO_NETWORK.is_match(log) {
        let help =
            format!("a build has no network: declare what the task fetches as a source, in SRC_URI or in {MANIFEST}");
        return known("the task asked the network".to_owned(), &help);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_causes_are_named_with_what_helps() {
        let why = |log: &str| cause(log).map(|cause| cause.why);
        for (log, expected) in [
            (
                "ERROR: Bitbake Fetcher Error: FetchError('Unable to fetch URL from any source.', 'https://u:p@h/x.tar.gz;name=x')",
                "https://***@h/x.tar.gz;name=x is not in kbuild.lock",
            ),
            (
                "ERROR: Fetcher failure for URL: 'git://h/x.git;branch=main'. Unable to fetch",
                "git://h/x.git;branch=main is not in kbuild.lock",
            ),
            (
                "NetworkAccess: Network access disabled through BB_NO_NETWORK (or set indirectly due to use of BB_FETCH_PREMIRRORONLY) but access requested with command git clone (for url https://h/y)",
                "https://h/y is not in kbuild.lock",
            ),
            (
                "File: '/t/dl/x-1.tar.gz' has sha256 checksum 'aa' when 'bb' was expected",
                "kbuild.lock has other bytes for /t/dl/x-1.tar.gz than the recipe's checksum names",
            ),
            ("cp: error writing: No space left on device", "the disk is full"),
            ("fatal error: Killed signal terminated program cc1plus", "the machine ran out of memory"),
            (
                "/t/run.do_compile: line 3: frobnicate: command not found",
                "there is no program `frobnicate` in the build",
            ),
            ("curl: (6) Could not resolve host: example.com", "the task asked the network"),
        ] {
            assert_eq!(why(log).as_deref(), Some(expected), "{log}");
        }
        assert_eq!(why("error: expected ';' before '}' token"), None);
    }

    #[test]
    fn the_last_lines_are_few_plain_and_of_the_build_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (topdir, secret) = (directory.path().join("top"), directory.path().join("secret"));
        fs::create_dir(&topdir).unwrap();
        let log = topdir.join("log.do_compile");
        let lines: Vec<String> = (0..40).map(|number| format!("\x1b[31mline {number}\x1b[0m")).collect();
        fs::write(&log, format!("{}\nWARNING: exit code 1 from a shell command.\n", lines.join("\n"))).unwrap();
        fs::write(&secret, "secret\n").unwrap();
        let failed = |log: &Path| FailedTask {
            recipe: "hello".to_owned(),
            task: "do_compile".to_owned(),
            log: Some(log.to_owned()),
        };
        let text = report(&[failed(&log)], &topdir).text;
        assert!(text.starts_with("  hello failed in do_compile\n    | line 28\n"), "{text}");
        assert!(text.contains("    | line 39\n    log: "), "{text}");

        let link = topdir.join("link");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        for elsewhere in [&secret, &link, &topdir.join("../secret"), &topdir] {
            assert_eq!(report(&[failed(elsewhere)], &topdir).text, "  hello failed in do_compile");
        }
    }
}
