//! Layers on disk, and the files of them that BitBake reads.

use std::fs;
use std::path::{Path, PathBuf};

use super::metadata::{self, Statement};
use crate::error::{Error, Result};

/// A BitBake layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedLayer {
    /// Its collection (BBFILE_COLLECTIONS), or the name of its folder.
    pub name: String,
    /// Where its `conf/layer.conf` is below.
    pub directory: PathBuf,
}

/// What a file is to BitBake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    Recipe,
    Append,
    Include,
    Class,
    Conf,
}

/// A file of a layer, read.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Index of its layer.
    pub(super) layer: usize,
    pub(super) path: PathBuf,
    pub(super) file_type: FileType,
    pub(super) text: String,
    pub(super) statements: Vec<Statement>,
}

/// The layers at and below some directories, each once: a layer is a directory with `conf/layer.conf`.
///
/// # Errors
/// A directory that cannot be read, or that holds no layer.
pub fn find(paths: &[PathBuf]) -> Result<Vec<AuditedLayer>> {
    let mut layers: Vec<AuditedLayer> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            return Err(Error::NoDirectory(path.clone()));
        }
        let before = layers.len();
        let mut seen = false;
        walk(path, &mut |directory, _| {
            if directory.join("conf/layer.conf").is_file() {
                seen = true;
                if layers.iter().all(|layer| layer.directory != directory) {
                    layers.push(AuditedLayer { name: name(directory), directory: directory.to_owned() });
                }
            }
        })?;
        layers[before..].sort_by(|a, b| a.directory.cmp(&b.directory));
        if !seen {
            return Err(Error::NoLayer(path.clone()));
        }
    }
    Ok(layers)
}

/// Calls `visit` with every directory and its regular files, in no order. Hidden directories and links to directories are
/// passed over.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path, &[PathBuf])) -> Result<()> {
    let failed = |error| Error::read(directory, error);
    let mut files = Vec::new();
    let mut directories = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let file_type = entry.file_type().map_err(failed)?;
        if file_type.is_dir() && !hidden {
            directories.push(entry.path());
        } else if file_type.is_file() {
            files.push(entry.path());
        }
    }
    visit(directory, &files);
    directories.iter().try_for_each(|directory| walk(directory, visit))
}

fn name(directory: &Path) -> String {
    let text = fs::read(directory.join("conf/layer.conf")).unwrap_or_default();
    let statements = metadata::read(&String::from_utf8_lossy(&text));
    let mut collections = statements.iter().filter_map(|statement| match statement {
        Statement::Assignment(a) if metadata::base_name(&a.name) == "BBFILE_COLLECTIONS" => {
            a.value.text.split_whitespace().next()
        }
        _ => None,
    });
    let folder = || directory.file_name().map(|name| name.to_string_lossy().into_owned());
    collections.next_back().map(str::to_owned).or_else(folder).unwrap_or_default()
}

/// The paths of all files that BitBake reads in these layers, each under the innermost layer that contains it, sorted.
pub(super) fn files(layers: &[AuditedLayer]) -> Result<Vec<(usize, PathBuf, FileType)>> {
    let mut found = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let inner: Vec<&AuditedLayer> = layers
            .iter()
            .filter(|other| other.directory != layer.directory && other.directory.starts_with(&layer.directory))
            .collect();
        walk(&layer.directory, &mut |directory, files| {
            if !inner.iter().any(|other| directory.starts_with(&other.directory)) {
                let typed = files.iter().filter_map(|path| Some((index, path.clone(), file_type(path)?)));
                found.extend(typed);
            }
        })?;
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found.dedup_by(|a, b| a.1 == b.1);
    Ok(found)
}

fn file_type(path: &Path) -> Option<FileType> {
    match path.extension()?.to_str()? {
        "bb" => Some(FileType::Recipe),
        "bbappend" => Some(FileType::Append),
        "inc" => Some(FileType::Include),
        "bbclass" => Some(FileType::Class),
        "conf" => Some(FileType::Conf),
        _ => None,
    }
}

/// Reads a file. Text that is not UTF-8, as old layers have it, is read with replacement characters.
pub(super) fn read((layer, path, file_type): (usize, PathBuf, FileType)) -> Result<SourceFile> {
    let bytes = fs::read(&path).map_err(|error| Error::read(&path, error))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let statements = metadata::read(&text);
    Ok(SourceFile { layer, path, file_type, text, statements })
}

impl SourceFile {
    /// The name before the extension.
    pub(super) fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// PN and PV as BitBake takes them from a recipe's file name (`bb.parse.vars_from_file`): separated by underscores.
    pub(super) fn name_and_version(&self) -> (&str, Option<&str>) {
        let mut parts = self.stem().split('_');
        (parts.next().unwrap_or_default(), parts.next())
    }

    /// What findings in this file alone are filed under: the recipe, else the file's own name.
    pub(super) fn recipe(&self) -> &str {
        match self.file_type {
            FileType::Recipe | FileType::Append => self.name_and_version().0,
            _ => self.stem(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn layers_in_layers_and_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "a/conf/layer.conf", "BBFILE_COLLECTIONS += \"alpha\"\n");
        write(root, "a/recipes/x/x_1.bb", "");
        write(root, "a/nested/conf/layer.conf", "");
        write(root, "a/nested/y.inc", "");
        write(root, "a/.git/z.bb", "");
        write(root, "b/no-layer.bb", "");
        let layers = find(&[root.to_owned()]).unwrap();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["alpha", "nested"]);
        let files = files(&layers).unwrap();
        let names: Vec<_> =
            files.iter().map(|(at, path, _)| (*at, path.file_name().unwrap().to_str().unwrap())).collect();
        assert_eq!(names, [(0, "layer.conf"), (1, "layer.conf"), (1, "y.inc"), (0, "x_1.bb")]);
        assert!(find(&[root.join("b")]).unwrap_err().to_string().contains("no BitBake layer"));
        assert!(find(&[root.join("gone")]).unwrap_err().to_string().contains("not a directory"));
    }
}
