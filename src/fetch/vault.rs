//! Commits out of a vault of Software Heritage, which makes ("cooks") a bare repository of any commit that it has archived.
//!
//! The API is <https://archive.softwareheritage.org/api/1/vault/git-bare/doc/>: a POST requests the repository, GETs say how
//! far it is, and `raw/` below gives a tar archive of it. Nothing rests on the vault's word: git reads the objects anew, which
//! hashes each, and the tree is compared as for any other place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::exposure::Exposure;
use super::file::FileJob;
use super::git::{index, new_repository};
use super::mirrors::place;
use super::peer::Endpoint;
use super::{Fetcher, WantedGit};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::manifest::Fill;
use crate::net::blocking;
use crate::net::report::LazyTask;
use crate::net::retry::{Class, Failure};
use crate::net::transfer::{Expected, at};
use crate::source::url::redact;
use crate::source::{CommitId, SourceUrl};
use crate::store::{GitRecord, PartialDownload};

/// Longest answer about a request that is read, in bytes.
const ANSWER: usize = bounds::VAULT_ANSWER as usize;

/// Longest word of a vault that is shown, in characters.
const SHOWN: usize = 80;

/// The ref under which an unpacked commit is fetched.
const REFERENCE: &str = "refs/heads/vault";

/// How a vault is asked.
#[derive(Debug)]
pub(crate) struct VaultPolicy {
    /// Until the first look whether a repository is made; the delay doubles from there.
    pub first: Duration,
    /// No delay is longer.
    pub longest: Duration,
    /// How long one repository is waited for.
    pub total: Duration,
    /// Commits that are asked for in one run. Cooking is work for an archive that everybody shares.
    pub most: usize,
    /// How many were asked for.
    pub asked: AtomicUsize,
}

impl Default for VaultPolicy {
    fn default() -> Self {
        VaultPolicy {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(60),
            total: Duration::from_secs(600),
            most: 16,
            asked: AtomicUsize::new(0),
        }
    }
}

/// What a vault says of a request.
#[derive(Debug, Deserialize)]
struct Cooking {
    status: String,
    #[serde(default)]
    progress_message: Option<String>,
}

impl Fetcher {
    /// A commit that nobody else has, out of the vaults of the fallback lists; why they do not give it goes to `tried`.
    pub(super) async fn git_from_vaults(
        &self,
        wanted: &WantedGit,
        report: &LazyTask,
        tried: &mut Vec<Error>,
    ) -> Result<Option<GitRecord>> {
        if self.settings.offline || !self.settings.upstreams {
            return Ok(None);
        }
        let fill = Fill { commit: Some(&wanted.commit), ..Fill::default() };
        let vaults = self.fallbacks.vaults.rewrite(&wanted.url, fill);
        if vaults.is_empty() || self.exposure(&wanted.url).await == Exposure::Internal {
            return Ok(None);
        }
        for vault in vaults {
            let outcome = match vault {
                Ok(vault) => self.git_from_vault(&vault, wanted, report).await,
                Err(error) => Err(Failure::permanent(error)),
            };
            match outcome {
                Ok(record) => return Ok(Some(record)),
                Err(Failure { class: Class::Fatal, error }) => return Err(error),
                Err(Failure { error, .. }) => tried.push(error),
            }
        }
        Ok(None)
    }

    async fn git_from_vault(
        &self,
        vault: &SourceUrl,
        wanted: &WantedGit,
        report: &LazyTask,
    ) -> Result<GitRecord, Failure> {
        let most = self.vault.most;
        if self.vault.asked.fetch_add(1, Ordering::Relaxed) >= most {
            let why =
                format!("{most} commits were asked for there in this run, which is enough: run the same command again");
            return Err(Failure::permanent(at(vault, why)));
        }
        self.wait_for_vault(vault, report).await?;
        let scratch = self.store.scratch()?;
        let unpacked = self.unpacked_bundle(vault, wanted, scratch.path(), report).await?;
        let folder = place(&unpacked.to_string_lossy())?;
        // From there as from any repository: what comes is hashed, and cut where less than all history is wanted.
        let there = WantedGit { url: folder.clone(), refs: vec![REFERENCE.to_owned()], ..wanted.clone() };
        let (repository, commit) = self.git.obtain(&folder, &there, scratch.path(), report.task()).await?;
        self.take_in(vault, &vault.host(), &repository, &WantedGit { commit, ..wanted.clone() }, report).await
    }

