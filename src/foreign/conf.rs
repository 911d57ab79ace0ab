//! Text in BitBake's own language, sorted: what `config` can say, what stays text, and what has a section of its own.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::found::{FilePlace, FoundBoard, FoundCache, FoundProject, FoundRule, Notes, push_new};
use super::{mirrors, secrets};
use crate::manifest;

/// An assignment, as `ConfHandler.__config_regexp__` of bb.parse.parse_py reads it.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)^(export\s+)?([\w.+/~${}-]+?)((?::[\w.+/~${}-]+)*)(\[[^\]]*\])?\s*(\?\?=|\?=|:=|\+=|=\+|=\.|\.=|=)\s*(?:"(.*)"|'(.*)')\s*$"#)
        .expect("a constant expression compiles")
});

/// `${NAME}`.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{([\w.+/~-]+)\}").expect("a constant expression compiles"));

/// Variables of which a weak assignment is as good as a plain one: nothing sets them before a build's own configuration does.
const FIRST: [&str; 3] = ["MACHINE", "DISTRO", "BBMULTICONFIG"];

/// What kbuild writes itself, so that nothing is lost.
const SILENT: [&str; 5] = ["CONF_VERSION", "LCONF_VERSION", "POKY_BBLAYERS_CONF_VERSION", "BBPATH", "BBFILES"];

/// Variables that kbuild sets in its own way, with nothing to do for anybody.
const REPLACED: [&str; 16] = [
    "TOPDIR",
    "TMPDIR",
    "DL_DIR",
    "GITDIR",
    "DEPLOY_DIR",
    "BB_NO_NETWORK",
    "BB_FETCH_PREMIRRORONLY",
    "BB_ALLOWED_NETWORKS",
    "BB_SERVER_TIMEOUT",
    "BB_GENERATE_MIRROR_TARBALLS",
    "BB_GENERATE_SHALLOW_TARBALLS",
    "BB_HASHSERVE_DB_DIR",
    "CONNECTIVITY_CHECK_URIS",
    "SSTATE_MIRROR_ALLOW_NETWORK",
    "IMAGE_VERSION_SUFFIX",
    "SSTATE_DIR",
];

/// Whether kbuild sets a variable in its own way, with nothing to do for anybody.
pub(super) fn is_replaced(variable: &str) -> bool {
    REPLACED.contains(&variable)
}

/// The class that turns SOURCE_MIRROR_URL into mirrors.
const OWN_MIRRORS: &str = "own-mirrors";

/// A statement: one line, or several that are joined by `\`.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    /// As they are in the file.
    lines: Vec<String>,
    pub(super) place: FilePlace,
    pub(super) assignment: Option<Assignment>,
}

/// An assignment.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    export: bool,
    /// Without overrides and flag.
    pub(super) variable: String,
    /// Overrides (`:append`) and flag (`[doc]`).
    suffix: String,
    operator: String,
    pub(super) value: String,
}

impl Assignment {
    fn key(&self) -> String {
        format!("{}{}", self.variable, self.suffix)
    }

    /// Overrides and flag.
    pub(super) fn key_suffix(&self) -> &str {
        &self.suffix
    }

    pub(super) fn operator(&self) -> &str {
        &self.operator
    }

    /// Whether it adds to what is there, so that the same key may come twice.
    fn adds(&self) -> bool {
        let key = self.key().replace(':', "_");
        ["_append", "_prepend", "_remove"].iter().any(|word| key.ends_with(word) || key.contains(&format!("{word}_")))
    }
}

/// The statements of a text, without comments and empty lines.
pub(super) fn statements(lines: &[(String, FilePlace)]) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut open: Option<(Vec<String>, FilePlace)> = None;
    for (line, place) in lines {
        let line = line.trim_end().to_owned();
        if open.is_none() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let goes_on = line.ends_with('\\');
        open.get_or_insert_with(|| (Vec::new(), place.clone())).0.push(line);
        if !goes_on {
            found.extend(open.take().map(|(lines, place)| statement(lines, place)));
        }
    }
    // Text that ends in the middle of a statement.
    if let Some((mut lines, place)) = open {
        if let Some(last) = lines.last_mut() {
            *last = last.trim_end_matches('\\').trim_end().to_owned();
        }
        found.push(statement(lines, place));
    }
    found
}

fn statement(lines: Vec<String>, place: FilePlace) -> Statement {
    let joined: String = lines.iter().map(|line| line.strip_suffix('\\').unwrap_or(line)).collect();
    let assignment = ASSIGNMENT.captures(joined.trim_start()).map(|found| {
        let text = |index: usize| found.get(index).map_or("", |part| part.as_str()).to_owned();
        Assignment {
            export: found.get(1).is_some(),
            variable: text(2),
            suffix: text(3) + &text(4),
            operator: text(5),
            value: text(6) + &text(7),
        }
    });
    Statement { lines, place, assignment }
}

