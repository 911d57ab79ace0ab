//! The lock's text: what is written, to the byte, and how it is read.
//!
//! One block for each source, sorted, so that two branches that add different sources change different lines. Long lists
//! have one item a line, for the same reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use serde::Deserialize;
use toml_edit::Document;

use super::patch;
use super::{
    Closure, Content, Floating, ImageAsked, Lock, LockedBoard, LockedFile, LockedFolder, LockedGit, LockedImage,
    LockedRecipe, Need, Pin, REVISION, Request, VERSION,
};
use crate::disk;
use crate::error::{Error, Result};
use crate::files::MANIFEST;
use crate::source::image::parse_digest;
use crate::source::include::IncludedText;
use crate::source::{Blake3, CommitId, GitRef, ImageName, Sha256, SourceId, SourceUrl};

/// A lock as the text of its file, which names the manifest beside it.
pub(super) struct LockText<'a> {
    pub(super) lock: &'a Lock,
    /// The name of the manifest's file.
    pub(super) manifest: String,
}

impl Display for Lock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        LockText { lock: self, manifest: MANIFEST.to_string() }.fmt(f)
    }
}

impl Display for LockText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let LockText { lock, manifest } = self;
        writeln!(
            f,
            "# Written by `kbuild lock` from {manifest}. Do not edit: change {manifest} and run `kbuild lock`."
        )?;
        let by_file = lock.folders.values().any(|folder| matches!(folder, LockedFolder::Files(_)));
        let revision = match (by_file, lock.has_lfs(), lock.moved_tags.is_empty(), lock.images.is_empty()) {
            _ if lock.has_more_of_layers() => REVISION,
            (true, ..) => 4,
            (_, true, ..) => 3,
            (_, _, false, _) => 2,
            (_, _, _, false) => 1,
            (false, false, true, true) => 0,
        };
        writeln!(f, "version = {VERSION}\nrevision = {revision}")?;
        // The headings are written even without blocks: additions at the end of one section and at the start of the
        // next then have an unchanged line between them, and git merges them.
        write_heading(f, &format!("Layers, as {manifest} asks for them"))?;
        lock.layers.iter().try_for_each(|(name, pin)| write_pin(f, "layer", name, pin))?;
        lock.includes.iter().try_for_each(|(key, included)| write_included(f, key, included))?;
        write_heading(f, &format!("Declared sources, as {manifest} asks for them"))?;
        lock.sources.iter().try_for_each(|(name, pin)| write_pin(f, "source", name, pin))?;
        lock.images.iter().try_for_each(|(name, image)| write_image(f, name, image))?;
        write_heading(f, "Files")?;
        lock.files.iter().try_for_each(|(name, file)| write_file(f, name, file))?;
        write_heading(f, "Git commits")?;
        lock.gits.iter().try_for_each(|(key, git)| write_git(f, key, git))?;
        lock.lfs.iter().try_for_each(|(oid, object)| write_lfs(f, oid, object))?;
        write_heading(f, "Moving refs that recipes name, and where they stood")?;
        lock.floating.iter().try_for_each(|(key, floating)| write_floating(f, key, floating))?;
        write_table(f, &["moved-tags"], lock.moved_tags.iter())?;
        write_heading(f, "Recipes, and what each fetches")?;
        lock.recipes.iter().try_for_each(|(key, recipe)| write_recipe(f, key, recipe))?;
        write_heading(f, "What each board needs")?;
        write_folders(f, &lock.folders)?;
        write_table(f, &["registries"], lock.registries.iter())?;
        lock.boards.iter().try_for_each(|(name, board)| write_board(f, name, board))
    }
}

fn write_heading(f: &mut Formatter<'_>, heading: &str) -> fmt::Result {
    writeln!(f, "\n# {heading}")
}

fn write_pin(f: &mut Formatter<'_>, section: &str, name: &str, pin: &Pin) -> fmt::Result {
    write_header(f, &[section, name])?;
    match &pin.request {
        Request::File { url, version } => {
            write_string(f, "url", url)?;
            write_optional(f, "version", version.as_ref())?;
        }
        Request::Git { url, reference, version, submodules, history, lfs, signers } => {
            write_string(f, "git", url)?;
            write_optional(f, "branch", reference.branch.as_ref())?;
            write_optional(f, "tag", reference.tag.as_ref())?;
            write_optional(f, "rev", reference.rev.as_ref())?;
            write_optional(f, "version", version.as_ref())?;
            write_flag(f, "submodules", *submodules)?;
            write_flag(f, "history", *history)?;
            write_flag(f, "without-lfs", !*lfs)?;
            if !signers.is_empty() {
                write_list(f, "signers", signers)?;
            }
        }
    }
    write_string(f, "locked", &pin.locked)?;
    // A line of it a line, so that a person can read it.
    pin.signed_tag.as_ref().map_or(Ok(()), |tag| write_list(f, "signed-tag", tag.split('\n')))?;
    patch::write(f, &pin.patches)
}

