//! The mirror of a lock under `/mirror/`, planned again when the lock changes, and the tarballs that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::mirror::Mirror;
use crate::source::Blake3;
use crate::store::{Store, Workplace};

/// How often an incomplete mirror is planned again: its missing sources may be fetched meanwhile.
const COMING: Duration = Duration::from_secs(10);

/// Plans the mirror from the current lock.
type MirrorPlanner = dyn Fn(&Store) -> Result<Mirror> + Send + Sync;

/// The mirror of a lock, and its packed tarballs.
pub struct MirrorCache {
    store: Store,
    lock: PathBuf,
    plan: Arc<MirrorPlanner>,
    place: Workplace,
    state: Mutex<State>,
}

struct State {
    mirror: Arc<Mirror>,
    seen: Option<Fingerprint>,
    planned: Instant,
    packed: BTreeMap<Blake3, Arc<OnceCell<PathBuf>>>,
}

/// What changes when a file is replaced.
type Fingerprint = (SystemTime, u64);

impl MirrorCache {
    /// A cache for the lock in this file; `plan` reads the lock. Tarballs are written to the store's scratch directory,
    /// or to the system's if the store cannot be written, and removed with the cache.
    ///
    /// # Errors
    /// Those of `plan`, or there is no directory for tarballs.
    pub fn new(
        store: &Store,
        lock: &Path,
        plan: impl Fn(&Store) -> Result<Mirror> + Send + Sync + 'static,
    ) -> Result<MirrorCache> {
        let store = store.unheld();
        let seen = fingerprint(lock);
        let mirror = Arc::new(plan(&store)?);
        let state = State { mirror, seen, planned: Instant::now(), packed: BTreeMap::new() };
        let place = store.workplace()?;
        Ok(MirrorCache { place, lock: lock.to_owned(), plan: Arc::new(plan), state: Mutex::new(state), store })
    }

    /// The mirror at the start.
    pub fn mirror(&mut self) -> &Mirror {
        &self.state.get_mut().mirror
    }

    /// The mirror of the current lock. If the lock cannot be read, the earlier mirror is kept.
    pub(super) async fn current(&self) -> Arc<Mirror> {
        let mut state = self.state.lock().await;
        let seen = fingerprint(&self.lock);
        let coming = !state.mirror.missing().is_empty() && state.planned.elapsed() >= COMING;
        if seen == state.seen && !coming {
            return Arc::clone(&state.mirror);
        }
        let (plan, store) = (Arc::clone(&self.plan), self.store.clone());
        let planned = tokio::task::spawn_blocking(move || plan(&store)).await;
        (state.seen, state.planned) = (seen, Instant::now());
        match planned.unwrap_or_else(|error| Err(Error::bug("planning a mirror broke").because(error))) {
            Ok(mirror) => state.replace(mirror),
            Err(error) => tracing::warn!(
                "{} cannot be used; its earlier state is served: {error}: {}",
                self.lock.display(),
                error.causes().join(": ")
            ),
        }
        Arc::clone(&state.mirror)
    }

    /// A repository's tarball, packed at the first request; other requests wait.
    pub(super) async fn tarball(&self, mirror: Arc<Mirror>, clone: String, tag: Blake3) -> Result<PathBuf> {
        let cell = Arc::clone(self.state.lock().await.packed.entry(tag).or_default());
        let path = self.place.path().join(format!("{tag}.tar.gz"));
        let pack = || async {
            let store = self.store.clone();
            let work = tokio::task::spawn_blocking(move || pack(&store, &mirror, &clone, path));
            work.await.unwrap_or_else(|error| Err(Error::bug("packing broke").because(error)))
        };
        cell.get_or_try_init(pack).await.cloned()
    }
}

impl State {
    /// Removes tarballs that the new mirror does not need; a client that reads one can still finish.
    fn replace(&mut self, mirror: Mirror) {
        let wanted: BTreeSet<Blake3> = mirror.entries().map(|(_, entry)| entry.tag()).collect();
        self.packed.retain(|tag, cell| {
            if let (false, Some(path)) = (wanted.contains(tag), cell.get()) {
                let _ = fs::remove_file(path);
            }
            wanted.contains(tag)
        });
        self.mirror = Arc::new(mirror);
    }
}

fn pack(store: &Store, mirror: &Mirror, clone: &str, path: PathBuf) -> Result<PathBuf> {
    let part = path.with_extension("part");
    // What a try that failed left.
    disk::remove_file(&part)?;
    let file = File::create_new(&part).map_err(|error| Error::io("write", &part, error))?;
    let packed = mirror.pack(store, clone, BufWriter::with_capacity(disk::CHUNK, file));
    let packed = packed.and_then(|()| fs::rename(&part, &path).map_err(|error| Error::io("write", &path, error)));
    packed.map_err(|error| match error.kind() {
        Kind::Missing => error,
        _ => error.wrap(format!("could not pack {clone}")),
    })?;
    Ok(path)
}

fn fingerprint(path: &Path) -> Option<Fingerprint> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).ok()?;
    // A replaced file counts as changed.
    Some((metadata.modified().ok()?, metadata.ino()))
}
