//! People work on layers while they build: no edit is lost, in whatever place, and what is built of it is said.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{Upstreams, copy, engine, git, repository, upstreams};
use kbuild_test::sha256;

/// The quickstart, its layer moved into a repository of its own beside the other upstreams.
struct Team {
    bench: TestProject,
    _upstreams: Upstreams,
    served: PathBuf,
}

impl Team {
    fn new() -> Option<Team> {
        let engine = engine()?;
        let mut bench = TestProject::new();
        let served = bench.beside("served");
        copy(upstreams(&engine), &served);
        let work = bench.beside("meta-mini");
        copy(&repository().join("examples/quickstart/layers/meta-mini"), &work);
        git(&work, &["init", "-q", "-b", "main"]);
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "The layer"]);
        git(&served, &["clone", "-q", "--bare", &text(&work), "meta-mini.git"]);
        let running = Upstreams::serve_to(&mut bench, &served, 0.0);
        let manifest = fs::read_to_string(repository().join("examples/quickstart/kata.toml")).expect("a manifest");
        let layer = "git = \"https://upstream.example/meta-mini.git\"\nbranch = \"main\"";
        bench.write("kata.toml", &manifest.replace("path = \"layers/meta-mini\"", layer));
        Some(Team { bench, _upstreams: running, served })
    }

    /// A commit in the layer's upstream.
    fn move_upstream(&self, file: &str, content: &str) {
        let work = self.bench.beside("meta-mini");
        fs::write(work.join(file), content).expect("a file");
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "More"]);
        git(&work, &["push", "-q", &text(&self.served.join("meta-mini.git")), "main"]);
    }

    /// The checkout of the layer that the lock has.
    fn checkout(&self) -> PathBuf {
        let lock = kbuild::lock::Lock::read(&self.bench.path("kata.lock")).expect("a lock").expect("a lock");
        let kbuild::lock::Locked::Git(_, git) = lock.get(&lock.layers["meta-mini"].locked).expect("locked") else {
            panic!("a git layer");
        };
        self.bench.path(format!("build/layers/meta-mini-{}", git.commit.short()))
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn append(path: &Path, more: &str) {
    let text = fs::read_to_string(path).expect("a file");
    fs::write(path, text + more).expect("written");
}

#[test]
fn an_edit_in_a_layers_checkout_is_never_lost() {
    let Some(team) = Team::new() else { return };
    let bench = &team.bench;
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let checkout = team.checkout();
    let head = git(&checkout, &["rev-parse", "HEAD"]);
    assert_eq!(git(&checkout, &["status", "--porcelain"]), "");
    assert!(head.starts_with(&text(&checkout)[text(&checkout).len() - 12..]), "{head}");
    // Inside a build git sees the same commit, and nothing can be written.
    let script = format!("git -C {0} rev-parse HEAD && ! touch {0}/x {0}/.git/x", text(&checkout));
    let run = bench.kbuild_ok(&["shell", "--board", "lantern", "--", "sh", "-c", &script]);
    assert_eq!(run.stdout.trim(), head, "{run}");

    let recipe = checkout.join("recipes/greeter/greeter_git.bb");
    append(&recipe, "SUMMARY = \"Mine\"\n");
    let kept = fs::read_to_string(&recipe).expect("the recipe");
    for command in [&["build", "--board", "lantern"][..], &["shell", "--board", "lantern", "--", "true"]] {
        let run = bench.kbuild(command);
        assert_eq!(run.code, Some(1), "{run}");
        for words in ["the layer `meta-mini` is not as locked", "modified: recipes/greeter/greeter_git.bb", "rm -r"] {
            assert!(run.stderr.contains(words), "{words}: {run}");
        }
    }
    for command in [&["lock"][..], &["fetch"], &["verify"], &["gc"], &["audit"], &["list"]] {
        bench.kbuild(command);
        assert_eq!(fs::read_to_string(&recipe).expect("the recipe"), kept, "{command:?}");
    }
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "--allow-dirty"]);
    let sentence = "not from the lock: the layer `meta-mini`, edited in its checkout";
    assert!(run.stderr.contains(sentence), "{run}");
    let result = team.bench.result("lantern");
    assert_eq!(result["not_from_the_lock"], serde_json::json!([sentence]));
    assert_eq!(result["layers"][0]["edited"], serde_json::json!(["modified: recipes/greeter/greeter_git.bb"]));
    assert_eq!(fs::read_to_string(&recipe).expect("the recipe"), kept);

    // The lock moves on: the edit stays where it is, is said to be unused, and git still knows its base.
    team.move_upstream("README.md", "More words.\n");
    bench.kbuild_ok(&["update", "meta-mini"]);
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(run.stderr.contains("has edits that are not used"), "{run}");
    assert!(team.bench.result("lantern").get("not_from_the_lock").is_none());
    let run = bench.kbuild_ok(&["gc"]);
    assert!(run.stderr.contains("has edits: what git needs for them stays"), "{run}");
    assert!(git(&checkout, &["diff"]).contains("+SUMMARY = \"Mine\""));
    assert_ne!(team.checkout(), checkout);
}