    /// Requests the repository, and waits until it is made.
    async fn wait_for_vault(&self, vault: &SourceUrl, report: &LazyTask) -> Result<(), Failure> {
        let until = Instant::now() + self.vault.total;
        let mut delay = self.vault.first;
        let mut said = self.guard(report).attempt(vault, || self.http.post(vault, ANSWER).boxed()).await?;
        loop {
            let cooking: Cooking = serde_json::from_str(&said)
                .map_err(|error| Failure::permanent(at(vault, format!("the answer cannot be read: {error}"))))?;
            let message = shown(cooking.progress_message.as_deref().unwrap_or_default());
            match cooking.status.as_str() {
                "done" => return Ok(()),
                "new" | "pending" => {}
                "failed" => {
                    return Err(Failure::permanent(at(vault, format!("it could not be made there: {message}"))));
                }
                other => return Err(Failure::permanent(at(vault, format!("an unknown status: {}", shown(other))))),
            }
            if Instant::now() + delay > until {
                let why = format!("it was not made within {} s", self.vault.total.as_secs());
                let help = "it is still being made there: run the same command again in a while";
                return Err(Failure::permanent(at(vault, why).help(help)));
            }
            report.task().note(&format!("{} makes it: {message}", vault.host()));
            sleep(delay).await;
            delay = (delay * 2).min(self.vault.longest);
            said = self.guard(report).attempt(vault, || self.http.text(vault, ANSWER).boxed()).await?;
        }
    }

    /// Fetches the archive of a repository that is made, and unpacks it into `scratch`.
    async fn unpacked_bundle(
        &self,
        vault: &SourceUrl,
        wanted: &WantedGit,
        scratch: &Path,
        report: &LazyTask,
    ) -> Result<PathBuf, Failure> {
        let url: SourceUrl = format!("{vault}raw/").parse()?;
        let (store, key) = (self.store.clone(), format!("vault-{}", wanted.commit));
        let job = FileJob {
            name: "the vault's archive",
            key: key.clone(),
            expected: Expected::default(),
            candidates: Vec::new(),
            wanted: None,
        };
        let incoming = blocking(move || store.incoming(&key)).await?;
        let mut slot = Some(incoming);
        self.attempt_transfer(&Endpoint::Url(url.clone()), &mut slot, &job, report).await?;
        let incoming = slot.ok_or_else(|| Error::bug("a transfer has lost its partial download"))?;
        report.task().note("unpacking");
        let (said, scratch, commit) = (redact(url.as_str()), scratch.to_owned(), wanted.commit);
        let unpacked = blocking(move || {
            let unpacked = unpack(incoming.path(), &scratch, &commit);
            // It was of use, or never will be.
            forget(incoming)?;
            unpacked
        });
        unpacked.await.map_err(|error| Failure::from(error.wrap(format!("{said} gave no repository"))))
    }
}

fn forget(mut incoming: PartialDownload) -> Result<()> {
    incoming.restart()
}

/// The beginning of a vault's own words, without codes for a terminal.
fn shown(words: &str) -> String {
    let line: String = words.split_whitespace().collect::<Vec<_>>().join(" ");
    redact(&line.chars().filter(|c| !c.is_control()).take(SHOWN).collect::<String>())
}

/// What of an archive is used.
#[derive(Debug, PartialEq, Eq)]
enum BundleMember {
    /// A pack, with its name.
    Pack(String),
    /// A loose object, by its path below `objects/`.
    Loose(String),
}

impl BundleMember {
    /// What the path of a member says. Only objects are used: no configuration, no hooks, no index, which is made anew.
    fn of(path: &str) -> Option<BundleMember> {
        let (_, inside) = path.split_once(".git/objects/")?;
        let (folder, file) = inside.split_once('/')?;
        let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if folder == "pack" {
            let name = file.strip_suffix(".pack").filter(|name| name.strip_prefix("pack-").is_some_and(is_hex))?;
            return Some(BundleMember::Pack(name.to_owned()));
        }
        let is_object = folder.len() == 2 && file.len() == 38 && is_hex(folder) && is_hex(file);
        is_object.then(|| BundleMember::Loose(format!("{folder}/{file}")))
    }
}

