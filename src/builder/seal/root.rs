//! A root of the build's own, with only the files that it can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{chdir, pivot_root};

use super::namespaces::{HOST_NAME, User};
use super::reachable::{MountAccess, Reachable, ReachableEntry};
use super::why;

/// A directory that every host has, over which the two roots are held while one replaces the other.
const STAGE: &str = "/tmp";

/// Devices that only give or take bytes and show nothing of the host.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Parts of procfs that are the whole kernel's, whichever namespace looks: read-only, as container runtimes have them.
const KERNEL_SETTINGS: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Parts of procfs that tell of the whole host.
const KERNEL_SECRETS: [&str; 6] = ["kcore", "key-users", "keys", "kmsg", "latency_stats", "timer_list"];

/// Directories of the build's own, gone with it: in memory, but for a `/tmp` on disk. With their modes.
const PRIVATE: [(&str, &CStr); 3] = [("/tmp", c"mode=1777"), ("/var/tmp", c"mode=1777"), ("/run", c"mode=0755")];

/// Builds the root and enters it. `own_processes`: this process is in a pid namespace of its own, so that a procfs can
/// be mounted for it.
pub(super) fn enter(reachable: &Reachable, user: User, own_processes: bool) -> Result<(), String> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(why("make mounts private"))?;
    let root = NewRoot::stage()?;
    for (path, mode) in PRIVATE {
        root.memory(path, mode)?;
    }
    if let Some(scratch) = reachable.scratch() {
        root.bind_at(scratch, Path::new("/tmp"), MountAccess::Write)?;
    }
    root.devices()?;
    root.processes(own_processes)?;
    root.accounts(user, reachable.home())?;
    let sheltered = root.shelter(reachable)?;
    for (path, entry) in reachable.needed() {
        match entry {
            ReachableEntry::Host(access) => root.bind_at(path, path, *access)?,
            ReachableEntry::Link(target) => root.link(target, path)?,
        }
    }
    for (target, link) in [("/run", "/var/run"), ("/run/lock", "/var/lock")] {
        root.link(Path::new(target), Path::new(link))?;
    }
    root.directory(Path::new("/run/lock"))?;
    sheltered.iter().try_for_each(|directory| read_only(directory))?;
    root.take_over()
}

/// The new root while it is made: `new` in the stage, the host's root beside it in `old`.
struct NewRoot {
    new: PathBuf,
    old: PathBuf,
}

impl NewRoot {
    fn stage() -> Result<NewRoot, String> {
        memory(Path::new(STAGE), c"mode=0755")?;
        chdir(STAGE).map_err(why("enter the stage"))?;
        for name in ["new", "old"] {
            fs::create_dir(name).map_err(why("make the stage"))?;
        }
        pivot_root(".", "old").map_err(why("enter the stage"))?;
        chdir("/").map_err(why("enter the stage"))?;
        let root = NewRoot { new: PathBuf::from("/new"), old: PathBuf::from("/old") };
        memory(&root.new, c"mode=0755")?;
        Ok(root)
    }

