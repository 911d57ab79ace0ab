#!/usr/bin/env python3
"""Run functions of recipes on this machine: run_functions.py TOPDIR < RUNS > ANSWERS

TOPDIR is as for ask_layers.py. RUNS is a JSON list of {"recipe": a file or "mc:NAME:FILE", "functions": [...], "tree": TREE, "base":
TREE, "variables": {...}}. A TREE is {"path": "content", "directory/": "", "link": "-> target"}; `tree` is what IMAGE_ROOTFS holds
before the functions run, `base` what is in the archive of the guest's base. ANSWERS is a list of {"files": TREE, "modes": {path: mode}}
with what is in D and IMAGE_ROOTFS afterwards, or {"refused": the reason}.
BitBake's library is found by PYTHONPATH.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bb.build
import bb.data
import bb.methodpool
import bb.process
import bb.tinfoil


class Said(logging.Handler):
    """Keeps what BitBake complains of."""

    def __init__(self, level=logging.WARNING):
        super().__init__(level)
        self.lines = []
        logging.getLogger("BitBake").addHandler(self)

    def emit(self, record):
        self.lines.append(record.getMessage())


def answers_to():
    """What shell functions print is not of the answer: a stream for that alone."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def parse(tinfoil, file):
    """A recipe whose Python functions can be called here; BitBake's server has read them, here they are text."""
    recipe = tinfoil.parse_recipe_file(file)
    for name in filter(lambda name: name.startswith(("kata_", "kbuild_")), recipe.keys()):
        text = recipe.getVar(name, False)
        if recipe.getVarFlag(name, "func", False) and text.startswith("def "):
            bb.methodpool.insert_method("kata", text, file, 0)
    return recipe


def prepare(recipe, work, variables):
    data = bb.data.createCopy(recipe)
    for variable, name in {"WORKDIR": ".", "UNPACKDIR": "sources", "D": "image", "T": "temp", **variables}.items():
        data.setVar(variable, str(work / name))
        (work / name).mkdir(parents=True, exist_ok=True)
    # As the configuration says it; BitBake's server has put its own process's number in.
    data.setVar("LOGFIFO", str(work / "temp" / ("fifo.%d" % os.getpid())))
    return data


def write(tree, top):
    for name, content in tree.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif content.startswith("-> "):
            path.symlink_to(content[len("-> "):])
        else:
            path.write_text(content)


def read(top):
    files, modes = {}, {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            files[name] = "-> " + os.readlink(path)
        elif path.is_file():
            files[name] = path.read_text()
            modes[name] = "%o" % (path.stat().st_mode & 0o7777)
        elif not any(path.iterdir()):
            files[name + "/"] = ""
    return {"files": files, "modes": modes}


def run(tinfoil, question, work, said):
    recipe = parse(tinfoil, question["recipe"])
    data = prepare(recipe, work, {"IMAGE_ROOTFS": "rootfs", "DEPLOY_DIR_IMAGE": "deploy"})
    for variable, value in question.get("variables", {}).items():
        data.setVar(variable, value)
    write(question.get("tree", {}), work / "rootfs")
    if "base" in question:
        write(question["base"], work / "base")
        archive = work / "deploy" / ("kata-guest-base-%s.tar" % data.getVar("KATA_GUEST_BASE"))
        subprocess.run(["tar", "-C", work / "base", "-cf", archive, "."], check=True)
    del said.lines[:]
    try:
        for function in question["functions"]:
            bb.build.exec_func(function, data)
    except (bb.BBHandledException, bb.process.ExecutionError):
        return {"refused": "\n".join(said.lines).replace(str(work), "WORK")}
    answer = read(work / ("rootfs" if "tree" in question else "image"))
    return {**answer, "warned": said.lines[:]} if said.lines else answer


def main():
    questions = json.load(sys.stdin)
    os.chdir(sys.argv[1])
    out = answers_to()
    with bb.tinfoil.Tinfoil(output=sys.stderr, setup_logging=True) as tinfoil, tempfile.TemporaryDirectory() as works:
        tinfoil.prepare(quiet=2)
        said = Said()
        answers = []
        for number, question in enumerate(questions):
            work = Path(works) / str(number)
            work.mkdir()
            answers.append(run(tinfoil, question, work, said))
    json.dump(answers, out)


if __name__ == "__main__":
    main()
