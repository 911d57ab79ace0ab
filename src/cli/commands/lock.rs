//! `kbuild lock`, and what all commands share that change kbuild.lock.

use clap::Args;
use serde_json::{Value, json};

use crate::builder;
use crate::cli::describe::extend;
use crate::cli::failures::FEW;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::{Lock, Locked};
use crate::manifest::ManifestEdit;
use crate::resolve::{
    self, Change, ChangeSide, Incomplete, LockRequest, LockScope, Locking, Resolution, Stopped, UpdatePolicy,
};
use crate::source::{Sha256, SourceId};

/// Pins everything that kbuild.toml asks for, and every source that the boards' recipes fetch, in kbuild.lock.
///
/// Existing pins are kept: only what is new or changed in kbuild.toml is looked up. BitBake runs for a board only when its
/// layers or configuration changed. Each source is fetched into the store, for its hashes. A source whose upstream cannot
/// be reached is still locked if its sha256 or commit is known, and reported as incomplete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild lock                 make or complete kbuild.lock
  kbuild lock --locked        only check: exit code 3 if kbuild.toml changed
  kbuild lock --offline       complete what the store already has
  kbuild lock --recipe zlib   lock what one recipe fetches now
  kbuild lock --board qemu    look at one board's closures
  kbuild lock --strict        refuse entries whose bytes were never seen

What an upstream denies, or has with other bytes than a recipe says, and what BitBake would refuse, is told at the end
(exit code 4, 5 or 1); the lock has all the rest.")]
pub(in crate::cli) struct LockArgs {
    /// Look only at the closures of this board; may be repeated. Others stay as they are.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Look only at what this recipe fetches, in the closures that have it; may be repeated.
    #[arg(long = "recipe", value_name = "RECIPE", conflicts_with = "boards")]
    recipes: Vec<String>,

    /// Refuse a lock with incomplete entries.
    #[arg(long)]
    strict: bool,

    /// Accept tags that do not point to their recipe's commit any more; the lock records them.
    #[arg(long)]
    keep_moved_tags: bool,
}

impl LockArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = match global.locked() {
            true => Project::open(global)?,
            false => Project::open_to_lock(global, output, &UpdatePolicy::Nothing)?,
        };
        if global.locked() {
            let lock = Lock::read(&project.lock_path)?.unwrap_or_default();
            resolve::check_fresh(&project.manifest, &lock, &project.folders()?)?;
            check_strict(self.strict, &lock)?;
            output.say(&format!("{LOCK} is up to date"));
            return Ok(outcome(&lock, &[], &[], false));
        }
        for board in &self.boards {
            project.manifest.board(board)?;
        }
        let scope = match (self.boards.as_slice(), self.recipes.as_slice()) {
            ([], []) => LockScope::All,
            (_, []) => LockScope::Boards(self.boards.clone()),
            _ => LockScope::Recipes(self.recipes.clone()),
        };
        let LockArgs { strict, keep_moved_tags, .. } = self;
        let relocking = Relocking { scope, strict, keep_moved_tags, ..Relocking::default() };
        relock(&project, global, output, relocking)
    }
}

/// How the lock is made anew.
#[derive(Debug, Default)]
pub(super) struct Relocking {
    /// Which pins may move although the manifest did not.
    pub(super) update: UpdatePolicy,
    /// Of which closures.
    pub(super) scope: LockScope,
    /// Refuse incomplete entries.
    pub(super) strict: bool,
    /// Accept moved tags.
    pub(super) keep_moved_tags: bool,
    /// The change of kbuild.toml that is locked. It is written together with the lock, or not at all.
    pub(super) edit: Option<ManifestEdit>,
}

/// Refuses `--locked`, for a command that changes the lock.
pub(super) fn may_change(global: &GlobalArgs, command: &str) -> Result<()> {
    if !global.locked() {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("`kbuild {command}` changes {LOCK}, and --locked forbids that")))
}

/// Makes the lock anew, and writes it.
pub(super) fn relock(project: &Project, global: &GlobalArgs, output: &Output, relocking: Relocking) -> Result<Outcome> {
    let Relocking { update, scope, strict, keep_moved_tags, mut edit } = relocking;
    let old = Lock::read_merging(&project.lock_path)?.unwrap_or_default();
    let fetcher = project.fetcher(global, output)?;
    let request = LockRequest {
        manifest: &project.manifest,
        old: &old,
        folders: project.folders()?,
        scope: &scope,
        update: &update,
        keep_moved_tags,
        fetcher: &fetcher,
        wait: &|work| runtime::wait(work),
        say: &|line| output.say(line),
        warn: &|line| output.warn(line),
    };
    let engine = builder::Discoverer {
        manifest: &project.manifest,
        store: fetcher.store(),
        kbuild: &builder::seal::this_program(),
        require_seal: project.require_seal,
        progress: &*output.progress,
        verbosity: output.words,
    };
    let Locking { resolution, stopped } = resolve::lock(request, &engine)?;
    if let Some(Stopped { error, missing }) = stopped {
        // A change of the manifest that cannot be locked is not made.
        let something = !resolution.lock.all_sources().is_empty() && edit.is_none();
        if something && let Ok(true) = resolution.lock.write(&project.lock_path) {
            let missing = if missing > 0 { format!("; missing: {}", count(missing, "closure")) } else { String::new() };
            output.say(&format!("{LOCK} has the pins and what was found so far{missing}"));
        }
        return Err(error.with_related(resolution.faults));
    }
    let Resolution { lock, changes, incomplete, warnings, faults } = resolution;
    warnings.iter().for_each(|warning| output.warn(warning));
    if faults.is_empty() {
        check_strict(strict, &lock)?;
    }
    write_manifest(edit.as_mut(), &lock, output)?;
    let written = lock.write(&project.lock_path)?;
    say_changes(&changes, output);
    warn_of_incomplete(&incomplete, output);
    let total = lock.files.len() + lock.gits.len() + lock.lfs.len();
    output.say(&format!(
        "{} {}{}",
        if written { "Locked".to_owned() } else { format!("{LOCK} is unchanged:") },
        count(total, "source"),
        if incomplete.is_empty() { String::new() } else { format!(", {} incomplete", incomplete.len()) },
    ));
    let mut outcome = outcome(&lock, &changes, &incomplete, written);
    outcome.error =
        Error::all(faults, |count| format!("{count} sources of recipes could not be locked as they are written"));
    Ok(outcome)
}

