//! Closures put into a lock, as the engine might report them.

use std::cell::Cell;

use super::*;
use crate::bitbake::report::{DiscoveryReport, Fetch, FloatingSrcrev, GitFetch, Problem, Recipe};
use crate::lock::{FolderState, Need};
use crate::manifest::Variant;

const MANIFEST: &str = r#"
[project]
name = "test"

[closure]
hosts = ["x86_64", "aarch64"]

[layers.bitbake]
git = "https://git.example/bitbake"
branch = "2.18"
rev = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

[layers.meta-own]
path = "layers/meta-own"

[options.loud]
flag = "loud"

[boards.one]
machine = "one"
layers = ["meta-own"]
targets = ["image"]

[boards.two]
machine = "two"
layers = ["meta-own"]
targets = ["image"]
"#;

fn folders(digit: u8) -> BTreeMap<String, FolderState> {
    let files = [("a.bb".to_owned(), [digit; 32].into())].into();
    BTreeMap::from([("meta-own".to_owned(), FolderState { whole: [digit; 32].into(), files })])
}

fn file(url: &str, sha256: char) -> Fetch {
    let sums = [("sha256".to_owned(), sha256.to_string().repeat(64))].into();
    let name = url.rsplit('/').next().unwrap().to_owned();
    Fetch { kind: "https".into(), written: url.into(), url: url.into(), file: Some(name), sums, ..Fetch::default() }
}

fn git(url: &str, commit: Option<char>) -> Fetch {
    let git = GitFetch {
        url: url.into(),
        commit: commit.map(|digit| digit.to_string().repeat(40)),
        variable: "SRCREV".into(),
        branch: Some("main".into()),
        clone: crate::source::name::clone_name(&url.parse().unwrap()),
        lfs: true,
        ..GitFetch::default()
    };
    Fetch { kind: "git".into(), written: url.into(), url: url.into(), git: Some(git), ..Fetch::default() }
}

fn recipe(name: &str, by: Option<&str>, fetches: Vec<Fetch>) -> Recipe {
    Recipe {
        name: name.into(),
        version: "1.0".into(),
        license: "MIT".into(),
        layer: "own".into(),
        file: format!("recipes/{name}_1.0.bb"),
        wanted_by: by.map(str::to_owned),
        fetches,
        ..Recipe::default()
    }
}

/// An image of one program; what else a test adds.
fn report(more: Vec<Recipe>) -> DiscoveryReport {
    let busybox = recipe("busybox", Some("image"), vec![file("https://h.example/busybox-1.0.tar.bz2", 'b')]);
    let recipes = [vec![recipe("image", None, vec![]), busybox], more].concat();
    DiscoveryReport { recipes, ..DiscoveryReport::default() }
}

