//! The seal, tried with the real program and a real kernel. Where the kernel forbids namespaces these tests say so, loudly,
//! and prove the other half: that kbuild notices.

#![allow(clippy::disallowed_methods)] // Tests prepare files as they like.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kbuild::builder::sandbox::{self, Ended, Seal, Stdout};

fn kbuild() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kbuild"))
}

/// A directory that the seal makes read-only, and one in which the command writes; `None` where the kernel forbids it.
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
        let seal = sandbox::probe(kbuild(), &[store]).unwrap();
        if let Seal::Open(why) = &seal {
            eprintln!("\n*** NOT TESTED: this kernel forbids namespaces ({why}) ***\n");
            return None;
        }
        Some(Place { scratch, seal })
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    fn run(&self, script: &str) -> Ended {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(self.scratch.path()).env("PATH", "/usr/bin:/bin");
        sandbox::run(kbuild(), &self.seal, &mut command, Stdout::Own).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default()
    }
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
    let Seal::Open(why) = sandbox::probe(kbuild(), &[scratch.path().join("missing")]).unwrap() else {
        panic!("a directory that is not there cannot be sealed");
    };
    assert!(!why.is_empty());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exit 3"]);
    assert_eq!(sandbox::run(kbuild(), &Seal::Open(why), &mut command, Stdout::Own).unwrap().status, 3);
}

#[test]
fn a_program_that_is_not_kbuild_is_not_mistaken_for_a_kernel_that_says_no() {
    assert!(sandbox::probe(Path::new("/bin/false"), &[]).is_err());
}

/// kbuild is killed outright: the sealed process and the command must not live on.
#[test]
fn nothing_survives_a_killed_kbuild() {
    let scratch = tempfile::tempdir().unwrap();
    let pid_file = scratch.path().join("pid");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; exec sleep 60", pid_file.display());
    // A shell stands for kbuild: it starts the sealed process with its own pid as the parent.
    let start =
        r#"exec 3>&1; "$0" __sealed "{\"parent\":$$,\"seal\":null,\"command\":[\"/bin/sh\",\"-c\",\"$1\"]}" & wait"#;
    let mut shell = Command::new("/bin/sh").args(["-c", start]).arg(kbuild()).arg(&script).spawn().unwrap();
    let pid: i32 = wait_for(|| fs::read_to_string(&pid_file).ok()?.trim().parse().ok());
    shell.kill().unwrap();
    shell.wait().unwrap();
    let gone = || (!Path::new(&format!("/proc/{pid}/stat")).exists() || is_zombie(pid)).then_some(());
    wait_for(gone);
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}
