//! Reads single files of a source in the store, without unpacking the source.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::Entry;

use super::Store;
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::lock::{Locked, LockedFile};

type FileOf<'a> = Entry<'a, MultiGzDecoder<File>>;

impl Store {
    /// A file of a source: of a commit's tree, or of an archive, below the single directory that releases have at their top.
    /// `None` if there is no such path.
    ///
    /// # Errors
    /// The source is not in the store (kind `Missing`), or cannot be read: only tar archives packed with gzip can, and
    /// files of up to 64 MiB.
    pub fn file_of(&self, source: Locked<'_>, path: &Path) -> Result<Option<Vec<u8>>> {
        let (key, file) = match source {
            Locked::Git(_, git) => return self.file_of_commit(&git.commit, path),
            Locked::File(key, file) => (key, file),
        };
        let mut found = None;
        self.walk(key, file, |entry, inside| {
            if found.is_none() && inside == path {
                if entry.size() > bounds::FILE_OF_SOURCE {
                    return Err(std::io::Error::other(format!("{} has {} bytes", path.display(), entry.size())));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                found = Some(bytes);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The paths of all files of this name in a source, each as [`Store::file_of`] takes it.
    ///
    /// # Errors
    /// Those of [`Store::file_of`].
    pub fn files_called(&self, source: Locked<'_>, name: &str) -> Result<Vec<String>> {
        let (key, file) = match source {
            Locked::Git(_, git) => return self.files_of_commit_called(&git.commit, name),
            Locked::File(key, file) => (key, file),
        };
        let mut found = Vec::new();
        self.walk(key, file, |_, inside| {
            if inside.file_name().is_some_and(|file_name| file_name == name) {
                found.push(inside.display().to_string());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls a function for each regular file of an archive, with its path below the top directory.
    fn walk(
        &self,
        key: &str,
        file: &LockedFile,
        mut show: impl FnMut(&mut FileOf<'_>, &Path) -> std::io::Result<()>,
    ) -> Result<()> {
        let missing = || Error::new(Kind::Missing, format!("{key} is not in the store")).help("run `kbuild fetch`");
        let blob = self.blob_path(&self.find_file(file).ok_or_else(missing)?.blake3);
        let opened = disk::open_regular(&blob)?;
        let walked = tar::Archive::new(MultiGzDecoder::new(opened)).entries().and_then(|entries| {
            for entry in entries {
                let mut entry = entry?;
                let inside = below_top(&entry.path()?);
                if entry.header().entry_type().is_file() {
                    show(&mut entry, &inside)?;
                }
            }
            Ok(())
        });
        walked.map_err(|error| {
            let fault = Error::input(format!("{key} cannot be read as a tar archive packed with gzip"));
            fault.because(error).help("unpack it, and name the unpacked file")
        })
    }
}

/// A path of an archive without its first directory.
fn below_top(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).skip(1).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::lock::Content;
    use crate::store::tests::temporary;

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn stored(store: &Store, bytes: &[u8]) -> LockedFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let digests = store.add_file(file.path()).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        LockedFile { name: None, urls: Vec::new(), sha256: digests.sha256, stated_size: None, content }
    }

    #[test]
    fn a_file_is_read_out_of_an_archive() {
        let (_directory, store) = temporary();
        let files = [("./a-1.0/Cargo.lock", "top"), ("./a-1.0/in/Cargo.lock", "inner"), ("./a-1.0/in/other", "")];
        let file = stored(&store, &packed(&files));
        let source = Locked::File("a-1.0.crate", &file);
        let read = |path: &str| store.file_of(source, Path::new(path)).unwrap();
        assert_eq!(read("Cargo.lock").as_deref(), Some(&b"top"[..]));
        assert_eq!(read("in/Cargo.lock").as_deref(), Some(&b"inner"[..]));
        assert_eq!(read("Cargo.toml"), None);
        assert_eq!(store.files_called(source, "Cargo.lock").unwrap(), ["Cargo.lock", "in/Cargo.lock"]);
    }

    #[test]
    fn a_file_that_says_it_is_huge_is_not_read() {
        let (_directory, store) = temporary();
        let mut header = tar::Header::new_gnu();
        header.set_path("a/Cargo.lock").unwrap();
        header.set_size(bounds::FILE_OF_SOURCE + 1);
        header.set_cksum();
        let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
        archive.write_all(header.as_bytes()).unwrap();
        let file = stored(&store, &archive.finish().unwrap());
        let error = store.file_of(Locked::File("a.tar.gz", &file), Path::new("Cargo.lock")).unwrap_err();
        assert_eq!(error.causes(), [format!("Cargo.lock has {} bytes", bounds::FILE_OF_SOURCE + 1)]);
    }

    #[test]
    fn what_is_no_such_archive_and_what_is_not_there_are_said() {
        let (_directory, store) = temporary();
        let file = stored(&store, b"plain");
        let error = store.file_of(Locked::File("a.tar.xz", &file), Path::new("b")).unwrap_err();
        assert_eq!(error.to_string(), "a.tar.xz cannot be read as a tar archive packed with gzip");
        let cut = packed(&[("a/b", "text")]);
        let file = stored(&store, &cut[..cut.len() / 2]);
        let error = store.file_of(Locked::File("cut", &file), Path::new("b")).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let absent = LockedFile { sha256: [7; 32].into(), content: None, ..file };
        let error = store.files_called(Locked::File("absent", &absent), "b").unwrap_err();
        assert_eq!(error.kind(), Kind::Missing);
    }
}
