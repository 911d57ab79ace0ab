//! YAML and JSON as a tree in which everything has its line.
//!
//! As PyYAML's `safe_load`, which kas uses, reads it: of two equal keys the later one wins, `<<` merges, and a plain `~`, `null`
//! or nothing is null. JSON is read as YAML, so that it has lines too.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::found::FilePlace;
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};

/// How deep values may be nested.
const DEPTH: usize = 100;

/// How many values a file may have, aliases counted as often as they are used.
const VALUES: usize = 200_000;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: NodeValue,
    pub(super) place: FilePlace,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum NodeValue {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(IndexMap<String, Node>),
}

/// A text or number.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether each line of the text is a line of the file, the first below the key.
    literal: bool,
}

impl Node {
    /// A map without entries.
    pub(super) fn empty(place: FilePlace) -> Node {
        Node { value: NodeValue::Map(IndexMap::new()), place }
    }

    /// An entry of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.get(key)
    }

    pub(super) fn map(&self) -> Option<&IndexMap<String, Node>> {
        match &self.value {
            NodeValue::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The entries of a map; none of another value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.map().into_iter().flatten()
    }

    /// The values of a list; none of another value.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            NodeValue::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The text of an entry.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, NodeValue::Null)
    }

    /// The lines of a text, each with its place.
    pub(super) fn lines(&self) -> Vec<(String, FilePlace)> {
        let NodeValue::Scalar(scalar) = &self.value else { return Vec::new() };
        let place = |index: usize| match self.place.line {
            Some(line) if scalar.literal => self.place.at(line + 1 + index),
            _ => self.place.clone(),
        };
        scalar.text.lines().enumerate().map(|(index, line)| (line.to_owned(), place(index))).collect()
    }

    /// Merges another value over this one, as kas does: maps deeply, anything else is replaced
    /// (`IncludeHandler._internal_dict_merge`).
    pub(super) fn merge(&mut self, over: Node) {
        match (&mut self.value, over.value) {
            (NodeValue::Map(own), NodeValue::Map(others)) => {
                for (key, other) in others {
                    match own.get_mut(&key) {
                        Some(mine) => mine.merge(other),
                        None => drop(own.insert(key, other)),
                    }
                }
            }
            (_, value) => *self = Node { value, place: over.place },
        }
    }
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is not YAML; the error shows the line.
pub(super) fn read(path: &Path) -> Result<Node> {
    let text = disk::read_text(path, "a project file in YAML or JSON", bounds::MANIFEST)?;
    parse(&text, &FilePlace::of_file(path))
}

pub(super) fn parse(text: &str, file: &FilePlace) -> Result<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { file, open: Vec::new(), anchors: BTreeMap::new(), root: None, values: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let place = file.at(error.marker().line());
            Error::input(format!("{} is not valid YAML", file.file)).because(format!("{place}: {}", error.info()))
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node { value: NodeValue::Null, place: file.at(1) }))
}

/// A list or map that is not at its end yet.
struct Open {
    node: Node,
    anchor: usize,
    /// Of a map: the key whose value comes next, with its place.
    key: Option<(String, FilePlace)>,
    /// Of a map: what `<<` named. The map's own keys win.
    merged: Vec<Node>,
}

