//! URLs of sources: which are accepted, how the lock writes them, and how they are shown.
//!
//! The lock has the canonical URL, never the URL that the bytes were really fetched from (a mirror, an `insteadOf`).
//!
//! Every URL is checked here, whoever wrote it, so that nothing private gets into a lock, a document or a
//! bundle. A password, or a query with a credential, is refused. A user name in an http(s) URL may be a token and
//! does not change which bytes are meant: it is removed.

use std::fmt;
use std::str::FromStr;

use kbuild_redact::is_secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

pub use kbuild_redact::{redact, redact_in_place};

use super::{ImageName, Package};
use crate::error::{Error, Result};

/// How a URL is fetched, by its scheme. `ext::`, `fd::` and the like are not accepted, so that git never sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A file on a server (`https`, `http`, `ftp`, `ftps`), or a repository at `https` or `http`.
    Web,
    /// A repository that only git can reach (`git`, `ssh`, `git+ssh`).
    Git,
    /// A path of this machine (`file`).
    Disk,
    /// An object of a cloud's storage (`s3`, `gs`, `az`), which also has a public https address.
    Cloud,
    /// A package of a registry by its coordinates (`crate`, `gomod`, `npm`): see [`super::Package`].
    Package,
    /// An object of Git LFS (`lfs+https` and the like): the LFS server, or the repository that it belongs to.
    Lfs,
    /// An image in a registry (`oci`), see [`super::ImageName`]: kbuild makes one archive of what it fetches.
    Image,
    /// A protocol that kbuild does not have (`sftp`, `hg`, `svn`): the file that BitBake would make is fetched from mirrors.
    Mirrors,
}

impl Access {
    fn of(scheme: &str) -> Option<Access> {
        Some(match scheme {
            "https" | "http" | "ftp" | "ftps" => Access::Web,
            "git" | "ssh" | "git+ssh" => Access::Git,
            "file" => Access::Disk,
            "s3" | "gs" | "az" => Access::Cloud,
            "crate" | "gomod" | "npm" => Access::Package,
            "oci" => Access::Image,
            "lfs+https" | "lfs+http" | "lfs+ssh" | "lfs+file" => Access::Lfs,
            "sftp" | "hg" | "svn" => Access::Mirrors,
            _ => return None,
        })
    }
}

/// What the schemes of [`Access::Lfs`] begin with.
pub(super) const LFS: &str = "lfs+";

/// Schemes whose host is a DNS name, and so the same in upper and lower case. (The crate `url` lowers it for schemes that
/// browsers know. The first part of a Go module or a bucket is not a host.)
const DNS: [&str; 9] = ["git", "ssh", "git+ssh", "ftps", "sftp", "hg", "svn", "az", "oci"];

/// The parameters (`;version=v1`) of a scheme's URLs that say which bytes are meant or where they are, in the order in which
/// kbuild writes them; empty for schemes without parameters. The other parameters in a recipe's entry say what BitBake
/// does with the bytes (`subdir`, `name`, `sha256sum`).
fn parameters_of(scheme: &str) -> &'static [&'static str] {
    match scheme {
        "crate" => &["protocol"],
        "gomod" => &["version", "mod"],
        "npm" => &["package", "version"],
        "hg" => &["module", "rev", "protocol"],
        "svn" => &["module", "path_spec", "rev", "protocol"],
        _ => &[],
    }
}

/// A checked URL of a source: a known scheme, no credentials, nothing that a program could take for an option.
///
/// A URL by coordinates (`gomod://MODULE;version=V`) keeps its parameters as they were written, after a path that is
/// never empty. So its text stays the same however often it is read and written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceUrl(Url);

impl SourceUrl {
    /// The URL as the lock writes it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The parsed URL.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The scheme in lower case, without the colon.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// The URL of an entry of SRC_URI: keeps what identifies the source, in an order that does not depend on the recipe.
    /// (A revision that only SRCREV gives must be added as `;rev=`.)
    ///
    /// # Errors
    /// The entry is not a valid URL: kind `Input`.
    pub fn of_recipe(entry: &str) -> Result<SourceUrl> {
        if let Some(image) = ImageName::of_recipe(entry) {
            return image.to_url();
        }
        let (place, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let scheme = place.split(':').next().unwrap_or_default();
        let mut text = place.to_owned();
        for name in parameters_of(scheme) {
            let mut pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(key, _)| key == name).map(|(_, value)| value);
            // A default value is left out.
            let usual = |value: &&str| matches!((scheme, *value), ("crate", "https") | ("gomod", "0"));
            if let Some(value) = value.filter(|value| !usual(value)) {
                text.push_str(&format!(";{name}={value}"));
            }
        }
        text.parse()
    }

