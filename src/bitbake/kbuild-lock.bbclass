# kbuild-lock.bbclass: how kbuild learns from BitBake which sources a board's recipes fetch.
# Written by kbuild, the same text for every BitBake from 2.0 on, in builds and while locking
# alike, so that one parse cache serves both. It changes no task and no task hash.
#
#   bitbake --runall=kbuild_closure TARGET    one file for each recipe in the task graph, below
#                                             ${TOPDIR}/kbuild/closure
#   any run                                   one file for each recipe, of any layer, whose revision
#                                             is still to be asked for, below ${TOPDIR}/kbuild/floating
#
# While BitBake runs, kbuild waits outside of the seal at the socket ${TOPDIR}/kbuild/kbuild.sock: it is
# told what goes on, and brings what caches of shared state elsewhere have.

# ---- When BitBake starts

addhandler kbuild_configured
kbuild_configured[eventmask] = "bb.event.ConfigParsed"
python kbuild_configured() {
    kbuild_tell_of_undone(d)
    kbuild_settle(d)
    kbuild_say_settled(d)
    kbuild_fetch_from_caches()
    kbuild_cold_as_warm()
    kbuild_hash_without_values(d)
    kbuild_read_again(d)
    kbuild_note_configuration(d)
    kbuild_ask_nobody_for_revisions()
    kbuild_uninative_from_the_view(d)
}

addhandler kbuild_recipe_settled
# Behind anonymous Python, before the tasks are made.
kbuild_recipe_settled[eventmask] = "bb.event.RecipeTaskPreProcess"
python kbuild_recipe_settled() {
    kbuild_settle(d)
}

def kbuild_settle(d):
    """What kbuild sets, wins: appends, overrides and plain assignments of layers, distributions and recipes are taken away
    (bb.data_smart.DataSmart.setVar drops them outside of the parser). A mirror that own-mirrors.bbclass or a distribution puts
    in front would end a build that has no network, and DL_DIR and its like lead out of the view."""
    for name, value in (d.getVarFlags("KBUILD_SETS") or {}).items():
        if name != "TMPDIR" or not kbuild_has_own_tmpdir(d, value):
            d.setVar(name, value)

def kbuild_say_settled(d):
    """A configuration may take this class out of INHERIT. kbuild sees by this file that it was there."""
    if d.getVar("BB_WORKERCONTEXT", False) is None:
        kbuild_write(d, "settled", d.getVar("BB_CURRENT_MC") or "default", {})

def kbuild_has_own_tmpdir(d, value):
    """A multiconfig may name a TMPDIR: distributions of two kinds cannot share one. What it does not name is kbuild's, without
    the C library's name that oe-core up to 5.0 appends."""
    if (d.getVar("BB_CURRENT_MC") or "default") == "default":
        return False
    shared = d.expand(value)
    return d.getVar("TMPDIR") not in [shared, shared + (d.getVar("TCLIBCAPPEND") or "")]

def kbuild_tell_of_undone(d):
    """Writes down which lines of layers and distributions have no effect, of those that say where shared state is or whom to
    ask: their authors would wait in vain for what they said. Lines that only give a default are told if it would have been
    taken."""
    if d.getVar("BB_WORKERCONTEXT", False) is not None:
        return
    sets = d.getVarFlags("KBUILD_SETS") or {}
    told = []
    for name, (lines, defaults) in kbuild_lines_that_set(d, kbuild_of_caches()).items():
        undone = name in sets and d.getVar(name, False) != sets[name]
        found = lines or (defaults if undone else [])
        if undone and not found:
            found = [{"file": None, "line": None}]
        told += [dict(line, variable=name) for line in found]
    if told:
        kbuild_write(d, "undone", d.getVar("BB_CURRENT_MC") or "default", told)

def kbuild_of_caches():
    return ["SSTATE_DIR", "SSTATE_MIRRORS", "BB_HASHSERVE_UPSTREAM", "PRSERV_UPSTREAM"]

def kbuild_lines_that_set(d, names):
    """Where the configuration sets variables: for each, the lines that begin with its name, and those that only give a
    default; kbuild's own left out."""
    import re
    sets = re.compile("(%s)(?::[^ =]+)? *([?][?]=|[?+.:]?=|=[+.])" % "|".join(names))
    found = {name: ([], []) for name in names}
    own = d.expand("${TOPDIR}/conf/kbuild.conf")
    for path in dict.fromkeys((d.getVar("BBINCLUDED") or "").split()):
        try:
            with open(path, errors="replace") as file:
                lines = [] if path == own else list(enumerate(file, 1))
        except OSError:
            continue
        for number, line in lines:
            match = sets.match(line)
            if match:
                place = {"file": kbuild_below_layer(d, path), "line": number}
                found[match.group(1)][match.group(2).startswith("?")].append(place)
    return found

def kbuild_cold_as_warm():
    """Makes the hash over the configuration that names the parse cache the same with and without
    cache/bb_codeparser.dat.

    bb.data_smart.DataSmart.get_hash counts all of bb.codeparser.modulecode_deps, whose third
    part, var_execs, is known only where a module was parsed in this very run: it is not cached.
    Nothing else reads it (bb.data.build_dependencies takes it from the second part). As it is,
    BitBake parses all recipes a second time, in the second run in a fresh directory."""
    for dependencies in getattr(bb.codeparser, "modulecode_deps", {}).values():
        dependencies[2] = set()

