//! The disk fails: calls that return an error (a preloaded library makes them), and a disk that is full (a small tmpfs).

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::world::{World, chance, must_end_well, rounds};
use kbuild_test::project::Run;

/// Calls, and how they fail. From the call on, each later one fails too, if the fault lasts.
const FAULTS: [(&str, &str, bool); 10] = [
    ("write", "ENOSPC", true),
    ("write", "EIO", false),
    ("fsync", "EIO", false),
    ("rename", "EIO", false),
    ("symlink", "ENOSPC", false),
    ("link", "EMLINK", false),
    ("mkdir", "ENOSPC", true),
    ("read", "EIO", false),
    ("open", "EMFILE", false),
    ("ftruncate", "EIO", false),
];

/// The preloaded library; `None`, loudly, where there is no C compiler.
static LIBRARY: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults/faults.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    if built.is_ok_and(|status| status.success()) {
        return Some((directory, library));
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have a C compiler: run tests/run");
    eprintln!("SKIPPED: no C compiler; `tests/run` installs one");
    None
});

#[test]
fn a_call_that_fails_is_reported_and_the_next_run_goes_on() {
    let Some((_, library)) = &*LIBRARY else { return };
    let world = World::locked();
    world.ok(&["export", "bundle"]);
    let mut rng = chance("a_call_that_fails_is_reported_and_the_next_run_goes_on");
    let mut hit = 0;
    let rounds = rounds(20);
    for round in 0..rounds {
        let (call, error, lasts) = FAULTS[usize::try_from(round).unwrap() % FAULTS.len()];
        let args: &[&str] = if rng.bool() { &["fetch"] } else { &["import", "bundle"] };
        let number = 1 + rng.u32(..40);
        let after = format!("round {round}: {call} number {number} of {args:?} fails with {error}");
        world.empty_store();
        let mut command = world.project.command(args);
        command.env("LD_PRELOAD", library).env("FAULT_BELOW", world.project.path("mirrors"));
        command.env("FAULT_CALL", call).env("FAULT_ERROR", error).env("FAULT_NUMBER", number.to_string());
        command.env("FAULT_LASTS", if lasts { "1" } else { "0" });
        command.env("FAULT_TOLD", world.project.beside("told"));
        let run = Run::from(command.output().unwrap());
        must_end_well(&run, &after);
        let failed = std::fs::remove_file(world.project.beside("told")).is_ok();
        hit += u64::from(failed);
        assert!(failed || run.code == Some(0), "{after}: {run}");
        if world.store().join("format").exists() {
            world.must_recover(&after);
        }
    }
    eprintln!("{hit} of {rounds} runs met their fault");
    assert!(hit > 0, "the library is not used");
}

/// A disk of 6 MB, in a mount namespace that ends with the script: as root, or where user namespaces are allowed.
#[test]
fn a_full_disk_is_said_and_room_is_all_it_takes() {
    let world = World::locked();
    let mut script = Command::new("unshare");
    let text = r#"
        mount -t tmpfs -o size=6m none "$1" || exit 77
        export KBUILD_MIN_FREE=0
        head -c 3000000 /dev/zero > "$1/filler"
        "$2" fetch; echo "full: $?"
        KBUILD_MIN_FREE=60000000 "$2" fetch; echo "nearly: $?"
        rm "$1/filler"
        "$2" fetch; echo "room: $?"
        "$2" verify; echo "sound: $?"
    "#;
    world.empty_store();
    std::fs::create_dir(world.project.path("mirrors")).unwrap();
    let kbuild = world.project.command(&[]);
    script.args(["--map-root-user", "--mount", "sh", "-c", text, "sh"]).arg(world.project.path("mirrors"));
    script.arg(kbuild.get_program()).env_clear().current_dir(world.project.path(""));
    script.envs(kbuild.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let run = Run::from(script.output().expect("unshare starts"));
    if run.code == Some(77) || run.stderr.contains("unshare failed") {
        eprintln!("SKIPPED: no mount namespaces here");
        return;
    }
    let told: Vec<&str> = run.stdout.lines().filter(|line| line.contains(": ")).collect();
    assert_eq!(told, ["full: 1", "nearly: 1", "room: 0", "sound: 0"], "{run}");
    assert!(run.stderr.contains("No space left on device") && run.stderr.contains("are to stay free"), "{run}");
}
