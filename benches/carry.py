#!/usr/bin/env python3
"""Carrying a store elsewhere: kbuild export and import beside cp -r and tar, on one disk in one run.

    benches/carry.py [--files N] [--size BYTES] [--large N] [--large-size BYTES] [--kbuild PATH] [DIR]

A store is made of N small files and a few large ones. Each tool takes it from there to a copy beside it, and the page cache
holds everything for all of them. cp and tar check nothing; kbuild hashes every byte on the way out (BLAKE3) and again on the
way in (BLAKE3 and SHA-256), and syncs each blob: so there are also cp and tar with a `sync` behind, and with the sums
checked as somebody who cares would (`sha256sum --check`). DIR is where all of it is done. Prints a table; figures are of
this machine at this moment.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(command, directory):
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment())
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")


def environment():
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**keep, "LC_ALL": "C"}


def timed(directory, *commands):
    started = time.monotonic()
    for command in commands:
        run(command, directory)
    return time.monotonic() - started


def make_project(project, sizes):
    """A project whose store is filled from a folder."""
    upstream = project / "upstream"
    upstream.mkdir(parents=True)
    (project / "bitbake").mkdir()
    lines = ["[project]", 'name = "bench"', "[layers.bitbake]", 'path = "bitbake"']
    random.seed(1)
    for index, size in enumerate(sizes):
        data = random.randbytes(size)
        (upstream / f"source-{index:04}.bin").write_bytes(data)
        lines += [f"[sources.source-{index:04}]", f'url = "https://upstream.example/source-{index:04}.bin"']
        lines += [f'sha256 = "{hashlib.sha256(data).hexdigest()}"']
    lines += ["[[mirrors.rule]]", r"match = 'https://upstream\.example/(.*)'", f'to = ["file://{upstream}/$1"]']
    lines += ["[mirrors]", "builtin = false"]
    (project / "kata.toml").write_text("\n".join(lines) + "\n")


def sums_of(directory, to):
    """What sha256sum wants to check a copy of the store by."""
    lines = []
    for path in sorted((directory / "blobs").rglob("*")):
        if path.is_file():
            lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(directory)}\n")
    to.write_text("".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--large-size", type=int, default=100_000_000)
    parser.add_argument("--kbuild", default=str(ROOT / "target/release/kbuild"))
    parser.add_argument("directory", nargs="?", metavar="DIR")
    args = parser.parse_args()

    sizes = [args.size] * args.files + [args.large_size] * args.large
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-", dir=args.directory) as scratch:
        scratch = Path(scratch).resolve()
        project = scratch / "project"
        make_project(project, sizes)
        kbuild = [args.kbuild, "--quiet"]
        run([*kbuild, "lock"], project)
        store = project / "mirrors/store"
        sums = scratch / "sums"
        sums_of(store, sums)
        rows = []

        def row(name, out, back):
            """`out` writes what is carried, `back` makes a store of it; nothing where one step does both."""
            seconds = timed(project, *out)
            carried = timed(project, *back) if back else None
            rows.append((name, seconds, carried))
            os.sync()

        def place(name):
            return str(scratch / name)

        check = ["sha256sum", "--quiet", "--check", str(sums)]
        row("cp -r", [["cp", "-r", str(store), place("cp")]], None)
        row("cp -r, sync", [["cp", "-r", str(store), place("cp2")], ["sync"]], None)
        timed_check = timed(scratch / "cp", check)
        rows.append(("sha256sum --check of the copy", timed_check, None))
        (scratch / "untar").mkdir()
        row("tar", [["tar", "-cf", place("tar"), "-C", str(store), "."]], [["tar", "-xf", place("tar"), "-C", place("untar")]])
        (scratch / "untar2").mkdir()
        row(
            "tar, sync",
            [["tar", "-cf", place("tar2"), "-C", str(store), "."], ["sync"]],
            [["tar", "-xf", place("tar2"), "-C", place("untar2")], ["sync"]],
        )
        row(
            "kbuild, a directory",
            [[*kbuild, "export", place("bundle")]],
            [[*kbuild, "import", "--store", place("store-1"), place("bundle")]],
        )
        row(
            "kbuild, one file",
            [[*kbuild, "export", place("bundle.tar")]],
            [[*kbuild, "import", "--store", place("store-2"), place("bundle.tar")]],
        )
        row(
            "kbuild, again",
            [[*kbuild, "export", place("bundle")]],
            [[*kbuild, "import", "--store", place("store-1"), place("bundle")]],
        )
        same = subprocess.run(["diff", "-r", str(store / "blobs"), place("store-2") + "/blobs"], capture_output=True)
        if same.returncode:
            sys.exit("the imported store differs")

        print(f"{len(sizes)} blobs, {sum(sizes) / 1e6:.0f} MB, {os.cpu_count()} cores, {scratch.parent}\n")
        print(f"{'':32} {'out':>9} {'in':>9}")
        for name, out, back in rows:
            print(f"{name:32} {out:7.2f} s " + (f"{back:7.2f} s" if back is not None else ""))


if __name__ == "__main__":
    main()
