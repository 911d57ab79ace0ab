SUMMARY = "Initrd of the guests of Kata Containers"
DESCRIPTION = "The guest's whole user space as a compressed cpio archive; sorted and without inode numbers, so that equal \
content is equal bytes."

IMAGE_FSTYPES = "cpio.gz"
# KiB. oe-core's limit (128 MiB) is for initrds of boards; a Fedora is larger, and what a guest can hold is its memory's matter.
INITRAMFS_MAXSIZE = "1048576"

require kata-guest-image.inc
