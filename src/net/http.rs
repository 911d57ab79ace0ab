//! One transfer over HTTP, into a partial download, resumed where that is safe.
//!
//! Resuming is safe in two cases (RFC 9110, 13.1.5 and 14). With a strong validator of the same URL, `If-Range` lets
//! the server decide. With a known hash, the rest may come from any mirror, because the hash decides. Everything else
//! starts from the first byte.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};

use super::netrc::Netrc;
use super::retry::{Class, Failure, RetryPolicy};
use super::transfer::{BodyStream, Delivery, Download, Expected, at, partial};
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::progress::Task;
use crate::source::SourceUrl;
use crate::source::url::redact;
use crate::store::PartialDownload;

/// Name and version, and the project's page if the package names one. Some servers refuse clients without a name:
/// crates.io is one of them.
fn user_agent() -> String {
    let name = concat!("kbuild/", env!("CARGO_PKG_VERSION"));
    match env!("CARGO_PKG_REPOSITORY") {
        "" => name.to_owned(),
        repository => format!("{name} (+{repository})"),
    }
}

/// The HTTP client of a fetcher.
pub struct Http {
    /// Made at its first use: a machine without CA certificates can still use folders.
    client: OnceLock<Result<Client, String>>,
    netrc: OnceLock<Netrc>,
    policy: RetryPolicy,
}

/// An address that a server gave for one download, with the headers that it wants to see. Neither `Debug` nor `Display`: both may
/// hold credentials.
pub struct GivenAddress {
    pub url: Url,
    pub headers: HeaderMap,
}

/// The body of something at a URL, while it is read.
pub struct OpenedUrl {
    /// Its first byte's place in the whole.
    pub from: u64,
    /// What names exactly these bytes, where the server gives it.
    pub validator: Option<String>,
    /// How many bytes are to come, where the server says it.
    pub rest: Option<u64>,
    url: SourceUrl,
    response: Response,
}

impl BodyStream for OpenedUrl {
    type Chunk = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|error| failed(&self.url, error))
    }
}

/// The point from which a transfer goes on.
struct Resume {
    from: u64,
    /// The validator the server gave these bytes, if it was this URL's server.
    if_range: Option<String>,
}

/// How a response fits the request.
enum ResponsePlan {
    /// The body begins at this byte, and the file ends before that one, if the server says so.
    Body { from: u64, total: Option<u64> },
    /// The range cannot be used: ask for the whole file.
    Whole,
}

impl Http {
    /// A client; nothing is opened yet.
    pub fn new(policy: RetryPolicy) -> Http {
        Http { client: OnceLock::new(), netrc: OnceLock::new(), policy }
    }

    /// A client with this `.netrc` rather than the user's, and without the system's proxies.
    #[cfg(test)]
    pub fn for_tests(policy: RetryPolicy, netrc: Netrc) -> Http {
        let http = Http::new(policy);
        assert!(http.netrc.set(netrc).is_ok());
        let idle = http.policy.idle;
        let client = client(&http.policy, |builder| builder.no_proxy().read_timeout(idle));
        let client = client.map_err(|error| describe(&error));
        assert!(http.client.set(client).is_ok());
        http
    }

    /// Fetches the bytes at a URL into a partial download. The partial is taken out of `slot` and put back, with all
    /// bytes that came, also on failure; it is only lost when the store itself fails.
    ///
    /// # Errors
    /// Any failure before the body was complete, with its class. The caller compares hashes.
    pub async fn transfer(
        &self,
        url: &SourceUrl,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let address = GivenAddress { url: url.as_url().clone(), headers: HeaderMap::new() };
        self.transfer_from(url, &address, slot, expected, task).await
    }

    /// As [`Http::transfer`], from an address that stands for the URL, which messages name.
    ///
    /// # Errors
    /// As [`Http::transfer`].
    pub async fn transfer_from(
        &self,
        url: &SourceUrl,
        address: &GivenAddress,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let mut resume = self.resume(url, partial(slot)?, expected)?;
        loop {
            let request = self.request(&address.url, resume.as_ref())?.headers(address.headers.clone());
            let response = request.send().await.map_err(|error| failed(url, error))?;
            check_status(url, &response, resume.is_some())?;
            match plan(url, &response, resume.as_ref()) {
                ResponsePlan::Whole => {
                    partial(slot)?.restart()?;
                    resume = None;
                }
                ResponsePlan::Body { from, total } => {
                    return self.body(url, slot, expected, task, response, from, total).await;
                }
            }
        }
    }

