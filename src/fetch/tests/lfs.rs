//! Objects of Git LFS: from servers, folders and mirrors, with logins as git keeps them.

use kbuild_test::lfs::{LARGE, LfsUpstream};

use super::*;

/// The object of the upstream, at a server.
fn object(upstream: &LfsUpstream, server: &str) -> WantedFile {
    let urls = vec![server.parse().unwrap()];
    let sha256 = Some(upstream.oid.parse().unwrap());
    let stated_size = Some(LARGE.len() as u64);
    WantedFile { name: upstream.oid.clone(), urls, sha256, sums: Vec::new(), stated_size, content: None }
}

fn served(upstream: &LfsUpstream, login: Option<&str>) -> (Server, String) {
    let server = Server::start();
    server.lfs("/o/r.git/info/lfs", &upstream.objects(), login);
    let url = format!("lfs+{}", server.url("/o/r.git/info/lfs"));
    (server, url)
}

#[tokio::test]
async fn an_object_is_fetched_and_resumed() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let (server, url) = served(&upstream, None);
    let path = format!("/o/r.git/info/lfs/objects/{}", upstream.oid);
    server.on(&path, [Reply::file(LARGE).etag("\"lfs\"").cut_after(9), Reply::Mounted]);
    let world = World::new();
    let digests = world.fetcher.file(&object(&upstream, &url)).await.unwrap();
    assert_eq!(world.content(&digests), LARGE.as_bytes());
    let downloads = server.requests(&path);
    assert_eq!(downloads[1].header("range"), Some("bytes=9-"));
    assert_eq!(server.requests("/o/r.git/info/lfs/objects/batch").len(), 2, "whoever tries again asks again");
    assert!(!world.said().contains("Signature"), "{}", world.said());
}

#[tokio::test]
async fn the_real_client_gets_the_same_from_this_server() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let (server, _) = served(&upstream, None);
    server.git("/o/r.git", &upstream.path().join("repository.git"));
    let clone = upstream.cloned_by_the_real_client(&server.url("/o/r.git"));
    assert_eq!(fs::read_to_string(clone.join("large.bin")).unwrap(), LARGE);
    assert_eq!(server.requests("/o/r.git/info/lfs/objects/batch").len(), 1);
}

