//! What kbuild's class (`kbuild-lock.bbclass`) wrote while BitBake ran, as a [`DiscoveryReport`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::graph::Graph;
use super::readers::{ReaderRecord, Readers};
use super::report::{DiscoveryReport, Fetch, FloatingSrcrev, Problem, Recipe};
use super::snapshot::{Reparse, Snapshot};
use crate::bounds;
use crate::disk;
use crate::error::{Error, Result};
use crate::source::NameList;

/// Part of the hash over the inputs of a closure. It is raised when the class, or the reading of its files, finds
/// something else in the same layers.
pub const VERSION: u32 = 1;

/// The directory inside TOPDIR that the class writes into.
pub const DIRECTORY: &str = "kbuild";

/// The task of the class, for `--runall`.
pub const TASK: &str = "kbuild_closure";

/// The task of the class that fetches and unpacks, for `--runall`.
pub const UNPACK: &str = "kbuild_unpack";

/// Has BitBake parse single recipes, for the Python that runs it.
const RECIPES: &str = include_str!("recipes.py");

/// The result of fetching and unpacking one recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RecipeOutcome {
    /// PN; with `mc:NAME:` in front where it belongs to a multiconfig.
    pub name: String,
    /// `fetch` or `unpack`.
    pub task: String,
    /// BitBake's message, where it failed.
    pub error: Option<String>,
}

/// A recipe that is built from a folder.
#[derive(Debug, Deserialize)]
struct ExternalSource {
    name: String,
    folder: PathBuf,
}

/// A task that failed.
#[derive(Debug, Deserialize)]
struct FailedTask {
    task: String,
    #[serde(default)]
    recipe: Option<RecipeRecord>,
}

/// What the class says of one recipe.
#[derive(Debug, Deserialize)]
struct RecipeRecord {
    name: String,
    version: String,
    license: String,
    layer: String,
    file: String,
    provides: NameList,
    /// DEPENDS and the `depends` of tasks: names that recipes provide.
    needs: NameList,
    /// The packages it gives.
    packages: NameList,
    /// The packages that those packages require, or that its image installs.
    wants: NameList,
    go_proxy: Option<String>,
    fetches: Vec<Fetch>,
    problems: Vec<Problem>,
    /// The files of layers that it was read from.
    #[serde(default)]
    read: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct FloatingFile {
    floating: Vec<FloatingRepository>,
}

#[derive(Debug, Deserialize)]
struct FloatingRepository {
    kind: String,
    #[serde(flatten)]
    floating: FloatingSrcrev,
}

/// The class's report on a configuration.
#[derive(Debug, Deserialize)]
struct ConfigurationRecord {
    build_arch: String,
    uninative: Option<Uninative>,
    cve_check: bool,
}

#[derive(Debug, Deserialize)]
struct Uninative {
    url: String,
    file: String,
    local: String,
    checksum: Option<String>,
}

/// The directory of the class's files, for one run.
#[derive(Debug, Clone)]
pub struct DiscoveryDir(PathBuf);

impl DiscoveryDir {
    /// The directory below TOPDIR, emptied, so that its files are all from the run that follows.
    ///
    /// # Errors
    /// When it cannot be emptied.
    pub fn begin(topdir: &Path) -> Result<DiscoveryDir> {
        let directory = topdir.join(DIRECTORY);
        disk::remove_dir_all(&directory)?;
        let discovery = DiscoveryDir(directory);
        disk::create_dir_all(&discovery.graph_directory())?;
        Ok(discovery)
    }

    /// As [`DiscoveryDir::begin`], for a discovery: the class also notes whom a later edit will concern.
    ///
    /// # Errors
    /// As [`DiscoveryDir::begin`].
    pub fn begin_discovery(topdir: &Path) -> Result<DiscoveryDir> {
        let discovery = DiscoveryDir::begin(topdir)?;
        disk::create_dir_all(&discovery.0.join("readers"))?;
        Ok(discovery)
    }

