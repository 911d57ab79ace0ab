SUMMARY = "Fedora for the guests of Kata Containers"
DESCRIPTION = "The root file system of the container image that the Fedora project publishes."
HOMEPAGE = "https://fedoraproject.org/"

KBUILD_SOURCE = "guest-base-fedora"

require kata-guest-base.inc

# Only the hash of x86-64's is known.
KBUILD_GUEST_BASE_FEDORA_VERSION:kata-pinned = "44"
KBUILD_GUEST_BASE_FEDORA_URI_x86_64:kata-pinned = "https://download.fedoraproject.org/pub/fedora/linux/releases/${PV}/Container/x86_64/images/Fedora-Container-Base-Generic-${PV}-1.7.x86_64.oci.tar.xz"
KBUILD_GUEST_BASE_FEDORA_SHA256_x86_64:kata-pinned = "75200f5752a74a21a616ca9a75e25beb594e2e117a0195c54f87c0b3e3974d1b"
