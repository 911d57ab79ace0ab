//! Asks BitBake's own fetchers without parsing a recipe: under which names they look for submodules, and whether they
//! accept a view. Here are the program's text, its input and its output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::conf::PREMIRRORS;
use crate::disk;
use crate::error::{Error, Result};

/// The program, for the Python that runs BitBake.
const PROGRAM: &str = include_str!("fetchers.py");

/// An entry of SRC_URI, with its commit and checksums.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FetchEntry {
    /// PN, without a multiconfig.
    pub recipe: String,
    /// The entry, expanded, with its parameters.
    pub entry: String,
    /// The commit, where it has one.
    pub revision: Option<String>,
    /// Checksums by algorithm.
    pub sums: BTreeMap<String, String>,
}

/// The questions about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchQuestion {
    /// The submodules of a gitsm entry.
    Submodules,
    /// Whether it can be fetched from the view.
    Check,
}

/// The fetchers' answer about one entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FetchAnswer {
    /// Why they refuse it, if they do.
    pub error: Option<String>,
    /// All its submodules, also those of submodules.
    pub submodules: Vec<EngineSubmodule>,
}

/// A submodule as gitsm sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EngineSubmodule {
    /// The commit that has it.
    pub parent: String,
    /// Its path in that commit's tree.
    pub path: String,
    /// Its own commit.
    pub commit: String,
    /// The URL for git.
    pub url: String,
    /// The name of the clone in GITDIR.
    pub clone: String,
}

#[derive(Serialize)]
struct FetchRequest<'a> {
    ask: FetchQuestion,
    view: &'a Path,
    premirrors: &'static str,
    /// From a commit to a repository that has it.
    repositories: &'a BTreeMap<String, PathBuf>,
    entries: &'a [&'a FetchEntry],
}

/// The directory for the input and output of one run of the program.
#[derive(Debug)]
pub struct FetchersDir(PathBuf);

impl FetchersDir {
    /// The directory below TOPDIR, emptied.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(topdir: &Path) -> Result<FetchersDir> {
        let directory = topdir.join("fetchers");
        disk::remove_dir_all(&directory)?;
        disk::create_dir_all(&directory)?;
        disk::replace(&directory.join("fetchers.py"), PROGRAM.as_bytes())?;
        Ok(FetchersDir(directory))
    }

    /// The directory of the view that they look at.
    pub fn view(&self) -> PathBuf {
        self.0.join("view")
    }

    /// The file with the record of that view.
    pub fn record(&self) -> PathBuf {
        self.0.join("view.record")
    }

    /// Writes the input; returns the arguments for the Python that runs the program, with the BitBake in this directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ask(
        &self,
        engine: &Path,
        ask: FetchQuestion,
        entries: &[&FetchEntry],
        repositories: &BTreeMap<String, PathBuf>,
    ) -> Result<[PathBuf; 3]> {
        let view = self.view();
        let request = FetchRequest { ask, view: &view, premirrors: PREMIRRORS, repositories, entries };
        let text = serde_json::to_vec(&request).map_err(|error| Error::bug("a question has no JSON").because(error))?;
        disk::remove_file(&self.0.join("answer.json"))?;
        disk::replace(&self.0.join("request.json"), &text)?;
        Ok([self.0.join("fetchers.py"), engine.join("lib"), self.0.clone()])
    }

    /// The answers, one for each entry; `None` where the program wrote none.
    ///
    /// # Errors
    /// Output that is not the program's.
    pub fn answers(&self) -> Result<Option<Vec<FetchAnswer>>> {
        let path = self.0.join("answer.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let answers = serde_json::from_str(&text);
        answers.map(Some).map_err(|error| Error::bug(format!("{} is no answer", path.display())).because(error))
    }

    /// Takes the directory away.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn end(self) -> Result<()> {
        disk::remove_dir_all(&self.0)
    }
}
