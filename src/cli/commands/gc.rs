//! `kbuild gc`: removes from the store what no lock names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::builder::layers;
use crate::cli::amount;
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
use crate::source::CommitId;
use crate::store::{FoundCheckout, GcLimits, GcPlan, Root, Store};

/// Removes from the store what no kbuild.lock names.
///
/// A store remembers the locks of the projects that use it. These locks, and those of --keep, say what stays. Files that
/// `kbuild verify --repair` set aside, partial downloads, and what killed processes left are removed too. Waits until no other
/// kbuild uses the store. Removes nothing from lower stores, and no
/// layer's checkout; what an edited one borrows stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild gc --dry-run                       what would be removed, and how much
  kbuild gc --keep release/kbuild.lock      what this lock names stays too
  kbuild gc --older-than 30d                what came within 30 days stays: other branches may need it
  kbuild gc --max-size 200GiB               the oldest go first, and only as many as have to")]
pub(in crate::cli) struct GcArgs {
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,

    /// A lock whose sources stay.
    #[arg(long, value_name = "LOCK")]
    keep: Vec<PathBuf>,

    /// Of what no lock names, remove only what came longer ago than this: `12h`, `30d`, `8w`.
    #[arg(long, value_name = "TIME", value_parser = amount::time)]
    older_than: Option<Duration>,

    /// Of what no lock names, remove the oldest, until the store has at most this size: `500MiB`, `100GiB`, `1TiB`.
    #[arg(long, value_name = "SIZE", value_parser = amount::size)]
    max_size: Option<u64>,
}

/// The locks that say what stays, and the remembered paths where no lock is any more.
struct Roots {
    locks: Vec<Lock>,
    gone: Vec<Root>,
    /// Checkouts of these projects that somebody edited: git needs the commits that they were made of.
    edited: Vec<FoundCheckout>,
}

impl Roots {
    fn borrowed(&self) -> Vec<CommitId> {
        self.edited.iter().flat_map(|checkout| checkout.commits.iter().copied()).collect()
    }
}

impl GcArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let place = StoreContext::find(global)?;
        let limits = GcLimits { age: self.older_than, size: self.max_size };
        if self.dry_run {
            let store = place.existing_store()?;
            let roots = self.roots(&store)?;
            let plan = store.gc_plan(&roots.locks, &roots.borrowed(), &limits)?;
            return Ok(self.told(&plan, &roots, output));
        }
        let (plan, roots) = runtime::work(output, || {
            let exclusive = place.exclusive(|| output.say("Waiting for other kbuilds that use the store"))?;
            let roots = self.roots(exclusive.store())?;
            let plan = exclusive.store().gc_plan(&roots.locks, &roots.borrowed(), &limits)?;
            exclusive.remove(&plan, stop::check)?;
            roots.gone.iter().try_for_each(|root| disk::remove_file(&root.record))?;
            Ok((plan, roots))
        })?;
        Ok(self.told(&plan, &roots, output))
    }

    /// Reads every lock that keeps something. An unreadable lock ends the command, since what it keeps is not known.
    fn roots(&self, store: &Store) -> Result<Roots> {
        let mut roots = Roots { locks: Vec::new(), gone: Vec::new(), edited: Vec::new() };
        for path in &self.keep {
            let lock = Lock::read(path)?;
            let none = || Error::input(format!("there is no {}", disk::shown(path)));
            roots.locks.push(lock.ok_or_else(|| none().help(format!("--keep names a {LOCK}")))?);
        }
        for root in store.roots()? {
            roots.edited.extend(layers::edited_checkouts(&root.lock)?);
            if !root.is_there()? {
                roots.gone.push(root);
                continue;
            }
            if let Some(lock) = Lock::read(&root.lock).map_err(|error| unreadable(error, &root))? {
                roots.locks.push(lock);
            }
        }
        if roots.locks.is_empty() {
            let error = Error::input("no lock is known that uses this store: all of it would be removed");
            return Err(error.help("name one with `--keep LOCK`; to remove the whole store, remove its directory"));
        }
        Ok(roots)
    }

    fn told(&self, plan: &GcPlan, roots: &Roots, output: &Output) -> Outcome {
        for root in &roots.gone {
            let gone = root.lock.display();
            output.say(&format!(
                "{gone} is gone: what only it kept {}",
                if self.dry_run { "would be removed" } else { "is removed" }
            ));
        }
        for checkout in &roots.edited {
            output.say(&format!("{} has edits: what git needs for them stays", disk::shown(&checkout.directory)));
        }
        let leftovers = plan.leftovers().count();
        output.say(&format!(
            "{}{}, {} and {} ({}); {} ({}) kept by {}",
            if self.dry_run { "Would remove " } else { "Removed " },
            count(plan.blobs.len(), "blob"),
            count(plan.commits.len(), "commit"),
            count(leftovers, "leftover file"),
            progress::size(plan.bytes()),
            count(plan.kept, "blob"),
            progress::size(plan.kept_bytes),
            count(roots.locks.len(), "lock"),
        ));
        if plan.left > 0 {
            let (left, size) = (count(plan.left, "blob"), progress::size(plan.left_bytes));
            output.say(&format!("{left} ({size}) that no lock names {} within the limits", are(plan.left)));
        }
        let size = plan.kept_bytes + plan.left_bytes;
        if self.max_size.is_some_and(|limit| limit < size) {
            let size = progress::size(size);
            output.warn(&format!("what locks name has {size}, which is more than --max-size, and stays"));
        }
        if plan.twice > 0 {
            let (twice, size) = (count(plan.twice, "blob"), progress::size(plan.twice_bytes));
            output.say(&format!("A lower store also has {twice} ({size}) of what is kept"));
        }
        let gone: Vec<_> = roots.gone.iter().map(|root| &root.lock).collect();
        let edited: Vec<_> = roots.edited.iter().map(|checkout| &checkout.directory).collect();
        let json = json!({
            "dry_run": self.dry_run,
            "blobs": plan.blobs.len(),
            "commits": plan.commits.len(),
            "leftovers": leftovers,
            "bytes": plan.bytes(),
            "kept": { "blobs": plan.kept, "bytes": plan.kept_bytes },
            "left": { "blobs": plan.left, "bytes": plan.left_bytes },
            "twice": { "blobs": plan.twice, "bytes": plan.twice_bytes },
            "roots_gone": gone,
            "edited_checkouts": edited,
        });
        Outcome::new(json, if self.dry_run { list(plan) } else { String::new() })
    }
}

fn are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// What would be removed, one line each, largest first.
fn list(plan: &GcPlan) -> String {
    let blobs = plan.blobs.iter().map(|(blob, size)| (*size, format!("blob {blob}")));
    let leftovers = plan.leftovers().map(|file| (file.size, file.path.display().to_string()));
    let mut lines: Vec<(u64, String)> = blobs.chain(leftovers).collect();
    lines.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let sized = lines.iter().map(|(size, what)| format!("{:>12}  {what}", progress::size(*size)));
    let commits = plan.commits.iter().map(|commit| format!("{:>12}  commit {commit}", ""));
    sized.chain(commits).collect::<Vec<_>>().join("\n")
}

fn unreadable(error: Error, root: &Root) -> Error {
    let path = root.record.display();
    error
        .help(format!("fix it, or run `rm {path}` if that project no longer uses this store"))
        .wrap(format!("could not tell what {} keeps", root.lock.display()))
}
