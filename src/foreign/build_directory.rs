//! Reads a build directory of BitBake's as it is: bblayers.conf, local.conf, and each layer's repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;

use super::conf::{self, Statement};
use super::found::{FilePlace, FoundBoard, FoundLayer, FoundOrigin, FoundProject};
use super::repositories::{clean_url, last_part, name_for, relative};
use super::work_tree::{self, WorkTree};
use super::{ForeignRequest, repositories};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};

/// The files that bitbake.conf reads, in its order.
const CONFS: [&str; 3] = ["site.conf", "auto.conf", "local.conf"];

/// What stands for targets, which are in no file.
const TARGET: &str = "core-image-minimal";

/// Directories in which BitBake is, beside or in the repository with `meta`.
const BITBAKE: [&str; 2] = ["bitbake", "../bitbake"];

/// What templates of many vendors have: a directory above the one with the file.
static ABOVE_FILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^\$\{@os\.path\.abspath\(os\.path\.dirname\(d\.getVar\('FILE'(?:, *(?:True|1))?\)\) *\+ *['"]([/.]*)['"]\)\}$"#)
        .expect("a constant expression compiles")
});

static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\{(\w+)\}").expect("a constant expression compiles"));

/// Reads `conf/` of a build directory.
///
/// # Errors
/// bblayers.conf cannot be read, or BBLAYERS is not in it.
pub(super) fn read(directory: &Path, request: &ForeignRequest) -> Result<FoundProject> {
    let directory = std::fs::canonicalize(directory).map_err(|error| Error::io("find", directory, error))?;
    let file = directory.join("conf/bblayers.conf");
    let mut project = FoundProject { from: vec![FilePlace::of_file(&directory).file], ..FoundProject::default() };
    let mut board = FoundBoard { targets: vec![TARGET.to_owned()], ..FoundBoard::default() };
    let statements = statements_of(&file)?;
    let (layers, rest) = bblayers(statements, &directory, &file)?;
    let core = take_layers(layers, request, &mut board, &mut project);
    take_engine(core.as_deref(), request, &mut project);
    let mut conf: Vec<Statement> = rest.into_iter().filter(|statement| !is_of_templates(statement)).collect();
    for name in CONFS {
        let file = directory.join("conf").join(name);
        if file.is_file() {
            conf.extend(statements_of(&file)?);
        }
    }
    conf::sort(conf, &mut board, &mut project);
    if board.machine.is_empty() {
        let place = FilePlace::of_file(&directory.join("conf/local.conf"));
        project.notes.left_out(&place, "the machine", "no file sets MACHINE: set `machine` of the board");
    }
    let place = FilePlace::of_file(&directory);
    project.notes.left_out(&place, "what is built", format!("no file says it: {TARGET} stands in `targets`"));
    board.name = name_for(if board.machine.is_empty() { "board" } else { &board.machine });
    board.other_name = name_for(&directory.file_name().unwrap_or_default().to_string_lossy());
    project.boards.push(board);
    Ok(project)
}

fn statements_of(file: &Path) -> Result<Vec<Statement>> {
    let text = disk::read_text(file, "a configuration of BitBake's", bounds::MANIFEST)?;
    let place = FilePlace::of_file(file);
    let lines: Vec<_> = text.lines().enumerate().map(|(index, line)| (line.to_owned(), place.at(index + 1))).collect();
    Ok(conf::statements(&lines))
}

/// Variables by which templates write paths in bblayers.conf; they mean nothing elsewhere.
fn is_of_templates(statement: &Statement) -> bool {
    statement.assignment.as_ref().is_some_and(|assignment| {
        ["BSPDIR", "BBFILES", "BBPATH", "BBLAYERS_NON_REMOVABLE", "OEROOT"].contains(&assignment.variable.as_str())
    })
}

/// A layer's directory, and the line that names it.
type LayerPlace = (PathBuf, FilePlace);

/// The layers in their order, and the other statements.
fn bblayers(statements: Vec<Statement>, directory: &Path, file: &Path) -> Result<(Vec<LayerPlace>, Vec<Statement>)> {
    let mut known = BTreeMap::from([("TOPDIR".to_owned(), directory.display().to_string())]);
    let (mut before, mut layers, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = Vec::new();
    for statement in statements {
        let Some(assignment) = &statement.assignment else {
            rest.push(statement);
            continue;
        };
        let value = expanded(&assignment.value, &known, file);
        let words = || value.split_whitespace().map(|word| (PathBuf::from(word), statement.place.clone()));
        match (assignment.variable.as_str(), assignment.key_suffix(), assignment.operator()) {
            ("BBLAYERS", ":append", _) | ("BBLAYERS", "", "+=" | ".=") => behind.extend(words()),
            ("BBLAYERS", ":prepend", _) | ("BBLAYERS", "", "=+" | "=.") => before.extend(words()),
            ("BBLAYERS", "", "?=" | "??=") if !layers.is_empty() => {}
            ("BBLAYERS", "", _) => layers = words().collect(),
            (variable, "", _) => {
                known.entry(variable.to_owned()).or_insert(value);
                rest.push(statement);
            }
            _ => rest.push(statement),
        }
    }
    before.extend(layers);
    before.extend(behind);
    if before.is_empty() {
        return Err(Error::input(format!("{} names no layers", file.display())).help("it has to set BBLAYERS"));
    }
    Ok((before, rest))
}

/// A value with its variables filled in, as far as they are known.
fn expanded(value: &str, known: &BTreeMap<String, String>, file: &Path) -> String {
    if let Some(above) = ABOVE_FILE.captures(value.trim()) {
        let directory = file.parent().unwrap_or(Path::new("/"));
        return repositories::normal(&directory.join(above[1].trim_start_matches('/'))).display().to_string();
    }
    let filled = REFERENCE.replace_all(value, |found: &regex::Captures<'_>| {
        known.get(&found[1]).cloned().unwrap_or_else(|| found[0].to_owned())
    });
    filled.into_owned()
}

/// Takes the layers over, those of one repository together. Returns the directory of the repository with `meta`.
fn take_layers(
    layers: Vec<LayerPlace>,
    request: &ForeignRequest,
    board: &mut FoundBoard,
    project: &mut FoundProject,
) -> Option<PathBuf> {
    let mut trees: IndexMap<PathBuf, (Option<WorkTree>, FilePlace, Vec<String>)> = IndexMap::new();
    let mut core = None;
    let mut order: Vec<PathBuf> = Vec::new();
    for (path, place) in layers {
        let Ok(path) = std::fs::canonicalize(&path) else {
            project.notes.left_out(&place, format!("layer {}", path.display()), "there is no such directory");
            continue;
        };
        // Repositories may be inside of others, so each layer is asked for its own.
        let top = work_tree::ask(&path, &["rev-parse", "--show-toplevel"]).map_or_else(|| path.clone(), PathBuf::from);
        if !trees.contains_key(&top) {
            trees.insert(top.clone(), (work_tree::find(&path), place.clone(), Vec::new()));
        }
        if path.join("conf/bitbake.conf").is_file() {
            core = Some(top.clone());
        }
        if order.contains(&top) && order.last() != Some(&top) {
            let why = "the layers of a repository are together";
            project.notes.left_out(
                &place,
                format!("the place of {} in BBLAYERS", last_part(&path.to_string_lossy())),
                why,
            );
        }
        order.push(top.clone());
        if let Some((_, _, paths)) = trees.get_mut(&top) {
            paths.push(relative(&path, &top).display().to_string());
        }
    }
    for (top, (tree, place, paths)) in trees {
        let name = free(&name_of(&top, tree.as_ref()), project);
        let Some(origin) = origin(&name, &top, tree.as_ref(), &place, request, project) else { continue };
        let paths = if paths == ["."] { Vec::new() } else { paths };
        board.layers.push(name.clone());
        project.layers.insert(name, FoundLayer { origin, paths, patches: Vec::new() });
    }
    core
}

/// The name of a repository: that of its URL, else of its directory.
fn name_of(top: &Path, tree: Option<&WorkTree>) -> String {
    let directory = top.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name_for(tree.and_then(|tree| tree.url.as_deref()).map_or(directory.as_str(), last_part))
}

fn free(name: &str, project: &FoundProject) -> String {
    let taken = |name: &str| project.layers.contains_key(name);
    if !taken(name) {
        return name.to_owned();
    }
    (2_u32..).map(|number| format!("{name}-{number}")).find(|name| !taken(name)).unwrap_or_default()
}

/// Where a repository comes from. What others cannot have of it is listed.
fn origin(
    name: &str,
    top: &Path,
    tree: Option<&WorkTree>,
    place: &FilePlace,
    request: &ForeignRequest,
    project: &mut FoundProject,
) -> Option<FoundOrigin> {
    let notes = &mut project.notes;
    let own = request.directory.starts_with(top) || top.starts_with(&request.directory);
    if let Some(WorkTree { url: Some(url), commit: Some(commit), .. }) =
        tree.filter(|_| !request.directory.starts_with(top))
    {
        let tree = tree?;
        if tree.edited > 0 {
            let what = format!("{} edited but not committed in layer {name}", files(tree.edited));
            notes.left_out(place, what, "commit and push them, or work with `kbuild checkout`");
        }
        if !tree.published {
            let why = "push it: nobody else can fetch it";
            notes.left_out(
                place,
                format!("commit {} of layer {name} is in no branch of its remote", &commit[..12]),
                why,
            );
        }
        let url = clean_url(url, &tree.top, place, notes);
        return Some(FoundOrigin::Git {
            url,
            branch: tree.branch.clone(),
            tag: tree.tag.clone(),
            rev: Some(commit.clone()),
        });
    }
    let folder = relative(top, &request.directory);
    if !own && folder.components().filter(|part| part.as_os_str() == "..").count() > 1 {
        notes.left_out(
            place,
            format!("layer {name} in {}", top.display()),
            "it is in no repository with a remote, and not in the project",
        );
        return None;
    }
    Some(FoundOrigin::Folder(folder.display().to_string()))
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// BitBake is no layer: it is beside or inside the repository with `meta`.
fn take_engine(core: Option<&Path>, request: &ForeignRequest, project: &mut FoundProject) {
    let Some(core) = core else { return };
    let found = BITBAKE.iter().map(|place| core.join(place)).find(|place| place.join("bin/bitbake").is_file());
    let core_name = project.layers.iter().find(|(_, layer)| layer.paths.iter().any(|path| path == "meta"));
    let core_name = core_name.map(|(name, _)| name.clone());
    let Some(found) = found.and_then(|found| std::fs::canonicalize(found).ok()) else { return };
    let tree = work_tree::find(&found);
    let top = tree.as_ref().map_or_else(|| found.clone(), |tree| tree.top.clone());
    if top == core {
        project.engine = core_name;
        return;
    }
    let name = free("bitbake", project);
    let place = FilePlace::of_file(&found);
    if let Some(origin) = origin(&name, &top, tree.as_ref(), &place, request, project) {
        project.engine = Some(name.clone());
        project.layers.shift_insert(0, name, FoundLayer { origin, paths: Vec::new(), patches: Vec::new() });
    }
}
