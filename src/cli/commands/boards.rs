//! `kbuild boards`: what can be built, and with which options.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::global::GlobalArgs;
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::cli::table::{Column, table, terminal_width};
use crate::error::Result;
use crate::manifest::{Board, BuildOption, Manifest, OptionKind, Selection};

/// Lists the boards: machine, targets, and the options that each can be built with.
///
/// Of an option's choices, the one that a plain build of the board takes stands first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kbuild boards                     one line a board
  kbuild boards --format json       with layers, fragments, and why a choice is refused")]
pub(in crate::cli) struct BoardsArgs {}

/// A board and what it can be built with.
struct Row<'a> {
    name: &'a str,
    board: Board,
    selection: Selection,
}

impl BoardsArgs {
    pub(in crate::cli) fn run(self, global: &GlobalArgs, output: &Output) -> Result<Outcome> {
        let project = Project::open(global)?;
        let manifest = &project.manifest;
        let mut rows = Vec::new();
        for name in manifest.boards.keys() {
            let selection = manifest.select(name, &[])?;
            rows.push(Row { name, board: manifest.configured(name, &selection)?, selection });
        }
        output.say(&count(rows.len(), "board"));
        let json: Vec<Value> = rows.iter().map(|row| row.json(manifest)).collect();
        let text = if rows.is_empty() { String::new() } else { text(manifest, &rows) };
        Ok(Outcome::new(json!({ "boards": json }), text))
    }
}

impl Row<'_> {
    fn options<'m>(&self, manifest: &'m Manifest) -> impl Iterator<Item = (&'m String, &'m BuildOption)> + use<'_, 'm> {
        manifest.options.iter().filter(|(_, option)| option.is_for(self.name))
    }

    /// What a plain build takes: `None` for a flag that is off.
    fn own(&self, option: &str) -> Option<&str> {
        self.selection.values.get(option)?.as_deref()
    }

    /// `boot=initrd|rootfs`, the board's own first; a flag by its name, with `=on` where the board has it.
    fn described(&self, name: &str, option: &BuildOption) -> String {
        let own = self.own(name);
        match &option.kind {
            OptionKind::Flag { .. } if own.is_some() => format!("{name}=on"),
            OptionKind::Flag { .. } => name.to_owned(),
            OptionKind::Choice { choices, .. } => {
                let possible =
                    choices.keys().map(String::as_str).filter(|choice| option.refusal(self.name, choice).is_none());
                let others = possible.filter(|choice| Some(*choice) != own);
                format!("{name}={}", own.into_iter().chain(others).collect::<Vec<_>>().join("|"))
            }
        }
    }

    fn json(&self, manifest: &Manifest) -> Value {
        let options = self.options(manifest).map(|(name, option)| {
            let choices: Vec<&String> = match &option.kind {
                OptionKind::Flag { .. } => Vec::new(),
                OptionKind::Choice { choices, .. } => choices.keys().collect(),
            };
            let refused = |choice: &&String| Some(((*choice).clone(), json!(option.refusal(self.name, choice)?)));
            let refused: serde_json::Map<String, Value> = choices.iter().filter_map(refused).collect();
            json!({ "name": name, "value": self.own(name), "choices": choices, "refused": refused })
        });
        let options: Vec<Value> = options.collect();
        let Board { machine, parts, .. } = &self.board;
        json!({ "board": self.name, "machine": machine, "targets": parts.targets, "layers": parts.layers, "options": options })
    }
}

fn text(manifest: &Manifest, rows: &[Row<'_>]) -> String {
    let mut lines = vec![["board", "machine", "targets", "options"].map(str::to_owned)];
    for row in rows {
        let options = row.options(manifest).map(|(name, option)| row.described(name, option));
        let options = options.collect::<Vec<_>>().join(" ");
        lines.push([row.name.to_owned(), row.board.machine.clone(), row.board.parts.targets.join(" "), options]);
    }
    table([Column::Left, Column::Left, Column::Cut, Column::Cut], &lines, terminal_width())
}
