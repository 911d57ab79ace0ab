//! `kbuild import`: a bundle, into the store.

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

/// Takes a bundle into the store.
///
/// The signature is checked first, then every byte, before it is kept; what the store has is passed over. Nothing but the
/// store is written. In a project, or with `--store DIR` anywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild import /media/usb/bundle                 a directory or a file
  kbuild import --trust kbuild.pub bundle.tar     only if this key signed it
  kbuild fetch --offline                          tells whether all of kbuild.lock is there now")]
pub(in crate::cli) struct ImportArgs {
    /// What `kbuild export` wrote; `-` for standard input.
    #[arg(value_name = "DIR|FILE")]
    bundle: PathBuf,

    /// Refuse a bundle that none of these public keys of minisign signed: a file, or the key itself.
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
            Trust::Unchecked => output.warn("the signature was not checked: `--trust KEY` names whose is taken"),
            Trust::Unsigned => {
                output.warn("the bundle is not signed: its bytes agree with its own index, no more is known")
            }
        }
        output.say(&describe(&imported));
        let same_lock = place.lock_text()?.map(|text| text == imported.lock);
        if same_lock == Some(false) {
            output
                .say(&format!("The bundle was made by another {LOCK}; `kbuild fetch --offline` tells what is missing"));
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
        "{} ({}) and {} taken in, {} already there",
        count(imported.blobs, "blob"),
        progress::size(imported.bytes),
        count(imported.commits, "commit"),
        all - imported.blobs,
    )
}
