//! Bundles over an air gap, signed and damaged ones; and what `kbuild gc` keeps in a store.

use std::path::Path;
use std::process::{Command, Stdio};

use kbuild_test::assert_run;
use kbuild_test::http::{Reply, Server};
use kbuild_test::project::{Run, TestProject};
use kbuild_test::quickstart::{Quickstart, clone_project};

const HEAD: &str = "[project]\nname = \"test\"\n[layers.bitbake]\npath = \"bitbake\"\n";

/// Writes a manifest with these sources, `name` to `name.bin`, and an engine that is only a name.
fn write_manifest(bench: &TestProject, server: &Server, names: &[&str]) {
    let sources: String = names
        .iter()
        .map(|name| {
            server.on(&format!("/{name}.bin"), [Reply::file(format!("the bytes of {name}"))]);
            format!("[sources.{name}]\nurl = \"{}\"\n", server.url(&format!("/{name}.bin")))
        })
        .collect();
    bench.write("kata.toml", &format!("{HEAD}{sources}\n[mirrors]\nbuiltin = false\n"));
    bench.write("bitbake/bin/bitbake", "");
}

/// A project whose sources are locked and fetched.
fn fetched(names: &[&str]) -> (TestProject, Server) {
    let (bench, server) = (TestProject::new(), Server::start());
    write_manifest(&bench, &server, names);
    bench.kbuild_ok(&["lock"]);
    (bench, server)
}

