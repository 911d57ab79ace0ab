# Cargo, offline, from what BitBake unpacked.
#
# `kbuild crates` writes the include that fetches what a Cargo.lock names; this class tells cargo where it lies:
#   require tally-crates.inc
#   inherit kbuild_crates
#
# Crates of registries come from ${CARGO_VENDORING_DIRECTORY}, where BitBake's crate fetcher unpacks them. A git dependency
# comes from its repository as it was unpacked (an entry of SRC_URI with `destsuffix`, at the commit that Cargo.lock names),
# wherever in there its crate lies. Cargo.lock stays as upstream wrote it: sources are replaced, nothing is patched, so that
# `cargo --frozen` still compares it, and no crate is named after the directory it is built in.
#
# Beside cargo.bbclass it takes the place of cargo_common_do_patch_paths, which takes every repository for one crate; and
# it works without: cargo needs nothing but CARGO_HOME then.

CARGO_SRC_DIR ??= ""
CARGO_MANIFEST_PATH ??= "${S}/${CARGO_SRC_DIR}/Cargo.toml"
CARGO_HOME ?= "${UNPACKDIR}/cargo_home"
export CARGO_HOME
CARGO_VENDORING_DIRECTORY ??= "${CARGO_HOME}/bitbake"

# What panic messages say in the place of the build directory, so that two directories make the same program. Beside
# cargo.bbclass oe-core's RUSTFLAGS say it: where RUSTFLAGS are in the environment, cargo takes them and not this.
KBUILD_CRATES_REMAP ??= "/usr/src/debug/${PN}"

python () {
    # cargo_common writes its configuration in do_configure; this adds to it before cargo runs.
    words = (d.getVarFlag("do_configure", "postfuncs") or "").split()
    if "cargo_common_do_patch_paths" in words:
        words.remove("cargo_common_do_patch_paths")
        d.setVarFlag("do_configure", "postfuncs", " ".join(words))
}

do_compile[prefuncs] += "kbuild_crates_configure"
kbuild_crates_configure[doc] = "Tells cargo where the sources lie that BitBake unpacked"

python kbuild_crates_configure() {
    lock = kbuild_crates_lock(d)
    with open(lock, encoding="utf-8") as file:
        packages = kbuild_crates_packages(file.read())
    home = d.getVar("CARGO_HOME")
    bb.utils.mkdirhier(d.getVar("CARGO_VENDORING_DIRECTORY"))
    config = os.path.join(home, "config.toml")
    mark = "# Written by kbuild_crates.bbclass:"
    present = ""
    if os.path.exists(config):
        with open(config, encoding="utf-8") as file:
            present = file.read().split(mark)[0].rstrip("\n")
    lines = [mark, ""]
    if "[source.crates-io]" not in present:
        lines += ["[source.crates-io]", 'replace-with = "bitbake"', ""]
    if "[source.bitbake]" not in present:
        lines += ["[source.bitbake]", 'directory = "%s"' % d.getVar("CARGO_VENDORING_DIRECTORY"), ""]
    for url in kbuild_crates_registries(packages):
        lines += ['[source."%s"]' % url, 'registry = "%s"' % url, 'replace-with = "bitbake"', ""]
    lines += kbuild_crates_git(d, packages)
    # A table may stand once only. cargo.bbclass writes it, and gives RUSTFLAGS.
    if "[build]" not in present:
        remap = "--remap-path-prefix=%s=%s" % (d.getVar("WORKDIR"), d.getVar("KBUILD_CRATES_REMAP"))
        lines += ["[build]", 'rustflags = ["%s"]' % remap, ""]
    with open(config, "w", encoding="utf-8") as file:
        file.write("\n".join(([present, ""] if present else []) + lines))
}

