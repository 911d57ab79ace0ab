SUMMARY = "Alpine Linux for the guests of Kata Containers"
DESCRIPTION = "The smallest of the guest bases. Its C library is musl."
HOMEPAGE = "https://alpinelinux.org/"

KBUILD_SOURCE = "guest-base-alpine"

require kata-guest-base.inc

# Only the hash of arm64's was published by somebody else than its download server.
KBUILD_GUEST_BASE_ALPINE_VERSION:kata-pinned = "3.23.4"
KBUILD_GUEST_BASE_ALPINE_URI_aarch64:kata-pinned = "https://dl-cdn.alpinelinux.org/alpine/v3.23/releases/aarch64/alpine-minirootfs-${PV}-aarch64.tar.gz;unpack=0"
KBUILD_GUEST_BASE_ALPINE_SHA256_aarch64:kata-pinned = "9250667a8affac8f1e98086392f80f43f086626701e9bce33398eb9b6c0bd64c"
