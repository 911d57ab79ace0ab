//! Removes from a store what no lock names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::blob::blob_name;
use super::git::record_name;
use super::inventory::{Leftover, names};
use super::{GitRecord, Store, not_a_store};
use crate::disk::{self, FileLock};
use crate::error::Result;
use crate::lock::Lock;
use crate::source::{Blake3, CommitId};

/// What no lock names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Blobs with their sizes in bytes.
    pub blobs: Vec<(Blake3, u64)>,
    /// Commits whose records are removed.
    pub commits: Vec<CommitId>,
    /// Partial downloads: no download is running, since the collector is the only user.
    pub partial: Vec<Leftover>,
    /// What `kbuild verify --repair` set aside.
    pub set_aside: Vec<Leftover>,
    /// Temporary files of processes that died, since the collector is the only one that writes. Those in `tmp/` are removed
    /// when a store is opened, as far as nobody has them locked.
    pub temporary: Vec<Leftover>,
    /// Number of blobs that are kept.
    pub kept: usize,
    /// Their size, in bytes.
    pub kept_bytes: u64,
    /// Number of kept blobs that a lower store has too. They are kept because the lower store may disappear or be damaged.
    pub twice: usize,
    /// Their size, in bytes.
    pub twice_bytes: u64,
}

impl GcPlan {
    /// The size of everything to remove, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| *size).chain(self.leftovers().map(|file| file.size)).sum()
    }

    /// What is no content.
    pub fn leftovers(&self) -> impl Iterator<Item = &Leftover> {
        self.partial.iter().chain(&self.set_aside).chain(&self.temporary)
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.commits.is_empty() && self.leftovers().next().is_none()
    }
}

/// A store that no other process can open until this is dropped.
#[derive(Debug)]
pub struct ExclusiveStore(Store);

impl ExclusiveStore {
    /// Waits until no process has the store open, and then lets none open it. `waiting` is called once if one has.
    ///
    /// # Errors
    /// The directory is not a store, or cannot be written.
    pub fn with(root: &Path, waiting: impl FnOnce()) -> Result<ExclusiveStore> {
        if !super::has_format(root)? {
            return Err(not_a_store(root));
        }
        let root = super::canonical(root)?;
        super::ownership::check(&root)?;
        super::prepare(&root)?;
        let held = FileLock::exclusive(&root.join("lock"), waiting)?;
        let store = Store::writable(root, held);
        store.sweep();
        Ok(ExclusiveStore(store))
    }

    /// As [`Store::over`]: records of lower stores also say what is needed. Nothing in them is removed.
    ///
    /// # Errors
    /// Those of [`Store::over`].
    pub fn over(self, lower: &[PathBuf]) -> Result<ExclusiveStore> {
        self.0.over(lower).map(ExclusiveStore)
    }

    /// The store, for reading.
    pub fn store(&self) -> &Store {
        &self.0
    }

    /// Removes what [`Store::gc_plan`] found. Records and links are removed before the blobs that they point to, so that a
    /// killed collector leaves a valid store. Calls `check_interrupted` before each blob.
    ///
    /// # Errors
    /// Something cannot be removed, or `check_interrupted` fails; what was not removed yet stays.
    pub fn remove(&self, plan: &GcPlan, check_interrupted: impl Fn() -> Result<()>) -> Result<()> {
        let gone: BTreeSet<Blake3> = plan.blobs.iter().map(|(blob, _)| *blob).collect();
        let records = plan.commits.iter().map(|commit| self.0.own(&record_name(commit)));
        records.into_iter().try_for_each(|record| disk::remove_file(&record))?;
        self.0.links_to(&gone)?.iter().try_for_each(|link| disk::remove_file(link))?;
        let remove =
            |blob: &Blake3| check_interrupted().and_then(|()| disk::remove_file(&self.0.own(&blob_name(blob))));
        gone.iter().try_for_each(remove)?;
        plan.leftovers().try_for_each(|left| {
            let is_directory = fs::symlink_metadata(&left.path).is_ok_and(|found| found.is_dir());
            if is_directory { disk::remove_dir_all(&left.path) } else { disk::remove_file(&left.path) }
        })
    }
}

