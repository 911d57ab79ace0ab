//! Checks of the host: each says what it saw and how to fix it.
//!
//! What BitBake itself needs fails always. What only oe-core asks for (HOSTTOOLS in its `meta/conf/bitbake.conf`, the
//! checks of its `sanity.bbclass`) fails when oe-core is among the layers, and is a warning otherwise.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::hosttools::HOSTTOOLS;
use super::inside;
use super::result::version_of;
use super::seal::{self, By, Wall, Walls};
use crate::bitbake::{engine, text};
use crate::disk::NewDirectory;
use crate::git::ends_with_kbuild;
use crate::manifest::Manifest;

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Builds work, with a loss that is named.
    Warn,
    /// Builds fail.
    Fail,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// How to fix it, best a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Where a build would happen.
#[derive(Debug, Clone)]
pub struct Host<'a> {
    /// The project's build directory; it need not exist yet.
    pub build: &'a Path,
    /// The store's directory; it need not exist yet.
    pub store: &'a Path,
    /// The kbuild program: [`seal::this_program`].
    pub kbuild: &'a Path,
    /// The PATH that builds would inherit.
    pub path: OsString,
    /// Whether oe-core is among the layers: see [`uses_oe_core`].
    pub oe_core: bool,
}

/// Whether a board (or, without one, any board) builds on oe-core: a layer of that name, or of its repository's.
pub fn uses_oe_core(manifest: &Manifest, board: Option<&str>) -> bool {
    use crate::manifest::LayerOrigin;
    let boards = manifest.boards.iter().filter(|(name, _)| board.is_none_or(|board| board == name.as_str()));
    let mut layers = boards.flat_map(|(_, board)| &board.parts.layers);
    layers.any(|name| {
        let url = manifest.layers.get(name).and_then(|layer| match &layer.origin {
            LayerOrigin::Git(git) => Some(git.url.as_str().trim_end_matches('/').trim_end_matches(".git").to_owned()),
            LayerOrigin::Path(_) => None,
        });
        let names = ["openembedded-core", "oe-core", "poky"];
        names.contains(&name.as_str())
            || url.is_some_and(|url| names.iter().any(|name| url.ends_with(&format!("/{name}"))))
    })
}

/// Runs every check. The worst verdict says whether a build can succeed.
pub fn examine(host: &Host<'_>) -> Vec<Check> {
    let mut checks = vec![
        version_check(host, &GIT),
        version_check(host, &PYTHON),
        locale(host),
        seal(host),
        user(host),
        tools(host),
    ];
    checks.extend(OE_VERSIONS.iter().map(|wanted| version_check(host, wanted)));
    checks.extend([paths(host), disk(host), store(host), case(host), inotify()]);
    checks
}

/// The worst of some verdicts.
pub fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

