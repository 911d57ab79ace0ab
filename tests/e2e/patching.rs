//! Patches of layers: pinned, fetched, applied when a layer is laid out, and part of what a closure depends on.

use std::fs;
use std::path::{Path, PathBuf};

use kbuild::source::Hasher;
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::git;

use super::truth::{Project, commit, rev, says};

/// A project without BitBake, whose board has one layer from git; `kbuild audit` lays it out.
struct Patched {
    bench: TestProject,
}

const RECIPE: &str = "SUMMARY = \"one\"\nLICENSE = \"MIT\"\n\ndo_compile() {\n    true\n}\n";

impl Patched {
    fn new() -> Patched {
        let patched = Patched { bench: TestProject::new() };
        let work = patched.repository("meta-x");
        fs::create_dir_all(work.join("conf")).expect("directories");
        fs::create_dir_all(work.join("recipes/a")).expect("directories");
        fs::write(work.join("conf/layer.conf"), "BBPATH .= \":${LAYERDIR}\"\n").expect("a file");
        fs::write(work.join("recipes/a/a.bb"), RECIPE).expect("a file");
        commit(&work);
        patched
    }

    fn repository(&self, name: &str) -> PathBuf {
        let work = self.bench.beside(name);
        fs::create_dir(&work).expect("a directory");
        git(&work, &["init", "-q", "-b", "main"]);
        work
    }

    fn manifest(&self, patches: &str, more: &str) {
        let url = self.bench.beside("meta-x").display().to_string();
        self.bench.write(
            "kata.toml",
            &format!(
                "[project]\nname = \"p\"\nengine = \"meta-x\"\n\
                 [layers.meta-x]\ngit = \"file://{url}\"\nbranch = \"main\"\npatches = [{patches}]\n{more}\
                 [closure]\nlock = \"none\"\n[boards.b]\nmachine = \"m\"\nlayers = [\"meta-x\"]\ntargets = [\"t\"]\n"
            ),
        );
    }

    /// Where the layer is laid out, newest first by name of its patches.
    fn checkouts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.bench.path("build/layers")).expect("checkouts").flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        found.sort();
        found
    }
}

/// A patch that changes a line of the recipe.
fn patch(from: &str, to: &str) -> String {
    format!(
        "A change.\n\n--- a/recipes/a/a.bb\n+++ b/recipes/a/a.bb\n@@ -1,2 +1,2 @@\n-SUMMARY = \"{from}\"\n+SUMMARY = \"{to}\"\n LICENSE = \"MIT\"\n"
    )
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish().sha256.to_string()
}

fn recipe(checkout: &Path) -> String {
    fs::read_to_string(checkout.join("recipes/a/a.bb")).expect("a recipe")
}

