# The main source of a recipe, taken from kata.lock.
#
# For each source that kata.toml declares, kbuild writes variables into the generated configuration; <NAME> is the
# source's name in capitals, with "_" for whatever is no letter or digit:
#   KBUILD_<NAME>_URI      the SRC_URI entry, ready for BitBake's fetchers
#   KBUILD_<NAME>_VERSION  where kata.toml gives one
#   KBUILD_<NAME>_SHA256   of a file
#   KBUILD_<NAME>_SRCREV   of a git commit
# An image (`oci` in kata.toml) is one file for each architecture, an OCI layout in a tar archive; its variables are
#   KBUILD_<NAME>_URI_<ARCH>, KBUILD_<NAME>_SHA256_<ARCH> and KBUILD_<NAME>_DIGEST_<ARCH>
# and the class takes those of KBUILD_SOURCE_ARCH, which is the recipe's TARGET_ARCH where nobody says otherwise.
#
# A recipe says whose it is; the checksum or SRCREV, and PV, come with the class:
#   KBUILD_SOURCE = "kata-containers"
#   inherit kbuild_source
#   SRC_URI = "${KBUILD_SOURCE_URI};destsuffix=${BP}"
#
# A crate (`crate://`) is unpacked to ${UNPACKDIR} as the recipe's own; S is right where the recipe is called as the crate is.
#
# Without these variables (BitBake run without kbuild) the recipe is skipped, and the reason says what to set.

KBUILD_SOURCE ??= "${BPN}"
KBUILD_SOURCE_ARCH ??= "${TARGET_ARCH}"

PV = "${@kbuild_source_var(d, 'VERSION') or '0.0+git'}"

KBUILD_SOURCE_URI = "${@kbuild_source_uri(d)}"
SRC_URI[kbuild.sha256sum] = "${@kbuild_source_var(d, 'SHA256')}"
SRCREV_kbuild = "${@kbuild_source_var(d, 'SRCREV')}"
SRCREV_FORMAT = "kbuild"

# BitBake follows d.getVar() only where the name is a literal, so task hashes would not see a new version or checksum.
# vardepvalue (BitBake manual, "Variable Flags") is what goes into the hash instead of the unexpanded text.
PV[vardepvalue] = "${@kbuild_source_var(d, 'VERSION')}"
KBUILD_SOURCE_URI[vardepvalue] = "${@kbuild_source_uri(d)} ${@kbuild_source_var(d, 'SHA256')}"
SRCREV_kbuild[vardepvalue] = "${@kbuild_source_var(d, 'SRCREV')}"

def kbuild_source_prefix(d):
    name = d.getVar("KBUILD_SOURCE").upper()
    return "KBUILD_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in name)

def kbuild_source_var(d, field):
    plain = "%s_%s" % (kbuild_source_prefix(d), field)
    return d.getVar(plain) or d.getVar("%s_%s" % (plain, kbuild_source_arch(d))) or ""

def kbuild_source_arch(d):
    # Images know one 32-bit x86; BitBake has i486, i586 and i686.
    arch = d.getVar("KBUILD_SOURCE_ARCH") or ""
    return "i686" if arch in ("i386", "i486", "i586") else arch

def kbuild_source_uri(d):
    uri = kbuild_source_var(d, "URI")
    if uri.startswith("crate://"):
        # By this name bb.fetch2.crate knows the recipe's own crate; any other it unpacks for cargo to find. A flag of SRC_URI
        # cannot be named by a variable, so the checksum goes with the entry.
        return "%s;name=%s;sha256sum=%s" % (uri, d.getVar("BP"), kbuild_source_var(d, "SHA256"))
    return uri + ";name=kbuild" if uri else ""

python () {
    prefix = kbuild_source_prefix(d)
    if kbuild_source_var(d, "URI"):
        return
    architectures = kbuild_source_var(d, "ARCHITECTURES")
    if architectures:
        raise bb.parse.SkipRecipe(
            "the image '%s' is locked for %s, not for %s: see 'architectures' of the source in kata.toml"
            % (d.getVar("KBUILD_SOURCE"), architectures, kbuild_source_arch(d)))
    raise bb.parse.SkipRecipe(
        "%s_URI is not set. Its source '%s' is declared in kata.toml: build through kbuild, or set %s_URI with "
        "%s_SHA256 and %s_VERSION (a file) or %s_SRCREV (git) in a configuration file"
        % (prefix, d.getVar("KBUILD_SOURCE"), prefix, prefix, prefix, prefix))
}
