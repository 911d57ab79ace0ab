//! Fetches sources into the store over HTTP, FTP, git and from other stores, with retries, resume and mirrors, and
//! hashes them on the way.
//!
//! What may enter: how bytes are fetched. The caller says which bytes they must be; bytes that do not match never
//! becomes content of the store.

mod all;
mod checksums;
mod clone;
mod exposure;
mod file;
mod git;
mod history;
mod image;
mod lfs;
mod mirrors;
mod packages;
pub mod patches;
mod peer;
mod plausible;
mod refs;
mod submodules;
#[cfg(test)]
mod tests;
mod upstream;
mod vault;

pub use all::Fetched;
pub use git::Listed;
pub use image::ResolvedImage;
pub use lfs::LfsObject;
pub use packages::Registries;
pub use refs::Resolved;
pub(crate) use submodules::of_commit as submodules_of;
pub use upstream::{Redirected, UpstreamAnswer, UpstreamClient, UpstreamLook};

use std::collections::{BTreeMap, HashSet};

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::exposure::{Exposure, Hosts};
use self::file::FileJob;
use self::git::Git;
use self::lfs::LfsServers;
use self::mirrors::{Candidate, Fallbacks, Rules};
use self::packages::RegistryTable;
use self::peer::{Endpoint, Peer};
use self::vault::VaultPolicy;
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::open_objects;
use crate::lock::Content;
use crate::manifest::{Fill, Mirrors};
use crate::net::blocking;
use crate::net::ftp::Ftp;
use crate::net::http::Http;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::{Expected, absent, at};
use crate::oci::client::Registry;
use crate::progress::{self, Progress};
use crate::source::name::check_component;
use crate::source::url::redact;
use crate::source::{Access, Algorithm, Blake3, Checksum, CommitId, Digests, Sha256, SourceUrl};
use crate::store::{GitRecord, Store, tree};
use futures_util::FutureExt as _;

/// Bytes by which a web page is told from something else.
const PAGE_HEAD: usize = 512;

/// How fetching behaves.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Mirrors in order: command line, site, manifest, already joined.
    pub mirrors: Mirrors,
    /// Registries that a site puts in place of those that recipes name.
    pub registries: Registries,
    /// At most so many transfers at once.
    pub jobs: usize,
    /// Only other stores in folders, and `file:` rules, may be asked; no network is used.
    pub offline: bool,
    /// Upstreams, and the URLs that rules make of them, may be asked; else only the stores of `mirrors`.
    pub upstreams: bool,
}

/// A file that is wanted.
#[derive(Debug, Clone)]
pub struct WantedFile {
    /// The name BitBake looks for: `{name}` of mirror rules, and what messages say.
    pub name: String,
    /// Where it can be fetched from, the canonical URL first.
    pub urls: Vec<SourceUrl>,
    /// What it must hash to, where that is known.
    pub sha256: Option<Sha256>,
    /// Other checksums that its recipe gives. All of them have to match.
    pub sums: Vec<Checksum>,
    /// Its size in bytes, where that is known before its other hash: of an object of Git LFS.
    pub stated_size: Option<u64>,
    /// What else is known from the lock.
    pub content: Option<Content>,
}

impl WantedFile {
    /// The name without the directory it may have in DL_DIR: mirrors know a file by it.
    fn plain_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// What mirror rules may fill in.
    fn fill(&self) -> Fill<'_> {
        let sha512 = self.sums.iter().find(|sum| sum.algorithm() == Algorithm::Sha512).map(Checksum::hex);
        Fill { name: Some(self.plain_name()), sha256: self.sha256.as_ref(), sha512, commit: None }
    }

    /// Whether a hash is known that nobody can forge, so that anybody may be asked.
    fn has_strong_hash(&self) -> bool {
        let is_strong =
            |sum: &Checksum| matches!(sum.algorithm(), Algorithm::Sha256 | Algorithm::Sha384 | Algorithm::Sha512);
        self.sha256.is_some() || self.sums.iter().any(is_strong)
    }
}

