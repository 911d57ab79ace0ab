//! One file from the first place that has it: the order of places, retries at each, and the error when none has it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex as AsyncMutex;

use url::Url;

use super::checksums::{Disagreement, compare};
use super::peer::Endpoint;
use super::{FetchSettings, Fetcher, WantedFile, peer, plausible};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;
use crate::net::blocking;
use crate::net::guard::RequestGuard;
use crate::net::report::LazyTask;
use crate::net::retry::{Class, Failure};
use crate::net::transfer::{Delivery, Expected, at};
use crate::progress::{self, Task};
use crate::source::url::{redact, without_query};
use crate::source::{Access, Checksum, Digests, Hasher, SourceUrl, Sums};
use crate::store::PartialDownload;
use futures_util::FutureExt as _;

/// How many characters of a wrong body a message shows.
const SHOWN: usize = 200;

/// A file to be fetched.
pub(crate) struct FileJob<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The key of its partial download.
    pub key: String,
    /// What its bytes must be.
    pub expected: Expected,
    /// Where it can be fetched from, in order; each of these places is expected to have it.
    pub candidates: Vec<Result<Endpoint>>,
    /// The file for which the fallback lists are asked after them; `None` for one that they cannot have.
    pub wanted: Option<&'a WantedFile>,
}

impl Fetcher {
    /// Brings a file into the store.
    pub(super) async fn fetch_file(&self, job: FileJob<'_>, report: &LazyTask) -> Result<Digests> {
        if job.candidates.is_empty() {
            return Err(self.nobody_has(job.name, Vec::new(), 0));
        }
        let (store, key) = (self.store.clone(), job.key.clone());
        let sums = Sums::of(job.expected.sums.iter().map(Checksum::algorithm));
        let incoming = blocking(move || store.incoming_with(&key, sums)).await?;
        if let Some(found) = self.present(&job.expected) {
            drop(incoming); // Another process, or another task, has fetched it meanwhile.
            return self.must_agree(job.name, &job.expected, found).await;
        }
        let mut slot = Some(incoming);
        if let Some(done) = self.left_whole(&mut slot, &job.expected).await? {
            return Ok(done);
        }
        let mut tried = Vec::new();
        if let Some(done) = self.first_of(&job.candidates, &mut slot, &job, report, &mut tried).await? {
            return Ok(done);
        }
        // The silence of a fallback says nothing: it never had to have the file.
        let owners = tried.len();
        if let Some(wanted) = job.wanted {
            let fallbacks = self.fallbacks_of_file(wanted, &job.candidates).await;
            if let Some(done) = self.first_of(&fallbacks, &mut slot, &job, report, &mut tried).await? {
                return Ok(done);
            }
        }
        Err(self.nobody_has(job.name, tried, owners))
    }

    /// The file from the first of some places that has it; why the others do not have it goes to `tried`.
    async fn first_of(
        &self,
        places: &[Result<Endpoint>],
        slot: &mut Option<PartialDownload>,
        job: &FileJob<'_>,
        report: &LazyTask,
        tried: &mut Vec<Error>,
    ) -> Result<Option<Digests>> {
        for place in places {
            let outcome = match place {
                Ok(Endpoint::Url(url)) if url.scheme() == "file" => self.out_of_folder(url, slot, job, report).await,
                Ok(place) => self.over_network(place, slot, job, report).await,
                Err(error) => {
                    tried.push(said(error));
                    continue;
                }
            };
            match outcome {
                Ok(digests) => return Ok(Some(digests)),
                Err(Failure { class: Class::Fatal, error }) => {
                    return Err(error.wrap(format!("could not fetch {}", job.name)));
                }
                Err(Failure { error, .. }) => {
                    tracing::debug!("{}: {error}: {}", job.name, error.causes().join(": "));
                    tried.push(error);
                }
            }
        }
        Ok(None)
    }

    /// See [`nobody_has`].
    pub(super) fn nobody_has(&self, what: &str, tried: Vec<Error>, owners: usize) -> Error {
        let asked = match self.settings {
            FetchSettings { offline: true, .. } => Tried::Offline,
            FetchSettings { upstreams: false, .. } => Tried::OneStore,
            _ => Tried::Everybody,
        };
        nobody_has(what, tried, owners, asked)
    }

    /// The file as the store has it, found by its SHA-256.
    pub(super) fn present(&self, expected: &Expected) -> Option<Digests> {
        let found = self.store.by_sha256(expected.sha256.as_ref()?)?;
        expected.matches(&found).then_some(found)
    }

