//! Names of container images: as people write them, as the lock writes them, and as registries are asked for them.
//!
//! The grammar is that of the reference package of `distribution` (which docker and podman use): a name without a host is
//! one of Docker Hub, and a single word there is an image in `library/`.

use std::fmt;

use super::{Sha256, SourceUrl};
use crate::error::{Error, Result};

/// Docker Hub, in names of images.
const HUB: &str = "docker.io";

/// The host of Docker Hub's registry (`distribution`, `registry.IndexHostname`).
const HUB_API: &str = "registry-1.docker.io";

/// The longest name that registries accept.
const LONGEST: usize = 255;

/// An image, or another artifact of a registry, and its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// The registry's host, with its port if it has one.
    pub registry: String,
    /// The full name of the repository: `library/alpine`.
    pub repository: String,
    /// The tag asked for.
    pub tag: Option<String>,
    /// The digest of the manifest or index. If there is one, it decides, not the tag.
    pub digest: Option<Sha256>,
}

impl ImageName {
    /// Reads a name as people write it for docker: a short name is completed, and a missing tag is `latest`.
    ///
    /// # Errors
    /// The text is not the name of an image: kind `Input`.
    pub fn read(text: &str) -> Result<ImageName> {
        let (first, rest) = text.split_once('/').unwrap_or(("", text));
        let is_host = first.contains(['.', ':']) || first == "localhost";
        let (registry, rest) = if is_host { (first, rest.to_owned()) } else { (HUB, text.to_owned()) };
        let registry = if registry == "index.docker.io" { HUB } else { registry };
        let rest = if registry == HUB && !rest.contains('/') { format!("library/{rest}") } else { rest };
        let mut name = ImageName::of_parts(registry, &rest).map_err(|why| refused(text, why))?;
        if name.digest.is_none() && name.tag.is_none() {
            name.tag = Some("latest".to_owned());
        }
        Ok(name)
    }

    /// The image that an `oci:` URL names; nothing is completed.
    ///
    /// # Errors
    /// The URL does not name an image: kind `Input`.
    pub fn of_url(url: &SourceUrl) -> Result<ImageName> {
        let place =
            url.as_str().strip_prefix("oci://").ok_or_else(|| refused(url.as_str(), "it is not an `oci:` URL"))?;
        ImageName::of_place(place).map_err(|why| refused(url.as_str(), why))
    }

    /// Parses what follows `oci://`.
    pub(super) fn of_place(place: &str) -> Result<ImageName, &'static str> {
        let (registry, rest) = place.split_once('/').ok_or("it names a registry, but no repository")?;
        ImageName::of_parts(registry, rest)
    }

    fn of_parts(registry: &str, rest: &str) -> Result<ImageName, &'static str> {
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(parse_digest(digest).ok_or("its digest is not `sha256:` and 64 digits")?))
            }
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !is_host(registry) {
            return Err("its registry is not a host");
        }
        if !repository.split('/').all(is_component) || registry.len() + repository.len() >= LONGEST {
            return Err("a repository consists of lower-case letters and digits, with single `.` `_` `-` between them");
        }
        if !tag.as_deref().is_none_or(is_tag) {
            return Err("a tag consists of letters, digits, `_` `.` `-`, 128 at most");
        }
        Ok(ImageName { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }

    /// The same repository at a digest, without a tag.
    #[must_use]
    pub fn at(&self, digest: Sha256) -> ImageName {
        ImageName { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As a URL, `oci://HOST/REPOSITORY[:TAG][@sha256:…]`: the form for mirror rules and the lock.
    ///
    /// # Errors
    /// The name cannot be written as a URL, which no checked name gives.
    pub fn to_url(&self) -> Result<SourceUrl> {
        format!("oci://{self}").parse()
    }

    /// The host to connect to, with its port.
    pub fn api_host(&self) -> &str {
        if self.registry == HUB { HUB_API } else { &self.registry }
    }

    /// Whether the registry is on this machine. It is then used without TLS, as docker does.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        is_loopback(host.map_or(self.registry.as_str(), |(host, _)| host))
    }

    /// The tag or digest in the request for the manifest: the digest if there is one.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The URL of an image's archive in recipes. No server has the archive at this URL: BitBake has no
    /// fetcher for images, but finds a file in a mirror by `downloadfilename`. [`SourceUrl::of_recipe`] reads the URL back.
    pub fn recipe_url(&self) -> String {
        format!("https://{}/{}/{}{RECIPE_SUFFIX}", self.registry, self.repository, self.reference())
    }

    /// Reads [`ImageName::recipe_url`], with any parameters that a recipe adds.
    pub(super) fn of_recipe(entry: &str) -> Option<ImageName> {
        let place = entry.strip_prefix("https://")?.split(';').next()?.strip_suffix(RECIPE_SUFFIX)?;
        let (path, digest) = place.rsplit_once('/').filter(|(_, digest)| parse_digest(digest).is_some())?;
        ImageName::of_place(&format!("{path}@{digest}")).ok()
    }
}

/// The end of the URL of an image's archive, after its digest.
const RECIPE_SUFFIX: &str = ".oci.tar";

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@sha256:{digest}"))
    }
}

/// Whether a host, without a port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// `sha256:<64 digits>`; no common registry uses other algorithms.
pub fn parse_digest(text: &str) -> Option<Sha256> {
    text.strip_prefix("sha256:")?.parse().ok()
}