#[test]
fn a_layer_is_built_from_a_clone_of_it_and_the_lock_stays() {
    let Some(team) = Team::new() else { return };
    let bench = &team.bench;
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let before = artifact(&team, "hello");

    let run = bench.kbuild_ok(&["checkout", "meta-mini", "../mine"]);
    assert!(run.stderr.contains("--override meta-mini="), "{run}");
    let mine = bench.beside("mine");
    let locked = git(&team.checkout(), &["rev-parse", "HEAD"]);
    assert_eq!(git(&mine, &["rev-parse", "HEAD", "main", "origin/main"]).lines().collect::<Vec<_>>(), [&locked; 3]);
    assert_eq!(git(&mine, &["remote", "get-url", "origin"]), "https://upstream.example/meta-mini.git");
    assert_eq!(git(&mine, &["status", "--porcelain", "--branch"]), "## main...origin/main");
    assert_eq!(bench.kbuild(&["checkout", "meta-mini", "../mine"]).code, Some(1), "what is there is not written over");

    let recipe = mine.join("recipes/hello/hello.bb");
    append(&recipe, "GREETING = \"Good evening\"\n");
    let run = bench.kbuild_ok(&["build", "--board", "lantern", "--override", "meta-mini=../mine"]);
    assert!(run.stderr.contains("the layer `meta-mini` is taken from"), "{run}");
    assert_ne!(artifact(&team, "hello"), before);
    let sentence = format!("not from the lock: the layer `meta-mini`, from {}", text(&mine));
    assert_eq!(team.bench.result("lantern")["not_from_the_lock"], serde_json::json!([sentence]));

    // The same for every build on this machine; the flag wins.
    bench.write("kata.local.toml", "[overrides]\nmeta-mini = \"../mine\"\n");
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(run.stderr.contains("(kata.local.toml), not from kata.lock"), "{run}");
    assert_eq!(team.bench.result("lantern")["not_from_the_lock"], serde_json::json!([sentence]));
    bench.kbuild_ok(&["lock", "--locked"]);
    assert_eq!(bench.read("kata.lock"), lock);
    bench.write("kata.local.toml", "[overrides]\nmeta-mimi = \"../mine\"\n");
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("did you mean `meta-mini`?"), "{run}");
    std::fs::remove_file(bench.path("kata.local.toml")).expect("removed");
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(!run.stderr.contains("not from the lock"), "{run}");
    assert_eq!(artifact(&team, "hello"), before);

    // Where the upstream cannot be asked, the clone has what the store has.
    bench.kbuild_ok(&["checkout", "meta-mini", "../offline", "--offline"]);
    assert_eq!(git(&bench.beside("offline"), &["rev-parse", "HEAD"]), locked);
    let packs =
        fs::read_dir(bench.beside("offline/.git/objects/pack")).expect("packs").map(|pack| pack.expect("a pack"));
    let links: Vec<u64> = packs.map(|pack| pack.metadata().expect("its metadata").nlink()).collect();
    assert_eq!(links, [1, 1], "whoever works in the clone cannot write to the store");
}

