//! Where a board's shared state is: one directory for all boards of a project or of a machine, or a directory of its own.
//!
//! BitBake always sees `${TOPDIR}/sstate-cache`. That it is a link, and to where, is no part of the configuration: another
//! directory parses nothing again.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::layers::build_directory;
use crate::bitbake::{conf, text};
use crate::disk::{self, FileLock};
use crate::error::{Error, Result};
use crate::manifest::{CacheSettings, Manifest};

/// The name of the project's own shared state in `build/`.
const OF_PROJECT: &str = "sstate-cache";

/// The directory of shared state that `[cache]` means for a project.
///
/// # Errors
/// The project's directory cannot be found.
pub fn shared_state(manifest: &Manifest, settings: &CacheSettings) -> Result<PathBuf> {
    Ok(directory(&build_directory(manifest)?, settings))
}

/// Waits until no board of the project is being built, and keeps it so.
///
/// # Errors
/// A lock cannot be taken.
pub fn keep_boards_still(manifest: &Manifest, mut waiting: impl FnMut(&str)) -> Result<Vec<FileLock>> {
    let build = build_directory(manifest)?;
    disk::create_dir_all(&build)?;
    let boards = manifest.boards.keys();
    boards.map(|board| FileLock::exclusive(&build.join(format!("{board}.lock")), || waiting(board))).collect()
}

/// The same, for a project that builds in this directory.
fn directory(build: &Path, settings: &CacheSettings) -> PathBuf {
    settings.dir.clone().unwrap_or_else(|| build.join(OF_PROJECT))
}

/// Makes the shared state of a board ready. With settings, it is shared, and the result is the directory that must be
/// reachable from inside of the seal; without, the board has an empty one of its own. Builds can write to the directory, so
/// nothing of kbuild's may be in it: neither the project nor one of the `stores`.
///
/// # Errors
/// A directory that cannot be made, or that BitBake cannot work in.
pub(super) fn lay_out<'a>(
    topdir: &Path,
    build: &Path,
    settings: Option<&CacheSettings>,
    stores: impl Iterator<Item = &'a Path>,
) -> Result<Option<PathBuf>> {
    let (state, database) = (topdir.join(conf::SHARED_STATE), topdir.join(conf::HASH_DATABASE));
    let Some(settings) = settings else {
        for own in [&state, &database] {
            remove(own)?;
            disk::create_dir_all(own)?;
        }
        return Ok(None);
    };
    let shared = directory(build, settings);
    text::check_path(&shared)?;
    disk::create_dir_all(&shared)?;
    let shared = fs::canonicalize(&shared).map_err(|error| Error::io("find", &shared, error))?;
    check(&shared, build, stores)?;
    adopt(&state, &shared)?;
    link(&shared, &state)?;
    if is_on_nfs(&shared) {
        // BitBake refuses a database there: SQLite's locks do not hold (`bb.cooker.handlePRServ`).
        disk::create_plain_dir(&database)?;
    } else {
        link(&shared, &database)?;
    }
    Ok(Some(shared))
}

/// Makes the shared state of a board ready for a run that builds nothing: a directory of its own, whatever is in it. Where a link
/// is, nobody knows who made it: a recipe could have, to whatever it would like to reach.
///
/// # Errors
/// A directory that cannot be made.
pub(super) fn lay_out_unused(topdir: &Path) -> Result<()> {
    [conf::SHARED_STATE, conf::HASH_DATABASE].iter().try_for_each(|own| disk::create_plain_dir(&topdir.join(own)))
}

/// Refuses a directory that has something of kbuild's in it, or is in a store.
fn check<'a>(shared: &Path, build: &Path, mut stores: impl Iterator<Item = &'a Path>) -> Result<()> {
    let refused = |what: &str| {
        let error = Error::input(format!("the shared state cannot be in {}", shared.display()));
        let why = format!("builds can write to it, and {what}");
        Err(error.because(why).help("name a directory of its own as `dir` in [cache], or take `dir` out"))
    };
    if build.starts_with(shared) {
        return refused("the project is in it");
    }
    let within = |store: &Path| {
        // A lower store may be gone.
        let store = fs::canonicalize(store).unwrap_or_else(|_| store.to_owned());
        store.starts_with(shared) || shared.starts_with(&store)
    };
    if stores.any(within) { refused("it is a store's, or a store is in it") } else { Ok(()) }
}

