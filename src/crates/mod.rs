//! A recipe's `crate://` include, out of an upstream's Cargo.lock.
//!
//! What may enter: how cargo writes a lock, and how BitBake's fetchers want its packages named. From text to text: no file,
//! no store, no network. How cargo then finds the unpacked crates is `kbuild_crates.bbclass`'s, in meta-kbuild.
//!
//! Of a package only its source counts: a registry's becomes `crate://HOST/NAME/VERSION` with the checksum that the lock
//! has, a git dependency `git://…;nobranch=1` at the locked commit, once a repository and commit; what has no source is the
//! workspace's own.

mod include;
mod lockfile;

pub use include::{Include, Submodules};
pub use lockfile::{CargoLock, CargoPackage, GitReference, Source};

#[cfg(test)]
mod tests;
