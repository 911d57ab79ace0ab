//! The difference of two locks as text of 80 columns.

use std::collections::BTreeSet;

use super::{DiffView, PinHistory, commits, place};
use crate::cli::output::count;
use crate::lock::{BoardChange, DetailChange, PinChange, PinDetail, Presence, RecipeChange, RecipeSide, SourceVolume};
use crate::progress;

/// In columns.
const WIDTH: usize = 80;

/// The most recipes that are listed without `-v`, and commits of a pin.
const SHOWN: usize = 30;

/// The whole text; empty if nothing differs.
pub(super) fn of(view: &DiffView<'_>, verbose: bool) -> String {
    let most = if verbose { usize::MAX } else { SHOWN };
    let diff = &view.diff;
    let mut sections: Vec<String> = Vec::new();
    for (heading, pins) in [("Layers", &diff.layers), ("Sources", &diff.sources)] {
        let lines = pins.iter().flat_map(|pin| pin_lines(pin, view.histories.get(pin.name), most));
        sections.extend(section(heading, lines.collect()));
    }
    sections.extend(section(
        "Recipes",
        limited(diff.recipes.iter().map(|recipe| recipe_line(recipe, view)).collect(), most, "recipe"),
    ));
    let license =
        |(license, recipes): (&&str, &BTreeSet<&str>)| wrapped("  + ", &format!("{license}: {}", few(recipes, most)));
    let licenses = limited(diff.licenses.iter().map(license).collect(), most, "license");
    sections.extend(section("Licenses that no recipe had", licenses));
    sections.extend(section("Boards", diff.boards.iter().map(board_line).collect()));
    if diff.added.sources + diff.removed.sources > 0 {
        sections.push(format!("{}, {}", volume("new", &diff.added), volume("gone", &diff.removed)));
    }
    sections.join("\n\n")
}

fn section(heading: &str, lines: Vec<String>) -> Option<String> {
    (!lines.is_empty()).then(|| format!("{heading}\n{}", lines.join("\n")))
}

fn limited(mut lines: Vec<String>, most: usize, what: &str) -> Vec<String> {
    if lines.len() > most {
        let more = count(lines.len() - most, what);
        lines.truncate(most);
        lines.push(format!("    and {more} more (-v, --markdown or --format json)"));
    }
    lines
}

fn pin_lines(pin: &PinChange<'_>, history: Option<&PinHistory>, most: usize) -> Vec<String> {
    let mut lines = vec![match (&pin.from, &pin.to) {
        (Some(from), Some(to)) => {
            let ((was, before), (is, after)) = (place(from), place(to));
            let named = if was == is || was.is_empty() { is } else { format!("{was} -> {is}") };
            let hashes = if before == after { after } else { format!("{before} -> {after}") };
            wrapped("  ~ ", &with(&format!("{}  {named}", pin.name), &hashes))
        }
        (None, Some(to)) => wrapped("  + ", &with(&format!("{}  {}", pin.name, place(to).0), &place(to).1)),
        (Some(from), None) => wrapped("  - ", &with(&format!("{}  {}", pin.name, place(from).0), &place(from).1)),
        (None, None) => String::new(),
    }];
    lines.extend(pin.details.iter().map(detail_line));
    lines.extend(history.into_iter().flat_map(|history| history_lines(history, most)));
    lines
}

fn detail_line(detail: &PinDetail) -> String {
    let mark = match detail.change {
        DetailChange::New => "+",
        DetailChange::Gone => "-",
        DetailChange::Changed | DetailChange::Moved => "~",
    };
    let note = match detail.change {
        DetailChange::Changed => ", other content",
        DetailChange::Moved => ", another place in the order",
        DetailChange::New | DetailChange::Gone => "",
    };
    cut(&format!("      {mark} {} {}{note}", detail.what.name(), detail.name))
}

fn with(named: &str, hashes: &str) -> String {
    format!("{}  {hashes}", named.trim_end())
}

fn history_lines(history: &PinHistory, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    match (commits(history), &history.now) {
        (Some((told, commits)), _) => {
            lines.push(format!("      {told}:"));
            let list = commits.iter().map(|line| cut(&format!("      {} {}", line.id.short(), line.subject)));
            lines.extend(limited(list.collect(), most, "commit"));
        }
        (None, Some(now)) => lines.push(cut(&format!("      now at: {}", now.subject))),
        (None, None) => {}
    }
    lines.extend(history.page.iter().map(|page| format!("      {page}")));
    lines
}

