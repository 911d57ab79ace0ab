//! BitBake itself: its location and version, how it is called, and its environment.
//!
//! # The environment
//!
//! BitBake gets only the variables of this table. Only the rows marked *user* take their value from the caller's
//! environment:
//!
//! | variable | value | why |
//! | --- | --- | --- |
//! | `PATH` | the engine's `bin`, each layer's `scripts`, then *user*'s | host tools are found through it, and recorded in the result |
//! | `HOME` | `<TOPDIR>/home` | no dot file of a person can change a build; its `.gitconfig` trusts the view's repositories |
//! | `LANG`, `LC_ALL` | `en_US.UTF-8` | BitBake refuses to start without it (`bb.utils.check_system_locale`) and gives it to tasks |
//! | `TZ` | `UTC` | |
//! | `SOURCE_DATE_EPOCH` | [`SOURCE_DATE_EPOCH`] | for commands of `kbuild shell`; oe-core computes its own for each recipe |
//! | `USER`, `LOGNAME` | `kbuild` | some build systems write it into what they make |
//! | `SHELL` | `/bin/bash` | devshell and tasks that ask for it |
//! | `TERM` | *user* | BitBake's own terminal output |
//! | `BBPATH`, `BUILDDIR` | TOPDIR | `bblayers.conf` is found through the first from any directory; devtool and bitbake-layers use the second |
//! | `BB_NUMBER_THREADS`, `BB_NUMBER_PARSE_THREADS`, `PARALLEL_MAKE`, `BB_PRESSURE_MAX_CPU`, `_IO`, `_MEMORY` | *user* | how hard this host is driven; no output may depend on them |
//! | those of the manifest's `env` | the manifest, or *user* where it says so | what layers ask of the environment |
//! | `GIT_CEILING_DIRECTORIES` | TOPDIR and `build/layers` | git in a checkout or work directory must not find the project's own repository: oe-core would record its commit as the layer's |
//! | `BB_ENV_PASSTHROUGH_ADDITIONS` | the names of the three rows above that are set | BitBake drops everything else |
//! | `PYTHONDONTWRITEBYTECODE` | `1` | layer checkouts stay as they were checked out |

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::discovery;
use crate::disk;
use crate::error::{Error, Kind, Result};
use crate::files::MANIFEST;

/// Seconds since 1970, for programs that run outside of a recipe: 1980-01-01T00:00:00Z, the earliest time that a ZIP
/// file can hold.
pub const SOURCE_DATE_EPOCH: u64 = 315_532_800;

/// The oldest BitBake that kbuild takes: 2.0 (Yocto 4.0, kirkstone), the oldest with which closures were compared with what
/// BitBake itself says. What of a build was tried with which release is in docs/reference/bitbake.md.
pub const OLDEST: (u32, u32) = (2, 0);

/// The locale BitBake asks for.
pub const LOCALE: &str = "en_US.UTF-8";

/// Variables of the user that say how hard the host is driven.
const HOST_LOAD: [&str; 6] = [
    "BB_NUMBER_THREADS",
    "BB_NUMBER_PARSE_THREADS",
    "PARALLEL_MAKE",
    "BB_PRESSURE_MAX_CPU",
    "BB_PRESSURE_MAX_IO",
    "BB_PRESSURE_MAX_MEMORY",
];

/// Where a repository has BitBake that is not BitBake's own.
const INSIDE: &str = "bitbake";

/// Directories above which git does not look for a repository.
const CEILING: &str = "GIT_CEILING_DIRECTORIES";

/// The text of `home/.gitconfig`. BitBake deletes repositories that git calls dubious
/// (`bb.fetch2.git.Git.download`), so the view's have to be trusted whoever owns them.
pub const GITCONFIG: &str = "# Written by kbuild: all that git knows of its user inside a build.\n\
    [safe]\n\tdirectory = *\n\
    [user]\n\tname = kbuild\n\temail = kbuild@localhost\n\
    [init]\n\tdefaultBranch = master\n\
    [gc]\n\tauto = 0\n";