/// The hash of an artifact of the lantern's last build.
fn artifact(team: &Team, path: &str) -> String {
    let result = team.bench.result("lantern");
    let artifacts = result["artifacts"].as_array().expect("artifacts");
    let found = artifacts.iter().find(|artifact| artifact["path"] == path).expect("the artifact");
    found["sha256"].as_str().expect("a hash").to_owned()
}

/// What devtool's `modify` leaves in a build directory, with a class that does what externalsrc.bbclass does.
const MODIFY: &str = r##"
set -e
mkdir -p workspace/conf workspace/appends workspace/classes
cat > workspace/conf/layer.conf <<'END'
BBPATH =. "${LAYERDIR}:"
BBFILES += "${LAYERDIR}/appends/*.bbappend"
BBFILE_COLLECTIONS += "workspacelayer"
BBFILE_PATTERN_workspacelayer = "^${LAYERDIR}/"
BBFILE_PATTERN_IGNORE_EMPTY_workspacelayer = "1"
BBFILE_PRIORITY_workspacelayer = "99"
LAYERSERIES_COMPAT_workspacelayer = "mini"
END
cat > workspace/classes/externalsrc.bbclass <<'END'
python () {
    d.setVar("S", d.getVar("EXTERNALSRC"))
    d.setVar("SRC_URI", "")
    d.setVar("BB_DONT_CACHE", "1")
    d.setVarFlag("do_compile", "nostamp", "1")
}
END
printf '[General]\nworkspace_path = %s/workspace\n' "$PWD" > conf/devtool.conf
sed -i "s#^\"\$#    $PWD/workspace \\\\\n\"#" conf/bblayers.conf
"##;

#[test]
fn devtools_workspace_survives_and_is_part_of_the_next_build() {
    let Some(team) = Team::new() else { return };
    let bench = &team.bench;
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let before = artifact(&team, "greeter");
    // A source tree outside of the project, as `devtool modify greeter DIR` has it.
    let source = bench.beside("sources/greeter");
    fs::create_dir_all(&source).expect("directories");
    fs::write(source.join("greeter.c"), "int main(void) { return 0; }\n").expect("a source");
    let append_text = format!("inherit externalsrc\nEXTERNALSRC = \"{}\"\n", text(&source));
    let script =
        format!("{MODIFY}printf '{}' > workspace/appends/greeter_git.bbappend\n", append_text.replace('\n', "\\n"));
    bench.kbuild_ok(&["shell", "--board", "lantern", "--", "bash", "-c", &script]);

    // A task could have written that too, and would then write anywhere.
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(1), "{run}");
    let line = format!("source-trees = [\"{}\"]", text(&source));
    assert!(run.stderr.contains("leads to") && run.stderr.contains("kata.local.toml"), "{run}");
    bench.write("kata.local.toml", &line);
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(!run.stderr.contains("somebody edited"), "devtool's own line is kbuild's too: {run}");
    assert_ne!(artifact(&team, "greeter"), before);
    let expected = [
        "not from the lock: the layer `workspace`, from build/lantern/workspace".to_owned(),
        format!("not from the lock: the recipe `greeter`, from {}", text(&source)),
    ];
    assert_eq!(team.bench.result("lantern")["not_from_the_lock"], serde_json::json!(expected));
    assert!(expected.iter().all(|sentence| run.stderr.contains(sentence)), "{run}");
    // The tree can be written by its tasks, and by nothing else of a build.
    let touch = format!("touch {}/x", text(&source));
    bench.kbuild_ok(&["shell", "--board", "lantern", "--", "sh", "-c", &touch]);
    // The lock is not of it, and a second build still has it.
    let lock = bench.read("kata.lock");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kata.lock"), lock);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(team.bench.result("lantern")["not_from_the_lock"], serde_json::json!(expected));

    // What a person writes into a generated file is kept, and said.
    append(&bench.path("build/lantern/conf/local.conf"), "FOO = \"bar\"\n");
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(run.stderr.contains("somebody edited build/lantern/conf/local.conf"), "{run}");
    assert!(bench.read("build/lantern/conf/local.conf.edited").contains("FOO"));
    assert!(!bench.read("build/lantern/conf/local.conf").contains("FOO"));
    // Reset, as devtool does: the next build is the lock's again.
    fs::remove_dir_all(bench.path("build/lantern/workspace")).expect("removed");
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(team.bench.result("lantern").get("not_from_the_lock").is_none());
    assert_eq!(artifact(&team, "greeter"), before);
}

