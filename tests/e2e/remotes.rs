//! A team's store in a bucket: push, fetch and pull; with a real S3 server, and with one that misbehaves.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kbuild::lock::Lock;
use kbuild::store::Store;

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::moto::{KEY, Moto, SECRET};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git;
use kbuild_test::sha256;

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";
const TEAM: &str = "s3://team/kata";

/// Writes a manifest with these sources, `name` to `name.bin`, and an engine that is only a name.
fn write_manifest(bench: &TestProject, server: &Server, sources: &[(&str, Vec<u8>)], more: &str) {
    let entry = |(name, bytes): &(&str, Vec<u8>)| {
        server.on(&format!("/{name}.bin"), [Reply::file(bytes.clone())]);
        format!("[sources.{name}]\nurl = \"{}\"\n", server.url(&format!("/{name}.bin")))
    };
    let sources: String = sources.iter().map(entry).collect();
    bench.write("kata.toml", &format!("{HEAD}{sources}{more}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
}

/// A project whose sources are locked and fetched.
fn fetched(sources: &[(&str, Vec<u8>)]) -> (TestProject, Server) {
    let (bench, server) = (TestProject::new(), Server::start());
    write_manifest(&bench, &server, sources, "");
    bench.kbuild_ok(&["lock"]);
    (bench, server)
}

fn small(names: &[&'static str]) -> Vec<(&'static str, Vec<u8>)> {
    names.iter().map(|name| (*name, format!("the bytes of {name}").into_bytes())).collect()
}

/// The same project on another machine, with nothing in its store.
fn cloned(from: &TestProject) -> TestProject {
    let bench = TestProject::new();
    for file in ["kata.toml", "kata.lock", "bitbake/bin/bitbake"] {
        bench.write(file, &from.read(file));
    }
    bench
}

/// Gives the user who runs kbuild access to the bucket.
fn log_in(bench: &mut TestProject, endpoint: &str) {
    bench.set("AWS_ACCESS_KEY_ID", KEY);
    bench.set("AWS_SECRET_ACCESS_KEY", SECRET);
    bench.set("AWS_ENDPOINT_URL", endpoint);
}

/// Runs `kbuild` with all its output, and checks that it contains no credential.
fn run(bench: &TestProject, args: &[&str]) -> Run {
    let run = bench.kbuild(args);
    let said = format!("{run}");
    assert!(!said.contains(KEY) && !said.contains(SECRET) && !said.contains("Signature="), "{said}");
    run
}

fn ok(bench: &TestProject, args: &[&str]) -> serde_json::Value {
    let run = run(bench, &[args, &["-vv", "--format", "json"]].concat());
    assert_eq!(run.code, Some(0), "kbuild {args:?}\n{run}");
    run.json()
}

/// The path of a source's blob in a store's layout, and that of the record of a git source.
fn blob_of(bench: &TestProject, name: &str) -> String {
    let lock = Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let hex = lock.files[&format!("{name}.bin")].content.expect("seen").blake3.to_string();
    format!("blobs/{}/{hex}", &hex[..2])
}

fn blobs_in(store: &Path) -> usize {
    std::fs::read_dir(store.join("sha256")).map_or(0, Iterator::count)
}

#[test]
fn a_team_shares_a_bucket() {
    let Some(moto) = Moto::start() else { return };
    let (mut here, server) = fetched(&small(&["one"]));
    log_in(&mut here, &moto.url());
    let repositories = here.beside("repositories");
    let work = repositories.join("tool");
    std::fs::create_dir_all(&work).expect("a directory");
    std::fs::write(work.join("file"), "content").expect("a file");
    for args in [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
        git(&work, args);
    }
    server.git("/git", &repositories);
    let tool = format!("[sources.tool]\ngit = \"{}\"\nbranch = \"main\"\n", server.url("/git/tool/.git"));
    write_manifest(&here, &server, &small(&["one", "two"]), &tool);
    here.kbuild_ok(&["lock"]);

    let pushed = ok(&here, &["push", TEAM]);
    assert_eq!((&pushed["blobs"], &pushed["commits"]), (&4.into(), &1.into()), "two files, a pack and its index");
    let names = moto.names();
    assert!(names.contains(&format!("kata/{}", blob_of(&here, "one"))), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("kata/sha256/")).count(), 2, "{names:?}");
    let pushed = ok(&here, &["push", TEAM]);
    assert_eq!((&pushed["blobs"], &pushed["commits"], &pushed["bytes"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(pushed["already_there"], serde_json::json!({ "blobs": 4, "commits": 1 }));

    // One more source: only that is sent.
    write_manifest(&here, &server, &small(&["one", "two", "three"]), &tool);
    here.kbuild_ok(&["lock"]);
    assert_run!(here, run(&here, &["push", TEAM]), "push_of_one_more");
    let lock = here.read("kata.lock");
    let manifest = here.read("kata.toml");
    drop(server);

    // On another machine, with no upstreams.
    let mut there = cloned(&here);
    log_in(&mut there, &moto.url());
    assert_eq!(run(&there, &["fetch", "--offline", "--mirror", TEAM]).code, Some(6), "a bucket is a network");
    there.write("kata.toml", &manifest.replace("builtin = false", &format!("builtin = false\nstores = [\"{TEAM}\"]")));
    assert_eq!(ok(&there, &["fetch"])["fetched"], 4);
    there.kbuild_ok(&["verify"]);
    std::fs::remove_dir_all(there.path("mirrors/store")).expect("the store is emptied");
    assert_eq!(ok(&there, &["pull", TEAM])["fetched"], 4);
    assert_eq!(there.read("kata.lock"), lock);

    // A lock that is made after the upstream disappeared: the SHA-256 finds the blob.
    let mut anew = TestProject::new();
    log_in(&mut anew, &moto.url());
    let one = sha256(b"the bytes of one");
    let known = format!("[sources.one]\nurl = \"https://upstream.invalid/one.bin\"\nsha256 = \"{one}\"\n");
    anew.write("kata.toml", &format!("{HEAD}{known}\n[mirrors]\nbuiltin = false\nstores = [\"{TEAM}\"]\n"));
    anew.write("bitbake/bin/bitbake", "");
    anew.kbuild_ok(&["lock"]);
    assert_eq!(blob_of(&anew, "one"), blob_of(&here, "one"));

    // Damage is repaired from the bucket.
    let store = Store::open(&there.path("mirrors/store")).expect("a store");
    let blob = store.root().join(blob_of(&there, "two"));
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, "the bytes of TWO").expect("damaged");
    ok(&there, &["verify", "--repair"]);
    assert_eq!(std::fs::read(&blob).expect("there"), b"the bytes of two");
}

#[test]
fn wrong_bytes_of_a_bucket_never_enter_a_store() {
    let Some(moto) = Moto::start() else { return };
    let (mut here, server) = fetched(&small(&["one", "two"]));
    log_in(&mut here, &moto.url());
    ok(&here, &["push", TEAM]);
    moto.put(&format!("kata/{}", blob_of(&here, "two")), b"the bytes of TWO");
    drop(server);
    let mut there = cloned(&here);
    log_in(&mut there, &moto.url());
    // Missing sources are named, and no other server is asked.
    assert_run!(there, run(&there, &["pull", "-q", "s3://team/elsewhere"]), "pull_of_nothing");
    assert_eq!(blobs_in(&there.path("mirrors/store")), 0);
    assert_run!(there, run(&there, &["pull", "-q", TEAM]), "pull_of_wrong_bytes");
    assert_eq!(blobs_in(&there.path("mirrors/store")), 1, "only the right ones");
    // A later push does not replace it (its size is right); a blob of another size is sent again.
    moto.put(&format!("kata/{}", blob_of(&here, "two")), b"cut");
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1);
    assert_eq!(ok(&there, &["pull", TEAM])["fetched"], 1);
}

#[test]
fn damage_is_not_spread_and_the_rest_is_sent() {
    let Some(moto) = Moto::start() else { return };
    let (mut here, _server) = fetched(&small(&["one", "two", "three"]));
    log_in(&mut here, &moto.url());
    let blob = here.path("mirrors/store").join(blob_of(&here, "two"));
    let right = std::fs::read(&blob).expect("a blob");
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, "the bytes of TWO").expect("damaged");
    assert_run!(here, run(&here, &["push", "-q", TEAM]), "push_of_rot");
    assert!(!moto.names().contains(&format!("kata/{}", blob_of(&here, "two"))));
    assert_run!(here, run(&here, &["push", "-q", "../there"]), "push_of_rot_into_a_directory");
    std::fs::write(&blob, right).expect("repaired");
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1, "the others were sent before");
    assert_eq!(ok(&here, &["push", "../there"])["blobs"], 1);
    std::fs::remove_file(&blob).expect("removed");
    assert_run!(here, run(&here, &["push", TEAM]), "push_of_what_is_missing");
}

#[test]
fn a_large_blob_is_sent_in_parts() {
    let Some(moto) = Moto::start() else { return };
    let large: Vec<u8> = (0..(20 << 20) + 12_345_usize).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    let (mut here, server) = fetched(&[("large", large.clone())]);
    log_in(&mut here, &moto.url());
    let pushed = ok(&here, &["push", TEAM]);
    assert_eq!(pushed["bytes"], large.len());
    assert!(moto.has(&format!("kata/{}", blob_of(&here, "large")), &large));
    drop(server);
    let mut there = cloned(&here);
    log_in(&mut there, &moto.url());
    assert_eq!(ok(&there, &["pull", TEAM])["bytes"], large.len());

    // Damage at its end is found when most of it was sent; still no part of it gets a name.
    let blob = here.path("mirrors/store").join(blob_of(&here, "large"));
    let mut rotten = large;
    *rotten.last_mut().expect("bytes") ^= 1;
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, rotten).expect("damaged");
    assert_eq!(run(&here, &["push", "s3://team/other"]).code, Some(5));
    assert!(!moto.names().iter().any(|name| name.starts_with("other/blobs")), "{:?}", moto.names());
}

