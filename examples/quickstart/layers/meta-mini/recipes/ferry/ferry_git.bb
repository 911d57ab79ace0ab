# Git with a submodule: for such a source kbuild gives the URL of BitBake's gitsm fetcher.
SUMMARY = "Carries the cargo that its submodule defines"
LICENSE = "MIT"

SRC_URI = "${KBUILD_FERRY_URL};branch=${KBUILD_FERRY_BRANCH};destsuffix=${PF}"
SRCREV = "${KBUILD_FERRY_SRCREV}"

inherit program

PROGRAM_SOURCES = "*.c cargo/*.c"

python () {
    # Not every board has the source; BitBake parses all recipes for every board.
    if not d.getVar("KBUILD_FERRY_URL"):
        raise bb.parse.SkipRecipe("kata.toml gives this board no source called ferry")
}
