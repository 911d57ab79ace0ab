//! What a manifest can say: text in BitBake's own language, fragments, the environment, layers in one repository and beside the
//! project.

use std::fs;

use kbuild_test::quickstart::{copy, engine, repository};

use super::truth::{Project, commit, says};

/// The variables that BitBake has for a recipe, in a build with these further arguments.
struct Variables(String);

impl Variables {
    fn of(project: &Project, arguments: &[&str]) -> Variables {
        let base = ["shell", "--board", "lantern"];
        let all = [&base[..], arguments, &["--", "bitbake", "-e", "tool"]].concat();
        Variables(project.bench.kbuild_ok(&all).stdout)
    }

    fn get(&self, name: &str) -> &str {
        let start = format!("{name}=\"");
        let exported = format!("export {start}");
        let line = self.0.lines().find_map(|line| line.strip_prefix(&start).or(line.strip_prefix(&exported)));
        line.unwrap_or_else(|| panic!("no {name} in\n{}", self.0)).trim_end_matches('"')
    }
}

/// Replaces a part of the manifest, which is there.
fn edit(project: &Project, from: &str, to: &str) {
    let text = project.bench.read("kata.toml");
    assert!(text.contains(from), "no {from:?} in {text}");
    project.bench.write("kata.toml", &text.replacen(from, to, 1));
}

const CONF: &str = r#"[project]
conf = '''
SUM = "1"
SUM += "2"
WEAK ?= "weak"
WEAK ?= "weaker"
BETWEEN:append = " behind"
SUM[doc] = "a flag"
PREFERRED_PROVIDER_virtual/kernel = "none"
LONG = "one \
  two"
require conf/undo.conf
'''
"#;

/// What would lead a build out of its seal, if it had an effect.
const UNDO: &str = r#"
BB_NO_NETWORK:forcevariable = "0"
BB_NO_NETWORK = "0"
BB_FETCH_PREMIRRORONLY:forcevariable = "0"
PREMIRRORS:prepend = "https?://.*/.* https://evil.example/ "
MIRRORS:append = " https?://.*/.* https://evil.example/ "
DL_DIR:forcevariable = "/tmp/evil"
SSTATE_DIR:append = "/evil"
SSTATE_MIRRORS:forcevariable = "file://.* https://evil.example/PATH"
KBUILD_SETS[DL_DIR] = "/tmp/evil"
unset KBUILD_SETS[BB_NO_NETWORK]
"#;

#[test]
fn bitbakes_own_language_says_what_it_likes_and_undoes_nothing_of_the_seal() {
    let Some(project) = Project::with(&["tool"], "conf = 'BOARD_SUM = \"${SUM} of the board\"'\n") else { return };
    project.recipe("tool", "");
    project.bench.kbuild_ok(&["lock"]);
    let variables = Variables::of(&project, &[]);
    let before = ["BB_NO_NETWORK", "BB_FETCH_PREMIRRORONLY", "PREMIRRORS", "MIRRORS", "DL_DIR", "SSTATE_DIR"]
        .map(|name| (name, variables.get(name)));

    project.bench.write("layers/meta-mini/conf/undo.conf", UNDO);
    edit(&project, "[project]\n", CONF);
    edit(
        &project,
        "[config]\n",
        "[config]\n\"PREFERRED_VERSION_virtual/x\" = \"1\"\n\"SUM[type]\" = \"x\"\nBETWEEN = \"before\"\n",
    );
    let run = project.bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "a changed `conf` makes the lock stale\n{run}");
    project.bench.kbuild_ok(&["lock"]);
    let after = Variables::of(&project, &[]);
    for (name, expected) in [
        ("SUM", "1 2"),
        ("WEAK", "weak"),
        ("BETWEEN", "before behind"),
        ("PREFERRED_PROVIDER_virtual/kernel", "none"),
        ("PREFERRED_VERSION_virtual/x", "1"),
        ("LONG", "one   two"),
        ("BOARD_SUM", "1 2 of the board"),
    ] {
        assert_eq!(after.get(name), expected, "{name}");
    }
    for (name, expected) in before {
        assert_eq!(after.get(name), expected, "{name}");
    }
    assert!(!after.get("SSTATE_MIRRORS").contains("evil"));
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);

    // Without kbuild's class nothing would set them again.
    project.bench.write("layers/meta-mini/conf/undo.conf", &format!("{UNDO}INHERIT:remove = \"kbuild-lock\"\n"));
    let run = project.bench.kbuild(&["build", "--board", "lantern"]);
    says(&run, &["BitBake ran without kbuild's class"]);
    assert_eq!(run.code, Some(1), "{run}");

    edit(&project, "SUM += \"2\"", "DL_DIR = \"/srv\"");
    let run = project.bench.kbuild(&["lock"]);
    says(&run, &["`DL_DIR` is set by kbuild itself", "kata.toml:2", "in line 2 of this text"]);
    assert_eq!(run.code, Some(1), "{run}");
}

