//! Manifests of several files: of the project, and of a locked layer.

use std::fs;
use std::path::PathBuf;

use kbuild_test::project::TestProject;
use kbuild_test::quickstart::git;

use super::truth::{commit, says};

/// A project that includes a file of its only layer.
struct Including {
    bench: TestProject,
    work: PathBuf,
}

const OF_THE_LAYER: &str = "[boards.b]\nmachine = \"m\"\nlayers = [\"meta-x\"]\ntargets = [\"t\"]\n";

impl Including {
    fn new(more: &str) -> Including {
        let bench = TestProject::new();
        let work = bench.beside("meta-x");
        fs::create_dir_all(work.join("kbuild")).expect("a directory");
        fs::write(work.join("kbuild/x.toml"), OF_THE_LAYER).expect("a file");
        git(&work, &["init", "-q", "-b", "main"]);
        commit(&work);
        let url = work.display();
        bench.write(
            "kata.toml",
            &format!(
                "include = [{{ layer = \"meta-x\", file = \"kbuild/x.toml\" }}]\n[project]\nname = \"p\"\nengine = \"meta-x\"\n\
                 [layers.meta-x]\ngit = \"file://{url}\"\nbranch = \"main\"\n[closure]\nlock = \"none\"\n{more}"
            ),
        );
        Including { bench, work }
    }

    fn change(&self, text: &str) {
        fs::write(self.work.join("kbuild/x.toml"), text).expect("a file");
        commit(&self.work);
    }
}

#[test]
fn a_file_of_a_layer_is_included_as_it_is_locked() {
    let including = Including::new("");
    let bench = &including.bench;
    let run = bench.kbuild(&["matrix", "--for", "github"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["does not have `kbuild/x.toml` of the layer `meta-x`", "kbuild lock"]);
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    assert!(lock.contains("[include.\"meta-x:kbuild/x.toml\"]\ncommit = \""), "{lock}");
    assert!(lock.contains("    \"machine = \\\"m\\\"\",\n"), "{lock}");

    // Neither network nor store is needed to read it.
    fs::remove_dir_all(bench.path("mirrors")).expect("a store");
    fs::rename(&including.work, bench.beside("away")).expect("a rename");
    bench.kbuild_ok(&["--offline", "lock", "--locked"]);
    assert!(bench.kbuild_ok(&["matrix", "--for", "github"]).stdout.contains('b'));
    fs::rename(bench.beside("away"), &including.work).expect("a rename");

    // It moves with its layer, and only then.
    including.change(&OF_THE_LAYER.replace("boards.b", "boards.c"));
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kata.lock"), lock);
    bench.kbuild_ok(&["update", "meta-x"]);
    let moved = bench.read("kata.lock");
    assert!(moved.contains("[board.c]") && !moved.contains("[board.b]"), "{moved}");
    bench.kbuild_ok(&["lock", "--locked"]);

    // Half of a lock is none.
    let commit_line =
        |text: &str| text.lines().find(|line| line.starts_with("commit = ")).expect("a commit").to_owned();
    bench.write("kata.lock", &moved.replacen(&commit_line(&moved), &commit_line(&lock), 1));
    let run = bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["at another commit"]);
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kata.lock"), moved);
}

#[test]
fn what_is_wrong_in_an_included_file_is_told_with_its_name() {
    let including = Including::new("[config]\nONE = \"1\"\n");
    let bench = &including.bench;
    including.change(&format!("{OF_THE_LAYER}nonsense = 1\n"));
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["unknown key `nonsense`", "meta-x/kbuild/x.toml:5:1"]);
    including.change("[project]\nname = \"q\"\n");
    says(&bench.kbuild(&["lock"]), &["an included file has no [project]", "meta-x/kbuild/x.toml:1:2"]);
    including.change("include = [\"x.toml\"]\n");
    says(&bench.kbuild(&["lock"]), &["an included file of a layer includes nothing itself"]);
    git(&including.work, &["rm", "-q", "kbuild/x.toml"]);
    commit(&including.work);
    says(&bench.kbuild(&["lock"]), &["the layer `meta-x` has no file `kbuild/x.toml` at commit"]);

    let text = bench.read("kata.toml");
    bench.write("kata.toml", &text.replace("layer = \"meta-x\"", "layer = \"meta-y\""));
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["meta-y"]);
}

#[test]
fn an_edit_of_an_included_file_makes_the_lock_stale() {
    let bench = TestProject::with_manifest(
        "include = [\"parts/sources.toml\"]\n[project]\nname = \"p\"\n[sources.own]\nversion = \"2\"\n",
    );
    fs::write(bench.beside("own-2.txt"), "two").expect("a file");
    let url = bench.beside("own-{version}.txt").display().to_string();
    let part = format!("[sources.own]\nurl = \"file://{url}\"\nversion = \"1\"\n");
    bench.write("parts/sources.toml", &part);
    bench.kbuild_ok(&["lock"]);
    assert!(bench.read("kata.lock").contains("own-2.txt"));
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.write("parts/sources.toml", &part.replace("{version}", "{version}-b"));
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    bench.write("parts/sources.toml", &format!("{part}colour = \"red\"\n"));
    let run = bench.kbuild(&["lock"]);
    says(&run, &["unknown key `colour`", "parts/sources.toml:4:1"]);
    let run = bench.kbuild(&["update", "own", "--to", "3"]);
    assert_eq!(run.code, Some(1), "{run}");
}
