//! What a build can reach: the host's programs and libraries, the store and the layers for reading, the board's
//! directory for writing, and private directories for the rest.
//!
//! One list serves both walls: the mounts of the build's own root ([`super::root`]) and Landlock's rules
//! ([`super::landlock`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where distributions keep programs, libraries and what belongs to them. `/nix` and `/gnu` are stores of programs.
const PROGRAMS: [&str; 9] =
    ["/bin", "/gnu/store", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/sbin", "/usr"];

/// Of `/etc`, what programs read to run at all, and nothing that says who uses this host or how it is set up.
///
/// Users, groups, hosts and the name service are written anew ([`super::root`]). git's, pip's and other programs'
/// settings for the whole host are left out: they would change a build.
const ETC: [&str; 31] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fedora-release",
    "fonts",
    "gnutls",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "mke2fs.conf",
    "os-release",
    "perl",
    "pki",
    "protocols",
    "redhat-release",
    "rpc",
    "services",
    "ssl",
    "terminfo",
    "xml",
];

/// Of `/sys`, what tells programs how many processors there are.
const SYS: [&str; 2] = ["/sys/devices/system/cpu", "/sys/devices/system/node"];

/// Names at the end of a directory of programs whose parent holds their libraries.
const PROGRAM_DIRECTORIES: [&str; 4] = ["bin", "sbin", "shims", "scripts"];

/// What is beside a directory of programs in a person's home and belongs to them; the rest may be tokens and keys
/// (`~/.cargo/credentials.toml`). The last six are pyenv's and its like.
const BESIDE_PROGRAMS: [&str; 12] = [
    "bin",
    "include",
    "lib",
    "lib64",
    "libexec",
    "sbin",
    "plugins",
    "pyenv.d",
    "shims",
    "toolchains",
    "version",
    "versions",
];

/// How something can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountAccess {
    /// For reading and running.
    Read,
    /// For writing too.
    Write,
}

/// A name that can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReachableEntry {
    /// A directory or file of the host, at the same path.
    Host(MountAccess),
    /// A symbolic link of the host, which leads there.
    Link(PathBuf),
}

/// The files of the host that a build can reach, by absolute path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    entries: BTreeMap<PathBuf, ReachableEntry>,
    /// The home of the user inside.
    home: Option<PathBuf>,
    /// The same outside.
    user_home: Option<PathBuf>,
    /// An empty directory of the host that becomes `/tmp`.
    scratch: Option<PathBuf>,
}

impl Reachable {
    /// The host's programs: those of the distribution, those in `path`, and the bits of `/etc` and `/sys` they read.
    /// `tools` are looked for there, because a link may lead to a program elsewhere. Of `home`, the user's, only
    /// programs and their libraries are taken.
    pub fn programs(path: &OsStr, tools: &[&str], home: Option<&Path>) -> Reachable {
        let mut reachable =
            Reachable { user_home: home.and_then(|home| fs::canonicalize(home).ok()), ..Reachable::default() };
        let etc = ETC.iter().map(|name| Path::new("/etc").join(name));
        let versioned = listed(Path::new("/etc")).into_iter().filter(|path| is_language(path));
        for present in PROGRAMS.iter().chain(&SYS).map(PathBuf::from).chain(etc).chain(versioned) {
            reachable.read_if_there(&present);
        }
        let directories: Vec<PathBuf> = std::env::split_paths(path).filter(|entry| entry.is_absolute()).collect();
        directories.iter().for_each(|directory| reachable.add_program_directory(directory));
        // A link in such a directory may lead to a program elsewhere, which has libraries of its own.
        for tool in tools {
            let found = directories.iter().map(|directory| directory.join(tool)).find(|file| file.is_file());
            let Some(real) = found.and_then(|file| fs::canonicalize(file).ok()) else { continue };
            if let Some(directory) = real.parent() {
                reachable.add_program_directory(directory);
            }
        }
        reachable
    }