/// A line of the file a line, so that a review sees what changes in it.
fn write_included(f: &mut Formatter<'_>, key: &str, included: &IncludedText) -> fmt::Result {
    write_header(f, &["include", key])?;
    write_string(f, "commit", &included.commit)?;
    write_list(f, "text", included.text.split('\n'))
}

fn write_image(f: &mut Formatter<'_>, name: &str, image: &LockedImage) -> fmt::Result {
    write_header(f, &["image", name])?;
    write_string(f, "oci", &image.request.image)?;
    write_optional(f, "version", image.request.version.as_ref())?;
    if !image.request.architectures.is_empty() {
        write_list(f, "architectures", &image.request.architectures)?;
    }
    write_string(f, "digest", &format_args!("sha256:{}", image.digest))?;
    write_table(f, &["image", name, "locked"], image.locked.iter())
}

fn write_file(f: &mut Formatter<'_>, name: &str, file: &LockedFile) -> fmt::Result {
    write_header(f, &["file", name])?;
    write_optional(f, "name", file.name.as_ref())?;
    write_list(f, "urls", &file.urls)?;
    write_string(f, "sha256", &file.sha256)?;
    match &file.content {
        Some(content) => {
            write_string(f, "blake3", &content.blake3)?;
            writeln!(f, "size = {}", content.size)
        }
        None => Ok(()),
    }
}

/// An object of Git LFS: its id is its SHA-256.
fn write_lfs(f: &mut Formatter<'_>, oid: &str, object: &LockedFile) -> fmt::Result {
    write_header(f, &["lfs", oid])?;
    write_list(f, "urls", &object.urls)?;
    let content = object.content.map(|content| content.blake3);
    write_optional(f, "blake3", content.as_ref())?;
    object.stated_size.map_or(Ok(()), |size| writeln!(f, "size = {size}"))
}

fn write_git(f: &mut Formatter<'_>, key: &str, git: &LockedGit) -> fmt::Result {
    write_header(f, &["git", key])?;
    write_string(f, "url", &git.url)?;
    write_list(f, "refs", &git.refs)?;
    if !git.clones.is_empty() {
        write_list(f, "clones", &git.clones)?;
    }
    write_string(f, "commit", &git.commit)?;
    write_optional(f, "tree", git.tree.as_ref())?;
    write_flag(f, "history", git.history)?;
    write_flag(f, "recursive", git.recursive)?;
    write_flag(f, "without-lfs", git.without_lfs)?;
    write_paths(f, &["git", key, "submodules"], &git.submodules)?;
    write_paths(f, &["git", key, "lfs"], &git.lfs)
}

/// Paths in a repository, and the keys of what is there.
fn write_paths(f: &mut Formatter<'_>, table: &[&str], paths: &BTreeMap<String, String>) -> fmt::Result {
    if paths.is_empty() {
        return Ok(());
    }
    write_header(f, table)?;
    paths.iter().try_for_each(|(path, key)| writeln!(f, "{} = {}", quoted(path), quoted(key)))
}

fn write_floating(f: &mut Formatter<'_>, key: &str, floating: &Floating) -> fmt::Result {
    write_header(f, &["floating", key])?;
    write_string(f, "commit", &floating.commit)
}

fn write_recipe(f: &mut Formatter<'_>, key: &str, recipe: &LockedRecipe) -> fmt::Result {
    write_header(f, &["recipe", key])?;
    write_string(f, "version", &recipe.version)?;
    write_string(f, "layer", &recipe.layer)?;
    write_string(f, "file", &recipe.file)?;
    write_string(f, "license", &recipe.license)?;
    write_list(f, "sources", &recipe.sources)
}

