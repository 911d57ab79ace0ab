//! `kbuild diff`.

use kbuild_test::assert_run;
use kbuild_test::project::TestProject;

use super::pins::{Pins, commit};
use super::queries;
use kbuild_test::quickstart::git_at_fixed_time as git;

/// The project of the queries, and its lock some time later: a layer and three recipes moved, one is new, one is gone.
fn later() -> TestProject {
    let project = queries::fixture();
    let old = project.read("kata.lock");
    project.write("old.lock", &old);
    let core = old.split("\"git:git.example.core@").nth(1).expect("core")[..12].to_owned();
    let agent = old.split("\n[recipe.agent]").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("agent");
    let new = old
        .replace(&core, "0123456789ab")
        .replace("busybox-1.36.tar.bz2", "busybox-1.37.tar.bz2")
        .replace("busybox_1.36.bb", "busybox_1.37.bb")
        .replace("version = \"1.36\"", "version = \"1.37\"")
        .replace("license = \"Zlib\"", "license = \"Zlib & MPL-2.0\"")
        .replace("version = \"5.15\"", "version = \"5.16\"")
        .replace("linux-5.15.tar.xz", "linux-5.16.tar.xz")
        .replace(
            &format!("\n[recipe.agent]{agent}"),
            &format!("\n[recipe.nss]{agent}").replace("Apache-2.0", "(MPL-2.0 | GPL-2.0-only)"),
        )
        .replace("\nagent = ", "\nnss = ");
    // The commit that the new key is of.
    let commit = new.split("\n[git.\"git.example.core@").nth(1).and_then(|block| block.split("commit = \"").nth(1));
    let commit = commit.expect("the commit")[..40].to_owned();
    let moved = format!("0123456789ab{}", &commit[12..]);
    project.write("kata.lock", &new.replace(&commit, &moved).replace(&core, "0123456789ab"));
    let manifest = project.read("kata.toml");
    let rev = manifest.split("example/core\"\nrev = \"").nth(1).expect("core")[..40].to_owned();
    project.write("kata.toml", &manifest.replace(&rev, &moved));
    project
}

#[test]
fn a_diff_says_what_moved_for_people_merge_requests_and_programs() {
    let project = later();
    assert_run!(project, project.kbuild(&["diff", "old.lock"]), "diff");
    assert_run!(project, project.kbuild(&["diff", "old.lock", "--markdown"]), "diff_markdown");
    assert_run!(project, project.kbuild(&["diff", "old.lock", "--format", "json"]), "diff_json");
    assert_run!(project, project.kbuild(&["diff", "kata.lock"]), "diff_nothing");
}

#[test]
fn a_diff_is_since_a_revision_and_lists_the_commits_that_the_store_has() {
    let pins = Pins::new();
    let root = pins.project.path("");
    assert_run!(pins.project, pins.kbuild(&["diff"]), "diff_without_a_repository");
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["add", "kata.toml"]);
    git(&root, &["commit", "-q", "-m", "manifest"]);
    assert_run!(pins.project, pins.kbuild(&["diff"]), "diff_without_a_lock_there");
    git(&root, &["add", "kata.lock"]);
    git(&root, &["commit", "-q", "-m", "lock"]);
    commit(&pins.upstream("extra"), "extra: <b>bold</b> things | @all");
    let manifest = pins.project.read("kata.toml");
    let history = manifest.replace("tag = \"v{version}\"", "tag = \"v{version}\"\nhistory = true");
    pins.project.write("kata.toml", &history);
    pins.project.kbuild_ok(&["update", "extra"]);
    pins.project.kbuild_ok(&["update", "agent", "--to", "10"]);
    pins.project.kbuild_ok(&["update", "tool", "--to", "1.1"]);
    assert_run!(pins.project, pins.kbuild(&["diff"]), "diff_since_head");
    assert_run!(pins.project, pins.kbuild(&["diff", "main", "--markdown"]), "diff_since_main_markdown");
    assert_run!(pins.project, pins.kbuild(&["diff", "mian"]), "diff_no_such_revision");

    // What the store has not, the upstreams say.
    commit(&pins.upstream("extra"), "extra: more");
    pins.project.kbuild_ok(&["update", "extra"]);
    assert_run!(pins.project, pins.kbuild(&["diff", "--commits"]), "diff_with_commits_of_upstreams");
    std::fs::rename(pins.upstream("extra"), pins.upstream("gone")).expect("a rename");
    assert_run!(pins.project, pins.kbuild(&["diff", "--commits"]), "diff_without_an_upstream");
}
