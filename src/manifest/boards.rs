//! Checks of `[boards]`, with `extends` and `[config]` folded in.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;

use super::document::{Block, Blocks, Diagnostics};
use super::env;
use super::fragments;
use super::names;
use super::raw::{At, RawBoard, RawEnv, RawFragment, RawLayer, RawMount, RawOption, RawText, SetTo};
use super::run;
use super::select;
use super::variables::{check_conf, check_config};
use super::{Board, BoardParts, BuildOption, Fragment, Mount, OptionKind, Setting};
use crate::error::{Error, Result};

/// A board is built in `build/<board>`, beside the checkouts of layers and the shared state.
const TAKEN: [(&str, &str); 2] =
    [("layers", "the directory of the layers' checkouts"), ("sstate-cache", "the shared state of all boards")];

/// What the checks of boards need.
pub(super) struct BoardChecks<'a> {
    pub(super) boards: &'a Blocks<RawBoard>,
    pub(super) layers: &'a Blocks<RawLayer>,
    pub(super) raw_options: &'a Blocks<RawOption>,
    /// The valid options.
    pub(super) options: &'a IndexMap<String, BuildOption>,
    pub(super) raw_fragments: &'a Blocks<RawFragment>,
    /// The valid fragments.
    pub(super) fragments: &'a IndexMap<String, Fragment>,
    pub(super) config: &'a IndexMap<RawText, RawText>,
    /// The `conf` of the project.
    pub(super) conf: Option<&'a RawText>,
    /// `[env]`.
    pub(super) env: &'a IndexMap<RawText, At<RawEnv>>,
}

/// All valid boards.
pub(super) fn check(context: &BoardChecks, diagnostics: &mut Diagnostics) -> IndexMap<String, Board> {
    check_config(context.config, diagnostics);
    context.conf.iter().for_each(|conf| check_conf("the project", conf, diagnostics));
    env::check(context.env, diagnostics);
    for (name, block) in context.boards {
        if let Some((taken, what)) = TAKEN.iter().find(|(taken, _)| *taken == name.as_str()) {
            let fault = Error::input(format!("a board cannot be called `{name}`")).at(block.span.clone(), "this name");
            diagnostics.add(fault.help(format!("build/{taken} is {what}: choose another name")));
        }
        if let Some(raw) = &block.raw {
            check_own(name, raw, context, diagnostics);
        }
    }
    let chains = chains(context, diagnostics);
    let mut boards = IndexMap::new();
    for (name, block) in context.boards {
        let before = diagnostics.count();
        let Some(chain) = chains.get(name.as_str()) else { continue };
        let folded = fold(name, block, chain, context, diagnostics);
        if let Some(board) = folded.filter(|_| diagnostics.count() == before) {
            boards.insert(name.clone(), board);
        }
    }
    boards
}

/// Checks that need only the board's own keys, and not what it extends.
fn check_own(name: &str, raw: &RawBoard, context: &BoardChecks, diagnostics: &mut Diagnostics) {
    let whose = format!("board `{}`", name.escape_debug());
    if let Some(machine) = &raw.machine
        && !names::is_name(machine)
    {
        let fault = Error::input(format!("`{}` cannot be a MACHINE", machine.escape_debug()));
        diagnostics.add(fault.at(machine.span.clone(), "this").help("give the NAME of a conf/machine/NAME.conf"));
    }
    fragments::check_parts(&whose, raw.parts(), context.layers, diagnostics);
    raw.fragments.iter().for_each(|list| fragments::check_names(&whose, list, context.raw_fragments, diagnostics));
    for (option, value) in raw.set.iter().flatten() {
        diagnostics.take(check_set(option, value, context.raw_options));
    }
    raw.mounts.iter().flatten().for_each(|mount| drop(diagnostics.take(check_mount(mount))));
    raw.run.iter().for_each(|run| run::check_own(run, diagnostics));
}

