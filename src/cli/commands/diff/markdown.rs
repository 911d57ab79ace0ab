//! The difference of two locks as Markdown for a merge request: tables that GitHub, GitLab and Forgejo show, long lists folded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::text::{concerns, few, moved, names, told, volume};
use super::{DiffView, PinHistory, commits, place};
use crate::cli::output::count;
use crate::files::LOCK;
use crate::lock::{BoardChange, PinChange, PinDetail, PinnedAt, Presence, RecipeChange};

/// The most rows of a list. Forges show no description that is too long.
const ROWS: usize = 300;

/// The whole page.
pub(super) fn of(view: &DiffView<'_>) -> String {
    let diff = &view.diff;
    let mut parts = vec![format!("### {LOCK} since {}", code(view.since))];
    parts.push(summary(view));
    for (heading, pins) in [("layer", &diff.layers), ("source", &diff.sources)] {
        if !pins.is_empty() {
            parts.push(pin_table(heading, pins, view));
        }
    }
    let with_details = diff.layers.iter().filter(|pin| !pin.details.is_empty());
    parts.extend(with_details.map(detail_list));
    let moved = diff.layers.iter().chain(&diff.sources);
    parts.extend(moved.filter_map(|pin| commit_list(pin.name, view.histories.get(pin.name)?)));
    if !diff.licenses.is_empty() {
        parts.push(license_list(&diff.licenses));
    }
    if !diff.recipes.is_empty() {
        parts.push(folded(&recipe_summary(&diff.recipes), &recipe_table(view)));
    }
    if !diff.boards.is_empty() {
        parts.push(board_table(&diff.boards));
    }
    parts.join("\n\n")
}

/// `2 layers, 1 source and 12 recipes differ, on qemu and pi. …`.
fn summary(view: &DiffView<'_>) -> String {
    let diff = &view.diff;
    if diff.is_empty() {
        return "Nothing differs.".to_owned();
    }
    let numbers = [(diff.layers.len(), "layer"), (diff.sources.len(), "source"), (diff.recipes.len(), "recipe")];
    let counted: Vec<String> =
        numbers.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| count(number, what)).collect();
    let what = if counted.is_empty() { "Other entries".to_owned() } else { counted.join(", ") };
    format!("{what} changed. {}, {}.", volume("new", &diff.added), volume("gone", &diff.removed))
}

fn pin_table(heading: &str, pins: &[PinChange<'_>], view: &DiffView<'_>) -> String {
    let mut table = format!("| {heading} | from | to | commits | boards |\n|---|---|---|---|---|");
    for pin in pins {
        let cell = |at: &Option<PinnedAt<'_>>| at.as_ref().map(pinned).unwrap_or_default();
        let history = view.histories.get(pin.name).map(history_cell).unwrap_or_default();
        let boards = plain(&view.boards(&pin.boards));
        let _ =
            write!(table, "\n| {} | {} | {} | {history} | {boards} |", plain(pin.name), cell(&pin.from), cell(&pin.to));
    }
    table
}

/// The patches and signers of a layer that differ. Never folded: they say whose code is built.
fn detail_list(pin: &PinChange<'_>) -> String {
    let line = |detail: &PinDetail| format!("- {} {} {}", detail.what.name(), code(&detail.name), detail.change.name());
    let list = limited(pin.details.iter().map(line).collect(), "- ");
    format!("**{}, patches and signers:**\n\n{list}", plain(pin.name))
}

fn pinned(at: &PinnedAt<'_>) -> String {
    let (named, hash) = place(at);
    if named.is_empty() { code(&hash) } else { format!("{} {}", plain(&named), code(&hash)) }
}

fn history_cell(history: &PinHistory) -> String {
    let told = commits(history).map_or_else(|| "compare".to_owned(), |(told, _)| told);
    match &history.page {
        Some(page) => format!("[{told}]({page})"),
        None if history.commits.is_some() => told,
        None => String::new(),
    }
}

fn commit_list(name: &str, history: &PinHistory) -> Option<String> {
    let (told, commits) = commits(history)?;
    let list = commits.iter().map(|line| format!("- {} {}", code(&line.id.short()), plain(&line.subject)));
    Some(folded(&format!("{}: {told}", plain(name)), &limited(list.collect(), "- ")))
}

fn recipe_summary(recipes: &[RecipeChange<'_>]) -> String {
    let new = recipes.iter().filter(|recipe| recipe.from.is_none()).count();
    let gone = recipes.iter().filter(|recipe| recipe.to.is_none()).count();
    told(recipes.len() - new - gone, new, gone)
}

fn recipe_table(view: &DiffView<'_>) -> String {
    let row = |recipe: &RecipeChange<'_>| {
        let what = match (&recipe.from, &recipe.to) {
            (Some(from), Some(to)) => moved(from, to),
            (None, Some(to)) => format!("new: {}, {}", names(&to.versions), names(&to.licenses)),
            (Some(from), None) => format!("gone: {}", names(&from.versions)),
            (None, None) => String::new(),
        };
        format!("| {} | {} | {} |", plain(recipe.name), plain(&what), plain(&view.boards(&recipe.boards)))
    };
    let rows = limited(view.diff.recipes.iter().map(row).collect(), "| ");
    format!("| recipe | | boards |\n|---|---|---|\n{rows}")
}

/// The licenses; folded if they are many.
fn license_list(licenses: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    const OPEN: usize = 10;
    let license =
        |(license, recipes): (&&str, &BTreeSet<&str>)| format!("- {} in {}", code(license), plain(&few(recipes, 0)));
    let list = limited(licenses.iter().map(license).collect(), "- ");
    if licenses.len() > OPEN {
        return folded(&format!("{} that no recipe had before", count(licenses.len(), "license")), &list);
    }
    format!("**Licenses that no recipe had before:**\n\n{list}")
}

fn board_table(boards: &[BoardChange<'_>]) -> String {
    let mut table = "| board | |\n|---|---|".to_owned();
    for board in boards {
        let told = match board.presence {
            Presence::OnlyNew => format!("new: {}", count(board.recipes_added.len(), "recipe")),
            Presence::OnlyOld => "gone".to_owned(),
            Presence::Both => concerns(board),
        };
        let _ = write!(table, "\n| {} | {} |", plain(board.name), plain(&told));
    }
    table
}

fn limited(mut rows: Vec<String>, begin: &str) -> String {
    if rows.len() > ROWS {
        let more = rows.len() - ROWS;
        rows.truncate(ROWS);
        rows.push(format!("{begin}and {more} more"));
    }
    rows.join("\n")
}

fn folded(summary: &str, content: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n{content}\n\n</details>")
}

/// Text from outside, of which nothing is taken for Markdown or HTML, nor calls anybody (`@name`) or closes an issue.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '#' => escaped.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name or hash in a fixed-width font.
fn code(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control() && !matches!(c, '`' | '|')).collect();
    format!("`{clean}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_only_text() {
        let text = plain("fix <b>[x](y)</b> | @you closes #1 *now*");
        assert_eq!(text, "fix &lt;b>\\[x\\](y)&lt;/b> \\| &#64;you closes &#35;1 \\*now\\*");
        assert_eq!(code("a`|b\n"), "`ab`");
    }
}
