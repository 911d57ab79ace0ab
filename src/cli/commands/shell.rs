//! `kbuild shell`: BitBake by hand, in the environment and the sandbox of a build.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::build::BoardArgs;
use crate::builder::{self, Asked, BuildDir, BuildRequest};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::env_vars;
use crate::error::Result;

/// Opens a shell in a board's build, to run BitBake by hand.
///
/// The environment is that of `kbuild build`: the same configuration, no network, the store read-only.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild shell --board qemu
  kbuild shell --board qemu -- bitbake -e virtual/kernel")]
pub(in crate::cli) struct ShellArgs {
    #[command(flatten)]
    board: BoardArgs,

    /// Run this instead of an interactive shell; kbuild ends with its exit status.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl ShellArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let board = self.board.open(global, output)?;
        let request = BuildRequest { asked: Asked::Anything, ..board.request(output) };
        let prepared = builder::prepare(&request, BuildDir::Build)?;
        if self.command.is_empty() {
            output.say(&prepared.notice());
        }
        let shell = std::env::var_os(env_vars::SHELL);
        let status = builder::shell(&prepared, &self.command, shell.as_deref(), output.progress.as_ref())?;
        let mut outcome = Outcome::new(json!({ "status": status }), "");
        outcome.exit = Some(u8::try_from(status).unwrap_or(1));
        Ok(outcome)
    }
}
