//! Changes kbuild.toml in place: what is not changed keeps its bytes, with its comments and its order.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Key, Table, TableLike, Value, value};

use super::{Manifest, names};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};
use crate::files::MANIFEST;
use crate::source::{CommitId, Sha256};

/// What stands for the version in a template.
const VERSION: &str = "{version}";

/// The keys that say which commit, in the order in which they are written.
const REF_KEYS: [&str; 4] = ["git", "branch", "tag", "rev"];

/// A manifest that is being changed. Nothing reaches the disk before [`ManifestEdit::write`].
#[derive(Debug)]
pub struct ManifestEdit {
    path: PathBuf,
    /// As it was read, for messages that point into it.
    text: String,
    document: DocumentMut,
    /// The source whose declared hash is of the bytes before, and the key that it has.
    outdated_hash: Option<(String, &'static str)>,
}

/// One of the tables whose entries have pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinSection {
    Layers,
    Sources,
}

impl PinSection {
    /// Its key in the manifest.
    pub fn key(self) -> &'static str {
        match self {
            PinSection::Layers => "layers",
            PinSection::Sources => "sources",
        }
    }

    /// What an entry of it is called.
    pub fn noun(self) -> &'static str {
        match self {
            PinSection::Layers => "layer",
            PinSection::Sources => "source",
        }
    }
}

/// A pin that an entry is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPin {
    /// A tag, and the commit that it leads to now.
    Tag(String, CommitId),
    /// A branch, and its commit now.
    Branch(String, CommitId),
    /// A commit by its id.
    Rev(CommitId),
    /// The version that the entry's templates contain, and the commit of the ref that they name then.
    Version(String, Option<CommitId>),
}

/// What of an entry can be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Movable {
    /// `branch`, `tag` or `rev`.
    Ref,
    /// `version`; of a repository also the template of the tag or branch that contains it.
    Version { template: Option<String> },
}

/// The value of a key that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewValue {
    Text(String),
    List(Vec<String>),
}

impl Movable {
    /// The version that a person means by `3.32.0` or, where the template is `v{version}`, by `v3.32.0`.
    pub fn version_in<'t>(&self, text: &'t str) -> &'t str {
        let Movable::Version { template: Some(template) } = self else { return text };
        let affixes = template.split_once(VERSION);
        affixes.and_then(|(before, after)| text.strip_prefix(before)?.strip_suffix(after)).unwrap_or(text)
    }

    /// The ref that a version leads to.
    pub fn filled(&self, version: &str) -> Option<String> {
        let Movable::Version { template: Some(template) } = self else { return None };
        Some(template.replace(VERSION, version))
    }
}

impl NewPin {
    /// The commit that it leads to, if that is known.
    pub fn commit(&self) -> Option<CommitId> {
        match self {
            NewPin::Tag(_, commit) | NewPin::Branch(_, commit) | NewPin::Rev(commit) => Some(*commit),
            NewPin::Version(_, commit) => *commit,
        }
    }
}

