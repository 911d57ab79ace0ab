//! Which recipes BitBake parses at all: those that their layer's BBFILES names.

use regex::Regex;

use super::layers::{AuditedLayer, FileType, SourceFile};
use super::metadata::{Statement, base_name};

/// Without recipes and appends that no pattern of their layer names (templates, recipes that are kept aside). Where a layer's
/// patterns are not all known, all of its files count.
pub(super) fn only(files: Vec<SourceFile>, layers: &[AuditedLayer]) -> Vec<SourceFile> {
    let patterns: Vec<Option<Vec<Regex>>> = layers.iter().map(|layer| patterns(layer, &files)).collect();
    let is_parsed = |file: &SourceFile| match (file.file_type, patterns.get(file.layer)) {
        (FileType::Recipe | FileType::Append, Some(Some(patterns))) => {
            let path = file.path.to_string_lossy();
            patterns.iter().any(|pattern| pattern.is_match(&path))
        }
        _ => true,
    };
    files.into_iter().filter(is_parsed).collect()
}

/// The patterns of BBFILES and BBFILES_DYNAMIC; `None` where one of them is not known, or there are none.
fn patterns(layer: &AuditedLayer, files: &[SourceFile]) -> Option<Vec<Regex>> {
    let conf = layer.directory.join("conf/layer.conf");
    let conf = files.iter().find(|file| file.path == conf)?;
    // What it includes may name more.
    if conf.statements.iter().any(|statement| matches!(statement, Statement::Include(_))) {
        return None;
    }
    let mut patterns = Vec::new();
    for statement in &conf.statements {
        let Statement::Assignment(assignment) = statement else { continue };
        let is_dynamic = base_name(&assignment.name) == "BBFILES_DYNAMIC";
        if !is_dynamic && base_name(&assignment.name) != "BBFILES" {
            continue;
        }
        for word in assignment.value.text.split_whitespace() {
            // `collection:pattern`
            let word = if is_dynamic { word.split_once(':').map_or(word, |(_, pattern)| pattern) } else { word };
            patterns.push(pattern(word, &layer.directory.to_string_lossy())?);
        }
    }
    (!patterns.is_empty()).then_some(patterns)
}

/// A pattern of Python's `glob`, as BitBake has it.
fn pattern(glob: &str, layer: &str) -> Option<Regex> {
    let glob = glob.replace("${LAYERDIR}", layer);
    if glob.contains("${") {
        return None;
    }
    let mut pattern = String::from("^");
    for part in glob.split_inclusive(['*', '?']) {
        let (text, wildcard) = match part.chars().last() {
            Some('*') => (&part[..part.len() - 1], "[^/]*"),
            Some('?') => (&part[..part.len() - 1], "[^/]"),
            _ => (part, ""),
        };
        // A set of characters is written alike in both.
        pattern.push_str(&regex::escape(text).replace("\\[", "[").replace("\\]", "]"));
        pattern.push_str(wildcard);
    }
    pattern.push('$');
    Regex::new(&pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_glob() {
        let matches = |glob: &str, path: &str| pattern(glob, "/l").unwrap().is_match(path);
        assert!(matches("${LAYERDIR}/recipes-*/*/*.bb", "/l/recipes-x/a/a_1.0.bb"));
        assert!(!matches("${LAYERDIR}/recipes-*/*/*.bb", "/l/recipes-x/a/files/a.bb"));
        assert!(!matches("${LAYERDIR}/recipes-*/*/*.bb", "/l/recipes-x/a/a.bbappend"));
        assert!(matches("/l/[ab]/?.bb", "/l/a/x.bb") && !matches("/l/[ab]/?.bb", "/l/c/x.bb"));
        assert!(pattern("${OTHER}/*.bb", "/l").is_none());
    }
}
