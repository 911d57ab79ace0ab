//! Runs the system's git over the store ([`local_git`]) and over a network ([`network_git`]), with the one list of
//! settings for each.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::source::url::redact;

/// Settings for every run. They win over the configuration of the user and the repository.
///
/// Packs instead of loose objects, so that a fetched commit can be stored without repacking; no automatic clean-up,
/// no hooks, no helpers. Files of more than [`bounds::BLOB_IN_MEMORY`] are streamed and never become deltas.
const SETTINGS: [&str; 8] = [
    "gc.auto=0",
    "maintenance.auto=false",
    "transfer.unpackLimit=1",
    "fetch.unpackLimit=1",
    "pack.writeReverseIndex=false",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.bigFileThreshold=16m",
];

/// Settings of runs over the store, which may belong to another user.
const LOCAL_SETTINGS: [&str; 2] = ["safe.directory=*", "core.attributesFile=/dev/null"];

/// Settings of runs over the network. `fetch.fsckObjects` is left as the user has it and not turned on: honest old
/// histories fail its checks, and a commit is checked by its tree hash.
const NETWORK_SETTINGS: [&str; 4] = [
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "credential.interactive=false",
    "protocol.ext.allow=never",
];

/// Variables that tie git to one repository (`git rev-parse --local-env-vars`): a hook or an alias that runs kbuild sets
/// them; and those that would decide in kbuild's place which transports git may use. Configuration in other variables is kept:
/// the user has set it.
const OF_A_REPOSITORY: [&str; 15] = [
    "GIT_ALLOW_PROTOCOL",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_PROTOCOL_FROM_USER",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// git for the network: with the user's configuration, credentials and proxies, without prompts, messages in English.
pub fn network_git() -> Command {
    let mut command = Command::new("git");
    for name in OF_A_REPOSITORY {
        command.env_remove(name);
    }
    command.envs([("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C"), ("GIT_NO_LAZY_FETCH", "1")]);
    command.stdin(Stdio::null());
    set(&mut command, SETTINGS.iter().chain(&NETWORK_SETTINGS));
    command
}

fn set<'s>(command: &mut Command, settings: impl Iterator<Item = &'s &'s str>) {
    for setting in settings {
        command.args(["-c", setting]);
    }
}

/// git on the bare repository `directory`: a clean environment (only PATH is kept), no system or user configuration, no
/// prompts, messages in English.
pub fn local_git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs([
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ]);
    // git needs a HOME for some paths; a bare repository has nothing of a user.
    command.env("HOME", directory);
    command.stdin(Stdio::null());
    set(&mut command, SETTINGS.iter().chain(&LOCAL_SETTINGS));
    command.arg("--git-dir").arg(directory);
    ends_with_kbuild(&mut command);
    bound_memory(&mut command);
    command
}

/// Gives a git process a limit on its heap, see [`bounds::GIT_MEMORY`]. Its children have it too.
pub fn bound_memory(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let given = getrlimit(Resource::Data);
    let lower = |limit: Option<u64>| Some(limit.map_or(bounds::GIT_MEMORY, |limit| limit.min(bounds::GIT_MEMORY)));
    let limit = Rlimit { current: lower(given.current), maximum: lower(given.maximum) };
    // SAFETY: setrlimit(2) is a plain system call here, and the closure does nothing else: no allocation, no lock.
    unsafe {
        command.pre_exec(move || setrlimit(Resource::Data, limit).map_err(Into::into));
    }
}

/// Has the kernel end a child when kbuild ends, however that ends (`PR_SET_PDEATHSIG` of prctl(2)). The signal comes when the
/// thread ends that started the child, so that thread has to wait for it, or to be one of a runtime's workers. Every child of
/// kbuild is started with it, but for the seal's, which ask for it themselves (`builder::seal`).
pub fn ends_with_kbuild(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    let kbuild = Some(getpid());
    // SAFETY: prctl(2) and getppid(2) are async-signal-safe, and the closure does nothing else: no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // It may have ended before it could be asked for the signal.
            if getppid() == kbuild { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
        });
    }
}

/// The objects of a bare repository.
pub struct Objects {
    repository: git2::Repository,
    directory: PathBuf,
}

