//! Pinning a requirement of the manifest: the old pin or the upstream's answer, then the bytes, for their hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};

use super::image::PinnedImage;
use super::requests::{RecipeFile, RecipeGit};
use super::requirement::{Requirement, What};
use super::{Incomplete, image};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetcher, LfsObject, Resolved, WantedFile, WantedGit};
use crate::files::MANIFEST;
use crate::lock::{Content, Floating, Lock, Locked, LockedFile, LockedGit, Request};
use crate::manifest::{FileRequest, GitRequest};
use crate::source::url::redact;
use crate::source::{Checksum, CommitId, Sha256, SourceId, SourceUrl, name};

/// The pin of a requirement.
#[derive(Debug, Clone)]
pub(super) enum ResolvedPin {
    /// A file, and why its bytes could not be fetched.
    File { name: String, file: LockedFile, why: Option<String> },
    /// An object of Git LFS, by its id.
    Lfs(PinnedLfs),
    /// A commit with its submodules.
    Git(PinnedGit),
    /// An image with the archives of its architectures.
    Image(PinnedImage),
}

/// A commit with its submodules, and why its bytes could not be fetched.
#[derive(Debug, Clone)]
pub(super) struct PinnedGit {
    git: LockedGit,
    children: Vec<PinnedGit>,
    /// Objects of Git LFS that the commit itself names.
    objects: Vec<PinnedLfs>,
    why: Option<String>,
    /// Of a layer, see [`crate::lock::Pin::signed_tag`].
    signed_tag: Option<String>,
}

/// An object of Git LFS, and why its bytes could not be had.
#[derive(Debug, Clone)]
pub(super) struct PinnedLfs {
    oid: String,
    object: LockedFile,
    why: Option<String>,
}

/// How much of a commit is wanted.
#[derive(Debug, Clone, Copy)]
struct Extent {
    submodules: bool,
    history: bool,
    lfs: bool,
}

/// The pin that an old lock has for the same request.
pub(super) fn kept(requirement: &Requirement<'_>, old: &Lock) -> Option<ResolvedPin> {
    if let What::Image(wanted) = requirement.what {
        return image::kept(requirement, wanted, old).map(ResolvedPin::Image);
    }
    let pin = requirement.pin(old).filter(|pin| Some(&pin.request) == requirement.request().as_ref())?;
    match (requirement.what, &pin.locked) {
        (What::File(wanted), SourceId::File(name)) if *name == wanted.name => {
            let file = old.files.get(name)?;
            let same = wanted.sha256.is_none_or(|declared| declared == file.sha256);
            let file = LockedFile { urls: wanted.urls.clone(), ..file.clone() };
            same.then(|| ResolvedPin::File { name: name.clone(), file, why: None })
        }
        (What::Git(wanted), SourceId::Git(key)) => {
            let mut git = PinnedGit::from_lock(old, key, wanted)?;
            git.signed_tag.clone_from(&pin.signed_tag);
            Some(ResolvedPin::Git(git))
        }
        _ => None,
    }
}

/// The commit that an old lock has for the same ref. It is kept also if the manifest now asks for more of it
/// (submodules, history): only `kbuild update` moves a pin.
fn pinned_commit(requirement: &Requirement<'_>, old: &Lock) -> Option<CommitId> {
    let pin = requirement.pin(old)?;
    match (requirement.what, &pin.request, old.get(&pin.locked)) {
        (What::Git(wanted), Request::Git { url, reference, .. }, Ok(Locked::Git(_, git)))
            if *url == wanted.url && *reference == wanted.reference =>
        {
            Some(git.commit)
        }
        _ => None,
    }
}

