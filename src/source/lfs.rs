//! Git LFS: the pointers that a tree has in place of large files, and the URL of the server that has these.
//!
//! The rules are those of git-lfs: `docs/spec.md` (pointers) and `docs/api/server-discovery.md` (servers).

use super::url::LFS;
use super::{Sha256, SourceUrl};
use crate::error::Result;

/// Files of this size and larger are no pointers (git-lfs, `lfs.blobSizeCutoff`), in bytes.
pub const POINTER_LIMIT: usize = 1024;

/// The first lines of a pointer: today's, and those of two early releases, which git-lfs still reads.
const VERSIONS: [&str; 3] =
    ["https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2"];

/// What a pointer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LfsPointer {
    /// The object's id: the SHA-256 of its bytes.
    pub oid: Sha256,
    /// In bytes.
    pub size: u64,
    /// Whether git-lfs would run programs of the user's over the object (`ext-…`).
    pub extended: bool,
}

impl LfsPointer {
    /// Reads a pointer; `None` for any other file.
    pub fn parse(bytes: &[u8]) -> Option<LfsPointer> {
        if bytes.len() >= POINTER_LIMIT {
            return None;
        }
        let mut lines = std::str::from_utf8(bytes).ok()?.trim().lines();
        let version = lines.next()?.strip_prefix("version ")?;
        VERSIONS.contains(&version.trim()).then_some(())?;
        let mut pointer = (None, None, false);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", oid) => pointer.0 = Some(oid.strip_prefix("sha256:")?.parse().ok()?),
                ("size", size) => pointer.1 = Some(size.parse().ok()?),
                (key, _) => pointer.2 |= key.starts_with("ext-"),
            }
        }
        Some(LfsPointer { oid: pointer.0?, size: pointer.1?, extended: pointer.2 })
    }
}

impl SourceUrl {
    /// The LFS server of a repository, as git-lfs finds it: at `.git/info/lfs` below its https URL, over ssh by asking the host,
    /// in a folder that is a repository. (git itself has no LFS: https is tried.)
    ///
    /// # Errors
    /// A URL that git does not speak: kind `Input`.
    pub fn lfs_server(&self) -> Result<SourceUrl> {
        let bare = self.as_str().trim_end_matches('/');
        let with_path = |text: &str| match text.strip_suffix(".git") {
            Some(_) => format!("{text}/info/lfs"),
            None => format!("{text}.git/info/lfs"),
        };
        let place = match self.scheme() {
            "http" | "https" => with_path(bare),
            "git" => with_path(&bare.replacen("git://", "https://", 1)),
            "git+ssh" => bare.replacen("git+ssh://", "ssh://", 1),
            _ => bare.to_owned(),
        };
        SourceUrl::lfs(&place)
    }

    /// An LFS server at the URL that a repository's `.lfsconfig` gives.
    ///
    /// # Errors
    /// A URL that is not usable: kind `Input`.
    pub fn lfs(place: &str) -> Result<SourceUrl> {
        format!("{LFS}{place}").parse()
    }

    /// The address of an LFS server without kbuild's prefix; `None` for any other URL.
    pub fn lfs_place(&self) -> Option<SourceUrl> {
        self.as_str().strip_prefix(LFS)?.parse().ok()
    }

    /// The repository's URL, in both spellings, if an LFS server is where a repository's is by default.
    pub fn lfs_repositories(&self) -> Vec<SourceUrl> {
        let Some(place) = self.lfs_place() else { return Vec::new() };
        let place = place.as_str();
        let repository = match place.strip_suffix("/info/lfs") {
            Some(repository) => repository,
            None if ["http", "https"].iter().any(|scheme| self.scheme() == format!("{LFS}{scheme}")) => {
                return Vec::new();
            }
            None => place,
        };
        let short = repository.strip_suffix(".git").unwrap_or(repository);
        [short.to_owned(), format!("{short}.git")].iter().filter_map(|text| text.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_other_files() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
        let pointer = LfsPointer { oid: oid.parse().unwrap(), size: 12345, extended: false };
        assert_eq!(LfsPointer::parse(text.as_bytes()), Some(pointer));
        let old = text.replace("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1");
        assert_eq!(LfsPointer::parse(old.as_bytes()), Some(pointer));
        let extended = text.replace("oid", &format!("ext-0-foo sha256:{oid}\noid"));
        assert_eq!(LfsPointer::parse(extended.as_bytes()), Some(LfsPointer { extended: true, ..pointer }));
        let padded = format!("{text}{}", " ".repeat(POINTER_LIMIT));
        for other in
            ["", "version 1\n", &text.replace("sha256", "md5"), &text.replace("12345", "much"), &text[..60], &padded]
        {
            assert_eq!(LfsPointer::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_repository_has_its_server_where_git_lfs_looks_for_it() {
        for (repository, server) in [
            ("https://h/o/r", "lfs+https://h/o/r.git/info/lfs"),
            ("https://h/o/r.git/", "lfs+https://h/o/r.git/info/lfs"),
            ("git://h/o/r", "lfs+https://h/o/r.git/info/lfs"),
            ("git@h:o/r.git", "lfs+ssh://git@h/o/r.git"),
            ("git+ssh://git@h/o/r", "lfs+ssh://git@h/o/r"),
            ("file:///srv/r.git", "lfs+file:///srv/r.git"),
        ] {
            let repository: SourceUrl = repository.parse().unwrap();
            assert_eq!(repository.lfs_server().unwrap().as_str(), server);
        }
        let server: SourceUrl = "lfs+https://h/o/r.git/info/lfs".parse().unwrap();
        let repositories: Vec<String> = server.lfs_repositories().iter().map(ToString::to_string).collect();
        assert_eq!(repositories, ["https://h/o/r", "https://h/o/r.git"]);
        assert_eq!(SourceUrl::lfs("https://lfs.corp/api").unwrap().lfs_repositories(), []);
        assert_eq!(server.lfs_place().unwrap().as_str(), "https://h/o/r.git/info/lfs");
    }

    #[test]
    fn a_server_is_checked_as_any_other_url() {
        assert_eq!(SourceUrl::lfs("https://token@H.example/x").unwrap().as_str(), "lfs+https://h.example/x");
        for text in
            ["lfs+https://u:secret@h/x", "lfs+oci://h/x", "lfs+ext::sh", "lfs+--upload-pack=x", "lfs+lfs+https://h/x"]
        {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
