//! Which programs reach the network, with which arguments.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::kind::Kind;

/// A command that reaches the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) kind: Kind,
    /// `git clone`: for the message.
    pub(super) what: String,
}

/// A program with subcommands that reach the network.
struct Program {
    names: &'static [&'static str],
    /// Words that must follow, options apart; empty: any use.
    subcommands: &'static [&'static str],
    /// Options that keep it off the network.
    unless: &'static [&'static str],
    kind: Kind,
}

const fn program(
    names: &'static [&'static str],
    subcommands: &'static [&'static str],
    unless: &'static [&'static str],
    kind: Kind,
) -> Program {
    Program { names, subcommands, unless, kind }
}

/// What needs no closer look than a subcommand and an option.
const PROGRAMS: &[Program] = &[
    program(&["axel", "lftp", "ncftpget", "zsync"], &[], &["--version", "--help"], Kind::DownloadCommand),
    program(&["aria2c"], &[], &["--version", "-v", "--help", "-h"], Kind::DownloadCommand),
    program(&["hg"], &["clone", "pull", "incoming"], &[], Kind::VcsCommand),
    program(&["cvs"], &["co", "checkout", "update", "export"], &[], Kind::VcsCommand),
    program(&["bzr", "brz"], &["branch", "checkout", "pull", "export"], &[], Kind::VcsCommand),
    program(&["repo"], &["init", "sync"], &["--local-only", "-l"], Kind::VcsCommand),
    program(&["west"], &["init", "update"], &[], Kind::VcsCommand),
    program(&["gh"], &["release download", "repo clone", "run download"], &[], Kind::VcsCommand),
    program(
        &["docker", "podman", "nerdctl", "buildah"],
        &[
            "pull",
            "build",
            "run",
            "create",
            "push",
            "login",
            "search",
            "from",
            "bud",
            "image pull",
            "image build",
            "container run",
            "container create",
            "compose up",
            "compose pull",
            "compose build",
            "buildx build",
            "buildx bake",
            "manifest inspect",
        ],
        &["--pull=never"],
        Kind::ContainerCommand,
    ),
    program(&["docker-compose", "podman-compose"], &["up", "pull", "build", "run"], &[], Kind::ContainerCommand),
    program(&["crane", "oras"], &["pull", "push", "copy", "cp", "manifest", "digest"], &[], Kind::ContainerCommand),
    program(
        &["npm"],
        &["install", "i", "ci", "add", "update", "exec", "install-test"],
        &["--offline"],
        Kind::PackageCommand,
    ),
    program(&["npx"], &[], &["--offline", "--no-install", "--no", "--version"], Kind::PackageCommand),
    program(&["pnpm"], &["install", "i", "add", "fetch", "update", "dlx"], &["--offline"], Kind::PackageCommand),
    program(&["bun"], &["install", "add", "update"], &[], Kind::PackageCommand),
    program(&["bower", "jspm"], &["install"], &["--offline"], Kind::PackageCommand),
    program(
        &["cargo"],
        &["fetch", "update", "add", "vendor", "search", "publish", "generate-lockfile"],
        &["--offline", "--frozen"],
        Kind::PackageCommand,
    ),
    program(
        &["rustup"],
        &["toolchain install", "install", "update", "default", "component add", "target add"],
        &[],
        Kind::PackageCommand,
    ),
    program(&["gem"], &["install", "fetch", "update"], &["--local", "-l"], Kind::PackageCommand),
    program(&["bundle", "bundler"], &["install", "update"], &["--local"], Kind::PackageCommand),
    program(&["conan"], &["install", "download", "create"], &["--no-remote", "-nr"], Kind::PackageCommand),
    program(&["composer"], &["install", "update", "require", "create-project"], &[], Kind::PackageCommand),
    program(&["cpan", "cpanm", "easy_install", "easy_install3"], &[], &["--version", "--help"], Kind::PackageCommand),
    program(&["luarocks", "opam", "vcpkg", "pipx"], &["install"], &[], Kind::PackageCommand),
    program(&["poetry"], &["install", "update", "lock", "add"], &[], Kind::PackageCommand),
    program(&["cabal", "stack"], &["update", "setup"], &[], Kind::PackageCommand),
    program(&["mix"], &["deps.get", "deps.update"], &[], Kind::PackageCommand),
    program(&["flutter", "dart"], &["pub get", "pub upgrade"], &["--offline"], Kind::PackageCommand),
    program(&["dotnet", "nuget"], &["restore", "install"], &[], Kind::PackageCommand),
    program(&["meson"], &["subprojects download", "subprojects update", "wrap install"], &[], Kind::PackageCommand),
    program(&["mvn", "mvnw", "gradle", "gradlew"], &[], &["-o", "--offline", "--version", "-v"], Kind::PackageCommand),
    program(
        &["apt-get", "apt", "aptitude"],
        &[
            "install",
            "update",
            "upgrade",
            "dist-upgrade",
            "full-upgrade",
            "download",
            "source",
            "build-dep",
            "reinstall",
        ],
        &["--no-download", "-o", "-c", "--print-uris"],
        Kind::HostPackages,
    ),
    program(
        &["dnf", "yum", "microdnf", "tdnf", "zypper"],
        &[
            "install",
            "update",
            "upgrade",
            "download",
            "reinstall",
            "builddep",
            "groupinstall",
            "makecache",
            "in",
            "refresh",
        ],
        &["--installroot", "--root", "-C", "--cacheonly", "-c", "--config"],
        Kind::HostPackages,
    ),
    program(&["apk"], &["add", "update", "upgrade", "fetch"], &["--no-network", "--root", "-p"], Kind::HostPackages),
    program(&["pacman"], &[], &["-Q", "-U", "-T", "-R", "--root", "-r", "-V", "--version"], Kind::HostPackages),
    program(
        &["brew", "snap", "flatpak"],
        &["install", "update", "upgrade", "download", "refresh"],
        &[],
        Kind::HostPackages,
    ),
    program(&["debootstrap", "multistrap", "mmdebstrap"], &[], &["--version", "--help"], Kind::HostPackages),
    program(&["ostree"], &["pull"], &[], Kind::RemoteCopy),
    program(&["ssh-keyscan"], &[], &[], Kind::RemoteCopy),
];

