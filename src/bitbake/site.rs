//! The configuration for machines that run plain BitBake, without kbuild, and fetch from a mirror that kbuild made.
//!
//! It has what a board's `kbuild.conf` says of sources: where they are, the commits of recipes that name none, the
//! variables of declared sources. The rest of a build (machine, options, `[config]`, directories, shared state) is the
//! site's own and is not in it.

use indexmap::IndexMap;
use url::Url;

use super::conf::{self, Declared, PREMIRRORS, SrcrevPin};
use super::text::ConfText;
use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::source::url::redact;

/// The name of the file.
pub const FILE_NAME: &str = "kbuild-mirror.conf";

/// Words that BitBake replaces by parts of the wanted URL, anywhere in a mirror's address
/// (`bb.fetch2.build_mirroruris`).
const REPLACED: [&str; 5] = ["TYPE", "HOST", "PATH", "BASENAME", "MIRRORNAME"];

/// The content of a mirror, as plain values.
#[derive(Debug, Clone)]
pub struct SiteConf<'a> {
    /// The project's name, for the comments.
    pub project: &'a str,
    /// Declared sources.
    pub sources: &'a [Declared<'a>],
    /// Commits for recipes that name none.
    pub pins: &'a [SrcrevPin<'a>],
    /// Regular expressions of BBMASK, each with the reason for it.
    pub mask: &'a IndexMap<String, String>,
    /// Whether the mirror has an uninative tarball.
    pub uninative: bool,
}

impl SiteConf<'_> {
    /// Everything but the address, which [`Base::head`] gives; that text comes first.
    ///
    /// # Errors
    /// As for a board's `kbuild.conf`.
    pub fn body(&self) -> Result<String> {
        let mut text = ConfText(String::new());
        if !self.uninative {
            text.raw("# The lock has no uninative tarball; a failed fetch would turn it off halfway.\n");
            text.raw("INHERIT:remove = \"uninative\"\n");
        }
        conf::write_sources(&mut text, self.sources)?;
        conf::write_pins(&mut text, self.sources, self.pins)?;
        conf::write_mask(&mut text, self.mask)?;
        Ok(text.0)
    }
}

/// Where a mirror is: a URL that BitBake can be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(Url);

