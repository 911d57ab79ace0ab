# Git at a fixed revision of a branch, all of it from kata.toml.
SUMMARY = "Greets whoever it is told to"
LICENSE = "MIT"

SRC_URI = "${KBUILD_GREETER_URL};branch=${KBUILD_GREETER_BRANCH};destsuffix=${PF}"
SRCREV = "${KBUILD_GREETER_SRCREV}"

inherit program
