//! Cargo.lock, all versions of it, and its graph.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml_edit::{Document, Item, Table};

use crate::error::{Error, Result};
use crate::source::url::redact_in_place;
use crate::source::{CommitId, Sha256};
use crate::suggest;

/// The newest version that is supported; cargo writes it since 1.78.
const NEWEST: i64 = 4;

/// The contents of a Cargo.lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CargoLock {
    /// Its packages, sorted by name, version and source.
    pub packages: Vec<CargoPackage>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CargoPackage {
    pub name: String,
    pub version: String,
    /// Its source; `None` for packages of the workspace.
    pub source: Option<Source>,
    /// Its dependencies, as written: `NAME[ VERSION[ (SOURCE)]]`.
    dependencies: Vec<String>,
    /// `source` as other packages write it in their dependencies: without the commit.
    written: String,
}

/// The source of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A registry, with the checksum of the package's file.
    Registry {
        /// Its name in `crate://`: the host, with the path of its index after it, if any.
        registry: String,
        /// SHA-256 of the `.crate` file.
        sha256: Sha256,
    },
    /// A repository.
    Git {
        /// Its URL, without query.
        url: String,
        /// What the manifest asked for.
        reference: GitReference,
        /// The commit that is locked.
        commit: CommitId,
    },
}

/// The ref of a repository that a manifest asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GitReference {
    /// The default branch.
    Default,
    Branch(String),
    Tag(String),
    /// A commit, or any other revision.
    Rev(String),
}

/// crates.io's names in locks: cargo's git index, and its sparse one.
const CRATES_IO: [&str; 2] = ["github.com/rust-lang/crates.io-index", "index.crates.io"];

impl CargoLock {
    /// Reads a lock; `name` is for messages.
    ///
    /// # Errors
    /// Kind `Input`, with the line: not a Cargo.lock, a newer version, or packages that BitBake cannot fetch.
    pub fn parse(name: &str, text: &str) -> Result<CargoLock> {
        // A URL in the lock may contain a password.
        Reader { text }.read().map_err(|error| error.in_text(name, redact_in_place(text)))
    }

    /// The lock reduced to what some of the workspace's own packages need, with these packages.
    ///
    /// # Errors
    /// Kind `Input`: a name that is no package of the workspace, or a dependency that the lock does not have.
    pub fn only(&self, members: &[String]) -> Result<CargoLock> {
        let mut wanted: Vec<&CargoPackage> = Vec::new();
        for member in members {
            let own = self.own().filter(|package| package.name == *member);
            let before = wanted.len();
            wanted.extend(own);
            if wanted.len() == before {
                return Err(self.no_member(member));
            }
        }
        let mut reached: BTreeSet<&CargoPackage> = BTreeSet::new();
        let by_name = self.by_name();
        while let Some(package) = wanted.pop() {
            if reached.insert(package) {
                for dependency in &package.dependencies {
                    wanted.extend(package.resolve(dependency, &by_name)?);
                }
            }
        }
        Ok(CargoLock { packages: reached.into_iter().cloned().collect() })
    }

    /// The workspace's own packages.
    pub fn own(&self) -> impl Iterator<Item = &CargoPackage> {
        self.packages.iter().filter(|package| package.source.is_none())
    }

    fn by_name(&self) -> BTreeMap<&str, Vec<&CargoPackage>> {
        let mut by_name: BTreeMap<&str, Vec<&CargoPackage>> = BTreeMap::new();
        self.packages.iter().for_each(|package| by_name.entry(&package.name).or_default().push(package));
        by_name
    }

    fn no_member(&self, name: &str) -> Error {
        let error = Error::input(format!("the workspace has no package `{}`", name.escape_debug()));
        let own: Vec<&str> = self.own().map(|package| package.name.as_str()).collect();
        match suggest::did_you_mean(name, own.iter().copied(), 1) {
            Some(question) => error.help(question),
            None => error.help(format!("its packages: {}", own.join(", "))),
        }
    }
}

