//! `kbuild crates`, and a workspace with crates from everywhere, locked, fetched and built offline by real BitBake.

use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild_test::assert_run;
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{copy, engine, git, repository};

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures/crates").join(name)
}

/// The fixture's two repositories beside the project, and the two commits of `tools` that the lock of `tally` names: its
/// first, and that of its branch.
fn upstreams(bench: &TestProject) -> [String; 2] {
    let commit = |name: &str| {
        let directory = bench.beside(name);
        git(&directory, &["init", "-q", "-b", "main"]);
        git(&directory, &["add", "-A"]);
        git(&directory, &["commit", "-q", "-m", name]);
        git(&directory, &["rev-parse", "HEAD"])
    };
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let path = bench.beside(file);
        let text = std::fs::read_to_string(&path).expect("a file of the fixture");
        std::fs::write(path, change(text)).expect("written");
    };
    copy(&fixture("tools"), &bench.beside("tools.git"));
    copy(&fixture("tally"), &bench.beside("tally.git"));
    let first = commit("tools.git");
    edit("tools.git/rust/pivot/src/lib.rs", &|text| text.replace("mul(10)", "mul(100)"));
    let tools = commit("tools.git");
    for file in ["tally.git/Cargo.lock", "tally.git/app/Cargo.toml"] {
        edit(file, &|text| with_commits(&text, [&first, &tools]));
    }
    commit("tally.git");
    [first, tools]
}

fn with_commits(text: &str, [first, tools]: [&str; 2]) -> String {
    text.replace("FIRST", first).replace("#TOOLS", &format!("#{tools}"))
}

/// A project whose mirror rule points to the repositories beside it.
fn project(bench: &mut TestProject, closure: &str) {
    let manifest = format!(
        r#"[project]
name = "crates"
[closure]
lock = "{closure}"
[layers.bitbake]
path = "bitbake"
[layers.meta-mini]
path = "layers/meta-mini"
[layers.meta-tally]
path = "layers/meta-tally"
[sources.tally]
git = "https://upstream.example/tally.git"
branch = "main"
[boards.lantern]
machine = "lantern"
layers = ["meta-mini", "meta-tally"]
targets = ["tally"]
"#
    );
    bench.write("kata.toml", &manifest);
    let rule =
        format!("match = 'https://upstream\\.example/(.*)'\nto = [\"file://{}/$1\"]\n", bench.beside("").display());
    std::fs::write(bench.beside("site.toml"), format!("[[mirrors.rule]]\n{rule}")).expect("a site configuration");
    let site = bench.beside("site.toml").display().to_string();
    bench.set("KBUILD_CONFIG", site);
}

#[test]
fn an_include_is_written_and_checked() {
    let bench = TestProject::new();
    let lock = std::fs::read_to_string(fixture("tally/Cargo.lock")).expect("a lock");
    let lock = with_commits(&lock, [&"a".repeat(40), &"c".repeat(40)]);
    bench.write("upstream/Cargo.lock", &lock);
    assert_run!(bench, bench.kbuild(&["crates", "upstream/Cargo.lock"]), "crates");
    assert_run!(bench, bench.kbuild(&["crates", "upstream/Cargo.lock", "--format", "json"]), "crates_json");
    let arguments = ["crates", "upstream/Cargo.lock", "--package", "tally", "--submodules", "tools"];
    assert_run!(bench, bench.kbuild(&[&arguments[..], &["-o", "tally-crates.inc"]].concat()), "crates_written");
    let check = |arguments: &[&str]| bench.kbuild(&[arguments, &["--check", "tally-crates.inc"]].concat());
    assert_run!(bench, check(&arguments), "crates_same");
    // The path of the lock does not matter, only its content.
    bench.write("elsewhere/Cargo.lock", &lock);
    assert_eq!(check(&[&["crates", "elsewhere/Cargo.lock"], &arguments[2..]].concat()).code, Some(0));
    bench.write("upstream/Cargo.lock", &lock.replace("1.0.19", "1.0.20").replace(&"a".repeat(40), &"b".repeat(40)));
    assert_run!(bench, check(&arguments), "crates_other");
    assert_run!(bench, bench.kbuild(&["crates", "upstream/Cargo.lock", "--check", "gone.inc"]), "crates_no_include");
    assert_run!(bench, bench.kbuild(&["crates"]), "crates_no_lock");
    bench.write("upstream/Cargo.lock", &lock.replace("registry+", "directory+"));
    assert_run!(bench, bench.kbuild(&["crates", "upstream/Cargo.lock"]), "crates_unknown_source");
    assert_eq!(bench.kbuild(&["crates", "Cargo.lock", "--source", "x"]).code, Some(2));
}

