//! Files in Git LFS: of a layer, a recipe and a declared source, locked, carried, and built by real BitBake with the real
//! git-lfs.

use std::fs;
use std::process::Command;

use kbuild_test::http::Server;
use kbuild_test::lfs::{LARGE, LfsUpstream};
use kbuild_test::project::TestProject;

use super::truth::{Project, says};

/// A project that reaches repositories at `https://upstream.example/` and their LFS servers through one server.
fn rules(server: &Server) -> String {
    format!("[[mirrors.rule]]\nmatch = 'https://upstream\\.example/(.*)'\nto = [\"{}/$1\"]\n", server.url("/git"))
}

/// Serves a repository under a name, with its objects.
fn publish(server: &Server, upstream: &LfsUpstream, name: &str) {
    server.lfs(&format!("/git/{name}.git/info/lfs"), &upstream.objects(), None);
    server.git(&format!("/git/{name}.git"), &upstream.path().join("repository.git"));
}

/// A project with a declared source in LFS and an engine that is only a name.
fn declared(upstream: &LfsUpstream, server: &Server, more: &str) -> TestProject {
    publish(server, upstream, "large");
    let bench = TestProject::with_manifest(&format!(
        "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n[mirrors]\nbuiltin = false\n{}\
         [sources.large]\ngit = \"https://upstream.example/large.git\"\nbranch = \"main\"\n{more}",
        rules(server)
    ));
    bench.write("bitbake/bin/bitbake", "");
    bench
}

#[test]
fn a_declared_source_has_its_objects_and_bundles_and_mirrors_carry_them() {
    let Some(upstream) = LfsUpstream::new(&[("sub/other.bin", "another")]) else { return };
    let server = Server::start();
    let bench = declared(&upstream, &server, "");
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    for expected in [
        "revision = 3\n".to_owned(),
        format!("\"large.bin\" = \"{}\"\n", upstream.oid),
        format!("[lfs.{}]\nurls = [\"lfs+https://upstream.example/large.git/info/lfs\"]\nblake3 = ", upstream.oid),
        format!("size = {}\n", LARGE.len()),
    ] {
        assert!(lock.contains(&expected), "no {expected} in\n{lock}");
    }
    assert_eq!(server.requests("/git/large.git/info/lfs/objects/batch").len(), 1, "both objects at once");
    bench.kbuild_ok(&["lock", "--locked"]);
    let why = bench.kbuild_ok(&["why", "large.bin"]);
    assert!(why.stdout.contains("As file in Git LFS large.bin of git:upstream.example.large.git@"), "{why}");
    assert!(why.stdout.contains("Needed as source large"), "{why}");
    let listed = bench.kbuild_ok(&["list", "--kind", "lfs", "--format", "json"]).json();
    assert_eq!(listed["sources"].as_array().expect("a list").len(), 2);
    bench.kbuild_ok(&["verify"]);

    // A bundle in a place without any upstream.
    let bundle = bench.beside("bundle");
    bench.kbuild_ok(&["export", bundle.to_str().expect("a path")]);
    let there = TestProject::new();
    for file in ["kata.toml", "kata.lock", "bitbake/bin/bitbake"] {
        there.write(file, &bench.read(file));
    }
    assert_eq!(there.kbuild(&["fetch", "--offline"]).code, Some(6));
    there.kbuild_ok(&["import", bundle.to_str().expect("a path")]);
    there.kbuild_ok(&["fetch", "--offline"]);
    there.kbuild_ok(&["verify"]);

    // Another store, asked by hash.
    let store = TestProject::new();
    for file in ["kata.toml", "kata.lock", "bitbake/bin/bitbake"] {
        store.write(file, &bench.read(file));
    }
    let before = server.count();
    store.kbuild_ok(&["fetch", "--mirror", bench.path("mirrors/store").to_str().expect("a path")]);
    assert_eq!(server.count(), before, "no upstream was asked");

    // A mirror for plain BitBake: the tarball that its fetcher unpacks into GITDIR.
    let mirror = bench.beside("mirror");
    bench.kbuild_ok(&["mirror", "--url", "https://mirror.example/", mirror.to_str().expect("a path")]);
    let tarball = mirror.join("git2_upstream.example.large.git.tar.gz");
    let listed = Command::new("tar").arg("-tzf").arg(&tarball).output().expect("tar starts").stdout;
    let (listed, oid) = (String::from_utf8(listed).expect("text"), &upstream.oid);
    assert!(listed.contains(&format!("lfs/objects/{}/{}/{oid}\n", &oid[..2], &oid[2..4])), "{listed}");

    // What no lock names goes, and what a lock names stays.
    bench.kbuild_ok(&["gc"]);
    bench.kbuild_ok(&["fetch", "--offline"]);
}

