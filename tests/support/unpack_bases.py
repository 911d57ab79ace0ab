#!/usr/bin/env python3
"""Run do_deploy of a guest's base on images made here: unpack_bases.py TOPDIR RECIPE > ANSWERS

TOPDIR is as for ask_layers.py, RECIPE a file or "mc:NAME:FILE". ANSWERS is JSON: for each image what came of it, {"tar": GNU tar's
list of the root file system, "files": {name: content}, "attributes": {name: headers}, "sha256": of each of two runs}, or
{"refused": the reason}.
BitBake's library is found by PYTHONPATH.
"""

import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import bb.build
import bb.data
import bb.methodpool
import bb.tinfoil


# ---- Images ---------------------------------------------------------------------------------------------------------

def member(name, content="", kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, 0o644, 86400
    data = content.encode()
    if kind == tarfile.REGTYPE:
        info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name, **more):
    return member(name, kind=tarfile.DIRTYPE, **{"mode": 0o755, **more})


def link(name, to, kind=tarfile.SYMTYPE):
    return member(name, kind=kind, linkname=to, mode=0o777)


def hard(name, to):
    return link(name, to, tarfile.LNKTYPE)


def layer(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


LOWER = layer(
    directory("./", mode=0o555),
    directory("etc"),
    member("etc/passwd", "lower"),
    member("etc/gone", "lower"),
    member("etc/again", "lower"),
    member("etc/shadow", "secret", mode=0, uid=0, gid=42),
    directory("usr/bin"),
    member("usr/bin/tool", "#!tool", mode=0o4755, pax_headers={"SCHILY.xattr.user.made": "by hand"}),
    hard("usr/bin/same", "usr/bin/tool"),
    hard("usr/bin/third", "./usr/bin/same"),
    member("home/user/name", "a user's", uid=1000, gid=100),
    link("bin", "usr/bin"),
    link("etc/mtab", "../proc/self/mounts"),
    member("dev/console", kind=tarfile.CHRTYPE, mode=0o600, devmajor=5, devminor=1),
    member("dev/ram0", kind=tarfile.BLKTYPE, mode=0o660, devmajor=1, devminor=0),
    member("run/pipe", kind=tarfile.FIFOTYPE),
    directory("cache", mode=0o1777),
    member("cache/old", "lower"),
    directory("cache/deep"),
    member("cache/deep/old", "lower"),
    directory("was-directory"),
    member("was-directory/file", "lower"),
    member("was-file", "lower"),
    member("x" * 120 + "/" + "ä" * 60, "a long name"),
)
UPPER = layer(
    member("etc/passwd", "upper", mode=0o600),
    member("etc/.wh.gone"),
    member("etc/again", "upper"),
    member("etc/.wh.again"),
    member("etc/.wh.never-was"),
    member("usr/bin/.wh.tool"),
    member("cache/new", "upper"),
    member("cache/.wh..wh..opq"),
    link("was-directory", "etc"),
    directory("was-file"),
    member("was-file/now/file", "upper"),
)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layout(*layers, index=None, manifest=None, blobs=None):
    """The files of an OCI layout; what is given takes the place of what would be right."""
    files = {digest(data): data for data in layers}
    manifest = manifest or {"schemaVersion": 2, "layers": [{"digest": name} for name in map(digest, layers)]}
    text = json.dumps(manifest).encode()
    files[digest(text)] = text
    files.update(blobs or {})
    index = index or {"schemaVersion": 2, "manifests": [{"digest": digest(text)}]}
    files = {"blobs/" + name.replace(":", "/"): data for name, data in files.items()}
    return {**files, "index.json": json.dumps(index).encode()}


def damaged(data):
    """The second member's header is none."""
    return data[:1024] + b"?" * 512 + data[1536:]


def images(secret):
    """Each image's files; `secret` is a layer that lies outside of every archive."""
    upper = gzip.compress(UPPER)
    one = layer(member("file", "content"))
    yield "two layers", layout(LOWER, upper)
    zstd = shutil.which("zstd")
    if zstd:
        compress = subprocess.run([zstd, "-q", "-c"], input=UPPER, stdout=subprocess.PIPE, check=True)
        yield "zstd", layout(LOWER, compress.stdout)
    yield "a root file system", {"rootfs.tar.gz": gzip.compress(LOWER)}

    for name, members in {
        "leads up": [member("etc/../../escape")],
        "absolute": [member("/escape")],
        "through a link": [link("etc", "/etc"), member("etc/escape")],
        "through a link of another name": [link("a", "b"), directory("b"), member("a/escape")],
        "under a file": [member("file"), member("file/escape")],
        "a link out": [hard("passwd", "../../etc/passwd")],
        "a link to an absolute name": [hard("passwd", "/etc/passwd")],
        "a link to nothing": [hard("passwd", "etc/passwd")],
        "a link to a directory": [directory("etc"), hard("passwd", "etc")],
        "takes away what is above": [member("etc/.wh...")],
        "takes away nothing": [member("etc/.wh.")],
        "inside a mark": [member(".wh.etc/passwd")],
        "a root that is a file": [member(".")],
        "an unknown type": [member("file", kind=b"V")],
    }.items():
        yield name, layout(layer(*members))
    # What the layer below has is no way out either.
    yield "through a link below", layout(layer(link("etc", "/etc")), layer(member("etc/escape")))
    yield "a damaged layer", layout(damaged(layer(member("one", "1"), member("two", "2"))))
    yield "a layer cut short", layout(layer(member("one", "1" * 2000))[:1536])
    yield "a compressed layer cut short", layout(gzip.compress(one)[:-12])
    yield "no layer at all", layout(b"neither tar nor anything")
    yield "a blob of other bytes", layout(one, blobs={digest(one): layer(member("file", "another"))})
    yield "a blob that is missing", layout(manifest={"layers": [{"digest": digest(one)}]})
    yield "a blob elsewhere", layout(manifest={"layers": [{"digest": "sha256:../../../%s" % secret.name}]})
    yield "a blob behind a link", layout(manifest={"layers": [{"digest": digest(secret.read_bytes())}]})
    yield "two images", layout(index={"manifests": [{"digest": digest(one)}] * 2})
    yield "an index of indexes", layout(manifest={"manifests": []})
    yield "no layout", {"one": b"", "two": b""}


# ---- What comes of them ---------------------------------------------------------------------------------------------

def write(image, base, secret):
    for name, data in image.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if secret:
        (base / "blobs" / digest(secret.read_bytes()).replace(":", "/")).symlink_to(secret)


def deploy(recipe, work):
    """One run of do_deploy; the file that it makes."""
    data = bb.data.createCopy(recipe)
    for variable, name in {"WORKDIR": ".", "UNPACKDIR": "sources", "DEPLOYDIR": "deploy", "T": "temp"}.items():
        data.setVar(variable, str(work / name))
        (work / name).mkdir(exist_ok=True)
    bb.build.exec_func("do_deploy", data)
    (made,) = (work / "deploy").iterdir()
    assert made.name == recipe.getVar("PN") + ".tar", made
    return made


def contents(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read().decode() for info in tar if info.isreg()}


def attributes(path):
    with tarfile.open(path) as tar:
        return {info.name: info.pax_headers for info in tar if any("xattr" in key for key in info.pax_headers)}


def answer(recipe, image, work, secret, said):
    (work / "sources/base").mkdir(parents=True)
    write(image, work / "sources/base", secret)
    del said[:]
    hashes = []
    for _ in range(2):
        try:
            made = deploy(recipe, work)
        except bb.BBHandledException:
            return {"refused": "\n".join(said).replace(str(work), "WORK")}
        hashes.append(hashlib.sha256(made.read_bytes()).hexdigest())
    listing = subprocess.run(["tar", "--numeric-owner", "--quoting-style=literal", "-tvf", made],
                             stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "TZ": "UTC"}).stdout
    left = sorted(path.name for path in work.iterdir())
    assert left == ["deploy", "sources", "temp"], left
    return {"tar": listing.splitlines(), "files": contents(made), "attributes": attributes(made), "sha256": hashes}


class Said(logging.Handler):
    """Keeps what BitBake complains of."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def main():
    topdir, file = Path(sys.argv[1]), sys.argv[2]
    os.chdir(topdir)
    said = Said()
    answers = {}
    with bb.tinfoil.Tinfoil(output=sys.stderr, setup_logging=True) as tinfoil, tempfile.TemporaryDirectory() as works:
        tinfoil.prepare(quiet=2)
        logging.getLogger("BitBake").addHandler(said)
        recipe = tinfoil.parse_recipe_file(file)
        # BitBake's server has read the classes; here, their functions are text.
        for name in filter(lambda name: name.startswith("kata_base_"), recipe.keys()):
            bb.methodpool.insert_method("kata_guest_base", recipe.getVar(name, False), file, 0)
        secret = Path(works) / "secret"
        secret.write_bytes(layer(member("secret", "of the machine")))
        for number, (name, image) in enumerate(images(secret)):
            behind = secret if name == "a blob behind a link" else None
            answers[name] = answer(recipe, image, Path(works) / str(number), behind, said.lines)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