/// A git commit that is wanted.
#[derive(Debug, Clone)]
pub struct WantedGit {
    /// The canonical URL.
    pub url: SourceUrl,
    /// The commit.
    pub commit: CommitId,
    /// Full names of refs that should lead to it, for servers that do not give a commit by its id.
    pub refs: Vec<String>,
    /// Whether all history is wanted.
    pub history: bool,
    /// What its tree must hash to, where that is known.
    pub tree: Option<Blake3>,
}

/// A submodule found in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Its path in the tree.
    pub path: String,
    /// Its URL, relative ones joined to the parent's.
    pub url: SourceUrl,
    /// The commit the parent names.
    pub commit: CommitId,
}

/// Fetches sources into a store.
///
/// Places are asked in this order: the store itself, other stores (by hash), what the user's rules make of the URLs, the
/// URLs, and then, for files of which a strong hash is known, and for commits, the user's fallback rules, and for those of
/// public hosts the fallback lists shipped with kbuild. The first that gives the right bytes ends it; one that fails for a
/// passing reason is asked again (see [`RetryPolicy`]), then the next.
pub struct Fetcher {
    store: Store,
    settings: FetchSettings,
    progress: Arc<dyn Progress>,
    policy: RetryPolicy,
    stores: Vec<Peer>,
    rules: Rules,
    own_fallback: Rules,
    fallbacks: Fallbacks,
    hosts: Hosts,
    vault: VaultPolicy,
    registries: RegistryTable,
    http: Http,
    images: Registry,
    lfs: LfsServers,
    ftp: Ftp,
    git: Git,
    limits: Limits,
}

impl Fetcher {
    /// A fetcher into this store, with the retries and timeouts that the environment says (see [`RetryPolicy`]).
    ///
    /// # Errors
    /// A mirror rule or a store that cannot work: kind `Input`.
    pub fn new(store: Store, settings: FetchSettings, progress: Arc<dyn Progress>) -> Result<Fetcher> {
        let policy = RetryPolicy::from_env();
        Ok(Fetcher {
            stores: settings.mirrors.stores.iter().map(|text| Peer::new(text, &policy)).collect::<Result<_>>()?,
            rules: Rules::new(&settings.mirrors.rules)?,
            own_fallback: Rules::new(&settings.mirrors.fallback)?,
            fallbacks: Fallbacks::new(&settings.mirrors.builtin)?,
            hosts: Hosts::new(&settings.mirrors),
            vault: VaultPolicy::default(),
            registries: RegistryTable::from_env(settings.registries.clone()),
            http: Http::new(policy.clone()),
            images: Registry::default(),
            lfs: LfsServers::default(),
            ftp: Ftp::new(policy.clone()),
            git: Git {
                policy: policy.clone(),
                offline: settings.offline,
                environment: Vec::new(),
                logins: Arc::default(),
            },
            limits: Limits::new(settings.jobs),
            store,
            settings,
            progress,
            policy,
        })
    }

    /// The store it fetches into.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Remembers registries (by the keys of [`Registries`]) that discovery or a lock knows: they are asked where the
    /// settings and the environment name none. [`Fetcher::sources`] does this with its lock's.
    pub fn learn_registries(&self, found: &BTreeMap<String, SourceUrl>) {
        self.registries.learn(found);
    }

