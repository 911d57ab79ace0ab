//! What all of these tests share: chance with a seed, a project with files and a repository, and what has to be true of its
//! store after anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};

/// The exit codes of docs/reference/exit-codes.md that say what went wrong, without the one for a bug in kbuild.
const DOCUMENTED: [i32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 130];

/// The beginning of a manifest; its engine, `bitbake/bin/bitbake`, is only a name.
pub const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n[mirrors]\nbuiltin = false\n";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How many rounds: `short` of them, unless the variable says otherwise.
pub fn rounds(short: u64) -> u64 {
    number("KBUILD_ADVERSITY_ROUNDS").unwrap_or(short)
}

/// Chance for one test; says with which seed.
pub fn chance(test: &str) -> Rng {
    let seed = number("KBUILD_ADVERSITY_SEED").unwrap_or(1);
    eprintln!("{test}: KBUILD_ADVERSITY_SEED={seed}");
    Rng::with_seed(seed)
}

/// A project with files and a git repository, and their upstream.
pub struct World {
    pub project: TestProject,
    pub server: Server,
}

impl World {
    /// Locked; the store has everything.
    pub fn locked() -> World {
        let (project, server) = (TestProject::new(), Server::start());
        let upstream = project.beside("upstream");
        fs::create_dir(&upstream).unwrap();
        make_repository(&upstream);
        server.git("/git", &upstream);
        let mut manifest = HEAD.to_owned();
        project.write("bitbake/bin/bitbake", "");
        for (number, size) in [10, 3_000, 70_000, 400_000, 1_500_000, 2_500_000].into_iter().enumerate() {
            server.on(&format!("/f{number}.bin"), [Reply::file(content(number, size))]);
            let url = server.url(&format!("/f{number}.bin"));
            manifest += &format!("[sources.f{number}]\nurl = \"{url}\"\n");
        }
        manifest += &format!("[sources.repo]\ngit = \"{}\"\nbranch = \"main\"\n", server.url("/git/repo.git"));
        project.write("kata.toml", &manifest);
        let world = World { project, server };
        world.ok(&["lock"]);
        world
    }

    pub fn store(&self) -> PathBuf {
        self.project.path("mirrors/store")
    }

    /// As before the first fetch.
    pub fn empty_store(&self) {
        match fs::remove_dir_all(self.project.path("mirrors")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("the store cannot be removed: {error}")
            }
            _ => {}
        }
    }

    pub fn ok(&self, args: &[&str]) -> Run {
        self.project.kbuild_ok(args)
    }

    /// Whatever happened before: no file has a name that its bytes do not have.
    pub fn must_be_sound(&self, after: &str) {
        for entry in walk(&self.store().join("blobs")) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            let hash = blake3::hash(&fs::read(&entry).unwrap()).to_hex().to_string();
            assert!(name == hash || name.ends_with(".corrupt"), "{after}: {name} has the hash {hash}");
        }
    }

    /// As after a loss of every blob: the store is one, and knows its project.
    pub fn lose_blobs(&self) {
        fs::remove_dir_all(self.store().join("blobs")).unwrap();
    }

    /// Whatever happened before: the next fetch brings what is missing, everything is as locked, and after the next collection
    /// nothing is left over.
    pub fn must_recover(&self, after: &str) {
        self.must_be_sound(after);
        let run = self.project.kbuild(&["fetch"]);
        assert_eq!(run.code, Some(0), "{after}: {run}");
        let run = self.project.kbuild(&["verify"]);
        assert_eq!(run.code, Some(0), "{after}: {run}");
        // What an import had begun, a fetch does not go on with.
        let run = self.project.kbuild(&["gc"]);
        assert_eq!(run.code, Some(0), "{after}: {run}");
        for directory in ["tmp", "incoming"] {
            let left: Vec<PathBuf> =
                fs::read_dir(self.store().join(directory)).unwrap().map(|e| e.unwrap().path()).collect();
            assert!(left.is_empty(), "{after}: {left:?} is left over");
        }
    }
}

/// A run that failed has said so: a documented exit code, no panic.
pub fn must_end_well(run: &Run, after: &str) {
    assert!(run.code.is_some_and(|code| DOCUMENTED.contains(&code)), "{after}: {run}");
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("a bug in kbuild"), "{after}: {run}");
}

/// Bytes that compress badly and differ from file to file.
pub fn content(number: usize, size: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(number as u64 + 100);
    std::iter::repeat_with(|| rng.u8(..)).take(size).collect()
}

/// All files below a directory.
pub fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(directory).into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// `repo.git` below a directory: a few files, some of them large.
fn make_repository(upstream: &Path) {
    let work = upstream.join("work");
    let git = |directory: &Path, args: &[&str]| {
        let mut command = Command::new("git");
        command.args(args).current_dir(directory);
        kbuild_test::project::hermetic(&mut command, upstream);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example.com");
        }
        assert!(command.status().unwrap().success(), "git {args:?}");
    };
    git(upstream, &["init", "-q", "-b", "main", "work"]);
    for number in 0..5 {
        fs::write(work.join(format!("file{number}")), content(50 + number, 100_000)).unwrap();
    }
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(upstream, &["clone", "-q", "--bare", "work", "repo.git"]);
}
