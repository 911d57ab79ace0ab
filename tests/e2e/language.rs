//! What a manifest can say: text in BitBake's own language.

use super::truth::{Project, says};

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
