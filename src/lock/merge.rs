//! Makes one lock of two versions: what `kbuild lock` does with git's conflict markers.
//!
//! Both sides are read whole. What they agree on, and what only one of them has, is kept. What they disagree on is left
//! out, and so resolved again from the manifest.

use std::collections::BTreeMap;

use super::{Closure, Lock, LockedBoard, LockedFile, LockedFolder, LockedGit, Pin};

/// Both sides of a text with conflict markers, or `None` if it has none. Knows git's `merge` and `diff3` styles.
pub(super) fn sides(text: &str) -> Option<(String, String)> {
    #[derive(PartialEq)]
    enum In {
        Both,
        Ours,
        Base,
        Theirs,
    }
    let (mut ours, mut theirs, mut place, mut found) = (String::new(), String::new(), In::Both, false);
    for line in text.split_inclusive('\n') {
        place = match (&place, line.get(..7)) {
            (In::Both, Some("<<<<<<<")) => {
                found = true;
                In::Ours
            }
            (In::Ours, Some("|||||||")) => In::Base,
            (In::Ours | In::Base, Some("=======")) => In::Theirs,
            (In::Theirs, Some(">>>>>>>")) => In::Both,
            _ => {
                if matches!(place, In::Both | In::Ours) {
                    ours.push_str(line);
                }
                if matches!(place, In::Both | In::Theirs) {
                    theirs.push_str(line);
                }
                continue;
            }
        };
    }
    found.then_some((ours, theirs))
}

/// What two locks agree on, and what only one of them has.
pub(super) fn union(ours: &Lock, theirs: &Lock) -> Lock {
    let files = merge(&ours.files, &theirs.files, merge_file);
    let gits = merge(&ours.gits, &theirs.gits, merge_git);
    let mut lock = Lock {
        layers: merge(&ours.layers, &theirs.layers, same),
        sources: merge(&ours.sources, &theirs.sources, same),
        images: merge(&ours.images, &theirs.images, same),
        includes: merge(&ours.includes, &theirs.includes, same),
        files,
        gits,
        lfs: merge(&ours.lfs, &theirs.lfs, merge_file),
        registries: merge(&ours.registries, &theirs.registries, same),
        floating: merge(&ours.floating, &theirs.floating, same),
        moved_tags: merge(&ours.moved_tags, &theirs.moved_tags, same),
        recipes: merge(&ours.recipes, &theirs.recipes, same),
        folders: merge(&ours.folders, &theirs.folders, merge_folder),
        boards: merge(&ours.boards, &theirs.boards, |a, b| Some(merge_board(a, b))),
    };
    lock.drop_dangling();
    lock
}

/// All keys of both. If both have a key, `join` decides what becomes of it.
fn merge<T: Clone>(
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
    join: impl Fn(&T, &T) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut merged: BTreeMap<String, T> = theirs.clone();
    for (key, our) in ours {
        match theirs.get(key).map_or_else(|| Some(our.clone()), |their| join(our, their)) {
            Some(value) => drop(merged.insert(key.clone(), value)),
            None => drop(merged.remove(key)),
        }
    }
    merged
}

pub(super) fn same<T: PartialEq + Clone>(ours: &T, theirs: &T) -> Option<T> {
    (ours == theirs).then(|| ours.clone())
}

/// A closure is kept only if both sides have the same: half of each would be a third, which no BitBake ever gave.
fn merge_board(ours: &LockedBoard, theirs: &LockedBoard) -> LockedBoard {
    LockedBoard {
        sources: &ours.sources | &theirs.sources,
        closure: ours.closure.clone().filter(|closure| theirs.closure.as_ref() == Some(closure)),
        with: merge(&ours.with, &theirs.with, same),
    }
}

