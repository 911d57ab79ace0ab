//! Packages of registries, by the coordinates in recipes (`crate://`, `gomod://`, `npm://`).
//!
//! The lock has the coordinates. A site may use another registry instead of the usual one, so the download URL is decided
//! when fetching. This module has only the paths below a registry's base, as the registries' protocols define them.

use crate::error::{Error, Result};

use super::SourceUrl;

/// A package of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package<'a> {
    /// `crate://REGISTRY/NAME/VERSION` (`bb.fetch2.crate`).
    Crate {
        /// The host, with the path before the name, if any.
        registry: &'a str,
        /// The crate's name.
        name: &'a str,
        version: &'a str,
        /// `;protocol=`, if it is not https.
        protocol: &'a str,
    },
    /// `gomod://MODULE;version=V[;mod=1]` (`bb.fetch2.gomod`).
    GoModule {
        /// The module's path.
        module: &'a str,
        /// Its version, with the leading `v`.
        version: &'a str,
        /// Whether only its `go.mod` is asked for.
        only_mod: bool,
    },
    /// `npm://REGISTRY/;package=P;version=V` (`bb.fetch2.npm`, which BitBake has disabled since 2.18).
    Npm {
        /// The registry's host, with its path, if any.
        registry: &'a str,
        /// The package, with its scope (`@scope/name`).
        package: &'a str,
        version: &'a str,
    },
}

impl<'a> Package<'a> {
    /// The coordinates in a URL; `None` for a URL of another kind.
    ///
    /// # Errors
    /// The coordinates are not complete: kind `Input`.
    pub fn of(url: &'a SourceUrl) -> Result<Option<Package<'a>>> {
        let place = url.without_parameters().split_once("://").map_or("", |(_, place)| place);
        let parameter = |name: &str| url.parameter(name).unwrap_or_default();
        let package = match url.scheme() {
            "crate" => {
                let mut parts = place.rsplitn(3, '/');
                let (version, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let protocol = url.parameter("protocol").unwrap_or("https");
                Package::Crate { registry: parts.next().unwrap_or_default(), name, version, protocol }
            }
            "gomod" => Package::GoModule {
                module: place.trim_end_matches('/'),
                version: parameter("version"),
                only_mod: parameter("mod") == "1",
            },
            "npm" => Package::Npm {
                registry: place.trim_end_matches('/'),
                package: parameter("package"),
                version: parameter("version"),
            },
            _ => return Ok(None),
        };
        package.check().map(|()| Some(package))
    }

    fn check(&self) -> Result<()> {
        let is_part = |text: &str| !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\\']);
        let is_path = |text: &str| text.split('/').all(is_part);
        let fine = match self {
            Package::Crate { registry, name, version, protocol } => {
                let is_spoken = ["https", "http", "ftp", "file"].contains(protocol);
                is_path(registry) && is_part(name) && is_part(version) && is_spoken
            }
            Package::GoModule { module, version, .. } => is_path(module) && is_part(version),
            // The version of `latest` changes with time.
            Package::Npm { registry, package, version } => {
                let name = package.strip_prefix('@').and_then(|scoped| scoped.split_once('/'));
                let name_fits = name.map_or(is_part(package), |(scope, name)| is_part(scope) && is_part(name));
                is_path(registry) && name_fits && is_part(version) && *version != "latest"
            }
        };
        let form = match self {
            Package::Crate { .. } => "crate://REGISTRY/NAME/VERSION",
            Package::GoModule { .. } => "gomod://MODULE;version=V",
            Package::Npm { .. } => "npm://REGISTRY/;package=NAME;version=V",
        };
        if fine { Ok(()) } else { Err(Error::input(format!("it does not name a package as `{form}` does"))) }
    }

    /// The base of the registry that the recipe names, which BitBake uses by default. A Go module names no registry.
    pub fn usual_base(&self) -> Option<String> {
        match self {
            // The download host that crates.io's data access policy asks clients to use (`bb.fetch2.crate`).
            Package::Crate { registry: registry @ "crates.io", .. } => {
                Some(format!("https://static.{registry}/crates"))
            }
            Package::Crate { registry, protocol, .. } => Some(format!("{protocol}://{registry}")),
            Package::Npm { registry, .. } => Some(format!("https://{registry}")),
            Package::GoModule { .. } => None,
        }
    }

    /// The path of the file below a registry's base, by the registry's protocol: cargo's default `dl`, Go's module
    /// proxy protocol, npm's tarballs.
    pub fn path(&self) -> String {
        match self {
            Package::Crate { name, version, .. } => format!("{name}/{version}/download"),
            Package::GoModule { module, version, only_mod } => {
                let extension = if *only_mod { "mod" } else { "zip" };
                format!("{}/@v/{}.{extension}", escape(module), escape(version))
            }
            Package::Npm { package, version, .. } => {
                let base = package.rsplit('/').next().unwrap_or(package);
                format!("{package}/-/{base}-{version}.tgz")
            }
        }
    }
}

/// Go's case encoding: two modules stay different on a file system that ignores case (`module.EscapePath`).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(c.to_ascii_lowercase());
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(text: &str) -> String {
        let url: SourceUrl = text.parse().unwrap();
        let package = Package::of(&url).unwrap().unwrap();
        format!("{}|{}", package.usual_base().unwrap_or_default(), package.path())
    }

    #[test]
    fn paths_follow_the_registries_protocols() {
        for (url, place) in [
            ("crate://host:8080/api/x/0.1.0;name=x", "https://host:8080/api|x/0.1.0/download"),
            (
                "gomod://github.com/BurntSushi/toml;version=v1.2.3-RC1",
                "|github.com/!burnt!sushi/toml/@v/v1.2.3-!r!c1.zip",
            ),
            ("gomod://gonum.org;version=v1.0.0;mod=1", "|gonum.org/@v/v1.0.0.mod"),
            ("gomod://gonum.org;version=v1.0.0;mod=0", "|gonum.org/@v/v1.0.0.zip"),
            (
                "npm://registry.corp;package=array-flatten;version=1.1.1",
                "https://registry.corp|array-flatten/-/array-flatten-1.1.1.tgz",
            ),
            ("npm://h/base/;package=@scope/a;version=1.0.0", "https://h/base|@scope/a/-/a-1.0.0.tgz"),
        ] {
            assert_eq!(usual(url), place);
        }
        let usual = usual("crate://crates.io/serde/1.0.219");
        assert_eq!(usual, format!("https://static.{}/crates|serde/1.0.219/download", "crates.io"));
        assert_eq!(Package::of(&"https://h/x".parse().unwrap()).unwrap(), None);
    }
}
