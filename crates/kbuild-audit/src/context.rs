//! A recipe with the files that belong to it: those it requires, the classes it inherits, its bbappends.
//!
//! They are found in the given layers. Where a required file is not in them, the context is incomplete, and what is
//! missing in it proves nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::layers::{AuditedLayer, FileType, SourceFile};
use super::metadata::{Assignment, Language, Statement, base_name, expansions, removes};

/// All files, by the names under which recipes ask for them.
pub(super) struct LayerIndex<'a> {
    files: &'a [SourceFile],
    layers: &'a [AuditedLayer],
    by_path: HashMap<PathBuf, usize>,
    classes: HashMap<&'a str, usize>,
    /// By the name before the version.
    appends: HashMap<&'a str, Vec<usize>>,
    /// Recipes whose revision some configuration sets: `SRCREV:pn-NAME`.
    pinned_by_conf: HashSet<&'a str>,
}

/// A recipe and what belongs to it, in BitBake's order.
pub(super) struct RecipeContext<'a> {
    pub(super) recipe: &'a SourceFile,
    /// Assignments without flags, with their files.
    pub(super) assignments: Vec<(&'a SourceFile, &'a Assignment)>,
    /// Assignments to `SRC_URI[…]`.
    pub(super) checksums: Vec<&'a Assignment>,
    /// Whether all that it requires was found.
    pub(super) complete: bool,
    /// Whether Python of its own may set revisions or checksums.
    pub(super) python_sets: bool,
    pub(super) pinned_by_conf: bool,
    values: BTreeMap<String, &'a str>,
    builtin: BTreeMap<&'static str, String>,
}

impl<'a> LayerIndex<'a> {
    pub(super) fn new(files: &'a [SourceFile], layers: &'a [AuditedLayer]) -> Self {
        let mut index = LayerIndex {
            files,
            layers,
            by_path: HashMap::new(),
            classes: HashMap::new(),
            appends: HashMap::new(),
            pinned_by_conf: HashSet::new(),
        };
        for (at, file) in files.iter().enumerate() {
            index.by_path.insert(file.path.clone(), at);
            match file.file_type {
                FileType::Class => {
                    index.classes.entry(file.stem()).or_insert(at);
                }
                FileType::Append => index.appends.entry(file.name_and_version().0).or_default().push(at),
                FileType::Conf | FileType::Include => index.pinned_by_conf.extend(pinned(file)),
                FileType::Recipe => {}
            }
        }
        index
    }

    /// Every recipe with its context, and every bbappend whose recipe is in none of the layers.
    pub(super) fn families(&'a self) -> impl Iterator<Item = &'a SourceFile> {
        let has_recipe: HashSet<usize> = self
            .files
            .iter()
            .filter(|file| file.file_type == FileType::Recipe)
            .flat_map(|recipe| self.appends_of(recipe))
            .collect();
        self.files.iter().enumerate().filter_map(move |(at, file)| match file.file_type {
            FileType::Recipe => Some(file),
            FileType::Append if !has_recipe.contains(&at) => Some(file),
            _ => None,
        })
    }

    fn appends_of(&self, recipe: &SourceFile) -> Vec<usize> {
        let stem = recipe.stem();
        let applies = |append: &str| match append.split_once('%') {
            Some((prefix, _)) => stem.starts_with(prefix),
            None => append == stem,
        };
        let appends = self.appends.get(recipe.name_and_version().0).into_iter().flatten().copied();
        appends.filter(|at| applies(self.files[*at].stem())).collect()
    }

    /// What belongs to a recipe.
    pub(super) fn context(&'a self, recipe: &'a SourceFile) -> RecipeContext<'a> {
        let mut context = RecipeContext {
            recipe,
            assignments: Vec::new(),
            checksums: Vec::new(),
            complete: recipe.file_type == FileType::Recipe,
            python_sets: false,
            pinned_by_conf: self.pinned_by_conf.contains(recipe.recipe()),
            values: BTreeMap::new(),
            builtin: builtin(recipe),
        };
        let mut seen = HashSet::new();
        self.add(recipe, &mut context, &mut seen);
        if recipe.file_type == FileType::Recipe {
            for append in self.appends_of(recipe) {
                self.add(&self.files[append], &mut context, &mut seen);
            }
        }
        context
    }

