# A disk to write as it is. Its layout, with systemd-boot and the processor's microcode, is meta-intel's.
IMAGE_FSTYPES:intel-x86-common = "wic"
