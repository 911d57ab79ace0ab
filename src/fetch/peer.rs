//! Other kbuild stores: a folder, any plain file server over one (`python3 -m http.server` is enough), or a [`Remote`].
//!
//! They are asked first, since they are asked for content by its hash: `<base>/blobs/ab/<blake3>` (which a bucket that
//! is served as plain files has too), or where only that is known `<base>/sha256/<hex>`, as Nix's hashed mirrors; for
//! git `<base>/git/<commit>.toml`, then the packs it names. They need not be trusted: packs are indexed anew, which
//! hashes every object, and the tree is compared as for any other mirror.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::mirrors::place;
use crate::error::{Error, Kind, Result};
use crate::net::guard::RequestTarget;
use crate::net::retry::{Failure, RetryPolicy};
use crate::net::transfer::{Expected, at};
use crate::remote::Remote;
use crate::source::url::redact;
use crate::source::{Blake3, CommitId, RemoteUrl, SourceUrl};
use crate::store::{GitRecord, blob_name, record_name};

/// Another store.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// Plain files: a folder, or a web server.
    Plain(SourceUrl),
    /// A store with its own protocol: a bucket, a registry.
    Remote(Arc<Remote>),
}

impl Peer {
    /// A store that a user named: a URL, or a directory (relative to where kbuild runs).
    ///
    /// # Errors
    /// The text is neither: kind `Input`.
    pub(crate) fn new(text: &str, policy: &RetryPolicy) -> Result<Peer> {
        if RemoteUrl::is_meant(text) {
            return Ok(Peer::Remote(Arc::new(Remote::new(&text.parse()?, policy))));
        }
        base(text).map(Peer::Plain)
    }

    /// Whether it is on this machine.
    pub(crate) fn is_folder(&self) -> bool {
        matches!(self, Peer::Plain(base) if base.scheme() == "file")
    }

    /// Where it has a file, if it can be asked for it at all.
    pub(crate) fn file(&self, expected: &Expected) -> Option<Result<Endpoint>> {
        match self {
            Peer::Plain(base) => file(base, expected).map(|url| url.map(Endpoint::Url)),
            Peer::Remote(remote) => {
                let known = expected.sha256.is_some() || expected.blake3.is_some();
                known.then(|| Ok(Endpoint::Remote(Arc::clone(remote))))
            }
        }
    }

    /// Where it has a blob.
    ///
    /// # Errors
    /// As [`blob`].
    pub(crate) fn blob(&self, blake3: &Blake3) -> Result<Endpoint> {
        match self {
            Peer::Plain(base) => blob(base, blake3).map(Endpoint::Url),
            Peer::Remote(remote) => Ok(Endpoint::Remote(Arc::clone(remote))),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Plain(base) => f.write_str(&redact(base.as_str())),
            Peer::Remote(remote) => remote.url().fmt(f),
        }
    }
}

/// A place to ask for a file.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Its URL there.
    Url(SourceUrl),
    /// A store that is asked by hash.
    Remote(Arc<Remote>),
}

impl Endpoint {
    /// How messages name it.
    pub fn host(&self) -> String {
        match self {
            // A repository in a folder, with objects of Git LFS.
            Endpoint::Url(url) if url.host().is_empty() => url.as_url().path().to_owned(),
            Endpoint::Url(url) => url.host(),
            Endpoint::Remote(remote) => remote.url().to_string(),
        }
    }
}

