SUMMARY = "A small system that runs containers with Kata"
DESCRIPTION = "Boots to a shell with what is needed to start containers in their own virtual machines."
SECTION = "base"
LICENSE = "MIT"

inherit core-image kata_options

IMAGE_INSTALL += "packagegroup-kata"