/// The quickstart, its layer a folder of the project; locked.
fn with_a_folder() -> Option<(TestProject, Upstreams)> {
    with_a_folder_and(|_, manifest| manifest)
}

/// Another manifest, in which uninative is locked: then a discovery and a build have one configuration.
fn with_uninative(served: &Path, manifest: String) -> String {
    let name = format!("{}-nativesdk-libc-1.tar.xz", std::env::consts::ARCH);
    fs::write(served.join(&name), "a loader").expect("a file");
    let sha256 = sha256(b"a loader");
    format!("{manifest}\n[sources.uninative]\nurl = \"https://upstream.example/{name}\"\nsha256 = \"{sha256}\"\n")
}

fn with_a_folder_and(change: impl FnOnce(&Path, String) -> String) -> Option<(TestProject, Upstreams)> {
    let engine = engine()?;
    let mut bench = TestProject::new();
    kbuild_test::quickstart::copy_project(&bench);
    let served = bench.beside("served");
    copy(upstreams(&engine), &served);
    let running = Upstreams::serve_to(&mut bench, &served, 0.0);
    let manifest = change(&served, bench.read("kata.toml"));
    bench.write("kata.toml", &manifest);
    bench.kbuild_ok(&["lock"]);
    Some((bench, running))
}

/// How many recipes BitBake has to parse for a board now.
fn parsed(bench: &TestProject, board: &str) -> usize {
    let run = bench.kbuild_ok(&["shell", "--board", board, "--", "bitbake", "--parse-only"]);
    // bb.ui.knotty says how many were parsed only if there was anything to parse.
    let Some((_, said)) = run.stdout.split_once(" cached, ") else {
        assert!(run.stdout.contains(" entries from dependency cache."), "{run}");
        return 0;
    };
    said.split_once(" parsed").unwrap_or_else(|| panic!("{run}")).0.parse().expect("a number")
}

/// The recipes that were asked again in a board's last discovery.
fn asked_again(bench: &TestProject, board: &str) -> Vec<String> {
    let found = fs::read_dir(bench.path(format!("build/{board}/kbuild/reparsed"))).expect("recipes were asked again");
    let mut names: Vec<String> = found
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().split("%40").next().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn only_what_decides_about_sources_makes_a_lock_stale() {
    // Without the option, which the layer's configuration names: with each choice of it everything is parsed.
    let without_option = |_: &Path, manifest: String| manifest.replace("[options.loud]\nflag = \"mini-loud\"\n", "");
    let Some((bench, _running)) = with_a_folder_and(without_option) else { return };
    let lock = bench.read("kata.lock");
    assert!(lock.contains("[folders.meta-mini]") && lock.contains("\"recipes/hello/hello.bb\" = "), "{lock}");
    let recipe = bench.path("layers/meta-mini/recipes/greeter/greeter_git.bb");
    // A comment, a README, a patch, a task's body.
    append(&recipe, "# A comment\n\ndo_install:append() {\n    true\n}\n");
    // The function itself is new, so it counts once.
    bench.kbuild_ok(&["lock"]);
    let with_function = bench.read("kata.lock");
    let text_of = fs::read_to_string(&recipe).expect("the recipe");
    fs::write(&recipe, text_of.replace("    true\n", "    : # another body\n").replace("# A comment", "# Others"))
        .unwrap();
    bench.write("layers/meta-mini/README.md", "Other words.\n");
    bench.write("layers/meta-mini/recipes/greeter/files/fix.patch", "nothing\n");
    bench.kbuild_ok(&["lock", "--locked"]);
    let run = bench.kbuild_ok(&["build", "--board", "lantern"]);
    assert!(!run.stderr.contains("edited since"), "{run}");

    // What a recipe says of itself is asked of BitBake's parse: one run, and the closures stay.
    append(&recipe, "SUMMARY = \"Other words\"\n");
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    let run = bench.kbuild_ok(&["lock"]);
    assert!(run.stderr.contains("(recipes/greeter/greeter_git.bb)"), "{run}");
    let relocked = bench.read("kata.lock");
    let changed: Vec<_> = relocked.lines().filter(|line| !with_function.lines().any(|old| old == *line)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].starts_with("\"recipes/greeter/greeter_git.bb\" = "), "{changed:?}");
    for board in ["lantern", "harbour"] {
        assert!(!bench.path(format!("build/{board}/kbuild/closure")).exists(), "{board} was asked for everything");
        assert_eq!(asked_again(&bench, board), ["greeter"]);
    }
    bench.kbuild_ok(&["lock", "--locked"]);

    // What it needs makes another graph: then everything is asked.
    append(&recipe, "DEPENDS += \"hello\"\n");
    bench.kbuild_ok(&["lock"]);
    assert!(bench.path("build/lantern/kbuild/closure").exists());
}

