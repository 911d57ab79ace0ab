//! kbuild as a plain locker of sources: no boards, no BitBake; and through proxies.

use std::fs;

use kbuild_test::http::{Reply, Server};
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::git;
use kbuild_test::socks::Socks;

use super::truth::says;

/// A bare repository with one commit on `main`.
fn upstream(bench: &TestProject) -> std::path::PathBuf {
    let work = bench.beside("work");
    fs::create_dir(&work).expect("a directory");
    git(&work, &["init", "-q", "-b", "main"]);
    fs::write(work.join("file"), "text").expect("a file");
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "A commit"]);
    fs::create_dir(bench.beside("up")).expect("a directory");
    git(&work, &["clone", "-q", "--bare", ".", bench.beside("up/x.git").to_str().expect("a path")]);
    bench.beside("up")
}

fn manifest(file: &str, repository: &str) -> String {
    format!(
        "[project]\nname = \"plain\"\n[mirrors]\nbuiltin = false\n[sources.file]\nurl = \"{file}\"\n\
         [sources.x]\ngit = \"{repository}\"\nbranch = \"main\"\n"
    )
}

#[test]
fn a_manifest_without_boards_needs_no_engine() {
    let server = Server::start();
    server.on("/file.txt", [Reply::file("text")]);
    let bench = TestProject::new();
    server.git("/git", &upstream(&bench));
    bench.write("kbuild.toml", &manifest(&server.url("/file.txt"), &server.url("/git/x.git")));
    bench.kbuild_ok(&["lock"]);
    assert!(bench.read("kbuild.lock").contains("[source.x]"));
    bench.kbuild_ok(&["lock", "--locked"]);
    fs::remove_dir_all(bench.path("mirrors")).expect("a store");
    bench.kbuild_ok(&["fetch"]);
    bench.kbuild_ok(&["verify"]);
    assert_eq!(bench.kbuild_ok(&["list", "--format", "json"]).json()["sources"].as_array().expect("a list").len(), 2);
    says_out(&bench.kbuild_ok(&["why", "file.txt"]).stdout, "Needed as source file");
    bench.kbuild_ok(&["update"]);
    let bundle = bench.beside("bundle");
    bench.kbuild_ok(&["export", bundle.to_str().expect("a path")]);
    fs::remove_dir_all(bench.path("mirrors")).expect("a store");
    bench.kbuild_ok(&["import", bundle.to_str().expect("a path")]);
    bench.kbuild_ok(&["fetch", "--offline"]);
    bench.kbuild_ok(&["gc"]);
    assert!(!bench.path("build").exists(), "nothing of BitBake was laid out");

    let run = bench.kbuild(&["build", "--board", "qemu"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["there is no board `qemu`"]);
}

fn says_out(text: &str, word: &str) {
    assert!(text.contains(word), "no `{word}` in\n{text}");
}

#[test]
fn a_board_without_an_engine_is_still_an_error() {
    let bench = TestProject::with_manifest(
        "[project]\nname = \"test\"\n[boards.qemu]\nmachine = \"qemu\"\nlayers = []\ntargets = [\"x\"]\n",
    );
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["no layer contains BitBake"]);
}

#[test]
fn socks_proxies_lead_to_files_and_repositories() {
    let server = Server::start();
    server.on("/file.txt", [Reply::file("text")]);
    let mut bench = TestProject::new();
    server.git("/git", &upstream(&bench));
    let port = server.url("").rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let socks = Socks::start(port);
    bench.set("ALL_PROXY", socks.url());
    bench.set("KBUILD_RETRIES", "0");
    bench.write("kbuild.toml", &manifest("http://upstream.invalid/file.txt", "http://upstream.invalid/git/x.git"));
    bench.kbuild_ok(&["lock"]);
    let asked = socks.asked();
    assert!(asked.len() > 2 && asked.iter().all(|asked| asked == "upstream.invalid:80"), "{asked:?}");
}

#[test]
fn a_declared_source_that_is_denied_does_not_throw_away_the_others() {
    let server = Server::start();
    server.on("/good.txt", [Reply::file("good")]);
    server.on("/gone.txt", [Reply::status(404), Reply::file("gone")]);
    server.on("/wrong.txt", [Reply::file("re-packed"), Reply::file("wrong")]);
    let source = |name: &str| {
        let sha256 = kbuild_test::registry::digest(name.as_bytes()).replace("sha256:", "");
        format!("[sources.{name}]\nurl = \"{}\"\nsha256 = \"{sha256}\"\n", server.url(&format!("/{name}.txt")))
    };
    let head = "[project]\nname = \"plain\"\n[mirrors]\nbuiltin = false\n";
    let declared = [source("good"), source("gone"), source("wrong")].concat();
    let bench = TestProject::new();
    bench.write("kbuild.toml", &format!("{head}{declared}"));
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    says(&run, &["could not lock source `gone`", "could not lock source `wrong`", "2 incomplete"]);
    let lock = bench.read("kbuild.lock");
    assert_eq!((lock.matches("[source.").count(), lock.matches("blake3 = ").count()), (3, 1), "{lock}");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kbuild.lock").matches("blake3 = ").count(), 3);

    // One of which nothing is known cannot be in the lock; the others are, and so is the pin that it had.
    server.on("/new.txt", [Reply::status(404)]);
    let new = format!("[sources.new]\nurl = \"{}\"\n", server.url("/new.txt"));
    server.on("/more.txt", [Reply::file("more")]);
    bench.write("kbuild.toml", &format!("{head}{declared}{new}{}", source("more")));
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(4), "{run}");
    says(&run, &["could not lock source `new`", "kbuild.lock has the pins and what was found so far"]);
    assert!(bench.read("kbuild.lock").contains("[source.more]") && !bench.read("kbuild.lock").contains("[source.new]"));
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
}
