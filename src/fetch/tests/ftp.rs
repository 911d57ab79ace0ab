//! Files over FTP.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use kbuild_test::ftp::{Cut, FtpServer, Mishaps, has_ipv6};
use kbuild_test::http::localhost_certificate;

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
async fn an_answer_of_ftp_without_an_end_is_refused() {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends when kbuild hangs up, or with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while stream.write_all(&[b'2'; 4096]).is_ok() {}
        }
    });
    let world = World::new();
    let error = world.fetcher.file(&wanted(&format!("ftp://127.0.0.1:{port}/x"), b"x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(whole_error(&error).contains("larger than 262144 bytes"), "{}", whole_error(&error));
}

#[tokio::test]
async fn a_file_arrives_over_ftp_from_the_very_host() {
    let content = bytes(300_000);
    let server = FtpServer::start(&content, Mishaps::default(), None);
    let world = World::new();
    let digests = world.fetcher.file(&wanted(&server.url("/pub/a%20b.bin"), &content)).await.unwrap();
    assert_eq!(world.content(&digests), content);
    assert_eq!(world.partials(), 0);
    let commands = server.commands();
    let expected =
        ["USER anonymous", "PASS anonymous@", "TYPE I", "SIZE pub/a b.bin", "PASV", "RETR pub/a b.bin", "QUIT"];
    assert_eq!(commands, expected);
}

#[tokio::test]
async fn ipv6_needs_the_extended_passive_mode() {
    if !has_ipv6() {
        eprintln!("skipped: no IPv6 on the loopback");
        return;
    }
    let server = FtpServer::start_at("[::1]:0", b"right", Mishaps::default(), None);
    World::new().fetcher.file(&wanted(&server.url("/file.bin"), b"right")).await.unwrap();
    assert_eq!((server.count("EPSV"), server.count("PASV")), (1, 0));
}

#[tokio::test]
async fn a_cut_transfer_is_continued_where_the_hash_is_known() {
    let content = bytes(200_000);
    for cut in [Cut::Told, Cut::Denied, Cut::Silence] {
        let mishaps = Mishaps { cuts: vec![(70_000, cut), (50_000, cut)], ..Mishaps::default() };
        let server = FtpServer::start(&content, mishaps, None);
        let world = World::new();
        let digests = world.fetcher.file(&wanted(&server.url("/file.bin"), &content)).await.unwrap();
        assert_eq!(digests, digests_of(&content));
        let rests: Vec<_> = server.commands().into_iter().filter(|command| command.starts_with("REST")).collect();
        assert_eq!(rests, ["REST 70000", "REST 120000"], "{cut:?}");
    }
}

#[tokio::test]
async fn without_a_hash_or_rest_it_begins_anew() {
    let content = bytes(200_000);
    let cuts = vec![(70_000, Cut::Told)];
    let server = FtpServer::start(&content, Mishaps { cuts: cuts.clone(), ..Mishaps::default() }, None);
    let world = World::new();
    assert_eq!(world.fetcher.file(&unknown(&server.url("/f"))).await.unwrap(), digests_of(&content));
    assert_eq!(server.count("REST"), 0);

    let server = FtpServer::start(&content, Mishaps { cuts, old: true, ..Mishaps::default() }, None);
    let world = World::new();
    world.fetcher.file(&wanted(&server.url("/f"), &content)).await.unwrap();
    assert_eq!((server.count("REST"), server.count("RETR")), (1, 2));
}

#[tokio::test]
async fn what_http_began_ftp_can_end() {
    let content = bytes(200_000);
    let web = Server::start();
    web.on("/file.bin", [Reply::file(content.clone()).cut_after(90_000), Reply::status(404)]);
    let server = FtpServer::start(&content, Mishaps::default(), None);
    let world = World::new();
    let mut file = wanted(&web.url("/file.bin"), &content);
    file.urls.push(server.url("/file.bin").parse().unwrap());
    assert_eq!(world.fetcher.file(&file).await.unwrap(), digests_of(&content));
    assert!(server.commands().contains(&"REST 90000".to_owned()));
}

#[tokio::test]
async fn refusals_are_final_or_passing_by_their_number() {
    for (answer, tries) in [("550 no such\u{1b}[31m file", 1), ("450 busy", impatient().tries)] {
        let server = FtpServer::start(b"", Mishaps { refusal: Some(answer), ..Mishaps::default() }, None);
        let error = World::new().fetcher.file(&wanted(&server.url("/file.bin"), b"x")).await.unwrap_err();
        let told = whole_error(&error);
        assert!(told.contains(&answer[..3]) && !told.contains('\u{1b}'), "{told}");
        assert_eq!(server.count("RETR"), tries, "{answer}");
    }
}

#[tokio::test]
async fn a_login_comes_from_netrc_and_no_path_becomes_a_command() {
    let server = FtpServer::start(b"right", Mishaps { login: Some(("me", "s3cret")), ..Mishaps::default() }, None);
    let file = wanted(&server.url("/file.bin"), b"right");
    let error = World::new().fetcher.file(&file).await.unwrap_err();
    assert!(whole_error(&error).contains("netrc"), "{}", whole_error(&error));
    let netrc = "machine 127.0.0.1 login me password s3cret";
    let world = World::with_netrc(no_fallbacks(), false, netrc);
    world.fetcher.file(&file).await.unwrap();

    let before = server.commands().len();
    let hostile = wanted(&server.url("/a%0d%0aDELE%20b"), b"x");
    let error = world.fetcher.file(&hostile).await.unwrap_err();
    assert!(whole_error(&error).contains("names no file"), "{}", whole_error(&error));
    assert!(!server.commands()[before..].iter().any(|command| command.starts_with("DELE")));
}

#[tokio::test]
async fn ftps_is_upgraded_and_its_certificate_checked() {
    let (config, authority) = localhost_certificate();
    let server = FtpServer::start(b"right", Mishaps::default(), Some(config));
    let file = wanted(&format!("ftps://localhost:{}/file.bin", server.port()), b"right");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let trusting = builder.clone().with_root_certificates(roots).with_no_client_auth();
    let mut world = World::new();
    world.fetcher.ftp = Ftp::for_tests(impatient(), trusting);
    world.fetcher.file(&file).await.unwrap();
    assert!(server.commands().contains(&"PROT P".to_owned()));

    let mut world = World::new();
    let strict = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    world.fetcher.ftp = Ftp::for_tests(impatient(), strict);
    let error = world.fetcher.file(&file).await.unwrap_err();
    assert!(whole_error(&error).contains("certificate"), "{}", whole_error(&error));

    let plain = FtpServer::start(b"right", Mishaps::default(), None);
    let file = wanted(&format!("ftps://localhost:{}/file.bin", plain.port()), b"right");
    let error = world.fetcher.file(&file).await.unwrap_err();
    assert!(whole_error(&error).contains("502"), "never in the clear: {}", whole_error(&error));
    assert_eq!(plain.count("RETR"), 0);
}
