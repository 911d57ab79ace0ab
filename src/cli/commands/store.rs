//! `kbuild store`: shows what is in the store.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::bundle::Ledger;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, count};
use crate::cli::project::StoreContext;
use crate::error::Result;
use crate::progress;
use crate::store::{Inventory, Leftover, Store};

/// Shows what is in the store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild store info                 path, size, lower stores, and projects that use it
  kbuild store ledger > ledger      what it has, for `kbuild export --since ledger` on another machine")]
pub(in crate::cli) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Shows its path and size, the stores below it, and the projects that use it.
    Info,
    /// Lists every blob and commit that it has, for `kbuild export --since` on the other side.
    Ledger,
}

impl StoreArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs) -> Result<Outcome> {
        let store = StoreContext::find(global)?.existing_store()?;
        match self.command {
            StoreCommand::Info => info(&store),
            StoreCommand::Ledger => ledger(&store),
        }
    }
}

fn info(store: &Store) -> Result<Outcome> {
    let inventory = store.inventory()?;
    let mut roots = Vec::new();
    for root in store.roots()? {
        let there = root.is_there().unwrap_or(true);
        roots.push((root.lock, there));
    }
    let lower = store.lower().iter().map(|store| Ok((store, store.inventory()?))).collect::<Result<Vec<_>>>()?;
    let json = json!({
        "store": store.root(),
        "format": crate::store::VERSION,
        "read_only": store.read_only_because(),
        "blobs": inventory.blobs.len(),
        "bytes": inventory.bytes(),
        "commits": inventory.commits.len(),
        "partial": { "files": inventory.partial.len(), "bytes": bytes(&inventory.partial) },
        "temporary": { "files": inventory.temporary.len(), "bytes": bytes(&inventory.temporary) },
        "set_aside": { "files": inventory.set_aside.len(), "bytes": bytes(&inventory.set_aside) },
        "lower": lower.iter().map(|(store, inventory)| lower_json(store, inventory)).collect::<Vec<_>>(),
        "roots": roots.iter().map(|(lock, there)| json!({ "lock": lock, "present": there })).collect::<Vec<_>>(),
    });
    let mut lines = lines(store, &inventory);
    lines.extend(lower.iter().map(|(store, inventory)| lower_line(store, inventory)));
    let shown = |(lock, there): &(std::path::PathBuf, bool)| {
        format!("  {}{}", lock.display(), if *there { "" } else { " (gone)" })
    };
    lines.push(format!("used by      {}", if roots.is_empty() { "no lock" } else { "" }).trim_end().to_owned());
    lines.extend(roots.iter().map(shown));
    Ok(Outcome::new(json, lines.join("\n")))
}

fn lines(store: &Store, inventory: &Inventory) -> Vec<String> {
    let sized = |bytes| progress::size(bytes);
    let mut lines = vec![
        format!("store        {}", store.root().display()),
        format!("format       {}", crate::store::VERSION),
        format!("blobs        {} ({})", inventory.blobs.len(), sized(inventory.bytes())),
        format!("commits      {}", inventory.commits.len()),
        format!("partial      {} ({})", count(inventory.partial.len(), "download"), sized(bytes(&inventory.partial))),
        format!("set aside    {} ({})", count(inventory.set_aside.len(), "file"), sized(bytes(&inventory.set_aside))),
    ];
    let temporary = count(inventory.temporary.len(), "file");
    lines.push(format!("temporary    {temporary} ({})", sized(bytes(&inventory.temporary))));
    lines.extend(store.read_only_because().map(|why| format!("read-only    {why}")));
    lines
}

fn lower_line(store: &Store, inventory: &Inventory) -> String {
    let (blobs, commits) = (count(inventory.blobs.len(), "blob"), count(inventory.commits.len(), "commit"));
    format!("below it     {}: {blobs} ({}), {commits}", store.root().display(), progress::size(inventory.bytes()))
}

fn lower_json(store: &Store, inventory: &Inventory) -> serde_json::Value {
    json!({
        "store": store.root(),
        "blobs": inventory.blobs.len(),
        "bytes": inventory.bytes(),
        "commits": inventory.commits.len(),
    })
}

fn bytes(files: &[Leftover]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

fn ledger(store: &Store) -> Result<Outcome> {
    let ledger = Ledger::of_store(store)?;
    let json = json!({ "blobs": ledger.blobs, "commits": ledger.commits.keys().collect::<Vec<_>>() });
    Ok(Outcome::new(json, ledger.to_string().trim_end()))
}
