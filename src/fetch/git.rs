//! Git commits over the network. The system's `git` is the transport, so that credentials, proxies and `insteadOf` of
//! the user's configuration hold. Only the tree hash decides whether a commit is accepted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use regex::Regex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::WantedGit;
use crate::bounds;
use crate::env_vars::KBUILD_MAX_DOWNLOAD;
use crate::error::{Error, Kind, Result};
use crate::git::{
    bound_memory, broken_object, could_not_start, ends_with_kbuild, is_full_disk, local_git, network_git, run,
};
use crate::net::retry::{Class, Failure, RetryPolicy};
use crate::net::transfer::at;
use crate::progress::Task;
use crate::source::name::{check_ref, percent_decode};
use crate::source::url::redact;
use crate::source::{CommitId, GitRef, SourceUrl};

/// Transports that git may use (`protocol.*.allow` of git-config(1)), whatever the user's configuration says of them. [`http_allowed`]
/// adds `http`. `file` is one of them because the user's `insteadOf` may lead to a folder. A server cannot lead there: git follows
/// redirects to HTTP only.
const PROTOCOLS: [&str; 7] = [
    "protocol.allow=never",
    "protocol.ext.allow=never",
    "protocol.fd.allow=never",
    "protocol.file.allow=always",
    "protocol.git.allow=always",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
];

/// Whether git may speak plain HTTP. From https only the user may lead there, by `insteadOf`: `user` means that no redirect and
/// no alternate of a server does.
fn http_allowed(url: &SourceUrl) -> &'static str {
    if url.scheme() == "https" { "protocol.http.allow=user" } else { "protocol.http.allow=always" }
}

/// Leaves out what is behind a commit (git-fetch(1)).
pub(super) const SHALLOW: &str = "--depth=1";

/// How many settings the environment has for git (git-config(1), "ENVIRONMENT").
const CONFIG_COUNT: &str = "GIT_CONFIG_COUNT";

/// Variables by which a login goes to a helper of kbuild's own.
const LOGIN: [&str; 2] = ["LOGIN_FOR_GIT_USER", "LOGIN_FOR_GIT_PASSWORD"];

/// How many lines of git's output are kept for a message.
const KEPT_LINES: usize = 12;

/// Bytes of a line that are kept.
const LONGEST_LINE: usize = 1 << 20;

/// Bytes that are kept of an output that is no list: a setting, a login.
const SHORT_OUTPUT: usize = 1 << 20;

/// How often the size of what git fetches is looked at.
const WATCHED_EVERY: Duration = Duration::from_millis(500);

/// Runs git for one fetcher.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    /// How long git may be silent, and how failures are retried.
    pub policy: RetryPolicy,
    /// Only folders may be asked.
    pub offline: bool,
    /// Set over the user's environment; tests keep the user's configuration out with it.
    pub environment: Vec<(&'static str, OsString)>,
    /// Whether the user's configuration rewrites URLs to such with logins; once it was asked.
    pub logins: Arc<tokio::sync::OnceCell<bool>>,
}

/// A ref of a server and the object it pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object id.
    pub id: CommitId,
    /// The full name; `^{}` behind a tag's name marks what the tag points at.
    pub name: String,
}

/// A login that a credential helper gave. Neither `Debug` nor `Display`: it holds a password.
pub(crate) struct GitLogin {
    /// What the helpers were asked, as they are told again whether it was right.
    pub(super) asked: String,
    pub(super) user: String,
    pub(super) password: String,
}

/// The end of a fetch that did not fail permanently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GitOutcome {
    /// Something came.
    Came,
    /// The server serves only what it advertises, or has no such ref.
    Refused,
    /// The server looked for the commit and does not have it.
    Absent,
    /// A plain file server, which cannot cut the history (`--depth`).
    NoDepth,
}

/// The output of git before it failed.
struct GitOutput {
    text: String,
    stalled: bool,
}

impl Git {
    /// Fetches a commit into a new bare repository below `scratch`. When all history is not wanted, with as little of
    /// it as the server can give, and cut at the commit.
    ///
    /// The commit's id is asked for first. A server that serves only what it advertises is asked for the refs that
    /// should lead to it, at depth 1, then whole, then for all branches and tags.
    ///
    /// # Errors
    /// No answer, or an answer without the commit.
    ///
    /// Whoever asks by the id of an annotated tag's object gets the commit that it leads to: `git rev-parse v1` prints
    /// such ids, and BitBake takes them (`Git._contains_ref`).
    pub(crate) async fn obtain(
        &self,
        url: &SourceUrl,
        wanted: &WantedGit,
        scratch: &Path,
        task: &dyn Task,
    ) -> Result<(PathBuf, CommitId), Failure> {
        for name in &wanted.refs {
            check_ref(name)?;
        }
        let came = |repository: PathBuf| match peeled(&repository, &wanted.commit) {
            Some(commit) => Ok((repository, commit)),
            None => Err(absent(url, &wanted.commit)),
        };
        let mut by_id = true;
        if !wanted.history {
            let repository = new_repository(scratch, "shallow.git")?;
            let found = self.narrow(url, wanted, &repository, &[SHALLOW], by_id, task).await?;
            match found {
                GitOutcome::Came => return came(repository),
                GitOutcome::Absent => return Err(absent(url, &wanted.commit)),
                GitOutcome::Refused => by_id = false,
                GitOutcome::NoDepth => {}
            }
        }
        // A new one: a repository that began shallow would stay so.
        let repository = new_repository(scratch, "full.git")?;
        match self.narrow(url, wanted, &repository, &[], by_id, task).await? {
            GitOutcome::Came => {}
            GitOutcome::Absent => return Err(absent(url, &wanted.commit)),
            GitOutcome::Refused | GitOutcome::NoDepth => {
                let all = ["+refs/heads/*:refs/kbuild/heads/*", "+refs/tags/*:refs/kbuild/tags/*"];
                self.fetch(url, &repository, &[], &all, task).await?;
            }
        }
        let (repository, commit) = came(repository)?;
        if !wanted.history {
            // As --depth=1 would have, which names a commit without parents too.
            write_shallow(&repository, std::slice::from_ref(&commit))?;
        }
        Ok((repository, commit))
    }

