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
        let mut command = command.disable_help_subcommand(true);
        // Only commands that were built have the options that all have, and names with those of the commands above them.
        command.build();
        let mut pages = Vec::new();
        self.write(&command, &mut pages)?;
        output.say(&format!("Wrote {} to {}", count(pages.len(), "page"), disk::shown(&self.directory)));
        Ok(Outcome::new(json!({ "pages": pages }), ""))
    }

    /// The page of a command, and those of its commands: `kbuild.1`, `kbuild-cache.1`, `kbuild-cache-push.1`.
    fn write(&self, command: &clap::Command, pages: &mut Vec<String>) -> Result<()> {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            self.write(below, pages)?;
        }
        let man = clap_mangen::Man::new(command.clone()).source(concat!("kbuild ", env!("CARGO_PKG_VERSION")));
        let mut page = Vec::new();
        let path = self.directory.join(man.get_filename());
        man.render(&mut page).map_err(|error| Error::io("write", &path, error))?;
        disk::replace(&path, &page)?;
        pages.push(man.get_filename());
        Ok(())
    }
}
