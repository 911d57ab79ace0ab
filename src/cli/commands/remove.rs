//! `kbuild remove`: takes a layer or a declared source out of kbuild.toml, and locks the rest.

use std::path::Path;

use clap::Args;

use super::add::settle;
use super::lock::may_change;
use crate::bounds;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::{LayerOrigin, Manifest, ManifestEdit, PinSection, variable_part};

/// Endings of files that BitBake reads in a layer.
const METADATA: [&str; 5] = ["bb", "bbappend", "bbclass", "conf", "inc"];

/// The most places that an error names.
const PLACES: usize = 5;

/// Takes a layer or a source out of kbuild.toml, and locks the rest.
///
/// What a board, the engine or a recipe of the project still uses is refused, with each place. The file is changed in its place:
/// other comments and the order stay. It is written together with the lock, or not at all.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild remove meta-arm
  kbuild remove zlib --no-lock   change kbuild.toml alone")]
pub(in crate::cli) struct RemoveArgs {
    /// The layer or source.
    name: String,

    /// Change kbuild.toml alone.
    #[arg(long)]
    no_lock: bool,
}

impl RemoveArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        may_change(global, "remove")?;
        let project = Project::open(global)?;
        let section = project.manifest.section_of(&self.name)?;
        if section == PinSection::Sources {
            check_recipes(&project.manifest, &self.name)?;
        }
        let mut edit = ManifestEdit::open(&project.manifest.path)?;
        edit.remove(section, &self.name)?;
        settle(project, edit, global, output, self.no_lock)
    }
}

/// Refuses to remove a source that metadata of the project reads, by its variables.
fn check_recipes(manifest: &Manifest, source: &str) -> Result<()> {
    let variable = format!("KBUILD_{}_", variable_part(source));
    let folders = manifest.layers.values().filter_map(|layer| match &layer.origin {
        LayerOrigin::Path(path) => Some(manifest.root().join(path)),
        LayerOrigin::Git(_) => None,
    });
    let places: Vec<String> = folders.flat_map(|folder| readers(&folder, &variable)).collect();
    if places.is_empty() {
        return Ok(());
    }
    let more = places.len().saturating_sub(PLACES);
    let shown = places[..places.len() - more].join("\n");
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    Err(Error::input(format!("source `{source}` is used, and cannot be removed"))
        .because(format!("{variable}… is read in\n{shown}{more}"))
        .help("change these first"))
}

/// The lines of a layer's metadata that name a variable, as `path:line`.
fn readers(folder: &Path, variable: &str) -> Vec<String> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(std::result::Result::ok);
    let metadata = files.filter(|entry| {
        let ending = entry.path().extension().and_then(|ending| ending.to_str());
        entry.file_type().is_file() && ending.is_some_and(|ending| METADATA.contains(&ending))
    });
    let mut found = Vec::new();
    for entry in metadata {
        let Ok(text) = disk::read_regular_text(entry.path(), bounds::FILE_OF_SOURCE) else { continue };
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains(variable));
        found.extend(lines.map(|(number, _)| format!("{}:{}", disk::shown(entry.path()), number + 1)));
    }
    found
}
