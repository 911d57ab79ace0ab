//! A lock of a large image: written, read, read backwards, asked; beside other readers of the same file, in one run.
//!
//! ```sh
//! cargo bench --bench lock -- [--sources N] [--recipes N]
//! ```
//! Four boards, each with three options and a second build host. The peers only parse: the `toml` crate into its plain
//! table, and Python's `tomllib`; kbuild also checks every name, hash and reference. Each figure is the median of several
//! runs, of this machine at this moment; commands are whole processes, with the look whether the lock is fresh.

#![allow(clippy::disallowed_methods, unreachable_pub)] // Tests prepare files as they like, and share modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kbuild::lock::{
    Closure, Content, Lock, LockedBoard, LockedFile, LockedGit, LockedRecipe, Need, Pin, Request, Uses,
};
use kbuild::manifest::Manifest;
use kbuild::resolve;
use kbuild::source::{CommitId, GitRef, Hasher, SourceId, SourceUrl};

const BOARDS: [&str; 4] = ["intel", "pi", "qemu", "virt"];
const FLAGS: [&str; 3] = ["ceph", "debug", "tpm"];
const RUNS: usize = 7;

fn main() {
    let sources = argument("--sources").unwrap_or(5000);
    let recipes = argument("--recipes").unwrap_or(800);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("kata.lock");
    std::fs::write(directory.path().join("kata.toml"), manifest()).expect("kata.toml");
    let manifest = Manifest::read(&directory.path().join("kata.toml")).expect("a manifest in order");
    let lock = lock(&manifest, sources, recipes);
    assert_eq!(resolve::stale(&manifest, &lock), Vec::<String>::new(), "the lock is fresh");
    let text = lock.to_string();
    lock.write(&path).expect("written");
    assert_eq!(Lock::read(&path).expect("in order").as_ref(), Some(&lock));

    let closures: usize = lock.boards.values().map(|board| board.closures().count()).sum();
    println!(
        "{} sources, {} recipes, {closures} closures; {} lines, {} KiB\n",
        lock.all_sources().len(),
        lock.recipes.len(),
        text.lines().count(),
        text.len() / 1024
    );
    row("kbuild: read", median(|| drop(Lock::read(&path).expect("in order"))));
    row("kbuild: make the text", median(|| drop(lock.to_string())));
    row("kbuild: write, nothing changed", median(|| assert!(!lock.write(&path).expect("written"))));
    let other = directory.path().join("other.lock");
    let write = || {
        let _ = std::fs::remove_file(&other);
        lock.write(&other).expect("written");
    };
    row("kbuild: write, with fsync", median(write));
    row("kbuild: read it backwards", median(|| drop(Uses::of(&lock))));
    row("kbuild: is it fresh", median(|| drop(resolve::stale(&manifest, &lock))));
    let read = || drop(std::fs::read_to_string(&path).expect("read").parse::<toml::Table>().expect("TOML"));
    row("peer: toml crate, plain table", median(read));
    println!();
    let root = directory.path();
    for command in [
        &["list"][..],
        &["list", "--format", "json"],
        &["why", "source-0007"],
        &["tree", "--board", "qemu", "--set", "tpm"],
    ] {
        row(&format!("kbuild {}", command.join(" ")), median(|| run(root, env!("CARGO_BIN_EXE_kbuild"), command)));
    }
    let tomllib = "import tomllib; tomllib.load(open('kata.lock', 'rb'))";
    if Command::new("python3").args(["-c", "import tomllib"]).output().is_ok_and(|done| done.status.success()) {
        row("peer: python3, tomllib", median(|| run(root, "python3", &["-c", tomllib])));
    } else {
        eprintln!("no python3 with tomllib here");
    }
}

fn argument(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).map(|number| number.parse().expect("a number"))
}

fn row(what: &str, time: Duration) {
    println!("{what:40} {:9.1} ms", time.as_secs_f64() * 1000.0);
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", directory);
    let done = command.output().expect("it starts");
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    assert!(!String::from_utf8_lossy(&done.stderr).contains("does not match"), "the lock is fresh");
}

fn manifest() -> String {
    let mut text = format!(
        "[project]\nname = \"bench\"\n[closure]\nhosts = [\"x86_64\", \"aarch64\"]\n\
         [layers.bitbake]\ngit = \"https://git.example/bitbake\"\nrev = \"{}\"\n",
        "a".repeat(40)
    );
    for flag in FLAGS {
        text += &format!("[options.{flag}]\nflag = \"with-{flag}\"\n");
    }
    for board in BOARDS {
        text +=
            &format!("[boards.{board}]\nmachine = \"{board}\"\nlayers = [\"bitbake\"]\ntargets = [\"recipe-0000\"]\n");
    }
    text
}

