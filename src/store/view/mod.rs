//! Views: the sources of one board under the names BitBake looks for, made of links.
//!
//! ```text
//! <view>/
//!   flat/<name>       symlink to a blob: what PREMIRRORS names
//!   dl/<name>         the same, in a directory that BitBake may write: DL_DIR
//!   dl/<name>.done    empty, where BitBake takes no file without it, and for each clone
//!   dl/npm2/<name>.resolved
//!                     what `npm view` would say of a package, so that nobody is asked (BitBake 2.8)
//!   git2/<clone>/     bare repository that borrows the packs below: GITDIR
//!   git2/<clone>/lfs/objects/aa/bb/<oid>
//!                     symlinks to objects of Git LFS, where git-lfs and BitBake look for them
//!   packs/<clone>/objects/pack/
//!                     symlinks to the blobs of packs, under the names that git wants
//! ```
//! No file of a view is a file of the store: a hard link would let a recipe write into the store, since what it may write is
//! the file and not the name. Packs are borrowed (`objects/info/alternates`) and not linked into the repositories, because
//! git refuses to clone from a directory whose packs are symlinks.
//!
//! A view can be deleted and made again, and BitBake may do to it what it likes: it renames links whose bytes it dislikes
//! (`bb.fetch2.rename_bad_checksum`), and `cleanall` deletes repositories. A recipe may do more: add a pack or a setting of git's
//! that the next build would believe. So the record of what a view holds is outside of it, where no recipe can write, and
//! before every build the view is compared with it, name by name and byte by byte. What is not ours is removed; what is
//! ours and was changed makes the whole view anew.

mod expected;
mod flat;
mod repository;

pub use flat::Flat;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use self::expected::{ExpectedView, Record};
use self::repository::{BareClone, DIRECTORIES};
use super::Store;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::lock::{Lock, Locked, LockedFile, LockedGit};
use crate::source::name::{check_component, file_name, older_file_names, other_clone_name};
use crate::source::{Blake3, Package, SourceId, SourceUrl};

/// What the stamp hashes begins with; another layout gets another number.
const DOMAIN: &str = "kbuild view 3\n";

/// How many missing sources a message names.
const NAMED: usize = 5;

/// The directory below DL_DIR where BitBake's npm fetcher keeps packages (`bb.fetch2.npm`, `npm_localfile`).
const NPM: &str = "npm2/";

/// Lays out `directory/{flat,git2,dl,packs}` for the given sources (submodules come along); whatever was there is replaced as
/// a whole, unless it is the same view already. `record` is a file that says what the view holds; nobody but kbuild may be able
/// to write it. `directory` must be absolute.
///
/// # Errors
/// A source that the store lacks (kind `Missing`), two contents under one name (kind `Input`).
pub fn lay_out(store: &Store, lock: &Lock, sources: &[SourceId], directory: &Path, record: &Path) -> Result<()> {
    let view = View::plan(store, lock, sources)?;
    let expected = ExpectedView::recorded(&view, directory, record);
    if expected.is_some_and(|expected| expected.restore(directory)) {
        return Ok(());
    }
    disk::remove_file(record)?;
    let new = disk::directory_beside(directory)?;
    let texts = view.write(new.path(), directory)?;
    disk::replace_directory(new, directory)?;
    Record::new(&view, directory, &texts).write(record)
}

/// All that a view will hold.
struct View<'a> {
    store: &'a Store,
    /// Path below the view to the blob it leads to.
    links: BTreeMap<String, Link>,
    /// Path below the view to the text of a file of our own, which BitBake may write anew.
    notes: BTreeMap<String, String>,
    repositories: BTreeMap<String, BareClone>,
}

/// A name of a file.
#[derive(Clone)]
struct Link {
    blob: Blake3,
    /// Where that is: looked up once, not for each name.
    target: PathBuf,
    /// The lock's key that asked for it.
    key: String,
}

