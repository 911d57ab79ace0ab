//! The files of a layer that BitBake reads while it parses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};
use crate::lock::FolderState;
use crate::source::Blake3;

/// Endings of recipes, classes and configuration, and of lists of packages (npm's shrinkwrap files). Patches and other
/// files beside a recipe decide what is built, not which recipes there are and what they fetch.
const EXTENSIONS: [&str; 7] = ["bb", "bbappend", "bbclass", "conf", "inc", "json", "py"];

/// Those of [`EXTENSIONS`] that are written in BitBake's own language.
const BITBAKE: [&str; 5] = ["bb", "bbappend", "bbclass", "conf", "inc"];

/// The first line of a function (`__func_start_regexp__` of bb.parse.parse_py.BBHandler).
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^((?:(?:python|fakeroot)\s+)*)([\w.\-+{}$:]*)\s*\(\s*\)\s*\{$")
        .expect("a constant expression compiles")
});

/// The metadata of a layer's directory: a hash over all of it, and one for each file over what decides what is fetched.
/// A symbolic link counts by where it points. Directories and files whose names begin with a dot are left out: BitBake's
/// `BBFILES` are patterns that do not match them (Python's `glob`), and editors and file managers leave such files about. So
/// are `own` directories of kbuild, which are in the layer where it is the project's root.
///
/// # Errors
/// A directory or file that cannot be read.
pub fn state_of(directory: &Path, own: &[PathBuf]) -> Result<FolderState> {
    let mut whole = blake3::Hasher::new();
    let mut files = BTreeMap::new();
    let walk = WalkDir::new(directory).min_depth(1).sort_by_file_name().into_iter();
    let left_out = |entry: &DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b".") || own.iter().any(|own| own == entry.path())
    };
    for entry in walk.filter_entry(|entry| !left_out(entry)) {
        let entry = entry.map_err(|error| Error::io("read", directory, error.into()))?;
        let extension = entry.path().extension().and_then(|found| EXTENSIONS.into_iter().find(|known| found == *known));
        let Some(extension) = extension.filter(|_| !entry.file_type().is_dir()) else { continue };
        let read = |error| Error::io("read", entry.path(), error);
        let (kind, bytes) = if entry.path_is_symlink() {
            let target = std::fs::read_link(entry.path()).map_err(read)?;
            ("link", target.into_os_string().into_encoded_bytes())
        } else {
            ("file", std::fs::read(entry.path()).map_err(read)?)
        };
        let path = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        let name = path.as_os_str().as_encoded_bytes();
        // Lengths before what they measure, so that no two layers give one text.
        for part in [name, kind.as_bytes(), &bytes] {
            whole.update(&(part.len() as u64).to_le_bytes());
            whole.update(part);
        }
        let meaning = match std::str::from_utf8(&bytes) {
            Ok(text) if kind == "file" && BITBAKE.contains(&extension) => meaning(text),
            _ => bytes,
        };
        files.insert(path.to_string_lossy().into_owned(), Blake3::of(&meaning));
    }
    Ok(FolderState { whole: (*whole.finalize().as_bytes()).into(), files })
}

/// A file in BitBake's language without what cannot change what is fetched: comments, empty lines, and the bodies of shell
/// functions and of tasks in Python, which run when BitBake has long decided what it fetches. What other functions in Python
/// do counts: expressions and anonymous functions call them while BitBake parses.
fn meaning(text: &str) -> Vec<u8> {
    /// Where a line is.
    #[derive(PartialEq)]
    enum Within {
        Nothing,
        /// A function whose body decides nothing.
        Body,
        Python,
    }
    // A line of a long string may look like a comment.
    let has_long_strings = text.contains("\"\"\"") || text.contains("'''");
    let mut within = Within::Nothing;
    let mut kept = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        let is_comment = line.starts_with('#') || (!has_long_strings && line.trim_start().starts_with('#'));
        match within {
            Within::Body if line == "}" => within = Within::Nothing,
            Within::Body => continue,
            Within::Python if line == "}" => within = Within::Nothing,
            Within::Python => {}
            Within::Nothing => {
                if let Some(found) = FUNCTION.captures(line) {
                    within = if is_body(&found[1], &found[2]) { Within::Body } else { Within::Python };
                }
            }
        }
        // Outside of functions only the first column makes a comment: elsewhere `#` is part of a value.
        let is_comment = if within == Within::Nothing { line.starts_with('#') } else { is_comment };
        if !line.is_empty() && !is_comment {
            kept.extend_from_slice(line.as_bytes());
            kept.push(b'\n');
        }
    }
    kept
}