#[test]
fn a_bumped_source_has_only_its_users_parsed() {
    let Some((bench, _running)) = with_a_folder_and(with_uninative) else { return };
    // Another version of the tarball: other bytes, another name.
    let (served, unpacked) = (bench.beside("served"), bench.beside("unpacked"));
    fs::create_dir(&unpacked).expect("a directory");
    let tar = |args: &[&str]| {
        let status = std::process::Command::new("tar").args(args).current_dir(&unpacked).status();
        assert!(status.expect("tar starts").success(), "{args:?}");
    };
    tar(&["-xzf", &text(&served.join("hello-1.0.tar.gz"))]);
    fs::rename(unpacked.join("hello-1.0"), unpacked.join("hello-1.1")).expect("renamed");
    tar(&["-czf", &text(&served.join("hello-1.1.tar.gz")), "hello-1.1"]);
    assert_eq!(parsed(&bench, "lantern"), 0, "locking has parsed everything");
    let manifest = bench.read("kata.toml");
    let bumped = manifest.replace("version = \"1.0\"", "version = \"1.1\"");
    bench.write("kata.toml", &bumped);
    bench.kbuild_ok(&["lock"]);
    assert!(bench.read("kata.lock").contains("[file.\"hello-1.1.tar.gz\"]"));
    // Its version is another one, so the graph is asked for too; nothing is parsed for that.
    assert_eq!(parsed(&bench, "lantern"), 0);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    // Back, and only hello is parsed.
    bench.write("kata.toml", &manifest);
    let old = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    assert!(old.files.contains_key("hello-1.1.tar.gz"));
    bench.kbuild_ok(&["lock"]);
    assert_eq!(parsed(&bench, "lantern"), 0);
}

/// No source pins tidings now: its AUTOREV does float, and the lock has the commit.
fn tidings_floats(served: &Path, manifest: String) -> String {
    let manifest = with_uninative(served, manifest);
    let (before, after) = manifest.split_once("[sources.tidings]").expect("the source");
    let (_, after) = after.split_once("\n[").expect("the next table");
    format!("{before}[{after}")
}

/// The recipes of a board that were parsed alone in its last discovery, by the names of their files; `None` where BitBake looked
/// at all of them.
fn parsed_alone(bench: &TestProject, board: &str) -> Option<Vec<String>> {
    let asked = fs::read_to_string(bench.path(format!("build/{board}/kbuild/asked"))).ok()?;
    Some(asked.lines().map(|path| path.rsplit('/').next().unwrap_or_default().to_owned()).collect())
}

