# Which package each part of Kata comes from on this board, and where its files lie: for the recipes that install them and
# for the one that writes Kata's configuration.

# QEMU, virtiofsd and the guest's kernel are built here. Kata's release has them too: kata-static-qemu,
# kata-static-virtiofsd, kata-static-kernel.
KATA_QEMU_PACKAGE ?= "kata-qemu"
KATA_VIRTIOFSD_PACKAGE ?= "virtiofsd"
KATA_KERNEL_PACKAGE ?= "kata-guest-kernel"

KATA_GUEST_PACKAGE = "kata-guest-image"
KATA_GUEST_PACKAGE:kata-base-release = "${@'kata-static-image' if d.getVar('KATA_BOOT') == 'rootfs' else 'kata-static-initrd'}"

KATA_PROGRAM_PACKAGES = "${KATA_QEMU_PACKAGE} ${KATA_VIRTIOFSD_PACKAGE} ${KATA_KERNEL_PACKAGE} ${KATA_GUEST_PACKAGE}"

# The main file of each package; of a guest's, its directory.
KATA_PROGRAM_PATH[kata-qemu] = "${libexecdir}/kata-qemu/qemu-system-${HOST_ARCH}"
KATA_PROGRAM_PATH[kata-static-qemu] = "/opt/kata/bin/qemu-system-${HOST_ARCH}"
KATA_PROGRAM_PATH[virtiofsd] = "${bindir}/virtiofsd"
KATA_PROGRAM_PATH[kata-static-virtiofsd] = "/opt/kata/libexec/virtiofsd"
KATA_PROGRAM_PATH[kata-guest-kernel] = "${datadir}/kata-containers/vmlinux.container"
KATA_PROGRAM_PATH[kata-static-kernel] = "/opt/kata/share/kata-containers/vmlinux.container"
KATA_PROGRAM_PATH[kata-guest-image] = "${datadir}/kata-containers"
KATA_PROGRAM_PATH[kata-static-initrd] = "/opt/kata/share/kata-containers"
KATA_PROGRAM_PATH[kata-static-image] = "/opt/kata/share/kata-containers"

def kata_program_path(d, variable):
    package = d.getVar(variable)
    path = d.getVarFlag("KATA_PROGRAM_PATH", package)
    if not path:
        known = sorted(d.getVarFlags("KATA_PROGRAM_PATH"))
        raise bb.parse.SkipRecipe("%s is '%s', of which this layer knows no path; known: %s"
                                  % (variable, package, " ".join(known)))
    return path

# kata-qemu has io_uring where meta-oe's liburing is; the release's QEMU has it.
KATA_QEMU_URING = "${@'1' if d.getVar('KATA_QEMU_PACKAGE') != 'kata-qemu' or 'openembedded-layer' in d.getVar('BBFILE_COLLECTIONS').split() else ''}"
