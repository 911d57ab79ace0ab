//! Blobs: files addressed by BLAKE3, and the links that find them by SHA-256.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::Store;
use crate::disk::{self, FreeSpace, each_chunk};
use crate::error::{Error, Result};
use crate::lock::LockedFile;
use crate::source::{Blake3, Digests, Hasher, Sha256};

impl Store {
    /// The path of a blob, in this store or a lower one, whether it exists or not.
    pub fn blob_path(&self, blake3: &Blake3) -> PathBuf {
        self.find_blob(blake3).map_or_else(|| self.own(&blob_name(blake3)), |(path, _)| path)
    }

    /// Whether a blob exists (its bytes are not read).
    pub fn has_blob(&self, blake3: &Blake3) -> bool {
        self.blob_size(blake3).is_some()
    }

    /// The size of a blob in bytes, if it exists.
    pub fn blob_size(&self, blake3: &Blake3) -> Option<u64> {
        self.find_blob(blake3).map(|(_, size)| size)
    }

    fn find_blob(&self, blake3: &Blake3) -> Option<(PathBuf, u64)> {
        self.places(&blob_name(blake3)).find_map(|path| {
            let metadata = fs::symlink_metadata(&path).ok()?;
            metadata.is_file().then_some((path, metadata.len()))
        })
    }

    /// The digests of the blob with this SHA-256, if it exists: its address and size, read from the link.
    pub fn by_sha256(&self, sha256: &Sha256) -> Option<Digests> {
        self.find_link(sha256).map(|(_, found)| found)
    }

    /// The first link of a SHA-256 that points to a blob.
    pub(super) fn find_link(&self, sha256: &Sha256) -> Option<(PathBuf, Digests)> {
        self.places(&link_name(sha256)).find_map(|link| {
            let blake3 = fs::read_link(&link).ok()?.file_name()?.to_str()?.parse().ok()?;
            Some((link, Digests { sha256: *sha256, blake3, size: self.blob_size(&blake3)? }))
        })
    }

    /// The digests of a locked file if the store has it, by any hash in the lock. A blob whose size is not the
    /// locked one (the disk lost its end) counts as missing.
    pub fn find_file(&self, file: &LockedFile) -> Option<Digests> {
        let Some(content) = file.content else { return self.by_sha256(&file.sha256) };
        let size = self.blob_size(&content.blake3).filter(|size| *size == content.size)?;
        Some(Digests { sha256: file.sha256, blake3: content.blake3, size })
    }

    /// Adds a finished local file (from a mirror in a folder): reflink or copy, hashed in one pass over the bytes that are
    /// written to the store. Never a hard link: a file outside the store could change later.
    ///
    /// # Errors
    /// The file cannot be read, or the store cannot be written.
    pub fn add_file(&self, path: &Path) -> Result<Digests> {
        let scratch = self.scratch()?;
        let copy = scratch.path().join("blob");
        let source = disk::try_open_linked(path).map_err(|error| Error::io("read", path, error))?;
        let digests = match reflink_copy::reflink(path, &copy) {
            Ok(()) => hash_file(&copy)?,
            Err(_) => copy_hashed(source, path, &copy)?,
        };
        self.publish_path(&copy, &digests)?;
        Ok(digests)
    }

    /// Adds a file of a scratch directory of this store. It is linked, so it must not be written any more.
    #[expect(clippy::disallowed_methods, reason = "both names are in scratch directories of this process")]
    pub(super) fn add_own_file(&self, path: &Path) -> Result<Digests> {
        let scratch = self.scratch()?;
        let link = scratch.path().join("blob");
        fs::hard_link(path, &link).map_err(|error| Error::io("link", path, error))?;
        let digests = hash_file(&link)?;
        self.publish_path(&link, &digests)?;
        Ok(digests)
    }

    fn publish_path(&self, path: &Path, digests: &Digests) -> Result<()> {
        let file = disk::open_regular(path)?;
        self.publish(&[Finished { file: &file, path, digests: *digests }])
    }

