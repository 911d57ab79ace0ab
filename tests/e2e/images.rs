//! Container images as sources, from a real registry and from servers in front of it that misbehave.

use std::collections::BTreeMap;
use std::path::Path;

use kbuild::lock::Lock;
use kbuild::source::SourceId;

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{TestProject, program_on_path};
use kbuild_test::quickstart::{Quickstart, copy, repository};
use kbuild_test::registry::{LOGIN, Registry, digest};

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";

/// The boards' names do not matter: all sources are for all boards.
fn bench(sources: &str) -> TestProject {
    let bench = TestProject::with_manifest(&format!("{HEAD}{sources}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
    bench
}

fn lock(bench: &TestProject) -> Lock {
    Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock")
}

fn empty_the_store(bench: &TestProject) {
    std::fs::remove_dir_all(bench.path("mirrors/store")).expect("the store is emptied");
}

/// The files of the archive in the store, by path.
fn archive(bench: &TestProject, name: &str) -> BTreeMap<String, Vec<u8>> {
    let content = lock(bench).files[name].content.expect("seen");
    let store = kbuild::store::Store::open(&bench.path("mirrors/store")).expect("a store");
    let file = std::fs::File::open(store.blob_path(&content.blake3)).expect("a blob");
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("read");
        (path, bytes)
    });
    entries.collect()
}

#[test]
fn an_image_is_locked_by_digest_for_each_architecture() {
    let Some(registry) = Registry::start() else { return };
    let first = registry.image("org/base", "1", &["amd64", "arm64", "s390x"], "first");
    let manifest =
        |more: &str| format!("[sources.base]\noci = \"{}/org/base:1\"\nversion = \"1\"\n{more}", registry.host);
    let bench = bench(&manifest(""));
    bench.kbuild_ok(&["lock"]);
    let text = bench.read("kata.lock");
    assert!(text.contains("revision = 1\n") && text.contains(&format!("digest = \"{first}\"")), "{text}");
    let locked = lock(&bench).images["base"].locked.clone();
    let expected =
        ["aarch64", "x86_64"].map(|name| (name.to_owned(), SourceId::File(format!("base-1-{name}.oci.tar"))));
    assert_eq!(locked, BTreeMap::from(expected));

    // An OCI layout: it has what its index names, and every file matches its name.
    let files = archive(&bench, "base-1-aarch64.oci.tar");
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("blobs/")) {
        assert_eq!(*path, digest(bytes).replace("sha256:", "blobs/sha256/"));
    }
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let manifest_digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    assert!(files.contains_key(&manifest_digest.replace("sha256:", "blobs/sha256/")), "{index}");
    assert!(text.contains(&format!("\"oci://{}/org/base@{manifest_digest}\"", registry.host)), "{text}");
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(files.len(), 5);

    // The tag moves; the lock changes only with `kbuild update`.
    let second = registry.image("org/base", "1", &["amd64", "arm64", "s390x"], "second");
    assert_ne!(first, second);
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.kbuild_ok(&["lock"]);
    assert_eq!(bench.read("kata.lock"), text);
    empty_the_store(&bench);
    assert_eq!(bench.kbuild_ok(&["fetch", "--format", "json"]).json()["fetched"], 2);
    assert_eq!(archive(&bench, "base-1-aarch64.oci.tar"), files);
    bench.kbuild_ok(&["verify"]);

    // A wrong byte in the store is fetched again from the registry.
    let content = lock(&bench).files["base-1-aarch64.oci.tar"].content.expect("seen").blake3.to_string();
    let blob = bench.path(format!("mirrors/store/blobs/{}/{content}", &content[..2]));
    let mut bytes = std::fs::read(&blob).expect("a blob");
    bytes[600] ^= 1;
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, bytes).expect("damaged");
    assert_eq!(bench.kbuild(&["verify"]).code, Some(5));
    bench.kbuild_ok(&["verify", "--repair"]);
    bench.kbuild_ok(&["verify"]);

    // Another architecture is still of the same image.
    bench.write("kata.toml", &format!("{HEAD}{}", manifest("architectures = [\"x86_64\", \"s390x\"]\n")));
    assert_eq!(bench.kbuild(&["lock", "--locked"]).code, Some(3));
    bench.kbuild_ok(&["lock"]);
    let image = lock(&bench).images["base"].clone();
    assert_eq!(
        (format!("sha256:{}", image.digest), image.locked.into_keys().collect()),
        (first, vec!["s390x".to_owned(), "x86_64".to_owned()])
    );
    let moved = bench.kbuild_ok(&["update", "base"]);
    assert!(moved.stderr.contains("~ source base:"), "{moved}");
    assert!(bench.read("kata.lock").contains(&second));

    // A declared digest is compared.
    bench.write("kata.toml", &format!("{HEAD}{}", manifest(&format!("digest = \"{second}\"\n"))));
    bench.kbuild_ok(&["lock"]);
    registry.image("org/base", "1", &["amd64", "arm64"], "third");
    bench.kbuild_ok(&["lock"]);
    let run = bench.kbuild(&["update", "base"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains(&format!("expected digest {second}")), "{run}");
}

