//! What an audit found before: only what is new is then a fault. Findings are known by their text, not by their line, which
//! every edit above moves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::{AuditReport, Finding};

/// The findings of an audit, to be compared with later ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The version of this format: 1.
    pub version: u32,
    /// Each with how often it is there, sorted.
    pub findings: Vec<KnownFinding>,
}

/// A finding that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KnownFinding {
    /// The layer's collection or folder.
    pub layer: String,
    /// The file, below its layer.
    pub file: String,
    /// The kind's name.
    pub kind: String,
    /// The line itself.
    pub excerpt: String,
    /// How often.
    pub count: usize,
}

/// A finding without its line.
type Known = (String, String, String, String);

impl AuditReport {
    /// What was found, for later audits.
    pub fn baseline(&self) -> Baseline {
        let mut counts: BTreeMap<Known, usize> = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(self.known(finding)).or_default() += 1;
        }
        let known = |((layer, file, kind, excerpt), count)| KnownFinding { layer, file, kind, excerpt, count };
        Baseline { version: 1, findings: counts.into_iter().map(known).collect() }
    }

    /// Takes out what a baseline knows. Returns how many that were, and how many that the baseline knows are gone.
    pub fn leave_out_known(&mut self, baseline: &Baseline) -> (usize, usize) {
        let mut left: BTreeMap<Known, usize> = BTreeMap::new();
        for KnownFinding { layer, file, kind, excerpt, count } in &baseline.findings {
            *left.entry((layer.clone(), file.clone(), kind.clone(), excerpt.clone())).or_default() += count;
        }
        let findings = std::mem::take(&mut self.findings);
        let before = findings.len();
        let mut new = Vec::new();
        for finding in findings {
            match left.get_mut(&self.known(&finding)).filter(|count| **count > 0) {
                Some(count) => *count -= 1,
                None => new.push(finding),
            }
        }
        self.findings = new;
        (before - self.findings.len(), left.values().sum())
    }

    fn known(&self, finding: &Finding) -> Known {
        let layer = self.layers.get(finding.layer_index);
        let below = layer.and_then(|layer| finding.file.strip_prefix(&layer.directory).ok()).unwrap_or(&finding.file);
        let excerpt = finding.excerpt.split_whitespace().collect::<Vec<_>>().join(" ");
        (finding.layer.clone(), below.display().to_string(), finding.kind.name().to_owned(), excerpt)
    }
}
