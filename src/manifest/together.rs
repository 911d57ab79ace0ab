//! Choices of several options that are looked at together: `[closure] together`, and `lock = "pairs"`.
//!
//! A layer may fetch something only where two words stand in OVERRIDES, so the closures of each choice by itself do not have it.

use indexmap::IndexMap;

use super::closure::{self, other_settings, with_consequences};
use super::document::{Blocks, Diagnostics};
use super::raw::{At, RawOption, RawText};
use super::{Board, ClosureScope, Manifest, Selection, Setting, options, select};
use crate::error::{Error, Result};
use crate::source::name::TOGETHER;

/// The valid groups of `[closure] together`.
pub(super) fn check(
    groups: Option<&At<Vec<At<Vec<RawText>>>>>,
    scope: ClosureScope,
    blocks: &Blocks<RawOption>,
    diagnostics: &mut Diagnostics,
) -> Vec<Vec<Setting>> {
    let Some(groups) = groups else { return Vec::new() };
    if scope.leaves_choices_out() && !groups.is_empty() {
        let fault = Error::input("[closure] `together` has no effect, since `lock` leaves choices out");
        diagnostics.add(fault.at(groups.span.clone(), "here").help("remove it, or set `lock` to `choices` or `pairs`"));
    }
    groups.iter().filter_map(|group| diagnostics.take(check_group(group, blocks))).collect()
}

fn check_group(group: &At<Vec<RawText>>, blocks: &Blocks<RawOption>) -> Result<Vec<Setting>> {
    if group.len() < 2 {
        let fault = Error::input("[closure] `together` has a group of fewer than two settings");
        let help = "name at least two, as `--set` takes them; each choice by itself is looked at anyway";
        return Err(fault.at(group.span.clone(), "this group").help(help));
    }
    let mut settings: Vec<Setting> = Vec::new();
    for text in &group.value {
        let setting = options::setting(text, blocks)?;
        if settings.iter().any(|known| known.option == setting.option) {
            let fault = Error::input(format!("a group of [closure] `together` has `{}` twice", setting.option));
            return Err(fault
                .at(text.span.clone(), "again")
                .help("an option has one value in a build: keep one of them"));
        }
        settings.push(setting);
    }
    Ok(settings)
}

/// Faults of groups that no board can have.
pub(super) fn check_possible(
    manifest: &Manifest,
    groups: Option<&At<Vec<At<Vec<RawText>>>>>,
    diagnostics: &mut Diagnostics,
) {
    for (group, raw) in manifest.closure.together.iter().zip(groups.iter().flat_map(|groups| &groups.value)) {
        let settings: Vec<String> = group.iter().map(ToString::to_string).collect();
        let possible = |(name, board): (&String, &Board)| selection(manifest, name, board, &settings).is_some();
        if !manifest.boards.is_empty() && !manifest.boards.iter().any(possible) {
            let fault = Error::input(format!("no board can have {} together", settings.join(" and ")));
            diagnostics.add(fault.at(raw.span.clone(), "this group").help("remove it, or change the options' rules"));
        }
    }
}

/// The groups that a board can have, by name; each in the order of the options, without what the board has by itself.
pub(super) fn groups(manifest: &Manifest, name: &str, board: &Board) -> IndexMap<String, Selection> {
    let declared = manifest.closure.together.iter().map(|group| group.iter().map(ToString::to_string).collect());
    let mut all: Vec<Vec<String>> = declared.collect();
    if manifest.closure.lock == ClosureScope::Pairs {
        let single = other_settings(manifest, name, board);
        let pairs = single.iter().enumerate().flat_map(|(at, one)| single[at + 1..].iter().map(move |two| [one, two]));
        let apart = pairs.filter(|[one, two]| option_of(one) != option_of(two));
        all.extend(apart.map(|pair| pair.map(Clone::clone).to_vec()));
    }
    let alone: Vec<Selection> = other_settings(manifest, name, board)
        .into_iter()
        .filter_map(|setting| selection(manifest, name, board, &[setting]))
        .collect();
    let base = select::values(&manifest.options, name, &board.set);
    let mut groups = IndexMap::new();
    for group in all {
        let Some(selection) = selection(manifest, name, board, &group) else { continue };
        // One of them brings the others along.
        if alone.iter().any(|alone| alone.is_built_as(&selection)) {
            continue;
        }
        let changed = selection.values.iter().filter(|(option, value)| {
            group.iter().any(|setting| option_of(setting) == option.as_str()) && base.get(*option) != Some(value)
        });
        let parts: Vec<String> =
            changed.map(|(option, value)| closure::setting(manifest, option, value.as_deref())).collect();
        if parts.len() > 1 {
            groups.entry(parts.join(TOGETHER)).or_insert(selection);
        }
    }
    groups
}

/// A board with all settings of a group and what they bring along; `None` if it cannot have them.
fn selection(manifest: &Manifest, name: &str, board: &Board, group: &[String]) -> Option<Selection> {
    let wanted = group.iter().map(|setting| select::one(manifest, name, setting)).collect::<Result<Vec<_>>>().ok()?;
    let set = with_consequences(manifest, name, board, group);
    let selection = manifest.select(name, &set).ok()?;
    wanted.iter().all(|(option, value)| selection.values.get(option) == Some(value)).then_some(selection)
}

fn option_of(setting: &str) -> &str {
    setting.split_once('=').map_or(setting, |(option, _)| option)
}

/// Whether a build with these options has a group, whose values are those of its selection.
pub(super) fn holds(manifest: &Manifest, values: &select::Values, group: &str) -> bool {
    let has = |part: &str| {
        let value = values.get(option_of(part));
        value.is_some_and(|value| closure::setting(manifest, option_of(part), value.as_deref()) == part)
    };
    group.split(TOGETHER).all(has)
}
