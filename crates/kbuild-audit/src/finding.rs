//! A finding, and the report that holds them all.

use std::path::PathBuf;

use kbuild_redact::redact;
use serde::Serialize;

use super::kind::Rule;
use super::layers::{AuditedLayer, SourceFile};

/// A place that uses the network or floats.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, below the path that was asked for.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub kind: Rule,
    /// The recipe, or the class or file where it belongs to no single recipe.
    pub recipe: String,
    /// The layer's collection or folder.
    pub layer: String,
    /// The task, function or variable.
    pub place: String,
    /// What was found, in a few words.
    pub message: String,
    /// The line itself.
    pub excerpt: String,
    /// Index of the layer, until it is replaced by its name.
    #[serde(skip)]
    pub(super) layer_index: usize,
}

/// The result of an audit.
#[derive(Debug)]
pub struct AuditReport {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// The layers that were read.
    pub layers: Vec<AuditedLayer>,
    /// How many files were read.
    pub files: usize,
    /// How many findings were allowed by exceptions.
    pub allowed: usize,
}

impl Finding {
    pub(super) fn new(file: &SourceFile, kind: Rule, line: usize, place: &str, message: impl Into<String>) -> Self {
        /// Enough to know the line again.
        const EXCERPT: usize = 160;
        let excerpt = file.text.split('\n').nth(line.saturating_sub(1)).unwrap_or_default().trim();
        Finding {
            file: file.path.clone(),
            line,
            kind,
            recipe: file.recipe().to_owned(),
            layer: String::new(),
            place: place.to_owned(),
            message: printable(&message.into()),
            excerpt: printable(excerpt).chars().take(EXCERPT).collect(),
            layer_index: file.layer,
        }
    }
}

/// Text of a layer for output: without credentials in URLs and without control characters.
fn printable(text: &str) -> String {
    redact(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
