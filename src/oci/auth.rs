//! How kbuild logs in to a registry: where users keep their logins, and how tokens are requested with them.
//!
//! The registry names the scheme (`WWW-Authenticate`): `Basic`, or `Bearer` with a token of its token server
//! (distribution, "Token Authentication Specification"). Without a login, kbuild still requests a token: for public
//! images the server gives one to everybody.

use std::collections::HashMap;
use std::env;
use std::sync::{Mutex, PoisonError};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential, get_podman_credential};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::response::checked;
use crate::bounds;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::net::http::{Http, basic_login, failed, read_whole, secret_header};
use crate::net::retry::Failure;
use crate::net::{blocking, transfer::at};
use crate::source::image::is_loopback;
use crate::source::{ImageName, SourceUrl};

/// The name under which docker keeps the login of Docker Hub.
const HUB_LOGIN: &str = "https://index.docker.io/v1/";

/// A user's login for a registry. It contains passwords, so it is neither `Debug` nor `Display`.
#[derive(Clone)]
enum Login {
    Password(String, String),
    /// An identity token, which only a token server accepts.
    Identity(String),
}

/// What may be done with a repository, in the words of token servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// `pull`
    Read,
    /// `pull,push`
    Write,
}

impl Right {
    fn actions(self) -> &'static str {
        match self {
            Right::Read => "pull",
            Right::Write => "pull,push",
        }
    }
}

/// The key of a header: registry, repository, scope.
type Key = (String, String, Right);

/// The logins of one run, and the tokens that registries gave for them.
#[derive(Default)]
pub struct Logins {
    headers: Mutex<HashMap<Key, HeaderValue>>,
    logins: tokio::sync::Mutex<HashMap<String, Option<Login>>>,
}

/// The header that a registry accepts.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Logins {
    /// What worked the last time.
    pub fn header(&self, image: &ImageName, right: Right) -> Option<HeaderValue> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner).get(&key(image, right)).cloned()
    }

    /// The header to answer a registry's 401 with; `None` if there is no login for it.
    ///
    /// # Errors
    /// The token server gives no token; with the class of the failure.
    pub async fn answer(
        &self,
        http: &Http,
        url: &SourceUrl,
        image: &ImageName,
        right: Right,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Failure> {
        let login = self.login(http, image).await?;
        let header = match (challenge(headers), login) {
            (Some(Challenge::Basic), Some(Login::Password(user, password))) => Some(basic(&user, &password)?),
            (Some(Challenge::Bearer { realm, service, scope }), login) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:{}", image.repository, right.actions()));
                let response = ask(http, url, image, &realm, service.as_deref(), &scope, login).await?;
                Some(bearer(url, response).await?)
            }
            _ => None,
        };
        if let Some(header) = &header {
            let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
            headers.insert(key(image, right), header.clone());
        }
        Ok(header)
    }

    /// The user's login, looked up once: a credential helper may ask its own server, or the user.
    async fn login(&self, http: &Http, image: &ImageName) -> Result<Option<Login>> {
        let mut logins = self.logins.lock().await;
        if let Some(known) = logins.get(&image.registry) {
            return Ok(known.clone());
        }
        let registry = image.registry.clone();
        let found = blocking(move || Ok(kept_login(&registry))).await?;
        let host = image.registry.rsplit_once(':').map_or(image.registry.as_str(), |(host, _)| host);
        let netrc = || {
            let (user, password) = http.netrc().for_host(host)?;
            Some(Login::Password(user.to_owned(), password.to_owned()))
        };
        let found = found.or_else(netrc);
        logins.insert(image.registry.clone(), found.clone());
        Ok(found)
    }
}

fn key(image: &ImageName, right: Right) -> Key {
    (image.registry.clone(), image.repository.clone(), right)
}

