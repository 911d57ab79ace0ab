SUMMARY = "CentOS Stream for the guests of Kata Containers"
DESCRIPTION = "The root file system of the container image that the CentOS project publishes."
HOMEPAGE = "https://www.centos.org/"

KBUILD_SOURCE = "guest-base-centos"

require kata-guest-base.inc
