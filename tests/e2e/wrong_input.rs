//! Wrong input: each a clear message and the documented exit code.

use kbuild_test::assert_run;
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::git;

const MANIFEST: &str = r#"[project]
name = "test"
[closure]
lock = "none"

[layers.bitbake]
path = "layers/bitbake"
[layers.meta-test]
path = "layers/meta-test"

[options.boot]
choices = { initrd = "boot-initrd", rootfs = "boot-rootfs" }
default = "initrd"

[options.ceph]
flag = "with-ceph"
boards = ["qemu"]

[boards.qemu]
machine = "qemux86-64"
layers = ["meta-test"]
targets = ["image"]

[boards.pi]
machine = "raspberrypi4-64"
layers = ["meta-test"]
targets = ["image"]
"#;

fn bench() -> TestProject {
    let bench = TestProject::with_manifest(MANIFEST);
    bench.write("layers/bitbake/bin/bitbake", "");
    bench.write("layers/meta-test/conf/layer.conf", "");
    bench
}

#[test]
fn no_manifest() {
    let bench = TestProject::new();
    assert_run!(bench, bench.kbuild(&["lock"]), "no_manifest");
    assert_run!(bench, bench.kbuild(&["lock", "--manifest-path", "gone/kata.toml"]), "no_manifest_where_named");
    assert_run!(bench, bench.kbuild(&["lock", "--format", "json"]), "no_manifest_json");
}

#[test]
fn broken_toml() {
    let bench = TestProject::with_manifest("[project]\nname = \"test\n");
    assert_run!(bench, bench.kbuild(&["lock"]), "broken_toml");
}

#[test]
fn unknown_key() {
    let bench = TestProject::with_manifest(&MANIFEST.replace("machine = \"qemux86-64\"", "machin = \"qemux86-64\""));
    bench.write("layers/bitbake/bin/bitbake", "");
    bench.write("layers/meta-test/conf/layer.conf", "");
    assert_run!(bench, bench.kbuild(&["lock"]), "unknown_key");
}

#[test]
fn unknown_board() {
    let bench = bench();
    bench.kbuild_ok(&["lock"]);
    assert_run!(bench, bench.kbuild(&["build", "--board", "qmeu"]), "unknown_board");
    assert_run!(bench, bench.kbuild(&["fetch", "--board", "qmeu"]), "unknown_board_fetch");
}

#[test]
fn unknown_option() {
    let bench = bench();
    bench.kbuild_ok(&["lock"]);
    assert_run!(bench, bench.kbuild(&["build", "--board", "qemu", "--set", "boot=rotfs"]), "unknown_choice");
    assert_run!(bench, bench.kbuild(&["build", "--board", "qemu", "--set", "bot=rootfs"]), "unknown_option");
    assert_run!(bench, bench.kbuild(&["build", "--board", "pi", "--set", "ceph"]), "option_not_for_board");
    let twice = ["build", "--board", "qemu", "--set", "boot=rootfs", "--set", "boot=initrd"];
    assert_run!(bench, bench.kbuild(&twice), "two_choices");
}

#[test]
fn no_lock() {
    let bench = bench();
    assert_run!(bench, bench.kbuild(&["fetch"]), "no_lock");
}

#[test]
fn stale_lock() {
    let bench = bench();
    bench.kbuild_ok(&["lock"]);
    let more = "\n[sources.late]\nurl = \"https://upstream.example/late-1.tar.gz\"\n";
    bench.write("kata.toml", &format!("{MANIFEST}{more}"));
    assert_run!(bench, bench.kbuild(&["lock", "--locked"]), "stale_lock");
    assert_run!(bench, bench.kbuild(&["fetch", "--frozen"]), "stale_lock_fetch");
}

