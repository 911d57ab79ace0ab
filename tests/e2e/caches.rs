//! Shared state: between boards of a project, between machines over HTTP and S3, and what a build reaches through it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use kbuild_test::http::Server;
use kbuild_test::moto::{KEY, Moto, SECRET};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Quickstart, clone_project, copy, copy_project};

use crate::pipeline::locked_and_fetched;

/// A second large board: what its programs are made of is what those of `lantern` are made of.
const BEACON: &str = "MACHINE_TITLE = \"Beacon\"\nOPTIMIZATION = \"-O2\"\nSERIAL_CONSOLE = \"ttyS1\"\n\
                      IMAGE_INSTALL = \"hello greeter tidings\"\n";

fn artifacts(bench: &TestProject, board: &str) -> Value {
    bench.result(board)["artifacts"].clone()
}

fn tasks_from_cache(bench: &TestProject, board: &str) -> Vec<String> {
    let tasks = bench.result(board)["cache"]["tasks"].clone();
    tasks.as_array().expect("a list").iter().map(|task| task.as_str().expect("a name").to_owned()).collect()
}

/// The same project on another machine, with the sources and without anything built.
fn other_machine(from: &TestProject) -> TestProject {
    let bench = clone_project(from);
    bench.write("kata.toml", &from.read("kata.toml"));
    std::fs::create_dir(bench.path("mirrors")).expect("a directory");
    copy(&from.path("mirrors/store"), &bench.path("mirrors/store"));
    bench
}

fn with_cache(bench: &TestProject, text: &str) {
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &format!("{manifest}\n[cache]\n{text}\n"));
}

#[test]
fn a_second_board_takes_what_the_first_one_made() {
    let Some(mut quickstart) = Quickstart::start(0.0) else { return };
    let bench = &quickstart.bench;
    let manifest = bench.read("kata.toml");
    let board = "[boards.beacon]\nmachine = \"beacon\"\nlayers = [\"meta-mini\"]\ntargets = [\"mini-image\"]\n";
    bench.write("kata.toml", &format!("{manifest}\n{board}"));
    bench.write("layers/meta-mini/conf/machine/beacon.conf", BEACON);
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["fetch"]);
    quickstart.stop_upstreams();
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(tasks_from_cache(bench, "lantern").is_empty());
    let built = bench.result("lantern")["tasks"]["built"].as_u64().expect("a number");

    bench.kbuild_ok(&["build", "--board", "beacon"]);
    // hello says which machine it is on, and so does the image.
    let shared = ["greeter:do_deploy", "greeter:do_install", "tidings:do_deploy", "tidings:do_install"];
    assert_eq!(tasks_from_cache(bench, "beacon"), shared);
    let counts = &bench.result("beacon")["tasks"];
    assert_eq!(counts["from_cache"], 4);
    assert!(counts["built"].as_u64().expect("a number") < built, "{counts}");
    let taken = artifacts(bench, "beacon");

    // Without any cache: the same bytes, all of them built.
    std::fs::remove_dir_all(bench.path("build/beacon")).expect("emptied");
    bench.kbuild_ok(&["build", "--board", "beacon", "--no-cache"]);
    assert!(tasks_from_cache(bench, "beacon").is_empty());
    assert_eq!(artifacts(bench, "beacon"), taken);
    assert!(!bench.path("build/beacon/sstate-cache").is_symlink());

    // Nothing to do, and said so.
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(bench.result("lantern")["tasks"]["built"], 0, "{run}");

    let run = bench.kbuild_ok(&["cache", "gc", "--max-size", "0", "--dry-run", "--format", "json"]);
    // Each program installed and deployed, once or once a board, and two images.
    assert_eq!(run.json()["files"], 10, "{run}");
    let run = bench.kbuild_ok(&["cache", "gc", "--max-size", "0"]);
    assert!(run.stderr.contains("; 0 files (0 B) kept"), "{run}");
    assert_eq!(bench.kbuild(&["cache", "gc"]).code, Some(2));
}

