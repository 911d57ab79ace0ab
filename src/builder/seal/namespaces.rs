//! The namespaces of a build, in two layers.
//!
//! The outer layer makes the mounts, the network and the host name, as a root that exists only there. The inner one is
//! the user again: mounts that come from a more privileged namespace are locked there (mount_namespaces(7)), so that
//! nothing can be unmounted, remounted or uncovered from inside, by root neither.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::thread::UnshareFlags;

use super::why;

/// The name of the host inside: some build systems write it into what they make.
pub(super) const HOST_NAME: &str = "kbuild";

/// The user that starts the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// The user of this process.
    pub(super) fn own() -> User {
        User { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
    }
}

/// Enters the outer layer, as its root: loopback is the only network. `processes`: children get process ids of their
/// own.
pub(super) fn enter_outer(user: User, processes: bool) -> Result<(), String> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    unshare(flags).map_err(|error| match error {
        // unshare(2): what it stands for here has nothing to do with disks.
        Errno::NOSPC => "could not make namespaces: their limit is reached (/proc/sys/user)".to_owned(),
        error => why("make user, mount, network, ipc, uts and cgroup namespaces")(error),
    })?;
    map_user(User { uid: 0, gid: 0 }, user)?;
    bring_up_loopback().map_err(why("bring up the loopback device"))?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(why("set the host name"))?;
    if processes {
        unshare(UnshareFlags::NEWPID).map_err(why("make a pid namespace"))?;
    }
    Ok(())
}

/// Enters the inner layer, as the user that started the build.
pub(super) fn enter_inner(user: User) -> Result<(), String> {
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(why("lock the mounts in"))?;
    map_user(user, User { uid: 0, gid: 0 })
}

/// Makes `outside` the only user of a new user namespace, called `inside` there.
fn map_user(inside: User, outside: User) -> Result<(), String> {
    // user_namespaces(7): without CAP_SETGID outside, setgroups has to be given up before gid_map is written.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{} {} 1", inside.uid, outside.uid)),
        ("/proc/self/gid_map", format!("{} {} 1", inside.gid, outside.gid)),
    ] {
        fs::write(file, text).map_err(why(&format!("write {file}")))?;
    }
    Ok(())
}

#[expect(
    deprecated,
    reason = "unsafe only with UnshareFlags::FILES, which is never asked for here; the process has one thread"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

/// Sets `IFF_UP` on the loopback device, which is number 1 in every network namespace, by one message of rtnetlink(7).
fn bring_up_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    const NLMSG_ERROR: u16 = 2;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, which flags to change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    // Protocol 0 of netlink is NETLINK_ROUTE.
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::sendto(socket.as_fd(), &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    let (length, _) = rustix::net::recv(socket.as_fd(), &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr after the header: the negative errno, 0 for done.
    match answer[..length] {
        [_, _, _, _, t0, t1, _, _, _, _, _, _, _, _, _, _, e0, e1, e2, e3, ..]
            if u16::from_ne_bytes([t0, t1]) == NLMSG_ERROR =>
        {
            match i32::from_ne_bytes([e0, e1, e2, e3]) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(-error)),
            }
        }
        _ => Err(io::Error::new(ErrorKind::InvalidData, "the kernel's answer is no acknowledgement")),
    }
}