    /// Makes sure that a file is in the store.
    ///
    /// # Errors
    /// No place has it (kind `Network` or `Denied`, `Missing` when offline), or only wrong bytes came (kind `Mismatch`).
    pub async fn file(&self, wanted: &WantedFile) -> Result<Digests> {
        wanted.name.split('/').try_for_each(check_component)?;
        let expected = Expected {
            sha256: wanted.sha256,
            blake3: wanted.content.map(|content| content.blake3),
            size: wanted.content.map(|content| content.size).or(wanted.stated_size),
            sums: wanted.sums.clone(),
        };
        if let Some(found) = self.present(&expected) {
            return self.must_agree(&wanted.name, &expected, found).await;
        }
        if let (Some(oid), Some(size)) = (wanted.sha256, wanted.stated_size) {
            let places = self.places_of_file(wanted, &expected);
            self.lfs.announce(oid, size, &places);
        }
        let _in_hand = self.limits.begin().await;
        let key = match (wanted.sha256, wanted.urls.first()) {
            (Some(sha256), _) => sha256.to_string(),
            // The URL is all that identifies a file without a hash.
            (None, Some(url)) => format!("url-{}", blake3::hash(url.as_str().as_bytes()).to_hex()),
            (None, None) => return Err(Error::input(format!("{} has neither a URL nor a hash", wanted.name))),
        };
        let report = LazyTask::new(&self.progress, &wanted.name, expected.size);
        let candidates = self.places_of_file(wanted, &expected);
        let job = FileJob { name: &wanted.name, key, expected, candidates, wanted: Some(wanted) };
        self.fetch_file(job, &report).await
    }

    /// Makes sure that a git commit is in the store (the caller asks for submodules). Asked by the id of an annotated
    /// tag's object, it gives the record of the commit that the tag leads to.
    ///
    /// # Errors
    /// As [`Fetcher::file`].
    pub async fn git(&self, wanted: &WantedGit) -> Result<GitRecord> {
        if let Some(record) = self.present_git(wanted)? {
            return Ok(record);
        }
        let _in_hand = self.limits.begin().await;
        // Two sources may name one commit; the second finds it done.
        let _alone = self.limits.alone(&format!("{} {}", wanted.commit, wanted.history)).await;
        if let Some(record) = self.present_git(wanted)? {
            return Ok(record);
        }
        let name = format!("{} at {}", redact(wanted.url.as_str()), wanted.commit.short());
        let report = LazyTask::new(&self.progress, &name, None);
        let mut tried = Vec::new();
        let mut may_pass = false;
        for place in self.places_of_git(&wanted.url) {
            let outcome = match place {
                Ok(GitPlace::Store(peer)) => self.git_from_store(&peer, wanted, &report).await,
                Ok(GitPlace::Upstream(url)) => self.git_from(&url, wanted, &report).await,
                Err(error) => Err(Failure::permanent(error)),
            };
            match outcome {
                Ok(record) => return Ok(record),
                Err(Failure { class: Class::Fatal, error }) => {
                    return Err(error.wrap(format!("could not fetch {name}")));
                }
                Err(Failure { error, class }) => {
                    may_pass |= matches!(class, Class::Transient { .. });
                    tried.push(error);
                }
            }
        }
        let owners = tried.len();
        // An upstream that is only busy or slow has it still.
        if !may_pass && let Some(record) = self.git_from_vaults(wanted, &report, &mut tried).await? {
            return Ok(record);
        }
        Err(self.nobody_has(&name, tried, owners))
    }

    /// The submodules that a commit in the store names in `.gitmodules` and in its tree.
    ///
    /// # Errors
    /// A gitlink without a `.gitmodules` entry, or an unacceptable URL.
    pub fn submodules(&self, url: &SourceUrl, commit: &CommitId) -> Result<Vec<Submodule>> {
        submodules::of_commit(&self.store, url, commit)
    }

    /// Where a file may be had, but for the fallback lists.
    fn places_of_file(&self, wanted: &WantedFile, expected: &Expected) -> Vec<Result<Endpoint>> {
        let mut places: Vec<Result<Endpoint>> = self.stores().filter_map(|peer| peer.file(expected)).collect();
        if self.settings.upstreams {
            places.extend(self.upstreams_of_file(wanted).into_iter().map(|place| place.map(Endpoint::Url)));
        }
        // Each place once.
        let mut seen = HashSet::new();
        places.retain(|place| place.as_ref().map_or(true, |place| seen.insert(place.to_string())));
        places
    }

