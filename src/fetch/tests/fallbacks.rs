//! The fallback lists shipped with kbuild: each rule against a server with the layout of the place, and who is asked at all.

use super::*;
use crate::fetch::GitPlace;
use crate::fetch::mirrors::Fallbacks;
use crate::manifest::{FallbackList, whole_url};
use kbuild_test::http::Reply;
use regex::Regex;

/// The bytes of every file here, and their published hashes (FIPS 180-4; in base 32 as the tests of Nix have it).
const ABC: &str = "abc";
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const NIX32: &str = "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s";
const SHA512: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

/// A list, the URL of an upstream, and where the place has the file, as the place documents it.
fn layouts() -> Vec<(&'static str, &'static str, Vec<String>)> {
    let anybodys = "https://upstream.org/releases/which-2.23.tar.gz";
    let flat = |bases: &[&str]| bases.iter().map(|base| format!("{base}/which-2.23.tar.gz")).collect::<Vec<_>>();
    vec![
        (
            "github-archives",
            "https://github.com/o/r/archive/refs/tags/v1.0.tar.gz",
            vec![
                "https://codeload.github.com/o/r/tar.gz/refs/tags/v1.0".to_owned(),
                "https://codeload.github.com/o/r/tar.gz/v1.0".to_owned(),
                "https://github.com/o/r/archive/refs/tags/v1.0.tar.gz".to_owned(),
                "https://github.com/o/r/archive/v1.0.tar.gz".to_owned(),
            ],
        ),
        (
            "github-archives",
            "https://codeload.github.com/o/r/zip/refs/tags/v1.0",
            vec![
                "https://github.com/o/r/archive/refs/tags/v1.0.zip".to_owned(),
                "https://github.com/o/r/archive/v1.0.zip".to_owned(),
            ],
        ),
        (
            "gnu",
            "ftp://ftp.gnu.org/gnu/which/which-2.23.tar.gz",
            flat(&[
                "https://ftpmirror.gnu.org/gnu/which",
                "https://ftp.gnu.org/gnu/which",
                "https://mirrors.edge.kernel.org/gnu/which",
            ]),
        ),
        (
            "gnu",
            "http://download.savannah.gnu.org/releases/acl/which-2.23.tar.gz",
            flat(&[
                "https://download.savannah.nongnu.org/releases/acl",
                "https://download-mirror.savannah.gnu.org/releases/acl",
            ]),
        ),
        (
            "kernel.org",
            "https://www.kernel.org/pub/linux/which-2.23.tar.gz",
            flat(&[
                "https://cdn.kernel.org/pub/linux",
                "https://mirrors.edge.kernel.org/pub/linux",
                "https://www.kernel.org/pub/linux",
            ]),
        ),
        (
            "sourceforge",
            "https://netix.dl.sourceforge.net/project/p/which-2.23.tar.gz",
            vec![
                "https://downloads.sourceforge.net/project/p/which-2.23.tar.gz".to_owned(),
                "https://downloads.sourceforge.net/sourceforge/p/which-2.23.tar.gz".to_owned(),
                "https://master.dl.sourceforge.net/project/p/which-2.23.tar.gz?viasf=1".to_owned(),
            ],
        ),
        (
            "sourceforge",
            "https://sourceforge.net/projects/p/files/1.0/which-2.23.tar.gz/download",
            flat(&["https://downloads.sourceforge.net/project/p/1.0"]),
        ),
        (
            "sourceware",
            "ftp://sourceware.org/pub/which/which-2.23.tar.gz",
            flat(&["https://sourceware.org/pub/which", "https://mirrors.edge.kernel.org/sourceware/which"]),
        ),
        (
            "yocto-project",
            "https://downloads.yoctoproject.org/releases/uninative/5.0/which-2.23.tar.gz",
            flat(&[
                "https://mirrors.edge.kernel.org/yocto/uninative/5.0",
                "https://downloads.yoctoproject.org/mirror/sources",
                "https://mirrors.edge.kernel.org/yocto-sources",
            ]),
        ),
        ("buildroot", anybodys, flat(&["https://sources.buildroot.net/which", "https://sources.buildroot.net"])),
        (
            "fedora",
            anybodys,
            flat(&[&format!("https://src.fedoraproject.org/repo/pkgs/rpms/which/which-2.23.tar.gz/sha512/{SHA512}")]),
        ),
        ("freebsd", anybodys, flat(&["http://distcache.freebsd.org/ports-distfiles"])),
        ("gentoo", anybodys, flat(&["https://distfiles.gentoo.org/distfiles/80"])),
        (
            "openwrt",
            anybodys,
            flat(&[
                "https://sources.cdn.openwrt.org",
                "https://sources.openwrt.org",
                "https://mirror2.openwrt.org/sources",
            ]),
        ),
        (
            "guix",
            anybodys,
            ["ci", "bordeaux"]
                .map(|host| format!("https://{host}.guix.gnu.org/file/which-2.23.tar.gz/sha256/{NIX32}"))
                .to_vec(),
        ),
        (
            "nix",
            anybodys,
            vec![
                format!("https://tarballs.nixos.org/sha256/{SHA256}"),
                format!("https://tarballs.nixos.org/sha512/{SHA512}"),
            ],
        ),
        (
            "software-heritage",
            anybodys,
            vec![format!("https://archive.softwareheritage.org/api/1/content/sha256:{SHA256}/raw/")],
        ),
    ]
}