/// A target is an argument of the `bitbake` command: `RECIPE`, `RECIPE:TASK`, `mc:CONFIG:RECIPE`, `virtual/NAME`.
pub(super) fn check_target(target: &RawText) -> Result<()> {
    let good = !target.is_empty()
        && !target.starts_with('-')
        && target.chars().all(|c| c.is_ascii_alphanumeric() || "._+-:/*@".contains(c));
    if good {
        return Ok(());
    }
    Err(Error::input(format!("`{}` cannot be a target", target.escape_debug()))
        .at(target.span.clone(), "this becomes an argument of `bitbake`")
        .help("give a recipe (`kata-image`) or a recipe and a task (`kata-image:unpack`), one in each string"))
}

/// Directories that are the build's own, or in which nothing can be put.
const OWN_DIRECTORIES: [&str; 8] = ["/", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];
const KERNELS_DIRECTORIES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Why a path cannot be shown to a build, and what to do instead.
pub(super) fn refused_for_builds(path: &Path) -> Option<(&'static str, &'static str)> {
    if OWN_DIRECTORIES.iter().any(|own| path == Path::new(own)) {
        return Some(("is the build's own inside the seal", "name what is needed in it"));
    }
    let of_kernel = KERNELS_DIRECTORIES.iter().any(|kernels| path.starts_with(kernels));
    of_kernel.then_some(("is of the kernel, which a build must not reach", "`kbuild explain seal` says what is there"))
}

fn check_mount(mount: &At<RawMount>) -> Result<Mount> {
    let Some(path) = &mount.path else {
        let help = "name a file or a directory: { path = \"/opt/licence.dat\" }";
        return Err(Error::input("a mount has no `path`").at(mount.span.clone(), "this mount").help(help));
    };
    let refused = |why: &str, help: &str| {
        Err(Error::input(format!("`{}` {why}", path.escape_debug())).at(path.span.clone(), "this path").help(help))
    };
    let plain = Path::new(path.as_str());
    if path.is_empty() || path.chars().any(char::is_control) {
        return refused("is no path", "name a file or a directory");
    }
    if let Some((why, help)) = refused_for_builds(plain) {
        return refused(why, help);
    }
    Ok(Mount { path: plain.to_owned(), write: mount.write.unwrap_or(false) })
}

/// Checks one entry of `set` against its option.
fn check_set(option: &RawText, value: &At<SetTo>, options: &Blocks<RawOption>) -> Result<()> {
    let Some(block) = options.get(option.as_str()) else {
        let fault = Error::input(format!("there is no option `{}`", option.escape_debug()));
        let known = options.keys().map(String::as_str);
        return Err(fault.at(option.span.clone(), "no such option").help(names::suggest("options", option, known)));
    };
    let Some(raw) = &block.raw else { return Ok(()) };
    let name = option.as_str();
    match (&raw.choices, &value.value) {
        (None, SetTo::Flag(_)) => Ok(()),
        (None, SetTo::Choice(_)) => Err(Error::input(format!("`{name}` is a flag"))
            .at(value.span.clone(), "not a choice")
            .help(format!("write `{name} = true` or `{name} = false`"))),
        (Some(choices), SetTo::Choice(choice)) if choices.keys().any(|known| **known == *choice) => Ok(()),
        (Some(choices), SetTo::Choice(choice)) => {
            let known = choices.keys().map(|choice| choice.as_str());
            Err(Error::input(format!("`{name}` has no choice `{}`", choice.escape_debug()))
                .at(value.span.clone(), "no such choice")
                .help(names::suggest("choices", choice, known)))
        }
        (Some(choices), SetTo::Flag(_)) => {
            let known: Vec<&str> = choices.keys().map(|choice| choice.as_str()).collect();
            Err(Error::input(format!("`{name}` is a choice"))
                .at(value.span.clone(), "not a flag")
                .help(format!("write one of: {}", known.join(", "))))
        }
    }
}

