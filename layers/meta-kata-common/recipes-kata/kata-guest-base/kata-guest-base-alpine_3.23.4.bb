SUMMARY = "Alpine Linux for the guests of Kata Containers"
DESCRIPTION = "The smallest of the guest bases. Its C library is musl."
HOMEPAGE = "https://alpinelinux.org/"

require kata-guest-base.inc

# Only the hash of arm64's was published by somebody else than its download server.
COMPATIBLE_HOST = "aarch64.*-linux"

SRC_URI = "https://dl-cdn.alpinelinux.org/alpine/v3.23/releases/aarch64/alpine-minirootfs-${PV}-aarch64.tar.gz;unpack=0"
SRC_URI[sha256sum] = "9250667a8affac8f1e98086392f80f43f086626701e9bce33398eb9b6c0bd64c"

do_deploy() {
    install -m 0644 ${UNPACKDIR}/alpine-minirootfs-${PV}-aarch64.tar.gz ${DEPLOYDIR}/kata-guest-base-alpine.tar
}
