//! `kbuild update` where an upstream, the line to it or the disk fails: what the lock knows of bytes that did not move stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git;

/// A project with a file and three repositories (one with a submodule), locked, and its upstreams.
struct Locked {
    bench: TestProject,
    server: Server,
    lock: String,
}

impl Locked {
    fn new() -> Locked {
        let bench = TestProject::new();
        let server = Server::start();
        let tool: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        server.on("/tool-1.0.bin", [Reply::file(tool.clone())]);
        // An old server: its refs come with one request, its packs with another.
        server.old_git("/git", &bench.beside("upstream"));
        let rev = repository(&bench, "child", None);
        repository(&bench, "lib", None);
        repository(&bench, "parent", Some((&server.url("/git/child.git"), &rev)));
        bench.write(
            "kata.toml",
            &format!(
                "[project]\nname = \"moving\"\n\n[layers.bitbake]\npath = \"bitbake\"\n\n\
                 [sources.tool]\nurl = \"{tool}\"\nsha256 = \"{sha256}\"\n\n\
                 [sources.lib]\ngit = \"{git}/lib.git\"\nbranch = \"main\"\n\n\
                 [sources.parent]\ngit = \"{git}/parent.git\"\nbranch = \"main\"\nsubmodules = true\n\n\
                 [sources.pinned]\ngit = \"{git}/child.git\"\nrev = \"{rev}\"\n",
                tool = server.url("/tool-1.0.bin"),
                git = server.url("/git"),
                sha256 = sha256_of(&tool),
            ),
        );
        bench.write("bitbake/bin/bitbake", "");
        bench.kbuild_ok(&["lock", "--strict"]);
        let lock = bench.read("kata.lock");
        assert_eq!(lock.matches("\ntree = ").count(), 3, "{lock}");
        Locked { bench, server, lock }
    }

    /// Runs `update` over an empty store.
    fn update(&self, names: &[&str]) -> Run {
        fs::remove_dir_all(self.bench.beside("empty")).ok();
        let store = self.bench.beside("empty").display().to_string();
        self.bench.kbuild(&[&["update", "--store", &store], names].concat())
    }

