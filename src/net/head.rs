//! Asks about a file over HTTP without its bytes: where it is in the end, and how large.
//!
//! HEAD (RFC 9110, 9.3.2), or one byte (14.2) where a server does not answer HEAD as it answers GET. Redirects are followed
//! step by step, by the same rules as in a transfer, to see whether they are for good.

use std::sync::OnceLock;

use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Method, Response, redirect};
use url::Url;

use super::http::{self, Http};
use super::retry::{Failure, RetryPolicy};
use super::transfer::at;
use crate::error::Result;
use crate::source::SourceUrl;

/// The HTTP client of a probe.
pub struct HeadClient {
    /// Made at its first use. It follows no redirect by itself.
    client: OnceLock<Result<Client, String>>,
    /// Whose `.netrc` and policy hold.
    http: Http,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// What answered in the end, redirects followed.
    pub url: Url,
    /// Whether every redirect on the way was for good (301, 308); false without any.
    pub moved: bool,
    /// In bytes, if the server says so.
    pub size: Option<u64>,
}

impl HeadClient {
    /// A client; nothing is opened yet.
    pub fn new(policy: RetryPolicy) -> HeadClient {
        HeadClient { client: OnceLock::new(), http: Http::new(policy) }
    }

    /// A client with this `.netrc` rather than the user's, and without the system's proxies.
    #[cfg(test)]
    pub fn for_tests(policy: RetryPolicy, netrc: super::netrc::Netrc) -> HeadClient {
        let alone = |builder: reqwest::ClientBuilder| builder.no_proxy().redirect(redirect::Policy::none());
        let client =
            http::client(&policy, |builder| alone(builder).read_timeout(policy.idle)).map_err(|e| e.to_string());
        HeadClient { client: OnceLock::from(client), http: Http::for_tests(policy, netrc) }
    }

    /// The client for whole transfers beside it.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The login that `.netrc` has for a host.
    pub fn login(&self, host: &str) -> Option<(&str, &str)> {
        self.http.netrc().for_host(host)
    }

    /// Asks for one file, once.
    ///
    /// # Errors
    /// No answer, or one that says that the file is not there (kind `Missing`), with its class.
    pub async fn ask(&self, url: &SourceUrl) -> Result<FoundFile, Failure> {
        let mut here = url.as_url().clone();
        let (mut redirects, mut moved) = (0, true);
        loop {
            let (response, ranged) = self.send(url, &here).await?;
            let Some(next) = target(&here, &response) else {
                http::check_status(url, &response, ranged)?;
                let size = size(response.headers(), ranged);
                return Ok(FoundFile { url: here, moved: moved && redirects > 0, size });
            };
            redirects += 1;
            http::may_follow(&here, &next, redirects).map_err(|why| Failure::permanent(at(url, why)))?;
            moved &= matches!(response.status().as_u16(), 301 | 308);
            here = next;
        }
    }

    /// The answer of one server; also whether one byte was asked for.
    async fn send(&self, url: &SourceUrl, here: &Url) -> Result<(Response, bool), Failure> {
        let response = self.request(url, here, Method::HEAD).await?;
        // Some servers and signed addresses refuse HEAD, with any status; what is true of a login and of too many requests
        // is true of GET as well.
        let refused = response.status().is_client_error() && ![401, 429].contains(&response.status().as_u16());
        if !refused && response.status().as_u16() != 501 {
            return Ok((response, false));
        }
        self.request(url, here, Method::GET).await.map(|response| (response, true))
    }

    async fn request(&self, url: &SourceUrl, here: &Url, method: Method) -> Result<Response, Failure> {
        let mut request = self.client()?.request(method.clone(), here.clone());
        if method == Method::GET {
            request = request.header(header::RANGE, "bytes=0-0");
        }
        // A login is for the host that it stands for, and no other.
        if here.origin() == url.as_url().origin() {
            request = self.http.with_login(here, request);
        }
        request.send().await.map_err(|error| http::failed(url, error))
    }

    fn client(&self) -> Result<&Client> {
        let policy = self.http.policy();
        let idle = policy.idle;
        let made = self.client.get_or_init(|| {
            let alone = |builder: reqwest::ClientBuilder| builder.redirect(redirect::Policy::none()).read_timeout(idle);
            http::client(policy, alone).map_err(|error| error.to_string())
        });
        made.as_ref().map_err(|why| http::no_client(why))
    }
}

/// Where a response leads, if it is a redirect.
fn target(here: &Url, response: &Response) -> Option<Url> {
    let status = response.status().as_u16();
    let location =
        response.headers().get(header::LOCATION).filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))?;
    here.join(location.to_str().ok()?).ok()
}

/// The size of the whole file in a response to HEAD, or to a request for its first byte.
fn size(headers: &HeaderMap, ranged: bool) -> Option<u64> {
    let text = |name| headers.get(name)?.to_str().ok();
    // Bytes that were encoded for the way say nothing about the file.
    if text(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return None;
    }
    match text(header::CONTENT_RANGE).filter(|_| ranged) {
        Some(range) => range.rsplit_once('/')?.1.trim().parse().ok(),
        None => text(header::CONTENT_LENGTH)?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use kbuild_test::http::{Reply, Server};

    async fn ask(server: &Server, path: &str) -> Result<FoundFile, Failure> {
        let netrc = crate::net::netrc::Netrc::default();
        HeadClient::for_tests(RetryPolicy::default(), netrc).ask(&server.url(path).parse().unwrap()).await
    }

    #[tokio::test]
    async fn a_file_is_found_without_its_bytes() {
        let server = Server::start();
        server.on("/x", [Reply::file("12345")]);
        let found = ask(&server, "/x").await.unwrap();
        assert_eq!((found.url.as_str(), found.moved, found.size), (server.url("/x").as_str(), false, Some(5)));
        assert_eq!(server.requests("/x").iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["HEAD"]);
    }

    #[tokio::test]
    async fn whoever_refuses_head_is_asked_for_a_byte() {
        let server = Server::start();
        for status in [400, 403, 404, 405, 501] {
            server.on("/x", [Reply::status(status), Reply::file("12345")]);
            assert_eq!(ask(&server, "/x").await.unwrap().size, Some(5), "{status}");
        }
        assert_eq!(server.requests("/x").last().unwrap().header("range"), Some("bytes=0-0"));
        server.on("/gone", [Reply::status(404)]);
        assert_eq!(ask(&server, "/gone").await.unwrap_err().error.kind(), Kind::Missing);
    }

    #[tokio::test]
    async fn a_move_is_told_from_a_detour() {
        let server = Server::start();
        let redirect =
            |status, to: &str| Reply::Status(status, vec![("Location".to_owned(), to.to_owned())], Vec::new());
        server.on("/there", [Reply::file("x")]);
        server.on("/moved", [redirect(301, "/moved-again")]).on("/moved-again", [redirect(308, "/there")]);
        server.on("/detour", [redirect(301, "/for-now")]).on("/for-now", [redirect(302, "/there")]);
        server.on("/loop", [redirect(301, "/loop")]);
        server.on("/away", [redirect(302, "file:///etc/passwd")]);
        assert_eq!(ask(&server, "/moved").await.unwrap().url.as_str(), server.url("/there"));
        assert!(ask(&server, "/moved").await.unwrap().moved);
        assert!(!ask(&server, "/detour").await.unwrap().moved);
        for (path, why) in [("/loop", "more than 10 redirects"), ("/away", "`file:` is not followed")] {
            let error = ask(&server, path).await.unwrap_err().error;
            assert!(error.causes().join(" ").contains(why), "{:?}", error.causes());
        }
    }
}
