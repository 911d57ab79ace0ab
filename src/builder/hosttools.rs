//! The programs of the host that oe-core asks for.

/// HOSTTOOLS of oe-core (`meta/conf/bitbake.conf`: the union of scarthgap and wrynose), each with its Debian package.
#[rustfmt::skip]
pub(super) const HOSTTOOLS: [(&str, &str); 111] = [
    ("[", "coreutils"), ("ar", "binutils"), ("as", "binutils"), ("awk", "gawk"), ("basename", "coreutils"),
    ("bash", "bash"), ("bunzip2", "bzip2"), ("bzip2", "bzip2"), ("cat", "coreutils"), ("chgrp", "coreutils"),
    ("chmod", "coreutils"), ("chown", "coreutils"), ("chrpath", "chrpath"), ("cmp", "diffutils"), ("comm", "coreutils"),
    ("cp", "coreutils"), ("cpio", "cpio"), ("cpp", "cpp"), ("cut", "coreutils"), ("date", "coreutils"),
    ("dd", "coreutils"), ("diff", "diffutils"), ("diffstat", "diffstat"), ("dirname", "coreutils"), ("du", "coreutils"),
    ("echo", "coreutils"), ("egrep", "grep"), ("env", "coreutils"), ("expand", "coreutils"), ("expr", "coreutils"),
    ("false", "coreutils"), ("fgrep", "grep"), ("file", "file"), ("find", "findutils"), ("flock", "util-linux"),
    ("g++", "g++"), ("gawk", "gawk"), ("gcc", "gcc"), ("getconf", "libc-bin"), ("getopt", "util-linux"),
    ("git", "git"), ("grep", "grep"), ("gunzip", "gzip"), ("gzip", "gzip"), ("head", "coreutils"),
    ("hostname", "hostname"), ("iconv", "libc-bin"), ("id", "coreutils"), ("install", "coreutils"), ("ld", "binutils"),
    ("ldd", "libc-bin"), ("ln", "coreutils"), ("ls", "coreutils"), ("lz4c", "lz4"), ("make", "make"),
    ("md5sum", "coreutils"), ("mkdir", "coreutils"), ("mkfifo", "coreutils"), ("mknod", "coreutils"),
    ("mktemp", "coreutils"), ("mv", "coreutils"), ("nm", "binutils"), ("objcopy", "binutils"), ("objdump", "binutils"),
    ("od", "coreutils"), ("patch", "patch"), ("perl", "perl"), ("pr", "coreutils"), ("printf", "coreutils"),
    ("pwd", "coreutils"), ("python3", "python3"), ("pzstd", "zstd"), ("ranlib", "binutils"), ("readelf", "binutils"),
    ("readlink", "coreutils"), ("realpath", "coreutils"), ("rm", "coreutils"), ("rmdir", "coreutils"),
    ("rpcgen", "rpcsvc-proto"), ("sed", "sed"), ("seq", "coreutils"), ("sh", "dash"), ("sha1sum", "coreutils"),
    ("sha224sum", "coreutils"), ("sha256sum", "coreutils"), ("sha384sum", "coreutils"), ("sha512sum", "coreutils"),
    ("sleep", "coreutils"), ("sort", "coreutils"), ("split", "coreutils"), ("stat", "coreutils"), ("strings", "binutils"),
    ("strip", "binutils"), ("tail", "coreutils"), ("tar", "tar"), ("tee", "coreutils"), ("test", "coreutils"),
    ("timeout", "coreutils"), ("touch", "coreutils"), ("tr", "coreutils"), ("true", "coreutils"),
    ("truncate", "coreutils"), ("uname", "coreutils"), ("uniq", "coreutils"), ("unzstd", "zstd"), ("wc", "coreutils"),
    ("wget", "wget"), ("which", "debianutils"), ("xargs", "findutils"), ("xz", "xz-utils"), ("zstd", "zstd"),
];