#[test]
fn an_edit_is_asked_of_those_that_it_concerns() {
    // One configuration: each edit is asked of each.
    let small = |served: &Path, manifest: String| {
        let manifest = tidings_floats(served, manifest).replace("boards = [\"harbour\"]", "boards = [\"lantern\"]");
        let manifest = manifest.replace("[options.loud]\nflag = \"mini-loud\"\n", "");
        manifest.replace(
            "[boards.harbour]\nmachine = \"harbour\"\nlayers = [\"meta-mini\"]\ntargets = [\"mini-image\"]\n",
            "",
        )
    };
    let Some((bench, _running)) = with_a_folder_and(small) else { return };
    let layer = |path: &str| bench.path(format!("layers/meta-mini/{path}"));
    // Who needs the file, and who is in no closure and needs it too.
    fs::write(layer("recipes/hello/common.inc"), "SUMMARY = \"One\"\n").expect("a file");
    append(&layer("recipes/hello/hello.bb"), "require common.inc\n");
    fs::write(layer("recipes/hello/twin.bb"), "LICENSE = \"MIT\"\nrequire common.inc\n").expect("a file");
    append(&layer("conf/layer.conf"), "INHERIT += \"everywhere\"\n");
    fs::write(layer("classes/everywhere.bbclass"), "EVERYWHERE = \"1\"\n").expect("a file");
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    assert!(lock.contains("\"SRCREV:pn-tidings\""), "{lock}");
    // Of all that is in the lock, an edit changes the hashes of the layer's files.
    let but_for_files = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with("\"recipes/") && !line.starts_with("\"classes"))
            .map(str::to_owned)
            .collect()
    };
    let only_files_changed = || assert!(but_for_files(&bench.read("kata.lock")) == but_for_files(&lock));

    append(&layer("recipes/hello/common.inc"), "DESCRIPTION = \"Two\"\n");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(parsed_alone(&bench, "lantern"), Some(vec!["hello.bb".to_owned(), "twin.bb".to_owned()]));
    assert_eq!(asked_again(&bench, "lantern"), ["hello", "twin"]);
    only_files_changed();

    // An append that comes, is edited, and goes.
    let greeter = Some(vec!["greeter_git.bb".to_owned()]);
    let appended = layer("recipes/greeter/greeter_%.bbappend");
    for text in [Some("DESCRIPTION = \"Three\"\n"), Some("DESCRIPTION = \"Four\"\n"), None] {
        match text {
            Some(text) => fs::write(&appended, text).expect("a file"),
            None => fs::remove_file(&appended).expect("it was there"),
        }
        bench.kbuild_ok(&["lock"]);
        assert_eq!(parsed_alone(&bench, "lantern"), greeter, "{text:?}");
        only_files_changed();
    }

    // What the configuration reads concerns everybody, and a new class whoever looks for one of that name.
    append(&layer("classes/everywhere.bbclass"), "EVERYWHERE = \"2\"\n");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(parsed_alone(&bench, "lantern"), None);
    fs::create_dir(layer("classes-recipe")).expect("a directory");
    fs::copy(layer("classes/program.bbclass"), layer("classes-recipe/program.bbclass")).expect("a file");
    bench.kbuild_ok(&["lock"]);
    assert_eq!(parsed_alone(&bench, "lantern"), None);
    assert!(asked_again(&bench, "lantern").contains(&"greeter".to_owned()));
    only_files_changed();

    // A recipe that BitBake cannot parse: it says so itself, and nothing of Python is seen.
    append(&layer("recipes/hello/hello.bb"), "this is no line of a recipe\n");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(7), "{run}");
    assert!(run.stderr.contains("unparsed line") && !run.stderr.contains("Traceback"), "{run}");
}

#[test]
fn the_first_build_after_a_lock_parses_only_what_floats() {
    let Some((bench, _running)) = with_a_folder_and(tidings_floats) else { return };
    assert!(bench.read("kata.lock").contains("\"SRCREV:pn-tidings\""));
    assert_eq!(parsed(&bench, "lantern"), 1, "tidings, for its commit");
    assert_eq!(parsed(&bench, "lantern"), 0);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    // Its branch moves: the pin does too, and tidings alone is parsed again.
    let served = bench.beside("served");
    let script = repository().join("examples/quickstart/upstreams.py");
    let moved = std::process::Command::new("python3").arg(script).arg("move").arg(&served).status();
    assert!(moved.expect("python3 starts").success());
    bench.kbuild_ok(&["update", "tidings"]);
    assert_eq!(parsed(&bench, "lantern"), 1);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
}

