//! Probes against servers on loopback, with the text of a lock.

use std::time::Duration;

use super::*;
use crate::net::retry::RetryPolicy;
use kbuild_test::ftp::{FtpServer, Mishaps};
use kbuild_test::http::{Reply, Server};

fn client() -> UpstreamClient {
    let policy = RetryPolicy {
        base: Duration::from_millis(1),
        idle: Duration::from_millis(300),
        retry_after: Duration::from_millis(20),
        ..RetryPolicy::default()
    };
    let alone =
        [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("HOME", "/nowhere"), ("no_proxy", "*")];
    UpstreamClient::for_tests(policy, alone.map(|(name, value)| (name, value.into())).to_vec())
}

/// A lock of declared files, each with its URLs, for the boards `one` and `two`; `b` is for `two` alone.
fn lock(files: &[(&str, &[&str])]) -> Lock {
    let mut lock = Lock::default();
    for (name, urls) in files {
        let urls = urls.iter().map(|url| url.parse().unwrap()).collect();
        let content = crate::lock::Content { blake3: crate::source::Blake3::from([1; 32]), size: 5 };
        let file = LockedFile {
            name: None,
            urls,
            sha256: crate::source::Sha256::from([2; 32]),
            stated_size: None,
            content: Some(content),
        };
        lock.files.insert((*name).to_owned(), file);
        let id = SourceId::File((*name).to_owned());
        let request = crate::lock::Request::File { url: "https://h/x".parse().unwrap(), version: None };
        lock.sources.insert((*name).to_owned(), crate::lock::Pin::new(request, id.clone()));
        for board in if *name == "b" { &["two"][..] } else { &["one", "two"][..] } {
            lock.boards.entry((*board).to_owned()).or_default().sources.insert(id.clone());
        }
    }
    lock
}

async fn probed(lock: &Lock, signatures: bool) -> ProbeReport {
    probe(lock, &lock.all_sources(), &client(), signatures).await.unwrap()
}

fn findings(report: &ProbeReport) -> Vec<Vec<&'static str>> {
    report.sources.iter().map(|source| source.findings.iter().map(ProbeFinding::name).collect()).collect()
}

fn redirect(status: u16, to: &str) -> Reply {
    Reply::Status(status, vec![("Location".to_owned(), to.to_owned())], Vec::new())
}

#[tokio::test]
async fn what_is_gone_moved_or_elsewhere_is_told_apart() {
    let (server, other) = (Server::start(), Server::start());
    server.on("/there", [Reply::file("12345")]).on("/larger", [Reply::file("123456")]);
    server.on("/moved", [redirect(301, "/there")]).on("/elsewhere", [redirect(302, &other.url("/x"))]);
    server.on("/secret", [Reply::status(401)]).on("/busy", [Reply::status(503)]);
    other.on("/x", [Reply::file("12345")]);
    let names = ["there", "gone", "larger", "moved", "elsewhere", "secret", "busy"];
    let urls: Vec<String> = names.iter().map(|name| server.url(&format!("/{name}"))).collect();
    let urls: Vec<[&str; 1]> = urls.iter().map(|url| [url.as_str()]).collect();
    let files: Vec<(&str, &[&str])> = names.iter().zip(&urls).map(|(name, urls)| (*name, &urls[..])).collect();
    let report = probed(&lock(&files), false).await;
    let found: BTreeMap<String, Vec<&str>> =
        report.sources.iter().map(|source| source.id.to_string()).zip(findings(&report)).collect();
    assert_eq!(found["file:there"], ["plain"]);
    assert_eq!(found["file:gone"], ["gone", "plain"]);
    assert_eq!(found["file:larger"], ["other-size", "plain"]);
    assert_eq!(found["file:moved"], ["moved", "plain"]);
    assert_eq!(found["file:elsewhere"], ["other-host", "plain"]);
    assert_eq!(found["file:secret"], ["refused", "plain"]);
    assert_eq!(found["file:busy"], ["no-answer", "plain"]);
    assert_eq!(report.stopped(), 4);
    let methods: BTreeSet<String> = server.requests("/there").into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["HEAD".to_owned()].into(), "no byte of it is asked for");
}

#[tokio::test]
async fn ftp_servers_are_asked_for_the_size_or_a_transfer_that_is_not_read() {
    let old = || Mishaps { old: true, ..Mishaps::default() };
    let gone = Mishaps { refusal: Some("550 no such file"), ..old() };
    let servers = [Mishaps::default(), old(), gone].map(|mishaps| FtpServer::start(b"12345", mishaps, None));
    let urls = servers.each_ref().map(|server| server.url("/x"));
    let files: [(&str, &[&str]); 3] = [("a", &[&urls[0]]), ("b", &[&urls[1]]), ("c", &[&urls[2]])];
    let report = probed(&lock(&files), false).await;
    assert_eq!(findings(&report), [&["plain"][..], &["plain"], &["gone", "plain"]]);
    assert_eq!(servers[0].count("RETR"), 0);
}

