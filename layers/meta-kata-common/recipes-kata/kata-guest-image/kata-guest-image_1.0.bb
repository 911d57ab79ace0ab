SUMMARY = "The image that the guests of Kata Containers start from"
DESCRIPTION = "The initrd or the root file system image, as the boot option says, at the place that the runtime's \
configuration names."
HOMEPAGE = "https://github.com/kata-containers/kata-containers"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit kata_files kata_guest_arch kata_options

PACKAGE_ARCH = "${MACHINE_ARCH}"

# The file that is deployed, and its name on the board.
KATA_GUEST_FILE = "kata-guest-initrd${IMAGE_MACHINE_SUFFIX}.cpio.gz"
KATA_GUEST_FILE:kata-rootfs = "kata-guest-rootfs${IMAGE_MACHINE_SUFFIX}.wic"
KATA_GUEST_NAME = "kata-containers-initrd.img"
KATA_GUEST_NAME:kata-rootfs = "kata-containers.img"

do_install() {
    install -D -m 0644 ${DEPLOY_DIR_IMAGE}/${KATA_GUEST_FILE} ${D}${datadir}/kata-containers/${KATA_GUEST_NAME}
}
do_install[depends] += "kata-guest-${KATA_BOOT}:do_image_complete"

python () {
    if d.getVar("KATA_GUEST_BASE") == "release":
        raise bb.parse.SkipRecipe("kata-base-release takes the guest out of Kata's own release (kata-static): none is built")
}

FILES:${PN} += "${datadir}/kata-containers"