/// Pins a requirement. The pin of the old lock is kept unless it `moves`; what the old lock knows of the bytes of a hash or a
/// commit is kept in any case. That bytes of a known hash or commit were denied, or that others came, goes to `denials`.
pub(super) async fn find(
    requirement: &Requirement<'_>,
    moves: bool,
    old: &Lock,
    fetcher: &Fetcher,
    denials: &Denials,
) -> Result<ResolvedPin> {
    match (requirement.what, kept(requirement, old)) {
        (_, Some(kept)) if kept.is_complete() && !moves => Ok(kept),
        (What::File(wanted), kept) => find_file(wanted, kept.filter(|_| !moves), old, fetcher, denials).await,
        (What::Image(wanted), _) => image::find(requirement, wanted, moves, old, fetcher).await.map(ResolvedPin::Image),
        (What::Git(wanted), kept) => {
            // What `rev` says does not move, but it may be the object of a tag.
            let stands = !moves || wanted.reference.rev.is_some();
            let found = match pinned_commit(requirement, old).filter(|_| stands) {
                Some(commit) => Resolved { commit, refs: wanted.reference.full_names() },
                None => fetcher.resolve(&wanted.url, &wanted.reference).await?,
            };
            let commit = found.commit;
            let answer = find_git(wanted, found, old, fetcher, denials).await?;
            match kept {
                // It did not move, and could not be fetched now.
                Some(ResolvedPin::Git(kept))
                    if !answer.is_complete() && kept.is_complete() && kept.commit() == commit =>
                {
                    Ok(ResolvedPin::Git(kept))
                }
                _ => Ok(ResolvedPin::Git(answer)),
            }
        }
    }
}

async fn find_file(
    wanted: &FileRequest,
    kept: Option<ResolvedPin>,
    old: &Lock,
    fetcher: &Fetcher,
    denials: &Denials,
) -> Result<ResolvedPin> {
    let known = match kept {
        Some(ResolvedPin::File { file, .. }) => Some(file.sha256),
        _ => wanted.sha256,
    };
    let request = WantedFile {
        name: wanted.name.clone(),
        urls: wanted.urls.clone(),
        sha256: known,
        sums: Vec::new(),
        stated_size: None,
        content: None,
    };
    let (sha256, content, why) = match (fetcher.file(&request).await, known) {
        (Ok(seen), _) => (seen.sha256, Some(Content { blake3: seen.blake3, size: seen.size }), None),
        (Err(error), Some(sha256)) => {
            let why = denials.incomplete_because(error, |error| error)?;
            (sha256, old.content_of(&sha256), Some(why))
        }
        (Err(error), None) if out_of_reach(&error) => {
            return Err(error.help_or(&format!("declare its `sha256` in {MANIFEST} to lock it without its bytes")));
        }
        (Err(error), _) => return Err(error),
    };
    let file = LockedFile { name: None, urls: wanted.urls.clone(), sha256, stated_size: None, content };
    Ok(ResolvedPin::File { name: wanted.name.clone(), file, why })
}

/// Finds a file that recipes ask for; returns why its bytes could not be fetched, if so. That all places denied having
/// it, or that wrong bytes came, goes to `denials`.
pub(super) async fn find_for_recipes(
    requirement: &RecipeFile,
    old: &Lock,
    fetcher: &Fetcher,
    denials: &Denials,
) -> Result<(LockedFile, Option<String>)> {
    let urls = &requirement.urls;
    let block = |sha256, content| LockedFile { name: None, urls: urls.clone(), sha256, stated_size: None, content };
    let known = requirement.known(old);
    if let Some(LockedFile { sha256, content: Some(content), .. }) = known {
        return Ok((block(*sha256, Some(*content)), None));
    }
    let sha256 = requirement.sha256.or(known.map(|file| file.sha256));
    let sums = requirement.sums.iter().map(|(algorithm, digits)| Checksum::new(algorithm.parse()?, digits));
    let sums = sums
        .collect::<Result<_>>()
        .map_err(|error| error.wrap(format!("a recipe gives {} wrongly", requirement.name)))?;
    let (name, urls) = (requirement.name.clone(), urls.clone());
    let request = WantedFile { name, urls, sha256, sums, stated_size: None, content: None };
    match (fetcher.file(&request).await, sha256) {
        (Ok(seen), _) => Ok((block(seen.sha256, Some(Content { blake3: seen.blake3, size: seen.size })), None)),
        (Err(error), Some(sha256)) => {
            let why = denials.incomplete_because(error, |error| error)?;
            let content = old.content_of(&sha256);
            Ok((block(sha256, content), content.is_none().then_some(why)))
        }
        (Err(error), None) if out_of_reach(&error) => {
            Err(error
                .help_or("its recipe gives no sha256, so it can only be locked where it can be reached: add a mirror"))
        }
        (Err(error), _) => Err(error),
    }
}

