//! `kbuild init`: writes a first kbuild.toml, from nothing or from what another tool has.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::disk;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::foreign::{self, ForeignRequest, FoundProject, Note};

/// Writes a kbuild.toml to start with, and a .gitignore if there is none.
///
/// With `--from`, it brings a project of another tool over: files of kas, a configuration of bitbake-setup, a setup-layers.json, a
/// manifest of repo's, or a build directory of BitBake's. Pins stay pins. What the manifest cannot say is listed, by file and line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild init
  kbuild init boards/lab --name lab
  kbuild init --from kas-project.yml                  a project of kas's
  kbuild init --from kas/base.yml:kas/debug.yml       files that kas joins
  kbuild init --from kas/a.yml --from kas/b.yml       two builds: two boards
  kbuild init --from build                            a build directory as it is
  kbuild init --from poky.conf.json --choose poky     a configuration of bitbake-setup")]
pub(in crate::cli) struct InitArgs {
    /// The directory to write to.
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,

    /// The project's name [default: the directory's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Bring this over: a file or a directory; kas files are joined by colons. May be repeated: each is a board.
    #[arg(long, value_name = "PATH")]
    from: Vec<String>,

    /// Of a bitbake-setup file: the configuration, or one of its choices; may be repeated.
    #[arg(long, value_name = "NAME", requires = "from")]
    choose: Vec<String>,
}

impl InitArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        disk::create_dir_all(&self.directory)?;
        let directory =
            std::fs::canonicalize(&self.directory).map_err(|error| Error::io("find", &self.directory, error))?;
        let there = files::STEMS.map(|stem| directory.join(format!("{stem}.toml")));
        if let Some(there) = there.iter().find(|path| path.exists()) {
            return Err(Error::input(format!("{} already exists", disk::shown(there)))
                .help("edit it, or run `kbuild init` in another directory"));
        }
        let path = directory.join("kbuild.toml");
        let name = self.name.clone().unwrap_or_else(|| default_name(&directory));
        if !self.from.is_empty() {
            return self.bring_over(&path, &name, global, output);
        }
        disk::replace(&path, template(&name).as_bytes())?;
        ignore_local_files(&directory)?;
        output.say(&format!("Wrote {}. Next: edit it, then `kbuild lock`", disk::shown(&path)));
        Ok(Outcome::new(json!({ "manifest": path }), ""))
    }

    fn bring_over(self, path: &Path, name: &str, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let request = ForeignRequest {
            from: self.from,
            choose: self.choose,
            directory: directory.to_owned(),
            work_directory: work_directory()?,
            offline: global.offline(),
        };
        let mut project = foreign::read(&request)?;
        let text = foreign::write::text(&mut project, name, path);
        disk::replace(path, text.as_bytes())?;
        ignore_local_files(directory)?;
        report(&project, path, output);
        Ok(Outcome::new(json(&project, path), ""))
    }
}

/// Where kas would have its checkouts.
fn work_directory() -> Result<PathBuf> {
    let named = std::env::var_os(env_vars::KAS_WORK_DIR).map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from("."));
    std::fs::canonicalize(&path).map_err(|error| Error::io("find", &path, error).of_kind(Kind::Input))
}

fn report(project: &FoundProject, path: &Path, output: &Output) {
    let notes = &project.notes;
    let (layers, boards) = (project.layers.len(), project.boards.len());
    output.say(&format!(
        "Wrote {} with {} and {}. Next: read it, then `kbuild lock`",
        disk::shown(path),
        count(layers, "layer"),
        count(boards, "board")
    ));
    for Note { place, what, why } in &notes.left_out {
        output.warn(&format!("{place}: not carried over: {what} ({why})"));
    }
    if !notes.own.is_empty() {
        let own: Vec<String> = notes.own.iter().map(|note| format!("{} ({})", note.what, note.place)).collect();
        output.say(&format!("Not needed any more: {}", own.join(", ")));
    }
}

fn json(project: &FoundProject, path: &Path) -> Value {
    json!({
        "manifest": path,
        "layers": project.layers.keys().collect::<Vec<_>>(),
        "boards": project.boards.iter().map(|board| &board.name).collect::<Vec<_>>(),
        "left_out": notes_json(&project.notes.left_out),
        "not_needed": notes_json(&project.notes.own),
    })
}

/// What is listed, for programs.
pub(super) fn notes_json(notes: &[Note]) -> Vec<Value> {
    let note =
        |note: &Note| json!({ "file": note.place.file, "line": note.place.line, "what": note.what, "why": note.why });
    notes.iter().map(note).collect()
}

/// What a project has beside what is committed. A `.gitignore` that is there is its owner's.
const GITIGNORE: &str = "/build/\n/mirrors/store/\n/kbuild.local.toml\n";

fn ignore_local_files(directory: &Path) -> Result<()> {
    let path = directory.join(".gitignore");
    if path.exists() { Ok(()) } else { disk::replace(&path, GITIGNORE.as_bytes()) }
}

/// The directory's name, without what a project's name may not contain.
fn default_name(directory: &Path) -> String {
    let name = directory.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let usable = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let name: String = name.chars().map(|c| if usable(c) { c } else { '-' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "project".to_owned() } else { name.to_owned() }
}

fn template(name: &str) -> String {
    include_str!("init.toml").replace("{name}", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn what_is_written_is_a_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kbuild.toml");
        std::fs::write(&path, template(&default_name(Path::new("/srv/my lab")))).unwrap();
        let manifest = Manifest::read(&path).unwrap();
        assert_eq!(manifest.project, "my-lab");
        assert_eq!(manifest.boards.len(), 1);
        assert_eq!(default_name(Path::new("/")), "project");
    }
}
