//! Choices of several options that need, together, what none of them needs alone.

use super::truth::Project;

const OPTIONS: &str = "\
[options.boot]
choices = { initrd = \"boot-initrd\", rootfs = \"boot-rootfs\" }
default = \"initrd\"
[options.ceph]
flag = \"with-ceph\"
";

/// A recipe that fetches one file always, one with `ceph`, and one only where `ceph` and `boot=rootfs` are chosen.
fn project(closure: &str) -> Option<Project> {
    let project = Project::with(&["tool"], &format!("{OPTIONS}[closure]\n{closure}"))?;
    let mut text = String::from("RBD = \"\"\nRBD:boot-rootfs = \"${CEPH_RBD}\"\nCEPH_RBD = \"\"\n");
    let entry = |name: &str| {
        format!(
            "{}/{name}.txt;unpack=0;sha256sum={}",
            project.server.url,
            project.file(&format!("{name}.txt"), name.as_bytes())
        )
    };
    text += &format!("SRC_URI = \"{} ${{RBD}}\"\n", entry("tool"));
    text += &format!("SRC_URI:append:with-ceph = \" {}\"\n", entry("ceph"));
    text += &format!("CEPH_RBD:with-ceph = \"{}\"\n", entry("rbd"));
    project.recipe("tool", &text);
    Some(project)
}

#[test]
fn what_only_two_choices_together_need_is_locked_and_built() {
    let Some(project) = project("together = [[\"ceph\", \"boot=rootfs\"]]\n") else { return };
    project.bench.kbuild_ok(&["lock"]);
    let lock = project.bench.read("kata.lock");
    assert!(lock.contains("[board.lantern.with.\"boot=rootfs,ceph\"]"), "{lock}");
    let why = project.bench.kbuild_ok(&["why", "rbd.txt"]);
    assert!(why.stdout.contains("lantern with boot=rootfs,ceph"), "{why}");
    let why = project.bench.kbuild_ok(&["why", "ceph.txt"]);
    assert!(why.stdout.contains("lantern with ceph"), "{why}");
    let run = project.bench.kbuild_ok(&["lock", "--locked"]);
    assert!(run.stderr.contains("up to date"), "{run}");

    project.bench.kbuild_ok(&["build", "--board", "lantern", "--set", "boot=rootfs", "--set", "ceph"]);
    let unpacked =
        |file: &str| project.bench.path(format!("build/lantern/tmp/work/lantern/tool/sources/{file}")).is_file();
    assert!(unpacked("rbd.txt") && unpacked("ceph.txt"));
}