impl ManifestEdit {
    /// Reads a manifest that is known to be valid.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<ManifestEdit> {
        let text = disk::read_text(path, "a manifest", bounds::MANIFEST)?;
        let document = text.parse::<DocumentMut>().map_err(|error: toml_edit::TomlError| {
            Error::input(format!("{} is not valid TOML", disk::shown(path))).because(error.message().to_owned())
        })?;
        Ok(ManifestEdit { path: path.to_owned(), text, document, outdated_hash: None })
    }

    /// The manifest as it would be, in place of `before`. A hash that is of other bytes is left out: the new ones are not known
    /// yet. Of layers it includes what that one does.
    ///
    /// # Errors
    /// The change makes it invalid: those of [`Manifest::parse`].
    pub fn manifest(&self, before: &Manifest) -> Result<Manifest> {
        let mut document = self.document.clone();
        if let Some((name, key)) = &self.outdated_hash {
            entry(&mut document, PinSection::Sources, name).map(|entry| entry.remove(key));
        }
        Manifest::parse_with(&self.path, &document.to_string(), &before.included_texts)
    }

    /// Writes the manifest, unless it says the same already. Returns whether it was written.
    ///
    /// # Errors
    /// The file cannot be replaced; the old one is kept.
    pub fn write(&self) -> Result<bool> {
        // A link stays one: what it leads to is replaced.
        let file = std::fs::canonicalize(&self.path).map_err(|error| Error::io("find", &self.path, error))?;
        disk::replace_if_changed(&file, self.document.to_string().as_bytes())
    }

    /// What can be moved of an entry.
    ///
    /// # Errors
    /// It has no ref and no version, or it is not in this file.
    pub fn movable(&mut self, section: PinSection, name: &str) -> Result<Movable> {
        let entry = self.entry(section, name)?;
        let text = |key: &str| entry.get(key).and_then(Item::as_str);
        let templated = |key: &str| text(key).filter(|text| text.contains(VERSION)).map(str::to_owned);
        let template = templated("tag").or_else(|| templated("branch"));
        match (text("git").is_some(), text("version").is_some()) {
            (true, true) if template.is_some() => Ok(Movable::Version { template }),
            (true, _) => Ok(Movable::Ref),
            (false, true) => Ok(Movable::Version { template: None }),
            (false, false) => Err(Error::input(format!("{} `{name}` has neither a ref nor a version", section.noun()))
                .help(match section {
                    PinSection::Layers => "it is a folder of the project, and versioned with it".to_owned(),
                    PinSection::Sources => format!("give it a `version`, and write `{VERSION}` in its URL or name"),
                })),
        }
    }

    /// Sets the pin of an entry. A commit that is given beside a tag or branch follows it; a tag goes where a branch or commit
    /// is wanted; a declared hash goes with the bytes that it is of.
    ///
    /// # Errors
    /// The entry is not in this file.
    pub fn set_pin(&mut self, section: PinSection, name: &str, pin: &NewPin) -> Result<()> {
        let entry = self.entry(section, name)?;
        let has_rev = entry.contains_key("rev");
        let set_rev = |entry: &mut dyn TableLike, commit: &CommitId| {
            if has_rev {
                set(entry, "rev", &commit.to_string());
            }
        };
        match pin {
            NewPin::Tag(tag, commit) => {
                set(entry, "tag", tag);
                set_rev(entry, commit);
            }
            NewPin::Branch(branch, commit) => {
                set(entry, "branch", branch);
                set_rev(entry, commit);
                take_out(entry, "tag", "branch");
            }
            NewPin::Rev(commit) => {
                set(entry, "rev", &commit.to_string());
                take_out(entry, "tag", "rev");
            }
            NewPin::Version(version, commit) => {
                set(entry, "version", version);
                commit.iter().for_each(|commit| set_rev(entry, commit));
                let declared = ["sha256", "digest"].into_iter().find(|key| entry.contains_key(key));
                self.outdated_hash = declared.map(|key| (name.to_owned(), key));
            }
        }
        Ok(())
    }

    /// The source whose declared hash is of other bytes than those that it names now.
    pub fn outdated_hash(&self) -> Option<&str> {
        self.outdated_hash.as_ref().map(|(name, _)| name.as_str())
    }

    /// Declares the hash of the bytes that were locked, in place of the outdated one.
    ///
    /// # Errors
    /// The entry is not in this file.
    pub fn declare(&mut self, hash: &Sha256) -> Result<()> {
        let Some((name, key)) = self.outdated_hash.take() else { return Ok(()) };
        let hash = if key == "digest" { format!("sha256:{hash}") } else { hash.to_string() };
        set(self.entry(PinSection::Sources, &name)?, key, &hash);
        Ok(())
    }

    fn entry(&mut self, section: PinSection, name: &str) -> Result<&mut dyn TableLike> {
        let path = disk::shown(&self.path);
        entry(&mut self.document, section, name).ok_or_else(|| {
            Error::input(format!("{} `{name}` is not in {path} itself", section.noun()))
                .help("change it in the file that declares it")
        })
    }
}

fn entry<'d>(document: &'d mut DocumentMut, section: PinSection, name: &str) -> Option<&'d mut dyn TableLike> {
    let table = document.get_mut(section.key()).and_then(Item::as_table_like_mut)?;
    table.get_mut(name).and_then(Item::as_table_like_mut)
}

