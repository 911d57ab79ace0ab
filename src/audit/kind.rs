//! The kinds of findings: a stable name each, why it matters, how to mend it.

use serde::{Serialize, Serializer};

/// What is wrong at a place. The names are promised: exceptions in recipes and programs rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A task other than do_fetch with a true `[network]` flag.
    TaskNetwork,
    /// A do_fetch of the recipe's own, or code added to it.
    OwnFetch,
    /// `curl`, `wget` and the like in a task.
    DownloadCommand,
    /// A download that is run or applied as it comes.
    DownloadPipe,
    /// `git clone` and other version control in a task.
    VcsCommand,
    /// A container image pulled, built or run in a task.
    ContainerCommand,
    /// A container image named without its digest.
    FloatingImage,
    /// `pip install`, `go get`, `cargo fetch` and the like in a task.
    PackageCommand,
    /// `apt-get install` and the like on the build host.
    HostPackages,
    /// `rsync`, `scp`, `ssh` to another machine in a task.
    RemoteCopy,
    /// Network modules of Python in a task.
    PythonNetwork,
    /// BitBake's fetcher called for something that is not in SRC_URI.
    FetcherCall,
    /// A revision that is `${AUTOREV}`.
    Autorev,
    /// A repository in SRC_URI that no commit pins.
    FloatingRevision,
    /// A download in SRC_URI whose URL names a branch.
    MovingUrl,
    /// A download in SRC_URI with only an MD5 or SHA-1 sum.
    WeakChecksum,
    /// A download in SRC_URI with no checksum.
    NoChecksum,
    /// An exception that does not say why.
    AllowWithoutReason,
    /// An exception that allows nothing.
    AllowWithoutEffect,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Kind; 19] = [
        Kind::TaskNetwork,
        Kind::OwnFetch,
        Kind::DownloadCommand,
        Kind::DownloadPipe,
        Kind::VcsCommand,
        Kind::ContainerCommand,
        Kind::FloatingImage,
        Kind::PackageCommand,
        Kind::HostPackages,
        Kind::RemoteCopy,
        Kind::PythonNetwork,
        Kind::FetcherCall,
        Kind::Autorev,
        Kind::FloatingRevision,
        Kind::MovingUrl,
        Kind::WeakChecksum,
        Kind::NoChecksum,
        Kind::AllowWithoutReason,
        Kind::AllowWithoutEffect,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::TaskNetwork => "task-network",
            Kind::OwnFetch => "own-fetch",
            Kind::DownloadCommand => "download-command",
            Kind::DownloadPipe => "download-pipe",
            Kind::VcsCommand => "vcs-command",
            Kind::ContainerCommand => "container-command",
            Kind::FloatingImage => "floating-image",
            Kind::PackageCommand => "package-command",
            Kind::HostPackages => "host-packages",
            Kind::RemoteCopy => "remote-copy",
            Kind::PythonNetwork => "python-network",
            Kind::FetcherCall => "fetcher-call",
            Kind::Autorev => "autorev",
            Kind::FloatingRevision => "floating-revision",
            Kind::MovingUrl => "moving-url",
            Kind::WeakChecksum => "weak-checksum",
            Kind::NoChecksum => "no-checksum",
            Kind::AllowWithoutReason => "allow-without-reason",
            Kind::AllowWithoutEffect => "allow-without-effect",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Why it matters, in one sentence.
    pub fn why(self) -> &'static str {
        match self {
            Kind::TaskNetwork => "BitBake keeps the network from every task but do_fetch, and this flag gives it back.",
            Kind::OwnFetch => "What code of its own fetches is in no SRC_URI, so nothing can lock or mirror it.",
            Kind::DownloadCommand => "What a task downloads is checked by nobody, and gone when the server is.",
            Kind::DownloadPipe => {
                "Whatever the server sends today is run or applied, and a failed download goes unseen."
            }
            Kind::VcsCommand => {
                "What a repository's server gives a task today is in no lock, and may be another tomorrow."
            }
            Kind::ContainerCommand => {
                "The image comes from a registry, and what runs in it uses the network as it likes."
            }
            Kind::FloatingImage => "A tag, or none, means whichever image the registry has today.",
            Kind::PackageCommand => {
                "A package manager picks versions while the build runs, from a registry no lock names."
            }
            Kind::HostPackages => {
                "The build changes its host, and depends on what the distribution's mirror holds today."
            }
            Kind::RemoteCopy => "The bytes come from, or depend on, another machine that the lock does not know.",
            Kind::PythonNetwork => "What Python code downloads is in no SRC_URI, so nothing can lock or mirror it.",
            Kind::FetcherCall => "This download is in no SRC_URI, so it is in no closure.",
            Kind::Autorev => {
                "The newest commit is asked for at every parse: the build floats, and cannot parse offline."
            }
            Kind::FloatingRevision => "A tag or branch can move, and BitBake asks the server what it means at parse.",
            Kind::MovingUrl => {
                "With the branch the bytes change: then the checksum fails, and the old bytes are nowhere."
            }
            Kind::WeakChecksum => "MD5 and SHA-1 can be forged: other bytes may pass for these.",
            Kind::NoChecksum => "Nothing says which bytes are meant, so any will do.",
            Kind::AllowWithoutReason => {
                "A reviewer cannot judge an exception that does not say why; it allows nothing."
            }
            Kind::AllowWithoutEffect => "An exception for what is not there hides the next leak.",
        }
    }

    /// How to mend it.
    pub fn hint(self) -> &'static str {
        match self {
            Kind::TaskNetwork => "let do_fetch bring what the task wants, and take the flag out",
            Kind::OwnFetch => "put it in SRC_URI with a checksum or SRCREV",
            Kind::DownloadCommand | Kind::PythonNetwork | Kind::FetcherCall => {
                "put the URL in SRC_URI with its sha256sum"
            }
            Kind::DownloadPipe => "put the URL in SRC_URI with its sha256sum; a patch is then applied by do_patch",
            Kind::VcsCommand => "put the repository in SRC_URI (gitsm:// with its submodules) with SRCREV",
            Kind::ContainerCommand => "build with -native tools; fetch an image that is shipped in do_fetch, by digest",
            Kind::PackageCommand => {
                "list the packages in SRC_URI (crate://, gomod://, npmsw://, pypi.bbclass) and install offline"
            }
            Kind::HostPackages => "use a -native recipe in DEPENDS, or HOSTTOOLS",
            Kind::FloatingImage => "name the image by digest: NAME@sha256:…",
            Kind::MovingUrl => "name a commit or a release in the URL, or fetch with git:// and SRCREV",
            Kind::RemoteCopy => "serve the file over a URL that SRC_URI can name, with its sha256sum",
            Kind::Autorev => "set SRCREV to the full commit id",
            Kind::FloatingRevision => "set SRCREV (SRCREV_<name>) to the full commit id",
            Kind::WeakChecksum | Kind::NoChecksum => "add SRC_URI[sha256sum]",
            Kind::AllowWithoutReason => "write `# kbuild-audit: allow KIND because REASON`",
            Kind::AllowWithoutEffect => "take the comment out, or put it on the line before the one it is about",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("curl"), None);
    }
}
