//! The kinds of findings: a stable name each, why it matters, how to fix it.

use serde::{Serialize, Serializer};

/// A rule that a place breaks. The names are stable: exceptions in recipes and programs rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
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

impl Rule {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Rule; 19] = [
        Rule::TaskNetwork,
        Rule::OwnFetch,
        Rule::DownloadCommand,
        Rule::DownloadPipe,
        Rule::VcsCommand,
        Rule::ContainerCommand,
        Rule::FloatingImage,
        Rule::PackageCommand,
        Rule::HostPackages,
        Rule::RemoteCopy,
        Rule::PythonNetwork,
        Rule::FetcherCall,
        Rule::Autorev,
        Rule::FloatingRevision,
        Rule::MovingUrl,
        Rule::WeakChecksum,
        Rule::NoChecksum,
        Rule::AllowWithoutReason,
        Rule::AllowWithoutEffect,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Rule::TaskNetwork => "task-network",
            Rule::OwnFetch => "own-fetch",
            Rule::DownloadCommand => "download-command",
            Rule::DownloadPipe => "download-pipe",
            Rule::VcsCommand => "vcs-command",
            Rule::ContainerCommand => "container-command",
            Rule::FloatingImage => "floating-image",
            Rule::PackageCommand => "package-command",
            Rule::HostPackages => "host-packages",
            Rule::RemoteCopy => "remote-copy",
            Rule::PythonNetwork => "python-network",
            Rule::FetcherCall => "fetcher-call",
            Rule::Autorev => "autorev",
            Rule::FloatingRevision => "floating-revision",
            Rule::MovingUrl => "moving-url",
            Rule::WeakChecksum => "weak-checksum",
            Rule::NoChecksum => "no-checksum",
            Rule::AllowWithoutReason => "allow-without-reason",
            Rule::AllowWithoutEffect => "allow-without-effect",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Rule> {
        Rule::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Why it matters, in one sentence.
    pub fn why(self) -> &'static str {
        match self {
            Rule::TaskNetwork => "BitBake keeps the network from every task but do_fetch, and this flag gives it back.",
            Rule::OwnFetch => "What code of its own fetches is in no SRC_URI, so nothing can lock or mirror it.",
            Rule::DownloadCommand => "What a task downloads is checked by nobody, and gone when the server is.",
            Rule::DownloadPipe => {
                "Whatever the server sends today is run or applied, and a failed download goes unseen."
            }
            Rule::VcsCommand => {
                "What a repository's server gives a task today is in no lock, and may be another tomorrow."
            }
            Rule::ContainerCommand => {
                "The image comes from a registry, and what runs in it uses the network as it likes."
            }
            Rule::FloatingImage => "A tag, or none, means whichever image the registry has today.",
            Rule::PackageCommand => {
                "A package manager picks versions while the build runs, from a registry no lock names."
            }
            Rule::HostPackages => {
                "The build changes its host, and depends on what the distribution's mirror holds today."
            }
            Rule::RemoteCopy => "The bytes come from, or depend on, another machine that the lock does not know.",
            Rule::PythonNetwork => "What Python code downloads is in no SRC_URI, so nothing can lock or mirror it.",
            Rule::FetcherCall => "This download is in no SRC_URI, so it is in no closure.",
            Rule::Autorev => {
                "The newest commit is asked for at every parse: the build floats, and cannot parse offline."
            }
            Rule::FloatingRevision => "A tag or branch can move, and BitBake asks the server what it means at parse.",
            Rule::MovingUrl => {
                "With the branch the bytes change: then the checksum fails, and the old bytes are nowhere."
            }
            Rule::WeakChecksum => "MD5 and SHA-1 can be forged: other bytes may pass for these.",
            Rule::NoChecksum => "Nothing says which bytes are meant, so any will do.",
            Rule::AllowWithoutReason => {
                "A reviewer cannot judge an exception that does not say why; it allows nothing."
            }
            Rule::AllowWithoutEffect => "An exception for what is not there hides the next leak.",
        }
    }

    /// How to fix it.
    pub fn hint(self) -> &'static str {
        match self {
            Rule::TaskNetwork => "let do_fetch bring what the task wants, and take the flag out",
            Rule::OwnFetch => "put it in SRC_URI with a checksum or SRCREV",
            Rule::DownloadCommand | Rule::PythonNetwork | Rule::FetcherCall => {
                "put the URL in SRC_URI with its sha256sum"
            }
            Rule::DownloadPipe => "put the URL in SRC_URI with its sha256sum; a patch is then applied by do_patch",
            Rule::VcsCommand => "put the repository in SRC_URI (gitsm:// with its submodules) with SRCREV",
            Rule::ContainerCommand => "build with -native tools; fetch an image that is shipped in do_fetch, by digest",
            Rule::PackageCommand => {
                "list the packages in SRC_URI (crate://, gomod://, npmsw://, pypi.bbclass) and install offline"
            }
            Rule::HostPackages => "use a -native recipe in DEPENDS, or HOSTTOOLS",
            Rule::FloatingImage => "name the image by digest: NAME@sha256:…",
            Rule::MovingUrl => "name a commit or a release in the URL, or fetch with git:// and SRCREV",
            Rule::RemoteCopy => "serve the file over a URL that SRC_URI can name, with its sha256sum",
            Rule::Autorev => "set SRCREV to the full commit id",
            Rule::FloatingRevision => "set SRCREV (SRCREV_<name>) to the full commit id",
            Rule::WeakChecksum | Rule::NoChecksum => "add SRC_URI[sha256sum]",
            Rule::AllowWithoutReason => "write `# kbuild-audit: allow KIND because REASON`",
            Rule::AllowWithoutEffect => "take the comment out, or put it on the line before the one it is about",
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again() {
        for kind in Rule::ALL {
            assert_eq!(Rule::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Rule::from_name("curl"), None);
    }
}
