//! Locking and fetching against servers that misbehave, die and send wrong bytes; several kbuilds at once; a killed one.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{copy, git};
use kbuild_test::sha256;

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";

/// A project with these sources, and an engine that is only a name.
fn bench(sources: &str) -> TestProject {
    let bench =
        // The fallback lists name hosts of the internet.
        TestProject::with_manifest(&format!("{HEAD}{sources}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
    bench
}

/// Bytes without repetition, which no compression could make right by chance.
/// They begin as gzip does: a file without a hash is not taken for a tarball otherwise.
fn body(size: usize) -> Vec<u8> {
    let beginning = [0x1f, 0x8b];
    let rest = (beginning.len()..size).map(|i| ((i * 2_654_435_761) >> 7) as u8);
    beginning.into_iter().chain(rest).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_fetch_is_continued() {
    let server = Server::start();
    let bytes = body(3 << 20);
    let file = || Reply::file(bytes.clone()).etag("\"one\"");
    server.on("/big.bin", [file().stall_after(1 << 20, Duration::from_secs(60)), file()]);
    let bench =
        bench(&format!("[sources.big]\nurl = \"{}\"\nsha256 = \"{}\"\n", server.url("/big.bin"), sha256(&bytes)));
    let mut child = bench.command(&["lock"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let partial = || {
        let incoming = std::fs::read_dir(bench.path("mirrors/store/incoming")).into_iter().flatten().flatten();
        incoming.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    wait_until("a part has come", || partial() >= 1 << 20);
    child.kill().expect("killed");
    assert_eq!(child.wait().expect("ended").signal(), Some(9));

    bench.kbuild_ok(&["lock"]);
    let requests = server.requests("/big.bin");
    let range = requests.last().expect("a second request").header("range").expect("it resumes").to_owned();
    let begin: u64 = range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number");
    assert!(begin >= 1 << 20, "{range}");
    assert_eq!(bench.kbuild_ok(&["fetch", "--format", "json"]).json()["fetched"], 0);
}

#[test]
fn two_fetches_at_once_share_a_store() {
    let server = Server::start();
    let mut sources = String::new();
    for number in 0..12 {
        let bytes = body(200_000 + number);
        let path = format!("/file-{number}.bin");
        server.on(&path, [Reply::file(bytes.clone()).slow(50_000, Duration::from_millis(30))]);
        sources +=
            &format!("[sources.file-{number}]\nurl = \"{}\"\nsha256 = \"{}\"\n", server.url(&path), sha256(&bytes));
    }
    let bench = bench(&sources);
    bench.kbuild_ok(&["lock"]);
    std::fs::remove_dir_all(bench.path("mirrors/store")).expect("the store is emptied");
    let before = server.count();
    let fetches: Vec<_> = (0..3)
        .map(|_| bench.command(&["fetch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"))
        .collect();
    for fetch in fetches {
        let run = Run::from(fetch.wait_with_output().expect("ends"));
        assert_eq!(run.code, Some(0), "{run}");
    }
    assert_eq!(server.count() - before, 12, "each file was asked for once");
    bench.kbuild_ok(&["fetch", "--offline"]);
}

#[test]
fn ctrl_c_ends_a_fetch_and_keeps_what_was_fetched() {
    let server = Server::start();
    let bytes = body(1 << 20);
    server.on("/slow.bin", [Reply::file(bytes.clone()).stall_after(1 << 19, Duration::from_secs(60))]);
    let bench = bench(&format!("[sources.slow]\nurl = \"{}\"\n", server.url("/slow.bin")));
    let child = bench.command(&["lock"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    wait_until("it was asked for", || !server.requests("/slow.bin").is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let run = Run::from(child.wait_with_output().expect("ends"));
    assert_run!(bench, run, "interrupted");
}

#[test]
fn wrong_bytes_are_shown_and_refused() {
    let server = Server::start();
    let page = "<!DOCTYPE html>\n<html><head><title>Please log in</title></head></html>\n";
    server.on("/tool-1.0.tar.gz", [Reply::redirect("/login")]);
    server.on("/login", [Reply::file(page)]);
    let bench = bench(&format!(
        "[sources.tool]\nurl = \"{}\"\nsha256 = \"{}\"\n",
        server.url("/tool-1.0.tar.gz"),
        sha256(b"the real bytes")
    ));
    assert_run!(bench, bench.kbuild(&["lock"]), "hash_mismatch");
    assert!(!bench.read("kata.lock").contains("blake3 = "), "the entry stands by its hash alone");
}

#[test]
fn what_is_missing_offline_is_named() {
    let server = Server::start();
    server.on("/tool-1.0.tar.gz", [Reply::file(body(1000))]);
    let bench = bench(&format!("[sources.tool]\nurl = \"{}\"\n", server.url("/tool-1.0.tar.gz")));
    bench.kbuild_ok(&["lock"]);
    std::fs::remove_dir_all(bench.path("mirrors/store")).expect("the store is emptied");
    let before = server.count();
    assert_run!(bench, bench.kbuild(&["fetch", "--offline"]), "missing_offline");
    assert_eq!(server.count(), before, "nobody was asked");
    assert_run!(bench, bench.kbuild(&["fetch", "--offline", "--format", "json"]), "missing_offline_json");
}

#[test]
fn many_failures_are_grouped_by_cause_and_host() {
    let server = Server::start();
    let mut sources = String::new();
    for n in 0..30 {
        let (name, bytes) = (format!("part{n:02}-1.0.tar.gz"), body(1000 + n));
        server.on(&format!("/{name}"), [Reply::status(if n % 10 == 0 { 403 } else { 401 })]);
        let url = server.url(&format!("/{name}"));
        sources.push_str(&format!("[sources.part{n:02}]\nurl = \"{url}\"\nsha256 = \"{}\"\n", sha256(&bytes)));
    }
    let bench = bench(&sources);
    assert_run!(bench, bench.kbuild(&["lock"]), "many_incomplete");
    assert_run!(bench, bench.kbuild(&["fetch"]), "many_failures");
    assert_run!(bench, bench.kbuild(&["verify"]), "many_missing");
    let whole = bench.kbuild(&["fetch", "-v"]);
    assert!(whole.stderr.matches("could not fetch part").count() >= 30, "{whole}");
    let json = bench.kbuild(&["fetch", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(document["error"]["related"].as_array().map(Vec::len), Some(30), "{json}");
}

#[test]
fn an_upstream_that_is_gone() {
    let server = Server::start();
    server.on("/gone-1.0.tar.gz", [Reply::status(404)]);
    let url = server.url("/gone-1.0.tar.gz");
    let unknown = bench(&format!("[sources.gone]\nurl = \"{url}\"\n"));
    assert_run!(unknown, unknown.kbuild(&["lock"]), "gone");

    // Nobody says that it is not there, and its hash is known: it is locked by the hash, and reported as incomplete, until its bytes can be fetched.
    let bytes = body(5000);
    let sha256 = sha256(&bytes);
    server.on("/gone-1.0.tar.gz", [Reply::status(403)]);
    let known = bench(&format!("[sources.gone]\nurl = \"{url}\"\nsha256 = \"{sha256}\"\n"));
    assert_run!(known, known.kbuild(&["lock"]), "incomplete");
    assert!(!known.read("kata.lock").contains("blake3"));
    // A warning is also shown with --quiet.
    let quiet = known.kbuild_ok(&["lock", "-q"]);
    assert!(quiet.stderr.starts_with("warning: file:gone-1.0.tar.gz is locked by its sha256 alone"), "{quiet}");
    assert_eq!(quiet.stderr.lines().count(), 1, "{quiet}");
    assert_run!(known, known.kbuild(&["lock", "--strict"]), "incomplete_strict");
    assert_run!(known, known.kbuild(&["fetch"]), "gone_fetch");
    server.on("/gone-1.0.tar.gz", [Reply::file(bytes)]);
    known.kbuild_ok(&["lock", "--strict"]);
    assert!(known.read("kata.lock").contains("blake3"));
}

#[test]
fn rules_lead_files_and_git_elsewhere() {
    let bench = bench(
        "[sources.tool]\nurl = \"https://upstream.example/files/tool-{version}.tar.gz\"\nversion = \"1.0\"\n\
         [sources.repo]\ngit = \"https://upstream.example/group/repo\"\nbranch = \"main\"\n",
    );
    let (files, repositories) = (bench.beside("files"), bench.beside("repositories/group/repo"));
    std::fs::create_dir_all(&files).expect("a folder");
    std::fs::write(files.join("tool-1.0.tar.gz"), body(1000)).expect("a file");
    std::fs::create_dir_all(&repositories).expect("a folder");
    std::fs::write(repositories.join("README"), "hello\n").expect("a file");
    git(&repositories, &["init", "-q", "-b", "main"]);
    git(&repositories, &["add", "."]);
    git(&repositories, &["commit", "-q", "-m", "first"]);
    let first = git(&repositories, &["rev-parse", "HEAD"]);
    let rule =
        |from: &str, to: &std::path::Path| format!("https://upstream\\.example/{from}/(.*)=file://{}/$1", to.display());
    let rules = [rule("files", &files), rule("group", repositories.parent().expect("group"))];
    let lock = ["lock", "--offline", "--mirror", &rules[0], "--mirror", &rules[1]];
    bench.kbuild_ok(&lock);
    let text = bench.read("kata.lock");
    assert!(text.contains(&first) && text.contains("https://upstream.example/group/repo"), "{text}");
    assert!(!text.contains("file://"), "the canonical URL is what is locked: {text}");

    // A directory with a space as a flag, several mirrors as a variable.
    let spare = bench.beside("my disk");
    copy(&bench.path("mirrors/store"), &spare);
    let emptied = || std::fs::remove_dir_all(bench.path("mirrors/store")).expect("the store is emptied");
    emptied();
    bench.kbuild_ok(&["fetch", "--offline", "--mirror", spare.to_str().expect("UTF-8")]);
    emptied();
    let mut fetch = bench.command(&["fetch", "--offline"]);
    let run = Run::from(fetch.env("KBUILD_MIRROR", rules.join(" ")).output().expect("starts"));
    assert_eq!(run.code, Some(0), "{run}");

    // The branch moves; the pin moves only with `kbuild update`.
    std::fs::write(repositories.join("README"), "hello again\n").expect("a file");
    git(&repositories, &["commit", "-q", "-a", "-m", "second"]);
    bench.kbuild_ok(&lock);
    assert_eq!(bench.read("kata.lock"), text);
    // Not even when more of the same commit is needed.
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &manifest.replace("branch = \"main\"\n", "branch = \"main\"\nhistory = true\n"));
    bench.kbuild_ok(&lock);
    assert!(bench.read("kata.lock").contains(&first) && bench.read("kata.lock").contains("history = true"));
    bench.kbuild_ok(&["update", "repo", "--offline", "--mirror", &rules[0], "--mirror", &rules[1]]);
    assert!(bench.read("kata.lock").contains(&git(&repositories, &["rev-parse", "HEAD"])));
}

#[test]
fn passwords_never_show() {
    let bench = bench("[sources.tool]\nurl = \"https://upstream.example/tool-1.0.tar.gz\"\n");
    let rule = "https://upstream\\.example/(.*)=https://robot:s3cret@127.0.0.1:1/$1";
    let run = bench.kbuild(&["lock", "-vv", "--mirror", rule]);
    assert!(run.code == Some(4) || run.code == Some(2), "{run}");
    assert!(!run.to_string().contains("s3cret"), "{run}");
}
