//! The queries `why`, `tree` and `list`, and what `verify` says would fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kbuild::lock::{Closure, Content, Lock};
use kbuild::manifest::Manifest;
use kbuild::resolve;
use kbuild::source::Blake3;
use kbuild::store::Store;
use sha2::Digest as _;

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git;

const FILES: [&str; 8] = [
    "busybox-1.36.tar.bz2",
    "e2fsprogs-1.47.tar.gz",
    "linux-5.15.tar.xz",
    "linux-6.1.tar.xz",
    "loud.patch",
    "uninative-aarch64.tar.xz",
    "uninative-x86_64.tar.xz",
    "zlib-1.3.tar.gz",
];
const REPOSITORIES: [&str; 6] = ["bitbake", "core", "meta-intel", "deps", "agent", "trumpet"];

/// Upstreams that do not exist any more: their sources are known by sha256 and commit alone.
const GONE: [&str; 2] = ["uninative-aarch64.tar.xz", "trumpet"];

/// The project in `queries/`, whose lock was written by hand: three boards, options, a second host, a submodule, a recipe
/// that differs on one board and one that differs with one choice. Hashes, commits and inputs are filled in, so that the
/// lock is fresh. Commits have fixed dates, so that their ids are the same on every machine.
pub(super) fn fixture() -> TestProject {
    let mut bench = TestProject::new();
    let mut words = BTreeMap::new();
    std::fs::create_dir_all(bench.beside("upstream")).expect("a directory");
    for name in FILES {
        let bytes = name.repeat(100);
        std::fs::write(bench.beside("upstream").join(name), &bytes).expect("a file");
        let sha256: [u8; 32] = sha2::Sha256::digest(&bytes).into();
        words.insert(name, kbuild::source::Sha256::from(sha256).to_string());
    }
    for name in REPOSITORIES {
        let submodule = words.get("deps").filter(|_| name == "agent").cloned();
        words.insert(name, repository(&bench.beside("upstream").join(name), name, submodule));
    }
    for name in GONE {
        let path = bench.beside("upstream").join(name);
        std::fs::rename(&path, path.with_extension("gone")).expect("it goes away");
    }
    bench.set(
        "KBUILD_MIRROR",
        format!("https://[a-z]*\\.example/(.*)=file://{}/$1", bench.beside("upstream").display()),
    );
    bench.write("kata.toml", &filled(include_str!("queries/kata.toml"), &words));
    bench.write("kata.lock", &filled(include_str!("queries/kata.lock"), &words));
    make_fresh(&bench, |_| {});
    bench
}

/// The fixture with everything that can be fetched in the store, and the resulting hashes in the lock.
fn fetched() -> TestProject {
    let bench = fixture();
    let run = bench.kbuild(&["fetch", "--offline"]);
    assert!(run.stderr.contains("2 of 14 sources could not be fetched"), "{run}");
    let store = Store::open_existing(&bench.path("mirrors/store")).expect("a store");
    make_fresh(&bench, |lock| {
        for file in lock.files.values_mut() {
            let found = store.by_sha256(&file.sha256);
            file.content = found.map(|found| Content { blake3: found.blake3, size: found.size });
        }
        for git in lock.gits.values_mut() {
            git.tree = store.git(&git.commit).expect("a record in order").map(|record| record.tree);
        }
    });
    bench
}

/// A template with hashes for `{NAME}`, and their first 12 digits for `{NAME:12}`.
fn filled(template: &str, words: &BTreeMap<&str, String>) -> String {
    let mut text = template.replace("{inputs}", &"0".repeat(64));
    for (name, hash) in words {
        text = text.replace(&format!("{{{name}}}"), hash).replace(&format!("{{{name}:12}}"), &hash[..12]);
    }
    text
}

