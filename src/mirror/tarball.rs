//! Packs a bare repository as the tarball that BitBake unpacks into its GITDIR (`bb.fetch2.git`, `download`): the
//! repository at the archive's root, gzipped, owner 0. It contains nothing of the time of day or of this machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::view::Flat;

/// Packs are compressed already: a higher level gains nothing.
const LEVEL: Compression = Compression::fast();

/// Packs one clone.
pub(super) fn write(flat: &Flat, store: &Store, clone: &str, to: impl Write) -> Result<()> {
    let place = store.workplace()?;
    let repository = place.path().join("repository");
    flat.write_clone(store, clone, &repository)?;
    let gzip = GzBuilder::new().mtime(0).write(to, LEVEL);
    let mut archive = tar::Builder::new(gzip);
    for entry in walkdir::WalkDir::new(&repository).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| Error::io("read", &repository, error.into()))?;
        let name = entry.path().strip_prefix(&repository).unwrap_or(entry.path());
        append(&mut archive, entry.path(), name, entry.file_type().is_dir())
            .map_err(|error| Error::io("pack", entry.path(), error))?;
    }
    let finished = archive.into_inner().and_then(|gzip| gzip.finish()).and_then(|mut to| to.flush());
    finished.map_err(|error| Error::io("pack", &repository, error))
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &Path,
    name: &Path,
    is_directory: bool,
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    if is_directory {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        return archive.append_data(&mut header, name, std::io::empty());
    }
    let file = File::open(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(file.metadata()?.len());
    archive.append_data(&mut header, name, file)
}
