//! What a board fetches, asked of a real BitBake: the layer in tests/fixtures has a recipe for every fetcher. No upstream is
//! running anywhere, and none is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use kbuild::bitbake::report::{Fetch, GitFetch, Recipe};
use kbuild::bitbake::{Report, Words};
use kbuild::build::{self, DiscoverRequest, Request};
use kbuild::lock::{self, Lock, LockedGit, Pin};
use kbuild::manifest::Manifest;
use kbuild::progress::{Progress, Silent, Task};
use kbuild::source::{CommitId, GitRef, SourceId, SourceUrl, name};
use kbuild::store::{Store, tree};
use kbuild::{Error, Kind};

fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run(program: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The engine as a repository, made once for all tests of this file.
static UPSTREAMS: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let (engine, upstreams) = (directory.path().join("engine"), directory.path().join("upstreams"));
    run("python3", &[&repository_file("tests/support/bitbake/make-engine"), &engine]);
    let script = repository_file("examples/quickstart/upstreams.py");
    run("python3", &[&script, Path::new("make"), &upstreams, Path::new("--engine"), &engine]);
    directory
});

/// Remembers warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        Silent.begin(what, total)
    }

    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// A project of the fixture's layer over the quickstart's.
struct Project {
    directory: tempfile::TempDir,
    manifest: Manifest,
    lock: Lock,
    store: Store,
    warnings: Warnings,
}

const MANIFEST: &str = r#"
[project]
name = "closures"
engine = "bitbake"

[layers.bitbake]
git = "https://upstream.example/bitbake.git"
branch = "2.19"
[layers.meta-mini]
path = "meta-mini"
[layers.closure]
path = "closure-layer"

[closure.mask]
"/recipes-broken/" = "its fetcher does not exist"
"/recipes-npm/" = "this BitBake has no npm fetcher"
"/meta-mini/recipes/" = "only its classes are wanted"

[config]
# Everything of it is masked.
BBFILE_PATTERN_IGNORE_EMPTY_mini = "1"

[options.more]
flag = "closure-more"

[boards.good]
machine = "lantern"
layers = ["meta-mini", "closure"]
targets = ["closure-image"]
[boards.harbour]
machine = "harbour"
layers = ["meta-mini", "closure"]
targets = ["autorev"]
[boards.bad]
machine = "lantern"
layers = ["meta-mini", "closure"]
targets = ["closure-bad"]
"#;

impl Project {
    fn new(manifest: &str) -> Project {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("project");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("kata.toml"), manifest).unwrap();
        run("cp", &[Path::new("-rL"), &repository_file("examples/quickstart/layers/meta-mini"), &project]);
        run("cp", &[Path::new("-rL"), &repository_file("tests/fixtures/closure-layer"), &project]);
        let manifest = Manifest::read(&project.join("kata.toml")).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let lock = lock_of_the_engine(&store);
        Project { directory, manifest, lock, store, warnings: Warnings::default() }
    }

    fn with<T>(&self, board: &str, set: &[&str], host: &str, then: impl FnOnce(&DiscoverRequest<'_>) -> T) -> T {
        let set: Vec<String> = set.iter().map(|word| (*word).to_owned()).collect();
        let selection = self.manifest.select(board, &set).unwrap();
        let build = Request {
            manifest: &self.manifest,
            lock: &self.lock,
            store: &self.store,
            board,
            selection: &selection,
            kbuild: Path::new(env!("CARGO_BIN_EXE_kbuild")),
            progress: &self.warnings,
        };
        then(&DiscoverRequest { build, host, words: Words::Complaints })
    }

    fn discover(&self, board: &str) -> Result<Report, Error> {
        self.with(board, &[], &this_machine(), build::discover)
    }

    fn topdir(&self, board: &str) -> PathBuf {
        self.directory.path().join("project/build").join(board)
    }
}

fn this_machine() -> String {
    run("uname", &[Path::new("-m")])
}

fn lock_of_the_engine(store: &Store) -> Lock {
    let repository = UPSTREAMS.path().join("upstreams/bitbake.git");
    let commit = run("git", &[Path::new("-C"), &repository, Path::new("rev-parse"), Path::new("2.19")]);
    let commit: CommitId = commit.parse().unwrap();
    let tree = tree::of_commit(&git2::Repository::open_bare(&repository).unwrap(), &commit).unwrap();
    store.add_git(&repository, &commit, tree).unwrap();
    let url: SourceUrl = "https://upstream.example/bitbake.git".parse().unwrap();
    let key = name::git_key(&url, &commit);
    let reference = GitRef { branch: Some("2.19".to_owned()), tag: None, rev: None };
    let request = lock::Request::Git { url: url.clone(), reference, version: None, submodules: false, history: false };
    let locked = LockedGit {
        url,
        refs: BTreeSet::new(),
        clones: BTreeSet::new(),
        commit,
        tree: Some(tree),
        history: false,
        submodules: std::collections::BTreeMap::new(),
    };
    let mut lock = Lock::default();
    lock.gits.insert(key.clone(), locked);
    lock.layers.insert("bitbake".to_owned(), Pin { request, locked: SourceId::Git(key) });
    lock
}

#[test]
fn every_fetcher_is_reported_in_bitbakes_own_words() {
    let project = Project::new(MANIFEST);
    let report = project.discover("good").unwrap();
    insta::assert_json_snapshot!("closure", report);
    assert_eq!(project.discover("good").unwrap(), report, "a warm cache hides nothing");
}
