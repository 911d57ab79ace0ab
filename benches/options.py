#!/usr/bin/env python3
"""Another choice of an option: how long BitBake parses, through kbuild and by itself, over one layer in one run.

    benches/options.py [--recipes N] [--engine DIR] [--kbuild PATH]

A layer of N recipes is made, of which one looks at an option; each has some text and Python to work on. Both parse it from
nothing, parse it again, and with the option on; BitBake by itself with the same layers and the same OVERRIDES. kbuild's times
have its own start, its checks and its sandbox in them. Prints a table; figures are of this machine at this moment.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINI = ROOT / "examples/quickstart/layers/meta-mini"

MANIFEST = """
[project]
name = "options"
[layers.bitbake]
path = "bitbake"
[layers.meta-mini]
path = "meta-mini"
[layers.many]
path = "many"
[closure]
lock = "none"
[options.more]
flag = "bench-more"
[boards.lantern]
machine = "lantern"
layers = ["meta-mini", "many"]
targets = ["many-0"]
"""

LAYER = """
BBPATH .= ":${LAYERDIR}"
BBFILES += "${LAYERDIR}/recipes/*.bb"
BBFILE_COLLECTIONS += "many"
BBFILE_PATTERN_many = "^${LAYERDIR}/"
LAYERSERIES_COMPAT_many = "mini"
"""


def recipe(number):
    lines = [f'SUMMARY = "Recipe {number}"', 'LICENSE = "MIT"']
    for index in range(60):
        lines += [f'VALUE_{index} = "${{PN}} {index} ${{@d.getVar("PN").upper()}}"', f'VALUE_{index}:append = " more"']
        lines += [f"do_compile:append() {{", f'    echo "${{VALUE_{index}}}" > part-{index}', "}"]
    if number == 0:
        lines.append('VALUE_0:append:bench-more = " bench"')
    return "\n".join(lines) + "\n"


def make(directory, engine, recipes):
    for name, source in (("bitbake", engine), ("meta-mini", MINI)):
        shutil.copytree(source, directory / name, symlinks=False)
    shutil.rmtree(directory / "meta-mini/recipes")
    (directory / "many/conf").mkdir(parents=True)
    (directory / "many/recipes").mkdir()
    (directory / "many/conf/layer.conf").write_text(LAYER)
    for number in range(recipes):
        (directory / f"many/recipes/many-{number}.bb").write_text(recipe(number))
    (directory / "kata.toml").write_text(MANIFEST)
    topdir = directory / "alone"
    (topdir / "conf").mkdir(parents=True)
    layers = f"{directory}/meta-mini {directory}/many"
    bblayers = f'BBPATH = "${{TOPDIR}}"\nBBFILES ?= ""\nBBLAYERS = "{layers}"\n'
    (topdir / "conf/bblayers.conf").write_text(bblayers)


def run(command, directory, environment):
    started = time.monotonic()
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return time.monotonic() - started


class Kbuild:
    name = "kbuild"

    def __init__(self, directory, program):
        self.directory, self.program = directory, program
        home = directory / "home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KBUILD_STORE": str(directory / "store")}
        run([program, "lock"], directory, self.environment)

    def parse(self, more):
        command = [self.program, "shell", "--board", "lantern", *(["--set", "more"] if more else []), "--", "bitbake", "-p"]
        return run(command, self.directory, self.environment)


class Alone:
    name = "bitbake alone"

    def __init__(self, directory, _program):
        self.topdir = directory / "alone"
        path = f"{directory}/bitbake/bin:{os.environ['PATH']}"
        home = str(directory / "home")
        self.environment = {"PATH": path, "HOME": home, "LC_ALL": "en_US.UTF-8", "BBPATH": str(self.topdir)}

    def parse(self, more):
        words = 'OVERRIDES:append = ":bench-more"\n' if more else ""
        local = f'MACHINE = "lantern"\nTMPDIR = "${{TOPDIR}}/tmp"\nBB_SERVER_TIMEOUT = "0"\n{words}'
        (self.topdir / "conf/local.conf").write_text(local)
        return run(["bitbake", "-p"], self.topdir, self.environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipes", type=int, default=1000)
    parser.add_argument("--engine", type=Path, default=ROOT / "target/bitbake-engine")
    parser.add_argument("--kbuild", type=Path, default=ROOT / "target/release/kbuild")
    arguments = parser.parse_args()
    if not (arguments.engine / "bin/bitbake").exists():
        sys.exit(f"no BitBake at {arguments.engine}: tests/support/bitbake/make-engine makes it")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch).resolve()
        make(directory, arguments.engine.resolve(), arguments.recipes)
        print(f"{arguments.recipes} recipes, one looks at the option; {os.cpu_count()} cores\n")
        steps = [("from nothing", False), ("again", False), ("with the option", True), ("without it again", False)]
        print(f"{'':16}" + "".join(f"{step:>18}" for step, _ in steps))
        for kind in (Kbuild, Alone):
            runner = kind(directory, arguments.kbuild.resolve())
            print(f"{runner.name:16}" + "".join(f"{runner.parse(more):>16.2f} s" for _, more in steps), flush=True)


if __name__ == "__main__":
    main()
