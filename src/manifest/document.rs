//! Turns TOML text into raw blocks, and collects every fault.
//!
//! serde stops at the first fault. To show all faults at once, each key of each block is given to serde separately,
//! and unknown keys are looked for before that.

use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use toml_edit::{DocumentMut, Item, Table, TableLike};

use super::names;
use super::raw::{At, RawAllow, RawMount, RawRefusal, RawRule, RawRun};
use crate::error::{Error, Result};

pub(super) use super::diagnostics::Diagnostics;

/// Parses TOML; if its syntax is wrong, that is the only fault.
pub(super) fn parse(file: &Path, text: &str) -> Result<Table> {
    toml_edit::Document::parse(text).map(toml_edit::Document::into_table).or_else(|error| {
        let mut diagnostics = Diagnostics::default();
        let reason = error.message().trim().replace('\n', ", ");
        let span = visible(text, error.span().unwrap_or(0..0));
        diagnostics.add(Error::input(format!("this is not valid TOML: {reason}")).at(span, "here"));
        diagnostics.finish(file, text)?;
        Err(Error::bug("a fault was lost"))
    })
}

/// The place itself, or the end of the text if it is after it.
fn visible(text: &str, span: Range<usize>) -> Range<usize> {
    if span.start < text.trim_end().len() {
        return span.start..span.end.min(text.len());
    }
    let last = text.trim_end().char_indices().next_back();
    last.map_or(0..0, |(start, last)| start..start + last.len_utf8())
}

/// A named block of the manifest, such as `[layers.NAME]`.
#[derive(Debug)]
pub(super) struct Block<T> {
    /// Where its name is.
    pub(super) span: Range<usize>,
    /// Its content; `None` if that is so broken that checks would only give faults that follow from it.
    pub(super) raw: Option<T>,
}

/// All blocks of a kind, by name, in the order of the text. A broken block still has its name here, so that references to
/// it are not reported as faults too.
pub(super) type Blocks<T> = IndexMap<String, Block<T>>;

/// Reads `[SECTION.NAME]` blocks.
pub(super) fn blocks<T>(root: &Table, section: &str, what: &str, diagnostics: &mut Diagnostics) -> Blocks<T>
where
    T: DeserializeOwned + Default,
{
    let mut blocks = Blocks::new();
    let Some(table) = section_table(root, section, diagnostics) else { return blocks };
    for (name, item) in table.iter() {
        let span = key_span(table, name);
        diagnostics.take(names::check_name(what, name, &span));
        let raw = read(&format!("{section}.{name}"), item, &span, diagnostics);
        blocks.insert(name.to_owned(), Block { span, raw });
    }
    blocks
}

/// Reads a single `[SECTION]`; the range is where its name is.
pub(super) fn single<T>(root: &Table, section: &str, diagnostics: &mut Diagnostics) -> Option<Block<T>>
where
    T: DeserializeOwned + Default,
{
    let (key, item) = root.get_key_value(section)?;
    let span = key.span().unwrap_or_default();
    Some(Block { raw: read(section, item, &span, diagnostics), span })
}

/// Reads a `[SECTION]` of free keys with values of one type; values of other types are left out.
pub(super) fn entries<T: DeserializeOwned>(
    root: &Table,
    section: &str,
    diagnostics: &mut Diagnostics,
) -> IndexMap<At<String>, T> {
    let mut entries = IndexMap::new();
    let Some(table) = section_table(root, section, diagnostics) else { return entries };
    for (name, item) in table.iter() {
        let span = key_span(table, name);
        if let Some(read) = read_key::<IndexMap<At<String>, T>>(section, table, name, item, &span, diagnostics) {
            entries.extend(read);
        }
    }
    entries
}

/// Reads a key at the top of the file.
pub(super) fn top<T: DeserializeOwned>(root: &Table, name: &str, diagnostics: &mut Diagnostics) -> Option<T> {
    let mut read: IndexMap<String, T> = read_key("", root, name, root.get(name)?, &(0..0), diagnostics)?;
    read.swap_remove(name)
}

/// Reports the keys of a table that are not fields of the type `T`.
pub(super) fn check_keys<T: DeserializeOwned>(place: &str, table: &dyn TableLike, diagnostics: &mut Diagnostics) {
    let known = field_names::<T>();
    for (key, _) in table.iter().filter(|(key, _)| !known.contains(key)) {
        let inside = if place.is_empty() { String::new() } else { format!(" in [{place}]") };
        let fault = Error::input(format!("unknown key `{}`{inside}", key.escape_debug()));
        diagnostics.add(fault.at(key_span(table, key), "not a key here").help(names::suggest(
            "keys",
            key,
            known.iter().copied(),
        )));
    }
}

/// Reads one block key by key; `None` if any key has a fault.
fn read<T>(place: &str, item: &Item, span: &Range<usize>, diagnostics: &mut Diagnostics) -> Option<T>
where
    T: DeserializeOwned + Default,
{
    let before = diagnostics.count();
    let Some(table) = item.as_table_like() else {
        diagnostics.add(not_a_table(place, item, span));
        return None;
    };
    check_keys::<T>(place, table, diagnostics);
    check_lists(place, table, diagnostics);
    check_run(place, table, diagnostics);
    let mut sound = Table::new();
    for (name, item) in table.iter().filter(|(name, _)| field_names::<T>().contains(name)) {
        read_key::<T>(place, table, name, item, span, diagnostics);
        if let Some(key) = table.key(name) {
            sound.insert_formatted(key, item.clone());
        }
    }
    if diagnostics.count() > before {
        return None;
    }
    diagnostics.take(deserialize(sound).map_err(|error| wrong_type(place, item, span, &error)))
}

