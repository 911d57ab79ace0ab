//! `kbuild init`: writes a first kbuild.toml.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::output::{Outcome, Output};
use crate::disk;
use crate::error::{Error, Result};
use crate::files;

/// Writes a kbuild.toml to start with, and a .gitignore if there is none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kbuild init\n  kbuild init boards/lab --name lab")]
pub(in crate::cli) struct InitArgs {
    /// The directory to write to.
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,

    /// The project's name [default: the directory's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl InitArgs {
    pub(in crate::cli) fn run(self, output: &Output) -> Result<Outcome> {
        disk::create_dir_all(&self.directory)?;
        let directory =
            std::fs::canonicalize(&self.directory).map_err(|error| Error::io("find", &self.directory, error))?;
        let there = files::STEMS.map(|stem| directory.join(format!("{stem}.toml")));
        if let Some(there) = there.iter().find(|path| path.exists()) {
            return Err(Error::input(format!("{} already exists", disk::shown(there)))
                .help("edit it, or run `kbuild init` in another directory"));
        }
        let path = directory.join("kbuild.toml");
        let name = self.name.unwrap_or_else(|| default_name(&directory));
        disk::replace(&path, template(&name).as_bytes())?;
        ignore_local_files(&directory)?;
        output.say(&format!("Wrote {}. Next: edit it, then `kbuild lock`", disk::shown(&path)));
        Ok(Outcome::new(json!({ "manifest": path }), ""))
    }
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
