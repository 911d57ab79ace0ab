//! Whether bytes that nobody gave a hash for can be the file that was asked for: a look at how they begin.
//!
//! A captive portal, a login page or a forge that has moved answers 200 with a page. A known hash shows that it is not
//! the file. Where a file is locked for the first time without a hash, its first bytes are compared with what its
//! ending promises.

/// What files of an ending begin with, as their formats say (and as file(1) tells them): any of these.
const MAGIC: [(&[&str], &[&[u8]]); 9] = [
    (&[".gz", ".tgz", ".crate"], &[b"\x1f\x8b"]),
    (&[".xz", ".txz"], &[b"\xfd7zXZ\0"]),
    (&[".bz2", ".tbz", ".tbz2"], &[b"BZh"]),
    // A frame, or one that is skipped (RFC 8878, 3.1.2).
    (&[".zst", ".tzst"], &[b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]),
    (&[".lz", ".tlz"], &[b"LZIP"]),
    // A file, an empty archive, one of several parts.
    (&[".zip", ".jar", ".whl", ".aar"], &[b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"]),
    (&[".7z"], &[b"7z\xbc\xaf\x27\x1c"]),
    (&[".deb", ".a"], &[b"!<arch>\n"]),
    (&[".rpm"], &[b"\xed\xab\xee\xdb"]),
];

/// Endings under which a page is what was asked for.
const PAGES: [&str; 4] = [".html", ".htm", ".xhtml", ".php"];

/// Why these first bytes are not those of a file of this name; `None` where they may be.
pub(crate) fn doubt(name: &str, head: &[u8]) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if head.is_empty() {
        return Some("it is empty".to_owned());
    }
    if is_page(head) && !ends(&PAGES) {
        return Some("it is a web page".to_owned());
    }
    let (endings, beginnings) = MAGIC.iter().find(|(endings, _)| ends(endings))?;
    let ending = endings.iter().find(|ending| name.ends_with(*ending)).unwrap_or(&endings[0]);
    let fits = beginnings.iter().any(|beginning| head.starts_with(beginning));
    (!fits).then(|| format!("it does not begin as a file that ends in `{ending}` does"))
}

/// Whether these first bytes are those of a web page.
pub(crate) fn is_page(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    ["<!doctype html", "<html", "<head"].iter().any(|beginning| text.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_otherwise_than_its_ending_says_is_doubted() {
        for (name, head) in [
            ("a-1.0.tar.gz", &b"\x1f\x8b\x08\0"[..]),
            ("A.TGZ", b"\x1f\x8b\x08\0"),
            ("a.crate", b"\x1f\x8b\x08\0"),
            ("a.tar.xz", b"\xfd7zXZ\0\0\x04"),
            ("a.zip", b"PK\x05\x06"),
            ("a.patch", b"From 0123"),
            ("get.php", b"<!DOCTYPE html>"),
            ("a.xml", b"<?xml version=\"1.0\"?>"),
        ] {
            assert_eq!(doubt(name, head), None, "{name}");
        }
        for (name, head, why) in [
            ("a.tar.gz", &b"\n<!DOCTYPE html>\n"[..], "it is a web page"),
            ("a.bin", b"\xef\xbb\xbf<HTML lang=en>", "it is a web page"),
            ("a.tar.gz", b"{\"error\": 1}", "it does not begin as a file that ends in `.gz` does"),
            ("a.tbz2", b"\x1f\x8b\x08\0", "it does not begin as a file that ends in `.tbz2` does"),
            ("a.patch", b"", "it is empty"),
        ] {
            assert_eq!(doubt(name, head).as_deref(), Some(why), "{name}");
        }
    }
}
