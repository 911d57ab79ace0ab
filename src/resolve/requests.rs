//! Turns the engine's reports into requests: each file and each commit once, with all recipes that ask for it.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::faults::{Faults, FaultyConfiguration};
use crate::bitbake::report::{DiscoveryReport, Fetch, GitFetch, Recipe};
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;
use crate::lock::{self, Floating};
use crate::manifest::{History, Manifest, Variant, whole_url};
use crate::source::url::redact;
use crate::source::{Blake3, CommitId, GitRef, Sha256, SourceUrl, name};

/// The closure that the engine found for one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    /// The board.
    pub board: String,
    /// Which of its configurations.
    pub variant: Variant,
    /// The hash over everything that decided it.
    pub inputs: Blake3,
    /// The engine's report.
    pub report: DiscoveryReport,
}

impl Discovered {
    /// Board and variant.
    pub(super) fn configuration(&self) -> FaultyConfiguration {
        (self.board.clone(), self.variant.name.clone())
    }
}

/// Who asks for a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Requester {
    pub(super) board: String,
    /// The variant, empty for the default.
    pub(super) setting: String,
    /// The recipe; empty for what is fetched outside of recipes.
    pub(super) recipe: String,
}

/// The closures that requesters are in.
pub(super) fn closures_of(requesters: &BTreeSet<Requester>) -> BTreeSet<FaultyConfiguration> {
    requesters.iter().map(|requester| (requester.board.clone(), requester.setting.clone())).collect()
}

/// A file that recipes ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecipeFile {
    /// The name BitBake looks for in a flat mirror.
    pub(super) name: String,
    /// The path below DL_DIR, where it is not that.
    pub(super) local: Option<String>,
    pub(super) urls: Vec<SourceUrl>,
    pub(super) sha256: Option<Sha256>,
    /// Other checksums of recipes: algorithm and digits.
    pub(super) sums: BTreeMap<String, String>,
    pub(super) requesters: BTreeSet<Requester>,
    /// Where recipes write it, for messages.
    pub(super) written: BTreeSet<String>,
    /// The flags of SRC_URI that BitBake misses, each with where the entry is written.
    pub(super) unchecked: BTreeMap<String, String>,
}

/// A commit that recipes ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecipeGit {
    pub(super) url: SourceUrl,
    pub(super) commit: CommitId,
    /// Full names of the refs that a view must offer.
    pub(super) refs: BTreeSet<String>,
    pub(super) submodules: bool,
    /// Whether objects of Git LFS come along.
    pub(super) lfs: bool,
    pub(super) history: bool,
    /// Names of the clone that the URL does not give.
    pub(super) clones: BTreeSet<String>,
    pub(super) requesters: BTreeSet<Requester>,
    /// Where recipes write it, for messages.
    pub(super) written: BTreeSet<String>,
    /// The variable that names the commit in each recipe.
    pub(super) variables: BTreeMap<Requester, String>,
    /// Tags that stand beside a commit, and so have to lead to it.
    pub(super) tags: BTreeSet<String>,
}

/// All requests, each source once.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) files: Vec<RecipeFile>,
    pub(super) gits: Vec<RecipeGit>,
}

/// Where a SRCREV floats, `SRCREV_x:pn-y` to the key of [`crate::lock::Lock::floating`], for each configuration.
pub(super) type Pins = BTreeMap<(String, String), BTreeMap<String, String>>;

/// The commits of the refs that move.
#[derive(Debug, Default)]
pub(super) struct PinnedRefs {
    /// The commit of each configuration's SRCREV variables.
    pub(super) pins: Pins,
    /// Keys of [`Pins`] that could not be pinned.
    pub(super) failed: BTreeSet<String>,
}

