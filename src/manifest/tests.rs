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
    assert_eq!(manifest.engine.as_deref(), Some("engine.2"));
    assert_eq!(manifest.root(), fixtures("valid"));
    assert_eq!(manifest.layers["openembedded-core"].paths, [PathBuf::from("meta"), PathBuf::from("meta-selftest")]);
    assert_eq!(manifest.layers["meta-own"].origin, LayerOrigin::Path("layers/meta-own".into()));
    let SourceOrigin::File(linux) = &manifest.sources["linux"].origin else { panic!("linux is a file") };
    assert_eq!(linux.name, "linux-6.18.35.tar.xz");
    assert_eq!(linux.urls[1].as_str(), "https://mirror.example.org/linux-6.18.35.tar.xz");
    let SourceOrigin::File(renamed) = &manifest.sources["renamed"].origin else { panic!("renamed is a file") };
    assert_eq!(renamed.name, "renamed-1.2.tar.gz");
    let SourceOrigin::File(package) = &manifest.sources["crate"].origin else { panic!("a crate is a file") };
    assert_eq!(
        (package.name.as_str(), package.urls[0].as_str()),
        ("tally-0.3.0.crate", "crate://crates.io/tally/0.3.0")
    );
    let SourceOrigin::Git(agent) = &manifest.sources["agent+tools"].origin else { panic!("agent is git") };
    assert_eq!(agent.reference.full_names(), ["refs/heads/stable-3.32.0", "refs/tags/3.32.0"]);
    assert!(agent.submodules && agent.history);
    assert_eq!(manifest.sources_of("variant").map(|(name, _)| name).collect::<Vec<_>>(), ["linux"]);
    assert_eq!(manifest.mirrors.stores[2], fixtures("valid").join("../store").to_string_lossy());
    assert!(manifest.mirrors.builtin.contains("gnu") && !manifest.mirrors.builtin.contains("nix"));
    assert_eq!(manifest.mirrors.internal, ["acme.example", "10.0.0.7"]);
    assert_eq!(manifest.mirrors.public, ["open.acme.example"]);
    insta::assert_debug_snapshot!(manifest.boards);
}

#[test]
fn the_smallest_manifest_has_no_boards() {
    let manifest = Manifest::read(&fixtures("valid/smallest.toml")).unwrap();
    assert_eq!(manifest.engine.as_deref(), Some("bitbake"));
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

#[test]
fn every_fault_is_shown_at_its_line() {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fixtures("invalid")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let error = Manifest::read(&file).expect_err(&file.to_string_lossy());
        assert_eq!(error.exit_code(), 1);
        let text = rendered(&error);
        assert!(!text.contains("hunter2"), "{text}");
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("invalid-{stem}"), text);
        });
    }
}

#[test]
fn fragments_of_options_and_of_the_command_line_win_over_the_board() {
    let manifest = every_key();
    let board = |board: &str, set: &[&str], with: &[&str]| {
        let selection = manifest.select_with(board, &strings(set), &strings(with)).unwrap();
        manifest.configured(board, &selection).unwrap()
    };
    let intel = board("intel", &[], &[]);
    assert_eq!(
        (intel.parts.layers, intel.fragments),
        (strings(&["openembedded-core", "meta-many"]), strings(&["many"]))
    );
    assert_eq!(intel.parts.config["DISTRO"], "many");
    assert_eq!(intel.parts.conf[1..], ["DISTRO_FEATURES += \"many\"", "INTEL = \"1\""]);
    assert_eq!(intel.parts.env["SITE"], EnvValue::Set("factory".to_owned()));
    assert_eq!(board("qemu", &[], &[]).parts.config["DISTRO"], "poky");
    let qemu = board("qemu", &["boot=rootfs"], &["many"]);
    assert_eq!(qemu.parts.config["DISTRO"], "many");
    assert_eq!(qemu.parts.targets, ["kata-image", "disk-image"]);
    assert_eq!((qemu.fragments, &*qemu.parts.layers[2]), (strings(&["disk", "many"]), "meta-many"));
    assert_eq!(manifest.layers_of("qemu").unwrap().len(), 2, "no locked configuration has `many`");

    let names: Vec<String> = manifest.variants("intel").unwrap().into_iter().map(|variant| variant.name).collect();
    assert!(names.contains(&"trace".to_owned()) && names.contains(&"with=quiet".to_owned()), "{names:?}");
    let selection = manifest.select_with("intel", &[], &strings(&["quiet", "many"])).unwrap();
    assert_eq!(manifest.settings_of("intel", &selection, "x86_64").unwrap(), ["with=quiet"]);
    let mut text = String::new();
    for (set, with) in [(&[][..], &["dsik"][..]), (&["trace"], &["quiet"]), (&[], &["trace"])] {
        text +=
            &shown(manifest.select_with(if set.is_empty() { "qemu" } else { "intel" }, &strings(set), &strings(with)));
    }
    insta::assert_snapshot!(text);
}

