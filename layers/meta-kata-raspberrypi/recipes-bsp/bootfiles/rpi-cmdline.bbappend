# The firmware's device trees switch the memory controller off; a sandbox's limits need it.
CMDLINE:append = " cgroup_enable=memory"
