SUMMARY = "QEMU for the guests of Kata Containers"
DESCRIPTION = "Only the system emulator of the board's own architecture, with what Kata asks of it, beside whatever QEMU the \
rest of the system has. Built as OpenEmbedded-Core builds its QEMU, from the same release and with its patches."
BUGTRACKER = "https://gitlab.com/qemu-project/qemu/-/issues"
SECTION = "devel"
# What the lists of CVEs call it.
CVE_PRODUCT = "qemu:qemu"

KBUILD_SOURCE = "qemu"

require recipes-devtools/qemu/qemu.inc
inherit kbuild_source kata_guest_arch kata_options

DEPENDS += "glib-2.0 zlib"

# oe-core's patches stay; the tarball is the one that kata.lock names.
FILESEXTRAPATHS:prepend := "${COREBASE}/meta/recipes-devtools/qemu/qemu:"
SRC_URI:remove = "https://download.qemu.org/${BPN}-${PV}.tar.xz"
SRC_URI:prepend = "${KBUILD_SOURCE_URI} "
S = "${UNPACKDIR}/qemu-${PV}"

# Patches fit one release.
python () {
    ours, core = d.getVar("KBUILD_QEMU_SHA256"), d.getVarFlag("SRC_URI", "sha256sum")
    if ours and ours != core:
        raise bb.parse.SkipRecipe("kata.toml's qemu (sha256 %s) is not the release that this OpenEmbedded-Core has "
                                  "patches for (sha256 %s): name that one in kata.toml" % (ours, core))
}

# uring is meta-oe's liburing; without that layer Kata is told to use threads (kata-containers-config).
PACKAGECONFIG = "\
    aio attr fdt kvm libcap-ng numa pie seccomp vhost virtfs \
    ${@bb.utils.contains('BBFILE_COLLECTIONS', 'openembedded-layer', 'uring', '', d)} \
"

QEMU_TARGETS = "${@{'x86_64': 'x86_64', 'aarch64': 'aarch64'}.get(d.getVar('HOST_ARCH'), '')}"
# The last of two equal options counts: a directory of our own, so that no file of another QEMU is in the way.
KATA_QEMU_DIR = "${libexecdir}/${BPN}"
EXTRA_OECONF:append = " \
    --target-list=${@get_qemu_system_target_list(d)} \
    --bindir=${KATA_QEMU_DIR} \
    --libexecdir=${KATA_QEMU_DIR} \
    --disable-tools \
    --disable-guest-agent \
    --disable-user \
"
# No guest agent, so no services; no tests.
INHIBIT_UPDATERCD_BBCLASS = "1"
SYSTEMD_PACKAGES = ""
PTEST_ENABLED = "0"

# Of QEMU's firmware, some 300 MB, what the one machine loads that Kata starts here. The option ROM of virtio's network card
# is loaded on both; on x86 the BIOS starts the kernel, a vmlinux by its PVH entry. On arm64 QEMU starts the kernel itself.
KATA_QEMU_FIRMWARE = "efi-virtio.rom"
KATA_QEMU_FIRMWARE:append:x86-64 = " bios-256k.bin kvmvapic.bin linuxboot.bin linuxboot_dma.bin multiboot.bin multiboot_dma.bin pvh.bin"

# Away goes what another QEMU installs too, and all firmware but that.
do_install:append() {
    rm -rf ${D}${includedir} ${D}${datadir}/applications ${D}${datadir}/icons ${D}${datadir}/locale
    for file in $(find ${D}${datadir}/${BPN} -mindepth 1 -maxdepth 1); do
        case " ${KATA_QEMU_FIRMWARE} " in
            *" $(basename $file) "*) ;;
            *) rm -rf $file ;;
        esac
    done
    for file in ${KATA_QEMU_FIRMWARE}; do
        [ -e ${D}${datadir}/${BPN}/$file ] || bbfatal "this QEMU installs no firmware called $file: see KATA_QEMU_FIRMWARE"
    done
}

# The package is qemu.inc's.
# nooelint: oelint.vars.specific
RDEPENDS:${PN}-common += "bash"

BBCLASSEXTEND = ""
