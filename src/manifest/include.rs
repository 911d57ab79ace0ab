//! `include`: a manifest that is made of several files of the project.
//!
//! Tables are joined key by key. What an included file says comes first, in the order of the list; the file that includes it wins.
//! `[[…]]` blocks are added to. The result is read as one manifest, so that no check knows of files: places are counted through
//! all texts, one behind the other ([`Texts`]), and told with the file that they are in.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use toml_edit::{Entry, Item, Table, TableLike};

use super::diagnostics::{Diagnostics, Texts};
use super::raw::{At, RawInclude, RawText};
use super::{Layer, LayerFile, LayerOrigin, document, names, project_file};
use crate::bounds;
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::source::include::{IncludedTexts, include_key};

/// The key, at the top of a file.
const INCLUDE: &str = "include";

/// The key that only the manifest itself has.
const PROJECT: &str = "project";

/// A manifest with all that it includes.
pub(super) struct Composed {
    /// All tables, joined.
    pub(super) table: Table,
    /// The texts that places in it are counted through, the manifest's own first.
    pub(super) texts: Texts,
    /// The included files, relative to the manifest, in the order in which they are read.
    pub(super) files: Vec<PathBuf>,
    /// The included files of layers.
    pub(super) layer_files: Vec<At<LayerFile>>,
}

/// Reads what a manifest includes. `path` is the manifest's, and paths in all files are relative to its directory. `known` has the
/// texts of layers' files; `None`: these are passed over.
///
/// # Errors
/// A file is no TOML, or the text of a layer's file is not known (kind `Stale`). What is wrong with `include` itself goes to
/// `diagnostics`.
pub(super) fn compose(
    path: &Path,
    text: &str,
    known: Option<&IncludedTexts>,
    diagnostics: &mut Diagnostics,
) -> Result<Composed> {
    let root = path.parent().unwrap_or(Path::new("/"));
    let (texts, files, layer_files, within) = (Texts::default(), Vec::new(), Vec::new(), Vec::new());
    let mut reading = Reading { root, known, texts, files, layer_files, within, diagnostics };
    let table = reading.file(path, text)?;
    Ok(Composed { table, texts: reading.texts, files: reading.files, layer_files: reading.layer_files })
}

