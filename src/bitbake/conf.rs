//! The configuration of one board, as BitBake reads it: `bblayers.conf`, `local.conf` and `kbuild.conf`.
//!
//! Everything kbuild tells BitBake stands in `kbuild.conf`, one small file per board that a person can read. What the manifest
//! says in BitBake's own language (`conf`) is a file beside it, which is read first: kbuild's own lines come behind. Paths in it
//! are relative to `${TOPDIR}`, so the same manifest and lock give the same text in every directory.
//!
//! # What recipes get from declared sources
//!
//! Each `[sources.NAME]` of the board becomes variables, NAME in capitals with every other character as `_`:
//!
//! | variable | file | git |
//! | --- | --- | --- |
//! | `KBUILD_<NAME>_URI` | an item of SRC_URI: the URL (a crate's: its coordinates), with `;downloadfilename=` where the manifest names the file | an item of SRC_URI: `git://host/path;protocol=https;branch=…`, `nobranch=1` where no branch was asked for, `gitsm://` with `submodules`; `lfs=0` where the manifest says `lfs = false` |
//! | `KBUILD_<NAME>_URL` | the canonical URL | the canonical URL |
//! | `KBUILD_<NAME>_VERSION` | `version` of the manifest, if there is one | same |
//! | `KBUILD_<NAME>_SHA256` | SHA-256, for `SRC_URI[sha256sum]` | - |
//! | `KBUILD_<NAME>_SRCREV` | - | the locked commit |
//! | `KBUILD_<NAME>_BRANCH` | - | the branch, if one was asked for |
//!
//! An image (`oci`) is an archive for each architecture. What differs between them has a variable for each, with
//! `<ARCH>` as BitBake's TARGET_ARCH:
//!
//! | variable | image |
//! | --- | --- |
//! | `KBUILD_<NAME>_URI_<ARCH>` | an item of SRC_URI, with `;downloadfilename=`: no server gives the archive under it, the view does |
//! | `KBUILD_<NAME>_SHA256_<ARCH>` | SHA-256 of the archive |
//! | `KBUILD_<NAME>_DIGEST_<ARCH>` | the digest of the image's manifest |
//! | `KBUILD_<NAME>_DIGEST` | the digest of what the name led to |
//! | `KBUILD_<NAME>_ARCHITECTURES` | those that are locked |
//! | `KBUILD_<NAME>_IMAGE`, `KBUILD_<NAME>_VERSION` | the name, spelled out; `version`, if there is one |
//!
//! A git source with `recipes` also pins theirs from outside: `SRCREV[_<srcrev-name>]:pn-<recipe>:forcevariable`, the
//! only form that has priority over every override and over AUTOREV (`bb.fetch2.srcrev_internal_helper`).
//!
//! # Quoting
//!
//! See [`super::text`]. `${` is refused in what comes from URLs, versions and names, where expansion is never meant; in
//! `[config]` it is BitBake's own language and is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use indexmap::IndexMap;

use super::text::{ConfText, KEPT, check_override, check_path, check_variable};
use crate::error::{Error, Kind, Result};
use crate::files::{LOCK, MANIFEST};
use crate::lock::{self, Lock, Locked, LockedImage, Request};
use crate::manifest::{DeclaredSource, SourceOrigin, variable_part};
use crate::source::{Access, CommitId, ImageName, Sha256, SourceId, SourceUrl, name};

/// The name of the one file, without `.conf`, that holds everything kbuild tells BitBake.
pub const NAME: &str = "kbuild";

/// The file inside TOPDIR with the manifest's texts in BitBake's own language, where there are any.
pub const MANIFEST_CONF: &str = "conf/kbuild-manifest.conf";

/// Where the view is inside TOPDIR; `flat`, `git2` and `dl` are made there by `store::view`.
pub const VIEW: &str = "sources";

/// Directories inside TOPDIR that the configuration names.
pub const TMPDIR: &str = "tmp";

/// The class by which kbuild learns what recipes fetch, and its place inside TOPDIR, which BBPATH names.
pub const CLASS_FILE: &str = "classes/kbuild-lock.bbclass";

/// The name of BitBake's console log, where the distribution gives it none.
pub const CONSOLE_LOG: &str = "console.log";

/// A directory inside TOPDIR with an empty file for each OVERRIDES word of the chosen options: recipes that name a word
/// depend on its file, see the class.
pub const OPTIONS: &str = "conf/options";

/// SSTATE_DIR inside TOPDIR: a link to the directory that boards share, or a directory of this board alone.
pub const SHARED_STATE: &str = "sstate-cache";

/// The directory inside TOPDIR of the hash equivalence server's database: a link to where the shared state is, so that boards
/// agree on what is equivalent, or a directory of this board alone.
pub const HASH_DATABASE: &str = "hashserv";

/// A file inside TOPDIR that is there while kbuild can bring shared state from caches elsewhere.
pub const CACHES: &str = "kbuild/caches";

