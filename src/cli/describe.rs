//! How the queries (`why`, `tree`, `list`, `verify`) describe sources, recipes and boards: the same words and fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::error::Result;
use crate::lock::{Configuration, Lock, Locked, Use, UsedRecipe};
use crate::progress;
use crate::source::{SourceId, SourceUrl};
use crate::store::Store;

/// Says where a source is fetched if no SRC_URI names it.
pub(in crate::cli) const OUTSIDE: &str = "outside of recipes";

/// The URLs of a source, the canonical one first.
pub(in crate::cli) fn urls<'a>(locked: Locked<'a>) -> &'a [SourceUrl] {
    match locked {
        Locked::File(_, file) => &file.urls,
        Locked::Git(_, git) => std::slice::from_ref(&git.url),
    }
}

/// The host of the canonical URL.
pub(in crate::cli) fn host(locked: Locked<'_>) -> String {
    urls(locked).first().map(SourceUrl::host).unwrap_or_default()
}

/// In bytes: for a file the size in the lock, for a commit its size in the store.
pub(in crate::cli) fn size(locked: Locked<'_>, store: Option<&Store>) -> Option<u64> {
    let content = match locked {
        Locked::File(_, file) => file.content.map(|content| content.size).or(file.stated_size),
        Locked::Git(..) => None,
    };
    content.or_else(|| store?.size(locked))
}

/// A source with everything that the lock knows of it.
pub(in crate::cli) fn source_json(lock: &Lock, id: &SourceId, store: Option<&Store>) -> Result<Value> {
    let locked = lock.get(id)?;
    let mut value = json!({
        "id": id,
        "name": locked.name(),
        "urls": urls(locked).iter().map(SourceUrl::as_str).collect::<Vec<_>>(),
        "host": host(locked),
        "size": size(locked, store),
        "complete": locked.is_complete(),
        "in_store": store.is_some_and(|store| store.has(locked)),
    });
    let more = match locked {
        Locked::File(_, file) => json!({
            "kind": if matches!(id, SourceId::Lfs(_)) { "lfs" } else { "file" },
            "sha256": file.sha256.to_string(),
            "blake3": file.content.map(|content| content.blake3.to_string()),
        }),
        Locked::Git(_, git) => json!({
            "kind": "git",
            "commit": git.commit.to_string(),
            "tree": git.tree.map(|tree| tree.to_string()),
            "refs": git.refs,
            "history": git.history,
            "submodules": git.submodules.iter().map(|(path, key)| {
                json!({ "path": path, "source": SourceId::Git(key.clone()) })
            }).collect::<Vec<_>>(),
            "lfs": git.lfs.iter().map(|(path, oid)| {
                json!({ "path": path, "source": SourceId::Lfs(oid.clone()) })
            }).collect::<Vec<_>>(),
        }),
    };
    extend(&mut value, more);
    Ok(value)
}

/// Adds the fields of one object to another.
pub(in crate::cli) fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

/// A source in a few lines.
pub(in crate::cli) fn source_text(lock: &Lock, id: &SourceId, store: Option<&Store>) -> Result<String> {
    let locked = lock.get(id)?;
    let unseen = || "not known, since its bytes were never seen".to_owned();
    let mut facts: Vec<(&str, String)> = urls(locked).iter().map(|url| ("url", url.to_string())).collect();
    match locked {
        Locked::File(_, file) => {
            facts.extend(file.name.iter().map(|name| ("name", name.clone())));
            facts.push(("sha256", file.sha256.to_string()));
            facts.push(("blake3", file.content.map_or_else(unseen, |content| content.blake3.to_string())));
        }
        Locked::Git(_, git) => {
            facts.push(("commit", git.commit.to_string()));
            facts.extend(git.refs.iter().map(|name| ("ref", name.clone())));
            facts.push(("tree", git.tree.map_or_else(unseen, |tree| tree.to_string())));
        }
    }
    facts.extend(size(locked, store).map(|bytes| ("size", progress::size(bytes))));
    let there = store.is_some_and(|store| store.has(locked));
    facts.push(("store", if there { "there" } else { "not there" }.to_owned()));
    let lines = facts.iter().map(|(what, fact)| format!("  {what:<7} {fact}"));
    Ok([id.to_string()].into_iter().chain(lines).collect::<Vec<_>>().join("\n"))
}

/// A recipe's block.
pub(in crate::cli) fn recipe_json(used: &UsedRecipe<'_>) -> Value {
    let UsedRecipe { name, recipe, .. } = used;
    json!({
        "name": name,
        "version": recipe.version,
        "license": recipe.license,
        "layer": recipe.layer,
        "file": recipe.file,
    })
}

/// `busybox 1.37.0 (recipes-core/busybox/busybox_1.37.0.bb of layer core, GPL-2.0-only)`.
pub(in crate::cli) fn recipe_text(used: &UsedRecipe<'_>) -> String {
    let UsedRecipe { name, recipe, .. } = used;
    format!("{name} {} ({} of layer {}, {})", recipe.version, recipe.file, recipe.layer, recipe.license)
}

/// Boards, each with a choice of its options.
pub(in crate::cli) fn configurations_json(configurations: &BTreeSet<Configuration<'_>>) -> Value {
    configurations.iter().map(|configuration| configuration_json(*configuration)).collect()
}

/// A board and its choice; `null` for the default.
pub(in crate::cli) fn configuration_json(Configuration { board, setting }: Configuration<'_>) -> Value {
    json!({ "board": board, "with": (!setting.is_empty()).then_some(setting) })
}

/// `pi, qemu; intel with boot=rootfs`.
pub(in crate::cli) fn configurations_text(lock: &Lock, configurations: &BTreeSet<Configuration<'_>>) -> String {
    let mut boards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Configuration { board, setting } in configurations {
        boards.entry(setting).or_default().push(board);
    }
    let groups = boards.iter().map(|(setting, boards)| match *setting {
        "" => boards_text(lock, boards),
        setting if boards.len() > 1 => format!("{}, each with {setting}", boards_text(lock, boards)),
        setting => format!("{} with {setting}", boards_text(lock, boards)),
    });
    groups.collect::<Vec<_>>().join("; ")
}

/// Boards by name, or a short text for all of them.
pub(in crate::cli) fn boards_text(lock: &Lock, boards: &[&str]) -> String {
    match boards.len() {
        0 => "no board".to_owned(),
        all if all == lock.boards.len() && all > 3 => format!("all {all} boards"),
        _ => boards.join(", "),
    }
}

/// Who names a source, briefly: `the engine`, `layer meta-intel`, `source linux`, recipes by name.
pub(in crate::cli) fn who(uses: &[&Use<'_>], engine: &str) -> BTreeSet<String> {
    let word = |of: &&Use<'_>| match of {
        Use::Layer(name, _) if *name == engine => "the engine".to_owned(),
        Use::Layer(name, _) => format!("layer {name}"),
        Use::Declared(name, _) => format!("source {name}"),
        Use::Recipe(used, _) => used.name.to_owned(),
        Use::Extra(_) => OUTSIDE.to_owned(),
    };
    uses.iter().map(word).collect()
}
