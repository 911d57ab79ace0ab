//! `kbuild checkout`: clones a layer to work on it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::fetch::patches;
use crate::files::{LOCK, MANIFEST};
use crate::lock::{Locked, LockedGit, Request};
use crate::manifest::LayerOrigin;
use crate::manifest::local::check_layer;
use crate::source::{GitRef, SourceId};

/// Clones a layer at its locked commit, to work in it.
///
/// The clone has all branches and the whole history. Its remote `origin` is the upstream, and its branch the one that
/// kbuild.toml names. The layer's patches are commits on top of the locked one, as they are in builds. `kbuild build --override LAYER=DIR` then builds with it. With --offline it has what the store has: the
/// locked commit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild checkout meta-virtualization ../meta-virtualization
  kbuild build --board qemu --override meta-virtualization=../meta-virtualization")]
pub(in crate::cli) struct CheckoutArgs {
    /// The layer, a git repository.
    #[arg(value_name = "LAYER")]
    layer: String,

    /// The directory to clone into, which must not exist or be empty [default: LAYER, here]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl CheckoutArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let CheckoutArgs { layer, directory } = self;
        check_layer(&project.manifest, &layer).map_err(|error| error.of_kind(Kind::Usage))?;
        if let LayerOrigin::Path(path) = &project.manifest.layers[layer.as_str()].origin {
            return Err(Error::input(format!("the layer `{layer}` is a folder of the project already"))
                .help(format!("work in {}", path.display())));
        }
        let lock = project.lock(global, output)?;
        let pin = lock.layers.get(&layer).ok_or_else(|| {
            Error::new(Kind::Stale, format!("{LOCK} does not have the layer `{layer}`")).help("run `kbuild lock`")
        })?;
        let (Request::Git { reference, .. }, Locked::Git(_, git)) = (&pin.request, lock.get(&pin.locked)?) else {
            return Err(Error::input(format!("{LOCK} has the layer `{layer}` as a file")).help("run `kbuild lock`"));
        };
        let directory = directory.unwrap_or_else(|| PathBuf::from(&layer));
        let directory = std::path::absolute(&directory).map_err(|error| Error::io("find", &directory, error))?;
        self::must_be_free(&directory)?;
        let fetcher = project.fetcher(global, output)?;
        let sources: Vec<SourceId> = patches::sources(&lock, &pin.patches).into_iter().collect();
        runtime::wait(fetcher.sources(&lock, &sources))?;
        let patches = patches::of_layer(&project.manifest, &lock, fetcher.store(), &layer)?;
        let whole = runtime::wait(fetcher.clone_repository(git, reference, &patches, &directory))?;
        let place = disk::shown(&directory);
        output.say(&described(&layer, git, reference, &place));
        if !patches.is_empty() {
            let commits = count(patches.len(), "commit");
            output.say(&format!("{commits} on top of that are the patches that {MANIFEST} has for it"));
        }
        if !whole {
            output.warn("the upstream could not be asked: the clone has only what the store has; `git fetch --unshallow` brings the rest");
        }
        output.say(&format!("Build with it: `kbuild build --override {layer}={place}`, or for every build in {MANIFEST}'s local file:\n  [overrides]\n  {layer} = \"{}\"", directory.display()));
        let json = json!({ "layer": layer, "directory": directory, "commit": git.commit, "patches": patches.len(), "whole": whole });
        Ok(Outcome::new(json, ""))
    }
}

fn must_be_free(directory: &std::path::Path) -> Result<()> {
    let free = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if free {
        return Ok(());
    }
    Err(Error::input(format!("{} is there already", disk::shown(directory)))
        .help("name another directory: `kbuild checkout LAYER DIR`"))
}

fn described(layer: &str, git: &LockedGit, reference: &GitRef, place: &str) -> String {
    let branch = reference.branch.as_ref().map(|branch| format!(", branch {branch}")).unwrap_or_default();
    format!("Cloned `{layer}` into {place}, at {}{branch}", git.commit.short())
}
