//! What the names of an upstream lead to: branches and tags of a repository.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Fetcher, PAGE_HEAD, git, must_be_for_git, plausible, shown_host};
use crate::error::{Error, Kind, Result};
use crate::net::report::LazyTask;
use crate::net::retry::{Class, Failure};
use crate::net::transfer::at;
use crate::source::name::check_ref;
use crate::source::url::redact;
use crate::source::{CommitId, GitRef, SourceUrl};
use crate::suggest;

/// What a ref was resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit (annotated tags peeled).
    pub commit: CommitId,
    /// Full names of the refs asked for that pointed at it; the remote's default branch when none was asked for.
    pub refs: Vec<String>,
}

impl Fetcher {
    /// Asks an upstream and the mirrors that rules put before it, one after the other, until one answers. The inner error is
    /// why none did, in their order.
    ///
    /// # Errors
    /// What no other place could do better, such as a full disk.
    pub(super) async fn first_answer<'a, T>(
        &self,
        url: &SourceUrl,
        ask: impl Fn(SourceUrl) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<Result<T, Vec<Error>>> {
        let mut tried = Vec::new();
        for place in self.upstreams(url) {
            let outcome = match place {
                Ok(place) => ask(place).await,
                Err(error) => Err(Failure::permanent(error)),
            };
            match outcome {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Failure { class: Class::Fatal, error }) if error.kind() != Kind::Input => return Err(error),
                Err(Failure { error, .. }) => tried.push(error),
            }
        }
        Ok(Err(tried))
    }

    /// The error of all that [`Fetcher::first_answer`] asked: of the last that answered and has no such name, else of all.
    pub(super) fn nobody_answers(&self, what: &str, mut tried: Vec<Error>) -> Error {
        match tried.iter().rposition(|error| error.kind() == Kind::Input) {
            Some(place) => tried.swap_remove(place),
            None => self.nobody_has(what, tried, 0),
        }
    }

    /// Asks the upstream (or the mirrors that rules put before it) which commit a ref is at now. A commit pinned by
    /// hand is the answer itself, and nobody is asked: the refs given with it are where it should lie.
    ///
    /// # Errors
    /// No answer (kind `Network`, `Missing` when offline), or no such ref (kind `Input`, naming near ones).
    pub async fn resolve(&self, url: &SourceUrl, reference: &GitRef) -> Result<Resolved> {
        for name in reference.full_names() {
            check_ref(&name)?;
        }
        if let Some(rev) = reference.rev {
            return Ok(Resolved { commit: rev, refs: reference.full_names() });
        }
        let what = format!("{reference} of {}", redact(url.as_str()));
        let report = &LazyTask::new(&self.progress, &what, None);
        let ask = |place| async move { self.resolve_at(&place, reference, report).await }.boxed();
        self.first_answer(url, ask).await?.map_err(|tried| self.nobody_answers(&what, tried))
    }

    /// Where a tag of the upstream (or of the mirrors that rules put before it) leads now, if not to this commit.
    ///
    /// # Errors
    /// As [`Fetcher::resolve`]; no such tag: kind `Input`.
    pub async fn moved_tag(&self, url: &SourceUrl, tag: &str, commit: &CommitId) -> Result<Option<CommitId>> {
        let reference = GitRef { branch: None, tag: Some(tag.to_owned()), rev: None };
        let found = self.resolve(url, &reference).await?.commit;
        Ok((found != *commit).then_some(found))
    }

    /// The object of an annotated tag of the upstream (or of the mirrors that rules put before it); `None` of a plain one.
    ///
    /// # Errors
    /// As [`Fetcher::resolve`].
    pub async fn tag_object(&self, url: &SourceUrl, tag: &str) -> Result<Option<String>> {
        check_ref(&format!("refs/tags/{tag}"))?;
        let what = format!("the tag {tag} of {}", redact(url.as_str()));
        let report = &LazyTask::new(&self.progress, &what, None);
        let ask = |place| async move { self.tag_object_at(&place, tag, report).await }.boxed();
        self.first_answer(url, ask).await?.map_err(|tried| self.nobody_answers(&what, tried))
    }

    async fn tag_object_at(&self, url: &SourceUrl, tag: &str, report: &LazyTask) -> Result<Option<String>, Failure> {
        must_be_for_git(url)?;
        let ask = || {
            let obtain = async {
                let scratch = self.store.scratch()?;
                report.task().note(&format!("from {}", shown_host(url)));
                self.git.tag_object(url, tag, scratch.path(), report.task()).await
            };
            obtain.boxed()
        };
        self.guard(report).attempt(url, ask).await
    }

    async fn resolve_at(&self, url: &SourceUrl, reference: &GitRef, report: &LazyTask) -> Result<Resolved, Failure> {
        must_be_for_git(url)?;
        let ask = || {
            report.task().note(&format!("asking {}", shown_host(url)));
            self.ask(url, reference).boxed()
        };
        let resolved = match self.guard(report).attempt(url, ask).await {
            Ok(resolved) => resolved,
            Err(failure) => return Err(self.explained(url, failure).await),
        };
        report.task().done(&format!("{} says {}", shown_host(url), resolved.commit.short()));
        Ok(resolved)
    }

    /// A failure of git's, or what is behind it. git takes a web page (a login, a proxy, a forge that went away) for a list of
    /// refs in which the wanted one is missing, so its own words do not say that a page came.
    pub(super) async fn explained(&self, url: &SourceUrl, failure: Failure) -> Failure {
        let said = failure.error.causes().join("\n").to_lowercase();
        let unclear = matches!(failure.class, Class::Permanent | Class::Doubtful) && !git::names_the_answer(&said);
        let asked = unclear && !self.limits.is_down(&url.host());
        let refs = format!("{}/info/refs?service=git-upload-pack", url.as_str().trim_end_matches('/'));
        let Some(refs) = refs.parse().ok().filter(|_| asked && ["https", "http"].contains(&url.scheme())) else {
            return failure;
        };
        match self.http.beginning(&refs, PAGE_HEAD).await {
            Ok(head) if plausible::is_page(&head) => {
                let error = at(url, "a web page came in place of a repository");
                let help = "look at the URL in a browser: a login or a proxy may stand before it, or the repository may have moved";
                Failure::permanent(error.help(help))
            }
            _ => failure,
        }
    }

    async fn ask(&self, url: &SourceUrl, reference: &GitRef) -> Result<Resolved, Failure> {
        let wanted = reference.full_names();
        if wanted.is_empty() {
            let (commit, branch) = self.git.head(url).await?;
            return Ok(Resolved { commit, refs: branch.into_iter().collect() });
        }
        let listed = self.git.list(url, &git::patterns(reference)).await?;
        // git matches a pattern with the end of a name; only the whole name is meant. A tag counts as what it points at.
        let at = |name: &String| {
            let peeled = format!("{name}^{{}}");
            let exact = |name: &str| listed.iter().find(|listed| listed.name == name).map(|listed| listed.id);
            exact(&peeled).or_else(|| exact(name))
        };
        // The tag, which comes after the branch in the list, is the more exact of the two.
        let decisive = wanted.last().ok_or_else(|| Error::bug("a reference without a name"))?;
        let Some(commit) = at(decisive) else {
            let all = self.git.list(url, &[]).await.unwrap_or_default();
            return Err(Failure::permanent(no_such_ref(url, decisive, &all)));
        };
        let refs = wanted.iter().filter(|name| at(name) == Some(commit)).cloned().collect();
        Ok(Resolved { commit, refs })
    }
}

fn no_such_ref(url: &SourceUrl, wanted: &str, all: &[git::Listed]) -> Error {
    let short = |name: &str| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name);
        name.trim_end_matches("^{}").to_owned()
    };
    let (kind, name) = (if wanted.starts_with("refs/tags/") { "tag" } else { "branch" }, short(wanted));
    let known: Vec<String> = all.iter().map(|listed| short(&listed.name)).collect();
    let error = Error::input(format!("{} has no {kind} `{name}`", redact(url.as_str())));
    match suggest::did_you_mean(&name, known.iter().map(String::as_str), 4) {
        Some(question) => error.help(question),
        None => error,
    }
}
