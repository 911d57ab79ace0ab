//! Package managers that need a closer look: what keeps them off the network.

use super::{Variables, has, is_true, subcommand};

/// `go`'s subcommand, when it may ask a proxy or a repository. `-mod=vendor` makes `get` and `install x@v` fail rather than
/// download; `go mod` does not heed it. With `GOPROXY=off` or a directory nothing leaves the machine.
pub(super) fn go(args: &[String], variables: &Variables) -> Option<String> {
    let value = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    let proxy = value("GOPROXY");
    if proxy == "off" || (proxy.starts_with("file://") && !proxy.contains(',')) {
        return None;
    }
    let vendored = has(args, &["-mod=vendor"]) || value("GOFLAGS").contains("-mod=vendor");
    let found = subcommand(args, &["get", "install", "run", "mod download", "mod tidy", "mod vendor"])?;
    let reaches = match found {
        // `go run PACKAGE@VERSION` is a module of its own, which nothing vendored holds.
        "run" => args.iter().any(|arg| !arg.starts_with('-') && arg.replace("${@", "").contains('@')),
        "get" => !vendored,
        "install" => !vendored && args.iter().any(|arg| !arg.starts_with('-') && arg.replace("${@", "").contains('@')),
        _ => true,
    };
    reaches.then(|| found.to_owned())
}

/// `pip install` from an index. A wheel or directory of the build, with neither dependencies nor build isolation, needs none:
/// so oe-core's own classes call it.
pub(super) fn pip(args: &[String], variables: &Variables) -> Option<String> {
    let found = subcommand(args, &["install", "download", "wheel"])?;
    let bare = has(args, &["--no-deps"]) && has(args, &["--no-build-isolation"]);
    let wheel = has(args, &["--no-deps"]) && args.iter().any(|arg| arg.ends_with(".whl") && !arg.contains("://"));
    let offline = has(args, &["--no-index"]) || is_true(variables, "PIP_NO_INDEX");
    (!offline && !bare && !wheel).then(|| found.to_owned())
}

/// `yarn` alone installs.
pub(super) fn yarn(args: &[String]) -> Option<String> {
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
