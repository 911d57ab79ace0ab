//! The addresses of sources whose URL is not one: packages by coordinates, objects of a cloud's storage.
//!
//! Recipes name a package; each site decides which registry is asked, so no registry's address is written here. The
//! first of these that names a registry decides: for Go modules `GOPROXY`; the settings (`[registries]`); what
//! discovery or the lock knows of the project's BitBake; the host that the recipe itself names.

use std::collections::BTreeMap;
use std::env;
use std::sync::{PoisonError, RwLock};

use super::mirrors::Candidate;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::source::url::redact;
use crate::source::{Access, Package, SourceUrl};

/// Registries that a site puts in place of the usual ones: `go`, `npm`, or the host that recipes name (`crates.io`),
/// each with its base URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registries {
    /// Base URL by name.
    pub entries: BTreeMap<String, SourceUrl>,
}

/// The registries of one fetcher.
#[derive(Debug, Default)]
pub(crate) struct RegistryTable {
    /// What `GOPROXY` lists, in order.
    go_proxies: Vec<SourceUrl>,
    own: Registries,
    learned: RwLock<BTreeMap<String, SourceUrl>>,
}

impl RegistryTable {
    /// The registries that these settings and the environment name.
    pub(crate) fn from_env(own: Registries) -> RegistryTable {
        RegistryTable::new(own, env::var(env_vars::GOPROXY).ok().as_deref())
    }

    /// The same with this `GOPROXY`, for tests.
    pub(crate) fn new(own: Registries, goproxy: Option<&str>) -> RegistryTable {
        RegistryTable { go_proxies: goproxy.map(go_proxies).unwrap_or_default(), own, learned: RwLock::default() }
    }

    /// Remembers registries that are asked where nothing else is known.
    pub(crate) fn learn(&self, found: &BTreeMap<String, SourceUrl>) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        learned.extend(found.iter().map(|(name, url)| (name.clone(), url.clone())));
    }

    /// The addresses behind the URL of a file, itself if it is one; or why there is none. `name` is what BitBake calls
    /// it.
    pub(crate) fn places(&self, url: &SourceUrl, name: &str) -> Vec<Candidate> {
        match url.access() {
            Access::Web | Access::Disk | Access::Image | Access::Lfs => vec![Ok(url.clone())],
            Access::Cloud => vec![public_address(url)],
            Access::Git | Access::Mirrors => vec![Err(only_mirrors(url, name))],
            Access::Package => match Package::of(url) {
                Ok(Some(package)) => self.downloads(url, &package),
                Ok(None) => Vec::new(),
                Err(error) => vec![Err(error)],
            },
        }
    }

    fn downloads(&self, url: &SourceUrl, package: &Package<'_>) -> Vec<Candidate> {
        let bases = self.bases(package);
        if bases.is_empty() {
            let why = "no Go module proxy is configured";
            let error = Error::new(Kind::Network, url.to_string()).because(why);
            return vec![Err(error.help("set GOPROXY, or `[registries] go = \"https://…\"`, to the proxy's URL"))];
        }
        bases.into_iter().map(|base| below(&base?, &package.path())).collect()
    }

    fn bases(&self, package: &Package<'_>) -> Vec<Candidate> {
        let (kind, host) = match package {
            Package::Crate { registry, .. } => (None, Some(*registry)),
            Package::Npm { registry, .. } => (Some("npm"), Some(*registry)),
            Package::GoModule { .. } => (Some("go"), None),
        };
        if kind == Some("go") && !self.go_proxies.is_empty() {
            return self.go_proxies.iter().cloned().map(Ok).collect();
        }
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        let named = |entries: &BTreeMap<String, SourceUrl>| {
            // The registry as a recipe writes it, its host alone, then the name that stands for all of a kind.
            let names = [host, host.and_then(|host| host.split('/').next()), kind];
            names.into_iter().flatten().find_map(|name| entries.get(name).cloned())
        };
        let put_in_place = named(&self.own.entries).or_else(|| named(&learned)).map(Ok);
        put_in_place.or_else(|| package.usual_base().map(|base| base.parse())).into_iter().collect()
    }
}

/// The proxies that `GOPROXY` lists, as the go command reads it (`cmd/go`, "Module proxies"): `,` or `|` between them;
/// `direct` and `off` are not proxies, and one without a scheme is read as https.
fn go_proxies(text: &str) -> Vec<SourceUrl> {
    let words = text.split([',', '|']).map(str::trim);
    let words = words.filter(|word| !["", "direct", "off", "noproxy"].contains(word));
    let parse = |word: &str| {
        let whole = if word.contains("://") { word.to_owned() } else { format!("https://{word}") };
        let parsed: Result<SourceUrl> = whole.parse();
        parsed.inspect_err(|error| tracing::warn!("GOPROXY: {error}")).ok()
    };
    words.filter_map(parse).collect()
}

fn below(base: &SourceUrl, path: &str) -> Candidate {
    let mut url = base.as_url().clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url.as_str().parse()
}

/// The https address under which a cloud's storage serves a public object. (kbuild has no credentials for it: an object
/// that is not public needs a mirror rule.)
fn public_address(url: &SourceUrl) -> Candidate {
    let (host, path) = (url.as_url().host_str().unwrap_or_default(), url.as_url().path());
    let address = match url.scheme() {
        // The certificate does not cover a bucket with a dot in its name.
        "s3" if host.contains('.') => format!("https://s3.amazonaws.com/{host}{path}"),
        "s3" => format!("https://{host}.s3.amazonaws.com{path}"),
        "gs" => format!("https://storage.googleapis.com/{host}{path}"),
        // The host is the account's already (`bb.fetch2.az`).
        _ => format!("https://{}{path}", url.host()),
    };
    address.parse()
}