#[tokio::test]
async fn objects_that_wait_are_asked_for_together() {
    let files: Vec<(String, String)> = (0..20).map(|n| (format!("{n}.bin"), format!("number {n}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let Some(upstream) = LfsUpstream::new(&files) else { return };
    let (server, url) = served(&upstream, None);
    server.on("/o/r.git/info/lfs/objects/batch", [Reply::Silence(Duration::from_millis(200)), Reply::Mounted]);
    let world = World::new();
    let wanted: Vec<WantedFile> = files
        .iter()
        .map(|(_, text)| {
            let digests = digests_of(text.as_bytes());
            let (sha256, stated_size) = (Some(digests.sha256), Some(digests.size));
            WantedFile { name: digests.sha256.to_string(), sha256, stated_size, ..object(&upstream, &url) }
        })
        .collect();
    let came = futures_util::future::join_all(wanted.iter().map(|file| world.fetcher.file(file))).await;
    assert!(came.iter().all(Result::is_ok));
    let batches = server.requests("/o/r.git/info/lfs/objects/batch");
    assert!(batches.len() <= 3, "{} requests for 20 objects", batches.len());
}

#[tokio::test]
async fn logins_are_those_of_git_and_netrc() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let login = "Basic bWU6c2VjcmV0"; // me:secret
    let helper = |script: &str| {
        vec![
            ("GIT_CONFIG_COUNT", "1".into()),
            ("GIT_CONFIG_KEY_0", "credential.helper".into()),
            ("GIT_CONFIG_VALUE_0", format!("!{script}").into()),
        ]
    };
    let header = vec![
        ("GIT_CONFIG_COUNT", "1".into()),
        ("GIT_CONFIG_KEY_0", "http.extraHeader".into()),
        ("GIT_CONFIG_VALUE_0", format!("Authorization: {login}").into()),
    ];
    let told = tempfile::tempdir().unwrap();
    let note = told.path().join("note");
    let script =
        format!("f() {{ cat >/dev/null; echo $1 >>{}; echo username=me; echo password=secret; }}; f", note.display());
    for (netrc, environment) in
        [("machine 127.0.0.1 login me password secret", Vec::new()), ("", header), ("", helper(&script))]
    {
        let (_server, url) = served(&upstream, Some(login));
        let mut world = World::with_netrc(no_fallbacks(), false, netrc);
        world.fetcher.git.environment.extend::<Vec<(&str, OsString)>>(environment);
        let digests = world.fetcher.file(&object(&upstream, &url)).await.unwrap();
        assert_eq!(world.content(&digests), LARGE.as_bytes());
    }
    assert_eq!(fs::read_to_string(&note).unwrap(), "get\nstore\n", "the helper hears that its login was right");

    // A wrong one is given back, and no message has it.
    fs::remove_file(&note).unwrap();
    let (_server, url) = served(&upstream, Some("Basic other"));
    let mut world = World::new();
    world.fetcher.git.environment.extend::<Vec<(&str, OsString)>>(helper(&script));
    let error = world.fetcher.file(&object(&upstream, &url)).await.unwrap_err();
    assert_eq!(fs::read_to_string(&note).unwrap(), "get\nerase\n");
    let whole = whole_error(&error);
    assert!(whole.contains("401") && whole.contains("git help credentials") && !whole.contains("secret"), "{whole}");
    assert_eq!(error.kind(), Kind::Network);
}

#[tokio::test]
async fn an_object_that_is_not_there_is_denied_and_a_wrong_one_refused() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let (server, url) = served(&upstream, None);
    let sha256 = Some(Sha256::from([7; 32]));
    let error = World::new().fetcher.file(&WantedFile { sha256, ..object(&upstream, &url) }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{}", whole_error(&error));
    assert!(whole_error(&error).contains("there is no such object"), "{}", whole_error(&error));

    let wrong = LARGE.to_uppercase();
    server.on(&format!("/o/r.git/info/lfs/objects/{}", upstream.oid), [Reply::file(wrong)]);
    let world = World::new();
    let error = world.fetcher.file(&object(&upstream, &url)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(!whole_error(&error).contains("0123456789abcdef"), "{}", whole_error(&error));
    assert_eq!(world.blobs(), 0);
}

#[tokio::test]
async fn an_answer_of_a_large_file_server_without_an_end_is_refused() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let (server, url) = served(&upstream, None);
    server.on("/o/r.git/info/lfs/objects/batch", [Reply::file(vec![b' '; bounds::LFS_ANSWER as usize + 1])]);
    let error = World::new().fetcher.file(&object(&upstream, &url)).await.unwrap_err();
    assert!(whole_error(&error).contains("the answer is longer than 4194304 bytes"), "{}", whole_error(&error));
}

#[tokio::test]
async fn folders_and_mirrors_of_repositories_have_objects_too() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let folder = format!("file://{}/repository.git", upstream.path().display());
    let nobody = "lfs+https://host.invalid/o/r.git/info/lfs";

    let world = World::with(no_fallbacks(), true);
    world.fetcher.file(&object(&upstream, &format!("lfs+{folder}"))).await.unwrap();

    let insteadof = vec![
        ("GIT_CONFIG_COUNT", OsString::from("1")),
        ("GIT_CONFIG_KEY_0", format!("url.{folder}.insteadOf").into()),
        ("GIT_CONFIG_VALUE_0", "https://host.invalid/o/r.git/info/lfs".into()),
    ];
    let mut world = World::new();
    world.fetcher.git.environment.extend(insteadof);
    world.fetcher.file(&object(&upstream, nobody)).await.unwrap();

    // A rule for the repository, as git's fetches use it, and one for objects.
    let (server, _) = served(&upstream, None);
    let plain = server.url("/objects");
    server.folder("/objects", &upstream.objects().join(&upstream.oid[..2]).join(&upstream.oid[2..4]));
    for (rule, pattern, to) in [
        ("git", r"https://host\.invalid/o/r", server.url("/o/r")),
        ("object", r"lfs\+https://host\.invalid/.*", format!("{plain}/{{sha256}}")),
    ] {
        let rules = vec![super::rule(pattern, &[&to])];
        let world = World::with(Mirrors { rules, ..no_fallbacks() }, false);
        let came = world.fetcher.file(&object(&upstream, nobody)).await;
        assert!(came.is_ok(), "{rule}: {}", whole_error(&came.unwrap_err()));
    }
}

#[tokio::test]
async fn over_ssh_the_host_says_where_its_server_is() {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let (server, _) = served(&upstream, Some("RemoteAuth token-of-the-host"));
    let said = tempfile::tempdir().unwrap();
    let ssh = said.path().join("ssh");
    let answer = format!(
        r#"{{"href":"{}","header":{{"Authorization":"RemoteAuth token-of-the-host"}},"expires_in":600}}"#,
        server.url("/o/r.git/info/lfs")
    );
    fs::write(
        &ssh,
        format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >{}/arguments\necho '{answer}'\n", said.path().display()),
    )
    .unwrap();
    let mut world = World::new();
    world.fetcher.git.environment.push(("GIT_SSH_COMMAND", format!("sh {}", ssh.display()).into()));
    world.fetcher.file(&object(&upstream, "lfs+ssh://git@host.invalid:2222/o/r.git")).await.unwrap();
    let arguments = fs::read_to_string(said.path().join("arguments")).unwrap();
    assert_eq!(arguments, "-p\n2222\ngit@host.invalid\ngit-lfs-authenticate '/o/r.git' download\n");
}