impl Check {
    fn new(name: &str, verdict: Verdict, seen: impl Into<String>) -> Check {
        Check { name: name.to_owned(), verdict, seen: seen.into(), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Check {
        self.fix = Some(fix.into());
        self
    }
}

impl Host<'_> {
    /// The verdict where something that oe-core needs is missing.
    fn for_oe_core(&self) -> Verdict {
        if self.oe_core { Verdict::Fail } else { Verdict::Warn }
    }

    fn has(&self, tool: &str) -> bool {
        which::which_in(tool, Some(&self.path), "/").is_ok()
    }
}

/// A tool with the oldest version that is enough.
struct RequiredTool {
    tool: &'static str,
    oldest: &'static [u32],
    package: &'static str,
    /// Whether BitBake itself needs it, and not only oe-core.
    always: bool,
    why: &'static str,
}

/// `git init -b` and `fetch --depth` from bare repositories with a `shallow` file behave since then.
const GIT: RequiredTool = RequiredTool {
    tool: "git",
    oldest: &[2, 28],
    package: "git",
    always: true,
    why: "BitBake fetches and unpacks with it",
};

/// `lib/bb/__init__.py` of BitBake 2.10 and later refuses anything older.
const PYTHON: RequiredTool = RequiredTool {
    tool: "python3",
    oldest: &[3, 9],
    package: "python3",
    always: true,
    why: "BitBake is written in it",
};

/// The versions that oe-core's sanity.bbclass asks for (wrynose).
const OE_VERSIONS: [RequiredTool; 4] = [
    RequiredTool { tool: "gcc", oldest: &[10, 1], package: "gcc g++", always: false, why: "oe-core's sanity check" },
    RequiredTool { tool: "make", oldest: &[4, 0], package: "make", always: false, why: "oe-core's sanity check" },
    RequiredTool { tool: "patch", oldest: &[2, 7], package: "patch", always: false, why: "oe-core's sanity check" },
    RequiredTool { tool: "tar", oldest: &[1, 28], package: "tar", always: false, why: "oe-core's sanity check" },
];

fn version_check(host: &Host<'_>, wanted: &RequiredTool) -> Check {
    let bad = if wanted.always { Verdict::Fail } else { host.for_oe_core() };
    let install = format!("sudo apt-get install {}", wanted.package);
    let oldest = wanted.oldest.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    match version_of(wanted.tool, &host.path) {
        None => Check::new(wanted.tool, bad, format!("not found; {}", wanted.why)).fix(install),
        Some(line) if numbers(&line) < wanted.oldest.to_vec() => {
            Check::new(wanted.tool, bad, format!("{line}; at least {oldest} is needed")).fix(install)
        }
        Some(line) => Check::new(wanted.tool, Verdict::Ok, line),
    }
}

/// The version in a line like `tar (GNU tar) 1.34`: the last word that begins with a digit and holds a dot, or the only
/// one.
fn numbers(line: &str) -> Vec<u32> {
    let words = line.split(|c: char| c.is_whitespace() || "(),".contains(c));
    let mut versions = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    let version = versions.next_back().unwrap_or_default();
    version.split(['.', '-', '+', '~']).map_while(|part| part.parse().ok()).collect()
}

/// What BitBake's own fetchers and tasks call.
const BITBAKE_TOOLS: [&str; 12] =
    ["bash", "cp", "env", "git", "gzip", "mkdir", "mv", "patch", "python3", "rm", "sh", "tar"];

fn tools(host: &Host<'_>) -> Check {
    let missing: Vec<(&str, &str)> = HOSTTOOLS.into_iter().filter(|(tool, _)| !host.has(tool)).collect();
    if missing.is_empty() {
        return Check::new("host tools", Verdict::Ok, format!("all {} that oe-core asks for", HOSTTOOLS.len()));
    }
    let fatal = missing.iter().any(|(tool, _)| BITBAKE_TOOLS.contains(tool));
    let names: Vec<&str> = missing.iter().map(|(tool, _)| *tool).collect();
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    let verdict = if fatal { Verdict::Fail } else { host.for_oe_core() };
    Check::new("host tools", verdict, format!("not found: {}", names.join(", ")))
        .fix(format!("sudo apt-get install {}", packages.join(" ")))
}

/// BitBake exits at once without it (`bb.utils.check_system_locale`), and so does oe-core (`sanity_check_locale`).
fn locale(host: &Host<'_>) -> Check {
    const NAME: &str = "locale";
    let fix = "sudo apt-get install locales && sudo localedef -i en_US -f UTF-8 en_US.UTF-8";
    let Ok(program) = which::which_in("locale", Some(&host.path), "/") else {
        return Check::new(NAME, Verdict::Warn, "there is no `locale` to ask").fix("sudo apt-get install libc-bin");
    };
    let mut command = Command::new(program);
    ends_with_kbuild(&mut command);
    let output = command.arg("-a").stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if text.lines().any(|line| line.eq_ignore_ascii_case("en_US.utf8") || line.eq_ignore_ascii_case(engine::LOCALE)) {
        Check::new(NAME, Verdict::Ok, engine::LOCALE)
    } else {
        Check::new(NAME, Verdict::Fail, format!("{} is not there; BitBake does not start without it", engine::LOCALE))
            .fix(fix)
    }
}

fn seal(host: &Host<'_>) -> Check {
    const NAME: &str = "seal";
    match seal::probe(host.kbuild, &inside::programs(&host.path)) {
        Ok(seal) => {
            let walls: Vec<String> = seal.walls().iter().map(describe_wall).collect();
            match seal.lack() {
                None => Check::new(NAME, Verdict::Ok, format!("every wall stands: {}", walls.join(", "))),
                Some(lack) => {
                    let seen = format!("{lack}; what stands: {}", walls.join(", "));
                    Check::new(NAME, Verdict::Warn, seen).fix(seal_fix(seal.walls()))
                }
            }
        }
        Err(error) => Check::new(NAME, Verdict::Warn, format!("could not be tried: {error}")),
    }
}

/// A wall and the mechanisms that hold it.
fn describe_wall((wall, by): (Wall, &BTreeSet<By>)) -> String {
    let by: Vec<String> = by.iter().map(By::to_string).collect();
    format!("{wall} ({})", if by.is_empty() { "none".to_owned() } else { by.join(" and ") })
}

/// How to get the walls that do not stand.
fn seal_fix(walls: &Walls) -> String {
    if walls.held_by(By::Namespace) {
        return "in a container, let kbuild mount a /proc of its own: e.g. docker run --security-opt systempaths=unconfined"
            .to_owned();
    }
    namespaces_mend()
}

/// The switches by which kernels and distributions forbid user namespaces; elsewhere it is a container's seccomp filter.
fn namespaces_mend() -> String {
    let is = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "give kbuild an AppArmor profile that allows user namespaces (`kbuild explain seal` has one), or: \
         sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            .to_owned()
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sudo sysctl kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "sudo sysctl user.max_user_namespaces=10000".to_owned()
    } else {
        "in a container, allow `unshare`: e.g. docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
            .to_owned()
    }
}