fn write_board(f: &mut Formatter<'_>, name: &str, board: &LockedBoard) -> fmt::Result {
    write_header(f, &["board", name])?;
    write_list(f, "sources", &board.sources)?;
    if let Some(closure) = &board.closure {
        write_closure(f, &["board", name], closure)?;
    }
    for (setting, closure) in &board.with {
        let path = ["board", name, "with", setting];
        write_header(f, &path)?;
        write_closure(f, &path, closure)?;
    }
    Ok(())
}

/// The rest of a block whose header is written already, and the tables below it. A line for each recipe and who needs it.
fn write_closure(f: &mut Formatter<'_>, path: &[&str], closure: &Closure) -> fmt::Result {
    write_string(f, "inputs", &closure.inputs)?;
    if !closure.extra.is_empty() {
        write_list(f, "extra", &closure.extra)?;
    }
    write_table(f, &[path, &["recipes"]].concat(), closure.recipes.iter())?;
    write_table(f, &[path, &["pins"]].concat(), closure.pins.iter())
}

fn write_table<'a, T: Display + 'a>(
    f: &mut Formatter<'_>,
    path: &[&str],
    entries: impl ExactSizeIterator<Item = (&'a String, T)>,
) -> fmt::Result {
    if entries.len() == 0 {
        return Ok(());
    }
    write_header(f, path)?;
    for (key, value) in entries {
        writeln!(f, "{} = {}", toml_edit::Key::new(key).display_repr(), quoted(&value.to_string()))?;
    }
    Ok(())
}

/// Layers with one hash share a table; each other one has its own, a line for each file.
fn write_folders(f: &mut Formatter<'_>, folders: &BTreeMap<String, LockedFolder>) -> fmt::Result {
    let whole: BTreeMap<&String, &Blake3> = folders
        .iter()
        .filter_map(|(name, folder)| match folder {
            LockedFolder::Whole(hash) => Some((name, hash)),
            LockedFolder::Files(_) => None,
        })
        .collect();
    write_table(f, &["folders"], whole.into_iter())?;
    for (name, folder) in folders {
        match folder {
            LockedFolder::Files(files) if files.is_empty() => write_header(f, &["folders", name])?,
            LockedFolder::Files(files) => write_table(f, &["folders", name], files.iter())?,
            LockedFolder::Whole(_) => {}
        }
    }
    Ok(())
}

fn write_header(f: &mut Formatter<'_>, path: &[&str]) -> fmt::Result {
    let keys: Vec<String> = path.iter().map(|key| toml_edit::Key::new(*key).display_repr().into_owned()).collect();
    writeln!(f, "\n[{}]", keys.join("."))
}

fn write_string(f: &mut Formatter<'_>, key: &str, value: &impl Display) -> fmt::Result {
    writeln!(f, "{key} = {}", quoted(&value.to_string()))
}

fn write_optional(f: &mut Formatter<'_>, key: &str, value: Option<&impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write_string(f, key, value))
}

fn write_flag(f: &mut Formatter<'_>, key: &str, value: bool) -> fmt::Result {
    if value { writeln!(f, "{key} = true") } else { Ok(()) }
}

fn write_list<T: Display>(f: &mut Formatter<'_>, key: &str, items: impl IntoIterator<Item = T>) -> fmt::Result {
    let items: Vec<String> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
    match items.as_slice() {
        [] => writeln!(f, "{key} = []"),
        [only] if only.len() < 100 => writeln!(f, "{key} = [{only}]"),
        several => {
            writeln!(f, "{key} = [")?;
            for item in several {
                writeln!(f, "    {item},")?;
            }
            writeln!(f, "]")
        }
    }
}

/// A TOML basic string. toml_edit would choose the quotes by content; always the same quotes make the text predictable.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads the text of a lock without conflict markers.
pub(super) fn parse(text: &str, path: &Path) -> Result<Lock> {
    let shown = disk::shown(path);
    let broken = |error: &dyn Display, span: Option<std::ops::Range<usize>>| {
        let message = error.to_string();
        let what = message.lines().next().unwrap_or_default().to_owned();
        Error::input(format!("{shown} is not a lock that kbuild can read"))
            .in_text(&shown, text)
            .at(span.unwrap_or(0..0), what)
            .help("take the file from version control again, or delete it and run `kbuild lock`")
    };
    let document = Document::parse(text).map_err(|error| broken(&error.message(), error.span()))?;
    check_version(&document, &shown)?;
    let raw = RawLock::deserialize(toml_edit::de::Deserializer::from(document))
        .map_err(|error| broken(&error.message(), error.span()))?;
    raw.check().map_err(|error| broken(&error, None))
}

fn check_version(document: &Document<&str>, shown: &str) -> Result<()> {
    let version = document.get("version").and_then(|item| item.as_integer());
    match version {
        Some(version) if version > i64::from(VERSION) => Err(Error::input(format!(
            "{shown} has version {version}, and this kbuild ({}) reads up to version {VERSION}",
            env!("CARGO_PKG_VERSION")
        ))
        .help("a newer kbuild wrote it: install the newest release")),
        Some(1..) => Ok(()),
        _ => Err(Error::input(format!("{shown} does not say its `version`"))
            .help("take the file from version control again, or delete it and run `kbuild lock`")),
    }
}

// The shapes of the text. Unknown keys are allowed: a later revision may add some.

#[derive(Deserialize)]
struct RawLock {
    #[serde(default)]
    layer: BTreeMap<String, RawPin>,
    #[serde(default)]
    source: BTreeMap<String, RawPin>,
    #[serde(default)]
    include: BTreeMap<String, RawIncluded>,
    #[serde(default)]
    image: BTreeMap<String, RawImage>,
    #[serde(default)]
    file: BTreeMap<String, RawFile>,
    #[serde(default)]
    git: BTreeMap<String, RawGit>,
    #[serde(default)]
    lfs: BTreeMap<String, RawLfs>,
    #[serde(default)]
    floating: BTreeMap<String, RawFloating>,
    #[serde(default, rename = "moved-tags")]
    moved_tags: BTreeMap<String, CommitId>,
    #[serde(default)]
    recipe: BTreeMap<String, RawRecipe>,
    #[serde(default)]
    folders: BTreeMap<String, FolderBlock>,
    #[serde(default)]
    registries: BTreeMap<String, SourceUrl>,
    #[serde(default)]
    board: BTreeMap<String, BoardBlock>,
}

/// One hash, or one for each file.
#[derive(Deserialize)]
#[serde(untagged)]
enum FolderBlock {
    Whole(Blake3),
    Files(BTreeMap<String, Blake3>),
}

#[derive(Deserialize)]
struct RawPin {
    url: Option<SourceUrl>,
    git: Option<SourceUrl>,
    branch: Option<String>,
    tag: Option<String>,
    rev: Option<CommitId>,
    version: Option<String>,
    #[serde(default)]
    submodules: bool,
    #[serde(default)]
    history: bool,
    #[serde(default, rename = "without-lfs")]
    without_lfs: bool,
    #[serde(default)]
    signers: Vec<String>,
    locked: SourceId,
    #[serde(rename = "signed-tag")]
    signed_tag: Option<Vec<String>>,
    #[serde(default)]
    patches: Vec<patch::PatchBlock>,
}

#[derive(Deserialize)]
struct RawIncluded {
    commit: CommitId,
    text: Vec<String>,
}

#[derive(Deserialize)]
struct RawImage {
    oci: String,
    version: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    digest: String,
    locked: BTreeMap<String, SourceId>,
}

#[derive(Deserialize)]
struct RawFile {
    name: Option<String>,
    urls: Vec<SourceUrl>,
    sha256: Sha256,
    blake3: Option<Blake3>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct RawGit {
    url: SourceUrl,
    refs: BTreeSet<String>,
    #[serde(default)]
    clones: BTreeSet<String>,
    commit: CommitId,
    tree: Option<Blake3>,
    #[serde(default)]
    history: bool,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    submodules: BTreeMap<String, String>,
    #[serde(default)]
    lfs: BTreeMap<String, String>,
    #[serde(default, rename = "without-lfs")]
    without_lfs: bool,
}

#[derive(Deserialize)]
struct RawLfs {
    urls: Vec<SourceUrl>,
    blake3: Option<Blake3>,
    size: u64,
}

#[derive(Deserialize)]
struct RawFloating {
    commit: CommitId,
}

#[derive(Deserialize)]
struct RawRecipe {
    version: String,
    layer: String,
    file: String,
    license: String,
    sources: BTreeSet<SourceId>,
}

#[derive(Deserialize)]
struct BoardBlock {
    sources: BTreeSet<SourceId>,
    #[serde(flatten)]
    closure: ClosureBlock,
    #[serde(default)]
    with: BTreeMap<String, ClosureBlock>,
}

#[derive(Deserialize)]
struct ClosureBlock {
    inputs: Option<Blake3>,
    #[serde(default)]
    extra: BTreeSet<SourceId>,
    #[serde(default)]
    recipes: BTreeMap<String, String>,
    #[serde(default)]
    pins: BTreeMap<String, String>,
}

impl RawLock {
    fn check(self) -> Result<Lock> {
        let pins = |raw: BTreeMap<String, RawPin>| -> Result<BTreeMap<String, Pin>> {
            raw.into_iter().map(|(name, pin)| Ok((name.clone(), pin.check(&name)?))).collect()
        };
        let lock = Lock {
            layers: pins(self.layer)?,
            sources: pins(self.source)?,
            includes: self.include.into_iter().map(|(key, raw)| (key, raw.into())).collect(),
            images: self
                .image
                .into_iter()
                .map(|(name, raw)| Ok((name.clone(), raw.check(&name)?)))
                .collect::<Result<_>>()?,
            files: self
                .file
                .into_iter()
                .map(|(name, raw)| Ok((name.clone(), raw.check(&name)?)))
                .collect::<Result<_>>()?,
            gits: self.git.into_iter().map(|(key, raw)| Ok((key.clone(), raw.check(&key)?))).collect::<Result<_>>()?,
            lfs: self.lfs.into_iter().map(|(oid, raw)| Ok((oid.clone(), raw.check(&oid)?))).collect::<Result<_>>()?,
            registries: self.registries,
            floating: self
                .floating
                .into_iter()
                .map(|(key, raw)| Ok((key.clone(), raw.check(&key)?)))
                .collect::<Result<_>>()?,
            moved_tags: self.moved_tags,
            recipes: self.recipe.into_iter().map(|(key, raw)| (key, raw.into())).collect(),
            folders: self.folders.into_iter().map(|(name, raw)| (name, raw.into())).collect(),
            boards: self.board.into_iter().map(|(name, raw)| (name, raw.into())).collect(),
        };
        lock.check_references()?;
        Ok(lock)
    }
}

impl RawPin {
    fn check(self, name: &str) -> Result<Pin> {
        let request = match (self.url, self.git) {
            (Some(url), None) => Request::File { url, version: self.version },
            (None, Some(url)) => Request::Git {
                url,
                reference: GitRef { branch: self.branch, tag: self.tag, rev: self.rev },
                version: self.version,
                submodules: self.submodules,
                history: self.history,
                lfs: !self.without_lfs,
                signers: self.signers,
            },
            _ => return Err(Error::input(format!("`{name}` must have exactly one of `url` and `git`"))),
        };
        let signed_tag = self.signed_tag.map(|lines| lines.join("\n"));
        let patches = self.patches.into_iter().map(|patch| patch.check(name)).collect::<Result<_>>()?;
        Ok(Pin { request, locked: self.locked, signed_tag, patches })
    }
}

impl From<RawIncluded> for IncludedText {
    fn from(raw: RawIncluded) -> Self {
        IncludedText { commit: raw.commit, text: raw.text.join("\n") }
    }
}

impl RawImage {
    fn check(self, name: &str) -> Result<LockedImage> {
        let digest = parse_digest(&self.digest)
            .ok_or_else(|| Error::input(format!("image `{name}` must have a `digest` as `sha256:…`")))?;
        let image = ImageName::read(&self.oci)?;
        let request = ImageAsked { image, version: self.version, architectures: self.architectures };
        Ok(LockedImage { request, digest, locked: self.locked })
    }
}

impl RawFile {
    fn check(self, name: &str) -> Result<LockedFile> {
        crate::source::name::check_component(name)?;
        let content = match (self.blake3, self.size) {
            (Some(blake3), Some(size)) => Some(Content { blake3, size }),
            (None, None) => None,
            _ => return Err(Error::input(format!("file `{name}` must have both `blake3` and `size`, or neither"))),
        };
        let parts = self.name.iter().flat_map(|name| name.split('/'));
        parts.into_iter().try_for_each(crate::source::name::check_component)?;
        Ok(LockedFile { name: self.name, urls: self.urls, sha256: self.sha256, stated_size: None, content })
    }
}

impl RawLfs {
    fn check(self, oid: &str) -> Result<LockedFile> {
        let sha256 =
            oid.parse().map_err(|error: Error| error.wrap(format!("`{oid}` is not the id of an LFS object")))?;
        let content = self.blake3.map(|blake3| Content { blake3, size: self.size });
        Ok(LockedFile { name: None, urls: self.urls, sha256, stated_size: Some(self.size), content })
    }
}

impl RawGit {
    fn check(self, key: &str) -> Result<LockedGit> {
        crate::source::name::check_component(key)?;
        let expected = crate::source::name::git_key(&self.url, &self.commit);
        if key != expected {
            return Err(Error::input(format!("git block `{key}` should be called `{expected}`")));
        }
        self.refs.iter().try_for_each(|name| crate::source::name::check_ref(name))?;
        self.clones.iter().try_for_each(|name| crate::source::name::check_component(name))?;
        Ok(LockedGit {
            url: self.url,
            refs: self.refs,
            clones: self.clones,
            commit: self.commit,
            tree: self.tree,
            history: self.history,
            recursive: self.recursive,
            submodules: self.submodules,
            lfs: self.lfs,
            without_lfs: self.without_lfs,
        })
    }
}

impl RawFloating {
    fn check(self, key: &str) -> Result<Floating> {
        let (url, reference) = key.rsplit_once('#').ok_or_else(|| Error::input(format!("`{key}` names no ref")))?;
        // A ref, or the object of a tag that a recipe names in place of its commit.
        if !reference.is_empty() && reference.parse::<CommitId>().is_err() {
            crate::source::name::check_ref(reference)?;
        }
        Ok(Floating { url: url.parse()?, reference: reference.to_owned(), commit: self.commit })
    }
}

impl From<RawRecipe> for LockedRecipe {
    fn from(raw: RawRecipe) -> Self {
        let RawRecipe { version, layer, file, license, sources } = raw;
        LockedRecipe { version, layer, file, license, sources }
    }
}

impl From<FolderBlock> for LockedFolder {
    fn from(raw: FolderBlock) -> Self {
        match raw {
            FolderBlock::Whole(hash) => LockedFolder::Whole(hash),
            FolderBlock::Files(files) => LockedFolder::Files(files),
        }
    }
}

impl From<BoardBlock> for LockedBoard {
    fn from(raw: BoardBlock) -> Self {
        let with = raw.with.into_iter().filter_map(|(setting, closure)| Some((setting, closure.read()?)));
        LockedBoard { sources: raw.sources, with: with.collect(), closure: raw.closure.read() }
    }
}

impl ClosureBlock {
    /// `None` without `inputs`: the closure was never looked for.
    fn read(self) -> Option<Closure> {
        let recipes = self.recipes.into_iter().map(|(name, by)| (name, Need::from(by))).collect();
        Some(Closure { inputs: self.inputs?, recipes, extra: self.extra, pins: self.pins })
    }
}

impl Display for Need {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::Target => "",
            Need::By(recipe) => recipe,
        })
    }
}