/// Unpacks the objects of an archive into a new repository below `scratch`, with a ref at the commit.
///
/// # Errors
/// An archive that is not in order, or is too large: kind `Mismatch`.
fn unpack(archive: &Path, scratch: &Path, commit: &CommitId) -> Result<PathBuf> {
    let repository = new_repository(scratch, "vault.git")?;
    let packs = scratch.join("packs");
    disk::create_dir_all(&packs)?;
    let mut names = Vec::new();
    let mut left = bounds::VAULT_ARCHIVE;
    let mut archive = tar::Archive::new(opened(archive)?);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member = BundleMember::of(&path).filter(|_| entry.header().entry_type().is_file());
        let Some(member) = member else { continue };
        left = left.checked_sub(entry.size()).ok_or_else(|| broken(io::Error::other("it is too large")))?;
        match member {
            BundleMember::Pack(name) => {
                write(&mut entry, &packs.join(&name))?;
                names.push(name);
            }
            BundleMember::Loose(path) => write(&mut entry, &repository.join("objects").join(path))?,
        }
        if names.len() as u64 > bounds::VAULT_PACKS {
            return Err(broken(io::Error::other("it has too many packs")));
        }
    }
    for name in &names {
        index(&packs.join(name), name, &repository)?;
    }
    disk::create_dir_all(&repository.join("refs/heads"))?;
    disk::replace(&repository.join(REFERENCE), format!("{commit}\n").as_bytes())?;
    Ok(repository)
}

/// An archive, as it is or compressed by gzip.
fn opened(path: &Path) -> Result<Box<dyn Read>> {
    let failed = |error| Error::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut magic = [0; 2];
    let compressed = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    file.rewind().map_err(failed)?;
    let file = io::BufReader::new(file);
    Ok(if compressed { Box::new(flate2::bufread::MultiGzDecoder::new(file)) } else { Box::new(file) })
}

fn write(from: &mut impl Read, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        disk::create_dir_all(folder)?;
    }
    let failed = |error| Error::io("write", to, error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(to).map_err(failed)?;
    let mut buffer = vec![0; 1 << 20];
    // Not io::copy, which does not tell whose failure it was.
    loop {
        match from.read(&mut buffer).map_err(broken)? {
            0 => return Ok(()),
            count => file.write_all(&buffer[..count]).map_err(failed)?,
        }
    }
}

fn broken(error: io::Error) -> Error {
    Error::new(Kind::Mismatch, "the archive is not in order").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_are_taken_out_of_an_archive() {
        let (hex, object) = ("ab".repeat(20), "cd".repeat(19));
        let member = |path: &str| BundleMember::of(&format!("swh:1:rev:{hex}.git/{path}"));
        assert_eq!(member(&format!("objects/pack/pack-{hex}.pack")), Some(BundleMember::Pack(format!("pack-{hex}"))));
        assert_eq!(member(&format!("objects/ab/{object}")), Some(BundleMember::Loose(format!("ab/{object}"))));
        for path in [
            format!("objects/pack/pack-{hex}.idx"),
            "config".to_owned(),
            "hooks/post-checkout".to_owned(),
            "objects/info/alternates".to_owned(),
            "objects/pack/../../config.pack".to_owned(),
            "objects/../config".to_owned(),
            format!("objects/ab/../{object}"),
            format!("refs/heads/{hex}"),
        ] {
            assert_eq!(member(&path), None, "{path}");
        }
        assert_eq!(BundleMember::of("objects/ab/x"), None);
    }

    #[test]
    fn a_vaults_archive_has_limits() {
        let directory = tempfile::tempdir().unwrap();
        // A header may claim any size: the limit is looked at before the bytes are.
        let refusal = |sizes: &[u64]| {
            let mut archive = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let mut header = tar::Header::new_gnu();
                header.set_path(format!("x.git/objects/pack/pack-{number:040}.pack")).unwrap();
                header.set_size(*size);
                header.set_cksum();
                archive.extend_from_slice(header.as_bytes());
            }
            let path = directory.path().join("archive.tar");
            std::fs::write(&path, archive).unwrap();
            let scratch = tempfile::tempdir_in(directory.path()).unwrap();
            let commit: CommitId = "ab".repeat(20).parse().unwrap();
            unpack(&path, scratch.path(), &commit).unwrap_err().causes().join("\n")
        };
        assert_eq!(refusal(&[bounds::VAULT_ARCHIVE + 1]), "it is too large");
        assert_eq!(refusal(&vec![0; bounds::VAULT_PACKS as usize + 1]), "it has too many packs");
        assert_ne!(refusal(&vec![0; bounds::VAULT_PACKS as usize]), "it has too many packs");
    }
}
