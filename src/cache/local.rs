//! The shared state of this machine: a directory that BitBake itself fills.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::ObjectName;
use crate::error::{Error, Result};

/// A directory of shared state.
#[derive(Debug, Clone)]
pub struct LocalState(PathBuf);

/// An object in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalObject {
    /// Its name.
    pub name: ObjectName,
    /// Its file.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// When it was last made or used: BitBake touches what it uses (`sstate_checkhashes`).
    pub used: SystemTime,
}

impl LocalState {
    /// The shared state in this directory, which need not exist.
    pub fn new(directory: &Path) -> LocalState {
        LocalState(directory.to_owned())
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// All objects and what stands beside them, sorted by name. Links are not followed: a build may have made them.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn objects(&self) -> Result<Vec<LocalObject>> {
        if !self.0.exists() {
            return Ok(Vec::new());
        }
        let mut objects = Vec::new();
        for entry in WalkDir::new(&self.0).sort_by_file_name() {
            let entry = entry.map_err(|error| Error::input("the shared state cannot be read").because(error))?;
            let Some(name) = ObjectName::of_file(&self.0, entry.path()).filter(|_| entry.file_type().is_file()) else {
                continue;
            };
            // BitBake may be at work in the same directory: what is gone meanwhile is no object.
            let Ok(found) = entry.metadata() else { continue };
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            objects.push(LocalObject { name, path: entry.path().to_owned(), size: found.len(), used });
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn objects_are_found_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let state = LocalState::new(&directory.path().join("sstate"));
        assert!(state.objects().unwrap().is_empty());
        fs::create_dir_all(state.directory().join("ab/cd")).unwrap();
        for name in ["sstate:b:1_x.tar.zst", "sstate:a:1_x.tar.zst.siginfo", "sstate:a:1_x.tar.zst.lock", "x"] {
            fs::write(state.directory().join("ab/cd").join(name), "12345").unwrap();
        }
        let outside = directory.path().join("secret");
        fs::write(&outside, "secret").unwrap();
        std::os::unix::fs::symlink(&outside, state.directory().join("ab/cd/sstate:c:1_x.tar.zst")).unwrap();
        let names: Vec<String> = state.objects().unwrap().iter().map(|object| object.name.to_string()).collect();
        assert_eq!(names, ["ab/cd/sstate:a:1_x.tar.zst.siginfo", "ab/cd/sstate:b:1_x.tar.zst"]);
    }
}