/// The same project on another machine, with nothing in its store.
fn cloned(from: &TestProject) -> TestProject {
    let bench = TestProject::new();
    for file in ["kata.toml", "kata.lock", "bitbake/bin/bitbake"] {
        bench.write(file, &from.read(file));
    }
    bench
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `kbuild` without any network, not even loopback.
fn isolated(bench: &TestProject, args: &[&str]) -> Run {
    let plain = bench.command(args);
    let can = Command::new("unshare").args(["-r", "-n", "true"]).stderr(Stdio::null()).status();
    let mut command = if can.is_ok_and(|status| status.success()) {
        let mut command = Command::new("unshare");
        command.args(["-r", "-n"]).arg(plain.get_program());
        command
    } else {
        eprintln!("NOTE: no network namespaces here; the upstreams are gone all the same");
        Command::new(plain.get_program())
    };
    command.args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    command.current_dir(plain.get_current_dir().expect("a directory"));
    let run = Run::from(command.output().expect("starts"));
    assert_eq!(run.code, Some(0), "kbuild {args:?}\n{run}");
    run
}

#[test]
fn a_clone_and_a_bundle_are_all_that_a_build_needs() {
    let Some(mut quickstart) = Quickstart::start(0.0) else { return };
    quickstart.bench.kbuild_ok(&["lock"]);
    let here = &quickstart.bench;
    here.kbuild_ok(&["build", "--board", "lantern"]);
    let disk = here.beside("disk");
    here.kbuild_ok(&["export", text(&disk)]);

    let there = clone_project(here);
    assert_eq!(there.kbuild(&["fetch", "--offline"]).code, Some(6));
    isolated(&there, &["import", text(&disk)]);
    isolated(&there, &["fetch", "--offline"]);
    isolated(&there, &["build", "--board", "lantern"]);
    let artifacts = |bench: &TestProject| {
        let result = bench.result("lantern");
        result["artifacts"].clone()
    };
    assert_eq!(artifacts(&there), artifacts(here));

    // A new version of one source: only that is exported.
    let server = Server::start();
    let new = repacked(here, "hello-1.0", "hello-1.1");
    server.on("/hello-1.1.tar.gz", [Reply::file(std::fs::read(new).expect("a tarball"))]);
    let manifest = here.read("kata.toml").replace(
        "url = \"https://upstream.example/hello-{version}.tar.gz\"\nversion = \"1.0\"",
        &format!("url = \"{}\"\nversion = \"1.1\"", server.url("/hello-{version}.tar.gz")),
    );
    here.write("kata.toml", &manifest);
    here.kbuild_ok(&["lock"]);
    quickstart.stop_upstreams();
    drop(server);
    let here = &quickstart.bench;
    let second = here.beside("second.tar");
    let run = here.kbuild_ok(&["export", "--format", "json", "--since", text(&disk), text(&second)]);
    assert_eq!((&run.json()["blobs"], &run.json()["commits"]), (&1.into(), &0.into()), "{run}");
    for file in ["kata.toml", "kata.lock"] {
        there.write(file, &here.read(file));
    }
    isolated(&there, &["import", text(&second)]);
    isolated(&there, &["fetch", "--offline"]);
    isolated(&there, &["build", "--board", "lantern"]);
    here.kbuild_ok(&["build", "--board", "lantern"]);
    assert_eq!(artifacts(&there), artifacts(here));
    isolated(&there, &["verify"]);
}

/// A tarball of the store, unpacked and packed again under another name.
fn repacked(bench: &TestProject, from: &str, to: &str) -> std::path::PathBuf {
    let lock = kbuild::lock::Lock::read(&bench.path("kata.lock")).expect("a lock").expect("a lock");
    let content = lock.files[&format!("{from}.tar.gz")].content.expect("seen");
    let blob = kbuild::store::Store::open(&bench.path("mirrors/store")).expect("a store").blob_path(&content.blake3);
    let work = bench.beside("repacked");
    std::fs::create_dir(&work).expect("a directory");
    let tar = |args: &[&str]| {
        let status = Command::new("tar").args(args).current_dir(&work).status().expect("tar starts");
        assert!(status.success(), "tar {args:?}");
    };
    tar(&["-xzf", text(&blob)]);
    std::fs::rename(work.join(from), work.join(to)).expect("renamed");
    let name = format!("{to}.tar.gz");
    tar(&["-czf", &name, to]);
    work.join(name)
}

#[test]
fn what_export_and_import_say() {
    let (here, server) = fetched(&["one", "two"]);
    assert_run!(here, here.kbuild(&["export", "../bundle"]), "export");
    assert_run!(here, here.kbuild(&["export", "../bundle"]), "export_again");
    assert_run!(here, here.kbuild(&["export", "--format", "json", "../bundle.tar"]), "export_json");
    let there = cloned(&here);
    let carry = |name: &str| {
        let copied = Command::new("cp").arg("-r").arg(here.beside(name)).arg(there.beside(name)).status();
        assert!(copied.expect("cp starts").success(), "{name}");
    };
    carry("bundle");
    carry("bundle.tar");
    assert_run!(there, there.kbuild(&["import", "../bundle"]), "import");
    assert_run!(there, there.kbuild(&["import", "--format", "json", "../bundle.tar"]), "import_again");

    // A third source, and a bundle of that alone: it is useful only together with the first bundle.
    write_manifest(&here, &server, &["one", "two", "three"]);
    here.kbuild_ok(&["lock"]);
    there.write("ledger", &there.kbuild_ok(&["store", "ledger"]).stdout);
    let ledger = there.path("ledger");
    assert_run!(here, here.kbuild(&["export", "--since", text(&ledger), "../third.tar"]), "export_since");
    carry("third.tar");
    let elsewhere = there.beside("elsewhere");
    assert_run!(
        there,
        there.kbuild(&["import", "--store", text(&elsewhere), "../third.tar"]),
        "import_without_the_first"
    );
    assert_run!(there, there.kbuild(&["import", "../third.tar"]), "import_of_another_lock");

    // A byte that was lost in transport, and half a bundle.
    let bundle = there.beside("bundle");
    let blob = walk(&bundle.join("blobs")).into_iter().next().expect("a blob");
    std::fs::remove_file(&blob).expect("removed");
    std::fs::write(&blob, "the bytes of on!").expect("written");
    let store = ["--store", "../fresh"];
    assert_run!(there, there.kbuild(&[&["import", "../bundle"], &store[..]].concat()), "import_of_wrong_bytes");
    std::fs::remove_file(bundle.join("index.jsonl")).expect("removed");
    assert_run!(there, there.kbuild(&["import", "../bundle"]), "import_without_index");
    let whole = std::fs::read(there.beside("bundle.tar")).expect("a bundle");
    std::fs::write(there.beside("bundle.tar"), &whole[..whole.len() - 2000]).expect("cut");
    assert_run!(there, there.kbuild(&[&["import", "../bundle.tar"], &store[..]].concat()), "import_of_half");
    assert_run!(there, there.kbuild(&["import", "kata.toml"]), "import_of_something_else");
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        if entry.path().is_dir() { files.extend(walk(&entry.path())) } else { files.push(entry.path()) }
    }
    files.sort();
    files
}

