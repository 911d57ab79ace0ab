//! A small HTTP server that misbehaves as told: scripts of mishaps per path, folders with ranges, git over CGI, TLS.
//!
//! Plain threads and sockets, HTTP/1.1 with one request per connection, so that each test says exactly what goes over the
//! wire. Included by the unit tests (`#[path]`) and the end-to-end tests alike.
#![allow(dead_code, reason = "each test includes what it needs")]

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A file, with whatever is wrong with it.
    File(File),
    /// A status with headers and a body.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// The connection is closed without a word.
    Hangup,
    /// The connection stays open without a word.
    Silence(Duration),
    /// Whatever a folder or a repository mounted there says: the server has recovered.
    Mounted,
}

/// A file as this server serves it.
#[derive(Debug, Clone, Default)]
pub struct File {
    body: Vec<u8>,
    headers: Vec<(String, String)>,
    ranges: Ranges,
    cut_after: Option<usize>,
    stall_after: Option<(usize, Duration)>,
    chunk: Option<(usize, Duration)>,
    lengthless: bool,
}

/// How the server treats `Range`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ranges {
    /// As RFC 9110 wants it, `If-Range` included.
    #[default]
    Honoured,
    /// The whole file, always.
    Ignored,
    /// 206, but beginning at another byte than asked for.
    Wrong,
    /// 206 without looking at `If-Range`.
    WithoutCondition,
    /// 416.
    Refused,
}

impl Reply {
    /// A file that is served as it should be.
    pub fn file(body: impl Into<Vec<u8>>) -> Reply {
        Reply::File(File { body: body.into(), ..File::default() })
    }

    /// A bare status.
    pub fn status(status: u16) -> Reply {
        Reply::Status(status, Vec::new(), b"no".to_vec())
    }

    /// A redirect.
    pub fn redirect(to: impl Into<String>) -> Reply {
        Reply::Status(302, vec![("Location".to_owned(), to.into())], Vec::new())
    }

    /// With a header more.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        let header = (name.to_owned(), value.to_owned());
        match &mut self {
            Reply::File(file) => file.headers.push(header),
            Reply::Status(_, headers, _) => headers.push(header),
            Reply::Hangup | Reply::Silence(_) | Reply::Mounted => panic!("nothing is said, so no header either"),
        }
        self
    }

    /// With an `ETag`.
    pub fn etag(self, tag: &str) -> Reply {
        self.header("ETag", tag)
    }

    /// `Range` is treated otherwise.
    pub fn ranges(self, ranges: Ranges) -> Reply {
        self.adjust(|file| file.ranges = ranges)
    }

    /// The connection is cut after so many bytes of this response's body.
    pub fn cut_after(self, bytes: usize) -> Reply {
        self.adjust(|file| file.cut_after = Some(bytes))
    }

    /// After so many bytes nothing comes for a while, then the connection is cut.
    pub fn stall_after(self, bytes: usize, pause: Duration) -> Reply {
        self.adjust(|file| file.stall_after = Some((bytes, pause)))
    }

    /// In pieces, with a pause after each.
    pub fn slow(self, piece: usize, pause: Duration) -> Reply {
        self.adjust(|file| file.chunk = Some((piece, pause)))
    }

    /// Without `Content-Length`: the end of the connection is the end of the file.
    pub fn lengthless(self) -> Reply {
        self.adjust(|file| file.lengthless = true)
    }

    fn adjust(mut self, change: impl FnOnce(&mut File)) -> Reply {
        match &mut self {
            Reply::File(file) => change(file),
            _ => panic!("only a file can be served wrongly"),
        }
        self
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// What stood behind the `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What stands behind a prefix of paths.
#[derive(Debug, Clone)]
enum Mount {
    /// Files of a folder.
    Folder(PathBuf),
    /// A folder that takes what is put, and gives it, as an object store does.
    Bucket(PathBuf),
    /// Repositories of a folder, through `git http-backend`; `protocol_v2` unless the server is to be an old one.
    Git { root: PathBuf, protocol_v2: bool },
    /// The objects of a repository's `lfs/objects`, by the batch API of Git LFS.
    Lfs(LfsMount),
}

/// A Git LFS server.
#[derive(Debug, Clone)]
struct LfsMount {
    objects: PathBuf,
    /// Where it is itself.
    base: String,
    /// The `Authorization` that a request for addresses must have.
    login: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    scripts: Mutex<HashMap<String, VecDeque<Reply>>>,
    mounts: Mutex<Vec<(String, Mount)>>,
    log: Mutex<Vec<Request>>,
    stop: AtomicBool,
    limit: Mutex<Option<RateLimit>>,
}

/// So many requests a second are answered.
#[derive(Debug)]
struct RateLimit {
    each_second: u32,
    since: Instant,
    answered: u32,
}

impl RateLimit {
    /// Whether one more request is answered now; if not, after how long it may be asked again.
    fn take(&mut self) -> Result<(), Duration> {
        let second = Duration::from_secs(1);
        if self.since.elapsed() >= second {
            (self.since, self.answered) = (Instant::now(), 0);
        }
        self.answered += 1;
        if self.answered <= self.each_second { Ok(()) } else { Err(second.saturating_sub(self.since.elapsed())) }
    }
}

/// A running server; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    /// The certificate of the authority that signed this server's, in PEM; only for TLS.
    pub authority: Option<String>,
}