    /// Where a file may be that nobody else gave, by the user's fallback rules and then by the fallback lists; those left out
    /// that were `asked`. A fallback must never decide what a source is, so none is asked without a strong hash.
    async fn fallbacks_of_file(&self, wanted: &WantedFile, asked: &[Result<Endpoint>]) -> Vec<Result<Endpoint>> {
        if !self.settings.upstreams || !wanted.has_strong_hash() {
            return Vec::new();
        }
        let mut places = self.made_of_file(&self.own_fallback, wanted);
        let public = wanted.urls.iter().filter(|url| matches!(url.access(), Access::Web | Access::Package));
        for url in public.filter(|_| !self.settings.offline) {
            // The registry that is really asked decides who knows the name: it may be the site's own.
            for place in self.registries.places(url, wanted.plain_name()).into_iter().flatten() {
                places.extend(match self.exposure(&place).await {
                    Exposure::Internal => Vec::new(),
                    Exposure::Unknown => self.fallbacks.files.rewrite_unnamed(&place, wanted.fill()),
                    Exposure::Public => self.fallbacks.files.rewrite(&place, wanted.fill()),
                });
            }
        }
        let asked: HashSet<String> = asked.iter().flatten().map(ToString::to_string).collect();
        places.retain(|place| place.as_ref().map_or(true, |url| !asked.contains(url.as_str())));
        self.allowed(places).into_iter().map(|place| place.map(Endpoint::Url)).collect()
    }

    /// Whether others may be asked for what is fetched from this URL. What is reached by a login is private, wherever it is.
    async fn exposure(&self, url: &SourceUrl) -> Exposure {
        let host = url.as_url().host_str().unwrap_or_default();
        let open = url.access() == Access::Web || url.scheme() == "git";
        if !open || self.http.netrc().for_host(host).is_some() {
            return Exposure::Internal;
        }
        self.hosts.exposure(url).await
    }

    /// The other stores that may be asked.
    fn stores(&self) -> impl Iterator<Item = &Peer> {
        self.stores.iter().filter(|peer| !self.settings.offline || peer.is_folder())
    }

    /// What rules make of a file's URLs. People write rules for what the recipe says as well as for the address behind it, so
    /// both are matched; a rule may again lead to a package or an object.
    fn made_of_file(&self, rules: &Rules, wanted: &WantedFile) -> Vec<Candidate> {
        let name = wanted.plain_name();
        let mut spellings = Vec::new();
        for url in &wanted.urls {
            spellings.push(url.clone());
            let places = self.registries.places(url, name);
            spellings.extend(places.into_iter().flatten().filter(|place| place != url));
        }
        let made = spellings.iter().flat_map(|url| rules.rewrite(url, wanted.fill()));
        made.flat_map(|place| place.map_or_else(|e| vec![Err(e)], |url| self.registries.places(&url, name))).collect()
    }

    /// What the user's rules make of the URLs, and the URLs.
    fn upstreams_of_file(&self, wanted: &WantedFile) -> Vec<Candidate> {
        let name = wanted.plain_name();
        let upstream = wanted.urls.iter().flat_map(|url| self.registries.places(url, name));
        let upstream_of_lfs = wanted.urls.iter().flat_map(|url| self.lfs_mirrors(url));
        let mut places = self.made_of_file(&self.rules, wanted);
        if wanted.sha256.is_none() && wanted.urls.iter().any(|url| url.access() == Access::Image) {
            // Where no hash is known, kbuild makes the archive itself: an archive from elsewhere could not be checked.
            places.retain(|place| place.as_ref().is_ok_and(|url| url.access() == Access::Image));
        }
        places.extend(upstream_of_lfs);
        // Offline, no address could be asked anyway, so the reason why there is none is not told.
        places.extend(upstream.filter(|place| place.is_ok() || !self.settings.offline));
        self.allowed(places)
    }

