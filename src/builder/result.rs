//! The result of a build, with its inputs: `result.json`.
//!
//! It has no time of day and no path of the build directory, so two builds with the same artifacts have the same result,
//! on any machine, except for `tasks` and `cache`: what had to be built, and what came from a cache. Facts of the host
//! (its tools, whether the kernel sealed the build) are recorded, because a difference is often found there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::known_artifacts::KnownArtifacts;
use super::seal::Walls;
use super::watch::TaskCounts;
use crate::bitbake::conf;
use crate::cache::{Brought, ObjectName};
use crate::error::{Error, Result};
use crate::git::ends_with_kbuild;
use crate::lock::Lock;
use crate::manifest::{Manifest, Mount};
use crate::source::{Blake3, CommitId, Sha256};

/// The name of the result's file in TOPDIR.
pub const FILE_NAME: &str = "result.json";

/// The schema of `result.json` that this kbuild writes.
pub const SCHEMA: u32 = 1;

/// Host tools whose version is recorded: those that can change the artifacts.
const HOST_TOOLS: [&str; 11] = ["bash", "cargo", "gcc", "g++", "git", "ld", "make", "perl", "python3", "rustc", "tar"];

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildResult {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of kbuild.
    pub kbuild: String,
    /// The inputs.
    #[serde(flatten)]
    pub inputs: BuildInputs,
    /// The targets that BitBake built.
    pub targets: Vec<String>,
    /// The task, where it was not the whole build.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<String>,
    /// How its tasks were done.
    #[serde(default)]
    pub tasks: TaskCounts,
    /// What came out of shared state.
    #[serde(default)]
    pub cache: CacheRecord,
    /// The artifacts, sorted by path.
    pub artifacts: Vec<Artifact>,
}

/// What of a build came out of shared state: of this machine, and of caches elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// `recipe:do_task` of each task whose result was taken, sorted.
    pub tasks: Vec<String>,
    /// What caches elsewhere gave, by their address.
    pub brought: BTreeMap<String, BroughtObjects>,
}

/// What one cache gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtObjects {
    /// Number of objects; what stands beside one (its `.siginfo` and `.sig`) is not counted.
    pub objects: usize,
    /// In bytes, with what stands beside them.
    pub bytes: u64,
}

impl CacheRecord {
    /// Adds an object that a cache gave.
    pub(super) fn add(&mut self, name: &ObjectName, brought: &Brought) {
        let cache = self.brought.entry(brought.from.clone()).or_default();
        cache.objects += usize::from(name.is_object());
        cache.bytes += brought.size;
    }

    /// Objects and bytes that came from elsewhere.
    pub fn total(&self) -> (usize, u64) {
        let add = |(objects, bytes), cache: &BroughtObjects| (objects + cache.objects, bytes + cache.bytes);
        self.brought.values().fold((0, 0), add)
    }
}

/// The inputs of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInputs {
    /// `[project] name`.
    pub project: String,
    /// The board's name.
    pub board: String,
    /// BitBake's MACHINE.
    pub machine: String,
    /// Variables of `env` that were taken from the caller's environment.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub forwarded: Vec<String>,
    /// Each option's choice; `null` for a flag that is off, `"on"` for one that is on.
    pub options: IndexMap<String, Option<String>>,
    /// The fragments that it is made of.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub fragments: Vec<String>,
    /// BLAKE3 over the text of the lock cut down to this board (see [`lock_hash`]).
    pub lock: Blake3,
    /// BitBake.
    pub engine: EngineRecord,
    /// The layers in the order of BBLAYERS.
    pub layers: Vec<LayerRecord>,
    /// Whether every wall of the seal stood.
    pub sealed: bool,
    /// The mechanisms that held each wall; an empty list: the wall did not stand.
    #[serde(default)]
    pub walls: Walls,
    /// Which walls did not stand, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_sealed_because: Option<String>,
    /// What the build took that the lock does not have, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_from_the_lock: Vec<String>,
    /// What of the host the board's mounts let in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub mounts: Vec<Mount>,
    /// First line of what each host tool says of its version; `null` where there is none.
    pub host_tools: BTreeMap<String, Option<String>>,
}

