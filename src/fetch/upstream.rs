//! Looks at upstreams, and fetches nothing: whether what a lock names is still there, and where.
//!
//! Neither stores nor mirrors are asked, nor a site's registries: what is seen is what somebody sees who has none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use url::Url;

use super::git::{Git, Listed};
use super::must_be_for_git;
use super::packages::{Registries, RegistryTable};
use super::peer::local_path;
use crate::error::Kind;
use crate::net::ftp::Ftp;
use crate::net::guard::RequestGuard;
use crate::net::head::HeadClient;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::absent;
use crate::oci::client::Registry;
use crate::progress::Progress;
use crate::source::url::without_query;
use crate::source::{Access, ImageName, SourceUrl};

/// What is put behind a file's URL for that of its signature.
const SIGNATURES: [&str; 3] = [".asc", ".sig", ".sign"];

/// Endings of compressed archives whose signature may be that of the archive before it was compressed, as kernel.org's are.
const COMPRESSED: [&str; 4] = [".xz", ".gz", ".bz2", ".zst"];

/// Asks upstreams, within the limits that fetching keeps to.
pub struct UpstreamClient {
    head: HeadClient,
    ftp: Ftp,
    git: Git,
    images: Registry,
    registries: RegistryTable,
    limits: Limits,
    policy: RetryPolicy,
    progress: Arc<dyn Progress>,
}

/// What an upstream answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamAnswer {
    /// It has it.
    There,
    /// It is of a kind that is not asked: only mirrors have it.
    NotAsked,
    /// It could not be asked: no answer, or no time.
    Silent,
    /// It does not give it: a login is wanted, its certificate is not trusted, or it redirects to where nobody follows.
    Refused,
    /// It does not have it.
    Gone,
}

impl UpstreamAnswer {
    /// The answer in JSON.
    pub fn name(self) -> &'static str {
        match self {
            UpstreamAnswer::There => "there",
            UpstreamAnswer::NotAsked => "not-asked",
            UpstreamAnswer::Silent => "no-answer",
            UpstreamAnswer::Refused => "refused",
            UpstreamAnswer::Gone => "gone",
        }
    }
}

/// A look at one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLook {
    /// The URL as the lock has it.
    pub url: SourceUrl,
    /// What was asked: the same, or the address behind a package or object.
    pub asked: SourceUrl,
    /// What came of it.
    pub answer: UpstreamAnswer,
    /// Where it is in the end, if it was redirected there; without a query.
    pub redirected: Option<Redirected>,
    /// Its size in bytes, if the server says so.
    pub size: Option<u64>,
    /// Why it is not there.
    pub why: Option<String>,
}

/// Where redirects led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected {
    /// The last URL, as messages show it.
    pub to: String,
    /// Its host, with the port if it is not the usual one.
    pub host: String,
    /// Whether all redirects were for good.
    pub moved: bool,
}

impl Redirected {
    fn new(to: &Url, moved: bool) -> Redirected {
        let port = to.port().map(|port| format!(":{port}")).unwrap_or_default();
        Redirected { to: without_query(to), host: format!("{}{port}", to.host_str().unwrap_or_default()), moved }
    }
}

impl UpstreamLook {
    fn new(url: &SourceUrl, asked: &SourceUrl) -> UpstreamLook {
        let answer = UpstreamAnswer::There;
        UpstreamLook { url: url.clone(), asked: asked.clone(), answer, redirected: None, size: None, why: None }
    }

    fn failed(url: &SourceUrl, asked: &SourceUrl, failure: &Failure) -> UpstreamLook {
        let answer = match (failure.error.kind(), failure.class) {
            (Kind::Missing, _) => UpstreamAnswer::Gone,
            (_, Class::Permanent | Class::Fatal) => UpstreamAnswer::Refused,
            _ => UpstreamAnswer::Silent,
        };
        let why = failure.error.causes().join(": ");
        UpstreamLook { answer, why: Some(why), ..UpstreamLook::new(url, asked) }
    }
}

impl UpstreamClient {
    /// A client that asks at most so much at once; `known` are the registries of the lock.
    pub fn new(jobs: usize, known: &BTreeMap<String, SourceUrl>, progress: Arc<dyn Progress>) -> UpstreamClient {
        let policy = RetryPolicy::from_env();
        let registries = RegistryTable::new(Registries::default(), None);
        registries.learn(known);
        UpstreamClient {
            head: HeadClient::new(policy.clone()),
            ftp: Ftp::new(policy.clone()),
            git: Git { policy: policy.clone(), offline: false, environment: Vec::new(), logins: Arc::default() },
            images: Registry::default(),
            registries,
            limits: Limits::new(jobs),
            policy,
            progress,
        }
    }

