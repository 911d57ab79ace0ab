//! The whole pipeline on real BitBake: lock, fetch, build, from upstreams that fail now and then and then disappear.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Quickstart, Upstreams, clone_project, copy, copy_project};

const BOARDS: [&str; 2] = ["lantern", "harbour"];

/// Path and BLAKE3 of each artifact of a board's last build.
fn artifacts(bench: &TestProject, board: &str) -> BTreeMap<String, String> {
    let result = bench.result(board);
    let artifacts = result["artifacts"].as_array().expect("artifacts");
    let hash = |artifact: &Value, key: &str| artifact[key].as_str().expect(key).to_owned();
    artifacts.iter().map(|artifact| (hash(artifact, "path"), hash(artifact, "blake3"))).collect()
}

/// The quickstart's project, locked and fetched, nothing built yet, its upstreams stopped.
pub(crate) fn locked_and_fetched() -> Option<Quickstart> {
    locked_and_fetched_in(Path::new("/tmp"))
}

/// As [`locked_and_fetched`], in a directory below this one.
pub(crate) fn locked_and_fetched_in(place: &Path) -> Option<Quickstart> {
    // Locking asks BitBake about each board and option; once a process is enough.
    static LOCKED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let locked = LOCKED.get_or_init(|| {
        let quickstart = Quickstart::start(0.0)?;
        quickstart.bench.kbuild_ok(&["lock"]);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("locked-{}", std::process::id()));
        std::fs::create_dir_all(&kept).expect("a directory");
        copy(&quickstart.bench.path("kata.lock"), &kept.join("kata.lock"));
        copy(&quickstart.bench.path("mirrors/store"), &kept.join("store"));
        Some(kept)
    });
    let locked = locked.as_ref()?;
    let bench = TestProject::new_in(place);
    copy_project(&bench);
    copy(&locked.join("kata.lock"), &bench.path("kata.lock"));
    std::fs::create_dir(bench.path("mirrors")).expect("a directory");
    copy(&locked.join("store"), &bench.path("mirrors/store"));
    Some(Quickstart { bench, upstreams: None })
}

#[test]
fn two_boards_offline_after_flaky_upstreams() {
    let Some(mut quickstart) = Quickstart::start(0.4) else { return };
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    bench.kbuild_ok(&["lock", "--locked"]);

    // Locking again sends no request and changes nothing.
    let asked = quickstart.upstreams.as_ref().expect("running").requests();
    assert!(asked.iter().any(|line| !line.ends_with("\t-")), "nothing went wrong: {asked:?}");
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["fetch"]);
    assert_eq!(quickstart.upstreams.as_ref().expect("running").requests(), asked);
    assert_eq!(bench.read("kata.lock"), lock);

    quickstart.stop_upstreams();
    let bench = &quickstart.bench;
    for board in BOARDS {
        bench.kbuild_ok(&["build", "--board", board, "--check"]);
        let artifacts = artifacts(bench, board);
        assert!(artifacts.keys().any(|path| path.ends_with(".cpio.gz")), "{artifacts:?}");
    }
    assert_ne!(artifacts(bench, BOARDS[0]), artifacts(bench, BOARDS[1]));
}

#[test]
fn a_recipe_that_follows_a_branch_is_pinned() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let lock = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let pinned = lock.gits.values().find(|git| git.url.as_str().ends_with("/tidings.git")).expect("tidings");
    let conf = bench.read("build/lantern/conf/kbuild.conf");
    assert!(conf.contains(&format!("SRCREV:pn-tidings:forcevariable = \"{}\"", pinned.commit)), "{conf}");
    assert!(bench.read("layers/meta-mini/recipes/tidings/tidings_git.bb").contains("AUTOREV"));
}

