//! `kbuild lock` and `kbuild update`: the only commands that change kata.lock.

use clap::Args;
use serde_json::json;

use crate::bitbake::Report;
use crate::builder;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::lock::Lock;
use crate::resolve::{self, Change, Found, Incomplete, Moving, Resolution, Unknown};
use crate::source::SourceId;

/// Pins everything that kata.toml asks for, and every source that the boards' recipes fetch, in kata.lock.
///
/// Pins that stand are kept; only what is new or asked for differently is looked up, and BitBake is asked about a board
/// only when its layers or configuration changed. Each source is brought into the store on the way, for its hashes. A
/// source whose upstream is out of reach is still locked if its sha256 or commit is known, and said to be incomplete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild lock                 make or complete kata.lock
  kbuild lock --locked        only check: exit code 3 if kata.toml moved on
  kbuild lock --offline       complete what the store already has
  kbuild lock --strict        refuse entries whose bytes were never seen")]
pub(in crate::cli) struct LockArgs {
    /// Refuse a lock with incomplete entries.
    #[arg(long)]
    strict: bool,
}

/// Moves pins: looks up branches and downloads anew although kata.toml did not change.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild update                      move all pins
  kbuild update openembedded-core    move one
  kbuild update linux-yocto-dev      look up anew what this recipe's AUTOREV stands for")]
pub(in crate::cli) struct UpdateArgs {
    /// Layers, sources, or recipes that name a moving ref; without any, all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl LockArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        if global.locked() {
            let lock = Lock::read(&project.lock_path)?.unwrap_or_default();
            resolve::check_fresh(&project.manifest, &lock, &project.folders()?)?;
            check_strict(self.strict, &lock)?;
            output.say("kata.lock is up to date");
            return Ok(outcome(&lock, &[], &[], false));
        }
        relock(&project, global, output, &Moving::Nothing, self.strict)
    }
}

impl UpdateArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        if global.locked() {
            return Err(Error::new(Kind::Usage, "`kbuild update` changes kata.lock, and --locked forbids that"));
        }
        let moving = if self.names.is_empty() { Moving::Everything } else { Moving::Named(self.names) };
        relock(&project, global, output, &moving, false)
    }
}

fn relock(project: &Project, global: &GlobalArgs, output: &Output, moving: &Moving, strict: bool) -> Result<Outcome> {
    let old = Lock::read_merging(&project.lock_path)?.unwrap_or_default();
    let fetcher = project.fetcher(global, output)?;
    let folders = project.folders()?;
    let pinned = runtime::wait(resolve::resolve(&project.manifest, &old, &fetcher, moving))?;
    let unknown = resolve::unknown(&project.manifest, &pinned.lock, &old, &folders, moving)?;
    let discovery = discover(project, output, &fetcher, &pinned.lock, unknown)?;
    let closing = resolve::close(&project.manifest, pinned, discovery.found, &old, folders, &fetcher, moving);
    let closed = runtime::wait(closing);
    if let Some((error, missed)) = discovery.failed {
        return Err(keep_what_was_found(project, output, error, &missed, closed, &old));
    }
    let Resolution { lock, changes, incomplete, warnings } = closed?;
    warnings.iter().for_each(|warning| output.warn(warning));
    check_strict(strict, &lock)?;
    let written = lock.write(&project.lock_path)?;
    say_changes(&changes, output);
    warn_of_incomplete(&incomplete, output);
    let total = lock.files.len() + lock.gits.len();
    output.say(&format!(
        "{} {}{}",
        if written { "Locked" } else { "kata.lock is unchanged:" },
        count(total, "source"),
        if incomplete.is_empty() { String::new() } else { format!(", {} incomplete", incomplete.len()) },
    ));
    Ok(outcome(&lock, &changes, &incomplete, written))
}

/// The closures that the engine could tell, one after the other.
#[derive(Default)]
struct Discovery {
    found: Vec<Found>,
    /// Why it ended early, and which are missing.
    failed: Option<(Error, Vec<Unknown>)>,
}

/// A closure costs minutes, and pins are what mends some faults (an include that `kbuild crates` reads out of a pinned source):
/// so the lock keeps what is known when the engine fails. It stays stale, and closures that it had stay in it.
fn keep_what_was_found(
    project: &Project,
    output: &Output,
    error: Error,
    missed: &[Unknown],
    closed: Result<Resolution>,
    old: &Lock,
) -> Error {
    let kept = closed.and_then(|Resolution { mut lock, .. }| {
        resolve::still_missing(&project.manifest, missed, old, &mut lock);
        lock.write(&project.lock_path)
    });
    if let Ok(true) = kept {
        output.say(&format!("kata.lock has the pins, and what was found; missing: {}", count(missed.len(), "closure")));
    }
    error
}

