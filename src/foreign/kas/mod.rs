//! Reads kas files, as kas 5.5 does.
//!
//! The rules are those of `kas.includehandler` (which files, in which order, how they are merged), `kas.config` (defaults, order of
//! texts) and `kas.repos` (pins, overrides, layers).

mod checkout;
pub mod export;
mod includes;
mod repository;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use self::checkout::Checkouts;
use self::includes::Loaded;
use self::repository::KasRepository;
use super::conf::{self, Statement};
use super::document::Node;
use super::found::{
    FilePlace, FoundBoard, FoundEnv, FoundLayer, FoundOrigin, FoundPatch, FoundProject, Notes, push_new,
};
use super::repositories::{clean_url, engine_of, name_for, normal, relative};
use super::{ForeignRequest, pinned, secrets};
use crate::error::{Error, Result};
use crate::manifest;

/// What kas takes where its files say nothing (`schema-kas.json`).
const MACHINE: &str = "qemux86-64";
const DISTRO: &str = "nodistro";
const TARGET: &str = "core-image-minimal";

/// The task that is a build.
const BUILD: &str = "build";

/// Keys of a file that are looked at.
const KNOWN: [&str; 13] = [
    "header",
    "build_system",
    "signers",
    "repos",
    "defaults",
    "overrides",
    "machine",
    "distro",
    "target",
    "task",
    "env",
    "local_conf_header",
    "bblayers_conf_header",
];

/// Keys with nothing to do for anybody, and why.
const OWN: [(&str, &str); 5] = [
    ("artifacts", "`result.json` has a hash of everything that a build deploys"),
    ("proxy_config", "kas ignores it; kbuild reads the variables of proxies"),
    ("menu_configuration", "what was chosen is in the file already"),
    ("_source_dir", "kas writes it for itself"),
    ("_source_dir_host", "kas writes it for itself"),
];

/// Reads the files of one build.
///
/// # Errors
/// A file is missing or wrong, is for a newer kas, or for isar; a repository with an included file cannot be fetched.
pub(super) fn read(files: &[PathBuf], request: &ForeignRequest) -> Result<FoundProject> {
    let files: Vec<PathBuf> = files.iter().map(|file| absolute(file)).collect::<Result<_>>()?;
    let mut checkouts = Checkouts::new(request);
    let loaded = includes::load(&files, &mut checkouts)?;
    let config = &loaded.config;
    check_build_system(config)?;
    let mut project = FoundProject { from: loaded.shown.clone(), ..FoundProject::default() };
    project.notes.extend(std::mem::take(&mut checkouts.notes));
    note_keys(config, &mut project);
    let repositories = repository::all(config)?;
    let mut board = FoundBoard { other_name: stem(&files), ..FoundBoard::default() };
    take_layers(&repositories, &loaded, request, &checkouts, &mut board, &mut project)?;
    board.targets = targets(config);
    take_env(config, &mut board, &mut project);
    conf::sort(statements(config, &board), &mut board, &mut project);
    board.name = name_for(&board.machine);
    project.boards.push(board);
    Ok(project)
}

fn absolute(file: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(file).map_err(|error| Error::io("find", file, error))
}

/// The name of the last file, which is mostly the most particular one.
fn stem(files: &[PathBuf]) -> String {
    let stem = files.last().and_then(|file| file.file_stem()).unwrap_or_default();
    name_for(&stem.to_string_lossy())
}

fn check_build_system(config: &Node) -> Result<()> {
    let Some(system) = config.get("build_system") else { return Ok(()) };
    let isar = system.text().is_some_and(|text| text.starts_with("isar"));
    if !isar {
        return Ok(());
    }
    Err(Error::input("a project of isar's cannot be brought over")
        .because(format!("{}: `build_system: {}`", system.place, system.text().unwrap_or_default()))
        .help("isar builds with Debian's packages, which kbuild does not lock"))
}

fn note_keys(config: &Node, project: &mut FoundProject) {
    for (key, value) in config.entries().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        match OWN.iter().find(|(own, _)| own == key) {
            Some((_, why)) => project.notes.own(&value.place, key, *why),
            None => project.notes.left_out(&value.place, key, "the manifest has nothing like it"),
        }
    }
}

fn targets(config: &Node) -> Vec<String> {
    let named = match config.get("target") {
        Some(target) if target.text().is_some() => target.text().map(str::to_owned).into_iter().collect(),
        Some(target) => target.items().iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
        None => Vec::new(),
    };
    let named = if named.is_empty() { vec![TARGET.to_owned()] } else { named };
    let task =
        config.text_of("task").filter(|task| *task != BUILD).map(|task| task.trim_start_matches("do_").to_owned());
    let whole = |target: String| {
        let target = target.strip_prefix("multiconfig:").map_or(target.clone(), |rest| format!("mc:{rest}"));
        match &task {
            Some(task) => format!("{target}:do_{task}"),
            None => target,
        }
    };
    let mut found: Vec<String> = Vec::new();
    named.into_iter().map(whole).for_each(|target| push_new(&mut found, target));
    found
}

