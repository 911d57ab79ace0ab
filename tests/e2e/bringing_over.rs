//! Projects of other tools become a manifest by one command, and a manifest becomes a kas file.

use std::fs;
use std::path::{Path, PathBuf};

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git_at_fixed_time as git;
use serde_json::Value;

/// A repository with these files and one commit, which is returned.
fn repository(directory: &Path, files: &[(&str, &str)]) -> String {
    fs::create_dir_all(directory).expect("a directory");
    git(directory, &["init", "-q", "-b", "main"]);
    commit(directory, files)
}

fn commit(directory: &Path, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    git(directory, &["add", "-A"]);
    git(directory, &["commit", "-q", "-m", "A commit"]);
    git(directory, &["rev-parse", "HEAD"])
}

/// The project as a repository of its own, in which kas looks for files.
fn project(files: &[(&str, &str)]) -> TestProject {
    let bench = TestProject::new();
    repository(&bench.path(""), files);
    bench
}

fn manifest(bench: &TestProject) -> toml::Value {
    toml::from_str(&bench.read("kbuild.toml")).expect("TOML")
}

/// Reads the manifest as kbuild does, with all its checks.
fn checked(bench: &TestProject) {
    kbuild::manifest::Manifest::read(&bench.path("kbuild.toml")).expect("a valid manifest");
}

