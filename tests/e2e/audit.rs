//! `kbuild audit` on a layer with planted leaks: it finds each of them, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kbuild_test::assert_run;
use kbuild_test::project::TestProject;
use kbuild_test::quickstart::copy;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bad-layer")
}

fn bench() -> TestProject {
    let bench = TestProject::new();
    copy(&fixture(), &bench.path("bad-layer"));
    bench
}

type Place = (String, u64, String);

/// The findings that the layer's comments `# planted: KIND [+N]` name.
fn planted(directory: &Path, into: &mut BTreeSet<Place>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            planted(&path, into);
            continue;
        }
        let name = Path::new("bad-layer").join(path.strip_prefix(fixture()).expect("a file of the layer"));
        for (line, text) in std::fs::read_to_string(&path).expect("text").lines().enumerate() {
            let Some(marker) = text.trim().strip_prefix("# planted: ") else { continue };
            let (kind, after) = marker.split_once(" +").unwrap_or((marker, "1"));
            let line = u64::try_from(line).expect("a line") + 1 + after.parse::<u64>().expect("a number");
            into.insert((name.display().to_string(), line, kind.to_owned()));
        }
    }
}

#[test]
fn each_planted_leak_and_nothing_else() {
    let bench = bench();
    let run = bench.kbuild(&["audit", "bad-layer", "--format", "json"]);
    assert_eq!(run.code, Some(1), "{run}");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let document = run.json();
    let findings = document["findings"].as_array().expect("findings");
    let found =
        findings.iter().map(|one| (text(&one["file"]), one["line"].as_u64().expect("a line"), text(&one["kind"])));
    let found: BTreeSet<Place> = found.collect();
    let mut expected = BTreeSet::new();
    planted(&fixture(), &mut expected);
    assert!(expected.len() > 60, "the fixture was read: {}", expected.len());
    let missed: Vec<_> = expected.difference(&found).collect();
    let wrong: Vec<_> = found.difference(&expected).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "missed: {missed:#?}\nnot planted: {wrong:#?}");
    assert_eq!(findings.len(), found.len(), "one finding of a kind for a line");
    assert_eq!(document["allowed"], 3);
}

#[test]
fn every_kind_is_planted() {
    let mut expected = BTreeSet::new();
    planted(&fixture(), &mut expected);
    let planted: BTreeSet<&str> = expected.iter().map(|(_, _, kind)| kind.as_str()).collect();
    let documented = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/audit.md"));
    let documented = documented.expect("the reference");
    let (documented, _) = documented.split_once("## What is read").expect("the section after the kinds");
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<&str> = rows.map(|(kind, _)| kind).collect();
    assert_eq!(planted, documented);
}

#[test]
fn as_text_and_json() {
    let bench = bench();
    assert_run!(bench, bench.kbuild(&["audit", "bad-layer"]), "bad_layer");
    assert_run!(bench, bench.kbuild(&["audit", "bad-layer", "--format", "json"]), "bad_layer_json");
}

#[test]
fn nothing_found() {
    let bench = TestProject::new();
    bench.write("good/conf/layer.conf", "BBFILE_COLLECTIONS += \"good\"\n");
    bench.write("good/recipes/a/a_1.bb", "SRC_URI = \"file://a\"\n");
    assert_run!(bench, bench.kbuild(&["audit", "good"]), "nothing_found");
    assert_run!(bench, bench.kbuild(&["audit", "good", "--format", "json"]), "nothing_found_json");
}

#[test]
fn no_layer_where_it_was_asked_for() {
    let bench = TestProject::new();
    bench.write("empty/a.bb", "");
    assert_run!(bench, bench.kbuild(&["audit", "empty"]), "no_layer");
    assert_run!(bench, bench.kbuild(&["audit", "gone"]), "no_directory");
}

