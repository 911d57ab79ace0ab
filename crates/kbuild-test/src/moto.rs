//! A real S3 server on loopback: moto, from PyPI. `None`, loudly, where `tests/support/servers/make-servers` did not put it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::repository;
use crate::project::hermetic;

/// Who the tests say they are. Neither word may ever be printed.
pub const KEY: &str = "AKIATESTTESTTESTTEST";
pub const SECRET: &str = "wJalrTESTTESTsecretTESTTEST";

/// A running server; stopped when dropped.
pub struct Moto {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Moto {
    /// A server that takes every signature for right, with an empty bucket `team`.
    pub fn start() -> Option<Moto> {
        Moto::start_with(&[])
    }

    /// A server that knows nobody: every request after the one that makes the bucket is refused.
    pub fn start_strict() -> Option<Moto> {
        Moto::start_with(&[("INITIAL_NO_AUTH_ACTION_COUNT", "1")])
    }

    fn start_with(variables: &[(&str, &str)]) -> Option<Moto> {
        let named = std::env::var_os("KBUILD_TEST_SERVERS").map(PathBuf::from);
        let servers = named.unwrap_or_else(|| repository().join("target/test-servers"));
        let packages = servers.join("moto");
        if !packages.join("moto").is_dir() {
            assert!(std::env::var_os("CI").is_none(), "CI must have the servers of the tests: run tests/run");
            eprintln!("SKIPPED: no moto at {}; `tests/run` makes it", packages.display());
            return None;
        }
        // Another process may take the port before moto does: then it ends, and another one is tried.
        (0..5).find_map(|_| Moto::on_free_port(&packages, variables)).or_else(|| panic!("moto did not start"))
    }

    fn on_free_port(packages: &std::path::Path, variables: &[(&str, &str)]) -> Option<Moto> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]).env_clear();
        hermetic(&mut command, home.path());
        command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("python3 starts");
        let mut moto = Moto { child, port, _home: home };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "moto did not start");
            if moto.child.try_wait().expect("a child").is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(moto.ask("PUT", "/team", b"").starts_with("HTTP/1.1 200"), "a bucket");
        Some(moto)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names in the bucket.
    pub fn names(&self) -> Vec<String> {
        let listing = self.ask("GET", "/team?list-type=2", b"");
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()));
        keys.collect()
    }

    /// Puts an object, whatever it should be.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        assert!(self.ask("PUT", &format!("/team/{name}"), bytes).starts_with("HTTP/1.1 200"), "{name}");
    }

    /// The bytes of an object, as the server's answer ends with them.
    pub fn has(&self, name: &str, bytes: &[u8]) -> bool {
        self.ask_bytes("GET", &format!("/team/{name}"), b"").ends_with(bytes)
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> String {
        String::from_utf8_lossy(&self.ask_bytes(method, path, body)).into_owned()
    }

    fn ask_bytes(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("moto answers");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("asked");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
