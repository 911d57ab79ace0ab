//! What all transfers share, whatever their protocol: the expected digests, and writing a body into a partial download.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

use super::retry::{Failure, RetryPolicy};
use crate::bounds;
use crate::env_vars::KBUILD_MAX_DOWNLOAD;
use crate::error::{Error, Kind, Result};
use crate::progress::Task;
use crate::source::url::{redact, without_query};
use crate::source::{Blake3, Checksum, Digests, Sha256};
use crate::store::PartialDownload;

/// How many of the first bytes are kept, so that a message can show a wrong body.
const HEAD: usize = 512;

/// What is known of the bytes before they are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// What they must hash to.
    pub sha256: Option<Sha256>,
    /// What they must hash to.
    pub blake3: Option<Blake3>,
    /// How many they are.
    pub size: Option<u64>,
    /// What else a recipe says of them.
    pub sums: Vec<Checksum>,
}

impl Expected {
    /// Whether a hash is known, which then decides alone.
    pub fn is_known(&self) -> bool {
        self.sha256.is_some() || self.blake3.is_some() || !self.sums.is_empty()
    }

    /// Whether the bytes have the expected hashes. Without a known hash, all bytes do.
    pub fn matches(&self, digests: &Digests) -> bool {
        self.sha256.is_none_or(|sha256| sha256 == digests.sha256)
            && self.blake3.is_none_or(|blake3| blake3 == digests.blake3)
            && self.size.is_none_or(|size| size == digests.size)
    }
}

/// A body that is complete, as far as the server says.
#[derive(Debug)]
pub struct Delivery {
    /// The URL that the bytes came from, after redirects.
    pub url: Url,
    /// The first bytes, for messages; empty when the transfer began in the middle.
    pub head: Vec<u8>,
    /// Whether bytes of an earlier transfer are part of it.
    pub resumed: bool,
}

/// A body that is read piece by piece.
pub trait BodyStream {
    /// A piece.
    type Chunk: AsRef<[u8]> + Send + 'static;

    /// The next piece; nothing at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Chunk>, Failure>> + Send;
}

/// One body on its way into a partial download.
pub struct Download<'a> {
    /// What was asked.
    pub url: &'a Url,
    /// The URL that answered, after redirects.
    pub end: &'a Url,
    /// The expected bytes.
    pub expected: &'a Expected,
    /// Who is told of the progress.
    pub task: &'a dyn Task,
    /// How slow the transfer may be.
    pub policy: &'a RetryPolicy,
    /// The body's first byte in the file.
    pub from: u64,
    /// The size of the whole file in bytes, if the server says so.
    pub total: Option<u64>,
}

