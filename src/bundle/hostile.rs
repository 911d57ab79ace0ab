//! Malicious and damaged bundles: each is refused, and only blobs that match their hash are written to the store.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::index::{BundleIndex, IndexLine, IndexedBlob, Sum};
use super::tests::{Sample, empty, import_bytes};
use super::*;
use crate::bounds;
use crate::progress::Silent;
use crate::source::Blake3;
use crate::store::{GitRecord, Store};

/// A file of an archive, as tar describes it.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    /// The size in the header; the bytes may be more or less.
    size: u64,
    bytes: Vec<u8>,
}

impl Entry {
    fn file(name: &str, bytes: &[u8]) -> Entry {
        Entry { name: name.into(), kind: b'0', link: vec![], size: bytes.len() as u64, bytes: bytes.to_vec() }
    }

    fn of(self, kind: u8, link: &str) -> Entry {
        Entry { kind, link: link.into(), size: 0, bytes: vec![], ..self }
    }
}

fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(archive);
    let read = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        Entry::file(&name, &bytes)
    });
    read.collect()
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..entry.name.len()].copy_from_slice(&entry.name);
        header.as_mut_bytes()[156] = entry.kind;
        header.as_mut_bytes()[157..157 + entry.link.len()].copy_from_slice(&entry.link);
        header.set_size(entry.size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&entry.bytes);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Imports into an empty store, which must fail, and checks what was written: blobs of the honest bundle at most,
/// no commit, nothing partial, nothing outside.
fn refused(sample: &Sample, what: &str, import: impl FnOnce(&Store) -> Result<Imported>) -> Error {
    let (directory, store) = empty();
    let error = import(&store).map(|_| ()).expect_err(what);
    let outside: Vec<PathBuf> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(outside, [directory.path().join("store")], "{what}");
    let inventory = store.inventory().unwrap();
    assert!(
        inventory.commits.is_empty() && inventory.partial.is_empty() && inventory.set_aside.is_empty(),
        "{what}: {inventory:?}"
    );
    let honest: BTreeSet<(Blake3, u64)> = sample.store.inventory().unwrap().blobs.into_iter().collect();
    assert!(inventory.blobs.iter().all(|blob| honest.contains(blob)), "{what}: {inventory:?}");
    for entry in walkdir::WalkDir::new(store.root()).into_iter().map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path().strip_prefix(store.root()).unwrap(), entry.file_type());
        let expected = kind.is_dir() || kind.is_file() || (kind.is_symlink() && path.starts_with("sha256"));
        assert!(expected, "{what}: {}", path.display());
    }
    error
}

fn refused_archive(sample: &Sample, what: &str, bytes: &[u8]) -> Error {
    let error = refused(sample, what, |store| import_bytes(store, bytes, &[]));
    assert_eq!(error.kind(), Kind::Mismatch, "{what}: {error} {:?}", error.causes());
    error
}

