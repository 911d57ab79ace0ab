//! Every variable of the environment that kbuild reads, with what it means.
//!
//! The names have their one home here; `docs/reference/environment.md` is made of this file (see `cli::reference`). Which
//! variables BitBake is given is another table: that of [`crate::bitbake`].

/// Variables that belong together: a section of the reference.
#[derive(Debug)]
pub struct VariableGroup {
    /// The section's heading.
    pub title: &'static str,
    /// What holds for all of them; lines of Markdown.
    pub about: &'static str,
    /// The variables, in the order of this file.
    pub variables: &'static [Variable],
}

/// A variable of the environment.
#[derive(Debug)]
pub struct Variable {
    /// Its name. One that ends in `*` stands for all that begin so.
    pub name: &'static str,
    /// What it means; lines of Markdown.
    pub doc: &'static str,
}

/// Makes a documented constant of each variable, and [`GROUPS`] of all.
macro_rules! variables {
    ($($title:literal, $about:literal {
        $($(#[doc = $doc:literal])+ $constant:ident = $name:literal;)+
    })+) => {
        $($(
            $(#[doc = $doc])+
            pub const $constant: &str = $name;
        )+)+

        /// All of them.
        pub const GROUPS: &[VariableGroup] = &[$(VariableGroup {
            title: $title,
            about: $about,
            variables: &[$(Variable { name: $name, doc: concat!($($doc, "\n"),+) }),+],
        }),+];
    };
}

variables! {
    "kbuild's own", "A flag counts before its variable. An empty variable is an unset one." {
        /// The manifest, a file.
        KBUILD_MANIFEST_PATH = "KBUILD_MANIFEST_PATH";
        /// The store, a directory.
        KBUILD_STORE = "KBUILD_STORE";
        /// Stores that are only read, for what the store does not have; separated by colons, the first is asked first.
        /// They replace those of the site configuration. `--lower-store` replaces these.
        KBUILD_LOWER_STORE = "KBUILD_LOWER_STORE";
        /// The site configuration, a file. Without it: `$XDG_CONFIG_HOME/kbuild/config.toml`, then
        /// `/etc/kbuild/config.toml`.
        KBUILD_CONFIG = "KBUILD_CONFIG";
        /// Mirrors to ask first, separated by white space: stores, or rules `REGEX=REPLACEMENT` over URLs. `--mirror`
        /// replaces these.
        KBUILD_MIRROR = "KBUILD_MIRROR";
        /// Whether the network is forbidden: `true` or `false`.
        KBUILD_OFFLINE = "KBUILD_OFFLINE";
        /// Whether a stale lock is an error: `true` or `false`.
        KBUILD_LOCKED = "KBUILD_LOCKED";
        /// `KBUILD_LOCKED` and `KBUILD_OFFLINE` in one: `true` or `false`.
        KBUILD_FROZEN = "KBUILD_FROZEN";
        /// How many transfers run at once, at most.
        KBUILD_JOBS = "KBUILD_JOBS";
        /// How much is said: a number, as often as `-v` would be given, or `true` or `false`.
        KBUILD_VERBOSE = "KBUILD_VERBOSE";
        /// Whether only warnings and errors are said: `true` or `false`.
        KBUILD_QUIET = "KBUILD_QUIET";
        /// When to colour: `auto`, `always` or `never`.
        KBUILD_COLOR = "KBUILD_COLOR";
        /// Whether there are no progress bars, also on a terminal: `true` or `false`.
        KBUILD_NO_PROGRESS = "KBUILD_NO_PROGRESS";
        /// What is printed on stdout: `human` or `json`.
        KBUILD_FORMAT = "KBUILD_FORMAT";
        /// The board of `build`, `shell`, `run` and `doctor`.
        KBUILD_BOARD = "KBUILD_BOARD";
        /// Whether a build ends when a wall of its seal is missing: `true` or `false`. Without it, that is a warning.
        KBUILD_REQUIRE_SEAL = "KBUILD_REQUIRE_SEAL";
        /// Whether builds use no shared state: `true` or `false`.
        KBUILD_NO_CACHE = "KBUILD_NO_CACHE";
        /// The password of the secret key that `kbuild export --sign` names. Without it kbuild asks at the terminal.
        KBUILD_SIGN_PASSWORD = "KBUILD_SIGN_PASSWORD";
        /// How often a failed request is tried again: a number. Without it: 3.
        KBUILD_RETRIES = "KBUILD_RETRIES";
        /// After how many seconds of silence a transfer counts as stalled. Without it: 60, and 300 for git.
        KBUILD_TIMEOUT = "KBUILD_TIMEOUT";
        /// The pause before the first retry, in milliseconds; each later pause is longer. Without it: 1000.
        KBUILD_RETRY_BASE_MS = "KBUILD_RETRY_BASE_MS";
        /// How many bytes a download may have whose size nobody knows: a number. Without it: 68719476736 (64 GiB).
        KBUILD_MAX_DOWNLOAD = "KBUILD_MAX_DOWNLOAD";
        /// How many bytes stay free on the disk of the store: a number. Without it: 67108864 (64 MiB).
        KBUILD_MIN_FREE = "KBUILD_MIN_FREE";
        /// Which events are logged on stderr, for hunting a fault: `kbuild=debug`, or any filter of the crate
        /// `tracing-subscriber`. It replaces what `-v` chooses.
        KBUILD_LOG = "KBUILD_LOG";
    }

    "The network", "The same variables as for curl, git, docker and go. They hold for files and for git repositories." {
        /// The proxy for `https` URLs. `HTTPS_PROXY` is read too.
        HTTPS_PROXY = "https_proxy";
        /// The proxy for `http` URLs. `HTTP_PROXY` is not read for programs that a web server runs.
        HTTP_PROXY = "http_proxy";
        /// The proxy for all URLs without a proxy of their own; also `socks5://` and, if it looks names up, `socks5h://`.
        ALL_PROXY = "all_proxy";
        /// Hosts that are asked without a proxy, separated by commas.
        NO_PROXY = "no_proxy";
        /// A file of certificate authorities (PEM), in place of the system's.
        SSL_CERT_FILE = "SSL_CERT_FILE";
        /// A directory of certificate authorities, in place of the system's.
        SSL_CERT_DIR = "SSL_CERT_DIR";
        /// git's own variable for a file of authorities. Where it is set, `SSL_CERT_FILE` does not hold for git.
        GIT_SSL_CAINFO = "GIT_SSL_CAINFO";
        /// git's own variable for a directory of authorities. Where it is set, `SSL_CERT_DIR` does not hold for git.
        GIT_SSL_CAPATH = "GIT_SSL_CAPATH";
        /// The file with names and passwords of hosts. Without it: `~/.netrc`.
        NETRC = "NETRC";
        /// The proxies of Go modules, a list as the go command reads it.
        GOPROXY = "GOPROXY";
        /// Where kas has its checkouts, a directory: `kbuild init --from` looks there too. Without it: the current directory.
        KAS_WORK_DIR = "KAS_WORK_DIR";
        /// Where docker keeps the logins of registries, a directory. Without it: `~/.docker`.
        DOCKER_CONFIG = "DOCKER_CONFIG";
        /// Where podman keeps the logins of registries, a file. Where it is set, no other place is looked at.
        REGISTRY_AUTH_FILE = "REGISTRY_AUTH_FILE";
    }

    "Stores elsewhere", "The names of the services' own tools. [Stores elsewhere](remotes.md) says in which order places are \
    looked at." {
        /// Keys, region, endpoint and roles of Amazon S3 and of what speaks its protocol.
        AWS = "AWS_*";
        /// The key's name. Where it is set, no key of a profile is taken.
        AWS_ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID";
        /// The profile of AWS's files. Without it: `AWS_DEFAULT_PROFILE`, then `default`.
        AWS_PROFILE = "AWS_PROFILE";
        /// The older name of `AWS_PROFILE`.
        AWS_DEFAULT_PROFILE = "AWS_DEFAULT_PROFILE";
        /// AWS's configuration file. Without it: `~/.aws/config`.
        AWS_CONFIG_FILE = "AWS_CONFIG_FILE";
        /// AWS's file of keys. Without it: `~/.aws/credentials`.
        AWS_SHARED_CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE";
        /// `true`: the machine is not asked for the keys of its role.
        AWS_EC2_METADATA_DISABLED = "AWS_EC2_METADATA_DISABLED";
        /// Service accounts and endpoint of Google Cloud Storage.
        GOOGLE = "GOOGLE_*";
        /// The file of a service account of Google's.
        SERVICE_ACCOUNT = "SERVICE_ACCOUNT";
        /// `true`: the machine is not asked for the credentials of its role at Google's.
        NO_GCE_CHECK = "NO_GCE_CHECK";
        /// Keys, tenant and endpoint of Azure Blob Storage.
        AZURE = "AZURE_*";
        /// The storage account at Azure; required.
        AZURE_STORAGE_ACCOUNT_NAME = "AZURE_STORAGE_ACCOUNT_NAME";
    }

    "The system's", "" {
        /// Where programs are looked for: git, QEMU, and what BitBake calls.
        PATH = "PATH";
        /// The home directory, for `~/.netrc`, `~/.config`, `~/.aws` and `~/.docker`. A build does not see it.
        HOME = "HOME";
        /// The directory of configurations. Without it: `~/.config`.
        XDG_CONFIG_HOME = "XDG_CONFIG_HOME";
        /// A directory of the session, where podman keeps logins.
        XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR";
        /// The directory of temporary files that have no better place.
        TMPDIR = "TMPDIR";
        /// The shell that asks what it may offer for the words of its line: set by what `kbuild completions` prints.
        COMPLETE = "COMPLETE";
        /// The shell that `kbuild shell` starts. Without it: `/bin/bash`.
        SHELL = "SHELL";
        /// Set to anything: no colour, unless `--color always` asks for it.
        NO_COLOR = "NO_COLOR";
    }

    "Work on kbuild itself", "Read by the tests alone." {
        /// Set to anything: reference pages and the schema are written anew, in place of being compared.
        KBUILD_UPDATE_DOCS = "KBUILD_UPDATE_DOCS";
        /// The BitBake that `tests/support/bitbake/make-engine` makes, a directory.
        KBUILD_TEST_ENGINE = "KBUILD_TEST_ENGINE";
        /// The servers that `tests/support/servers/make-servers` makes, a directory.
        KBUILD_TEST_SERVERS = "KBUILD_TEST_SERVERS";
        /// A site configuration whose mirror rules lead to clones of the real layers.
        KBUILD_TEST_CLONES = "KBUILD_TEST_CLONES";
        /// Where oelint-adv is installed, a directory.
        KBUILD_TEST_OELINT = "KBUILD_TEST_OELINT";
        /// How often the tests of `tests/adversity` do what they do by chance. Without it: a few times, for some seconds.
        KBUILD_ADVERSITY_ROUNDS = "KBUILD_ADVERSITY_ROUNDS";
        /// What the chance of `tests/adversity` follows from, a number. Without it: 1.
        KBUILD_ADVERSITY_SEED = "KBUILD_ADVERSITY_SEED";
        /// Set to anything: a test whose BitBake or servers are missing fails, in place of being skipped.
        CI = "CI";
    }
}

/// The variable of this name, or the one that stands for all that begin so.
pub fn find(name: &str) -> Option<&'static Variable> {
    let stands_for = |variable: &&Variable| match variable.name.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => variable.name == name,
    };
    GROUPS.iter().flat_map(|group| group.variables).find(stands_for)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_variable_stands_here_once_and_says_what_it_means() {
        let mut names = BTreeSet::new();
        for variable in GROUPS.iter().flat_map(|group| group.variables) {
            assert!(names.insert(variable.name), "{} stands here twice", variable.name);
            assert!(variable.doc.trim().ends_with('.'), "{} says nothing", variable.name);
        }
    }

    #[test]
    fn a_name_that_ends_in_a_star_stands_for_many() {
        assert_eq!(find("AWS_REGION").map(|found| found.name), Some("AWS_*"));
        assert_eq!(find("KBUILD_STORE").map(|found| found.name), Some(KBUILD_STORE));
        assert!(find("KBUILD_STORES").is_none());
    }
}
