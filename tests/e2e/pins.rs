//! Commands that change pins, and that say which could be: `update`, `add`, `remove`, `outdated`.

use std::path::{Path, PathBuf};

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git_at_fixed_time as git;
use kbuild_test::sha256;

/// A project without boards, and its upstreams behind a mirror rule. Commits have fixed dates, so that their ids are the same
/// on every machine.
pub(super) struct Pins {
    pub(super) project: TestProject,
}

const MANIFEST: &str = r#"# Our product.
[project]
name = "pins"

[layers.bitbake]
path = "bitbake"

# Core: everything stands on it.
[layers.core]
git = "https://git.example/core"
tag = "v1"     # the release that was tested

[layers.extra]
git = "https://git.example/extra"
branch = "main"

[layers.fixed]
git = "https://git.example/extra"
branch = "main"
rev = "{extra}"

[sources.tool]
url = "https://files.example/tool-{version}.bin"
version = "1.0"
sha256 = "{tool}"

[sources.agent]
git = "https://git.example/core"
tag = "v{version}"
version = "1"

[mirrors]
builtin = false
"#;

impl Pins {
    pub(super) fn new() -> Pins {
        let mut project = TestProject::new();
        let upstream = project.beside("upstream");
        for (name, tags) in [("core", ["v1", "v2", "v10", "v11-rc1"].as_slice()), ("extra", &["v1"])] {
            let path = upstream.join(name);
            std::fs::create_dir_all(&path).expect("a directory");
            git(&path, &["init", "-q", "-b", "main"]);
            for tag in tags {
                commit(&path, &format!("{name}: {tag}"));
                git(&path, &["tag", tag]);
            }
        }
        for version in ["1.0", "1.1"] {
            std::fs::write(upstream.join(format!("tool-{version}.bin")), version).expect("a file");
        }
        let manifest = MANIFEST
            .replace("{extra}", &git(&upstream.join("extra"), &["rev-parse", "HEAD"]))
            .replace("{tool}", &sha256(b"1.0"));
        project.write("kata.toml", &manifest);
        project.write("bitbake/bin/bitbake", "");
        project.set("KBUILD_MIRROR", format!("https://[a-z]*\\.example/(.*)=file://{}/$1", upstream.display()));
        project.kbuild_ok(&["lock"]);
        Pins { project }
    }

    pub(super) fn upstream(&self, name: &str) -> PathBuf {
        self.project.beside("upstream").join(name)
    }

    /// A run without its lines of progress: upstreams are asked at once, and answer in any order.
    pub(super) fn kbuild(&self, args: &[&str]) -> Run {
        let mut run = self.project.kbuild(args);
        run.stderr = run.stderr.split_inclusive('\n').filter(|line| !line.starts_with("  ✓")).collect();
        run
    }

    /// Both files of the project.
    pub(super) fn files(&self) -> (String, String) {
        (self.project.read("kata.toml"), self.project.read("kata.lock"))
    }
}

/// A commit with one more line in its file, at a fixed time.
pub(super) fn commit(repository: &Path, message: &str) -> String {
    let file = repository.join("file");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    std::fs::write(&file, format!("{text}{message}\n")).expect("a file");
    git(repository, &["add", "-A"]);
    git(repository, &["commit", "-q", "-m", message]);
    git(repository, &["rev-parse", "HEAD"])
}

/// The lines that differ, old ones first.
fn difference(before: &str, after: &str) -> String {
    let only = |text: &str, other: &str, mark: char| {
        let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("{mark}{line}\n")).collect::<String>()
    };
    only(before, after, '-') + &only(after, before, '+')
}

#[test]
fn update_to_moves_the_pin_in_the_manifest_and_the_lock_at_once() {
    let pins = Pins::new();
    let (before, _) = pins.files();
    assert_run!(pins.project, pins.kbuild(&["update", "core", "--to", "v2"]), "update_to_a_tag");
    let (after, _) = pins.files();
    let line = "tag = \"v1\"     # the release that was tested\n";
    assert_eq!(difference(&before, &after), format!("-{line}+{}", line.replace("v1", "v2")));
    pins.project.kbuild_ok(&["lock", "--locked"]);

    // A version of a file, with the hash that is declared beside it.
    let run = pins.project.kbuild_ok(&["update", "tool", "--to", "1.1", "--format", "json"]);
    assert_eq!(run.json()["changes"][0]["to"], "file:tool-1.1.bin", "{run}");
    let (tool, _) = pins.files();
    let hash = |version: &str| format!("sha256 = \"{}\"\n", sha256(version.as_bytes()));
    let changed = format!("-version = \"1.0\"\n-{}+version = \"1.1\"\n+{}", hash("1.0"), hash("1.1"));
    assert_eq!(difference(&after, &tool), changed);
    pins.project.kbuild_ok(&["lock", "--locked"]);

    // A version of a repository, named as its tag; a branch; the commit that stands beside a branch.
    let run = pins.project.kbuild_ok(&["update", "agent", "--to", "v10", "--format", "json"]);
    let v10 = git(&pins.upstream("core"), &["rev-parse", "v10"]);
    assert_eq!(run.json()["changes"][0]["to_commit"], v10.as_str(), "{run}");
    assert_eq!(difference(&tool, &pins.files().0), "-version = \"1\"\n+version = \"10\"\n");
    let new = commit(&pins.upstream("extra"), "extra: later");
    let (before, _) = pins.files();
    pins.project.kbuild_ok(&["update", "fixed", "--to", "main"]);
    let change = difference(&before, &pins.files().0);
    assert!(change.ends_with(&format!("+rev = \"{new}\"\n")) && change.lines().count() == 2, "{change}");
    pins.project.kbuild_ok(&["update", "core", "--to", "main"]);
    assert!(pins.files().0.contains("branch = \"main\"\n\n[layers.extra]"), "{}", pins.files().0);
    pins.project.kbuild_ok(&["lock", "--locked"]);
}

