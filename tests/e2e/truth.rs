//! The lock tells the truth: what BitBake looks up or checks offline was looked up and checked when the lock was made, and
//! what cannot be locked as it is written is told together, without losing the rest.

use std::fs;
use std::path::Path;

use kbuild::source::Hasher;

use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Upstreams, copy, engine, git, repository, upstreams};

const LAYER: &str = "\
BBPATH .= \":${LAYERDIR}\"
BBFILES += \"${LAYERDIR}/recipes/*/*.bb\"
BBFILE_COLLECTIONS += \"user\"
BBFILE_PATTERN_user = \"^${LAYERDIR}/\"
BBFILE_PRIORITY_user = \"6\"
LAYERSERIES_COMPAT_user = \"mini\"
";

/// A project over the quickstart's base layer, with recipes of its own and a server for their upstreams.
pub(super) struct Project {
    pub(super) bench: TestProject,
    pub(super) server: Upstreams,
}

impl Project {
    /// Builds these recipes; `None`, loudly, without the BitBake of the tests.
    pub(super) fn new(targets: &[&str]) -> Option<Project> {
        Project::with(targets, "")
    }

    /// The same, with more lines of kata.toml.
    pub(super) fn with(targets: &[&str], more: &str) -> Option<Project> {
        let engine = engine()?;
        let mut bench = TestProject::new();
        let up = bench.beside("up");
        fs::create_dir(&up).expect("a directory");
        std::os::unix::fs::symlink(upstreams(&engine).join("bitbake.git"), up.join("bitbake.git")).expect("a link");
        let server = Upstreams::serve(&up, &bench.beside("server"), 0.0);
        bench.write("layers/README", "");
        copy(&repository().join("examples/quickstart/layers/meta-mini"), &bench.path("layers/meta-mini"));
        fs::remove_dir_all(bench.path("layers/meta-mini/recipes")).expect("recipes");
        bench.write("layers/meta-user/conf/layer.conf", LAYER);
        bench.write(
            "kata.toml",
            &format!(
                "[project]\nname = \"case\"\nengine = \"bitbake\"\n\
                 [layers.bitbake]\ngit = \"https://upstream.example/bitbake.git\"\nbranch = \"2.19\"\n\
                 [layers.meta-mini]\npath = \"layers/meta-mini\"\n[layers.meta-user]\npath = \"layers/meta-user\"\n\
                 [mirrors]\nbuiltin = false\n[config]\nBBFILE_PATTERN_IGNORE_EMPTY_mini = \"1\"\n\
                 [boards.lantern]\nmachine = \"lantern\"\nlayers = [\"meta-mini\", \"meta-user\"]\ntargets = {targets:?}\n{more}"
            ),
        );
        let site = bench.beside("site.toml");
        let rule = "[[mirrors.rule]]\nmatch = 'https://upstream\\.example/(.*)'\n";
        fs::write(&site, format!("{rule}to = [\"{}/$1\"]\n", server.url)).expect("a site configuration");
        bench.set("KBUILD_CONFIG", site.display().to_string());
        bench.set("KBUILD_RETRIES", "0");
        Some(Project { bench, server })
    }

    pub(super) fn recipe(&self, name: &str, text: &str) {
        let text = format!("LICENSE = \"MIT\"\n{text}");
        self.bench.write(&format!("layers/meta-user/recipes/{name}/{name}.bb"), &text);
    }

    /// A file of the upstream; gives its sha256.
    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.bench.beside("up").join(name), bytes).expect("a file");
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish().sha256.to_string()
    }

    /// A work tree with one commit on `main`, which [`Project::publish`] puts up.
    pub(super) fn repository(&self, name: &str) -> std::path::PathBuf {
        let work = self.bench.beside(format!("work-{name}"));
        fs::create_dir(&work).expect("a directory");
        git(&work, &["init", "-q", "-b", "main"]);
        fs::write(work.join("file"), name).expect("a file");
        commit(&work);
        work
    }

    pub(super) fn publish(&self, name: &str, work: &Path) {
        let bare = self.bench.beside(format!("up/{name}.git"));
        let _ = fs::remove_dir_all(&bare);
        git(work, &["clone", "-q", "--bare", &work.display().to_string(), &bare.display().to_string()]);
    }

    /// Everything is fetched again into an empty store, and BitBake takes it out of that.
    pub(super) fn proven(&self) {
        fs::remove_dir_all(self.bench.path("mirrors")).expect("a store");
        self.bench.kbuild_ok(&["fetch"]);
        self.bench.kbuild_ok(&["verify", "--deep"]);
    }
}

