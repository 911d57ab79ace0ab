//! `kbuild audit`: reads layers, and lists what reaches the network outside SRC_URI and what floats.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use kbuild_audit::{AuditReport, Finding, Rule};
use serde_json::{Value, json};

use crate::builder::layers;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::LayerOrigin;

/// Finds where layers reach the network outside SRC_URI, or float, without running BitBake.
///
/// Reads recipes, bbappends, includes, classes and configuration, in old and new syntax. Exits with 1 if it finds
/// something. To allow a finding, write this comment at its line: `# kbuild-audit: allow KIND because REASON`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild audit                        the layers of kbuild.toml
  kbuild audit --board qemu           those of one board
  kbuild audit ../meta-openembedded   every layer in a directory, of any release
  kbuild audit --format json layers")]
pub(in crate::cli) struct AuditArgs {
    /// Layers, or directories that contain layers [default: the layers of kbuild.toml]
    #[arg(value_name = "PATH", conflicts_with = "boards")]
    paths: Vec<PathBuf>,

    /// Only the layers of these boards.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,
}

impl AuditArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let paths = if self.paths.is_empty() { self.of_the_project(global, output)? } else { self.paths };
        let absolute = |path: PathBuf| {
            fs::canonicalize(&path)
                .map_err(|error| Error::input(format!("there is no {}", path.display())).because(error))
        };
        let paths: Vec<PathBuf> = paths.into_iter().map(absolute).collect::<Result<_>>()?;
        let report = kbuild_audit::find(&paths).and_then(kbuild_audit::audit).map_err(unreadable)?;
        let mut outcome = Outcome::new(document(&report), text(&report, output));
        let read = format!("{} of {}", count(report.files, "file"), count(report.layers.len(), "layer"));
        if report.findings.is_empty() {
            let allowed = match report.allowed {
                0 => String::new(),
                allowed => format!(", {allowed} allowed by a comment"),
            };
            output.say(&format!("{read}: nothing reaches the network outside SRC_URI or floats{allowed}"));
        } else {
            let found = count(report.findings.len(), "finding");
            outcome.error = Some(Error::input(format!("{found} in {read}")).help(
                "fix each as its hint says, or write `# kbuild-audit: allow KIND because REASON` before its line",
            ));
        }
        Ok(outcome)
    }

    /// The layers of the manifest, or of the named boards; git layers at the commits of the lock.
    fn of_the_project(&self, global: &GlobalArgs, output: &Output) -> Result<Vec<PathBuf>> {
        let project = Project::open(global)?;
        let manifest = &project.manifest;
        let mut names = BTreeSet::new();
        let all = || manifest.boards.keys().cloned().collect();
        for board in if self.boards.is_empty() { all() } else { self.boards.clone() } {
            names.extend(manifest.board(&board)?.layers.iter().cloned());
        }
        let mut directories = Vec::new();
        let mut git = Vec::new();
        for name in &names {
            match manifest.layers.get(name).map(|layer| &layer.origin) {
                Some(LayerOrigin::Path(path)) => directories.extend(layers::local_directories(manifest, name, path)?),
                _ => git.push(name),
            }
        }
        if !git.is_empty() {
            let (lock, store) = (project.lock(global, output)?, project.store()?);
            let from = layers::From { manifest, lock: &lock, store: &store, progress: output.progress.as_ref() };
            for name in git {
                directories.extend(layers::git_directories(&from, name)?);
            }
        }
        Ok(directories)
    }
}

/// A failure to read layers, as kbuild says it.
fn unreadable(error: kbuild_audit::Error) -> Error {
    match error {
        kbuild_audit::Error::NoDirectory(path) => {
            Error::input(format!("{} is not a directory", disk::shown(&path))).help("name directories with layers")
        }
        kbuild_audit::Error::NoLayer(path) => {
            Error::input(format!("there is no BitBake layer in {}", disk::shown(&path)))
                .help("a layer is a directory with conf/layer.conf in it")
        }
        kbuild_audit::Error::Read { path, source } => Error::io("read", &path, source),
    }
}

fn document(report: &AuditReport) -> Value {
    let finding = |finding: &Finding| {
        let mut value = json!(finding);
        value["file"] = json!(disk::shown(&finding.file));
        value["why"] = json!(finding.kind.why());
        value["hint"] = json!(finding.kind.hint());
        value
    };
    let layers: Vec<Value> = report
        .layers
        .iter()
        .map(|layer| json!({ "name": layer.name, "directory": disk::shown(&layer.directory) }))
        .collect();
    json!({
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "layers": layers,
        "files": report.files,
        "allowed": report.allowed,
    })
}

/// One line for each finding, as compilers and linters print it; at the end, what each kind means.
fn text(report: &AuditReport, output: &Output) -> String {
    let mut text = String::new();
    let mut file = None;
    for finding in &report.findings {
        if file.is_some_and(|file| file != &finding.file) {
            text.push('\n');
        }
        file = Some(&finding.file);
        let kind = output.paint(finding.kind.name(), "33");
        text.push_str(&format!("{}:{}: {kind}: {}\n", disk::shown(&finding.file), finding.line, finding.message));
    }
    for kind in Rule::ALL.into_iter().filter(|kind| report.findings.iter().any(|finding| finding.kind == *kind)) {
        text.push_str(&format!("\n{}: {}\n  {}\n", output.paint(kind.name(), "33"), kind.why(), kind.hint()));
    }
    text.trim_end().to_owned()
}
