//! Layers that have to be signed: by keys of ssh and of OpenPGP, commits and tags; checked when they are locked and when they are
//! laid out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kbuild_test::project::{TestProject, hermetic};

use super::truth::{Project, says};

/// A repository that is a layer, a home with keys, and a project whose only layer it is.
struct Signed {
    bench: TestProject,
    work: PathBuf,
}

impl Signed {
    fn new() -> Signed {
        let bench = TestProject::new();
        let work = bench.beside("meta-x");
        fs::create_dir_all(work.join("conf")).expect("directories");
        fs::write(work.join("conf/layer.conf"), "BBPATH .= \":${LAYERDIR}\"\n").expect("a file");
        let signed = Signed { bench, work };
        signed.git(&["init", "-q", "-b", "main"]);
        signed
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.work).env_clear();
        hermetic(&mut command, &self.bench.beside("home"));
        command.env("GNUPGHOME", self.bench.beside("gnupg"));
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "T").env(format!("GIT_{role}_EMAIL"), "t@example.invalid");
        }
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.run("git", arguments)
    }

    /// A new key of ssh: its private file, and its public line.
    fn ssh_key(&self, name: &str) -> (String, String) {
        let file = self.bench.beside(name).display().to_string();
        self.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "somebody@secret.example", "-f", &file]);
        let public = fs::read_to_string(format!("{file}.pub")).expect("a public key");
        (file, public.trim().to_owned())
    }

    /// A commit, signed with a key of ssh where there is one.
    fn commit(&self, text: &str, key: Option<&str>) -> String {
        fs::write(self.work.join("file"), text).expect("a file");
        self.git(&["add", "-A"]);
        match key {
            Some(key) => self.with_ssh(key, &["commit", "-q", "-S", "-m", text]),
            None => self.git(&["commit", "-q", "-m", text]),
        };
        self.git(&["rev-parse", "HEAD"])
    }

    fn with_ssh(&self, key: &str, arguments: &[&str]) -> String {
        let key = format!("user.signingkey={key}");
        self.git(&[&["-c", "gpg.format=ssh", "-c", &key], arguments].concat())
    }

    fn manifest(&self, reference: &str, signers: &str) {
        let signers = if signers.is_empty() { String::new() } else { format!("signers = [{signers}]\n") };
        let url = self.work.display();
        self.bench.write(
            "kata.toml",
            &format!(
                "[project]\nname = \"p\"\nengine = \"meta-x\"\n[layers.meta-x]\ngit = \"file://{url}\"\n{reference}\n{signers}\
                 [closure]\nlock = \"none\"\n[boards.b]\nmachine = \"m\"\nlayers = [\"meta-x\"]\ntargets = [\"t\"]\n"
            ),
        );
    }

    fn lock(&self, code: i32) -> kbuild_test::project::Run {
        let run = self.bench.kbuild(&["lock"]);
        assert_eq!(run.code, Some(code), "{run}");
        run
    }
}

