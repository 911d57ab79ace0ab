//! What the fallback lists are told.

use kbuild_test::http::{Reply, Server};
use kbuild_test::project::TestProject;
use sha2::Digest as _;

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";

fn project(text: &str) -> TestProject {
    let project = TestProject::with_manifest(&format!("{HEAD}{text}"));
    project.write("bitbake/bin/bitbake", "");
    project
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    kbuild::source::Sha256::from(digest).to_string()
}

fn source(name: &str, url: &str) -> String {
    format!("[sources.{name}]\nurl = \"{url}\"\nsha256 = \"{}\"\n", sha256(b"12345"))
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
