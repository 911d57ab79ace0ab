//! Signatures of layers, checked when a pin is found anew, when its signers changed, or when it was not complete. A build checks
//! them again ([`crate::builder`]), with what the lock has.

use super::pin::{self, ResolvedPin};
use super::requirement::{Requirement, What};
use crate::error::{Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::lock::{Lock, Locked, LockedGit, Request};
use crate::manifest::GitRequest;
use crate::source::Signers;
use crate::store::Signature;

/// A pin that was found, with the object of the tag where that is what is signed.
///
/// # Errors
/// None of the signers signed it: kind `Mismatch`. The tag could not be fetched, or a program for the check is missing.
pub(super) async fn checked(
    requirement: &Requirement<'_>,
    found: ResolvedPin,
    old: &Lock,
    fetcher: &Fetcher,
) -> Result<ResolvedPin> {
    let (Some(signers), What::Git(wanted), ResolvedPin::Git(git)) = (requirement.signers, requirement.what, &found)
    else {
        return Ok(found);
    };
    let stood = pin::kept(requirement, old);
    let is_kept = matches!(&stood, Some(ResolvedPin::Git(kept)) if kept.commit() == git.commit());
    let before = stood.filter(|_| is_kept);
    if before.as_ref().is_some_and(ResolvedPin::is_complete) {
        let signed_tag = before.and_then(|pin| pin.signed_tag());
        return Ok(found.with_signed_tag(signed_tag));
    }
    if !git.is_seen() {
        // Without the bytes nothing can be checked; a build needs them, and checks.
        return Ok(found);
    }
    let locked = git.locked();
    let tag = signed_tag(requirement, wanted, locked, signers, old, fetcher).await?;
    Ok(found.with_signed_tag(tag))
}

/// `None` where the commit itself is signed.
async fn signed_tag(
    requirement: &Requirement<'_>,
    wanted: &GitRequest,
    git: &LockedGit,
    signers: &Signers,
    old: &Lock,
    fetcher: &Fetcher,
) -> Result<Option<String>> {
    let store = fetcher.store();
    let Signature::Refused(why) = store.signature_of_commit(&git.commit, signers)? else { return Ok(None) };
    let refused = |why: String| {
        let message =
            format!("commit {} of the layer `{}` is not signed as it has to be", git.commit, requirement.name);
        Error::new(Kind::Mismatch, message).because(why).help(HELP)
    };
    let Some(tag) = &wanted.reference.tag else { return Err(refused(why)) };
    let text = match known_tag(requirement, tag, git, old) {
        Some(text) => Some(text),
        None => fetcher.tag_object(&wanted.url, tag).await?,
    };
    let Some(text) = text else {
        return Err(refused(format!("{why}; the tag `{tag}` is a plain one, which has no signature")));
    };
    match store.signature_of_tag(tag, &text, &git.commit, signers)? {
        Signature::Good => Ok(Some(text)),
        Signature::Refused(of_tag) => Err(refused(format!("the commit: {why}\nthe tag `{tag}`: {of_tag}"))),
    }
}

/// What to do about a layer that is not signed.
const HELP: &str =
    "if it is to be trusted, add its signer to the layer's `signers`; else choose a commit or tag that is signed";

/// The tag's object that the old lock has of the same tag and commit.
fn known_tag(requirement: &Requirement<'_>, tag: &str, git: &LockedGit, old: &Lock) -> Option<String> {
    let pin = requirement.pin(old)?;
    let Request::Git { reference, .. } = &pin.request else { return None };
    let same = matches!(old.get(&pin.locked), Ok(Locked::Git(_, locked)) if locked.commit == git.commit);
    pin.signed_tag.clone().filter(|_| same && reference.tag.as_deref() == Some(tag))
}
