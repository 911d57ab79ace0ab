//! Finds bytes that have changed, and sets them aside so that `kbuild fetch` fetches the right ones.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::blob::{blake3_file, hash_file};
use super::{GitRecord, Store, tree};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::lock::{Locked, LockedFile, LockedGit};
use crate::source::{Blake3, Digests};

/// The command that repairs a damaged source.
pub(super) const REPAIR_HELP: &str =
    "run `kbuild verify --repair`: it sets the damaged bytes aside and fetches them again";

/// The suffix of a file that was set aside. Nothing looks for such a name.
pub(super) const SET_ASIDE: &str = ".corrupt";

impl Store {
    /// Reads every byte of a source and compares it with the lock. For a commit, hashes the packs and then the tree
    /// in them: nothing depends on what its record says.
    ///
    /// # Errors
    /// Bytes are missing (kind `Missing`) or wrong (kind `Mismatch`); the error names the blob and the command to repair it.
    pub fn verify(&self, locked: Locked<'_>) -> Result<()> {
        match locked {
            Locked::File(name, file) => self.verify_file(name, file),
            Locked::Git(key, git) => self.verify_git(key, git),
        }
    }

    fn verify_file(&self, name: &str, file: &LockedFile) -> Result<()> {
        let by_sha256 = self.by_sha256(&file.sha256);
        let blake3 = file.content.map(|content| content.blake3).or(by_sha256.map(|found| found.blake3));
        let blake3 = blake3.filter(|blake3| self.has_blob(blake3)).ok_or_else(|| missing("file", name))?;
        // A link was made when both hashes came from one pass: if it points to the locked blob, one hash is enough.
        if by_sha256.is_some_and(|found| found.blake3 == blake3) && file.content.is_some() {
            return self.verify_blob(&blake3);
        }
        let path = self.blob_path(&blake3);
        let found = hash_file(&path)?;
        if found.blake3 != blake3 {
            return Err(damaged(&path, &blake3, &found.blake3));
        }
        if found.sha256 != file.sha256 {
            let error = wrong(&path, format!("sha256 {}", file.sha256), format!("sha256 {}", found.sha256));
            return Err(error.wrap(format!("file:{name} is not what the lock says")));
        }
        if self.read_only.is_none() { self.link_sha256(&found) } else { Ok(()) }
    }

    fn verify_git(&self, key: &str, git: &LockedGit) -> Result<()> {
        let record = self.git(&git.commit)?.ok_or_else(|| missing("git", key))?;
        let path = self.record_path(&git.commit);
        record.blobs().try_for_each(|blob| self.verify_blob(&blob))?;
        let expected = git.tree.unwrap_or(record.tree);
        if record.tree != expected {
            return Err(wrong(&path, format!("tree {expected}"), format!("tree {}", record.tree)));
        }
        let found = self.tree_of(&record).map_err(with_repair_help)?;
        if found != expected {
            return Err(wrong(&path, format!("tree {expected}"), format!("tree {found}")));
        }
        Ok(())
    }

    fn tree_of(&self, record: &GitRecord) -> Result<Blake3> {
        let opened = self.open_record(record)?;
        tree::of_commit(&opened, &record.commit)
    }

    /// Reads a blob and compares it with its name.
    fn verify_blob(&self, blake3: &Blake3) -> Result<()> {
        let path = self.blob_path(blake3);
        match blake3_file(&path) {
            Ok((found, _)) if found == *blake3 => Ok(()),
            Ok((found, _)) => Err(damaged(&path, blake3, &found)),
            Err(error) if is_bad_medium(&error) => Err(with_repair_help(
                Error::new(Kind::Mismatch, format!("{} is damaged", path.display())).because(error),
            )),
            Err(error) => Err(error),
        }
    }