#[test]
fn an_object_that_its_server_does_not_have_ends_the_lock_unless_lfs_is_left_out() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    fs::remove_dir_all(upstream.objects()).expect("objects");
    let server = Server::start();
    let url = server.url("/git/large.git");
    // Without the rule: nobody else could have it.
    let declared = |more: &str| {
        let bench = declared(&upstream, &server, more);
        let manifest = bench.read("kata.toml").replace(&rules(&server), "");
        bench.write("kata.toml", &manifest.replace("https://upstream.example/large.git", &url));
        bench
    };
    let bench = declared("");
    let run = bench.kbuild(&["lock"]);
    assert_eq!(run.code, Some(4), "{run}");
    says(&run, &["`large.bin` of", &url, "there is no such object", "lfs = false", "1 incomplete"]);

    let bench = declared("lfs = false\n");
    bench.kbuild_ok(&["lock"]);
    let lock = bench.read("kata.lock");
    assert!(lock.contains("without-lfs = true") && !lock.contains("[lfs."), "{lock}");
    bench.kbuild_ok(&["lock", "--locked"]);
}

#[test]
fn an_object_out_of_reach_is_locked_by_its_id_and_completed_later() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let server = Server::start();
    let mut bench = declared(&upstream, &server, "");
    bench.set("KBUILD_RETRIES", "0");
    let path = "/git/large.git/info/lfs/objects/batch";
    server.on(path, [kbuild_test::http::Reply::Hangup, kbuild_test::http::Reply::Mounted]);
    let run = bench.kbuild_ok(&["lock"]);
    says(&run, &["1 incomplete", &format!("lfs:{}", upstream.oid)]);
    assert!(!bench.read("kata.lock").contains(&format!(
        "[lfs.{}]\nurls = [\"lfs+https://upstream.example/large.git/info/lfs\"]\nblake3",
        upstream.oid
    )));
    assert_eq!(bench.kbuild(&["lock", "--strict", "--offline"]).code, Some(1));
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.kbuild_ok(&["list", "--incomplete", "--format", "json"]).json()["sources"], serde_json::json!([]));
}

/// A layer in git, whose recipe ships a file that is in LFS.
const SHIPPED: &str = "LICENSE = \"MIT\"\nSRC_URI = \"file://logo.bin\"\n";

#[test]
fn bitbake_builds_with_the_bytes_and_not_with_pointers() {
    let layer = "BBPATH .= \":${LAYERDIR}\"\nBBFILES += \"${LAYERDIR}/recipes/*/*.bb\"\nBBFILE_COLLECTIONS += \"large\"\n\
                 BBFILE_PATTERN_large = \"^${LAYERDIR}/\"\nLAYERSERIES_COMPAT_large = \"mini\"\n";
    let files = [
        ("conf/layer.conf", layer),
        ("recipes/shipped/shipped.bb", SHIPPED),
        ("recipes/shipped/files/logo.bin", "the bytes of the logo"),
    ];
    let Some(upstream) = LfsUpstream::new(&files) else { return };
    let Some(project) = Project::with(
        &["large", "slim", "nested", "shipped"],
        "[layers.meta-large]\ngit = \"https://large.example/large.git\"\nbranch = \"main\"\n",
    ) else {
        return;
    };
    let server = Server::start();
    publish(&server, &upstream, "large");
    let site = project.bench.beside("site.toml");
    let rules = fs::read_to_string(&site).expect("rules") + &rules(&server).replace("upstream", "large");
    fs::write(&site, rules).expect("rules");
    let manifest = project.bench.read("kata.toml");
    let layers = "layers = [\"meta-mini\", \"meta-user\"";
    project.bench.write("kata.toml", &manifest.replace(layers, &format!("{layers}, \"meta-large\"")));

    let entry = "git://large.example/large.git;protocol=https;branch=main;destsuffix=a";
    let srcrev = format!("SRCREV = \"{}\"\n", upstream.commit);
    project.recipe("large", &format!("SRC_URI = \"{entry}\"\n{srcrev}"));
    project.recipe("slim", &format!("SRC_URI = \"{};lfs=0\"\n{srcrev}", entry.replace("large.git", "large")));
    let work = project.repository("outer");
    fs::write(work.join(".gitmodules"), "[submodule \"m\"]\n\tpath = m\n\turl = https://large.example/large.git\n")
        .expect("written");
    // Without its directory, `git add` would take the submodule for removed.
    fs::create_dir(work.join("m")).expect("a directory");
    let link = format!("160000,{},m", upstream.commit);
    kbuild_test::quickstart::git(&work, &["update-index", "--add", "--cacheinfo", &link]);
    super::truth::commit(&work);
    project.publish("outer", &work);
    let outer = super::truth::rev(&work, "HEAD");
    project.recipe(
        "nested",
        &format!(
            "SRC_URI = \"gitsm://upstream.example/outer.git;protocol=https;branch=main;destsuffix=a\"\nSRCREV = \"{outer}\"\n"
        ),
    );

    project.bench.kbuild_ok(&["lock"]);
    project.proven();
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);
    let unpacked = |path: &str| {
        let path = project.bench.path(format!("build/lantern/tmp/work/lantern/{path}"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    assert_eq!(unpacked("large/sources/a/large.bin"), LARGE);
    assert!(unpacked("slim/sources/a/large.bin").starts_with("version https://git-lfs.github.com/spec/v1\n"));
    assert_eq!(unpacked("nested/sources/a/m/large.bin"), LARGE);
    assert_eq!(unpacked("shipped/sources/logo.bin"), "the bytes of the logo");
    // Nothing that stays is another name of the store's files.
    project.bench.kbuild_ok(&["verify"]);
}