/// The host of a place as the first folder of a server here.
fn moved_here(url: &str, server: &Server) -> String {
    server.url(&format!("/{}", url.split_once("://").unwrap().1))
}

fn file(url: &str) -> WantedFile {
    let sums = vec![Checksum::new(Algorithm::Sha512, SHA512).unwrap()];
    let name = "which-2.23.tar.gz".to_owned();
    WantedFile {
        name,
        urls: vec![url.parse().unwrap()],
        sha256: Some(SHA256.parse().unwrap()),
        sums,
        stated_size: None,
        content: None,
    }
}

fn list(name: &str) -> FallbackList {
    FallbackList::of(&FallbackChoice::Only([name.to_owned()].into())).unwrap().remove(0)
}

/// What servers on this machine need to be asked by the lists: they are anything but public.
fn as_if_public() -> Mirrors {
    Mirrors { public: vec!["127.0.0.1".to_owned()], ..no_fallbacks() }
}

/// The rules of a list, for servers here: the same, but for the hosts that they lead to.
fn rules_here(list: &str, server: &Server) -> Rules {
    let mut files = self::list(list).files;
    let to = files.iter_mut().flat_map(|rule| &mut rule.to);
    to.for_each(|to| *to = moved_here(to, server));
    Rules::new(&files).unwrap()
}

#[tokio::test]
async fn each_rule_finds_a_file_where_its_place_has_it() {
    for (name, upstream, places) in layouts() {
        let wanted = file(upstream);
        let made = Rules::new(&list(name).files).unwrap().rewrite(&wanted.urls[0], wanted.fill());
        let made: Vec<String> = made.into_iter().map(|place| place.unwrap().to_string()).collect();
        assert_eq!(made, places, "{name}");
        for place in &places {
            let server = Server::start();
            let here = moved_here(place, &server);
            let path = url::Url::parse(&here).unwrap().path().to_owned();
            server.on(&path, [Reply::file(ABC)]);
            let world = World::new();
            let digests = world.fetcher.file(&file(&here)).await.unwrap();
            assert_eq!(world.content(&digests), ABC.as_bytes(), "{name}: {place}");
        }
    }
}

#[test]
fn no_list_is_without_a_test() {
    let tried: Vec<&str> = layouts().iter().map(|(name, ..)| *name).collect();
    for name in FallbackList::names() {
        let list = list(name);
        let layouts = layouts();
        for rule in &list.files {
            let pattern: Regex = whole_url(&rule.pattern).unwrap();
            let is_tried = layouts.iter().any(|(of, url, _)| *of == name && pattern.is_match(url));
            assert!(is_tried, "no layout for {} in {name}: {tried:?}", rule.pattern);
        }
    }
}

#[tokio::test]
async fn a_fallback_serves_what_its_upstream_took_away() {
    for name in
        ["yocto-project", "buildroot", "fedora", "freebsd", "gentoo", "openwrt", "guix", "nix", "software-heritage"]
    {
        let server = Server::start();
        let mut world = World::with(as_if_public(), false);
        world.fetcher.fallbacks = Fallbacks { files: rules_here(name, &server), vaults: Rules::default() };
        let (_, _, places) = layouts().into_iter().find(|(of, ..)| *of == name).unwrap();
        let last = url::Url::parse(&moved_here(places.last().unwrap(), &server)).unwrap();
        server.on(last.path(), [Reply::file(ABC)]);
        world.fetcher.file(&file(&server.url("/gone/which-2.23.tar.gz"))).await.unwrap();
        assert!(!server.requests("/gone/which-2.23.tar.gz").is_empty(), "{name}: the upstream is asked first");
    }
}

#[tokio::test]
async fn a_fallback_with_other_bytes_does_no_harm() {
    let server = Server::start();
    let mut world = World::with(as_if_public(), false);
    let rules = [rule("http://.*", &[&server.url("/wrong/{name}"), &server.url("/right/{name}")])];
    world.fetcher.fallbacks = Fallbacks { files: Rules::new(&rules).unwrap(), vaults: Rules::default() };
    server.on("/wrong/which-2.23.tar.gz", [Reply::file("xyz")]);
    server.on("/right/which-2.23.tar.gz", [Reply::file(ABC)]);
    let wanted = file(&server.url("/gone/which-2.23.tar.gz"));
    world.fetcher.file(&wanted).await.unwrap();
    assert_eq!(world.blobs(), 1);
}