    /// The path, in the stage, of one of the new root.
    fn inside(&self, path: &Path) -> PathBuf {
        self.new.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path, in the stage, of one of the host.
    fn of_host(&self, path: &Path) -> PathBuf {
        self.old.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn directory(&self, path: &Path) -> Result<(), String> {
        fs::create_dir_all(self.inside(path)).map_err(why(&format!("make {}", path.display())))
    }

    fn memory(&self, path: &str, mode: &CStr) -> Result<(), String> {
        self.directory(Path::new(path))?;
        memory(&self.inside(Path::new(path)), mode)
    }

    /// Puts something of the host at a path.
    fn bind_at(&self, host: &Path, path: &Path, access: MountAccess) -> Result<(), String> {
        let failed = |error: String| format!("could not mount {}: {error}", host.display());
        let (from, to) = (self.of_host(host), self.inside(path));
        self.place_for(&from, path).map_err(|error| failed(error.to_string()))?;
        // Recursively, or a mount below it would have to be uncovered, which the kernel refuses here.
        rustix::mount::mount_bind_recursive(&from, &to).map_err(|error| failed(error.to_string()))?;
        self.limit(&to, access).map_err(failed)
    }

    /// Something to mount over, of the kind that will be mounted.
    fn place_for(&self, from: &Path, path: &Path) -> std::io::Result<()> {
        let to = self.inside(path);
        if fs::metadata(from)?.is_dir() {
            return fs::create_dir_all(to);
        }
        if fs::symlink_metadata(&to).is_ok() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().unwrap_or(Path::new("/")))?;
        fs::File::create_new(to).map(drop)
    }

    /// Removes rights from a mount and from all mounts below it.
    fn limit(&self, to: &Path, access: MountAccess) -> Result<(), String> {
        let wanted = match access {
            MountAccess::Read => MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY,
            MountAccess::Write => MountFlags::NOSUID | MountFlags::NODEV,
        };
        for (mount, present) in self.mounts_below(to)? {
            // mount_namespaces(7): a mount that came from a more privileged namespace keeps its flags locked, and a
            // remount that does not repeat them fails.
            rustix::mount::mount_remount(&mount, MountFlags::BIND | wanted | present, c"")
                .map_err(|error| format!("{}: {error}", mount.display()))?;
        }
        Ok(())
    }

    /// The mounts at and below a path of the stage, each with the flags it has (proc_pid_mountinfo(5)).
    fn mounts_below(&self, to: &Path) -> Result<BTreeMap<PathBuf, MountFlags>, String> {
        let table = self.of_host(Path::new("/proc/self/mountinfo"));
        let table = fs::read(table).map_err(why("read the list of mounts"))?;
        let table = String::from_utf8_lossy(&table);
        let mounts = table.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let (path, options) = (unescaped(fields.next()?), fields.next()?);
            path.starts_with(to).then(|| (path, flags(options)))
        });
        Ok(mounts.collect())
    }

    fn link(&self, target: &Path, path: &Path) -> Result<(), String> {
        let link = self.inside(path);
        let made = fs::create_dir_all(link.parent().unwrap_or(Path::new("/"))).and_then(|()| symlink(target, &link));
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(why("make a link")(error)),
            _ => Ok(()),
        }
    }

    /// If something of the host is below a private directory (a project in `/tmp`), the way to it is made of directories
    /// that are read-only in the end: nothing on the way can be renamed, as elsewhere in the root.
    fn shelter(&self, reachable: &Reachable) -> Result<BTreeSet<PathBuf>, String> {
        let within = |path: &Path| {
            let (private, _) = PRIVATE.into_iter().find(|(private, _)| path.starts_with(private))?;
            let first = path.strip_prefix(private).ok()?.components().next()?;
            Some(Path::new(private).join(first))
        };
        let needed = reachable.needed().filter_map(|(path, _)| Some((path, within(path)?)));
        let ways = needed.filter(|(_, first)| !reachable.names(first)).map(|(_, first)| self.inside(&first));
        let ways: BTreeSet<PathBuf> = ways.collect();
        for way in &ways {
            fs::create_dir_all(way).map_err(why("make a directory"))?;
            memory(way, c"mode=0755")?;
        }
        Ok(ways)
    }

    /// `/dev`: a few devices, terminals of its own, shared memory of its own.
    fn devices(&self) -> Result<(), String> {
        self.memory("/dev", c"mode=0755")?;
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            let place = self.place_for(&self.of_host(&path), &path);
            place
                .and_then(|()| Ok(rustix::mount::mount_bind(self.of_host(&path), self.inside(&path))?))
                .map_err(why(&format!("mount {}", path.display())))?;
        }
        for (target, link) in [
            ("/proc/self/fd", "/dev/fd"),
            ("/proc/self/fd/0", "/dev/stdin"),
            ("/proc/self/fd/1", "/dev/stdout"),
            ("/proc/self/fd/2", "/dev/stderr"),
            ("pts/ptmx", "/dev/ptmx"),
        ] {
            self.link(Path::new(target), Path::new(link))?;
        }
        self.memory("/dev/shm", c"mode=1777")?;
        self.directory(Path::new("/dev/pts"))?;
        let options = c"newinstance,ptmxmode=0666,mode=0620";
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        rustix::mount::mount("devpts", self.inside(Path::new("/dev/pts")), "devpts", flags, options)
            .map_err(why("mount /dev/pts"))?;
        read_only(&self.inside(Path::new("/dev")))
    }

    /// `/proc`, in which nothing of the whole kernel can be set.
    fn processes(&self, own: bool) -> Result<(), String> {
        self.directory(Path::new("/proc"))?;
        let proc = self.inside(Path::new("/proc"));
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if own {
            rustix::mount::mount("proc", &proc, "proc", flags, None).map_err(why("mount /proc"))?;
        } else {
            rustix::mount::mount_bind_recursive(self.of_host(Path::new("/proc")), &proc).map_err(why("mount /proc"))?;
        }
        for part in KERNEL_SETTINGS.iter().map(|part| proc.join(part)).filter(|part| part.exists()) {
            rustix::mount::mount_bind_recursive(&part, &part).map_err(why(&format!("mount {}", part.display())))?;
            self.limit(&part, MountAccess::Read).map_err(|error| format!("could not mount {error}"))?;
        }
        for part in KERNEL_SECRETS.iter().map(|part| proc.join(part)).filter(|part| part.exists()) {
            let null = self.of_host(Path::new("/dev/null"));
            rustix::mount::mount_bind(null, &part).map_err(why(&format!("mount over {}", part.display())))?;
        }
        Ok(())
    }

    /// The files of `/etc` that say who and where one is. Not the host's: a directory service cannot be asked from
    /// inside.
    fn accounts(&self, user: User, home: &Path) -> Result<(), String> {
        let User { uid, gid } = user;
        let home = home.display();
        let own = |line: String, id: u32| if id == 0 { String::new() } else { line };
        let user_line = own(format!("kbuild:x:{uid}:{gid}:kbuild:{home}:/bin/bash\n"), uid);
        let root_home = if uid == 0 { home.to_string() } else { "/root".to_owned() };
        let group_line = own(format!("kbuild:x:{gid}:\n"), gid);
        for (file, text) in [
            (
                "passwd",
                format!(
                    "root:x:0:0:root:{root_home}:/bin/bash\n{user_line}nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                ),
            ),
            ("group", format!("root:x:0:\ntty:x:5:\n{group_line}nogroup:x:65534:\n")),
            ("hosts", format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost ip6-localhost ip6-loopback\n")),
            ("hostname", format!("{HOST_NAME}\n")),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n".to_owned(),
            ),
            ("resolv.conf", "# No name server can be reached from a build.\n".to_owned()),
        ] {
            let path = Path::new("/etc").join(file);
            self.directory(Path::new("/etc"))?;
            fs::write(self.inside(&path), text).map_err(why(&format!("write {}", path.display())))?;
        }
        Ok(())
    }

    /// Makes the new root the root, and unmounts the host's.
    fn take_over(self) -> Result<(), String> {
        read_only(&self.new)?;
        chdir(&self.new).map_err(why("enter the new root"))?;
        // pivot_root(2), "pivot_root(".", ".")": the old root is stacked over the new one, and then taken off.
        pivot_root(".", ".").map_err(why("change the root"))?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(why("let go of the host's root"))?;
        chdir("/").map_err(why("enter the new root"))
    }
}

/// A file system in memory. Its mode is an option of the mount.
fn memory(at: &Path, mode: &CStr) -> Result<(), String> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, mode).map_err(why("mount a file system in memory"))
}

fn read_only(mount: &Path) -> Result<(), String> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount(mount, flags, c"").map_err(why("make a mount read-only"))
}

/// A path of mountinfo: blanks and the like stand as three octal digits.
fn unescaped(path: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

/// The flags in the options of a mount.
fn flags(options: &str) -> MountFlags {
    options.split(',').fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                "ro" => MountFlags::RDONLY,
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_as_it_is_meant() {
        assert_eq!(unescaped(r"/a\040b/c\134d\011e"), Path::new("/a b/c\\d\te"));
        assert_eq!(unescaped(r"/plain\9"), Path::new(r"/plain\9"));
        let expected = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::RELATIME;
        assert_eq!(flags("ro,nosuid,relatime,seclabel"), expected);
    }
}