/// The servers that kbuild forwards connections to: a file inside TOPDIR that is there while it does, and the port on the
/// build's own loopback device. Each is what BitBake's own server listens on by default.
pub const FORWARDED: [ForwardedServer; 2] = [
    ForwardedServer { variable: "BB_HASHSERVE_UPSTREAM", marker: "kbuild/hashserve", port: 8686 },
    ForwardedServer { variable: "PRSERV_UPSTREAM", marker: "kbuild/prserve", port: 8585 },
];

/// A server outside that a build reaches through kbuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedServer {
    /// The variable that names it.
    pub variable: &'static str,
    /// See [`FORWARDED`].
    pub marker: &'static str,
    /// See [`FORWARDED`].
    pub port: u16,
}

/// The host of the one mirror of shared state, which is no host: kbuild's class has a fetcher for it.
const CACHES_MIRROR: &str = "file://.* http://caches.kbuild.invalid/PATH;downloadfilename=PATH";
/// A directory inside TOPDIR with a file for each value that the lock gives: recipes that use a value depend on its file.
pub const VALUES: &str = "conf/values";

/// What `kbuild.conf` includes where no multiconfig is read. oe-core up to 5.0 appends the C library's name to TMPDIR, and
/// base.bbclass links the host's tools into it before any handler of kbuild's class runs.
pub const DEFAULT_FILE: &str = "conf/kbuild-default.conf";

/// The text of [`CLASS_FILE`].
pub const CLASS: &str = include_str!("kbuild-lock.bbclass");

/// The value of PREMIRRORS that sends every fetcher to the flat directory (tried with BitBake 2.8, 2.18 and 2.19).
pub(super) const PREMIRRORS: &str = "(git|gitsm|gomodgit|https?|ftps?|sftp|s3|gs|az|hg|p4|repo)://.*/.*";

/// A board's configuration as plain values.
#[derive(Debug, Clone)]
pub struct BoardConf<'a> {
    /// The project's name, for the comments.
    pub project: &'a str,
    /// The board's name, for the comments.
    pub board: &'a str,
    /// BitBake's MACHINE.
    pub machine: &'a str,
    /// BitBake layer directories, absolute, in the order of BBLAYERS.
    pub layers: &'a [PathBuf],
    /// The manifest's BitBake variables for this board.
    pub config: &'a IndexMap<String, String>,
    /// The manifest's texts in BitBake's own language for this board.
    pub conf: &'a [String],
    /// The OVERRIDES words of the chosen options.
    pub words: &'a [String],
    /// Every OVERRIDES word that the board's options could give.
    pub vocabulary: &'a [String],
    /// The board's declared sources.
    pub sources: &'a [Declared<'a>],
    /// Commits for recipes that name none.
    pub pins: &'a [SrcrevPin<'a>],
    /// Regular expressions of BBMASK, each with the reason for it.
    pub mask: &'a IndexMap<String, String>,
    /// The architecture of the build host (`uname -m`), where it is not this machine's.
    pub build_arch: Option<&'a str>,
    /// Whether the view holds the uninative tarball of this host's architecture.
    pub uninative: bool,
}

/// The commit of a recipe that names none (AUTOREV, a tag, a moving branch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrcrevPin<'a> {
    /// `SRCREV` or `SRCREV_<name>`.
    pub variable: &'a str,
    /// PN, without a multiconfig.
    pub recipe: &'a str,
    /// The commit.
    pub commit: CommitId,
}

impl SrcrevPin<'_> {
    /// `forcevariable` is the only form that has priority over every override and over AUTOREV
    /// (`bb.fetch2.srcrev_internal_helper`).
    fn write(&self, text: &mut ConfText) -> Result<()> {
        let variable = format!("{}:pn-{}:forcevariable", self.variable, self.recipe);
        check_variable(&variable)?;
        text.plain(&variable, &self.commit.to_string())
    }
}

/// A declared source as the lock has it.
#[derive(Debug, Clone)]
pub enum Declared<'a> {
    /// A file.
    File {
        /// Name in the manifest.
        name: &'a str,
        /// The canonical URL.
        url: &'a SourceUrl,
        /// The name BitBake looks for.
        file_name: &'a str,
        /// The version asked for.
        version: Option<&'a str>,
        /// The checksum for the recipe.
        sha256: &'a Sha256,
    },
    /// A git commit.
    Git {
        /// Name in the manifest.
        name: &'a str,
        /// The canonical URL.
        url: &'a SourceUrl,
        /// The branch asked for.
        branch: Option<&'a str>,
        /// The locked commit.
        commit: &'a CommitId,
        /// The version asked for.
        version: Option<&'a str>,
        /// Whether BitBake fetches submodules (`gitsm`).
        submodules: bool,
        /// Whether BitBake shall look for objects of Git LFS; else `lfs=0`.
        lfs: bool,
        /// Recipes whose SRCREV is pinned.
        recipes: &'a [String],
        /// The `;name=` in these recipes.
        srcrev_name: Option<&'a str>,
    },
    /// An image.
    Image {
        /// Name in the manifest.
        name: &'a str,
        /// The name asked for, and the digest it resolved to.
        image: &'a LockedImage,
        /// The archive of each architecture.
        archives: Vec<ImageArchive<'a>>,
    },
}