impl<'a> View<'a> {
    fn plan(store: &'a Store, lock: &Lock, sources: &[SourceId]) -> Result<View<'a>> {
        let ids = lock.with_submodules(sources);
        let locked = ids.iter().map(|id| lock.get(id)).collect::<Result<Vec<_>>>()?;
        let missing: Vec<_> =
            ids.iter().zip(&locked).filter(|(_, locked)| !store.has(**locked)).map(|(id, _)| id).collect();
        if !missing.is_empty() {
            return Err(lacking(&missing));
        }
        let mut view = View { store, links: BTreeMap::new(), notes: BTreeMap::new(), repositories: BTreeMap::new() };
        for (id, locked) in ids.iter().zip(locked) {
            match (id, locked) {
                // BitBake asks for it in the repository that has it, and nowhere else.
                (SourceId::Lfs(_), _) => {}
                (_, Locked::File(key, file)) => view.add_file(key, locked.name(), file)?,
                (_, Locked::Git(key, git)) => view.add_git(lock, key, locked.name(), git)?,
            }
        }
        view.repositories.iter().try_for_each(|(name, repository)| repository.check(name))?;
        view.add_other_spellings();
        view.add_stamps();
        Ok(view)
    }

    fn add_file(&mut self, key: &str, name: &str, file: &LockedFile) -> Result<()> {
        let found = self.store.find_file(file).ok_or_else(|| lacking(&[&SourceId::File(key.to_owned())]))?;
        let target = self.store.blob_path(&found.blake3);
        let link = Link { blob: found.blake3, target, key: key.to_owned() };
        let schemes: BTreeSet<&str> = file.urls.iter().map(SourceUrl::scheme).collect();
        // Where the npm fetcher keeps its packages, whether or not the name says so.
        let name =
            if schemes.contains("npm") && !name.contains('/') { format!("{NPM}{name}") } else { name.to_owned() };
        // Older releases take other names from the same URL, unless the recipe gave the name itself.
        let url = file.urls.first().filter(|url| file_name(url).is_ok_and(|taken| taken == name));
        for name in url.map(older_file_names).unwrap_or_default().iter().chain([&name]) {
            // A `downloadfilename` may hold a directory: DL_DIR keeps it, a mirror is asked for the last part alone.
            name.split('/').try_for_each(check_component)?;
            let last = name.rsplit('/').next().unwrap_or(name);
            self.add_link(format!("flat/{last}"), &link)?;
            self.add_link(format!("dl/{name}"), &link)?;
        }
        // These fetchers have no checksums: BitBake takes what is in DL_DIR only with a stamp beside it
        // (`bb.fetch2.verify_donestamp`), and takes a directory for the file when it comes from a flat mirror.
        if schemes.contains("svn") || schemes.contains("ssh") {
            self.notes.insert(format!("dl/{name}.done"), String::new());
        }
        if let Some(text) = resolved(&name, file) {
            self.notes.insert(format!("dl/{name}.resolved"), text);
        }
        Ok(())
    }

    fn add_link(&mut self, path: String, link: &Link) -> Result<()> {
        match self.links.get(&path) {
            Some(present) if present.blob != link.blob => {
                let (_, name) = path.split_once('/').unwrap_or_default();
                let message = format!("file:{} and file:{} are different files", present.key, link.key);
                let help = format!("BitBake would look for both as `{name}`: give one of them another `filename`");
                Err(Error::input(message).help(help))
            }
            _ => {
                self.links.insert(path, link.clone());
                Ok(())
            }
        }
    }

    fn add_git(&mut self, lock: &Lock, key: &str, name: &str, git: &LockedGit) -> Result<()> {
        let record = self.store.git(&git.commit)?.ok_or_else(|| lacking(&[&SourceId::Git(key.to_owned())]))?;
        let objects = git.lfs.values().filter_map(|oid| self.store.find_file(lock.lfs.get(oid)?));
        let objects: Vec<_> = objects.map(|found| (found.sha256, found.blake3)).collect();
        // The name in the key is the engine's own where it was discovered.
        for name in git.clones.iter().map(String::as_str).chain([name]) {
            check_component(name)?;
            let clone = self.repositories.entry(name.to_owned()).or_default();
            clone.add(&record, git);
            clone.add_lfs(objects.iter().copied());
        }
        Ok(())
    }

    /// Offers each clone under both spellings of its URL; one that has pins of its own stays as it is.
    fn add_other_spellings(&mut self) {
        let others = self.repositories.iter().map(|(name, repository)| (other_clone_name(name), repository.clone()));
        let others: Vec<_> = others.collect();
        for (name, repository) in others {
            self.repositories.entry(name).or_insert(repository);
        }
    }

    /// With a stamp beside it BitBake takes a clone as it is; without one it asks the mirrors first, those too that some layer
    /// put in front (`bb.fetch2.Fetch.download`, `verify_donestamp`).
    fn add_stamps(&mut self) {
        let stamps = self.repositories.keys().map(|name| (format!("dl/{name}.done"), String::new()));
        self.notes.extend(stamps);
    }

    /// A hash over all that the view holds, and where it and what it leads to lie.
    fn stamp(&self, directory: &Path) -> String {
        let mut text = format!("{DOMAIN}{}\n", directory.display());
        for (path, target) in self.all_links() {
            let _ = writeln!(text, "{path} {}", target.display());
        }
        for (path, note) in &self.notes {
            let _ = writeln!(text, "{path} {note:?}");
        }
        for (name, repository) in &self.repositories {
            let _ = writeln!(text, "git2/{name}\n{}", repository.summary());
        }
        blake3::hash(text.as_bytes()).to_string()
    }

    /// Every symlink, by its path below the view, with what it leads to.
    fn all_links(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let files = self.links.iter().map(|(path, link)| (path.clone(), link.target.clone()));
        let store = self.store;
        let packs = self.repositories.iter().flat_map(move |(name, repository)| {
            let packs = repository.pack_files().map(move |(file, blob)| (format!("packs/{name}/{file}"), blob));
            let lfs = repository.lfs_files().map(move |(file, blob)| (format!("git2/{name}/{file}"), blob));
            packs.chain(lfs).map(move |(path, blob)| (path, store.blob_path(&blob)))
        });
        files.chain(packs)
    }

    /// Directories that are there even if nothing is in them.
    fn directories(&self) -> impl Iterator<Item = String> {
        let of_repositories = self
            .repositories
            .keys()
            .flat_map(|name| DIRECTORIES.iter().map(move |directory| format!("git2/{name}/{directory}")));
        ["flat", "dl", "git2", "packs"].into_iter().map(str::to_owned).chain(of_repositories)
    }

    /// Writes the view into a directory that will become `at`, and gives the files of its repositories.
    fn write(&self, directory: &Path, at: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let links: Vec<(String, PathBuf)> = self.all_links().collect();
        let named = links.iter().map(|(path, _)| path).chain(self.notes.keys());
        let parents = named.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned()));
        for name in parents.chain(self.directories()).collect::<BTreeSet<_>>() {
            disk::create_dir_all(&directory.join(name))?;
        }
        for (path, target) in &links {
            let path = directory.join(path);
            symlink(target, &path).map_err(|error| Error::io("link", &path, error))?;
        }
        for (path, note) in &self.notes {
            write_new(&directory.join(path), note.as_bytes())?;
        }
        let mut all = BTreeMap::new();
        for (name, repository) in &self.repositories {
            let packs = Path::new("packs").join(name);
            let texts = repository.texts(&directory.join(&packs), Some(&at.join(&packs).join("objects")))?;
            for (file, text) in texts {
                let path = format!("git2/{name}/{file}");
                write_new(&directory.join(&path), &text)?;
                all.insert(path, text);
            }
        }
        Ok(all)
    }
}

