#!/usr/bin/env python3
"""The upstreams of the quickstart: small projects, and a server that fails now and then.

    upstreams.py make DIR --engine ENGINE
        Write the upstreams' tarballs and git repositories to DIR, the same bytes
        each time. ENGINE is a BitBake checkout (tests/support/bitbake/make-engine),
        which becomes the repository bitbake.git.

    upstreams.py move DIR
        Give tidings.git another commit, the same each time.

    upstreams.py serve DIR --port-file FILE --log FILE [--seed N] [--mishaps P]
        Serve DIR on a free port of 127.0.0.1 until SIGTERM or SIGINT: files over
        http with ranges, repositories over git's smart http. The port is written
        to FILE once the server listens. A share P of the requests goes wrong, as
        servers do: 503 with Retry-After, a connection cut in the middle of the
        body, a slow start. Which ones follows from the seed, the path and how often
        the path was asked for, not from the order of arrival. No file and no repository
        is busy or cut more than twice in all, so that who tries three times gets it.
        Every request is a line in the log: method, path, status, mishap.

Python's standard library and git are all it needs.
"""

import argparse
import gzip
import hashlib
import io
import os
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

# ---------------------------------------------------------------------------
# The projects

EPOCH = 1767225600  # the date of every file and first commit: 2026-01-01


