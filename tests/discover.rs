//! What a board fetches, asked of a real BitBake: the layer in tests/fixtures has a recipe for every fetcher. No upstream is
//! running anywhere, and none is needed.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kbuild::bitbake::report::{Problem, Recipe};
use kbuild::bitbake::{DiscoveryReport, Verbosity};
use kbuild::builder::{self, BuildDir, BuildRequest, DiscoverRequest};
use kbuild::lock::{self, Closure, Content, Floating, Lock, LockedBoard, LockedFile, LockedGit, Pin};
use kbuild::manifest::Manifest;
use kbuild::source::{CommitId, GitRef, SourceId, SourceUrl, name};
use kbuild::store::{Store, tree};
use kbuild::{Error, Kind};

mod common;

use common::{UPSTREAMS, Warnings, repository_file, run};

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
        let build = BuildRequest {
            asked: kbuild::builder::Asked::Targets(&[]),
            manifest: &self.manifest,
            lock: &self.lock,
            store: &self.store,
            board,
            selection: &selection,
            kbuild: Path::new(env!("CARGO_BIN_EXE_kbuild")),
            require_seal: false,
            changes: builder::layers::LayerChanges::NONE,
            cache: None,
            jobs: 1,
            progress: &self.warnings,
        };
        then(&DiscoverRequest { build, host, words: Verbosity::Complaints })
    }

    fn discover(&self, board: &str) -> Result<DiscoveryReport, Error> {
        self.with(board, &[], &this_machine(), builder::discover)
    }

    fn topdir(&self, board: &str) -> PathBuf {
        self.directory.path().join("project/build").join(board)
    }

    /// Runs a script in the environment of a build, whose board the lock must know, and gives what it writes into `out`.
    fn script(&self, board: &str, script: &str) -> String {
        self.script_with(board, &[], script)
    }

    fn script_with(&self, board: &str, set: &[&str], script: &str) -> String {
        self.with(board, set, &this_machine(), |request| {
            let prepared = builder::prepare(&request.build, BuildDir::Build).unwrap();
            let words: Vec<std::ffi::OsString> = ["bash", "-ec", script].map(Into::into).to_vec();
            assert_eq!(builder::shell(&prepared, &words, None, &kbuild::progress::Silent).unwrap(), 0);
        });
        fs::read_to_string(self.topdir(board).join("out")).unwrap_or_default()
    }

    /// Puts this machine's uninative into lock and store, as a closure has it.
    fn lock_uninative(&mut self) -> SourceId {
        let name = format!("{}-nativesdk-libc-1.tar.xz", this_machine());
        let file = self.directory.path().join(&name);
        fs::write(&file, "a loader").unwrap();
        let digests = self.store.add_file(&file).unwrap();
        let locked = LockedFile {
            name: None,
            urls: vec![format!("https://upstream.example/uninative/{name}").parse().unwrap()],
            sha256: digests.sha256,
            stated_size: None,
            content: Some(Content { blake3: digests.blake3, size: digests.size }),
        };
        self.lock.files.insert(name.clone(), locked);
        SourceId::File(name)
    }

    /// The parse caches of a board: one for each configuration it was parsed with.
    fn caches(&self, board: &str) -> Vec<String> {
        let entries = fs::read_dir(self.topdir(board).join("tmp/cache")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("bb_cache.dat.")).collect()
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
    let tree = tree::of_commit(&kbuild::git::open_objects(repository).unwrap(), &commit).unwrap();
    store.add_git(repository, &commit, tree).unwrap();
    let url: SourceUrl = format!("https://upstream.example/{layer}.git").parse().unwrap();
    let key = name::git_key(&url, &commit);
    let reference = GitRef { branch: Some(branch.to_owned()), tag: None, rev: None };
    let request = lock::Request::Git {
        url: url.clone(),
        reference,
        version: None,
        submodules: false,
        history: false,
        lfs: true,
        signers: Vec::new(),
    };
    let locked = LockedGit {
        url,
        refs: BTreeSet::new(),
        clones: BTreeSet::new(),
        commit,
        tree: Some(tree),
        history: false,
        recursive: false,
        submodules: BTreeMap::new(),
        lfs: BTreeMap::new(),
        without_lfs: false,
    };
    lock.gits.insert(key.clone(), locked);
    lock.layers.insert(layer.to_owned(), Pin::new(request, SourceId::Git(key)));
}

