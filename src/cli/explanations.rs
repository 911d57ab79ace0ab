//! What kinds of failures mean and what fixes them, and the reference pages: all that `kbuild explain` can tell without a
//! network and without this repository.

use std::collections::BTreeMap;

use crate::error::Kind;

/// What a kind of failure means to a user. Kinds of one exit code say the same.
pub(super) struct Explanation {
    /// In one sentence, without its full stop.
    pub(super) meaning: &'static str,
    /// What usually fixes it.
    pub(super) remedy: &'static str,
    /// The usual causes, with what helps in each case.
    pub(super) causes: &'static [(&'static str, &'static str)],
}

/// The reference pages, by the name that `kbuild explain` takes.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("audit", include_str!("../../docs/reference/audit.md")),
    ("bitbake", include_str!("../../docs/reference/bitbake.md")),
    ("bounds", include_str!("../../docs/reference/bounds.md")),
    ("bundle", include_str!("../../docs/reference/bundle.md")),
    ("cache", include_str!("../../docs/reference/cache.md")),
    ("crates", include_str!("../../docs/reference/crates.md")),
    ("environment", include_str!("../../docs/reference/environment.md")),
    ("exit-codes", include_str!("../../docs/reference/exit-codes.md")),
    ("farm", include_str!("../../docs/reference/farm.md")),
    ("faults", include_str!("../../docs/reference/faults.md")),
    ("fetchers", include_str!("../../docs/reference/fetchers.md")),
    ("images", include_str!("../../docs/reference/images.md")),
    ("init", include_str!("../../docs/reference/init.md")),
    ("layers", include_str!("../../docs/reference/layers.md")),
    ("lock", include_str!("../../docs/reference/lock.md")),
    ("manifest", include_str!("../../docs/reference/manifest.md")),
    ("pins", include_str!("../../docs/reference/pins.md")),
    ("probe", include_str!("../../docs/reference/probe.md")),
    ("queries", include_str!("../../docs/reference/queries.md")),
    ("remotes", include_str!("../../docs/reference/remotes.md")),
    ("run", include_str!("../../docs/reference/run.md")),
    ("seal", include_str!("../../docs/reference/seal.md")),
    ("serve", include_str!("../../docs/reference/serve.md")),
    ("store", include_str!("../../docs/reference/store.md")),
];

/// The kinds by their exit code.
pub(super) fn by_exit_code() -> BTreeMap<u8, Vec<Kind>> {
    let mut codes: BTreeMap<u8, Vec<Kind>> = BTreeMap::new();
    for kind in Kind::ALL {
        codes.entry(kind.exit_code()).or_default().push(kind);
    }
    codes
}

/// The names of kinds, as JSON has them.
pub(super) fn names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name()).collect()
}

