//! Checks of `[layers]`.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::document::{Block, Blocks, Diagnostics};
use super::git::{GitExtent, GitKeys, is_not_off};
use super::names;
use super::raw::{RawLayer, RawProject, RawText};
use super::{Layer, LayerOrigin, patches, signers};
use crate::error::{Error, Result};
use crate::files::MANIFEST;

/// The layer that contains BitBake if `[project] engine` is not set.
const DEFAULT_ENGINE: &str = "bitbake";

/// All valid layers; `root` is the project's directory.
pub(super) fn check(blocks: &Blocks<RawLayer>, root: &Path, diagnostics: &mut Diagnostics) -> IndexMap<String, Layer> {
    let mut layers = IndexMap::new();
    for (name, block) in blocks {
        let Some(raw) = &block.raw else { continue };
        let whose = format!("layer `{}`", name.escape_debug());
        if let Some(layer) = layer(&whose, raw, block, blocks, root, diagnostics) {
            layers.insert(name.clone(), layer);
        }
    }
    layers
}

fn layer(
    whose: &str,
    raw: &RawLayer,
    block: &Block<RawLayer>,
    all: &Blocks<RawLayer>,
    root: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<Layer> {
    let before = diagnostics.count();
    let origin = match (&raw.git, &raw.path) {
        (Some(git), None) => git_origin(whose, git, raw, diagnostics),
        (None, Some(path)) => path_origin(whose, path, raw, root, diagnostics),
        (Some(git), Some(path)) => {
            let fault = Error::input(format!("{whose} has both `git` and `path`"));
            diagnostics.add(
                fault.at(path.span.clone(), "a folder").at(git.span.clone(), "a repository").help("keep one of them"),
            );
            None
        }
        (None, None) => {
            let fault = Error::input(format!("{whose} has neither `git` nor `path`"));
            diagnostics.add(fault.at(block.span.clone(), "where does it come from?").help(
                "add `git = \"https://…\"` with `branch`, `tag` or `rev`, or `path = \"layers/…\"` for a folder",
            ));
            None
        }
    };
    let paths = layer_dirs(raw, origin.as_ref(), root, diagnostics);
    let signers = raw.signers.as_ref().map(|list| signers::check(whose, list, root, diagnostics));
    let list = raw.patches.as_ref().map(|list| list.as_slice()).unwrap_or_default();
    let patches = patches::check(list, all, root, diagnostics);
    (diagnostics.count() == before).then_some(Layer { origin: origin?, paths, signers, patches })
}

fn git_origin(whose: &str, git: &RawText, raw: &RawLayer, diagnostics: &mut Diagnostics) -> Option<LayerOrigin> {
    let keys = GitKeys { git: git.clone(), branch: raw.branch.clone(), tag: raw.tag.clone(), rev: raw.rev.clone() };
    let extent = GitExtent { lfs: is_not_off(raw.lfs.as_ref()), ..GitExtent::default() };
    keys.check(whose, extent, diagnostics).map(LayerOrigin::Git)
}

fn path_origin(
    whose: &str,
    path: &RawText,
    raw: &RawLayer,
    root: &Path,
    diagnostics: &mut Diagnostics,
) -> Option<LayerOrigin> {
    let span = |text: &Option<RawText>| text.as_ref().map(|text| text.span.clone());
    let for_git = [("branch", span(&raw.branch)), ("tag", span(&raw.tag)), ("rev", span(&raw.rev))];
    let lfs = raw.lfs.as_ref().map(|value| value.span.clone());
    let signers = raw.signers.as_ref().map(|value| value.span.clone());
    let patches = raw.patches.as_ref().map(|value| value.span.clone());
    for (key, span) in for_git.into_iter().chain([("lfs", lfs), ("signers", signers), ("patches", patches)]) {
        if let Some(span) = span {
            let fault = Error::input(format!("{whose} is a folder, and has no `{key}`"));
            diagnostics.add(fault.at(span, "for git layers only").help(format!("remove `{key}`, or use `git`")));
        }
    }
    let folder = diagnostics.take(relative_folder(path))?;
    diagnostics.take(check_folder(path, &folder, root))?;
    Some(LayerOrigin::Path(folder))
}

/// The `paths` of a layer; the top directory when it names none.
fn layer_dirs(
    raw: &RawLayer,
    origin: Option<&LayerOrigin>,
    root: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<PathBuf> {
    let Some(list) = &raw.paths else { return vec![PathBuf::from(".")] };
    if list.is_empty() {
        let fault = Error::input("a layer's `paths` is empty").at(list.span.clone(), "no directory");
        diagnostics.add(fault.help("remove it: the default is `[\".\"]`, the top directory"));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for text in &list.value {
        let Some(path) = diagnostics.take(relative(text)) else { continue };
        if let Some(first) = paths.iter().position(|known| *known == path) {
            diagnostics.add(names::twice("the layer", "directory", text, &list[first]));
        }
        if let Some(LayerOrigin::Path(layer)) = origin {
            diagnostics.take(check_inside(text, &layer.join(&path), &root.join(layer), root));
        }
        paths.push(path);
    }
    paths
}

/// Whether a path has a meaning of its own for BitBake: BBLAYERS is split at white space, and BBFILES contains wildcards.
fn is_odd(path: &str) -> bool {
    path.is_empty() || path.chars().any(|c| c.is_control() || c.is_whitespace() || "\\\"'$:;*?[]{}".contains(c))
}

/// A folder relative to the manifest, in normal form (`.` for its directory): inside the project or beside it.
fn relative_folder(text: &RawText) -> Result<PathBuf> {
    let fault = |why: &str, help: &str| {
        let message = "a layer's `path` must be relative to the manifest";
        Err(Error::input(message).at(text.span.clone(), why.to_owned()).help(help))
    };
    if is_odd(text) {
        let help = "give a path such as `layers/meta-own` or `../meta-own`";
        return fault("empty, or with a character that has a special meaning for BitBake", help);
    }
    normal(Path::new(text.as_str())).map_or_else(
        || {
            let help = "give a path such as `../meta-own`: an absolute one is of one machine, where `--override` and \
                        kbuild.local.toml name it";
            fault("it is absolute", help)
        },
        Ok,
    )
}

/// One of a layer's `paths`, in normal form: it stays inside the layer.
fn relative(text: &RawText) -> Result<PathBuf> {
    let fault = |why: &str| {
        Err(Error::input("one of a layer's `paths` must be a relative path that stays inside the layer")
            .at(text.span.clone(), why.to_owned())
            .help("give a path below the layer, such as `meta-own`; a layer elsewhere is another `[layers.NAME]`"))
    };
    if is_odd(text) {
        return fault("empty, or with a character that has a special meaning for BitBake");
    }
    match normal(Path::new(text.as_str())) {
        None => fault("it is absolute"),
        Some(path) if path.starts_with("..") => fault("it leads out"),
        Some(path) => Ok(path),
    }
}

/// A relative path without `.` and with `..` at its beginning alone; `.` for the top. `None` for an absolute one.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => normal.push(part),
            Component::ParentDir if normal.file_name().is_some() => drop(normal.pop()),
            Component::ParentDir => normal.push(".."),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(if normal.as_os_str().is_empty() { PathBuf::from(".") } else { normal })
}

/// A layer's folder must exist. One that is written as inside the project is there: no symbolic link leads out.
fn check_folder(text: &RawText, folder: &Path, root: &Path) -> Result<()> {
    if !folder.starts_with("..") {
        return check_inside(text, folder, root, root);
    }
    found(text, folder, root).map(drop)
}

/// The same of a folder that no symbolic link may lead out of `whole`.
fn check_inside(text: &RawText, folder: &Path, whole: &Path, root: &Path) -> Result<()> {
    let real = found(text, folder, root)?;
    if whole.canonicalize().is_ok_and(|whole| real.starts_with(whole)) {
        return Ok(());
    }
    let what = if whole == root { "the project" } else { "its layer" };
    Err(Error::input(format!("`{}` leads out of {what}", folder.display()))
        .at(text.span.clone(), "a symbolic link leads elsewhere")
        .help("name the folder that it leads to (`../…`), put the layer into the project, or use `git = …`"))
}

/// A directory, without symbolic links.
fn found(text: &RawText, folder: &Path, root: &Path) -> Result<PathBuf> {
    let fault = |message: String, label: &str| Error::input(message).at(text.span.clone(), label.to_owned());
    let Ok(real) = root.join(folder).canonicalize() else {
        let message = format!("there is no directory `{}`", folder.display());
        let help = format!("create it, or correct the path (it is relative to {MANIFEST})");
        return Err(fault(message, "not found").help(help));
    };
    if !real.is_dir() {
        let message = format!("`{}` is not a directory", folder.display());
        return Err(fault(message, "a layer is a directory"));
    }
    Ok(real)
}

/// The layer that contains BitBake: the one that `[project]` names, or the one called `bitbake`. Without boards there need be
/// none.
pub(super) fn engine(
    project: &Block<RawProject>,
    layers: &Blocks<RawLayer>,
    has_boards: bool,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let raw = project.raw.as_ref()?;
    let Some(engine) = &raw.engine else {
        if layers.contains_key(DEFAULT_ENGINE) {
            return Some(DEFAULT_ENGINE.to_owned());
        }
        if !has_boards {
            return None;
        }
        let fault = Error::input("no layer contains BitBake").at(project.span.clone(), "`engine` is not set here");
        diagnostics.add(
            fault.help(
                "add a layer called `bitbake`, or set `engine = \"NAME\"` to the layer that contains bin/bitbake (or bitbake/bin/bitbake): boards need it",
            ),
        );
        return None;
    };
    if layers.contains_key(&**engine) {
        return Some(engine.value.clone());
    }
    let fault = Error::input(format!("the engine `{}` is not a layer", engine.escape_debug()));
    let known = layers.keys().map(String::as_str);
    diagnostics.add(fault.at(engine.span.clone(), "no such layer").help(names::suggest("layers", engine, known)));
    None
}
