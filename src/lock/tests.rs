use std::path::Path;

use super::*;

const PATH: &str = "kata.lock";

fn hex(digit: char, len: usize) -> String {
    std::iter::repeat_n(digit, len).collect()
}

fn file_source(lock: &mut Lock, name: &str, digit: char) {
    let url: SourceUrl = format!("https://h.example/{name}").parse().unwrap();
    let content = Some(Content { blake3: hex(digit, 64).parse().unwrap(), size: 7 });
    let file = LockedFile {
        name: None,
        urls: vec![url.clone()],
        sha256: hex(digit, 64).parse().unwrap(),
        stated_size: None,
        content,
    };
    lock.files.insert(name.to_owned(), file);
    let locked = SourceId::File(name.to_owned());
    let request = Request::File { url, version: Some("1.0".into()) };
    lock.sources.insert(name.trim_end_matches(".tar.gz").to_owned(), Pin::new(request, locked.clone()));
    lock.boards.entry("qemu".into()).or_default().sources.insert(locked);
}

fn sample() -> Lock {
    let mut lock = Lock::default();
    file_source(&mut lock, "linux.tar.gz", 'a');
    file_source(&mut lock, "qemu.tar.gz", 'b');
    lock.files.get_mut("qemu.tar.gz").unwrap().content = None;
    let url: SourceUrl = "https://git.example/layer".parse().unwrap();
    let child_url: SourceUrl = "https://git.example/child".parse().unwrap();
    let commit: CommitId = hex('c', 40).parse().unwrap();
    let child = crate::source::name::git_key(&child_url, &commit);
    let key = crate::source::name::git_key(&url, &commit);
    let git = |url: &SourceUrl| LockedGit {
        clones: BTreeSet::new(),
        recursive: false,
        url: url.clone(),
        refs: BTreeSet::new(),
        commit,
        tree: Some(hex('d', 64).parse().unwrap()),
        history: false,
        submodules: BTreeMap::new(),
        lfs: BTreeMap::new(),
        without_lfs: false,
    };
    let mut parent = git(&url);
    parent.refs = ["refs/heads/main".to_owned(), "refs/tags/v1".to_owned()].into();
    parent.submodules.insert("deps/a b".into(), child.clone());
    lock.gits.insert(child, git(&child_url));
    lock.gits.insert(key.clone(), parent);
    let reference = GitRef { branch: Some("main".into()), tag: None, rev: None };
    let request = Request::Git {
        url,
        reference,
        version: None,
        submodules: true,
        history: false,
        lfs: true,
        signers: Vec::new(),
    };
    lock.layers.insert("layer".into(), Pin::new(request, SourceId::Git(key.clone())));
    lock.boards.entry("qemu".into()).or_default().sources.insert(SourceId::Git(key));
    lock
}

#[test]
fn the_text_is_stable_and_read_back_whole() {
    let lock = sample();
    insta::assert_snapshot!(lock.to_string());
    let read = text::parse(&lock.to_string(), Path::new(PATH)).unwrap();
    assert_eq!(read, lock);
    assert_eq!(read.to_string(), lock.to_string());
}

#[test]
fn an_image_makes_it_revision_1_and_reads_back() {
    let mut lock = sample();
    assert!(lock.to_string().contains("revision = 0\n"));
    let locked = SourceId::File("linux.tar.gz".into());
    let request = ImageAsked {
        image: ImageName::read("alpine:3.23").unwrap(),
        version: Some("3.23".into()),
        architectures: vec!["x86_64".into()],
    };
    let image =
        LockedImage { request, digest: hex('e', 64).parse().unwrap(), locked: [("x86_64".into(), locked)].into() };
    lock.images.insert("alpine".into(), image);
    let text = lock.to_string();
    assert!(text.contains("revision = 1\n") && text.contains("oci = \"docker.io/library/alpine:3.23\"\n"), "{text}");
    assert_eq!(text::parse(&text, Path::new(PATH)).unwrap(), lock);
    assert_eq!(lock.named("alpine"), [SourceId::File("linux.tar.gz".into())]);
    let dangling = text.replace("x86_64 = \"file:linux", "x86_64 = \"file:gone");
    assert_eq!(text::parse(&dangling, Path::new(PATH)).unwrap_err().kind(), Kind::Input);
}

