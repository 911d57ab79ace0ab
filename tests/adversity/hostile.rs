//! Hostile input for everything that is parsed: a corpus of right texts, each changed by chance. A parser says what is wrong,
//! or takes it; it does not panic, and kbuild does not call it a bug of its own.
//!
//! Each target takes any bytes, so that a fuzzer can call it too. `.gitmodules` and HTTP headers, whose parsers are not
//! public, have their targets beside them (`fetch::submodules`, `net::http`).

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use kbuild::bitbake::discovery::{self, DiscoveryDir};
use kbuild::bundle::{self, Ledger, Origin, TrustedKey};
use kbuild::crates::CargoLock;
use kbuild::lock::Lock;
use kbuild::manifest::{Manifest, SiteConfig};
use kbuild::net::netrc::Netrc;
use kbuild::progress::Silent;
use kbuild::source::{ImageName, SourceUrl};
use kbuild::store::{GitRecord, Store};
use kbuild::{Error, Kind, Result};

use crate::world::{World, chance, rounds, walk};

/// What is put into texts: whatever once confused a parser.
const TOKENS: [&str; 28] = [
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\0",
    "\n",
    "\r",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    "#",
    "../",
    "/",
    "~",
    "\u{202e}",
    "\u{feff}",
    "-1",
    "1e999",
    "18446744073709551616",
    "0x",
    "<<<<<<< a\n=======\n>>>>>>> b\n",
    "${HOME}",
    "%00",
    "file:///etc/passwd",
];

/// Changes some bytes.
fn mutate(rng: &mut Rng, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..1 + rng.usize(..4) {
        let at = rng.usize(..=text.len());
        let end = at + rng.usize(..=(text.len() - at).min(200));
        match rng.u8(..8) {
            0 if at < text.len() => text[at] ^= 1 << rng.u8(..8),
            1 => drop(text.drain(at..end)),
            2 => {
                let piece = text[at..end].to_vec();
                let to = rng.usize(..=text.len());
                text.splice(to..to, piece);
            }
            3 => text.truncate(at),
            4 => {
                let token = TOKENS[rng.usize(..TOKENS.len())].as_bytes();
                text.splice(at..at, token.repeat(1 + rng.usize(..3)));
            }
            5 => {
                let token = TOKENS[rng.usize(..TOKENS.len())].as_bytes();
                text.splice(at..at, token.repeat(2000));
            }
            6 => drop(text.splice(at..end, TOKENS[rng.usize(..TOKENS.len())].bytes())),
            _ => {
                // Two lines change places.
                let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let (a, b) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
                lines.swap(a, b);
                text = lines.join(&b'\n');
            }
        }
    }
    text
}

/// Gives a target right texts and changed ones. `may_be_bug` for the words of kbuild's own class: whoever changes those has
/// changed kbuild.
fn attack(name: &str, corpus: &[Vec<u8>], rounds: u64, target: &dyn Fn(&[u8]) -> Result<()>) {
    let mut rng = chance(name);
    let call = |input: &[u8]| match catch_unwind(AssertUnwindSafe(|| target(input))) {
        Ok(outcome) => outcome,
        Err(_) => panic!("{name}: a panic at\n{}", String::from_utf8_lossy(input)),
    };
    for right in corpus {
        call(right).unwrap_or_else(|error| panic!("{name}: the corpus is wrong: {error} {:?}", error.causes()));
    }
    let mut refused = 0;
    for _ in 0..rounds {
        let right = rng.usize(..corpus.len());
        let input = mutate(&mut rng, &corpus[right]);
        if let Err(error) = call(&input) {
            refused += 1;
            let bug = error.kind() == Kind::Bug;
            assert!(!bug, "{name}: {error} {:?}\n{}", error.causes(), String::from_utf8_lossy(&input));
        }
    }
    eprintln!("{name}: {refused} of {rounds} changed inputs were refused");
}

fn text(input: &[u8]) -> Result<&str> {
    str::from_utf8(input).map_err(|_| Error::input("not UTF-8"))
}