#[test]
fn every_fetcher_is_reported_in_bitbakes_own_words() {
    let project = Project::new(MANIFEST);
    let discover = || project.with("good", &[], "x86_64", builder::discover).unwrap();
    let report = discover();
    let mut shown = report.clone();
    let top = format!("{}/", fs::canonicalize(project.manifest.root()).unwrap().display());
    for path in shown.recipes.iter_mut().flat_map(|recipe| &mut recipe.read) {
        *path = path.strip_prefix(&top).expect("a file of the project's layers").to_owned();
    }
    insta::assert_json_snapshot!("closure", shown);
    assert_eq!(discover(), report, "a warm cache hides nothing");
}

fn recipe<'a>(report: &'a DiscoveryReport, name: &str) -> &'a Recipe {
    report.recipes.iter().find(|recipe| recipe.name == name).unwrap_or_else(|| panic!("{name} is not in the report"))
}

#[test]
fn a_directory_is_parsed_once_for_discovery_and_builds() {
    let mut project = Project::new(MANIFEST);
    let uninative = project.lock_uninative();
    let board = LockedBoard { sources: [uninative].into(), ..LockedBoard::default() };
    project.lock.boards.insert("good".to_owned(), board);
    project.discover("good").unwrap();
    let parsed = project.caches("good");
    assert_eq!(parsed.len(), 1, "{parsed:?}");
    // Offline, with nothing pinned, and although recipes float.
    project.script("good", "bitbake -qq -p");
    assert_eq!(project.caches("good"), parsed);
}

#[test]
fn the_lock_pins_what_floats() {
    let mut project = Project::new(MANIFEST);
    let commit: CommitId = "337b6002681479fb6a605ca8a7a1138e81b6098c".parse().unwrap();
    let report = project.discover("good").unwrap();
    let mut pins = BTreeMap::new();
    for floating in &report.floating {
        let url: SourceUrl = floating.url.parse().unwrap();
        let key = Floating::key(&url, "refs/heads/main");
        project.lock.floating.insert(key.clone(), Floating { url, reference: "refs/heads/main".to_owned(), commit });
        pins.insert(format!("{}:pn-{}", floating.variable, floating.recipe), key);
    }
    let closure = Closure { inputs: [0; 32].into(), recipes: BTreeMap::new(), extra: BTreeSet::new(), pins };
    let board = LockedBoard { closure: Some(closure), ..LockedBoard::default() };
    project.lock.boards.insert("good".to_owned(), board);

    // The task of kbuild's class says what a build would fetch.
    project.script("good", "rm -rf kbuild; bitbake -qq --runall=kbuild_closure closure-image strays");
    let found = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(project.topdir("good").join(format!("kbuild/closure/{name}.json"))).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["fetches"].as_array().unwrap().iter().map(|fetch| fetch["git"]["commit"].clone()).collect()
    };
    for (name, count) in [("autorev", 1), ("tagged", 1), ("branched", 2), ("strays", 1)] {
        assert_eq!(found(name), vec![serde_json::Value::from(commit.to_string()); count], "{name}");
    }
    // Nothing is left that floats, but for what is no git.
    let floating = fs::read_dir(project.topdir("good").join("kbuild/floating")).unwrap();
    let floating: Vec<_> = floating.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(floating, ["drifter.json"]);
    // Asked again, BitBake still says what floats, whatever the lock has.
    assert_eq!(project.discover("good").unwrap(), report);
}

#[test]
fn another_machine_fetches_something_else() {
    let project = Project::new(MANIFEST);
    let report = project.discover("harbour").unwrap();
    assert_eq!(report.recipes.len(), 1);
    let git = recipe(&report, "autorev").fetches[0].git.clone().unwrap();
    assert_eq!(git.commit.map(|commit| commit.len()), Some(40));
    assert!(report.floating.iter().all(|floating| floating.recipe != "autorev"), "{:?}", report.floating);
}

#[test]
fn another_build_host_fetches_something_else() {
    let project = Project::new(&MANIFEST.replace("\"closure-image\"", "\"snapshot\""));
    for host in ["riscv64", this_machine().as_str()] {
        let report = project.with("good", &[], host, builder::discover).unwrap();
        let names: Vec<_> =
            recipe(&report, "snapshot").fetches.iter().map(|fetch| fetch.file.clone().unwrap()).collect();
        assert_eq!(names, [format!("snapshot-{host}.tar.xz")]);
        // uninative has no checksum for the one, and is what builds of the other start with.
        let extra: Vec<_> = report.extra.iter().map(|fetch| fetch.written.as_str()).collect();
        if host == "riscv64" {
            assert_eq!((extra.len(), report.notes.len()), (0, 3), "{:?}", report.notes);
            assert!(report.notes.iter().any(|note| note.contains("no UNINATIVE_CHECKSUM for riscv64")));
        } else {
            let sum = "ab".repeat(32);
            assert_eq!(
                extra,
                [format!("https://upstream.example/uninative/{host}-nativesdk-libc-1.tar.xz;sha256sum={sum}")]
            );
            assert_eq!(
                report.extra[0].local.as_deref(),
                Some(&*format!("uninative/{sum}/{host}-nativesdk-libc-1.tar.xz"))
            );
        }
    }
}