const FRAGMENTS: &str = r#"
fragments = ["base"]
[fragments.base]
config = { WHO = "base", MORE = "" }
[fragments.disk]
layers = ["meta-disk"]
conf = 'WHO = "${DISK} disk"'
[fragments.more]
conflicts = ["disk"]
config = { MORE = "MORE_URI" }
[options.boot]
choices = { initrd = "", disk = "" }
default = "initrd"
fragments = { disk = ["disk"] }
[closure]
with = ["more"]
"#;

#[test]
fn fragments_of_boards_options_and_the_command_line_are_locked_and_built() {
    let Some(project) = Project::with(&["tool"], FRAGMENTS) else { return };
    let entry = |name: &str| {
        let sha256 = project.file(name, name.as_bytes());
        format!("{}/{name};unpack=0;sha256sum={sha256}", project.server.url)
    };
    edit(&project, "MORE_URI", &entry("more.txt"));
    let disk = fs::read_to_string(project.bench.path("layers/meta-user/conf/layer.conf")).expect("a layer");
    let disk = disk.replace("user", "disk") + "DISK = \"a\"\nBBFILE_PATTERN_IGNORE_EMPTY_disk = \"1\"\n";
    project.bench.write("layers/meta-disk/conf/layer.conf", &disk);
    edit(&project, "[mirrors]\n", "[layers.meta-disk]\npath = \"layers/meta-disk\"\n[mirrors]\n");
    project.recipe("tool", &format!("SRC_URI = \"{} ${{MORE}}\"\n", entry("tool.txt")));
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["lock", "--locked"]);
    let lock = project.bench.read("kata.lock");
    for part in ["[board.lantern.with.\"boot=disk\"]", "[board.lantern.with.\"with=more\"]", "more.txt"] {
        assert!(lock.contains(part), "no {part} in {lock}");
    }

    assert_eq!(Variables::of(&project, &[]).get("WHO"), "base");
    assert_eq!(Variables::of(&project, &["--set", "boot=disk"]).get("WHO"), "a disk");
    let run = project.bench.kbuild_ok(&["build", "--board", "lantern", "--with", "more"]);
    says(&run, &["Board lantern, boot=initrd, with more"]);
    assert!(project.bench.path("build/lantern/tmp/work/lantern/tool/sources/more.txt").is_file());
    let result = project.bench.result("lantern");
    assert_eq!(result["fragments"], serde_json::json!(["base", "more"]));

    let run = project.bench.kbuild(&["build", "--board", "lantern", "--with", "moer"]);
    says(&run, &["there is no fragment `moer`", "did you mean `more`?"]);
    let run = project.bench.kbuild(&["build", "--board", "lantern", "--with", "more", "--set", "boot=disk"]);
    says(&run, &["the fragment `more` conflicts with the fragment `disk`"]);
    edit(&project, "with = [\"more\"]", "");
    project.bench.kbuild_ok(&["lock"]);
    let run = project.bench.kbuild(&["build", "--board", "lantern", "--with", "more"]);
    says(&run, &["with=more is not locked: name the fragment in `[closure] with`"]);

    // A folder that only a choice reads is looked at too.
    project.bench.write("layers/meta-disk/conf/layer.conf", &disk.replace("\"a\"", "\"b\""));
    let run = project.bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["the layer `meta-disk` was edited"]);
}

const ENV: &str = r#"
env = { SITE = "board", BUILD_LABEL = { forward = true, default = "none" }, SECRET_TOKEN = { forward = true } }
[env]
SITE = "project"
COMMON = "all of us"
"#;

