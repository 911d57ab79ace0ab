//! Merges two locks that come from one: what `kbuild merge-driver` does for git, entry by entry.
//!
//! Entries that people choose (layers, declared sources, moving refs) are in conflict where both sides changed them differently.
//! What follows from them is not: files and commits are kept as long as something names them, and a closure that both sides
//! changed is left open, since their sum is one that no BitBake ever gave.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::closure::recipe_of;
use super::merge::{merge_file, merge_git};
use super::{Closure, Lock, LockedBoard, LockedFolder, merge};
use crate::error::Result;

/// Two locks merged over their common origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreeWayMerge {
    /// The merged lock; where sides are in conflict, with what ours has.
    pub ours: Lock,
    /// The same with what theirs has.
    pub theirs: Lock,
    /// The entries that both sides changed differently, `layer core`.
    pub conflicts: BTreeSet<String>,
    /// Boards with closures that the next `kbuild lock` looks at again.
    pub open: BTreeSet<String>,
}

impl ThreeWayMerge {
    /// Merges two locks.
    ///
    /// # Errors
    /// The result would name an entry that it does not have: kind `Input`.
    pub fn of(base: &Lock, ours: &Lock, theirs: &Lock) -> Result<ThreeWayMerge> {
        let merger = |side| Merger { side, conflicts: BTreeSet::new(), open: BTreeSet::new() };
        let (mut first, mut second) = (merger(Side::Ours), merger(Side::Theirs));
        let (ours, theirs) = (first.merge(base, ours, theirs)?, second.merge(base, ours, theirs)?);
        Ok(ThreeWayMerge { ours, theirs, conflicts: first.conflicts, open: first.open })
    }

    /// The text of the lock at `path`; with git's conflict markers around the blocks in which the sides differ, which
    /// [`Lock::read_merging`] understands.
    pub fn text(&self, path: &Path) -> String {
        with_markers(&self.ours.text_for(path), &self.theirs.text_for(path))
    }
}

/// Whose entry stands where both are in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

struct Merger {
    side: Side,
    conflicts: BTreeSet<String>,
    open: BTreeSet<String>,
}

/// A map of a lock in its three versions.
struct Three<'a, T> {
    base: &'a BTreeMap<String, T>,
    ours: &'a BTreeMap<String, T>,
    theirs: &'a BTreeMap<String, T>,
}

impl<'a, T> Three<'a, T> {
    fn keys(&self) -> BTreeSet<&'a String> {
        self.base.keys().chain(self.ours.keys()).chain(self.theirs.keys()).collect()
    }

    fn get(&self, key: &str) -> [Option<&'a T>; 3] {
        [self.base.get(key), self.ours.get(key), self.theirs.get(key)]
    }
}

/// What three versions of an entry come to; `None` where both sides changed it differently.
fn settled<T: PartialEq>([base, ours, theirs]: [Option<T>; 3]) -> Option<Option<T>> {
    match (ours == theirs, ours == base, theirs == base) {
        (true, ..) | (_, _, true) => Some(ours),
        (_, true, _) => Some(theirs),
        _ => None,
    }
}

impl Merger {
    fn merge(&mut self, base: &Lock, ours: &Lock, theirs: &Lock) -> Result<Lock> {
        macro_rules! three {
            ($field:ident) => {
                Three { base: &base.$field, ours: &ours.$field, theirs: &theirs.$field }
            };
        }
        let mut disputed = BTreeSet::new();
        let side = self.side;
        let mut lock = Lock {
            layers: self.chosen("layer", &three!(layers)),
            sources: self.chosen("source", &three!(sources)),
            images: self.chosen("image", &three!(images)),
            includes: self.chosen("include", &three!(includes)),
            registries: self.chosen("registry", &three!(registries)),
            moved_tags: self.chosen("moved tag", &three!(moved_tags)),
            files: self.needed("file", &three!(files), merge_file),
            gits: self.needed("git", &three!(gits), merge_git),
            lfs: self.needed("lfs", &three!(lfs), merge_file),
            floating: self.needed("floating", &three!(floating), merge::same),
            recipes: derived(&three!(recipes), |key, ours, theirs| {
                disputed.insert(recipe_of(key).to_owned());
                Some(pick(side, ours, theirs))
            }),
            folders: folders(&three!(folders)),
            boards: self.boards(&three!(boards)),
        };
        self.reopen(&mut lock, &disputed);
        lock.prune();
        lock.check_references()?;
        Ok(lock)
    }