/// Locks with the engine played by `discover`; gives how often it was asked, too.
fn lock_with(
    text: &str,
    old: &Lock,
    folders: &BTreeMap<String, FolderState>,
    update: &UpdatePolicy,
    discover: impl Fn(&str, &Variant) -> DiscoveryReport,
) -> Result<(Resolution, usize)> {
    let manifest = manifest(text);
    let directory = tempfile::tempdir().unwrap();
    let settings = FetchSettings {
        mirrors: Mirrors::default(),
        registries: crate::fetch::Registries::default(),
        jobs: 2,
        offline: true,
        upstreams: true,
    };
    let fetcher = Fetcher::new(Store::open(directory.path()).unwrap(), settings, Silent::shared()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = Played { discover, asked: Cell::new(0) };
    let request = LockRequest {
        keep_moved_tags: false,
        manifest: &manifest,
        old,
        folders: folders.clone(),
        scope: &LockScope::All,
        update,
        fetcher: &fetcher,
        wait: &|work| runtime.block_on(work),
        say: &|_| {},
        warn: &|_| {},
    };
    let locking = lock(request, &engine)?;
    if let Some(stopped) = locking.stopped {
        return Err(stopped.error);
    }
    let Resolution { faults, .. } = &locking.resolution;
    if !faults.is_empty() {
        return Err(Error::all(locking.resolution.faults, |count| format!("{count} faults")).unwrap());
    }
    Ok((locking.resolution, engine.asked.get()))
}

/// An engine that is a function, and counts how often it was asked.
struct Played<F> {
    discover: F,
    asked: Cell<usize>,
}

impl<F: Fn(&str, &Variant) -> DiscoveryReport> Discover for Played<F> {
    fn reads(&self, _: &Lock) -> Vec<SourceId> {
        Vec::new()
    }

    fn recipes(&self, lock: &Lock, board: &str, variant: &Variant, _: &[String]) -> Result<DiscoveryReport> {
        self.discover(lock, board, variant)
    }

    fn discover(&self, _: &Lock, board: &str, variant: &Variant) -> Result<DiscoveryReport> {
        self.asked.set(self.asked.get() + 1);
        Ok((self.discover)(board, variant))
    }

    fn review(&self, _: &mut Lock, _: &str, _: &Variant, _: &[FetchCase]) -> Result<Vec<Objection>> {
        Ok(Vec::new())
    }
}

fn first(discover: impl Fn(&str, &Variant) -> DiscoveryReport) -> Result<Lock> {
    let (resolution, asked) = lock_with(MANIFEST, &Lock::default(), &folders(1), &UpdatePolicy::Nothing, discover)?;
    assert_eq!(asked, 6, "two boards, each by default, loud, and on the other host");
    Ok(resolution.lock)
}

#[test]
fn boards_list_recipes_and_recipes_list_sources() {
    let lock = first(|board, variant| {
        let mut more = vec![];
        if variant.name == "loud" {
            more.push(recipe("trumpet", Some("busybox"), vec![git("https://git.example/trumpet", Some('c'))]));
        }
        if variant.host == "aarch64" {
            more.push(recipe(
                "rust-snapshot",
                Some("busybox"),
                vec![file("https://h.example/rust-aarch64.tar.xz", 'd')],
            ));
        }
        if board == "two" {
            more.push(recipe("linux", Some("image"), vec![git("https://git.example/linux", Some('e'))]));
        } else {
            more.push(recipe("linux", Some("image"), vec![git("https://git.example/linux", Some('f'))]));
        }
        report(more)
    })
    .unwrap();
    insta::assert_snapshot!(lock.to_string());
    assert_eq!(Lock::read_text_of(&lock.to_string()), lock);
    assert_eq!(stale(&manifest(MANIFEST), &lock), Vec::<String>::new());
    assert_eq!(lock.needs("two", &[]).len(), 3, "the engine, busybox, its own linux");
    assert_eq!(lock.needs("two", &["loud".to_owned()]).len(), 4);
}

#[test]
fn what_did_not_change_is_not_looked_at_again() {
    let lock = first(|_, _| report(vec![])).unwrap();
    let never = |_: &str, _: &Variant| -> DiscoveryReport { panic!("nothing changed") };
    let (again, asked) = lock_with(MANIFEST, &lock, &folders(1), &UpdatePolicy::Nothing, never).unwrap();
    assert_eq!((asked, &again.lock, again.changes), (0, &lock, vec![]));
    let asked = |text: &str, digit: u8| {
        lock_with(text, &lock, &folders(digit), &UpdatePolicy::Nothing, |_, _| report(vec![])).unwrap().1
    };
    assert_eq!(asked(MANIFEST, 2), 6, "a recipe was edited");
    assert_eq!(asked(&MANIFEST.replace("machine = \"two\"", "machine = \"three\""), 1), 3);
    assert_eq!(asked(&MANIFEST.replace("rev = \"aaaa", "rev = \"bbbb"), 1), 6, "another engine");
    assert_eq!(asked(&MANIFEST.replace("flag = \"loud\"", "flag = \"louder\""), 1), 2, "one choice of each board");
    let without = MANIFEST.replace(", \"aarch64\"", "");
    let (fewer, asked) = lock_with(&without, &lock, &folders(1), &UpdatePolicy::Nothing, never).unwrap();
    assert_eq!((asked, fewer.lock.boards["one"].with.len()), (0, 1));
}

#[test]
fn a_lock_is_stale_when_its_closures_are_of_other_inputs_and_edited_folders_are_told_apart() {
    let lock = first(|_, _| report(vec![])).unwrap();
    let changed = MANIFEST.replace("targets = [\"image\"]", "targets = [\"image\", \"sdk\"]");
    let reasons = stale(&manifest(&changed), &lock);
    assert_eq!(reasons.len(), 6);
    assert!(
        reasons[1].starts_with("the closure of board `one` with loud: its layers or configuration changed"),
        "{reasons:?}"
    );
    assert!(edited_folders(&lock, &folders(1)).is_empty());
    assert_eq!(edited_folders(&lock, &folders(2)), [("meta-own".to_owned(), "a.bb".to_owned())].into());
    assert_eq!(check_fresh(&manifest(MANIFEST), &lock, &folders(2)).unwrap_err().kind(), Kind::Stale);
    check_fresh(&manifest(MANIFEST), &lock, &folders(1)).unwrap();
}

#[test]
fn one_name_with_two_contents_is_an_error_on_one_board_and_two_blocks_on_two() {
    let other = |board: &str| {
        recipe(
            "other",
            Some("image"),
            vec![file("https://mirror.example/busybox-1.0.tar.bz2", board.chars().next().unwrap())],
        )
    };
    let error = first(|_, _| report(vec![other("c")])).unwrap_err();
    let text = format!(
        "{error}: {:?} {:?}",
        error.causes(),
        error.related_errors().iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    assert!(text.contains("busybox takes https://h.example/busybox-1.0.tar.bz2 (bbbb"), "{text}");
    assert!(text.contains("other takes https://mirror.example/busybox-1.0.tar.bz2 (cccc"), "{text}");

    let lock = first(|board, _| {
        let mut report = report(vec![]);
        let digit = if board == "one" { 'b' } else { 'c' };
        report.recipes[1].fetches = vec![file("https://h.example/busybox-1.0.tar.bz2", digit)];
        report
    })
    .unwrap();
    let keys: Vec<_> = lock.files.keys().map(String::as_str).collect();
    assert_eq!(keys, ["busybox-1.0.tar.bz2@bbbbbbbbbbbb", "busybox-1.0.tar.bz2@cccccccccccc"]);
    assert!(lock.files.values().all(|file| file.name.as_deref() == Some("busybox-1.0.tar.bz2")));
    assert!(lock.recipes.contains_key("busybox") && lock.recipes.contains_key("busybox@two"));
    let again = lock_with(MANIFEST, &lock, &folders(2), &UpdatePolicy::Nothing, |board, _| {
        let mut report = report(vec![]);
        let digit = if board == "one" { 'b' } else { 'c' };
        report.recipes[1].fetches = vec![file("https://h.example/busybox-1.0.tar.bz2", digit)];
        report
    });
    assert_eq!(again.unwrap().0.changes, []);
}

#[test]
fn what_boards_call_by_one_name_has_the_same_keys_in_whatever_order_it_was_locked() {
    // Board `two` wants other bytes once its machine is another.
    let other_machine = MANIFEST.replace("machine = \"two\"", "machine = \"three\"");
    let same = |_: &str, _: &Variant| report(vec![]);
    let differ = |board: &str, _: &Variant| {
        let mut report = report(vec![]);
        let digit = if board == "one" { 'b' } else { 'c' };
        report.recipes[1].fetches = vec![file("https://h.example/busybox-1.0.tar.bz2", digit)];
        report
    };
    let fresh = |text: &str, discover: &dyn Fn(&str, &Variant) -> DiscoveryReport| {
        lock_with(text, &Lock::default(), &folders(1), &UpdatePolicy::Nothing, discover).unwrap().0.lock
    };
    let (alike, apart) = (fresh(MANIFEST, &same), fresh(&other_machine, &differ));
    assert_eq!((alike.files.len(), apart.files.len()), (1, 2));

    let (moved, asked) = lock_with(&other_machine, &alike, &folders(1), &UpdatePolicy::Nothing, differ).unwrap();
    assert_eq!((asked, &moved.lock), (3, &apart), "what stands gets a key of its own, too");
    assert_eq!(stale(&manifest(&other_machine), &moved.lock), Vec::<String>::new());
    let (back, asked) = lock_with(MANIFEST, &apart, &folders(1), &UpdatePolicy::Nothing, same).unwrap();
    assert_eq!((asked, &back.lock), (3, &alike), "and the plain name again");
    assert_eq!(stale(&manifest(MANIFEST), &back.lock), Vec::<String>::new());
}

#[test]
fn what_nobody_can_lock_is_told_with_recipe_and_line() {
    let problem = Problem {
        written: "p4://depot/x".into(),
        file: "recipes/odd_1.0.bb".into(),
        line: Some(7),
        why: "kbuild cannot lock p4".into(),
    };
    let error = first(|_, _| {
        let mut odd = recipe("odd", Some("image"), vec![]);
        odd.problems = vec![problem.clone()];
        report(vec![odd])
    })
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("p4://depot/x of odd (recipes/odd_1.0.bb:7)"), "{error}");
    let nameless =
        Fetch { url: "https://h.example/a".into(), file: Some("..".into()), ..file("https://h.example/a", 'a') };
    let error = first(|_, _| report(vec![recipe("odd", None, vec![nameless.clone()])])).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}

#[test]
fn a_ref_that_floats_and_cannot_be_resolved_names_the_recipe_and_the_ways_out() {
    let floating = FloatingSrcrev {
        recipe: "linux-dev".into(),
        variable: "SRCREV_machine".into(),
        url: "https://git.example/linux".into(),
        branch: Some("main".into()),
        file: "recipes/linux-dev.bb".into(),
        layer: "own".into(),
        tag: None,
    };
    let discover = |_: &str, _: &Variant| {
        let mut fetch = git("https://git.example/linux", None);
        fetch.git.as_mut().unwrap().variable = "SRCREV_machine".into();
        let mut report = report(vec![recipe("linux-dev", Some("image"), vec![fetch])]);
        report.floating = vec![floating.clone()];
        report
    };
    let error = first(discover).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert!(
        error.to_string().contains("linux-dev (recipes/linux-dev.bb in layer own) names no commit in SRCREV_machine"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("[closure.mask]"));

    // With a pin of an earlier lock, nobody has to be asked.
    let url: crate::source::SourceUrl = "https://git.example/linux".parse().unwrap();
    let reference = "refs/heads/main".to_owned();
    let key = crate::lock::Floating::key(&url, &reference);
    let commit = "9".repeat(40).parse().unwrap();
    let mut old = Lock::default();
    old.floating.insert(key.clone(), crate::lock::Floating { url, reference, commit });
    let lock = lock_with(MANIFEST, &old, &folders(1), &UpdatePolicy::Nothing, discover).unwrap().0.lock;
    let closure = lock.boards["one"].closure.as_ref().unwrap();
    assert_eq!(closure.pins, BTreeMap::from([("SRCREV_machine:pn-linux-dev".to_owned(), key)]));
    assert_eq!(closure.recipes["linux-dev"], Need::By("image".into()));
    assert!(lock.boards["one"].with.values().all(|with| with.pins.is_empty()), "as by default");
    assert_eq!(lock.recipes["linux-dev"].sources, [SourceId::Git("git.example.linux@999999999999".into())].into());
    assert_eq!(stale(&manifest(MANIFEST), &lock), Vec::<String>::new());
    // Told to move, it is looked up; the engine is asked again only where a pin moves.
    let update = UpdatePolicy::Named(vec!["linux-dev".to_owned()]);
    assert_eq!(lock_with(MANIFEST, &lock, &folders(1), &update, discover).unwrap_err().kind(), Kind::Missing);
}

#[test]
fn a_recipe_with_another_checksum_algorithm_means_the_file_that_is_known() {
    let mut older = file("https://h.example/busybox-1.0.tar.bz2", 'b');
    older.sums = [("md5".to_owned(), "d41d8cd98f00b204e9800998ecf8427e".to_owned())].into();
    let lock = first(|_, _| report(vec![recipe("older", Some("image"), vec![older.clone()])])).unwrap();
    assert_eq!(lock.recipes["older"].sources, lock.recipes["busybox"].sources);
    assert_eq!(lock.files.len(), 1);
}
