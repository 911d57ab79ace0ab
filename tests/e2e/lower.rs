//! Lower stores of a project's own: read, never written, and trusted no more than it.

use std::path::{Path, PathBuf};

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::TestProject;

/// A project with two files and an engine that is only a name, locked; its store is now a shared store beside it.
fn with_shared_store() -> (TestProject, Server, PathBuf) {
    let (bench, server) = (TestProject::new(), Server::start());
    let mut sources = String::new();
    for name in ["one", "two"] {
        server.on(&format!("/{name}.bin"), [Reply::file(format!("the bytes of {name}"))]);
        sources += &format!("[sources.{name}]\nurl = \"{}\"\n", server.url(&format!("/{name}.bin")));
    }
    let head = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";
    bench.write("kata.toml", &format!("{head}{sources}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
    bench.kbuild_ok(&["lock"]);
    let shared = bench.beside("shared");
    std::fs::rename(bench.path("mirrors/store"), &shared).expect("renamed");
    (bench, server, shared)
}

/// The files in `blobs/` of a store.
fn blobs(store: &Path) -> Vec<PathBuf> {
    let directories = std::fs::read_dir(store.join("blobs")).expect("blobs").flatten().map(|entry| entry.path());
    directories.flat_map(|path| std::fs::read_dir(path).expect("blobs").flatten()).map(|entry| entry.path()).collect()
}

#[test]
fn what_a_lower_store_has_is_neither_fetched_nor_copied() {
    let (mut bench, server, shared) = with_shared_store();
    bench.set("KBUILD_LOWER_STORE", shared.display().to_string());
    let before = server.count();
    for args in [&["fetch"][..], &["lock", "--locked"], &["verify"], &["list"], &["export", "bundle.tar"]] {
        bench.kbuild_ok(args);
    }
    assert_eq!((server.count(), blobs(&bench.path("mirrors/store")).len()), (before, 0));
    assert_run!(bench, bench.kbuild(&["store", "info"]), "store_info");
    assert_eq!(bench.kbuild_ok(&["store", "ledger"]).stdout.lines().count(), 3, "the version and two blobs");
    let run = bench.kbuild_ok(&["import", "--format", "json", "bundle.tar"]);
    assert_eq!((&run.json()["blobs"], blobs(&bench.path("mirrors/store")).len()), (&0.into(), 0), "{run}");

    // Without it, everything is fetched from upstream. Then both have it, and `kbuild gc` says so.
    bench.kbuild_ok(&["fetch", "--lower-store", "../shared", "--store", "../own"]);
    bench.set("KBUILD_LOWER_STORE", "");
    bench.kbuild_ok(&["fetch"]);
    assert_eq!(server.count(), before + 2);
    assert_run!(bench, bench.kbuild(&["gc", "--lower-store", "../shared"]), "gc");
    bench.kbuild_ok(&["verify"]);

    let site = bench.beside("site.toml");
    std::fs::write(&site, "lower = [\"shared\"]\n").expect("written");
    let config = site.display().to_string();
    bench.kbuild_ok(&["fetch", "--config", &config, "--store", "../third"]);
    assert_eq!(server.count(), before + 2, "an empty variable is an unset one: the site says it");
}

#[test]
fn damage_in_a_lower_store_is_found_and_repaired_in_the_upper_one() {
    let (mut bench, server, shared) = with_shared_store();
    bench.set("KBUILD_LOWER_STORE", shared.display().to_string());
    let rotten = blobs(&shared).into_iter().next().expect("a blob");
    std::fs::remove_file(&rotten).expect("removed");
    std::fs::write(&rotten, "the bytes of on!").expect("written");
    let run = bench.kbuild(&["verify"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("shared/") && run.stderr.contains("is damaged"), "{run}");
    assert_eq!(bench.kbuild(&["verify", "--repair", "--offline"]).code, Some(6));
    assert_eq!(bench.kbuild(&["fetch", "--offline"]).code, Some(6), "what is known to be rotten is not there");
    let before = server.count();
    bench.kbuild_ok(&["verify", "--repair"]);
    assert_eq!((server.count(), blobs(&bench.path("mirrors/store")).len()), (before + 1, 1));
    assert_eq!(std::fs::read(&rotten).expect("still there"), b"the bytes of on!", "nothing is written below");
    bench.kbuild_ok(&["gc"]);
    bench.kbuild_ok(&["verify"]);
}

#[test]
fn what_cannot_be_a_lower_store_is_said() {
    let (bench, _server, shared) = with_shared_store();
    assert_run!(bench, bench.kbuild(&["fetch", "--lower-store", "../nowhere"]), "missing");
    let run = bench.kbuild_ok(&["fetch", "--store", "../shared", "--lower-store", "../shared/"]);
    assert!(run.stderr.contains("is the store itself"), "{run}");
    std::fs::write(shared.join("format"), "kbuild store 2\n").expect("written");
    assert_run!(bench, bench.kbuild(&["fetch", "--lower-store", "../shared"]), "newer");
}