    /// A client for tests, with this policy and environment of git.
    #[cfg(test)]
    pub fn for_tests(policy: RetryPolicy, environment: Vec<(&'static str, std::ffi::OsString)>) -> UpstreamClient {
        let client = UpstreamClient::new(4, &BTreeMap::new(), crate::progress::Silent::shared());
        let git = Git { policy: policy.clone(), offline: false, environment, logins: Arc::default() };
        UpstreamClient {
            head: HeadClient::for_tests(policy.clone(), crate::net::netrc::Netrc::default()),
            git,
            policy,
            ..client
        }
    }

    /// Looks at a file.
    pub async fn file(&self, url: &SourceUrl) -> UpstreamLook {
        let place = self.registries.places(url, "").into_iter().next();
        let asked = match place {
            Some(Ok(place)) if place.access() != Access::Mirrors => place,
            Some(Err(error)) => {
                let why = error.causes().join(": ");
                let answer = UpstreamAnswer::NotAsked;
                return UpstreamLook { answer, why: Some(why), ..UpstreamLook::new(url, url) };
            }
            _ => return UpstreamLook { answer: UpstreamAnswer::NotAsked, ..UpstreamLook::new(url, url) },
        };
        match self.look(url, &asked).await {
            Ok(look) => look,
            Err(failure) => UpstreamLook::failed(url, &asked, &failure),
        }
    }

    async fn look(&self, url: &SourceUrl, asked: &SourceUrl) -> Result<UpstreamLook, Failure> {
        let report = self.report(asked);
        let guard = self.guard(&report);
        let mut look = UpstreamLook::new(url, asked);
        match asked.scheme() {
            "file" => {
                let there = local_path(asked)?.is_file();
                there.then_some(()).ok_or_else(|| Failure::permanent(absent(asked)))?;
            }
            "http" | "https" => {
                let found = guard.attempt(asked, || self.head.ask(asked).boxed()).await?;
                look.size = found.size;
                look.redirected = (found.url != *asked.as_url()).then(|| Redirected::new(&found.url, found.moved));
            }
            "ftp" | "ftps" => {
                let login = self.head.login(asked.as_url().host_str().unwrap_or_default());
                look.size = guard.attempt(asked, || self.ftp.look(asked, login).boxed()).await?;
            }
            "oci" => {
                let image = ImageName::of_url(asked)?;
                guard.attempt(asked, || self.images.manifest(self.head.http(), &image).boxed()).await?;
            }
            _ => look.answer = UpstreamAnswer::NotAsked,
        }
        Ok(look)
    }

    /// Looks at a repository, and at these refs (full names) of it. Gives also what they lead to; tags twice, as git
    /// lists them.
    pub async fn git(&self, url: &SourceUrl, refs: &[String]) -> (UpstreamLook, Vec<Listed>) {
        let report = self.report(url);
        let mut patterns: Vec<String> = refs.to_vec();
        patterns.extend(refs.iter().filter(|name| name.starts_with("refs/tags/")).map(|name| format!("{name}^{{}}")));
        patterns.push("HEAD".to_owned());
        let ask = || self.git.list_with_redirect(url, &patterns).boxed();
        let listed = match must_be_for_git(url) {
            Ok(()) => self.guard(&report).attempt(url, ask).await,
            Err(failure) => Err(failure),
        };
        match listed {
            Ok((listed, redirect)) => {
                // git does not say whether it was for good. Forges redirect a repository that was renamed, and that is.
                let redirected = redirect.and_then(|to| Url::parse(&to).ok()).map(|to| Redirected::new(&to, true));
                (UpstreamLook { redirected, ..UpstreamLook::new(url, url) }, listed)
            }
            Err(failure) => (UpstreamLook::failed(url, url, &failure), Vec::new()),
        }
    }

    /// Looks for a signature beside a file: the first of the usual names that is there.
    pub async fn signature(&self, file: &UpstreamLook) -> Option<SourceUrl> {
        let url = file.asked.as_str();
        if url.contains(['?', '#']) {
            return None;
        }
        let plain = COMPRESSED.iter().find_map(|ending| url.strip_suffix(ending)).map(|plain| format!("{plain}.sign"));
        for name in SIGNATURES.iter().map(|ending| format!("{url}{ending}")).chain(plain) {
            let signature: SourceUrl = name.parse().ok()?;
            if self.file(&signature).await.answer == UpstreamAnswer::There {
                return Some(signature);
            }
        }
        None
    }

    fn report(&self, url: &SourceUrl) -> LazyTask {
        LazyTask::new(&self.progress, url.to_string(), None)
    }

    fn guard<'a>(&'a self, report: &'a LazyTask) -> RequestGuard<'a> {
        RequestGuard { limits: &self.limits, policy: &self.policy, report }
    }
}