impl Store {
    /// What these locks do not name of this store, lower stores left out. All boards and choices of a lock count, and git
    /// commits with all their packs, whichever layer's record names them. `borrowed` commits stay too: those of checkouts
    /// that a person has edited.
    ///
    /// # Errors
    /// The store, or a record of a needed commit, cannot be read.
    pub fn gc_plan(&self, locks: &[Lock], borrowed: &[CommitId]) -> Result<GcPlan> {
        let locked = locks.iter().flat_map(|lock| lock.gits.values()).map(|git| git.commit);
        let commits: BTreeSet<CommitId> = locked.chain(borrowed.iter().copied()).collect();
        let mut blobs = BTreeSet::new();
        for file in locks.iter().flat_map(Lock::all_files) {
            blobs.extend(file.content.map(|content| content.blake3));
            blobs.extend(self.by_sha256(&file.sha256).map(|found| found.blake3));
        }
        for commit in &commits {
            // The packs of an unreadable record are not known: fetching replaces all of it.
            blobs.extend(
                self.records(commit).iter().filter_map(|(_, record)| record.as_ref().ok()).flat_map(GitRecord::blobs),
            );
        }
        let inventory = self.inventory()?;
        let (kept, gone): (Vec<_>, Vec<_>) = inventory.blobs.into_iter().partition(|(blob, _)| blobs.contains(blob));
        let twice = kept.iter().filter(|(blob, _)| self.lower().iter().any(|store| store.has_blob(blob)));
        let working = self.root.join("tmp");
        let twice: Vec<u64> = twice.map(|(_, size)| *size).collect();
        Ok(GcPlan {
            blobs: gone,
            commits: inventory.commits.into_iter().filter(|commit| !commits.contains(commit)).collect(),
            partial: inventory.partial,
            set_aside: inventory.set_aside,
            temporary: inventory.temporary.into_iter().filter(|left| !left.path.starts_with(&working)).collect(),
            kept: kept.len(),
            kept_bytes: kept.iter().map(|(_, size)| size).sum(),
            twice: twice.len(),
            twice_bytes: twice.iter().sum(),
        })
    }

