//! What a discovery found, kept beside the board's directory: `build/<board>.closures/<setting>.json`.
//!
//! It is a cache: without it, or where it does not fit, BitBake is asked for everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Prepared;
use super::discover::DiscoverRequest;
use super::layers::{local_directory, own_directories};
use super::prepare::{ConfVariant, beside, with_conf};
use crate::bitbake::snapshot::Snapshot;
use crate::bitbake::{conf, metadata};
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::{LayerOrigin, Selection};
use crate::source::Blake3;

/// Files of these kinds may be edited, and only recipes that were read from them say something else. Configuration decides
/// about all recipes; what other files are read for is not known.
const OF_RECIPES: [&str; 4] = ["bb", "bbappend", "bbclass", "inc"];

/// A closure that was found, and of what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KnownClosure {
    pub(super) inputs: DiscoveryInputs,
    pub(super) snapshot: Snapshot,
}

/// All that decides what BitBake finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiscoveryInputs {
    /// A hash over what has to be the same: the configuration without the values that the lock gives, layers, class, targets.
    rest: Blake3,
    /// The values, see [`conf::VALUES`].
    values: BTreeMap<String, String>,
    /// The files of layers that are folders of the project, by absolute path.
    files: BTreeMap<PathBuf, Blake3>,
}

impl KnownClosure {
    /// Where the closure of a configuration is kept, for build hosts of this architecture.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(super) fn place(topdir: &Path, selection: &Selection, host: &str) -> Result<PathBuf> {
        let directory = beside(topdir, "closures");
        disk::create_dir_all(&directory)?;
        let fragments = selection.fragments.iter().map(|name| format!("@{name}"));
        let parts: Vec<String> = selection.overrides.iter().cloned().chain(fragments).collect();
        Ok(directory.join(format!("{host}{}.json", parts.join("+"))))
    }

    /// `None` if there is none that this kbuild can read.
    pub(super) fn read(place: &Path) -> Option<KnownClosure> {
        serde_json::from_slice(&std::fs::read(place).ok()?).ok()
    }

    pub(super) fn write(&self, place: &Path) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::bug("a closure cannot be written as JSON").because(error))?;
        disk::replace_if_changed(place, &text).map(drop)
    }
}

impl DiscoveryInputs {
    /// Of a board that was prepared for a discovery.
    ///
    /// # Errors
    /// A layer's folder cannot be read.
    pub(super) fn of(request: &DiscoverRequest<'_>, prepared: &Prepared) -> Result<DiscoveryInputs> {
        let DiscoverRequest { build, host, .. } = request;
        let board = &build.manifest.configured(build.board, build.selection)?;
        let variant = ConfVariant { pins: &[], build_arch: None, uninative: true, caller: false };
        let (values, without, names) = with_conf(build, board, &[], &variant, |conf| {
            let without = conf::BoardConf { sources: &[], ..conf.clone() };
            let texts = [without.kbuild()?, conf.manifest_file().unwrap_or_default()];
            Ok((conf.values()?, texts, conf.sources.len()))
        })?;
        let layers = prepared.topdir().join("conf/bblayers.conf");
        let layers = std::fs::read_to_string(&layers).map_err(|error| Error::io("read", &layers, error))?;
        let mut rest = blake3::Hasher::new();
        let mut add = |text: &str| {
            rest.update(&(text.len() as u64).to_le_bytes());
            rest.update(text.as_bytes());
        };
        let names = names.to_string();
        let [kbuild, manifest] = &without;
        [conf::CLASS, &layers, kbuild, manifest, host, &names].into_iter().for_each(&mut add);
        board.parts.targets.iter().for_each(|target| add(target));
        board.parts.env.iter().for_each(|variable| add(&format!("{variable:?}")));
        values.keys().for_each(|name| add(name));
        Ok(DiscoveryInputs { rest: (*rest.finalize().as_bytes()).into(), values, files: files_of(request)? })
    }

    /// Whether these differ at most in what files and values hold: no recipe came or went, and all else is the same.
    pub(super) fn has_the_files_of(&self, known: &DiscoveryInputs) -> bool {
        self.rest == known.rest && self.files.keys().eq(known.files.keys())
    }

