#!/usr/bin/env python3
"""Read each file with BitBake's own parser: parse_layers.py FILE... BitBake's library is found by PYTHONPATH."""

import sys

import bb.data
import bb.parse
from bb.parse.parse_py import BBHandler, ConfHandler


def parse(path):
    if path.endswith(".conf"):
        statements = bb.parse.ast.StatementGroup()
        with open(path, encoding="utf-8") as file:
            lines = iter(enumerate(file, 1))
            for number, line in lines:
                line = line.rstrip("\n")
                while line.endswith("\\"):
                    line = line[:-1] + next(lines)[1].rstrip("\n")
                if line.strip() and not line.startswith("#"):
                    ConfHandler.feeder(number, line, path, statements, conffile=True)
    else:
        BBHandler.get_statements(path, path, path.rpartition("/")[2].rpartition(".")[0])


for name in sys.argv[1:]:
    parse(name)