impl Server {
    /// A server without TLS, on a port of its own.
    pub fn start() -> Server {
        Server::listen(None)
    }

    /// A server with TLS, whose certificate for `localhost` nobody knows but who reads [`Server::authority`].
    pub fn start_tls() -> Server {
        let (config, authority) = localhost_certificate();
        let mut server = Server::listen(Some(config));
        server.authority = Some(authority);
        server
    }

    fn listen(tls: Option<Arc<rustls::ServerConfig>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        thread::spawn({
            let state = state.clone();
            move || {
                for stream in listener.incoming() {
                    if state.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (Ok(stream), state, tls) = (stream, state.clone(), tls.clone()) else { continue };
                    thread::spawn(move || connection(&state, stream, tls));
                }
            }
        });
        Server { address, scheme, state, authority: None }
    }

    /// The replies to requests for a path, one each; the last one is repeated.
    pub fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Server {
        self.state.scripts.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
        self
    }

    /// Serves the files of a folder below a prefix (`/store`), with ranges, following links.
    pub fn folder(&self, prefix: &str, root: &Path) -> &Server {
        self.mount(prefix, Mount::Folder(root.to_owned()))
    }

    /// An object store below a prefix (`/bucket`), in a folder: single objects, no listings.
    pub fn bucket(&self, prefix: &str, root: &Path) -> &Server {
        self.mount(prefix, Mount::Bucket(root.to_owned()))
    }

    /// Serves the repositories of a folder below a prefix, through git's own CGI.
    pub fn git(&self, prefix: &str, root: &Path) -> &Server {
        self.mount(prefix, Mount::Git { root: root.to_owned(), protocol_v2: true })
    }

    /// As [`Server::git`], as an old server: it gives only what it advertises.
    pub fn old_git(&self, prefix: &str, root: &Path) -> &Server {
        self.mount(prefix, Mount::Git { root: root.to_owned(), protocol_v2: false })
    }

    /// Serves a folder in the layout of `lfs/objects` by the batch API of Git LFS, below a prefix (`/x.git/info/lfs`). Who asks
    /// where objects are must send this `Authorization`; who fetches one, the header that the answer gives for it.
    pub fn lfs(&self, prefix: &str, objects: &Path, login: Option<&str>) -> &Server {
        let (objects, base) = (objects.to_owned(), self.url(prefix));
        let mount = Mount::Lfs(LfsMount { objects, base, login: login.map(str::to_owned) });
        // Before a mount of git that the prefix is below.
        self.state.mounts.lock().unwrap().insert(0, (prefix.to_owned(), mount));
        self
    }

    fn mount(&self, prefix: &str, mount: Mount) -> &Server {
        self.state.mounts.lock().unwrap().push((prefix.to_owned(), mount));
        self
    }

    /// Answers so many requests a second; to the others it says 429, with `Retry-After` in whole seconds.
    pub fn limit(&self, each_second: u32) -> &Server {
        *self.state.limit.lock().unwrap() = Some(RateLimit { each_second, since: Instant::now(), answered: 0 });
        self
    }

    /// The URL of a path on this server.
    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    /// The same server under another name: another host for whoever compares names.
    pub fn url_by_name(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// The requests for a path so far.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.state.log.lock().unwrap().iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many requests came altogether.
    pub fn count(&self) -> usize {
        self.state.log.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A TLS configuration for `localhost`, and the certificate (PEM) of the authority that nobody knows.
pub fn localhost_certificate() -> (Arc<rustls::ServerConfig>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "kbuild test authority");
    let authority_certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = server.signed_by(&server_key, &issuer).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (Arc::new(config), authority_certificate.pem())
}

fn connection(state: &State, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let _ = stream.set_nodelay(true);
    let raw = stream.try_clone();
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let Ok(connection) = rustls::ServerConnection::new(config) else { return };
            Box::new(rustls::StreamOwned::new(connection, stream))
        }
    };
    let mut stream = BufReader::new(stream);
    // A client that hangs up is no failure of a server.
    let _ = serve(state, &mut stream);
    if let Ok(raw) = raw {
        let _ = raw.shutdown(std::net::Shutdown::Both);
    }
}