impl Download<'_> {
    /// Refuses a body that is longer than the wanted file, by the server's own word, before a byte of it is read.
    ///
    /// # Errors
    /// It is: a permanent failure.
    pub fn must_fit(&self) -> Result<(), Failure> {
        if self.total.is_some_and(|total| total > self.longest()) {
            return Err(Failure::permanent(self.oversized()));
        }
        Ok(())
    }

    /// Appends the body to the partial download and gives the first bytes of the file, for messages. The partial is
    /// taken out of `slot` and put back, with all bytes that came, also on failure; without them if more came than may.
    ///
    /// # Errors
    /// Any failure before the body was complete, with its class.
    pub async fn take<Body: BodyStream>(
        &self,
        slot: &mut Option<PartialDownload>,
        body: &mut Body,
    ) -> Result<Vec<u8>, Failure> {
        if let Some(total) = self.total.or(self.expected.size) {
            self.task.set_total(total);
        }
        let (sender, writer) = writer(slot.take().ok_or_else(no_partial)?);
        let mut head = Vec::new();
        let mut pace = Pace::new(self.policy);
        let mut position = self.from;
        let longest = self.longest();
        self.task.set_position(position);
        let outcome = loop {
            match body.next().await {
                Ok(Some(chunk)) => {
                    let bytes = chunk.as_ref();
                    let length = bytes.len();
                    if self.from == 0 && head.len() < HEAD {
                        head.extend_from_slice(&bytes[..length.min(HEAD - head.len())]);
                    }
                    if sender.send(chunk).await.is_err() {
                        break Ok(()); // The writer has failed, and says why below.
                    }
                    position += length as u64;
                    self.task.set_position(position);
                    if position > longest {
                        break Err(Failure::permanent(self.oversized()));
                    }
                    if let Err(slow) = pace.took(length as u64) {
                        break Err(Failure::transient(at(self.url, slow)));
                    }
                }
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        drop(sender);
        let (mut incoming, written) =
            writer.await.map_err(|error| Failure::from(Error::bug("a writer broke").because(error)))?;
        if position > longest {
            incoming.restart()?;
        }
        *slot = Some(incoming);
        written?;
        outcome?;
        if let Some(total) = self.total.filter(|total| *total != position) {
            let why = format!("the body ended after {position} of {total} bytes");
            return Err(Failure::transient(at(self.url, why)));
        }
        Ok(head)
    }

    /// So many bytes may come: what is wanted, or the limit for what nobody knows the size of.
    fn longest(&self) -> u64 {
        self.expected.size.map_or_else(bounds::download, |wanted| wanted.max(bounds::TOO_LONG_SHOWN))
    }

    fn oversized(&self) -> Error {
        let mut why = match self.expected.size {
            Some(wanted) => format!("more bytes than the {wanted} that are wanted"),
            None => format!("more than {} bytes, the limit for a file whose size nobody knows", self.longest()),
        };
        if self.end != self.url {
            why.push_str(&format!(", redirected to {}", without_query(self.end)));
        }
        match self.expected.size {
            Some(_) => Error::new(Kind::Mismatch, redact(self.url.as_str())).because(why),
            None => {
                at(self.url, why).help(format!("if the file is that long, set {KBUILD_MAX_DOWNLOAD} to more bytes"))
            }
        }
    }
}

/// Notices a transfer that is too slow.
struct Pace {
    slow: u64,
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(policy: &RetryPolicy) -> Pace {
        Pace { slow: policy.slow, window: policy.slow_for, since: Instant::now(), bytes: 0 }
    }

    fn took(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        let per_second = self.bytes as f64 / elapsed.as_secs_f64();
        if per_second < self.slow as f64 {
            return Err(format!("only {per_second:.0} bytes per second came for {} s", elapsed.as_secs()));
        }
        (self.since, self.bytes) = (Instant::now(), 0);
        Ok(())
    }
}

/// Hashes and writes on a thread of its own: the network does not wait for the disk, nor other transfers for this one.
fn writer<Chunk: AsRef<[u8]> + Send + 'static>(
    mut incoming: PartialDownload,
) -> (mpsc::Sender<Chunk>, JoinHandle<(PartialDownload, Result<()>)>) {
    let (sender, mut receiver) = mpsc::channel::<Chunk>(32);
    let write = move || {
        while let Some(chunk) = receiver.blocking_recv() {
            if let Err(error) = incoming.write(chunk.as_ref()) {
                return (incoming, Err(error));
            }
        }
        (incoming, Ok(()))
    };
    (sender, tokio::task::spawn_blocking(write))
}

/// The partial download that a transfer works on.
///
/// # Errors
/// It was lost on the way: a bug.
pub fn partial(slot: &mut Option<PartialDownload>) -> Result<&mut PartialDownload> {
    slot.as_mut().ok_or_else(no_partial)
}

fn no_partial() -> Error {
    Error::bug("a transfer has lost its partial download")
}

/// A failure at a place.
pub fn at(place: &impl Display, why: impl Into<String>) -> Error {
    Error::new(Kind::Network, redact(&place.to_string())).because(why.into())
}

/// The error of a place that does not have what it was asked for: kind `Missing`.
pub fn absent(place: &impl Display) -> Error {
    Error::new(Kind::Missing, redact(&place.to_string())).because("it is not there")
}
