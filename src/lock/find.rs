//! Finds the source of a lock that a person's text means.

use crate::source::{SourceId, SourceUrl};

use super::{Lock, LockedFile, LockedGit};

/// The fewest digits of a hash that are taken for one.
const SHORTEST_HASH: usize = 7;

impl Lock {
    /// The sources that a text names: by id, by key, by the name that BitBake looks for, as a layer or declared source, as
    /// a file in Git LFS, by URL, or by (the first digits of) a commit or hash. The first of these rules that finds a source decides.
    pub fn named(&self, text: &str) -> Vec<SourceId> {
        let rules = [by_id, by_key, by_name, by_url, by_hash];
        rules.iter().map(|rule| rule(self, text)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The sources whose key contains a text, in upper or lower case.
    pub fn containing(&self, text: &str) -> Vec<SourceId> {
        let text = text.to_lowercase();
        self.all_sources().into_iter().filter(|id| id.key().to_lowercase().contains(&text)).collect()
    }

    fn select(
        &self,
        file: impl Fn(&str, &LockedFile) -> bool,
        git: impl Fn(&str, &LockedGit) -> bool,
    ) -> Vec<SourceId> {
        let files = self.files.iter().filter(|(key, block)| file(key, block));
        let gits = self.gits.iter().filter(|(key, block)| git(key, block));
        let lfs = self.lfs.iter().filter(|(key, block)| file(key, block));
        let files = files.map(|(key, _)| SourceId::File(key.clone()));
        let gits = gits.map(|(key, _)| SourceId::Git(key.clone()));
        files.chain(gits).chain(lfs.map(|(key, _)| SourceId::Lfs(key.clone()))).collect()
    }
}

fn by_id(lock: &Lock, text: &str) -> Vec<SourceId> {
    let id = text.parse::<SourceId>().ok().filter(|id| lock.get(id).is_ok());
    id.into_iter().collect()
}

fn by_key(lock: &Lock, text: &str) -> Vec<SourceId> {
    lock.select(|key, _| key == text, |key, _| key == text)
}

fn by_name(lock: &Lock, text: &str) -> Vec<SourceId> {
    let pins = [&lock.layers, &lock.sources].into_iter().filter_map(|pins| pins.get(text));
    let mut found: Vec<SourceId> = pins.map(|pin| pin.locked.clone()).collect();
    found.extend(lock.images.get(text).into_iter().flat_map(|image| image.locked.values().cloned()));
    found.extend(lock.select(
        |_, file| file.name.as_deref().is_some_and(|name| name == text || name.rsplit('/').next() == Some(text)),
        |key, git| key.rsplit_once('@').is_some_and(|(clone, _)| clone == text) || git.clones.contains(text),
    ));
    let paths = lock.gits.values().flat_map(|git| &git.lfs);
    let called = paths.filter(|(path, _)| *path == text || path.rsplit('/').next() == Some(text));
    found.extend(called.map(|(_, oid)| SourceId::Lfs(oid.clone())));
    found.sort();
    found.dedup();
    found
}

/// Whether a URL is as in the lock, or differs only in its spelling or in parameters that recipes add (`;branch=…`).
fn by_url(lock: &Lock, text: &str) -> Vec<SourceId> {
    let canonical = text.parse::<SourceUrl>().map(|url| url.to_string()).unwrap_or_default();
    let bare = text.split(';').next().unwrap_or(text);
    let wanted: Vec<&str> = [text, &canonical, bare].into_iter().filter_map(place).collect();
    let written = wanted.first().copied().unwrap_or_default();
    let goes_on = |place: &str| written.strip_prefix(place).is_some_and(|rest| rest.starts_with(';'));
    let same = |url: &SourceUrl| place(url.as_str()).is_some_and(|place| wanted.contains(&place) || goes_on(place));
    lock.select(|_, file| file.urls.iter().any(same), |_, git| same(&git.url))
}

/// The part of a URL that says where it leads: without the scheme, and without git's `.git`.
fn place(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.trim_end_matches('/');
    Some(rest.strip_suffix(".git").unwrap_or(rest))
}

fn by_hash(lock: &Lock, text: &str) -> Vec<SourceId> {
    let text = text.to_lowercase();
    if text.len() < SHORTEST_HASH || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Vec::new();
    }
    let begins = |hash: String| hash.starts_with(&text);
    lock.select(
        |_, file| {
            begins(file.sha256.to_string()) || file.content.is_some_and(|content| begins(content.blake3.to_string()))
        },
        |_, git| begins(git.commit.to_string()) || git.tree.is_some_and(|tree| begins(tree.to_string())),
    )
}
