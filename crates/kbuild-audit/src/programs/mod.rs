//! The programs that use the network, and the arguments with which they do.

pub(super) mod containers;
mod packages;
#[cfg(test)]
mod tests;
mod vcs;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::kind::Rule;
use packages::{go, pip, yarn};
use vcs::{git, is_here, svn};

/// A command that uses the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) kind: Rule,
    /// `git clone`: for the message.
    pub(super) what: String,
}

/// A program with subcommands that reach the network.
struct NetworkProgram {
    names: &'static [&'static str],
    /// Words that must follow, options apart; empty: any use.
    subcommands: &'static [&'static str],
    /// Options that keep it off the network.
    unless: &'static [&'static str],
    kind: Rule,
}

const fn program(
    names: &'static [&'static str],
    subcommands: &'static [&'static str],
    unless: &'static [&'static str],
    kind: Rule,
) -> NetworkProgram {
    NetworkProgram { names, subcommands, unless, kind }
}

/// Programs of which a subcommand and an option tell enough.
const PROGRAMS: &[NetworkProgram] = &[
    program(&["axel", "lftp", "ncftpget", "zsync"], &[], &["--version", "--help"], Rule::DownloadCommand),
    program(&["aria2c"], &[], &["--version", "-v", "--help", "-h"], Rule::DownloadCommand),
    program(&["hg"], &["clone", "pull", "incoming"], &[], Rule::VcsCommand),
    program(&["cvs"], &["co", "checkout", "update", "export"], &[], Rule::VcsCommand),
    program(&["bzr", "brz"], &["branch", "checkout", "pull", "export"], &[], Rule::VcsCommand),
    program(&["repo"], &["init", "sync"], &["--local-only", "-l"], Rule::VcsCommand),
    program(&["west"], &["init", "update"], &[], Rule::VcsCommand),
    program(&["gh"], &["release download", "repo clone", "run download"], &[], Rule::VcsCommand),
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
        Rule::ContainerCommand,
    ),
    program(&["docker-compose", "podman-compose"], &["up", "pull", "build", "run"], &[], Rule::ContainerCommand),
    program(&["crane", "oras"], &["pull", "push", "copy", "cp", "manifest", "digest"], &[], Rule::ContainerCommand),
    program(
        &["npm"],
        &["install", "i", "in", "add", "ci", "ic", "clean-install", "install-clean", "update", "exec", "install-test"],
        &["--offline"],
        Rule::PackageCommand,
    ),
    program(&["npx"], &[], &["--offline", "--no-install", "--no", "--version"], Rule::PackageCommand),
    program(&["pnpm"], &["install", "i", "add", "fetch", "update", "dlx"], &["--offline"], Rule::PackageCommand),
    program(&["bun"], &["install", "add", "update"], &[], Rule::PackageCommand),
    program(&["bower", "jspm"], &["install"], &["--offline"], Rule::PackageCommand),
    program(
        &["cargo"],
        &["fetch", "update", "add", "vendor", "search", "publish", "generate-lockfile"],
        &["--offline", "--frozen"],
        Rule::PackageCommand,
    ),
    program(
        &["rustup"],
        &["toolchain install", "install", "update", "default", "component add", "target add"],
        &[],
        Rule::PackageCommand,
    ),
    program(&["gem"], &["install", "fetch", "update"], &["--local", "-l"], Rule::PackageCommand),
    program(&["bundle", "bundler"], &["install", "update"], &["--local"], Rule::PackageCommand),
    program(&["conan"], &["install", "download", "create"], &["--no-remote", "-nr"], Rule::PackageCommand),
    program(&["composer"], &["install", "update", "require", "create-project"], &[], Rule::PackageCommand),
    program(&["cpan", "cpanm", "easy_install", "easy_install3"], &[], &["--version", "--help"], Rule::PackageCommand),
    program(&["luarocks", "opam", "vcpkg", "pipx"], &["install"], &[], Rule::PackageCommand),
    program(&["poetry"], &["install", "update", "lock", "add"], &[], Rule::PackageCommand),
    program(&["cabal"], &["update", "setup"], &[], Rule::PackageCommand),
    program(&["stack"], &["build", "install", "setup", "test", "update"], &[], Rule::PackageCommand),
    program(
        &["bazel", "bazelisk"],
        &["build", "test", "run", "fetch", "sync", "vendor"],
        &["--nofetch", "--repository_disable_download", "--experimental_repository_disable_download"],
        Rule::PackageCommand,
    ),
    program(&["deno"], &["install", "cache", "add", "upgrade"], &["--cached-only"], Rule::PackageCommand),
    program(&["zig"], &["fetch"], &[], Rule::PackageCommand),
    program(
        &["conda", "mamba", "micromamba"],
        &["install", "create", "update", "env create", "env update"],
        &["--offline"],
        Rule::PackageCommand,
    ),
    program(&["sbt"], &[], &["--version", "-version", "--help", "-h"], Rule::PackageCommand),
    program(&["rebar3"], &["get-deps", "compile", "release", "upgrade", "escriptize"], &[], Rule::PackageCommand),
    program(
        &["helm"],
        &[
            "pull",
            "fetch",
            "repo add",
            "repo update",
            "dependency update",
            "dependency build",
            "dep update",
            "dep build",
        ],
        &[],
        Rule::PackageCommand,
    ),
    program(&["regctl"], &["image", "blob", "manifest", "artifact", "index"], &[], Rule::ContainerCommand),
    program(&["aws"], &["s3 cp", "s3 sync", "s3 mv", "s3api get-object"], &[], Rule::DownloadCommand),
    program(&["gsutil"], &["cp", "rsync", "mv", "cat"], &[], Rule::DownloadCommand),
    program(&["gcloud"], &["storage cp", "storage rsync", "storage mv"], &[], Rule::DownloadCommand),
    program(&["az"], &["storage"], &[], Rule::DownloadCommand),
    program(&["hf", "huggingface-cli"], &["download"], &[], Rule::DownloadCommand),
    program(
        &["nc", "ncat", "netcat"],
        &[],
        &["-l", "--listen", "-U", "--unixsock", "-h", "--help"],
        Rule::DownloadCommand,
    ),
    program(&["openssl"], &["s_client"], &["-help"], Rule::DownloadCommand),
    program(&["gclient"], &["sync", "fetch", "revert", "runhooks"], &[], Rule::VcsCommand),
    program(&["mix"], &["deps.get", "deps.update"], &[], Rule::PackageCommand),
    // `flutter create` runs `pub get` in what it made.
    program(
        &["flutter"],
        &["pub get", "pub upgrade", "pub add", "create", "update-packages", "precache"],
        &["--offline", "--no-pub"],
        Rule::PackageCommand,
    ),
    program(&["dart"], &["pub get", "pub upgrade", "pub add"], &["--offline"], Rule::PackageCommand),
    program(&["dotnet", "nuget"], &["restore", "install"], &[], Rule::PackageCommand),
    program(&["meson"], &["subprojects download", "subprojects update", "wrap install"], &[], Rule::PackageCommand),
    program(&["mvn", "mvnw", "gradle", "gradlew"], &[], &["-o", "--offline", "--version", "-v"], Rule::PackageCommand),
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
        Rule::HostPackages,
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
        Rule::HostPackages,
    ),
    program(&["apk"], &["add", "update", "upgrade", "fetch"], &["--no-network", "--root", "-p"], Rule::HostPackages),
    program(&["pacman"], &[], &["-Q", "-U", "-T", "-R", "--root", "-r", "-V", "--version"], Rule::HostPackages),
    program(
        &["brew", "snap", "flatpak"],
        &["install", "update", "upgrade", "download", "refresh"],
        &[],
        Rule::HostPackages,
    ),
    program(&["debootstrap", "multistrap", "mmdebstrap"], &[], &["--version", "--help"], Rule::HostPackages),
    program(&["ostree"], &["pull"], &[], Rule::RemoteCopy),
    program(&["ssh-keyscan"], &[], &[], Rule::RemoteCopy),
];

