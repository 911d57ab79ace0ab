SUMMARY = "Initrd of the guests of Kata Containers"
DESCRIPTION = "The guest's whole user space as a compressed cpio archive; sorted and without inode numbers, so that equal \
content is equal bytes."

IMAGE_FSTYPES = "cpio.gz"

require kata-guest-image.inc
