//! Sending shared state to a cache: only what it lacks.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{LocalObject, LocalState};
use crate::disk;
use crate::error::{Error, Result};
use crate::manifest::CachePlace;
use crate::net::guard::RequestGuard;
use crate::net::limits::Limits;
use crate::net::report::LazyTask;
use crate::net::retry::RetryPolicy;
use crate::progress::{self, Progress};
use crate::remote::{BlobRef, Objects};
use crate::source::{Blake3, RemoteUrl};

/// What a push did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CachePush {
    /// Objects of the shared state, with what stands beside them.
    pub objects: usize,
    /// Those that the cache lacked, and was sent.
    pub sent: usize,
    /// Their size, in bytes.
    pub bytes: u64,
}

/// Sends the objects of a directory of shared state that a cache lacks. An object is named by the hash of its task, so one
/// that is there is not sent again.
///
/// # Errors
/// The cache is behind a web server (kind `Input`), does not answer or refuses (`Network`), or cannot be written (`Io`).
/// What was sent stays.
pub async fn push(state: &LocalState, to: &CachePlace, jobs: usize, progress: &Arc<dyn Progress>) -> Result<CachePush> {
    let objects = state.objects()?;
    let sent = match to {
        CachePlace::Directory(path) => into_directory(&objects, path)?,
        CachePlace::Bucket(url) => into_bucket(&objects, url, jobs, progress).await?,
        CachePlace::Web(url) => return Err(CachePlace::only_read(url)),
    };
    Ok(CachePush { objects: objects.len(), sent: sent.len(), bytes: sent.iter().map(|object| object.size).sum() })
}

fn into_directory<'a>(objects: &'a [LocalObject], directory: &Path) -> Result<Vec<&'a LocalObject>> {
    let lacking = objects.iter().filter(|object| !directory.join(object.name.as_str()).exists());
    let lacking: Vec<&LocalObject> = lacking.collect();
    for object in &lacking {
        let path = directory.join(object.name.as_str());
        let parent = path.parent().unwrap_or(directory);
        disk::create_dir_all(parent)?;
        let failed = |error| Error::io("write", &path, error);
        let mut part = disk::file_within(parent)?;
        std::io::copy(&mut open(object)?, &mut part).map_err(failed)?;
        // Others read it: a web server, builds of other users. tempfile's files are for their owner alone.
        part.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
        disk::persist(part, &path)?;
    }
    Ok(lacking)
}

/// An object, if it still is one: builds work in the directory meanwhile, and one could put a link there that leads to any file
/// of the user.
fn open(object: &LocalObject) -> Result<File> {
    let mut directory = object.path.as_path();
    object.name.as_str().split('/').for_each(|_| directory = directory.parent().unwrap_or(directory));
    disk::try_open_below(directory, object.name.as_str()).map_err(|error| Error::io("read", &object.path, error))
}

async fn into_bucket<'a>(
    objects: &'a [LocalObject],
    url: &RemoteUrl,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<&'a LocalObject>> {
    let (policy, limits) = (RetryPolicy::from_env(), Limits::new(jobs));
    let bucket = Objects::new(url, &policy);
    let told = |error: Error| {
        error.wrap(format!("could not send to {url}")).help_or("run the same command again: what was sent is kept")
    };
    let report = LazyTask::new(progress, url.to_string(), None);
    let guard = RequestGuard { limits: &limits, policy: &policy, report: &report };
    report.task().note("looking for what is missing");
    let listed = guard.attempt(url, || bucket.list_named().boxed()).await.map_err(|failure| told(failure.error))?;
    let there: BTreeSet<String> = listed.into_iter().map(|object| object.name).collect();
    let lacking = objects.iter().filter(|object| !there.contains(&Objects::listed_as(object.name.as_str())));
    let lacking: Vec<&LocalObject> = lacking.collect();
    report.task().done(&format!("{} of {} objects are missing", lacking.len(), objects.len()));
    let send = |object: &'a LocalObject| {
        let (bucket, limits, policy) = (&bucket, &limits, &policy);
        async move {
            let report = LazyTask::new(progress, object.name.as_str(), Some(object.size));
            let guard = RequestGuard { limits, policy, report: &report };
            // What is sent has this hash, whatever is at its path by then.
            let blob = BlobRef { blake3: hash(object)?, sha256: None, size: object.size };
            let sent = bucket.put_named(object.name.as_str(), &blob, &object.path, &guard).await;
            sent.map_err(|failure| failure.error)?;
            report.task().done(&progress::size(object.size));
            Ok::<_, Error>(())
        }
    };
    // An object's data comes after it in the order of names, so none is there without its object.
    stream::iter(lacking.iter().copied().map(send)).buffered(jobs).try_collect::<Vec<()>>().await.map_err(told)?;
    Ok(lacking)
}

fn hash(object: &LocalObject) -> Result<Blake3> {
    let mut hasher = blake3::Hasher::new();
    // Read, not mapped: a build that cut the file meanwhile would end kbuild.
    hasher.update_reader(open(object)?).map_err(|error| Error::io("read", &object.path, error))?;
    Ok((*hasher.finalize().as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_gets_what_it_lacks() {
        let directory = tempfile::tempdir().unwrap();
        let state = LocalState::new(&directory.path().join("here"));
        std::fs::create_dir_all(state.directory().join("ab")).unwrap();
        for name in ["ab/sstate:a:1_x.tar.zst", "ab/sstate:a:1_x.tar.zst.siginfo", "ab/other"] {
            std::fs::write(state.directory().join(name), name).unwrap();
        }
        let to = CachePlace::Directory(directory.path().join("there"));
        let progress = crate::progress::Silent::shared();
        let first = push(&state, &to, 2, &progress).await.unwrap();
        assert_eq!((first.objects, first.sent), (2, 2));
        assert_eq!(
            std::fs::read_to_string(directory.path().join("there/ab/sstate:a:1_x.tar.zst")).unwrap(),
            "ab/sstate:a:1_x.tar.zst"
        );
        let sent = std::fs::metadata(directory.path().join("there/ab/sstate:a:1_x.tar.zst")).unwrap();
        assert_eq!(sent.permissions().mode() & 0o777, 0o644);
        assert_eq!(push(&state, &to, 2, &progress).await.unwrap(), CachePush { objects: 2, sent: 0, bytes: 0 });
        let web = CachePlace::read("https://cache.corp/x", Path::new("/")).unwrap();
        assert_eq!(push(&state, &web, 2, &progress).await.unwrap_err().kind(), crate::Kind::Input);
    }

    #[test]
    fn what_became_a_link_is_not_sent() {
        let directory = tempfile::tempdir().unwrap();
        let state = LocalState::new(&directory.path().join("here"));
        std::fs::create_dir_all(state.directory().join("ab")).unwrap();
        let path = state.directory().join("ab/sstate:a:1_x.tar.zst");
        std::fs::write(&path, "state").unwrap();
        let objects = state.objects().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        assert!(open(&objects[0]).is_err() && hash(&objects[0]).is_err());
        assert!(into_directory(&objects, &directory.path().join("there")).is_err());
    }
}