    /// The working directory for `bitbake -g`, which writes its files there.
    pub fn graph_directory(&self) -> PathBuf {
        self.0.join("graph")
    }

    /// Whether kbuild's class was part of the configuration, and so what kbuild sets had an effect.
    ///
    /// # Errors
    /// It was not: kind `Input`.
    pub fn check_settled(&self) -> Result<()> {
        if self.0.join("settled").is_dir() {
            return Ok(());
        }
        Err(Error::input("BitBake ran without kbuild's class, so that what kbuild sets may have had no effect")
            .help("a layer, or a file that a `conf` requires, takes `kbuild-lock` out of INHERIT: remove that line"))
    }

    /// The result of each recipe that was fetched and unpacked, by its name.
    ///
    /// # Errors
    /// Files that are not what the class writes.
    pub fn outcomes(&self) -> Result<BTreeMap<String, RecipeOutcome>> {
        let unpacked: Vec<RecipeOutcome> = read_all(&self.0.join("unpacked"))?;
        let failed: Vec<RecipeOutcome> = read_all(&self.0.join("failed"))?;
        Ok(unpacked.into_iter().chain(failed).map(|outcome| (outcome.name.clone(), outcome)).collect())
    }

    /// Recipes that a run took from a folder instead of fetching them (EXTERNALSRC), by name.
    ///
    /// # Errors
    /// Files that are not what the class writes.
    pub fn external_sources(&self) -> Result<BTreeMap<String, PathBuf>> {
        let found: Vec<ExternalSource> = read_all(&self.0.join("external"))?;
        Ok(found.into_iter().map(|source| (source.name, source.folder)).collect())
    }

    /// As [`DiscoveryDir::begin_discovery`], for a run in which recipes that were read from one of these files, or from below one of these
    /// directories, are parsed again, and say what they fetch.
    ///
    /// # Errors
    /// As [`DiscoveryDir::begin`].
    pub fn begin_again(topdir: &Path, changed: &[PathBuf]) -> Result<DiscoveryDir> {
        let discovery = DiscoveryDir::begin_discovery(topdir)?;
        disk::replace(&discovery.0.join("reread"), lines(changed).as_bytes())?;
        Ok(discovery)
    }

    /// Has the next run parse only the recipes that the changed files are, or are appended to, and these. Returns the
    /// arguments for the Python that runs BitBake, with the BitBake in this directory.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn ask_recipes(&self, engine: &Path, topdir: &Path, recipes: &[PathBuf]) -> Result<[PathBuf; 3]> {
        let program = self.0.join("recipes.py");
        disk::replace(&program, RECIPES.as_bytes())?;
        disk::replace(&self.0.join("ask"), lines(recipes).as_bytes())?;
        Ok([program, engine.join("lib"), topdir.to_owned()])
    }

