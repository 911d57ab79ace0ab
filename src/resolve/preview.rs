//! What `kbuild update --dry-run` says: which pins would move. Upstreams are asked for their refs, and nothing is fetched.

use futures_util::future::join_all;

use super::pins::{self, check_names};
use super::requirement::{self, Requirement, What};
use super::{Change, ChangeSide, UpdatePolicy, floating, pin};
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::lock::{Floating, Lock};
use crate::manifest::Manifest;
use crate::source::name::git_key;
use crate::source::{CommitId, GitRef, SourceId, SourceUrl};

/// The pins that would move.
#[derive(Debug, Default)]
pub struct Preview {
    /// Layers and declared sources in the order of the manifest, then recipes that name a moving ref.
    pub changes: Vec<Change>,
    /// Declared sources of which only a fetch can tell.
    pub unknown: Vec<String>,
}

/// Asks the upstreams where the pins would go that may move, or that the lock does not have.
///
/// # Errors
/// A name is unknown, or upstreams could not be asked: all of these in one error.
pub async fn preview(manifest: &Manifest, old: &Lock, fetcher: &Fetcher, update: &UpdatePolicy) -> Result<Preview> {
    check_names(manifest, old, update)?;
    let requirements = requirement::all(manifest);
    let asked = requirements.iter().filter(|wanted| match pin::kept(wanted, old) {
        // What `rev` says does not move.
        Some(_) => wanted.moves(update) && !matches!(wanted.what, What::Git(git) if git.reference.rev.is_some()),
        None => true,
    });
    let (mut preview, mut errors) = (Preview::default(), Vec::new());
    for (requirement, found) in
        join_all(asked.map(|wanted| async move { (wanted, ask(wanted, old, fetcher).await) })).await
    {
        match found {
            Ok(Some(to)) => preview.changes.extend(change(requirement, old, to)),
            Ok(None) => preview.unknown.push(requirement.name.to_owned()),
            Err(error) => errors.push(error.wrap(format!("could not ask about {requirement}"))),
        }
    }
    for found in join_all(recipes(old, update).map(|floating| async { moved(floating, fetcher).await })).await {
        match found {
            Ok(changes) => preview.changes.extend(changes),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors, |count| format!("{count} upstreams could not be asked")).map_or(Ok(preview), Err)
}

/// Where a pin would go; `None` if only its bytes can tell.
async fn ask(wanted: &Requirement<'_>, old: &Lock, fetcher: &Fetcher) -> Result<Option<ChangeSide>> {
    match wanted.what {
        What::Git(git) => {
            let commit = fetcher.resolve(&git.url, &git.reference).await?.commit;
            Ok(Some(at_commit(&git.url, commit)))
        }
        What::Image(image) => {
            let found = fetcher.image(&image.image, &image.architectures).await?;
            Ok(Some(ChangeSide { text: image.image.at(found.digest).to_string(), commit: None }))
        }
        What::File(file) => {
            let known = file.sha256.is_some() && wanted.pin(old).is_some();
            Ok(known.then(|| ChangeSide { text: SourceId::File(file.name.clone()).to_string(), commit: None }))
        }
    }
}

fn at_commit(url: &SourceUrl, commit: CommitId) -> ChangeSide {
    ChangeSide { text: SourceId::Git(git_key(url, &commit)).to_string(), commit: Some(commit) }
}

fn change(requirement: &Requirement<'_>, old: &Lock, to: ChangeSide) -> Option<Change> {
    let layer = requirement.is_layer();
    let from = pins::pinned(old, layer).get(requirement.name).map(|(text, _)| text.clone());
    let commit = pins::commit(old, layer, requirement.name);
    let from = from.map(|text| ChangeSide { text, commit });
    let name = requirement.name.to_owned();
    let same = |from: &ChangeSide| from.text == to.text || (from.commit.is_some() && from.commit == to.commit);
    (!from.as_ref().is_some_and(same)).then_some(Change { section: requirement.section(), name, from, to: Some(to) })
}

/// A moving ref that may move, and the recipes that name it.
struct MovingRef<'l> {
    floating: &'l Floating,
    recipes: Vec<&'l str>,
}

fn recipes<'l>(old: &'l Lock, update: &UpdatePolicy) -> impl Iterator<Item = MovingRef<'l>> {
    // The object of a tag, which a recipe names in place of a commit, stays.
    let moves = |floating: &&Floating| floating.reference.parse::<CommitId>().is_err();
    floating::moving(old, update).into_iter().filter_map(move |(key, recipes)| {
        let floating = old.floating.get(key).filter(moves)?;
        Some(MovingRef { floating, recipes: recipes.into_iter().collect() })
    })
}

async fn moved(MovingRef { floating, recipes }: MovingRef<'_>, fetcher: &Fetcher) -> Result<Vec<Change>> {
    let Floating { url, reference, commit } = floating;
    let found = now(url, reference, fetcher).await;
    let found = found.map_err(|error| error.wrap(format!("could not ask about recipe `{}`", recipes.join("`, `"))))?;
    let change = |recipe: &&str| Change {
        section: "recipe",
        name: (*recipe).to_owned(),
        from: Some(at_commit(url, *commit)),
        to: Some(at_commit(url, found)),
    };
    Ok(if found == *commit { Vec::new() } else { recipes.iter().map(change).collect() })
}

/// Where a moving ref is now, by its full name; empty for HEAD. What is locked as a tag may be a branch: SRCREV names both
/// alike.
async fn now(url: &SourceUrl, reference: &str, fetcher: &Fetcher) -> Result<CommitId> {
    let tag = reference.strip_prefix("refs/tags/").map(str::to_owned);
    let branch = reference.strip_prefix("refs/heads/").map(str::to_owned);
    let as_branch = GitRef { branch: tag.clone(), tag: None, rev: None };
    match fetcher.resolve(url, &GitRef { branch, tag, rev: None }).await {
        Err(error) if as_branch.branch.is_some() => {
            fetcher.resolve(url, &as_branch).await.map_or(Err(error), |found| Ok(found.commit))
        }
        found => Ok(found?.commit),
    }
}