/// Sources are spread over recipes as crates are: a few recipes have most of them. Nine recipes in ten are in every board's
/// default; of the rest, each is what one flag or the second host adds.
fn lock(manifest: &Manifest, sources: usize, recipes: usize) -> Lock {
    let mut lock = Lock::default();
    let engine = add_engine(&mut lock);
    let mut of_recipe: Vec<BTreeSet<SourceId>> = vec![BTreeSet::new(); recipes];
    for number in 0..sources {
        let name = format!("source-{number:04}.tar.gz");
        lock.files.insert(name.clone(), file(&name, number));
        // The first of each recipe; what is left goes to every 20th.
        let recipe = if number < recipes { number } else { number * 20 % recipes };
        of_recipe[recipe].insert(SourceId::File(name));
    }
    for (number, sources) in of_recipe.into_iter().enumerate() {
        let block = LockedRecipe {
            version: format!("{}.{}", number % 7, number % 13),
            layer: "core".to_owned(),
            file: format!("meta/recipes-{}/recipe-{number:04}/recipe-{number:04}_1.0.bb", number % 9),
            license: "GPL-2.0-only & LGPL-2.1-or-later".to_owned(),
            sources,
        };
        lock.recipes.insert(name(number), block);
    }
    for board in BOARDS {
        lock.boards.insert(board.to_owned(), self::board(&engine, recipes));
    }
    for missing in resolve::missing_closures(manifest, &lock).expect("known boards") {
        let board = lock.boards.get_mut(&missing.board).expect("a board");
        let closure = match missing.variant.name.as_str() {
            "" => board.closure.as_mut(),
            setting => board.with.get_mut(setting),
        };
        closure.expect("every closure is there").inputs = missing.inputs;
    }
    lock
}

fn name(recipe: usize) -> String {
    format!("recipe-{recipe:04}")
}

fn add_engine(lock: &mut Lock) -> SourceId {
    let url: SourceUrl = "https://git.example/bitbake".parse().expect("a URL");
    let commit: CommitId = "a".repeat(40).parse().expect("a commit");
    let key = kbuild::source::name::git_key(&url, &commit);
    let id = SourceId::Git(key.clone());
    let reference = GitRef { branch: None, tag: None, rev: Some(commit) };
    let request = Request::Git {
        url: url.clone(),
        reference,
        version: None,
        submodules: false,
        history: false,
        lfs: true,
        signers: Vec::new(),
    };
    lock.layers.insert("bitbake".to_owned(), Pin::new(request, id.clone()));
    let git = LockedGit {
        url,
        refs: BTreeSet::new(),
        commit,
        tree: Some([7; 32].into()),
        history: false,
        clones: BTreeSet::new(),
        recursive: false,
        submodules: BTreeMap::new(),
        lfs: BTreeMap::new(),
        without_lfs: false,
    };
    lock.gits.insert(key, git);
    id
}

fn file(name: &str, number: usize) -> LockedFile {
    let mut hasher = Hasher::default();
    hasher.update(name.as_bytes());
    let digests = hasher.finish();
    let urls =
        [format!("https://host-{:02}.example/pub/{name}", number % 60), format!("https://mirror.example/{name}")];
    LockedFile {
        name: None,
        urls: urls.iter().map(|url| url.parse().expect("a URL")).collect(),
        sha256: digests.sha256,
        stated_size: None,
        content: Some(Content { blake3: digests.blake3, size: digests.size }),
    }
}

/// A graph in which each recipe is needed by one of about a third of its number.
fn board(engine: &SourceId, recipes: usize) -> LockedBoard {
    let need = |number: usize| if number == 0 { Need::Target } else { Need::By(name(number / 3)) };
    let closure = |numbers: &mut dyn Iterator<Item = usize>| Closure {
        inputs: [0; 32].into(),
        recipes: numbers.map(|number| (name(number), need(number))).collect(),
        extra: BTreeSet::new(),
        pins: BTreeMap::new(),
    };
    let common = recipes - recipes / 10;
    let settings: Vec<String> =
        FLAGS.iter().map(|flag| (*flag).to_owned()).chain(["host=aarch64".to_owned()]).collect();
    let with = settings.iter().enumerate().map(|(at, setting)| {
        let mut numbers = (common..recipes).filter(|number| number % settings.len() == at);
        (setting.clone(), closure(&mut numbers))
    });
    LockedBoard {
        sources: BTreeSet::from([engine.clone()]),
        with: with.collect(),
        closure: Some(closure(&mut (0..common))),
    }
}
