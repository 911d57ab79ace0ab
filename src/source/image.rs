//! Names of container images: what people write, what the lock writes, and what the registries' protocol makes of them.
//!
//! The grammar is that of the reference package of `distribution` (which docker and podman use): a name without a host is
//! Docker Hub's, and one word of it is a library image.

use std::fmt;

use super::{Sha256, SourceUrl};
use crate::error::{Error, Result};

/// Docker Hub, as names write it.
const HUB: &str = "docker.io";

/// Where Docker Hub's registry answers (`distribution`, `registry.IndexHostname`).
const HUB_API: &str = "registry-1.docker.io";

/// The longest name that registries take.
const LONGEST: usize = 255;

/// An image, or whatever else lies in a registry: which one, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    /// The registry's host, with its port if it has one.
    pub registry: String,
    /// The repository, spelled out: `library/alpine`.
    pub repository: String,
    /// The tag asked for.
    pub tag: Option<String>,
    /// The digest of the manifest or index, which decides where there is one.
    pub digest: Option<Sha256>,
}

impl ImageName {
    /// Reads a name as people write it for docker: short names are spelled out, and a missing tag is `latest`.
    ///
    /// # Errors
    /// Text that names no image: kind `Input`.
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

    /// What an `oci:` URL names; nothing is added to it.
    ///
    /// # Errors
    /// A URL that names no image: kind `Input`.
    pub fn of_url(url: &SourceUrl) -> Result<ImageName> {
        let place = url.as_str().strip_prefix("oci://").ok_or_else(|| refused(url.as_str(), "it is no `oci:` URL"))?;
        ImageName::of_place(place).map_err(|why| refused(url.as_str(), why))
    }

    /// What stands behind `oci://`.
    pub(super) fn of_place(place: &str) -> Result<ImageName, &'static str> {
        let (registry, rest) = place.split_once('/').ok_or("it names a registry, but nothing in it")?;
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
            return Err("its registry is no host");
        }
        if !repository.split('/').all(is_component) || registry.len() + repository.len() >= LONGEST {
            return Err("a repository is of lower-case letters and digits, with single `.` `_` `-` between them");
        }
        if !tag.as_deref().is_none_or(is_tag) {
            return Err("a tag is of letters, digits, `_` `.` `-`, 128 at most");
        }
        Ok(ImageName { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }

    /// The same repository at a digest, without a tag.
    #[must_use]
    pub fn at(&self, digest: Sha256) -> ImageName {
        ImageName { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As a URL, `oci://HOST/REPOSITORY[:TAG][@sha256:…]`: what mirror rules see, and what the lock names.
    ///
    /// # Errors
    /// None that a checked name could give.
    pub fn to_url(&self) -> Result<SourceUrl> {
        format!("oci://{self}").parse()
    }

    /// The host that is asked, with its port.
    pub fn api_host(&self) -> &str {
        if self.registry == HUB { HUB_API } else { &self.registry }
    }

    /// Whether the registry is on this machine, and so reached without TLS, as docker does.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        is_loopback(host.map_or(self.registry.as_str(), |(host, _)| host))
    }

    /// The tag or digest by which the registry is asked for the manifest; the digest decides where there is one.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The URL that recipes are given for the archive of an image. No server gives the archive under it: BitBake has no
    /// fetcher for images, but finds a file in a mirror by `downloadfilename`. [`SourceUrl::of_recipe`] reads it back.
    pub fn recipe_url(&self) -> String {
        format!("https://{}/{}/{}{RECIPE_SUFFIX}", self.registry, self.repository, self.reference())
    }

    /// Reads [`ImageName::recipe_url`], with whatever parameters a recipe has added.
    pub(super) fn of_recipe(entry: &str) -> Option<ImageName> {
        let place = entry.strip_prefix("https://")?.split(';').next()?.strip_suffix(RECIPE_SUFFIX)?;
        let (path, digest) = place.rsplit_once('/').filter(|(_, digest)| parse_digest(digest).is_some())?;
        ImageName::of_place(&format!("{path}@{digest}")).ok()
    }
}

/// How the URL of an image's archive ends, behind its digest.
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

/// `sha256:<64 digits>`; other algorithms are not used by any registry that matters.
pub fn parse_digest(text: &str) -> Option<Sha256> {
    text.strip_prefix("sha256:")?.parse().ok()
}

fn refused(text: &str, why: &str) -> Error {
    Error::input(format!("`{}` names no image: {why}", super::url::redact(text).escape_debug()))
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

/// An architecture: as BitBake's TARGET_ARCH names it, and as images name it (Go's GOARCH, and a variant).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// BitBake's word, which kbuild.toml and the lock write.
    pub name: &'static str,
    /// An index's `platform.architecture`.
    pub image: &'static str,
    /// Its `platform.variant`, where the architecture alone does not decide.
    pub variant: Option<&'static str>,
}

/// Those that both sides have a word for.
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

/// What is locked of an image when nobody says which architectures are wanted, as far as the image has them.
pub const USUAL_ARCHITECTURES: [&str; 2] = ["aarch64", "x86_64"];

impl Architecture {
    /// By BitBake's word.
    pub fn named(name: &str) -> Option<&'static Architecture> {
        ARCHITECTURES.iter().find(|known| known.name == name)
    }

    /// By the words of an index; nothing for one that BitBake has no word for.
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
        assert_eq!(SourceUrl::of_recipe(&plain).unwrap().as_str(), plain, "anybody's own URL stays what it is");
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
