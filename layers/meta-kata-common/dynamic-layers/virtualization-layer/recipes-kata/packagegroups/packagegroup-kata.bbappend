# Docker with containerd and runc: runc stays on the board beside Kata. virtiofsd serves the container's files to its guest.
RDEPENDS:${PN}:append = " docker virtiofsd"
