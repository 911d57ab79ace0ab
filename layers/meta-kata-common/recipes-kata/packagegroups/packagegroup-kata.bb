SUMMARY = "What a board needs to run containers with Kata"
DESCRIPTION = "The packages of Kata Containers, and with meta-virtualization in the build those of Docker."

inherit packagegroup kata_options

RDEPENDS:${PN} = "kata-containers-config"
