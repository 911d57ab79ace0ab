//! `kbuild export --kas`: writes kas files of boards.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::init::notes_json;
use crate::cli::global::{Format, GlobalArgs};
use crate::cli::output::{Outcome, Output, count};
use crate::cli::project::Project;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::foreign::Note;
use crate::foreign::kas::export::{self, KasFile};

/// Endings of one file; anything else is a directory.
const ENDINGS: [&str; 2] = ["yml", "yaml"];

pub(super) fn run(target: &Path, boards: &[String], global: &GlobalArgs, output: &Output) -> Result<Outcome> {
    let project = Project::open(global)?;
    let lock = project.lock(global, output)?;
    let manifest = &project.manifest;
    let all: Vec<String> = manifest.boards.keys().cloned().collect();
    let boards = if boards.is_empty() { all.as_slice() } else { boards };
    let pipe = target == Path::new("-");
    let single = pipe || target.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    if single && boards.len() != 1 {
        let fault = Error::new(Kind::Usage, format!("a kas file is of one board, and here are {}", boards.len()));
        return Err(fault.help("name one with `--board`, or a directory for a file of each"));
    }
    if pipe && global.format == Format::Json {
        let clash = "a kas file and a JSON document cannot both be written to standard output";
        return Err(Error::new(Kind::Usage, clash).help("name a file, or leave out `--format json`"));
    }
    let files =
        boards.iter().map(|board| Ok((board, export::text(manifest, &lock, board)?))).collect::<Result<Vec<_>>>()?;
    let mut written: Vec<(PathBuf, &KasFile)> = Vec::new();
    for (board, file) in &files {
        let path = if single { target.to_owned() } else { target.join(format!("{board}.yml")) };
        if !pipe {
            disk::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            disk::replace(&path, file.text.as_bytes())?;
        }
        written.push((path, file));
    }
    let text = if pipe { files.first().map_or("", |(_, file)| file.text.trim_end()) } else { "" };
    report(&files, &written, output, pipe);
    let json = json!({
        "files": written.iter().map(|(path, file)| file_json(path, file)).collect::<Vec<_>>(),
    });
    Ok(Outcome::new(json, text))
}

fn file_json(path: &Path, file: &KasFile) -> Value {
    json!({ "file": path, "left_out": notes_json(&file.notes.left_out) })
}

/// What kas cannot say, once for all boards.
fn report(files: &[(&String, KasFile)], written: &[(PathBuf, &KasFile)], output: &Output, pipe: bool) {
    if !pipe {
        let place = written.first().map_or_else(String::new, |(path, _)| disk::shown(path));
        let more = if written.len() > 1 { format!(" and {} more", written.len() - 1) } else { String::new() };
        output.say(&format!("Wrote {}: {place}{more}", count(written.len(), "kas file")));
    }
    let mut said: Vec<&Note> = Vec::new();
    for note in files.iter().flat_map(|(_, file)| &file.notes.left_out) {
        if !said.contains(&note) {
            output.warn(&format!("not in the kas file: {} ({})", note.what, note.why));
            said.push(note);
        }
    }
}
