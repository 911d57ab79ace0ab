//! The repository's pages: their links, anchors and code, read with the Markdown parser that mdBook uses too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::engine::repository;

/// Pages that stand outside of docs/.
const OUTSIDE: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "mirrors/README.md",
    "examples/quickstart/README.md",
];

/// A page, without what is only text.
#[derive(Default)]
pub struct Page {
    /// Relative to the repository.
    pub path: String,
    /// Where links and pictures lead, as written.
    pub links: Vec<String>,
    /// The anchors of its headings.
    pub anchors: BTreeSet<String>,
    pub blocks: Vec<Block>,
    /// Code within a line.
    pub spans: Vec<String>,
}

/// A block of code.
pub struct Block {
    /// The word behind the fence, or nothing.
    pub language: String,
    pub text: String,
}

impl Page {
    /// Reads one, by its path in the repository.
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Page::parse(path, &text)
    }

    fn parse(path: &str, text: &str) -> Self {
        let mut page = Page { path: path.to_owned(), ..Page::default() };
        let mut headings = BTreeMap::new();
        let (mut heading, mut in_block) = (None, false);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.insert(anchor(&heading.take().unwrap_or_default(), &mut headings));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    in_block = true;
                    page.blocks.push(Block { language: language(&kind), text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Text(text) => match (in_block, page.blocks.last_mut(), &mut heading) {
                    (true, Some(block), _) => block.text.push_str(&text),
                    (_, _, Some(heading)) => heading.push_str(&text),
                    _ => {}
                },
                Event::Code(code) => {
                    heading.iter_mut().for_each(|heading| heading.push_str(&code));
                    page.spans.push(code.into_string());
                }
                _ => {}
            }
        }
        page
    }

    /// The text of the first block of a language.
    pub fn block(&self, language: &str) -> &str {
        let found = self.blocks.iter().find(|block| block.language == language);
        found.map(|block| block.text.as_str()).unwrap_or_else(|| panic!("{} has no {language}", self.path))
    }
}

fn language(kind: &CodeBlockKind<'_>) -> String {
    match kind {
        CodeBlockKind::Fenced(language) => language.to_string(),
        CodeBlockKind::Indented => String::new(),
    }
}

/// The anchor of a heading, as forges and mdBook make it: of the second heading of one name it ends in `-1`.
fn anchor(heading: &str, headings: &mut BTreeMap<String, usize>) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    let name: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
    let count = headings.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
}

/// All pages that people read.
pub fn pages() -> Vec<Page> {
    let mut paths: Vec<String> = in_docs(&repository().join("docs"));
    paths.extend(OUTSIDE.map(str::to_owned));
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Pages of a directory and of those in it, by their path in the repository.
fn in_docs(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let of = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => in_docs(&path),
        Some(extension) if extension == "md" => {
            vec![path.strip_prefix(repository()).expect("in the repository").display().to_string()]
        }
        _ => Vec::new(),
    };
    paths.into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_links_anchors_and_code() {
        let text = "# `[layers.NAME]` A_b\n[x](y.md#z) `code`\n\n## Same\n## Same\n```console\n$ a\n```\n![p](p.svg)\n";
        let page = Page::parse("p.md", text);
        assert_eq!(page.links, ["y.md#z", "p.svg"]);
        assert_eq!(page.anchors.iter().map(String::as_str).collect::<Vec<_>>(), ["layersname-a_b", "same", "same-1"]);
        assert_eq!(page.spans, ["[layers.NAME]", "code"]);
        assert_eq!((page.blocks[0].language.as_str(), page.block("console")), ("console", "$ a\n"));
    }
}
