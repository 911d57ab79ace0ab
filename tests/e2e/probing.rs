//! `kbuild probe`, and what the fallback lists are told.

use kbuild_test::assert_run;
use kbuild_test::ftp::{FtpServer, Mishaps};
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::git;
use kbuild_test::sha256;

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";

fn project(text: &str) -> TestProject {
    let project = TestProject::with_manifest(&format!("{HEAD}{text}"));
    project.write("bitbake/bin/bitbake", "");
    project
}

fn source(name: &str, url: &str) -> String {
    format!("[sources.{name}]\nurl = \"{url}\"\nsha256 = \"{}\"\n", sha256(b"12345"))
}

/// The output with a name for each server: their ports are others each time.
fn named(mut run: Run, servers: &[(&str, u16)]) -> Run {
    let clone = regex::Regex::new(r"127\.0\.0\.1\.\d+\.git\.repository\.git@[0-9a-f]{12}").expect("a valid pattern");
    for text in [&mut run.stdout, &mut run.stderr] {
        *text = clone.replace_all(text, "repository@commit").into_owned();
        for (name, port) in servers {
            *text = text.replace(&format!("127.0.0.1:{port}"), name);
        }
    }
    run
}

fn port(server: &Server) -> u16 {
    let url = server.url("");
    url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn probing_tells_what_is_gone_and_what_hangs_on_whom() {
    let (server, other) = (Server::start(), Server::start());
    let ftp = FtpServer::start(b"12345", Mishaps::default(), None);
    for path in ["/a.bin", "/b.bin", "/c.bin", "/new.bin"] {
        server.on(path, [Reply::file("12345")]);
    }
    other.on("/e.bin", [Reply::file("12345")]).on("/f.bin", [Reply::file("12345")]);
    let upstreams = tempfile::tempdir().expect("a directory");
    let work = upstreams.path().join("work");
    std::fs::create_dir(&work).expect("made");
    git(&work, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("file"), "content").expect("written");
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(&work, &["tag", "v1"]);
    git(upstreams.path(), &["clone", "-q", "--bare", "work", "repository.git"]);
    server.git("/git", upstreams.path());
    let sources: String = [
        ("a", server.url("/a.bin")),
        ("b", server.url("/b.bin")),
        ("c", server.url("/c.bin")),
        ("e", other.url("/e.bin")),
        ("f", other.url("/f.bin")),
        ("g", ftp.url("/g.bin")),
    ]
    .iter()
    .map(|(name, url)| source(name, url))
    .collect();
    let repository = format!("[sources.repository]\ngit = \"{}\"\ntag = \"v1\"\n", server.url("/git/repository.git"));
    let manifest = format!("{sources}{repository}[mirrors]\nbuiltin = false\n");
    let mut project = project(&manifest);
    project.set("KBUILD_RETRIES", "1");
    project.set("KBUILD_RETRY_BASE_MS", "1");
    for command in ["lock", "fetch", "lock"] {
        project.kbuild_ok(&[command]);
    }
    // Time passes.
    server.on("/b.bin", [Reply::status(404)]);
    server.on("/c.bin", [Reply::Status(301, vec![("Location".to_owned(), "/new.bin".to_owned())], Vec::new())]);
    std::fs::write(work.join("file"), "other content").expect("written");
    git(&work, &["commit", "-q", "-a", "-m", "two"]);
    git(&work, &["tag", "-f", "v1"]);
    git(&upstreams.path().join("repository.git"), &["fetch", "-q", "-f", "../work", "+refs/*:refs/*"]);
    let names = [("server", port(&server)), ("other", port(&other)), ("ftp", ftp.port())];
    assert_run!(project, named(project.kbuild(&["probe"]), &names), "probing_tells_what_is_gone");
    assert_eq!((ftp.count("SIZE"), ftp.count("RETR")), (1, 0), "a probe asks for the size alone");

    let strict = project.kbuild(&["probe", "--strict", "--format", "json"]);
    assert_eq!(strict.code, Some(1), "{strict}");
    let document = strict.json();
    assert_eq!(document["counts"]["gone"], 1, "{document:#}");
    assert_eq!(document["counts"]["moved-tag"], 1);
    assert_eq!(document["stopped"], 1);
    assert_eq!(document["hosts"][0]["only_there"], 4, "{document:#}");

    let offline = project.kbuild(&["probe", "--offline"]);
    assert_eq!(offline.code, Some(2), "{offline}");
}

#[test]
fn what_is_fetched_from_an_internal_host_is_not_told_to_fallbacks() {
    // Whoever is asked is asked through this proxy, which writes down whom.
    let (proxy, server) = (Server::start(), Server::start());
    let told = |project: &mut TestProject| {
        project.set("https_proxy", proxy.url(""));
        project.set("http_proxy", proxy.url(""));
        project.set("no_proxy", "127.0.0.1");
        project.set("KBUILD_RETRIES", "0");
        let before = proxy.count();
        let run = project.kbuild(&["lock"]);
        assert!(run.stderr.contains("secret-plan"), "{run}");
        proxy.count() - before
    };
    let secret = source("secret", &server.url("/secret-plan-1.0.tar.gz"));
    assert_eq!(told(&mut project(&secret)), 0, "an address of this machine is internal");
    let public = format!("{secret}[mirrors]\npublic = [\"127.0.0.1\"]\n");
    assert!(told(&mut project(&public)) > 3, "the same, said to be public");
    assert!(proxy.requests("downloads.yoctoproject.org:443").len() == 1, "the name goes out by TLS, the host is seen");
    let narrow = format!("{secret}[mirrors]\npublic = [\"127.0.0.1\"]\nbuiltin = [\"nix\"]\n");
    assert_eq!(told(&mut project(&narrow)), 1);
    let none = format!("{secret}[mirrors]\npublic = [\"127.0.0.1\"]\nbuiltin = false\n");
    assert_eq!(told(&mut project(&none)), 0);
}
