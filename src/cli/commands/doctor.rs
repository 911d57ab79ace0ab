//! `kbuild doctor`: checks what a build needs of the host.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::builder::doctor::{self, Check, Host, Verdict};
use crate::builder::seal;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::{self, Project};
use crate::env_vars;
use crate::error::{Error, Result};

/// Checks what a build needs of the host, and says what to install.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kbuild doctor\n  kbuild doctor --board qemu --format json")]
pub(in crate::cli) struct DoctorArgs {
    /// Only what this board needs.
    #[arg(long, short, value_name = "BOARD", env = env_vars::KBUILD_BOARD, hide_env = true)]
    board: Option<String>,
}

impl DoctorArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let (build, store, oe_core) = self.place(global)?;
        let kbuild = seal::this_program();
        let host = Host { build: &build, store: &store, kbuild: &kbuild, path: doctor::own_path(), oe_core };
        let checks = doctor::examine(&host);
        let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
        let lines: Vec<String> = checks.iter().map(|check| describe(check, output)).collect();
        let mut outcome = Outcome::new(json!({ "checks": checks }), lines.join("\n"));
        if failed > 0 {
            outcome.error = Some(
                Error::input(format!("this host cannot build yet: {}", count(failed, "failed check")))
                    .help("follow the hints above, then run `kbuild doctor` again"),
            );
        }
        Ok(outcome)
    }

    /// The build directory, the store, and whether oe-core is used. Outside a project: this directory, and yes.
    fn place(&self, global: &GlobalArgs) -> Result<(PathBuf, PathBuf, bool)> {
        if self.board.is_none() && !project::is_there(global) {
            let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), error))?;
            return Ok((here.join("build"), here.join("mirrors/store"), true));
        }
        let project = Project::open(global)?;
        if let Some(board) = &self.board {
            project.manifest.board(board)?;
        }
        let oe_core = doctor::uses_oe_core(&project.manifest, self.board.as_deref());
        Ok((project.manifest.root().join("build"), project.store_path().to_owned(), oe_core))
    }
}

fn describe(check: &Check, output: &Output) -> String {
    let (mark, color) = match check.verdict {
        Verdict::Ok => ("ok  ", "32"),
        Verdict::Warn => ("warn", "33"),
        Verdict::Fail => ("FAIL", "31"),
    };
    let mut line = format!("{}  {}: {}", output.paint(mark, color), check.name, check.seen);
    if let Some(fix) = &check.fix {
        line.push_str(&format!("\n        {fix}"));
    }
    line
}