    /// The recipes that were asked alone; `None` where that failed.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn asked_recipes(&self) -> Result<Option<Vec<PathBuf>>> {
        let path = self.0.join("asked");
        if !path.exists() {
            return Ok(None);
        }
        let text = disk::read_text(&path, "the list of recipes that were asked", bounds::DISCOVERY_FILE)?;
        Ok(Some(text.lines().map(PathBuf::from).collect()))
    }

    /// What recipes say that were parsed again: only these, or all that BitBake's cache does not have.
    ///
    /// # Errors
    /// Files that are not what the class writes.
    pub fn reparse(&self, only: Option<Vec<PathBuf>>) -> Result<Reparse> {
        Ok(Reparse {
            only,
            recipes: read_all(&self.0.join("reparsed"))?,
            floating: read_all(&self.0.join("floating"))?,
            external: read_all(&self.0.join("external"))?,
            readers: self.readers()?,
        })
    }

    fn readers(&self) -> Result<Readers> {
        Ok(Readers::of(read_all::<ReaderRecord>(&self.0.join("readers"))?))
    }

    /// What was found, once both runs are done.
    ///
    /// # Errors
    /// Files that are missing or are not what the class writes.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let graph = self.graph_directory().join(super::graph::FILE_NAME);
        Ok(Snapshot {
            recipes: by_name(read_all(&self.0.join("closure"))?),
            configurations: read_all(&self.0.join("configuration"))?,
            graph: Graph::read(&graph)?,
            floating: read_all(&self.0.join("floating"))?,
            external: read_all(&self.0.join("external"))?,
            readers: self.readers()?,
        })
    }

    /// What single recipes say that were asked by themselves: a report without a task graph, compared with the known one.
    ///
    /// # Errors
    /// Files that are not what the class writes.
    pub fn recipes(&self, known: &Snapshot) -> Result<DiscoveryReport> {
        report_on_records(by_name(read_all(&self.0.join("closure"))?), read_all(&self.0.join("floating"))?, known)
    }

    /// What recipes fetch whose do_fetch failed in this run, as far as they could say.
    ///
    /// # Errors
    /// Files that are not what the class writes.
    pub fn failed_fetches(&self) -> Result<Vec<Recipe>> {
        let failed: Vec<FailedTask> = read_all(&self.0.join("failed"))?;
        let records = failed.into_iter().filter(|failed| failed.task == "fetch").filter_map(|failed| failed.recipe);
        Ok(records.map(|recipe| recipe.with(&BTreeMap::new())).collect())
    }
}

/// The report on what was found.
///
/// # Errors
/// Records that are not what the class writes; recipes of the graph that the class did not see or the other way round, which
/// would be kbuild's fault.
pub fn report_on(snapshot: &Snapshot, targets: &[String]) -> Result<DiscoveryReport> {
    let found = snapshot.recipes.values().map(typed).collect::<Result<_>>()?;
    let configurations = snapshot.configurations.iter().map(typed).collect::<Result<_>>()?;
    let floating = snapshot.floating.iter().map(typed).collect::<Result<_>>()?;
    let mut report = report(found, floating, configurations, &snapshot.graph, targets)?;
    for external in &snapshot.external {
        let ExternalSource { name, folder } = typed(external)?;
        let folder = folder.display();
        report.notes.push(format!("The recipe {name} is built from {folder} (EXTERNALSRC), which no lock pins"));
    }
    Ok(report)
}

/// The recipes that targets need by the task graph, themselves included; `None` where a target is no recipe of it.
///
/// # Errors
/// Records that are not what the class writes.
pub fn needed_by(snapshot: &Snapshot, targets: &[String]) -> Result<Option<BTreeSet<String>>> {
    let found: Vec<RecipeRecord> = snapshot.recipes.values().map(typed).collect::<Result<_>>()?;
    let each = targets.iter().map(|target| target_recipes(std::slice::from_ref(target), &found));
    let each: Vec<BTreeSet<String>> = each.collect();
    if each.iter().any(BTreeSet::is_empty) {
        return Ok(None);
    }
    Ok(Some(snapshot.graph.needed_by(each.into_iter().flatten())))
}

/// What these recipes say that were parsed alone, compared with the known ones; `None` where one of them said nothing.
///
/// # Errors
/// Records that are not what the class writes.
pub fn report_on_recipes(reparse: Reparse, names: &[String], known: &Snapshot) -> Result<Option<DiscoveryReport>> {
    let mut records = by_name(reparse.recipes);
    records.retain(|name, record| names.contains(name) && record.get("error").is_none());
    if records.len() < names.len() {
        return Ok(None);
    }
    let floating = reparse.floating.iter().map(typed).collect::<Result<_>>()?;
    report_on_records(records, floating, known).map(Some)
}

/// A report without a task graph.
fn report_on_records(
    records: BTreeMap<String, Value>,
    floating: Vec<FloatingFile>,
    known: &Snapshot,
) -> Result<DiscoveryReport> {
    let found = records.values().map(typed).collect::<Result<_>>()?;
    let mut report = report(found, floating, Vec::new(), &Graph::of_recipes(records.keys().cloned()), &[])?;
    for recipe in &mut report.recipes {
        recipe.same_graph = records.get(&recipe.name).is_some_and(|record| known.has_the_graph_of(record));
    }
    Ok(report)
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("{}\n", path.display())).collect()
}

