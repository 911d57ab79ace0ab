//! The store over HTTP: `kbuild serve`, nginx and Python's server for other kbuilds; mirrors for plain BitBake.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kbuild::lock::{Content, Lock, LockedFile, LockedGit};
use kbuild::source::{CommitId, Hasher, name};
use kbuild::store::{Store, tree};
use serde_json::{Value, json};

use kbuild_test::assert_run;
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Quickstart, engine, git, repository};
use kbuild_test::servers::{Certificate, Nginx, Proxy, Python, Serve, raw};

/// Bytes of the larger file.
const BIG: usize = 3 << 20;

/// A project with two files and a repository, locked and fetched; its upstreams are stopped.
fn stocked() -> TestProject {
    let bench = TestProject::new();
    let up = bench.beside("up");
    fs::create_dir_all(up.join("repo")).expect("directories");
    let big: Vec<u8> = (0..BIG).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    fs::write(up.join("big.bin"), big).expect("a file");
    fs::write(up.join("small.bin"), "small").expect("a file");
    git(&up.join("repo"), &["init", "-q", "-b", "main"]);
    fs::write(up.join("repo/content"), "git").expect("a file");
    git(&up.join("repo"), &["add", "."]);
    git(&up.join("repo"), &["commit", "-q", "-m", "A commit"]);
    bench.write("kata.toml", MANIFEST);
    bench.write("bitbake/bin/bitbake", "");
    let rule = format!("https://upstream\\.example/(.*)=file://{}/$1", up.display());
    bench.kbuild_ok(&["lock", "--mirror", &rule]);
    fs::remove_dir_all(up).expect("removed");
    bench
}

const MANIFEST: &str = r#"
[project]
name = "test"
[layers.bitbake]
path = "bitbake"
[sources.big]
url = "https://upstream.example/big.bin"
[sources.small]
url = "https://upstream.example/small.bin"
[sources.repo]
git = "https://upstream.example/repo"
branch = "main"
[mirrors]
builtin = false
"#;

/// The same project on another machine, with nothing in its store.
fn cloned(from: &TestProject) -> TestProject {
    let mut bench = TestProject::new();
    for file in ["kata.toml", "kata.lock", "bitbake/bin/bitbake"] {
        bench.write(file, &from.read(file));
    }
    // Only the mirror is asked: what it does not have is reported at once.
    bench.set("KBUILD_RETRIES", "0");
    bench
}