#[test]
fn the_same_image_gives_the_same_lock_everywhere() {
    let Some(registry) = Registry::start() else { return };
    let digest = registry.image("tool", "latest", &["amd64"], "one");
    let by_tag = bench(&format!("[sources.tool]\noci = \"{}/tool\"\n", registry.host));
    let by_digest = bench(&format!("[sources.tool]\noci = \"{}/tool@{digest}\"\n", registry.host));
    for bench in [&by_tag, &by_digest] {
        bench.kbuild_ok(&["lock"]);
    }
    assert_eq!(lock(&by_tag).files, lock(&by_digest).files);
    let name = format!("tool-{}-x86_64.oci.tar", &digest["sha256:".len()..][..12]);
    assert!(lock(&by_tag).files.contains_key(&name), "{}", by_tag.read("kata.lock"));
    // An image without an index contains its architecture itself.
    let manifest = lock(&by_tag).files[&name].urls[0].to_string();
    let (_, manifest) = manifest.split_once('@').expect("a digest");
    let alone = bench(&format!("[sources.tool]\noci = \"{}/tool@{manifest}\"\nversion = \"2\"\n", registry.host));
    alone.kbuild_ok(&["lock"]);
    assert_eq!(lock(&alone).files["tool-2-x86_64.oci.tar"].sha256, lock(&by_tag).files[&name].sha256);

    // Queries show it like any file.
    let why = by_tag.kbuild_ok(&["why", "tool"]);
    assert!(why.stdout.contains(&name), "{why}");
    let list = by_tag.kbuild_ok(&["list"]);
    assert!(list.stdout.contains(&name), "{list}");

    // A bundle contains it like any file.
    let bundle = by_tag.beside("bundle.tar");
    by_tag.kbuild_ok(&["export", bundle.to_str().expect("UTF-8")]);
    empty_the_store(&by_tag);
    by_tag.kbuild_ok(&["import", bundle.to_str().expect("UTF-8")]);
    by_tag.kbuild_ok(&["fetch", "--offline"]);
}

#[test]
fn a_missing_image_is_reported_with_similar_ones() {
    let Some(registry) = Registry::start() else { return };
    for tag in ["3.22", "3.23", "edge"] {
        registry.image("library/base", tag, &["amd64", "arm64"], tag);
    }
    let image = |name: &str, more: &str| bench(&format!("[sources.base]\noci = \"{}/{name}\"\n{more}", registry.host));
    let tag = image("library/base:3.24", "");
    assert_run!(tag, tag.kbuild(&["lock"]), "no_such_tag");
    let architecture = image("library/base:3.23", "architectures = [\"x86_64\", \"riscv64\"]\n");
    assert_run!(architecture, architecture.kbuild(&["lock"]), "no_such_architecture");
    let nothing = image("library/bass:3.23", "");
    assert_run!(nothing, nothing.kbuild(&["lock"]), "no_such_image");
    let offline = image("library/base:3.23", "");
    assert_run!(offline, offline.kbuild(&["lock", "--offline"]), "image_offline");
    let wrong =
        bench("[sources.base]\noci = \"Base:3.23\"\narchitectures = [\"amd64\", \"x86-64\"]\nsha256 = \"00\"\n");
    assert_run!(wrong, wrong.kbuild(&["lock"]), "wrong_image");
}

