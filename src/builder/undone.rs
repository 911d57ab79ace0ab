//! Lines of layers and distributions that kbuild undoes, of those that say where shared state is: told, since their authors
//! would wait in vain for what they said. kbuild's class finds them (`kbuild_tell_of_undone`).

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::failure::plain;
use crate::bounds;
use crate::disk;
use crate::files::MANIFEST;
use crate::progress::Progress;

/// Where the class writes, inside TOPDIR: one file for each multiconfig.
const DIRECTORY: &str = "kbuild/undone";

/// How many of these files are read.
const CONFIGURATIONS: usize = 64;

/// How many lines are told of a variable.
const SHOWN: usize = 3;

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct UndoneLine {
    variable: String,
    /// Relative to its layer if it is in one; nothing where it could not be found.
    file: Option<String>,
    line: Option<u32>,
}

/// Warns of each variable that was undone. What cannot be read is left out: recipes can write where the class writes.
pub(super) fn tell(topdir: &Path, progress: &dyn Progress) {
    for of_one in lines_below(topdir).chunk_by(|a, b| a.variable == b.variable) {
        if let Some(warning) = warning(of_one) {
            progress.warn(&warning);
        }
    }
}

fn lines_below(topdir: &Path) -> Vec<UndoneLine> {
    let entries = fs::read_dir(topdir.join(DIRECTORY)).into_iter().flatten().flatten().take(CONFIGURATIONS);
    let texts = entries.filter_map(|entry| disk::read_regular(&entry.path(), bounds::UNDONE_FILE).ok());
    let mut lines: Vec<UndoneLine> =
        texts.filter_map(|text| serde_json::from_slice::<Vec<UndoneLine>>(&text).ok()).flatten().collect();
    lines.sort();
    lines.dedup();
    lines
}

fn warning(lines: &[UndoneLine]) -> Option<String> {
    let variable = lines.first()?.variable.as_str();
    let key = match variable {
        "SSTATE_DIR" => "dir",
        "SSTATE_MIRRORS" => "pull",
        "BB_HASHSERVE_UPSTREAM" => "hashserve",
        "PRSERV_UPSTREAM" => "prserve",
        _ => return None,
    };
    let place = |line: &UndoneLine| match (&line.file, line.line) {
        (Some(file), Some(line)) => Some(format!("{file}:{line}")),
        (Some(file), None) => Some(file.clone()),
        (None, _) => None,
    };
    let places: Vec<String> = lines.iter().filter_map(place).take(SHOWN).map(|place| plain(&place)).collect();
    let (who, sets) = match places.as_slice() {
        [] => ("a layer".to_owned(), "sets"),
        [place] => (place.clone(), "sets"),
        places => (places.join(", "), "set"),
    };
    Some(format!("{who} {sets} {variable}, which has no effect: kbuild sets it from `{key}` in [cache] of {MANIFEST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_lines_that_is_too_long_is_left_out() {
        let topdir = tempfile::tempdir().unwrap();
        let directory = topdir.path().join(DIRECTORY);
        fs::create_dir_all(&directory).unwrap();
        let line = r#"[{"variable": "SSTATE_DIR", "file": null, "line": null}]"#;
        let most = usize::try_from(bounds::UNDONE_FILE).unwrap();
        let padded = |length: usize| format!("{line}{}", " ".repeat(length - line.len()));
        fs::write(directory.join("long"), padded(most + 1)).unwrap();
        std::os::unix::fs::symlink(directory.join("long"), directory.join("link")).unwrap();
        assert!(lines_below(topdir.path()).is_empty());
        fs::write(directory.join("short"), padded(most)).unwrap();
        assert_eq!(lines_below(topdir.path()).len(), 1);
    }

    #[test]
    fn a_line_that_has_no_effect_is_told_with_its_place() {
        let text = r#"[{"variable": "SSTATE_MIRRORS", "file": "conf/distro/x.conf", "line": 12},
                       {"variable": "SSTATE_MIRRORS", "file": "conf/site.conf", "line": 3}]"#;
        let lines: Vec<UndoneLine> = serde_json::from_str(text).unwrap();
        assert_eq!(
            warning(&lines).unwrap(),
            "conf/distro/x.conf:12, conf/site.conf:3 set SSTATE_MIRRORS, which has no effect: kbuild sets it from `pull` in \
             [cache] of kbuild.toml"
        );
        let lines: Vec<UndoneLine> =
            serde_json::from_str(r#"[{"variable": "SSTATE_DIR", "file": null, "line": null}]"#).unwrap();
        assert!(warning(&lines).unwrap().starts_with("a layer sets SSTATE_DIR"));
        let lines: Vec<UndoneLine> =
            serde_json::from_str(r#"[{"variable": "X\u001b", "file": null, "line": null}]"#).unwrap();
        assert_eq!(warning(&lines), None);
    }
}
