//! Checks of `[sources]`.

use indexmap::IndexMap;

use super::document::{Block, Blocks, Diagnostics};
use super::git::{GitExtent, GitKeys, check_version, file_url, fill, is_not_off, is_on};
use super::names;
use super::raw::{At, RawBoard, RawSource, RawText};
use super::{DeclaredSource, FileRequest, ImageRequest, SourceOrigin};
use crate::error::{Error, Result};
use crate::source::image::{ARCHITECTURES, Architecture, parse_digest};
use crate::source::name::{check_component, file_name};
use crate::source::{Access, ImageName};

/// All valid declared sources.
pub(super) fn check(
    blocks: &Blocks<RawSource>,
    boards: &Blocks<RawBoard>,
    diagnostics: &mut Diagnostics,
) -> IndexMap<String, DeclaredSource> {
    let mut sources = IndexMap::new();
    for (name, block) in blocks {
        let Some(raw) = &block.raw else { continue };
        let whose = format!("source `{}`", name.escape_debug());
        if let Some(source) = source(&whose, raw, block, boards, diagnostics) {
            sources.insert(name.clone(), source);
        }
    }
    check_variables(blocks, diagnostics);
    check_files(blocks, &sources, diagnostics);
    check_recipes(blocks, diagnostics);
    sources
}

fn source(
    whose: &str,
    raw: &RawSource,
    block: &Block<RawSource>,
    boards: &Blocks<RawBoard>,
    diagnostics: &mut Diagnostics,
) -> Option<DeclaredSource> {
    let before = diagnostics.count();
    if let Some(version) = &raw.version {
        diagnostics.take(check_version(version));
    }
    let origin = match (&raw.url, &raw.git, &raw.oci) {
        (Some(url), None, None) => file_origin(whose, url, raw, diagnostics).map(SourceOrigin::File),
        (None, Some(git), None) => git_origin(whose, git, raw, diagnostics),
        (None, None, Some(oci)) => image_origin(whose, oci, raw, diagnostics).map(SourceOrigin::Image),
        (None, None, None) => {
            let fault = Error::input(format!("{whose} has neither `url` nor `git` nor `oci`"));
            diagnostics.add(fault.at(block.span.clone(), "where does it come from?").help(
                "add `url = \"https://…\"` for a file, `git = \"https://…\"` with `branch`, `tag` or `rev`, or `oci = \"NAME:TAG\"` \
                 for an image",
            ));
            None
        }
        (url, git, oci) => {
            diagnostics.add(several_origins(
                whose,
                &[("url", "a file", url), ("git", "a repository", git), ("oci", "an image", oci)],
            ));
            None
        }
    };
    let boards = check_boards(whose, raw.boards.as_ref(), boards, diagnostics);
    let recipes = raw.recipes.iter().flat_map(|list| &list.value).map(|recipe| recipe.value.clone()).collect();
    (diagnostics.count() == before).then_some(DeclaredSource {
        version: raw.version.as_ref().map(|version| version.value.clone()),
        origin: origin?,
        recipes,
        srcrev_name: raw.srcrev_name.as_ref().map(|name| name.value.clone()),
        boards,
    })
}

fn several_origins(whose: &str, keys: &[(&str, &str, &Option<RawText>)]) -> Error {
    let given: Vec<_> = keys.iter().filter_map(|(key, what, text)| Some((key, what, text.as_ref()?))).collect();
    let names: Vec<String> = given.iter().map(|(key, ..)| format!("`{key}`")).collect();
    let both = if names.len() == 2 { "both " } else { "" };
    let fault = Error::input(format!("{whose} has {both}{}", names.join(" and ")));
    let fault = given.iter().fold(fault, |fault, (_, what, text)| fault.at(text.span.clone(), **what));
    fault.help("keep one of them")
}

