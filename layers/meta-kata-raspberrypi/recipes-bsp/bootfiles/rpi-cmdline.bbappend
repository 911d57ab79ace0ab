require ${@bb.utils.contains('DISTRO_FEATURES', 'kata', 'rpi-cmdline-kata.inc', '', d)}
