//! Git commits over HTTP (new servers, old ones, plain file servers), `git:`, folders and other stores.

use std::net::TcpListener;
use std::process::Stdio;

use super::*;

/// A folder of repositories with a history: `one` <- `two` (tag `v1`, annotated) <- `three` (branch `main`), and `side`, a
/// branch from `one`.
pub(super) struct Upstream {
    directory: tempfile::TempDir,
    one: CommitId,
    pub(super) two: CommitId,
    three: CommitId,
    side: CommitId,
}

fn git_in(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args(args).env_clear().envs(hermetic(directory));
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "T").env(format!("GIT_{who}_EMAIL"), "t@example.com");
        command.env(format!("GIT_{who}_DATE"), "2024-01-01T00:00:00Z");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn commit(work: &Path, file: &str, content: &str) -> CommitId {
    fs::write(work.join(file), content).unwrap();
    git_in(work, &["add", "-A"]);
    git_in(work, &["commit", "-q", "-m", content]);
    git_in(work, &["rev-parse", "HEAD"]).parse().unwrap()
}

impl Upstream {
    pub(super) fn new() -> Upstream {
        let directory = tempfile::tempdir().unwrap();
        let work = directory.path().join("work");
        git_in(directory.path(), &["init", "-q", "-b", "main", "work"]);
        let one = commit(&work, "a", "one");
        git_in(&work, &["branch", "side"]);
        let two = commit(&work, "a", "two");
        git_in(&work, &["tag", "-a", "-m", "v1", "v1"]);
        let three = commit(&work, "b", "three");
        git_in(&work, &["checkout", "-q", "side"]);
        let side = commit(&work, "c", "side");
        // Names that a pattern `refs/heads/main` would match too, and a tag called like a branch.
        git_in(&work, &["branch", "refs/heads/main", &one.to_string()]);
        git_in(&work, &["tag", "main", &one.to_string()]);
        git_in(&work, &["checkout", "-q", "main", "--"]);
        git_in(directory.path(), &["clone", "-q", "--mirror", "work", "x.git"]);
        git_in(&directory.path().join("x.git"), &["repack", "-a", "-d", "-q"]);
        git_in(&directory.path().join("x.git"), &["update-server-info"]);
        Upstream { directory, one, two, three, side }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file_url(&self) -> String {
        format!("file://{}/x.git", self.path().display())
    }
}

pub(super) fn wanted(url: &str, commit: CommitId) -> WantedGit {
    let refs = vec!["refs/heads/main".to_owned()];
    WantedGit { url: url.parse().unwrap(), commit, refs, history: false, tree: None }
}

pub(super) fn tree_of(upstream: &Upstream, commit: &CommitId) -> Blake3 {
    tree::of_commit(&open_objects(&upstream.path().join("x.git")).unwrap(), commit).unwrap()
}

/// How many objects the packs of a record hold.
fn objects(world: &World, record: &GitRecord) -> u32 {
    let counts = record.packs.iter().map(|pack| {
        let bytes = fs::read(world.fetcher.store.blob_path(&pack.pack)).unwrap();
        u32::from_be_bytes(bytes[8..12].try_into().unwrap())
    });
    counts.sum()
}

#[tokio::test]
async fn a_commit_comes_alone_by_its_id() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path());
    let world = World::new();
    // Not at the tip of anything.
    let want =
        WantedGit { tree: Some(tree_of(&upstream, &upstream.two)), ..wanted(&server.url("/git/x.git"), upstream.two) };
    let record = world.fetcher.git(&want).await.unwrap();
    assert_eq!((record.commit, record.shallow.as_slice()), (upstream.two, &[upstream.two][..]));
    assert_eq!(objects(&world, &record), 3, "commit, tree, file");
    let asked = server.count();
    assert_eq!(world.fetcher.git(&want).await.unwrap(), record);
    assert_eq!(server.count(), asked, "what is there is not asked for");
    let said = world.said();
    assert!(said.contains("receiving objects 100 %") && said.contains("done"), "{said}");
}