/// The malicious variants that need only tar: the index is the honest one.
fn with_tar_alone(honest: &[Entry]) -> Vec<(&'static str, Vec<Entry>)> {
    let blob = honest.iter().position(|entry| entry.name.starts_with(b"blobs/")).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = honest.to_vec();
        change(&mut entries);
        entries
    };
    let renamed = |name: &'static str| changed(&|entries| entries[blob].name = name.into());
    let instead = |kind, link: &'static str| changed(&|entries| entries[blob] = entries[blob].clone().of(kind, link));
    let before = |entry: Entry| changed(&|entries| entries.insert(blob, entry.clone()));
    vec![
        ("a name that climbs", renamed("../../escape")),
        ("a name that climbs from within", renamed("blobs/../../../escape")),
        ("an absolute name", renamed("/tmp/kbuild-escape")),
        ("an empty name", renamed("")),
        ("the other spelling of a name", changed(&|entries| entries[blob].name.splice(0..0, *b"./").for_each(drop))),
        ("a hard link", instead(b'1', "/etc/passwd")),
        ("a symlink", instead(b'2', "/etc/passwd")),
        ("a symlink to an honest blob", instead(b'2', "../index.jsonl")),
        ("a character device", instead(b'3', "")),
        ("a block device", instead(b'4', "")),
        ("a directory", instead(b'5', "")),
        ("a pipe", instead(b'6', "")),
        ("a sparse file", instead(b'S', "")),
        ("a long name of GNU", before(Entry { kind: b'L', ..Entry::file("././@LongLink", b"../../escape\0") })),
        ("an extended header", before(Entry { kind: b'x', ..Entry::file("pax", b"22 path=../../escape\n") })),
        ("a global extended header", before(Entry { kind: b'g', ..Entry::file("pax", b"22 path=../../escape\n") })),
        ("a blob twice", changed(&|entries| entries.insert(blob, entries[blob].clone()))),
        ("a file too many", before(Entry::file("readme", b"hello"))),
        ("a blob that nobody asked for", before(Entry::file(&format!("blobs/00/{}", "0".repeat(64)), b"x"))),
        ("a blob too few", changed(&|entries| drop(entries.remove(blob)))),
        ("the last blob missing", changed(&|entries| drop(entries.pop()))),
        ("two blobs in each other's place", changed(&|entries| entries.swap(blob, blob + 1))),
        ("a file after the end of the index", changed(&|entries| entries.push(Entry::file("tail", b"x")))),
        ("the index twice", changed(&|entries| entries.insert(1, entries[0].clone()))),
        ("no index", changed(&|entries| drop(entries.remove(0)))),
        ("nothing at all", vec![]),
        (
            "a larger file than the index says",
            changed(&|entries| {
                entries[blob].bytes.push(b'x');
                entries[blob].size += 1;
            }),
        ),
        (
            "a smaller file than the index says",
            changed(&|entries| {
                entries[blob].bytes.pop();
                entries[blob].size -= 1;
            }),
        ),
        ("a size beyond all disks", changed(&|entries| entries[blob].size = u64::MAX >> 2)),
        ("a text beyond all memories", changed(&|entries| entries[1].size = u64::MAX >> 2)),
        ("an index beyond all memories", changed(&|entries| entries[0].size = u64::MAX >> 2)),
        ("other bytes under a name", changed(&|entries| entries[blob].bytes[0] ^= 1)),
        ("other bytes in the lock", changed(&|entries| entries[1].bytes[0] ^= 1)),
        (
            "other bytes in a record",
            changed(&|entries| {
                let record = entries.iter_mut().find(|entry| entry.name.starts_with(b"git/")).unwrap();
                record.bytes[0] ^= 1;
            }),
        ),
    ]
}

#[test]
fn archives_that_mean_harm_are_refused() {
    let sample = Sample::new();
    let honest = entries(&sample.archive());
    let (_directory, store) = empty();
    import_bytes(&store, &archive(&honest), &[]).expect("what the cases are made of is sound");
    for (what, entries) in with_tar_alone(&honest) {
        refused_archive(&sample, what, &archive(&entries));
    }
}

#[test]
fn archives_that_end_early_or_late_are_refused() {
    let sample = Sample::new();
    let honest = sample.archive();
    // Each block's beginning and middle, but few of the large blob's.
    let ends = (0..honest.len()).step_by(256).filter(|end| *end < 12_000 || *end > honest.len() - 3000);
    for end in ends {
        refused_archive(&sample, &format!("cut at {end}"), &honest[..end]);
    }
    for tail in [&b"x"[..], &[0; 1], &[0; 512], &honest] {
        refused_archive(&sample, "a tail", &[&honest, tail].concat());
    }
    refused_archive(&sample, "noise", &(0..100_000_u32).map(|i| (i.wrapping_mul(97) >> 3) as u8).collect::<Vec<_>>());
    refused_archive(&sample, "zeros", &[0; 4096]);
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let sample = Sample::new();
    let honest = sample.archive();
    for at in (0..honest.len()).step_by(honest.len() / 211) {
        let mut bytes = honest.clone();
        bytes[at] ^= 1 << (at % 8);
        let (_directory, store) = empty();
        match import_bytes(&store, &bytes, &[]) {
            // What fills a block is nobody's.
            Ok(_) => assert!(sample.is_whole_in(&store), "at {at}"),
            Err(error) => assert!(store.inventory().unwrap().commits.is_empty(), "at {at}: {error}"),
        }
    }
}

/// An honest bundle taken apart, and put together with the index changed: every sum made right, as who means harm would.
struct Forged {
    entries: Vec<Entry>,
    lines: Vec<IndexLine>,
}

