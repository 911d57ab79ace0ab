#!/usr/bin/env python3
"""Compares `kbuild init --from` with kas itself, file by file. Run by hand: see docs/development.md.

    VENV/bin/python tests/support/kas_compare.py [--bitbake DIR] [--verbose] KBUILD PROJECT[=FILES]...

PROJECT is a checkout; FILES are kas files in it, joined by colons (default: each file that looks like one of kas's). VENV has kas
5.5 from PyPI. kas reads the files with its own code, without a network; then layers in the order of BBLAYERS, pins, targets, env
and the meaning of bblayers.conf and local.conf (parsed by BitBake's own parser) are compared with what the manifest says.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from kas import context
from kas.config import Config
from kas.kasusererror import KasUserError

# Written by kas, or by kbuild, for themselves.
OWN = {"BBLAYERS", "BBPATH", "BBFILES", "CONF_VERSION", "LCONF_VERSION", "POKY_BBLAYERS_CONF_VERSION", "ISAR_ROOTLESS"}
FIRST = {"MACHINE", "DISTRO", "BBMULTICONFIG"}
SECTIONS = {"SSTATE_MIRRORS", "SSTATE_DIR", "SOURCE_MIRROR_URL", "PREMIRRORS", "MIRRORS", "OVERRIDES", "BB_HASHSERVE", "BB_HASHSERVE_UPSTREAM",
            "PRSERV_HOST", "PRSERV_UPSTREAM", "INHERIT"}


def name_for(text):
    return re.sub(r"[^A-Za-z0-9._+-]", "-", text)[:100].lstrip("._+-")


def of_kas(project, files):
    """What kas itself makes of the files."""
    args = argparse.Namespace(config=files, update=False, force_checkout=False, skip=[], cmd="dump", log_level="error", no_color=True, keep_config_unchanged=False)
    ctx = context.create_global_context(args)
    ctx.config = Config(ctx, ":".join(str(project / file) for file in files.split(":")))
    missing = ctx.config.find_missing_repos({})
    repos = ctx.config.get_repos_config()
    result = {"missing": missing, "repos": {}, "patches": 0}
    layers = []
    for key in repos:
        repo = ctx.config.get_repo(key)
        declared = (repos[key] or {}).get("url") or ctx.config._config.get("overrides", {}).get("repos", {}).get(key, {}).get("url")
        pin = {} if not declared else {
            "url": declared, "branch": repo.branch, "tag": repo.tag, "commit": repo.commit, "refspec": repo.refspec}
        result["repos"][name_for(key)] = pin
        result["patches"] += len(repo._patches) if repo.get_type() == "git" else 0
        layers += [(layer, name_for(key)) for layer in repo.layers]
    layers.sort(key=lambda pair: pair[0])
    result["layers"] = [[name, os.path.normpath(layer.name or ".")] for layer, name in layers]
    result["machine"] = ctx.config.get_machine()
    result["conf"] = (ctx.config.get_bblayers_conf_header() + ctx.config.get_local_conf_header()
                      + f'MACHINE ??= "{ctx.config.get_machine()}"\nDISTRO ??= "{ctx.config.get_distro()}"\n'
                      + f'BBMULTICONFIG ?= "{" ".join(sorted(ctx.config.get_multiconfig().split()))}"\n')
    task = ctx.config.get_bitbake_task()
    suffix = "" if task == "build" else f":do_{task.removeprefix('do_')}"
    targets = [target.replace("multiconfig:", "mc:") + suffix for target in ctx.config.get_bitbake_targets()]
    result["targets"] = list(dict.fromkeys(targets))
    result["env"] = ctx.config._config.get("env", {})
    return result


def of_kbuild(kbuild, files):
    """What the manifest says, and the document of the command. It is written into the checkout, and removed."""
    written = Path("kbuild.toml")
    written.unlink(missing_ok=True)
    run = subprocess.run([kbuild, "init", "--offline", "--format", "json", "--from", files], capture_output=True, text=True)
    document = json.loads(run.stdout)
    if run.returncode:
        return None, document
    text = written.read_text()
    written.unlink()
    return tomllib.loads(text), document


def conf_of(manifest, board):
    config = {**manifest.get("config", {}), **board.get("config", {})}
    quote = lambda value: f"'{value}'" if '"' in value else f'"{value}"'
    text = "".join(f"{key} = {quote(value)}\n" for key, value in config.items())
    return text + manifest["project"].get("conf", "") + board.get("conf", "") + f'MACHINE = "{board["machine"]}"\n'


def parsed(text, bitbake):
    """The variables of a text, as BitBake's parser reads it."""
    sys.path.insert(0, str(bitbake / "lib"))
    import bb.data
    import bb.parse
    from bb.parse.parse_py import ConfHandler
    data = bb.data.init()
    data.setVar("BBPATH", "/nowhere")
    statements = bb.parse.ast.StatementGroup()
    lines = iter(re.sub(r"(?m)^(require|inherit)\b.*$", "", text).split("\n"))
    for line in lines:
        while line.rstrip().endswith("\\"):
            line = line.rstrip()[:-1] + next(lines, "")
        if line.strip() and not line.lstrip().startswith("#"):
            ConfHandler.feeder(1, line.strip(), "x.conf", statements, "", True)
    statements.eval(data)
    found = {}
    for key in data.keys():
        if key.startswith("_") or key in OWN or key in ("FILE",):
            continue
        flags = data.getVarFlags(key, expand=False, internalflags=True) or {}
        value = data.getVar(key, expand=False, noweakdefault=False) if key in FIRST else \
            {flag: flags[flag] for flag in flags if flag not in ("doc_", "export_")}
        found[key] = value
    return {key: value for key, value in found.items() if value not in (None, "", {})}


