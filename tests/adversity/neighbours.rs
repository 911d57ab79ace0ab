//! Several kbuild processes work on one store at the same time, a collector among them.

use std::process::{Child, Stdio};

use crate::world::{World, chance, must_end_well, rounds};
use kbuild_test::project::Run;

#[test]
fn neighbours_on_one_store_do_each_other_no_harm() {
    let world = World::locked();
    world.ok(&["export", "bundle"]);
    let mut rng = chance("neighbours_on_one_store_do_each_other_no_harm");
    for round in 0..rounds(5) {
        if rng.bool() {
            world.lose_blobs();
        }
        let commands: [&[&str]; 5] = [&["fetch"], &["import", "bundle"], &["gc"], &["verify"], &["verify", "--repair"]];
        let chosen: Vec<&[&str]> = (0..6).map(|_| commands[rng.usize(..commands.len())]).collect();
        let start = |args: &&[&str]| -> Child {
            let mut command = world.project.command(args);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let running: Vec<Child> = chosen.iter().map(start).collect();
        for (child, args) in running.into_iter().zip(&chosen) {
            let run = Run::from(child.wait_with_output().unwrap());
            let after = format!("round {round}, {args:?} of {chosen:?}");
            must_end_well(&run, &after);
            // What `verify` does not find yet is missing; all else succeeds, whoever comes first.
            let missing_is_right = args[0] == "verify" && run.code == Some(6);
            assert!(run.code == Some(0) || missing_is_right, "{after}: {run}");
        }
        world.must_recover(&format!("round {round}: {chosen:?}"));
    }
}