fn user(host: &Host<'_>) -> Check {
    const NAME: &str = "user";
    if !rustix::process::geteuid().is_root() {
        return Check::new(NAME, Verdict::Ok, "not root");
    }
    Check::new(NAME, host.for_oe_core(), "root; oe-core refuses to build as root (sanity.bbclass)")
        .fix("run kbuild as an ordinary user")
}

fn paths(host: &Host<'_>) -> Check {
    const NAME: &str = "path of the project";
    match text::check_path(host.build) {
        Ok(path) => Check::new(NAME, Verdict::Ok, path),
        Err(error) => {
            let check = Check::new(NAME, Verdict::Fail, error.to_string());
            match error.hint() {
                Some(hint) => check.fix(hint),
                None => check,
            }
        }
    }
}

/// What an image of oe-core takes in TMPDIR and sstate, roughly, in bytes (the Yocto Project's quick build guide asks
/// for 140 GB); a small distribution needs very little.
const DISK_FOR_OE_CORE: u64 = 140_000_000_000;
const DISK_AT_LEAST: u64 = 1_000_000_000;

fn disk(host: &Host<'_>) -> Check {
    const NAME: &str = "disk";
    let directory = existing(host.build);
    let Ok(stat) = rustix::fs::statvfs(&directory) else {
        return Check::new(NAME, Verdict::Warn, format!("cannot tell how much is free in {}", directory.display()));
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let seen = format!("{} GB free in {}", free / 1_000_000_000, directory.display());
    if free < DISK_AT_LEAST {
        Check::new(NAME, Verdict::Fail, seen).fix("free some space")
    } else if host.oe_core && free < DISK_FOR_OE_CORE {
        let wanted = DISK_FOR_OE_CORE / 1_000_000_000;
        Check::new(NAME, Verdict::Warn, format!("{seen}; an image of oe-core wants up to {wanted} GB"))
            .fix("build where more space is, or set INHERIT:append = \" rm_work\" under [config]")
    } else {
        Check::new(NAME, Verdict::Ok, seen)
    }
}

fn store(host: &Host<'_>) -> Check {
    const NAME: &str = "store";
    let place = host.store.display();
    if tempfile::tempfile_in(existing(host.store)).is_ok() {
        Check::new(NAME, Verdict::Ok, place.to_string())
    } else {
        Check::new(NAME, Verdict::Warn, format!("{place} is not writable: builds work, fetching does not"))
            .fix("name another store with --store to fetch")
    }
}

/// oe-core refuses a file system that cannot tell `A` from `a` (sanity.bbclass), and so do Linux sources.
fn case(host: &Host<'_>) -> Check {
    const NAME: &str = "file system";
    let directory = existing(host.build);
    let Ok(scratch) = NewDirectory::within(&directory) else {
        return Check::new(NAME, Verdict::Fail, format!("{} is not writable", directory.display()))
            .fix("make the project's directory writable");
    };
    let told_apart = fs::write(scratch.path().join("a"), "").is_ok() && !scratch.path().join("A").exists();
    if told_apart {
        Check::new(NAME, Verdict::Ok, "tells upper and lower case apart")
    } else {
        Check::new(NAME, Verdict::Fail, "does not tell upper and lower case apart")
            .fix("build on a case-sensitive file system")
    }
}

/// BitBake watched its layers through inotify until 2.8; large layer sets run out of a small limit.
const INOTIFY_WATCHES: u64 = 8192;

fn inotify() -> Check {
    const NAME: &str = "inotify watches";
    let file = "/proc/sys/fs/inotify/max_user_watches";
    let Some(limit) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
        return Check::new(NAME, Verdict::Ok, "no limit to be seen");
    };
    if limit < INOTIFY_WATCHES {
        Check::new(NAME, Verdict::Warn, format!("{limit}; BitBake 2.8 may need more"))
            .fix("sudo sysctl fs.inotify.max_user_watches=65536")
    } else {
        Check::new(NAME, Verdict::Ok, limit.to_string())
    }
}

