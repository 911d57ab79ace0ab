//! One transfer over FTP, into a partial download: passive mode, anonymous unless `.netrc` knows the host, TLS for
//! `ftps:`.
//!
//! As with wget, which BitBake would use, `ftps:` begins without encryption and is upgraded (RFC 4217). Data never goes
//! to another host than the one that was asked. FTP has no way to say that the rest of a file belongs to the part that
//! is there, so only a known hash allows to resume (`REST`, RFC 3659, 5).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt as _;
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use suppaftp::types::{FileType, Response};
use suppaftp::{FtpError, FtpResult, Mode, Status};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::retry::{Failure, RetryPolicy};
use super::transfer::{BodyStream, Delivery, Download, Expected, at, partial};
use crate::error::{Error, Kind, Result};
use crate::progress::Task;
use crate::source::SourceUrl;
use crate::source::name::percent_decode;
use crate::store::PartialDownload;

/// The size of one read, in bytes.
const CHUNK: usize = 64 << 10;

/// The port of `ftp:`, and of `ftps:`, which begins without encryption.
const PORT: u16 = 21;

/// How long a server may take to say goodbye after everything has come.
const GOODBYE: Duration = Duration::from_secs(1);

/// The longest answer of a server that a message shows, in characters.
const SHOWN: usize = 200;

/// The FTP client of a fetcher.
pub struct Ftp {
    policy: RetryPolicy,
    /// Made at its first use, as only `ftps:` needs it.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Ftp {
    /// A client; nothing is opened yet.
    pub fn new(policy: RetryPolicy) -> Ftp {
        Ftp { policy, tls: OnceLock::new() }
    }

    /// A client that trusts as this configuration says.
    #[cfg(test)]
    pub fn for_tests(policy: RetryPolicy, tls: ClientConfig) -> Ftp {
        Ftp { policy, tls: OnceLock::from(Ok(Arc::new(tls))) }
    }

    /// Fetches the bytes at a URL into a partial download, as [`super::http::Http::transfer`] does.
    ///
    /// # Errors
    /// Any failure before the file was complete, with its class. The caller compares hashes.
    pub async fn transfer(
        &self,
        url: &SourceUrl,
        login: Option<(&str, &str)>,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let path = path(url)?;
        let mut server = self.connect(url).await?;
        self.log_in(url, &mut server, login).await?;
        // Not every server knows SIZE; where the file is missing, RETR says so.
        let total = self.answer(url, server.size(&path)).await.ok().map(|size| size as u64);
        let mut from = resume_at(partial(slot)?, expected, total)?;
        let data = match self.retrieve(url, &mut server, &path, from).await {
            // The server cannot begin in the middle.
            Err(_) if from > 0 => {
                from = 0;
                self.retrieve(url, &mut server, &path, from).await?
            }
            opened => opened?,
        };
        let inflow =
            Download { url: url.as_url(), end: url.as_url(), expected, task, policy: &self.policy, from, total };
        inflow.must_fit()?;
        let incoming = partial(slot)?;
        if from == 0 && incoming.size() > 0 {
            incoming.restart()?;
        }
        incoming.set_validator(None)?;
        let mut body = FtpBody { url, data, policy: &self.policy };
        let head = inflow.take(slot, &mut body).await?;
        // Without SIZE, only this answer says whether the file is complete.
        self.answer(url, body.data.finish()).await?;
        let _ = timeout(GOODBYE, server.quit()).await;
        Ok(Delivery { url: url.as_url().clone(), head, resumed: from > 0 })
    }

    /// Whether the file is there, and its size in bytes if the server says so. Of its bytes none is read.
    ///
    /// # Errors
    /// No answer, or one that says that the file is not there (kind `Missing`), with its class.
    pub async fn look(&self, url: &SourceUrl, login: Option<(&str, &str)>) -> Result<Option<u64>, Failure> {
        let path = path(url)?;
        let mut server = self.connect(url).await?;
        self.log_in(url, &mut server, login).await?;
        if let Ok(size) = self.answer(url, server.size(&path)).await {
            let _ = timeout(GOODBYE, server.quit()).await;
            return Ok(Some(size as u64));
        }
        // Not every server knows SIZE. The transfer is not read: it ends with the connection.
        drop(self.retrieve(url, &mut server, &path, 0).await?);
        Ok(None)
    }