    /// Sets aside all wrong files of a source, so that the store no longer claims to have it and `kbuild fetch` fetches it
    /// again; wrong files of a lower store are hidden. Everything is read first: what is right stays. Returns the
    /// files that were set aside, under their new names, and the marks.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn discard(&self, locked: Locked<'_>) -> Result<Vec<PathBuf>> {
        self.must_be_writable()?;
        match locked {
            Locked::File(_, file) => self.discard_file(file),
            Locked::Git(_, git) => self.discard_git(git),
        }
    }

    fn discard_file(&self, file: &LockedFile) -> Result<Vec<PathBuf>> {
        let by_sha256 = self.by_sha256(&file.sha256).map(|found| found.blake3);
        let mut candidates: Vec<_> = by_sha256.into_iter().chain(file.content.map(|content| content.blake3)).collect();
        candidates.dedup();
        let gone = self.discard_blobs(candidates)?;
        // A sound blob at a link with another SHA-256: then the link is wrong.
        while let Some((link, Digests { blake3, .. })) = self.find_link(&file.sha256)
            && hash_file(&self.blob_path(&blake3))?.sha256 != file.sha256
        {
            if self.is_own(&link) { disk::remove_file(&link)? } else { drop(self.hide(&link)?) }
        }
        Ok(gone)
    }

    fn discard_git(&self, git: &LockedGit) -> Result<Vec<PathBuf>> {
        let mut gone = Vec::new();
        // When a record is set aside, the record of another layer is used, which may be wrong too.
        while let Some((path, record)) = self.find_record(&git.commit) {
            let bad = self.discard_blobs(record.iter().flat_map(GitRecord::blobs).collect())?;
            // The packs are sound or missing; a record that is unreadable or wrong is set aside too.
            let stays = record.is_ok_and(|record| !bad.is_empty() || self.is_right(&record, git));
            gone.extend(bad);
            if stays {
                break;
            }
            gone.push(self.set_aside(&path)?);
        }
        Ok(gone)
    }

    fn is_right(&self, record: &GitRecord, git: &LockedGit) -> bool {
        record.satisfies(git) && self.tree_of(record).is_ok_and(|tree| tree == record.tree)
    }

    fn discard_blobs(&self, blobs: Vec<Blake3>) -> Result<Vec<PathBuf>> {
        let mut gone = Vec::new();
        for blob in &blobs {
            while self.has_blob(blob) {
                match self.verify_blob(blob) {
                    Ok(()) => break,
                    Err(error) if error.kind() == Kind::Mismatch => gone.push(self.set_aside(&self.blob_path(blob))?),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(gone)
    }

    #[expect(clippy::disallowed_methods, reason = "damaged bytes only change their name")]
    fn set_aside(&self, path: &Path) -> Result<PathBuf> {
        if !self.is_own(path) {
            return self.hide(path);
        }
        let mut name = path.as_os_str().to_owned();
        name.push(SET_ASIDE);
        let aside = PathBuf::from(name);
        fs::rename(path, &aside).map_err(|error| Error::io("set aside", path, error))?;
        Ok(aside)
    }
}

fn missing(kind: &str, key: &str) -> Error {
    Error::new(Kind::Missing, format!("{kind}:{key} is not in the store")).help("run `kbuild fetch`")
}

/// The error for a blob whose content does not match its name: kind `Mismatch`.
pub fn damaged(path: &Path, expected: &Blake3, found: &Blake3) -> Error {
    wrong(path, format!("blake3 {expected}"), format!("blake3 {found}"))
}

fn wrong(path: &Path, expected: String, found: String) -> Error {
    let error = Error::new(Kind::Mismatch, format!("{} is damaged", path.display()));
    with_repair_help(error.because(format!("expected {expected}, got {found}")))
}

fn with_repair_help(error: Error) -> Error {
    error.help(REPAIR_HELP)
}

/// Whether the medium itself could not read the bytes.
fn is_bad_medium(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Content;
    use crate::store::fixture::{Upstream, file, rot, tree};
    use crate::store::tests::{digests_of, temporary};

    fn locked_file(bytes: &[u8]) -> LockedFile {
        let Digests { sha256, blake3, size } = digests_of(bytes);
        LockedFile { name: None, urls: vec![], sha256, stated_size: None, content: Some(Content { blake3, size }) }
    }

    #[test]
    fn a_rotten_file_is_found_set_aside_and_brought_again() {
        let (directory, store) = temporary();
        let upstream = directory.path().join("file");
        fs::write(&upstream, "content").unwrap();
        let digests = store.add_file(&upstream).unwrap();
        let file = locked_file(b"content");
        let locked = Locked::File("file", &file);
        store.verify(locked).unwrap();
        assert!(store.discard(locked).unwrap().is_empty(), "what is right stays");

        let blob = store.blob_path(&digests.blake3);
        rot(&blob);
        let error = store.verify(locked).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.to_string().contains(blob.to_str().unwrap()), "{error}");
        assert!(error.causes()[0].contains(&digests.blake3.to_string()), "{:?}", error.causes());
        assert!(error.hint().unwrap().contains("kbuild verify --repair"));

        assert_eq!(store.discard(locked).unwrap().len(), 1);
        assert!(!store.has(locked));
        assert_eq!(store.verify(locked).unwrap_err().kind(), Kind::Missing);
        store.add_file(&upstream).unwrap();
        store.verify(locked).unwrap();
    }

    #[test]
    fn a_lock_whose_hashes_disagree_is_not_believed() {
        let (directory, store) = temporary();
        let upstream = directory.path().join("file");
        fs::write(&upstream, "content").unwrap();
        store.add_file(&upstream).unwrap();
        let file = LockedFile { sha256: digests_of(b"other").sha256, ..locked_file(b"content") };
        assert_eq!(store.verify(Locked::File("file", &file)).unwrap_err().kind(), Kind::Mismatch);
        assert_eq!(store.by_sha256(&file.sha256), None);
    }

    #[test]
    fn a_missing_link_is_repaired_by_reading_the_blob() {
        let (directory, store) = temporary();
        let upstream = directory.path().join("file");
        fs::write(&upstream, "content").unwrap();
        let digests = store.add_file(&upstream).unwrap();
        fs::remove_file(store.find_link(&digests.sha256).unwrap().0).unwrap();
        store.verify(Locked::File("file", &locked_file(b"content"))).unwrap();
        assert_eq!(store.by_sha256(&digests.sha256), Some(digests));
    }

    #[test]
    fn a_rotten_pack_or_record_is_found_set_aside_and_brought_again() {
        let (_directory, store) = temporary();
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], &tree([("a", file("one"))]));
        let hash = tree::of_commit(&upstream.objects(), &commit).unwrap();
        let record = store.add_git(upstream.path(), &commit, hash).unwrap();
        let git = upstream.locked(&commit, Some(hash));
        let locked = Locked::Git("key", &git);
        store.verify(locked).unwrap();
        assert!(store.discard(locked).unwrap().is_empty());

        for blob in record.blobs() {
            rot(&store.blob_path(&blob));
            assert_eq!(store.verify(locked).unwrap_err().kind(), Kind::Mismatch);
            assert_eq!(store.discard(locked).unwrap().len(), 1);
            assert!(!store.has(locked));
            store.add_git(upstream.path(), &commit, hash).unwrap();
            store.verify(locked).unwrap();
        }

        let lie = GitRecord { tree: digests_of(b"lie").blake3, ..record };
        for text in [lie.to_string(), "not toml".to_owned()] {
            fs::write(store.record_path(&commit), text).unwrap();
            assert!(!store.has(locked));
            assert!(store.verify(locked).is_err());
            assert_eq!(store.discard(locked).unwrap().len(), 1);
            store.add_git(upstream.path(), &commit, hash).unwrap();
            store.verify(locked).unwrap();
        }
    }
}