struct Reading<'a> {
    root: &'a Path,
    known: Option<&'a IncludedTexts>,
    texts: Texts,
    files: Vec<PathBuf>,
    layer_files: Vec<At<LayerFile>>,
    /// The included files that are being read, outermost first.
    within: Vec<PathBuf>,
    diagnostics: &'a mut Diagnostics,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, text: &str) -> Result<Table> {
        document::parse(path, text)?;
        // Read again with the lengths of the texts before it in front, so that its places are told from theirs.
        let start = self.texts.add(path, text);
        let own = document::parse(path, &format!("{}{text}", "\n".repeat(start)))?;
        let includes: Vec<At<RawInclude>> = document::top(&own, INCLUDE, self.diagnostics).unwrap_or_default();
        let mut joined = Table::new();
        for include in includes {
            let table = match &include.value {
                RawInclude::File(name) => self.included(&include.with(name.clone()))?,
                RawInclude::OfLayer { layer, file } => self.of_layer(&include.with(()), layer, file)?,
            };
            if let Some(table) = table {
                join(&mut joined, &table);
            }
        }
        join(&mut joined, &own);
        Ok(joined)
    }

    /// An included file; `None` where it is read already, or cannot be.
    fn included(&mut self, name: &RawText) -> Result<Option<Table>> {
        let place = project_file::place(name, self.root, "file to include");
        let Some(place) = self.diagnostics.take(place) else { return Ok(None) };
        if self.within.contains(&place) {
            let fault = Error::input(format!("`{}` includes itself", place.display()));
            self.diagnostics.add(fault.at(name.span.clone(), "again here").help("remove one of the two"));
            return Ok(None);
        }
        if self.files.contains(&place) {
            return Ok(None);
        }
        let bytes = project_file::read(name, self.root, "file to include", bounds::MANIFEST);
        let text = bytes.and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|_| Error::input("a file to include is not text in UTF-8").at(name.span.clone(), "this file"))
        });
        let Some(text) = self.diagnostics.take(text) else { return Ok(None) };
        self.files.push(place.clone());
        self.within.push(place.clone());
        let mut table = self.file(&self.root.join(&place), &text)?;
        self.within.pop();
        self.without_project(&mut table);
        table.remove(INCLUDE);
        Ok(Some(table))
    }

    /// A file of a layer: as the lock has it. It includes nothing itself.
    fn of_layer(&mut self, at: &At<()>, layer: &str, file: &str) -> Result<Option<Table>> {
        if self.diagnostics.take(check_path(at, file)).is_none() {
            return Ok(None);
        }
        let found = at.with(LayerFile { layer: layer.to_owned(), file: file.to_owned() });
        if self.layer_files.contains(&found) {
            return Ok(None);
        }
        self.layer_files.push(found);
        let Some(known) = self.known else { return Ok(None) };
        let Some(included) = known.get(&include_key(layer, file)) else {
            let message = format!("{LOCK} does not have `{file}` of the layer `{layer}`, which {MANIFEST} includes");
            return Err(Error::new(Kind::Stale, message).help("run `kbuild lock`"));
        };
        let shown = PathBuf::from(format!("{layer}/{file}"));
        document::parse(&shown, &included.text)?;
        let start = self.texts.add(&shown, &included.text);
        let mut table = document::parse(&shown, &format!("{}{}", "\n".repeat(start), included.text))?;
        self.without_project(&mut table);
        if let Some((key, _)) = table.get_key_value(INCLUDE) {
            let fault = Error::input("an included file of a layer includes nothing itself");
            let help = "include what it needs from the project";
            self.diagnostics.add(fault.at(key.span().unwrap_or_default(), "here").help(help));
            table.remove(INCLUDE);
        }
        Ok(Some(table))
    }

    /// Only the manifest itself is of a project.
    fn without_project(&mut self, table: &mut Table) {
        if let Some((key, _)) = table.get_key_value(PROJECT) {
            let fault = Error::input("an included file has no [project]").at(key.span().unwrap_or_default(), "here");
            self.diagnostics.add(fault.help("move it to the manifest; configuration that several share is a fragment"));
            table.remove(PROJECT);
        }
    }
}

/// Reports files of layers that are no repositories of the project's own files.
pub(super) fn check_layers(files: &[At<LayerFile>], layers: &IndexMap<String, Layer>, diagnostics: &mut Diagnostics) {
    for file in files {
        let name = &file.layer;
        let fault = match layers.get(name).map(|layer| &layer.origin) {
            Some(LayerOrigin::Git(_)) => continue,
            Some(LayerOrigin::Path(path)) => {
                let fault =
                    Error::input(format!("the layer `{name}` is a folder, and its files are included by their path"));
                fault.help(format!("write `include = [\"{}/{}\"]`", path.display(), file.file))
            }
            None => {
                let fault = Error::input(format!("`include` names an unknown layer `{}`", name.escape_debug()));
                fault.help(names::suggest("layers", name, layers.keys().map(String::as_str)))
            }
        };
        diagnostics.add(fault.at(file.span.clone(), "of this layer"));
    }
}

/// A path in a layer that the lock can name.
fn check_path(at: &At<()>, file: &str) -> Result<()> {
    let bad = |part: &str| matches!(part, "" | "." | "..");
    if !file.split('/').any(bad) && !file.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::input("a file of a layer must be a path inside it").at(at.span.clone(), "this path"))
}

