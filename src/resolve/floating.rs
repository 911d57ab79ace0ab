//! Floating SRCREVs: refs that recipes name and that move, each resolved once for all recipes that name it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::UpdatePolicy;
use super::faults::{Faults, FaultyConfiguration};
use super::requests::{Discovered, PinnedRefs, without_multiconfig};
use crate::bitbake::report::FloatingSrcrev as Reported;
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::files::MANIFEST;
use crate::lock::{self, Closure, Floating, Lock, LockedBoard};
use crate::source::{CommitId, GitRef, SourceUrl};

/// Whether `kbuild update` was told to move a pin of the closure. A pin is `SRCREV_x:pn-RECIPE`.
pub(super) fn moves(closure: &Closure, update: &UpdatePolicy) -> bool {
    closure.pins.keys().any(|pin| pin_moves(pin, update))
}

fn pin_moves(pin: &str, update: &UpdatePolicy) -> bool {
    match update {
        UpdatePolicy::Nothing => false,
        UpdatePolicy::Everything => true,
        UpdatePolicy::Named(names) => {
            names.iter().any(|name| lock::pin_parts(pin).is_some_and(|(_, recipe)| recipe == name))
        }
    }
}

/// The recipes among the pins of a lock.
pub(super) fn recipes(lock: &Lock) -> impl Iterator<Item = &str> {
    pins(lock).filter_map(|(pin, _)| lock::pin_parts(pin)).map(|(_, recipe)| recipe)
}

/// Every pin of a lock, `SRCREV_x:pn-RECIPE`, and the key of its moving ref.
fn pins(lock: &Lock) -> impl Iterator<Item = (&str, &str)> {
    let closures = lock.boards.values().flat_map(LockedBoard::closures);
    closures.flat_map(|(_, closure)| &closure.pins).map(|(pin, key)| (pin.as_str(), key.as_str()))
}

/// The moving refs of a lock that `kbuild update` was told to move, each with the recipes that name it.
pub(super) fn moving<'l>(lock: &'l Lock, update: &UpdatePolicy) -> BTreeMap<&'l str, BTreeSet<&'l str>> {
    let mut moving: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (pin, key) in pins(lock).filter(|(pin, _)| pin_moves(pin, update)) {
        moving.entry(key).or_default().extend(lock::pin_parts(pin).map(|(_, recipe)| recipe));
    }
    moving
}

/// A moving ref, and the recipes that name it.
struct FloatingRef<'a> {
    /// The first that named it.
    floating: &'a Reported,
    url: SourceUrl,
    reference: String,
    moves: bool,
    /// Whether a recipe of a closure fetches it.
    needed: bool,
}

/// The commit of a ref now. BitBake takes a name that SRCREV gives for a tag as well as for a branch
/// (`bb.fetch2.git.Git._latest_revision`).
async fn look_up(floating: &Reported, url: &SourceUrl, fetcher: &Fetcher) -> Result<CommitId> {
    let branch = |name: &str| GitRef { branch: Some(name.to_owned()), tag: None, rev: None };
    let tag = |name: &str| GitRef { branch: None, tag: Some(name.to_owned()), rev: None };
    let resolve = async |reference: GitRef| Ok(fetcher.resolve(url, &reference).await?.commit);
    match floating.tag.as_deref() {
        None => resolve(GitRef { branch: floating.branch.clone(), tag: None, rev: None }).await,
        Some(name) => match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
            (Some(name), _) => resolve(branch(name)).await,
            (_, Some(name)) => resolve(tag(name)).await,
            _ => match resolve(tag(name)).await {
                Ok(commit) => Ok(commit),
                Err(error) => resolve(branch(name)).await.map_err(|_| error),
            },
        },
    }
}

