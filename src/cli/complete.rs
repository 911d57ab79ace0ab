//! What a shell offers for an argument: the boards, options, layers and recipes of the project that it stands in.
//!
//! The shell runs kbuild with COMPLETE set and the words of its line (clap_complete, "env"); `kbuild completions` prints what makes
//! it do so. Nothing is asked over a network and nothing is written. A project that cannot be read has nothing to offer.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;

use super::Cli;
use super::explanations::PAGES;
use super::project::manifest_at;
use crate::env_vars;
use crate::error::Kind;
use crate::files;
use crate::lock::{Lock, LockedBoard};
use crate::manifest::Manifest;

/// Names that may stand for a value, each with a word about it where there is one.
type Candidates = Vec<(String, Option<String>)>;

/// The command line with what its arguments may be.
pub(super) fn command() -> Command {
    with_candidates(Cli::command())
}

fn with_candidates(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match source_for(&name, &arg) {
        Some(candidates) => arg.add(ArgValueCompleter::new(move |typed: &OsStr| matching(typed, candidates()))),
        None => arg,
    });
    command.mut_subcommands(with_candidates)
}

/// Where the candidates of an argument come from, by what its value is called.
fn source_for(command: &str, arg: &Arg) -> Option<fn() -> Candidates> {
    let value = arg.get_value_names()?.first()?.as_str();
    Some(match (command, value) {
        (_, "BOARD") => boards,
        (_, "OPTION[=CHOICE]") => settings,
        (_, "FRAGMENT") => fragments,
        (_, "LAYER" | "LAYER=DIR") => layers,
        (_, "RECIPE") => recipes,
        ("update" | "remove", "NAME") => pins,
        ("why", _) => recipes,
        (_, "CODE|PAGE") => topics,
        _ => return None,
    })
}

fn matching(typed: &OsStr, candidates: Candidates) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = candidates.into_iter().filter(|(name, _)| name.starts_with(&*typed));
    fitting.map(|(name, help)| CompletionCandidate::new(name).help(help.map(Into::into))).collect()
}

fn path() -> Option<PathBuf> {
    let named = std::env::var_os(env_vars::KBUILD_MANIFEST_PATH).map(PathBuf::from);
    manifest_at(named.as_deref()).ok()
}

fn manifest() -> Option<Manifest> {
    Manifest::read(&path()?).ok()
}

fn lock() -> Option<Lock> {
    Lock::read(&files::lock_beside(&path()?)).ok()?
}

fn boards() -> Candidates {
    let boards = manifest().map(|manifest| manifest.boards).unwrap_or_default();
    boards.into_iter().map(|(name, board)| (name, Some(format!("machine {}", board.machine)))).collect()
}

fn fragments() -> Candidates {
    let fragments = manifest().map(|manifest| manifest.fragments).unwrap_or_default();
    fragments.into_keys().map(|name| (name, None)).collect()
}

fn layers() -> Candidates {
    let layers = manifest().map(|manifest| manifest.layers).unwrap_or_default();
    layers.into_keys().map(|name| (name, None)).collect()
}

/// Layers and declared sources.
fn pins() -> Candidates {
    let Some(manifest) = manifest() else { return Vec::new() };
    let layers = manifest.layers.into_keys().map(|name| (name, Some("layer".to_owned())));
    let sources = manifest.sources.into_keys().map(|name| (name, Some("source".to_owned())));
    layers.chain(sources).collect()
}

fn recipes() -> Candidates {
    let Some(lock) = lock() else { return Vec::new() };
    let names: BTreeSet<&str> = lock.boards.values().flat_map(LockedBoard::recipe_names).collect();
    names.into_iter().map(|name| (name.to_owned(), None)).collect()
}

/// The choices of options, as `--set` takes them.
fn settings() -> Candidates {
    let Some(manifest) = manifest() else { return Vec::new() };
    let settings = manifest.options.iter().flat_map(|(name, option)| option.settings(name));
    settings.map(|setting| (setting, None)).collect()
}

/// Exit codes, kinds of failures and pages.
fn topics() -> Candidates {
    let kinds = Kind::ALL.iter().map(|kind| (kind.exit_code().to_string(), Some(kind.name().to_owned())));
    kinds.chain(PAGES.iter().map(|(name, _)| ((*name).to_owned(), None))).collect()
}