    /// The commit by its id, then each ref that should lead to it.
    async fn narrow(
        &self,
        url: &SourceUrl,
        wanted: &WantedGit,
        repository: &Path,
        options: &[&str],
        by_id: bool,
        task: &dyn Task,
    ) -> Result<GitOutcome, Failure> {
        let mut specs: Vec<String> =
            wanted.refs.iter().enumerate().map(|(n, name)| format!("+{name}:refs/kbuild/ref{n}")).collect();
        if by_id {
            specs.insert(0, format!("{}:refs/kbuild/wanted", wanted.commit));
        }
        let mut last = GitOutcome::Refused;
        for spec in &specs {
            match self.fetch(url, repository, options, &[spec], task).await? {
                GitOutcome::Came if peeled(repository, &wanted.commit).is_some() => return Ok(GitOutcome::Came),
                GitOutcome::NoDepth => return Ok(GitOutcome::NoDepth),
                GitOutcome::Absent => last = GitOutcome::Absent,
                GitOutcome::Came | GitOutcome::Refused => {}
            }
        }
        Ok(last)
    }

    /// `git fetch` with these options.
    async fn fetch(
        &self,
        url: &SourceUrl,
        repository: &Path,
        options: &[&str],
        specs: &[&str],
        task: &dyn Task,
    ) -> Result<GitOutcome, Failure> {
        let mut command = self.command_for(url);
        command.arg("--git-dir").arg(repository);
        command.args([
            "fetch",
            "--progress",
            "--no-tags",
            "--no-prune",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
        ]);
        command.args(options);
        let place = self.without_login(url, &mut command).await?;
        command.args(["--end-of-options", &place]).args(specs);
        let mut nothing = |_: &str| {};
        let ended = tokio::select! {
            ended = self.run_with(command, b"", Some(task), &mut nothing) => ended?,
            full = watch(url, repository) => return Err(full),
        };
        match ended {
            Ok(()) => Ok(GitOutcome::Came),
            Err(said) => refusal(&said.text).ok_or_else(|| failure(url, &said)),
        }
    }

