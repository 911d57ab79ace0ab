//! `kbuild man`: writes the manual pages.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::output::{Outcome, Output, count};
use crate::disk;
use crate::error::{Error, Result};

/// Writes the manual pages of all commands to a directory, such as `~/.local/share/man/man1`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kbuild man ~/.local/share/man/man1 && man kbuild-build")]
pub(in crate::cli) struct ManArgs {
    /// The directory to write to; it is made if it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ManArgs {
    pub(in crate::cli) fn run(self, command: clap::Command, output: &Output) -> Result<Outcome> {
        disk::create_dir_all(&self.directory)?;
        let mut pages = Vec::new();
        self.write(command.disable_help_subcommand(true), "", &mut pages)?;
        output.say(&format!("Wrote {} to {}", count(pages.len(), "page"), disk::shown(&self.directory)));
        Ok(Outcome::new(json!({ "pages": pages }), ""))
    }

    /// The page of a command, and those of its commands: `kbuild.1`, `kbuild-cache.1`, `kbuild-cache-push.1`.
    fn write(&self, mut command: clap::Command, above: &str, pages: &mut Vec<String>) -> Result<()> {
        // Only a command that was built has the options that all commands have.
        command.build();
        let name =
            if above.is_empty() { command.get_name().to_owned() } else { format!("{above}-{}", command.get_name()) };
        for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
            self.write(below.clone().disable_help_subcommand(true), &name, pages)?;
        }
        let mut page = Vec::new();
        let path = self.directory.join(format!("{name}.1"));
        let man = clap_mangen::Man::new(command.display_name(name.clone())).title(name.clone());
        let man = man.source(concat!("kbuild ", env!("CARGO_PKG_VERSION")));
        man.render(&mut page).map_err(|error| Error::io("write", &path, error))?;
        disk::replace(&path, &page)?;
        pages.push(format!("{name}.1"));
        Ok(())
    }
}
