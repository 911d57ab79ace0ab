//! `kbuild import`: reads a bundle into the store.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::bundle::{self, Imported, Origin, Trust, TrustedKey};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::StoreContext;
use crate::cli::runtime;
use crate::cli::stop::Interruptible;
use crate::error::Result;
use crate::files::LOCK;
use crate::progress;

/// Reads a bundle into the store.
///
/// Checks the signature first, then every byte before it is kept. Skips what the store has. Writes to nothing but the
/// store. Works in a project, or anywhere with `--store DIR`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild import /media/usb/bundle                 a directory or a file
  kbuild import --trust kbuild.pub bundle.tar     only if this key signed it
  kbuild fetch --offline                          checks that all of kbuild.lock is there now")]
pub(in crate::cli) struct ImportArgs {
    /// What `kbuild export` wrote; `-` for standard input.
    #[arg(value_name = "DIR|FILE")]
    bundle: PathBuf,

    /// Refuse a bundle that is not signed by one of these public keys of minisign: a file, or the key itself.
    #[arg(long, value_name = "KEY")]
    trust: Vec<String>,
}

impl ImportArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let keys = self.trust.iter().map(|key| TrustedKey::read(key)).collect::<Result<Vec<_>>>()?;
        let place = StoreContext::find(global)?;
        let origin = if self.bundle == Path::new("-") {
            Origin::Stream(Box::new(Interruptible(std::io::stdin())))
        } else {
            Origin::Path(self.bundle)
        };
        let store = place.store()?;
        let imported = runtime::work(output, || bundle::import(&store, origin, &keys, output.progress.as_ref()))?;
        match imported.trust {
            Trust::Signed => {}
            Trust::Unchecked => output.warn("the signature was not checked: name the key to trust with `--trust KEY`"),
            Trust::Unsigned => output
                .warn("the bundle is not signed: its bytes agree with its own index, but who made it is not known"),
        }
        output.say(&describe(&imported));
        let same_lock = place.lock_text()?.map(|text| text == imported.lock);
        if same_lock == Some(false) {
            output.say(&format!(
                "The bundle was made from another {LOCK}; run `kbuild fetch --offline` to see what is missing"
            ));
        }
        let json = json!({
            "blobs": imported.blobs,
            "commits": imported.commits,
            "bytes": imported.bytes,
            "trust": word(imported.trust),
            "same_lock": same_lock,
        });
        Ok(Outcome::new(json, ""))
    }
}

fn word(trust: Trust) -> &'static str {
    match trust {
        Trust::Signed => "signed",
        Trust::Unchecked => "unchecked",
        Trust::Unsigned => "unsigned",
    }
}

fn describe(imported: &Imported) -> String {
    let all = imported.index.carried().count();
    format!(
        "{} ({}) and {} imported, {} already there",
        count(imported.blobs, "blob"),
        progress::size(imported.bytes),
        count(imported.commits, "commit"),
        all - imported.blobs,
    )
}
