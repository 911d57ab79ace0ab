mod closure;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::error::{Kind, Result};
use crate::fetch::{FetchSettings, Fetcher, Registries};
use crate::manifest::{Manifest, Mirrors};
use crate::progress::Silent;
use crate::store::Store;

const MANIFEST: &str = r#"
[project]
name = "test"

[closure]
lock = "none"

[layers.bitbake]
git = "https://git.example/bitbake"
branch = "2.18"
rev = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

[sources.engine-again]
git = "https://git.example/bitbake"
tag = "v1"
rev = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

[sources.tool]
url = "https://h.example/tool-{version}.tar.gz"
version = "1.0"
sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
boards = ["one"]

[boards.one]
machine = "one"
layers = ["bitbake"]
targets = ["image"]

[boards.two]
machine = "two"
layers = ["bitbake"]
targets = ["image"]
"#;

fn manifest(text: &str) -> Manifest {
    // Where the folders of local layers are.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/fixtures/valid/kata.toml");
    Manifest::parse(&path, text).unwrap()
}

/// Everything in the manifest is known by hash or commit, so that it can be locked with no network and no bytes.
fn resolve_offline(text: &str, old: &Lock, update: &UpdatePolicy) -> Result<Resolution> {
    let directory = tempfile::tempdir().unwrap();
    let settings = FetchSettings {
        mirrors: Mirrors::default(),
        registries: Registries::default(),
        jobs: 2,
        offline: true,
        upstreams: true,
    };
    let fetcher = Fetcher::new(Store::open(directory.path()).unwrap(), settings, Silent::shared()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (resolution, unpinned) = runtime.block_on(pins::resolve(&manifest(text), old, &fetcher, update))?;
    unpinned.map_or(Ok(resolution), Err)
}

fn locked(text: &str) -> Lock {
    resolve_offline(text, &Lock::default(), &UpdatePolicy::Nothing).unwrap().lock
}

#[test]
fn what_is_known_is_locked_without_bytes_and_said_to_be_incomplete() {
    let first = resolve_offline(MANIFEST, &Lock::default(), &UpdatePolicy::Nothing).unwrap();
    assert_eq!(first.changes.len(), 3);
    assert_eq!(first.incomplete.len(), 3);
    assert_eq!(first.lock.incomplete().len(), 2, "two requests, one commit");
    let again = resolve_offline(MANIFEST, &first.lock, &UpdatePolicy::Nothing).unwrap();
    assert_eq!(again.lock, first.lock);
    assert_eq!(again.changes, []);
    assert_eq!(stale(&manifest(MANIFEST), &first.lock), Vec::<String>::new());
}

#[test]
fn one_commit_offers_the_refs_of_all_who_asked_for_it() {
    let lock = locked(MANIFEST);
    let git = lock.gits.values().next().unwrap();
    assert_eq!(git.refs, ["refs/heads/2.18".to_owned(), "refs/tags/v1".to_owned()].into());
    let without = MANIFEST.replace("tag = \"v1\"\n", "");
    let lock = resolve_offline(&without, &lock, &UpdatePolicy::Nothing).unwrap().lock;
    assert_eq!(lock.gits.values().next().unwrap().refs, ["refs/heads/2.18".to_owned()].into());
}

#[test]
fn boards_need_the_engine_their_layers_and_their_sources() {
    let lock = locked(MANIFEST);
    let tool = SourceId::File("tool-1.0.tar.gz".to_owned());
    assert!(lock.boards["one"].sources.contains(&tool));
    assert!(!lock.boards["two"].sources.contains(&tool));
    assert_eq!(lock.boards["two"].sources.len(), 1);
}

#[test]
fn every_change_of_the_manifest_makes_the_lock_stale() {
    let lock = locked(MANIFEST);
    for (from, to, word) in [
        ("version = \"1.0\"", "version = \"1.1\"", "tool-1.1.tar.gz"),
        ("sha256 = \"bbbb", "sha256 = \"cccc", "another sha256"),
        ("branch = \"2.18\"", "branch = \"2.20\"", "layer `bitbake` asks for"),
        ("rev = \"aaaa", "rev = \"dddd", "commit ddddaaaaaaaa"),
        ("boards = [\"one\"]", "boards = [\"two\"]", "needs other sources"),
        ("[boards.two]\nmachine", "[boards.three]\nmachine", "board `three`"),
        ("[sources.tool]", "[sources.instrument]", "source `instrument` is not locked yet"),
        ("tag = \"v1\"", "tag = \"v1\"\nhistory = true", "source `engine-again` asks for"),
    ] {
        let changed = MANIFEST.replacen(from, to, 1);
        assert_ne!(changed, MANIFEST, "{from}");
        let reasons = stale(&manifest(&changed), &lock).join("\n");
        assert!(reasons.contains(word), "{to}: {reasons}");
        assert_eq!(check_fresh(&manifest(&changed), &lock, &BTreeMap::new()).unwrap_err().kind(), Kind::Stale);
    }
    let gone = MANIFEST.split("[sources.tool]").next().unwrap().to_owned()
        + "[boards.one]\nmachine = \"one\"\nlayers = [\"bitbake\"]\ntargets = [\"image\"]\n";
    assert!(stale(&manifest(&gone), &lock).join("\n").contains("source `tool` is locked but no longer in kbuild.toml"));
}

#[test]
fn pruning_follows_the_manifest_and_names_that_are_not_there_are_refused() {
    let lock = locked(MANIFEST);
    let moved = MANIFEST.replace("version = \"1.0\"", "version = \"1.1\"");
    let next = resolve_offline(&moved, &lock, &UpdatePolicy::Nothing).unwrap();
    assert_eq!(next.lock.files.keys().collect::<Vec<_>>(), ["tool-1.1.tar.gz"]);
    let change = &next.changes[0];
    assert_eq!((change.name.as_str(), next.changes.len()), ("tool", 1));
    let error = resolve_offline(MANIFEST, &lock, &UpdatePolicy::Named(vec!["tol".into()])).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}

#[test]
fn a_branch_that_nobody_can_be_asked_about_is_an_error() {
    let unpinned = MANIFEST.replace("rev = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n", "");
    let error = resolve_offline(&unpinned, &Lock::default(), &UpdatePolicy::Nothing).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert_eq!(error.related_errors().len(), 2, "both are told at once");
}
