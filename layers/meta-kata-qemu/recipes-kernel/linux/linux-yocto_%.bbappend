# Other machines take this kernel too: theirs stays as it is.
require ${@'recipes-kernel/linux/kata-host-kernel.inc' if 'qemux86-64' in d.getVar('MACHINEOVERRIDES').split(':') else ''}