impl From<String> for Need {
    fn from(by: String) -> Self {
        if by.is_empty() { Need::Target } else { Need::By(by) }
    }
}

impl Lock {
    /// Whether anything in it is about Git LFS.
    fn has_lfs(&self) -> bool {
        !self.lfs.is_empty()
            || self.gits.values().any(|git| git.without_lfs)
            || self
                .layers
                .values()
                .chain(self.sources.values())
                .any(|pin| matches!(pin.request, Request::Git { lfs: false, .. }))
    }

    /// Whether a layer of it has to be signed, has patches, or is included from.
    fn has_more_of_layers(&self) -> bool {
        let is_signed = |pin: &Pin| matches!(&pin.request, Request::Git { signers, .. } if !signers.is_empty());
        !self.includes.is_empty() || self.layers.values().any(|pin| is_signed(pin) || !pin.patches.is_empty())
    }

    pub(super) fn check_references(&self) -> Result<()> {
        for id in self.roots() {
            self.get(id)?;
        }
        let pins = self.boards.values().flat_map(LockedBoard::closures).flat_map(|(_, closure)| &closure.pins);
        for (variable, key) in pins {
            if !self.floating.contains_key(key) {
                return Err(Error::input(format!("`{variable}` is pinned to `{key}`, which has no block")));
            }
        }
        for git in self.gits.values() {
            git.submodules.values().try_for_each(|child| self.get(&SourceId::Git(child.clone())).map(drop))?;
            git.lfs.values().try_for_each(|oid| self.get(&SourceId::Lfs(oid.clone())).map(drop))?;
        }
        Ok(())
    }
}
