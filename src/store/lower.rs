//! Stores below this one: only read, and asked for what this one does not have.
//!
//! Whatever a name of the store leads to (`blobs/ab/<blake3>`, `sha256/<hex>`, `git/<commit>.toml`) is decided by
//! [`Store::places`]: the store's own file comes first, then those of the lower stores in their order. Writing goes to the
//! store itself, and what a lower one has is not written again.
//!
//! A lower store is trusted no more than this one, and cannot be mended from here. So what is found rotten in it is hidden:
//! an empty file `hidden/<last part of the name>` in this store says that the name is not looked for below.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Store, canonical, has_format};
use crate::disk;
use crate::error::{Error, Result};

/// The directory of marks.
pub(super) const HIDDEN: &str = "hidden";

impl Store {
    /// Puts this store above others, the first of them asked first. Each is held as by a reader. The same directory twice,
    /// or this store's own, counts once.
    ///
    /// # Errors
    /// A directory that is no store, or of a newer format: kind `Input`.
    pub fn over(mut self, lower: &[PathBuf]) -> Result<Store> {
        let mut stores: Vec<Store> = Vec::new();
        for path in lower {
            let root = usable(path).map_err(|error| error.help_or(HELP))?;
            if root != self.root && stores.iter().all(|store| store.root != root) {
                stores.push(Store::read_only(root, "it is a lower store"));
            }
        }
        self.lower = stores.into();
        Ok(self)
    }

    /// The stores below this one, in the order in which they are asked.
    pub fn lower(&self) -> &[Store] {
        &self.lower
    }

    /// This store and those below it, in the order in which they are asked.
    pub fn layers(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(self).chain(self.lower.iter())
    }

    /// Where a name may stand, in the order in which it counts.
    pub(super) fn places<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let below = self.lower.iter().filter(|_| !self.hides(name));
        std::iter::once(self.own(name)).chain(below.map(move |store| store.own(name)))
    }

    /// Where a name stands, or would stand, in this very store: all that is ever written.
    pub(super) fn own(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether a path that [`Store::places`] gave is this store's own.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// Sees to it that a name is not looked for below any more, where what it leads to was found wrong. Gives the mark.
    pub(super) fn hide(&self, path: &Path) -> Result<PathBuf> {
        let mark = self.mark(path);
        disk::create_dir_all(&self.own(HIDDEN))?;
        disk::replace(&mark, b"")?;
        Ok(mark)
    }

    fn hides(&self, name: &str) -> bool {
        self.mark(Path::new(name)).exists()
    }

    fn mark(&self, path: &Path) -> PathBuf {
        self.own(HIDDEN).join(path.file_name().unwrap_or(OsStr::new("")))
    }
}

const HELP: &str = "give another one with `--lower-store DIR`, or leave it out; KBUILD_LOWER_STORE and `lower` in the site \
                    configuration name some too";

/// The directory of a store that can be a lower one.
fn usable(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    match has_format(path) {
        Ok(true) => canonical(path),
        Ok(false) => Err(Error::input(format!("there is no store at {shown}, which was named as a lower one"))),
        Err(error) => Err(error.help(HELP).wrap(format!("{shown} cannot be a lower store"))),
    }
}
