SUMMARY = "QEMU for the guests of Kata Containers"
DESCRIPTION = "Only the system emulator of the board's own architecture, with what Kata asks of it, beside whatever QEMU the \
rest of the system has. Built as OpenEmbedded-Core builds its QEMU, from the same release and with its patches."
BUGTRACKER = "https://gitlab.com/qemu-project/qemu/-/issues"
SECTION = "devel"

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

# uring is meta-oe's liburing; without that layer QEMU takes the kernel's older asynchronous calls.
PACKAGECONFIG = "\
    aio attr fdt kvm libcap-ng numa pie seccomp vhost virtfs \
    ${@bb.utils.contains('BBFILE_COLLECTIONS', 'openembedded-layer', 'uring', '', d)} \
"
# Ceph's block devices without a detour through the host's kernel: librbd of meta-virtualization's ceph.
PACKAGECONFIG:append:kata-withceph = " rbd"

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

# What another QEMU installs too, and firmware of machines that are not emulated here.
do_install:append() {
    rm -rf ${D}${includedir} ${D}${datadir}/applications ${D}${datadir}/icons ${D}${datadir}/locale
    rm -f ${D}${datadir}/${BPN}/s390-* ${D}${datadir}/${BPN}/hppa*
}

# The package is qemu.inc's.
# nooelint: oelint.vars.specific
RDEPENDS:${PN}-common += "bash"

BBCLASSEXTEND = ""