    /// Makes finished files of this file system the blobs of their hashes, durably, and links them by SHA-256. An existing blob
    /// (here or in a lower store) is kept, unless its size shows that it is damaged. Several at once wait for the disk together:
    /// each directory is synced once.
    #[expect(clippy::disallowed_methods, reason = "synced here, blobs and directories")]
    pub(super) fn publish(&self, files: &[Finished<'_>]) -> Result<()> {
        let failed = |path| move |error| Error::io("add to the store", path, error);
        let is_new = |file: &&Finished<'_>| self.blob_size(&file.digests.blake3) != Some(file.digests.size);
        let (new, present): (Vec<_>, Vec<_>) = files.iter().partition(is_new);
        for Finished { path, .. } in present {
            fs::remove_file(path).map_err(failed(path))?;
        }
        for Finished { file, path, .. } in &new {
            file.set_permissions(Permissions::from_mode(0o444)).map_err(failed(path))?;
            disk::start_writing(file, 0, 0);
        }
        for Finished { file, path, .. } in &new {
            file.sync_all().map_err(failed(path))?;
        }
        let mut changed = BTreeSet::new();
        for Finished { path, digests, .. } in &new {
            let blob = self.own(&blob_name(&digests.blake3));
            changed.extend(self.fan_out(&blob)?);
            fs::rename(path, &blob).map_err(failed(path))?;
        }
        // A link that is there before its blob counts as none.
        for Finished { digests, .. } in files {
            changed.extend(self.link(digests)?);
        }
        changed.iter().try_for_each(|directory| disk::sync_directory(directory))
    }

    /// Makes the directory of a blob if it does not exist, and gives the directories to sync once the blob is there.
    fn fan_out(&self, blob: &Path) -> Result<Vec<PathBuf>> {
        let directory = blob.parent().unwrap_or(blob);
        match DirBuilder::new().mode(disk::OWN_DIRECTORY).create(directory) {
            Ok(()) => Ok(vec![directory.to_owned(), self.root.join("blobs")]),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(vec![directory.to_owned()]),
            Err(error) => Err(Error::io("create", directory, error)),
        }
    }

    /// Makes a blob findable by its SHA-256, unless a lower store's link does that already. Both digests come from one pass
    /// over the bytes, never from the lock.
    pub(super) fn link_sha256(&self, digests: &Digests) -> Result<()> {
        self.link(digests)?.map_or(Ok(()), |directory| disk::sync_directory(&directory))
    }

    /// As [`Store::link_sha256`], and gives the directory to sync if a link was made.
    #[expect(clippy::disallowed_methods, reason = "a link has no bytes to sync")]
    fn link(&self, digests: &Digests) -> Result<Option<PathBuf>> {
        let link = self.own(&link_name(&digests.sha256));
        if self.find_link(&digests.sha256).is_some_and(|(found, to)| found != link && to == *digests) {
            return Ok(None);
        }
        let target = PathBuf::from(format!("../{}", blob_name(&digests.blake3)));
        let failed = |error| Error::io("link", &link, error);
        match symlink(&target, &link) {
            Ok(()) => {}
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            Err(_) if fs::read_link(&link).is_ok_and(|present| present == target) => return Ok(None),
            Err(_) => {
                let scratch = self.scratch()?;
                let new = scratch.path().join("link");
                symlink(&target, &new).and_then(|()| fs::rename(&new, &link)).map_err(failed)?;
            }
        }
        Ok(Some(self.root.join("sha256")))
    }
}

/// A file that is to become a blob.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub file: &'a File,
    /// Where it is now; on the store's file system.
    pub path: &'a Path,
    pub digests: Digests,
}

/// A blob's name in a store.
pub fn blob_name(blake3: &Blake3) -> String {
    let hex = blake3.to_string();
    format!("blobs/{}/{hex}", &hex[..2])
}

/// The name of the link from a SHA-256 to its blob, in a store.
fn link_name(sha256: &Sha256) -> String {
    format!("sha256/{sha256}")
}

#[expect(clippy::disallowed_methods, reason = "a scratch directory holds it, and `publish` syncs it")]
fn copy_hashed(mut source: impl Read, path: &Path, to: &Path) -> Result<Digests> {
    let mut copy = File::create_new(to).map_err(|error| Error::io("create", to, error))?;
    let mut hasher = Hasher::default();
    let mut room = FreeSpace::of(to.parent().unwrap_or(to));
    each_chunk(&path.display().to_string(), &mut source, |bytes| {
        room.take(bytes.len() as u64)?;
        hasher.update(bytes);
        copy.write_all(bytes).map_err(|error| Error::io("write", to, error))
    })?;
    Ok(hasher.finish())
}

