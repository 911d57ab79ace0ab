//! How much kbuild takes of what comes from outside: every limit on size, number and depth, with the test that holds it.
//!
//! Whatever a server, a repository, a bundle or a layer sends, the memory of kbuild stays below 256 MiB: what can be long is
//! read piece by piece, and what is kept in memory has a limit here. `docs/reference/bounds.md` is made of this file. How
//! long kbuild waits is said elsewhere: [`crate::net::retry::RetryPolicy`].

use std::env;

use crate::env_vars;

/// Limits that belong together: a section of the reference.
#[derive(Debug)]
pub struct BoundGroup {
    /// The section's heading.
    pub title: &'static str,
    /// The limits, in the order of this file.
    pub bounds: &'static [Bound],
}

/// A limit on what comes from outside.
#[derive(Debug)]
pub struct Bound {
    /// What is limited, and what happens at the limit; lines of Markdown.
    pub doc: &'static str,
    /// The limit, in `unit`.
    pub value: u64,
    /// `bytes`, or what is counted.
    pub unit: &'static str,
    /// The function that tests it.
    pub test: &'static str,
}

/// Makes a documented constant of each limit, and [`GROUPS`] of all.
macro_rules! bounds {
    ($($title:literal {
        $($(#[doc = $doc:literal])+ $constant:ident = $value:expr, $unit:literal, $test:literal;)+
    })+) => {
        $($(
            $(#[doc = $doc])+
            pub const $constant: u64 = $value;
        )+)+

        /// All of them.
        pub const GROUPS: &[BoundGroup] = &[$(BoundGroup {
            title: $title,
            bounds: &[$(Bound { doc: concat!($($doc),+), value: $value, unit: $unit, test: $test }),+],
        }),+];
    };
}

bounds! {
    "Transfers" {
        /// A file, or the objects of a git fetch, whose size nobody has said before. `KBUILD_MAX_DOWNLOAD` changes it. The
        /// transfer ends, and what came is removed.
        DOWNLOAD = 64 << 30, "bytes", "a_body_without_an_end_is_cut_and_nothing_of_it_stays";
        /// A file whose size is known, but that is smaller: so much is still read of a longer one, so that its hash can be shown.
        TOO_LONG_SHOWN = 1 << 20, "bytes", "far_too_many_bytes_are_not_read_to_their_end";
        /// What stays free on the disk of the store. `KBUILD_MIN_FREE` changes it. A transfer that would take more ends, with
        /// exit code 1, and what came is removed.
        FREE_DISK = 64 << 20, "bytes", "a_disk_that_gets_full_ends_a_transfer_and_nothing_of_it_stays";
        /// Redirects of one request.
        REDIRECTS = 10, "redirects", "redirects_have_limits";
        /// The head of an HTTP answer: the limit of the library hyper (8 KiB and 100 times 4 KiB).
        HTTP_HEAD = 8192 + 4096 * 100, "bytes", "a_head_without_an_end_is_refused";
        /// An answer of an FTP server: the limit of the library suppaftp.
        FTP_ANSWER = 256 << 10, "bytes", "an_answer_of_ftp_without_an_end_is_refused";
        /// What is read of the page that explains a refusal.
        REFUSAL = 64 << 10, "bytes", "a_long_refusal_is_read_in_part";
        /// The record of a commit, from another store: room for a thousand packs.
        RECORD = 256 << 10, "bytes", "a_record_without_an_end_is_refused";
        /// A manifest, token, list of tags or configuration of a registry. No registry must accept a longer manifest
        /// (distribution specification, "Pushing Manifests").
        IMAGE_MANIFEST = 4 << 20, "bytes", "a_manifest_without_an_end_is_refused";
        /// A bucket's list of objects, one page of it.
        BUCKET_LIST = 16 << 20, "bytes", "a_listing_without_an_end_is_refused";
        /// What an LFS server says of a hundred objects.
        LFS_ANSWER = 4 << 20, "bytes", "an_answer_of_a_large_file_server_without_an_end_is_refused";
        /// What a vault says of a request.
        VAULT_ANSWER = 64 << 10, "bytes", "a_vaults_word_without_an_end_is_refused";
        /// What a vault's archive unpacks to: several times the history of Linux.
        VAULT_ARCHIVE = 32 << 30, "bytes", "a_vaults_archive_has_limits";
        /// Packs in a vault's archive. Software Heritage makes one.
        VAULT_PACKS = 1000, "packs", "a_vaults_archive_has_limits";
    }

    "Git repositories" {
        /// What a server says of its refs. They are read one by one.
        REFS = 256 << 20, "bytes", "a_million_refs_are_read_one_by_one";
        /// Names of refs that are kept, to suggest one where the wanted one is not there.
        REFS_KEPT = 10_000, "names", "a_million_refs_are_read_one_by_one";
        /// A file of a commit that is read into memory. A repository with a larger object is read by `git cat-file`, piece by
        /// piece.
        BLOB_IN_MEMORY = 16 << 20, "bytes", "a_large_file_of_a_commit_is_hashed_piece_by_piece";
        /// A tree or commit object: one of them is always read into memory.
        GIT_OBJECT = 16 << 20, "bytes", "a_huge_tree_object_is_refused";
        /// Directories inside each other: no disk has a longer path (PATH_MAX is 4096).
        TREE_DEPTH = 1024, "directories", "a_tree_that_is_too_deep_is_refused";
        /// Files and directories of a commit that is checked out or searched. Its hash has no such limit, since it needs each
        /// tree object once.
        CHECKOUT = 1_000_000, "files", "a_tree_that_contains_itself_many_times_is_hashed_but_not_checked_out";
        /// Submodules of a commit.
        SUBMODULES = 10_000, "submodules", "too_many_submodules_are_refused";
        /// A `.gitmodules`, `.gitattributes` or `.lfsconfig`.
        GITMODULES = 1 << 20, "bytes", "a_huge_gitmodules_is_refused";
        /// The object of a signed tag. The lock keeps it.
        SIGNED_TAG = 64 << 10, "bytes", "a_signed_tag_that_is_too_long_is_refused";
        /// A file of a commit or an archive that a command wants as a whole (a Cargo.lock), and a patch of a layer.
        FILE_OF_SOURCE = 64 << 20, "bytes", "a_huge_file_of_a_commit_is_refused";
        /// The memory of one git process: its heap (`RLIMIT_DATA`). git needs much for a long history, and ends with "out of
        /// memory" for a delta that claims to be a huge file.
        GIT_MEMORY = 4 << 30, "bytes", "git_has_a_limit_on_its_memory";
    }

    "Bundles and ledgers" {
        /// The index of a bundle: room for some 80,000 blobs.
        BUNDLE_INDEX = 32 << 20, "bytes", "an_index_that_is_too_long_is_refused_before_it_is_read";
        /// A line of the index.
        BUNDLE_LINE = 1 << 20, "bytes", "a_line_of_an_index_that_is_too_long_is_refused";
        /// A signature. Those of minisign have some 300 bytes, and a comment.
        SIGNATURE = 16 << 10, "bytes", "a_signature_that_is_too_long_is_refused";
        /// All texts and records of commits of a bundle together: they are read into memory.
        BUNDLE_TEXTS = 32 << 20, "bytes", "texts_that_are_too_long_are_refused";
        /// The program in a bundle. It is read piece by piece.
        BUNDLE_PROGRAM = 256 << 20, "bytes", "texts_that_are_too_long_are_refused";
        /// A ledger, or a lock in its place.
        LEDGER = 32 << 20, "bytes", "a_ledger_that_is_too_long_is_refused";
    }

    "A project's files, and what BitBake says" {
        /// The manifest, a file that it includes, or the site configuration.
        MANIFEST = 4 << 20, "bytes", "a_manifest_or_lock_that_is_too_long_is_refused";
        /// The lock.
        LOCK = 32 << 20, "bytes", "a_manifest_or_lock_that_is_too_long_is_refused";
        /// What kbuild's class writes of one recipe.
        DISCOVERY_FILE = 4 << 20, "bytes", "what_bitbake_says_has_a_limit";
        /// What kbuild's class writes of all recipes together.
        DISCOVERY = 64 << 20, "bytes", "what_bitbake_says_has_a_limit";
        /// BitBake's task graph. It is read line by line.
        GRAPH = 512 << 20, "bytes", "a_task_graph_has_a_limit";
        /// Which recipe needs which: pairs in the task graph.
        GRAPH_PAIRS = 1_000_000, "pairs", "a_task_graph_has_a_limit";
        /// What kbuild's class writes of one configuration's lines that have no effect. It is left out.
        UNDONE_FILE = 64 << 10, "bytes", "a_list_of_lines_that_is_too_long_is_left_out";
        /// A message of a build to kbuild. Its connection ends.
        BUILD_MESSAGE = 64 << 10, "bytes", "a_message_that_is_too_long_ends_its_connection";
        /// A line that BitBake prints. What comes behind it is another line.
        BUILD_LINE = 64 << 10, "bytes", "a_line_without_an_end_is_cut";
        /// Tasks of a build that are remembered, of each kind. More are not counted.
        BUILD_TASKS = 100_000, "tasks", "more_tasks_than_there_can_be_are_not_remembered";
        /// The name of an object of shared state that a build asks for: that of a file and some directories.
        OBJECT_NAME = 400, "bytes", "what_is_no_name_of_an_object_is_refused";
    }

    "Clients of `kbuild serve`" {
        /// The head of a request. Those of kbuild and BitBake have some hundred bytes.
        REQUEST_HEAD = 16 << 10, "bytes", "a_hostile_client_gets_nothing_and_the_server_lives";
        /// Header fields of a request.
        REQUEST_FIELDS = 64, "fields", "a_hostile_client_gets_nothing_and_the_server_lives";
    }
}

/// A limit, or what a variable says in its place; a variable that is no number is left aside.
fn or_variable(bound: u64, name: &str) -> u64 {
    env::var(name).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(bound)
}

/// The longest transfer whose size nobody knows, in bytes: [`DOWNLOAD`], or what the user says.
pub fn download() -> u64 {
    or_variable(DOWNLOAD, env_vars::KBUILD_MAX_DOWNLOAD)
}

/// What stays free on the disk, in bytes: [`FREE_DISK`], or what the user says.
pub fn free_disk() -> u64 {
    or_variable(FREE_DISK, env_vars::KBUILD_MIN_FREE)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::generated::assert_current;

    /// The number in the largest unit that it is a multiple of.
    fn shown(bound: &Bound) -> String {
        let grouped = |number: u64| {
            let digits = number.to_string();
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            groups.join(",")
        };
        if bound.unit != "bytes" {
            return format!("{} {}", grouped(bound.value), bound.unit);
        }
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let unit = units.into_iter().find(|(size, _)| bound.value.is_multiple_of(*size));
        unit.map_or_else(
            || format!("{} bytes", grouped(bound.value)),
            |(size, name)| format!("{} {name}", bound.value / size),
        )
    }

    fn page() -> String {
        let mut page =
            "# Bounds\n\n<!-- Made from the code by `just docs`. A change here does not last. -->\n\n".to_owned();
        page.push_str(
            "How much kbuild takes of what comes from outside. Whatever comes, the memory of kbuild itself stays below 256 MiB:\n\
             what can be long is read piece by piece, and what is kept in memory has a limit. git is a program of its own, with a\n\
             limit of its own. What is over a limit is an error that names the limit; nothing of it stays in the store.\n\
             [Faults](faults.md) says what kbuild does about everything else that goes wrong.\n",
        );
        for group in GROUPS {
            let _ = write!(page, "\n## {}\n| limit | on | test |\n|---|---|---|\n", group.title);
            for bound in group.bounds {
                let _ = writeln!(page, "| {} | {} | `{}` |", shown(bound), bound.doc.trim(), bound.test);
            }
        }
        page
    }

    #[test]
    fn the_page_of_bounds_is_current() {
        assert_current("docs/reference/bounds.md", &page());
    }

    #[test]
    fn every_bound_names_a_test_that_exists() {
        let mut code = String::new();
        for top in ["src", "tests", "crates"] {
            let walk = walkdir::WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(top)).into_iter();
            for file in walk.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "rs")) {
                code.push_str(&fs::read_to_string(file.path()).unwrap());
            }
        }
        for bound in GROUPS.iter().flat_map(|group| group.bounds) {
            assert!(code.contains(&format!("fn {}(", bound.test)), "there is no test `{}`", bound.test);
        }
    }

    #[test]
    fn a_variable_takes_the_place_of_a_limit_if_it_is_a_number() {
        assert_eq!(or_variable(7, "KBUILD_NO_SUCH_VARIABLE"), 7);
    }
}