/// A repository of one commit; returns its id.
fn repository(path: &Path, name: &str, submodule: Option<String>) -> String {
    std::fs::create_dir_all(path).expect("a directory");
    git(path, &["init", "-q"]);
    std::fs::write(path.join("file"), name).expect("a file");
    git(path, &["add", "file"]);
    if let Some(commit) = submodule {
        git(path, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},libs/deps")]);
    }
    let tree = git(path, &["write-tree"]);
    let who = "Tester <tester@example.invalid> 1000000000 +0000";
    std::fs::write(path.join("commit"), format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{name}\n"))
        .expect("a file");
    let commit = git(path, &["hash-object", "-t", "commit", "-w", "commit"]);
    git(path, &["update-ref", "refs/heads/main", &commit]);
    git(path, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    git(path, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    commit
}

/// Changes the lock, and rewrites it as `kbuild lock` would for this manifest.
fn make_fresh(bench: &TestProject, change: impl FnOnce(&mut Lock)) {
    let path = bench.path("kata.lock");
    let manifest = Manifest::read(&bench.path("kata.toml")).expect("a manifest");
    let mut lock = Lock::read(&path).expect("in order").expect("a lock");
    change(&mut lock);
    for missing in resolve::missing_closures(&manifest, &lock).expect("known boards") {
        let board = lock.boards.get_mut(&missing.board).expect("a board");
        let closure: Option<&mut Closure> = match missing.variant.name.as_str() {
            "" => board.closure.as_mut(),
            setting => board.with.get_mut(setting),
        };
        closure.expect("the fixture has every closure").inputs = missing.inputs;
    }
    lock.write(&path).expect("written");
    assert_eq!(resolve::stale(&manifest, &lock), Vec::<String>::new());
}

fn blob(bench: &TestProject, blake3: &Blake3) -> PathBuf {
    Store::open_existing(&bench.path("mirrors/store")).expect("a store").blob_path(blake3)
}

/// Removes the commits from the store: the size of a pack depends on git's version.
fn without_commits(bench: TestProject) -> TestProject {
    let found = json(&bench, &["list", "--kind", "git", "--host", "git.example"]).json();
    for source in found["sources"].as_array().expect("a list") {
        assert_eq!(source["in_store"], source["complete"], "{source}");
        assert_eq!(source["size"].as_u64().is_some_and(|size| size > 500), source["in_store"] == true, "{source}");
    }
    std::fs::remove_dir_all(bench.path("mirrors/store/git")).expect("there were some");
    bench
}

/// Removes a file's bytes from the store.
fn remove(bench: &TestProject, name: &str) {
    let lock = Lock::read(&bench.path("kata.lock")).expect("in order").expect("a lock");
    std::fs::remove_file(blob(bench, &lock.files[name].content.expect("complete").blake3)).expect("it was there");
}

fn json(bench: &TestProject, args: &[&str]) -> Run {
    bench.kbuild(&[args, &["--format", "json"]].concat())
}

#[test]
fn why() {
    let bench = without_commits(fetched());
    // A recipe that all boards share, except for one choice of one board.
    assert_run!(bench, bench.kbuild(&["why", "busybox-1.36.tar.bz2"]), "why_shared");
    assert_run!(bench, json(&bench, &["why", "https://mirror.example/busybox-1.36.tar.bz2"]), "why_shared_json");
    assert_run!(bench, bench.kbuild(&["why", "git:git.example.bitbake@nothing"]), "why_unknown");
    assert_run!(bench, bench.kbuild(&["why", "bitbake"]), "why_engine");
    assert_run!(bench, bench.kbuild(&["why", "linux-6.1.tar.xz"]), "why_declared");
    assert_run!(
        bench,
        bench.kbuild(&["why", "git://git.example/deps.git;protocol=https;branch=main"]),
        "why_submodule"
    );
    assert_run!(bench, json(&bench, &["why", "git.example.deps"]), "why_submodule_json");
    assert_run!(bench, bench.kbuild(&["why", "uninative-aarch64"]), "why_outside_of_recipes");
    assert_run!(bench, bench.kbuild(&["why", "git.example.trumpet"]), "why_incomplete");
}

#[test]
fn why_takes_what_people_write() {
    let bench = fixture();
    let lock = Lock::read(&bench.path("kata.lock")).expect("in order").expect("a lock");
    let (key, agent) = lock.gits.iter().find(|(key, _)| key.contains("agent")).expect("it is there");
    let id = format!("git:{key}");
    for text in
        [&id, key, "git.example.agent", "https://git.example/agent/", &agent.commit.to_string()[..7], "Example.Agent"]
    {
        assert_eq!(json(&bench, &["why", text]).json()["source"]["id"], id, "{text}");
    }
    let zlib = lock.files["zlib-1.3.tar.gz"].sha256.to_string();
    assert_eq!(json(&bench, &["why", &zlib[..7]]).json()["source"]["id"], "file:zlib-1.3.tar.gz");
    assert_eq!(json(&bench, &["why", &zlib[..6]]).code, Some(1), "six digits may be chance");
    // If source and recipe have one name, the source is meant, unless `--recipe` is given.
    assert_eq!(json(&bench, &["why", "linux"]).json()["source"]["id"], "file:linux-6.1.tar.xz");
    assert_run!(bench, bench.kbuild(&["why", "--recipe", "linux"]), "why_recipe");
    assert_run!(bench, json(&bench, &["why", "busybox"]), "why_recipe_json");
    assert_run!(bench, bench.kbuild(&["why", "packagegroup-core"]), "why_recipe_without_sources");
    assert_run!(bench, bench.kbuild(&["why", "linux-"]), "why_ambiguous");
    assert_run!(bench, bench.kbuild(&["why", "busybx"]), "why_nearly");
    assert_run!(bench, json(&bench, &["why", "--recipe", "nothing-like-it"]), "why_nothing");
}

#[test]
fn tree() {
    let bench = fixture();
    assert_run!(bench, bench.kbuild(&["tree", "--board", "qemu"]), "tree");
    assert_run!(
        bench,
        bench.kbuild(&["tree", "--board", "qemu", "--set", "loud", "--set", "boot=rootfs"]),
        "tree_options"
    );
    assert_run!(bench, json(&bench, &["tree", "--board", "pi", "--build-host", "aarch64"]), "tree_json");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "--depth", "1", "--no-sources"]), "tree_depth");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "busybox"]), "tree_recipe");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "agnet"]), "tree_unknown_recipe");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "qemu", "agnet"]), "tree_nearly");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "--build-host", "riscv64"]), "tree_unknown_host");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "--set", "boot=rootfs"]), "tree_not_an_option");
}