/// Asks the engine for the closures that are not known. Layers have to be in the store for that.
fn discover(
    project: &Project,
    output: &Output,
    fetcher: &Fetcher,
    lock: &Lock,
    unknown: Vec<Unknown>,
) -> Result<Discovery> {
    let mut discovery = Discovery::default();
    if unknown.is_empty() {
        return Ok(discovery);
    }
    let layers: Vec<SourceId> = lock.layers.values().map(|pin| pin.locked.clone()).collect();
    runtime::wait(fetcher.sources(lock, &layers))
        .map_err(|error| error.wrap("the closure of a board can only be found with its layers"))?;
    let total = unknown.len();
    let mut left = unknown.into_iter();
    while let Some(next) = left.next() {
        output.say(&format!("Finding {next} ({} of {total})", total - left.len()));
        match ask_engine(project, output, fetcher, lock, &next) {
            Ok(report) => {
                let Unknown { board, variant, inputs, .. } = next;
                discovery.found.push(Found { board, variant, inputs, report });
            }
            Err(error) => {
                discovery.failed = Some((error, std::iter::once(next).chain(left).collect()));
                break;
            }
        }
    }
    Ok(discovery)
}

fn ask_engine(project: &Project, output: &Output, fetcher: &Fetcher, lock: &Lock, unknown: &Unknown) -> Result<Report> {
    let Unknown { board, variant, .. } = unknown;
    let kbuild = builder::seal::this_program();
    let build = builder::Request {
        manifest: &project.manifest,
        lock,
        store: fetcher.store(),
        board,
        selection: &variant.selection,
        kbuild: &kbuild,
        require_seal: project.require_seal,
        progress: &*output.progress,
    };
    let request = builder::DiscoverRequest { build, host: &variant.host, words: output.words };
    let report = builder::discover(&request)?;
    report.notes.iter().for_each(|note| output.warn(note));
    Ok(report)
}

/// What changed, a line each, as many as a person reads.
fn say_changes(changes: &[Change], output: &Output) {
    const SHOWN: usize = 30;
    changes.iter().take(SHOWN).for_each(|change| output.say(&describe(change)));
    if changes.len() > SHOWN {
        output.say(&format!("  and {} more (`git diff kata.lock`, or --format json)", changes.len() - SHOWN));
    }
}

/// What is known by hash or commit alone, with the reason; many of one reason in one line.
fn warn_of_incomplete(incomplete: &[Incomplete], output: &Output) {
    const SHOWN: usize = 10;
    for Incomplete { id, why } in incomplete.iter().take(SHOWN) {
        let known = if matches!(id, SourceId::Git(_)) { "commit" } else { "sha256" };
        output.warn(&format!("{id} is locked by its {known} alone, its bytes were never seen: {why}"));
    }
    if incomplete.len() > SHOWN {
        let more = incomplete.len() - SHOWN;
        output
            .warn(&format!("{more} more sources are locked by sha256 or commit alone: see `kbuild list --incomplete`"));
    }
}

fn check_strict(strict: bool, lock: &Lock) -> Result<()> {
    let incomplete = lock.incomplete();
    if !strict || incomplete.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = incomplete.iter().map(ToString::to_string).collect();
    Err(Error::input("kata.lock has incomplete entries, and --strict refuses that")
        .because(Error::input(list.join("\n")))
        .help("run `kbuild lock` where the upstreams or a mirror can be reached"))
}

fn describe(change: &Change) -> String {
    let Change { section, name, from, to } = change;
    // The kind of a source is plain from its key.
    let short = |text: &str| text.trim_start_matches("file:").trim_start_matches("git:").to_owned();
    match (from.as_deref().map(short), to.as_deref().map(short)) {
        (None, Some(to)) => format!("  + {section} {name}: {to}"),
        (Some(from), Some(to)) if from == to => format!("  ~ {section} {name}: {to}, other sources"),
        (Some(from), Some(to)) => format!("  ~ {section} {name}: {from} -> {to}"),
        (Some(from), None) => format!("  - {section} {name}: {from}"),
        (None, None) => String::new(),
    }
}

fn outcome(lock: &Lock, changes: &[Change], incomplete: &[Incomplete], written: bool) -> Outcome {
    let changes: Vec<_> = changes
        .iter()
        .map(|change| json!({ "section": change.section, "name": change.name, "from": change.from, "to": change.to }))
        .collect();
    let incomplete: Vec<_> = incomplete.iter().map(|entry| json!({ "source": entry.id, "why": entry.why })).collect();
    let json = json!({
        "written": written,
        "files": lock.files.len(),
        "git_commits": lock.gits.len(),
        "changes": changes,
        "incomplete": incomplete,
    });
    Outcome::new(json, "")
}