    /// The LFS servers of what the user's rules make of a repository's URL: who mirrors a repository has its objects too.
    fn lfs_mirrors(&self, url: &SourceUrl) -> Vec<Candidate> {
        let repositories = url.lfs_repositories();
        let mirrors = repositories.iter().flat_map(|repository| self.rules.rewrite(repository, Fill::default()));
        let servers = mirrors.filter_map(|place| match place {
            Ok(place) if place.access() == Access::Lfs => Some(Ok(place)),
            Ok(place) => place.is_for_git().then(|| place.lfs_server()),
            Err(error) => Some(Err(error)),
        });
        servers.collect()
    }

    fn places_of_git(&self, url: &SourceUrl) -> Vec<Result<GitPlace>> {
        let mut places: Vec<Result<GitPlace>> = self.stores().cloned().map(|peer| Ok(GitPlace::Store(peer))).collect();
        if self.settings.upstreams {
            let mut upstreams = self.upstreams(url);
            upstreams.extend(self.own_fallback.rewrite(url, Fill::default()));
            places.extend(self.allowed(upstreams).into_iter().map(|url| url.map(GitPlace::Upstream)));
        }
        places
    }

    /// What the user's rules make of a repository's URL, then the URL.
    fn upstreams(&self, url: &SourceUrl) -> Vec<Candidate> {
        let mut places = self.rules.rewrite(url, Fill::default());
        places.push(Ok(url.clone()));
        self.allowed(places)
    }

    /// Each place once; offline only folders of this machine.
    fn allowed(&self, mut places: Vec<Candidate>) -> Vec<Candidate> {
        let mut seen = HashSet::new();
        places.retain(|place| match place {
            Ok(url) => {
                let is_folder = ["file", "lfs+file"].contains(&url.scheme());
                (!self.settings.offline || is_folder) && seen.insert(url.clone())
            }
            Err(_) => true,
        });
        places
    }

    /// The record of a commit, if the store has as much of its history as is wanted.
    fn present_git(&self, wanted: &WantedGit) -> Result<Option<GitRecord>> {
        // A record that cannot be read counts as none: fetching replaces it.
        let Ok(Some(record)) = self.store.git(&wanted.commit) else { return Ok(None) };
        if let Some(tree) = wanted.tree.filter(|tree| *tree != record.tree) {
            return Err(wrong_tree(wanted.url.as_str(), &wanted.commit, &tree, &record.tree));
        }
        Ok((!wanted.history || record.shallow.is_empty()).then_some(record))
    }

    /// A commit from a repository, or from a mirror of it.
    async fn git_from(&self, url: &SourceUrl, wanted: &WantedGit, report: &LazyTask) -> Result<GitRecord, Failure> {
        must_be_for_git(url)?;
        let ask = || {
            let obtain = async {
                let scratch = self.store.scratch()?;
                report.task().note(&format!("from {}", shown_host(url)));
                let (repository, commit) = self.git.obtain(url, wanted, scratch.path(), report.task()).await?;
                Ok((scratch, repository, commit))
            };
            obtain.boxed()
        };
        let obtained = self.guard(report).attempt(url, ask).await;
        let (_scratch, repository, commit) = match obtained {
            Ok(obtained) => obtained,
            Err(failure) => return Err(self.explained(url, failure).await),
        };
        // Of a tag's object, the commit that it leads to.
        let wanted = WantedGit { commit, ..wanted.clone() };
        self.take_in(url, &shown_host(url), &repository, &wanted, report).await
    }

    /// A commit from another store: its record, then the packs the record names.
    async fn git_from_store(&self, peer: &Peer, wanted: &WantedGit, report: &LazyTask) -> Result<GitRecord, Failure> {
        let record = self.record(peer, wanted, report).await?;
        let scratch = self.store.scratch()?;
        let repository = git::new_repository(scratch.path(), "peer.git")?;
        for pack in &record.packs {
            let expected = Expected { blake3: Some(pack.pack), ..Expected::default() };
            let candidates = vec![peer.blob(&pack.pack)];
            if !self.store.has_blob(&pack.pack) {
                let job = FileJob { name: &pack.name, key: pack.pack.to_string(), expected, candidates, wanted: None };
                self.fetch_file(job, report).await?;
            }
            let (blob, name, repository) = (self.store.blob_path(&pack.pack), pack.name.clone(), repository.clone());
            let indexed = blocking(move || git::index(&blob, &name, &repository)).await;
            indexed.map_err(|error| error.wrap(format!("{peer} gave a damaged pack")))?;
        }
        git::write_shallow(&repository, &record.shallow)?;
        let from = match peer {
            Peer::Plain(base) => shown_host(base),
            Peer::Remote(remote) => remote.url().to_string(),
        };
        self.take_in(peer, &from, &repository, wanted, report).await
    }