/// Resolves every moving ref that was found, in the closure or not, so that BitBake parses the same everywhere. A ref
/// that cannot be resolved is a fault, if a recipe in a closure fetches it.
pub(super) async fn pin(
    found: &[Discovered],
    old: &Lock,
    fetcher: &Fetcher,
    update: &UpdatePolicy,
    warnings: &mut Vec<String>,
    faults: &mut Faults,
) -> Result<(BTreeMap<String, Floating>, PinnedRefs)> {
    let mut pinned = PinnedRefs::default();
    let mut wanted: BTreeMap<String, FloatingRef<'_>> = BTreeMap::new();
    for found in found {
        for floating in &found.report.floating {
            let url: SourceUrl = floating.url.parse()?;
            let reference = full_name(floating);
            let key = Floating::key(&url, &reference);
            let pin = lock::pin(&floating.variable, without_multiconfig(&floating.recipe));
            let asked = FloatingRef { floating, url, reference, moves: false, needed: false };
            let asked = wanted.entry(key.clone()).or_insert(asked);
            asked.moves |= pin_moves(&pin, update);
            asked.needed |= found.report.recipes.iter().any(|recipe| recipe.name == floating.recipe);
            pinned.pins.entry(found.configuration()).or_default().insert(pin, key);
        }
    }
    let resolved =
        join_all(wanted.into_iter().map(|(key, FloatingRef { floating, url, reference, moves, needed })| async move {
            if let Some(known) = old.floating.get(&key).filter(|_| !moves) {
                return Ok((key, known.clone()));
            }
            match look_up(floating, &url, fetcher).await {
                Ok(commit) => Ok((key, Floating { url, reference, commit })),
                Err(error) => Err((key, cannot_pin(error, floating), needed)),
            }
        }));
    let mut floating = BTreeMap::new();
    for result in resolved.await {
        match result {
            Ok((key, value)) => drop(floating.insert(key, value)),
            Err((key, error, needed)) => {
                let closures = pinned.give_up(&key);
                if needed {
                    faults.add_to(closures, error);
                } else {
                    // BitBake parses without it, and nothing that is built fetches it.
                    warnings.push(error.to_string());
                }
            }
        }
    }
    Ok((floating, pinned))
}

impl PinnedRefs {
    /// Forgets the variables that lead to a key, and gives the configurations that have them.
    fn give_up(&mut self, key: &str) -> BTreeSet<FaultyConfiguration> {
        let mut closures = BTreeSet::new();
        for (configuration, pins) in &mut self.pins {
            let gone: Vec<String> =
                pins.iter().filter(|(_, other)| *other == key).map(|(pin, _)| pin.clone()).collect();
            if !gone.is_empty() {
                closures.insert(configuration.clone());
            }
            pins.retain(|_, other| other != key);
            self.failed.extend(gone);
        }
        closures
    }
}

fn cannot_pin(error: Error, floating: &Reported) -> Error {
    let Reported { recipe, variable, file, layer, .. } = floating;
    if let Some(short) = abbreviated(floating).filter(|_| error.kind() == Kind::Input) {
        return error
            .wrap(format!("{recipe} ({file} in layer {layer}) gives an abbreviated commit in {variable}: `{short}`"))
            .help(format!(
                "write all 40 digits (`git rev-parse {short}` in a clone prints them): BitBake takes fewer for the name of a \
                 branch or tag"
            ));
    }
    error
        .wrap(format!("{recipe} ({file} in layer {layer}) names no commit in {variable}, and its upstream gives none"))
        .help(format!(
            "declare its repository as a source with `rev` and `recipes = [\"{recipe}\"]`, or leave the recipe out \
             with a `[closure.mask]` in {MANIFEST}"
        ))
}

/// A value that looks like the first digits of a commit, where a whole commit is wanted.
fn abbreviated(floating: &Reported) -> Option<&str> {
    let name = floating.tag.as_deref()?;
    let digits = (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then_some(name)
}

/// The full name of the ref that decides; empty for HEAD.
fn full_name(floating: &Reported) -> String {
    match (&floating.tag, &floating.branch) {
        (Some(full), _) if full.starts_with("refs/") => full.clone(),
        (Some(tag), _) => format!("refs/tags/{tag}"),
        (None, Some(branch)) => format!("refs/heads/{branch}"),
        (None, None) => String::new(),
    }
}