/// Adds a table to another one, key by key: what is added wins.
fn join(into: &mut dyn TableLike, own: &dyn TableLike) {
    for (name, item) in own.iter() {
        let Some(key) = own.key(name) else { continue };
        match into.entry_format(key) {
            Entry::Vacant(vacant) => drop(vacant.insert(item.clone())),
            Entry::Occupied(mut there) => match (there.get_mut(), item) {
                (Item::ArrayOfTables(blocks), Item::ArrayOfTables(more)) => blocks.extend(more.iter().cloned()),
                (old, new) => match (old.as_table_like_mut(), new.as_table_like()) {
                    (Some(old), Some(new)) => join(old, new),
                    _ => *old = new.clone(),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Manifest;
    use crate::error::{Error, Result};

    /// Reads a manifest with these further files.
    fn read(files: &[(&str, &str)]) -> Result<Manifest> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(directory.path().join("layers/a/conf")).unwrap();
        Manifest::read(&directory.path().join("kbuild.toml"))
    }

    fn shown(error: &Error) -> String {
        let mut shown = String::new();
        let theme = miette::GraphicalTheme::unicode_nocolor();
        miette::GraphicalReportHandler::new_themed(theme).render_report(&mut shown, error).unwrap();
        shown
    }

    const BOARD: &str = "[boards.b]\nmachine = \"m\"\nlayers = [\"a\"]\ntargets = [\"t\"]\n[boards.b.config]\nONE = \"1\"\nTWO = \"2\"\n";

    #[test]
    fn what_a_file_says_wins_over_what_it_includes_key_by_key() {
        let manifest = read(&[
            (
                "kbuild.toml",
                "include = [\"parts/b.toml\", \"parts/rules.toml\"]\n[project]\nname = \"p\"\nengine = \"a\"\n\
                 [boards.b]\ntargets = [\"u\"]\n[boards.b.config]\nTWO = \"3\"\n[[audit.allow]]\nrule = \"y\"\nlayer = \"z\"\nwhy = \"because\"\n",
            ),
            ("parts/b.toml", &format!("include = [\"parts/layers.toml\"]\n{BOARD}")),
            ("parts/layers.toml", "[layers.a]\npath = \"layers/a\"\n"),
            ("parts/rules.toml", "include = [\"parts/layers.toml\"]\n[[audit.allow]]\nrule = \"x\"\nlayer = \"z\"\nwhy = \"because\"\n"),
        ])
        .unwrap_or_else(|error| panic!("{}", shown(&error)));
        let parts = &manifest.boards["b"].parts;
        assert_eq!((parts.targets.as_slice(), parts.layers.as_slice()), (&["u".to_owned()][..], &["a".to_owned()][..]));
        assert_eq!((parts.config["ONE"].as_str(), parts.config["TWO"].as_str()), ("1", "3"));
        let rules: Vec<&str> = manifest.allowed_findings.iter().map(|allowed| allowed.rule.as_str()).collect();
        assert_eq!(rules, ["x", "y"], "blocks of a list are added");
        let files: Vec<_> = manifest.included.iter().map(|file| file.display().to_string()).collect();
        assert_eq!(files, ["parts/b.toml", "parts/layers.toml", "parts/rules.toml"], "each once");
    }

    #[test]
    fn a_fault_is_told_with_the_file_that_it_is_in() {
        let error = read(&[
            ("kbuild.toml", "include = [\"x.toml\"]\n[project]\nname = \"p\"\n[layers.a]\npath = \"layers/b\"\n"),
            ("x.toml", "# a comment\n\n[boards.b]\nmachine = \"m\"\nlayers = [\"a\"]\ntarget = [\"t\"]\n"),
        ])
        .unwrap_err();
        let shown = shown(&error);
        for place in ["kbuild.toml:5:8", "x.toml:6:1", "3 faults"] {
            assert!(shown.contains(place), "no {place} in\n{shown}");
        }
    }

    #[test]
    fn what_cannot_be_included_is_refused() {
        let project = "[project]\nname = \"p\"\n";
        for (include, file, why) in [
            ("x.toml", "[project]\nname = \"q\"\n", "an included file has no [project]"),
            ("x.toml", "include = [\"x.toml\"]\n", "`x.toml` includes itself"),
            ("x.toml", "a = = b\n", "this is not valid TOML"),
            ("y.toml", "", "there is no file to include `y.toml`"),
            ("../x.toml", "", "must be inside the project"),
            ("x.toml", "includes = []\n", "unknown key `includes`"),
        ] {
            let manifest = format!("include = [\"{include}\"]\n{project}");
            let error = read(&[("kbuild.toml", &manifest), ("x.toml", file)]).unwrap_err();
            assert!(shown(&error).contains(why), "no {why} in\n{}", shown(&error));
        }
    }
}
