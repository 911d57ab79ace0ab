//! `kbuild outdated`: what upstreams have that is newer than the pins.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::cli::table::{Column, table, terminal_width};
use crate::error::{Error, Kind, Result};
use crate::fetch::UpstreamClient;
use crate::lock::Lock;
use crate::probe::{PinOutlook, UpstreamRefs, outdated};
use crate::source::CommitId;

/// Shows newer tags and branch heads of layers and declared git sources.
///
/// Each repository is asked once for its refs, and nothing is fetched or changed. Files and images are not looked at. What the
/// upstreams of recipes have is the layers' matter: `devtool check-upgrade-status` in `kbuild shell` says it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild outdated
  kbuild outdated --exit-code      for CI: exit with 1 if something is newer
  kbuild outdated --format json    for a program
  kbuild update NAME               moves a pin to the head of its branch
  kbuild update NAME --to TAG      moves a pin to another tag")]
pub(in crate::cli) struct OutdatedArgs {
    /// Exit with 1 if an upstream has something newer.
    #[arg(long)]
    exit_code: bool,
}

impl OutdatedArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        if global.offline() {
            return Err(Error::new(Kind::Usage, "`kbuild outdated` asks upstreams, and the network may not be used"));
        }
        let project = Project::open(global)?;
        let lock = Lock::read(&project.lock_path)?.unwrap_or_default();
        let upstreams = UpstreamClient::new(usize::from(global.jobs), &lock.registries, Arc::clone(&output.progress));
        let pins = runtime::wait(async { Ok(outdated(&project.manifest, &lock, &upstreams).await) })?;
        let newer = pins.iter().filter(|pin| pin.is_outdated()).count();
        let silent = pins.iter().filter(|pin| matches!(pin.found, UpstreamRefs::Silent(_))).count();
        let silent = if silent == 0 { String::new() } else { format!(", {silent} without an answer") };
        output.say(&format!("{} asked about, {newer} outdated{silent}", count(pins.len(), "pin")));
        let json = json!({ "pins": pins.iter().map(pin_json).collect::<Vec<_>>(), "outdated": newer });
        let mut outcome = Outcome::new(json, text(&pins));
        outcome.error = failures(&pins);
        if self.exit_code && newer > 0 {
            outcome.exit = Some(1);
        }
        Ok(outcome)
    }
}

/// The upstreams that could not be asked.
fn failures(pins: &[PinOutlook]) -> Option<Error> {
    let silent = pins.iter().filter_map(|pin| match &pin.found {
        UpstreamRefs::Silent(why) => {
            let error = Error::new(Kind::Network, format!("could not ask {} `{}`", pin.section.noun(), pin.name));
            Some(error.because(format!("{}: {why}", pin.url)))
        }
        UpstreamRefs::Refs { .. } => None,
    });
    Error::all(silent.collect(), |count| format!("{count} upstreams could not be asked"))
}

fn text(pins: &[PinOutlook]) -> String {
    let rows: Vec<[String; 4]> = pins.iter().filter(|pin| pin.is_outdated()).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["NAME", "PINNED", "NEWER", "UPDATE WITH"].map(str::to_owned);
    let rows: Vec<_> = [heading].into_iter().chain(rows).collect();
    table([Column::Left, Column::Left, Column::Left, Column::Cut], &rows, terminal_width())
}

fn row(pin: &PinOutlook) -> [String; 4] {
    let locked = pin.commit.as_ref().map(CommitId::short).unwrap_or_default();
    let PinOutlook { name, reference, .. } = pin;
    if let Some((tag, _)) = pin.newer_tag() {
        let own = reference.tag.clone().unwrap_or_default();
        return [name.clone(), own, tag.clone(), format!("kbuild update {name} --to {tag}")];
    }
    let branch = reference.branch.clone().unwrap_or_default();
    let head = pin.newer_head().as_ref().map(CommitId::short).unwrap_or_default();
    let by_hand = reference.rev.is_some();
    let to = if by_hand { format!(" --to {branch}") } else { String::new() };
    [name.clone(), format!("{branch} {locked}"), format!("{branch} {head}"), format!("kbuild update {name}{to}")]
}

fn pin_json(pin: &PinOutlook) -> Value {
    let why = match &pin.found {
        UpstreamRefs::Silent(why) => Some(why.as_str()),
        UpstreamRefs::Refs { .. } => None,
    };
    json!({
        "section": pin.section.noun(),
        "name": pin.name,
        "git": pin.url.as_str(),
        "branch": pin.reference.branch,
        "tag": pin.reference.tag,
        "rev": pin.reference.rev.map(|rev| rev.to_string()),
        "commit": pin.commit.map(|commit| commit.to_string()),
        "outdated": pin.is_outdated(),
        "newer_tag": pin.newer_tag().map(|(tag, commit)| json!({ "tag": tag, "commit": commit.to_string() })),
        "newer_head": pin.newer_head().map(|head| head.to_string()),
        "why": why,
    })
}
