//! Pinning an image: the digest that its name resolves to, and the archive of each architecture.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::requirement::{Requirement, asked};
use crate::error::{Error, Kind, Result};
use crate::fetch::{Fetcher, WantedFile};
use crate::files::MANIFEST;
use crate::lock::{Content, Lock, LockedFile, LockedImage};
use crate::manifest::ImageRequest;
use crate::source::{Access, ImageName, Sha256, SourceId, SourceUrl};

/// An image with the archive of each architecture, by its name.
#[derive(Debug, Clone)]
pub(super) struct PinnedImage {
    pub(super) image: LockedImage,
    pub(super) files: BTreeMap<String, LockedFile>,
}

/// The pin that an old lock has for the same request.
pub(super) fn kept(requirement: &Requirement<'_>, wanted: &ImageRequest, old: &Lock) -> Option<PinnedImage> {
    let image = old.images.get(requirement.name).filter(|image| image.request == asked(requirement, wanted))?;
    let as_declared = wanted.digest.is_none_or(|declared| declared == image.digest);
    let files = image.locked.values().map(|id| Some((id.key().to_owned(), own_file(old, id)?)));
    let files = files.collect::<Option<BTreeMap<_, _>>>()?;
    as_declared.then(|| PinnedImage { image: image.clone(), files })
}

/// The archive without the URLs that a recipe may have added to the block.
fn own_file(old: &Lock, id: &SourceId) -> Option<LockedFile> {
    let file = old.files.get(id.key()).filter(|file| file.content.is_some())?;
    let urls: Vec<SourceUrl> = file.urls.iter().filter(|url| url.access() == Access::Image).cloned().collect();
    (!urls.is_empty()).then(|| LockedFile { urls, ..file.clone() })
}

/// Finds the images behind a name, and fetches them for their hashes. The digest that an old lock has for the same name
/// is kept also where other architectures are wanted now, unless it `moves`: only `kbuild update` moves a tag.
pub(super) async fn find(
    requirement: &Requirement<'_>,
    wanted: &ImageRequest,
    moves: bool,
    old: &Lock,
    fetcher: &Fetcher,
) -> Result<PinnedImage> {
    let stays = |pinned: &&LockedImage| !moves && pinned.request.image == wanted.image;
    let pinned = old.images.get(requirement.name).filter(stays);
    let pinned =
        pinned.map(|pinned| pinned.digest).filter(|pinned| wanted.digest.is_none_or(|digest| digest == *pinned));
    let named = pinned.map_or_else(|| wanted.image.clone(), |digest| wanted.image.at(digest));
    let found = fetcher.image(&named, &wanted.architectures).await?;
    if let Some(declared) = wanted.digest.filter(|declared| *declared != found.digest) {
        return Err(other_digest(&wanted.image, &declared, &found.digest));
    }
    let version = requirement.version.map_or_else(|| found.digest.to_string()[..12].to_owned(), str::to_owned);
    let archives = found.manifests.iter().map(|(architecture, manifest)| {
        let name = format!("{}-{version}-{architecture}.oci.tar", requirement.name);
        async move {
            Ok((architecture.clone(), name.clone(), archive(&name, &wanted.image.at(*manifest), old, fetcher).await?))
        }
    });
    let (mut locked, mut files) = (BTreeMap::new(), BTreeMap::new());
    for (architecture, name, file) in try_join_all(archives).await? {
        locked.insert(architecture, SourceId::File(name.clone()));
        files.insert(name, file);
    }
    let image = LockedImage { request: asked(requirement, wanted), digest: found.digest, locked };
    Ok(PinnedImage { image, files })
}

/// The archive of one image. An archive of the same image manifest that the lock has under another name has the same
/// bytes.
async fn archive(name: &str, image: &ImageName, old: &Lock, fetcher: &Fetcher) -> Result<LockedFile> {
    let url = image.to_url()?;
    let known = old.files.values().find(|file| file.urls.contains(&url));
    if let Some(LockedFile { sha256, content: Some(content), .. }) = known {
        return Ok(LockedFile {
            name: None,
            urls: vec![url],
            sha256: *sha256,
            stated_size: None,
            content: Some(*content),
        });
    }
    let request = WantedFile {
        name: name.to_owned(),
        urls: vec![url.clone()],
        sha256: None,
        sums: Vec::new(),
        stated_size: None,
        content: None,
    };
    let seen = fetcher.file(&request).await?;
    let content = Some(Content { blake3: seen.blake3, size: seen.size });
    Ok(LockedFile { name: None, urls: vec![url], sha256: seen.sha256, stated_size: None, content })
}

fn other_digest(image: &ImageName, declared: &Sha256, got: &Sha256) -> Error {
    Error::new(Kind::Mismatch, format!("{image} is not the image that {MANIFEST} declares"))
        .because(format!("expected digest sha256:{declared}\n     got digest sha256:{got}"))
        .help(format!("if the tag was meant to move, put `digest = \"sha256:{got}\"` into {MANIFEST}, or take it out"))
}
