//! The files of a layer that BitBake reads while it parses.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};
use crate::source::Blake3;

/// Endings of recipes, classes and configuration, and of lists of packages (npm's shrinkwrap files). Patches and other
/// files beside a recipe decide what is built, not which recipes there are and what they fetch.
const EXTENSIONS: [&str; 7] = ["bb", "bbappend", "bbclass", "conf", "inc", "json", "py"];

/// A hash over the metadata of a layer's directory: names and bytes, in the order of the names. A symbolic link counts
/// by where it points. Directories and files whose names begin with a dot are left out: BitBake's `BBFILES` are
/// patterns that do not match them (Python's `glob`), and editors and file managers leave such files about.
///
/// # Errors
/// A directory or file that cannot be read.
pub fn hash(directory: &Path) -> Result<Blake3> {
    let mut hash = blake3::Hasher::new();
    let walk = WalkDir::new(directory).min_depth(1).sort_by_file_name().into_iter();
    let hidden = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in walk.filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|error| Error::io("read", directory, error.into()))?;
        let is_metadata = entry.path().extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found == *known));
        if entry.file_type().is_dir() || !is_metadata {
            continue;
        }
        let read = |error| Error::io("read", entry.path(), error);
        let (kind, bytes) = if entry.path_is_symlink() {
            let target = std::fs::read_link(entry.path()).map_err(read)?;
            ("link", target.into_os_string().into_encoded_bytes())
        } else {
            ("file", std::fs::read(entry.path()).map_err(read)?)
        };
        let name = entry.path().strip_prefix(directory).unwrap_or(entry.path()).as_os_str().as_encoded_bytes();
        // Lengths before what they measure, so that no two layers give one text.
        for part in [name, kind.as_bytes(), &bytes] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok((*hash.finalize().as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_bitbake_parses_counts() {
        let layer = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(layer.path().join(name), text).unwrap();
        fs::create_dir(layer.path().join("conf")).unwrap();
        write("conf/layer.conf", "BBPATH .= \":${LAYERDIR}\"");
        write("a.bb", "x");
        let first = hash(layer.path()).unwrap();
        write("README.md", "words");
        write("fix.patch", "words");
        assert_eq!(hash(layer.path()).unwrap(), first);
        write("a.bb", "y");
        assert_ne!(hash(layer.path()).unwrap(), first);
        write("a.bb", "x");
        write("b.inc", "");
        assert_ne!(hash(layer.path()).unwrap(), first);
        fs::remove_file(layer.path().join("b.inc")).unwrap();
        std::os::unix::fs::symlink("me@host.4711:123", layer.path().join(".#a.bb")).unwrap();
        write(".a.inc", "");
        assert_eq!(hash(layer.path()).unwrap(), first);
        assert!(hash(&layer.path().join("none")).is_err());
    }
}