/// An image for one architecture, as one file.
#[derive(Debug, Clone)]
pub struct ImageArchive<'a> {
    /// BitBake's word for it.
    pub architecture: &'a str,
    /// The name BitBake looks for.
    pub file_name: &'a str,
    /// The image by the digest of its manifest.
    pub image: ImageName,
    /// What the recipe compares.
    pub sha256: &'a Sha256,
}

impl<'a> Declared<'a> {
    /// A declared source as the lock has it.
    ///
    /// # Errors
    /// A source the lock does not have, or has as something else: kind `Stale`.
    pub fn from_lock(name: &'a str, source: &'a DeclaredSource, lock: &'a Lock) -> Result<Declared<'a>> {
        let found = Declared::of_lock(name, lock, &source.recipes, source.srcrev_name.as_deref())?;
        match (&found, &source.origin) {
            (Declared::File { .. }, SourceOrigin::File(_))
            | (Declared::Git { .. }, SourceOrigin::Git(_))
            | (Declared::Image { .. }, SourceOrigin::Image(_)) => Ok(found),
            _ => Err(stale(name)),
        }
    }

    /// As [`Declared::from_lock`], where only the lock is known. `recipes` and the `;name=` in them stand in the
    /// manifest alone.
    ///
    /// # Errors
    /// As [`Declared::from_lock`].
    pub fn of_lock(
        name: &'a str,
        lock: &'a Lock,
        recipes: &'a [String],
        srcrev_name: Option<&'a str>,
    ) -> Result<Declared<'a>> {
        if let Some(image) = lock.images.get(name) {
            return Ok(Declared::Image { name, image, archives: archives(image, lock)? });
        }
        let pin = lock.sources.get(name).ok_or_else(|| stale(name))?;
        match (&pin.request, lock.get(&pin.locked)?) {
            (Request::File { url, version }, Locked::File(file_name, file)) => {
                Ok(Declared::File { name, url, file_name, version: version.as_deref(), sha256: &file.sha256 })
            }
            (Request::Git { url, reference, version, submodules, lfs, .. }, Locked::Git(_, git)) => Ok(Declared::Git {
                name,
                url,
                branch: reference.branch.as_deref(),
                commit: &git.commit,
                version: version.as_deref(),
                submodules: *submodules,
                lfs: *lfs,
                recipes,
                srcrev_name,
            }),
            _ => Err(stale(name)),
        }
    }

    fn name(&self) -> &'a str {
        match self {
            Declared::File { name, .. } | Declared::Git { name, .. } | Declared::Image { name, .. } => name,
        }
    }

    /// The SRCREV variables and recipes that it pins.
    fn pinned(&self) -> Vec<(String, &'a str)> {
        let Declared::Git { recipes, srcrev_name, .. } = self else { return Vec::new() };
        let variable = srcrev_name.map_or("SRCREV".to_owned(), |name| format!("SRCREV_{name}"));
        recipes.iter().map(|recipe| (variable.clone(), recipe.as_str())).collect()
    }

    /// `KBUILD_<NAME>`.
    fn prefix(&self) -> String {
        format!("KBUILD_{}", variable_part(self.name()))
    }

    fn write(&self, text: &mut ConfText) -> Result<()> {
        let prefix = self.prefix();
        match self {
            Declared::File { url, file_name, version, sha256, .. } => {
                text.plain(&format!("{prefix}_URI"), &file_uri(url, file_name)?)?;
                text.plain(&format!("{prefix}_URL"), url.as_str())?;
                text.optional(&format!("{prefix}_VERSION"), *version)?;
                text.plain(&format!("{prefix}_SHA256"), &sha256.to_string())
            }
            Declared::Git { url, branch, commit, version, submodules, lfs, .. } => {
                let without_lfs = if *lfs { "" } else { ";lfs=0" };
                let uri = format!("{}{without_lfs}", git_uri(url, *branch, *submodules)?);
                text.plain(&format!("{prefix}_URI"), &uri)?;
                text.plain(&format!("{prefix}_URL"), url.as_str())?;
                text.optional(&format!("{prefix}_BRANCH"), *branch)?;
                text.plain(&format!("{prefix}_SRCREV"), &commit.to_string())?;
                text.optional(&format!("{prefix}_VERSION"), *version)?;
                let pins = self.pinned();
                pins.iter()
                    .try_for_each(|(variable, recipe)| SrcrevPin { variable, recipe, commit: **commit }.write(text))
            }
            Declared::Image { image, archives, .. } => {
                text.plain(&format!("{prefix}_IMAGE"), &image.request.image.to_string())?;
                text.plain(&format!("{prefix}_DIGEST"), &format!("sha256:{}", image.digest))?;
                text.optional(&format!("{prefix}_VERSION"), image.request.version.as_deref())?;
                let architectures: Vec<&str> = archives.iter().map(|archive| archive.architecture).collect();
                text.plain(&format!("{prefix}_ARCHITECTURES"), &architectures.join(" "))?;
                archives.iter().try_for_each(|archive| archive.write(&prefix, text))
            }
        }
    }
}