fn serve(state: &State, stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<()> {
    let Some(request) = read_request(stream)? else { return Ok(()) };
    state.log.lock().unwrap().push(request.clone());
    let out = stream.get_mut();
    let refused = state.limit.lock().unwrap().as_mut().and_then(|limit| limit.take().err());
    if let Some(after) = refused {
        let after = ("Retry-After".to_owned(), after.as_secs_f64().ceil().to_string());
        return send(out, 429, &[after], Some(0), b"");
    }
    match reply(state, &request)? {
        Reply::File(file) if request.method == "HEAD" => send(out, 200, &file.headers, Some(file.body.len()), b""),
        Reply::Status(status, headers, body) if request.method == "HEAD" => {
            send(out, status, &headers, Some(body.len()), b"")
        }
        Reply::File(file) => send_file(out, &request, &file),
        Reply::Status(status, headers, body) => send(out, status, &headers, Some(body.len()), &body),
        Reply::Hangup | Reply::Mounted => Ok(()),
        Reply::Silence(pause) => {
            thread::sleep(pause);
            Ok(())
        }
    }
}

fn reply(state: &State, request: &Request) -> io::Result<Reply> {
    if let Some(script) = state.scripts.lock().unwrap().get_mut(&request.path) {
        let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
        match next {
            Some(Reply::Mounted) => {}
            next => return Ok(next.unwrap_or_else(|| Reply::status(500))),
        }
    }
    let mounts = state.mounts.lock().unwrap().clone();
    for (prefix, mount) in &mounts {
        let Some(rest) = request.path.strip_prefix(prefix.as_str()) else { continue };
        return match mount {
            Mount::Folder(root) => Ok(from_folder(root, rest)),
            Mount::Bucket(root) => bucket(root, rest.trim_start_matches('/'), request),
            Mount::Git { root, protocol_v2 } => git_backend(root, rest, request, *protocol_v2),
            Mount::Lfs(lfs) => Ok(lfs.reply(rest.trim_matches('/'), request)),
        };
    }
    Ok(Reply::status(404))
}

fn from_folder(root: &Path, rest: &str) -> Reply {
    let rest = rest.trim_start_matches('/');
    if rest.split('/').any(|part| part == "..") {
        return Reply::status(403);
    }
    fs::read(root.join(rest)).map_or_else(|_| Reply::status(404), Reply::file)
}

fn bucket(root: &Path, name: &str, request: &Request) -> io::Result<Reply> {
    let path = root.join(name);
    if request.method == "PUT" {
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, &request.body)?;
        return Ok(Reply::status(200).etag("\"put\""));
    }
    Ok(if name.is_empty() { Reply::status(403) } else { from_folder(root, name) })
}

impl LfsMount {
    /// git-lfs, docs/api/batch.md and docs/api/basic-transfers.md.
    fn reply(&self, rest: &str, request: &Request) -> Reply {
        if (request.method.as_str(), rest) == ("POST", "objects/batch") {
            return self.batch(request);
        }
        let Some(oid) = rest.strip_prefix("objects/") else { return Reply::status(404) };
        if request.header("x-object") != Some(oid) || !request.query.contains("Signature=") {
            return Reply::status(403);
        }
        fs::read(self.path(oid)).map_or_else(|_| Reply::status(404), |body| Reply::file(body).etag("\"lfs\""))
    }

