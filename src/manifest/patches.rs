//! Checks of a layer's `patches`: files of the project, series of quilt, files of other layers, and files that are fetched.

use std::path::Path;

use super::document::{Blocks, Diagnostics};
use super::git::file_url;
use super::raw::{At, RawLayer, RawPatch, RawText};
use super::{names, project_file};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::{Blake3, LayerPatch, PatchOrigin};

/// What is in front of the names in a patch of git, quilt or `diff -r` by default (`-p1`).
const STRIP: u32 = 1;

/// A directory's list of patches, as quilt and Debian have it.
const SERIES: &str = "series";

/// The patches of a layer in their order; those of the project are hashed. `root` is the project's directory.
pub(super) fn check(
    list: &[At<RawPatch>],
    layers: &Blocks<RawLayer>,
    root: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<LayerPatch> {
    let mut patches = Vec::new();
    for patch in list {
        patches.extend(diagnostics.take(read(patch, layers, root)).unwrap_or_default());
    }
    patches
}

fn read(patch: &At<RawPatch>, layers: &Blocks<RawLayer>, root: &Path) -> Result<Vec<LayerPatch>> {
    let table = match &patch.value {
        RawPatch::File(file) => return of_project(&patch.with(file.clone()), STRIP, root),
        RawPatch::Table(table) => table,
    };
    let strip = table.strip.unwrap_or(STRIP);
    match (&table.file, &table.layer, &table.url, &table.sha256) {
        (Some(file), None, None, None) => of_project(file, strip, root),
        (Some(file), Some(layer), None, None) => Ok(vec![of_layer(file, layer, strip, layers, root)?]),
        (None, None, Some(url), Some(sha256)) => Ok(vec![remote(url, sha256, strip)?]),
        _ => {
            let fault = Error::input("a patch has to say where it is").at(patch.span.clone(), "this one");
            Err(fault.help("`\"FILE\"`, `{ layer = \"…\", file = \"…\" }`, or `{ url = \"…\", sha256 = \"…\" }`"))
        }
    }
}

/// A file of the project, or all of a directory that has a series.
fn of_project(text: &RawText, strip: u32, root: &Path) -> Result<Vec<LayerPatch>> {
    let place = project_file::place(text, root, "patch")?;
    if !root.join(&place).is_dir() {
        return Ok(vec![project_patch(text, &place, strip, root)?]);
    }
    let series = root.join(&place).join(SERIES);
    if !series.is_file() {
        let fault = Error::input(format!("the directory `{}` has no `{SERIES}`", text.escape_debug()));
        let help = "name the patches one by one, or write their names into a file `series` there, as quilt does";
        return Err(fault.at(text.span.clone(), "a directory").help(help));
    }
    let at = |error: Error| error.at(text.span.clone(), "this series");
    let list = disk::read_text(&series, "a series of patches", bounds::MANIFEST).map_err(at)?;
    let mut patches = Vec::new();
    for (number, line) in list.lines().enumerate() {
        let Some((name, strip)) = series_line(line, strip)
            .map_err(|why| at(Error::input(format!("{}:{}: {why}", place.join(SERIES).display(), number + 1))))?
        else {
            continue;
        };
        let named = text.with(place.join(name).display().to_string());
        let place = project_file::place(&named, root, "patch")?;
        patches.push(project_patch(&named, &place, strip, root)?);
    }
    Ok(patches)
}

/// A line of a series (quilt(1), "SERIES FILE"): a name and perhaps `-pN`; `None` for a comment.
fn series_line(line: &str, strip: u32) -> std::result::Result<Option<(&str, u32)>, String> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    match (words.next(), words.next()) {
        (None, _) => Ok(Some((name, strip))),
        (Some(option), None) => match option.strip_prefix("-p").and_then(|number| number.parse().ok()) {
            Some(strip) => Ok(Some((name, strip))),
            None => Err(format!("`{}` is not understood, only `-pN` is", option.escape_debug())),
        },
        _ => Err("more than a name and `-pN`".to_owned()),
    }
}

fn project_patch(text: &RawText, place: &Path, strip: u32, root: &Path) -> Result<LayerPatch> {
    let bytes = project_file::read(text, root, "patch", bounds::FILE_OF_SOURCE)?;
    let origin = PatchOrigin::Project { file: place.display().to_string() };
    Ok(LayerPatch { origin, strip, blake3: Some(Blake3::of(&bytes)) })
}

/// A file of another layer: of a folder it is hashed here, of a repository when its commit is known.
fn of_layer(file: &RawText, layer: &RawText, strip: u32, layers: &Blocks<RawLayer>, root: &Path) -> Result<LayerPatch> {
    let Some(block) = layers.get(layer.as_str()) else {
        let fault = Error::input(format!("a patch names an unknown layer `{}`", layer.escape_debug()));
        let help = names::suggest("layers", layer, layers.keys().map(String::as_str));
        return Err(fault.at(layer.span.clone(), "no such layer").help(help));
    };
    let parts = file.split('/');
    if parts.into_iter().any(|part| matches!(part, "" | "." | "..")) {
        let fault = Error::input("a patch of a layer must be a path inside it").at(file.span.clone(), "this path");
        return Err(fault.help("write it without `.` and `..`: `patches/fix.patch`"));
    }
    let folder = block.raw.as_ref().and_then(|raw| raw.path.as_ref());
    let blake3 = match folder {
        Some(folder) => {
            let path = root.join(folder.as_str()).join(file.as_str());
            let bytes = disk::read_small(&path, "patch", bounds::FILE_OF_SOURCE);
            Some(Blake3::of(&bytes.map_err(|error| error.at(file.span.clone(), "this file"))?))
        }
        None => None,
    };
    let origin = PatchOrigin::Layer { layer: layer.value.clone(), file: file.value.clone() };
    Ok(LayerPatch { origin, strip, blake3 })
}

fn remote(url: &RawText, sha256: &RawText, strip: u32) -> Result<LayerPatch> {
    let hash = sha256.parse().map_err(|error: Error| {
        error
            .at(sha256.span.clone(), "the `sha256` of the patch")
            .help("copy all 64 digits: `sha256sum FILE` prints them")
    })?;
    let origin = PatchOrigin::remote(file_url(url)?, hash).map_err(|error| error.at(url.span.clone(), "this URL"))?;
    Ok(LayerPatch { origin, strip, blake3: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_names_options_and_comments() {
        assert_eq!(series_line("# a comment", 1), Ok(None));
        assert_eq!(series_line("  ", 1), Ok(None));
        assert_eq!(series_line("a.patch", 1), Ok(Some(("a.patch", 1))));
        assert_eq!(series_line("sub/a.patch -p0 # why", 1), Ok(Some(("sub/a.patch", 0))));
        assert!(series_line("a.patch -R", 1).unwrap_err().contains("-R"));
        assert!(series_line("a.patch -p1 -p0", 1).is_err());
    }
}