struct Builder<'a> {
    file: &'a FilePlace,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    values: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<()> {
        let place = self.file.at(span.start.line());
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let node = Node { value: scalar(&text, style), place };
                self.end(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(NodeValue::List(Vec::new()), anchor, place),
            Event::MappingStart(anchor, _) => self.start(NodeValue::Map(IndexMap::new()), anchor, place),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| self.fault(&place, "an alias inside of what it names"))?;
                self.values += count(&node);
                self.end(node, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => Err(self.fault(&place, "more than one document")),
            _ => Ok(()),
        }
    }

    fn start(&mut self, value: NodeValue, anchor: usize, place: FilePlace) -> Result<()> {
        if self.open.len() >= DEPTH {
            return Err(self.fault(&place, "values are nested too deeply"));
        }
        self.open.push(Open { node: Node { value, place }, anchor, key: None, merged: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        if let NodeValue::Map(own) = &mut open.node.value {
            for (key, value) in open.merged.iter().flat_map(Node::entries) {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self.end(open.node, open.anchor)
    }

    /// Puts a whole value where it belongs.
    fn end(&mut self, mut node: Node, anchor: usize) -> Result<()> {
        self.values += 1;
        if self.values > VALUES {
            return Err(self.fault(&node.place, "too many values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            NodeValue::List(list) => list.push(node),
            NodeValue::Map(map) => match open.key.take() {
                None => {
                    let key = match &node.value {
                        NodeValue::Null => String::new(),
                        NodeValue::Scalar(scalar) => scalar.text.clone(),
                        _ => return Err(self.fault(&node.place, "a key that is no text")),
                    };
                    open.key = Some((key, node.place));
                }
                Some((key, _)) if key == "<<" => match node.value {
                    NodeValue::List(list) => open.merged.extend(list),
                    _ => open.merged.push(node),
                },
                Some((key, place)) => {
                    node.place = place;
                    map.insert(key, node);
                }
            },
            NodeValue::Null | NodeValue::Scalar(_) => {}
        }
        Ok(())
    }

    fn fault(&self, place: &FilePlace, why: &str) -> Error {
        Error::input(format!("{} cannot be read", self.file.file)).because(format!("{place}: {why}"))
    }
}

fn scalar(text: &str, style: ScalarStyle) -> NodeValue {
    if style == ScalarStyle::Plain && ["", "~", "null", "Null", "NULL"].contains(&text) {
        return NodeValue::Null;
    }
    NodeValue::Scalar(Scalar { text: text.to_owned(), literal: style == ScalarStyle::Literal })
}

fn count(node: &Node) -> usize {
    1 + node.items().iter().map(count).sum::<usize>() + node.entries().map(|(_, value)| count(value)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Node {
        parse(text, &FilePlace { file: "x.yml".into(), line: None }).unwrap()
    }

    #[test]
    fn everything_has_its_line() {
        let node = parsed("a: 1\nb:\n  c: |\n    X = \"1\"\n\n    Y = \"2\"\n  d:\n  - e\n");
        let b = node.get("b").unwrap();
        let lines: Vec<_> = b.get("c").unwrap().lines().into_iter().map(|(text, at)| (text, at.line)).collect();
        assert_eq!(lines[0], ("X = \"1\"".to_owned(), Some(4)));
        assert_eq!(lines[2], ("Y = \"2\"".to_owned(), Some(6)));
        assert_eq!(b.get("d").unwrap().place.line, Some(7));
        assert_eq!(b.get("d").unwrap().items()[0].place.line, Some(8));
    }

    #[test]
    fn anchors_merge_keys_and_repeated_keys_are_as_in_pyyaml() {
        let node = parsed("base: &base {a: 1, b: 2}\nx:\n  <<: *base\n  b: 3\n  b: 4\ny: *base\nz: ~\n'n': 'null'\n");
        let x = node.get("x").unwrap();
        assert_eq!((x.text_of("a"), x.text_of("b")), (Some("1"), Some("4")));
        assert_eq!(node.get("y").unwrap().text_of("b"), Some("2"));
        assert!(node.get("z").unwrap().is_null());
        assert_eq!(node.text_of("n"), Some("null"));
    }

    #[test]
    fn json_has_lines_too() {
        let node = parsed("{\n\t\"a\": {\"b\": null,\n\t\"c\": [1, \"x\\ny\"]}\n}\n");
        let a = node.get("a").unwrap();
        assert!(a.get("b").unwrap().is_null());
        assert_eq!(a.get("c").unwrap().place.line, Some(3));
        assert_eq!(a.get("c").unwrap().items()[1].text(), Some("x\ny"));
    }

    #[test]
    fn merging_is_deep_for_maps_and_replaces_all_else() {
        let mut node = parsed("a: {x: 1, l: [1, 2]}\nb: 1\n");
        node.merge(parsed("a: {l: [3], y: 2}\nb: {c: 1}\nd:\n"));
        let a = node.get("a").unwrap();
        assert_eq!((a.text_of("x"), a.text_of("y"), a.get("l").unwrap().items().len()), (Some("1"), Some("2"), 1));
        assert_eq!(node.get("b").unwrap().text_of("c"), Some("1"));
        assert!(node.get("d").unwrap().is_null());
    }

    #[test]
    fn what_is_endless_or_deep_is_refused() {
        let file = FilePlace { file: "x.yml".into(), line: None };
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
        }
        assert!(parse(&bomb, &file).is_err());
        assert!(parse(&"[".repeat(300), &file).is_err());
        assert!(parse("a: 'x\n", &file).unwrap_err().causes()[0].starts_with("x.yml:"));
        assert!(parse("a: 1\n---\nb: 2\n", &file).is_err());
    }
}
