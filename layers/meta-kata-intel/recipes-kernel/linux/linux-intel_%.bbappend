require recipes-kernel/linux/kata-host-kernel.inc