    /// The same, if the other checksums of the recipe match the file in the store. This reads the file.
    pub(super) async fn must_agree(&self, name: &str, expected: &Expected, found: Digests) -> Result<Digests> {
        if expected.sums.is_empty() {
            return Ok(found);
        }
        let (path, sums) = (self.store.blob_path(&found.blake3), expected.sums.clone());
        let Some(wrong) = blocking(move || compare(&sums, &[], &path)).await? else { return Ok(found) };
        let lines = format!("its sha256 is {}\n{}", found.sha256, wrong.lines());
        let message = format!("the checksums that are given for {name} do not belong to one file");
        Err(Error::new(Kind::Mismatch, message)
            .because(lines)
            .help("one of them is wrong: correct it where it is given"))
    }

    /// An earlier run may have been ended between the last byte and the rename.
    async fn left_whole(&self, slot: &mut Option<PartialDownload>, expected: &Expected) -> Result<Option<Digests>> {
        let Some(incoming) = slot.as_ref().filter(|incoming| incoming.size() > 0) else { return Ok(None) };
        if !expected.is_known() || !expected.matches(&incoming.digests()) {
            return Ok(None);
        }
        let (wanted, known, path) = (expected.sums.clone(), incoming.sums(), incoming.path().to_owned());
        if blocking(move || Ok(compare(&wanted, &known, &path).ok())).await? != Some(None) {
            return Ok(None);
        }
        match slot.take() {
            Some(incoming) => blocking(move || incoming.finish()).await.map(Some),
            None => Ok(None),
        }
    }

    async fn over_network(
        &self,
        place: &Endpoint,
        slot: &mut Option<PartialDownload>,
        job: &FileJob<'_>,
        report: &LazyTask,
    ) -> Result<Digests, Failure> {
        let mut doubted = false;
        loop {
            let delivery = self.attempt_transfer(place, slot, job, report).await?;
            match self.judge(place, slot, job, &delivery, report).await {
                // The bytes come from two transfers. One of them was wrong, and it need not be this server's.
                Err(failure) if failure.class == Class::Permanent && delivery.resumed && !doubted => {
                    doubted = true;
                    report.task().note("the resumed download is damaged: from the start");
                }
                judged => return judged,
            }
        }
    }

    /// Brings a place's bytes into the partial download, whatever they are.
    pub(super) async fn attempt_transfer(
        &self,
        place: &Endpoint,
        slot: &mut Option<PartialDownload>,
        job: &FileJob<'_>,
        report: &LazyTask,
    ) -> Result<Delivery, Failure> {
        let arrived = AtomicU64::new(size(slot));
        let slot = AsyncMutex::new(slot);
        let (slot, count) = (&slot, &arrived);
        let ask = move || {
            let transfer = async move {
                let mut slot = slot.lock().await;
                report.task().note(&format!("from {}", place.host()));
                let outcome = self.transfer(place, &mut slot, &job.expected, report.task()).await;
                count.store(size(&slot), Ordering::Relaxed);
                outcome
            };
            transfer.boxed()
        };
        self.guard(report).attempt_transfer(place, || arrived.load(Ordering::Relaxed), ask).await
    }

    async fn transfer(
        &self,
        place: &Endpoint,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let url = match place {
            Endpoint::Url(url) => url,
            Endpoint::Remote(remote) => return remote.transfer(slot, expected, task, &self.policy).await,
        };
        match url.scheme() {
            "http" | "https" => self.http.transfer(url, slot, expected, task).await,
            "oci" => self.image_transfer(url, slot, expected, task).await,
            _ if url.access() == Access::Lfs => self.lfs_transfer(url, slot, expected, task).await,
            "ftp" | "ftps" => {
                let login = self.http.netrc().for_host(url.as_url().host_str().unwrap_or_default());
                self.ftp.transfer(url, login, slot, expected, task).await
            }
            other => Err(Failure::permanent(at(url, format!("kbuild does not fetch files over `{other}:`")))),
        }
    }

    /// The limits and retries towards servers, reporting to this task.
    pub(super) fn guard<'a>(&'a self, report: &'a LazyTask) -> RequestGuard<'a> {
        RequestGuard { limits: &self.limits, policy: &self.policy, report }
    }

