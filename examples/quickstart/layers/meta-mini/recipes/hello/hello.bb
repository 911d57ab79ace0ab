# A tarball over http. Its URL, version and checksum are kata.toml's to say; kbuild
# hands them over as KBUILD_HELLO_*. In the image it is also the first process.
SUMMARY = "Says hello"
LICENSE = "MIT"

PV = "${KBUILD_HELLO_VERSION}"
SRC_URI = "${KBUILD_HELLO_URL}"
SRC_URI[sha256sum] = "${KBUILD_HELLO_SHA256}"

inherit program

PROGRAM_DEFINES = '-DGREETING="\"${GREETING}\"" -DMACHINE="\"${MACHINE_TITLE}\""'
