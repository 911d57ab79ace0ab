//! HTTP for `object_store`: makes its clients with kbuild's timeouts, and turns answers into kbuild's errors.
//!
//! `object_store` would put whole URLs (those of Azure may contain a signature) and bodies of answers (which may repeat
//! what was signed) into its messages. So every refusal becomes a [`Refused`] before `object_store` sees it, and
//! [`failure`] makes the message from that.

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

use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::net::http;
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::at;
use crate::source::url::redact;

/// How much of a server's message is shown, in characters.
const SHOWN: usize = 200;

/// The hint for a bucket that does not exist.
pub(crate) const NO_BUCKET: &str = "create the bucket, or correct its name: kbuild does not create buckets";

/// How long connecting to a machine's metadata service may take: it is either near or does not exist.
pub(crate) const METADATA_CONNECT: Duration = Duration::from_secs(1);

/// Makes the clients of `object_store`.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    policy: RetryPolicy,
}

impl Connector {
    /// Makes clients with these limits.
    pub(crate) fn new(policy: &RetryPolicy) -> Connector {
        Connector { policy: policy.clone() }
    }

    /// The options of `object_store` that the metadata service's client does not have.
    pub(crate) fn options(&self) -> ClientOptions {
        ClientOptions::new().with_allow_http(true).with_connect_timeout(self.policy.connect)
    }
}

/// A service, with its two ways to receive objects.
pub(crate) trait Bucket: object_store::ObjectStore + object_store::multipart::MultipartStore {}

impl<T: object_store::ObjectStore + object_store::multipart::MultipartStore> Bucket for T {}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let asked = |options: &ClientOptions| options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let metadata = asked(options) != asked(&self.options());
        let made = if metadata {
            let policy = RetryPolicy { connect: METADATA_CONNECT, ..self.policy.clone() };
            http::client(&policy, |builder| builder.no_proxy().timeout(METADATA_CONNECT * 5))
        } else {
            // One connection for each request: transfers are large, and a bucket accepts many connections.
            http::client(&self.policy, reqwest::ClientBuilder::http1_only)
        };
        let failed = |error: reqwest::Error| object_store::Error::Generic { store: "client", source: Box::new(error) };
        Ok(HttpClient::new(Wire { client: made.map_err(failed)?, idle: self.policy.idle }))
    }
}

/// A client that fails after silence in either direction, however long the whole transfer takes.
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
        let left = answer_limit(&request);
        let sent = Arc::new(AtomicU64::new(0));
        *request.body_mut() = Some(reqwest::Body::wrap(UploadBody { body, sent: Arc::clone(&sent) }));
        let response = self.watched(request, &sent).await?;
        if !response.status().is_success() && response.status() != StatusCode::NOT_MODIFIED {
            return Err(HttpError::new(HttpErrorKind::Unknown, Refused::read(response).await));
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = DownloadBody {
            body: response.into(),
            left,
            idle: self.idle,
            silence: Box::pin(tokio::time::sleep(self.idle)),
        };
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

/// How long an answer may be: objects have a limit of their own, all else is read into memory.
fn answer_limit(request: &reqwest::Request) -> u64 {
    let lists =
        request.url().query_pairs().any(|(name, value)| name == "list-type" || (name == "comp" && value == "list"));
    if lists || request.method() != reqwest::Method::GET { bounds::BUCKET_LIST } else { u64::MAX }
}

/// A service's answer is longer than any that it should give.
#[derive(Debug)]
struct AnswerTooLong;

impl fmt::Display for AnswerTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} bytes", bounds::BUCKET_LIST)
    }
}

impl StdError for AnswerTooLong {}

fn silent(idle: Duration) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, StalledTransfer(idle))
}

/// A request body that counts the bytes sent.
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

/// An answer's body; silence is an error.
struct DownloadBody {
    body: reqwest::Body,
    /// The most bytes that may still come.
    left: u64,
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
                let length = match &frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, |bytes| bytes.len() as u64),
                    _ => 0,
                };
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Unknown, AnswerTooLong)))),
                }
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