fn file(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A file with these bytes.
fn written(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn manifests_and_locks() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/fixtures/valid/kata.toml");
    let manifests = [file("src/manifest/fixtures/valid/every-key.toml"), file("kata.toml")];
    attack("manifest", &manifests[..1], rounds(300), &|input| Manifest::parse(&fixtures, text(input)?).map(drop));
    let directory = tempfile::tempdir().unwrap();
    let site = b"store = \"/srv/store\"\nlower = [\"/a\"]\n[mirrors]\nstores = [\"https://h/x\"]\n".to_vec();
    attack("site configuration", &[site], rounds(200), &|input| {
        SiteConfig::read(&written(&directory, "config.toml", input)).map(drop)
    });
    let lock = fs::read(World::locked().project.path("kata.lock")).unwrap();
    attack("lock", std::slice::from_ref(&lock), rounds(200), &|input| {
        let path = written(&directory, "kata.lock", input);
        let whole = Lock::read(&path).map(drop);
        // With the markers of a merge it is read in another way.
        let merged = Lock::read_merging(&path).map(drop);
        merged.and(whole)
    });
}

#[test]
fn what_other_stores_and_people_send() {
    let record = format!(
        "version = 1\ncommit = \"{}\"\ntree = \"{}\"\nshallow = []\n\n[[packs]]\nname = \"pack-{}\"\npack = \"{}\"\nindex = \"{}\"\n",
        "7".repeat(40),
        "7".repeat(64),
        "7".repeat(40),
        "8".repeat(64),
        "9".repeat(64)
    );
    attack("record", &[record.into_bytes()], rounds(500), &|input| text(input)?.parse::<GitRecord>().map(drop));
    let ledger = format!(
        "{{\"type\":\"ledger\",\"version\":1}}\n{{\"type\":\"commit\",\"commit\":\"{}\"}}\n{{\"type\":\"blob\",\"blake3\":\"{}\"}}\n",
        "7".repeat(40),
        "8".repeat(64)
    );
    attack("ledger", &[ledger.into_bytes()], rounds(500), &|input| text(input)?.parse::<Ledger>().map(drop));
    let key = b"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    attack("public key", &[key.to_vec()], rounds(300), &|input| TrustedKey::read(text(input)?).map(drop));
    let netrc = b"machine h.example login me password \"secret word\"\ndefault login x password y\n".to_vec();
    attack("netrc", &[netrc], rounds(300), &|input| {
        Netrc::parse(&String::from_utf8_lossy(input)).for_host("h.example");
        Ok(())
    });
    let urls = [
        "https://user@h.example:8443/a/b.tar.gz?x=1",
        "ssh://git@h/x",
        "oci://h/x@sha256:7777777777777777777777777777777777777777777777777777777777777777",
        "crate://crates.io/a/1.0",
    ];
    let urls: Vec<Vec<u8>> = urls.iter().map(|url| url.as_bytes().to_vec()).collect();
    attack("url", &urls, rounds(1000), &|input| {
        let parsed: Result<SourceUrl> = text(input)?.parse();
        let recipe = SourceUrl::of_recipe(text(input)?);
        for url in [&parsed, &recipe].into_iter().flatten() {
            let _ = (url.host(), url.access(), url.join_submodule("../x"), url.parameter("name"));
        }
        parsed.or(recipe).map(drop)
    });
    attack("image", &[b"registry.example:5000/team/x:1.0".to_vec(), b"alpine".to_vec()], rounds(1000), &|input| {
        ImageName::read(text(input)?).map(drop)
    });
    // The fixture has names in place of commits, which its test fills in.
    let cargo = String::from_utf8(file("tests/fixtures/crates/tally/Cargo.lock")).unwrap();
    let commit = format!("#{}", "7".repeat(40));
    let cargo = cargo.replace("#TOOLS", &commit).replace("#FIRST", &commit).into_bytes();
    attack("Cargo.lock", &[cargo], rounds(200), &|input| CargoLock::parse("Cargo.lock", text(input)?).map(drop));
}

/// The index of a bundle, and the tar around it. Whatever is changed, only blobs that match their names get in.
#[test]
fn bundles() {
    let world = World::locked();
    world.ok(&["export", "bundle.tar"]);
    world.ok(&["export", "bundle"]);
    let import = |store: &Store, origin| bundle::import(store, origin, &[], &Silent).map(drop);
    let must_be_sound = |directory: &Path| {
        for blob in walk(&directory.join("blobs")) {
            let hash = blake3::hash(&fs::read(&blob).unwrap()).to_hex().to_string();
            assert_eq!(blob.file_name().unwrap().to_string_lossy(), hash);
        }
    };
    attack("bundle", &[fs::read(world.project.path("bundle.tar")).unwrap()], rounds(12), &|input| {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path())?;
        let outcome = import(&store, Origin::Stream(Box::new(Cursor::new(input.to_vec()))));
        must_be_sound(directory.path());
        outcome
    });
    let index = world.project.path("bundle/index.jsonl");
    attack("bundle's index", &[fs::read(&index).unwrap()], rounds(25), &|input| {
        fs::remove_file(&index).unwrap();
        fs::write(&index, input).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path())?;
        let outcome = import(&store, Origin::Path(world.project.path("bundle")));
        must_be_sound(directory.path());
        outcome
    });
}

/// What BitBake says: layers run beside kbuild's class, and can write its files.
#[test]
fn discoveries() {
    let topdir = tempfile::tempdir().unwrap();
    let recipe =
        br#"{"name":"a","version":"1","license":"MIT","layer":"core","file":"a.bb","provides":["a"],"needs":["b"],
        "packages":["a"],"wants":[],"go_proxy":null,"fetches":[],"problems":[]}"#;
    let graph = b"digraph depends {\n\"a.do_fetch\" [label=\"a do_fetch\"]\n\"a.do_fetch\" -> \"a.do_unpack\"\n}\n";
    let report = |recipe: &[u8], graph: &[u8]| {
        let directory = DiscoveryDir::begin(topdir.path())?;
        let below = topdir.path().join(kbuild::bitbake::discovery::DIRECTORY);
        fs::create_dir(below.join("closure")).unwrap();
        fs::write(below.join("closure/a.json"), recipe).unwrap();
        fs::write(directory.graph_directory().join("task-depends.dot"), graph).unwrap();
        // Words that are not those of kbuild's class are called a bug: whoever changed them changed kbuild.
        let as_said = |error: Error| if error.kind() == Kind::Bug { error.of_kind(Kind::Input) } else { error };
        directory
            .snapshot()
            .and_then(|found| discovery::report_on(&found, &["a".to_owned()]))
            .map(drop)
            .map_err(as_said)
    };
    attack("discovery", &[recipe.to_vec()], rounds(200), &|input| report(input, graph));
    attack("task graph", &[graph.to_vec()], rounds(200), &|input| report(recipe, input));
}
