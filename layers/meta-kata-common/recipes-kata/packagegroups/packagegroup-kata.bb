SUMMARY = "What a board needs to run containers with Kata"
DESCRIPTION = "The packages of Kata Containers, and with meta-virtualization in the build those of Docker."
SECTION = "base"
LICENSE = "MIT"

# Kernel modules and options of the board.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup kata_guest_arch kata_options kata_programs

# The shim, and kata-runtime to check the board with, out of Kata's release.
KATA_RUNTIME_PACKAGES ?= "${@'kata-static-shim-go' if d.getVar('KATA_SHIM') == 'go' else 'kata-static-shim'} ${KATA_CHECK_PACKAGES}"
# Linked against glibc, and so not for boards with another C library.
KATA_CHECK_PACKAGES = "${@'kata-static-runtime' if d.getVar('TCLIBC') == 'glibc' else ''}"

RDEPENDS:${PN} = "\
    ${KATA_PROGRAM_PACKAGES} \
    ${KATA_RUNTIME_PACKAGES} \
    kata-containers-config \
"

# Recommended: whoever builds them into the kernel has no packages of them.
KATA_KERNEL_MODULES = "vhost-net vhost-vsock tun veth bridge sch-ingress cls-u32 act-mirred overlay fuse"
KATA_KERNEL_MODULES:append:x86-64 = " kvm-intel kvm-amd"
KATA_KERNEL_MODULES:append:kata-network-macvtap = " macvtap"
RRECOMMENDS:${PN} = "${@' '.join('kernel-module-' + module for module in d.getVar('KATA_KERNEL_MODULES').split())}"