def kbuild_ask_nobody_for_revisions():
    """Answers the question for a repository's newest revision (AUTOREV, a tag, a branch's name)
    with a revision that no repository has, where BitBake would ask the upstream while it parses:
    bb.fetch2.FetchMethod.latest_revision, which every fetcher goes through. One such recipe in
    any layer would halt every run without network, whatever is to be built.

    kbuild gives the real revision from outside, as SRCREV:pn-RECIPE:forcevariable, and then
    nothing asks."""
    known = bb.fetch2.FetchMethod.latest_revision
    if hasattr(known, "kbuild_asked"):
        return
    def latest_revision(self, ud, d, name="default"):
        if getattr(ud, "proto", None) == "file":
            return known(self, ud, d, name)
        latest_revision.kbuild_asked.add(d.getVar("FILE"))
        return "0" * 40
    latest_revision.kbuild_asked = set()
    bb.fetch2.FetchMethod.latest_revision = latest_revision

    if tuple(int(part) for part in bb.__version__.split(".")[:2]) >= (2, 12):
        return
    # Before 2.12 a URL could not have both a tag and a SRCREV: kbuild's SRCREV stands for the tag.
    helper = bb.fetch2.srcrev_internal_helper
    def srcrev_internal_helper(ud, d, name):
        tag = ud.parm.pop("tag", None)
        if tag is None:
            return helper(ud, d, name)
        pn = d.getVar("PN")
        names = ["SRCREV_%s:pn-%s" % (name, pn), "SRCREV_%s" % name, "SRCREV:pn-%s" % pn, "SRCREV"]
        revision = next((value for value in map(d.getVar, names) if value and value != "INVALID"), "")
        if not kbuild_is_commit(revision):
            ud.parm["tag"] = tag
        return helper(ud, d, name)
    bb.fetch2.srcrev_internal_helper = srcrev_internal_helper

def kbuild_is_commit(revision):
    import re
    return re.fullmatch("[0-9a-f]{40,64}", revision or "") is not None

def kbuild_uninative_from_the_view(d):
    """uninative.bbclass fetches when a build starts. It is left alone if the tarball is there."""
    if not bb.data.inherits_class("uninative", d):
        return
    tarball = d.getVar("UNINATIVE_TARBALL")
    checksum = d.getVarFlag("UNINATIVE_CHECKSUM", d.getVar("BUILD_ARCH"))
    if not checksum or not os.path.exists(d.expand("${TOPDIR}/sources/flat/") + tarball):
        try:
            bb.event.remove("uninative_event_fetchloader", None, d)
        except KeyError:
            pass

# ---- Which recipes look at options

# The words of options are part of OVERRIDES, and so of the hash over the configuration that names the
# parse cache: with another choice BitBake would parse every recipe anew, for the few that look at it.
# Left out of that hash, the cache stays, and those few depend on what was chosen: on the presence of
# ${TOPDIR}/conf/options/WORD, which kbuild writes. A value in the configuration that depends on a word
# is in the hash as it comes out, so a changed one still parses everything.
BB_HASHCONFIG_IGNORE_VARS:append = " OVERRIDES"

addhandler kbuild_recipe_read
# Before anonymous Python, where a recipe may find that it has to be skipped.
kbuild_recipe_read[eventmask] = "bb.event.RecipePreFinalise"
python kbuild_recipe_read() {
    kbuild_depend_on_options(d, kbuild_options_named(d))
    kbuild_depend_on_values(d)
    kbuild_note_own_reads(d)
}

def kbuild_depend_on_options(d, words):
    """Has the recipe parsed again when one of these words comes or goes."""
    for word in sorted(words):
        bb.parse.mark_dependency(d, d.expand("${TOPDIR}/conf/options/") + word)

def kbuild_options(d):
    return frozenset((d.getVar("KBUILD_OPTION_WORDS") or "").split())

def kbuild_options_named(d):
    """The words that stand in any file this recipe is made of, the configuration's included."""
    words = kbuild_options(d)
    if not words:
        return words
    read = (d.getVar("__base_depends", False) or []) + (d.getVar("__depends", False) or [])
    return frozenset().union(*(kbuild_options_in(d, path, words) for path, _ in read))

def kbuild_options_in(d, path, words):
    """The same of one file, which is read once in a process."""
    known = bb.parse.__dict__.setdefault("kbuild_options_in", {})
    if path not in known:
        import re
        word = "(?<![\\w+-])(?:%s)(?![\\w+-])" % "|".join(map(re.escape, sorted(words)))
        known[path] = frozenset(re.findall(word, kbuild_text_for_options(d, path)))
    return known[path]

def kbuild_text_for_options(d, path):
    """A file without what kbuild itself says of options in it."""
    if os.path.basename(path) == "kbuild-lock.bbclass":
        return ""
    try:
        with open(path, errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return ""
    if path == d.expand("${TOPDIR}/conf/kbuild.conf"):
        lines = [line for line in lines if not line.startswith(("KBUILD_OPTION_WORDS = ", "OVERRIDES:append = "))]
    return "".join(lines)

# ---- Which recipes look at what is locked

# The same for values: of declared sources (KBUILD_NAME_*), and the commits of recipes that name none
# (SRCREV:pn-RECIPE). With each bump BitBake would parse every recipe anew. kbuild writes a file for each
# value, ${TOPDIR}/conf/values/sources/NAME/HASH and ${TOPDIR}/conf/values/pins/RECIPE/HASH, and who uses a
# value depends on its file. A name that comes or goes is in the hash (KBUILD_SOURCES), and parses everything.

def kbuild_hash_without_values(d):
    """Takes the values out of the hash over the configuration that names the parse cache, but those that the configuration
    itself uses: what comes of them is in no recipe's files."""
    read = (d.getVar("__depends", False) or []) + (d.getVar("__base_depends", False) or [])
    used = kbuild_sources_named(d, read)
    free = tuple("KBUILD_%s_" % name for name in kbuild_sources(d) - used)
    kept = tuple("KBUILD_%s_" % name for name in used)
    ignored = ["BB_HASHCONFIG_IGNORE_VARS", "KBUILD_PINS"]
    ignored += [key for key in d.keys() if key.startswith(free) and not key.startswith(kept)]
    for pin in (d.getVar("KBUILD_PINS") or "").split():
        ignored += [pin, pin + ":forcevariable"]
        # bb.data_smart.DataSmart.__iter__ names a variable that has overrides of overrides, whether or not it has a value.
        variable = pin.split(":")[0]
        if d.getVar(variable, False) is None:
            ignored.append(variable)
    before = (d.getVar("BB_HASHCONFIG_IGNORE_VARS") or "").split()
    d.setVar("BB_HASHCONFIG_IGNORE_VARS", " ".join(dict.fromkeys(before + ignored)))

def kbuild_depend_on_values(d):
    """Has the recipe parsed again when a value that it uses is another one."""
    read = (d.getVar("__base_depends", False) or []) + (d.getVar("__depends", False) or [])
    values = d.expand("${TOPDIR}/conf/values/")
    for name in sorted(kbuild_sources_named(d, read)):
        kbuild_depend_on_value(d, values + "sources/" + name)
    kbuild_depend_on_value(d, values + "pins/" + d.getVar("PN"))

def kbuild_depend_on_value(d, directory):
    """The file that stands for the value; the directory where there is none."""
    try:
        names = os.listdir(directory)
    except OSError:
        names = []
    for path in [os.path.join(directory, name) for name in names] or [directory]:
        bb.parse.mark_dependency(d, path)

def kbuild_sources(d):
    return frozenset((d.getVar("KBUILD_SOURCES") or "").split())

def kbuild_sources_named(d, read):
    """The declared sources whose variables stand in these files. Where a name is put together, all that it may become."""
    known = kbuild_sources(d)
    words = frozenset().union(*(kbuild_words_in(path) for path, _ in read)) if known else []
    found = set()
    for word in words:
        if word == "KBUILD_SOURCE":
            # kbuild_source.bbclass puts its names together of this one.
            word = "KBUILD_%s_" % kbuild_variable_part(d.getVar("KBUILD_SOURCE") or "")
        for name in known:
            variable = "KBUILD_%s_" % name
            if word.startswith(variable) or (word.endswith("_") and variable.startswith(word)):
                found.add(name)
    return frozenset(found)

def kbuild_variable_part(name):
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.upper())

