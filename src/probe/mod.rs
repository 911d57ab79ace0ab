//! What upstreams say: whether they still have what is locked, what would stop if one of their hosts did, and what they have that
//! is newer.
//!
//! What may enter: what looks at upstreams mean for sources, boards and hosts. How an upstream is asked is said by
//! [`fetch`](crate::fetch).

mod hosts;
mod outdated;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

pub use hosts::HostLoad;
pub use outdated::{PinOutlook, UpstreamRefs, outdated};

use crate::error::Result;
use crate::fetch::{Listed, UpstreamAnswer, UpstreamClient, UpstreamLook};
use crate::lock::{Floating, Lock, Locked, LockedFile, LockedGit, Uses};
use crate::source::{Access, SourceId, SourceUrl};

/// Endings of files that somebody may have signed: archives, and no patches or packages of a registry.
const ARCHIVES: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar.lz", ".zip"];

/// Something to know about a source's upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeFinding {
    /// No URL of the source has it.
    Gone,
    /// A URL does not give it.
    Refused,
    /// A file has another size in bytes than the locked one.
    OtherSize { locked: u64, found: u64 },
    /// A repository has no such ref any more; it may still have the commit.
    NoRef(String),
    /// A tag leads to another commit than the locked one.
    MovedTag(String),
    /// A URL could not be asked.
    NoAnswer,
    /// It is redirected for good: the URL can be changed.
    Moved(String),
    /// It is redirected to another host.
    OtherHost(String),
    /// It is fetched without encryption; only its hash protects it.
    Plain(String),
    /// No signature was found beside it.
    Unsigned,
    /// Only mirrors have it.
    NotAsked,
}

impl ProbeFinding {
    /// Its name in JSON and in tables.
    pub fn name(&self) -> &'static str {
        match self {
            ProbeFinding::Gone => "gone",
            ProbeFinding::Refused => "refused",
            ProbeFinding::OtherSize { .. } => "other-size",
            ProbeFinding::NoRef(_) => "no-ref",
            ProbeFinding::MovedTag(_) => "moved-tag",
            ProbeFinding::NoAnswer => "no-answer",
            ProbeFinding::Moved(_) => "moved",
            ProbeFinding::OtherHost(_) => "other-host",
            ProbeFinding::Plain(_) => "plain",
            ProbeFinding::Unsigned => "unsigned",
            ProbeFinding::NotAsked => "not-asked",
        }
    }

    /// Whether somebody who has no mirror and no store could not fetch the source now.
    pub fn stops(&self) -> bool {
        matches!(
            self,
            ProbeFinding::Gone | ProbeFinding::Refused | ProbeFinding::OtherSize { .. } | ProbeFinding::NoAnswer
        )
    }
}

/// What was seen of one source.
#[derive(Debug, Clone)]
pub struct ProbedSource {
    pub id: SourceId,
    /// A look at each of its URLs, the canonical one first.
    pub looks: Vec<UpstreamLook>,
    /// What is to be known, the worst first.
    pub findings: Vec<ProbeFinding>,
    /// The boards that need it.
    pub boards: BTreeSet<String>,
}

impl ProbedSource {
    /// Why the worst look failed, or where it led.
    pub fn detail(&self, finding: &ProbeFinding) -> String {
        let why = |answer| {
            let look = self.looks.iter().find(|look| look.answer == answer);
            look.map(|look| format!("{}: {}", look.url, look.why.as_deref().unwrap_or_default())).unwrap_or_default()
        };
        match finding {
            ProbeFinding::Gone => why(UpstreamAnswer::Gone),
            ProbeFinding::Refused => why(UpstreamAnswer::Refused),
            ProbeFinding::NoAnswer => why(UpstreamAnswer::Silent),
            ProbeFinding::OtherSize { locked, found } => format!("{found} bytes, and {locked} are locked"),
            ProbeFinding::NoRef(name) => format!("there is no {name}"),
            ProbeFinding::MovedTag(name) => format!("{name} leads to another commit"),
            ProbeFinding::Moved(to) | ProbeFinding::OtherHost(to) => format!("to {to}"),
            ProbeFinding::Plain(url) => url.clone(),
            ProbeFinding::Unsigned => "no signature beside it".to_owned(),
            ProbeFinding::NotAsked => {
                self.looks.first().map(|look| format!("{}: only mirrors are asked", look.url)).unwrap_or_default()
            }
        }
    }
}

