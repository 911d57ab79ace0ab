//! The hashes of sources, and the one pass over bytes that computes them.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::error::{Error, Result};

macro_rules! hex_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                $name(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads the exact number of hexadecimal digits; a shorter text is refused, never completed.
            fn from_str(text: &str) -> Result<Self> {
                parse_hex(text)
                    .map($name)
                    .ok_or_else(|| Error::input(format!(concat!("`{}` is not a ", $what), text)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_newtype!(
    /// A SHA-256: the hash in recipes, hashed mirrors and SBOMs.
    Sha256, 32, "SHA-256 (64 hexadecimal digits)"
);
hex_newtype!(
    /// A BLAKE3 hash: the address of a blob in the store, or the hash over a git tree.
    Blake3, 32, "BLAKE3 hash (64 hexadecimal digits)"
);
impl Blake3 {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Blake3 {
        Blake3(*blake3::hash(bytes).as_bytes())
    }
}

hex_newtype!(
    /// A full git commit id (SHA-1). Abbreviations are never accepted: a branch could have such a name.
    CommitId, 20, "full commit id (40 hexadecimal digits)"
);

impl CommitId {
    /// The first 12 digits, for names and messages.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

fn parse_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let digits = text.as_bytes();
    if digits.len() != LEN * 2 {
        return None;
    }
    let mut bytes = [0; LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// The hashes and size of some bytes, from one pass over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// BLAKE3 of the bytes.
    pub blake3: Blake3,
    /// Number of bytes.
    pub size: u64,
}

/// Computes every hash of a stream in one pass.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    sha256: sha2::Sha256,
    blake3: blake3::Hasher,
    size: u64,
}

impl Hasher {
    /// Takes the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// How many bytes were taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of all bytes taken.
    pub fn finish(self) -> Digests {
        let sha256: [u8; 32] = self.sha256.finalize().into();
        Digests { sha256: sha256.into(), blake3: (*self.blake3.finalize().as_bytes()).into(), size: self.size }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_the_published_hashes_of_abc() {
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        let digests = hasher.finish();
        assert_eq!(digests.size, 3);
        // FIPS 180-4 and the BLAKE3 paper's test vectors.
        assert_eq!(digests.sha256.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digests.blake3.to_string(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    }

    #[test]
    fn short_long_and_odd_hashes_are_refused() {
        for text in ["", "fae9db3168db", &"a".repeat(41), &"g".repeat(40), &"é".repeat(20)] {
            assert!(text.parse::<CommitId>().is_err(), "{text}");
        }
        let commit: CommitId = "FAE9db3168dbff1b8c76fe9c6726a9687ff97514".parse().unwrap();
        assert_eq!(commit.to_string(), "fae9db3168dbff1b8c76fe9c6726a9687ff97514");
        assert_eq!(commit.short(), "fae9db3168db");
    }
}