    /// Entries that people choose, and remove.
    fn chosen<T: Clone + PartialEq>(&mut self, section: &str, three: &Three<'_, T>) -> BTreeMap<String, T> {
        let mut merged = BTreeMap::new();
        for key in three.keys() {
            let versions @ [_, ours, theirs] = three.get(key);
            let entry = settled(versions).unwrap_or_else(|| {
                self.conflicts.insert(format!("{section} {key}"));
                if self.side == Side::Ours { ours } else { theirs }
            });
            merged.extend(entry.map(|entry| (key.clone(), entry.clone())));
        }
        merged
    }

    /// Entries that stand as long as others name them: those of both sides, for [`Lock::prune`] to drop.
    fn needed<T: Clone + PartialEq>(
        &mut self,
        section: &str,
        three: &Three<'_, T>,
        join: fn(&T, &T) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let side = self.side;
        derived(three, |key, ours, theirs| {
            join(ours, theirs).or_else(|| {
                self.conflicts.insert(format!("{section} {key}"));
                Some(pick(side, ours, theirs))
            })
        })
    }

    /// A board that one side removed is gone: kbuild.toml says which boards there are.
    fn boards(&mut self, three: &Three<'_, LockedBoard>) -> BTreeMap<String, LockedBoard> {
        let mut merged = BTreeMap::new();
        for key in three.keys() {
            let versions @ [base, ours, theirs] = three.get(key);
            let board = match (settled(versions), ours, theirs) {
                (Some(board), ..) => board.cloned(),
                (None, Some(ours), Some(theirs)) => {
                    Some(self.board(key, base.unwrap_or(&LockedBoard::default()), ours, theirs))
                }
                _ => None,
            };
            merged.extend(board.map(|board| (key.clone(), board)));
        }
        merged
    }

    fn board(&mut self, name: &str, base: &LockedBoard, ours: &LockedBoard, theirs: &LockedBoard) -> LockedBoard {
        let with = Three { base: &base.with, ours: &ours.with, theirs: &theirs.with };
        let settings = with.keys().into_iter();
        LockedBoard {
            sources: sets(&base.sources, &ours.sources, &theirs.sources),
            closure: self.closure(name, [base.closure.as_ref(), ours.closure.as_ref(), theirs.closure.as_ref()]),
            with: settings
                .filter_map(|setting| Some((setting.clone(), self.closure(name, with.get(setting))?)))
                .collect(),
        }
    }

    fn closure(&mut self, board: &str, versions: [Option<&Closure>; 3]) -> Option<Closure> {
        if let Some(settled) = settled(versions) {
            return settled.cloned();
        }
        let [base, ours, theirs] = versions;
        let empty = Closure::unfinished();
        let base = base.unwrap_or(&empty);
        let (ours, theirs) = (ours.unwrap_or(&empty), theirs.unwrap_or(&empty));
        let same_inputs = ours.inputs == theirs.inputs;
        if !same_inputs {
            self.open.insert(board.to_owned());
        }
        Some(Closure {
            inputs: if same_inputs { ours.inputs } else { empty.inputs },
            recipes: maps(&base.recipes, &ours.recipes, &theirs.recipes),
            extra: sets(&base.extra, &ours.extra, &theirs.extra),
            pins: maps(&base.pins, &ours.pins, &theirs.pins),
        })
    }

    /// Leaves those closures open that have one of these recipes.
    fn reopen(&mut self, lock: &mut Lock, recipes: &BTreeSet<String>) {
        for (name, board) in &mut lock.boards {
            for closure in board.closure.iter_mut().chain(board.with.values_mut()) {
                if closure.recipes.keys().any(|recipe| recipes.contains(recipe)) {
                    closure.inputs = Closure::unfinished().inputs;
                    self.open.insert(name.clone());
                }
            }
        }
    }
}

fn pick<T: Clone>(side: Side, ours: &T, theirs: &T) -> T {
    if side == Side::Ours { ours.clone() } else { theirs.clone() }
}

