//! `kbuild tree`: the recipes of a board, each under a recipe that needs it.

use clap::Args;
use serde_json::{Value, json};

use super::build::BoardArgs;
use crate::cli::describe::{OUTSIDE, extend, recipe_json};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::error::{Error, Result};
use crate::lock::{Lock, LockedBoard, Pin, RecipeTree};
use crate::source::SourceId;
use crate::suggest;

/// Deeper than any graph of BitBake. A lock made by hand may be deeper.
const DEEPEST: usize = 100;

/// Shows the recipes of a board, each under a recipe that needs it, with the sources that they fetch.
///
/// Reads kbuild.lock alone. Each recipe is shown once, on a shortest path from a target.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild tree --board qemu
  kbuild tree --board qemu --set boot=rootfs --depth 2
  kbuild tree --board qemu busybox           one recipe and what it needs
  kbuild tree --board qemu --no-sources      only recipes")]
pub(in crate::cli) struct TreeArgs {
    #[command(flatten)]
    board: BoardArgs,

    /// Architecture of the build host [default: the first that kbuild.toml names]
    #[arg(long, value_name = "ARCH")]
    build_host: Option<String>,

    /// How many levels below the targets to show.
    #[arg(long, value_name = "N")]
    depth: Option<usize>,

    /// Leave the sources out.
    #[arg(long)]
    no_sources: bool,

    /// Only this recipe and what it needs.
    #[arg(value_name = "RECIPE")]
    recipe: Option<String>,
}

/// One line of the tree, and the lines below it.
struct Branch {
    label: String,
    under: Vec<Branch>,
}

/// A tree, and which part of it to show.
struct TreeQuery<'a> {
    tree: RecipeTree<'a>,
    depth: usize,
    sources: bool,
}

impl TreeArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let (board, set) = (&self.board.board, &self.board.set);
        let settings = project.settings(board, set, self.build_host.as_deref())?;
        for missing in project.unlocked(&lock, board, &settings)? {
            output.warn(&missing);
        }
        let locked = lock.board(board)?;
        let settings: Vec<String> = settings.into_iter().filter(|name| locked.with.contains_key(name)).collect();
        let depth = self.depth.unwrap_or(DEEPEST).min(DEEPEST);
        let wanted = TreeQuery { tree: RecipeTree::of(&lock, board, &settings), depth, sources: !self.no_sources };
        if let Some(recipe) = &self.recipe {
            wanted.check(recipe, board)?;
            let json = json!({ "board": board, "with": settings, "recipes": [wanted.json(recipe, 0)] });
            return Ok(Outcome::new(json, wanted.node(recipe, 0).draw()));
        }
        if !wanted.tree.roots.is_empty() {
            output.say(&count(wanted.tree.names().count(), "recipe"));
        }
        let mut json = json!({
            "board": board,
            "with": settings,
            "recipes": wanted.tree.roots.iter().map(|name| wanted.json(name, 0)).collect::<Vec<_>>(),
        });
        extend(&mut json, beside_json(&lock, locked, &settings));
        let mut under = if wanted.sources { beside(&lock, locked, &settings) } else { Vec::new() };
        under.extend(wanted.tree.roots.iter().map(|name| wanted.node(name, 0)));
        let label = if settings.is_empty() { board.clone() } else { format!("{board} with {}", settings.join(", ")) };
        Ok(Outcome::new(json, Branch { label, under }.draw()))
    }
}

