SUMMARY = "Root file system image of the guests of Kata Containers"
DESCRIPTION = "The guest's whole user space as a disk image with one ext4 partition, for a virtio disk: without the header \
that mapping it as persistent memory would need."

IMAGE_FSTYPES = "wic"
WKS_FILE = "kata-guest-rootfs.wks"

require kata-guest-image.inc