#[test]
fn a_registry_that_wants_a_login() {
    let Some(registry) = Registry::start_with_login() else { return };
    registry.image("private/base", "1", &["amd64"], "private");
    let bench = bench(&format!("[sources.base]\noci = \"{}/private/base:1\"\nversion = \"1\"\n", registry.host));
    assert_run!(bench, bench.kbuild(&["lock"]), "login_wanted");

    std::fs::create_dir(bench.beside("home/.docker")).expect("a directory");
    let config = bench.beside("home/.docker/config.json");
    std::fs::write(&config, registry.docker_config()).expect("written");
    let run = bench.kbuild_ok(&["lock", "-vv"]);
    let text = format!("{run}{}", bench.read("kata.lock"));
    assert!(!text.contains(LOGIN.1) && !text.contains("Y2Fycm"), "{text}");

    // The file of podman, and a credential helper.
    std::fs::rename(&config, bench.beside("auth.json")).expect("moved");
    empty_the_store(&bench);
    assert_eq!(bench.kbuild(&["fetch"]).code, Some(4));
    let mut fetch = bench.command(&["fetch"]);
    let output = fetch.env("REGISTRY_AUTH_FILE", bench.beside("auth.json")).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    empty_the_store(&bench);
    // Like real helpers, it reads the registry's name first: one that ends before is a helper that cannot be asked.
    let script = format!("cat >/dev/null; echo '{{\"Username\": \"{}\", \"Secret\": \"{}\"}}'", LOGIN.0, LOGIN.1);
    let path = program_on_path(&bench, "docker-credential-testing", &script);
    std::fs::write(&config, r#"{"credsStore": "testing"}"#).expect("written");
    let mut fetch = bench.command(&["fetch"]);
    let output = fetch.env("PATH", path).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that answers like a registry, with what another one has: every manifest and blob of an image.
struct Front {
    server: Server,
    /// The path and the bytes of its only layer.
    layer: (String, Vec<u8>),
    /// Its manifest.
    manifest: String,
}

impl Front {
    fn before(registry: &Registry, repository: &str, tag: &str) -> Front {
        let server = Server::start();
        let get = |path: &str| {
            let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
            let (status, headers, body) = registry.request("GET", path, &[("Accept", accept)], b"");
            assert_eq!(status, 200, "{path}");
            let media_type = headers.get("content-type").cloned().unwrap_or_default();
            server.on(path, [Reply::file(body.clone()).header("Content-Type", &media_type)]);
            body
        };
        let json = |body: &[u8]| -> serde_json::Value { serde_json::from_slice(body).expect("JSON") };
        let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
        let index = json(&get(&format!("/v2/{repository}/manifests/{tag}")));
        let manifest = format!("/v2/{repository}/manifests/{}", text(&index["manifests"][0]["digest"]));
        let image = json(&get(&manifest));
        get(&format!("/v2/{repository}/blobs/{}", text(&image["config"]["digest"])));
        let layer = format!("/v2/{repository}/blobs/{}", text(&image["layers"][0]["digest"]));
        let bytes = get(&layer);
        Front { server, layer: (layer, bytes), manifest }
    }

    /// A project whose registry has a name that only a mirror rule resolves.
    fn bench(&self) -> TestProject {
        let to = self.server.url("").replace("http://", "oci://");
        let rule = format!("[[mirrors.rule]]\nmatch = 'oci://registry\\.example/(.*)'\nto = [\"{to}/$1\"]\n");
        let source = "[sources.base]\noci = \"registry.example/base:1\"\nversion = \"1\"\n";
        let bench = TestProject::with_manifest(&format!("{HEAD}{source}{rule}"));
        bench.write("bitbake/bin/bitbake", "");
        bench
    }
}

#[test]
fn a_mirror_is_asked_and_the_canonical_name_is_locked() {
    let Some(registry) = Registry::start() else { return };
    registry.image("base", "1", &["amd64"], "mirrored");
    let front = Front::before(&registry, "base", "1");
    let bench = front.bench();
    // Cut in the middle of the layer: only the rest is requested.
    let (path, bytes) = &front.layer;
    front.server.on(path, [Reply::file(bytes.clone()).cut_after(1000), Reply::file(bytes.clone())]);
    bench.kbuild_ok(&["lock"]);
    let asked = front.server.requests(path);
    assert_eq!(asked.iter().map(|request| request.header("range")).collect::<Vec<_>>(), [None, Some("bytes=1000-")]);
    let text = bench.read("kata.lock");
    assert!(text.contains("oci://registry.example/base@sha256:") && !text.contains("127.0.0.1"), "{text}");
    assert!(asked[0].header("user-agent").is_some_and(|agent| agent.starts_with("kbuild/")));

    // The archive may be anywhere, once its hash is known.
    let content = lock(&bench).files["base-1-x86_64.oci.tar"].content.expect("seen");
    let store = kbuild::store::Store::open(&bench.path("mirrors/store")).expect("a store");
    std::fs::copy(store.blob_path(&content.blake3), bench.beside("base-1-x86_64.oci.tar")).expect("copied");
    drop(store);
    empty_the_store(&bench);
    let rule = format!("oci://.*=file://{}/{{name}}", bench.beside("").display().to_string().trim_end_matches('/'));
    bench.kbuild_ok(&["fetch", "--offline", "--mirror", &rule]);
}

#[test]
fn wrong_bytes_of_a_registry_are_refused() {
    let Some(registry) = Registry::start() else { return };
    registry.image("base", "1", &["amd64"], "right");
    let front = Front::before(&registry, "base", "1");
    let (path, bytes) = &front.layer;
    let mut wrong = bytes.clone();
    wrong[700] ^= 1;
    front.server.on(path, [Reply::file(wrong)]);
    let layer = front.bench();
    let run = layer.kbuild(&["lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("checksum mismatch for a blob"), "{run}");
    assert!(!layer.path("kata.lock").exists());
    front.server.on(path, [Reply::file(bytes.clone())]);
    layer.kbuild_ok(&["lock"]);

    front
        .server
        .on(&front.manifest, [Reply::file("{}").header("Content-Type", "application/vnd.oci.image.manifest.v1+json")]);
    let manifest = front.bench();
    let run = manifest.kbuild(&["lock"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("checksum mismatch for the manifest"), "{run}");
}

#[test]
fn tokens_are_asked_for_and_a_full_registry_is_waited_for() {
    let Some(registry) = Registry::start() else { return };
    registry.image("base", "1", &["amd64"], "busy");
    let front = Front::before(&registry, "base", "1");
    let challenge = format!(r#"Bearer realm="{}",service="registry.example""#, front.server.url("/token"));
    let index = "/v2/base/manifests/1";
    let (_, headers, body) =
        registry.request("GET", index, &[("Accept", "application/vnd.oci.image.index.v1+json")], b"");
    front.server.on(
        index,
        [
            Reply::status(401).header("WWW-Authenticate", &challenge),
            Reply::status(429).header("Retry-After", "0"),
            Reply::file(body).header("Content-Type", &headers["content-type"]),
        ],
    );
    front.server.on("/token", [Reply::file(r#"{"token": "t0ken-of-nobody"}"#)]);
    let bench = front.bench();
    let run = bench.kbuild_ok(&["lock", "-vv"]);
    assert!(!run.stderr.contains("t0ken"), "{run}");
    let asked = front.server.requests(index);
    let sent = asked.iter().map(|request| request.header("authorization")).collect::<Vec<_>>();
    assert_eq!(sent, [None, Some("Bearer t0ken-of-nobody"), Some("Bearer t0ken-of-nobody")]);
    let token = &front.server.requests("/token")[0];
    assert_eq!(token.query, "service=registry.example&scope=repository%3Abase%3Apull");
    // The token is for the registry, and is sent with the requests for blobs.
    assert_eq!(front.server.requests(&front.layer.0)[0].header("authorization"), Some("Bearer t0ken-of-nobody"));
}

#[test]
fn a_recipe_takes_its_architectures_archive_offline() {
    let Some(registry) = Registry::start() else { return };
    let Some(mut quickstart) = Quickstart::start(0.0) else { return };
    registry.image("guest/base", "1.2", &["amd64", "arm64"], "guest");
    let bench = &quickstart.bench;
    let manifest = bench.read("kata.toml");
    let source =
        format!("[sources.guest-base]\noci = \"{}/guest/base:{{version}}\"\nversion = \"1.2\"\n", registry.host);
    let targets = manifest.replacen("targets = [\"mini-image\"]", "targets = [\"guest\", \"other\"]", 1);
    bench.write("kata.toml", &format!("{targets}\n{source}[closure]\nlock = \"defaults\"\n"));
    let class = std::fs::read_to_string(repository().join("layers/meta-kbuild/classes-recipe/kbuild_source.bbclass"));
    bench.write("layers/meta-mini/classes-recipe/kbuild_source.bbclass", &class.expect("the class"));
    let recipe = |arch: &str, name: &str| {
        format!(
            "SUMMARY = \"A guest's base\"\nLICENSE = \"MIT\"\nTARGET_ARCH = \"{arch}\"\nKBUILD_SOURCE = \"guest-base\"\n\
             inherit kbuild_source\nSRC_URI = \"${{KBUILD_SOURCE_URI}};subdir=layout\"\n\
             do_deploy() {{\n    install -m 0644 ${{UNPACKDIR}}/layout/index.json ${{DEPLOYDIR}}/{name}-${{PV}}.json\n}}\n"
        )
    };
    bench.write("layers/meta-mini/recipes/guest/guest.bb", &recipe("aarch64", "guest"));
    bench.write("layers/meta-mini/recipes/guest/other.bb", &recipe("x86_64", "other"));
    bench.write("layers/meta-mini/recipes/guest/none.bb", &recipe("mips", "none"));
    bench.kbuild_ok(&["lock"]);
    let text = bench.read("kata.lock");
    assert!(!text.contains("https://127.") && text.contains("[recipe.guest]"), "the recipe's URL reads back: {text}");
    let locked = lock(bench);
    assert!(locked.recipes["guest"].sources.contains(&SourceId::File("guest-base-1.2-aarch64.oci.tar".to_owned())));

    drop(registry);
    quickstart.stop_upstreams();
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["lock", "--locked"]);
    bench.kbuild_ok(&["build", "--board", "lantern"]);
    let deployed = |name: &str| {
        let path = bench.path(Path::new("build/lantern/tmp/deploy/images/lantern").join(name));
        std::fs::read_to_string(path).expect("deployed")
    };
    for (name, architecture) in [("guest-1.2.json", "aarch64"), ("other-1.2.json", "x86_64")] {
        let file = &locked.files[&format!("guest-base-1.2-{architecture}.oci.tar")];
        let (_, digest) = file.urls[0].as_str().split_once('@').expect("a digest");
        assert!(deployed(name).contains(digest), "{name}");
    }
    let run = bench.kbuild(&["build", "--board", "lantern", "none"]);
    assert!(run.stderr.contains("is locked for aarch64 x86_64, not for mips"), "{run}");
}

/// The flagship's own recipe, with stand-ins for oe-core.
#[test]
fn a_guests_base_is_made_of_a_locked_image_offline() {
    let Some(registry) = Registry::start() else { return };
    let Some(mut quickstart) = Quickstart::start(0.0) else { return };
    registry.image("centos/centos", "stream10", &["amd64", "arm64"], "guest");
    let bench = &quickstart.bench;
    std::fs::remove_dir_all(bench.path("layers")).expect("the quickstart's layers");
    std::fs::create_dir(bench.path("layers")).expect("a directory");
    let layers = ["tests/fixtures/stand-in/core", "layers/meta-kbuild", "layers/meta-kata-common"];
    let mut manifest = r#"
[project]
name = "guest"
engine = "bitbake"
[layers.bitbake]
git = "https://upstream.example/bitbake.git"
branch = "2.19"
[options.base]
default = "yocto"
choices = { yocto = "", centos = "kata-base-centos" }
[config]
OE_FRAGMENTS_METADATA_VARS = "BB_CONF_FRAGMENT_SUMMARY BB_CONF_FRAGMENT_DESCRIPTION"
OE_FRAGMENTS_BUILTIN = "machine:MACHINE"
"DISTRO_FEATURES:append" = " kata"
[closure]
lock = "none"
[boards.qemu]
machine = "qemux86-64"
layers = ["core", "meta-kbuild", "meta-kata-common"]
targets = ["kata-guest-base-centos"]
"#
    .to_owned();
    for layer in layers {
        let (_, name) = layer.rsplit_once('/').expect("a path");
        copy(&repository().join(layer), &bench.path(format!("layers/{name}")));
        manifest.push_str(&format!("[layers.{name}]\npath = \"layers/{name}\"\n"));
    }
    bench.write("kata.toml", &manifest);
    bench.kbuild_ok(&["lock"]);
    let chosen = ["build", "--board", "qemu", "--set", "base=centos"];
    let run = bench.kbuild(&chosen);
    assert!(run.stderr.contains("does not declare its image: add '[sources.guest-base-centos]'"), "{run}");

    // As it says.
    let source = format!("[sources.guest-base-centos]\noci = \"{}/centos/centos:stream10\"\n", registry.host);
    bench.write("kata.toml", &format!("{manifest}{source}"));
    bench.kbuild_ok(&["lock"]);
    drop(registry);
    quickstart.stop_upstreams();
    let bench = &quickstart.bench;
    bench.kbuild_ok(&chosen);
    let file = bench.path("build/qemu/tmp/deploy/images/qemux86-64/kata-guest-base-centos.tar");
    let mut archive = tar::Archive::new(std::fs::File::open(file).expect("deployed"));
    let mut entries = archive.entries().expect("an archive").map(|entry| entry.expect("an entry"));
    let directory = entries.next().expect("a directory");
    assert_eq!(directory.path().expect("a path"), Path::new("etc/"));
    let text = std::io::read_to_string(entries.next().expect("a file")).expect("read");
    assert_eq!(text, "guest for amd64\n");
    assert!(entries.next().is_none());
}
