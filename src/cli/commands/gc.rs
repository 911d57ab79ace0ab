//! `kbuild gc`: takes out of the store what no lock reaches.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::StoreContext;
use crate::cli::runtime;
use crate::cli::stop;
use crate::disk;
use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::lock::Lock;
use crate::progress;
use crate::store::{GcPlan, Root, Store};

/// Removes from the store what no kbuild.lock reaches.
///
/// A store remembers the locks of the projects that used it; those and --keep decide. Also goes what `kbuild verify
/// --repair` set aside, and what broken-off downloads left. Waits until no other kbuild uses the store. Nothing is removed
/// from lower stores.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild gc --dry-run                     what would go, and how much
  kbuild gc --keep release/kbuild.lock      what this lock names stays, too")]
pub(in crate::cli) struct GcArgs {
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,

    /// A lock whose sources stay.
    #[arg(long, value_name = "LOCK")]
    keep: Vec<PathBuf>,
}

/// The locks that decide, and the roots whose locks are gone.
struct Roots {
    locks: Vec<Lock>,
    gone: Vec<Root>,
}

impl GcArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let place = StoreContext::find(global)?;
        if self.dry_run {
            let store = place.existing_store()?;
            let roots = self.roots(&store)?;
            let garbage = store.garbage(&roots.locks)?;
            return Ok(self.told(&garbage, &roots, output));
        }
        let (garbage, roots) = runtime::work(output, || {
            let exclusive = place.exclusive(|| output.say("Waiting for other kbuilds that use the store"))?;
            let roots = self.roots(exclusive.store())?;
            let garbage = exclusive.store().garbage(&roots.locks)?;
            exclusive.remove(&garbage, stop::check)?;
            roots.gone.iter().try_for_each(|root| disk::remove_file(&root.record))?;
            Ok((garbage, roots))
        })?;
        Ok(self.told(&garbage, &roots, output))
    }

    /// Reads every lock that keeps something. One that cannot be read ends it: nobody knows what it keeps.
    fn roots(&self, store: &Store) -> Result<Roots> {
        let mut roots = Roots { locks: Vec::new(), gone: Vec::new() };
        for path in &self.keep {
            let lock = Lock::read(path)?;
            let none = || Error::input(format!("there is no {}", disk::shown(path)));
            roots.locks.push(lock.ok_or_else(|| none().help(format!("--keep names a {LOCK}")))?);
        }
        for root in store.roots()? {
            if !root.is_there()? {
                roots.gone.push(root);
            } else if let Some(lock) = Lock::read(&root.lock).map_err(|error| unreadable(error, &root))? {
                roots.locks.push(lock);
            }
        }
        if roots.locks.is_empty() {
            let error = Error::input("no lock is known that uses this store: all of it would go");
            return Err(error.help("name one with `--keep LOCK`; to be rid of the store, remove its directory"));
        }
        Ok(roots)
    }

    fn told(&self, garbage: &GcPlan, roots: &Roots, output: &Output) -> Outcome {
        for root in &roots.gone {
            let gone = root.lock.display();
            output
                .say(&format!("{gone} is gone: what only it kept {}", if self.dry_run { "would go" } else { "goes" }));
        }
        let leftovers = garbage.partial.len() + garbage.set_aside.len();
        output.say(&format!(
            "{}{}, {} and {} ({}); {} ({}) kept by {}",
            if self.dry_run { "Would remove " } else { "Removed " },
            count(garbage.blobs.len(), "blob"),
            count(garbage.commits.len(), "commit"),
            count(leftovers, "leftover file"),
            progress::size(garbage.bytes()),
            count(garbage.kept, "blob"),
            progress::size(garbage.kept_bytes),
            count(roots.locks.len(), "lock"),
        ));
        if garbage.twice > 0 {
            let (twice, size) = (count(garbage.twice, "blob"), progress::size(garbage.twice_bytes));
            output.say(&format!("Of what is kept, a lower store has {twice} ({size}) too"));
        }
        let gone: Vec<_> = roots.gone.iter().map(|root| &root.lock).collect();
        let json = json!({
            "dry_run": self.dry_run,
            "blobs": garbage.blobs.len(),
            "commits": garbage.commits.len(),
            "leftovers": leftovers,
            "bytes": garbage.bytes(),
            "kept": { "blobs": garbage.kept, "bytes": garbage.kept_bytes },
            "twice": { "blobs": garbage.twice, "bytes": garbage.twice_bytes },
            "roots_gone": gone,
        });
        Outcome::new(json, if self.dry_run { list(garbage) } else { String::new() })
    }
}

/// What would go, a line each, largest first.
fn list(garbage: &GcPlan) -> String {
    let blobs = garbage.blobs.iter().map(|(blob, size)| (*size, format!("blob {blob}")));
    let leftovers = garbage.partial.iter().chain(&garbage.set_aside);
    let leftovers = leftovers.map(|file| (file.size, file.path.display().to_string()));
    let mut lines: Vec<(u64, String)> = blobs.chain(leftovers).collect();
    lines.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let sized = lines.iter().map(|(size, what)| format!("{:>12}  {what}", progress::size(*size)));
    let commits = garbage.commits.iter().map(|commit| format!("{:>12}  commit {commit}", ""));
    sized.chain(commits).collect::<Vec<_>>().join("\n")
}

fn unreadable(error: Error, root: &Root) -> Error {
    let path = root.record.display();
    error
        .help(format!("mend it, or run `rm {path}` if that project no longer uses this store"))
        .wrap(format!("{} keeps what nobody can tell", root.lock.display()))
}
