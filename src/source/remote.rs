//! Addresses of stores that are neither a directory nor a web server: `s3://BUCKET/PREFIX` and others.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::ImageName;
use super::name::check_component;
use super::url::redact;
use crate::error::{Error, Result};

/// A kind of service that a store can be kept at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Amazon's S3, and all servers with its protocol (`s3:`).
    S3,
    /// Google's Cloud Storage (`gs:`).
    Google,
    /// Azure's Blob Storage (`az:`).
    Azure,
    /// A registry of container images (`oci:`).
    Registry,
}

impl Service {
    /// The service that a URL's scheme means.
    pub fn of(scheme: &str) -> Option<Service> {
        Some(match scheme {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            "oci" => Service::Registry,
            _ => return None,
        })
    }
}

/// The address of a store at such a service: checked, without credentials, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// Whether a text is meant as such an address, valid or not.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| Service::of(scheme).is_some())
    }

    /// The service of the store.
    pub fn service(&self) -> Service {
        // `from_str` accepts no other scheme.
        Service::of(self.0.scheme()).unwrap_or(Service::S3)
    }

    /// The bucket; Azure calls it a container.
    pub fn bucket(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The repository of a registry, with its tag: `latest` if the address has none.
    pub fn image(&self) -> ImageName {
        let place = self.0.as_str().strip_prefix("oci://").unwrap_or_default();
        let named = ImageName::of_place(place.trim_end_matches('/'));
        let mut image = named.unwrap_or_else(|_| {
            // `from_str` accepts no other text.
            ImageName { registry: String::new(), repository: String::new(), tag: None, digest: None }
        });
        image.tag.get_or_insert_with(|| "latest".to_owned());
        image
    }

    /// The path of the store in the bucket, without slashes around it; empty for the bucket itself.
    pub fn prefix(&self) -> &str {
        self.0.path().trim_matches('/')
    }

    /// The address of something in the store, for messages.
    pub fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&[self.prefix(), path].join("/"));
        url
    }

    /// The address as a URL.
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for RemoteUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Error::input(format!("`{}` is not the address of a store: {why}", redact(text).escape_debug()));
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it contains white space or control characters"));
        }
        let mut url = Url::parse(text).map_err(|_| refuse("it cannot be parsed"))?;
        if Service::of(url.scheme()).is_none() {
            return Err(refuse(&format!("kbuild does not know stores of `{}:`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let help = "credentials come from the environment or the usual files, never from a URL";
            return Err(refuse("it contains credentials").help(help));
        }
        if url.scheme() == "oci" {
            let place = url.as_str().trim_end_matches('/').strip_prefix("oci://").unwrap_or_default().to_owned();
            let image = ImageName::of_place(&place).map_err(|why| {
                refuse(why).help("write the address as `oci://HOST/REPOSITORY` or `oci://HOST/REPOSITORY:TAG`")
            })?;
            if image.digest.is_some() {
                return Err(refuse("a store is a tag, not a digest").help("remove `@sha256:…`"));
            }
            return image.to_url().map(|url| RemoteUrl(url.as_url().clone()));
        }
        if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
            let error = refuse("it may have only a bucket and a prefix");
            return Err(error.help("to use another server with S3's protocol, set AWS_ENDPOINT_URL"));
        }
        let bucket = url.host_str().unwrap_or_default();
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if bucket.is_empty() || !bucket.chars().all(usual) || bucket.starts_with(['-', '.']) {
            return Err(refuse("it has no bucket, or the bucket's name is not valid"));
        }
        let path = url.path().trim_matches('/').to_owned();
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.+~=/".contains(c);
        if !path.is_empty() && (!path.chars().all(usual) || path.split('/').any(|part| check_component(part).is_err()))
        {
            return Err(refuse("its prefix is not valid").help("use only letters, digits and `-_.+~=`"));
        }
        url.set_path(&path);
        Ok(RemoteUrl(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_prefix_are_read() {
        for (text, shown, bucket, prefix) in [
            ("s3://team", "s3://team", "team", ""),
            ("s3://team/", "s3://team", "team", ""),
            ("gs://my_bucket/kata/v1/", "gs://my_bucket/kata/v1", "my_bucket", "kata/v1"),
            ("az://container/kata", "az://container/kata", "container", "kata"),
        ] {
            let url: RemoteUrl = text.parse().unwrap();
            assert_eq!((url.to_string().trim_end_matches('/'), url.bucket(), url.prefix()), (shown, bucket, prefix));
            assert!(RemoteUrl::is_meant(text));
        }
        let below = |text: &str| text.parse::<RemoteUrl>().unwrap().below("blobs/ab/abc").to_string();
        assert_eq!(below("s3://team"), "s3://team/blobs/ab/abc");
        assert_eq!(below("s3://team/kata"), "s3://team/kata/blobs/ab/abc");
    }

    #[test]
    fn a_repository_of_a_registry_is_one_too() {
        for (text, image) in [
            ("oci://registry.corp/team/kata", "registry.corp/team/kata:latest"),
            ("oci://127.0.0.1:5000/kata:v1", "127.0.0.1:5000/kata:v1"),
            ("oci://ghcr.io/org/kata/", "ghcr.io/org/kata:latest"),
        ] {
            assert_eq!(text.parse::<RemoteUrl>().unwrap().image().to_string(), image);
        }
        let digest = format!("oci://h.x/a@sha256:{}", "1".repeat(64));
        for text in
            ["oci://registry.corp", "oci://registry.corp/Team", "oci://me:secret@h.x/a", "oci://h.x/a?b", &digest]
        {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            assert!(!error.to_string().contains("me:secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_secret_is_shown() {
        for text in [
            "s3://",
            "s3:///prefix",
            "s3://AKIA:secret@team/x",
            "s3://team:9000/x",
            "s3://team/x?token=secret",
            "s3://team/a b",
            "s3://team/a//b",
            "s3://team/a%2fb",
            "s3://-team",
            "ftp://team",
        ] {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            assert!(!error.to_string().contains("AKIA:secret"), "{error}");
        }
    }
}
