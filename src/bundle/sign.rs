//! Signatures over a bundle's index, in minisign's format: made and checked offline, with its tools or with kbuild.
//!
//! Signing and checking are two libraries by minisign's author; the second has no dependencies, and is all that meets
//! what strangers send.

use std::path::Path;

use ct_codecs::{Base64, Decoder as _};
use minisign_verify::{PublicKey, Signature};

use super::refused;
use crate::disk;
use crate::error::{Error, Kind, Result};

/// How a secret key with a password begins: the letters of its three algorithms (`Ed`, `Sc`, `B2`), in base64.
const ENCRYPTED: &str = "RWRTY0Iy";

/// How the bytes of one without a password begin: the second algorithm is none.
const PLAIN: &[u8] = b"Ed\0\0B2";

/// The bytes of a secret key: three algorithms, salt, two limits, number, key, checksum.
const KEY_SIZE: usize = CHECKSUM.end;

/// Where in them the checksum is.
const CHECKSUM: std::ops::Range<usize> = 126..158;

/// A secret key, ready to sign.
pub struct Signer(minisign::SecretKey);

impl Signer {
    /// Reads a secret key as `minisign -G` writes it. `password` is asked only for a key that has one.
    ///
    /// # Errors
    /// What is no such key, or a wrong password: kind `Input`.
    pub fn read(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<Signer> {
        let wrong = |error: minisign::PError| {
            Error::input(format!("{} is no secret key that can sign", disk::shown(path)))
                .because(error)
                .help("`minisign -G -p KEY.pub -s KEY` makes a pair of keys")
        };
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let line = text.lines().nth(1).unwrap_or_default();
        if line.starts_with(ENCRYPTED) {
            let boxed = minisign::SecretKeyBox::from_string(&text).map_err(wrong)?;
            return boxed.into_secret_key(Some(password()?)).map(Signer).map_err(wrong);
        }
        let bytes = Base64::decode_to_vec(line, None).unwrap_or_default();
        // `minisign -G -W` leaves the checksum of a key without a password empty, which the library takes for damage.
        if bytes.len() == KEY_SIZE && bytes.starts_with(PLAIN) && bytes[CHECKSUM].iter().all(|byte| *byte == 0) {
            return minisign::SecretKey::from_bytes(&bytes).map(Signer).map_err(wrong);
        }
        let boxed = minisign::SecretKeyBox::from_string(&text).map_err(wrong)?;
        boxed.into_unencrypted_secret_key().map(Signer).map_err(wrong)
    }

    /// The signature over an index. Its trusted comment says what was signed; no time of day.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn sign(&self, index: &[u8]) -> Result<String> {
        let comment = format!("kbuild bundle, index blake3:{}", blake3::hash(index).to_hex());
        let signed = minisign::sign(None, &self.0, index, Some(&comment), Some("signature of a kbuild bundle"));
        signed
            .map(minisign::SignatureBox::into_string)
            .map_err(|error| Error::new(Kind::Io, "could not sign the bundle").because(error))
    }
}

/// A public key whose bundles are taken.
pub struct TrustedKey(PublicKey);

impl TrustedKey {
    /// A public key: the file that `minisign -G` writes, or the line in it.
    ///
    /// # Errors
    /// What is neither: kind `Input`.
    pub fn read(text: &str) -> Result<TrustedKey> {
        if let Ok(key) = PublicKey::from_base64(text) {
            return Ok(TrustedKey(key));
        }
        let path = Path::new(text);
        let file = std::fs::read_to_string(path).map_err(|error| {
            Error::io("read", path, error)
                .wrap(format!("`{text}` is neither a public key nor a file with one"))
                .help("`minisign -G` writes one beside the secret key")
        })?;
        PublicKey::decode(&file)
            .map(TrustedKey)
            .map_err(|error| Error::input(format!("{} is no public key of minisign", disk::shown(path))).because(error))
    }
}

/// What is known of who made a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// One of the trusted keys signed it.
    Signed,
    /// It has a signature, and no key was named to check it with.
    Unchecked,
    /// It has none.
    Unsigned,
}

/// Checks the signature over an index. Without keys nothing is required.
///
/// # Errors
/// With keys, whatever none of them signed: kind `Mismatch`.
pub(super) fn check(keys: &[TrustedKey], index: &[u8], signature: Option<&[u8]>) -> Result<Trust> {
    let Some(signature) = signature else {
        return match keys {
            [] => Ok(Trust::Unsigned),
            _ => Err(refused("the bundle is not signed").help("leave `--trust` out to go by its hashes alone")),
        };
    };
    if keys.is_empty() {
        return Ok(Trust::Unchecked);
    }
    let text =
        std::str::from_utf8(signature).map_err(|error| refused("the bundle's signature is none").because(error))?;
    let signature =
        Signature::decode(text).map_err(|error| refused("the bundle's signature is none").because(error))?;
    let mut why = None;
    for TrustedKey(key) in keys {
        match key.verify(index, &signature, false) {
            Ok(()) => return Ok(Trust::Signed),
            // A bad signature by the right key tells more than that another key is not meant.
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(error) => why = Some(error),
        }
    }
    Err(match why {
        Some(error) => refused("the bundle's signature is wrong").because(error),
        None => Error::new(Kind::Mismatch, "the bundle is signed by a key that is not trusted")
            .help("name the public key of whoever made it with `--trust`"),
    })
}