#[test]
fn a_layer_is_laid_out_with_patches_from_everywhere_each_a_commit() {
    let patched = Patched::new();
    let bench = &patched.bench;
    bench.write("patches/first.patch", &patch("one", "two"));
    bench.write("patches/more/series", "# by quilt\nsecond.patch\nflat.patch -p0 # without a prefix\n");
    bench.write("patches/more/second.patch", &patch("two", "three"));
    bench.write(
        "patches/more/flat.patch",
        &patch("three", "four").replace("a/recipes", "recipes").replace("b/recipes", "recipes"),
    );
    let other = patched.repository("meta-other");
    fs::create_dir(other.join("p")).expect("a directory");
    fs::write(other.join("p/third.patch"), patch("four", "five")).expect("a patch");
    commit(&other);
    let remote = patch("five", "six");
    fs::write(bench.beside("remote.patch"), &remote).expect("a patch");
    let url = bench.beside("remote.patch").display().to_string();
    let list = format!(
        "\"patches/first.patch\", \"patches/more\", {{ layer = \"meta-other\", file = \"p/third.patch\" }}, \
         {{ url = \"file://{url}\", sha256 = \"{}\" }}",
        sha256(remote.as_bytes())
    );
    let other_layer = format!("[layers.meta-other]\ngit = \"file://{}\"\nbranch = \"main\"\n", other.display());
    patched.manifest(&list, &other_layer);
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    assert!(
        lock.contains("{ file = \"patches/more/flat.patch\", blake3 = \"") && lock.contains("strip = 0 }"),
        "{lock}"
    );
    assert!(lock.contains("{ layer = \"meta-other\", file = \"p/third.patch\", blake3 = \""), "{lock}");
    assert!(lock.contains("revision = 5") && lock.contains("-remote.patch\"]"), "{lock}");
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.kbuild_ok(&["lock", "--offline"]);
    assert_eq!(bench.read("kata.lock"), lock);

    bench.kbuild_ok(&["--offline", "audit"]);
    let [checkout] = patched.checkouts().try_into().expect("one checkout");
    assert!(recipe(&checkout).contains("\"six\""), "{}", recipe(&checkout));
    assert_eq!(
        git(&checkout, &["-c", "safe.directory=*", "log", "--format=%s"]).lines().count(),
        6,
        "five patches and the commit"
    );
    assert_eq!(git(&checkout, &["-c", "safe.directory=*", "status", "--porcelain"]), "");
    assert_eq!(rev(&checkout, "HEAD~5"), rev(&bench.beside("meta-x"), "HEAD"));
    let again = bench.kbuild_ok(&["--offline", "audit"]);
    assert!(!again.stderr.contains("edits"), "a patched checkout is no edited one\n{again}");
    fs::write(checkout.join("recipes/a/a.bb"), "edited").expect("an edit");
    says(&bench.kbuild(&["audit"]), &["taken with its edits", "modified: recipes/a/a.bb"]);

    // Whoever clones the layer has the same commits.
    bench.kbuild_ok(&["checkout", "meta-x", "../clone"]);
    let clone = bench.beside("clone");
    assert_eq!(rev(&clone, "HEAD"), rev(&checkout, "HEAD"));
    assert_eq!(git(&clone, &["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert!(recipe(&clone).contains("\"six\""));

    // What is fetched is a source like others: an empty store gets it, and gc keeps it.
    fs::remove_dir_all(bench.path("mirrors")).expect("a store");
    fs::remove_dir_all(bench.path("build")).expect("checkouts");
    bench.kbuild_ok(&["fetch"]);
    bench.kbuild_ok(&["gc"]);
    fs::remove_file(bench.beside("remote.patch")).expect("a file");
    bench.kbuild_ok(&["--offline", "audit"]);
    let [same] = patched.checkouts().try_into().expect("one checkout");
    assert_eq!(same, checkout);
    assert!(bench.kbuild_ok(&["why", "remote.patch"]).stdout.contains("meta-x"));
}

#[test]
fn a_changed_patch_makes_another_checkout_and_the_lock_stale() {
    let patched = Patched::new();
    let bench = &patched.bench;
    bench.write("a.patch", &patch("one", "two"));
    patched.manifest("\"a.patch\"", "");
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["audit"]);
    bench.write("a.patch", &patch("one", "three"));
    let run = bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["the patches of `meta-x` are others"]);
    bench.write("old.lock", &bench.read("kata.lock"));
    bench.kbuild_ok(&["lock"]);
    let diff = |format: &[&str]| bench.kbuild_ok(&[&["diff", "old.lock"], format].concat()).stdout;
    assert!(diff(&[]).contains("      ~ patch a.patch, other content\n"), "{}", diff(&[]));
    assert!(diff(&["--markdown"]).contains("- patch `a.patch` changed\n"), "{}", diff(&["--markdown"]));
    assert!(diff(&["--format", "json"]).contains("\"change\": \"changed\""), "{}", diff(&["--format", "json"]));
    bench.kbuild_ok(&["audit"]);
    let checkouts = patched.checkouts();
    assert_eq!(checkouts.len(), 2);
    let mut texts: Vec<bool> = checkouts.iter().map(|path| recipe(path).contains("three")).collect();
    texts.sort();
    assert_eq!(texts, [false, true]);

    patched.manifest("", "");
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["lock", "--locked"]);
    assert!(!bench.read("kata.lock").contains("patches"));
    bench.kbuild_ok(&["audit"]);
    assert_eq!(patched.checkouts().len(), 3);

    // A layer that a patch comes from moves, and the patch with it.
    let other = patched.repository("meta-other");
    fs::write(other.join("x.patch"), patch("one", "four")).expect("a patch");
    commit(&other);
    let more = format!("[layers.meta-other]\ngit = \"file://{}\"\nbranch = \"main\"\n", other.display());
    patched.manifest("{ layer = \"meta-other\", file = \"x.patch\" }", &more);
    bench.kbuild_ok(&["lock"]);
    let before = bench.read("kata.lock");
    fs::write(other.join("x.patch"), patch("nothing", "four")).expect("a patch");
    commit(&other);
    let run = bench.kbuild(&["update", "meta-other"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["could not lock the patches of layer `meta-x`", "x.patch of meta-other", "recipes/a/a.bb, line 1"]);
    fs::write(other.join("x.patch"), patch("one", "five")).expect("a patch");
    commit(&other);
    bench.kbuild_ok(&["update", "meta-other"]);
    assert_ne!(bench.read("kata.lock"), before);
}