#[tokio::test]
async fn an_old_server_is_asked_for_refs() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.old_git("/git", upstream.path());
    let url = server.url("/git/x.git");
    for (commit, refs, objects_in_pack) in [
        (upstream.three, vec!["refs/heads/gone", "refs/heads/main"], 4),
        (upstream.two, vec!["refs/tags/v1"], 3),
        (upstream.one, vec!["refs/heads/main"], 3),
        (upstream.side, vec!["refs/heads/main"], 4),
    ] {
        let world = World::new();
        let refs = refs.into_iter().map(str::to_owned).collect();
        let record = world.fetcher.git(&WantedGit { refs, ..wanted(&url, commit) }).await.unwrap();
        assert_eq!(record.tree, tree_of(&upstream, &commit));
        assert_eq!(objects(&world, &record), objects_in_pack, "depth 1, however it came");
        assert_eq!(record.shallow, [commit]);
    }
}

#[tokio::test]
async fn a_plain_file_server_will_do() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.folder("/git", upstream.path());
    for commit in [upstream.three, upstream.two, upstream.side] {
        let world = World::new();
        let record = world.fetcher.git(&wanted(&server.url("/git/x.git"), commit)).await.unwrap();
        assert_eq!((record.tree, record.shallow.as_slice()), (tree_of(&upstream, &commit), &[commit][..]));
    }
}

#[tokio::test]
async fn history_comes_whole_also_after_a_shallow_fetch() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path()).old_git("/old", upstream.path()).folder("/dumb", upstream.path());
    for prefix in ["/git", "/old", "/dumb"] {
        let world = World::new();
        let want = wanted(&server.url(&format!("{prefix}/x.git")), upstream.three);
        world.fetcher.git(&want).await.unwrap();
        let record = world.fetcher.git(&WantedGit { history: true, ..want.clone() }).await.unwrap();
        assert!(record.shallow.is_empty(), "{prefix}");
        assert_eq!(objects(&world, &record), 9, "{prefix}: three commits, three trees, three files");
        // All history satisfies who wants little.
        assert_eq!(world.fetcher.git(&want).await.unwrap(), record);
    }
}

