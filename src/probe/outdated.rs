//! What upstreams have that is newer than the pins of a manifest: tags and heads of branches, one look at each repository.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::fetch::{Listed, UpstreamAnswer, UpstreamClient, UpstreamLook};
use crate::lock::Lock;
use crate::manifest::{GitRequest, LayerOrigin, Manifest, PinSection, SourceOrigin};
use crate::source::{CommitId, GitRef, SourceUrl};

/// A layer or declared git source, and what its upstream has.
#[derive(Debug, Clone)]
pub struct PinOutlook {
    pub section: PinSection,
    pub name: String,
    pub url: SourceUrl,
    pub reference: GitRef,
    /// What it is locked to.
    pub commit: Option<CommitId>,
    pub found: UpstreamRefs,
}

/// What an upstream has for a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamRefs {
    /// It could not be asked, and why.
    Silent(String),
    /// It was asked.
    Refs {
        /// The commit of the pin's branch.
        head: Option<CommitId>,
        /// The newest tag after the pin's own.
        tag: Option<(String, CommitId)>,
    },
}

impl PinOutlook {
    /// The newer tag, if there is one.
    pub fn newer_tag(&self) -> Option<&(String, CommitId)> {
        match &self.found {
            UpstreamRefs::Refs { tag, .. } => tag.as_ref(),
            UpstreamRefs::Silent(_) => None,
        }
    }

    /// The commit of its branch, if it is another than the locked one. The branch of a pin with a tag says only where the tag is.
    pub fn newer_head(&self) -> Option<CommitId> {
        match &self.found {
            UpstreamRefs::Refs { head, .. } if self.reference.tag.is_none() => {
                head.filter(|head| Some(*head) != self.commit)
            }
            _ => None,
        }
    }

    /// Whether its upstream has something newer.
    pub fn is_outdated(&self) -> bool {
        self.newer_tag().is_some() || self.newer_head().is_some()
    }
}

/// Asks the upstream of each layer and declared git source, each repository once.
pub async fn outdated(manifest: &Manifest, lock: &Lock, upstreams: &UpstreamClient) -> Vec<PinOutlook> {
    let pins = pins(manifest);
    let urls: BTreeSet<&SourceUrl> = pins.iter().map(|(_, _, git)| &git.url).collect();
    let patterns = &["refs/heads/*".to_owned(), "refs/tags/*".to_owned()];
    let looks = join_all(urls.into_iter().map(|url| async move { (url, upstreams.git(url, patterns).await) })).await;
    let looks: BTreeMap<&SourceUrl, (UpstreamLook, Vec<Listed>)> = looks.into_iter().collect();
    let outlook = |(section, name, git): (PinSection, &str, &GitRequest)| PinOutlook {
        section,
        name: name.to_owned(),
        url: git.url.clone(),
        reference: git.reference.clone(),
        commit: locked_commit(lock, section, name),
        found: looks
            .get(&git.url)
            .map_or_else(|| UpstreamRefs::Silent(String::new()), |look| refs(&git.reference, look)),
    };
    pins.iter().copied().map(outlook).collect()
}

fn pins(manifest: &Manifest) -> Vec<(PinSection, &str, &GitRequest)> {
    let layers = manifest.layers.iter().filter_map(|(name, layer)| match &layer.origin {
        LayerOrigin::Git(git) => Some((PinSection::Layers, name.as_str(), git)),
        LayerOrigin::Path(_) => None,
    });
    let sources = manifest.sources.iter().filter_map(|(name, source)| match &source.origin {
        SourceOrigin::Git(git) => Some((PinSection::Sources, name.as_str(), git)),
        SourceOrigin::File(_) | SourceOrigin::Image(_) => None,
    });
    layers.chain(sources).collect()
}

fn locked_commit(lock: &Lock, section: PinSection, name: &str) -> Option<CommitId> {
    let pins = if section == PinSection::Layers { &lock.layers } else { &lock.sources };
    lock.commit(pins.get(name)?)
}