#[test]
fn a_wrong_byte_in_the_store_is_refused() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let lock = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let content = lock.files["hello-1.0.tar.gz"].content.expect("seen");
    let blob = kbuild::store::Store::open(&bench.path("mirrors/store")).expect("a store").blob_path(&content.blake3);
    corrupt(&blob);
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("hello-1.0.tar.gz"), "{run}");
    assert!(!bench.path("build/lantern/tmp").exists(), "BitBake was never started");
    let run = bench.kbuild(&["verify", "--format", "json"]);
    assert_eq!(run.code, Some(5), "{run}");
    let found = run.json();
    assert_eq!(found["faults"].as_array().map(Vec::len), Some(1), "{run}");
    assert_eq!(found["faults"][0]["source"], "file:hello-1.0.tar.gz");
    assert_eq!(found["faults"][0]["kind"], "hash-mismatch");
    let boards: Vec<_> = found["would_fail"].as_array().into_iter().flatten().map(|one| &one["board"]).collect();
    assert!(boards.iter().any(|board| *board == "lantern"), "{run}");
    assert!(run.stderr.contains("kbuild verify --repair"), "{run}");

    // A complete store elsewhere repairs it.
    let spare = bench.beside("spare");
    copy(&bench.path("mirrors/store"), &spare);
    let spare_blob = spare.join(blob.strip_prefix(bench.path("mirrors/store")).expect("in the store"));
    corrupt(&spare_blob);
    bench.kbuild_ok(&["verify", "--repair", "--offline", "--mirror", spare.to_str().expect("UTF-8")]);
    bench.kbuild_ok(&["verify", "--board", "lantern"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
}

fn corrupt(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // As a failing disk does: same name, same size, read-only.
    let mode = std::fs::metadata(path).expect("a blob").permissions();
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
    std::fs::set_permissions(path, mode).expect("read-only again");
}

#[test]
fn a_copied_store_is_enough_elsewhere() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let here = &quickstart.bench;
    here.kbuild_ok(&["build", "--board", "lantern"]);

    // As a directory, for example on a USB disk.
    let there = clone_project(here);
    let disk = there.beside("disk");
    copy(&here.path("mirrors/store"), &disk);
    let missing = there.kbuild(&["fetch", "--offline"]);
    assert_eq!(missing.code, Some(6), "{missing}");
    there.kbuild_ok(&["fetch", "--offline", "--mirror", disk.to_str().expect("UTF-8")]);
    std::fs::remove_dir_all(&disk).expect("the disk is gone");
    there.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(artifacts(&there, "lantern"), artifacts(here, "lantern"));

    // Behind a plain web server.
    let third = clone_project(here);
    let server = Upstreams::serve(&here.path("mirrors/store"), &third.beside("server"), 0.2);
    third.kbuild_ok(&["fetch", "--mirror", &server.url]);
    drop(server);
    third.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(artifacts(&third, "lantern"), artifacts(here, "lantern"));

    // Instead of the project's own store.
    let fourth = clone_project(here);
    let store = here.path("mirrors/store");
    fourth.kbuild_ok(&["build", "--board", "lantern", "--store", store.to_str().expect("UTF-8")]);
    assert_eq!(artifacts(&fourth, "lantern"), artifacts(here, "lantern"));

    // Below the project's own store, which stays empty.
    let fifth = clone_project(here);
    let lower = ["--lower-store", store.to_str().expect("UTF-8")];
    fifth.kbuild_ok(&[&["build", "--board", "lantern"], &lower[..]].concat());
    assert_eq!(artifacts(&fifth, "lantern"), artifacts(here, "lantern"));
    assert_eq!(std::fs::read_dir(fifth.path("mirrors/store/blobs")).expect("blobs").count(), 0);
    let script = format!("test -r {0}/format && ! touch {0}/format {0}/new", lower[1]);
    fifth.kbuild_ok(&[&["shell", "--board", "lantern"], &lower[..], &["--", "sh", "-c", &script]].concat());
}

#[test]
fn an_option_changes_what_it_says() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let quiet = artifacts(bench, "lantern");
    bench.kbuild_ok(&["build", "--board", "lantern", "--set", "loud"]);
    let loud = artifacts(bench, "lantern");
    assert_eq!(quiet.keys().collect::<Vec<_>>(), loud.keys().collect::<Vec<_>>());
    assert_ne!(quiet, loud);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(artifacts(bench, "lantern"), quiet);
}

