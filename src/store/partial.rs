//! Partial downloads: after a crash or a lost connection, the next run continues them.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Store;
use super::blob::Finished;
use crate::disk::{self, FreeSpace};
use crate::error::{Error, Result};
use crate::source::name::check_component;
use crate::source::{Checksum, Digests, Hasher, Sums};

/// Bytes that are read at once when a partial download is hashed again.
const CHUNK: usize = 1 << 20;

/// Longest validator that is read back, in bytes: far longer than any server's `ETag`.
const VALIDATOR_LIMIT: u64 = 1 << 16;
/// Bytes after which the system is told to begin to write them to the disk.
const BEGUN_AFTER: u64 = 8 << 20;

/// A partial download, locked by one process at a time. Its bytes survive a crash, and the download is continued.
///
/// After a power failure the last bytes may be wrong. So if the digests are not the wanted ones and some bytes are from
/// an earlier run ([`PartialDownload::size`] was not 0 at first), call [`PartialDownload::restart`] and try once more.
#[derive(Debug)]
pub struct PartialDownload {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    sums: Sums,
    validator: Option<String>,
    room: FreeSpace,
    /// Up to here the system was told to write what it has in memory to the disk.
    begun: u64,
}

impl Store {
    /// Opens the partial download with this key (a hash of the request), for this process alone. Waits while another process
    /// (or another thread of this one) has it. Then it may be empty, so ask the store again whether
    /// the source is there now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn incoming(&self, key: &str) -> Result<PartialDownload> {
        self.incoming_with(key, Sums::default())
    }

    /// As [`Store::incoming`], and also computes these checksums, which must have taken no bytes yet.
    ///
    /// # Errors
    /// Those of [`Store::incoming`].
    pub fn incoming_with(&self, key: &str, sums: Sums) -> Result<PartialDownload> {
        self.must_be_writable()?;
        check_component(key)?;
        let path = self.root.join("incoming").join(key);
        let file = open_locked(&path)?;
        let (store, hasher, room) = (self.clone(), Hasher::default(), FreeSpace::of(&self.root));
        let mut incoming = PartialDownload { store, path, file, hasher, sums, validator: None, room, begun: 0 };
        incoming.take_up()?;
        Ok(incoming)
    }
}

impl PartialDownload {
    /// Number of bytes that are there already.
    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    /// The server's validator of these bytes (`ETag`, or `Last-Modified`), for `If-Range`.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Stores the validator of the response whose bytes follow; written before the first of them.
    ///
    /// # Errors
    /// The validator cannot be written.
    pub fn set_validator(&mut self, validator: Option<&str>) -> Result<()> {
        let path = self.validator_path();
        match validator {
            Some(text) => disk::replace_own(&path, text.as_bytes())?,
            None => disk::remove_file(&path)?,
        }
        self.validator = validator.map(str::to_owned);
        Ok(())
    }

    /// Removes the bytes: the server sent something else, or the hash was wrong.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub fn restart(&mut self) -> Result<()> {
        self.set_validator(None)?;
        self.cut_to(0).map_err(|error| Error::io("truncate", &self.path, error))?;
        self.hasher = Hasher::default();
        self.sums.reset();
        self.begun = 0;
        Ok(())
    }

    /// Appends bytes and hashes them.
    ///
    /// # Errors
    /// The bytes cannot be written; earlier bytes are kept. The disk is nearly full: nothing is kept, since only room helps.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(full) = self.room.take(bytes.len() as u64) {
            self.restart()?;
            return Err(full);
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Some of them may have been written, but file and hash must agree. `finish` checks that.
            let _ = self.cut_to(self.size());
            return Err(Error::io("write", &self.path, error));
        }
        self.take(bytes);
        if self.size() - self.begun >= BEGUN_AFTER {
            // So that little is left to wait for in the end.
            disk::start_writing(&self.file, self.begun, self.size() - self.begun);
            self.begun = self.size();
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.sums.update(bytes);
    }

    /// The digests of all bytes so far.
    pub fn digests(&self) -> Digests {
        self.hasher.clone().finish()
    }

    /// The other checksums of all bytes so far.
    pub fn sums(&self) -> Vec<Checksum> {
        self.sums.so_far()
    }

    /// The path of the bytes, for code that needs the whole file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the bytes a blob: fsync, 0444, rename, link by SHA-256. The caller has compared the digests.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(self) -> Result<Digests> {
        let digests = self.digests();
        PartialDownload::finish_all(&[self])?;
        Ok(digests)
    }

    /// As [`PartialDownload::finish`], for several of one store, which wait for the disk together.
    ///
    /// # Errors
    /// Those of [`PartialDownload::finish`].
    pub fn finish_all(all: &[PartialDownload]) -> Result<()> {
        let Some(first) = all.first() else { return Ok(()) };
        let files = all.iter().map(PartialDownload::finished).collect::<Result<Vec<_>>>()?;
        first.store.publish(&files)?;
        all.iter().try_for_each(|incoming| disk::remove_file(&incoming.validator_path()))
    }

    fn finished(&self) -> Result<Finished<'_>> {
        let digests = self.digests();
        let on_disk = self.file.metadata().map_err(|error| Error::io("examine", &self.path, error))?.len();
        if on_disk != digests.size {
            let message = format!("{} has {on_disk} bytes where {} were written", self.path.display(), digests.size);
            return Err(Error::new(crate::Kind::Io, message));
        }
        Ok(Finished { file: &self.file, path: &self.path, digests })
    }

    /// Hashes the bytes of an earlier run, and reads their validator.
    fn take_up(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path, error)),
            }
        }
        self.begun = self.size();
        if self.size() > 0 {
            self.validator = disk::read_regular_text(&self.validator_path(), VALIDATOR_LIMIT).ok();
        }
        Ok(())
    }

    fn cut_to(&mut self, size: u64) -> std::io::Result<()> {
        self.file.set_len(size)?;
        self.file.seek(std::io::SeekFrom::Start(size)).map(drop)
    }

    fn validator_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".validator");
        PathBuf::from(path)
    }
}

