//! What differs between two locks, as people speak of it: layers, declared sources, recipes, licenses, boards.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{CommitId, GitRef, LayerPatch, Sha256, SourceId, SourceUrl};

use super::closure::recipe_of;
use super::{Lock, Locked, LockedBoard, LockedRecipe, Pin, Request};

/// What stands between the words of LICENSE (BitBake's manual, "LICENSE").
const LICENSE_OPERATORS: [char; 5] = ['&', '|', '(', ')', ','];

/// What differs between two locks.
#[derive(Debug, PartialEq, Eq)]
pub struct LockDiff<'l> {
    pub layers: Vec<PinChange<'l>>,
    /// Declared sources and images.
    pub sources: Vec<PinChange<'l>>,
    /// Recipes that fetch something, by PN.
    pub recipes: Vec<RecipeChange<'l>>,
    /// Licenses that no recipe had before, and the recipes that have them now.
    pub licenses: BTreeMap<&'l str, BTreeSet<&'l str>>,
    /// The boards whose sources or recipes differ.
    pub boards: Vec<BoardChange<'l>>,
    /// What only the new lock has.
    pub added: SourceVolume,
    /// What only the old lock has.
    pub removed: SourceVolume,
}

/// A layer or declared source whose pin differs.
#[derive(Debug, PartialEq, Eq)]
pub struct PinChange<'l> {
    pub name: &'l str,
    pub from: Option<PinnedAt<'l>>,
    pub to: Option<PinnedAt<'l>>,
    /// What it is laid out with, and who has to have signed it, as far as that differs.
    pub details: Vec<PinDetail>,
    /// The boards that use it, in either lock.
    pub boards: BTreeSet<&'l str>,
}

/// A patch or signer of a layer that is new, gone or other than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDetail {
    pub what: DetailKind,
    /// A patch's place, or a signer as the lock has it.
    pub name: String,
    pub change: DetailChange,
}

/// What a layer has besides its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailKind {
    Patch,
    Signer,
}

impl DetailKind {
    /// In messages and JSON.
    pub fn name(self) -> &'static str {
        match self {
            DetailKind::Patch => "patch",
            DetailKind::Signer => "signer",
        }
    }
}

/// How a detail differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailChange {
    New,
    Gone,
    /// Its bytes are others, or they are read in another way.
    Changed,
    /// It is applied in another order.
    Moved,
}

impl DetailChange {
    /// In messages and JSON.
    pub fn name(self) -> &'static str {
        match self {
            DetailChange::New => "new",
            DetailChange::Gone => "gone",
            DetailChange::Changed => "changed",
            DetailChange::Moved => "moved",
        }
    }
}

/// Where a pin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinnedAt<'l> {
    Git {
        url: &'l SourceUrl,
        reference: &'l GitRef,
        version: Option<&'l str>,
        commit: CommitId,
        patches: &'l [LayerPatch],
        signers: &'l [String],
    },
    File {
        url: &'l SourceUrl,
        version: Option<&'l str>,
        sha256: Sha256,
        size: Option<u64>,
    },
    Image {
        name: String,
        digest: Sha256,
    },
}

/// A recipe that is new, gone or other than before.
#[derive(Debug, PartialEq, Eq)]
pub struct RecipeChange<'l> {
    /// PN.
    pub name: &'l str,
    pub from: Option<RecipeSide<'l>>,
    pub to: Option<RecipeSide<'l>>,
    /// The boards on which it differs.
    pub boards: BTreeSet<&'l str>,
}

/// A recipe in one lock. Boards may disagree about it, so it may have several of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecipeSide<'l> {
    pub versions: BTreeSet<&'l str>,
    pub licenses: BTreeSet<&'l str>,
    pub layers: BTreeSet<&'l str>,
    /// What it fetches, each with the commit or hash.
    pub sources: BTreeMap<&'l SourceId, String>,
}

/// A board that is new, gone, or fetches something else.
#[derive(Debug, PartialEq, Eq)]
pub struct BoardChange<'l> {
    pub name: &'l str,
    /// Whether only one of the locks has it.
    pub presence: Presence,
    /// Recipes that are in its task graphs now, and those that are not any more, whether they fetch something or not.
    pub recipes_added: BTreeSet<&'l str>,
    pub recipes_removed: BTreeSet<&'l str>,
    /// Recipes that it has in both locks, and that differ.
    pub recipes_changed: BTreeSet<&'l str>,
    /// Layers and declared sources that it uses, and that differ.
    pub pins: BTreeSet<&'l str>,
}