#[tokio::test]
async fn a_folder_serves_offline_and_the_network_does_not() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path());
    let url = server.url("/git/x.git");
    let world = World::with(no_fallbacks(), true);
    let error = world.fetcher.git(&wanted(&url, upstream.two)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    let from = format!("{}/git/(.*)", server.url(""));
    let to = format!("file://{}/$1", upstream.path().display());
    let world = World::with(rules(&[(&from, &[&to])]), true);
    let record = world.fetcher.git(&wanted(&url, upstream.two)).await.unwrap();
    assert_eq!(record.tree, tree_of(&upstream, &upstream.two));
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn the_git_protocol_works() {
    let upstream = Upstream::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The program itself: `git daemon` would be its parent, and killing that would leave it behind.
    let programs = git_in(upstream.path(), &["--exec-path"]);
    let mut daemon = Command::new(Path::new(&programs).join("git-daemon"))
        .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--base-path={}", upstream.path().display()))
        .arg(upstream.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until it listens, its port is refused: two tries, as for any such host, hence the patience here.
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let world = World::new();
    let fetched = world.fetcher.git(&wanted(&format!("git://127.0.0.1:{port}/x.git"), upstream.two)).await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(fetched.unwrap().tree, tree_of(&upstream, &upstream.two));
}

#[tokio::test]
async fn another_tree_than_the_locked_one_is_refused() {
    let upstream = Upstream::new();
    let world = World::new();
    let expected = Blake3::from([9; 32]);
    let want = WantedGit { tree: Some(expected), ..wanted(&upstream.file_url(), upstream.two) };
    let error = world.fetcher.git(&want).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    let told = whole_error(&error);
    assert!(told.contains(&expected.to_string()), "{told}");
    assert!(told.contains(&tree_of(&upstream, &upstream.two).to_string()), "{told}");
    assert_eq!(world.fetcher.store.git(&upstream.two).unwrap(), None);
    // The store's own record is no better than a server's word.
    world.fetcher.git(&wanted(&upstream.file_url(), upstream.two)).await.unwrap();
    assert_eq!(world.fetcher.git(&want).await.unwrap_err().kind(), Kind::Mismatch);
}

#[tokio::test]
async fn a_commit_that_is_nowhere_says_so() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path()).old_git("/old", upstream.path()).folder("/dumb", upstream.path());
    for prefix in ["/git", "/old", "/dumb"] {
        let world = World::new();
        let want = wanted(&server.url(&format!("{prefix}/x.git")), CommitId::from([5; 20]));
        let error = world.fetcher.git(&want).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(whole_error(&error).contains("is not there"), "{prefix}: {}", whole_error(&error));
        assert!(!world.said().contains("retrying"), "{prefix}: {}", world.said());
    }
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path());
    let path = "/git/x.git/info/refs";
    server.on(path, [Reply::status(503), Reply::Hangup, Reply::Mounted]);
    let world = World::new();
    world.fetcher.git(&wanted(&server.url("/git/x.git"), upstream.two)).await.unwrap();
    assert_eq!(server.requests(path).len(), 3);

    server.on(path, [Reply::status(404)]);
    let error = World::new().fetcher.git(&wanted(&server.url("/git/x.git"), upstream.two)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert_eq!(server.requests(path).len(), 4);

    server.on(path, [Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")]);
    let error = World::new().fetcher.git(&wanted(&server.url("/git/x.git"), upstream.two)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("login"), "{}", whole_error(&error));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Server::start();
    server.on("/x.git/info/refs", [Reply::Silence(Duration::from_secs(20))]);
    let mut world = World::new();
    world.fetcher.policy.tries = 2;
    let begun = std::time::Instant::now();
    let error = world.fetcher.git(&wanted(&server.url("/x.git"), CommitId::from([5; 20]))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(world.said().contains("too slow"), "{}", world.said());

    // Where curl does not watch, we do; and nobody of the group stays behind.
    world.fetcher.git.policy.git_silence = Duration::from_millis(300);
    world.fetcher.git.policy.slow_for = Duration::from_secs(60);
    let error = world.fetcher.git(&wanted(&server.url("/x.git"), CommitId::from([5; 20]))).await.unwrap_err();
    assert!(whole_error(&error).contains("said nothing"), "{}", whole_error(&error));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_no_git_behind() {
    let server = Server::start();
    server.on("/x.git/info/refs", [Reply::Silence(Duration::from_secs(10))]);
    let url = server.url("/x.git");
    let running = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .filter(|line| String::from_utf8_lossy(line).split('\0').any(|argument| argument == url))
            .count()
    };
    let mut world = World::new();
    world.fetcher.git.policy.slow_for = Duration::from_secs(60);
    let want = wanted(&url, CommitId::from([5; 20]));
    {
        let mut fetching = std::pin::pin!(world.fetcher.git(&want));
        for _ in 0..100 {
            assert!(tokio::time::timeout(Duration::from_millis(50), &mut fetching).await.is_err());
            if running() > 0 && server.count() > 0 {
                break;
            }
        }
        assert!(running() > 0);
    }
    for _ in 0..50 {
        if running() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} processes still speak to {url}", running());
}

#[tokio::test]
async fn no_configuration_lets_a_command_run() {
    let world = World::new();
    let trap = world.path().join("trap");
    let mut world = world;
    let command = format!("url.ext::sh -c touch%20{}.insteadOf", trap.display());
    world.fetcher.git.environment.extend([
        ("GIT_CONFIG_COUNT", "2".into()),
        ("GIT_CONFIG_KEY_0", command.into()),
        ("GIT_CONFIG_VALUE_0", "https://h/".into()),
        ("GIT_CONFIG_KEY_1", "protocol.ext.allow".into()),
        ("GIT_CONFIG_VALUE_1", "always".into()),
    ]);
    let error = world.fetcher.git(&wanted("https://h/x", CommitId::from([5; 20]))).await.unwrap_err();
    assert!(whole_error(&error).contains("not allowed"), "{}", whole_error(&error));
    assert!(!trap.exists());
}

#[tokio::test]
async fn instead_of_holds() {
    let upstream = Upstream::new();
    let mut world = World::new();
    world.fetcher.git.environment.extend([
        ("GIT_CONFIG_COUNT", "1".into()),
        ("GIT_CONFIG_KEY_0", format!("url.file://{}/.insteadOf", upstream.path().display()).into()),
        ("GIT_CONFIG_VALUE_0", "https://h/".into()),
    ]);
    let record = world.fetcher.git(&wanted("https://h/x.git", upstream.two)).await.unwrap();
    assert_eq!(record.tree, tree_of(&upstream, &upstream.two));
}

#[tokio::test]
async fn no_redirect_leads_from_https_to_http() {
    let upstream = Upstream::new();
    let (plain, secure) = (Server::start(), Server::start_tls());
    plain.git("/git", upstream.path());
    let refs = "/git/x.git/info/refs";
    secure.on(refs, [Reply::redirect(plain.url(&format!("{refs}?service=git-upload-pack")))]);
    let mut world = World::new();
    let authority = world.path().join("authority.pem");
    fs::write(&authority, secure.authority.as_ref().unwrap()).unwrap();
    world.fetcher.git.environment.push(("GIT_SSL_CAINFO", authority.into()));
    let url = secure.url("/git/x.git");
    let told = world.fetcher.resolve(&url.parse().unwrap(), &branch("main")).await.unwrap_err();
    assert!(whole_error(&told).contains("redirects from https to http"), "{}", whole_error(&told));
    let told = world.fetcher.git(&wanted(&url, upstream.two)).await.unwrap_err();
    assert!(whole_error(&told).contains("redirects from https to http"), "{}", whole_error(&told));
    assert_eq!(secure.requests(refs).len(), 2, "git reached the server");
    assert_eq!(plain.count(), 0, "and followed it nowhere");

    // From http a redirect leads on, and the user's own `insteadOf` leads where it likes.
    let first = Server::start();
    first.on(refs, [Reply::redirect(plain.url(&format!("{refs}?service=git-upload-pack")))]);
    assert!(world.fetcher.git(&wanted(&first.url("/git/x.git"), upstream.two)).await.is_ok());
    let mut world = World::new();
    world.fetcher.git.environment.extend([
        ("GIT_CONFIG_COUNT", "1".into()),
        ("GIT_CONFIG_KEY_0", format!("url.{}.insteadOf", plain.url("/git/")).into()),
        ("GIT_CONFIG_VALUE_0", "https://h/".into()),
    ]);
    assert!(world.fetcher.git(&wanted("https://h/x.git", upstream.two)).await.is_ok());
}

#[tokio::test]
async fn a_web_page_in_place_of_a_repository_is_named() {
    let server = Server::start();
    for page in ["<!DOCTYPE html><html>log in</html>", "<html>\n<head>\n<title>log in</title>\n</head>\n"] {
        for path in ["info/refs", "HEAD", "objects/info/packs"] {
            server.on(&format!("/x.git/{path}"), [Reply::file(page).header("Content-Type", "text/html")]);
        }
        let world = World::new();
        let url = server.url("/x.git");
        let commit = world.fetcher.git(&wanted(&url, CommitId::from([5; 20]))).await.unwrap_err();
        let tag = world.fetcher.resolve(&url.parse().unwrap(), &tag("v1")).await.unwrap_err();
        for error in [commit, tag] {
            assert_eq!(error.kind(), Kind::Network);
            let told = whole_error(&error);
            assert!(told.contains("a web page came in place of a repository"), "{told}");
        }
    }
}

#[tokio::test]
async fn dangerous_refs_never_reach_git() {
    let upstream = Upstream::new();
    let world = World::new();
    for name in ["--upload-pack=touch", "main", "refs/heads/../x", "refs/heads/-x"] {
        let want = WantedGit { refs: vec![name.to_owned()], ..wanted(&upstream.file_url(), upstream.two) };
        assert_eq!(world.fetcher.git(&want).await.unwrap_err().kind(), Kind::Input, "{name}");
    }
    let url = upstream.file_url().parse().unwrap();
    let reference = GitRef { branch: Some("-x".to_owned()), tag: None, rev: None };
    assert_eq!(world.fetcher.resolve(&url, &reference).await.unwrap_err().kind(), Kind::Input);
}

fn branch(name: &str) -> GitRef {
    GitRef { branch: Some(name.to_owned()), tag: None, rev: None }
}

fn tag(name: &str) -> GitRef {
    GitRef { branch: None, tag: Some(name.to_owned()), rev: None }
}

#[tokio::test]
async fn refs_are_resolved_exactly() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path()).old_git("/old", upstream.path()).folder("/dumb", upstream.path());
    let world = World::new();
    for prefix in ["/git", "/old", "/dumb"] {
        let url: SourceUrl = server.url(&format!("{prefix}/x.git")).parse().unwrap();
        let both = GitRef { branch: Some("main".to_owned()), tag: Some("v1".to_owned()), rev: None };
        for (reference, commit, refs) in [
            (branch("main"), upstream.three, vec!["refs/heads/main"]),
            (tag("main"), upstream.one, vec!["refs/tags/main"]),
            (tag("v1"), upstream.two, vec!["refs/tags/v1"]),
            (both, upstream.two, vec!["refs/tags/v1"]),
        ] {
            let resolved = world.fetcher.resolve(&url, &reference).await.unwrap();
            let refs: Vec<String> = refs.into_iter().map(str::to_owned).collect();
            assert_eq!(resolved, Resolved { commit, refs }, "{prefix} {reference}");
        }
        let default = world.fetcher.resolve(&url, &GitRef { branch: None, tag: None, rev: None }).await.unwrap();
        assert_eq!(default.commit, upstream.three, "{prefix}");
        if prefix != "/dumb" {
            assert_eq!(default.refs, ["refs/heads/main"], "{prefix}");
        }
    }
}

#[tokio::test]
async fn a_ref_that_is_not_there_names_near_ones() {
    let upstream = Upstream::new();
    let world = World::new();
    let url: SourceUrl = upstream.file_url().parse().unwrap();
    let error = world.fetcher.resolve(&url, &branch("maine")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("has no branch `maine`"), "{error}");
    assert!(error.hint().unwrap().contains("`main`"), "{}", error.hint().unwrap());
    // A name that is only the end of a ref's name is no ref.
    assert!(world.fetcher.resolve(&url, &tag("1")).await.is_err());
}

#[tokio::test]
async fn a_million_refs_are_read_one_by_one() {
    let upstream = Upstream::new();
    let bare = upstream.path().join("x.git");
    let many: String = (0..bounds::REFS_KEPT + 500).map(|n| format!("{} refs/heads/n{n:06}\n", upstream.one)).collect();
    fs::write(bare.join("packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{many}")).unwrap();
    let world = World::new();
    let url: SourceUrl = upstream.file_url().parse().unwrap();
    let listed = world.fetcher.git.list(&url, &[]).await.unwrap();
    assert_eq!((listed.len() as u64, listed[1].name.as_str()), (bounds::REFS_KEPT, "refs/heads/n000001"));
    // All of them have a limit too.
    let mut lines = Vec::new();
    let mut keep = |line: &str| lines.push(line.to_owned());
    let text = b"one\r\n\ntwo\nthree" as &[u8];
    git::read_lines(text, text.len() as u64, &mut keep).await.unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
    let error = git::read_lines(tokio::io::repeat(b'a'), 100_000, &mut |_: &str| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "git says more than 100000 bytes of refs");
}

#[tokio::test]
async fn a_commit_pinned_by_hand_asks_nobody() {
    let world = World::with(Mirrors::default(), true);
    let rev = CommitId::from([5; 20]);
    let reference = GitRef { rev: Some(rev), ..branch("stable") };
    let resolved = world.fetcher.resolve(&"https://h/x".parse().unwrap(), &reference).await.unwrap();
    assert_eq!(resolved, Resolved { commit: rev, refs: vec!["refs/heads/stable".to_owned()] });
    let error = world.fetcher.resolve(&"https://h/x".parse().unwrap(), &branch("stable")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
}

#[tokio::test]
async fn other_stores_give_commits() {
    let upstream = Upstream::new();
    let other = World::new();
    let given = other.fetcher.git(&wanted(&upstream.file_url(), upstream.two)).await.unwrap();
    let root = other.fetcher.store.root();
    let server = Server::start();
    server.folder("/kbuild", root);
    let nowhere = wanted("http://127.0.0.1:9/x.git", upstream.two);

    let world = World::with(stores(&[&server.url("/kbuild")]), false);
    assert_eq!(world.fetcher.git(&nowhere).await.unwrap(), given, "the same packs, so the same blobs");
    let world = World::with(stores(&[root.to_str().unwrap()]), true);
    assert_eq!(world.fetcher.git(&nowhere).await.unwrap(), given);
    // It has the commit alone: who wants history has to ask elsewhere.
    let error = world.fetcher.git(&WantedGit { history: true, ..nowhere.clone() }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);

    let damaged = format!("/kbuild/blobs/{}/{}", &given.packs[0].pack.to_string()[..2], given.packs[0].pack);
    server.on(&damaged, [Reply::file("PACK and then nonsense")]);
    let world = World::with(stores(&[&server.url("/kbuild")]), false);
    let error = world.fetcher.git(&nowhere).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    let record = world.fetcher.git(&wanted(&upstream.file_url(), upstream.two)).await.unwrap();
    assert_eq!(record.tree, given.tree, "the upstream makes good what a store spoils");
}

#[tokio::test]
async fn a_record_without_an_end_is_refused() {
    let commit = CommitId::from([7; 20]);
    let server = Server::start();
    let long = Reply::file(vec![b'#'; bounds::RECORD as usize + 1]).lengthless();
    server.on(&format!("/kbuild/git/{commit}.toml"), [long]);
    let world = World::with(stores(&[&server.url("/kbuild")]), false);
    let error = world.fetcher.git(&wanted("http://127.0.0.1:9/x.git", commit)).await.unwrap_err();
    assert!(whole_error(&error).contains("the answer is longer than 262144 bytes"), "{}", whole_error(&error));
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    fs::write(folder.path().join(format!("git/{commit}.toml")), vec![b'#'; bounds::RECORD as usize + 1]).unwrap();
    let world = World::with(stores(&[folder.path().to_str().unwrap()]), false);
    let error = world.fetcher.git(&wanted("http://127.0.0.1:9/x.git", commit)).await.unwrap_err();
    assert!(whole_error(&error).contains("it has more than 262144 bytes"), "{}", whole_error(&error));
}

#[tokio::test]
async fn another_store_cannot_pass_off_another_tree() {
    let upstream = Upstream::new();
    let other = World::new();
    let two = other.fetcher.git(&wanted(&upstream.file_url(), upstream.two)).await.unwrap();
    let three = other.fetcher.git(&wanted(&upstream.file_url(), upstream.three)).await.unwrap();
    // The record of `two` names the packs of `three`.
    let forged = GitRecord { packs: three.packs, ..two };
    let server = Server::start();
    server.folder("/kbuild", other.fetcher.store.root());
    server.on(&format!("/kbuild/git/{}.toml", upstream.two), [Reply::file(forged.to_string())]);
    let world = World::with(stores(&[&server.url("/kbuild")]), false);
    assert!(world.fetcher.git(&wanted("http://127.0.0.1:9/x.git", upstream.two)).await.is_err());
    assert_eq!(world.fetcher.store.git(&upstream.two).unwrap(), None);
}

#[tokio::test]
async fn submodules_are_found_with_joined_urls() {
    let directory = tempfile::tempdir().unwrap();
    git_in(directory.path(), &["init", "-q", "-b", "main", "work"]);
    let work = directory.path().join("work");
    let link = format!("160000,{},vendor/x", CommitId::from([7; 20]));
    git_in(&work, &["update-index", "--add", "--cacheinfo", &link]);
    let without = {
        git_in(&work, &["commit", "-q", "-m", "no .gitmodules"]);
        git_in(&work, &["rev-parse", "HEAD"]).parse().unwrap()
    };
    let text =
        "[submodule \"x\"]\n\tpath = vendor/x\n\turl = ../x.git\n[submodule \"y\"]\n\tpath = y\n\turl = https://h/y\n";
    fs::write(work.join(".gitmodules"), text).unwrap();
    git_in(&work, &["add", ".gitmodules"]);
    git_in(&work, &["commit", "-q", "-m", "with"]);
    let with: CommitId = git_in(&work, &["rev-parse", "HEAD"]).parse().unwrap();

    let world = World::new();
    let local = format!("file://{}", work.display());
    for commit in [without, with] {
        world.fetcher.git(&wanted(&local, commit)).await.unwrap();
    }
    let url: SourceUrl = "https://h/group/parent.git".parse().unwrap();
    let expected = Submodule {
        path: "vendor/x".to_owned(),
        url: "https://h/group/x.git".parse().unwrap(),
        commit: CommitId::from([7; 20]),
    };
    assert_eq!(world.fetcher.submodules(&url, &with).unwrap(), [expected]);
    assert_eq!(world.fetcher.submodules(&url, &without).unwrap(), [], "a gitlink without a name is passed over");
}

#[tokio::test]
async fn nothing_of_a_repository_around_us_leaks_in() {
    let world = World::new();
    let command = world.fetcher.git.command();
    let removed: Vec<_> =
        command.as_std().get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name.to_owned()).collect();
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        assert!(removed.contains(&name.into()), "{name}");
    }
}