/// The engine of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The layer it is.
    #[serde(flatten)]
    pub layer: LayerRecord,
    /// BitBake's version.
    pub version: String,
}

/// A layer of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Its name in the manifest.
    pub name: String,
    /// The locked commit; absent for a folder of the project.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<CommitId>,
    /// BLAKE3 over the tree (see [`crate::store::tree`]): of the commit, or of the folder or edited checkout as it stood.
    pub tree: Blake3,
    /// The folder that stood for it (`--override`); relative to the project where it is inside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub folder: Option<String>,
    /// How the checkout differed from the commit, one edit each; empty: not at all.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub edited: Vec<String>,
    /// The patches that it was laid out with, in their order; `tree` is with them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub patches: Vec<PatchRecord>,
}

/// A patch of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Where it comes from.
    pub patch: String,
    /// BLAKE3 of its bytes.
    pub blake3: Blake3,
}

impl LayerRecord {
    /// A folder of the project.
    pub fn folder(name: &str, tree: Blake3) -> LayerRecord {
        LayerRecord { name: name.to_owned(), commit: None, tree, folder: None, edited: Vec::new(), patches: Vec::new() }
    }
}

/// Something in the deploy directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Relative to the machine's deploy directory.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub content: ArtifactContent,
}

/// What an artifact is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ArtifactContent {
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// SHA-256 of the bytes.
        sha256: Sha256,
        /// BLAKE3 of the bytes.
        blake3: Blake3,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        link: String,
    },
}

/// An artifact that differs between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Relative to the machine's deploy directory.
    pub path: String,
    /// How it differs.
    pub what: DifferenceKind,
}

/// How an artifact differs between two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The second build, from nothing, did not make it; it may come from an earlier build with other targets or options.
    OnlyFirst,
    /// The first build did not make it.
    OnlySecond,
    /// Both made it, with other bytes.
    Bytes,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            DifferenceKind::OnlyFirst => "not made again from nothing",
            DifferenceKind::OnlySecond => "made only from nothing",
            DifferenceKind::Bytes => "other bytes",
        };
        write!(f, "{}: {what}", self.path)
    }
}

impl BuildResult {
    /// Writes `result.json` into TOPDIR.
    ///
    /// # Errors
    /// When the file cannot be replaced.
    pub fn write(&self, topdir: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::bug("a result cannot be written as JSON").because(error))?;
        text.push('\n');
        crate::disk::replace(&topdir.join(FILE_NAME), text.as_bytes())
    }

    /// Reads a `result.json`.
    ///
    /// # Errors
    /// One that cannot be read, or that a newer kbuild wrote: kind `Input`.
    pub fn read(path: &Path) -> Result<BuildResult> {
        let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let result: BuildResult = serde_json::from_str(&text)
            .map_err(|error| Error::input(format!("{} is no result of a build", path.display())).because(error))?;
        if result.schema > SCHEMA {
            return Err(Error::input(format!("{} was written by a newer kbuild ({})", path.display(), result.kbuild)));
        }
        Ok(result)
    }
}

/// The artifacts that differ between two builds, by path. The other fields of the results may explain it.
pub fn compare(first: &[Artifact], second: &[Artifact]) -> Vec<Difference> {
    let index = |artifacts: &[Artifact]| -> BTreeMap<String, ArtifactContent> {
        artifacts.iter().map(|artifact| (artifact.path.clone(), artifact.content.clone())).collect()
    };
    let (first, second) = (index(first), index(second));
    let paths: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let differences = paths.into_iter().filter_map(|path| {
        let what = match (first.get(path), second.get(path)) {
            (Some(a), Some(b)) if a == b => return None,
            (Some(_), Some(_)) => DifferenceKind::Bytes,
            (Some(_), None) => DifferenceKind::OnlyFirst,
            (None, _) => DifferenceKind::OnlySecond,
        };
        Some(Difference { path: path.clone(), what })
    });
    differences.collect()
}

