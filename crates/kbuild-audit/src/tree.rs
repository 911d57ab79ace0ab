//! Trees of the grammars that shell and Python code is read with.

use tree_sitter::{Node, Parser, Tree};
use tree_sitter_language::LanguageFn;

/// The tree of a text; what the grammar does not know is an `ERROR` in it.
pub(super) fn parse(language: LanguageFn, text: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&language.into()).ok()?;
    parser.parse(text, None)
}

/// What stands right below a node, comments and punctuation left out.
pub(super) fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).filter(|child| child.kind() != "comment").collect()
}
