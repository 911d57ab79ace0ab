require ${@bb.utils.contains('DISTRO_FEATURES', 'kata', 'recipes-kernel/linux/kata-host-kernel.inc', '', d)}
