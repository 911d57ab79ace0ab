//! Pages of the book that show a project from its beginning: their commands are run as they stand, in their order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild_test::engine::{engine, profile_directory, repository};
use kbuild_test::pages::{Block, Page};
use kbuild_test::project::{TestProject, hermetic};
use kbuild_test::quickstart::{Upstreams, copy, git, upstreams};
use kbuild_test::sha256;

/// The project of these pages: one of kas's, with a layer whose recipes know nothing of kbuild.
const KAS: &str = r#"header:
  version: 15
machine: lantern
distro: mini
target: mini-image
repos:
  bitbake:
    url: https://upstream.example/bitbake.git
    branch: "2.19"
    layers:
      .: disabled
  this:
    layers:
      layers/meta-mini:
local_conf_header:
  own: |
    DL_DIR = "/var/cache/downloads"
"#;

const HELLO: &str = r#"LICENSE = "MIT"
PV = "1.0"
SRC_URI = "https://upstream.example/hello-1.0.tar.gz"
SRC_URI[sha256sum] = "{sha256}"
inherit program
PROGRAM_DEFINES = '-DGREETING="\"${GREETING}\"" -DMACHINE="\"${MACHINE_TITLE}\""'
"#;

const GREETER: &str = r#"LICENSE = "MIT"
SRC_URI = "git://upstream.example/greeter.git;protocol=https;branch=main;destsuffix=${PF}"
SRCREV = "${AUTOREV}"
inherit program
"#;

/// The two sites of the pages, a disk that goes between them, and upstreams that only one of them reaches.
struct Sites {
    bench: TestProject,
    files: PathBuf,
    _upstreams: Upstreams,
}

impl Sites {
    /// `None`, loudly, without the BitBake of the tests.
    fn new() -> Option<Self> {
        let engine = engine()?;
        let mut bench = TestProject::new();
        let files = bench.beside("upstreams-of-its-own");
        copy(upstreams(&engine), &files);
        let running = Upstreams::serve_to(&mut bench, &files, 0.0);
        for directory in ["lamp", "there", "media/usb", "srv"] {
            fs::create_dir_all(bench.beside(directory)).expect("a directory");
        }
        let sites = Sites { bench, files, _upstreams: running };
        sites.make_project();
        Some(sites)
    }

    fn make_project(&self) {
        let project = self.bench.beside("lamp");
        copy(&repository().join("examples/quickstart/layers"), &project.join("layers"));
        let recipes = project.join("layers/meta-mini/recipes");
        let tarball = fs::read(self.files.join("hello-1.0.tar.gz")).expect("the tarball");
        write(&recipes.join("hello/hello.bb"), &HELLO.replace("{sha256}", &sha256(&tarball)));
        write(&recipes.join("greeter/greeter_git.bb"), GREETER);
        fs::remove_dir_all(recipes.join("ferry")).expect("removed");
        write(&project.join("kas.yml"), KAS);
        git(&project, &["init", "--quiet"]);
        git(&project, &["add", "."]);
        git(&project, &["commit", "--quiet", "--message", "As kas builds it"]);
    }

    /// One commit more upstream.
    fn move_upstream(&self) {
        let script = repository().join("examples/quickstart/upstreams.py");
        let moved = Command::new("python3").arg(script).arg("move").arg(&self.files).status();
        assert!(moved.expect("python3 starts").success(), "upstreams.py move");
    }

    /// Runs the commands of a page's blocks that begin with a prompt, and insists that each ends well.
    fn run(&self, page: &Page) {
        let blocks = page.blocks.iter().filter(|block| block.language == "console");
        for (there, line) in blocks.flat_map(commands) {
            if line == "kbuild update" {
                self.move_upstream();
            }
            let output = self.shell(there, line).output().expect("sh starts");
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            println!("$ {line}\n{said}");
            assert!(output.status.success(), "{}: `{line}` failed:\n{said}", page.path);
        }
    }

    fn shell(&self, there: bool, line: &str) -> Command {
        let place = |name: &str| format!("{}/", self.bench.beside(name).display());
        let line = line.replace("/media/", &place("media")).replace("/srv/", &place("srv"));
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(self.bench.beside(if there { "there" } else { "lamp" })).env_clear();
        hermetic(&mut command, &self.bench.beside("home"));
        let path = std::env::var("PATH").expect("PATH");
        command.env("PATH", format!("{}:{path}", profile_directory().display()));
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Tester")
                .env(format!("GIT_{role}_EMAIL"), "tester@example.invalid");
        }
        if !there {
            command.env("KBUILD_CONFIG", self.bench.beside("site.toml"));
        }
        command
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a written file");
}

/// The commands of a block, each with whether it is for the site without a network.
fn commands(block: &Block) -> Vec<(bool, &str)> {
    let prompts = [("$ ", false), ("here$ ", false), ("there$ ", true)];
    let command = |line| prompts.iter().find_map(|(prompt, there)| Some((*there, str::strip_prefix(line, prompt)?)));
    block.text.lines().filter_map(command).collect()
}

#[test]
fn the_first_lock_is_made_as_the_page_shows_it() {
    let Some(sites) = Sites::new() else { return };
    let page = Page::read("docs/start/first-lock.md");
    sites.run(&page);
    let manifest = fs::read_to_string(sites.bench.beside("lamp/kbuild.toml")).expect("the manifest");
    assert_eq!(manifest, page.block("toml"), "the manifest that the page shows");
}

#[test]
fn an_air_gapped_site_is_made_as_the_page_shows_it() {
    let Some(sites) = Sites::new() else { return };
    let brought_over = sites.shell(false, "kbuild init --from kas.yml").status();
    assert!(brought_over.expect("sh starts").success(), "kbuild init");
    sites.run(&Page::read("docs/guides/air-gap.md"));
    assert!(sites.bench.beside("there/build/lantern/result.json").is_file());
    assert!(sites.bench.beside("srv/www/kbuild/kbuild-mirror.conf").is_file());
}
