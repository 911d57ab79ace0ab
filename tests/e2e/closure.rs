//! A closure with every fetcher: found by real BitBake, fetched from upstreams, verified without them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild::lock::{Lock, Locked};
use kbuild::source::SourceId;
use kbuild::store::Store;
use serde_json::Value;

use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{Upstreams, copy, engine, git, repository, upstreams};
use kbuild_test::sha256;

/// The contents of the upstreams of the fixture's layer, and the variables with which its recipes refer to them.
struct Made {
    directory: PathBuf,
    config: BTreeMap<String, String>,
}

impl Made {
    /// A file under a path of the server; its sha256 as `CLOSURE_SHA256_<name>`.
    fn file(&mut self, name: &str, path: &str, bytes: &[u8]) {
        let place = self.directory.join(path);
        fs::create_dir_all(place.parent().expect("a directory")).expect("directories");
        fs::write(place, bytes).expect("a file");
        if !name.is_empty() {
            self.config.insert(format!("CLOSURE_SHA256_{name}"), sha256(bytes));
        }
    }

    /// A tarball of one directory with one file.
    fn tarball(&mut self, name: &str, path: &str, directory: &str) {
        let bytes = tarball(directory, &[("content", name)]);
        self.file(name, path, &bytes);
    }

    /// A repository with a commit on a branch; returns the commit.
    fn repository(&mut self, path: &str, branch: &str, prepare: impl FnOnce(&Path)) -> String {
        let work = self.directory.join(format!("work-{}", path.replace('/', "-")));
        fs::create_dir_all(&work).expect("a directory");
        git(&work, &["init", "-q", "-b", branch]);
        fs::write(work.join("README"), path).expect("a file");
        prepare(&work);
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "A commit"]);
        let bare = self.directory.join(path);
        git(&self.directory, &["clone", "-q", "--bare", &work.display().to_string(), &bare.display().to_string()]);
        git(&work, &["rev-parse", "HEAD"])
    }

    fn revision(&mut self, name: &str, commit: &str) {
        self.config.insert(format!("CLOSURE_REV_{name}"), commit.to_owned());
    }
}

fn tarball(directory: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("{directory}/{name}"), text.as_bytes()).expect("an entry");
    }
    gzip(&builder.into_inner().expect("a tarball"))
}

/// By the program: `gzip` unpacks too.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-n", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("gzip starts");
    let mut input = child.stdin.take().expect("its input");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("a thread").expect("written");
    output.stdout
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("an entry");
        writer.write_all(text.as_bytes()).expect("written");
    }
    writer.finish().expect("an archive").into_inner()
}

/// Everything that the recipes of the fixture's layer fetch.
fn make(directory: &Path) -> Made {
    let mut made = Made { directory: directory.to_owned(), config: BTreeMap::new() };
    made.tarball("archive", "dist/files-2.5.tar.gz", "files-2.5");
    made.file("document", "pub/document.txt", b"a document\n");
    made.file("renamed", "get/7", &zip(&[("seven", "7")]));
    for (name, path) in [("object", "a/object"), ("blob", "b/blob"), ("bucket", "c/bucket"), ("parcel", "d/parcel")] {
        made.tarball(name, &format!("{path}.tar.gz"), name);
    }
    made.file("crate_adler", "crates/adler/1.0.2/download", &tarball("adler-1.0.2", &[("src/lib.rs", "")]));
    made.file("crate_itoa", "registry/itoa/1.0.9/download", &tarball("itoa-1.0.9", &[("src/lib.rs", "")]));
    let module = zip(&[("upstream.example/Text/v2@v2.1.0/go.mod", "module upstream.example/Text/v2\n")]);
    made.file("go_zip", "modules/upstream.example/!text/v2/@v/v2.1.0.zip", &module);
    made.file("go_mod", "modules/upstream.example/sys/@v/v0.3.0.mod", b"module upstream.example/sys\n");
    let twin = tarball("twin", &[("twin", "twin")]);
    made.file("twin", "twin.tar.gz", &twin);
    // Another name for the same bytes.
    made.file("", "sibling.patch", &twin);
    made.file("", "tarballs/trunk_upstream.example_.svn_4711_1.tar.gz", &tarball("trunk", &[("content", "svn")]));
    made.file("", &format!("uninative/{}-nativesdk-libc-1.tar.xz", std::env::consts::ARCH), b"a loader");
    mercurial(&mut made);

    for (name, path, branch) in [
        ("plain", "plain.git", "main"),
        ("left", "left.git", "main"),
        ("gomod", "go/net.git", "main"),
        ("sibling", "tool.git", "main"),
        ("machine", "autorev.git", "main"),
        ("", "one.git", "one"),
        ("", "two.git", "two"),
        ("", "strays.git", "main"),
    ] {
        let commit = made.repository(path, branch, |work| {
            fs::write(work.join("go.mod"), "module upstream.example/net\n").expect("a file");
        });
        made.revision(name, &commit);
    }
    for (name, path, tag) in [("right", "right.git", "v1"), ("", "tagged.git", "v1.0")] {
        let commit = made.repository(path, "main", |_| ());
        git(&made.directory.join(path), &["tag", tag, &commit]);
        made.revision(name, &commit);
    }
    nested(&mut made);
    made.config.remove("CLOSURE_REV_");
    made
}