#[test]
fn another_machine_takes_all_from_a_cache_over_http() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let here = &quickstart.bench;
    here.kbuild_ok(&["build", "--board", "lantern"]);
    let server = Server::start();
    server.folder("/sstate", &here.path("build/sstate-cache"));

    let there = other_machine(here);
    let cache = server.url("/sstate");
    with_cache(&there, &format!("pull = [\"{cache}\"]"));
    let run = there.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(tasks_from_cache(&there, "lantern"), EXPECTED_ALL, "{run}");
    assert_eq!(artifacts(&there, "lantern"), artifacts(here, "lantern"));
    let brought = &there.result("lantern")["cache"]["brought"][&cache];
    assert_eq!(brought["objects"], EXPECTED_ALL.len(), "{brought}");
    assert_eq!(there.result("lantern")["tasks"]["built"], 0);
    assert!(run.stderr.contains("from elsewhere"), "{run}");

    // A cache that is gone costs a warning.
    drop(server);
    let third = other_machine(&there);
    let run = third.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(run.stderr.matches("does not answer as it should").count(), 1, "{run}");
    assert!(tasks_from_cache(&third, "lantern").is_empty());
    assert_eq!(artifacts(&third, "lantern"), artifacts(here, "lantern"));

    // Without a network it is not even asked.
    let fourth = other_machine(&there);
    let run = fourth.kbuild_ok(&["build", "--board", "lantern", "--offline"]);
    assert!(!run.stderr.contains("does not answer"), "{run}");
}

#[test]
fn a_team_shares_what_it_built_in_a_bucket() {
    let Some(moto) = Moto::start() else { return };
    let Some(mut quickstart) = locked_and_fetched() else { return };
    log_in(&mut quickstart.bench, &moto);
    let here = &quickstart.bench;
    with_cache(here, "push = \"s3://team/sstate\"\npull = [\"s3://team/sstate\"]");
    here.kbuild_ok(&["build", "--board", "lantern"]);
    let run = here.kbuild_ok(&["cache", "push", "--format", "json"]);
    let sent = run.json()["objects"].as_u64().expect("a number");
    assert!(sent >= EXPECTED_ALL.len() as u64, "{run}");
    assert_eq!(moto.names().iter().filter(|name| name.contains("/sstate:")).count() as u64, sent);
    assert_eq!(here.kbuild_ok(&["cache", "push", "--format", "json"]).json()["objects"], 0);

    let mut there = other_machine(here);
    log_in(&mut there, &moto);
    let run = there.kbuild_ok(&["cache", "pull", "--board", "lantern", "--format", "json"]);
    assert_eq!(run.json()["cache"]["brought"]["s3://team/sstate"]["objects"], EXPECTED_ALL.len(), "{run}");
    let run = there.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(there.result("lantern")["tasks"]["built"], 0, "{run}");
    assert_eq!(artifacts(&there, "lantern"), artifacts(here, "lantern"));
    let said = format!("{run}");
    assert!(!said.contains(KEY) && !said.contains(SECRET), "{said}");
    let run = here.kbuild(&["cache", "push", "https://cache.example/x"]);
    assert_eq!(run.code, Some(1), "{run}");
}

/// The object of a task in a cache.
fn object(cache: &Path, recipe: &str, task: &str) -> PathBuf {
    let files = walkdir::WalkDir::new(cache).into_iter().map(|entry| entry.expect("a file").into_path());
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with(&format!("sstate:{recipe}:")) && name.ends_with(&format!("_{task}.tar.gz"))
    };
    files.into_iter().find(is_meant).expect("an object")
}

/// The same object with a byte of its first file changed, packed as well as before.
fn poisoned(object: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    GzDecoder::new(object).read_to_end(&mut archive).expect("gzip");
    let mut reader = tar::Archive::new(&archive[..]);
    let entries = reader.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    let places = entries.map(|entry| (entry.raw_file_position(), entry.size()));
    let (start, size) = places.into_iter().find(|(_, size)| *size > 0).expect("a file");
    let last = usize::try_from(start + size - 1).expect("a size");
    archive[last] ^= 1;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&archive).expect("packed");
    packed.finish().expect("packed")
}