    /// Fetches into a repository, as `git fetch` with these options does; without options, whole histories.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(crate) async fn fetch_into(
        &self,
        url: &SourceUrl,
        repository: &Path,
        options: &[&str],
        specs: &[&str],
        task: &dyn Task,
    ) -> Result<(), Failure> {
        let outcome = self.fetch(url, repository, options, specs, task).await?;
        if outcome == GitOutcome::Came { Ok(()) } else { Err(not_given(url, specs)) }
    }

    /// The object of a tag; `None` of a tag that is the commit itself.
    ///
    /// # Errors
    /// No answer, no such tag, or an object that is too long.
    pub(crate) async fn tag_object(
        &self,
        url: &SourceUrl,
        tag: &str,
        scratch: &Path,
        task: &dyn Task,
    ) -> Result<Option<String>, Failure> {
        const HERE: &str = "refs/kbuild/tag";
        let spec = format!("+refs/tags/{tag}:{HERE}");
        let mut repository = new_repository(scratch, "shallow-tag.git")?;
        let mut found = self.fetch(url, &repository, &[SHALLOW], &[&spec], task).await?;
        if found == GitOutcome::NoDepth {
            repository = new_repository(scratch, "tag.git")?;
            found = self.fetch(url, &repository, &[], &[&spec], task).await?;
        }
        if found != GitOutcome::Came {
            return Err(Failure::permanent(at(url, format!("the server does not give the tag `{tag}`"))));
        }
        Ok(tag_text(&repository, HERE).map_err(|error| error.wrap(format!("the tag `{tag}` of {url}")))?)
    }

    /// The refs of a server; `patterns` as `git ls-remote` takes them. Without patterns: all branches and tags. Of many, the
    /// first are given (see [`bounds::REFS_KEPT`]).
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn list(&self, url: &SourceUrl, patterns: &[String]) -> Result<Vec<Listed>, Failure> {
        let mut command = self.command_for(url);
        command.args(["ls-remote", "--quiet"]);
        if patterns.is_empty() {
            command.args(["--heads", "--tags"]);
        }
        Ok(self.listing(command, url, patterns).await?.0)
    }

    /// As [`Git::list`]; also the URL that the server redirected to.
    ///
    /// # Errors
    /// No answer.
    pub(crate) async fn list_with_redirect(
        &self,
        url: &SourceUrl,
        patterns: &[String],
    ) -> Result<(Vec<Listed>, Option<String>), Failure> {
        let mut command = self.command_for(url);
        // Not quiet: git says where it was redirected to only then (remote-curl.c, discover_refs).
        command.arg("ls-remote");
        let (found, said) = self.listing(command, url, patterns).await?;
        let to = said.iter().find_map(|line| line.strip_prefix("warning: redirecting to "));
        Ok((found, to.map(|to| to.trim_end_matches('/').to_owned())))
    }

    /// Runs a `git ls-remote` that has its options: the refs, and what git said on its standard error.
    async fn listing(
        &self,
        mut command: Command,
        url: &SourceUrl,
        patterns: &[String],
    ) -> Result<(Vec<Listed>, Vec<String>), Failure> {
        let place = self.without_login(url, &mut command).await?;
        command.args(["--end-of-options", &place]).args(patterns);
        let mut found = Vec::new();
        let mut keep = |line: &str| {
            if (found.len() as u64) < bounds::REFS_KEPT {
                found.extend(listed(line));
            }
        };
        let said = self.run_whole(command, b"", None, &mut keep).await?.map_err(|said| failure(url, &said))?;
        Ok((found, said))
    }

    /// The commit of a server's `HEAD`, and the branch that it names where the server says so.
    ///
    /// # Errors
    /// No answer, or a repository without a commit.
    pub(crate) async fn head(&self, url: &SourceUrl) -> Result<(CommitId, Option<String>), Failure> {
        let mut command = self.command_for(url);
        let place = self.without_login(url, &mut command).await?;
        command.args(["ls-remote", "--quiet", "--symref", "--end-of-options", &place, "HEAD"]);
        let (mut branch, mut head) = (None, None);
        let mut look = |line: &str| {
            if let Some(name) = line.strip_prefix("ref: ").and_then(|line| line.strip_suffix("\tHEAD")) {
                branch.get_or_insert_with(|| name.to_owned());
            } else if let Some(found) = listed(line).filter(|listed| listed.name == "HEAD") {
                head.get_or_insert(found);
            }
        };
        self.run_with(command, b"", None, &mut look).await?.map_err(|said| failure(url, &said))?;
        let head = head.ok_or_else(|| Failure::permanent(at(url, "the repository has no default branch")))?;
        Ok((head.id, branch))
    }

    /// git about a server: it may speak plain HTTP as far as [`http_allowed`] says.
    fn command_for(&self, url: &SourceUrl) -> Command {
        let mut command = self.command();
        command.args(["-c", http_allowed(url)]);
        command
    }

    pub(super) fn command(&self) -> Command {
        self.ready(network_git())
    }

    /// Another program, run as git is.
    fn command_of(&self, program: &str) -> Command {
        let mut command = std::process::Command::new(program);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        as_child(command)
    }

    fn ready(&self, mut command: std::process::Command) -> Command {
        for setting in PROTOCOLS {
            command.args(["-c", setting]);
        }
        if self.offline {
            // It overrides all of these settings.
            command.env("GIT_ALLOW_PROTOCOL", "file");
        }
        command.envs(certificates().iter().map(|(name, value)| (name, value)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.args(["-c", &format!("http.lowSpeedLimit={}", self.policy.slow)]);
        command.args(["-c", &format!("http.lowSpeedTime={}", self.policy.slow_for.as_secs().max(1))]);
        as_child(command)
    }

    /// What the user's `url.<base>.insteadOf` makes of a URL. It may hold a login of the user's: it is not for messages.
    ///
    /// # Errors
    /// git cannot be started.
    pub(super) async fn rewritten(&self, url: &SourceUrl) -> Result<String, Failure> {
        let mut command = self.command();
        command.args(["ls-remote", "--get-url", "--end-of-options", url.as_str()]);
        let said = self.run(command, None).await?.map_err(|said| failure(url, &said))?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// The address that git is given for a URL. Where the user's `insteadOf` puts a login into it, git would hand that to its
    /// helpers as an argument, which every user of the machine can read: the login goes by the environment instead
    /// (`GIT_CONFIG_COUNT`, git-config(1)), and the rewriting is done already.
    async fn without_login(&self, url: &SourceUrl, command: &mut Command) -> Result<String, Failure> {
        if !self.rewrites_to_logins().await {
            return Ok(url.to_string());
        }
        let Some(mut real) = url::Url::parse(&self.rewritten(url).await?).ok().filter(is_web) else {
            return Ok(url.to_string());
        };
        let (user, password) = (percent_decode(real.username()), real.password().map(percent_decode));
        if user.is_empty() && password.is_none() {
            return Ok(url.to_string());
        }
        let _ = (real.set_username(""), real.set_password(None));
        let place = real.to_string();
        let mut settings = vec![
            // The longest prefix wins, so this address is rewritten to itself.
            (format!("url.{place}.insteadOf"), place.clone()),
            (format!("credential.{place}.username"), user.clone()),
        ];
        if let Some(password) = password {
            command.env(LOGIN[0], user).env(LOGIN[1], password);
            let helper = format!(
                "!f() {{ test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"${}\" \"${}\"; }}; f",
                LOGIN[0], LOGIN[1]
            );
            settings.extend([String::new(), helper].map(|helper| (format!("credential.{place}.helper"), helper)));
        }
        self.configure(command, &settings);
        Ok(place)
    }

    /// Whether any `insteadOf` of the user's configuration leads to an address with a user name in it. Asked once.
    async fn rewrites_to_logins(&self) -> bool {
        let ask = || async {
            let mut command = self.command();
            command.args(["config", "--null", "--name-only", "--get-regexp", r"^url\..*\.insteadof$"]);
            let said = self.run(command, None).await.ok().and_then(|said| said.ok()).unwrap_or_default();
            String::from_utf8_lossy(&said).split('\0').any(|key| key.contains('@'))
        };
        *self.logins.get_or_init(ask).await
    }

    /// Settings for one run, by its environment: after those that the user's environment has.
    fn configure(&self, command: &mut Command, settings: &[(String, String)]) {
        let own = self.environment.iter().find(|(name, _)| *name == CONFIG_COUNT).map(|(_, value)| value.clone());
        let count = own.or_else(|| std::env::var_os(CONFIG_COUNT));
        let count: usize = count.and_then(|count| count.to_str()?.parse().ok()).unwrap_or(0);
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{}", count + number), key);
            command.env(format!("GIT_CONFIG_VALUE_{}", count + number), value);
        }
        command.env(CONFIG_COUNT, (count + settings.len()).to_string());
    }

    /// The user's `http.extraHeader` for a URL (the last one, if there are several).
    pub(super) async fn extra_header(&self, url: &str) -> Option<String> {
        let mut command = self.command();
        command.args(["config", "--get-urlmatch", "http.extraheader", url]);
        let said = self.run(command, None).await.ok()?.ok()?;
        Some(String::from_utf8_lossy(&said).trim().to_owned()).filter(|line| !line.is_empty())
    }

    /// A login for a URL, of git's credential helpers (git-credential(1)); nobody is asked on a terminal.
    pub(super) async fn login(&self, url: &str) -> Option<GitLogin> {
        let asked = format!("url={url}\n");
        let said = self.credential("fill", &format!("{asked}\n")).await?;
        GitLogin::parse(&String::from_utf8_lossy(&said), &asked)
    }

    /// Tells the helpers whether a login was right, so that they keep it or forget it.
    pub(super) async fn login_was(&self, login: &GitLogin, right: bool) {
        let GitLogin { asked, user, password } = login;
        let verb = if right { "approve" } else { "reject" };
        self.credential(verb, &format!("{asked}username={user}\npassword={password}\n\n")).await;
    }

    async fn credential(&self, verb: &str, input: &str) -> Option<Vec<u8>> {
        let mut command = self.command();
        command.args(["credential", verb]).stdin(Stdio::piped());
        self.run_for_output(command, input.as_bytes(), None).await.ok()?.ok()
    }

    /// What a host says to `git-lfs-authenticate` over ssh, as the user's git would reach it (`GIT_SSH_COMMAND`,
    /// `core.sshCommand`, `GIT_SSH`).
    ///
    /// # Errors
    /// The host cannot be reached, or knows nothing of Git LFS.
    pub(super) async fn lfs_authenticate(&self, url: &SourceUrl, host: &url::Url) -> Result<Vec<u8>, Failure> {
        let mut command = self.command_of("sh");
        let ssh = self.ssh_command().await;
        command.args(["-c", &format!("{ssh} \"$@\""), "ssh"]);
        if let Some(port) = host.port() {
            command.args(["-p", &port.to_string()]);
        }
        let name = host.host_str().unwrap_or_default();
        let place = if host.username().is_empty() { name.to_owned() } else { format!("{}@{name}", host.username()) };
        // The far side hands it to a shell.
        let path = format!("'{}'", host.path().replace('\'', "'\\''"));
        command.arg(place).arg(format!("git-lfs-authenticate {path} download"));
        self.run(command, None).await?.map_err(|said| failure(url, &said))
    }

    async fn ssh_command(&self) -> String {
        let variable = |name: &str| {
            let own = self.environment.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
            own.or_else(|| std::env::var_os(name)).map(|value| value.to_string_lossy().into_owned())
        };
        if let Some(command) = variable("GIT_SSH_COMMAND") {
            return command;
        }
        let mut command = self.command();
        command.args(["config", "--get", "core.sshCommand"]);
        let configured = self.run(command, None).await.ok().and_then(|said| said.ok());
        let configured = configured.map(|said| String::from_utf8_lossy(&said).trim().to_owned());
        let named = || variable("GIT_SSH").map(|path| format!("'{}'", path.replace('\'', "'\\''")));
        configured.filter(|text| !text.is_empty()).or_else(named).unwrap_or_else(|| "ssh".to_owned())
    }

    /// Runs git to its end and gives its output, which is short: of a long one, as much as [`SHORT_OUTPUT`] says. The inner
    /// `Err` is a git that failed, with its output.
    async fn run(&self, command: Command, task: Option<&dyn Task>) -> Result<Result<Vec<u8>, GitOutput>, Failure> {
        self.run_for_output(command, b"", task).await
    }

    /// The same, with a few bytes on its standard input if that is a pipe.
    async fn run_for_output(
        &self,
        command: Command,
        input: &[u8],
        task: Option<&dyn Task>,
    ) -> Result<Result<Vec<u8>, GitOutput>, Failure> {
        let mut output = Vec::new();
        let mut keep = |line: &str| {
            if output.len() + line.len() < SHORT_OUTPUT {
                output.extend_from_slice(line.as_bytes());
                output.push(b'\n');
            }
        };
        let ended = self.run_with(command, input, task, &mut keep).await?;
        Ok(ended.map(|()| output))
    }

    /// Runs git to its end, with a few bytes on its standard input if that is a pipe; each line of its standard output is
    /// passed to `line`. The inner `Err` is a git that failed, with its output.
    async fn run_with(
        &self,
        command: Command,
        input: &[u8],
        task: Option<&dyn Task>,
        line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Result<(), GitOutput>, Failure> {
        Ok(self.run_whole(command, input, task, line).await?.map(drop))
    }

    /// The same; also what it said on its standard error.
    async fn run_whole(
        &self,
        mut command: Command,
        input: &[u8],
        task: Option<&dyn Task>,
        line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Result<Vec<String>, GitOutput>, Failure> {
        let mut child = command.spawn().map_err(could_not_start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever reads none of it has its reasons, and says them.
            let _ = stdin.write_all(input).await;
        }
        let mut group = Group::of(&child);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Error::bug("git was started without pipes").into());
        };
        let mut words = GitStderr::default();
        let both = async {
            // A failure of one ends the other: a git that is silent keeps its standard output open too.
            tokio::try_join!(async { read_lines(stdout, bounds::REFS, line).await.map_err(Some) }, async {
                self.listen(stderr, &mut words, task).await.then_some(()).ok_or(None)
            },)
        };
        let read = match both.await {
            Ok(_) => Ok(()),
            Err(Some(error)) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                drop(group);
                return Ok(Err(GitOutput { text: error.to_string(), stalled: false }));
            }
            Err(Some(error)) => Err(error),
            Err(None) => {
                drop(group);
                let text = format!("git said nothing for {} s", self.policy.git_silence.as_secs());
                return Ok(Err(GitOutput { text, stalled: true }));
            }
        };
        let ended = read.and(child.wait().await).map_err(could_not_start)?;
        group.0 = None;
        if ended.success() {
            return Ok(Ok(words.kept));
        }
        let text = if words.kept.is_empty() { format!("git ended with {ended}") } else { words.kept.join("\n") };
        Ok(Err(GitOutput { text, stalled: false }))
    }

    /// Reads git's output to its end; `false` if git was silent for too long.
    async fn listen(&self, mut stderr: impl AsyncRead + Unpin, words: &mut GitStderr, task: Option<&dyn Task>) -> bool {
        let mut buffer = [0; 4096];
        loop {
            let read = tokio::time::timeout(self.policy.git_silence, stderr.read(&mut buffer));
            match read.await {
                Err(_) => return false,
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(count)) => words.take(&buffer[..count], task),
            }
        }
        words.take(b"\n", task);
        true
    }
}