impl Manifest {
    /// The section that an entry of this name is in.
    ///
    /// # Errors
    /// There is none (with the name that was perhaps meant), or a layer and a source have the same name.
    pub fn section_of(&self, name: &str) -> Result<PinSection> {
        match (self.layers.contains_key(name), self.sources.contains_key(name)) {
            (true, false) => Ok(PinSection::Layers),
            (false, true) => Ok(PinSection::Sources),
            (true, true) => Err(Error::input(format!("{MANIFEST} has a layer and a source `{name}`"))
                .help(format!("change the one that you mean in {MANIFEST}"))),
            (false, false) => {
                let known = self.layers.keys().chain(self.sources.keys()).map(String::as_str);
                Err(Error::input(format!("{MANIFEST} has no layer or source `{}`", name.escape_debug()))
                    .help(names::suggest("layers and sources", name, known)))
            }
        }
    }
}

impl ManifestEdit {
    /// Adds an entry behind the last one of its section, with these keys.
    ///
    /// # Errors
    /// There is one of this name, with its place.
    pub fn add(&mut self, section: PinSection, name: &str, keys: &[(&str, NewValue)]) -> Result<()> {
        if let Some(place) = self.key_place(section, name) {
            let fault = Error::input(format!("there is a {} `{name}` already", section.noun())).at(place, "here");
            let help = format!("`kbuild update {name} --to REF` changes its pin");
            return Err(fault.in_text(disk::shown(&self.path), self.text.clone()).help(help));
        }
        let root = self.document.as_table_mut();
        let entries = root.entry(section.key()).or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let mut entry = Table::new();
        entry.decor_mut().set_prefix("\n");
        for (key, new) in keys {
            entry.insert(key, new.to_item());
        }
        match entries {
            Item::Table(table) => drop(table.insert(name, Item::Table(entry))),
            other => {
                let table = other.as_table_like_mut().ok_or_else(|| Error::bug("a section is no table"))?;
                table.insert(name, value(entry.into_inline_table()));
            }
        }
        Ok(())
    }

    /// Adds a layer to the `layers` of a board, behind those that it has.
    ///
    /// # Errors
    /// The board is not in this file.
    pub fn add_to_board(&mut self, board: &str, layer: &str) -> Result<()> {
        let path = disk::shown(&self.path);
        let boards = self.document.get_mut("boards").and_then(Item::as_table_like_mut);
        let entry = boards.and_then(|boards| boards.get_mut(board)).and_then(Item::as_table_like_mut);
        let entry = entry.ok_or_else(|| Error::input(format!("board `{board}` is not in {path} itself")))?;
        match entry.get_mut("layers").and_then(Item::as_array_mut) {
            Some(layers) => push(layers, layer),
            None => drop(entry.insert("layers", NewValue::List(vec![layer.to_owned()]).to_item())),
        }
        Ok(())
    }

    /// Takes an entry out, with the comments directly above it.
    ///
    /// # Errors
    /// Something else in the manifest uses it (with each place), or it is not in this file.
    pub fn remove(&mut self, section: PinSection, name: &str) -> Result<()> {
        self.entry(section, name)?;
        let uses = if section == PinSection::Layers { self.uses_of_layer(name) } else { Vec::new() };
        if !uses.is_empty() {
            let fault = Error::input(format!("layer `{name}` is used, and cannot be removed"));
            let fault = uses.into_iter().fold(fault, |fault, (span, key)| fault.at(span, format!("in `{key}`")));
            let fault = fault.in_text(disk::shown(&self.path), self.text.clone());
            return Err(fault.help("take it out there first"));
        }
        let entries = self.document.get_mut(section.key()).and_then(Item::as_table_like_mut);
        let Some(Item::Table(removed)) = entries.and_then(|entries| entries.remove(name)) else { return Ok(()) };
        let above = removed.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        let kept = above.rfind("\n\n").map_or("", |end| &above[..=end]);
        if kept.contains('#') {
            self.put_below(removed.position(), kept);
        }
        Ok(())
    }