/// Whether nothing of a function is run while BitBake parses: a shell function, or a task.
fn is_body(before: &str, name: &str) -> bool {
    // `python()` has no name.
    let is_python = before.contains("python") || name == "python";
    let is_task = name.starts_with("do_") || name.contains("_do_");
    !is_python || is_task
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_bitbake_parses_counts() {
        let layer = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(layer.path().join(name), text).unwrap();
        fs::create_dir(layer.path().join("conf")).unwrap();
        write("conf/layer.conf", "BBPATH .= \":${LAYERDIR}\"");
        write("a.bb", "x");
        let hash = |directory: &Path| state_of(directory, &[]).map(|state| state.whole);
        let first = hash(layer.path()).unwrap();
        write("README.md", "words");
        write("fix.patch", "words");
        assert_eq!(hash(layer.path()).unwrap(), first);
        write("a.bb", "y");
        assert_ne!(hash(layer.path()).unwrap(), first);
        write("a.bb", "x");
        write("b.inc", "");
        assert_ne!(hash(layer.path()).unwrap(), first);
        fs::remove_file(layer.path().join("b.inc")).unwrap();
        std::os::unix::fs::symlink("me@host.4711:123", layer.path().join(".#a.bb")).unwrap();
        write(".a.inc", "");
        assert_eq!(hash(layer.path()).unwrap(), first);
        assert!(hash(&layer.path().join("none")).is_err());
    }
    fn same(one: &str, other: &str) -> bool {
        meaning(one) == meaning(other)
    }

    #[test]
    fn comments_and_bodies_decide_nothing_that_is_fetched() {
        let recipe = "SRC_URI = \"https://h/a\"\n# one\n\ndo_install() {\n    install a\n    # x\n}\n\
                      fakeroot python do_x () {\n    bb.note(1)\n}\npython () {\n    d.setVar('A', '1')\n    # y\n}\n\
                      def f(d):\n    return 1\n";
        for (from, to) in [
            ("# one\n", ""),
            ("# one", "# two"),
            ("\n\n", "\n"),
            ("install a", "install b"),
            ("bb.note(1)", "bb.note(2)"),
            ("    # y\n", ""),
            ("\"\n#", "\"  \n#"),
        ] {
            assert!(recipe.contains(from) && same(recipe, &recipe.replacen(from, to, 1)), "{from:?}");
        }
        for (from, to) in [
            ("h/a", "h/b"),
            ("do_install", "do_compile"),
            ("setVar('A', '1')", "setVar('A', '2')"),
            ("return 1", "return 2"),
            ("python ()", "python f()"),
            ("\"https://h/a\"", "\"https://h/a \\\n # no comment \\\n\""),
        ] {
            assert!(recipe.contains(from) && !same(recipe, &recipe.replacen(from, to, 1)), "{from:?}");
        }
        // A string of many lines may have one that looks like a comment.
        let long = "python () {\n    d.setVar('A', \"\"\"\n    # a\n    \"\"\")\n}\n";
        assert!(!same(long, &long.replace("# a", "# b")));
        assert!(same("python do_a() {\n    1\n}\nA = \"1\"\n", "python do_a() {\n    2\n}\nA = \"1\"\n"));
        assert!(!same("python() {\n    1\n}\n", "python() {\n    2\n}\n"));
    }

    #[test]
    fn a_layer_that_is_the_projects_root_is_read_without_what_kbuild_writes() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
            fs::write(root.path().join(name), text).unwrap();
        };
        write("recipes/a.bb", "A = \"1\"\n");
        let state = || state_of(root.path(), &[root.path().join("build")]).unwrap();
        let first = state();
        assert_eq!(first.files.keys().collect::<Vec<_>>(), ["recipes/a.bb"]);
        write("build/lantern/conf/local.conf", "B = \"1\"\n");
        assert_eq!(state(), first);
        write("other/build/x.conf", "C = \"1\"\n");
        assert_eq!(state().files.len(), 2);
    }
}