/// Renders an error as the snapshots show it, its paths made independent of the machine.
fn shown<T: std::fmt::Debug>(result: Result<T>) -> String {
    rendered(&result.expect_err("it is wrong")).replace(env!("CARGO_MANIFEST_DIR"), "<project>")
}

#[test]
fn wrong_settings_are_never_a_silent_no_op() {
    let manifest = every_key();
    let mut text = String::new();
    for (board, set) in [
        ("qmeu", &[][..]),
        ("intel", &["cehp"]),
        ("intel", &["rootfs"]),
        ("intel", &["boot"]),
        ("intel", &["boot=rootsf"]),
        ("intel", &["boot=initrd", "boot=rootfs"]),
        ("intel", &["ceph=on", "ceph=off"]),
        ("intel", &["ceph=rootfs"]),
        ("deeper", &["ceph"]),
        ("intel", &["ceph"]),
        ("intel", &["ceph", "macvtap", "base=alpine"]),
        ("intel", &["base=clear-linux"]),
        ("deeper", &["base=alpine"]),
        ("intel", &["", "=", "\u{1b}[31m"]),
    ] {
        let error = shown(manifest.select(board, &strings(set)));
        text.push_str(&format!("--board {board} {}\n{error}\n", set.join(" ").escape_debug()));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_manifest_is_found_above_and_a_missing_one_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    assert!(Manifest::find(&below).unwrap_err().hint().unwrap().contains("--manifest-path"));
    std::fs::write(directory.path().join("kbuild.toml"), "").unwrap();
    assert_eq!(Manifest::find(&below).unwrap(), directory.path().join("kbuild.toml"));
    let missing = Manifest::read(&below.join("kbuild.toml")).unwrap_err();
    assert_eq!(missing.exit_code(), 1);
    assert!(missing.to_string().starts_with("there is no kbuild.toml at"));
    std::fs::write(below.join("kbuild.toml"), b"\xff").unwrap();
    assert!(Manifest::read(&below.join("kbuild.toml")).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn a_layer_leaves_the_project_only_where_its_path_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("project");
    std::fs::create_dir_all(directory.path().join("outside")).unwrap();
    std::fs::create_dir_all(&project).unwrap();
    std::os::unix::fs::symlink("../outside", project.join("layer")).unwrap();
    let parse = |path: &str| {
        let text = format!("[project]\nname = \"x\"\n[layers.bitbake]\npath = {path:?}\n");
        Manifest::parse(&project.join("kbuild.toml"), &text)
    };
    assert_eq!(parse("layer").unwrap_err().to_string(), "`layer` leads out of the project");
    assert!(parse("/outside").unwrap_err().hint().unwrap().contains("of one machine"));
    assert_eq!(parse("../nowhere").unwrap_err().to_string(), "there is no directory `../nowhere`");
    for (written, normal) in
        [("x/../../outside/.", "../outside"), (".", "."), ("..", ".."), ("../project", "../project")]
    {
        assert_eq!(parse(written).unwrap().layers["bitbake"].origin, LayerOrigin::Path(normal.into()), "{written}");
    }
}

#[test]
fn a_site_configuration_is_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, "store = \"store\"\nlower = [\"/srv/store\", \"below\"]\n[mirrors]\nstores = [\"other\", \"https://h/s\"]\nbuiltin = false\n")
        .unwrap();
    let site = SiteConfig::read(&path).unwrap();
    assert_eq!(site.store, Some(directory.path().join("store")));
    assert_eq!(site.lower, ["/srv/store".into(), directory.path().join("below")]);
    assert_eq!(site.mirrors.stores, [directory.path().join("other").to_string_lossy(), "https://h/s".into()]);
    assert_eq!(site.mirrors.builtin, FallbackChoice::none());
    std::fs::write(&path, "stores = 1\nstore = 2\nlower = [\"https://h/s\"]\n[mirrors]\nrules = 3\n").unwrap();
    let text = shown(SiteConfig::read(&path)).replace(&*directory.path().to_string_lossy(), "<directory>");
    insta::assert_snapshot!(text);
}

#[test]
fn mirrors_of_the_command_line_are_stores_or_rules() {
    let mirrors =
        Mirrors::from_arguments(["/srv/store", "https://h/s?a=b", "https://x/(.*)?a=(.*)=file:///srv/$1=$2"]).unwrap();
    assert_eq!(mirrors.stores, ["/srv/store", "https://h/s?a=b"]);
    let rule = MirrorRule { pattern: "https://x/(.*)?a=(.*)".into(), to: vec!["file:///srv/$1=$2".into()] };
    assert_eq!(mirrors.rules, [rule]);
    let both = mirrors.clone().then(Mirrors { builtin: FallbackChoice::none(), ..mirrors });
    assert_eq!((both.stores.len(), both.rules.len(), both.builtin), (4, 2, FallbackChoice::none()));
    let mut text = String::new();
    for argument in ["https://(x=https://y", "https://x=https://$1", "https://me:hunter2@h/", ""] {
        text.push_str(&shown(Mirrors::from_arguments([argument])));
    }
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text);
}

