//! The git side of a checkout: `.git`, so that git, BitBake and people see a work tree at its true commit.
//!
//! Objects are borrowed from the store, not copied: `.git/objects/info/alternates` (gitrepository-layout(5)) leads to
//! `.git/kbuild/objects`, whose packs are links to blobs of the store. What a person commits there is the checkout's own.
//! `.git/kbuild/commits` names the borrowed commits, so that a collector keeps them while the checkout has edits.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::Store;
use super::git::{GitRecord, Pack};
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{local_git, run};
use crate::lock::LockedGit;
use crate::source::CommitId;

/// The directory of borrowed objects, below `.git`.
const BORROWED: &str = "kbuild/objects";

/// The file that names what is borrowed: the commit, then those of its submodules, one a line.
const COMMITS: &str = "kbuild/commits";

/// The file that names the last of a checkout's patches, where it has some.
const PATCHED: &str = "kbuild/patched";

/// Takes every conversion of contents back: a checkout has the raw bytes, and `git status` has to compare them as they are.
/// `info/attributes` wins over `.gitattributes` (gitattributes(5)).
const ATTRIBUTES: &str = "* -text -eol -filter -ident -working-tree-encoding\n";

/// What does not count as an edit, see [`super::tree::of_directory`].
const EXCLUDE: &str = "__pycache__/\n";

/// A commit's checkout, as git sees it.
pub(super) struct WorkTree<'a> {
    pub(super) store: &'a Store,
    pub(super) git: &'a LockedGit,
    /// The commit that is checked out: that one, or the last of its patches.
    pub(super) head: CommitId,
    /// The repository with the objects of its patches, which the checkout gets for its own.
    pub(super) made: Option<&'a Path>,
    /// The commits of its submodules.
    pub(super) children: Vec<CommitId>,
    /// Files in Git LFS: their bytes are there, where the commit has pointers.
    pub(super) large: Vec<String>,
}

impl WorkTree<'_> {
    /// Makes `directory`, which has files of the commit, a work tree of it; `.git` is made beside `top`, the outermost checkout.
    /// A `.git` that is there is kept: only the links into the store, which may have moved, are corrected.
    ///
    /// # Errors
    /// The store does not have the commit (kind `Missing`), git fails, or something cannot be written.
    pub(super) fn ensure(&self, directory: &Path, top: &Path) -> Result<()> {
        let record = self.store.git(&self.git.commit)?.ok_or_else(|| {
            Error::new(Kind::Missing, format!("commit {} is not in the store", self.git.commit))
                .help("run `kbuild fetch`")
        })?;
        let own = directory.join(".git");
        if fs::symlink_metadata(&own).is_err() {
            let new = disk::directory_beside(top)?;
            self.make(&record, new.path(), directory)?;
            return disk::replace_directory(new, &own);
        }
        // A repository that a person put there is theirs.
        if own.join(BORROWED).is_dir() { self.borrow_packs(&record, &own) } else { Ok(()) }
    }

    fn make(&self, record: &GitRecord, git_dir: &Path, directory: &Path) -> Result<()> {
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(git_dir, mode).map_err(|error| Error::io("set the mode of", git_dir, error))?;
        for part in ["info", "objects/info", "objects/pack", "refs/heads", "refs/tags", BORROWED] {
            disk::create_dir_all(&git_dir.join(part))?;
        }
        let commits: String =
            std::iter::once(&self.git.commit).chain(&self.children).map(|commit| format!("{commit}\n")).collect();
        let shallow: String = record.shallow.iter().map(|commit| format!("{commit}\n")).collect();
        for (file, text) in [
            ("HEAD", format!("{}\n", self.head)),
            ("config", configuration(self.git)),
            ("info/attributes", ATTRIBUTES.to_owned()),
            ("info/exclude", EXCLUDE.to_owned()),
            ("objects/info/alternates", format!("../{BORROWED}\n")),
            (COMMITS, commits),
            (PATCHED, self.made.map(|_| format!("{}\n", self.head)).unwrap_or_default()),
            ("shallow", shallow),
        ] {
            // An empty `shallow` would say that nothing is known.
            if !text.is_empty() {
                disk::replace(&git_dir.join(file), text.as_bytes())?;
            }
        }
        self.borrow_packs(record, git_dir)?;
        if let Some(made) = self.made {
            copy_loose(&made.join("objects"), &git_dir.join("objects"))?;
        }
        run(at(git_dir, directory).args(["read-tree", "HEAD"]), Kind::Mismatch)?;
        if !self.large.is_empty() {
            let mut index = at(git_dir, directory);
            run(index.args(["update-index", "--skip-worktree", "--"]).args(&self.large), Kind::Mismatch)?;
        }
        // Writes down times and sizes, so that `git status` need not read each file. Its exit status says whether some differ.
        let _ = run(at(git_dir, directory).args(["update-index", "-q", "--refresh"]), Kind::Mismatch);
        Ok(())
    }

    fn borrow_packs(&self, record: &GitRecord, git_dir: &Path) -> Result<()> {
        let packs = git_dir.join(BORROWED).join("pack");
        disk::create_dir_all(&packs)?;
        for (name, blob) in record.packs.iter().flat_map(Pack::files) {
            let (link, blob) = (packs.join(name), self.store.blob_path(&blob));
            if fs::read_link(&link).ok().as_ref() != Some(&blob) {
                disk::remove_file(&link)?;
                symlink(&blob, &link).map_err(|error| Error::io("link", &link, error))?;
            }
        }
        Ok(())
    }
}

