//! Removes from a store what no lock names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
    /// Number of blobs that no lock names, and that the limits leave.
    pub left: usize,
    /// Their size, in bytes.
    pub left_bytes: u64,
}

/// What of that which no lock names may stay; without limits nothing may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcLimits {
    /// What came within this time.
    pub age: Option<Duration>,
    /// What fits into so many bytes together with all that locks name, the youngest first.
    pub size: Option<u64>,
}

/// Something that no lock names, with the blobs that only it needs.
struct Unnamed {
    commit: Option<CommitId>,
    blobs: Vec<Blake3>,
    came: SystemTime,
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

impl GcLimits {
    /// Whether what came then is left, as far as its age says.
    fn is_young(&self, came: SystemTime, now: SystemTime) -> bool {
        // What came in the future, by a clock that was wrong, is young.
        self.age.is_some_and(|age| now.duration_since(came).map_or(true, |old| old <= age))
    }

    /// What stays of this, the youngest first, beside so many bytes that locks name.
    fn leave(
        &self,
        unnamed: Vec<Unnamed>,
        sizes: &BTreeMap<Blake3, u64>,
        kept_bytes: u64,
        now: SystemTime,
    ) -> Vec<Unnamed> {
        let mut used = kept_bytes;
        let mut counted: BTreeSet<Blake3> = BTreeSet::new();
        let mut stays = |unnamed: &Unnamed| {
            let new: Vec<Blake3> = unnamed.blobs.iter().copied().filter(|blob| !counted.contains(blob)).collect();
            let size: u64 = new.iter().filter_map(|blob| sizes.get(blob)).sum();
            let fits = self.size.is_none_or(|limit| used.saturating_add(size) <= limit);
            let stays = match self.age {
                Some(_) => self.is_young(unnamed.came, now) && fits,
                None => self.size.is_some() && fits,
            };
            if stays {
                used += size;
                counted.extend(new);
            }
            stays
        };
        unnamed.into_iter().filter(|unnamed| stays(unnamed)).collect()
    }
}

/// When a file came: the store never changes one.
fn came(path: &Path) -> SystemTime {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
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
    /// that a person has edited. Of the rest, what the limits leave stays as well.
    ///
    /// # Errors
    /// The store, or a record of a needed commit, cannot be read.
    pub fn gc_plan(&self, locks: &[Lock], borrowed: &[CommitId], limits: &GcLimits) -> Result<GcPlan> {
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
        let kept_bytes = kept.iter().map(|(_, size)| size).sum();
        let unnamed: Vec<CommitId> = inventory.commits.into_iter().filter(|commit| !commits.contains(commit)).collect();
        let sizes: BTreeMap<Blake3, u64> = gone.into_iter().collect();
        let now = SystemTime::now();
        let stays = limits.leave(self.unnamed(&sizes, &unnamed), &sizes, kept_bytes, now);
        let blobs_left: BTreeSet<Blake3> = stays.iter().flat_map(|left| left.blobs.iter().copied()).collect();
        let commits_left: BTreeSet<CommitId> = stays.iter().filter_map(|left| left.commit).collect();
        Ok(GcPlan {
            left: blobs_left.len(),
            left_bytes: blobs_left.iter().map(|blob| sizes[blob]).sum(),
            blobs: sizes.into_iter().filter(|(blob, _)| !blobs_left.contains(blob)).collect(),
            commits: unnamed.into_iter().filter(|commit| !commits_left.contains(commit)).collect(),
            // A download that was broken off is continued as long as its file would be left.
            partial: inventory.partial.into_iter().filter(|left| !limits.is_young(came(&left.path), now)).collect(),
            set_aside: inventory.set_aside,
            temporary: inventory.temporary.into_iter().filter(|left| !left.path.starts_with(&working)).collect(),
            kept: kept.len(),
            kept_bytes,
            twice: twice.len(),
            twice_bytes: twice.iter().sum(),
        })
    }

    /// What no lock names: commits with the blobs of their records, and blobs that no record names; the youngest first.
    fn unnamed(&self, blobs: &BTreeMap<Blake3, u64>, commits: &[CommitId]) -> Vec<Unnamed> {
        let mut found = Vec::new();
        let mut of_commits = BTreeSet::new();
        for commit in commits {
            let records = self.records(commit);
            let packs = records.iter().filter_map(|(_, record)| record.as_ref().ok()).flat_map(GitRecord::blobs);
            let packs: Vec<Blake3> = packs.filter(|blob| blobs.contains_key(blob)).collect();
            of_commits.extend(packs.iter().copied());
            found.push(Unnamed { commit: Some(*commit), blobs: packs, came: came(&self.own(&record_name(commit))) });
        }
        let files = blobs.keys().filter(|blob| !of_commits.contains(*blob));
        found.extend(files.map(|blob| Unnamed {
            commit: None,
            blobs: vec![*blob],
            came: came(&self.own(&blob_name(blob))),
        }));
        found.sort_by_key(|unnamed| std::cmp::Reverse(unnamed.came));
        found
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

        let plan = store.gc_plan(std::slice::from_ref(&lock), &[], &GcLimits::default()).unwrap();
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
        let left = exclusive.store().gc_plan(&[lock], &[], &GcLimits::default()).unwrap();
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
        let plan = store.gc_plan(std::slice::from_ref(&lock), &[], &GcLimits::default()).unwrap();
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
        assert!(store.gc_plan(&[lock], &[], &GcLimits::default()).unwrap().is_empty());
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

    #[test]
    fn limits_leave_what_is_young_and_what_fits() {
        let (directory, store) = temporary();
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        let add = |text: &str, days: u32| {
            let path = directory.path().join("file");
            fs::write(&path, text).unwrap();
            let digests = store.add_file(&path).unwrap();
            let blob = store.own(&blob_name(&digests.blake3));
            fs::File::open(&blob).unwrap().set_modified(now - day * days).unwrap();
            digests
        };
        let named = add("0123456789", 90);
        let (young, old) = (add("young", 2), add("old", 40));
        let upstream = Upstream::new();
        let commit = upstream.commit(&[], &a_tree([("a", file("text"))]));
        store.add_git(upstream.path(), &commit, tree::of_commit(&upstream.objects(), &commit).unwrap()).unwrap();
        let record = store.own(&record_name(&commit));
        fs::File::open(&record).unwrap().set_modified(now - day * 10).unwrap();
        let lock = lock_of(&named);
        let plan = |age: Option<u32>, size: Option<u64>| {
            let limits = GcLimits { age: age.map(|days| day * days), size };
            store.gc_plan(std::slice::from_ref(&lock), &[], &limits).unwrap()
        };
        let all = plan(None, None);
        assert_eq!((all.blobs.len(), all.commits.len(), all.left), (4, 1, 0));
        let month = plan(Some(30), None);
        assert_eq!((month.blobs, month.commits.len(), month.left), (vec![(old.blake3, 3)], 0, 3));
        let week = plan(Some(7), None);
        assert_eq!((week.blobs.len(), week.commits.as_slice(), week.left_bytes), (3, [commit].as_slice(), 5));
        // The commit's packs do not fit, but the older file does.
        let small = plan(None, Some(18));
        assert_eq!((small.commits.len(), small.left, small.left_bytes), (1, 2, 8));
        assert_eq!(plan(Some(7), Some(12)).left, 0, "both limits hold");
        assert_eq!(plan(None, Some(5)).left, 0, "what a lock names counts, and stays");
        assert!(plan(Some(3), None).blobs.iter().all(|(blob, _)| *blob != young.blake3));
    }
}