/// Which lock has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Both,
    OnlyNew,
    OnlyOld,
}

/// A number of sources, and how much they are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SourceVolume {
    /// Files, commits and objects of Git LFS.
    pub sources: usize,
    /// The sum of those whose size the lock has.
    pub bytes: u64,
    /// How many have no size in the lock: commits, and files that were never seen.
    pub unknown: usize,
}

impl<'l> LockDiff<'l> {
    /// What a new lock has otherwise than an old one.
    pub fn between(old: &'l Lock, new: &'l Lock) -> LockDiff<'l> {
        let layers = pin_changes(old, new, layer_pins);
        let sources = pin_changes(old, new, source_pins);
        let recipes = recipe_changes(old, new);
        let boards = board_changes(old, new, layers.iter().chain(&sources), &recipes);
        let (before, after) = (identities(old), identities(new));
        let only = |lock: &Lock, these: &BTreeMap<SourceId, String>, those: &BTreeMap<SourceId, String>| {
            let alone = these.iter().filter(|(id, identity)| those.get(id) != Some(identity));
            SourceVolume::of(lock, alone.map(|(id, _)| id))
        };
        let added = only(new, &after, &before);
        let removed = only(old, &before, &after);
        LockDiff { layers, sources, recipes, licenses: new_licenses(old, new), boards, added, removed }
    }

    /// Whether nothing differs that a person would speak of.
    pub fn is_empty(&self) -> bool {
        let LockDiff { layers, sources, recipes, licenses, boards, added, removed } = self;
        let no_pins = layers.is_empty() && sources.is_empty() && recipes.is_empty();
        no_pins && licenses.is_empty() && boards.is_empty() && added.sources + removed.sources == 0
    }
}

impl PinChange<'_> {
    /// The repository and the commits of a pin that moved within it.
    pub fn moved(&self) -> Option<(&SourceUrl, CommitId, CommitId)> {
        match (&self.from, &self.to) {
            (
                Some(PinnedAt::Git { url: before, commit: from, .. }),
                Some(PinnedAt::Git { url: after, commit: to, .. }),
            ) if before == after && from != to => Some((after, *from, *to)),
            _ => None,
        }
    }
}

impl SourceVolume {
    fn of<'i>(lock: &Lock, ids: impl Iterator<Item = &'i SourceId>) -> SourceVolume {
        let mut volume = SourceVolume::default();
        for id in ids {
            volume.sources += 1;
            match lock.get(id) {
                Ok(Locked::File(_, file)) if file.content.is_some() || file.stated_size.is_some() => {
                    volume.bytes += file.content.map(|content| content.size).or(file.stated_size).unwrap_or(0);
                }
                _ => volume.unknown += 1,
            }
        }
        volume
    }
}

/// The pins of a section, with the sources that they lead to.
type Pins<'l> = BTreeMap<&'l str, (PinnedAt<'l>, Vec<&'l SourceId>)>;

fn layer_pins(lock: &Lock) -> Pins<'_> {
    lock.layers.iter().filter_map(|(name, pin)| pinned(lock, name, pin)).collect()
}

fn source_pins(lock: &Lock) -> Pins<'_> {
    let pins = lock.sources.iter().filter_map(|(name, pin)| pinned(lock, name, pin));
    let images = lock.images.iter().map(|(name, image)| {
        let at = PinnedAt::Image { name: image.request.image.to_string(), digest: image.digest };
        (name.as_str(), (at, image.locked.values().collect()))
    });
    pins.chain(images).collect()
}

fn pinned<'l>(lock: &'l Lock, name: &'l str, pin: &'l Pin) -> Option<(&'l str, (PinnedAt<'l>, Vec<&'l SourceId>))> {
    let at = match (&pin.request, lock.get(&pin.locked)) {
        (Request::Git { url, reference, version, signers, .. }, Ok(Locked::Git(_, git))) => PinnedAt::Git {
            url,
            reference,
            version: version.as_deref(),
            commit: git.commit,
            patches: &pin.patches,
            signers,
        },
        (Request::File { url, version }, Ok(Locked::File(_, file))) => {
            let size = file.content.map(|content| content.size);
            PinnedAt::File { url, version: version.as_deref(), sha256: file.sha256, size }
        }
        _ => return None,
    };
    Some((name, (at, vec![&pin.locked])))
}