/// Programs that need a closer look.
const SPECIAL: [&str; 13] =
    ["curl", "wget", "git", "svn", "skopeo", "go", "yarn", "yarnpkg", "rsync", "scp", "sftp", "ssh", "uv"];

/// Finds a text that may name a program of this file; what it does not match needs no parsing. Python is named by what is
/// called in it.
pub(super) static ANY_NAME: LazyLock<Regex> = LazyLock::new(|| {
    let names = PROGRAMS.iter().flat_map(|program| program.names).chain(&SPECIAL);
    let names: Vec<String> = names.map(|name| regex::escape(name)).collect();
    Regex::new(&format!(r"(?i)\b(?:FETCHCMD_)?(?:{}|pip[0-9.]*|urllib\w*|requests|http)\b", names.join("|")))
        .expect("a constant expression compiles")
});

/// Where a command runs: what variables are known to be, its own environment last.
pub(super) type Variables = BTreeMap<String, String>;

/// What this command reaches, if anything. `words` begin with the program and are no wrapper (see `wrappers`).
pub(super) fn reach(words: &[String], variables: &Variables) -> Option<Reach> {
    let (first, rest) = words.split_first()?;
    let name = program_name(first);
    let args: Vec<String> = rest.iter().map(|word| resolve(word, variables)).collect();
    let args = args.as_slice();
    let found = |kind, what: String| Some(Reach { kind, what });
    match name.as_str() {
        "curl" | "wget" => downloads(args).then(|| Reach { kind: Kind::DownloadCommand, what: name }),
        "git" => found(Kind::VcsCommand, format!("git {}", git(args)?)),
        "svn" => found(Kind::VcsCommand, format!("svn {}", svn(args)?)),
        "skopeo" => args
            .iter()
            .any(|arg| arg.starts_with("docker://"))
            .then(|| Reach { kind: Kind::ContainerCommand, what: "skopeo".into() }),
        "go" => found(Kind::PackageCommand, format!("go {}", go(args, variables)?)),
        "yarn" | "yarnpkg" => found(Kind::PackageCommand, yarn(args)?),
        "rsync" | "scp" | "sftp" => {
            args.iter().any(|arg| is_other_machine(arg)).then(|| Reach { kind: Kind::RemoteCopy, what: name })
        }
        "ssh" => {
            let asks = args.iter().any(|arg| !arg.starts_with('-'));
            asks.then(|| Reach { kind: Kind::RemoteCopy, what: name })
        }
        "uv" if args.first().is_some_and(|arg| arg == "pip") => {
            found(Kind::PackageCommand, format!("uv pip {}", pip(&args[1..], variables)?))
        }
        "cargo" if subcommand(args, &["install"]).is_some() => {
            let own = has(args, &["--path", "--offline", "--frozen"]);
            (!own && !is_true(variables, "CARGO_NET_OFFLINE"))
                .then(|| Reach { kind: Kind::PackageCommand, what: "cargo install".into() })
        }
        "cargo" if is_true(variables, "CARGO_NET_OFFLINE") => None,
        "npm" if is_true(variables, "npm_config_offline") => None,
        _ if is_python(&name) => {
            let module = args
                .iter()
                .position(|arg| arg == "-m")
                .filter(|at| args[..*at].iter().all(|arg| arg.starts_with('-')))?;
            match args.get(module + 1)?.as_str() {
                "pip" => found(Kind::PackageCommand, format!("pip {}", pip(&args[module + 2..], variables)?)),
                _ => None,
            }
        }
        _ if is_versioned(&name, "pip") => found(Kind::PackageCommand, format!("pip {}", pip(args, variables)?)),
        _ => from_table(&name, args),
    }
}

