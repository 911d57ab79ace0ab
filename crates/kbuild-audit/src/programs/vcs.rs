//! Version control: which subcommands ask a server, and which repositories are of this machine.

use super::has;

/// git's subcommand, when it asks a server.
pub(super) fn git(args: &[String]) -> Option<String> {
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

pub(super) fn svn(args: &[String]) -> Option<String> {
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
pub(super) fn is_here(word: &str) -> bool {
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
