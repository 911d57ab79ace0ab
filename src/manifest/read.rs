//! Reads files into checked values.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml_edit::Table;

use super::document::{self, Block, Diagnostics};
use super::include::{self, Composed};
use super::raw::{RawAudit, RawCache, RawClosure, RawManifest, RawMirrors, RawProject, RawSite, RawText};
use super::{
    CacheSettings, Foundation, Manifest, Mirrors, SiteConfig, audit, boards, cache, closure, fragments, layers,
    mirrors, names, options, sources, together,
};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};
use crate::files::{MANIFEST, STEMS};
use crate::source::include::{IncludedTexts, include_key};

/// See [`Manifest::read`].
pub(super) fn manifest(path: &Path, texts: &IncludedTexts) -> Result<Manifest> {
    parse(path, &text_of(path)?, texts)
}

fn text_of(path: &Path) -> Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    read(path, &name, "run `kbuild init` to make one, or name one elsewhere with `--manifest-path FILE`")
}

/// See [`Manifest::foundation`].
pub(super) fn foundation(path: &Path) -> Result<Foundation> {
    let (path, text) = (absolute(path)?, text_of(path)?);
    let mut diagnostics = Diagnostics::default();
    let Composed { mut table, texts, layer_files, .. } = include::compose(&path, &text, None, &mut diagnostics)?;
    table.retain(|key, _| FOUNDATION.contains(&key));
    // The engine may be a layer that only an included file has.
    table.get_mut("project").and_then(|project| project.as_table_like_mut()).map(|project| project.remove("engine"));
    let manifest = check(&table, &path, &mut diagnostics);
    let layers = manifest.as_ref().map(|manifest| manifest.layers.clone()).unwrap_or_default();
    include::check_layers(&layer_files, &layers, &mut diagnostics);
    diagnostics.finish_in(&texts)?;
    let manifest = manifest.ok_or_else(|| Error::bug(format!("{MANIFEST} is invalid, but no fault was found")))?;
    Ok(Foundation { manifest, includes: layer_files.into_iter().map(|file| file.value).collect() })
}

/// What of a manifest says how layers are pinned and fetched.
const FOUNDATION: [&str; 5] = ["project", "layers", "mirrors", "registries", "cache"];

/// See [`Manifest::parse`].
pub(super) fn parse(path: &Path, text: &str, texts_of_layers: &IncludedTexts) -> Result<Manifest> {
    let path = absolute(path)?;
    let mut diagnostics = Diagnostics::default();
    let Composed { table, texts, files, layer_files } =
        include::compose(&path, text, Some(texts_of_layers), &mut diagnostics)?;
    let keys: Vec<String> = layer_files.iter().map(|found| include_key(&found.layer, &found.file)).collect();
    let used = texts_of_layers.iter().filter(|(key, _)| keys.contains(key));
    let included_texts: IncludedTexts = used.map(|(key, text)| (key.clone(), text.clone())).collect();
    let manifest = check(&table, &path, &mut diagnostics);
    let manifest = manifest.map(|manifest| Manifest { included: files, included_texts, ..manifest });
    diagnostics.finish_in(&texts)?;
    manifest.ok_or_else(|| Error::bug(format!("{MANIFEST} is invalid, but no fault was found")))
}

fn check(table: &Table, path: &Path, diagnostics: &mut Diagnostics) -> Option<Manifest> {
    let root = path.parent().unwrap_or(Path::new("/"));
    document::check_keys::<RawManifest>("", table, diagnostics);
    let project: Option<Block<RawProject>> = document::single(table, "project", diagnostics);
    let raw_layers = document::blocks(table, "layers", "a layer", diagnostics);
    let raw_sources = document::blocks(table, "sources", "a source", diagnostics);
    let raw_options = document::blocks(table, "options", "an option", diagnostics);
    let raw_fragments = document::blocks(table, "fragments", "a fragment", diagnostics);
    let config = document::entries(table, "config", diagnostics);
    let env = document::entries(table, "env", diagnostics);
    let raw_boards = document::blocks(table, "boards", "a board", diagnostics);
    let raw_mirrors: Option<Block<RawMirrors>> = document::single(table, "mirrors", diagnostics);
    let raw_closure: Option<Block<RawClosure>> = document::single(table, "closure", diagnostics);
    let raw_closure = raw_closure.and_then(|block| block.raw).unwrap_or_default();
    let raw_registries = document::entries(table, "registries", diagnostics);
    let raw_audit: Option<Block<RawAudit>> = document::single(table, "audit", diagnostics);
    let raw_audit = raw_audit.and_then(|block| block.raw).unwrap_or_default();

    let options = options::check(&raw_options, &raw_boards, &raw_fragments, diagnostics);
    let fragments = fragments::check(&raw_fragments, &raw_layers, diagnostics);
    let context = boards::BoardChecks {
        boards: &raw_boards,
        layers: &raw_layers,
        raw_options: &raw_options,
        options: &options,
        raw_fragments: &raw_fragments,
        fragments: &fragments,
        config: &config,
        conf: project.as_ref().and_then(|block| block.raw.as_ref()?.conf.as_ref()),
        env: &env,
    };
    let boards = boards::check(&context, diagnostics);
    let cache = cache_settings(table, root, diagnostics);
    let raw_mirrors = raw_mirrors.and_then(|block| block.raw);
    let checked = Manifest {
        path: path.to_owned(),
        included: Vec::new(),
        included_texts: IncludedTexts::new(),
        project: String::new(),
        engine: None,
        layers: layers::check(&raw_layers, root, diagnostics),
        sources: sources::check(&raw_sources, &raw_boards, diagnostics),
        closure: closure::check(&raw_closure, &raw_options, &raw_fragments, diagnostics),
        registries: closure::registries(&raw_registries, diagnostics),
        mirrors: raw_mirrors.map_or_else(Mirrors::default, |raw| mirrors::check(&raw, root, diagnostics)),
        cache,
        allowed_findings: audit::check(&raw_audit, diagnostics),
        options,
        fragments,
        boards,
    };
    let project = project.or_else(|| {
        let fault = Error::input("there is no [project]").at(0..0, "add it at the top");
        diagnostics.add(fault.help("add `[project]` with `name = \"…\"`"));
        None
    })?;
    let name = project_name(&project, diagnostics);
    let engine = layers::engine(&project, &raw_layers, !raw_boards.is_empty(), diagnostics);
    let manifest = Manifest { project: name?, engine, ..checked };
    if diagnostics.count() == 0 {
        fragments::check_possible(&manifest, &raw_boards, diagnostics);
        together::check_possible(&manifest, raw_closure.together.as_ref(), diagnostics);
    }
    Some(manifest)
}