#[test]
fn a_signed_bundle_and_the_keys_it_is_taken_with() {
    let (here, _server) = fetched(&["one"]);
    let key = |name: &str| {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a pair");
        here.write(name, &pair.sk.to_box(None).expect("a key").to_string());
        here.write(&format!("{name}.pub"), &pair.pk.to_box().expect("a key").to_string());
    };
    key("ours");
    key("theirs");
    here.kbuild_ok(&["export", "--sign", "ours", "signed"]);
    here.kbuild_ok(&["export", "unsigned.tar"]);
    let store = |name: &str| here.beside(name).display().to_string();
    let import = |args: &[&str], name: &str| here.kbuild(&[&["import", "--store", &store(name)], args].concat());
    assert_run!(here, import(&["--trust", "ours.pub", "signed"], "a"), "import_signed");
    assert_run!(here, import(&["signed"], "b"), "import_unchecked");
    assert_run!(here, import(&["--trust", "theirs.pub", "signed"], "c"), "import_signed_by_another");
    assert_run!(here, import(&["--trust", "ours.pub", "unsigned.tar"], "c"), "import_unsigned_refused");
    assert_run!(here, import(&["--trust", "no-such-key", "signed"], "c"), "import_no_such_key");
    assert_eq!(std::fs::read_dir(here.beside("c/blobs")).map_or(0, Iterator::count), 0, "nothing was taken in");
    // What minisign itself says about it, if it is installed.
    let minisign = Command::new("minisign")
        .args(["-V", "-p", "ours.pub", "-m", "signed/index.jsonl"])
        .current_dir(here.path(""))
        .output();
    match minisign {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => eprintln!("SKIPPED: no minisign here to look at the signature"),
    }
}

#[test]
fn a_bundle_goes_through_a_pipe_and_contains_kbuild() {
    let (here, _server) = fetched(&["one"]);
    let there = cloned(&here);
    let mut export = here.command(&["export", "--self", "-"]).stdout(Stdio::piped()).spawn().expect("starts");
    let bundle = export.stdout.take().expect("a pipe");
    let run = Run::from(there.command(&["import", "-"]).stdin(bundle).output().expect("starts"));
    assert_eq!(run.code, Some(0), "{run}");
    assert!(export.wait().expect("ends").success());
    there.kbuild_ok(&["fetch", "--offline"]);
    assert_eq!(here.kbuild(&["export", "--format", "json", "-"]).code, Some(2));

    here.kbuild_ok(&["export", "--self", "bundle"]);
    let version = Command::new(here.path("bundle/kbuild")).arg("--version").output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("kbuild {}\n", env!("CARGO_PKG_VERSION")));

    // On a machine without kbuild, the one in the bundle imports it: from the directory, or from one file.
    here.kbuild_ok(&["export", "--self", "bundle.tar"]);
    let unpacked = Command::new("tar").args(["-xf", "bundle.tar", "kbuild"]).current_dir(here.path("")).status();
    assert!(unpacked.expect("tar starts").success());
    for (kbuild, bundle) in [("bundle/kbuild", "bundle"), ("kbuild", "bundle.tar")] {
        let there = cloned(&here);
        let plain = there.command(&["import"]);
        let mut command = Command::new(here.path(kbuild));
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = command.arg("import").arg(here.path(bundle)).current_dir(there.path("")).output();
        let run = Run::from(run.expect("it runs"));
        assert_eq!(run.code, Some(0), "{run}");
        there.kbuild_ok(&["fetch", "--offline"]);
    }
}

#[test]
fn what_no_lock_names_is_removed() {
    let (bench, server) = fetched(&["one", "two"]);
    let old = bench.read("kata.lock");
    write_manifest(&bench, &server, &["two", "three"]);
    bench.kbuild_ok(&["lock"]);
    bench.write("mirrors/store/incoming/partial", "half of something");
    assert_run!(bench, bench.kbuild(&["store", "info"]), "store_info");
    assert_run!(bench, bench.kbuild(&["gc", "--dry-run"]), "gc_dry_run");
    bench.write("old.lock", &old);
    let kept = bench.kbuild_ok(&["gc", "--dry-run", "--keep", "old.lock", "--format", "json"]).json();
    assert_eq!((&kept["blobs"], &kept["leftovers"]), (&0.into(), &1.into()), "{kept}");

    // A second project with the same store, whose lock needs what this project does not need.
    let (other, _server) = (TestProject::new(), ());
    write_manifest(&other, &server, &["one"]);
    other.write("kata.lock", &old);
    let store = bench.path("mirrors/store");
    other.kbuild_ok(&["lock", "--store", text(&store)]);
    assert_eq!(bench.kbuild_ok(&["gc", "--format", "json"]).json()["blobs"], 0);
    other.kbuild_ok(&["fetch", "--offline", "--store", text(&store)]);

    // A lock that cannot be read keeps everything; a lock that does not exist keeps nothing.
    other.write("kata.lock", "<<<<<<< ours\n=======\n>>>>>>> theirs\n");
    let run = bench.kbuild(&["gc"]);
    assert_eq!(run.code, Some(3), "{run}");
    assert!(run.stderr.contains("could not tell what "), "{run}");
    std::fs::remove_file(other.path("kata.lock")).expect("removed");
    let run = bench.kbuild_ok(&["gc", "--format", "json"]);
    assert_eq!((&run.json()["blobs"], &run.json()["leftovers"]), (&1.into(), &0.into()), "{run}");
    assert!(run.stderr.contains("kata.lock is gone"), "{run}");
    assert_run!(bench, bench.kbuild(&["gc"]), "gc_nothing");
    bench.kbuild_ok(&["verify"]);

    std::fs::remove_file(bench.path("kata.lock")).expect("removed");
    assert_run!(bench, bench.kbuild(&["gc"]), "gc_without_a_lock");
    let nowhere = bench.beside("nowhere");
    assert_run!(bench, bench.kbuild(&["gc", "--store", text(&nowhere)]), "gc_of_no_store");
    let outside = bench.command(&["store", "info"]).current_dir(bench.beside("")).output().expect("starts");
    assert_run!(bench, Run::from(outside), "store_info_outside");
}

