"""What kbuild asks BitBake's own fetchers while it locks, without parsing a recipe: fetchers.py LIB WORK

LIB is the lib/ of a BitBake. WORK/request.json holds what is asked, WORK/answer.json gets the answers:

  submodules   of each gitsm entry, down to the last: under which name its clone is looked for
               (bb.fetch2.gitsm, process_submodules). `repositories` leads from a commit to a
               repository that has it.
  check        whether each entry is fetched out of the view, with no network and nothing
               unpacked: names, checksums, revisions (bb.fetch2.Fetch.download).

Written by kbuild, the same text for every BitBake from 2.0 on. It runs behind kbuild's seal.
"""

import json
import logging
import os
import sys
from pathlib import Path

LIB, WORK = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(LIB))
sys.dont_write_bytecode = True

import bb  # noqa: E402
import bb.data  # noqa: E402
import bb.fetch2  # noqa: E402
import bb.parse  # noqa: E402

# What goes wrong is in the answers.
logging.getLogger("BitBake").addHandler(logging.NullHandler())
logging.getLogger("BitBake").propagate = False


def datastore(request):
    d = bb.data.init()
    view = request["view"]
    for name, value in {
        "TOPDIR": WORK, "TMPDIR": WORK / "tmp", "PERSISTENT_DIR": WORK / "tmp", "CACHE": WORK / "tmp",
        "BB_CACHEDIR": WORK / "tmp", "BB_SRCREV_POLICY": "cache", "WORKDIR": WORK / "tmp", "UNPACKDIR": WORK / "tmp",
        "S": WORK / "tmp/source", "DL_DIR": view + "/dl", "GITDIR": view + "/git2",
        "PREMIRRORS": "%s file://%s/flat/" % (request["premirrors"], view), "MIRRORS": "",
        "BB_NO_NETWORK": "1", "BB_FETCH_PREMIRRORONLY": "1", "BB_GENERATE_MIRROR_TARBALLS": "0",
        "BB_GENERATE_SHALLOW_TARBALLS": "0", "PATH": os.environ["PATH"],
    }.items():
        d.setVar(name, str(value))
    return d


def datastore_of(request, entry):
    """A datastore that says of an entry what its recipe does."""
    d = datastore(request)
    d.setVar("PN", entry["recipe"])
    name = dict(part.partition("=")[::2] for part in entry["entry"].split(";")[1:]).get("name", "default")
    if entry["revision"]:
        for variable in ["SRCREV", "SRCREV_" + name]:
            d.setVar(variable, entry["revision"])
    for algorithm, digits in entry["sums"].items():
        flag = algorithm + "sum"
        d.setVarFlag("SRC_URI", flag if name == "default" else "%s.%s" % (name, flag), digits)
    return d


def revision(ud):
    # One since 2.12; before, by name.
    return getattr(ud, "revision", None) or ud.revisions[ud.names[0]]


def submodules(request, entry):
    found = []

    def walk(ud, repository, d):
        def visit(parent, url, module, path, workdir, d):
            # As gitsm's own download() asks for it.
            url += ";bareclone=1;nobranch=1"
            child = bb.fetch2.Fetch([url], d, cache=False).ud[url]
            found.append({"parent": revision(parent), "path": path, "commit": revision(child),
                          "url": child.method._get_repo_url(child), "clone": os.path.basename(child.clonedir.rstrip("/"))})
            inner = request["repositories"].get(revision(child))
            if inner:
                walk(child, inner, d)

        ud.method.process_submodules(ud, repository, visit, d)

    d = datastore_of(request, entry)
    ud = bb.fetch2.Fetch([entry["entry"]], d, cache=False).ud[entry["entry"]]
    walk(ud, request["repositories"][revision(ud)], d)
    return {"submodules": found}


def check(request, entry):
    try:
        bb.fetch2.Fetch([entry["entry"]], datastore_of(request, entry), cache=False).download()
    except (bb.fetch2.NoMethodError, bb.parse.SkipRecipe):
        pass  # This release has no such fetcher: no recipe of it gets here.
    return {}


def answer(request, entry):
    ask = {"submodules": submodules, "check": check}[request["ask"]]
    try:
        return dict({"error": None, "submodules": []}, **ask(request, entry))
    except Exception as error:
        return {"error": str(error) or type(error).__name__, "submodules": []}


def main():
    request = json.loads((WORK / "request.json").read_text())
    (WORK / "tmp").mkdir(exist_ok=True)
    bb.fetch2.fetcher_init(datastore(request))
    answers = [answer(request, entry) for entry in request["entries"]]
    part = WORK / "answer.part"
    part.write_text(json.dumps(answers))
    part.rename(WORK / "answer.json")


main()
