//! The layers of this repository, asked of a real BitBake. The layers of others are stood in for by tests/fixtures/stand-in,
//! so no upstream is needed; what the real ones make of ours is in docs/flagship.md.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kbuild::manifest::{LayerOrigin, Manifest, OptionKind, SourceOrigin};
use serde_json::Value;

use kbuild_test::engine::{engine, repository};

const COMMON: &str = "layers/meta-kata-common";
const CONFIG: &str = "layers/meta-kata-common/recipes-kata/kata-containers-config/kata-containers-config_1.0.bb";
const IMAGE: &str = "layers/meta-kata-common/recipes-kata/images/kata-image.bb";
const INITRD: &str = "layers/meta-kata-common/recipes-kata/images/kata-guest-initrd.bb";
const ROOTFS: &str = "layers/meta-kata-common/recipes-kata/images/kata-guest-rootfs.bb";
const GUEST_IMAGE: &str = "layers/meta-kata-common/recipes-kata/kata-guest-image/kata-guest-image_1.0.bb";
const GUEST_KERNEL: &str = "layers/meta-kata-common/recipes-kata/kata-guest-kernel/kata-guest-kernel_git.bb";
const QEMU: &str = "layers/meta-kata-common/recipes-kata/kata-qemu/kata-qemu_git.bb";
const PACKAGES: &str = "layers/meta-kata-common/recipes-kata/packagegroups/packagegroup-kata.bb";
const ALPINE: &str = "layers/meta-kata-common/recipes-kata/kata-guest-base/kata-guest-base-alpine_git.bb";
const FEDORA: &str = "layers/meta-kata-common/recipes-kata/kata-guest-base/kata-guest-base-fedora_git.bb";
const CENTOS: &str = "layers/meta-kata-common/recipes-kata/kata-guest-base/kata-guest-base-centos_git.bb";
const OPENEULER: &str = "layers/meta-kata-common/recipes-kata/kata-guest-base/kata-guest-base-openeuler_git.bb";
const VIRTIOFSD: &str = "layers/meta-kata-common/recipes-kata/virtiofsd/virtiofsd_git.bb";
const OTHER_VIRTIOFSD: &str = "tests/fixtures/stand-in/virtualization/recipes-extended/virtiofsd/virtiofsd_1.13.2.bb";
const STATIC: &str = "layers/meta-kata-common/recipes-kata/kata-static/kata-static_git.bb";
const CONTAINERD: &str = "layers/meta-kata-common/recipes-kata/kata-containerd-config/kata-containerd-config_1.0.bb";
const DOCKER: &str = "layers/meta-edgeos/recipes-containers/edgeos-docker-config/edgeos-docker-config_1.0.bb";
const LINUX_YOCTO: &str = "tests/fixtures/stand-in/core/recipes-kernel/linux/linux-yocto_6.18.bb";
const LINUX_INTEL: &str = "tests/fixtures/stand-in/intel/recipes-kernel/linux/linux-intel_6.18.bb";
const LINUX_RASPBERRYPI: &str = "tests/fixtures/stand-in/raspberrypi/recipes-kernel/linux/linux-raspberrypi_6.18.bb";
const CMDLINE: &str = "tests/fixtures/stand-in/raspberrypi/recipes-bsp/bootfiles/rpi-cmdline.bb";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest() -> Manifest {
    Manifest::read(&repository().join("kata.toml")).unwrap()
}