#[test]
fn update_to_changes_nothing_unless_it_can_be_locked() {
    let pins = Pins::new();
    let before = pins.files();
    assert_run!(pins.project, pins.kbuild(&["update", "core", "--to", "v3"]), "update_to_no_such_ref");
    assert_run!(pins.project, pins.kbuild(&["update", "bitbake", "--to", "v2"]), "update_to_of_a_folder");
    assert_run!(pins.project, pins.kbuild(&["update", "core", "extra", "--to", "v2"]), "update_to_of_two");
    let run = pins.kbuild(&["update", "tool", "--to", "9.9"]);
    assert_eq!(run.code, Some(4), "{run}");
    assert_eq!(pins.kbuild(&["update", "--to", "v2"]).code, Some(2), "--to needs a name");
    assert_eq!(pins.kbuild(&["update", "core", "--to", "v2", "--locked"]).code, Some(2));
    assert_eq!(pins.files(), before);
}

#[test]
fn a_dry_run_says_what_would_move_and_writes_nothing() {
    let pins = Pins::new();
    let before = pins.files();
    assert_run!(pins.project, pins.kbuild(&["update", "--dry-run"]), "update_dry_run_nothing");
    let new = commit(&pins.upstream("extra"), "extra: later");
    assert_run!(pins.project, pins.kbuild(&["update", "--dry-run"]), "update_dry_run");
    assert_run!(pins.project, pins.kbuild(&["update", "core", "--to", "v2", "--dry-run"]), "update_dry_run_to");
    let run = pins.project.kbuild_ok(&["update", "--dry-run", "--locked", "--format", "json"]);
    assert_eq!(run.json()["changes"][0]["to_commit"], new.as_str(), "{run}");
    assert_eq!(pins.files(), before);
    pins.project.kbuild_ok(&["update"]);
    assert_ne!(pins.files().1, before.1);
}

#[test]
fn update_says_what_was_perhaps_meant_and_what_does_not_move() {
    let pins = Pins::new();
    assert_run!(pins.project, pins.kbuild(&["update", "extar"]), "update_unknown_name");
    assert_run!(pins.project, pins.kbuild(&["update", "extar", "--to", "v1"]), "update_to_unknown_name");
    assert_run!(pins.project, pins.kbuild(&["update", "fixed"]), "update_of_a_fixed_commit");
}

#[test]
fn add_puts_an_entry_in_its_place_and_locks_it() {
    let pins = Pins::new();
    let (before, _) = pins.files();
    let url = "https://git.example/extra";
    assert_run!(pins.project, pins.kbuild(&["add", "layer", "more", url, "--tag", "v1", "--paths", "."]), "add_layer");
    let (after, lock) = pins.files();
    let entry = format!("\n[layers.more]\ngit = \"{url}\"\ntag = \"v1\"\npaths = [\".\"]\n");
    assert_eq!(after, before.replace("\n[sources.tool]", &format!("{entry}\n[sources.tool]")));
    assert!(lock.contains("[layer.more]\n"), "{lock}");
    pins.project.kbuild_ok(&["lock", "--locked"]);

    let file = "https://files.example/tool-{version}.bin";
    pins.project.kbuild_ok(&["add", "source", "tool-new", file, "--version", "1.1"]);
    pins.project.write("layers/own/conf/layer.conf", "");
    pins.project.kbuild_ok(&["add", "layer", "own", "--path", "layers/own", "--no-lock"]);
    let (manifest, lock) = pins.files();
    let own = "\n[layers.own]\npath = \"layers/own\"\n\n[sources.tool]";
    let tool = format!("\n[sources.tool-new]\nurl = \"{file}\"\nversion = \"1.1\"\n\n[mirrors]");
    assert!(manifest.contains(own) && manifest.contains(&tool), "{manifest}");
    assert!(lock.contains("[source.tool-new]\n"), "{lock}");

    // What was added can be removed, and leaves nothing.
    for name in ["more", "tool-new", "own"] {
        pins.project.kbuild_ok(&["remove", name]);
    }
    assert_eq!(pins.files().0, before);
    pins.project.kbuild_ok(&["lock", "--locked"]);
}

