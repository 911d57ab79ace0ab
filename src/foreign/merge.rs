//! Several builds in one project: what they have in common once, what differs under names of its own.

use std::mem;

use super::found::{FoundBoard, FoundProject, push_new};

/// Adds a project that was read after another one.
pub(super) fn merge(whole: &mut FoundProject, mut new: FoundProject) {
    let renamed = new_names(whole, &new);
    for (name, layer) in mem::take(&mut new.layers) {
        let name = renamed.iter().find(|(old, _)| *old == name).map_or(name.clone(), |(_, name)| name.clone());
        whole.layers.entry(name).or_insert(layer);
    }
    for mut board in new.boards {
        for layer in &mut board.layers {
            if let Some((_, name)) = renamed.iter().find(|(old, _)| old == layer) {
                layer.clone_from(name);
            }
        }
        add_board(whole, board);
    }
    let engine = new
        .engine
        .map(|engine| renamed.iter().find(|(old, _)| *old == engine).map_or(engine.clone(), |(_, name)| name.clone()));
    match (&whole.engine, engine) {
        (None, engine) => whole.engine = engine,
        (Some(known), Some(engine)) if *known != engine => {
            let place = super::FilePlace { file: new.from.first().cloned().unwrap_or_default(), line: None };
            whole.notes.left_out(
                &place,
                format!("the BitBake of `{engine}`"),
                format!("a manifest has one engine: `{known}`"),
            );
        }
        _ => {}
    }
    whole.from.extend(new.from);
    for url in new.cache.pull {
        push_new(&mut whole.cache.pull, url);
    }
    whole.cache.dir = whole.cache.dir.take().or(new.cache.dir);
    whole.cache.hashserve = whole.cache.hashserve.take().or(new.cache.hashserve);
    whole.cache.prserve = whole.cache.prserve.take().or(new.cache.prserve);
    for (known, new) in [(&mut whole.rules, new.rules), (&mut whole.fallback, new.fallback)] {
        new.into_iter().for_each(|rule| push_new(known, rule));
    }
    whole.notes.extend(new.notes);
}

/// Layers that another build has too, but at another commit or with other folders: they get the board's name behind theirs.
fn new_names(whole: &FoundProject, new: &FoundProject) -> Vec<(String, String)> {
    let suffix = new.boards.first().map_or("2", |board| board.other_name.as_str());
    let differs =
        new.layers.iter().filter(|(name, layer)| whole.layers.get(*name).is_some_and(|known| known != *layer));
    differs
        .map(|(name, _)| (name.clone(), free_name(&format!("{name}-{suffix}"), |name| whole.layers.contains_key(name))))
        .collect()
}

fn add_board(whole: &mut FoundProject, mut board: FoundBoard) {
    let taken = |name: &str| whole.boards.iter().any(|known| known.name == name);
    if taken(&board.name) {
        board.name.clone_from(&board.other_name);
    }
    board.name = free_name(&board.name, taken);
    whole.boards.push(board);
}

/// A name that is not taken: itself, or with a number.
fn free_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    (2_u32..).map(|number| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or_default()
}
