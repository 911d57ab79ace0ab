SUMMARY = "Kata's own programs, as the Kata project releases them"
SUMMARY:${PN}-agent = "Kata's agent, for a guest"
SUMMARY:${PN}-image = "Kata's guest as a root file system image: Ubuntu with systemd"
SUMMARY:${PN}-initrd = "Kata's guest as an initrd: Alpine Linux with the agent"
SUMMARY:${PN}-kernel = "Kata's guest kernel"
SUMMARY:${PN}-qemu = "Kata's QEMU, with its firmware"
SUMMARY:${PN}-runtime = "kata-runtime, with the configuration of Kata's Go shim"
SUMMARY:${PN}-shim = "Kata's Rust shim, with its configuration"
SUMMARY:${PN}-shim-go = "Kata's Go shim, and kata-monitor"
SUMMARY:${PN}-virtiofsd = "Kata's virtiofsd"
DESCRIPTION = "The agent, the shims and kata-runtime out of the release tarball that kata.toml names, and on demand its guest \
images, kernel, virtiofsd and QEMU. All lies below /opt/kata, where the release has it and its programs look for it."
HOMEPAGE = "https://github.com/kata-containers/kata-containers"
BUGTRACKER = "https://github.com/kata-containers/kata-containers/issues"
SECTION = "console/utils"
# Each package has its own. Kata's initrd is Alpine (musl, busybox, iptables, and bash under the GPL 3), its image Ubuntu, whose own
# package database names the licences of all that is in. The tarball has no licence files.
LICENSE = "Apache-2.0 & BSD-3-Clause & GPL-2.0-only & GPL-2.0-with-Linux-syscall-note & GPL-3.0-or-later & LGPL-2.1-or-later & MIT"
LICENSE:${PN}-agent = "Apache-2.0"
LICENSE:${PN}-image = "Apache-2.0 & BSD-3-Clause & GPL-2.0-only & GPL-3.0-or-later & LGPL-2.1-or-later & MIT"
LICENSE:${PN}-initrd = "Apache-2.0 & GPL-2.0-only & GPL-3.0-or-later & LGPL-2.1-or-later & MIT"
LICENSE:${PN}-kernel = "GPL-2.0-with-Linux-syscall-note"
LICENSE:${PN}-qemu = "GPL-2.0-only & LGPL-2.1-or-later & MIT"
LICENSE:${PN}-runtime = "Apache-2.0"
LICENSE:${PN}-shim = "Apache-2.0"
LICENSE:${PN}-shim-go = "Apache-2.0"
LICENSE:${PN}-virtiofsd = "Apache-2.0 & BSD-3-Clause"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"
CVE_PRODUCT = "kata_containers"

KBUILD_SOURCE = "kata-static-${KATA_RELEASE_ARCH}"
KATA_RELEASE_ARCH = "${@{'x86_64': 'amd64', 'aarch64': 'arm64'}.get(d.getVar('HOST_ARCH'), 'none')}"
# ELF's e_machine: EM_X86_64, EM_AARCH64.
KATA_RELEASE_ELF_MACHINE = "${@{'x86_64': '62', 'aarch64': '183'}.get(d.getVar('HOST_ARCH'), '0')}"

inherit kbuild_source kata_files kata_guest_arch kata_options kata_programs kata_release

SRC_URI = "${KBUILD_SOURCE_URI}"
S = "${UNPACKDIR}/release"

# The parts that are packaged, each `kata-static-PART`; only their members are streamed out of the tarball. The big ones only
# where something takes them (kata_programs.bbclass).
KATA_STATIC_PARTS ?= "agent initrd shim ${KATA_STATIC_GO_PARTS} ${KATA_STATIC_TAKEN_PARTS}"
# Linked against glibc.
KATA_STATIC_GO_PARTS = "${@'runtime shim-go' if d.getVar('TCLIBC') == 'glibc' else ''}"
KATA_STATIC_TAKEN_PARTS = "${@' '.join(kata_static_taken(d))}"