/// A `boards` list: every name exists, none is repeated, it is not empty.
pub(super) fn check_boards(
    whose: &str,
    list: Option<&At<Vec<RawText>>>,
    boards: &Blocks<RawBoard>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<String>> {
    let list = list?;
    if list.is_empty() {
        let fault = Error::input(format!("{whose} is for no board")).at(list.span.clone(), "an empty list");
        diagnostics.add(fault.help("name boards, or remove `boards`: then it is for all"));
    }
    names::check_known(whose, "board", list, boards.keys().map(String::as_str), diagnostics);
    names::check_repeated(whose, "board", list, diagnostics);
    Some(list.iter().map(|board| board.value.clone()).collect())
}

fn file_origin(whose: &str, url: &RawText, raw: &RawSource, diagnostics: &mut Diagnostics) -> Option<FileRequest> {
    refuse(whose, "file", "images (`oci`)", &image_only(raw), diagnostics);
    refuse(whose, "file", "git sources", &git_only(raw), diagnostics);
    let version = raw.version.as_ref();
    let mut urls = Vec::new();
    for template in std::iter::once(url).chain(raw.mirrors.iter().flat_map(|mirrors| &mirrors.value)) {
        let Some(url) = diagnostics.take(fill(template, version).and_then(|text| file_url(&text))) else { continue };
        if urls.contains(&url) {
            let fault = Error::input(format!("{whose} names a URL twice"));
            diagnostics.add(fault.at(template.span.clone(), "again here").help("remove it"));
        }
        urls.push(url);
    }
    let sha256 = raw.sha256.as_ref().and_then(|text| {
        diagnostics.take(text.parse().map_err(|error: Error| {
            error
                .at(text.span.clone(), "the `sha256` of the file")
                .help("remove it, or copy all 64 digits: `sha256sum FILE` prints them")
        }))
    });
    let name = match &raw.filename {
        Some(template) if urls.first().is_some_and(|url| url.access() == Access::Package) => {
            let fault = Error::input(format!("{whose} is a package, and has no `filename`"));
            diagnostics.add(fault.at(template.span.clone(), "BitBake names it itself").help("remove `filename`"));
            return None;
        }
        Some(template) => diagnostics.take(fill(template, version).and_then(|name| check_filename(&name)))?,
        None => diagnostics.take(file_name(urls.first()?).map_err(|error| error.at(url.span.clone(), "this URL")))?,
    };
    Some(FileRequest { name, urls, sha256 })
}

/// `filename` becomes BitBake's `;downloadfilename=`, the name of a link in the view, and a key of the lock.
fn check_filename(name: &RawText) -> Result<String> {
    let wrong = Error::input(format!("`{}` cannot be a file name", name.escape_debug()));
    let bad = |c: char| c.is_whitespace() || ";\"'${}".contains(c);
    if check_component(name).is_err() || name.chars().any(bad) {
        return Err(wrong.at(name.span.clone(), "this").help("give a plain name: no `/`, white space, quotes or `;`"));
    }
    Ok(name.value.clone())
}

fn git_origin(whose: &str, git: &RawText, raw: &RawSource, diagnostics: &mut Diagnostics) -> Option<SourceOrigin> {
    refuse(whose, "git repository", "file sources (`url`)", &file_only(raw), diagnostics);
    refuse(whose, "git repository", "images (`oci`)", &image_only(raw), diagnostics);
    check_pinned_recipes(whose, raw, diagnostics);
    let before = diagnostics.count();
    let mut filled = |template: &Option<RawText>| {
        template.as_ref().and_then(|template| diagnostics.take(fill(template, raw.version.as_ref())))
    };
    let (branch, tag) = (filled(&raw.branch), filled(&raw.tag));
    if diagnostics.count() > before {
        return None;
    }
    let keys = GitKeys { git: git.clone(), branch, tag, rev: raw.rev.clone() };
    let extent = GitExtent {
        submodules: is_on(raw.submodules.as_ref()),
        history: is_on(raw.history.as_ref()),
        lfs: is_not_off(raw.lfs.as_ref()),
    };
    keys.check(whose, extent, diagnostics).map(SourceOrigin::Git)
}

/// Keys that only one kind of source has, each with its place in the text.
type Keys<'a, const N: usize> = [(&'static str, Option<&'a std::ops::Range<usize>>); N];

fn file_only(raw: &RawSource) -> Keys<'_, 3> {
    [
        ("mirrors", raw.mirrors.as_ref().map(|value| &value.span)),
        ("sha256", raw.sha256.as_ref().map(|value| &value.span)),
        ("filename", raw.filename.as_ref().map(|value| &value.span)),
    ]
}