impl Forged {
    fn of(sample: &Sample) -> Forged {
        let entries = entries(&sample.archive());
        let text = String::from_utf8(entries[0].bytes.clone()).unwrap();
        Forged { entries, lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    fn entry(&mut self, name: &str) -> &mut Entry {
        self.entries.iter_mut().find(|entry| entry.name == name.as_bytes()).unwrap()
    }

    /// Changes the first record in the bundle, and says so in the index.
    fn record(&mut self, change: impl FnOnce(String) -> String) {
        let record = self.entries.iter_mut().find(|entry| entry.name.starts_with(b"git/")).unwrap();
        let text = change(String::from_utf8(record.bytes.clone()).unwrap());
        *record = Entry::file(std::str::from_utf8(&record.name).unwrap(), text.as_bytes());
        let sum = Sum::of(text.as_bytes());
        let name = String::from_utf8(record.name.clone()).unwrap();
        for line in &mut self.lines {
            if let IndexLine::Commit(commit) = line
                && commit.path() == name
            {
                commit.record = Some(sum);
            }
        }
    }

    fn first_record(&self) -> GitRecord {
        let record = self.entries.iter().find(|entry| entry.name.starts_with(b"git/")).unwrap();
        std::str::from_utf8(&record.bytes).unwrap().parse().unwrap()
    }

    /// Puts other bytes in the place of a blob, under their own hash everywhere.
    fn replace_blob(&mut self, old: &Blake3, bytes: &[u8]) -> Blake3 {
        let new = Sum::of(bytes);
        *self.entry(&IndexedBlob::place(old)) = Entry::file(&IndexedBlob::place(&new.blake3), bytes);
        for line in &mut self.lines {
            if let IndexLine::Blob(blob) = line
                && blob.blake3 == *old
            {
                (blob.blake3, blob.size) = (new.blake3, new.size);
            }
        }
        new.blake3
    }

    /// Sorted and summed again.
    fn archive(mut self) -> Vec<u8> {
        let address = |line: &IndexLine| if let IndexLine::Blob(blob) = line { Some(blob.blake3) } else { None };
        self.lines.sort_by_key(address);
        self.entries.sort_by_key(|entry| entry.name.starts_with(b"blobs/").then(|| entry.name.clone()));
        let files = self.entries[1..].iter().map(|entry| entry.size).sum();
        let count = self.lines.len() - 1;
        if let IndexLine::Bundle(header) = &mut self.lines[0] {
            (header.bytes, header.entries) = (files, count);
        }
        let text: String = self.lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        self.entries[0] = Entry::file(INDEX, text.as_bytes());
        archive(&self.entries)
    }
}

#[test]
fn indexes_that_match_wrong_content_are_refused() {
    let sample = Sample::new();
    let (_directory, store) = empty();
    import_bytes(&store, &Forged::of(&sample).archive(), &[]).expect("what the cases are made of is sound");
    let forged = |what: &str, change: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::of(&sample);
        change(&mut forged);
        refused_archive(&sample, what, &forged.archive())
    };
    let commits = {
        let forged = Forged::of(&sample);
        let commits = forged
            .lines
            .iter()
            .filter_map(|line| if let IndexLine::Commit(commit) = line { Some(commit.commit) } else { None });
        commits.collect::<Vec<_>>()
    };
    forged("a record that is no text", &|forged| forged.record(|_| "\u{1}".to_owned()));
    forged("a record of another format", &|forged| forged.record(|text| text.replace("version = 1", "version = 9")));
    forged("the record of another commit", &|forged| {
        forged.record(|text| text.replace(&commits[0].to_string(), &commits[1].to_string()));
    });
    forged("a pack whose name climbs", &|forged| forged.record(|text| text.replace("pack-", "../../pack-")));
    forged("a commit with another tree", &|forged| {
        let lie = Blake3::from([7; 32]);
        forged.record(|text| {
            let mut record: GitRecord = text.parse().unwrap();
            record.tree = lie;
            record.to_string()
        });
        if let Some(IndexLine::Commit(commit)) =
            forged.lines.iter_mut().find(|line| matches!(line, IndexLine::Commit(_)))
        {
            commit.tree = lie;
        }
    });
    forged("history that is not there", &|forged| {
        forged.record(|text| text.replace("shallow = []", &format!("shallow = [\"{}\"]", commits[0])));
    });
    forged("a pack that the index does not list", &|forged| {
        let pack = IndexedBlob::place(&forged.first_record().packs[0].pack);
        forged.entries.retain(|entry| entry.name != pack.as_bytes());
        forged.lines.retain(|line| !matches!(line, IndexLine::Blob(blob) if blob.path() == pack));
    });
    let other = |forged: &mut Forged, which: fn(&GitRecord) -> Blake3, bytes: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let old = which(&forged.first_record());
        let bytes = bytes(forged.entry(&IndexedBlob::place(&old)).bytes.clone());
        let new = forged.replace_blob(&old, &bytes);
        forged.record(|text| text.replace(&old.to_string(), &new.to_string()));
    };
    for (what, which) in [
        ("a pack", (|record| record.packs[0].pack) as fn(&GitRecord) -> Blake3),
        ("an index of a pack", |record| record.packs[0].index),
    ] {
        // The bytes that came have the hashes they claim, so they are blobs; no commit is made of them.
        for change in [
            |_| b"PACK".to_vec(),
            |mut bytes: Vec<u8>| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                bytes
            },
        ] as [fn(Vec<u8>) -> Vec<u8>; 2]
        {
            let mut forged = Forged::of(&sample);
            other(&mut forged, which, &change);
            let (_directory, store) = empty();
            let error = import_bytes(&store, &forged.archive(), &[]).expect_err(what);
            assert_eq!(error.kind(), Kind::Mismatch, "{what}: {error}");
            assert!(error.to_string().contains("commit"), "{what}: {error}");
            assert!(store.git(&commits[0]).unwrap().is_none(), "{what}");
        }
    }
    let wrong_sha256 = forged("a SHA-256 that is another's", &|forged| {
        for line in &mut forged.lines {
            if let IndexLine::Blob(blob) = line {
                blob.sha256 = blob.sha256.map(|_| [5; 32].into());
            }
        }
    });
    assert!(wrong_sha256.causes()[0].contains("SHA-256"), "{wrong_sha256}");
}

