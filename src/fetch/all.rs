//! All of a lock's sources at once.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use super::{Fetcher, WantedFile, WantedGit};
use crate::error::{Error, Result};
use crate::lock::{Lock, Locked, LockedFile, LockedGit};
use crate::source::SourceId;

/// The result of fetching a lock's sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// How many sources were fetched; the others were in the store already.
    pub count: usize,
    /// The bytes of the files among them.
    pub bytes: u64,
}

impl Fetcher {
    /// Makes sure that the store holds these sources of a lock. One that fails does not stop the others.
    ///
    /// # Errors
    /// Every source that could not be fetched, all in one error.
    pub async fn sources(&self, lock: &Lock, ids: &[SourceId]) -> Result<Fetched> {
        self.learn_registries(&lock.registries);
        let mut missing = Vec::new();
        for id in ids {
            let locked = lock.get(id)?;
            if !self.store().has(locked) {
                missing.push(locked);
            }
        }
        let bytes = AtomicU64::new(0);
        let results = join_all(missing.iter().map(|locked| self.source(*locked, &bytes))).await;
        let errors = results.into_iter().filter_map(Result::err).collect();
        match Error::all(errors, |count| format!("{count} of {} sources could not be fetched", ids.len())) {
            Some(error) => Err(error),
            None => Ok(Fetched { count: missing.len(), bytes: bytes.into_inner() }),
        }
    }

    async fn source(&self, locked: Locked<'_>, bytes: &AtomicU64) -> Result<()> {
        match locked {
            Locked::File(_, file) => {
                let digests = self.file(&WantedFile::locked(locked.name(), file)).await?;
                bytes.fetch_add(digests.size, Ordering::Relaxed);
            }
            Locked::Git(_, git) => drop(self.git(&WantedGit::locked(git)).await?),
        }
        Ok(())
    }
}

impl WantedFile {
    fn locked(name: &str, file: &LockedFile) -> Self {
        let (urls, sha256) = (file.urls.clone(), Some(file.sha256));
        let (sums, stated_size) = (Vec::new(), file.stated_size);
        WantedFile { name: name.to_owned(), urls, sha256, sums, stated_size, content: file.content }
    }
}

impl WantedGit {
    fn locked(git: &LockedGit) -> Self {
        WantedGit {
            url: git.url.clone(),
            commit: git.commit,
            refs: git.refs.iter().cloned().collect(),
            history: git.history,
            tree: git.tree,
        }
    }
}