/// Tries again to fetch an entry that the lock knows only by hash or commit.
pub(super) async fn again(lock: &Lock, id: &SourceId, fetcher: &Fetcher, denials: &Denials) -> Result<ResolvedPin> {
    match lock.get(id)? {
        Locked::File(key, file) => {
            let name = file.name.clone().unwrap_or_else(|| key.to_owned());
            let wrapped = |error: Error| error.wrap(format!("could not complete {id}"));
            let (content, why) = content_of(name, file, fetcher, denials, wrapped).await?;
            let file = LockedFile { content, ..file.clone() };
            Ok(match id {
                SourceId::Lfs(oid) => ResolvedPin::Lfs(PinnedLfs { oid: oid.clone(), object: file, why }),
                _ => ResolvedPin::File { name: key.to_owned(), file, why },
            })
        }
        Locked::Git(_, git) => {
            let refs = git.refs.iter().cloned().collect();
            let extent = Extent { submodules: git.recursive, history: git.history, lfs: !git.without_lfs };
            let mut answer = commit(git.url.clone(), git.commit, refs, extent, lock, fetcher, denials).await?;
            answer.git.clones.clone_from(&git.clones);
            if answer.git.commit != git.commit {
                let found = answer.git.commit;
                let error = Error::input(format!("{} names the object of a tag, which leads to {found}", git.commit));
                return Err(error.help("run `kbuild update`, or write that commit where the tag's object is written"));
            }
            Ok(ResolvedPin::Git(answer))
        }
    }
}

/// Tries to bring a file whose hash is known: its content, or why it could not be had. `wrap` says of what it is in a denial.
async fn content_of(
    name: String,
    file: &LockedFile,
    fetcher: &Fetcher,
    denials: &Denials,
    wrap: impl Fn(Error) -> Error,
) -> Result<(Option<Content>, Option<String>)> {
    let (urls, sums) = (file.urls.clone(), Vec::new());
    let LockedFile { sha256, stated_size, content, .. } = *file;
    let request = WantedFile { name, urls, sha256: Some(sha256), sums, stated_size, content };
    match fetcher.file(&request).await {
        Ok(seen) => Ok((Some(Content { blake3: seen.blake3, size: seen.size }), None)),
        Err(error) => denials.incomplete_because(error, wrap).map(|why| (None, Some(why))),
    }
}

/// Copies a block into another lock.
pub(super) fn copy(from: &Lock, id: &SourceId, to: &mut Lock) -> Result<()> {
    match (id, from.get(id)?) {
        (SourceId::Lfs(oid), Locked::File(_, object)) => {
            add_object(to, oid, object);
            Ok(())
        }
        (_, Locked::File(key, file)) => add_file(to, key, file),
        (_, Locked::Git(key, git)) => {
            let (git, children, objects) = (git.clone(), Vec::new(), Vec::new());
            PinnedGit { git, children, objects, why: None, signed_tag: None }.add_block(key, to);
            Ok(())
        }
    }
}

async fn find_git(
    wanted: &GitRequest,
    found: Resolved,
    old: &Lock,
    fetcher: &Fetcher,
    denials: &Denials,
) -> Result<PinnedGit> {
    let mut refs = found.refs;
    refs.extend(wanted.reference.full_names());
    let extent = Extent { submodules: wanted.submodules, history: wanted.history, lfs: wanted.lfs };
    commit(wanted.url.clone(), found.commit, refs, extent, old, fetcher, denials).await
}