/// What a board made while its shared state was its own becomes that of all, if there is none yet.
fn adopt(own: &Path, shared: &Path) -> Result<()> {
    if own.is_symlink() || !own.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(shared).map_err(|error| Error::io("list", shared, error))?;
    if entries.count() == 0 {
        // A directory that replaces an empty one (rename(2)). Across file systems it cannot: then it is made anew.
        let _ = fs::rename(own, shared);
    }
    Ok(())
}

fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|known| known == target) {
        return Ok(());
    }
    remove(link)?;
    symlink(target, link).map_err(|error| Error::io("write", link, error))
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => disk::remove_dir_all(path),
        Ok(_) => disk::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("find", path, error)),
    }
}

fn is_on_nfs(path: &Path) -> bool {
    /// `NFS_SUPER_MAGIC` of statfs(2).
    const NFS: u32 = 0x6969;
    // f_type has another width on each architecture; the magic fits into 32 bits.
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u32 == NFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_share_one_directory_unless_they_build_without_a_cache() {
        let place = tempfile::tempdir().unwrap();
        let build = fs::canonicalize(place.path()).unwrap();
        let (first, second) = (build.join("first"), build.join("second"));
        // What an older kbuild left.
        fs::create_dir_all(first.join("sstate-cache/ab")).unwrap();
        fs::create_dir_all(second.join("sstate-cache/cd")).unwrap();
        let settings = CacheSettings::default();
        let shared = build.join("sstate-cache");
        let store = build.join("machine/store");
        fs::create_dir_all(&store).unwrap();
        let lay_out = |topdir: &Path, settings: Option<&CacheSettings>| {
            lay_out(topdir, &build, settings, std::iter::once(store.as_path()))
        };
        for topdir in [&first, &second] {
            assert_eq!(lay_out(topdir, Some(&settings)).unwrap(), Some(shared.clone()));
            assert_eq!(fs::read_link(topdir.join("sstate-cache")).unwrap(), shared);
            assert_eq!(fs::read_link(topdir.join("hashserv")).unwrap(), shared);
        }
        assert!(shared.join("ab").is_dir() && !shared.join("cd").exists());

        assert_eq!(lay_out(&second, None).unwrap(), None);
        assert!(!second.join("sstate-cache").is_symlink());
        assert_eq!(fs::read_dir(second.join("sstate-cache")).unwrap().count(), 0);
        assert!(shared.join("ab").is_dir());

        let elsewhere = CacheSettings { dir: Some(build.join("machine/sstate")), ..settings };
        let found = lay_out(&second, Some(&elsewhere)).unwrap().unwrap();
        assert_eq!(fs::read_link(second.join("sstate-cache")).unwrap(), found);

        // Where builds must not write.
        for bad in [&build, build.parent().unwrap(), &store, &store.join("blobs"), store.parent().unwrap()] {
            let settings = CacheSettings { dir: Some(bad.to_owned()), ..CacheSettings::default() };
            assert!(lay_out(&second, Some(&settings)).is_err(), "{}", bad.display());
        }
    }

    #[test]
    fn a_run_that_builds_nothing_follows_no_link_of_a_recipe() {
        let place = tempfile::tempdir().unwrap();
        let (topdir, secret) = (place.path().join("top"), place.path().join("secret"));
        fs::create_dir_all(topdir.join("hashserv/kept")).unwrap();
        fs::create_dir_all(&secret).unwrap();
        symlink(&secret, topdir.join("sstate-cache")).unwrap();
        lay_out_unused(&topdir).unwrap();
        let made = fs::symlink_metadata(topdir.join("sstate-cache")).unwrap();
        assert!(made.is_dir() && secret.is_dir() && topdir.join("hashserv/kept").is_dir());
    }
}