/// A repository with a submodule, which has a submodule itself, by a relative URL.
fn nested(made: &mut Made) {
    let inner = made.repository("inner.git", "main", |_| ());
    let module = |work: &Path, name: &str, url: &str, commit: &str| {
        let text = format!("[submodule \"{name}\"]\n\tpath = {name}\n\turl = {url}\n");
        fs::write(work.join(".gitmodules"), text).expect("a file");
        // `git add .` would take the entry for a deleted file.
        fs::create_dir(work.join(name)).expect("a directory");
        git(work, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{name}")]);
    };
    let child = made.repository("child.git", "main", |work| module(work, "inner", "../inner.git", &inner));
    let parent = made.repository("parent.git", "main", |work| {
        module(work, "child", "https://upstream.example/child.git", &child);
    });
    made.revision("parent", &parent);
}

/// The tarball that BitBake makes of a Mercurial repository (`bb.fetch2.hg`, `build_mirror_data`).
fn mercurial(made: &mut Made) {
    let module = made.directory.join("hg/tools");
    fs::create_dir_all(&module).expect("a directory");
    let hg = |arguments: &[&str]| {
        let output = Command::new("hg").env("HGRCPATH", "").arg("--cwd").arg(&module).args(arguments).output();
        let output = output.expect("hg: `tests/run` installs mercurial");
        assert!(output.status.success(), "hg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    hg(&["init"]);
    fs::write(module.join("content"), "hg").expect("a file");
    hg(&["commit", "-q", "-A", "-u", "me", "-m", "A commit"]);
    let revision = hg(&["log", "-r", ".", "-T", "{node}"]);
    let tarball = made.directory.join("tarballs/hg_tools_upstream.example_.repos.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&tarball).arg("-C").arg(made.directory.join("hg")).arg("tools");
    assert!(tar.status().expect("tar starts").success());
    made.revision("hg", &revision);
}

const MANIFEST: &str = r#"
[project]
name = "closure"

[layers.bitbake]
git = "https://upstream.example/bitbake.git"
branch = "2.19"
[layers.meta-mini]
path = "meta-mini"
[layers.closure]
path = "closure-layer"

[closure]
hosts = ["HOST"]
[closure.mask]
"/recipes-broken/" = "its fetcher does not exist"
"/recipes-npm/" = "this BitBake has no npm fetcher"
"/meta-mini/recipes/" = "only its classes are wanted"

[registries]
"crates.io" = "URL/crates"

[boards.lantern]
machine = "lantern"
layers = ["meta-mini", "closure"]
targets = ["closure-image"]
[boards.harbour]
machine = "harbour"
layers = ["meta-mini", "closure"]
targets = ["autorev", "twin-a"]

[mirrors]
builtin = false

[config]
BBFILE_PATTERN_IGNORE_EMPTY_mini = "1"
"#;

/// Mirror rules that lead to the upstreams of this test. Objects, and tarballs of other version control systems, are
/// found by name.
fn site(url: &str) -> String {
    let rules = [
        (r"https://goproxy\.upstream\.example/(.*)", "$1"),
        (r"crate://registry\.upstream\.example/(.*)/(.*)", "registry/$1/$2/download"),
        (r"(?:s3|gs)://bucket\.upstream\.example/(.*)", "$1"),
        (r"az://account\.upstream\.example/(.*)", "$1"),
        (r"(?:hg|svn)://upstream\.example/.*", "tarballs/{name}"),
        (r"(?:ssh|sftp)://[a-z]+@upstream\.example(?::[0-9]+)?/(.*)", "$1"),
        (r"(?:https?|ftp)://upstream\.example/(.*)", "$1"),
    ];
    let rules = rules.map(|(pattern, to)| format!("[[mirrors.rule]]\nmatch = '{pattern}'\nto = [\"{url}/{to}\"]\n"));
    rules.concat()
}

/// A project of the fixture's layer with its upstreams running.
fn project() -> Option<(TestProject, Upstreams)> {
    let engine = engine()?;
    let mut bench = TestProject::new();
    let directory = bench.beside("served");
    copy(upstreams(&engine), &directory);
    let made = make(&directory);
    let upstreams = Upstreams::serve(&directory, &bench.beside("upstreams"), 0.2);
    copy(&repository().join("examples/quickstart/layers/meta-mini"), &bench.path("meta-mini"));
    copy(&repository().join("tests/fixtures/closure-layer"), &bench.path("closure-layer"));
    adapt(&bench, "closure-layer/recipes/files/files_2.5.bb", "0123456789abcdef0123456789abcdef", &md5(&directory));
    let uninative = "closure-layer/classes/uninative.bbclass";
    adapt(&bench, uninative, &"ab".repeat(32), &sha256(b"a loader"));
    let looks =
        "os.path.exists(d.expand(\"${TOPDIR}/sources/flat/${UNINATIVE_TARBALL}\")) or bb.fatal(\"no uninative\")";
    adapt(&bench, uninative, "bb.fatal(\"uninative would fetch\")", looks);
    let config: String = made.config.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    let manifest = MANIFEST.replace("HOST", std::env::consts::ARCH).replace("URL", &upstreams.url);
    bench.write("kata.toml", &format!("{manifest}{config}"));
    let site_file = bench.beside("site.toml");
    fs::write(&site_file, site(&upstreams.url)).expect("a site configuration");
    bench.set("KBUILD_CONFIG", site_file.display().to_string());
    Some((bench, upstreams))
}

fn adapt(bench: &TestProject, path: &str, from: &str, to: &str) {
    let text = bench.read(path);
    assert!(text.contains(from), "{path} has no {from}");
    bench.write(path, &text.replace(from, to));
}

fn md5(directory: &Path) -> String {
    let output = Command::new("md5sum").arg(directory.join("pub/document.txt")).output().expect("md5sum starts");
    String::from_utf8_lossy(&output.stdout).chars().take(32).collect()
}

fn read_lock(bench: &TestProject) -> Lock {
    Lock::read(&bench.path("kata.lock")).expect("the lock").expect("a lock")
}

#[test]
fn every_fetcher_from_recipe_to_unpacked_source_with_the_upstreams_gone() {
    let Some((bench, upstreams)) = project() else { return };
    let locked = bench.kbuild_ok(&["lock", "--strict"]);
    assert!(locked.stderr.contains("drifter"), "svn floats, and that is said\n{locked}");
    let lock = read_lock(&bench);
    let schemes: BTreeSet<&str> = lock.files.values().map(|file| file.urls[0].scheme()).collect();
    let all = ["az", "crate", "ftp", "gomod", "gs", "hg", "http", "https", "s3", "sftp", "svn"];
    assert_eq!(schemes, all.into());
    assert_eq!(lock.recipes["nested"].sources.len(), 1);
    assert_eq!(lock.gits.keys().filter(|key| key.contains("inner") || key.contains("child")).count(), 2);
    assert_eq!(lock.floating.len(), 5, "autorev, one, two, strays, tagged: {:?}", lock.floating.keys());
    assert_eq!(lock.registries["go"].as_str(), "https://goproxy.upstream.example/modules");

    // Nothing is requested twice.
    let asked = upstreams.requests();
    let again = bench.kbuild_ok(&["lock"]);
    assert!(again.stderr.contains("kata.lock is unchanged") && !again.stderr.contains("Finding"), "{again}");
    assert_eq!(upstreams.requests(), asked);
    let lock = a_moving_ref_stays_until_it_is_told_to_move(&bench, &lock);
    drop(upstreams);

    let deep = bench.kbuild_ok(&["verify", "--deep", "--offline", "--format", "json"]).json();
    assert_eq!(deep["deep"]["lantern"]["failures"], Value::Array(Vec::new()), "{deep}");
    let fetching = lock.boards["lantern"].closure.as_ref().expect("a closure").recipes.keys();
    let fetching = fetching.filter(|name| lock.recipe("lantern", "", name).is_some()).count();
    assert!(deep["deep"]["lantern"]["recipes"].as_u64().expect("a number") >= fetching as u64, "{deep}");
    assert!(!bench.path("build/lantern.deep").exists());
    each_missing_source_names_what_would_fail(&bench, &lock);
    what_bitbake_cannot_unpack_is_named(&bench);
}

/// The branch of a recipe's AUTOREV gets a commit. Returns the lock at the end.
fn a_moving_ref_stays_until_it_is_told_to_move(bench: &TestProject, before: &Lock) -> Lock {
    let (work, served) = (bench.beside("served/work-autorev.git"), bench.beside("served/autorev.git"));
    fs::write(work.join("README"), "moved on").expect("a file");
    git(&work, &["commit", "-q", "-a", "-m", "Another commit"]);
    git(&work, &["push", "-q", &served.display().to_string(), "main"]);
    let commit = git(&work, &["rev-parse", "HEAD"]);
    bench.kbuild_ok(&["lock"]);
    assert_eq!(read_lock(bench), *before);
    bench.kbuild_ok(&["update", "autorev"]);
    let after = read_lock(bench);
    let moved: Vec<_> =
        after.floating.iter().filter(|(key, floating)| before.floating.get(*key) != Some(floating)).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(moved[0].1.commit.to_string(), commit);
    let pinned = SourceId::Git(format!("upstream.example.autorev.git@{}", &commit[..12]));
    let sources = |board: &str| after.recipe(board, "", "autorev").expect("a recipe").1.sources.clone();
    assert_eq!(sources("lantern"), [pinned].into());
    assert_ne!(sources("harbour"), sources("lantern"), "on that machine the recipe names a commit");
    after
}

/// Removes each source from the store by itself.
fn each_missing_source_names_what_would_fail(bench: &TestProject, lock: &Lock) {
    let store = Store::open(&bench.path("mirrors/store")).expect("the store");
    for id in lock.all_sources() {
        let blob = match lock.get(&id).expect("a block") {
            Locked::File(_, file) => store.blob_path(&file.content.expect("seen").blake3),
            Locked::Git(_, git) => store.blob_path(&store.git(&git.commit).unwrap().expect("a record").packs[0].pack),
        };
        let aside = bench.beside("aside");
        fs::rename(&blob, &aside).expect("taken out");
        let run = bench.kbuild(&["verify", "--offline", "--format", "json"]);
        fs::rename(&aside, &blob).expect("put back");
        assert_eq!(run.code, Some(6), "{id}: {run}");
        let faults = run.json()["faults"].as_array().expect("faults").clone();
        let named: BTreeSet<SourceId> =
            faults.iter().map(|fault| fault["source"].as_str().expect("an id").parse().expect("an id")).collect();
        assert_eq!(named, of_the_same_bytes(lock, &id), "{id}");
        let mut found = BTreeSet::new();
        for entry in faults.iter().flat_map(|fault| fault["needed_by"].as_array().expect("who").clone()) {
            let board = entry["board"].as_str().expect("a board").to_owned();
            let recipes = entry["recipes"].as_array().expect("recipes").clone();
            found.extend(recipes.iter().map(|name| (board.clone(), name.as_str().expect("a name").to_owned())));
        }
        assert_eq!(found, recipes_that_need(lock, &named), "{id}");
    }
    bench.kbuild_ok(&["verify", "--offline"]);
}

/// Two names for one content are one blob.
fn of_the_same_bytes(lock: &Lock, id: &SourceId) -> BTreeSet<SourceId> {
    let content = |id: &SourceId| match lock.get(id).expect("a block") {
        Locked::File(_, file) => file.sha256.to_string(),
        Locked::Git(_, git) => git.commit.to_string(),
    };
    lock.all_sources().into_iter().filter(|other| content(other) == content(id)).collect()
}

/// Board and recipe, for each that fetches one of these or has it as a submodule.
fn recipes_that_need(lock: &Lock, ids: &BTreeSet<SourceId>) -> BTreeSet<(String, String)> {
    let mut needing = BTreeSet::new();
    for (board, locked) in &lock.boards {
        for name in locked.closure.as_ref().expect("a closure").recipes.keys() {
            let Some((_, recipe)) = lock.recipe(board, "", name) else { continue };
            if lock.with_submodules(&recipe.sources).iter().any(|id| ids.contains(id)) {
                needing.insert((board.clone(), name.clone()));
            }
        }
    }
    needing
}

/// The bytes are as locked, but BitBake cannot unpack them.
fn what_bitbake_cannot_unpack_is_named(bench: &TestProject) {
    let path = "closure-layer/recipes/twin-a/twin-a.bb";
    adapt(bench, path, "${CLOSURE_SHA256_twin}", &"0".repeat(64));
    let run = bench.kbuild(&["verify", "--deep", "--offline", "--board", "harbour", "--format", "json"]);
    assert_eq!(run.code, Some(7), "{run}");
    let failures = run.json()["deep"]["harbour"]["failures"].clone();
    assert_eq!(failures.as_array().map(Vec::len), Some(1), "{run}");
    assert_eq!((&failures[0]["recipe"], &failures[0]["task"]), (&"twin-a".into(), &"fetch".into()), "{run}");
    assert!(failures[0]["why"].as_str().expect("why").contains("twin.tar.gz"), "{run}");
    // Locking finds it without BitBake's fetcher: the recipe's checksum does not match the bytes.
    let run = bench.kbuild(&["lock", "--offline"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("two files called `twin.tar.gz`"), "{run}");
}

#[test]
fn what_cannot_be_locked_stops_the_lock_with_recipe_and_line() {
    let Some((bench, _upstreams)) = project() else { return };
    adapt(&bench, "kata.toml", "targets = [\"autorev\", \"twin-a\"]", "targets = [\"closure-bad\"]");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("badly_1.0.bb:") || run.stderr.contains("badly.inc:"), "{run}");
    // What was found is kept, and the lock does not pass for a fresh one.
    assert!(bench.path("kata.lock").exists());
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    // The engine itself cannot parse a fetcher that it does not know.
    adapt(&bench, "kata.toml", "\"/recipes-broken/\" = \"its fetcher does not exist\"\n", "");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("unknown.bb"), "{run}");
}

#[test]
fn what_was_found_before_the_engine_failed_stays() {
    let Some((bench, _upstreams)) = project() else { return };
    // Of two small closures the second has no recipe.
    adapt(&bench, "kata.toml", "targets = [\"closure-image\"]", "targets = [\"twin-a\"]");
    adapt(&bench, "kata.toml", "targets = [\"autorev\", \"twin-a\"]", "targets = [\"later\"]");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("missing: 1 closure") && run.stderr.contains("later"), "{run}");
    let recipes = |board: &str| -> Vec<String> {
        let closure = read_lock(&bench).boards[board].closure.clone();
        closure.map(|closure| closure.recipes.into_keys().collect()).unwrap_or_default()
    };
    assert_eq!((recipes("lantern"), recipes("harbour")), (vec!["twin-a".to_owned()], vec![]));
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));

    let later = "closure-layer/recipes/later/later.bb";
    bench.write(later, &bench.read("closure-layer/recipes/twin-a/twin-a.bb"));
    let run = bench.kbuild_ok(&["lock"]);
    // A recipe was added to a layer of both.
    assert!(run.stderr.contains("(2 of 2)"), "{run}");
    assert_eq!(recipes("harbour"), ["later"]);
    let whole = bench.read("kata.lock");

    // What the lock had stays while it cannot be found again, and is looked for again at the next lock.
    let text = bench.read(later);
    bench.write(later, "inherit no-such-class\n");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert_eq!(bench.read("kata.lock"), whole);
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    // A comment more is no other recipe.
    bench.write(later, &format!("{text}\n# as it was\n"));
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.write(later, &format!("{text}\nSUMMARY = \"As it was\"\n"));
    let run = bench.kbuild_ok(&["lock"]);
    assert!(run.stderr.contains("(2 of 2)"), "{run}");
    assert_eq!(recipes("harbour"), ["later"]);
}

#[test]
fn a_wrong_md5_of_a_recipe_is_found_while_locking() {
    let Some((bench, _upstreams)) = project() else { return };
    let text = bench.read("closure-layer/recipes/files/files_2.5.bb");
    let right = text.split("document.md5sum] = \"").nth(1).expect("a sum").split('"').next().expect("a sum").to_owned();
    adapt(&bench, "closure-layer/recipes/files/files_2.5.bb", &right, &"0".repeat(32));
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("document.txt") && run.stderr.contains("files"), "{run}");
}