/// Fetches a commit, and then its submodules, for their tree hashes. What the old lock knows of it is kept, also where it cannot
/// be fetched.
fn commit<'a>(
    url: SourceUrl,
    commit_id: CommitId,
    mut refs: Vec<String>,
    extent: Extent,
    old: &'a Lock,
    fetcher: &'a Fetcher,
    denials: &'a Denials,
) -> BoxFuture<'a, Result<PinnedGit>> {
    async move {
        let Extent { submodules, history, lfs } = extent;
        refs.sort();
        refs.dedup();
        let tree = old.gits.get(&name::git_key(&url, &commit_id)).and_then(|known| known.tree);
        let request = WantedGit { url: url.clone(), commit: commit_id, refs: refs.clone(), history, tree };
        let mut git = LockedGit {
            url: url.clone(),
            refs: refs.into_iter().collect(),
            commit: commit_id,
            tree,
            history,
            clones: BTreeSet::new(),
            recursive: submodules,
            submodules: BTreeMap::new(),
            lfs: BTreeMap::new(),
            without_lfs: !lfs,
        };
        let record = match fetcher.git(&request).await {
            Ok(record) => record,
            Err(error) => {
                let why = denials.incomplete_because(error, |error| error)?;
                return Ok(PinnedGit::unseen(git, why, extent, old));
            }
        };
        // Asked for by the id of a tag's object, it is the commit that the tag leads to.
        let commit_id = record.commit;
        git.commit = commit_id;
        git.tree = Some(record.tree);
        git.recursive = false;
        let found = if submodules { fetcher.submodules(&url, &commit_id)? } else { Vec::new() };
        for child in &found {
            git.submodules.insert(child.path.clone(), name::git_key(&child.url, &child.commit));
        }
        let objects = if lfs { fetcher.lfs_objects(&url, &commit_id).await? } else { Vec::new() };
        git.lfs = objects.iter().map(|object| (object.path.clone(), object.oid.to_string())).collect();
        let children =
            found.into_iter().map(|child| commit(child.url, child.commit, Vec::new(), extent, old, fetcher, denials));
        let objects = objects.into_iter().map(|object| large_file(object, &url, fetcher, denials));
        let (children, objects) = futures_util::future::join(try_join_all(children), try_join_all(objects)).await;
        Ok(PinnedGit { git, children: children?, objects: objects?, why: None, signed_tag: None })
    }
    .boxed()
}

/// Brings an object of Git LFS.
async fn large_file(found: LfsObject, of: &SourceUrl, fetcher: &Fetcher, denials: &Denials) -> Result<PinnedLfs> {
    let LfsObject { path, oid, size, server } = found;
    let object = LockedFile { name: None, urls: vec![server], sha256: oid, stated_size: Some(size), content: None };
    let oid = oid.to_string();
    let wrap = |error: Error| {
        let without = "leave LFS out: `;lfs=0` in the recipe's SRC_URI, `lfs = false` in the manifest";
        let help = error.hint().map_or(without.to_owned(), |hint| format!("{hint}; or {without}"));
        error.wrap(format!("could not lock `{path}` of {}, which is in Git LFS", redact(of.as_str()))).help(help)
    };
    let came = content_of(oid.clone(), &object, fetcher, denials, wrap).await;
    let (content, why) = came.map_err(wrap)?;
    Ok(PinnedLfs { oid, object: LockedFile { content, ..object }, why })
}

/// Collects denials and wrong bytes: the entries stay incomplete, and each denial is a fault.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Vec<Error>>);

impl Denials {
    /// Why an entry of a known hash or commit stays incomplete. A wrong answer, as opposed to none, is collected too, as `wrap`
    /// tells it.
    ///
    /// # Errors
    /// The error itself, where no entry stays incomplete for it.
    fn incomplete_because(&self, error: Error, wrap: impl FnOnce(Error) -> Error) -> Result<String> {
        let why = reason(&error);
        match error.kind() {
            _ if out_of_reach(&error) => Ok(why),
            Kind::Denied | Kind::Mismatch => {
                self.add(wrap(error));
                Ok(why)
            }
            _ => Err(error),
        }
    }

