//! The filter of system calls: calls that no namespace covers and that a build does not need are refused by seccomp(2).
//!
//! | refused | because |
//! | --- | --- |
//! | sockets of other families than unix, internet and netlink | `AF_VSOCK` and others know no network namespace |
//! | `io_uring_setup` | it makes sockets without socket(2) |
//! | `add_key`, `request_key`, `keyctl` | the caller's keyrings are inherited |
//! | `ioctl` with `TIOCSTI`, `TIOCLINUX` | they type into the terminal that kbuild was started in |
//! | without a network namespace: internet sockets | |
//! | without an ipc namespace: System V IPC, POSIX message queues | |
//!
//! Programs of another ABI of the processor (32-bit x86) are ended: their calls are numbered otherwise, and the calls
//! of old ones cannot be told apart (socketcall(2)).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::why;

/// The walls that seccomp has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refuse {
    /// Internet sockets.
    pub(super) internet: bool,
    /// System V IPC and POSIX message queues.
    pub(super) ipc: bool,
}

type SystemCallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters; they hold for all that this process starts, and cannot be taken off. `no_new_privs` must be
/// set.
pub(super) fn restrict(refuse: Refuse) -> Result<(), String> {
    let mut filters = vec![
        filter(sockets(refuse)?, libc::EAFNOSUPPORT)?,
        filter(terminal()?, libc::EPERM)?,
        filter(
            always([libc::SYS_io_uring_setup, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl]),
            libc::ENOSYS,
        )?,
    ];
    if refuse.ipc {
        let calls = [libc::SYS_shmget, libc::SYS_semget, libc::SYS_msgget, libc::SYS_mq_open];
        filters.push(filter(always(calls), libc::EPERM)?);
    }
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(why("install a seccomp filter")))
}

fn filter(rules: SystemCallRules, errno: i32) -> Result<BpfProgram, String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(why("filter system calls of this architecture"))?;
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture);
    filter.and_then(TryInto::try_into).map_err(why("make a seccomp filter"))
}

/// A call by all the numbers it has: x32 calls have a bit of their own, and the architecture of x86_64
/// (`arch/x86/entry/syscalls/syscall_64.tbl` in the kernel).
fn numbers(call: i64) -> impl Iterator<Item = i64> {
    const X32: i64 = 0x4000_0000;
    const IOCTL_OF_X32: i64 = 514;
    let there = if call == libc::SYS_ioctl { IOCTL_OF_X32 } else { call };
    let x32 = cfg!(target_arch = "x86_64").then_some(there | X32);
    std::iter::once(call).chain(x32)
}

fn always(calls: impl IntoIterator<Item = i64>) -> SystemCallRules {
    calls.into_iter().flat_map(numbers).map(|number| (number, Vec::new())).collect()
}

/// No socket but of the families that are needed, and held elsewhere.
fn sockets(refuse: Refuse) -> Result<SystemCallRules, String> {
    let mut allowed = vec![libc::AF_UNIX, libc::AF_NETLINK];
    if !refuse.internet {
        allowed.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let others = allowed.into_iter().map(|family| condition(0, SeccompCmpOp::Ne, family.unsigned_abs()));
    let rule = SeccompRule::new(others.collect::<Result<_, _>>()?).map_err(why("make a seccomp rule"))?;
    let calls = [libc::SYS_socket, libc::SYS_socketpair].into_iter().flat_map(numbers);
    Ok(calls.map(|number| (number, vec![rule.clone()])).collect())
}

fn terminal() -> Result<SystemCallRules, String> {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    let rules = [TIOCSTI, TIOCLINUX].into_iter().map(|request| {
        SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request)?]).map_err(why("make a seccomp rule"))
    });
    let rules: Vec<SeccompRule> = rules.collect::<Result<_, _>>()?;
    Ok(numbers(libc::SYS_ioctl).map(|number| (number, rules.clone())).collect())
}

/// A comparison of an argument's lower half, which is all that the kernel looks at in these calls.
fn condition(argument: u8, operator: SeccompCmpOp, value: u32) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into()).map_err(why("make a seccomp rule"))
}
