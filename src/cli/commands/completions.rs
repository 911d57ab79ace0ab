//! `kbuild completions`: prints completions for a shell on stdout.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::cli::output::Outcome;
use crate::error::Result;

/// Prints completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kbuild completions bash > ~/.local/share/bash-completion/completions/kbuild")]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionsArgs {
    pub(in crate::cli) fn run(self, command: &mut clap::Command) -> Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "kbuild", &mut script);
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        Ok(Outcome::new(json!({ "script": script }), script))
    }
}