#[test]
fn many_blobs_are_looked_for_at_once() {
    let Some(moto) = Moto::start() else { return };
    let names: Vec<String> = (0..80).map(|number| format!("source-{number:02}")).collect();
    let sources: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), name.clone().into_bytes())).collect();
    let (mut here, server) = fetched(&sources[..79]);
    log_in(&mut here, &moto.url());
    assert_eq!(ok(&here, &["push", "--jobs", "16", TEAM])["blobs"], 79);
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 0);
    write_manifest(&here, &server, &sources, "");
    here.kbuild_ok(&["lock"]);
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1);
}

#[test]
fn credentials_come_from_a_profile_and_wrong_ones_are_refused() {
    let Some(moto) = Moto::start() else { return };
    let (mut here, _server) = fetched(&small(&["one"]));
    let home = here.beside("home/.aws");
    std::fs::create_dir_all(&home).expect("a directory");
    let keys = format!("[team]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(home.join("credentials"), keys).expect("a file");
    let config = format!("[profile team]\nregion = eu-west-1\nendpoint_url = {}\n", moto.url());
    std::fs::write(home.join("config"), config).expect("a file");
    here.set("AWS_PROFILE", "team");
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1);
    assert_run!(here, run(&here, &["push", "s3://nobody/kata"]), "push_to_no_bucket");
    assert_run!(here, run(&here, &["pull", "s3://nobody/kata", "--store", "../other"]), "pull_from_no_bucket");
    here.set("AWS_PROFILE", "temp");
    assert_run!(here, run(&here, &["push", TEAM]), "push_with_no_profile");

    let Some(strict) = Moto::start_strict() else { return };
    let (mut here, _server) = fetched(&small(&["one"]));
    log_in(&mut here, &strict.url());
    assert_run!(here, run(&here, &["push", TEAM]), "push_refused");
    assert_run!(here, run(&here, &["pull", TEAM, "--store", "../other", "-vv"]), "pull_refused");
}

