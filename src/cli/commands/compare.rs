//! `kbuild compare`: two results beside each other, of this machine or of two.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::builder::comparison::{Comparison, DifferentArtifact, FoundResult, compare_results};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::error::{Error, Kind, Result};

/// Compares two results: each artifact is the same, other, or only in one; of those that differ, the first difference
/// inside is named.
///
/// A result is a result.json, or the directory of a board that has one. Artifacts are opened where they are still beside
/// their result. Exit code 8 if anything differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild compare build/qemu /mnt/other-machine/build/qemu
  kbuild compare a/result.json b/result.json")]
pub(in crate::cli) struct CompareArgs {
    /// A result.json, or a directory with one.
    #[arg(value_name = "RESULT")]
    first: PathBuf,

    /// The other one.
    #[arg(value_name = "RESULT")]
    second: PathBuf,
}

impl CompareArgs {
    pub(in crate::cli) fn run(self, _global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let (first, second) = (FoundResult::read(&self.first)?, FoundResult::read(&self.second)?);
        let comparison = compare_results(&first, &second)?;
        let Comparison { same, different, inputs } = &comparison;
        output.say(&format!("{} the same, {} not", count(*same, "artifact"), different.len()));
        inputs.iter().for_each(|what| output.say(&format!("The builds differ in {what}")));
        let text = different.iter().map(line).collect::<Vec<_>>().join("\n");
        let error = (!different.is_empty()).then(|| {
            let artifacts = count(different.len(), "artifact");
            Error::new(Kind::NotReproducible, format!("the results do not agree on {artifacts}"))
                .help("diffoscope shows more: `diffoscope FILE FILE`")
        });
        let mut outcome = Outcome::new(json!({ "comparison": comparison }), text);
        outcome.error = error;
        Ok(outcome)
    }
}

fn line(artifact: &DifferentArtifact) -> String {
    let mut line = artifact.difference.to_string();
    if let Some(first) = &artifact.first {
        let inside = if first.inside.is_empty() { String::new() } else { format!("{}: ", first.inside.join(" > ")) };
        line.push_str(&format!("\n  {inside}{}", first.what));
        line.extend(first.cause.map(|cause| format!("\n  cause: {cause}")));
    }
    line
}
