# Other machines take this kernel too: theirs stays as it is.
require ${@bb.utils.contains('DISTRO_FEATURES', 'kata', 'recipes-kernel/linux/kata-host-kernel.inc', '', d) if 'qemux86-64' in d.getVar('MACHINEOVERRIDES').split(':') else ''}