/// What is listed, as `file:line what`.
fn left_out(run: &Run) -> Vec<String> {
    let list = run.json()["left_out"].as_array().expect("a list").clone();
    let one = |note: &Value| {
        let text = |key: &str| note[key].as_str().unwrap_or_default().to_owned();
        format!("{}:{} {}", text("file"), note["line"], text("what"))
    };
    list.iter().map(one).collect()
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

const BASE: &str = r#"header:
  version: 14
defaults:
  repos:
    branch: scarthgap
repos:
  bitbake:
    url: https://git.example/bitbake.git
    branch: "2.8"
    layers:
      .: disabled
  openembedded-core:
    url: https://git.example/openembedded-core.git
    layers:
      meta:
  meta-openembedded:
    url: https://me:hunter2@git.example/meta-openembedded.git
    commit: 0123456789012345678901234567890123456789
    layers:
      meta-python:
      meta-oe:
      meta-gnome: excluded
      meta-xfce: 0
  docs:
    url: https://git.example/docs
    layers: {}
env:
  BUILD_NUMBER: "0"
  SITE:
  DEPLOY_TOKEN: hunter2
  DL_DIR: /srv/downloads
bblayers_conf_header:
  standard: |
    POKY_BBLAYERS_CONF_VERSION = "2"
    BBPATH = "${TOPDIR}"
    BBFILES ?= ""
local_conf_header:
  base: |
    # Fewer packages.
    PACKAGE_CLASSES = "package_ipk"
    IMAGE_FEATURES += "ssh-server-dropbear"
    PREFERRED_PROVIDER_virtual/kernel = "linux-yocto"
  cache: |
    SSTATE_MIRRORS ?= "file://.* https://cache.example/sstate/PATH;downloadfilename=PATH"
    BB_HASHSERVE = "hash.example:8686"
    INHERIT += "own-mirrors rm_work"
    SOURCE_MIRROR_URL ?= "https://mirror.example/sources"
    DL_DIR ?= "${TOPDIR}/../downloads"
    SRCREV:pn-tool = "main"
    ROOT_PASSWORD = "hunter2"
machine: qemux86-64
distro: nodistro
target: core-image-base
"#;

const PRODUCT: &str = r#"header:
  version: 14
  includes:
    - kas/base.yml
machine: qemuarm64
target:
  - core-image-minimal
  - mc:guest:core-image-base
task: populate_sdk
repos:
  this:
    layers:
      meta-own:
  openembedded-core:
    patches:
      fix:
        repo: this
        path: patches/fix.patch
      late:
        repo: openembedded-core
        path: contrib/late.patch
      other:
        repo: openembedded-core
        path: patches/series
local_conf_header:
  words: |
    OVERRIDES:append = ":lab"
  base: |
    PACKAGE_CLASSES = "package_deb"
    IMAGE_FEATURES += "ssh-server-dropbear"
artifacts:
  image: tmp/deploy/*
"#;

const LOCK: &str = r"header:
  version: 14
overrides:
  repos:
    openembedded-core:
      commit: 89abcdef89abcdef89abcdef89abcdef89abcdef
";

const LAYER: &str = "BBFILE_COLLECTIONS += \"own\"\n";

#[test]
fn a_project_of_kas_becomes_a_manifest() {
    let bench = project(&[
        ("kas/base.yml", BASE),
        ("kas/base.lock.yml", LOCK),
        ("product.yml", PRODUCT),
        ("meta-own/conf/layer.conf", LAYER),
        ("patches/fix.patch", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-x\n+y\n"),
    ]);
    let run = bench.kbuild(&["init", "--from", "product.yml", "--offline", "--name", "product"]);
    assert_run!(bench, run, "kas");
    let text = bench.read("kbuild.toml");
    insta::assert_snapshot!("kas_manifest", text);
    assert!(!text.contains("hunter2") && !run.stderr.contains("hunter2") && !run.stdout.contains("hunter2"));
    // What is written is what is read again.
    checked(&bench);

    let again = bench.kbuild(&["init", "--from", "product.yml"]);
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("already exists"), "{again}");
    assert_eq!(bench.read("kbuild.toml"), text);
}

#[test]
fn what_is_left_out_has_its_file_and_line() {
    let bench = project(&[("kas/base.yml", BASE), ("product.yml", PRODUCT), ("meta-own/conf/layer.conf", LAYER)]);
    let run = bench.kbuild_ok(&["init", "--from", "product.yml", "--offline", "--format", "json"]);
    let listed = left_out(&run);
    let product = |what: &str| PRODUCT.lines().position(|line| line.contains(what)).expect("a line") + 1;
    let base = |what: &str| BASE.lines().position(|line| line.contains(what)).expect("a line") + 1;
    for expected in [
        format!("product.yml:{} patch other of openembedded-core", product("other:")),
        format!("kas/base.yml:{} SRCREV:pn-tool", base("SRCREV")),
        format!("kas/base.yml:{} ROOT_PASSWORD", base("ROOT_PASSWORD")),
        format!("kas/base.yml:{} the default of env DEPLOY_TOKEN", base("DEPLOY_TOKEN")),
    ] {
        assert!(listed.contains(&expected), "{expected}: {listed:#?}");
    }
    let json = run.json();
    assert_eq!(json["boards"], serde_json::json!(["qemuarm64"]));
    assert!(json["not_needed"].as_array().expect("a list").iter().any(|note| note["what"] == "artifacts"), "{run}");
}

#[test]
fn files_of_kas_are_joined_and_builds_become_boards() {
    let debug = "header: {version: 14}\nlocal_conf_header:\n  debug: |\n    IMAGE_FEATURES += \"debug-tweaks\"\n";
    let other = "header:\n  version: 14\n  includes: [kas/base.yml]\nmachine: qemuriscv64\n";
    let newer =
        "header:\n  version: 14\n  includes: [kas/base.yml]\nrepos:\n  openembedded-core: {branch: walnascar}\n";
    let bench = project(&[
        ("kas/base.yml", BASE),
        (
            "debug.json",
            r#"{"header": {"version": 14}, "machine": "qemuarm", "local_conf_header": {"x": "A = \"1\"\nB = \"2\""}}"#,
        ),
        ("debug.yml", debug),
        ("other.yml", other),
        ("newer.yml", newer),
    ]);
    bench.kbuild_ok(&[
        "init",
        "--offline",
        "--from",
        "kas/base.yml:debug.yml:debug.json",
        "--from",
        "other.yml",
        "--from",
        "newer.yml",
    ]);
    let manifest = manifest(&bench);
    let boards = manifest["boards"].as_table().expect("boards");
    assert_eq!(boards.keys().collect::<Vec<_>>(), ["qemuarm", "qemuriscv64", "qemux86-64"]);
    assert_eq!(boards["qemuarm"]["config"]["A"].as_str(), Some("1"));
    assert!(boards["qemuarm"]["conf"].as_str().expect("conf").contains("debug-tweaks"));
    assert_eq!(manifest["config"]["DISTRO"].as_str(), Some("nodistro"));
    // The same repository at another branch is another layer.
    assert_eq!(manifest["layers"]["openembedded-core"]["branch"].as_str(), Some("scarthgap"));
    assert_eq!(manifest["layers"]["openembedded-core-newer"]["branch"].as_str(), Some("walnascar"));
    let layers = boards["qemux86-64"]["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|layer| layer.as_str() == Some("openembedded-core-newer")), "{layers:?}");
    checked(&bench);
}

/// A kas file that includes one of another repository, pinned to a commit.
fn including(url: &str, commit: &str) -> String {
    format!(
        "header:\n  version: 16\n  includes:\n  - repo: bsp\n    file: kas/board.yml\nrepos:\n  bsp:\n    url: {url}\n    \
         commit: {commit}\n  bitbake:\n    url: https://git.example/bitbake\n    branch: master\n    layers: {{}}\n"
    )
}

const OF_BOARD: &str =
    "header:\n  version: 16\nmachine: sbc\nrepos:\n  extra:\n    url: https://git.example/extra\n    tag: v1.2.3\n";

#[test]
fn a_file_of_another_repository_is_read_at_its_commit() {
    let bench = TestProject::new();
    let upstream = bench.beside("bsp");
    let pinned = repository(&upstream, &[("kas/board.yml", OF_BOARD), ("conf/layer.conf", LAYER)]);
    let later = commit(&upstream, &[("kas/board.yml", &OF_BOARD.replace("sbc", "later"))]);
    assert_ne!(pinned, later);
    repository(&bench.path(""), &[("kas.yml", &including(&url(&upstream), &pinned))]);
    bench.kbuild_ok(&["init", "--from", "kas.yml", "a"]);
    let first = bench.read("a/kbuild.toml");
    assert!(first.contains("machine = \"sbc\"") && first.contains("tag = \"v1.2.3\""), "{first}");
    assert!(first.contains(&format!("rev = \"{pinned}\"")), "{first}");

    // A checkout where kas has it is used, at the commit that is pinned and not at the one that is checked out.
    let nowhere = including("https://bsp.invalid/bsp.git", &pinned);
    bench.write("kas.yml", &nowhere);
    git(&bench.path(""), &["clone", "-q", &upstream.display().to_string(), "bsp"]);
    bench.kbuild_ok(&["init", "--from", "kas.yml", "--offline", "b"]);
    assert!(bench.read("b/kbuild.toml").contains("machine = \"sbc\""));
}

#[test]
fn without_a_network_an_included_file_is_listed() {
    let commit = "0123456789012345678901234567890123456789";
    let bench = project(&[("kas.yml", &including("https://bsp.invalid/bsp.git", commit))]);
    let run = bench.kbuild_ok(&["init", "--from", "kas.yml", "--offline", "--format", "json"]);
    assert!(left_out(&run).contains(&"kas.yml:4 the file that is included of bsp".to_owned()), "{run}");
    fs::remove_file(bench.path("kbuild.toml")).expect("removed");
    let run = bench.kbuild(&["init", "--from", "kas.yml"]);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("--offline"), "{run}");
    assert!(!bench.path("kbuild.toml").exists());
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let header = "header:\n  version: 14\n";
    for (text, expected) in [
        ("header:\n  version: 99\n".to_owned(), "kas.yml:2: kas format 99 is newer"),
        (format!("{header}build_system: isar\n"), "kas.yml:3: `build_system: isar`"),
        (format!("{header}a: [\n"), "kas.yml:"),
        ("machine: x\n".to_owned(), "it has no `header`"),
        (format!("{header}repos:\n  x:\n    url: https://h/x\n"), "does not say which commit"),
        (format!("{header}  includes: [../x.yml]\n"), "leads out of its repository"),
        (format!("{header}  includes: [gone.yml]\n"), "kas.yml:3: could not read what is included here"),
        (format!("{header}  includes: [kas.yml]\n"), "in a circle"),
    ] {
        let bench = project(&[("kas.yml", &text)]);
        let run = bench.kbuild(&["init", "--from", "kas.yml", "--offline"]);
        assert_eq!(run.code, Some(1), "{text}\n{run}");
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
        assert!(!bench.path("kbuild.toml").exists(), "{text}");
    }
    let bench = TestProject::new();
    let run = bench.kbuild(&["init", "--from", "gone.yml"]);
    assert!(run.code == Some(1) && run.stderr.contains("there is no gone.yml"), "{run}");
    fs::create_dir(bench.path("empty")).expect("a directory");
    let run = bench.kbuild(&["init", "--from", "empty"]);
    assert!(run.code == Some(1) && run.stderr.contains("of no kind that can be brought over"), "{run}");
}

/// A workspace with checkouts of BitBake and two repositories of layers, and a build directory.
fn workspace() -> TestProject {
    let bench = TestProject::new();
    for (name, files) in [
        ("bitbake", &[("bin/bitbake", "")][..]),
        ("openembedded-core", &[("meta/conf/layer.conf", LAYER), ("meta/conf/bitbake.conf", "")]),
        ("meta-more", &[("meta-a/conf/layer.conf", LAYER), ("meta-b/conf/layer.conf", LAYER)]),
    ] {
        let upstream = bench.beside(name);
        repository(&upstream, files);
        git(&bench.path(""), &["clone", "-q", &url(&upstream), name]);
    }
    bench.write("meta-own/conf/layer.conf", LAYER);
    bench.write(
        "build/conf/bblayers.conf",
        "BBPATH = \"${TOPDIR}\"\nBSPDIR := \"${@os.path.abspath(os.path.dirname(d.getVar('FILE', True)) + '/../..')}\"\n\
         BBLAYERS ?= \" \\\n  ${BSPDIR}/openembedded-core/meta \\\n  ${TOPDIR}/../meta-more/meta-b \\\n  \"\n\
         BBLAYERS += \"${BSPDIR}/meta-own /gone\"\n",
    );
    bench.write("build/conf/auto.conf", "MACHINE = \"qemuarm\"\n");
    bench.write(
        "build/conf/local.conf",
        "MACHINE ??= \"qemux86-64\"\nDISTRO ?= \"nodistro\"\nSSTATE_DIR ?= \"/srv/sstate\"\nPACKAGE_CLASSES ?= \"package_rpm\"\n\
         EXTRA_IMAGE_FEATURES = \"debug-tweaks\"\n",
    );
    bench
}

#[test]
fn a_build_directory_becomes_a_manifest_as_it_is() {
    let bench = workspace();
    fs::write(bench.path("meta-more/meta-a/conf/layer.conf"), "edited\n").expect("written");
    commit(&bench.path("openembedded-core"), &[("meta/conf/more.conf", "")]);
    let run = bench.kbuild_ok(&["init", "--from", "build", "--format", "json"]);
    let manifest = manifest(&bench);
    let head = |name: &str| git(&bench.path(name), &["rev-parse", "HEAD"]);
    for name in ["bitbake", "openembedded-core", "meta-more"] {
        assert_eq!(manifest["layers"][name]["rev"].as_str(), Some(head(name).as_str()), "{name}");
        assert_eq!(manifest["layers"][name]["git"].as_str(), Some(url(&bench.beside(name)).as_str()));
    }
    assert_eq!(manifest["layers"]["meta-more"]["branch"].as_str(), Some("main"));
    assert_eq!(manifest["layers"]["meta-more"]["paths"].as_array().expect("paths")[0].as_str(), Some("meta-b"));
    assert_eq!(manifest["layers"]["meta-own"]["path"].as_str(), Some("meta-own"));
    assert_eq!(manifest["boards"]["qemuarm"]["layers"].as_array().expect("layers").len(), 3);
    assert_eq!(manifest["cache"]["dir"].as_str(), Some("/srv/sstate"));
    let listed = left_out(&run).join("\n");
    for expected in [
        "1 file edited but not committed in layer meta-more",
        "is in no branch of its remote",
        "bblayers.conf:7 layer /gone",
    ] {
        assert!(listed.contains(expected), "{expected}\n{listed}");
    }
    checked(&bench);
}

const SETUP: &str = r#"{
    "description": "A distribution",
    "sources": {
        "bitbake": { "git-remote": { "uri": "https://git.example/bitbake", "branch": "2.18", "rev": "2.18" } },
        "openembedded-core": {
            "path": "core",
            "git-remote": { "uri": "https://git.example/oe", "branch": "wrynose", "rev": "0123456789012345678901234567890123456789" }
        },
        "docs": { "git-remote": { "uri": "https://git.example/docs", "rev": "refs/tags/v1" } }
    },
    "bitbake-setup": {
        "configurations": [ {
            "bb-layers": ["core/meta"],
            "oe-fragments-one-of": {
                "machine": { "description": "m", "options": ["machine/qemuarm64", { "name": "machine/qemux86-64" }] },
                "distro": { "description": "d", "options": ["distro/one", "distro/two"] }
            },
            "configurations": [
                { "name": "plain", "description": "p", "bb-layers-file-relative": ["meta-own"] },
                { "name": "more", "description": "m", "oe-fragments": ["core/debug"], "bb-env-passthrough-additions": ["SITE"] }
            ]
        } ]
    },
    "version": "1.0"
}
"#;

#[test]
fn a_configuration_of_bitbake_setup_becomes_boards() {
    let bench = TestProject::new();
    bench.write("x.conf.json", SETUP);
    bench.write("meta-own/conf/layer.conf", LAYER);
    let run = bench.kbuild(&["init", "--from", "x.conf.json"]);
    assert!(run.code == Some(1) && run.stderr.contains("plain, more"), "{run}");
    let run = bench.kbuild(&["init", "--from", "x.conf.json", "--choose", "more"]);
    assert!(run.code == Some(1) && run.stderr.contains("distro/one, distro/two"), "{run}");
    bench.kbuild_ok(&["init", "--from", "x.conf.json", "--choose", "more", "--choose", "distro/two"]);
    let manifest = manifest(&bench);
    let boards = manifest["boards"].as_table().expect("boards");
    assert_eq!(boards.keys().collect::<Vec<_>>(), ["qemuarm64", "qemux86-64"]);
    assert_eq!(manifest["config"]["DISTRO"].as_str(), Some("two"));
    assert_eq!(manifest["config"]["OE_FRAGMENTS"].as_str(), Some("core/debug"));
    assert_eq!(manifest["env"]["SITE"]["forward"].as_bool(), Some(true));
    let core = &manifest["layers"]["openembedded-core"];
    assert_eq!(core["branch"].as_str(), Some("wrynose"));
    assert_eq!(core["rev"].as_str(), Some("0123456789012345678901234567890123456789"));
    assert_eq!(core["paths"].as_array().expect("paths")[0].as_str(), Some("meta"));
    assert!(manifest["layers"].get("docs").is_none());
    checked(&bench);

    let setup = r#"{ "sources": { "poky": { "path": "poky", "git-remote": { "remotes": { "origin": { "uri": "https://git.example/poky" } },
        "rev": "0123456789012345678901234567890123456789", "describe": "" } } }, "version": "1.0" }"#;
    bench.write("layers/setup-layers.json", setup);
    let run = bench.kbuild_ok(&["init", "--from", "layers/setup-layers.json", "other", "--format", "json"]);
    assert!(bench.read("other/kbuild.toml").contains("rev = \"0123456789012345678901234567890123456789\""), "{run}");
}

#[test]
fn a_manifest_of_repo_becomes_layers() {
    let bench = TestProject::new();
    bench.write("more.xml", "<manifest>\n  <project name=\"meta-more\" remote=\"b\" upstream=\"next\"\n    revision=\"0123456789012345678901234567890123456789\"/>\n</manifest>\n");
    bench.write(
        "default.xml",
        "<?xml version=\"1.0\"?>\n<manifest>\n  <remote name=\"a\" fetch=\"https://git.example/a\"/>\n  \
         <remote name=\"b\" fetch=\"https://git.example/b/\" revision=\"refs/tags/v2\"/>\n  <default remote=\"a\" revision=\"scarthgap\"/>\n  \
         <project name=\"poky\" path=\"sources/poky\">\n    <copyfile src=\"x\" dest=\"x\"/>\n  </project>\n  \
         <project name=\"tagged\" remote=\"b\"/>\n  <include name=\"more.xml\"/>\n</manifest>\n",
    );
    let run = bench.kbuild_ok(&["init", "--from", "default.xml", "--format", "json"]);
    let manifest = manifest(&bench);
    assert_eq!(manifest["layers"]["poky"]["branch"].as_str(), Some("scarthgap"));
    assert_eq!(manifest["layers"]["tagged"]["tag"].as_str(), Some("v2"));
    assert_eq!(manifest["layers"]["meta-more"]["git"].as_str(), Some("https://git.example/b/meta-more"));
    assert_eq!(manifest["layers"]["meta-more"]["branch"].as_str(), Some("next"));
    assert_eq!(manifest["project"]["engine"].as_str(), Some("poky"));
    assert!(left_out(&run).contains(&"default.xml:7 <copyfile> x".to_owned()), "{run}");
}

/// A project whose two repositories are folders of this machine.
fn locked() -> (TestProject, Vec<String>) {
    let bench = TestProject::new();
    let upstream: Vec<PathBuf> = ["bitbake", "core"].iter().map(|name| bench.beside(name)).collect();
    let commits = vec![
        repository(&upstream[0], &[("bin/bitbake", "")]),
        repository(&upstream[1], &[("meta/conf/layer.conf", LAYER), ("meta-z/conf/layer.conf", LAYER)]),
    ];
    bench.write("meta-own/conf/layer.conf", LAYER);
    let text = format!(
        "[project]\nname = \"x\"\nconf = '''\nIMAGE_FEATURES += \"a\"\n\n  B = \"1\"\n'''\n[layers.bitbake]\ngit = \"{}\"\nbranch = \"main\"\n\
         [layers.core]\ngit = \"{}\"\nbranch = \"main\"\npaths = [\"meta\", \"meta-z\"]\npatches = [\"patches/new.patch\"]\n[layers.own]\npath = \"meta-own\"\n\
         [config]\nDISTRO = \"nodistro\"\nA = 'say \"x\"'\n[env]\nSITE = {{ forward = true, default = \"no\" }}\n\
         [options.big]\nflag = \"big\"\n\
         [boards.one]\nmachine = \"qemuarm64\"\nlayers = [\"own\", \"core\"]\ntargets = [\"img\", \"mc:g:img:do_sdk\"]\nset = {{ big = true }}\n\
         [boards.two]\nextends = \"one\"\nmachine = \"qemuarm\"\nset = {{ big = false }}\n\
         [cache]\npull = [\"https://cache.example/s\"]\n[closure]\nlock = \"none\"\n",
        url(&upstream[0]),
        url(&upstream[1])
    );
    bench.write("kata.toml", &text);
    bench.write("patches/new.patch", "--- /dev/null\n+++ b/NEW\n@@ -0,0 +1 @@\n+new\n");
    git(&bench.path(""), &["init", "-q", "-b", "main"]);
    bench.kbuild_ok(&["lock"]);
    (bench, commits)
}

#[test]
fn a_kas_file_has_the_commits_of_the_lock() {
    let (bench, commits) = locked();
    let run = bench.kbuild(&["export", "--kas", "--board", "one", "-"]);
    let masked = Run { stdout: run.stdout.replace(&commits[0], "[BITBAKE]").replace(&commits[1], "[CORE]"), ..run };
    assert_run!(bench, masked, "export_kas");
    let run = bench.kbuild(&["export", "--kas", "all.yml"]);
    assert!(run.code == Some(2) && run.stderr.contains("--board"), "{run}");
    bench.kbuild_ok(&["export", "--kas", "kas"]);
    assert!(bench.read("kas/two.yml").contains("machine: qemuarm\n"));
}

#[test]
fn a_kas_file_that_was_exported_comes_back() {
    let (bench, commits) = locked();
    bench.kbuild_ok(&["export", "--kas", "--board", "one", "one.yml"]);
    bench.kbuild_ok(&["init", "--from", "one.yml", "back"]);
    let text = bench.read("back/kbuild.toml");
    let back: toml::Value = toml::from_str(&text).expect("TOML");
    assert_eq!(back["layers"]["bitbake"]["rev"].as_str(), Some(commits[0].as_str()));
    assert_eq!(back["layers"]["core"]["rev"].as_str(), Some(commits[1].as_str()));
    assert_eq!(back["layers"]["this"]["path"].as_str(), Some(".."));
    let board = &back["boards"]["qemuarm64"];
    let list = |value: &toml::Value| -> Vec<String> {
        value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(list(&board["layers"]), ["this", "core"]);
    assert_eq!(list(&board["targets"]), ["img", "mc:g:img:do_sdk"]);
    assert_eq!(back["config"]["A"].as_str(), Some("say \"x\""));
    assert!(back["config"].get("OVERRIDES:append").is_none(), "{text}");
    assert_eq!(back["cache"]["pull"].as_array().expect("caches")[0].as_str(), Some("https://cache.example/s"));
    assert_eq!(back["env"]["SITE"]["default"].as_str(), Some("no"));
}
