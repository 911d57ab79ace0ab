//! `kbuild.lock`: its types, its stable text, and how two versions of it are compared and merged.
//!
//! What may enter: which bytes a source is. Where the bytes are (store) and how they are fetched (fetch) never do, nor
//! anything of the host or the time of day.

mod closure;
mod diff;
mod find;
mod folder;
mod merge;
mod patch;
mod text;
mod three_way;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::bounds;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::LOCK;
use crate::source::include::IncludedTexts;
use crate::source::{Blake3, CommitId, GitRef, ImageName, LayerPatch, Sha256, SourceId, SourceUrl};

pub use closure::{Closure, Floating, LockedBoard, LockedRecipe, Need, pin, pin_parts, recipe_key, singles};
pub use diff::{
    BoardChange, DetailChange, DetailKind, LockDiff, PinChange, PinDetail, PinnedAt, Presence, RecipeChange,
    RecipeSide, SourceVolume,
};
pub use folder::{FolderState, LockedFolder};
pub use three_way::ThreeWayMerge;
pub use uses::{Configuration, Holder, Parent, RecipeTree, Use, UsedRecipe, Uses};

/// The format that this kbuild writes; a lock with a higher version is refused.
pub const VERSION: u32 = 1;

/// Additive changes within [`VERSION`]; a higher revision is still read. A lock has the lowest revision that knows all of
/// its contents, so that a newer kbuild alone changes no lock. Images are in revision 1 and later, moved tags in 2, objects of Git
/// LFS in 3, files of folders in 4, signers and patches of layers, and
/// what is included of them, in 5.
pub const REVISION: u32 = 5;

/// A lock: every source with its hashes, and who needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// What each git layer of the manifest asks for, and the commit that it is locked to.
    pub layers: BTreeMap<String, Pin>,
    /// What each declared source asks for, and the source that it is locked to.
    pub sources: BTreeMap<String, Pin>,
    /// What each declared image asks for, and the archives that it is locked to.
    pub images: BTreeMap<String, LockedImage>,
    /// Files of layers that the manifest includes, with their text.
    pub includes: IncludedTexts,
    /// Files, by the name that BitBake looks for.
    pub files: BTreeMap<String, LockedFile>,
    /// Git commits, by `<clone name>@<first 12 digits>`.
    pub gits: BTreeMap<String, LockedGit>,
    /// Objects of Git LFS, by their id, which is their SHA-256. Each belongs to commits that name it.
    pub lfs: BTreeMap<String, LockedFile>,
    /// The registries of packages that recipes name by coordinates alone: `go` to the module proxy that BitBake would ask.
    pub registries: BTreeMap<String, SourceUrl>,
    /// Moving refs that recipes name, with the commits they are locked to, by `<url>#<ref>`.
    pub floating: BTreeMap<String, Floating>,
    /// Tags that a recipe names together with a commit, that did not point to it at the upstream, and were accepted: the
    /// commit, by `<url>#<ref>`.
    pub moved_tags: BTreeMap<String, CommitId>,
    /// Recipes that fetch something, by PN (and board, if boards disagree): see [`Closure::recipes`].
    pub recipes: BTreeMap<String, LockedRecipe>,
    /// Layers that are folders of the project, when the closures were found.
    pub folders: BTreeMap<String, LockedFolder>,
    /// What each board needs.
    pub boards: BTreeMap<String, LockedBoard>,
}

/// A request of the manifest together with the source it was resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What the manifest asked for. If it asks for something else now, the pin is stale.
    pub request: Request,
    /// The source that it is locked to.
    pub locked: SourceId,
    /// Of a layer whose tag is signed and not the commit: the tag's object, so that it can be checked without a network.
    pub signed_tag: Option<String>,
    /// The patches of a layer, in their order.
    pub patches: Vec<LayerPatch>,
}

impl Pin {
    /// A pin of something that is neither signed nor patched.
    pub fn new(request: Request, locked: SourceId) -> Pin {
        Pin { request, locked, signed_tag: None, patches: Vec::new() }
    }

    /// What it is locked to, and the patches that are fetched.
    pub fn sources(&self) -> impl Iterator<Item = &SourceId> {
        std::iter::once(&self.locked).chain(self.patches.iter().filter_map(LayerPatch::source))
    }
}

