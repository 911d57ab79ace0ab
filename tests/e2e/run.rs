//! `kbuild run` with a QEMU that only prints how it was called, and a result that no BitBake made.

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject, program_on_path};

/// RISC-V: the test does not depend on what the host's kernel supports.
const MANIFEST: &str = r#"[project]
name = "test"
[layers.bitbake]
path = "layers/bitbake"

[boards.lab]
machine = "qemuriscv64"
layers = ["bitbake"]
targets = ["image"]

[boards.lab.run]
arch = "riscv64"
image = "image.wic"
nested = true
ports = ["22221:22"]

[boards.other]
extends = "lab"
run = { image = "image*" }

[boards.rack]
machine = "rack"
layers = ["bitbake"]
targets = ["image"]
"#;

const RESULT: &str = r#"{
  "schema": 1, "kbuild": "0", "project": "test", "board": "lab", "machine": "qemuriscv64", "options": {}, "lock": "HASH",
  "engine": { "name": "bitbake", "tree": "HASH", "version": "2.18.0" }, "layers": [], "sealed": true, "host_tools": {},
  "targets": ["image"],
  "artifacts": [{ "path": "image.wic", "size": 10, "sha256": "HASH", "blake3": "HASH" }]
}"#;

fn bench() -> TestProject {
    let bench = TestProject::with_manifest(MANIFEST);
    bench.write("layers/bitbake/bin/bitbake", "");
    bench
}

fn built() -> TestProject {
    let bench = bench();
    bench.write("build/lab/result.json", &RESULT.replace("HASH", &"0".repeat(64)));
    bench.write("build/lab/tmp/deploy/images/qemuriscv64/image.wic", "the image\n");
    bench
}

/// `kbuild run` with these further arguments; the output does not show the machine that runs the test.
fn kbuild_run(bench: &TestProject, args: &[&str]) -> Run {
    masked(bench.kbuild(&[&["run", "--board"], args].concat()))
}

fn masked(mut run: Run) -> Run {
    let host = format!("this host is {},", kbuild::builder::this_machine());
    for text in [&mut run.stdout, &mut run.stderr] {
        *text = text.replace(&host, "this host is [HOST],");
    }
    run
}

/// Puts a program with QEMU's name first on the PATH.
fn with_qemu(bench: &mut TestProject, script: &str) {
    let path = program_on_path(bench, "qemu-system-riscv64", script);
    bench.set("PATH", path);
}

#[test]
fn a_built_board_is_started_and_its_image_is_not_changed() {
    let mut bench = built();
    with_qemu(&mut bench, r#"printf '<%s>' "$@"; echo; read line; echo "console: $line""#);
    let mut child = bench.command(&["run", "--board", "lab", "--", "-m", "2048"]);
    child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = child.spawn().expect("starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"login\n").expect("a console");
    let run = Run::from(child.wait_with_output().expect("ends"));
    assert_run!(bench, masked(run), "run");
    assert_eq!(bench.read("build/lab/tmp/deploy/images/qemuriscv64/image.wic"), "the image\n");
    let json = bench.kbuild_ok(&["run", "--board", "lab", "--format", "json"]);
    assert_eq!(json.json()["accelerator"], "tcg", "{json}");
    assert!(json.stderr.contains("console: "), "the console is not in the document: {json}");
}

#[test]
fn qemus_failure_has_an_exit_code_of_its_own() {
    let mut bench = built();
    with_qemu(&mut bench, "echo 'qemu: no such machine' >&2; exit 3");
    assert_run!(bench, kbuild_run(&bench, &["lab"]), "run_failed");
}

#[test]
fn a_dry_run_prints_the_command_and_starts_nothing() {
    let mut bench = built();
    with_qemu(&mut bench, "touch ../started");
    assert_run!(bench, kbuild_run(&bench, &["lab", "--dry-run"]), "run_dry");
    let json = ["lab", "--dry-run", "--format", "json", "--", "-display", "a b"];
    assert_run!(bench, kbuild_run(&bench, &json), "run_dry_json");
    assert!(!bench.beside("started").exists());
    // A shell accepts it as it is printed.
    let line = bench.kbuild_ok(&["run", "--board", "lab", "--dry-run", "--quiet", "--", "a b", "it's"]).stdout;
    let words = std::process::Command::new("sh")
        .args(["-c", &format!("set -- {}; printf '<%s>' \"$@\"", line.trim())])
        .output();
    let words = String::from_utf8_lossy(&words.expect("sh").stdout).into_owned();
    assert!(words.ends_with("<-nographic><a b><it's>"), "{words}");
}

#[test]
fn what_is_missing_is_said() {
    let bench = bench();
    assert_run!(bench, kbuild_run(&bench, &["lab"]), "run_not_built");
    assert_eq!(bench.kbuild(&["run", "--board", "lab", "--dry-run"]).code, Some(0), "the image is named");
    assert_run!(bench, kbuild_run(&bench, &["other", "--dry-run"]), "run_dry_not_built");
    assert_run!(bench, kbuild_run(&bench, &["rack"]), "run_no_machine");
    assert_run!(bench, kbuild_run(&bench, &["lba"]), "run_unknown_board");
    let mut bench = built();
    bench.set("PATH", bench.beside("nothing").display().to_string());
    assert_run!(bench, kbuild_run(&bench, &["lab"]), "run_no_qemu");
    bench.write("build/lab/result.json", "{}");
    assert_run!(bench, kbuild_run(&bench, &["lab"]), "run_no_result");
}