pub(super) fn commit(work: &Path) {
    git(work, &["add", "-A"]);
    git(work, &["commit", "-q", "--allow-empty", "-m", "A commit"]);
}

pub(super) fn rev(work: &Path, what: &str) -> String {
    git(work, &["rev-parse", what])
}

pub(super) fn says(run: &Run, words: &[&str]) {
    for word in words {
        assert!(run.stderr.contains(word), "no `{word}` in\n{run}");
    }
}

#[test]
fn no_is_an_answer_and_one_fault_does_not_end_the_lock() {
    let Some(project) = Project::new(&["good", "gone", "wrong", "silent", "lost"]) else { return };
    let url = project.server.url.clone();
    let good = project.file("good-1.0.txt", b"good");
    project.file("wrong-1.0.txt", b"re-packed");
    let nobody = "1".repeat(64);
    let work = project.repository("lost");
    project.publish("lost", &work);
    let file = |name: &str, url: &str, sha256: &str| {
        project.recipe(name, &format!("SRC_URI = \"{url}/{name}-1.0.txt\"\nSRC_URI[sha256sum] = \"{sha256}\"\n"));
    };
    file("good", &url, &good);
    file("gone", &url, &nobody.replace('1', "2"));
    file("wrong", &url, &nobody.replace('1', "3"));
    file("silent", "http://127.0.0.1:1", &nobody.replace('1', "4"));
    let lost = format!("SRC_URI = \"git://{}/lost.git;protocol=http;branch=main\"\n", &url["http://".len()..]);
    project.recipe("lost", &format!("{lost}SRCREV = \"{}\"\n", "5".repeat(40)));

    let run = project.bench.kbuild(&["--format", "json", "lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    let error = &run.json()["error"];
    let kinds: Vec<&str> =
        error["related"].as_array().expect("several").iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "denied").count(), 2, "{run}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "hash-mismatch").count(), 1, "{run}");
    says(
        &run,
        &[
            "gone (recipes/gone/gone.bb:2 in layer user)",
            "wrong (recipes/wrong/wrong.bb:2",
            "lost (recipes/lost/lost.bb:2",
        ],
    );
    let lock = project.bench.read("kata.lock");
    assert!(
        lock.contains("silent-1.0.txt") && lock.contains("wrong-1.0.txt") && lock.contains("[recipe.lost]"),
        "{lock}"
    );

    // The closure is not lost: BitBake is not asked again, and the answer is the same.
    let again = project.bench.kbuild(&["lock"]);
    assert_eq!(again.code, Some(5), "{again}");
    assert!(!again.stderr.contains("Finding"), "{again}");

    // What only could not be asked is no fault.
    file("gone", "http://127.0.0.1:1", &nobody.replace('1', "2"));
    project.recipe("lost", &format!("{lost}SRCREV = \"{}\"\n", rev(&work, "HEAD")));
    project.file("wrong-1.0.txt", b"right again");
    let right = project.file("wrong-1.0.txt", b"right again");
    file("wrong", &url, &right);
    let run = project.bench.kbuild_ok(&["lock"]);
    says(&run, &["file:silent-1.0.txt is locked by its sha256 alone", "2 incomplete"]);
}

#[test]
fn a_tag_that_leads_elsewhere_is_said_and_can_be_kept() {
    let Some(project) = Project::new(&["a"]) else { return };
    let work = project.repository("a");
    let first = rev(&work, "HEAD");
    commit(&work);
    git(&work, &["tag", "-a", "-m", "one", "v1"]);
    project.publish("a", &work);
    let entry = "SRC_URI = \"git://upstream.example/a.git;protocol=https;branch=main;tag=v1;destsuffix=a\"";
    project.recipe("a", &format!("{entry}\nSRCREV = \"{first}\"\n"));
    for _ in 0..2 {
        let run = project.bench.kbuild(&["lock"]);
        assert_eq!(run.code, Some(5), "{run}");
        says(&run, &["`v1`", &first, &rev(&work, "HEAD"), "--keep-moved-tags", "a (recipes/a/a.bb:2 in layer user)"]);
    }
    project.bench.kbuild_ok(&["lock", "--keep-moved-tags"]);
    let lock = project.bench.read("kata.lock");
    assert!(lock.contains("[moved-tags]\n\"https://upstream.example/a.git#refs/tags/v1\""), "{lock}");
    project.bench.kbuild_ok(&["lock"]);
    assert_eq!(project.bench.read("kata.lock"), lock, "accepted once");
    project.bench.kbuild_ok(&["lock", "--locked"]);
    project.proven();
}

#[test]
fn a_tags_object_stands_for_its_commit_and_a_short_commit_is_called_so() {
    let Some(project) = Project::new(&["a"]) else { return };
    let work = project.repository("a");
    git(&work, &["tag", "-a", "-m", "one", "v1"]);
    project.publish("a", &work);
    let recipe = |revision: &str| {
        let entry = "git://upstream.example/a.git;protocol=https;branch=main;destsuffix=a";
        project.recipe("a", &format!("SRC_URI = \"{entry}\"\nSRCREV = \"{revision}\"\n"));
    };
    recipe(&rev(&work, "HEAD")[..10]);
    let run = project.bench.kbuild(&["lock"]);
    assert_ne!(run.code, Some(0), "{run}");
    says(&run, &["an abbreviated commit in SRCREV", "all 40 digits"]);
    recipe(&rev(&work, "v1"));
    project.bench.kbuild_ok(&["lock"]);
    assert!(project.bench.read("kata.lock").contains(&rev(&work, "HEAD")));
    project.proven();
    let lock = project.bench.read("kata.lock");
    project.bench.kbuild_ok(&["lock"]);
    assert_eq!(project.bench.read("kata.lock"), lock);
}

#[test]
fn a_file_that_bitbake_refuses_for_want_of_a_checksum_is_said_with_the_line_to_add() {
    let Some(project) = Project::new(&["b"]) else { return };
    let sha256 = project.file("b-1.0.txt", b"hello");
    let recipe = |name: &str| {
        let entry = "https://upstream.example/b-1.0.txt;name=src";
        project.recipe("b", &format!("SRC_URI = \"{entry}\"\nSRC_URI[{name}.sha256sum] = \"{sha256}\"\n"));
    };
    recipe("source");
    let run = project.bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(1), "{run}");
    says(&run, &["b (recipes/b/b.bb:2 in layer user)", &format!("SRC_URI[src.sha256sum] = \"{sha256}\"")]);
    let locked = project.bench.kbuild(&["lock", "--locked"]);
    assert_eq!(locked.code, Some(3), "its closure stays open: {locked}");
    recipe("src");
    project.bench.kbuild_ok(&["lock"]);
    project.proven();
}

