//! Where two artifacts differ: the first file inside of them that does, and what of it, with the cause where it shows.
//!
//! gzip, tar and cpio (`newc`, which an initramfs is) are opened, one inside the other. Of anything else the first
//! differing line or byte is named. diffoscope knows many more formats; this is what kbuild says without it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::Serialize;

use super::failure::plain;
use crate::disk;
use crate::error::{Error, Result};

/// Larger files are not opened, in bytes.
const LARGEST: u64 = 1 << 30;

/// How deep archives are opened that are in archives.
const DEEPEST: usize = 6;

/// How much around a differing byte is looked at for a cause, in bytes.
const AROUND: usize = 64;

/// Where two artifacts differ first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstDifference {
    /// The files inside, from the outermost: `usr/bin/hello` of an archive.
    pub inside: Vec<String>,
    /// What differs.
    pub what: String,
    /// The likely cause, where it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
}

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ArchiveEntry<'a> {
    name: String,
    mode: u64,
    owner: (u64, u64),
    mtime: u64,
    /// The bytes of a file, or where a link leads.
    content: Cow<'a, [u8]>,
}

/// Finds where two files differ first; `None` if they do not.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn first_difference(first: &Path, second: &Path) -> Result<Option<FirstDifference>> {
    let (a, b) = (read(first)?, read(second)?);
    Ok(match (a, b) {
        (Some(a), Some(b)) => differ(&a, &b, DEEPEST),
        _ => Some(plainly("they are too large to be opened".to_owned(), None)),
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::io("read", path, error);
    let file = disk::open_regular(path)?;
    if file.metadata().map_err(failed)?.len() > LARGEST {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

fn plainly(what: String, cause: Option<&'static str>) -> FirstDifference {
    FirstDifference { inside: Vec::new(), what, cause }
}

fn differ(a: &[u8], b: &[u8], depth: usize) -> Option<FirstDifference> {
    if a == b {
        return None;
    }
    if depth > 0 {
        if let (Some(inner_a), Some(inner_b)) = (unzipped(a), unzipped(b)) {
            let inner = differ(&inner_a, &inner_b, depth - 1);
            return Some(inner.unwrap_or_else(|| of_gzip(a, b)));
        }
        if let (Some(entries_a), Some(entries_b)) = (entries(a), entries(b)) {
            return Some(of_entries(&entries_a, &entries_b, depth));
        }
    }
    Some(of_bytes(a, b))
}

fn unzipped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut inner = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut inner).ok()?;
    (inner.len() as u64 <= LARGEST).then_some(inner)
}

/// The same content, packed differently.
fn of_gzip(a: &[u8], b: &[u8]) -> FirstDifference {
    // RFC 1952: bytes 4 to 7 of the header are the time of the file.
    if a.get(4..8) != b.get(4..8) {
        return plainly("the time in gzip's header".to_owned(), Some("time: pack with `gzip -n`"));
    }
    plainly("how gzip packed it; the content is the same".to_owned(), Some("another gzip, or another level"))
}

fn entries(bytes: &[u8]) -> Option<Vec<ArchiveEntry<'_>>> {
    cpio(bytes).or_else(|| tar(bytes))
}

fn tar(bytes: &[u8]) -> Option<Vec<ArchiveEntry<'_>>> {
    // The magic of a header in POSIX's form and in GNU's.
    if bytes.get(257..262) != Some(b"ustar") {
        return None;
    }
    let mut found = Vec::new();
    for entry in tar::Archive::new(bytes).entries().ok()? {
        let entry = entry.ok()?;
        let header = entry.header();
        // A field that is no number is left empty by some programs.
        let (mode, mtime) = (u64::from(header.mode().unwrap_or(0)), header.mtime().unwrap_or(0));
        let owner = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let content = match entry.link_name_bytes() {
            Some(link) => Cow::Owned(link.into_owned()),
            None => {
                let start = usize::try_from(entry.raw_file_position()).ok()?;
                let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
                Cow::Borrowed(bytes.get(start..end)?)
            }
        };
        let name = plain(&String::from_utf8_lossy(&entry.path_bytes()));
        found.push(ArchiveEntry { name, mode, owner, mtime, content });
    }
    Some(found)
}

