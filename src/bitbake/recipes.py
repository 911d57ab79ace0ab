"""Has BitBake parse single recipes, and nothing else: recipes.py LIB TOPDIR

LIB is the lib/ of a BitBake, TOPDIR the directory of a board. TOPDIR/kbuild/reread has files of layers,
one on each line: recipes, appends, and what recipes were read from. TOPDIR/kbuild/ask has the recipes that
were read from the last kind. All recipes that these files may change are parsed, in every multiconfig, and
kbuild's class says what they fetch (kbuild_say_again). TOPDIR/kbuild/asked names them; it is written last.

`bitbake --parse-only` says the same, but loads its cache of all recipes first, and `bitbake --buildfile`
starts a server and a worker.

Written by kbuild, the same text for every BitBake from 2.0 on. It runs behind kbuild's seal.
"""

import logging
import os
import sys
import traceback
from pathlib import Path

LIB, TOPDIR = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(LIB))
sys.dont_write_bytecode = True

import bb  # noqa: E402
import bb.cooker  # noqa: E402
import bb.cookerdata  # noqa: E402
import bb.utils  # noqa: E402

# What goes wrong here, `bitbake --parse-only` says in its own words.
logging.getLogger("BitBake").addHandler(logging.NullHandler())
logging.getLogger("BitBake").propagate = False


def lines(name):
    return (TOPDIR / "kbuild" / name).read_text().splitlines()


def parsed_configuration():
    settings = bb.cookerdata.CookerConfiguration()
    settings.env = os.environ.copy()
    bb.utils.clean_environment()
    builder = bb.cookerdata.CookerDataBuilder(settings)
    builder.parseBaseConfiguration()
    return builder


class Collections:
    """The recipes and appends of all layers in one multiconfig, as bb.cooker.BBCooker collects them."""

    def __init__(self, builder, context):
        self.data, self.bbfile_config_priorities = builder.data, []
        bb.cooker.BBCooker.handleCollections(self, self.data.getVar("BBFILE_COLLECTIONS"))
        self.files = bb.cooker.CookerCollectFiles(self.bbfile_config_priorities, context)
        data = builder.mcdata[context]
        self.recipes = self.files.collect_bbfiles(data, data)[0]

    def changed_by(self, changed):
        """The recipes that these files are, or are appended to; appends may be gone."""
        appends = [os.path.basename(path)[:-len("append")] for path in changed if path.endswith(".bbappend")]
        return [path for path in self.recipes if path in changed or appended_to(os.path.basename(path), appends)]

    def parse(self, builder, context, path):
        layer = self.files.calc_bbfile_priority(path)[2]
        builder.parseRecipeVariants(path, self.files.get_file_appends(path), mc=context, layername=layer)


def appended_to(recipe, appends):
    """bb.cooker.CookerCollectFiles.get_file_appends: `%` stands for all that follows."""
    return any(recipe == name or ("%" in name and recipe.startswith(name[:name.index("%")])) for name in appends)


def main():
    changed, ask = frozenset(lines("reread")), lines("ask")
    builder = parsed_configuration()
    asked = set()
    for context in builder.mcdata:
        collections = Collections(builder, context)
        known = frozenset(collections.recipes)
        for path in dict.fromkeys(collections.changed_by(changed) + [path for path in ask if path in known]):
            collections.parse(builder, context, path)
            asked.add(path)
    part = TOPDIR / "kbuild/asked.part"
    part.write_text("".join("%s\n" % path for path in sorted(asked)))
    part.rename(TOPDIR / "kbuild/asked")


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except (Exception, SystemExit):
    (TOPDIR / "kbuild/ask.log").write_text(traceback.format_exc())
    sys.exit(1)