/// All files below a directory of the repository whose names end in one of `endings`.
fn files(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![repository().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The layers of a board of kata.toml: ours as they are, of the others those that have a stand-in.
fn layers(board: &str) -> Vec<PathBuf> {
    let manifest = manifest();
    let stand_in = |name: &str| {
        let name = match name {
            "openembedded-core" => "core",
            "meta-intel" => "intel",
            "meta-raspberrypi" => "raspberrypi",
            "meta-virtualization" => "virtualization",
            _ => return None,
        };
        Some(repository().join("tests/fixtures/stand-in").join(name))
    };
    let one = |name: &String| match &manifest.layers[name].origin {
        LayerOrigin::Path(path) => Some(repository().join(path)),
        LayerOrigin::Git(_) => stand_in(name),
    };
    manifest.boards[board].parts.layers.iter().filter_map(one).collect()
}

/// A build directory of one board. Each configuration is a name and the lines that make it; every recipe is asked in each.
struct Topdir(tempfile::TempDir);

impl Topdir {
    fn new(board: &str, configurations: &[(&str, &str)]) -> Topdir {
        let directory = tempfile::tempdir().unwrap();
        let conf = directory.path().join("conf");
        fs::create_dir_all(conf.join("multiconfig")).unwrap();
        let layers: Vec<String> = layers(board).iter().map(|layer| layer.display().to_string()).collect();
        let bblayers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES = \"\"\nBBLAYERS = \"{}\"\n", layers.join(" "));
        fs::write(conf.join("bblayers.conf"), bblayers).unwrap();
        let names: Vec<&str> = configurations.iter().map(|(name, _)| *name).collect();
        fs::write(conf.join("local.conf"), local(board, &names)).unwrap();
        for (name, lines) in configurations {
            fs::write(conf.join(format!("multiconfig/{name}.conf")), lines).unwrap();
        }
        Topdir(directory)
    }

    /// What BitBake makes of recipes; `None` without the engine. Any warning of BitBake fails the test.
    fn ask(&self, recipes: &[(&str, &[&str])]) -> Option<Answers> {
        self.ask_for(recipes, &[])
    }

    /// As [`Topdir::ask`], and which file BitBake takes where several make a recipe of one name.
    fn ask_for(&self, recipes: &[(&str, &[&str])], taken: &[&str]) -> Option<Answers> {
        let recipes: BTreeMap<PathBuf, &[&str]> =
            recipes.iter().map(|(file, variables)| (repository().join(file), *variables)).collect();
        let question = serde_json::json!({ "recipes": recipes, "taken": taken }).to_string();
        self.python("ask_layers.py", &[], &question).map(Answers)
    }

    /// What a script of tests/support answers; `None` without the engine.
    fn python(&self, script: &str, arguments: &[&str], input: &str) -> Option<Value> {
        let engine = engine()?;
        let path = std::env::var("PATH").unwrap();
        let mut python = Command::new("python3")
            .arg(repository().join("tests/support").join(script))
            .arg(self.0.path())
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:{path}", engine.join("bin").display()))
            .env("PYTHONPATH", engine.join("lib"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", self.0.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

/// What kbuild would write for a board: its machine and settings, and the declared sources that are files.
fn local(board: &str, configurations: &[&str]) -> String {
    let manifest = manifest();
    let board = &manifest.boards[board];
    let mut text = format!("MACHINE ?= \"{}\"\nBBMULTICONFIG = \"{}\"\n", board.machine, configurations.join(" "));
    for (variable, value) in board.parts.config.iter().filter(|(variable, _)| *variable != "DISTRO") {
        writeln!(text, "{variable} = \"{value}\"").unwrap();
    }
    text + r#"
OE_FRAGMENTS_METADATA_VARS = "BB_CONF_FRAGMENT_SUMMARY BB_CONF_FRAGMENT_DESCRIPTION"
OE_FRAGMENTS_BUILTIN = "machine:MACHINE"
KBUILD_KATA_CONTAINERS_URI = "git://upstream.example/kata-containers;protocol=https;nobranch=1"
KBUILD_KATA_CONTAINERS_SRCREV = "2222222222222222222222222222222222222222"
KBUILD_KATA_CONTAINERS_VERSION = "3.32.0"
KBUILD_KATA_STATIC_AMD64_URI = "https://upstream.example/kata-static-3.32.0-amd64.tar.zst"
KBUILD_KATA_STATIC_AMD64_VERSION = "3.32.0"
KBUILD_KATA_STATIC_AMD64_SHA256 = "8888888888888888888888888888888888888888888888888888888888888888"
KBUILD_KATA_STATIC_ARM64_URI = "https://upstream.example/kata-static-3.32.0-arm64.tar.zst"
KBUILD_KATA_STATIC_ARM64_VERSION = "3.32.0"
KBUILD_KATA_STATIC_ARM64_SHA256 = "9999999999999999999999999999999999999999999999999999999999999999"
KBUILD_LINUX_URI = "https://upstream.example/linux-6.18.35.tar.xz"
KBUILD_LINUX_VERSION = "6.18.35"
KBUILD_LINUX_SHA256 = "3333333333333333333333333333333333333333333333333333333333333333"
KBUILD_QEMU_URI = "https://download.qemu.org/qemu-10.2.0.tar.xz"
KBUILD_QEMU_VERSION = "10.2.0"
KBUILD_QEMU_SHA256 = "1111111111111111111111111111111111111111111111111111111111111111"
KBUILD_VIRTIOFSD_URI = "crate://crates.io/virtiofsd/1.14.0"
KBUILD_VIRTIOFSD_VERSION = "1.14.0"
KBUILD_VIRTIOFSD_SHA256 = "5555555555555555555555555555555555555555555555555555555555555555"
"#
}

/// OVERRIDES as kbuild writes it for chosen options.
fn words(words: &str) -> String {
    format!("OVERRIDES:append = \":{words}\"\n")
}

/// What kbuild writes for the image that a guest's base is made of.
fn image(base: &str, architectures: &[&str]) -> String {
    let prefix = format!("KBUILD_GUEST_BASE_{}", base.to_uppercase());
    let mut text = format!("{prefix}_DIGEST = \"sha256:{}\"\n{prefix}_VERSION = \"1.2\"\n", "5".repeat(64));
    writeln!(text, "{prefix}_ARCHITECTURES = \"{}\"", architectures.join(" ")).unwrap();
    for architecture in architectures {
        let file = format!("guest-base-{base}-1.2-{architecture}.oci.tar");
        let uri = format!("https://registry.example/{base}/sha256:6.oci.tar;downloadfilename={file}");
        writeln!(text, "{prefix}_URI_{architecture} = \"{uri}\"").unwrap();
        writeln!(text, "{prefix}_SHA256_{architecture} = \"{}\"", "7".repeat(64)).unwrap();
    }
    text
}

struct Answers(Value);

impl Answers {
    fn answer(&self, configuration: &str, recipe: &str) -> &Value {
        &self.0[configuration][repository().join(recipe).to_str().unwrap()]
    }

    /// A variable's words, one space between them.
    fn get(&self, configuration: &str, recipe: &str, variable: &str) -> String {
        let answer = self.answer(configuration, recipe);
        assert!(answer["skipped"].is_null(), "{configuration}: {recipe}: {answer}");
        let value = answer["variables"][variable].as_str().unwrap_or_default();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The file of the recipe that BitBake takes, below the repository.
    fn taken(&self, configuration: &str, recipe: &str) -> &Path {
        let file = Path::new(self.0[configuration][recipe].as_str().unwrap_or_default());
        file.strip_prefix(repository()).unwrap_or_else(|_| panic!("{configuration}: {recipe}: {}", file.display()))
    }

    fn refusal(&self, configuration: &str, recipe: &str) -> &str {
        let answer = self.answer(configuration, recipe);
        answer["skipped"].as_str().unwrap_or_else(|| panic!("{configuration}: {recipe} is not refused: {answer}"))
    }

    /// Which of the recipes' asked variables a configuration changes, as `recipe variable: old -> new`.
    fn changes(&self, from: &str, to: &str) -> Vec<String> {
        let mut changes = Vec::new();
        for (file, before) in self.0[from].as_object().unwrap() {
            let after = &self.0[to][file];
            let recipe = Path::new(file).file_stem().unwrap().to_string_lossy();
            assert!(before["skipped"].is_null() && after["skipped"].is_null(), "{file}: {before} {after}");
            for (variable, old) in before["variables"].as_object().unwrap() {
                let new = &after["variables"][variable];
                if old != new {
                    changes.push(format!("{recipe} {variable}: {} -> {}", difference(old, new), difference(new, old)));
                }
            }
        }
        changes
    }
}

/// The words of one value that the other lacks.
fn difference(of: &Value, without: &Value) -> String {
    let words = |value: &Value| {
        value.as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    words(of).difference(&words(without)).cloned().collect::<Vec<_>>().join(" ")
}

/// What every option could touch.
const TOUCHED: &[(&str, &[&str])] = &[
    (CONFIG, CONFIGURED),
    (STATIC, &["KATA_STATIC_PARTS"]),
    (PACKAGES, &["RDEPENDS:packagegroup-kata", "RRECOMMENDS:packagegroup-kata"]),
    (GUEST_KERNEL, &["SRC_URI", "KATA_KERNEL_IMAGES", "KATA_KERNEL_ARCH"]),
    (QEMU, &["SRC_URI", "PACKAGECONFIG", "EXTRA_OECONF"]),
    (IMAGE, &["IMAGE_INSTALL", "IMAGE_FSTYPES", "WKS_FILE"]),
];

/// What of the guest could be touched, where it is built.
const GUEST: &[(&str, &[&str])] = &[
    (GUEST_IMAGE, &["KATA_GUEST_FILE", "KATA_GUEST_NAME", "do_install[depends]"]),
    (INITRD, &["PACKAGE_INSTALL", "IMAGE_FSTYPES", "do_rootfs[depends]", "INITRAMFS_MAXSIZE"]),
    (ROOTFS, &["PACKAGE_INSTALL", "IMAGE_FSTYPES", "WKS_FILE", "do_rootfs[depends]"]),
];

/// What the runtimes' drop-ins are written from.
const CONFIGURED: &[&str] = &[
    "SRC_URI",
    "KATA_BOOT",
    "KATA_CONFIG_RUNTIMES",
    "KATA_SHIM_PROGRAM",
    "KATA_QEMU_PATH",
    "KATA_VIRTIOFSD_PATH",
    "KATA_KERNEL_PATH",
    "KATA_GUEST_IMAGE",
    "KATA_GUEST_INITRD",
    "KATA_QEMU_URING",
];

/// Where a guest's base comes from.
const BASE: &[&str] = &["PV", "SRC_URI", "SRC_URI[kbuild.sha256sum]"];

/// What a guest takes from its base, and its own packages.
const DEPENDS: &[&str] = &["do_rootfs[depends]", "PACKAGE_INSTALL"];

#[test]
fn each_option_changes_what_its_name_says() {
    let release = "KATA_QEMU_PACKAGE = \"kata-static-qemu\"\nKATA_VIRTIOFSD_PACKAGE = \"kata-static-virtiofsd\"\n\
                   KATA_KERNEL_PACKAGE = \"kata-static-kernel\"\n";
    let configurations = [
        ("plain", String::new()),
        ("initrd", words("kata-initrd:kata-network-bridging")),
        ("rootfs", words("kata-rootfs:kata-network-bridging")),
        ("macvtap", words("kata-network-macvtap")),
        ("fedora", words("kata-base-fedora")),
        ("release", words("kata-base-release")),
        ("release-rootfs", words("kata-base-release:kata-rootfs")),
        ("programs", release.to_owned()),
    ];
    let configurations = configurations.each_ref().map(|(name, lines)| (*name, lines.as_str()));
    let topdir = Topdir::new("qemu", &configurations);
    let Some(answers) = topdir.ask(TOUCHED) else { return };
    // The defaults, said aloud.
    assert_eq!(answers.changes("plain", "initrd"), Vec::<String>::new());
    let mut changes = String::new();
    for (option, _) in &configurations[2..] {
        writeln!(changes, "{option}\n  {}", answers.changes("plain", option).join("\n  ")).unwrap();
    }
    for variable in CONFIGURED {
        writeln!(changes, "{variable}: {}", answers.get("plain", CONFIG, variable)).unwrap();
    }
    writeln!(changes, "packages: {}", answers.get("plain", PACKAGES, "RDEPENDS:packagegroup-kata")).unwrap();
    writeln!(changes, "modules: {}", answers.get("plain", PACKAGES, "RRECOMMENDS:packagegroup-kata")).unwrap();
    writeln!(changes, "parts: {}", answers.get("plain", STATIC, "KATA_STATIC_PARTS")).unwrap();

    let built = ["plain", "rootfs", "fedora"]
        .map(|name| configurations[configurations.iter().position(|(known, _)| *known == name).unwrap()]);
    let questions = [GUEST, &[(FEDORA, BASE)]].concat();
    let Some(answers) = Topdir::new("qemu", &built).ask(&questions) else { return };
    for option in ["rootfs", "fedora"] {
        writeln!(changes, "the guest, {option}\n  {}", answers.changes("plain", option).join("\n  ")).unwrap();
    }
    writeln!(changes, "the guest: {}", answers.get("plain", INITRD, "PACKAGE_INSTALL")).unwrap();
    insta::assert_snapshot!(changes);
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    let topdir = Topdir::new(
        "qemu",
        &[
            ("ceph", &words("kata-withceph")),
            ("musl", &(words("kata-network-macvtap") + "TCLIBC = \"musl\"\n")),
            ("two", &words("kata-initrd:kata-rootfs")),
            ("alpine", &words("kata-base-alpine")),
            ("centos", &words("kata-base-centos")),
            ("euleros", &words("kata-base-euleros")),
            ("clear", &words("kata-base-clear-linux")),
            ("release", &words("kata-base-release")),
            ("unknown", "KATA_QEMU_PACKAGE = \"qemu\"\n"),
            ("othersources", "KBUILD_QEMU_SHA256 = \"4444\"\n"),
            ("nosources", "KBUILD_LINUX_URI = \"\"\n"),
        ],
    );
    let guest: [(&str, &[&str]); 3] = [INITRD, ROOTFS, GUEST_IMAGE].map(|recipe| (recipe, &[] as &[&str]));
    let others: [(&str, &[&str]); 5] =
        [IMAGE, PACKAGES, QEMU, GUEST_KERNEL, CONFIG].map(|recipe| (recipe, &[] as &[&str]));
    let Some(answers) = topdir.ask(&[guest.as_slice(), &others].concat()) else { return };
    let mut refusals = String::new();
    for recipe in [INITRD, ROOTFS, GUEST_IMAGE] {
        assert_eq!(answers.refusal("release", recipe), answers.refusal("release", INITRD));
    }
    writeln!(refusals, "{}", answers.refusal("release", INITRD)).unwrap();
    writeln!(refusals, "{}", answers.refusal("unknown", CONFIG)).unwrap();
    for configuration in ["ceph", "musl", "two", "alpine", "centos", "euleros", "clear"] {
        let refusal = answers.refusal(configuration, IMAGE);
        assert_eq!(refusal, answers.refusal(configuration, PACKAGES));
        writeln!(refusals, "{refusal}").unwrap();
    }
    writeln!(refusals, "{}", answers.refusal("othersources", QEMU)).unwrap();
    insta::assert_snapshot!(refusals);
    assert!(answers.refusal("nosources", GUEST_KERNEL).starts_with("KBUILD_LINUX_URI is not set"));
}

#[test]
fn bases_come_from_the_images_that_kata_toml_declares() {
    const BOTH: &[&str] = &["aarch64", "x86_64"];
    let bases = [("alpine", ALPINE), ("centos", CENTOS), ("fedora", FEDORA), ("openeuler", OPENEULER)];
    let word = |base: &str| words(&format!("kata-base-{}", if base == "openeuler" { "euleros" } else { base }));
    let mut said = String::new();
    for board in ["qemu", "raspberrypi"] {
        let other: &[&str] = if board == "qemu" { &["aarch64"] } else { &["x86_64"] };
        let mut configurations = vec![("plain".to_owned(), String::new())];
        for (base, _) in bases {
            configurations.push((base.to_owned(), word(base)));
            configurations.push((format!("{base}-declared"), word(base) + &image(base, BOTH)));
            configurations.push((format!("{base}-elsewhere"), word(base) + &image(base, other)));
        }
        let configurations: Vec<_> =
            configurations.iter().map(|(name, lines)| (name.as_str(), lines.as_str())).collect();
        let questions: Vec<(&str, &[&str])> =
            bases.iter().map(|(_, recipe)| (*recipe, BASE)).chain([(INITRD, DEPENDS)]).collect();
        let Some(answers) = Topdir::new(board, &configurations).ask(&questions) else { return };
        for (base, recipe) in bases {
            for configuration in [base.to_owned(), format!("{base}-declared"), format!("{base}-elsewhere")] {
                writeln!(said, "{board} {configuration}").unwrap();
                match answers.answer(&configuration, recipe)["skipped"].as_str() {
                    Some(reason) => {
                        assert_eq!(reason, answers.refusal(&configuration, INITRD));
                        writeln!(said, "  {reason}").unwrap();
                    }
                    None => {
                        for variable in BASE {
                            writeln!(said, "  {}", answers.get(&configuration, recipe, variable)).unwrap();
                        }
                        let depends = answers.get(&configuration, INITRD, DEPENDS[0]);
                        assert_eq!(depends, format!("kata-guest-base-{base}:do_deploy"));
                        assert_eq!(answers.get(&configuration, INITRD, DEPENDS[1]), "kata-static-agent");
                    }
                }
            }
        }
        assert!(answers.refusal("plain", CENTOS).starts_with("KBUILD_GUEST_BASE_CENTOS_URI is not set"));
    }
    insta::assert_snapshot!(said);
}

/// What whoever wants a base takes the comment signs away from is what the refusals say to add.
#[test]
fn kata_toml_shows_the_images_of_all_bases() {
    let options = read(&repository().join(COMMON).join("classes-recipe/kata_options.bbclass"));
    let text = read(&repository().join("kata.toml"));
    let shown = text
        .lines()
        .skip_while(|line| !line.starts_with("# [sources.guest-base-"))
        .take_while(|line| line.starts_with('#'));
    let shown: Vec<&str> = shown.map(|line| line.trim_start_matches('#').trim()).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kata.toml");
    let engine = "[project]\nname = \"shown\"\nengine = \"bitbake\"\n[layers.bitbake]\npath = \"bitbake\"";
    fs::create_dir(directory.path().join("bitbake")).unwrap();
    fs::write(&file, format!("{engine}\n{}\n", shown.join("\n"))).unwrap();
    let manifest = Manifest::read(&file).unwrap();
    let mut images = 0;
    for (name, source) in &manifest.sources {
        let SourceOrigin::Image(request) = &source.origin else { continue };
        let base = name.strip_prefix("guest-base-").expect(name);
        let line = format!("KATA_GUEST_BASE_IMAGE[{base}] = \"{}\"", request.image);
        assert!(options.lines().any(|known| known == line), "{line}");
        images += 1;
    }
    assert_eq!(images, options.lines().filter(|line| line.starts_with("KATA_GUEST_BASE_IMAGE[")).count());
}

#[test]
fn a_base_is_made_of_the_layers_of_an_image() {
    let topdir = Topdir::new("qemu", &[("declared", &image("centos", &["x86_64"]))]);
    let recipe = format!("mc:declared:{}", repository().join(CENTOS).display());
    let Some(answers) = topdir.python("unpack_bases.py", &[&recipe], "") else { return };
    let mut said = String::new();
    for (name, answer) in answers.as_object().unwrap() {
        let Some(list) = answer["tar"].as_array() else {
            writeln!(said, "{name}: {}", answer["refused"].as_str().unwrap()).unwrap();
            continue;
        };
        // The same archive, the same bytes.
        assert_eq!(answer["sha256"][0], answer["sha256"][1], "{name}");
        if name == "zstd" {
            assert_eq!(*answer, answers["two layers"]);
            continue;
        }
        let lines = list.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n  ");
        writeln!(said, "{name}:\n  {lines}\n  {}\n  {}", answer["files"], answer["attributes"]).unwrap();
    }
    insta::with_settings!({ filters => [("[0-9a-f]{64}", "[digest]")] }, { insta::assert_snapshot!(said) });
}

/// One question to run_functions.py.
fn run(configuration: &str, recipe: &str, functions: &[&str]) -> Value {
    let recipe = format!("mc:{configuration}:{}", repository().join(recipe).display());
    serde_json::json!({ "recipe": recipe, "functions": functions })
}

/// The lines of what a run left behind.
fn left(answer: &Value) -> String {
    if let Some(reason) = answer["refused"].as_str() {
        return format!("  refused: {reason}\n");
    }
    let mut said = String::new();
    for (name, content) in answer["files"].as_object().unwrap() {
        let content = content.as_str().unwrap();
        match content.lines().count() {
            0 | 1 => writeln!(said, "  {name} {}", content.trim_end()).unwrap(),
            _ => writeln!(said, "  {name}\n    {}", content.trim_end().replace('\n', "\n    ")).unwrap(),
        }
    }
    for warning in answer["warned"].as_array().into_iter().flatten() {
        writeln!(said, "  warned: {}", warning.as_str().unwrap()).unwrap();
    }
    said
}

const INSTALL: &[&str] = &["do_unpack", "do_install"];

#[test]
fn what_the_runtimes_and_containerd_are_told() {
    let configurations = [
        ("plain", String::new()),
        ("rootfs", words("kata-rootfs")),
        ("macvtap", words("kata-network-macvtap:kata-rootfs")),
        ("release", words("kata-base-release")),
        ("containerd17", "KATA_CONTAINERD_CONFIG_VERSION = \"2\"\n".to_owned()),
        ("ownconfig", "KATA_CONTAINERD_MAIN_CONFIG = \"0\"\n".to_owned()),
        ("uring", "KATA_QEMU_PACKAGE = \"kata-static-qemu\"\n".to_owned()),
    ];
    let names = configurations.each_ref().map(|(name, lines)| (*name, lines.as_str()));
    let mut said = String::new();
    for (board, asked) in [("qemu", &names[..]), ("raspberrypi", &names[..1])] {
        let mut questions = Vec::new();
        for (name, _) in asked {
            questions.push((*name, CONFIG, run(name, CONFIG, INSTALL)));
        }
        for name in ["plain", "containerd17", "ownconfig"].into_iter().filter(|_| board == "qemu") {
            questions.push((name, CONTAINERD, run(name, CONTAINERD, INSTALL)));
        }
        let input = Value::from(questions.iter().map(|(_, _, question)| question.clone()).collect::<Vec<_>>());
        let topdir = Topdir::new(board, asked);
        let Some(answers) = topdir.python("run_functions.py", &[], &input.to_string()) else { return };
        let answers = answers.as_array().unwrap();
        for (number, ((name, recipe, _), answer)) in questions.iter().zip(answers).enumerate() {
            let file = Path::new(recipe).file_stem().unwrap().to_string_lossy();
            let files = answer["files"].as_object().unwrap();
            // The first configuration's whole, of the others what is different.
            let first = questions.iter().position(|(_, known, _)| known == recipe).unwrap();
            let mut other = answer.clone();
            let before = &answers[first]["files"];
            if number != first {
                other["files"].as_object_mut().unwrap().retain(|name, content| before[name.as_str()] != *content);
                for name in before.as_object().unwrap().keys().filter(|name| !files.contains_key(*name)) {
                    other["files"][name] = "(is not there)".into();
                }
            }
            write!(said, "{board} {name} {file}\n{}", left(&other)).unwrap();
            for (_, content) in files.iter().filter(|(name, _)| name.ends_with(".toml")) {
                let table: Result<toml::Table, _> = content.as_str().unwrap().parse();
                assert!(table.is_ok(), "{name}: {table:?}");
            }
        }
    }
    insta::assert_snapshot!(said);
}

/// Where /init and /sbin/init lead in guests of all kinds.
#[test]
fn the_agent_starts_first_whatever_the_guest_is_made_of() {
    let configurations = [("yocto", String::new()), ("fedora", words("kata-base-fedora"))];
    let names = configurations.each_ref().map(|(name, lines)| (*name, lines.as_str()));
    let agent =
        serde_json::json!({ "usr/bin/kata-agent": "the agent", "etc/kata-opa/default-policy.rego": "its policy" });
    let merged = serde_json::json!({ "usr/bin/kata-agent": "the agent", "bin": "-> usr/bin", "sbin": "-> usr/sbin", "usr/sbin/": "", "etc/": "" });
    let trees = [
        ("yocto, merged", "yocto", merged, None),
        (
            "yocto, unmerged",
            "yocto",
            serde_json::json!({ "usr/bin/kata-agent": "the agent", "sbin/": "", "etc/": "" }),
            None,
        ),
        ("no agent", "yocto", serde_json::json!({ "bin/": "" }), None),
        (
            "as Alpine: its own init in a directory of its own",
            "fedora",
            agent.clone(),
            Some(
                serde_json::json!({ "sbin/init": "-> /bin/busybox", "bin/busybox": "x", "usr/bin/": "", "usr/sbin/": "" }),
            ),
        ),
        (
            "as Fedora: one directory for all",
            "fedora",
            agent.clone(),
            Some(serde_json::json!({
                "usr/bin/init": "-> ../lib/systemd/systemd", "usr/sbin": "-> bin", "sbin": "-> usr/sbin", "bin": "-> usr/bin",
                "etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf",
            })),
        ),
        (
            "as CentOS: merged by absolute links",
            "fedora",
            agent.clone(),
            Some(
                serde_json::json!({ "usr/sbin/init": "x", "sbin": "-> /usr/sbin", "etc/resolv.conf": "nameserver\n" }),
            ),
        ),
        (
            "a link that leads up",
            "fedora",
            agent.clone(),
            Some(serde_json::json!({ "sbin": "-> ../../../../usr/../usr/local/bin", "usr/local/bin/": "" })),
        ),
        (
            "links in a circle",
            "fedora",
            agent,
            Some(serde_json::json!({ "sbin": "-> /usr/sbin", "usr/sbin": "-> /sbin" })),
        ),
    ];
    let functions = ["kata_guest_unpack_base", "kata_guest_start_agent"];
    let questions = trees.iter().map(|(_, configuration, tree, base)| {
        let mut question = run(configuration, INITRD, &functions);
        question["tree"] = tree.clone();
        if let Some(base) = base {
            question["base"] = base.clone();
        }
        question
    });
    let input = Value::from(questions.collect::<Vec<_>>()).to_string();
    let Some(answers) = Topdir::new("qemu", &names).python("run_functions.py", &[], &input) else { return };
    let mut said = String::new();
    for ((name, ..), answer) in trees.iter().zip(answers.as_array().unwrap()) {
        write!(said, "{name}\n{}", left(answer)).unwrap();
    }
    insta::assert_snapshot!(said);
}

#[test]
fn who_may_log_in_to_a_board() {
    let open = "OE_FRAGMENTS += \"kata-common/open-root\"\n";
    let key = "KATA_AUTHORIZED_KEYS = \"ssh-ed25519 AAAAone me\\nssh-ed25519 AAAAtwo\"\n";
    let secret = "KATA_AUTHORIZED_KEYS = \"-----BEGIN OPENSSH PRIVATE KEY-----\"\n";
    let topdir = Topdir::new("qemu", &[("plain", ""), ("open", open), ("key", key), ("secret", secret)]);
    let names = ["plain", "open", "key", "secret"];
    let questions = names.map(|name| {
        let mut question = run(name, IMAGE, &["kata_image_way_in"]);
        question["tree"] = serde_json::json!({});
        question
    });
    let input = Value::from(questions.to_vec()).to_string();
    let Some(answers) = topdir.python("run_functions.py", &[], &input) else { return };
    let mut said = String::new();
    for (name, answer) in names.iter().zip(answers.as_array().unwrap()) {
        write!(said, "{name}\n{}", left(answer)).unwrap();
    }
    let modes = &answers[2]["modes"];
    assert_eq!(modes["home/root/.ssh/authorized_keys"], "600");
    let topdir = Topdir::new("qemu", &[("plain", ""), ("open", open)]);
    let answers = topdir.ask(&[(IMAGE, &["IMAGE_FEATURES", "IMAGE_ROOTFS_EXTRA_SPACE"])]).unwrap();
    for name in ["plain", "open"] {
        writeln!(said, "{name}: {}", answers.get(name, IMAGE, "IMAGE_FEATURES")).unwrap();
    }
    writeln!(said, "space: {} KiB", answers.get("plain", IMAGE, "IMAGE_ROOTFS_EXTRA_SPACE")).unwrap();
    insta::assert_snapshot!(said);
}

/// What of a release tarball is written and packaged; the tarballs are made by hand, with the names that Kata's have.
#[test]
fn kata_static_streams_out_what_it_packages() {
    let parts = "agent image initrd kernel qemu runtime shim shim-go virtiofsd";
    for (board, snapshot) in [("qemu", "amd64"), ("raspberrypi", "arm64")] {
        let topdir = Topdir::new(board, &[("plain", "")]);
        let recipe = format!("mc:plain:{}", repository().join(STATIC).display());
        let Some(answers) = topdir.python("release.py", &[&recipe, parts], "") else { return };
        let mut said = String::new();
        for (name, answer) in answers.as_object().unwrap() {
            if let Some(reason) = answer["refused"].as_str() {
                writeln!(said, "{name}: {reason}").unwrap();
                continue;
            }
            writeln!(said, "{name}\n  unpacked: {}", answer["unpacked"]).unwrap();
            for kind in ["installed", "packages"] {
                for (name, what) in answer[kind].as_object().unwrap() {
                    writeln!(said, "  {name}: {what}").unwrap();
                }
            }
        }
        insta::assert_snapshot!(snapshot, said);
    }
}

/// The recipes of others that our layers append to, each with what they could touch of it.
const APPENDED: [(&str, &str, &[&str]); 4] = [
    ("qemu", LINUX_YOCTO, &["KERNEL_FEATURES", "SRC_URI", "KERNEL_MODULE_AUTOLOAD"]),
    ("intel", LINUX_INTEL, &["KERNEL_FEATURES", "SRC_URI", "KERNEL_MODULE_AUTOLOAD"]),
    ("raspberrypi", LINUX_RASPBERRYPI, &["KERNEL_FEATURES", "SRC_URI", "KERNEL_MODULE_AUTOLOAD"]),
    ("raspberrypi", CMDLINE, &["CMDLINE"]),
];

#[test]
fn without_the_distribution_feature_nothing_changes() {
    for (board, recipe, variables) in APPENDED {
        let without = "DISTRO_FEATURES:remove = \"kata\"\n";
        let alone = "BBMASK = \"/layers/meta-kata-.*\\.bbappend\"\n";
        let topdir = Topdir::new(board, &[("with", ""), ("without", without), ("alone", alone)]);
        let Some(answers) = topdir.ask(&[(recipe, variables), (IMAGE, &[]), (QEMU, &[])]) else { return };
        for ours in [IMAGE, QEMU] {
            let refusal = answers.refusal("without", ours);
            assert!(refusal.contains("required distro feature 'kata'"), "{refusal}");
        }
        let values = |configuration: &str| -> Vec<String> {
            variables.iter().map(|variable| answers.get(configuration, recipe, variable)).collect()
        };
        assert_eq!(values("without"), values("alone"), "{board}: {recipe}");
        assert_ne!(values("with"), values("alone"), "{board}: {recipe}");
    }
}

#[test]
fn the_raspberry_pi() {
    let topdir = Topdir::new(
        "raspberrypi",
        &[
            ("pi4", ""),
            ("pi3", "MACHINE = \"raspberrypi3-64\"\n"),
            ("zero2", "MACHINE = \"raspberrypi0-2w-64\"\n"),
            ("asked", "MACHINE = \"raspberrypi3-64\"\nKATA_RPI3_USERSPACE_IRQCHIP = \"1\"\n"),
            ("macvtap", &words("kata-network-macvtap")),
            ("alpine", &words("kata-base-alpine")),
            ("fedora", &words("kata-base-fedora")),
            ("wifi", "LICENSE_FLAGS_ACCEPTED = \"synaptics-killswitch\"\n"),
        ],
    );
    let questions = [
        TOUCHED,
        GUEST,
        &[(GUEST_IMAGE, &["KATA_GUEST_FILE", "KATA_GUEST_NAME", "do_install[depends]", "MACHINE_EXTRA_RRECOMMENDS"])],
        &[(CONFIG, &["SRC_URI", "FILESPATH", "KATA_QEMU_PATH"]), (LINUX_RASPBERRYPI, &["KERNEL_FEATURES", "SRC_URI"])],
        &[(CMDLINE, &["CMDLINE"]), (ALPINE, BASE)],
    ]
    .concat();
    let Some(answers) = topdir.ask(&questions) else { return };
    let mut said = String::new();
    for configuration in ["pi3", "zero2", "fedora"] {
        writeln!(said, "{}", answers.refusal(configuration, IMAGE)).unwrap();
    }
    for option in ["alpine", "macvtap"] {
        writeln!(said, "{option}\n  {}", answers.changes("pi4", option).join("\n  ")).unwrap();
    }
    insta::assert_snapshot!(said);
    assert_eq!(answers.get("pi4", IMAGE, "IMAGE_FSTYPES"), "wic.bz2 wic.bmap");
    // A licence is accepted by whoever builds.
    assert_eq!(answers.get("pi4", GUEST_IMAGE, "MACHINE_EXTRA_RRECOMMENDS"), "udev-rules-rpi");
    assert!(answers.get("wifi", GUEST_IMAGE, "MACHINE_EXTRA_RRECOMMENDS").contains("bcm43455"));
    assert_eq!(
        answers.get("pi4", GUEST_KERNEL, "KATA_KERNEL_IMAGES"),
        "arch/arm64/boot/Image.gz arch/arm64/boot/Image"
    );
    assert_eq!(answers.get("pi4", CMDLINE, "CMDLINE"), "rootwait cgroup_enable=memory");
    assert_eq!(answers.get("pi4", LINUX_RASPBERRYPI, "SRC_URI"), "file://kata-host.cfg file://kata-docker.cfg");
    // The file of a board without a GIC, and of the others.
    for (configuration, memory) in [("pi4", 512), ("asked", 256)] {
        let board = found(&answers, configuration, "50-board.toml");
        assert_eq!(board["hypervisor"]["qemu"]["default_memory"].as_integer(), Some(memory));
        let path = answers.get(configuration, CONFIG, "KATA_QEMU_PATH");
        assert_eq!(path, "/usr/libexec/kata-qemu/qemu-system-aarch64");
    }
}

/// The drop-in that a recipe's FILESPATH finds first.
fn found(answers: &Answers, configuration: &str, name: &str) -> toml::Table {
    let path = answers.get(configuration, CONFIG, "FILESPATH");
    let file = path.split(':').map(|directory| Path::new(directory).join(name)).find(|file| file.exists());
    read(&file.unwrap_or_else(|| panic!("{name} in {path}"))).parse().unwrap()
}

#[test]
fn the_boards_kernels_and_disks() {
    let vfio = "KATA_HOST_VFIO = \"1\"\n";
    let qemu = Topdir::new("qemu", &[("plain", ""), ("vfio", vfio), ("bios", "MACHINE_FEATURES:remove = \"efi\"\n")]);
    let questions: &[(&str, &[&str])] = &[
        (LINUX_YOCTO, &["KERNEL_FEATURES", "SRC_URI", "KERNEL_MODULE_AUTOLOAD", "FILESPATH"]),
        (IMAGE, &["IMAGE_FSTYPES", "WKS_FILE", "QB_CPU_KVM", "QB_MEM", "EXTRA_IMAGEDEPENDS", "EFI_PROVIDER"]),
    ];
    let Some(answers) = qemu.ask(questions) else { return };
    // As files, not as a directory of kernel meta-data: that would tell meta-virtualization that the kernel has its own.
    let fragments = "file://kata-host.cfg file://kata-docker.cfg file://kata-host-x86.cfg";
    assert_eq!(answers.get("plain", LINUX_YOCTO, "SRC_URI"), fragments);
    assert_eq!(answers.get("plain", LINUX_YOCTO, "KERNEL_FEATURES"), "features/of/its/own.scc");
    assert_eq!(answers.get("vfio", LINUX_YOCTO, "SRC_URI"), format!("{fragments} file://kata-vfio.cfg"));
    assert_eq!(answers.get("plain", LINUX_YOCTO, "KERNEL_MODULE_AUTOLOAD"), "vhost_vsock vhost_net");
    let path = answers.get("plain", LINUX_YOCTO, "FILESPATH");
    for fragment in answers.get("vfio", LINUX_YOCTO, "SRC_URI").split(' ') {
        let name = fragment.strip_prefix("file://").unwrap();
        assert!(path.split(':').any(|directory| Path::new(directory).join(name).is_file()), "{name} in {path}");
    }
    assert_eq!(answers.get("plain", IMAGE, "IMAGE_FSTYPES"), "wic.qcow2");
    assert_eq!(answers.get("plain", IMAGE, "WKS_FILE"), "efi-bootdisk.wks.in");
    assert_eq!(answers.get("plain", IMAGE, "EFI_PROVIDER"), "systemd-boot");
    assert_eq!(answers.get("plain", IMAGE, "EXTRA_IMAGEDEPENDS"), "ovmf");
    assert_eq!(answers.get("plain", IMAGE, "QB_CPU_KVM"), "-cpu host -machine q35,i8042=off");
    assert_eq!(answers.get("bios", IMAGE, "WKS_FILE"), "qemux86-directdisk.wks");

    let intel = Topdir::new("intel", &[("plain", "")]);
    let questions: &[(&str, &[&str])] = &[(LINUX_INTEL, &["SRC_URI"]), (IMAGE, &["IMAGE_FSTYPES"])];
    let Some(answers) = intel.ask(questions) else { return };
    assert_eq!(answers.get("plain", LINUX_INTEL, "SRC_URI"), fragments);
    assert_eq!(answers.get("plain", IMAGE, "IMAGE_FSTYPES"), "wic");
}

#[test]
fn virtiofsd_is_the_locked_crate_though_another_layer_has_one() {
    let topdir = Topdir::new(
        "qemu",
        &[
            ("plain", ""),
            ("nosource", "KBUILD_VIRTIOFSD_URI = \"\"\n"),
            ("noseccomp", "DISTRO_FEATURES:remove = \"seccomp\"\n"),
        ],
    );
    let questions: &[(&str, &[&str])] = &[
        (VIRTIOFSD, &["SRC_URI", "PV", "S", "UNPACKDIR", "DEPENDS", "do_configure[postfuncs]"]),
        (PACKAGES, &["RDEPENDS:packagegroup-kata"]),
    ];
    let Some(answers) = topdir.ask_for(questions, &["virtiofsd"]) else { return };
    assert_eq!(answers.taken("plain", "virtiofsd"), Path::new(VIRTIOFSD));
    assert_eq!(answers.taken("nosource", "virtiofsd"), Path::new(OTHER_VIRTIOFSD));
    let get = |variable: &str| answers.get("plain", VIRTIOFSD, variable);
    // BitBake's crate fetcher tells the recipe's own crate from the others by this name, and unpacks it to where S is.
    let own = format!("crate://crates.io/virtiofsd/1.14.0;name=virtiofsd-1.14.0;sha256sum={}", "5".repeat(64));
    let uris = get("SRC_URI");
    let (first, crates) = uris.split_once(' ').unwrap();
    assert_eq!(first, own);
    assert!(crates.split(' ').all(|uri| uri.starts_with("crate://crates.io/")), "{crates}");
    assert_eq!(get("S"), format!("{}/virtiofsd-1.14.0", get("UNPACKDIR")));
    assert_eq!(get("DEPENDS"), "libcap-ng libseccomp");
    assert_eq!(get("do_configure[postfuncs]"), "", "cargo's configuration is kbuild_crates.bbclass's");
    assert_eq!(answers.refusal("noseccomp", VIRTIOFSD), "missing required distro feature 'seccomp'");
    assert!(answers.get("plain", PACKAGES, "RDEPENDS:packagegroup-kata").contains(" virtiofsd "));
}

#[test]
fn edgeos_is_qemu_with_docker_configured() {
    let without = "DISTRO_FEATURES:remove = \"kata\"\n";
    let topdir = Topdir::new("edgeos", &[("plain", ""), ("without", without)]);
    let questions: &[(&str, &[&str])] = &[
        (IMAGE, &["IMAGE_INSTALL", "IMAGE_FSTYPES"]),
        (DOCKER, &["RDEPENDS:edgeos-docker-config", "RCONFLICTS:edgeos-docker-config", "PACKAGE_ARCH"]),
    ];
    let Some(answers) = topdir.ask(questions) else { return };
    assert_eq!(
        answers.get("plain", IMAGE, "IMAGE_INSTALL"),
        "packagegroup-core-boot packagegroup-kata edgeos-docker-config"
    );
    assert_eq!(answers.get("plain", IMAGE, "IMAGE_FSTYPES"), "wic.qcow2");
    assert_eq!(answers.get("plain", DOCKER, "RDEPENDS:edgeos-docker-config"), "docker packagegroup-kata");
    // What it depends on is of the machine.
    assert_eq!(answers.get("plain", DOCKER, "PACKAGE_ARCH"), "qemux86_64");
    assert_eq!(answers.refusal("without", DOCKER), "missing required distro feature 'kata'");
    let daemon = repository().join("layers/meta-edgeos/recipes-containers/edgeos-docker-config/files/daemon.json");
    let daemon: Value = serde_json::from_str(&read(&daemon)).unwrap();
    let default = daemon["default-runtime"].as_str().unwrap();
    assert_eq!(daemon["runtimes"][default]["runtimeType"], "io.containerd.kata.v2");
}

#[test]
fn kata_toml_and_the_layers_agree() {
    let manifest = manifest();
    let mut collections = BTreeSet::new();
    for (name, layer) in &manifest.layers {
        let LayerOrigin::Path(path) = &layer.origin else { continue };
        let path = repository().join(path);
        let conf = read(&path.join("conf/layer.conf"));
        let quoted = |line: &str| line.split('"').nth(1).unwrap().trim().to_owned();
        let collection = conf.lines().find(|line| line.starts_with("BBFILE_COLLECTIONS")).map(quoted).expect(name);
        for variable in ["BBFILE_PATTERN", "BBFILE_PRIORITY", "LAYERVERSION", "LAYERSERIES_COMPAT", "LAYERDEPENDS"] {
            assert!(conf.contains(&format!("{variable}_{collection} = ")), "{name}: {variable}_{collection}");
        }
        assert!(conf.lines().any(|line| line.starts_with("LAYERSERIES_COMPAT") && line.contains("wrynose")), "{name}");
        assert!(path.join("README.md").is_file(), "{name} has no README.md");
        assert!(collections.insert(collection), "{name}: its collection's name is taken");
    }
    for (board, content) in &manifest.boards {
        assert!(content.parts.layers.iter().all(|layer| manifest.layers.contains_key(layer)), "{board}");
        assert!(content.parts.targets.contains(&"kata-image".to_owned()), "{board}");
    }
    // A word of kata.toml that kata_options does not know would do nothing.
    let options = read(&repository().join(COMMON).join("classes-recipe/kata_options.bbclass"));
    for (name, option) in &manifest.options {
        let words: Vec<&String> = match &option.kind {
            OptionKind::Flag { word } => vec![word],
            OptionKind::Choice { choices, .. } => choices.values().filter(|word| !word.is_empty()).collect(),
        };
        for word in words {
            assert!(options.contains(word.as_str()), "{name}: kata_options does not know {word}");
        }
    }
}

/// The options of a kernel fragment.
fn fragment(name: &str) -> BTreeMap<String, String> {
    let path = repository().join(COMMON).join("recipes-kernel/linux/kata-host-kernel").join(name);
    let text = read(&path);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once('=').expect(line))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_hosts_kernel_gets_what_kata_needs() {
    let common = fragment("kata-host.cfg");
    let machines = ["VIRTUALIZATION", "KVM", "VHOST_NET", "VHOST_VSOCK", "VSOCKETS"];
    let network = ["TUN", "VETH", "BRIDGE"];
    let tcfilter = ["NET_SCHED", "NET_SCH_INGRESS", "NET_CLS_ACT", "NET_CLS_U32", "NET_ACT_MIRRED"];
    let files = ["OVERLAY_FS", "FUSE_FS", "SHMEM", "TMPFS"];
    let macvtap = ["MACVLAN", "MACVTAP"];
    let limits = ["CGROUPS", "MEMCG", "CGROUP_PIDS", "CPUSETS", "CGROUP_BPF", "SECCOMP_FILTER"];
    for option in [&machines[..], &network, &tcfilter, &macvtap, &files, &limits].concat() {
        let value = common.get(&format!("CONFIG_{option}"));
        assert!(value.is_some_and(|value| value == "y" || value == "m"), "CONFIG_{option}: {value:?}");
    }
    // KVM is built in on arm64, and cannot be a module there.
    assert_eq!(common["CONFIG_KVM"], "y");
    assert_eq!(fragment("kata-host-x86.cfg").keys().collect::<Vec<_>>(), ["CONFIG_KVM_AMD", "CONFIG_KVM_INTEL"]);
    assert!(fragment("kata-vfio.cfg").contains_key("CONFIG_VFIO_PCI"));
    // Of Docker's own list what its bridges do not start without.
    let docker = fragment("kata-docker.cfg");
    for option in ["BRIDGE_NETFILTER", "IP_NF_RAW", "IP_NF_NAT", "NETFILTER_XT_NAT", "NETFILTER_XT_MATCH_ADDRTYPE"] {
        assert_eq!(docker[&format!("CONFIG_{option}")], "m");
    }
    let twice: Vec<&String> = docker.keys().filter(|option| common.contains_key(*option)).collect();
    assert_eq!(twice, Vec::<&String>::new(), "one place for an option");
    for path in files_of_the_kernel(".cfg") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // What only the kernel itself selects.
        assert!(!fragment(&name).keys().any(|option| option.starts_with("CONFIG_HAVE_")), "{name}");
    }
}

fn files_of_the_kernel(ending: &str) -> Vec<PathBuf> {
    files("layers/meta-kata-common/recipes-kernel", &[ending])
}

#[test]
fn drop_ins_are_toml_and_none_names_both_images() {
    let drop_ins = files("layers", &[".toml"]);
    assert!(drop_ins.len() >= 7, "{drop_ins:?}");
    for path in drop_ins {
        let table: toml::Table = read(&path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Some(qemu) = table.get("hypervisor").and_then(|hypervisor| hypervisor.get("qemu")) else { continue };
        let (image, initrd) = (qemu.get("image"), qemu.get("initrd"));
        assert_eq!(image.is_some(), initrd.is_some(), "{}: one is set, the other taken away", path.display());
        if let (Some(image), Some(initrd)) = (image.and_then(toml::Value::as_str), initrd.and_then(toml::Value::as_str))
        {
            assert_ne!(image.is_empty(), initrd.is_empty(), "{}: Kata refuses both", path.display());
        }
    }
}

#[test]
fn every_file_is_read_by_bitbakes_parser() {
    let Some(engine) = engine() else { return };
    let paths = files("layers", &[".bb", ".bbappend", ".bbclass", ".inc", ".conf"]);
    let output = Command::new("python3")
        .arg(repository().join("tests/support/parse_layers.py"))
        .args(&paths)
        .env("PYTHONPATH", engine.join("lib"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(paths.len() > 30, "{paths:?}");
}

/// The field's linter, with the rules that `layers/.oelint.cfg` says do not fit here, and why.
#[test]
fn the_linter_has_nothing_to_say() {
    let oelint = std::env::var_os("KBUILD_TEST_OELINT").map(PathBuf::from);
    let oelint = oelint.unwrap_or_else(|| repository().join("target/oelint"));
    if !oelint.join("oelint_adv").is_dir() {
        eprintln!("SKIPPED: no oelint-adv at {}; `tests/run` installs it", oelint.display());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .args(["-m", "oelint_adv", "--quiet", "--relpaths", "--jobs=2", "--release=wrynose"])
        .args(files("layers", &[".bb", ".bbappend", ".bbclass", ".inc", ".conf"]))
        .current_dir(repository().join("layers"))
        .env("PYTHONPATH", &oelint)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", home.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
