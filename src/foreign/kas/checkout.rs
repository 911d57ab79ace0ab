//! The repositories of files that are included from elsewhere: kas's own checkout where there is one, else fetched.

use std::path::{Path, PathBuf};

use git2::{ObjectType, TreeWalkMode, TreeWalkResult};
use indexmap::IndexMap;
use tempfile::TempDir;

use super::repository::KasRepository;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::foreign::found::{FilePlace, Notes};
use crate::foreign::repositories::{clean_url, name_for};
use crate::foreign::{ForeignRequest, pinned, work_tree};
use crate::git;

/// Endings of files that may be included.
const ENDINGS: [&str; 3] = [".yml", ".yaml", ".json"];

/// How many such files of a repository are looked at, and how long one may be, in bytes.
const FILES: usize = 20_000;
const LONGEST: usize = 1 << 20;

/// Where repositories are while files are read.
pub(super) struct Checkouts<'r> {
    request: &'r ForeignRequest,
    /// Copies of files at a commit, removed at the end.
    copies: Vec<TempDir>,
    pub(super) notes: Notes,
}

impl<'r> Checkouts<'r> {
    pub(super) fn new(request: &'r ForeignRequest) -> Self {
        Checkouts { request, copies: Vec::new(), notes: Notes::default() }
    }

    /// The directory with the files of a repository at the commit that is asked for; `None` where that needs a network that
    /// may not be used.
    pub(super) fn directory(
        &mut self,
        repository: &KasRepository,
        root: &Path,
        place: &FilePlace,
    ) -> Result<Option<PathBuf>> {
        let directory = repository.directory(root, &self.request.work_directory);
        let Some(url) = &repository.url else { return Ok(Some(directory).filter(|directory| directory.is_dir())) };
        let pin = self.pin(repository, url);
        if directory.is_dir() {
            let head = work_tree::ask(&directory, &["rev-parse", "HEAD^{commit}"]);
            match (&pin.rev, head) {
                (Some(rev), Some(head)) if *rev == head => return Ok(Some(directory)),
                (None, Some(_)) => return Ok(Some(directory)),
                (Some(rev), Some(_))
                    if work_tree::ask(&directory, &["cat-file", "-e", &format!("{rev}^{{commit}}")]).is_some() =>
                {
                    let repository = git2::Repository::open(&directory).map_err(git::broken_object)?;
                    return self.copy(&repository, rev).map(Some);
                }
                _ => {}
            }
        }
        let local = url.starts_with("file://") || !url.contains("://") && !url.contains('@');
        if self.request.offline && !local {
            return Ok(None);
        }
        self.fetch(&repository.key, url, &pin, place).map(Some)
    }

    fn pin(&mut self, repository: &KasRepository, url: &str) -> pinned::FoundRef {
        let commit = repository.commit.as_ref().or(repository.refspec.as_ref());
        match commit {
            Some(commit) => pinned::sort(commit, url, self.request.offline, &repository.place, &mut Notes::default()),
            None => pinned::FoundRef { branch: repository.branch.clone(), tag: repository.tag.clone(), rev: None },
        }
    }

    /// Fetches one commit; where the server does not give it by its id, all branches.
    fn fetch(&mut self, key: &str, url: &str, pin: &pinned::FoundRef, place: &FilePlace) -> Result<PathBuf> {
        let scratch = temporary()?;
        let directory = scratch.path();
        let url = clean_url(url, &self.request.work_directory, place, &mut self.notes);
        let run = |arguments: &[&str]| {
            let mut command = git::network_git();
            git::ends_with_kbuild(&mut command);
            git::bound_memory(&mut command);
            command
                .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60", "-C"])
                .arg(directory)
                .args(arguments);
            git::run(&mut command, Kind::Network)
        };
        run(&["init", "--bare", "--quiet", "."])?;
        let reference = match pin {
            pinned::FoundRef { rev: Some(rev), .. } => rev.clone(),
            pinned::FoundRef { tag: Some(tag), .. } => format!("refs/tags/{tag}"),
            pinned::FoundRef { branch: Some(branch), .. } => format!("refs/heads/{branch}"),
            _ => "HEAD".to_owned(),
        };
        let wanted = format!("+{reference}:refs/kbuild/wanted");
        let shallow = ["fetch", "--quiet", "--no-tags", "--depth", "1", "--end-of-options", &url, &wanted];
        let fetched = run(&shallow).or_else(|error| match &pin.rev {
            Some(rev) => {
                run(&["fetch", "--quiet", "--end-of-options", &url, "+refs/heads/*:refs/heads/*"])?;
                run(&["update-ref", "refs/kbuild/wanted", rev])
            }
            None => Err(error),
        });
        fetched.map_err(|error| {
            error.wrap(format!("{place}: could not fetch repository {key}, of which a file is included")).help(
                "with `--offline` the rest is written, and what is missing is listed; a checkout where kas has it is used too",
            )
        })?;
        let repository = git2::Repository::open_bare(directory).map_err(git::broken_object)?;
        self.copy(&repository, "refs/kbuild/wanted")
    }

    /// Writes the files that may be included into a directory of their own.
    fn copy(&mut self, repository: &git2::Repository, revision: &str) -> Result<PathBuf> {
        let commit = repository.revparse_single(revision).and_then(|object| object.peel_to_commit());
        let tree = commit.and_then(|commit| commit.tree()).map_err(git::broken_object)?;
        let mut files = Vec::new();
        let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
            let Ok(name) = entry.name() else { return TreeWalkResult::Skip };
            let plain = entry.kind() == Some(ObjectType::Blob) && entry.filemode() != 0o120_000;
            if plain && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                files.push((format!("{folder}{name}"), entry.id()));
            }
            if files.len() > FILES { TreeWalkResult::Abort } else { TreeWalkResult::Ok }
        });
        walked.map_err(git::broken_object)?;
        let copy = temporary()?;
        for (path, id) in files {
            let blob = repository.find_blob(id).map_err(git::broken_object)?;
            let safe = Path::new(&path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if safe && blob.content().len() <= LONGEST {
                let to = copy.path().join(&path);
                disk::create_dir_all(to.parent().unwrap_or(copy.path()))?;
                disk::replace(&to, blob.content())?;
            }
        }
        let path = std::fs::canonicalize(copy.path()).unwrap_or_else(|_| copy.path().to_owned());
        self.copies.push(copy);
        Ok(path)
    }

    /// Lists an include whose repository is not there.
    pub(super) fn note_missing(&mut self, name: &str, place: &FilePlace, declared: bool) {
        let why = if declared { "without a network it cannot be fetched" } else { "no file declares it" };
        self.notes.left_out(place, format!("the file that is included of {name}"), why);
    }

    /// The repository with BitBake, as far as checkouts show it: beside or inside the one with `oe-init-build-env`.
    pub(super) fn engine(&self, repositories: &IndexMap<String, KasRepository>, root: &Path) -> Option<String> {
        let has = |repository: &&KasRepository, file: &str| {
            repository.directory(root, &self.request.work_directory).join(file).is_file()
        };
        let top = repositories.values().find(|repository| has(repository, "bin/bitbake"));
        let inside = || repositories.values().find(|repository| has(repository, "bitbake/bin/bitbake"));
        top.or_else(inside).map(|repository| name_for(&repository.key))
    }
}

fn temporary() -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("kbuild-init-").tempdir();
    made.map_err(|error| Error::io("create a directory in", &std::env::temp_dir(), error))
}