def kbuild_words_in(path):
    """The names of kbuild's variables in a file, which is read once in a process; none of kbuild's own files."""
    known = bb.parse.__dict__.setdefault("kbuild_words_in", {})
    if path not in known:
        import re
        lines = []
        name = os.path.basename(path)
        if name not in ["kbuild-lock.bbclass", "kbuild.conf"]:
            try:
                with open(path, errors="replace") as file:
                    lines = [line for line in file if "KBUILD_" in line and not line.startswith("#")]
            except OSError:
                pass
        words = set(re.findall("(?<![A-Za-z0-9_])KBUILD_[A-Za-z0-9_]*", "".join(lines)))
        if name == "kbuild_source.bbclass":
            words = {"KBUILD_SOURCE"}
        known[path] = frozenset(words)
    return known[path]

# ---- What recipes say after an edit

def kbuild_read_again(d):
    """Where kbuild wrote ${TOPDIR}/kbuild/reread, a list of paths, recipes that were read from one of them (or from below it)
    are parsed again, whatever the cache has; each recipe that is parsed then says what it fetches, below
    ${TOPDIR}/kbuild/reparsed. Of recipes that are taken from the cache, it is noted what they were read from."""
    changed, notes = kbuild_changed(d), kbuild_notes_readers(d)
    known = bb.cache.Cache.cacheValidUpdate
    if hasattr(known, "kbuild_changed") or not (changed or notes):
        return
    def is_changed(path):
        return path in changed or os.path.dirname(path) in changed
    def cacheValidUpdate(self, fn, appends):
        info = self.depends_cache.get(fn)
        read = info[0].file_depends or [] if info else []
        if any(is_changed(path) for path in [fn, *appends, *(path for path, _ in read)]):
            self.checked.add(fn)
            self.remove(fn)
            return False
        valid = known(self, fn, appends)
        if valid and notes:
            kbuild_note_reader(d, self.mc, fn, read)
        return valid
    cacheValidUpdate.kbuild_changed = changed
    bb.cache.Cache.cacheValidUpdate = cacheValidUpdate

def kbuild_changed(d):
    try:
        with open(d.expand("${TOPDIR}/kbuild/reread")) as file:
            return frozenset(file.read().splitlines())
    except OSError:
        return frozenset()

def kbuild_say_again(d):
    """As do_kbuild_closure. A recipe that no closure has may be broken in any way: then nothing is known of it."""
    try:
        found = kbuild_closure(d)
    except Exception as error:
        found = {"name": kbuild_name(d), "error": str(error)}
    # Several recipes may be called the same.
    kbuild_write(d, "reparsed", kbuild_name(d) + "@" + kbuild_short_hash(d.getVar("FILE")), found)

# ---- Who was read from what: one file for each recipe, below ${TOPDIR}/kbuild/readers, where kbuild made that directory

def kbuild_notes_readers(d):
    return os.path.isdir(d.expand("${TOPDIR}/kbuild/readers"))

def kbuild_note_reader(d, context, recipe, read):
    """Notes which files of the project's own layers, and which values, a recipe was read from: what may change between two
    discoveries. Recipes and appends are left out: BitBake finds those by their names. So are files that were looked for and
    not found, of which there are many: for a new file kbuild does not ask here."""
    values = d.expand("${TOPDIR}/conf/values/sources/")
    own = kbuild_own_layers(d)
    found = [path for path, time in read if time]
    reads = {path for path in found if path.startswith(own) and not path.endswith((".bb", ".bbappend"))}
    # A value's file is called by its hash, see kbuild_depend_on_value.
    reads.update(values + path[len(values):].split("/")[0] for path in found if path.startswith(values))
    if reads:
        kbuild_write(d, "readers", kbuild_short_hash("%s %s" % (context, recipe)), {"path": recipe, "reads": sorted(reads)})

def kbuild_note_own_reads(d):
    """The same of the recipe that is parsed now."""
    if kbuild_notes_readers(d):
        kbuild_note_reader(d, d.getVar("BB_CURRENT_MC"), d.getVar("FILE"), d.getVar("__depends", False) or [])