fn lock(bench: &TestProject) -> Lock {
    Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Fetches everything from a mirror into an empty store, which has a part of the larger file already.
fn fetch_from(from: &TestProject, url: &str) {
    let there = cloned(from);
    assert_eq!(there.kbuild(&["fetch", "--offline"]).code, Some(6));
    let content = lock(from).files["big.bin"].content.expect("seen");
    let store = Store::open(&from.path("mirrors/store")).expect("a store");
    let bytes = fs::read(store.blob_path(&content.blake3)).expect("a blob");
    let partial = there.path("mirrors/store/incoming").join(lock(from).files["big.bin"].sha256.to_string());
    fs::write(partial, &bytes[..BIG / 2]).expect("half of it");
    there.kbuild_ok(&["fetch", "--mirror", url]);
    there.kbuild_ok(&["verify"]);
}

#[test]
fn three_servers_fill_an_empty_store_and_continue_half_a_file() {
    let here = stocked();
    let store = here.path("mirrors/store");

    let mut serve = Serve::start(&here, &[]);
    fetch_from(&here, &serve.url);
    assert_eq!(serve.log().matches(&format!(" 206 {}\n", BIG / 2)).count(), 1, "{}", serve.log());
    assert_eq!(serve.process.stop(), Some(0), "{}", serve.log());

    let python = Python::serve(&store);
    fetch_from(&here, &format!("http://127.0.0.1:{}", python.port));

    // As docs/reference/serve.md has it.
    let locations = "location ~ ^/(blobs|sha256)/ { add_header Cache-Control \"public, max-age=31536000, immutable\"; }\n\
                     location ~ ^/(format$|git/) {}\nlocation / { return 404; }\n";
    let Some(nginx) = Nginx::serve(&store, locations) else { return };
    fetch_from(&here, &format!("http://127.0.0.1:{}/", nginx.port));
    assert_eq!(nginx.log().matches(&format!("\" 206 {} ", BIG / 2)).count(), 1, "{}", nginx.log());
}

#[test]
fn a_certificate_of_ones_own_needs_its_authority() {
    let here = stocked();
    let certificate = Certificate::make(&here.beside("tls"));
    let identity = ["--tls-cert", text(&certificate.certificate), "--tls-key", text(&certificate.key)];
    let serve = Serve::start(&here, &identity);
    let nginx = Nginx::serve_tls(&here.path("mirrors/store"), &certificate);
    let (_, port) = serve.address().rsplit_once(':').expect("a port");
    let ports = [Some(port.to_owned()), nginx.as_ref().map(|nginx| nginx.port.to_string())];
    for port in ports.into_iter().flatten() {
        let url = format!("https://localhost:{port}");
        let mut there = cloned(&here);
        let refused = there.kbuild(&["fetch", "--mirror", &url]);
        assert_eq!(refused.code, Some(4), "{refused}");
        assert!(refused.stderr.contains("certificate") && refused.stderr.contains("SSL_CERT_FILE"), "{refused}");
        there.set("SSL_CERT_FILE", text(&certificate.authority));
        there.kbuild_ok(&["fetch", "--mirror", &url]);
        there.kbuild_ok(&["verify"]);
    }
}

#[test]
fn a_login_comes_from_netrc_and_is_told_to_nobody_else() {
    let here = stocked();
    let users = here.beside("users");
    fs::write(&users, "me:{PLAIN}s3cret\n").expect("a file");
    let auth = format!("auth_basic store;\nauth_basic_user_file {};\n", users.display());
    let Some(nginx) = Nginx::serve(&here.path("mirrors/store"), &auth) else { return };
    let url = format!("http://localhost:{}", nginx.port);
    let run = |netrc: &str| {
        let mut there = cloned(&here);
        there.write("netrc", netrc);
        there.set("NETRC", text(&there.path("netrc")));
        let run = there.kbuild(&["fetch", "-vv", "--mirror", &url]);
        assert!(!run.to_string().contains("s3cret") && !run.to_string().contains("wr0ng"), "{run}");
        (run, there)
    };
    let (missing, there) = run("machine elsewhere login me password s3cret\n");
    assert_eq!(missing.code, Some(4), "{missing}");
    assert!(missing.stderr.contains("401") && missing.stderr.contains("~/.netrc"), "{missing}");
    let quiet = there.kbuild(&["fetch", "--quiet", "--mirror", &url, "--format", "json"]);
    assert!(quiet.json()["error"].to_string().contains("401"), "{quiet}");
    let (wrong, _) = run("machine localhost login me password wr0ng\n");
    assert_eq!(wrong.code, Some(4), "{wrong}");
    let (right, there) = run("machine localhost login me password s3cret\n");
    assert_eq!(right.code, Some(0), "{right}");
    there.kbuild_ok(&["verify"]);
}

#[test]
fn proxies_are_used() {
    let here = stocked();
    let certificate = Certificate::make(&here.beside("tls"));
    let identity = ["--tls-cert", text(&certificate.certificate), "--tls-key", text(&certificate.key)];
    let (plain, secure) = (Serve::start(&here, &[]), Serve::start(&here, &identity));
    for (serve, variable) in [(&plain, "http_proxy"), (&secure, "https_proxy")] {
        let proxy = Proxy::start();
        let mut there = cloned(&here);
        there.set(variable, format!("http://127.0.0.1:{}", proxy.port));
        there.set("SSL_CERT_FILE", text(&certificate.authority));
        let url = serve.url.replace("127.0.0.1", "localhost");
        there.kbuild_ok(&["fetch", "--mirror", &url]);
        let place = url.split('/').nth(2).expect("a host");
        let first = if variable == "http_proxy" { format!("GET http://{place}/") } else { format!("CONNECT {place}") };
        assert!(!proxy.asked().is_empty());
        assert!(proxy.asked().iter().all(|asked| asked.starts_with(&first)), "{:?}", proxy.asked());
    }
}

/// The status of an answer, and its head.
fn head(answer: &str) -> (u16, &str) {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer:?}")), head)
}