    /// How it is fetched.
    pub fn access(&self) -> Access {
        // `from_str` accepts no other scheme.
        Access::of(self.scheme()).unwrap_or(Access::Mirrors)
    }

    /// Whether kbuild.toml may declare a source with it. Of packages only crates, whose URL is complete without parameters.
    /// Cloud storage and other version control systems are only for recipes, where BitBake unpacks what is fetched.
    pub fn is_declarable(&self) -> bool {
        match self.access() {
            Access::Web | Access::Git | Access::Disk => self.scheme() != "ftps",
            Access::Package => self.scheme() == "crate",
            Access::Cloud | Access::Image | Access::Lfs | Access::Mirrors => false,
        }
    }

    /// Whether git can fetch it.
    pub fn is_for_git(&self) -> bool {
        matches!(self.access(), Access::Git | Access::Disk) || ["https", "http"].contains(&self.scheme())
    }

    /// A parameter (`;name=value`) of a URL whose scheme has parameters.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.split().1.split(';').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The text before the parameters.
    pub fn without_parameters(&self) -> &str {
        self.split().0
    }

    fn split(&self) -> (&str, &str) {
        let parts = self.as_str().split_once(';').filter(|_| !parameters_of(self.scheme()).is_empty());
        parts.unwrap_or((self.as_str(), ""))
    }

    /// The host, with the port if it is not the default one; empty for `file:`.
    pub fn host(&self) -> String {
        match (self.0.host_str(), self.0.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => String::new(),
        }
    }

    /// Joins a relative reference as git does for a submodule's URL (`./x`, `../x`): path components are removed
    /// from the whole URL, which counts as a directory (`git-submodule.sh`, `resolve_relative_url`).
    ///
    /// # Errors
    /// The reference leads above the host, or the result is not an accepted URL.
    pub fn join_submodule(&self, reference: &str) -> Result<SourceUrl> {
        if !reference.starts_with("./") && !reference.starts_with("../") {
            return reference.parse();
        }
        let climbs_too_far = || Error::input(format!("submodule URL `{reference}` leads above {self}"));
        let mut base: Vec<&str> = self.0.path().trim_matches('/').split('/').collect();
        for part in reference.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(base.pop().ok_or_else(climbs_too_far)?),
                part => base.push(part),
            }
        }
        let mut joined = self.0.clone();
        joined.set_path(&format!("/{}", base.join("/")));
        joined.as_str().parse()
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SourceUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::input(format!("`{}` is not a usable URL: {why}", redact(text))));
        if text.starts_with('-') {
            return refuse("it begins with a dash");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it contains white space or control characters");
        }
        if let Some(server) = text.strip_prefix(LFS) {
            // Checked as what it is without the prefix: for the crate `url` the whole has a scheme that nobody knows.
            let server: SourceUrl = server.parse()?;
            let whole = Url::parse(&format!("{LFS}{server}")).ok().filter(|url| Access::of(url.scheme()).is_some());
            return whole.map_or_else(|| refuse("Git LFS does not speak this protocol"), |url| Ok(SourceUrl(url)));
        }
        let spelled = scp_to_ssh(text).or_else(|| with_path(text));
        let Ok(mut url) = Url::parse(spelled.as_deref().unwrap_or(text)) else {
            return refuse("it has no scheme, or cannot be parsed");
        };
        let Some(access) = Access::of(url.scheme()) else {
            return refuse(&format!("kbuild does not fetch `{}:`", url.scheme()));
        };
        if url.password().is_some() {
            return refuse("it contains a password (store it in ~/.netrc or git's credential helper)");
        }
        if let Some(secret) = secret_parameter(&url) {
            let why = format!("its query contains a credential (`{secret}`), which would be written to the lock");
            return refuse(&format!("{why}; store logins in ~/.netrc or git's credential helper"));
        }
        if ["https", "http"].contains(&url.scheme()) && url.set_username("").is_err() {
            return refuse("it has no host");
        }
        if url.scheme() != "file" && url.host_str().is_none_or(str::is_empty) {
            return refuse("it has no host");
        }
        if url.host_str().is_some_and(|host| host.starts_with('-')) || url.username().starts_with('-') {
            return refuse("its host or user begins with a dash");
        }
        if let Some(lower) = url.host_str().filter(|_| DNS.contains(&url.scheme())).map(str::to_ascii_lowercase)
            && url.set_host(Some(&lower)).is_err()
        {
            return refuse("its host is not valid");
        }
        let url = SourceUrl(url);
        if let Err(error) = Package::of(&url) {
            return refuse(&error.to_string());
        }
        if access == Access::Image
            && let Err(why) = ImageName::of_place(url.as_str().trim_start_matches("oci://"))
        {
            return refuse(why);
        }
        if access == Access::Cloud && url.as_url().path().trim_matches('/').is_empty() {
            return refuse("it names no object");
        }
        if ["hg", "svn"].contains(&url.scheme()) && url.parameter("module").is_none_or(str::is_empty) {
            return refuse("it has no `;module=`");
        }
        Ok(url)
    }
}

