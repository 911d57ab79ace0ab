# An SD card to write with bmaptool.
IMAGE_FSTYPES:rpi = "wic.bz2 wic.bmap"