/// Shows each line of what git writes, without its end and cut to [`LONGEST_LINE`].
///
/// # Errors
/// A failed read, or more bytes than the limit: kind `FileTooLarge`.
pub(super) async fn read_lines(
    mut from: impl AsyncRead + Unpin,
    limit: u64,
    line: &mut (dyn FnMut(&str) + Send),
) -> std::io::Result<()> {
    let mut split = Lines::default();
    let mut buffer = [0; 8192];
    let mut left = limit;
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            split.take(b"\n", &mut |text| line(&text));
            return Ok(());
        }
        left = left.checked_sub(count as u64).ok_or_else(|| {
            let why = format!("git says more than {limit} bytes of refs");
            std::io::Error::new(std::io::ErrorKind::FileTooLarge, why)
        })?;
        split.take(&buffer[..count], &mut |text| line(&text));
    }
}

/// Ends when a repository that git fetches into is larger than any may be, or its disk is nearly full. What came goes with
/// the repository.
async fn watch(url: &SourceUrl, repository: &Path) -> Failure {
    let packs = repository.join("objects/pack");
    let longest = bounds::download();
    loop {
        tokio::time::sleep(WATCHED_EVERY).await;
        if let Err(full) = crate::disk::must_fit(repository, 0) {
            return full.into();
        }
        let files = std::fs::read_dir(&packs).into_iter().flatten().flatten();
        let size: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        if size > longest {
            let why = format!("more than {longest} bytes came, the limit for a git fetch");
            let error =
                at(url, why).help(format!("if the repository is that large, set {KBUILD_MAX_DOWNLOAD} to more bytes"));
            return Failure::permanent(error);
        }
    }
}

