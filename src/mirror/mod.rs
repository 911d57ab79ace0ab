//! A mirror for plain BitBake: the sources of a lock under the names that its fetchers look for, each repository as one
//! tarball, and the configuration that points to the mirror.
//!
//! [`Mirror`] says what the mirror contains, and makes each file. The static directory ([`lay_out`]) and the server
//! (`crate::serve`) both use it.

mod directory;
mod tarball;

pub use directory::{LaidOut, lay_out};

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use indexmap::IndexMap;

use crate::bitbake::site::FILE_NAME;
use crate::bitbake::{Base, Declared, SiteConf, SrcrevPin};
use crate::error::{Error, Result};
use crate::lock::{self, Lock, Locked};
use crate::manifest::Manifest;
use crate::source::{Blake3, CommitId, SourceId};
use crate::store::Store;
use crate::store::view::Flat;

/// Part of the tag of a tarball. The number changes when tarballs are packed in another way.
const TARBALL: &[u8] = b"kbuild mirror tarball 1\n";

/// The input of a mirror.
#[derive(Clone, Copy)]
pub struct MirrorRequest<'a> {
    /// The project's name, for comments.
    pub project: &'a str,
    pub lock: &'a Lock,
    /// The manifest, if it is known: it names recipes whose commit comes from a declared source, and recipes left out.
    pub manifest: Option<&'a Manifest>,
    /// Only what these boards need; empty for the whole lock.
    pub boards: &'a [String],
}

/// The contents of a mirror.
pub struct Mirror {
    project: String,
    flat: Flat,
    entries: BTreeMap<String, MirrorEntry>,
    conf: String,
    missing: Vec<SourceId>,
}

/// One file of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorEntry {
    /// A blob of the store.
    Blob(Blake3),
    /// A repository, packed: its name as a clone, and a hash over all that decides the bytes.
    Tarball(String, Blake3),
}

impl MirrorEntry {
    /// A text that changes when the bytes change.
    pub fn tag(&self) -> Blake3 {
        match self {
            MirrorEntry::Blob(tag) | MirrorEntry::Tarball(_, tag) => *tag,
        }
    }
}

impl Mirror {
    /// Finds out what a mirror contains. Writes and packs nothing.
    ///
    /// # Errors
    /// Two contents under one name, or two commits for one recipe (kind `Input`); the lock does not know a board.
    pub fn plan(store: &Store, wanted: MirrorRequest<'_>) -> Result<Mirror> {
        let MirrorRequest { project, lock, boards, .. } = wanted;
        let all = if boards.is_empty() { lock.all_sources() } else { lock.closure(boards.iter().map(String::as_str))? };
        let (sources, missing) = present(store, lock, all)?;
        let flat = Flat::plan(store, lock, &sources)?;
        let blobs = flat.files().map(|(name, blob)| (name.to_owned(), MirrorEntry::Blob(blob)));
        let tarballs = flat.clones().map(|(name, made_from)| {
            let tag = blake3::hash(&[TARBALL, made_from.as_bytes()].concat());
            (format!("git2_{name}.tar.gz"), MirrorEntry::Tarball(name.to_owned(), (*tag.as_bytes()).into()))
        });
        let entries = blobs.chain(tarballs).collect();
        let conf = conf(wanted, &sources)?;
        Ok(Mirror { project: project.to_owned(), entries, conf, missing, flat })
    }

    /// The content under a name.
    pub fn entry(&self, name: &str) -> Option<&MirrorEntry> {
        self.entries.get(name)
    }

    /// Everything except the configuration, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &MirrorEntry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Sources of the lock that are not in the store, and sources with a submodule that is not.
    pub fn missing(&self) -> &[SourceId] {
        &self.missing
    }

    /// The configuration for machines that reach the mirror at this address.
    pub fn conf(&self, base: &Base) -> String {
        format!("{}{}", base.head(&self.project), self.conf)
    }