    fn stands(&self, run: &Run, code: i32) {
        assert_eq!(run.code, Some(code), "{run}");
        assert_eq!(self.bench.read("kata.lock"), self.lock, "{run}");
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    let mut hasher = kbuild::source::Hasher::default();
    hasher.update(bytes);
    hasher.finish().sha256.to_string()
}

fn upstream(bench: &TestProject, name: &str) -> PathBuf {
    bench.beside("upstream").join(format!("{name}.git"))
}

/// Makes `upstream/NAME.git` with one commit on `main`; gives the commit.
fn repository(bench: &TestProject, name: &str, submodule: Option<(&str, &str)>) -> String {
    let work = bench.beside(format!("work-{name}"));
    fs::create_dir_all(&work).expect("a directory");
    git(&work, &["init", "-q", "-b", "main"]);
    fs::write(work.join("README"), name).expect("a file");
    if let Some((url, commit)) = submodule {
        let text = format!("[submodule \"child\"]\n\tpath = child\n\turl = {url}\n");
        fs::write(work.join(".gitmodules"), text).expect("a file");
        git(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},child")]);
    }
    let rev = publish(bench, name);
    git(&upstream(bench, name), &["symbolic-ref", "HEAD", "refs/heads/main"]);
    rev
}

/// Commits what stands in the work tree, and pushes it.
fn publish(bench: &TestProject, name: &str) -> String {
    let (work, bare) = (bench.beside(format!("work-{name}")), upstream(bench, name));
    if !bare.exists() {
        fs::create_dir_all(&bare).expect("a directory");
        git(&bare, &["init", "-q", "--bare"]);
    }
    git(&work, &["add", "-A", "--", ":!child"]);
    git(&work, &["commit", "-q", "-m", "a change"]);
    git(&work, &["push", "-q", bare.to_str().expect("UTF-8"), "HEAD:refs/heads/main"]);
    git(&work, &["rev-parse", "HEAD"])
}

const PACKS: [&str; 3] = ["lib", "parent", "child"];

#[test]
fn what_did_not_move_keeps_its_hashes_over_a_line_that_is_cut() {
    let locked = Locked::new();
    for name in PACKS {
        locked.server.on(&format!("/git/{name}.git/git-upload-pack"), [Reply::Hangup]);
    }
    locked.server.on("/tool-1.0.bin", [Reply::file(vec![7; 20_000]).cut_after(100)]);
    locked.stands(&locked.update(&[]), 0);
}

#[test]
fn what_did_not_move_keeps_its_hashes_over_bytes_that_are_flipped() {
    let locked = Locked::new();
    let garbage = Reply::file("0008NAK\nPACK\0\0\0\u{2}\0\0\0\u{1}garbage")
        .header("Content-Type", "application/x-git-upload-pack-result");
    for name in PACKS {
        locked.server.on(&format!("/git/{name}.git/git-upload-pack"), [garbage.clone()]);
    }
    locked.stands(&locked.update(&[]), 0);
    // Of a file whose hash is known it is certain, and so no failure that passes.
    locked.server.on("/tool-1.0.bin", [Reply::file(vec![7; 20_000])]);
    locked.stands(&locked.update(&["tool"]), 5);
}

#[test]
fn without_a_server_what_cannot_move_keeps_its_hashes_and_what_can_is_an_error() {
    let Locked { bench, server, lock } = Locked::new();
    drop(server);
    let locked = Locked { bench, server: Server::start(), lock };
    locked.stands(&locked.update(&["tool", "pinned"]), 0);
    locked.stands(&locked.update(&[]), 4);
}

#[test]
fn a_submodule_that_is_asked_for_later_is_not_taken_for_none() {
    let locked = Locked::new();
    let manifest = locked.bench.read("kata.toml").replace("submodules = true\n", "");
    locked.bench.write("kata.toml", &manifest);
    locked.bench.kbuild_ok(&["lock", "--strict"]);
    let without = locked.bench.read("kata.lock");
    locked.bench.write("kata.toml", &manifest.replace("parent.git\"\n", "parent.git\"\nsubmodules = true\n"));
    locked.server.on("/git/parent.git/git-upload-pack", [Reply::Hangup]);
    let store = locked.bench.beside("empty").display().to_string();
    locked.bench.kbuild_ok(&["lock", "--store", &store]);
    let open = locked.bench.read("kata.lock");
    assert!(open.contains("recursive = true"), "{open}");
    assert_eq!(open.matches("\ntree = ").count(), without.matches("\ntree = ").count(), "{open}");
    assert_eq!(locked.bench.kbuild(&["lock", "--strict", "--locked"]).code, Some(1));
    locked.server.on("/git/parent.git/git-upload-pack", [Reply::Mounted]);
    locked.bench.kbuild_ok(&["lock", "--strict", "--store", &store]);
    assert_eq!(locked.bench.read("kata.lock"), locked.lock);
}

#[test]
fn a_full_disk_is_an_error_and_the_lock_stays() {
    let locked = Locked::new();
    let big: Vec<u8> = (0..500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(locked.bench.beside("work-lib").join("big"), big).expect("a file");
    let moved = publish(&locked.bench, "lib");
    let Some(run) = on_a_small_disk(&locked, &["update"]) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    locked.stands(&run, 1);
    assert!(run.stderr.contains("No space left on device") && run.stderr.contains("make room"), "{run}");
    locked.bench.kbuild_ok(&["update"]);
    assert!(locked.bench.read("kata.lock").contains(&moved));
}

/// Runs kbuild with its store on a file system of 600 KiB, in a mount namespace of its own.
fn on_a_small_disk(locked: &Locked, args: &[&str]) -> Option<Run> {
    let disk = locked.bench.beside("disk");
    fs::create_dir_all(&disk).expect("a directory");
    let mount = "mount -t tmpfs -o size=600k,mode=755 tmpfs \"$0\" || exit 77; exec \"$@\"";
    let may = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&disk);
        command
    };
    if !may(&mount.replace("exec \"$@\"", "true")).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let store = disk.display().to_string();
    let kbuild = locked.bench.command(&[args, &["--store", &store]].concat());
    let mut command = may(mount);
    command.arg(kbuild.get_program()).args(kbuild.get_args()).env_clear();
    command.envs(kbuild.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(locked.bench.path(Path::new("")));
    Some(Run::from(command.output().expect("unshare starts")))
}