/// A day of a team, each step with the time it took.
#[test]
fn a_teams_day() {
    let Some((bench, running)) = with_a_folder() else { return };
    let mut times: Vec<(&str, std::time::Duration)> = Vec::new();
    let mut timed = |what: &'static str, arguments: &[&str]| {
        let start = std::time::Instant::now();
        let run = bench.kbuild_ok(arguments);
        times.push((what, start.elapsed()));
        run
    };
    let root = bench.path("");
    fs::write(bench.path(".gitignore"), "/build/\n/mirrors/\n").expect("a file");
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-q", "-m", "The project"]);
    timed("build", &["build", "--board", "lantern"]);

    // A new source in one recipe. The build has no network, and says what to do.
    let served = bench.beside("served");
    fs::write(served.join("motd.txt"), "Good morning\n").expect("a file");
    let sha256 = sha256(b"Good morning\n");
    let recipe = bench.path("layers/meta-mini/recipes/greeter/greeter_git.bb");
    let more =
        format!("SRC_URI += \"https://upstream.example/motd.txt;name=motd\"\nSRC_URI[motd.sha256sum] = \"{sha256}\"\n");
    append(&recipe, &more);
    let run = bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(7), "{run}");
    for words in ["the recipe `greeter`", "motd.txt", "kbuild lock --recipe greeter"] {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    let before = bench.read("kata.lock");
    timed("lock one recipe", &["lock", "--recipe", "greeter"]);
    let after = bench.read("kata.lock");
    assert!(after.contains("[file.\"motd.txt\"]") && !before.contains("motd.txt"), "{after}");
    // Nothing but the recipe, its new source and its file's line changed.
    let gone: Vec<_> = before.lines().filter(|line| !after.lines().any(|new| new == *line)).collect();
    assert!(gone.iter().all(|line| line.contains("greeter") || line.starts_with("revision")), "{gone:?}");
    timed("is it fresh", &["lock", "--locked"]);
    timed("build with the new source", &["build", "--board", "lantern"]);
    let run = bench.kbuild(&["lock", "--recipe", "nobody"]);
    assert!(run.stderr.contains("no closure of kata.lock has the recipe `nobody`"), "{run}");
    git(&root, &["commit", "-qam", "A message of the day"]);

    // Two branches that edit different recipes of one layer.
    git(&root, &["switch", "-q", "-c", "theirs", "HEAD~1"]);
    let tidings = bench.path("layers/meta-mini/recipes/tidings/tidings_git.bb");
    append(&tidings, "SUMMARY = \"Theirs\"\n");
    timed("lock after their edit", &["lock"]);
    git(&root, &["commit", "-qam", "Theirs"]);
    git(&root, &["switch", "-q", "main"]);
    git(&root, &["merge", "-q", "-m", "Both", "theirs"]);
    timed("is the merge fresh", &["lock", "--locked"]);
    drop(running);
    timed("build the merge", &["build", "--board", "lantern"]);

    // One board alone.
    append(&tidings, "DEPENDS += \"greeter\"\n");
    let run = timed("lock one board", &["lock", "--board", "lantern"]);
    assert!(run.stderr.contains("not looked at: the closure of board `harbour`"), "{run}");
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    timed("lock the rest", &["lock"]);
    timed("is it fresh", &["lock", "--locked"]);
    let shown: Vec<String> = times.iter().map(|(what, time)| format!("{what}: {:.1} s", time.as_secs_f64())).collect();
    eprintln!("{}", shown.join("\n"));
}

#[test]
fn a_layer_may_be_the_projects_root() {
    let Some(engine) = engine() else { return };
    let mut bench = TestProject::new();
    let layers = repository().join("examples/quickstart/layers/meta-mini");
    for part in ["classes", "conf", "recipes"] {
        copy(&layers.join(part), &bench.path(part));
    }
    let manifest = fs::read_to_string(repository().join("examples/quickstart/kata.toml")).expect("a manifest");
    bench.write("kata.toml", &manifest.replace("path = \"layers/meta-mini\"", "path = \".\""));
    let served = bench.beside("served");
    copy(upstreams(&engine), &served);
    let _running = Upstreams::serve_to(&mut bench, &served, 0.0);
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    bench.kbuild_ok(&["lock", "--locked"]);
    let result = bench.result("lantern");
    let tree = result["layers"][0]["tree"].clone();
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let result = bench.result("lantern");
    assert_eq!(result["layers"][0]["tree"], tree, "a build changes nothing of the layer");
}

