#!/usr/bin/env python3
"""Run kata-static's own tasks on release tarballs made here: release.py TOPDIR RECIPE PARTS > ANSWERS

TOPDIR is as for ask_layers.py, RECIPE a file or "mc:NAME:FILE", PARTS what KATA_STATIC_PARTS shall be. ANSWERS is JSON: for each
tarball {"unpacked": [...], "installed": {file: [mode, what it is]}, "packages": {package: [file, ...]}} or
{"refused": the reason}.
BitBake's library is found by PYTHONPATH.
"""

import fnmatch
import gzip
import io
import json
import logging
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import bb.build
import bb.process
import bb.tinfoil

import run_functions

INITRD = "share/kata-containers/kata-alpine-3.22.initrd"
CONFIG = "share/defaults/kata-containers/"


# ---- What Kata releases, small ---------------------------------------------------------------------------------------

def elf(machine=62, interpreter=None):
    """A program of 64 bits with one segment that is loaded; with an interpreter it is a dynamic one."""
    headers = [(1, 5, 0, 0x400000, 0x400000, 120, 120, 4096)]
    tail = b""
    if interpreter:
        tail = interpreter.encode() + b"\0"
        headers.append((3, 4, 64 + 2 * 56, 0x400000, 0x400000, len(tail), len(tail), 1))
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, 0x400078, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return head + b"".join(struct.pack("<IIQQQQQQ", *header) for header in headers) + tail


def cpio(members):
    """An archive as the kernel's documentation has it (newc)."""
    out = io.BytesIO()
    for number, (name, mode, data) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        out.write(bytes(-out.tell() % 4) + data)
        out.write(bytes(-out.tell() % 4))
    return gzip.compress(out.getvalue())


def initrd(agent, without=""):
    members = [
        (".", stat.S_IFDIR | 0o755, b""),
        ("./sbin", stat.S_IFDIR | 0o755, b""),
        ("./sbin/init", stat.S_IFREG | 0o755, agent),
        ("./bin/bash", stat.S_IFREG | 0o755, b"not wanted"),
        ("./dev/console", stat.S_IFCHR | 0o600, b""),
        ("./etc/kata-opa", stat.S_IFDIR | 0o755, b""),
        ("./etc/kata-opa/allow-all.rego", stat.S_IFREG | 0o644, b"package agent_policy\n"),
        ("./etc/kata-opa/default-policy.rego", stat.S_IFLNK | 0o777, b"allow-all.rego"),
    ]
    return cpio([member for member in members if member[0] != without])


def release(agent=None, shim=None, machine=62, loader="/lib64/ld-linux-x86-64.so.2", without="", **more):
    """The members: a name and its content, or what it leads to."""
    program = elf(machine, loader)
    files = {
        "versions.yaml": b"not wanted",
        # The link before its target, as a sorted archive has it, and a hard link.
        "share/kata-containers/kata-containers-initrd.img": "kata-alpine-3.22.initrd",
        INITRD: initrd(agent or elf(machine), without),
        "share/kata-containers/kata-ubuntu-noble.image": b"an image",
        "share/kata-containers/kata-containers.img": "kata-ubuntu-noble.image",
        "share/kata-containers/vmlinux-6.18.35-197": elf(machine),
        "share/kata-containers/vmlinux.container": "vmlinux-6.18.35-197",
        "share/kata-containers/vmlinuz-6.18.35-197": b"a kernel",
        "share/kata-containers/vmlinuz.container": ("hard", "share/kata-containers/vmlinuz-6.18.35-197"),
        CONFIG + "configuration-qemu.toml": b"[hypervisor.qemu]\n",
        CONFIG + "configuration.toml": "configuration-qemu.toml",
        CONFIG + "configuration-clh.toml": b"not wanted",
        CONFIG + "runtime-rs/configuration-qemu-runtime-rs.toml": b"[hypervisor.qemu]\n",
        "bin/containerd-shim-kata-v2": program,
        "bin/kata-runtime": program,
        "bin/kata-monitor": program,
        "bin/cloud-hypervisor": b"not wanted",
        "runtime-rs/bin/containerd-shim-kata-v2": shim or elf(machine),
        "bin/qemu-system-x86_64": elf(machine),
        "bin/qemu-system-aarch64": elf(machine),
        "share/kata-qemu/qemu/bios-256k.bin": b"firmware",
        "share/kata-qemu/qemu/deep/pvh.bin": b"firmware",
        "libexec/virtiofsd": elf(machine),
    }
    files.update(more.pop("files", {}))
    for name in more.pop("lacks", []):
        del files[name]
    return files