#[test]
fn a_poisoned_object_is_found_where_it_cannot_be_unpacked_or_is_built_again() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let here = &quickstart.bench;
    here.kbuild_ok(&["build", "--board", "lantern"]);
    let cache = here.beside("cache");
    let address = cache.to_str().expect("UTF-8");
    here.kbuild_ok(&["cache", "push", address]);
    let object = object(&cache, "greeter", "deploy");
    let right = std::fs::read(&object).expect("read");

    // What cannot be unpacked is built.
    std::fs::write(&object, "no archive").expect("written");
    let there = other_machine(here);
    with_cache(&there, &format!("pull = [\"{address}\"]"));
    let run = there.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(run.stderr.contains("the state of do_deploy cannot be used"), "{run}");
    assert_eq!(artifacts(&there, "lantern"), artifacts(here, "lantern"));
    let taken = tasks_from_cache(&there, "lantern");
    assert!(
        taken.contains(&"hello:do_deploy".to_owned()) && !taken.contains(&"greeter:do_deploy".to_owned()),
        "{taken:?}"
    );

    // What can be unpacked is taken: the name of an object is no hash of its bytes. A check builds without caches.
    std::fs::write(&object, poisoned(&right)).expect("written");
    let third = other_machine(&there);
    third.kbuild_ok(&["build", "--board", "lantern"]);
    assert_ne!(artifacts(&third, "lantern"), artifacts(here, "lantern"));
    let run = third.kbuild(&["build", "--board", "lantern", "--check"]);
    assert_eq!(run.code, Some(8), "{run}");
    assert!(run.stderr.contains("greeter: other bytes"), "{run}");
}

#[test]
fn a_matrix_has_each_build_of_the_project() {
    let bench = TestProject::new();
    copy_project(&bench);
    let run = bench.kbuild_ok(&["matrix", "--for", "github"]);
    let matrix: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let of = |key: &str| -> Vec<&str> {
        let jobs = matrix["include"].as_array().expect("a list");
        jobs.iter().map(|job| job[key].as_str().expect("text")).collect()
    };
    assert_eq!(of("board"), ["lantern", "harbour"]);
    assert_eq!(of("args"), ["--board lantern", "--board harbour"]);
    let run = bench.kbuild_ok(&["matrix", "--for", "jenkins", "--options", "--board", "harbour"]);
    let jobs: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert!(jobs.as_array().expect("a list").iter().all(|job| job["board"] == "harbour"), "{run}");
    let run = bench.kbuild_ok(&["matrix", "--for", "gitlab"]);
    assert!(run.stdout.contains("    KBUILD_ARGS: \"--board lantern\"\n"), "{run}");
    assert_eq!(bench.kbuild(&["matrix", "--for", "github", "--board", "nowhere"]).code, Some(1));
}

fn log_in(bench: &mut TestProject, moto: &Moto) {
    bench.set("AWS_ACCESS_KEY_ID", KEY);
    bench.set("AWS_SECRET_ACCESS_KEY", SECRET);
    bench.set("AWS_ENDPOINT_URL", moto.url());
}

/// What is left to take of a board of which everything is there: the image stands for what it was made of, but not for what is
/// deployed beside it.
const EXPECTED_ALL: [&str; 4] = ["greeter:do_deploy", "hello:do_deploy", "mini-image:do_deploy", "tidings:do_deploy"];

/// Answers one connection at a time: with what came, in capitals.
fn shouting_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 64];
            let Ok(count) = stream.read(&mut bytes) else { continue };
            let _ = stream.write_all(&bytes[..count].to_ascii_uppercase());
        }
    });
    port
}

