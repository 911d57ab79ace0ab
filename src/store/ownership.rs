//! Who may write to a store: its owner alone.
//!
//! What others can write, they can change between two looks of kbuild, or put a link where kbuild writes. Hashes find wrong bytes;
//! they do not keep a write in its place. So kbuild writes only into stores of its own user (as ssh reads only such keys).
//! Lower stores are only read, and may be anybody's.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use super::DIRECTORIES;
use super::lower::HIDDEN;
use crate::error::{Error, Result};

/// The bits of a mode that let the group and all others write.
const OTHERS_WRITE: u32 = 0o022;

/// Checks the directories of a store (`root` is without links).
///
/// # Errors
/// One of them belongs to somebody else, may be written by others, or is no directory: kind `Input`.
pub(super) fn check(root: &Path) -> Result<()> {
    // Where nobody can write, it does not matter who could.
    if rustix::fs::statvfs(root).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Ok(());
    }
    let inside = DIRECTORIES.iter().chain([&HIDDEN]).map(|name| root.join(name));
    std::iter::once(root.to_owned()).chain(inside).try_for_each(|path| match fs::symlink_metadata(&path) {
        Ok(metadata) => check_directory(root, &path, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("examine", &path, error)),
    })
}

fn check_directory(root: &Path, path: &Path, metadata: &Metadata) -> Result<()> {
    let (root, path) = (root.display(), path.display());
    let refused = |why: String| Error::input(format!("the store {root} is not used: {why}"));
    if !metadata.is_dir() {
        return Err(refused(format!("{path} is not a directory")).help("name another store with `--store DIR`"));
    }
    let (me, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    // What root could do to a store, root can do anyway.
    if owner != me && owner != 0 {
        let error = refused(format!("{path} belongs to user {owner}, and kbuild runs as user {me}"));
        return Err(error.help(format!(
            "run kbuild as that user, or read that store below one of your own: `--lower-store {root}`, with `--store DIR`"
        )));
    }
    if metadata.permissions().mode() & OTHERS_WRITE != 0 {
        let error = refused(format!("others than its owner may write to {path}"));
        return Err(error.help(format!(
            "run `chmod -R go-w {root}`, or read that store below one of your own: `--lower-store {root}`, with `--store DIR`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::store::Store;
    use crate::store::tests::{as_nobody, temporary};

    #[test]
    fn a_store_that_others_may_write_to_is_only_read_as_a_lower_one() {
        let (directory, store) = temporary();
        let root = store.root().to_owned();
        drop(store);
        for (name, mode) in [("", 0o777), ("", 0o775), ("incoming", 0o1777), ("blobs", 0o757)] {
            let path = root.join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Store::open(&root).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
            assert!(error.hint().unwrap().contains("chmod -R go-w"), "{:?}", error.hint());
            Store::open(&directory.path().join("own")).unwrap().over(std::slice::from_ref(&root)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Store::open(&root).unwrap();
    }

    #[test]
    fn a_store_of_another_user_is_only_read_as_a_lower_one() {
        let (directory, store) = temporary();
        let root = store.root().to_owned();
        drop(store);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let give = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).unwrap();
        give(&root, 4711);
        let error = Store::open(&root).unwrap_err();
        assert!(error.to_string().contains("belongs to user 4711"), "{error}");
        give(&root, 0);
        give(&root.join("git"), 4711);
        assert!(Store::open(&root).is_err());
        give(&root.join("git"), 0);
        // Root's store is read by everybody.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        as_nobody(|| assert!(Store::open(&root).unwrap().read_only_because().is_some()));
    }

    #[test]
    fn what_is_made_is_the_owners_whatever_the_umask_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        let store = Store::open(&root).unwrap();
        store.register(Path::new("/nowhere/kbuild.lock")).unwrap();
        for entry in walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & OTHERS_WRITE, 0, "{}", entry.path().display());
        }
    }
}
