//! Answers of a registry: refusals with the registry's message, bodies of limited size, digests that do not match.

use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::bounds;
use crate::error::{Error, Kind};
use crate::net::http::{read_whole, retry_after};
use crate::net::retry::{Class, Failure};
use crate::net::transfer::at;
use crate::source::url::redact;
use crate::source::{ImageName, Sha256, SourceUrl};

#[derive(Deserialize)]
struct Complaints {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    code: Option<String>,
    message: Option<String>,
}

/// Returns an answer of success; another answer becomes an error with the registry's message.
///
/// # Errors
/// Those of [`Registry::manifest`](super::client::Registry::manifest).
pub async fn checked(url: &SourceUrl, image: &ImageName, response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let after = retry_after(response.headers());
    let mut told = format!("the server answered {status}");
    if let Some(said) = complaint(url, response).await {
        told.push_str(&format!(" ({said})"));
    }
    let error = at(url, told);
    if let class @ Class::Transient { .. } = Class::of_status(status.as_u16(), after) {
        return Err(Failure { class, error });
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::permanent(error.help(format!(
            "if {0} needs a login, run `docker login {0}` or `podman login {0}`: kbuild reads it from there; some registries \
             also answer so for a name that does not exist",
            image.registry
        )))),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Failure::permanent(error.of_kind(Kind::Missing))),
        _ => Err(Failure::permanent(error)),
    }
}

/// The first message of a registry, as one line.
async fn complaint(url: &SourceUrl, response: Response) -> Option<String> {
    let body = read_whole(url, response, bounds::REFUSAL as usize).await.ok()?;
    let complaints: Complaints = serde_json::from_slice(&body).ok()?;
    let Complaint { code, message } = complaints.errors.into_iter().next()?;
    let words: Vec<String> = [code, message].into_iter().flatten().filter(|word| !word.is_empty()).collect();
    let line: String = words.join(": ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    (!line.is_empty()).then(|| redact(&line))
}

/// The error for bytes that do not match their digest.
pub fn wrong_digest(url: &SourceUrl, what: &str, wanted: &Sha256, got: &Sha256) -> Error {
    Error::new(Kind::Mismatch, redact(url.as_str()))
        .because(format!("checksum mismatch for {what}\nexpected sha256:{wanted}\n     got sha256:{got}"))
        .help("the registry, or a proxy before it, sends wrong bytes: use another one with a `[[mirrors.rule]]`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, length: u64) -> (SourceUrl, ImageName, Response) {
        let image = ImageName::read("localhost/x").unwrap();
        let answer = hyper::Response::builder().status(status).body(vec![b' '; length as usize]).unwrap();
        (image.to_url().unwrap(), image, Response::from(answer))
    }

    #[tokio::test]
    async fn a_manifest_without_an_end_is_refused() {
        let read = async |length| {
            let (url, _, response) = answer(200, length);
            read_whole(&url, response, bounds::IMAGE_MANIFEST as usize).await
        };
        assert_eq!(read(bounds::IMAGE_MANIFEST).await.unwrap().len() as u64, bounds::IMAGE_MANIFEST);
        let failure = read(bounds::IMAGE_MANIFEST + 1).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.error.causes()),
            (Class::Permanent, vec!["the answer is longer than 4194304 bytes".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_long_refusal_is_read_in_part() {
        let (url, image, response) = answer(404, bounds::REFUSAL + 1);
        let failure = checked(&url, &image, response).await.unwrap_err();
        assert_eq!(failure.error.kind(), Kind::Missing);
        assert_eq!(failure.error.causes(), ["the server answered 404 Not Found"]);
    }
}
