#!/usr/bin/env python3
"""A registry: kbuild push and pull beside curl, over one docker-registry on loopback in one run.

    benches/registry.py [--files N] [--size BYTES] [--large N] [--large-size BYTES] [--jobs N] [--kbuild PATH] [--servers DIR]

The server is Debian's docker-registry, from tests/support/servers/make-servers. curl sends the same files as blobs, each with a
POST and one PUT whose digest it is told, and gets them back by digest, as many at once as kbuild; kbuild also asks what is
there, hashes every byte (BLAKE3 and SHA-256), sends large blobs in chunks that can be gone on with, writes a manifest, and
syncs each blob it brings. Prints a table; figures are of this machine at this moment.
"""

import argparse
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/nonexistent"}


def make_project(project, sizes):
    """A project whose store is filled from a folder."""
    upstream = project / "upstream"
    upstream.mkdir(parents=True)
    (project / "bitbake").mkdir()
    lines = ["[project]", 'name = "bench"', "[layers.bitbake]", 'path = "bitbake"']
    digests = {}
    for index, size in enumerate(sizes):
        data = os.urandom(size)
        path = upstream / f"source-{index:04}.bin"
        path.write_bytes(data)
        digests[path] = hashlib.sha256(data).hexdigest()
        lines += [f"[sources.source-{index:04}]", f'url = "https://upstream.example/{path.name}"']
        lines += [f'sha256 = "{digests[path]}"']
    lines += ["[[mirrors.rule]]", r"match = 'https://upstream\.example/(.*)'", f'to = ["file://{upstream}/$1"]']
    lines += ["[mirrors]", "builtin = false"]
    (project / "kata.toml").write_text("\n".join(lines) + "\n")
    return digests


class Registry:
    """A registry on a port of its own, stopped at the end."""

    def __init__(self, program, directory):
        directory.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = "127.0.0.1:%d" % free.getsockname()[1]
        config = directory / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\nhttp: {{addr: '{self.host}'}}\n"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.child = subprocess.Popen([program, "serve", str(config)], env=ENVIRONMENT, **quiet)
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/").read()
                return
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit("docker-registry did not start")
                time.sleep(0.05)

    def stop(self):
        self.child.terminate()
        self.child.wait()


def timed(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


def curl(registry, digests, to, jobs):
    to.mkdir()
    base = f"http://{registry.host}/v2/curl/blobs"

    def run(*arguments):
        command = ["curl", "-sS", "--fail", "--noproxy", "*", *arguments]
        return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout

    def send(path):
        begun = run("-X", "POST", "-D", "-", "-o", "/dev/null", f"{base}/uploads/")
        place = next(line.split(": ", 1)[1] for line in begun.splitlines() if line.lower().startswith("location"))
        run("-o", "/dev/null", "-T", str(path), f"{place.strip()}&digest=sha256:{digests[path]}")

    def bring(path):
        run("-o", str(to / path.name), f"{base}/sha256:{digests[path]}")

    def each(work):
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, digests))

    return timed(lambda: each(send)), timed(lambda: each(bring))


def kbuild(program, registry, project, store, jobs):
    def run(*command):
        done = subprocess.run([program, "--quiet", *command], cwd=project, capture_output=True, text=True, env=ENVIRONMENT)
        if done.returncode:
            sys.exit(f"kbuild {command[0]} failed:\n{done.stderr[-2000:]}")

    to = f"oci://{registry.host}/bench/kata"
    push = ["push", "--jobs", str(jobs), to]
    pull = ["pull", "--jobs", str(jobs), "--store", str(store), to]
    return (timed(lambda: run(*push)), timed(lambda: run(*pull))), (timed(lambda: run(*push)), timed(lambda: run(*pull)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=3)
    parser.add_argument("--large-size", type=int, default=60_000_000)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--kbuild", default=str(ROOT / "target/release/kbuild"))
    parser.add_argument("--servers", default=os.environ.get("KBUILD_TEST_SERVERS", str(ROOT / "target/test-servers")))
    args = parser.parse_args()

    sizes = [args.size] * args.files + [args.large_size] * args.large
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-") as scratch:
        scratch = Path(scratch).resolve()
        digests = make_project(scratch / "project", sizes)
        subprocess.run([args.kbuild, "--quiet", "lock"], cwd=scratch / "project", env=ENVIRONMENT, check=True)
        registry = Registry(f"{args.servers}/bin/docker-registry", scratch / "registry")
        try:
            rows = [(f"curl, {args.jobs} at once", *curl(registry, digests, scratch / "curl", args.jobs))]
            first, again = kbuild(args.kbuild, registry, scratch / "project", scratch / "store", args.jobs)
            rows += [(f"kbuild, {args.jobs} at once", *first), ("kbuild, again", *again)]
        finally:
            registry.stop()
        same = ["diff", "-r", str(scratch / "project/mirrors/store/blobs"), str(scratch / "store/blobs")]
        if subprocess.run(same, capture_output=True).returncode:
            sys.exit("the pulled store differs")
        print(f"{len(sizes)} blobs, {sum(sizes) / 1e6:.0f} MB, {os.cpu_count()} cores\n")
        print(f"{'':32} {'push':>9} {'pull':>9}")
        for name, out, back in rows:
            print(f"{name:32} {out:7.2f} s {back:7.2f} s")


if __name__ == "__main__":
    main()
