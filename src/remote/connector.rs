//! HTTP for `object_store`: our one way of making a client, with our timeouts, and answers as our own errors.
//!
//! `object_store` would put whole URLs (Azure's may hold a signature) and bodies of answers (which may repeat what was
//! signed) into its messages; so every refusal is turned into a [`Refused`] before it sees it, and [`failure`] makes of that
//! what is shown.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use reqwest::StatusCode;
use tokio::time::{Instant, Sleep};

use crate::error::{Error, Kind, Result};
use crate::net::http;
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::at;
use crate::source::url::redact;

/// The longest answer to a failed request that is read, in bytes.
const ANSWER: usize = 64 << 10;

/// How much of a server's own words is shown.
const SHOWN: usize = 200;

/// What helps where there is no bucket.
pub const NO_BUCKET: &str = "make the bucket first, or mend its name: kbuild makes none";

/// How long a machine's metadata service, which is next door or not there, may take to be reached.
pub const METADATA_CONNECT: Duration = Duration::from_secs(1);

/// Makes the clients of `object_store`.
#[derive(Debug, Clone)]
pub struct Connector {
    policy: RetryPolicy,
}

impl Connector {
    /// Clients as patient as this.
    pub fn new(policy: &RetryPolicy) -> Connector {
        Connector { policy: policy.clone() }
    }

    /// What `object_store` has to be told, so that the metadata service can be told from the rest.
    pub fn options(&self) -> ClientOptions {
        ClientOptions::new().with_allow_http(true).with_connect_timeout(self.policy.connect)
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let asked = |options: &ClientOptions| options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let metadata = asked(options) != asked(&self.options());
        let made = if metadata {
            let policy = RetryPolicy { connect: METADATA_CONNECT, ..self.policy.clone() };
            http::client(&policy, |builder| builder.no_proxy().timeout(METADATA_CONNECT * 5))
        } else {
            // One connection each: what travels is large, and a bucket takes many at once.
            http::client(&self.policy, reqwest::ClientBuilder::http1_only)
        };
        let failed = |error: reqwest::Error| object_store::Error::Generic { store: "client", source: Box::new(error) };
        Ok(HttpClient::new(Wire { client: made.map_err(failed)?, idle: self.policy.idle }))
    }
}

/// A client that gives up on silence in either direction, however long the whole takes.
#[derive(Debug)]
struct Wire {
    client: reqwest::Client,
    idle: Duration,
}

impl HttpService for Wire {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.ask(request))
    }
}

impl Wire {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, NoUrl(error)))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let sent = Arc::new(AtomicU64::new(0));
        *request.body_mut() = Some(reqwest::Body::wrap(UploadBody { body, sent: Arc::clone(&sent) }));
        let response = self.watched(request, &sent).await?;
        if !response.status().is_success() && response.status() != StatusCode::NOT_MODIFIED {
            return Err(HttpError::new(HttpErrorKind::Unknown, Refused::read(response).await));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body =
            DownloadBody { body: response.into(), idle: self.idle, silence: Box::pin(tokio::time::sleep(self.idle)) };
        let mut answer = HttpResponse::new(HttpResponseBody::new(body));
        (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
        Ok(answer)
    }

    /// Waits for the answer as long as anything is still being sent.
    async fn watched(&self, request: reqwest::Request, sent: &AtomicU64) -> Result<reqwest::Response, HttpError> {
        let mut answer = std::pin::pin!(self.client.execute(request));
        loop {
            let before = sent.load(Ordering::Relaxed);
            match tokio::time::timeout(self.idle, &mut answer).await {
                Ok(answer) => {
                    return answer.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error.without_url()));
                }
                Err(_) if sent.load(Ordering::Relaxed) == before => return Err(silent(self.idle)),
                Err(_) => {}
            }
        }
    }
}

fn silent(idle: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, StalledTransfer(idle))
}

/// What is sent; counts what has gone.
struct UploadBody {
    body: HttpRequestBody,
    sent: Arc<AtomicU64>,
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.sent.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What comes; silence is an error.
struct DownloadBody {
    body: reqwest::Body,
    idle: Duration,
    silence: Pin<Box<Sleep>>,
}

impl Body for DownloadBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let idle = self.idle;
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.silence.as_mut().reset(Instant::now() + idle);
                Poll::Ready(
                    frame.map(|frame| {
                        frame.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error.without_url()))
                    }),
                )
            }
            Poll::Pending => self.silence.as_mut().poll(context).map(|()| Some(Err(silent(idle)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A refusal: the status, and the server's word for it.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// `Retry-After`.
    after: Option<Duration>,
    /// `NoSuchBucket`, `SignatureDoesNotMatch`; empty where the server gives none.
    pub code: String,
    /// The same for people.
    message: String,
}

impl Refused {
    async fn read(response: reqwest::Response) -> Refused {
        let (status, after) = (response.status(), http::retry_after(response.headers()));
        let header = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(plain);
        let mut response = response;
        let mut body = Vec::new();
        while body.len() < ANSWER {
            // What cannot be read is not said.
            let Ok(Some(chunk)) = response.chunk().await else { break };
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&body);
        let code = header.or_else(|| element(&text, "Code")).unwrap_or_default();
        Refused { status, after, code, message: element(&text, "Message").unwrap_or_default() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        for word in [&self.code, &self.message].into_iter().filter(|word| !word.is_empty()) {
            write!(f, ": {word}")?;
        }
        Ok(())
    }
}

impl StdError for Refused {}

/// The text of an element of a server's XML, as one line.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(plain(text.lines().next().unwrap_or_default()))
}

/// A server's words, fit for a terminal.
fn plain(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    redact(shown.trim().trim_end_matches('.'))
}

/// Nothing came, or went, for so long.
#[derive(Debug)]
struct StalledTransfer(Duration);

impl fmt::Display for StalledTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing came for {} s", self.0.as_secs())
    }
}

