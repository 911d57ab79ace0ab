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