/// For each board, the board and what it extends, the farthest first; boards with an unknown parent are left out.
fn chains<'a>(context: &BoardChecks<'a>, diagnostics: &mut Diagnostics) -> HashMap<&'a str, Vec<&'a RawBoard>> {
    let mut chains = HashMap::new();
    let mut in_a_circle: Vec<&str> = Vec::new();
    for (start, block) in context.boards {
        let (mut names, mut chain) = (vec![start.as_str()], Vec::new());
        let mut next = Some(block);
        while let Some(Block { raw: Some(raw), .. }) = next {
            chain.push(raw);
            let Some(parent) = &raw.extends else {
                chain.reverse();
                chains.insert(start.as_str(), chain);
                break;
            };
            next = context.boards.get(parent.as_str());
            if next.is_none() && names.len() == 1 {
                diagnostics.add(unknown_parent(start, parent, context));
            }
            if parent.as_str() == start && !in_a_circle.contains(&start.as_str()) {
                diagnostics.add(circle(&names, parent));
                in_a_circle.extend(&names);
            }
            if names.contains(&parent.as_str()) {
                break;
            }
            names.push(parent);
        }
    }
    chains
}

fn unknown_parent(board: &str, parent: &RawText, context: &BoardChecks) -> Error {
    let known = context.boards.keys().map(String::as_str).filter(|name| *name != board);
    Error::input(format!("board `{}` extends an unknown board", board.escape_debug()))
        .at(parent.span.clone(), "no such board")
        .help(names::suggest("boards", parent, known))
}

fn circle(names: &[&str], closing: &RawText) -> Error {
    let all = names.iter().copied().chain([closing.as_str()]).map(|name| format!("`{}`", name.escape_debug()));
    let circle = all.collect::<Vec<_>>().join(" extends ");
    Error::input(format!("boards extend each other in a circle: {circle}"))
        .at(closing.span.clone(), "this closes the circle")
        .help("remove `extends` from one of them")
}

/// A board merged with all that it extends and its fragments: own keys win, layers and targets are appended.
fn fold(
    name: &str,
    block: &Block<RawBoard>,
    chain: &[&RawBoard],
    context: &BoardChecks,
    diagnostics: &mut Diagnostics,
) -> Option<Board> {
    let whose = format!("board `{}`", name.escape_debug());
    let missing = |what: &str, help: &str| {
        Error::input(format!("{whose} has no `{what}`"))
            .at(block.span.clone(), format!("`{what}` is missing"))
            .help(help)
    };
    let machine = chain.iter().rev().find_map(|raw| raw.machine.as_ref());
    if machine.is_none() {
        diagnostics
            .add(missing("machine", "add `machine = \"…\"`, or `extends = \"…\"` to be a variant of another board"));
    }
    check_twice(&whose, "layer", chain, |raw| raw.layers.as_ref(), diagnostics);
    check_twice(&whose, "target", chain, |raw| raw.targets.as_ref(), diagnostics);
    let (parts, fragments) = parts(chain, context);
    if parts.layers.is_empty() {
        diagnostics.add(missing("layers", "add `layers = [\"openembedded-core\", …]`, in the order of BBLAYERS"));
    }
    if parts.targets.is_empty() {
        diagnostics.add(missing("targets", "add `targets = [\"…\"]`: the recipes that are locked and built for it"));
    }
    let set = settings(name, block, chain, context, diagnostics);
    let mounts = chain.iter().flat_map(|raw| raw.mounts.iter().flatten()).filter_map(|mount| check_mount(mount).ok());
    let mounts = mounts.collect();
    let run = run::fold(&whose, chain, diagnostics);
    Some(Board { machine: machine?.value.clone(), parts, fragments, set, mounts, run })
}

/// The parts of a board, and the names of its fragments.
fn parts(chain: &[&RawBoard], context: &BoardChecks) -> (BoardParts, Vec<String>) {
    let config = context.config.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
    let conf = context.conf.iter().map(|text| text.value.clone()).collect();
    let mut parts = BoardParts { config, conf, env: env::read(context.env), ..BoardParts::default() };
    let mut names: Vec<String> = Vec::new();
    for raw in chain {
        let named = raw.fragments.iter().flat_map(|list| &list.value).map(|name| &name.value);
        let new: Vec<&String> = named.filter(|name| !names.contains(name)).collect();
        let added: Vec<&Fragment> = new.iter().filter_map(|name| context.fragments.get(name.as_str())).collect();
        parts.add_board(fragments::read(raw.parts()), &added);
        names.extend(new.into_iter().cloned());
    }
    (parts, names)
}