#[tokio::test]
async fn a_login_in_insteadof_is_in_no_command_line() {
    let upstream = Upstream::new();
    let server = Server::start();
    server.git("/git", upstream.path());
    let path = "/git/x.git/info/refs";
    let wanted_login = Reply::status(401).header("WWW-Authenticate", "Basic realm=\"test\"");
    server.on(path, [wanted_login, Reply::Silence(Duration::from_secs(4)), Reply::Mounted]);
    let mut world = World::new();
    let base = server.url("/git/").replace("http://", "http://me:top%2Fsecret@");
    let trace = world.path().join("trace");
    world.fetcher.git.environment.extend::<Vec<(&str, OsString)>>(vec![
        ("GIT_CONFIG_COUNT", "1".into()),
        ("GIT_CONFIG_KEY_0", format!("url.{base}.insteadOf").into()),
        ("GIT_CONFIG_VALUE_0", "https://upstream.example/".into()),
        ("GIT_TRACE", trace.clone().into()),
    ]);
    let url: SourceUrl = "https://upstream.example/x.git".parse().unwrap();
    let reference = GitRef { branch: Some("main".to_owned()), tag: None, rev: None };
    let looking = async {
        // While the server says nothing, git and its helper for http are there.
        while server.requests(path).len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        command_lines()
    };
    let (resolved, seen) = futures_util::future::join(world.fetcher.resolve(&url, &reference), looking).await;
    assert_eq!(resolved.unwrap().commit, upstream.three);
    assert!(!seen.iter().any(|line| line.contains("secret")));
    // What git says that it ran, from the first process to the last.
    let ran = fs::read_to_string(trace).unwrap();
    assert!(ran.contains("remote-http") && !ran.contains("secret"), "{ran}");
    let asked = server.requests(path);
    assert_eq!(asked[0].header("authorization"), None);
    assert_eq!(asked[1].header("authorization"), Some("Basic bWU6dG9wL3NlY3JldA=="));
}

/// The command lines of all processes.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    processes.filter_map(|path| Some(String::from_utf8_lossy(&fs::read(path).ok()?).replace('\0', " "))).collect()
}
