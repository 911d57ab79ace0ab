SUMMARY = "Linux kernel of the guests of Kata Containers"
DESCRIPTION = "A small kernel without modules: nothing is configured but what Kata's own fragments ask for. It is no kernel \
of the board, so it is built beside the board's own and knows nothing of it."
HOMEPAGE = "https://www.kernel.org/"
BUGTRACKER = "https://bugzilla.kernel.org/"
SECTION = "kernel"
LICENSE = "GPL-2.0-with-Linux-syscall-note"
LIC_FILES_CHKSUM = "file://COPYING;md5=6bc538ed5bd9a7fc9398086aedcd7e46"

# What the lists of CVEs call it.
CVE_PRODUCT = "linux:linux_kernel"

KBUILD_SOURCE = "linux"

inherit kbuild_source kernel-arch pkgconfig kata_guest_arch kata_options

DEPENDS += "bc-native bison-native elfutils-native flex-native kata-guest-kernel-config openssl-native"

SRC_URI = "${KBUILD_SOURCE_URI}"
S = "${UNPACKDIR}/linux-${PV}"
PACKAGE_ARCH = "${MACHINE_ARCH}"
B = "${WORKDIR}/build"

# Compressed, and as QEMU loads it without unpacking: the runtime takes the second.
KATA_KERNEL_IMAGES = "arch/x86/boot/bzImage vmlinux"
KATA_KERNEL_IMAGES:aarch64 = "arch/arm64/boot/Image.gz arch/arm64/boot/Image"

# A guest without one of these starts, and is then of no use: no channel to the agent, no files, no network.
KATA_KERNEL_REQUIRED = "VIRTIO VIRTIO_PCI VIRTIO_BLK VIRTIO_NET VIRTIO_FS VSOCKETS VIRTIO_VSOCKETS BLK_DEV_INITRD EXT4_FS"
# QEMU loads an x86 vmlinux by its PVH entry.
KATA_KERNEL_REQUIRED:append:x86-64 = " PVH"

# Not kernel-arch's ARCH: with "x86" an empty configuration is one of 32 bits.
EXTRA_OEMAKE = "\
    -C ${S} O=${B} ARCH=${KATA_KERNEL_ARCH} CROSS_COMPILE=${TARGET_PREFIX} \
    CC='${KERNEL_CC}' LD='${KERNEL_LD}' AR='${KERNEL_AR}' OBJCOPY='${KERNEL_OBJCOPY}' STRIP='${KERNEL_STRIP}' \
    HOSTCC='${BUILD_CC} ${BUILD_CFLAGS} ${BUILD_LDFLAGS}' HOSTCXX='${BUILD_CXX} ${BUILD_CXXFLAGS} ${BUILD_LDFLAGS}' \
    HOSTPKG_CONFIG='pkg-config-native' \
"

# Who built it, where and when is compiled in. The compiler's flags are the kernel's own business.
kata_kernel_environment() {
    unset CFLAGS CPPFLAGS CXXFLAGS LDFLAGS MACHINE
    export KBUILD_BUILD_USER=kata KBUILD_BUILD_HOST=kata KBUILD_BUILD_VERSION=1
    export KBUILD_BUILD_TIMESTAMP="$(date -u -d @${SOURCE_DATE_EPOCH})"
    export ARCH=${KATA_KERNEL_ARCH} CROSS_COMPILE=${TARGET_PREFIX}
}

# The kernel's own script merges; it runs make where it is started.
do_configure() {
    kata_kernel_environment
    fragments=${STAGING_DATADIR}/kata-containers/kernel-config
    cd ${S}
    ./scripts/kconfig/merge_config.sh -r -n -O ${B} $fragments/common/*.conf $fragments/${KATA_KERNEL_ARCH}/*.conf
    for option in ${KATA_KERNEL_REQUIRED}; do
        grep -q "^CONFIG_$option=y" ${B}/.config || bbfatal "the merged configuration lacks CONFIG_$option"
    done
}
do_configure[cleandirs] = "${B}"

do_compile() {
    kata_kernel_environment
    for image in ${KATA_KERNEL_IMAGES}; do
        oe_runmake $(basename $image)
    done
}

do_install() {
    set -- ${KATA_KERNEL_IMAGES}
    install -D -m 0644 ${B}/$1 ${D}${datadir}/kata-containers/vmlinuz.container
    install -D -m 0644 ${B}/$2 ${D}${datadir}/kata-containers/vmlinux.container
}

FILES:${PN} += "${datadir}/kata-containers"

# A kernel is no program of the board's user space.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
INSANE_SKIP:${PN} += "arch buildpaths ldflags textrel"