    /// This store's links in `sha256/` that point to these blobs, or to none.
    fn links_to(&self, blobs: &BTreeSet<Blake3>) -> Result<Vec<PathBuf>> {
        let mut links = names(&self.root.join("sha256"))?;
        links.retain(|link| {
            let target = fs::read_link(link).ok();
            let blob = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()?.parse().ok());
            blob.is_none_or(|blob: Blake3| blobs.contains(&blob) || !self.has_blob(&blob))
        });
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Content, LockedFile};
    use crate::source::Digests;
    use crate::store::fixture::{Upstream, file, tree as a_tree};
    use crate::store::tests::temporary;
    use crate::store::tree;

    fn lock_of(digests: &Digests) -> Lock {
        let content = Some(Content { blake3: digests.blake3, size: digests.size });
        let file = LockedFile { name: None, urls: vec![], sha256: digests.sha256, stated_size: None, content };
        Lock { files: [("file".to_owned(), file)].into(), ..Lock::default() }
    }

    #[test]
    fn what_no_lock_names_is_removed_and_the_rest_stays() {
        let (directory, store) = temporary();
        let add = |text: &str| {
            let path = directory.path().join("file");
            fs::write(&path, text).unwrap();
            store.add_file(&path).unwrap()
        };
        let (wanted, unwanted) = (add("wanted"), add("unwanted"));
        let upstream = Upstream::new();
        let commits = ["one", "two"].map(|text| upstream.commit(&[], &a_tree([("a", file(text))])));
        let mut lock = lock_of(&wanted);
        for commit in &commits {
            let hash = tree::of_commit(&upstream.objects(), commit).unwrap();
            store.add_git(upstream.path(), commit, hash).unwrap();
        }
        lock.gits.insert("kept".to_owned(), upstream.locked(&commits[0], None));
        store.incoming("partial").unwrap().write(b"half").unwrap();

        let plan = store.gc_plan(std::slice::from_ref(&lock), &[]).unwrap();
        assert_eq!((plan.kept, plan.blobs.len(), plan.commits.as_slice()), (3, 3, &commits[1..]));
        assert_eq!(plan.partial.iter().map(|partial| partial.size).collect::<Vec<_>>(), [4]);
        let root = store.root().to_owned();
        drop(store);
        // It may wait for a moment: a child of another test has all files open between fork and exec.
        let exclusive = ExclusiveStore::with(&root, || ()).unwrap();
        exclusive.remove(&plan, || Ok(())).unwrap();
        assert_eq!(exclusive.store().by_sha256(&wanted.sha256), Some(wanted));
        assert!(fs::symlink_metadata(root.join("sha256").join(unwanted.sha256.to_string())).is_err());
        assert!(exclusive.store().git(&commits[0]).unwrap().is_some());
        assert_eq!(exclusive.store().git(&commits[1]).unwrap(), None);
        let left = exclusive.store().gc_plan(&[lock], &[]).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn what_killed_writers_left_is_counted_and_removed() {
        let (directory, store) = temporary();
        let path = directory.path().join("file");
        fs::write(&path, "content").unwrap();
        let lock = lock_of(&store.add_file(&path).unwrap());
        for name in [".kbuild-tmp-a", "git/.kbuild-tmp-b", "roots/.kbuild-tmp-c", "incoming/.kbuild-tmp-d"] {
            fs::write(store.root().join(name), "left").unwrap();
        }
        let working = store.scratch().unwrap();
        fs::write(working.path().join("work"), "work").unwrap();
        let inventory = store.inventory().unwrap();
        assert_eq!((inventory.temporary.len(), inventory.partial.len(), inventory.commits.len()), (6, 0, 0));
        assert_eq!(inventory.temporary.iter().map(|left| left.size).sum::<u64>(), 4 * 4 + 4);
        let plan = store.gc_plan(std::slice::from_ref(&lock), &[]).unwrap();
        assert_eq!((plan.temporary.len(), plan.bytes()), (4, 16), "nothing that somebody works on");
        let root = store.root().to_owned();
        drop((working, store));
        let exclusive = ExclusiveStore::with(&root, || ()).unwrap();
        exclusive.remove(&plan, || Ok(())).unwrap();
        assert_eq!(exclusive.store().inventory().unwrap().temporary, []);
    }

    #[test]
    fn a_lock_that_knows_only_a_sha256_keeps_the_blob() {
        let (directory, store) = temporary();
        let path = directory.path().join("file");
        fs::write(&path, "content").unwrap();
        let mut lock = lock_of(&store.add_file(&path).unwrap());
        lock.files.values_mut().for_each(|file| file.content = None);
        assert!(store.gc_plan(&[lock], &[]).unwrap().is_empty());
    }

    #[test]
    fn a_collector_waits_for_readers_and_keeps_them_out() {
        let (_directory, store) = temporary();
        let root = store.root().to_owned();
        let (waits, waited) = std::sync::mpsc::channel();
        let collector = std::thread::spawn({
            let root = root.clone();
            move || ExclusiveStore::with(&root, || waits.send(()).unwrap()).unwrap()
        });
        waited.recv().unwrap();
        assert!(!collector.is_finished());
        drop(store);
        let exclusive = collector.join().unwrap();
        assert!(FileLock::try_exclusive(&root.join("lock")).unwrap().is_none());
        drop(exclusive);
    }
}
