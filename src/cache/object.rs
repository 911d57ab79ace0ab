//! Names of objects of shared state.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::bounds;
use crate::error::{Error, Result};

/// How an object ends: what oe-core's sstate.bbclass packs, or packed once.
const PACKED: [&str; 5] = [".tar.zst", ".tgz", ".tar.gz", ".tar.xz", ".tar"];

/// What stands beside an object: the data of its hash, and its signature.
const BESIDE: [&str; 2] = [".siginfo", ".sig"];

/// The name of an object: its path below SSTATE_DIR, as in `ab/cd/sstate:zlib:…_populate_sysroot.tar.zst`.
///
/// It comes from inside of the seal, and becomes a part of paths and URLs: it is relative, plain, and looks like the name of
/// an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an object itself, and not what stands beside one.
    pub fn is_object(&self) -> bool {
        PACKED.iter().any(|ending| self.0.ends_with(ending))
    }

    /// The name of the object that it stands beside; its own, if it is one.
    pub fn object(&self) -> &str {
        BESIDE.iter().find_map(|ending| self.0.strip_suffix(ending)).unwrap_or(&self.0)
    }

    /// The name of a file below a directory of shared state; `None` for whatever else is there: locks, stamps, what is just
    /// being written.
    pub fn of_file(directory: &Path, file: &Path) -> Option<ObjectName> {
        file.strip_prefix(directory).ok()?.to_str()?.parse().ok()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-:~=@,/".contains(c);
        let parts: Vec<&str> = text.split('/').collect();
        let name = parts.last().copied().unwrap_or_default();
        let stem = BESIDE.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let good = text.len() as u64 <= bounds::OBJECT_NAME
            && text.chars().all(plain)
            && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.'))
            && name.starts_with("sstate:")
            && PACKED.iter().any(|ending| stem.ends_with(ending));
        if good {
            return Ok(ObjectName(text.to_owned()));
        }
        Err(Error::input(format!("`{}` is not the name of an object of shared state", text.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_of_an_object_is_refused() {
        for good in [
            "ab/cd/sstate:zlib:core2-64-poky-linux:1.3.1:r0:core2-64:14:abcd_populate_sysroot.tar.zst",
            "universal/ab/cd/sstate:m4-native:x86_64-linux:1.4.19:r0:x86_64:14:abcd_populate_sysroot.tar.zst.siginfo",
            "sstate:a::1~rc1:r0::14:ab_package.tgz.sig",
        ] {
            let name: ObjectName = good.parse().unwrap();
            assert_eq!(name.is_object(), good.ends_with(".zst"), "{good}");
        }
        for bad in [
            "",
            "/ab/sstate:a.tar.zst",
            "ab/../sstate:a.tar.zst",
            "ab//sstate:a.tar.zst",
            "ab/.hidden/sstate:a.tar.zst",
            "ab/sstate:a.tar.zst.lock",
            "ab/sstate:a.tar.zst.done",
            "ab/sstate:a.tar.zst.Xy12abcd",
            "ab/other.tar.zst",
            "hashserv.db",
            "ab/sstate:a b.tar.zst",
            "ab/sstate:a?x.tar.zst",
            "ab/sstate:%2e%2e.tar.zst",
        ] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
        let named = |length: u64| {
            let (start, end) = ("sstate:", ".tar.zst");
            format!("{start}{}{end}", "a".repeat(length as usize - start.len() - end.len())).parse::<ObjectName>()
        };
        assert!(named(bounds::OBJECT_NAME).is_ok() && named(bounds::OBJECT_NAME + 1).is_err());
    }
}
