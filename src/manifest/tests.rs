//! Tests of the room as a whole, on the manifests in `fixtures`.

use std::path::PathBuf;

use super::*;
use crate::error::Error;

fn fixtures(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/manifest/fixtures").join(kind)
}

fn every_key() -> Manifest {
    Manifest::read(&fixtures("valid/every-key.toml")).unwrap_or_else(|error| panic!("{}", rendered(&error)))
}

/// What the command line prints, without colours.
fn rendered(error: &Error) -> String {
    let theme = miette::GraphicalTheme::none();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut text = String::new();
    handler.render_report(&mut text, error).unwrap();
    text
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_key_is_read() {
    let manifest = every_key();
    assert_eq!(manifest.engine, "engine.2");
    assert_eq!(manifest.root(), fixtures("valid"));
    assert_eq!(manifest.layers["openembedded-core"].paths, [PathBuf::from("meta"), PathBuf::from("meta-selftest")]);
    assert_eq!(manifest.layers["meta-own"].origin, LayerOrigin::Path("layers/meta-own".into()));
    let SourceOrigin::File(linux) = &manifest.sources["linux"].origin else { panic!("linux is a file") };
    assert_eq!(linux.name, "linux-6.18.35.tar.xz");
    assert_eq!(linux.urls[1].as_str(), "https://mirror.example.org/linux-6.18.35.tar.xz");
    let SourceOrigin::File(renamed) = &manifest.sources["renamed"].origin else { panic!("renamed is a file") };
    assert_eq!(renamed.name, "renamed-1.2.tar.gz");
    let SourceOrigin::Git(agent) = &manifest.sources["agent+tools"].origin else { panic!("agent is git") };
    assert_eq!(agent.reference.full_names(), ["refs/heads/stable-3.32.0", "refs/tags/3.32.0"]);
    assert!(agent.submodules && agent.history);
    assert_eq!(manifest.sources_of("variant").map(|(name, _)| name).collect::<Vec<_>>(), ["linux"]);
    assert_eq!(manifest.mirrors.stores[2], fixtures("valid").join("../store").to_string_lossy());
    assert!(!manifest.mirrors.builtin);
    insta::assert_debug_snapshot!(manifest.boards);
}

#[test]
fn the_smallest_manifest_has_no_boards() {
    let manifest = Manifest::read(&fixtures("valid/smallest.toml")).unwrap();
    assert_eq!(manifest.engine, "bitbake");
    assert!(manifest.board("x").unwrap_err().hint().unwrap().contains("there are no boards"));
}

#[test]
fn defaults_give_way_to_the_board_and_that_to_the_command_line() {
    let manifest = every_key();
    let words = |board: &str, set: &[&str]| manifest.select(board, &strings(set)).unwrap().overrides;
    assert_eq!(words("intel", &[]), ["kata-initrd"]);
    assert_eq!(words("qemu", &[]), ["kata-rootfs", "kata-withceph"]);
    assert_eq!(words("qemu", &["ceph=off", "boot=initrd"]), ["kata-initrd"]);
    assert_eq!(words("intel", &["ceph", "boot=rootfs", "boot=rootfs"]), ["kata-rootfs", "kata-withceph"]);
    assert_eq!(words("intel", &["macvtap=true", "base=alpine"]), ["kata-initrd", "kata-base-alpine", "kata-macvtap"]);
    assert_eq!(words("variant", &[]), ["kata-rootfs", "kata-macvtap"]);
    let selection = manifest.select("deeper", &[]).unwrap();
    let values: Vec<_> = selection.values.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    assert_eq!(values, [("boot", Some("rootfs")), ("base", Some("yocto")), ("macvtap", Some("on"))]);
}