    /// Whether a server has something at a URL. A 403 says that it has not: buckets that nobody may list answer so for what
    /// is not there.
    ///
    /// # Errors
    /// No answer, or another refusal.
    pub async fn has(&self, url: &SourceUrl) -> Result<bool, Failure> {
        let request = self.request_as(Method::HEAD, url.as_url(), None)?;
        let response = request.send().await.map_err(|error| failed(url, error))?;
        match check_status(url, &response, false) {
            Ok(()) => Ok(true),
            Err(failure) if failure.error.kind() == Kind::Missing => Ok(false),
            Err(Failure { class: Class::Permanent, .. }) if response.status() == StatusCode::FORBIDDEN => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Opens what is at a URL for reading, from a byte on if what came before, with this validator, is still a part of it;
    /// else from the first byte.
    ///
    /// # Errors
    /// As [`Http::transfer`].
    pub async fn open(&self, url: &SourceUrl, from: u64, validator: Option<&str>) -> Result<OpenedUrl, Failure> {
        let resume =
            validator.filter(|_| from > 0).map(|validator| Resume { from, if_range: Some(validator.to_owned()) });
        let response = self.request(url.as_url(), resume.as_ref())?.send().await.map_err(|error| failed(url, error))?;
        check_status(url, &response, resume.is_some())?;
        let (from, response) = match plan(url, &response, resume.as_ref()) {
            ResponsePlan::Body { from, .. } => (from, response),
            ResponsePlan::Whole => {
                let response = self.request(url.as_url(), None)?.send().await.map_err(|error| failed(url, error))?;
                check_status(url, &response, false)?;
                (0, response)
            }
        };
        let (validator, rest) = (strong_validator(response.headers()), response.content_length());
        Ok(OpenedUrl { from, validator, rest, url: url.clone(), response })
    }

    /// A small text (a record of another store), whole, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Http::transfer`]; a longer body is a permanent failure.
    pub async fn text(&self, url: &SourceUrl, limit: usize) -> Result<String, Failure> {
        self.answer(url, self.request(url.as_url(), None)?, limit).await
    }

    /// The answer to an empty POST, as [`Http::text`].
    ///
    /// # Errors
    /// As [`Http::text`].
    pub async fn post(&self, url: &SourceUrl, limit: usize) -> Result<String, Failure> {
        self.answer(url, self.with_login(url.as_url(), self.client()?.post(url.as_url().clone())), limit).await
    }

    async fn answer(&self, url: &SourceUrl, request: RequestBuilder, limit: usize) -> Result<String, Failure> {
        let response = request.send().await.map_err(|error| failed(url, error))?;
        check_status(url, &response, false)?;
        let body = read_whole(url, response, limit).await?;
        String::from_utf8(body).map_err(|_| Failure::permanent(at(url, "what came is no text")))
    }

    /// The first bytes of what is at a URL, at most `most` and a piece of the body more; the rest is not fetched.
    ///
    /// # Errors
    /// As [`Http::transfer`].
    pub async fn beginning(&self, url: &SourceUrl, most: usize) -> Result<Vec<u8>, Failure> {
        let mut response = self.request(url.as_url(), None)?.send().await.map_err(|error| failed(url, error))?;
        check_status(url, &response, false)?;
        let mut body = Vec::new();
        while body.len() < most
            && let Some(chunk) = response.chunk().await.map_err(|error| failed(url, error))?
        {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn resume(&self, url: &SourceUrl, incoming: &mut PartialDownload, expected: &Expected) -> Result<Option<Resume>> {
        let from = incoming.size();
        if from == 0 {
            return Ok(None);
        }
        let own = incoming.validator().and_then(|validator| validator.strip_prefix(&tag(url))).map(str::to_owned);
        // A partial that is as long as the file, or longer, and is not the file, cannot be used.
        let too_long = expected.size.is_some_and(|size| from >= size);
        if too_long || (own.is_none() && !expected.is_known()) {
            incoming.restart()?;
            return Ok(None);
        }
        Ok(Some(Resume { from, if_range: own }))
    }

    fn request(&self, url: &Url, resume: Option<&Resume>) -> Result<RequestBuilder> {
        self.request_as(Method::GET, url, resume)
    }

    fn request_as(&self, method: Method, url: &Url, resume: Option<&Resume>) -> Result<RequestBuilder> {
        let mut request = self.with_login(url, self.client()?.request(method, url.clone()));
        if let Some(resume) = resume {
            request = request.header(header::RANGE, format!("bytes={}-", resume.from));
            if let Some(validator) = resume.if_range.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        Ok(request)
    }

    /// How long and how often it waits.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// A request with what `.netrc` has for the host.
    pub fn with_login(&self, url: &Url, request: RequestBuilder) -> RequestBuilder {
        match url.host_str().and_then(|host| self.netrc().for_host(host)) {
            // reqwest drops this header when a redirect leads to another host, port or scheme.
            Some((login, password)) => request.basic_auth(login, Some(password)),
            None => request,
        }
    }

    /// The client itself, for protocols that have more to say than GET.
    ///
    /// # Errors
    /// No CA certificates: kind `Network`.
    pub fn client(&self) -> Result<&Client> {
        let idle = self.policy.idle;
        let made = self
            .client
            .get_or_init(|| client(&self.policy, |builder| builder.read_timeout(idle)).map_err(|e| describe(&e)));
        made.as_ref().map_err(|why| no_client(why))
    }

    /// The logins of the user's `.netrc`.
    pub fn netrc(&self) -> &Netrc {
        self.netrc.get_or_init(|| {
            Netrc::read().unwrap_or_else(|error| {
                tracing::warn!("{error}: {}", error.causes().join(": "));
                Netrc::default()
            })
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one step of transfer(), split off for its length")]
    async fn body(
        &self,
        url: &SourceUrl,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
        response: Response,
        from: u64,
        total: Option<u64>,
    ) -> Result<Delivery, Failure> {
        let end = response.url().clone();
        let strong = strong_validator(response.headers());
        let inflow = Download { url: url.as_url(), end: &end, expected, task, policy: &self.policy, from, total };
        inflow.must_fit()?;
        let incoming = partial(slot)?;
        if from == 0 && incoming.size() > 0 {
            incoming.restart()?;
        }
        // The bytes come from two places: only the hash can show that they belong together.
        let mixed = from > 0 && !incoming.validator().is_some_and(|known| known.starts_with(&tag(url)));
        let validator = strong.filter(|_| !mixed).map(|validator| format!("{}{validator}", tag(url)));
        incoming.set_validator(validator.as_deref())?;
        let head = inflow.take(slot, &mut HttpBody { url, response }).await?;
        Ok(Delivery { url: end, head, resumed: from > 0 })
    }
}

/// The body of a response.
struct HttpBody<'a> {
    url: &'a SourceUrl,
    response: Response,
}

impl BodyStream for HttpBody<'_> {
    type Chunk = Bytes;

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.response.chunk().await.map_err(|error| failed(self.url, error))
    }
}

/// Makes every HTTP client of kbuild: user agent, redirects, the system's proxies and CA certificates.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client(
    policy: &RetryPolicy,
    adjust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> reqwest::Result<Client> {
    // reqwest is built without a provider of its own; the second fetcher of a process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    // No transparent decompression: the hash is that of the file as it is stored on the server.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    let builder = Client::builder()
        .user_agent(user_agent())
        .default_headers(headers)
        .referer(false)
        .redirect(redirect::Policy::custom(follow))
        .connect_timeout(policy.connect);
    adjust(builder).build()
}

/// The error of a client that could not be made.
pub fn no_client(why: &str) -> Error {
    Error::new(Kind::Network, "the TLS client could not be set up")
        .because(why.to_owned())
        .help("install CA certificates (package ca-certificates), or let SSL_CERT_FILE or SSL_CERT_DIR name them")
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from = attempt.previous().last().unwrap_or(attempt.url());
    match may_follow(from, attempt.url(), attempt.previous().len()) {
        Ok(()) => attempt.follow(),
        Err(why) => attempt.error(why),
    }
}

/// Whether a redirect is followed that is this one in a row; why not.
///
/// # Errors
/// It leads out of HTTP, or from https to http, or there were too many.
pub fn may_follow(from: &Url, to: &Url, redirects: usize) -> Result<(), String> {
    let next = to.scheme();
    if redirects as u64 > bounds::REDIRECTS {
        Err(format!("more than {} redirects", bounds::REDIRECTS))
    } else if next != "http" && next != "https" {
        Err(format!("a redirect to `{next}:` is not followed"))
    } else if from.scheme() == "https" && next == "http" {
        Err("a redirect from https to http is not followed".to_owned())
    } else {
        Ok(())
    }
}

/// A validator with its URL: it is valid only for the URL whose server gave it.
fn tag(url: &SourceUrl) -> String {
    format!("{} ", &blake3::hash(url.as_str().as_bytes()).to_hex()[..16])
}

/// A strong validator: a strong `ETag`, else a `Last-Modified` that is a minute older than the response, so
/// that a second change within its second cannot hide (RFC 9110, 8.8.2.2).
fn strong_validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(tag) = text(header::ETAG) {
        return (tag.starts_with('"') && tag.len() > 2).then(|| tag.to_owned());
    }
    let modified = text(header::LAST_MODIFIED)?;
    let date = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    let age = date.duration_since(httpdate::parse_http_date(modified).ok()?).ok()?;
    (age >= Duration::from_secs(60)).then(|| modified.to_owned())
}

/// A body of at most this many bytes.
///
/// # Errors
/// A longer body is a permanent failure; else those of [`Http::transfer`].
pub async fn read_whole(url: &SourceUrl, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err(Failure::permanent(at(url, format!("the answer is longer than {limit} bytes"))));
        }
    }
    Ok(body)
}

/// Whether a response is an answer to what was asked, `ranged` if that was a part of it; the classes follow RFC 9110, 15.
///
/// # Errors
/// It is none, with its class; what is not there is of kind `Missing`.
pub fn check_status(url: &SourceUrl, response: &Response, ranged: bool) -> Result<(), Failure> {
    let status = response.status();
    let told = || at(url, format!("the server answered {status}"));
    match (status, Class::of_status(status.as_u16(), retry_after(response.headers()))) {
        (StatusCode::OK, _) => Ok(()),
        (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) if ranged => Ok(()),
        (StatusCode::FORBIDDEN, class @ Class::Transient { .. }) => {
            Err(Failure { class, error: at(url, format!("the server answered {status}: too many requests")) })
        }
        (_, class @ Class::Transient { .. }) => Err(Failure { class, error: told() }),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            Err(Failure::permanent(told().help(format!("if {} wants a login, put it in ~/.netrc", url.host()))))
        }
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => Err(Failure::permanent(told().of_kind(Kind::Missing))),
        (status, _) if status.is_redirection() => {
            let target = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            let target = redact(target.map_or("nowhere", |target| target.split('?').next().unwrap_or_default()));
            Err(Failure::permanent(at(url, format!("a redirect to `{target}` is not followed"))))
        }
        _ => Err(Failure::permanent(told())),
    }
}

/// When a server wants to be asked again: `Retry-After`, in seconds or as a date; else, where its limit is used up
/// (`x-ratelimit-remaining: 0`), the moment when that begins anew (`x-ratelimit-reset`, seconds since 1970, as GitHub
/// and GitLab give it).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let until = |moment: SystemTime| moment.duration_since(SystemTime::now()).ok();
    if let Some(text) = text("retry-after") {
        let seconds = text.parse().map(Duration::from_secs).ok();
        return seconds.or_else(|| until(httpdate::parse_http_date(text).ok()?));
    }
    text("x-ratelimit-remaining").filter(|left| *left == "0")?;
    let reset = text("x-ratelimit-reset").and_then(|seconds| seconds.parse().ok());
    // A moment that no clock can show is none.
    let moment = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    reset.map_or(Some(Duration::ZERO), |seconds| until(moment(seconds)?))
}

