//! Commands that change pins: `update`, `add`, `remove`.

use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject, hermetic};
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

pub(super) fn git(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(directory).env_clear();
    hermetic(&mut command, directory);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Tester").env(format!("GIT_{role}_EMAIL"), "tester@example.invalid");
        command.env(format!("GIT_{role}_DATE"), "1000000000 +0000");
    }
    let output = command.output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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
