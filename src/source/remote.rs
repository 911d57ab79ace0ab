//! Addresses of stores that are neither a directory nor a web server: `s3://BUCKET/PREFIX` and its like.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::name::check_component;
use super::url::redact;
use crate::error::{Error, Result};

/// What kind of service keeps a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Amazon's S3, and all that speaks its protocol (`s3:`).
    S3,
    /// Google's Cloud Storage (`gs:`).
    Google,
    /// Azure's Blob Storage (`az:`).
    Azure,
}

impl Service {
    /// The service that a URL's scheme means.
    pub fn of(scheme: &str) -> Option<Service> {
        Some(match scheme {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            _ => return None,
        })
    }
}

/// The address of a store at such a service: checked, without credentials, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// Whether a text is meant to be one, right or wrong.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| Service::of(scheme).is_some())
    }

    /// Who keeps the store.
    pub fn service(&self) -> Service {
        // Nothing else gets past `from_str`.
        Service::of(self.0.scheme()).unwrap_or(Service::S3)
    }

    /// The bucket; Azure calls it a container.
    pub fn bucket(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// What stands before the names of a store in the bucket, without slashes around it; empty for the bucket itself.
    pub fn prefix(&self) -> &str {
        self.0.path().trim_matches('/')
    }

    /// The address of something in the store, for messages.
    pub fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&[self.prefix(), path].join("/"));
        url
    }

    /// The URL.
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
        let refuse = |why: &str| Error::input(format!("`{}` names no store: {why}", redact(text).escape_debug()));
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it holds white space or control characters"));
        }
        let mut url = Url::parse(text).map_err(|_| refuse("it cannot be parsed"))?;
        if Service::of(url.scheme()).is_none() {
            return Err(refuse(&format!("kbuild knows no stores of `{}:`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let help = "credentials come from the environment or the usual files, never from a URL";
            return Err(refuse("it carries credentials").help(help));
        }
        if url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
            let error = refuse("a bucket and a prefix are all that it may have");
            return Err(error.help("variables name another server: AWS_ENDPOINT_URL for what speaks S3"));
        }
        let bucket = url.host_str().unwrap_or_default();
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if bucket.is_empty() || !bucket.chars().all(usual) || bucket.starts_with(['-', '.']) {
            return Err(refuse("it has no bucket, or one of an impossible name"));
        }
        let path = url.path().trim_matches('/').to_owned();
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.+~=/".contains(c);
        if !path.is_empty() && (!path.chars().all(usual) || path.split('/').any(|part| check_component(part).is_err()))
        {
            return Err(refuse("its prefix is none that a store can have").help("letters, digits and `-_.+~=` will do"));
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