static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^__version__\s*=\s*["']([0-9][0-9A-Za-z.+-]*)["']"#).expect("a constant expression compiles")
});

/// A BitBake checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    directory: PathBuf,
    version: String,
}

/// A job for BitBake.
#[derive(Debug, Clone, Copy, Default)]
pub struct Job<'a> {
    /// What to build.
    pub targets: &'a [String],
    /// Only this task of the targets (`-c`).
    pub task: Option<&'a str>,
    /// How much it prints; its console log under TMPDIR always has everything.
    pub words: Verbosity,
    /// Whether what does not need a failed task is still built (`-k`).
    pub keep_going: bool,
}

/// How much BitBake says (`-q` as `bb.ui.uihelper` and knotty count it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// BitBake's default: a live display on a terminal, a line for each task elsewhere.
    #[default]
    All,
    /// No line for each task, for logs.
    Few,
    /// Warnings and errors.
    Complaints,
}

impl Engine {
    /// Looks at the checkout of the engine's layer: BitBake's own repository, or one that has it in `bitbake`, as poky does.
    /// Nothing in it is run.
    ///
    /// # Errors
    /// Kind `Input` where there is no `bin/bitbake`, no version, or one older than [`OLDEST`].
    pub fn find(layer: &Path) -> Result<Engine> {
        let places = [layer.to_owned(), layer.join(INSIDE)];
        let Some(directory) = places.into_iter().find(|place| place.join("bin/bitbake").is_file()) else {
            let message = format!("there is no bin/bitbake in {}, nor in {INSIDE} there", layer.display());
            return Err(Error::input(message)
                .help(format!("[project] engine in {MANIFEST} must name the layer that carries BitBake")));
        };
        let file = directory.join("lib/bb/__init__.py");
        let text = fs::read_to_string(&file).map_err(|error| Error::io("read", &file, error))?;
        let version = VERSION
            .captures(&text)
            .map(|found| found[1].to_owned())
            .ok_or_else(|| Error::input(format!("{} names no version of BitBake", file.display())))?;
        if numbers(&version) < OLDEST {
            let (major, minor) = OLDEST;
            return Err(Error::input(format!(
                "BitBake {version} is older than {major}.{minor}, the oldest that kbuild supports"
            ))
            .help(format!("take a newer branch of the engine's layer in {MANIFEST}")));
        }
        Ok(Engine { directory, version })
    }

