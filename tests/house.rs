//! The habits of the house that no compiler checks: rooms, names of types, variables of the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kbuild::env_vars;
use regex::Regex;

/// Of all types at the top of a file, how many may share their name with another, in percent.
const SHARED_NAMES: usize = 8;

/// Files that all rooms may use: they stand below the picture.
const BESIDE: [&str; 9] = ["bounds", "disk", "env_vars", "error", "files", "generated", "git", "progress", "suggest"];

static TYPE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union|type) (\w+)").expect("a valid pattern")
});

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of `src/` and `crates/`, those of tests left out, with their text up to the unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut sources = Vec::new();
    for top in ["src", "crates"] {
        for entry in walkdir::WalkDir::new(repository().join(top)).into_iter().filter_map(Result::ok) {
            let path = entry.path().strip_prefix(repository()).expect("below the repository").to_owned();
            let name = path.to_string_lossy().into_owned();
            let of_tests = name.ends_with("tests.rs") || name.contains("/tests/") || name.contains("/target/");
            if !name.ends_with(".rs") || of_tests {
                continue;
            }
            let text = fs::read_to_string(entry.path()).expect("a readable file");
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(&text).to_owned();
            sources.push((path, code));
        }
    }
    assert!(sources.len() > 100, "the sources are not where this test looks");
    sources
}

#[test]
fn types_have_names_of_their_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, code) in sources() {
        for found in TYPE.captures_iter(&code) {
            places.entry(found[1].to_owned()).or_default().push(path.display().to_string());
        }
    }
    let all: usize = places.values().map(Vec::len).sum();
    let shared: BTreeMap<_, _> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    let count: usize = shared.values().map(|places| places.len()).sum();
    println!("{count} of {all} types share their name with another");
    assert!(count * 100 <= all * SHARED_NAMES, "{count} of {all} types share their name with another: {shared:#?}");
}

#[test]
fn every_variable_that_is_read_is_documented() {
    let read = Regex::new(r#"(?:env::var(?:_os)?|try_from_env|env::remove_var)\("(\w+)"\)|"(KBUILD_[A-Z_]+)""#);
    let read = read.expect("a valid pattern");
    for (path, code) in sources().iter().filter(|(path, _)| !path.ends_with("src/env_vars.rs")) {
        let in_a_conf = |name: &str| name.ends_with('_') || path.starts_with("src/bitbake");
        for found in read.captures_iter(code) {
            let name = found.get(1).or(found.get(2)).expect("one of both").as_str();
            let known = env_vars::find(name).is_some() || in_a_conf(name);
            assert!(known, "{} reads {name}, which is not in src/env_vars.rs", path.display());
        }
    }
}

/// The arrows of docs/architecture.md: which rooms a room may use.
fn picture() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(repository().join("docs/architecture.md")).expect("the page");
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, used) in page.lines().filter_map(|line| line.trim().split_once(" --> ")) {
        arrows.entry(room.to_owned()).or_default().extend(used.split(" & ").map(str::to_owned));
    }
    assert!(arrows.len() > 10, "the picture is not where this test looks");
    arrows
}

/// Which rooms the code of each room names.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let named = Regex::new(r"(?m)^[^/\n]*\bcrate::(\w+)").expect("a valid pattern");
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources() {
        let Ok(inside) = path.strip_prefix("src") else { continue };
        let room = inside.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        if ["lib", "main"].contains(&room.as_str()) || BESIDE.contains(&room.as_str()) {
            continue;
        }
        let others = named.captures_iter(&code).map(|found| found[1].to_owned());
        let rooms = others.filter(|other| *other != room && !BESIDE.contains(&other.as_str()));
        uses.entry(room.clone()).or_default().extend(rooms.filter(|other| is_room(other)));
    }
    uses
}

fn is_room(name: &str) -> bool {
    repository().join("src").join(name).is_dir()
}

/// All that stands below a room in the picture. A circle ends the test.
fn below(room: &str, arrows: &BTreeMap<String, BTreeSet<String>>, path: &mut Vec<String>) -> BTreeSet<String> {
    assert!(!path.iter().any(|above| above == room), "the picture has a circle: {path:?}");
    path.push(room.to_owned());
    let mut found = BTreeSet::new();
    for used in arrows.get(room).into_iter().flatten() {
        found.insert(used.clone());
        found.extend(below(used, arrows, path));
    }
    path.pop();
    found
}

#[test]
fn the_picture_of_the_rooms_is_true() {
    let (arrows, uses) = (picture(), uses());
    for (room, used) in &uses {
        let below = below(room, &arrows, &mut Vec::new());
        let missing: Vec<_> = used.difference(&below).collect();
        assert!(missing.is_empty(), "{room} uses {missing:?}, which docs/architecture.md does not show below it");
    }
    for (room, shown) in arrows.iter().filter(|(room, _)| is_room(room)) {
        let used = uses.get(room).cloned().unwrap_or_default();
        let untrue: Vec<_> = shown.difference(&used).filter(|other| is_room(other)).collect();
        assert!(untrue.is_empty(), "docs/architecture.md shows that {room} uses {untrue:?}, which it does not");
    }
}