    /// Compares the download with the expected digests: it becomes a blob, or is removed.
    async fn judge(
        &self,
        place: &Endpoint,
        slot: &mut Option<PartialDownload>,
        job: &FileJob<'_>,
        delivery: &Delivery,
        report: &LazyTask,
    ) -> Result<Digests, Failure> {
        let mut incoming = slot.take().ok_or_else(|| Error::bug("a transfer has lost its partial download"))?;
        let asked = match place {
            Endpoint::Url(url) => url.as_url(),
            Endpoint::Remote(_) => &delivery.url,
        };
        let digests = incoming.digests();
        if !job.expected.matches(&digests) {
            incoming.restart()?;
            *slot = Some(incoming);
            return Err(Failure::permanent(mismatch(asked, &delivery.url, &job.expected, &digests, &delivery.head)));
        }
        let (wanted, known, path) = (job.expected.sums.clone(), incoming.sums(), incoming.path().to_owned());
        if let Some(wrong) = blocking(move || compare(&wanted, &known, &path)).await? {
            incoming.restart()?;
            *slot = Some(incoming);
            return Err(Failure::permanent(wrong_sum(asked, &delivery.url, &wrong, &digests, &delivery.head)));
        }
        if !job.expected.is_known() {
            let path = incoming.path().to_owned();
            let head = blocking(move || beginning(&path)).await?;
            if let Some(why) = plausible::doubt(job.name, &head) {
                incoming.restart()?;
                *slot = Some(incoming);
                return Err(Failure::permanent(implausible(asked, &delivery.url, &why, &head)));
            }
        }
        let digests = blocking(move || incoming.finish()).await?;
        report.task().done(&format!("{} from {}", progress::size(digests.size), place.host()));
        Ok(digests)
    }

    /// A file in a folder. It is hashed before it enters the store, so that wrong bytes never become content.
    async fn out_of_folder(
        &self,
        url: &SourceUrl,
        slot: &mut Option<PartialDownload>,
        job: &FileJob<'_>,
        report: &LazyTask,
    ) -> Result<Digests, Failure> {
        let path = peer::local_path(url)?;
        let _permit = self.limits.transfer("", "").await;
        let (from, expected) = (path.clone(), job.expected.clone());
        // A folder that cannot be read is a failure of that mirror alone: the next place is tried.
        let read = blocking(move || read(&from, &expected)).await;
        let (found, head) = read.map_err(|error| Failure::permanent(said(&error)))?;
        let Some(found) = found else {
            return Err(Failure::permanent(Error::new(Kind::Missing, url.as_str()).because("there is no such file")));
        };
        if !job.expected.matches(&found) {
            return Err(Failure::permanent(mismatch(url.as_url(), url.as_url(), &job.expected, &found, &head)));
        }
        let (from, sums) = (path.clone(), job.expected.sums.clone());
        let compared = blocking(move || compare(&sums, &[], &from)).await;
        if let Some(wrong) = compared.map_err(|error| Failure::permanent(said(&error)))? {
            return Err(Failure::permanent(wrong_sum(url.as_url(), url.as_url(), &wrong, &found, &head)));
        }
        if let Some(why) = plausible::doubt(job.name, &head).filter(|_| !job.expected.is_known()) {
            return Err(Failure::permanent(implausible(url.as_url(), url.as_url(), &why, &head)));
        }
        report.task().note("from a folder");
        let store = self.store.clone();
        let added = blocking(move || store.add_file(&path)).await?;
        if !job.expected.matches(&added) {
            return Err(Failure::permanent(mismatch(url.as_url(), url.as_url(), &job.expected, &added, &head)));
        }
        if job.expected.is_known() && added != found {
            return Err(Failure::permanent(at(url, "the file changed while it was read")));
        }
        // The partial download of an earlier transfer is not needed any more.
        if let Some(incoming) = slot {
            incoming.restart()?;
        }
        report.task().done(&format!("{} from {}", progress::size(added.size), peer::shown_folder(url)));
        Ok(added)
    }
}

fn size(slot: &Option<PartialDownload>) -> u64 {
    slot.as_ref().map_or(0, PartialDownload::size)
}

/// The digests of a file and its first bytes; `None` if it does not exist. Without an expected digest nothing is hashed
/// here: adding it to the store does that.
fn read(path: &Path, expected: &Expected) -> Result<(Option<Digests>, Vec<u8>)> {
    use std::io::{ErrorKind, Read as _};
    let failed = |error| Error::io("read", path, error);
    let mut file = match disk::try_open_linked(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok((None, Vec::new()));
        }
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Ok((None, Vec::new()));
    }
    if let Some(wanted) = expected.size.filter(|wanted| metadata.len() > (*wanted).max(bounds::TOO_LONG_SHOWN)) {
        let why = format!("it has {} bytes, and {wanted} are wanted", metadata.len());
        return Err(Error::new(Kind::Mismatch, path.display().to_string()).because(why));
    }
    let mut hasher = Hasher::default();
    let mut head = Vec::new();
    if !expected.is_known() {
        head = beginning(path)?;
    } else {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            if head.is_empty() {
                head.extend_from_slice(&buffer[..count.min(512)]);
            }
            hasher.update(&buffer[..count]);
        }
    }
    Ok((Some(hasher.finish()), head))
}