    /// `lib/bb/__init__.py`'s `__version__`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// BitBake's own directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.directory.join("bin/bitbake")
    }

    /// BitBake's arguments for a job.
    ///
    /// # Errors
    /// No target, or a name that BitBake would take for an option: kind `Usage`.
    pub fn arguments(job: &Job<'_>) -> Result<Vec<String>> {
        let Job { targets, task, words, keep_going } = *job;
        check_names(targets.iter().map(String::as_str).chain(task))?;
        let quiet = match words {
            Verbosity::All => None,
            Verbosity::Few => Some("-q".to_owned()),
            Verbosity::Complaints => Some("-qq".to_owned()),
        };
        let task = task.into_iter().flat_map(|task| ["-c".to_owned(), task.to_owned()]);
        let keep_going = keep_going.then(|| "-k".to_owned());
        Ok(quiet.into_iter().chain(keep_going).chain(task).chain(targets.iter().cloned()).collect())
    }

    /// BitBake's arguments for taking what shared state has of the targets, and running no task.
    ///
    /// # Errors
    /// As [`Engine::arguments`].
    pub fn cached_arguments(targets: &[String]) -> Result<Vec<String>> {
        check_names(targets.iter().map(String::as_str))?;
        Ok(["-q".to_owned(), "--setscene-only".to_owned()].into_iter().chain(targets.iter().cloned()).collect())
    }

    /// BitBake's arguments for asking every recipe in the targets' task graph what it fetches: a bar while it parses, no
    /// line for each task.
    ///
    /// # Errors
    /// As [`Engine::arguments`].
    pub fn closure_arguments(targets: &[String], words: Verbosity) -> Result<Vec<String>> {
        check_names(targets.iter().map(String::as_str))?;
        let quiet = if words == Verbosity::Complaints { "-qq" } else { "-q" };
        let own = [quiet.to_owned(), format!("--runall={}", discovery::TASK)];
        Ok(own.into_iter().chain(targets.iter().cloned()).collect())
    }

    /// BitBake's arguments for fetching and unpacking everything in the targets' task graph, going on after failures
    /// ([`discovery::UNPACK`]).
    ///
    /// # Errors
    /// As [`Engine::arguments`].
    pub fn unpack_arguments(targets: &[String], words: Verbosity) -> Result<Vec<String>> {
        check_names(targets.iter().map(String::as_str))?;
        let quiet = if words == Verbosity::Complaints { "-qq" } else { "-q" };
        let own = [quiet.to_owned(), "-k".to_owned(), format!("--runall={}", discovery::UNPACK)];
        Ok(own.into_iter().chain(targets.iter().cloned()).collect())
    }

    /// BitBake's arguments for asking single recipes what they fetch.
    ///
    /// # Errors
    /// As [`Engine::arguments`].
    pub fn recipe_arguments(recipes: &[String], words: Verbosity) -> Result<Vec<String>> {
        check_names(recipes.iter().map(String::as_str))?;
        let quiet = if words == Verbosity::Complaints { "-qq" } else { "-q" };
        let own = [quiet.to_owned(), "-c".to_owned(), discovery::TASK.to_owned()];
        Ok(own.into_iter().chain(recipes.iter().cloned()).collect())
    }

    /// BitBake's arguments for parsing all recipes, and nothing else.
    pub fn parse_arguments(words: Verbosity) -> Vec<String> {
        let quiet = if words == Verbosity::Complaints { "-qq" } else { "-q" };
        vec![quiet.to_owned(), "--parse-only".to_owned()]
    }

    /// BitBake's arguments for writing the targets' task graph into the working directory ([`super::graph::FILE_NAME`]).
    ///
    /// # Errors
    /// As [`Engine::arguments`].
    pub fn graph_arguments(targets: &[String]) -> Result<Vec<String>> {
        check_names(targets.iter().map(String::as_str))?;
        Ok(["-qq".to_owned(), "-g".to_owned()].into_iter().chain(targets.iter().cloned()).collect())
    }

    /// The whole environment of a build: see the table above. `user` gives the caller's variables; `layers` are the top
    /// directories of the board's layers, `own` the variables of the manifest.
    ///
    /// # Errors
    /// A directory with a colon in its name, which PATH cannot hold.
    pub fn environment<'a>(
        &self,
        topdir: &Path,
        layers: impl IntoIterator<Item = &'a Path>,
        own: BTreeMap<String, OsString>,
        user: impl Fn(&str) -> Option<OsString>,
    ) -> Result<BTreeMap<OsString, OsString>> {
        let scripts = layers.into_iter().map(|layer| layer.join("scripts")).filter(|scripts| scripts.is_dir());
        let programs = std::iter::once(self.directory.join("bin")).chain(scripts);
        let path = user("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let path =
            std::env::join_paths(programs.chain(std::env::split_paths(&path).filter(|entry| entry.is_absolute())))
                .map_err(|error| Error::input("PATH cannot hold the engine's directory").because(error))?;
        let fixed: [(&str, &OsStr); 9] = [
            ("LANG", LOCALE.as_ref()),
            ("LC_ALL", LOCALE.as_ref()),
            ("TZ", "UTC".as_ref()),
            ("USER", "kbuild".as_ref()),
            ("LOGNAME", "kbuild".as_ref()),
            ("SHELL", "/bin/bash".as_ref()),
            ("BBPATH", topdir.as_os_str()),
            ("BUILDDIR", topdir.as_os_str()),
            ("PYTHONDONTWRITEBYTECODE", "1".as_ref()),
        ];
        let mut environment: BTreeMap<OsString, OsString> =
            fixed.into_iter().map(|(name, value)| (name.into(), value.to_owned())).collect();
        environment.insert("PATH".into(), path);
        environment.insert("HOME".into(), topdir.join("home").into());
        environment.insert("SOURCE_DATE_EPOCH".into(), SOURCE_DATE_EPOCH.to_string().into());
        environment.insert("TERM".into(), user("TERM").unwrap_or_else(|| "dumb".into()));
        let load: Vec<(&str, OsString)> = HOST_LOAD.iter().filter_map(|name| Some((*name, user(name)?))).collect();
        let names = std::iter::once(CEILING).chain(load.iter().map(|(name, _)| *name));
        let names = names.chain(own.keys().map(String::as_str));
        let names: Vec<&str> = names.collect();
        let ceiling = [topdir.to_owned(), topdir.with_file_name("layers")];
        let ceiling = std::env::join_paths(ceiling)
            .map_err(|error| Error::input("BitBake cannot work in this directory").because(error))?;
        environment.insert(CEILING.into(), ceiling);
        environment.insert("BB_ENV_PASSTHROUGH_ADDITIONS".into(), names.join(" ").into());
        environment.extend(load.into_iter().map(|(name, value)| (name.into(), value)));
        environment.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
        Ok(environment)
    }
}

