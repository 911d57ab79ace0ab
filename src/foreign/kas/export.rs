//! Writes a kas file of a board: the commits are those of the lock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::LOCK;
use crate::foreign::found::{FilePlace, Notes};
use crate::foreign::{repositories, work_tree};
use crate::lock::Lock;
use crate::manifest::{BoardParts, CachePlace, EnvValue, Layer, LayerOrigin, Manifest};
use crate::source::{LayerPatch, PatchOrigin};

/// The format that has all keys written here: `tag` came with 15, `prio` with 21.
const FORMAT: u32 = 15;
const FORMAT_WITH_PRIORITIES: u32 = 21;

/// The project's own repository.
const OWN: &str = "this";

/// A kas file, and what it cannot say.
#[derive(Debug)]
pub struct KasFile {
    pub text: String,
    pub notes: Notes,
}

/// A repository of the file.
#[derive(Debug, Default)]
struct Entry {
    /// `url`, `path`, `branch`, `tag`, `commit`, in kas's order.
    keys: Vec<(&'static str, String)>,
    /// Layers, in the order of BBLAYERS; each with its place in it.
    layers: Vec<(String, usize)>,
    /// Patches in their order: the repository that has one, and the path there.
    patches: Vec<(String, String)>,
}

/// The file of a board; its options have their defaults.
///
/// # Errors
/// The board is unknown, or the lock does not have one of its layers.
pub fn text(manifest: &Manifest, lock: &Lock, board: &str) -> Result<KasFile> {
    let place =
        FilePlace { file: manifest.path.file_name().unwrap_or_default().to_string_lossy().into_owned(), line: None };
    let mut notes = Notes::default();
    let selection = manifest.select(board, &[])?;
    let parts = manifest.configured(board, &selection)?.parts;
    let entries = entries(manifest, lock, &parts, &place, &mut notes)?;
    let priorities = needs_priorities(&entries);
    let mut text = format!("header:\n  version: {}\n", if priorities { FORMAT_WITH_PRIORITIES } else { FORMAT });
    let machine = &manifest.board(board)?.machine;
    let _ = writeln!(text, "machine: {}", quoted(machine));
    if let Some(distro) = parts.config.get("DISTRO") {
        let _ = writeln!(text, "distro: {}", quoted(distro));
    }
    write_targets(&mut text, &parts.targets);
    write_repositories(&mut text, &entries, priorities);
    write_env(&mut text, &parts, &place, &mut notes);
    write_conf(&mut text, manifest, &parts, &selection.overrides, &place, &mut notes);
    note_rest(manifest, board, &place, &mut notes);
    Ok(KasFile { text, notes })
}

fn entries(
    manifest: &Manifest,
    lock: &Lock,
    parts: &BoardParts,
    place: &FilePlace,
    notes: &mut Notes,
) -> Result<BTreeMap<String, Entry>> {
    let engine = manifest.engine.iter().filter(|engine| !parts.layers.contains(engine));
    let root = work_tree::root(manifest.root()).unwrap_or_else(|| manifest.root().to_owned());
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut order = 0;
    for (name, is_layer) in parts.layers.iter().map(|name| (name, true)).chain(engine.map(|name| (name, false))) {
        let Some(layer) = manifest.layers.get(name) else { continue };
        let (key, entry, prefix) = entry(name, layer, manifest, lock, &root, place, notes)?;
        let entry = entries.entry(key).or_insert(entry);
        for path in layer.paths.iter().filter(|_| is_layer) {
            let path = repositories::normal(&Path::new(&prefix).join(path));
            let path = path.display().to_string();
            entry.layers.push((if path.is_empty() { ".".to_owned() } else { path }, order));
            order += 1;
        }
    }
    let patched: Vec<(&String, &Layer)> = manifest
        .layers
        .iter()
        .filter(|(name, layer)| entries.contains_key(*name) && !layer.patches.is_empty())
        .collect();
    for (name, layer) in patched {
        let patches = layer.patches.iter().filter_map(|patch| kas_patch(name, patch, manifest, &root, place, notes));
        let patches: Vec<(String, String)> = patches.collect();
        for (key, _) in &patches {
            // kas has to know the repository, even if no layer of it is used.
            entries.entry(key.clone()).or_default();
        }
        if let Some(entry) = entries.get_mut(name) {
            entry.patches = patches;
        }
    }
    Ok(entries)
}

/// The repository that has a patch, and its path there; `None`, with a note, where kas cannot say it.
fn kas_patch(
    name: &str,
    patch: &LayerPatch,
    manifest: &Manifest,
    root: &Path,
    place: &FilePlace,
    notes: &mut Notes,
) -> Option<(String, String)> {
    let mut refuse = |why: &str| notes.left_out(place, format!("patch {patch} of {name}"), why);
    if patch.strip != 1 {
        refuse("kas applies patches with one leading directory left out");
        return None;
    }
    let of_project = |file: &Path| {
        let relative = repositories::relative(&repositories::normal(&manifest.root().join(file)), root);
        (OWN.to_owned(), relative.display().to_string())
    };
    match &patch.origin {
        PatchOrigin::Project { file } => Some(of_project(Path::new(file))),
        PatchOrigin::Layer { layer, file } => match manifest.layers.get(layer).map(|layer| &layer.origin) {
            Some(LayerOrigin::Path(folder)) => Some(of_project(&folder.join(file))),
            _ => Some((layer.clone(), file.clone())),
        },
        PatchOrigin::Remote { .. } => {
            refuse("kas fetches no patches: put it into a repository");
            None
        }
    }
}

/// A repository; folders of the project are layers of one, with this prefix of their paths.
fn entry(
    name: &str,
    layer: &Layer,
    manifest: &Manifest,
    lock: &Lock,
    root: &Path,
    place: &FilePlace,
    notes: &mut Notes,
) -> Result<(String, Entry, String)> {
    let mut entry = Entry::default();
    match &layer.origin {
        LayerOrigin::Path(path) => {
            let directory = repositories::normal(&manifest.root().join(path));
            let relative = repositories::relative(&directory, root);
            if !relative.starts_with("..") {
                return Ok((OWN.to_owned(), entry, relative.display().to_string()));
            }
            entry.keys.push(("path", relative.display().to_string()));
            notes.left_out(place, format!("layer {name}"), "kas takes its path from the directory that it works in");
        }
        LayerOrigin::Git(request) => {
            let pin = lock.layers.get(name).ok_or_else(|| missing(name))?;
            let commit = lock.commit(pin).ok_or_else(|| missing(name))?;
            if layer.signers.is_some() {
                notes.left_out(place, format!("the signers of {name}"), "kas asks key servers: see its `signers`");
            }
            entry.keys.push(("url", request.url.as_str().to_owned()));
            // kas refuses a branch and a tag together.
            match (&request.reference.branch, &request.reference.tag) {
                (_, Some(tag)) => entry.keys.push(("tag", tag.clone())),
                (Some(branch), None) => entry.keys.push(("branch", branch.clone())),
                (None, None) => {}
            }
            entry.keys.push(("commit", commit.to_string()));
        }
    }
    Ok((name.to_owned(), entry, ".".to_owned()))
}

fn missing(name: &str) -> Error {
    Error::input(format!("{LOCK} does not have layer `{name}`")).help("run `kbuild lock`")
}

/// kas orders BBLAYERS by the names of repositories and layers, unless `prio` says otherwise.
fn needs_priorities(entries: &BTreeMap<String, Entry>) -> bool {
    let mut layers: Vec<(&String, &String, usize)> = entries
        .iter()
        .flat_map(|(key, entry)| entry.layers.iter().map(move |(path, order)| (key, path, *order)))
        .collect();
    layers.sort();
    layers.windows(2).any(|two| two[0].2 > two[1].2)
}

fn write_targets(text: &mut String, targets: &[String]) {
    text.push_str("target:\n");
    for target in targets {
        let _ = writeln!(text, "- {}", quoted(target));
    }
}

fn write_repositories(text: &mut String, entries: &BTreeMap<String, Entry>, priorities: bool) {
    let highest = entries.values().flat_map(|entry| &entry.layers).map(|(_, order)| *order).max().unwrap_or(0);
    text.push_str("repos:\n");
    for (name, entry) in entries {
        let _ = writeln!(text, "  {}:", quoted(name));
        for (key, value) in &entry.keys {
            let _ = writeln!(text, "    {key}: {}", quoted(value));
        }
        write_patches(text, &entry.patches);
        if entry.layers.is_empty() {
            text.push_str("    layers: {}\n");
            continue;
        }
        text.push_str("    layers:\n");
        for (path, order) in &entry.layers {
            let _ = writeln!(text, "      {}:", quoted(path));
            if priorities {
                let _ = writeln!(text, "        prio: {}", highest - order);
            }
        }
    }
}

/// kas applies them in the order of their keys.
fn write_patches(text: &mut String, patches: &[(String, String)]) {
    if patches.is_empty() {
        return;
    }
    text.push_str("    patches:\n");
    for (number, (repository, path)) in patches.iter().enumerate() {
        let _ =
            writeln!(text, "      p{number:03}:\n        repo: {}\n        path: {}", quoted(repository), quoted(path));
    }
}

fn write_env(text: &mut String, parts: &BoardParts, place: &FilePlace, notes: &mut Notes) {
    if parts.env.is_empty() {
        return;
    }
    text.push_str("env:\n");
    for (name, value) in &parts.env {
        let default = match value {
            EnvValue::Set(value) => {
                notes.left_out(place, format!("env {name}"), "kas lets a value of its caller's win");
                quoted(value)
            }
            EnvValue::Forwarded { default: Some(value) } => quoted(value),
            EnvValue::Forwarded { default: None } => "null".to_owned(),
        };
        let _ = writeln!(text, "  {name}: {default}");
    }
}

fn write_conf(
    text: &mut String,
    manifest: &Manifest,
    parts: &BoardParts,
    words: &[String],
    place: &FilePlace,
    notes: &mut Notes,
) {
    let quote = |value: &str| if value.contains('"') { format!("'{value}'") } else { format!("\"{value}\"") };
    let config = parts.config.iter().filter(|(key, _)| *key != "DISTRO");
    let config: String = config.map(|(key, value)| format!("{key} = {}\n", quote(value))).collect();
    let options =
        if words.is_empty() { String::new() } else { format!("OVERRIDES:append = \":{}\"\n", words.join(":")) };
    let mask: String = manifest
        .closure
        .mask
        .keys()
        .map(|pattern| format!("BBMASK:append = {}\n", quote(&format!(" {pattern}"))))
        .collect();
    let texts = [
        ("10-config", config),
        ("20-conf", parts.conf.concat()),
        ("30-options", options),
        ("40-mask", mask),
        ("50-cache", cache(manifest, place, notes)),
    ];
    if texts.iter().all(|(_, lines)| lines.is_empty()) {
        return;
    }
    text.push_str("local_conf_header:\n");
    for (key, lines) in texts.iter().filter(|(_, lines)| !lines.is_empty()) {
        // The number says how far lines are indented, whatever the first one begins with.
        let _ = writeln!(text, "  {key}: |2");
        for line in lines.lines() {
            let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "    {line}") };
        }
    }
}

