//! A real registry (Debian's docker-registry) on loopback, and a small image that is put into it by hand.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::Digest as _;

use crate::engine::repository;

/// A running registry with a directory of its own; stopped when dropped.
pub struct Registry {
    child: Child,
    _directory: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// Basic credentials that it wants, as a header has them.
    login: Option<&'static str>,
}

/// The user and password of a registry that wants a login, and what a header and a config.json make of them.
pub const LOGIN: (&str, &str) = ("carrier", "s3cret-word");
const ENCODED: &str = "Y2FycmllcjpzM2NyZXQtd29yZA==";

/// The password's bcrypt, as `htpasswd -B` writes it; the cheapest that there is.
const HTPASSWD: &str = "carrier:$2y$04$abcdefghijklmnopqrstuuzQDw2v3CQSMowG.sq3X.nH1lfmlmQMW\n";

impl Registry {
    /// `None`, loudly, where there is no docker-registry.
    pub fn start() -> Option<Registry> {
        Registry::start_with(None)
    }

    /// One that wants [`LOGIN`].
    pub fn start_with_login() -> Option<Registry> {
        Registry::start_with(Some(ENCODED))
    }

    fn start_with(login: Option<&'static str>) -> Option<Registry> {
        let program = program("docker-registry")?;
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..5 {
            let port =
                TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
            let host = format!("127.0.0.1:{port}");
            let config = directory.path().join("config.yml");
            std::fs::write(&config, configuration(directory.path(), &host, login.is_some())).expect("a configuration");
            let mut command = Command::new(&program);
            command
                .arg("serve")
                .arg(&config)
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().expect("docker-registry starts");
            if answers(&host, &mut child) {
                return Some(Registry { child, _directory: directory, host, login });
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry does not answer");
    }

    /// A config.json with its login.
    pub fn docker_config(&self) -> String {
        format!(r#"{{"auths": {{"{}": {{"auth": "{ENCODED}"}}}}}}"#, self.host)
    }

    /// Puts a blob into a repository; gives its digest.
    pub fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let (_, headers, _) = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        let location = headers.get("location").expect("where to upload");
        let path = location.strip_prefix(&format!("http://{}", self.host)).unwrap_or(location);
        let path = format!("{path}&digest={digest}");
        let (status, ..) = self.request("PUT", &path, &[("Content-Type", "application/octet-stream")], bytes);
        assert_eq!(status, 201);
        digest
    }

    /// Puts a manifest under a tag; gives its digest.
    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, text: &str) -> String {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let (status, _, body) = self.request("PUT", &path, &[("Content-Type", media_type)], text.as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        digest(text.as_bytes())
    }

    /// Puts an image for these architectures (as images name them) under a tag, with `what` in its layers; gives the digest
    /// of its index.
    pub fn image(&self, repository: &str, tag: &str, architectures: &[&str], what: &str) -> String {
        let mut entries = Vec::new();
        for architecture in architectures {
            let layer = layer(&format!("{what} for {architecture}\n"));
            let diff = digest(&layer);
            let config = format!(
                r#"{{"architecture":"{architecture}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#
            );
            let manifest = format!(
                r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
                descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
                descriptor("application/vnd.oci.image.layer.v1.tar", &layer),
            );
            self.blob(repository, &layer);
            self.blob(repository, config.as_bytes());
            let digest = self.manifest(repository, &digest(manifest.as_bytes()), MANIFEST, &manifest);
            entries.push(format!(
                r#"{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"platform":{{"architecture":"{architecture}","os":"linux"}}}}"#,
                manifest.len()
            ));
        }
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(","));
        self.manifest(repository, tag, INDEX, &index)
    }

    /// One request, by hand.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, BTreeMap<String, String>, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.host).expect("the registry listens");
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        let login = self.login.map(|login| ("Authorization", format!("Basic {login}")));
        for (name, value) in login.iter().map(|(name, value)| (*name, value.as_str())).chain(headers.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        (status.expect("a status"), headers, answer[end + 4..].to_vec())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to a registry that is cut once: the first connection that sends a chunk ends after a megabyte of it. Gives its host.
pub fn cutting(registry: &Registry) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("127.0.0.1:{}", listener.local_addr().expect("an address").port());
    let to = registry.host.clone();
    let whole = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (Ok(server), whole) = (TcpStream::connect(&to), whole.clone()) else { continue };
            let (Ok(back), Ok(answers)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || pass(answers, back, None));
            std::thread::spawn(move || pass(client, server, Some(&whole)));
        }
    });
    host
}

/// Copies what comes, until either side ends or the one cut is made.
fn pass(mut from: TcpStream, mut to: TcpStream, whole: Option<&std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::Ordering::SeqCst;
    let mut buffer = vec![0; 64 << 10];
    let mut left = None;
    while let Ok(count) = from.read(&mut buffer) {
        let is_chunk = buffer[..count].starts_with(b"PATCH ");
        if is_chunk && whole.is_some_and(|whole| !whole.swap(true, SeqCst)) {
            left = Some(1 << 20);
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        left = left.map(|left: usize| left.saturating_sub(count));
        if left == Some(0) {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// One of the servers that `tests/run` made; `None`, loudly, without it.
pub fn program(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("KBUILD_TEST_SERVERS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| repository().join("target/test-servers")).join("bin").join(name);
    if path.is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have the servers of the tests: run tests/run");
    eprintln!("SKIPPED: there is no {}; `tests/run` makes it", path.display());
    None
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, digest(bytes), bytes.len())
}

/// A layer with one file.
fn layer(text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "etc/motd", text.as_bytes()).expect("a file");
    builder.into_inner().expect("a layer")
}

fn configuration(directory: &Path, host: &str, login: bool) -> String {
    let data = directory.join("data");
    let mut text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: {host}\n",
        data.display()
    );
    if login {
        let htpasswd = directory.join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).expect("written");
        text.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", htpasswd.display()));
    }
    text
}

fn answers(host: &str, child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        if TcpStream::connect(host).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
