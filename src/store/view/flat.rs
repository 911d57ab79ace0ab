//! What a flat mirror holds: the same names as a view, but each repository as one file.

use std::collections::BTreeMap;
use std::path::Path;

use super::View;
use super::repository::BareClone;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::source::{Blake3, SourceId};
use crate::store::Store;

/// The sources of a lock as a mirror has them that BitBake reaches over a network: no links, and no directories.
pub struct Flat {
    files: BTreeMap<String, Blake3>,
    repositories: BTreeMap<String, BareClone>,
}

impl Flat {
    /// Finds sources of a lock in a store (submodules come along).
    ///
    /// # Errors
    /// A source that the store lacks (kind `Missing`), two contents under one name (kind `Input`).
    pub fn plan(store: &Store, lock: &Lock, sources: &[SourceId]) -> Result<Flat> {
        let view = View::plan(store, lock, sources)?;
        let files = view.links.into_iter();
        let files = files.filter_map(|(path, link)| Some((path.strip_prefix("flat/")?.to_owned(), link.blob)));
        Ok(Flat { files: files.collect(), repositories: view.repositories })
    }

    /// Files by the name BitBake looks for, each with its blob.
    pub fn files(&self) -> impl Iterator<Item = (&str, Blake3)> {
        self.files.iter().map(|(name, blob)| (name.as_str(), *blob))
    }

    /// Repositories by the name of the clone, each with a hash over all that it is made from.
    pub fn clones(&self) -> impl Iterator<Item = (&str, Blake3)> {
        self.repositories.iter().map(|(name, repository)| {
            let hash = blake3::hash(repository.summary().as_bytes());
            (name.as_str(), (*hash.as_bytes()).into())
        })
    }

    /// Writes one of the repositories, bare, into a directory that is not there yet.
    ///
    /// # Errors
    /// A clone that is none of [`Flat::clones`], packs that are gone, a directory that cannot be written.
    pub fn write_clone(&self, store: &Store, name: &str, directory: &Path) -> Result<()> {
        let repository = self.repositories.get(name);
        let repository = repository.ok_or_else(|| Error::bug(format!("the mirror has no clone `{name}`")))?;
        repository.write_whole(store, directory)
    }
}