fn git_only(raw: &RawSource) -> Keys<'_, 8> {
    [
        ("branch", raw.branch.as_ref().map(|value| &value.span)),
        ("tag", raw.tag.as_ref().map(|value| &value.span)),
        ("rev", raw.rev.as_ref().map(|value| &value.span)),
        ("submodules", raw.submodules.as_ref().map(|value| &value.span)),
        ("history", raw.history.as_ref().map(|value| &value.span)),
        ("lfs", raw.lfs.as_ref().map(|value| &value.span)),
        ("recipes", raw.recipes.as_ref().map(|value| &value.span)),
        ("srcrev-name", raw.srcrev_name.as_ref().map(|value| &value.span)),
    ]
}

fn image_only(raw: &RawSource) -> Keys<'_, 2> {
    [
        ("architectures", raw.architectures.as_ref().map(|value| &value.span)),
        ("digest", raw.digest.as_ref().map(|value| &value.span)),
    ]
}

fn image_origin(whose: &str, oci: &RawText, raw: &RawSource, diagnostics: &mut Diagnostics) -> Option<ImageRequest> {
    refuse(whose, "container image", "file sources (`url`)", &file_only(raw), diagnostics);
    refuse(whose, "container image", "git sources", &git_only(raw), diagnostics);
    let name = diagnostics.take(fill(oci, raw.version.as_ref())).and_then(|text| diagnostics.take(image_name(&text)));
    let digest = raw.digest.as_ref().and_then(|text| {
        diagnostics.take(parse_digest(text).ok_or_else(|| {
            let fault = Error::input(format!("`{}` is not a digest of an image", text.escape_debug()));
            fault.at(text.span.clone(), "this").help("give `sha256:` and all 64 digits, or remove it")
        }))
    });
    let architectures = architectures(whose, raw.architectures.as_ref(), diagnostics);
    Some(ImageRequest { image: name?, architectures, digest })
}

fn image_name(text: &RawText) -> Result<ImageName> {
    let read = match text.split_once("://") {
        None => ImageName::read(text),
        Some(_) => Err(Error::input("an image is named without `://`")),
    };
    read.map_err(|error| {
        error
            .at(text.span.clone(), "this image")
            .help("write it as docker does: `alpine:3.23`, `quay.io/org/name:tag`, `host:5000/name@sha256:…`")
    })
}

/// BitBake's names of architectures, each known, none repeated.
fn architectures(whose: &str, list: Option<&At<Vec<RawText>>>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let Some(list) = list else { return Vec::new() };
    if list.is_empty() {
        let fault = Error::input(format!("{whose} is for no architecture")).at(list.span.clone(), "an empty list");
        diagnostics.add(fault.help("name architectures, or remove `architectures`"));
    }
    names::check_repeated(whose, "architecture", list, diagnostics);
    for word in list.iter().filter(|word| Architecture::named(word).is_none()) {
        let fault = Error::input(format!("{whose} names an unknown architecture `{}`", word.escape_debug()));
        let meant = ARCHITECTURES.iter().find(|known| known.image == word.as_str());
        let help = meant.map_or_else(
            || names::suggest("architectures", word, ARCHITECTURES.iter().map(|known| known.name)),
            |known| format!("BitBake calls it `{}`", known.name),
        );
        diagnostics.add(fault.at(word.span.clone(), "no such architecture").help(help));
    }
    let mut words: Vec<String> = list.iter().map(|word| word.value.clone()).collect();
    words.sort();
    words
}

/// Reports keys that belong to another kind of source.
fn refuse<const N: usize>(whose: &str, kind: &str, others: &str, keys: &Keys<'_, N>, diagnostics: &mut Diagnostics) {
    for (key, span) in keys {
        if let Some(span) = span {
            let fault = Error::input(format!("{whose} is a {kind}, and has no `{key}`"));
            diagnostics.add(fault.at((*span).clone(), format!("for {others} only")).help(format!("remove `{key}`")));
        }
    }
}