#[tokio::test]
async fn a_server_that_limits_its_rate_is_waited_for() {
    let server = Server::start();
    let later = Reply::status(429).header("Retry-After", "1");
    let limited = Reply::status(403).header("x-ratelimit-remaining", "0");
    server.on("/a", [later, Reply::file("12345")]).on("/b", [limited.clone(), limited, Reply::file("12345")]);
    let report = probed(&lock(&[("a", &[&server.url("/a")]), ("b", &[&server.url("/b")])]), false).await;
    assert_eq!(findings(&report), [["plain"], ["plain"]]);
    assert_eq!(server.requests("/a").len(), 2);
}

/// An empty bare repository below this folder.
fn repository(folder: &std::path::Path) {
    git2::Repository::init_bare(folder.join("new.git")).unwrap();
}

#[tokio::test]
async fn a_repository_that_moved_is_told_from_one_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    let server = Server::start();
    server.git("/git", folder.path());
    let to = server.url("/git/new.git/info/refs?service=git-upload-pack");
    server.on("/git/old.git/info/refs", [redirect(301, &to)]);
    server.on("/git/login.git/info/refs", [Reply::status(401)]);
    let mut lock = Lock::default();
    for name in ["new", "old", "gone", "login"] {
        let git = LockedGit {
            url: server.url(&format!("/git/{name}.git")).parse().unwrap(),
            refs: BTreeSet::new(),
            commit: crate::source::CommitId::from([1; 20]),
            tree: None,
            history: false,
            clones: BTreeSet::new(),
            recursive: false,
            submodules: BTreeMap::new(),
            lfs: BTreeMap::new(),
            without_lfs: false,
        };
        lock.gits.insert(format!("{name}@1"), git);
    }
    let report = probed(&lock, false).await;
    let found: BTreeMap<String, Vec<&str>> =
        report.sources.iter().map(|source| source.id.to_string()).zip(findings(&report)).collect();
    assert_eq!(found["git:new@1"], ["plain"]);
    assert_eq!(found["git:old@1"], ["moved", "plain"]);
    assert_eq!(found["git:gone@1"], ["gone", "plain"]);
    assert_eq!(found["git:login@1"], ["refused", "plain"]);
}

#[tokio::test]
async fn who_says_nothing_is_not_taken_for_gone() {
    let server = Server::start();
    server.on("/silent", [Reply::Silence(Duration::from_secs(2))]).on("/cut", [Reply::Hangup]);
    let urls = [server.url("/silent"), server.url("/cut"), "http://127.0.0.1:9/x".to_owned()];
    let files: [(&str, &[&str]); 3] = [("a", &[&urls[0]]), ("b", &[&urls[1]]), ("c", &[&urls[2]])];
    let report = probed(&lock(&files), false).await;
    assert_eq!(findings(&report), [["no-answer", "plain"]; 3]);
}

#[tokio::test]
async fn one_url_that_has_it_is_enough_and_no_host_is_then_alone() {
    let (server, second) = (Server::start(), Server::start());
    second.on("/a", [Reply::file("12345")]).on("/b", [Reply::file("12345")]).on("/c", [Reply::file("12345")]);
    let (gone, there) = (server.url("/a"), second.url("/a"));
    let (b, c) = (second.url("/b"), second.url("/c"));
    let report = probed(&lock(&[("a", &[&gone, &there]), ("b", &[&b]), ("c", &[&c])]), false).await;
    assert_eq!(report.stopped(), 0);
    let loads: Vec<(usize, usize, Vec<&str>)> = report
        .hosts
        .iter()
        .map(|load| (load.sources, load.alone, load.boards.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(loads, [(3, 2, vec!["one", "two"]), (1, 0, vec![])]);
}

#[tokio::test]
async fn signatures_are_looked_for_on_request() {
    let server = Server::start();
    let names = ["a.tar.xz", "b.tar.gz", "c.zip", "d.patch"];
    for name in names {
        server.on(&format!("/{name}"), [Reply::file("12345")]);
    }
    server.on("/a.tar.sign", [Reply::file("s")]).on("/b.tar.gz.asc", [Reply::file("s")]);
    let urls = names.map(|name| server.url(&format!("/{name}")));
    let files: Vec<(&str, [&str; 1])> = names.iter().copied().zip(urls.iter().map(|url| [url.as_str()])).collect();
    let files: Vec<(&str, &[&str])> = files.iter().map(|(name, urls)| (*name, &urls[..])).collect();
    let lock = lock(&files);
    assert_eq!(findings(&probed(&lock, false).await), [["plain"]; 4]);
    let asked = server.count();
    assert_eq!(asked, 4, "one request for each");
    assert_eq!(findings(&probed(&lock, true).await), [&["plain"][..], &["plain"], &["plain", "unsigned"], &["plain"]]);
}

#[tokio::test]
async fn what_only_mirrors_have_is_not_asked_for() {
    let urls = ["sftp://h/x", "svn://h/p;module=m;rev=1", "gomod://h/m;version=v1"];
    let files: [(&str, &[&str]); 3] = [("a", &urls[..1]), ("b", &urls[1..2]), ("c", &urls[2..])];
    assert_eq!(findings(&probed(&lock(&files), false).await), [["not-asked"]; 3]);
}