def tarball(files, path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo("./opt/kata/" + name)
            info.mode = 0o640 if name.endswith(".toml") else 0o755 if "bin/" in name or "libexec/" in name else 0o644
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                continue
            info.type, info.linkname = tarfile.SYMTYPE, content
            if isinstance(content, tuple):
                info.type, info.linkname = tarfile.LNKTYPE, "./opt/kata/" + content[1]
            tar.addfile(info)
    path.write_bytes(compress(out.getvalue()))


def compress(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def tarballs(machine):
    other = 183 if machine == 62 else 62
    loader = "/lib64/ld-linux-x86-64.so.2" if machine == 62 else "/lib/ld-linux-aarch64.so.1"
    whole = {"machine": machine, "loader": loader}
    yield "as released", release(**whole)
    yield "a dynamic agent", release(agent=elf(machine, "/lib/ld-musl-x86_64.so.1"), **whole)
    yield "a dynamic Rust shim", release(shim=elf(machine, loader), **whole)
    yield "of another machine", release(**{**whole, "machine": other})
    yield "an agent of another machine", release(agent=elf(other), **whole)
    yield "an agent that is no program", release(agent=b"#!/bin/sh\n" * 20, **whole)
    for file in ("./sbin/init", "./etc/kata-opa/allow-all.rego", "./etc/kata-opa/default-policy.rego"):
        yield "an initrd without " + file, release(without=file, **whole)
    yield "no Rust shim", release(lacks=["runtime-rs/bin/containerd-shim-kata-v2"], **whole)
    yield "a link to nothing", release(lacks=[INITRD], **whole)
    yield "a link out", release(files={"share/kata-containers/kata-containers-initrd.img": "../../../../etc/shadow"}, **whole)
    yield "an absolute link", release(files={"share/kata-containers/kata-containers-initrd.img": "/etc/shadow"}, **whole)
    yield "a circle of links", release(files={INITRD: "kata-containers-initrd.img"}, **whole)
    yield "a hard link out", release(files={"bin/kata-runtime": ("hard", "../../etc/shadow")}, **whole)


# ---- What comes of it -----------------------------------------------------------------------------------------------

def below(directory):
    return sorted(path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())


def describe(path):
    if path.is_symlink():
        return [None, "-> " + os.readlink(path)]
    return ["%o" % (path.stat().st_mode & 0o7777), path.stat().st_size]


def packages(data, files):
    """Which package takes each file, by FILES as oe-core reads it: the first one does."""
    taken, left = {}, ["/" + str(file) for file in files]
    for package in data.getVar("PACKAGES").split():
        patterns = (data.getVar("FILES:" + package) or "").split()
        own = [file for file in left if any(
            fnmatch.fnmatch(file, pattern) or file.startswith(pattern.rstrip("/") + "/") for pattern in patterns)]
        left = [file for file in left if file not in own]
        if own:
            taken[package] = own
    assert not left, "installed but not shipped: %s" % left
    return taken


def run(recipe, archive, parts, work, said):
    data = run_functions.prepare(recipe, work, {"S": "sources/release", "DL_DIR": "."})
    data.setVar("KATA_STATIC_PARTS", parts)
    data.setVar("KBUILD_SOURCE_URI", "file://%s;name=kbuild;unpack=0" % archive)
    del said[:]
    try:
        bb.build.exec_func("do_unpack", data)
        unpacked = below(work / "sources")
        bb.build.exec_func("do_install", data)
        bb.build.exec_func("kata_static_check", data)
    except (bb.BBHandledException, bb.process.ExecutionError):
        return {"refused": "\n".join(said)}
    image = work / "image"
    installed = [path.relative_to(image) for path in below(image)]
    return {
        "unpacked": [str(path.relative_to(work / "sources/release")) for path in unpacked],
        "installed": {"/" + str(path): describe(image / path) for path in installed},
        "packages": packages(data, installed),
    }


def main():
    topdir, file, parts = sys.argv[1:4]
    out = run_functions.answers_to()
    os.chdir(topdir)
    answers = {}
    with bb.tinfoil.Tinfoil(output=sys.stderr, setup_logging=True) as tinfoil, tempfile.TemporaryDirectory() as works:
        tinfoil.prepare(quiet=2)
        said = run_functions.Said(logging.ERROR)
        recipe = run_functions.parse(tinfoil, file)
        machine = int(recipe.getVar("KATA_RELEASE_ELF_MACHINE"))
        works = Path(works)
        for number, (name, files) in enumerate(tarballs(machine)):
            # A link into the store, as BitBake finds it in DL_DIR.
            archive = works / ("%d.tar.zst" % number)
            archive.symlink_to(works / ("stored-%d" % number))
            tarball(files, archive)
            (works / str(number)).mkdir()
            answers[name] = run(recipe, archive, parts, works / str(number), said.lines)
        whole = works / "0.tar.zst"
        for name, content in {"cut short": whole.read_bytes()[:-40], "no zstd": b"plain", "no tarball": compress(b"plain" * 300)}.items():
            archive = works / (name.replace(" ", "-") + ".tar.zst")
            archive.write_bytes(content)
            (works / name).mkdir()
            answers[name] = run(recipe, archive, parts, works / name, said.lines)
        answers["an unknown part"] = run(recipe, whole, "agent shims", make(works / "unknown"), said.lines)
        answers["the agent alone"] = run(recipe, whole, "agent", make(works / "alone"), said.lines)
    json.dump(answers, out)


def make(directory):
    directory.mkdir()
    return directory


if __name__ == "__main__":
    main()