/// Parameters may follow the host directly (`npm://HOST;package=P`). The parsed URL has a path between them; for BitBake
/// both are the same (`bb.fetch2.decodeurl`).
fn with_path(text: &str) -> Option<String> {
    let (url, parameters) = text.split_once(';')?;
    let (scheme, place) = url.split_once("://")?;
    let bare = !parameters_of(scheme).is_empty() && !place.contains('/');
    bare.then(|| format!("{url}/;{parameters}"))
}

/// `git@host:path`, git's short form, as an `ssh:` URL.
fn scp_to_ssh(text: &str) -> Option<String> {
    let (host, path) = text.split_once(':')?;
    let is_short = !path.starts_with("//") && host.contains('@') && !host.contains('/');
    is_short.then(|| format!("ssh://{host}/{}", path.trim_start_matches('/')))
}

/// Whether a URL, as a person wrote it, has a user name that may be a token. [`SourceUrl`] removes it; the author of a
/// file gets an error.
pub fn carries_user(text: &str) -> bool {
    let web = ["https", "http", "ftp", "ftps"];
    Url::parse(text).is_ok_and(|url| web.contains(&url.scheme()) && !url.username().is_empty())
}

/// The first parameter of a query that contains a credential.
fn secret_parameter(url: &Url) -> Option<String> {
    let names = url.query_pairs().map(|(name, _)| name.into_owned());
    names.into_iter().find(|name| is_secret(name))
}

/// The target of a redirect, for messages: without login and without query, since signed URLs have their signature there.
pub fn without_query(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let cut = if url.query().is_some() { "?…" } else { "" };
    format!("{}{cut}", redact(shown.as_str()))
}