#[test]
fn what_is_not_locked_is_said() {
    let bench = fixture();
    let path = bench.path("kata.lock");
    let mut lock = Lock::read(&path).expect("in order").expect("a lock");
    lock.boards.get_mut("pi").expect("a board").with.remove("loud");
    lock.boards.get_mut("qemu").expect("a board").closure = None;
    lock.write(&path).expect("written");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "pi", "--set", "loud", "--depth", "0"]), "unlocked_choice");
    assert_run!(bench, bench.kbuild(&["tree", "--board", "qemu"]), "unlocked_board");
    bench.write("kata.toml", &bench.read("kata.toml").replace("[closure]", "[closure]\nlock = \"defaults\""));
    let run = bench.kbuild(&["tree", "--board", "pi", "--set", "loud"]);
    assert!(run.stderr.contains("[closure] lock = \"defaults\" locks only the default choices"), "{run}");
    bench.write("kata.toml", &bench.read("kata.toml").replace("\"defaults\"", "\"none\""));
    let run = bench.kbuild(&["tree", "--board", "pi"]);
    assert!(run.stderr.contains("only layers and declared sources are locked"), "{run}");
    for board in lock.boards.values_mut() {
        (board.closure, board.with) = (None, BTreeMap::new());
    }
    lock.write(&path).expect("written");
    let run = bench.kbuild(&["why", "trumpet"]);
    assert!(run.code == Some(0), "a part of the commit's key: {run}");
    let run = bench.kbuild(&["why", "packagegroup-core"]);
    assert!(run.stderr.contains("no closure is locked"), "{run}");
}

#[test]
fn list() {
    let bench = without_commits(fetched());
    assert_run!(bench, bench.kbuild(&["list"]), "list");
    assert_run!(
        bench,
        bench.kbuild(&["list", "--board", "pi", "--sort", "size", "--kind", "file"]),
        "list_board_by_size"
    );
    assert_run!(bench, bench.kbuild(&["list", "--board", "pi", "--sort", "host"]), "list_board_by_host");
    assert_run!(bench, json(&bench, &["list", "--recipe", "agent"]), "list_recipe_json");
    assert_run!(bench, json(&bench, &["list", "--recipe", "linux", "--host", "kernel.example"]), "list_declared_json");
    assert_run!(bench, bench.kbuild(&["list", "--incomplete"]), "list_incomplete");
    assert_run!(bench, bench.kbuild(&["list", "--host", "kernel.exampel"]), "list_unknown_host");
    assert_run!(bench, bench.kbuild(&["list", "--recipe", "nothing"]), "list_unknown_recipe");
    assert_run!(bench, bench.kbuild(&["list", "--kind", "git", "--host", "kernel.example"]), "list_nothing");
}