/// Where docker and podman keep logins, and their credential helpers. If `REGISTRY_AUTH_FILE` is set, only its file counts.
fn kept_login(registry: &str) -> Option<Login> {
    let names: &[&str] = if registry == "docker.io" { &[HUB_LOGIN, "docker.io"] } else { &[registry] };
    let only_podman = env::var_os(env_vars::REGISTRY_AUTH_FILE).is_some();
    let docker = names.iter().filter(|_| !only_podman).map(|name| get_credential(name));
    let podman = names.iter().map(|name| get_podman_credential(name));
    docker.chain(podman).find_map(|found| match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => Some(Login::Password(user, password)),
        Ok(DockerCredential::IdentityToken(token)) => Some(Login::Identity(token)),
        Err(error) => {
            tell(registry, &error);
            None
        }
    })
}

/// The output of a helper may contain a password: it is not shown.
fn tell(registry: &str, error: &CredentialRetrievalError) {
    use CredentialRetrievalError::{ConfigNotFound, ConfigReadError, HelperFailure, NoCredentialConfigured};
    match error {
        ConfigNotFound | ConfigReadError | NoCredentialConfigured => {}
        HelperFailure { helper, .. } => tracing::debug!("{helper} has no login for {registry}"),
        other => tracing::warn!("the login for {registry} cannot be read: {other}"),
    }
}

/// Requests a token. A login is never sent to a server without TLS, unless it is on this machine.
async fn ask(
    http: &Http,
    url: &SourceUrl,
    image: &ImageName,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    login: Option<Login>,
) -> Result<Response, Failure> {
    let unusable = || Failure::permanent(at(url, "the registry names a token server whose URL is not usable"));
    let mut server: Url = realm.parse().map_err(|_| unusable())?;
    let here = image.is_loopback() && server.host_str().is_some_and(is_loopback);
    if server.scheme() != "https" && !(server.scheme() == "http" && here) {
        return Err(unusable());
    }
    let client = http.client()?;
    let request = match login {
        Some(Login::Identity(token)) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &token);
            form.append_pair("client_id", "kbuild").append_pair("scope", scope);
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            let form_type = "application/x-www-form-urlencoded";
            client.post(server).header(reqwest::header::CONTENT_TYPE, form_type).body(form.finish())
        }
        login => {
            if let Some(service) = service {
                server.query_pairs_mut().append_pair("service", service);
            }
            server.query_pairs_mut().append_pair("scope", scope);
            let request = client.get(server);
            match login {
                Some(Login::Password(user, password)) => request.basic_auth(user, Some(password)),
                _ => request,
            }
        }
    };
    let response = request.send().await.map_err(|error| failed(url, error))?;
    checked(url, image, response).await
}

async fn bearer(url: &SourceUrl, response: Response) -> Result<HeaderValue, Failure> {
    let nothing = || Failure::permanent(at(url, "the registry's token server gave no token"));
    let body = read_whole(url, response, bounds::IMAGE_MANIFEST as usize).await?;
    let token: Token = serde_json::from_slice(&body).map_err(|_| nothing())?;
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty()).ok_or_else(nothing)?;
    secret_header(&format!("Bearer {token}")).ok_or_else(nothing)
}

fn basic(user: &str, password: &str) -> Result<HeaderValue> {
    let header = basic_login(user, password);
    header.ok_or_else(|| Error::new(Kind::Network, "the login of a registry cannot be sent"))
}

/// The first supported scheme; `Bearer` before `Basic`.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let offered = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut basic = None;
    for text in offered {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let value = |name: &str| parameter(rest, name);
            return Some(Challenge::Bearer {
                realm: value("realm")?,
                service: value("service"),
                scope: value("scope"),
            });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// `name="value"` in a list; the value may contain commas.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) })
        };
        assert_eq!(
            challenged(&[r#"Bearer realm="https://h/token",service="registry",scope="repository:a/b:pull,push""#]),
            bearer("https://h/token", Some("registry"), Some("repository:a/b:pull,push"))
        );
        assert_eq!(challenged(&["Basic realm=x", "bearer realm=https://h/t"]), bearer("https://h/t", None, None));
        assert_eq!(challenged(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(challenged(&["Negotiate", r#"Bearer service="x""#]), None);
    }

    #[test]
    fn a_login_is_in_no_log() {
        let header = basic("me", "s3cret").unwrap();
        assert_eq!(header, "Basic bWU6czNjcmV0");
        assert!(!format!("{header:?}").contains("bWU6"));
    }
}