/// An assignment that a tool writes by itself, as a statement.
pub(super) fn weak(variable: &str, value: &str, place: &FilePlace) -> Statement {
    statement(vec![format!("{variable} ??= \"{value}\"")], place.clone())
}

/// Sorts statements into a board and its project.
pub(super) fn sort(statements: Vec<Statement>, board: &mut FoundBoard, project: &mut FoundProject) {
    let mut kept = Vec::new();
    let mut first: Vec<Statement> = Vec::new();
    let known = Known::of(&statements);
    for statement in statements {
        match &statement.assignment {
            _ if is_secret(&statement) => {
                let what = statement.assignment.as_ref().map_or("a line".to_owned(), Assignment::key);
                project.notes.left_out(&statement.place, what, "its value looks like a password");
            }
            Some(assignment) if FIRST.contains(&assignment.variable.as_str()) && assignment.suffix.is_empty() => {
                first.push(statement);
            }
            Some(assignment) => match absorb(assignment, &known, &statement.place, project) {
                Absorbed::Whole => {}
                Absorbed::Words(words) => board.words.extend(words),
                Absorbed::Not => kept.push(statement),
                Absorbed::Rest(rest) => {
                    kept.push(Statement { assignment: Some(rest), ..statement }.rewritten());
                }
            },
            None => match manifest::variable_set_by(statement.lines[0].trim_start()).and_then(manifest::instead_of) {
                Some(instead) => project.notes.left_out(&statement.place, statement.shown(), instead),
                None => kept.push(statement),
            },
        }
    }
    take_first(&first, board, &mut kept);
    divide(kept, board);
}

impl Statement {
    /// The same with the text of its assignment.
    fn rewritten(mut self) -> Statement {
        if let Some(assignment) = &self.assignment {
            let quote = if assignment.value.contains('"') { '\'' } else { '"' };
            let text = format!("{} {} {quote}{}{quote}", assignment.key(), assignment.operator, assignment.value);
            self.lines = vec![text];
        }
        self
    }

    fn shown(&self) -> String {
        let line = self.lines.first().map(|line| line.trim()).unwrap_or_default();
        match line.char_indices().nth(60) {
            Some((end, _)) => format!("`{}…`", &line[..end]),
            None => format!("`{line}`"),
        }
    }
}

fn is_secret(statement: &Statement) -> bool {
    match &statement.assignment {
        Some(assignment) => secrets::is_secret(&assignment.key(), &assignment.value),
        None => statement.lines.iter().any(|line| secrets::carries_secret(line)),
    }
}

/// What a variable is in the end, if nothing is added to it: a plain assignment wins over `?=`, the first `?=` over `??=`, and the
/// last `??=` over the others.
#[derive(Default)]
struct Settled {
    strong: Option<String>,
    weak: Option<String>,
    /// Whether another operator, or an override, has a say.
    adds: bool,
}

impl Settled {
    fn take(&mut self, assignment: &Assignment) {
        let value = Some(assignment.value.trim().to_owned());
        match assignment.operator.as_str() {
            _ if !assignment.suffix.is_empty() => self.adds = true,
            "=" | ":=" => self.strong = value,
            "?=" if self.strong.is_none() => self.strong = value,
            "?=" => {}
            "??=" => self.weak = value,
            _ => self.adds = true,
        }
    }

    fn value(self) -> Option<String> {
        self.strong.or(self.weak)
    }
}

/// Sets the machine and the like.
fn take_first(statements: &[Statement], board: &mut FoundBoard, kept: &mut Vec<Statement>) {
    for variable in FIRST {
        let of = statements.iter().filter_map(|statement| Some((statement, statement.assignment.as_ref()?)));
        let of: Vec<_> = of.filter(|(_, assignment)| assignment.variable == variable).collect();
        let mut settled = Settled::default();
        of.iter().for_each(|(_, assignment)| settled.take(assignment));
        let adds = settled.adds;
        let value = settled.value().unwrap_or_default();
        if variable == "MACHINE" {
            board.machine = value;
        } else if adds {
            kept.extend(of.into_iter().map(|(statement, _)| statement.clone()));
        } else if !value.is_empty() {
            board.config.insert(variable.to_owned(), value);
        }
    }
}