fn from_table(name: &str, args: &[String]) -> Option<Reach> {
    let program = PROGRAMS.iter().find(|program| program.names.contains(&name))?;
    if has(args, program.unless) {
        return None;
    }
    if program.subcommands.is_empty() {
        return (!args.is_empty()).then(|| Reach { kind: program.kind, what: name.to_owned() });
    }
    let subcommand = subcommand(args, program.subcommands)?;
    Some(Reach { kind: program.kind, what: format!("{name} {subcommand}") })
}

/// The program that a command's first word names: its last part, or what a variable like `${CARGO}` stands for.
pub(super) fn program_name(word: &str) -> String {
    let name = word.rsplit('/').next().unwrap_or(word);
    let variable = name.strip_prefix("${").and_then(|name| name.strip_suffix('}')).or_else(|| name.strip_prefix('$'));
    match variable {
        Some(variable) => variable.strip_prefix("FETCHCMD_").unwrap_or(variable).to_ascii_lowercase(),
        None => name.to_owned(),
    }
}

pub(super) fn is_python(name: &str) -> bool {
    is_versioned(name, "python") || name == "nativepython3"
}

/// `pip`, `pip3`, `pip3.12`.
fn is_versioned(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Whether one of the options is there: `--x`, `--x=y`; `-x` also with what belongs to it.
fn has(args: &[String], options: &[&str]) -> bool {
    args.iter().any(|arg| {
        options.iter().any(|option| {
            let rest = arg.strip_prefix(option);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('=') || (option.len() == 2 && arg.starts_with(option))
            })
        })
    })
}