/// An archive as Documentation/driver-api/early-userspace/buffer-format.rst of the kernel has it.
fn cpio(bytes: &[u8]) -> Option<Vec<ArchiveEntry<'_>>> {
    const HEADER: usize = 110;
    let mut rest = bytes;
    let mut found = Vec::new();
    while rest.starts_with(b"070701") || rest.starts_with(b"070702") {
        let field = |number: usize| {
            let text = rest.get(6 + number * 8..14 + number * 8)?;
            u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
        };
        let (mode, owner, mtime) = (field(1)?, (field(2)?, field(3)?), field(5)?);
        let (size, name_size) = (usize::try_from(field(6)?).ok()?, usize::try_from(field(11)?).ok()?);
        let name = rest.get(HEADER..HEADER.checked_add(name_size.checked_sub(1)?)?)?;
        let content = (HEADER + name_size).next_multiple_of(4);
        let end = content.checked_add(size)?;
        let entry = ArchiveEntry {
            name: plain(&String::from_utf8_lossy(name)),
            mode,
            owner,
            mtime,
            content: Cow::Borrowed(rest.get(content..end)?),
        };
        if entry.name == "TRAILER!!!" {
            return Some(found);
        }
        found.push(entry);
        rest = rest.get(end.next_multiple_of(4)..)?;
    }
    None
}

fn of_entries(a: &[ArchiveEntry<'_>], b: &[ArchiveEntry<'_>], depth: usize) -> FirstDifference {
    let names =
        |entries: &[ArchiveEntry<'_>]| -> BTreeSet<String> { entries.iter().map(|entry| entry.name.clone()).collect() };
    let (names_a, names_b) = (names(a), names(b));
    if let Some(name) = names_a.symmetric_difference(&names_b).next() {
        let which = if names_a.contains(name) { "first" } else { "second" };
        return FirstDifference { inside: vec![name.clone()], what: format!("only the {which} has it"), cause: None };
    }
    for (one, other) in a.iter().zip(b) {
        if one.name != other.name {
            let what = format!("`{}` comes where the other has `{}`", one.name, other.name);
            return plainly(what, Some("order: what lists a directory must sort it"));
        }
        if let Some(found) = of_entry(one, other, depth) {
            let inside = std::iter::once(one.name.clone()).chain(found.inside).collect();
            return FirstDifference { inside, ..found };
        }
    }
    plainly("the archive around the same files".to_owned(), None)
}

fn of_entry(a: &ArchiveEntry<'_>, b: &ArchiveEntry<'_>, depth: usize) -> Option<FirstDifference> {
    if let Some(found) = differ(&a.content, &b.content, depth.saturating_sub(1)) {
        return Some(found);
    }
    if a.mode != b.mode {
        return Some(plainly(
            format!("mode {:o} and {:o}", a.mode, b.mode),
            Some("umask, or modes of a layer's checkout"),
        ));
    }
    if a.owner != b.owner {
        let what = format!("owner {}:{} and {}:{}", a.owner.0, a.owner.1, b.owner.0, b.owner.1);
        return Some(plainly(what, Some("uid: the user who builds is recorded")));
    }
    let what = format!("time {} and {} (seconds since 1970)", a.mtime, b.mtime);
    (a.mtime != b.mtime).then(|| plainly(what, Some("time: SOURCE_DATE_EPOCH is not used")))
}

fn of_bytes(a: &[u8], b: &[u8]) -> FirstDifference {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or_else(|| a.len().min(b.len()));
    let around =
        |bytes: &[u8]| bytes[at.saturating_sub(AROUND).min(bytes.len())..(at + AROUND).min(bytes.len())].to_vec();
    let (near_a, near_b) = (around(a), around(b));
    let cause = cause(&near_a, &near_b, a, b);
    if let (Ok(text_a), Ok(text_b)) = (std::str::from_utf8(a), std::str::from_utf8(b)) {
        let line = a[..at].iter().filter(|byte| **byte == b'\n').count();
        let shown = |text: &str| {
            let line = text.lines().nth(line).unwrap_or_default();
            line.chars().filter(|c| !c.is_control()).take(80).collect::<String>()
        };
        return plainly(format!("line {}: `{}` and `{}`", line + 1, shown(text_a), shown(text_b)), cause);
    }
    let sizes = if a.len() == b.len() { String::new() } else { format!(" ({} and {} bytes in all)", a.len(), b.len()) };
    plainly(format!("from byte {at} on{sizes}"), cause)
}

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}|\b1[5-9]\d{8}\b|20\d\d";
    Regex::new(text).expect("a constant expression compiles")
});

static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"/(?:[\w.+-]+/){2,}").expect("a constant expression compiles"));