/// A refusal: the status, and the server's code for it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub status: StatusCode,
    /// `Retry-After`.
    after: Option<Duration>,
    /// `NoSuchBucket`, `SignatureDoesNotMatch`; empty if the server gives none.
    pub code: String,
    /// The server's message for people.
    message: String,
}

impl Refused {
    async fn read(response: reqwest::Response) -> Refused {
        let (status, after) = (response.status(), http::retry_after(response.headers()));
        let header = response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(plain);
        let mut response = response;
        let mut body = Vec::new();
        while body.len() < bounds::REFUSAL as usize {
            // If the answer cannot be read, there is no message.
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

/// A server's message, safe for a terminal.
fn plain(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    redact(shown.trim().trim_end_matches('.'))
}

/// No bytes were received or sent for this long.
#[derive(Debug)]
struct StalledTransfer(Duration);

impl fmt::Display for StalledTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no data for {} s", self.0.as_secs())
    }
}

impl StdError for StalledTransfer {}

/// The request's address is not a URL. It may contain a secret, so it is not shown.
#[derive(Debug)]
struct NoUrl(url::ParseError);

impl fmt::Display for NoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service's address is not valid: {}", self.0)
    }
}

impl StdError for NoUrl {}

/// The server's refusal, if that is the cause.
pub(crate) fn refused(error: &object_store::Error) -> Option<&Refused> {
    find(error)
}

/// The error of a failed request for this place, with its class.
pub(crate) fn failure(place: &impl fmt::Display, error: &object_store::Error) -> Failure {
    if let Some(refused) = find::<Refused>(error) {
        return refusal(place, refused);
    }
    if let Some(error) = find::<reqwest::Error>(error) {
        return http::failure(place, error);
    }
    if let Some(long) = find::<AnswerTooLong>(error) {
        return Failure::permanent(at(place, long.to_string()));
    }
    if let Some(silent) = find::<StalledTransfer>(error) {
        return Failure::transient(at(place, silent.to_string()));
    }
    match error {
        object_store::Error::NotFound { .. } => Failure::permanent(crate::net::transfer::absent(place)),
        // For unusable credentials and faulty requests: the innermost message, which contains no URL.
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
            Failure::permanent(told.help("`kbuild explain remotes` says where kbuild looks for credentials"))
        }
        _ if refused.code.ends_with("Redirect") || refused.message.contains("region") => {
            Failure::permanent(told.help("the bucket is in another region: set AWS_REGION to it"))
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

/// The error for a client that could not be made, or invalid credentials: kind `Input`.
pub(crate) fn unusable(place: &impl fmt::Display, error: &object_store::Error) -> Error {
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

    #[tokio::test]
    async fn a_listing_without_an_end_is_refused() {
        let request = |method: reqwest::Method, url: &str| reqwest::Request::new(method, url.parse().unwrap());
        let list = request(reqwest::Method::GET, "https://h/bucket?list-type=2&prefix=blobs");
        assert_eq!(answer_limit(&list), bounds::BUCKET_LIST);
        assert_eq!(answer_limit(&request(reqwest::Method::POST, "https://h/bucket/x?uploads")), bounds::BUCKET_LIST);
        assert_eq!(answer_limit(&request(reqwest::Method::GET, "https://h/bucket/x?sig=list")), u64::MAX);
        let idle = Duration::from_secs(60);
        let mut body =
            DownloadBody { body: "12345".into(), left: 4, idle, silence: Box::pin(tokio::time::sleep(idle)) };
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let error = object_store::Error::Generic { store: "S3", source: Box::new(frame.unwrap().unwrap_err()) };
        let failure = failure(&"s3://team/x", &error);
        assert_eq!(failure.class, Class::Permanent);
        assert_eq!(failure.error.causes(), ["the answer is longer than 16777216 bytes"]);
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
            (429, "", Class::of_status(429, None), Kind::Network),
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