fn take_env(config: &Node, board: &mut FoundBoard, project: &mut FoundProject) {
    for (name, value) in config.get("env").into_iter().flat_map(Node::entries) {
        if !manifest::is_env_name(name) {
            let why = manifest::instead_of(name).unwrap_or("every build has it from kbuild");
            let what = format!("env {name}");
            match conf::is_replaced(name) {
                true => project.notes.own(&value.place, what, why),
                false => project.notes.left_out(&value.place, what, why),
            }
            continue;
        }
        let mut text = value.text().map(str::to_owned);
        if text.as_ref().is_some_and(|text| secrets::is_secret(name, text)) {
            let what = format!("the default of env {name}");
            project.notes.left_out(&value.place, what, "it looks like a password: the caller's is forwarded");
            text = None;
        }
        board.env.insert(name.clone(), FoundEnv { forward: true, value: text });
    }
}

/// The statements of bblayers.conf and local.conf, in kas's order: the texts by their keys, then what kas adds.
fn statements(config: &Node, board: &FoundBoard) -> Vec<Statement> {
    let mut found = Vec::new();
    for header in ["bblayers_conf_header", "local_conf_header"] {
        let mut texts: Vec<(&String, &Node)> = config.get(header).into_iter().flat_map(Node::entries).collect();
        texts.sort_by_key(|(key, _)| *key);
        for (_, text) in texts {
            found.extend(conf::statements(&text.lines()));
        }
    }
    let mut add = |variable: &str, key: &str, default: &str| {
        let node = config.get(key);
        let place = node.map_or_else(FilePlace::default, |node| node.place.clone());
        found.push(conf::weak(variable, node.and_then(Node::text).unwrap_or(default), &place));
    };
    add("MACHINE", "machine", MACHINE);
    add("DISTRO", "distro", DISTRO);
    let mut multiconfigs: Vec<&str> =
        board.targets.iter().filter_map(|target| target.strip_prefix("mc:")?.split(':').next()).collect();
    multiconfigs.sort_unstable();
    multiconfigs.dedup();
    if !multiconfigs.is_empty() {
        add("BBMULTICONFIG", "", &multiconfigs.join(" "));
    }
    found
}

/// Takes over the repositories, and the layers of them in the order of BBLAYERS.
fn take_layers(
    repositories: &IndexMap<String, KasRepository>,
    loaded: &Loaded,
    request: &ForeignRequest,
    checkouts: &Checkouts,
    board: &mut FoundBoard,
    project: &mut FoundProject,
) -> Result<()> {
    let mut all: IndexMap<String, FoundLayer> = IndexMap::new();
    let mut used: Vec<(&KasRepository, String)> = Vec::new();
    for repository in repositories.values() {
        let name = name_for(&repository.key);
        let Some(origin) = origin(repository, loaded, request, project) else { continue };
        note_repository(repository, project);
        if !repository.layers.is_empty() {
            used.push((repository, name.clone()));
        }
        let paths = repository.paths();
        all.insert(name, FoundLayer { origin, paths, patches: Vec::new() });
    }
    let patches: Vec<(String, Vec<FoundPatch>)> =
        repositories.values().map(|found| (name_for(&found.key), patches(found, &all, &mut project.notes))).collect();
    for (name, patches) in patches {
        if let Some(layer) = all.get_mut(&name) {
            layer.patches = patches;
        }
    }
    // `RepoLayer.__lt__`: a higher priority first, then the names.
    used.sort_by_key(|(repository, _)| (-repository.priority(), repository.name.clone()));
    board.layers = used.iter().map(|(_, name)| name.clone()).collect();
    note_order(&used, project);
    project.engine = checkouts.engine(repositories, &loaded.root).or_else(|| engine_of(&all));
    let is_read = |name: &String| board.layers.contains(name) || project.engine.as_ref() == Some(name);
    let gives_patches: BTreeSet<String> = all
        .iter()
        .filter(|(name, _)| is_read(name))
        .flat_map(|(_, layer)| layer.patches.iter().filter_map(|patch| patch.layer.clone()))
        .collect();
    for (name, layer) in all {
        let in_use = is_read(&name) || gives_patches.contains(&name);
        let repository = repositories.values().find(|repository| name_for(&repository.key) == name);
        match repository {
            Some(repository) if !in_use => {
                project.notes.own(&repository.place, format!("repository {name}"), "no layer of it is used")
            }
            _ => drop(project.layers.insert(name, layer)),
        }
    }
    Ok(())
}