/// What a kind of failure means.
pub(super) fn explanation(kind: Kind) -> Explanation {
    let (meaning, remedy, causes): (_, _, &[_]) = match kind {
        Kind::Input | Kind::Io => (
            "a check failed; the manifest, the lock or the store is wrong; or the system refused a file operation",
            "the message names the file, and the line",
            &[
                (
                    "a key of kbuild.toml is wrong or misspelt",
                    "the message shows the line; `kbuild explain manifest` has all keys",
                ),
                (
                    "a recipe cannot be locked as it is written",
                    "the message names recipe, file and line; `kbuild explain fetchers`",
                ),
                (
                    "`audit` found something that goes around the lock",
                    "`kbuild explain audit` says what each rule means",
                ),
                ("the disk is full, or a directory belongs to another user", "the message has the system's own words"),
            ],
        ),
        Kind::Usage => (
            "the command line is wrong",
            "`kbuild help COMMAND`",
            &[(
                "a board, layer, source or option has another name",
                "the message says which are known, and which is meant",
            )],
        ),
        Kind::Stale => (
            "the lock does not match the manifest",
            "`kbuild lock`",
            &[
                ("kbuild.toml changed since the lock was made", "`kbuild lock`, and commit both files"),
                (
                    "a layer that is a folder of the project was edited",
                    "`kbuild lock`; `kbuild explain layers` says what counts as an edit",
                ),
                (
                    "two branches were merged, and each had changed the lock",
                    "`kbuild lock`; `kbuild merge-driver` does it while git merges",
                ),
            ],
        ),
        Kind::Network | Kind::Denied => (
            "no mirror could give a source: none could be asked (`network`), or all say that they do not have it (`denied`)",
            "for `network`, try again; for `denied`, correct the URL, or name a mirror in `[mirrors]`",
            &[
                (
                    "a host is down or slow",
                    "run it again: what was fetched is kept, and partial downloads go on where they ended",
                ),
                (
                    "an upstream removed or moved a file",
                    "name another place in `[mirrors]`, or import it from a bundle",
                ),
                ("a login is needed", "`.netrc`, or what git and docker know of it; `kbuild explain remotes`"),
                ("a proxy is needed", "HTTPS_PROXY and its like; `kbuild explain environment`"),
            ],
        ),
        Kind::Mismatch => (
            "bytes that arrived, or that are in the store, do not have the hash of the lock, of a bundle's index or of a \
             signature; or a layer is not signed by one of its `signers`",
            "the message says whose hash differs, and how to accept or to fetch again",
            &[
                (
                    "an upstream published another file under the old name",
                    "ask its maintainers; `kbuild update NAME` takes it on purpose",
                ),
                (
                    "a proxy or a login page answered in place of the server",
                    "the message shows the beginning of what came",
                ),
                ("a disk or a person changed a file of the store", "`kbuild verify --repair` fetches it again"),
                (
                    "a layer's commit is not signed as the manifest wants",
                    "the message names the key; `kbuild explain layers`",
                ),
                ("a tag was moved", "`kbuild explain lock` says how to keep the commit or to follow the tag"),
            ],
        ),
        Kind::Missing => (
            "a source is not in the store and the network may not be used; or it is not in the store that `pull` asks",
            "`kbuild fetch`",
            &[
                (
                    "nothing was fetched since the lock changed",
                    "`kbuild fetch`, or `kbuild fetch --board BOARD` for one board",
                ),
                ("this network is closed", "`kbuild import BUNDLE`; `kbuild explain bundle`"),
                (
                    "another project's `kbuild gc` did not know this lock",
                    "`kbuild gc --keep LOCK`; `kbuild explain store`",
                ),
            ],
        ),
        Kind::Engine => (
            "BitBake ended with an error",
            "BitBake's own output and logs",
            &[
                (
                    "a task failed",
                    "the message names recipe, task and log; `kbuild shell --board BOARD` opens the same build by hand",
                ),
                ("a recipe fetches what the lock does not have", "`kbuild lock --recipe RECIPE`"),
                (
                    "a task tried to use the network or to write outside of the build",
                    "`kbuild explain seal` says what it may do",
                ),
                ("a program that the layers want is not installed", "`kbuild doctor` lists what is missing"),
            ],
        ),
        Kind::NotReproducible => (
            "a second build gave other bytes",
            "the message names the artifacts",
            &[(
                "a recipe writes a time, a path or a host's name",
                "the message names the first file that differs, and a known cause",
            )],
        ),
        Kind::Emulator => (
            "QEMU ended with an error (`kbuild run`)",
            "QEMU's own message; `--emulate` where KVM is at fault",
            &[("/dev/kvm cannot be opened", "add yourself to its group, or `--emulate`; `kbuild explain run`")],
        ),
        Kind::Bug => (
            "kbuild is at fault",
            "please report it",
            &[("a case that nobody thought of", "what was fetched is kept; report the command and the message")],
        ),
        Kind::Interrupted => (
            "the user stopped it (Ctrl-C, SIGTERM)",
            "run the same command again: what has been fetched is kept",
            &[(
                "a service that runs builds has a time limit",
                "the next run goes on; keep the store and `build/` between runs",
            )],
        ),
    };
    Explanation { meaning, remedy, causes }
}
