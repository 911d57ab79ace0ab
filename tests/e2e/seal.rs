//! Every row of the table in `docs/reference/seal.md`, tried from parse-time Python and from a task of a real build: as root,
//! as an ordinary user, and where the kernel gives no namespaces.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::pipeline::{locked_and_fetched_in, wait_until};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Quickstart, copy, repository};

/// What each row gave: `reached`, or why not.
type Outcomes = BTreeMap<String, String>;

/// An ordinary user, for tests that run as root.
const NOBODY: u32 = 65534;

const RECIPE: &str = r#"SUMMARY = "Tries the walls"
LICENSE = "MIT"

def seal_rows(d, where):
    import json, os
    place, out = os.path.dirname(d.getVar("FILE")), os.path.join(d.getVar("TOPDIR"), "rows-%s.json" % where)
    if os.path.exists(out):
        return
    rows = {"__name__": "rows"}
    with open(os.path.join(place, "rows.py")) as file:
        exec(compile(file.read(), "rows.py", "exec"), rows)
    with open(os.path.join(place, "facts.json")) as file:
        outcomes = rows["try_all"](json.load(file))
    with open(out, "w") as file:
        json.dump(outcomes, file)

python () {
    seal_rows(d, "parse")
}
# Without this, BitBake itself takes the loopback device away.
do_compile[network] = "1"
python do_compile() {
    seal_rows(d, "task")
}
"#;

/// Things of the host that a build must not reach, alive while this is.
struct Outside {
    facts: Value,
    process: Child,
    _sockets: (UnixListener, UnixListener, TcpListener),
}

impl Outside {
    /// `runner` starts a program as the user who builds.
    fn new(bench: &TestProject, runner: &[&str]) -> Outside {
        let name = format!("kbuild-seal-{}-{}", std::process::id(), bench.beside("").display()).replace('/', "-");
        let unix_path = bench.beside("outside.sock");
        let by_path = UnixListener::bind(&unix_path).expect("a socket");
        let by_name =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a socket");
        for (file, text) in [("secret", "secret"), ("home/.netrc", "secret"), ("inherited", "")] {
            std::fs::write(bench.beside(file), text).expect("a file");
        }
        let temporary = format!("/tmp/{name}.txt");
        std::fs::write(&temporary, "of the host").expect("a file");
        std::fs::create_dir_all(bench.path("build/harbour")).expect("a directory");
        // The name stands in its arguments, by which a row knows it again.
        let mut arguments = runner.to_vec();
        arguments.extend(["python3", "-c", "import time; time.sleep(600)", name.as_str()]);
        let mut process = Command::new(arguments[0]);
        process.args(&arguments[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().expect("a process");
        let shm_key = i32::try_from(process.id()).expect("a pid") | 0x6b00_0000;
        shared_memory(runner, shm_key, "0o1600");
        let facts = json!({
            "board": bench.path("build/lantern"),
            "store": bench.path("mirrors/store"),
            "layer": bench.path("layers/meta-mini"),
            "lock": bench.path("kata.lock"),
            "other_board": bench.path("build/harbour"),
            "secret": bench.beside("secret"),
            "home": bench.beside("home"),
            "temporary": temporary,
            "unix_path": unix_path,
            "unix_abstract": name,
            "tcp": tcp.local_addr().expect("an address").port(),
            "shm_key": shm_key,
            "inherited": "inherited",
            "process": name,
            "pid": process.id(),
            "host_name": rustix::system::uname().nodename().to_string_lossy(),
        });
        Outside { facts, process, _sockets: (by_path, by_name, tcp) }
    }

    /// Tries rows without a seal: what is refused inside must be reached here, or the row proves nothing.
    fn without_seal(&self, bench: &TestProject, runner: &[&str], rows: &[&str]) -> Outcomes {
        let facts = bench.beside("facts.json");
        std::fs::write(&facts, self.facts.to_string()).expect("a file");
        let mut command = inheriting(bench, runner, &["python3"]);
        command.arg(repository().join("tests/support/seal/rows.py")).arg(facts).args(rows);
        let output = command.output().expect("python3 starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("outcomes")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.facts["temporary"].as_str().expect("a path"));
        let key = self.facts["shm_key"].as_i64().and_then(|key| i32::try_from(key).ok()).expect("a key");
        shared_memory(&[], key, "0");
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a segment of System V shared memory as the user who builds, or removes it: flags 0.
fn shared_memory(runner: &[&str], key: i32, flags: &str) {
    const SCRIPT: &str = "import ctypes, sys
libc = ctypes.CDLL(None)
found = libc.shmget(int(sys.argv[1]), 16, int(sys.argv[2], 0))
if int(sys.argv[2], 0) == 0:
    libc.shmctl(found, 0, None)
";
    let mut arguments = runner.to_vec();
    let key = key.to_string();
    arguments.extend(["python3", "-c", SCRIPT, &key, flags]);
    let status = Command::new(arguments[0]).args(&arguments[1..]).status().expect("python3 starts");
    assert!(status.success());
}

/// A command started by `runner`, with a file open that it did not ask for.
fn inheriting(bench: &TestProject, runner: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 9<\"$0\"; exec \"$@\""]).arg(bench.beside("inherited")).args(runner).args(program);
    command
}

/// The table of the reference: each row with whether it is reached behind the whole seal, and without namespaces.
fn table() -> BTreeMap<String, (bool, bool)> {
    let text = std::fs::read_to_string(repository().join("docs/reference/seal.md")).expect("the reference");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, sealed, by_rules, _] = cells.as_slice() else { return None };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let reached = |cell: &str| match cell {
            "yes" => true,
            "no" => false,
            other => panic!("`{name}` is reached `{other}`"),
        };
        Some((name.to_owned(), (reached(sealed), reached(by_rules))))
    });
    rows.collect()
}

