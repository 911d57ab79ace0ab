//! `kbuild completions`: prints completions for a shell on stdout.

use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;
use serde_json::json;

use crate::cli::output::Outcome;
use crate::env_vars;
use crate::error::{Error, Result};

/// Prints completions for a shell.
///
/// The shell then asks kbuild itself, so that it offers the boards, options, layers and recipes of the project that it stands in.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild completions bash > ~/.local/share/bash-completion/completions/kbuild
  kbuild completions zsh > \"${fpath[1]}/_kbuild\"
  kbuild completions fish > ~/.config/fish/completions/kbuild.fish")]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionsArgs {
    pub(in crate::cli) fn run(self) -> Result<Outcome> {
        let shells = Shells::builtins();
        let name = self.shell.to_string();
        let shell = shells.completer(&name).ok_or_else(|| Error::bug(format!("no completions for {name}")))?;
        let mut script = Vec::new();
        let written = shell.write_registration(env_vars::COMPLETE, "kbuild", "kbuild", "kbuild", &mut script);
        written.map_err(|error| Error::bug("a script in memory could not be written").because(error))?;
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        Ok(Outcome::new(json!({ "script": script }), script))
    }
}
