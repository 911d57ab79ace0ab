//! The checksums of recipes, compared with bytes that are there.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use crate::disk;
use crate::error::{Error, Result};
use crate::source::{Algorithm, Checksum, Hasher, Sums};

/// A zip that unpacks to more than this is not read as a Go module: twice the limit of the go command
/// (`golang.org/x/mod/zip`, `MaxZipFile`).
const LARGEST_MODULE: u64 = 1 << 30;

/// A checksum that bytes should have, and the one they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disagreement {
    /// What a recipe says.
    pub expected: Checksum,
    /// What the bytes say.
    pub got: Checksum,
}

impl Disagreement {
    /// Both, as messages show them.
    pub(crate) fn lines(&self) -> String {
        format!("expected {}\n     got {}", self.expected, self.got)
    }
}

/// The first of the wanted checksums that does not match a file. `known` are those that were computed during the
/// download; the others are computed from the file.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn compare(wanted: &[Checksum], known: &[Checksum], path: &Path) -> Result<Option<Disagreement>> {
    let missing = |sum: &&Checksum| !known.iter().any(|known| known.algorithm() == sum.algorithm());
    let missing: Vec<Algorithm> = wanted.iter().filter(missing).map(Checksum::algorithm).collect();
    let read = if missing.is_empty() { Vec::new() } else { of_file(path, &missing)? };
    let got = |algorithm| known.iter().chain(&read).find(|sum| sum.algorithm() == algorithm);
    let wrong = wanted.iter().filter_map(|sum| Some((sum, got(sum.algorithm())?))).find(|(sum, got)| sum != got);
    Ok(wrong.map(|(expected, got)| Disagreement { expected: expected.clone(), got: got.clone() }))
}

fn of_file(path: &Path, algorithms: &[Algorithm]) -> Result<Vec<Checksum>> {
    let failed = |error| Error::io("read", path, error);
    let mut sums = Sums::of(algorithms.iter().copied());
    if !sums.is_empty() {
        let mut file = disk::try_open_regular(path).map_err(failed)?;
        io::copy(&mut file, &mut sums).map_err(failed)?;
    }
    let mut found = sums.so_far();
    if algorithms.contains(&Algorithm::GoH1) {
        found.push(go_h1(path).map_err(failed)?);
    }
    Ok(found)
}

/// Go's `h1:`: a SHA-256 over `<sha256>  <name>` lines of the zip's files by name; a file that is not a zip counts as a
/// single file, `go.mod` (`dirhash.Hash1`, `bb.utils.goh1_file`).
fn go_h1(path: &Path) -> io::Result<Checksum> {
    let mut files = match ZipArchive::new(BufReader::new(disk::try_open_regular(path)?)) {
        Ok(archive) => files_of(archive)?,
        Err(_) => vec![("go.mod".to_owned(), sha256(disk::try_open_regular(path)?)?)],
    };
    files.sort();
    let mut hasher = Hasher::default();
    files.iter().for_each(|(name, hash)| hasher.update(format!("{hash}  {name}\n").as_bytes()));
    let hex = hasher.finish().sha256.to_string();
    Checksum::new(Algorithm::GoH1, &hex).map_err(io::Error::other)
}

fn files_of(mut archive: ZipArchive<BufReader<File>>) -> io::Result<Vec<(String, String)>> {
    let mut left = LARGEST_MODULE;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        let mut bounded = (&mut file).take(left);
        let hash = sha256(&mut bounded)?;
        left = bounded.limit();
        if left == 0 || name.contains('\n') {
            return Err(io::Error::other("it is not the zip of a Go module"));
        }
        files.push((name, hash));
    }
    Ok(files)
}

fn sha256(mut from: impl Read) -> io::Result<String> {
    let mut hasher = Hasher::default();
    io::copy(&mut from, &mut hasher)?;
    Ok(hasher.finish().sha256.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A zip with these files, packed.
    fn zip(files: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = zip::ZipWriter::new(file.reopen().unwrap());
        for (name, text) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    fn sum(algorithm: Algorithm, path: &Path) -> String {
        of_file(path, &[algorithm]).unwrap().remove(0).hex().to_owned()
    }

    #[test]
    fn go_modules_hash_as_go_hashes_them() {
        // The text that is hashed, written out: `sha256sum` of each file, by name whatever the order in the zip.
        let module = zip(&[("m@v1/go.mod", "module m\n"), ("m@v1/a.go", "package m\n")]);
        let line = |text: &str, name: &str| format!("{}  {name}\n", sha256(text.as_bytes()).unwrap());
        let text = line("package m\n", "m@v1/a.go") + &line("module m\n", "m@v1/go.mod");
        assert_eq!(sum(Algorithm::GoH1, module.path()), sha256(text.as_bytes()).unwrap());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"module m\n").unwrap();
        let text = line("module m\n", "go.mod");
        assert_eq!(sum(Algorithm::GoH1, file.path()), sha256(text.as_bytes()).unwrap());
    }

    #[test]
    fn only_what_is_not_known_is_read() {
        let md5 = Checksum::new(Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72").unwrap();
        let other = Checksum::new(Algorithm::Md5, &"0".repeat(32)).unwrap();
        let nowhere = Path::new("/nonexistent");
        let wanted = std::slice::from_ref(&md5);
        assert_eq!(compare(wanted, wanted, nowhere).unwrap(), None);
        assert!(compare(wanted, &[], nowhere).is_err());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(compare(wanted, &[], file.path()).unwrap(), None);
        let found = compare(&[md5.clone(), other.clone()], &[], file.path()).unwrap();
        assert_eq!(found, Some(Disagreement { expected: other, got: md5 }));
    }
}
