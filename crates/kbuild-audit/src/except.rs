//! What an audit is told from outside of the layers: exceptions of a project, and what its lock pins.

use std::collections::BTreeSet;

use super::finding::{AuditReport, Finding};
use super::kind::Rule;

/// An exception that stands in a project, for layers that are somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// The kind of finding.
    pub rule: Rule,
    /// Only in this layer, by its collection or folder.
    pub layer: Option<String>,
    /// Only of this recipe, class or file.
    pub recipe: Option<String>,
}

impl Allow {
    fn fits(&self, finding: &Finding) -> bool {
        let is = |asked: &Option<String>, found: &str| asked.as_deref().is_none_or(|asked| asked == found);
        self.rule == finding.kind && is(&self.layer, &finding.layer) && is(&self.recipe, &finding.recipe)
    }
}

impl AuditReport {
    /// Takes out what exceptions allow. Returns the indexes of those that allow nothing.
    pub fn allow(&mut self, exceptions: &[Allow]) -> Vec<usize> {
        let mut used = BTreeSet::new();
        let before = self.findings.len();
        self.findings.retain(|finding| match exceptions.iter().position(|exception| exception.fits(finding)) {
            Some(index) => {
                used.insert(index);
                false
            }
            None => true,
        });
        self.allowed += before - self.findings.len();
        (0..exceptions.len()).filter(|index| !used.contains(index)).collect()
    }

    /// Takes out revisions that float in recipes for which the project gives a commit. Returns how many.
    pub fn leave_out_pinned(&mut self, recipes: &BTreeSet<String>) -> usize {
        let before = self.findings.len();
        let floats = |finding: &Finding| matches!(finding.kind, Rule::Autorev | Rule::FloatingRevision);
        self.findings.retain(|finding| !floats(finding) || !recipes.contains(&finding.recipe));
        before - self.findings.len()
    }
}
