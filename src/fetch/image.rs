//! Container images: resolving the name of an image, and the archive that an image becomes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Fetcher;
use crate::error::{Error, Kind, Result};
use crate::net::blocking;
use crate::net::report::LazyTask;
use crate::net::retry::Failure;
use crate::net::transfer::{Delivery, Download, Expected, at, partial};
use crate::oci::client::{INDEXES, MANIFESTS, ReceivedManifest};
use crate::oci::layout::{LayoutPlan, LayoutStream};
use crate::progress::Task;
use crate::source::image::{Architecture, USUAL_ARCHITECTURES, parse_digest};
use crate::source::url::redact;
use crate::source::{ImageName, Sha256, SourceUrl};
use crate::store::PartialDownload;
use futures_util::FutureExt as _;

/// The result of resolving the name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The digest of the index, or of the manifest where there is no index.
    pub digest: Sha256,
    /// The digest of the manifest of each wanted architecture, by BitBake's word for it.
    pub manifests: BTreeMap<String, Sha256>,
}

#[derive(Deserialize)]
struct ImageIndex {
    manifests: Vec<IndexEntry>,
}

#[derive(Deserialize)]
struct IndexEntry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct PlatformManifest {
    config: PlatformDescriptor,
}

#[derive(Deserialize)]
struct PlatformDescriptor {
    digest: String,
}

/// The images of an index by BitBake's name of the architecture, and the index's own names of those that BitBake does
/// not know.
#[derive(Default)]
struct Offered {
    known: BTreeMap<String, Sha256>,
    other: Vec<String>,
}

impl Fetcher {
    /// Asks the registry (or the mirrors that rules put before it) to resolve an image's name, for these architectures
    /// or, where none is named, the usual ones that it has.
    ///
    /// # Errors
    /// No answer (kind `Network`, `Missing` when offline); no such tag, or an architecture that it does not have (kind
    /// `Input`).
    pub async fn image(&self, image: &ImageName, architectures: &[String]) -> Result<ResolvedImage> {
        let what = image.to_string();
        let report = &LazyTask::new(&self.progress, &what, None);
        let ask = |place| async move { self.image_at(&place, architectures, report).await }.boxed();
        self.first_answer(&image.to_url()?, ask).await?.map_err(|tried| self.nobody_answers(&what, tried))
    }

    async fn image_at(
        &self,
        place: &SourceUrl,
        architectures: &[String],
        report: &LazyTask,
    ) -> Result<ResolvedImage, Failure> {
        if place.scheme() != "oci" {
            return Err(Failure::permanent(at(place, "only a registry can say what an image's name leads to")));
        }
        let image = ImageName::of_url(place)?;
        let ask = || {
            report.task().note(&format!("asking {}", place.host()));
            self.resolve_image(&image, architectures).boxed()
        };
        let resolved = self.guard(report).attempt(place, ask).await?;
        let digest = resolved.digest.to_string();
        report.task().done(&format!("{} says sha256:{}", place.host(), &digest[..12]));
        Ok(resolved)
    }

    async fn resolve_image(&self, image: &ImageName, wanted: &[String]) -> Result<ResolvedImage, Failure> {
        let received = self.images.manifest(&self.http, image).await?;
        let offered = if INDEXES.contains(&received.media_type.as_str()) {
            offered(image, &received)?
        } else {
            self.offered_alone(image, &received).await?
        };
        let manifests = offered.choose(image, wanted).map_err(Failure::permanent)?;
        Ok(ResolvedImage { digest: received.digest, manifests })
    }

    /// An image without an index says in its configuration what it is for.
    async fn offered_alone(&self, image: &ImageName, received: &ReceivedManifest) -> Result<Offered, Failure> {
        let url = image.to_url()?;
        if !MANIFESTS.contains(&received.media_type.as_str()) {
            let why = format!("it is `{}`, which is not a container image", received.media_type);
            return Err(Failure::permanent(at(&url, redact(&why))));
        }
        let unreadable = || Failure::permanent(at(&url, "its manifest cannot be read"));
        let manifest: PlatformManifest = serde_json::from_slice(&received.bytes).map_err(|_| unreadable())?;
        let config = parse_digest(&manifest.config.digest).ok_or_else(unreadable)?;
        let config = self.images.small_blob(&self.http, image, &config).await?;
        let platform: Platform = serde_json::from_slice(&config)
            .map_err(|_| Failure::permanent(at(&url, "it does not say which architecture it is for")))?;
        let mut offered = Offered::default();
        offered.add(&platform, received.digest);
        Ok(offered)
    }

