//! The repository's own kata.toml and kata.lock; with clones of the real layers also their real contents.
//!
//! `KBUILD_TEST_CLONES` names a site configuration whose mirror rules point to clones of the upstream repositories.

use std::path::Path;

use kbuild::lock::Lock;

use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{clones, clones_for_bitbake, copy, repository};

/// A clone of this project, with the files that kbuild reads.
fn flagship() -> TestProject {
    let mut bench = TestProject::new();
    for name in ["kata.toml", "kata.lock"] {
        std::fs::copy(repository().join(name), bench.path(name)).expect(name);
    }
    copy(&repository().join("layers"), &bench.path("layers"));
    // The clones may belong to another user; git's upload-pack reads the user's own configuration for permission.
    std::fs::write(bench.beside("home/.gitconfig"), "[safe]\n\tdirectory = *\n").expect("a gitconfig");
    // The site configuration may name a store of the machine; this test needs an empty one.
    let store = bench.path("mirrors/store").display().to_string();
    bench.set("KBUILD_STORE", store);
    bench
}

fn read(lock: &Path) -> Lock {
    Lock::read(lock).expect("a lock").expect("a lock")
}

#[test]
fn the_committed_lock_is_fresh() {
    flagship().kbuild_ok(&["lock", "--locked", "--offline"]);
}

/// What is known of Kata's release is its hash; a board gets its own architecture's.
#[test]
fn each_board_has_the_release_of_its_architecture() {
    let lock = read(&repository().join("kata.lock"));
    for (board, arch) in [("qemu", "amd64"), ("intel", "amd64"), ("edgeos", "amd64"), ("raspberrypi", "arm64")] {
        let name = format!("kata-static-3.32.0-{arch}.tar.zst");
        assert!(lock.files.contains_key(&name), "{name}");
        let sources: Vec<String> = lock.boards[board].sources.iter().map(ToString::to_string).collect();
        let of_release: Vec<&String> = sources.iter().filter(|id| id.starts_with("file:kata-static-")).collect();
        assert_eq!(of_release, [&format!("file:{name}")], "{board}");
    }
}

/// A project with only the virtiofsd of kata.toml, locked with its bytes in this store; `None`, with a message, if crates.io
/// cannot be reached.
fn virtiofsd(store: &Path) -> Option<TestProject> {
    let manifest = std::fs::read_to_string(repository().join("kata.toml")).expect("kata.toml");
    let (_, rest) = manifest.split_once("[sources.virtiofsd]\n").expect("a source of its own");
    let source = rest.split("\n[").next().expect("its block");
    let mut bench = TestProject::new();
    bench.set("KBUILD_STORE", store.display().to_string());
    bench.write("bitbake/bin/bitbake", "");
    let head = "[project]\nname = \"virtiofsd\"\n[layers.bitbake]\npath = \"bitbake\"\n";
    bench.write("kata.toml", &format!("{head}[sources.virtiofsd]\n{source}\n"));
    let locked = bench.kbuild(&["lock", "--strict"]);
    if locked.code == Some(4) {
        eprintln!("SKIPPED: crates.io is not reached from here\n{locked}");
        return None;
    }
    assert_eq!(locked.code, Some(0), "{locked}");
    Some(bench)
}

#[test]
fn the_include_of_virtiofsd_is_what_its_own_cargo_lock_gives() {
    let store = tempfile::tempdir().expect("a directory");
    let Some(bench) = virtiofsd(store.path()) else { return };
    let (own, committed) = (read(&bench.path("kata.lock")), read(&repository().join("kata.lock")));
    for (name, file) in &own.files {
        assert_eq!(committed.files.get(name), Some(file), "{name} in kata.lock");
    }
    let include = repository().join("layers/meta-kata-common/recipes-kata/virtiofsd/virtiofsd-crates.inc");
    bench.kbuild_ok(&["crates", "--source", "virtiofsd", "--check", &include.display().to_string()]);
}

#[test]
fn the_former_options_are_typed() {
    let bench = flagship();
    for (board, set, word) in [
        ("raspberrypi", "ceph=on", "the ceph of this release"),
        ("qemu", "ceph=on", "the ceph of this release"),
        ("qemu", "network=bridged", "no choice `bridged`"),
        ("qemu", "boot", "needs a choice"),
        ("edgeos", "base=clear-linux", "Clear Linux OS"),
        ("qemu", "base=alpine", "its image is no source"),
    ] {
        let run = bench.kbuild(&["build", "--board", board, "--set", set]);
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stderr.contains(word), "{run}");
    }
}

#[test]
fn the_pins_come_out_of_the_real_repositories() {
    let Some(clones) = clones() else { return };
    let bench = flagship();
    let committed = read(&bench.path("kata.lock"));
    std::fs::remove_file(bench.path("kata.lock")).expect("the lock");
    let manifest = bench.read("kata.toml").replace("lock = \"choices\"", "lock = \"none\"");
    bench.write("kata.toml", &manifest);
    // No clone has it, and the committed lock knows its bytes.
    let Some(_) = virtiofsd(&bench.path("mirrors/store")) else { return };
    bench.kbuild_ok(&["lock", "--offline", "--config", &clones]);
    let own = read(&bench.path("kata.lock"));
    assert_eq!((&own.layers, &own.sources), (&committed.layers, &committed.sources));
    own.files.iter().for_each(|(key, file)| assert_eq!(committed.files.get(key), Some(file), "{key}"));
    own.gits.iter().for_each(|(key, git)| assert_eq!(committed.gits.get(key), Some(git), "{key}"));
}

/// Only one board: all four take half an hour.
#[test]
fn the_closures_of_a_board_come_out_of_the_real_layers() {
    let Some(clones) = clones_for_bitbake() else { return };
    let bench = flagship();
    let committed = bench.read("kata.lock");
    let mut without = read(&bench.path("kata.lock"));
    let board = without.boards.get_mut("raspberrypi").expect("the board");
    assert!(board.closure.take().is_some());
    board.with.clear();
    without.write(&bench.path("kata.lock")).expect("a lock without them");
    bench.kbuild_ok(&["lock", "--offline", "--config", &clones]);
    assert_eq!(bench.read("kata.lock"), committed);
}

#[test]
fn real_bitbake_unpacks_from_the_lock() {
    let Some(clones) = clones_for_bitbake() else { return };
    let bench = flagship();
    // The clones may not have all of the lock; these recipes need only what they have.
    let fetch = bench.kbuild(&["fetch", "--board", "qemu", "--offline", "--config", &clones]);
    assert!(matches!(fetch.code, Some(0 | 6)), "{fetch}");
    let targets = ["kata-guest-kernel-config", "kata-containers-config", "base-files", "busybox-inittab"];
    let build = [&["build", "--board", "qemu", "--task", "unpack"], targets.as_slice()].concat();
    bench.kbuild_ok(&build);
    let result = bench.result("qemu");
    assert_eq!(result["task"], "unpack", "{result}");
}
