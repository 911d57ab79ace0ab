//! A store in a repository of a registry: push, pull, fetch, with a real registry and with one that misbehaves.

use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git;
use kbuild_test::registry::{LOGIN, Registry, cutting, digest};

/// Two files, one of them of several chunks, and a repository; locked, its upstream stopped.
fn project() -> TestProject {
    let server = Server::start();
    let bench = TestProject::new();
    bench.write("bitbake/bin/bitbake", "");
    let repository = bench.beside("upstream/repo");
    std::fs::create_dir_all(&repository).expect("a folder");
    std::fs::write(repository.join("README"), "hello\n").expect("a file");
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "-q", "-m", "first"]);
    server.on("/small-1.0.bin", [Reply::file("small")]).on("/large-1.0.bin", [Reply::file(large())]);
    let file = |name: &str| format!("[sources.{name}]\nurl = \"{}\"\n", server.url(&format!("/{name}-1.0.bin")));
    let repo = format!("[sources.repo]\ngit = \"file://{}\"\nbranch = \"main\"\n", repository.display());
    let head = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";
    bench.write("kata.toml", &format!("{head}{}{}{repo}[mirrors]\nbuiltin = false\n", file("small"), file("large")));
    bench.kbuild_ok(&["lock"]);
    std::fs::remove_dir_all(bench.beside("upstream")).expect("the upstream is gone");
    bench
}

/// More than two chunks.
fn large() -> Vec<u8> {
    (0..9_000_000_usize).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect()
}

fn empty_the_store(bench: &TestProject) {
    std::fs::remove_dir_all(bench.path("mirrors/store")).expect("the store is emptied");
}

/// What a push sent and found: blobs and commits that it sent; blobs and commits that were there.
fn counts(run: &Run) -> (u64, u64, u64, u64) {
    let json = run.json();
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let there = &json["already_there"];
    (number(&json["blobs"]), number(&json["commits"]), number(&there["blobs"]), number(&there["commits"]))
}

#[test]
fn a_registry_stores_what_a_lock_names() {
    let Some(registry) = Registry::start() else { return };
    let bench = project();
    let to = format!("oci://{}/team/kata", registry.host);
    let push = || bench.kbuild_ok(&["push", &to, "--format", "json"]);
    // The files, a pack and its index.
    assert_eq!(counts(&push()), (4, 1, 0, 0));
    assert_eq!(counts(&push()), (0, 0, 4, 1));

    let (_, _, body) = registry.request("GET", "/v2/team/kata/tags/list", &[], b"");
    let tags: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let own = format!("lock-{}", &blake3::hash(bench.read("kata.lock").as_bytes()).to_hex()[..16]);
    let mut tags: Vec<&str> = tags["tags"].as_array().expect("tags").iter().filter_map(|tag| tag.as_str()).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["latest", own.as_str()]);
    let accept = ("Accept", "application/vnd.oci.image.manifest.v1+json");
    let (_, _, manifest) = registry.request("GET", "/v2/team/kata/manifests/latest", &[accept], b"");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.kbuild.store.v1");
    let layers = manifest["layers"].as_array().expect("layers");
    let titled =
        |title: &str| layers.iter().find(|layer| layer["annotations"]["org.opencontainers.image.title"] == title);
    assert_eq!(layers.len(), 6);
    assert_eq!(titled("kata.lock").expect("the lock")["digest"], digest(bench.read("kata.lock").as_bytes()));
    let blake3 = blake3::hash(&large()).to_hex().to_string();
    assert_eq!(titled(&format!("blobs/{}/{blake3}", &blake3[..2])).expect("the file")["digest"], digest(&large()));

    // On another machine, with no upstream: as one of the stores, or as the only one.
    empty_the_store(&bench);
    assert_eq!(bench.kbuild_ok(&["fetch", "--mirror", &to, "--format", "json"]).json()["fetched"], 3);
    bench.kbuild_ok(&["verify"]);
    empty_the_store(&bench);
    bench.kbuild_ok(&["pull", &to]);
    bench.kbuild_ok(&["fetch", "--offline"]);
    empty_the_store(&bench);
    let manifest = bench.read("kata.toml");
    bench.write("kata.toml", &manifest.replace("[mirrors]\n", &format!("[mirrors]\nstores = [\"{to}\"]\n")));
    bench.kbuild_ok(&["fetch"]);

    // Another tag is another store; its blobs are there already.
    let tagged = format!("{to}:v1");
    assert_eq!(bench.kbuild(&["pull", &format!("{to}:v2"), "--store", "other"]).code, Some(6));
    assert_eq!(counts(&bench.kbuild_ok(&["push", &tagged, "--format", "json"])), (0, 0, 4, 1));
    bench.kbuild_ok(&["pull", &tagged, "--store", "other"]);
    let run = bench.kbuild(&["push", &to, "--offline"]);
    assert_eq!(run.code, Some(6), "{run}");
}