impl TreeQuery<'_> {
    fn check(&self, recipe: &str, board: &str) -> Result<()> {
        if self.tree.names().any(|name| name == recipe) {
            return Ok(());
        }
        let error = Error::input(format!("board `{board}` has no recipe `{}` in its closure", recipe.escape_debug()));
        Err(match suggest::did_you_mean(recipe, self.tree.names(), 1) {
            Some(question) => error.help(question),
            None => error.help(format!("run `kbuild why --recipe {}` to look on all boards", recipe.escape_debug())),
        })
    }

    fn json(&self, name: &str, level: usize) -> Value {
        let mut value = match self.tree.recipes.get(name) {
            Some(used) => {
                let mut value = recipe_json(used);
                extend(&mut value, json!({ "sources": used.recipe.sources }));
                value
            }
            None => json!({ "name": name, "sources": [] }),
        };
        let under: Vec<Value> =
            if level < self.depth { self.under(name).map(|name| self.json(name, level + 1)).collect() } else { vec![] };
        extend(&mut value, json!({ "needs": under, "left_out": self.left_out(name, level) }));
        value
    }

    fn node(&self, name: &str, level: usize) -> Branch {
        let used = self.tree.recipes.get(name);
        let version = used.map(|used| format!(" {}", used.recipe.version)).unwrap_or_default();
        let more = match self.left_out(name, level) {
            0 => String::new(),
            below => format!(" ({below} more below)"),
        };
        let sources = used.filter(|_| self.sources).into_iter().flat_map(|used| &used.recipe.sources);
        let mut under: Vec<Branch> = sources.map(|id| Branch::leaf(id.to_string())).collect();
        if level < self.depth {
            under.extend(self.under(name).map(|name| self.node(name, level + 1)));
        }
        Branch { label: format!("{name}{version}{more}"), under }
    }

    fn under(&self, name: &str) -> impl Iterator<Item = &str> {
        self.tree.under(name).iter().copied()
    }

    /// How many recipes are left out because of the depth.
    fn left_out(&self, name: &str, level: usize) -> usize {
        if level < self.depth { 0 } else { self.tree.count_under(name) }
    }
}

/// The pins of a board by which its sources are reached.
fn pins<'a>(
    pins: impl IntoIterator<Item = (&'a String, &'a Pin)>,
    board: &LockedBoard,
) -> Vec<(&'a str, &'a SourceId)> {
    let needed = pins.into_iter().filter(|(_, pin)| board.sources.contains(&pin.locked));
    needed.map(|(name, pin)| (name.as_str(), &pin.locked)).collect()
}

/// The declared sources of a board, its images among them.
fn declared<'a>(lock: &'a Lock, board: &LockedBoard) -> Vec<(&'a str, &'a SourceId)> {
    let images = lock.images.iter().flat_map(|(name, image)| image.locked.values().map(move |id| (name.as_str(), id)));
    let needed = images.filter(|(_, id)| board.sources.contains(id));
    pins(&lock.sources, board).into_iter().chain(needed).collect()
}

/// What is fetched outside of recipes.
fn extra<'a>(board: &'a LockedBoard, settings: &[String]) -> Vec<&'a SourceId> {
    let closures = board.closures().filter(|(name, _)| name.is_empty() || settings.iter().any(|s| s == name));
    closures.flat_map(|(_, closure)| &closure.extra).collect()
}

/// What a board needs besides recipes, each group under a heading.
fn beside(lock: &Lock, board: &LockedBoard, settings: &[String]) -> Vec<Branch> {
    let named = |(name, id): (&str, &SourceId)| format!("{name}  {id}");
    let groups = [
        ("layers", pins(&lock.layers, board).into_iter().map(named).collect::<Vec<_>>()),
        ("declared sources", declared(lock, board).into_iter().map(named).collect()),
        (OUTSIDE, extra(board, settings).into_iter().map(ToString::to_string).collect()),
    ];
    let groups = groups.into_iter().filter(|(_, labels)| !labels.is_empty());
    groups
        .map(|(heading, labels)| {
            let under = labels.into_iter().map(Branch::leaf).collect();
            Branch { label: format!("[{heading}]"), under }
        })
        .collect()
}

fn beside_json(lock: &Lock, board: &LockedBoard, settings: &[String]) -> Value {
    let named = |(name, source)| json!({ "name": name, "source": source });
    json!({
        "layers": pins(&lock.layers, board).into_iter().map(named).collect::<Vec<_>>(),
        "declared": declared(lock, board).into_iter().map(named).collect::<Vec<_>>(),
        "outside_of_recipes": extra(board, settings),
    })
}

impl Branch {
    fn leaf(label: String) -> Branch {
        Branch { label, under: Vec::new() }
    }

    /// Lines, without a newline at the end.
    fn draw(&self) -> String {
        let mut lines = vec![self.label.clone()];
        self.draw_under("", &mut lines);
        lines.join("\n")
    }

    fn draw_under(&self, prefix: &str, lines: &mut Vec<String>) {
        for (at, node) in self.under.iter().enumerate() {
            let last = at + 1 == self.under.len();
            let (branch, beside) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            lines.push(format!("{prefix}{branch}{}", node.label));
            node.draw_under(&format!("{prefix}{beside}"), lines);
        }
    }
}