impl Objects {
    /// The repository's directory, for [`local_git`].
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Deref for Objects {
    type Target = git2::Repository;

    fn deref(&self) -> &git2::Repository {
        &self.repository
    }
}

/// The objects of a bare repository, for reading with libgit2. Only `objects/` is looked at: no configuration (the user's
/// may be broken), no owner (a store may be another user's), no `shallow` file.
///
/// # Errors
/// The path is not UTF-8, which libgit2 needs here (kind `Input`), or the objects cannot be opened (kind `Mismatch`).
pub fn open_objects(directory: &Path) -> Result<Objects> {
    let objects = directory.join("objects");
    let path = objects.to_str().ok_or_else(|| Error::input(format!("{} is not UTF-8", objects.display())))?;
    let opened = git2::Odb::new().and_then(|odb| {
        odb.add_disk_alternate(path)?;
        git2::Repository::from_odb(odb)
    });
    Ok(Objects { repository: opened.map_err(broken_object)?, directory: directory.to_owned() })
}

/// The error for an object that libgit2 could not read: kind `Mismatch`.
pub fn broken_object(error: git2::Error) -> Error {
    Error::new(Kind::Mismatch, "a git object is missing or broken").because(error.message().to_owned())
}

/// Runs git to its end and returns its standard output.
///
/// # Errors
/// git is not installed (kind `Input`), or it failed (kind `failure`, with its message).
pub fn run(command: &mut Command, failure: Kind) -> Result<Vec<u8>> {
    let output = command.output().map_err(could_not_start)?;
    if output.status.success() { Ok(output.stdout) } else { Err(failed(&output, failure)) }
}

/// The error for a git that could not be started.
pub fn could_not_start(error: std::io::Error) -> Error {
    let failure = Error::input("could not run git").because(error);
    failure.help("install git (2.32 or newer, which knows GIT_CONFIG_GLOBAL) and make sure that it is on the PATH")
}

/// The error for a git that failed; credentials in its message are hidden. A full disk is kind `Io`, whatever git was doing.
pub fn failed(output: &Output, kind: Kind) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = redact(said.trim());
    let kind = if is_full_disk(&said) { Kind::Io } else { kind };
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Error::new(kind, "git failed").because(said)
}

/// Whether git says that a disk of this machine is full. What the server says begins with `remote:`, and is of its own disk.
pub fn is_full_disk(said: &str) -> bool {
    let own = said.lines().filter(|line| !line.starts_with("remote:"));
    own.map(str::to_lowercase)
        .any(|line| line.contains("no space left on device") || line.contains("disk quota exceeded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_user_reaches_git() {
        let directory = tempfile::tempdir().unwrap();
        run(local_git(directory.path()).args(["init", "--bare", "-q"]).arg(directory.path()), Kind::Bug).unwrap();
        let listed = run(local_git(directory.path()).args(["config", "--list", "--show-scope"]), Kind::Bug).unwrap();
        let listed = String::from_utf8(listed).unwrap();
        assert!(listed.contains("command\tgc.auto=0"), "{listed}");
        assert!(!listed.contains("global") && !listed.contains("system"), "{listed}");
    }

    #[test]
    fn a_full_disk_is_told_from_the_servers() {
        assert!(is_full_disk(
            "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output"
        ));
        assert!(is_full_disk("fatal: sha1 file 'x' write error: Disk quota exceeded"));
        assert!(!is_full_disk("remote: fatal: write error: No space left on device\nfatal: early EOF"));
    }

    #[test]
    fn git_has_a_limit_on_its_memory() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = local_git(directory.path());
        command.args(["-c", "alias.limit=!ulimit -d", "limit"]);
        let limit = String::from_utf8(run(&mut command, Kind::Bug).unwrap()).unwrap();
        // In KiB.
        assert!(limit.trim().parse::<u64>().unwrap() <= bounds::GIT_MEMORY >> 10, "{limit}");
    }

    #[test]
    fn a_failure_says_what_git_said() {
        let directory = tempfile::tempdir().unwrap();
        let error = run(local_git(directory.path()).args(["rev-parse", "HEAD"]), Kind::Mismatch).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.causes()[0].contains("not a git repository"), "{:?}", error.causes());
    }
}