#[test]
fn texts_that_are_no_index_are_refused() {
    let sample = Sample::new();
    let honest = entries(&sample.archive());
    let text = String::from_utf8(honest[0].bytes.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let with = |text: &str| {
        let mut entries = honest.clone();
        entries[0] = Entry::file(INDEX, text.as_bytes());
        archive(&entries)
    };
    let blob = lines.iter().position(|line| line.contains("\"type\":\"blob\"")).unwrap();
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(blob, blob + 1);
        lines.join("\n")
    };
    let doubled = {
        let mut lines = lines.clone();
        lines.insert(blob, lines[blob]);
        lines.join("\n")
    };
    let first_last = {
        let mut lines = lines.clone();
        lines.swap(0, blob);
        lines.join("\n")
    };
    let deep = format!("{}{}", lines[0], "[".repeat(100_000));
    for (what, text) in [
        ("empty", String::new()),
        ("no JSON", "kbuild".to_owned()),
        ("nested without end", deep),
        ("a line short", lines[..lines.len() - 1].join("\n")),
        ("out of order", swapped),
        ("a line twice", doubled),
        ("no head", first_last),
        ("two heads", format!("{}\n{text}", lines[0])),
        ("a document that climbs", text.replace("\"kata.toml\"", "\"../kata.toml\"")),
        ("a document nobody knows", text.replace("\"kata.toml\"", "\"passwd\"")),
        ("a kind nobody knows", text.replacen("\"type\":\"blob\"", "\"type\":\"link\"", 1)),
        (
            "an address that climbs",
            text.replacen("\"type\":\"blob\",\"blake3\":\"", "\"type\":\"blob\",\"blake3\":\"../../", 1),
        ),
        ("a commit that climbs", text.replacen("\"commit\":\"", "\"commit\":\"../", 1)),
        ("a negative size", text.replacen("\"size\":7", "\"size\":-7", 1)),
        ("another size", text.replacen("\"size\":7", "\"size\":8", 1)),
        ("a size beyond numbers", text.replacen("\"size\":7", "\"size\":18446744073709551616", 1)),
    ] {
        assert_ne!(with(&text), archive(&honest), "{what}");
        refused_archive(&sample, what, &with(&text));
    }
    let mut entries = honest.clone();
    entries[0] = Entry::file(INDEX, b"\xff\xfe");
    refused_archive(&sample, "no text", &archive(&entries));

    let newer = with(&text.replace("\"version\":1", "\"version\":2"));
    let error = refused(&sample, "a newer format", |store| import_bytes(store, &newer, &[]));
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("format 2"), "{error}");
}

/// An archive whose file of this name has only a head, with a size.
fn only_a_head(name: &str, size: u64) -> Vec<u8> {
    archive(&[Entry { size, ..Entry::file(name, b"") }])
}

#[test]
fn an_index_that_is_too_long_is_refused_before_it_is_read() {
    let sample = Sample::new();
    let error = refused_archive(&sample, "an index", &only_a_head(INDEX, bounds::BUNDLE_INDEX + 1));
    assert!(error.causes()[0].contains("the limit is 33554432"), "{:?}", error.causes());
}