    fn batch(&self, request: &Request) -> Reply {
        const TYPE: &str = "application/vnd.git-lfs+json";
        if self.login.is_some() && request.header("authorization") != self.login.as_deref() {
            let challenge = ("LFS-Authenticate".to_owned(), "Basic realm=\"test\"".to_owned());
            return Reply::Status(401, vec![challenge], br#"{"message":"a login is needed"}"#.to_vec());
        }
        if !request.header("accept").is_some_and(|accept| accept.contains(TYPE)) {
            return Reply::status(406);
        }
        let Ok(asked) = serde_json::from_slice::<serde_json::Value>(&request.body) else { return Reply::status(422) };
        let objects: Vec<_> =
            asked["objects"].as_array().into_iter().flatten().map(|object| self.object(object)).collect();
        let body = serde_json::json!({ "transfer": "basic", "objects": objects }).to_string();
        Reply::Status(200, vec![("Content-Type".to_owned(), TYPE.to_owned())], body.into_bytes())
    }

    fn object(&self, asked: &serde_json::Value) -> serde_json::Value {
        let (oid, size) = (asked["oid"].as_str().unwrap_or_default(), &asked["size"]);
        if fs::metadata(self.path(oid)).ok().map(|file| file.len()) != size.as_u64() {
            let error = serde_json::json!({ "code": 404, "message": "there is no such object" });
            return serde_json::json!({ "oid": oid, "size": size, "error": error });
        }
        let href = format!("{}/objects/{oid}?X-Amz-Signature=0123456789abcdef", self.base);
        let download = serde_json::json!({ "href": href, "header": { "X-Object": oid }, "expires_in": 600 });
        serde_json::json!({ "oid": oid, "size": size, "authenticated": true, "actions": { "download": download } })
    }

    fn path(&self, oid: &str) -> PathBuf {
        let part = |range| oid.get(range).unwrap_or("none");
        self.objects.join(part(0..2)).join(part(2..4)).join(oid)
    }
}

fn git_backend(root: &Path, rest: &str, request: &Request, protocol_v2: bool) -> io::Result<Reply> {
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", rest);
    command.env("QUERY_STRING", &request.query).env("REQUEST_METHOD", &request.method).env("REMOTE_ADDR", "127.0.0.1");
    command.env("CONTENT_TYPE", request.header("content-type").unwrap_or_default());
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    if let Some(encoding) = request.header("content-encoding") {
        command.env("HTTP_CONTENT_ENCODING", encoding);
    }
    if let Some(protocol) = request.header("git-protocol").filter(|_| protocol_v2) {
        command.env("GIT_PROTOCOL", protocol);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().unwrap();
    let body = request.body.clone();
    let feeder = thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output()?.stdout;
    let _ = feeder.join();
    let split = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let (mut status, mut headers) = (200, Vec::new());
    for line in String::from_utf8_lossy(&output[..split]).lines() {
        match line.split_once(": ") {
            Some(("Status", value)) => status = value[..3].parse().unwrap_or(500),
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => {}
        }
    }
    Ok(Reply::Status(status, headers, output.get(split + 4..).unwrap_or_default().to_vec()))
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = read_body(stream, &headers)?;
    Ok(Some(Request { method, path, query, headers, body }))
}

fn read_body(stream: &mut impl BufRead, headers: &HashMap<String, String>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    body.resize(length, 0);
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn send_file(out: &mut dyn Stream, request: &Request, file: &File) -> io::Result<()> {
    let size = file.body.len();
    let etag = file.headers.iter().find(|(name, _)| name == "ETag").map(|(_, tag)| tag.as_str());
    let asked: Option<usize> =
        request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let condition_holds = request.header("if-range").is_none_or(|condition| Some(condition) == etag);
    let from: usize = match (file.ranges, asked) {
        (Ranges::Ignored, _) | (_, None) => return send_body(out, 200, file, &file.body, &[]),
        (Ranges::Honoured, Some(_)) if !condition_holds => return send_body(out, 200, file, &file.body, &[]),
        (Ranges::Wrong, Some(asked)) => asked.saturating_sub(1),
        (_, Some(asked)) => asked,
    };
    if from >= size || file.ranges == Ranges::Refused {
        return send(out, 416, &[("Content-Range".to_owned(), format!("bytes */{size}"))], Some(0), b"");
    }
    let range = ("Content-Range".to_owned(), format!("bytes {from}-{}/{size}", size - 1));
    send_body(out, 206, file, &file.body[from..], &[range])
}

fn send_body(out: &mut dyn Stream, status: u16, file: &File, body: &[u8], more: &[(String, String)]) -> io::Result<()> {
    let headers: Vec<_> = file.headers.iter().chain(more).cloned().collect();
    let end = file.cut_after.or(file.stall_after.map(|(bytes, _)| bytes)).unwrap_or(body.len()).min(body.len());
    send(out, status, &headers, (!file.lengthless).then_some(body.len()), b"")?;
    let (piece, pause) = file.chunk.unwrap_or((body.len().max(1), Duration::ZERO));
    for piece in body[..end].chunks(piece) {
        out.write_all(piece)?;
        out.flush()?;
        thread::sleep(pause);
    }
    if let Some((_, pause)) = file.stall_after {
        thread::sleep(pause);
    }
    Ok(())
}

fn send(
    out: &mut dyn Stream,
    status: u16,
    headers: &[(String, String)],
    length: Option<usize>,
    body: &[u8],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\n");
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    out.write_all(head.as_bytes())?;
    out.write_all(body)?;
    out.flush()
}
