# A guest's base out of a container image: ${BPN}.tar, one root file system made of the image's layers.
#
# ${UNPACKDIR}/base holds an OCI layout, as BitBake unpacks kbuild's archives of images, or a single archive, which is
# taken for an image of one layer. Layers may be plain, gzip or zstd. The same layers give the same bytes: members stand
# sorted, owners as numbers. Modes, times, links, devices and extended attributes stay as the image has them; nothing is
# unpacked, so no root is needed for that.
#
# No path leads out of the root file system or through a link of it. Whoever unpacks the result relies on that.

python do_deploy() {
    import os, tempfile
    base = os.path.join(d.getVar("UNPACKDIR"), "base")
    target = os.path.join(d.getVar("DEPLOYDIR"), d.getVar("BPN") + ".tar")
    try:
        with tempfile.TemporaryDirectory(dir=d.getVar("WORKDIR")) as scratch:
            kata_base_flatten(kata_base_layers(base), target, scratch, d.getVar("PATH"))
    except (ValueError, OSError) as error:
        bb.fatal("%s: %s" % (d.getVar("KBUILD_SOURCE"), error))
}

def kata_base_layers(directory):
    """The files of the layers, the lowest first."""
    import os
    index = os.path.join(directory, "index.json")
    if not os.path.exists(index):
        names = os.listdir(directory)
        if len(names) != 1:
            raise ValueError("neither an OCI layout nor a single archive: %s" % " ".join(sorted(names)))
        return [os.path.join(directory, names[0])]
    manifests = kata_base_list(index, "manifests")
    if len(manifests) != 1:
        raise ValueError("expected an archive with one image, found %d" % len(manifests))
    layers = kata_base_list(kata_base_blob(directory, manifests[0]), "layers")
    return [kata_base_blob(directory, layer) for layer in layers]

def kata_base_list(path, key):
    import json, os
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError("%s has no list of %s: this is not the OCI layout of one image" % (os.path.basename(path), key))
    return found

def kata_base_blob(directory, descriptor):
    """A blob's file, once it is known to be what its name says."""
    import os, re
    digest = str(descriptor.get("digest"))
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError("'%s' is not the SHA-256 digest of a blob" % digest)
    path = os.path.join(os.path.realpath(directory), "blobs", *digest.split(":"))
    if os.path.realpath(path) != path or not os.path.isfile(path):
        raise ValueError("blob %s is not a file of the archive" % digest)
    if bb.utils.sha256_file(path) != path.rpartition("/")[2]:
        raise ValueError("blob %s does not have that digest" % digest)
    return path

def kata_base_flatten(layers, target, scratch, programs):
    import contextlib, os, subprocess, tarfile, zlib
    # What is known of a name: its member and the archive that has it, and for a directory what is inside. Names that
    # are hard links of each other share one such entry.
    root = {"inside": {}}
    names = {"encoding": "utf-8", "errors": "surrogateescape"}
    faults = (ValueError, OSError, EOFError, zlib.error, tarfile.TarError, subprocess.SubprocessError)
    with contextlib.ExitStack() as files:
        for number, layer in enumerate(layers, 1):
            try:
                plain = kata_base_plain(layer, os.path.join(scratch, str(number)), programs)
                tar = files.enter_context(tarfile.open(plain, "r:", **names))
                kata_base_apply(root, tar)
            except faults as error:
                raise ValueError("layer %d, %s: %s" % (number, os.path.basename(layer), error)) from error
        with tarfile.open(target, "w:", format=tarfile.PAX_FORMAT, **names) as out:
            kata_base_write(root, out)

def kata_base_plain(path, target, programs):
    """The layer unpacked. Members are looked up in it, which a compressed file would be read again and again for."""
    import gzip, shutil, subprocess
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(path) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        return target
    if magic == b"\x28\xb5\x2f\xfd":
        zstd = shutil.which("zstd", path=programs)
        if not zstd:
            raise ValueError("a layer is compressed with zstd, and the program zstd is not there to unpack it")
        with open(path, "rb") as source, open(target, "wb") as out:
            subprocess.run([zstd, "--decompress", "--quiet", "--stdout"], stdin=source, stdout=out, check=True)
        return target
    return path

