//! Ctrl-C and kill while bundles are read and written, and while `gc` and `verify` run.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject, program_on_path};

/// A project whose two files are locked and fetched; one of them is larger than any pipe's buffer.
fn fetched() -> TestProject {
    let (bench, server) = (TestProject::new(), Server::start());
    let mut sources = String::new();
    for (name, bytes) in [("small", b"the bytes of small".to_vec()), ("large", vec![7; 4 << 20])] {
        server.on(&format!("/{name}.bin"), [Reply::file(bytes)]);
        sources += &format!("[sources.{name}]\nurl = \"{}\"\n", server.url(&format!("/{name}.bin")));
    }
    let head = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";
    bench.write("kata.toml", &format!("{head}{sources}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
    bench.kbuild_ok(&["lock"]);
    bench
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kbuild starts")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it runs");
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process handles SIGINT itself: bit 1 of SigCgt in proc_pid_status(5).
fn listens(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 2 != 0))
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn an_import_from_a_stalled_pipe_is_stopped_and_continued() {
    let here = fetched();
    here.kbuild_ok(&["export", "bundle.tar"]);
    let bundle = std::fs::read(here.path("bundle.tar")).expect("a bundle");
    let store = here.beside("there");
    let args = ["import", "--store", store.to_str().expect("UTF-8"), "-"];
    let half_comes = || {
        let mut child = start(here.command(&args));
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(&bundle[..bundle.len() - (1 << 20)]).expect("it reads");
        let part = || std::fs::read_dir(store.join("incoming")).into_iter().flatten().flatten();
        wait_until("a part has come", || part().any(|file| file.metadata().is_ok_and(|file| file.len() > 0)));
        (child, pipe)
    };
    let (child, pipe) = half_comes();
    signal(&child, Signal::INT);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_run!(here, run, "import");
    drop(pipe);
    assert_eq!((count(&store.join("incoming")), count(&store.join("tmp"))), (0, 0), "nothing half is left");

    let (mut child, pipe) = half_comes();
    signal(&child, Signal::KILL);
    child.wait().expect("it ends");
    drop(pipe);
    here.kbuild_ok(&["import", "--store", store.to_str().expect("UTF-8"), "bundle.tar"]);
    assert_eq!((count(&store.join("incoming")), count(&store.join("tmp"))), (0, 0), "what the dead left is taken up");
    here.kbuild_ok(&["fetch", "--offline", "--store", store.to_str().expect("UTF-8")]);
}

#[test]
fn an_export_into_a_pipe_that_nobody_reads_is_stopped() {
    let bench = fetched();
    let mut child = start(bench.command(&["export", "-"]));
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0]).expect("it writes");
    signal(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(100));
    // It blocks in a write: the second signal does not wait.
    signal(&child, Signal::TERM);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(130), "{run}");
    assert!(run.stderr.contains("what was fetched is kept"), "{run}");
}

#[test]
fn a_waiting_collector_is_stopped_and_removes_nothing() {
    let bench = fetched();
    bench.write("mirrors/store/incoming/partial", "half of something");
    let lock = std::fs::File::open(bench.path("mirrors/store/lock")).expect("a lock");
    lock.lock_shared().expect("a reader");
    let mut child = start(bench.command(&["gc"]));
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut said).expect("it says");
    assert!(said.contains("Waiting for other kbuilds"), "{said}");
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, Signal::INT);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(130), "{run}");
    assert!(bench.path("mirrors/store/incoming/partial").exists());
    drop(lock);
    bench.kbuild_ok(&["gc"]);
    assert!(!bench.path("mirrors/store/incoming/partial").exists());
}

#[test]
fn a_verification_is_stopped() {
    let bench = fetched();
    let lock = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let content = lock.files["large.bin"].content.expect("seen");
    let store = kbuild::store::Store::open(&bench.path("mirrors/store")).expect("a store");
    let blob = store.blob_path(&content.blake3);
    std::fs::remove_file(&blob).expect("removed");
    // Nothing but holes: it takes hours to read.
    std::fs::File::create(&blob).and_then(|file| file.set_len(1 << 42)).expect("a file");
    let child = start(bench.command(&["verify", "--format", "json"]));
    wait_until("it listens", || listens(&child));
    signal(&child, Signal::INT);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    assert_eq!(run.code, Some(130), "{run}");
    assert_eq!(run.json()["error"]["kind"], "interrupted", "{run}");
}

#[test]
fn git_ends_with_a_kbuild_that_is_killed() {
    let mut bench = TestProject::new();
    bench.write(
        "kata.toml",
        "[project]\nname = \"test\"\n[layers.bitbake]\ngit = \"https://host.invalid/bitbake\"\nbranch = \"main\"\n\
         [mirrors]\nbuiltin = false\n",
    );
    // A git that never comes back; the length of its sleep tells it from others.
    let sleep = format!("sleep 62.{}", std::process::id());
    let path = program_on_path(&bench, "git", &format!("exec {sleep}"));
    bench.set("PATH", path);
    let mut kbuild = start(bench.command(&["lock"]));
    let running = || crate::seal::processes().contains(&sleep);
    wait_until("git runs", running);
    kbuild.kill().expect("it runs");
    kbuild.wait().expect("it ends");
    wait_until("git has ended", || !running());
}
