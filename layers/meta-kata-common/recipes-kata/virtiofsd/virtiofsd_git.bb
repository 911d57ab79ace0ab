SUMMARY = "Shares a directory of the host with a virtual machine"
DESCRIPTION = "A vhost-user device for virtio-fs: through it a guest of Kata Containers reads and writes its containers' files. \
Built from the released crate, with the crates that its own Cargo.lock names."
HOMEPAGE = "https://virtio-fs.gitlab.io/"
BUGTRACKER = "https://gitlab.com/virtio-fs/virtiofsd/-/issues"
SECTION = "console/utils"
LICENSE = "Apache-2.0 & BSD-3-Clause"
LIC_FILES_CHKSUM = "\
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://LICENSE-BSD-3-Clause;md5=b1ed361f9fc790c1054d81a7ef041a34 \
"
DEPENDS = "libcap-ng libseccomp"

KBUILD_SOURCE = "virtiofsd"

inherit cargo features_check kbuild_crates kbuild_source

SRC_URI = "${KBUILD_SOURCE_URI}"
require ${BPN}-crates.inc

# Its sandbox is a seccomp filter too: upstream builds no program without. Without kata another layer's virtiofsd is taken.
REQUIRED_DISTRO_FEATURES = "kata seccomp"