impl StdError for StalledTransfer {}

/// What was to be asked is no URL; it may hold a secret and is not shown.
#[derive(Debug)]
struct NoUrl(url::ParseError);

impl fmt::Display for NoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service has an impossible address: {}", self.0)
    }
}

impl StdError for NoUrl {}

/// What the server refused, if that is what failed.
pub fn refused(error: &object_store::Error) -> Option<&Refused> {
    find(error)
}

/// A failure of a request about this place, with its class.
pub fn failure(place: &impl fmt::Display, error: &object_store::Error) -> Failure {
    if let Some(refused) = find::<Refused>(error) {
        return refusal(place, refused);
    }
    if let Some(error) = find::<reqwest::Error>(error) {
        return http::failure(place, error);
    }
    if let Some(silent) = find::<StalledTransfer>(error) {
        return Failure::transient(at(place, silent.to_string()));
    }
    match error {
        object_store::Error::NotFound { .. } => Failure::permanent(crate::net::transfer::absent(place)),
        // Of credentials that cannot be used, and of what kbuild asked wrongly: the innermost word, which names no URL.
        _ => Failure::permanent(at(place, redact(&innermost(error)))),
    }
}

fn refusal(place: &impl fmt::Display, refused: &Refused) -> Failure {
    let told = at(place, refused.to_string());
    if let class @ Class::Transient { .. } = Class::of_status(refused.status.as_u16(), refused.after) {
        return Failure { class, error: told };
    }
    match refused.status {
        StatusCode::NOT_FOUND if refused.code.contains("Bucket") || refused.code.contains("Container") => {
            Failure::permanent(told.help(NO_BUCKET))
        }
        StatusCode::NOT_FOUND => Failure::permanent(told.of_kind(Kind::Missing)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Failure::permanent(told.help("see docs/reference/remotes.md for where credentials are looked for"))
        }
        _ if refused.code.ends_with("Redirect") || refused.message.contains("region") => {
            Failure::permanent(told.help("the bucket is in another region: let AWS_REGION name it"))
        }
        _ => Failure::permanent(told),
    }
}

fn innermost(error: &object_store::Error) -> String {
    let mut inner: &dyn StdError = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// The first error of a kind in a chain of causes.
fn find<T: StdError + 'static>(error: &object_store::Error) -> Option<&T> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A client that could not be made, or credentials that are none: kind `Input`.
pub fn unusable(place: &impl fmt::Display, error: &object_store::Error) -> Error {
    Error::input(format!("{place} cannot be used")).because(redact(&innermost(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> object_store::Error {
        let code = element(body, "Code").unwrap_or_default();
        let message = element(body, "Message").unwrap_or_default();
        let refused = Refused { status: StatusCode::from_u16(status).unwrap(), after: None, code, message };
        object_store::Error::Generic { store: "S3", source: Box::new(HttpError::new(HttpErrorKind::Unknown, refused)) }
    }

    #[test]
    fn a_refusal_is_told_without_what_was_signed() {
        let body = "<?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.\nCheck it</Message>\
                    <AWSAccessKeyId>AKIASECRET</AWSAccessKeyId><StringToSign>AWS4 AKIASECRET</StringToSign></Error>";
        let failure = failure(&"s3://team/x", &answered(403, body));
        assert_eq!(failure.class, Class::Permanent);
        let causes = failure.error.causes().join(" ");
        assert_eq!(causes, "the server answered 403 Forbidden: SignatureDoesNotMatch: The signature does not match");
    }

    #[test]
    fn the_status_decides_what_is_tried_again() {
        for (status, code, class, kind) in [
            (503, "SlowDown", Class::Transient { after: None }, Kind::Network),
            (429, "", Class::Transient { after: None }, Kind::Network),
            (404, "NoSuchKey", Class::Permanent, Kind::Missing),
            (404, "NoSuchBucket", Class::Permanent, Kind::Network),
            (301, "PermanentRedirect", Class::Permanent, Kind::Network),
            (400, "", Class::Permanent, Kind::Network),
        ] {
            let failure = failure(&"s3://team/x", &answered(status, &format!("<Code>{code}</Code>")));
            assert_eq!((failure.class, failure.error.kind()), (class, kind), "{status} {code}");
        }
    }
}