#[test]
fn requests_to_a_failing_bucket_are_retried() {
    let (mut here, server) = fetched(&small(&["one", "two"]));
    log_in(&mut here, &server.url(""));
    let (one, bucket) = (blob_of(&here, "one"), here.beside("bucket"));
    server.bucket("/team", &bucket);
    here.set("KBUILD_TIMEOUT", "2");
    let busy = || Reply::status(503).header("Retry-After", "0");
    let (silent, there) = (Reply::Silence(Duration::from_secs(60)), Reply::Mounted);
    server.on(&format!("/team/kata/{one}"), [busy(), there.clone(), busy(), Reply::Hangup, silent, there]);
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 2);
    let asked: Vec<String> =
        server.requests(&format!("/team/kata/{one}")).into_iter().map(|request| request.method).collect();
    assert_eq!(asked, ["HEAD", "HEAD", "PUT", "PUT", "PUT", "PUT"]);
    assert_eq!(std::fs::read(bucket.join("kata").join(&one)).expect("there"), b"the bytes of one");

    // What was received before the connection was lost is not requested again.
    let bytes = std::fs::read(bucket.join("kata").join(&one)).expect("there");
    let cut = Reply::file(bytes.clone()).cut_after(6);
    server.on(&format!("/team/kata/{one}"), [busy(), cut, Reply::file(bytes)]);
    let mut there = cloned(&here);
    log_in(&mut there, &server.url(""));
    assert_eq!(ok(&there, &["pull", TEAM])["fetched"], 2);
    let requests = server.requests(&format!("/team/kata/{one}"));
    assert_eq!(requests.last().expect("asked").header("range"), Some("bytes=6-"));
}

