//! What the store knows of a commit's history: whole where the manifest asks for it, else the commit alone.

use super::Store;
use crate::git::Objects;
use crate::source::CommitId;

/// The longest subject that is shown, in characters.
const SUBJECT: usize = 100;

/// A commit in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitLine {
    pub id: CommitId,
    /// The first line of its message, without characters that steer a terminal.
    pub subject: String,
}

impl CommitLine {
    /// A commit with this subject, of any length and content.
    pub fn new(id: CommitId, subject: &str) -> CommitLine {
        let subject = subject.chars().take(SUBJECT).map(|c| if c.is_control() { '?' } else { c }).collect();
        CommitLine { id, subject }
    }
}

/// The commits between two pins of a repository, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitsBetween {
    /// Those that came with the new pin.
    Forward(Vec<CommitLine>),
    /// Those that went, since the new pin is older than the old one.
    Back(Vec<CommitLine>),
}

impl Store {
    /// The commits between two commits; `None` where the store does not have the history.
    pub fn commits_between(&self, from: &CommitId, to: &CommitId) -> Option<CommitsBetween> {
        let forward = self.reachable(to, from);
        match forward {
            Some(commits) if !commits.is_empty() => Some(CommitsBetween::Forward(commits)),
            _ => self.reachable(from, to).filter(|back| !back.is_empty()).map(CommitsBetween::Back),
        }
    }

    /// A commit as a line of a list; `None` if the store does not have it.
    pub fn commit_line(&self, commit: &CommitId) -> Option<CommitLine> {
        line(&*self.open_commit(commit).ok()?, oid(commit)?)
    }

    /// The commits that lead to `to` and not to `from`; `None` if the history that the store has with `to` does not reach
    /// `from`.
    fn reachable(&self, to: &CommitId, from: &CommitId) -> Option<Vec<CommitLine>> {
        let opened = self.open_commit(to).ok()?;
        let mut walk = opened.revwalk().ok()?;
        walk.push(oid(to)?).ok()?;
        walk.hide(oid(from)?).ok()?;
        walk.map(|found| line(&opened, found.ok()?)).collect()
    }
}

fn oid(commit: &CommitId) -> Option<git2::Oid> {
    git2::Oid::from_bytes(commit.as_bytes()).ok()
}

fn line(objects: &Objects, id: git2::Oid) -> Option<CommitLine> {
    let commit = objects.find_commit(id).ok()?;
    let summary = commit.summary_bytes().unwrap_or_default();
    Some(CommitLine::new(id.to_string().parse().ok()?, &String::from_utf8_lossy(summary)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Tree, Upstream};
    use super::super::tests::temporary;
    use super::*;

    #[test]
    fn the_history_between_two_commits_is_told_where_it_is_there() {
        let (_directory, store) = temporary();
        let upstream = Upstream::new();
        let first = upstream.commit(&[], &Tree::default());
        let second = upstream.commit(&[first], &Tree::default());
        let third = upstream.commit(&[second], &Tree::default());
        assert_eq!(store.commits_between(&first, &third), None, "nothing is in the store yet");
        let tree = super::super::tree::of_commit(&upstream.objects(), &third).unwrap();
        store.add_git(upstream.path(), &third, tree).unwrap();
        let ids = |commits: &[CommitLine]| commits.iter().map(|line| line.id).collect::<Vec<_>>();
        let Some(CommitsBetween::Forward(commits)) = store.commits_between(&first, &third) else { panic!() };
        assert_eq!(ids(&commits), [third, second]);
        let Some(CommitsBetween::Back(commits)) = store.commits_between(&third, &second) else { panic!() };
        assert_eq!(ids(&commits), [third]);
        let elsewhere = "e".repeat(40).parse().unwrap();
        assert_eq!(store.commits_between(&elsewhere, &third), None);
    }
}
