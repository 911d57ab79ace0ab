# Shared state: what do_install and do_deploy of a recipe made is kept in ${SSTATE_DIR}, under the hash of
# the task. A task whose state is there, or at a mirror of ${SSTATE_MIRRORS}, is not run: its `_setscene`
# task takes it from there. The names are those of oe-core's sstate.bbclass in short form.

BB_HASHCHECK_FUNCTION = "mini_state_check"
BB_SETSCENE_DEPVALID = "mini_state_unneeded"
# What mini_state_check knows of a recipe.
BB_HASHFILENAME = "${PN}"

def mini_state_name(recipe, unihash, task):
    return "%s/%s/sstate:%s:%s_%s.tar.gz" % (unihash[:2], unihash[2:4], recipe, unihash, task)

def mini_state_check(sq_data, d, siginfo=False, currentcount=0, summary=True, **kwargs):
    """The tasks whose state can be had."""
    found = set()
    for tid, unihash in sq_data["unihash"].items():
        task = bb.runqueue.taskname_from_tid(tid)[len("do_"):]
        if mini_state_have(mini_state_name(sq_data["hashfn"][tid], unihash, task), d, check=True):
            found.add(tid)
    return found

def mini_state_have(name, d, check=False):
    """Whether a file is in SSTATE_DIR; unless it is only asked about, a mirror's is brought there."""
    directory, mirrors = d.getVar("SSTATE_DIR"), d.getVar("SSTATE_MIRRORS")
    if os.path.exists(os.path.join(directory, name)):
        # What is used is young, for whoever cleans up.
        os.utime(os.path.join(directory, name))
        return True
    if not mirrors:
        return False
    data = bb.data.createCopy(d)
    for variable, value in (("DL_DIR", directory), ("FILESPATH", directory), ("PREMIRRORS", mirrors), ("MIRRORS", "")):
        data.setVar(variable, value)
    try:
        fetcher = bb.fetch2.Fetch(["file://%s;downloadfilename=%s" % (name, name)], data, cache=False)
        fetcher.checkstatus() if check else fetcher.download()
    except bb.fetch2.BBFetchException:
        return False
    return os.path.exists(os.path.join(directory, name)) or check

def mini_state_unneeded(task, tasks, notneeded, d):
    """Whether nobody needs this state when what was made of it is there: all but what is deployed."""
    return tasks[task][1] != "do_deploy"

def mini_state_folder(task, d):
    return d.getVar({"install": "D", "deploy": "DEPLOYDIR"}[task])

python mini_state_keep() {
    import gzip, io, os, tarfile, tempfile
    task = d.getVar("BB_CURRENTTASK")
    target = os.path.join(d.getVar("SSTATE_DIR"), mini_state_name(d.getVar("PN"), d.getVar("BB_UNIHASH"), task))
    def anonymous(member):
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = int(d.getVar("SOURCE_DATE_EPOCH"))
        return member
    text = io.BytesIO()
    with tarfile.open(fileobj=text, mode="w") as archive:
        # Sorted by tarfile itself.
        archive.add(mini_state_folder(task, d), arcname=".", filter=anonymous)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), delete=False) as part:
        part.write(gzip.compress(text.getvalue(), 6, mtime=0))
    os.chmod(part.name, 0o644)
    os.rename(part.name, target)
}
# None of these changes what is made.
mini_state_keep[vardepsexclude] = "BB_CURRENTTASK BB_UNIHASH SSTATE_DIR"
do_install[postfuncs] += "mini_state_keep"
do_deploy[postfuncs] += "mini_state_keep"

def mini_state_restore(task, d):
    import tarfile
    name = mini_state_name(d.getVar("PN"), d.getVar("BB_UNIHASH"), task)
    path = os.path.join(d.getVar("SSTATE_DIR"), name)
    try:
        if not mini_state_have(name, d):
            raise OSError("it is gone")
        with tarfile.open(path) as archive:
            archive.extractall(mini_state_folder(task, d))
    except (OSError, EOFError, tarfile.TarError) as error:
        # BitBake then runs the task itself. What it makes takes the place of this file.
        bb.utils.remove(path)
        bb.warn("the state of do_%s cannot be used (%s): %s" % (task, error, name))
        raise bb.BBHandledException()

python do_install_setscene() {
    mini_state_restore("install", d)
}
addtask install_setscene
do_install_setscene[cleandirs] = "${D}"

python do_deploy_setscene() {
    mini_state_restore("deploy", d)
    bb.build.exec_func("mini_publish", d)
}
addtask deploy_setscene
do_deploy_setscene[cleandirs] = "${DEPLOYDIR}"
do_deploy_setscene[dirs] = "${DEPLOY_DIR_IMAGE} ${DEPLOYDIR}"
