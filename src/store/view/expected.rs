//! What stands in a view, compared with what kbuild put there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::View;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::Blake3;

/// The record of a view: what cannot be planned again without opening every repository.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// [`View::stamp`].
    stamp: String,
    /// The files of repositories, by path below the view.
    texts: BTreeMap<String, Blake3>,
}

impl Record {
    pub(super) fn new(view: &View<'_>, directory: &Path, texts: &BTreeMap<String, Vec<u8>>) -> Record {
        let texts = texts.iter().map(|(path, text)| (path.clone(), hash(text)));
        Record { stamp: view.stamp(directory), texts: texts.collect() }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|error| Error::bug("a record is no JSON").because(error))?;
        disk::replace(path, &text)
    }
}

/// Everything that a view holds.
pub(super) struct ExpectedView {
    links: HashMap<PathBuf, PathBuf>,
    texts: HashMap<PathBuf, Blake3>,
    directories: HashSet<PathBuf>,
}

impl ExpectedView {
    /// What a recorded view holds, if it is this one.
    pub(super) fn recorded(view: &View<'_>, directory: &Path, record: &Path) -> Option<ExpectedView> {
        let record: Record = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
        if record.stamp != view.stamp(directory) {
            return None;
        }
        let links: HashMap<PathBuf, PathBuf> =
            view.all_links().map(|(path, target)| (PathBuf::from(path), target)).collect();
        let notes = view.notes.iter().map(|(path, note)| (PathBuf::from(path), hash(note.as_bytes())));
        let texts = record.texts.into_iter().map(|(path, hash)| (PathBuf::from(path), hash));
        let texts: HashMap<PathBuf, Blake3> = texts.chain(notes).collect();
        let named = links.keys().chain(texts.keys()).filter_map(|path| path.parent()).map(Path::to_owned);
        let all: BTreeSet<PathBuf> = named.chain(view.directories().map(PathBuf::from)).collect();
        let directories = all.iter().flat_map(|path| path.ancestors()).map(Path::to_owned).collect();
        Some(ExpectedView { links, texts, directories })
    }

    /// Removes what is not of the view; whether all else stands as it was made.
    pub(super) fn restore(&self, directory: &Path) -> bool {
        let mut found = 0;
        let mut walk = WalkDir::new(directory).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            let Ok(entry) = entry else { return false };
            let Ok(path) = entry.path().strip_prefix(directory) else { return false };
            let stands = if entry.file_type().is_dir() {
                if !self.directories.contains(path) {
                    walk.skip_current_dir();
                    if disk::remove_dir_all(entry.path()).is_err() {
                        return false;
                    }
                    continue;
                }
                true
            } else if let Some(target) = self.links.get(path) {
                fs::read_link(entry.path()).is_ok_and(|present| present == *target)
            } else if let Some(text) = self.texts.get(path) {
                entry.file_type().is_file() && fs::read(entry.path()).is_ok_and(|present| hash(&present) == *text)
            } else {
                // BitBake's stamps and locks among them: it looks at the bytes again.
                if disk::remove_file(entry.path()).is_err() {
                    return false;
                }
                continue;
            };
            if !stands {
                return false;
            }
            found += 1;
        }
        // The view's own directory is among them, and was not counted.
        found + 1 == self.links.len() + self.texts.len() + self.directories.len()
    }
}

fn hash(text: &[u8]) -> Blake3 {
    (*blake3::hash(text).as_bytes()).into()
}
