//! Files over HTTP and from folders.

use super::*;

fn wanted(url: &str, content: &[u8]) -> WantedFile {
    let sha256 = Some(digests_of(content).sha256);
    WantedFile {
        name: "file.bin".to_owned(),
        urls: vec![url.parse().unwrap()],
        sha256,
        sums: vec![],
        stated_size: None,
        content: None,
    }
}

fn unknown(url: &str) -> WantedFile {
    WantedFile { sha256: None, ..wanted(url, b"") }
}

#[tokio::test]
async fn a_file_arrives_once_and_is_then_there() {
    let server = Server::start();
    let content = bytes(300_000);
    server.on("/file.bin", [Reply::file(content.clone())]);
    let world = World::new();
    let file = wanted(&server.url("/file.bin"), &content);
    let digests = world.fetcher.file(&file).await.unwrap();
    assert_eq!(digests, digests_of(&content));
    assert_eq!(world.content(&digests), content);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests);
    let requests = server.requests("/file.bin");
    assert_eq!(requests.len(), 1);
    assert!(requests[0].header("user-agent").unwrap().starts_with("kbuild/"));
    assert_eq!(requests[0].header("accept-encoding"), Some("identity"));
    assert!(requests[0].header("range").is_none() && requests[0].header("authorization").is_none());
    assert_eq!(world.partials(), 0);
    assert!(world.said().contains("begin file.bin") && world.said().contains("done 292.97 KiB from 127.0.0.1"));
}