/// Every file and link below a machine's deploy directory, which is in `topdir`, hashed on all cores, sorted by path. No
/// directory: nothing. Hashes of what did not change are taken from `record`, and remembered there.
///
/// # Errors
/// What cannot be read, is neither a file nor a link, or has a name that is no UTF-8; a directory that a link takes out of
/// `topdir`.
pub fn artifacts(deploy: &Path, topdir: &Path, record: &Path) -> Result<Vec<Artifact>> {
    let mut found = Vec::new();
    check_within(deploy, topdir)?;
    collect(deploy, &mut found)?;
    let known = KnownArtifacts::read(record);
    let mut artifacts = found.par_iter().map(|path| artifact(deploy, path, &known)).collect::<Result<Vec<_>>>()?;
    known.write(record);
    artifacts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(artifacts)
}

/// What recipes staged for others: the files below `tmp/sysroots-components/ARCH/RECIPE` (oe-core's staging.bbclass). It is all
/// that a native recipe makes. Paths are relative to `tmp`; recipes without such a directory are left out.
///
/// # Errors
/// As [`artifacts`].
pub fn staged(topdir: &Path, recipes: &[String]) -> Result<Vec<Artifact>> {
    let tmp = topdir.join(conf::TMPDIR);
    let components = tmp.join("sysroots-components");
    check_within(&components, topdir)?;
    let mut found = Vec::new();
    for architecture in fs::read_dir(&components).into_iter().flatten().flatten() {
        for recipe in recipes {
            let directory = architecture.path().join(recipe);
            check_within(&directory, topdir)?;
            collect(&directory, &mut found)?;
        }
    }
    let known = KnownArtifacts::default();
    let mut staged = found.par_iter().map(|path| artifact(&tmp, path, &known)).collect::<Result<Vec<_>>>()?;
    staged.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(staged)
}

/// A recipe can put a link in the place of `tmp/deploy`: what it leads to is not the build's.
fn check_within(deploy: &Path, topdir: &Path) -> Result<()> {
    let Ok(real) = fs::canonicalize(deploy) else { return Ok(()) };
    let topdir = fs::canonicalize(topdir).map_err(|error| Error::io("find", topdir, error))?;
    if real.starts_with(&topdir) {
        return Ok(());
    }
    Err(Error::input(format!("the artifacts are not in the build: {} leads to {}", deploy.display(), real.display()))
        .help("remove the link, and find the recipe or the person that put it there"))
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| Error::io("read", directory, error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn artifact(deploy: &Path, path: &Path, known: &KnownArtifacts) -> Result<Artifact> {
    let failed = |error| Error::io("read", path, error);
    let utf8 = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::input(format!("the artifact {} has a name that is not UTF-8", path.display())))
    };
    let name = utf8(path.strip_prefix(deploy).unwrap_or(path))?;
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if !metadata.is_symlink() && !metadata.is_file() {
        let message = format!("the artifact {} is neither a file nor a link", path.display());
        return Err(Error::input(message).help("a pipe, a socket or a device cannot be compared: do not deploy it"));
    }
    if metadata.is_symlink() {
        let link = utf8(&fs::read_link(path).map_err(failed)?)?;
        return Ok(Artifact { path: name, content: ArtifactContent::Link { link } });
    }
    let digests = known.digests(&name, path)?;
    let content = ArtifactContent::File { size: digests.size, sha256: digests.sha256, blake3: digests.blake3 };
    Ok(Artifact { path: name, content })
}

/// A hash over everything that the lock says about one board: BLAKE3 over the text of a lock with only this board, its
/// layers, the engine, its declared sources and what they reach are left. Adding another board does not change it.
pub fn lock_hash(lock: &Lock, manifest: &Manifest, board: &str) -> Blake3 {
    let layers = manifest.layers_of(board).unwrap_or_default();
    let sources: BTreeSet<&str> = manifest.sources_of(board).map(|(name, _)| name).collect();
    let mut own = lock.clone();
    own.layers.retain(|name, _| Some(name) == manifest.engine.as_ref() || layers.contains(name));
    own.sources.retain(|name, _| sources.contains(name.as_str()));
    // What they say of the board is among the other inputs.
    own.includes.clear();
    own.boards.retain(|name, _| name == board);
    own.prune();
    (*blake3::hash(own.to_string().as_bytes()).as_bytes()).into()
}