fn refused(text: &str, why: &str) -> Error {
    Error::input(format!("`{}` does not name an image: {why}", super::url::redact(text).escape_debug()))
}

fn is_host(host: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]_".contains(c);
    host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') && host.chars().all(good)
}

fn is_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = part.starts_with(word) && part.ends_with(word) && part.chars().all(|c| word(c) || "._-".contains(c));
    let single = !part.contains("..") && !part.contains("___");
    good && single && !["._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| part.contains(pair))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// An architecture: with BitBake's name (TARGET_ARCH), and with the name in images (Go's GOARCH, and a variant).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// BitBake's name, which kbuild.toml and the lock use.
    pub name: &'static str,
    /// An index's `platform.architecture`.
    pub image: &'static str,
    /// Its `platform.variant`, if the architecture alone is ambiguous.
    pub variant: Option<&'static str>,
}

/// The architectures that have a name on both sides.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "aarch64", image: "arm64", variant: None },
    Architecture { name: "arm", image: "arm", variant: Some("v7") },
    Architecture { name: "armv6", image: "arm", variant: Some("v6") },
    Architecture { name: "i686", image: "386", variant: None },
    Architecture { name: "loongarch64", image: "loong64", variant: None },
    Architecture { name: "powerpc64le", image: "ppc64le", variant: None },
    Architecture { name: "riscv64", image: "riscv64", variant: None },
    Architecture { name: "s390x", image: "s390x", variant: None },
    Architecture { name: "x86_64", image: "amd64", variant: None },
];

/// The architectures that are locked by default, if the image has them.
pub const USUAL_ARCHITECTURES: [&str; 2] = ["aarch64", "x86_64"];

impl Architecture {
    /// Finds one by BitBake's name.
    pub fn named(name: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|known| known.name == name)
    }

    /// Finds one by the names of an index; `None` if BitBake has no name for it.
    pub fn of_image(architecture: &str, variant: Option<&str>) -> Option<&'static Architecture> {
        let fits = |known: &&Architecture| {
            known.image == architecture && known.variant.is_none_or(|wanted| variant.unwrap_or("v7") == wanted)
        };
        ARCHITECTURES.iter().find(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn short_names_are_spelled_out() {
        for (written, spelled) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.23", "docker.io/library/alpine:3.23"),
            ("library/alpine:3.23", "docker.io/library/alpine:3.23"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("grafana/grafana", "docker.io/grafana/grafana:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("quay.io/podman/hello:v1", "quay.io/podman/hello:v1"),
            ("127.0.0.1:5000/a/b:1.0", "127.0.0.1:5000/a/b:1.0"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ] {
            let name = ImageName::read(written).unwrap();
            assert_eq!(name.to_string(), spelled);
            assert_eq!(ImageName::of_url(&name.to_url().unwrap()).unwrap(), name);
        }
        let both = ImageName::read(&format!("alpine:3.23@{DIGEST}")).unwrap();
        assert_eq!(
            (both.to_string(), both.reference()),
            (format!("docker.io/library/alpine:3.23@{DIGEST}"), DIGEST.into())
        );
        let bare = ImageName::read(&format!("alpine@{DIGEST}")).unwrap();
        assert_eq!(bare.to_url().unwrap().as_str(), format!("oci://docker.io/library/alpine@{DIGEST}"));
        assert_eq!(bare.api_host(), "registry-1.docker.io");
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for bad in [
            "",
            "Alpine",
            "a/../b",
            "a//b",
            "alpine:",
            "alpine:-x",
            "alpine@sha256:12",
            "alpine@md5:12",
            "-h.x/a",
            "a b",
            "h.x/",
        ] {
            assert!(ImageName::read(bad).is_err(), "{bad}");
        }
        assert!("oci://docker.io".parse::<SourceUrl>().is_err());
        assert!("oci://docker.io/A".parse::<SourceUrl>().is_err());
        assert!("oci://me:secret@h/a".parse::<SourceUrl>().is_err());
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for (name, loopback) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("127.1.2.3:1/a", true),
            ("[::1]:5000/a", true),
            ("localhost.corp/a", false),
            ("registry.corp:5000/a", false),
            ("alpine", false),
        ] {
            assert_eq!(ImageName::read(name).unwrap().is_loopback(), loopback, "{name}");
        }
    }

    #[test]
    fn recipes_are_given_a_url_that_reads_back() {
        let name = ImageName::read(&format!("registry.corp:5000/a/b@{DIGEST}")).unwrap();
        let entry = format!("{};downloadfilename=x.tar;name=kbuild", name.recipe_url());
        assert_eq!(SourceUrl::of_recipe(&entry).unwrap(), name.to_url().unwrap());
        let plain = format!("https://registry.corp/v2/a/manifests/{DIGEST}");
        assert_eq!(SourceUrl::of_recipe(&plain).unwrap().as_str(), plain, "any other URL is not changed");
    }

    #[test]
    fn architectures_have_two_names() {
        let of = |architecture, variant| Architecture::of_image(architecture, variant).map(|known| known.name);
        assert_eq!(of("amd64", None), Some("x86_64"));
        assert_eq!(of("arm64", Some("v8")), Some("aarch64"));
        assert_eq!(
            (of("arm", Some("v7")), of("arm", Some("v6")), of("arm", Some("v5"))),
            (Some("arm"), Some("armv6"), None)
        );
        assert_eq!(of("unknown", None), None);
        assert!(USUAL_ARCHITECTURES.iter().all(|name| Architecture::named(name).is_some()));
    }
}
