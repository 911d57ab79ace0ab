FILESEXTRAPATHS:prepend := "${THISDIR}/${PN}:"
# By machine: rpi/ for all, raspberrypi3-64/ for those without a GIC.
SRC_URI:append:rpi = " file://50-board.toml"