/// Collects what all configurations ask for. An entry that cannot be locked is a fault, with its recipe and line, as
/// are two contents under one name on one board.
pub(super) fn collect(
    manifest: &Manifest,
    found: &[Discovered],
    pinned: &PinnedRefs,
    floating: &BTreeMap<String, Floating>,
    faults: &mut Faults,
) -> Requests {
    add_problems(found, faults);
    let mut collected =
        Collected { history: history(manifest), pinned, floating, files: BTreeMap::new(), gits: BTreeMap::new() };
    for found in found {
        let requester = |recipe: &str| Requester {
            board: found.board.clone(),
            setting: found.variant.name.clone(),
            recipe: recipe.to_owned(),
        };
        for recipe in &found.report.recipes {
            for fetch in &recipe.fetches {
                if let Err(error) = collected.add(fetch, Some(recipe), requester(&recipe.name)) {
                    faults.add_to([found.configuration()], in_recipe(error, recipe, fetch));
                }
            }
        }
        for fetch in &found.report.extra {
            if let Err(error) = collected.add(fetch, None, requester("")) {
                faults.add_to([found.configuration()], error);
            }
        }
    }
    let files = join_unknown(collected.files);
    for (board, name, error) in collisions(&files) {
        faults.is_new(&board, &name);
        let closures = found.iter().filter(|found| found.board == board).map(Discovered::configuration);
        faults.add_to(closures, error);
    }
    Requests { files, gits: collected.gits.into_values().collect() }
}

fn in_recipe(error: Error, recipe: &Recipe, fetch: &Fetch) -> Error {
    error.wrap(format!("could not lock `{}` of {}", redact(&fetch.written), written(recipe, fetch)))
}

/// The place of an entry: recipe, file and line, layer.
pub(super) fn written(recipe: &Recipe, fetch: &Fetch) -> String {
    let place = fetch.place.as_ref().map_or_else(|| recipe.file.clone(), ToString::to_string);
    format!("{} ({place} in layer {})", recipe.name, recipe.layer)
}

/// A fault for each entry that cannot be locked, once for all boards that have it.
fn add_problems(found: &[Discovered], faults: &mut Faults) {
    let mut seen: BTreeMap<String, BTreeSet<FaultyConfiguration>> = BTreeMap::new();
    for found in found {
        for (recipe, problem) in
            found.report.recipes.iter().flat_map(|recipe| recipe.problems.iter().map(move |p| (recipe, p)))
        {
            let place = match problem.line {
                Some(line) => format!("{}:{line}", problem.file),
                None => problem.file.clone(),
            };
            let text = format!("{} of {} ({place}): {}", problem.written, recipe.name, problem.why);
            seen.entry(text).or_default().insert(found.configuration());
        }
    }
    for (text, closures) in seen {
        let help = format!("change the recipe or append to it, or leave it out with a `[closure.mask]` in {MANIFEST}");
        faults.add_to(closures, Error::input(text).help(help));
    }
}

struct Collected<'a> {
    history: Vec<Keep<'a>>,
    pinned: &'a PinnedRefs,
    floating: &'a BTreeMap<String, Floating>,
    files: BTreeMap<(String, FileIdentity), RecipeFile>,
    gits: BTreeMap<(SourceUrl, CommitId), RecipeGit>,
}

/// Whether a repository is kept with all its history.
enum Keep<'a> {
    Recipe(&'a str),
    Url(Regex),
}

/// The identity of a file, which tells two files of one name apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum FileIdentity {
    Hash(Sha256),
    Url(SourceUrl),
}