fn get(address: &str, path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    raw(address, request.as_bytes()).expect("an answer")
}

#[test]
fn a_hostile_client_gets_nothing_and_the_server_lives() {
    let here = stocked();
    let store = here.path("mirrors/store");
    fs::write(store.join("secret"), "hidden").expect("a file");
    fs::write(store.join("incoming/partial"), "hidden").expect("a file");
    fs::write(here.beside("outside"), "hidden").expect("a file");
    // Links that somebody put in the place of content: they are not followed.
    let (hash, commit) = ("7".repeat(64), "7".repeat(40));
    fs::create_dir_all(store.join("blobs/77")).expect("a directory");
    for link in [format!("blobs/77/{hash}"), format!("sha256/{hash}"), format!("git/{commit}.toml")] {
        std::os::unix::fs::symlink(here.beside("outside"), store.join(link)).expect("a link");
    }
    let serve = Serve::start(&here, &["--connections", "4", "--timeout", "1"]);
    let address = serve.address();
    let known = format!("/sha256/{}", lock(&here).files["small.bin"].sha256);
    for path in [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/blobs/../secret",
        "/sha256/..%2fsecret",
        "/mirror/../secret",
        "/mirror/..%2f..%2foutside",
        "/mirror/%00",
        "//etc/passwd",
        "/secret",
        "/incoming/partial",
        "/lock",
        "/verified",
        "/roots",
        "/tmp/",
        "/",
        "/blobs/",
        "/blobs/77/7",
        &format!("/blobs/77/{hash}"),
        &format!("/blobs/78/{hash}"),
        &format!("/sha256/{hash}"),
        &format!("/git/{commit}.toml"),
        &known.to_uppercase().replace("/SHA256", "/sha256"),
    ] {
        let answer = get(address, path, &[]);
        assert_eq!(head(&answer).0, 404, "{path}: {answer}");
        assert!(!answer.contains("hidden") && !answer.contains("root:"), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "CONNECT"] {
        let target = if method == "CONNECT" { address } else { &known };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nevil"
        );
        let answer = raw(address, request.as_bytes()).expect("an answer");
        assert_eq!(head(&answer).0, 405, "{method}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("allow: get, head"), "{answer}");
    }
    let huge = format!("X-Huge: {}", "x".repeat(1 << 20));
    assert!([400, 431].contains(&head(&get(address, &known, &[&huge])).0));
    let many = "X: y\r\n".repeat(5000);
    assert!([400, 431].contains(&head(&get(address, &known, &[&many])).0));
    assert!([400, 414, 431].contains(&head(&get(address, &format!("/{}", "x".repeat(1 << 20)), &[])).0));
    assert_eq!(head(&raw(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").expect("an answer")).0, 400);

    // As many clients as are served at once, which never finish their first line: they are disconnected, and the next
    // is served.
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).expect("a connection");
            stream.write_all(b"GET / HT").expect("written");
            stream
        })
        .collect();
    let answer = get(address, &known, &[]);
    assert!(head(&answer).0 == 200 && answer.ends_with("small"), "{answer}");
    drop(slow);
}

#[test]
fn ranges_and_conditions_are_kept_to() {
    let here = stocked();
    let serve = Serve::start(&here, &[]);
    let address = serve.address();
    let lock = lock(&here);
    let file = &lock.files["big.bin"];
    let blake3 = file.content.expect("seen").blake3.to_string();
    let blob = format!("/blobs/{}/{blake3}", &blake3[..2]);
    let by_sha256 = format!("/sha256/{}", file.sha256);
    let tag = format!("\"{blake3}\"");
    for path in [&blob, &by_sha256, "/mirror/big.bin"] {
        let answer = get(address, path, &["Range: bytes=7-9"]);
        let (status, head) = head(&answer);
        assert_eq!(status, 206, "{path}: {head}");
        for line in [&format!("etag: {tag}"), &format!("content-range: bytes 7-9/{BIG}"), "content-length: 3"] {
            assert!(head.contains(line), "{path}: {line} in {head}");
        }
        assert_eq!(head.contains("immutable"), path != "/mirror/big.bin", "{head}");
        assert!(!head.contains("last-modified"), "{head}");
    }
    let outcome = |headers: &[&str]| {
        let answer = get(address, &blob, headers);
        let (status, head) = head(&answer);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        (status, length.parse::<usize>().expect("a number"))
    };
    let with = |header: &str, value: &str| format!("{header}: {value}");
    assert_eq!(outcome(&[]), (200, BIG));
    assert_eq!(outcome(&["Range: bytes=-5"]), (206, 5));
    assert_eq!(outcome(&[&format!("Range: bytes={}-", BIG - 2)]), (206, 2));
    assert_eq!(outcome(&["Range: bytes=0-9999999"]), (206, BIG));
    assert_eq!(outcome(&[&format!("Range: bytes={BIG}-")]).0, 416);
    // Several ranges at once are not sent; the whole file is a valid answer too.
    assert_eq!(outcome(&["Range: bytes=0-1,5-6"]), (200, BIG));
    assert_eq!(outcome(&[&with("If-None-Match", &tag)]), (304, 0));
    assert_eq!(outcome(&[&with("If-None-Match", &format!("\"x\", W/{tag}"))]), (304, 0));
    assert_eq!(outcome(&[&with("If-None-Match", &tag), "Range: bytes=0-1"]), (304, 0));
    assert_eq!(outcome(&[&with("If-Match", "\"x\"")]).0, 412);
    assert_eq!(outcome(&["Range: bytes=0-1", &with("If-Range", &tag)]), (206, 2));
    assert_eq!(outcome(&["Range: bytes=0-1", "If-Range: \"x\""]), (200, BIG));
    assert_eq!(outcome(&["Range: bytes=0-1", &with("If-Range", &format!("W/{tag}"))]), (200, BIG));
    assert_eq!(outcome(&["Range: bytes=0-1", "If-Range: Wed, 21 Oct 2065 07:28:00 GMT"]), (200, BIG));

    // The head is that of the whole file, without a body.
    let request = format!("HEAD {blob} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = raw(address, request.as_bytes()).expect("an answer");
    assert!(answer.contains(&format!("content-length: {BIG}")) && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(get(address, "/format", &[]).ends_with("kbuild store 1\n"));
    // The log does not show queries.
    get(address, "/format?token=s3cret", &["Authorization: Basic bWU6czNjcmV0"]);
    assert!(serve.log().contains("GET /format 200") && !serve.log().contains("s3cret"), "{}", serve.log());
    let body = |path: &str| get(address, path, &[]).split_once("\r\n\r\n").expect("a body").1.to_owned();
    let commit = lock.gits.values().next().expect("one").commit;
    let record = body(&format!("/git/{commit}.toml"));
    assert_eq!(record, here.read(&format!("mirrors/store/git/{commit}.toml")));
    let mut hasher = Hasher::default();
    hasher.update(body("/mirror/small.bin").as_bytes());
    assert_eq!(hasher.finish().sha256, lock.files["small.bin"].sha256);
}

#[test]
fn a_server_keeps_no_collector_waiting_and_follows_the_lock() {
    let here = stocked();
    let serve = Serve::start(&here, &[]);
    let address = serve.address();
    assert_eq!(head(&get(address, "/mirror/small.bin", &[])).0, 200);
    assert_eq!(head(&get(address, "/mirror/git2_upstream.example.repo.tar.gz", &[])).0, 200);
    here.write(
        "kata.toml",
        &here.read("kata.toml").replace("[sources.small]\nurl = \"https://upstream.example/small.bin\"\n", ""),
    );
    here.kbuild_ok(&["lock", "--offline"]);
    let gone = here.kbuild_ok(&["gc", "--format", "json"]).json();
    assert_eq!((&gone["blobs"], &gone["leftovers"]), (&1.into(), &0.into()), "{gone}");
    assert_eq!(head(&get(address, "/mirror/small.bin", &[])).0, 404);
    assert_eq!(head(&get(address, "/mirror/git2_upstream.example.repo.git.tar.gz", &[])).0, 200);
    // If the lock cannot be read, the earlier mirror stays.
    here.write("kata.lock", "<<<<<<< ours\n");
    assert_eq!(head(&get(address, "/mirror/big.bin", &[])).0, 200);
    assert!(serve.log().contains("its earlier state is served"), "{}", serve.log());
}

#[test]
fn what_serve_says_before_it_serves() {
    let here = stocked();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let held = Serve::start(&here, &[]);
    assert_run!(here, here.kbuild(&["serve", "--listen", held.address()]), "serve_taken");
    here.write("no.pem", "nothing");
    assert_run!(here, here.kbuild(&["serve", "--tls-cert", "no.pem", "--tls-key", "no.pem"]), "serve_no_certificate");
    assert_run!(here, here.kbuild(&["serve", "--listen", &taken, "--url", "https://m/x?y"]), "serve_bad_url");
    let mut outside = here.command(&["serve", "--listen", "127.0.0.1:0"]);
    let run = Run::from(outside.current_dir(here.beside("")).output().expect("starts"));
    assert_run!(here, run, "serve_no_store");
    // Without a project, from a read-only store, with a named lock.
    let (store, lock) = (here.path("mirrors/store"), here.path("kata.lock"));
    let elsewhere = TestProject::new();
    let serve = Serve::start(&elsewhere, &["--store", text(&store), "--lock", text(&lock), "--url", "http://m.corp/k"]);
    let conf = get(serve.address(), "/mirror/kbuild-mirror.conf", &[]);
    assert!(conf.contains(" http://m.corp/k/mirror/\"\n") && conf.contains("KBUILD_REPO_SRCREV = "), "{conf}");
    // Otherwise it names the address of the request, if BitBake can use that.
    let asked = |host: &str| {
        let request = format!("GET /mirror/kbuild-mirror.conf HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(held.address(), request.as_bytes()).expect("an answer")
    };
    assert!(asked("mirror.corp:8080").contains(" http://mirror.corp:8080/mirror/\"\n"));
    assert_eq!(head(&asked("a\"b")).0, 400);
    assert_eq!(head(&asked("[::1]:80")).0, 400);
}

#[test]
fn a_mirror_is_laid_out_and_brought_up_to_date() {
    let here = stocked();
    let mirror = |args: &[&str]| here.kbuild(&[&["mirror", "--url", "https://mirror.corp/kbuild"], args].concat());
    assert_run!(here, mirror(&["../www"]), "mirror");
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(here.beside("www")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    };
    let files = ["big.bin", "git2_upstream.example.repo.git.tar.gz", "git2_upstream.example.repo.tar.gz", "small.bin"];
    let ours = [".kbuild-mirror", "kbuild-mirror.conf"];
    assert_eq!(names(), files.iter().chain(&ours).map(|name| (*name).to_owned()).collect());
    let conf = fs::read_to_string(here.beside("www/kbuild-mirror.conf")).expect("a file");
    let commit = lock(&here).gits.values().next().expect("one").commit.to_string();
    insta::assert_snapshot!("mirror_conf", conf.replace(&commit, "[COMMIT]"));
    let tarball = fs::read(here.beside("www").join(files[2])).expect("a tarball");

    // Damage to it is repaired; the same packs give the same tarball.
    fs::remove_file(here.beside("www").join(files[2])).expect("removed");
    fs::remove_file(here.beside("www/small.bin")).expect("removed");
    fs::write(here.beside("www/small.bin"), "other bytes").expect("written");
    let again = mirror(&["../www", "--format", "json"]).json();
    assert_eq!([&again["files"], &again["tarballs"], &again["kept"], &again["removed"]], [2, 2, 2, 0], "{again}");
    assert_eq!(fs::read(here.beside("www").join(files[2])).expect("a tarball"), tarball);
    assert_eq!(fs::read_to_string(here.beside("www/small.bin")).expect("a file"), "small");
    here.kbuild_ok(&["verify"]);

    here.write(
        "kata.toml",
        &here.read("kata.toml").replace("[sources.small]\nurl = \"https://upstream.example/small.bin\"\n", ""),
    );
    here.kbuild_ok(&["lock", "--offline"]);
    assert_run!(here, mirror(&["../www"]), "mirror_less");
    assert!(!names().contains("small.bin"));

    assert_run!(here, mirror(&["."]), "mirror_not_empty");
    assert_run!(here, here.kbuild(&["mirror", "--url", "https://me:s3cret@m/", "x"]), "mirror_login");
    fs::remove_dir_all(here.path("mirrors/store")).expect("removed");
    assert_run!(here, mirror(&["../other"]), "mirror_missing");
}

/// A store and a lock with every kind of source that plain BitBake can fetch from a mirror over HTTP, made by hand: the
/// upstreams do not exist.
struct Kinds {
    bench: TestProject,
    lock: Lock,
    cases: Vec<Value>,
    expected: BTreeMap<String, (String, String)>,
}

impl Kinds {
    fn make() -> Kinds {
        let bench = TestProject::new();
        let mut kinds = Kinds { bench, lock: Lock::default(), cases: Vec::new(), expected: BTreeMap::new() };
        let sum = kinds.file("plain.txt", "https://host.invalid/dir/plain.txt", b"a file");
        kinds.expect(
            "file",
            &format!("https://host.invalid/dir/plain.txt;sha256sum={sum}"),
            &json!({}),
            "plain.txt",
            "a file",
        );
        let sum = kinds.file("odd+na@me~.txt", "https://host.invalid/get?x=1", b"odd");
        let uri = format!("https://host.invalid/get?x=1;downloadfilename=odd+na@me~.txt;sha256sum={sum}");
        kinds.expect("odd", &uri, &json!({}), "odd+na@me~.txt", "odd");
        let sum = kinds.file("ftp.txt", "ftp://host.invalid/dir/ftp.txt", b"ftp");
        kinds.expect("ftp", &format!("ftp://host.invalid/dir/ftp.txt;sha256sum={sum}"), &json!({}), "ftp.txt", "ftp");
        let archive = tarball("serde-1.0.0", "src/lib.rs", "a crate");
        let sum = kinds.file("serde-1.0.0.crate", "crate://crates.io/serde/1.0.0", &archive);
        let flags = json!({ "serde-1.0.0.sha256sum": sum });
        let path = "cargo_home/bitbake/serde-1.0.0/src/lib.rs";
        kinds.expect("crate", "crate://crates.io/serde/1.0.0", &json!({ "flags": flags }), path, "a crate");

        let (commit, _) = kinds.git("https://host.invalid/group/repo.git", "a", "git", None);
        let uri = "git://host.invalid/group/repo.git;protocol=https;branch=main;destsuffix=out";
        kinds.expect("git", uri, &json!({ "variables": { "SRCREV": commit } }), "out/a", "git");
        let (child, key) = kinds.git("https://host.invalid/child", "inner", "child", None);
        let module = Some(("https://host.invalid/child", child.as_str(), key.as_str()));
        let (commit, _) = kinds.git("https://host.invalid/parent", "outer", "parent", module);
        let uri = "gitsm://host.invalid/parent;protocol=https;branch=main;destsuffix=out";
        kinds.expect("gitsm", uri, &json!({ "variables": { "SRCREV": commit } }), "out/sub/inner", "child");
        fs::write(kinds.bench.path("kata.lock"), kinds.lock.to_string()).expect("a lock");
        kinds.bench.write("kata.toml", "[project]\nname = \"kinds\"\n[layers.bitbake]\npath = \"bitbake\"\n");
        kinds.bench.write("bitbake/bin/bitbake", "");
        kinds
    }

    fn store(&self) -> Store {
        Store::open(&self.bench.path("mirrors/store")).expect("a store")
    }

    fn file(&mut self, key: &str, url: &str, bytes: &[u8]) -> String {
        let path = self.bench.beside("file");
        fs::write(&path, bytes).expect("a file");
        let digests = self.store().add_file(&path).expect("taken in");
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let urls = vec![url.parse().expect("a URL")];
        self.lock.files.insert(
            key.to_owned(),
            LockedFile { name: None, urls, sha256: digests.sha256, stated_size: None, content },
        );
        digests.sha256.to_string()
    }

    /// A repository with one file, and perhaps a submodule `sub`: its URL, commit and key.
    fn git(&mut self, url: &str, file: &str, text: &str, module: Option<(&str, &str, &str)>) -> (String, String) {
        let work = tempfile::tempdir().expect("a directory");
        let git = |args: &[&str]| git(work.path(), args);
        git(&["init", "-q", "-b", "main"]);
        fs::write(work.path().join(file), text).expect("a file");
        git(&["add", "."]);
        if let Some((url, commit, _)) = module {
            let modules = format!("[submodule \"sub\"]\n\tpath = sub\n\turl = {url}\n");
            fs::write(work.path().join(".gitmodules"), modules).expect("a file");
            git(&["add", ".gitmodules"]);
            git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sub")]);
        }
        git(&["commit", "-q", "-m", "A commit"]);
        let commit: CommitId = git(&["rev-parse", "HEAD"]).parse().expect("a commit");
        let bare = work.path().join(".git");
        let opened = kbuild::git::open_objects(&bare).expect("a repository");
        let tree = tree::of_commit(&opened, &commit).expect("a tree");
        self.store().add_git(&bare, &commit, tree).expect("taken in");
        let url = url.parse().expect("a URL");
        let key = name::git_key(&url, &commit);
        let locked = LockedGit {
            refs: BTreeSet::from(["refs/heads/main".to_owned()]),
            clones: BTreeSet::new(),
            commit,
            tree: Some(tree),
            history: false,
            recursive: false,
            submodules: module.map(|(_, _, key)| ("sub".to_owned(), key.to_owned())).into_iter().collect(),
            lfs: BTreeMap::new(),
            without_lfs: false,
            url,
        };
        self.lock.gits.insert(key.clone(), locked);
        (commit.to_string(), key)
    }

    fn expect(&mut self, case: &str, uri: &str, more: &Value, path: &str, text: &str) {
        let mut described = json!({ "name": case, "uri": uri });
        if let (Value::Object(described), Value::Object(more)) = (&mut described, more) {
            described.extend(more.clone());
        }
        self.cases.push(described);
        self.expected.insert(case.to_owned(), (path.to_owned(), text.to_owned()));
    }

    /// Lets BitBake fetch and unpack everything with this configuration.
    fn check(&self, engine: &Path, conf: &Path, work: &str) {
        let (script, work) = (repository().join("tests/support/bitbake/fetch-from-mirror"), self.bench.beside(work));
        fs::create_dir(&work).expect("a directory");
        let mut command = Command::new("python3");
        command.arg("-B").args([&script, &engine.join("lib"), conf, &work.join("dl"), &work]).current_dir(&work);
        command.env("HOME", self.bench.beside("home")).env("GIT_CONFIG_NOSYSTEM", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let cases = serde_json::to_vec(&self.cases).expect("JSON");
        child.stdin.take().expect("a pipe").write_all(&cases).expect("written");
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success());
        let report = String::from_utf8_lossy(&output.stdout);
        let report = report.lines().next_back().expect("a report");
        let report: Value = serde_json::from_str(report).expect("JSON");
        for (case, (path, text)) in &self.expected {
            let outcome = &report["outcomes"][case];
            assert_eq!(outcome["files"][path], text.as_str(), "{case} on BitBake {}: {outcome}", report["version"]);
        }
    }
}

fn tarball(directory: &str, file: &str, text: &str) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, format!("{directory}/{file}"), text.as_bytes()).expect("an entry");
    builder.into_inner().expect("a tarball").finish().expect("a tarball")
}

#[test]
fn plain_bitbake_fetches_by_nothing_but_the_emitted_configuration() {
    let Some(engine) = engine() else { return };
    let kinds = Kinds::make();
    let bench = &kinds.bench;
    let serve = Serve::start(bench, &[]);
    let conf = get(serve.address(), "/mirror/kbuild-mirror.conf", &[]);
    let (_, conf) = conf.split_once("\r\n\r\n").expect("a body");
    fs::write(bench.beside("served.conf"), conf).expect("written");
    kinds.check(&engine, &bench.beside("served.conf"), "served");
    drop(serve);

    // nginx's port is known only when it runs, so its directory is made before its content.
    let www = bench.beside("www");
    fs::create_dir(&www).expect("a directory");
    let Some(nginx) = Nginx::serve(&www, "") else { return };
    let url = format!("http://127.0.0.1:{}", nginx.port);
    bench.kbuild_ok(&["mirror", "--url", &url, text(&www)]);
    kinds.check(&engine, &www.join("kbuild-mirror.conf"), "static");

    // A directory that all machines mount at one path needs no server.
    let share = bench.beside("share");
    bench.kbuild_ok(&["mirror", "--url", &format!("file://{}", share.display()), text(&share)]);
    kinds.check(&engine, &share.join("kbuild-mirror.conf"), "shared");
}

#[test]
fn a_whole_project_is_fetched_by_bitbake_alone() {
    let Some(mut quickstart) = Quickstart::start(0.0) else { return };
    // Its recipes fetch only declared sources, so BitBake need not be asked what else they fetch.
    let manifest = quickstart.bench.read("kata.toml");
    quickstart.bench.write("kata.toml", &format!("{manifest}\n[closure]\nlock = \"none\"\n"));
    quickstart.bench.kbuild_ok(&["lock"]);
    quickstart.stop_upstreams();
    let (bench, engine) = (&quickstart.bench, engine().expect("looked for"));
    let serve = Serve::start(bench, &["--board", "harbour"]);
    let answer = get(serve.address(), "/mirror/kbuild-mirror.conf", &[]);
    let (_, conf) = answer.split_once("\r\n\r\n").expect("a body");
    // A configuration as somebody writes it who knows nothing of kbuild but that one line.
    let layers = format!(
        "BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n",
        bench.path("layers/meta-mini").display()
    );
    for (file, text) in [
        ("bblayers.conf", layers.as_str()),
        ("local.conf", "MACHINE = \"harbour\"\nBB_SERVER_TIMEOUT = \"0\"\nrequire conf/kbuild-mirror.conf\n"),
        ("kbuild-mirror.conf", conf),
    ] {
        bench.write(&format!("plain/conf/{file}"), text);
    }
    let topdir = bench.path("plain");
    let path = std::env::var("PATH").expect("PATH");
    let mut command = Command::new(engine.join("bin/bitbake"));
    command.args(["--runall=unpack", "mini-image"]).current_dir(&topdir).env_clear();
    command.env("PATH", format!("{}:{path}", engine.join("bin").display())).env("HOME", bench.beside("home"));
    command.env("LC_ALL", "en_US.UTF-8").env("BBPATH", &topdir).env("GIT_CONFIG_NOSYSTEM", "1");
    let run = Run::from(command.output().expect("BitBake starts"));
    assert_eq!(run.code, Some(0), "{run}\n{}", serve.log());
    for name in ["hello", "greeter", "tidings", "ferry"] {
        let sources = topdir.join("tmp/work/harbour").join(name).join("sources");
        assert!(fs::read_dir(&sources).is_ok_and(|mut entries| entries.next().is_some()), "{}", sources.display());
    }
    assert!(serve.log().contains("git2_upstream.example.cargo.git.tar.gz 200"), "{}", serve.log());
}
