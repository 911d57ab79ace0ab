# Recipes that copy files: nothing is patched or compiled, so no patch tool, compiler or C library is built for them.
# A bbappend may patch all the same, with the host's `patch`.

INHIBIT_DEFAULT_DEPS = "1"
PATCHTOOL = "patch"
do_patch[depends] = ""
do_configure[noexec] = "1"
do_compile[noexec] = "1"