impl Drop for PartialDownload {
    /// Removes an empty file, so that nothing is left if the source turns out to be in the store.
    fn drop(&mut self) {
        if self.size() == 0 && disk::is_at(&self.file, &self.path) {
            let _ = disk::remove_file(&self.validator_path());
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens and locks the file of this name. A process that had the lock before may have renamed the file (it became a blob):
/// then the name must be opened again.
fn open_locked(path: &Path) -> Result<File> {
    loop {
        let file = disk::open_or_create(path).map_err(|error| {
            let foreign = fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
            if foreign { error.help(format!("kbuild did not make it: run `rm {}`", path.display())) } else { error }
        })?;
        file.lock().map_err(|error| Error::io("lock", path, error))?;
        if !disk::is_at(&file, path) {
            continue;
        }
        let metadata = file.metadata().map_err(|error| Error::io("examine", path, error))?;
        if metadata.nlink() == 1 {
            return Ok(file);
        }
        // A copy of the store that was made of links has it too: what is written here must not be written there.
        disk::remove_file(path)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{digests_of, temporary};

    #[test]
    fn a_partial_download_is_continued_with_the_right_digests() {
        let (_directory, store) = temporary();
        let mut first = store.incoming("key").unwrap();
        first.set_validator(Some("\"etag\"")).unwrap();
        first.write(b"hello, ").unwrap();
        drop(first);

        let mut second = store.incoming("key").unwrap();
        assert_eq!((second.size(), second.validator()), (7, Some("\"etag\"")));
        second.write(b"world").unwrap();
        assert_eq!(second.finish().unwrap(), digests_of(b"hello, world"));
        assert_eq!(fs::read_dir(store.root().join("incoming")).unwrap().count(), 0);
        assert_eq!(store.by_sha256(&digests_of(b"hello, world").sha256), Some(digests_of(b"hello, world")));
    }

    #[test]
    fn a_restart_forgets_everything() {
        let (_directory, store) = temporary();
        let mut incoming = store.incoming("key").unwrap();
        incoming.set_validator(Some("v")).unwrap();
        incoming.write(b"<html>").unwrap();
        incoming.restart().unwrap();
        assert_eq!((incoming.size(), incoming.validator()), (0, None));
        incoming.write(b"right").unwrap();
        assert_eq!(incoming.finish().unwrap(), digests_of(b"right"));
    }

    #[test]
    fn whoever_waited_finds_it_done() {
        let (_directory, store) = temporary();
        let mut first = store.incoming("key").unwrap();
        first.write(b"content").unwrap();
        let (begun, began) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let store = store.clone();
            move || {
                begun.send(()).unwrap();
                let incoming = store.incoming("key").unwrap();
                (incoming.size(), store.has_blob(&digests_of(b"content").blake3))
            }
        });
        began.recv().unwrap();
        // Lets the other thread reach the lock; without the wait the test is weaker, never wrong.
        std::thread::sleep(std::time::Duration::from_millis(50));
        first.finish().unwrap();
        assert_eq!(waiting.join().unwrap(), (0, true));
        assert_eq!(fs::read_dir(store.root().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_or_a_fifo_at_its_name_ends_it() {
        let (directory, store) = temporary();
        let at = |key: &str| store.root().join("incoming").join(key);
        std::os::unix::fs::symlink(directory.path().join("nowhere"), at("soft")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        for key in ["soft", "fifo"] {
            let error = store.incoming(key).unwrap_err();
            assert!(error.to_string().contains(at(key).to_str().unwrap()), "{error}");
        }
        assert!(!directory.path().join("nowhere").exists());
    }

    #[test]
    fn what_has_another_name_elsewhere_is_not_written_through() {
        let (directory, store) = temporary();
        let precious = directory.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        fs::hard_link(&precious, store.root().join("incoming/key")).unwrap();
        let mut incoming = store.incoming("key").unwrap();
        assert_eq!(incoming.size(), 0);
        incoming.write(b"content").unwrap();
        incoming.finish().unwrap();
        assert_eq!(fs::read(precious).unwrap(), b"precious");
    }

    #[test]
    fn no_key_leaves_the_directory() {
        let (_directory, store) = temporary();
        assert!(store.incoming("../x").is_err());
    }
}
