SUMMARY = "Configuration of Kata's runtimes on this board"
DESCRIPTION = "Drop-in files, one for each thing that the board or an option of kata.toml decides, and the name under which \
containerd finds the shim. The runtimes merge them over the configuration of Kata's release, so that no file of Kata's is edited."
HOMEPAGE = "https://github.com/kata-containers/kata-containers"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit kata_files kata_guest_arch kata_options kata_programs

# A board layer adds what only its boards need (memory, processors).
SRC_URI = "\
    file://30-network-${KATA_NETWORK}.toml \
    file://40-memory.toml \
    file://go \
    file://rs \
"
S = "${UNPACKDIR}"

PACKAGE_ARCH = "${MACHINE_ARCH}"

# Kata looks for drop-ins beside the configuration that it read, here the release's. The Go one is kata-runtime's too, which
# checks the board whichever shim it has.
KATA_CONFIG_DIR = "/opt/kata/share/defaults/kata-containers"
KATA_CONFIG_RUNTIMES = "${@'go' if d.getVar('KATA_SHIM') == 'go' else 'go rs'}"
KATA_CONFIG_DIR_go = "${KATA_CONFIG_DIR}/config.d"
KATA_CONFIG_DIR_rs = "${KATA_CONFIG_DIR}/runtime-rs/config.d"

# The shim that io.containerd.kata.v2 leads to. containerd looks for this name in its PATH.
KATA_SHIM_PROGRAM = "${@'/opt/kata/bin' if d.getVar('KATA_SHIM') == 'go' else '/opt/kata/runtime-rs/bin'}/containerd-shim-kata-v2"

KATA_QEMU_PATH = "${@kata_program_path(d, 'KATA_QEMU_PACKAGE')}"
KATA_VIRTIOFSD_PATH = "${@kata_program_path(d, 'KATA_VIRTIOFSD_PACKAGE')}"
KATA_KERNEL_PATH = "${@kata_program_path(d, 'KATA_KERNEL_PACKAGE')}"
KATA_GUEST_DIR = "${@kata_program_path(d, 'KATA_GUEST_PACKAGE')}"

# Kata refuses a configuration that names both, so one is taken away.
KATA_GUEST_IMAGE = ""
KATA_GUEST_IMAGE:kata-rootfs = "${KATA_GUEST_DIR}/kata-containers.img"
KATA_GUEST_INITRD = "${KATA_GUEST_DIR}/kata-containers-initrd.img"
KATA_GUEST_INITRD:kata-rootfs = ""

# An empty name of the firmware: QEMU starts the kernel itself. On arm64 Kata's own configuration names a UEFI.
kata_config_programs() {
    cat <<END
# Where this board has the programs, the guest's kernel and its user space.
[hypervisor.qemu]
path = "${KATA_QEMU_PATH}"
valid_hypervisor_paths = ["${KATA_QEMU_PATH}"]
kernel = "${KATA_KERNEL_PATH}"
image = "${KATA_GUEST_IMAGE}"
initrd = "${KATA_GUEST_INITRD}"
firmware = ""
virtio_fs_daemon = "${KATA_VIRTIOFSD_PATH}"
valid_virtio_fs_daemon_paths = ["${KATA_VIRTIOFSD_PATH}"]
END
    if [ -z "${KATA_QEMU_URING}" ]; then
        echo '# This QEMU is built without io_uring.'
        echo 'block_device_aio = "threads"'
    fi
}

do_install() {
    for runtime in ${KATA_CONFIG_RUNTIMES}; do
        case $runtime in
            go) directory=${D}${KATA_CONFIG_DIR_go} ;;
            rs) directory=${D}${KATA_CONFIG_DIR_rs} ;;
        esac
        install -d $directory
        install -m 0644 ${UNPACKDIR}/*.toml $directory/
        install -m 0644 ${UNPACKDIR}/$runtime/*.toml $directory/
        if [ "${KATA_BOOT}" != rootfs ]; then
            rm $directory/25-boot-rootfs.toml
        fi
        kata_config_programs > $directory/10-programs.toml
        chmod 0644 $directory/10-programs.toml
    done
    install -d ${D}${bindir}
    ln -s ${KATA_SHIM_PROGRAM} ${D}${bindir}/containerd-shim-kata-v2
}

FILES:${PN} += "${KATA_CONFIG_DIR}"
