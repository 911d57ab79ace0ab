# The options of kata.toml, as the OVERRIDES words that they become, for recipes that act on them.
#
# kbuild checks choices before BitBake starts. Here the same holds for people who set OVERRIDES by hand: two choices of
# one option, or a choice that this layer cannot honour, skip the recipe with the reason. Nothing is ignored silently.
#
# Nothing of Kata is in a build that does not ask for it with the distribution feature `kata`: whoever has these layers among
# others, and builds something else, gets the same bits as without them.
#
# A board that cannot run Kata says so in KATA_BOARD_REFUSED (the reason; empty means that it can).

inherit features_check
REQUIRED_DISTRO_FEATURES += "kata"

KATA_OPTION_CHOICES[boot] = "kata-initrd kata-rootfs"
KATA_OPTION_CHOICES[network] = "kata-network-bridging kata-network-macvtap"
KATA_OPTION_CHOICES[base] = "kata-base-alpine kata-base-centos kata-base-fedora kata-base-euleros kata-base-clear-linux"

# What each option changes, for the recipes that ask.
KATA_BOOT ?= "initrd"
KATA_BOOT:kata-rootfs = "rootfs"

KATA_GUEST_BASE ?= "yocto"
KATA_GUEST_BASE:kata-base-alpine = "alpine"
KATA_GUEST_BASE:kata-base-fedora = "fedora"

# The reasons. A choice with an empty one can be had.
KATA_OPTION_REFUSED[kata-network-macvtap] = "the Rust runtime of Kata accepts the macvtap model and then sets up no network at all"
KATA_OPTION_REFUSED[kata-base-alpine] = "${@kata_only_on(d, 'aarch64', 'of the Alpine root file systems only the one for arm64 has a hash that was published by somebody else than its download server')}"
KATA_OPTION_REFUSED[kata-base-centos] = "no hash of a CentOS Stream root file system is known that was published by somebody else than its download server, so there is nothing to pin"
KATA_OPTION_REFUSED[kata-base-fedora] = "${@kata_only_on(d, 'x86_64', 'of the Fedora root file systems only the one for x86-64 has a known hash')}"
KATA_OPTION_REFUSED[kata-base-euleros] = "EulerOS itself publishes no root file system, and for openEuler's no hash is known, so there is nothing to pin"
KATA_OPTION_REFUSED[kata-base-clear-linux] = "Clear Linux OS was ended by its makers, so nothing maintained is left to build a guest from"
KATA_OPTION_REFUSED[kata-withceph] = "${@kata_ceph_refusal(d)}"

def kata_only_on(d, arch, reason):
    return "" if d.getVar("TARGET_ARCH") == arch else reason

def kata_ceph_refusal(d):
    if d.getVar("TARGET_ARCH") != "x86_64":
        return "ceph is built for x86-64 only, and QEMU's rbd driver needs its librbd"
    if "virtualization-layer" not in (d.getVar("BBFILE_COLLECTIONS") or "").split():
        return "ceph comes from meta-virtualization, which is not among the layers"
    return ""

python () {
    refused = d.getVar("KATA_BOARD_REFUSED")
    if refused:
        raise bb.parse.SkipRecipe("%s: %s" % (d.getVar("MACHINE"), refused))
    chosen = set((d.getVar("OVERRIDES") or "").split(":"))
    for option, words in sorted((d.getVarFlags("KATA_OPTION_CHOICES") or {}).items()):
        taken = [word for word in words.split() if word in chosen]
        if len(taken) > 1:
            raise bb.parse.SkipRecipe("%s are choices of one option (%s): take one" % (" and ".join(taken), option))
    for word in sorted(d.getVarFlags("KATA_OPTION_REFUSED") or {}):
        reason = d.getVarFlag("KATA_OPTION_REFUSED", word)
        if word in chosen and reason:
            raise bb.parse.SkipRecipe("%s: %s" % (word, reason))
}