fn installed(program: &str) -> bool {
    // Of ssh-keygen, which has no option for it, an error is an answer too.
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI must have {program}");
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

#[test]
fn a_commit_has_to_be_signed_by_a_key_that_the_layer_allows() {
    if !installed("ssh-keygen") {
        return;
    }
    let signed = Signed::new();
    let ((own, public), (stranger, of_stranger)) = (signed.ssh_key("own"), signed.ssh_key("stranger"));
    let quoted = |key: &str| format!("\"{key}\"");
    signed.manifest("branch = \"main\"", &quoted(&public));

    signed.commit("nobody", None);
    let run = signed.lock(5);
    says(&run, &["could not lock layer `meta-x`", "is not signed as it has to be", "it is not signed", "signers"]);
    assert!(!signed.bench.path("kata.lock").exists(), "nothing was locked before");

    signed.commit("stranger", Some(&stranger));
    let run = signed.lock(5);
    says(&run, &["is not one of the signers", "SHA256:"]);
    assert_eq!(signed.bench.kbuild(&["--format", "json", "lock"]).json()["error"]["kind"], "hash-mismatch");

    let good = signed.commit("own", Some(&own));
    signed.lock(0);
    let lock = signed.bench.read("kata.lock");
    assert!(lock.contains(&good) && lock.contains("signers = [\"ssh SHA256:"), "{lock}");
    assert!(!lock.contains("secret.example") && !lock.contains("AAAA"), "{lock}");
    signed.bench.kbuild_ok(&["lock", "--locked"]);

    // A pin that is refused does not take the place of one that is good.
    signed.commit("nobody again", None);
    let run = signed.bench.kbuild(&["update"]);
    assert_eq!(run.code, Some(5), "{run}");
    assert_eq!(signed.bench.read("kata.lock"), lock);

    // Other signers: it is checked again, without a look at the upstream.
    signed.manifest("branch = \"main\"", &quoted(&of_stranger));
    let run = signed.bench.kbuild(&["lock", "--locked"]);
    assert_eq!(run.code, Some(3), "{run}");
    says(&run, &["signed by ssh SHA256:"]);
    let run = signed.bench.kbuild(&["lock", "--offline"]);
    assert_eq!(run.code, Some(5), "{run}");
    signed.manifest("branch = \"main\"", &format!("{}, {}", quoted(&of_stranger), quoted(&public)));
    signed.bench.kbuild_ok(&["lock", "--offline"]);
    assert!(signed.bench.read("kata.lock").contains(&good));
    signed.manifest("branch = \"main\"", "");
    signed.lock(0);
    assert!(!signed.bench.read("kata.lock").contains("signers"));
}

#[test]
fn a_signed_tag_counts_for_a_commit_that_is_not_signed() {
    if !installed("ssh-keygen") {
        return;
    }
    let signed = Signed::new();
    let (own, public) = signed.ssh_key("own");
    let (stranger, _) = signed.ssh_key("stranger");
    signed.bench.write("keys/allowed", &format!("# who may\nt@example.invalid namespaces=\"git\" {public}\n"));
    signed.commit("one", None);
    signed.with_ssh(&own, &["tag", "-s", "v1", "-m", "The first \"one\"\n\nwith\ttwo lines"]);
    signed.git(&["tag", "plain"]);
    signed.git(&["tag", "-m", "annotated", "annotated"]);
    signed.with_ssh(&stranger, &["tag", "-s", "strange", "-m", "x"]);
    let file = "{ allowed-signers = \"keys/allowed\" }";

    signed.manifest("tag = \"v1\"", file);
    signed.lock(0);
    let lock = signed.bench.read("kata.lock");
    assert!(lock.contains("signed-tag = [") && lock.contains("\"tag v1\","), "{lock}");
    assert!(lock.contains("revision = 5"), "{lock}");
    signed.bench.kbuild_ok(&["lock", "--locked"]);
    // It is laid out with what the lock has: no network, no tag in the store.
    fs::rename(&signed.work, signed.bench.beside("away")).expect("a rename");
    signed.bench.kbuild_ok(&["--offline", "audit"]);
    fs::rename(signed.bench.beside("away"), &signed.work).expect("a rename");

    // A changed tag is no signature any more.
    fs::remove_dir_all(signed.bench.path("build")).expect("checkouts");
    signed.bench.write("kata.lock", &lock.replace("The first", "The second"));
    let run = signed.bench.kbuild(&["audit"]);
    assert_eq!(run.code, Some(5), "{run}");
    says(&run, &["is not signed as it has to be"]);
    signed.bench.write("kata.lock", &lock);

    for (tag, why) in [
        ("plain", "is a plain one"),
        ("annotated", "the tag `annotated`: it is not signed"),
        ("strange", "is not one of the signers"),
    ] {
        signed.manifest(&format!("tag = \"{tag}\""), file);
        says(&signed.lock(5), &[why]);
    }
    // Another file of signers is looked at again.
    signed.manifest("tag = \"v1\"", file);
    signed.lock(0);
    signed.bench.write(
        "keys/allowed",
        "t@example.invalid ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZi3zNYCpkWS4rHkMubF6QX/W7l5uOk8nSX2ajBbUAp\n",
    );
    assert_eq!(signed.bench.kbuild(&["lock", "--locked"]).code, Some(3));
    signed.lock(5);
}

#[test]
fn keys_of_openpgp_come_from_a_file_of_the_project() {
    if !installed("gpg") {
        return;
    }
    let signed = Signed::new();
    fs::create_dir(signed.bench.beside("gnupg")).expect("a directory");
    let only_own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(signed.bench.beside("gnupg"), only_own).expect("a mode");
    let key = |name: &str| {
        signed.run("gpg", &["--batch", "--quiet", "--passphrase", "", "--quick-gen-key", name, "ed25519", "sign"]);
        let listed = signed.run("gpg", &["--batch", "--with-colons", "--list-keys", name]);
        let line = listed.lines().find_map(|line| line.strip_prefix("fpr:")).expect("a fingerprint");
        line.trim_matches(':').to_owned()
    };
    let (own, other) = (key("own@example.invalid"), key("other@example.invalid"));
    fs::create_dir(signed.bench.path("keys")).expect("a directory");
    let file = signed.bench.path("keys/team.asc").display().to_string();
    signed.run("gpg", &["--batch", "--armor", "--output", &file, "--export"]);
    signed.commit("nobody", None);
    signed.git(&["-c", &format!("user.signingkey={own}"), "commit", "-q", "-S", "--allow-empty", "-m", "x"]);

    let signers = |fingerprint: &str| format!("{{ keyring = \"keys/team.asc\", fingerprints = [\"{fingerprint}\"] }}");
    signed.manifest("branch = \"main\"", &signers(&own));
    signed.lock(0);
    assert!(signed.bench.read("kata.lock").contains(&format!("openpgp {own}")));
    signed.bench.kbuild_ok(&["audit"]);
    signed.manifest("branch = \"main\"", &signers(&other));
    says(&signed.lock(5), &[&own, "which is not one of the signers"]);
    signed.run("gpg", &["--batch", "--yes", "--armor", "--output", &file, "--export", &other]);
    says(&signed.lock(5), &["which is not in the keyring"]);
    signed.run("gpgconf", &["--kill", "all"]);
}

#[test]
fn a_missing_program_is_named_and_wrong_signers_are_refused_with_their_line() {
    let signed = Signed::new();
    signed.commit("x", None);
    for (signers, why) in [
        ("", "kata.toml"),
        ("\"ssh-ed25519 nonsense\"", "is not a public key of ssh"),
        ("{ allowed-signers = \"../elsewhere\" }", "must be inside the project"),
        ("{ allowed-signers = \"nowhere\" }", "there is no file of allowed signers `nowhere`"),
        ("{ keyring = \"kata.toml\", fingerprints = [\"0123456789012345\"] }", "is not a fingerprint of OpenPGP"),
        ("{ allowed = \"x\" }", "allowed-signers"),
    ] {
        signed.manifest("branch = \"main\"", if signers.is_empty() { " " } else { signers });
        let run = signed.lock(1);
        says(&run, &[why, "kata.toml:"]);
    }
}

/// A directory of programs without some, for PATH.
fn path_without(bench: &TestProject, missing: &str) -> String {
    let directory = bench.beside("some-programs");
    fs::create_dir(&directory).expect("a directory");
    for name in ["git", "sh"] {
        let path = std::env::var_os("PATH").expect("PATH");
        let found = std::env::split_paths(&path).map(|path| path.join(name));
        let program = found.into_iter().find(|path| path.is_file()).expect("a program");
        assert_ne!(name, missing);
        std::os::unix::fs::symlink(program, directory.join(name)).expect("a link");
    }
    directory.display().to_string()
}

#[test]
fn without_ssh_keygen_the_error_says_what_to_install() {
    if !installed("ssh-keygen") {
        return;
    }
    let signed = Signed::new();
    let (own, public) = signed.ssh_key("own");
    signed.commit("own", Some(&own));
    signed.manifest("branch = \"main\"", &format!("\"{public}\""));
    let path = path_without(&signed.bench, "ssh-keygen");
    let output = signed.bench.command(&["lock"]).env("PATH", path).output().expect("kbuild starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`ssh-keygen` is not installed") && said.contains("openssh-client"), "{said}");
}