fn stale(name: &str) -> Error {
    Error::new(Kind::Stale, format!("{LOCK} does not have the source `{name}` as {MANIFEST} declares it"))
        .help("run `kbuild lock`")
}

impl ImageArchive<'_> {
    fn write(&self, prefix: &str, text: &mut ConfText) -> Result<()> {
        let ImageArchive { architecture, file_name, image, sha256 } = self;
        let uri = format!("{};downloadfilename={file_name}", image.recipe_url());
        text.plain(&format!("{prefix}_URI_{architecture}"), &uri)?;
        text.plain(&format!("{prefix}_SHA256_{architecture}"), &sha256.to_string())?;
        text.plain(&format!("{prefix}_DIGEST_{architecture}"), &image.reference())
    }
}

/// The archives of an image, as the lock has them.
fn archives<'a>(image: &'a LockedImage, lock: &'a Lock) -> Result<Vec<ImageArchive<'a>>> {
    let archive = |(architecture, id): (&'a String, &'a SourceId)| {
        let Locked::File(file_name, file) = lock.get(id)? else { return Ok(None) };
        let url = file.urls.iter().find(|url| url.access() == Access::Image);
        let image = url.map(ImageName::of_url).transpose()?;
        Ok(image.map(|image| ImageArchive { architecture, file_name, image, sha256: &file.sha256 }))
    };
    let archives = image.locked.iter().map(archive).collect::<Result<Vec<_>>>()?;
    Ok(archives.into_iter().flatten().collect())
}

