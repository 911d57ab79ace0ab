SUMMARY = "Docker with Kata as its default runtime"
DESCRIPTION = "Docker's daemon.json for EdgeOS. runc stays installed and can be asked for by name; containers run in \
Kata guests when nothing is said."
HOMEPAGE = "https://docs.docker.com/reference/cli/dockerd/"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit kata_files kata_options

SRC_URI = "file://daemon.json"
S = "${UNPACKDIR}"
# The package group has options and modules of the board.
PACKAGE_ARCH = "${MACHINE_ARCH}"

do_install() {
    install -D -m 0644 ${UNPACKDIR}/daemon.json ${D}${sysconfdir}/docker/daemon.json
}

CONFFILES:${PN} = "${sysconfdir}/docker/daemon.json"
RDEPENDS:${PN} = "docker packagegroup-kata"
# meta-virtualization's package writes the same file.
RCONFLICTS:${PN} = "docker-registry-config"
