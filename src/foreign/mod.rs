//! Project files of other tools: kas, bitbake-setup, repo, and BitBake's own build directory.
//!
//! What may enter: the formats of these files, and what of them a manifest can say. Data flows one way: a reader
//! ([`kas`], [`bitbake_setup`], [`repo_manifest`], [`build_directory`]) makes a [`FoundProject`], where each thing has its file
//! and line, and [`mod@write`] makes a manifest of it. [`kas::export`] goes the other way. Nothing here looks at the store.

pub mod bitbake_setup;
pub mod build_directory;
mod conf;
mod document;
mod found;
pub mod kas;
mod merge;
mod mirrors;
mod pinned;
pub mod repo_manifest;
mod repositories;
mod secrets;
mod work_tree;
pub mod write;

use std::path::{Path, PathBuf};

pub use found::{FilePlace, FoundBoard, FoundEnv, FoundLayer, FoundOrigin, FoundProject, FoundRule, Note, Notes};

use crate::error::{Error, Result};

/// What a person asks to be brought over.
#[derive(Debug, Clone)]
pub struct ForeignRequest {
    /// Files or directories; kas files of one build are joined by colons. Each is a board or more.
    pub from: Vec<String>,
    /// Of a bitbake-setup file: the configuration, and the choices of fragments.
    pub choose: Vec<String>,
    /// The directory of the manifest, absolute.
    pub directory: PathBuf,
    /// Where kas has its checkouts, absolute.
    pub work_directory: PathBuf,
    /// Whether no network may be used.
    pub offline: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ForeignKind {
    Kas(Vec<PathBuf>),
    BitbakeSetup(PathBuf),
    RepoManifest(PathBuf),
    BuildDirectory(PathBuf),
}

/// Names of files by which a directory is known as a project of kas's.
const KAS_NAMES: [&str; 6] =
    ["kas-project.yml", "kas-project.yaml", "kas.yml", "kas.yaml", ".config.yaml", "kas/kas-project.yml"];

/// Reads what a person named.
///
/// # Errors
/// Something is not there, is of no known kind, or cannot be read.
pub fn read(request: &ForeignRequest) -> Result<FoundProject> {
    let mut whole = FoundProject::default();
    for text in &request.from {
        let found = match kind_of(text)? {
            ForeignKind::Kas(files) => kas::read(&files, request)?,
            ForeignKind::BitbakeSetup(file) => bitbake_setup::read(&file, request)?,
            ForeignKind::RepoManifest(file) => repo_manifest::read(&file, request)?,
            ForeignKind::BuildDirectory(directory) => build_directory::read(&directory, request)?,
        };
        merge::merge(&mut whole, found);
    }
    Ok(whole)
}

fn kind_of(text: &str) -> Result<ForeignKind> {
    let path = Path::new(text);
    if path.is_dir() {
        return kind_of_directory(path);
    }
    let files: Vec<PathBuf> =
        if path.is_file() { vec![path.to_owned()] } else { text.split(':').map(PathBuf::from).collect() };
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(Error::input(format!("there is no {}", missing.display()))
            .help("`--from` takes a file or a directory; kas files of one build are joined by colons"));
    }
    let name = files[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ending = files[0].extension().unwrap_or_default().to_string_lossy().into_owned();
    match ending.as_str() {
        "xml" => Ok(ForeignKind::RepoManifest(files.into_iter().next().unwrap_or_default())),
        "yml" | "yaml" => Ok(ForeignKind::Kas(files)),
        "json" => {
            let first = document::read(&files[0])?;
            let kas = first.get("header").is_some();
            Ok(if kas {
                ForeignKind::Kas(files)
            } else {
                ForeignKind::BitbakeSetup(files.into_iter().next().unwrap_or_default())
            })
        }
        _ => Err(unknown(&name)),
    }
}

fn kind_of_directory(directory: &Path) -> Result<ForeignKind> {
    if directory.join("conf/bblayers.conf").is_file() {
        return Ok(ForeignKind::BuildDirectory(directory.to_owned()));
    }
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
    if let Some(file) = KAS_NAMES.iter().find_map(|name| there(name)) {
        return Ok(ForeignKind::Kas(vec![file]));
    }
    if let Some(file) = there("setup-layers.json") {
        return Ok(ForeignKind::BitbakeSetup(file));
    }
    if let Some(file) = there(".repo/manifest.xml").or_else(|| there("default.xml")) {
        return Ok(ForeignKind::RepoManifest(file));
    }
    Err(unknown(&directory.display().to_string()))
}

fn unknown(name: &str) -> Error {
    Error::input(format!("{name} is of no kind that can be brought over")).help(
        "name a kas file (.yml, .yaml, .json), a configuration of bitbake-setup (.conf.json), setup-layers.json, a manifest of \
         repo's (.xml), or a build directory (with conf/bblayers.conf)",
    )
}