    /// Adds a directory or file for reading.
    ///
    /// # Errors
    /// One that is not there, or cannot be looked at.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, MountAccess::Read)
    }

    /// Adds a directory or file for writing.
    ///
    /// # Errors
    /// One that is not there, or cannot be looked at.
    pub fn write(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, MountAccess::Write)
    }

    /// Names the home of the user; it must be reachable for writing.
    pub fn set_home(&mut self, home: &Path) {
        self.home = Some(home.to_owned());
    }

    /// Names an empty directory that becomes `/tmp` inside; without one, `/tmp` is in memory.
    pub fn set_scratch(&mut self, scratch: &Path) {
        self.scratch = Some(scratch.to_owned());
    }

    pub(super) fn home(&self) -> &Path {
        self.home.as_deref().unwrap_or(Path::new("/"))
    }

    pub(super) fn scratch(&self) -> Option<&Path> {
        self.scratch.as_deref()
    }

    /// Every name, a directory before what is in it, without what the name above it gives already.
    pub(super) fn needed(&self) -> impl Iterator<Item = (&Path, &ReachableEntry)> {
        let needed = self.entries.iter().filter(|(path, entry)| match (entry, self.above(path)) {
            (ReachableEntry::Host(access), Some(above)) => above != *access,
            (ReachableEntry::Link(_), Some(_)) => false,
            (_, None) => true,
        });
        needed.map(|(path, entry)| (path.as_path(), entry))
    }

    /// Whether a path is named itself.
    pub(super) fn names(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    /// How the nearest reachable directory above a name can be reached.
    fn above(&self, path: &Path) -> Option<MountAccess> {
        path.ancestors().skip(1).find_map(|above| match self.entries.get(above) {
            Some(ReachableEntry::Host(access)) => Some(*access),
            _ => None,
        })
    }

    fn covers(&self, path: &Path) -> bool {
        self.entries.contains_key(path) || self.above(path).is_some()
    }

    fn read_if_there(&mut self, path: &Path) {
        // A path that does not exist is no program of this host; one that cannot be read cannot be run.
        let _ = self.read(path);
    }

    /// Adds a path, and every symbolic link on the way to it.
    fn add(&mut self, path: &Path, access: MountAccess) -> io::Result<()> {
        let real = self.follow(path)?;
        match self.entries.get(&real) {
            // A path that was added for writing stays writable.
            Some(ReachableEntry::Host(MountAccess::Write)) => {}
            _ => drop(self.entries.insert(real, ReachableEntry::Host(access))),
        }
        Ok(())
    }

    /// Where a path leads, as realpath(3) finds it; each link on the way is noted.
    fn follow(&mut self, path: &Path) -> io::Result<PathBuf> {
        /// As the kernel's MAXSYMLINKS.
        const LINKS: usize = 40;
        let mut rest: Vec<PathBuf> = path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
        let (mut real, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop() {
            match part.components().next() {
                Some(Component::RootDir) => real = PathBuf::from("/"),
                Some(Component::ParentDir) => drop(real.pop()),
                Some(Component::Normal(name)) => {
                    let next = real.join(name);
                    if !fs::symlink_metadata(&next)?.is_symlink() {
                        real = next;
                        continue;
                    }
                    links += 1;
                    if links > LINKS {
                        return Err(io::Error::from_raw_os_error(libc::ELOOP));
                    }
                    let target = fs::read_link(&next)?;
                    rest.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
                    self.entries.insert(next, ReachableEntry::Link(target));
                }
                _ => {}
            }
        }
        Ok(real)
    }

    /// Adds a directory of programs with the libraries beside it. Of a person's home, only these.
    fn add_program_directory(&mut self, directory: &Path) {
        let Ok(real) = fs::canonicalize(directory) else { return };
        if self.covers(directory) && self.covers(&real) {
            return;
        }
        self.read_if_there(directory);
        let is_programs =
            real.file_name().is_some_and(|name| PROGRAM_DIRECTORIES.iter().any(|directory| name == *directory));
        let Some(prefix) = real.parent().filter(|prefix| is_programs && *prefix != Path::new("/")) else { return };
        match self.home_around(prefix) {
            None => self.read_if_there(prefix),
            // `~/bin` has nothing beside it but the home.
            Some(home) if home == prefix => {}
            Some(_) => {
                BESIDE_PROGRAMS.iter().for_each(|name| self.read_if_there(&prefix.join(name)));
                // `~/.local/share` holds keyrings.
                if prefix.file_name() != Some(OsStr::new(".local")) {
                    self.read_if_there(&prefix.join("share"));
                }
            }
        }
    }

    /// The home of a person that holds a path.
    fn home_around(&self, path: &Path) -> Option<PathBuf> {
        let own = self.user_home.as_deref().filter(|home| *home != Path::new("/"));
        let is_home =
            |path: &Path| own == Some(path) || path == Path::new("/root") || path.parent() == Some(Path::new("/home"));
        path.ancestors().find(|path| is_home(path)).map(Path::to_owned)
    }
}

/// `/etc/python3`, `/etc/python3.11`, `/etc/java-17-openjdk`: what interpreters read when they start.
fn is_language(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    ["python", "java"].iter().any(|language| name.starts_with(language))
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A directory with programs, each a file that could be run.
    fn programs(directory: &Path, names: &[&str]) {
        fs::create_dir_all(directory).unwrap();
        for name in names {
            fs::write(directory.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn of(reachable: &Reachable, below: &Path) -> Vec<String> {
        let needed = reachable.needed().filter_map(|(path, _)| path.strip_prefix(below).ok());
        needed.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn of_a_home_only_programs_and_their_libraries_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(directory.path()).unwrap();
        for (bin, beside) in [(".local/bin", ".local/share"), (".cargo/bin", ".cargo/registry"), ("bin", "Documents")] {
            programs(&home.join(bin), &["tool"]);
            fs::create_dir_all(home.join(beside)).unwrap();
        }
        for library in [".local/lib", ".pyenv/versions", "tools/share", ".ssh"] {
            fs::create_dir_all(home.join(library)).unwrap();
        }
        programs(&home.join(".pyenv/shims"), &["python3"]);
        programs(&home.join("tools/bin"), &["git"]);
        let path = [".local/bin", ".cargo/bin", "bin", ".pyenv/shims", "tools/bin"].map(|bin| home.join(bin));
        let reachable = Reachable::programs(&std::env::join_paths(path).unwrap(), &["python3"], Some(&home));
        let expected = [
            ".cargo/bin",
            ".local/bin",
            ".local/lib",
            ".pyenv/shims",
            ".pyenv/versions",
            "bin",
            "tools/bin",
            "tools/share",
        ];
        assert_eq!(of(&reachable, &home), expected);
    }

    #[test]
    fn elsewhere_the_whole_installation_is_there_and_links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        programs(&root.join("opt/gcc-12/bin"), &["gcc"]);
        fs::create_dir_all(root.join("opt/gcc-12/libexec")).unwrap();
        symlink("gcc-12", root.join("opt/gcc")).unwrap();
        programs(&root.join("opt/python/bin"), &["python3"]);
        fs::create_dir_all(root.join("links")).unwrap();
        symlink(root.join("opt/python/bin/python3"), root.join("links/python3")).unwrap();
        let path = std::env::join_paths([root.join("opt/gcc/bin"), root.join("links"), root.join("missing")]).unwrap();
        let reachable = Reachable::programs(&path, &["python3"], None);
        assert_eq!(of(&reachable, &root), ["links", "opt/gcc", "opt/gcc-12", "opt/python"]);
        assert_eq!(reachable.entries[&root.join("opt/gcc")], ReachableEntry::Link("gcc-12".into()));
    }

    #[test]
    fn what_the_directory_above_gives_already_is_not_named_again_and_writing_wins() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        let mut reachable = Reachable::default();
        for path in ["a", "a/b", "a/b/c"] {
            reachable.read(&root.join(path)).unwrap();
        }
        assert_eq!(of(&reachable, &root), ["a"]);
        reachable.write(&root.join("a/b")).unwrap();
        reachable.read(&root.join("a/b")).unwrap();
        assert_eq!(of(&reachable, &root), ["a", "a/b", "a/b/c"]);
        symlink("loop", root.join("loop")).unwrap();
        assert!(reachable.read(&root.join("loop")).is_err());
    }
}