/// The directory or its nearest parent that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// The PATH of this process, as a build would inherit it.
pub fn own_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/local/bin:/usr/bin:/bin").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn tool(directory: &Path, name: &str, says: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn host<'a>(directory: &'a Path, oe_core: bool) -> Host<'a> {
        Host {
            build: directory,
            store: directory,
            kbuild: Path::new("/bin/false"),
            path: directory.as_os_str().to_owned(),
            oe_core,
        }
    }

    #[test]
    fn versions_are_read_out_of_what_tools_say() {
        for (line, version) in [
            ("git version 2.47.3", vec![2, 47, 3]),
            ("Python 3.11.7", vec![3, 11, 7]),
            ("tar (GNU tar) 1.34", vec![1, 34]),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", vec![12, 2, 0]),
            ("gcc (GCC) 15.1.1 20250521 (Red Hat 15.1.1-2)", vec![15, 1, 1, 2]),
            ("git version 2.39.5 (Apple Git-154)", vec![2, 39, 5]),
            ("nothing", vec![]),
        ] {
            assert_eq!(numbers(line), version, "{line}");
        }
    }

    #[test]
    fn an_old_or_missing_tool_names_its_package() {
        let directory = tempfile::tempdir().unwrap();
        tool(directory.path(), "git", "git version 2.17.1");
        let host = host(directory.path(), false);
        let check = version_check(&host, &GIT);
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.seen, "git version 2.17.1; at least 2.28 is needed");
        assert_eq!(version_check(&host, &PYTHON).fix.as_deref(), Some("sudo apt-get install python3"));
        // What only oe-core needs is a warning without oe-core.
        assert_eq!(version_check(&host, &OE_VERSIONS[0]).verdict, Verdict::Warn);
    }

    #[test]
    fn missing_tools_fail_as_far_as_somebody_needs_them() {
        let directory = tempfile::tempdir().unwrap();
        for (name, _) in HOSTTOOLS.iter().filter(|(name, _)| !["chrpath", "diffstat"].contains(name)) {
            tool(directory.path(), name, "");
        }
        let check = tools(&host(directory.path(), true));
        assert_eq!((check.verdict, check.seen.as_str()), (Verdict::Fail, "not found: chrpath, diffstat"));
        assert_eq!(check.fix.as_deref(), Some("sudo apt-get install chrpath diffstat"));
        assert_eq!(tools(&host(directory.path(), false)).verdict, Verdict::Warn);
        fs::remove_file(directory.path().join("tar")).unwrap();
        assert_eq!(tools(&host(directory.path(), false)).verdict, Verdict::Fail);
    }

    #[test]
    fn what_bitbake_calls_is_among_the_tools_that_are_looked_for() {
        for tool in BITBAKE_TOOLS {
            assert!(HOSTTOOLS.iter().any(|(name, _)| *name == tool), "{tool}");
        }
        assert!(HOSTTOOLS.is_sorted());
    }

    #[test]
    fn a_path_that_bitbake_cannot_take_fails() {
        let check = paths(&Host { build: Path::new("/home/a b/build"), ..host(Path::new("/tmp"), false) });
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.fix.is_some());
    }

    #[test]
    fn directories_that_do_not_exist_yet_are_judged_by_their_parent() {
        let directory = tempfile::tempdir().unwrap();
        let (build, store_path) = (directory.path().join("a/b"), directory.path().join("c/d"));
        let host = Host { build: &build, store: &store_path, ..host(directory.path(), false) };
        for check in [disk(&host), store(&host), case(&host)] {
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
