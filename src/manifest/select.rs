//! The options of one build: the defaults, then the board's own settings, then those of `--set`.

use std::fmt;

use indexmap::IndexMap;

use super::fragments;
use super::names::suggest;
use super::{Board, BuildOption, Manifest, OptionKind, Selection, Setting};
use crate::error::{Error, Result};
use crate::files::MANIFEST;

/// The value of a flag that is on.
pub(super) const ON: &str = "on";

/// Every option a board can have with its value, `None` for a flag that is off.
pub(super) type Values = IndexMap<String, Option<String>>;

/// See [`Manifest::board`].
pub(super) fn board<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a Board> {
    manifest.boards.get(name).ok_or_else(|| {
        let known = manifest.boards.keys().map(String::as_str);
        Error::input(format!("there is no board `{}`", name.escape_debug())).help(suggest("boards", name, known))
    })
}

/// See [`Manifest::select`].
pub(super) fn select(manifest: &Manifest, board_name: &str, set: &[String], with: &[String]) -> Result<Selection> {
    let board = board(manifest, board_name)?;
    let mut values = values(&manifest.options, board_name, &board.set);
    values.extend(asked(manifest, board_name, set)?);
    let fragments = fragments::added(manifest, board, &values, with)?;
    let used: Vec<&str> = board.fragments.iter().chain(&fragments).map(String::as_str).collect();
    let of_options = broken(&manifest.options, &values)
        .into_iter()
        .map(|broken| Error::input(broken.to_string()).help(broken.help(&manifest.options, &values, board_name)));
    let mut diagnostics = of_options.chain(fragments::broken(&manifest.fragments, &used));
    if let Some(first) = diagnostics.next() {
        return Err(first.with_related(diagnostics));
    }
    drop(diagnostics);
    let overrides = overrides(&manifest.options, &values);
    Ok(Selection { values, overrides, fragments, with: with.to_vec() })
}

/// The options of a board, each at its default or as the board sets it.
pub(super) fn values(options: &IndexMap<String, BuildOption>, board: &str, set: &[Setting]) -> Values {
    let available = options.iter().filter(|(_, option)| option.is_for(board));
    let mut values: Values = available
        .map(|(name, option)| match &option.kind {
            OptionKind::Flag { .. } => (name.clone(), None),
            OptionKind::Choice { default, .. } => (name.clone(), Some(default.clone())),
        })
        .collect();
    for setting in set {
        if let Some(value) = values.get_mut(&setting.option) {
            *value = Some(setting.choice.clone().unwrap_or_else(|| ON.to_owned()));
        }
    }
    values
}

/// A rule of a flag that is on, which some values break.
#[derive(Debug)]
pub(super) struct Broken<'a> {
    /// The flag with the rule.
    pub(super) flag: &'a str,
    /// What it conflicts with or requires.
    pub(super) other: &'a Setting,
    requires: bool,
}

/// The rules that some values break.
pub(super) fn broken<'a>(options: &'a IndexMap<String, BuildOption>, values: &Values) -> Vec<Broken<'a>> {
    let on = options.iter().filter(|(name, _)| values.get(*name).is_some_and(Option::is_some));
    on.flat_map(|(flag, option)| {
        let conflicts = option.conflicts.iter().filter(|other| holds(values, other));
        let requires = option.requires.iter().filter(|other| !holds(values, other));
        let conflicts = conflicts.map(move |other| Broken { flag, other, requires: false });
        conflicts.chain(requires.map(move |other| Broken { flag, other, requires: true }))
    })
    .collect()
}

fn holds(values: &Values, setting: &Setting) -> bool {
    let value = values.get(&setting.option).and_then(Option::as_ref);
    value.is_some_and(|value| setting.choice.as_ref().is_none_or(|choice| choice == value))
}

impl fmt::Display for Broken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = if self.requires { "requires" } else { "conflicts with" };
        write!(f, "`{}` {rule} `{}`", self.flag, self.other)
    }
}

impl Broken<'_> {
    fn help(&self, options: &IndexMap<String, BuildOption>, values: &Values, board: &str) -> String {
        let Broken { flag, other, requires } = self;
        if !values.contains_key(&other.option) {
            return format!("board `{board}` cannot have `{}`: do without `{flag}` (`--set {flag}=off`)", other.option);
        }
        if *requires {
            return format!("add `--set {other}`, or do without `{flag}` (`--set {flag}=off`)");
        }
        let rest: Vec<String> = match options.get(&other.option) {
            Some(option) if matches!(option.kind, OptionKind::Choice { .. }) => {
                let rest = possible(option, board).filter(|choice| Some(*choice) != other.choice.as_ref());
                rest.map(|choice| format!("`--set {}={choice}`", other.option)).collect()
            }
            _ => vec![format!("`--set {}=off`", other.option)],
        };
        let instead = rest.join(" or ");
        if instead.is_empty() {
            return format!("do without `{flag}` (`--set {flag}=off`)");
        }
        format!("use {instead}, or do without `{flag}` (`--set {flag}=off`)")
    }
}