#[test]
fn an_option_and_a_multiconfig_have_their_own_closures() {
    let manifest = MANIFEST
        .replace("[\"closure-image\"]", "[\"twin-a\", \"mc:other:autorev\"]")
        .replace("[config]", "[config]\nBBMULTICONFIG = \"other\"\n\"SRC_URI:append:closure-more\" = \" https://upstream.example/more;unpack=0\"");
    let project = Project::new(&manifest);
    let report = project.discover("good").unwrap();
    let names: Vec<&str> = report.recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["mc:other:autorev", "twin-a"]);
    assert!(report.recipes.iter().all(|recipe| recipe.wanted_by.is_none()));
    // `other` is for a machine where its commit is known; the default is not, and nobody has to build it to know that.
    assert!(recipe(&report, "mc:other:autorev").fetches[0].git.as_ref().unwrap().commit.is_some());
    let floats = |name: &str| report.floating.iter().any(|floating| floating.recipe == name);
    assert_eq!((floats("autorev"), floats("mc:other:autorev"), floats("mc:other:strays")), (true, false, true));

    let more = project.with("good", &["more"], &this_machine(), builder::discover).unwrap();
    let files = |report: &DiscoveryReport| recipe(report, "twin-a").fetches.len();
    assert_eq!((files(&report), files(&more)), (1, 2));
}

#[test]
fn a_multiconfig_keeps_the_tmpdir_that_it_names() {
    let mut project = Project::new(&MANIFEST.replace("[config]", "[config]\nBBMULTICONFIG = \"other\""));
    project.lock.boards.insert("good".to_owned(), LockedBoard::default());
    let script = "for t in twin-a mc:other:twin-a; do bitbake -e $t | grep '^TMPDIR='; done > out";
    let names = |said: &str| -> Vec<String> {
        said.lines().map(|line| line.trim_end_matches('"').rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&project.script("good", script)), ["tmp", "tmp"]);
    let conf = project.directory.path().join("project/closure-layer/conf/multiconfig/other.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}TMPDIR = \"${{TOPDIR}}/tmp-other\"\n")).unwrap();
    assert_eq!(names(&project.script("good", script)), ["tmp", "tmp-other"]);

    // oe-core up to 5.0 appends the C library's name, and its base.bbclass uses TMPDIR before kbuild's class is asked.
    let layer = project.directory.path().join("project/meta-mini");
    let add = |file: &str, text: &str| {
        let path = layer.join(file);
        fs::write(&path, format!("{}{text}", fs::read_to_string(&path).unwrap())).unwrap();
    };
    add("conf/machine/lantern.conf", "TMPDIR .= \"-libc\"\n");
    add(
        "classes/base.bbclass",
        "addhandler early\nearly[eventmask] = \"bb.event.ConfigParsed\"\npython early() {\n    \
         if (d.getVar('BB_CURRENT_MC') or 'default') == 'default':\n        \
         open(d.expand('${TOPDIR}/early'), 'w').write(d.getVar('TMPDIR'))\n}\n",
    );
    assert_eq!(names(&project.script("good", script))[0], "tmp");
    let early = fs::read_to_string(project.directory.path().join("project/build/good/early")).unwrap();
    assert!(early.ends_with("/build/good/tmp"), "{early}");
}

/// How many recipes of a warm cache BitBake parses for a build with these options.
fn parsed(project: &Project, set: &[&str]) -> usize {
    let said = project.script_with("good", set, "bitbake -p > out");
    let parsed = said.split_once(" cached, ").and_then(|(_, rest)| rest.split_once(" parsed"));
    parsed.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap()
}

#[test]
fn another_choice_parses_only_the_recipes_that_look_at_it() {
    let mut project = Project::new(&MANIFEST.replace("[boards.good]", NEVER));
    project.lock.boards.insert("good".to_owned(), LockedBoard::default());
    parsed(&project, &[]);
    // What floats is parsed every time, so that a warm cache hides nothing.
    let always = parsed(&project, &[]);
    assert_eq!(parsed(&project, &["more"]), always + 1);
    assert_eq!(parsed(&project, &["more"]), always);
    assert_eq!(parsed(&project, &["never", "more"]), always + 1);
    assert_eq!(parsed(&project, &[]), always + 1);
    assert_eq!(project.caches("good").len(), 1);
}

