//! `kbuild why`: shows who needs a source, and by which path.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::describe::{
    boards_text, configurations_json, configurations_text, extend, recipe_json, recipe_text, source_json, source_text,
};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::lock::{Configuration, Holder, Lock, LockedBoard, Parent, Use, UsedRecipe, Uses};
use crate::source::SourceId;
use crate::suggest;

/// The most sources that are listed if a text could mean several.
const LISTED: usize = 10;

/// Shows who needs a source: which boards, options and recipes, and by which path from a target.
///
/// Reads kbuild.lock alone. What a choice of options shares with the board's default is not repeated.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild why busybox-1.37.0.tar.bz2         a file, by the name BitBake looks for
  kbuild why https://example.org/a.tar.gz   by any of its URLs
  kbuild why 2f0c1d4                        by the first digits of a commit or hash
  kbuild why linux                          a layer or source of kbuild.toml, or a recipe")]
pub(in crate::cli) struct WhyArgs {
    /// A source (file:NAME, git:NAME@COMMIT, a name, a URL, a commit, a unique part of its name), or a recipe.
    source: String,

    /// Take SOURCE as the name of a recipe, even if a source has that name.
    #[arg(long)]
    recipe: bool,
}

/// What was asked about.
enum Subject {
    Source(SourceId),
    Recipe,
}

/// Paths from targets, each with the configurations that have it.
type Paths<'a> = BTreeMap<Vec<&'a str>, BTreeSet<Configuration<'a>>>;

