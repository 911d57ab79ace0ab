//! `kbuild matrix`: the builds of a project as the matrix of a service that runs them, one board a runner.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::error::Result;
use crate::manifest::Manifest;

/// Prints the builds of a project as a matrix, for a service that runs one board a runner over one cache.
///
/// `kbuild explain farm` has an example for each service.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild matrix --for github                       {\"include\": [{\"board\": \"qemu\", …}, …]}, for fromJSON
  kbuild matrix --for gitlab > pipeline.yml        a child pipeline
  kbuild matrix --for jenkins                      [{\"board\": \"qemu\", …}, …], for readJSON
  kbuild matrix --for github --options             also each other choice of each option")]
pub(in crate::cli) struct MatrixArgs {
    /// The service.
    #[arg(long = "for", value_name = "SERVICE")]
    service: MatrixService,

    /// Only these boards; may be repeated.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Also a build for each other choice of each option that a board can have.
    #[arg(long)]
    options: bool,
}

/// What a matrix is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MatrixService {
    /// GitHub Actions: the value of `strategy.matrix`.
    Github,
    /// GitLab: a child pipeline whose job extends `.kbuild`.
    Gitlab,
    /// Jenkins: a list for a scripted pipeline.
    Jenkins,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MatrixJob {
    board: String,
    /// `OPTION=CHOICE` or `FLAG`; nothing for the defaults.
    set: Option<String>,
}

impl MatrixJob {
    fn name(&self) -> String {
        match &self.set {
            Some(set) => format!("{} {set}", self.board),
            None => self.board.clone(),
        }
    }

    /// The arguments of `kbuild build`.
    fn arguments(&self) -> String {
        match &self.set {
            Some(set) => format!("--board {} --set {set}", self.board),
            None => format!("--board {}", self.board),
        }
    }

    fn json(&self) -> Value {
        let set = self.set.clone().unwrap_or_default();
        json!({ "name": self.name(), "board": self.board, "set": set, "args": self.arguments() })
    }
}

impl MatrixArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, _output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let manifest = &project.manifest;
        let boards = if self.boards.is_empty() { manifest.boards.keys().cloned().collect() } else { self.boards };
        let mut jobs = Vec::new();
        for board in boards {
            manifest.board(&board)?;
            jobs.push(MatrixJob { board: board.clone(), set: None });
            if self.options {
                jobs.extend(choices(manifest, &board).map(|set| MatrixJob { board: board.clone(), set: Some(set) }));
            }
        }
        let list: Vec<Value> = jobs.iter().map(MatrixJob::json).collect();
        let text = match self.service {
            MatrixService::Github => json!({ "include": list }).to_string(),
            MatrixService::Jenkins => json!(list).to_string(),
            MatrixService::Gitlab => pipeline(&jobs),
        };
        Ok(Outcome::new(json!({ "jobs": list }), text))
    }
}

/// What a board can have set beside its defaults, one thing at a time. What is refused for it, or contradicts its own settings,
/// is left out.
fn choices<'a>(manifest: &'a Manifest, board: &'a str) -> impl Iterator<Item = String> + 'a {
    let base = manifest.select(board, &[]).ok();
    let options = manifest.options.iter().filter(move |(_, option)| option.is_for(board));
    options.flat_map(|(name, option)| option.settings(name)).filter(move |set| {
        let selected = manifest.select(board, std::slice::from_ref(set));
        // The default itself changes nothing.
        selected.is_ok_and(|selection| base.as_ref().is_none_or(|base| !selection.is_built_as(base)))
    })
}

/// A child pipeline (`trigger: include: artifact`). Strings are JSON's, which YAML reads too.
fn pipeline(jobs: &[MatrixJob]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = vec!["# Written by `kbuild matrix`.".to_owned(), "include:".to_owned()];
    lines.push("  - local: .gitlab/kbuild.yml".to_owned());
    for job in jobs {
        lines.push(format!("{}:", quoted(&job.name())));
        lines.push("  extends: .kbuild".to_owned());
        lines.push("  variables:".to_owned());
        lines.push(format!("    KBUILD_ARGS: {}", quoted(&job.arguments())));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
[project]
name = "x"
[layers.bitbake]
path = "bitbake"
[layers.core]
path = "core"
[options.boot]
choices = { initrd = "boot-initrd", rootfs = "boot-rootfs", net = "boot-net" }
default = "initrd"
refused = [{ choices = ["net"], boards = ["b"], why = "no network" }]
[options.debug]
flag = "debug"
boards = ["a"]
[boards.a]
machine = "a"
layers = ["core"]
targets = ["image"]
[boards.b]
machine = "b"
layers = ["core"]
targets = ["image"]
"#;

    #[test]
    fn each_choice_that_a_board_can_have_is_a_build() {
        let project = tempfile::tempdir().unwrap();
        ["bitbake", "core"].iter().for_each(|layer| std::fs::create_dir(project.path().join(layer)).unwrap());
        let manifest = Manifest::parse(&project.path().join("kbuild.toml"), MANIFEST).unwrap();
        assert_eq!(choices(&manifest, "a").collect::<Vec<_>>(), ["boot=rootfs", "boot=net", "debug"]);
        assert_eq!(choices(&manifest, "b").collect::<Vec<_>>(), ["boot=rootfs"]);
    }

    #[test]
    fn a_pipeline_has_a_job_for_each_build() {
        let jobs = [
            MatrixJob { board: "a".to_owned(), set: None },
            MatrixJob { board: "a".to_owned(), set: Some("boot=net".to_owned()) },
        ];
        insta::assert_snapshot!(pipeline(&jobs), @r#"
        # Written by `kbuild matrix`.
        include:
          - local: .gitlab/kbuild.yml
        "a":
          extends: .kbuild
          variables:
            KBUILD_ARGS: "--board a"
        "a boot=net":
          extends: .kbuild
          variables:
            KBUILD_ARGS: "--board a --set boot=net"
        "#);
        assert_eq!(jobs[1].json()["args"], "--board a --set boot=net");
    }
}
