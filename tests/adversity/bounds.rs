//! Limits that hold for the whole program; docs/reference/bounds.md has the others.

use std::fs;

use crate::world::{HEAD, must_end_well};
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::TestProject;

/// A project with one file that nobody knows the hash of, and that is 3 MB long.
fn project(server: &Server) -> TestProject {
    server.on("/x.bin", [Reply::file(vec![7; 3_000_000]).lengthless()]);
    let url = server.url("/x.bin");
    let project = TestProject::with_manifest(&format!("{HEAD}[sources.x]\nurl = \"{url}\"\n"));
    project.write("bitbake/bin/bitbake", "");
    project
}

fn left_over(project: &TestProject) -> usize {
    fs::read_dir(project.path("mirrors/store/incoming")).map_or(0, Iterator::count)
}

#[test]
fn a_body_without_an_end_is_cut_and_nothing_of_it_stays() {
    let server = Server::start();
    let mut project = project(&server);
    project.set("KBUILD_MAX_DOWNLOAD", "1000000");
    let run = project.kbuild(&["lock"]);
    must_end_well(&run, "a long body");
    assert!(run.stderr.contains("more than 1000000 bytes") && run.stderr.contains("KBUILD_MAX_DOWNLOAD"), "{run}");
    assert_eq!(left_over(&project), 0);
    project.set("KBUILD_MAX_DOWNLOAD", "3000000");
    project.kbuild_ok(&["lock"]);
}

#[test]
fn a_disk_that_gets_full_ends_a_transfer_and_nothing_of_it_stays() {
    let server = Server::start();
    let mut project = project(&server);
    project.set("KBUILD_MIN_FREE", u64::MAX.to_string());
    let run = project.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("are to stay free") && run.stderr.contains("KBUILD_MIN_FREE"), "{run}");
    assert_eq!((left_over(&project), server.count()), (0, 1), "another try would not help");
    project.set("KBUILD_MIN_FREE", "0");
    project.kbuild_ok(&["lock"]);
}

#[test]
fn a_manifest_or_lock_that_is_too_long_is_refused() {
    let server = Server::start();
    let project = project(&server);
    project.kbuild_ok(&["lock"]);
    for (file, limit) in [("kata.lock", 32 << 20), ("kata.toml", 4 << 20)] {
        fs::OpenOptions::new().write(true).open(project.path(file)).unwrap().set_len(limit + 1).unwrap();
        let run = project.kbuild(&["list"]);
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stderr.contains("is longer than"), "{run}");
    }
}