#[test]
fn an_unchanged_lock_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kbuild.lock");
    assert!(sample().write(&path).unwrap());
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert!(!sample().write(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[test]
fn a_newer_version_is_refused_and_a_newer_revision_is_read() {
    let newer = sample().to_string().replace("version = 1\n", "version = 2\n");
    let error = text::parse(&newer, Path::new(PATH)).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let additive = sample().to_string().replace("revision = 0", "revision = 9\nfresh = true");
    assert_eq!(text::parse(&additive, Path::new(PATH)).unwrap(), sample());
}

#[test]
fn a_lock_cannot_name_paths_or_dangle() {
    let text = sample().to_string();
    for (from, to) in [
        ("[file.\"linux.tar.gz\"]", "[file.\"../linux.tar.gz\"]"),
        ("refs/heads/main", "refs/heads/../../x"),
        ("locked = \"file:qemu.tar.gz\"", "locked = \"file:gone.tar.gz\""),
        ("[git.\"git.example.child@cccccccccccc\"]", "[git.\"x/../y\"]"),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{from} is not in the sample");
        assert_eq!(text::parse(&bad, Path::new(PATH)).unwrap_err().kind(), Kind::Input, "{to}");
    }
}

#[test]
fn incomplete_entries_are_listed_and_pruning_keeps_submodules() {
    let mut lock = sample();
    assert_eq!(lock.incomplete(), [SourceId::File("qemu.tar.gz".into())]);
    let whole = lock.clone();
    lock.prune();
    assert_eq!(lock, whole);
    assert_eq!(lock.closure(["qemu"]).unwrap().len(), 4);
    assert_eq!(lock.closure(["pi"]).unwrap_err().kind(), Kind::Stale);
    lock.layers.clear();
    lock.boards.clear();
    lock.prune();
    assert!(lock.gits.is_empty());
    assert_eq!(lock.files.len(), 2);
}

/// Merges two texts over their base with git's own three-way merge.
fn git_merge(ours: &Lock, base: &Lock, theirs: &Lock) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, lock) in [("ours", ours), ("base", base), ("theirs", theirs)] {
        std::fs::write(directory.path().join(name), lock.to_string()).unwrap();
    }
    let output = std::process::Command::new("git")
        .args(["merge-file", "-p", "ours", "base", "theirs"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn branches_that_add_different_sources_merge() {
    let base = sample();
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    file_source(&mut ours, "ceph.tar.gz", 'e');
    file_source(&mut theirs, "zlib.tar.gz", 'f');
    let text = git_merge(&ours, &base, &theirs);
    assert!(merge::sides(&text).is_none(), "{text}");
    let merged = text::parse(&text, Path::new(PATH)).unwrap();
    assert_eq!(merged.to_string(), text, "the merged text is what kbuild itself would write");
    assert_eq!(merged.files.len(), 4);
}

#[test]
fn conflict_markers_are_read_as_both_sides() {
    let base = sample();
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    // Both add at the same place, and both move linux, to different bytes.
    file_source(&mut ours, "rust-a.tar.gz", 'e');
    file_source(&mut theirs, "rust-b.tar.gz", 'f');
    file_source(&mut ours, "linux.tar.gz", '1');
    file_source(&mut theirs, "linux.tar.gz", '2');
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kbuild.lock");
    std::fs::write(&path, git_merge(&ours, &base, &theirs)).unwrap();

    assert_eq!(Lock::read(&path).unwrap_err().kind(), Kind::Stale);
    let merged = Lock::read_merging(&path).unwrap().unwrap();
    assert!(merged.files.contains_key("rust-a.tar.gz") && merged.files.contains_key("rust-b.tar.gz"));
    assert!(merged.files.contains_key("qemu.tar.gz"));
    assert!(!merged.files.contains_key("linux.tar.gz"), "what they disagree on is resolved again");
    assert!(!merged.sources.contains_key("linux"));
    assert_eq!(merged.layers, base.layers);
}

#[test]
fn diff3_markers_are_understood() {
    let text = "a\n<<<<<<< ours\nb\n||||||| base\nx\n=======\nc\n>>>>>>> theirs\nd\n";
    assert_eq!(merge::sides(text), Some(("a\nb\nd\n".to_owned(), "a\nc\nd\n".to_owned())));
    assert_eq!(merge::sides("a\n=======\nb\n"), None);
}

mod queries;

#[test]
fn folders_are_read_in_both_forms_and_merge_file_by_file() {
    let files = |files: &[(&str, u8)]| {
        LockedFolder::Files(files.iter().map(|(name, digit)| ((*name).to_owned(), [*digit; 32].into())).collect())
    };
    let with = |new: LockedFolder| {
        let folders = [("old".to_owned(), LockedFolder::Whole([1; 32].into())), ("new".to_owned(), new)];
        Lock { folders: folders.into(), ..Lock::default() }
    };
    let base = with(files(&[("a.bb", 1), ("conf/b.conf", 1)]));
    let text = base.to_string();
    assert!(text.contains("revision = 4\n") && text.contains("\n[folders.new]\n\"a.bb\" = \""), "{text}");
    assert_eq!(Lock::read_text_of(&text), base);
    let none = with(files(&[]));
    assert_eq!(Lock::read_text_of(&none.to_string()), none);

    let ours = with(files(&[("a.bb", 2), ("conf/b.conf", 1), ("ours.bb", 1)]));
    let theirs = with(files(&[("a.bb", 3), ("conf/b.conf", 1), ("theirs.bb", 1)]));
    // What both changed is left out, and so counts as edited.
    let both = files(&[("conf/b.conf", 1), ("ours.bb", 1), ("theirs.bb", 1)]);
    assert_eq!(merge::union(&ours, &theirs), with(both));
}

/// A lock with a closure of one recipe, whose inputs and version are given.
fn with_recipe(inputs: char, version: &str, more: &[&str]) -> Lock {
    let mut lock = sample();
    let recipe = |version: &str| LockedRecipe {
        version: version.to_owned(),
        layer: "core".into(),
        file: format!("recipes/r_{version}.bb"),
        license: "MIT".into(),
        sources: [SourceId::File("linux.tar.gz".into())].into(),
    };
    let board = lock.boards.get_mut("qemu").unwrap();
    let mut closure = Closure { inputs: hex(inputs, 64).parse().unwrap(), ..Closure::unfinished() };
    for (name, version) in [("r", version)].into_iter().chain(more.iter().map(|name| (*name, "1"))) {
        closure.recipes.insert(name.into(), Need::Target);
        lock.recipes.insert(name.into(), recipe(version));
    }
    board.closure = Some(closure);
    lock
}

#[test]
fn closures_that_both_sides_changed_are_merged_and_left_open() {
    let base = with_recipe('1', "1", &["gone"]);
    let (ours, theirs) = (with_recipe('2', "2", &["ours"]), with_recipe('3', "1", &["gone", "theirs"]));
    let merged = ThreeWayMerge::of(&base, &ours, &theirs).unwrap();
    assert!(merged.conflicts.is_empty(), "{:?}", merged.conflicts);
    assert_eq!(merged.open, ["qemu".to_owned()].into());
    let closure = merged.ours.boards["qemu"].closure.as_ref().unwrap();
    assert_eq!(closure.inputs, Closure::unfinished().inputs);
    assert_eq!(closure.recipes.keys().collect::<Vec<_>>(), ["ours", "r", "theirs"]);
    assert_eq!(merged.ours.recipes["r"].version, "2", "one side alone changed it");
    assert!(!merged.ours.recipes.contains_key("gone"));
    let text = merged.text(Path::new(PATH));
    assert!(!text.contains("<<<<<<<"), "{text}");
    assert_eq!(text::parse(&text, Path::new(PATH)).unwrap(), merged.ours);
    // What only one side changed is as that side has it.
    let merged = ThreeWayMerge::of(&base, &ours, &base).unwrap();
    assert_eq!((merged.ours, merged.open.len()), (ours.clone(), 0));
    let merged = ThreeWayMerge::of(&base, &base, &theirs).unwrap();
    assert_eq!(merged.ours, theirs);
    // A recipe that both changed is for BitBake to say, not for people.
    let merged = ThreeWayMerge::of(&base, &ours, &with_recipe('2', "3", &["ours"])).unwrap();
    assert!(merged.conflicts.is_empty());
    assert_eq!(merged.open, ["qemu".to_owned()].into());
}

#[test]
fn what_both_sides_chose_differently_is_a_conflict_that_reading_understands() {
    let base = sample();
    let with = |name: &str, digit: char| {
        let mut lock = base.clone();
        lock.sources.remove("linux");
        lock.files.remove("linux.tar.gz");
        lock.boards.get_mut("qemu").unwrap().sources.remove(&SourceId::File("linux.tar.gz".into()));
        file_source(&mut lock, name, digit);
        let pin = lock.sources.remove(name.trim_end_matches(".tar.gz")).unwrap();
        lock.sources.insert("linux".into(), pin);
        lock
    };
    let (ours, theirs) = (with("linux-2.tar.gz", '2'), with("linux-3.tar.gz", '3'));
    let merged = ThreeWayMerge::of(&base, &ours, &theirs).unwrap();
    assert_eq!(merged.conflicts, ["source linux".to_owned()].into());
    let text = merged.text(Path::new(PATH));
    let (mine, other) = merge::sides(&text).unwrap();
    assert_eq!(text::parse(&mine, Path::new(PATH)).unwrap(), merged.ours);
    assert_eq!(text::parse(&other, Path::new(PATH)).unwrap(), merged.theirs);
    // Removed on one side, moved on the other.
    let mut removed = base.clone();
    removed.sources.remove("linux");
    let merged = ThreeWayMerge::of(&base, &removed, &theirs).unwrap();
    assert_eq!(merged.conflicts, ["source linux".to_owned()].into());
}
