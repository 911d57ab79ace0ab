//! One bare repository of a view: packs of the store under hard links, with the refs that URLs name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use git2::Oid;

use super::write_file;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::git::{broken_object, could_not_start, failed, local_git, open_objects};
use crate::lock::LockedGit;
use crate::source::name::check_ref;
use crate::source::{Blake3, CommitId};
use crate::store::{GitRecord, Pack, Store};

/// A bare repository that git never touches by itself.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n";

/// One clone: every pin of one upstream.
#[derive(Clone, Default)]
pub(super) struct BareClone {
    packs: BTreeMap<String, Pack>,
    /// Commits whose parents some pack lacks; another pack may have them.
    shallow: BTreeSet<CommitId>,
    /// A branch may have to contain several commits.
    refs: BTreeMap<String, BTreeSet<CommitId>>,
}

impl BareClone {
    /// Takes in another pin.
    pub(super) fn add(&mut self, record: &GitRecord, git: &LockedGit) {
        self.packs.extend(record.packs.iter().map(|pack| (pack.name.clone(), pack.clone())));
        self.shallow.extend(record.shallow.iter().copied());
        let mut refs = git.refs.clone();
        // `git clone` copies only what a ref leads to, so a pin without a branch (`nobranch`, submodules) gets one.
        if !refs.iter().any(|name| name.starts_with("refs/heads/")) {
            refs.insert(format!("refs/heads/kbuild-{}", git.commit.short()));
        }
        for name in refs {
            self.refs.entry(name).or_default().insert(git.commit);
        }
    }

    /// All that the repository is made from, as a text.
    pub(super) fn summary(&self) -> String {
        let files = self.pack_files().map(|(file, blob)| format!("{file} {blob}\n"));
        format!("{}{:?} {:?}", files.collect::<String>(), self.shallow, self.refs)
    }

    /// Whether a directory holds this repository still.
    pub(super) fn stands_in(&self, store: &Store, directory: &Path) -> bool {
        ["HEAD", "packed-refs", "refs"].iter().all(|name| directory.join(name).exists())
            && self.pack_files().all(|(file, blob)| {
                let size = fs::metadata(directory.join(file)).map(|metadata| metadata.len());
                size.ok() == store.blob_size(&blob)
            })
    }

    /// Refuses refs that git would not have, or that cannot stand together.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        for (reference, commits) in &self.refs {
            check_ref(reference)?;
            // A branch can be made to contain several commits, anything else stands for one.
            if commits.len() > 1 && !reference.starts_with("refs/heads/") {
                let commits: Vec<_> = commits.iter().map(CommitId::short).collect();
                let message = format!("{reference} of {name} is locked at {} at once", commits.join(" and "));
                return Err(Error::input(message).help("pin both users of this tag to one commit"));
            }
            let inside = |other: &&String| other.strip_prefix(reference.as_str()).is_some_and(|r| r.starts_with('/'));
            if let Some(other) = self.refs.keys().find(inside) {
                let message = format!("{reference} and {other} of {name} cannot both exist in a git repository");
                return Err(Error::input(message).help("pin one of them by `rev` instead"));
            }
        }
        Ok(())
    }

    /// Paths of packs and indexes below the repository, and the blobs they are.
    fn pack_files(&self) -> impl Iterator<Item = (String, Blake3)> {
        self.packs.values().flat_map(|Pack { name, pack, index }| {
            [(format!("objects/pack/{name}.pack"), *pack), (format!("objects/pack/{name}.idx"), *index)]
        })
    }

    /// Writes the repository as files. Without `refs/` git does not know it for one, and BitBake would delete it.
    pub(super) fn write(&self, store: &Store, directory: &Path) -> Result<()> {
        for name in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
            disk::create_dir_all(&directory.join(name))?;
        }
        for (file, blob) in self.pack_files() {
            disk::link_or_copy(&store.blob_path(&blob), &directory.join(file))?;
        }
        write_file(&directory.join("config"), CONFIG)?;
        let branch = self.refs.keys().find(|name| name.starts_with("refs/heads/"));
        let branch = branch.map_or("refs/heads/master", String::as_str);
        write_file(&directory.join("HEAD"), &format!("ref: {branch}\n"))?;
        let commits = Commits::in_repository(directory)?;
        self.write_shallow(&commits, directory)?;
        self.write_refs(&commits, directory)
    }

    /// The boundary where history ends: only commits whose parents really are not there, so that one pin's depth does not
    /// cut off what another pin brought.
    fn write_shallow(&self, commits: &Commits, directory: &Path) -> Result<()> {
        let mut text = String::new();
        for commit in &self.shallow {
            if !commits.parents(commit)?.iter().all(|parent| commits.has(parent)) {
                let _ = writeln!(text, "{commit}");
            }
        }
        if text.is_empty() { Ok(()) } else { write_file(&directory.join("shallow"), &text) }
    }

    fn write_refs(&self, commits: &Commits, directory: &Path) -> Result<()> {
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for (name, at) in &self.refs {
            let commit = match Vec::from_iter(at).as_slice() {
                [only] => **only,
                several => commits.join(several, directory)?,
            };
            let _ = writeln!(text, "{commit} {name}");
        }
        write_file(&directory.join("packed-refs"), &text)
    }
}

/// The commits of a repository, read as they were written (libgit2's own reading would apply `shallow`).
struct Commits {
    repository: git2::Repository,
}

impl Commits {
    fn in_repository(directory: &Path) -> Result<Commits> {
        Ok(Commits { repository: open_objects(directory)? })
    }

    fn has(&self, commit: &CommitId) -> bool {
        let id = Oid::from_bytes(commit.as_bytes());
        id.and_then(|id| Ok(self.repository.odb()?.exists(id))).unwrap_or(false)
    }

    fn header(&self, commit: &CommitId, field: &str) -> Result<Vec<CommitId>> {
        let odb = self.repository.odb().map_err(broken_object)?;
        let object = Oid::from_bytes(commit.as_bytes()).and_then(|id| odb.read(id)).map_err(broken_object)?;
        let text = String::from_utf8_lossy(object.data());
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix(field)).map(|id| id.trim().parse()).collect()
    }

    fn parents(&self, commit: &CommitId) -> Result<Vec<CommitId>> {
        self.header(commit, "parent ")
    }

    /// A commit that several commits are parents of, so that one branch contains them all: BitBake asks `git branch
    /// --contains REV --list BRANCH` (`bb.fetch2.git`, `_contains_ref`) and then checks out the revision, never this.
    fn join(&self, parents: &[&CommitId], directory: &Path) -> Result<CommitId> {
        let tree = self.header(parents[0], "tree ")?;
        let tree = tree.first().ok_or_else(|| Error::bug(format!("commit {} has no tree", parents[0])))?;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            let _ = writeln!(text, "parent {parent}");
        }
        let who = "kbuild <kbuild@localhost> 0 +0000";
        let _ = write!(text, "author {who}\ncommitter {who}\n\nAll revisions of this branch that the lock names\n");
        let mut command = local_git(directory);
        command.args(["hash-object", "-t", "commit", "-w", "--stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut git = command.spawn().map_err(could_not_start)?;
        let written = git.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
        let output = git.wait_with_output().map_err(could_not_start)?;
        if !output.status.success() {
            return Err(failed(&output, Kind::Io));
        }
        written.map_err(|error| Error::io("write to git in", directory, error))?;
        String::from_utf8_lossy(&output.stdout).trim().parse()
    }
}
