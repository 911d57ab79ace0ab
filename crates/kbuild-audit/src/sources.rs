//! SRC_URI: revisions that move, downloads that no checksum holds.

use super::context::RecipeContext;
use super::finding::Finding;
use super::kind::Rule;
use super::layers::SourceFile;
use super::metadata::{Assignment, base_name, expansions};

/// One entry of SRC_URI, expanded as far as that goes.
struct SrcUriEntry<'a> {
    file: &'a SourceFile,
    line: usize,
    scheme: String,
    path: String,
    parameters: Vec<(String, String)>,
}

impl SrcUriEntry<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.path)
    }
}

/// The findings of a recipe's sources.
pub(super) fn audit(context: &RecipeContext<'_>) -> Vec<Finding> {
    let entries = entries(context);
    let mut findings = Vec::new();
    for entry in &entries {
        match entry.scheme.as_str() {
            "git" | "gitsm" | "gitannex" | "hg" | "svn" => findings.extend(revision(context, entry)),
            "http" | "https" | "ftp" | "crate" => {
                findings.extend(checksum(context, entry));
                let message = |branch| format!("{} names the branch {branch}", entry.url());
                let moves = branch_of(&entry.path).map(message);
                findings
                    .extend(moves.map(|message| finding(context, entry.file, Rule::MovingUrl, entry.line, message)));
            }
            "npm" if entry.parameter("version") == Some("latest") => {
                let message = format!("version=latest of {}", entry.url());
                findings.push(finding(context, entry.file, Rule::FloatingRevision, entry.line, message));
            }
            _ => {}
        }
    }
    if entries.iter().any(|entry| entry.scheme.starts_with("git")) {
        findings.extend(wrong_revisions(context));
    }
    findings
}

fn finding(context: &RecipeContext<'_>, file: &SourceFile, kind: Rule, line: usize, message: String) -> Finding {
    Finding { recipe: context.recipe.recipe().to_owned(), ..Finding::new(file, kind, line, "SRC_URI", message) }
}

fn entries<'a>(context: &RecipeContext<'a>) -> Vec<SrcUriEntry<'a>> {
    let mut entries = Vec::new();
    for (file, assignment) in context.of("SRC_URI") {
        collect(context, file, assignment, 3, &mut entries);
    }
    entries
}

/// The entries of one assignment; a word that is only a variable leads to where that is set.
fn collect<'a>(
    context: &RecipeContext<'a>,
    file: &'a SourceFile,
    assignment: &'a Assignment,
    depth: usize,
    entries: &mut Vec<SrcUriEntry<'a>>,
) {
    let text = assignment.value.text.as_str();
    // `SRC_URI:append = ";name=x"` has parameters for the entry before it.
    if let (true, Some(last)) = (text.starts_with(';'), entries.last_mut()) {
        last.parameters.extend(parameters(&context.expand(text.split_whitespace().next().unwrap_or_default())));
    }
    for (word, offset) in words(text) {
        let variable = word.strip_prefix("${").and_then(|word| word.strip_suffix('}'));
        let plain = variable.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        if let Some(name) = plain.filter(|name| depth > 0 && *name != "SRC_URI") {
            let set: Vec<_> = context.of(name).collect();
            for (file, assignment) in set {
                collect(context, file, assignment, depth - 1, entries);
            }
        } else if let Some((scheme, path, parameters)) = parse(&context.expand(word)) {
            entries.push(SrcUriEntry { file, line: assignment.value.line_at(offset), scheme, path, parameters });
        }
    }
}

/// Words at white space, but not inside of `${…}`.
fn words(text: &str) -> Vec<(&str, usize)> {
    let inside = expansions(text);
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let parts = c.is_whitespace() && !inside.iter().any(|range| range.contains(&at));
        match start {
            None if !parts => start = Some(at),
            Some(begin) if parts => {
                words.push((&text[begin..at], begin));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|begin| (&text[begin..], begin)));
    words
}

type Parsed = (String, String, Vec<(String, String)>);

/// Scheme, rest and parameters of a URL (`bb.fetch2.decodeurl`). A mirror variable of bitbake.conf stands for https.
fn parse(url: &str) -> Option<Parsed> {
    let first = url.split(';').next()?;
    let mirror = || {
        let (name, rest) = first.strip_prefix("${")?.split_once('}')?;
        name.ends_with("_MIRROR").then_some(("https", rest.trim_start_matches('/')))
    };
    let (scheme, path) = first.split_once("://").or_else(mirror)?;
    if !scheme.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    Some((scheme.to_ascii_lowercase(), path.to_owned(), parameters(url)))
}

/// What stands behind the semicolons of a URL.
fn parameters(url: &str) -> Vec<(String, String)> {
    let pair = |parameter: &str| {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (key.trim().to_owned(), value.trim().to_owned())
    };
    url.split(';').skip(1).map(pair).collect()
}

