//! Looks up the lock backwards: who needs a source, and by which path from a target.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::source::SourceId;

use super::{Closure, Lock, LockedBoard, LockedRecipe, Need};

/// A board and one choice of its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration<'a> {
    pub board: &'a str,
    /// The choice, as [`LockedBoard::with`] names it; empty for the default.
    pub setting: &'a str,
}

/// Something that names a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use<'a> {
    /// A layer of the manifest (also the engine), and the boards that use it.
    Layer(&'a str, Vec<&'a str>),
    /// A declared source, and the boards that use it.
    Declared(&'a str, Vec<&'a str>),
    /// A recipe in the task graph of a configuration.
    Recipe(UsedRecipe<'a>, Configuration<'a>),
    /// Fetched outside of SRC_URI in a configuration (uninative).
    Extra(Configuration<'a>),
}

/// A recipe as a configuration uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedRecipe<'a> {
    /// PN.
    pub name: &'a str,
    /// The key of its block in [`Lock::recipes`].
    pub key: &'a str,
    pub recipe: &'a LockedRecipe,
}

/// A repository that has another commit as a submodule, or a file in Git LFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent<'a> {
    /// The key of the repository's block in [`Lock::gits`].
    pub key: &'a str,
    /// The path of the submodule or file in it.
    pub path: &'a str,
}

/// A source, or a repository that it belongs to: that has it as a submodule (of a submodule), or as a file in Git LFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The source, or the repository.
    pub id: SourceId,
    /// The way from the source up to it: each repository with the path of the one before in it. Empty for the
    /// source itself.
    pub through: Vec<Parent<'a>>,
}

/// An index over a lock: what names each source. Made in one pass.
#[derive(Debug)]
pub struct Uses<'a> {
    lock: &'a Lock,
    named: HashMap<&'a SourceId, Vec<Use<'a>>>,
    parents: HashMap<&'a str, Vec<Parent<'a>>>,
}

impl<'a> Uses<'a> {
    /// Makes the index of a lock.
    pub fn of(lock: &'a Lock) -> Uses<'a> {
        let mut uses = Uses { lock, named: HashMap::new(), parents: HashMap::new() };
        uses.add_pins();
        for (board, locked) in &lock.boards {
            for (setting, closure) in locked.closures() {
                uses.add_closure(Configuration { board, setting }, closure);
            }
        }
        for (key, git) in &lock.gits {
            // Keys of commits and of objects of Git LFS are never the same.
            for (path, child) in git.submodules.iter().chain(&git.lfs) {
                uses.parents.entry(child).or_default().push(Parent { key, path });
            }
        }
        uses
    }

    fn add_pins(&mut self) {
        let lock = self.lock;
        let boards = |id| lock.boards.iter().filter(move |(_, board)| board.sources.contains(id));
        let boards = |id| boards(id).map(|(name, _)| name.as_str()).collect();
        for (name, pin) in &lock.layers {
            pin.sources().for_each(|id| self.add(id, Use::Layer(name, boards(id))));
        }
        for (name, pin) in &lock.sources {
            self.add(&pin.locked, Use::Declared(name, boards(&pin.locked)));
        }
        for (name, image) in &lock.images {
            image.locked.values().for_each(|id| self.add(id, Use::Declared(name, boards(id))));
        }
    }

    fn add_closure(&mut self, configuration: Configuration<'a>, closure: &'a Closure) {
        for id in &closure.extra {
            self.add(id, Use::Extra(configuration));
        }
        for name in closure.recipes.keys() {
            if let Some(used) = recipe(self.lock, configuration, name) {
                used.recipe.sources.iter().for_each(|id| self.add(id, Use::Recipe(used, configuration)));
            }
        }
    }

    fn add(&mut self, id: &'a SourceId, by: Use<'a>) {
        self.named.entry(id).or_default().push(by);
    }

    /// What names a source itself; nothing for a source that only belongs to another one.
    pub fn direct(&self, id: &SourceId) -> &[Use<'a>] {
        self.named.get(id).map_or(&[], Vec::as_slice)
    }

    /// The source itself, then the repositories that it belongs to, nearest first, each once.
    pub fn holders(&self, id: &SourceId) -> Vec<Holder<'a>> {
        let mut holders = Vec::new();
        let mut seen = BTreeSet::from([id.clone()]);
        let mut next = VecDeque::from([Holder { id: id.clone(), through: Vec::new() }]);
        while let Some(holder) = next.pop_front() {
            if let SourceId::Git(key) | SourceId::Lfs(key) = &holder.id {
                for parent in self.parents.get(key.as_str()).into_iter().flatten() {
                    let id = SourceId::Git(parent.key.to_owned());
                    if seen.insert(id.clone()) {
                        next.push_back(Holder { id, through: [holder.through.as_slice(), &[*parent]].concat() });
                    }
                }
            }
            holders.push(holder);
        }
        holders
    }

