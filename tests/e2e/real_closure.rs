//! Closures of real layers, compared with an independent look at the same layers. Needs clones of the upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kbuild::crates::{CargoLock, Include, Submodules};
use kbuild::lock::{Lock, Locked};

use kbuild_test::project::TestProject;
use kbuild_test::quickstart::{clones, clones_for_bitbake, copy, repository};

/// A project with its own store, and a gitconfig that trusts clones of other users.
fn bench(manifest: &str) -> TestProject {
    let mut bench = TestProject::with_manifest(manifest);
    std::fs::write(bench.beside("home/.gitconfig"), "[safe]\n\tdirectory = *\n").expect("a gitconfig");
    let store = bench.path("mirrors/store").display().to_string();
    bench.set("KBUILD_STORE", store);
    bench
}

/// What each recipe fetches: files by name and sha256, commits by clone and id. Recipes that fetch nothing are left out.
type Closure = BTreeMap<String, BTreeSet<String>>;

fn locked(lock: &Lock, board: &str) -> Closure {
    let closure = lock.boards[board].closure.as_ref().expect("a closure");
    let of = |name: &String| {
        let (_, recipe) = lock.recipe(board, "", name)?;
        let sources = recipe.sources.iter().map(|id| match lock.get(id).expect("a block") {
            file @ Locked::File(_, block) => format!("{} {}", file.name(), block.sha256),
            git @ Locked::Git(_, block) => format!("{} {}", git.name(), block.commit),
        });
        Some((name.clone(), sources.collect::<BTreeSet<_>>())).filter(|(_, sources)| !sources.is_empty())
    };
    closure.recipes.keys().filter_map(of).collect()
}

fn independent(json: &str) -> (usize, Closure) {
    let document: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let recipes = document["recipes"].as_object().expect("recipes");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let closure = recipes.iter().map(|(name, sources)| {
        let sources = sources.as_array().expect("a list").iter().map(|source| match source["commit"].as_str() {
            Some(commit) => format!("{} {commit}", text(&source["clone"])),
            None => format!("{} {}", text(&source["file"]), text(&source["sha256"])),
        });
        (name.clone(), sources.collect::<BTreeSet<_>>())
    });
    let without = document["unfetched"].as_array().map_or(0, Vec::len);
    (recipes.len() + without, closure.filter(|(_, sources)| !sources.is_empty()).collect())
}

const NODISTRO: &str = "DISTRO = \"nodistro\"";

/// What is built of a release: targets, and variables of the configuration beside the usual ones.
struct Wanted {
    targets: &'static [&'static str],
    config: &'static str,
}

/// Locks what is wanted of a release, and compares recipe by recipe, source by source.
fn compare(bitbake: (&str, &str), core: (&str, &str), wanted: &Wanted) {
    let Some(clones) = clones_for_bitbake() else { return };
    let bench = bench(&format!(
        r#"
[project]
name = "core"
[closure]
lock = "defaults"
[layers.bitbake]
git = "https://git.openembedded.org/bitbake"
branch = "{}"
rev = "{}"
[layers.openembedded-core]
git = "https://git.openembedded.org/openembedded-core"
branch = "{}"
rev = "{}"
paths = ["meta"]
[layers.meta-other]
path = "meta-other"
[config]
{}
[boards.core]
machine = "qemux86-64"
layers = ["openembedded-core", "meta-other"]
targets = {:?}
"#,
        bitbake.0, bitbake.1, core.0, core.1, wanted.config, wanted.targets
    ));
    // What only a file of a layer can say.
    let series = "kirkstone scarthgap wrynose walnascar whinlatter";
    bench.write(
        "meta-other/conf/layer.conf",
        &format!(
            "BBPATH .= \":${{LAYERDIR}}\"\nBBFILE_COLLECTIONS += \"other\"\nBBFILE_PATTERN_other = \"^${{LAYERDIR}}/\"\n\
             BBFILE_PATTERN_IGNORE_EMPTY_other = \"1\"\nLAYERSERIES_COMPAT_other = \"{series} ${{LAYERSERIES_CORENAMES}}\"\n"
        ),
    );
    let multilib = "require conf/multilib.conf\nMULTILIBS = \"multilib:lib32\"\n\
                    DEFAULTTUNE:virtclass-multilib-lib32 = \"x86\"\n";
    bench.write("meta-other/conf/distro/multi.conf", multilib);
    bench.write("meta-other/conf/multiconfig/other.conf", "MACHINE = \"qemuarm64\"\nTMPDIR .= \"-other\"\n");
    bench.kbuild_ok(&["lock", "--offline", "--config", &clones]);
    let text = bench.read("kata.lock");
    let again = bench.kbuild_ok(&["lock", "--offline", "--config", &clones]);
    assert!(again.stderr.contains("kata.lock is unchanged") && !again.stderr.contains("Finding"), "{again}");
    assert_eq!(bench.read("kata.lock"), text);

    // Inside the seal, this repository is not there.
    let topdir = bench.path("build/core").display().to_string();
    copy(&repository().join("tests/support/closure_check.py"), &bench.path("build/core"));
    let check = format!("{topdir}/closure_check.py");
    // BitBake itself prints on stdout, so the answer is written to a file.
    let script = format!("python3 {check} {topdir} {} > {topdir}/independent.json", wanted.targets.join(" "));
    bench.kbuild_ok(&["shell", "--board", "core", "--", "bash", "-c", &script]);
    let (recipes, independent) = independent(&bench.read("build/core/independent.json"));
    let lock = Lock::read(&bench.path("kata.lock")).expect("the lock").expect("a lock");
    let ours = locked(&lock, "core");
    assert_eq!(lock.boards["core"].closure.as_ref().map(|closure| closure.recipes.len()), Some(recipes));
    assert_eq!(ours, independent);
    let sources: BTreeSet<_> = ours.values().flatten().collect();
    println!("{}: {recipes} recipes, {} of them fetch {} sources", core.0, ours.len(), sources.len());
}