fn cache(manifest: &Manifest, place: &FilePlace, notes: &mut Notes) -> String {
    let mut text = String::new();
    for cache in &manifest.cache.pull {
        let base = match cache {
            CachePlace::Directory(path) => format!("file://{}", path.display()),
            CachePlace::Web(url) => url.as_str().trim_end_matches('/').to_owned(),
            CachePlace::Bucket(url) => {
                notes.left_out(place, format!("cache {url}"), "BitBake reads no buckets without tools of the cloud");
                continue;
            }
        };
        let download = if base.starts_with("file:") { "" } else { ";downloadfilename=PATH" };
        let _ = writeln!(text, "SSTATE_MIRRORS:append = \" file://.* {base}/PATH{download}\"");
    }
    for (variable, address) in [("BB_HASHSERVE", &manifest.cache.hashserve), ("PRSERV_HOST", &manifest.cache.prserve)] {
        if let Some(address) = address {
            let _ = writeln!(text, "{variable} = \"{address}\"");
        }
    }
    text
}

fn note_rest(manifest: &Manifest, board: &str, place: &FilePlace, notes: &mut Notes) {
    if manifest.sources_of(board).next().is_some() {
        let why = "kas pins layers alone: recipes that read KBUILD_… need these variables";
        notes.left_out(place, "declared sources", why);
    }
    notes.left_out(
        place,
        "what recipes fetch",
        "kas locks layers alone: tags, AUTOREV and files without a hash are as recipes say",
    );
    if !manifest.words_of(board).is_empty() {
        notes.left_out(place, "options", "those of the board have their defaults: kas joins files instead");
    }
    let mirrors = &manifest.mirrors;
    if !mirrors.rules.is_empty() || !mirrors.fallback.is_empty() || !mirrors.stores.is_empty() {
        notes.left_out(place, "mirrors", "`kbuild mirror` makes a directory for plain BitBake");
    }
    if let Some(found) = manifest.boards.get(board) {
        if !found.mounts.is_empty() {
            notes.left_out(place, "mounts", "kas does not seal builds: all of the host is there");
        }
        if found.run.is_some() {
            notes.left_out(place, "the machine of `kbuild run`", "kas starts none");
        }
    }
}

/// A text as YAML: as it is where that is plain, else between double quotes, as JSON has it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./@+-".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let colons = !text.ends_with(':') && text.chars().all(|c| plain(c) || c == ':');
    let word =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if first && colons && !word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::document;

    #[test]
    fn texts_stay_texts() {
        for text in [
            "a",
            "mc:x:y",
            "2.8",
            "yes",
            "",
            "a b",
            "https://h/x",
            "x:",
            "- a",
            "0123",
            "\"q\"",
            "é",
            "meta-x/y",
            "~",
            ".",
        ] {
            let yaml = format!("k: {}\n", quoted(text));
            let node = document::parse(&yaml, &FilePlace::default()).unwrap();
            assert_eq!(node.text_of("k"), Some(text), "{yaml}");
        }
    }
}