#[test]
fn the_layers_of_the_manifest() {
    let manifest = r#"[project]
name = "test"

[layers.bitbake]
path = "layers/bitbake"
[layers.meta-leak]
path = "layers/meta-leak"
[layers.meta-good]
path = "layers/meta-good"

[boards.leak]
machine = "qemux86-64"
layers = ["meta-leak"]
targets = ["image"]

[boards.good]
machine = "qemux86-64"
layers = ["meta-good"]
targets = ["image"]
"#;
    let bench = TestProject::with_manifest(manifest);
    bench.write("layers/bitbake/bin/bitbake", "");
    bench.write("layers/meta-good/conf/layer.conf", "");
    bench.write("layers/meta-leak/conf/layer.conf", "");
    bench.write("layers/meta-leak/r/a_1.bb", "do_install_append() {\n    curl https://upstream.example/a\n}\n");
    assert_run!(bench, bench.kbuild(&["audit"]), "of_the_manifest");
    bench.kbuild_ok(&["audit", "--board", "good"]);
    assert_eq!(bench.kbuild(&["audit", "--board", "leak"]).code, Some(1));
    assert_eq!(bench.kbuild(&["audit", "--board", "lost"]).code, Some(1));
}

#[test]
fn a_project_allows_pins_and_knows_findings() {
    let manifest = r#"[project]
name = "test"

[layers.bitbake]
path = "layers/bitbake"
[layers.meta-leak]
path = "layers/meta-leak"

[sources.follows]
git = "https://upstream.example/follows.git"
branch = "main"
recipes = ["follows"]

[boards.leak]
machine = "qemux86-64"
layers = ["meta-leak"]
targets = ["image"]
"#;
    let bench = TestProject::with_manifest(manifest);
    bench.write("layers/bitbake/bin/bitbake", "");
    bench.write("layers/meta-leak/conf/layer.conf", "BBFILE_COLLECTIONS += \"leak\"\n");
    bench.write("layers/meta-leak/r/follows_1.bb", "SRCREV = \"${AUTOREV}\"\n");
    bench.write("layers/meta-leak/r/a_1.bb", "do_compile[network] = \"1\"\n");
    let run = bench.kbuild(&["audit", "--sarif", "audit.sarif"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("1 moving revision not counted"), "{run}");
    let sarif: serde_json::Value = serde_json::from_str(&bench.read("audit.sarif")).expect("JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert_eq!((results.len(), &results[0]["ruleId"]), (1, &serde_json::json!("task-network")));
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "layers/meta-leak/r/a_1.bb");
    assert_eq!(place["region"]["startLine"], 1);

    bench.kbuild_ok(&["audit", "--write-baseline", "audit.json"]);
    bench.kbuild_ok(&["audit", "--baseline", "audit.json"]);
    bench.write("layers/meta-leak/r/b_1.bb", "do_compile[network] = \"1\"\n");
    let run = bench.kbuild(&["audit", "--baseline", "audit.json"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.contains("b_1.bb:1") && !run.stdout.contains("a_1.bb"), "{run}");

    let allow = |recipe: &str| {
        format!(
            "\n[[audit.allow]]\nrule = \"task-network\"\nlayer = \"leak\"\nrecipe = \"{recipe}\"\nwhy = \"known\"\n"
        )
    };
    bench.write("kata.toml", &format!("{manifest}{}{}{}", allow("a"), allow("b"), allow("gone")));
    let run = bench.kbuild_ok(&["audit"]);
    assert!(run.stderr.contains("allows a task-network that is not there"), "{run}");
    bench.write("kata.toml", &format!("{manifest}{}", allow("a").replace("task-network", "task-networks")));
    let run = bench.kbuild(&["audit"]);
    assert!(run.stderr.contains("did you mean `task-network`?"), "{run}");
    bench.write("kata.toml", &format!("{manifest}{}", allow("a").replace("why = \"known\"\n", "")));
    assert!(bench.kbuild(&["audit"]).stderr.contains("does not say why"));
}
