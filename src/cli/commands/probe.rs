//! `kbuild probe`: asks upstreams whether they still have what the lock names.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::runtime;
use crate::cli::table::{Column, table, terminal_width};
use crate::error::{Error, Kind, Result};
use crate::fetch::{UpstreamClient, UpstreamLook};
use crate::lock::Lock;
use crate::probe::{self, HostLoad, ProbeFinding, ProbeReport, ProbedSource};

/// Asks each upstream of kbuild.lock whether it still has what is locked, and fetches nothing.
///
/// Mirrors, stores and a site's registries are not asked: this is what somebody sees who has none of them. Shows what is gone,
/// moved, redirected to another host, or fetched without encryption, and which host would stop most boards.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild probe                             everything the lock names
  kbuild probe --board qemu                what one board needs, with any of its options
  kbuild probe --strict                    for CI: exit with 1 if a source could not be fetched now
  kbuild probe --signatures --format json  also which archives nobody has signed, for a program")]
pub(in crate::cli) struct ProbeArgs {
    /// Only what these boards need.
    #[arg(long = "board", short, value_name = "BOARD")]
    boards: Vec<String>,

    /// Look for signatures beside archives too: up to four more requests for each.
    #[arg(long)]
    signatures: bool,

    /// Exit with 1 if a source is gone, refused, of another size, or could not be asked for.
    #[arg(long)]
    strict: bool,
}

impl ProbeArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        if global.offline() {
            return Err(Error::new(Kind::Usage, "`kbuild probe` asks upstreams, and the network may not be used")
                .help("run it without --offline; `kbuild verify` looks at the store alone"));
        }
        let project = Project::open(global)?;
        let lock = project.lock(global, output)?;
        let ids = project.sources(&lock, &self.boards)?;
        let upstreams = UpstreamClient::new(usize::from(global.jobs), &lock.registries, Arc::clone(&output.progress));
        let report = runtime::wait(probe::probe(&lock, &ids, &upstreams, self.signatures))?;
        output.say(&summary(&report));
        let mut outcome = Outcome::new(document(&report), text(&report, &lock));
        let stopped = report.stopped();
        if self.strict && stopped > 0 {
            let message = format!("{} could not be fetched from upstream now", count(stopped, "source"));
            outcome.error = Some(Error::input(message).help(
                "name a place that has them by a `[[mirrors.rule]]`, keep them with `kbuild push`, or change their URLs",
            ));
        }
        Ok(outcome)
    }
}

fn summary(report: &ProbeReport) -> String {
    let asked = format!("{} on {}", count(report.sources.len(), "source"), count(report.hosts.len(), "host"));
    let counts = report.counts();
    if counts.is_empty() {
        return format!("{asked}: all there");
    }
    let found: Vec<String> = counts.iter().map(|(name, number)| format!("{number} {name}")).collect();
    format!("{asked}: {}", found.join(", "))
}

/// What was found, then the hosts.
fn text(report: &ProbeReport, lock: &Lock) -> String {
    let mut tables = Vec::new();
    let heading = ["FOUND", "SOURCE", "WHAT"].map(str::to_owned);
    let found: Vec<[String; 3]> = report.sources.iter().flat_map(rows).collect();
    if !found.is_empty() {
        let rows: Vec<_> = [heading].into_iter().chain(found).collect();
        tables.push(table([Column::Left, Column::Left, Column::Cut], &rows, terminal_width()));
    }
    if !report.hosts.is_empty() {
        let heading = ["HOST", "SOURCES", "ONLY THERE", "STOPPED", "BOARDS"].map(str::to_owned);
        let hosts = report.hosts.iter().map(|load| host_row(load, lock));
        let rows: Vec<_> = [heading].into_iter().chain(hosts).collect();
        let columns = [Column::Left, Column::Right, Column::Right, Column::Right, Column::Cut];
        tables.push(table(columns, &rows, terminal_width()));
    }
    tables.join("\n\n")
}

fn rows(source: &ProbedSource) -> Vec<[String; 3]> {
    let row = |finding: &ProbeFinding| [finding.name().to_owned(), source.id.to_string(), source.detail(finding)];
    source.findings.iter().map(row).collect()
}

fn host_row(load: &HostLoad, lock: &Lock) -> [String; 5] {
    let names: Vec<&str> = load.boards.iter().map(String::as_str).collect();
    let boards = match names.len() {
        0 => String::new(),
        all if all == lock.boards.len() && all > 1 => format!("all {all}"),
        _ => names.join(", "),
    };
    [load.host.clone(), load.sources.to_string(), load.alone.to_string(), load.stopped.to_string(), boards]
}

fn document(report: &ProbeReport) -> Value {
    let hosts = report.hosts.iter().map(|load| {
        json!({
            "host": load.host,
            "sources": load.sources,
            "only_there": load.alone,
            "stopped": load.stopped,
            "boards": load.boards,
        })
    });
    json!({
        "sources": report.sources.iter().map(source_json).collect::<Vec<_>>(),
        "hosts": hosts.collect::<Vec<_>>(),
        "counts": report.counts(),
        "stopped": report.stopped(),
    })
}

fn source_json(source: &ProbedSource) -> Value {
    let finding = |finding: &ProbeFinding| json!({ "kind": finding.name(), "stops": finding.stops(), "what": source.detail(finding) });
    json!({
        "source": source.id,
        "findings": source.findings.iter().map(finding).collect::<Vec<_>>(),
        "looks": source.looks.iter().map(look_json).collect::<Vec<_>>(),
        "boards": source.boards,
    })
}

fn look_json(look: &UpstreamLook) -> Value {
    json!({
        "url": look.url.as_str(),
        "asked": look.asked.as_str(),
        "answer": look.answer.name(),
        "redirected_to": look.redirected.as_ref().map(|redirected| redirected.to.clone()),
        "size": look.size,
        "why": look.why,
    })
}
