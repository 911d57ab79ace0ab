SUMMARY = "Kernel configuration fragments for the Kata Containers guest"
DESCRIPTION = "The fragments that the Kata project merges into its guest kernel's configuration for this architecture, \
taken from the Kata sources as they are, for the recipe of the guest kernel to build with."
HOMEPAGE = "https://github.com/kata-containers/kata-containers"
BUGTRACKER = "https://github.com/kata-containers/kata-containers/issues"
SECTION = "kernel"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=86d3f3a95c324c9479bd8986968f4327"

KBUILD_SOURCE = "kata-containers"

inherit kbuild_source kata_files kata_guest_arch

SRC_URI = "${KBUILD_SOURCE_URI};destsuffix=${BP}"

# A common fragment can opt out of an architecture: "!arm64" in it means "not on arm64".
do_install() {
    fragments=${S}/tools/packaging/kernel/configs/fragments
    target=${D}${datadir}/kata-containers/kernel-config
    install -d $target/common $target/${KATA_KERNEL_ARCH}
    for fragment in $(grep -L '!${KATA_KERNEL_ARCH}' $fragments/common/*.conf); do
        install -m 0644 $fragment $target/common/
    done
    install -m 0644 $fragments/${KATA_KERNEL_ARCH}/*.conf $target/${KATA_KERNEL_ARCH}/
    install -m 0644 ${S}/tools/packaging/kernel/kata_config_version $target/
}

FILES:${PN} += "${datadir}/kata-containers/kernel-config"

BBCLASSEXTEND = "native"