#[test]
fn the_engine_says_the_names_of_submodules_and_gitlinks_without_a_name_are_passed_over() {
    let Some(project) = Project::new(&["p", "d", "s"]) else { return };
    let sub = project.repository("sub");
    project.publish("sub", &sub);
    for (name, url) in [
        ("p", "https://upstream.example:443/sub.git"),
        ("d", "https://upstream.example/x/../sub.git"),
        ("s", "../sub.git"),
    ] {
        let work = project.repository(name);
        let gone = "[submodule \"gone\"]\n\tpath = gone\n\turl = ../gone.git\n";
        fs::write(work.join(".gitmodules"), format!("[submodule \"m\"]\n\tpath = m\n\turl = {url}\n{gone}")).unwrap();
        for path in ["m", "stray"] {
            let link = format!("160000,{},{path}", rev(&sub, "HEAD"));
            git(&work, &["update-index", "--add", "--cacheinfo", &link]);
        }
        git(&work, &["add", ".gitmodules"]);
        git(&work, &["commit", "-q", "-m", "Submodules"]);
        project.publish(name, &work);
        let entry = format!("gitsm://upstream.example/{name}.git;protocol=https;branch=main;destsuffix=a");
        project.recipe(name, &format!("SRC_URI = \"{entry}\"\nSRCREV = \"{}\"\n", rev(&work, "HEAD")));
    }
    project.bench.kbuild_ok(&["lock"]);
    project.proven();
}