/// `recipes` and `srcrev-name` become parts of a variable's name, `SRCREV_<name>:pn-<recipe>`.
fn check_pinned_recipes(whose: &str, raw: &RawSource, diagnostics: &mut Diagnostics) {
    for recipe in raw.recipes.iter().flat_map(|list| &list.value) {
        let good = recipe.starts_with(|c: char| c.is_ascii_alphanumeric())
            && recipe.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".+-".contains(c));
        if !good {
            let fault = Error::input(format!("`{}` cannot be the name of a recipe", recipe.escape_debug()));
            diagnostics.add(
                fault.at(recipe.span.clone(), "this").help(
                    "give the recipe's PN: lower-case letters, digits and `.` `+` `-`, without version and `.bb`",
                ),
            );
        }
    }
    if let Some(list) = &raw.recipes
        && list.is_empty()
    {
        let fault = Error::input(format!("{whose} has an empty list of recipes")).at(list.span.clone(), "no recipe");
        diagnostics.add(fault.help("name recipes whose SRCREV it pins, or remove `recipes`"));
    }
    let Some(name) = &raw.srcrev_name else { return };
    if raw.recipes.is_none() {
        let fault = Error::input(format!("{whose} has a `srcrev-name`, but no `recipes`"));
        diagnostics.add(
            fault.at(name.span.clone(), "the `;name=` of the URL in which recipe?").help("add `recipes = [\"…\"]`"),
        );
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)) || name.is_empty() {
        let fault = Error::input(format!("`{}` cannot be the `;name=` of a URL", name.escape_debug()));
        diagnostics.add(fault.at(name.span.clone(), "this").help("it consists of letters, digits and `.` `_` `+` `-`"));
    }
}

/// Recipes read `KBUILD_<NAME>_*`: two sources must not have the same variable.
fn check_variables(blocks: &Blocks<RawSource>, diagnostics: &mut Diagnostics) {
    let mut seen: IndexMap<String, (&str, &Block<RawSource>)> = IndexMap::new();
    for (name, block) in blocks {
        let variable = names::variable_part(name);
        if let Some((first, other)) = seen.get(&variable) {
            let message = format!("the sources `{first}` and `{name}` have the same variable names for recipes");
            diagnostics.add(
                Error::input(message)
                    .at(block.span.clone(), format!("`KBUILD_{variable}_…` too"))
                    .at(other.span.clone(), format!("`KBUILD_{variable}_…`"))
                    .help("give one of them another name"),
            );
        } else {
            seen.insert(variable, (name, block));
        }
    }
}

/// BitBake looks for a file by its name alone, and so does the lock: one name is one file.
fn check_files(blocks: &Blocks<RawSource>, sources: &IndexMap<String, DeclaredSource>, diagnostics: &mut Diagnostics) {
    let mut seen: IndexMap<&str, (&str, &FileRequest)> = IndexMap::new();
    for (source, declared) in sources {
        let SourceOrigin::File(file) = &declared.origin else { continue };
        match seen.get(&*file.name) {
            Some((first, other)) if other.urls != file.urls || other.sha256 != file.sha256 => {
                let fault = Error::input(format!(
                    "the sources `{first}` and `{source}` have the same file name `{}`",
                    file.name
                ));
                let span = |name: &str| blocks.get(name).map(|block| block.span.clone()).unwrap_or_default();
                diagnostics.add(fault.at(span(source), "the same name").at(span(first), "first here").help(
                    "BitBake finds a file by its name: give one of them another `filename`, or put both URLs into one source",
                ));
            }
            Some(_) => {}
            None => drop(seen.insert(&file.name, (source, file))),
        }
    }
}

/// A recipe's SRCREV is pinned once for each of its URL names, on any board.
fn check_recipes(blocks: &Blocks<RawSource>, diagnostics: &mut Diagnostics) {
    let mut seen: Vec<(&RawSource, &RawText)> = Vec::new();
    for raw in blocks.values().filter_map(|block| block.raw.as_ref()) {
        for recipe in raw.recipes.iter().flat_map(|list| &list.value) {
            let clash = |(other, name): &&(&RawSource, &RawText)| {
                *name == recipe && other.srcrev_name == raw.srcrev_name && share_a_board(other, raw)
            };
            if let Some((_, first)) = seen.iter().find(clash) {
                let fault =
                    Error::input(format!("the SRCREV of the recipe `{}` is pinned twice", recipe.escape_debug()));
                diagnostics.add(
                    fault
                        .at(recipe.span.clone(), "again here")
                        .at(first.span.clone(), "first here")
                        .help("keep one of them; if the recipe has several git URLs, tell them apart by `srcrev-name`"),
                );
            }
            seen.push((raw, recipe));
        }
    }
}

fn share_a_board(a: &RawSource, b: &RawSource) -> bool {
    match (&a.boards, &b.boards) {
        (Some(a), Some(b)) => a.iter().any(|board| b.contains(board)),
        _ => true,
    }
}