/// The meaning of BitBake's exit status; `status` is as a shell gives it: 128 plus the signal's number for a signal.
/// `log` is BitBake's console log, where the distribution keeps one.
///
/// # Errors
/// Kind `Interrupted` if the user stopped it, else kind `Engine` for everything but 0, with the log's place.
pub fn outcome(status: i32, interrupted: bool, targets: &[String], log: Option<&Path>) -> Result<()> {
    const SIGINT: i32 = 130;
    const SIGTERM: i32 = 143;
    let what = targets.join(" ");
    match status {
        0 => Ok(()),
        SIGINT | SIGTERM => Err(Error::new(Kind::Interrupted, format!("the build of {what} was interrupted"))),
        _ if interrupted => Err(Error::new(Kind::Interrupted, format!("the build of {what} was interrupted"))),
        signal if signal > 128 => Err(Error::new(
            Kind::Engine,
            format!("BitBake was killed by signal {} while it built {what}", signal - 128),
        )),
        status => Err(Error::new(Kind::Engine, format!("BitBake could not build {what} (exit status {status})")).help(
            match log {
                Some(log) => format!("its messages are above, and in {}", disk::shown(log)),
                None => "its messages are above; `-v` shows all that it says".to_owned(),
            },
        )),
    }
}

fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut names = names.into_iter().peekable();
    if names.peek().is_none() {
        return Err(Error::new(Kind::Usage, "there is nothing to build")
            .help(format!("name a target, or give the board `targets` in {MANIFEST}")));
    }
    for name in names {
        if name.is_empty() || name.starts_with('-') || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::new(Kind::Usage, format!("`{}` is no target or task of BitBake", name.escape_debug())));
        }
    }
    Ok(())
}

/// The meaning of BitBake's exit status when it was asked for a closure; see [`outcome`]. BitBake's own first errors
/// are the message: nothing was built, so there are no other logs.
///
/// # Errors
/// Kind `Interrupted` if the user stopped it, else kind `Engine` for everything but 0.
pub fn discovery_outcome(status: i32, interrupted: bool, board: &str, log: Option<&Path>) -> Result<()> {
    match outcome(status, interrupted, &[], log) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == Kind::Interrupted => {
            Err(Error::new(Kind::Interrupted, format!("finding the closure of `{board}` was interrupted")))
        }
        Err(_) => {
            let said = log.and_then(|log| fs::read_to_string(log).ok()).map(|text| first_errors(&text));
            let said = said.filter(|said| !said.is_empty()).map(|said| format!(":\n{said}")).unwrap_or_default();
            let message =
                format!("BitBake could not say what the board `{board}` fetches (exit status {status}){said}");
            Err(Error::new(Kind::Engine, message).help(match log {
                Some(log) => format!("all that BitBake said is in {}", disk::shown(log)),
                None => "BitBake's messages are above".to_owned(),
            }))
        }
    }
}

