//! Who was read from which files of the project's own layers, and uses which values: whom an edit concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What kbuild's class notes of a recipe, or of the configuration.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ReaderRecord {
    /// The recipe's file; empty for the configuration.
    path: PathBuf,
    reads: BTreeSet<PathBuf>,
}

/// All readers of one configuration, whatever its closure has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readers {
    /// What the configuration was read from: it changes every recipe.
    configuration: BTreeSet<PathBuf>,
    /// By recipe: files that are no recipe and no append, and the directories of values.
    recipes: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Readers {
    pub(super) fn of(records: Vec<ReaderRecord>) -> Readers {
        let mut readers = Readers::default();
        for ReaderRecord { path, reads } in records {
            let known = if path == Path::new("") {
                &mut readers.configuration
            } else {
                readers.recipes.entry(path).or_default()
            };
            known.extend(reads);
        }
        readers
    }

    /// The recipes that were read from one of these files.
    ///
    /// # Errors
    /// Why all recipes have to be looked at.
    pub fn of_changed(&self, changed: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
        if let Some(path) = changed.iter().find(|path| self.configuration.contains(*path)) {
            return Err(format!("{} is part of the configuration", path.display()));
        }
        let concerned = self.recipes.iter().filter(|(_, reads)| changed.iter().any(|path| reads.contains(path)));
        Ok(concerned.map(|(recipe, _)| recipe.clone()).collect())
    }

    /// The same after these recipes were parsed again.
    pub(super) fn update(&mut self, parsed: &[PathBuf], new: Readers) {
        parsed.iter().for_each(|path| drop(self.recipes.remove(path)));
        self.recipes.extend(new.recipes.into_iter().filter(|(path, _)| parsed.contains(path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(records: &[(&str, &[&str])]) -> Readers {
        let record = |(path, reads): &(&str, &[&str])| ReaderRecord {
            path: path.into(),
            reads: reads.iter().map(PathBuf::from).collect(),
        };
        Readers::of(records.iter().map(record).collect())
    }

    #[test]
    fn a_file_concerns_those_that_were_read_from_it() {
        let mut known = readers(&[("/l/a.bb", &["/l/x.inc"]), ("/l/b.bb", &["/l/y.inc"]), ("", &["/l/all.bbclass"])]);
        let of = |known: &Readers, path: &str| known.of_changed(&[path.into()]);
        assert_eq!(of(&known, "/l/x.inc"), Ok(vec!["/l/a.bb".into()]));
        assert_eq!(of(&known, "/l/unknown.inc"), Ok(vec![]));
        assert_eq!(of(&known, "/l/all.bbclass").unwrap_err(), "/l/all.bbclass is part of the configuration");
        // It is read from another file now, and in two multiconfigs from two.
        let now = readers(&[("/l/a.bb", &["/l/y.inc"]), ("/l/a.bb", &["/l/z.inc"]), ("", &["/l/other"])]);
        known.update(&["/l/a.bb".into()], now);
        assert_eq!(of(&known, "/l/x.inc"), Ok(vec![]));
        assert_eq!(of(&known, "/l/y.inc"), Ok(vec!["/l/a.bb".into(), "/l/b.bb".into()]));
        assert_eq!(of(&known, "/l/z.inc"), Ok(vec!["/l/a.bb".into()]));
    }
}