#[test]
fn a_sealed_task_reaches_the_named_server_and_nothing_else() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let (named, other) = (shouting_server(), shouting_server());
    with_cache(bench, &format!("hashserve = \"127.0.0.1:{named}\""));
    // Without this flag, BitBake itself takes the loopback device away.
    let recipe = format!(
        r#"SUMMARY = "Reaches out"
LICENSE = "MIT"
do_compile[network] = "1"
python do_compile() {{
    import json, socket
    def said(host, port):
        try:
            with socket.create_connection((host, port), 5) as link:
                link.sendall(b"hello")
                return link.recv(64).decode()
        except OSError as error:
            return type(error).__name__
    host, port = d.getVar("BB_HASHSERVE_UPSTREAM").split(":")
    found = {{"named": said(host, int(port)), "directly": said("127.0.0.1", {named}), "other": said("127.0.0.1", {other}),
        "prserv": said("127.0.0.1", 8585), "outside": said("192.0.2.1", 80), "mirrors": d.getVar("SSTATE_MIRRORS")}}
    with open(d.expand("${{TOPDIR}}/reached.json"), "w") as file:
        json.dump(found, file)
}}
"#
    );
    bench.write("layers/meta-mini/recipes/caller/caller_1.0.bb", &recipe);
    bench.kbuild_ok(&["build", "--board", "lantern", "caller"]);
    let reached: Value = serde_json::from_str(&bench.read("build/lantern/reached.json")).expect("JSON");
    let expected = serde_json::json!({
        "named": "HELLO", "directly": "ConnectionRefusedError", "other": "ConnectionRefusedError",
        "prserv": "ConnectionRefusedError", "outside": "OSError", "mirrors": "",
    });
    assert_eq!(reached, expected);
    assert!(!bench.path("build/lantern/kbuild/kbuild.sock").exists(), "nobody waits any more");
}

#[test]
fn lines_of_layers_that_kbuild_undoes_are_told() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let layer = "layers/meta-mini/conf/layer.conf";
    let text = bench.read(layer);
    bench.write(
        layer,
        &format!(
            "{text}SSTATE_MIRRORS:append = \" file://.* https://elsewhere/PATH\"\nSSTATE_DIR = \"/srv/x\"\n\
             PRSERV_UPSTREAM ?= \"pr.example:1\"\n"
        ),
    );
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "greeter"]);
    let line = text.lines().count() + 1;
    for told in [
        format!("conf/layer.conf:{line} sets SSTATE_MIRRORS, which has no effect"),
        format!("conf/layer.conf:{} sets SSTATE_DIR, which has no effect", line + 1),
    ] {
        assert!(run.stderr.contains(&told), "{told}: {run}");
    }
    assert!(run.stderr.contains("`pull` in [cache] of kata.toml"), "{run}");
    assert!(!run.stderr.contains("PRSERV_UPSTREAM"), "a default is no line that waits for something: {run}");
    let clean = bench.path(Path::new("build/lantern/sstate-cache"));
    assert!(clean.is_symlink());
}

#[test]
fn a_build_says_what_it_does_and_a_failure_why() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    for tenth in ["tasks (100 %), ", " tasks: "] {
        assert!(run.stderr.contains(tenth), "{tenth}: {run}");
    }
    assert!(!run.stderr.contains("NOTE:"), "{run}");
    let raw = bench.kbuild_ok(&["build", "--board", "lantern", "--raw", "-v"]);
    assert!(raw.stderr.contains("NOTE: Tasks Summary:"), "{raw}");

    let fail = |name: &str, text: &str| -> Run {
        let recipe = format!("SUMMARY = \"Fails\"\nLICENSE = \"MIT\"\n{text}");
        bench.write(&format!("layers/meta-mini/recipes/{name}/{name}_1.0.bb"), &recipe);
        let run = bench.kbuild(&["build", "--board", "lantern", name]);
        assert_eq!(run.code, Some(7), "{run}");
        run
    };
    let noisy = "do_compile() {\n    for number in $(seq 1 100); do echo \"line $number\"; done\n    false\n}\n";
    let run = fail("noisy", noisy);
    assert!(run.stderr.contains("noisy failed in do_compile"), "{run}");
    assert!(run.stderr.contains("| line 100") && !run.stderr.contains("line 50"), "only the end of the log: {run}");
    assert!(run.stderr.contains("log: build/lantern/tmp/work/lantern/noisy/temp/log.do_compile."), "{run}");

    let unlocked = "SRC_URI = \"https://upstream.example/unlocked-2.0.tar.gz\"\n\
                    SRC_URI[sha256sum] = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
    let run = fail("unlocked", unlocked);
    assert!(run.stderr.contains("cause: https://upstream.example/unlocked-2.0.tar.gz is not in kata.lock"), "{run}");
    assert!(run.stderr.contains("help: run `kbuild lock`, then `kbuild fetch`"), "{run}");
    assert!(!run.stderr.contains("wget"), "{run}");

    let run = fail("tool", "do_compile() {\n    frobnicate --now\n}\n");
    assert!(run.stderr.contains("cause: there is no program `frobnicate` in the build"), "{run}");
}

