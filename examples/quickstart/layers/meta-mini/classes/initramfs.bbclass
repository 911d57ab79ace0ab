# An initramfs: what the recipes of ${IMAGE_INSTALL} installed, as a cpio archive
# in the kernel's `newc` form, gzipped. Written here in python instead of by
# cpio(1): every field is then fixed, and the host need not have cpio.

IMAGE_NAME ?= "${PN}-${MACHINE}"
IMAGE_INIT ?= "${bindir}/hello"
DEPENDS += "${IMAGE_INSTALL}"

# The programs must be installed before they are collected.
do_rootfs[deptask] = "do_install"
do_rootfs[cleandirs] = "${D}"
do_rootfs[vardeps] += "IMAGE_INSTALL"
addtask rootfs after do_unpack before do_install

python do_rootfs() {
    import os, shutil
    root = d.getVar("D")
    for recipe in (d.getVar("IMAGE_INSTALL") or "").split():
        installed = os.path.join(d.getVar("WORKDIR_BASE"), recipe, "image")
        shutil.copytree(installed, root, symlinks=True, dirs_exist_ok=True)
    os.symlink(d.getVar("IMAGE_INIT"), os.path.join(root, "init"))
    os.makedirs(os.path.join(root, "etc"))
    with open(os.path.join(root, "etc/issue"), "w") as issue:
        issue.write("%s on %s, console %s\n" % (
            d.getVar("GREETING"), d.getVar("MACHINE_TITLE"), d.getVar("SERIAL_CONSOLE")))
}

# Beside the image are the programs themselves, as their recipes deploy them.
do_deploy[deptask] = "do_deploy"

# do_rootfs filled ${D}; the usual do_install would empty it again.
do_install[noexec] = "1"
do_compile[noexec] = "1"
# Its state would be empty; that of do_deploy has the image.
deltask do_install_setscene

python do_deploy() {
    import gzip, hashlib, os
    root, out = d.getVar("D"), d.getVar("DEPLOYDIR")
    name = os.path.join(out, d.getVar("IMAGE_NAME"))
    entries = initramfs_entries(root)
    archive = initramfs_cpio(entries, int(d.getVar("SOURCE_DATE_EPOCH")))
    with open(name + ".cpio.gz", "wb") as image:
        # No file name and no time in gzip's header.
        image.write(gzip.compress(archive, 9, mtime=0))
    with open(name + ".manifest", "w") as manifest:
        for path, mode, data in entries:
            if data:
                manifest.write("%s  %06o  %s\n" % (hashlib.sha256(data).hexdigest(), mode, path))
}

def initramfs_entries(root):
    """(path, mode, data) of all below root, parents first, sorted by bytes."""
    import os, stat
    found = []
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root)
            if os.path.islink(full):
                found.append((path, stat.S_IFLNK | 0o777, os.readlink(full).encode()))
            elif os.path.isdir(full):
                found.append((path, stat.S_IFDIR | 0o755, b""))
            else:
                runs = os.stat(full).st_mode & 0o100
                with open(full, "rb") as file:
                    found.append((path, stat.S_IFREG | (0o755 if runs else 0o644), file.read()))
    return sorted(found, key=lambda entry: entry[0].encode())

def initramfs_cpio(entries, mtime):
    """The archive, as Documentation/driver-api/early-userspace/buffer-format.rst
    of the kernel has it: owner root, one time for all, inodes counted from 1."""
    archive = bytearray()
    def add(path, mode, data, inode, links):
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, links, mtime, len(data), 0, 0, 0, 0, len(name), 0)
        archive.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
        archive.extend(b"\0" * (-len(archive) % 4))
        archive.extend(data)
        archive.extend(b"\0" * (-len(archive) % 4))
    for inode, (path, mode, data) in enumerate(entries, 1):
        add(path, mode, data, inode, 1)
    add("TRAILER!!!", 0, b"", 0, 1)
    return bytes(archive)
