//! The seal's process, tried with the real program and a real kernel. Where the kernel forbids namespaces these tests say so,
//! loudly, and prove the other half: that kbuild notices. What can be reached from inside is tried by `e2e/seal.rs`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kbuild::builder::seal::{self, Ended, Reachable, Seal, Stdout, Wall};

fn kbuild() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kbuild"))
}

/// A directory that is only read, and one in which the command writes; `None` where the kernel forbids namespaces.
struct Place {
    scratch: tempfile::TempDir,
    seal: Seal,
}

impl Place {
    fn sealed() -> Option<Place> {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("store");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("blob"), "bytes").unwrap();
        let seal = seal::probe(kbuild(), &reachable(scratch.path(), &[&store])).unwrap();
        if let Some(lack) = seal.lack() {
            eprintln!("\n*** NOT TESTED: this host cannot make the whole seal ({lack}) ***\n");
            return None;
        }
        Some(Place { scratch, seal })
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    fn run(&self, script: &str) -> Ended {
        run(&self.seal, self.scratch.path(), script)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default()
    }
}

/// The programs of this host, a directory to write in, and some to read.
fn reachable(write: &Path, read: &[&Path]) -> Reachable {
    let path = std::env::var_os("PATH").unwrap();
    let mut reachable = Reachable::programs(&path, &["python3"], None);
    reachable.write(write).unwrap();
    read.iter().for_each(|path| reachable.read(path).unwrap());
    reachable.set_home(write);
    reachable
}

fn run(seal: &Seal, directory: &Path, script: &str) -> Ended {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(directory).env("PATH", std::env::var_os("PATH").unwrap());
    seal::run(kbuild(), seal, &mut command, Stdout::Own).unwrap()
}

#[test]
fn the_store_cannot_be_written_and_the_rest_can() {
    let Some(place) = Place::sealed() else { return };
    let ended =
        place.run("umask > umask; id -u > uid; (echo x > store/blob) 2> refused; cat store/blob > copy; exit 7");
    assert_eq!(ended, Ended { status: 7, interrupted: false });
    assert_eq!(place.read("umask").trim(), "0022");
    assert_eq!(place.read("uid").trim(), rustix::process::getuid().as_raw().to_string());
    assert!(place.read("refused").contains("Read-only"), "{}", place.read("refused"));
    assert_eq!(place.read("copy"), "bytes");
    // Outside, it is as it was.
    fs::write(place.store().join("blob"), "new").unwrap();
}

#[test]
fn no_network_is_there_but_a_loopback_of_its_own() {
    let Some(place) = Place::sealed() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let python = format!(
        "python3 - <<'EOF'\n\
         import socket\n\
         seen = [name for _, name in socket.if_nameindex()]\n\
         try: socket.create_connection(('127.0.0.1', {port}), 5); outer = 'reached'\n\
         except ConnectionRefusedError: outer = 'refused'\n\
         server = socket.create_server(('127.0.0.1', 0))\n\
         socket.create_connection(server.getsockname(), 5)\n\
         try: socket.create_connection(('192.0.2.1', 80), 5); far = 'reached'\n\
         except OSError as error: far = error.strerror\n\
         print(seen, outer, far, file=open('seen', 'w'))\n\
         EOF"
    );
    assert_eq!(place.run(&python).status, 0);
    assert_eq!(place.read("seen").trim(), "['lo'] refused Network is unreachable");
}

#[test]
fn the_environment_is_only_what_was_given() {
    let Some(place) = Place::sealed() else { return };
    assert_eq!(place.run("env > env").status, 0);
    let text = place.read("env");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // What the shell adds of itself.
    let own = ["PATH", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.contains(&"PATH") && names.iter().all(|name| own.contains(name)), "{names:?}");
}

#[test]
fn whoever_is_left_behind_is_waited_for() {
    let Some(place) = Place::sealed() else { return };
    // A daemon as BitBake's server is one: of a session of its own, its parent gone.
    let begun = Instant::now();
    assert_eq!(place.run("setsid sh -c 'sleep 1; echo done > late' > /dev/null 2>&1 & exit 0").status, 0);
    assert_eq!(place.read("late").trim(), "done");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_signal_is_told_as_a_shell_tells_it() {
    let Some(place) = Place::sealed() else { return };
    assert_eq!(place.run("kill -KILL $$").status, 137);
}

#[test]
fn without_namespaces_the_command_still_runs_and_the_reason_is_known() {
    let scratch = tempfile::tempdir().unwrap();
    let seal = seal::probe_without_namespaces(kbuild(), &reachable(scratch.path(), &[])).unwrap();
    assert!(!seal.is_whole() && !seal.walls().stands(Wall::UnixSockets));
    let lack = seal.lack().unwrap();
    assert!(lack.contains("no wall around") && lack.contains("unix-sockets"), "{lack}");
    assert_eq!(run(&seal, scratch.path(), "exit 3").status, 3);
}

#[test]
fn whatever_cannot_be_shown_inside_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let error = reachable(scratch.path(), &[]).read(&scratch.path().join("missing")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_seal_that_has_become_weaker_is_an_error() {
    let Some(place) = Place::sealed() else { return };
    fs::rename(place.store(), place.scratch.path().join("away")).unwrap();
    let mut command = Command::new("/bin/true");
    let error = seal::run(kbuild(), &place.seal, &mut command, Stdout::Own).unwrap_err();
    assert_eq!(error.kind(), kbuild::Kind::Io);
}

#[test]
fn who_the_user_is_can_be_asked_and_the_home_is_the_given_one() {
    let Some(place) = Place::sealed() else { return };
    let ask = "python3 -c 'import os, pwd, grp; me = pwd.getpwuid(os.getuid()); grp.getgrgid(os.getgid()); print(me.pw_dir)' > who";
    assert_eq!(place.run(ask).status, 0);
    assert_eq!(Path::new(place.read("who").trim()), place.scratch.path());
}

#[test]
fn a_program_that_is_not_kbuild_is_not_mistaken_for_a_kernel_that_says_no() {
    assert!(seal::probe(Path::new("/bin/false"), &Reachable::default()).is_err());
    assert!(seal::probe(Path::new("/bin/true"), &Reachable::default()).is_err());
}