impl CargoPackage {
    /// The packages that a dependency of this one names. cargo leaves out version and source if they are not needed to tell
    /// packages of the name apart. What is written must agree.
    fn resolve<'a>(
        &self,
        dependency: &str,
        by_name: &BTreeMap<&str, Vec<&'a CargoPackage>>,
    ) -> Result<Vec<&'a CargoPackage>> {
        let mut words = dependency.splitn(3, ' ');
        let (name, version, source) = (words.next().unwrap_or_default(), words.next(), words.next());
        let source = source.map(|source| source.trim_start_matches('(').trim_end_matches(')'));
        let source = source.map(|source| source.split('#').next().unwrap_or(source));
        let fits = |package: &&&CargoPackage| {
            version.is_none_or(|version| version == package.version)
                && source.is_none_or(|source| source == package.written)
        };
        let found: Vec<&CargoPackage> = by_name.get(name).into_iter().flatten().filter(fits).copied().collect();
        if found.is_empty() {
            return Err(Error::input(format!(
                "{} {} depends on `{dependency}`, which the lock does not contain",
                self.name, self.version
            ))
            .help("it was edited or cut by hand: write it again with cargo"));
        }
        Ok(found)
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn read(&self) -> Result<CargoLock> {
        let document = Document::parse(self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            Error::input("this is not valid TOML").because(error.message().trim().to_owned()).at(span, "here")
        })?;
        self.check_version(&document)?;
        let sums = sums_of_version_1(&document);
        let tables = document.get("package").and_then(Item::as_array_of_tables);
        let tables = tables.ok_or_else(|| {
            Error::input("this is not a Cargo.lock: it contains no `[[package]]`")
                .help("name the file that cargo wrote")
        })?;
        let mut packages = tables.iter().map(|table| package(table, &sums)).collect::<Result<Vec<_>>>()?;
        // cargo 1.16 and before wrote this for the package itself.
        if let Some(root) = document.get("root").and_then(Item::as_table) {
            packages.push(package(root, &sums)?);
        }
        packages.sort();
        packages.dedup();
        Ok(CargoLock { packages })
    }

    fn check_version(&self, document: &Document<&str>) -> Result<()> {
        let Some(item) = document.get("version") else { return Ok(()) };
        match item.as_integer() {
            Some(version) if version <= NEWEST => Ok(()),
            _ => Err(Error::input("this Cargo.lock is of a version that kbuild does not know")
                .at(item.span().unwrap_or_default(), format!("up to {NEWEST} is known"))
                .help("a newer kbuild may support it")),
        }
    }
}

/// The checksums of version 1, in a table of their own: `"checksum NAME VERSION (SOURCE)" = "…"`.
fn sums_of_version_1(document: &Document<&str>) -> BTreeMap<String, String> {
    let table = document.get("metadata").and_then(Item::as_table);
    let entries = table.into_iter().flat_map(Table::iter);
    let sums =
        entries.filter_map(|(key, item)| Some((key.strip_prefix("checksum ")?.to_owned(), item.as_str()?.to_owned())));
    sums.collect()
}

fn package(table: &Table, sums: &BTreeMap<String, String>) -> Result<CargoPackage> {
    let text = |key: &str| table.get(key).and_then(Item::as_str);
    let span = table.span().unwrap_or_default();
    let (Some(name), Some(version)) = (text("name"), text("version")) else {
        return Err(Error::input("a package has no name or no version").at(span, "this one"));
    };
    check_word("name", name, &span)?;
    check_word("version", version, &span)?;
    let dependencies = table.get("dependencies").and_then(Item::as_array);
    let dependencies = dependencies.into_iter().flat_map(|all| all.iter().filter_map(toml_edit::Value::as_str));
    let written = text("source").unwrap_or_default();
    let sum = text("checksum").or_else(|| sums.get(&format!("{name} {version} ({written})")).map(String::as_str));
    let at = || table.get("source").and_then(Item::span).unwrap_or_else(|| span.clone());
    let source = text("source").map(|source| read_source(source, sum));
    let source = source
        .transpose()
        .map_err(|error| error.wrap(format!("{name} {version} cannot be fetched by BitBake")).at(at(), "its source"))?;
    Ok(CargoPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        source,
        dependencies: dependencies.map(str::to_owned).collect(),
        written: written.split('#').next().unwrap_or_default().to_owned(),
    })
}

/// Both become part of a URL and of the name of a flag in BitBake.
fn check_word(what: &str, text: &str, span: &Range<usize>) -> Result<()> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c));
    if good {
        return Ok(());
    }
    let message = format!("`{}` is not a {what} of a package", text.escape_debug());
    Err(Error::input(message).at(span.clone(), "this one"))
}

fn read_source(source: &str, sum: Option<&str>) -> Result<Source> {
    match source.split_once('+') {
        Some(("registry" | "sparse", url)) => registry(url, sum),
        Some(("git", url)) => git(url),
        _ => Err(Error::input(format!("its source is `{}`", source.escape_debug()))),
    }
}

fn registry(url: &str, sum: Option<&str>) -> Result<Source> {
    let place = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https" | "ssh"));
    let place = place.map(|(_, place)| place.rsplit_once('@').map_or(place, |(_, place)| place).trim_end_matches('/'));
    let word =
        |place: &&str| !place.is_empty() && place.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/~".contains(c));
    let place = place.filter(word).ok_or_else(|| Error::input("its registry has no host to fetch from"))?;
    let sum = sum.ok_or_else(|| {
        Error::input("the lock has no checksum for it")
            .help("write the lock again with cargo, while the registry can be reached")
    })?;
    let host = place.split('/').next().unwrap_or(place);
    let registry = if CRATES_IO.contains(&place) { "crates.io" } else { host };
    Ok(Source::Registry { registry: registry.to_owned(), sha256: sum.parse()? })
}

fn git(url: &str) -> Result<Source> {
    let (url, commit) = url.rsplit_once('#').ok_or_else(|| Error::input("the lock has no commit for it"))?;
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let reference = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = decoded(value);
        match key {
            "branch" => Some(GitReference::Branch(value)),
            "tag" => Some(GitReference::Tag(value)),
            "rev" => Some(GitReference::Rev(value)),
            _ => None,
        }
    });
    let reference = reference.unwrap_or(GitReference::Default);
    Ok(Source::Git { url: url.to_owned(), reference, commit: commit.parse()? })
}

/// Version 4 writes characters that a URL's query must not contain as `%XX`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
