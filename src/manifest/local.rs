//! `kbuild.local.toml`: what one person overrides on one machine. It stands beside the manifest and is not committed.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;

use super::document::{self, Diagnostics};
use super::names;
use super::raw::{At, RawText};
use super::{Manifest, read};
use crate::error::{Error, Result};

/// The keys at the top of the file.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct RawLocal {
    overrides: IndexMap<String, String>,
    source_trees: Vec<String>,
}

/// What `kbuild.local.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// The file.
    pub path: PathBuf,
    /// `[overrides]`: a layer, and the folder that stands for it, absolute.
    pub overrides: IndexMap<String, PathBuf>,
    /// `source-trees`: folders outside of the project that devtool's workspace may lead to, absolute. Builds write there.
    pub source_trees: Vec<PathBuf>,
}

impl LocalConfig {
    /// Where the file of a manifest is, or would be: `kbuild.local.toml` beside `kbuild.toml`.
    pub fn path_beside(manifest: &Path) -> PathBuf {
        manifest.with_extension("local.toml")
    }

    /// Reads the file beside a manifest; `None` if there is none.
    ///
    /// # Errors
    /// As those of a manifest: every fault with its line; a layer that the manifest does not have, a folder that is not there.
    pub fn read(manifest: &Manifest) -> Result<Option<LocalConfig>> {
        let path = LocalConfig::path_beside(&manifest.path);
        if !path.exists() {
            return Ok(None);
        }
        let text = read::read(&path, "local configuration", "remove it, or make it readable")?;
        let table = document::parse(&path, &text)?;
        let mut diagnostics = Diagnostics::default();
        document::check_keys::<RawLocal>("", &table, &mut diagnostics);
        let raw: IndexMap<At<String>, RawText> = document::entries(&table, "overrides", &mut diagnostics);
        let mut overrides = IndexMap::new();
        for (layer, folder) in raw {
            let known = check_layer(manifest, &layer).map_err(|error| error.at(layer.span.clone(), "no such layer"));
            let found = folder_of(manifest.root(), &folder);
            let found = found.map_err(|error| error.at(folder.span.clone(), "this folder"));
            if let (Some(()), Some(found)) = (diagnostics.take(known), diagnostics.take(found)) {
                overrides.insert(layer.value, found);
            }
        }
        let trees: Vec<RawText> = document::top(&table, "source-trees", &mut diagnostics).unwrap_or_default();
        let trees = trees.iter().filter_map(|tree| {
            let found = folder_of(manifest.root(), tree);
            diagnostics.take(found.map_err(|error| error.at(tree.span.clone(), "this folder")))
        });
        let source_trees = trees.collect();
        diagnostics.finish(&path, &text)?;
        Ok(Some(LocalConfig { path, overrides, source_trees }))
    }
}

/// Checks that the manifest has a layer to override.
///
/// # Errors
/// It has none of this name.
pub fn check_layer(manifest: &Manifest, layer: &str) -> Result<()> {
    if manifest.layers.contains_key(layer) {
        return Ok(());
    }
    let help = names::suggest("layers", layer, manifest.layers.keys().map(String::as_str));
    Err(Error::input(format!("there is no layer `{}` to override", layer.escape_debug())).help(help))
}

/// The folder of an override, absolute and without symbolic links; `from` is what it is relative to.
///
/// # Errors
/// It is not there, or is no directory.
pub fn folder_of(from: &Path, folder: &str) -> Result<PathBuf> {
    let path = from.join(folder);
    let found = std::fs::canonicalize(&path).ok().filter(|found| found.is_dir());
    found.ok_or_else(|| {
        Error::input(format!("there is no folder {}", path.display()))
            .help("`kbuild checkout LAYER DIR` clones a layer to work in")
    })
}
