//! A board built for real: BitBake from PyPI, the quickstart's little distribution, sources in a store, no upstream running.
//! The lock is written by hand here, so that nothing of resolving or fetching is needed.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kbuild::bitbake::Job;
use kbuild::builder::{self, BuildDir, BuildOutput, BuildRequest, BuildResult, result};
use kbuild::lock::{Content, Lock, LockedBoard, LockedFile, LockedGit, Pin};
use kbuild::manifest::Manifest;
use kbuild::source::{CommitId, GitRef, SourceId, SourceUrl, name};
use kbuild::store::{Store, tree};
use kbuild::{Error, Kind};

mod common;

use common::{UPSTREAMS, Warnings, repository_file, run};

/// A project with its lock and its store.
struct Project {
    directory: tempfile::TempDir,
    manifest: Manifest,
    lock: Lock,
    store: Store,
    warnings: Warnings,
}

impl Project {
    fn new() -> Project {
        let directory = tempfile::tempdir().unwrap();
        let example = repository_file("examples/quickstart");
        let project = directory.path().join("project");
        fs::create_dir(&project).unwrap();
        fs::copy(example.join("kata.toml"), project.join("kata.toml")).unwrap();
        run("cp", &[Path::new("-rL"), &example.join("layers"), &project]);
        let manifest = Manifest::read(&project.join("kata.toml")).unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let lock = lock_by_hand(&manifest, &store);
        Project { directory, manifest, lock, store, warnings: Warnings::default() }
    }

    fn build(&self, board: &str, set: &[&str], task: Option<&str>) -> Result<BuildResult, Error> {
        let set: Vec<String> = set.iter().map(|word| (*word).to_owned()).collect();
        let selection = self.manifest.select(board, &set).unwrap();
        let prepared = builder::prepare(&self.request(board, &selection), BuildDir::Build)?;
        builder::run(&prepared, &Job { task, ..Job::default() }, BuildOutput::Progress, &self.warnings)
    }

    fn request<'a>(&'a self, board: &'a str, selection: &'a kbuild::manifest::Selection) -> BuildRequest<'a> {
        BuildRequest {
            asked: kbuild::builder::Asked::Targets(&[]),
            manifest: &self.manifest,
            lock: &self.lock,
            store: &self.store,
            board,
            selection,
            kbuild: Path::new(env!("CARGO_BIN_EXE_kbuild")),
            require_seal: false,
            changes: builder::layers::LayerChanges::NONE,
            cache: None,
            jobs: 1,
            progress: &self.warnings,
        }
    }

    fn topdir(&self, board: &str) -> PathBuf {
        self.directory.path().join("project/build").join(board)
    }
}

fn lock_by_hand(manifest: &Manifest, store: &Store) -> Lock {
    let upstreams = UPSTREAMS.path().join("upstreams");
    let url = |name: &str| format!("https://upstream.example/{name}").parse::<SourceUrl>().unwrap();
    let mut lock = Lock::default();
    let mut git = |name: &str, branch: &str, submodules: BTreeMap<String, String>| {
        let repository = upstreams.join(format!("{name}.git"));
        let commit = run("git", &[Path::new("-C"), &repository, Path::new("rev-parse"), Path::new(branch)]);
        let commit: CommitId = commit.parse().unwrap();
        let tree = tree::of_commit(&kbuild::git::open_objects(&repository).unwrap(), &commit).unwrap();
        store.add_git(&repository, &commit, tree).unwrap();
        let url = url(&format!("{name}.git"));
        let key = name::git_key(&url, &commit);
        let reference = GitRef { branch: Some(branch.to_owned()), tag: None, rev: None };
        let refs = reference.full_names().into_iter().collect();
        let request = kbuild::lock::Request::Git {
            url: url.clone(),
            reference,
            version: None,
            submodules: !submodules.is_empty(),
            history: false,
            lfs: true,
            signers: Vec::new(),
        };
        let locked = LockedGit {
            url,
            refs,
            clones: BTreeSet::new(),
            commit,
            tree: Some(tree),
            history: false,
            recursive: false,
            submodules,
            lfs: BTreeMap::new(),
            without_lfs: false,
        };
        lock.gits.insert(key.clone(), locked);
        Pin::new(request, SourceId::Git(key))
    };
    let engine = git("bitbake", "2.19", BTreeMap::new());
    let cargo = git("cargo", "main", BTreeMap::new());
    let child = BTreeMap::from([("cargo".to_owned(), cargo.locked.key().to_owned())]);
    let pins = [
        ("greeter", git("greeter", "main", BTreeMap::new())),
        ("tidings", git("tidings", "main", BTreeMap::new())),
        ("ferry", git("ferry", "main", child)),
    ];
    lock.layers.insert("bitbake".to_owned(), engine);
    lock.sources.extend(pins.into_iter().map(|(name, pin)| (name.to_owned(), pin)));

    let tarball = "hello-1.0.tar.gz";
    let digests = store.add_file(&upstreams.join(tarball)).unwrap();
    let content = Some(Content { blake3: digests.blake3, size: digests.size });
    lock.files.insert(
        tarball.to_owned(),
        LockedFile { name: None, urls: vec![url(tarball)], sha256: digests.sha256, stated_size: None, content },
    );
    let request = kbuild::lock::Request::File { url: url(tarball), version: Some("1.0".to_owned()) };
    lock.sources.insert("hello".to_owned(), Pin::new(request, SourceId::File(tarball.to_owned())));

    for board in manifest.boards.keys() {
        let ids = manifest.sources_of(board).map(|(name, _)| lock.sources[name].locked.clone());
        let ids: BTreeSet<SourceId> = ids.collect();
        lock.boards.insert(board.clone(), LockedBoard { sources: ids, ..LockedBoard::default() });
    }
    lock
}