    /// The record of a commit in another store.
    async fn record(&self, peer: &Peer, wanted: &WantedGit, report: &LazyTask) -> Result<GitRecord, Failure> {
        match peer {
            Peer::Plain(base) => {
                let url = peer::record(base, &wanted.commit)?;
                let text = self.text(&url, report).await?;
                peer::read_record(&url, &text, &wanted.commit, wanted.history)
            }
            Peer::Remote(remote) => {
                let ask = || remote.record(&wanted.commit).boxed();
                let text = self.guard(report).attempt(remote.url(), ask).await?;
                let text = text.ok_or_else(|| Failure::permanent(absent(remote.url())))?;
                peer::read_record(remote.url(), &text, &wanted.commit, wanted.history)
            }
        }
    }

    /// Compares the tree with the expected one, then adds the commit to the store.
    async fn take_in(
        &self,
        place: &impl fmt::Display,
        from: &str,
        repository: &Path,
        wanted: &WantedGit,
        report: &LazyTask,
    ) -> Result<GitRecord, Failure> {
        report.task().note("hashing");
        let (store, repository, wanted) = (self.store.clone(), repository.to_owned(), wanted.clone());
        let said = redact(&place.to_string());
        let taken = blocking(move || {
            let opened = open_objects(&repository).map_err(|error| error.wrap(said.clone()))?;
            let tree = tree::of_commit(&opened, &wanted.commit)?;
            if let Some(expected) = wanted.tree.filter(|expected| *expected != tree) {
                return Err(wrong_tree(&said, &wanted.commit, &expected, &tree));
            }
            store.add_git(&repository, &wanted.commit, tree)
        });
        let record = taken.await?;
        let sizes = record.packs.iter().filter_map(|pack| self.store.blob_size(&pack.pack));
        report.task().done(&format!("{} from {from}", progress::size(sizes.sum())));
        Ok(record)
    }

    async fn text(&self, url: &SourceUrl, report: &LazyTask) -> Result<String, Failure> {
        if url.scheme() == "file" {
            let path = peer::local_path(url)?;
            let read = blocking(move || Ok(disk::read_regular_text(&path, bounds::RECORD))).await?;
            return read.map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Failure::permanent(absent(url)),
                _ => Failure::permanent(at(url, error.to_string())),
            });
        }
        self.guard(report).attempt(url, || self.http.text(url, bounds::RECORD as usize).boxed()).await
    }
}

/// A place to ask for a commit.
enum GitPlace {
    /// Another store.
    Store(Peer),
    /// The repository itself, or a mirror of it.
    Upstream(SourceUrl),
}

/// git has helpers for other schemes (`svn:`, `hg:`, `s3:`) on some machines; kbuild never lets it use one.
fn must_be_for_git(url: &SourceUrl) -> Result<(), Failure> {
    if url.is_for_git() {
        return Ok(());
    }
    Err(Failure::permanent(at(url, format!("git does not speak `{}:`", url.scheme()))))
}

fn shown_host(url: &SourceUrl) -> String {
    if url.scheme() == "file" { url.as_url().path().to_owned() } else { url.host() }
}

fn wrong_tree(place: &str, commit: &CommitId, expected: &Blake3, got: &Blake3) -> Error {
    Error::new(Kind::Mismatch, format!("{} at {}", redact(place), commit.short()))
        .because(format!("expected tree {expected}\n     got tree {got}"))
        .help("a commit has exactly one tree: either the lock was changed by hand, or this mirror gives wrong data")
}
