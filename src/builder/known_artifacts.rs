//! Remembers the hashes of artifacts, so that a build with nothing to do does not read gigabytes of images again.
//!
//! `build/<board>.artifacts` has the hashes of each file beside its [`FileStamp`], as the store does it for sources. It is out of
//! reach of recipes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::disk::{self, FileStamp};
use crate::error::{Error, Result};
use crate::source::{Blake3, Digests, Hasher, Sha256};

/// The hashes of artifacts that are known, and those that were found anew.
#[derive(Debug, Default)]
pub(super) struct KnownArtifacts {
    known: BTreeMap<String, KnownArtifact>,
    found: Mutex<BTreeMap<String, KnownArtifact>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownArtifact {
    stamp: FileStamp,
    sha256: Sha256,
    blake3: Blake3,
}

impl KnownArtifacts {
    /// Reads what is known; a file that is not there, or not understood, is nothing known.
    pub(super) fn read(path: &Path) -> KnownArtifacts {
        let known = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        KnownArtifacts { known: known.unwrap_or_default(), found: Mutex::default() }
    }

    /// The hashes of a file, which is read only if it is not known as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn digests(&self, name: &str, path: &Path) -> Result<Digests> {
        let failed = |error| Error::io("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let before = FileStamp::of(&found);
        if let Some(known) = self.known.get(name).filter(|known| Some(known.stamp) == before) {
            self.remember(name, known.clone());
            return Ok(Digests { size: found.len(), sha256: known.sha256, blake3: known.blake3 });
        }
        let mut hasher = Hasher::default();
        std::io::copy(&mut file, &mut hasher).map_err(failed)?;
        let digests = hasher.finish();
        let after = file.metadata().ok().as_ref().and_then(FileStamp::of);
        if let Some(stamp) = before.filter(|before| Some(*before) == after && before.is_settled()) {
            self.remember(name, KnownArtifact { stamp, sha256: digests.sha256, blake3: digests.blake3 });
        }
        Ok(digests)
    }

    /// Writes what is known now. That it cannot be written only costs time.
    pub(super) fn write(self, path: &Path) {
        let found = self.found.into_inner().unwrap_or_default();
        if found != self.known
            && let Ok(text) = serde_json::to_vec(&found)
        {
            let _ = disk::replace_if_changed(path, &text);
        }
    }

    fn remember(&self, name: &str, artifact: KnownArtifact) {
        if let Ok(mut found) = self.found.lock() {
            found.insert(name.to_owned(), artifact);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_change_is_not_read_again_and_what_changed_is() {
        let directory = tempfile::tempdir().unwrap();
        let (file, record) = (directory.path().join("image"), directory.path().join("record"));
        std::fs::write(&file, "first").unwrap();
        let stamp = FileStamp::of(&std::fs::metadata(&file).unwrap()).unwrap();
        let wrong: Sha256 = [7; 32].into();
        // As a run wrote it that came later than the file: its hash is believed, whatever it is.
        let known = KnownArtifact { stamp, sha256: wrong, blake3: [7; 32].into() };
        let text = serde_json::to_vec(&BTreeMap::from([("image", &known), ("gone", &known)])).unwrap();
        std::fs::write(&record, text).unwrap();
        let artifacts = KnownArtifacts::read(&record);
        assert_eq!(artifacts.digests("image", &file).unwrap().sha256, wrong);
        artifacts.write(&record);
        assert_eq!(KnownArtifacts::read(&record).known.keys().collect::<Vec<_>>(), ["image"]);

        std::fs::write(&file, "other").unwrap();
        let artifacts = KnownArtifacts::read(&record);
        assert_ne!(artifacts.digests("image", &file).unwrap().sha256, wrong);
        // A file that was written just now may be written again without its times telling.
        artifacts.write(&record);
        assert!(KnownArtifacts::read(&record).known.is_empty());
        assert!(KnownArtifacts::read(&directory.path().join("none")).known.is_empty());
    }
}