impl Collected<'_> {
    fn add(&mut self, fetch: &Fetch, recipe: Option<&Recipe>, requester: Requester) -> Result<()> {
        match &fetch.git {
            Some(git) => self.add_git(fetch, git, recipe, requester),
            None => self.add_file(fetch, recipe, requester),
        }
    }

    fn add_file(&mut self, fetch: &Fetch, recipe: Option<&Recipe>, requester: Requester) -> Result<()> {
        let url = SourceUrl::of_recipe(&fetch.url)?;
        let name = fetch.file.clone();
        let name = name.ok_or_else(|| Error::bug(format!("the engine gave no name for {url}")))?;
        name::check_component(&name)?;
        // A `downloadfilename` may hold a directory: DL_DIR keeps it.
        let local = fetch.local.clone().filter(|local| *local != name);
        local.iter().flat_map(|local| local.split('/')).try_for_each(name::check_component)?;
        let sha256: Option<Sha256> = fetch.sums.get("sha256").map(|digits| digits.parse()).transpose()?;
        let identity = sha256.map_or_else(|| FileIdentity::Url(url.clone()), FileIdentity::Hash);
        let request = self.files.entry((name.clone(), identity)).or_insert_with(|| RecipeFile {
            name,
            local,
            urls: Vec::new(),
            sha256,
            sums: BTreeMap::new(),
            requesters: BTreeSet::new(),
            written: BTreeSet::new(),
            unchecked: BTreeMap::new(),
        });
        let written = recipe.map(|recipe| written(recipe, fetch));
        let unchecked = fetch.unchecked.clone().zip(written.clone());
        request.add(&[url], &fetch.sums, [requester]);
        request.written.extend(written);
        request.unchecked.extend(unchecked);
        Ok(())
    }

    fn add_git(&mut self, fetch: &Fetch, git: &GitFetch, recipe: Option<&Recipe>, requester: Requester) -> Result<()> {
        let url: SourceUrl = git.url.parse()?;
        let commit: Option<CommitId> = match &git.commit {
            Some(commit) => Some(commit.parse()?),
            None => self.pinned(git, &requester)?,
        };
        let Some(commit) = commit else { return Ok(()) };
        let history = self.keeps_history(recipe, &url);
        let request = self.gits.entry((url.clone(), commit)).or_insert_with(|| RecipeGit {
            url: url.clone(),
            commit,
            refs: BTreeSet::new(),
            submodules: false,
            lfs: false,
            history: false,
            clones: BTreeSet::new(),
            requesters: BTreeSet::new(),
            written: BTreeSet::new(),
            variables: BTreeMap::new(),
            tags: BTreeSet::new(),
        });
        request.submodules |= git.submodules;
        request.lfs |= git.lfs;
        request.history |= history;
        request.refs.extend(refs_of(git));
        let clone = git.clone_at(&commit);
        if clone != name::clone_name(&url) {
            name::check_component(&clone)?;
            request.clones.insert(clone);
        }
        request.written.extend(recipe.map(|recipe| written(recipe, fetch)));
        request.tags.extend(git.tag.clone().filter(|_| git.commit.is_some()));
        request.variables.insert(requester.clone(), git.variable.clone());
        request.requesters.insert(requester);
        Ok(())
    }

    /// The commit that a moving ref was pinned to; `None` where it could not be pinned, which is reported as a fault
    /// elsewhere.
    fn pinned(&self, git: &GitFetch, requester: &Requester) -> Result<Option<CommitId>> {
        let variable = lock::pin(&git.variable, without_multiconfig(&requester.recipe));
        let configuration = (requester.board.clone(), requester.setting.clone());
        let key = self.pinned.pins.get(&configuration).and_then(|pins| pins.get(&variable));
        match key.and_then(|key| self.floating.get(key)) {
            Some(floating) => Ok(Some(floating.commit)),
            None if self.pinned.failed.contains(&variable) => Ok(None),
            None => Err(Error::new(
                Kind::Engine,
                format!("BitBake names no commit for {} and does not say that it floats", redact(&git.url)),
            )),
        }
    }

    fn keeps_history(&self, recipe: Option<&Recipe>, url: &SourceUrl) -> bool {
        self.history.iter().any(|keep| match keep {
            Keep::Recipe(name) => recipe.is_some_and(|recipe| without_multiconfig(&recipe.name) == *name),
            Keep::Url(regex) => regex.is_match(url.as_str()),
        })
    }
}

