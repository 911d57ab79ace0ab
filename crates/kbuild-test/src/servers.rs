//! Real servers on loopback for the end-to-end tests: nginx, Python's own, `kbuild serve`, and a proxy; each with a free port,
//! each stopped when dropped. nginx is what `tests/support/servers/make-servers` made.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::engine::repository;
use crate::project::TestProject;

/// How often a server is started anew when somebody else took its port in between.
const TRIES: usize = 5;

/// A server's process; ended when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Tells it to stop, as a service manager does, and waits until it has.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.0.wait().expect("it ends").code()
    }

    fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

/// nginx, or `None`, loudly, where it is not to be had.
pub fn nginx_program() -> Option<PathBuf> {
    let named = std::env::var_os("KBUILD_TEST_SERVERS").map(PathBuf::from);
    let nginx = named.unwrap_or_else(|| repository().join("target/test-servers")).join("bin/nginx");
    if nginx.is_file() {
        return Some(nginx);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have the servers of the tests: run tests/run");
    eprintln!("SKIPPED: no nginx at {}; `tests/run` makes it", nginx.display());
    None
}

/// A running nginx.
pub struct Nginx {
    pub port: u16,
    directory: tempfile::TempDir,
    _process: Process,
}

impl Nginx {
    /// Serves a directory; `more` are further lines of the `server` block. `None`, loudly, without nginx.
    pub fn serve(root: &Path, more: &str) -> Option<Nginx> {
        Nginx::start(root, "", more)
    }

    /// As [`Nginx::serve`], over TLS.
    pub fn serve_tls(root: &Path, certificate: &Certificate) -> Option<Nginx> {
        let more = format!(
            "ssl_certificate {};\nssl_certificate_key {};\n",
            certificate.certificate.display(),
            certificate.key.display()
        );
        Nginx::start(root, " ssl", &more)
    }

    fn start(root: &Path, listen: &str, more: &str) -> Option<Nginx> {
        let program = nginx_program()?;
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..TRIES {
            let port = free_port();
            let conf = nginx_conf(root, directory.path(), &format!("{port}{listen}"), more);
            let file = directory.path().join("nginx.conf");
            fs::write(&file, conf).expect("a configuration");
            let mut command = Command::new(&program);
            command.arg("-p").arg(directory.path()).arg("-c").arg(&file).args(["-e", "stderr"]).env_clear();
            let mut process = Process(command.stdin(Stdio::null()).spawn().expect("nginx starts"));
            if wait_for(port, &mut process) {
                return Some(Nginx { port, directory, _process: process });
            }
        }
        panic!("nginx does not start");
    }

    /// One line for each request so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

/// In the foreground, as one process that a signal ends.
fn nginx_conf(root: &Path, directory: &Path, listen: &str, more: &str) -> String {
    let (root, directory) = (root.display(), directory.display());
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    format!(
        "{user}daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr crit;\nevents {{}}\n\
         http {{\n    access_log {directory}/access.log;\n    default_type application/octet-stream;\n{temporary}\
         server {{\n        listen 127.0.0.1:{listen};\n        root {root};\n        {more}\n    }}\n}}\n"
    )
}

/// Python's own server, the plainest there is.
pub struct Python {
    pub port: u16,
    _process: Process,
}

impl Python {
    pub fn serve(root: &Path) -> Python {
        for _ in 0..TRIES {
            let port = free_port();
            let mut command = Command::new("python3");
            command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1", "--directory"]).arg(root);
            let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = Process(command.spawn().expect("python3 starts"));
            if wait_for(port, &mut process) {
                return Python { port, _process: process };
            }
        }
        panic!("python3 -m http.server does not start");
    }
}

/// A running `kbuild serve`.
pub struct Serve {
    /// As it printed it, with a slash at the end.
    pub url: String,
    pub process: Process,
    log: PathBuf,
}

impl Serve {
    /// Starts `kbuild serve` in a project, with these arguments more.
    pub fn start(bench: &TestProject, args: &[&str]) -> Serve {
        let log = bench.beside(format!("serve-{}.log", free_port()));
        let all = [&["serve", "--listen", "127.0.0.1:0", "--format", "json", "-v"], args].concat();
        let mut command = bench.command(&all);
        let stderr = fs::File::create(&log).expect("a log");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let process = Process(child);
        let told: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}{}", fs::read_to_string(&log).unwrap()));
        assert_eq!(told["ok"], true, "{line}");
        Serve { url: told["url"].as_str().expect("a URL").to_owned(), process, log }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        self.url.split('/').nth(2).expect("a host")
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }
}

/// A certificate for `localhost`, and the authority that signed it, as PEM files.
pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn make(directory: &Path) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "kbuild test authority");
        let authority_certificate = authority.self_signed(&key).expect("a certificate");
        let issuer = rcgen::Issuer::new(authority, key);
        let server_key = rcgen::KeyPair::generate().expect("a key");
        let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = server.signed_by(&server_key, &issuer).expect("a certificate");
        fs::create_dir_all(directory).expect("a directory");
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        Certificate {
            authority: write("authority.pem", authority_certificate.pem()),
            certificate: write("certificate.pem", certificate.pem()),
            key: write("key.pem", server_key.serialize_pem()),
        }
    }
}

/// An HTTP proxy: it forwards, connects, and remembers what it was asked for.
pub struct Proxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remember = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let remember = Arc::clone(&remember);
                std::thread::spawn(move || forward(stream, &remember));
            }
        });
        Proxy { port, asked }
    }

    /// The first line of each request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// One connection, one request: `CONNECT`, or a whole URL. `None` where either side went away.
fn forward(client: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let first = head.first()?.clone();
    asked.lock().ok()?.push(first.clone());
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut client = client;
    let mut server;
    if method == "CONNECT" {
        server = TcpStream::connect(target).ok()?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    } else {
        let (host, path) = target.strip_prefix("http://")?.split_once('/')?;
        server = TcpStream::connect(host).ok()?;
        let hop = |line: &&String| !line.to_ascii_lowercase().starts_with("connection:");
        let rest: String = head[1..].iter().filter(hop).map(|line| format!("{line}\r\n")).collect();
        write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n{rest}\r\n").ok()?;
    }
    let (mut to_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let up = std::thread::spawn(move || std::io::copy(&mut reader, &mut to_server));
    let _ = std::io::copy(&mut server, &mut to_client);
    let _ = to_client.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
    Some(())
}

/// Sends bytes as they are to `HOST:PORT`, and gives everything that comes back until the other side closes, or `None` where
/// nothing more comes in time.
pub fn raw(address: &str, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    // A server that has heard enough closes while this still writes.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() && error.kind() == std::io::ErrorKind::WouldBlock => None,
        _ => Some(String::from_utf8_lossy(&answer).into_owned()),
    }
}

/// A port that nobody listens at now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Waits until a server answers; `false` when it ended instead.
fn wait_for(port: u16, process: &mut Process) -> bool {
    let start = Instant::now();
    while process.is_running() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "a server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