/// The nested lists of blocks: `rule` of `[mirrors]`, `allow` of `[audit]`, `refused` of an option, `mounts` of a board.
fn check_lists(place: &str, table: &dyn TableLike, diagnostics: &mut Diagnostics) {
    if place == "mirrors" {
        check_list::<RawRule>(place, table, "rule", diagnostics);
        check_list::<RawRule>(place, table, "fallback", diagnostics);
    }
    if place == "audit" {
        check_list::<RawAllow>(place, table, "allow", diagnostics);
    }
    if place.starts_with("options.") {
        check_list::<RawRefusal>(place, table, "refused", diagnostics);
    }
    if place.starts_with("boards.") {
        check_list::<RawMount>(place, table, "mounts", diagnostics);
    }
}

fn check_list<T: DeserializeOwned>(place: &str, table: &dyn TableLike, key: &str, diagnostics: &mut Diagnostics) {
    let place = format!("{place}.{key}");
    match table.get(key) {
        Some(Item::ArrayOfTables(blocks)) => {
            blocks.iter().for_each(|block| check_keys::<T>(&place, block, diagnostics))
        }
        Some(Item::Value(toml_edit::Value::Array(blocks))) => {
            let blocks = blocks.iter().filter_map(toml_edit::Value::as_inline_table);
            blocks.for_each(|block| check_keys::<T>(&place, block, diagnostics));
        }
        _ => {}
    }
}

/// The one nested block: `run` of a board.
fn check_run(place: &str, table: &dyn TableLike, diagnostics: &mut Diagnostics) {
    let run = table.get("run").filter(|_| place.starts_with("boards.")).and_then(Item::as_table_like);
    if let Some(run) = run {
        check_keys::<RawRun>(&format!("{place}.run"), run, diagnostics);
    }
}

fn read_key<T: DeserializeOwned>(
    place: &str,
    table: &dyn TableLike,
    name: &str,
    item: &Item,
    span: &Range<usize>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let mut alone = Table::new();
    alone.insert_formatted(table.key(name)?, item.clone());
    let span = table.key(name).and_then(|key| key.span()).unwrap_or_else(|| span.clone());
    let place = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    diagnostics.take(deserialize(alone).map_err(|error| wrong_type(&place, item, &span, &error)))
}

fn deserialize<T: DeserializeOwned>(table: Table) -> Result<T, toml_edit::de::Error> {
    T::deserialize(toml_edit::de::Deserializer::from(DocumentMut::from(table)))
}

/// serde's message in the words of TOML, at the value that it is about: `item` itself, or a value inside it.
fn wrong_type(place: &str, item: &Item, span: &Range<usize>, error: &toml_edit::de::Error) -> Error {
    let message = error.message().trim().replace("u32", "a whole number");
    let at = error.span().filter(|span| !span.is_empty()).or_else(|| item.span()).unwrap_or_else(|| span.clone());
    let fault = Error::input(format!("`{}` has a value of the wrong type", place.escape_debug()));
    let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|text| text.split_once(", expected "))
    else {
        return fault.at(at, message);
    };
    // serde does not know a date, and says `map` and `sequence`.
    let own = item.span().is_none_or(|span| span == at);
    let found = if own { a(item.type_name()) } else { found.replace("sequence", "a list").replace("map", "a table") };
    let expected = expected.replace("sequence", "list").replace("map", "table");
    let fault = fault.at(at, format!("{found}, expected {expected}"));
    match (expected.as_str(), found.as_str()) {
        ("a string", "a table" | "an inline table") => fault.help("put a name that contains a dot in quotes"),
        ("a string", "an array" | "a list") => fault.help("write one string, without brackets"),
        ("a string", _) => fault.help("put the value in quotes"),
        ("a list", "a string") => fault.help("put the value in brackets: `[\"…\"]`"),
        _ => fault,
    }
}

fn section_table<'a>(root: &'a Table, section: &str, diagnostics: &mut Diagnostics) -> Option<&'a dyn TableLike> {
    let (key, item) = root.get_key_value(section)?;
    let table = item.as_table_like();
    if table.is_none() {
        diagnostics.add(not_a_table(section, item, &key.span().unwrap_or_default()));
    }
    table
}

fn not_a_table(place: &str, item: &Item, span: &Range<usize>) -> Error {
    Error::input(format!("`{}` must be a table", place.escape_debug()))
        .at(item.span().unwrap_or_else(|| span.clone()), format!("this is {}", a(item.type_name())))
        .help(format!("write `[{}]` and its keys below", place.escape_debug()))
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

fn key_span(table: &dyn TableLike, name: &str) -> Range<usize> {
    table.key(name).and_then(toml_edit::Key::span).unwrap_or_default()
}

/// The names of a struct's fields, as its derived `Deserialize` gives them to a deserializer.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only asked for the names of fields"))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    // The answer is in `fields`. The error is expected: there is nothing to read.
    let _ = T::deserialize(Ask(&mut fields));
    fields
}
