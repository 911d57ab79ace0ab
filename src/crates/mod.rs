//! Makes a recipe's `crate://` include from an upstream's Cargo.lock.
//!
//! What may enter: how cargo writes a lock, and how BitBake's fetchers need its packages named. From text to text: no file,
//! no store, no network. `kbuild_crates.bbclass` in meta-kbuild then lets cargo find the unpacked crates.
//!
//! Of a package only its source matters. A registry's becomes `crate://HOST/NAME/VERSION` with the lock's checksum. A git
//! dependency becomes `git://…;nobranch=1` at the locked commit, once for each repository and commit. A package without
//! source belongs to the workspace.

mod include;
mod lockfile;

pub use include::{Include, Submodules};
pub use lockfile::{CargoLock, CargoPackage, GitReference, Source};

#[cfg(test)]
mod tests;