fn recipe_line(change: &RecipeChange<'_>, view: &DiffView<'_>) -> String {
    let on = if change.boards.is_empty() { String::new() } else { format!("  ({})", view.boards(&change.boards)) };
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => wrapped("  ~ ", &format!("{}  {}{on}", change.name, moved(from, to))),
        (None, Some(to)) => {
            wrapped("  + ", &format!("{}  {}, {}{on}", change.name, names(&to.versions), names(&to.licenses)))
        }
        (Some(from), None) => wrapped("  - ", &format!("{}  {}{on}", change.name, names(&from.versions))),
        (None, None) => String::new(),
    }
}

/// What is other of a recipe: its version, its license, its layer, or only what it fetches.
pub(super) fn moved(from: &RecipeSide<'_>, to: &RecipeSide<'_>) -> String {
    let arrow = |from: &BTreeSet<&str>, to: &BTreeSet<&str>| format!("{} -> {}", names(from), names(to));
    let version = if from.versions == to.versions { names(&to.versions) } else { arrow(&from.versions, &to.versions) };
    let license = (from.licenses != to.licenses).then(|| format!("license {}", arrow(&from.licenses, &to.licenses)));
    let layer = (from.layers != to.layers).then(|| format!("layer {}", arrow(&from.layers, &to.layers)));
    let same_version = from.versions == to.versions && from.sources != to.sources;
    let sources = same_version.then(|| "other sources".to_owned());
    [Some(version), sources, license, layer].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn board_line(board: &BoardChange<'_>) -> String {
    let told = match board.presence {
        Presence::OnlyNew => format!("{}: new, {}", board.name, count(board.recipes_added.len(), "recipe")),
        Presence::OnlyOld => format!("{}: gone", board.name),
        Presence::Both => format!("{}: {}", board.name, concerns(board)),
    };
    wrapped("    ", &told)
}

/// `3 recipes changed, 1 new; layers and sources: core, linux`.
pub(super) fn concerns(board: &BoardChange<'_>) -> String {
    let recipes = told(board.recipes_changed.len(), board.recipes_added.len(), board.recipes_removed.len());
    let pins = if board.pins.is_empty() { String::new() } else { format!("pins: {}", names(&board.pins)) };
    [recipes, pins].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `3 recipes changed, 1 new`.
pub(super) fn told(changed: usize, new: usize, gone: usize) -> String {
    let numbers = [(changed, "changed"), (new, "new"), (gone, "gone")];
    let mut told: Vec<String> = Vec::new();
    for (number, what) in numbers.into_iter().filter(|(number, _)| *number > 0) {
        let number = if told.is_empty() { count(number, "recipe") } else { number.to_string() };
        told.push(format!("{number} {what}"));
    }
    told.join(", ")
}

/// `12 sources new (3.1 MiB and 2 of unknown size)`.
pub(super) fn volume(what: &str, volume: &SourceVolume) -> String {
    let SourceVolume { sources, bytes, unknown } = *volume;
    let number = count(sources, "source");
    match (unknown, sources - unknown) {
        (0, 0) => format!("{number} {what}"),
        (_, 0) => format!("{number} {what} (of unknown size)"),
        (0, _) => format!("{number} {what} ({})", progress::size(bytes)),
        _ => format!("{number} {what} ({} and {unknown} of unknown size)", progress::size(bytes)),
    }
}

/// The names of a few of many; all of them if nothing is cut.
pub(super) fn few(all: &BTreeSet<&str>, most: usize) -> String {
    const FEW: usize = 4;
    if all.len() <= FEW + 1 || most == usize::MAX {
        return names(all);
    }
    let first: BTreeSet<&str> = all.iter().take(FEW).copied().collect();
    format!("{} and {} more", names(&first), all.len() - FEW)
}

pub(super) fn names(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn wrapped(mark: &str, text: &str) -> String {
    let options = textwrap::Options::new(WIDTH).initial_indent(mark).subsequent_indent("      ");
    // Names are not split, so that they can be copied.
    let options = options.break_words(false).word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options)
}

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}