fn refs(reference: &GitRef, (look, listed): &(UpstreamLook, Vec<Listed>)) -> UpstreamRefs {
    if look.answer != UpstreamAnswer::There {
        return UpstreamRefs::Silent(look.why.clone().unwrap_or_else(|| look.answer.name().to_owned()));
    }
    let at = |name: &str| {
        let exact = |name: &str| listed.iter().find(|listed| listed.name == name).map(|listed| listed.id);
        exact(&format!("{name}^{{}}")).or_else(|| exact(name))
    };
    let head = reference.branch.as_ref().and_then(|branch| at(&format!("refs/heads/{branch}")));
    let names = listed.iter().filter_map(|listed| listed.name.strip_prefix("refs/tags/"));
    let newest = reference.tag.as_ref().and_then(|tag| newest_after(tag, names.filter(|name| !name.ends_with("^{}"))));
    let tag = newest.and_then(|tag| Some((tag.to_owned(), at(&format!("refs/tags/{tag}"))?)));
    UpstreamRefs::Refs { head, tag }
}

/// The newest of these tags that is a later version than a tag.
fn newest_after<'t>(tag: &str, tags: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let own = TagVersion::of(tag)?;
    let versions = tags.filter_map(|tag| Some((TagVersion::of(tag)?, tag)));
    let later = versions.filter(|(version, _)| version.follows(&own));
    later.max_by(|(one, _), (other, _)| one.compare(other)).map(|(_, tag)| tag)
}

/// A tag as a version: the words around its numbers, and the numbers.
#[derive(Debug, PartialEq, Eq)]
struct TagVersion<'t> {
    /// What stands before the first digit: `v`, `yocto-`.
    prefix: &'t str,
    numbers: Vec<u64>,
    /// The words behind it, without what separates them: `rc`; none of a release.
    words: Vec<&'t str>,
}

impl<'t> TagVersion<'t> {
    fn of(tag: &'t str) -> Option<TagVersion<'t>> {
        let start = tag.find(|c: char| c.is_ascii_digit())?;
        let (prefix, rest) = tag.split_at(start);
        let parts = |digits: bool| {
            let pieces = rest.split(move |c: char| c.is_ascii_digit() != digits);
            pieces.map(|piece| piece.trim_matches(['.', '-', '_', '+'])).filter(|piece| !piece.is_empty())
        };
        // A number that does not fit is a date with a time, or a hash: no version.
        let numbers = parts(true).map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(TagVersion { prefix, numbers, words: parts(false).collect() })
    }

    /// Whether it is a later version of the same kind. What has other words is a candidate, a build or another line, and no
    /// successor; the release of a candidate is.
    fn follows(&self, own: &TagVersion<'_>) -> bool {
        let same_words = self.words == own.words || self.words.is_empty();
        self.prefix == own.prefix && same_words && self.compare(own) == Ordering::Greater
    }

    /// By numbers; of two with the same beginning, a release is later than its candidate.
    fn compare(&self, other: &TagVersion<'_>) -> Ordering {
        let shared = self.numbers.len().min(other.numbers.len());
        let by_numbers = self.numbers[..shared].cmp(&other.numbers[..shared]);
        let release = other.words.len().cmp(&self.words.len());
        by_numbers.then(release).then(self.numbers.len().cmp(&other.numbers.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_tag_of_the_same_kind_is_found() {
        let after = |tag: &str, tags: &[&'static str]| newest_after(tag, tags.iter().copied());
        assert_eq!(after("v1", &["v1", "v2", "v10", "v11-rc1", "w12"]), Some("v10"));
        assert_eq!(after("3.32.0", &["3.31.0", "3.32.0", "3.33.0-rc0", "3.32.1"]), Some("3.32.1"));
        assert_eq!(after("3.33.0-rc0", &["3.33.0", "3.33.0-rc1"]), Some("3.33.0"));
        assert_eq!(after("3.33.0-rc0", &["3.33.0-rc1", "3.33.0-beta2"]), Some("3.33.0-rc1"));
        assert_eq!(after("yocto-5.0.3", &["yocto-5.0.10", "2024-04.6-scarthgap", "uninative-9"]), Some("yocto-5.0.10"));
        assert_eq!(after("3.32.0", &["3.32.0", "nightly-20260101"]), None);
        assert_eq!(after("release", &["release2"]), None);
    }
}