/// What was seen of a lock's sources.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// In the order of the lock.
    pub sources: Vec<ProbedSource>,
    /// The host that would stop most boards first.
    pub hosts: Vec<HostLoad>,
}

impl ProbeReport {
    /// How many sources have each finding.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for source in &self.sources {
            let names: BTreeSet<&str> = source.findings.iter().map(ProbeFinding::name).collect();
            names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
        }
        counts
    }

    /// How many sources nobody without a mirror could fetch now.
    pub fn stopped(&self) -> usize {
        self.sources.iter().filter(|source| source.findings.iter().any(ProbeFinding::stops)).count()
    }
}

/// Looks at the upstreams of these sources of a lock, each URL once; with `signatures`, also for signatures beside archives.
///
/// # Errors
/// The lock has no such source.
pub async fn probe(lock: &Lock, ids: &[SourceId], upstreams: &UpstreamClient, signatures: bool) -> Result<ProbeReport> {
    let locked: Vec<(SourceId, Locked<'_>)> =
        ids.iter().map(|id| Ok((id.clone(), lock.get(id)?))).collect::<Result<_>>()?;
    let (files, repositories) = (look_at_files(&locked, upstreams), look_at_repositories(&locked, upstreams));
    let (files, repositories) = futures_util::future::join(files, repositories).await;
    let signed = if signatures { look_for_signatures(&files, upstreams).await } else { BTreeMap::new() };
    let uses = Uses::of(lock);
    let sources: Vec<ProbedSource> = locked
        .into_iter()
        .map(|(id, locked)| {
            let (looks, mut findings) = match locked {
                Locked::File(_, file) => {
                    let looks: Vec<UpstreamLook> = file.urls.iter().filter_map(|url| files.get(url).cloned()).collect();
                    let findings = of_file(file, &looks, &signed);
                    (looks, findings)
                }
                Locked::Git(_, git) => {
                    let seen = repositories.get(&git.url);
                    (seen.map(|(look, _)| look.clone()).into_iter().collect(), of_git(lock, git, seen))
                }
            };
            findings.sort();
            findings.dedup();
            let configurations = uses.all(&id).into_iter().flat_map(|of| of.configurations());
            let boards = configurations.map(|configuration| configuration.board.to_owned()).collect();
            ProbedSource { id, looks, findings, boards }
        })
        .collect();
    let hosts = hosts::loads(&sources);
    Ok(ProbeReport { sources, hosts })
}

async fn look_at_files(
    locked: &[(SourceId, Locked<'_>)],
    upstreams: &UpstreamClient,
) -> BTreeMap<SourceUrl, UpstreamLook> {
    let mut urls = BTreeSet::new();
    for (_, locked) in locked {
        if let Locked::File(_, file) = locked {
            urls.extend(&file.urls);
        }
    }
    let looks = join_all(urls.iter().map(|url| upstreams.file(url))).await;
    looks.into_iter().map(|look| (look.url.clone(), look)).collect()
}

/// A look at each repository, once for all commits of it, and what its refs lead to.
async fn look_at_repositories(
    locked: &[(SourceId, Locked<'_>)],
    upstreams: &UpstreamClient,
) -> BTreeMap<SourceUrl, (UpstreamLook, Vec<Listed>)> {
    let mut refs: BTreeMap<SourceUrl, BTreeSet<String>> = BTreeMap::new();
    for (_, locked) in locked {
        if let Locked::Git(_, git) = locked {
            refs.entry(git.url.clone()).or_default().extend(git.refs.iter().cloned());
        }
    }
    let ask = refs.iter().map(|(url, refs)| async {
        let refs: Vec<String> = refs.iter().cloned().collect();
        (url.clone(), upstreams.git(url, &refs).await)
    });
    join_all(ask).await.into_iter().collect()
}

async fn look_for_signatures(
    files: &BTreeMap<SourceUrl, UpstreamLook>,
    upstreams: &UpstreamClient,
) -> BTreeMap<SourceUrl, Option<SourceUrl>> {
    let is_archive = |url: &SourceUrl| ARCHIVES.iter().any(|ending| url.as_url().path().ends_with(ending));
    let archives = files
        .iter()
        .filter(|(url, look)| look.answer == UpstreamAnswer::There && url.access() == Access::Web && is_archive(url));
    let ask = archives.map(|(url, look)| async { (url.clone(), upstreams.signature(look).await) });
    join_all(ask).await.into_iter().collect()
}

fn of_file(
    file: &LockedFile,
    looks: &[UpstreamLook],
    signed: &BTreeMap<SourceUrl, Option<SourceUrl>>,
) -> Vec<ProbeFinding> {
    let mut findings = of_looks(looks);
    for look in looks {
        if let (Some(found), Some(content)) = (look.size, file.content)
            && found != content.size
        {
            findings.push(ProbeFinding::OtherSize { locked: content.size, found });
        }
    }
    let searched: Vec<_> = looks.iter().filter_map(|look| signed.get(&look.url)).collect();
    if !searched.is_empty() && searched.iter().all(|signature| signature.is_none()) {
        findings.push(ProbeFinding::Unsigned);
    }
    findings
}

fn of_git(lock: &Lock, git: &LockedGit, seen: Option<&(UpstreamLook, Vec<Listed>)>) -> Vec<ProbeFinding> {
    let Some((look, listed)) = seen else { return Vec::new() };
    let mut findings = of_looks(std::slice::from_ref(look));
    if look.answer != UpstreamAnswer::There {
        return findings;
    }
    for name in &git.refs {
        let peeled = format!("{name}^{{}}");
        let at = |name: &str| listed.iter().find(|listed| listed.name == *name).map(|listed| listed.id);
        match at(&peeled).or_else(|| at(name)) {
            None => findings.push(ProbeFinding::NoRef(name.clone())),
            Some(commit) if commit != git.commit && name.starts_with("refs/tags/") => {
                let accepted = lock.moved_tags.get(&Floating::key(&git.url, name)) == Some(&git.commit);
                findings.extend((!accepted).then(|| ProbeFinding::MovedTag(name.clone())));
            }
            Some(_) => {}
        }
    }
    findings
}

/// What the looks at the URLs of one source say. One URL that has it is enough for a fetch.
fn of_looks(looks: &[UpstreamLook]) -> Vec<ProbeFinding> {
    let mut findings = Vec::new();
    let is_there = looks.iter().any(|look| look.answer == UpstreamAnswer::There);
    for look in looks {
        match look.answer {
            UpstreamAnswer::There => {}
            _ if is_there => continue,
            UpstreamAnswer::Gone if looks.iter().all(|look| look.answer == UpstreamAnswer::Gone) => {
                findings.push(ProbeFinding::Gone);
            }
            UpstreamAnswer::Gone => {}
            UpstreamAnswer::Refused => findings.push(ProbeFinding::Refused),
            UpstreamAnswer::Silent => findings.push(ProbeFinding::NoAnswer),
            UpstreamAnswer::NotAsked => findings.push(ProbeFinding::NotAsked),
        }
        if let Some(redirected) = &look.redirected {
            if redirected.moved {
                findings.push(ProbeFinding::Moved(redirected.to.clone()));
            }
            if redirected.host != look.asked.host() {
                findings.push(ProbeFinding::OtherHost(redirected.to.clone()));
            }
        }
        if ["http", "ftp", "git"].contains(&look.asked.scheme()) {
            findings.push(ProbeFinding::Plain(look.asked.to_string()));
        }
    }
    findings
}
