//! A project as it was found: what a manifest can say of it, and what it cannot, each with its place.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;

/// A line of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePlace {
    /// As messages show it: relative to the current directory where it is below.
    pub file: String,
    /// From 1; `None`: the file as a whole.
    pub line: Option<usize>,
}

impl FilePlace {
    /// A file as a whole.
    pub(super) fn of_file(path: &Path) -> FilePlace {
        FilePlace { file: shown(path), line: None }
    }

    /// A line of the same file.
    pub(super) fn at(&self, line: usize) -> FilePlace {
        FilePlace { file: self.file.clone(), line: Some(line) }
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A path relative to the current directory where it is below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let here = std::fs::canonicalize(&here).unwrap_or(here);
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Something that the manifest does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub place: FilePlace,
    /// What it is: a key, a variable, a patch.
    pub what: String,
    /// Why it is not there, or what to do.
    pub why: String,
}

/// What the manifest does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What could not be carried over: somebody has to look at it.
    pub left_out: Vec<Note>,
    /// What kbuild does in its own way: nothing to do.
    pub own: Vec<Note>,
}

impl Notes {
    pub(super) fn left_out(&mut self, place: &FilePlace, what: impl Into<String>, why: impl Into<String>) {
        add(&mut self.left_out, place, what.into(), why.into());
    }

    pub(super) fn own(&mut self, place: &FilePlace, what: impl Into<String>, why: impl Into<String>) {
        add(&mut self.own, place, what.into(), why.into());
    }

    pub(super) fn extend(&mut self, other: Notes) {
        other.left_out.into_iter().for_each(|note| add(&mut self.left_out, &note.place, note.what, note.why));
        other.own.into_iter().for_each(|note| add(&mut self.own, &note.place, note.what, note.why));
    }
}

/// Adds a note, unless it is there: files that several boards read are read several times.
fn add(notes: &mut Vec<Note>, place: &FilePlace, what: String, why: String) {
    push_new(notes, Note { place: place.clone(), what, why });
}

/// Adds to a list what is not in it.
pub(super) fn push_new<T: PartialEq>(list: &mut Vec<T>, new: T) {
    if !list.contains(&new) {
        list.push(new);
    }
}

/// A project as it was found.
#[derive(Debug, Clone, Default)]
pub struct FoundProject {
    /// The files that it was read from, for the manifest's first line.
    pub from: Vec<String>,
    /// Which layer has BitBake.
    pub engine: Option<String>,
    pub layers: IndexMap<String, FoundLayer>,
    pub boards: Vec<FoundBoard>,
    pub cache: FoundCache,
    /// Mirrors that are asked before the upstream.
    pub rules: Vec<FoundRule>,
    /// Mirrors that are asked after it.
    pub fallback: Vec<FoundRule>,
    pub notes: Notes,
}

/// A repository or folder with layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLayer {
    pub origin: FoundOrigin,
    /// Layers inside it; empty: its top.
    pub paths: Vec<String>,
    /// What is changed in it.
    pub patches: Vec<FoundPatch>,
}

/// A patch of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPatch {
    /// The layer that has it; `None`: the project.
    pub layer: Option<String>,
    /// Its path there.
    pub file: String,
}

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundOrigin {
    Git {
        url: String,
        branch: Option<String>,
        tag: Option<String>,
        rev: Option<String>,
    },
    /// Relative to the manifest.
    Folder(String),
}

/// A build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundBoard {
    pub name: String,
    /// Another name, where two boards have the same.
    pub other_name: String,
    pub machine: String,
    pub layers: Vec<String>,
    pub targets: Vec<String>,
    pub config: IndexMap<String, String>,
    /// Lines in BitBake's own language.
    pub conf: Vec<String>,
    pub env: IndexMap<String, FoundEnv>,
    /// Words that it adds to OVERRIDES.
    pub words: Vec<String>,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEnv {
    /// Whether the caller's value wins.
    pub forward: bool,
    pub value: Option<String>,
}

/// Places of shared state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundCache {
    pub dir: Option<String>,
    pub pull: Vec<String>,
    pub hashserve: Option<String>,
    pub prserve: Option<String>,
}

/// A rule of mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRule {
    pub pattern: String,
    pub to: Vec<String>,
}
