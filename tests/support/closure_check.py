#!/usr/bin/env python3
"""What a target fetches, told by BitBake in another way than kbuild asks: the independent check of a locked closure.

    closure_check.py BUILD_DIR TARGET... > closure.json

kbuild finds the closure with an inherited class and `--runall`. A fault in that method could not be seen with the same
method, so this script shares none of it: the recipes come from the graph that `bitbake -g TARGET...` writes, each one is
parsed through tinfoil without any class or setting of kbuild's, and its URLs are asked of BitBake's own fetcher objects.
Where both agree, source by source, neither has left one out.

BUILD_DIR is a build directory with conf/, and `bitbake` of the engine to ask is on PATH: 2.8 (scarthgap) or newer. Nothing
is fetched. BitBake must be able to parse without a network, as with BB_NO_NETWORK = "1": a floating recipe in the closure
is an error. Two files, pn-buildlist and task-depends.dot, are left in BUILD_DIR by BitBake.

The answer, sorted throughout:

    {"engine": "2.18.0", "targets": [...],
     "recipes": {PN: [{"type", "url", "file", "sha256", "commit", "clone"}, ...]},
     "unfetched": [PN, ...]}

`recipes` has every recipe of the graph whose do_fetch does something, also those without a remote source. A source is a
URL and, of a repository, one commit; `file` is the name of what is looked for in DL_DIR, `clone` that of the bare clone;
null where a fetcher has no such thing. The submodules of a gitsm URL are not expanded: BitBake itself has to clone first.
`unfetched` are the recipes without a do_fetch of their own. Multiconfig recipes are called mc:CONFIG:PN, as in the graph.

Counts, and whatever may make the answer incomplete, go to stderr. Exit code 1: the answer would be incomplete.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys

GRAPH = ("pn-buildlist", "task-depends.dot")
# "PN.TASK" [label="PN TASK\n:VERSION\nRECIPE"]; edges have no label.
NODE = re.compile(r'^"(?P<node>.+)\.(?P<task>do_[^".]+)" \[label="[^"]*\\n(?P<recipe>[^"\\]+)"\]$')
LOCAL = {"file"}
# A URL of these stands for further ones, which nothing here asks for.
BUNDLES = {"npmsw"}
# What oe-core itself hangs on do_fetch: a dummy to depend on, and the sysroot with git or wget in it.
KNOWN_FUNCTIONS = {"fetcher_hashes_dummyfunc", "extend_recipe_sysroot"}


def main():
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    build_dir, targets = sys.argv[1], sys.argv[2:]
    engine = shutil.which("bitbake")
    if not engine:
        sys.exit("closure_check: no bitbake on PATH")
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(engine))), "lib"))
    os.chdir(build_dir)
    # BitBake's client says on stdout what it waits for; that is not part of the answer.
    answer_to, sys.stdout = sys.stdout, sys.stderr

    graph = task_graph(engine, targets)
    recipes, unfetched, faults = ask(graph)
    report(graph, recipes, unfetched)
    for fault in faults:
        print(f"closure_check: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    import bb
    answer = {"engine": bb.__version__, "targets": targets, "recipes": recipes, "unfetched": unfetched}
    json.dump(answer, answer_to, indent=1, sort_keys=True)
    answer_to.write("\n")


def task_graph(engine, targets):
    """The recipes that BitBake's graph of the targets reaches: name -> (file with variant, names of its tasks)."""
    for name in GRAPH:
        # An old one must not be taken for the answer.
        if os.path.exists(name):
            os.unlink(name)
    if subprocess.run([engine, "-g", *targets], check=False, stdout=sys.stderr).returncode:
        sys.exit(f"closure_check: bitbake -g {' '.join(targets)} failed, see above")
    graph = {}
    with open("task-depends.dot", encoding="utf-8") as lines:
        for found in filter(None, map(NODE.match, lines)):
            recipe, tasks = graph.setdefault(found["node"], (found["recipe"], set()))
            if recipe != found["recipe"]:
                sys.exit(f"closure_check: {found['node']} is both {recipe} and {found['recipe']}")
            tasks.add(found["task"])
    with open("pn-buildlist", encoding="utf-8") as lines:
        listed = set(lines.read().split())
    # Two files of one graph. If they differ, this script reads one of them wrongly.
    if listed != set(graph):
        sys.exit(f"closure_check: pn-buildlist and task-depends.dot differ: {sorted(listed ^ set(graph))}")
    return graph


