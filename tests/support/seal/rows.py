"""Tries to reach everything in the table of docs/reference/seal.md, from wherever this runs.

`try_all(facts)` gives a dictionary: the name of each row, and "reached" or why not. `facts` says what the test put outside.
A row that is not reached must fail by an exception; one that returns was reached.
"""

import ctypes
import fcntl
import glob
import os
import platform
import signal
import socket
import stat
import subprocess
import sys

libc = ctypes.CDLL(None, use_errno=True)

ROWS = {}


def row(name):
    def register(function):
        ROWS[name] = function
        return function

    return register


def call(name, *arguments):
    """A function of libc that gives -1 and errno when it fails."""
    result = getattr(libc, name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def write(path):
    with open(path, "w") as file:
        file.write("written from inside")


def rewrite(path):
    """Opens what is there for writing."""
    open(path, "r+b").close()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def in_child(function):
    """Runs a function in a process of its own, which may enter namespaces."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            os.write(writing, repr(error).encode())
            os._exit(1)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(said)


def connect(family, kind, address):
    with socket.socket(family, kind) as made:
        made.settimeout(5)
        made.connect(address)


CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000


def enter_namespaces(flags):
    """A user namespace with a root, as BitBake makes one (bb.utils.disable_network)."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", flags | CLONE_NEWUSER)
    for file, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
        with open(f"/proc/self/{file}", "w") as map_file:
            map_file.write(text)


# What a build needs.


@row("board-directory")
def _(facts):
    write(facts["board"] + "/row")


@row("temporary-files")
def _(facts):
    for directory in ["/tmp", "/var/tmp", "/dev/shm"]:
        write(directory + "/kbuild-row")
        os.unlink(directory + "/kbuild-row")


@row("programs")
def _(facts):
    subprocess.run(["/bin/sh", "-c", "true"], check=True)


@row("store-read")
def _(facts):
    read(facts["store"] + "/format")


@row("layers-read")
def _(facts):
    read(facts["layer"] + "/conf/layer.conf")


@row("own-processes")
def _(facts):
    child = subprocess.Popen(["sleep", "60"])
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert os.path.exists("/proc/self/status")


@row("own-loopback")
def _(facts):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 5).close()


@row("own-unix-socket")
def _(facts):
    path = facts["board"] + "/row.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        connect(socket.AF_UNIX, socket.SOCK_STREAM, path)
    os.unlink(path)


@row("own-network-namespace")
def _(facts):
    in_child(lambda: enter_namespaces(CLONE_NEWNET))


@row("own-terminal")
def _(facts):
    master, slave = os.openpty()
    os.close(master)
    os.close(slave)


# Files.


@row("store-write")
def _(facts):
    write(facts["store"] + "/row")


@row("store-blob-write")
def _(facts):
    blob = glob.glob(facts["store"] + "/blobs/**/*", recursive=True)
    blob = next(path for path in blob if os.path.isfile(path))
    try:
        os.chmod(blob, 0o666)
    finally:
        rewrite(blob)


@row("store-blob-mode")
def _(facts):
    blob = glob.glob(facts["store"] + "/blobs/**/*", recursive=True)
    os.chmod(next(path for path in blob if os.path.isfile(path)), 0o444)


@row("store-parent-rename")
def _(facts):
    parent = os.path.dirname(facts["store"])
    os.rename(parent, parent + ".gone")


@row("pack-through-view")
def _(facts):
    repositories = glob.glob(facts["board"] + "/sources/git2/*")
    assert repositories, "the view has no repositories"
    packs = []
    for repository in repositories:
        alternates = repository + "/objects/info/alternates"
        borrowed = read(alternates).decode().split() if os.path.exists(alternates) else []
        for objects in [repository + "/objects", *borrowed]:
            packs += glob.glob(objects + "/pack/*.pack")
    if not packs:
        return
    for pack in packs:
        try:
            os.chmod(pack, 0o666)
        finally:
            rewrite(pack)


@row("layers-write")
def _(facts):
    write(facts["layer"] + "/row")


@row("lock-read")
def _(facts):
    read(facts["lock"])


@row("lock-write")
def _(facts):
    rewrite(facts["lock"])


@row("other-board-write")
def _(facts):
    write(facts["other_board"] + "/row")


@row("beside-project-read")
def _(facts):
    read(facts["secret"])


@row("beside-project-write")
def _(facts):
    rewrite(facts["secret"])


@row("home-read")
def _(facts):
    read(facts["home"] + "/.netrc")


@row("host-settings-read")
def _(facts):
    read("/etc/profile")


@row("host-temporary-files")
def _(facts):
    read(facts["temporary"])


@row("programs-write")
def _(facts):
    write("/usr/row")


@row("root-write")
def _(facts):
    os.mkdir("/row")


@row("mount-over")
def _(facts):
    call("mount", b"tmpfs", facts["board"].encode(), b"tmpfs", 0, None)


@row("mount-parent")
def _(facts):
    MS_BIND = 4096
    parent = os.path.dirname(facts["store"]).encode()
    call("mount", parent, facts["board"].encode() + b"/conf", None, MS_BIND, None)