#[test]
fn a_signature_that_is_too_long_is_refused() {
    let sample = Sample::new();
    let error = refused_archive(&sample, "a signature", &only_a_head(SIGNATURE, bounds::SIGNATURE + 1));
    assert!(error.causes()[0].contains("the limit is 16384"), "{:?}", error.causes());
}

#[test]
fn a_line_of_an_index_that_is_too_long_is_refused() {
    let text = format!("{{\"type\":\"bundle\",\"version\":1}}\n{}\n", " ".repeat(bounds::BUNDLE_LINE as usize + 1));
    let error = BundleIndex::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.causes(), ["line 2: it is longer than 1048576 bytes"]);
}

#[test]
fn texts_that_are_too_long_are_refused() {
    let sample = Sample::new();
    let mut forged = Forged::of(&sample);
    let lock = forged.lines.iter_mut().find_map(|line| match line {
        IndexLine::Document(document) => Some(document),
        _ => None,
    });
    let lock = lock.unwrap();
    lock.sum.size = bounds::BUNDLE_TEXTS + 1;
    let name = lock.name.path();
    forged.entry(name).size = bounds::BUNDLE_TEXTS + 1;
    let error = refused_archive(&sample, "a long lock", &forged.archive());
    assert!(error.causes()[0].contains("the limit for all texts is 33554432 bytes"), "{:?}", error.causes());
}

#[test]
fn what_no_disk_can_hold_is_refused_before_it_is_read() {
    let sample = Sample::new();
    let mut forged = Forged::of(&sample);
    let huge = u64::MAX >> 2;
    let large = forged.lines.iter_mut().find_map(|line| match line {
        IndexLine::Blob(blob) if blob.size == 2_500_000 => Some(blob),
        _ => None,
    });
    let large = large.unwrap();
    large.size = huge;
    let name = large.path();
    forged.entry(&name).size = huge;
    let bytes = forged.archive();
    let error = refused(&sample, "a bomb", |store| import_bytes(store, &bytes, &[]));
    assert!(error.to_string().contains("larger than the free space"), "{error}");
}

/// What is wrong with a directory, and how it is made so.
type Case<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn directories_that_mean_harm_are_refused() {
    let sample = Sample::new();
    let outside = sample.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let blob = IndexedBlob::place(&sample.lock.files["small.tar.gz"].content.unwrap().blake3);
    let cases: [Case<'_>; 11] = [
        ("a link to the very bytes", &|place| {
            fs::rename(place.join(&blob), outside.join("blob")).unwrap();
            symlink(outside.join("blob"), place.join(&blob)).unwrap();
        }),
        ("a link in the place of a directory", &|place| {
            fs::rename(place.join("blobs"), outside.join("blobs")).unwrap();
            symlink(outside.join("blobs"), place.join("blobs")).unwrap();
        }),
        ("a link in the place of the index", &|place| {
            fs::rename(place.join(INDEX), outside.join(INDEX)).unwrap();
            symlink(outside.join(INDEX), place.join(INDEX)).unwrap();
        }),
        ("a link in the place of the signature", &|place| {
            symlink("/etc/passwd", place.join(SIGNATURE)).unwrap();
        }),
        ("a pipe that nobody writes to", &|place| {
            fs::remove_file(place.join(&blob)).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                place.join(&blob),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap();
        }),
        ("a directory in the place of a blob", &|place| {
            fs::remove_file(place.join(&blob)).unwrap();
            fs::create_dir(place.join(&blob)).unwrap();
        }),
        ("a blob that is missing", &|place| fs::remove_file(place.join(&blob)).unwrap()),
        ("a blob that is longer", &|place| rewrite(&place.join(&blob), b"content and more")),
        ("a blob of the same size", &|place| rewrite(&place.join(&blob), b"CONTENT")),
        ("a sparse file", &|place| {
            rewrite(&place.join(&blob), b"");
            fs::OpenOptions::new().write(true).open(place.join(&blob)).unwrap().set_len(1 << 40).unwrap();
        }),
        ("another lock", &|place| rewrite(&place.join("kata.lock"), b"version = 1\n")),
    ];
    for (what, harm) in cases {
        let place = sample.directory.path().join("bundle");
        let _ = fs::remove_dir_all(&place);
        sample.export(Target::Directory(place.clone()), &Ledger::default(), None);
        harm(&place);
        let error = refused(&sample, what, |store| import(store, Origin::Path(place.clone()), &[], &Silent));
        assert_eq!(error.kind(), Kind::Mismatch, "{what}: {error}");
    }
}

fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
