//! Remembers which sources were verified, so that they are not read again while their files do not change.
//!
//! `<store>/verified` has a line for each source: a hash over the lock's block, and a hash over the `stat` data of its
//! files ([`FileStamp`]). A decaying disk changes no time: for that there is `kbuild verify`, which does not use this file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use rayon::prelude::*;

use super::Store;
use crate::disk::{self, FileStamp};
use crate::error::Result;
use crate::lock::{Lock, Locked};
use crate::source::{Blake3, SourceId};

/// Longest record that is read, in bytes: room for half a million sources. A longer one counts as none, and is written anew.
const LIMIT: u64 = 1 << 26;

impl Store {
    /// Compares sources with a lock: reads every byte of those that changed since they were last verified, on all cores.
    /// Returns what is not as locked. Calls `check_interrupted` before each; its error is returned for the others.
    pub fn verify_touched<'a>(
        &self,
        lock: &Lock,
        ids: &'a [SourceId],
        check_interrupted: impl Fn() -> Result<()> + Sync,
    ) -> Vec<(&'a SourceId, crate::Error)> {
        let path = self.root.join("verified");
        let known = read(&path);
        let right = Mutex::new(BTreeMap::new());
        let faults = ids.par_iter().filter_map(|id| {
            let outcome =
                check_interrupted().and_then(|()| lock.get(id)).and_then(|locked| self.verify_one(locked, &known));
            match outcome {
                Ok(Some((claim, stamp))) => {
                    right.lock().ok()?.insert(claim, stamp);
                    None
                }
                Ok(None) => None,
                Err(error) => Some((id, error)),
            }
        });
        let faults = faults.collect();
        let right = right.into_inner().unwrap_or_default();
        // Another process may have written the file meanwhile; that only costs time. The same for a read-only store.
        if self.read_only.is_none() && !right.is_empty() {
            let text: String =
                read(&path).into_iter().chain(right).map(|(claim, stamp)| format!("{claim} {stamp}\n")).collect();
            let _ = disk::replace_own(&path, text.as_bytes());
        }
        faults
    }

    /// Verifies a source unless it is known to be right; returns the line to remember it by, if there is a new one.
    fn verify_one(&self, locked: Locked<'_>, known: &BTreeMap<String, String>) -> Result<Option<(String, String)>> {
        let claim = claim(locked);
        let before = self.stamp(locked);
        if before.as_ref().is_some_and(|(stamp, _)| known.get(&claim) == Some(stamp)) {
            return Ok(None);
        }
        self.verify(locked)?;
        let settled = before.filter(|(_, settled)| *settled);
        // Changed while it was read: the bytes that were read may not be those on the disk now.
        Ok(settled
            .filter(|(stamp, _)| self.stamp(locked).is_some_and(|(now, _)| now == *stamp))
            .map(|(stamp, _)| (claim, stamp)))
    }

    /// A hash over the stamps of a source's files, and whether all of them are settled.
    fn stamp(&self, locked: Locked<'_>) -> Option<(String, bool)> {
        let mut hash = blake3::Hasher::new();
        let mut settled = true;
        for path in self.files_of(locked)? {
            let stamp = FileStamp::of(&std::fs::metadata(&path).ok()?)?;
            for number in stamp.numbers() {
                hash.update(&number.to_le_bytes());
            }
            settled &= stamp.is_settled();
        }
        Some((hash.finalize().to_hex().to_string(), settled))
    }

    /// The files of a source: its blobs and, for a commit, the record that names them.
    fn files_of(&self, locked: Locked<'_>) -> Option<Vec<PathBuf>> {
        match locked {
            Locked::File(_, file) => Some(vec![self.blob_path(&self.find_file(file)?.blake3)]),
            Locked::Git(_, git) => {
                let record = self.git(&git.commit).ok()??;
                let blobs = record.blobs().map(|blob| self.blob_path(&blob));
                Some(blobs.chain([self.record_path(&git.commit)]).collect())
            }
        }
    }
}

/// A hash over what a lock says of a source's bytes.
fn claim(locked: Locked<'_>) -> String {
    let hex = |hash: Option<Blake3>| hash.map(|hash| hash.to_string()).unwrap_or_default();
    let text = match locked {
        Locked::File(_, file) => format!("{} {}", file.sha256, hex(file.content.map(|content| content.blake3))),
        Locked::Git(_, git) => format!("{} {}", git.commit, hex(git.tree)),
    };
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The valid lines; all others are ignored.
fn read(path: &std::path::Path) -> BTreeMap<String, String> {
    let text = disk::read_regular_text(path, LIMIT).unwrap_or_default();
    let hex = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let lines = text.lines().filter_map(|line| line.split_once(' ')).filter(|(claim, stamp)| hex(claim) && hex(stamp));
    lines.map(|(claim, stamp)| (claim.to_owned(), stamp.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::lock::{Content, LockedFile};
    use crate::store::tests::temporary;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    /// A store with one file that changed long enough ago, and a lock that names it.
    fn bench() -> (tempfile::TempDir, Store, Lock, Vec<SourceId>, PathBuf) {
        let (directory, store) = temporary();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        let digests = store.add_file(&file).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: 7 });
        let mut lock = Lock::default();
        lock.files.insert(
            "a".into(),
            LockedFile { name: None, urls: vec![], sha256: digests.sha256, stated_size: None, content },
        );
        let blob = store.blob_path(&digests.blake3);
        std::thread::sleep(FileStamp::SETTLED + Duration::from_millis(200));
        (directory, store, lock, vec![SourceId::File("a".into())], blob)
    }

    fn kinds(store: &Store, lock: &Lock, ids: &[SourceId]) -> Vec<Kind> {
        store.verify_touched(lock, ids, || Ok(())).iter().map(|(_, error)| error.kind()).collect()
    }

    #[test]
    fn unchanged_files_are_read_once_and_a_changed_byte_is_found() {
        let (_directory, store, lock, ids, blob) = bench();
        let record = store.root().join("verified");
        assert_eq!(kinds(&store, &lock, &ids), []);
        let line = fs::read_to_string(&record).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(kinds(&store, &lock, &ids), []);
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, "CONTENT").unwrap();
        let old = fs::metadata(&blob).unwrap().modified().unwrap() - Duration::from_secs(60);
        fs::File::options().write(true).open(&blob).unwrap().set_modified(old).unwrap();
        assert_eq!(kinds(&store, &lock, &ids), [Kind::Mismatch], "whatever its mtime was set to");
        fs::remove_file(&blob).unwrap();
        assert_eq!(kinds(&store, &lock, &ids), [Kind::Missing]);
    }

    #[test]
    fn a_record_that_is_broken_or_of_another_claim_counts_for_nothing() {
        let (_directory, store, mut lock, ids, _) = bench();
        let record = store.root().join("verified");
        fs::write(&record, "not a line\nshort 1\n\0").unwrap();
        assert_eq!(kinds(&store, &lock, &ids), []);
        assert_eq!(fs::read_to_string(&record).unwrap().lines().count(), 1);
        lock.files.get_mut("a").unwrap().sha256 = [7; 32].into();
        assert_eq!(kinds(&store, &lock, &ids), [Kind::Mismatch], "the same bytes, but not what is locked now");
    }
}