    /// Fetches the archive of an image into a partial download, and goes on after the bytes that are there already: the
    /// archive is a function of the image's manifest, so its bytes are the same wherever they come from.
    pub(super) async fn image_transfer(
        &self,
        url: &SourceUrl,
        slot: &mut Option<PartialDownload>,
        expected: &Expected,
        task: &dyn Task,
    ) -> Result<Delivery, Failure> {
        let image = ImageName::of_url(url)?;
        if image.digest.is_none() {
            return Err(Failure::permanent(at(
                url,
                "it names an image by a tag, which may move; only a digest is fetched",
            )));
        }
        let received = self.images.manifest(&self.http, &image).await?;
        let plan = LayoutPlan::of(url, &received)?;
        let mut from = partial(slot)?.size();
        loop {
            if from > plan.total() {
                from = 0;
            }
            if from == 0 && partial(slot)?.size() > 0 {
                partial(slot)?.restart()?;
            }
            partial(slot)?.set_validator(None)?;
            let path = partial(slot)?.path().to_owned();
            // Where the hash of the archive is known, it decides at the end.
            let present = plan.present(from, expected.sha256.is_none());
            let Some(hashed) = blocking(move || present.read(&path)).await? else {
                task.note("the resumed download is damaged: from the start");
                from = 0;
                continue;
            };
            let mut archive = LayoutStream::new(&self.images, &self.http, &image, plan.after(from), hashed);
            let total = Some(plan.total());
            let inflow =
                Download { url: url.as_url(), end: url.as_url(), expected, task, policy: &self.policy, from, total };
            inflow.must_fit()?;
            match inflow.take(slot, &mut archive).await {
                Ok(head) => return Ok(Delivery { url: url.as_url().clone(), head, resumed: from > 0 }),
                // The bytes of an earlier run may be damaged: that need not be this registry's failure.
                Err(failure) if failure.error.kind() == Kind::Mismatch && from > 0 => {
                    task.note("the resumed download is damaged: from the start");
                    from = 0;
                }
                Err(failure) if failure.error.kind() == Kind::Mismatch => {
                    partial(slot)?.restart()?;
                    return Err(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn offered(image: &ImageName, received: &ReceivedManifest) -> Result<Offered, Failure> {
    let unreadable = || Failure::from(image.to_url().map_or_else(|e| e, |url| at(&url, "its index cannot be read")));
    let index: ImageIndex = serde_json::from_slice(&received.bytes).map_err(|_| unreadable())?;
    let mut offered = Offered::default();
    for IndexEntry { digest, platform } in index.manifests {
        // Attestations and the like have a platform `unknown`, or none.
        if let (Some(platform), Some(digest)) = (platform, parse_digest(&digest)) {
            offered.add(&platform, digest);
        }
    }
    Ok(offered)
}

impl Offered {
    /// The first of several for one architecture is taken, as docker does.
    fn add(&mut self, platform: &Platform, digest: Sha256) {
        let Platform { os, architecture, variant } = platform;
        let os = os.as_deref().unwrap_or("linux");
        match Architecture::of_image(architecture, variant.as_deref()).filter(|_| os == "linux") {
            Some(known) => drop(self.known.entry(known.name.to_owned()).or_insert(digest)),
            None if architecture == "unknown" => {}
            None => {
                let words: Vec<&str> =
                    [Some(os), Some(architecture.as_str()), variant.as_deref()].into_iter().flatten().collect();
                self.other.push(redact(&words.join("/")));
            }
        }
    }

    fn choose(&self, image: &ImageName, wanted: &[String]) -> Result<BTreeMap<String, Sha256>> {
        if let Some(missing) = wanted.iter().find(|name| !self.known.contains_key(*name)) {
            return Err(Error::input(format!("{image} has no image for {missing}")).help(self.in_words()));
        }
        let is_wanted = |name: &String| match wanted {
            [] => USUAL_ARCHITECTURES.contains(&name.as_str()),
            wanted => wanted.contains(name),
        };
        let chosen: BTreeMap<_, _> = self
            .known
            .iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, digest)| (name.clone(), *digest))
            .collect();
        if chosen.is_empty() {
            let error = Error::input(format!("{image} has no image for {}", USUAL_ARCHITECTURES.join(" or ")));
            return Err(error.help(format!("name what you want with `architectures = […]`; {}", self.in_words())));
        }
        Ok(chosen)
    }

    fn in_words(&self) -> String {
        let all: Vec<&str> = self.known.keys().chain(&self.other).map(String::as_str).collect();
        if all.is_empty() { "it has none at all".to_owned() } else { format!("it has: {}", all.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[&str]) -> ReceivedManifest {
        let entry = |platform: &&str| format!(r#"{{"digest":"sha256:{}","platform":{platform}}}"#, "1".repeat(64));
        let entries: Vec<String> = entries.iter().map(entry).collect();
        let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
        ReceivedManifest { bytes: text.into_bytes(), digest: Sha256::from([0; 32]), media_type: INDEXES[0].to_owned() }
    }

    #[test]
    fn the_usual_architectures_are_taken_unless_others_are_named() {
        let image = ImageName::read("alpine").unwrap();
        let all = index(&[
            r#"{"os":"linux","architecture":"amd64"}"#,
            r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#,
            r#"{"os":"linux","architecture":"riscv64"}"#,
            r#"{"os":"windows","architecture":"amd64"}"#,
            r#"{"os":"unknown","architecture":"unknown"}"#,
        ]);
        let offered = offered(&image, &all).unwrap();
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            offered.choose(&image, &wanted).map(|chosen| chosen.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["aarch64", "x86_64"]);
        assert_eq!(names(&["riscv64"]).unwrap(), ["riscv64"]);
        let error = names(&["s390x"]).unwrap_err();
        assert_eq!(error.to_string(), "docker.io/library/alpine:latest has no image for s390x");
        assert_eq!(error.hint(), Some("it has: aarch64, riscv64, x86_64, windows/amd64"));
    }

    #[test]
    fn an_image_for_none_of_the_usual_has_to_be_named() {
        let image = ImageName::read("alpine").unwrap();
        let offered = offered(&image, &index(&[r#"{"architecture":"s390x"}"#])).unwrap();
        assert!(
            offered.choose(&image, &[]).unwrap_err().hint().unwrap().contains("architectures = […]`; it has: s390x")
        );
    }
}
