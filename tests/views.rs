//! Views, looked at by those they are for: BitBake's own fetchers take every kind of source out of one, without a network.
//!
//! `KBUILD_TEST_ENGINE` names the BitBake (see `docs/development.md`); any release will do, so the same test was run on 2.8.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kbuild::fetch::{FetchSettings, Fetcher, Registries, WantedFile};
use kbuild::lock::{Content, Lock, LockedFile, LockedGit};
use kbuild::manifest::{FallbackChoice, Mirrors};
use kbuild::progress::Silent;
use kbuild::source::{Algorithm, Checksum, CommitId, Sha256, SourceId, name};
use kbuild::store::{Store, tree, view};
use serde_json::{Value, json};

use kbuild_test::engine::engine;
use kbuild_test::lfs::{LARGE, LfsUpstream};

/// The find pattern of kbuild.conf's one PREMIRRORS line; a test below compares it with what is written there.
const PREMIRRORS: &str = "(git|gitsm|gomodgit|https?|ftps?|sftp|s3|gs|az|hg|p4|repo)://.*/.*";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A store, a lock, and what BitBake is to do with them.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    lock: Lock,
    cases: Vec<Value>,
    /// What each case has to give: a path and its content. Those that not every release can do are marked.
    expected: BTreeMap<String, (String, String, bool)>,
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Bench { directory, store, lock: Lock::default(), cases: Vec::new(), expected: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Locks a file under a key (the name BitBake looks for).
    fn file(&mut self, key: &str, url: &str, from: &Path) -> Sha256 {
        let digests = self.store.add_file(from).unwrap();
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let urls = vec![url.parse().unwrap()];
        self.lock.files.insert(
            key.to_owned(),
            LockedFile { name: None, urls, sha256: digests.sha256, stated_size: None, content },
        );
        digests.sha256
    }

    fn text(&mut self, key: &str, url: &str, text: &str) -> Sha256 {
        let path = self.path("text");
        fs::write(&path, text).unwrap();
        self.file(key, url, &path)
    }

    /// Packs a directory with files into a gzipped tarball.
    fn tarball(&self, directory: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = tempfile::tempdir_in(self.directory.path()).unwrap();
        for (path, text) in files {
            let path = root.path().join(directory).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let tarball = self.path("tarball");
        run(Command::new("tar").arg("-czf").arg(&tarball).arg("-C").arg(root.path()).arg(directory));
        tarball
    }

    /// What a recipe asks for, and the file it must get.
    fn expect(&mut self, case: &str, uri: &str, path: &str, text: &str) {
        self.expect_with(case, uri, &json!({}), path, text, false);
    }

    fn expect_with(&mut self, case: &str, uri: &str, flags: &Value, path: &str, text: &str, not_everywhere: bool) {
        self.cases.push(json!({"name": case, "uri": uri, "flags": flags}));
        self.expected.insert(case.to_owned(), (path.to_owned(), text.to_owned(), not_everywhere));
    }

    /// Locks a commit of a repository with this file in it.
    fn git(&mut self, url: &str, path: &str, text: &str) -> CommitId {
        self.git_with(url, path, text, None)
    }

    /// The same, with the commit of another repository as the submodule `sub`.
    fn git_with(&mut self, url: &str, path: &str, text: &str, submodule: Option<(&str, CommitId)>) -> CommitId {
        let root = tempfile::tempdir_in(self.directory.path()).unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").arg("-C").arg(root.path());
            command.args(["-c", "user.name=A U Thor", "-c", "user.email=author@example.com"]);
            run(command.args(arguments))
        };
        git(&["init", "-q", "-b", "main"]);
        fs::write(root.path().join(path), text).unwrap();
        let mut submodules = BTreeMap::new();
        if let Some((url, commit)) = &submodule {
            let text = format!("[submodule \"sub\"]\n\tpath = sub\n\turl = {url}\n");
            fs::write(root.path().join(".gitmodules"), text).unwrap();
            git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sub")]);
            submodules.insert("sub".to_owned(), name::git_key(&url.parse().unwrap(), commit));
        }
        git(&["add", path]);
        submodule.iter().for_each(|_| drop(git(&["add", ".gitmodules"])));
        git(&["commit", "-q", "-m", "A commit"]);
        let commit: CommitId = git(&["rev-parse", "HEAD"]).parse().unwrap();
        let bare = root.path().join(".git");
        let tree = tree::of_commit(&kbuild::git::open_objects(&bare).unwrap(), &commit).unwrap();
        self.store.add_git(&bare, &commit, tree).unwrap();
        let url = url.parse().unwrap();
        let locked = LockedGit {
            refs: BTreeSet::from(["refs/heads/main".to_owned()]),
            clones: BTreeSet::new(),
            commit,
            tree: Some(tree),
            history: false,
            recursive: false,
            submodules,
            lfs: BTreeMap::new(),
            without_lfs: false,
            url,
        };
        self.lock.gits.insert(name::git_key(&locked.url, &commit), locked);
        commit
    }

    /// The schemes of what recipes ask for here.
    fn schemes(&self) -> BTreeSet<String> {
        let uris = self.cases.iter().map(|case| case["uri"].as_str().unwrap());
        uris.map(|uri| uri.split("://").next().unwrap().to_owned()).collect()
    }

    /// Lays out the view, lets BitBake fetch and unpack every case, and compares: once as builds do, once with a DL_DIR of
    /// BitBake's own, which is empty.
    fn check(&self, engine: &Path) {
        let sources: Vec<SourceId> = self.lock.all_sources();
        let view = self.path("sources");
        view::lay_out(&self.store, &self.lock, &sources, &view, &self.path("record")).unwrap();
        let own = self.path("dl");
        fs::create_dir(&own).unwrap();
        for (dl, work) in [(view.join("dl"), "work"), (own, "own-work")] {
            let report = self.unpack(engine, &view, &dl, &self.path(work));
            let mut absent = Vec::new();
            for (case, (path, text, not_everywhere)) in &self.expected {
                let outcome = &report["outcomes"][case];
                if *not_everywhere && outcome["absent"] == true {
                    absent.push(case.as_str());
                } else if work == "work" || !NEED_DL_DIR.contains(&case.as_str()) {
                    let version = &report["version"];
                    assert_eq!(outcome["files"][path], text.as_str(), "{case} on BitBake {version}, {work}: {outcome}");
                }
            }
            eprintln!("BitBake {} has no fetcher for {absent:?}", report["version"]);
            assert!(absent.len() < self.expected.len() / 2);
        }
        // The store is as it was, and so are the links: nothing was renamed for a checksum.
        sources.iter().try_for_each(|id| self.store.verify(self.lock.get(id).unwrap())).unwrap();
        let renamed = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("bad-checksum");
        assert!(!fs::read_dir(view.join("flat")).unwrap().any(|entry| renamed(&entry.unwrap())));
    }

    fn unpack(&self, engine: &Path, view: &Path, dl: &Path, work: &Path) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/bitbake/fetch-and-unpack");
        fs::create_dir(work).unwrap();
        let mut command = Command::new("python3");
        command.arg("-B").args([&script, &engine.join("lib"), view, dl, work]).arg(PREMIRRORS).current_dir(work);
        command.env("HOME", self.directory.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("HGRCPATH", "");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(&self.cases).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Fetchers that a flat mirror alone does not satisfy: see `kbuild::store::view`.
const NEED_DL_DIR: [&str; 3] = ["svn", "ssh", "npm"];

#[test]
fn bitbake_takes_every_kind_of_source_out_of_a_view() {
    let Some(engine) = engine() else { return };
    let mut bench = Bench::new();

    for scheme in ["http", "https", "ftp", "ftps", "sftp", "s3", "gs", "az"] {
        let (file, url) = (format!("{scheme}.txt"), format!("{scheme}://host.invalid/dir/{scheme}.txt"));
        let sha256 = bench.text(&file, &url, scheme);
        bench.expect(scheme, &format!("{url};sha256sum={sha256}"), &file, scheme);
    }
    bench.text("ssh.txt", "ssh://host.invalid/dir/ssh.txt", "ssh");
    bench.expect("ssh", "ssh://host.invalid/dir/ssh.txt", "ssh.txt", "ssh");
    let sha256 = bench.text("sub/named.txt", "https://host.invalid/get?x=1", "named");
    let uri = format!("https://host.invalid/get?x=1;downloadfilename=sub/named.txt;sha256sum={sha256}");
    bench.expect("directory", &uri, "named.txt", "named");

    let tarball = bench.tarball("serde-1.0.0", &[("src/lib.rs", "crate")]);
    let sha256 = bench.file("serde-1.0.0.crate", "crate://crates.io/serde/1.0.0", &tarball).to_string();
    let flags = json!({"serde-1.0.0.sha256sum": sha256});
    let path = "cargo_home/bitbake/serde-1.0.0/src/lib.rs";
    bench.expect_with("crate", "crate://crates.io/serde/1.0.0", &flags, path, "crate", false);

    go_modules(&mut bench);
    npm(&mut bench);

    let commit = bench.git("https://host.invalid/group/repo.git", "a", "git");
    let uri = format!("git://host.invalid/group/repo.git;protocol=https;branch=main;rev={commit};destsuffix=out");
    bench.expect("git", &uri, "out/a", "git");
    let child = bench.git("https://host.invalid/group/child.git", "inner", "gitsm");
    let submodule = Some(("https://host.invalid/group/child.git", child));
    let commit = bench.git_with("https://host.invalid/group/parent.git", "a", "parent", submodule);
    let uri = format!("gitsm://host.invalid/group/parent.git;protocol=https;branch=main;rev={commit};destsuffix=out");
    bench.expect("gitsm", &uri, "out/sub/inner", "gitsm");

    git_lfs(&mut bench);

    let tarball = bench.tarball("trunk", &[("a", "svn")]);
    bench.file("trunk_host.invalid_.svn_42_1.tar.gz", "svn://host.invalid/svn;module=trunk;rev=42", &tarball);
    bench.expect("svn", "svn://host.invalid/svn;module=trunk;protocol=https;rev=42", "trunk/a", "svn");
    mercurial(&mut bench);

    assert_eq!(bench.schemes(), rows_of_the_page(), "docs/reference/fetchers.md and this test differ");
    bench.check(&engine);
}

fn git_lfs(bench: &mut Bench) {
    let Some(upstream) = LfsUpstream::new(&[]) else { return };
    let commit: CommitId = upstream.commit.parse().unwrap();
    let bare = upstream.path().join("repository.git");
    let hash = tree::of_commit(&kbuild::git::open_objects(&bare).unwrap(), &commit).unwrap();
    bench.store.add_git(&bare, &commit, hash).unwrap();
    let path = upstream.objects().join(&upstream.oid[..2]).join(&upstream.oid[2..4]).join(&upstream.oid);
    let digests = bench.store.add_file(&path).unwrap();
    let content = Some(Content { blake3: digests.blake3, size: digests.size });
    let (sha256, stated_size) = (digests.sha256, Some(digests.size));
    let urls = vec!["lfs+https://host.invalid/large.git/info/lfs".parse().unwrap()];
    bench.lock.lfs.insert(upstream.oid.clone(), LockedFile { name: None, urls, sha256, stated_size, content });
    let url = "https://host.invalid/large.git".parse().unwrap();
    let locked = LockedGit {
        refs: BTreeSet::from(["refs/heads/main".to_owned()]),
        clones: BTreeSet::new(),
        commit,
        tree: Some(hash),
        history: false,
        recursive: false,
        submodules: BTreeMap::new(),
        lfs: BTreeMap::from([("large.bin".to_owned(), upstream.oid.clone())]),
        without_lfs: false,
        url,
    };
    bench.lock.gits.insert(name::git_key(&locked.url, &commit), locked);
    let uri = format!("git://host.invalid/large.git;protocol=https;branch=main;rev={commit};destsuffix=out");
    bench.expect("git-lfs", &uri, "out/large.bin", LARGE);
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", upstream.oid, LARGE.len());
    bench.expect("git-lfs-off", &format!("{uri};lfs=0"), "out/large.bin", &pointer);
}

/// Rows of docs/reference/fetchers.md that a view has nothing to do with, or nothing of its own.
const ELSEWHERE: [(&str, &str); 2] = [
    ("image", "tests/e2e/images.rs: BitBake takes the archive of an image as any other file"),
    ("file", "tests/discover.rs: what a layer brings itself is not locked"),
];

/// The schemes in the first column of the page's first table.
fn rows_of_the_page() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/fetchers.md")).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| in SRC_URI"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut schemes = BTreeSet::new();
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        let words = cell.split('`').skip(1).step_by(2).map(|word| word.split(':').next().unwrap().to_owned());
        let words: Vec<String> = if cell.contains("[image]") { vec!["image".to_owned()] } else { words.collect() };
        assert!(!words.is_empty(), "a row without a scheme: {row}");
        schemes.extend(words.into_iter().filter(|word| !ELSEWHERE.iter().any(|(scheme, _)| scheme == word)));
    }
    schemes
}