/// What kbuild sets, and what a layer, and then a recipe, would rather have.
const FOUGHT: [(&str, &str); 16] = [
    ("PREMIRRORS", "(git|gitsm|gomodgit|https?|ftps?|sftp|s3|gs|az|hg|p4|repo)://.*/.* file://[TOPDIR]/sources/flat/"),
    ("MIRRORS", ""),
    ("SSTATE_MIRRORS", ""),
    ("SSTATE_DIR", "[TOPDIR]/sstate-cache"),
    ("TMPDIR", "[TOPDIR]/tmp"),
    ("DL_DIR", "[TOPDIR]/sources/dl"),
    ("GITDIR", "[TOPDIR]/sources/git2"),
    ("BB_NO_NETWORK", "1"),
    ("BB_FETCH_PREMIRRORONLY", "1"),
    ("BB_GENERATE_MIRROR_TARBALLS", "0"),
    ("BB_GENERATE_SHALLOW_TARBALLS", "0"),
    ("BB_HASHSERVE_UPSTREAM", ""),
    ("PRSERV_UPSTREAM", ""),
    ("CONNECTIVITY_CHECK_URIS", ""),
    ("CVE_DB_UPDATE_INTERVAL", "-1"),
    ("IMAGE_VERSION_SUFFIX", ""),
];

#[test]
fn what_kbuild_sets_wins_over_layers_and_recipes() {
    let Some(project) = Project::new(&["a", "b"]) else { return };
    let work = project.repository("a");
    project.publish("a", &work);
    let sha256 = project.file("b-1.0.txt", b"hello");
    // As own-mirrors.bbclass does, and as distributions do.
    let mut layer = LAYER.to_owned();
    let mirrors = "git://.*/.* http://127.0.0.1:1/ https?://.*/.* http://127.0.0.1:1/ ";
    layer.push_str(&format!("PREMIRRORS:prepend = \"{mirrors}\"\nPREMIRRORS:append = \" {mirrors}\"\n"));
    for (name, _) in FOUGHT.iter().filter(|(name, _)| !["PREMIRRORS", "TMPDIR"].contains(name)) {
        layer.push_str(&format!("{name}:forcevariable = \"/elsewhere/{name}\"\n{name}:append = \"-more\"\n"));
    }
    project.bench.write("layers/meta-user/conf/layer.conf", &layer);
    let names: Vec<&str> = FOUGHT.iter().map(|(name, _)| *name).collect();
    let anonymous = names.iter().filter(|name| **name != "TMPDIR");
    let anonymous: String = anonymous.map(|name| format!("    d.setVar(\"{name}\", \"/anonymous\")\n")).collect();
    let fight = format!(
        "PREMIRRORS:prepend = \"{mirrors}\"\nBB_NO_NETWORK = \"0\"\nDL_DIR = \"/recipe\"\n\
         python () {{\n{anonymous}}}\n\
         python do_settings() {{\n    with open(d.expand(\"${{WORKDIR}}/settings\"), \"w\") as file:\n        \
         for name in {names:?}:\n            file.write(\"%s=%s\\n\" % (name, d.getVar(name)))\n}}\n\
         addtask settings after do_unpack before do_build\n"
    );
    let entry = "git://upstream.example/a.git;protocol=https;branch=main;destsuffix=a";
    project.recipe("a", &format!("SRC_URI = \"{entry}\"\nSRCREV = \"{}\"\n{fight}", rev(&work, "HEAD")));
    let entry = "https://upstream.example/b-1.0.txt";
    project.recipe("b", &format!("SRC_URI = \"{entry}\"\nSRC_URI[sha256sum] = \"{sha256}\"\n{fight}"));

    project.bench.kbuild_ok(&["lock"]);
    project.proven();
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    let topdir = fs::canonicalize(project.bench.path("build/lantern")).expect("TOPDIR").display().to_string();
    for recipe in ["a", "b"] {
        let settings = project.bench.read(&format!("build/lantern/tmp/work/lantern/{recipe}/settings"));
        let expected: String =
            FOUGHT.iter().map(|(name, value)| format!("{name}={}\n", value.replace("[TOPDIR]", &topdir))).collect();
        assert_eq!(settings, expected, "{recipe}");
    }
}

#[test]
fn a_web_page_is_not_locked_as_a_tarball() {
    let Some(project) = Project::with(&["b"], "[sources.b]\nurl = \"https://upstream.example/b-1.0.tar.gz\"\n") else {
        return;
    };
    project.recipe("b", "SRC_URI = \"${KBUILD_B_URI}\"\nSRC_URI[sha256sum] = \"${KBUILD_B_SHA256}\"\n");
    project.file("b-1.0.tar.gz", b"<!DOCTYPE html>\n<title>Sign in</title>\n");
    let run = project.bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    says(&run, &["no hash is given for it, and it is a web page"]);
}