    /// Puts comments before the table that comes after a position, or at the end.
    fn put_below(&mut self, position: Option<isize>, comments: &str) {
        let next = positions(self.document.as_table()).into_iter().filter(|at| Some(*at) > position).min();
        let table = next.and_then(|next| table_at(self.document.as_table_mut(), next));
        match table {
            Some(table) => {
                let own = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned();
                table.decor_mut().set_prefix(format!("{comments}{own}"));
            }
            None => {
                let own = self.document.trailing().as_str().unwrap_or_default().to_owned();
                self.document.set_trailing(format!("{comments}{own}"));
            }
        }
    }

    /// Where the name of an entry is in the text.
    fn key_place(&self, section: PinSection, name: &str) -> Option<Range<usize>> {
        let parsed = toml_edit::Document::parse(self.text.as_str()).ok()?;
        parsed.get(section.key())?.as_table_like()?.key(name)?.span()
    }

    /// Every place that names a layer, with its key: lists called `layers`, and the keys `layer` and `engine`.
    fn uses_of_layer(&self, name: &str) -> Vec<(Range<usize>, String)> {
        let mut uses = Vec::new();
        if let Ok(parsed) = toml_edit::Document::parse(self.text.as_str()) {
            find_uses(parsed.as_table(), "", name, &mut uses);
        }
        uses
    }
}

impl NewValue {
    fn to_item(&self) -> Item {
        match self {
            NewValue::Text(text) => value(text),
            NewValue::List(texts) => value(texts.iter().map(String::as_str).collect::<toml_edit::Array>()),
        }
    }
}

fn find_uses(table: &dyn TableLike, path: &str, name: &str, uses: &mut Vec<(Range<usize>, String)>) {
    for (key, item) in table.iter() {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match item {
            Item::Value(Value::Array(list)) => {
                let named = list.iter().filter(|item| key == "layers" && item.as_str() == Some(name));
                uses.extend(named.filter_map(|item| Some((item.span()?, path.clone()))));
                let tables = list.iter().filter_map(Value::as_inline_table);
                tables.for_each(|table| find_uses(table, &path, name, uses));
            }
            Item::ArrayOfTables(tables) => tables.iter().for_each(|table| find_uses(table, &path, name, uses)),
            Item::Value(Value::String(text)) if ["layer", "engine"].contains(&key) && text.value() == name => {
                uses.extend(item.span().map(|span| (span, path.clone())));
            }
            _ => item.as_table_like().into_iter().for_each(|table| find_uses(table, &path, name, uses)),
        }
    }
}

/// Adds a text to an array as a person would: on a line of its own, where the others are. A comment behind the last one stays
/// there.
fn push(array: &mut toml_edit::Array, text: &str) {
    let indent = array.iter().last().and_then(|last| last.decor().prefix()?.as_str()).unwrap_or_default();
    let indent = indent.rfind('\n').map(|line| indent[line + 1..].to_owned());
    array.push(text);
    let (Some(indent), Some(index)) = (indent, array.len().checked_sub(1)) else { return };
    let end = array.trailing().as_str().unwrap_or_default().to_owned();
    // Without a comma behind it, the last value has the line's end.
    let before = index.checked_sub(1).and_then(|last| array.get_mut(last));
    let suffix = before.map(|last| {
        let suffix = last.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
        last.decor_mut().set_suffix("");
        suffix
    });
    let rest = if array.trailing_comma() { end } else { suffix.unwrap_or_default() };
    let (above, below) = rest.split_at(rest.rfind('\n').unwrap_or(0));
    if let Some(new) = array.get_mut(index) {
        new.decor_mut().set_prefix(format!("{above}\n{indent}"));
    }
    array.set_trailing(below);
    array.set_trailing_comma(true);
}

/// The positions of all tables in the text.
fn positions(table: &Table) -> Vec<isize> {
    let mut found: Vec<isize> = table.position().into_iter().collect();
    for (_, item) in table.iter() {
        match item {
            Item::Table(table) => found.extend(positions(table)),
            Item::ArrayOfTables(tables) => found.extend(tables.iter().flat_map(positions)),
            _ => {}
        }
    }
    found
}

fn table_at(table: &mut Table, position: isize) -> Option<&mut Table> {
    if table.position() == Some(position) {
        return Some(table);
    }
    table.iter_mut().find_map(|(_, item)| match item {
        Item::Table(table) => table_at(table, position),
        Item::ArrayOfTables(tables) => tables.iter_mut().find_map(|table| table_at(table, position)),
        _ => None,
    })
}