/// What BitBake 2.8's npm fetcher keeps beside a package so that it need not ask the registry again: a URL with the name and
/// a checksum as parameters (`bb.fetch2.npm`, `_resolve_proxy_url`). Nobody is asked at that URL: the file is there.
fn resolved(name: &str, file: &LockedFile) -> Option<String> {
    name.strip_prefix(NPM)?;
    let package = file.urls.iter().find_map(|url| Package::of(url).ok()?);
    let address = package.and_then(|package| Some(format!("{}/{}", package.usual_base()?, package.path())));
    let address = address.or_else(|| Some(file.urls.first()?.as_str().split(';').next()?.to_owned()))?;
    Some(format!("{address};downloadfilename={name};sha256sum={}", file.sha256))
}

fn lacking(missing: &[&SourceId]) -> Error {
    let named: Vec<_> = missing.iter().take(NAMED).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let count = if missing.len() == 1 { "a source is".to_owned() } else { format!("{} sources are", missing.len()) };
    let message = format!("{count} not in the store: {}{more}", named.join(", "));
    Error::new(Kind::Missing, message).help("run `kbuild fetch`")
}

/// Writes a file that is not there yet, and its directory.
#[expect(clippy::disallowed_methods, reason = "a new directory is filled, and used only when it is complete")]
fn write_new(path: &Path, text: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        disk::create_dir_all(parent)?;
    }
    let written = fs::File::create_new(path).and_then(|mut file| file.write_all(text));
    written.map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
mod tests;
