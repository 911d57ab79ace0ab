//! A mirror as a plain directory, for nginx, Artifactory or a share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{FILE_NAME, Mirror, MirrorEntry};
use crate::bitbake::Base;
use crate::disk::{self, FileLock};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::Blake3;
use crate::source::name::check_component;
use crate::store::Store;

/// The list of kbuild's files in a directory: a line for each with its tag, size and name. Hidden, since fetchers do
/// not use it.
const LIST: &str = ".kbuild-mirror";

/// The first line of the list.
const HEAD: &str = "kbuild mirror 1";

/// The result of writing a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaidOut {
    /// Number of files of sources, without tarballs.
    pub files: usize,
    /// Number of tarballs of repositories.
    pub tarballs: usize,
    /// Size of everything, in bytes. (On a file system with reflinks the blocks may be shared with the store.)
    pub bytes: u64,
    /// Number of files that an earlier run had written already.
    pub kept: usize,
    /// Number of files that were removed because no source needs them any more.
    pub removed: usize,
}

/// A file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExistingFile {
    tag: Blake3,
    size: u64,
}

type MirrorListing = BTreeMap<String, ExistingFile>;

/// Writes a mirror into a directory, and the configuration that points to it at `base`. Files of an earlier run are kept if
/// they are the same. A file that has its name is always complete.
///
/// # Errors
/// The directory contains something else (kind `Input`), or cannot be written.
pub fn lay_out(
    store: &Store,
    mirror: &Mirror,
    base: &Base,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<LaidOut> {
    let (former, _lock) = begin(directory)?;
    let wanted: BTreeMap<&str, &MirrorEntry> = mirror.entries().collect();
    let stands = |name: &str, present: &ExistingFile| {
        wanted.get(name).is_some_and(|entry| entry.tag() == present.tag)
            && fs::symlink_metadata(directory.join(name))
                // An earlier kbuild gave files of the store a second name here, through which they could be written.
                .is_ok_and(|there| there.is_file() && there.len() == present.size && there.nlink() == 1)
    };
    let (mut list, old): (MirrorListing, MirrorListing) =
        former.into_iter().partition(|(name, present)| stands(name, present));
    let kept = list.len();
    // If this run is interrupted, no file may be taken for what it was before.
    write_list(directory, &list)?;
    let mut packed: BTreeMap<Blake3, PathBuf> = BTreeMap::new();
    let task = progress.begin("mirror", None);
    for (name, entry) in mirror.entries() {
        check_component(name)?;
        let path = directory.join(name);
        if !list.contains_key(name) {
            task.note(name);
            write(store, mirror, entry, &path, packed.get(&entry.tag()).map(PathBuf::as_path))?;
            let size = fs::metadata(&path).map_err(|error| Error::io("examine", &path, error))?.len();
            list.insert(name.to_owned(), ExistingFile { tag: entry.tag(), size });
        }
        // The same repository under another name is the same tarball.
        if matches!(entry, MirrorEntry::Tarball(..)) {
            packed.insert(entry.tag(), path);
        }
    }
    let gone: BTreeSet<&String> = old.keys().filter(|name| !list.contains_key(*name)).collect();
    gone.iter().try_for_each(|name| disk::remove_file(&directory.join(name)))?;
    disk::replace_if_changed(&directory.join(FILE_NAME), mirror.conf(base).as_bytes())?;
    let opened = File::open(directory).map_err(|error| Error::io("open", directory, error))?;
    rustix::fs::syncfs(&opened).map_err(|error| Error::io("sync", directory, error.into()))?;
    write_list(directory, &list)?;
    let tarballs = wanted.values().filter(|entry| matches!(entry, MirrorEntry::Tarball(..))).count();
    let bytes = list.values().map(|present| present.size).sum();
    task.done(&crate::progress::size(bytes));
    Ok(LaidOut { files: list.len() - tarballs, tarballs, bytes, kept, removed: gone.len() })
}

/// Replaces a file in one step.
#[expect(clippy::disallowed_methods, reason = "`lay_out` syncs the whole directory once at its end")]
fn write(store: &Store, mirror: &Mirror, entry: &MirrorEntry, path: &Path, same: Option<&Path>) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let directory = path.parent().unwrap_or(path);
    let blob = match entry {
        MirrorEntry::Blob(blob) => Some(store.blob_path(blob)),
        MirrorEntry::Tarball(..) => same.map(Path::to_owned),
    };
    if let Some(blob) = blob {
        let scratch = disk::NewDirectory::within(directory)?;
        let new = scratch.path().join("new");
        disk::reflink_or_copy(&blob, &new)?;
        return fs::rename(&new, path).map_err(failed);
    }
    let MirrorEntry::Tarball(clone, _) = entry else { return Ok(()) };
    let file = disk::file_within(directory)?;
    mirror.pack(store, clone, BufWriter::with_capacity(disk::CHUNK, file.as_file()))?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o444)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}

/// Makes the directory, or reads what an earlier run wrote in it.
fn begin(directory: &Path) -> Result<(MirrorListing, FileLock)> {
    disk::create_dir_all(directory)?;
    let lock = FileLock::try_directory(directory)?.ok_or_else(|| {
        let error = Error::input(format!("another kbuild writes a mirror into {}", disk::shown(directory)));
        error.help("wait for it, or name another directory")
    })?;
    disk::sweep(directory);
    let path = directory.join(LIST);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut entries = fs::read_dir(directory).map_err(|error| Error::io("read", directory, error))?;
            if entries.next().is_some() {
                let error = Error::input(format!("{} is neither empty nor a mirror", disk::shown(directory)));
                return Err(error.help("name a directory that is used for nothing else"));
            }
            return Ok((MirrorListing::new(), lock));
        }
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let wrong = || {
        let error = Error::input(format!("{} is damaged", disk::shown(&path)));
        error.help("remove the directory, and run the same command again")
    };
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err(wrong());
    }
    let listing = lines.map(|line| parse(line).ok_or_else(wrong)).collect::<Result<_>>()?;
    Ok((listing, lock))
}

fn parse(line: &str) -> Option<(String, ExistingFile)> {
    let mut parts = line.splitn(3, ' ');
    let present = ExistingFile { tag: parts.next()?.parse().ok()?, size: parts.next()?.parse().ok()? };
    let name = parts.next().filter(|name| check_component(name).is_ok())?;
    Some((name.to_owned(), present))
}

fn write_list(directory: &Path, list: &MirrorListing) -> Result<()> {
    let mut text = format!("{HEAD}\n");
    for (name, ExistingFile { tag, size }) in list {
        let _ = writeln!(text, "{tag} {size} {name}");
    }
    disk::replace_if_changed(&directory.join(LIST), text.as_bytes()).map(drop)
}