#[test]
fn a_public_bucket_is_asked_without_a_signature() {
    for (name, value) in [("AWS_SKIP_SIGNATURE", "true"), ("AWS_EC2_METADATA_DISABLED", "true")] {
        let (mut here, server) = fetched(&small(&["one"]));
        server.bucket("/team", &here.beside("bucket"));
        here.set("AWS_ENDPOINT_URL", server.url(""));
        here.set(name, value);
        assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1);
        let requests = server.requests(&format!("/team/kata/{}", blob_of(&here, "one")));
        assert!(requests.iter().all(|request| request.header("authorization").is_none()), "{requests:?}");
    }
}

#[test]
fn ctrl_c_ends_a_push_and_keeps_what_was_sent() {
    let (mut here, server) = fetched(&small(&["one", "two"]));
    log_in(&mut here, &server.url(""));
    server.bucket("/team", &here.beside("bucket"));
    let stuck = format!("/team/kata/{}", blob_of(&here, "two"));
    server.on(&stuck, [Reply::Mounted, Reply::Silence(Duration::from_secs(60)), Reply::Mounted]);
    let child = here.command(&["push", TEAM]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let arrived = || here.beside("bucket/kata").join(blob_of(&here, "one")).exists();
    let start = Instant::now();
    while server.requests(&stuck).len() < 2 || !arrived() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never got that far");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let run = Run::from(child.wait_with_output().expect("ends"));
    assert_eq!(run.code, Some(130), "{run}");
    assert_eq!(ok(&here, &["push", TEAM])["blobs"], 1);
}

#[test]
fn a_directory_is_pushed_to_and_pulled_from() {
    let (here, server) = fetched(&small(&["one", "two"]));
    assert_run!(here, run(&here, &["push", "../there"]), "push_into_a_directory");
    assert_eq!(ok(&here, &["push", "../there"])["blobs"], 0);
    assert_run!(here, run(&here, &["push", "https://mirror.example/store"]), "push_to_a_web_server");
    let other = Server::start();
    other.folder("/store", &here.beside("there"));
    drop(server);
    let there = cloned(&here);
    assert_eq!(ok(&there, &["pull", &other.url("/store")])["fetched"], 2);
    std::fs::remove_dir_all(there.path("mirrors/store")).expect("the store is emptied");
    let folder = here.beside("there").display().to_string();
    assert_eq!(ok(&there, &["pull", "--offline", &folder])["fetched"], 2);
    assert_eq!(run(&there, &["push", "--offline", TEAM]).code, Some(6));
}
