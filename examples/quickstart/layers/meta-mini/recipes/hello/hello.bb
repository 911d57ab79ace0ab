# A tarball over http. Its URL, version and checksum are in kata.toml; kbuild
# passes them on as KBUILD_HELLO_*. In the image it is also the first process.
SUMMARY = "Says hello"
LICENSE = "MIT"

PV = "${KBUILD_HELLO_VERSION}"
SRC_URI = "${KBUILD_HELLO_URI}"
SRC_URI[sha256sum] = "${KBUILD_HELLO_SHA256}"

inherit program

PROGRAM_DEFINES = '-DGREETING="\"${GREETING}\"" -DMACHINE="\"${MACHINE_TITLE}\""'