fn paths(result: &BuildResult) -> Vec<&str> {
    result.artifacts.iter().map(|artifact| artifact.path.as_str()).collect()
}

#[test]
fn two_boards_are_built_without_upstreams_and_a_second_project_gets_the_same_bytes() {
    let project = Project::new();
    let lantern = project.build("lantern", &[], None).unwrap();
    let images = ["greeter", "hello", "mini-image-lantern.cpio.gz", "mini-image-lantern.manifest", "tidings"];
    assert_eq!(paths(&lantern), images);
    let harbour = project.build("harbour", &[], None).unwrap();
    assert!(paths(&harbour).contains(&"ferry"), "{:?}", paths(&harbour));
    assert_ne!(lantern.inputs.lock, harbour.inputs.lock);
    assert_eq!(BuildResult::read(&project.topdir("lantern").join(result::FILE_NAME)).unwrap(), lantern);
    assert_eq!(lantern.inputs.engine.version, "2.19.0");

    // Elsewhere, from nothing: all of the result agrees, not only the artifacts.
    let other = Project::new();
    assert_eq!(other.build("lantern", &[], None).unwrap(), lantern);
    // An option is seen by the recipes.
    let loud = other.build("lantern", &["loud"], None).unwrap();
    let differ: Vec<String> =
        builder::compare(&lantern.artifacts, &loud.artifacts).into_iter().map(|d| d.path).collect();
    assert_eq!(differ, ["hello", "mini-image-lantern.cpio.gz", "mini-image-lantern.manifest"]);
}

#[test]
fn a_build_is_checked_by_building_it_again_from_nothing() {
    let project = Project::new();
    let selection = project.manifest.select("lantern", &[]).unwrap();
    let request = project.request("lantern", &selection);
    let first = builder::check(&request, &Job::default(), BuildOutput::Progress).unwrap();
    assert_eq!(first.artifacts.len(), 5);
    assert!(project.topdir("lantern.check").join("tmp/deploy").is_dir());

    // A recipe that takes the time of day into what it makes is found out, and named.
    let recipe = project.directory.path().join("project/layers/meta-mini/recipes/mini-image/mini-image.bb");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(
        &recipe,
        format!(
            "{text}\ndo_deploy:append() {{\n    import time\n    open(out + '/when', 'w').write(str(time.time()))\n}}\n"
        ),
    )
    .unwrap();
    let error = builder::check(&request, &Job::default(), BuildOutput::Progress).unwrap_err();
    assert_eq!(error.kind(), Kind::NotReproducible);
    assert!(error.to_string().ends_with("do not agree on 1 artifacts:\n  when: other bytes"), "{error}");

    // Nothing deployed is not a success, whatever an earlier build left in the first directory.
    assert_eq!(
        builder::check(&request, &Job { task: Some("fetch"), ..Job::default() }, BuildOutput::Progress)
            .unwrap_err()
            .kind(),
        Kind::Input
    );
}

