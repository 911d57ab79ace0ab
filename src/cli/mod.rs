//! The command line: one file per command. The only room that prints.
//!
//! What may enter: flags, words for people, JSON for programs. A command turns flags into the values of the lower rooms,
//! calls them, and gives back an `Outcome`; deciding anything about sources is not done here.

mod audit;
mod build;
mod completions;
mod crates;
mod doctor;
mod export;
mod fetch;
mod gc;
mod global;
mod import;
mod init;
mod interrupt;
mod list;
mod lock;
mod mirror;
mod output;
mod progress;
mod project;
mod pull;
mod push;
mod run;
mod serve;
mod shell;
mod sources;
mod store;
mod table;
mod tree;
mod verify;
mod why;

use std::future::Future;
use std::pin::{Pin, pin};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Kind, Result};
use global::GlobalArgs;
use output::{Outcome, Output};

/// A declarative, Nix-style lockfile for BitBake/Yocto.
///
/// `kata.toml` says what is wanted, `kata.lock` says exactly which bytes that is, the store holds those bytes, and
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
  kbuild lock                    pin everything that kata.toml asks for, in kata.lock
  kbuild fetch                   bring what is locked into the store
  kbuild build --board qemu      build with no network at all

Exit codes: 0 done, 1 failed check or wrong input, 2 wrong usage, 3 lock is stale, 4 network,
5 hash mismatch, 6 missing while offline, 7 BitBake failed, 8 not reproducible, 9 QEMU failed,
70 a bug in kbuild.";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Lock(lock::LockArgs),
    Update(lock::UpdateArgs),
    Fetch(fetch::FetchArgs),
    Verify(verify::VerifyArgs),
    Why(why::WhyArgs),
    Tree(tree::TreeArgs),
    List(list::ListArgs),
    Audit(audit::AuditArgs),
    Crates(crates::CratesArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Serve(serve::ServeArgs),
    Mirror(mirror::MirrorArgs),
    Gc(gc::GcArgs),
    Store(store::StoreArgs),
    Build(build::BuildArgs),
    Shell(shell::ShellArgs),
    Run(run::RunArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Lock(_) => "lock",
            Command::Update(_) => "update",
            Command::Fetch(_) => "fetch",
            Command::Verify(_) => "verify",
            Command::Why(_) => "why",
            Command::Tree(_) => "tree",
            Command::List(_) => "list",
            Command::Audit(_) => "audit",
            Command::Crates(_) => "crates",
            Command::Export(_) => "export",
            Command::Import(_) => "import",
            Command::Serve(_) => "serve",
            Command::Mirror(_) => "mirror",
            Command::Push(_) => "push",
            Command::Pull(_) => "pull",
            Command::Gc(_) => "gc",
            Command::Store(_) => "store",
            Command::Build(_) => "build",
            Command::Shell(_) => "shell",
            Command::Run(_) => "run",
            Command::Doctor(_) => "doctor",
            Command::Completions(_) => "completions",
        }
    }

    fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        match self {
            Command::Init(args) => args.run(output),
            Command::Lock(args) => args.run(global, output),
            Command::Update(args) => args.run(global, output),
            Command::Fetch(args) => args.run(global, output),
            Command::Verify(args) => args.run(global, output),
            Command::Why(args) => args.run(global, output),
            Command::Tree(args) => args.run(global, output),
            Command::List(args) => args.run(global, output),
            Command::Audit(args) => args.run(global, output),
            Command::Crates(args) => args.run(global, output),
            Command::Export(args) => args.run(global, output),
            Command::Import(args) => args.run(global, output),
            Command::Serve(args) => args.run(global, output),
            Command::Mirror(args) => args.run(global, output),
            Command::Push(args) => args.run(global, output),
            Command::Pull(args) => args.run(global, output),
            Command::Gc(args) => args.run(global, output),
            Command::Store(args) => args.run(global),
            Command::Build(args) => args.run(global, output),
            Command::Shell(args) => args.run(global, output),
            Command::Run(args) => args.run(global, output),
            Command::Doctor(args) => args.run(global, output),
            Command::Completions(args) => args.run(&mut Cli::command()),
        }
    }
}

/// Parses the command line, runs the command, prints what came of it, and gives the exit code.
pub fn main() -> ExitCode {
    crate::builder::sandbox::become_child_if_told();
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
        let error = Error::bug(format!("kbuild broke at {place}"))
            .help("please report this with the command you ran; nothing that was already fetched is lost");
        output::print_bug(&error, &info.to_string());
        std::process::exit(error.exit_code().into());
    }));
}

/// Runs the async part of a command to its end, or until the user stops it: then all transfers are dropped, with the git
/// processes among them, and what has come is kept.
fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(async {
        let mut stopped = pin!(stopped()?);
        tokio::select! {
            result = work => result,
            () = &mut stopped => Err(interrupted()),
        }
    })
}

/// Runs what goes on until the user stops it, and then ends by itself; who is in a hurry says so a second time.
fn until_stopped<W: Future<Output = Result<()>>>(work: impl FnOnce(Stop) -> W) -> Result<()> {
    runtime()?.block_on(async {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let mut work = pin!(work(Box::pin(async { drop(told.await) })));
        let first = stopped()?;
        tokio::select! {
            result = &mut work => return result,
            () = first => {}
        }
        let again = stopped()?;
        drop(tell);
        tokio::select! {
            result = work => result,
            () = again => Err(interrupted()),
        }
    })
}

/// Done when it is time to end.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Done at the next SIGINT or SIGTERM.
fn stopped() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_runtime)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: std::io::Error) -> Error {
    Error::bug("could not start the async runtime").because(error)
}

fn interrupted() -> Error {
    Error::new(Kind::Interrupted, "interrupted").help("run the same command again: what has come is kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