impl BoardConf<'_> {
    /// The text of `conf/bblayers.conf`.
    ///
    /// # Errors
    /// A layer in a directory whose path BitBake cannot use.
    pub fn bblayers(&self) -> Result<String> {
        let mut text = ConfText::new(self.project, self.board, "bblayers.conf");
        // oe-core's sanity.bbclass compares the two and asks people to merge its newer sample file. This file is written
        // anew each time, so there is nothing to merge, whatever oe-core's number is.
        text.raw("LCONF_VERSION = \"${LAYER_CONF_VERSION}\"\n");
        text.raw("BBPATH = \"${TOPDIR}\"\nBBFILES ?= \"\"\n\nBBLAYERS = \" \\\n");
        for layer in self.layers {
            text.raw(&format!("    {} \\\n", check_path(layer)?));
        }
        text.raw("\"\n");
        Ok(text.0)
    }

    /// The text of `conf/local.conf`.
    pub fn local(&self) -> String {
        let mut text = ConfText::new(self.project, self.board, "local.conf");
        text.raw(&format!("# What belongs to the build is said in {MANIFEST}, where it is reviewed and locked:\n"));
        text.raw("# variables under [config] or a board's `config`, choices under [options].\n\n");
        text.raw("require conf/kbuild.conf\n\n");
        text.raw("# No sample file was copied, so there is none to merge (oe-core's sanity.bbclass asks).\n");
        text.raw("CONF_VERSION = \"${LOCALCONF_VERSION}\"\n");
        text.0
    }

    /// The text of `conf/kbuild.conf`.
    ///
    /// # Errors
    /// A value or name that BitBake's grammar cannot hold, two sources with one variable name. (That `[config]` sets
    /// none of kbuild's own variables is checked when the manifest is read.)
    pub fn kbuild(&self) -> Result<String> {
        let mut text = ConfText::new(self.project, self.board, "kbuild.conf");
        // First, so that a line of the manifest's cannot change one of kbuild's.
        self.write_config(&mut text)?;
        self.write_places(&mut text)?;
        write_seal(&mut text);
        write_caches(&mut text);
        self.write_options(&mut text)?;
        write_sources(&mut text, self.sources)?;
        write_pins(&mut text, self.sources, self.pins)?;
        self.write_names(&mut text)?;
        write_mask(&mut text, self.mask)?;
        Ok(text.0)
    }

    fn write_places(&self, text: &mut ConfText) -> Result<()> {
        text.section("The board, and where it is built");
        text.plain("MACHINE", self.machine)?;
        if let Some(arch) = self.build_arch {
            text.raw("# Not this machine: what another one would build with.\n");
            text.plain("BUILD_ARCH", arch)?;
        }
        text.raw(&format!(
            "# What stands in {KEPT} too, kbuild's class sets again behind all layers: none can undo it.\n"
        ));
        // A multiconfig may have its own, and only the class knows whether it has.
        text.raw(&format!("TMPDIR = \"${{TOPDIR}}/{TMPDIR}\"\n"));
        text.raw("include ${TOPDIR}/conf/kbuild-${@d.getVar('BB_CURRENT_MC') or 'default'}.conf\n");
        text.raw(&format!("{KEPT}[TMPDIR] = \"${{TOPDIR}}/{TMPDIR}\"\n"));
        text.keep("SSTATE_DIR", &format!("${{TOPDIR}}/{SHARED_STATE}"));
        text.keep("BB_HASHSERVE_DB_DIR", &format!("${{TOPDIR}}/{HASH_DATABASE}"));
        text.raw("# No time of day in the names of images.\n");
        text.keep("IMAGE_VERSION_SUFFIX", "");
        text.raw(
            "# The server ends with its client: nothing is left running, and no later run talks to an older seal.\n",
        );
        text.raw("BB_SERVER_TIMEOUT = \"0\"\n");
        text.raw("# Where the distribution keeps no log of its own.\n");
        text.raw(&format!("BB_CONSOLELOG ??= \"${{TOPDIR}}/{TMPDIR}/{}/{CONSOLE_LOG}\"\n", console_logs("${MACHINE}")));
        text.raw("# Tells kbuild what recipes fetch; changes no task.\n");
        text.raw("INHERIT:append = \" kbuild-lock\"\n");

        text.section(&format!("Sources: only those of {LOCK}, out of the store"));
        text.keep("DL_DIR", &format!("${{TOPDIR}}/{VIEW}/dl"));
        text.keep("GITDIR", &format!("${{TOPDIR}}/{VIEW}/git2"));
        text.keep("PREMIRRORS", &format!("{PREMIRRORS} file://${{TOPDIR}}/{VIEW}/flat/"));
        if !self.uninative {
            text.raw("# The lock has no uninative tarball for this host; a failed fetch would turn it off halfway.\n");
            text.raw("INHERIT:remove = \"uninative\"\n");
        }
        Ok(())
    }

    /// The text of [`DEFAULT_FILE`].
    pub fn default_file() -> String {
        format!("TMPDIR:forcevariable = \"${{TOPDIR}}/{TMPDIR}\"\n")
    }

    /// What the class has to know to keep values out of the hash that names the parse cache.
    fn write_names(&self, text: &mut ConfText) -> Result<()> {
        let names: Vec<String> = self.sources.iter().map(|source| variable_part(source.name())).collect();
        let pins: BTreeSet<String> = self.all_pins().map(|pin| lock::pin(&pin.0, pin.1)).collect();
        if !names.is_empty() || !pins.is_empty() {
            text.section("Of what is locked above, a changed value has only those recipes parsed again that use it");
            text.plain("KBUILD_SOURCES", &names.join(" "))?;
            text.plain("KBUILD_PINS", &pins.into_iter().collect::<Vec<_>>().join(" "))?;
        }
        Ok(())
    }

    /// Variable, recipe and commit of every pin.
    fn all_pins(&self) -> impl Iterator<Item = (String, &str, CommitId)> {
        let declared = self.sources.iter().flat_map(|source| match source {
            Declared::Git { commit, .. } => {
                source.pinned().into_iter().map(|(variable, recipe)| (variable, recipe, **commit)).collect()
            }
            _ => Vec::new(),
        });
        declared.chain(self.pins.iter().map(|pin| (pin.variable.to_owned(), pin.recipe, pin.commit)))
    }

    /// The files of [`VALUES`]: a directory for each declared source and each pinned recipe, and the hash over what is locked
    /// of it, by which its one file is called.
    ///
    /// # Errors
    /// As [`BoardConf::kbuild`].
    pub fn values(&self) -> Result<BTreeMap<String, String>> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for source in self.sources {
            let mut text = ConfText(String::new());
            source.write(&mut text)?;
            texts.insert(format!("sources/{}", variable_part(source.name())), text.0);
        }
        let pins: BTreeSet<_> = self.all_pins().collect();
        for (variable, recipe, commit) in pins {
            texts.entry(format!("pins/{recipe}")).or_default().push_str(&format!("{variable} {commit}\n"));
        }
        Ok(texts.into_iter().map(|(name, text)| (name, blake3::hash(text.as_bytes()).to_hex().to_string())).collect())
    }

    fn write_config(&self, text: &mut ConfText) -> Result<()> {
        if !self.config.is_empty() {
            text.section(&format!("[config] of {MANIFEST}"));
        }
        for (variable, value) in self.config {
            check_variable(variable)?;
            text.expanded(variable, value)?;
        }
        if !self.conf.is_empty() {
            text.section(&format!("`conf` of {MANIFEST}"));
            text.raw(&format!("require {MANIFEST_CONF}\n"));
        }
        Ok(())
    }

    /// The text of [`MANIFEST_CONF`]; `None` where the manifest has none.
    pub fn manifest_file(&self) -> Option<String> {
        if self.conf.is_empty() {
            return None;
        }
        let mut text = ConfText::new(self.project, self.board, "kbuild-manifest.conf");
        for snippet in self.conf {
            text.section(&format!("a `conf` of {MANIFEST}"));
            text.raw(snippet.trim_end());
            text.raw("\n");
        }
        Some(text.0)
    }

    fn write_options(&self, text: &mut ConfText) -> Result<()> {
        if self.vocabulary.is_empty() {
            return Ok(());
        }
        self.vocabulary.iter().chain(self.words).try_for_each(|word| check_override(word))?;
        text.section("[options]: all words of this board, and those chosen for this build");
        text.plain("KBUILD_OPTION_WORDS", &self.vocabulary.join(" "))?;
        if self.words.is_empty() {
            return Ok(());
        }
        // `:append` holds whatever bitbake.conf assigns after including local.conf; `.=` would then be lost silently.
        text.plain("OVERRIDES:append", &format!(":{}", self.words.join(":")))
    }
}

