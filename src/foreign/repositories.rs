//! What readers do alike with repositories: names, URLs, and which of them has BitBake.

use std::path::{Component, Path, PathBuf};

use url::Url;

use super::found::{FilePlace, FoundLayer, FoundOrigin, Notes};
use crate::manifest;
use indexmap::IndexMap;

/// Last parts of URLs of repositories that have BitBake at their top.
const BITBAKE: &str = "bitbake";

/// Layers by which a repository is known to be poky, or one like it.
const LIKE_POKY: [&str; 2] = ["meta-poky", "meta-yocto-bsp"];

/// A name that a manifest can have.
pub(super) fn name_for(text: &str) -> String {
    let usable = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let name: String = text.chars().map(|c| if usable(c) { c } else { '-' }).take(100).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if manifest::is_name(name) { name.to_owned() } else { "layer".to_owned() }
}

/// The last part of a URL or path, without `.git`.
pub(super) fn last_part(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let last = url.rsplit(['/', ':']).next().unwrap_or(url);
    last.strip_suffix(".git").unwrap_or(last)
}

/// The URL of a repository as a manifest may have it: without a login, and a path of this machine as a `file:` URL.
pub(super) fn clean_url(text: &str, base: &Path, place: &FilePlace, notes: &mut Notes) -> String {
    let short = text.split_once(':').is_some_and(|(host, _)| !host.contains('/') && host.contains('@'));
    if !text.contains("://") && !short {
        let path = if let Some(rest) = text.strip_prefix("file:") { base.join(rest) } else { base.join(text) };
        return format!("file://{}", normal(&path).display());
    }
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    let keeps_user = url.scheme() == "ssh" || url.scheme() == "git+ssh";
    let before = url.clone();
    let _ = url.set_password(None);
    if !keeps_user {
        let _ = url.set_username("");
    }
    url.set_query(None);
    url.set_fragment(None);
    if url == before {
        return text.to_owned();
    }
    notes.left_out(place, format!("the login in the URL of {url}"), "store it in ~/.netrc or git's credential helper");
    url.to_string()
}

/// A path without `.` and, as far as possible, without `..`; links are not followed.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

/// A path relative to a directory; both are absolute. `.` for the directory itself.
pub(super) fn relative(path: &Path, directory: &Path) -> PathBuf {
    let (path, directory) = (normal(path), normal(directory));
    let shared = path.components().zip(directory.components()).take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(shared)).collect();
    if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative }
}

/// Which layer has BitBake: one of that name, else poky, else the one with `meta`.
pub(super) fn engine_of(layers: &IndexMap<String, FoundLayer>) -> Option<String> {
    let named = |layer: &FoundLayer, name: &str| match &layer.origin {
        FoundOrigin::Git { url, .. } => last_part(url) == name,
        FoundOrigin::Folder(path) => last_part(path) == name,
    };
    let has = |layer: &FoundLayer, path: &str| layer.paths.iter().any(|known| known == path);
    let bitbake = layers.iter().find(|(name, layer)| *name == BITBAKE || named(layer, BITBAKE));
    let poky = || {
        layers.iter().find(|(_, layer)| {
            named(layer, "poky") || LIKE_POKY.iter().any(|path| has(layer, path)) && has(layer, "meta")
        })
    };
    let core = || layers.iter().find(|(_, layer)| has(layer, "meta"));
    bitbake.or_else(poky).or_else(core).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_logins() {
        let place = FilePlace::default();
        let mut notes = Notes::default();
        let mut clean = |text: &str| clean_url(text, Path::new("/w"), &place, &mut notes);
        assert_eq!(clean("https://me:pw@host/x.git"), "https://host/x.git");
        assert_eq!(clean("https://t0k3n@host/x?private_token=1"), "https://host/x");
        assert_eq!(clean("ssh://git@host/x"), "ssh://git@host/x");
        assert_eq!(clean("git@host:a/x.git"), "git@host:a/x.git");
        assert_eq!(clean("../x"), "file:///x");
        assert_eq!(notes.left_out.len(), 2);
        assert!(!format!("{notes:?}").contains("pw"));
    }

    #[test]
    fn paths_are_relative_to_the_manifest() {
        for (path, directory, expected) in [("/a/b", "/a/b", "."), ("/a", "/a/b", ".."), ("/a/c/./d", "/a/b", "../c/d")]
        {
            assert_eq!(relative(Path::new(path), Path::new(directory)), Path::new(expected));
        }
        assert_eq!((last_part("git@h:x/poky.git"), last_part("https://h/a/bitbake/")), ("poky", "bitbake"));
        assert_eq!(name_for("meta x/y"), "meta-x-y");
    }
}