/// Divides what is kept into `config`, which kbuild writes first, and `conf`, behind it. A plain assignment goes to `config` where
/// that changes nothing: nothing else sets the variable, and no file is read in front of it.
fn divide(kept: Vec<Statement>, board: &mut FoundBoard) {
    let barrier = kept.iter().position(|statement| match &statement.assignment {
        None => true,
        Some(assignment) => assignment.operator == ":=",
    });
    let (mut raw, mut seen): (HashSet<String>, HashSet<String>) = (HashSet::new(), HashSet::new());
    for (index, statement) in kept.iter().enumerate() {
        let Some(assignment) = &statement.assignment else { continue };
        let again = !seen.insert(assignment.key()) && assignment.adds();
        if again || barrier.is_some_and(|barrier| index > barrier) || !is_simple(statement, assignment) {
            raw.insert(assignment.variable.clone());
        }
    }
    for statement in kept {
        match &statement.assignment {
            Some(assignment) if !raw.contains(&assignment.variable) => {
                board.config.shift_remove(&assignment.key());
                board.config.insert(assignment.key(), assignment.value.clone());
            }
            _ => board.conf.extend(statement.lines),
        }
    }
}

fn is_simple(statement: &Statement, assignment: &Assignment) -> bool {
    let value = &assignment.value;
    let one_line = statement.lines.len() == 1 && !value.chars().any(|c| c.is_control() && c != '\t');
    let quotes = value.contains('"') && value.contains('\'');
    assignment.operator == "=" && !assignment.export && one_line && !quotes && manifest::is_variable(&assignment.key())
}

/// Variables that the text sets and never adds to: what BitBake would make of `${NAME}` in a place's URL.
struct Known(HashMap<String, String>);

impl Known {
    fn of(statements: &[Statement]) -> Known {
        let mut settled: HashMap<&str, Settled> = HashMap::new();
        for assignment in statements.iter().filter_map(|statement| statement.assignment.as_ref()) {
            settled.entry(&assignment.variable).or_default().take(assignment);
        }
        // Other boards have another machine, and the places are the project's.
        let known = settled.into_iter().filter(|(name, settled)| !settled.adds && !FIRST.contains(name));
        Known(known.filter_map(|(name, settled)| Some((name.to_owned(), settled.value()?))).collect())
    }

    /// The text with these variables filled in; one that is not known stays as it is.
    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // A variable may name another, but not for ever.
        for _ in 0..4 {
            let next = REFERENCE.replace_all(&text, |found: &regex::Captures<'_>| {
                self.0.get(&found[1]).cloned().unwrap_or_else(|| found[0].to_owned())
            });
            if next == text {
                break;
            }
            text = next.into_owned();
        }
        text
    }
}

/// What became of an assignment that a section of the manifest may say.
enum Absorbed {
    /// A section says it, or a note.
    Whole,
    /// It is left as it is.
    Not,
    /// This is left.
    Rest(Assignment),
    /// It adds these words to OVERRIDES, as options do.
    Words(Vec<String>),
}

fn absorb(assignment: &Assignment, known: &Known, place: &FilePlace, project: &mut FoundProject) -> Absorbed {
    let (variable, value) = (assignment.variable.as_str(), known.expand(assignment.value.trim()));
    let value = value.as_str();
    let FoundProject { cache, rules, fallback, notes, .. } = project;
    if let Some(words) = override_words(assignment) {
        return Absorbed::Words(words);
    }
    match variable {
        "INHERIT" | "USER_CLASSES" if value.split_whitespace().any(|word| word == OWN_MIRRORS) => {
            return without_own_mirrors(assignment);
        }
        "PRSERV_HOST" if value.starts_with("localhost:") => return Absorbed::Not,
        "BB_HASHSERVE" if ["auto", ""].contains(&value) => {
            notes.own(place, variable, "every build has a hash server of its own");
        }
        "BB_HASHSERVE" | "BB_HASHSERVE_UPSTREAM" => server(value, variable, place, &mut cache.hashserve, notes),
        "PRSERV_HOST" | "PRSERV_UPSTREAM" => server(value, variable, place, &mut cache.prserve, notes),
        "SSTATE_DIR" if value.starts_with('/') && !value.contains("${") => cache.dir = Some(value.to_owned()),
        "SSTATE_MIRRORS" => sstate_mirrors(value, place, cache, notes),
        "SOURCE_MIRROR_URL" if value.contains("${") => notes.left_out(place, variable, "it names another variable"),
        "SOURCE_MIRROR_URL" => push_new(rules, mirrors::source_mirror(value)),
        "PREMIRRORS" => take_mirrors(variable, value, place, rules, notes),
        "MIRRORS" => take_mirrors(variable, value, place, fallback, notes),
        _ if SILENT.contains(&variable) => {}
        _ => {
            let Some(instead) = manifest::instead_of(variable) else { return Absorbed::Not };
            if is_replaced(variable) {
                notes.own(place, assignment.key(), instead);
            } else {
                notes.left_out(place, assignment.key(), instead);
            }
        }
    }
    Absorbed::Whole
}

