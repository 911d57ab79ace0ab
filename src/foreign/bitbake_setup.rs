//! Reads a configuration of bitbake-setup (`*.conf.json`) and the `setup-layers.json` of oe-setup-layers.
//!
//! The rules are those of BitBake's `bin/bitbake-setup`: `flatten_bitbake_configs`, `choose_bitbake_config`, `checkout_layers`.

use std::path::Path;

use indexmap::IndexMap;

use super::document::{self, Node};
use super::found::{FilePlace, FoundBoard, FoundEnv, FoundLayer, FoundOrigin, FoundProject, Notes};
use super::repositories::{clean_url, engine_of, name_for, relative};
use super::{ForeignRequest, pinned, work_tree};
use crate::error::{Error, Result};
use crate::manifest;

/// What stands for targets, which are in no file.
const TARGET: &str = "core-image-minimal";

/// The choice of fragments that is a board each where none is chosen.
const MACHINE: &str = "machine";

/// A source: where it is relative to the others, and what it is.
struct Source<'n> {
    key: String,
    path: String,
    node: &'n Node,
}

/// Reads a file.
///
/// # Errors
/// It is wrong, or does not say which configuration, and nobody chose one.
pub(super) fn read(file: &Path, request: &ForeignRequest) -> Result<FoundProject> {
    let file = std::fs::canonicalize(file).map_err(|error| Error::io("find", file, error))?;
    let document = document::read(&file)?;
    let place = FilePlace::of_file(&file);
    let mut project = FoundProject { from: vec![place.file.clone()], ..FoundProject::default() };
    let Some(sources) = document.get("sources") else {
        return Err(Error::input(format!("{} has no `sources`", place.file))
            .help("name a configuration of bitbake-setup, or a setup-layers.json of oe-setup-layers"));
    };
    let sources: Vec<Source> = sources.entries().map(|(key, node)| source(key, node)).collect();
    let mut layers = IndexMap::new();
    for source in &sources {
        if let Some(origin) = origin(source, &file, request, &mut project.notes) {
            layers.insert(name_for(&source.key), FoundLayer { origin, paths: Vec::new(), patches: Vec::new() });
        }
    }
    let Some(setup) = document.get("bitbake-setup") else {
        project.notes.left_out(
            &place,
            "layers inside repositories, machine and targets",
            "setup-layers.json says only which commits",
        );
        project.engine = engine_of(&layers);
        project.layers = layers;
        return Ok(project);
    };
    let flat = flatten(setup.get("configurations").map_or(&[][..], Node::items));
    let chosen = choose(&flat, &request.choose, &place)?;
    let layer_names = take_layers(&chosen, &sources, &file, request, &mut layers, &mut project);
    project.engine = engine_of(&layers);
    for (name, layer) in layers {
        if layer_names.contains(&name) || project.engine.as_ref() == Some(&name) {
            project.layers.insert(name, layer);
        } else {
            project.notes.own(&place, format!("source {name}"), "no layer of it is used");
        }
    }
    take_boards(&chosen, layer_names, request, &place, &mut project)?;
    Ok(project)
}

fn source<'n>(key: &str, node: &'n Node) -> Source<'n> {
    let path = node.text_of("path").unwrap_or(key).trim_matches('/').to_owned();
    Source { key: key.to_owned(), path, node }
}

fn origin(source: &Source, file: &Path, request: &ForeignRequest, notes: &mut Notes) -> Option<FoundOrigin> {
    let (node, key) = (source.node, &source.key);
    if node.text_of("contains_this_file") == Some("true") {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let root = work_tree::root(directory).unwrap_or_else(|| directory.to_owned());
        return Some(FoundOrigin::Folder(relative(&root, &request.directory).display().to_string()));
    }
    let Some(remote) = node.get("git-remote") else {
        notes.left_out(
            &node.place,
            format!("source {key}"),
            "a folder of one machine: `kbuild.local.toml` overrides a layer by it",
        );
        return None;
    };
    let uris: Vec<&str> = remote
        .get("remotes")
        .into_iter()
        .flat_map(Node::entries)
        .filter_map(|(_, remote)| remote.text_of("uri"))
        .chain(remote.text_of("uri"))
        .collect();
    let Some(uri) = uris.last() else {
        notes.left_out(&remote.place, format!("source {key}"), "it has no `uri`");
        return None;
    };
    if uris.len() > 1 {
        notes.left_out(
            &remote.place,
            format!("the other remotes of {key}"),
            "a layer has one URL; a [[mirrors.rule]] names others",
        );
    }
    let url = clean_url(uri, file.parent().unwrap_or(Path::new("/")), &remote.place, notes);
    let branch = remote.text_of("branch").map(str::to_owned);
    let rev = remote.text_of("rev").unwrap_or_default();
    let mut found = match &branch {
        Some(branch) if branch == rev => pinned::FoundRef::default(),
        _ if rev.is_empty() => pinned::FoundRef::default(),
        _ => pinned::sort(rev, &url, request.offline, &remote.place, notes),
    };
    found.branch = branch.or(found.branch);
    Some(FoundOrigin::Git { url, branch: found.branch, tag: found.tag, rev: found.rev })
}

