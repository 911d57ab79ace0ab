//! `kbuild crates`: makes a recipe's `crate://` include from a Cargo.lock.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::crates::{CargoLock, Include, Submodules};
use crate::disk;
use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::lock::{Lock, Locked};
use crate::suggest;

/// The value of `--submodules` that means every repository.
const ALL: &str = "all";

/// The most differences, and the most locks, that a message lists.
const LISTED: usize = 10;

/// Writes the include with which a recipe fetches the packages of a Cargo.lock.
///
/// Packages of registries become `crate://` entries of SRC_URI with their checksums. Git dependencies become `git://`
/// entries at the locked commit. The lock is a file, or a file inside a source of kbuild.lock. With `inherit kbuild_crates`
/// (meta-kbuild) cargo finds all of them offline.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild crates Cargo.lock -o recipes/tally/tally-crates.inc
  kbuild crates --source kata-containers --package kata-agent
  kbuild crates --source virtiofsd                                         from a released crate
  kbuild crates --source tally --check recipes/tally/tally-crates.inc      for CI: exit code 1 if they differ

The recipe says `require tally-crates.inc` and `inherit kbuild_crates`.")]
pub(in crate::cli) struct CratesArgs {
    /// The lock that cargo wrote [default: Cargo.lock]
    #[arg(value_name = "CARGO_LOCK", conflicts_with = "source")]
    file: Option<PathBuf>,

    /// Read the lock from this source of kbuild.toml, as kbuild.lock pins it and the store has it: a repository, a crate, or
    /// another tar archive packed with gzip.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Path of the lock inside the source; in an archive, below its top directory.
    #[arg(long, value_name = "PATH", requires = "source", default_value = "Cargo.lock")]
    path: PathBuf,

    /// Only what this package of the workspace needs; may be repeated.
    #[arg(long, short, value_name = "PACKAGE")]
    package: Vec<String>,

    /// Also fetch the submodules of this git dependency (its name, or `all`); may be repeated. A Cargo.lock does not
    /// say which repositories have submodules.
    #[arg(long, value_name = "NAME")]
    submodules: Vec<String>,

    /// Write to this file, not to stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Compare this file with what would be written; exit code 1 if they differ.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,
}

impl CratesArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let (name, text) = self.lock(global, output)?;
        let mut lock = CargoLock::parse(&name, &text)?;
        if !self.package.is_empty() {
            lock = lock.only(&self.package)?;
        }
        let include = Include::of(&lock, &self.submodules())?;
        let made = self.made();
        let text = include.text(&made)?;
        let counted = format!(
            "{}, {}",
            count(include.crates.len(), "crate"),
            match include.repositories.len() {
                1 => "1 repository".to_owned(),
                several => format!("{several} repositories"),
            }
        );
        let mut outcome = Outcome::new(json_of(&include, self.output.as_deref()), "");
        if let Some(file) = &self.check {
            compare(file, &text, &self.words(&self.file()))?;
            output.say(&format!("{} agrees with the lock: {counted}", disk::shown(file)));
        } else if let Some(file) = &self.output {
            let changed = disk::replace_if_changed(file, text.as_bytes())?;
            let how = if changed { "written" } else { "unchanged" };
            output.say(&format!("{} {how}: {counted}", disk::shown(file)));
        } else {
            text.trim_end().clone_into(&mut outcome.text);
        }
        Ok(outcome)
    }

    /// The lock's name in messages, and its text.
    fn lock(&self, global: &GlobalArgs, output: &Output) -> Result<(String, String)> {
        let (name, bytes) = match &self.source {
            None => {
                let file = self.file();
                let read = std::fs::read(&file).map_err(|error| Error::io("read", &file, error));
                (
                    disk::shown(&file),
                    read.map_err(|error| {
                        error.help("name the Cargo.lock, or a source that contains it: `--source NAME`")
                    })?,
                )
            }
            Some(source) => self.lock_of_source(source, global, output)?,
        };
        let text =
            String::from_utf8(bytes).map_err(|error| Error::input(format!("{name} is not UTF-8")).because(error))?;
        Ok((name, text))
    }

    fn file(&self) -> PathBuf {
        self.file.clone().unwrap_or_else(|| PathBuf::from("Cargo.lock"))
    }

    fn lock_of_source(&self, source: &str, global: &GlobalArgs, output: &Output) -> Result<(String, Vec<u8>)> {
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let locked = locked(&lock, source)?;
        let missing = || {
            Error::new(crate::error::Kind::Missing, format!("the source `{source}` is not in the store"))
                .help("run `kbuild fetch`")
        };
        let store = project.present_store()?.ok_or_else(missing)?;
        match store.file_of(locked, &self.path)? {
            Some(bytes) => Ok((format!("{source}/{}", self.path.display()), bytes)),
            None => {
                let error = Error::input(format!("there is no {} in the source `{source}`", self.path.display()));
                let found = store.files_called(locked, "Cargo.lock")?;
                let shown = found.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
                Err(if found.is_empty() {
                    error.help("the source contains no Cargo.lock")
                } else {
                    error.help(format!("name one with `--path`: {shown}"))
                })
            }
        }
    }

    fn submodules(&self) -> Submodules {
        if self.submodules.iter().any(|name| name == ALL) {
            return Submodules::All;
        }
        if self.submodules.is_empty() { Submodules::None } else { Submodules::Of(self.submodules.clone()) }
    }

    /// The command, without what does not change the output: where the file is on this machine.
    fn made(&self) -> String {
        self.words(Path::new(self.file().file_name().unwrap_or_default()))
    }

    fn words(&self, file: &Path) -> String {
        let mut words = vec!["kbuild crates".to_owned()];
        match &self.source {
            Some(source) if self.path == Path::new("Cargo.lock") => words.push(format!("--source {source}")),
            Some(source) => words.push(format!("--source {source} --path {}", self.path.display())),
            None => words.push(file.display().to_string()),
        }
        let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        words.extend(sorted(&self.package).iter().map(|name| format!("--package {name}")));
        words.extend(sorted(&self.submodules).iter().map(|name| format!("--submodules {name}")));
        words.join(" ")
    }
}