/// The OVERRIDES words of some values, in the order of the options.
fn overrides(options: &IndexMap<String, BuildOption>, values: &Values) -> Vec<String> {
    let words = options.iter().filter_map(|(name, option)| {
        let value = values.get(name)?.as_ref()?;
        match &option.kind {
            OptionKind::Flag { word } => Some(word),
            OptionKind::Choice { choices, .. } => choices.get(value),
        }
    });
    words.filter(|word| !word.is_empty()).cloned().collect()
}

/// See [`Manifest::words_of`].
pub(super) fn words(options: &IndexMap<String, BuildOption>, board: &str) -> Vec<String> {
    let kinds = options.values().filter(|option| option.is_for(board)).map(|option| &option.kind);
    let words = kinds.flat_map(|kind| match kind {
        OptionKind::Flag { word } => vec![word],
        OptionKind::Choice { choices, .. } => choices.values().collect(),
    });
    words.filter(|word| !word.is_empty()).cloned().collect()
}

/// The values of `--set`, each option once; reports all faults at once.
fn asked(manifest: &Manifest, board: &str, set: &[String]) -> Result<Values> {
    let mut asked = Values::new();
    let mut diagnostics = Vec::new();
    for text in set {
        match one(manifest, board, text) {
            Ok((option, value)) => match asked.get(&option) {
                Some(before) if *before != value => diagnostics.push(
                    Error::input(format!(
                        "`--set` gives `{option}` two values: {} and {}",
                        shown(before),
                        shown(&value)
                    ))
                    .help("give only one of them"),
                ),
                _ => drop(asked.insert(option, value)),
            },
            Err(fault) => diagnostics.push(fault),
        }
    }
    let mut diagnostics = diagnostics.into_iter();
    match diagnostics.next() {
        Some(first) => Err(first.with_related(diagnostics)),
        None => Ok(asked),
    }
}

fn shown(value: &Option<String>) -> String {
    format!("`{}`", value.as_deref().unwrap_or("off"))
}

/// Reads `OPTION=CHOICE`, `FLAG`, or `FLAG=on|off|true|false`.
pub(super) fn one(manifest: &Manifest, board: &str, text: &str) -> Result<(String, Option<String>)> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let Some(option) = manifest.options.get(name) else { return Err(no_option(manifest, name)) };
    if !option.is_for(board) {
        let boards = option.boards.as_deref().unwrap_or_default().join(", ");
        return Err(Error::input(format!("board `{board}` cannot have the option `{name}`"))
            .help(format!("it is for: {boards} (the `boards` of [options.{name}] in {MANIFEST})")));
    }
    let value = match (&option.kind, value) {
        (OptionKind::Flag { .. }, None | Some("on" | "true")) => Some(ON.to_owned()),
        (OptionKind::Flag { .. }, Some("off" | "false")) => None,
        (OptionKind::Flag { .. }, Some(value)) => {
            let message = format!("`{name}` is a flag, and cannot be `{}`", value.escape_debug());
            return Err(Error::input(message).help(format!("write `--set {name}` or `--set {name}=off`")));
        }
        (OptionKind::Choice { choices, .. }, Some(choice)) if choices.contains_key(choice) => Some(choice.to_owned()),
        (OptionKind::Choice { choices, .. }, Some(choice)) => {
            let message = format!("the option `{name}` has no choice `{}`", choice.escape_debug());
            return Err(Error::input(message).help(suggest("choices", choice, choices.keys().map(String::as_str))));
        }
        (OptionKind::Choice { .. }, None) => {
            let all: Vec<String> = possible(option, board).map(|choice| format!("--set {name}={choice}")).collect();
            return Err(Error::input(format!("the option `{name}` needs a choice")).help(all.join(", ")));
        }
    };
    match value.as_deref().and_then(|choice| option.refusal(board, choice)) {
        Some(why) => Err(refused(board, name, option, text, why)),
        None => Ok((name.to_owned(), value)),
    }
}

/// The choices that a board can have.
fn possible<'a>(option: &'a BuildOption, board: &'a str) -> impl Iterator<Item = &'a String> {
    let choices = match &option.kind {
        OptionKind::Choice { choices, .. } => Some(choices.keys()),
        OptionKind::Flag { .. } => None,
    };
    choices.into_iter().flatten().filter(|choice| option.refusal(board, choice).is_none())
}

/// The fault of a choice that cannot be used.
pub(super) fn refused(board: &str, name: &str, option: &BuildOption, setting: &str, why: &str) -> Error {
    let fault = Error::input(format!("board `{board}` cannot have `{setting}`: {why}"));
    let others: Vec<String> = possible(option, board).map(|choice| format!("{name}={choice}")).collect();
    fault.help(format!("what it can have: {}", others.join(", ")))
}

/// The fault of an unknown option; perhaps a choice was given instead of its option.
fn no_option(manifest: &Manifest, name: &str) -> Error {
    let fault = Error::input(format!("there is no option `{}`", name.escape_debug()));
    let of_choice = manifest.options.iter().find(|(_, option)| match &option.kind {
        OptionKind::Choice { choices, .. } => choices.contains_key(name),
        OptionKind::Flag { .. } => false,
    });
    match of_choice {
        Some((option, _)) => fault.help(format!("`{name}` is a choice of `{option}`: write `--set {option}={name}`")),
        None => fault.help(suggest("options", name, manifest.options.keys().map(String::as_str))),
    }
}
