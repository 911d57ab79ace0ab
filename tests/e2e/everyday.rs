//! The small commands of every day: what may be built, what a code means, what builds left.

use std::fs;

use kbuild_test::assert_run;
use kbuild_test::project::TestProject;

use crate::queries::fixture;

#[test]
fn explain_tells_of_codes_kinds_and_pages() {
    let bench = TestProject::new();
    assert_run!(bench, bench.kbuild(&["explain"]), "explain");
    assert_run!(bench, bench.kbuild(&["explain", "5"]), "explain_code");
    assert_run!(bench, bench.kbuild(&["explain", "stalelock"]), "explain_unknown");
    let network = bench.kbuild_ok(&["explain", "network", "--format", "json"]).json();
    assert_eq!(network["code"], 4);
    assert!(network["causes"].as_array().is_some_and(|causes| causes.len() > 2), "{network}");
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/seal.md")).expect("the page");
    assert_eq!(bench.kbuild_ok(&["explain", "seal"]).stdout.trim(), page.trim());
}

#[test]
fn boards_says_what_can_be_built() {
    let bench = fixture();
    assert_run!(bench, bench.kbuild(&["boards"]), "boards");
    assert_run!(bench, bench.kbuild(&["boards", "--format", "json"]), "boards_json");
}

#[test]
fn clean_removes_what_builds_made_and_nothing_else() {
    let bench = fixture();
    assert_run!(bench, bench.kbuild(&["clean"]), "clean_nothing");
    let files = [
        "build/qemu/tmp/work/x",
        "build/qemu/conf/kbuild.conf",
        "build/qemu/conf/kbuild.conf.edited",
        "build/qemu/workspace/conf/layer.conf",
        "build/pi.check/tmp/y",
        "build/sstate-cache/z",
        "build/layers/meta-x-0123/README",
    ];
    for path in files {
        fs::create_dir_all(bench.path(path).parent().expect("a directory")).expect("made");
        fs::write(bench.path(path), "0123456789").expect("a file");
    }
    assert_run!(bench, bench.kbuild(&["clean", "--dry-run"]), "clean_dry_run");
    assert!(files.iter().all(|path| bench.path(path).exists()));
    assert_run!(bench, bench.kbuild(&["clean", "--board", "pi"]), "clean_board");
    assert!(bench.path("build/qemu/tmp").exists() && !bench.path("build/pi.check").exists());
    assert_run!(bench, bench.kbuild(&["clean", "--sstate"]), "clean_sstate");
    let left: Vec<bool> = files.iter().map(|path| bench.path(path).exists()).collect();
    assert_eq!(left, [false, false, true, true, false, false, true]);
    assert_run!(bench, bench.kbuild(&["clean", "--board", "qemo"]), "clean_unknown");
}

/// What a shell offers for the last of these words: the lines that bash gets.
fn offered(bench: &TestProject, words: &[&str]) -> Vec<String> {
    let mut line = vec!["--", "kbuild"];
    line.extend(words);
    let mut command = bench.command(&line);
    let index = words.len().to_string();
    command.envs([("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", &index), ("_CLAP_COMPLETE_COMP_TYPE", "9")]);
    command.envs([("_CLAP_COMPLETE_SPACE", "true"), ("_CLAP_IFS", "\n")]);
    let output = command.output().expect("kbuild");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_shell_offers_what_the_project_has() {
    let bench = fixture();
    assert_eq!(offered(&bench, &["build", "--board", ""]), ["intel", "pi", "qemu"]);
    assert_eq!(offered(&bench, &["build", "-b", "p"]), ["pi"]);
    assert_eq!(offered(&bench, &["update", "co"]), ["core"]);
    assert!(offered(&bench, &["tree", "--board", "qemu", "busy"]).contains(&"busybox".to_owned()));
    assert!(offered(&bench, &["explain", "se"]).contains(&"seal".to_owned()));
    assert!(offered(&bench, &["bui"]).contains(&"build".to_owned()));
    // Outside of a project there is nothing to offer, and nothing to say.
    let empty = TestProject::new();
    assert_eq!(offered(&empty, &["build", "--board", ""]), [""; 0]);
    let script = bench.kbuild_ok(&["completions", "bash"]).stdout;
    assert!(script.contains("COMPLETE=") && script.contains("kbuild"), "{script}");
}

#[test]
fn every_command_has_a_manual_page() {
    let bench = TestProject::new();
    let run = bench.kbuild_ok(&["man", "man1", "--format", "json"]).json();
    let pages: Vec<&str> = run["pages"].as_array().expect("a list").iter().filter_map(|page| page.as_str()).collect();
    for page in ["kbuild.1", "kbuild-build.1", "kbuild-cache-push.1"] {
        assert!(pages.contains(&page), "{pages:?}");
    }
    let page = bench.read("man1/kbuild-build.1");
    for part in [".TH kbuild-build 1", "\\-\\-board", "Examples:", "\\-\\-offline"] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
}