/// The certificate authorities that SSL_CERT_FILE and SSL_CERT_DIR name, in git's own variables, so that they hold for
/// repositories as they do for files. Authorities that git itself was given, by variables or in its configuration, are
/// kept.
fn certificates() -> &'static [(&'static str, OsString)] {
    static FOUND: OnceLock<Vec<(&'static str, OsString)>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let own = ["GIT_SSL_CAINFO", "GIT_SSL_CAPATH"];
        if own.iter().any(|name| std::env::var_os(name).is_some()) || git_knows_authorities() {
            return Vec::new();
        }
        let names = own.into_iter().zip(["SSL_CERT_FILE", "SSL_CERT_DIR"]);
        names.filter_map(|(own, name)| Some((own, std::env::var_os(name)?))).collect()
    })
}

/// Whether git's configuration has `http.sslCAInfo` or `http.sslCAPath`, for all or for one host.
fn git_knows_authorities() -> bool {
    let mut command = std::process::Command::new("git");
    command.args(["config", "--get-regexp", r"^http\.(.*\.)?sslca(info|path)$"]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    ends_with_kbuild(&mut command);
    command.output().is_ok_and(|output| output.status.success())
}

/// Bytes on the way to lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Shows each line that ends in these bytes, without its end and cut to [`LONGEST_LINE`]; not the empty ones.
    fn take(&mut self, bytes: &[u8], show: &mut dyn FnMut(String)) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut self.0)).trim_end().to_owned();
                    if !line.is_empty() {
                        show(line);
                    }
                }
                byte if self.0.len() < LONGEST_LINE => self.0.push(*byte),
                _ => {}
            }
        }
    }
}

/// Git's output: progress goes to the task, the last lines of the rest are kept for a message.
#[derive(Default)]
struct GitStderr {
    line: Lines,
    kept: Vec<String>,
}

impl GitStderr {
    fn take(&mut self, bytes: &[u8], task: Option<&dyn Task>) {
        let mut lines = std::mem::take(&mut self.line);
        lines.take(bytes, &mut |line| self.line_ended(line, task));
        self.line = lines;
    }

    fn line_ended(&mut self, line: String, task: Option<&dyn Task>) {
        if let Some(progress) = GitProgress::parse(&line) {
            if let Some(task) = task {
                progress.tell(task);
            }
            return;
        }
        if self.kept.len() == KEPT_LINES {
            self.kept.remove(0);
        }
        self.kept.push(redact(&line));
    }
}