#[test]
fn the_first_twenty_of_many_faults_are_shown() {
    let text: String = (0..1000).map(|key| format!("key{key} = {key}\n")).collect();
    let error = Manifest::parse(Path::new("/nowhere/kata.toml"), &text).unwrap_err();
    assert_eq!(error.related_errors().len(), 20);
    assert_eq!(error.to_string(), "/nowhere/kata.toml has 1001 faults, the first 20 of them below");
}

#[test]
fn a_text_cannot_steer_the_terminal() {
    let error = Manifest::parse(Path::new("/nowhere/kata.toml"), "x = \"\u{1b}[31m\u{9b}\" # é\n").unwrap_err();
    let text = rendered(&error);
    assert!(text.contains("x = \"?[31m??\" # é") && !text.contains(['\u{1b}', '\u{9b}']), "{text}");
}

/// Any text gives a manifest, or an error that can be printed.
fn survives(text: &str) {
    if let Err(error) = Manifest::parse(Path::new("/nowhere/kata.toml"), text) {
        assert_ne!(error.kind(), crate::error::Kind::Bug, "{}", rendered(&error));
        assert!(!rendered(&error).is_empty());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        survives(&text);
    }

    /// Closer to a real file: the manifest with every key, with lines removed, doubled, or damaged in one place.
    #[test]
    fn no_spoiled_manifest_makes_it_panic(
        lines in proptest::collection::vec((0usize..120, proptest::option::of((0usize..80, ".{0,3}"))), 1..120),
    ) {
        let all: Vec<&str> = include_str!("fixtures/valid/every-key.toml").lines().collect();
        let mut text = String::new();
        for (line, spoiled) in lines {
            let mut line = all[line % all.len()].to_owned();
            if let Some((at, with)) = spoiled {
                let at = line.char_indices().map(|(at, _)| at).nth(at).unwrap_or(line.len());
                line.replace_range(at.., &(with + line.get(at + 1..).unwrap_or_default()));
            }
            text.push_str(&line);
            text.push('\n');
        }
        survives(&text);
    }

    /// Closest: every value of the manifest with every key is replaced by something else, one after another.
    #[test]
    fn no_spoiled_value_makes_it_panic(at in 0usize..200, with in "\\PC{0,12}|true|[0-9]{1,9}|\\[\\]|\\{\\}|\"[a-z=${}:/]{0,9}\"") {
        let text = include_str!("fixtures/valid/every-key.toml");
        let values: Vec<usize> = text.match_indices("= ").map(|(at, _)| at + 2).collect();
        let start = values[at % values.len()];
        let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        survives(&format!("{}{with}{}", &text[..start], &text[end..]));
    }
}

#[test]
fn a_board_has_a_variant_for_each_other_choice_and_host() {
    let manifest = every_key();
    let names = |board: &str| -> Vec<String> {
        manifest.variants(board).unwrap().into_iter().map(|variant| variant.name).collect()
    };
    insta::assert_debug_snapshot!((names("intel"), names("qemu"), names("variant")));
    let selection = manifest.select("qemu", &strings(&["boot=initrd", "ceph=off"])).unwrap();
    assert_eq!(manifest.settings_of("qemu", &selection, "x86_64").unwrap(), ["boot=initrd", "ceph=off"]);
    let selection = manifest.select("qemu", &[]).unwrap();
    assert_eq!(manifest.settings_of("qemu", &selection, "aarch64").unwrap(), ["host=aarch64"]);
    let selection = manifest.select("intel", &strings(&["boot=rootfs", "base=alpine"])).unwrap();
    let together = ["boot=rootfs", "base=alpine", "boot=rootfs,base=alpine"];
    assert_eq!(manifest.settings_of("intel", &selection, "x86_64").unwrap(), together);
    assert_eq!(manifest.closure.history.len(), 2);
    assert_eq!(manifest.registries["go"].as_str(), "https://go.example.org/");
}

#[test]
fn all_pairs_are_looked_at_but_those_that_cannot_be() {
    let text = include_str!("fixtures/valid/every-key.toml").replace("lock = \"choices\"", "lock = \"pairs\"");
    let manifest = Manifest::parse(&fixtures("valid").join("every-key.toml"), &text).unwrap();
    let variants = manifest.variants("intel").unwrap().into_iter().map(|variant| variant.name);
    let groups: Vec<String> = variants.filter(|name| name.contains(',')).collect();
    // `ceph` requires `boot=rootfs`, and conflicts with `base=alpine` and `macvtap`.
    let expected = ["boot=rootfs,base=alpine", "boot=rootfs,macvtap", "base=alpine,macvtap"];
    let groups: Vec<String> = groups.into_iter().filter(|name| !name.contains("trace")).collect();
    assert_eq!(groups, expected);
}