/// Lists a repository whose layers kas puts between those of another one.
fn note_order(used: &[(&KasRepository, String)], project: &mut FoundProject) {
    let ours: Vec<_> =
        used.iter().flat_map(|(found, _)| found.layers.iter().map(move |layer| (*found, layer))).collect();
    let mut theirs = ours.clone();
    theirs.sort_by_key(|(found, (layer, priority))| (-priority, &found.name, layer));
    let differs = ours.iter().zip(&theirs).find(|(one, other)| (&one.0.key, &one.1.0) != (&other.0.key, &other.1.0));
    if let Some(((found, _), _)) = differs {
        let why = "the layers of a repository are together in BBLAYERS";
        project.notes.left_out(&found.place, format!("the priorities inside {}", found.key), why);
    }
}

fn note_repository(repository: &KasRepository, project: &mut FoundProject) {
    if let Some(place) = &repository.signed {
        let why = "add `signers` to the layer, with their public keys: kas asks a key server";
        project.notes.left_out(place, format!("the signers of {}", repository.key), why);
    }
}

/// The patches of a repository, as the manifest can say them.
fn patches(repository: &KasRepository, all: &IndexMap<String, FoundLayer>, notes: &mut Notes) -> Vec<FoundPatch> {
    let mut found = Vec::new();
    for patch in &repository.patches {
        let layer = patch.repository.as_deref().map(name_for);
        let origin = layer.as_ref().and_then(|name| all.get(name)).map(|layer| &layer.origin);
        let file = patch.path.as_deref().map(|path| normal(Path::new(path)).display().to_string());
        match found_patch(origin, layer.as_deref(), file) {
            Ok(one) => found.push(one),
            Err(why) => notes.left_out(&patch.place, format!("patch {} of {}", patch.id, repository.key), why),
        }
    }
    if !found.is_empty() && all.get(&name_for(&repository.key)).is_some_and(|layer| !is_git(&layer.origin)) {
        notes.left_out(
            &repository.place,
            format!("the patches of {}", repository.key),
            "it is a folder of the project",
        );
        return Vec::new();
    }
    found
}

fn is_git(origin: &FoundOrigin) -> bool {
    matches!(origin, FoundOrigin::Git { .. })
}

/// A patch of a folder is a file of the project; of other layers a manifest takes single files.
fn found_patch(
    origin: Option<&FoundOrigin>,
    layer: Option<&str>,
    file: Option<String>,
) -> std::result::Result<FoundPatch, &'static str> {
    let (Some(origin), Some(layer), Some(file)) = (origin, layer, file) else {
        return Err("it does not say which file of which repository");
    };
    match origin {
        FoundOrigin::Folder(folder) => {
            let file = normal(&Path::new(folder).join(file));
            match file.starts_with("..") || file.is_absolute() {
                true => Err("it is outside of the project: copy it into it"),
                false => Ok(FoundPatch { layer: None, file: file.display().to_string() }),
            }
        }
        FoundOrigin::Git { .. } if file.ends_with(".patch") || file.ends_with(".diff") => {
            Ok(FoundPatch { layer: Some(layer.to_owned()), file })
        }
        FoundOrigin::Git { .. } => {
            Err("of another layer the manifest takes single files: name each file of the series")
        }
    }
}

/// Where a repository comes from; `None`, with a note, where a manifest cannot say it.
fn origin(
    repository: &KasRepository,
    loaded: &Loaded,
    request: &ForeignRequest,
    project: &mut FoundProject,
) -> Option<FoundOrigin> {
    let notes = &mut project.notes;
    let (key, place) = (&repository.key, &repository.place);
    if repository.kind != "git" {
        notes.left_out(place, format!("repository {key}"), format!("kbuild does not speak {}", repository.kind));
        return None;
    }
    let Some(url) = &repository.url else {
        let directory = repository.directory(&loaded.root, &request.work_directory);
        let inside = repository.path.as_deref().is_some_and(|path| Path::new(path).is_absolute())
            && !directory.starts_with(&request.directory);
        if inside {
            notes.left_out(
                place,
                format!("repository {key}"),
                "its path is of one machine: a layer of the manifest is relative to it",
            );
            return None;
        }
        return Some(FoundOrigin::Folder(relative(&directory, &request.directory).display().to_string()));
    };
    let url = clean_url(url, &request.work_directory, place, notes);
    let short = |name: &Option<String>, prefix: &str| {
        name.as_ref().map(|name| name.strip_prefix(prefix).unwrap_or(name).to_owned())
    };
    let (mut branch, mut tag) = (short(&repository.branch, "refs/heads/"), short(&repository.tag, "refs/tags/"));
    let mut rev = repository.commit.clone();
    if let Some(refspec) = &repository.refspec {
        let found = pinned::sort(refspec, &url, request.offline, place, notes);
        (branch, tag, rev) = (found.branch, found.tag, found.rev);
    }
    if let Some(short) = rev.take_if(|rev| !pinned::is_commit(rev)) {
        let found = pinned::sort(&short, &url, request.offline, place, notes);
        notes.left_out(place, format!("commit {short} of {key}"), "a commit has all 40 digits");
        (branch, tag) = (branch.or(found.branch), tag.or(found.tag));
    }
    Some(FoundOrigin::Git { url, branch, tag, rev: rev.map(|rev| rev.to_lowercase()) })
}
