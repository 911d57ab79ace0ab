SUMMARY = "Kata as a runtime of containerd's Kubernetes interface"
DESCRIPTION = "Drop-ins for containerd, with a configuration that reads /etc/containerd/conf.d, and for the containerd of k3s \
(config-v3.toml.d, or config.toml.d for configuration version 2). Docker does not read them: it has a configuration of its own."
HOMEPAGE = "https://github.com/containerd/containerd/blob/main/docs/cri/config.md"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit kata_files kata_options

# 3 for containerd 2, 2 for containerd 1.7.
KATA_CONTAINERD_CONFIG_VERSION ?= "3"
# containerd reads a drop-in only where its configuration imports it. Its built-in one names conf.d (from 2.2 on), and is not
# asked for imports as long as there is no file. A board with a configuration of its own says 0 here, and imports conf.d there.
KATA_CONTAINERD_MAIN_CONFIG ?= "1"

SRC_URI = "file://kata-v${KATA_CONTAINERD_CONFIG_VERSION}.toml"
S = "${UNPACKDIR}"

KATA_K3S_DIR = "${localstatedir}/lib/rancher/k3s/agent/etc/containerd"
KATA_K3S_DROP_INS = "${@'config.toml.d' if d.getVar('KATA_CONTAINERD_CONFIG_VERSION') == '2' else 'config-v3.toml.d'}"

do_install() {
    file=${UNPACKDIR}/kata-v${KATA_CONTAINERD_CONFIG_VERSION}.toml
    install -D -m 0644 $file ${D}${sysconfdir}/containerd/conf.d/20-kata.toml
    install -D -m 0644 $file ${D}${KATA_K3S_DIR}/${KATA_K3S_DROP_INS}/20-kata.toml
    if ${@'true' if bb.utils.to_boolean(d.getVar('KATA_CONTAINERD_MAIN_CONFIG')) else 'false'}; then
        printf 'version = %s\nimports = ["%s/containerd/conf.d/*.toml"]\n' \
            ${KATA_CONTAINERD_CONFIG_VERSION} ${sysconfdir} > ${D}${sysconfdir}/containerd/config.toml
        chmod 0644 ${D}${sysconfdir}/containerd/config.toml
    fi
}

FILES:${PN} += "${KATA_K3S_DIR}"
CONFFILES:${PN} = "${sysconfdir}/containerd/conf.d/20-kata.toml ${sysconfdir}/containerd/config.toml"
# meta-virtualization's vxn has a configuration of containerd too.
RCONFLICTS:${PN} = "${@'vxn' if bb.utils.to_boolean(d.getVar('KATA_CONTAINERD_MAIN_CONFIG')) else ''}"