#[test]
fn the_environment_is_set_or_forwarded_and_what_is_forwarded_is_not_kept() {
    let Some(mut project) = Project::with(&["tool"], ENV) else { return };
    project.recipe("tool", "LABEL = \"${BUILD_LABEL}\"\n");
    project.bench.set("SECRET_TOKEN", "hunter2");
    project.bench.kbuild_ok(&["lock"]);
    let lock = project.bench.read("kata.lock");
    assert!(!lock.contains("hunter2"));
    let variables = Variables::of(&project, &[]);
    for (name, expected) in [("SITE", "board"), ("COMMON", "all of us"), ("LABEL", "none"), ("SECRET_TOKEN", "hunter2")]
    {
        assert_eq!(variables.get(name), expected, "{name}");
    }
    project.bench.set("BUILD_LABEL", "nightly");
    project.bench.set("COMMON", "mine");
    let variables = Variables::of(&project, &[]);
    assert_eq!((variables.get("LABEL"), variables.get("COMMON")), ("nightly", "all of us"));
    project.bench.kbuild_ok(&["lock", "--locked"]);
    project.bench.kbuild_ok(&["lock"]);
    assert_eq!(project.bench.read("kata.lock"), lock, "who locks makes no difference");
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    let result = project.bench.read("build/lantern/result.json");
    assert!(!result.contains("hunter2") && result.contains("SECRET_TOKEN"), "{result}");

    edit(&project, "default = \"none\"", "default = \"some\"");
    assert_eq!(project.bench.kbuild(&["lock", "--locked"]).code, Some(3));
}

#[test]
fn one_repository_has_the_layers_and_the_engine() {
    let Some(project) = Project::new(&["tool"]) else { return };
    project.recipe("tool", "");
    let poky = project.repository("poky");
    copy(&engine().expect("the engine"), &poky.join("bitbake"));
    copy(&repository().join("examples/quickstart/layers/meta-mini"), &poky.join("meta"));
    fs::remove_dir_all(poky.join("meta/recipes")).expect("recipes");
    commit(&poky);
    project.publish("poky", &poky);
    let layer = "git = \"https://upstream.example/poky.git\"\nbranch = \"main\"\npaths = [\"meta\"]\n";
    edit(&project, "engine = \"bitbake\"", "engine = \"poky\"");
    edit(&project, "[layers.bitbake]\ngit = \"https://upstream.example/bitbake.git\"\nbranch = \"2.19\"\n", "");
    edit(&project, "[layers.meta-mini]\npath = \"layers/meta-mini\"\n", &format!("[layers.poky]\n{layer}"));
    edit(&project, "\"meta-mini\", ", "\"poky\", ");
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    let result = project.bench.result("lantern");
    assert_eq!(result["engine"]["name"], "poky");
    assert_eq!(result["engine"]["commit"], result["layers"][0]["commit"]);
}

#[test]
fn a_layer_beside_the_project_is_watched_as_one_inside() {
    let Some(project) = Project::new(&["tool"]) else { return };
    project.recipe("tool", "");
    // The project's own repository is a layer, with the project in a folder of it.
    fs::rename(project.bench.path("layers/meta-user/conf"), project.bench.beside("conf")).expect("moved");
    fs::rename(project.bench.path("layers/meta-user/recipes"), project.bench.beside("recipes")).expect("moved");
    edit(&project, "path = \"layers/meta-user\"", "path = \"..\"");
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["lock", "--locked"]);
    let lock = project.bench.read("kata.lock");
    assert!(!lock.contains("local.conf") && lock.contains("recipes/tool/tool.bb"), "{lock}");
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    project.bench.kbuild_ok(&["lock", "--locked"]);
    let recipe = project.bench.beside("recipes/tool/tool.bb");
    fs::write(&recipe, fs::read_to_string(&recipe).expect("a recipe") + "A = \"1\"\n").expect("written");
    let run = project.bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["the layer `meta-user` was edited (recipes/tool/tool.bb)"]);

    // The same at the project's own top.
    for folder in ["conf", "recipes"] {
        fs::rename(project.bench.beside(folder), project.bench.path(folder)).expect("moved");
    }
    edit(&project, "path = \"..\"", "path = \".\"");
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    project.bench.kbuild_ok(&["lock", "--locked"]);
}

#[test]
fn a_board_has_several_targets_and_some_name_a_task() {
    let Some(project) = Project::new(&["tool:do_unpack", "other"]) else { return };
    for name in ["tool", "other"] {
        let file = format!("{name}.txt");
        let sha256 = project.file(&file, name.as_bytes());
        project.recipe(name, &format!("SRC_URI = \"{}/{file};unpack=0;sha256sum={sha256}\"\n", project.server.url));
    }
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["lock", "--locked"]);
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    let made = |path: &str| project.bench.path(format!("build/lantern/tmp/work/lantern/{path}")).exists();
    assert!(made("tool/sources/tool.txt") && made("other/sources/other.txt") && made("other/image"));
    assert!(!made("tool/image"), "of `tool` only one task is wanted");
}