fn by_name(records: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |record: &Value| record.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    records.into_iter().map(|record| (name(&record), record)).collect()
}

fn typed<T: DeserializeOwned>(record: &Value) -> Result<T> {
    T::deserialize(record).map_err(|error| Error::bug("kbuild's class writes something else").because(error))
}

fn read_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>> {
    let mut paths = disk::list(directory)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut left = bounds::DISCOVERY;
    paths.iter().map(|path| read(path, &mut left)).collect()
}

/// Reads a file, and counts its bytes off from what may still come: layers write the class's words with it.
fn read<T: DeserializeOwned>(path: &Path, left: &mut u64) -> Result<T> {
    let text = disk::read_text(path, "what BitBake says of a recipe", bounds::DISCOVERY_FILE.min(*left))?;
    *left = left.saturating_sub(text.len() as u64);
    serde_json::from_str(&text)
        .map_err(|error| Error::bug(format!("{} is not what kbuild's class writes", path.display())).because(error))
}

fn report(
    found: Vec<RecipeRecord>,
    floating: Vec<FloatingFile>,
    configurations: Vec<ConfigurationRecord>,
    graph: &Graph,
    targets: &[String],
) -> Result<DiscoveryReport> {
    compare(&found, graph)?;
    let wanted_by = graph.wanted_by(&target_recipes(targets, &found), &own_words(&found));
    let mut report = DiscoveryReport::default();
    let proxies: BTreeSet<String> = found.iter().filter_map(|recipe| recipe.go_proxy.clone()).collect();
    if proxies.len() > 1 {
        let list: Vec<&str> = proxies.iter().map(String::as_str).collect();
        report.notes.push(format!("Recipes name more than one Go module proxy: {}", list.join(", ")));
    }
    report.go_proxy = proxies.into_iter().next();
    report.recipes = found.into_iter().map(|recipe| recipe.with(&wanted_by)).collect();
    report.recipes.sort_by(|a, b| a.name.cmp(&b.name));
    for FloatingRepository { kind, floating } in floating.into_iter().flat_map(|file| file.floating) {
        // kbuild can tell where a ref stands in git only.
        if matches!(kind.as_str(), "git" | "gitsm" | "gomodgit" | "gitannex") {
            report.floating.push(floating);
        } else {
            report.notes.push(format!(
                "The recipe {} ({} in {}) names no revision of {}, which kbuild cannot follow: it can be parsed, not built",
                floating.recipe, floating.file, floating.layer, floating.url
            ));
        }
    }
    report.floating.sort();
    report.floating.dedup();
    configurations.into_iter().for_each(|configuration| configuration.add_to(&mut report));
    report.notes.sort();
    report.notes.dedup();
    Ok(report)
}

/// Checks that the class saw the recipes of BitBake's own graph. If not, one of the two is wrong.
fn compare(found: &[RecipeRecord], graph: &Graph) -> Result<()> {
    let class: BTreeSet<&str> = found.iter().map(|recipe| recipe.name.as_str()).collect();
    let graph: BTreeSet<&str> = graph.recipes().collect();
    if class == graph && !class.is_empty() {
        return Ok(());
    }
    let list = |names: Vec<&&str>| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.iter().map(|name| **name).collect::<Vec<_>>().join(" "),
    };
    Err(Error::bug(format!(
        "BitBake's graph and kbuild's class do not name the same recipes\n  only in the graph: {}\n  only seen by the class: {}",
        list(graph.difference(&class).collect()),
        list(class.difference(&graph).collect()),
    )))
}

