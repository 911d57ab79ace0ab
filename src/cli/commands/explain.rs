//! `kbuild explain`: what an exit code or a kind of failure means, and the reference pages.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::explanations::{Explanation, PAGES, by_exit_code, explanation, names};
use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output};
use crate::error::{Error, Kind, Result};
use crate::suggest;

/// So many names of pages fit into 80 columns.
const PAGES_A_LINE: usize = 7;

/// Explains a failure by its exit code or its kind, or prints a page of the reference.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild explain 5                  what exit code 5 means, and what helps
  kbuild explain hash-mismatch      the same, by the kind that `--format json` gives
  kbuild explain seal               the page about the seal; `kbuild explain` lists all pages")]
pub(in crate::cli) struct ExplainArgs {
    /// An exit code, a kind of failure, or a page.
    #[arg(value_name = "CODE|PAGE")]
    topic: Option<String>,
}

impl ExplainArgs {
    pub(in crate::cli) fn run(self, _: &GlobalArgs, _: &Output) -> Result<Outcome> {
        let Some(topic) = self.topic else { return Ok(topics()) };
        if let Some((name, text)) = PAGES.iter().find(|(name, _)| *name == topic) {
            return Ok(Outcome::new(json!({ "page": name, "text": text }), text.trim_end()));
        }
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| is_of(*kind, &topic)).collect();
        match kinds.as_slice() {
            [] => Err(unknown(&topic)),
            kinds => Ok(explained(kinds)),
        }
    }
}

fn is_of(kind: Kind, topic: &str) -> bool {
    kind.name() == topic || kind.exit_code().to_string() == topic
}

fn topics() -> Outcome {
    let codes = by_exit_code();
    let lines = codes.iter().map(|(code, kinds)| format!("{code:>5}  {}", names(kinds).join(", ")));
    let pages: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
    let of_pages: Vec<String> = pages.chunks(PAGES_A_LINE).map(|some| format!("  {}", some.join(", "))).collect();
    let text = format!(
        "Exit codes, and their kinds:\n{}\n\nPages:\n{}",
        lines.collect::<Vec<_>>().join("\n"),
        of_pages.join(",\n")
    );
    let kinds: Vec<Value> =
        Kind::ALL.into_iter().map(|kind| json!({ "code": kind.exit_code(), "kind": kind.name() })).collect();
    Outcome::new(json!({ "kinds": kinds, "pages": pages }), text)
}

/// Kinds of one exit code.
fn explained(kinds: &[Kind]) -> Outcome {
    let code = kinds.first().map_or(0, |kind| kind.exit_code());
    let names = names(kinds);
    let Explanation { meaning, remedy, causes } = explanation(kinds.first().copied().unwrap_or(Kind::Bug));
    let mut text = format!("Exit code {code} ({}): {meaning}.\nWhat usually fixes it: {remedy}.\n", names.join(", "));
    for (cause, help) in causes {
        text.push_str(&format!("\n- {cause}:\n  {help}"));
    }
    let causes: Vec<Value> = causes.iter().map(|(cause, help)| json!({ "cause": cause, "help": help })).collect();
    Outcome::new(json!({ "code": code, "kinds": names, "meaning": meaning, "remedy": remedy, "causes": causes }), text)
}

fn unknown(topic: &str) -> Error {
    let names = PAGES.iter().map(|(name, _)| *name).chain(Kind::ALL.map(Kind::name));
    let near = suggest::did_you_mean(topic, names, 2).unwrap_or_default();
    Error::new(Kind::Usage, format!("there is no exit code, kind or page `{topic}`"))
        .help(format!("{near} `kbuild explain` lists all").trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_kinds_have_names_of_their_own() {
        for (name, text) in PAGES {
            assert!(Kind::ALL.iter().all(|kind| kind.name() != *name), "{name}");
            assert!(text.starts_with("# "), "{name}");
        }
        for kind in Kind::ALL {
            assert!(!explanation(kind).causes.is_empty(), "{}", kind.name());
        }
    }
}
