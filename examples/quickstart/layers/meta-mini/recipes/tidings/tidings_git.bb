# Git at the newest commit of the branch, as in a recipe of somebody else's layer.
# BitBake would ask the upstream while parsing; kbuild pins it from outside
# (`recipes = ["tidings"]` in kata.toml), so this file stays as it is.
SUMMARY = "Tells the news"
LICENSE = "MIT"

SRC_URI = "git://upstream.example/tidings.git;protocol=https;branch=main;destsuffix=${PF}"
SRCREV = "${AUTOREV}"

inherit program
