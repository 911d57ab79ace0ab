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
KATA_OPTION_CHOICES[base] = "kata-base-alpine kata-base-centos kata-base-fedora kata-base-euleros kata-base-clear-linux kata-base-release"

# What each option changes, for the recipes that ask.
KATA_BOOT ?= "initrd"
KATA_BOOT:kata-rootfs = "rootfs"

# Which of Kata's two shims runs on the board. Only the Go shim has the macvtap model.
KATA_NETWORK ?= "tcfilter"
KATA_NETWORK:kata-network-macvtap = "macvtap"
KATA_SHIM ?= "rs"
KATA_SHIM:kata-network-macvtap = "go"

KATA_GUEST_BASE ?= "yocto"
KATA_GUEST_BASE:kata-base-alpine = "alpine"
KATA_GUEST_BASE:kata-base-centos = "centos"
KATA_GUEST_BASE:kata-base-euleros = "openeuler"
KATA_GUEST_BASE:kata-base-fedora = "fedora"
# The guest out of Kata's own release: nothing is built.
KATA_GUEST_BASE:kata-base-release = "release"

# The images that guests can be built on. Each is a source of kata.toml, `guest-base-` and the name here.
KATA_GUEST_BASE_IMAGE[alpine] = "docker.io/library/alpine:3.23"
KATA_GUEST_BASE_IMAGE[centos] = "quay.io/centos/centos:stream10"
KATA_GUEST_BASE_IMAGE[fedora] = "registry.fedoraproject.org/fedora:44"
KATA_GUEST_BASE_IMAGE[openeuler] = "docker.io/openeuler/openeuler:24.03-lts"

# The reasons. A choice with an empty one can be had.
KATA_OPTION_REFUSED[kata-network-macvtap] = "${@'' if d.getVar('TCLIBC') == 'glibc' else 'only the Go shim has the macvtap model (the Rust shim takes the word and sets up no network), and the one that Kata releases is linked against glibc'}"
KATA_OPTION_REFUSED[kata-base-alpine] = "${@kata_base_refusal(d, 'alpine', 'its recipe pins a file for arm64 only, and ', 'aarch64')}"
KATA_OPTION_REFUSED[kata-base-centos] = "${@kata_base_refusal(d, 'centos')}"
KATA_OPTION_REFUSED[kata-base-fedora] = "${@kata_base_refusal(d, 'fedora', 'its recipe pins a file for x86-64 only, and ', 'x86_64')}"
KATA_OPTION_REFUSED[kata-base-euleros] = "${@kata_base_refusal(d, 'openeuler', 'EulerOS publishes no image, openEuler stands in for it, and ')}"
KATA_OPTION_REFUSED[kata-base-clear-linux] = "Clear Linux OS was ended by its makers, so nothing maintained is left to build a guest from"
KATA_OPTION_REFUSED[kata-withceph] = "no ceph of this release can be built: meta-virtualization calls its own broken (its configuration hangs), and QEMU's rbd driver needs the librbd of one"

def kata_base_refusal(d, base, why="", pinned=""):
    """A base comes from the image that kata.toml declares, or from the file that its recipe pins for one architecture."""
    arch = d.getVar("TARGET_ARCH")
    source = "guest-base-" + base
    variable = "KBUILD_GUEST_BASE_" + base.upper()
    if d.getVar(variable + "_DIGEST"):
        locked = d.getVar(variable + "_ARCHITECTURES") or ""
        if arch in locked.split():
            return ""
        return ("the image '%s' is locked for %s, not for %s: see 'architectures' of the source in kata.toml"
                % (source, locked, arch))
    if arch == pinned:
        return ""
    return ("%skata.toml does not declare its image: add '[sources.%s]' with 'oci = \"%s\"' there and run 'kbuild lock'"
            % (why, source, d.getVarFlag("KATA_GUEST_BASE_IMAGE", base)))

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