#[test]
fn lock_of_a_newer_version() {
    let bench = bench();
    bench.write("kata.lock", "version = 2\nrevision = 0\n");
    assert_run!(bench, bench.kbuild(&["fetch"]), "newer_lock");
    assert_run!(bench, bench.kbuild(&["lock"]), "newer_lock_lock");
    assert_eq!(bench.read("kata.lock"), "version = 2\nrevision = 0\n", "a lock that cannot be read is left alone");
}

#[test]
fn broken_lock() {
    let bench = bench();
    bench.write("kata.lock", "version = 1\n\n[file.\"x.tar.gz\"]\nurls = []\nsha256 = \"short\"\n");
    assert_run!(bench, bench.kbuild(&["fetch"]), "broken_lock");
}

#[test]
fn conflict_markers_stop_all_but_lock() {
    let bench = bench();
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    let (head, tail) = lock.split_once("[board.qemu]").expect("a board");
    bench.write("kata.lock", &format!("{head}<<<<<<< ours\n=======\n>>>>>>> theirs\n[board.qemu]{tail}"));
    assert_run!(bench, bench.kbuild(&["fetch"]), "conflict_markers");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kata.lock"), lock);
}

#[test]
fn wrong_usage() {
    let bench = bench();
    assert_eq!(bench.kbuild(&["--no-such-flag"]).code, Some(2));
    assert_eq!(bench.kbuild(&["build"]).code, Some(2));
    assert_eq!(bench.kbuild(&["lock", "--mirror", "((=https://x"]).code, Some(2));
}

const BOARD: &str = "[project]\nname = \"test\"\n[closure]\nlock = \"none\"\n[layers.bitbake]\npath = \"bitbake\"\n\
    [boards.b]\nmachine = \"b\"\nlayers = [\"core\"]\ntargets = [\"x\"]\n";

/// Layers are checked out without submodules: who names a directory in one is told what to write.
#[test]
fn a_layer_in_a_submodule_is_said_to_be_one() {
    let bench = TestProject::new();
    let inner = bench.beside("inner");
    let outer = bench.beside("outer");
    for directory in [&inner, &outer] {
        std::fs::create_dir(directory).expect("a directory");
        git(directory, &["init", "-q", "-b", "main"]);
    }
    std::fs::create_dir_all(inner.join("meta/conf")).expect("a directory");
    std::fs::write(inner.join("meta/conf/layer.conf"), "").expect("a file");
    git(&inner, &["add", "."]);
    git(&inner, &["commit", "-q", "-m", "A layer"]);
    let commit = git(&inner, &["rev-parse", "HEAD"]);
    let gitmodules = "[submodule \"core\"]\n\tpath = sources/core\n\turl = https://example.org/core.git\n";
    std::fs::write(outer.join(".gitmodules"), gitmodules).expect("a file");
    git(&outer, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sources/core")]);
    git(&outer, &["add", ".gitmodules"]);
    git(&outer, &["commit", "-q", "-m", "A layer as a submodule"]);
    bench.write(
        "kata.toml",
        &format!(
            "{BOARD}[layers.core]\ngit = \"file://{}\"\nbranch = \"main\"\npaths = [\"sources/core/meta\"]\n",
            outer.display()
        ),
    );
    bench.write("bitbake/bin/bitbake", "");
    bench.kbuild_ok(&["lock"]);
    let run = bench.kbuild(&["audit"]);
    assert_eq!(run.code, Some(1), "{run}");
    let said = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = format!("with `git = \"https://example.org/core.git\"`, `rev = \"{commit}\"`, `paths = [\"meta\"]`");
    assert!(said.contains("`sources/core` is a submodule there") && said.contains(&expected), "{said}");

    // A folder of the project that is a submodule, and was not filled.
    let bench = TestProject::with_manifest(&format!("{BOARD}[layers.core]\npath = \"sources/core\"\n"));
    bench.write("bitbake/bin/bitbake", "");
    bench.write(".gitmodules", gitmodules);
    std::fs::create_dir_all(bench.path("sources/core")).expect("a directory");
    let run = bench.kbuild(&["audit"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("submodule update --init"), "{run}");
}