#[test]
fn a_wrong_byte_in_the_store_is_refused_before_bitbake_sees_it() {
    let project = Project::new();
    let content = project.lock.files["hello-1.0.tar.gz"].content.unwrap();
    let blob = project.store.blob_path(&content.blake3);
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, bytes).unwrap();
    let error = project.build("lantern", &[], None).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
    assert!(!project.topdir("lantern").join("tmp").exists());
}

#[test]
fn a_source_that_was_never_seen_is_left_to_bitbake_and_one_that_was_is_missed_at_once() {
    let mut project = Project::new();
    let file = project.lock.files.get_mut("hello-1.0.tar.gz").unwrap();
    file.sha256 = [7; 32].into();
    let content = file.content.replace(Content { blake3: [7; 32].into(), size: 1 });
    assert!(content.is_some());
    assert_eq!(project.build("lantern", &[], None).unwrap_err().kind(), Kind::Missing);

    project.lock.files.get_mut("hello-1.0.tar.gz").unwrap().content = None;
    let error = project.build("lantern", &[], None).unwrap_err();
    assert_eq!(error.kind(), Kind::Engine, "{error}");
    // The mini distribution says nothing of a log, so it is where oe-core would keep it.
    let log = "build/lantern/tmp/log/cooker/lantern/console-latest.log";
    assert!(error.hint().unwrap().contains(log), "{:?}", error.hint());
    let text = fs::read_to_string(project.directory.path().join("project").join(log)).unwrap();
    assert!(text.contains("hello"), "{text}");
    let warnings = project.warnings.0.lock().unwrap().clone();
    assert!(
        warnings.iter().any(|warning| warning.starts_with("file:hello-1.0.tar.gz is incomplete in the lock")),
        "{warnings:?}"
    );
    // A failed build leaves no result that could be taken for its own.
    assert!(!project.topdir("lantern").join(result::FILE_NAME).exists());
}

#[test]
fn what_a_recipe_puts_in_place_of_a_directory_leads_kbuild_nowhere() {
    let project = Project::new();
    let selection = project.manifest.select("lantern", &[]).unwrap();
    let prepare = || builder::prepare(&project.request("lantern", &selection), BuildDir::Build).map(drop).unwrap();
    prepare();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "of somebody").unwrap();
    for name in ["classes", "conf", "hashserv", "home", "kbuild", "scratch", "sources", "sstate-cache"] {
        let path = project.topdir("lantern").join(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        std::os::unix::fs::symlink(outside.path(), &path).unwrap();
    }
    prepare();
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["precious"]);
}

#[test]
fn a_shell_has_what_a_build_has() {
    let project = Project::new();
    let selection = project.manifest.select("lantern", &["loud".to_owned()]).unwrap();
    let prepared = builder::prepare(&project.request("lantern", &selection), BuildDir::Build).unwrap();
    let words = |text: &str| -> Vec<std::ffi::OsString> { ["sh", "-c", text].map(Into::into).to_vec() };
    let script = "pwd > out; echo $HOME >> out; (touch ../../../store/x) 2>> out; \
                  bitbake-getvar --version > /dev/null 2>&1; bitbake -e hello | grep '^GREETING=' >> out; exit 9";
    assert_eq!(builder::shell(&prepared, &words(script), None, &kbuild::progress::Silent).unwrap(), 9);
    let topdir = prepared.topdir().to_owned();
    let out = fs::read_to_string(topdir.join("out")).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], [topdir.to_str().unwrap(), &format!("{}/home", topdir.display())]);
    if prepared.seal().is_whole() {
        assert!(lines[2].contains("Read-only"), "{out}");
    }
    assert_eq!(lines.last(), Some(&"GREETING=\"HELLO!\""));
    let unknown: Vec<std::ffi::OsString> = vec!["no-such-program".into()];
    assert_eq!(builder::shell(&prepared, &unknown, None, &kbuild::progress::Silent).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn a_second_build_of_one_board_waits_for_the_first() {
    let project = Project::new();
    let selection = project.manifest.select("lantern", &[]).unwrap();
    let first = builder::prepare(&project.request("lantern", &selection), BuildDir::Build).unwrap();
    std::thread::scope(|scope| {
        let second =
            scope.spawn(|| builder::prepare(&project.request("lantern", &selection), BuildDir::Build).map(drop));
        while project.warnings.0.lock().unwrap().iter().all(|warning| !warning.contains("waiting for it")) {
            assert!(!second.is_finished(), "the second did not wait");
            std::thread::yield_now();
        }
        drop(first);
        second.join().unwrap().unwrap();
    });
}
