# Docker with containerd and runc: runc stays on the board beside Kata.
RDEPENDS:${PN}:append = " docker"