/// A declared container image: what was asked for, and what that became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    pub request: ImageAsked,
    /// The digest that the name was resolved to: of an index, or of the manifest of an image for one architecture.
    pub digest: Sha256,
    /// The archive of each architecture, by the architecture's name.
    pub locked: BTreeMap<String, SourceId>,
}

/// The parts of the manifest's image that decide which bytes are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageAsked {
    /// The full name: with registry, namespace and tag.
    pub image: ImageName,
    /// The version that its name contains, and that the names of the archives contain.
    pub version: Option<String>,
    /// The architectures; empty for the default ones.
    pub architectures: Vec<String>,
}

/// The parts of the manifest's request that decide its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file at a URL.
    File {
        url: SourceUrl,
        /// The version that the URL contains.
        version: Option<String>,
    },
    /// A commit of a repository.
    Git {
        url: SourceUrl,
        /// Branch, tag or commit.
        reference: GitRef,
        /// The version that the tag contains.
        version: Option<String>,
        /// Whether its submodules are locked too.
        submodules: bool,
        /// Whether all history is wanted.
        history: bool,
        /// Whether objects of Git LFS are wanted.
        lfs: bool,
        /// Of a layer that has to be signed: by whom, see [`Signers::identities`](crate::source::Signers).
        signers: Vec<String>,
    },
}

/// A file, known by its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// The name that BitBake looks for, if it is not the key: two boards need different bytes with one name, or the recipe
    /// puts the file into a directory of DL_DIR.
    pub name: Option<String>,
    /// The URLs of the file, the canonical one first.
    pub urls: Vec<SourceUrl>,
    /// The hashes that recipes name.
    pub sha256: Sha256,
    /// The size in bytes, of an object of Git LFS: its pointer gives it, and its server is asked with it.
    pub stated_size: Option<u64>,
    /// The hash and size in the store; `None` while the bytes were never seen.
    pub content: Option<Content>,
}

/// What is known of a file only after its bytes were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The hash by which the store finds it.
    pub blake3: Blake3,
    /// In bytes.
    pub size: u64,
}

/// A git commit, known by its id and a hash over its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedGit {
    pub url: SourceUrl,
    /// Full names of the refs that a view must have, each pointing at the commit.
    pub refs: BTreeSet<String>,
    pub commit: CommitId,
    /// BLAKE3 over the raw tree (see [`crate::store::tree`]); `None` while the commit was never seen.
    pub tree: Option<Blake3>,
    /// Whether all history is kept.
    pub history: bool,
    /// Names under which BitBake looks for the clone, if they do not follow from the URL (`rebaseable=1`, older releases).
    pub clones: BTreeSet<String>,
    /// Whether submodules are asked for but unknown, since the commit was not seen with that in mind.
    pub recursive: bool,
    /// Submodule path to the key of its own entry; empty if submodules were not asked for.
    pub submodules: BTreeMap<String, String>,
    /// Path of a pointer of Git LFS to the key of the object that it leads to.
    pub lfs: BTreeMap<String, String>,
    /// Whether objects of Git LFS are not wanted (`lfs=0`).
    pub without_lfs: bool,
}

impl LockedGit {
    /// Whether the commit was seen, and its submodules, where they are asked for, were looked up in it.
    pub fn is_complete(&self) -> bool {
        self.tree.is_some() && !self.recursive
    }
}

/// A source of the lock, with its key.
#[derive(Debug, Clone, Copy)]
pub enum Locked<'a> {
    /// A file and its name.
    File(&'a str, &'a LockedFile),
    /// A git commit and its key.
    Git(&'a str, &'a LockedGit),
}

impl<'a> Locked<'a> {
    /// The name that BitBake looks for: of a file, or of the clone of a repository.
    pub fn name(&self) -> &'a str {
        match self {
            Locked::File(key, file) => file.name.as_deref().unwrap_or(key),
            Locked::Git(key, _) => key.rsplit_once('@').map_or(key, |(clone, _)| clone),
        }
    }

    /// Whether its bytes were ever seen. The lock then has the hash that only the bytes can give.
    pub fn is_complete(&self) -> bool {
        match self {
            Locked::File(_, file) => file.content.is_some(),
            Locked::Git(_, git) => git.is_complete(),
        }
    }
}

