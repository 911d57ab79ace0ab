//! `[fragments]`: parts of a build, and the board that they make together.
//!
//! A board names its fragments; an option and `--with` add more for one build. What comes later wins: `[config]`, the fragments
//! of a board and then its own keys (those of the board that it extends before), the fragments of chosen options, those of
//! `--with`.

use indexmap::{IndexMap, IndexSet};

use super::document::{Blocks, Diagnostics};
use super::names::{self, suggest};
use super::raw::{At, RawAdds, RawBoard, RawFragment, RawLayer, RawOption, RawParts, RawText};
use super::select::{self, ON, Values};
use super::variables::{check_conf, check_config};
use super::{Board, BoardParts, Fragment, Manifest, Selection, boards, env};
use crate::error::{Error, Result};

/// All valid fragments.
pub(super) fn check(
    blocks: &Blocks<RawFragment>,
    layers: &Blocks<RawLayer>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, Fragment> {
    let mut fragments = IndexMap::new();
    for (name, block) in blocks {
        let Some(raw) = &block.raw else { continue };
        let before = diagnostics.count();
        let whose = format!("fragment `{}`", name.escape_debug());
        check_parts(&whose, raw.parts(), layers, diagnostics);
        for (what, list) in [("layer", &raw.layers), ("target", &raw.targets)] {
            let list = list.iter().flat_map(|list| &list.value).cloned().collect::<Vec<_>>();
            names::check_repeated(&whose, what, &list, diagnostics);
        }
        for rule in [&raw.requires, &raw.conflicts].into_iter().flatten() {
            check_names(&whose, rule, blocks, diagnostics);
            if let Some(itself) = rule.iter().find(|other| other.as_str() == name.as_str()) {
                let fault = Error::input(format!("{whose} names itself")).at(itself.span.clone(), "itself");
                diagnostics.add(fault.help("remove it"));
            }
        }
        if diagnostics.count() == before {
            let list = |list: &Option<At<Vec<RawText>>>| list.as_ref().map(|list| texts(list)).unwrap_or_default();
            let (requires, conflicts) = (list(&raw.requires), list(&raw.conflicts));
            fragments.insert(name.clone(), Fragment { parts: read(raw.parts()), requires, conflicts });
        }
    }
    fragments
}

/// Checks what boards and fragments have in common.
pub(super) fn check_parts(whose: &str, parts: RawParts<'_>, layers: &Blocks<RawLayer>, diagnostics: &mut Diagnostics) {
    if let Some(named) = parts.layers {
        names::check_known(whose, "layer", named, layers.keys().map(String::as_str), diagnostics);
    }
    for target in parts.targets.iter().flat_map(|targets| &targets.value) {
        diagnostics.take(boards::check_target(target));
    }
    parts.config.iter().for_each(|config| check_config(config, diagnostics));
    parts.conf.iter().for_each(|conf| check_conf(whose, conf, diagnostics));
    parts.env.iter().for_each(|env| env::check(env, diagnostics));
}

/// Reports the fragments of a list that do not exist, and those that it names twice.
pub(super) fn check_names(whose: &str, list: &[RawText], blocks: &Blocks<RawFragment>, diagnostics: &mut Diagnostics) {
    names::check_known(whose, "fragment", list, blocks.keys().map(String::as_str), diagnostics);
    names::check_repeated(whose, "fragment", list, diagnostics);
}

/// The fragments of an option, by the value that has them: a choice, or [`ON`].
pub(super) fn of_option(
    whose: &str,
    raw: &RawOption,
    blocks: &Blocks<RawFragment>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, Vec<String>> {
    match (&raw.fragments, &raw.choices) {
        (None, _) => IndexMap::new(),
        (Some(RawAdds::Flag(list)), None) => {
            check_names(whose, list, blocks, diagnostics);
            IndexMap::from([(ON.to_owned(), texts(list))])
        }
        (Some(RawAdds::Choice(lists)), Some(choices)) => {
            let keys: Vec<RawText> = lists.keys().cloned().collect();
            names::check_known(whose, "choice", &keys, choices.keys().map(|choice| choice.as_str()), diagnostics);
            lists.values().for_each(|list| check_names(whose, list, blocks, diagnostics));
            lists.iter().map(|(choice, list)| (choice.value.clone(), texts(list))).collect()
        }
        (Some(RawAdds::Flag(list)), Some(_)) => {
            let span = list.first().map(|text| text.span.clone()).unwrap_or_default();
            let fault = Error::input(format!("the fragments of {whose} have no choice"));
            let help = "it is a choice: write `fragments = { CHOICE = [\"…\"] }`";
            diagnostics.add(fault.at(span, "of which choice?").help(help));
            IndexMap::new()
        }
        (Some(RawAdds::Choice(lists)), None) => {
            let span = lists.keys().next().map(|choice| choice.span.clone()).unwrap_or_default();
            let fault = Error::input(format!("{whose} is a flag, and has no choices"));
            diagnostics.add(fault.at(span, "not a choice").help("write `fragments = [\"…\"]`"));
            IndexMap::new()
        }
    }
}

/// Every board must be possible with its options' defaults.
pub(super) fn check_possible(manifest: &Manifest, boards: &Blocks<RawBoard>, diagnostics: &mut Diagnostics) {
    for (name, block) in boards {
        let error = select::select(manifest, name, &[], &[]).err();
        if let Some(error) = error {
            diagnostics.add(error.at(block.span.clone(), "with its fragments and those of its options' defaults"));
        }
    }
}

/// What a board or fragment says, checked before.
pub(super) fn read(parts: RawParts<'_>) -> BoardParts {
    let list = |list: Option<&At<Vec<RawText>>>| list.map(|list| texts(list)).unwrap_or_default();
    let config = parts.config.into_iter().flatten();
    BoardParts {
        layers: list(parts.layers),
        targets: list(parts.targets),
        config: config.map(|(name, value)| (name.value.clone(), value.value.clone())).collect(),
        conf: parts.conf.iter().map(|text| text.value.clone()).collect(),
        env: parts.env.map(env::read).unwrap_or_default(),
    }
}

fn texts(list: &[RawText]) -> Vec<String> {
    list.iter().map(|text| text.value.clone()).collect()
}

impl BoardParts {
    /// Adds fragments and then a board's own parts: these win, and their layers and targets come first.
    pub(super) fn add_board(&mut self, own: BoardParts, fragments: &[&Fragment]) {
        let BoardParts { layers, targets, config, conf, env } = own;
        extend_new(&mut self.layers, layers);
        extend_new(&mut self.targets, targets);
        fragments.iter().for_each(|fragment| self.add(&fragment.parts));
        self.config.extend(config);
        self.conf.extend(conf);
        self.env.extend(env);
    }

    /// Adds a fragment, which wins over what was there.
    fn add(&mut self, fragment: &BoardParts) {
        let BoardParts { layers, targets, config, conf, env } = fragment.clone();
        extend_new(&mut self.layers, layers);
        extend_new(&mut self.targets, targets);
        self.config.extend(config);
        self.conf.extend(conf);
        self.env.extend(env);
    }
}

/// Two fragments may need one layer.
fn extend_new(list: &mut Vec<String>, more: Vec<String>) {
    let new = more.into_iter().filter(|name| !list.contains(name)).collect::<Vec<_>>();
    list.extend(new);
}

/// The rules that some fragments break together, an error each.
pub(super) fn broken(fragments: &IndexMap<String, Fragment>, used: &[&str]) -> Vec<Error> {
    let mut errors = Vec::new();
    for name in used {
        let Some(fragment) = fragments.get(*name) else { continue };
        let missing = fragment.requires.iter().filter(|other| !used.contains(&other.as_str()));
        errors.extend(missing.map(|other| {
            Error::input(format!("the fragment `{name}` requires the fragment `{other}`"))
                .help(format!("add `{other}`, or do without `{name}`"))
        }));
        let conflicting = fragment.conflicts.iter().filter(|other| used.contains(&other.as_str()));
        errors.extend(conflicting.map(|other| {
            Error::input(format!("the fragment `{name}` conflicts with the fragment `{other}`"))
                .help("do without one of them")
        }));
    }
    errors
}

/// The fragments that options and `--with` add to a board's own, each once.
///
/// # Errors
/// `--with` names no fragment.
pub(super) fn added(manifest: &Manifest, board: &Board, values: &Values, with: &[String]) -> Result<Vec<String>> {
    let mut added: IndexSet<&String> = IndexSet::new();
    for (option, value) in values {
        let lists = manifest.options.get(option).zip(value.as_ref());
        added.extend(lists.and_then(|(option, value)| option.fragments.get(value)).into_iter().flatten());
    }
    for name in with {
        if !manifest.fragments.contains_key(name) {
            let help = suggest("fragments", name, manifest.fragments.keys().map(String::as_str));
            return Err(Error::input(format!("there is no fragment `{}`", name.escape_debug())).help(help));
        }
        added.insert(name);
    }
    Ok(added.into_iter().filter(|name| !board.fragments.contains(name)).cloned().collect())
}

/// See [`Manifest::configured`].
pub(super) fn configured(manifest: &Manifest, name: &str, selection: &Selection) -> Result<Board> {
    let mut board = select::board(manifest, name)?.clone();
    for fragment in &selection.fragments {
        if let Some(fragment) = manifest.fragments.get(fragment) {
            board.parts.add(&fragment.parts);
        }
        board.fragments.push(fragment.clone());
    }
    Ok(board)
}
