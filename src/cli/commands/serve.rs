//! `kbuild serve`: a store over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::bitbake::Base;
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::{StoreContext, read_manifest};
use crate::cli::runtime;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::LOCK;
use crate::lock::Lock;
use crate::mirror::{Mirror, MirrorRequest};
use crate::serve::{MirrorCache, ServeSettings, Server, TlsIdentity};
use crate::store::Store;

/// Serves the store over HTTP, read only, until it is interrupted.
///
/// Other kbuilds use it as a mirror, and Nix uses it as a hashed mirror. If there is a kbuild.lock, its sources are also
/// under /mirror/, by the names that plain BitBake looks for, with the configuration that points BitBake to it. When the
/// lock changes, it is read again. Works in a project, or anywhere with `--store DIR`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild serve --listen 0.0.0.0:8080
  kbuild fetch --mirror http://host:8080                      on another machine
  curl -O http://host:8080/mirror/kbuild-mirror.conf          for BitBake without kbuild
  kbuild serve --store /srv/store --lock release/kbuild.lock
  kbuild serve --tls-cert cert.pem --tls-key key.pem")]
pub(in crate::cli) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Use TLS with this certificate (PEM, followed by its chain).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The most connections at once; others wait.
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,

    /// Seconds after which a client is disconnected that asks nothing, or reads nothing of the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,

    /// The lock whose sources are under /mirror/ [default: the project's]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// Under /mirror/ only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// URL at which clients reach the server, if it is not the address that they connect to (behind a proxy).
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl ServeArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let place = StoreContext::find(global)?;
        let base = self.url.as_deref().map(Base::new).transpose().map_err(|error| error.of_kind(Kind::Usage))?;
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsIdentity::read(certificate, key)?),
            _ => None,
        };
        // The store is released here: a server must not make `kbuild gc` wait.
        let store = place.existing_store()?.unheld();
        let mirror_cache = self.mirror_cache(&place, &store, output)?;
        let timeout = Duration::from_secs(self.timeout.into());
        let settings =
            ServeSettings { listen: self.listen, identity, connections: usize::from(self.connections), timeout, base };
        let mirror = mirror_cache.is_some();
        let server = Server::bind(&store, mirror_cache, settings)?;
        let url = server.url();
        output.say(&format!("Serving {} at {url}", disk::shown(store.root())));
        if mirror {
            output.say(&format!("For plain BitBake: {url}mirror/{}", crate::bitbake::site::FILE_NAME));
        }
        output.announce(&json!({ "url": url, "store": store.root(), "mirror": mirror }));
        runtime::until_stopped(|stop| server.run(stop))?;
        Ok(Outcome::announced())
    }

    /// What is under `/mirror/`: the project's lock, if there is one, or the lock of `--lock`.
    fn mirror_cache(&self, place: &StoreContext, store: &Store, output: &Output) -> Result<Option<MirrorCache>> {
        let Some(lock) = self.lock.clone().or_else(|| place.lock_path().map(Path::to_owned)) else {
            return match self.boards.as_slice() {
                [] => Ok(None),
                _ => Err(Error::new(Kind::Usage, format!("there is no {LOCK}, which says what a board needs"))
                    .help("name one with `--lock FILE`")),
            };
        };
        if self.lock.is_none() && !lock.exists() {
            output.say(&format!("There is no {}, so nothing is under /mirror/", disk::shown(&lock)));
            return Ok(None);
        }
        let (boards, manifest) = (self.boards.clone(), place.manifest_path().map(Path::to_owned));
        let path = lock.clone();
        let plan = move |store: &Store| plan(store, &path, manifest.as_deref(), &boards);
        let mut mirror_cache = MirrorCache::new(store, &lock, plan)?;
        let missing = mirror_cache.mirror().missing().len();
        if missing > 0 {
            output.warn(&format!(
                "{} of {} not in the store, and so not under /mirror/; run `kbuild fetch`",
                count(missing, "source"),
                if missing == 1 { "the lock is" } else { "the lock are" },
            ));
        }
        Ok(Some(mirror_cache))
    }
}

/// Reads lock and manifest, and plans the mirror from them.
fn plan(store: &Store, lock: &Path, manifest: Option<&Path>, boards: &[String]) -> Result<Mirror> {
    let manifest = manifest.map(read_manifest).transpose()?;
    let project = manifest.as_ref().map_or("kbuild", |manifest| manifest.project.as_str());
    let none = || Error::input(format!("there is no {}", disk::shown(lock))).help(format!("--lock names a {LOCK}"));
    let lock = Lock::read(lock)?.ok_or_else(none)?;
    Mirror::plan(store, MirrorRequest { project, lock: &lock, manifest: manifest.as_ref(), boards })
}