/// The recipes that targets (`pn`, `virtual/x`, `mc:y:pn`, `pn:do_task`) stand for.
fn target_recipes(targets: &[String], found: &[RecipeRecord]) -> BTreeSet<String> {
    let mut recipes = BTreeSet::new();
    for target in targets {
        let target = target.split_once(":do_").map_or(target.as_str(), |(name, _)| name);
        let (context, name) = match target.strip_prefix("mc:").or(target.strip_prefix("multiconfig:")) {
            Some(rest) => rest.split_once(':').unwrap_or(("", rest)),
            None => ("", target),
        };
        let inside = found.iter().filter_map(|recipe| {
            let (own, pn) = split_context(&recipe.name);
            (context == "*" || context == own).then_some((recipe, pn))
        });
        let (named, others): (Vec<_>, Vec<_>) = inside.partition(|(_, pn)| *pn == name);
        let providers = others.into_iter().filter(|(recipe, _)| recipe.provides.contains(name)).collect();
        let chosen: Vec<_> = if named.is_empty() { providers } else { named };
        recipes.extend(chosen.into_iter().map(|(recipe, _)| recipe.name.clone()));
    }
    recipes
}

/// The recipes that each recipe itself names: DEPENDS, RDEPENDS and similar. The task graph has more: an image's
/// tasks depend on everything that its recipes need, directly or not.
fn own_words(found: &[RecipeRecord]) -> BTreeMap<String, BTreeSet<String>> {
    let mut providers: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut packages: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for recipe in found {
        let (context, pn) = split_context(&recipe.name);
        for name in recipe.provides.iter().chain([pn]) {
            providers.entry((context, name)).or_default().push(&recipe.name);
        }
        for name in recipe.packages.iter() {
            packages.entry((context, name)).or_default().push(&recipe.name);
        }
    }
    let asked = |recipe: &RecipeRecord| {
        let (context, _) = split_context(&recipe.name);
        let needs = recipe.needs.iter().filter_map(|name| providers.get(&(context, name)));
        let wants = recipe.wants.iter().filter_map(|name| packages.get(&(context, name)));
        needs.chain(wants).flatten().map(|name| (*name).to_owned()).collect()
    };
    found.iter().map(|recipe| (recipe.name.clone(), asked(recipe))).collect()
}

/// `mc:NAME:PN` as multiconfig and PN; the multiconfig is empty for the default.
fn split_context(name: &str) -> (&str, &str) {
    name.strip_prefix("mc:").and_then(|rest| rest.split_once(':')).unwrap_or(("", name))
}

impl RecipeRecord {
    fn with(self, wanted_by: &BTreeMap<String, Option<String>>) -> Recipe {
        Recipe {
            wanted_by: wanted_by.get(&self.name).cloned().flatten(),
            name: self.name,
            version: self.version,
            license: self.license,
            layer: self.layer,
            file: self.file,
            fetches: self.fetches,
            problems: self.problems,
            read: self.read,
            same_graph: false,
        }
    }
}

