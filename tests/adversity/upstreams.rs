//! Upstreams that misbehave: kbuild says what is wrong, keeps nothing wrong, and takes the right bytes when they come.

use std::time::Duration;

use crate::world::{World, content, must_end_well};
use kbuild_test::http::{Ranges, Reply};

#[test]
fn an_upstream_that_misbehaves_leaves_nothing_wrong_behind() {
    let mut world = World::locked();
    world.project.set("KBUILD_RETRIES", "1");
    world.project.set("KBUILD_TIMEOUT", "1");
    let right = content(4, 1_500_000);
    let good = Reply::file(right.clone());
    let flipped = || {
        let mut bytes = right.clone();
        bytes[700_000] ^= 1;
        bytes
    };
    let page = "<!DOCTYPE html><title>Please log in</title>";
    let cases: Vec<(&str, Reply, i32)> = vec![
        ("hangs up", Reply::Hangup, 4),
        ("says nothing", Reply::Silence(Duration::from_secs(3)), 4),
        ("has nothing", Reply::status(404), 4),
        ("is broken", Reply::status(500), 4),
        ("forbids", Reply::status(403), 4),
        ("is busy for a day", Reply::status(404).header("Retry-After", "86400"), 4),
        ("leads in a circle", Reply::redirect("/f4.bin"), 4),
        ("leads to a file", Reply::redirect("file:///etc/passwd"), 4),
        ("leads nowhere", Reply::redirect("http://"), 4),
        ("ends in the middle", good.clone().cut_after(700_000), 4),
        ("stalls in the middle", good.clone().stall_after(700_000, Duration::from_secs(3)), 4),
        ("ends in the middle, and said no length", good.clone().lengthless().cut_after(700_000), 5),
        ("sends a page", Reply::file(page), 5),
        ("sends other bytes", Reply::file(flipped()), 5),
        ("sends more bytes", Reply::file([right.clone(), vec![0]].concat()), 5),
        ("sends nothing", Reply::file(""), 5),
        ("speaks of another part", Reply::file(flipped()).ranges(Ranges::Wrong), 5),
        ("has a head without an end", Reply::status(200).header("X-Long", &"x".repeat(2_000_000)), 4),
        ("says what no terminal should hear", Reply::status(404).header("X-Bell", "\u{7}"), 4),
    ];
    for (what, reply, code) in cases {
        world.empty_store();
        world.server.on("/f4.bin", [reply]);
        let run = world.project.kbuild(&["fetch"]);
        must_end_well(&run, what);
        assert_eq!(run.code, Some(code), "an upstream that {what}: {run}");
        assert!(!run.stderr.contains(['\u{7}', '\u{1b}']), "{what}: {run}");
        world.server.on("/f4.bin", [good.clone()]);
        world.must_recover(what);
    }
}