fn plan(url: &SourceUrl, response: &Response, resume: Option<&Resume>) -> ResponsePlan {
    let Some(resume) = resume else {
        return ResponsePlan::Body { from: 0, total: response.content_length() };
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => return ResponsePlan::Body { from: 0, total: response.content_length() },
        _ => return ResponsePlan::Whole,
    }
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((from, total)) = range.and_then(content_range) else {
        return ResponsePlan::Whole;
    };
    // A server that heeds no If-Range may go on with another file.
    let other = match (&resume.if_range, strong_validator(response.headers())) {
        (Some(known), Some(now)) => *known != now,
        _ => false,
    };
    if from != resume.from || other {
        tracing::debug!("{}: the range that came is not the one that was asked for", redact(url.as_str()));
        return ResponsePlan::Whole;
    }
    let total = total.or_else(|| response.content_length().map(|length| from + length));
    ResponsePlan::Body { from, total }
}

/// `bytes 7-41/42` as the first byte and the file's size.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    // Only a range that goes to the end is what was asked for.
    (from <= to && total.is_none_or(|total: u64| to.checked_add(1) == Some(total))).then_some((from, total))
}

/// The header of a login by name and password (RFC 7617).
pub fn basic_login(user: &str, password: &str) -> Option<HeaderValue> {
    use ct_codecs::{Base64, Encoder as _};
    let encoded = Base64::encode_to_string(format!("{user}:{password}")).ok()?;
    secret_header(&format!("Basic {encoded}"))
}