#[test]
fn every_command_leaves_every_edit_where_it_is() {
    let Some(team) = Team::new() else { return };
    let bench = &team.bench;
    // A folder layer beside the git layer.
    let layer = "BBPATH .= \":${LAYERDIR}\"\nBBFILES += \"${LAYERDIR}/recipes/*/*.bbappend\"\n\
                 BBFILE_COLLECTIONS += \"own\"\nBBFILE_PATTERN_own = \"^${LAYERDIR}/\"\n\
                 BBFILE_PATTERN_IGNORE_EMPTY_own = \"1\"\nLAYERSERIES_COMPAT_own = \"mini\"\n";
    bench.write("layers/meta-own/conf/layer.conf", layer);
    bench.write("layers/meta-own/recipes/greeter/greeter_git.bbappend", "SUMMARY = \"Ours\"\n");
    let manifest = bench.read("kata.toml");
    let manifest = manifest.replace("layers = [\"meta-mini\"]", "layers = [\"meta-mini\", \"meta-own\"]");
    bench.write("kata.toml", &format!("{manifest}\n[layers.meta-own]\npath = \"layers/meta-own\"\n"));
    bench.kbuild_ok(&["lock"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    // A workspace, and an external source.
    let source = bench.beside("sources/greeter");
    fs::create_dir_all(&source).expect("directories");
    fs::write(source.join("greeter.c"), "int main(void) { return 0; }\n").expect("a source");
    let script = format!(
        "{MODIFY}printf 'inherit externalsrc\\nEXTERNALSRC = \"{}\"\\n' > workspace/appends/greeter_git.bbappend\n",
        text(&source)
    );
    bench.kbuild_ok(&["shell", "--board", "lantern", "--", "bash", "-c", &script]);
    bench.write("kata.local.toml", &format!("source-trees = [\"{}\"]\n", text(&source)));
    // An edit in each of them.
    let edited = [
        team.checkout().join("recipes/hello/hello.bb"),
        bench.path("layers/meta-own/recipes/greeter/greeter_git.bbappend"),
        bench.path("build/lantern/workspace/appends/greeter_git.bbappend"),
    ];
    edited.iter().for_each(|file| append(file, "DESCRIPTION = \"Mine\"\n"));
    append(&source.join("greeter.c"), "/* mine */\n");
    let all: Vec<PathBuf> = edited.into_iter().chain([source.join("greeter.c")]).collect();
    let contents = || all.iter().map(|file| fs::read_to_string(file).expect("the edit")).collect::<Vec<_>>();
    let before = contents();
    for command in [
        &["build", "--board", "lantern"][..],
        &["build", "--board", "lantern", "--allow-dirty"],
        &["build", "--board", "harbour", "--allow-dirty", "--task", "fetch"],
        &["shell", "--board", "lantern", "--allow-dirty", "--", "true"],
        &["lock"],
        &["lock", "--locked"],
        &["lock", "--recipe", "greeter"],
        &["lock", "--board", "lantern"],
        &["update", "greeter"],
        &["fetch"],
        &["verify"],
        &["verify", "--deep", "--board", "lantern"],
        &["audit"],
        &["list"],
        &["tree", "lantern"],
        &["why", "hello-1.0.tar.gz"],
        &["export", "../bundle"],
        &["gc"],
        &["checkout", "meta-mini", "../mine"],
        &["doctor"],
    ] {
        let run = bench.kbuild(command);
        assert_eq!(contents(), before, "{command:?}\n{run}");
        assert_ne!(run.code, Some(70), "{command:?}\n{run}");
    }
    let said = team.bench.result("lantern")["not_from_the_lock"].to_string();
    for words in ["the layer `meta-mini`, edited", "the layer `workspace`", "the recipe `greeter`, from"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