#[test]
fn a_damaged_blob_reaches_no_registry() {
    let Some(registry) = Registry::start() else { return };
    let bench = project();
    let blake3 = blake3::hash(&large()).to_hex().to_string();
    let blob = bench.path(format!("mirrors/store/blobs/{}/{blake3}", &blake3[..2]));
    let mut bytes = large();
    bytes[5_000_000] ^= 1;
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, &bytes).expect("damaged");
    let to = format!("oci://{}/kata", registry.host);
    let run = bench.kbuild(&["push", &to]);
    assert_eq!(run.code, Some(5), "{run}");
    for bytes in [large(), bytes] {
        let (status, ..) = registry.request("HEAD", &format!("/v2/kata/blobs/{}", digest(&bytes)), &[], b"");
        assert_eq!(status, 404);
    }
    let (status, ..) = registry.request("GET", "/v2/kata/manifests/latest", &[], b"");
    assert_eq!(status, 404);
}

#[test]
fn a_store_with_a_login_and_interrupted_uploads() {
    let Some(registry) = Registry::start_with_login() else { return };
    let bench = project();
    let host = cutting(&registry);
    let to = format!("oci://{host}/private/kata:main");
    let run = bench.kbuild(&["push", &to]);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains(&format!("docker login {host}")), "{run}");
    std::fs::create_dir(bench.beside("home/.docker")).expect("a directory");
    let config = registry.docker_config().replace(&registry.host, &host);
    std::fs::write(bench.beside("home/.docker/config.json"), config).expect("written");
    let run = bench.kbuild_ok(&["push", &to, "-vv"]);
    assert!(!format!("{run}").contains(LOGIN.1), "{run}");
    empty_the_store(&bench);
    bench.kbuild_ok(&["pull", &to]);
    bench.kbuild_ok(&["verify"]);
}

#[test]
fn an_upload_continues_where_the_registry_says() {
    let bench = project();
    let manifest = bench.read("kata.toml");
    let (head, rest) = manifest.split_once("[sources.small]").expect("small");
    let large_only = &rest[rest.find("[sources.large]").expect("large")..rest.find("[sources.repo]").expect("repo")];
    bench.write("kata.toml", &format!("{head}{large_only}"));
    bench.kbuild_ok(&["lock"]);
    let registry = Server::start();
    let at = |status: u16| Reply::status(status).header("Location", &registry.url("/upload?state=x"));
    registry.on("/v2/kata/blobs/uploads/", [at(202)]);
    let arrived = |last: usize| {
        Reply::Status(204, vec![], vec![]).header("Location", "/upload?state=y").header("Range", &format!("0-{last}"))
    };
    let first = (5 << 20) - 1 - (4 << 20);
    registry.on("/upload", [Reply::Hangup, arrived(first), at(202), at(202), at(202), Reply::status(201)]);
    let lock = blake3::hash(bench.read("kata.lock").as_bytes()).to_hex();
    let tag = format!("/v2/kata/manifests/lock-{}", &lock[..16]);
    registry.on(&tag, [Reply::status(404), Reply::status(201)]);
    registry.on("/v2/kata/manifests/latest", [Reply::status(404), Reply::status(404), Reply::status(201)]);
    bench.kbuild_ok(&["push", &registry.url("/kata").replace("http://", "oci://")]);
    let sent = registry.requests("/upload");
    let sent: Vec<(&str, Option<&str>, usize)> = sent
        .iter()
        .map(|request| (request.method.as_str(), request.header("content-range"), request.body.len()))
        .collect();
    let chunk = 4 << 20;
    let expected = [
        ("PATCH", Some("0-4194303"), chunk),
        ("GET", None, 0),
        ("PATCH", Some("1048576-4194303"), chunk - (1 << 20)),
        ("PATCH", Some("4194304-8388607"), chunk),
        ("PATCH", Some("8388608-8999999"), 9_000_000 - 2 * chunk),
        ("PUT", None, 0),
    ];
    assert_eq!(sent[..6], expected);
}