/// The first errors of a console log, each with the lines that belong to it, without the ones that only sum up.
pub fn first_errors(log: &str) -> String {
    const ERRORS: usize = 3;
    const LINES: usize = 6;
    const SUMS: [&str; 3] = ["Parsing halted due to errors", "Task (", "Command execution failed"];
    let mut errors: Vec<Vec<&str>> = Vec::new();
    let mut within = false;
    for line in log.lines() {
        let starts =
            ["ERROR: ", "WARNING: ", "NOTE: ", "DEBUG: ", "Summary: "].iter().any(|level| line.starts_with(level));
        if let Some(message) = line.strip_prefix("ERROR: ") {
            within = !SUMS.iter().any(|sum| message.starts_with(sum));
            if within {
                errors.push(vec![message]);
            }
        } else if starts {
            within = false;
        } else if let (true, Some(last)) = (within, errors.last_mut()) {
            // The position in BitBake's own code does not help the user.
            if !line.is_empty() && !line.starts_with("Traceback (") && !line.starts_with("  ") {
                last.push(line);
            }
        }
    }
    let errors = errors.iter().take(ERRORS).flat_map(|lines| lines.iter().take(LINES));
    errors.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(init: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("bin")).unwrap();
        fs::create_dir_all(directory.path().join("lib/bb")).unwrap();
        fs::write(directory.path().join("bin/bitbake"), "").unwrap();
        fs::write(directory.path().join("lib/bb/__init__.py"), init).unwrap();
        directory
    }

    #[test]
    fn the_version_is_read_not_run() {
        let directory = checkout("import os\n\n__version__ = \"2.18.0\"\n");
        assert_eq!(Engine::find(directory.path()).unwrap().version(), "2.18.0");
        for (init, message) in [("x = 1\n", "names no version"), ("__version__ = '1.52.0'\n", "older than 2.0")] {
            let error = Engine::find(checkout(init).path()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        let poky = tempfile::tempdir().unwrap();
        fs::rename(directory.path(), poky.path().join("bitbake")).unwrap();
        let inside = Engine::find(poky.path()).unwrap();
        assert_eq!(inside.program(), poky.path().join("bitbake/bin/bitbake"));
        let error = Engine::find(&poky.path().join("bitbake/lib")).unwrap_err();
        assert!(error.to_string().contains("no bin/bitbake"), "{error}");
    }

    #[test]
    fn targets_never_become_options() {
        let targets = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            Engine::arguments(&Job {
                targets: &targets(&["a", "mc:b:c"]),
                task: Some("unpack"),
                words: Verbosity::Few,
                keep_going: true
            })
            .unwrap(),
            ["-q", "-k", "-c", "unpack", "a", "mc:b:c"]
        );
        for bad in [&[] as &[&str], &["--server-only"], &[""], &["a b"]] {
            assert_eq!(
                Engine::arguments(&Job { targets: &targets(bad), ..Job::default() }).unwrap_err().kind(),
                Kind::Usage
            );
        }
        assert!(Engine::arguments(&Job { targets: &targets(&["a"]), task: Some("-f"), ..Job::default() }).is_err());
    }

    #[test]
    fn a_closure_is_asked_for_of_targets_alone() {
        let targets = ["image".to_owned()];
        let arguments = Engine::closure_arguments(&targets, Verbosity::All).unwrap();
        assert_eq!(arguments, ["-q", "--runall=kbuild_closure", "image"]);
        assert_eq!(Engine::graph_arguments(&targets).unwrap(), ["-qq", "-g", "image"]);
        for bad in [&[] as &[String], &["--runall=x".to_owned()]] {
            assert!(Engine::closure_arguments(bad, Verbosity::All).is_err() && Engine::graph_arguments(bad).is_err());
        }
    }

    #[test]
    fn the_first_errors_of_a_log_are_told_without_its_summary() {
        let log = "NOTE: Started\nERROR: ExpansionError during parsing /l/x.bb\nTraceback (most recent call last):\n  \
                   File \"b.py\"\nFetchError: unknown\n\nWARNING: w\nmore\n\
                   ERROR: Parsing halted due to errors, see error messages above\n";
        assert_eq!(first_errors(log), "  ExpansionError during parsing /l/x.bb\n  FetchError: unknown");
        assert_eq!(first_errors("NOTE: all is well\n"), "");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        fs::write(&file, log).unwrap();
        let error = discovery_outcome(1, false, "b", Some(&file)).unwrap_err();
        assert_eq!(error.kind(), Kind::Engine);
        assert!(error.to_string().contains("/l/x.bb"), "{error}");
        assert_eq!(discovery_outcome(1, true, "b", None).unwrap_err().kind(), Kind::Interrupted);
    }

    #[test]
    fn nothing_of_the_user_but_the_table_passes() {
        let directory = checkout("__version__ = '2.18.0'\n");
        let engine = Engine::find(directory.path()).unwrap();
        let layer = tempfile::tempdir().unwrap();
        fs::create_dir(layer.path().join("scripts")).unwrap();
        let user = |name: &str| match name {
            "PATH" => Some("/usr/bin::relative:/bin".into()),
            "PARALLEL_MAKE" => Some("-j 3".into()),
            "TERM" => None,
            // Whatever else is asked for is there, and must not come through.
            _ => (!name.starts_with("BB_")).then(|| "leaked".into()),
        };
        let own = BTreeMap::from([("GREETING".to_owned(), "good day".into())]);
        let layers = [layer.path(), Path::new("/none")];
        let environment = engine.environment(Path::new("/b/top"), layers, own, user).unwrap();
        let get = |name: &str| environment.get(OsStr::new(name)).map(|value| value.to_str().unwrap().to_owned());
        let expected = format!("{}/bin:{}/scripts:/usr/bin:/bin", directory.path().display(), layer.path().display());
        assert_eq!(get("PATH"), Some(expected));
        assert_eq!(get("HOME").as_deref(), Some("/b/top/home"));
        assert_eq!(get("TERM").as_deref(), Some("dumb"));
        assert_eq!(get("GREETING").as_deref(), Some("good day"));
        let passed = get("BB_ENV_PASSTHROUGH_ADDITIONS");
        assert_eq!(passed.as_deref(), Some("GIT_CEILING_DIRECTORIES PARALLEL_MAKE GREETING"));
        assert_eq!(get(CEILING).as_deref(), Some("/b/top:/b/layers"));
        assert!(!environment.values().any(|value| value == "leaked"));
    }

    #[test]
    fn an_exit_status_is_told_apart_from_an_interruption() {
        let targets = ["image".to_owned()];
        let failed = |status, interrupted| outcome(status, interrupted, &targets, Some(Path::new("/log"))).unwrap_err();
        outcome(0, true, &targets, None).unwrap();
        assert_eq!(failed(1, false).to_string(), "BitBake could not build image (exit status 1)");
        assert!(failed(1, false).hint().unwrap().contains("/log"));
        assert!(outcome(1, false, &targets, None).unwrap_err().hint().unwrap().contains("-v"));
        for error in [failed(1, true), failed(130, false), failed(143, false)] {
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (Kind::Interrupted, "the build of image was interrupted")
            );
        }
        assert_eq!(failed(137, false).to_string(), "BitBake was killed by signal 9 while it built image");
    }
}