    fn add(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(error);
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an entry may stay incomplete for this reason: no place could be asked, as opposed to a wrong answer.
fn out_of_reach(error: &Error) -> bool {
    matches!(error.kind(), Kind::Network | Kind::Missing)
}

/// The reason in one line: the innermost cause at the first place that was asked.
fn reason(error: &Error) -> String {
    let first = error.related_errors().first().unwrap_or(error);
    let innermost = first.causes().pop().unwrap_or_else(|| first.to_string());
    innermost.lines().next().unwrap_or_default().to_owned()
}

impl ResolvedPin {
    pub(super) fn ids(&self) -> Vec<SourceId> {
        match self {
            ResolvedPin::File { name, .. } => vec![SourceId::File(name.clone())],
            ResolvedPin::Lfs(lfs) => vec![lfs.id()],
            ResolvedPin::Git(git) => vec![git.id()],
            ResolvedPin::Image(answer) => answer.image.locked.values().cloned().collect(),
        }
    }

    /// The object of a signed tag, which the lock keeps.
    pub(super) fn signed_tag(&self) -> Option<String> {
        match self {
            ResolvedPin::Git(git) => git.signed_tag.clone(),
            _ => None,
        }
    }

    /// The same, with another one.
    pub(super) fn with_signed_tag(self, signed_tag: Option<String>) -> ResolvedPin {
        match self {
            ResolvedPin::Git(git) => ResolvedPin::Git(PinnedGit { signed_tag, ..git }),
            other => other,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match self {
            ResolvedPin::File { file, .. } => file.content.is_some(),
            ResolvedPin::Lfs(lfs) => lfs.object.content.is_some(),
            ResolvedPin::Git(git) => git.is_complete(),
            // Without the bytes the hash of the archive is not known: there is no incomplete image.
            ResolvedPin::Image(_) => true,
        }
    }

    pub(super) fn incomplete(&self) -> Vec<Incomplete> {
        match self {
            ResolvedPin::File { name, file, why } if file.content.is_none() => {
                vec![Incomplete { id: SourceId::File(name.clone()), why: why.clone().unwrap_or_default() }]
            }
            ResolvedPin::File { .. } | ResolvedPin::Image(_) => Vec::new(),
            ResolvedPin::Lfs(lfs) => lfs.incomplete().into_iter().collect(),
            ResolvedPin::Git(git) => git.incomplete(),
        }
    }

    /// Completes the incomplete blocks of a lock.
    pub(super) fn complete(&self, lock: &mut Lock) {
        match self {
            ResolvedPin::File { name, file, .. } => {
                if let Some(block) = lock.files.get_mut(name) {
                    block.content = block.content.or(file.content);
                }
            }
            ResolvedPin::Lfs(lfs) => add_object(lock, &lfs.oid, &lfs.object),
            ResolvedPin::Git(git) => {
                if let Some(block) = lock.gits.get_mut(&git.key()) {
                    block.recursive = git.git.recursive;
                }
                git.add_to(lock);
            }
            ResolvedPin::Image(_) => {}
        }
    }

    /// Writes its blocks into a lock.
    ///
    /// # Errors
    /// Two contents under one name.
    pub(super) fn add_to(&self, lock: &mut Lock) -> Result<()> {
        match self {
            ResolvedPin::File { name, file, .. } => add_file(lock, name, file),
            ResolvedPin::Lfs(lfs) => {
                add_object(lock, &lfs.oid, &lfs.object);
                Ok(())
            }
            ResolvedPin::Git(git) => {
                git.add_to(lock);
                Ok(())
            }
            ResolvedPin::Image(answer) => answer.files.iter().try_for_each(|(name, file)| add_file(lock, name, file)),
        }
    }
}

pub(super) fn add_file(lock: &mut Lock, name: &str, file: &LockedFile) -> Result<()> {
    let Some(present) = lock.files.get_mut(name) else {
        lock.files.insert(name.to_owned(), file.clone());
        return Ok(());
    };
    if present.sha256 != file.sha256 {
        return Err(Error::input(format!(
            "two sources are called `{name}` and have different bytes: {} and {}",
            present.sha256, file.sha256
        ))
        .help(format!("give one of them another `filename` in {MANIFEST} (BitBake's downloadfilename)")));
    }
    present.content = present.content.or(file.content);
    let new: Vec<SourceUrl> = file.urls.iter().filter(|url| !present.urls.contains(url)).cloned().collect();
    present.urls.extend(new);
    Ok(())
}

/// Writes an object of Git LFS: it may belong to repositories of several servers.
fn add_object(lock: &mut Lock, oid: &str, object: &LockedFile) {
    let block = lock.lfs.entry(oid.to_owned()).or_insert_with(|| object.clone());
    block.content = block.content.or(object.content);
    let new: Vec<SourceUrl> = object.urls.iter().filter(|url| !block.urls.contains(url)).cloned().collect();
    block.urls.extend(new);
}

impl PinnedLfs {
    fn id(&self) -> SourceId {
        SourceId::Lfs(self.oid.clone())
    }

    fn incomplete(&self) -> Option<Incomplete> {
        let why = || self.why.clone().unwrap_or_default();
        self.object.content.is_none().then(|| Incomplete { id: self.id(), why: why() })
    }
}

impl RecipeFile {
    /// The block that an old lock has for it: of the same hash or, where its recipe gives none, from the same place.
    fn known<'l>(&self, old: &'l Lock) -> Option<&'l LockedFile> {
        let own = |file: &&LockedFile| match self.sha256 {
            Some(sha256) => file.sha256 == sha256,
            None => self.urls.iter().any(|url| file.urls.contains(url)),
        };
        let keyed = |sha256: Sha256| old.files.get(&keyed(&self.name, &sha256));
        old.files.get(&self.name).filter(own).or_else(|| self.sha256.and_then(keyed))
    }
}

/// The key of a file whose name other boards have for other bytes.
pub(super) fn keyed(name: &str, sha256: &Sha256) -> String {
    format!("{name}@{}", &sha256.to_string()[..12])
}

impl PinnedGit {
    /// Finds a commit that recipes ask for: the entry of the old lock where it is complete, else the bytes. What the
    /// old lock knows of a tag's object is kept.
    pub(super) async fn find(
        wanted: &RecipeGit,
        old: &Lock,
        fetcher: &Fetcher,
        denials: &Denials,
    ) -> Result<PinnedGit> {
        let refs: Vec<String> = wanted.refs.iter().cloned().collect();
        let led_to = old.floating.get(&Floating::key(&wanted.url, &wanted.commit.to_string()));
        let commit_id = led_to.map_or(wanted.commit, |floating| floating.commit);
        let extent = Extent { submodules: wanted.submodules, history: wanted.history, lfs: wanted.lfs };
        let key = name::git_key(&wanted.url, &commit_id);
        let stored = PinnedGit::stored(old, &key, extent).filter(|stored| {
            // A lock without submodules may be one that was made without looking for any.
            let looked = !wanted.submodules || !stored.git.submodules.is_empty();
            let history = old.gits.get(&key).is_some_and(|git| git.history || !wanted.history);
            stored.is_complete() && looked && history
        });
        // The same of objects of Git LFS; a commit that is in the store is looked at itself.
        let stored = match stored {
            Some(stored) if wanted.lfs && stored.git.lfs.is_empty() => {
                let objects = fetcher.lfs_objects(&wanted.url, &commit_id).await;
                objects.map_or(true, |objects| objects.is_empty()).then_some(stored)
            }
            stored => stored,
        };
        let mut answer = match stored {
            Some(mut stored) => {
                stored.git.refs = wanted.refs.clone();
                stored
            }
            None => commit(wanted.url.clone(), commit_id, refs, extent, old, fetcher, denials).await?,
        };
        // With `rebaseable=1` BitBake's name of the clone holds the revision.
        let (asked, found) = (wanted.commit.to_string(), answer.git.commit.to_string());
        answer.git.clones = wanted.clones.iter().map(|clone| clone.replace(&asked, &found)).collect();
        Ok(answer)
    }