fn only_mirrors(url: &SourceUrl, name: &str) -> Error {
    let scheme = url.scheme();
    let what = if ["hg", "svn"].contains(&scheme) { "the tarball that BitBake makes of it" } else { "the file" };
    let error = Error::new(Kind::Network, redact(url.as_str()));
    let error = error.because(format!("kbuild does not fetch files over `{scheme}:`"));
    error.help(format!(
        "put {what} on a server or into a folder as `{name}`, and lead kbuild there: a `[[mirrors.rule]]` with `match = \
         '{scheme}://{}/.*'` and `to = [\"https://mirror/{{name}}\"]`",
        url.host()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(own: &[(&str, &str)], goproxy: Option<&str>) -> RegistryTable {
        let entries = own.iter().map(|(name, url)| ((*name).to_owned(), url.parse().unwrap())).collect();
        RegistryTable::new(Registries { entries }, goproxy)
    }

    fn places(directory: &RegistryTable, url: &str) -> Vec<String> {
        let made = directory.places(&url.parse().unwrap(), "the-file.tgz");
        made.into_iter().map(|place| place.map_or_else(|error| error.to_string(), |url| url.to_string())).collect()
    }

    const MODULE: &str = "gomod://github.com/BurntSushi/toml;version=v1.2.3";

    #[test]
    fn a_sites_own_registry_takes_the_place_of_the_recipes() {
        let none = directory(&[], None);
        let own = directory(
            &[
                ("crates.io", "https://own/crates/"),
                ("npm", "https://own/npm"),
                ("h/sub", "https://sub"),
                ("go", "https://own/go"),
            ],
            None,
        );
        for (url, usual, placed) in [
            ("crate://h/sub/a/1.0", "https://h/sub/a/1.0/download", "https://sub/a/1.0/download"),
            ("crate://other/a/1.0", "https://other/a/1.0/download", "https://other/a/1.0/download"),
            (
                "npm://h/;package=@s/a;version=1.0.0",
                "https://h/@s/a/-/a-1.0.0.tgz",
                "https://own/npm/@s/a/-/a-1.0.0.tgz",
            ),
            ("https://h/a", "https://h/a", "https://h/a"),
        ] {
            assert_eq!(places(&none, url), [usual]);
            assert_eq!(places(&own, url), [placed]);
        }
        assert_eq!(places(&own, "crate://crates.io/a/1.0"), ["https://own/crates/a/1.0/download"]);
        assert_eq!(places(&own, MODULE), ["https://own/go/github.com/!burnt!sushi/toml/@v/v1.2.3.zip"]);
    }

    #[test]
    fn the_go_proxy_is_the_first_that_anybody_names() {
        let learned = BTreeMap::from([("go".to_owned(), "https://learned".parse().unwrap())]);
        let path = "github.com/!burnt!sushi/toml/@v/v1.2.3.zip";
        let all = directory(&[("go", "https://own")], Some("https://a/base/|direct,b.corp,file:///srv/go,off"));
        all.learn(&learned);
        let listed =
            [format!("https://a/base/{path}"), format!("https://b.corp/{path}"), format!("file:///srv/go/{path}")];
        assert_eq!(places(&all, MODULE), listed);
        let own = directory(&[("go", "https://own")], Some("off"));
        own.learn(&learned);
        assert_eq!(places(&own, MODULE), [format!("https://own/{path}")]);
        let none = directory(&[], None);
        let error = none.places(&MODULE.parse().unwrap(), "x").remove(0).unwrap_err();
        assert!(error.hint().unwrap().contains("GOPROXY") && error.hint().unwrap().contains("[registries] go"));
        none.learn(&learned);
        assert_eq!(places(&none, MODULE), [format!("https://learned/{path}")]);
        let secret = directory(&[], Some("https://u:secret@h"));
        assert_eq!(places(&secret, MODULE), [MODULE], "a proxy with a password is left out");
    }

    #[test]
    fn objects_have_public_addresses() {
        let none = directory(&[], None);
        for (url, address) in [
            ("s3://bucket/dir/a%20b.tgz", "https://bucket.s3.amazonaws.com/dir/a%20b.tgz"),
            ("s3://my.bucket/a.tgz", "https://s3.amazonaws.com/my.bucket/a.tgz"),
            ("gs://bucket/a.tgz", "https://storage.googleapis.com/bucket/a.tgz"),
            ("az://account.blob.core.windows.net/c/a.tgz", "https://account.blob.core.windows.net/c/a.tgz"),
        ] {
            assert_eq!(places(&none, url), [address]);
        }
    }

    #[test]
    fn what_kbuild_does_not_speak_says_how_it_is_had() {
        let none = directory(&[], None);
        for url in ["svn://h/p;module=m;rev=1", "hg://h/p;module=m;rev=1", "sftp://h/p/a.tgz", "ssh://h/p/a.tgz"] {
            let error = none.places(&url.parse().unwrap(), "the-file.tgz").remove(0).unwrap_err();
            let hint = error.hint().unwrap();
            assert!(hint.contains("`the-file.tgz`") && hint.contains("://h/.*"), "{hint}");
        }
    }
}
