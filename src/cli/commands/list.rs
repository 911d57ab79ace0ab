//! `kbuild list`: shows the sources of the lock as a table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::describe::{configurations_json, extend, host, recipe_json, size, source_json, who};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::table::{Column, table, terminal_width};
use crate::error::{Error, Result};
use crate::lock::{Configuration, Lock, LockedBoard, Use, UsedRecipe, Uses};
use crate::progress;
use crate::source::SourceId;
use crate::store::Store;
use crate::suggest;

/// The most users of a source that are named; the others are counted.
const NAMED: usize = 3;

/// Lists the sources of kbuild.lock: size, host, licenses, and who needs each.
///
/// The size of a commit is that of its packs, if the store has them. Licenses are those of the recipes that fetch it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild list                                   everything the lock names
  kbuild list --board qemu --sort size          what one board needs, the largest first
  kbuild list --host github.com --kind git      the repositories of one host
  kbuild list --incomplete --format json        entries whose bytes were never seen, for a program")]
pub(in crate::cli) struct ListArgs {
    /// Only what these boards need, with any of their options.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Only what this recipe fetches.
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,

    /// Only sources whose canonical URL is on this host.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Only files, or only git commits.
    #[arg(long, value_name = "KIND")]
    kind: Option<SourceKind>,

    /// Only entries whose bytes were never seen.
    #[arg(long)]
    incomplete: bool,

    /// The key to sort by.
    #[arg(long, value_name = "KEY", default_value = "name")]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    /// Files.
    File,
    /// Git commits.
    Git,
    /// Objects of Git LFS.
    Lfs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By id, files first.
    Name,
    /// The largest first.
    Size,
    /// By host, then by id.
    Host,
}

/// One source and its row of the table.
struct Row<'a> {
    id: SourceId,
    host: String,
    size: Option<u64>,
    uses: Vec<&'a Use<'a>>,
}

impl ListArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let uses = Uses::of(&lock);
        let store = project.present_store()?;
        let mut rows = Vec::new();
        for id in project.sources(&lock, &self.boards)? {
            let locked = lock.get(&id)?;
            let (host, size) = (host(locked), size(locked, store.as_ref()));
            rows.push(Row { host, size, uses: uses.all(&id), id });
        }
        self.check_host(&rows)?;
        self.check_recipe(&lock)?;
        rows.retain(|row| self.wants(&lock, row));
        match self.sort {
            Sort::Name => {}
            Sort::Size => rows.sort_by_key(|row| Reverse(row.size)),
            Sort::Host => rows.sort_by(|a, b| a.host.cmp(&b.host)),
        }
        output.say(&summary(&lock, &rows));
        if output.is_json() {
            let json = rows.iter().map(|row| row.json(&lock, store.as_ref())).collect::<Result<Vec<_>>>()?;
            return Ok(Outcome::new(json!({ "sources": json }), ""));
        }
        let engine = project.manifest.engine.as_deref().unwrap_or_default();
        let text = if rows.is_empty() { String::new() } else { text(&rows, engine) };
        Ok(Outcome::new(json!({}), text))
    }

    /// A host that has no source is a mistake in the command, not an empty list.
    fn check_host(&self, rows: &[Row<'_>]) -> Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        let known: BTreeSet<&str> = rows.iter().map(|row| row.host.as_str()).collect();
        check_known("source is fetched from host", host, known)
    }

    fn check_recipe(&self, lock: &Lock) -> Result<()> {
        let Some(recipe) = &self.recipe else { return Ok(()) };
        let known = lock.boards.values().flat_map(LockedBoard::recipe_names).collect();
        check_known("board has a recipe", recipe, known)
    }

    fn wants(&self, lock: &Lock, row: &Row<'_>) -> bool {
        let kind = match row.id {
            SourceId::File(_) => SourceKind::File,
            SourceId::Git(_) => SourceKind::Git,
            SourceId::Lfs(_) => SourceKind::Lfs,
        };
        let incomplete = || lock.get(&row.id).is_ok_and(|locked| !locked.is_complete());
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.host.as_ref().is_none_or(|host| *host == row.host)
            && self.recipe.as_ref().is_none_or(|recipe| self.is_fetched_by(recipe, row))
            && (!self.incomplete || incomplete())
    }

    /// Whether a recipe fetches the source, on one of the given boards.
    fn is_fetched_by(&self, recipe: &str, row: &Row<'_>) -> bool {
        let asked = |board: &str| self.boards.is_empty() || self.boards.iter().any(|name| name == board);
        row.uses.iter().any(|of| matches!(of, Use::Recipe(used, on) if used.name == recipe && asked(on.board)))
    }
}

