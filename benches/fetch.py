#!/usr/bin/env python3
"""Fetching many files: kbuild beside curl and wget, from one server in one run.

    benches/fetch.py [--files N] [--size BYTES] [--latency SECONDS] [--kbuild PATH]

The server is python's own, on loopback, with a latency before each answer as a distant host has it. Each tool starts from
nothing and must end with verified files: kbuild verifies by itself, curl and wget are followed by `sha256sum --check`.
Then each is run once more, with everything there. Prints a table; figures are of this machine at this moment.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = 8


class Slow(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    latency = 0.0

    def do_GET(self):
        time.sleep(self.latency)
        super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def serve(directory, latency):
    handler = partial(type("Handler", (Slow,), {"latency": latency}), directory=str(directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def make_files(directory, number, size):
    random.seed(1)
    files = {}
    for index in range(number):
        data = random.randbytes(size)
        name = f"source-{index:04}.bin"
        (directory / name).write_bytes(data)
        files[name] = hashlib.sha256(data).hexdigest()
    return files


def write_project(directory, url, files):
    lines = ["[project]", 'name = "bench"', "[layers.bitbake]", 'path = "bitbake"']
    for name, sha256 in files.items():
        lines += [f"[sources.{name.removesuffix('.bin')}]", f'url = "{url}/{name}"', f'sha256 = "{sha256}"']
    (directory / "bitbake").mkdir(parents=True)
    (directory / "kata.toml").write_text("\n".join(lines) + "\n")


def timed(*steps):
    started = time.monotonic()
    for command, directory in steps:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment())
        if done.returncode:
            sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return time.monotonic() - started


def environment():
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**keep, "no_proxy": "127.0.0.1", "LC_ALL": "C"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--size", type=int, default=300_000)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--kbuild", default=str(ROOT / "target/release/kbuild"))
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="kbuild-bench-") as scratch:
        scratch = Path(scratch)
        upstream, project, peer = scratch / "upstream", scratch / "project", scratch / "peer"
        upstream.mkdir()
        files = make_files(upstream, args.files, args.size)
        url = serve(upstream, args.latency)
        write_project(project, url, files)
        (scratch / "sums").write_text("".join(f"{sha256}  {name}\n" for name, sha256 in files.items()))
        (scratch / "urls").write_text("".join(f"{url}/{name}\n" for name in files))

        check = (["sha256sum", "--quiet", "--check", str(scratch / "sums")], peer)
        curl = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", str(JOBS), "--remote-name-all"]
        curl += [f"{url}/{name}" for name in files]
        wget = ["wget", "--quiet", "--no-clobber", "--input-file", str(scratch / "urls")]
        kbuild = [args.kbuild, "--no-progress", "--jobs", str(JOBS), "fetch"]

        # The lock is made first and its store thrown away: what is measured is fetching by a lock.
        timed(([args.kbuild, "lock"], project))
        shutil.rmtree(project / "mirrors")
        rows = [("kbuild fetch", timed((kbuild, project)), timed((kbuild, project)))]
        for name, command in ((f"curl, {JOBS} at once, sha256sum", curl), ("wget, one by one, sha256sum", wget)):
            if not shutil.which(command[0]):
                print(f"no {command[0]} here", file=sys.stderr)
                continue
            shutil.rmtree(peer, ignore_errors=True)
            peer.mkdir()
            first = timed((command, peer), check)
            # curl has no way to know that a file is right but to hash it; wget skips names that exist.
            again = timed(check) if command is curl else timed((command, peer), check)
            rows.append((name, first, again))

        total = args.files * args.size / 1e6
        print(f"{args.files} files, {total:.0f} MB, {args.latency * 1000:.0f} ms latency, {os.cpu_count()} cores\n")
        print(f"{'':34} {'from nothing':>13} {'again':>9}")
        for name, first, again in rows:
            print(f"{name:34} {first:11.2f} s {again:7.3f} s")


if __name__ == "__main__":
    main()
