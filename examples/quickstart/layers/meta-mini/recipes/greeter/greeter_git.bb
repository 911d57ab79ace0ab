# Git at a fixed revision of a branch, all of it from kata.toml.
SUMMARY = "Greets whoever it is told to"
LICENSE = "MIT"

SRC_URI = "${KBUILD_GREETER_URI};destsuffix=${PF}"
SRCREV = "${KBUILD_GREETER_SRCREV}"

inherit program
