use super::*;
use crate::manifest::Manifest;

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\ngit = \"https://upstream.example/bitbake\"\nbranch = \"2.18\"\n\
    [boards.b]\nmachine = \"m\"\nlayers = [\"bitbake\"]\ntargets = [\"image\"]\n";

/// A project whose board `b` was built, with these artifacts; one with ` -> ` is a link.
struct Project {
    directory: tempfile::TempDir,
    manifest: Manifest,
}

impl Project {
    fn new(run: &str, artifacts: &[&str]) -> Project {
        let directory = tempfile::Builder::new().prefix("kbuild-run-").tempdir_in("/tmp").unwrap();
        let manifest = Manifest::parse(&directory.path().join("kata.toml"), &format!("{HEAD}{run}")).unwrap();
        let project = Project { directory, manifest };
        project.deploy(artifacts);
        project
    }

    fn deploy(&self, artifacts: &[&str]) {
        let deploy = self.path("build/b/tmp/deploy/images/m");
        fs::create_dir_all(&deploy).unwrap();
        let artifacts = artifacts.iter().map(|artifact| {
            let (path, content) = match artifact.split_once(" -> ") {
                Some((path, link)) => (path, ArtifactContent::Link { link: link.to_owned() }),
                None => {
                    let (sha256, blake3) = ([0; 32].into(), [0; 32].into());
                    (*artifact, ArtifactContent::File { size: 0, sha256, blake3 })
                }
            };
            fs::write(deploy.join(path), "").unwrap();
            Artifact { path: path.to_owned(), content }
        });
        let artifacts: Vec<Artifact> = artifacts.collect();
        let layer = serde_json::json!({ "name": "bitbake", "tree": "0".repeat(64), "version": "2.18.0" });
        let result = serde_json::json!({
            "schema": 1, "kbuild": "0", "project": "test", "board": "b", "machine": "m", "options": {},
            "lock": "0".repeat(64), "engine": layer, "layers": [], "sealed": true, "host_tools": {},
            "targets": ["image"], "artifacts": artifacts,
        });
        fs::write(self.path("build/b/result.json"), result.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.directory.path()).unwrap().join(name)
    }

    fn host(&self, arch: &str, kvm: Kvm, nested: Nested) -> QemuHost {
        let path = self.path("bin").into();
        QemuHost { arch: arch.to_owned(), kvm, nested, path, share: self.path("share") }
    }

    fn start(&self) -> Start<'_> {
        Start { manifest: &self.manifest, board: "b", firmware: None, extra: &[], emulate: false, unbuilt: false }
    }

    fn launch(&self, host: &QemuHost) -> Result<Launch> {
        launch(&self.start(), host)
    }

    /// The command, then the warnings.
    fn shown(&self, launch: &Launch) -> String {
        let lines = std::iter::once(launch.shell()).chain(launch.warnings.iter().map(|warning| format!("({warning})")));
        lines.collect::<Vec<_>>().join("\n").replace(&self.path("").display().to_string(), "/")
    }

    fn error(&self, result: Result<Launch>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let because = error.causes().iter().map(|cause| format!("\n  because {cause}")).collect::<String>();
        let text = format!("{error}{because}\n  help: {}", error.hint().unwrap_or_default());
        text.replace(&self.path("").display().to_string(), "/")
    }
}

const FLAGSHIP: &str = "[boards.b.run]\narch = \"x86_64\"\nfirmware = \"uefi\"\nmemory = 4096\ncpus = 4\nnested = true\n\
    ports = [\"22221:22\", \"0.0.0.0:5353:53/udp\"]\n";

