//! What a board fetches, asked of a real BitBake: the layer in tests/fixtures has a recipe for every fetcher. No upstream is
//! running anywhere, and none is needed.

use std::collections::{BTreeMap, BTreeSet};
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

const REAL: &str = r#"
[project]
name = "real"
engine = "bitbake"
[layers.bitbake]
git = "https://upstream.example/bitbake.git"
branch = "HEAD"
[layers.openembedded-core]
git = "https://upstream.example/openembedded-core.git"
branch = "HEAD"
paths = ["meta"]
[boards.qemu]
machine = "qemux86-64"
layers = ["openembedded-core"]
targets = ["core-image-minimal"]
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

    fn of_tree(tree: &Path) -> Project {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("project");
        fs::create_dir(&project).unwrap();
        fs::write(project.join("kata.toml"), REAL).unwrap();
        let manifest = Manifest::read(&project.join("kata.toml")).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let mut lock = Lock::default();
        for layer in ["bitbake", "openembedded-core"] {
            lock_layer(&mut lock, &store, layer, &tree.join(layer).join(".git"), "HEAD");
        }
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
    let mut lock = Lock::default();
    lock_layer(&mut lock, store, "bitbake", &UPSTREAMS.path().join("upstreams/bitbake.git"), "2.19");
    lock
}

/// Puts a commit of a repository into the store, and into the lock as a layer.
fn lock_layer(lock: &mut Lock, store: &Store, layer: &str, repository: &Path, branch: &str) {
    let commit = run("git", &[Path::new("-C"), repository, Path::new("rev-parse"), Path::new(branch)]);
    let commit: CommitId = commit.parse().unwrap();
    let tree = tree::of_commit(&git2::Repository::open(repository).unwrap(), &commit).unwrap();
    store.add_git(repository, &commit, tree).unwrap();
    let url: SourceUrl = format!("https://upstream.example/{layer}.git").parse().unwrap();
    let key = name::git_key(&url, &commit);
    let reference = GitRef { branch: Some(branch.to_owned()), tag: None, rev: None };
    let request = lock::Request::Git { url: url.clone(), reference, version: None, submodules: false, history: false };
    let locked = LockedGit {
        url,
        refs: BTreeSet::new(),
        clones: BTreeSet::new(),
        commit,
        tree: Some(tree),
        history: false,
        submodules: BTreeMap::new(),
    };
    lock.gits.insert(key.clone(), locked);
    lock.layers.insert(layer.to_owned(), Pin { request, locked: SourceId::Git(key) });
}

/// KBUILD_TEST_TREE names a directory with checkouts `bitbake` and `openembedded-core` of one release; the report goes to
/// the file KBUILD_TEST_REPORT, for `tests/support/closure_compare.py`. Not as root: oe-core refuses that.
#[test]
fn the_closure_of_a_real_image() {
    let Some(tree) = std::env::var_os("KBUILD_TEST_TREE").map(PathBuf::from) else {
        eprintln!("SKIPPED: KBUILD_TEST_TREE names no checkouts of BitBake and openembedded-core");
        return;
    };
    let host = std::env::var("KBUILD_TEST_HOST").unwrap_or_else(|_| this_machine());
    let project = Project::of_tree(&tree);
    for attempt in ["cold", "warm"] {
        let start = std::time::Instant::now();
        let report = project.with("qemu", &[], &host, build::discover).unwrap();
        eprintln!("{attempt}: {} recipes in {:.1} s", report.recipes.len(), start.elapsed().as_secs_f64());
        eprintln!("floating: {:#?}\nextra: {:#?}\nnotes: {:#?}", report.floating, report.extra, report.notes);
        let problems: Vec<_> = report.recipes.iter().flat_map(|recipe| &recipe.problems).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        if let Some(file) = std::env::var_os("KBUILD_TEST_REPORT") {
            fs::write(file, serde_json::to_string_pretty(&report).unwrap()).unwrap();
        }
    }
    let caches = fs::read_dir(project.topdir("qemu").join("tmp/cache/default-glibc/qemux86-64"));
    let caches = caches.or_else(|_| fs::read_dir(project.topdir("qemu").join("tmp/cache"))).unwrap();
    let caches: Vec<_> = caches.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    eprintln!("caches: {caches:?}");
}

#[test]
fn every_fetcher_is_reported_in_bitbakes_own_words() {
    let project = Project::new(MANIFEST);
    let report = project.discover("good").unwrap();
    insta::assert_json_snapshot!("closure", report);
    assert_eq!(project.discover("good").unwrap(), report, "a warm cache hides nothing");
}
