#!/usr/bin/env python3
"""Compare what kbuild found with what closure_check.py found in another way: closure_compare.py REPORT CLOSURE

REPORT is kbuild's discovery of a board as JSON, CLOSURE the answer of closure_check.py for the same layers and targets.
Every recipe and every source has to be in both: kind, name of the file or clone, checksum and commit, and the address,
but for packages, which kbuild records by their coordinates. Differences are listed; exit code 1 if there are any.
"""

import json
import sys
import urllib.parse

COORDINATES = {"crate", "gomod", "npm"}


def ours(report):
    found = {}
    for recipe in report["recipes"]:
        sources = found[recipe["name"]] = set()
        for problem in recipe["problems"]:
            sources.add(("problem", problem["written"], problem["why"], None, None, None))
        for entry in recipe["fetches"]:
            git = entry["git"] or {}
            name = git.get("clone") or entry["file"]
            url = git.get("url") or entry["url"]
            sources.add((entry["kind"], address(entry["kind"], url), name, entry["sums"].get("sha256"),
                         git.get("commit") or revision(entry)))
    return found


def theirs(closure):
    found = {name: set() for name in closure["unfetched"]}
    for name, entries in closure["recipes"].items():
        found[name] = {(e["type"], address(e["type"], e["url"]), e["clone"] or e["file"], e["sha256"],
                        e["commit"]) for e in entries}
    return found


def revision(entry):
    if entry["kind"] not in ("hg", "svn"):
        return None
    return dict(part.split("=", 1) for part in entry["url"].split(";")[1:])["rev"]


def address(kind, url):
    """Host and path: kbuild gives git the protocol as scheme."""
    if kind in COORDINATES:
        return None
    url = urllib.parse.urlsplit(url.split(";")[0])
    return url.netloc.rpartition("@")[2] + urllib.parse.unquote(url.path)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report, closure = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:])
    mine, other = ours(report), theirs(closure)
    differences = 0
    for name in sorted(set(mine) | set(other)):
        if name not in mine or name not in other:
            print(f"{name}: only in {sys.argv[1 if name in mine else 2]}")
            differences += 1
            continue
        for which, sources in ((1, mine[name] - other[name]), (2, other[name] - mine[name])):
            for source in sorted(sources, key=str):
                print(f"{name}: only in {sys.argv[which]}: {' '.join(map(str, source))}")
                differences += 1
    sources = {source for recipe in mine.values() for source in recipe}
    print(f"{len(mine)} recipes, {sum(map(len, mine.values()))} sources of recipes, {len(sources)} distinct: "
          f"{differences or 'no'} differences")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
