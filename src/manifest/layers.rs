//! Checks of `[layers]`.

use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;

use super::document::{Block, Blocks, Diagnostics};
use super::git::{GitExtent, GitKeys, is_not_off};
use super::names;
use super::raw::{RawLayer, RawProject, RawText};
use super::{Layer, LayerOrigin};
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
        if let Some(layer) = layer(&whose, raw, block, root, diagnostics) {
            layers.insert(name.clone(), layer);
        }
    }
    layers
}

fn layer(
    whose: &str,
    raw: &RawLayer,
    block: &Block<RawLayer>,
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
                "add `git = \"https://…\"` with `branch`, `tag` or `rev`, or `path = \"layers/…\"` for a folder of this project",
            ));
            None
        }
    };
    let paths = layer_dirs(raw, origin.as_ref(), root, diagnostics);
    (diagnostics.count() == before).then_some(Layer { origin: origin?, paths })
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
    for (key, span) in for_git.into_iter().chain([("lfs", lfs)]) {
        if let Some(span) = span {
            let fault = Error::input(format!("{whose} is a folder, and has no `{key}`"));
            diagnostics.add(fault.at(span, "for git layers only").help(format!("remove `{key}`, or use `git`")));
        }
    }
    let inside = diagnostics.take(relative("a layer's `path`", "the project", path))?;
    diagnostics.take(check_folder(path, &inside, root))?;
    Some(LayerOrigin::Path(inside))
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
        let Some(path) = diagnostics.take(relative("one of a layer's `paths`", "the layer", text)) else { continue };
        if let Some(first) = paths.iter().position(|known| *known == path) {
            diagnostics.add(names::twice("the layer", "directory", text, &list[first]));
        }
        if let Some(LayerOrigin::Path(layer)) = origin {
            diagnostics.take(check_folder(text, &layer.join(&path), root));
        }
        paths.push(path);
    }
    paths
}

/// A relative path in normal form (`.` for the top) that stays inside its start.
fn relative(what: &str, whole: &str, text: &RawText) -> Result<PathBuf> {
    let fault = |why: &str| {
        Err(Error::input(format!("{what} must be a relative path that stays inside {whole}"))
            .at(text.span.clone(), why.to_owned())
            .help(format!(
                "give a path below {whole}, such as `layers/meta-own`; for a repository elsewhere, use `git = …`"
            )))
    };
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace() || "\\\"'$:;*?[]{}".contains(c)) {
        // BBLAYERS is split at white space and BBFILES contains wildcards, so a layer's path can contain neither.
        return fault("empty, or with a character that has a special meaning for BitBake");
    }
    let mut normal = PathBuf::new();
    for component in Path::new(&**text).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => normal.push(part),
            Component::ParentDir if normal.pop() => {}
            Component::ParentDir => return fault("it leads out"),
            Component::RootDir | Component::Prefix(_) => return fault("it is absolute"),
        }
    }
    Ok(if normal.as_os_str().is_empty() { PathBuf::from(".") } else { normal })
}

/// A folder of the project must exist, and no symbolic link may lead out of it: a build is a function of the project.
fn check_folder(text: &RawText, folder: &Path, root: &Path) -> Result<()> {
    let fault = |message: String, label: &str| Err(Error::input(message).at(text.span.clone(), label.to_owned()));
    let Ok(real) = root.join(folder).canonicalize() else {
        return fault(format!("there is no directory `{}` in the project", folder.display()), "not found").map_err(
            |error: Error| error.help(format!("create it, or correct the path (it is relative to {MANIFEST})")),
        );
    };
    if !real.is_dir() {
        return fault(format!("`{}` is not a directory", folder.display()), "a layer is a directory");
    }
    if !root.canonicalize().is_ok_and(|root| real.starts_with(root)) {
        return fault(format!("`{}` leads out of the project", folder.display()), "a symbolic link leads elsewhere")
            .map_err(|error: Error| error.help("put the layer into the project, or use `git = …`"));
    }
    Ok(())
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