/// Copies the loose objects of a repository into another one.
fn copy_loose(from: &Path, to: &Path) -> Result<()> {
    let failed = |error| Error::io("read", from, error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).map_err(failed)?;
        if name.len() != 2 || !path.is_dir() {
            continue;
        }
        disk::create_dir_all(&to.join(&name))?;
        for object in fs::read_dir(&path).map_err(failed)? {
            let object = object.map_err(failed)?;
            disk::reflink_or_copy(&object.path(), &to.join(&name).join(object.file_name()))?;
        }
    }
    Ok(())
}

/// git over a checkout.
fn at(git_dir: &Path, directory: &Path) -> std::process::Command {
    let mut git = local_git(git_dir);
    git.arg("--work-tree").arg(directory).current_dir(directory);
    git
}

fn configuration(git: &LockedGit) -> String {
    // git-config(1), "Syntax": within quotes, `"` and `\` are escaped.
    let url = git.url.as_str().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "# Made by kbuild. Objects of the locked commit are borrowed from kbuild's store.\n\
         [core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
         [gc]\n\tauto = 0\n\
         [remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
}

/// The commit that HEAD is at; `None` where there is no repository, or none with a commit.
pub(super) fn head(directory: &Path) -> Option<CommitId> {
    let git_dir = directory.join(".git");
    fs::symlink_metadata(&git_dir).ok()?;
    let head = run(local_git(&git_dir).args(["rev-parse", "--verify", "-q", "HEAD"]), Kind::Mismatch).ok()?;
    String::from_utf8(head).ok()?.trim().parse().ok()
}

/// A checkout that kbuild made, found on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCheckout {
    /// Its directory.
    pub directory: PathBuf,
    /// The commit it was made of, and those of its submodules.
    pub commits: Vec<CommitId>,
    /// The last of its patches, where it has some.
    pub patched: Option<CommitId>,
}

impl FoundCheckout {
    /// The checkouts in a directory, by name.
    ///
    /// # Errors
    /// The directory cannot be read; a missing one has none.
    pub fn all_in(directory: &Path) -> Result<Vec<FoundCheckout>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries.collect::<std::io::Result<Vec<_>>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let entries = entries.map_err(|error| Error::io("list", directory, error))?;
        let mut found: Vec<FoundCheckout> = entries
            .into_iter()
            .filter_map(|entry| {
                let directory = entry.path();
                let commits = fs::read_to_string(directory.join(".git").join(COMMITS)).ok()?;
                let commits = commits.lines().filter_map(|line| line.parse().ok()).collect();
                let patched = fs::read_to_string(directory.join(".git").join(PATCHED)).ok();
                let patched = patched.and_then(|line| line.trim().parse().ok());
                Some(FoundCheckout { directory, commits, patched })
            })
            .collect();
        found.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(found)
    }

    /// Whether a person edited something here, or committed: by git's own index, which reads only what was touched. A
    /// repository that git cannot read counts as edited.
    pub fn is_edited(&self) -> bool {
        if head(&self.directory).as_ref() != self.patched.as_ref().or(self.commits.first()) {
            return true;
        }
        let status = ["--no-optional-locks", "status", "--porcelain", "--untracked-files=normal"];
        run(at(&self.directory.join(".git"), &self.directory).args(status), Kind::Mismatch)
            .map_or(true, |changes| !changes.is_empty())
    }
}
