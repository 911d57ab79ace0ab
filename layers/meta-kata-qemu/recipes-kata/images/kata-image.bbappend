IMAGE_FSTYPES:qemux86-64 = "wic.qcow2"
# The kernel and the boot loader are in the root file system's /boot, which becomes the EFI system partition; without the
# fragment kata-qemu/uefi the machine has no UEFI and starts by BIOS.
WKS_FILE:qemux86-64 = "${@bb.utils.contains('MACHINE_FEATURES', 'efi', 'efi-bootdisk.wks.in', 'qemux86-directdisk.wks', d)}"
EXTRA_IMAGEDEPENDS:append:qemux86-64 = "${@bb.utils.contains('MACHINE_FEATURES', 'efi', ' ovmf', '', d)}"

# For runqemu (`runqemu kvm ovmf slirp wic.qcow2`). Guests inside the guest need the host's own processor, with vmx or svm,
# and memory for themselves.
QB_CPU_KVM:qemux86-64 = "-cpu host -machine q35,i8042=off"
QB_MEM:qemux86-64 = "-m 4096"
QB_DEFAULT_FSTYPE:qemux86-64 = "wic.qcow2"
QB_DRIVE_TYPE:qemux86-64 = "/dev/vd"
