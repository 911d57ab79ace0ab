//! Sources that are no addresses: packages, objects, and what only mirrors have; and recipes' other checksums.

use super::*;
use crate::source::Algorithm;

fn wanted(url: &str, content: &[u8]) -> WantedFile {
    let sha256 = Some(digests_of(content).sha256);
    let name = "dir/the file.tgz".to_owned();
    WantedFile { name, urls: vec![url.parse().unwrap()], sha256, sums: vec![], stated_size: None, content: None }
}

fn with_registry(name: &str, base: &str) -> World {
    let mut world = World::new();
    let entries = BTreeMap::from([(name.to_owned(), base.parse().unwrap())]);
    world.fetcher.registries = RegistryTable::new(Registries { entries }, None);
    world
}

#[tokio::test]
async fn packages_come_from_the_registry_that_a_site_names() {
    for (name, url, path) in [
        ("crates.io", "crate://crates.io/serde/1.0.0", "/base/serde/1.0.0/download"),
        ("npm", "npm://h/;package=@s/a;version=1.0.0", "/base/@s/a/-/a-1.0.0.tgz"),
        ("go", "gomod://github.com/A/b;version=v1.0.0;mod=1", "/base/github.com/!a/b/@v/v1.0.0.mod"),
    ] {
        let server = Server::start();
        server.on(path, [Reply::file("right")]);
        let world = with_registry(name, &server.url("/base/"));
        world.fetcher.file(&wanted(url, b"right")).await.unwrap();
        assert_eq!(server.requests(path).len(), 1, "{url}");
    }
}

#[tokio::test]
async fn rules_match_what_the_recipe_says_and_what_is_downloaded() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("the file.tgz"), "right").unwrap();
    let to = format!("file://{}/{{name}}", folder.path().display());
    for (pattern, url) in [
        ("crate://crates.io/([^/]+)/([^/]+)", "crate://crates.io/serde/1.0.0"),
        (r"https://[^/]*crates\.io/.*/download", "crate://crates.io/serde/1.0.0"),
        ("s3://bucket/.*", "s3://bucket/key"),
        (r"https://bucket\.s3\..*", "s3://bucket/key"),
        ("gomod://.*;version=v1", "gomod://h/m;version=v1"),
        ("svn://h/p;module=m;rev=1", "svn://h/p;module=m;rev=1"),
        ("hg://.*", "hg://h/p;module=m;rev=1"),
        ("sftp://.*", "sftp://h/p/x"),
    ] {
        // Offline: nothing but the folder can be asked.
        let world = World::with(rules(&[(pattern, &[&to])]), true);
        world.fetcher.file(&wanted(url, b"right")).await.unwrap();
    }
}

#[tokio::test]
async fn a_rule_may_lead_to_a_package() {
    let server = Server::start();
    server.on("/base/a/1.0.0/download", [Reply::file("right")]);
    let mut world = World::with(rules(&[("https://h/(.*)", &["crate://own/a/1.0.0"])]), false);
    let entries = BTreeMap::from([("own".to_owned(), server.url("/base").parse().unwrap())]);
    world.fetcher.registries = RegistryTable::new(Registries { entries }, None);
    world.fetcher.file(&wanted("https://h/x", b"right")).await.unwrap();
}

