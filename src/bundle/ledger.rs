//! What a store has already, as a small file that is sent to where bundles are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::archive::BundleReader;
use super::directory::BundleDirectory;
use super::import::read_index;
use super::index::BundleIndex;
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::source::{Blake3, CommitId};

use crate::store::{HeldCommit, Store};

/// The format that this kbuild writes.
const VERSION: u32 = 1;

/// The contents of another store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Blobs, by address.
    pub blobs: BTreeSet<Blake3>,
    /// Commits, and whether their whole history is there.
    pub commits: BTreeMap<CommitId, bool>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum LedgerLine {
    Ledger {
        version: u32,
    },
    Commit {
        commit: CommitId,
        #[serde(default)]
        history: bool,
    },
    Blob {
        blake3: Blake3,
    },
}

impl Ledger {
    /// What a store has, with its lower stores.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of_store(store: &Store) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        for layer in store.layers() {
            let inventory = layer.inventory()?;
            // What is known to be damaged in a lower store does not count, nor a commit that is unreadable or whose
            // packs are missing.
            ledger.blobs.extend(inventory.blobs.into_iter().map(|(blob, _)| blob).filter(|blob| store.has_blob(blob)));
            for commit in inventory.commits {
                if let Ok(Some(record)) = store.git(&commit) {
                    ledger.commits.insert(commit, record.shallow.is_empty());
                }
            }
        }
        Ok(ledger)
    }

    /// What a store has after importing this bundle; what the bundle left out was there before.
    pub fn of_index(index: &BundleIndex) -> Ledger {
        Ledger {
            blobs: index.blobs.iter().map(|blob| blob.blake3).collect(),
            commits: index.commits.iter().map(|commit| (commit.commit, commit.history)).collect(),
        }
    }

    /// What a store has after fetching a lock. Packs differ between stores, so only the commits of git are known.
    pub fn of_lock(lock: &Lock) -> Ledger {
        let blobs = lock.files.values().filter_map(|file| file.content).map(|content| content.blake3);
        let mut commits = BTreeMap::new();
        for git in lock.gits.values() {
            *commits.entry(git.commit).or_default() |= git.history;
        }
        Ledger { blobs: blobs.collect(), commits }
    }

    /// Reads any of the three: a bundle (directory or file), a ledger, a lock.
    ///
    /// # Errors
    /// The file is none of these, or damaged.
    pub fn read(path: &Path) -> Result<Ledger> {
        let name = disk::shown(path);
        if path.is_dir() {
            let index = read_index(&mut BundleDirectory::open(path)?)?;
            return Ok(Ledger::of_index(&index));
        }
        if BundleReader::is_one(path)? {
            let file = std::fs::File::open(path).map_err(|error| Error::io("read", path, error))?;
            return Ok(Ledger::of_index(&read_index(&mut BundleReader::new(name, file))?));
        }
        let text = disk::read_text(path, "a ledger", bounds::LEDGER)?;
        if text.starts_with('{') {
            return text.parse().map_err(|error: Error| error.wrap(format!("{name} is damaged")));
        }
        let lock = Lock::read(path).map_err(|error| {
            let neither = format!("{name} is neither a bundle, nor a ledger, nor a lock");
            error.wrap(neither).help("run `kbuild store ledger > FILE` on the other side to make a ledger")
        })?;
        Ok(Ledger::of_lock(&lock.unwrap_or_default()))
    }

    /// Adds the contents of another ledger.
    pub fn merge(&mut self, other: Ledger) {
        self.blobs.extend(other.blobs);
        for (commit, history) in other.commits {
            *self.commits.entry(commit).or_default() |= history;
        }
    }

    /// Whether the other side has as much of a commit as is asked for.
    pub(super) fn has_commit(&self, commit: &CommitId, held: &HeldCommit) -> bool {
        self.commits.get(commit).is_some_and(|history| *history || !held.history)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = |line: &LedgerLine| writeln!(f, "{}", serde_json::to_string(line).map_err(|_| fmt::Error)?);
        write(&LedgerLine::Ledger { version: VERSION })?;
        self.commits
            .iter()
            .try_for_each(|(commit, history)| write(&LedgerLine::Commit { commit: *commit, history: *history }))?;
        self.blobs.iter().try_for_each(|blake3| write(&LedgerLine::Blob { blake3: *blake3 }))
    }
}

impl FromStr for Ledger {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut ledger = Ledger::default();
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: String| Error::input(format!("line {} of a ledger: {why}", number + 1));
            match (number, serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?) {
                (0, LedgerLine::Ledger { version: VERSION }) => {}
                (0, LedgerLine::Ledger { version }) => {
                    return Err(wrong(format!("its format is {version}, this kbuild knows {VERSION}")));
                }
                (0, _) | (_, LedgerLine::Ledger { .. }) => {
                    return Err(wrong("a ledger must begin with its version".to_owned()));
                }
                (_, LedgerLine::Commit { commit, history }) => *ledger.commits.entry(commit).or_default() |= history,
                (_, LedgerLine::Blob { blake3 }) => drop(ledger.blobs.insert(blake3)),
            }
        }
        if text.is_empty() {
            return Err(Error::new(Kind::Input, "an empty file is not a ledger"));
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let ledger = Ledger {
            blobs: [Blake3::from([1; 32]), Blake3::from([2; 32])].into(),
            commits: [(CommitId::from([3; 20]), true), (CommitId::from([4; 20]), false)].into(),
        };
        let text = ledger.to_string();
        assert_eq!(text.lines().count(), 5);
        assert_eq!(text.parse::<Ledger>().unwrap(), ledger);
    }

    #[test]
    fn a_ledger_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        std::fs::File::create(&path).unwrap().set_len(bounds::LEDGER + 1).unwrap();
        let error = Ledger::read(&path).unwrap_err();
        assert!(error.to_string().contains("is longer than 33554432 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        for text in ["", "{}", "{\"type\":\"ledger\",\"version\":2}", "{\"type\":\"blob\",\"blake3\":\"../x\"}"] {
            assert_eq!(text.parse::<Ledger>().unwrap_err().kind(), Kind::Input, "{text}");
        }
    }
}