fn cache_settings(table: &Table, base: &Path, diagnostics: &mut Diagnostics) -> CacheSettings {
    let raw: Option<Block<RawCache>> = document::single(table, "cache", diagnostics);
    raw.and_then(|block| block.raw).map_or_else(CacheSettings::default, |raw| cache::check(&raw, base, diagnostics))
}

fn project_name(project: &Block<RawProject>, diagnostics: &mut Diagnostics) -> Option<String> {
    let raw = project.raw.as_ref()?;
    let Some(name) = &raw.name else {
        let fault = Error::input("the project has no `name`").at(project.span.clone(), "`name` is missing");
        diagnostics.add(fault.help("add `name = \"…\"`"));
        return None;
    };
    diagnostics.take(names::check_name("a project", name, &name.span))?;
    Some(name.value.clone())
}

/// See [`SiteConfig::read`].
pub(super) fn site(path: &Path) -> Result<SiteConfig> {
    let text = read(path, "configuration file", "its name was given by `--config FILE` or KBUILD_CONFIG")?;
    let path = absolute(path)?;
    let table = document::parse(&path, &text)?;
    let base = path.parent().unwrap_or(Path::new("/"));
    let mut diagnostics = Diagnostics::default();
    document::check_keys::<RawSite>("", &table, &mut diagnostics);
    let store: Option<RawText> = document::top(&table, "store", &mut diagnostics);
    let lower: Option<Vec<RawText>> = document::top(&table, "lower", &mut diagnostics);
    let mirrors: Option<Block<RawMirrors>> = document::single(&table, "mirrors", &mut diagnostics);
    let mirrors = mirrors.and_then(|block| block.raw);
    let registries = document::entries(&table, "registries", &mut diagnostics);
    let site = SiteConfig {
        store: store.map(|store| base.join(&*store)),
        lower: lower.iter().flatten().filter_map(|store| lower_store(store, base, &mut diagnostics)).collect(),
        mirrors: mirrors.map_or_else(Mirrors::default, |raw| mirrors::check(&raw, base, &mut diagnostics)),
        registries: closure::registries(&registries, &mut diagnostics),
        cache: cache_settings(&table, base, &mut diagnostics),
    };
    diagnostics.finish(&path, &text)?;
    Ok(site)
}

fn lower_store(store: &RawText, base: &Path, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    if store.contains("://") {
        let fault = Error::input("a lower store is a directory of this machine").at(store.span.clone(), "this one");
        diagnostics.add(fault.help("a store at a URL is a mirror: add it to `stores` under [mirrors]"));
        return None;
    }
    Some(base.join(&**store))
}

/// See [`Manifest::find`].
pub(super) fn find(from: &Path) -> Result<PathBuf> {
    let start = absolute(from)?;
    for directory in start.ancestors() {
        let there = STEMS.map(|stem| directory.join(format!("{stem}.toml"))).into_iter().filter(|path| path.is_file());
        match there.collect::<Vec<_>>().as_slice() {
            [] => {}
            [one] => return Ok(one.clone()),
            _ => return Err(both(directory)),
        }
    }
    Err(Error::input(format!("there is no kbuild.toml (or kata.toml) in {} or above", from.display()))
        .help("run `kbuild init` to make one, or name one elsewhere with `--manifest-path FILE`"))
}

fn both(directory: &Path) -> Error {
    Error::input(format!("{} has both a kbuild.toml and a kata.toml", directory.display()))
        .help("keep one of them; until then, name one with `--manifest-path FILE`")
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io("find", path, error))
}

pub(super) fn read(path: &Path, what: &str, help: &str) -> Result<String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Error::input(format!("there is no {what} at {}", path.display())).help(help))
        }
        _ => disk::read_text(path, "a TOML file of a project", bounds::MANIFEST),
    }
}
