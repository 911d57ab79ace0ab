SUMMARY = "Configuration of the Kata Containers runtime on this board"
DESCRIPTION = "One drop-in file for each option of kata.toml. The runtime merges them over the configuration that Kata \
ships, so that no file of Kata's is edited."
HOMEPAGE = "https://github.com/kata-containers/kata-containers"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit kata_files kata_guest_arch kata_options

# A board layer adds what only its boards need (memory, processors).
SRC_URI = "\
    file://10-programs.toml \
    file://20-boot-${KATA_BOOT}.toml \
    file://30-network-tcfilter.toml \
"
S = "${UNPACKDIR}"

PACKAGE_ARCH = "${MACHINE_ARCH}"

# Kata looks for drop-ins beside the configuration file that it read.
KATA_CONFIG_DIR = "${datadir}/defaults/kata-containers/runtime-rs/config.d"

do_install() {
    install -d ${D}${KATA_CONFIG_DIR}
    install -m 0644 ${UNPACKDIR}/*.toml ${D}${KATA_CONFIG_DIR}/
}

FILES:${PN} += "${KATA_CONFIG_DIR}"