/// A configuration with what those around it say: values of both are added, as Python's `+` does.
#[derive(Debug, Clone)]
struct Configuration {
    name: String,
    place: FilePlace,
    layers: Vec<Node>,
    own_layers: Vec<Node>,
    template: Option<Node>,
    fragments: Vec<Node>,
    one_of: IndexMap<String, Node>,
    env: Vec<Node>,
}

fn flatten(nodes: &[Node]) -> Vec<Configuration> {
    nodes.iter().flat_map(|node| flatten_one(node, None)).collect()
}

fn flatten_one(node: &Node, above: Option<&Configuration>) -> Vec<Configuration> {
    let items = |key: &str| node.get(key).map_or(Vec::new(), |list| list.items().to_vec());
    let mut one = above.cloned().unwrap_or_else(|| Configuration {
        name: String::new(),
        place: node.place.clone(),
        layers: Vec::new(),
        own_layers: Vec::new(),
        template: None,
        fragments: Vec::new(),
        one_of: IndexMap::new(),
        env: Vec::new(),
    });
    one.place = node.place.clone();
    one.name += node.text_of("name").unwrap_or_default();
    one.layers.extend(items("bb-layers"));
    one.own_layers.extend(items("bb-layers-file-relative"));
    one.fragments.extend(items("oe-fragments"));
    one.env.extend(items("bb-env-passthrough-additions"));
    one.template = node.get("oe-template").cloned().or(one.template);
    one.one_of.extend(
        node.get("oe-fragments-one-of")
            .into_iter()
            .flat_map(Node::entries)
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    match node.get("configurations") {
        Some(inner) => inner.items().iter().flat_map(|node| flatten_one(node, Some(&one))).collect(),
        None => vec![one],
    }
}

fn choose(flat: &[Configuration], chosen: &[String], place: &FilePlace) -> Result<Configuration> {
    let named = flat.iter().find(|configuration| chosen.contains(&configuration.name));
    let only = || flat.first().filter(|_| flat.len() == 1);
    let names = || flat.iter().map(|configuration| configuration.name.as_str()).collect::<Vec<_>>().join(", ");
    named.or_else(only).cloned().ok_or_else(|| {
        Error::input(format!("{} has several configurations", place.file))
            .help(format!("choose one with `--choose NAME`: {}", names()))
    })
}

/// Takes over `bb-layers`: paths below the directory of all sources. Returns the layers in their order.
fn take_layers(
    chosen: &Configuration,
    sources: &[Source],
    file: &Path,
    request: &ForeignRequest,
    layers: &mut IndexMap<String, FoundLayer>,
    project: &mut FoundProject,
) -> Vec<String> {
    let mut used: IndexMap<String, Vec<String>> = IndexMap::new();
    for node in &chosen.layers {
        let path = node.text().unwrap_or_default().trim_matches('/');
        let inside = |source: &&Source| {
            path == source.path || path.strip_prefix(&source.path).is_some_and(|rest| rest.starts_with('/'))
        };
        let Some(source) = sources.iter().filter(inside).max_by_key(|source| source.path.len()) else {
            project.notes.left_out(&node.place, format!("layer {path}"), "it is in none of the sources");
            continue;
        };
        let rest = path[source.path.len()..].trim_start_matches('/');
        used.entry(name_for(&source.key)).or_default().push(if rest.is_empty() {
            ".".to_owned()
        } else {
            rest.to_owned()
        });
    }
    let directory = file.parent().unwrap_or(Path::new("/"));
    for node in &chosen.own_layers {
        let path = directory.join(node.text().unwrap_or_default());
        let name = name_for(&path.file_name().unwrap_or_default().to_string_lossy());
        let folder = relative(&path, &request.directory).display().to_string();
        layers.insert(
            name.clone(),
            FoundLayer { origin: FoundOrigin::Folder(folder), paths: Vec::new(), patches: Vec::new() },
        );
        used.insert(name, vec![".".to_owned()]);
    }
    if let Some(template) = &chosen.template {
        let what = format!("the template {}", template.text().unwrap_or_default());
        project.notes.left_out(
            &template.place,
            what,
            "its local.conf.sample and bblayers.conf.sample: set them up, and use `--from BUILD`",
        );
    }
    for (name, paths) in &used {
        if let Some(layer) = layers.get_mut(name) {
            layer.paths = if paths == &["."] { Vec::new() } else { paths.clone() };
        }
    }
    used.into_keys().filter(|name| layers.contains_key(name)).collect()
}

/// A board for the configuration; one for each machine where several can be chosen and none is.
fn take_boards(
    chosen: &Configuration,
    layers: Vec<String>,
    request: &ForeignRequest,
    place: &FilePlace,
    project: &mut FoundProject,
) -> Result<()> {
    let mut fragments: Vec<(String, FilePlace)> =
        chosen.fragments.iter().filter_map(|node| Some((fragment(node)?, node.place.clone()))).collect();
    let mut machines = Vec::new();
    for (category, choice) in &chosen.one_of {
        let options = choice.get("options").map_or(&[][..], Node::items);
        let names: Vec<String> = options.iter().filter_map(fragment).collect();
        match names.iter().find(|name| request.choose.contains(name)) {
            Some(name) => fragments.push((name.clone(), choice.place.clone())),
            None if category == MACHINE => machines = names,
            None if names.len() == 1 => fragments.extend(names.into_iter().map(|name| (name, choice.place.clone()))),
            None => {
                return Err(Error::input(format!("{}: nobody chose the {category}", choice.place))
                    .help(format!("choose one with `--choose NAME`: {}", names.join(", "))));
            }
        }
    }
    let mut board = FoundBoard { layers, targets: vec![TARGET.to_owned()], ..FoundBoard::default() };
    board.other_name = name_for(&chosen.name);
    take_fragments(&fragments, &mut board, project);
    take_env(chosen, &mut board, project);
    project.notes.left_out(place, "what is built", format!("no file says it: {TARGET} stands in `targets`"));
    if machines.is_empty() {
        if board.machine.is_empty() {
            project.notes.left_out(&chosen.place, "the machine", "no fragment chooses one: set `machine` of the board");
        }
        board.name = name_for(if board.machine.is_empty() { &chosen.name } else { &board.machine });
        project.boards.push(board);
        return Ok(());
    }
    for machine in machines {
        let machine = machine.trim_start_matches("machine/").to_owned();
        project.boards.push(FoundBoard { name: name_for(&machine), machine, ..board.clone() });
    }
    Ok(())
}

/// The name of a fragment: a text, or an object with a `name`.
fn fragment(node: &Node) -> Option<String> {
    node.text().or_else(|| node.text_of("name")).map(str::to_owned)
}

/// `machine/` and `distro/` are built in (OE_FRAGMENTS_BUILTIN); the others are files of layers.
fn take_fragments(fragments: &[(String, FilePlace)], board: &mut FoundBoard, project: &mut FoundProject) {
    let mut others = Vec::new();
    for (name, place) in fragments {
        match name.split_once('/') {
            Some(("machine", machine)) => machine.clone_into(&mut board.machine),
            Some(("distro", distro)) => drop(board.config.insert("DISTRO".to_owned(), distro.to_owned())),
            _ => {
                if name.contains("sstate-mirror") {
                    project.notes.left_out(
                        place,
                        format!("the cache of the fragment {name}"),
                        "name it in `pull` of [cache]",
                    );
                }
                others.push(name.as_str());
            }
        }
    }
    if !others.is_empty() {
        board.config.insert("OE_FRAGMENTS".to_owned(), others.join(" "));
    }
}

fn take_env(chosen: &Configuration, board: &mut FoundBoard, project: &mut FoundProject) {
    for node in &chosen.env {
        let name = node.text().unwrap_or_default();
        if manifest::is_env_name(name) {
            board.env.insert(name.to_owned(), FoundEnv { forward: true, value: None });
        } else {
            project.notes.own(&node.place, format!("env {name}"), "every build has it from kbuild");
        }
    }
}