#[tokio::test]
async fn an_unknown_file_is_taken_as_it_is() {
    let server = Server::start();
    server.on("/file.bin", [Reply::file("what it is").header("Content-Encoding", "gzip")]);
    let world = World::new();
    let digests = world.fetcher.file(&unknown(&server.url("/file.bin"))).await.unwrap();
    assert_eq!(digests, digests_of(b"what it is"));
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_retry_after_is_read() {
    let server = Server::start();
    let content = bytes(1000);
    let busy = Reply::status(503).header("Retry-After", "7200");
    server.on("/file.bin", [busy, Reply::status(429), Reply::Hangup, Reply::file(content.clone())]);
    let world = World::new();
    world.fetcher.file(&wanted(&server.url("/file.bin"), &content)).await.unwrap();
    assert_eq!(server.requests("/file.bin").len(), 4);
    assert!(world.said().contains("503"), "{}", world.said());
    assert!(world.said().contains("retrying in"), "{}", world.said());
}

#[tokio::test]
async fn tries_end() {
    let server = Server::start();
    server.on("/file.bin", [Reply::status(502)]);
    let world = World::new();
    let error = world.fetcher.file(&wanted(&server.url("/file.bin"), b"x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(whole_error(&error).contains("502"), "{}", whole_error(&error));
    assert_eq!(server.requests("/file.bin").len(), impatient().tries);
}

#[tokio::test]
async fn lasting_failures_go_to_the_next_place_at_once() {
    for status in [401, 403, 404, 410, 204] {
        let server = Server::start();
        server.on("/gone", [Reply::status(status)]).on("/file.bin", [Reply::file("right")]);
        let world = World::new();
        let mut file = wanted(&server.url("/gone"), b"right");
        file.urls.push(server.url("/file.bin").parse().unwrap());
        world.fetcher.file(&file).await.unwrap();
        assert_eq!(server.requests("/gone").len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_cut_body_is_continued_with_if_range() {
    let server = Server::start();
    let content = bytes(200_000);
    let file = Reply::file(content.clone()).etag("\"one\"");
    server.on("/file.bin", [file.clone().cut_after(70_000), file.clone().cut_after(50_000), file]);
    let world = World::new();
    // Also where the hash is unknown: the validator vouches for the bytes.
    let digests = world.fetcher.file(&unknown(&server.url("/file.bin"))).await.unwrap();
    assert_eq!(digests, digests_of(&content));
    let requests = server.requests("/file.bin");
    let ranges: Vec<_> = requests.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=70000-"), Some("bytes=120000-")]);
    assert_eq!(requests[1].header("if-range"), Some("\"one\""));
}

#[tokio::test]
async fn without_validator_and_hash_nothing_is_continued() {
    let server = Server::start();
    let content = bytes(200_000);
    let weak = Reply::file(content.clone()).etag("W/\"one\"");
    server.on("/file.bin", [weak.clone().cut_after(70_000), weak]);
    let world = World::new();
    let digests = world.fetcher.file(&unknown(&server.url("/file.bin"))).await.unwrap();
    assert_eq!(digests, digests_of(&content));
    assert_eq!(server.requests("/file.bin")[1].header("range"), None);
}

#[tokio::test]
async fn with_a_hash_another_mirror_continues() {
    let server = Server::start();
    let content = bytes(200_000);
    let cut = Reply::file(content.clone()).etag("\"a\"").cut_after(90_000);
    server.on("/a", [cut, Reply::status(404)]).on("/b", [Reply::file(content.clone()).etag("\"b\"")]);
    let world = World::new();
    let mut file = wanted(&server.url("/a"), &content);
    file.urls.push(server.url("/b").parse().unwrap());
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(&content));
    let request = &server.requests("/b")[0];
    assert_eq!((request.header("range"), request.header("if-range")), (Some("bytes=90000-"), None));
}

#[tokio::test]
async fn a_later_run_continues_what_an_earlier_one_left() {
    let server = Server::start();
    let content = bytes(200_000);
    server.on("/file.bin", [Reply::file(content.clone()).cut_after(60_000), Reply::status(404)]);
    let world = World::new();
    let file = wanted(&server.url("/file.bin"), &content);
    world.fetcher.file(&file).await.unwrap_err();
    assert_eq!((world.partials(), world.blobs()), (1, 0));
    server.on("/file.bin", [Reply::file(content.clone())]);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(&content));
    assert_eq!(server.requests("/file.bin").last().unwrap().header("range"), Some("bytes=60000-"));
    assert_eq!(world.partials(), 0);
}

#[tokio::test]
async fn a_file_that_changed_between_tries_is_taken_whole() {
    for ranges in [Ranges::Honoured, Ranges::WithoutCondition] {
        let server = Server::start();
        let (old, new) = (bytes(200_000), vec![7; 150_000]);
        let cut = Reply::file(old).etag("\"old\"").cut_after(90_000);
        server.on("/file.bin", [cut, Reply::file(new.clone()).etag("\"new\"").ranges(ranges)]);
        let world = World::new();
        let digests = world.fetcher.file(&unknown(&server.url("/file.bin"))).await.unwrap();
        assert_eq!(world.content(&digests), new, "{ranges:?}");
    }
}

#[tokio::test]
async fn servers_that_cannot_do_ranges_start_anew() {
    for ranges in [Ranges::Ignored, Ranges::Wrong, Ranges::Refused] {
        let server = Server::start();
        let content = bytes(200_000);
        let cut = Reply::file(content.clone()).etag("\"a\"").cut_after(90_000);
        server.on("/file.bin", [cut, Reply::file(content.clone()).etag("\"a\"").ranges(ranges)]);
        let world = World::new();
        let digests = world.fetcher.file(&wanted(&server.url("/file.bin"), &content)).await.unwrap();
        assert_eq!(digests, digests_of(&content), "{ranges:?}");
    }
}

#[tokio::test]
async fn a_damaged_partial_does_not_condemn_the_server() {
    let server = Server::start();
    let content = bytes(200_000);
    server.on("/file.bin", [Reply::file(content.clone())]);
    let world = World::new();
    let file = wanted(&server.url("/file.bin"), &content);
    let mut left = world.fetcher.store.incoming(&digests_of(&content).sha256.to_string()).unwrap();
    left.write(&[0; 5000]).unwrap();
    drop(left);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(&content));
    let ranges: Vec<_> = server.requests("/file.bin").iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [Some("bytes=5000-".to_owned()), None]);
}

#[tokio::test]
async fn a_whole_partial_needs_no_server() {
    let world = World::new();
    let mut left = world.fetcher.store.incoming(&digests_of(b"all of it").sha256.to_string()).unwrap();
    left.write(b"all of it").unwrap();
    drop(left);
    let file = wanted("http://127.0.0.1:9/file.bin", b"all of it");
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(b"all of it"));
}

#[tokio::test]
async fn stalls_and_trickles_are_noticed() {
    let content = bytes(50_000);
    let stall = Reply::file(content.clone()).stall_after(10_000, Duration::from_secs(3));
    let trickle = Reply::file(content.clone()).slow(1, Duration::from_millis(20));
    for bad in [stall, trickle, Reply::Silence(Duration::from_secs(3))] {
        let server = Server::start();
        server.on("/file.bin", [bad.clone(), Reply::file(content.clone())]);
        let world = World::new();
        let begun = std::time::Instant::now();
        world.fetcher.file(&wanted(&server.url("/file.bin"), &content)).await.unwrap();
        assert_eq!(server.requests("/file.bin").len(), 2, "{bad:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_slow_server_that_is_fast_enough_is_left_alone() {
    let server = Server::start();
    let content = bytes(40_000);
    server.on("/file.bin", [Reply::file(content.clone()).slow(2000, Duration::from_millis(40))]);
    let world = World::new();
    world.fetcher.file(&wanted(&server.url("/file.bin"), &content)).await.unwrap();
    assert_eq!(server.requests("/file.bin").len(), 1);
}

#[tokio::test]
async fn wrong_bytes_are_shown_and_never_kept() {
    let server = Server::start();
    let page = "<!DOCTYPE html>\n<html><title>Please log in</title></html>";
    server.on("/file.bin", [Reply::redirect(server.url_by_name("/login"))]).on("/login", [Reply::file(page)]);
    let world = World::new();
    let error = world.fetcher.file(&wanted(&server.url("/file.bin"), b"right")).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Mismatch, 5));
    let told = whole_error(&error);
    for part in [
        &digests_of(b"right").sha256.to_string(),
        &digests_of(page.as_bytes()).sha256.to_string(),
        &format!("({} bytes)", page.len()),
        &server.url("/file.bin"),
        &server.url_by_name("/login"),
        "Please log in",
        "kbuild lock",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert_eq!(server.requests("/login").len(), 1, "wrong bytes are not asked for again");
    assert_eq!((world.partials(), world.blobs()), (0, 0));
}

#[tokio::test]
async fn right_bytes_of_a_later_mirror_win_over_wrong_ones() {
    let server = Server::start();
    server.on("/wrong", [Reply::file("wrong")]).on("/right", [Reply::file("right")]);
    let world = World::new();
    let mut file = wanted(&server.url("/wrong"), b"right");
    file.urls.push(server.url("/right").parse().unwrap());
    world.fetcher.file(&file).await.unwrap();
    assert_eq!(world.blobs(), 1);
}

#[tokio::test]
async fn far_too_many_bytes_are_not_read_to_their_end() {
    let server = Server::start();
    let huge = Reply::file(bytes(3 << 20));
    server.on("/told", [huge.clone()]).on("/untold", [huge.lengthless()]);
    let world = World::new();
    for path in ["/told", "/untold"] {
        let right = digests_of(b"right");
        let content = Some(crate::lock::Content { blake3: right.blake3, size: right.size });
        let file = WantedFile { content, ..wanted(&server.url(path), b"right") };
        let error = world.fetcher.file(&file).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(whole_error(&error).contains("more bytes than the 5"), "{}", whole_error(&error));
        assert_eq!(world.partials(), 0, "nothing of it stays");
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_refused() {
    let server = Server::start();
    let endless = Reply::status(200).header("X-Endless", &"a".repeat(4 * bounds::HTTP_HEAD as usize));
    server.on("/file.bin", [endless]);
    let world = World::new();
    let error = world.fetcher.file(&wanted(&server.url("/file.bin"), b"x")).await.unwrap_err();
    assert_eq!((error.kind(), world.partials()), (Kind::Network, 0), "{}", whole_error(&error));
}

/// A host that allows twenty requests a second, and is asked for many files at once. Nothing here depends on how fast this
/// machine is: on a slower one, less is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_refuses_holds_back_all_transfers_from_it() {
    const FILES: usize = 60;
    let server = Server::start();
    server.limit(20);
    let mut world = World::new();
    // As users have it: the others of these tests do not wait for as long as a server says.
    world.fetcher.policy.retry_after = Duration::from_secs(60);
    let contents: Vec<Vec<u8>> = (0..FILES).map(|n| bytes(100 + n)).collect();
    let mut files = Vec::new();
    for (n, content) in contents.iter().enumerate() {
        server.on(&format!("/{n}"), [Reply::file(content.clone())]);
        files.push(wanted(&server.url(&format!("/{n}")), content));
    }
    let results = futures_util::future::join_all(files.iter().map(|file| world.fetcher.file(file))).await;
    for result in results {
        result.unwrap();
    }
    let refused = server.count() - FILES;
    assert!(refused <= FILES / 3, "{refused} requests were refused");
}

#[tokio::test]
async fn redirects_have_limits() {
    let server = Server::start();
    server.on("/loop", [Reply::redirect(server.url("/loop"))]);
    server.on("/file", [Reply::redirect("file:///etc/passwd")]);
    server.on("/ftp", [Reply::redirect("ftp://127.0.0.1/x")]);
    server.on("/relative", [Reply::redirect("there")]).on("/there", [Reply::file("right")]);
    let world = World::new();
    for path in ["/loop", "/file", "/ftp"] {
        let error = world.fetcher.file(&unknown(&server.url(path))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Network);
        assert!(whole_error(&error).contains("redirect"), "{}", whole_error(&error));
    }
    assert_eq!(server.requests("/loop").len(), 11);
    assert_eq!(server.requests("/file").len(), 1);
    world.fetcher.file(&wanted(&server.url("/relative"), b"right")).await.unwrap();
}

#[tokio::test]
async fn logins_go_to_the_named_host_only() {
    let server = Server::start();
    server.on("/here", [Reply::redirect(server.url_by_name("/there"))]).on("/there", [Reply::file("right")]);
    let world = World::with_netrc(no_fallbacks(), false, "machine 127.0.0.1 login me password s3cret");
    world.fetcher.file(&wanted(&server.url("/here"), b"right")).await.unwrap();
    assert_eq!(server.requests("/here")[0].header("authorization"), Some("Basic bWU6czNjcmV0"));
    assert_eq!(server.requests("/there")[0].header("authorization"), None);
    assert!(!world.said().contains("s3cret"));
}

#[tokio::test]
async fn a_host_that_does_not_listen_costs_two_tries() {
    let server = Server::start();
    server.on("/file.bin", [Reply::file("right")]);
    let world = World::new();
    let mut file = wanted("http://127.0.0.1:9/x", b"right");
    file.urls.push("ftp://127.0.0.1/x".parse().unwrap());
    file.urls.push("http://no-such-host.invalid/x".parse().unwrap());
    file.urls.push(server.url("/file.bin").parse().unwrap());
    world.fetcher.file(&file).await.unwrap();
    let said = world.said();
    assert_eq!(said.matches("note from 127.0.0.1:9\n").count(), 2, "{said}");
    assert_eq!(said.matches("note from no-such-host.invalid\n").count(), 2, "{said}");
    // The next file does not wait for them again.
    let other = WantedFile { sha256: Some(digests_of(b"other").sha256), ..file };
    let error = world.fetcher.file(&other).await.unwrap_err();
    assert!(whole_error(&error).contains("127.0.0.1:9 did not answer just now"), "{}", whole_error(&error));
    assert_eq!(world.said().matches("note from 127.0.0.1:9\n").count(), 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_passed_over() {
    let server = Server::start();
    server.on("/file.bin", [Reply::file("right")]);
    let folder = tempfile::tempdir().unwrap();
    // A link to itself: no permission would stop the user root.
    std::os::unix::fs::symlink("file.bin", folder.path().join("file.bin")).unwrap();
    let to = format!("{}/{{name}}", folder.path().display());
    let world = World::with(rules(&[("http://.*", &[&to])]), false);
    world.fetcher.file(&wanted(&server.url("/file.bin"), b"right")).await.unwrap();
}

#[tokio::test]
async fn the_failure_names_every_place_and_no_secret() {
    let server = Server::start();
    server.on("/a", [Reply::status(404)]).on("/b", [Reply::status(403)]);
    let world = World::new();
    let with_token = server.url("/b").replace("http://", "http://t0ken@");
    let mut file = wanted(&server.url("/a"), b"right");
    file.urls.push(with_token.parse().unwrap());
    file.urls.push("ftp://h/x".parse().unwrap());
    let error = world.fetcher.file(&file).await.unwrap_err();
    let told = whole_error(&error);
    assert_eq!(error.related_errors().len(), 3);
    for part in ["404", "403", "ftp", &server.url("/a")] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert!(!told.contains("t0ken"), "{told}");
}

#[tokio::test]
async fn rules_come_before_the_url_and_only_folders_are_asked_offline() {
    let server = Server::start();
    server.on("/up/file.bin", [Reply::file("right")]).on("/mirror/file.bin", [Reply::file("right")]);
    let from = format!("{}/up/(.*)", server.url(""));
    let mirror = server.url("/mirror/$1");
    let file = wanted(&server.url("/up/file.bin"), b"right");

    let world = World::with(rules(&[(&from, &[&mirror])]), false);
    world.fetcher.file(&file).await.unwrap();
    assert_eq!((server.requests("/mirror/file.bin").len(), server.requests("/up/file.bin").len()), (1, 0));

    let world = World::with(rules(&[(&from, &[&mirror])]), true);
    let error = world.fetcher.file(&file).await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Missing, 6));
    assert_eq!(server.count(), 1, "offline nobody is asked");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file.bin"), "right").unwrap();
    let to = format!("{}/{{name}}", folder.path().display());
    let world = World::with(rules(&[(&from, &[&mirror, &to])]), true);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(b"right"));
    // A rule is followed also where nothing is known of the bytes.
    let world = World::with(rules(&[(&from, &[&to])]), true);
    assert_eq!(world.fetcher.file(&unknown(&server.url("/up/file.bin"))).await.unwrap(), digests_of(b"right"));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn wrong_bytes_in_a_folder_do_not_get_in() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file.bin"), "wrong").unwrap();
    let to = format!("{}/{{name}}", folder.path().display());
    let world = World::with(rules(&[("https://h/.*", &[&to])]), true);
    let error = world.fetcher.file(&wanted("https://h/file.bin", b"right")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert_eq!(world.blobs(), 0);
}

#[tokio::test]
async fn other_stores_are_asked_by_hash() {
    let other = World::new();
    let path = other.path().join("x");
    fs::write(&path, "right").unwrap();
    other.fetcher.store.add_file(&path).unwrap();
    let root = other.fetcher.store.root();
    let server = Server::start();
    server.folder("/kbuild", root);
    let file = wanted("http://127.0.0.1:9/x", b"right");

    let world = World::with(stores(&[&server.url("/kbuild/")]), false);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(b"right"));
    let address = format!("/kbuild/sha256/{}", digests_of(b"right").sha256);
    assert_eq!(server.requests(&address).len(), 1);

    let world = World::with(stores(&["/nowhere/at/all", root.to_str().unwrap()]), true);
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(b"right"));
}

#[tokio::test]
async fn a_full_store_ends_the_matter() {
    let server = Server::start();
    server.on("/file.bin", [Reply::file("right")]);
    let world = World::new();
    let incoming = world.fetcher.store.root().join("incoming");
    fs::remove_dir(&incoming).unwrap();
    fs::write(&incoming, "in the way").unwrap();
    let error = world.fetcher.file(&wanted(&server.url("/file.bin"), b"right")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_files_at_once() {
    let server = Server::start();
    let world = World::new();
    let contents: Vec<Vec<u8>> = (0..40).map(|n| bytes(10_000 + n)).collect();
    let mut files = Vec::new();
    for (n, content) in contents.iter().enumerate() {
        let path = format!("/{n}");
        server.on(&path, [Reply::file(content.clone())]);
        // Everybody wants each file twice.
        files.extend([wanted(&server.url(&path), content), wanted(&server.url(&path), content)]);
    }
    let results = futures_util::future::join_all(files.iter().map(|file| world.fetcher.file(file))).await;
    for (result, file) in results.into_iter().zip(&files) {
        assert_eq!(Some(result.unwrap().sha256), file.sha256);
    }
    assert_eq!(server.count(), 40);
    assert_eq!(world.partials(), 0);
}

#[tokio::test]
async fn an_unknown_certificate_is_final() {
    let server = Server::start_tls();
    server.on("/file.bin", [Reply::file("right")]);
    let world = World::new();
    let error = world.fetcher.file(&wanted(&server.url("/file.bin"), b"right")).await.unwrap_err();
    let told = whole_error(&error);
    assert!(told.contains("certificate") && told.contains("SSL_CERT_FILE"), "{told}");
    assert!(!world.said().contains("retrying"), "{}", world.said());
    assert_eq!(server.count(), 0);
}

/// Runs a test of this file again, as a process with another environment: roots, proxies and `.netrc` are read from it.
fn again(test: &str, environment: &[(&str, &std::ffi::OsStr)]) {
    const OURS: [&str; 12] = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "NETRC",
        "REQUEST_METHOD",
    ];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("fetch::tests::files::{test}"), "--nocapture"]);
    for name in OURS {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{environment:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The fetcher as users have it, in the process that [`again`] started.
fn as_users_have_it(url: &str) -> Result<Digests> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let mirrors = no_fallbacks();
    let settings =
        FetchSettings { mirrors, registries: Registries::default(), jobs: 4, offline: false, upstreams: true };
    let fetcher = Fetcher::new(store, settings, crate::progress::Silent::shared()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(fetcher.file(&wanted(url, b"right")))
}

const TOLD: &str = "KBUILD_TEST_URL";

#[test]
fn ssl_cert_file_and_dir_are_honoured() {
    if let Ok(url) = std::env::var(TOLD) {
        as_users_have_it(&url).unwrap();
        let downgrade = whole_error(&as_users_have_it(&url.replace("file.bin", "downgrade")).unwrap_err());
        assert!(downgrade.contains("from https to http"), "{downgrade}");
        return;
    }
    let (server, plain) = (Server::start_tls(), Server::start());
    server.on("/file.bin", [Reply::file("right")]);
    server.on("/downgrade", [Reply::redirect(plain.url("/file.bin"))]);
    plain.on("/file.bin", [Reply::file("right")]);
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    fs::write(&authority, server.authority.as_ref().unwrap()).unwrap();
    let url = server.url("/file.bin");
    for (variable, value) in [("SSL_CERT_FILE", authority.as_path()), ("SSL_CERT_DIR", directory.path())] {
        again("ssl_cert_file_and_dir_are_honoured", &[(TOLD, url.as_ref()), (variable, value.as_ref())]);
    }
    assert_eq!(server.requests("/file.bin").len(), 2);
    assert_eq!(plain.count(), 0);
}

#[test]
fn proxies_and_netrc_of_the_environment_are_used() {
    if let Ok(url) = std::env::var(TOLD) {
        as_users_have_it(&url).unwrap();
        return;
    }
    let (proxy, direct) = (Server::start(), Server::start());
    // A proxy is asked for whole URLs, also of hosts that nobody else knows.
    proxy.on("http://far.invalid/file.bin", [Reply::file("right")]);
    direct.on("/file.bin", [Reply::file("right")]);
    let directory = tempfile::tempdir().unwrap();
    let netrc = directory.path().join("netrc");
    fs::write(&netrc, "machine far.invalid login me password s3cret").unwrap();
    let test = "proxies_and_netrc_of_the_environment_are_used";
    let (through, netrc, far) = (proxy.url(""), netrc.as_os_str(), "http://far.invalid/file.bin");
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        again(test, &[(TOLD, far.as_ref()), (variable, through.as_ref()), ("NETRC", netrc)]);
    }
    let requests = proxy.requests("http://far.invalid/file.bin");
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.header("authorization") == Some("Basic bWU6czNjcmV0")));
    for variable in ["no_proxy", "NO_PROXY"] {
        let url = direct.url("/file.bin");
        again(test, &[(TOLD, url.as_ref()), ("http_proxy", through.as_ref()), (variable, "127.0.0.1".as_ref())]);
    }
    assert_eq!((proxy.count(), direct.count()), (4, 2));
}