fn go_modules(bench: &mut Bench) {
    let sha256 = bench.text(
        "github.com.A.b@v1.0.0.mod",
        "gomod://github.com/A/b;version=v1.0.0;mod=1",
        "module github.com/A/b\n",
    );
    let uri = format!("gomod://github.com/A/b;version=v1.0.0;mod=1;sha256sum={sha256}");
    let path = "pkg/mod/cache/download/github.com/!a/b/@v/v1.0.0.mod";
    bench.expect_with("gomod-mod", &uri, &json!({}), path, "module github.com/A/b\n", true);

    let zip = bench.path("module.zip");
    let mut writer = zip::ZipWriter::new(fs::File::create(&zip).unwrap());
    writer.start_file("host.invalid/m@v1.2.0/go.mod", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(b"module host.invalid/m\n").unwrap();
    writer.finish().unwrap();
    let sha256 = bench.file("host.invalid.m@v1.2.0.zip", "gomod://host.invalid/m;version=v1.2.0", &zip);
    let uri = format!("gomod://host.invalid/m;version=v1.2.0;sha256sum={sha256}");
    let path = "pkg/mod/cache/download/host.invalid/m/@v/v1.2.0.mod";
    bench.expect_with("gomod", &uri, &json!({}), path, "module host.invalid/m\n", true);

    let commit = bench.git("https://go.invalid/net", "go.mod", "module host.invalid/x/net\n");
    let uri = format!("gomodgit://host.invalid/x/net;version=v0.9.0;repo=go.invalid/net;srcrev={commit}");
    let path = "pkg/mod/cache/download/host.invalid/x/net/@v/v0.9.0.mod";
    bench.expect_with("gomodgit", &uri, &json!({}), path, "module host.invalid/x/net\n", true);
}

fn npm(bench: &mut Bench) {
    let tarball = bench.tarball("package", &[("index.js", "npm")]);
    let url = "npm://host.invalid/;package=@scope/a;version=1.0.0";
    bench.file("scope-a-1.0.0.tgz", url, &tarball);
    bench.expect_with("npm", url, &json!({}), "npm/index.js", "npm", true);

    let tarball = bench.tarball("package", &[("index.js", "npmsw")]);
    let url = "https://host.invalid/b/-/b-2.0.0.tgz";
    bench.file("npm2/b-2.0.0.tgz", url, &tarball);
    let sum = run(Command::new("python3").args(["-c", SRI]).arg(&tarball));
    let entry = json!({"version": "2.0.0", "resolved": url, "integrity": sum});
    let shrinkwrap = json!({"packages": {"": {}, "node_modules/b": entry}});
    let path = bench.path("npm-shrinkwrap.json");
    fs::write(&path, shrinkwrap.to_string()).unwrap();
    let uri = format!("npmsw://{}", path.display());
    bench.expect_with("npmsw", &uri, &json!({}), "source/node_modules/b/index.js", "npmsw", true);
}

/// Prints the subresource integrity of a file, as npm writes it.
const SRI: &str = "import base64, hashlib, sys
print('sha512-' + base64.b64encode(hashlib.sha512(open(sys.argv[1], 'rb').read()).digest()).decode())";

fn mercurial(bench: &mut Bench) {
    if Command::new("hg").arg("--version").output().is_err() {
        eprintln!("without hg: no Mercurial is installed");
        return;
    }
    let root = bench.path("hg");
    let module = root.join("module");
    fs::create_dir_all(&module).unwrap();
    let hg = |arguments: &[&str]| run(Command::new("hg").env("HGRCPATH", "").arg("--cwd").arg(&module).args(arguments));
    hg(&["init"]);
    fs::write(module.join("a"), "hg").unwrap();
    hg(&["commit", "-q", "-A", "-u", "me", "-m", "A commit"]);
    let revision = hg(&["log", "-r", ".", "-T", "{node}"]);
    // As `bb.fetch2.hg` packs it (`build_mirror_data`).
    let tarball = bench.path("hg.tar.gz");
    run(Command::new("tar").arg("-czf").arg(&tarball).arg("-C").arg(&root).arg("module"));
    let url = format!("hg://host.invalid/hg;module=module;rev={revision}");
    bench.file("hg_module_host.invalid_.hg.tar.gz", &url, &tarball);
    bench.expect("hg", &format!("{url};protocol=https;destsuffix=out"), "out/a", "hg");
}

/// Prints the `goh1sum` of a file as BitBake computes it, if this release does.
const GO_H1: &str = "import sys
sys.path.insert(0, sys.argv[1])
import bb.utils
print(bb.utils.goh1_file(sys.argv[2]) if hasattr(bb.utils, 'goh1_file') else '')";

#[tokio::test]
async fn go_hashes_of_modules_are_those_of_bitbake() {
    let Some(engine) = engine() else { return };
    let bench = Bench::new();
    let (module, wanted) = (bench.path("module.zip"), bench.path("go.mod"));
    let mut writer = zip::ZipWriter::new(fs::File::create(&module).unwrap());
    for name in ["h/m@v1/go.mod", "h/m@v1/sub/b.go", "h/m@v1/B.go", "h/m@v1/a.go", "h/m@v1/\u{e9}.txt"] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(name.repeat(1000).as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    fs::write(&wanted, "module h/m\n").unwrap();
    for path in [module, wanted] {
        let sum = run(Command::new("python3").args(["-B", "-c", GO_H1]).arg(engine.join("lib")).arg(&path));
        if sum.is_empty() {
            eprintln!("this BitBake knows no goh1sum");
            return;
        }
        let sums = vec![Checksum::new(Algorithm::GoH1, &sum).unwrap()];
        let mirrors = Mirrors { builtin: FallbackChoice::none(), ..Mirrors::default() };
        let settings =
            FetchSettings { mirrors, registries: Registries::default(), jobs: 1, offline: true, upstreams: true };
        let fetcher = Fetcher::new(bench.store.clone(), settings, Arc::new(Silent)).unwrap();
        let urls = vec![format!("file://{}", path.display()).parse().unwrap()];
        let file = WantedFile { name: "m".to_owned(), urls, sha256: None, sums, stated_size: None, content: None };
        fetcher.file(&file).await.unwrap();
    }
}

#[test]
fn the_premirror_is_that_of_kbuild_conf() {
    let conf = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bitbake/conf.rs")).unwrap();
    assert!(conf.contains(&format!("const PREMIRRORS: &str = \"{PREMIRRORS}\";")));
}