/// One line of git's progress: `Receiving objects:  45% (450/1000), 12.00 MiB | 3.00 MiB/s`.
#[derive(Debug, PartialEq)]
struct GitProgress {
    what: String,
    percent: Option<u8>,
    bytes: Option<u64>,
}

impl GitProgress {
    fn parse(line: &str) -> Option<GitProgress> {
        static PROGRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
            let counted = r"\s+(?:(?<percent>\d+)% \(\d+/\d+\)|\d+)";
            let bytes = r"(?:, (?<number>[\d.]+) (?<unit>bytes|KiB|MiB|GiB))?";
            Regex::new(&format!(
                r"^(?:remote: )?(?<what>[A-Z][a-z]+ [a-z]+):{counted}{bytes}(?: \| .*)?(?:, done\.)?\s*$"
            ))
            .ok()
        });
        let found = PROGRESS.as_ref()?.captures(line)?;
        let unit = match found.name("unit").map(|unit| unit.as_str()) {
            Some("KiB") => 1024.0,
            Some("MiB") => 1024.0 * 1024.0,
            Some("GiB") => 1024.0 * 1024.0 * 1024.0,
            _ => 1.0,
        };
        let number: Option<f64> = found.name("number").and_then(|number| number.as_str().parse().ok());
        Some(GitProgress {
            what: found["what"].to_lowercase(),
            percent: found.name("percent").and_then(|percent| percent.as_str().parse().ok()),
            bytes: number.map(|number| (number * unit) as u64),
        })
    }

    fn tell(&self, task: &dyn Task) {
        match self.percent {
            Some(percent) => task.note(&format!("{} {percent} %", self.what)),
            None => task.note(&self.what),
        }
        if let Some(bytes) = self.bytes {
            task.set_position(bytes);
        }
    }
}

fn is_web(url: &url::Url) -> bool {
    ["http", "https"].contains(&url.scheme())
}

/// A program that ends when kbuild does, and asks nothing on a terminal.
fn as_child(mut command: std::process::Command) -> Command {
    in_own_session(&mut command);
    ends_with_kbuild(&mut command);
    bound_memory(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    command
}

/// The processes of one git run. They end with it, on every way out.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // git's helpers (ssh, git-remote-https, index-pack) too. A group that is gone is fine.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::TERM);
        }
    }
}

/// A session of its own has no terminal: whatever would ask for a password there (ssh, a helper) fails instead of
/// waiting. It also makes git the leader of a process group that can be ended as a whole.
fn in_own_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: setsid(2) is async-signal-safe, and the closure does nothing else: no allocation, no lock.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

/// Puts a pack of another store into a repository, with an index made here: `git index-pack` hashes every object.
///
/// # Errors
/// A damaged pack: kind `Mismatch`.
pub(crate) fn index(pack: &Path, name: &str, repository: &Path) -> Result<()> {
    let link = repository.join("objects/pack").join(format!("{name}.pack"));
    crate::disk::create_dir_all(&repository.join("objects/pack"))?;
    crate::disk::link_or_copy(pack, &link)?;
    // An absolute path, and index-pack knows no `--`.
    run(local_git(repository).arg("index-pack").arg(&link), Kind::Mismatch)?;
    Ok(())
}

/// Writes the `shallow` file, which tells git at which commits the history of a repository is cut.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_shallow(repository: &Path, commits: &[CommitId]) -> Result<()> {
    if commits.is_empty() {
        return Ok(());
    }
    let text: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
    crate::disk::replace(&repository.join("shallow"), text.as_bytes())
}

fn not_given(url: &SourceUrl, specs: &[&str]) -> Failure {
    let wanted: Vec<&str> = specs.iter().map(|spec| spec.split(':').next().unwrap_or_default()).collect();
    Failure::permanent(at(url, format!("the server does not give {}", wanted.join(" "))))
}

/// An empty bare repository at `scratch/name`. Whatever is there is removed.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn new_repository(scratch: &Path, name: &str) -> Result<PathBuf> {
    let path = scratch.join(name);
    crate::disk::remove_dir_all(&path)?;
    let made = git2::Repository::init_opts(
        &path,
        git2::RepositoryInitOptions::new().bare(true).external_template(false).no_reinit(true),
    );
    made.map_err(|error| {
        Error::new(Kind::Io, format!("could not make a repository at {}", path.display())).because(error)
    })?;
    Ok(path)
}

/// The commit with this id in a repository or, where the id is that of a tag's object, the commit that the tag leads to.
fn peeled(repository: &Path, id: &CommitId) -> Option<CommitId> {
    let repository = git2::Repository::open_bare(repository).ok()?;
    let object = repository.find_object(git2::Oid::from_bytes(id.as_bytes()).ok()?, None).ok()?;
    object.peel_to_commit().ok()?.id().to_string().parse().ok()
}

/// The text of the tag's object that a ref is at; `None` if it is at a commit.
fn tag_text(repository: &Path, name: &str) -> Result<Option<String>> {
    let repository = git2::Repository::open_bare(repository).map_err(broken_object)?;
    let target = repository.refname_to_id(name).map_err(broken_object)?;
    let objects = repository.odb().map_err(broken_object)?;
    let (size, kind) = objects.read_header(target).map_err(broken_object)?;
    if kind != git2::ObjectType::Tag {
        return Ok(None);
    }
    if size as u64 > bounds::SIGNED_TAG {
        return Err(Error::input(format!("its object is longer than {} bytes", bounds::SIGNED_TAG)));
    }
    let object = objects.read(target).map_err(broken_object)?;
    let text = std::str::from_utf8(object.data()).map_err(|_| Error::input("its object is not text in UTF-8"))?;
    Ok(Some(text.to_owned()))
}