fn check_known(what: &str, name: &str, known: BTreeSet<&str>) -> Result<()> {
    if known.contains(name) {
        return Ok(());
    }
    let error = Error::input(format!("no {what} `{}`", name.escape_debug()));
    Err(match suggest::did_you_mean(name, known, 1) {
        Some(question) => error.help(question),
        None => error.help("run `kbuild list` without filters to see all"),
    })
}

fn summary(lock: &Lock, rows: &[Row<'_>]) -> String {
    let hosts: BTreeSet<&str> = rows.iter().map(|row| row.host.as_str()).filter(|host| !host.is_empty()).collect();
    let unknown = rows.iter().filter(|row| row.size.is_none()).count();
    let incomplete = rows.iter().filter(|row| lock.get(&row.id).is_ok_and(|locked| !locked.is_complete())).count();
    let mut words = vec![
        count(rows.len(), "source"),
        progress::size(rows.iter().filter_map(|row| row.size).sum()),
        count(hosts.len(), "host"),
    ];
    words.extend((unknown > 0).then(|| format!("{unknown} of unknown size")));
    words.extend((incomplete > 0).then(|| format!("{incomplete} incomplete")));
    words.join(", ")
}

fn text(rows: &[Row<'_>], engine: &str) -> String {
    let columns = [Column::Left, Column::Right, Column::Left, Column::Cut, Column::Cut];
    let heading = ["SOURCE", "SIZE", "HOST", "LICENSE", "NEEDED BY"].map(str::to_owned);
    let row = |row: &Row<'_>| {
        let size = row.size.map(progress::size).unwrap_or_default();
        let licenses: Vec<&str> = row.licenses().into_iter().collect();
        [row.id.to_string(), size, row.host.clone(), licenses.join(", "), needed_by(&who(&row.uses, engine))]
    };
    let rows: Vec<_> = [heading].into_iter().chain(rows.iter().map(row)).collect();
    table(columns, &rows, terminal_width())
}

fn needed_by(who: &BTreeSet<String>) -> String {
    let names: Vec<&str> = who.iter().map(String::as_str).collect();
    match names.as_slice() {
        few if few.len() <= NAMED => few.join(", "),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
        _ => String::new(),
    }
}

impl<'a> Row<'a> {
    /// The blocks of recipes that fetch the source, by key.
    fn recipes(&self) -> BTreeMap<&'a str, UsedRecipe<'a>> {
        let recipes = self.uses.iter().filter_map(|of| match of {
            Use::Recipe(used, _) => Some((used.key, *used)),
            _ => None,
        });
        recipes.collect()
    }

    fn licenses(&self) -> BTreeSet<&'a str> {
        self.recipes().values().map(|used| used.recipe.license.as_str()).collect()
    }

    fn json(&self, lock: &Lock, store: Option<&Store>) -> Result<Value> {
        let mut value = source_json(lock, &self.id, store)?;
        let configurations: BTreeSet<Configuration<'_>> = self.uses.iter().flat_map(|of| of.configurations()).collect();
        let boards: BTreeSet<&str> = configurations.iter().map(|configuration| configuration.board).collect();
        let (mut layers, mut declared) = (Vec::new(), Vec::new());
        for of in &self.uses {
            match of {
                Use::Layer(name, _) => layers.push(name),
                Use::Declared(name, _) => declared.push(name),
                Use::Recipe(..) | Use::Extra(_) => {}
            }
        }
        let outside = self.uses.iter().any(|of| matches!(of, Use::Extra(_)));
        let more = json!({
            "boards": boards,
            "configurations": configurations_json(&configurations),
            "layers": layers,
            "declared": declared,
            "recipes": self.recipes().values().map(recipe_json).collect::<Vec<_>>(),
            "outside_of_recipes": outside,
        });
        extend(&mut value, more);
        Ok(value)
    }
}
