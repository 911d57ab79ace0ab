//! `kbuild update`: moves pins.

use clap::Args;
use serde_json::json;

use super::lock::{Relocking, changes_json, may_change, relock, say_changes};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::files::{LOCK, MANIFEST};
use crate::lock::Lock;
use crate::manifest::{LayerOrigin, Manifest, ManifestEdit, Movable, NewPin, SourceOrigin};
use crate::resolve::{self, UpdatePolicy};
use crate::source::SourceUrl;

/// Updates pins: looks up branches and downloads again although kbuild.toml did not change.
///
/// With `--to`, also changes what kbuild.toml asks for, in its place, with all comments kept. The file is written together with
/// the lock, or not at all.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild update                      update all pins
  kbuild update openembedded-core    update one
  kbuild update linux-yocto-dev      look up this recipe's AUTOREV again
  kbuild update --dry-run            say what would move, and change nothing
  kbuild update meta-x --to v2.1     ask for another tag, branch or commit in kbuild.toml, and lock it
  kbuild update linux --to 6.18.36   ask for another version of a source whose URL contains one")]
pub(in crate::cli) struct UpdateArgs {
    /// Layers, sources, or recipes that name a moving ref; all, if none is given.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// The tag, branch, commit (40 digits) or version that one layer or source is to have.
    ///
    /// A name that is both is the tag; `refs/heads/NAME` is the branch. Where kbuild.toml gives `rev` too, it becomes the commit
    /// of the ref. Where it declares the hash of a file whose version changes, it becomes that of the new file.
    #[arg(long, value_name = "REF", requires = "names")]
    to: Option<String>,

    /// Say what would move, and write neither kbuild.toml nor kbuild.lock. Only refs are asked for, nothing is fetched.
    #[arg(long)]
    dry_run: bool,
}

impl UpdateArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        if !self.dry_run {
            may_change(global, "update")?;
        }
        let update = match (&self.to, self.names.is_empty()) {
            // Only what was changed in kbuild.toml moves.
            (Some(_), _) => UpdatePolicy::Nothing,
            (None, true) => UpdatePolicy::Everything,
            (None, false) => UpdatePolicy::Named(self.names.clone()),
        };
        let mut project = match (&self.to, self.dry_run) {
            (None, false) => Project::open_to_lock(global, output, &update)?,
            _ => Project::open(global)?,
        };
        let edit = match &self.to {
            Some(to) => Some(edit(&project, &self.names, to, &project.fetcher(global, output)?)?),
            None => None,
        };
        if let Some(edit) = &edit {
            project.manifest = edit.manifest(&project.manifest)?;
        } else {
            pinned_by_hand(&project.manifest, &self.names).iter().for_each(|line| output.warn(line));
        }
        if self.dry_run {
            return preview(&project, global, output, &update);
        }
        relock(&project, global, output, Relocking { update, edit, ..Relocking::default() })
    }
}

/// The manifest with another pin for one entry.
fn edit(project: &Project, names: &[String], to: &str, fetcher: &Fetcher) -> Result<ManifestEdit> {
    let manifest = &project.manifest;
    let name = one(names)?;
    let section = manifest.section_of(name)?;
    let mut edit = ManifestEdit::open(&manifest.path)?;
    let repository = repository(manifest, name);
    let pin = match (edit.movable(section, name)?, repository) {
        (movable @ Movable::Version { .. }, repository) => {
            let version = movable.version_in(to).to_owned();
            let commit = match (repository, movable.filled(&version)) {
                (Some(url), Some(named)) => runtime::wait(resolve::new_pin(&url, &named, fetcher))?.commit(),
                _ => None,
            };
            NewPin::Version(version, commit)
        }
        (Movable::Ref, Some(url)) => runtime::wait(resolve::new_pin(&url, to, fetcher))?,
        (Movable::Ref, None) => return Err(Error::bug("an entry with a ref has no repository")),
    };
    edit.set_pin(section, name, &pin)?;
    Ok(edit)
}

fn one(names: &[String]) -> Result<&str> {
    match names {
        [name] => Ok(name),
        _ => Err(Error::new(Kind::Usage, "--to moves one layer or source at a time")),
    }
}

/// The repository of a layer or declared source.
fn repository(manifest: &Manifest, name: &str) -> Option<SourceUrl> {
    let layer = manifest.layers.get(name).and_then(|layer| match &layer.origin {
        LayerOrigin::Git(git) => Some(&git.url),
        LayerOrigin::Path(_) => None,
    });
    let source = manifest.sources.get(name).and_then(|source| match &source.origin {
        SourceOrigin::Git(git) => Some(&git.url),
        SourceOrigin::File(_) | SourceOrigin::Image(_) => None,
    });
    layer.or(source).cloned()
}

/// Says of names that they do not move by themselves, since kbuild.toml gives their commit.
fn pinned_by_hand(manifest: &Manifest, names: &[String]) -> Vec<String> {
    let layers = manifest.layers.iter().filter_map(|(name, layer)| match &layer.origin {
        LayerOrigin::Git(git) => Some((name, git)),
        LayerOrigin::Path(_) => None,
    });
    let sources = manifest.sources.iter().filter_map(|(name, source)| match &source.origin {
        SourceOrigin::Git(git) => Some((name, git)),
        SourceOrigin::File(_) | SourceOrigin::Image(_) => None,
    });
    let by_hand = layers.chain(sources).filter(|(name, git)| names.contains(name) && git.reference.rev.is_some());
    let words = by_hand.map(|(name, git)| {
        let to = git.reference.branch.as_deref().unwrap_or("REF");
        format!("{MANIFEST} gives the commit of `{name}`, which stays; `kbuild update {name} --to {to}` changes it")
    });
    words.collect()
}

/// `--dry-run`.
fn preview(project: &Project, global: &GlobalArgs, output: &Output, update: &UpdatePolicy) -> Result<Outcome> {
    let old = Lock::read_merging(&project.lock_path)?.unwrap_or_default();
    let fetcher = project.fetcher(global, output)?;
    let preview = runtime::wait(resolve::preview(&project.manifest, &old, &fetcher, update))?;
    say_changes(&preview.changes, output);
    if !preview.unknown.is_empty() {
        output.say(&format!("Only a fetch can tell whether these changed: {}", preview.unknown.join(", ")));
    }
    let what = if preview.changes.is_empty() { "Nothing would move" } else { "Nothing was changed" };
    output.say(&format!("{what} ({LOCK} and {MANIFEST} stay as they are: --dry-run)"));
    let json = json!({
        "dry_run": true,
        "changes": changes_json(&preview.changes),
        "unknown": preview.unknown,
    });
    Ok(Outcome::new(json, ""))
}