#[test]
fn add_refuses_what_cannot_be_and_changes_nothing() {
    let pins = Pins::new();
    let before = pins.files();
    let url = "https://git.example/extra";
    assert_run!(pins.project, pins.kbuild(&["add", "layer", "core", url, "--tag", "v1"]), "add_twice");
    assert_run!(pins.project, pins.kbuild(&["add", "layer", "more", url]), "add_without_a_ref");
    assert_run!(pins.project, pins.kbuild(&["add", "layer", "more", url, "--branch", "mian"]), "add_no_such_branch");
    assert_run!(pins.project, pins.kbuild(&["add", "layer", "a b", url, "--branch", "main"]), "add_no_name");
    let board = ["add", "layer", "more", url, "--branch", "main", "--board", "qemu"];
    assert_eq!(pins.kbuild(&board).code, Some(1), "there is no such board");
    assert_eq!(pins.files(), before);
}

const BOARDS: &str = r#"
[closure]
lock = "none"

[boards.qemu]
machine = "qemu"
layers = [
    "core",  # first
    "extra", # then
]
targets = ["image"]

[boards.pi]
machine = "pi"
layers = ["core"]
targets = ["image"]
"#;

#[test]
fn a_layer_is_added_to_boards_and_not_removed_from_them() {
    let pins = Pins::new();
    pins.project.write("kata.toml", &format!("{}{BOARDS}", pins.files().0));
    let (before, _) = pins.files();
    let url = "https://git.example/extra";
    pins.project.kbuild_ok(&["add", "layer", "more", url, "--branch", "main", "-b", "qemu", "-b", "pi"]);
    let (after, _) = pins.files();
    let added = "+git = \"https://git.example/extra\"";
    assert!(!difference(&before, &after).contains(added), "the same line is there twice");
    assert!(after.contains("    \"extra\", # then\n    \"more\",\n]\n"), "{after}");
    assert!(after.contains("layers = [\"core\", \"more\"]\n"), "{after}");
    assert_run!(pins.project, pins.kbuild(&["remove", "more"]), "remove_used");
    assert_run!(pins.project, pins.kbuild(&["remove", "bitbake"]), "remove_engine");
    assert_run!(pins.project, pins.kbuild(&["remove", "mroe"]), "remove_unknown");
    assert_eq!(pins.files().0, after);
}

#[test]
fn a_source_that_a_recipe_reads_is_not_removed() {
    let pins = Pins::new();
    pins.project.write("bitbake/recipes/tool.bb", "SUMMARY = \"x\"\nSRC_URI = \"${KBUILD_TOOL_URI}\"\n");
    assert_run!(pins.project, pins.kbuild(&["remove", "tool"]), "remove_read");
    pins.project.kbuild_ok(&["remove", "agent"]);
    let (manifest, lock) = pins.files();
    assert!(!manifest.contains("agent") && !lock.contains("agent"), "{manifest}{lock}");
}

#[test]
fn outdated_says_what_upstreams_have_that_is_newer() {
    let mut pins = Pins::new();
    commit(&pins.upstream("extra"), "extra: later");
    let rewrite = format!("url.file://{}/.insteadOf", pins.project.beside("upstream").display());
    for (name, value) in [("COUNT", "1"), ("KEY_0", &rewrite), ("VALUE_0", "https://git.example/")] {
        pins.project.set(&format!("GIT_CONFIG_{name}"), value);
    }
    let before = pins.files();
    assert_run!(pins.project, pins.kbuild(&["outdated"]), "outdated");
    assert_run!(pins.project, pins.kbuild(&["outdated", "--format", "json"]), "outdated_json");
    assert_eq!(pins.kbuild(&["outdated", "--exit-code"]).code, Some(1));
    assert_eq!(pins.files(), before);
    for update in
        [["update", "core", "--to", "v10"], ["update", "agent", "--to", "v10"], ["update", "fixed", "--to", "main"]]
    {
        pins.project.kbuild_ok(&update);
    }
    pins.project.kbuild_ok(&["update", "extra"]);
    assert_run!(pins.project, pins.kbuild(&["outdated", "--exit-code"]), "outdated_nothing");
    std::fs::remove_dir_all(pins.upstream("extra")).expect("it goes away");
    let run = pins.kbuild(&["outdated"]);
    assert_eq!(run.code, Some(4), "{run}");
    assert_eq!(pins.kbuild(&["outdated", "--offline"]).code, Some(2));
}

#[test]
fn the_documented_expressions_for_bots_find_pins() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/pins.md")).expect("the page");
    let document = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a document");
    let document: serde_json::Value = serde_json::from_str(document).expect("JSON");
    let found = |manager: usize, group: &str| {
        let expression = document["customManagers"][manager]["matchStrings"][0].as_str().expect("an expression");
        let expression = regex::Regex::new(expression).expect("a valid expression");
        let (manifest, _) = Pins::new().files();
        expression.captures_iter(&manifest).map(|found| found[group].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(0, "currentValue"), ["v1"]);
    assert_eq!(found(1, "packageName"), ["https://git.example/extra"]);
    assert_eq!(found(1, "currentValue"), ["main"]);
}