/// A project whose recipe tries every row; everything in it belongs to the user who builds.
fn project(place: &str, runner: &[&str], owner: Option<u32>) -> Option<(Quickstart, Outside)> {
    let quickstart = locked_and_fetched_in(Path::new(place))?;
    let bench = &quickstart.bench;
    let outside = Outside::new(bench, runner);
    let recipe = "layers/meta-mini/recipes/seal-rows";
    bench.write(&format!("{recipe}/seal-rows_1.0.bb"), RECIPE);
    bench.write(&format!("{recipe}/facts.json"), &outside.facts.to_string());
    copy(&repository().join("tests/support/seal/rows.py"), &bench.path(recipe));
    if let Some(owner) = owner {
        let status = Command::new("chown").args(["-R", &format!("{owner}:{owner}")]).arg(bench.beside("")).status();
        assert!(status.expect("chown starts").success());
    }
    Some((quickstart, outside))
}

/// Builds the recipe, and compares what it reached with the table.
fn build_and_compare(bench: &TestProject, runner: &[&str], expected: impl Fn((bool, bool)) -> bool) -> Value {
    let mut command =
        inheriting(bench, runner, &[env!("CARGO_BIN_EXE_kbuild"), "build", "--board", "lantern", "seal-rows"]);
    command.current_dir(bench.path("")).env_clear().stdin(Stdio::null());
    kbuild_test::project::hermetic(&mut command, &bench.beside("home"));
    let run = Run::from(command.output().expect("kbuild starts"));
    assert_eq!(run.code, Some(0), "{run}");
    let table = table();
    for place in ["parse", "task"] {
        let outcomes: Outcomes =
            serde_json::from_str(&bench.read(&format!("build/lantern/rows-{place}.json"))).expect("outcomes");
        assert!(outcomes.keys().eq(table.keys()), "the table and the rows that are tried differ");
        let wrong: Vec<String> = outcomes
            .iter()
            .filter(|(name, outcome)| (*outcome == "reached") != expected(table[*name]))
            .map(|(name, outcome)| format!("{name}: {outcome}"))
            .collect();
        assert!(wrong.is_empty(), "from {place}: {wrong:#?}");
    }
    let leftovers = ["row", "row-device"].map(|name| bench.beside(name));
    assert!(leftovers.iter().all(|path| !path.exists()));
    bench.result("lantern")
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Says loudly that something was not tried.
fn not_tried(why: &str) {
    eprintln!("\n*** NOT TESTED: {why} ***\n");
}

/// Rows that say nothing unless they are reached without a seal, and that hurt nothing when they are.
const REACHED_OUTSIDE: [&str; 16] = [
    "lock-read",
    "lock-write",
    "beside-project-read",
    "beside-project-write",
    "home-read",
    "host-settings-read",
    "host-temporary-files",
    "host-unix-socket",
    "host-abstract-socket",
    "host-loopback",
    "inherited-descriptor",
    "host-shared-memory",
    "host-processes-seen",
    "host-processes-signalled",
    "host-processes-traced",
    "host-name",
];

fn assert_reached_outside(outside: &Outside, bench: &TestProject, runner: &[&str]) {
    let mut rows = REACHED_OUTSIDE.to_vec();
    if runner == NO_NAMESPACES {
        // The namespace that stands for such a host keeps this from the host's processes.
        rows.retain(|row| *row != "host-processes-traced");
    }
    let outcomes = outside.without_seal(bench, runner, &rows);
    assert!(outcomes.values().all(|outcome| outcome == "reached"), "{outcomes:#?}");
}

fn can_be_sealed(bench: &TestProject) -> bool {
    let doctor = bench.kbuild(&["doctor", "--format", "json"]).json();
    let checks = doctor["checks"].as_array().cloned().unwrap_or_default();
    checks.iter().any(|check| check["name"] == "seal" && check["verdict"] == "ok")
}

#[test]
fn nothing_gets_through_the_seal() {
    let Some((quickstart, outside)) = project("/tmp", &["env"], None) else { return };
    let bench = &quickstart.bench;
    if !can_be_sealed(bench) {
        return not_tried("this host cannot make the whole seal: see `kbuild doctor`");
    }
    assert_reached_outside(&outside, bench, &["env"]);
    let result = build_and_compare(bench, &["env"], |(sealed, _)| sealed);
    assert_eq!(result["sealed"], true, "{result}");
    assert_eq!(result["walls"]["files"], json!(["namespace", "landlock"]));
}

#[test]
fn an_ordinary_user_has_the_same_seal_as_root() {
    if !is_root() {
        return not_tried("the tests do not run as root, so the other tests are of an ordinary user already");
    }
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    // Programs in root's home are nobody's.
    let path = "PATH=/usr/local/bin:/usr/bin:/bin";
    let runner = ["setpriv", &user, &group, "--clear-groups", "--inh-caps=-all", "env", path];
    let Some((quickstart, outside)) = project("/tmp", &runner, Some(NOBODY)) else { return };
    let bench = &quickstart.bench;
    if !can_be_sealed(bench) {
        return not_tried("this host cannot make the whole seal: see `kbuild doctor`");
    }
    assert_reached_outside(&outside, bench, &runner);
    let result = build_and_compare(bench, &runner, |(sealed, _)| sealed);
    assert_eq!(result["sealed"], true, "{result}");
}

/// A user namespace in which no further one may be made stands for a host that forbids them.
const NO_NAMESPACES: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"",
];