    /// Packs a repository. The same packs and refs give the same bytes.
    ///
    /// # Errors
    /// Packs are not in the store any more, or the target cannot be written.
    pub fn pack(&self, store: &Store, clone: &str, to: impl Write) -> Result<()> {
        tarball::write(&self.flat, store, clone, to)
    }
}

/// Separates sources that the store has from those that it does not have. Without its submodules and its objects of
/// Git LFS a source is of no use.
fn present(store: &Store, lock: &Lock, ids: Vec<SourceId>) -> Result<(Vec<SourceId>, Vec<SourceId>)> {
    let mut missing: BTreeSet<SourceId> = BTreeSet::new();
    loop {
        let before = missing.len();
        for id in &ids {
            let locked = lock.get(id)?;
            let incomplete = match locked {
                Locked::Git(_, git) => {
                    git.submodules.values().any(|child| missing.contains(&SourceId::Git(child.clone())))
                        || git.lfs.values().any(|oid| missing.contains(&SourceId::Lfs(oid.clone())))
                }
                Locked::File(..) => false,
            };
            if incomplete || !store.has(locked) {
                missing.insert(id.clone());
            }
        }
        if missing.len() == before {
            let present = ids.into_iter().filter(|id| !missing.contains(id)).collect();
            return Ok((present, missing.into_iter().collect()));
        }
    }
}

fn conf(wanted: MirrorRequest<'_>, sources: &[SourceId]) -> Result<String> {
    let MirrorRequest { project, lock, manifest, boards } = wanted;
    let known: BTreeSet<&SourceId> = sources.iter().collect();
    let mut declared = Vec::new();
    let pinned = lock.sources.iter().filter(|(_, pin)| known.contains(&pin.locked)).map(|(name, _)| name);
    let images = lock.images.iter().filter(|(_, image)| image.locked.values().any(|id| known.contains(id)));
    for name in pinned.chain(images.map(|(name, _)| name)) {
        let source = manifest.and_then(|manifest| manifest.sources.get(name));
        let (recipes, srcrev_name) =
            source.map_or((&[][..], None), |source| (&source.recipes[..], source.srcrev_name.as_deref()));
        declared.push(Declared::of_lock(name, lock, recipes, srcrev_name)?);
    }
    let boards: Vec<&str> = match boards {
        [] => lock.boards.keys().map(String::as_str).collect(),
        boards => boards.iter().map(String::as_str).collect(),
    };
    let pins = pins(lock, &boards)?;
    let pins = pins.iter().filter_map(|(pinned, commit)| {
        lock::pin_parts(pinned).map(|(variable, recipe)| SrcrevPin { variable, recipe, commit: *commit })
    });
    let pins: Vec<SrcrevPin<'_>> = pins.collect();
    let nothing = IndexMap::new();
    let mask = manifest.map_or(&nothing, |manifest| &manifest.closure.mask);
    let uninative = sources.iter().any(|id| matches!(id, SourceId::File(name) if name.contains("-nativesdk-libc-")));
    SiteConf { project, sources: &declared, pins: &pins, mask, uninative }.body()
}

/// The commits of recipes that name no commit, in every closure of some boards.
fn pins<'a>(lock: &'a Lock, boards: &[&str]) -> Result<BTreeMap<&'a str, CommitId>> {
    let mut all: BTreeMap<&str, CommitId> = BTreeMap::new();
    for name in boards {
        for (pinned, commit) in lock.pins(name, &lock.board(name)?.settings()) {
            if all.insert(pinned, commit).is_some_and(|other| other != commit) {
                let message = format!("the boards do not agree on the commit of {pinned}");
                return Err(Error::input(message).help("make a mirror for some of them with `--board BOARD`"));
            }
        }
    }
    Ok(all)
}

/// Whether a name is that of the configuration.
pub fn is_conf(name: &str) -> bool {
    name == FILE_NAME
}

#[cfg(test)]
mod tests;