#[test]
fn of_several_exports_to_one_name_one_wins_and_the_others_say_so() {
    let (bench, _server) = fetched(&["one", "two"]);
    // Held by another export: a file by its part, a directory itself.
    let part = bench.path("bundle.tar.part");
    std::fs::write(&part, "what a killed export left").expect("a file");
    std::fs::create_dir(bench.path("bundle")).expect("a directory");
    for (held, target) in [(part.as_path(), "bundle.tar"), (&bench.path("bundle"), "bundle")] {
        let other = std::fs::File::open(held).expect("a file");
        other.lock().expect("a lock");
        let run = bench.kbuild(&["export", target, "--format", "json"]);
        assert_eq!(run.code, Some(1), "{run}");
        assert_eq!(run.json()["error"]["message"], format!("another `kbuild export` writes {target}"), "{run}");
        drop(other);
        bench.kbuild_ok(&["export", target]);
        assert!(!part.exists());
    }

    // All at once: whoever is late says so, and what has the name is whole.
    for target in ["four.tar", "four"] {
        let start = |_| {
            let mut command = bench.command(&["export", target]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kbuild starts")
        };
        let running: Vec<_> = (0..4).map(start).collect();
        let runs: Vec<Run> =
            running.into_iter().map(|child| Run::from(child.wait_with_output().expect("it ends"))).collect();
        assert!(runs.iter().any(|run| run.code == Some(0)));
        for run in runs.iter().filter(|run| run.code != Some(0)) {
            assert_eq!(run.code, Some(1), "{run}");
            assert!(run.stderr.contains("another `kbuild export`"), "{run}");
        }
        let there = cloned(&bench);
        there.kbuild_ok(&["import", text(&bench.path(target))]);
        there.kbuild_ok(&["fetch", "--offline"]);
    }
}

#[test]
fn a_store_that_others_may_write_to_is_named_and_refused_unless_it_is_a_lower_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let (bench, server) = fetched(&["one"]);
    drop(server);
    let store = bench.path("mirrors/store");
    let mode = |mode| std::fs::set_permissions(&store, std::fs::Permissions::from_mode(mode)).expect("a mode");
    mode(0o777);
    for args in [&["fetch"][..], &["verify"], &["store", "info"], &["gc"]] {
        let run = bench.kbuild(&[args, &["--format", "json"]].concat());
        assert_eq!(run.code, Some(1), "{run}");
        let error = &run.json()["error"];
        assert!(error["message"].as_str().expect("a message").contains("others than its owner may write to"), "{run}");
        assert!(error["help"].as_str().expect("help").contains("chmod -R go-w"), "{run}");
    }
    let own = bench.beside("own");
    bench.kbuild_ok(&["fetch", "--offline", "--store", text(&own), "--lower-store", text(&store)]);
    mode(0o755);
    bench.kbuild_ok(&["fetch", "--offline"]);

    // Nobody is waited for who would have to write into it.
    std::fs::remove_file(store.join("format")).expect("removed");
    rustix::fs::mkfifoat(rustix::fs::CWD, store.join("format"), rustix::fs::Mode::from_raw_mode(0o666))
        .expect("a FIFO");
    for args in [&["fetch"][..], &["fetch", "--store", text(&own), "--lower-store", text(&store)]] {
        let run = bench.kbuild(&[args, &["--format", "json"]].concat());
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stdout.contains("it is not a regular file"), "{run}");
    }
}