def kata_base_apply(root, tar):
    """Lays a layer over those below. What it takes away of them goes first: it is never about the layer's own files."""
    members = [(kata_base_parts(member.name), member) for member in tar]
    tar.fileobj.seek(tar.offset)
    if any(tar.fileobj.read(512)):
        raise ValueError("the archive is damaged after %d members" % len(members))
    for parts, member in members:
        if parts and parts[-1].startswith(".wh."):
            kata_base_take_away(root, parts)
    for parts, member in members:
        if not (parts and parts[-1].startswith(".wh.")):
            kata_base_put(root, parts, member, tar)

def kata_base_parts(name):
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise ValueError("'%s' leads out of the root file system" % name)
    if any(part.startswith(".wh.") for part in parts[:-1]):
        raise ValueError("'%s' is inside what only marks a removed file" % name)
    return parts

def kata_base_take_away(root, parts):
    mark = parts[-1]
    directory = kata_base_find(root, parts[:-1]) or {}
    if mark == ".wh..wh..opq":
        directory.get("inside", {}).clear()
    elif mark[len(".wh."):] in ("", ".", ".."):
        raise ValueError("'%s' marks no file as removed" % "/".join(parts))
    else:
        directory.get("inside", {}).pop(mark[len(".wh."):], None)

def kata_base_find(root, parts):
    entry = root
    for part in parts:
        entry = entry.get("inside", {}).get(part)
        if entry is None:
            return None
    return entry

def kata_base_put(root, parts, member, tar):
    if not parts:
        if not member.isdir():
            raise ValueError("the root of the file system is no directory")
        root.update(member=member, tar=tar)
        return
    inside = kata_base_inside(root, parts)
    old = inside.get(parts[-1], {})
    if member.islnk():
        entry = kata_base_find(root, kata_base_parts(member.linkname))
        if entry is None or "inside" in entry:
            raise ValueError("'%s' is a hard link to '%s', which is no file" % (member.name, member.linkname))
    elif member.isdir():
        entry = old if "inside" in old else {"inside": {}}
        entry.update(member=member, tar=tar)
    elif member.isreg() or member.issym() or member.isdev():
        entry = {"member": member, "tar": tar}
    else:
        raise ValueError("'%s' is a member of an unknown type (%r)" % (member.name, member.type))
    inside[parts[-1]] = entry

def kata_base_inside(root, parts):
    """What is beside a name. A layer need not name the directories that it puts something into."""
    inside = root["inside"]
    for number, part in enumerate(parts[:-1], 1):
        directory = inside.setdefault(part, {"inside": {}})
        if "inside" not in directory:
            raise ValueError("'%s' is under '%s', which is no directory" % ("/".join(parts), "/".join(parts[:number])))
        inside = directory["inside"]
    return inside

def kata_base_write(root, out):
    import tarfile
    written = {}
    waiting = [(".", root)]
    while waiting:
        path, entry = waiting.pop()
        inside = entry.get("inside", {})
        prefix = "" if entry is root else path + "/"
        waiting += [(prefix + name, inside[name]) for name in sorted(inside, reverse=True)]
        if entry is root and "member" not in root:
            continue
        info = kata_base_info(path, entry.get("member"))
        first = written.setdefault(id(entry), path)
        if first != path:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0
        out.addfile(info, entry["tar"].extractfile(entry["member"]) if info.isreg() else None)

def kata_base_info(path, member):
    import tarfile
    info = tarfile.TarInfo(path)
    if member is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info
    info.type = tarfile.REGTYPE if member.isreg() else member.type
    info.size = member.size if member.isreg() else 0
    info.mode, info.uid, info.gid, info.mtime = member.mode & 0o7777, member.uid, member.gid, int(member.mtime)
    info.linkname, info.devmajor, info.devminor = member.linkname, member.devmajor, member.devminor
    attributes = sorted(key for key in member.pax_headers if key.startswith("SCHILY.xattr."))
    info.pax_headers = {key: member.pax_headers[key] for key in attributes}
    return info
