//! Writes a manifest of a project as it was found, in the order in which the manifest's page describes the sections.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Key, Table, Value, value};

use super::found::{FilePlace, FoundBoard, FoundEnv, FoundLayer, FoundOrigin, FoundPatch, FoundProject};
use super::secrets;
use crate::manifest::Manifest;
use crate::source::url::redact;

/// A list that is longer is written with a line for each entry.
const WIDTH: usize = 100;

/// The name of a layer that is the engine without being named so.
const ENGINE: &str = "bitbake";

/// What all boards have in common, which is written once.
#[derive(Default)]
struct Common {
    config: IndexMap<String, String>,
    conf: Vec<String>,
    env: IndexMap<String, FoundEnv>,
}

/// The text of the manifest. What would make it invalid is added to the notes.
pub fn text(project: &mut FoundProject, name: &str, path: &Path) -> String {
    let common = common(&mut project.boards);
    let mut document = DocumentMut::new();
    document.insert("project", Item::Table(project_table(project, name, &common)));
    let layers = project.layers.iter().map(|(name, layer)| (name.clone(), layer_table(layer)));
    insert_tables(&mut document, "layers", layers.collect());
    insert_config(document.as_table_mut(), "config", &common.config, Table::new());
    if !common.env.is_empty() {
        document.insert("env", Item::Table(env_table(&common.env)));
    }
    let words: BTreeSet<&String> = project.boards.iter().flat_map(|board| &board.words).collect();
    let options = words.into_iter().map(|word| (word.clone(), option_table(word)));
    insert_tables(&mut document, "options", options.collect());
    let boards = project.boards.iter().map(|board| (board.name.clone(), board_table(board)));
    insert_tables(&mut document, "boards", boards.collect());
    if !project.rules.is_empty() || !project.fallback.is_empty() {
        document.insert("mirrors", Item::Table(mirrors_table(project)));
    }
    if let Some(cache) = cache_table(project) {
        document.insert("cache", Item::Table(cache));
    }
    let from = project.from.join(", ").replace(char::is_control, "?");
    let text = format!("# Brought over from {from} by `kbuild init --from`.\n\n{document}");
    check(text, path, project)
}

