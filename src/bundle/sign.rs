//! Signatures over a bundle's index, in minisign's format: made and checked offline, by minisign or by kbuild.
//!
//! Signing and checking are two libraries of minisign's author. The one that checks has no dependencies, and is the only
//! one that reads untrusted input.

use std::path::Path;

use ct_codecs::{Base64, Decoder as _};
use minisign_verify::{PublicKey, Signature};

use super::refused;
use crate::disk;
use crate::error::{Error, Kind, Result};

/// The start of a secret key with a password: the names of its three algorithms (`Ed`, `Sc`, `B2`), in base64.
const ENCRYPTED: &str = "RWRTY0Iy";

/// The first bytes of a secret key without a password: it has no second algorithm.
const PLAIN: &[u8] = b"Ed\0\0B2";

/// The bytes of a secret key: three algorithms, salt, two limits, number, key, checksum.
const KEY_SIZE: usize = CHECKSUM.end;

/// The offset of the checksum in them.
const CHECKSUM: std::ops::Range<usize> = 126..158;

/// A secret key, ready to sign.
pub struct Signer(minisign::SecretKey);

impl Signer {
    /// Reads a secret key as `minisign -G` writes it. Calls `password` only for a key that has one.
    ///
    /// # Errors
    /// The file is not such a key, or the password is wrong: kind `Input`.
    pub fn read(path: &Path, password: impl FnOnce() -> Result<String>) -> Result<Signer> {
        let wrong = |error: minisign::PError| {
            Error::input(format!("{} is not a secret key of minisign that can be used", disk::shown(path)))
                .because(error)
                .help("run `minisign -G -p KEY.pub -s KEY` to make a pair of keys")
        };
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let line = text.lines().nth(1).unwrap_or_default();
        if line.starts_with(ENCRYPTED) {
            let boxed = minisign::SecretKeyBox::from_string(&text).map_err(wrong)?;
            return boxed.into_secret_key(Some(password()?)).map(Signer).map_err(wrong);
        }
        let bytes = Base64::decode_to_vec(line, None).unwrap_or_default();
        // `minisign -G -W` leaves the checksum empty in a key without a password. The library takes this for damage.
        if bytes.len() == KEY_SIZE && bytes.starts_with(PLAIN) && bytes[CHECKSUM].iter().all(|byte| *byte == 0) {
            return minisign::SecretKey::from_bytes(&bytes).map(Signer).map_err(wrong);
        }
        let boxed = minisign::SecretKeyBox::from_string(&text).map_err(wrong)?;
        boxed.into_unencrypted_secret_key().map(Signer).map_err(wrong)
    }

    /// The signature over an index. Its trusted comment says what was signed, without the time of day.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn sign(&self, index: &[u8]) -> Result<String> {
        let comment = format!("kbuild bundle, index blake3:{}", blake3::hash(index).to_hex());
        let signed = minisign::sign(None, &self.0, index, Some(&comment), Some("signature of a kbuild bundle"));
        signed
            .map(minisign::SignatureBox::into_string)
            .map_err(|error| Error::new(Kind::Io, "could not sign the bundle").because(error))
    }
}

/// A public key whose signatures are trusted.
pub struct TrustedKey(PublicKey);

impl TrustedKey {
    /// Reads a public key: from the file that `minisign -G` writes, or from the key line itself.
    ///
    /// # Errors
    /// The text is neither: kind `Input`.
    pub fn read(text: &str) -> Result<TrustedKey> {
        if let Ok(key) = PublicKey::from_base64(text) {
            return Ok(TrustedKey(key));
        }
        let path = Path::new(text);
        let file = std::fs::read_to_string(path).map_err(|error| {
            Error::io("read", path, error)
                .wrap(format!("`{text}` is neither a public key nor a file with one"))
                .help("`minisign -G` writes one together with the secret key")
        })?;
        PublicKey::decode(&file).map(TrustedKey).map_err(|error| {
            Error::input(format!("{} is not a public key of minisign", disk::shown(path))).because(error)
        })
    }
}

/// What is known about the author of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// One of the trusted keys signed it.
    Signed,
    /// It has a signature, but no key to check it with was given.
    Unchecked,
    /// It has no signature.
    Unsigned,
}

/// Checks the signature over an index. Without keys nothing is required.
///
/// # Errors
/// There are keys, and none of them signed it: kind `Mismatch`.
pub(super) fn check(keys: &[TrustedKey], index: &[u8], signature: Option<&[u8]>) -> Result<Trust> {
    let Some(signature) = signature else {
        return match keys {
            [] => Ok(Trust::Unsigned),
            _ => Err(refused("the bundle is not signed").help("leave out `--trust` to check only its hashes")),
        };
    };
    if keys.is_empty() {
        return Ok(Trust::Unchecked);
    }
    let text = std::str::from_utf8(signature)
        .map_err(|error| refused("the bundle's signature is not in minisign's format").because(error))?;
    let signature = Signature::decode(text)
        .map_err(|error| refused("the bundle's signature is not in minisign's format").because(error))?;
    let mut why = None;
    for TrustedKey(key) in keys {
        match key.verify(index, &signature, false) {
            Ok(()) => return Ok(Trust::Signed),
            // A wrong signature of the right key is the better message than an untrusted key.
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(error) => why = Some(error),
        }
    }
    Err(match why {
        Some(error) => refused("the bundle's signature is wrong").because(error),
        None => Error::new(Kind::Mismatch, "the bundle is signed by a key that is not trusted")
            .help("name the public key of its author with `--trust`"),
    })
}
