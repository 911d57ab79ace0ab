#!/usr/bin/env python3
"""Serving a store: kbuild serve beside nginx and Python's http.server, over one store in one run, with curl as the client.

    benches/serve.py [--files N] [--size BYTES] [--large N] [--large-size BYTES] [--rounds N] [--parallel N]
                  [--kbuild PATH] [--nginx PATH]

A store is made of N small files and a few large ones, and the page cache holds all of it. `curl --parallel` asks each server
for every file by its SHA-256 and throws the bytes away. Each server gets the same rounds, in turn; the best and the median are
printed, with the processor time that the server took. Figures are of this machine at this moment; client and server share it.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NGINX = """daemon off;
master_process off;
pid {directory}/pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    {temporary}
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def environment():
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**keep, "no_proxy": "127.0.0.1", "LC_ALL": "C"}


def run(command, directory):
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment())
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def make_store(project, sizes, kbuild):
    """A project whose store is filled from a folder; gives the hashes."""
    upstream = project / "upstream"
    upstream.mkdir(parents=True)
    (project / "bitbake").mkdir()
    lines = ["[project]", 'name = "bench"', "[layers.bitbake]", 'path = "bitbake"']
    random.seed(1)
    hashes = []
    for index, size in enumerate(sizes):
        data = random.randbytes(size)
        (upstream / f"source-{index:04}.bin").write_bytes(data)
        hashes.append(hashlib.sha256(data).hexdigest())
        lines += [f"[sources.source-{index:04}]", f'url = "https://upstream.example/source-{index:04}.bin"']
        lines += [f'sha256 = "{hashes[-1]}"']
    lines += ["[[mirrors.rule]]", r"match = 'https://upstream\.example/(.*)'", f'to = ["file://{upstream}/$1"]']
    lines += ["[mirrors]", "builtin = false"]
    (project / "kata.toml").write_text("\n".join(lines) + "\n")
    run([kbuild, "--quiet", "lock"], project)
    shutil.rmtree(upstream)
    return hashes


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"nothing listens at port {port}")


class Server:
    """A server's process, and the URL it answers at."""

    def __init__(self, name, command, port, directory):
        self.name, self.port = name, port
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, cwd=directory, env=environment(), **quiet)
        if port is None:
            self.port = int(json.loads(self.process.stdout.readline())["url"].rstrip("/").rsplit(":", 1)[1])
        wait_for(self.port)

    def processor_time(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fetch(self, hashes, scratch, parallel):
        config = scratch / "curl"
        urls = (f"http://127.0.0.1:{self.port}/sha256/{hex}" for hex in hashes)
        config.write_text("".join(f'url = "{url}"\noutput = "/dev/null"\n' for url in urls))
        curl = ["curl", "--silent", "--show-error", "--fail-early", "--fail", "--parallel"]
        started, before = time.monotonic(), self.processor_time()
        run([*curl, "--parallel-max", str(parallel), "--config", str(config)], scratch)
        return time.monotonic() - started, self.processor_time() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--large-size", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--kbuild", default=str(ROOT / "target/release/kbuild"))
    parser.add_argument("--nginx", default=str(ROOT / "target/test-servers/bin/nginx"))
    args = parser.parse_args()

    kinds = {"small": [args.size] * args.files, "large": [args.large_size] * args.large}
    with tempfile.TemporaryDirectory(prefix="kbuild-bench-") as scratch:
        scratch = Path(scratch).resolve()
        project = scratch / "project"
        hashes = make_store(project, [size for sizes in kinds.values() for size in sizes], args.kbuild)
        store = project / "mirrors/store"
        servers = [Server("kbuild serve", [args.kbuild, "serve", "--listen", "127.0.0.1:0", "--format", "json"], None, project)]
        if Path(args.nginx).is_file():
            port, own = free_port(), scratch / "nginx"
            own.mkdir()
            names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            temporary = " ".join(f"{name}_temp_path {own}/{name};" for name in names)
            user = "user root;\n" if os.getuid() == 0 else ""
            text = user + NGINX.format(directory=own, port=port, root=store, temporary=temporary)
            (own / "conf").write_text(text)
            servers.append(Server("nginx", [args.nginx, "-p", str(own), "-c", str(own / "conf"), "-e", "stderr"], port, own))
        else:
            print("no nginx here", file=sys.stderr)
        port = free_port()
        python = ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(store)]
        servers.append(Server("python3 -m http.server", python, port, scratch))

        split = args.files
        wanted = {"small": hashes[:split], "large": hashes[split:]}
        took = {(server.name, kind): [] for server in servers for kind in kinds}
        try:
            for _ in range(args.rounds):
                for server in servers:
                    for kind in kinds:
                        took[server.name, kind].append(server.fetch(wanted[kind], scratch, args.parallel))
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait()

        small, large = (sum(sizes) / 1e6 for sizes in kinds.values())
        print(f"{args.files} files of {args.size} bytes ({small:.0f} MB), {args.large} of {args.large_size} ({large:.0f} MB); ", end="")
        print(f"curl, {args.parallel} at once; {args.rounds} rounds; {os.cpu_count()} cores\n")
        print(f"{'':24} {'small: best':>12} {'median':>9} {'cpu':>8} {'large: best':>13} {'median':>9} {'cpu':>8}")
        for server in servers:
            line = f"{server.name:24}"
            for kind, width in (("small", 10), ("large", 11)):
                seconds, processor = zip(*took[server.name, kind])
                line += f" {min(seconds):{width}.2f} s {statistics.median(seconds):7.2f} s {statistics.median(processor):6.2f} s"
            print(line)


if __name__ == "__main__":
    main()