#[test]
fn a_build_checks_again_what_was_locked() {
    if !installed("ssh-keygen") {
        return;
    }
    let Some(project) = Project::new(&["tool"]) else { return };
    project.recipe("tool", "");
    let signed = Signed::new();
    let (own, public) = signed.ssh_key("own");
    signed.commit("own", Some(&own));
    publish(&project, &signed.work);
    let manifest = project.bench.read("kata.toml");
    let layer = "[layers.meta-x]\ngit = \"https://upstream.example/meta-x.git\"\nbranch = \"main\"\n";
    let with = |signers: &str| {
        let text = manifest.replace("[mirrors]", &format!("{layer}{signers}[mirrors]"));
        project.bench.write("kata.toml", &text.replace("\"meta-user\"]", "\"meta-user\", \"meta-x\"]"));
    };
    let signers = format!("signers = [\"{public}\"]\n");
    with(&signers);
    project.bench.kbuild_ok(&["lock"]);
    project.bench.kbuild_ok(&["build", "--board", "lantern"]);

    let lock = project.bench.read("kata.lock");
    let line = lock.lines().find(|line| line.starts_with("signers = ")).expect("the signers");
    with("");
    signed.commit("nobody", None);
    publish(&project, &signed.work);
    project.bench.kbuild_ok(&["update", "meta-x"]);
    // By hand: a lock that says that the unsigned commit was found signed.
    let unsigned =
        project.bench.read("kata.lock").replacen("branch = \"main\"\n", &format!("branch = \"main\"\n{line}\n"), 1);
    project.bench.write("kata.lock", &unsigned);
    with(&signers);
    let run = project.bench.kbuild(&["build", "--board", "lantern"]);
    assert_eq!(run.code, Some(5), "{run}");
    says(&run, &["is not signed as it has to be", "it is not signed"]);
}

fn publish(project: &Project, work: &Path) {
    project.publish("meta-x", work);
}
