# The task chain of every recipe: fetch, unpack, compile, install, deploy.
# There is no patch task and no package task: the image takes the programs from
# where the recipes install them.

SRC_URI ?= ""

python base_do_fetch() {
    sources = (d.getVar("SRC_URI") or "").split()
    if sources:
        try:
            bb.fetch2.Fetch(sources, d).download()
        except bb.fetch2.BBFetchException as error:
            bb.fatal(str(error))
}
addtask fetch
do_fetch[dirs] = "${DL_DIR}"
# Only this task may use the network; the others run without one.
do_fetch[network] = "1"
do_fetch[file-checksums] = "${@bb.fetch2.get_checksum_file_list(d)}"
# What is fetched is part of the task's hash: another revision runs it again.
do_fetch[vardeps] += "SOURCE_REVISIONS"
SOURCE_REVISIONS = "${@mini_source_revisions(d)}"
SOURCE_REVISIONS[vardepvalue] = "${SOURCE_REVISIONS}"

def mini_source_revisions(d):
    sources = (d.getVar("SRC_URI") or "").split()
    if any(source.startswith(("git://", "gitsm://")) for source in sources):
        return bb.fetch2.get_srcrev(d)
    return ""

python base_do_unpack() {
    sources = (d.getVar("SRC_URI") or "").split()
    if sources:
        try:
            bb.fetch2.Fetch(sources, d).unpack(d.getVar("UNPACKDIR"))
        except bb.fetch2.BBFetchException as error:
            bb.fatal(str(error))
}
addtask unpack after do_fetch
do_unpack[cleandirs] = "${UNPACKDIR}"

base_do_compile() {
    :
}
addtask compile after do_unpack
do_compile[cleandirs] = "${B}"
do_compile[dirs] = "${B}"

base_do_install() {
    :
}
addtask install after do_compile
do_install[cleandirs] = "${D}"
do_install[dirs] = "${B}"

# What a recipe puts into ${DEPLOYDIR} is moved to ${DEPLOY_DIR_IMAGE}, complete files only.
base_do_deploy() {
    :
}
python mini_publish() {
    import os, shutil
    source, target = d.getVar("DEPLOYDIR"), d.getVar("DEPLOY_DIR_IMAGE")
    for name in sorted(os.listdir(source)):
        part = os.path.join(target, ".%s.part" % name)
        shutil.copyfile(os.path.join(source, name), part)
        os.chmod(part, 0o644)
        os.rename(part, os.path.join(target, name))
}
addtask deploy after do_install
do_deploy[cleandirs] = "${DEPLOYDIR}"
do_deploy[dirs] = "${DEPLOY_DIR_IMAGE} ${DEPLOYDIR}"
do_deploy[postfuncs] = "mini_publish"

addtask build after do_deploy
do_build[noexec] = "1"

EXPORT_FUNCTIONS do_fetch do_unpack do_compile do_install do_deploy

inherit shared-state