KATA_STATIC_MEMBERS[agent] = "share/kata-containers/kata-containers-initrd.img"
KATA_STATIC_MEMBERS[image] = "share/kata-containers/kata-containers.img"
KATA_STATIC_MEMBERS[initrd] = "share/kata-containers/kata-containers-initrd.img"
KATA_STATIC_MEMBERS[kernel] = "share/kata-containers/vmlinux.container share/kata-containers/vmlinuz.container"
KATA_STATIC_MEMBERS[qemu] = "bin/qemu-system-${HOST_ARCH} share/kata-qemu/"
KATA_STATIC_MEMBERS[runtime] = "bin/kata-runtime share/defaults/kata-containers/configuration-qemu.toml"
KATA_STATIC_MEMBERS[shim] = "\
    runtime-rs/bin/containerd-shim-kata-v2 \
    share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml \
"
KATA_STATIC_MEMBERS[shim-go] = "bin/containerd-shim-kata-v2 bin/kata-monitor"
KATA_STATIC_MEMBERS[virtiofsd] = "libexec/virtiofsd"

def kata_static_taken(d):
    taken = (d.getVar("KATA_PROGRAM_PACKAGES") or "").split()
    optional = ("image", "kernel", "qemu", "virtiofsd")
    return [part for part in optional if d.getVar("PN") + "-" + part in taken]

def kata_static_members(d):
    """The wanted members, sorted: what an unknown part names is an error of whoever set KATA_STATIC_PARTS."""
    known = d.getVarFlags("KATA_STATIC_MEMBERS") or {}
    members = set()
    for part in d.getVar("KATA_STATIC_PARTS").split():
        if part not in known:
            raise ValueError("KATA_STATIC_PARTS has '%s'; there are: %s" % (part, " ".join(sorted(known))))
        members.update(d.expand(known[part]).split())
    return sorted(members)

# In the place of unpacking: nothing but the wanted members ever lies on the disk.
python do_unpack() {
    try:
        fetch = bb.fetch2.Fetch([d.getVar("KBUILD_SOURCE_URI")], d)
        archive, = fetch.localpaths()
        kata_release_stream(archive, kata_static_members(d), d.getVar("S"), d.getVar("KATA_RELEASE_PREFIX"), d.getVar("PATH"))
    except (ValueError, OSError) as error:
        bb.fatal("%s: %s" % (d.getVar("KBUILD_SOURCE"), error))
}
do_unpack[vardeps] += "KATA_STATIC_MEMBERS KATA_STATIC_PARTS"
do_unpack[cleandirs] += "${S}"

do_install() {
    install -d ${D}/opt/kata
    cp -R ${S}/. ${D}/opt/kata/
    # The names under which Kata's programs look for their configuration.
    defaults=${D}/opt/kata/share/defaults/kata-containers
    if [ -e $defaults/configuration-qemu.toml ]; then
        mv $defaults/configuration-qemu.toml $defaults/configuration.toml
    fi
    if [ -e $defaults/runtime-rs/configuration-qemu-runtime-rs.toml ]; then
        mv $defaults/runtime-rs/configuration-qemu-runtime-rs.toml $defaults/runtime-rs/configuration.toml
    fi
    if ${@bb.utils.contains('KATA_STATIC_PARTS', 'agent', 'true', 'false', d)}; then
        kata_static_install_agent
    fi
    if ! ${@bb.utils.contains('KATA_STATIC_PARTS', 'initrd', 'true', 'false', d)}; then
        rm -f ${D}/opt/kata/share/kata-containers/kata-containers-initrd.img
    fi
    if ${@bb.utils.contains('KATA_STATIC_PARTS', 'runtime', 'true', 'false', d)}; then
        install -d ${D}${bindir}
        ln -s /opt/kata/bin/kata-runtime ${D}${bindir}/kata-runtime
        # Programs for x86-64 ask for their loader where all distributions have it; this one has it in ${base_libdir}.
        if [ -n "${KATA_STATIC_LOADER}" ]; then
            install -d ${D}/lib64
            ln -s ${base_libdir}/${KATA_STATIC_LOADER} ${D}/lib64/${KATA_STATIC_LOADER}
        fi
    fi
}
do_install[postfuncs] += "kata_static_check"
kata_static_check[doc] = "Stops the build where a program of the release is not what the guest or the board can start"

KATA_STATIC_LOADER = ""
KATA_STATIC_LOADER:x86-64 = "${@'' if d.getVar('base_libdir').endswith('lib64') else 'ld-linux-x86-64.so.2'}"