impl From<&Endpoint> for RequestTarget {
    fn from(place: &Endpoint) -> RequestTarget {
        match place {
            Endpoint::Url(url) => url.into(),
            Endpoint::Remote(remote) => remote.url().into(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Url(url) => url.fmt(f),
            Endpoint::Remote(remote) => remote.url().fmt(f),
        }
    }
}

/// The base of a store of plain files: a URL, or a directory (relative to where kbuild runs).
///
/// # Errors
/// What is neither: kind `Input`.
pub(crate) fn base(text: &str) -> Result<SourceUrl> {
    let wrong = |why: Error| why.wrap(format!("`{}` is not a store", crate::source::url::redact(text)));
    let url = if text.contains("://") {
        text.parse().map_err(wrong)?
    } else {
        let path = std::path::absolute(text).map_err(|error| wrong(Error::io("find", Path::new(text), error)))?;
        place(&path.to_string_lossy()).map_err(wrong)?
    };
    if !["file", "http", "https"].contains(&url.scheme()) {
        return Err(wrong(Error::input(format!("a store is a directory or an http URL, not `{}:`", url.scheme()))));
    }
    Ok(url)
}

/// Where a store has a file, if it can be asked for it at all.
pub(crate) fn file(base: &SourceUrl, expected: &Expected) -> Option<Result<SourceUrl>> {
    match (&expected.blake3, &expected.sha256) {
        (Some(blake3), _) => Some(blob(base, blake3)),
        (None, Some(sha256)) => Some(below(base, &format!("sha256/{sha256}"))),
        (None, None) => None,
    }
}

/// Where a store has a blob.
///
/// # Errors
/// A base that nothing can be added to.
pub(crate) fn blob(base: &SourceUrl, blake3: &Blake3) -> Result<SourceUrl> {
    below(base, &blob_name(blake3))
}

/// The folder of a `file:` URL as messages name it: another store by its directory, not by the blob in it.
pub(crate) fn shown_folder(url: &SourceUrl) -> &str {
    let path = url.as_url().path();
    let pieces = ["/blobs/", "/sha256/"].into_iter().find_map(|piece| path.rsplit_once(piece));
    pieces.map_or(path, |(store, _)| store)
}

/// Where a store has the record of a commit.
///
/// # Errors
/// As [`blob`].
pub(crate) fn record(base: &SourceUrl, commit: &CommitId) -> Result<SourceUrl> {
    below(base, &record_name(commit))
}

/// Reads a record that another store gave.
///
/// # Errors
/// A text that is not a record, or the record of another commit, or one with less history than is wanted.
pub(crate) fn read_record(
    url: &impl fmt::Display,
    text: &str,
    commit: &CommitId,
    history: bool,
) -> Result<GitRecord, Failure> {
    let useless = |why: String| Failure::permanent(at(url, why));
    let record: GitRecord = text.parse().map_err(|error: Error| useless(error.to_string()))?;
    if record.commit != *commit {
        return Err(useless(format!("it is the record of commit {}", record.commit)));
    }
    if history && !record.shallow.is_empty() {
        return Err(useless("that store has the commit without its history".to_owned()));
    }
    Ok(record)
}

fn below(base: &SourceUrl, path: &str) -> Result<SourceUrl> {
    let mut url = base.as_url().clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url.as_str().parse()
}

/// The path of a `file:` URL on this machine.
///
/// # Errors
/// A URL with a host, or whose path is none here.
pub(crate) fn local_path(url: &SourceUrl) -> Result<std::path::PathBuf> {
    let path = url.as_url().to_file_path();
    path.map_err(|()| Error::new(Kind::Network, url.to_string()).because("it is not a path of this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sha256;

    #[test]
    fn addresses_follow_the_layout_of_a_store() {
        let sha256 = Expected { sha256: Some(Sha256::from([1; 32])), ..Expected::default() };
        let blake3 = Expected { blake3: Some(Blake3::from([2; 32])), ..Expected::default() };
        let ones = "01".repeat(32);
        let twos = "02".repeat(32);
        let with_query = base("https://mirror.corp/kbuild/?ref=x").unwrap();
        let shown = |url: Option<Result<SourceUrl>>| url.unwrap().unwrap().to_string();
        assert_eq!(shown(file(&with_query, &sha256)), format!("https://mirror.corp/kbuild/sha256/{ones}?ref=x"));
        let folder = base("/srv/a store").unwrap();
        assert_eq!(shown(file(&folder, &blake3)), format!("file:///srv/a%20store/blobs/02/{twos}"));
        assert!(file(&folder, &Expected::default()).is_none());
        let commit = CommitId::from([3; 20]);
        let address = record(&folder, &commit).unwrap();
        assert_eq!(address.as_str(), format!("file:///srv/a%20store/git/{commit}.toml"));
        assert_eq!(local_path(&address).unwrap(), Path::new(&format!("/srv/a store/git/{commit}.toml")));
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for text in ["ssh://h/store", "https://u:secret@h/", "ftp://h/x"] {
            let error = base(text).unwrap_err();
            assert!(!format!("{error} {:?}", error.causes()).contains("secret"));
        }
    }
}
