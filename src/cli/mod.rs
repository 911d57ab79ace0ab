//! The command line: one file per command. The only room that prints.
//!
//! What may enter: flags, text for people, JSON for programs. A command turns flags into the values of the lower rooms,
//! calls them, and returns an `Outcome`. It decides nothing about sources.

mod amount;
#[cfg(test)]
mod command_lines;
mod commands;
mod complete;
mod describe;
mod environment;
mod explanations;
mod failures;
mod global;
mod output;
mod progress;
mod project;
#[cfg(test)]
mod reference;
mod revision;
mod runtime;
mod sarif;
mod stop;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use commands::Command;
use global::GlobalArgs;
use output::Output;

/// A declarative, Nix-style lockfile for BitBake/Yocto.
///
/// `kbuild.toml` says what is wanted, `kbuild.lock` says exactly which bytes that is, the store has those bytes, and
/// BitBake sees only the store.
#[derive(Debug, Parser)]
#[command(name = "kbuild", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,

    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The usual order:
  kbuild lock                    pin everything that kbuild.toml asks for, in kbuild.lock
  kbuild fetch                   fetch what is locked into the store
  kbuild build --board qemu      build with no network at all

Exit codes: 0 done, 1 failed check or wrong input, 2 wrong usage, 3 lock is stale, 4 network,
5 hash mismatch, 6 missing while offline, 7 BitBake failed, 8 not reproducible, 9 QEMU failed,
70 a bug in kbuild. `kbuild explain CODE` says what helps.";

/// Parses the command line, runs the command, prints its outcome, and returns the exit code.
pub fn main() -> ExitCode {
    crate::builder::seal::become_child_if_told();
    environment::forget_empty_variables();
    // Ends here where a shell asks what it may offer.
    clap_complete::CompleteEnv::with_factory(complete::command).var(crate::env_vars::COMPLETE).bin("kbuild").complete();
    let cli = Cli::parse();
    let output = Output::new(&cli.global, cli.command.name());
    report_panics_as_bugs();
    output::start_log(cli.global.verbose);
    let result = cli.command.run(&cli.global, &output);
    output.finish(result)
}

/// A panic is a bug in kbuild: exit code 70, a sentence, no backtrace.
fn report_panics_as_bugs() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let error = Error::bug(format!("kbuild panicked at {place}"))
            .help("please report this with the command that you ran; what was already fetched is kept");
        output::print_bug(&error, &info.to_string());
        std::process::exit(error.exit_code().into());
    }));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