impl ConfigurationRecord {
    fn add_to(self, report: &mut DiscoveryReport) {
        match self.uninative {
            None => {}
            Some(Uninative { url, file, local, checksum: Some(sha256) }) => {
                let fetch = Fetch {
                    kind: url.split("://").next().unwrap_or_default().to_owned(),
                    written: format!("{url};sha256sum={sha256}"),
                    url,
                    local: Some(local).filter(|local| *local != file),
                    file: Some(file),
                    sums: [("sha256".to_owned(), sha256)].into(),
                    git: None,
                    place: None,
                    unchecked: None,
                };
                if !report.extra.contains(&fetch) {
                    report.extra.push(fetch);
                }
            }
            Some(Uninative { checksum: None, .. }) => report.notes.push(format!(
                "uninative is switched off: the distribution has no UNINATIVE_CHECKSUM for {}",
                self.build_arch
            )),
        }
        if self.cve_check {
            report.notes.push(
                "cve-check is inherited, and its database changes daily: no lock can hold it, so builds do not update it"
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(name: &str, provides: &[&str]) -> RecipeRecord {
        RecipeRecord {
            name: name.to_owned(),
            version: "1".to_owned(),
            license: "MIT".to_owned(),
            layer: "core".to_owned(),
            file: format!("{name}.bb"),
            provides: provides.iter().map(|name| (*name).to_owned()).collect(),
            needs: NameList::default(),
            packages: NameList::default(),
            wants: NameList::default(),
            go_proxy: None,
            fetches: Vec::new(),
            problems: Vec::new(),
            read: Vec::new(),
        }
    }

    fn names(targets: &[&str], found: &[RecipeRecord]) -> Vec<String> {
        let targets: Vec<String> = targets.iter().map(|name| (*name).to_owned()).collect();
        target_recipes(&targets, found).into_iter().collect()
    }

    #[test]
    fn what_bitbake_says_has_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, size: u64| {
            let file = fs::File::create(directory.path().join(name)).unwrap();
            file.set_len(size).unwrap();
        };
        file("a.json", bounds::DISCOVERY_FILE + 1);
        let error = read_all::<RecipeOutcome>(directory.path()).unwrap_err();
        assert!(error.to_string().contains("a.json is longer than 4194304 bytes"), "{error}");
        let text = r#"{"name":"x","task":"fetch","error":null}"#;
        fs::write(directory.path().join("a.json"), text).unwrap();
        let (path, mut left) = (directory.path().join("a.json"), text.len() as u64);
        assert_eq!(read::<RecipeOutcome>(&path, &mut left).unwrap().name, "x");
        assert_eq!(left, 0, "all of them together have a limit too");
        assert!(read::<RecipeOutcome>(&path, &mut left).is_err());
    }

    #[test]
    fn targets_stand_for_recipes() {
        let all = [
            found("linux", &["linux", "virtual/kernel"]),
            found("mc:b:linux", &["linux", "virtual/kernel"]),
            found("image", &["image"]),
        ];
        assert_eq!(names(&["image", "virtual/kernel:do_deploy"], &all), ["image", "linux"]);
        assert_eq!(names(&["mc:b:linux"], &all), ["mc:b:linux"]);
        assert_eq!(names(&["mc:*:virtual/kernel"], &all), ["linux", "mc:b:linux"]);
        assert!(names(&["world"], &all).is_empty());
    }

    #[test]
    fn a_graph_with_other_recipes_is_a_fault() {
        let graph = Graph::parse("\"a.do_x\" -> \"b.do_x\"");
        let error = report(vec![found("a", &[]), found("c", &[])], vec![], vec![], &graph, &[]).unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Bug);
        assert!(error.to_string().ends_with("only in the graph: b\n  only seen by the class: c"), "{error}");
    }

    #[test]
    fn what_floats_outside_of_git_is_said_and_not_pinned() {
        let graph = Graph::parse("\"a.do_x\" -> \"a.do_y\"");
        let text = r#"{"floating": [
            {"kind": "git", "recipe": "x", "variable": "SRCREV", "url": "https://h/x", "branch": "main", "tag": null,
             "file": "x.bb", "layer": "l"},
            {"kind": "svn", "recipe": "y", "variable": "SRCREV", "url": "svn://h/y", "branch": null, "tag": null,
             "file": "y.bb", "layer": "l"}]}"#;
        let configuration = r#"{"build_arch": "riscv64", "cve_check": true,
            "uninative": {"url": "http://h/t.xz", "file": "t.xz", "local": "uninative/aa/t.xz", "checksum": null}}"#;
        let report = report(
            vec![found("a", &[])],
            vec![serde_json::from_str(text).unwrap()],
            vec![serde_json::from_str(configuration).unwrap()],
            &graph,
            &["a".to_owned()],
        );
        let report = report.unwrap();
        assert_eq!(report.floating.len(), 1);
        assert_eq!(report.floating[0].branch.as_deref(), Some("main"));
        assert_eq!(report.notes.len(), 3, "{:?}", report.notes);
        let drifts = |note: &String| note.contains("names no revision of svn://h/y");
        assert_eq!(report.notes.iter().filter(|note| drifts(note)).count(), 1, "{:?}", report.notes);
        assert!(report.extra.is_empty());
    }
}