fn locked<'a>(lock: &'a Lock, source: &str) -> Result<Locked<'a>> {
    let Some(pin) = lock.sources.get(source) else {
        let known = || lock.sources.keys().map(String::as_str);
        let error = Error::input(format!("{LOCK} has no source `{}`", source.escape_debug()));
        return Err(match suggest::did_you_mean(source, known(), 1) {
            Some(question) => error.help(question),
            None => error.help(format!("sources: {}", known().collect::<Vec<_>>().join(", "))),
        });
    };
    lock.get(&pin.locked)
}

fn json_of(include: &Include, file: Option<&Path>) -> Value {
    let crates = include.crates.iter().map(|package| {
        json!({ "name": package.name, "version": package.version, "registry": package.registry, "sha256": package.sha256 })
    });
    let repositories = include.repositories.iter().map(|repository| {
        let (url, commit) = (repository.url.as_str(), repository.commit.to_string());
        json!({ "name": repository.name, "url": url, "commit": commit, "submodules": repository.submodules })
    });
    json!({ "crates": crates.collect::<Vec<_>>(), "repositories": repositories.collect::<Vec<_>>(), "output": file })
}

/// Shows the lines that only one of the two has: what a person wants to see. Their order follows from the rest.
fn compare(file: &Path, text: &str, command: &str) -> Result<()> {
    let help = format!("run `{command} -o {}`", file.display());
    let present = std::fs::read_to_string(file).map_err(|error| Error::io("read", file, error).help(help.clone()))?;
    if present == text {
        return Ok(());
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (present.lines().collect(), text.lines().collect());
    let bare = |line: &str| line.trim_end_matches('\\').trim().to_owned();
    let gone = old.difference(&new).map(|line| format!("- {}", bare(line)));
    let come = new.difference(&old).map(|line| format!("+ {}", bare(line)));
    let differ: Vec<String> = gone.chain(come).collect();
    let more = if differ.len() > LISTED { format!("\n… and {} more", differ.len() - LISTED) } else { String::new() };
    let error = Error::input(format!("{} does not agree with the lock", disk::shown(file))).help(help);
    Err(match differ.as_slice() {
        [] => error.because("its lines are in another order, or it was cut short"),
        _ => error.because(format!("{}{more}", differ[..differ.len().min(LISTED)].join("\n"))),
    })
}