def parsed_or_refused(text, bitbake):
    """The same; of a text that this BitBake refuses (overrides as they were written before 2021), that alone."""
    try:
        return parsed(text, bitbake)
    except Exception as error:
        if type(error).__name__ != "BBHandledException":
            raise
        return {"BitBake refuses it": True}


def differences(kas, manifest, document, bitbake):
    """Where the two do not agree, in words."""
    board = next(iter(manifest["boards"].values()))
    notes = document["left_out"] + document["not_needed"]
    noted = {re.split(r"[:\[ ]", note["what"].strip("`"))[0] for note in notes}
    whats = {note["what"] for note in notes}
    words = " ".join(whats)
    found = []
    layers = [[name, path] for name in board["layers"] for path in manifest["layers"][name].get("paths", ["."])]
    expected = [pair for pair in kas["layers"] if f"repository {pair[0]}" not in whats]
    expected = expected if "the priorities inside" not in words else sorted(expected)
    layers = layers if "the priorities inside" not in words else sorted(layers)
    if layers != expected:
        found.append(f"layers: {layers} instead of {expected}")
    for name, pin in kas["repos"].items():
        layer = manifest.get("layers", {}).get(name)
        if layer is None or not pin:
            continue
        url = layer.get("git", "").removeprefix("file://")
        if url != pin["url"] and "login" not in words and not Path(url).is_absolute():
            found.append(f"url of {name}: {url} instead of {pin['url']}")
        ours = {key: layer.get(key) for key in ("branch", "tag", "rev")}
        short = lambda name: name and re.sub(r"^refs/(heads|tags)/", "", name)
        theirs = {"branch": short(pin["branch"]), "tag": short(pin["tag"]), "rev": pin["commit"]}
        if pin["commit"] and f"commit {pin['commit']} of {name}" in words:
            continue
        if pin["refspec"]:
            ours = [value for value in ours.values() if value]
            theirs = [re.sub(r"^(refs/)?(heads|tags|remotes/origin)/|^origin/", "", pin["refspec"])]
        if ours != theirs:
            found.append(f"pin of {name}: {ours} instead of {theirs}")
    if board["machine"] != kas["machine"] and "MACHINE" not in kas["conf"].split("MACHINE ??=")[0]:
        found.append(f"machine: {board['machine']} instead of {kas['machine']}")
    if board["targets"] != kas["targets"]:
        found.append(f"targets: {board['targets']} instead of {kas['targets']}")
    env = {**manifest.get("env", {}), **board.get("env", {})}
    ours = {key: value.get("default") for key, value in env.items()}
    theirs = {key: value for key, value in kas["env"].items() if f"env {key}" not in words}
    if {key: value for key, value in ours.items() if f"env {key}" not in words} != theirs:
        found.append(f"env: {ours} instead of {theirs}")
    patches = sum(note["what"].startswith("patch ") for note in document["left_out"])
    patches += sum(len(layer.get("patches", [])) for layer in manifest.get("layers", {}).values())
    if patches != kas["patches"]:
        found.append(f"{patches} patches carried or listed instead of {kas['patches']}")
    if bitbake:
        ours, theirs = (parsed_or_refused(text, bitbake) for text in (conf_of(manifest, board), kas["conf"]))
        for key in sorted(set(ours) | set(theirs)):
            if ours.get(key) != theirs.get(key) and key not in noted and key not in SECTIONS:
                found.append(f"{key}: {ours.get(key)} instead of {theirs.get(key)}")
    return found


def kas_files(project):
    files = subprocess.run(["git", "-C", project, "ls-files"], capture_output=True, text=True).stdout.split("\n")
    def is_kas(file):
        text = (project / file).read_text(errors="replace")
        return re.search(r"(?m)^header:", text) and re.search(r"(?m)^\s+version\s*:", text)
    return [file for file in files if re.search(r"\.ya?ml$", file) and ".lock." not in file and is_kas(file)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bitbake", type=Path)
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("kbuild", type=Path)
    parser.add_argument("projects", nargs="+")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    kbuild, bad = options.kbuild.resolve(), 0
    print(f"{'project':44} files same whole  <=3 more refused | kas refuses")
    here = Path.cwd()
    for text in options.projects:
        name, _, files = text.partition("=")
        project = (here / name).resolve()
        os.chdir(project)
        os.environ["KAS_WORK_DIR"] = str(project)
        counts = dict.fromkeys(["files", "same", "whole", "short", "long", "refused", "kas"], 0)
        for file in [files] if files else kas_files(project):
            counts["files"] += 1
            try:
                kas = of_kas(project, file)
            except (KasUserError, KeyError, TypeError, ValueError) as error:
                kas = None
                why = str(error)
            manifest, document = of_kbuild(kbuild, file)
            if kas is None or manifest is None:
                counts["kas"] += kas is None
                counts["refused"] += manifest is None
                if options.verbose and (kas is None) != (manifest is None):
                    print(f"  {file}: kas {why if kas is None else 'reads it'}; kbuild {document.get('error', {}).get('message', 'reads it')}"
                          f" {document.get('error', {}).get('causes', '')}")
                continue
            found = differences(kas, manifest, document, options.bitbake)
            counts["same"] += not found
            bad += bool(found)
            length = len(document["left_out"])
            counts["whole" if length == 0 else "short" if length <= 3 else "long"] += 1
            for line in found:
                print(f"  {file}: {line}")
            if options.verbose:
                for note in document["left_out"]:
                    print(f"  {note['file']}:{note['line']}: {note['what']} ({note['why']})")
        print(f"{project.name:44} {counts['files']:5} {counts['same']:4} {counts['whole']:5} {counts['short']:4} {counts['long']:4}"
              f" {counts['refused']:7} | {counts['kas']}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