def noise(size):
    """Text that does not compress to nothing, so that a download has a middle to be cut in."""
    lines = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(size // 65))
    return "\n".join(lines) + "\n"


HELLO = {
    "almanac": noise(400_000),
    "README": "Says hello. As the first process of a machine it then switches it off.\n",
    "hello.c": r"""#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(void)
{
    puts(GREETING " from " MACHINE " (" __FILE__ ")");
    fflush(stdout);
    if (getpid() == 1)
        reboot(RB_POWER_OFF);
    return 0;
}
""",
}

GREETER = {
    "greeter.h": "const char *greeting(int hour);\n",
    "greeter.c": r"""#include "greeter.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int hour = argc > 1 ? atoi(argv[1]) : 9;
    printf("%s!\n", greeting(hour));
    return 0;
}
""",
    "greeting.c": r"""#include "greeter.h"

const char *greeting(int hour)
{
    return hour < 12 ? "Good morning" : hour < 18 ? "Good day" : "Good evening";
}
""",
}


def tidings(news):
    return {"tidings.c": f"""#include <stdio.h>

int main(void)
{{
    puts("{news}");
    return 0;
}}
"""}


CARGO = {
    "cargo.h": "extern const char *const cargo[];\n",
    "cargo.c": """#include "cargo.h"

const char *const cargo[] = {"apples", "letters", "a bicycle", 0};
""",
}

FERRY = {
    ".gitmodules": '[submodule "cargo"]\n\tpath = cargo\n\turl = ../cargo.git\n',
    "ferry.c": r"""#include "cargo/cargo.h"
#include <stdio.h>

int main(void)
{
    for (const char *const *piece = cargo; *piece; piece++)
        printf("aboard: %s\n", *piece);
    return 0;
}
""",
}


# ---------------------------------------------------------------------------
# Making them

GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(*args, **kwargs):
    kwargs.setdefault("check", True)
    return subprocess.run(["git", *args], env=GIT_ENVIRONMENT, stdout=subprocess.PIPE, **kwargs)


def as_bytes(files):
    """{path: text} as {path: (mode, bytes)}"""
    return {path: ("100644", text.encode()) for path, text in files.items()}


# What a BitBake that has been run leaves in its own library.
LEFT_BEHIND = ("__pycache__", "pyshtables.py")


def from_folder(folder):
    """A folder as {path: (mode, bytes)}, whether or not BitBake has run in it."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(name in path.parts for name in LEFT_BEHIND):
            mode = "100755" if os.access(path, os.X_OK) else "100644"
            files[str(path.relative_to(folder))] = (mode, path.read_bytes())
    return files


def make_repository(path, branch, commits, links=None):
    """A bare repository with one commit per dict of files; links: {path: commit}.

    Written with fast-import, so that neither the user's configuration nor the
    clock has a say. Returns the id of the last commit.
    """
    if not path.exists():
        git("init", "--quiet", "--bare", f"--initial-branch={branch}", str(path))
    stream = io.BytesIO()
    for number, files in enumerate(commits):
        who = f"Quickstart <quickstart@upstream.example> {EPOCH + 3600 * number} +0000"
        message = f"Step {number + 1}".encode()
        stream.write(f"commit refs/heads/{branch}\ncommitter {who}\n".encode())
        stream.write(b"data %d\n%s\ndeleteall\n" % (len(message), message))
        for name, (mode, data) in files.items():
            stream.write(f"M {mode} inline {name}\ndata {len(data)}\n".encode() + data + b"\n")
        for name, commit in (links or {}).items():
            stream.write(f"M 160000 {commit} {name}\n".encode())
    git("-C", str(path), "fast-import", "--quiet", "--done", input=stream.getvalue() + b"done\n")
    return git("-C", str(path), "rev-parse", f"refs/heads/{branch}").stdout.decode().strip()


def make_tarball(path, top, files):
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in sorted(files.items()):
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(text.encode()), EPOCH, 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    path.write_bytes(gzip.compress(tar_bytes.getvalue(), 9, mtime=0))


def make(target, engine):
    target.mkdir(parents=True, exist_ok=False)
    make_tarball(target / "hello-1.0.tar.gz", "hello-1.0", HELLO)
    first = {**GREETER, "greeter.c": GREETER["greeter.c"].replace(": 9", ": 0")}
    make_repository(target / "greeter.git", "main", [as_bytes(first), as_bytes(GREETER)])
    make_tidings(target, ["Nothing new.", "A ferry has come!"])
    cargo = make_repository(target / "cargo.git", "main", [as_bytes(CARGO)])
    make_repository(target / "ferry.git", "main", [as_bytes(FERRY)], {"cargo": cargo})
    make_repository(target / "bitbake.git", "2.19", [from_folder(engine)])


def make_tidings(target, news):
    make_repository(target / "tidings.git", "main", [as_bytes(tidings(n)) for n in news])


def move(target):
    # The first commits come out as they are, so that the new one stands on them.
    make_tidings(target, ["Nothing new.", "A ferry has come!", "The ferry has left."])


# ---------------------------------------------------------------------------
# Going wrong

class Mishaps:
    """Decides which requests go wrong, and how."""

    KINDS = ("busy", "cut", "slow")
    FAILURES = 2  # at most so many times busy or cut, per file or repository

    def __init__(self, seed, share):
        self.seed, self.share = seed, share
        self.asked = Counter()  # per path
        self.failed = Counter()  # per file or repository
        self.lock = threading.Lock()

    def next(self, path):
        """The mishap of this request for path: one of KINDS or None."""
        with self.lock:
            dice = hashlib.sha256(f"{self.seed} {path} {self.asked[path]}".encode()).digest()
            self.asked[path] += 1
            if int.from_bytes(dice[:4], "big") >= self.share * 2**32:
                return None
            kind = self.KINDS[dice[4] % len(self.KINDS)]
            thing = path.lstrip("/").split("/")[0]
            if kind != "slow":
                if self.failed[thing] == self.FAILURES:
                    return None
                self.failed[thing] += 1
            return kind


class Log:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()

    def write(self, *words):
        with self.lock:
            self.file.write("\t".join(str(word) for word in words) + "\n")


# ---------------------------------------------------------------------------
# Serving

SLOW_START = 0.7  # seconds
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "quickstart-upstreams"
    timeout = 30

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_GET

    def answer(self):
        url = urlsplit(self.path)
        body = self.request_body()  # read even when it goes wrong: keep-alive needs it
        mishap = self.server.mishaps.next(url.path)
        if mishap == "busy":
            self.reply(503, {"Retry-After": "1"}, b"Busy, try again.\n", mishap)
            return
        if mishap == "slow":
            time.sleep(SLOW_START)
        if ".git/" in url.path:
            status, headers, data = self.git_answer(url, body)
        else:
            status, headers, data = self.file_answer(url)
        if status >= 400 and mishap == "cut":
            mishap = None
        self.reply(status, headers, data, mishap)

    def request_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status, headers, data, mishap):
        self.server.log.write(self.command, self.path, status, mishap or "-")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        if mishap == "cut":
            self.close_connection = True
            data = data[:len(data) // 2]
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def file_answer(self, url):
        path = (self.server.root / unquote(url.path).lstrip("/")).resolve()
        if self.command == "POST" or self.server.root not in path.parents or not path.is_file():
            return 404, {"Content-Type": "text/plain"}, b"No such file.\n"
        data = path.read_bytes()
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
            "Last-Modified": DATE,
        }
        start = self.range_start(headers)
        if start is None:
            return 200, headers, data
        if start >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return 206, headers, data[start:]

    def range_start(self, headers):
        """Where a resumed download goes on; only `bytes=N-` is understood (RFC 9110, 14.2)."""
        wanted = self.headers.get("Range", "")
        validator = self.headers.get("If-Range")
        if validator not in (None, headers["ETag"], headers["Last-Modified"]):
            return None
        start = wanted.removeprefix("bytes=").removesuffix("-")
        return int(start) if wanted.startswith("bytes=") and start.isdigit() else None

    def git_answer(self, url, body):
        """git's own CGI (git-http-backend(1)) says what a repository says."""
        environment = {
            **GIT_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": unquote(url.path),
            "QUERY_STRING": url.query,
            "REMOTE_ADDR": self.client_address[0],
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        answer = subprocess.run(["git", "http-backend"], env=environment, input=body, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        head, _, data = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        status = int(headers.pop("Status", "200").split()[0]) if head else 500
        return status, headers, data

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            pass  # a client that hangs up is a client's right

    def log_message(self, *_):
        pass  # the log has it


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root, log, mishaps):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.log, self.mishaps = root.resolve(), log, mishaps


def write_whole(path, text):
    """Whoever waits for the file never reads half of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.rename(file.name, path)


def serve(args):
    server = Server(args.dir, Log(args.log), Mishaps(args.seed, args.mishaps))

    def stop(*_):
        # shutdown() waits for serve_forever(), which runs in this very thread.
        threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    write_whole(args.port_file, f"{server.server_address[1]}\n")
    server.serve_forever(poll_interval=0.1)
    server.server_close()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("make")
    command.add_argument("dir", type=Path)
    command.add_argument("--engine", type=Path, required=True)
    command = commands.add_parser("move")
    command.add_argument("dir", type=Path)
    command = commands.add_parser("serve")
    command.add_argument("dir", type=Path)
    command.add_argument("--port-file", type=Path, required=True)
    command.add_argument("--log", type=Path, required=True)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--mishaps", type=float, default=0.3)
    args = parser.parse_args()
    if args.command == "make":
        make(args.dir, args.engine)
    elif args.command == "move":
        move(args.dir)
    else:
        serve(args)


if __name__ == "__main__":
    main()