# The agent is /sbin/init of the release's initrd, and stops at once without its policy.
kata_static_install_agent() {
    rm -rf ${WORKDIR}/initrd
    install -d ${WORKDIR}/initrd
    gzip --decompress --stdout ${S}/share/kata-containers/kata-containers-initrd.img > ${WORKDIR}/initrd.cpio
    for file in sbin/init etc/kata-opa/allow-all.rego etc/kata-opa/default-policy.rego; do
        (cd ${WORKDIR}/initrd && cpio --extract --quiet --make-directories --no-absolute-filenames $file ./$file < ${WORKDIR}/initrd.cpio)
        [ -e ${WORKDIR}/initrd/$file ] || bbfatal "the release's initrd lacks $file"
    done
    rm ${WORKDIR}/initrd.cpio
    install -D -m 0755 ${WORKDIR}/initrd/sbin/init ${D}${bindir}/kata-agent
    install -D -m 0644 ${WORKDIR}/initrd/etc/kata-opa/allow-all.rego ${D}${sysconfdir}/kata-opa/allow-all.rego
    ln -s allow-all.rego ${D}${sysconfdir}/kata-opa/default-policy.rego
}

python kata_static_check() {
    programs = {
        "agent": (d.expand("${bindir}/kata-agent"), True),
        "runtime": ("/opt/kata/bin/kata-runtime", False),
        "shim": ("/opt/kata/runtime-rs/bin/containerd-shim-kata-v2", True),
        "shim-go": ("/opt/kata/bin/containerd-shim-kata-v2", False),
    }
    for part in d.getVar("KATA_STATIC_PARTS").split():
        if part not in programs:
            continue
        path, static = programs[part]
        try:
            kata_release_check_elf(d.getVar("D") + path, int(d.getVar("KATA_RELEASE_ELF_MACHINE")), static)
        except (ValueError, OSError) as error:
            bb.fatal("%s of %s: %s" % (path, d.getVar("KBUILD_SOURCE"), error))
}

# Those whose part is not in KATA_STATIC_PARTS stay empty, and empty packages are not written.
PACKAGES = "\
    ${PN}-agent \
    ${PN}-image \
    ${PN}-initrd \
    ${PN}-kernel \
    ${PN}-qemu \
    ${PN}-runtime \
    ${PN}-shim \
    ${PN}-shim-go \
    ${PN}-virtiofsd \
"
FILES:${PN}-agent += "${bindir}/kata-agent ${sysconfdir}/kata-opa"
FILES:${PN}-image += "/opt/kata/share/kata-containers/kata-containers.img"
FILES:${PN}-initrd += "/opt/kata/share/kata-containers/kata-containers-initrd.img"
FILES:${PN}-kernel += "/opt/kata/share/kata-containers/vmlinu*"
FILES:${PN}-qemu += "/opt/kata/bin/qemu-system-${HOST_ARCH} /opt/kata/share/kata-qemu"
FILES:${PN}-runtime += "\
    ${bindir}/kata-runtime \
    /lib64 \
    /opt/kata/bin/kata-runtime \
    /opt/kata/share/defaults/kata-containers/configuration.toml \
"
FILES:${PN}-shim += "/opt/kata/runtime-rs /opt/kata/share/defaults/kata-containers/runtime-rs"
FILES:${PN}-shim-go += "/opt/kata/bin/containerd-shim-kata-v2 /opt/kata/bin/kata-monitor"
FILES:${PN}-virtiofsd += "/opt/kata/libexec/virtiofsd"

RDEPENDS:${PN}-runtime = "glibc"
RDEPENDS:${PN}-shim-go = "${PN}-runtime glibc"

# The bytes are the release's: stripped by its makers where they are stripped, linked with other flags than ours, and the
# kernel and QEMU's firmware are no programs of the board.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"
INSANE_SKIP:${PN}-agent = "already-stripped ldflags"
INSANE_SKIP:${PN}-kernel = "already-stripped arch buildpaths ldflags textrel"
INSANE_SKIP:${PN}-qemu = "already-stripped arch ldflags textrel"
INSANE_SKIP:${PN}-runtime = "already-stripped ldflags"
INSANE_SKIP:${PN}-shim = "already-stripped ldflags"
INSANE_SKIP:${PN}-shim-go = "already-stripped ldflags"
INSANE_SKIP:${PN}-virtiofsd = "already-stripped ldflags"