def kbuild_note_configuration(d):
    """What of it the configuration was read from: that changes everything."""
    if kbuild_notes_readers(d):
        read = (d.getVar("__depends", False) or []) + (d.getVar("__base_depends", False) or [])
        kbuild_note_reader(d, d.getVar("BB_CURRENT_MC"), "", read)

def kbuild_own_layers(d):
    """The layers that are folders of the project: all others are laid out beside TOPDIR."""
    pinned = os.path.dirname(d.getVar("TOPDIR")) + "/layers/"
    layers = [layer.rstrip("/") + "/" for layer in (d.getVar("BBLAYERS") or "").split()]
    return tuple(layer for layer in layers if not layer.startswith(pinned))

def kbuild_short_hash(text):
    import hashlib
    return hashlib.sha256(text.encode()).hexdigest()[:16]

# ---- What floats

addhandler kbuild_recipe_parsed
kbuild_recipe_parsed[eventmask] = "bb.event.RecipeParsed"
python kbuild_recipe_parsed() {
    # The hash of a task may hold OVERRIDES as a whole.
    if any("OVERRIDES" in names for names in (d.getVar("__siggen_taskdeps", False) or {}).values()):
        kbuild_depend_on_options(d, kbuild_options(d))
    # Anonymous Python may have changed PN, and what kbuild_source.bbclass is told.
    kbuild_depend_on_values(d)
    kbuild_note_own_reads(d)
    kbuild_note_external_source(d)
    if os.path.exists(d.expand("${TOPDIR}/kbuild/reread")):
        kbuild_say_again(d)
    asked = getattr(bb.fetch2.FetchMethod.latest_revision, "kbuild_asked", set())
    if d.getVar("FILE") not in asked:
        return
    floating = kbuild_floating(d)
    if floating:
        # Parsed again in each run, so that a warm cache hides nothing.
        d.setVar("BB_DONT_CACHE", "1")
        kbuild_write(d, "floating", kbuild_name(d), {"path": d.getVar("FILE"), "floating": floating})
}

def kbuild_note_external_source(d):
    """Says of a recipe that externalsrc.bbclass has it built from a folder. That class has it parsed in each run."""
    folder = d.getVar("EXTERNALSRC")
    if folder and bb.data.inherits_class("externalsrc", d):
        kbuild_write(d, "external", kbuild_name(d), {"path": d.getVar("FILE"), "name": kbuild_name(d), "folder": folder})

def kbuild_floating(d):
    """What of SRC_URI has a revision that nobody was asked for."""
    floating = []
    urldata = kbuild_urldata(d)
    for ud in urldata:
        names = kbuild_names(ud) if ud.method.supports_srcrev() else []
        for index, name in enumerate(names):
            if kbuild_revision(ud, name) is None:
                floating.append(dict(kbuild_where(d), kind=ud.type,
                    recipe=kbuild_name(d), variable=kbuild_variable(d, urldata, name),
                    url=kbuild_repository(ud), branch=kbuild_branch(ud, index), tag=kbuild_tag(ud, index)))
    return floating

def kbuild_urldata(d):
    """SRC_URI as the fetchers have it, without what they refuse (kbuild_closure reports that)."""
    found = []
    for url in dict.fromkeys((d.getVar("SRC_URI") or "").split()):
        try:
            found.append(bb.fetch2.Fetch([url], d).ud[url])
        except bb.fetch2.BBFetchException:
            pass
    return found

def kbuild_names(ud):
    # One since 2.12, with `name`; before, `;name=a,b` could give several.
    return getattr(ud, "names", None) or [getattr(ud, "name", None) or "default"]

def kbuild_revision(ud, name):
    """The revision, or None where there is none yet."""
    revisions = getattr(ud, "revisions", None) or {}
    revision = revisions.get(name) or getattr(ud, "revision", None) or ""
    return None if set(revision) <= {"0"} else revision

def kbuild_variable(d, urldata, name):
    """The variable that gives a URL of this name its revision (bb.fetch2.srcrev_internal_helper)."""
    own = "SRCREV_" + name
    for variable in [own + ":pn-" + d.getVar("PN"), own]:
        if (d.getVar(variable) or "INVALID") != "INVALID":
            return own
    repositories = [ud for ud in urldata if ud.method.supports_srcrev()]
    # ${SRCREV} itself shall be the commit too where only one can be meant.
    alone = len(repositories) == 1 and len(kbuild_names(repositories[0])) == 1
    return "SRCREV" if name == "default" or alone else own

def kbuild_branch(ud, index):
    if getattr(ud, "nobranch", False):
        return None
    branches = list((getattr(ud, "branches", None) or {}).values()) or [getattr(ud, "branch", None)]
    return branches[min(index, len(branches) - 1)] or None

def kbuild_tag(ud, index):
    """The tag or other name that decides the commit instead of the branch."""
    unresolved = getattr(ud, "unresolvedrev", None) or ""
    if isinstance(unresolved, dict):
        unresolved = unresolved.get(kbuild_names(ud)[index]) or ""
    if ud.parm.get("tag"):
        return ud.parm["tag"]
    if kbuild_revision(ud, kbuild_names(ud)[index]) or unresolved == kbuild_branch(ud, index):
        return None
    return unresolved or None

def kbuild_repository(ud):
    """The URL for the version control system itself, without parameters."""
    ask = getattr(ud.method, "_get_repo_url", None)
    return ask(ud) if ask else "%s://%s%s" % (ud.type, ud.host, ud.path)

# ---- What is fetched: one file for each recipe

addtask kbuild_closure
do_kbuild_closure[nostamp] = "1"
do_kbuild_closure[dirs] = "${TOPDIR}/kbuild"
do_kbuild_closure[vardepsexclude] = "kbuild_closure kbuild_write kbuild_name"
python do_kbuild_closure() {
    kbuild_write(d, "closure", kbuild_name(d), kbuild_closure(d))
}

def kbuild_as_fetch(d, task):
    """A copy of the recipe as do_fetch sees it, for another task."""
    data = d.createCopy()
    overrides = data.getVar("OVERRIDES", False)
    # Outside of a task, while the recipe is parsed, there is no such word.
    data.setVar("OVERRIDES", "task-fetch:" + overrides.removeprefix("task-%s:" % task))
    return data

