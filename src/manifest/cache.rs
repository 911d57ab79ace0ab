//! Checks of `[cache]`, shared by manifest, site configuration and command line.

use std::path::{Path, PathBuf};

use super::boards;
use super::diagnostics::Diagnostics;
use super::raw::{RawCache, RawText};
use super::{CachePlace, CacheSettings, ServerAddress};
use crate::error::{Error, Result};
use crate::source::url::{carries_user, redact};
use crate::source::{RemoteUrl, Service, SourceUrl};

/// The valid parts of a `[cache]`; directories are relative to `base`, the directory of the text.
pub(super) fn check(raw: &RawCache, base: &Path, diagnostics: &mut Diagnostics) -> CacheSettings {
    let mut settings = CacheSettings::default();
    if let Some(text) = &raw.dir {
        let checked = shown_directory(text, base).map_err(|error| error.at(text.span.clone(), "this directory"));
        settings.dir = diagnostics.take(checked);
    }
    for text in raw.pull.iter().flatten() {
        let checked = place(text, base).map_err(|error| error.at(text.span.clone(), "this cache"));
        settings.pull.extend(diagnostics.take(checked));
    }
    if let Some(text) = &raw.push {
        let checked = place(text, base).and_then(writable);
        settings.push = diagnostics.take(checked.map_err(|error| error.at(text.span.clone(), "this cache")));
    }
    settings.hashserve = raw.hashserve.as_ref().and_then(|text| server_of(text, diagnostics));
    settings.prserve = raw.prserve.as_ref().and_then(|text| server_of(text, diagnostics));
    settings
}

/// See [`CachePlace::read`].
pub(super) fn place(text: &str, base: &Path) -> Result<CachePlace> {
    let help = "give `https://host/path`, a bucket (`s3://bucket/prefix`) or a directory (`/srv/sstate`)";
    if RemoteUrl::is_meant(text) {
        let url: RemoteUrl = text.parse()?;
        if url.service() == Service::Registry {
            let fault =
                Error::input("a registry of images cannot hold shared state, whose files are asked for by name");
            return Err(fault.help(help));
        }
        return Ok(CachePlace::Bucket(url));
    }
    match text.split_once("://") {
        None => directory(text, base).map(CachePlace::Directory),
        Some(("file", path)) if path.starts_with('/') => directory(path, base).map(CachePlace::Directory),
        Some(("http" | "https", _)) => {
            if carries_user(text) {
                let fault = Error::input("the URL of a cache contains a user name, which may be a token");
                return Err(fault.help("store it in ~/.netrc"));
            }
            let url: SourceUrl = text.trim_end_matches('/').parse().map_err(|error: Error| error.help(help))?;
            Ok(CachePlace::Web(url))
        }
        Some(_) => {
            Err(Error::input(format!("`{}` is not the address of a cache", redact(text).escape_debug())).help(help))
        }
    }
}

/// A place that can be written to.
pub(super) fn writable(place: CachePlace) -> Result<CachePlace> {
    match &place {
        CachePlace::Web(url) => Err(only_read(url)),
        CachePlace::Directory(_) | CachePlace::Bucket(_) => Ok(place),
    }
}

pub(super) fn only_read(url: &SourceUrl) -> Error {
    Error::input(format!("shared state cannot be sent to {url}"))
        .because("a cache behind a web server is only read")
        .help("name the directory or bucket that it serves")
}

fn directory(text: &str, base: &Path) -> Result<PathBuf> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::input("this is no path of a directory").help("give a directory: `/var/cache/sstate`"));
    }
    if text.starts_with('~') || text.starts_with('$') {
        let fault = Error::input("in the directory of a cache, `~` and variables are not expanded");
        return Err(fault.help("write the whole path"));
    }
    Ok(base.join(text))
}

/// A directory that builds work in.
fn shown_directory(text: &str, base: &Path) -> Result<PathBuf> {
    let directory = directory(text, base)?;
    match boards::refused_for_builds(&directory) {
        None => Ok(directory),
        Some((why, help)) => Err(Error::input(format!("`{}` {why}", directory.display())).help(help)),
    }
}

fn server_of(text: &RawText, diagnostics: &mut Diagnostics) -> Option<ServerAddress> {
    diagnostics.take(server(text).map_err(|error| error.at(text.span.clone(), "this server")))
}

/// `HOST:PORT` or `[IPv6]:PORT`, as BitBake has it (`bb.asyncrpc.client.parse_address`).
fn server(text: &str) -> Result<ServerAddress> {
    let fault =
        |why: &str| Error::input(format!("`{}` is not the address of a server: {why}", redact(text).escape_debug()));
    let help = "give its host and port: \"hashserve.corp:8686\"";
    if text.contains("://") {
        let why = "kbuild forwards plain TCP connections, no web sockets";
        return Err(
            fault(why).help("name the port on which the same server speaks BitBake's own protocol (`HOST:PORT`)")
        );
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| fault("it has no port").help(help))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| fault("its port is no number from 1 to 65535").help(help))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if port == 0 || host.is_empty() || !host.chars().all(plain) || host.starts_with('-') {
        return Err(fault("it is no host and port").help(help));
    }
    Ok(ServerAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CachePlace> {
        place(text, Path::new("/project"))
    }

    #[test]
    fn a_cache_is_a_directory_a_web_server_or_a_bucket() {
        assert_eq!(read("../shared").unwrap(), CachePlace::Directory("/project/../shared".into()));
        assert_eq!(read("file:///srv/sstate").unwrap(), CachePlace::Directory("/srv/sstate".into()));
        assert_eq!(read("https://cache.corp/sstate/").unwrap().to_string(), "https://cache.corp/sstate");
        assert!(matches!(read("s3://team/sstate").unwrap(), CachePlace::Bucket(_)));
        for bad in ["", "~/x", "ftp://h/x", "file://host/x", "oci://h/x", "https://me:secret@h/x", "s3://"] {
            let error = read(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(writable(read("https://cache.corp").unwrap()).is_err());
        let shown = |text: &str| shown_directory(text, Path::new("/project"));
        assert!(shown("/tmp").is_err() && shown("/proc/x").is_err() && shown("/var/cache/sstate").is_ok());
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, host, port) in
            [("h.corp:8686", "h.corp", 8686), ("127.0.0.1:1", "127.0.0.1", 1), ("[::1]:9", "::1", 9)]
        {
            let address = server(text).unwrap();
            assert_eq!((address.host.as_str(), address.port, address.to_string().as_str()), (host, port, text));
        }
        for bad in ["h", "h:", "h:0", "h:70000", ":1", "h h:1", "wss://h/ws", "-h:1", "h/x:1"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_site_wins_and_its_caches_are_asked_first() {
        let of = |name: &str, push: bool| CacheSettings {
            dir: Some(PathBuf::from(format!("/{name}"))),
            pull: vec![read(&format!("https://{name}")).unwrap(), read(&format!("/{name}")).unwrap()],
            push: push.then(|| read("/out").unwrap()),
            hashserve: Some(server(&format!("{name}:1")).unwrap()),
            prserve: None,
        };
        let both = of("site", false).then(of("manifest", true));
        assert_eq!(both.dir, Some("/site".into()));
        let asked: Vec<String> = both.pull.iter().map(ToString::to_string).collect();
        assert_eq!(asked, ["https://site/", "/site", "https://manifest/", "/manifest"]);
        assert!(both.push.is_some());
        assert_eq!(both.hashserve.as_ref().unwrap().to_string(), "site:1");
        let offline = both.offline();
        assert_eq!((offline.pull.len(), offline.hashserve), (2, None));
    }
}
