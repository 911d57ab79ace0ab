//! kbuild is killed at any moment: no blob is lost or half there, and the next run goes on.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{World, chance, rounds};

/// What is killed, and what is done before it so that it has something to do.
const COMMANDS: [(&[&str], bool); 5] = [
    (&["fetch"], true),
    (&["import", "bundle"], true),
    (&["import", "bundle.tar"], true),
    (&["export", "other"], false),
    (&["gc"], false),
];

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    let world = World::locked();
    world.ok(&["export", "bundle"]);
    world.ok(&["export", "bundle.tar"]);
    let took = COMMANDS.map(|(args, empty)| {
        if empty {
            world.empty_store();
        }
        let begun = Instant::now();
        world.ok(args);
        begun.elapsed()
    });
    let mut rng = chance("a_kill_at_any_moment_loses_nothing");
    let mut killed = 0;
    let rounds = rounds(15);
    for round in 0..rounds {
        let chosen = rng.usize(..COMMANDS.len());
        let (args, empty) = COMMANDS[chosen];
        if empty {
            world.empty_store();
        }
        // A bit longer than it takes: now and then it is done before.
        let delay = took[chosen].mul_f64(rng.f64() * 1.1);
        let after = format!("round {round}, {args:?} killed after {delay:?}");
        let mut command = world.project.command(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(delay);
        child.kill().unwrap();
        killed += u64::from(child.wait().unwrap().code().is_none());
        // What it has started ends with it, at its own pace.
        thread::sleep(Duration::from_millis(20));
        if !world.store().exists() {
            continue;
        }
        world.must_recover(&after);
        if args[0] == "export" {
            // An interrupted export is continued, and is then as good as any.
            world.ok(args);
            world.empty_store();
            world.ok(&["import", args[1]]);
            world.must_recover(&after);
        }
    }
    eprintln!("{killed} of {rounds} were killed before they were done");
}