/// Writes the manifest that was locked. A hash that it declared of other bytes becomes that of the locked ones.
fn write_manifest(edit: Option<&mut ManifestEdit>, lock: &Lock, output: &Output) -> Result<()> {
    let Some(edit) = edit else { return Ok(()) };
    if let Some(hash) = edit.outdated_hash().and_then(|name| hash_of(lock, name)) {
        edit.declare(&hash)?;
    }
    if edit.write()? {
        output.say(&format!("Changed {MANIFEST}"));
    }
    Ok(())
}

/// What a declared source's `sha256` or `digest` is.
fn hash_of(lock: &Lock, name: &str) -> Option<Sha256> {
    match lock.sources.get(name).map(|pin| lock.get(&pin.locked)) {
        Some(Ok(Locked::File(_, file))) => Some(file.sha256),
        _ => lock.images.get(name).map(|image| image.digest),
    }
}

/// What changed, one line each, up to a number that a person reads.
pub(super) fn say_changes(changes: &[Change], output: &Output) {
    const SHOWN: usize = 30;
    changes.iter().take(SHOWN).for_each(|change| output.say(&describe(change)));
    if changes.len() > SHOWN {
        output.say(&format!("  and {} more (`git diff {LOCK}`, or --format json)", changes.len() - SHOWN));
    }
}

/// Warns of sources that are known by hash or commit alone, with the reason. Many are grouped by reason and host.
fn warn_of_incomplete(incomplete: &[Incomplete], output: &Output) {
    if output.is_verbose() || incomplete.len() <= FEW {
        for Incomplete { id, why } in incomplete {
            let known = if matches!(id, SourceId::Git(_)) { "commit" } else { "sha256" };
            output.warn(&format!("{id} is locked by its {known} alone, its bytes were never seen: {why}"));
        }
        return;
    }
    let causes: Vec<(String, Vec<String>)> =
        incomplete.iter().map(|entry| (entry.id.to_string(), vec![entry.why.clone()])).collect();
    output.grouped(&causes).iter().for_each(|line| output.say(line));
    output.warn(&format!(
        "{} are locked by sha256 or commit alone, their bytes were never seen: see `kbuild list --incomplete`",
        count(incomplete.len(), "source")
    ));
}

fn check_strict(strict: bool, lock: &Lock) -> Result<()> {
    let incomplete = lock.incomplete();
    if !strict || incomplete.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = incomplete.iter().map(ToString::to_string).collect();
    Err(Error::input(format!("{LOCK} has incomplete entries, and --strict refuses that"))
        .because(Error::input(list.join("\n")))
        .help("run `kbuild lock` where the upstreams or a mirror can be reached"))
}

fn describe(change: &Change) -> String {
    let Change { section, name, from, to } = change;
    // The key shows the kind of the source.
    let short = |text: &str| text.trim_start_matches("file:").trim_start_matches("git:").to_owned();
    let (from, to) = (from.as_ref().map(|side| short(&side.text)), to.as_ref().map(|side| short(&side.text)));
    match (from, to) {
        (None, Some(to)) => format!("  + {section} {name}: {to}"),
        (Some(from), Some(to)) if from == to => format!("  ~ {section} {name}: {to}, other sources"),
        (Some(from), Some(to)) => match (from.rsplit_once('@'), to.rsplit_once('@')) {
            (Some((repository, from)), Some((same, to))) if repository == same => {
                format!("  ~ {section} {name}: {from} -> {to} of {repository}")
            }
            _ => format!("  ~ {section} {name}: {from} -> {to}"),
        },
        (Some(from), None) => format!("  - {section} {name}: {from}"),
        (None, None) => String::new(),
    }
}

/// Changes for programs: ids of sources, and whole commits where there are some.
pub(super) fn changes_json(changes: &[Change]) -> Value {
    let text = |side: &Option<ChangeSide>| side.as_ref().map(|side| side.text.clone());
    let commit = |side: &Option<ChangeSide>| side.as_ref()?.commit.map(|commit| commit.to_string());
    let change = |change: &Change| {
        let Change { section, name, from, to } = change;
        let mut value = json!({ "section": section, "name": name, "from": text(from), "to": text(to) });
        if commit(from).is_some() || commit(to).is_some() {
            extend(&mut value, json!({ "from_commit": commit(from), "to_commit": commit(to) }));
        }
        value
    };
    changes.iter().map(change).collect()
}

fn outcome(lock: &Lock, changes: &[Change], incomplete: &[Incomplete], written: bool) -> Outcome {
    let incomplete: Vec<_> = incomplete.iter().map(|entry| json!({ "source": entry.id, "why": entry.why })).collect();
    let json = json!({
        "written": written,
        "files": lock.files.len(),
        "git_commits": lock.gits.len(),
        "lfs_objects": lock.lfs.len(),
        "changes": changes_json(changes),
        "incomplete": incomplete,
    });
    Outcome::new(json, "")
}