#[test]
fn where_namespaces_are_forbidden_landlock_and_seccomp_hold_what_they_can_and_the_result_says_so() {
    if Command::new("unshare").args(["--user", "true"]).status().map_or(true, |status| !status.success()) {
        return not_tried("this kernel gives no user namespaces to forbid namespaces in");
    }
    // Not below /tmp, which is shared with the host then.
    let place = env!("CARGO_TARGET_TMPDIR");
    let Some((quickstart, outside)) = project(place, &["env"], None) else { return };
    let bench = &quickstart.bench;
    assert_reached_outside(&outside, bench, &NO_NAMESPACES);
    let result = build_and_compare(bench, &NO_NAMESPACES, |(_, by_rules)| by_rules);
    assert_eq!(result["sealed"], false, "{result}");
    let walls = &result["walls"];
    if walls["files"] != json!(["landlock"]) {
        return not_tried("this kernel has no Landlock");
    }
    assert_eq!((&walls["network"], &walls["ipc"]), (&json!(["seccomp"]), &json!(["seccomp"])), "{result}");
    assert!(result["not_sealed_because"].as_str().expect("a reason").contains("unix-sockets"), "{result}");

    let mut command = inheriting(bench, &NO_NAMESPACES, &[env!("CARGO_BIN_EXE_kbuild")]);
    command.args(["build", "--board", "lantern", "--require-seal"]).current_dir(bench.path("")).env_clear();
    kbuild_test::project::hermetic(&mut command, &bench.beside("home"));
    let run = Run::from(command.output().expect("kbuild starts"));
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("the build cannot be sealed"), "{run}");
}

