//! A source that is not in the store refuses those builds that need it, and no others.

use std::fs;

use kbuild::lock::Lock;
use kbuild::store::Store;
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{Upstreams, copy, copy_project, engine, upstreams};

/// Takes a locked file out of the project's store.
fn remove(bench: &TestProject, file: &str) {
    let lock = Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let blake3 = lock.files[file].content.expect("it was fetched").blake3;
    let store = Store::open_existing(&bench.path("mirrors/store")).expect("a store");
    fs::remove_file(store.blob_path(&blake3)).expect("it was there");
}

#[test]
fn a_missing_source_refuses_only_what_needs_it() {
    let Some(engine) = engine() else { return };
    let mut bench = TestProject::new();
    copy_project(&bench);
    let served = bench.beside("served");
    copy(upstreams(&engine), &served);
    fs::write(served.join("spare.txt"), "no recipe asks for it\n").expect("a file");
    let _running = Upstreams::serve_to(&mut bench, &served, 0.0);
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &format!("{manifest}\n[sources.spare]\nurl = \"https://upstream.example/spare.txt\"\n"));
    bench.kbuild_ok(&["lock"]);

    remove(&bench, "spare.txt");
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(!run.stderr.contains("spare"), "{run}");

    remove(&bench, "hello-1.0.tar.gz");
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(6), "{run}");
    assert!(run.stderr.contains("file:hello-1.0.tar.gz is not in the store"), "{run}");
    // By the task graph of the discovery greeter needs nothing of it.
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "greeter"]);
    assert!(!run.stderr.contains("hello-1.0"), "{run}");
    assert_eq!(bench.kbuild(&["build", "--board", "lantern", "hello"]).code, Some(6));

    // Without the graph it is not known: it is tried, and said.
    fs::remove_dir_all(bench.path("build/lantern.closures")).expect("it was there");
    let warned = "2 sources are not in the store, file:hello-1.0.tar.gz and file:spare.txt among them: tasks that need them will \
                  fail; `kbuild fetch --board lantern` fetches what is missing";
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "greeter"]);
    assert!(run.stderr.contains(warned), "{run}");
    let run = bench.kbuild_ok(&["shell", "--board", "lantern", "--", "true"]);
    assert!(run.stderr.contains(warned), "{run}");

    // What can be built is built, and the task that fails names the command.
    for left in ["tmp", "sstate-cache"] {
        bench.kbuild_ok(&["shell", "--board", "lantern", "--", "sh", "-c", &format!("rm -rf {left}/*")]);
    }
    let run = bench.kbuild(&["build", "--board", "lantern", "--keep-going", "--no-cache"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("which kata.lock has and the store has not"), "{run}");
    assert!(run.stderr.contains("run `kbuild fetch`"), "{run}");
    bench.kbuild_ok(&["fetch"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
}