#[test]
fn several_boards_are_built_in_one_call() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let run = bench.kbuild_ok(&["build", "--all", "--format", "json"]);
    let boards = &run.json()["boards"];
    assert_eq!(boards.as_object().map(serde_json::Map::len), Some(2), "{run}");
    assert_eq!(boards["harbour"]["result"]["board"], "harbour");

    // One that fails ends it, or is told at the end.
    let recipe = "SUMMARY = \"Fails\"\nLICENSE = \"MIT\"\ndo_compile() {\n    test ${MACHINE} != lantern\n}\n";
    bench.write("layers/meta-mini/recipes/picky/picky_1.0.bb", recipe);
    let both = ["build", "--board", "lantern", "--board", "harbour", "picky"];
    let run = bench.kbuild(&both);
    assert_eq!(run.code, Some(7), "{run}");
    assert_eq!(run.stdout, "lantern  failed\nharbour  not tried\n", "{run}");
    assert!(run.stderr.contains("picky failed in do_compile"), "{run}");
    let run = bench.kbuild(&[&both[..], &["--keep-going"]].concat());
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stdout.starts_with("lantern  failed\nharbour  ok  "), "{run}");

    // A board that does not exist is said before anything is built.
    std::fs::remove_dir_all(bench.path("build")).expect("emptied");
    let run = bench.kbuild(&["build", "--board", "lantern", "--board", "nowhere"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(!bench.path("build/lantern").exists());
}

#[test]
fn two_results_are_compared_down_to_the_file_that_differs() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let here = &quickstart.bench;
    let there = other_machine(here);
    // A leak of the time, as a recipe that somebody wrote would have it.
    let class = "layers/meta-mini/classes/initramfs.bbclass";
    let text = here.read(class);
    let leak =
        text.replace("issue.write(\"%s", "import time; issue.write(time.strftime(\"%Y-%m-%d %H:%M:%S \") + \"%s");
    assert_ne!(text, leak);
    for bench in [here, &there] {
        bench.write(class, &leak);
    }
    there.write("layers/meta-mini/README.md", "Other words.\n");
    here.kbuild_ok(&["build", "--board", "lantern"]);
    there.kbuild_ok(&["build", "--board", "lantern"]);
    let (first, second) = (here.path("build/lantern"), there.path("build/lantern/result.json"));
    let (first, second) = (first.to_str().expect("UTF-8"), second.to_str().expect("UTF-8"));
    let run = here.kbuild(&["compare", first, second]);
    assert_eq!(run.code, Some(8), "{run}");
    assert!(run.stdout.contains("mini-image-lantern.cpio.gz: other bytes\n  etc/issue: line 1: `"), "{run}");
    assert!(run.stdout.contains("  cause: time"), "{run}");
    assert!(run.stderr.contains("The builds differ in layer meta-mini"), "{run}");
    let run = here.kbuild_ok(&["compare", first, first]);
    assert!(run.stderr.contains("5 artifacts the same, 0 not"), "{run}");
}