impl Base {
    /// Takes an address: `http`, `https`, or `file` for a directory that every machine has under one path.
    ///
    /// # Errors
    /// An address that BitBake would read as something else, or that has a login: kind `Input`.
    pub fn new(text: &str) -> Result<Base> {
        let wrong = |why: &str| Error::input(format!("`{}` is not the address of a mirror: {why}", redact(text)));
        let help = "give the URL under which the directory is served: https://mirror.corp/kbuild";
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()).help(help))?;
        let wrong = |why: &str| Err(wrong(why).help(help));
        match url.scheme() {
            "http" | "https" => {}
            "file" if url.host_str().is_none() => {}
            _ => return wrong("it must begin with http://, https:// or file:///"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("it has a login, which belongs in the ~/.netrc of those who fetch");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("nothing can follow its path");
        }
        if matches!(url.host(), Some(url::Host::Ipv6(_))) {
            return wrong("BitBake cannot compare an IPv6 address with BB_ALLOWED_NETWORKS, so it needs a name");
        }
        // Percent signs: BitBake decodes what it gives to wget. The rest is regular expressions' and BitBake's own.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:,=+@".contains(c);
        if let Some(c) = url.as_str().chars().find(|c| !plain(*c)) {
            return wrong(&format!("BitBake would not take `{c}` as it stands"));
        }
        if let Some(word) = REPLACED.iter().find(|word| url.as_str().contains(**word)) {
            return wrong(&format!("BitBake would put something else in place of `{word}`"));
        }
        Ok(Base(url))
    }

    /// The address of the mirror's directory, with a slash at the end.
    pub fn address(&self) -> String {
        format!("{}/", self.0.as_str().trim_end_matches('/'))
    }

    /// The same mirror with one more component to its path.
    ///
    /// # Errors
    /// As [`Base::new`].
    pub fn join(&self, component: &str) -> Result<Base> {
        Base::new(&format!("{}{component}", self.address()))
    }

    /// The beginning of the file for this address.
    pub fn head(&self, project: &str) -> String {
        let mut text = ConfText(format!(
            "# {FILE_NAME} of `{project}`: for machines that run BitBake without kbuild. Written by kbuild from {LOCK}.\n\
             # Require it from local.conf or site.conf. Do not edit: the next lock makes another. When commits moved with it,\n\
             # remove git2 and git2_* from DL_DIR: BitBake would take what is there for the new.\n\n",
        ));
        text.section(&format!("Sources: only those of {LOCK}, from the mirror"));
        let address = self.address();
        text.raw(&format!("PREMIRRORS:forcevariable = \"{PREMIRRORS} {address}\"\n"));
        text.raw("MIRRORS:forcevariable = \"\"\n");
        match self.0.host_str() {
            Some(host) => {
                text.raw("# The hosts that BitBake may ask. Those of your own sstate and the like come behind:\n");
                text.raw("#   BB_ALLOWED_NETWORKS:append = \" sstate.corp\"\n");
                text.raw(&format!("BB_ALLOWED_NETWORKS = \"{}\"\n", host.to_ascii_lowercase()));
                text.raw(
                    "# BB_FETCH_PREMIRRORONLY stays off: with it, submodules (gitsm) are not fetched over http.\n",
                );
            }
            None => {
                text.raw("BB_NO_NETWORK = \"1\"\nBB_FETCH_PREMIRRORONLY = \"1\"\n");
            }
        }
        text.raw("BB_GENERATE_MIRROR_TARBALLS = \"0\"\nBB_GENERATE_SHALLOW_TARBALLS = \"0\"\n");
        text.raw("CONNECTIVITY_CHECK_URIS = \"\"\nCVE_DB_UPDATE_INTERVAL = \"-1\"\n");
        text.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::CommitId;

    #[test]
    fn the_whole_file() {
        let commit: CommitId = "337b6002681479fb6a605ca8a7a1138e81b6098c".parse().unwrap();
        let url = "https://github.com/kata-containers/kata-containers".parse().unwrap();
        let recipes = ["kata-agent".to_owned()];
        let source = Declared::Git {
            name: "kata",
            url: &url,
            branch: None,
            commit: &commit,
            version: Some("3.32.0"),
            submodules: false,
            lfs: true,
            recipes: &recipes,
            srcrev_name: None,
        };
        let pins = [SrcrevPin { variable: "SRCREV", recipe: "tidings", commit }];
        let mask = [("/meta-x/recipes-y/".to_owned(), "needs an account".to_owned())].into();
        let conf = SiteConf { project: "kata", sources: &[source], pins: &pins, mask: &mask, uninative: false };
        let base = Base::new("https://Mirror.corp:8443/kbuild/").unwrap();
        insta::assert_snapshot!("site", format!("{}{}", base.head("kata"), conf.body().unwrap()));
        let folder = Base::new("file:///srv/mirror").unwrap().head("kata");
        assert!(folder.contains("BB_NO_NETWORK = \"1\"") && !folder.contains("BB_ALLOWED_NETWORKS"), "{folder}");
    }

    #[test]
    fn addresses_that_bitbake_would_misread_are_refused() {
        assert_eq!(Base::new("http://m:8080").unwrap().join("mirror").unwrap().address(), "http://m:8080/mirror/");
        for bad in [
            "mirror.corp/x",
            "ftp://m/x",
            "file://host/x",
            "https://u:secret@m/x",
            "https://token@m/x",
            "https://m/x?y",
            "https://m/x#y",
            "http://[::1]:8080/",
            "https://m/HOST/x",
            "https://m/a b",
            "https://m/a;b=1",
            "https://m/${X}",
            "https://m/a|b",
            "https://m/a\"\nX = 1",
        ] {
            let error = Base::new(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