/// Which of the subcommands this is. Options, and the word after one (it may be the option's), are passed over.
fn subcommand(args: &[String], subcommands: &[&'static str]) -> Option<&'static str> {
    let mut after_option = false;
    for (at, arg) in args.iter().enumerate() {
        if arg.starts_with(['-', '+']) {
            after_option = !arg.contains('=');
            continue;
        }
        let here = args[at..].iter().filter(|arg| !arg.starts_with('-')).map(String::as_str);
        let found = subcommands
            .iter()
            .copied()
            .filter(|words| here.clone().take(words.split(' ').count()).eq(words.split(' ')));
        if let Some(found) = found.max_by_key(|words| words.len()) {
            return Some(found);
        }
        if !after_option {
            return None;
        }
        after_option = false;
    }
    None
}

/// A word with the variables that are known put in.
fn resolve(word: &str, variables: &Variables) -> String {
    let mut resolved = word.to_owned();
    for _ in 0..4 {
        let next = substitute(&resolved, variables);
        if next == resolved {
            break;
        }
        resolved = next;
    }
    resolved
}

fn substitute(word: &str, variables: &Variables) -> String {
    if !word.contains('$') {
        return word.to_owned();
    }
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let braced =
            rest.strip_prefix("${").and_then(|inner| inner.split_once('}')).map(|(name, _)| (name, name.len() + 3));
        let bare = || {
            let length = rest[1..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            (&rest[1..=length], length + 1)
        };
        let (name, length) = braced.unwrap_or_else(bare);
        match variables.get(name).filter(|value| !value.contains(name) && value.len() < 4096) {
            Some(value) => out.push_str(value),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn is_true(variables: &Variables, name: &str) -> bool {
    variables.get(name).is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes"))
}

/// `curl` and `wget` download unless they are asked about themselves or this machine.
fn downloads(args: &[String]) -> bool {
    let about_itself = |arg: &String| matches!(arg.as_str(), "--version" | "-V" | "--help" | "-h");
    let here = |arg: &&String| {
        let host = arg.split_once("://").map_or(arg.as_str(), |(_, rest)| rest);
        arg.starts_with("file://") || ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.starts_with(name))
    };
    let urls: Vec<&String> =
        args.iter().filter(|arg| !arg.starts_with('-') && (arg.contains("://") || here(arg))).collect();
    let only_here = !urls.is_empty() && urls.iter().all(here);
    !args.is_empty() && !args.iter().all(about_itself) && !only_here && !has(args, &["--unix-socket"])
}

/// git's subcommand, when it asks a server.
fn git(args: &[String]) -> Option<String> {
    let mut rest = args.iter();
    let command = loop {
        match rest.next()?.as_str() {
            "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            command => break command,
        }
    };
    let rest = rest.as_slice();
    let operands = || rest.iter().filter(|arg| !arg.starts_with('-'));
    let first = operands().next().map(String::as_str);
    let remote = match command {
        "clone" => !has(rest, &["-l", "--local", "-s", "--shared"]) && clones_from_elsewhere(rest),
        "fetch" | "pull" | "ls-remote" | "push" => first.is_none_or(|from| !is_here(from)),
        "submodule" => match first? {
            "update" => !has(rest, &["-N", "--no-fetch"]),
            "add" => true,
            _ => false,
        },
        "remote" => {
            matches!(first?, "update" | "prune") || (first? == "show" && operands().count() > 1 && !has(rest, &["-n"]))
        }
        "lfs" => matches!(first?, "fetch" | "pull" | "clone"),
        "svn" => matches!(first?, "clone" | "fetch" | "rebase"),
        "subtree" => matches!(first?, "add" | "pull"),
        "archive" => has(rest, &["--remote"]),
        _ => false,
    };
    let second = matches!(command, "submodule" | "remote" | "lfs" | "svn" | "subtree").then_some(first).flatten();
    remote.then(|| second.map_or_else(|| command.to_owned(), |second| format!("{command} {second}")))
}

/// The repository of `git clone` is the first word that is no option, nor the value of one.
fn clones_from_elsewhere(args: &[String]) -> bool {
    const WITH_VALUE: [&str; 11] =
        ["-b", "--branch", "--depth", "-o", "--origin", "-j", "--jobs", "--reference", "-c", "--config", "--template"];
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if WITH_VALUE.contains(&arg.as_str()) {
            at += 2;
        } else if arg.starts_with('-') {
            at += 1;
        } else {
            return !is_here(arg);
        }
    }
    false
}

fn svn(args: &[String]) -> Option<String> {
    let command = args.iter().find(|arg| !arg.starts_with('-'))?;
    let elsewhere = args.iter().any(|arg| arg.contains("://") && !arg.starts_with("file://"));
    let unknown = args.iter().any(|arg| arg.starts_with('$') && !is_here(arg));
    let reaches = match command.as_str() {
        "co" | "checkout" | "switch" => elsewhere || unknown,
        "export" | "cat" | "list" | "ls" | "info" | "log" => elsewhere,
        "update" | "up" => true,
        _ => false,
    };
    reaches.then(|| command.clone())
}

/// A path of this machine, or of the build's own directories.
fn is_here(word: &str) -> bool {
    const DIRECTORIES: [&str; 22] = [
        "WORKDIR",
        "UNPACKDIR",
        "S",
        "B",
        "D",
        "T",
        "DL_DIR",
        "GITDIR",
        "TMPDIR",
        "TOPDIR",
        "THISDIR",
        "LAYERDIR",
        "COREBASE",
        "EXTERNALSRC",
        "FILE_DIRNAME",
        "PWD",
        "HOME",
        "OEROOT",
        "IMAGE_ROOTFS",
        "DEPLOY_DIR",
        "DEPLOY_DIR_IMAGE",
        "GOPATH",
    ];
    if word.starts_with(['/', '.', '~']) || word.starts_with("file://") {
        return true;
    }
    let Some(rest) = word.strip_prefix('$') else { return false };
    let name: String =
        rest.trim_start_matches('{').chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    DIRECTORIES.contains(&name.as_str())
        || name.starts_with("STAGING_")
        || name.ends_with("_dir")
        || name.ends_with("_DIR")
}

/// `host:path`, `user@host:path`, `rsync://…`: as rsync and scp tell it from a path.
fn is_other_machine(arg: &str) -> bool {
    if arg.starts_with("rsync://") || arg.starts_with("scp://") || arg.starts_with("sftp://") {
        return true;
    }
    if arg.starts_with(['-', '/', '.']) {
        return false;
    }
    arg.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/') && !is_here(host))
}

/// `go`'s subcommand, when it may ask a proxy or a repository. `-mod=vendor` makes `get` and `install x@v` fail rather than
/// download; `go mod` does not heed it. With `GOPROXY=off` or a directory nothing leaves the machine.
fn go(args: &[String], variables: &Variables) -> Option<String> {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    let proxy = value("GOPROXY");
    if proxy == "off" || (proxy.starts_with("file://") && !proxy.contains(',')) {
        return None;
    }
    let vendored = has(args, &["-mod=vendor"]) || value("GOFLAGS").contains("-mod=vendor");
    let found = subcommand(args, &["get", "install", "mod download", "mod tidy", "mod vendor"])?;
    let reaches = match found {
        "get" => !vendored,
        "install" => !vendored && args.iter().any(|arg| !arg.starts_with('-') && arg.contains('@')),
        _ => true,
    };
    reaches.then(|| found.to_owned())
}

/// `pip install` from an index. A wheel or directory of the build, with neither dependencies nor build isolation, needs none:
/// so oe-core's own classes call it.
fn pip(args: &[String], variables: &Variables) -> Option<String> {
    let found = subcommand(args, &["install", "download", "wheel"])?;
    let bare = has(args, &["--no-deps"]) && has(args, &["--no-build-isolation"]);
    let wheel = has(args, &["--no-deps"]) && args.iter().any(|arg| arg.ends_with(".whl") && !arg.contains("://"));
    let offline = has(args, &["--no-index"]) || is_true(variables, "PIP_NO_INDEX");
    (!offline && !bare && !wheel).then(|| found.to_owned())
}

/// `yarn` alone installs.
fn yarn(args: &[String]) -> Option<String> {
    if has(args, &["--offline", "--version", "-v", "--help"]) {
        return None;
    }
    match args.iter().find(|arg| !arg.starts_with('-')) {
        None => Some("yarn".into()),
        Some(command) if ["install", "add", "upgrade", "up", "dlx", "create"].contains(&command.as_str()) => {
            Some(format!("yarn {command}"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