/// What the host tools in `path` say of their version.
pub fn host_tools(path: &OsStr) -> BTreeMap<String, Option<String>> {
    HOST_TOOLS.par_iter().map(|tool| ((*tool).to_owned(), version_of(tool, path))).collect()
}

/// The first line a tool prints for `--version`, in the C locale.
pub(super) fn version_of(tool: &str, path: &OsStr) -> Option<String> {
    let program = which::which_in(tool, Some(path), "/").ok()?;
    let mut command = Command::new(program);
    ends_with_kbuild(&mut command);
    command.arg("--version").env_clear().env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?.to_owned();
    output.status.success().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn file(path: &str, byte: u8) -> Artifact {
        let content = ArtifactContent::File { size: 1, sha256: [byte; 32].into(), blake3: [byte; 32].into() };
        Artifact { path: path.to_owned(), content }
    }

    #[test]
    fn artifacts_are_hashed_links_are_read_and_all_is_sorted() {
        let deploy = tempfile::tempdir().unwrap();
        fs::create_dir(deploy.path().join("sub")).unwrap();
        fs::write(deploy.path().join("sub/abc"), "abc").unwrap();
        fs::write(deploy.path().join("b"), "").unwrap();
        symlink("sub/abc", deploy.path().join("a")).unwrap();
        symlink("nowhere", deploy.path().join("c")).unwrap();
        let record = tempfile::tempdir().unwrap().path().join("record");
        let found = artifacts(deploy.path(), deploy.path(), &record).unwrap();
        let text = serde_json::to_string_pretty(&found).unwrap();
        insta::assert_snapshot!(text, @r#"
        [
          {
            "path": "a",
            "link": "sub/abc"
          },
          {
            "path": "b",
            "size": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
          },
          {
            "path": "c",
            "link": "nowhere"
          },
          {
            "path": "sub/abc",
            "size": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
          }
        ]
        "#);
        assert_eq!(serde_json::from_str::<Vec<Artifact>>(&text).unwrap(), found);
        let of = |directory: &Path| artifacts(directory, deploy.path(), &record);
        assert!(of(&deploy.path().join("none")).unwrap().is_empty());
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), deploy.path().join("away")).unwrap();
        assert_eq!(of(&deploy.path().join("away")).unwrap_err().kind(), crate::Kind::Input);
        rustix::fs::mkfifoat(rustix::fs::CWD, deploy.path().join("pipe"), 0o600.into()).unwrap();
        assert_eq!(of(deploy.path()).unwrap_err().kind(), crate::Kind::Input, "and does not wait");
    }

    #[test]
    fn what_native_recipes_stage_can_be_compared_too() {
        let topdir = tempfile::tempdir().unwrap();
        let bin = topdir.path().join("tmp/sysroots-components/x86_64/unzip-native/usr/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("unzip"), "program").unwrap();
        let of = |recipe: &str| staged(topdir.path(), &[recipe.to_owned()]).unwrap();
        let paths: Vec<String> = of("unzip-native").into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["sysroots-components/x86_64/unzip-native/usr/bin/unzip"]);
        assert!(of("zip-native").is_empty() && of("a:b").is_empty());
        fs::remove_dir_all(topdir.path().join("tmp")).unwrap();
        assert!(of("unzip-native").is_empty());
    }

    #[test]
    fn a_comparison_names_what_differs_and_how() {
        let first = [file("same", 1), file("gone", 1), file("other", 1)];
        let second = [file("other", 2), file("same", 1), file("new", 1)];
        let lines: Vec<String> = compare(&first, &second).iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["gone: not made again from nothing", "new: made only from nothing", "other: other bytes"]);
        assert!(compare(&first, &first).is_empty());
    }

    #[test]
    fn a_tool_that_is_not_there_has_no_version() {
        let path = OsStr::new("/usr/bin:/bin");
        assert_eq!(version_of("kbuild-no-such-tool", path), None);
        assert!(version_of("git", path).unwrap().starts_with("git version"));
    }
}
