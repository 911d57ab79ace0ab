//! The commits between two commits.

use kbuild_test::http::Server;

use super::*;
use crate::store::CommitsBetween;

/// A repository whose commits are made one second after the other.
struct History {
    directory: tempfile::TempDir,
    clock: std::cell::Cell<u64>,
}

impl History {
    fn new() -> History {
        let history = History { directory: tempfile::tempdir().unwrap(), clock: std::cell::Cell::new(1_000_000_000) };
        fs::create_dir(history.work()).unwrap();
        history.git(&["init", "-q", "-b", "main"]);
        history
    }

    fn work(&self) -> std::path::PathBuf {
        self.directory.path().join("x.git")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let seconds = self.clock.get() + 1;
        self.clock.set(seconds);
        let date = format!("{seconds} +0000");
        let mut git = Command::new("git");
        git.current_dir(self.work()).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
        git.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, subject: &str) -> CommitId {
        fs::write(self.work().join("file"), subject).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", subject]);
        self.head()
    }

    fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }
}

async fn between(url: &str, from: CommitId, to: CommitId) -> Option<(bool, Vec<String>)> {
    let world = World::new();
    let found = world.fetcher.commits_between(&url.parse().unwrap(), &from, &to).await.unwrap()?;
    let (forward, commits) = match found {
        CommitsBetween::Forward(commits) => (true, commits),
        CommitsBetween::Back(commits) => (false, commits),
    };
    Some((forward, commits.into_iter().map(|commit| commit.subject).collect()))
}

#[tokio::test]
async fn commits_come_without_files_and_in_both_directions() {
    let history = History::new();
    let commits: Vec<CommitId> =
        ["one", "two", "three", "four"].iter().map(|subject| history.commit(subject)).collect();
    history.git(&["config", "uploadpack.allowFilter", "true"]);
    let server = Server::start();
    server.git("/git", history.directory.path());
    let url = server.url("/git/x.git");
    let found = between(&url, commits[0], commits[2]).await.unwrap();
    assert_eq!(found, (true, vec!["three".to_owned(), "two".to_owned()]));
    let found = between(&url, commits[3], commits[2]).await.unwrap();
    assert_eq!(found, (false, vec!["four".to_owned()]));
}

#[tokio::test]
async fn a_merge_of_an_old_branch_brings_what_is_new_alone() {
    let history = History::new();
    history.commit("one");
    history.git(&["checkout", "-q", "-b", "side"]);
    history.commit("side");
    history.git(&["checkout", "-q", "main"]);
    history.commit("two");
    let older = history.commit("three");
    history.git(&["merge", "-q", "-X", "ours", "-m", "merge", "side"]);
    let newer = history.head();
    let server = Server::start();
    server.git("/git", history.directory.path());
    let (forward, mut subjects) = between(&server.url("/git/x.git"), older, newer).await.unwrap();
    subjects.sort();
    assert_eq!((forward, subjects), (true, vec!["merge".to_owned(), "side".to_owned()]));
}

#[tokio::test]
async fn of_commits_that_do_not_lead_to_each_other_nothing_is_listed() {
    let history = History::new();
    history.commit("one");
    let main = history.commit("two");
    history.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
    let side = history.commit("three");
    let server = Server::start();
    server.git("/git", history.directory.path());
    assert_eq!(between(&server.url("/git/x.git"), main, side).await, None);
    let world = World::new();
    let nobody = "e".repeat(40).parse().unwrap();
    let url = server.url("/git/x.git").parse().unwrap();
    assert!(world.fetcher.commits_between(&url, &main, &nobody).await.is_err());
}