/// All uses of one kind and name.
enum Reason<'a> {
    Layer(&'a str, &'a [&'a str]),
    Declared(&'a str, &'a [&'a str]),
    Recipe(UsedRecipe<'a>, Paths<'a>),
    Extra(BTreeSet<Configuration<'a>>),
}

/// What the answers are made from.
struct Query<'a> {
    lock: &'a Lock,
    uses: Uses<'a>,
    engine: &'a str,
}

impl WhyArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let query = Query {
            lock: &lock,
            uses: Uses::of(&lock),
            engine: project.manifest.engine.as_deref().unwrap_or_default(),
        };
        match query.asked(&self.source, self.recipe)? {
            Subject::Recipe => Ok(query.recipe(&self.source)),
            Subject::Source(id) => {
                let store = project.present_store()?;
                let holders = query.uses.holders(&id);
                let in_lfs = matches!(id, SourceId::Lfs(_));
                let reasons: Vec<_> = holders.iter().map(|holder| (holder, query.reasons(&holder.id))).collect();
                let needed_by: Vec<Value> =
                    reasons.iter().flat_map(|(holder, all)| query.json(holder, in_lfs, all)).collect();
                let json = json!({ "source": source_json(&lock, &id, store.as_ref())?, "needed_by": needed_by });
                let mut text = vec![source_text(&lock, &id, store.as_ref())?];
                text.extend(reasons.iter().filter_map(|(holder, all)| query.text(holder, in_lfs, all)));
                Ok(Outcome::new(json, text.join("\n\n")))
            }
        }
    }
}

impl<'a> Query<'a> {
    /// What a text means: a source of that name, else a recipe, else a source whose name contains the text.
    fn asked(&self, text: &str, recipe: bool) -> Result<Subject> {
        let rules = [Lock::named, Lock::containing];
        for (at, rule) in rules.iter().enumerate() {
            let found = if recipe { Vec::new() } else { rule(self.lock, text) };
            match found.as_slice() {
                [] => {}
                [one] => return Ok(Subject::Source(one.clone())),
                several => return Err(ambiguous(text, several)),
            }
            if at == 0 && !self.uses.configurations_of(text).is_empty() {
                return Ok(Subject::Recipe);
            }
        }
        Err(self.unknown(text, recipe))
    }

    fn unknown(&self, text: &str, recipe: bool) -> Error {
        let recipes = self.lock.boards.values().flat_map(LockedBoard::recipe_names);
        let keys = self.lock.files.keys().chain(self.lock.gits.keys());
        let names = keys.chain(self.lock.layers.keys()).chain(self.lock.sources.keys()).chain(self.lock.images.keys());
        let names = names.map(String::as_str);
        let question = match recipe {
            true => suggest::did_you_mean(text, recipes, LISTED),
            false => suggest::did_you_mean(text, names.chain(recipes), LISTED),
        };
        let what = if recipe { "recipe" } else { "source and no recipe" };
        let error = Error::input(format!("{LOCK} knows no {what} `{}`", text.escape_debug()));
        let closed = self.lock.boards.values().any(|board| board.closure.is_some());
        match question {
            Some(question) => error.help(question),
            None if !closed => error.help("no closure is locked: only layers and declared sources are known"),
            None => {
                error.help("run `kbuild list` to see all sources, or `kbuild tree --board BOARD` to see the recipes")
            }
        }
    }

    /// The uses of a source itself, grouped by kind and name.
    fn reasons(&self, id: &SourceId) -> Vec<Reason<'_>> {
        let mut reasons = Vec::new();
        // Blocks that differ only in what else they fetch count as one recipe here.
        let mut recipes: BTreeMap<String, (UsedRecipe<'_>, Paths<'_>)> = BTreeMap::new();
        let mut extra = BTreeSet::new();
        for of in self.uses.direct(id) {
            match of {
                Use::Layer(name, boards) => reasons.push(Reason::Layer(name, boards)),
                Use::Declared(name, boards) => reasons.push(Reason::Declared(name, boards)),
                Use::Extra(configuration) => drop(extra.insert(*configuration)),
                Use::Recipe(used, configuration) => {
                    let (_, paths) = recipes.entry(recipe_text(used)).or_insert_with(|| (*used, Paths::new()));
                    paths.entry(self.uses.path(*configuration, used.name)).or_default().insert(*configuration);
                }
            }
        }
        reasons.extend(recipes.into_values().map(|(used, paths)| Reason::Recipe(used, without_repeated(paths))));
        reasons.extend((!extra.is_empty()).then_some(Reason::Extra(extra)));
        reasons
    }

    fn json(&self, holder: &Holder<'_>, in_lfs: bool, reasons: &[Reason<'_>]) -> Vec<Value> {
        let through: Vec<Value> = holder.through.iter().map(parent_json).collect();
        let (lfs, through) = through.split_at(usize::from(in_lfs && !through.is_empty()));
        let reason = |reason: &Reason<'_>| {
            let mut value = self.reason_json(reason);
            extend(&mut value, json!({ "submodule_of": through }));
            if let Some(repository) = lfs.first() {
                extend(&mut value, json!({ "lfs_file_of": repository }));
            }
            value
        };
        reasons.iter().map(reason).collect()
    }

    fn reason_json(&self, reason: &Reason<'_>) -> Value {
        match reason {
            Reason::Layer(name, boards) => {
                json!({ "kind": "layer", "name": name, "engine": *name == self.engine, "boards": boards })
            }
            Reason::Declared(name, boards) => json!({ "kind": "declared", "name": name, "boards": boards }),
            Reason::Recipe(used, paths) => {
                json!({ "kind": "recipe", "recipe": recipe_json(used), "paths": paths_json(paths) })
            }
            Reason::Extra(configurations) => {
                json!({ "kind": "outside-of-recipes", "configurations": configurations_json(configurations) })
            }
        }
    }

    /// A paragraph, or `None` if nothing needs the source itself.
    fn text(&self, holder: &Holder<'_>, in_lfs: bool, reasons: &[Reason<'_>]) -> Option<String> {
        let alone = holder.through.is_empty();
        if reasons.is_empty() {
            return None;
        }
        let mut lines = Vec::new();
        if !alone {
            let steps = holder.through.iter().enumerate().map(|(at, Parent { key, path })| {
                let what = if in_lfs && at == 0 { "file in Git LFS" } else { "submodule" };
                format!("{what} {path} of git:{key}")
            });
            lines.push(format!("As {}:", steps.collect::<Vec<_>>().join(", ")));
        }
        let indent = if alone { "" } else { "  " };
        for reason in reasons {
            lines.extend(self.reason_text(reason).into_iter().map(|line| format!("{indent}{line}")));
        }
        Some(lines.join("\n"))
    }

    fn reason_text(&self, reason: &Reason<'_>) -> Vec<String> {
        match reason {
            Reason::Layer(name, boards) => {
                let what = if *name == self.engine { "the engine," } else { "the" };
                vec![format!("Needed as {what} layer {name}"), format!("  {}", boards_text(self.lock, boards))]
            }
            Reason::Declared(name, boards) => {
                vec![format!("Needed as source {name}"), format!("  {}", boards_text(self.lock, boards))]
            }
            Reason::Recipe(used, paths) => {
                let mut lines = vec![format!("Needed by recipe {}", recipe_text(used))];
                lines.extend(self.paths_text(paths));
                lines
            }
            Reason::Extra(configurations) => vec![
                "Needed outside of recipes".to_owned(),
                format!("  {}", configurations_text(self.lock, configurations)),
            ],
        }
    }

    /// The paths, grouped by the configurations that have them; the largest group first.
    fn paths_text(&self, paths: &Paths<'_>) -> Vec<String> {
        let mut groups: BTreeMap<&BTreeSet<Configuration<'_>>, Vec<String>> = BTreeMap::new();
        for (path, configurations) in paths {
            groups.entry(configurations).or_default().push(path.join(" > "));
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(configurations, _)| std::cmp::Reverse(configurations.len()));
        let group = |(configurations, paths): (&BTreeSet<Configuration<'_>>, Vec<String>)| {
            let heading = format!("  {}", configurations_text(self.lock, configurations));
            [heading].into_iter().chain(paths.into_iter().map(|path| format!("    {path}")))
        };
        groups.into_iter().flat_map(group).collect()
    }

    /// Why a recipe is in task graphs, and what it fetches.
    fn recipe(&self, name: &'a str) -> Outcome {
        let mut paths = Paths::new();
        let mut blocks: BTreeMap<&str, UsedRecipe<'_>> = BTreeMap::new();
        for configuration in self.uses.configurations_of(name) {
            paths.entry(self.uses.path(configuration, name)).or_default().insert(configuration);
            if let Some((key, recipe)) = self.lock.recipe(configuration.board, configuration.setting, name) {
                blocks.insert(key, UsedRecipe { name, key, recipe });
            }
        }
        let block_json = |used: &UsedRecipe<'_>| {
            let mut value = recipe_json(used);
            extend(&mut value, json!({ "sources": used.recipe.sources }));
            value
        };
        let fetches: Vec<Value> = blocks.values().map(block_json).collect();
        let json = json!({ "recipe": name, "fetches": fetches, "paths": paths_json(&paths) });
        let mut lines = vec![if blocks.is_empty() {
            format!("recipe {name}, which fetches nothing")
        } else {
            format!("recipe {name}")
        }];
        for used in blocks.values() {
            lines.push(format!("  {}", recipe_text(used)));
            lines.extend(used.recipe.sources.iter().map(|id| format!("    {id}")));
        }
        lines.extend(["".to_owned(), "Needed".to_owned()]);
        lines.extend(self.paths_text(&paths));
        Outcome::new(json, lines.join("\n"))
    }
}

/// A choice that has a block of its own may need the source by the same path as the board's default.
fn without_repeated(mut paths: Paths<'_>) -> Paths<'_> {
    for configurations in paths.values_mut() {
        let default = |board| Configuration { board, setting: "" };
        let all = configurations.clone();
        configurations.retain(|one| one.setting.is_empty() || !all.contains(&default(one.board)));
    }
    paths
}

fn ambiguous(text: &str, found: &[SourceId]) -> Error {
    let mut list: Vec<String> = found.iter().take(LISTED).map(ToString::to_string).collect();
    list.extend((found.len() > LISTED).then(|| format!("and {} more", found.len() - LISTED)));
    Error::input(format!("`{}` may mean {} sources", text.escape_debug(), found.len()))
        .because(Error::input(list.join("\n")))
        .help("give the whole name of one of them")
}

fn parent_json(Parent { key, path }: &Parent<'_>) -> Value {
    json!({ "source": SourceId::Git((*key).to_owned()), "path": path })
}

fn paths_json(paths: &Paths<'_>) -> Value {
    let path = |(path, configurations): (&Vec<&str>, &BTreeSet<Configuration<'_>>)| json!({ "path": path, "configurations": configurations_json(configurations) });
    paths.iter().map(path).collect()
}