#[test]
fn a_patch_that_does_not_apply_is_told_with_file_and_line() {
    let patched = Patched::new();
    let bench = &patched.bench;
    bench.write("bad.patch", &patch("zero", "two"));
    patched.manifest("\"bad.patch\"", "");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["the patch `bad.patch` does not apply to commit", "recipes/a/a.bb, line 1", "make the patch anew"]);
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));

    bench.write("bad.patch", "no patch at all\n");
    says(&bench.kbuild(&["lock"]), &["the patch `bad.patch` does not apply"]);
    bench.write("bad.patch", &patch("one", "two").replace("recipes/a/a.bb", "../../a.bb"));
    says(&bench.kbuild(&["lock"]), &["the patch `bad.patch` does not apply"]);

    bench.write("empty/x.patch", "");
    for (patches, why) in [
        ("\"nowhere.patch\"", "there is no patch `nowhere.patch`"),
        ("\"../a.patch\"", "must be inside the project"),
        ("\"empty\"", "has no `series`"),
        ("{ file = \"bad.patch\", url = \"https://h/x.patch\" }", "has to say where it is"),
        ("{ url = \"https://h/x.patch\" }", "has to say where it is"),
        ("{ url = \"https://h/x.patch\", sha256 = \"12\" }", "the `sha256` of the patch"),
        ("{ layer = \"meta-y\", file = \"x\" }", "unknown layer `meta-y`"),
        ("{ layer = \"meta-x\", file = \"../x\" }", "a path inside it"),
        ("{ layer = \"meta-x\", path = \"x\" }", "unknown field `path`"),
    ] {
        patched.manifest(patches, "");
        let run = bench.kbuild(&["lock"]);
        assert_eq!(run.code, Some(1), "{run}");
        says(&run, &[why, "kata.toml:"]);
    }
}

#[test]
fn closures_and_results_know_the_patches() {
    let Some(project) = Project::new(&["tool"]) else { return };
    let bench = &project.bench;
    project.recipe("tool", "");
    let work = project.repository("meta-x");
    fs::create_dir_all(work.join("conf")).expect("a directory");
    fs::create_dir_all(work.join("recipes/x")).expect("a directory");
    let conf = bench.read("layers/meta-user/conf/layer.conf").replace("user", "x");
    fs::write(work.join("conf/layer.conf"), conf).expect("a file");
    fs::write(work.join("recipes/x/x.bb"), "LICENSE = \"MIT\"\nSUMMARY = \"x\"\n").expect("a file");
    commit(&work);
    project.publish("meta-x", &work);
    let manifest = bench.read("kata.toml");
    let with = |patches: &str| {
        let layer =
            format!("[layers.meta-x]\ngit = \"https://upstream.example/meta-x.git\"\nbranch = \"main\"\n{patches}");
        let text = manifest.replace("[mirrors]", &format!("{layer}[mirrors]"));
        let text =
            text.replace("\"meta-user\"]", "\"meta-user\", \"meta-x\"]").replace("[\"tool\"]", "[\"tool\", \"x\"]");
        bench.write("kata.toml", &text);
    };
    with("");
    bench.kbuild_ok(&["lock"]);
    assert!(!bench.read("kata.lock").contains("[recipe.x]"));
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(bench.result("lantern")["layers"].to_string().find("patches").is_none());

    let hash = project.file("new-1.txt", b"new");
    let url = &project.server.url;
    bench.write(
        "x.patch",
        &format!(
            "--- a/recipes/x/x.bb\n+++ b/recipes/x/x.bb\n@@ -1,2 +1,4 @@\n LICENSE = \"MIT\"\n SUMMARY = \"x\"\n\
             +SRC_URI = \"{url}/new-1.txt\"\n+SRC_URI[sha256sum] = \"{hash}\"\n"
        ),
    );
    with("patches = [\"x.patch\"]\n");
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    assert!(lock.contains("[recipe.x]") && lock.contains("[file.\"new-1.txt\"]"), "{lock}");
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let result = bench.result("lantern");
    let layer = &result["layers"].as_array().expect("layers")[2];
    assert_eq!(layer["patches"][0]["patch"], "x.patch", "{layer}");
    assert_eq!(layer["commit"], rev(&work, "HEAD"));
    assert!(result["not_from_the_lock"].is_null(), "{result}");
}