fn pin_changes<'l>(old: &'l Lock, new: &'l Lock, pins: fn(&Lock) -> Pins<'_>) -> Vec<PinChange<'l>> {
    let (before, after) = (pins(old), pins(new));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let at = |pins: &Pins<'l>, name: &str| pins.get(name).map(|(at, _)| at.clone());
    let boards = |lock: &'l Lock, pins: &Pins<'l>, name: &str| {
        let ids = pins.get(name).map(|(_, ids)| ids.clone()).unwrap_or_default();
        let uses = move |board: &LockedBoard| ids.iter().any(|id| board.sources.contains(*id));
        lock.boards.iter().filter(move |(_, board)| uses(board)).map(|(name, _)| name.as_str())
    };
    names
        .into_iter()
        .filter(|name| at(&before, name) != at(&after, name))
        .map(|name| PinChange {
            name,
            from: at(&before, name),
            to: at(&after, name),
            details: details(before.get(name).map(|(at, _)| at), after.get(name).map(|(at, _)| at)),
            boards: boards(old, &before, name).chain(boards(new, &after, name)).collect(),
        })
        .collect()
}

/// What differs between the patches and signers of a pin.
fn details(from: Option<&PinnedAt<'_>>, to: Option<&PinnedAt<'_>>) -> Vec<PinDetail> {
    let of = |at: Option<&PinnedAt<'_>>| match at {
        Some(PinnedAt::Git { patches, signers, .. }) => {
            let patches = patches.iter().map(|patch| (patch.to_string(), patch.identity())).collect();
            (patches, signers.iter().map(|signer| (signer.clone(), String::new())).collect())
        }
        _ => (Vec::new(), Vec::new()),
    };
    let (from, to) = (of(from), of(to));
    let patches = list_changes(DetailKind::Patch, &from.0, &to.0);
    patches.into_iter().chain(list_changes(DetailKind::Signer, &from.1, &to.1)).collect()
}

/// What differs between two lists of names, each with what tells it from others of its name.
fn list_changes(what: DetailKind, from: &[(String, String)], to: &[(String, String)]) -> Vec<PinDetail> {
    let find = |list: &[(String, String)], name: &str| list.iter().position(|(known, _)| known == name);
    let detail = |name: &String, change| PinDetail { what, name: name.clone(), change };
    let mut changes: Vec<PinDetail> = Vec::new();
    // Of those that both have: the place that each had, in the new order. One that stands behind a later one was moved.
    let mut last = None;
    for (name, identity) in to {
        match find(from, name) {
            None => changes.push(detail(name, DetailChange::New)),
            Some(place) => {
                if from[place].1 != *identity {
                    changes.push(detail(name, DetailChange::Changed));
                } else if last > Some(place) {
                    changes.push(detail(name, DetailChange::Moved));
                }
                last = last.max(Some(place));
            }
        }
    }
    let gone = from.iter().filter(|(name, _)| find(to, name).is_none());
    changes.extend(gone.map(|(name, _)| detail(name, DetailChange::Gone)));
    changes
}

/// Every recipe that fetches something, by PN.
fn recipes(lock: &Lock) -> BTreeMap<&str, RecipeSide<'_>> {
    let mut recipes: BTreeMap<&str, RecipeSide<'_>> = BTreeMap::new();
    for (key, recipe) in &lock.recipes {
        recipes.entry(recipe_of(key)).or_default().add(lock, recipe);
    }
    recipes
}

impl<'l> RecipeSide<'l> {
    fn add(&mut self, lock: &Lock, recipe: &'l LockedRecipe) {
        self.versions.insert(&recipe.version);
        self.licenses.insert(&recipe.license);
        self.layers.insert(&recipe.layer);
        self.sources.extend(recipe.sources.iter().map(|id| (id, identity(lock, id))));
    }

