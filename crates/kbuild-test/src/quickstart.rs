//! The quickstart's project and upstreams, as a bench: real BitBake, real fetchers, servers that fail now and then.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::engine::profile_directory;
pub use crate::engine::{engine, repository};
use crate::project::{TestProject, hermetic};

/// The site configuration that leads to clones of the real layers, or `None`, loudly.
pub fn clones() -> Option<String> {
    let clones = std::env::var("KBUILD_TEST_CLONES").ok();
    if clones.is_none() {
        eprintln!("SKIPPED: KBUILD_TEST_CLONES names no site configuration that leads to clones of the real layers");
    }
    clones
}

/// The same, or `None` too, loudly, where BitBake would refuse to run over them.
pub fn clones_for_bitbake() -> Option<String> {
    let clones = clones()?;
    if rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: oe-core refuses to parse as root; run the tests as an ordinary user");
        return None;
    }
    Some(clones)
}

/// The upstreams' files and repositories, made once a process.
pub fn upstreams(engine: &Path) -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let directory = profile_directory().join("tmp").join(format!("upstreams-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.parent().expect("a parent")).expect("a directory");
        let status = python().arg("make").arg(&directory).arg("--engine").arg(engine).status();
        assert!(status.expect("python3 starts").success(), "upstreams.py make");
        directory
    })
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg(repository().join("examples/quickstart/upstreams.py"));
    command
}

/// A running server of upstreams; stopped when dropped.
pub struct Upstreams {
    child: Child,
    log: PathBuf,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Upstreams {
    /// Serves a directory; `mishaps` is the share of requests that go wrong, between 0 and 1.
    pub fn serve(directory: &Path, state: &Path, mishaps: f64) -> Self {
        std::fs::create_dir_all(state).expect("a directory for the server's state");
        let (port_file, log) = (state.join("port"), state.join("log"));
        let _ = std::fs::remove_file(&port_file);
        let child = python()
            .arg("serve")
            .arg(directory)
            .arg("--port-file")
            .arg(&port_file)
            .arg("--log")
            .arg(&log)
            .args(["--mishaps", &mishaps.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 starts");
        let port = wait_for(&port_file);
        Upstreams { child, log, url: format!("http://127.0.0.1:{port}") }
    }

    /// As [`Upstreams::serve`]; the project gets a site configuration that leads there.
    pub fn serve_to(bench: &mut TestProject, directory: &Path, mishaps: f64) -> Self {
        let upstreams = Upstreams::serve(directory, &bench.beside("upstreams"), mishaps);
        let config = bench.beside("site.toml");
        std::fs::write(&config, site_config(&upstreams.url)).expect("a site configuration");
        bench.set("KBUILD_CONFIG", config.display().to_string());
        upstreams
    }

    /// One line for each request so far.
    pub fn requests(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(port_file: &Path) -> String {
    let start = Instant::now();
    loop {
        match std::fs::read_to_string(port_file) {
            Ok(port) => return port.trim().to_owned(),
            Err(_) => assert!(start.elapsed() < Duration::from_secs(20), "the upstreams did not start"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The quickstart's project in a bench of its own, its upstreams running.
pub struct Quickstart {
    pub bench: TestProject,
    pub upstreams: Option<Upstreams>,
}

impl Quickstart {
    /// `None`, loudly, without the BitBake of the tests.
    pub fn start(mishaps: f64) -> Option<Self> {
        let engine = engine()?;
        let mut bench = TestProject::new();
        copy_project(&bench);
        let upstreams = Upstreams::serve_to(&mut bench, upstreams(&engine), mishaps);
        Some(Quickstart { bench, upstreams: Some(upstreams) })
    }

    /// Stops the upstreams for good.
    pub fn stop_upstreams(&mut self) {
        self.upstreams = None;
    }
}

/// The same project, for another machine: manifest, layers and lock, as a clone would have them.
pub fn clone_project(from: &TestProject) -> TestProject {
    let bench = TestProject::new();
    copy_project(&bench);
    bench.write("kata.lock", &from.read("kata.lock"));
    bench
}

/// The project as the repository has it: manifest and layers.
pub fn copy_project(bench: &TestProject) {
    let quickstart = repository().join("examples/quickstart");
    std::fs::copy(quickstart.join("kata.toml"), bench.path("kata.toml")).expect("the manifest");
    copy(&quickstart.join("layers"), &bench.path("layers"));
}

/// `cp -r`, links kept.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp starts");
    assert!(status.success(), "cp -r {} {}", from.display(), to.display());
}

fn site_config(url: &str) -> String {
    format!("[[mirrors.rule]]\nmatch = 'https://upstream\\.example/(.*)'\nto = [\"{url}/$1\"]\n")
}

/// git, hermetic, in a directory.
pub fn git(directory: &Path, args: &[&str]) -> String {
    git_with(directory, args, &[])
}

/// As [`git`], at a fixed time: the same commits have the same names in every run.
pub fn git_at_fixed_time(directory: &Path, args: &[&str]) -> String {
    let date = "1000000000 +0000";
    git_with(directory, args, &[("GIT_AUTHOR_DATE", date), ("GIT_COMMITTER_DATE", date)])
}

fn git_with(directory: &Path, args: &[&str], more: &[(&str, &str)]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(directory).env_clear();
    hermetic(&mut command, directory);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Tester").env(format!("GIT_{role}_EMAIL"), "tester@example.invalid");
    }
    let output = command.envs(more.iter().copied()).output().expect("git starts");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