/// The first bytes of a file.
fn beginning(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut head = Vec::new();
    let read = disk::try_open_linked(path).and_then(|file| file.take(512).read_to_end(&mut head));
    read.map_err(|error| Error::io("read", path, error))?;
    Ok(head)
}

/// The error for bytes that cannot be the file, where no hash of the file is known.
fn implausible(url: &Url, end: &Url, why: &str, head: &[u8]) -> Error {
    wrong_bytes(url, end, vec![format!("no hash is given for it, and {why}")], head).help(
        format!("look at the URL in a browser: a login or a proxy may stand before it. If these are the right bytes, give their sha256 \
         where the source is declared ({MANIFEST} or its recipe)"),
    )
}

fn mismatch(url: &Url, end: &Url, expected: &Expected, got: &Digests, head: &[u8]) -> Error {
    let mut lines = Vec::new();
    match (expected.sha256, expected.blake3) {
        (Some(wanted), _) if wanted != got.sha256 => {
            lines.push(format!("expected sha256 {wanted}{}", bytes(expected.size)));
            lines.push(format!("     got sha256 {} ({} bytes)", got.sha256, got.size));
        }
        (_, Some(wanted)) if wanted != got.blake3 => {
            lines.push(format!("expected blake3 {wanted}{}", bytes(expected.size)));
            lines.push(format!("     got blake3 {} ({} bytes)", got.blake3, got.size));
        }
        _ => lines.push(format!("the hash is right, but {} bytes came{}", got.size, bytes(expected.size))),
    }
    wrong_bytes(url, end, lines, head).help(format!(
        "if these are the right bytes, put sha256 {} where the source is declared ({MANIFEST} or its recipe) and run \
         `kbuild lock`",
        got.sha256
    ))
}

/// The error for bytes that do not have one of the recipe's other checksums.
fn wrong_sum(url: &Url, end: &Url, wrong: &Disagreement, got: &Digests, head: &[u8]) -> Error {
    let lines = vec![wrong.lines(), format!("     got sha256 {} ({} bytes)", got.sha256, got.size)];
    let algorithm = wrong.got.algorithm();
    wrong_bytes(url, end, lines, head).help(format!(
        "if these are the right bytes, put {algorithm} {} or better sha256 {} into the recipe, and run `kbuild lock`",
        wrong.got.hex(),
        got.sha256
    ))
}

fn wrong_bytes(url: &Url, end: &Url, mut lines: Vec<String>, head: &[u8]) -> Error {
    if end != url {
        lines.push(format!("redirected to {}", without_query(end)));
    }
    if let Some(text) = readable(head) {
        lines.push(format!("it begins with `{text}`"));
    }
    Error::new(Kind::Mismatch, redact(url.as_str())).because(lines.join("\n"))
}

fn bytes(size: Option<u64>) -> String {
    size.map(|size| format!(" ({size} bytes)")).unwrap_or_default()
}

/// The beginning of a body that is HTML or other text: most often a page that says what went wrong.
fn readable(head: &[u8]) -> Option<String> {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be incomplete.
        Err(error) if error.valid_up_to() + 4 > head.len() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if valid.trim().is_empty() || valid.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) {
        return None;
    }
    let words: Vec<&str> = valid.split_whitespace().collect();
    let shown: String = words.join(" ").chars().take(SHOWN).collect();
    Some(redact(&shown))
}

/// The same error as a failure of one place among several.
fn said(error: &Error) -> Error {
    let told = Error::new(Kind::Network, redact(&error.to_string())).because(error.causes().join(": "));
    error.hint().iter().fold(told, |told, hint| told.help(*hint))
}

/// Which places could be asked for a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Everybody,
    Offline,
    OneStore,
}