def kbuild_crates_lock(d):
    """CARGO_LOCK_PATH, or the nearest Cargo.lock above the manifest: a workspace has one for all."""
    named = d.getVar("CARGO_LOCK_PATH")
    if named and os.path.exists(named):
        return named
    top = d.getVar("UNPACKDIR") or d.getVar("WORKDIR")
    directory = os.path.dirname(os.path.normpath(d.getVar("CARGO_MANIFEST_PATH")))
    while directory.startswith(top) or directory == d.getVar("S"):
        if os.path.exists(os.path.join(directory, "Cargo.lock")):
            return os.path.join(directory, "Cargo.lock")
        directory = os.path.dirname(directory)
    bb.fatal("there is no Cargo.lock at %s or above" % d.getVar("CARGO_MANIFEST_PATH"))

def kbuild_crates_packages(text):
    """The packages of a Cargo.lock, each a dictionary of its strings. cargo writes one key to a line, and Python has a
    TOML parser only since 3.11."""
    packages = []
    current = None
    for line in text.splitlines():
        if line.startswith("["):
            current = {} if line.strip() == "[[package]]" else None
            if current is not None:
                packages.append(current)
        elif current is not None and ' = "' in line:
            key, value = line.split(" = ", 1)
            current[key.strip()] = value.strip().strip('"')
    return packages

def kbuild_crates_registries(packages):
    """The registries of a lock as cargo's configuration names them, without crates.io."""
    known = ("registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/")
    sources = {package.get("source", "") for package in packages} - set(known)
    urls = {source[len("registry+"):] for source in sources if source.startswith("registry+")}
    return sorted(urls | {source for source in sources if source.startswith("sparse+")})

def kbuild_crates_git(d, packages):
    """cargo's configuration for the git sources of a lock: a directory each, with a link for each of its crates."""
    import urllib.parse
    sources = {}
    for package in packages:
        if package.get("source", "").startswith("git+"):
            sources.setdefault(package["source"], []).append(package)
    checkouts = kbuild_crates_checkouts(d) if sources else {}
    top = os.path.join(d.getVar("CARGO_HOME"), "git-crates")
    bb.utils.remove(top, recurse=True)
    lines = []
    for number, source in enumerate(sorted(sources)):
        url, commit = source[len("git+"):].rsplit("#", 1)
        if commit not in checkouts:
            bb.fatal("no entry of SRC_URI has %s at %s, which Cargo.lock names: is the include that `kbuild crates` "
                     "wrote the one for this lock?" % (url, commit))
        directory = os.path.join(top, str(number))
        bb.utils.mkdirhier(directory)
        for package in sources[source]:
            kbuild_crates_link(checkouts[commit], package, directory)
        name = "git-%d" % number
        lines += ['[source."%s"]' % source[:source.rindex("#")], 'git = "%s"' % url.split("?")[0]]
        for key, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query.replace("+", "%2B")):
            lines.append('%s = "%s"' % (key, value))
        lines += ['replace-with = "%s"' % name, "", "[source.%s]" % name, 'directory = "%s"' % directory, ""]
    return lines

def kbuild_crates_checkouts(d):
    """Where each commit of SRC_URI was unpacked."""
    top = d.getVar("UNPACKDIR") or d.getVar("WORKDIR")
    fetcher = bb.fetch2.Fetch((d.getVar("SRC_URI") or "").split(), d)
    checkouts = {}
    for ud in fetcher.ud.values():
        if ud.type in ("git", "gitsm") and ud.parm.get("destsuffix"):
            # One revision to a URL since BitBake 2.10, one to each of its names before.
            revisions = [ud.revision] if hasattr(ud, "revision") else list(ud.revisions.values())
            for revision in revisions:
                checkouts[revision] = os.path.join(top, ud.parm.get("subdir", ""), ud.parm["destsuffix"])
    return checkouts