/// The variables of declared sources.
pub(super) fn write_sources(text: &mut ConfText, sources: &[Declared<'_>]) -> Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    text.section("[sources] as locked");
    let mut seen = BTreeSet::new();
    for source in sources {
        if !seen.insert(source.prefix()) {
            let message = format!("two sources would both become {}_* for BitBake", source.prefix());
            return Err(Error::input(message).help(format!("rename the source `{}`", source.name())));
        }
        source
            .write(text)
            .map_err(|error| error.wrap(format!("source `{}` cannot be told to BitBake", source.name())))?;
    }
    Ok(())
}

/// The commits of recipes that name none.
pub(super) fn write_pins(text: &mut ConfText, sources: &[Declared<'_>], pins: &[SrcrevPin<'_>]) -> Result<()> {
    // A pin of a declared source is written above and has priority: it is the person's own.
    let declared = sources.iter().flat_map(Declared::pinned).collect::<BTreeSet<_>>();
    let pins = pins.iter().filter(|pin| !declared.contains(&(pin.variable.to_owned(), pin.recipe)));
    let pins: BTreeSet<_> = pins.collect();
    if pins.is_empty() {
        return Ok(());
    }
    text.section("Commits for recipes that name none (AUTOREV, tags, moving branches), as locked");
    pins.into_iter().try_for_each(|pin| pin.write(text))
}

/// The recipes that are left out.
pub(super) fn write_mask(text: &mut ConfText, mask: &IndexMap<String, String>) -> Result<()> {
    if mask.is_empty() {
        return Ok(());
    }
    text.section("[closure] mask: recipes that are left out");
    for (pattern, why) in mask {
        text.raw(&format!("# {}\n", why.replace(|c: char| c.is_control(), " ")));
        text.plain("BBMASK:append", &format!(" {pattern}"))?;
    }
    Ok(())
}

/// The directory of BitBake's console logs inside TMPDIR, as oe-core has it; `console-latest.log` there is the last
/// run's.
pub fn console_logs(machine: &str) -> String {
    format!("log/cooker/{machine}")
}

fn write_seal(text: &mut ConfText) {
    text.section("No network. The kernel holds the seal; these make BitBake say so early and clearly");
    for (variable, value) in [
        ("BB_NO_NETWORK", "1"),
        ("BB_FETCH_PREMIRRORONLY", "1"),
        ("BB_GENERATE_MIRROR_TARBALLS", "0"),
        ("BB_GENERATE_SHALLOW_TARBALLS", "0"),
        ("MIRRORS", ""),
        ("CONNECTIVITY_CHECK_URIS", ""),
        ("CVE_DB_UPDATE_INTERVAL", "-1"),
    ] {
        text.keep(variable, value);
    }
}

/// What leads to caches and servers elsewhere, and only while kbuild waits outside of the seal to ask them. The text is the
/// same with and without: a part of it that changed would have BitBake parse every recipe again.
fn write_caches(text: &mut ConfText) {
    text.section(&format!(
        "[cache] of {MANIFEST}: kbuild asks the caches and forwards to the servers; nothing else is reached"
    ));
    let while_there = |marker: &str, value: &str| {
        format!("${{@'{value}' if os.path.exists(d.getVar('TOPDIR') + '/{marker}') else ''}}")
    };
    text.keep("SSTATE_MIRRORS", &while_there(CACHES, CACHES_MIRROR));
    for server in FORWARDED {
        text.keep(server.variable, &while_there(server.marker, &format!("127.0.0.1:{}", server.port)));
    }
    text.raw("# Which caches there are changes no task.\n");
    text.raw("SSTATE_MIRRORS[vardepvalue] = \"\"\n");
}

/// A file's URL as an item of SRC_URI.
fn file_uri(url: &SourceUrl, file_name: &str) -> Result<String> {
    refuse_semicolon(url)?;
    let own = name::file_name(url).is_ok_and(|own| own == file_name);
    Ok(if own { url.to_string() } else { format!("{url};downloadfilename={file_name}") })
}

/// A repository's URL as BitBake's git fetcher takes it: the scheme names the fetcher, the protocol is a parameter
/// (`bb.fetch2.git.Git.urldata_init`).
pub(crate) fn git_uri(url: &SourceUrl, branch: Option<&str>, submodules: bool) -> Result<String> {
    refuse_semicolon(url)?;
    if branch.is_some_and(|branch| branch.contains([';', ',', '='])) {
        return Err(
            Error::input("the branch's name cannot stand in BitBake's SRC_URI").help("pin a tag or commit instead")
        );
    }
    let fetcher = if submodules { "gitsm" } else { "git" };
    let protocol = match url.scheme() {
        "git+ssh" => "ssh",
        other => other,
    };
    let rest = url.as_str().split_once("://").map_or("", |(_, rest)| rest);
    // Neither is fatal (`Git.urldata_init`), and without a branch it only matters that the commit is there.
    let place = branch.map_or("nobranch=1".to_owned(), |branch| format!("branch={branch}"));
    Ok(format!("{fetcher}://{rest};protocol={protocol};{place}"))
}

fn refuse_semicolon(url: &SourceUrl) -> Result<()> {
    if url.as_str().contains(';') {
        return Err(Error::input(format!("{url} holds a `;`, which begins a parameter in BitBake's SRC_URI"))
            .help("write it as %3B"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    static NO_MASK: OnceLock<IndexMap<String, String>> = OnceLock::new();

    fn url(text: &str) -> SourceUrl {
        text.parse().unwrap()
    }

    fn with<'a>(
        config: &'a IndexMap<String, String>,
        words: &'a [String],
        sources: &'a [Declared<'a>],
    ) -> BoardConf<'a> {
        BoardConf {
            project: "kata",
            board: "qemu",
            machine: "qemux86-64",
            layers: &[],
            config,
            conf: &[],
            words,
            vocabulary: words,
            sources,
            pins: &[],
            mask: NO_MASK.get_or_init(IndexMap::new),
            build_arch: None,
            uninative: false,
        }
    }

    fn config(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(conf: &BoardConf<'_>) -> String {
        let error = conf.kbuild().unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        format!("{error}: {}", error.causes().join(": "))
    }

    #[test]
    fn the_whole_configuration_of_a_board() {
        let linux = url("https://cdn.kernel.org/pub/linux-6.18.35.tar.xz");
        let odd = url("https://h/get.php?id=7");
        let package = url("crate://crates.io/tally/0.3.0");
        let kata = url("https://github.com/kata-containers/kata-containers");
        let ceph = url("ssh://git@host:2222/ceph.git");
        let sha256: Sha256 = "f78602932219125e211c5f5bfd84edcfd4ec5ce88fc944f8248413f665bef236".parse().unwrap();
        let commit: CommitId = "337b6002681479fb6a605ca8a7a1138e81b6098c".parse().unwrap();
        let recipes = ["kata-agent".to_owned()];
        let sources = [
            Declared::File {
                name: "linux",
                url: &linux,
                file_name: "linux-6.18.35.tar.xz",
                version: Some("6.18.35"),
                sha256: &sha256,
            },
            Declared::File {
                name: "tally",
                url: &package,
                file_name: "tally-0.3.0.crate",
                version: Some("0.3.0"),
                sha256: &sha256,
            },
            Declared::File { name: "odd.one", url: &odd, file_name: "odd-7.zip", version: None, sha256: &sha256 },
            Declared::Git {
                name: "kata-containers",
                url: &kata,
                branch: None,
                commit: &commit,
                version: Some("3.32.0"),
                submodules: false,
                lfs: true,
                recipes: &recipes,
                srcrev_name: Some("agent"),
            },
            Declared::Git {
                name: "ceph",
                url: &ceph,
                branch: Some("main"),
                commit: &commit,
                version: None,
                submodules: true,
                lfs: true,
                recipes: &[],
                srcrev_name: None,
            },
        ];
        let config = config(&[
            ("DISTRO", "nodistro"),
            ("DISTRO_FEATURES:append", " virtualization kvm"),
            ("HELLO", "say \"hi\" to ${MACHINE}"),
            ("PACKAGECONFIG:append:pn-qemu", " a\\b"),
        ]);
        let words = ["kata-initrd".to_owned(), "kata-network-bridging".to_owned()];
        let layers =
            [PathBuf::from("/p/build/layers/openembedded-core-ef022bf82d79/meta"), PathBuf::from("/p/layers/mine")];
        let float = |recipe| SrcrevPin { variable: "SRCREV", recipe, commit };
        // What a declared source pins is written once, and so is what two closures pin.
        let pins = [
            float("tidings"),
            SrcrevPin { variable: "SRCREV_agent", ..float("kata-agent") },
            float("news"),
            float("news"),
        ];
        let mask = [("/meta-x/recipes-y/".to_owned(), "needs an account".to_owned())].into();
        let conf = BoardConf {
            layers: &layers,
            pins: &pins,
            mask: &mask,
            build_arch: Some("aarch64"),
            ..with(&config, &words, &sources)
        };
        insta::assert_snapshot!("bblayers", conf.bblayers().unwrap());
        insta::assert_snapshot!("local", conf.local());
        insta::assert_snapshot!("kbuild", conf.kbuild().unwrap());
    }

    #[test]
    fn an_image_is_said_for_each_architecture() {
        let digest = |digit: &str| digit.repeat(64).parse::<Sha256>().unwrap();
        let image = ImageName::read("alpine:3.23").unwrap();
        let request = crate::lock::ImageAsked { image: image.clone(), version: None, architectures: Vec::new() };
        let locked = LockedImage { request, digest: digest("1"), locked: std::collections::BTreeMap::new() };
        let sha256 = digest("3");
        let archive = ImageArchive {
            architecture: "aarch64",
            file_name: "a.oci.tar",
            image: image.at(digest("2")),
            sha256: &sha256,
        };
        let sources = [Declared::Image { name: "alpine", image: &locked, archives: vec![archive] }];
        let text = with(&IndexMap::new(), &[], &sources).kbuild().unwrap();
        let (ones, twos, threes) = ("1".repeat(64), "2".repeat(64), "3".repeat(64));
        let uri = format!("https://docker.io/library/alpine/sha256:{twos}.oci.tar;downloadfilename=a.oci.tar");
        for line in [
            "KBUILD_ALPINE_IMAGE = \"docker.io/library/alpine:3.23\"".to_owned(),
            format!("KBUILD_ALPINE_DIGEST = \"sha256:{ones}\""),
            "KBUILD_ALPINE_ARCHITECTURES = \"aarch64\"".to_owned(),
            format!("KBUILD_ALPINE_URI_aarch64 = \"{uri}\""),
            format!("KBUILD_ALPINE_SHA256_aarch64 = \"{threes}\""),
            format!("KBUILD_ALPINE_DIGEST_aarch64 = \"sha256:{twos}\""),
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in {text}");
        }
        assert_eq!(SourceUrl::of_recipe(&uri).unwrap(), image.at(digest("2")).to_url().unwrap());
    }

    #[test]
    fn uninative_stays_where_the_lock_has_it() {
        let config = IndexMap::new();
        let without = with(&config, &[], &[]);
        assert!(without.kbuild().unwrap().contains("INHERIT:remove"));
        let conf = BoardConf { uninative: true, ..without };
        assert!(!conf.kbuild().unwrap().contains("INHERIT:remove"));
    }

    #[test]
    fn names_that_are_no_variables_are_refused() {
        for good in ["A", "A_B", "A:append", "A:append:pn-x", "A[flag]", "A:x[a.sha256sum]", "_x"] {
            check_variable(good).unwrap();
        }
        for bad in ["", "A B", "A =", "A +", "A\n", "A:", ":append", "${A}", "A[]", "1A", "A\"", "require x"] {
            let config = config(&[(bad, "x")]);
            assert!(refused(&with(&config, &[], &[])).contains("not the name of a BitBake variable"), "{bad:?}");
        }
    }

    #[test]
    fn override_words_are_lower_case() {
        let config = IndexMap::new();
        for bad in ["Rootfs", "a:b", "a b", "", "-a"] {
            let words = [bad.to_owned()];
            assert!(refused(&with(&config, &words, &[])).contains("OVERRIDES"), "{bad:?}");
        }
    }

    #[test]
    fn nothing_of_a_source_is_expanded_or_taken_for_a_parameter() {
        let config = IndexMap::new();
        let sha256: Sha256 = "f78602932219125e211c5f5bfd84edcfd4ec5ce88fc944f8248413f665bef236".parse().unwrap();
        let check = |address: &str, version: &str| {
            let url = url(address);
            let source =
                Declared::File { name: "x", url: &url, file_name: "x", version: Some(version), sha256: &sha256 };
            refused(&with(&config, &[], &[source]))
        };
        assert!(check("https://h/x", "${@bb.fatal('x')}").contains("would expand"));
        assert!(check("https://h/x?a=${B}", "1").contains("would expand"));
        assert!(check("https://h/x;y=1", "1").contains("begins a parameter"));
    }

    #[test]
    fn two_sources_cannot_share_their_variables() {
        let config = IndexMap::new();
        let sha256: Sha256 = "f78602932219125e211c5f5bfd84edcfd4ec5ce88fc944f8248413f665bef236".parse().unwrap();
        let url = url("https://h/x");
        let source = |name| Declared::File { name, url: &url, file_name: "x", version: None, sha256: &sha256 };
        let sources = [source("a-b"), source("a.b")];
        assert!(refused(&with(&config, &[], &sources)).contains("KBUILD_A_B_*"));
    }

    #[test]
    fn git_urls_name_the_fetcher_the_protocol_and_the_branch() {
        for (from, branch, submodules, to) in [
            ("https://h/a/b.git", None, false, "git://h/a/b.git;protocol=https;nobranch=1"),
            ("https://h/a", Some("x/y"), true, "gitsm://h/a;protocol=https;branch=x/y"),
            ("git+ssh://git@h:22/a", None, false, "git://git@h:22/a;protocol=ssh;nobranch=1"),
            ("file:///srv/a", None, false, "git:///srv/a;protocol=file;nobranch=1"),
            ("git://h/a", None, false, "git://h/a;protocol=git;nobranch=1"),
        ] {
            assert_eq!(git_uri(&url(from), branch, submodules).unwrap(), to);
        }
        assert!(git_uri(&url("https://h/a"), Some("x;y=1"), false).is_err());
    }
}