/// What shows near the first differing byte, or in the kind of the file.
fn cause(near_a: &[u8], near_b: &[u8], a: &[u8], b: &[u8]) -> Option<&'static str> {
    let words = |bytes: &[u8]| -> Vec<u8> {
        let mut words: Vec<&[u8]> = bytes.split(|byte| byte.is_ascii_whitespace()).collect();
        words.sort_unstable();
        words.concat()
    };
    if a.starts_with(b"\x7fELF") && b.starts_with(b"\x7fELF") && near_a.windows(4).any(|four| four == b"GNU\0") {
        return Some("build id: a hash over the linker's input, so that differs too");
    }
    if TIME.is_match(near_a) && TIME.is_match(near_b) {
        return Some("time: a date or a clock is written into it");
    }
    if PATH.is_match(near_a) && PATH.is_match(near_b) {
        return Some("path: the directory of the build is written into it");
    }
    (a.len() == b.len() && a.len() < (1 << 20) && words(a) == words(b))
        .then_some("order: the same words, in another order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&str, &str, u64, u64)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text, mtime, uid) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(*mtime);
            header.set_uid(*uid);
            header.set_cksum();
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn zipped(bytes: &[u8], mtime: u32) -> Vec<u8> {
        let mut packed = flate2::GzBuilder::new().mtime(mtime).read(bytes, flate2::Compression::fast());
        let mut found = Vec::new();
        packed.read_to_end(&mut found).unwrap();
        found
    }

    fn told(a: &[u8], b: &[u8]) -> String {
        let found = differ(a, b, DEEPEST).unwrap();
        let cause = found.cause.map(|cause| cause.split(':').next().unwrap_or(cause)).unwrap_or("-");
        format!("{} | {} | {cause}", found.inside.join(" > "), found.what)
    }

    #[test]
    fn the_first_difference_is_found_inside_of_archives_with_its_cause() {
        let plain = tar_of(&[("bin/a", "same", 1, 0), ("etc/b", "x\ny\n", 1, 0)]);
        assert_eq!(differ(&plain, &plain, DEEPEST), None);
        let cases = [
            (tar_of(&[("bin/a", "same", 1, 0), ("etc/b", "x\nz\n", 1, 0)]), "etc/b | line 2: `y` and `z` | -"),
            (
                tar_of(&[("bin/a", "same", 9, 0), ("etc/b", "x\ny\n", 1, 0)]),
                "bin/a | time 1 and 9 (seconds since 1970) | time",
            ),
            (tar_of(&[("bin/a", "same", 1, 7), ("etc/b", "x\ny\n", 1, 0)]), "bin/a | owner 0:0 and 7:0 | uid"),
            (
                tar_of(&[("etc/b", "x\ny\n", 1, 0), ("bin/a", "same", 1, 0)]),
                " | `bin/a` comes where the other has `etc/b` | order",
            ),
            (tar_of(&[("bin/a", "same", 1, 0)]), "etc/b | only the first has it | -"),
        ];
        for (other, expected) in cases {
            assert_eq!(told(&plain, &other), expected);
            assert_eq!(told(&zipped(&plain, 0), &zipped(&other, 0)), expected);
        }
        assert_eq!(told(&zipped(&plain, 1), &zipped(&plain, 2)), " | the time in gzip's header | time");
    }

    #[test]
    fn known_leaks_are_called_what_they_are() {
        for (a, b, expected) in [
            ("built 2026-01-02 10:11:12", "built 2026-01-03 10:11:12", "time"),
            ("made in /home/a/build/x/", "made in /home/b/build/x/", "path"),
            ("b a\n", "a b\n", "order"),
            ("abc", "abx", "-"),
        ] {
            assert!(told(a.as_bytes(), b.as_bytes()).ends_with(&format!("| {expected}")), "{a}");
        }
        let elf = |id: &[u8]| [&b"\x7fELF....\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"[..], id, b"\xff\xfe"].concat();
        assert!(told(&elf(b"1111"), &elf(b"2222")).ends_with("| build id"));
        assert_eq!(told(&[0xff, 1, 2], &[0xff, 1, 3, 4]), " | from byte 2 on (3 and 4 bytes in all) | -");
    }

    #[test]
    fn an_initramfs_is_opened() {
        let entry = |name: &str, text: &str| {
            let fields = [1, 0o100_644, 0, 0, 1, 5, text.len(), 0, 0, 0, 0, name.len() + 1, 0];
            let mut bytes = b"070701".to_vec();
            fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
            bytes.extend(name.bytes().chain([0]));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(text.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let archive = |text: &str| [entry("etc/issue", text), entry("TRAILER!!!", "")].concat();
        assert_eq!(told(&archive("one"), &archive("two")), "etc/issue | line 1: `one` and `two` | -");
    }
}
