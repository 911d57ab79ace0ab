#!/usr/bin/env python3
"""Ask BitBake what it makes of recipes: ask_layers.py TOPDIR < QUESTIONS > ANSWERS

QUESTIONS is JSON: {"recipes": {"FILE": ["VARIABLE", "VARIABLE[flag]", ...]}, "taken": ["PN", ...]}. TOPDIR has conf/bblayers.conf and
conf/local.conf; each conf/multiconfig/NAME.conf is one configuration, and every recipe is asked in each of them.
ANSWERS is {"NAME": {"FILE": {"skipped": "the reason", "variables": {...}}, "PN": "the file that BitBake takes for it"}}. Warnings and errors of BitBake are fatal:
they are printed, and the exit status is 1. BitBake's library is found by PYTHONPATH.
"""

import json
import logging
import os
import sys
from pathlib import Path

import bb.tinfoil


class Complaints(logging.Handler):
    """Keeps what BitBake complains of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def value(recipe, name):
    variable, _, flag = name.partition("[")
    return recipe.getVarFlag(variable, flag.rstrip("]")) if flag else recipe.getVar(variable)


def answer(tinfoil, name, file, variables):
    recipe = tinfoil.parse_recipe_file("mc:%s:%s" % (name, file))
    skipped = recipe.getVar("__SKIPPED")
    if skipped:
        return {"skipped": skipped}
    return {"variables": {name: value(recipe, name) for name in variables}}


def taken(tinfoil, name, recipe):
    file = tinfoil.find_best_provider("mc:%s:%s" % (name, recipe))[3]
    return file and bb.cache.virtualfn2realfn(file)[0]


def main():
    topdir = Path(sys.argv[1])
    questions = json.load(sys.stdin)
    names = sorted(path.stem for path in topdir.glob("conf/multiconfig/*.conf"))
    os.chdir(topdir)
    complaints = Complaints()
    logging.getLogger("BitBake").addHandler(complaints)
    with bb.tinfoil.Tinfoil(output=sys.stderr, setup_logging=True) as tinfoil:
        tinfoil.prepare(quiet=2)
        answers = {}
        for name in names:
            files = {file: answer(tinfoil, name, file, variables) for file, variables in questions["recipes"].items()}
            answers[name] = {**files, **{recipe: taken(tinfoil, name, recipe) for recipe in questions["taken"]}}
    if complaints.said:
        sys.exit("\n".join(complaints.said))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