#[test]
fn queries_make_no_store() {
    let bench = fixture();
    for args in [&["list"][..], &["why", "zlib-native"], &["why", "zlib"], &["tree", "--board", "pi"]] {
        bench.kbuild_ok(args);
    }
    assert!(!bench.path("mirrors").exists());
}

#[test]
fn verify_names_what_would_fail() {
    let bench = fetched();
    // Two upstreams do not exist: a flag's recipe, and what the other host needs.
    assert_run!(bench, bench.kbuild(&["verify", "--offline", "--board", "qemu"]), "verify_gone");
    let whole = ["verify", "--offline", "--board", "qemu", "--set", "boot=rootfs"];
    bench.kbuild_ok(&whole);
    bench.kbuild_ok(&["verify", "--offline", "--board", "pi", "--build-host", "x86_64"]);

    remove(&bench, "e2fsprogs-1.47.tar.gz");
    assert_run!(bench, bench.kbuild(&whole), "verify_choice");
    bench.kbuild_ok(&["verify", "--offline", "--board", "qemu", "--set", "boot=initrd"]);
    bench.kbuild_ok(&["verify", "--offline", "--board", "pi", "--build-host", "x86_64"]);

    remove(&bench, "linux-5.15.tar.xz");
    let pi = ["verify", "--offline", "--board", "pi", "--build-host", "x86_64"];
    assert_run!(bench, json(&bench, &pi), "verify_board_json");
    assert_run!(bench, bench.kbuild(&["verify", "--offline"]), "verify_all");
    assert_eq!(bench.kbuild(&["verify", "--set", "loud"]).code, Some(2), "options are those of boards");
}

/// Each file by itself: exactly its recipes and boards are named.
#[test]
fn verify_names_exactly_what_would_fail() {
    let bench = fetched();
    let lock = Lock::read(&bench.path("kata.lock")).expect("in order").expect("a lock");
    let everywhere = ["intel", "pi", "qemu"];
    for (name, recipe, boards, with) in [
        ("busybox-1.36.tar.bz2", Some("busybox"), &everywhere[..], &["qemu+loud"][..]),
        ("zlib-1.3.tar.gz", Some("zlib-native"), &everywhere, &[]),
        ("linux-6.1.tar.xz", Some("linux"), &["intel", "qemu"], &[]),
        ("linux-5.15.tar.xz", Some("linux"), &["pi"], &[]),
        ("loud.patch", Some("busybox"), &[], &["qemu+loud"]),
        ("e2fsprogs-1.47.tar.gz", Some("e2fsprogs"), &[], &["intel+boot=rootfs", "qemu+boot=rootfs"]),
        ("uninative-x86_64.tar.xz", None, &everywhere, &[]),
    ] {
        let path = blob(&bench, &lock.files[name].content.expect("complete").blake3);
        std::fs::rename(&path, bench.beside("aside")).expect("taken away");
        let found = json(&bench, &["verify", "--offline"]).json();
        std::fs::rename(bench.beside("aside"), &path).expect("brought back");
        let faults = found["faults"].as_array().expect("a list");
        let fault = faults.iter().find(|fault| fault["source"] == format!("file:{name}")).expect("it is among them");
        assert_eq!(faults.len(), 1 + GONE.len(), "{name}");
        let needed_by = fault["needed_by"].as_array().expect("a list");
        let mut places: Vec<String> = boards.iter().chain(with).map(|place| (*place).to_owned()).collect();
        places.sort();
        let place = |one: &serde_json::Value| {
            let (board, with) = (one["board"].as_str().expect("a board"), one["with"].as_str());
            with.map_or_else(|| board.to_owned(), |with| format!("{board}+{with}"))
        };
        assert_eq!(needed_by.iter().map(place).collect::<Vec<_>>(), places, "{name}");
        for one in needed_by {
            let recipes: Vec<&str> =
                one["recipes"].as_array().expect("a list").iter().filter_map(|r| r.as_str()).collect();
            assert_eq!(recipes, recipe.into_iter().collect::<Vec<_>>(), "{name}");
            assert_eq!(one["outside_of_recipes"], recipe.is_none(), "{name}");
        }
    }
}
