SUMMARY = "An initramfs with the board's programs"
LICENSE = "MIT"
PV = "1.0"

inherit initramfs