fn listed(line: &str) -> Option<Listed> {
    let (id, name) = line.split_once('\t')?;
    Some(Listed { id: id.parse().ok()?, name: name.to_owned() })
}

/// The full names that a reference asks a server for, tags also as what they point at.
pub(crate) fn patterns(reference: &GitRef) -> Vec<String> {
    let names = reference.full_names();
    let peeled: Vec<String> =
        names.iter().filter(|name| name.starts_with("refs/tags/")).map(|name| format!("{name}^{{}}")).collect();
    names.into_iter().chain(peeled).collect()
}

fn absent(url: &SourceUrl, commit: &CommitId) -> Failure {
    let why = format!("commit {commit} is not there, neither by its id nor in the branches and tags");
    Failure::permanent(at(url, why).of_kind(Kind::Missing))
}

/// Whether git's output says that the server answered, but refused what was asked for.
fn refusal(said: &str) -> Option<GitOutcome> {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["dumb http transport does not support shallow", "does not support shallow", "does not support --depth"]) {
        Some(GitOutcome::NoDepth)
    } else if says(&["server does not allow request for unadvertised object", "couldn't find remote ref"])
        // Git's message when the server is a plain file server.
        || says(&["cannot obtain needed object"])
        || (says(&["want "]) && says(&["not valid"]))
    {
        Some(GitOutcome::Refused)
    } else if says(&["not our ref"]) {
        // upload-pack looked for the object itself, or along all refs: asking for refs would not find it either.
        Some(GitOutcome::Absent)
    } else {
        None
    }
}

/// Texts of transient failures: cargo's list of spurious network errors, in the words of git and curl.
const PASSING: [&str; 24] = [
    "empty reply from server",
    "timed out",
    "timeout",
    "operation too slow",
    "connection reset",
    "connection closed",
    "connection was reset",
    "broken pipe",
    "early eof",
    "unexpected disconnect",
    "hung up unexpectedly",
    "unexpected eof",
    "rpc failed",
    "transfer closed",
    "recv failure",
    "send failure",
    "gnutls recv error",
    "gnutls_handshake",
    "ssl_error_syscall",
    "http2 framing layer",
    "http/2 stream",
    "index-pack failed",
    "invalid index-pack output",
    "temporary failure",
];

/// Texts of permanent failures. They are looked at first, because git adds "hung up unexpectedly" to many of them.
const LASTING: [&str; 19] = [
    "unable to get password",
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "not a git repository",
    "authentication failed",
    "could not read username",
    "could not read password",
    "permission denied",
    "access denied",
    "host key verification failed",
    "certificate",
    "dubious ownership",
    "not allowed",
    "unable to find remote helper",
    "is not a git command",
    "repository is empty",
    "not exported",
    "not supported or disabled in libcurl",
];

/// Texts that say that the host does not exist or does not listen.
const UNREACHABLE: [&str; 6] = [
    "could not resolve host",
    "failed to connect",
    "couldn't connect",
    "connection refused",
    "unable to connect",
    "network is unreachable",
];

fn failure(url: &SourceUrl, said: &GitOutput) -> Failure {
    let error = at(url, said.text.clone());
    let lower = said.text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if said.stalled {
        return Failure::transient(error);
    }
    if is_full_disk(&said.text) {
        return error.of_kind(Kind::Io).help("make room on the disk that holds the store").into();
    }
    if is_absent(&lower) {
        return Failure::permanent(error.of_kind(Kind::Missing));
    }
    if let Some(status) = http_status(&lower) {
        return match Class::of_status(status, None) {
            Class::Permanent => Failure::permanent(hint(url, error, &lower)),
            class => Failure { class, error },
        };
    }
    if says(&UNREACHABLE) {
        Failure::unreachable(error)
    } else if says(&LASTING) {
        Failure::permanent(hint(url, error, &lower))
    } else if says(&PASSING) {
        Failure::transient(error)
    } else {
        Failure::doubtful(error)
    }
}

/// Whether git's output says that the server answered and has no such repository: a plain 404 or 410, the texts of
/// GitHub and similar forges, those of a folder or a git daemon.
fn is_absent(said: &str) -> bool {
    matches!(http_status(said), Some(404 | 410))
        || (said.contains("repository '") && said.contains("' not found"))
        || (said.contains("does not appear to be a git repository") && !said.contains("permission"))
}

/// Whether git's words, in lower case, already say what the server answered.
pub(super) fn names_the_answer(said: &str) -> bool {
    is_absent(said) || http_status(said).is_some()
}

/// The status in curl's `The requested URL returned error: 503` or git's `RPC failed; HTTP 503`.
fn http_status(said: &str) -> Option<u16> {
    ["returned error: ", "rpc failed; http "].iter().find_map(|before| {
        let digits = &said[said.find(before)? + before.len()..];
        digits.get(..3)?.parse().ok()
    })
}

