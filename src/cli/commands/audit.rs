//! `kbuild audit`: reads layers, and lists what reaches the network outside SRC_URI and what floats.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use kbuild_audit::{Allow, AuditReport, Baseline, Finding, Rule};
use serde_json::{Value, json};

use crate::builder::layers::{self, LayerChanges};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::sarif;
use crate::disk;
use crate::error::{Error, Result};
use crate::files::MANIFEST;
use crate::manifest::LayerOrigin;
use crate::suggest;

/// Finds where layers reach the network outside SRC_URI, or float, without running BitBake.
///
/// Reads recipes, bbappends, includes, classes and configuration, in old and new syntax. Exits with 1 if it finds
/// something. To allow a finding, write this comment at its line: `# kbuild-audit: allow KIND because REASON`; in layers that
/// are somebody else's, `[audit] allow` of kbuild.toml does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild audit                        the layers of kbuild.toml
  kbuild audit --board qemu           those of one board
  kbuild audit ../meta-openembedded   every layer in a directory, of any release
  kbuild audit --write-baseline audit.json
  kbuild audit --baseline audit.json --sarif audit.sarif
  kbuild audit --format json layers")]
pub(in crate::cli) struct AuditArgs {
    /// Layers, or directories that contain layers [default: the layers of kbuild.toml]
    #[arg(value_name = "PATH", conflicts_with = "boards")]
    paths: Vec<PathBuf>,

    /// Only the layers of these boards.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Report only what this file, of an earlier --write-baseline, does not have.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Write what is found into this file, and exit with 0.
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,

    /// Write the findings into this file as SARIF 2.1.0 too, for code scanning services.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

impl AuditArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = self.paths.is_empty().then(|| Project::open(global)).transpose()?;
        let paths = match &project {
            Some(project) => self.of_the_project(project, global, output)?,
            None => self.paths.clone(),
        };
        let absolute = |path: PathBuf| {
            fs::canonicalize(&path)
                .map_err(|error| Error::input(format!("there is no {}", path.display())).because(error))
        };
        let paths: Vec<PathBuf> = paths.into_iter().map(absolute).collect::<Result<_>>()?;
        let mut report = kbuild_audit::find(&paths).and_then(kbuild_audit::audit).map_err(unreadable)?;
        if let Some(project) = &project {
            leave_out(&mut report, project, output)?;
        }
        if let Some(file) = &self.write_baseline {
            let text = serde_json::to_string_pretty(&report.baseline())
                .map_err(|error| Error::bug("a baseline cannot be written as JSON").because(error))?;
            disk::replace(file, format!("{text}\n").as_bytes())?;
            output.say(&format!("{} written to {}", count(report.findings.len(), "finding"), disk::shown(file)));
            return Ok(Outcome::new(document(&report), ""));
        }
        if let Some(file) = &self.baseline {
            let (known, gone) = report.leave_out_known(&read_baseline(file)?);
            output.say(&format!("{} known to {}, {gone} of it gone", count(known, "finding"), disk::shown(file)));
        }
        if let Some(file) = &self.sarif {
            disk::replace(file, sarif::document(&report).to_string().as_bytes())?;
        }
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
    fn of_the_project(&self, project: &Project, global: &GlobalArgs, output: &Output) -> Result<Vec<PathBuf>> {
        let manifest = &project.manifest;
        let mut names = BTreeSet::new();
        let all = || manifest.boards.keys().cloned().collect();
        for board in if self.boards.is_empty() { all() } else { self.boards.clone() } {
            names.extend(manifest.layers_of(&board)?);
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
            // What somebody edited in a checkout is read as it is, and said.
            let changes = LayerChanges { allow_dirty: true, ..LayerChanges::default() };
            let progress = output.progress.as_ref();
            let from = layers::From { manifest, lock: &lock, store: &store, changes: &changes, progress };
            for name in git {
                directories.extend(layers::git_directories(&from, name)?);
            }
        }
        Ok(directories)
    }
}

/// Takes out what the manifest allows, and what floats in recipes whose commit the manifest gives.
fn leave_out(report: &mut AuditReport, project: &Project, output: &Output) -> Result<()> {
    let manifest = &project.manifest;
    let pinned: BTreeSet<String> =
        manifest.sources.values().flat_map(|source| source.recipes.iter().cloned()).collect();
    let count_pinned = report.leave_out_pinned(&pinned);
    if count_pinned > 0 {
        output.say(&format!("{} not counted: {MANIFEST} gives the commit", count(count_pinned, "moving revision")));
    }
    let allow = manifest.allowed_findings.iter().map(|allowed| {
        let rule = Rule::from_name(&allowed.rule).ok_or_else(|| {
            let known: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
            let help = suggest::did_you_mean(&allowed.rule, known.iter().copied(), 1);
            Error::input(format!("[audit] of {MANIFEST} allows an unknown rule `{}`", allowed.rule.escape_debug()))
                .help(help.unwrap_or_else(|| known.join(", ")))
        })?;
        Ok(Allow { rule, layer: allowed.layer.clone(), recipe: allowed.recipe.clone() })
    });
    for unused in report.allow(&allow.collect::<Result<Vec<_>>>()?) {
        let allowed = &manifest.allowed_findings[unused];
        output.warn(&format!("[audit] of {MANIFEST} allows a {} that is not there ({})", allowed.rule, allowed.why));
    }
    Ok(())
}

fn read_baseline(file: &Path) -> Result<Baseline> {
    let text = fs::read_to_string(file).map_err(|error| Error::io("read", file, error))?;
    let baseline: Baseline = serde_json::from_str(&text).map_err(|error| {
        Error::input(format!("{} is no baseline of `kbuild audit`", disk::shown(file)))
            .because(error)
            .help("write one with `kbuild audit --write-baseline FILE`")
    })?;
    if baseline.version > 1 {
        return Err(Error::input(format!("{} was written by a newer kbuild", disk::shown(file))));
    }
    Ok(baseline)
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
