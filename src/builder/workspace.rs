//! devtool's workspace: a layer that a person makes in `kbuild shell`, and the sources they work on.
//!
//! oe-core's devtool keeps its settings in `conf/devtool.conf` of the build directory, and appends to recipes in the
//! workspace's `appends/`, where EXTERNALSRC (externalsrc.bbclass) leads to a source tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Error, Result};

/// `EXTERNALSRC`, with the override that devtool up to 5.0 writes, and an absolute path.
static EXTERNALSRC: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^\s*EXTERNALSRC(?::pn-[^\s=]+)?\s*[?:]*=\s*["'](/[^"'$]*)["']"#)
        .expect("a constant expression compiles")
});

/// A workspace layer of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workspace {
    /// The layer.
    pub(super) layer: PathBuf,
    /// Source trees by recipe (the name of its append up to the `_`).
    pub(super) sources: BTreeMap<String, PathBuf>,
}

impl Workspace {
    /// The workspace of a build directory, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn of(topdir: &Path) -> Result<Option<Workspace>> {
        let layer = layer(topdir);
        if !layer.join("conf/layer.conf").is_file() {
            return Ok(None);
        }
        let appends = layer.join("appends");
        let mut sources = BTreeMap::new();
        if appends.is_dir() {
            let failed = |error| Error::io("read", &appends, error);
            for entry in std::fs::read_dir(&appends).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let Some(recipe) = recipe_of(&path) else { continue };
                let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
                if let Some(found) = EXTERNALSRC.captures(&text) {
                    sources.insert(recipe, PathBuf::from(&found[1]));
                }
            }
        }
        Ok(Some(Workspace { layer, sources }))
    }

    /// What of it the build would have to write outside of its own directory: tasks of external sources leave links and a lock
    /// there. Only what a person named may be ([`super::layers::LayerChanges::source_trees`]).
    pub(super) fn outside<'a>(&'a self, topdir: &'a Path) -> impl Iterator<Item = &'a Path> {
        let all = std::iter::once(&self.layer).chain(self.sources.values());
        all.map(PathBuf::as_path).filter(move |path| !path.starts_with(topdir) && path.is_dir())
    }
}

/// `workspace_path` of devtool.conf; by default `workspace` in the build directory.
fn layer(topdir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(topdir.join("conf/devtool.conf")).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "workspace_path").then(|| value.trim().to_owned())
    });
    topdir.join(named.filter(|path| !path.is_empty()).unwrap_or_else(|| "workspace".to_owned()))
}

fn recipe_of(append: &Path) -> Option<String> {
    let name = append.file_name()?.to_str()?.strip_suffix(".bbappend")?;
    Some(name.split('_').next().unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_workspace_is_found_with_the_sources_of_its_recipes() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path();
        assert_eq!(Workspace::of(top).unwrap(), None);
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("conf")).unwrap();
        fs::create_dir_all(elsewhere.join("appends")).unwrap();
        fs::create_dir_all(top.join("conf")).unwrap();
        fs::write(elsewhere.join("conf/layer.conf"), "").unwrap();
        let text = format!("[General]\nworkspace_path = {}\n", elsewhere.display());
        fs::write(top.join("conf/devtool.conf"), text).unwrap();
        let append = "inherit externalsrc\nEXTERNALSRC = \"/srv/zlib\"\n# EXTERNALSRC = \"/no\"\n";
        fs::write(elsewhere.join("appends/zlib_1.3.bbappend"), append).unwrap();
        fs::write(elsewhere.join("appends/old_%.bbappend"), "EXTERNALSRC:pn-old ?= \"/srv/old\"\n").unwrap();
        fs::write(elsewhere.join("appends/none_git.bbappend"), "SUMMARY = \"x\"\n").unwrap();
        let found = Workspace::of(top).unwrap().unwrap();
        assert_eq!(found.layer, elsewhere);
        let sources = [("old", "/srv/old"), ("zlib", "/srv/zlib")];
        assert_eq!(found.sources, sources.map(|(name, path)| (name.to_owned(), PathBuf::from(path))).into());
    }
}