def kbuild_fetches_nothing(d):
    tasks = d.getVar("__BBTASKS", False) or []
    return "do_fetch" not in tasks or bool(d.getVarFlag("do_fetch", "noexec"))

def kbuild_closure(d):
    data = kbuild_as_fetch(d, "kbuild-closure")
    found = dict(kbuild_where(d), path=d.getVar("FILE"), name=kbuild_name(d), version=d.getVar("PV") or "",
        license=d.getVar("LICENSE") or "", provides=(d.getVar("PROVIDES") or "").split(),
        needs=kbuild_needs(d), graph=kbuild_graph(d), dynamic=(d.getVar("PACKAGES_DYNAMIC") or "").split(),
        read=kbuild_read(d), **kbuild_packages(d),
        go_proxy=None, fetches=[], problems=[])
    if kbuild_fetches_nothing(d):
        return found
    urldata = []
    for url in dict.fromkeys((data.getVar("SRC_URI") or "").split()):
        try:
            ud = kbuild_parsed(data, url)
            entries = kbuild_fetches(data, url, ud)
            for entry in entries:
                entry.update(place=kbuild_place(data, url), unchecked=kbuild_unchecked(data, ud))
            found["fetches"].extend(entries)
        except (NotImplementedError, bb.fetch2.BBFetchException) as error:
            why = kbuild_redacted(str(error).replace("Fetcher failure: ", "").strip().splitlines()[0])
            found["problems"].append(dict(kbuild_place(d, url), written=kbuild_redacted(url), why=why))
            continue
        urldata.append(ud)
        if ud.type == "gomod":
            found["go_proxy"] = kbuild_go_proxy(ud)
    # Which variable gives a revision depends on what else there is.
    for entry in found["fetches"]:
        if entry["git"]:
            entry["git"]["variable"] = kbuild_variable(data, urldata, entry["git"].pop("name"))
    return found

def kbuild_needs(d):
    """What the recipe itself says that it needs to be built, by any name that a recipe provides."""
    needs = set(bb.utils.explode_deps(d.getVar("DEPENDS") or ""))
    for task in d.getVar("__BBTASKS", False) or []:
        needs.update(word.rsplit(":", 1)[0] for word in (d.getVarFlag(task, "depends") or "").split())
    return sorted(needs)

def kbuild_graph(d):
    """A hash over all else of a recipe that decides which tasks there are and what they wait for."""
    import hashlib
    flags = ["deps", "depends", "rdepends", "deptask", "rdeptask", "recrdeptask", "recideptask", "mcdepends", "noexec"]
    tasks = [(task, [str(d.getVarFlag(task, flag)) for flag in flags]) for task in sorted(d.getVar("__BBTASKS", False) or [])]
    return hashlib.sha256(repr((tasks, d.getVar("DEFAULT_PREFERENCE"))).encode()).hexdigest()

def kbuild_read(d):
    """The files of layers that the recipe was read from."""
    read = [path for path, _ in d.getVar("__depends", False) or []]
    layers = tuple(layer.rstrip("/") + "/" for layer in (d.getVar("BBLAYERS") or "").split())
    return sorted({path for path in [d.getVar("FILE"), *read] if path.startswith(layers)})

def kbuild_packages(d):
    """The packages it gives, and those that they, or its image, want installed beside them."""
    packages = (d.getVar("PACKAGES") or "").split()
    gives, wants = set(packages), set(bb.utils.explode_deps(d.getVar("PACKAGE_INSTALL") or ""))
    for package in packages:
        gives.update(bb.utils.explode_deps(d.getVar("RPROVIDES:" + package) or ""))
        for variable in ["RDEPENDS:", "RRECOMMENDS:"]:
            wants.update(bb.utils.explode_deps(d.getVar(variable + package) or ""))
    return {"packages": sorted(gives), "wants": sorted(wants)}

def kbuild_parsed(d, url):
    """An entry of SRC_URI as its fetcher has it. A fetcher that fails in whatever way speaks of the
    entry; what fails elsewhere in this file is kbuild's fault, and fails the task."""
    try:
        ud = bb.fetch2.Fetch([url], d, cache=False).ud[url]
        ud.setup_localpath(d)
        return ud
    except bb.fetch2.BBFetchException:
        raise
    except Exception as error:
        kbuild_refuse(str(error) or type(error).__name__)

def kbuild_refuse(why):
    """A source that cannot be locked. A class file cannot hold an exception of its own."""
    raise NotImplementedError(why)

def kbuild_unlockable(kind):
    return {
        "p4": "Perforce needs its own client and a login",
        "repo": "what the repo tool fetches moves with its manifest; list the repositories as git:// entries",
        "ccrc": "ClearCase needs its own client and a login",
        "osc": "the Open Build Service's client names no revision",
        "bzr": "Bazaar repositories cannot be locked",
        "cvs": "CVS knows no revision of a whole module",
        "ssh": "scp has no checksum for what it copies; use sftp:// with a checksum, or git:// with protocol=ssh",
        "gitannex": "files of git-annex lie outside of the repository",
    }.get(kind, "kbuild does not know the fetcher `%s`" % kind)

def kbuild_fetches(d, written, ud):
    """One entry of SRC_URI as kbuild sees it; raises where it cannot be locked."""
    if ud.type == "file":
        kbuild_check_local(d, ud)
        return []
    if ud.pswd or "pswd" in ud.parm:
        kbuild_refuse("its URL holds a password; leave that to ~/.netrc or git's credential helpers")
    if ud.type in ["git", "gitsm", "gomodgit"]:
        return kbuild_git(d, written, ud)
    if ud.type == "npmsw":
        return kbuild_npmsw(d, written, ud)
    if ud.type in ["http", "https", "ftp", "ftps", "sftp", "s3", "gs", "az"]:
        return [kbuild_file(d, written, ud, ud.url.split(";")[0])]
    if ud.type == "crate":
        return [kbuild_file(d, written, ud, written.split(";")[0])]
    if ud.type == "gomod":
        mod = ";mod=1" if ud.parm.get("mod", "0") == "1" else ""
        return [kbuild_file(d, written, ud, "gomod://%s;version=%s%s" % (ud.parm["module"], ud.parm["version"], mod))]
    if ud.type == "npm":
        if ud.version == "latest":
            kbuild_refuse("`version=latest` is another file every day; name the version")
        return [kbuild_file(d, written, ud, kbuild_npm_url(ud.host, ud.package, ud.version))]
    if ud.type in ["hg", "svn"]:
        return [kbuild_tarball(d, written, ud)]
    kbuild_refuse(kbuild_unlockable(ud.type))

