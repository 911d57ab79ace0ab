//! A finding, and the report that holds them all.

use std::path::PathBuf;

use kbuild_redact::redact;
use serde::Serialize;

use super::kind::Rule;
use super::layers::{AuditedLayer, SourceFile};

/// A place that reaches the network or floats.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, below the path that was asked for.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub kind: Rule,
    /// The recipe, or the name of the class or file where it is nobody's in particular.
    pub recipe: String,
    /// The layer's collection or folder.
    pub layer: String,
    /// The task, function or variable.
    pub place: String,
    /// What is there, in a few words.
    pub message: String,
    /// The line itself.
    pub excerpt: String,
    /// Index of the layer, until its name is put in.
    #[serde(skip)]
    pub(super) layer_index: usize,
}

/// What an audit found.
#[derive(Debug)]
pub struct AuditReport {
    /// By file and line.
    pub findings: Vec<Finding>,
    /// The layers that were read.
    pub layers: Vec<AuditedLayer>,
    /// How many files were read.
    pub files: usize,
    /// How many exceptions hold.
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

/// Text of a layer as it may be shown: no credentials of URLs, nothing that speaks to the terminal.
fn printable(text: &str) -> String {
    redact(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
