//! The text that a recipe includes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::lockfile::{CargoLock, Source};
use crate::bitbake::conf::git_uri;
use crate::error::{Error, Kind, Result};
use crate::source::{CommitId, Sha256, SourceUrl};
use crate::suggest;

/// The directory below UNPACKDIR for the repositories of git dependencies.
const DESTINATION: &str = "cargo-git";

/// What a recipe must fetch for its Cargo.lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// Packages of registries, sorted.
    pub crates: Vec<Crate>,
    /// Repositories of git dependencies, sorted by name.
    pub repositories: Vec<PinnedRepository>,
}

/// A package of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    pub name: String,
    pub version: String,
    /// The host in `crate://HOST/…`.
    pub registry: String,
    /// SHA-256 of its file.
    pub sha256: Sha256,
}

/// A repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedRepository {
    /// The `;name=` by which its SRCREV is found.
    pub name: String,
    pub url: SourceUrl,
    pub commit: CommitId,
    /// Whether its submodules are fetched too.
    pub submodules: bool,
}

/// The repositories whose submodules are fetched. cargo needs them if there are any, but a Cargo.lock does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Submodules {
    #[default]
    None,
    All,
    /// Only repositories with these names.
    Of(Vec<String>),
}

impl Include {
    /// Collects what a lock's packages need.
    ///
    /// # Errors
    /// Kind `Input`: packages that BitBake's fetchers cannot tell apart or fetch; kind `Usage`: `--submodules` names no
    /// repository.
    pub fn of(lock: &CargoLock, submodules: &Submodules) -> Result<Include> {
        let mut crates = BTreeSet::new();
        let mut commits = BTreeSet::new();
        for package in &lock.packages {
            match &package.source {
                None => {}
                Some(Source::Git { url, commit, .. }) => {
                    let url: SourceUrl = url.parse()?;
                    commits.insert((url, *commit));
                }
                Some(Source::Registry { registry, sha256 }) => {
                    let (name, version) = (package.name.clone(), package.version.clone());
                    crates.insert(Crate { name, version, registry: registry.clone(), sha256: *sha256 });
                }
            }
        }
        let crates: Vec<Crate> = crates.into_iter().collect();
        check_apart(&crates)?;
        let mut repositories = named(commits);
        mark_submodules(&mut repositories, submodules)?;
        Ok(Include { crates, repositories })
    }

    /// The include's text; `made` is the command that made it, for the head. The same lock and command give the same text.
    ///
    /// # Errors
    /// A URL cannot be written in SRC_URI.
    pub fn text(&self, made: &str) -> Result<String> {
        let mut text =
            format!("# Made by `{made}`: do not edit.\n# `--check` says whether it is still what the lock gives.\n");
        if self.crates.is_empty() && self.repositories.is_empty() {
            text.push_str("#\n# The lock names no package of a registry and no repository.\n");
            return Ok(text);
        }
        let mut line = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        line("\nSRC_URI += \"\\");
        for Crate { name, version, registry, .. } in &self.crates {
            line(&format!("    crate://{registry}/{name}/{version} \\"));
        }
        for repository in &self.repositories {
            line(&format!("    {} \\", repository.uri()?));
        }
        line("\"");
        if !self.crates.is_empty() {
            line("");
        }
        for Crate { name, version, sha256, .. } in &self.crates {
            line(&format!("SRC_URI[{name}-{version}.sha256sum] = \"{sha256}\""));
        }
        if !self.repositories.is_empty() {
            line("");
        }
        for PinnedRepository { name, commit, .. } in &self.repositories {
            line(&format!("SRCREV_{name} = \"{commit}\""));
        }
        if let Some(format) = self.srcrev_format() {
            // `:append`, because a class or recipe may assign it later.
            line(&format!("SRCREV_FORMAT:append = \"{format}\""));
        }
        Ok(text)
    }

    /// BitBake needs to know how several revisions become one text. Each must be in it, so that a change is noticed.
    fn srcrev_format(&self) -> Option<String> {
        let format = self.repositories.iter().fold(String::new(), |mut format, repository| {
            // Writing into a String cannot fail.
            let _ = write!(format, "_{}", repository.name);
            format
        });
        Some(format).filter(|format| !format.is_empty())
    }
}

impl PinnedRepository {
    fn uri(&self) -> Result<String> {
        let name = &self.name;
        Ok(format!("{};name={name};destsuffix={DESTINATION}/{name}", git_uri(&self.url, None, self.submodules)?))
    }
}

/// BitBake's crate fetcher cannot handle two files of one name, or two checksums for one flag.
fn check_apart(crates: &[Crate]) -> Result<()> {
    let twice = crates.windows(2).find(|pair| (&pair[0].name, &pair[0].version) == (&pair[1].name, &pair[1].version));
    let Some([first, second]) = twice else { return Ok(()) };
    let Crate { name, version, registry, .. } = first;
    Err(Error::input(format!("{name} {version} comes from two registries: {registry} and {}", second.registry))
        .help("BitBake keeps one file of that name and version: update one of them with cargo"))
}

/// Names for `;name=`, from the names of the repositories; the commit is added if two would have the same.
fn named(commits: BTreeSet<(SourceUrl, CommitId)>) -> Vec<PinnedRepository> {
    let mut by_name: BTreeMap<String, Vec<(SourceUrl, CommitId)>> = BTreeMap::new();
    for (url, commit) in commits {
        by_name.entry(own_name(&url)).or_default().push((url, commit));
    }
    let mut repositories = Vec::new();
    for (name, all) in by_name {
        let several = all.len() > 1;
        for (number, (url, commit)) in all.iter().enumerate() {
            let same_commit = all[..number].iter().filter(|(_, other)| other == commit).count();
            let name = match (several, same_commit) {
                (false, _) => name.clone(),
                (true, 0) => format!("{name}-{}", &commit.to_string()[..7]),
                // One commit in two repositories with one name: a fork, or two spellings of a URL.
                (true, nth) => format!("{name}-{}-{}", &commit.to_string()[..7], nth + 1),
            };
            repositories.push(PinnedRepository { name, url: url.clone(), commit: *commit, submodules: false });
        }
    }
    repositories.sort_by(|a, b| a.name.cmp(&b.name));
    repositories
}

/// The last part of the path, reduced to characters that a variable's name may have.
fn own_name(url: &SourceUrl) -> String {
    let path = url.as_url().path().trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "git".to_owned() } else { name.to_owned() }
}

fn mark_submodules(repositories: &mut [PinnedRepository], submodules: &Submodules) -> Result<()> {
    let wanted = match submodules {
        Submodules::None => return Ok(()),
        Submodules::All => {
            repositories.iter_mut().for_each(|repository| repository.submodules = true);
            return Ok(());
        }
        Submodules::Of(names) => names,
    };
    for name in wanted {
        let mut found = false;
        for repository in repositories.iter_mut() {
            // By the repository's own name too: a name with the commit changes with the lock.
            if repository.name == *name || own_name(&repository.url) == *name {
                repository.submodules = true;
                found = true;
            }
        }
        if !found {
            return Err(no_repository(name, repositories));
        }
    }
    Ok(())
}

fn no_repository(name: &str, repositories: &[PinnedRepository]) -> Error {
    let names: Vec<&str> = repositories.iter().map(|repository| repository.name.as_str()).collect();
    let error = Error::new(Kind::Usage, format!("no git dependency is called `{}`", name.escape_debug()));
    match suggest::did_you_mean(name, names.iter().copied(), 1) {
        Some(question) => error.help(question),
        None if names.is_empty() => error.help("this lock has none"),
        None => error.help(format!("they are called {}", names.join(", "))),
    }
}