fn core_image_minimal(bitbake: (&str, &str), core: (&str, &str)) {
    compare(bitbake, core, &Wanted { targets: &["core-image-minimal"], config: NODISTRO });
}

fn of_wrynose(wanted: &Wanted) {
    let bitbake = ("2.18", "fae9db3168dbff1b8c76fe9c6726a9687ff97514");
    compare(bitbake, ("wrynose", "ef022bf82d79015802309d14c28b13373ebe53f5"), wanted);
}

#[test]
fn core_image_minimal_of_wrynose() {
    of_wrynose(&Wanted { targets: &["core-image-minimal"], config: NODISTRO });
}

/// Two instruction sets in one image, its SDK, and a recipe that is built in another way than by default.
#[test]
fn a_multilib_image_its_sdk_and_other_packageconfig_of_wrynose() {
    of_wrynose(&Wanted {
        targets: &["core-image-minimal", "lib32-core-image-minimal", "core-image-minimal:do_populate_sdk"],
        config: r#"DISTRO = "multi"
"PACKAGECONFIG:append:pn-curl" = " libssh2 nghttp2 zstd"
"IMAGE_INSTALL:append" = " curl""#,
    });
}

/// A second machine in the same run.
#[test]
fn a_multiconfig_of_wrynose() {
    of_wrynose(&Wanted {
        targets: &["core-image-minimal", "mc:other:core-image-minimal"],
        config: "DISTRO = \"nodistro\"\nBBMULTICONFIG = \"other\"",
    });
}

#[test]
fn core_image_minimal_of_scarthgap() {
    let bitbake = ("2.8", "0880963fea4d91a034e4a6e007d23f98658ab986");
    core_image_minimal(bitbake, ("scarthgap", "543550522f831479f07d332a40ba343c53ae1065"));
}

#[test]
fn core_image_minimal_of_kirkstone() {
    let bitbake = ("2.0", "a9f09b9e2f187f07a6f6dfd1caa3fd2f3d564a8a");
    core_image_minimal(bitbake, ("kirkstone", "9687b9409d3a1e121f0f04de856055764d0a392e"));
}

/// The commits of `master` in the clones of the upstreams decide.
#[test]
fn core_image_minimal_of_master() {
    let Some(clones) = clones() else { return };
    let head = |repository: &str| {
        let bench = bench(&format!(
            "[project]\nname = \"head\"\n[closure]\nlock = \"none\"\n[layers.bitbake]\n\
             git = \"https://git.openembedded.org/{repository}\"\nbranch = \"master\"\n"
        ));
        bench.kbuild_ok(&["lock", "--offline", "--config", &clones]);
        let lock = Lock::read(&bench.path("kata.lock")).expect("the lock").expect("a lock");
        lock.gits.values().next().expect("a commit").commit.to_string()
    };
    let (bitbake, core) = (head("bitbake"), head("openembedded-core"));
    core_image_minimal(("master", &bitbake), ("master", &core));
}