@row("unmount")
def _(facts):
    MNT_DETACH = 2
    call("umount2", facts["store"].encode(), MNT_DETACH)


@row("remount")
def _(facts):
    MS_REMOUNT, MS_BIND, MS_NOSUID, MS_NODEV = 32, 4096, 2, 4
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV
    call("mount", b"none", facts["store"].encode(), None, flags, None)


@row("unmount-in-a-namespace")
def _(facts):
    def attempt():
        enter_namespaces(CLONE_NEWNS)
        call("umount2", facts["store"].encode(), 2)

    in_child(attempt)


@row("new-proc-in-a-namespace")
def _(facts):
    def attempt():
        enter_namespaces(CLONE_NEWNS | CLONE_NEWPID)

        def mount():
            call("mount", b"proc", b"/tmp", b"proc", 0, None)

        in_child(mount)

    in_child(attempt)


@row("kernel-settings")
def _(facts):
    open("/proc/sys/kernel/core_pattern", "w").close()


@row("kernel-trigger")
def _(facts):
    open("/proc/sysrq-trigger", "w").close()


@row("first-process-root")
def _(facts):
    read("/proc/1/root" + facts["secret"])


@row("devices")
def _(facts):
    node = facts["board"] + "/row-device"
    os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    open(node, "rb").close()


# Sockets and other channels.


@row("host-unix-socket")
def _(facts):
    connect(socket.AF_UNIX, socket.SOCK_STREAM, facts["unix_path"])


@row("host-abstract-socket")
def _(facts):
    connect(socket.AF_UNIX, socket.SOCK_STREAM, b"\0" + facts["unix_abstract"].encode())


@row("host-loopback")
def _(facts):
    connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", facts["tcp"]))


@row("network")
def _(facts):
    # A datagram to an address for documents (RFC 5737): it needs a route, and nobody is there.
    connect(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 9))


@row("address-families")
def _(facts):
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()


@row("kernel-crypto")
def _(facts):
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()


CALLS = {
    "x86_64": {"io_uring_setup": 425, "keyctl": 250},
    "aarch64": {"io_uring_setup": 425, "keyctl": 219},
}.get(platform.machine())


@row("io-uring")
def _(facts):
    # EFAULT is the kernel's answer to these arguments; a filter gives another one.
    try:
        call("syscall", CALLS["io_uring_setup"], 1, None)
    except OSError as error:
        if error.errno != 14:
            raise


@row("keyrings")
def _(facts):
    KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING = 0, -4
    call("syscall", CALLS["keyctl"], KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1)


@row("host-shared-memory")
def _(facts):
    call("shmget", facts["shm_key"], 16, 0)


@row("inherited-descriptor")
def _(facts):
    for process in ["self", str(os.getppid()), "1"]:
        for name in os.listdir(f"/proc/{process}/fd"):
            file = f"/proc/{process}/fd/{name}"
            # The one that lists them is gone by now.
            if os.path.lexists(file) and os.path.basename(os.readlink(file)) == facts["inherited"]:
                return
    raise RuntimeError("not among the open files")


@row("terminal-input")
def _(facts):
    TIOCSTI = 0x5412
    master, slave = os.openpty()
    # EIO says that it is no controlling terminal, or that this kernel has it switched off: the request came through.
    try:
        fcntl.ioctl(slave, TIOCSTI, b"x")
    except OSError as error:
        if error.errno != 5:
            raise
    finally:
        os.close(master)
        os.close(slave)


# Processes.


@row("host-processes-seen")
def _(facts):
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                command = read(f"/proc/{process}/cmdline")
            except OSError:
                continue
            if facts["process"].encode() in command:
                return
    raise RuntimeError("not among the processes")


@row("host-processes-signalled")
def _(facts):
    os.kill(facts["pid"], signal.SIGURG)
    # Inside a namespace another process may have that number.
    if facts["process"].encode() not in read(f"/proc/{facts['pid']}/cmdline"):
        raise RuntimeError("another process has that number")


@row("host-processes-traced")
def _(facts):
    PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def attempt():
        if facts["process"].encode() not in read(f"/proc/{facts['pid']}/cmdline"):
            raise RuntimeError("another process has that number")
        call("ptrace", PTRACE_SEIZE, facts["pid"], None, None)

    in_child(attempt)


@row("new-privileges")
def _(facts):
    if b"NoNewPrivs:\t1" in read("/proc/self/status"):
        raise RuntimeError("no new privileges")


@row("host-name")
def _(facts):
    if socket.gethostname() != facts["host_name"]:
        raise RuntimeError("another name: " + socket.gethostname())


def try_all(facts, names=None):
    outcomes = {}
    for name in names or ROWS:
        try:
            ROWS[name](facts)
            outcomes[name] = "reached"
        except Exception as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    return outcomes


if __name__ == "__main__":
    import json

    with open(sys.argv[1]) as facts_file:
        json.dump(try_all(json.load(facts_file), sys.argv[2:]), sys.stdout)