    /// The commit.
    pub(super) fn commit(&self) -> CommitId {
        self.git.commit
    }

    /// Whether the commit is in the store.
    pub(super) fn is_seen(&self) -> bool {
        self.why.is_none() && self.git.tree.is_some()
    }

    /// The block that the lock gets.
    pub(super) fn locked(&self) -> &LockedGit {
        &self.git
    }

    /// Removes refs that no view may offer.
    pub(super) fn without_refs(&mut self, refused: &BTreeSet<String>) {
        self.git.refs.retain(|name| !refused.contains(name));
    }

    /// The entry of an old lock under a key with all its submodules, if all of them are there.
    fn from_lock(lock: &Lock, key: &str, wanted: &GitRequest) -> Option<PinnedGit> {
        let extent = Extent { submodules: wanted.submodules, history: wanted.history, lfs: wanted.lfs };
        let mut answer = PinnedGit::stored(lock, key, extent)?;
        // Another request may have added its refs to the block; only those of this request count here.
        let own = wanted.reference.full_names();
        answer.git.refs.retain(|name| own.contains(name));
        own.iter().all(|name| answer.git.refs.contains(name)).then_some(answer)
    }

    /// A commit that could not be fetched now: what the old lock knows of it.
    fn unseen(mut git: LockedGit, why: String, extent: Extent, old: &Lock) -> PinnedGit {
        let key = name::git_key(&git.url, &git.commit);
        let known = PinnedGit::stored(old, &key, extent);
        let (children, objects) = match known {
            Some(known) => {
                (git.submodules, git.lfs) = (known.git.submodules, known.git.lfs);
                (known.children, known.objects)
            }
            None => {
                // Objects of Git LFS that the old lock was not asked for are not known.
                git.without_lfs |= old.gits.get(&key).is_some_and(|known| known.without_lfs);
                (Vec::new(), Vec::new())
            }
        };
        git.recursive &= git.submodules.is_empty();
        PinnedGit { git, children, objects, why: Some(why), signed_tag: None }
    }

