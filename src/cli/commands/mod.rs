//! The commands, one file each: flags in, an [`Outcome`] out.

mod add;
mod audit;
mod boards;
mod build;
mod cache;
mod checkout;
mod clean;
mod compare;
mod completions;
mod crates;
mod diff;
mod doctor;
mod explain;
mod export;
mod export_kas;
mod fetch;
mod gc;
mod import;
mod init;
mod list;
mod lock;
mod man;
mod matrix;
mod merge_driver;
mod mirror;
mod outdated;
mod probe;
mod pull;
mod push;
mod remove;
mod run;
mod serve;
mod shell;
mod store;
mod tree;
mod update;
mod verify;
mod why;

use clap::{CommandFactory as _, Subcommand};

use super::global::GlobalArgs;
use super::output::{Outcome, Output};
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(init::InitArgs),
    Add(add::AddArgs),
    Remove(remove::RemoveArgs),
    Lock(lock::LockArgs),
    Update(update::UpdateArgs),
    Outdated(outdated::OutdatedArgs),
    Diff(diff::DiffArgs),
    MergeDriver(merge_driver::MergeDriverArgs),
    Fetch(fetch::FetchArgs),
    Verify(verify::VerifyArgs),
    Probe(probe::ProbeArgs),
    Why(why::WhyArgs),
    Tree(tree::TreeArgs),
    Boards(boards::BoardsArgs),
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
    Clean(clean::CleanArgs),
    Store(store::StoreArgs),
    Build(build::BuildArgs),
    Cache(cache::CacheArgs),
    Compare(compare::CompareArgs),
    Matrix(matrix::MatrixArgs),
    Shell(shell::ShellArgs),
    Checkout(checkout::CheckoutArgs),
    Run(run::RunArgs),
    Doctor(doctor::DoctorArgs),
    Explain(explain::ExplainArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Command::Init(_) => "init",
            Command::Add(_) => "add",
            Command::Remove(_) => "remove",
            Command::Lock(_) => "lock",
            Command::Update(_) => "update",
            Command::Outdated(_) => "outdated",
            Command::Diff(_) => "diff",
            Command::MergeDriver(_) => "merge-driver",
            Command::Fetch(_) => "fetch",
            Command::Verify(_) => "verify",
            Command::Probe(_) => "probe",
            Command::Why(_) => "why",
            Command::Tree(_) => "tree",
            Command::Boards(_) => "boards",
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
            Command::Clean(_) => "clean",
            Command::Store(_) => "store",
            Command::Build(_) => "build",
            Command::Cache(_) => "cache",
            Command::Compare(_) => "compare",
            Command::Matrix(_) => "matrix",
            Command::Shell(_) => "shell",
            Command::Checkout(_) => "checkout",
            Command::Run(_) => "run",
            Command::Doctor(_) => "doctor",
            Command::Explain(_) => "explain",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }

    pub(super) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        match self {
            Command::Init(args) => args.run(global, output),
            Command::Add(args) => args.run(global, output),
            Command::Remove(args) => args.run(global, output),
            Command::Lock(args) => args.run(global, output),
            Command::Update(args) => args.run(global, output),
            Command::Outdated(args) => args.run(global, output),
            Command::Diff(args) => args.run(global, output),
            Command::MergeDriver(args) => args.run(output),
            Command::Fetch(args) => args.run(global, output),
            Command::Verify(args) => args.run(global, output),
            Command::Probe(args) => args.run(global, output),
            Command::Why(args) => args.run(global, output),
            Command::Tree(args) => args.run(global, output),
            Command::Boards(args) => args.run(global, output),
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
            Command::Clean(args) => args.run(global, output),
            Command::Store(args) => args.run(global),
            Command::Build(args) => args.run(global, output),
            Command::Cache(args) => args.run(global, output),
            Command::Compare(args) => args.run(global, output),
            Command::Matrix(args) => args.run(global, output),
            Command::Shell(args) => args.run(global, output),
            Command::Checkout(args) => args.run(global, output),
            Command::Run(args) => args.run(global, output),
            Command::Doctor(args) => args.run(global, output),
            Command::Explain(args) => args.run(global, output),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(super::Cli::command(), output),
        }
    }
}