fn hint(url: &SourceUrl, error: Error, said: &str) -> Error {
    let refused =
        ["authentication failed", "could not read username", "unable to get password", "error: 401", "error: 403"];
    if refused.iter().any(|w| said.contains(w)) {
        error.help(format!("give git a login for {} (git help credentials), or check the URL", url.host()))
    } else if said.contains("host key verification failed") || said.contains("permission denied (publickey") {
        error.help(format!(
            "run `ssh {}` once by hand: kbuild does not let git or ssh ask questions on the terminal",
            url.host()
        ))
    } else if said.contains("not supported or disabled in libcurl") && url.scheme() == "https" {
        error.help(
            "the server redirects from https to http, which kbuild does not follow. Where that is meant, write the `http:` address, \
             or a mirror rule that leads to it",
        )
    } else if said.contains("certificate") {
        error.help(
            "if the certificate is your site's own, let SSL_CERT_FILE name the authority that signed it (for git alone: \
             GIT_SSL_CAINFO, or http.sslCAInfo in its configuration)",
        )
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(said: &str) -> Class {
        let said = GitOutput { text: said.to_owned(), stalled: false };
        failure(&"https://h/x".parse().unwrap(), &said).class
    }

    #[test]
    fn a_signed_tag_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let repository = new_repository(directory.path(), "x.git").unwrap();
        let opened = git2::Repository::open_bare(&repository).unwrap();
        let tree = opened.treebuilder(None).unwrap().write().unwrap();
        let author = git2::Signature::new("A", "a@b", &git2::Time::new(0, 0)).unwrap();
        let commit = opened.commit(None, &author, &author, "x", &opened.find_tree(tree).unwrap(), &[]).unwrap();
        let commit = opened.find_object(commit, None).unwrap();
        for (name, length) in [("short", 10), ("long", bounds::SIGNED_TAG as usize)] {
            opened.tag(name, &commit, &author, &"x".repeat(length), false).unwrap();
        }
        opened.tag_lightweight("plain", &commit, false).unwrap();
        assert!(tag_text(&repository, "refs/tags/short").unwrap().unwrap().contains("tag short"));
        assert_eq!(tag_text(&repository, "refs/tags/plain").unwrap(), None);
        assert_eq!(tag_text(&repository, "refs/tags/long").unwrap_err().kind(), Kind::Input);
    }

    #[test]
    fn failures_are_told_apart() {
        const PASSES: Class = Class::Transient { after: None };
        for (said, expected) in [
            ("fatal: unable to access 'https://h/x/': The requested URL returned error: 503", PASSES),
            ("error: RPC failed; HTTP 429 curl 22", Class::of_status(429, None)),
            ("fatal: unable to access 'https://h/x/': The requested URL returned error: 403", Class::Permanent),
            ("error: RPC failed; curl 56 GnuTLS recv error (-9)\nfatal: early EOF", PASSES),
            ("fatal: fetch-pack: invalid index-pack output", PASSES),
            ("fatal: the remote end hung up unexpectedly", PASSES),
            ("fatal: unable to access 'https://h/': Operation too slow. Less than 1000 bytes/sec", PASSES),
            ("fatal: repository 'https://h/x/' not found", Class::Permanent),
            ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", Class::Permanent),
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", Class::Permanent),
            ("fatal: unable to access 'https://h/': SSL certificate problem: self-signed", Class::Permanent),
            ("fatal: transport 'ext' not allowed", Class::Permanent),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", Class::Unreachable),
            ("fatal: unable to access 'https://h/': Failed to connect to h port 443 after 0 ms", Class::Unreachable),
            ("fatal: something nobody has heard of", Class::Doubtful),
            ("fatal: write error: No space left on device\nfatal: early EOF", Class::Fatal),
            ("remote: fatal: No space left on device\nfatal: early EOF", PASSES),
        ] {
            assert_eq!(class(said), expected, "{said}");
        }
    }

    #[test]
    fn a_repository_that_is_not_there_is_told_from_one_that_cannot_be_asked() {
        let kind = |said: &str| {
            let said = GitOutput { text: said.to_owned(), stalled: false };
            failure(&"https://h/x".parse().unwrap(), &said).error.kind()
        };
        for said in [
            "fatal: repository 'https://h/x/' not found",
            "fatal: unable to access 'https://h/x/': The requested URL returned error: 404",
            "fatal: '/srv/x' does not appear to be a git repository",
        ] {
            assert_eq!(kind(said), Kind::Missing, "{said}");
        }
        for said in [
            "fatal: unable to access 'https://h/x/': The requested URL returned error: 403",
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "fatal: unable to access 'https://h/': Could not resolve host: h",
        ] {
            assert_eq!(kind(said), Kind::Network, "{said}");
        }
    }

    #[test]
    fn refusals_lead_to_the_next_rung() {
        let told = "error: Server does not allow request for unadvertised object deadbeef";
        assert_eq!(refusal(told), Some(GitOutcome::Refused));
        assert_eq!(refusal("fatal: couldn't find remote ref refs/heads/x"), Some(GitOutcome::Refused));
        assert_eq!(refusal("fatal: remote error: want deadbeef not valid"), Some(GitOutcome::Refused));
        assert_eq!(refusal("fatal: remote error: upload-pack: not our ref deadbeef"), Some(GitOutcome::Absent));
        assert_eq!(
            refusal("fatal: dumb http transport does not support shallow capabilities"),
            Some(GitOutcome::NoDepth)
        );
        assert_eq!(refusal("fatal: the remote end hung up unexpectedly"), None);
    }

    #[test]
    fn progress_is_read() {
        let line = "Receiving objects:  45% (450/1000), 12.00 MiB | 3.00 MiB/s";
        let expected = GitProgress { what: "receiving objects".to_owned(), percent: Some(45), bytes: Some(12 << 20) };
        assert_eq!(GitProgress::parse(line), Some(expected));
        for line in [
            "remote: Counting objects: 100% (9/9), done.",
            "remote: Enumerating objects: 9, done.",
            "Resolving deltas: 100% (2/2), done.",
            "Receiving objects: 100% (9/9), 812 bytes | 812.00 KiB/s, done.",
        ] {
            assert!(GitProgress::parse(line).is_some(), "{line}");
        }
        assert_eq!(GitProgress::parse("fatal: early EOF"), None);
        assert_eq!(GitProgress::parse("error: RPC failed; HTTP 500 curl 22"), None);
    }
}