/// A full commit id: SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A repository that nothing pins to a commit.
fn revision(context: &RecipeContext<'_>, entry: &SrcUriEntry<'_>) -> Option<Finding> {
    let git = entry.scheme.starts_with("git");
    let found = |message| Some(finding(context, entry.file, Rule::FloatingRevision, entry.line, message));
    let pinned =
        |value: &str| value.contains('$') || is_commit(value) || (!git && !matches!(value, "HEAD" | "tip" | "default"));
    match entry.parameter("rev") {
        Some(rev) if pinned(rev) => return None,
        Some("AUTOINC") | None => {}
        Some(rev) => return found(format!("rev={rev} of {} is no commit", entry.url())),
    }
    if entry.parameter("tag").is_some_and(is_commit) {
        return None;
    }
    let names = entry.parameter("name").unwrap_or("default");
    let unsettled = names.contains('$') || context.python_sets || context.pinned_by_conf || !context.complete;
    if unsettled || names.split(',').all(|name| has_revision(context, name)) {
        return None;
    }
    match entry.parameter("tag") {
        Some(tag) => found(format!("tag={tag} of {} without SRCREV", entry.url())),
        None => found(format!("{} without SRCREV", entry.url())),
    }
}

/// Whether SRCREV or `SRCREV_<name>` is set, with whatever overrides (`srcrev_internal_helper` of `bb.fetch2`).
fn has_revision(context: &RecipeContext<'_>, name: &str) -> bool {
    context.assignments.iter().any(|(_, assignment)| {
        let Some(rest) = assignment.name.strip_prefix("SRCREV") else { return false };
        if base_name(&assignment.name) == "SRCREV_FORMAT" {
            return false;
        }
        let of_name = || {
            let rest = rest.strip_prefix('_')?.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with([':', '_'])).then_some(())
        };
        // In old syntax an override also comes after an underscore.
        rest.is_empty() || rest.starts_with(':') || (name == "default" && rest.starts_with('_')) || of_name().is_some()
    })
}

/// Values of SRCREV that are branches, tags or shortened ids: BitBake asks the server for each.
fn wrong_revisions(context: &RecipeContext<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, assignment) in &context.assignments {
        let is_revision =
            assignment.name.strip_prefix("SRCREV").is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']));
        if !is_revision || base_name(&assignment.name) == "SRCREV_FORMAT" {
            continue;
        }
        let value = context.expand(assignment.value.text.trim());
        let fine = value.contains('$') || is_commit(&value) || matches!(value.as_str(), "" | "INVALID" | "AUTOINC");
        // Subversion and Mercurial count their revisions.
        if !fine && !value.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!("{} is `{value}`, no full commit id", assignment.name);
            let found = finding(context, file, Rule::FloatingRevision, assignment.line, message);
            findings.push(Finding { place: assignment.name.clone(), ..found });
        }
    }
    findings
}

/// A download with no checksum, or only weak ones.
fn checksum(context: &RecipeContext<'_>, entry: &SrcUriEntry<'_>) -> Option<Finding> {
    let name = match (entry.parameter("name"), entry.scheme.as_str()) {
        (Some(name), _) => name.to_owned(),
        (None, "crate") => crate_name(&entry.path)?,
        (None, _) => String::new(),
    };
    // A name that each machine gives, and that is INVALID without one: no checksum can be told to be missing.
    if name.contains('$') || name.contains("INVALID") {
        return None;
    }
    let has = |algorithm: &str| {
        let flag = if name.is_empty() { algorithm.to_owned() } else { format!("{name}.{algorithm}") };
        let set = |one: &&Assignment| one.flag.as_ref() == Some(&flag) && !one.value.text.trim().is_empty();
        entry.parameter(algorithm).is_some() || entry.parameter(&flag).is_some() || context.checksums.iter().any(set)
    };
    if ["sha256sum", "sha384sum", "sha512sum"].into_iter().any(has) {
        return None;
    }
    let found = |kind, message| Some(finding(context, entry.file, kind, entry.line, message));
    match ["md5sum", "sha1sum"].into_iter().find(|weak| has(weak)) {
        Some(weak) => found(Rule::WeakChecksum, format!("{} has only {weak}", entry.url())),
        None if context.python_sets || !context.complete => None,
        None => found(Rule::NoChecksum, format!("{} has no checksum", entry.url())),
    }
}

/// The branch that a forge's URL names: `raw/master/x`, `archive/refs/heads/x.zip`, `releases/latest/download/x`.
fn branch_of(path: &str) -> Option<String> {
    const BRANCHES: [&str; 7] = ["master", "main", "HEAD", "trunk", "develop", "devel", "latest"];
    const BEFORE: [&str; 6] = ["raw", "archive", "blob", "tarball", "zipball", "releases"];
    const ARCHIVES: [&str; 5] = [".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip"];
    let parts: Vec<&str> = path.split(['/', '?']).collect();
    let bare = |part: &str| ARCHIVES.iter().find_map(|end| part.strip_suffix(end)).unwrap_or(part).to_owned();
    if let Some(at) = parts.windows(2).position(|pair| pair == ["refs", "heads"]) {
        return parts.get(at + 2).map(|part| bare(part));
    }
    let at = match parts.first() {
        Some(&"raw.githubusercontent.com") => 3,
        // A project may have the name of one of these words.
        _ => {
            parts.windows(2).position(|pair| BEFORE.contains(&pair[0]) && BRANCHES.contains(&bare(pair[1]).as_str()))?
                + 1
        }
    };
    parts.get(at).map(|part| bare(part)).filter(|part| BRANCHES.contains(&part.as_str()))
}

/// `crate://crates.io/NAME/VERSION` is called `NAME-VERSION` (`bb.fetch2.crate`).
fn crate_name(path: &str) -> Option<String> {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    let version = parts.next()?;
    Some(format!("{}-{version}", parts.next()?))
}