/// Takes out what every board has.
fn common(boards: &mut [FoundBoard]) -> Common {
    let Some((first, others)) = boards.split_first() else { return Common::default() };
    let everywhere = |key: &String, value: &String| others.iter().all(|board| board.config.get(key) == Some(value));
    let config: IndexMap<String, String> = first
        .config
        .iter()
        .filter(|(key, value)| everywhere(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let conf = if others.iter().all(|board| board.conf == first.conf) { first.conf.clone() } else { Vec::new() };
    let env: IndexMap<String, FoundEnv> = first
        .env
        .iter()
        .filter(|(key, value)| others.iter().all(|board| board.env.get(*key) == Some(value)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for board in boards {
        board.config.retain(|key, _| !config.contains_key(key));
        board.env.retain(|key, _| !env.contains_key(key));
        if !conf.is_empty() {
            board.conf.clear();
        }
    }
    Common { config, conf, env }
}

fn project_table(project: &FoundProject, name: &str, common: &Common) -> Table {
    let mut table = Table::new();
    table.insert("name", value(name));
    if let Some(engine) = project.engine.as_ref().filter(|engine| *engine != ENGINE) {
        table.insert("engine", value(engine));
    }
    insert_conf(&mut table, &common.conf);
    table
}

fn layer_table(layer: &FoundLayer) -> Table {
    let mut table = Table::new();
    match &layer.origin {
        FoundOrigin::Folder(path) => drop(table.insert("path", value(path))),
        FoundOrigin::Git { url, branch, tag, rev } => {
            table.insert("git", value(url));
            for (key, text) in [("branch", branch), ("tag", tag), ("rev", rev)] {
                if let Some(text) = text {
                    table.insert(key, value(text));
                }
            }
        }
    }
    if !layer.paths.is_empty() {
        table.insert("paths", list("paths", &layer.paths));
    }
    if !layer.patches.is_empty() {
        table.insert("patches", lines(layer.patches.iter().map(patch)));
    }
    table
}

fn patch(patch: &FoundPatch) -> Value {
    let Some(layer) = &patch.layer else { return Value::from(&patch.file) };
    let mut table = InlineTable::new();
    table.insert("layer", Value::from(layer));
    table.insert("file", Value::from(&patch.file));
    Value::InlineTable(table)
}

/// A flag with a word of OVERRIDES.
fn option_table(word: &str) -> Table {
    let mut table = Table::new();
    table.insert("flag", value(word));
    table
}

fn board_table(board: &FoundBoard) -> Table {
    let mut table = Table::new();
    table.insert("machine", value(&board.machine));
    table.insert("layers", list("layers", &board.layers));
    table.insert("targets", list("targets", &board.targets));
    if !board.words.is_empty() {
        let set: InlineTable = board.words.iter().map(|word| (word.as_str(), Value::from(true))).collect();
        table.insert("set", value(set));
    }
    insert_conf(&mut table, &board.conf);
    insert_config(&mut table, "config", &board.config, Table::new());
    if !board.env.is_empty() {
        table.insert("env", Item::Table(env_table(&board.env)));
    }
    table
}

fn env_table(env: &IndexMap<String, FoundEnv>) -> Table {
    let mut table = Table::new();
    for (name, variable) in env {
        let item = match variable {
            FoundEnv { forward: false, value: Some(text) } => value(text),
            FoundEnv { value: default, .. } => {
                let mut inline = InlineTable::new();
                inline.insert("forward", Value::from(true));
                if let Some(text) = default {
                    inline.insert("default", Value::from(text));
                }
                value(inline)
            }
        };
        table.insert(name, item);
    }
    table
}

fn mirrors_table(project: &FoundProject) -> Table {
    let mut mirrors = Table::new();
    mirrors.set_implicit(true);
    for (key, rules) in [("rule", &project.rules), ("fallback", &project.fallback)] {
        let mut tables = ArrayOfTables::new();
        for rule in rules {
            let mut table = Table::new();
            table.insert("match", literal(&rule.pattern).map_or_else(|| value(&rule.pattern), Item::Value));
            table.insert("to", list("to", &rule.to));
            tables.push(table);
        }
        if !tables.is_empty() {
            mirrors.insert(key, Item::ArrayOfTables(tables));
        }
    }
    mirrors
}

fn cache_table(project: &FoundProject) -> Option<Table> {
    let cache = &project.cache;
    let mut table = Table::new();
    cache.dir.iter().for_each(|dir| drop(table.insert("dir", value(dir))));
    if !cache.pull.is_empty() {
        table.insert("pull", list("pull", &cache.pull));
    }
    cache.hashserve.iter().for_each(|address| drop(table.insert("hashserve", value(address))));
    cache.prserve.iter().for_each(|address| drop(table.insert("prserve", value(address))));
    (!table.is_empty()).then_some(table)
}

/// Adds `[section.NAME]` for each table.
fn insert_tables(document: &mut DocumentMut, section: &str, tables: Vec<(String, Table)>) {
    if tables.is_empty() {
        return;
    }
    let mut parent = Table::new();
    parent.set_implicit(true);
    for (name, table) in tables {
        parent.insert(&name, Item::Table(table));
    }
    document.insert(section, Item::Table(parent));
}

fn insert_config(parent: &mut Table, key: &str, config: &IndexMap<String, String>, mut table: Table) {
    for (name, text) in config {
        table.insert_formatted(&Key::new(name), value(text));
    }
    if !table.is_empty() {
        parent.insert(key, Item::Table(table));
    }
}

fn insert_conf(table: &mut Table, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let written = if text.contains("'''") { None } else { format!("'''\n{text}'''").parse::<Value>().ok() };
    table.insert("conf", written.map_or_else(|| value(&text), Item::Value));
}

/// A text between single quotes, in which a backslash is a backslash.
fn literal(text: &str) -> Option<Value> {
    if text.contains('\\') && !text.contains('\'') { format!("'{text}'").parse().ok() } else { None }
}

fn list(key: &str, texts: &[String]) -> Item {
    let array: Array = texts.iter().map(String::as_str).collect();
    let width = key.len() + 5 + texts.iter().map(|text| text.len() + 4).sum::<usize>();
    if width > WIDTH {
        return lines(array.into_iter());
    }
    value(array)
}

/// A list with a line for each entry.
fn lines(values: impl Iterator<Item = Value>) -> Item {
    let mut array: Array = values.collect();
    array.iter_mut().for_each(|entry| entry.decor_mut().set_prefix("\n    "));
    array.set_trailing("\n");
    array.set_trailing_comma(true);
    value(array)
}

/// Looks at the text as `kbuild lock` will. A fault is a note: the rest is worth having. A credential is taken out, whatever
/// place it came through.
fn check(text: String, path: &Path, project: &mut FoundProject) -> String {
    let file = FilePlace { file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), line: None };
    let redacted = redact(&text);
    if redacted != text || text.lines().any(secrets::carries_secret) {
        project.notes.left_out(&file, "a credential in a URL", "`***` stands for it");
    }
    if let Err(error) = Manifest::parse(path, &redacted) {
        let faults =
            if error.related_errors().is_empty() { std::slice::from_ref(&error) } else { error.related_errors() };
        for fault in faults {
            project.notes.left_out(&file, fault.to_string(), fault.hint().unwrap_or("correct it by hand"));
        }
    }
    redacted
}
