//! Landlock: the second wall around files, and the first where the kernel gives no namespaces.
//!
//! Inside a root of its own everything can be read, so the rules there are about writing alone; they also keep a root from
//! mounting anything (landlock(7)). Without one, what can be read is listed too.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, LandlockStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

use super::reachable::{MountAccess, Reachable, ReachableEntry};
use super::why;

/// The newest rules that are asked for; a kernel that knows fewer holds those it knows. From the ninth on, connecting to a
/// unix socket by its path is one.
const NEWEST: ABI = ABI::V9;

/// Directories that are the build's own in a root of its own.
const PRIVATE: [&str; 5] = ["/dev", "/proc", "/run", "/tmp", "/var/tmp"];

/// What of the host has to be written without a root of its own. `/tmp` and the like are shared with the host then.
const SHARED: [&str; 9] =
    ["/dev/full", "/dev/null", "/dev/ptmx", "/dev/pts", "/dev/shm", "/dev/tty", "/dev/zero", "/tmp", "/var/tmp"];

/// And read.
const SHARED_READ: [&str; 7] =
    ["/dev/random", "/dev/urandom", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/proc"];

/// What Landlock holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Signals to processes outside.
    pub(super) signals: bool,
    /// Unix sockets that were made outside, by path and by abstract name.
    pub(super) unix_sockets: bool,
}

/// Puts this process and all that it starts under Landlock's rules.
pub(super) fn restrict(reachable: &Reachable, own_root: bool) -> Result<Held, String> {
    let (read, write) = if own_root { inside(reachable) } else { outside(reachable) };
    let all = AccessFs::from_all(NEWEST);
    let failed = || why("set Landlock's rules");
    // Without this right (before Linux 5.19) nothing can be renamed or linked from one directory into another.
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)
        .map_err(failed())?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .map_err(failed())?
        .scope(Scope::from_all(NEWEST))
        .map_err(failed())?
        .create()
        .map_err(failed())?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(NEWEST)))
        .map_err(failed())?
        .add_rules(path_beneath_rules(write, all))
        .map_err(failed())?
        .restrict_self()
        .map_err(failed())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err("the kernel knows no Landlock".to_owned()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(Held { signals: effective_abi >= ABI::V6, unix_sockets: effective_abi >= ABI::V9 })
        }
        _ => Err("the kernel knows no Landlock".to_owned()),
    }
}

fn inside(reachable: &Reachable) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let write = PRIVATE.iter().map(PathBuf::from).chain(of(reachable, MountAccess::Write)).collect();
    (vec![PathBuf::from("/")], write)
}

fn outside(reachable: &Reachable) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let read = SHARED_READ.iter().map(PathBuf::from).chain(of(reachable, MountAccess::Read)).collect();
    let write = SHARED.iter().map(PathBuf::from).chain(of(reachable, MountAccess::Write)).collect();
    (read, write)
}

fn of(reachable: &Reachable, wanted: MountAccess) -> impl Iterator<Item = PathBuf> {
    let entries = reachable.needed().filter(move |(_, entry)| **entry == ReachableEntry::Host(wanted));
    entries.map(|(path, _): (&Path, _)| path.to_owned())
}