/// A header whose value no log shows.
pub fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A failed request, with its class.
pub fn failed(url: &SourceUrl, error: reqwest::Error) -> Failure {
    failure(url, &error.without_url())
}

/// The failure of a request about this place, with its class. Take URLs out of the error before, so that they are not
/// repeated.
pub fn failure(place: &impl Display, error: &reqwest::Error) -> Failure {
    let class = classify(error);
    let unknown_issuer = is_certificate(error);
    let mut told = at(place, describe(error));
    if unknown_issuer {
        told = told.help("if the certificate is your site's own, let SSL_CERT_FILE name the authority that signed it");
    }
    Failure { class, error: told }
}

fn classify(error: &reqwest::Error) -> Class {
    if error.is_builder() || error.is_redirect() || tls_error(error).is_some() {
        Class::Permanent
    } else if error.is_connect() || error.is_dns() {
        Class::Unreachable
    } else {
        Class::Transient { after: None }
    }
}

fn is_certificate(error: &reqwest::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// The TLS library's own verdict in a chain of causes. `io::Error` hides what it wraps from `source()`.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

/// All causes in one line, each said once, credentials taken out.
fn describe(error: &reqwest::Error) -> String {
    let mut told = Vec::new();
    let mut next: Option<&dyn StdError> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !told.iter().any(|earlier: &String| earlier.contains(&text)) {
            told.push(text);
        }
        next = error.source();
    }
    redact(&told.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn only_strong_validators_count() {
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(strong_validator(&headers(&[("etag", "\"a\"")])).as_deref(), Some("\"a\""));
        assert_eq!(strong_validator(&headers(&[("etag", "W/\"a\"")])), None);
        assert_eq!(strong_validator(&headers(&[("last-modified", "Wed, 21 Oct 2015 07:27:30 GMT"), date])), None);
        let old = "Wed, 21 Oct 2015 07:20:00 GMT";
        assert_eq!(strong_validator(&headers(&[("last-modified", old), date])).as_deref(), Some(old));
        assert_eq!(strong_validator(&headers(&[("last-modified", old)])), None);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 7-41/42"), Some((7, Some(42))));
        assert_eq!(content_range("bytes 7-41/*"), Some((7, None)));
        for bad in ["bytes 7-40/42", "bytes */42", "items 7-41/42", "bytes 9-8/9", "bytes 0-18446744073709551615/0", ""]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn headers_may_say_anything() {
        use proptest::prelude::*;
        let number = prop_oneof![any::<u64>().prop_map(|n| n.to_string()), Just("0".to_owned()), "[ -~]{0,30}"];
        let date = "(Wed, )?[0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT";
        let texts = (number.clone(), number, date, "bytes [0-9]{0,21}-[0-9]{0,21}/[0-9*]{0,21}", "[ -~]{0,40}");
        let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
        let checked = proptest::test_runner::TestRunner::new(config).run(&texts, |(a, b, date, range, any)| {
            for after in [&a, &date, &any] {
                retry_after(&headers(&[("retry-after", after)]));
            }
            retry_after(&headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &b)]));
            strong_validator(&headers(&[("last-modified", &date), ("date", &date), ("etag", &any)]));
            strong_validator(&headers(&[("last-modified", &date), ("date", &a)]));
            content_range(&range);
            Ok(())
        });
        checked.unwrap();
        let never = u64::MAX.to_string();
        assert_eq!(retry_after(&headers(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &never)])), None);
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        assert_eq!(retry_after(&headers(&[("retry-after", "17")])), Some(Duration::from_secs(17)));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let wait = retry_after(&headers(&[("retry-after", &soon)])).unwrap();
        assert!((97..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(retry_after(&headers(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")])), None);
        let in_a_minute = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 60;
        let limited = |left| {
            retry_after(&headers(&[("x-ratelimit-remaining", left), ("x-ratelimit-reset", &in_a_minute.to_string())]))
        };
        assert!((57..=60).contains(&limited("0").unwrap().as_secs()));
        assert_eq!(limited("41"), None);
        assert_eq!(retry_after(&headers(&[("x-ratelimit-remaining", "0")])), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
    }
}
