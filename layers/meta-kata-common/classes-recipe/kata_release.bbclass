# Streams members out of Kata's release tarball (kata-static-VERSION-ARCH.tar.zst).
#
# The tarball holds everything for every hypervisor, several GiB unpacked. Nobody needs all of it, so it is never unpacked: it
# is read from its start to its end, and only the members that a recipe names are written. What a name leads to through
# links (kata-containers-initrd.img is one) is written under that name, as a file; where a link's target stands before
# the link, the tarball is read again for it.

# What the members' names begin with, and what recipes leave out when they name one.
KATA_RELEASE_PREFIX = "opt/kata/"

def kata_release_stream(archive, wanted, target, prefix, programs):
    """Writes the wanted members below target: names of files, and of directories with a slash at the end. ValueError
    where the tarball lacks one."""
    import os, shutil
    zstd = shutil.which("zstd", path=programs)
    if not zstd:
        raise ValueError("the program zstd is not there to read the tarball")
    scratch = os.path.join(target, ".members")
    os.makedirs(scratch)
    files, links = {}, {}
    asked, names = set(), set(wanted)
    # A chain of links is followed link by link; none in a release is longer than two.
    while names - asked:
        asked |= names
        kata_release_read(archive, names, scratch, prefix, zstd, files, links)
        names = {links[name] for name in links} - set(files) - set(links)
    kata_release_place(wanted, files, links, target)
    shutil.rmtree(scratch)

def kata_release_read(archive, names, scratch, prefix, zstd, files, links):
    """One pass. files maps a member's name to the file that has its bytes, links a link's name to what it leads to."""
    import os, shutil, subprocess, tarfile
    directories = tuple(name for name in names if name.endswith("/"))
    fault = None
    # From a descriptor: BitBake's file:// mirrors put a link into DL_DIR, and zstd reads nothing through links.
    with (
        open(archive, "rb") as packed,
        subprocess.Popen([zstd, "--decompress", "--quiet", "--stdout"], stdin=packed, stdout=subprocess.PIPE) as process,
    ):
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    name = kata_release_name(member.name, prefix)
                    if name is None or name in files or not (name in names or name.startswith(directories)):
                        continue
                    if member.issym():
                        links[name] = kata_release_target(os.path.join(os.path.dirname(name), member.linkname), name)
                    elif member.islnk():
                        links[name] = kata_release_target(kata_release_name(member.linkname, prefix) or "..", name)
                    elif member.isreg():
                        path = os.path.join(scratch, str(len(files)))
                        with tar.extractfile(member) as source, open(path, "wb") as out:
                            shutil.copyfileobj(source, out, 1 << 20)
                        os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)
                        files[name] = path
        except tarfile.TarError as error:
            fault = error
        # zstd says at the end whether all was well; until then it wants to be read from.
        while process.stdout.read(1 << 20):
            pass
    if process.returncode:
        raise ValueError("zstd cannot read it to its end (exit status %d)" % process.returncode)
    if fault:
        raise ValueError("it is no tarball, or a damaged one: %s" % fault)

def kata_release_name(name, prefix):
    """A member's name below the prefix; None for what lies elsewhere."""
    import posixpath
    name = posixpath.normpath(name)
    return name[len(prefix):] if name.startswith(prefix) else None

def kata_release_target(path, name):
    import posixpath
    path = posixpath.normpath(path)
    if path.startswith(("/", "../")) or path == "..":
        raise ValueError("the link '%s' leads out of the release" % name)
    return path

def kata_release_place(wanted, files, links, target):
    """Puts what was read where its name says, links as the files that they lead to."""
    import os
    directories = tuple(name for name in wanted if name.endswith("/"))
    found = set(wanted) | {name for name in set(files) | set(links) if name.startswith(directories)}
    missing = [name for name in directories if not any(file.startswith(name) for file in files)]
    for name in sorted(found - set(directories)):
        path, steps = name, 0
        while path in links and steps < 8:
            path, steps = links[path], steps + 1
        if path not in files:
            missing.append(name)
            continue
        place = os.path.join(target, name)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.link(files[path], place)
    if missing:
        raise ValueError("it lacks %s" % ", ".join(sorted(missing)))

# ---- Programs -------------------------------------------------------------------------------------------------------

def kata_release_check_elf(path, machine, static):
    """Stops the build where a program is for another machine, or wants a loader although it must not. machine is ELF's
    e_machine; the fields are those of the System V ABI's ELF64 header and program header."""
    import struct
    with open(path, "rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            raise ValueError("it is no 64-bit little-endian ELF program")
        if struct.unpack_from("<H", header, 18)[0] != machine:
            raise ValueError("it is for another machine (ELF e_machine %d)" % struct.unpack_from("<H", header, 18)[0])
        offset, = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        for number in range(count):
            file.seek(offset + number * size)
            kind, = struct.unpack("<I", file.read(4))
            # PT_INTERP: the program is started by a loader, so it is not linked statically.
            if static and kind == 3:
                raise ValueError("it is linked dynamically, and what has to start it may have another C library, or none")
