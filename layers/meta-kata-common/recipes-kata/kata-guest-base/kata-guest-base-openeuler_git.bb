SUMMARY = "openEuler for the guests of Kata Containers"
DESCRIPTION = "The root file system of openEuler's container image, in the place of EulerOS, which publishes none."
HOMEPAGE = "https://www.openeuler.org/"

KBUILD_SOURCE = "guest-base-openeuler"

require kata-guest-base.inc