/// Sets a key to a text. An old value keeps what is written around it (a comment behind it); a new key stands where a person
/// would write it.
fn set(entry: &mut dyn TableLike, key: &str, text: &str) {
    let mut new = value(text);
    match entry.get_mut(key) {
        Some(Item::Value(old)) => {
            if let Item::Value(new) = &mut new {
                *new.decor_mut() = old.decor().clone();
            }
            *old = match new {
                Item::Value(new) => new,
                _ => Value::from(text),
            };
        }
        Some(old) => *old = new,
        None => insert_in_order(entry, key, new),
    }
}

/// Adds a key behind those of [`REF_KEYS`] that stand before it there.
fn insert_in_order(entry: &mut dyn TableLike, key: &str, new: Item) {
    let rank = REF_KEYS.iter().position(|known| *known == key).unwrap_or(0);
    let keys: Vec<Key> = entry.iter().filter_map(|(name, _)| entry.key(name).cloned()).collect();
    let after = keys.iter().rposition(|known| REF_KEYS[..rank].contains(&known.get())).map_or(0, |at| at + 1);
    let behind: Vec<(Key, Item)> =
        keys.iter().skip(after).filter_map(|key| Some((key.clone(), entry.remove(key.get())?))).collect();
    entry.insert(key, new);
    for (key, item) in behind {
        *entry.entry_format(&key).or_insert(Item::None) = item;
    }
}