#[test]
fn the_command_line_follows_the_board_and_the_host() {
    let project =
        Project::new(FLAGSHIP, &["image.rootfs.wic.qcow2", "image.wic.qcow2 -> image.rootfs.wic.qcow2", "a.ext4"]);
    fs::create_dir_all(project.path("share/OVMF")).unwrap();
    fs::write(project.path("share/OVMF/OVMF_CODE.fd"), "").unwrap();
    let mut text = Vec::new();
    for (arch, kvm, nested) in [
        ("x86_64", Kvm::Usable, Nested::On),
        ("x86_64", Kvm::Usable, Nested::Off("kvm_amd")),
        ("x86_64", Kvm::Usable, Nested::Unknown),
        ("x86_64", Kvm::Denied, Nested::On),
        ("x86_64", Kvm::Absent, Nested::Unknown),
        ("aarch64", Kvm::Usable, Nested::Unknown),
    ] {
        let launch = project.launch(&project.host(arch, kvm, nested)).unwrap();
        text.push(project.shown(&launch));
    }
    let host = project.host("x86_64", Kvm::Usable, Nested::On);
    text.push(project.shown(&launch(&Start { emulate: true, ..project.start() }, &host).unwrap()));
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_kernel_is_started_with_its_command_line_and_arguments_come_last() {
    let run =
        "[boards.b.run]\narch = \"aarch64\"\nkernel = \"Image\"\nappend = \"root=/dev/vda quiet\"\nnested = true\n";
    let project = Project::new(run, &["Image", "an,image.ext4", "other.wic"]);
    let extra = ["-display".to_owned(), "it's".to_owned(), String::new()];
    let mut text = Vec::new();
    for arch in ["aarch64", "x86_64"] {
        let host = project.host(arch, Kvm::Usable, Nested::On);
        text.push(project.shown(&launch(&Start { extra: &extra, ..project.start() }, &host).unwrap()));
    }
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn firmware_is_named_or_built_or_the_hosts() {
    let project = Project::new(FLAGSHIP, &["image.wic.qcow2", "ovmf.qcow2"]);
    let host = project.host("x86_64", Kvm::Usable, Nested::On);
    let launch = project.launch(&host).unwrap();
    assert_eq!(launch.firmware, Some(project.path("build/b/tmp/deploy/images/m/ovmf.qcow2")));
    assert!(launch.shell().contains("if=pflash,format=qcow2,readonly=on"), "{}", launch.shell());
    fs::write(project.path("own.fd"), "").unwrap();
    let own = project.path("own.fd");
    let named = super::launch(&Start { firmware: Some(&own), ..project.start() }, &host).unwrap();
    assert_eq!(named.firmware, Some(own));
}

#[test]
fn what_cannot_be_started_is_said() {
    let mut text = Vec::new();
    let mut say = |run: &str, artifacts: &[&str], change: &dyn Fn(&Project)| {
        let project = Project::new(run, artifacts);
        change(&project);
        let result = project.launch(&project.host("x86_64", Kvm::Usable, Nested::On));
        text.push(project.error(result));
    };
    let run = "[boards.b.run]\narch = \"x86_64\"\n";
    let as_it_is = |_: &Project| {};
    say("", &["image.wic"], &as_it_is);
    say(run, &[], &|project| fs::remove_file(project.path("build/b/result.json")).unwrap());
    say(run, &[], &as_it_is);
    say(run, &["bzImage", "image.ext4", "image.wic.gz", "ovmf.qcow2"], &as_it_is);
    say(run, &["a.wic", "b.wic", "c.wic -> b.wic"], &as_it_is);
    say(run, &["image.wic"], &|project| fs::remove_dir_all(project.path("build/b/tmp")).unwrap());
    let many: Vec<String> = (0..12).map(|number| format!("file{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    say("[boards.b.run]\narch = \"x86_64\"\nimage = \"image-*.wic\"\n", &many, &as_it_is);
    say("[boards.b.run]\narch = \"x86_64\"\nimage = \"image.wic.zst\"\n", &["image.wic.zst"], &as_it_is);
    say("[boards.b.run]\narch = \"x86_64\"\nkernel = \"bzImage\"\n", &["image.ext4"], &as_it_is);
    for arch in ["aarch64", "riscv64", "x86_64"] {
        say(&format!("[boards.b.run]\narch = \"{arch}\"\nfirmware = \"uefi\"\n"), &["image.wic"], &as_it_is);
    }
    let project = Project::new(run, &["image.wic"]);
    let gone = project.path("gone.fd");
    let host = project.host("x86_64", Kvm::Usable, Nested::On);
    text.push(project.error(launch(&Start { firmware: Some(&gone), ..project.start() }, &host)));
    let started = project.launch(&host).unwrap();
    text.push(project.error(started.find_program(&host).map(|_| started.clone())));
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_board_that_is_not_built_is_shown_where_its_image_would_be() {
    let named = Project::new("[boards.b.run]\narch = \"x86_64\"\nimage = \"image.wic\"\n", &[]);
    fs::remove_file(named.path("build/b/result.json")).unwrap();
    let host = named.host("x86_64", Kvm::Absent, Nested::Unknown);
    let launch = super::launch(&Start { unbuilt: true, ..named.start() }, &host).unwrap();
    assert_eq!(launch.image, named.path("build/b/tmp/deploy/images/m/image.wic"));
    let any = Project::new("[boards.b.run]\narch = \"x86_64\"\n", &[]);
    fs::remove_file(any.path("build/b/result.json")).unwrap();
    let error = any.error(super::launch(&Start { unbuilt: true, ..any.start() }, &host));
    assert!(error.starts_with("the board `b` is not built: kbuild.toml does not name its image"), "{error}");
}

#[test]
fn the_host_is_seen_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let modules = directory.path();
    assert_eq!(probe_nested(modules), Nested::Unknown);
    let parameters = modules.join("kvm_amd/parameters");
    fs::create_dir_all(&parameters).unwrap();
    for (said, seen) in
        [("0\n", Nested::Off("kvm_amd")), ("N\n", Nested::Off("kvm_amd")), ("1\n", Nested::On), ("Y\n", Nested::On)]
    {
        fs::write(parameters.join("nested"), said).unwrap();
        assert_eq!(probe_nested(modules), seen, "{said}");
    }
    assert_eq!(probe_kvm(&modules.join("kvm")), Kvm::Absent);
    fs::write(modules.join("kvm"), "").unwrap();
    assert_eq!(probe_kvm(&modules.join("kvm")), Kvm::Usable);
}