def kbuild_crates_link(checkout, package, directory):
    """Makes a crate of a repository one of a directory of cargo's. The repository itself stays in place, so that what the
    crate has of its neighbours is found; its Cargo.toml is told where its workspace is, which cargo would look for above
    the link."""
    name, version = package["name"], package["version"]
    found = kbuild_crates_find(checkout, name, version)
    if not found:
        bb.fatal("there is no crate %s %s in %s: has the repository submodules? (`kbuild crates --submodules`)"
                 % (name, version, checkout))
    link = os.path.join(directory, name + "-" + version)
    os.symlink(os.path.relpath(found, directory), link)
    workspace = kbuild_crates_workspace(checkout, found)
    if workspace and workspace != found:
        kbuild_crates_point(os.path.join(found, "Cargo.toml"), os.path.relpath(workspace, link))
    # As the crate fetcher leaves it for crates: no file is compared, what was fetched is known by its commit.
    with open(os.path.join(found, ".cargo-checksum.json"), "w", encoding="utf-8") as file:
        file.write('{"files":{},"package":null}')

def kbuild_crates_find(checkout, name, version):
    """The directory of a crate, the uppermost of several with that name and version."""
    found = []
    for directory, directories, files in os.walk(checkout):
        directories[:] = sorted(entry for entry in directories if not entry.startswith("."))
        if "Cargo.toml" in files:
            sections = kbuild_crates_sections(os.path.join(directory, "Cargo.toml"))
            package = sections.get("package", sections.get("project", {}))
            if package.get("name") == name:
                own = package.get("version")
                if own is None or own == "workspace":
                    workspace = kbuild_crates_workspace(checkout, directory)
                    above = kbuild_crates_sections(os.path.join(workspace, "Cargo.toml")) if workspace else {}
                    own = above.get("workspace.package", {}).get("version", "0.0.0")
                if own == version:
                    found.append(directory)
    return min(found, key=lambda path: (path.count(os.sep), path), default=None)

def kbuild_crates_workspace(checkout, directory):
    """The nearest directory, from this one up to the repository's top, whose Cargo.toml has a workspace."""
    while True:
        manifest = os.path.join(directory, "Cargo.toml")
        if os.path.exists(manifest):
            sections = kbuild_crates_sections(manifest)
            if any(section == "workspace" or section.startswith("workspace.") for section in sections):
                return directory
        if os.path.normpath(directory) == os.path.normpath(checkout):
            return None
        directory = os.path.dirname(directory)

def kbuild_crates_sections(path):
    """The sections of a Cargo.toml with their plain strings: `name = "x"`, and `version.workspace = true` as `workspace`."""
    import re
    sections = {}
    current = sections.setdefault("", {})
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            header = re.match(r"\s*\[\s*([A-Za-z0-9_.\- ]+?)\s*\]\s*(#.*)?$", line)
            if header:
                current = sections.setdefault(header.group(1).replace(" ", ""), {})
                continue
            if re.match(r"\s*\[", line):
                # A list of tables, or a section with quotes in its name: nothing that is asked for.
                current = {}
                continue
            text = re.match(r"\s*([A-Za-z0-9_\-]+)\s*=\s*[\"']([^\"']*)[\"']", line)
            if text:
                current.setdefault(text.group(1), text.group(2))
                continue
            inherited = re.match(r"\s*([A-Za-z0-9_\-]+)\s*(\.\s*workspace\s*=\s*true|=\s*\{\s*workspace\s*=\s*true\s*\})", line)
            if inherited:
                current.setdefault(inherited.group(1), "workspace")
    return sections

def kbuild_crates_point(manifest, workspace):
    """Writes `workspace = "…"` into a Cargo.toml's [package], in the place of one that is there."""
    import re
    with open(manifest, encoding="utf-8") as file:
        lines = file.read().split("\n")
    out = []
    inside = False
    for line in lines:
        if re.match(r"\s*\[", line):
            inside = re.match(r"\s*\[\s*(package|project)\s*\]", line) is not None
            out.append(line)
            if inside:
                out.append('workspace = "%s"' % workspace)
        elif not (inside and re.match(r"\s*workspace\s*=", line)):
            out.append(line)
    with open(manifest, "w", encoding="utf-8") as file:
        file.write("\n".join(out))
