//! Which files belong to a build, and what they say together (`kas.includehandler.IncludeHandler`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::checkout::Checkouts;
use super::repository;
use crate::error::{Error, Result};
use crate::foreign::document::{self, Node};
use crate::foreign::found::FilePlace;
use crate::foreign::{repositories, work_tree};

/// The formats that are read: `header.version` of kas 5.5.
const NEWEST: u32 = 23;

/// How deep files may include files.
const DEPTH: usize = 50;

/// The files of a build, merged.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Node,
    /// The project's repository, or the directory of the first file.
    pub(super) root: PathBuf,
    /// The files that were named, as messages show them.
    pub(super) shown: Vec<String>,
}

/// Reads the files and what they include; fetches repositories that are needed for that, round by round, as kas does.
pub(super) fn load(files: &[PathBuf], checkouts: &mut Checkouts) -> Result<Loaded> {
    let directory = files[0].parent().unwrap_or(Path::new("/"));
    let root = work_tree::root(directory).unwrap_or_else(|| directory.to_owned());
    let shown = files.iter().map(|file| FilePlace::of_file(file).file).collect();
    let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
    loop {
        let mut reader = Reader { known: &known, configs: Vec::new(), missing: Vec::new() };
        for file in files {
            reader.read(file, &root, 0)?;
        }
        let Reader { configs, missing, .. } = reader;
        let config = configs.into_iter().reduce(|mut all, config| {
            all.merge(config);
            all
        });
        let config = config.unwrap_or_else(|| Node::empty(FilePlace::default()));
        let wanted: Vec<_> = missing.iter().filter(|(name, _)| !known.contains_key(name)).collect();
        if wanted.is_empty() {
            return Ok(Loaded { config, root, shown });
        }
        let all = repository::all(&config)?;
        let before = known.len();
        for (name, place) in wanted {
            if let Some(directory) =
                all.get(name).map(|found| checkouts.directory(found, &root, place)).transpose()?.flatten()
            {
                known.insert(name.clone(), directory);
            }
        }
        if known.len() == before {
            for (name, place) in missing.iter().filter(|(name, _)| !known.contains_key(name)) {
                checkouts.note_missing(name, place, all.contains_key(name));
            }
            return Ok(Loaded { config, root, shown });
        }
    }
}

struct Reader<'a> {
    /// Where the repositories are whose files are included.
    known: &'a BTreeMap<String, PathBuf>,
    /// The files in the order in which they are merged.
    configs: Vec<Node>,
    /// Repositories that are not known yet, and where they are included.
    missing: Vec<(String, FilePlace)>,
}

impl Reader<'_> {
    /// Reads a file: its lock file first, then what it includes, then the file itself.
    fn read(&mut self, file: &Path, root: &Path, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(Error::input(format!("{} is included in a circle", file.display())));
        }
        if !file.is_file() {
            return Err(Error::input(format!("there is no kas file {}", file.display()))
                .help("kas looks for repositories in the current directory, or in KAS_WORK_DIR"));
        }
        let config = document::read(file)?;
        check_version(&config)?;
        let lock = lock_file(file);
        if lock.is_file() {
            self.read(&lock, root, depth + 1)?;
        }
        for include in config.get("header").and_then(|header| header.get("includes")).map_or(&[][..], Node::items) {
            self.include(include, file, root, depth)?;
        }
        self.configs.push(config);
        Ok(())
    }

    fn include(&mut self, include: &Node, file: &Path, root: &Path, depth: usize) -> Result<()> {
        if let Some(path) = include.text() {
            let from_root = inside(root, path, &include.place)?;
            let directory = file.parent().unwrap_or(root);
            let found = if from_root.exists() {
                from_root
            } else {
                inside(root, &directory.join(path).to_string_lossy(), &include.place)?
            };
            return self.read(&found, root, depth + 1).map_err(|error| included(error, include));
        }
        let (Some(repository), Some(path)) = (include.text_of("repo"), include.text_of("file")) else {
            return Err(Error::input(format!(
                "{}: an include has neither a path nor `repo` and `file`",
                include.place
            )));
        };
        match self.known.get(repository) {
            Some(directory) => {
                let found = inside(directory, path, &include.place)?;
                self.read(&found, directory, depth + 1).map_err(|error| included(error, include))
            }
            None => {
                self.missing.push((repository.to_owned(), include.place.clone()));
                Ok(())
            }
        }
    }
}

fn included(error: Error, include: &Node) -> Error {
    error.wrap(format!("{}: could not read what is included here", include.place))
}

/// A path that stays inside of a repository.
fn inside(root: &Path, path: &str, place: &FilePlace) -> Result<PathBuf> {
    let joined = root.join(path);
    let found = std::fs::canonicalize(&joined).unwrap_or_else(|_| repositories::normal(&joined));
    let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    if found.starts_with(&root) {
        return Ok(found);
    }
    Err(Error::input(format!("{place}: `{path}` leads out of its repository")).help("kas refuses it too"))
}

/// `NAME.lock.yml` beside `NAME.yml`.
fn lock_file(file: &Path) -> PathBuf {
    let (stem, ending) = (file.file_stem().unwrap_or_default(), file.extension().unwrap_or_default());
    file.with_file_name(format!("{}.lock.{}", stem.to_string_lossy(), ending.to_string_lossy()))
}

/// `header.version` is a number from 1, or `0.10`, which is 1.
fn check_version(config: &Node) -> Result<()> {
    let version = config.get("header").and_then(|header| header.get("version"));
    let Some(node) = version else {
        let fault = Error::input(format!("{} is not a kas file", config.place.file))
            .because("it has no `header` with a `version`");
        return Err(
            fault.help("name a kas file, a configuration of bitbake-setup, a manifest of repo's or a build directory")
        );
    };
    let text = node.text().unwrap_or_default();
    let number = if text == "0.10" { Some(1) } else { text.parse::<u32>().ok() };
    match number {
        Some(1..=NEWEST) => Ok(()),
        Some(newer) if newer > NEWEST => {
            Err(Error::input(format!("{}: kas format {newer} is newer than {NEWEST}", node.place))
                .help("update kbuild; nothing of a newer format is guessed"))
        }
        _ => Err(Error::input(format!("{}: `{text}` is no version of a kas file", node.place))),
    }
}
