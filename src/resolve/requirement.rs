//! The entries that the manifest asks to be locked, and the pins of an old lock that still answer them.

use std::fmt;

use super::UpdatePolicy;
use crate::lock::{ImageAsked, Lock, Pin, Request};
use crate::manifest::{FileRequest, GitRequest, ImageRequest, LayerOrigin, Manifest, SourceOrigin};
use crate::source::Signers;

/// One entry of the manifest that has to be pinned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirement<'a> {
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) what: What<'a>,
    /// Who may sign it; only of a layer.
    pub(super) signers: Option<&'a Signers>,
    layer: bool,
}

/// A file, a commit or an image.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    File(&'a FileRequest),
    Git(&'a GitRequest),
    Image(&'a ImageRequest),
}

/// All requirements of a manifest, in its order. Local layers are versioned with the project and not locked.
pub(super) fn all(manifest: &Manifest) -> Vec<Requirement<'_>> {
    let layers = manifest.layers.iter().filter_map(|(name, layer)| match &layer.origin {
        LayerOrigin::Git(git) => {
            let signers = layer.signers.as_ref();
            Some(Requirement { name, version: None, what: What::Git(git), signers, layer: true })
        }
        LayerOrigin::Path(_) => None,
    });
    let sources = manifest.sources.iter().map(|(name, source)| {
        let what = match &source.origin {
            SourceOrigin::File(file) => What::File(file),
            SourceOrigin::Git(git) => What::Git(git),
            SourceOrigin::Image(image) => What::Image(image),
        };
        Requirement { name, version: source.version.as_deref(), what, signers: None, layer: false }
    });
    layers.chain(sources).collect()
}

impl Requirement<'_> {
    pub(super) fn is_layer(&self) -> bool {
        self.layer
    }

    pub(super) fn section(&self) -> &'static str {
        if self.layer { "layer" } else { "source" }
    }

    /// The request, as the lock records it; `None` for an image, of which the lock records something else.
    pub(super) fn request(&self) -> Option<Request> {
        let version = self.version.map(str::to_owned);
        match self.what {
            What::File(file) => Some(Request::File { url: file.urls[0].clone(), version }),
            What::Git(git) => Some(Request::Git {
                url: git.url.clone(),
                reference: git.reference.clone(),
                version,
                submodules: git.submodules,
                history: git.history,
                lfs: git.lfs,
                signers: self.signers.map(|signers| signers.identities.clone()).unwrap_or_default(),
            }),
            What::Image(_) => None,
        }
    }

    /// Whether its pin may move.
    pub(super) fn moves(&self, update: &UpdatePolicy) -> bool {
        match update {
            UpdatePolicy::Nothing => false,
            UpdatePolicy::Everything => true,
            UpdatePolicy::Named(names) => names.iter().any(|name| name == self.name),
        }
    }

    /// Why [`super::pin::kept`] returned `None`.
    pub(super) fn why_not_kept(&self, old: &Lock) -> String {
        let (wanted, locked) = match self.what {
            What::Image(image) => {
                let wanted = asked(self, image);
                let locked = old.images.get(self.name).map(|locked| &locked.request);
                (wanted.in_words(), locked.map(|locked| (*locked == wanted, locked.in_words())))
            }
            _ => {
                let wanted = self.request();
                let locked = self.pin(old).map(|pin| (Some(&pin.request) == wanted.as_ref(), pin.request.in_words()));
                (wanted.map(|wanted| wanted.in_words()).unwrap_or_default(), locked)
            }
        };
        match locked {
            None => format!("{self} is not locked yet"),
            Some((false, locked)) => format!("{self} asks for {wanted}, but what is locked is {locked}"),
            Some((true, _)) => format!("{self} declares another sha256, digest or name than what is locked"),
        }
    }

    /// The pin that an old lock has for its name, whatever the request was.
    pub(super) fn pin<'l>(&self, lock: &'l Lock) -> Option<&'l Pin> {
        if self.layer { lock.layers.get(self.name) } else { lock.sources.get(self.name) }
    }
}

impl fmt::Display for Requirement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.section(), self.name)
    }
}

/// What the lock records of the request.
pub(super) fn asked(requirement: &Requirement<'_>, wanted: &ImageRequest) -> ImageAsked {
    ImageAsked {
        image: wanted.image.clone(),
        version: requirement.version.map(str::to_owned),
        architectures: wanted.architectures.clone(),
    }
}
