//! Two people's locks that diverged: merged by git alone where it can, by `kbuild merge-driver` elsewhere.

use kbuild_test::engine::profile_directory;

use super::pins::{Pins, commit};
use kbuild_test::quickstart::git_at_fixed_time as git;

/// A project in git, whose second branch is `theirs`. Each side runs kbuild and commits.
struct Merge {
    pins: Pins,
}

impl Merge {
    fn of(driver: bool, ours: &[&[&str]], theirs: &[&[&str]]) -> Merge {
        let pins = Pins::new();
        let merge = Merge { pins };
        merge.git(&["init", "-q", "-b", "main"]);
        merge.pins.project.write(".gitignore", "mirrors/\n");
        if driver {
            merge.pins.project.write(".gitattributes", "kata.lock merge=kbuild\n");
            let program = profile_directory().join("kbuild");
            let line = format!("{} merge-driver %O %A %B %P", program.display());
            merge.git(&["config", "merge.kbuild.driver", &line]);
        }
        merge.commit("base");
        commit(&merge.pins.upstream("extra"), "extra: later");
        merge.git(&["checkout", "-q", "-b", "theirs"]);
        merge.run(theirs);
        merge.git(&["checkout", "-q", "main"]);
        merge.run(ours);
        merge
    }

    fn run(&self, commands: &[&[&str]]) {
        commands.iter().for_each(|command| drop(self.pins.project.kbuild_ok(command)));
        self.commit("a change");
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.pins.project.path(""), args)
    }

    /// Merges the other branch. `None` if git says that it is merged, else what it says.
    fn conflict(&self) -> Option<String> {
        let mut command = std::process::Command::new("git");
        command.args(["merge", "-q", "--no-edit", "theirs"]).current_dir(self.pins.project.path("")).env_clear();
        kbuild_test::project::hermetic(&mut command, &self.pins.project.beside("home"));
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "T").env(format!("GIT_{role}_EMAIL"), "t@example.invalid");
        }
        let output = command.output().expect("git starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (!output.status.success()).then_some(said)
    }
}

const CORE: &[&str] = &["update", "core", "--to", "v2"];
const TOOL: &[&str] = &["update", "tool", "--to", "1.1"];
const EXTRA: &[&str] = &["update", "extra"];
const AGENT: &[&str] = &["update", "agent", "--to", "10"];

#[test]
fn git_alone_merges_pins_that_have_nothing_to_do_with_each_other() {
    let merge = Merge::of(false, &[CORE], &[TOOL]);
    assert_eq!(merge.conflict(), None);
    merge.pins.project.kbuild_ok(&["lock", "--locked"]);
}

#[test]
fn the_driver_merges_what_git_alone_does_not() {
    // Both sides add a commit, one behind that of `core` and the other before that of `extra`: in the same place.
    assert!(Merge::of(false, &[CORE], &[EXTRA]).conflict().is_some(), "git alone cannot");
    let merge = Merge::of(true, &[CORE], &[EXTRA]);
    assert_eq!(merge.conflict(), None);
    merge.pins.project.kbuild_ok(&["lock", "--locked"]);
    let lock = merge.pins.project.read("kata.lock");
    assert!(lock.starts_with("# Written by `kbuild lock` from kata.toml."), "{lock}");
}

#[test]
fn a_conflict_stays_one_and_lock_resolves_it() {
    let merge = Merge::of(true, &[CORE, TOOL], &[&["update", "core", "--to", "v10"], AGENT]);
    let said = merge.conflict().expect("both moved core");
    assert!(said.contains("kata.lock: both sides changed 1 entry") && said.contains("layer core"), "{said}");
    let lock = merge.pins.project.read("kata.lock");
    assert_eq!(lock.matches("\n<<<<<<< ours\n").count(), lock.matches("\n>>>>>>> theirs\n").count());
    let sides = lock.split("<<<<<<<").skip(1).map(|part| part.split(">>>>>>>").next().expect("one"));
    assert!(sides.collect::<String>().contains("[layer.core]") && !lock.contains("[source.tool]\n<"), "{lock}");
    // The person decides in the manifest.
    let manifest = merge.pins.project.read("kata.toml");
    let ours = manifest.lines().filter(|line| !["<<<", "===", ">>>"].iter().any(|mark| line.starts_with(mark)));
    let ours: String = ours.filter(|line| !line.contains("\"v10\"")).map(|line| format!("{line}\n")).collect();
    merge.pins.project.write("kata.toml", &ours);
    merge.pins.project.kbuild_ok(&["lock"]);
    let lock = merge.pins.project.read("kata.lock");
    for line in ["tag = \"v2\"", "tag = \"v10\"", "version = \"1.1\""] {
        assert!(lock.contains(line), "{line}: {lock}");
    }
}

#[test]
fn what_is_no_lock_is_merged_by_lines() {
    let pins = Pins::new();
    for (name, text) in [("base", "a\nb\nc\n"), ("ours", "A\nb\nc\n"), ("theirs", "a\nb\nC\n"), ("else", "x\nb\nc\n")] {
        pins.project.write(name, text);
    }
    let run = pins.project.kbuild_ok(&["merge-driver", "base", "ours", "theirs", "kata.lock"]);
    assert!(run.stderr.contains("merged by lines"), "{run}");
    assert_eq!(pins.project.read("ours"), "A\nb\nC\n");
    assert_eq!(pins.kbuild(&["merge-driver", "base", "ours", "else", "kata.lock"]).code, Some(1));
}