def ask(graph):
    """Each recipe's remote sources, the recipes that fetch nothing by design, and what could not be answered."""
    import bb.tinfoil

    recipes, unfetched, faults = {}, [], []
    with bb.tinfoil.Tinfoil() as tinfoil:
        tinfoil.prepare(quiet=2)
        for name, (recipe, tasks) in sorted(graph.items()):
            d = tinfoil.parse_recipe_file(recipe)
            if not fetches(d):
                unfetched.append(name)
                continue
            if "do_fetch" not in tasks:
                print(f"closure_check: note: {name}: its do_fetch is not in the graph itself", file=sys.stderr)
            if body := own_fetch_code(d):
                print(f"closure_check: note: {name}: do_fetch also runs {body}", file=sys.stderr)
            try:
                recipes[name] = sources(in_task(d, recipe))
            except (bb.fetch2.BBFetchException, bb.BBHandledException, ValueError) as error:
                faults.append(f"{name}: {error}")
    return recipes, unfetched, faults


def fetches(d):
    """Whether do_fetch is a task of the recipe, and one with a body that is run."""
    return bool(d.getVarFlag("do_fetch", "task", False)) and not d.getVarFlag("do_fetch", "noexec", False)


def own_fetch_code(d):
    """What a recipe's do_fetch runs besides the fetcher: nothing here can tell what that downloads."""
    lines = [line.strip() for line in (d.getVar("do_fetch", False) or "").splitlines()]
    code = [line for line in lines if line and not line.startswith("#")]
    own = [] if code == ["bb.build.exec_func('base_do_fetch', d)"] else ["code of its own"]
    for flag in ("prefuncs", "postfuncs"):
        own += [name for name in (d.getVarFlag("do_fetch", flag) or "").split() if name not in KNOWN_FUNCTIONS]
    return ", ".join(own)


def in_task(d, recipe):
    """The recipe's variables as do_fetch sees them: a `:task-fetch` override counts, and so does the variant."""
    import bb.data

    task = bb.data.createCopy(d)
    task.setVar("BB_FILENAME", recipe)
    task.setVar("OVERRIDES", f"task-fetch:{d.getVar('OVERRIDES', False)}")
    bb.data.expandKeys(task)
    return task


def sources(d):
    """The remote sources of one recipe's SRC_URI."""
    import bb.fetch2

    urls = (d.getVar("SRC_URI") or "").split()
    # Without the cache of fetcher objects: its key is the recipe file, which the variants of a recipe share.
    fetcher = bb.fetch2.Fetch(urls, d, cache=False) if urls else None
    found = {}
    for url in dict.fromkeys(urls):
        ud = fetcher.ud[url]
        if ud.type in LOCAL:
            continue
        if ud.type in BUNDLES:
            raise ValueError(f"{url}: what {ud.type} brings along is not asked for by this script")
        ud.setup_localpath(d)
        for commit in commits(ud):
            entry = {
                "type": ud.type,
                "url": d.expand(ud.url),
                "file": os.path.basename(ud.localpath.rstrip("/")),
                "sha256": getattr(ud, "sha256_expected", None),
                "commit": commit,
                "clone": os.path.basename(ud.clonedir.rstrip("/")) if getattr(ud, "clonedir", None) else None,
            }
            found[json.dumps(entry, sort_keys=True)] = entry
    return [found[key] for key in sorted(found)]


def commits(ud):
    """The revisions of a URL: none of a file, one of a repository, several of a URL with several names (2.8)."""
    if getattr(ud, "revisions", None):
        return [ud.revisions[name] for name in ud.names]
    return [getattr(ud, "revision", None)]


def report(graph, recipes, unfetched):
    """Counts for people, on stderr."""
    import bb.fetch2

    every = [entry for entries in recipes.values() for entry in entries]
    # One source, however many recipes and URL parameters lead to it.
    distinct = {(e["url"].split(";")[0], e["sha256"], e["commit"]) for e in every}
    kinds = collections.Counter(kind for kind, _ in {(e["type"], e["url"].split(";")[0]) for e in every})
    hosts = {bb.fetch2.decodeurl(e["url"])[1].lower() for e in every}
    unsummed = {e["url"] for e in every if not e["sha256"] and not e["commit"]}
    for count, what in [
        (len(graph), "recipes in the graph"),
        (len(recipes), "of them with a do_fetch"),
        (len(unfetched), "of them without"),
        (sum(map(bool, recipes.values())), "recipes with remote sources"),
        (len({e["url"] for e in every}), "distinct URLs, parameters counted"),
        (len(distinct), "distinct remote sources: URL without parameters, sum, commit"),
        (len({(e["sha256"], e["commit"]) for e in every}), "distinct contents: sum or commit"),
        (len(hosts), "hosts"),
        (len(unsummed), "URLs with neither sha256 nor commit"),
    ]:
        print(f"closure_check: {count:5} {what}", file=sys.stderr)
    print("closure_check: by type:", ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())), file=sys.stderr)


if __name__ == "__main__":
    main()