#[test]
fn a_lock_is_read_out_of_the_store() {
    let mut bench = TestProject::new();
    let [first, tools] = upstreams(&bench);
    project(&mut bench, "none");
    bench.write("bitbake/bin/bitbake", "");
    for layer in ["meta-mini", "meta-tally"] {
        bench.write(&format!("layers/{layer}/conf/layer.conf"), "");
    }
    bench.kbuild_ok(&["lock"]);
    let run = bench.kbuild_ok(&["crates", "--source", "tally"]);
    assert!(run.stdout.starts_with("# Made by `kbuild crates --source tally`: do not edit."), "{run}");
    for commit in [first, tools] {
        assert!(run.stdout.contains(&format!("SRCREV_tools-{} = \"{commit}\"", &commit[..7])), "{run}");
    }
    assert_run!(bench, bench.kbuild(&["crates", "--source", "tally", "--path", "app/Cargo.lock"]), "crates_no_path");
    assert_run!(bench, bench.kbuild(&["crates", "--source", "taly"]), "crates_no_source");
    // The same for a released crate.
    let archive = bench.beside("tally-1.0.tar.gz");
    let packed =
        Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(bench.beside("")).arg("tally.git").status();
    assert!(packed.expect("tar").success());
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &format!("{manifest}[sources.release]\nurl = \"file://{}\"\n", archive.display()));
    bench.kbuild_ok(&["lock"]);
    let release = bench.kbuild_ok(&["crates", "--source", "release"]);
    assert_eq!(release.stdout, run.stdout.replace("--source tally", "--source release"));
    std::fs::remove_dir_all(bench.path("mirrors/store")).expect("removed");
    assert_run!(bench, bench.kbuild(&["crates", "--source", "tally"]), "crates_no_store");
}

/// The directory of the real cargo: rustup's own `cargo` looks for toolchains in HOME, which a build does not have.
fn toolchain() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let directory = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("bin");
    if directory.join("cargo").is_file() {
        return Some(directory);
    }
    eprintln!("SKIPPED: no cargo beside the rustc of this machine");
    None
}

#[test]
fn a_workspace_is_locked_fetched_and_built_offline() {
    let (Some(engine), Some(toolchain)) = (engine(), toolchain()) else { return };
    let mut bench = TestProject::new();
    upstreams(&bench);
    project(&mut bench, "none");
    copy(&engine, &bench.path("bitbake"));
    copy(&repository().join("examples/quickstart/layers"), &bench.path("layers"));
    std::fs::remove_dir_all(bench.path("layers/meta-mini/recipes")).expect("the quickstart's own recipes");
    copy(&fixture("layer"), &bench.path("layers/meta-tally"));
    let class = std::fs::read_to_string(repository().join("layers/meta-kbuild/classes-recipe/kbuild_crates.bbclass"));
    bench.write("layers/meta-tally/classes/kbuild_crates.bbclass", &class.expect("the class"));
    bench.set("PATH", format!("{}:{}", toolchain.display(), std::env::var("PATH").expect("PATH")));

    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["crates", "--source", "tally", "-o", "layers/meta-tally/recipes/tally/tally-crates.inc"]);
    project(&mut bench, "choices");
    let locked = bench.kbuild(&["lock", "--strict"]);
    if locked.code == Some(4) {
        eprintln!("SKIPPED: crates.io is not reached from here\n{locked}");
        return;
    }
    assert_eq!(locked.code, Some(0), "{locked}");
    let lock = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    assert_eq!(
        (lock.files.len(), lock.recipes["tally"].sources.len()),
        (2, 5),
        "two crates, and three commits of two repositories"
    );
    bench.kbuild_ok(&["fetch", "--offline"]);
    // Built twice, in two directories: the program contains neither path.
    let result = bench.kbuild_ok(&["build", "--board", "lantern", "--check", "--format", "json"]).json();
    assert_eq!(result["result"]["artifacts"][0]["path"], "tally", "{result}");
    assert_eq!(bench.read("build/lantern/tmp/deploy/images/lantern/tally.txt"), "400 40: give me where to stand\n");
    // cargo took Cargo.lock unchanged, and the crates of the repositories as git dependencies.
    let work = "build/lantern/tmp/work/lantern/tally/sources";
    let upstream = std::fs::read_to_string(bench.beside("tally.git/Cargo.lock")).expect("a lock");
    assert_eq!(bench.read(&format!("{work}/tally-1.0/Cargo.lock")), upstream);
    let config = bench.read(&format!("{work}/cargo_home/config.toml"));
    assert!(config.contains("[source.\"git+https://upstream.example/tools.git?branch=main\"]"), "{config}");

    // The lock has changed, and the include has not.
    let recipe = "layers/meta-tally/recipes/tally/tally-crates.inc";
    let include = bench.read(recipe);
    let lines = include.lines().filter(|line| !line.contains("tools"));
    bench.write(recipe, &(lines.collect::<Vec<_>>().join("\n") + "\n"));
    assert_eq!(bench.kbuild(&["crates", "--source", "tally", "--check", recipe]).code, Some(1));
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("no entry of SRC_URI has https://upstream.example/tools.git?branch=main"), "{run}");
}