    /// A recipe as the task graphs of a board have it.
    fn on(lock: &'l Lock, board: &str, name: &str) -> RecipeSide<'l> {
        let mut side = RecipeSide::default();
        let closures = lock.boards.get(board).into_iter().flat_map(LockedBoard::closures);
        for (setting, _) in closures.filter(|(_, closure)| closure.recipes.contains_key(name)) {
            lock.recipe(board, setting, name).into_iter().for_each(|(_, recipe)| side.add(lock, recipe));
        }
        side
    }
}

fn recipe_changes<'l>(old: &'l Lock, new: &'l Lock) -> Vec<RecipeChange<'l>> {
    let (mut before, mut after) = (recipes(old), recipes(new));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let changed = names.into_iter().filter_map(|name| {
        let (from, to) = (before.remove(name), after.remove(name));
        (from != to).then(|| RecipeChange { name, from, to, boards: boards_touched(old, new, name) })
    });
    changed.collect()
}

fn boards_touched<'l>(old: &'l Lock, new: &'l Lock, recipe: &str) -> BTreeSet<&'l str> {
    let boards = old.boards.keys().chain(new.boards.keys()).map(String::as_str);
    boards.filter(|board| RecipeSide::on(old, board, recipe) != RecipeSide::on(new, board, recipe)).collect()
}

fn board_changes<'c, 'l: 'c>(
    old: &'l Lock,
    new: &'l Lock,
    pins: impl Iterator<Item = &'c PinChange<'l>> + Clone,
    recipes: &[RecipeChange<'l>],
) -> Vec<BoardChange<'l>> {
    let names: BTreeSet<&str> = old.boards.keys().chain(new.boards.keys()).map(String::as_str).collect();
    let change = |name: &'l str| {
        let (before, after) = (graph(old, name), graph(new, name));
        let presence = match (old.boards.contains_key(name), new.boards.contains_key(name)) {
            (true, false) => Presence::OnlyOld,
            (false, true) => Presence::OnlyNew,
            _ => Presence::Both,
        };
        let both = |recipe: &&RecipeChange<'l>| {
            recipe.boards.contains(name) && before.contains(recipe.name) && after.contains(recipe.name)
        };
        let change = BoardChange {
            name,
            presence,
            recipes_added: &after - &before,
            recipes_removed: &before - &after,
            recipes_changed: recipes.iter().filter(both).map(|recipe| recipe.name).collect(),
            pins: pins.clone().filter(|pin| pin.boards.contains(name)).map(|pin| pin.name).collect(),
        };
        change.is_something().then_some(change)
    };
    names.into_iter().filter_map(change).collect()
}

impl BoardChange<'_> {
    fn is_something(&self) -> bool {
        let recipes = [&self.recipes_added, &self.recipes_removed, &self.recipes_changed, &self.pins];
        self.presence != Presence::Both || recipes.iter().any(|names| !names.is_empty())
    }
}

/// The recipes of a board's task graphs.
fn graph<'l>(lock: &'l Lock, board: &str) -> BTreeSet<&'l str> {
    lock.boards.get(board).map(LockedBoard::recipe_names).unwrap_or_default()
}

/// Each license of the new lock's recipes that none of the old lock has.
fn new_licenses<'l>(old: &Lock, new: &'l Lock) -> BTreeMap<&'l str, BTreeSet<&'l str>> {
    let before: BTreeSet<&str> = old.recipes.values().flat_map(|recipe| licenses(&recipe.license)).collect();
    let mut appeared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, recipe) in &new.recipes {
        for license in licenses(&recipe.license).filter(|license| !before.contains(license)) {
            appeared.entry(license).or_default().insert(recipe_of(key));
        }
    }
    appeared
}

/// The single licenses of a LICENSE.
fn licenses(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || LICENSE_OPERATORS.contains(&c)).filter(|word| !word.is_empty())
}

/// All sources, and which bytes each is.
fn identities(lock: &Lock) -> BTreeMap<SourceId, String> {
    lock.all_sources().into_iter().map(|id| (id.clone(), identity(lock, &id))).collect()
}

/// The commit or SHA-256 of a source.
fn identity(lock: &Lock, id: &SourceId) -> String {
    match lock.get(id) {
        Ok(Locked::Git(_, git)) => git.commit.to_string(),
        Ok(Locked::File(_, file)) => file.sha256.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_new_gone_changed_or_moved() {
        let list = |names: &str| -> Vec<(String, String)> {
            names.split(' ').map(|name| (name[..1].to_owned(), name[1..].to_owned())).collect()
        };
        let told = |from: &str, to: &str| {
            let changes = list_changes(DetailKind::Patch, &list(from), &list(to));
            let told = changes.iter().map(|detail| format!("{} {}", detail.name, detail.change.name()));
            told.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told("a1 b1", "a1 b1"), "");
        assert_eq!(told("a1 b1", "b2 c1"), "b changed, c new, a gone");
        assert_eq!(told("a1 b1 c1", "c1 a1 b1"), "a moved, b moved");
        assert_eq!(told("a1 b1 c1", "a1 x1 b1 c1"), "x new");
    }
}