#[test]
fn a_choice_comes_and_goes_without_a_trace() {
    let project = Project::new(&MANIFEST.replace("closure-image", "chooser").replace("[boards.good]", NEVER));
    let fetches = |set: &[&str]| -> Result<usize, Error> {
        let report = project.with("good", set, &this_machine(), builder::discover)?;
        Ok(recipe(&report, "chooser").fetches.len())
    };
    assert_eq!(fetches(&[]).unwrap(), 1);
    assert_eq!(fetches(&["more"]).unwrap(), 2);
    let never = fetches(&["never"]).unwrap_err().to_string();
    assert!(never.contains("nothing is chosen with closure-never"), "{never}");
    // A skipped recipe comes back, and as what it was.
    assert_eq!(fetches(&["more"]).unwrap(), 2);
    assert_eq!(fetches(&[]).unwrap(), 1);
    assert_eq!(project.caches("good").len(), 1);
}

const NEVER: &str = "[options.never]\nflag = \"closure-never\"\n[boards.good]";

#[test]
fn a_choice_that_the_configuration_looks_at_parses_every_recipe() {
    let config = r#"[config]
"SRC_URI:append" = "${@' https://upstream.example/more;unpack=0' if 'closure-more' in d.getVar('OVERRIDES').split(':') else ''}"
"#;
    let project = Project::new(&MANIFEST.replace("closure-image", "plain").replace("[config]", config));
    let fetches = |set: &[&str]| {
        let report = project.with("good", set, &this_machine(), builder::discover).unwrap();
        recipe(&report, "plain").fetches.len()
    };
    let plain = fetches(&[]);
    assert_eq!(fetches(&["more"]), plain + 1);
    assert_eq!(fetches(&[]), plain);
}

#[test]
fn what_cannot_be_locked_is_named_with_its_place() {
    let project = Project::new(MANIFEST);
    let report = project.discover("bad").unwrap();
    let place = |problem: &Problem| {
        let line = problem.line.map(|line| line.to_string()).unwrap_or_default();
        format!("{}:{line}: {}\n    {}", problem.file, problem.written, problem.why)
    };
    let problems: Vec<String> = report.recipes.iter().flat_map(|recipe| &recipe.problems).map(place).collect();
    insta::assert_snapshot!("problems", problems.join("\n"));
    // What is good of a bad recipe is there all the same.
    let urls: Vec<&str> = recipe(&report, "badly").fetches.iter().map(|fetch| fetch.url.as_str()).collect();
    assert_eq!(urls, ["https://upstream.example/good.tar.gz"]);
}

#[test]
fn layers_that_cannot_be_parsed_end_it_with_bitbakes_own_words() {
    let project = Project::new(&MANIFEST.replace("\"/recipes-broken/\"", "\"/recipes-none/\""));
    let error = project.discover("good").unwrap_err();
    assert_eq!(error.kind(), Kind::Engine);
    let text = error.to_string();
    assert!(text.contains("/recipes-broken/unknown/unknown.bb") && text.contains("fossil://"), "{text}");
    assert!(!text.contains("Traceback"), "{text}");

    let project = Project::new(&MANIFEST.replace("closure-image", "no-such-recipe"));
    let error = project.discover("good").unwrap_err();
    assert_eq!(error.kind(), Kind::Engine);
    assert!(error.to_string().contains("no-such-recipe"), "{error}");
}

#[test]
fn the_class_changes_no_task() {
    // Without the class nothing parses that floats.
    let floats = "\"/recipes-out/\" = \"floats\"\n\"/recipes/(autorev|tagged|branched)/\" = \"float\"";
    let mut project = Project::new(&MANIFEST.replace("[closure.mask]", &format!("[closure.mask]\n{floats}")));
    project.lock.boards.insert("good".to_owned(), LockedBoard::default());
    // With it, then without: the names of signature files hold the hashes of the tasks.
    let signatures = "bitbake -qq -S none plain files crates tool-sibling >/dev/null; \
                      find tmp/stamps -name '*.sigdata.*' | grep -v do_kbuild_ | sort";
    let without = "rm -rf tmp/stamps; sed -i /kbuild-lock/d conf/kbuild.conf";
    let script =
        format!("({signatures}) > with; {without}; ({signatures}) > without; diff with without; cat with > out");
    let text = project.script("good", &script);
    assert!(text.lines().count() >= 16, "{text}");
}
