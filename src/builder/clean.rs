//! Removes what builds made. What a person may have put there stays: devtool's workspace, edits that kbuild set aside, and
//! whatever has a name that neither kbuild nor BitBake gives.

use std::fs;
use std::path::{Path, PathBuf};

use super::prepare::{BuildDir, beside};
use super::shared_state;
use super::workspace::Workspace;
use crate::bitbake::conf;
use crate::disk::{self, FileLock};
use crate::error::Result;
use crate::manifest::{CacheSettings, Manifest};

/// What kbuild and BitBake make in a board's directory.
const MADE: [&str; 16] = [
    "bitbake-cookerdaemon.log",
    "bitbake.lock",
    "bitbake.sock",
    "cache",
    "classes",
    "fetchers",
    "hashserv",
    "hashserve.sock",
    "home",
    "kbuild",
    "pyshtables.py",
    "result.json",
    "scratch",
    "sources",
    "sstate-cache",
    "tmp",
];

/// What kbuild writes into `conf/`.
const WRITTEN: [&str; 4] = ["bblayers.conf", "local.conf", "kbuild.conf", "templateconf.cfg"];

/// What is kept beside a board's directory about what is in it.
const BESIDE: [&str; 4] = ["artifacts", "view", "conf", "closures"];

/// What to clean.
pub struct CleanRequest<'a> {
    /// The project.
    pub manifest: &'a Manifest,
    /// These boards.
    pub boards: &'a [String],
    /// The project's shared state too, where these settings do not lead elsewhere.
    pub shared_state: Option<&'a CacheSettings>,
    /// Whether anything is removed, or only looked for.
    pub dry_run: bool,
}

/// What was removed, and what stays.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Files and directories that were removed.
    pub removed: Vec<PathBuf>,
    /// Their size, in bytes.
    pub bytes: u64,
    /// What stays in the boards' directories.
    pub kept: Vec<PathBuf>,
}

/// Removes what builds of these boards made. `waiting` is told of a board that is being built; its end is waited for.
///
/// # Errors
/// Something cannot be looked at or removed.
pub fn clean(request: &CleanRequest<'_>, mut waiting: impl FnMut(&str)) -> Result<Cleaned> {
    let build = super::layers::build_directory(request.manifest)?;
    let mut cleaned = Cleaned::default();
    if !build.is_dir() {
        return Ok(cleaned);
    }
    for board in request.boards {
        for place in [BuildDir::Build, BuildDir::Check, BuildDir::Deep] {
            let topdir = build.join(place.name(board));
            let _held = FileLock::exclusive(&beside(&topdir, "lock"), || waiting(board))?;
            cleaned.board(&topdir, request.dry_run)?;
        }
    }
    if let Some(settings) = request.shared_state {
        let _held = shared_state::keep_boards_still(request.manifest, waiting)?;
        let shared = shared_state::shared_state(request.manifest, settings)?;
        if settings.dir.is_some() {
            cleaned.kept.push(shared);
        } else {
            cleaned.remove(shared, request.dry_run)?;
        }
    }
    Ok(cleaned)
}

impl Cleaned {
    fn board(&mut self, topdir: &Path, dry_run: bool) -> Result<()> {
        let conf = topdir.join("conf");
        for name in WRITTEN {
            self.remove(conf.join(name), dry_run)?;
        }
        for path in [conf::OPTIONS, conf::VALUES, conf::MANIFEST_CONF, conf::DEFAULT_FILE] {
            self.remove(topdir.join(path), dry_run)?;
        }
        let workspace = Workspace::of(topdir)?;
        for path in disk::list(topdir)? {
            let holds = |inner: &PathBuf| inner.starts_with(&path);
            let of_workspace =
                workspace.as_ref().is_some_and(|found| holds(&found.layer) || found.sources.values().any(holds));
            if path == conf {
                self.conf(&conf, dry_run)?;
            } else if is_made(&path) && !of_workspace {
                self.remove(path, dry_run)?;
            } else {
                self.kept.push(path);
            }
        }
        // Fails where something stays.
        if !dry_run {
            let _ = fs::remove_dir(topdir);
        }
        BESIDE.iter().try_for_each(|name| self.remove(beside(topdir, name), dry_run))
    }

    /// What else is in `conf/` belongs to a person, or to devtool.
    fn conf(&mut self, conf: &Path, dry_run: bool) -> Result<()> {
        if !dry_run && fs::remove_dir(conf).is_ok() {
            return Ok(());
        }
        let gone = |path: &PathBuf| dry_run && self.removed.contains(path);
        let stays: Vec<PathBuf> = disk::list(conf)?.into_iter().filter(|path| !gone(path)).collect();
        self.kept.extend(stays);
        Ok(())
    }

    fn remove(&mut self, path: PathBuf, dry_run: bool) -> Result<()> {
        let Ok(found) = fs::symlink_metadata(&path) else { return Ok(()) };
        self.bytes += disk::tree_size(&path);
        match dry_run {
            true => {}
            false if found.is_dir() => disk::remove_dir_all(&path)?,
            false => disk::remove_file(&path)?,
        }
        self.removed.push(path);
        Ok(())
    }
}

/// Distributions and multiconfigs call TMPDIR `tmp` and something more.
fn is_made(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    MADE.contains(&name) || name.starts_with("tmp-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_put_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let topdir = directory.path().join("qemu");
        let write = |path: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "12345").unwrap();
        };
        let made = ["qemu/tmp/work/a", "qemu/tmp-mc/b", "qemu/conf/kbuild.conf", "qemu/result.json", "qemu.view"];
        let own = ["qemu/notes.txt", "qemu/conf/kbuild.conf.edited"];
        let of_devtool = ["qemu/workspace/conf/layer.conf", "qemu/conf/devtool.conf"];
        for path in made.iter().chain(&own).chain(&of_devtool) {
            write(path);
        }
        std::os::unix::fs::symlink(directory.path(), topdir.join("sstate-cache")).unwrap();
        let clean = |dry_run: bool| {
            let mut cleaned = Cleaned::default();
            cleaned.board(&topdir, dry_run).unwrap();
            cleaned
        };
        let tried = clean(true);
        assert!(directory.path().join("qemu/tmp/work/a").exists());
        assert_eq!(tried.bytes, 25, "{tried:?}");
        assert_eq!(clean(false), tried, "what a dry run says is done");
        assert_eq!(clean(false), Cleaned { kept: tried.kept.clone(), ..Cleaned::default() });
        let kept: Vec<_> =
            tried.kept.iter().map(|path| path.strip_prefix(&topdir).unwrap().display().to_string()).collect();
        assert_eq!(kept, ["conf/devtool.conf", "conf/kbuild.conf.edited", "notes.txt", "workspace"]);
        fs::remove_dir_all(topdir.join("workspace")).unwrap();
        for path in ["notes.txt", "conf/kbuild.conf.edited", "conf/devtool.conf"] {
            fs::remove_file(topdir.join(path)).unwrap();
        }
        clean(false);
        assert!(!topdir.exists());
    }
}
