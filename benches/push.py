#!/usr/bin/env python3
"""A bucket: kbuild push and pull beside boto3's transfers, over one S3 server on loopback in one run.

    benches/push.py [--files N] [--size BYTES] [--large N] [--large-size BYTES] [--jobs N] [--kbuild PATH] [--servers DIR]

The server is moto, from tests/support/servers/make-servers, and boto3 comes with it. boto3's transfer manager is what `aws s3
cp` is made of. It is given a list of files and their names, kbuild a lock: kbuild also asks what is there, hashes every byte
(BLAKE3 on the way out, BLAKE3 and SHA-256 on the way in), writes a pointer for each SHA-256 and syncs each blob. moto is
Python and single: it, and not the client, is the limit of most rows, so the server's own time (a bare client that does
nothing but PUT and GET one after the other) stands beside. Prints a table; figures are of this machine at this moment.
"""

import argparse
import hashlib
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}


def environment(**more):
    keep = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return {**keep, "LC_ALL": "C", "HOME": "/nonexistent", **more}


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
    return sorted(upstream.iterdir())


class Server:
    """moto, fresh for each pair of rows: what it holds is in its memory."""

    def __init__(self, packages, scratch):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.log = open(scratch / "moto.log", "ab")
        self.child = subprocess.Popen(
            command, env=environment(PYTHONPATH=str(packages)), stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("PUT", "/team", b"")
                return
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit("moto did not start")
                time.sleep(0.1)

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port)
        scope = "Credential=bench/20260101/us-east-1/s3/aws4_request"
        headers = {"Content-Type": "application/octet-stream", "Authorization": f"AWS4-HMAC-SHA256 {scope}"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status}")
        return data

    def stop(self):
        self.child.terminate()
        self.child.wait()


def timed(work):
    started = time.monotonic()
    work()
    return time.monotonic() - started


def bare(server, files, to):
    """Nothing but the requests, one after the other."""

    def out():
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for path in files:
            server.ask("PUT", f"/team/bare/{path.name}", path.read_bytes(), connection)

    def back():
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        to.mkdir()
        for path in files:
            (to / path.name).write_bytes(server.ask("GET", f"/team/bare/{path.name}", None, connection))

    return timed(out), timed(back)


def transfer(server, files, to, jobs):
    import boto3
    from boto3.s3.transfer import TransferConfig

    keys = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench", "region_name": "us-east-1"}
    client = boto3.session.Session().client("s3", endpoint_url=server.url(), **keys)
    config = TransferConfig(max_concurrency=jobs)

    def each(work):
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(work, files))

    to.mkdir()
    out = timed(lambda: each(lambda path: client.upload_file(str(path), "team", f"boto/{path.name}", Config=config)))
    back = timed(lambda: each(lambda path: client.download_file("team", f"boto/{path.name}", str(to / path.name), Config=config)))
    return out, back


def kbuild(program, server, project, store, jobs):
    variables = environment(AWS_ENDPOINT_URL=server.url(), **KEYS)

    def run(*command):
        done = subprocess.run([program, "--quiet", *command], cwd=project, capture_output=True, text=True, env=variables)
        if done.returncode:
            sys.exit(f"kbuild {command[0]} failed:\n{done.stderr[-2000:]}")

    out = timed(lambda: run("push", "--jobs", jobs, "s3://team/kata"))
    back = timed(lambda: run("pull", "--jobs", jobs, "--store", store, "s3://team/kata"))
    again = timed(lambda: run("push", "--jobs", jobs, "s3://team/kata"))
    nothing = timed(lambda: run("pull", "--jobs", jobs, "--store", store, "s3://team/kata"))
    return (out, back), (again, nothing)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=3)
    parser.add_argument("--large-size", type=int, default=60_000_000)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--kbuild", type=Path, default=ROOT / "target/release/kbuild")
    parser.add_argument("--servers", default=os.environ.get("KBUILD_TEST_SERVERS", str(ROOT / "target/test-servers")))
    args = parser.parse_args()
    packages, program = Path(args.servers) / "moto", str(args.kbuild.resolve())
    sys.path.insert(0, str(packages))

    sizes = [args.size] * args.files + [args.large_size] * args.large
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-") as scratch:
        scratch = Path(scratch).resolve()
        project = scratch / "project"
        files = make_project(project, sizes)
        subprocess.run([program, "--quiet", "lock"], cwd=project, env=environment(), check=True)
        rows = []
        for name, work in [
            ("bare PUT and GET, one by one", lambda server: bare(server, files, scratch / "bare")),
            (f"boto3, {args.jobs} at once", lambda server: transfer(server, files, scratch / "boto", args.jobs)),
        ]:
            server = Server(packages, scratch)
            rows.append((name, *work(server)))
            server.stop()
        server = Server(packages, scratch)
        first, again = kbuild(program, server, project, str(scratch / "store"), str(args.jobs))
        server.stop()
        rows += [(f"kbuild, {args.jobs} at once", *first), ("kbuild, again", *again)]
        same = subprocess.run(
            ["diff", "-r", str(project / "mirrors/store/blobs"), str(scratch / "store/blobs")], capture_output=True
        )
        if same.returncode:
            sys.exit("the pulled store differs")

        print(f"{len(sizes)} blobs, {sum(sizes) / 1e6:.0f} MB, {os.cpu_count()} cores\n")
        print(f"{'':32} {'push':>9} {'pull':>9}")
        for name, out, back in rows:
            print(f"{name:32} {out:7.2f} s {back:7.2f} s")


if __name__ == "__main__":
    main()