#[tokio::test]
async fn fallbacks_are_for_files_of_which_a_strong_hash_is_known() {
    let mirrors = Mirrors { public: vec!["kernel.org".to_owned()], ..Mirrors::default() };
    let world = World::with(mirrors, false);
    let url = "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.1.tar.xz";
    let known = file(url);
    let asked = world.fetcher.places_of_file(&known, &Expected::default());
    let places = async |file: &WantedFile| {
        let places = world.fetcher.fallbacks_of_file(file, &asked).await;
        places.into_iter().map(|place| place.unwrap().to_string()).collect::<Vec<_>>()
    };
    let all = places(&known).await;
    assert!(all.len() > 8 && all[0].contains("kernel.org/"), "{all:?}");
    assert!(!all.iter().any(|place| place == url), "what was asked is not asked again: {all:?}");
    let by_sha512 = WantedFile { sha256: None, ..known.clone() };
    assert!(places(&by_sha512).await.iter().any(|place| place.contains(SHA512)));
    let md5 = Checksum::new(Algorithm::Md5, &"0".repeat(32)).unwrap();
    assert_eq!(places(&WantedFile { sha256: None, sums: vec![md5], ..known.clone() }).await, [""; 0]);
    assert_eq!(places(&WantedFile { sha256: None, sums: vec![], ..known }).await, [""; 0]);
}

#[tokio::test]
async fn nobody_is_told_of_what_is_internal() {
    let server = Server::start();
    let netrc = "machine login.acme.org login me password s3cret";
    let public = vec!["acme.org".to_owned()];
    let world = World::with_netrc(
        Mirrors { public, internal: vec!["in.acme.org".to_owned()], ..Mirrors::default() },
        false,
        netrc,
    );
    for url in [
        server.url("/x").as_str(),
        "https://files.corp/x",
        "http://10.0.0.1/x",
        "https://in.acme.org/x",
        "https://a.in.acme.org/x",
        "https://login.acme.org/x",
        "s3://bucket/x",
        "sftp://acme.org/x",
    ] {
        let wanted = file(url);
        let places = world.fetcher.fallbacks_of_file(&wanted, &[]).await;
        assert!(places.is_empty(), "{url}: {places:?}");
    }
    assert!(!world.fetcher.fallbacks_of_file(&file("https://acme.org/x"), &[]).await.is_empty());
}

#[tokio::test]
async fn of_a_host_that_does_not_resolve_no_name_is_told() {
    let world = World::with(Mirrors::default(), false);
    world.fetcher.hosts.remember("gone.acme.org", Exposure::Unknown);
    let wanted = WantedFile { name: "secret-plan.tar.gz".to_owned(), ..file("https://gone.acme.org/x") };
    let places = world.fetcher.fallbacks_of_file(&wanted, &[]).await;
    let places: Vec<String> = places.into_iter().map(|place| place.unwrap().to_string()).collect();
    assert!(places.iter().any(|place| place.contains(SHA256)), "{places:?}");
    assert!(!places.iter().any(|place| place.contains("secret")), "{places:?}");
}

#[tokio::test]
async fn a_packages_real_registry_decides_who_may_know_of_it() {
    let world = World::with(Mirrors { public: vec!["crates.io".to_owned()], ..Mirrors::default() }, false);
    let wanted = WantedFile { name: "tally-1.0.0.crate".to_owned(), ..file("crate://crates.io/tally/1.0.0") };
    assert!(!world.fetcher.fallbacks_of_file(&wanted, &[]).await.is_empty());
    let mut own = World::with(Mirrors { public: vec!["crates.io".to_owned()], ..Mirrors::default() }, false);
    let entries = BTreeMap::from([("crates.io".to_owned(), "https://crates.corp/".parse().unwrap())]);
    own.fetcher.registries = RegistryTable::new(Registries { entries }, None);
    assert!(own.fetcher.fallbacks_of_file(&wanted, &[]).await.is_empty());
}

#[tokio::test]
async fn the_users_own_fallbacks_are_asked_after_the_upstream_wherever_it_is() {
    let server = Server::start();
    let fallback = vec![
        rule("http://.*", &[&server.url("/mine/{name}")]),
        rule("s3://.*", &["https://mine.corp/{name}"]),
        rule("(https://h/.*)", &["$1/second"]),
    ];
    let world = World::with(Mirrors { fallback, builtin: FallbackChoice::none(), ..Mirrors::default() }, false);
    server.on("/mine/which-2.23.tar.gz", [Reply::file(ABC)]);
    world.fetcher.file(&file(&server.url("/gone/which-2.23.tar.gz"))).await.unwrap();
    assert!(!server.requests("/gone/which-2.23.tar.gz").is_empty(), "the upstream comes first");
    // These are the user's own words: nobody is told who should not know, so neither kind nor place of the host matters.
    let places = world.fetcher.fallbacks_of_file(&file("s3://bucket/which-2.23.tar.gz"), &[]).await;
    assert_eq!(places.len(), 1);
    let unknown = WantedFile { sha256: None, sums: vec![], ..file("https://h/x") };
    assert!(world.fetcher.fallbacks_of_file(&unknown, &[]).await.is_empty(), "they never decide what a source is");

    let places = |url: &str| {
        let places = world.fetcher.places_of_git(&url.parse().unwrap()).into_iter();
        places.filter_map(|place| match place.unwrap() {
            GitPlace::Upstream(url) => Some(url.to_string()),
            GitPlace::Store(_) => None,
        })
    };
    assert_eq!(places("https://h/x").collect::<Vec<_>>(), ["https://h/x", "https://h/x/second"]);
}