/// All entries of both sides; `disputed` decides where both changed one differently.
fn derived<T: Clone + PartialEq>(
    three: &Three<'_, T>,
    mut disputed: impl FnMut(&str, &T, &T) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut merged = BTreeMap::new();
    for key in three.keys() {
        let versions @ [_, ours, theirs] = three.get(key);
        let entry = match (ours, theirs) {
            (Some(ours), Some(theirs)) => match settled(versions) {
                Some(settled) => settled.cloned(),
                None => disputed(key, ours, theirs),
            },
            (one, other) => one.or(other).cloned(),
        };
        merged.extend(entry.map(|entry| (key.clone(), entry)));
    }
    merged
}

/// File by file: one that both sides changed is left out, and so counts as edited.
fn folders(three: &Three<'_, LockedFolder>) -> BTreeMap<String, LockedFolder> {
    let mut merged = BTreeMap::new();
    for key in three.keys() {
        let versions @ [base, ours, theirs] = three.get(key);
        let folder = match (settled(versions), base, ours, theirs) {
            (Some(folder), ..) => folder.cloned(),
            (None, base, Some(LockedFolder::Files(ours)), Some(LockedFolder::Files(theirs))) => {
                let none = BTreeMap::new();
                let base = match base {
                    Some(LockedFolder::Files(base)) => base,
                    _ => &none,
                };
                let files = Three { base, ours, theirs };
                let file = |key: &String| Some((key.clone(), *settled(files.get(key))??));
                Some(LockedFolder::Files(files.keys().into_iter().filter_map(file).collect()))
            }
            _ => None,
        };
        merged.extend(folder.map(|folder| (key.clone(), folder)));
    }
    merged
}

/// Where both sides changed an entry of an open closure, ours: it is looked at again.
fn maps<T: Clone + PartialEq>(
    base: &BTreeMap<String, T>,
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
) -> BTreeMap<String, T> {
    let three = Three { base, ours, theirs };
    let entry = |key: &String| {
        let versions @ [_, ours, theirs] = three.get(key);
        let entry = settled(versions).unwrap_or(ours.or(theirs));
        Some((key.clone(), entry?.clone()))
    };
    three.keys().into_iter().filter_map(entry).collect()
}

fn sets<T: Clone + Ord>(base: &BTreeSet<T>, ours: &BTreeSet<T>, theirs: &BTreeSet<T>) -> BTreeSet<T> {
    let stays = |item: &&T| match (base.contains(item), ours.contains(item), theirs.contains(item)) {
        (true, ours, theirs) => ours && theirs,
        (false, ..) => true,
    };
    ours.union(theirs).filter(stays).cloned().collect()
}

/// Two texts of one lock as one, with git's markers around what differs. A block is the unit: half of one is no entry.
fn with_markers(ours: &str, theirs: &str) -> String {
    let (ours, theirs) = (blocks(ours), blocks(theirs));
    let headers = |blocks: &[&str]| blocks.iter().map(|block| header(block).to_owned()).collect::<BTreeSet<_>>();
    let (of_ours, of_theirs) = (headers(&ours), headers(&theirs));
    let (mut mine, mut other) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    let (mut text, mut left, mut right) = (String::new(), String::new(), String::new());
    loop {
        while let Some(block) = mine.next_if(|block| !of_theirs.contains(header(block))) {
            left.push_str(block);
        }
        while let Some(block) = other.next_if(|block| !of_ours.contains(header(block))) {
            right.push_str(block);
        }
        // Both texts are sorted alike, so that what both have comes in the same order.
        match (mine.next(), other.next()) {
            (Some(mine), Some(other)) if mine == other => {
                flush(&mut text, &mut left, &mut right);
                text.push_str(mine);
            }
            (None, None) => break,
            (mine, other) => {
                left.push_str(mine.unwrap_or_default());
                right.push_str(other.unwrap_or_default());
            }
        }
    }
    flush(&mut text, &mut left, &mut right);
    text
}

fn flush(text: &mut String, ours: &mut String, theirs: &mut String) {
    if !ours.is_empty() || !theirs.is_empty() {
        text.push_str(&format!("<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n"));
        ours.clear();
        theirs.clear();
    }
}

/// The parts of a lock's text that begin with a table's header or a heading.
fn blocks(text: &str) -> Vec<&str> {
    let begins = |at: &usize| *at == 0 || text[..*at].ends_with('\n');
    let starts = text.match_indices(['[', '#']).map(|(at, _)| at).filter(begins);
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

fn header(block: &str) -> &str {
    block.lines().next().unwrap_or_default()
}