/// File by file: one that both have otherwise is left out, and so counts as edited.
fn merge_folder(ours: &LockedFolder, theirs: &LockedFolder) -> Option<LockedFolder> {
    match (ours, theirs) {
        (LockedFolder::Files(ours), LockedFolder::Files(theirs)) => {
            Some(LockedFolder::Files(merge(ours, theirs, same)))
        }
        _ => same(ours, theirs),
    }
}

/// The same bytes with more URLs are the same file; a hash that only one side knows is kept.
pub(super) fn merge_file(ours: &LockedFile, theirs: &LockedFile) -> Option<LockedFile> {
    let agree = ours.sha256 == theirs.sha256
        && (ours.content == theirs.content || ours.content.is_none() || theirs.content.is_none());
    agree.then(|| {
        let mut file = ours.clone();
        file.content = ours.content.or(theirs.content);
        file.urls.extend(theirs.urls.iter().filter(|url| !ours.urls.contains(url)).cloned());
        file
    })
}

pub(super) fn merge_git(ours: &LockedGit, theirs: &LockedGit) -> Option<LockedGit> {
    let agree = ours.commit == theirs.commit
        && (ours.tree == theirs.tree || ours.tree.is_none() || theirs.tree.is_none())
        && (ours.submodules == theirs.submodules || ours.submodules.is_empty() || theirs.submodules.is_empty())
        && (ours.lfs == theirs.lfs || ours.lfs.is_empty() || theirs.lfs.is_empty());
    agree.then(|| LockedGit {
        refs: &ours.refs | &theirs.refs,
        clones: &ours.clones | &theirs.clones,
        tree: ours.tree.or(theirs.tree),
        history: ours.history || theirs.history,
        recursive: ours.recursive && theirs.recursive,
        submodules: if ours.submodules.is_empty() { theirs.submodules.clone() } else { ours.submodules.clone() },
        lfs: if ours.lfs.is_empty() { theirs.lfs.clone() } else { ours.lfs.clone() },
        without_lfs: ours.without_lfs && theirs.without_lfs,
        ..ours.clone()
    })
}

impl Lock {
    /// Drops references to blocks that the sides disagreed on.
    fn drop_dangling(&mut self) {
        while let Some(key) = self.dangling_git() {
            self.gits.remove(&key);
        }
        let known = self.clone();
        let stands = |pin: &Pin| pin.sources().all(|id| known.get(id).is_ok());
        self.layers.retain(|_, pin| stands(pin));
        self.sources.retain(|_, pin| stands(pin));
        self.images.retain(|_, image| image.locked.values().all(|id| known.get(id).is_ok()));
        self.recipes.retain(|_, recipe| recipe.sources.iter().all(|id| known.get(id).is_ok()));
        let has_recipes = self.clone();
        for (name, board) in &mut self.boards {
            board.sources.retain(|id| known.get(id).is_ok());
            let whole = |setting: &str, closure: &Closure| has_recipes.holds(&known, name, setting, closure);
            board.closure = board.closure.take().filter(|closure| whole("", closure));
            board.with.retain(|setting, closure| whole(setting, closure));
        }
    }

    /// Whether everything that a closure of `before` names is still there.
    fn holds(&self, before: &Lock, board: &str, setting: &str, closure: &Closure) -> bool {
        let key = |lock: &Lock, recipe: &str| lock.recipe(board, setting, recipe).map(|(key, _)| key.to_owned());
        closure.recipes.keys().all(|recipe| key(self, recipe) == key(before, recipe))
            && closure.extra.iter().all(|id| self.get(id).is_ok())
            && closure.pins.values().all(|floating| self.floating.contains_key(floating))
    }

    fn dangling_git(&self) -> Option<String> {
        let dangles = |git: &LockedGit| {
            git.submodules.values().any(|child| !self.gits.contains_key(child))
                || git.lfs.values().any(|oid| !self.lfs.contains_key(oid))
        };
        self.gits.iter().find(|(_, git)| dangles(git)).map(|(key, _)| key.clone())
    }
}
