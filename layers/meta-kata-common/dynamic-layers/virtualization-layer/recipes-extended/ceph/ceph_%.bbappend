# meta-virtualization builds ceph without librbd, which QEMU's rbd driver links to. Of two equal options CMake takes the
# last. All else stays as the recipe has it (no SPDK, no manager, no kernel client): its packaging counts on that.
EXTRA_OECMAKE:append:kata-withceph = " -DWITH_RBD=ON"
