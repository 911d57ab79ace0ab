SUMMARY = "What a board needs to run containers with Kata"
DESCRIPTION = "The packages of Kata Containers, and with meta-virtualization in the build those of Docker."
SECTION = "base"
LICENSE = "MIT"

# Kernel modules and options of the board.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup kata_guest_arch kata_options

# The shim and kata-ctl. Empty: this layer has no recipes for them yet. A layer that has them names them here.
KATA_RUNTIME_PACKAGES ?= ""

RDEPENDS:${PN} = "\
    ${KATA_RUNTIME_PACKAGES} \
    kata-containers-config \
    kata-guest-image \
    kata-guest-kernel \
    kata-qemu \
    virtiofsd \
"

# Recommended: whoever builds them into the kernel has no packages of them.
KATA_KERNEL_MODULES = "vhost-net vhost-vsock tun veth bridge sch-ingress cls-u32 act-mirred overlay fuse"
KATA_KERNEL_MODULES:append:x86-64 = " kvm-intel kvm-amd"
RRECOMMENDS:${PN} = "${@' '.join('kernel-module-' + module for module in d.getVar('KATA_KERNEL_MODULES').split())}"
