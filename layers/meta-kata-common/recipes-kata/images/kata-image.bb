SUMMARY = "A small system that runs containers with Kata"
DESCRIPTION = "Boots to a login with what is needed to start containers in their own virtual machines, an SSH server and room for \
containers. Nobody can log in until KATA_AUTHORIZED_KEYS has a key, or the fragment kata-common/open-root is taken."
SECTION = "base"
LICENSE = "MIT"

inherit core-image kata_options

IMAGE_INSTALL += "packagegroup-kata"
IMAGE_FEATURES += "ssh-server-openssh"

# KiB beside what the image holds: containers' images lie in /var/lib.
KATA_IMAGE_SPACE ?= "2097152"
IMAGE_ROOTFS_EXTRA_SPACE = "${KATA_IMAGE_SPACE}"

# Public keys, as in a file authorized_keys, with \n between them: who may log in as root by SSH.
KATA_AUTHORIZED_KEYS ?= ""

python kata_image_way_in() {
    keys = [line.strip() for line in d.getVar("KATA_AUTHORIZED_KEYS").replace("\\n", "\n").split("\n") if line.strip()]
    if not keys:
        if not bb.utils.contains("IMAGE_FEATURES", "empty-root-password", True, False, d):
            bb.warn("nobody can log in to this image: set KATA_AUTHORIZED_KEYS to a public SSH key, or take the fragment "
                    "kata-common/open-root for development")
        return
    if any("PRIVATE KEY" in key or len(key.split()) < 2 for key in keys):
        bb.fatal("KATA_AUTHORIZED_KEYS: each line is the public half of a key, as `ssh-keygen` writes it into its .pub file")
    directory = d.expand("${IMAGE_ROOTFS}${ROOT_HOME}/.ssh")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o700)
    path = os.path.join(directory, "authorized_keys")
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(key + "\n" for key in keys))
    os.chmod(path, 0o600)
}

ROOTFS_POSTPROCESS_COMMAND += "kata_image_way_in"
