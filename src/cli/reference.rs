//! The reference pages of commands, variables and exit codes, made from the code.
//!
//! Their tests fail when a page is not what the code says; see [`assert_current`] for how it is written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::Cli;
use super::explanations::{Explanation, by_exit_code, explanation, names};
use crate::env_vars;
use crate::error::Kind;
use crate::generated::assert_current;

/// What each page begins with, below its heading.
const NOTE: &str = "<!-- Made from the code by `just docs`. A change here does not last. -->\n";

#[test]
fn the_page_of_commands_is_current() {
    assert_current("docs/reference/cli.md", &commands());
}

#[test]
fn the_page_of_variables_is_current() {
    assert_current("docs/reference/environment.md", &variables());
}

#[test]
fn the_page_of_exit_codes_is_current() {
    assert_current("docs/reference/exit-codes.md", &exit_codes());
}

#[test]
fn help_names_every_exit_code() {
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Interrupted) {
        let named = format!(" {} ", kind.exit_code());
        assert!(super::AFTER_HELP.replace('\n', " ").contains(&named), "`kbuild --help` does not name{named}");
    }
}

#[test]
fn every_variable_of_a_flag_is_documented() {
    for (variable, flag) in flags_by_variable(&cli()) {
        assert!(env_vars::find(&variable).is_some(), "{variable}, the variable of {flag}, is not in src/env_vars.rs");
    }
}

/// The command line as clap has it when it parses.
pub(super) fn cli() -> Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

fn commands() -> String {
    let cli = cli();
    let mut page = format!("# Commands\n\n{NOTE}\n");
    page.push_str(
        "Every command takes the [global options](#global-options). `kbuild COMMAND --help` says the same.\n",
    );
    page.push_str("[Variables](environment.md) and [exit codes](exit-codes.md) have pages of their own.\n\n");
    let names: Vec<String> =
        shown_commands(&cli).map(|command| format!("[{0}](#kbuild-{0})", command.get_name())).collect();
    let _ = writeln!(page, "{}\n", names.join(" · "));
    for command in shown_commands(&cli) {
        add_command(&mut page, command, "kbuild", 2);
    }
    page.push_str("## Global options\n\n");
    for argument in cli.get_arguments().filter(|argument| argument.is_global_set()) {
        add_argument(&mut page, argument);
    }
    page
}

/// What a person is shown; clap's own `help` says nothing new.
fn shown_commands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn add_command(page: &mut String, command: &Command, parent: &str, depth: usize) {
    let name = format!("{parent} {}", command.get_name());
    let _ = writeln!(page, "{} {name}\n", "#".repeat(depth));
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _ = writeln!(page, "{}\n", markdown(about));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(page, "```\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let own = |argument: &&Arg| !argument.is_global_set() && !argument.is_hide_set() && !is_of_clap(argument);
    let mut arguments = command.get_arguments().filter(own).peekable();
    if arguments.peek().is_some() {
        arguments.for_each(|argument| add_argument(page, argument));
        page.push('\n');
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = writeln!(page, "```\n{}\n```\n", after.to_string().trim());
    }
    for child in shown_commands(command) {
        add_command(page, child, &name, depth + 1);
    }
}

/// `--help` and `--version`.
fn is_of_clap(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version)
}

fn add_argument(page: &mut String, argument: &Arg) {
    let _ = write!(page, "- {}", title(argument));
    if let Some(variable) = argument.get_env() {
        let variable = variable.to_string_lossy();
        let _ = write!(page, " (`{variable}`)");
    }
    if let Some(help) = argument.get_long_help().or(argument.get_help()) {
        let _ = write!(page, ": {}", markdown(help).replace("\n\n", " "));
    }
    let choices: Vec<String> = choices(argument);
    if !choices.is_empty() {
        let _ = write!(page, " One of {}.", choices.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(page, " Default: {}.", defaults.join(" "));
    }
    page.push('\n');
}

/// The argument as it is typed: `--board BOARD`, `-b BOARD`; a positional one by its name alone.
fn title(argument: &Arg) -> String {
    let names: Vec<&str> = argument.get_value_names().unwrap_or_default().iter().map(AsRef::as_ref).collect();
    let value = if argument.get_action().takes_values() { names.join(" ") } else { String::new() };
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let typed = |flag: String| format!("`{}`", format!("{flag} {value}").trim());
    match (long, short) {
        (None, None) => typed(String::new()),
        (long, short) => long.into_iter().chain(short).map(typed).collect::<Vec<_>>().join(", "),
    }
}

fn choices(argument: &Arg) -> Vec<String> {
    if !argument.get_action().takes_values() {
        return Vec::new();
    }
    let shown = argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
    let described = shown.map(|value| match value.get_help() {
        Some(help) => format!("`{}` ({})", value.get_name(), markdown(help).trim_end_matches('.')),
        None => format!("`{}`", value.get_name()),
    });
    described.collect()
}

/// clap's text as Markdown: what looks like a tag of HTML is none, and the full stop that clap takes away is there.
fn markdown(text: &StyledStr) -> String {
    let text = text.to_string().trim().replace('<', "\\<");
    if text.ends_with(['.', ':']) { text } else { text + "." }
}

fn variables() -> String {
    let flags = flags_by_variable(&cli());
    let mut page = format!("# Variables of the environment\n\n{NOTE}\n");
    page.push_str("What BitBake is given is another table: [What BitBake is given](bitbake.md).\n");
    for group in env_vars::GROUPS {
        let _ = writeln!(page, "\n## {}\n", group.title);
        if !group.about.is_empty() {
            let _ = writeln!(page, "{}\n", group.about.trim());
        }
        page.push_str("| variable | meaning |\n|---|---|\n");
        for variable in group.variables {
            let doc = variable.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            let flag = flags.get(variable.name).map(|flag| format!(" Flag: `{flag}`.")).unwrap_or_default();
            let _ = writeln!(page, "| `{}` | {doc}{flag} |", variable.name);
        }
    }
    page
}

/// The flag that each variable stands for, in all commands.
fn flags_by_variable(command: &Command) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    for argument in command.get_arguments() {
        if let (Some(variable), Some(long)) = (argument.get_env(), argument.get_long()) {
            flags.insert(variable.to_string_lossy().into_owned(), format!("--{long}"));
        }
    }
    for child in command.get_subcommands() {
        flags.extend(flags_by_variable(child));
    }
    flags
}

fn exit_codes() -> String {
    let mut page = format!("# Exit codes\n\n{NOTE}\n");
    page.push_str("| code | kind in JSON | meaning | what usually fixes it |\n|---|---|---|---|\n");
    page.push_str("| 0 | | done | |\n");
    for (code, kinds) in by_exit_code() {
        let Explanation { meaning, remedy, .. } = explanation(kinds[0]);
        let names = names(&kinds).iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| {code} | {names} | {meaning} | {remedy} |");
    }
    page
}
