//! Cargo.lock, all versions of it, and its graph.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml_edit::{Document, Item, Table};

use crate::error::{Error, Result};
use crate::source::url::redact_in_place;
use crate::source::{CommitId, Sha256};
use crate::suggest;

/// The newest version that is known; cargo 1.78 began to write it.
const NEWEST: i64 = 4;

/// What a Cargo.lock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CargoLock {
    /// Its packages, sorted by name, version and source.
    pub packages: Vec<CargoPackage>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CargoPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; `None` for the workspace's own.
    pub source: Option<Source>,
    /// What it depends on, as written: `NAME[ VERSION[ (SOURCE)]]`.
    dependencies: Vec<String>,
    /// `source` as it is written where another package depends on this one: without the commit.
    written: String,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A registry, with the checksum of the package's file.
    Registry {
        /// As `crate://` names it: the host, with the path of its index behind it, if any.
        registry: String,
        /// Of the `.crate` file.
        sha256: Sha256,
    },
    /// A repository.
    Git {
        /// Its URL, without query.
        url: String,
        /// What the manifest asked for.
        reference: GitReference,
        /// The commit that became.
        commit: CommitId,
    },
}

/// What a manifest asks of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GitReference {
    /// The default branch.
    Default,
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// A commit, or any other revision.
    Rev(String),
}

/// crates.io, as locks name it: cargo's git index, and its sparse one.
const CRATES_IO: [&str; 2] = ["github.com/rust-lang/crates.io-index", "index.crates.io"];

impl CargoLock {
    /// Reads a lock; `name` is what messages call it.
    ///
    /// # Errors
    /// Kind `Input`, with the line: no lock of cargo's, one of a newer version, packages that BitBake cannot fetch.
    pub fn parse(name: &str, text: &str) -> Result<CargoLock> {
        // A URL in there may carry a password.
        Reader { text }.read().map_err(|error| error.in_text(name, redact_in_place(text)))
    }

    /// The lock cut down to what some of the workspace's own packages need, themselves among it.
    ///
    /// # Errors
    /// Kind `Input`: a name that no package of the workspace has, or a dependency that the lock does not hold.
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
    /// The packages that a dependency of this one names. cargo leaves out of the text what is the same for all packages of
    /// the name, so what is there has to agree.
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
                "{} {} depends on `{dependency}`, which the lock does not hold",
                self.name, self.version
            ))
            .help("it was edited or cut by hand: let cargo write it again"));
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
            Error::input("this is no Cargo.lock: it holds no `[[package]]`").help("name the file that cargo wrote")
        })?;
        let mut packages = tables.iter().map(|table| package(table, &sums)).collect::<Result<Vec<_>>>()?;
        // What cargo 1.16 and before had instead for the package itself.
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
                .help("a newer kbuild may know it")),
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
    let source = source.transpose().map_err(|error| {
        error.wrap(format!("{name} {version} is nothing that BitBake can fetch")).at(at(), "its source")
    })?;
    Ok(CargoPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        source,
        dependencies: dependencies.map(str::to_owned).collect(),
        written: written.split('#').next().unwrap_or_default().to_owned(),
    })
}

/// Both stand in a URL and in the name of a flag of BitBake's.
fn check_word(what: &str, text: &str, span: &Range<usize>) -> Result<()> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c));
    if good {
        return Ok(());
    }
    let message = format!("`{}` is no {what} of a package", text.escape_debug());
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
    let place = place.filter(word).ok_or_else(|| Error::input("its registry has no host that could be asked"))?;
    let sum = sum.ok_or_else(|| {
        Error::input("the lock has no checksum of it").help("let cargo write the lock with the registry at hand")
    })?;
    let host = place.split('/').next().unwrap_or(place);
    let registry = if CRATES_IO.contains(&place) { "crates.io" } else { host };
    Ok(Source::Registry { registry: registry.to_owned(), sha256: sum.parse()? })
}

fn git(url: &str) -> Result<Source> {
    let (url, commit) = url.rsplit_once('#').ok_or_else(|| Error::input("the lock has no commit of it"))?;
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

/// Version 4 writes what a URL's query must not hold as `%XX`.
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
