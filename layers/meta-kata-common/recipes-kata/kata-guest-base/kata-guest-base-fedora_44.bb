SUMMARY = "Fedora for the guests of Kata Containers"
DESCRIPTION = "The container image of Fedora: an OCI archive whose one layer is the root file system."
HOMEPAGE = "https://fedoraproject.org/"

require kata-guest-base.inc

# Only the hash of x86-64's is known.
COMPATIBLE_HOST = "x86_64.*-linux"

FEDORA_RESPIN = "1.7"
SRC_URI = "https://download.fedoraproject.org/pub/fedora/linux/releases/${PV}/Container/x86_64/images/Fedora-Container-Base-Generic-${PV}-${FEDORA_RESPIN}.x86_64.oci.tar.xz;subdir=oci"
SRC_URI[sha256sum] = "75200f5752a74a21a616ca9a75e25beb594e2e117a0195c54f87c0b3e3974d1b"

# index.json names the manifest, the manifest names the layers.
python do_deploy() {
    import json, os
    oci = os.path.join(d.getVar("UNPACKDIR"), "oci")
    def blob(digest):
        return os.path.join(oci, "blobs", *digest.split(":"))
    with open(os.path.join(oci, "index.json")) as index:
        manifests = json.load(index)["manifests"]
    with open(blob(manifests[0]["digest"])) as manifest:
        layers = json.load(manifest)["layers"]
    if len(manifests) != 1 or len(layers) != 1:
        bb.fatal("expected one manifest with one layer, found %d and %d" % (len(manifests), len(layers)))
    bb.utils.copyfile(blob(layers[0]["digest"]), os.path.join(d.getVar("DEPLOYDIR"), "kata-guest-base-fedora.tar"))
}