/// The manifest's `[closure] history`, its expressions compiled once for all sources.
fn history(manifest: &Manifest) -> Vec<Keep<'_>> {
    let keep = manifest.closure.history.iter().filter_map(|history| match history {
        History::Recipe(name) => Some(Keep::Recipe(name)),
        // The manifest's reader has checked that it compiles.
        History::Url(pattern) => whole_url(pattern).ok().map(Keep::Url),
    });
    keep.collect()
}

/// The refs that BitBake looks for in the clone. A tag may be given as a full ref, because SRCREV can name one.
fn refs_of(git: &GitFetch) -> Vec<String> {
    let (full, tag) = match &git.tag {
        Some(tag) if tag.starts_with("refs/") => (Some(tag.clone()), None),
        tag => (None, tag.clone()),
    };
    let named = GitRef { branch: git.branch.clone(), tag, rev: None };
    let known = |name: &String| name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
    named.full_names().into_iter().chain(full.filter(known)).collect()
}

/// PN: a pin is for a recipe, whichever multiconfig builds it.
pub(super) fn without_multiconfig(recipe: &str) -> &str {
    recipe.strip_prefix("mc:").and_then(|rest| rest.split_once(':')).map_or(recipe, |(_, name)| name)
}

impl RecipeFile {
    fn add(
        &mut self,
        urls: &[SourceUrl],
        sums: &BTreeMap<String, String>,
        requesters: impl IntoIterator<Item = Requester>,
    ) {
        let new: Vec<SourceUrl> = urls.iter().filter(|url| !self.urls.contains(url)).cloned().collect();
        self.urls.extend(new);
        let others = sums.iter().filter(|(algorithm, _)| *algorithm != "sha256");
        self.sums.extend(others.map(|(algorithm, digits)| (algorithm.clone(), digits.clone())));
        self.requesters.extend(requesters);
    }
}

/// A recipe without a SHA-256 gets the file whose SHA-256 another recipe gives, where there is only one of that name.
fn join_unknown(files: BTreeMap<(String, FileIdentity), RecipeFile>) -> Vec<RecipeFile> {
    let mut joined: Vec<RecipeFile> = Vec::new();
    for request in files.into_values() {
        // `FileIdentity::Hash` sorts before `FileIdentity::Url`, so what is known came first.
        let same_name = joined.iter().rev().take_while(|other| other.name == request.name).count();
        match joined.last_mut() {
            Some(only) if same_name == 1 && only.sha256.is_some() && request.sha256.is_none() => {
                only.add(&request.urls, &request.sums, request.requesters);
                only.written.extend(request.written);
                only.unchecked.extend(request.unchecked);
            }
            _ => joined.push(request),
        }
    }
    joined
}

/// Two contents under one name on one board: BitBake has one DL_DIR, and so one place for both.
fn collisions(files: &[RecipeFile]) -> Vec<(String, String, Error)> {
    let mut errors = Vec::new();
    let mut first: BTreeMap<(&str, &str), &RecipeFile> = BTreeMap::new();
    for request in files {
        let boards: BTreeSet<&str> = request.requesters.iter().map(|requester| requester.board.as_str()).collect();
        for board in boards {
            let Some(other) = first.insert((&request.name, board), request) else { continue };
            errors.push((board.to_owned(), request.name.clone(), collision(board, other, request)));
        }
    }
    errors
}

fn collision(board: &str, one: &RecipeFile, other: &RecipeFile) -> Error {
    let who = |request: &RecipeFile| {
        let requester = request.requesters.iter().find(|requester| requester.board == board);
        let hash = request.sha256.map_or_else(|| "no sha256".to_owned(), |hash| hash.to_string());
        let url = request.urls.first().map(ToString::to_string).unwrap_or_default();
        format!("{} takes {url} ({hash})", requester.map(|requester| requester.recipe.as_str()).unwrap_or_default())
    };
    Error::input(format!("board `{board}` has two files called `{}`: {}, {}", one.name, who(one), who(other)))
        .help("BitBake keeps both under that name: give one of them a `downloadfilename` in its recipe")
}