#[tokio::test]
async fn where_nothing_can_be_asked_it_is_said_what_to_do() {
    let world = World::new();
    for (url, hint) in [
        ("gomod://h/m;version=v1", "GOPROXY"),
        ("svn://h/p;module=m;rev=1", "[[mirrors.rule]]"),
        ("sftp://h/x", "[[mirrors.rule]]"),
    ] {
        let error = world.fetcher.file(&wanted(url, b"x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Network);
        assert!(error.hint().unwrap().contains(hint), "{}", whole_error(&error));
    }
    let offline = World::with(no_fallbacks(), true);
    let error = offline.fetcher.file(&wanted("gomod://h/m;version=v1", b"x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert!(!whole_error(&error).contains("GOPROXY"), "{}", whole_error(&error));
}

#[tokio::test]
async fn the_locks_registry_is_asked_where_nobody_names_another() {
    let server = Server::start();
    server.on("/h/m/@v/v1.zip", [Reply::file("right")]);
    let world = World::new();
    world.fetcher.learn_registries(&BTreeMap::from([("go".to_owned(), server.url("").parse().unwrap())]));
    world.fetcher.file(&wanted("gomod://h/m;version=v1", b"right")).await.unwrap();
}

#[tokio::test]
async fn git_is_given_no_other_scheme() {
    let world = World::new();
    for text in ["svn://h/p;module=m", "s3://b/k", "ftp://h/x", "crate://crates.io/a/1"] {
        let url: SourceUrl = text.parse().unwrap();
        let git =
            WantedGit { url: url.clone(), commit: CommitId::from([1; 20]), refs: vec![], history: false, tree: None };
        let error = world.fetcher.git(&git).await.unwrap_err();
        assert!(whole_error(&error).contains("git does not speak"), "{}", whole_error(&error));
        let branch = GitRef { branch: Some("main".to_owned()), tag: None, rev: None };
        let error = world.fetcher.resolve(&url, &branch).await.unwrap_err();
        assert!(whole_error(&error).contains("git does not speak"), "{}", whole_error(&error));
    }
}

fn sum(algorithm: &str, hex: &str) -> Checksum {
    Checksum::new(algorithm.parse::<Algorithm>().unwrap(), hex).unwrap()
}

/// Of the text `abc`: RFC 1321, FIPS 180-4, and Go's `h1:` of it as a go.mod.
fn sums_of_abc() -> Vec<Checksum> {
    let h1 = digests_of(format!("{}  go.mod\n", digests_of(b"abc").sha256).as_bytes()).sha256.to_string();
    vec![
        sum("md5sum", "900150983cd24fb0d6963f7d28e17f72"),
        sum("sha1sum", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        sum("goh1sum", &h1),
    ]
}

#[tokio::test]
async fn every_checksum_of_a_recipe_has_to_be_right() {
    let server = Server::start();
    server.on("/file", [Reply::file("abc")]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "abc").unwrap();
    let places = [server.url("/file"), format!("file://{}/file", folder.path().display())];
    for url in places {
        let file = WantedFile { sha256: None, sums: sums_of_abc(), ..wanted(&url, b"") };
        let world = World::new();
        assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(b"abc"));
        for index in 0..file.sums.len() {
            let mut wrong = file.clone();
            let other = wrong.sums[index].hex().replace(['0', '1', '2', '3'], "f");
            wrong.sums[index] = Checksum::new(wrong.sums[index].algorithm(), &other).unwrap();
            let world = World::new();
            let error = world.fetcher.file(&wrong).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Mismatch);
            let told = whole_error(&error);
            assert!(told.contains(&format!("expected {}", wrong.sums[index])), "{told}");
            assert!(told.contains(&format!("got {}", file.sums[index])), "{told}");
            assert_eq!(world.blobs(), 0, "wrong bytes never become content");
        }
    }
}

#[tokio::test]
async fn with_another_checksum_alone_a_cut_download_is_continued() {
    let server = Server::start();
    let content = [bytes(90_000), b"abc".to_vec()].concat();
    let known = crate::source::Sums::of([Algorithm::Md5]);
    let mut known = known;
    known.update(&content);
    let sums = known.so_far();
    server.on("/file", [Reply::file(content.clone()).cut_after(50_000), Reply::file(content.clone())]);
    let world = World::new();
    let file = WantedFile { sha256: None, sums, ..wanted(&server.url("/file"), b"") };
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(&content));
    assert_eq!(server.requests("/file")[1].header("range"), Some("bytes=50000-"));
}

#[tokio::test]
async fn what_the_store_has_is_read_to_compare_it() {
    let server = Server::start();
    server.on("/file", [Reply::file("abc")]);
    let world = World::new();
    let file = wanted(&server.url("/file"), b"abc");
    world.fetcher.file(&file).await.unwrap();
    let right = WantedFile { sums: sums_of_abc(), ..file.clone() };
    world.fetcher.file(&right).await.unwrap();
    let wrong = WantedFile { sums: vec![sum("md5", &"0".repeat(32))], ..file };
    let error = world.fetcher.file(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(whole_error(&error).contains("got md5 900150983cd24fb0d6963f7d28e17f72"), "{}", whole_error(&error));
    assert_eq!(server.requests("/file").len(), 1);
}
