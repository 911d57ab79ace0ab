//! `kbuild run`: starts a built board's image under QEMU.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use serde_json::json;

use crate::builder::qemu::{self, Launch, QemuHost, Start};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::cli::project::Project;
use crate::cli::runtime::wait;
use crate::disk;
use crate::error::{Error, Result};

/// Starts a built board's image under QEMU.
///
/// `[boards.BOARD.run]` in kbuild.toml describes the machine. The image is not changed: what the board writes is lost
/// when it ends. This terminal is the board's console; Ctrl-a x ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild run --board qemu
  kbuild run --board qemu --dry-run         print the command, for a shell
  kbuild run --board qemu -- -m 8192        with further arguments for QEMU

Exit code 9: QEMU failed.")]
pub(in crate::cli) struct RunArgs {
    /// The board.
    #[arg(long, short, value_name = "BOARD", env = "KBUILD_BOARD", hide_env = true)]
    board: String,

    /// Print the command and start nothing. Needs no QEMU, and no build if kbuild.toml names the image.
    #[arg(long)]
    dry_run: bool,

    /// Do not use the kernel's virtual machines (KVM), even if the host has them.
    #[arg(long)]
    emulate: bool,

    /// UEFI firmware to use instead of the build's or the host's.
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,

    /// Arguments for QEMU, added after those of the board.
    #[arg(last = true, value_name = "QEMU ARGUMENT")]
    extra: Vec<String>,
}

impl RunArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let host = QemuHost::probe();
        let start = Start {
            manifest: &project.manifest,
            board: &self.board,
            firmware: self.firmware.as_deref(),
            extra: &self.extra,
            emulate: self.emulate,
            unbuilt: self.dry_run,
        };
        let launch = qemu::launch(&start, &host)?;
        launch.warnings.iter().for_each(|warning| output.warn(warning));
        if self.dry_run {
            return Ok(Outcome::new(self.json(&launch), launch.shell()));
        }
        let program = launch.find_program(&host)?;
        output.say(&format!("Board {} from {}; Ctrl-a x ends it", self.board, disk::shown(&launch.image)));
        // Stdout is for either the JSON document or the console.
        let console = if output.is_json() {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            stderr.map_err(|error| Error::bug("stderr cannot be used twice").because(error))?.into()
        } else {
            Stdio::inherit()
        };
        wait(launch.start(&program, console))?;
        Ok(Outcome::new(self.json(&launch), ""))
    }

    fn json(&self, launch: &Launch) -> serde_json::Value {
        json!({
            "board": self.board,
            "dry_run": self.dry_run,
            "program": launch.program,
            "arguments": launch.arguments,
            "accelerator": launch.accelerator,
            "image": launch.image,
            "firmware": launch.firmware,
            "warnings": launch.warnings,
        })
    }
}