#[test]
fn mounts_of_a_board_are_seen_and_named() {
    let Some(quickstart) = locked_and_fetched_in(Path::new("/tmp")) else { return };
    let bench = &quickstart.bench;
    std::fs::create_dir(bench.beside("tree")).expect("a directory");
    for file in ["licence", "tree/file"] {
        std::fs::write(bench.beside(file), file).expect("a file");
    }
    let mounts = "mounts = [{ path = \"../licence\" }, { path = \"../tree\", write = true }]\n";
    let manifest =
        bench.read("kata.toml").replace("machine = \"lantern\"\n", &format!("machine = \"lantern\"\n{mounts}"));
    bench.write("kata.toml", &manifest);
    let script = "cat ../../../licence; echo changed > ../../../tree/file; echo x > ../../../licence || echo refused";
    let run = bench.kbuild_ok(&["shell", "--board", "lantern", "--", "sh", "-c", script]);
    assert_eq!(run.stdout, "licencerefused\n", "{run}");
    assert_eq!(std::fs::read_to_string(bench.beside("tree/file")).expect("a file"), "changed\n");
    bench.kbuild_ok(&["build", "--board", "lantern", "hello"]);
    let result = bench.result("lantern");
    let named = json!([{ "path": "../licence", "write": false }, { "path": "../tree", "write": true }]);
    assert_eq!(result["mounts"], named);

    std::fs::remove_file(bench.beside("licence")).expect("it was there");
    let run = bench.kbuild(&["build", "--board", "lantern", "hello"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("a mount of the board is not to be had: ../licence"), "{run}");
}

/// A build can write in its own directory, also where kbuild writes before the next one.
#[test]
fn links_that_a_build_leaves_lead_kbuild_nowhere() {
    let Some(quickstart) = locked_and_fetched_in(Path::new("/tmp")) else { return };
    let bench = &quickstart.bench;
    bench.kbuild_ok(&["build", "--board", "lantern", "hello"]);
    let (others, board) = (bench.beside("others"), bench.path("build/lantern"));
    std::fs::create_dir_all(others.join("hello")).expect("a directory");
    std::fs::write(others.join("hello/letter"), "dear").expect("a file");
    for name in [
        "conf/values/sources/HELLO",
        "conf/values/pins",
        "conf/options",
        "kbuild",
        "classes",
        "home",
        "scratch",
        "conf",
    ] {
        let place = board.join(name);
        let _ = std::fs::remove_dir_all(&place);
        std::os::unix::fs::symlink(&others, &place).expect("a link");
        bench.kbuild_ok(&["build", "--board", "lantern", "hello"]);
        let found: Vec<_> = walkdir::WalkDir::new(&others).into_iter().map(|entry| entry.expect("an entry")).collect();
        assert_eq!(found.len(), 3, "{name}: {found:?}");
        assert_eq!(std::fs::read_to_string(others.join("hello/letter")).expect("a file"), "dear", "{name}");
    }
    // A pipe is not read.
    std::fs::remove_file(board.join("conf/local.conf")).expect("it is there");
    let made = std::process::Command::new("mkfifo").arg(board.join("conf/local.conf")).status();
    assert!(made.expect("mkfifo starts").success());
    bench.kbuild_ok(&["build", "--board", "lantern", "hello"]);
    // Nor are others' files taken for artifacts.
    std::fs::remove_dir_all(board.join("tmp/deploy")).expect("it is there");
    std::os::unix::fs::symlink(&others, board.join("tmp/deploy")).expect("a link");
    std::fs::create_dir_all(others.join("images/lantern")).expect("a directory");
    let run = bench.kbuild(&["build", "--board", "lantern", "hello"]);
    assert_ne!(run.code, Some(0), "{run}");
    assert_eq!(std::fs::read_dir(others.join("images/lantern")).expect("a directory").count(), 0);
}

#[test]
fn nothing_survives_a_killed_kbuild() {
    let Some(quickstart) = locked_and_fetched_in(Path::new("/tmp")) else { return };
    let bench = &quickstart.bench;
    // The length of the sleep tells it from others.
    let sleep = format!("sleep 61.{}", std::process::id());
    let mut command = bench.command(&["shell", "--board", "lantern", "--", "sh", "-c"]);
    let command = command.arg(format!("setsid {sleep} & {sleep}")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut kbuild = command.spawn().expect("kbuild starts");
    let running = || processes().into_iter().filter(|arguments| *arguments == sleep).count();
    wait_until("both run", || running() == 2);
    kbuild.kill().expect("kbuild is there");
    kbuild.wait().expect("it ends");
    wait_until("nothing runs", || running() == 0);
}

/// The arguments of every process.
pub(crate) fn processes() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let arguments = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    arguments.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")).collect()
}