def kbuild_entry(written, ud, **more):
    sums = {}
    for algorithm in bb.fetch2.CHECKSUM_LIST:
        expected = getattr(ud, algorithm + "_expected", None)
        if expected:
            sums[algorithm] = expected
    return dict({"kind": ud.type, "written": written, "file": None, "local": None, "sums": sums, "git": None}, **more)

def kbuild_unchecked(d, ud):
    """The flag of SRC_URI that do_fetch misses (bb.fetch2.verify_checksum), or None. What npm's fetcher compares does not
    stand in the recipe."""
    if (d.getVar("BB_STRICT_CHECKSUM") or "0") != "1" or ud.type in ["npm", "npmsw"]:
        return None
    if not ud.method.recommends_checksum(ud):
        return None
    if any(getattr(ud, algorithm + "_expected", None) for algorithm in bb.fetch2.CHECKSUM_LIST):
        return None
    return getattr(ud, "sha256_name", "sha256sum")

def kbuild_file(d, written, ud, address, **more):
    name = os.path.basename(ud.localpath)
    return kbuild_entry(written, ud, url=address, file=name, local=kbuild_local(d, ud, name), **more)

def kbuild_local(d, ud, name):
    downloads = d.getVar("DL_DIR").rstrip("/") + "/"
    below = ud.localpath[len(downloads):] if ud.localpath.startswith(downloads) else name
    return None if below == name else below

def kbuild_tarball(d, written, ud):
    """hg and svn: what stands for the repository at that revision is a tarball."""
    name = kbuild_names(ud)[0]
    revision = kbuild_revision(ud, name)
    if not revision or (ud.type == "svn" and revision.upper() == "HEAD"):
        kbuild_refuse("its revision floats, which kbuild can follow in git only; set SRCREV or `;rev=`")
    name = ud.mirrortarballs[0] if ud.mirrortarballs else os.path.basename(ud.localpath)
    kept = ["%s=%s" % (key, ud.parm[key]) for key in ["module", "path_spec", "protocol"] if key in ud.parm]
    address = ";".join(["%s://%s%s" % (ud.type, ud.host, ud.path)] + kept + ["rev=" + revision])
    return kbuild_entry(written, ud, url=address, file=name)

def kbuild_git(d, written, ud):
    """A repository; one entry for each `;name=`, of which releases before 2.12 take several."""
    if ud.proto == "file":
        kbuild_check_inside(d, ud.path)
        return []
    if ud.proto == "rsync":
        kbuild_refuse("kbuild does not clone over rsync; use protocol=https or ssh")
    clone = os.path.basename(ud.clonedir.rstrip("/"))
    names = kbuild_names(ud)
    return [kbuild_entry(written, ud, url=kbuild_repository(ud), git={
        "name": name, "url": kbuild_repository(ud), "commit": kbuild_revision(ud, name), "clone": clone,
        "branch": kbuild_branch(ud, index), "tag": kbuild_tag(ud, index), "submodules": ud.type == "gitsm",
        "lfs": ud.parm.get("lfs", "1") == "1",
    }) for index, name in enumerate(names)]

def kbuild_npmsw(d, written, ud):
    """The dependencies in a shrinkwrap file; those from a registry by name and version."""
    found = []
    proxy = getattr(ud, "proxy", None)
    packages = {dep["url"]: dep for dep in ud.deps if dep["url"] and dep["extrapaths"]}
    for address in proxy.urls if proxy else []:
        sub = proxy.ud[address]
        sub.setup_localpath(proxy.d)
        if address in packages:
            name = packages[address]["name"]
            stem = bb.fetch2.npm.npm_package(name) + "-"
            version = os.path.basename(sub.localpath)[len(stem):-len(".tgz")]
            coordinates = kbuild_npm_url(sub.host, name, version)
            found.append(kbuild_file(proxy.d, coordinates, sub, coordinates, kind="npm"))
        else:
            found.extend(kbuild_fetches(proxy.d, address, sub))
    return found

def kbuild_npm_url(host, package, version):
    return "npm://%s;package=%s;version=%s" % (host, package, version)

def kbuild_go_proxy(ud):
    """The base URL under which this module was looked for: BitBake appends MODULE/@v/FILE."""
    import urllib.parse
    base = urllib.parse.unquote(ud.url.split(";")[0]).split("/@v/")[0]
    return "/".join(base.split("/")[:-len(ud.parm["module"].split("/"))])

def kbuild_roots(d):
    """What is pinned with the layers, or made by the build."""
    topdir = d.getVar("TOPDIR")
    layers = (d.getVar("BBLAYERS") or "").split()
    more = [topdir, os.path.dirname(topdir) + "/layers", d.getVar("COREBASE"), d.getVar("TMPDIR")]
    return [os.path.normpath(root) + "/" for root in layers + more if root]

def kbuild_check_inside(d, path):
    path = os.path.normpath(path)
    if not any((path + "/").startswith(root) for root in kbuild_roots(d)):
        kbuild_refuse("%s is outside of every layer, so nothing pins it; put it into one" % path)

def kbuild_check_local(d, ud):
    path = ud.localpath or ud.path
    if os.path.isabs(path):
        kbuild_check_inside(d, path)

# ---- Where an entry stands, for messages

