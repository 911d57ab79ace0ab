//! Two results beside each other: which artifacts differ, where in them, and what of the builds may explain it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::inside_artifacts::{FirstDifference, first_difference};
use super::prepare::deploy;
use super::result::{self, BuildResult, Difference, DifferenceKind, FILE_NAME};
use crate::error::{Error, Result};

/// How many artifacts that differ are opened.
const OPENED: usize = 5;

/// A result, with the directory that it is of.
#[derive(Debug, Clone)]
pub struct FoundResult {
    /// The result.
    pub result: BuildResult,
    /// Where its artifacts are, if they are still there.
    deploy: PathBuf,
}

/// What two results do not agree on.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    /// Number of artifacts that are the same.
    pub same: usize,
    /// The others.
    pub different: Vec<DifferentArtifact>,
    /// What of the builds differs, a phrase each: where a difference has to be looked for.
    pub inputs: Vec<String>,
}

/// An artifact that two results do not agree on.
#[derive(Debug, Clone, Serialize)]
pub struct DifferentArtifact {
    /// Which, and in what way.
    #[serde(flatten)]
    pub difference: Difference,
    /// Where it differs first, where both artifacts could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<FirstDifference>,
}

impl FoundResult {
    /// Reads a result: its file, or the directory of the board that it is in.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(path: &Path) -> Result<FoundResult> {
        let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        if !file.is_file() {
            let error = Error::input(format!("there is no result at {}", file.display()));
            return Err(error.help("name a result.json, or the directory of a board: build/BOARD"));
        }
        let result = BuildResult::read(&file)?;
        let deploy = deploy(file.parent().unwrap_or(Path::new(".")), &result.inputs.machine);
        Ok(FoundResult { result, deploy })
    }
}

/// Compares two results. Artifacts that differ are opened where both are still there.
///
/// # Errors
/// An artifact cannot be read.
pub fn compare_results(first: &FoundResult, second: &FoundResult) -> Result<Comparison> {
    let differences = result::compare(&first.result.artifacts, &second.result.artifacts);
    let only_second = differences.iter().filter(|found| found.what == DifferenceKind::OnlySecond).count();
    let same = first.result.artifacts.len() + only_second - differences.len();
    let mut different = Vec::new();
    for (number, difference) in differences.into_iter().enumerate() {
        let files = (first.deploy.join(&difference.path), second.deploy.join(&difference.path));
        let there = files.0.is_file() && files.1.is_file();
        let open = number < OPENED && there && difference.what == DifferenceKind::Bytes;
        let found = if open { first_difference(&files.0, &files.1)? } else { None };
        different.push(DifferentArtifact { difference, first: found });
    }
    Ok(Comparison { same, different, inputs: inputs(&first.result, &second.result) })
}

/// What of two builds differs.
fn inputs(first: &BuildResult, second: &BuildResult) -> Vec<String> {
    let (a, b) = (&first.inputs, &second.inputs);
    let mut found = Vec::new();
    let mut unless = |same: bool, what: String| found.extend((!same).then_some(what));
    unless(a.board == b.board, format!("board: {} and {}", a.board, b.board));
    unless(a.machine == b.machine, format!("machine: {} and {}", a.machine, b.machine));
    unless(a.options == b.options, "options".to_owned());
    unless(a.lock == b.lock, "lock: other sources".to_owned());
    unless(a.engine == b.engine, format!("BitBake: {} and {}", a.engine.version, b.engine.version));
    for layer in &a.layers {
        let other = b.layers.iter().find(|other| other.name == layer.name);
        unless(other.is_some_and(|other| other.tree == layer.tree), format!("layer {}", layer.name));
    }
    unless(a.layers.len() == b.layers.len(), "layers: more in one".to_owned());
    unless(first.targets == second.targets, "targets".to_owned());
    unless(a.sealed == b.sealed, "seal: whole in one alone".to_owned());
    for (tool, version) in &a.host_tools {
        let other = b.host_tools.get(tool).cloned().flatten();
        let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        unless(*version == other, format!("host tool {tool}: {} and {}", shown(version), shown(&other)));
    }
    unless(first.kbuild == second.kbuild, format!("kbuild: {} and {}", first.kbuild, second.kbuild));
    found
}