    /// Includes and classes that were not there before: whatever looks for a file of that name finds it now.
    pub(super) fn new_includes<'a>(&'a self, known: &'a DiscoveryInputs) -> impl Iterator<Item = &'a PathBuf> {
        let is_found_by_name =
            |path: &&PathBuf| !path.extension().is_some_and(|kind| kind == "bb" || kind == "bbappend");
        self.files.keys().filter(|path| !known.files.contains_key(*path)).filter(is_found_by_name)
    }

    /// The files, and the directories of values, that are not as they were; `None` where more than recipes changed.
    pub(super) fn changed_since(&self, known: &DiscoveryInputs, topdir: &Path) -> Option<Vec<PathBuf>> {
        if self.rest != known.rest {
            return None;
        }
        let files = differing(&self.files, &known.files);
        let is_of_recipes = |file: &&PathBuf| {
            file.extension().and_then(|found| found.to_str()).is_some_and(|found| OF_RECIPES.contains(&found))
        };
        if !files.iter().all(is_of_recipes) {
            return None;
        }
        let values = differing(&self.values, &known.values).into_iter();
        let values = values.map(|name| topdir.join(conf::VALUES).join(name));
        Some(files.into_iter().cloned().chain(values).collect())
    }
}

fn differing<'a, K: Ord, V: PartialEq>(one: &'a BTreeMap<K, V>, other: &'a BTreeMap<K, V>) -> Vec<&'a K> {
    let mut keys: Vec<&K> = one.keys().chain(other.keys()).filter(|key| one.get(*key) != other.get(*key)).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn files_of(request: &DiscoverRequest<'_>) -> Result<BTreeMap<PathBuf, Blake3>> {
    let manifest = request.build.manifest;
    let own = own_directories(manifest, request.build.store)?;
    let mut files = BTreeMap::new();
    for name in &manifest.configured(request.build.board, request.build.selection)?.parts.layers {
        if let Some(LayerOrigin::Path(path)) = manifest.layers.get(name).map(|layer| &layer.origin) {
            let directory = local_directory(manifest, name, path)?;
            let state = metadata::state_of(&directory, &own)?;
            files.extend(state.files.into_iter().map(|(file, hash)| (directory.join(file), hash)));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(files: &[(&str, u8)], value: &str) -> DiscoveryInputs {
        let files = files.iter().map(|(name, digit)| (PathBuf::from(name), [*digit; 32].into())).collect();
        DiscoveryInputs { rest: [0; 32].into(), values: [("sources/A".to_owned(), value.to_owned())].into(), files }
    }

    #[test]
    fn only_edits_of_recipes_leave_the_rest_as_it_was() {
        let known = inputs(&[("/l/a.bb", 1), ("/l/conf/layer.conf", 1), ("/l/old.inc", 1)], "1");
        let changed = |now: &DiscoveryInputs| now.changed_since(&known, Path::new("/t"));
        assert_eq!(changed(&known), Some(Vec::new()));
        let now = inputs(&[("/l/a.bb", 2), ("/l/conf/layer.conf", 1), ("/l/new.bb", 1)], "2");
        let expected = ["/l/a.bb", "/l/new.bb", "/l/old.inc", "/t/conf/values/sources/A"];
        assert_eq!(changed(&now), Some(expected.map(PathBuf::from).to_vec()));
        assert_eq!(now.new_includes(&known).next(), None, "BitBake collects recipes anew");
        let included = inputs(&[("/l/new.inc", 1), ("/l/a.bb", 1)], "1");
        assert_eq!(included.new_includes(&known).collect::<Vec<_>>(), [Path::new("/l/new.inc")]);
        let now = inputs(&[("/l/a.bb", 1), ("/l/conf/layer.conf", 2), ("/l/old.inc", 1)], "1");
        assert_eq!(changed(&now), None, "configuration");
        assert!(now.has_the_files_of(&known) && !inputs(&[("/l/a.bb", 1)], "1").has_the_files_of(&known));
        assert_eq!(changed(&DiscoveryInputs { rest: [1; 32].into(), ..known.clone() }), None);
    }
}