    /// Every use of a source, and of the repositories that it belongs to.
    pub fn all(&self, id: &SourceId) -> Vec<&Use<'a>> {
        self.holders(id).iter().flat_map(|holder| self.direct(&holder.id)).collect()
    }

    /// Every configuration that has a recipe of this name in its task graph. What a choice shares with the board's
    /// default is counted once.
    pub fn configurations_of(&self, recipe: &str) -> Vec<Configuration<'a>> {
        let boards = self.lock.boards.iter();
        let all = boards.flat_map(|(board, locked)| locked.closures().map(move |closure| (board, closure)));
        let having = all.filter(|(_, (_, closure))| closure.recipes.contains_key(recipe));
        having.map(|(board, (setting, _))| Configuration { board, setting }).collect()
    }

    /// The recipes on a shortest way from a target to this one, both included.
    pub fn path(&self, configuration: Configuration<'_>, recipe: &'a str) -> Vec<&'a str> {
        let Some(board) = self.lock.boards.get(configuration.board) else { return vec![recipe] };
        let mut path = vec![recipe];
        let mut seen = BTreeSet::from([recipe]);
        let mut at = recipe;
        while let Some(Need::By(by)) = board.need(configuration.setting, at) {
            if !seen.insert(by) {
                break;
            }
            path.push(by);
            at = by;
        }
        path.reverse();
        path
    }
}

fn recipe<'a>(lock: &'a Lock, configuration: Configuration<'_>, name: &'a str) -> Option<UsedRecipe<'a>> {
    let (key, recipe) = lock.recipe(configuration.board, configuration.setting, name)?;
    Some(UsedRecipe { name, key, recipe })
}

impl<'a> Use<'a> {
    /// The configurations that have the use. A layer or declared source does not depend on choices, so it has only default
    /// ones.
    pub fn configurations(&self) -> Vec<Configuration<'a>> {
        match self {
            Use::Layer(_, boards) | Use::Declared(_, boards) => {
                boards.iter().map(|board| Configuration { board, setting: "" }).collect()
            }
            Use::Recipe(_, configuration) | Use::Extra(configuration) => vec![*configuration],
        }
    }
}

impl LockedBoard {
    /// Why a recipe is in the graph of a choice (empty: the default). The lock has what the default does not have.
    fn need(&self, setting: &str, recipe: &str) -> Option<&Need> {
        let chosen = self.with.get(setting).and_then(|closure| closure.recipes.get(recipe));
        chosen.or_else(|| self.closure.as_ref()?.recipes.get(recipe))
    }
}

/// The recipes of a board with some choices, each under a recipe that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeTree<'a> {
    /// The targets.
    pub roots: Vec<&'a str>,
    /// The recipes below each recipe.
    pub below: BTreeMap<&'a str, Vec<&'a str>>,
    /// The blocks of the recipes that fetch something.
    pub recipes: BTreeMap<&'a str, UsedRecipe<'a>>,
}

impl<'a> RecipeTree<'a> {
    /// The tree of a board with some choices (as [`LockedBoard::with`] names them); empty if no closure is locked.
    pub fn of(lock: &'a Lock, board: &'a str, settings: &'a [String]) -> RecipeTree<'a> {
        let mut needs: BTreeMap<&str, (&Need, &str)> = BTreeMap::new();
        let locked = lock.boards.get(board);
        let closures = locked.into_iter().flat_map(LockedBoard::closures);
        for (setting, closure) in closures.filter(|(name, _)| name.is_empty() || settings.iter().any(|s| s == name)) {
            needs.extend(closure.recipes.iter().map(|(name, need)| (name.as_str(), (need, setting))));
        }
        let parents = parents(&needs);
        let mut tree = RecipeTree { roots: Vec::new(), below: BTreeMap::new(), recipes: BTreeMap::new() };
        for (name, (_, setting)) in &needs {
            match parents.get(name) {
                Some(parent) => tree.below.entry(parent).or_default().push(name),
                None => tree.roots.push(name),
            }
            tree.recipes.extend(recipe(lock, Configuration { board, setting }, name).map(|used| (*name, used)));
        }
        tree
    }

    /// Every recipe of the tree.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.roots.iter().chain(self.below.values().flatten()).copied()
    }

    /// The recipes directly below a recipe.
    pub fn under(&self, name: &str) -> &[&'a str] {
        self.below.get(name).map_or(&[], Vec::as_slice)
    }

    /// How many recipes are below a recipe, at any depth.
    pub fn count_under(&self, name: &str) -> usize {
        let mut stack = self.under(name).to_vec();
        let mut count = 0;
        while let Some(name) = stack.pop() {
            count += 1;
            stack.extend(self.under(name));
        }
        count
    }
}

/// The parent of each recipe. A lock that was made by hand or by a merge may have a circle, or name a recipe that does
/// not exist: then the recipe is at the top.
fn parents<'a>(needs: &BTreeMap<&'a str, (&'a Need, &'a str)>) -> BTreeMap<&'a str, &'a str> {
    let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, (need, _)) in needs {
        if let Need::By(by) = need
            && needs.contains_key(by.as_str())
            && !leads_to(&parents, by, name)
        {
            parents.insert(name, by);
        }
    }
    parents
}

/// Whether `to` is on the way up from `from`. There is no circle among these parents yet.
fn leads_to(parents: &BTreeMap<&str, &str>, from: &str, to: &str) -> bool {
    std::iter::successors(Some(from), |name| parents.get(name).copied()).any(|name| name == to)
}
