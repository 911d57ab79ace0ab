//! The two names that a manifest may have, and the lock beside it.

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject};

const MANIFEST: &str = r#"[project]
name = "test"
[closure]
lock = "none"
[layers.bitbake]
path = "layers/bitbake"
[layers.meta-test]
path = "layers/meta-test"
[boards.qemu]
machine = "qemux86-64"
layers = ["meta-test"]
targets = ["image"]
"#;

fn bench(manifests: &[&str]) -> TestProject {
    let bench = TestProject::new();
    manifests.iter().for_each(|name| bench.write(name, MANIFEST));
    bench.write("layers/bitbake/bin/bitbake", "");
    bench.write("layers/meta-test/conf/layer.conf", "");
    bench
}

/// Locks, and insists that this one lock came of it, naming its manifest.
fn locks(bench: &TestProject, lock: &str, manifest: &str) -> Run {
    let run = bench.kbuild_ok(&["lock", "--manifest-path", manifest]);
    let text = bench.read(lock);
    assert!(text.starts_with(&format!("# Written by `kbuild lock` from {manifest}.")), "{text}");
    run
}

#[test]
fn each_manifest_has_its_lock_beside_it() {
    let project = bench(&["kbuild.toml"]);
    project.kbuild_ok(&["lock"]);
    assert!(project.read("kbuild.lock").contains("from kbuild.toml. Do not edit: change kbuild.toml"));
    assert!(!project.path("kata.lock").exists());
    assert!(project.kbuild(&["lock", "--locked"]).stderr.contains("kbuild.lock is up to date"));

    let project = bench(&["kata.toml"]);
    project.kbuild_ok(&["lock"]);
    assert!(project.read("kata.lock").contains("from kata.toml. Do not edit: change kata.toml"));
    assert!(!project.path("kbuild.lock").exists());
    assert!(project.kbuild(&["lock", "--locked"]).stderr.contains("kata.lock is up to date"));
}

#[test]
fn messages_name_the_file_that_is_there() {
    let project = bench(&["kbuild.toml"]);
    assert_run!(project, project.kbuild(&["lock", "--locked"]), "kbuild_lock_is_missing");
    let project = bench(&["kata.toml"]);
    assert_run!(project, project.kbuild(&["lock", "--locked"]), "kata_lock_is_missing");
}

#[test]
fn both_manifests_in_one_directory_are_an_error_until_one_is_named() {
    let project = bench(&["kata.toml", "kbuild.toml"]);
    assert_run!(project, project.kbuild(&["lock"]), "both_manifests");
    locks(&project, "kata.lock", "kata.toml");
    locks(&project, "kbuild.lock", "kbuild.toml");
}

#[test]
fn the_nearest_directory_decides() {
    let project = bench(&["kata.toml"]);
    project.write("below/kbuild.toml", &MANIFEST.replace("layers/", "../layers/"));
    std::fs::create_dir_all(project.path("below/deeper")).unwrap();
    std::fs::create_dir_all(project.path("other")).unwrap();
    let error = |from: &str| {
        let output = project.command(&["lock", "--locked"]).current_dir(project.path(from)).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(error("other").contains("kata.lock does not match kata.toml"), "{}", error("other"));
    assert!(error("below/deeper").contains("kbuild.toml"), "{}", error("below/deeper"));
}

#[test]
fn init_writes_the_common_name() {
    let project = TestProject::new();
    project.kbuild_ok(&["init", "--name", "lab"]);
    assert!(project.read("kbuild.toml").contains("name = \"lab\""));
    assert!(!project.path("kata.toml").exists());
    project.write("elsewhere/kata.toml", MANIFEST);
    assert_run!(project, project.kbuild(&["init", "elsewhere"]), "init_beside_a_manifest");
}