    fn stored(lock: &Lock, key: &str, wanted: Extent) -> Option<PinnedGit> {
        let mut git = lock.gits.get(key)?.clone();
        git.history = wanted.history;
        if !wanted.lfs {
            git.lfs.clear();
        } else if git.without_lfs {
            return None;
        }
        git.without_lfs = !wanted.lfs;
        let objects = git
            .lfs
            .values()
            .map(|oid| Some(PinnedLfs { oid: oid.clone(), object: lock.lfs.get(oid)?.clone(), why: None }));
        let objects = objects.collect::<Option<_>>()?;
        if !wanted.submodules {
            git.submodules.clear();
            git.recursive = false;
        }
        let children = git.submodules.values().map(|child| PinnedGit::stored(lock, child, wanted));
        Some(PinnedGit { children: children.collect::<Option<_>>()?, objects, git, why: None, signed_tag: None })
    }

    fn key(&self) -> String {
        name::git_key(&self.git.url, &self.git.commit)
    }

    fn is_complete(&self) -> bool {
        self.git.is_complete()
            && self.children.iter().all(PinnedGit::is_complete)
            && self.objects.iter().all(|lfs| lfs.object.content.is_some())
    }

    pub(super) fn incomplete(&self) -> Vec<Incomplete> {
        let open = !self.git.is_complete();
        let own = open.then(|| Incomplete { id: self.id(), why: self.why.clone().unwrap_or_default() });
        let objects = self.objects.iter().filter_map(PinnedLfs::incomplete);
        own.into_iter().chain(self.children.iter().flat_map(PinnedGit::incomplete)).chain(objects).collect()
    }

    pub(super) fn id(&self) -> SourceId {
        SourceId::Git(self.key())
    }

    pub(super) fn add_to(&self, lock: &mut Lock) {
        self.add_block(&self.key(), lock);
        self.children.iter().for_each(|child| child.add_to(lock));
        self.objects.iter().for_each(|lfs| add_object(lock, &lfs.oid, &lfs.object));
    }

    fn add_block(&self, key: &str, lock: &mut Lock) {
        let block = lock.gits.entry(key.to_owned()).or_insert_with(|| self.git.clone());
        block.refs.extend(self.git.refs.iter().cloned());
        block.clones.extend(self.git.clones.iter().cloned());
        block.recursive |= self.git.recursive;
        block.history |= self.git.history;
        block.tree = block.tree.or(self.git.tree);
        if block.submodules.is_empty() {
            block.submodules.clone_from(&self.git.submodules);
        }
        block.recursive &= block.submodules.is_empty();
        block.without_lfs &= self.git.without_lfs;
        if block.lfs.is_empty() {
            block.lfs.clone_from(&self.git.lfs);
        }
    }
}