/// Reports what a board names twice, or names again after what it extends.
fn check_twice<'a>(
    whose: &str,
    what: &str,
    chain: &[&'a RawBoard],
    list: impl Fn(&'a RawBoard) -> Option<&'a At<Vec<RawText>>>,
    diagnostics: &mut Diagnostics,
) {
    let mut all: Vec<&RawText> = Vec::new();
    for (index, raw) in chain.iter().enumerate() {
        for text in list(raw).iter().flat_map(|list| &list.value) {
            let first = all.iter().find(|first| **first == text);
            // What a parent repeats is reported at the parent.
            if let Some(first) = first.filter(|_| index + 1 == chain.len()) {
                diagnostics.add(names::twice(whose, what, text, first));
            }
            all.push(text);
        }
    }
}

/// Checks the option settings of a board: each must be possible for it, and all together without contradiction.
fn settings(
    name: &str,
    block: &Block<RawBoard>,
    chain: &[&RawBoard],
    context: &BoardChecks,
    diagnostics: &mut Diagnostics,
) -> Vec<Setting> {
    let mut set: IndexMap<&RawText, (&At<SetTo>, bool)> = IndexMap::new();
    for (index, raw) in chain.iter().enumerate() {
        let own = index + 1 == chain.len();
        set.extend(raw.set.iter().flatten().map(|(option, value)| (option, (value, own))));
    }
    let before = diagnostics.count();
    let mut settings = Vec::new();
    for (option, (value, own)) in set {
        let Some(checked) = context.options.get(option.as_str()) else { continue };
        let choice = match (&checked.kind, &value.value) {
            (OptionKind::Flag { .. }, SetTo::Flag(true)) => None,
            (OptionKind::Choice { .. }, SetTo::Choice(choice)) => Some(choice.clone()),
            _ => continue,
        };
        let setting = Setting { option: option.value.clone(), choice };
        if !checked.is_for(name) {
            let extends = chain.last().and_then(|raw| raw.extends.as_ref()).filter(|_| !own);
            diagnostics.add(not_for(name, &setting, value, extends));
        }
        settings.push(setting);
    }
    // If an option is invalid, the set of all settings is not known.
    if diagnostics.count() == before && context.options.len() == context.raw_options.len() {
        check_sum(name, block, &settings, context, diagnostics);
    }
    settings
}

/// The fault of a board that sets, or inherits through `extends`, an option that it cannot have.
fn not_for(name: &str, setting: &Setting, value: &At<SetTo>, extends: Option<&RawText>) -> Error {
    let option = &setting.option;
    let fault = Error::input(format!("board `{name}` cannot have the option `{option}`"));
    let help = format!("add `{name}` to the `boards` of [options.{option}]");
    match extends {
        None => fault.at(value.span.clone(), "set here").help(help),
        Some(extends) if setting.choice.is_none() => fault
            .at(extends.span.clone(), "inherited from here")
            .help(format!("{help}, or write `set = {{ {option} = false }}` here")),
        Some(extends) => fault.at(extends.span.clone(), "inherited from here").help(help),
    }
}

/// What a board builds by default must be possible.
fn check_sum(
    name: &str,
    block: &Block<RawBoard>,
    settings: &[Setting],
    context: &BoardChecks,
    diagnostics: &mut Diagnostics,
) {
    let values = select::values(context.options, name, settings);
    let own = block.raw.as_ref().and_then(|raw| raw.set.as_ref());
    let near = |options: &[&str]| {
        let key = own.and_then(|set| set.keys().find(|key| options.contains(&key.as_str())));
        key.map_or_else(|| block.span.clone(), |key| key.span.clone())
    };
    for (option_name, choice) in values.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        let Some(option) = context.options.get(option_name) else { continue };
        if let Some(why) = option.refusal(name, choice) {
            let fault = select::refused(name, option_name, option, &format!("{option_name}={choice}"), why);
            diagnostics.add(fault.at(near(&[option_name]), "this is its default"));
        }
    }
    for broken in select::broken(context.options, &values) {
        let span = near(&[broken.flag, &broken.other.option]);
        let fault = Error::input(format!("the settings of board `{name}` contradict each other: {broken}"));
        diagnostics.add(fault.at(span, "here").help("change the board's `set`, or the option's rules"));
    }
}