    fn add(&'a self, file: &'a SourceFile, context: &mut RecipeContext<'a>, seen: &mut HashSet<&'a Path>) {
        if !seen.insert(&file.path) {
            return;
        }
        for statement in &file.statements {
            match statement {
                Statement::Assignment(assignment) => context.assign(file, assignment),
                Statement::Function(function) => {
                    let text = &function.body.text;
                    context.python_sets |= function.language == Language::Python
                        && file.file_type != FileType::Class
                        && (text.contains("SRCREV") || text.contains("SRC_URI"))
                        && text.contains("setVar");
                }
                Statement::Include(paths) => {
                    for path in paths.text.split_whitespace() {
                        match self.resolve(&context.expand(path), file, context.recipe) {
                            Some(found) => self.add(found, context, seen),
                            None => context.complete = false,
                        }
                    }
                }
                Statement::Inherit(classes) => {
                    for class in classes.text.split_whitespace() {
                        if let Some(at) = self.classes.get(class) {
                            self.add(&self.files[*at], context, seen);
                        }
                    }
                }
            }
        }
    }

    /// The file of `require PATH`: beside the requiring file, beside the recipe, or from the top of a layer.
    fn resolve(&'a self, path: &str, from: &SourceFile, recipe: &SourceFile) -> Option<&'a SourceFile> {
        let beside = [from, recipe].into_iter().filter_map(|file| file.path.parent());
        let roots = beside.chain(self.layers.iter().map(|layer| layer.directory.as_path()));
        let at = roots.into_iter().find_map(|root| self.by_path.get(&normal(&root.join(path))))?;
        self.files.get(*at)
    }
}

/// Resolves `..` in a path as text, as BitBake does.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// Names of recipes that a configuration file pins, in both syntaxes.
fn pinned(file: &SourceFile) -> impl Iterator<Item = &str> {
    file.statements.iter().filter_map(|statement| match statement {
        Statement::Assignment(a) if a.name.starts_with("SRCREV") => {
            let (_, pn) = a.name.split_once("pn-")?;
            Some(pn.split(':').next().unwrap_or(pn))
        }
        _ => None,
    })
}

/// The variables that BitBake takes from a recipe's file name.
fn builtin(recipe: &SourceFile) -> BTreeMap<&'static str, String> {
    let (pn, pv) = recipe.name_and_version();
    let bpn = pn.trim_end_matches("-native").trim_end_matches("-cross").trim_start_matches("nativesdk-").to_owned();
    let pv = pv.unwrap_or("1.0").to_owned();
    BTreeMap::from([
        ("P", format!("{pn}-{pv}")),
        ("BP", format!("{bpn}-{pv}")),
        ("PN", pn.to_owned()),
        ("BPN", bpn),
        ("PV", pv),
    ])
}

impl<'a> RecipeContext<'a> {
    fn assign(&mut self, file: &'a SourceFile, assignment: &'a Assignment) {
        if assignment.flag.is_some() {
            if base_name(&assignment.name) == "SRC_URI" {
                self.checksums.push(assignment);
            }
            return;
        }
        if removes(&assignment.name) {
            return;
        }
        let replaces = matches!(assignment.operator.as_str(), "=" | ":=");
        let weak = matches!(assignment.operator.as_str(), "?=" | "??=");
        let known = self.values.contains_key(&assignment.name);
        if replaces || (weak && !known) {
            self.values.insert(assignment.name.clone(), &assignment.value.text);
        }
        if replaces {
            self.assignments.retain(|(_, earlier)| earlier.name != assignment.name);
        }
        self.assignments.push((file, assignment));
    }

    /// Expands the variables that are known; others are left as they are written.
    pub(super) fn expand(&self, text: &str) -> String {
        let mut expanded = text.to_owned();
        for _ in 0..6 {
            let next = self.expand_once(&expanded);
            if next == expanded || next.len() > 65_536 {
                break;
            }
            expanded = next;
        }
        expanded
    }

    fn expand_once(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for range in expansions(text) {
            let name = &text[range.start + 2..range.end - 1];
            let value = self.values.get(name).copied().or_else(|| self.builtin.get(name).map(String::as_str));
            out.push_str(&text[end..range.start]);
            out.push_str(value.unwrap_or(&text[range.clone()]));
            end = range.end;
        }
        out.push_str(&text[end..]);
        out
    }

    /// The assignments to a variable, overrides and all.
    pub(super) fn of(&self, variable: &str) -> impl Iterator<Item = (&'a SourceFile, &'a Assignment)> {
        self.assignments.iter().copied().filter(move |(_, assignment)| base_name(&assignment.name) == variable)
    }
}
