//! A project directory, and the built `kbuild` run in it as a user would: no HOME, nobody's gitconfig, no variables of the
//! machine but PATH.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::engine::profile_directory;

/// A project directory of its own, removed at the end.
pub struct TestProject {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

/// What one run of a command gave.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Default for TestProject {
    fn default() -> Self {
        TestProject::new()
    }
}

impl TestProject {
    /// An empty project. In `/tmp` whatever TMPDIR says: messages are wrapped, so snapshots depend on how long paths are.
    pub fn new() -> Self {
        TestProject::new_in(Path::new("/tmp"))
    }

    /// An empty project somewhere else.
    pub fn new_in(place: &Path) -> Self {
        let directory =
            tempfile::Builder::new().prefix("kbuild-e2e-").tempdir_in(place).expect("a temporary directory");
        std::fs::create_dir(directory.path().join("home")).expect("a home directory");
        std::fs::create_dir(directory.path().join("project")).expect("a project directory");
        TestProject { directory, variables: Vec::new() }
    }

    /// A project with this manifest.
    pub fn with_manifest(text: &str) -> Self {
        let bench = TestProject::new();
        bench.write("kata.toml", text);
        bench
    }

    /// A path in the project.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("project").join(relative)
    }

    /// A path beside the project, for upstreams and the like.
    pub fn beside(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// Writes a file of the project, with its directories.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, text).expect("a written file");
    }

    /// Reads a file of the project.
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    /// The `result.json` of a board's last build.
    pub fn result(&self, board: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(&format!("build/{board}/result.json"))).expect("JSON")
    }

    /// Sets a variable for all further runs.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// `kbuild` in the project, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(profile_directory().join("kbuild"));
        command.args(args).current_dir(self.path("")).env_clear();
        hermetic(&mut command, &self.beside("home"));
        // Waiting between tries is for real servers.
        command.env("KBUILD_RETRY_BASE_MS", "10");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `kbuild` in the project.
    pub fn kbuild(&self, args: &[&str]) -> Run {
        Run::from(self.command(args).output().expect("kbuild starts"))
    }

    /// Runs `kbuild` and insists that it ends well.
    pub fn kbuild_ok(&self, args: &[&str]) -> Run {
        let run = self.kbuild(args);
        assert_eq!(run.code, Some(0), "kbuild {args:?}\n{run}");
        run
    }
}

/// The few variables a process gets: PATH, a HOME of its own, no configuration of the machine's git.
pub fn hermetic(command: &mut Command, home: &Path) {
    command
        .env("PATH", std::env::var_os("PATH").expect("PATH"))
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join(".config"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("NO_COLOR", "1");
}

/// Puts a shell script first on a PATH, in the directory `bin` beside the project, and gives that PATH.
///
/// A process of its own writes it: a program that this one still had open for writing, in a process that another test is
/// just forking, could not be started ("text file busy").
pub fn program_on_path(bench: &TestProject, name: &str, script: &str) -> String {
    let directory = bench.beside("bin");
    std::fs::create_dir_all(&directory).expect("a directory");
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(directory.join(name)).arg(script).status();
    assert!(written.expect("sh starts").success(), "{name} could not be written");
    format!("{}:{}", directory.display(), std::env::var("PATH").expect("PATH"))
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// The JSON document on stdout.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("killed by a signal".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Compares the whole output and exit code of a run with a snapshot.
#[macro_export]
macro_rules! assert_run {
    ($project:expr, $run:expr, $name:literal) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!($name, $crate::project::masked(&$project, &$run));
        });
    };
}

/// A run's output with what differs from run to run, and from machine to machine, masked.
pub fn masked(bench: &TestProject, run: &Run) -> String {
    let path = |path: PathBuf| path.display().to_string().trim_end_matches('/').to_owned();
    let text = run.to_string().replace(&path(bench.path("")), "[PROJECT]").replace(&path(bench.beside("")), "[BESIDE]");
    let text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    regex::Regex::new(r"127\.0\.0\.1:\d+").expect("a regex").replace_all(&text, "127.0.0.1:[PORT]").into_owned()
}