/// Programs that need a closer look.
const SPECIAL: [&str; 14] =
    ["curl", "wget", "git", "svn", "skopeo", "go", "yarn", "yarnpkg", "rsync", "scp", "sftp", "ssh", "uv", "perl"];

/// Finds a text that may name a program of this file; what it does not match needs no parsing. Python is named by what
/// is called in it.
pub(super) static ANY_NAME: LazyLock<Regex> = LazyLock::new(|| {
    let names = PROGRAMS.iter().flat_map(|program| program.names).chain(&SPECIAL);
    let names: Vec<String> = names.map(|name| regex::escape(name)).collect();
    Regex::new(&format!(
        r"(?i)\b(?:FETCHCMD_)?(?:{}|pip[0-9.]*|urllib\w*|requests|http|USE_(?:DOCKER|PODMAN|CONTAINERS?))\b",
        names.join("|")
    ))
    .expect("a constant expression compiles")
});

/// The known variables where a command runs, its own environment last.
pub(super) type Variables = BTreeMap<String, String>;

/// What the command uses of the network, if anything. `words` begin with the program, which is not a wrapper (see
/// `wrappers`).
pub(super) fn reach(words: &[String], variables: &Variables) -> Option<Reach> {
    let (first, rest) = words.split_first()?;
    let name = program_name(first);
    let args: Vec<String> = rest.iter().flat_map(|word| split(word, variables)).collect();
    let args = args.as_slice();
    let found = |kind, what: String| Some(Reach { kind, what });
    match name.as_str() {
        "curl" | "wget" => downloads(args).then_some(Reach { kind: Rule::DownloadCommand, what: name }),
        "git" => found(Rule::VcsCommand, format!("git {}", git(args)?)),
        "svn" => found(Rule::VcsCommand, format!("svn {}", svn(args)?)),
        "skopeo" => args
            .iter()
            .any(|arg| arg.starts_with("docker://"))
            .then(|| Reach { kind: Rule::ContainerCommand, what: "skopeo".into() }),
        "go" => found(Rule::PackageCommand, format!("go {}", go(args, variables)?)),
        "yarn" | "yarnpkg" => found(Rule::PackageCommand, yarn(args)?),
        "rsync" | "scp" | "sftp" => {
            args.iter().any(|arg| is_other_machine(arg)).then_some(Reach { kind: Rule::RemoteCopy, what: name })
        }
        "ssh" => {
            let asks = args.iter().any(|arg| !arg.starts_with('-'));
            asks.then_some(Reach { kind: Rule::RemoteCopy, what: name })
        }
        "uv" if args.first().is_some_and(|arg| arg == "pip") => {
            found(Rule::PackageCommand, format!("uv pip {}", pip(&args[1..], variables)?))
        }
        "uv" if !has(args, &["--offline", "--no-sync"]) => {
            let command = subcommand(args, &["sync", "add", "lock", "run", "tool install", "tool run"])?;
            found(Rule::PackageCommand, format!("uv {command}"))
        }
        // Modules of Perl's that talk to servers, named in a script of one line.
        "perl" => args
            .iter()
            .any(|arg| ["LWP", "HTTP::Tiny", "Net::FTP"].iter().any(|module| arg.contains(module)))
            .then(|| Reach { kind: Rule::DownloadCommand, what: "perl".into() }),
        "cargo" if subcommand(args, &["install"]).is_some() => {
            let own = has(args, &["--path", "--offline", "--frozen"]);
            (!own && !is_true(variables, "CARGO_NET_OFFLINE"))
                .then(|| Reach { kind: Rule::PackageCommand, what: "cargo install".into() })
        }
        "cargo" if is_true(variables, "CARGO_NET_OFFLINE") => None,
        "npm" if is_true(variables, "npm_config_offline") => None,
        _ if is_python(&name) => {
            let module = args
                .iter()
                .position(|arg| arg == "-m")
                .filter(|at| args[..*at].iter().all(|arg| arg.starts_with('-')))?;
            match args.get(module + 1)?.as_str() {
                "pip" => found(Rule::PackageCommand, format!("pip {}", pip(&args[module + 2..], variables)?)),
                _ => None,
            }
        }
        _ if is_versioned(&name, "pip") => found(Rule::PackageCommand, format!("pip {}", pip(args, variables)?)),
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

/// Whether a value is a program of this file, alone or with its path.
pub(super) fn names_a_program(value: &str) -> bool {
    let name = value.rsplit('/').next().unwrap_or(value);
    let plain = !value.contains(char::is_whitespace) && !value.contains("${@");
    let known = PROGRAMS.iter().flat_map(|program| program.names).chain(&SPECIAL).any(|known| *known == name);
    plain && (known || is_versioned(name, "pip"))
}

/// A command whose program a variable names (`$GO mod download`), with that program in the variable's place.
pub(super) fn with_program(words: &[String], variables: &Variables) -> Vec<String> {
    match words.split_first() {
        Some((first, rest)) if first.starts_with('$') => {
            split(first, variables).into_iter().chain(rest.iter().cloned()).collect()
        }
        _ => words.to_vec(),
    }
}

/// The words that a shell makes of one. A variable that is the whole word may hold several; what a command in it prints is
/// not known, and leaves the word as it is.
fn split(word: &str, variables: &Variables) -> Vec<String> {
    let resolved = resolve(word, variables);
    if !word.starts_with('$') || word.contains(char::is_whitespace) {
        return vec![resolved];
    }
    if resolved.trim().is_empty() || resolved.contains(['(', '`']) || resolved.contains("${@") {
        return vec![word.to_owned()];
    }
    resolved.split_whitespace().map(str::to_owned).collect()
}

/// The program of a command's first word: the last part of its path, or the program that a variable like `${CARGO}`
/// usually names.
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

/// Which of the subcommands this is. Options, and the word after one (it may be the option's), are passed over, and
/// variables that are called after options.
fn subcommand(args: &[String], subcommands: &[&'static str]) -> Option<&'static str> {
    let mut after_option = false;
    for (at, arg) in args.iter().enumerate() {
        if arg.starts_with(['-', '+']) {
            after_option = !arg.contains('=');
            continue;
        }
        if holds_options(arg) {
            continue;
        }
        let here = args[at..].iter().filter(|arg| !arg.starts_with('-') && !holds_options(arg)).map(String::as_str);
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

/// `${NPM_INSTALL_FLAGS}`: a variable that is not known, but by its name holds options alone.
fn holds_options(word: &str) -> bool {
    let name = word.strip_prefix('$').map(|name| name.trim_start_matches('{').trim_end_matches('}'));
    name.is_some_and(|name| {
        ["FLAGS", "OPTS", "OPTIONS", "ARGS"].iter().any(|end| name.to_ascii_uppercase().ends_with(end))
    })
}

/// Expands the known variables of a word.
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
        let of_itself = |value: &str| value.contains(&format!("${name}")) || value.contains(&format!("${{{name}}}"));
        match variables.get(name).filter(|value| !of_itself(value) && value.len() < 4096) {
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
