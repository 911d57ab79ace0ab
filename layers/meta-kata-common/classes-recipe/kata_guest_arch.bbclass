# The guest's architecture under the names that Kata and the kernel give it.

COMPATIBLE_HOST = "(x86_64|aarch64).*-linux"

# Kata's directories of kernel fragments.
KATA_KERNEL_ARCH = "${@{'x86_64': 'x86_64', 'aarch64': 'arm64'}.get(d.getVar('HOST_ARCH'), '')}"