def kbuild_place(d, url):
    """The file and line that hold an entry of SRC_URI: among the recipe's files, the first word
    of a line that expands to it."""
    if not hasattr(d, "kbuild_places"):
        d.kbuild_places = kbuild_places(d)
    place = d.kbuild_places.get(url)
    if place is None:
        place = {"file": kbuild_below_layer(d, d.getVar("FILE")), "line": None}
    return place

def kbuild_places(d):
    """Where each word that may be an entry of SRC_URI stands, by what it expands to."""
    import re
    places = {}
    for path in kbuild_files(d):
        try:
            with open(path, errors="replace") as file:
                lines = file.readlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            if "://" not in line or line.lstrip().startswith("#"):
                continue
            for word in re.split("[\\s\"']+", line):
                if "://" in word:
                    places.setdefault(kbuild_expanded(d, word), {"file": kbuild_below_layer(d, path), "line": number})
    return places

def kbuild_files(d):
    """The recipe, what is appended to it, and what these include; not the base configuration."""
    own = [d.getVar("FILE")] + (d.getVar("__BBAPPEND") or "").split()
    included = (d.getVar("BBINCLUDED") or "").split()
    return dict.fromkeys(own + [path for path in included if not path.endswith(".conf")] + included)

def kbuild_expanded(d, word):
    try:
        return d.expand(word)
    except Exception:
        return word

def kbuild_redacted(text):
    import re
    text = re.sub("(://[^/@\\s:;]*):[^/@\\s;]*@", "\\1:***@", text)
    return re.sub(";pswd=[^;\\s]*", ";pswd=***", text)

# ---- What is said of a recipe, and where it is written

def kbuild_name(d):
    context = d.getVar("BB_CURRENT_MC") or "default"
    return d.getVar("PN") if context == "default" else "mc:%s:%s" % (context, d.getVar("PN"))

def kbuild_where(d):
    path = d.getVar("FILE")
    return {"layer": d.getVar("FILE_LAYERNAME") or bb.utils.get_file_layer(path, d) or "",
            "file": kbuild_below_layer(d, path)}

def kbuild_below_layer(d, path):
    layers = [layer.rstrip("/") + "/" for layer in (d.getVar("BBLAYERS") or "").split()]
    found = max((layer for layer in layers if path.startswith(layer)), key=len, default="")
    return path[len(found):]

def kbuild_write(d, folder, name, found):
    """Whole or not at all, under a name that is a file name whatever the recipe is called."""
    import json, tempfile, urllib.parse
    folder = os.path.join(d.getVar("TOPDIR"), "kbuild", folder)
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False) as file:
        json.dump(found, file, sort_keys=True)
    os.replace(file.name, os.path.join(folder, urllib.parse.quote(name, safe="") + ".json"))

# ---- What can be fetched and unpacked, tried: one file for each recipe, below ${TOPDIR}/kbuild/unpacked

addtask kbuild_unpack after do_fetch
do_kbuild_unpack[nostamp] = "1"
do_kbuild_unpack[dirs] = "${TOPDIR}/kbuild"
do_kbuild_unpack[vardepsexclude] = "kbuild_unpack kbuild_write kbuild_name"
python do_kbuild_unpack() {
    kbuild_write(d, "unpacked", kbuild_name(d), {"name": kbuild_name(d), "task": "unpack", "error": kbuild_unpack(d)})
}

def kbuild_unpack(d):
    """Unpacks what do_fetch fetched, and throws it away; what BitBake says where it cannot. A task of its own, since
    do_unpack would first build the recipe's own unpackers (xz-native, unzip-native): here the host's do."""
    import shutil, tempfile
    if kbuild_fetches_nothing(d):
        return None
    data = kbuild_as_fetch(d, "kbuild-unpack")
    host = d.getVar("BB_ORIGENV", False).getVar("PATH") or ""
    data.setVar("PATH", "%s:%s" % (d.getVar("PATH"), host))
    directory = tempfile.mkdtemp(dir=os.path.join(d.getVar("TOPDIR"), "kbuild"), prefix="unpack-")
    try:
        bb.fetch2.Fetch(list(dict.fromkeys((data.getVar("SRC_URI") or "").split())), data).unpack(directory)
    except bb.fetch2.BBFetchException as error:
        return kbuild_redacted(str(error))
    finally:
        shutil.rmtree(directory, ignore_errors=True)

addhandler kbuild_task_failed
kbuild_task_failed[eventmask] = "bb.build.TaskFailed"
python kbuild_task_failed() {
    kbuild_tell(d, {"event": "log", "recipe": kbuild_name(d), "task": e.task, "log": e.logfile, "file": d.getVar("FILE")})
    if e.task in ["do_fetch", "do_kbuild_unpack"]:
        found = {"name": kbuild_name(d), "task": e.task[len("do_"):], "error": kbuild_complaints(e.logfile)}
        if e.task == "do_fetch":
            found["recipe"] = kbuild_closure_or_none(d)
        kbuild_write(d, "failed", kbuild_name(d), found)
}

def kbuild_closure_or_none(d):
    """What the recipe fetches, so that kbuild can say what of it is not locked."""
    try:
        return kbuild_closure(d)
    except Exception:
        return None

def kbuild_complaints(log):
    """What a task's log complains of. A wrong checksum is a warning; the error after it only says that nobody else was
    asked."""
    try:
        with open(log, errors="replace") as file:
            lines = [line.strip() for line in file if line.startswith(("WARNING: ", "ERROR: "))]
    except (OSError, TypeError):
        lines = []
    return kbuild_redacted("\n".join(list(dict.fromkeys(lines))[:5])) or "its log says nothing"

# ---- What is fetched outside of SRC_URI

addhandler kbuild_build_started
kbuild_build_started[eventmask] = "bb.event.BuildStarted"
python kbuild_build_started() {
    context = d.getVar("BB_CURRENT_MC") or "default"
    kbuild_write(d, "configuration", context, kbuild_configuration(d))
}

