//! The other checksums that recipes give: BitBake takes any of `CHECKSUM_LIST` (`bb.fetch2`), old recipes have only one.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use sha2::digest::DynDigest;

use crate::error::{Error, Result};

/// An algorithm for checksums. The names are those of BitBake's flags without `sum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    /// `goh1sum`: Go's `h1:` over the files of a module's zip, or over a `go.mod` (`golang.org/x/mod/sumdb/dirhash`).
    GoH1,
}

impl Algorithm {
    /// BitBake's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha1",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
            Algorithm::GoH1 => "goh1",
        }
    }

    /// The length of the checksum, in bytes.
    fn length(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 | Algorithm::GoH1 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }

    /// A hasher that takes the bytes as they arrive; `None` if it needs the whole file.
    fn hasher(self) -> Option<Box<dyn Running>> {
        Some(match self {
            Algorithm::Md5 => Box::new(md5::Md5::default()),
            Algorithm::Sha1 => Box::new(sha1::Sha1::default()),
            Algorithm::Sha256 => Box::new(sha2::Sha256::default()),
            Algorithm::Sha384 => Box::new(sha2::Sha384::default()),
            Algorithm::Sha512 => Box::new(sha2::Sha512::default()),
            Algorithm::GoH1 => return None,
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// Reads `md5` as well as BitBake's `md5sum`.
    fn from_str(text: &str) -> Result<Self> {
        let all =
            [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512, Algorithm::GoH1];
        let name = text.strip_suffix("sum").unwrap_or(text);
        let found = all.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| Error::input(format!("kbuild does not know the checksum `{}`", text.escape_debug())))
    }
}

/// A checksum that bytes must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    /// The checksum in hexadecimal digits, lower case.
    hex: String,
}

impl Checksum {
    /// A checksum as a recipe gives it, in hexadecimal digits.
    ///
    /// # Errors
    /// A wrong number of digits, or something that is not a hexadecimal digit: kind `Input`.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Checksum> {
        if hex.len() != algorithm.length() * 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let digits = algorithm.length() * 2;
            let shown = hex.escape_debug();
            return Err(Error::input(format!("`{shown}` is not a {algorithm} checksum ({digits} hexadecimal digits)")));
        }
        Ok(Checksum { algorithm, hex: hex.to_ascii_lowercase() })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The sum in hexadecimal digits, lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.hex)
    }
}

/// A hasher whose current hash can be read at any time.
trait Running: DynDigest + Send + Sync {
    fn sum(&self) -> Vec<u8>;
}

impl<Digest: DynDigest + sha2::Digest + Clone + Send + Sync> Running for Digest {
    fn sum(&self) -> Vec<u8> {
        self.clone().finalize().to_vec()
    }
}

/// Computes several checksums of a stream in one pass.
#[derive(Default)]
pub struct Sums(Vec<(Algorithm, Box<dyn Running>)>);

impl Sums {
    /// Starts with no bytes. An algorithm that needs the whole file is left out.
    pub fn of(algorithms: impl IntoIterator<Item = Algorithm>) -> Sums {
        Sums(algorithms.into_iter().filter_map(|algorithm| Some((algorithm, algorithm.hasher()?))).collect())
    }

    /// Whether no checksum is computed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, hasher)| DynDigest::update(hasher.as_mut(), bytes));
    }

    /// The checksums of the bytes so far.
    pub fn so_far(&self) -> Vec<Checksum> {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.iter().map(|(algorithm, hasher)| Checksum { algorithm: *algorithm, hex: hex(hasher.sum()) }).collect()
    }

    /// Starts again with no bytes.
    pub fn reset(&mut self) {
        self.0.iter_mut().for_each(|(_, hasher)| DynDigest::reset(hasher.as_mut()));
    }
}

impl Write for Sums {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(algorithm, _)| algorithm)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_the_published_sums_of_abc() {
        let algorithms = ["md5sum", "sha1", "sha256", "sha384sum", "sha512sum", "goh1sum"];
        let mut sums = Sums::of(algorithms.map(|name| name.parse().unwrap()));
        sums.update(b"other");
        sums.reset();
        sums.update(b"a");
        sums.update(b"bc");
        // RFC 1321 and FIPS 180-4.
        let expected = [
            "md5 900150983cd24fb0d6963f7d28e17f72",
            "sha1 a9993e364706816aba3e25717850c26c9cd0d89d",
            "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha384 cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
            "sha512 ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ];
        assert_eq!(sums.so_far().iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        assert_eq!(sums.so_far().len(), 5, "reading does not change them");
    }

    #[test]
    fn what_is_no_checksum_is_refused() {
        assert!("crc32".parse::<Algorithm>().is_err());
        assert!(Checksum::new(Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f7").is_err());
        assert!(Checksum::new(Algorithm::Md5, "h00150983cd24fb0d6963f7d28e17f72").is_err());
        let sum = Checksum::new(Algorithm::Md5, "900150983CD24FB0D6963F7D28E17F72").unwrap();
        assert_eq!(sum.to_string(), "md5 900150983cd24fb0d6963f7d28e17f72");
    }
}