/// Every digest of a file, in one pass.
pub(super) fn hash_file(path: &Path) -> Result<Digests> {
    let mut file = disk::open_regular(path)?;
    let mut hasher = Hasher::default();
    each_chunk(&path.display().to_string(), &mut file, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// The BLAKE3 of a file alone, on all cores; and its size in bytes.
///
/// The file is read, not mapped: a bad sector then gives an error, not a signal that ends the process.
pub(super) fn blake3_file(path: &Path) -> Result<(Blake3, u64)> {
    let mut file = disk::open_regular(path)?;
    let mut hasher = blake3::Hasher::new();
    each_chunk(&path.display().to_string(), &mut file, |bytes| {
        hasher.update_rayon(bytes);
        Ok(())
    })?;
    Ok(((*hasher.finalize().as_bytes()).into(), hasher.count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Content;
    use crate::store::tests::{digests_of, temporary};

    fn locked(bytes: &[u8], size: u64) -> LockedFile {
        let digests = digests_of(bytes);
        let content = Some(Content { blake3: digests.blake3, size });
        LockedFile { name: None, urls: vec![], sha256: digests.sha256, stated_size: None, content }
    }

    #[test]
    fn a_file_becomes_a_read_only_blob_found_by_either_hash() {
        let (directory, store) = temporary();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        let digests = store.add_file(&file).unwrap();
        assert_eq!(digests, digests_of(b"content"));
        assert_eq!(fs::metadata(store.blob_path(&digests.blake3)).unwrap().permissions().mode() & 0o7777, 0o444);
        assert_eq!(store.by_sha256(&digests.sha256), Some(digests));
        assert_eq!(store.find_file(&locked(b"content", 7)), Some(digests));
        assert_eq!(store.find_file(&LockedFile { content: None, ..locked(b"content", 7) }), Some(digests));
        assert_eq!(store.find_file(&locked(b"content", 8)), None, "another size is another content");

        fs::write(&file, "changed").unwrap();
        assert_eq!(fs::read(store.blob_path(&digests.blake3)).unwrap(), b"content");
    }

    #[test]
    fn a_missing_link_and_a_short_blob_are_repaired_by_adding_again() {
        let (directory, store) = temporary();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        let digests = store.add_file(&file).unwrap();

        fs::remove_file(store.own(&link_name(&digests.sha256))).unwrap();
        assert_eq!(store.by_sha256(&digests.sha256), None);
        store.add_file(&file).unwrap();
        assert_eq!(store.by_sha256(&digests.sha256), Some(digests));

        let blob = store.blob_path(&digests.blake3);
        fs::remove_file(&blob).unwrap();
        assert_eq!(store.by_sha256(&digests.sha256), None, "a broken link counts as absent");
        fs::write(&blob, "con").unwrap();
        store.add_file(&file).unwrap();
        assert_eq!(fs::read(&blob).unwrap(), b"content");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_replaced() {
        let (directory, store) = temporary();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        let link = store.own(&link_name(&digests_of(b"content").sha256));
        symlink("/etc/passwd", &link).unwrap();
        let digests = store.add_file(&file).unwrap();
        assert_eq!(store.by_sha256(&digests.sha256), Some(digests));
        assert_eq!(fs::read(link).unwrap(), b"content");
    }

    #[test]
    fn a_copied_store_is_a_store() {
        let (directory, store) = temporary();
        let file = directory.path().join("file");
        fs::write(&file, "content").unwrap();
        let digests = store.add_file(&file).unwrap();
        let copy = directory.path().join("copy");
        let copied = std::process::Command::new("cp").arg("-r").args([store.root(), &copy]).status().unwrap();
        assert!(copied.success());
        assert_eq!(Store::open(&copy).unwrap().by_sha256(&digests.sha256), Some(digests));
    }

    #[test]
    fn both_ways_of_hashing_a_file_agree() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        fs::write(&file, &bytes).unwrap();
        let digests = hash_file(&file).unwrap();
        assert_eq!(digests, digests_of(&bytes));
        assert_eq!(blake3_file(&file).unwrap(), (digests.blake3, digests.size));
    }
}
