//! Which blobs and records of commits a store has for the sources of a lock.

use std::collections::{BTreeMap, BTreeSet};

use super::{GitRecord, Store};
use crate::error::{Error, Kind, Result};
use crate::lock::{Lock, Locked};
use crate::source::{Blake3, CommitId, Sha256, SourceId};

/// The blobs and commits that make up some sources of a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Blobs by their address.
    pub blobs: BTreeMap<Blake3, HeldBlob>,
    /// Commits, each with its record.
    pub commits: BTreeMap<CommitId, HeldCommit>,
}

/// A blob, and the sources that need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldBlob {
    /// In bytes.
    pub size: u64,
    /// The SHA-256 that recipes name; `None` for packs, which no recipe names.
    pub sha256: Option<Sha256>,
    /// The sources that it is, or is a part of.
    pub sources: BTreeSet<SourceId>,
    /// LICENSE of the recipes that fetch these sources, if the lock knows it.
    pub licenses: BTreeSet<String>,
}

/// A commit, and the sources that need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCommit {
    /// Its record in the store.
    pub record: GitRecord,
    /// Whether a source needs its whole history.
    pub history: bool,
    /// The sources that it is.
    pub sources: BTreeSet<SourceId>,
    /// LICENSE of the recipes that fetch these sources.
    pub licenses: BTreeSet<String>,
}

impl Contents {
    /// Finds sources of a lock in a store; reads no bytes except those of records.
    ///
    /// # Errors
    /// Sources are not in the store: kind `Missing`, with all their names.
    pub fn of(store: &Store, lock: &Lock, ids: &[SourceId]) -> Result<Contents> {
        let licenses = licenses(lock);
        let mut contents = Contents::default();
        let mut missing = Vec::new();
        for id in ids {
            let of_id = licenses.get(id).cloned().unwrap_or_default();
            if !contents.add(store, lock.get(id)?, id, &of_id)? {
                missing.push(id.to_string());
            }
        }
        if missing.is_empty() {
            return Ok(contents);
        }
        let sources = if missing.len() == 1 { "source is" } else { "sources are" };
        Err(Error::new(Kind::Missing, format!("{} {sources} not in the store", missing.len()))
            .because(Error::input(missing.join("\n")))
            .help("run `kbuild fetch` first"))
    }

    /// Adds a source; `false` if the store does not have it.
    fn add(&mut self, store: &Store, locked: Locked<'_>, id: &SourceId, licenses: &BTreeSet<String>) -> Result<bool> {
        match locked {
            Locked::File(_, file) => {
                let Some(digests) = store.find_file(file) else { return Ok(false) };
                let blob = self.blob(&digests.blake3, digests.size, id, licenses);
                blob.sha256 = Some(digests.sha256);
            }
            Locked::Git(_, git) => {
                if !store.has(locked) {
                    return Ok(false);
                }
                let Some(record) = store.git(&git.commit)? else { return Ok(false) };
                for blob in record.blobs() {
                    let Some(size) = store.blob_size(&blob) else { return Ok(false) };
                    self.blob(&blob, size, id, licenses);
                }
                let new = HeldCommit { record, history: false, sources: BTreeSet::new(), licenses: BTreeSet::new() };
                let held = self.commits.entry(git.commit).or_insert(new);
                held.history |= git.history;
                held.sources.insert(id.clone());
                held.licenses.extend(licenses.iter().cloned());
            }
        }
        Ok(true)
    }

    fn blob(&mut self, blake3: &Blake3, size: u64, id: &SourceId, licenses: &BTreeSet<String>) -> &mut HeldBlob {
        let blob = self.blobs.entry(*blake3).or_default();
        blob.size = size;
        blob.sources.insert(id.clone());
        blob.licenses.extend(licenses.iter().cloned());
        blob
    }
}

/// LICENSE of the recipes that fetch each source; a submodule and an object of Git LFS have those of their parents.
fn licenses(lock: &Lock) -> BTreeMap<SourceId, BTreeSet<String>> {
    let mut licenses: BTreeMap<SourceId, BTreeSet<String>> = BTreeMap::new();
    for recipe in lock.recipes.values().filter(|recipe| !recipe.license.is_empty()) {
        for id in lock.with_submodules(&recipe.sources) {
            licenses.entry(id).or_default().insert(recipe.license.clone());
        }
    }
    licenses
}