impl Serialize for SourceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SourceUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap()
    }

    #[test]
    fn dangerous_urls_are_refused() {
        for text in [
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "https://user:secret@host/x",
            "ssh://-oProxyCommand=x/y",
            "relative/path",
            "https://host/a b",
            "data:text/plain,x",
        ] {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_recipes_name_reads_back_as_it_was_written() {
        for (text, canonical) in [
            ("crate://crates.io/serde/1.0.219", ""),
            ("crate://Registry.corp/api/x/0.1.0+b;protocol=https", ""),
            ("gomod://github.com/BurntSushi/toml;version=v1.2.3;mod=1", ""),
            ("gomod://gonum.org;version=v1.0.0", "gomod://gonum.org/;version=v1.0.0"),
            ("npm://registry.corp/;package=@scope/a;version=1.0.0", ""),
            (
                "npm://registry.corp;package=@scope/a;version=1.0.0",
                "npm://registry.corp/;package=@scope/a;version=1.0.0",
            ),
            ("s3://bucket/dir/a%20b.tgz", ""),
            ("gs://bucket/a.tgz", ""),
            ("az://Account.blob.example/c/a.tgz", "az://account.blob.example/c/a.tgz"),
            ("sftp://me@Host:2222/~/a.tgz", "sftp://me@host:2222/~/a.tgz"),
            ("ftps://Host/a.tgz", "ftps://host/a.tgz"),
            ("hg://host/hg;module=repo;rev=0123;protocol=https", ""),
            ("svn://host/svn;module=trunk;rev=42;protocol=svn+ssh", ""),
            ("git://GitHub.com/A/b", "git://github.com/A/b"),
        ] {
            let parsed = url(text);
            assert_eq!(parsed.as_str(), if canonical.is_empty() { text } else { canonical });
            assert_eq!(url(parsed.as_str()), parsed, "stable");
            let json = serde_json::to_string(&parsed).unwrap();
            assert_eq!(serde_json::from_str::<SourceUrl>(&json).unwrap(), parsed);
        }
    }

    #[test]
    fn of_an_entry_only_what_identifies_it_stays() {
        for (entry, identity) in [
            ("https://h/x.tgz;downloadfilename=y.tgz;name=z;subdir=w", "https://h/x.tgz"),
            ("crate://crates.io/a/1.0;name=a-1.0;protocol=https", "crate://crates.io/a/1.0"),
            ("crate://h/a/1.0;protocol=http", "crate://h/a/1.0;protocol=http"),
            ("gomod://h/m;sha256sum=00;mod=1;version=v1", "gomod://h/m;version=v1;mod=1"),
            ("gomod://h/m;version=v1;mod=0;subdir=x", "gomod://h/m;version=v1"),
            ("npm://h;version=1.0.0;package=@s/a;destsuffix=x", "npm://h/;package=@s/a;version=1.0.0"),
            ("svn://h/p;rev=4;protocol=https;module=m;scmdata=keep", "svn://h/p;module=m;rev=4;protocol=https"),
            ("s3://b/k;sha256sum=00", "s3://b/k"),
        ] {
            assert_eq!(SourceUrl::of_recipe(entry).unwrap().as_str(), identity);
        }
        assert!(SourceUrl::of_recipe("gomod://h/m;sha256sum=00").is_err());
    }

    #[test]
    fn what_identifies_nothing_is_refused() {
        for text in [
            "crate://crates.io/serde",
            "crate://crates.io/serde/",
            "crate://crates.io//1.0",
            "gomod://golang.org/x/net",
            "gomod://golang.org/x/net;version=",
            "gomod://golang.org/x/../net;version=a/b",
            "npm://h/;package=a",
            "npm://h/;package=a;version=latest",
            "npm://h/;package=../a;version=1",
            "s3://bucket",
            "az:///c/a",
            "hg://host/repo",
            "svn://host/repo;rev=1",
            "svn://me:secret@host/repo;module=m",
            "sftp://-oProxyCommand=x/y",
            "crate://-x/a/1",
            "gomod://golang.org/x/net;version=v1\n",
        ] {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_scheme_says_how_it_is_reached() {
        let declarable =
            ["https://h/x", "http://h/x", "ftp://h/x", "file:///x", "git://h/x", "ssh://h/x", "git+ssh://h/x"];
        assert!(declarable.iter().all(|text| url(text).is_declarable()));
        let package = url("crate://crates.io/a/1");
        assert!(package.is_declarable() && !package.is_for_git());
        for text in [
            "npm://h/;package=a;version=1",
            "gomod://h/m;version=v1",
            "s3://b/k",
            "ftps://h/x",
            "sftp://h/x",
            "svn://h/p;module=m",
        ] {
            assert!(!url(text).is_declarable() && !url(text).is_for_git(), "{text}");
        }
        assert!(url("https://h/x").is_for_git() && !url("ftp://h/x").is_for_git());
        let svn = url("svn://h/p;module=m;rev=4");
        assert_eq!((svn.parameter("rev"), svn.parameter("re")), (Some("4"), None));
        assert_eq!(svn.without_parameters(), "svn://h/p");
        assert_eq!(url("https://h/x;a=b").without_parameters(), "https://h/x;a=b");
    }

    #[test]
    fn git_short_form_becomes_ssh() {
        assert_eq!(url("git@github.com:a/b.git").as_str(), "ssh://git@github.com/a/b.git");
    }

    #[test]
    fn nothing_private_gets_past_the_door() {
        for (text, kept) in [
            ("https://t0k3n@h/x", "https://h/x"),
            ("http://me@h:8080/x.git", "http://h:8080/x.git"),
            ("ssh://git@h/x", "ssh://git@h/x"),
            ("https://h/x?ref=v1", "https://h/x?ref=v1"),
        ] {
            assert_eq!(url(text).as_str(), kept);
        }
        assert!(carries_user("https://t0k3n@h/x") && !carries_user("ssh://git@h/x") && !carries_user("https://h/@x"));
        let parent = url("https://h/group/parent.git");
        assert_eq!(parent.join_submodule("https://me@h/x").unwrap().as_str(), "https://h/x");
        for text in
            ["https://h/x?private_token=s3cret", "https://h/x?a=b&X-Amz-Signature=s3cret", "https://h/x?SIG=s3cret"]
        {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(error.contains("credential") && !error.contains("s3cret"), "{error}");
        }
        let led = Url::parse("https://me@h/x?Policy=s3cret").unwrap();
        assert_eq!(without_query(&led), "https://***@h/x?…");
    }

    #[test]
    fn submodule_urls_join_as_git_joins_them() {
        let parent = url("https://host/group/parent.git");
        assert_eq!(parent.join_submodule("../child.git").unwrap().as_str(), "https://host/group/child.git");
        assert_eq!(parent.join_submodule("./in").unwrap().as_str(), "https://host/group/parent.git/in");
        assert_eq!(parent.join_submodule("https://other/x").unwrap().as_str(), "https://other/x");
        assert!(parent.join_submodule("../../../x").is_err());
    }
}
