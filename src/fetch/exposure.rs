//! Which hosts are public: only of these may the fallback lists be told what is looked for.
//!
//! The names of a company's files say what it works on. So the lists are asked only for what is fetched from a host that
//! everybody can reach.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use url::Host;

use crate::manifest::Mirrors;
use crate::source::SourceUrl;

/// How long a name server may take. Who does not answer in time says nothing.
const NAME_SERVER: Duration = Duration::from_secs(5);

/// Top-level domains that the public name system does not have: those of RFC 6761 and 6762, `internal` (reserved by ICANN in
/// 2024), and those that RFC 6762, appendix G, finds in private networks.
const PRIVATE: [&str; 14] = [
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// What is known of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// It is internal: nothing is asked elsewhere for what is fetched from it.
    Internal,
    /// Nobody can tell: it does not resolve. It may be gone, or an internal one that is out of reach. Hashes may be asked for,
    /// but no names.
    Unknown,
    /// Everybody can reach it.
    Public,
}

/// What is known of the hosts of one run.
pub(crate) struct Hosts {
    internal: Vec<String>,
    public: Vec<String>,
    proxies: Matcher,
    resolved: Mutex<HashMap<String, Exposure>>,
}

impl Hosts {
    /// With what the user says of domains, and the proxies of the environment.
    pub(crate) fn new(mirrors: &Mirrors) -> Hosts {
        Hosts {
            internal: mirrors.internal.clone(),
            public: mirrors.public.clone(),
            proxies: Matcher::from_env(),
            resolved: Mutex::default(),
        }
    }

    /// What is known of the host of a URL. Asks the name servers of this machine at most once for each host.
    pub(crate) async fn exposure(&self, url: &SourceUrl) -> Exposure {
        let Some(host) = url.as_url().host_str().map(str::to_ascii_lowercase) else { return Exposure::Internal };
        if let Some(known) = self.said(&host).or_else(|| by_name(&host)) {
            return known;
        }
        // A site that reaches others through a proxy need not resolve their names. What is internal stands in `no_proxy`.
        let proxied = url.as_str().parse().is_ok_and(|uri: hyper::Uri| self.proxies.intercept(&uri).is_some());
        if proxied {
            return Exposure::Public;
        }
        let cached = self.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied();
        if let Some(known) = cached {
            return known;
        }
        let found = resolve(&host).await;
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).insert(host, found);
        found
    }

    /// Takes this for what the name servers say of a host.
    #[cfg(test)]
    pub(crate) fn remember(&self, host: &str, exposure: Exposure) {
        self.resolved.lock().unwrap().insert(host.to_owned(), exposure);
    }

    /// What the user says; the narrower domain wins.
    fn said(&self, host: &str) -> Option<Exposure> {
        let longest = |domains: &[String]| {
            let within = domains.iter().filter(|domain| is_within(host, domain));
            within.map(String::len).max()
        };
        match (longest(&self.internal), longest(&self.public)) {
            (None, None) => None,
            (internal, public) if internal >= public => Some(Exposure::Internal),
            _ => Some(Exposure::Public),
        }
    }
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What a name alone says: a host without a domain, or in a private one, is internal, as is a private address.
fn by_name(host: &str) -> Option<Exposure> {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => Some(by_addresses(&[address.into()])),
        Ok(Host::Ipv6(address)) => Some(by_addresses(&[address.into()])),
        Ok(Host::Domain(name)) => {
            let top = name.trim_end_matches('.').rsplit_once('.').map(|(_, top)| top);
            top.is_none_or(|top| PRIVATE.contains(&top)).then_some(Exposure::Internal)
        }
        Err(_) => Some(Exposure::Internal),
    }
}

async fn resolve(host: &str) -> Exposure {
    let asked = tokio::time::timeout(NAME_SERVER, tokio::net::lookup_host((host, 443))).await;
    let Ok(Ok(addresses)) = asked else { return Exposure::Unknown };
    by_addresses(&addresses.map(|address| address.ip()).collect::<Vec<_>>())
}

fn by_addresses(addresses: &[IpAddr]) -> Exposure {
    match addresses {
        [] => Exposure::Unknown,
        all if all.iter().all(|address| is_global(*address)) => Exposure::Public,
        _ => Exposure::Internal,
    }
}

/// Whether an address can be reached from everywhere (IANA's registries of special-purpose addresses).
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 240 || (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
            let private = address.is_private() || address.is_loopback() || address.is_link_local();
            !(shared || special || private || address.is_documentation() || address.is_multicast())
        }
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_global(mapped.into());
            }
            let first = address.segments()[0];
            // Only 2000::/3 is given out; of that, 2001:db8::/32 is for documents.
            first & 0xe000 == 0x2000 && address.segments()[..2] != [0x2001, 0xdb8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(internal: &[&str], public: &[&str]) -> Hosts {
        let owned = |domains: &[&str]| domains.iter().map(|domain| (*domain).to_owned()).collect();
        Hosts {
            proxies: Matcher::builder().build(),
            ..Hosts::new(&Mirrors { internal: owned(internal), public: owned(public), ..Mirrors::default() })
        }
    }

    #[test]
    fn private_names_and_addresses_are_internal() {
        for host in [
            "localhost",
            "git",
            "files.corp",
            "git.internal",
            "nas.local",
            "printer.lan",
            "a.home.arpa",
            "10.1.2.3",
            "127.0.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "[::1]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
        ] {
            assert_eq!(by_name(host), Some(Exposure::Internal), "{host}");
        }
        assert_eq!(by_name("8.8.8.8"), Some(Exposure::Public));
        assert_eq!(by_name("[2a00:1450::1]"), Some(Exposure::Public));
        assert_eq!(by_name("ftp.gnu.org"), None, "the name servers know more");
    }

    #[test]
    fn a_public_name_with_a_private_address_is_internal() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(by_addresses(&addresses(&["10.0.0.7"])), Exposure::Internal);
        assert_eq!(by_addresses(&addresses(&["8.8.8.8", "10.0.0.7"])), Exposure::Internal);
        assert_eq!(by_addresses(&addresses(&["8.8.8.8", "2a00:1450::1"])), Exposure::Public);
        assert_eq!(by_addresses(&[]), Exposure::Unknown);
    }

    #[tokio::test]
    async fn what_the_user_says_of_a_domain_holds() {
        let hosts = hosts(&["acme.com", "10.0.0.1"], &["open.acme.com", "127.0.0.1"]);
        for (url, expected) in [
            ("https://acme.com/x", Exposure::Internal),
            ("https://files.ACME.com:8443/x", Exposure::Internal),
            ("https://open.acme.com/x", Exposure::Public),
            ("https://a.open.acme.com/x", Exposure::Public),
            ("http://127.0.0.1:80/x", Exposure::Public),
            ("http://10.0.0.1/x", Exposure::Internal),
            ("file:///srv/x", Exposure::Internal),
        ] {
            assert_eq!(hosts.exposure(&url.parse().unwrap()).await, expected, "{url}");
        }
        assert_eq!(hosts.said("notacme.com"), None);
    }

    #[tokio::test]
    async fn what_goes_through_a_proxy_is_public_unless_its_name_is_private() {
        let proxies = Matcher::builder().all("http://127.0.0.1:3128").no("inside.acme.com").build();
        let hosts = Hosts { proxies, ..hosts(&[], &[]) };
        assert_eq!(hosts.exposure(&"https://ftp.gnu.org/x".parse().unwrap()).await, Exposure::Public);
        assert_eq!(hosts.exposure(&"https://files.corp/x".parse().unwrap()).await, Exposure::Internal);
    }
}