    async fn connect(&self, url: &SourceUrl) -> Result<AsyncRustlsFtpStream, Failure> {
        let host = url.as_url().host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.as_url().port().unwrap_or(PORT);
        let unreachable = |why: String| Failure::unreachable(at(url, why));
        let socket = match timeout(self.policy.connect, TcpStream::connect((host, port))).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(unreachable(format!("could not connect: {error}"))),
            Err(_) => return Err(unreachable("the connection was not made in time".to_owned())),
        };
        let is_ipv6 = socket.peer_addr().is_ok_and(|address| address.is_ipv6());
        let mut server = self.answer(url, AsyncRustlsFtpStream::connect_with_stream(socket)).await?;
        if url.scheme() == "ftps" {
            let connector = tokio_rustls::TlsConnector::from(self.tls()?);
            server = self.answer(url, server.into_secure(AsyncRustlsConnector::from(connector), host)).await?;
        }
        // PASV knows only IPv4, and EPSV not every server. Neither may name another host.
        server.set_mode(if is_ipv6 { Mode::ExtendedPassive } else { Mode::Passive });
        server.set_passive_nat_workaround(true);
        Ok(server)
    }

    async fn log_in(
        &self,
        url: &SourceUrl,
        server: &mut AsyncRustlsFtpStream,
        login: Option<(&str, &str)>,
    ) -> Result<(), Failure> {
        let user = percent_decode(url.as_url().username());
        let (user, password) = match login {
            Some(known) => known,
            None if user.is_empty() => ("anonymous", "anonymous@"),
            None => (user.as_str(), ""),
        };
        if [user, password].iter().any(|word| word.contains(char::is_control)) {
            return Err(Failure::permanent(at(url, "the login holds control characters")));
        }
        self.answer(url, server.login(user, password)).await?;
        self.answer(url, server.transfer_type(FileType::Binary)).await
    }

    async fn retrieve(
        &self,
        url: &SourceUrl,
        server: &mut AsyncRustlsFtpStream,
        path: &str,
        from: u64,
    ) -> Result<TransferStream<AsyncRustlsStream>, Failure> {
        let from = usize::try_from(from).map_err(|error| Error::bug("a file larger than memory").because(error))?;
        self.answer(url, server.resume_transfer(from)).await?;
        self.answer(url, server.retr_as_stream(path)).await
    }

    /// The answer of a server, if it comes in time.
    async fn answer<T>(&self, url: &SourceUrl, said: impl Future<Output = FtpResult<T>>) -> Result<T, Failure> {
        match timeout(self.policy.idle, said).await {
            Ok(answer) => answer.map_err(|error| failed(url, &error)),
            Err(_) => Err(silence(url, &self.policy)),
        }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        let made = self.tls.get_or_init(|| {
            // As for HTTP: a second fetcher finds it installed.
            let _ = rustls::crypto::ring::default_provider().install_default();
            ClientConfig::with_platform_verifier().map(Arc::new).map_err(|error| error.to_string())
        });
        let failed =
            |why: &String| Error::new(Kind::Network, "the TLS client could not be set up").because(why.clone());
        made.clone().map_err(|why| Failure::permanent(failed(&why)))
    }
}

/// The path of a file, from the directory that the login leads to (RFC 1738, 3.2.2).
fn path(url: &SourceUrl) -> Result<String, Failure> {
    let path = percent_decode(url.as_url().path().trim_start_matches('/'));
    if path.is_empty() || path.contains(char::is_control) {
        return Err(Failure::permanent(at(url, "it names no file")));
    }
    Ok(path)
}

/// The byte from which a partial download goes on. A partial download that cannot be used is removed.
fn resume_at(incoming: &mut PartialDownload, expected: &Expected, total: Option<u64>) -> Result<u64> {
    let from = incoming.size();
    let too_long = expected.size.or(total).is_some_and(|size| from >= size);
    if from > 0 && (too_long || !expected.is_known()) {
        incoming.restart()?;
    }
    Ok(incoming.size())
}

/// A file on its way over a data connection.
struct FtpBody<'a> {
    url: &'a SourceUrl,
    data: TransferStream<AsyncRustlsStream>,
    policy: &'a RetryPolicy,
}

impl BodyStream for FtpBody<'_> {
    type Chunk = Vec<u8>;

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut chunk = vec![0; CHUNK];
        let read = timeout(self.policy.idle, self.data.read(&mut chunk)).await;
        let count = read
            .map_err(|_| silence(self.url, self.policy))?
            .map_err(|error| Failure::transient(at(self.url, error.to_string())))?;
        chunk.truncate(count);
        Ok((count > 0).then_some(chunk))
    }
}

fn silence(url: &SourceUrl, policy: &RetryPolicy) -> Failure {
    Failure::transient(at(url, format!("nothing came for {} s", policy.idle.as_secs())))
}

/// The meaning of an answer (RFC 959, 4.2.1): 4yz is transient, 5yz permanent.
fn failed(url: &SourceUrl, error: &FtpError) -> Failure {
    match error {
        FtpError::ConnectionError(error) => Failure::transient(at(url, error.to_string())),
        FtpError::SecureError(why) => Failure::permanent(at(url, why.clone())),
        FtpError::UnexpectedResponse(response) => {
            let told = at(url, format!("the server answered {}", shown(response)));
            match response.status.code() {
                400..500 => Failure::transient(told),
                _ if response.status == Status::FileUnavailable => Failure::permanent(told.of_kind(Kind::Missing)),
                _ if response.status == Status::NotLoggedIn => {
                    let host = url.as_url().host_str().unwrap_or_default();
                    Failure::permanent(told.help(format!("if {host} wants a login, put it in ~/.netrc")))
                }
                _ => Failure::permanent(told),
            }
        }
        other => Failure::doubtful(at(url, other.to_string())),
    }
}

/// An answer in one line, without control characters.
fn shown(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let words: Vec<&str> = text.split_whitespace().collect();
    let code = response.status.code().to_string();
    let text = words.join(" ");
    let text = if text.starts_with(&code) { text } else { format!("{code} {text}") };
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
