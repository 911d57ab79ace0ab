//! Finds places in BitBake layers that use the network outside SRC_URI, or float, by reading; BitBake is not run.
//!
//! What may enter: the text of layers of any author and release, BitBake's syntax, and programs that download. Nothing
//! of lock, store or network; of kbuild only the crate that removes credentials from texts.
//!
//! Only certain findings are reported. Variables of a recipe are expanded as far as its own files, those it
//! includes, and the classes of the given layers define them; where that is not enough, nothing is reported.

// Tests prepare files as they like.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod baseline;
mod code;
mod context;
mod error;
mod except;
mod exceptions;
mod finding;
mod kind;
mod layers;
mod metadata;
mod parsed;
mod programs;
mod python;
mod shell;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod wrappers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use context::LayerIndex;
use exceptions::Exception;
use layers::SourceFile;

pub use baseline::{Baseline, KnownFinding};
pub use error::{Error, Result};
pub use except::Allow;
pub use finding::{AuditReport, Finding};
pub use kind::Rule;
pub use layers::{AuditedLayer, find};

/// Reads all files of these layers, and returns what uses the network or floats in them.
///
/// # Errors
/// A file or directory that cannot be read.
pub fn audit(layers: Vec<AuditedLayer>) -> Result<AuditReport> {
    let files: Vec<SourceFile> = layers::files(&layers)?.into_par_iter().map(layers::read).collect::<Result<_>>()?;
    let files = parsed::only(files, &layers);
    let index = LayerIndex::new(&files, &layers);
    let recipes: Vec<&SourceFile> = index.families().collect();
    let programs = code::programs(&files);
    let mut findings: Vec<Finding> = files.par_iter().flat_map_iter(|file| code::audit(file, &programs)).collect();
    findings.par_extend(recipes.par_iter().flat_map_iter(|recipe| sources::audit(&index.context(recipe))));
    // A file that several recipes include gives the same finding once for each.
    findings.sort();
    findings.dedup_by(|a, b| (&a.file, a.line, a.kind) == (&b.file, b.line, b.kind));
    let (mut findings, allowed) = except(findings, &files);
    for finding in &mut findings {
        finding.layer = layers.get(finding.layer_index).map(|layer| layer.name.clone()).unwrap_or_default();
    }
    findings.sort();
    Ok(AuditReport { findings, files: files.len(), layers, allowed })
}

/// Removes the findings that exceptions allow, and adds findings for wrong exceptions. Returns how many findings were
/// allowed.
fn except(findings: Vec<Finding>, files: &[SourceFile]) -> (Vec<Finding>, usize) {
    let mut by_file: BTreeMap<PathBuf, Vec<Finding>> = BTreeMap::new();
    for finding in findings {
        by_file.entry(finding.file.clone()).or_default().push(finding);
    }
    let mut rest = Vec::new();
    let mut allowed = 0;
    for file in files {
        let found = by_file.remove(Path::new(&file.path)).unwrap_or_default();
        let exceptions = exceptions::read(&file.text);
        if exceptions.is_empty() {
            rest.extend(found);
            continue;
        }
        let lines: Vec<&str> = file.text.split('\n').collect();
        let mut used = BTreeSet::new();
        for finding in found {
            let places = exceptions::lines_for(&lines, finding.line);
            let mut fitting =
                exceptions.iter().filter(|one| one.kind == Some(finding.kind) && places.contains(&one.line));
            match fitting.next() {
                Some(exception) => {
                    used.insert(exception.line);
                    if exception.has_reason {
                        allowed += 1;
                    } else {
                        rest.push(finding);
                    }
                }
                None => rest.push(finding),
            }
        }
        rest.extend(exceptions.iter().filter_map(|exception| fault(file, exception, &used)));
    }
    (rest, allowed)
}

fn fault(file: &SourceFile, exception: &Exception, used: &BTreeSet<usize>) -> Option<Finding> {
    let (kind, message) = match exception.kind {
        None => (Rule::AllowWithoutEffect, "this exception names no kind of finding".to_owned()),
        Some(_) if !exception.has_reason => (Rule::AllowWithoutReason, "this exception does not say why".to_owned()),
        Some(kind) if !used.contains(&exception.line) => {
            (Rule::AllowWithoutEffect, format!("there is no {} here to allow", kind.name()))
        }
        Some(_) => return None,
    };
    Some(Finding::new(file, kind, exception.line, "exception", message))
}