/// The error when no place had a source. Wrong bytes from any place decide its kind, because a person has to look at
/// them; else the kind says whether the first `owners` places, which are expected to have it, all answered that they do
/// not.
fn nobody_has(what: &str, mut tried: Vec<Error>, owners: usize, asked: Tried) -> Error {
    let wrong = tried.iter().position(|error| error.kind() == Kind::Mismatch);
    let absent = asked == Tried::OneStore && tried.iter().all(|error| error.kind() == Kind::Missing);
    let kind = match wrong {
        Some(_) => Kind::Mismatch,
        None if asked == Tried::Offline || absent => Kind::Missing,
        None if denied(&tried, owners) => Kind::Denied,
        None => Kind::Network,
    };
    let message = match kind {
        Kind::Mismatch => format!("checksum mismatch for {what}"),
        Kind::Missing if absent => format!("{what} is not in that store"),
        Kind::Missing => format!("{what} is not in the store, and the network may not be used"),
        Kind::Denied => format!("nobody has {what}: whoever was asked answered so"),
        _ if tried.is_empty() => format!("there is no place to fetch {what} from"),
        _ => format!("could not fetch {what}"),
    };
    let hint = tried[wrong.unwrap_or(0)..].iter().find_map(|error| error.hint().map(str::to_owned));
    let hint = hint.or_else(|| {
        match kind {
        Kind::Missing if absent => Some(
            "`kbuild push` puts it there from a store that has it; `kbuild fetch` asks the upstreams too".to_owned(),
        ),
        Kind::Missing => {
            Some("run `kbuild fetch` without --offline, or name a store that has it with `--mirror`".to_owned())
        }
        Kind::Denied => Some(
            "its upstream took it away or moved it: name a place that has it by a `[[mirrors.rule]]` or `--mirror`, or \
             change the URL or commit where it is written"
                .to_owned(),
        ),
        Kind::Network => {
            Some("run the same command again: what has come is kept; `--mirror` names another place".to_owned())
        }
        _ => None,
    }
    });
    let error = Error::new(kind, message);
    let error = hint.into_iter().fold(error, |error, hint| error.help(hint));
    match (tried.len(), tried.pop()) {
        (1, Some(only)) => error.because(only),
        (_, Some(last)) => {
            tried.push(last);
            let places = tried.len();
            error.because(format!("{places} places were asked")).with_related(tried)
        }
        (_, None) => error,
    }
}

/// Whether the places that are expected to have it were asked, and answered that they do not.
fn denied(tried: &[Error], owners: usize) -> bool {
    let asked = &tried[..owners.min(tried.len())];
    !asked.is_empty() && asked.iter().all(|error| error.kind() == Kind::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ought_to_have_it_and_does_not_denies_it() {
        let no = || Error::new(Kind::Missing, "https://a/x").because("404");
        let silent = || Error::new(Kind::Network, "https://b/x").because("no answer");
        let kind = |tried, owners| nobody_has("x", tried, owners, Tried::Everybody).kind();
        assert_eq!(kind(vec![no(), no()], 2), Kind::Denied);
        assert_eq!(kind(vec![no(), silent()], 1), Kind::Denied, "a fallback's silence says nothing");
        assert_eq!(kind(vec![no(), silent()], 2), Kind::Network);
        assert_eq!(kind(vec![], 0), Kind::Network);
        assert_eq!(nobody_has("x", vec![no()], 1, Tried::Offline).kind(), Kind::Missing);
    }

    #[test]
    fn html_is_shown_and_binary_is_not() {
        let shown = readable(b"<!DOCTYPE html>\n<title>Not here</title>").unwrap();
        assert_eq!(shown, "<!DOCTYPE html> <title>Not here</title>");
        assert_eq!(readable(b"\x1f\x8b\x08\0\0"), None);
        assert_eq!(readable(b"\x1b[31mred"), None, "no terminal codes");
        assert_eq!(readable(b""), None);
        assert_eq!(readable("x\u{e9}".as_bytes()[..2].into()), Some("x".to_owned()));
    }

    #[test]
    fn wrong_bytes_decide_the_kind() {
        let gone = || Error::new(Kind::Network, "https://a/x").because("404");
        let wrong = || Error::new(Kind::Mismatch, "https://b/x").help("accept it");
        let error = nobody_has("x", vec![gone(), wrong()], 2, Tried::Everybody);
        assert_eq!((error.kind(), error.hint()), (Kind::Mismatch, Some("accept it")));
        assert_eq!(error.related_errors().len(), 2);
        assert_eq!(nobody_has("x", vec![gone()], 1, Tried::Everybody).causes(), ["https://a/x", "404"]);
        assert_eq!(nobody_has("x", vec![], 0, Tried::Offline).kind(), Kind::Missing);
    }
}