def kbuild_configuration(d):
    arch = d.getVar("BUILD_ARCH") or os.uname().machine
    # Its database is no source of any recipe. That of sbom-cve-check is.
    found = {"build_arch": arch, "uninative": None, "cve_check": bb.data.inherits_class("cve-check", d)}
    if bb.data.inherits_class("uninative", d):
        checksum = d.getVarFlag("UNINATIVE_CHECKSUM", arch)
        tarball = d.getVar("UNINATIVE_TARBALL")
        directory = os.path.join(d.getVar("UNINATIVE_DLDIR"), checksum or "", tarball)
        found["uninative"] = {"checksum": checksum, "file": tarball,
            "url": (d.getVar("UNINATIVE_URL") or "") + tarball,
            "local": os.path.relpath(directory, d.getVar("DL_DIR"))}
    return found

# ---- Speaking to kbuild, which waits outside of the seal

def kbuild_connect(d):
    """A connection to kbuild, or None where it does not wait: in a BitBake that a person runs by hand."""
    import socket
    try:
        # By a descriptor: the path of a socket can have 107 bytes at most.
        directory = os.open(d.expand("${TOPDIR}/kbuild"), os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect("/proc/self/fd/%d/kbuild.sock" % directory)
        return link
    except OSError:
        link.close()
        return None
    finally:
        os.close(directory)

def kbuild_ask(d, question, descriptor=None):
    """kbuild's answer to a question; a file that it shall write into goes along as an open descriptor."""
    import array, json, socket
    link = kbuild_connect(d)
    if link is None:
        return {}
    with link:
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            link.sendmsg([json.dumps(question).encode()], rights)
            return json.loads(link.recv(1 << 16) or b"{}")
        except OSError:
            return {}

def kbuild_tell(d, event):
    """Tells kbuild what goes on. One connection for a process, so that nothing overtakes anything."""
    import json
    known = bb.event.__dict__.setdefault("kbuild_links", {})
    if os.getpid() not in known:
        known.clear()
        known[os.getpid()] = kbuild_connect(d)
    link = known[os.getpid()]
    if link is None:
        return
    try:
        link.sendall(json.dumps(event).encode())
    except OSError:
        known[os.getpid()] = None

# ---- Shared state from caches elsewhere

def kbuild_fetch_from_caches():
    """Gives BitBake a fetcher for the one mirror of shared state that kbuild names (SSTATE_MIRRORS). It asks kbuild, which
    asks the caches: nothing in here needs a network. The names are those that wget would give the files."""
    if any(hasattr(method, "kbuild_caches") for method in bb.fetch2.methods):
        return
    def supports(self, ud, d):
        return ud.type == "http" and ud.host == "caches.kbuild.invalid"
    def checkstatus(self, fetch, ud, d, try_again=True):
        return bool(kbuild_ask(d, {"has": ud.localfile}).get("has"))
    def download(self, ud, d):
        import tempfile
        directory, name = os.path.split(os.path.join(d.getVar("DL_DIR"), ud.localfile))
        bb.utils.mkdirhier(directory)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".kbuild-", delete=False) as part:
            try:
                if not kbuild_ask(d, {"bring": ud.localfile}, part.fileno()).get("brought"):
                    raise bb.fetch2.FetchError("no cache has it", ud.url)
                # As a file that was made here: NamedTemporaryFile's are for their owner alone.
                os.chmod(part.name, 0o664 & ~kbuild_umask())
                os.rename(part.name, os.path.join(directory, name))
            except BaseException:
                os.unlink(part.name)
                raise
        return True
    methods = {"supports": supports, "checkstatus": checkstatus, "download": download, "kbuild_caches": True}
    bb.fetch2.methods.insert(0, type("KbuildCaches", (bb.fetch2.wget.Wget,), methods)())

def kbuild_umask():
    umask = os.umask(0o022)
    os.umask(umask)
    return umask

# ---- What goes on

addhandler kbuild_progress
kbuild_progress[eventmask] = "bb.event.CacheLoadStarted bb.event.ParseStarted bb.event.ParseProgress \
    bb.event.ParseCompleted bb.runqueue.runQueueTaskStarted bb.runqueue.runQueueTaskCompleted \
    bb.runqueue.runQueueTaskFailed bb.runqueue.runQueueTaskSkipped bb.runqueue.sceneQueueTaskStarted \
    bb.runqueue.sceneQueueTaskCompleted bb.runqueue.sceneQueueTaskFailed"
python kbuild_progress() {
    kind = type(e).__name__
    if kind == "CacheLoadStarted":
        kbuild_tell(d, {"event": "cache-load"})
    elif kind in ["ParseStarted", "ParseProgress"]:
        kbuild_tell(d, {"event": "parse", "done": getattr(e, "current", 0), "total": e.total})
    elif kind == "ParseCompleted":
        kbuild_tell(d, {"event": "parsed"})
    else:
        scene = kind.startswith("sceneQueueTask")
        event = kind[len("sceneQueueTask" if scene else "runQueueTask"):].lower()
        kbuild_tell(d, {"event": event, "recipe": kbuild_recipe_of(e.taskfile, d), "file": e.taskfile,
            "task": e.taskname.replace("_setscene", ""), "from_cache": scene, "noexec": getattr(e, "noexec", False),
            "reason": getattr(e, "reason", None), "total": e.stats.total,
            # What is skipped counts as completed too (RunQueueExecute.task_skip).
            "done": e.stats.completed + e.stats.failed})
}

def kbuild_recipe_of(path, d):
    """The name of a recipe by its file, as BitBake names it by default; what it extends (BBCLASSEXTEND) and its
    multiconfig go along. The recipe itself is not at hand where tasks are counted."""
    words = path.split(":")
    context = "mc:%s:" % words[1] if words[0] == "mc" else ""
    extended = words[words.index("virtual") + 1:-1] if "virtual" in words else []
    name = bb.parse.vars_from_file(words[-1], d)[0] or os.path.basename(words[-1])
    if extended[:1] == ["native"]:
        name += "-native"
    elif extended:
        name = "%s-%s" % (extended[-1], name)
    return context + name