/// The words that an assignment adds to OVERRIDES, behind the others; `None` if it does something else.
fn override_words(assignment: &Assignment) -> Option<Vec<String>> {
    let added = match (assignment.variable.as_str(), assignment.operator.as_str(), assignment.suffix.as_str()) {
        ("OVERRIDES", ".=", "") | ("OVERRIDES", "=", ":append" | "_append") => assignment.value.strip_prefix(':')?,
        _ => return None,
    };
    let plain = |word: &str| {
        let begins = word.starts_with(|c: char| c.is_ascii_lowercase());
        begins && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    added.split(':').map(|word| plain(word).then(|| word.to_owned())).collect()
}

fn without_own_mirrors(assignment: &Assignment) -> Absorbed {
    let rest: Vec<&str> = assignment.value.split_whitespace().filter(|word| *word != OWN_MIRRORS).collect();
    if rest.is_empty() {
        return Absorbed::Whole;
    }
    let space = if assignment.suffix.contains(":append") { " " } else { "" };
    Absorbed::Rest(Assignment { value: format!("{space}{}", rest.join(" ")), ..assignment.clone() })
}

fn server(value: &str, variable: &str, place: &FilePlace, to: &mut Option<String>, notes: &mut Notes) {
    let port = value.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    if value.contains("://") || value.contains("${") || port.is_none() {
        notes.left_out(place, variable, "[cache] takes HOST:PORT of BitBake's own protocol");
    } else {
        *to = Some(value.to_owned());
    }
}

fn sstate_mirrors(value: &str, place: &FilePlace, cache: &mut FoundCache, notes: &mut Notes) {
    for (pattern, url) in mirrors::pairs(value) {
        let base = ["/PATH;downloadfilename=PATH", "/PATH"].iter().find_map(|end| url.strip_suffix(end));
        match base.filter(|base| pattern == "file://.*" && !base.contains("${") && !base.contains(';')) {
            Some(base) => push_new(&mut cache.pull, base.to_owned()),
            None => {
                notes.left_out(
                    place,
                    "SSTATE_MIRRORS",
                    "[cache] `pull` takes whole caches, by a URL without variables",
                );
            }
        }
    }
}

/// Adds what PREMIRRORS or MIRRORS say to the rules of the same meaning.
fn take_mirrors(variable: &str, value: &str, place: &FilePlace, rules: &mut Vec<FoundRule>, notes: &mut Notes) {
    for (pattern, url) in mirrors::pairs(value) {
        match mirrors::rule(&pattern, &url) {
            Ok(rule) => push_new(rules, rule),
            Err(why) => {
                let scheme = pattern.split_once("://").map_or(pattern.as_str(), |(scheme, _)| scheme);
                notes.left_out(place, format!("{variable} for `{scheme}`"), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str) -> (FoundBoard, FoundProject) {
        let file = FilePlace { file: "x.yml".into(), line: None };
        let lines: Vec<_> =
            text.lines().enumerate().map(|(index, line)| (line.to_owned(), file.at(index + 1))).collect();
        let (mut board, mut project) = (FoundBoard::default(), FoundProject::default());
        sort(statements(&lines), &mut board, &mut project);
        (board, project)
    }

    #[test]
    fn plain_assignments_are_config_and_all_else_stays_text() {
        let (board, _) = sorted(
            "# why\nA = \"1\"\nB:append = \" x\"\nC = '2'\nC += \"3\"\nD ?= \"4\"\nE[doc] = \"5\"\n\
             F = \" \\\n  a \\\n\"\nPREFERRED_PROVIDER_virtual/kernel = \"k\"\nexport G = \"6\"\nA = \"7\"\n",
        );
        let config: Vec<_> = board.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(config, ["B:append= x", "E[doc]=5", "PREFERRED_PROVIDER_virtual/kernel=k", "A=7"]);
        let conf = ["C = '2'", "C += \"3\"", "D ?= \"4\"", "F = \" \\", "  a \\", "\"", "export G = \"6\""];
        assert_eq!(board.conf, conf);
    }

    #[test]
    fn what_comes_behind_a_file_that_is_read_stays_there() {
        let (board, _) = sorted("A = \"1\"\nB = \"1\"\nrequire conf/x.inc\nA = \"2\"\n");
        assert_eq!(board.config.get("B").unwrap(), "1");
        assert_eq!(board.conf, ["A = \"1\"", "require conf/x.inc", "A = \"2\""]);
        let (board, _) = sorted("A_append = \" 1\"\nA_append = \" 2\"\nB:append = \" 1\"\nB:append = \" 2\"\n");
        assert_eq!((board.config.len(), board.conf.len()), (0, 4));
    }

    #[test]
    fn the_machine_is_the_one_that_bitbake_would_take() {
        for (text, machine) in [
            ("MACHINE ??= \"a\"\nMACHINE ??= \"b\"\n", "b"),
            ("MACHINE ?= \"a\"\nMACHINE ?= \"b\"\nMACHINE ??= \"c\"\n", "a"),
            ("MACHINE ?= \"a\"\nMACHINE = \"b\"\n", "b"),
        ] {
            assert_eq!(sorted(text).0.machine, machine);
        }
        let (board, _) = sorted("DISTRO = \"a\"\nDISTRO ??= \"b\"\nBBMULTICONFIG ?= \"\"\n");
        assert_eq!((board.config.len(), board.config["DISTRO"].as_str()), (1, "a"));
    }

    #[test]
    fn caches_and_mirrors_have_sections() {
        let (board, project) = sorted(
            "SSTATE_MIRRORS ?= \"file://.* https://a/x/PATH;downloadfilename=PATH\"\n\
             SSTATE_MIRRORS += \"file://.* file:///srv/x/PATH \\n file://.*/y http://b/PATH\"\nSSTATE_DIR = \"/srv/s\"\n\
             BB_HASHSERVE = \"h:8686\"\nPRSERV_HOST = \"p:1\"\nINHERIT += \"own-mirrors rm_work\"\n\
             SOURCE_MIRROR_URL ?= \"https://m/src\"\nDL_DIR ?= \"${TOPDIR}/d\"\nBB_HASHSERVE_UPSTREAM = \"wss://w/ws\"\n\
             PREMIRRORS:prepend = \"git://.*/.* https://g/ https?://.*/.* https://f/\"\nSRCREV:pn-x = \"1\"\n\
             MIRRORS:append = \" git://h git://m/h/ https://.*/.*/ https://a/\"\n\
             SSTATE_MIRRORS += \"file://.* https://${HERE}/${MACHINE}/PATH file://.* https://${HERE}/s/PATH\"\n\
             HERE ?= \"${TOP}/y\"\nTOP ?= \"u\"\nTOP = \"t\"\nOVERRIDES .= \":dbg:lab\"\nOVERRIDES = \"${X}\"\nLCONF_VERSION = \"7\"\nROOT_PASSWORD = \"hidden\"\nunset DL_DIR\n",
        );
        assert_eq!(board.words, ["dbg", "lab"]);
        assert_eq!(project.cache.pull, ["https://a/x", "file:///srv/x", "https://t/y/s"]);
        assert_eq!(project.cache.dir.as_deref(), Some("/srv/s"));
        assert_eq!(project.cache.hashserve.as_deref(), Some("h:8686"));
        assert_eq!(project.cache.prserve.as_deref(), Some("p:1"));
        assert_eq!(board.conf, ["INHERIT += \"rm_work\"", "HERE ?= \"${TOP}/y\"", "TOP ?= \"u\"", "TOP = \"t\""]);
        let rules: Vec<_> = project.rules.iter().map(|rule| format!("{} {}", rule.pattern, rule.to[0])).collect();
        assert_eq!(rules, ["(https?|ftp)://.* https://m/src/{name}", "https?://.*/.* https://f/{name}"]);
        let fallback: Vec<_> = project.fallback.iter().map(|rule| format!("{} {}", rule.pattern, rule.to[0])).collect();
        assert_eq!(fallback, ["(git|https?|ssh)://h/(.*) $1://m/h/$2", "https://.*/.*/.* https://a/{name}"]);
        let left = project.notes.left_out.iter();
        let left: Vec<_> = left.map(|note| (note.place.line.unwrap(), note.what.as_str())).collect();
        let expected = [
            (2, "SSTATE_MIRRORS"),
            (9, "BB_HASHSERVE_UPSTREAM"),
            (10, "PREMIRRORS for `git`"),
            (11, "SRCREV:pn-x"),
            (13, "SSTATE_MIRRORS"),
            (18, "OVERRIDES"),
            (20, "ROOT_PASSWORD"),
            (21, "`unset DL_DIR`"),
        ];
        assert_eq!(left, expected);
        assert!(!format!("{project:?}{board:?}").contains("hidden"));
        assert_eq!(project.notes.own[0].what, "DL_DIR");
    }
}
