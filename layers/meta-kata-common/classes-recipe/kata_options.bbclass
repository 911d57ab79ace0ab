# The options of kata.toml, as the OVERRIDES words that they become, for recipes that act on them.
#
# kbuild checks choices before BitBake starts. Here the same holds for people who set OVERRIDES by hand: two choices of
# one option, or a choice that this layer cannot honour, skip the recipe with the reason. Nothing is ignored silently.

KATA_OPTION_CHOICES[boot] = "kata-initrd kata-rootfs"
KATA_OPTION_CHOICES[network] = "kata-network-bridging kata-network-macvtap"
KATA_OPTION_CHOICES[base] = "kata-base-alpine kata-base-centos kata-base-fedora kata-base-euleros kata-base-clear-linux"

KATA_OPTION_REFUSED[kata-network-macvtap] = "the Rust runtime of Kata accepts the macvtap model and then sets up no network at all"
KATA_OPTION_REFUSED[kata-base-alpine] = "this layer has no recipe for an Alpine guest yet"
KATA_OPTION_REFUSED[kata-base-centos] = "this layer has no recipe for a CentOS guest yet"
KATA_OPTION_REFUSED[kata-base-fedora] = "this layer has no recipe for a Fedora guest yet"
KATA_OPTION_REFUSED[kata-base-euleros] = "this layer has no recipe for an openEuler guest yet (EulerOS itself publishes no root file system)"
KATA_OPTION_REFUSED[kata-base-clear-linux] = "Clear Linux OS was ended by its makers, so nothing maintained is left to build a guest from"
KATA_OPTION_REFUSED[kata-withceph] = "this layer does not build QEMU with rbd yet"

python () {
    chosen = set((d.getVar("OVERRIDES") or "").split(":"))
    for option, words in sorted((d.getVarFlags("KATA_OPTION_CHOICES") or {}).items()):
        taken = [word for word in words.split() if word in chosen]
        if len(taken) > 1:
            raise bb.parse.SkipRecipe("%s are choices of one option (%s): take one" % (" and ".join(taken), option))
    for word, reason in sorted((d.getVarFlags("KATA_OPTION_REFUSED") or {}).items()):
        if word in chosen:
            raise bb.parse.SkipRecipe("%s: %s" % (word, reason))
}