/// Takes a key out. The comments above it go to the key that stands for it now: they may say why.
fn take_out(entry: &mut dyn TableLike, key: &str, heir: &str) {
    let comments = entry.key(key).and_then(|key| key.leaf_decor().prefix()?.as_str().map(str::to_owned));
    if entry.remove(key).is_none() {
        return;
    }
    let comments = comments.filter(|text| text.contains('#')).unwrap_or_default();
    if let Some(mut heir) = entry.key_mut(heir) {
        let own = heir.leaf_decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned();
        heir.leaf_decor_mut().set_prefix(format!("{comments}{own}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# Head.

[project]
name = "x"

[layers.bitbake]
path = "."   # ours

# Why core is here.
[layers.core]
git = "https://git.example/core"
# Why this tag.
tag = "v1"     # the first
paths = ["meta"] # one

[sources]
linux = { url = "https://k.example/linux-{version}.tar.xz", version = "6.1", sha256 = "SUM" } # inline

[sources.agent]
git = "https://git.example/agent"
tag = "v{version}"
version = "1.0"
"#;

    fn edit() -> ManifestEdit {
        let text = TEXT.replace("SUM", &"a".repeat(64));
        ManifestEdit { path: "/p/kbuild.toml".into(), document: text.parse().unwrap(), text, outdated_hash: None }
    }

    fn commit() -> CommitId {
        "c".repeat(40).parse().unwrap()
    }

    /// The lines that changed.
    fn changed(edit: &ManifestEdit) -> String {
        let (before, after) = (TEXT.replace("SUM", &"a".repeat(64)), edit.document.to_string());
        let only = |text: &str, other: &str, mark: char| {
            let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
            lines.map(|line| format!("{mark}{line}\n")).collect::<String>()
        };
        only(&before, &after, '-') + &only(&after, &before, '+')
    }

    #[test]
    fn a_tag_is_moved_in_its_place() {
        let mut edit = edit();
        edit.set_pin(PinSection::Layers, "core", &NewPin::Tag("v2".into(), commit())).unwrap();
        assert_eq!(changed(&edit), "-tag = \"v1\"     # the first\n+tag = \"v2\"     # the first\n");
    }

    #[test]
    fn a_commit_takes_the_place_of_a_tag_and_a_branch_that_of_a_commit() {
        let mut edit = edit();
        edit.set_pin(PinSection::Layers, "core", &NewPin::Rev(commit())).unwrap();
        let text = edit.document.to_string();
        let rev = format!("core\"\n# Why this tag.\nrev = \"{}\"\npaths = [\"meta\"] # one\n", commit());
        assert!(text.contains(&rev), "{text}");
        edit.set_pin(PinSection::Layers, "core", &NewPin::Branch("main".into(), "d".repeat(40).parse().unwrap()))
            .unwrap();
        let text = edit.document.to_string();
        let both = format!("core\"\nbranch = \"main\"\n# Why this tag.\nrev = \"{}\"\npaths", "d".repeat(40));
        assert!(text.contains(&both), "{text}");
    }

    #[test]
    fn a_version_is_moved_with_the_hash_that_was_declared_beside_it() {
        let mut edit = edit();
        let movable = edit.movable(PinSection::Sources, "linux").unwrap();
        assert_eq!(movable, Movable::Version { template: None });
        edit.set_pin(PinSection::Sources, "linux", &NewPin::Version("6.2".into(), None)).unwrap();
        assert_eq!(edit.outdated_hash(), Some("linux"));
        edit.declare(&"b".repeat(64).parse().unwrap()).unwrap();
        let line = format!(
            "+linux = {{ url = \"https://k.example/linux-{{version}}.tar.xz\", version = \"6.2\", sha256 = \"{}\" }} # inline\n",
            "b".repeat(64)
        );
        assert!(changed(&edit).ends_with(&line), "{}", changed(&edit));
    }

    #[test]
    fn a_person_may_name_a_version_or_the_tag_of_it() {
        let movable = edit().movable(PinSection::Sources, "agent").unwrap();
        assert_eq!((movable.version_in("1.1"), movable.version_in("v1.1")), ("1.1", "1.1"));
        let error = edit().movable(PinSection::Layers, "bitbake").unwrap_err();
        assert!(error.to_string().contains("neither a ref nor a version"), "{error}");
    }

    #[test]
    fn a_heading_above_what_is_removed_stays() {
        let mut edit = edit();
        let heading = "# ---- Layers ----\n# All of them.\n\n# Why core is here.\n";
        edit.document = edit.document.to_string().replace("# Why core is here.\n", heading).parse().unwrap();
        edit.remove(PinSection::Layers, "core").unwrap();
        let text = edit.document.to_string();
        assert!(text.contains("# ours\n\n# ---- Layers ----\n# All of them.\n\n[sources]\n"), "{text}");
        let mut edit = self::edit();
        edit.remove(PinSection::Sources, "agent").unwrap();
        edit.remove(PinSection::Sources, "linux").unwrap();
        assert!(edit.document.to_string().ends_with("paths = [\"meta\"] # one\n\n[sources]\n"));
    }

    #[test]
    fn an_entry_is_added_behind_the_last_of_its_section() {
        let mut edit = edit();
        let keys =
            [("git", NewValue::Text("https://git.example/x".into())), ("paths", NewValue::List(vec!["a".into()]))];
        edit.add(PinSection::Layers, "meta-x", &keys).unwrap();
        let text = edit.document.to_string();
        let entry = "# one\n\n[layers.meta-x]\ngit = \"https://git.example/x\"\npaths = [\"a\"]\n\n[sources]\n";
        assert!(text.contains(entry), "{text}");
        let mut empty = ManifestEdit { document: "[project]\nname = \"x\"\n".parse().unwrap(), ..self::edit() };
        empty.add(PinSection::Layers, "meta-y", &[("path", NewValue::Text("y".into()))]).unwrap();
        let text = empty.document.to_string();
        assert_eq!(text, "[project]\nname = \"x\"\n\n[layers.meta-y]\npath = \"y\"\n");
    }

    #[test]
    fn a_layer_is_pushed_as_the_list_is_written() {
        for (before, after) in [
            ("[\"a\"]", "[\"a\", \"x\"]"),
            ("[]", "[\"x\"]"),
            ("[\n  \"a\", # why\n]", "[\n  \"a\", # why\n  \"x\",\n]"),
            ("[\n    \"a\"\n]", "[\n    \"a\",\n    \"x\",\n]"),
        ] {
            let text = format!("[boards.b]\nlayers = {before}\n");
            let mut edit = ManifestEdit { document: text.parse().unwrap(), ..edit() };
            edit.add_to_board("b", "x").unwrap();
            assert_eq!(edit.document.to_string(), text.replace(before, after));
        }
    }
}