impl Lock {
    /// Reads a lock; `None` if there is none.
    ///
    /// # Errors
    /// The lock was written by a newer kbuild or is damaged: kind `Input`, with the line. It has conflict markers:
    /// kind `Stale`, since only `kbuild lock` may resolve them.
    pub fn read(path: &Path) -> Result<Option<Lock>> {
        read_text(path)?.map(|text| Lock::parse(&text, path)).transpose()
    }

    /// Reads the text of a lock; `path` is where it is, for messages.
    ///
    /// # Errors
    /// Those of [`Lock::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Lock> {
        if merge::sides(text).is_some() {
            return Err(Error::new(Kind::Stale, format!("{} has conflict markers", disk::shown(path)))
                .help("run `kbuild lock`: it reads both sides, and resolves again only what they disagree on"));
        }
        text::parse(text, path)
    }

    /// Reads the lock as the start of a new one. From a text with git's conflict markers, keeps what both sides agree on and
    /// what only one of them has.
    ///
    /// # Errors
    /// Those of [`Lock::read`], except for conflict markers.
    pub fn read_merging(path: &Path) -> Result<Option<Lock>> {
        let Some(text) = read_text(path)? else { return Ok(None) };
        match merge::sides(&text) {
            Some((ours, theirs)) => Ok(Some(merge::union(&text::parse(&ours, path)?, &text::parse(&theirs, path)?))),
            None => text::parse(&text, path).map(Some),
        }
    }

    /// Writes the lock, unless the file already says the same. Returns whether it was written.
    ///
    /// # Errors
    /// The file cannot be replaced; the old one is kept.
    pub fn write(&self, path: &Path) -> Result<bool> {
        disk::sweep_beside(path);
        disk::replace_if_changed(path, self.text_for(path).as_bytes())
    }

    /// The text of the lock at this path: it names the manifest beside it.
    fn text_for(&self, path: &Path) -> String {
        let manifest = path.with_extension("toml").file_name().unwrap_or_default().to_string_lossy().into_owned();
        text::LockText { lock: self, manifest }.to_string()
    }

    /// The commit that a layer or declared source is locked to; `None` of what is no repository.
    pub fn commit(&self, pin: &Pin) -> Option<CommitId> {
        match self.get(&pin.locked) {
            Ok(Locked::Git(_, git)) => Some(git.commit),
            _ => None,
        }
    }

    /// A source by its id.
    ///
    /// # Errors
    /// The lock has no such block: kind `Input`.
    pub fn get<'a>(&'a self, id: &'a SourceId) -> Result<Locked<'a>> {
        let found = match id {
            SourceId::File(key) => self.files.get(key).map(|file| Locked::File(key, file)),
            SourceId::Git(key) => self.gits.get(key).map(|git| Locked::Git(key, git)),
            SourceId::Lfs(key) => self.lfs.get(key).map(|file| Locked::File(key, file)),
        };
        found.ok_or_else(|| Error::input(format!("{LOCK} has no block for {id}")).help("run `kbuild lock`"))
    }

    /// What any block knows of the bytes of this hash.
    pub fn content_of(&self, sha256: &Sha256) -> Option<Content> {
        self.all_files().filter(|file| file.sha256 == *sha256).find_map(|file| file.content)
    }

    /// Every source of the lock, in its order.
    pub fn all_sources(&self) -> Vec<SourceId> {
        let files = self.files.keys().map(|key| SourceId::File(key.clone()));
        let gits = self.gits.keys().map(|key| SourceId::Git(key.clone()));
        files.chain(gits).chain(self.lfs.keys().map(|key| SourceId::Lfs(key.clone()))).collect()
    }

    /// The sources of some boards with every locked choice, each once, submodules included, in the order of the lock.
    ///
    /// # Errors
    /// The lock does not know the board: kind `Stale`.
    pub fn closure<'a>(&'a self, boards: impl IntoIterator<Item = &'a str>) -> Result<Vec<SourceId>> {
        let mut ids = BTreeSet::new();
        for name in boards {
            ids.extend(self.needs(name, &self.board(name)?.settings()));
        }
        Ok(self.with_submodules(&ids).into_iter().collect())
    }

    /// The sources of one board with some choices (as [`LockedBoard::with`] names them), submodules included.
    ///
    /// # Errors
    /// The lock does not know the board: kind `Stale`.
    pub fn closure_with(&self, board: &str, settings: &[String]) -> Result<Vec<SourceId>> {
        self.board(board)?;
        Ok(self.with_submodules(&self.needs(board, settings)).into_iter().collect())
    }

    /// A board by name.
    ///
    /// # Errors
    /// The lock does not know the board: kind `Stale`.
    pub fn board(&self, name: &str) -> Result<&LockedBoard> {
        self.boards.get(name).ok_or_else(|| {
            Error::new(Kind::Stale, format!("{LOCK} does not know the board `{name}`")).help("run `kbuild lock`")
        })
    }

    /// These sources, all their submodules, and the objects of Git LFS that belong to any of these; each once.
    pub fn with_submodules<'a>(&self, ids: impl IntoIterator<Item = &'a SourceId>) -> BTreeSet<SourceId> {
        let mut all = BTreeSet::new();
        ids.into_iter().for_each(|id| self.add_with_submodules(id, &mut all));
        all
    }

    fn add_with_submodules(&self, id: &SourceId, ids: &mut BTreeSet<SourceId>) {
        if !ids.insert(id.clone()) {
            return;
        }
        if let SourceId::Git(key) = id
            && let Some(git) = self.gits.get(key)
        {
            for child in git.submodules.values() {
                self.add_with_submodules(&SourceId::Git(child.clone()), ids);
            }
            ids.extend(git.lfs.values().map(|oid| SourceId::Lfs(oid.clone())));
        }
    }

    /// Every source that is named by something other than a repository that it belongs to.
    fn roots(&self) -> impl Iterator<Item = &SourceId> {
        let pins = self.layers.values().chain(self.sources.values()).flat_map(Pin::sources);
        let images = self.images.values().flat_map(|image| image.locked.values());
        let closures = self.boards.values().flat_map(|board| board.closures()).flat_map(|(_, closure)| &closure.extra);
        let boards = self.boards.values().flat_map(|board| &board.sources);
        let recipes = self.recipes.values().flat_map(|recipe| &recipe.sources);
        pins.chain(images).chain(boards).chain(closures).chain(recipes)
    }

    /// Drops every block that no board, layer or declared source needs.
    pub fn prune(&mut self) {
        self.drop_unused_recipes();
        let used = self.with_submodules(self.roots());
        self.files.retain(|key, _| used.contains(&SourceId::File(key.clone())));
        self.gits.retain(|key, _| used.contains(&SourceId::Git(key.clone())));
        self.lfs.retain(|key, _| used.contains(&SourceId::Lfs(key.clone())));
        let held = |key: &str, commit: &CommitId| {
            let holds = |git: &LockedGit| {
                git.commit == *commit && git.refs.iter().any(|name| Floating::key(&git.url, name) == key)
            };
            self.gits.values().any(holds)
        };
        self.moved_tags.retain(|key, commit| held(key, commit));
        let takes_modules = self.files.values().flat_map(|file| &file.urls).any(|url| url.scheme() == "gomod");
        self.registries.retain(|name, _| name != "go" || takes_modules);
    }

    /// The entries whose bytes were never seen: only a declared hash or a commit is known.
    pub fn incomplete(&self) -> Vec<SourceId> {
        let files = self.files.iter().filter(|(_, file)| file.content.is_none());
        let gits = self.gits.iter().filter(|(_, git)| !git.is_complete());
        let lfs = self.lfs.iter().filter(|(_, file)| file.content.is_none());
        let files = files.map(|(key, _)| SourceId::File(key.clone()));
        let gits = gits.map(|(key, _)| SourceId::Git(key.clone()));
        files.chain(gits).chain(lfs.map(|(key, _)| SourceId::Lfs(key.clone()))).collect()
    }

    /// All files and objects of Git LFS: whatever is one blob in the store.
    pub fn all_files(&self) -> impl Iterator<Item = &LockedFile> {
        self.files.values().chain(self.lfs.values())
    }
}

#[cfg(test)]
impl Lock {
    /// Parses the lock in a text without conflict markers.
    pub(crate) fn read_text_of(text: &str) -> Lock {
        text::parse(text, Path::new("kbuild.lock")).unwrap()
    }
}

fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => disk::read_text(path, "a lock", bounds::LOCK).map(Some),
    }
}

#[cfg(test)]
mod tests;