#[test]
fn what_a_build_needs_and_the_lock_does_not_have_is_reported() {
    let Some(quickstart) = Quickstart::start(0.0) else { return };
    let bench = &quickstart.bench;
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &format!("{manifest}\n[closure]\nlock = \"defaults\"\nhosts = [\"riscv64\"]\n"));
    bench.kbuild_ok(&["lock"]);
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "--set", "loud"]);
    assert!(run.stderr.contains("kata.lock has what machines of riscv64 build with"), "{run}");
    assert!(run.stderr.contains("with loud is not locked"), "{run}");
}

#[test]
fn nothing_is_built_from_what_is_not_there() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let empty = bench.beside("empty");
    let run = bench.kbuild(&["build", "--board", "lantern", "--store", empty.to_str().expect("UTF-8")]);
    assert_eq!(run.code, Some(6), "{run}");
    assert!(run.stderr.contains("kbuild fetch"), "{run}");
}

#[test]
fn bitbakes_failure_is_kbuilds_failure() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    let run = bench.kbuild(&["build", "--board", "lantern", "no-such-recipe"]);
    assert_eq!(run.code, Some(7), "{run}");
    // A task that needs the network has none, whatever BitBake's own switches say: not even this machine's loopback.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let recipe = format!(
        "SUMMARY = \"Reaches out\"\nLICENSE = \"MIT\"\n\
         do_compile[network] = \"1\"\n\
         python do_compile() {{\n    import socket\n    try:\n        \
         socket.create_connection((\"127.0.0.1\", {port}), 5)\n    \
         except OSError as error:\n        bb.fatal(\"nobody there: %s\" % error)\n}}\n"
    );
    bench.write("layers/meta-mini/recipes/leak/leak_1.0.bb", &recipe);
    let run = bench.kbuild(&["build", "--board", "lantern", "leak"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("nobody there: [Errno 111] Connection refused"), "{run}");
}

#[test]
fn a_shell_is_sealed_too() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let script = "bitbake-getvar --help >/dev/null 2>&1; command -v bitbake; cat /proc/net/dev | grep -c :; umask; pwd";
    let run = quickstart.bench.kbuild_ok(&["shell", "--board", "lantern", "--", "sh", "-c", script]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].ends_with("/bin/bitbake"), "{run}");
    assert_eq!(lines[1..3], ["1", "0022"], "{run}");
    assert!(lines[3].ends_with("build/lantern"), "{run}");
    assert_eq!(quickstart.bench.kbuild(&["shell", "--board", "lantern", "--", "sh", "-c", "exit 9"]).code, Some(9));
}

#[test]
fn an_interrupted_build_leaves_nothing_running() {
    let Some(quickstart) = locked_and_fetched() else { return };
    let bench = &quickstart.bench;
    bench.write(
        "layers/meta-mini/recipes/sleeper/sleeper_1.0.bb",
        "SUMMARY = \"Sleeps\"\nLICENSE = \"MIT\"\ndo_compile() {\n    sleep 600\n}\n",
    );
    let mut command = bench.command(&["build", "--board", "lantern", "sleeper"]);
    // A group of its own, as a terminal gives a foreground job: Ctrl-C reaches all of it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kbuild starts");
    let group = child.id();
    wait_until("the task runs", || processes_of(bench).iter().any(|name| name.contains("sleep 600")));
    interrupt_group(group);
    std::thread::sleep(Duration::from_secs(1));
    // As in BitBake itself, the second one does not wait for running tasks.
    interrupt_group(group);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(130), "{run}");
    wait_until("everything has ended", || processes_of(bench).is_empty());
}

/// As Ctrl-C does: SIGINT to every process of the group.
fn interrupt_group(leader: u32) {
    let leader = rustix::process::Pid::from_raw(i32::try_from(leader).expect("a pid")).expect("a pid");
    rustix::process::kill_process_group(leader, rustix::process::Signal::INT).expect("the group is there");
}

/// Command lines of the processes whose working directory or arguments are inside the project's directory.
fn processes_of(bench: &TestProject) -> Vec<String> {
    let place = bench.beside("").display().to_string();
    let place = place.trim_end_matches('/');
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let directory = entry.path();
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let arguments = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let cwd = std::fs::read_link(directory.join("cwd")).unwrap_or_default();
        if arguments.contains(place) || cwd.starts_with(place) {
            found.push(arguments);
        }
    }
    found
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