/// A recipe that fetches what a Cargo.lock names: crates by checksum, git dependencies by commit. cargo wants the submodules
/// of the latter too.
fn recipe_of(cargo_lock: &str) -> (String, usize, usize) {
    let lock = CargoLock::parse("Cargo.lock", cargo_lock).expect("a Cargo.lock");
    let include = Include::of(&lock, &Submodules::All).expect("an include");
    let text = format!(
        "LICENSE = \"Apache-2.0\"\n{}\
         do_compile[noexec] = \"1\"\ndo_install[noexec] = \"1\"\ndo_deploy[noexec] = \"1\"\n",
        include.text("kbuild crates Cargo.lock").expect("text")
    );
    (text, include.crates.len(), include.repositories.len())
}

/// The sources of Kata Containers' agent 3.32.0: a workspace of some 800 crates and five repositories.
#[test]
fn the_closure_of_the_kata_agent_is_locked_fetched_and_unpacked_offline() {
    let Some(clones) = clones() else { return };
    let bench = bench(
        r#"
[project]
name = "agent"
[layers.bitbake]
git = "https://git.openembedded.org/bitbake"
branch = "2.18"
rev = "fae9db3168dbff1b8c76fe9c6726a9687ff97514"
[layers.meta-mini]
path = "layers/meta-mini"
[sources.kata-containers]
git = "https://github.com/kata-containers/kata-containers"
tag = "3.32.0"
rev = "337b6002681479fb6a605ca8a7a1138e81b6098c"
[boards.lantern]
machine = "lantern"
layers = ["meta-mini"]
targets = ["kata-agent-sources"]
"#,
    );
    copy(&repository().join("examples/quickstart/layers"), &bench.path("layers"));
    std::fs::remove_dir_all(bench.path("layers/meta-mini/recipes")).expect("the quickstart's own recipes");
    let cargo_lock = cargo_lock_of(&bench, &clones).expect("the Cargo.lock of Kata Containers");
    let (recipe, crates, repositories) = recipe_of(&cargo_lock);
    assert!(crates > 600 && repositories == 5, "{crates} crates, {repositories} repositories");
    bench.write("layers/meta-mini/recipes/agent/kata-agent-sources_3.32.0.bb", &recipe);

    bench.kbuild_ok(&["lock", "--offline", "--strict", "--config", &clones]);
    let lock = Lock::read(&bench.path("kata.lock")).expect("the lock").expect("a lock");
    let sources = &lock.recipes["kata-agent-sources"].sources;
    assert_eq!(sources.len(), crates + repositories);
    assert!(lock.files.values().all(|file| file.urls[0].scheme() == "crate"));
    // From the store alone.
    bench.kbuild_ok(&["fetch", "--offline"]);
    bench.kbuild_ok(&["verify", "--offline", "--board", "lantern"]);
    bench.kbuild_ok(&["build", "--board", "lantern", "--task", "unpack"]);
    let unpacked = bench.path("build/lantern/tmp/work/lantern/kata-agent-sources/sources");
    let find =
        Command::new("find").arg(&unpacked).args(["-name", "Cargo.toml", "-mindepth", "2", "-maxdepth", "4"]).output();
    let found = String::from_utf8_lossy(&find.expect("find").stdout).lines().count();
    assert!(found >= crates, "{found} of {crates} crates are unpacked in {}", unpacked.display());
    println!("{crates} crates and {repositories} repositories, {found} packages unpacked");
}

/// Cargo.lock at the tag, from a clone of the upstream.
fn cargo_lock_of(bench: &TestProject, clones: &str) -> Option<String> {
    // kbuild fetches the commit by the rules; the checkout of a layer is the shortest way to its files.
    let reader = self::bench(
        "[project]\nname = \"reader\"\n[closure]\nlock = \"none\"\n[layers.bitbake]\n\
         git = \"https://github.com/kata-containers/kata-containers\"\ntag = \"3.32.0\"\n\
         rev = \"337b6002681479fb6a605ca8a7a1138e81b6098c\"\n",
    );
    reader.kbuild_ok(&["lock", "--offline", "--config", clones]);
    let store = kbuild::store::Store::open(&reader.path("mirrors/store")).ok()?;
    let lock = Lock::read(&reader.path("kata.lock")).ok()??;
    let git = lock.gits.values().next()?;
    let directory = bench.beside("kata-containers");
    kbuild::store::checkout::check_out(&store, &lock, git, &directory).ok()?;
    std::fs::read_to_string(directory.join("Cargo.lock")).ok()
}
